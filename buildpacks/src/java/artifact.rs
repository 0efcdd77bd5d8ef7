//! Finds what a build made that can be started, and sorts its files into layers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::droplet::LayerKind;

use super::jar::{self, Jar};
use super::maven::{DEPENDENCIES, Project};
use super::{layer, main_class};
use crate::contract::{BuildContext, BuildFailure, BuildOutput};
use crate::source::read_text;

/// What a build left in the source's folder.
#[derive(Debug, Default)]
pub(super) struct Built {
    /// Folders with a `target`, relative to the source's root.
    pub(super) modules: Vec<PathBuf>,
    /// Runtime dependencies lie in [`DEPENDENCIES`] of each module.
    pub(super) dependencies: bool,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) what: Start,
    /// The module it comes from, relative to the source's root.
    pub(super) module: PathBuf,
    /// Spring Boot's port comes from its own variable.
    pub(super) spring_boot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// A jar with everything it needs, relative to the source's root.
    Jar(PathBuf),
    /// A class on a class path of entries relative to the source's root, and the dependency layer's jars.
    Class {
        name: String,
        class_path: Vec<PathBuf>,
        dependencies: bool,
    },
}

const NAME_IT: &str = "name the one to start: slipway set-env APP BP_JAVA_MAIN_CLASS the.Class, and push again; or add a Procfile";

/// A source that is one or more jars.
pub(super) fn ready_jar(context: &BuildContext<'_>) -> Result<Launch, BuildFailure> {
    let root = context.source.root();
    let names = context
        .source
        .files()
        .iter()
        .filter(|name| jar::is_archive_name(name));
    let jars: Vec<Jar> = names
        .filter_map(|name| Jar::open(&root.join(name)))
        .collect();
    let wanted = wanted_class(context)?;
    if let Some(name) = wanted {
        let class_path = jars.iter().map(|jar| PathBuf::from(jar.name())).collect();
        return Ok(Launch {
            what: Start::Class {
                name,
                class_path,
                dependencies: false,
            },
            module: PathBuf::new(),
            spring_boot: false,
        });
    }
    let listed = |jars: &[&Jar]| {
        jars.iter()
            .map(|jar| jar.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let runnable: Vec<&Jar> = jars.iter().filter(|jar| jar.main_class.is_some()).collect();
    match runnable.as_slice() {
        [only] => Ok(whole_jar(only, root, &PathBuf::new())),
        [] => {
            let all: Vec<&Jar> = jars.iter().collect();
            let message = match all.as_slice() {
                [] => {
                    "the jar at the root of the source cannot be read as a zip archive".to_owned()
                }
                _ => format!("no Main-Class in the manifest of {}", listed(&all)),
            };
            Err(BuildFailure::refused(
                message,
                "push a runnable jar (java -jar must start it), or name the class: slipway set-env APP BP_JAVA_MAIN_CLASS the.Class",
            ))
        }
        several => Err(BuildFailure::refused(
            format!("several jars can be started: {}", listed(several)),
            "push one of them (slipway push -p NAME.jar), or name it in a Procfile: web: java -jar NAME.jar",
        )),
    }
}

/// A source that is a jar's content.
pub(super) fn exploded(context: &BuildContext<'_>) -> Result<Launch, BuildFailure> {
    let (stated, spring_boot) = jar::exploded_main_class(&context.source)
        .ok_or_else(|| BuildFailure::refused("META-INF/MANIFEST.MF has no Main-Class", NAME_IT))?;
    let name = wanted_class(context)?.unwrap_or(stated);
    class_name(&name)?;
    Ok(Launch {
        what: Start::Class {
            name,
            class_path: vec![PathBuf::new()],
            dependencies: false,
        },
        module: PathBuf::new(),
        spring_boot,
    })
}

/// What a build's modules offer.
pub(super) fn of_build(
    context: &BuildContext<'_>,
    project: Option<&Project>,
    built: &Built,
) -> Result<Launch, BuildFailure> {
    let root = context.source.root();
    let mut modules = built.modules.clone();
    if let Some(wanted) = context.var("BP_MAVEN_BUILT_MODULE") {
        modules.retain(|module| module.to_str() == Some(wanted.trim_matches('/')));
    }
    let wanted = wanted_class(context)?;
    if wanted.is_none() {
        let runnable: Vec<(PathBuf, Jar)> = modules
            .iter()
            .filter_map(|module| Some((module.clone(), best_jar(&root.join(module), true)?)))
            .collect();
        match runnable.as_slice() {
            [] => {}
            [(module, jar)] => return runnable_jar(context, built, module, jar),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|(module, jar)| format!("{} in {}", jar.name(), shown(module)))
                    .collect();
                return Err(BuildFailure::refused(
                    format!(
                        "several modules make a jar that can be started: {}",
                        names.join(", ")
                    ),
                    "name the module: slipway set-env APP BP_MAVEN_BUILT_MODULE the-module, and push again",
                ));
            }
        }
    }
    let (module, name) = starting_class(context, project, &modules, wanted)?;
    class_name(&name)?;
    // The jar holds the classes, and what the build added to them.
    let jar = best_jar(&root.join(&module), false).map(|jar| jar.path);
    let own = jar.unwrap_or_else(|| root.join(&module).join("target/classes"));
    let mut class_path = vec![own.strip_prefix(root).unwrap_or(&own).to_owned()];
    if project.is_none() {
        class_path.extend(
            ["src/main/resources", "lib"]
                .map(PathBuf::from)
                .into_iter()
                .filter(|path| root.join(path).is_dir()),
        );
    }
    let dependencies = built.dependencies && has_files(&root.join(&module).join(DEPENDENCIES));
    Ok(Launch {
        what: Start::Class {
            name,
            class_path,
            dependencies,
        },
        module,
        spring_boot: false,
    })
}

