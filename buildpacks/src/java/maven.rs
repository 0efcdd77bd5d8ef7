//! Builds a Maven project, with its own wrapper or with the stack's Maven.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::artifact::Built;
use super::jdk::{self, Jdk};
use super::pom::Pom;
use crate::command;
use crate::contract::{BuildContext, BuildFailure};
use crate::source::Source;

const MAX_POM_BYTES: u64 = 4 * 1024 * 1024;
const MAX_MODULES: usize = 200;
/// Where a module's runtime dependencies are copied, relative to the module.
pub(super) const DEPENDENCIES: &str = "target/slipway-dependencies";
const SKIP_TESTS: &str = "-DskipTests";
/// Named with its version, so that the choice is not the Maven version's. Runs on Maven 3.2.5 and later.
const COPY_DEPENDENCIES: &str =
    "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// The root pom and those of all modules.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) pom: Pom,
    /// Folders relative to the source's root, which comes first, with their poms.
    pub(super) modules: Vec<(PathBuf, Pom)>,
}

impl Project {
    pub(super) fn read(source: &Source) -> Result<Self, BuildFailure> {
        let mut modules: Vec<(PathBuf, Pom)> = Vec::new();
        let mut to_read = vec![PathBuf::new()];
        while let Some(folder) = to_read.pop() {
            if modules.iter().any(|(known, _)| *known == folder) {
                continue;
            }
            if modules.len() == MAX_MODULES {
                return Err(BuildFailure::refused(
                    "the Maven project has more than 200 modules",
                    "push the module that runs",
                ));
            }
            let file = folder.join("pom.xml");
            let refused = |message: String| {
                let hint = "the same command shows more where you are: mvn validate";
                BuildFailure::refused(format!("{}: {message}", file.display()), hint)
            };
            let text = source
                .text(&file, MAX_POM_BYTES)
                .ok_or_else(|| refused("is missing, or longer than 4 MiB".into()))?;
            let pom = Pom::parse(&text).map_err(refused)?;
            // A module may be the path of a pom file, and lies beside or below its parent.
            for module in pom.modules.iter().rev() {
                let named = folder.join(module);
                let named = if module.ends_with(".xml") {
                    named.parent().map(Path::to_owned)
                } else {
                    Some(named)
                };
                let inside = named.and_then(|path| inside(&path));
                // Maven reports a missing module, and decides about profiles that hold others.
                to_read.extend(
                    inside.filter(|path| source.root().join(path).join("pom.xml").is_file()),
                );
            }
            modules.push((folder, pom));
        }
        Ok(Self {
            pom: modules[0].1.clone(),
            modules,
        })
    }

    fn bundles_itself(&self) -> bool {
        self.modules.iter().any(|(_, pom)| pom.bundles_itself())
    }

    /// The newest major version that a module compiles for.
    pub(super) fn java_version(&self) -> Option<u32> {
        let stated = self
            .modules
            .iter()
            .filter_map(|(_, pom)| pom.java_version.as_deref());
        stated.filter_map(jdk::major).max()
    }

    fn copies_itself(&self) -> bool {
        self.modules.iter().any(|(_, pom)| pom.copies_itself)
    }

    pub(super) fn may_have_dependencies(&self) -> bool {
        self.pom.has_parent
            || self
                .modules
                .iter()
                .any(|(_, pom)| pom.has_runtime_dependencies)
    }
}

/// The path without `.` and `..`; none if it leaves the source.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir => clean.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

pub(super) fn build(
    context: &mut BuildContext<'_>,
    project: &Project,
    jdk: &Jdk,
) -> Result<Built, BuildFailure> {
    let copied = !project.bundles_itself() && project.may_have_dependencies();
    // Properties hold for a whole run, so copies that the pom asks for would go where ours go.
    let apart = copied && project.copies_itself();
    let mut arguments = vec![SKIP_TESTS.to_owned(), "package".to_owned()];
    if copied && !apart {
        arguments.extend(copy_arguments());
    }
    run(context, project, jdk, &arguments)?;
    if apart {
        copy_dependencies(context, project, jdk)?;
    }
    let mut modules: Vec<PathBuf> = project
        .modules
        .iter()
        .map(|(folder, _)| folder.clone())
        .collect();
    modules.retain(|folder| context.source.root().join(folder).join("target").is_dir());
    Ok(Built {
        modules,
        dependencies: copied,
    })
}

