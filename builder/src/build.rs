//! One build, from a package to a result.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use buildpacks::layer_cache::LayerCache;
use buildpacks::output::Output;
use buildpacks::{BuildContext, BuildFailure, BuildOutput, Buildpack, Source};
use model::droplet::{Image, UsedBuildpack};
use model::protocol::lifecycle::{BuildResult, BuildSpec};
use model::task::StagingFailure;

use crate::unpack::UnpackError;
use crate::{detect, export, unpack};

/// Builds what the spec at `path` says, printing to standard output, and writes `OUT/result.json`.
///
/// # Errors
/// The spec cannot be read or the result not written: there is no outcome to speak of.
pub(crate) fn main(path: &Path) -> anyhow::Result<()> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let spec: BuildSpec = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a build spec", path.display()))?;
    let mut output = Output::new(Box::new(io::stdout()));
    let result = run(&spec, std::env::vars_os().collect(), &mut output);
    write_result(&spec.out, &result)
        .with_context(|| format!("cannot write the result to {}", spec.out.display()))
}

/// Builds `spec` with the environment `env`. Layers are in `OUT/layers` if the result is an image.
#[must_use]
pub fn run(
    spec: &BuildSpec,
    env: BTreeMap<OsString, OsString>,
    output: &mut Output,
) -> BuildResult {
    match build(spec, env, output) {
        Ok(image) => BuildResult::Built { image },
        Err(failure) => {
            explain(&failure, output);
            BuildResult::Failed { failure }
        }
    }
}

fn build(
    spec: &BuildSpec,
    mut env: BTreeMap<OsString, OsString>,
    output: &mut Output,
) -> Result<Image, StagingFailure> {
    let app = spec.home.join("app");
    let internal = |action: &'static str| move |error: io::Error| fault(&spec.home, action, &error);
    prepare(spec).map_err(internal("prepare the build's folders"))?;
    let uploaded =
        unpack::unpack(&spec.package, &app, spec.max_source_bytes).map_err(
            |error| match error {
                UnpackError::Io { ref source, .. } => fault(&spec.home, &error.to_string(), source),
                UnpackError::Bad(message) => StagingFailure::Refused {
                    buildpack: "lifecycle".into(),
                    message,
                    hint: Some("push again from a clean folder".into()),
                },
            },
        )?;
    let source = Source::open(&app).map_err(internal("read the source"))?;
    let chosen = detect::choose(&source, &spec.buildpacks)?;

    // Tools that know only ASCII stumble over file names, and no other locale is installed everywhere.
    env.entry("LC_ALL".into())
        .or_insert_with(|| "C.UTF-8".into());

    let layer_cache = LayerCache::new(spec.cache.join("layers"));
    let mut context = BuildContext {
        source,
        home: spec.home.clone(),
        cache: spec.cache.clone(),
        layers: layer_cache.clone(),
        env,
        memory: spec.memory,
        maven_settings: spec.maven_settings.clone(),
        output,
    };
    let mut built: Vec<BuildOutput> = Vec::new();
    for buildpack in &chosen {
        context.cache = spec.cache.join(buildpack.name());
        fs::create_dir_all(&context.cache).map_err(internal("create the build's cache"))?;
        built.push(
            buildpack
                .build(&mut context)
                .map_err(|failure| failed(spec, *buildpack, failure))?,
        );
    }

    output.step("Making the droplet");
    export::normalise_archives(&app, &uploaded, &built, output);
    let layers = export::layers(
        &spec.home,
        &built,
        &layer_cache,
        &spec.out.join("layers"),
        output,
    )
    .map_err(internal("write the droplet's layers"))?;
    // Later buildpacks replace what earlier ones said of the same process type.
    let process_types: BTreeMap<String, String> = built
        .iter()
        .flat_map(|built| built.process_types.clone())
        .collect();
    if !process_types.contains_key("web") {
        output.warning(
            "nothing says how to start a web process: add a Procfile with a line 'web: COMMAND'",
        );
    }
    let used = chosen
        .iter()
        .zip(built)
        .map(|(buildpack, built)| UsedBuildpack {
            name: buildpack.name().into(),
            version: buildpack.version().into(),
            detected: built.detected,
        });
    Ok(Image {
        stack: spec.stack.clone(),
        layers,
        process_types,
        buildpacks: used.collect(),
    })
}

