//! Java: a Maven project, a ready jar, or plain source files.
//!
//! [`jdk`] chooses among the JDKs of the stack, [`maven`] and [`plain`] build, [`main_class`] and [`artifact`] find what
//! to start, [`runtime`] makes the JRE that goes into the droplet, and [`start`] makes the start command.

mod artifact;
mod class_file;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod jar;
mod jdk;
mod main_class;
mod maven;
mod plain;
mod pom;
mod runtime;
mod start;

use std::collections::BTreeMap;
use std::fs;

use model::droplet::LayerKind;

use crate::contract::{BuildContext, BuildFailure, BuildOutput, Buildpack, Detection, LayerSource};
use crate::procfile;
use crate::source::Source;

/// See the module.
#[derive(Debug)]
pub struct Java;

/// What a source is to this buildpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Maven,
    /// A jar's content without the jar: what pushing a jar file uploads.
    ExplodedJar,
    Jar,
    Gradle,
    PlainSources,
}

impl Kind {
    fn of(source: &Source) -> Option<Self> {
        let gradle = [
            "build.gradle",
            "build.gradle.kts",
            "settings.gradle",
            "settings.gradle.kts",
            "gradlew",
        ];
        if source.has("pom.xml") {
            Some(Self::Maven)
        } else if jar::exploded_main_class(source).is_some() {
            Some(Self::ExplodedJar)
        } else if source.files().iter().any(|name| jar::is_archive_name(name)) {
            Some(Self::Jar)
        } else if gradle.iter().any(|name| source.has(name)) {
            Some(Self::Gradle)
        } else if plain::has_sources(source) {
            Some(Self::PlainSources)
        } else {
            None
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::Maven => "Maven project",
            Self::ExplodedJar => "Unpacked jar",
            Self::Jar => "Ready jar",
            Self::Gradle => "Gradle project",
            Self::PlainSources => "Java source files",
        }
    }
}

const NO_GRADLE: (&str, &str) = (
    "Gradle projects are not built here; supported are Maven projects (pom.xml), ready jars and plain .java files",
    "build it where you are and push the jar: ./gradlew build && slipway push -p build/libs/NAME.jar",
);

impl Buildpack for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn version(&self) -> &'static str {
        "1.0"
    }

    fn builds(&self) -> bool {
        true
    }

    fn looks_for(&self) -> &'static [&'static str] {
        &[
            "pom.xml (Maven)",
            "a jar with a Main-Class, or its unpacked content",
            "*.java source files",
        ]
    }

    fn detect(&self, source: &Source) -> Detection {
        match Kind::of(source) {
            None => Detection::NotFound,
            Some(Kind::Gradle) => Detection::Refused {
                message: NO_GRADLE.0.into(),
                hint: Some(NO_GRADLE.1.into()),
            },
            Some(kind) => Detection::Found(kind.describe().into()),
        }
    }

    fn build(&self, context: &mut BuildContext<'_>) -> Result<BuildOutput, BuildFailure> {
        let kind = Kind::of(&context.source).ok_or_else(|| {
            BuildFailure::refused(
                format!("the source has none of: {}", self.looks_for().join(", ")),
                "push the folder that holds the pom.xml or the jar: slipway push -p FOLDER",
            )
        })?;
        if kind == Kind::Gradle {
            return Err(BuildFailure::refused(NO_GRADLE.0, NO_GRADLE.1));
        }
        let project = (kind == Kind::Maven)
            .then(|| maven::Project::read(&context.source))
            .transpose()?;
        let wanted = jdk::Wanted::find(
            context,
            project.as_ref().and_then(maven::Project::java_version),
        );
        let compiles = matches!(kind, Kind::Maven | Kind::PlainSources);
        let jdk = jdk::choose(&jdk::installed(context), wanted.as_ref(), compiles)?;
        let detected = format!("{}, Java {}", kind.describe(), jdk.major);
        context
            .output
            .step(&format!("{} {}: {detected}", self.name(), self.version()));
        jdk.explain(wanted.as_ref(), context.output);

        // With a web command in the Procfile nobody needs to guess what to start.
        let has_web = procfile::of(&context.source)?.is_some_and(|types| types.contains_key("web"));
        let mut built = match (kind, &project) {
            (Kind::Maven, Some(project)) => maven::build(context, project, &jdk)?,
            (Kind::PlainSources, _) => plain::build(context, &jdk)?,
            _ => artifact::Built::default(),
        };
        let mut launch = match kind {
            Kind::Jar => artifact::ready_jar(context),
            Kind::ExplodedJar => artifact::exploded(context),
            _ => artifact::of_build(context, project.as_ref(), &built),
        };
        let lacks_bundle = launch
            .as_ref()
            .is_ok_and(|launch| matches!(launch.what, artifact::Start::Class { .. }));
        if let Some(project) = project
            .as_ref()
            .filter(|all| lacks_bundle && !built.dependencies && all.may_have_dependencies())
        {
            maven::copy_dependencies(context, project, &jdk)?;
            built.dependencies = true;
            launch = artifact::of_build(context, Some(project), &built);
        }
        let launch = match launch {
            Err(BuildFailure::Refused { .. }) if has_web => None,
            launch => Some(launch?),
        };

        let mut output = BuildOutput {
            detected,
            ..BuildOutput::default()
        };
        output.layers.extend(runtime::prepare(context, &jdk)?);
        artifact::collect_dependencies(context, &built, launch.as_ref(), &mut output)?;
        artifact::remove_litter(context, &built, launch.as_ref())?;
        if let Some(launch) = launch {
            let command = start::command(&launch);
            context.output.line(&format!("web: {command}"));
            output.process_types = BTreeMap::from([("web".to_owned(), command)]);
        }
        Ok(output)
    }
}

/// A layer of `paths` below the home folder, if any exists.
fn layer(context: &BuildContext<'_>, kind: LayerKind, path: &str) -> Option<LayerSource> {
    let present =
        fs::read_dir(context.home.join(path)).is_ok_and(|mut entries| entries.next().is_some());
    present.then(|| LayerSource {
        kind,
        paths: vec![path.into()],
        except: Vec::new(),
        cache_key: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart_by_their_root() {
        for (files, want) in [
            (&["pom.xml", "build.gradle", "x.jar"][..], Some(Kind::Maven)),
            (&["META-INF/MANIFEST.MF", "x.jar"], Some(Kind::ExplodedJar)),
            (&["x.jar", "Procfile"], Some(Kind::Jar)),
            (
                &["build.gradle.kts", "src/main/java/A.java"],
                Some(Kind::Gradle),
            ),
            (&["Main.java"], Some(Kind::PlainSources)),
            (&["src/a/b/Main.java"], Some(Kind::PlainSources)),
            (&["package.json", "sub/pom.xml"], None),
        ] {
            let folder = tempfile::tempdir().expect("temporary folder");
            for file in files {
                let path = folder.path().join(file);
                fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
                fs::write(path, "Manifest-Version: 1.0\nMain-Class: a.Main\n").expect("written");
            }
            assert_eq!(
                Kind::of(&Source::open(folder.path()).expect("opens")),
                want,
                "{files:?}"
            );
        }
    }
}
