//! HTTP to the API, as `cf` makes it: the same calls, the same retries, the same reading of warnings and errors.

mod address;
mod body;
mod call;
mod failure;
mod query;
mod resolver;
mod tls;
mod token;

use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{CliError, Exit, Outcome};
use crate::ui::Ui;

pub(crate) use address::{
    as_secure_as, authority, is_https, is_ip_literal, is_local, normalize, of_route, path_of,
};
pub(crate) use body::{FilePart, Payload, Upload};
pub(crate) use call::{Answer, Call};
pub(crate) use query::{GUIDS_PER_QUERY, Query, path_part};
use resolver::Resolver;
pub(crate) use token::Tokens;

/// `cf`'s dial timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a call without an upload may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an upload may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a server may be away before waiting for something is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENT_PAUSE: Duration = Duration::from_millis(300);
/// Pauses before the second and the third try.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(750)];
/// A larger answer is not one of the API.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A client of one API. Calls share its connections and its token.
#[derive(Debug)]
pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector<Resolver>>, body::Body>,
    ui: Ui,
    api: String,
    tokens: Mutex<Tokens>,
}

impl Client {
    /// `api` is an address as [`normalize`] gives it.
    pub(crate) fn new(api: String, tokens: Tokens, ui: Ui) -> Self {
        // Reading them takes longer than a call on this host.
        let roots = if address::is_https(&api) {
            tls::roots_of_this_machine(&ui)
        } else {
            RootCertStore::empty()
        };
        Self::trusting(roots, api, tokens, ui)
    }

