//! The routers' table, kept up to date from routes and running instances, told as a snapshot and then deltas.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt as _};
use model::ids::AppId;
use model::protocol::router::{Endpoint, KEEP_ALIVE, RouteEntry, RouteMessage, RouteTable};
use model::route::RouteKey;
use store::records::Route;
use tokio::sync::{broadcast, watch};

/// Deltas that a slow router may lag behind before it gets a snapshot instead.
const MAX_LAG: usize = 1024;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RouteFeed {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    deltas: broadcast::Sender<RouteMessage>,
    /// No router is told anything before the table is known to be whole.
    settled: watch::Sender<bool>,
    control_hosts: Vec<String>,
}

#[derive(Debug, Default)]
struct Table {
    version: u64,
    routes: BTreeMap<RouteKey, Route>,
    of_app: HashMap<AppId, BTreeSet<RouteKey>>,
    endpoints: HashMap<AppId, Vec<(String, Endpoint)>>,
    entries: BTreeMap<RouteKey, RouteEntry>,
}

impl RouteFeed {
    pub(crate) fn new(control_hosts: Vec<String>) -> Self {
        let inner = Inner {
            table: Mutex::default(),
            deltas: broadcast::channel(MAX_LAG).0,
            settled: watch::channel(false).0,
            control_hosts,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The running instances are known from here on.
    pub(crate) fn settle(&self) {
        self.inner.settled.send_replace(true);
    }

    pub(crate) fn set_routes(&self, routes: Vec<Route>) {
        let mut table = self.inner.table.lock().expect("no panic while held");
        let fresh = routes
            .into_iter()
            .map(|route| (key_of(&route), route))
            .collect::<BTreeMap<_, _>>();
        let touched = table
            .routes
            .keys()
            .chain(fresh.keys())
            .cloned()
            .collect::<BTreeSet<_>>();
        let changed = touched
            .into_iter()
            .filter(|key| table.routes.get(key) != fresh.get(key))
            .collect::<Vec<_>>();
        table.of_app.clear();
        for (key, route) in &fresh {
            for destination in &route.destinations {
                table
                    .of_app
                    .entry(destination.app)
                    .or_default()
                    .insert(key.clone());
            }
        }
        table.routes = fresh;
        self.tell(&mut table, &changed);
    }

    /// `endpoints` are all running instances of an app with the types of their processes.
    pub(crate) fn set_endpoints(&self, app: AppId, endpoints: Vec<(String, Endpoint)>) {
        let mut table = self.inner.table.lock().expect("no panic while held");
        if endpoints.is_empty() {
            table.endpoints.remove(&app);
        } else {
            table.endpoints.insert(app, endpoints);
        }
        let keys = table
            .of_app
            .get(&app)
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>();
        self.tell(&mut table, &keys);
    }

    pub(crate) fn len(&self) -> usize {
        self.inner
            .table
            .lock()
            .expect("no panic while held")
            .entries
            .len()
    }

    /// Recomputes the entries of `keys` and tells what differs.
    fn tell(&self, table: &mut Table, keys: &[RouteKey]) {
        let mut changed = Vec::new();
        let mut removed = Vec::new();
        for key in keys {
            match table.entry(key) {
                Some(entry) if table.entries.get(key) == Some(&entry) => {}
                Some(entry) => {
                    table.entries.insert(key.clone(), entry.clone());
                    changed.push(entry);
                }
                None => {
                    if table.entries.remove(key).is_some() {
                        removed.push(key.clone());
                    }
                }
            }
        }
        if changed.is_empty() && removed.is_empty() {
            return;
        }
        table.version += 1;
        // Nobody listening is no failure: a router that comes gets a snapshot.
        let _ = self.inner.deltas.send(RouteMessage::Delta {
            version: table.version,
            changed,
            removed,
        });
    }

    fn snapshot(&self) -> (RouteMessage, broadcast::Receiver<RouteMessage>) {
        let table = self.inner.table.lock().expect("no panic while held");
        let snapshot = RouteMessage::Snapshot(RouteTable {
            version: table.version,
            control_hosts: self.inner.control_hosts.clone(),
            entries: table.entries.values().cloned().collect(),
        });
        (snapshot, self.inner.deltas.subscribe())
    }

    /// What one router is told, for as long as it listens.
    pub(crate) fn follow(&self) -> impl Stream<Item = RouteMessage> + Send + 'static + use<> {
        let feed = self.clone();
        let mut settled = self.inner.settled.subscribe();
        let first = async move {
            // The sender lives as long as the feed that this future holds.
            let _ = settled.wait_for(|settled| *settled).await;
            feed
        };
        futures_util::stream::once(first).flat_map(|feed| {
            futures_util::stream::unfold((feed, None), |(feed, receiver)| async move {
                let Some(mut receiver) = receiver else {
                    let (snapshot, receiver) = feed.snapshot();
                    return Some((snapshot, (feed, Some(receiver))));
                };
                match tokio::time::timeout(KEEP_ALIVE, broadcast::Receiver::recv(&mut receiver))
                    .await
                {
                    Err(_) => Some((RouteMessage::KeepAlive, (feed, Some(receiver)))),
                    Ok(Ok(delta)) => Some((delta, (feed, Some(receiver)))),
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) => {
                        let (snapshot, receiver) = feed.snapshot();
                        Some((snapshot, (feed, Some(receiver))))
                    }
                    Ok(Err(broadcast::error::RecvError::Closed)) => None,
                }
            })
        })
    }
}

impl Table {
    fn entry(&self, key: &RouteKey) -> Option<RouteEntry> {
        let route = self.routes.get(key)?;
        // A route that leads nowhere is as unknown as one that does not exist.
        if route.destinations.is_empty() {
            return None;
        }
        let endpoints = route.destinations.iter().flat_map(|destination| {
            let endpoints = self.endpoints.get(&destination.app).into_iter().flatten();
            endpoints
                .filter(|(process_type, _)| *process_type == destination.process_type)
                .map(|(_, endpoint)| endpoint.clone())
        });
        Some(RouteEntry {
            key: key.clone(),
            endpoints: endpoints.collect(),
        })
    }
}

fn key_of(route: &Route) -> RouteKey {
    let host = if route.host.is_empty() {
        route.domain_name.clone()
    } else {
        format!("{}.{}", route.host, route.domain_name)
    };
    RouteKey {
        host: host.to_lowercase(),
        path: route.path.trim_end_matches('/').to_owned(),
    }
}
