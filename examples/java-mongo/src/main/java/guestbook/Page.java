package guestbook;

import guestbook.Entries.Entry;

import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Locale;

/** The HTML. Everything is in the page itself: no script, no font, no picture from elsewhere. */
final class Page {
    static final String CONTENT_SECURITY_POLICY =
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

    private static final DateTimeFormatter WHEN =
            DateTimeFormatter.ofPattern("d MMMM uuuu, HH:mm 'UTC'", Locale.ENGLISH).withZone(ZoneOffset.UTC);

    private static final String FRAME = """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>Guestbook</title>
            <link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M3 2h8l2 2v10H3z' fill='%231f7a8c'/%3E%3C/svg%3E">
            <style>
            :root { --ground: #f6f4ef; --paper: #fff; --ink: #22282e; --soft: #66707a; --line: #dedad0; --accent: #1f6f80; --on-accent: #fff; --warn: #8a4b00; --warn-paper: #fff4e0; }
            @media (prefers-color-scheme: dark) {
              :root { --ground: #15191d; --paper: #1e242a; --ink: #e6e9ec; --soft: #98a3ad; --line: #313a43; --accent: #6cc3d5; --on-accent: #10242a; --warn: #ffcf8a; --warn-paper: #3a2c14; }
            }
            * { box-sizing: border-box; }
            body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
            main { max-width: 40rem; margin: 0 auto; padding: 3rem 1.25rem; }
            h1 { margin: 0 0 .25rem; font-size: 2rem; letter-spacing: -.01em; }
            .lead, time, footer, .empty { color: var(--soft); }
            .lead { margin: 0 0 2rem; }
            form, article, .notice { background: var(--paper); border: 1px solid var(--line); border-radius: .75rem; padding: 1.25rem; }
            label { display: block; font-weight: 600; margin-bottom: .9rem; }
            input, textarea { display: block; width: 100%; margin-top: .3rem; padding: .6rem .7rem; font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: .5rem; }
            textarea { min-height: 6rem; resize: vertical; }
            button { padding: .6rem 1.4rem; font: inherit; font-weight: 600; color: var(--on-accent); background: var(--accent); border: 0; border-radius: .5rem; cursor: pointer; }
            :is(input, textarea, button):focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
            .notice { color: var(--warn); background: var(--warn-paper); border-color: transparent; margin-bottom: 1.25rem; }
            section { margin-top: 2rem; }
            article { margin-bottom: .9rem; }
            article header { display: flex; flex-wrap: wrap; gap: .25rem .75rem; justify-content: space-between; }
            article p { margin: .4rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
            strong { overflow-wrap: anywhere; }
            time, footer { font-size: .875rem; }
            .empty { text-align: center; padding: 2rem 0; }
            footer { margin-top: 2.5rem; }
            </style>
            </head>
            <body>
            <main>
            <h1>Guestbook</h1>
            <p class="lead">Built from plain Java source, kept in MongoDB, run by Slipway.</p>
            {content}
            <footer>Answered by instance {instance}.</footer>
            </main>
            </body>
            </html>
            """;

    private static final String FORM = """
            <form method="post" action="/" accept-charset="utf-8">
            <label>Your name<input name="name" maxlength="%d" autocomplete="name" placeholder="Somebody" value="%s"></label>
            <label>Your message<textarea name="message" maxlength="%d" required>
            %s</textarea></label>
            <button>Sign the book</button>
            </form>
            """;

    static String guestbook(List<Entry> entries, String hint, String name, String message, String instance) {
        StringBuilder content = new StringBuilder(hint.isEmpty() ? "" : warning(hint)).append(form(name, message));
        content.append("<section aria-label=\"Entries\">\n");
        if (entries.isEmpty()) {
            content.append("<p class=\"empty\">Nobody has signed yet. Be the first.</p>\n");
        }
        for (Entry entry : entries) {
            content.append("<article><header><strong>").append(escaped(entry.name())).append("</strong><time datetime=\"")
                    .append(entry.at()).append("\">").append(WHEN.format(entry.at())).append("</time></header><p>")
                    .append(escaped(entry.message())).append("</p></article>\n");
        }
        if (entries.size() == Entries.MOST_SHOWN) {
            content.append("<p class=\"empty\">These are the newest ").append(Entries.MOST_SHOWN).append(".</p>\n");
        }
        return frame(content.append("</section>\n").toString(), instance);
    }

    /** Keeps what the visitor wrote, so that it can be sent again. */
    static String unavailable(String why, String name, String message, String instance) {
        return frame(warning(why + " This page works again as soon as it does.") + form(name, message), instance);
    }

    static String notice(String text, String instance) {
        return frame(warning(text) + "<p><a href=\"/\">To the guestbook</a></p>\n", instance);
    }

    private static String form(String name, String message) {
        return FORM.formatted(Site.MOST_NAME_CHARS, escaped(name), Site.MOST_MESSAGE_CHARS, escaped(message));
    }

    private static String warning(String text) {
        return "<p class=\"notice\" role=\"alert\">" + escaped(text) + "</p>\n";
    }

    private static String frame(String content, String instance) {
        return FRAME.replace("{instance}", escaped(instance)).replace("{content}", content);
    }

    private static String escaped(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;").replace("'", "&#39;");
    }

    private Page() {}
}
