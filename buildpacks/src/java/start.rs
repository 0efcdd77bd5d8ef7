//! The start command, and the script that every Java process of a droplet goes through.

use std::path::Path;

use super::artifact::{Launch, Start};

/// Sizes the JVM from the container's limit when the process starts, not when it is built, so that `slipway scale -m` needs
/// no new build. It adds the words of `JAVA_OPTS`, which win over its own. Called as `java`, as a Procfile does, it leaves
/// `JAVA_OPTS` to whoever wrote the command.
pub(super) const SCRIPT: &str = include_str!("start.sh");

/// Sourced before every start.
pub(super) const PROFILE: &str = "export JAVA_HOME=\"${JAVA_HOME:-$DEPS_DIR/java/jre}\"\n";

pub(super) fn command(launch: &Launch) -> String {
    let java = "exec \"$DEPS_DIR/java/bin/start-java\"";
    let started = match &launch.what {
        Start::Jar(path) => format!("{java} -jar \"{}\"", in_home(path)),
        Start::Class {
            name,
            class_path,
            dependencies,
        } => {
            let mut entries: Vec<String> = class_path.iter().map(|path| in_home(path)).collect();
            for entry in entries.iter_mut().filter(|entry| entry.ends_with("/lib")) {
                entry.push_str("/*");
            }
            if *dependencies {
                entries.push("$DEPS_DIR/java/lib/*".into());
            }
            let name = if name.contains('$') {
                format!("'{name}'")
            } else {
                name.clone()
            };
            format!("{java} -cp \"{}\" {name}", entries.join(":"))
        }
    };
    if launch.spring_boot {
        format!("export SERVER_PORT=\"${{SERVER_PORT:-$PORT}}\"; {started}")
    } else {
        started
    }
}

