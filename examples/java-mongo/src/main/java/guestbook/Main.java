package guestbook;

import com.sun.net.httpserver.HttpServer;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.logging.Level;
import java.util.logging.Logger;

/** A guestbook: a page on {@code $PORT}, entries in the MongoDB that {@code $MONGODB_URI} names. */
public final class Main {
    private static final int MOST_REQUESTS_AT_ONCE = 16;
    private static final int SECONDS_TO_FINISH_REQUESTS = 8;

    /** Loggers live as long as somebody holds them, and with them their level. */
    private static final Logger DRIVER_LOG = Logger.getLogger("org.mongodb.driver");

    public static void main(String[] args) throws IOException {
        // The driver tells every change of every connection; the page and one line of ours say what people need.
        DRIVER_LOG.setLevel(Level.OFF);
        // Without this the JDK's server waits up to 40 ms before it sends a small answer.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.maxReqTime", "30");

        Map<String, String> env = System.getenv();
        int port = portOf(env.getOrDefault("PORT", "8080"));
        Entries entries = entriesOf(env.get("MONGODB_URI"));
        String instance = env.getOrDefault("CF_INSTANCE_INDEX", "local");

        ExecutorService workers = Executors.newFixedThreadPool(MOST_REQUESTS_AT_ONCE);
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
        Site site = new Site(entries, instance);
        server.createContext("/", site);
        server.setExecutor(workers);
        server.start();
        System.out.println("guestbook listens on port " + port + ", entries go to " + entries.host());

        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println("guestbook stops");
            server.stop(site.isBusy() ? SECONDS_TO_FINISH_REQUESTS : 0);
            workers.shutdown();
            entries.close();
        }));

        // The port is open already, so this delays no health check; it only spares the first visitor the wait.
        entries.connect();
    }

    private static int portOf(String text) {
        try {
            int port = Integer.parseInt(text);
            if (port > 0 && port < 65536) {
                return port;
            }
        } catch (NumberFormatException notANumber) {
            // said below
        }
        throw refused("PORT must be a number from 1 to 65535.");
    }

    private static Entries entriesOf(String uri) {
        if (uri == null || uri.isBlank()) {
            throw refused("MONGODB_URI is not set. Set it with: slipway set-env guestbook MONGODB_URI mongodb://HOST:27017/guestbook"
                    + " && slipway restart guestbook (or bind a service whose credentials hold such a uri).");
        }
        try {
            return new Entries(uri);
        } catch (IllegalArgumentException wrong) {
            // The driver's own text may quote the URI, and with it a password.
            throw refused("MONGODB_URI is not a MongoDB URI. It looks like this: mongodb://USER:PASSWORD@HOST:27017/guestbook,"
                    + " where special characters in USER and PASSWORD are percent-encoded.");
        }
    }

    private static Error refused(String why) {
        System.err.println("guestbook cannot start: " + why);
        System.exit(1);
        return new AssertionError("unreachable");
    }

    private Main() {}
}
