//! Finding out whether this host lets us make containers, by making one.

use model::limits::Megabytes;
use model::secret::Env;

use super::{Config, LinuxEngine};
use crate::{Container, ContainerLimits, ContainerSpec, Engine, EngineError};

/// Why containers cannot be made here. The text is a whole sentence for the person who starts the platform.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("containers need root, and this process runs as user {uid}")]
    NotRoot { uid: u32 },
    #[error("cannot {what} on this host")]
    Refused {
        what: &'static str,
        #[source]
        source: EngineError,
    },
    #[error("a trial container ended with status {status} instead of 0")]
    Failed { status: i32 },
}

/// Makes a throwaway container with everything a real one has, runs `true` in it, and takes it away again.
///
/// Meant for before the engine itself is made: containers of an earlier run are not disturbed, but nobody else may start
/// one with the same configuration meanwhile.
pub async fn probe(config: Config) -> Result<(), ProbeError> {
    let uid = effective_uid();
    if uid != 0 {
        return Err(ProbeError::NotRoot { uid });
    }
    let name = format!("probe-{}", std::process::id());
    let dir = config.state.join(&name);
    let prepare = |source| ProbeError::Refused {
        what: "prepare cgroups and the network",
        source,
    };
    let made =
        std::fs::create_dir_all(&dir).map_err(EngineError::io(format!("make {}", dir.display())));
    made.map_err(prepare)?;
    let engine = LinuxEngine::new(config).await.map_err(prepare)?;
    let limits = ContainerLimits {
        memory: Megabytes(64),
        disk: Megabytes(64),
        cpu_weight: 100,
        pids: 16,
        open_files: 256,
        log_rate: None,
    };
    let spec = ContainerSpec {
        name,
        hostname: "probe".to_owned(),
        dir: dir.clone(),
        layers: vec![engine.probe_layer().map_err(prepare)?],
        mounts: Vec::new(),
        results: None,
        cache: None,
        args: vec!["true".to_owned()],
        env: Env::new(),
        cwd: "/home/vcap".to_owned(),
        limits,
        max_log_bytes: 4096,
    };
    let outcome = run(&engine, spec).await;
    // What is left lies in the engine's own folder and harms nobody.
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

async fn run(engine: &LinuxEngine, spec: ContainerSpec) -> Result<(), ProbeError> {
    let start = |source| ProbeError::Refused {
        what: "start a container",
        source,
    };
    let container = engine.start(spec).await.map_err(start)?;
    let exit = container.wait().await;
    let removed = container.remove().await;
    let exit = exit.map_err(start)?;
    removed.map_err(|source| ProbeError::Refused {
        what: "remove a container",
        source,
    })?;
    if exit.status == 0 {
        Ok(())
    } else {
        Err(ProbeError::Failed {
            status: exit.status,
        })
    }
}

impl LinuxEngine {
    /// An empty layer, so that the trial container has an overlay too.
    fn probe_layer(&self) -> Result<std::path::PathBuf, EngineError> {
        let layer = self.0.config.state.join("probe-layer");
        std::fs::create_dir_all(&layer)
            .map_err(EngineError::io(format!("make {}", layer.display())))?;
        Ok(layer)
    }
}

#[allow(unsafe_code, reason = "the standard library does not tell the user id")]
fn effective_uid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}