/// The path for use between double quotes.
fn in_home(path: &Path) -> String {
    let mut text = String::from("$HOME");
    if !path.as_os_str().is_empty() {
        text.push('/');
        for char in path.to_string_lossy().chars() {
            if matches!(char, '"' | '\\' | '$' | '`') {
                text.push('\\');
            }
            text.push(char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    #[test]
    fn commands_reach_their_files_through_variables_only() {
        let launch = |what, spring_boot| Launch {
            what,
            module: PathBuf::new(),
            spring_boot,
        };
        let class = |name: &str, path: &str, dependencies| Start::Class {
            name: name.into(),
            class_path: vec![path.into()],
            dependencies,
        };
        for (launch, want) in [
            (
                launch(Start::Jar("target/a b.jar".into()), false),
                "exec \"$DEPS_DIR/java/bin/start-java\" -jar \"$HOME/target/a b.jar\"",
            ),
            (
                launch(Start::Jar("$(id)`x\".jar".into()), false),
                "exec \"$DEPS_DIR/java/bin/start-java\" -jar \"$HOME/\\$(id)\\`x\\\".jar\"",
            ),
            (
                launch(class("a.Main", "target/x.jar", true), false),
                "exec \"$DEPS_DIR/java/bin/start-java\" -cp \"$HOME/target/x.jar:$DEPS_DIR/java/lib/*\" a.Main",
            ),
            (
                launch(class("a.B$C", "lib", false), false),
                "exec \"$DEPS_DIR/java/bin/start-java\" -cp \"$HOME/lib/*\" 'a.B$C'",
            ),
            (
                launch(class("a.Main", "", false), true),
                "export SERVER_PORT=\"${SERVER_PORT:-$PORT}\"; exec \"$DEPS_DIR/java/bin/start-java\" -cp \"$HOME\" a.Main",
            ),
        ] {
            assert_eq!(command(&launch), want);
        }
    }

    /// Runs the script with a `java` that prints its arguments, one a line.
    fn started(shell: &str, name: &str, env: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            fs::write(&path, text).expect("written");
            path
        };
        let script = write(&format!("bin/{name}"), SCRIPT);
        let java = write("jre/bin/java", "#!/bin/sh\nprintf '<%s>\\n' \"$@\"\n");
        fs::set_permissions(java, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("made executable");
        let mut command = Command::new(shell);
        command
            .arg(script)
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        let output = command
            .envs(env.iter().copied())
            .output()
            .expect("the shell runs");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{env:?}");
        let shown = String::from_utf8(output.stdout).expect("text");
        let words = shown
            .strip_suffix(">\n")
            .and_then(|shown| shown.strip_prefix('<'))
            .expect("at least one argument");
        words.split(">\n<").map(str::to_owned).collect()
    }

    fn both_shells(name: &str, env: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
        let dash = started("dash", name, env, arguments);
        assert_eq!(
            started("bash", name, env, arguments),
            dash,
            "the shells differ with {env:?}"
        );
        dash
    }

    #[test]
    fn memory_fits_the_limit_of_every_size() {
        let flags = |limit| {
            both_shells("start-java", &[("MEMORY_LIMIT", limit)], &["-jar", "x.jar"]).join(" ")
        };
        let rest = "-XX:+ExitOnOutOfMemoryError -jar x.jar";
        for (limit, want) in [
            (
                "64m",
                "-Xmx16m -XX:MaxMetaspaceSize=64m -XX:ReservedCodeCacheSize=32m -XX:MaxDirectMemorySize=24m -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            ),
            (
                "256m",
                "-Xmx124m -XX:MaxMetaspaceSize=80m -XX:ReservedCodeCacheSize=32m -XX:MaxDirectMemorySize=32m -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            ),
            (
                "512M",
                "-Xmx272m -XX:MaxMetaspaceSize=160m -XX:ReservedCodeCacheSize=64m -XX:MaxDirectMemorySize=64m -XX:+UseSerialGC",
            ),
            (
                "1G",
                "-Xmx616m -XX:MaxMetaspaceSize=256m -XX:ReservedCodeCacheSize=128m -XX:MaxDirectMemorySize=128m -XX:+UseSerialGC",
            ),
            (
                "2048m",
                "-Xmx1456m -XX:MaxMetaspaceSize=256m -XX:ReservedCodeCacheSize=240m -XX:MaxDirectMemorySize=256m",
            ),
            (
                "4g",
                "-Xmx3376m -XX:MaxMetaspaceSize=256m -XX:ReservedCodeCacheSize=240m -XX:MaxDirectMemorySize=512m",
            ),
        ] {
            assert_eq!(flags(limit), format!("{want} {rest}"), "{limit}");
        }
    }

    #[test]
    fn what_the_user_sets_is_not_set_twice() {
        let limit = ("MEMORY_LIMIT", "256m");
        let given = both_shells(
            "start-java",
            &[
                limit,
                ("JAVA_OPTS", "-XX:MaxRAMPercentage=70 -Xss1m -XX:+UseZGC"),
            ],
            &["-version"],
        );
        for absent in ["-Xmx124m", "-Xss512k", "-XX:+UseSerialGC"] {
            assert!(!given.iter().any(|word| word == absent), "{given:?}");
        }
        let tool = both_shells(
            "start-java",
            &[limit, ("JAVA_TOOL_OPTIONS", "-Xmx99m")],
            &["-version"],
        );
        assert!(
            !tool.iter().any(|word| word.starts_with("-Xmx")),
            "{tool:?}"
        );
        let procfile = both_shells(
            "java",
            &[limit, ("JAVA_OPTS", "-Da=b")],
            &["-Xmx50m", "-jar", "x"],
        );
        assert!(
            !procfile
                .iter()
                .any(|word| word == "-Da=b" || word == "-Xmx124m"),
            "{procfile:?}"
        );
    }

    #[test]
    fn java_opts_are_split_into_words_and_nothing_is_executed() {
        for (options, want) in [
            ("-Da=b  -Dc=d\n\t-De=f", &["-Da=b", "-Dc=d", "-De=f"][..]),
            (
                "-Da='b c' \"-Dd=e f\" -Dg=\"h\\\"i\\\\j\\k\"",
                &["-Da=b c", "-Dd=e f", "-Dg=h\"i\\j\\k"],
            ),
            (
                "-Da=$(touch pwned)`id`;|&*?",
                &["-Da=$(touch", "pwned)`id`;|&*?"],
            ),
            ("'' -Da=\\ b \\'c", &["", "-Da= b", "'c"]),
            ("-Da='open", &["-Da=open"]),
            ("-Da=\"open", &["-Da=open"]),
            ("-Da=end\\", &["-Da=end\\"]),
            (
                "-Dx=caf\u{e9}|\u{1f600} * /*",
                &["-Dx=caf\u{e9}|\u{1f600}", "*", "/*"],
            ),
            ("", &[]),
            ("   ", &[]),
        ] {
            let words = both_shells(
                "start-java",
                &[("MEMORY_LIMIT", "2G"), ("JAVA_OPTS", options)],
                &["last one"],
            );
            let from = words
                .iter()
                .position(|word| word == "-XX:+ExitOnOutOfMemoryError")
                .expect("our last flag")
                + 1;
            assert_eq!(words[from..words.len() - 1], *want, "{options:?}");
            assert_eq!(words.last().map(String::as_str), Some("last one"));
        }
    }

    #[test]
    fn an_odd_limit_never_stops_a_start() {
        for limit in [
            "",
            "x",
            "-1m",
            "0m",
            "1.5G",
            "99999999999999999999m",
            "$(id)m",
            "012m",
            "5",
        ] {
            let words = both_shells(
                "start-java",
                &[("MEMORY_LIMIT", limit), ("TMPDIR", "/t m p")],
                &["-version"],
            );
            assert_eq!(
                words.last().map(String::as_str),
                Some("-version"),
                "{limit}"
            );
            assert!(
                words.iter().any(|word| word == "-Djava.io.tmpdir=/t m p"),
                "{words:?}"
            );
        }
    }
}
