//! What the scheduler is asked for while a deployment is under way: how much of the newer release, how much of the older.

use model::deployment::{Share, Station, Strategy};
use model::ids::ProcessId;
use scheduler::UpdateStrategy;
use store::records::{Deployment, DesiredLrp};

/// What should run of one process now.
#[derive(Debug, Clone)]
pub(super) struct Wish<'a> {
    /// The newer release of it; the only one where `older` is none.
    pub(super) lrp: &'a DesiredLrp,
    /// The release before, which keeps the indices below this number.
    pub(super) older: Option<(&'a DesiredLrp, u32)>,
    /// Indices in all.
    pub(super) instances: u32,
    /// How many instances of the newer release have to run before the deployment goes on.
    pub(super) judged: u32,
    pub(super) update: UpdateStrategy,
}

/// `lrps` are what is desired in the end. A canary deployment wants less of it until it finishes: `web` in the shares of its
/// step, and every other process as it was.
pub(super) fn wishes<'a>(
    lrps: &'a [DesiredLrp],
    deployment: Option<&'a Deployment>,
) -> Vec<Wish<'a>> {
    let Some(deployment) = deployment else {
        return lrps.iter().map(settled).collect();
    };
    let update = UpdateStrategy::Rolling {
        max_in_flight: deployment.max_in_flight,
    };
    let canary = match &deployment.strategy {
        Strategy::Canary(canary) if canary.station() != Station::Finishing => canary,
        _ => return lrps.iter().map(|lrp| whole(lrp, update)).collect(),
    };
    let before = |process: ProcessId| {
        let mut previous = deployment.previous.iter();
        previous.find(|lrp| lrp.process == process)
    };
    let of_process = |lrp: &'a DesiredLrp| {
        let older = before(lrp.process);
        let instances = older.map_or(0, |older| older.instances);
        let share = if lrp.spec.process_type == "web" {
            canary.share(instances, lrp.instances)
        } else {
            Share {
                older: instances,
                newer: 0,
            }
        };
        Wish {
            lrp,
            older: older
                .filter(|_| share.older > 0)
                .map(|older| (older, share.older)),
            instances: share.older + share.newer,
            judged: share.newer,
            update,
        }
    };
    let dropped = deployment
        .previous
        .iter()
        .filter(|old| !lrps.iter().any(|lrp| lrp.process == old.process));
    lrps.iter()
        .map(of_process)
        .chain(dropped.map(settled))
        .collect()
}

fn whole(lrp: &DesiredLrp, update: UpdateStrategy) -> Wish<'_> {
    Wish {
        lrp,
        older: None,
        instances: lrp.instances,
        judged: lrp.instances,
        update,
    }
}

/// Without a deployment. What came back after one finds instances of the given-up release in its place, which serve until
/// it runs.
fn settled(lrp: &DesiredLrp) -> Wish<'_> {
    let update = if lrp.rolls {
        UpdateStrategy::Rolling {
            max_in_flight: u32::MAX,
        }
    } else {
        UpdateStrategy::Recreate
    };
    Wish {
        judged: 0,
        ..whole(lrp, update)
    }
}
