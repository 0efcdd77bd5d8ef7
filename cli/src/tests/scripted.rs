//! A server that answers from a table and records what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use base64::Engine as _;
use serde_json::{Value, json};

/// One call as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Received {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) fn json_body(call: &Received) -> Value {
    serde_json::from_slice(&call.body).expect("JSON")
}

/// A token that ends at `exp`, with a signature that nobody checks.
pub(super) fn token(exp: i64) -> String {
    let payload =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
    format!("e30.{payload}.sig")
}

#[derive(Debug, Clone)]
struct Rule {
    start: String,
    status: u16,
    body: Value,
    /// It holds for one call.
    once: bool,
}

pub(super) struct Server {
    address: std::net::SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Received>>,
    knows_files: AtomicBool,
    /// Tokens that are not accepted, whatever end they say, nor renewed.
    refused: Mutex<Vec<String>>,
    url: OnceLock<String>,
    done: AtomicBool,
}

impl Server {
    /// A server on which a push of the apps `hello` and `other` succeeds.
    pub(super) fn pushing() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            rules: Mutex::new(vec![]),
            calls: Mutex::new(vec![]),
            knows_files: AtomicBool::new(false),
            refused: Mutex::default(),
            url: OnceLock::new(),
            done: AtomicBool::new(false),
        });
        state
            .url
            .set(format!("http://{address}"))
            .expect("set once");
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.done.load(Ordering::SeqCst) {
                    break;
                }
                // A client that breaks off is the test's business.
                let _ = serve(stream, &shared);
            }
        });
        Self {
            address,
            state,
            thread: Some(thread),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn answering(self, start: &str, body: Value) -> Self {
        self.failing(start, 200, body)
    }

    /// Answers the next call so, and later ones by the rules after this one.
    pub(super) fn answering_once(self, start: &str, body: Value) -> Self {
        self.ruled(start, 200, body, true)
    }

    pub(super) fn failing_once(self, start: &str, status: u16, body: Value) -> Self {
        self.ruled(start, status, body, true)
    }

    pub(super) fn failing(self, start: &str, status: u16, body: Value) -> Self {
        self.ruled(start, status, body, false)
    }

    fn ruled(self, start: &str, status: u16, body: Value, once: bool) -> Self {
        self.state.rules.lock().expect("rules").push(Rule {
            start: start.into(),
            status,
            body,
            once,
        });
        self
    }

    pub(super) fn refusing(self, token: &str) -> Self {
        self.state
            .refused
            .lock()
            .expect("tokens")
            .push(token.into());
        self
    }

    pub(super) fn knowing_every_file(self) -> Self {
        self.state.knows_files.store(true, Ordering::SeqCst);
        self
    }

    pub(super) fn calls(&self) -> Vec<Received> {
        self.state.calls.lock().expect("calls").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.done.store(true, Ordering::SeqCst);
        // Wakes the thread out of accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server did not panic");
        }
    }
}

fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let call = Received {
        method,
        target,
        headers,
        body,
    };
    let (status, extra, answer) = answer(&call, state);
    state.calls.lock().expect("calls").push(call);
    let text = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{extra}\r\n{text}",
        text.len()
    )
}

