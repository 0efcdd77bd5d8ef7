//! What a process finds around it when it starts.

use std::fs;
use std::path::PathBuf;

use crate::support::launch_at;

struct Home(tempfile::TempDir);

impl Home {
    /// With spaces and quotes in its path.
    fn new(files: &[(&str, &str)]) -> Self {
        let home = Self(tempfile::tempdir().expect("temporary folder"));
        for folder in ["app", "deps"] {
            fs::create_dir_all(home.path().join(folder)).expect("made");
        }
        for (name, text) in files {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        home
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("it's a \"home\"")
    }

    fn launch(&self, command: &str, env: &[(&str, &str)]) -> String {
        launch_at(&self.path(), command, env)
    }
}

#[test]
fn scripts_run_in_cloud_foundrys_order_and_share_a_shell_with_the_command() {
    let home = Home::new(&[
        ("profile.d/b b.sh", "export LOG=\"$LOG b\"\n"),
        (
            "profile.d/a.sh",
            "export LOG=\"$LOG a from $PWD\"\nfalse\nnot_exported=1\n",
        ),
        (
            "app/.profile.d/c.sh",
            "export LOG=\"$LOG c\"; nonsense_command 2>/dev/null\n",
        ),
        ("app/.profile", "export LOG=\"$LOG d $#\"\n"),
    ]);
    let said = home.launch(
        "echo \"<$LOG> $not_exported.\"; pwd; echo \"$HOME|$TMPDIR|$DEPS_DIR\"; mktemp",
        &[],
    );
    let at = home.path();
    let (app, root) = (at.join("app"), at.display());
    assert!(
        said.contains(&format!("< a from {} b c d 0> .\n", app.display())),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "\n{}\n{root}/app|{root}/tmp|{root}/deps\n{root}/tmp/",
            app.display()
        )),
        "{said}"
    );
    let early =
        Home::new(&[("app/.profile", "echo from the profile; exit 3\n")]).launch("echo never", &[]);
    assert!(
        early.contains("from the profile") && !early.contains("never"),
        "{early}"
    );
}

#[test]
fn the_command_and_the_environment_arrive_byte_for_byte() {
    let home = Home::new(&[]);
    let value = "mongodb://u:p$HOME`id`@h/\u{e9}?a='b'\"c\"\nsecond line\\ \u{1f600} ";
    let said = home.launch(
        "printf '<%s>' \"$MONGODB_URI\" 'a  b' \"$(printf x)\" '$HOME' \\* # rest",
        &[("MONGODB_URI", value)],
    );
    assert!(
        said.contains(&format!("<{value}><a  b><x><$HOME><*>")),
        "{said}"
    );
    let several = home.launch("A=1\nif true; then\n  echo \"lines $A\"\nfi", &[]);
    assert!(several.contains("lines 1\n"), "{several}");
}

#[test]
fn programs_of_buildpacks_come_first_on_the_path() {
    let home = Home::new(&[
        ("deps/java/bin/x", ""),
        ("deps/a/bin/x", ""),
        ("deps/b/lib/x", ""),
    ]);
    let said = home.launch("echo \"<$PATH>\"", &[("PATH", "/usr/bin:/bin")]);
    let root = home.path().display().to_string();
    assert!(
        said.contains(&format!(
            "<{root}/deps/a/bin:{root}/deps/java/bin:/usr/bin:/bin>"
        )),
        "{said}"
    );
}

#[test]
fn a_simple_command_becomes_the_process_itself() {
    // The shell that prints its process id is replaced by what it starts.
    let said = Home::new(&[]).launch("echo first $$; exec sh -c 'echo then $$'", &[]);
    let pid = |mark: &str| {
        said.split(mark)
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .map(str::to_owned)
    };
    assert!(
        pid("first ").is_some() && pid("first ") == pid("then "),
        "{said}"
    );
}
