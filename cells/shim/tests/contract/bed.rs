//! Where a case runs: an engine with a folder of its own, and for containers a network of its own.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cells_engine::linux::LinuxEngine;
use cells_engine::process::ProcessEngine;
use cells_engine::{
    Container, ContainerExit, ContainerLimits, ContainerSpec, Engine, NetworkConfig,
};
use model::limits::Megabytes;
use model::protocol::cell::Isolation;
use model::secret::Env;
use tempfile::TempDir;

pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_cells-shim");
/// A port that stands for the platform's own.
pub(crate) const PLATFORM_PORT: u16 = 18_080;
/// Far more than anything here takes on an idle machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Bed<E> {
    pub(crate) engine: E,
    pub(crate) root: Arc<TempDir>,
}

/// An engine's configuration that depends on the folder and a name only, so that another process can have the same.
pub(crate) fn linux_config(root: &Path, cgroup: &str) -> cells_engine::linux::Config {
    cells_engine::linux::Config {
        state: root.join("state"),
        exe: SHIM.into(),
        cgroup: cgroup.to_owned(),
        network: NetworkConfig {
            pool: "10.203.48.0".parse().expect("address"),
            platform_ports: vec![([127, 0, 0, 1], PLATFORM_PORT).into()],
        },
    }
}

/// A cgroup name that no other test of this machine has.
pub(crate) fn cgroup_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "slipway-test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs a case with a fresh container engine and checks afterwards that nothing of it is left on the machine.
pub(crate) fn linux(case: impl AsyncFnOnce(Bed<LinuxEngine>) + Send) {
    in_own_network(async || {
        let root = Arc::new(tempfile::tempdir().expect("temp dir"));
        let cgroup = cgroup_name();
        let engine = LinuxEngine::new(linux_config(root.path(), &cgroup))
            .await
            .expect("this test runs as root");
        case(Bed {
            engine: engine.clone(),
            root: root.clone(),
        })
        .await;
        engine.sweep(&[]).await.expect("sweeps");
        engine.uninstall().await.expect("uninstalls");
        assert_eq!(
            crate::linux::leftovers(root.path(), &cgroup).await,
            Vec::<String>::new()
        );
    });
}

pub(crate) fn process(case: impl AsyncFnOnce(Bed<ProcessEngine>) + Send) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let root = Arc::new(tempfile::tempdir().expect("temp dir"));
        let engine =
            ProcessEngine::new(&root.path().join("state"), SHIM.into()).expect("state folder");
        case(Bed {
            engine: engine.clone(),
            root: root.clone(),
        })
        .await;
        engine.sweep(&[]).await.expect("sweeps");
    });
}

/// Runs a future on a thread that has a network namespace of its own, with the loopback link up.
pub(crate) fn in_own_network<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_new_network();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            runtime.block_on(async {
                let kernel =
                    nlink::netlink::Connection::<nlink::netlink::Route>::new().expect("netlink");
                kernel.set_link_up("lo").await.expect("loopback");
                work().await
            })
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[allow(unsafe_code, reason = "the standard library has no namespaces")]
fn enter_new_network() {
    // SAFETY: plain integers; changes this thread only.
    assert_eq!(
        unsafe { libc::unshare(libc::CLONE_NEWNET) },
        0,
        "{}",
        std::io::Error::last_os_error()
    );
}

impl<E: Engine> Bed<E> {
    pub(crate) fn is_process(&self) -> bool {
        self.engine.isolation() == Isolation::Process
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A container that runs `script` with bash.
    pub(crate) fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        let dir = self.dir(name);
        std::fs::create_dir_all(&dir).expect("folder");
        let home = dir.join(cells_engine::process::HOME).display().to_string();
        ContainerSpec {
            name: name.to_owned(),
            hostname: name.to_owned(),
            dir,
            layers: Vec::new(),
            mounts: Vec::new(),
            results: None,
            cache: None,
            args: ["bash", "-c", script].map(str::to_owned).to_vec(),
            env: Env::from_iter([("PATH", "/usr/local/bin:/usr/bin:/bin")]),
            cwd: if self.is_process() {
                home
            } else {
                "/home/vcap".to_owned()
            },
            limits: ContainerLimits {
                memory: Megabytes(256),
                disk: Megabytes(64),
                cpu_weight: 100,
                pids: 64,
                open_files: 16_384,
                log_rate: None,
            },
            max_log_bytes: 1 << 20,
        }
    }

    pub(crate) async fn start(&self, spec: ContainerSpec) -> E::Container {
        let name = spec.name.clone();
        self.engine
            .start(spec)
            .await
            .unwrap_or_else(|error| panic!("{name} does not start: {}", with_causes(&error)))
    }

    /// Runs `script` to its end and returns its exit and all output.
    pub(crate) async fn run(&self, name: &str, script: &str) -> (ContainerExit, String) {
        self.run_spec(self.spec(name, script)).await
    }

    pub(crate) async fn run_spec(&self, spec: ContainerSpec) -> (ContainerExit, String) {
        let name = spec.name.clone();
        let container = self.start(spec).await;
        let exit = within(container.wait()).await.expect("ends");
        let output = self.output(&name);
        container.remove().await.expect("removed");
        (
            exit,
            output.into_iter().map(|(_, line)| line + "\n").collect(),
        )
    }

    /// Lines that a container has written so far, each with its stream.
    pub(crate) fn output(&self, name: &str) -> Vec<(char, String)> {
        let read = |file: &str| {
            std::fs::read_to_string(self.dir(name).join("logs").join(file)).unwrap_or_default()
        };
        let text = read("previous") + &read("current");
        let lines = text.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ' ');
            let (_, stream, line) = (parts.next()?, parts.next()?, parts.next()?);
            Some((stream.chars().next()?, line.to_owned()))
        });
        lines.collect()
    }

    /// Waits until a container has written `line`.
    pub(crate) async fn until_written(&self, name: &str, line: &str) {
        eventually(async || {
            let output = self.output(name);
            if output.iter().any(|(_, written)| written == line) {
                Ok(())
            } else {
                Err(format!("{output:?}"))
            }
        })
        .await;
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .expect("done in time")
}

/// Repeats `check` until it succeeds, and fails with its last answer.
pub(crate) async fn eventually<T>(mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(state) => assert!(tokio::time::Instant::now() < deadline, "still: {state}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Perl, which every Debian has, listening on an address and greeting who connects.
pub(crate) fn listen_script(address: &str, port: u16) -> String {
    format!(
        "exec perl -MIO::Socket::INET -e '$| = 1; my $s = IO::Socket::INET->new(LocalAddr => \"{address}\", \
         LocalPort => {port}, Listen => 5, ReuseAddr => 1) or die \"listen: $!\"; print \"listening\\n\"; \
         while (my $c = $s->accept) {{ print $c \"hello\\n\"; close $c }}'"
    )
}

/// Seconds to ask for an answer that is to come: a busy machine takes its time.
pub(crate) const PATIENTLY: u32 = 30;
/// Seconds to ask where a wall is to swallow the question.
pub(crate) const IN_VAIN: u32 = 3;

/// Bash that prints what a server says within so many seconds, or `no answer`.
pub(crate) fn ask_script(host: &str, port: u16, seconds: u32) -> String {
    format!(
        "timeout {seconds} bash -c 'exec 3<>/dev/tcp/{host}/{port} && head -n 1 <&3' 2>/dev/null || echo no answer"
    )
}

pub(crate) fn address_v4(address: IpAddr) -> std::net::Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("containers have IPv4 addresses"),
    }
}
