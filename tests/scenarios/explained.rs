//! A failure explains itself. Each is produced for real; what a person reads, in the client and through the API that `cf`
//! reads, is compared with a text that somebody reviewed: the files in `snapshots`.

mod normal;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::TcpListener;

use crate::harness::{DOMAIN, PERL_APP, PERL_SERVER, Platform, Ran, ran, signal};
use normal::Normal;

/// What a failed command showed: its code, and its words on standard error.
fn shown(normal: &Normal, command: &str, failed: &Ran) -> String {
    let error = failed
        .stderr
        .find('✗')
        .map_or("", |at| &failed.stderr[at..]);
    format!(
        "$ slipway {}\n{}exit code {}\n",
        normal.of(command).trim_end(),
        normal.of(error),
        failed.code
    )
}

/// What `cf` is told of the same: the newest build's error, or else the details of the first instance, the platform's own
/// last lines in the log, and the newest event of a crash.
fn told(normal: &Normal, platform: &Platform, app: &str) -> String {
    let apps = platform.api_json(&format!("/v3/apps?names={app}"));
    let guid = apps["resources"][0]["guid"]
        .as_str()
        .expect("the app is there");
    let mut text = String::new();
    let builds = platform.api_json(&format!("/v3/builds?app_guids={guid}&order_by=-created_at"));
    if let Some(error) = builds["resources"][0]["error"].as_str() {
        let _ = write!(text, "\nbuild error\n{}", normal.of(error));
    }
    let stats = platform.api_json(&format!("/v3/processes/{guid}/stats"));
    if let Some(details) = stats["resources"][0]["details"].as_str() {
        let _ = write!(text, "\ninstance details\n{}", normal.of(details));
    }
    let crashes = format!("/v3/audit_events?types=audit.app.process.crash&target_guids={guid}");
    let crashes = platform.api_json(&crashes);
    if let Some(words) = crashes["resources"][0]["data"]["exit_description"].as_str() {
        let _ = write!(text, "\nevent\n{}", normal.of(words));
    }
    let logs = platform.run(&["logs", app, "--recent"]).ok();
    // How often the platform tried until now is chance.
    let own = logs
        .stdout
        .lines()
        .filter_map(|line| line.split_once("[CELL/"))
        .map(|(_, line)| normal.of(&format!("[CELL/{line}")))
        .collect::<BTreeSet<_>>();
    if !own.is_empty() {
        text.push_str("\nlog\n");
        text.extend(own);
    }
    text
}

/// Compares with a file: `INSTA_UPDATE=always cargo test --test scenarios explained` writes them anew.
macro_rules! assert_text {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, $text);
        })
    };
}

#[test]
fn builds_that_fail_say_what_was_found_and_what_the_tool_said() {
    let platform = Platform::start();
    let normal = Normal::of_platform(&platform);

    let source = platform.app(
        "unknown",
        &[
            ("README.md", "hello"),
            ("service-a/pom.xml", "<project/>"),
            ("service-b/package.json", "{}"),
        ],
    );
    let failed = platform.run_in(&source, &["push", "unknown"]);
    let text = shown(&normal, "push unknown", &failed) + &told(&normal, &platform, "unknown");
    assert_text!("e_detect", text);

    // No tool of a language, so that its output is the same on every host: a Procfile that cannot be read.
    let source = platform.app("procfile", &[("Procfile", "web java -jar app.jar\n")]);
    let failed = platform.run_in(&source, &["push", "procfile"]);
    let text = shown(&normal, "push procfile", &failed) + &told(&normal, &platform, "procfile");
    assert_text!("e_build_refused", text);

    let source = platform.app("works", PERL_APP);
    platform
        .run_in(&source, &["push", "works", "-m", "64M"])
        .ok();
    std::fs::remove_file(source.join("Procfile")).expect("removed");
    std::fs::remove_file(source.join("server.pl")).expect("removed");
    std::fs::write(
        source.join("Main.java"),
        "public class Main { public static void main(String[] a) { Lisst x; } }\n",
    )
    .expect("written");
    let failed = platform.run_in(&source, &["push", "works", "-m", "64M"]);
    let text = shown(&normal, "push works", &failed) + &told(&normal, &platform, "works");
    assert_text!("e_build", text);
    assert_eq!(platform.get("works", "/").status, 200, "the release before");
}

