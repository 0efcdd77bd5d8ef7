//! One instance as the router sees it: its address, its connections, and whether it lately failed to answer a dial.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use model::protocol::router::Endpoint as EndpointSpec;

use crate::upstream::{Address, Idlers, Pool};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug)]
pub(crate) struct Endpoint {
    spec: EndpointSpec,
    pool: Arc<Pool>,
    /// Milliseconds since [`EPOCH`] until which other endpoints go first; 0 for none.
    paused_until: AtomicU64,
    pub(crate) app_header: HeaderValue,
    pub(crate) instance_header: HeaderValue,
    pub(crate) index_header: HeaderValue,
}

impl Endpoint {
    pub(crate) fn new(spec: EndpointSpec, idlers: Idlers) -> Self {
        let header = |id: String| HeaderValue::try_from(id).expect("a GUID is a header value");
        Self {
            pool: Arc::new(Pool::new(Address::Tcp(spec.address), idlers)),
            paused_until: AtomicU64::new(0),
            app_header: header(spec.app.to_string()),
            instance_header: header(spec.instance.to_string()),
            index_header: HeaderValue::from(spec.index),
            spec,
        }
    }

    pub(crate) const fn spec(&self) -> &EndpointSpec {
        &self.spec
    }

    pub(crate) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn pause(&self, pause: Duration) {
        let until = EPOCH.elapsed() + pause;
        self.paused_until.store(
            u64::try_from(until.as_millis()).unwrap_or(u64::MAX).max(1),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn resume(&self) {
        if self.paused_until.load(Ordering::Relaxed) != 0 {
            self.paused_until.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        let until = self.paused_until.load(Ordering::Relaxed);
        until != 0 && EPOCH.elapsed().as_millis() < u128::from(until)
    }
}
