//! The one object through which every door reaches the use cases.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::ids::{EventId, SpaceId};
use store::Store;
use store::records::{Event, PageRequest, Space};
use tokio::sync::Mutex as Turn;
use tokio_util::sync::CancellationToken;

use crate::collector::Collector;
use crate::error::OrNotFound;
use crate::fleet::Fleet;
use crate::identity::{Actor, Lockouts};
use crate::route_feed::RouteFeed;
use crate::settings::{Config, Settings};
use crate::{Result, identity};

/// Use cases. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) fleet: Fleet,
    pub(crate) routes: RouteFeed,
    collector: Collector,
    /// Held while routes are read and taken over: of two readings the later one has to be the last one taken.
    reading_routes: Turn<()>,
    pub(crate) lockouts: Lockouts,
    scratch: PathBuf,
    token_key: Vec<u8>,
}

/// What an audit event is about.
pub(crate) struct Target<'a> {
    pub(crate) guid: String,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) space: Option<SpaceId>,
}

impl Control {
    /// Opens the data folder, makes what a first start needs (org `main`, space `dev`, the domain, the admin) and loads
    /// what should run. [`Control::run`] must be driven for anything to happen.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.data).await?;
        let scratch = config.data.join("scratch");
        // What an earlier life left half-written is of no use to this one.
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        std::fs::create_dir_all(&scratch)?;
        first_start(&store, &config).await?;
        identity::ensure_admin(&store, &config).await?;
        let token_key = identity::token_key(&config.data.join("token.key"))?;
        let epoch = store.next_epoch().await?;
        let settings = config.settings();
        let routes = RouteFeed::new(settings.control_hosts.clone());
        let collector = Collector::new(store.clone(), config.bounds);
        let fleet = Fleet::new(
            store.clone(),
            settings.clone(),
            routes.clone(),
            collector.clone(),
            epoch,
        );
        let control = Self {
            inner: Arc::new(Inner {
                store,
                settings,
                fleet,
                routes,
                collector,
                reading_routes: Turn::new(()),
                lockouts: Lockouts::default(),
                scratch,
                token_key,
            }),
        };
        control.reload_routes().await?;
        Ok(control)
    }

    /// Drives the loops until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(
            self.inner.fleet.run(shutdown.clone()),
            self.inner.collector.run(shutdown)
        );
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The ES256 key that signs tokens, PKCS #8 in DER.
    #[must_use]
    pub fn token_key(&self) -> &[u8] {
        &self.inner.token_key
    }

    /// A folder on the blobs' disk for uploads under way; emptied at every start.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.inner.scratch
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn collector(&self) -> &Collector {
        &self.inner.collector
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        &self.inner.fleet
    }

    pub(crate) async fn reload_routes(&self) -> Result<()> {
        let _turn = self.inner.reading_routes.lock().await;
        let routes = self.store().all_routes().await?;
        self.inner.routes.set_routes(routes);
        Ok(())
    }

    /// Writes down who did what. A wish that was granted is not taken back because its note could not be written.
    pub(crate) async fn audit(
        &self,
        actor: &Actor,
        event_type: &str,
        target: Target<'_>,
        data: serde_json::Value,
    ) {
        let org = match target.space {
            Some(space) => self
                .store()
                .find_space(space)
                .await
                .ok()
                .flatten()
                .map(|space| space.org),
            None => None,
        };
        let event = Event {
            id: EventId::random(),
            event_type: event_type.to_owned(),
            actor: actor.user.to_string(),
            actor_name: actor.name.clone(),
            target: target.guid,
            target_type: target.kind.to_owned(),
            target_name: target.name.to_owned(),
            space: target.space,
            org,
            data,
            created_us: store::now_us(),
        };
        if let Err(error) = self.store().insert_event(&event).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                event_type,
                "an audit event was not written"
            );
        }
    }

    pub(crate) async fn space_of(&self, space: SpaceId) -> Result<Space> {
        self.store().find_space(space).await.or_not_found("Space")
    }
}

async fn first_start(store: &Store, config: &Config) -> anyhow::Result<()> {
    if store.list_orgs(&[], &[], PageRequest::ALL).await?.total == 0 {
        let org = store.insert_org("main").await?;
        store.insert_space(org.id, "dev").await?;
    }
    if store
        .list_domains(std::slice::from_ref(&config.domain), &[], PageRequest::ALL)
        .await?
        .total
        == 0
    {
        store.insert_domain(&config.domain).await?;
    }
    Ok(())
}
