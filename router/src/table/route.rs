//! One route and the choice among its instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::ids::{AppId, InstanceId, ProcessId};
use model::route::RouteKey;

use super::Endpoint;

/// Which of a route's instances a request accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Any,
    /// `X-CF-App-Instance`.
    AppInstance(AppId, u32),
    /// `X-CF-Process-Instance`.
    ProcessInstance(ProcessId, Option<u32>),
}

impl Choice {
    fn accepts(self, endpoint: &Endpoint) -> bool {
        let spec = endpoint.spec();
        match self {
            Self::Any => true,
            Self::AppInstance(app, index) => spec.app == app && spec.index == index,
            Self::ProcessInstance(process, index) => {
                spec.process == process && index.is_none_or(|index| spec.index == index)
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Route {
    key: RouteKey,
    endpoints: Box<[Arc<Endpoint>]>,
    next: AtomicUsize,
}

impl Route {
    /// Goes on counting where `old`, the same route's earlier state, stopped.
    pub(crate) fn new(key: RouteKey, endpoints: Box<[Arc<Endpoint>]>, old: Option<&Self>) -> Self {
        let next = old.map_or(0, |old| old.next.load(Ordering::Relaxed));
        Self {
            key,
            endpoints,
            next: AtomicUsize::new(next),
        }
    }

    pub(crate) const fn key(&self) -> &RouteKey {
        &self.key
    }

    pub(crate) const fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub(crate) fn has(&self, choice: Choice) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| choice.accepts(endpoint))
    }

    /// The next endpoint in turn that the choice accepts and that is not in `tried`; one that lately failed only when no
    /// other is left.
    pub(crate) fn pick(&self, choice: Choice, tried: &[InstanceId]) -> Option<&Arc<Endpoint>> {
        let count = self.endpoints.len();
        if count == 0 {
            return None;
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let in_turn = self.endpoints[start..]
            .iter()
            .chain(&self.endpoints[..start]);
        let mut last_resort = None;
        for endpoint in in_turn {
            if tried.contains(&endpoint.spec().instance) || !choice.accepts(endpoint) {
                continue;
            }
            if !endpoint.is_paused() {
                return Some(endpoint);
            }
            last_resort = last_resort.or(Some(endpoint));
        }
        last_resort
    }
}
