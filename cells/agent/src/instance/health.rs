//! Health checks, from the host into the instance.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use model::health::{HealthCheck, HealthCheckKind};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Until the first success. Diego looks every 2 s; a quarter of a second makes starts visibly faster and costs little.
const UNTIL_HEALTHY: Duration = Duration::from_millis(250);
/// Afterwards, as Diego.
const WHILE_HEALTHY: Duration = Duration::from_secs(30);
/// Diego ends an instance at its first failed check. One long garbage collection should not, so a failure is looked at
/// once more, this much later.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Why a check failed, for people.
pub(super) type Failure = String;

/// Completes with the first success, or with the last failure when the start timeout is over. A timeout of zero never is.
pub(super) async fn until_healthy(check: &HealthCheck, address: SocketAddr) -> Result<(), Failure> {
    let deadline = (!check.start_timeout.is_zero()).then(|| Instant::now() + check.start_timeout);
    loop {
        let failure = match look(check, address).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if deadline.is_some_and(|deadline| Instant::now() + UNTIL_HEALTHY > deadline) {
            return Err(failure);
        }
        sleep(UNTIL_HEALTHY).await;
    }
}

/// Completes when the instance is unhealthy, with the reason.
pub(super) async fn until_unhealthy(check: &HealthCheck, address: SocketAddr) -> Failure {
    loop {
        sleep(WHILE_HEALTHY).await;
        if look(check, address).await.is_ok() {
            continue;
        }
        sleep(SECOND_LOOK).await;
        if let Err(failure) = look(check, address).await {
            return failure;
        }
    }
}

/// What was checked and how it failed.
pub(super) fn describe(kind: &HealthCheckKind, port: u16, failure: &str) -> String {
    match kind {
        HealthCheckKind::Port => format!("nothing answered on $PORT ({port}): {failure}"),
        HealthCheckKind::Http { endpoint } => {
            format!("GET {endpoint} on $PORT ({port}) failed: {failure}")
        }
        HealthCheckKind::Process => format!("process: {failure}"),
    }
}

async fn look(check: &HealthCheck, address: SocketAddr) -> Result<(), Failure> {
    let tried = async {
        match &check.kind {
            HealthCheckKind::Process => Ok(()),
            HealthCheckKind::Port => connect(address).await.map(drop),
            HealthCheckKind::Http { endpoint } => get(address, endpoint).await,
        }
    };
    let limit = if check.invocation_timeout.is_zero() {
        HealthCheck::INVOCATION_TIMEOUT
    } else {
        check.invocation_timeout
    };
    timeout(limit, tried)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => error.to_string(),
        })
}

async fn get(address: SocketAddr, endpoint: &str) -> Result<(), Failure> {
    let request = Request::get(endpoint)
        .header("Host", address.to_string())
        .header("User-Agent", "slipway-healthcheck")
        .header("X-Forwarded-Proto", "https")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("not a usable endpoint: {error}"))?;
    let stream = connect(address).await?;
    let broken = |error: hyper::Error| format!("no usable HTTP answer: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong here reaches the request.
        let _ = connection.await;
    }));
    let answer = sender.send_request(request).await.map_err(broken)?;
    match answer.status().as_u16() {
        200 => Ok(()),
        other => Err(format!("answered {other} instead of 200")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn check(kind: HealthCheckKind) -> HealthCheck {
        HealthCheck {
            kind,
            ..HealthCheck::default_for("web")
        }
    }

    /// Answers each request with the next of `answers`, and gives back what was asked.
    async fn app(answers: &'static [&'static str]) -> (SocketAddr, AbortOnDropHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap();
                asked.push(String::from_utf8_lossy(&request[..read]).into_owned());
                stream
                    .write_all(
                        format!(
                            "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        )
                        .as_bytes(),
                    )
                    .await
                    .unwrap();
            }
            asked
        });
        (address, AbortOnDropHandle::new(serving))
    }

    #[tokio::test(start_paused = true)]
    async fn only_200_is_healthy_and_the_request_is_cloud_foundrys() {
        let (address, app) = app(&["503 Busy", "204 Empty", "302 Found", "200 OK"]).await;
        let check = check(HealthCheckKind::Http {
            endpoint: "/health?x=1".into(),
        });
        until_healthy(&check, address).await.unwrap();
        let asked = app.await.unwrap();
        let request = asked[3].to_lowercase();
        assert!(
            request.starts_with("get /health?x=1 http/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("user-agent: slipway-healthcheck\r\n")
                && request.contains("x-forwarded-proto: https\r\n")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_failure_is_looked_at_again_before_an_instance_is_unhealthy() {
        let (address, app) = app(&["200 OK", "503 Busy", "200 OK", "503 Busy", "500 Broken"]).await;
        let check = check(HealthCheckKind::Http {
            endpoint: "/".into(),
        });
        let begun = Instant::now();
        let failure = until_unhealthy(&check, address).await;
        assert_eq!(failure, "answered 500 instead of 200");
        assert_eq!(begun.elapsed().as_secs(), 3 * 30 + 2);
        assert_eq!(app.await.unwrap().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_nobody_listens_on_is_never_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let failure = until_healthy(&check(HealthCheckKind::Port), address)
            .await
            .unwrap_err();
        assert_eq!(
            describe(&HealthCheckKind::Port, 80, &failure),
            "nothing answered on $PORT (80): connection refused"
        );
    }
}
