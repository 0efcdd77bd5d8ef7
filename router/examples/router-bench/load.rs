//! Load by `wrk`, and what it and the kernel tell of a round.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Fallible;
use crate::peers::{LOAD_PROCESSOR, Peer};
use crate::roles::hot_host;

const SECONDS: f64 = 2.0;
const CONNECTIONS: &str = "64";

/// One round of one proxy.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Seconds.
    pub(crate) p99: f64,
    /// Seconds of the proxy's processor time.
    pub(crate) cpu_per_request: f64,
    /// The share of the time that the proxy was running.
    pub(crate) busy: f64,
}

pub(crate) struct Load {
    script: Option<PathBuf>,
}

impl Load {
    pub(crate) const fn one_host() -> Self {
        Self { script: None }
    }

    /// Goes over all the hot hosts in turn.
    pub(crate) fn many_hosts(script: &Path, hosts: usize) -> Fallible<Self> {
        let requests: String = (0..hosts)
            .map(|n| {
                format!(
                    "  \"GET / HTTP/1.1\\r\\nHost: {}\\r\\n\\r\\n\",\n",
                    hot_host(n)
                )
            })
            .collect();
        let text = format!(
            "local requests = {{\n{requests}}}\nlocal turn = 0\nfunction request()\n  turn = turn % {hosts} + 1\n  \
             return requests[turn]\nend\n"
        );
        std::fs::write(script, text)?;
        Ok(Self {
            script: Some(script.to_owned()),
        })
    }

    pub(crate) fn run(&self, proxy: &Peer) -> Fallible<Measured> {
        let mut wrk = Command::new("taskset");
        wrk.args([
            "-c",
            LOAD_PROCESSOR,
            "wrk",
            "-t1",
            "-c",
            CONNECTIONS,
            "--latency",
        ]);
        wrk.arg("-d").arg(format!("{SECONDS:.0}s"));
        match &self.script {
            Some(script) => wrk.arg("-s").arg(script),
            None => wrk.arg("-H").arg(format!("Host: {}", hot_host(0))),
        };
        wrk.arg(format!("http://127.0.0.1:{}/", proxy.port()));
        let (begun, cpu) = (Instant::now(), proxy.cpu_seconds()?);
        let output = wrk.output()?;
        let (took, cpu) = (begun.elapsed().as_secs_f64(), proxy.cpu_seconds()? - cpu);
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("{} did not serve all requests:\n{text}", proxy.name()).into());
        }
        let rate: f64 = after(&text, "Requests/sec:")?.parse()?;
        let p99 = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("99%"))
            .ok_or("wrk tells no 99th percentile")?
            .trim();
        let requests = text
            .lines()
            .find_map(|line| line.split_once(" requests in "))
            .ok_or("wrk tells no number of requests")?
            .0
            .trim()
            .parse::<f64>()?;
        Ok(Measured {
            rate,
            p99: seconds(p99)?,
            cpu_per_request: cpu / requests,
            busy: cpu / took,
        })
    }
}

/// The word that follows `mark`.
fn after<'a>(text: &'a str, mark: &str) -> Fallible<&'a str> {
    let (_, rest) = text
        .split_once(mark)
        .ok_or_else(|| format!("wrk tells no {mark}"))?;
    rest.split_whitespace()
        .next()
        .ok_or_else(|| "wrk's output is cut".into())
}

/// Of wrk's durations, as `1.02ms`.
fn seconds(text: &str) -> Fallible<f64> {
    for (unit, factor) in [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    Err(format!("wrk's duration '{text}' has no known unit").into())
}
