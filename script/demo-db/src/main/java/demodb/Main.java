package demodb;

import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.h2.H2Backend;

import java.net.InetSocketAddress;
import java.nio.file.Path;

/**
 * The database of {@code script/demo} where the machine has no MongoDB: {@code demodb.Main FILE PORT}.
 *
 * <p>It speaks MongoDB's protocol and keeps its data in one file. It knows no users, so it listens on the loopback
 * address only.
 */
public final class Main {
    public static void main(String[] args) throws InterruptedException {
        if (args.length != 2) {
            System.err.println("usage: demodb.Main FILE PORT");
            System.exit(2);
        }
        MongoServer server = new MongoServer(new H2Backend(Path.of(args[0]).toAbsolutePath().toString()));
        server.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])));
        System.out.println("listening on 127.0.0.1:" + args[1]);
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        Thread.currentThread().join();
    }

    private Main() {}
}
