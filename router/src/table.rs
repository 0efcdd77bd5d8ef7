//! The route table as requests see it.
//!
//! Look-ups take a short read lock and leave with an `Arc` of the route; deltas are applied in place, so their cost does
//! not grow with the table. An endpoint that is in the old and the new state of the table stays the same object and
//! keeps its connections.

mod endpoint;
mod paths;
mod route;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use model::ids::InstanceId;
use model::protocol::router::{Endpoint as EndpointSpec, RouteEntry, RouteTable};
use model::route::RouteKey;

use crate::upstream::Idlers;
pub(crate) use endpoint::Endpoint;
use paths::Paths;
pub(crate) use route::{Choice, Route};

const MIN_SWEEP: usize = 64;

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    Control,
    App(Arc<Route>),
    Unknown,
    /// No table has arrived in this router's life, and none lay on disk.
    NoTable,
}

/// A delta that does not follow the table's version.
#[derive(Debug, thiserror::Error)]
#[error("delta {delta} does not follow version {version} of the route table")]
pub(crate) struct Gap {
    pub(crate) version: u64,
    pub(crate) delta: u64,
}

#[derive(Debug)]
pub(crate) struct Table {
    known: bool,
    version: u64,
    control_hosts: HashSet<Box<str>>,
    hosts: HashMap<Box<str>, Paths>,
    /// Keyed by what follows `*.`.
    wildcards: HashMap<Box<str>, Paths>,
    /// What the routes hold, so that equal endpoints of several routes and versions are one.
    endpoints: HashMap<InstanceId, Weak<Endpoint>>,
    /// At how many entries `endpoints` is rid of dead ones; twice what was left the last time.
    sweep_at: usize,
    idlers: Idlers,
}

impl Table {
    /// A table that has yet to arrive.
    pub(crate) fn awaited(control_hosts: &[String], idlers: Idlers) -> Self {
        Self {
            known: false,
            version: 0,
            control_hosts: control_hosts
                .iter()
                .map(|host| canonical_host(host).into())
                .collect(),
            hosts: HashMap::new(),
            wildcards: HashMap::new(),
            endpoints: HashMap::new(),
            sweep_at: MIN_SWEEP,
            idlers,
        }
    }

    /// `host` in lower case, without port and trailing dot; `path` starting with `/`, or `*`.
    pub(crate) fn find(&self, host: &str, path: &str) -> Destination {
        if self.control_hosts.contains(host) || is_ip_literal(host) {
            return Destination::Control;
        }
        if !self.known {
            return Destination::NoTable;
        }
        if let Some(route) = self
            .hosts
            .get(host)
            .and_then(|paths| paths.longest_match(path))
        {
            return Destination::App(Arc::clone(route));
        }
        if !self.wildcards.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(route) = self
                    .wildcards
                    .get(parent)
                    .and_then(|paths| paths.longest_match(path))
                {
                    return Destination::App(Arc::clone(route));
                }
                rest = parent;
            }
        }
        Destination::Unknown
    }

    /// A whole new table that keeps the endpoints and turns of this one.
    fn successor(&self, table: RouteTable) -> Self {
        let mut new = Self::awaited(&table.control_hosts, self.idlers.clone());
        new.endpoints.clone_from(&self.endpoints);
        for entry in table.entries {
            let (is_wildcard, host, path) = place(&entry.key);
            let old_side = if is_wildcard {
                &self.wildcards
            } else {
                &self.hosts
            };
            let old = old_side
                .get(host.as_ref())
                .and_then(|paths| paths.get(path));
            let (host, path) = (host.into_owned(), path.to_owned());
            new.insert(is_wildcard, host, path, entry, old.map(Arc::as_ref));
        }
        new.version = table.version;
        new.known = true;
        new
    }

    /// Applies changes on top of version `version - 1`. An error changes nothing.
    pub(crate) fn apply(
        &mut self,
        version: u64,
        changed: Vec<RouteEntry>,
        removed: &[RouteKey],
    ) -> Result<(), Gap> {
        if !self.known || self.version.checked_add(1) != Some(version) {
            return Err(Gap {
                version: self.version,
                delta: version,
            });
        }
        for key in removed {
            let (is_wildcard, host, path) = place(key);
            self.remove(is_wildcard, &host, path);
        }
        for entry in changed {
            let (is_wildcard, host, path) = place(&entry.key);
            let old = self.remove(is_wildcard, &host, path);
            let (host, path) = (host.into_owned(), path.to_owned());
            self.insert(is_wildcard, host, path, entry, old.as_deref());
        }
        self.version = version;
        self.forget_gone_endpoints();
        Ok(())
    }

    /// The newest state in the form in which it came; `None` before the first.
    pub(crate) fn contents(&self) -> Option<Contents> {
        let all = self
            .hosts
            .values()
            .chain(self.wildcards.values())
            .flat_map(Paths::iter);
        self.known.then(|| Contents {
            version: self.version,
            control_hosts: self
                .control_hosts
                .iter()
                .map(|host| host.to_string())
                .collect(),
            routes: all.cloned().collect(),
        })
    }

    fn side(&mut self, is_wildcard: bool) -> &mut HashMap<Box<str>, Paths> {
        if is_wildcard {
            &mut self.wildcards
        } else {
            &mut self.hosts
        }
    }

    fn insert(
        &mut self,
        is_wildcard: bool,
        host: String,
        path: String,
        entry: RouteEntry,
        old: Option<&Route>,
    ) {
        let endpoints = entry
            .endpoints
            .into_iter()
            .map(|spec| self.endpoint(spec))
            .collect();
        let route = Arc::new(Route::new(entry.key, endpoints, old));
        self.side(is_wildcard)
            .entry(host.into())
            .or_default()
            .insert(path, route);
    }

    fn remove(&mut self, is_wildcard: bool, host: &str, path: &str) -> Option<Arc<Route>> {
        let side = self.side(is_wildcard);
        let paths = side.get_mut(host)?;
        let removed = paths.remove(path);
        if paths.is_empty() {
            side.remove(host);
        }
        removed
    }

    fn endpoint(&mut self, spec: EndpointSpec) -> Arc<Endpoint> {
        if let Some(known) = self.endpoints.get(&spec.instance).and_then(Weak::upgrade)
            && *known.spec() == spec
        {
            return known;
        }
        let instance = spec.instance;
        let endpoint = Arc::new(Endpoint::new(spec, self.idlers.clone()));
        self.endpoints.insert(instance, Arc::downgrade(&endpoint));
        endpoint
    }

    /// Amortised: looks at all only when half of them may be gone.
    fn forget_gone_endpoints(&mut self) {
        if self.endpoints.len() >= self.sweep_at {
            self.endpoints
                .retain(|_, endpoint| endpoint.strong_count() > 0);
            self.sweep_at = MIN_SWEEP.max(2 * self.endpoints.len());
        }
    }
}

