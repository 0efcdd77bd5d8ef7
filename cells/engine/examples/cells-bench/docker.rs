//! The same app by a Docker daemon of its own, through its API.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::{Bed, Fallible, PIPE_INSIDE, SAYS_HELLO, first_byte, run, seconds};

const READY_WITHIN: Duration = Duration::from_secs(60);
const IMAGE: &str = "slipway-bench";

#[derive(Debug)]
pub(crate) struct Docker {
    bed: Bed,
    socket: PathBuf,
    daemon: Daemon,
}

#[derive(Debug)]
struct Daemon(Child);

impl Daemon {
    /// Asks it to end, as its own scripts do, and waits: it takes its containerd along.
    fn end(&mut self) -> Fallible<()> {
        run(Command::new("kill")
            .arg("-TERM")
            .arg(self.0.id().to_string()))?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Only on the way out of an error, which is the one to be told.
            let _ = self.end();
        }
    }
}

impl Docker {
    pub(crate) async fn start(bed: &Bed) -> Fallible<Self> {
        let folder = bed.folder.join("docker");
        std::fs::create_dir_all(&folder)?;
        let socket = folder.join("docker.sock");
        let log = std::fs::File::create(folder.join("log"))?;
        let daemon = Command::new("dockerd")
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .arg("--cgroup-parent")
            .arg(format!("/{}-docker", bed.cgroup))
            .args(["--bip", "10.203.112.1/24"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let docker = Self {
            bed: bed.clone(),
            socket,
            daemon: Daemon(daemon),
        };
        let deadline = Instant::now() + READY_WITHIN;
        while docker.call("GET", "/_ping", None).await.is_err() {
            if Instant::now() > deadline {
                let said = std::fs::read_to_string(folder.join("log"))?;
                return Err(format!("dockerd did not start:\n{said}").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let root = bed.folder.join("containers/model/rootfs");
        let import = "tar -C \"$1\" -c . | docker --host \"unix://$2\" import - \"$3\"";
        run(Command::new("sh")
            .args(["-c", import, "sh"])
            .arg(root)
            .arg(&docker.socket)
            .arg(IMAGE))?;
        Ok(docker)
    }

    /// Seconds from the order to create to the app's first byte.
    pub(crate) async fn run(&self) -> Fallible<f64> {
        let bind = |outside: PathBuf, inside: &str| format!("{}:{inside}", outside.display());
        let wish = json!({
            "Image": IMAGE,
            "Cmd": ["/bin/sh", "-c", SAYS_HELLO],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "User": "2000:2000",
            "HostConfig": {
                "Binds": [bind("/usr".into(), "/usr:ro"), bind(self.bed.pipe_folder(), PIPE_INSIDE)],
                "Memory": 64 << 20,
                "PidsLimit": 64,
                "NetworkMode": "bridge",
            },
        });
        let byte = first_byte(&self.bed.pipe_folder());
        let begun = Instant::now();
        let created = self.call("POST", "/containers/create", Some(&wish)).await?;
        let id = created["Id"]
            .as_str()
            .ok_or("docker names no container")?
            .to_owned();
        self.call("POST", &format!("/containers/{id}/start"), None)
            .await?;
        let took = seconds(begun, &byte)?;
        self.call("DELETE", &format!("/containers/{id}?force=true"), None)
            .await?;
        Ok(took)
    }

    pub(crate) async fn stop(mut self) -> Fallible<()> {
        self.daemon.end()?;
        let find = format!(
            "find /sys/fs/cgroup -depth -type d -path '*/{}-docker*' -exec rmdir {{}} +",
            self.bed.cgroup
        );
        run(Command::new("sh").arg("-c").arg(find)).map(drop)
    }

    /// One request on a connection of its own; the answer's JSON, if it has any.
    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Fallible<Value> {
        let body = body.map_or_else(String::new, Value::to_string);
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or("docker's answer is cut")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            return Err(format!("docker answered {status} to {method} {path}: {body}").into());
        }
        Ok(serde_json::from_str(body).unwrap_or_default())
    }
}