#[test]
fn apps_that_do_not_start_say_why_in_their_own_words() {
    let platform = Platform::start();
    let normal = Normal::of_platform(&platform);
    let push = |name: &str, files: &[(&str, &str)], flags: &[&str]| {
        let source = platform.app(name, files);
        let mut words = vec!["push", name, "-m", "64M"];
        words.extend(flags);
        let failed = platform.run_in(&source, &words);
        shown(&normal, &words.join(" "), &failed) + &told(&normal, &platform, name)
    };

    platform
        .run(&[
            "cups",
            "db",
            "-p",
            r#"{"uri":"mongodb://u:p@db.example/x"}"#,
        ])
        .ok();
    let procfile = "web: echo 'Exception: MONGODB_URI is not set' >&2; exit 7\n";
    assert_text!("e_crash", push("crash", &[("Procfile", procfile)], &[]));

    let wrong = PERL_SERVER
        .replace("'0.0.0.0'", "'127.0.0.1'")
        .replace("$ENV{PORT}, Listen", "3000, Listen");
    let files = [
        ("server.pl", wrong.as_str()),
        ("Procfile", "web: perl server.pl\n"),
    ];
    assert_text!("e_port", push("port", &files, &["-t", "15"]));

    let procfile = "web: exec sleep 1000\n";
    let text = push("deaf", &[("Procfile", procfile)], &["-t", "3"]);
    assert_text!("e_port_deaf", text);

    let hungry = "my $x = ''; print \"eating\\n\"; while (1) { $x .= 'x' x 1000000; }";
    let files = [("eat.pl", hungry), ("Procfile", "web: exec perl eat.pl\n")];
    assert_text!("e_oom", push("oom", &files, &[]));

    // A release that fails in place of one that serves.
    let source = platform.app("shop", PERL_APP);
    platform
        .run_in(&source, &["push", "shop", "-m", "64M"])
        .ok();
    let procfile = "web: echo 'no such table: items' >&2; exit 1\n";
    let text = push("shop", &[("Procfile", procfile)], &[]);
    assert_text!("e_crash_kept", text);
    assert_eq!(platform.get("shop", "/").body, "instance 0");
}

#[test]
fn what_the_platform_cannot_give_is_named_with_figures() {
    let platform = Platform::start();
    let normal = Normal::of_platform(&platform);
    let source = platform.app("huge", PERL_APP);
    let failed = platform.run_in(&source, &["push", "huge", "-m", "900G"]);
    assert_text!("e_capacity", shown(&normal, "push huge -m 900G", &failed));

    let reserved = format!("api.{DOMAIN}");
    let failed = platform.run_in(
        &source,
        &["push", "huge", "-m", "64M", "--route", &reserved],
    );
    let command = format!("push huge -m 64M --route {reserved}");
    assert_text!("e_route", shown(&normal, &command, &failed));
}

#[test]
fn mistakes_in_a_manifest_are_shown_where_they_are() {
    let platform = Platform::start();
    let normal = Normal::of_platform(&platform);
    let mut text = String::new();
    for (name, manifest) in [
        ("key", "applications:\n- name: hello\n  memmory: 512M\n"),
        ("value", "applications:\n- name: hello\n  memory: lots\n"),
        (
            "variable",
            "applications:\n- name: hello\n  memory: ((memory))\n",
        ),
        ("yaml", "applications:\n- name: hello\n  env: {A: 1\n"),
    ] {
        let source = platform.app(name, PERL_APP);
        std::fs::write(source.join("manifest.yml"), manifest).expect("written");
        let failed = platform.run_in(&source, &["push"]);
        let _ = writeln!(text, "{}", shown(&normal, "push", &failed));
    }
    assert_text!("e_manifest", text);

    // The same mistake as the API tells it.
    let space = platform.api_json("/v3/spaces")["resources"][0]["guid"].clone();
    let path = format!(
        "/v3/spaces/{}/actions/apply_manifest",
        space.as_str().expect("a guid")
    );
    let manifest = b"applications:\n- name: hello\n  memmory: 512M\n";
    let answer = platform.api("POST", &path, "application/x-yaml", manifest);
    let errors: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let detail = errors["errors"][0]["detail"].as_str().unwrap_or_default();
    assert_text!(
        "e_manifest_api",
        format!("{}\n{}\n", answer.status, normal.of(detail))
    );
    let apps = platform.api_json("/v3/apps");
    assert_eq!(apps["pagination"]["total_results"], 0);
}