    pub(crate) fn trusting(roots: RootCertStore, api: String, tokens: Tokens, ui: Ui) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Self {
            http,
            ui,
            api,
            tokens: Mutex::new(tokens),
        }
    }

    /// Where it logs in, as the API says.
    pub(crate) fn log_in_at(&self, url: Option<String>) {
        self.tokens().login_url = url;
    }

    pub(crate) fn api(&self) -> &str {
        &self.api
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.tokens
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The address of `path` at the API. Of an absolute address only path and query are taken: tokens go to no other host.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{}", self.api, path_of(path))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.send(Call::new(Method::GET, self.at(path)))
            .await?
            .read()
    }

    /// [`Client::get`] for what is waited for: a server that is away is being restarted, and what it has begun goes on.
    pub(crate) async fn get_patiently<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let since = std::time::Instant::now();
        loop {
            match self.get(path).await {
                Err(error)
                    if error.exit == Exit::Unavailable
                        && error.code != "E-TLS"
                        && since.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(PATIENT_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Outcome<T> {
        self.send(Call::new(Method::POST, self.at(path)).json(body))
            .await?
            .read()
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Outcome<T> {
        self.send(Call::new(Method::PATCH, self.at(path)).json(body))
            .await?
            .read()
    }

    pub(crate) async fn delete(&self, path: &str) -> Outcome<Answer> {
        self.send(Call::new(Method::DELETE, self.at(path))).await
    }

    /// Sends a call: fresh token, retries where a second try can do no harm, warnings printed, failures read.
    pub(crate) async fn send(&self, call: Call) -> Outcome<Answer> {
        let token = if call.authorized {
            Some(self.fresh_token().await?)
        } else {
            None
        };
        let mut answer = self.send_with(&call, token.as_deref()).await?;
        // The clock of this machine may go behind the server's, or the token was withdrawn.
        if answer.status == StatusCode::UNAUTHORIZED && call.authorized && self.can_renew() {
            let token = self.renew().await?;
            answer = self.send_with(&call, Some(&token)).await?;
        }
        self.print_warnings(&answer.headers);
        if answer.status.is_success() || call.any_status {
            return Ok(answer);
        }
        Err(failure::read(
            &call.method,
            &call.url,
            answer.status,
            &answer.headers,
            &answer.body,
        ))
    }

    async fn send_with(&self, call: &Call, token: Option<&str>) -> Outcome<Answer> {
        let head = call.head(token)?;
        let started = std::time::Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.once(call, head.clone()).await;
            let pause = RETRY_PAUSES.get(tries - 1).copied();
            let again = match &result {
                Ok(answer) => retriable(answer.status) && call.method != Method::POST,
                // Nobody becomes trusted by asking again.
                Err(error) if error.distrust.is_some() => false,
                // A connection that was never made, or an upload whose pipe broke, left nothing behind.
                Err(error) => {
                    error.before_sending || call.method != Method::POST || call.payload.is_upload()
                }
            };
            match (result, pause) {
                (_, Some(pause)) if again => tokio::time::sleep(pause).await,
                (Ok(answer), _) => return Ok(answer),
                (Err(error), _) => return Err(self.no_answer(&error, tries, started.elapsed())),
            }
        }
    }

    async fn once(&self, call: &Call, head: http::request::Parts) -> Result<Answer, NoAnswer> {
        let body = call
            .payload
            .body()
            .map_err(|error| NoAnswer::new(format!("cannot read what is to be sent: {error}")))?;
        let request = http::Request::from_parts(head, body);
        let limit = if call.payload.is_upload() {
            UPLOAD_TIMEOUT
        } else {
            CALL_TIMEOUT
        };
        let exchange = async {
            let response = self
                .http
                .request(request)
                .await
                .map_err(NoAnswer::from_client)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body
                .map_err(|error| NoAnswer::new(format!("the answer broke off: {error}")))?
                .to_bytes();
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(NoAnswer::new(format!(
                "no answer within {} s",
                limit.as_secs()
            ))),
        }
    }

    fn no_answer(&self, error: &NoAnswer, tries: usize, took: Duration) -> CliError {
        if let Some(distrust) = &error.distrust {
            let message = format!("{} is not trusted: {}", self.api, distrust.reason);
            return CliError::new("E-TLS", Exit::Unavailable, message).hint(distrust.hint);
        }
        let tried = if tries == 1 {
            "1 try".to_owned()
        } else {
            format!("{tries} tries")
        };
        let message = format!(
            "{} did not answer: {} ({tried}, {:.1} s)",
            self.api,
            error.reason,
            took.as_secs_f64()
        );
        let error = CliError::new("E-SERVER", Exit::Unavailable, message);
        let local = address::is_local(&self.api);
        let error = if local {
            error.hint("slipway up")
        } else {
            error
        };
        error.hint("slipway api URL  for another server")
    }

    pub(crate) fn print_job_warnings(&self, job: &api_types::Job) {
        for warning in &job.warnings {
            self.ui.warn(&warning.detail);
        }
    }

    /// `X-Cf-Warnings`: separated by commas, each percent-encoded.
    fn print_warnings(&self, headers: &HeaderMap) {
        // The client may have said this earlier, in its own words.
        let told = self.ui.has_warned_of(crate::loopback::HOST_NAME);
        for value in headers.get_all("x-cf-warnings") {
            for warning in String::from_utf8_lossy(value.as_bytes()).split(',') {
                let plain = warning.trim().replace('+', " ");
                let text = percent_encoding::percent_decode_str(&plain).decode_utf8_lossy();
                let again = told && text.contains(crate::loopback::HOST_NAME);
                if !text.is_empty() && !again {
                    self.ui.warn(text);
                }
            }
        }
    }
}

fn retriable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Why there is no answer at all.
#[derive(Debug)]
struct NoAnswer {
    reason: String,
    /// The connection was not made, so the server cannot have seen the call.
    before_sending: bool,
    distrust: Option<tls::Distrust>,
}

impl NoAnswer {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            before_sending: false,
            distrust: None,
        }
    }

    fn from_client(error: hyper_util::client::legacy::Error) -> Self {
        let before_sending = error.is_connect();
        let distrust = tls::Distrust::find(&error);
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let reason = match cause
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind)
        {
            Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
            Some(std::io::ErrorKind::TimedOut) => "connection timed out".to_owned(),
            _ => cause.to_string(),
        };
        Self {
            reason,
            before_sending,
            distrust,
        }
    }
}
