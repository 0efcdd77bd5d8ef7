//! From source to an answering app.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::{PERL_APP, Platform, eventually};

pub(crate) const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId>
  <artifactId>plain</artifactId>
  <version>1.0</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
</project>
"#;

pub(crate) const MAIN: &str = r#"package com.example;

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;

public class Main {
    public static void main(String[] args) throws Exception {
        Files.writeString(Files.createTempFile("plain", ".txt"), "temporary");
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(System.getenv("PORT"))), 0);
        server.createContext("/", exchange -> {
            String text = System.getenv("CF_INSTANCE_INDEX") + " " + System.getenv("MONGODB_URI");
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, bytes.length);
            exchange.getResponseBody().write(bytes);
            exchange.close();
        });
        server.start();
        System.out.println("plain app is up");
    }
}
"#;

#[test]
fn plain_maven_source_answers_with_the_exact_uri_from_three_instances() {
    let platform = Platform::start();
    let source = platform.app(
        "plain",
        &[
            ("pom.xml", POM),
            ("src/main/java/com/example/Main.java", MAIN),
        ],
    );
    let uri = "mongodb://us$er:p%40ss'\"\\@db.example:27017/guest?x=ü&y=${HOME}\nline";
    platform
        .run_in(&source, &["push", "plain", "-m", "256M", "--no-start"])
        .ok();
    platform.run(&["set-env", "plain", "MONGODB_URI", uri]).ok();
    let pushed = platform
        .run_in(&source, &["push", "plain", "-m", "256M", "-i", "3"])
        .ok();
    let last = pushed.stdout.lines().last().expect("a last line");
    let words = last.split_whitespace().collect::<Vec<_>>();
    assert!(matches!(words[..], ["live", _, "release", _, _]), "{last}");
    assert!(words[1].contains("plain.apps.test"), "{last}");

    let mut indices = BTreeSet::new();
    for _ in 0..30 {
        let response = platform.get("plain", "/");
        assert_eq!(response.status, 200, "{}", response.body);
        let (index, found) = response.body.split_once(' ').expect("index and value");
        assert_eq!(found, uri);
        indices.insert(index.to_owned());
    }
    assert_eq!(indices.into_iter().collect::<Vec<_>>(), ["0", "1", "2"]);

    // The app layer of the same source is the same, byte for byte.
    platform.run_in(&source, &["push", "plain"]).ok();
    let digests = app_layers(&platform, "plain");
    assert!(digests.len() >= 2, "{digests:?}");
    assert_eq!(digests[0], digests[1]);

    let logs = platform.run(&["logs", "plain", "--recent"]).ok();
    assert!(logs.stdout.contains("plain app is up"), "{}", logs.stdout);
    assert!(logs.stdout.contains("STG"), "{}", logs.stdout);
}

/// The newest builds' app layers, newest first, as the server stores them.
fn app_layers(platform: &Platform, app: &str) -> Vec<String> {
    let found = platform.api_json(&format!("/v3/apps?names={app}"));
    let guid = found["resources"][0]["guid"]
        .as_str()
        .expect("a guid")
        .to_owned();
    let droplets = platform.api_json(&format!("/v3/apps/{guid}/droplets?order_by=-created_at"));
    let droplets = droplets["resources"].as_array().expect("a list");
    let digest = |droplet: &serde_json::Value| {
        let layers = droplet["layers"].as_array().expect("layers");
        let app = layers
            .iter()
            .find(|layer| layer["kind"] == "app")
            .expect("an app layer");
        app["diff_id"].as_str().expect("a digest").to_owned()
    };
    droplets.iter().map(digest).collect()
}

#[test]
fn scale_stop_start_and_delete_do_what_they_say() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    assert_eq!(platform.get("web", "/").body, "instance 0");

    platform.run(&["scale", "web", "-i", "2"]).ok();
    let both = eventually(Duration::from_secs(20), || {
        let seen = (0..6)
            .map(|_| platform.get("web", "/").body)
            .collect::<BTreeSet<_>>();
        (seen.len() == 2).then_some(())
    });
    assert!(both.is_some(), "the second instance never answered");

    platform.run(&["stop", "web"]).ok();
    let stopped = eventually(Duration::from_secs(20), || {
        (platform.get("web", "/").status == 503).then_some(())
    });
    assert!(stopped.is_some());
    assert_eq!(
        platform.get("web", "/").header("X-Cf-RouterError"),
        Some("no_endpoints")
    );
    platform.run(&["start", "web"]).ok();
    assert_eq!(platform.get("web", "/").status, 200);

    let shown = platform.run(&["app", "web"]).ok();
    assert!(
        shown.stdout.contains("running") && shown.stdout.contains("web.apps.test"),
        "{}",
        shown.stdout
    );
    platform.run(&["delete", "web", "-f", "-r"]).ok();
    let gone = platform.get("web", "/");
    assert_eq!(
        (gone.status, gone.header("X-Cf-RouterError")),
        (404, Some("unknown_route"))
    );
}

#[test]
fn unchanged_files_are_not_sent_again() {
    let platform = Platform::start();
    let big = "x = 1 # a line that is there to be long\n".repeat(20_000);
    let source = platform.app("web", PERL_APP);
    std::fs::write(source.join("data.txt"), &big).expect("a file");
    let first = platform
        .run_in(&source, &["push", "web", "-m", "64M", "--json"])
        .ok();
    let second = platform
        .run_in(&source, &["push", "web", "-m", "64M", "--json"])
        .ok();
    let sent = |ran: &crate::harness::Ran| {
        let events = ran
            .stdout
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut uploads = events.filter(|event| event["event"] == "upload.done");
        uploads
            .next_back()
            .map(|event| (event["files"].as_u64(), event["sent"].as_u64()))
    };
    assert_eq!(sent(&first).expect("an upload"), (Some(3), Some(3)));
    assert_eq!(sent(&second).expect("an upload"), (Some(3), Some(0)));
}