/// For a project that is built: one whose plugins promised a bundle and did not make one, or copy dependencies themselves.
pub(super) fn copy_dependencies(
    context: &mut BuildContext<'_>,
    project: &Project,
    jdk: &Jdk,
) -> Result<(), BuildFailure> {
    // A module finds its siblings' jars only in a run that packages them.
    let mut arguments = match project.modules.as_slice() {
        [_] => Vec::new(),
        _ => vec![SKIP_TESTS.to_owned(), "package".to_owned()],
    };
    arguments.extend(copy_arguments());
    run(context, project, jdk, &arguments)
}

fn copy_arguments() -> [String; 4] {
    // A group id before the name keeps artifacts of the same name apart.
    let folder = format!("-DoutputDirectory={DEPENDENCIES}");
    [
        COPY_DEPENDENCIES.into(),
        "-DincludeScope=runtime".into(),
        folder,
        "-Dmdep.prependGroupId=true".into(),
    ]
}

fn run(
    context: &mut BuildContext<'_>,
    project: &Project,
    jdk: &Jdk,
    arguments: &[String],
) -> Result<(), BuildFailure> {
    let home = context.cache.join("home");
    fs::create_dir_all(&home).map_err(BuildFailure::io("create a home folder for Maven"))?;
    let surroundings = Surroundings {
        jdk: jdk.home.clone(),
        options: java_options(context, &home),
        home,
    };
    let (program, name) = program(context, &surroundings)?;
    let mut command = surroundings.command(context, &program);
    command.args(["-B", "-ntp", "-Dstyle.color=never"]);
    // As the installation's settings, beside which a project may name its own in `.mvn/maven.config`.
    if let Some(settings) = &context.maven_settings {
        command.arg("-gs").arg(settings);
    }
    let mut repository = OsString::from("-Dmaven.repo.local=");
    repository.push(context.cache.join("m2"));
    command.arg(repository);
    // Any fixed time does; plugins that know this property write no other into their archives.
    command.arg("-Dproject.build.outputTimestamp=1980-01-01T00:00:02Z");
    command
        .args(defaults(&project.pom, jdk.major))
        .args(arguments);
    // What a person would type to see the same; where copies go is no part of it.
    let words = arguments
        .iter()
        .filter(|word| *word == SKIP_TESTS || !word.starts_with("-D"));
    let words: Vec<&str> = words
        .map(|word| {
            if word == COPY_DEPENDENCIES {
                "dependency:copy-dependencies"
            } else {
                word
            }
        })
        .collect();
    let shown = format!("{name} {}", words.join(" "));
    context.output.line(&format!("$ {shown}"));
    command::run(context.output, &shown, command)
}

/// What Maven 3's own defaults get wrong where a pom says nothing: a language level that no JDK of today accepts, and the
/// container's character set, which is ASCII.
fn defaults(pom: &Pom, major: u32) -> Vec<String> {
    let mut defaults = Vec::new();
    if pom.has_parent {
        return defaults;
    }
    if pom.java_version.is_none()
        && !pom
            .plugins
            .iter()
            .any(|plugin| plugin == "maven-compiler-plugin")
    {
        defaults.extend(
            ["source", "target"].map(|setting| format!("-Dmaven.compiler.{setting}={major}")),
        );
    }
    if !pom.properties.contains_key("project.build.sourceEncoding") {
        defaults.push("-Dproject.build.sourceEncoding=UTF-8".to_owned());
    }
    defaults
}

struct Surroundings {
    jdk: PathBuf,
    home: PathBuf,
    options: OsString,
}

impl Surroundings {
    fn command(&self, context: &BuildContext<'_>, program: &[OsString]) -> Command {
        let mut command = Command::new(&program[0]);
        command
            .args(&program[1..])
            .current_dir(context.source.root());
        command.env_clear().envs(&context.env);
        command
            .env("HOME", &self.home)
            .env("JAVA_HOME", &self.jdk)
            .env("MAVEN_OPTS", &self.options);
        command
            .env("MAVEN_SKIP_RC", "1")
            .env("MAVEN_USER_HOME", context.cache.join("maven"));
        command
    }
}

