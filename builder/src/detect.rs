//! Chooses the buildpacks that build a source.

use buildpacks::{Buildpack, Detection, Source};
use model::task::StagingFailure;

/// Folders that are looked into for a hint.
const MAX_FOLDERS: usize = 50;
/// Names of the source that a failure lists.
const MAX_FOUND: usize = 40;

/// The buildpacks to run, in order: those that `named` names, or else the first that builds this source, then those that
/// add to any build.
pub(crate) fn choose(
    source: &Source,
    named: &[String],
) -> Result<Vec<&'static dyn Buildpack>, StagingFailure> {
    if !named.is_empty() {
        return by_name(source, named);
    }
    let (builders, additions): (Vec<_>, Vec<_>) = buildpacks::built_in()
        .iter()
        .copied()
        .partition(|buildpack| buildpack.builds());
    let mut chosen = Vec::new();
    let mut refusal = None;
    for buildpack in builders {
        match buildpack.detect(source) {
            Detection::Found(_) => {
                chosen.push(buildpack);
                break;
            }
            Detection::Refused { message, hint } => {
                refusal.get_or_insert(StagingFailure::Refused {
                    buildpack: buildpack.name().into(),
                    message,
                    hint,
                });
            }
            Detection::NotFound => {}
        }
    }
    chosen.extend(
        additions
            .into_iter()
            .filter(|buildpack| matches!(buildpack.detect(source), Detection::Found(_))),
    );
    match refusal {
        Some(refusal) if chosen.is_empty() => Err(refusal),
        _ if chosen.is_empty() => Err(nothing(source)),
        _ => Ok(chosen),
    }
}

/// A Procfile counts whether or not its buildpack is named, as in Cloud Foundry.
fn by_name(
    source: &Source,
    named: &[String],
) -> Result<Vec<&'static dyn Buildpack>, StagingFailure> {
    let mut chosen: Vec<&'static dyn Buildpack> = Vec::new();
    for name in named {
        let Some(buildpack) = buildpacks::by_name(name) else {
            let known: Vec<_> = buildpacks::built_in()
                .iter()
                .map(|buildpack| buildpack.name())
                .collect();
            return Err(StagingFailure::Refused {
                buildpack: name.chars().take(100).collect(),
                message: "there is no buildpack of this name".into(),
                hint: Some(format!(
                    "leave out -b to have the buildpack detected, or name one of: {}",
                    known.join(", ")
                )),
            });
        };
        if !chosen.iter().any(|known| known.name() == buildpack.name()) {
            chosen.push(buildpack);
        }
    }
    for buildpack in buildpacks::built_in()
        .iter()
        .copied()
        .filter(|buildpack| !buildpack.builds())
    {
        let is_new = !chosen.iter().any(|known| known.name() == buildpack.name());
        if is_new && matches!(buildpack.detect(source), Detection::Found(_)) {
            chosen.push(buildpack);
        }
    }
    Ok(chosen)
}

fn nothing(source: &Source) -> StagingFailure {
    let looked_for = buildpacks::built_in()
        .iter()
        .flat_map(|buildpack| buildpack.looks_for())
        .map(|text| (*text).to_owned());
    let folders = source.folders().iter().map(|name| format!("{name}/"));
    let mut found: Vec<String> = source.files().iter().cloned().chain(folders).collect();
    found.sort();
    let more = found.len().saturating_sub(MAX_FOUND);
    found.truncate(MAX_FOUND);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    let visible = source
        .folders()
        .iter()
        .filter(|name| !name.starts_with('.'))
        .take(MAX_FOLDERS);
    let below: Vec<String> = visible
        .filter_map(|name| Some((name, recognised(source, name)?)))
        .map(|(name, _)| name.clone())
        .collect();
    let hint = match below.as_slice() {
        [] => None,
        [only] => Some(format!(
            "the folder {only} can be built: slipway push -p {}",
            quoted(only)
        )),
        several => Some(format!(
            "folders that can be built: {}; for example: slipway push -p {}",
            several.join(", "),
            quoted(&several[0])
        )),
    };
    StagingFailure::NothingDetected {
        looked_for: looked_for.collect(),
        found,
        hint,
    }
}

fn recognised(source: &Source, folder: &str) -> Option<&'static str> {
    let below = Source::open(&source.root().join(folder)).ok()?;
    buildpacks::built_in()
        .iter()
        .find(|buildpack| matches!(buildpack.detect(&below), Detection::Found(_)))
        .map(|buildpack| buildpack.name())
}

fn quoted(name: &str) -> String {
    if name
        .chars()
        .all(|c| c.is_alphanumeric() || "-_./".contains(c))
    {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn source(files: &[&str]) -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().expect("temporary folder");
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            fs::write(path, "web: x").expect("written");
        }
        let source = Source::open(folder.path()).expect("opens");
        (folder, source)
    }

    fn names(files: &[&str], named: &[&str]) -> Result<Vec<&'static str>, StagingFailure> {
        let (_folder, source) = source(files);
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        choose(&source, &named)
            .map(|chosen| chosen.iter().map(|buildpack| buildpack.name()).collect())
    }

    #[test]
    fn one_buildpack_builds_and_a_procfile_adds_to_it() {
        for (files, named, want) in [
            (&["pom.xml"][..], &[][..], &["java"][..]),
            (&["pom.xml", "Procfile"], &[], &["java", "procfile"]),
            (&["Procfile", "run.sh"], &[], &["procfile"]),
            (&["Procfile", "build.gradle"], &[], &["procfile"]),
            (&["index.html"], &["java"], &["java"]),
            (
                &["Procfile"],
                &["java_buildpack", "java"],
                &["java", "procfile"],
            ),
        ] {
            assert_eq!(
                names(files, named).expect("chosen"),
                want,
                "{files:?} {named:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_built_says_what_was_looked_for_and_where_to_go() {
        let failure = names(
            &["README.md", "service-a/pom.xml", "docs/x", ".git/pom.xml"],
            &[],
        )
        .expect_err("nothing");
        let StagingFailure::NothingDetected {
            looked_for,
            found,
            hint,
        } = failure
        else {
            panic!("{failure:?}")
        };
        assert!(looked_for.iter().any(|text| text.contains("pom.xml")));
        assert_eq!(found, [".git/", "README.md", "docs/", "service-a/"]);
        assert_eq!(
            hint.as_deref(),
            Some("the folder service-a can be built: slipway push -p service-a")
        );

        let StagingFailure::NothingDetected { hint, .. } =
            names(&["a/pom.xml", "b b/Procfile"], &[]).expect_err("nothing")
        else {
            panic!()
        };
        assert_eq!(
            hint.as_deref(),
            Some("folders that can be built: a, b b; for example: slipway push -p a")
        );

        let refused = names(&["build.gradle"], &[]).expect_err("Gradle");
        assert!(
            matches!(&refused, StagingFailure::Refused { buildpack, hint: Some(hint), .. } if buildpack == "java" && hint.contains("gradlew")),
            "{refused:?}"
        );
        let unknown = names(&["pom.xml"], &["ruby"]).expect_err("unknown");
        assert!(
            matches!(&unknown, StagingFailure::Refused { hint: Some(hint), .. } if hint.contains("java, procfile")),
            "{unknown:?}"
        );
    }
}
