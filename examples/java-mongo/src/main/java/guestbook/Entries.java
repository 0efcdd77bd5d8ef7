package guestbook;

import static com.mongodb.client.model.Sorts.descending;

import com.mongodb.ConnectionString;
import com.mongodb.MongoClientSettings;
import com.mongodb.MongoException;
import com.mongodb.MongoSecurityException;
import com.mongodb.MongoServerException;
import com.mongodb.client.MongoClient;
import com.mongodb.client.MongoClients;
import com.mongodb.client.MongoCollection;
import org.bson.Document;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The guestbook's entries in MongoDB. Connects at first use, so a database that is away does not keep the app down. */
final class Entries {
    record Entry(String name, String message, Instant at) {}

    /** The database did not answer; the message names its host and never a credential. */
    static final class Unavailable extends Exception {
        Unavailable(String message) {
            super(message);
        }
    }

    static final int MOST_SHOWN = 100;
    private static final int PATIENCE_SECONDS = 3;

    private final String uri;
    private final String host;
    private MongoClient client;
    private MongoCollection<Document> collection;
    private boolean reachable = true;

    /** Throws IllegalArgumentException where {@code uri} is not one; its text may quote the URI. */
    Entries(String uri) {
        this.uri = uri;
        if (uri.startsWith("mongodb+srv://")) {
            // Reading such a URI asks DNS, so that has to wait for the first use.
            String address = uri.substring("mongodb+srv://".length()).split("[/?]", 2)[0];
            this.host = address.substring(address.lastIndexOf('@') + 1);
        } else {
            this.host = String.join(", ", new ConnectionString(uri).getHosts());
        }
    }

    String host() {
        return host;
    }

    void add(String name, String message) throws Unavailable {
        ask(entries -> entries.insertOne(
                new Document("name", name).append("message", message).append("at", Date.from(Instant.now()))));
    }

    List<Entry> newestFirst() throws Unavailable {
        return ask(entries -> {
            List<Entry> found = new ArrayList<>();
            for (Document one : entries.find().sort(descending("at", "_id")).limit(MOST_SHOWN)) {
                Date at = one.get("at", new Date(0));
                found.add(new Entry(one.get("name", ""), one.get("message", ""), at.toInstant()));
            }
            return found;
        });
    }

    /** Begins to connect, in the background. */
    void connect() {
        try {
            collection();
        } catch (RuntimeException unusable) {
            // The next visitor learns it from the page.
        }
    }

    synchronized void close() {
        if (client != null) {
            client.close();
        }
    }

    private interface Question<T> {
        T put(MongoCollection<Document> entries);
    }

    private <T> T ask(Question<T> question) throws Unavailable {
        try {
            T answer = question.put(collection());
            note(true, "");
            return answer;
        } catch (MongoException | IllegalArgumentException | ClassCastException | IllegalStateException failed) {
            note(false, complaint(failed) + " (" + failed.getClass().getSimpleName() + ")");
            throw new Unavailable("The database at " + host + " " + complaint(failed) + ".");
        }
    }

    /** The driver's own texts may quote the URI, so none of them is passed on. */
    private static String complaint(RuntimeException failed) {
        if (failed instanceof MongoSecurityException) {
            return "does not accept the user and password of MONGODB_URI";
        }
        return failed instanceof MongoServerException ? "refused what was asked of it" : "does not answer";
    }

    private synchronized MongoCollection<Document> collection() {
        if (collection == null) {
            ConnectionString address = new ConnectionString(uri);
            client = MongoClients.create(settings(address));
            String database = address.getDatabase() == null ? "guestbook" : address.getDatabase();
            collection = client.getDatabase(database).getCollection("entries");
        }
        return collection;
    }

    /** What the URI says wins over our patience. */
    private static MongoClientSettings settings(ConnectionString address) {
        return MongoClientSettings.builder()
                .applicationName("guestbook")
                .applyToClusterSettings(cluster -> cluster.serverSelectionTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS))
                .applyToSocketSettings(socket -> socket
                        .connectTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS)
                        .readTimeout(2 * PATIENCE_SECONDS, TimeUnit.SECONDS))
                .applyConnectionString(address)
                .build();
    }

    /** One line when the database goes and one when it returns, however many visitors notice. */
    private synchronized void note(boolean nowReachable, String why) {
        if (reachable != nowReachable) {
            reachable = nowReachable;
            System.err.println(nowReachable
                    ? "the database at " + host + " answers again"
                    : "the database at " + host + " " + why);
        }
    }
}