/// C1 and the serial collector: a build is over before C2 pays.
fn java_options(context: &BuildContext<'_>, home: &Path) -> OsString {
    let given = context.var("MAVEN_OPTS").unwrap_or_default();
    let mut options = OsString::from("-XX:TieredStopAtLevel=1");
    if !given.contains("-XX:+Use") {
        options.push(" -XX:+UseSerialGC");
    }
    if !given.contains("-Xmx") {
        options.push(format!(
            " -Xmx{}m",
            (context.memory.0 / 8 * 5).clamp(128, 2048)
        ));
    }
    // The start script splits these at spaces.
    if !home
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(u8::is_ascii_whitespace)
    {
        options.push(" -Duser.home=");
        options.push(home);
    }
    if !given.is_empty() {
        options.push(" ");
        options.push(given);
    }
    options
}

/// The project's wrapper where it works, else `mvn`; with the name for people.
fn program(
    context: &mut BuildContext<'_>,
    surroundings: &Surroundings,
) -> Result<(Vec<OsString>, &'static str), BuildFailure> {
    let installed = on_path(context, "mvn");
    if context.source.has("mvnw") {
        // Through a shell, since archives often lose the executable bit.
        let wrapper = vec![OsString::from("/bin/sh"), OsString::from("./mvnw")];
        if wrapper_works(context, surroundings, &wrapper) {
            return Ok((wrapper, "./mvnw"));
        }
        if installed.is_some() {
            context.output.warning(
                "./mvnw could not get its Maven distribution; the stack's own mvn is used instead",
            );
        }
    }
    let Some(installed) = installed else {
        return Err(BuildFailure::refused(
            "Maven is not installed on this stack, and the project has no ./mvnw that works",
            "on this cell's host: apt-get install maven",
        ));
    };
    Ok((vec![installed.into_os_string()], "mvn"))
}

/// Asks the wrapper for its version, once for each content of its configuration.
fn wrapper_works(
    context: &mut BuildContext<'_>,
    surroundings: &Surroundings,
    wrapper: &[OsString],
) -> bool {
    let configuration = context
        .source
        .text(".mvn/wrapper/maven-wrapper.properties", 64 * 1024)
        .unwrap_or_default();
    let known = context.cache.join("maven/wrapper-works");
    let fingerprint = format!("{:?}", Sha256::digest(configuration).as_slice());
    if fs::read_to_string(&known).is_ok_and(|text| text == fingerprint) {
        return true;
    }
    let mut command = surroundings.command(context, wrapper);
    command.arg("--version");
    let works = command::run(context.output, "./mvnw --version", command).is_ok();
    if works {
        // Only a shortcut for the next build.
        let _ = fs::create_dir_all(context.cache.join("maven"))
            .and_then(|()| fs::write(known, fingerprint));
    }
    works
}

fn on_path(context: &BuildContext<'_>, program: &str) -> Option<PathBuf> {
    let path = context.env.get(OsStr::new("PATH"))?;
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read_once_each_and_never_outside_the_source() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |path: &str, modules: &[&str]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            let modules: String = modules
                .iter()
                .map(|module| format!("<module>{module}</module>"))
                .collect();
            fs::write(
                path,
                format!("<project><modules>{modules}</modules></project>"),
            )
            .expect("written");
        };
        write(
            "pom.xml",
            &["core", "web/pom.xml", "../../etc", "/etc", "gone"],
        );
        write("core/pom.xml", &["../web", ".."]);
        write("web/pom.xml", &[]);
        let project = Project::read(&Source::open(folder.path()).expect("opens")).expect("reads");
        let folders: Vec<_> = project
            .modules
            .iter()
            .map(|(folder, _)| folder.to_str().expect("text"))
            .collect();
        assert_eq!(folders, ["", "core", "web"]);
    }

    #[test]
    fn all_modules_can_be_compiled_with_the_projects_java_version() {
        let module = |version: &str| {
            let properties = format!("<java.version>{version}</java.version>");
            let text = format!("<project><properties>{properties}</properties></project>");
            (PathBuf::from(version), Pom::parse(&text).expect("parses"))
        };
        let modules = ["17", "1.8", "21", "${unknown}"].map(module).to_vec();
        let project = Project {
            pom: modules[0].1.clone(),
            modules,
        };
        assert_eq!(project.java_version(), Some(21));
    }

    #[test]
    fn a_broken_pom_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(folder.path().join("pom.xml"), "<project>\n<a></b>").expect("written");
        let refused =
            Project::read(&Source::open(folder.path()).expect("opens")).expect_err("broken");
        assert!(
            refused.to_string().starts_with("pom.xml: line 2"),
            "{refused}"
        );
    }
}