#[test]
fn who_is_not_let_in_and_who_gets_no_answer_is_told_what_to_type() {
    let mut platform = Platform::start();
    let normal = Normal::of_platform(&platform);
    let api = format!("http://{}", platform.front);
    let stranger = |password: &str, words: &[&str]| {
        let mut command = platform.slipway();
        command
            .env("SLIPWAY_HOME", platform.folder().join("stranger"))
            .stdin(std::process::Stdio::null());
        if !password.is_empty() {
            command.env("SLIPWAY_PASSWORD", password);
        }
        let failed = ran(&command.args(words).output().expect("slipway runs"));
        shown(&normal, &words.join(" "), &failed)
    };
    let mut text = stranger("", &["apps"]);
    // A token of a login that ended two hours ago, as the client finds it in its folder.
    let path = platform.folder().join("client/config.json");
    let kept = std::fs::read(&path).expect("logged in");
    let mut config: serde_json::Value = serde_json::from_slice(&kept).expect("JSON");
    config["access_token"] = normal::token_that_ended(2 * 3600 + 60).into();
    config["refresh_token"] = serde_json::Value::Null;
    std::fs::write(&path, config.to_string()).expect("written");
    let failed = platform.run(&["apps"]);
    let _ = write!(text, "\n{}", shown(&normal, "apps", &failed));
    // One that the server does not take.
    let failed = ran(&platform
        .slipway()
        .env("SLIPWAY_API", &api)
        .env("SLIPWAY_TOKEN", normal::token_that_ended(-3600))
        .args(["orgs"])
        .output()
        .expect("slipway runs"));
    let _ = write!(text, "\n{}", shown(&normal, "orgs", &failed));
    assert_text!("e_login", text);
    std::fs::write(&path, kept).expect("written");

    let login = ["login", "-a", &api, "-u", "admin"];
    let mut text = stranger("wrong", &login);
    for _ in 0..3 {
        stranger("wrong", &login);
    }
    let _ = write!(text, "\n{}", stranger("wrong", &login));
    let _ = write!(text, "\n{}", stranger("wrong", &login));
    assert_text!("e_cred", text);

    // Nobody listens at all; then the API alone is away, behind a router that serves apps.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let nowhere = format!("http://{address}");
    let words = ["login", "-a", &nowhere, "-u", "admin", "-p", "x"];
    let mut text = stranger("", &words).replace(&address, "127.0.0.1:PORT");
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    platform.kill_up();
    signal(platform.pid("server"), "KILL");
    let failed = platform.run(&["apps"]);
    let _ = write!(text, "\n{}", shown(&normal, "apps", &failed));
    assert_eq!(platform.get("web", "/").status, 200);
    assert_text!("e_server", text);
    platform.up(&[]);
}

#[test]
fn every_code_is_in_the_users_list_and_every_one_listed_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = ["cli/src", "src", "api", "router/src"]
        .map(|folder| root.join(folder))
        .to_vec();
    let mut used = BTreeSet::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("readable");
            open.extend(entries.map(|entry| entry.expect("listed").path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            used.extend(codes(&text, '"'));
        }
    }
    let list = std::fs::read_to_string(root.join("docs/user/errors.md")).expect("the list");
    let listed = codes(&list, '`').collect::<BTreeSet<_>>();
    assert_eq!(
        listed, used,
        "left: docs/user/errors.md, right: the sources"
    );
}

/// The codes that stand between two of this character.
fn codes(text: &str, quote: char) -> impl Iterator<Item = String> {
    text.split(quote).filter_map(|word| {
        let name = word.strip_prefix("E-")?;
        let is_code = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase());
        is_code.then(|| word.to_owned())
    })
}
