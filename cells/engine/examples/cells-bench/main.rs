//! Measures containers against runc and Docker, and how cheap they are to keep and to adopt.
//!
//! `script/bench cells` starts this with the path of a `slipway` binary, in network and mount namespaces of its own, so that
//! nothing it makes can meet the host's own network or stay behind in it.
//!
//! A start is measured from the order to the first byte that the app writes, into a pipe that all of them have bound at the
//! same place. Each container gets cgroups, a read-only root, an overlay of three layers, and a network with an address
//! and a default route. runc gets the very configuration that our own shim gets, without its seccomp filters, and its
//! network by two calls of `ip`; Docker gets its own defaults, on its bridge.

mod bundle;
mod docker;
mod many;
mod runc;

use std::error::Error;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cells_engine::linux::{Config, LinuxEngine};
use cells_engine::{
    Container as _, ContainerLimits, ContainerSpec, Engine as _, Mount, NetworkConfig,
};
use model::limits::Megabytes;
use model::secret::Env;

pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 15;
/// Docker takes a quarter of a second each.
const DOCKER_EACH: usize = 3;
const SPEAKS_WITHIN: Duration = Duration::from_secs(30);
const PIPE_INSIDE: &str = "/mnt/bench";
pub(crate) const SAYS_HELLO: &str = "echo hello >/mnt/bench/pipe; exec sleep 1000";

fn main() -> Fallible<()> {
    let exe = std::env::args_os()
        .nth(1)
        .ok_or("the path of slipway is missing")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(PathBuf::from(exe)))
}

#[expect(clippy::print_stdout, reason = "figures are this program's output")]
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    println!("figure cells.{name} {value:.3} {unit}");
}

/// Where everything of a run lies.
#[derive(Debug, Clone)]
pub(crate) struct Bed {
    pub(crate) folder: PathBuf,
    pub(crate) exe: PathBuf,
    pub(crate) cgroup: String,
}

impl Bed {
    pub(crate) async fn engine(&self) -> Fallible<LinuxEngine> {
        let config = Config {
            state: self.folder.join("state"),
            exe: self.exe.clone(),
            cgroup: self.cgroup.clone(),
            network: NetworkConfig {
                pool: "10.203.64.0".parse()?,
                platform_ports: vec![([127, 0, 0, 1], 8080).into()],
            },
        };
        Ok(LinuxEngine::new(config).await?)
    }

    pub(crate) fn spec(&self, name: &str, command: &str) -> Fallible<ContainerSpec> {
        let dir = self.folder.join("containers").join(name);
        std::fs::create_dir_all(&dir)?;
        let layers = (0..3).map(|n| self.folder.join(format!("layer-{n}")));
        Ok(ContainerSpec {
            name: name.to_owned(),
            hostname: name.to_owned(),
            dir,
            layers: layers.collect(),
            mounts: vec![Mount {
                source: self.pipe_folder(),
                target: PIPE_INSIDE.to_owned(),
                writable: true,
            }],
            results: None,
            cache: None,
            args: ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            env: Env::from_iter([("PATH", "/usr/local/bin:/usr/bin:/bin")]),
            cwd: "/home/vcap".to_owned(),
            limits: ContainerLimits {
                memory: Megabytes(64),
                disk: Megabytes(64),
                cpu_weight: 100,
                pids: 64,
                open_files: 1024,
                log_rate: None,
            },
            max_log_bytes: 1 << 20,
        })
    }

    pub(crate) fn pipe_folder(&self) -> PathBuf {
        self.folder.join("pipe")
    }

    fn prepare(&self) -> Fallible<()> {
        use std::os::unix::fs::PermissionsExt as _;
        for layer in 0..3 {
            let layer = self.folder.join(format!("layer-{layer}"));
            std::fs::create_dir_all(&layer)?;
            std::fs::write(layer.join("file"), "x")?;
        }
        std::fs::create_dir_all(self.pipe_folder())?;
        let pipe = self.pipe_folder().join("pipe");
        run(std::process::Command::new("mkfifo").arg(&pipe))?;
        std::fs::set_permissions(&pipe, std::fs::Permissions::from_mode(0o666))?;
        // Shown to a container through an id-mapped mount, where the kernel lets nobody write to what no user there owns.
        std::os::unix::fs::chown(&pipe, Some(2000), Some(2000))?;
        Ok(())
    }
}

