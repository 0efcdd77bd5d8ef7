use std::fs;

use model::limits::Megabytes;
use model::manifest::Setting;

use super::*;

fn in_folder(manifest: Option<&str>, options: &PushOptions) -> Outcome<Plan> {
    let outer = tempfile::tempdir().expect("a folder");
    let here = outer.path().join("My_App 2");
    fs::create_dir_all(here.join("sub")).expect("made");
    if let Some(text) = manifest {
        fs::write(here.join("manifest.yml"), text).expect("written");
    }
    make_in(options, &here)
}

#[test]
fn the_name_is_flag_then_manifest_then_folder() {
    let named = PushOptions {
        app: Some("flag".into()),
        ..PushOptions::default()
    };
    let manifest = Some("applications:\n- name: shop\n");
    for (manifest, options, want) in [
        (None, PushOptions::default(), "my-app-2"),
        (manifest, PushOptions::default(), "shop"),
        (manifest, named.clone(), "flag"),
        (
            Some("applications:\n- memory: 1G\n"),
            PushOptions::default(),
            "my-app-2",
        ),
        (None, named, "flag"),
    ] {
        let plan = in_folder(manifest, &options).expect(want);
        assert_eq!(plan.apps[0].name, want);
        assert_eq!(plan.manifest.applications[0].name.as_deref(), Some(want));
    }
}

#[test]
fn flags_win_over_the_manifest() {
    let options = PushOptions {
        memory: Some(Megabytes(256)),
        instances: Some(3),
        command: Some("null".into()),
        buildpacks: vec!["java".into()],
        env: vec![("A".into(), "flag=1".into())],
        routes: vec!["http://x.example.com/p".into()],
        ..PushOptions::default()
    };
    let text = "applications:\n- name: a\n  memory: 1G\n  command: run\n  env: {A: file, B: b}\n  no-route: true\n";
    let plan = in_folder(Some(text), &options).expect("planned");
    insta::assert_snapshot!(plan.manifest.to_yaml(), @r"
    applications:
    - name: 'a'
      buildpacks:
      - 'java'
      command: null
      instances: 3
      memory: '256M'
      env:
        A: 'flag=1'
        B: 'b'
      routes:
      - route: 'x.example.com/p'
    ");
}

#[test]
fn without_any_routes_the_default_one_is_asked_for() {
    let text = |more: &str| format!("applications:\n- name: a\n{more}");
    for (more, want) in [
        ("", Some(true)),
        ("  no-route: true\n", None),
        ("  random-route: true\n", None),
        ("  routes: [{route: a.b}]\n", None),
        ("  routes: []\n", Some(true)),
    ] {
        let plan = in_folder(Some(&text(more)), &PushOptions::default()).expect("planned");
        assert_eq!(plan.manifest.applications[0].default_route, want, "{more}");
    }
}

#[test]
fn flags_of_web_reach_the_process_that_the_manifest_names() {
    let options = PushOptions {
        instances: Some(2),
        ..PushOptions::default()
    };
    let text =
        "applications:\n- name: a\n  processes: [{type: web, instances: 1}, {type: worker}]\n";
    let plan = in_folder(Some(text), &options).expect("planned");
    let app = &plan.manifest.applications[0];
    assert_eq!(app.processes[0].settings.instances, Setting::Set(2));
    assert_eq!(app.web.instances, Setting::Keep);
}

#[test]
fn of_several_apps_one_can_be_chosen() {
    let two = "applications:\n- name: a\n  path: sub\n- name: b\n";
    let plan = in_folder(Some(two), &PushOptions::default()).expect("both");
    assert_eq!(
        plan.apps
            .iter()
            .map(|app| app.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(plan.apps[0].path.ends_with("sub"));
    let one = PushOptions {
        app: Some("b".into()),
        instances: Some(1),
        ..PushOptions::default()
    };
    assert_eq!(in_folder(Some(two), &one).expect("one").apps.len(), 1);
    for (manifest, options, what) in [
        (
            two,
            PushOptions {
                instances: Some(1),
                ..PushOptions::default()
            },
            "flags given are for one",
        ),
        (
            two,
            PushOptions {
                app: Some("c".into()),
                ..PushOptions::default()
            },
            "no app 'c'; it has a, b",
        ),
        (
            "applications:\n- name: a\n- name: a\n",
            PushOptions::default(),
            "two apps with the name 'a'",
        ),
        (
            "applications:\n- name: a\n- memory: 1G\n",
            PushOptions::default(),
            "app 2 of the manifest has no name",
        ),
        (
            "applications:\n- name: a\n  docker: {image: x}\n",
            PushOptions::default(),
            "manifest.yml:3:3 'docker' is not supported",
        ),
    ] {
        let error = in_folder(Some(manifest), &options).expect_err(what);
        assert!(
            error.message.contains(what) && error.exit_code() == 2,
            "{error}"
        );
    }
}

#[test]
fn a_wrong_manifest_is_shown_with_its_place() {
    let error = in_folder(
        Some("applications:\n- name: hello\n  memmory: 512M\n"),
        &PushOptions::default(),
    )
    .expect_err("wrong");
    insta::assert_snapshot!(error, @r"
    ✗ E-MANIFEST manifest.yml:3:3 unknown key 'memmory' — did you mean 'memory'?
      2 | - name: hello
      3 |   memmory: 512M
    ");
    assert_eq!(error.exit_code(), 2);
}
