//! The Java runtime of a droplet: a JRE linked from the chosen JDK, the same for all apps built with that JDK.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use model::droplet::LayerKind;
use sha2::{Digest as _, Sha256};

use super::jdk::Jdk;
use super::start;
use crate::command;
use crate::contract::{BuildContext, BuildFailure, LayerSource};

/// Part of the cache key: raise it when the same inputs give another layer.
const FORMAT: u32 = 2;

/// What apps may need, as far as the JDK has it. One set for all, so that all share one layer.
const MODULES: &[&str] = &[
    "java.se",
    "jdk.charsets",
    "jdk.crypto.cryptoki",
    "jdk.crypto.ec",
    "jdk.httpserver",
    "jdk.jdwp.agent",
    "jdk.jfr",
    "jdk.localedata",
    "jdk.management",
    "jdk.management.agent",
    "jdk.naming.dns",
    "jdk.net",
    "jdk.nio.mapmode",
    "jdk.security.auth",
    "jdk.security.jgss",
    "jdk.unsupported",
    "jdk.xml.dom",
    "jdk.zipfs",
];

/// Every file's time in a layer: 1980-01-01T00:00:01Z, as Cloud Native Buildpacks have it. The class-data archive refers
/// to it.
const LAYER_TIME: Duration = Duration::from_secs(315_532_801);

/// Where the JVM looks for the archive of its own classes.
const CLASS_DATA: &str = "deps/java/jre/lib/server/classes.jsa";

/// The runtime, and the archive of its classes as a layer of its own: two dumps of one runtime are seldom the same to the
/// byte, while the runtime is, and is the layer that all apps share.
pub(super) fn prepare(
    context: &mut BuildContext<'_>,
    jdk: &Jdk,
) -> Result<Vec<LayerSource>, BuildFailure> {
    let modules: Vec<&str> = MODULES
        .iter()
        .copied()
        .filter(|module| jdk.modules.iter().any(|have| have == module))
        .collect();
    let certificates = jdk.home.join("lib/security/cacerts");
    let key = cache_key(jdk, &modules, &certificates);
    let layer = |paths: &[&str], except: &[&str], key: String| LayerSource {
        kind: LayerKind::Runtime,
        paths: paths.iter().map(PathBuf::from).collect(),
        except: except.iter().map(PathBuf::from).collect(),
        cache_key: Some(key),
    };
    let mut layers = vec![
        layer(
            &["deps/java/bin", "deps/java/jre", "profile.d/java.sh"],
            &[CLASS_DATA],
            key.clone(),
        ),
        layer(&[CLASS_DATA], &[], format!("class data of {key}")),
    ];
    if layers
        .iter()
        .flat_map(|layer| &layer.cache_key)
        .all(|key| context.layers.find(key).is_some())
    {
        context
            .output
            .line(&format!("Java runtime {}: unchanged", jdk.runtime_version));
        return Ok(layers);
    }
    let folder = context.home.join("deps/java");
    let jre = folder.join("jre");
    fs::create_dir_all(&folder).map_err(BuildFailure::io("create deps/java"))?;
    context.output.line(&format!(
        "Java runtime {}: {} modules",
        jdk.runtime_version,
        modules.len()
    ));
    if !(jdk.has("jlink") && link(context, jdk, &modules, &jre)) {
        context
            .output
            .line("jlink cannot be used with this JDK; its whole runtime is copied");
        let _ = fs::remove_dir_all(&jre);
        copy(&jdk.home, &jre, Path::new("")).map_err(BuildFailure::io("copy the JDK's runtime"))?;
    }
    finish(&jre, &certificates).map_err(BuildFailure::io("complete the Java runtime"))?;
    write_scripts(&context.home).map_err(BuildFailure::io("write the start script"))?;
    share_class_data(context, &jre);
    if !context.home.join(CLASS_DATA).is_file() {
        layers.pop();
    }
    Ok(layers)
}