/// The class to start where no jar names one, and the module that has it.
fn starting_class(
    context: &BuildContext<'_>,
    project: Option<&Project>,
    modules: &[PathBuf],
    wanted: Option<String>,
) -> Result<(PathBuf, String), BuildFailure> {
    let root = context.source.root();
    let classes = |module: &Path| root.join(module).join("target/classes");
    if let Some(name) = wanted {
        let holder = modules
            .iter()
            .find(|module| main_class::holds(&classes(module), &name));
        // A class of a dependency can be started too, if it is clear from which module.
        let module = holder.or(match modules {
            [only] => Some(only),
            _ => None,
        });
        return module
            .map(|module| (module.clone(), name.clone()))
            .ok_or_else(|| {
                BuildFailure::refused(
                    format!(
                        "BP_JAVA_MAIN_CLASS is {name}, and no module of the build has that class"
                    ),
                    NAME_IT,
                )
            });
    }
    let stated: Vec<(PathBuf, String)> = project
        .map(|project| project.modules.as_slice())
        .unwrap_or_default()
        .iter()
        .filter_map(|(module, pom)| Some((module.clone(), pom.main_class()?)))
        .filter(|(module, name)| {
            modules.contains(module) && main_class::holds(&classes(module), name)
        })
        .collect();
    if let [only] = stated.as_slice() {
        return Ok(only.clone());
    }
    let found: Vec<(PathBuf, String)> = modules
        .iter()
        .flat_map(|module| {
            main_class::candidates(&classes(module))
                .into_iter()
                .map(move |name| (module.clone(), name))
        })
        .collect();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(BuildFailure::refused(
            "the build made no jar with a Main-Class and no class with a main method",
            "add a class with 'public static void main(String[] args)'",
        )),
        several => {
            let names: Vec<_> = several
                .iter()
                .take(20)
                .map(|(_, name)| name.as_str())
                .collect();
            let more = several
                .len()
                .checked_sub(20)
                .filter(|more| *more > 0)
                .map_or(String::new(), |more| format!(" and {more} more"));
            Err(BuildFailure::refused(
                format!(
                    "several classes have a main method: {}{more}",
                    names.join(", ")
                ),
                NAME_IT,
            ))
        }
    }
}

fn runnable_jar(
    context: &BuildContext<'_>,
    built: &Built,
    module: &Path,
    jar: &Jar,
) -> Result<Launch, BuildFailure> {
    let root = context.source.root();
    let dependencies = built.dependencies && has_files(&root.join(module).join(DEPENDENCIES));
    if jar.self_contained || !dependencies {
        return Ok(whole_jar(jar, root, module));
    }
    let name = jar
        .main_class
        .clone()
        .expect("a runnable jar has a main class");
    class_name(&name)?;
    let class_path = vec![jar.path.strip_prefix(root).unwrap_or(&jar.path).to_owned()];
    Ok(Launch {
        what: Start::Class {
            name,
            class_path,
            dependencies,
        },
        module: module.to_owned(),
        spring_boot: false,
    })
}

fn whole_jar(jar: &Jar, root: &Path, module: &Path) -> Launch {
    let path = jar.path.strip_prefix(root).unwrap_or(&jar.path).to_owned();
    Launch {
        what: Start::Jar(path),
        module: module.to_owned(),
        spring_boot: jar.spring_boot,
    }
}