/// Receives when the first byte of the next app came. In a thread, since opening a pipe waits for its writer.
pub(crate) fn first_byte(pipe_folder: &Path) -> mpsc::Receiver<std::io::Result<Instant>> {
    let pipe = pipe_folder.join("pipe");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let read = std::fs::File::open(pipe).and_then(|mut pipe| pipe.read_exact(&mut [0]));
        // Nobody listens any more where the start has failed.
        let _ = tell.send(read.map(|()| Instant::now()));
    });
    told
}

pub(crate) fn seconds(
    begun: Instant,
    first_byte: &mpsc::Receiver<std::io::Result<Instant>>,
) -> Fallible<f64> {
    let at = first_byte.recv_timeout(SPEAKS_WITHIN).map_err(|_| {
        format!(
            "the container said nothing within {} s",
            SPEAKS_WITHIN.as_secs()
        )
    })??;
    Ok(at.duration_since(begun).as_secs_f64())
}

pub(crate) fn run(command: &mut std::process::Command) -> Fallible<String> {
    let output = command.stdin(std::process::Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed: {said}").into())
}

async fn measure(exe: PathBuf) -> Fallible<()> {
    let folder = tempfile::Builder::new()
        .prefix("slipway-bench-")
        .tempdir()?;
    let bed = Bed {
        folder: folder.path().to_owned(),
        exe,
        cgroup: format!("slipway-bench-{}", std::process::id()),
    };
    bed.prepare()?;
    let engine = bed.engine().await?;
    let measured = async {
        starts(&bed, &engine).await?;
        many::measure(&bed).await
    }
    .await;
    // Whatever happened, nothing stays.
    engine.sweep(&[]).await?;
    engine.uninstall().await?;
    measured
}

async fn starts(bed: &Bed, engine: &LinuxEngine) -> Fallible<()> {
    // Lives throughout: runc's bundles are made after its configuration and see its cgroups.
    let model = engine.start(bed.spec("model", "exec sleep 1000")?).await?;
    let runc = runc::Runc::after(bed, "model")?;
    let docker = docker::Docker::start(bed).await?;
    let (mut ours, mut theirs, mut dockers) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and does not count.
    for round in 0..=ROUNDS {
        let own = start(bed, engine, round).await?;
        let other = runc.start(round)?;
        if round > 0 {
            ours.push(own);
            theirs.push(other);
        }
        if round % DOCKER_EACH == 0 {
            let other = docker.run().await?;
            if round > 0 {
                dockers.push(other);
            }
        }
    }
    docker.stop().await?;
    runc.clean_up()?;
    model.remove().await?;
    let ratios = ours.iter().zip(&theirs).map(|(own, other)| own / other);
    let start = median(ours.iter().copied());
    figure("start", start * 1e3, "ms");
    figure(
        "start_fastest",
        ours.iter().copied().fold(f64::INFINITY, f64::min) * 1e3,
        "ms",
    );
    figure("runc_start", median(theirs.iter().copied()) * 1e3, "ms");
    figure("docker_start", median(dockers.iter().copied()) * 1e3, "ms");
    figure("start_vs_runc", median(ratios), "x");
    figure(
        "start_vs_docker",
        start / median(dockers.iter().copied()),
        "x",
    );
    Ok(())
}

async fn start(bed: &Bed, engine: &LinuxEngine, round: usize) -> Fallible<f64> {
    let spec = bed.spec(&format!("own-{round}"), SAYS_HELLO)?;
    let byte = first_byte(&bed.pipe_folder());
    let begun = Instant::now();
    let container = engine.start(spec).await?;
    let took = seconds(begun, &byte)?;
    container.remove().await?;
    Ok(took)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
