//! What goes wrong says what, where, and what to do next; nothing half-made is left.

use std::io::Write as _;

use crate::harness::{PERL_SERVER, Platform};

#[test]
fn mistakes_of_a_push_are_explained() {
    let platform = Platform::start();

    let source = platform.app(
        "typo",
        &[
            (
                "manifest.yml",
                "applications:\n- name: typo\n  memmory: 512M\n",
            ),
            ("server.pl", PERL_SERVER),
            ("Procfile", "web: perl server.pl\n"),
        ],
    );
    platform.run_in(&source, &["push"]).fails(
        2,
        &["manifest.yml:3:3", "memmory", "did you mean", "memory"],
    );
    assert_eq!(
        platform.api_json("/v3/apps")["pagination"]["total_results"],
        0
    );

    let source = platform.app(
        "unknown",
        &[("README.md", "hello"), ("sub/pom.xml", "<project/>")],
    );
    platform
        .run_in(&source, &["push", "unknown"])
        .fails(10, &["no buildpack", "pom.xml", "README.md", "-p sub"]);

    let source = platform.app("broken", &[
        ("pom.xml", "<project><modelVersion>4.0.0</modelVersion><groupId>g</groupId><artifactId>a</artifactId><version>1</version>\
          <properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target></properties></project>"),
        ("src/main/java/Main.java", "public class Main { public static void main(String[] a) { Strin x; } }"),
    ]);
    platform
        .run_in(&source, &["push", "broken"])
        .fails(10, &["mvn", "Strin", "cannot find symbol"]);

    let source = platform.app(
        "crash",
        &[(
            "Procfile",
            "web: echo 'MONGODB_URI is not set' >&2; exit 7\n",
        )],
    );
    platform
        .run_in(&source, &["push", "crash", "-m", "64M"])
        .fails(11, &["MONGODB_URI is not set", "exited with 7"]);

    let wrong = PERL_SERVER
        .replace("'0.0.0.0'", "'127.0.0.1'")
        .replace("$ENV{PORT}, Listen", "3000, Listen");
    let source = platform.app(
        "port",
        &[("server.pl", &wrong), ("Procfile", "web: perl server.pl\n")],
    );
    platform
        .run_in(&source, &["push", "port", "-m", "64M", "-t", "15"])
        .fails(11, &["127.0.0.1:3000", "perl", "0.0.0.0:$PORT"]);

    let hungry = "my $x = ''; print \"eating\\n\"; while (1) { $x .= 'x' x 1000000; }";
    let source = platform.app(
        "oom",
        &[("eat.pl", hungry), ("Procfile", "web: perl eat.pl\n")],
    );
    platform
        .run_in(&source, &["push", "oom", "-m", "64M"])
        .fails(11, &["memory 64M", "peak"]);

    let source = platform.app(
        "huge",
        &[
            ("server.pl", PERL_SERVER),
            ("Procfile", "web: perl server.pl\n"),
        ],
    );
    platform
        .run_in(&source, &["push", "huge", "-m", "900G"])
        .fails(12, &["900G", "largest"]);

    // What fits runs; for the rest the reason is told.
    platform
        .run_in(&source, &["push", "huge", "-m", "1G", "-i", "1000"])
        .fails(
            12,
            &[
                "of 1000 instances run",
                "insufficient resources: memory",
                "1G",
            ],
        );
}

#[test]
fn hostile_uploads_are_refused_and_write_nothing() {
    let platform = Platform::start();
    let space = platform.api_json("/v3/spaces")["resources"][0]["guid"]
        .as_str()
        .expect("a space")
        .to_owned();
    let body = format!(
        r#"{{"name":"victim","relationships":{{"space":{{"data":{{"guid":"{space}"}}}}}}}}"#
    );
    let app = platform.api("POST", "/v3/apps", "application/json", body.as_bytes());
    assert_eq!(app.status, 201, "{}", app.body);
    let app: serde_json::Value = serde_json::from_str(&app.body).expect("JSON");
    let app = app["guid"].as_str().expect("a guid");

    type Write = fn(&mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>);
    let cases: [(&str, Write); 5] = [
        ("leaves", |zip| {
            zip.start_file("../../evil", zip::write::SimpleFileOptions::default())
                .expect("start")
        }),
        ("absolute", |zip| {
            zip.start_file("/etc/evil", zip::write::SimpleFileOptions::default())
                .expect("start")
        }),
        ("link", |zip| {
            zip.add_symlink("link", "/etc", zip::write::SimpleFileOptions::default())
                .expect("link")
        }),
        ("100000 files", |zip| {
            let stored = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            for index in 0..100_001 {
                zip.start_file(format!("{index}"), stored).expect("start");
            }
        }),
        ("MiB", |zip| {
            let options = zip::write::SimpleFileOptions::default().large_file(true);
            let zeros = vec![0; 1024 * 1024];
            zip.start_file("bomb", options).expect("start");
            for _ in 0..(4 * 1024 + 1) {
                zip.write_all(&zeros).expect("write");
            }
        }),
    ];
    for (why, write) in cases {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        write(&mut writer);
        let archive = writer.finish().expect("finish").into_inner();
        let body =
            format!(r#"{{"type":"bits","relationships":{{"app":{{"data":{{"guid":"{app}"}}}}}}}}"#);
        let package = platform.api("POST", "/v3/packages", "application/json", body.as_bytes());
        let package: serde_json::Value = serde_json::from_str(&package.body).expect("JSON");
        let package = package["guid"].as_str().expect("a guid");
        let mut form = b"--b\r\nContent-Disposition: form-data; name=\"bits\"; filename=\"package.zip\"\r\n\r\n".to_vec();
        form.extend_from_slice(&archive);
        form.extend_from_slice(b"\r\n--b--\r\n");
        let path = format!("/v3/packages/{package}/upload");
        let response = platform.api("POST", &path, "multipart/form-data; boundary=b", &form);
        assert!(
            (400..500).contains(&response.status),
            "{why}: {} {}",
            response.status,
            response.body
        );
        assert!(response.body.contains(why), "{why}: {}", response.body);
    }
    assert!(
        !platform.folder().join("evil").exists() && !std::path::Path::new("/etc/evil").exists()
    );
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let platform = Platform::start();
    let api = format!("http://{}", platform.front);
    let stranger = |args: &[&str]| {
        let home = platform.folder().join("stranger");
        crate::harness::ran(
            &platform
                .slipway()
                .env("SLIPWAY_HOME", home)
                .args(args)
                .output()
                .expect("runs"),
        )
    };
    stranger(&["apps"]).fails(4, &["not logged in", "slipway login"]);
    let output = platform
        .slipway()
        .env("SLIPWAY_HOME", platform.folder().join("stranger"))
        .env("SLIPWAY_PASSWORD", "wrong")
        .args(["login", "-a", &api, "-u", "admin"])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("runs");
    crate::harness::ran(&output).fails(4, &["user or password not accepted", "admin-password"]);
    stranger(&[
        "login",
        "-a",
        "http://127.0.0.1:9",
        "-u",
        "admin",
        "-p",
        "x",
    ])
    .fails(69, &["did not answer"]);
    platform.run(&["app", "nobody"]).fails(5, &["nobody"]);
}
