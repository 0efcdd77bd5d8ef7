package demodb;

import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.h2.H2Backend;

import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The database of {@code script/demo} where the machine has no MongoDB: {@code demodb.Main FILE ADDRESS:PORT...}.
 *
 * <p>It speaks MongoDB's protocol and keeps its data in one file. It knows no users, so it listens only where it is
 * told to. Once it listens it prints a line for each address.
 */
public final class Main {
    public static void main(String[] args) throws InterruptedException {
        if (args.length < 2) {
            System.err.println("usage: demodb.Main FILE ADDRESS:PORT...");
            System.exit(2);
        }
        // One backend for all addresses; the driver asks for nothing that differs between them.
        H2Backend backend = new H2Backend(Path.of(args[0]).toAbsolutePath().toString());
        List<MongoServer> servers = new ArrayList<>();
        for (String address : List.of(args).subList(1, args.length)) {
            int colon = address.lastIndexOf(':');
            MongoServer server = new MongoServer(backend);
            servers.add(server);
            server.bind(new InetSocketAddress(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1))));
            System.out.println("listening on " + address);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> servers.forEach(MongoServer::shutdownNow)));
        Thread.currentThread().join();
    }

    private Main() {}
}
