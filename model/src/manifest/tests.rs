use proptest::prelude::*;

use super::*;

fn app(text: &str) -> AppManifest {
    let manifest = Manifest::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    manifest.applications.into_iter().next().expect("one app")
}

fn of_app(lines: &str) -> AppManifest {
    app(&format!("applications:\n- name: hello\n{lines}"))
}

fn error(text: &str) -> String {
    let error = Manifest::parse(text).expect_err(text);
    let mut shown = error.to_string();
    for line in error.excerpt_lines() {
        shown.push('\n');
        shown.push_str(&line);
    }
    if let Some(hint) = error.hint {
        shown.push_str("\ntry ");
        shown.push_str(&hint);
    }
    shown
}

const EVERYTHING: &str = r#"---
version: 1
defaults: &defaults
  memory: 1G
  env: {A: "1"}
applications:
- <<: *defaults
  name: shop
  path: target/shop.jar
  disk-quota: 2G
  instances: 3
  buildpacks: [java, procfile]
  stack: host
  command: null
  log-rate-limit-per-second: 16K
  health-check-type: http
  health-check-http-endpoint: /health
  health-check-invocation-timeout: 2
  health-check-interval: 5
  timeout: 90
  readiness-health-check-type: port
  readiness-health-check-http-endpoint: /ready
  readiness-health-check-invocation-timeout: 3
  readiness-health-check-interval: 4
  routes:
  - route: shop.example.com/admin
    protocol: http1
    options: {loadbalancing: least-connection}
  no-route: false
  random-route: false
  default-route: true
  services:
  - mongo
  - name: queue
    binding_name: jobs
    parameters: {size: 3, deep: {on: true}}
  lifecycle: buildpack
  docker: {image: nginx, username: me}
  processes:
  - type: worker
    command: ./work
    memory: 256M
    instances: 0
    disk_quota: 1G
  sidecars:
  - name: watch
    process_types: [web]
    command: ./watch
    memory: 64M
  metadata:
    labels: {team: blue, gone: null}
    annotations: {note: "x: y"}
  features: {ssh: true, revisions: false}
"#;

