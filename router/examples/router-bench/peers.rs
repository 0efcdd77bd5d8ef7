//! The processes of a measurement, each on its processor and ended with its value.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::roles::hot_host;

const PROXY_PROCESSOR: &str = "0";
pub(crate) const LOAD_PROCESSOR: &str = "1";

#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    port: u16,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone already; that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> Fallible<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Peer {
    pub(crate) fn upstream(port: u16) -> Fallible<Self> {
        let mut command = pinned(LOAD_PROCESSOR);
        command
            .arg(std::env::current_exe()?)
            .arg("upstream")
            .arg(port.to_string());
        Self::start("the upstream", port, command)
    }

    pub(crate) fn router(folder: &Path, is_logging: bool) -> Fallible<Self> {
        let port = free_port()?;
        let mut command = pinned(PROXY_PROCESSOR);
        command
            .arg(std::env::current_exe()?)
            .arg(if is_logging { "logging-proxy" } else { "proxy" })
            .arg(folder)
            .arg(port.to_string());
        Self::start("the router", port, command)
    }

    pub(crate) fn nginx(folder: &Path, upstream: u16, is_logging: bool) -> Fallible<Self> {
        let port = free_port()?;
        fs::create_dir_all(folder)?;
        let folder = folder.display();
        let access_log = if is_logging {
            format!("{folder}/access.log")
        } else {
            "off".to_owned()
        };
        // One process, as the measured one, so that its processor time is its own.
        let text = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log {access_log};\n  keepalive_requests 1000000000; tcp_nodelay on;\n  \
             client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n  \
             uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n  \
             upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}\n  \
             server {{ listen 127.0.0.1:{port}; location / {{\n    proxy_pass http://app; proxy_http_version 1.1;\n    \
             proxy_set_header Connection \"\"; proxy_set_header Host $host;\n    \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;\n  \
             }} }}\n}}\n"
        );
        let conf = write(&folder.to_string(), "nginx.conf", &text)?;
        let mut command = pinned(PROXY_PROCESSOR);
        command
            .arg("nginx")
            .arg("-c")
            .arg(conf)
            .arg("-e")
            .arg(format!("{folder}/error.log"));
        Self::start("nginx", port, command)
    }

    pub(crate) fn haproxy(folder: &Path, upstream: u16) -> Fallible<Self> {
        let port = free_port()?;
        fs::create_dir_all(folder)?;
        let text = format!(
            "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 60s\n  option http-keep-alive\n  option forwardfor\n  http-reuse always\nfrontend front\n  \
             bind 127.0.0.1:{port}\n  default_backend app\nbackend app\n  server one 127.0.0.1:{upstream} pool-max-conn 256\n"
        );
        let conf = write(&folder.display().to_string(), "haproxy.cfg", &text)?;
        let mut command = pinned(PROXY_PROCESSOR);
        command.arg("haproxy").arg("-db").arg("-f").arg(conf);
        Self::start("haproxy", port, command)
    }

    fn start(name: &'static str, port: u16, mut command: Command) -> Fallible<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut peer = Self { name, port, child };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !serves(port) {
            if peer.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("{name} does not serve").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// User and system time of the whole process, all threads.
    pub(crate) fn cpu_seconds(&self) -> Fallible<f64> {
        let mut sum = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // The first number of `schedstat` is the time on a processor in ns.
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let ns: f64 = text.split(' ').next().unwrap_or_default().parse()?;
            sum += ns / 1e9;
        }
        Ok(sum)
    }

    pub(crate) fn resident_mib(&self) -> Fallible<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or("no VmRSS")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}

/// A router listens before it has its table.
fn serves(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let host = hot_host(0);
        stream.write_all(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin)?;
        Ok(String::from_utf8_lossy(&begin).into_owned())
    };
    ask().is_ok_and(|begin| begin == "HTTP/1.1 200")
}

fn pinned(processor: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", processor]);
    command
}

fn write(folder: &str, name: &str, text: &str) -> Fallible<PathBuf> {
    let path = Path::new(folder).join(name);
    fs::write(&path, text)?;
    Ok(path)
}
