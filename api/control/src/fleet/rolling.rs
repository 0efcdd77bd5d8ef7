//! Deployments under way: are the new instances healthy, or has the new release failed?
//!
//! The scheduler rolls: it stops an old instance only once the new one of its index runs. Here it is decided when that is
//! done, and when it will not be: at the third exit of a new instance, at the first that never became healthy, or at the
//! deadline. Then the release that served before is desired again, and the new instances go.

use std::time::Duration;

use model::deployment::{Canary, CanaryEvent, Station, Strategy};
use model::ids::{AppId, DeploymentId, ProcessId, VersionId};
use model::instance::{Exit, ExitReason};
use store::records::{Deployment, DeploymentState, DesiredLrp};
use tokio::time::Instant;

use super::Fleet;
use super::state::State;
use super::wishes::Wish;
use crate::failures::exit_text;

/// Exits of one index of the new release that fail it; Diego starts the third only after a wait.
const FATAL_EXITS: u32 = 3;
/// How long a failed release is shown in place of the one that serves, so that whoever polls its start hears of the end.
const SHOWN: Duration = Duration::from_secs(15);

/// A deployment under way.
#[derive(Debug, Clone)]
pub(super) struct Rolling {
    id: DeploymentId,
    deadline_us: i64,
    /// How many instances of which version must run.
    targets: Vec<(ProcessId, VersionId, u32)>,
    /// Where a canary deployment is that has not all to replace yet.
    canary: Option<Canary>,
}

/// A release that did not start, and in whose place the one before is desired again.
#[derive(Debug, Clone)]
pub(crate) struct FailedRelease {
    shown_until: Instant,
    kept: Vec<(ProcessId, VersionId, u32)>,
    pub(crate) error: String,
    pub(crate) exit: Option<Exit>,
    pub(crate) previous_revision: u32,
}

impl FailedRelease {
    fn new(ended: &Deployment, error: String, exit: Option<Exit>) -> Self {
        Self {
            shown_until: Instant::now() + SHOWN,
            kept: counted(&ended.previous).collect(),
            error,
            exit,
            previous_revision: ended.previous_revision,
        }
    }

    /// Whether nobody has asked for anything else since.
    pub(super) fn is_last_word(&self, lrps: &[DesiredLrp]) -> bool {
        lrps.len() == self.kept.len() && counted(lrps).all(|lrp| self.kept.contains(&lrp))
    }

    pub(crate) fn is_shown(&self) -> bool {
        Instant::now() < self.shown_until
    }
}

fn counted(lrps: &[DesiredLrp]) -> impl Iterator<Item = (ProcessId, VersionId, u32)> {
    lrps.iter()
        .map(|lrp| (lrp.process, lrp.version, lrp.instances))
}

impl Rolling {
    pub(super) fn new(deployment: &Deployment, wishes: &[Wish<'_>]) -> Self {
        let canary = match &deployment.strategy {
            Strategy::Canary(canary) if canary.station() != Station::Finishing => {
                Some(canary.clone())
            }
            _ => None,
        };
        Self {
            canary,
            id: deployment.id,
            deadline_us: deployment.deadline_us,
            targets: wishes
                .iter()
                .filter(|wish| wish.lrp.revision == deployment.revision)
                .map(|wish| (wish.lrp.process, wish.lrp.version, wish.judged))
                .collect(),
        }
    }
}

/// How a deployment stands.
enum Standing {
    UnderWay,
    /// The instances of a canary's step run.
    Pauses {
        from: Canary,
        to: Canary,
    },
    Done,
    Failed {
        error: String,
        exit: Option<Exit>,
    },
}

impl Fleet {
    /// Ends the deployments that are done or have failed.
    pub(super) async fn end_deployments(&self) -> store::Result<()> {
        let ended = {
            let state = self.state();
            let judged = state
                .rolling
                .iter()
                .map(|(app, rolling)| (*app, rolling.clone(), judge(&state, rolling)));
            judged
                .filter(|(_, _, standing)| !matches!(standing, Standing::UnderWay))
                .collect::<Vec<_>>()
        };
        for (app, rolling, standing) in ended {
            match standing {
                Standing::UnderWay => {}
                Standing::Pauses { from, to } => {
                    tracing::info!(app.guid = %app, deployment.guid = %rolling.id, step = to.step(), "a canary deployment pauses");
                    self.pause(app, &rolling, &from, &to).await?;
                }
                Standing::Done => {
                    self.end_deployment(app, rolling.id, &DeploymentState::Deployed)
                        .await?;
                }
                Standing::Failed { error, exit } => {
                    tracing::info!(app.guid = %app, deployment.guid = %rolling.id, "a release failed; the one before stays");
                    self.fail_deployment(app, rolling.id, error, exit).await?;
                }
            }
        }
        self.state()
            .failed_releases
            .retain(|_, failed| failed.is_shown());
        Ok(())
    }

