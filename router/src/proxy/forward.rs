//! Peer selection, sending, and sending again.
//!
//! A request goes to another instance only when the dial of the first failed: then no byte of it has left. A kept-alive
//! connection can turn out to be closed; a request that has not left goes out again on a fresh one, whatever it is, and
//! one that may have left only if it is idempotent and has no body.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use model::ids::InstanceId;

use super::Proxy;
use super::access_log::AccessRecord;
use super::failure::{Failure, with_causes};
use super::headers::{self, Outgoing};
use crate::table::{Choice, Endpoint, Route};
use crate::upstream::{ConnectError, Link, Pool, RequestBody, Unsent};

/// Gorouter's default for one request.
const MAX_ATTEMPTS: usize = 3;
/// How often a silent upstream is looked at: between two looks the body may have made progress, or the server gone.
const LOOK: Duration = Duration::from_secs(1);

/// An upstream's answer whose body is still to come over the link.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) link: Link,
    pub(crate) pool: Arc<Pool>,
    pub(crate) upgrade: Option<OnUpgrade>,
}

#[derive(Debug)]
enum SendError {
    Connect(ConnectError, Box<Request<RequestBody>>),
    /// After the first byte, so nothing can be said of what the upstream did.
    Broken(hyper::Error),
    Silent,
}

impl Proxy {
    pub(crate) async fn forward_to_app(
        &self,
        route: &Route,
        choice: Choice,
        outgoing: Outgoing,
        record: &mut AccessRecord,
    ) -> Result<Answer, Failure> {
        record.counts_body(outgoing.sent.as_ref());
        let mut request = outgoing.request;
        let mut tried: Vec<InstanceId> = Vec::new();
        let mut all_timed_out = true;
        while tried.len() < MAX_ATTEMPTS
            && let Some(endpoint) = route.pick(choice, &tried)
        {
            record.tries(endpoint);
            headers::name_endpoint(request.headers_mut(), endpoint);
            let patience = || self.bounds.response_timeout;
            let begun = Instant::now();
            let sent = self
                .send(endpoint.pool(), request, outgoing.sent.as_deref(), patience)
                .await;
            record.waited(begun);
            match sent {
                Ok((response, link)) => {
                    endpoint.resume();
                    let pool = Arc::clone(endpoint.pool());
                    return Ok(Answer {
                        response,
                        link,
                        pool,
                        upgrade: outgoing.upgrade,
                    });
                }
                Err(SendError::Connect(error, unsent)) => {
                    request = *unsent;
                    tried.push(endpoint.spec().instance);
                    record.attempt_failed();
                    all_timed_out &= matches!(error, ConnectError::Timeout(_));
                    self.dial_failed(endpoint, &error);
                }
                Err(SendError::Broken(error)) => {
                    tracing::debug!(
                        app.guid = %endpoint.spec().app,
                        instance.index = endpoint.spec().index,
                        error = with_causes(&error),
                        "an instance broke off its answer"
                    );
                    return Err(Failure::broken_answer());
                }
                Err(SendError::Silent) => return Err(Failure::answer_timeout()),
            }
        }
        Err(Failure::cannot_connect(all_timed_out))
    }

    fn dial_failed(&self, endpoint: &Endpoint, error: &ConnectError) {
        let spec = endpoint.spec();
        if error.is_of_the_peer() {
            endpoint.pause(self.bounds.failed_endpoint_pause);
            tracing::info!(
                app.guid = %spec.app, instance.guid = %spec.instance, instance.index = spec.index, address = %spec.address,
                error = with_causes(error), "an instance does not accept connections"
            );
        } else {
            tracing::error!(address = %spec.address, error = with_causes(error), "this router cannot dial");
        }
    }

    pub(crate) async fn forward_to_control(
        &self,
        outgoing: Outgoing,
        record: &mut AccessRecord,
    ) -> Result<Answer, Failure> {
        record.counts_body(outgoing.sent.as_ref());
        record.is_for_control();
        let patience = || {
            if self.server.is_live() {
                self.bounds.response_timeout
            } else {
                self.bounds.silent_server_timeout
            }
        };
        let begun = Instant::now();
        let sent = self
            .send(
                &self.control,
                outgoing.request,
                outgoing.sent.as_deref(),
                patience,
            )
            .await;
        record.waited(begun);
        match sent {
            Ok((response, link)) => Ok(Answer {
                response,
                link,
                pool: Arc::clone(&self.control),
                upgrade: outgoing.upgrade,
            }),
            Err(error) => {
                let cause = match error {
                    SendError::Connect(error, _) => with_causes(&error),
                    SendError::Broken(error) => with_causes(&error),
                    SendError::Silent => "no answer in time".to_owned(),
                };
                tracing::warn!(cause, "the API server does not answer");
                Err(Failure::server_unavailable())
            }
        }
    }

    /// Sends to one upstream, over a kept connection if there is one.
    async fn send(
        &self,
        pool: &Pool,
        mut request: Request<RequestBody>,
        body_sent: Option<&std::sync::atomic::AtomicU64>,
        patience: impl Fn() -> Duration,
    ) -> Result<(Response<Incoming>, Link), SendError> {
        let may_repeat = is_repeatable(&request);
        if let Some(mut link) = pool.take().await {
            let spare = may_repeat.then(|| copy_of(&request));
            match wait(link.send(request), body_sent, &patience).await {
                None => return Err(SendError::Silent),
                Some(Ok(response)) => return Ok((response, link)),
                Some(Err(Unsent {
                    request: Some(unsent),
                    ..
                })) => request = unsent,
                Some(Err(Unsent {
                    request: None,
                    error,
                })) => match spare {
                    Some(spare) if was_closed(&error) => request = spare,
                    _ => return Err(SendError::Broken(error)),
                },
            }
        }
        let mut link = match pool.connect(self.bounds.connect_timeout).await {
            Ok(link) => link,
            Err(error) => return Err(SendError::Connect(error, Box::new(request))),
        };
        match wait(link.send(request), body_sent, &patience).await {
            None => Err(SendError::Silent),
            Some(Ok(response)) => Ok((response, link)),
            Some(Err(Unsent { error, .. })) => Err(SendError::Broken(error)),
        }
    }
}

/// Waits until the answer comes or there was no progress of the body for as long as `patience` says.
async fn wait<T>(
    answer: impl Future<Output = T>,
    body_sent: Option<&std::sync::atomic::AtomicU64>,
    patience: impl Fn() -> Duration,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut last_progress = tokio::time::Instant::now();
    let mut seen = 0;
    loop {
        let look = LOOK.min(patience());
        if let Ok(answer) = tokio::time::timeout(look, answer.as_mut()).await {
            return Some(answer);
        }
        let sent = body_sent.map_or(0, |sent| sent.load(Ordering::Relaxed));
        if sent != seen {
            seen = sent;
            last_progress = tokio::time::Instant::now();
        } else if last_progress.elapsed() >= patience() {
            return None;
        }
    }
}

fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.body().is_empty()
        && matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        )
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// Whether the other side closed a kept connection instead of beginning an answer.
fn was_closed(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || {
        let cause = std::error::Error::source(error)
            .and_then(|cause| cause.downcast_ref::<std::io::Error>());
        cause.is_some_and(|cause| {
            matches!(
                cause.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            )
        })
    }
}
