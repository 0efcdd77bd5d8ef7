//! Credentials reach apps, byte for byte, and nobody else.

use crate::harness::{PERL_APP, Platform};

#[test]
fn a_user_provided_service_yields_vcap_services_and_the_habitual_name() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform
        .run(&[
            "cups",
            "mongo",
            "-p",
            r#"{"uri":"mongodb://u:s3cret$1@db.example/x","note":"ü \" '"}"#,
        ])
        .ok();
    platform
        .run_in(&source, &["push", "web", "-m", "64M", "--no-start"])
        .ok();
    platform.run(&["bind-service", "web", "mongo"]).ok();
    platform.run(&["start", "web"]).ok();
    assert_eq!(
        platform.get("web", "/env/MONGODB_URI").body,
        "mongodb://u:s3cret$1@db.example/x"
    );
    let vcap: serde_json::Value =
        serde_json::from_str(&platform.get("web", "/env/VCAP_SERVICES").body).expect("JSON");
    let service = &vcap["user-provided"][0];
    assert_eq!(service["name"], "mongo");
    assert_eq!(service["credentials"]["note"], "ü \" '");

    // The app's own variable wins over the binding.
    platform
        .run(&["set-env", "web", "MONGODB_URI", "mongodb://own"])
        .ok();
    assert_eq!(
        platform.get("web", "/env/MONGODB_URI").body,
        "mongodb://u:s3cret$1@db.example/x"
    );
    platform.run(&["restart", "web"]).ok();
    assert_eq!(
        platform.get("web", "/env/MONGODB_URI").body,
        "mongodb://own"
    );

    platform.run(&["unset-env", "web", "MONGODB_URI"]).ok();
    platform.run(&["unbind-service", "web", "mongo"]).ok();
    platform.run(&["restart", "web"]).ok();
    assert_eq!(platform.get("web", "/env/MONGODB_URI").body, "(unset)");

    // No secret lies on disk in the clear, and none is in a log.
    let data = platform.data();
    let output = std::process::Command::new("grep")
        .args(["-r", "-l", "-a", "s3cret$1"])
        .arg(&data)
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn a_bound_loopback_address_is_passed_on_with_a_warning() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    let pushed = platform
        .run_in(
            &source,
            &[
                "push",
                "web",
                "-m",
                "64M",
                "--env",
                "MONGODB_URI=mongodb://127.0.0.1:27017/x",
            ],
        )
        .ok();
    assert!(
        pushed.stderr.contains("host.slipway.internal"),
        "{}",
        pushed.stderr
    );
    assert_eq!(
        platform.get("web", "/env/MONGODB_URI").body,
        "mongodb://127.0.0.1:27017/x"
    );
}
