//! Laws that hold after any history: what is rebuilt plans as what has lived through it; no cell is given more than it
//! has; left alone, everything settles.

mod outside;

use outside::{Op, Outside, op};
use proptest::prelude::*;
use scheduler::{DOUBT, Decision, RETURN};

use crate::world::World;

/// Decisions without what a new leader makes anew: ids of new instances, and reasons that were already said.
fn essence(decisions: &[Decision]) -> Vec<String> {
    let of = |decision: &Decision| match decision {
        Decision::Start {
            process,
            version,
            index,
            cell,
            ..
        } => Some(format!("start {process} {version} {index} {cell}")),
        Decision::Stop {
            instance,
            cell,
            reason,
        } => Some(format!("stop {instance} {cell} {reason:?}")),
        Decision::StartTask { task, cell } => Some(format!("task {task} {cell}")),
        Decision::Blocked { .. } | Decision::TaskBlocked { .. } => None,
    };
    decisions.iter().filter_map(of).collect()
}

/// Rows without ages and new ids.
fn picture(world: &World) -> Vec<String> {
    let mut rows = Vec::new();
    for id in world.scheduler.processes() {
        for row in world.scheduler.process(id) {
            let is_blocked = row.blocked.is_some();
            rows.push(format!(
                "{id} {} {:?} {:?} {:?} {} {is_blocked}",
                row.index, row.cell, row.version, row.status, row.crash_count
            ));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rebuilt_plans_like_what_has_lived(ops in prop::collection::vec(op(), 1..60)) {
        let mut outside = Outside::new();
        for op in &ops {
            outside.perform(op);
        }
        // Which cells an earlier leader lost a moment ago, and which were silent then, a new one does not know.
        outside.world.now = outside.world.now.after(DOUBT.max(RETURN));
        prop_assume!(outside.world.scheduler.brake().is_none());
        let mut rebuilt = outside.rebuilt();
        prop_assert_eq!(rebuilt.scheduler.cells(), outside.world.scheduler.cells());
        let (lived, anew) = (outside.world.plan(), rebuilt.plan());
        prop_assert_eq!(essence(&lived), essence(&anew));
        prop_assert_eq!(picture(&outside.world), picture(&rebuilt));
    }

    #[test]
    fn left_alone_everything_settles_with_one_instance_an_index(ops in prop::collection::vec(op(), 1..60)) {
        let mut outside = Outside::new();
        for op in &ops {
            outside.perform(op);
        }
        outside.settle();
        outside.perform(&Op::Plan { budget: 0 });
        outside.check_settled();
    }

    #[test]
    fn equal_events_give_equal_plans(ops in prop::collection::vec(op(), 1..40)) {
        let run = || {
            let mut outside = Outside::new();
            ops.iter().for_each(|op| outside.perform(op));
            (outside.world.plan(), outside.world.scheduler.next_wake())
        };
        prop_assert_eq!(run(), run());
    }
}