fn cache_key(jdk: &Jdk, modules: &[&str], certificates: &Path) -> String {
    let certificates = fs::read(certificates).unwrap_or_default();
    let hash = Sha256::new()
        .chain_update(certificates)
        .chain_update(start::SCRIPT)
        .chain_update(start::PROFILE)
        .finalize();
    let modules = modules.join(" ");
    format!(
        "java runtime {FORMAT} {} {} {modules} {:?}",
        jdk.vendor,
        jdk.runtime_version,
        hash.as_slice()
    )
}

fn link(context: &BuildContext<'_>, jdk: &Jdk, modules: &[&str], jre: &Path) -> bool {
    let mut command = Command::new(jdk.home.join("bin/jlink"));
    command
        .env_clear()
        .envs(&context.env)
        .args(["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]);
    // Stripping libjvm takes more heap than the quarter of a small container that is the default.
    command.arg(format!(
        "-J-Xmx{}m",
        (context.memory.0 / 2).clamp(256, 1024)
    ));
    command.args(["--add-modules", &modules.join(",")]);
    command.args(["--strip-debug", "--no-man-pages", "--no-header-files"]);
    // Uncompressed is smaller once zstd has seen it, and starts faster.
    command.args(["--compress", if jdk.major >= 21 { "zip-0" } else { "0" }]);
    command.arg("--output").arg(jre);
    !modules.is_empty() && command::succeeds(&mut command)
}

/// Copies a JDK's folder without what only a developer needs; links become what they point to.
fn copy(from: &Path, to: &Path, relative: &Path) -> io::Result<()> {
    const LEFT_OUT: &[&str] = &[
        "jmods",
        "include",
        "man",
        "docs",
        "demo",
        "sample",
        "src.zip",
        "lib/src.zip",
        "lib/ct.sym",
    ];
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        let relative = relative.join(&name);
        let Ok(meta) = fs::metadata(from.join(&name)) else {
            continue;
        };
        if LEFT_OUT
            .iter()
            .any(|left_out| relative == Path::new(left_out))
            || relative.components().count() > 20
        {
            continue;
        }
        if meta.is_dir() {
            copy(&from.join(&name), &to.join(&name), &relative)?;
        } else {
            fs::copy(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// The host's certificates rather than the few or none inside the JDK's modules, and the layer's times.
fn finish(jre: &Path, certificates: &Path) -> io::Result<()> {
    if certificates.is_file() {
        let to = jre.join("lib/security/cacerts");
        let _ = fs::remove_file(&to);
        fs::write(&to, fs::read(certificates)?)?;
    }
    set_times(jre)
}

fn set_times(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            set_times(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?
                .set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + LAYER_TIME))?;
        }
    }
    File::open(folder)?
        .set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + LAYER_TIME))
}

fn write_scripts(home: &Path) -> io::Result<()> {
    let bin = home.join("deps/java/bin");
    fs::create_dir_all(&bin)?;
    let script = bin.join("start-java");
    fs::write(&script, start::SCRIPT)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let _ = fs::remove_file(bin.join("java"));
    symlink("start-java", bin.join("java"))?;
    fs::create_dir_all(home.join("profile.d"))?;
    fs::write(home.join("profile.d/java.sh"), start::PROFILE)
}

/// jlink leaves out the archive of the JDK's own classes, which saves a third of every start. Without it everything still
/// works.
fn share_class_data(context: &mut BuildContext<'_>, jre: &Path) {
    let java = || {
        let mut command = Command::new(jre.join("bin/java"));
        command
            .env_clear()
            .envs(&context.env)
            .env_remove("JAVA_TOOL_OPTIONS")
            .env_remove("JDK_JAVA_OPTIONS");
        command
    };
    let dumped = command::succeeds(java().args(["-XX:+UseSerialGC", "-Xmx128m", "-Xshare:dump"]));
    if !dumped || !command::succeeds(java().args(["-Xmx64m", "-Xshare:on", "-version"])) {
        let _ = fs::remove_file(jre.join("lib/server/classes.jsa"));
        context
            .output
            .line("The runtime has no class-data archive; starts take a little longer");
    }
}