/// Empty folders to build in.
fn prepare(spec: &BuildSpec) -> io::Result<()> {
    for folder in ["app", "deps", "profile.d"] {
        let folder = spec.home.join(folder);
        fs::create_dir_all(&folder)?;
        // The folders themselves may be mounts.
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?
            } else {
                fs::remove_file(entry.path())?
            }
        }
    }
    let layers = spec.out.join("layers");
    match fs::remove_dir_all(&layers) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for folder in [&spec.home.join("tmp"), &spec.cache, &layers] {
        fs::create_dir_all(folder)?;
    }
    Ok(())
}

fn failed(spec: &BuildSpec, buildpack: &dyn Buildpack, failure: BuildFailure) -> StagingFailure {
    let buildpack = buildpack.name().to_owned();
    match failure {
        BuildFailure::Command {
            command,
            status,
            ran_ms,
            last_lines,
        } => StagingFailure::BuildFailed {
            buildpack,
            command,
            status,
            ran_ms,
            last_lines,
        },
        BuildFailure::Refused { message, hint } => StagingFailure::Refused {
            buildpack,
            message,
            hint,
        },
        BuildFailure::Io { ref source, .. } => {
            fault(&spec.home, &format!("{buildpack}: {failure}"), source)
        }
    }
}

/// A full disk is the app's limit; any other error of the file system is the platform's.
fn fault(home: &Path, action: &str, error: &io::Error) -> StagingFailure {
    if matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        StagingFailure::OutOfDisk {
            limit_bytes: disk_bytes(home),
        }
    } else {
        StagingFailure::Internal {
            message: format!("{action}: {error}"),
        }
    }
}

/// The size of the file system that holds `folder`; 0 where it is not known.
fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt as _;
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else {
        return 0;
    };
    // SAFETY: an all-zero statvfs is a valid value of that plain C struct.
    #[allow(unsafe_code, reason = "the standard library has no statvfs")]
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a NUL-terminated string and `stat` a writable statvfs; both outlive the call.
    #[allow(unsafe_code, reason = "the standard library has no statvfs")]
    let result = unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) };
    if result == 0 {
        stat.f_blocks.saturating_mul(stat.f_frsize)
    } else {
        0
    }
}

/// The end of the log says why there is no droplet.
fn explain(failure: &StagingFailure, output: &mut Output) {
    match failure {
        StagingFailure::BuildFailed {
            command,
            status,
            ran_ms,
            ..
        } => {
            output.line(&format!(
                "**ERROR** '{command}' ended with status {status} after {}.{} s",
                ran_ms / 1000,
                ran_ms % 1000 / 100
            ));
        }
        StagingFailure::Refused {
            buildpack,
            message,
            hint,
        } => {
            output.line(&format!("**ERROR** {buildpack}: {message}"));
            if let Some(hint) = hint {
                output.line(hint);
            }
        }
        StagingFailure::NothingDetected {
            looked_for,
            found,
            hint,
        } => {
            output.line("**ERROR** no buildpack recognises this source");
            output.line(&format!("looked for: {}", looked_for.join(", ")));
            output.line(&format!(
                "found: {}",
                if found.is_empty() {
                    "no files".to_owned()
                } else {
                    found.join(", ")
                }
            ));
            if let Some(hint) = hint {
                output.line(hint);
            }
        }
        StagingFailure::OutOfDisk { .. } => output.line("**ERROR** the build's disk is full"),
        StagingFailure::Internal { message } => {
            output.line(&format!("**ERROR** a fault of the platform: {message}"))
        }
        _ => {}
    }
}

/// In one step, so that the cell never reads half a result.
fn write_result(out: &Path, result: &BuildResult) -> anyhow::Result<()> {
    fs::create_dir_all(out)?;
    let unfinished = out.join("result.json.part");
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(result)?)?;
    file.sync_all()?;
    fs::rename(unfinished, out.join("result.json"))?;
    Ok(())
}