/// A consistent copy of a table, cheap to take under the lock.
#[derive(Debug)]
pub(crate) struct Contents {
    version: u64,
    control_hosts: Vec<String>,
    routes: Vec<Arc<Route>>,
}

impl Contents {
    pub(crate) fn into_message(mut self) -> RouteTable {
        self.routes.sort_by(|a, b| a.key().cmp(b.key()));
        self.control_hosts.sort();
        let entry = |route: &Arc<Route>| RouteEntry {
            key: route.key().clone(),
            endpoints: route
                .endpoints()
                .iter()
                .map(|endpoint| endpoint.spec().clone())
                .collect(),
        };
        let entries = self.routes.iter().map(entry).collect();
        RouteTable {
            version: self.version,
            control_hosts: self.control_hosts,
            entries,
        }
    }
}

/// The table that requests read. It has one writer, the synchronisation.
#[derive(Debug, Clone)]
pub(crate) struct SharedTable(Arc<RwLock<Table>>);

impl SharedTable {
    pub(crate) fn new(table: Table) -> Self {
        Self(Arc::new(RwLock::new(table)))
    }

    // A panic inside the lock can at worst leave out a part of one delta; serving on is better than ending.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a whole table. Requests wait only for the exchange of old and new.
    pub(crate) fn replace(&self, table: RouteTable) {
        let new = self.read().successor(table);
        let old = std::mem::replace(&mut *self.write(), new);
        drop(old);
        self.write().forget_gone_endpoints();
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On which side of the table a key stands, and its host and path there.
fn place(key: &RouteKey) -> (bool, Cow<'_, str>, &str) {
    let path = key.path.trim_end_matches('/');
    match canonical_host(&key.host) {
        Cow::Borrowed(host) => match host.strip_prefix("*.") {
            Some(parent) => (true, Cow::Borrowed(parent), path),
            None => (false, Cow::Borrowed(host), path),
        },
        Cow::Owned(host) => match host.strip_prefix("*.") {
            Some(parent) => (true, Cow::Owned(parent.to_owned()), path),
            None => (false, Cow::Owned(host), path),
        },
    }
}

/// Lower case, without trailing dot; copies only what is in another form.
pub(crate) fn canonical_host(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

fn is_ip_literal(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.ends_with(']'),
        None => {
            host.ends_with(|last: char| last.is_ascii_digit()) && host.parse::<IpAddr>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests;