#[test]
fn every_attribute_of_cloud_foundry_is_read_and_written_back() {
    let first = Manifest::parse(EVERYTHING).expect("valid");
    let shop = &first.applications[0];
    assert_eq!(
        shop.web.memory,
        Setting::Set(Megabytes(1024)),
        "from the merged anchor"
    );
    assert_eq!(shop.web.command, Setting::Reset);
    assert_eq!(shop.web.log_rate_limit, Setting::Set(16 * 1024));
    assert_eq!(shop.web.disk_quota, Setting::Set(Megabytes(2048)));
    assert_eq!(shop.processes[0].settings.instances, Setting::Set(0));
    assert_eq!(shop.services[1].binding_name.as_deref(), Some("jobs"));
    assert_eq!(
        shop.metadata.as_ref().map(|m| m.labels["gone"].clone()),
        Some(None)
    );
    assert_eq!(
        shop.position("docker"),
        Some(Position {
            line: 38,
            column: 3
        })
    );
    let yaml = first.to_yaml();
    let second = Manifest::parse(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    assert_eq!(yaml, second.to_yaml());
    assert_eq!(shop.web, second.applications[0].web);
    assert_eq!(shop.services, second.applications[0].services);
    assert_eq!(shop.routes, second.applications[0].routes);
}

#[test]
fn null_resets_and_an_absent_key_keeps() {
    assert_eq!(of_app("").web.command, Setting::Keep);
    for null in ["null", "~", ""] {
        assert_eq!(
            of_app(&format!("  command: {null}\n")).web.command,
            Setting::Reset,
            "{null}"
        );
    }
    assert_eq!(
        of_app("  command: 'null'\n").web.command,
        Setting::Set("null".into())
    );
    assert_eq!(
        of_app("  buildpacks: []\n").buildpacks,
        Setting::Set(vec![])
    );
    assert_eq!(of_app("  buildpack: default\n").buildpacks, Setting::Reset);
    assert_eq!(
        of_app("  buildpack: java\n").buildpacks,
        Setting::Set(vec!["java".into()])
    );
}

#[test]
fn env_values_survive_byte_for_byte() {
    let app = of_app(
        "  env:\n    PORT_NO: 8080\n    PI: 1.10\n    ON: true\n    ANSWER: yes\n    HEX: 0x1F\n    QUOTED: \"a$b \\\"q\\\" ä\"\n    \
         LINES: |\n      one\n      two\n    EMPTY: \"\"\n    GONE: null\n    LIST: [1, {a: b}]\n",
    );
    let got: Vec<_> = app
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_ref().map(|v| v.expose().as_str())))
        .collect();
    assert_eq!(
        got,
        [
            ("ANSWER", Some("yes")),
            ("EMPTY", Some("")),
            ("GONE", None),
            ("HEX", Some("0x1F")),
            ("LINES", Some("one\ntwo\n")),
            ("LIST", Some(r#"[1,{"a":"b"}]"#)),
            ("ON", Some("true")),
            ("PI", Some("1.10")),
            ("PORT_NO", Some("8080")),
            ("QUOTED", Some("a$b \"q\" ä")),
        ]
    );
}

#[test]
fn errors_say_where_and_what_instead() {
    let cases = [
        "applications:\n- name: hello\n  memmory: 512M\n",
        "applications:\n- name: hello\n  memory: 512\n",
        "applications:\n- name: hello\n  instances: many\n",
        "applications:\n- name: hello\n  no-route: 3\n",
        "applications:\n- name: hello\n  env: [A, B]\n",
        "applications:\n- name: hello\n  name: again\n",
        "applications:\n- name: hello\n  host: shop\n",
        "applications:\n- name: hello\n  replicas: 3\n",
        "applications:\n- name: hello\n  routes:\n  - shop.example.com\n",
        "applications:\n- name: hello\n  health-check-type: tcp\n",
        "aplications:\n- name: hello\n",
        "applications: {}\n",
        "applications:\n- name: hello\n   memory: 1G\n",
        "version: 2\napplications:\n- name: a\n",
        "",
    ];
    let shown: Vec<String> = cases.iter().map(|text| error(text)).collect();
    insta::assert_snapshot!(shown.join("\n\n"), @r#"
    3:3 unknown key 'memmory' — did you mean 'memory'?
    2 | - name: hello
    3 |   memmory: 512M

    3:11 expected a size such as 512M or 1G, found '512'
    2 | - name: hello
    3 |   memory: 512

    3:14 expected a number of instances, found 'many'
    2 | - name: hello
    3 |   instances: many

    3:13 expected true or false, found '3'
    2 | - name: hello
    3 |   no-route: 3

    3:8 expected a map of keys and values, found a list
    2 | - name: hello
    3 |   env: [A, B]

    3:3 the key 'name' stands here twice
    2 | - name: hello
    3 |   name: again

    3:3 the key 'host' is no longer known
    2 | - name: hello
    3 |   host: shop
    try routes: [{route: HOST.DOMAIN}]

    3:3 unknown key 'replicas'
    2 | - name: hello
    3 |   replicas: 3
    try known here: buildpack, buildpacks, command, default-route, disk-quota, disk_quota, docker, env, features, health-check-http-endpoint, health-check-interval, health-check-invocation-timeout, health-check-type, instances, lifecycle, log-rate-limit-per-second, memory, metadata, name, no-route, path, processes, random-route, readiness-health-check-http-endpoint, readiness-health-check-interval, readiness-health-check-invocation-timeout, readiness-health-check-type, routes, services, sidecars, stack, timeout

    4:5 expected a route of the form '- route: HOST.DOMAIN', found 'shop.example.com'
    3 |   routes:
    4 |   - shop.example.com
    try - route: shop.example.com

    3:22 expected one of port, http, process, none, found 'tcp'
    2 | - name: hello
    3 |   health-check-type: tcp

    1:1 unknown key 'aplications' — did you mean 'applications'?
    1 | aplications:

    1:15 expected a list, found a map
    1 | applications: {}

    3:10 this is not valid YAML: mapping values are not allowed in this context
    2 | - name: hello
    3 |    memory: 1G

    1:10 manifests of version 2 are not known; write 'version: 1'
    1 | version: 2

    1:1 the manifest is empty
    try applications: [{name: my-app}]
    "#);
}

#[test]
fn variables_are_replaced_and_a_missing_one_is_named() {
    let text = "applications:\n- name: ((name))-((stage))\n  instances: ((n))\n  command: echo $((1+2))\n  services: ((services))\n  \
                env: {URI: ((db.uri)), N: ((n)), EMPTY: ((none))}\n";
    let mut vars = Vars::new();
    vars.add_file("name: overridden\nstage: prod\nservices: [mongo]\ndb: {uri: 'mongodb://h/x'}\n")
        .expect("a map");
    for (name, value) in [("name", "shop"), ("n", "3"), ("none", "null")] {
        vars.set(name, value);
    }
    let manifest = Manifest::parse_with_vars(text, &vars).expect("all variables have values");
    let app = &manifest.applications[0];
    assert_eq!(app.name.as_deref(), Some("shop-prod"));
    assert_eq!(app.web.instances, Setting::Set(3));
    assert_eq!(app.web.command, Setting::Set("echo $((1+2))".into()));
    assert_eq!(app.services[0].name, "mongo");
    let env = |name: &str| app.env[name].as_ref().map(|value| value.expose().as_str());
    assert_eq!(
        [env("URI"), env("N"), env("EMPTY")],
        [Some("mongodb://h/x"), Some("3"), Some("null")]
    );

    let error = Manifest::parse_with_vars("applications:\n- name: ((who))\n", &Vars::new())
        .expect_err("no value");
    assert_eq!(error.to_string(), "2:9 the variable 'who' has no value");
    assert_eq!(
        error.hint.as_deref(),
        Some("--var who=VALUE, or a line in the file of --vars-file")
    );
    assert!(!format!("{vars:?}").contains("mongodb"));
    assert_eq!(app_name_without_vars(), "((who))");
}

fn app_name_without_vars() -> String {
    app("applications:\n- name: ((who))\n")
        .name
        .expect("a name")
}

#[test]
fn what_grows_without_bound_is_refused() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(error(&laughs).contains("too large when its aliases are expanded"));
    assert!(
        error(&format!(
            "applications: {}1{}",
            "[".repeat(40),
            "]".repeat(40)
        ))
        .contains("levels inside each other")
    );
    let long = format!("applications:\n- name: {}\n", "x".repeat(MAX_BYTES));
    assert!(error(&long).contains("bytes; at most"));
    let loop_text = "applications: &a\n- name: x\n  env: *a\n";
    assert!(Manifest::parse(loop_text).is_err());
}

#[test]
fn what_a_variable_brings_is_checked_where_it_stands() {
    let error = |app: &str, vars_text: &str| {
        let mut vars = Vars::new();
        vars.add_file(vars_text).expect("a map");
        let text = format!("applications:\n- name: hello\n  {app}\n");
        let error = Manifest::parse_with_vars(&text, &vars).expect_err("refused");
        assert_eq!(error.excerpt.last().map(|(line, _)| *line), Some(3));
        error.to_string()
    };
    let below = "v:\n\n\n\n- memmory: 1G\n";
    let deep = format!("v: {}{}", "[".repeat(28), "]".repeat(28));
    insta::assert_snapshot!([
        error("processes: ((v))", below),
        error("services: [{name: s, parameters: {a: ((v))}}]", &deep),
        error("services: [{name: s, parameters: {((v)): {}}}]", "v: <<"),
        error("env: {A: 1, ((v)): 2}", "v: A"),
    ].join("\n"), @"
    3:14 unknown key 'memmory' — did you mean 'memory'?
    3:40 more than 32 levels inside each other
    3:37 a key must not become '<<' by a variable
    3:15 by a variable the key 'A' stands here twice
    ");
}

#[test]
fn what_could_not_be_sent_is_refused() {
    let aliases = (0..130).map(|n| format!("A{n}: *a")).collect::<Vec<_>>();
    let text = format!(
        "x-a: &a {}\napplications:\n- env: {{{}}}\n",
        "x".repeat(8192),
        aliases.join(", ")
    );
    let error = Manifest::parse_with_vars(&text, &Vars::new()).expect_err("too large");
    assert!(
        error
            .to_string()
            .contains("when its aliases and variables are replaced")
    );

    let deep = format!(
        "x-a: &a {}{}\napplications:\n- services: [{{name: s, parameters: {{a: *a}}}}]\n",
        "[".repeat(28),
        "]".repeat(28)
    );
    let error = Manifest::parse(&deep).expect_err("too deep");
    assert_eq!(
        error.to_string(),
        "3:40 more than 32 levels inside each other"
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        let _ = Manifest::parse_with_vars(&text, &Vars::new());
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(
        text in r#"(applications|name|env|routes|- |  |\n|: |\{|\}|\[|\]|&a|\*a|<<|"|'|\||null|1|M|x|\(\(|\)\)){0,60}"#
    ) {
        let _ = Manifest::parse_with_vars(&text, &Vars::new());
    }

    #[test]
    fn any_env_value_survives_writing(value in "(?s).{0,40}", name in "[A-Za-z0-9_.]{1,10}") {
        let mut app = AppManifest::named("hello");
        app.env.insert(name.clone(), Some(Secret::new(value.clone())));
        let yaml = Manifest { version: None, applications: vec![app] }.to_yaml();
        let again = Manifest::parse(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
        let got = again.applications[0].env[&name].as_ref().map(|v| v.expose().clone());
        prop_assert_eq!(got, Some(value), "{}", yaml);
    }
}

#[test]
fn excerpts_show_the_line_however_lines_end() {
    for end in ["\n", "\r\n", "\r"] {
        let text = [
            "applications:",
            "- name: hello",
            "  memmory: 1G",
            "  instances: 2",
        ]
        .join(end);
        let error = Manifest::parse(&text).expect_err("a misspelt key");
        let shown = error.excerpt_lines().collect::<Vec<_>>();
        assert_eq!(shown, ["2 | - name: hello", "3 |   memmory: 1G"], "{end:?}");
    }
}
