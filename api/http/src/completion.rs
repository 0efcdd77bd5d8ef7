//! What changes something is carried out to its end, also when its client does not stay for the answer.
//!
//! Where a client leaves, its connection is dropped with the handler in it, at whatever point that waits. A wish that was
//! written then, and of which the fleet was not told yet, would come true only in the server's next life.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::context::RequestName;
use crate::error::ApiError;

/// Runs a request that is more than a look in a task of its own, which ends as soon as its body breaks off or its work is
/// done.
pub(crate) async fn carry_out(
    State(requests): State<TaskTracker>,
    request: Request,
    next: Next,
) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let name = request.extensions().get::<RequestName>().cloned();
    let work = async move {
        let mut response = next.run(request).await;
        // Here, since there may be nobody left to hand it to.
        if let Some(name) = name {
            name.log_cause(&mut response);
        }
        response
    };
    match requests.spawn(work.in_current_span()).await {
        Ok(response) => response,
        Err(panic) => ApiError::internal(Arc::new(panic)).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::pin;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::middleware::from_fn_with_state;
    use axum::routing::any;
    use http::{Method, StatusCode};
    use tokio::sync::mpsc;
    use tower::ServiceExt as _;

    use super::*;

    /// Says each step that it takes, and takes one where it is told to.
    fn router(
        requests: &TaskTracker,
        steps: &mpsc::UnboundedSender<&'static str>,
        go: &Arc<tokio::sync::Notify>,
    ) -> Router {
        let (steps, go) = (steps.clone(), Arc::clone(go));
        let handler = move |body: Bytes| {
            let (steps, go) = (steps.clone(), Arc::clone(&go));
            async move {
                assert_ne!(body, "panic", "as asked");
                let _ = steps.send("committed");
                go.notified().await;
                let _ = steps.send("told the fleet");
            }
        };
        Router::new()
            .route("/", any(handler))
            .layer(from_fn_with_state(requests.clone(), carry_out))
    }

    fn request(method: Method, body: impl Into<Body>) -> Request {
        http::Request::builder()
            .method(method)
            .uri("/")
            .body(body.into())
            .expect("a request")
    }

    #[tokio::test]
    async fn what_changes_something_goes_on_without_its_client_and_a_look_does_not() {
        for (method, goes_on) in [
            (Method::POST, true),
            (Method::PUT, true),
            (Method::PATCH, true),
            (Method::DELETE, true),
            (Method::GET, false),
            (Method::HEAD, false),
            (Method::OPTIONS, false),
        ] {
            let (steps, mut taken) = mpsc::unbounded_channel();
            let (requests, go) = (TaskTracker::new(), Arc::default());
            let router = router(&requests, &steps, &go);
            drop(steps);
            {
                let mut call = pin!(router.oneshot(request(method.clone(), "")));
                tokio::select! {
                    _ = &mut call => panic!("nobody said go"),
                    step = taken.recv() => assert_eq!(step, Some("committed"), "{method}"),
                }
            }
            go.notify_one();
            requests.close();
            requests.wait().await;
            let last = taken.recv().await;
            assert_eq!(last, goes_on.then_some("told the fleet"), "{method}");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_ends_its_request() {
        let (steps, _taken) = mpsc::unbounded_channel();
        let requests = TaskTracker::new();
        let router = router(&requests, &steps, &Arc::default());
        let broken = [
            Ok("begin"),
            Err(std::io::Error::other("the client has left")),
        ];
        let body = Body::from_stream(futures_util::stream::iter(broken));
        let response = router.oneshot(request(Method::POST, body)).await;
        assert_eq!(
            response.map(|response| response.status()),
            Ok::<_, Infallible>(StatusCode::BAD_REQUEST)
        );
        requests.close();
        requests.wait().await;
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let (steps, _taken) = mpsc::unbounded_channel();
        let requests = TaskTracker::new();
        let router = router(&requests, &steps, &Arc::default());
        let response = router.oneshot(request(Method::POST, "panic")).await;
        assert_eq!(
            response.map(|response| response.status()),
            Ok::<_, Infallible>(StatusCode::INTERNAL_SERVER_ERROR)
        );
    }
}
