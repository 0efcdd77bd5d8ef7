//! The JDKs of the stack, and the choice among them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::contract::{BuildContext, BuildFailure};
use crate::output::Output;
use crate::source::read_text;

/// Where Debian and others keep them.
const FOLDER: &str = "/usr/lib/jvm";
const DEFAULT_JAVA: &str = "/usr/bin/java";

/// An installed JDK, or a JRE where `javac` is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Jdk {
    /// Without links in its path.
    pub(super) home: PathBuf,
    pub(super) major: u32,
    /// The exact build: `17.0.15+6-Debian-1deb12u1`.
    pub(super) runtime_version: String,
    pub(super) vendor: String,
    pub(super) modules: Vec<String>,
    /// `/usr/bin/java` leads here.
    pub(super) is_default: bool,
}

impl Jdk {
    fn read(home: &Path, default_java: Option<&Path>) -> Option<Self> {
        let home = fs::canonicalize(home).ok()?;
        let release = release(&read_text(&home.join("release"), 64 * 1024)?);
        let version = release.get("JAVA_VERSION")?;
        home.join("bin/java").is_file().then_some(())?;
        Some(Self {
            major: major(version)?,
            runtime_version: release
                .get("JAVA_RUNTIME_VERSION")
                .unwrap_or(version)
                .clone(),
            vendor: release.get("IMPLEMENTOR").cloned().unwrap_or_default(),
            modules: release
                .get("MODULES")
                .map(|list| list.split(' ').map(str::to_owned).collect())
                .unwrap_or_default(),
            is_default: default_java.is_some_and(|java| java.starts_with(&home)),
            home,
        })
    }

    pub(super) fn has(&self, tool: &str) -> bool {
        self.home.join("bin").join(tool).is_file()
    }

    /// Says where another version than the one asked for is used.
    pub(super) fn explain(&self, wanted: Option<&Wanted>, output: &mut Output) {
        if let Some(wanted) = wanted.filter(|wanted| wanted.exact && wanted.major != self.major) {
            output.warning(&format!(
                "{} asks for Java {}; the next installed one is {}",
                wanted.from, wanted.major, self.major
            ));
        }
    }
}

/// All of the stack, or those in the folder that `BP_JVM_FOLDER` names.
pub(super) fn installed(context: &BuildContext<'_>) -> Vec<Jdk> {
    match context.var("BP_JVM_FOLDER") {
        Some(folder) => installed_in(Path::new(folder), None),
        None => installed_in(
            Path::new(FOLDER),
            fs::canonicalize(DEFAULT_JAVA).ok().as_deref(),
        ),
    }
}

fn installed_in(folder: &Path, default_java: Option<&Path>) -> Vec<Jdk> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(100)
        .flatten();
    let mut homes: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    // A default that lies elsewhere counts too: HOME/bin/java.
    homes.extend(
        default_java
            .and_then(|java| java.ancestors().nth(2))
            .map(Path::to_owned),
    );
    let mut jdks: Vec<Jdk> = homes
        .iter()
        .filter_map(|home| Jdk::read(home, default_java))
        .collect();
    jdks.sort_by(|a, b| (a.major, &a.home).cmp(&(b.major, &b.home)));
    jdks.dedup_by(|a, b| a.home == b.home);
    jdks
}

/// The version that the source or its owner asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) major: u32,
    /// Asked for as the version to run on, and not only as the oldest that will do.
    exact: bool,
    from: &'static str,
}

impl Wanted {
    /// `pom` is what a Maven project compiles for.
    pub(super) fn find(context: &BuildContext<'_>, pom: Option<u32>) -> Option<Self> {
        let env = context.var("BP_JVM_VERSION").and_then(major);
        let properties = context.source.text("system.properties", 64 * 1024);
        let system = properties
            .as_deref()
            .and_then(|text| property(text, "java.runtime.version"))
            .and_then(major);
        None.or(env.map(|major| Self {
            major,
            exact: true,
            from: "BP_JVM_VERSION",
        }))
        .or(system.map(|major| Self {
            major,
            exact: true,
            from: "system.properties",
        }))
        .or(pom.map(|major| Self {
            major,
            exact: false,
            from: "pom.xml",
        }))
    }
}

