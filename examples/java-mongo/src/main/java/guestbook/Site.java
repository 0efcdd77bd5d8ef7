package guestbook;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import guestbook.Entries.Entry;
import guestbook.Entries.Unavailable;
import org.bson.Document;

import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;

/** What each path answers. */
final class Site implements HttpHandler {
    static final int MOST_NAME_CHARS = 60;
    static final int MOST_MESSAGE_CHARS = 2000;
    private static final int MOST_FORM_BYTES = 64 * 1024;

    private static final String HTML = "text/html; charset=utf-8";
    private static final String JSON = "application/json; charset=utf-8";

    private final Entries entries;
    private final String instance;
    private final AtomicInteger requests = new AtomicInteger();

    Site(Entries entries, String instance) {
        this.entries = entries;
        this.instance = instance;
    }

    boolean isBusy() {
        return requests.get() > 0;
    }

    @Override
    public void handle(HttpExchange exchange) throws IOException {
        requests.incrementAndGet();
        try (exchange) {
            route(exchange);
        } catch (RuntimeException unexpected) {
            System.err.println("a request failed: " + unexpected);
            throw unexpected;
        } finally {
            requests.decrementAndGet();
        }
    }

    private void route(HttpExchange exchange) throws IOException {
        String method = exchange.getRequestMethod().equals("HEAD") ? "GET" : exchange.getRequestMethod();
        switch (method + " " + exchange.getRequestURI().getPath()) {
            case "GET /" -> page(exchange);
            case "POST /" -> sign(exchange);
            case "GET /entries" -> list(exchange);
            case "GET /health" -> send(exchange, 200, JSON, new Document("status", "ok").append("instance", instance).toJson());
            default -> {
                boolean known = List.of("/", "/entries", "/health").contains(exchange.getRequestURI().getPath());
                if (known) {
                    exchange.getResponseHeaders().set("Allow", exchange.getRequestURI().getPath().equals("/") ? "GET, HEAD, POST" : "GET, HEAD");
                }
                send(exchange, known ? 405 : 404, HTML, Page.notice(known ? "That is not done here." : "There is no such page.", instance));
            }
        }
    }

    private void page(HttpExchange exchange) throws IOException {
        show(exchange, 200, "", "", "");
    }

    private void sign(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readNBytes(MOST_FORM_BYTES + 1);
        Map<String, String> form = body.length > MOST_FORM_BYTES ? Map.of() : formOf(body);
        String name = form.getOrDefault("name", "").strip();
        // Browsers send a line's end as two characters and count it as one.
        String message = form.getOrDefault("message", "").replace("\r\n", "\n").strip();
        if (body.length > MOST_FORM_BYTES || name.length() > MOST_NAME_CHARS || message.length() > MOST_MESSAGE_CHARS) {
            show(exchange, 413, "That is too long: a name has at most " + MOST_NAME_CHARS + " characters, a message "
                    + MOST_MESSAGE_CHARS + ".", name, message);
        } else if (message.isEmpty()) {
            show(exchange, 400, "Please write a message.", name, message);
        } else {
            try {
                entries.add(name.isEmpty() ? "Somebody" : name, message);
            } catch (Unavailable away) {
                send(exchange, 503, HTML, Page.unavailable(away.getMessage(), name, message, instance));
                return;
            }
            exchange.getResponseHeaders().set("Location", "/");
            exchange.sendResponseHeaders(303, -1);
        }
    }

    private void show(HttpExchange exchange, int status, String hint, String name, String message) throws IOException {
        try {
            send(exchange, status, HTML, Page.guestbook(entries.newestFirst(), hint, name, message, instance));
        } catch (Unavailable away) {
            send(exchange, 503, HTML, Page.unavailable(away.getMessage(), name, message, instance));
        }
    }

    private void list(HttpExchange exchange) throws IOException {
        try {
            String all = entries.newestFirst().stream().map(Site::json).collect(Collectors.joining(",", "[", "]"));
            send(exchange, 200, JSON, all);
        } catch (Unavailable away) {
            send(exchange, 503, JSON, new Document("error", away.getMessage()).toJson());
        }
    }

    private static String json(Entry entry) {
        return new Document("name", entry.name()).append("message", entry.message()).append("at", entry.at().toString()).toJson();
    }

    private static Map<String, String> formOf(byte[] body) {
        Map<String, String> form = new HashMap<>();
        for (String pair : new String(body, StandardCharsets.UTF_8).split("&")) {
            String[] parts = pair.split("=", 2);
            try {
                form.put(decode(parts[0]), parts.length > 1 ? decode(parts[1]) : "");
            } catch (IllegalArgumentException notEncoded) {
                form.put(parts[0], parts.length > 1 ? parts[1] : "");
            }
        }
        return form;
    }

    private static String decode(String text) {
        return URLDecoder.decode(text, StandardCharsets.UTF_8);
    }

    private static void send(HttpExchange exchange, int status, String type, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.getResponseHeaders().set("Cache-Control", "no-store");
        exchange.getResponseHeaders().set("X-Content-Type-Options", "nosniff");
        exchange.getResponseHeaders().set("Content-Security-Policy", Page.CONTENT_SECURITY_POLICY);
        if (status == 503) {
            exchange.getResponseHeaders().set("Retry-After", "5");
        }
        if (exchange.getRequestMethod().equals("HEAD")) {
            exchange.getResponseHeaders().set("Content-Length", Integer.toString(bytes.length));
            exchange.sendResponseHeaders(status, -1);
        } else {
            exchange.sendResponseHeaders(status, bytes.length);
            exchange.getResponseBody().write(bytes);
        }
    }
}