/// The jar of a module that is most likely the app: Quarkus' own layout, then what carries its dependencies, then the largest.
fn best_jar(module: &Path, runnable: bool) -> Option<Jar> {
    let quarkus = Jar::open(&module.join("target/quarkus-app/quarkus-run.jar"));
    if let Some(quarkus) = quarkus.filter(|jar| runnable && jar.main_class.is_some()) {
        return Some(Jar {
            self_contained: true,
            ..quarkus
        });
    }
    let entries = fs::read_dir(module.join("target"))
        .into_iter()
        .flatten()
        .flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_app_jar(path))
        .take(100)
        .collect();
    paths.sort();
    let jars = paths
        .iter()
        .filter_map(|path| Jar::open(path))
        .filter(|jar| !runnable || jar.main_class.is_some());
    jars.max_by_key(|jar| {
        let stem = jar
            .name()
            .to_ascii_lowercase()
            .trim_end_matches(".jar")
            .trim_end_matches(".war")
            .to_owned();
        let bundled = [
            "-with-dependencies",
            "-all",
            "-shaded",
            "-fat",
            "-uber",
            "-runner",
            "-exec",
        ];
        (
            jar.spring_boot,
            bundled.iter().any(|mark| stem.ends_with(mark)),
            jar.bytes,
        )
    })
}

fn is_app_jar(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let extra = [
        "-sources.",
        "-javadoc.",
        "-tests.",
        "-test-sources.",
        "-test-javadoc.",
    ];
    jar::is_archive_name(&name)
        && !name.starts_with("original-")
        && !extra.iter().any(|mark| name.contains(mark))
        && path.is_file()
}

fn wanted_class(context: &BuildContext<'_>) -> Result<Option<String>, BuildFailure> {
    let wanted = context
        .var("BP_JAVA_MAIN_CLASS")
        .map(|name| name.trim().to_owned());
    wanted
        .map(|name| class_name(&name).map(|()| name))
        .transpose()
}

fn class_name(name: &str) -> Result<(), BuildFailure> {
    if main_class::is_class_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(BuildFailure::refused(
        format!("'{shown}' is not the name of a class"),
        NAME_IT,
    ))
}

fn shown(module: &Path) -> String {
    if module.as_os_str().is_empty() {
        "the root".into()
    } else {
        module.display().to_string()
    }
}

fn has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Moves the started module's dependencies to where their layer is made from.
pub(super) fn collect_dependencies(
    context: &BuildContext<'_>,
    built: &Built,
    launch: Option<&Launch>,
    output: &mut BuildOutput,
) -> Result<(), BuildFailure> {
    let Some(Launch {
        what: Start::Class {
            dependencies: true, ..
        },
        module,
        ..
    }) = launch
    else {
        return Ok(());
    };
    let root = context.source.root();
    let to = context.home.join("deps/java/lib");
    let moved = fs::create_dir_all(context.home.join("deps/java"))
        .and_then(|()| fs::rename(root.join(module).join(DEPENDENCIES), &to));
    moved.map_err(BuildFailure::io("move the dependencies into their layer"))?;
    // Jars of the build's other modules are new in every build; all others come from a repository and never change.
    let own: Vec<String> = built
        .modules
        .iter()
        .flat_map(|module| names(&root.join(module).join("target")))
        .collect();
    for name in names(&to) {
        if own.iter().any(|own| name.ends_with(&format!(".{own}"))) {
            output.fresh_archives.push(to.join(name));
        }
    }
    output
        .layers
        .extend(layer(context, LayerKind::Dependencies, "deps/java/lib"));
    Ok(())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".jar"))
        .collect()
}

/// Removes what a build leaves behind that no app needs at run time and that differs from build to build. What a Procfile
/// names stays.
pub(super) fn remove_litter(
    context: &BuildContext<'_>,
    built: &Built,
    launch: Option<&Launch>,
) -> Result<(), BuildFailure> {
    let root = context.source.root();
    let procfile = read_text(&root.join("Procfile"), 64 * 1024).unwrap_or_default();
    const ALWAYS: &[&str] = &[
        "maven-status",
        "maven-archiver",
        "generated-sources",
        "generated-test-sources",
        "test-classes",
        "surefire-reports",
        "failsafe-reports",
        "javadoc-bundle-options",
        "antrun",
        "surefire",
        "slipway-dependencies",
    ];
    for module in &built.modules {
        let target = root.join(module).join("target");
        let mut litter: Vec<PathBuf> = ALWAYS.iter().map(|name| target.join(name)).collect();
        let started_from_classes = matches!(launch, Some(Launch { what: Start::Class { class_path, .. }, .. })
            if class_path.iter().any(|entry| root.join(entry) == target.join("classes")));
        if !started_from_classes
            && best_jar(&root.join(module), false).is_some()
            && !procfile.contains("target/classes")
        {
            litter.push(target.join("classes"));
        }
        if !procfile.contains("original-") {
            let originals = names(&target)
                .into_iter()
                .filter(|name| name.starts_with("original-"));
            litter.extend(originals.map(|name| target.join(name)));
        }
        for path in litter {
            remove(&path).map_err(BuildFailure::io(format!("remove {}", path.display())))?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