/// The oldest JDK that is new enough; without a wish the stack's default.
pub(super) fn choose(
    jdks: &[Jdk],
    wanted: Option<&Wanted>,
    compiles: bool,
) -> Result<Jdk, BuildFailure> {
    let usable = || jdks.iter().filter(|jdk| !compiles || jdk.has("javac"));
    let chosen = match wanted {
        Some(wanted) => {
            let mut enough = usable().filter(|jdk| jdk.major >= wanted.major);
            let oldest = enough.next();
            // Of several with the same version the default is best: its class-data archive is warm in the page cache.
            enough
                .find(|jdk| jdk.is_default && Some(jdk.major) == oldest.map(|jdk| jdk.major))
                .or(oldest)
        }
        None => usable()
            .find(|jdk| jdk.is_default)
            .or_else(|| usable().next_back()),
    };
    chosen.cloned().ok_or_else(|| {
        let version = wanted.map_or(17, |wanted| wanted.major.max(17));
        let hint =
            format!("on this cell's host: apt-get install openjdk-{version}-jdk-headless maven");
        let present: Vec<_> = usable().map(|jdk| jdk.major.to_string()).collect();
        match wanted {
            Some(wanted) if !present.is_empty() => BuildFailure::refused(
                format!(
                    "{} asks for Java {}, and this stack has only {}",
                    wanted.from,
                    wanted.major,
                    present.join(", ")
                ),
                hint,
            ),
            _ => BuildFailure::refused("no JDK is installed on this stack", hint),
        }
    })
}

/// The version of the language or of a JDK: 8 for `1.8`, 17 for `17.0.2`, `17.*`, `17.x`, `>=17` or `openjdk-17`.
pub(super) fn major(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let text = text.strip_prefix("1.").unwrap_or(text);
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits
        .parse()
        .ok()
        .filter(|major| (1..1000).contains(major))
}

/// `KEY="value"` lines.
fn release(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| {
            (
                key.trim().to_owned(),
                value.trim().trim_matches('"').to_owned(),
            )
        })
        .collect()
}

/// A value of a `.properties` file.
fn property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(['=', ':']));
    pairs
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jdk(major: u32, is_default: bool) -> Jdk {
        let (runtime_version, vendor) = (format!("{major}.0.1"), String::new());
        Jdk {
            home: "/nowhere".into(),
            major,
            runtime_version,
            vendor,
            modules: Vec::new(),
            is_default,
        }
    }

    #[test]
    fn the_oldest_jdk_that_is_new_enough_is_chosen() {
        let jdks = [jdk(11, false), jdk(17, true), jdk(25, false)];
        let want = |major| {
            Some(Wanted {
                major,
                exact: false,
                from: "pom.xml",
            })
        };
        for (wanted, chosen) in [
            (None, 17),
            (want(8), 11),
            (want(11), 11),
            (want(12), 17),
            (want(21), 25),
        ] {
            assert_eq!(
                choose(&jdks, wanted.as_ref(), false)
                    .expect("one fits")
                    .major,
                chosen,
                "{wanted:?}"
            );
        }
        let refused = choose(&jdks, want(26).as_ref(), false).expect_err("none fits");
        let BuildFailure::Refused { message, hint } = refused else {
            panic!("{refused}")
        };
        assert_eq!(
            message,
            "pom.xml asks for Java 26, and this stack has only 11, 17, 25"
        );
        assert!(hint.expect("a way out").contains("openjdk-26-jdk-headless"));
        // None of these has a compiler.
        assert!(matches!(
            choose(&jdks, None, true),
            Err(BuildFailure::Refused { .. })
        ));
    }

    #[test]
    fn versions_are_read_in_every_spelling() {
        for (text, want) in [
            ("17", Some(17)),
            ("1.8", Some(8)),
            ("1.8.0_432", Some(8)),
            ("17.0.15", Some(17)),
            ("21.*", Some(21)),
            (">= 21", Some(21)),
            ("openjdk-25", Some(25)),
            ("${java}", None),
            ("", None),
            ("99999999999", None),
        ] {
            assert_eq!(major(text), want, "{text}");
        }
    }

    #[test]
    fn this_stacks_jdks_are_seen_once_each() {
        let default = fs::canonicalize(DEFAULT_JAVA).expect("the tests' machine has a JDK");
        let jdks = installed_in(Path::new(FOLDER), Some(&default));
        assert_eq!(
            jdks.iter().filter(|jdk| jdk.is_default).count(),
            1,
            "{jdks:?}"
        );
        let mut homes: Vec<_> = jdks.iter().map(|jdk| &jdk.home).collect();
        homes.dedup();
        assert_eq!(homes.len(), jdks.len());
        assert!(
            jdks.iter()
                .all(|jdk| jdk.modules.iter().any(|module| module == "java.base"))
        );
    }
}