    async fn pause(
        &self,
        app: AppId,
        rolling: &Rolling,
        from: &Canary,
        to: &Canary,
    ) -> store::Result<()> {
        let moved = self
            .inner
            .store
            .move_canary(rolling.id, from, to, rolling.deadline_us)
            .await;
        match moved {
            // Somebody moved or ended it first; what they wrote counts.
            Ok(_) | Err(store::Error::Missing) => self.refresh_app(app).await,
            Err(other) => Err(other),
        }
    }

    /// Ends a deployment in the store, and looks again at what its app should run.
    pub(crate) async fn end_deployment(
        &self,
        app: AppId,
        id: DeploymentId,
        state: &DeploymentState,
    ) -> store::Result<()> {
        match self.inner.store.end_deployment(id, state).await {
            // Somebody else ended it first; what they wrote counts.
            Ok(_) | Err(store::Error::Missing) => self.refresh_app(app).await,
            Err(other) => Err(other),
        }
    }

    /// [`Fleet::end_deployment`] of one that failed, which is shown for a moment.
    async fn fail_deployment(
        &self,
        app: AppId,
        id: DeploymentId,
        error: String,
        exit: Option<Exit>,
    ) -> store::Result<()> {
        let state = DeploymentState::Failed {
            error: error.clone(),
        };
        match self.inner.store.end_deployment(id, &state).await {
            Ok(ended) => {
                // Before what is desired is read, so that whatever somebody asks for from now on takes it away.
                let failed = FailedRelease::new(&ended, error, exit);
                self.state().failed_releases.insert(app, failed);
            }
            // Somebody else ended it first; what they wrote counts.
            Err(store::Error::Missing) => {}
            Err(other) => return Err(other),
        }
        self.refresh_app(app).await
    }

    /// Whether a canary deployment of the app is on its way to a step, or waits there.
    pub(crate) fn is_at_canary(&self, app: AppId) -> bool {
        let state = self.state();
        let rolling = state.rolling.get(&app);
        rolling.is_some_and(|rolling| rolling.canary.is_some())
    }

    /// The release of an app that failed a moment ago.
    pub(crate) fn failed_release(&self, app: AppId) -> Option<FailedRelease> {
        self.state()
            .failed_releases
            .get(&app)
            .filter(|failed| failed.is_shown())
            .cloned()
    }
}

fn judge(state: &State, rolling: &Rolling) -> Standing {
    let is_done = |(process, version, instances): &(ProcessId, VersionId, u32)| {
        state.scheduler.versions_running(*process, *version) >= *instances
    };
    if rolling.targets.iter().all(is_done) {
        return match &rolling.canary {
            None => Standing::Done,
            Some(from) => match from.after(CanaryEvent::StepRuns) {
                Some(to) => Standing::Pauses {
                    from: from.clone(),
                    to,
                },
                None => Standing::UnderWay,
            },
        };
    }
    for (process, version, _) in &rolling.targets {
        // An index that is still the older release's crashes on that one's account.
        let newer = |view: &scheduler::IndexView| {
            let wanted = state.wanted.get(process);
            wanted.is_none_or(|wanted| wanted.at(view.index).version == *version)
        };
        for view in state.scheduler.process(*process).into_iter().filter(newer) {
            let exit = state
                .last_exits
                .get(&(*process, view.index))
                .filter(|(of, _)| of == version)
                .map(|(_, exit)| exit);
            let never_healthy =
                exit.is_some_and(|exit| matches!(exit.reason, ExitReason::NeverHealthy { .. }));
            if view.crash_count >= FATAL_EXITS || never_healthy {
                let error = exit.map_or_else(|| "new instances keep exiting".to_owned(), exit_text);
                return Standing::Failed {
                    error,
                    exit: exit.cloned(),
                };
            }
        }
    }
    let waits = rolling.canary.as_ref().is_some_and(Canary::is_paused);
    if !waits && store::now_us() > rolling.deadline_us {
        let blocked = rolling
            .targets
            .iter()
            .flat_map(|(process, ..)| state.scheduler.process(*process));
        let why = blocked.filter_map(|view| view.blocked).next();
        let error = match why {
            Some(why) => format!(
                "no room for a new instance beside the old ones: {}",
                state.shortage_text(&why)
            ),
            None => "new instances were not healthy in time".to_owned(),
        };
        return Standing::Failed { error, exit: None };
    }
    Standing::UnderWay
}
