//! A place where a cell would build, and another where it would run what was built.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buildpacks::output::Output;
use model::digest::Digest;
use model::droplet::{Image, LayerKind, Stack};
use model::limits::Megabytes;
use model::protocol::lifecycle::{BuildResult, BuildSpec};
use model::task::StagingFailure;
use tempfile::TempDir;

/// Builds share Maven's repository, which two Mavens at once may damage.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    cache: PathBuf,
    maven_settings: Option<PathBuf>,
    log: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug)]
pub(crate) struct Outcome(BuildResult);

impl Outcome {
    pub(crate) fn image(self) -> Image {
        match self.0 {
            BuildResult::Built { image } => image,
            BuildResult::Failed { failure } => panic!("{failure:#?}"),
        }
    }

    pub(crate) fn failure(self) -> StagingFailure {
        match self.0 {
            BuildResult::Built { image } => panic!("{image:#?}"),
            BuildResult::Failed { failure } => failure,
        }
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with_cache_of("java-17")
    }

    pub(crate) fn with_cache_of(name: &str) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("builder-cache")
            .join(name);
        Self {
            folder: tempfile::tempdir().expect("temporary folder"),
            cache,
            maven_settings: None,
            log: Arc::default(),
        }
    }

    /// With a cache of its own, for as long as it lives.
    pub(crate) fn with_empty_cache() -> Self {
        let site = Self::new();
        Self {
            cache: site.folder.path().join("cache"),
            ..site
        }
    }

    pub(crate) fn with_maven_settings(text: &str) -> Self {
        let site = Self::new();
        let path = site.folder.path().join("settings file.xml");
        fs::write(&path, text).expect("written");
        Self {
            maven_settings: Some(path),
            ..site
        }
    }

    pub(crate) fn forget_layers(&self) {
        fs::remove_dir_all(self.cache.join("layers")).expect("there are some");
    }

    pub(crate) fn build(&self, files: &[(&str, String)]) -> Outcome {
        self.build_with(files, &[])
    }

    pub(crate) fn build_with(&self, files: &[(&str, String)], env: &[(&str, &str)]) -> Outcome {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (*name, text.clone().into_bytes()))
            .collect();
        self.build_bytes(&files, env)
    }

    pub(crate) fn build_bytes(&self, files: &[(&str, Vec<u8>)], env: &[(&str, &str)]) -> Outcome {
        self.build_package(&zip(files), env)
    }

    pub(crate) fn build_package(&self, package: &[u8], env: &[(&str, &str)]) -> Outcome {
        let _guard: MutexGuard<'_, ()> =
            ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |name: &str| self.folder.path().join(name);
        fs::write(at("package.zip"), package).expect("written");
        let spec = BuildSpec {
            app_name: "app".into(),
            package: at("package.zip"),
            home: at("build home"),
            cache: self.cache.clone(),
            out: at("out"),
            buildpacks: Vec::new(),
            stack: Stack("host-test".into()),
            memory: Megabytes(1024),
            max_source_bytes: 64 * 1024 * 1024,
            maven_settings: self.maven_settings.clone(),
        };
        let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
        variables.insert(
            "PATH".into(),
            std::env::var_os("PATH").expect("the tests have a PATH"),
        );
        variables.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
        let mut output = Output::new(Box::new(Log(Arc::clone(&self.log))));
        Outcome(builder::build::run(&spec, variables, &mut output))
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().expect("not poisoned")).into_owned()
    }

    /// Unpacks the image elsewhere and runs `command` there to its end; the answer is all it printed.
    pub(crate) fn launch(&self, image: &Image, command: &str, env: &[(&str, &str)]) -> String {
        let home = self.folder.path().join("run home");
        let _ = fs::remove_dir_all(&home);
        for folder in ["app", "deps"] {
            fs::create_dir_all(home.join(folder)).expect("made");
        }
        for layer in &image.layers {
            let archive = self
                .folder
                .path()
                .join("out/layers")
                .join(format!("{}.tar.zst", layer.diff_id.hex()));
            let file = File::open(&archive).expect("the layer is there");
            assert_eq!(file.metadata().expect("known").len(), layer.compressed_size);
            tar::Archive::new(zstd::Decoder::new(file).expect("zstd"))
                .unpack(&home)
                .expect("unpacks");
        }
        launch_at(&home, command, env)
    }
}

/// The tests' own executable, as the lifecycle: see [`the_lifecycle_itself`].
pub(crate) fn launch_at(home: &Path, command: &str, env: &[(&str, &str)]) -> String {
    let mut process = Command::new(std::env::current_exe().expect("known"));
    process
        .args(["--exact", "support::the_lifecycle_itself", "--nocapture"])
        .env_clear();
    process.env(
        "PATH",
        std::env::var_os("PATH").expect("the tests have a PATH"),
    );
    process
        .env("SLIPWAY_TEST_HOME", home)
        .env("SLIPWAY_TEST_COMMAND", command)
        .envs(env.iter().copied());
    let output = process.output().expect("runs");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Does nothing but in the process that [`launch_at`] starts, which becomes the command.
#[test]
fn the_lifecycle_itself() {
    if let (Some(home), Some(command)) = (
        std::env::var_os("SLIPWAY_TEST_HOME"),
        std::env::var_os("SLIPWAY_TEST_COMMAND"),
    ) {
        let words = ["launch".into(), "--home".into(), home, "--".into(), command];
        panic!("launch returned {}", builder::main(&words));
    }
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("begun");
        writer.write_all(content).expect("written");
    }
    writer.finish().expect("finished").into_inner()
}

/// A runnable jar of one source file that holds the class `Main`.
pub(crate) fn jar(source: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("Main.java"), source).expect("written");
    for command in [
        &["javac", "Main.java"][..],
        &["jar", "cfe", "x.jar", "Main", "Main.class"],
    ] {
        let status = Command::new(command[0])
            .args(&command[1..])
            .current_dir(folder.path())
            .status();
        assert!(status.expect("the JDK's tools run").success());
    }
    fs::read(folder.path().join("x.jar")).expect("made")
}

pub(crate) fn kinds(image: &Image) -> Vec<LayerKind> {
    image.layers.iter().map(|layer| layer.kind).collect()
}

pub(crate) fn digest_of(image: &Image, kind: LayerKind) -> Digest {
    image
        .layers
        .iter()
        .find(|layer| layer.kind == kind)
        .expect("the image has such a layer")
        .diff_id
}