fn answer(call: &Received, state: &State) -> (u16, String, Value) {
    let line = call.line();
    let shown = [
        call.header("authorization").unwrap_or_default(),
        &call.text(),
    ]
    .concat();
    let refused = state.refused.lock().expect("tokens");
    if refused.iter().any(|token| shown.ends_with(token)) {
        let detail = "Invalid Auth Token";
        let entry = json!({"code": 1000, "title": "CF-InvalidAuthToken", "detail": detail});
        return (401, String::new(), json!({"errors": [entry]}));
    }
    let mut rules = state.rules.lock().expect("rules");
    if let Some(at) = rules.iter().position(|rule| line.starts_with(&rule.start)) {
        let rule = if rules[at].once {
            rules.remove(at)
        } else {
            rules[at].clone()
        };
        return (rule.status, String::new(), rule.body);
    }
    drop(rules);
    let url = state.url.get().expect("set at the start");
    let link = |path: &str| json!({"href": format!("{url}{path}")});
    let app = |guid: &str, name: &str| json!({"guid": guid, "name": name, "state": "STOPPED"});
    let id = call
        .target
        .split('/')
        .nth(3)
        .unwrap_or_default()
        .split('?')
        .next()
        .unwrap_or_default();
    let path = call.target.split('?').next().unwrap_or_default();
    let body = match (call.method.as_str(), path) {
        ("GET", "/") => json!({"links": {
            "cloud_controller_v3": {"href": format!("{url}/v3"), "meta": {"version": "3.180.0"}},
            "login": link("/uaa"), "log_cache": link("/logs")
        }}),
        ("POST", "/uaa/oauth/token") => {
            json!({"access_token": token(4_102_444_800), "refresh_token": "refresh-2", "token_type": "bearer"})
        }
        ("POST", "/v3/spaces/space-1/manifest_diff") => {
            json!({"diff": [{"op": "add", "path": "/applications/0/memory", "value": "512M"}]})
        }
        ("POST", "/v3/spaces/space-1/actions/apply_manifest") => {
            return (202, format!("Location: {url}/v3/jobs/job-1\r\n"), json!({}));
        }
        ("GET", "/v3/jobs/job-1") => json!({"guid": "job-1", "state": "COMPLETE"}),
        ("GET", "/v3/apps") => json!({"resources": [app("app-1", "hello"), app("app-2", "other")]}),
        ("POST", "/v3/resource_matches") if state.knows_files.load(Ordering::SeqCst) => {
            json_body(call)
        }
        ("POST", "/v3/resource_matches") => json!({"resources": []}),
        ("POST", "/v3/packages") => {
            json!({"guid": "package-1", "type": "bits", "state": "AWAITING_UPLOAD"})
        }
        ("POST", "/v3/packages/package-1/upload") => {
            json!({"guid": "package-1", "type": "bits", "state": "PROCESSING_UPLOAD"})
        }
        ("GET", "/v3/packages/package-1") => {
            json!({"guid": "package-1", "type": "bits", "state": "READY"})
        }
        ("POST", "/v3/builds") => json!({"guid": "build-1", "state": "STAGING"}),
        ("GET", "/v3/builds/build-1") => {
            json!({"guid": "build-1", "state": "STAGED", "droplet": {"guid": "droplet-1"}})
        }
        ("GET", "/v3/droplets/droplet-1") => json!({"guid": "droplet-1", "state": "STAGED"}),
        ("PATCH", path) if path.ends_with("current_droplet") => {
            json!({"data": {"guid": "droplet-1"}})
        }
        ("POST", path) if path.contains("/actions/") => app(id, "hello"),
        ("GET", path) if path.ends_with("/processes") => {
            json!({"resources": [{"guid": id, "type": "web", "instances": 1, "memory_in_mb": 512}]})
        }
        ("GET", path) if path.ends_with("/stats") => {
            json!({"resources": [{"type": "web", "index": 0, "state": "RUNNING"}]})
        }
        ("GET", path) if path.ends_with("/routes") => {
            json!({"resources": [{"guid": "route-1", "url": "hello.localhost:8080"}]})
        }
        ("GET", path) if path.ends_with("/env") => json!({"environment_variables": {}}),
        ("GET", path) if path.ends_with("/revisions/deployed") => {
            json!({"resources": [{"guid": "r", "version": 1}]})
        }
        ("GET", path) if path.starts_with("/logs/") => json!({"envelopes": {"batch": []}}),
        ("GET", "/v3/deployments") => json!({"resources": []}),
        ("GET", "/v3/info") => json!({"custom": {"isolation": "container"}}),
        _ => {
            return (
                404,
                String::new(),
                json!({"errors": [{"code": 10000, "title": "CF-NotFound", "detail": "Unknown request"}]}),
            );
        }
    };
    (200, String::new(), body)
}
