//! The alarm that rings while replacements wait, because too many cells were lost at once.

use super::Fleet;
use super::state::State;

impl State {
    /// Says when the brake is put on, and when it is released.
    pub(super) fn watch_brake(&mut self) {
        let brake = self.scheduler.brake();
        match (self.braked, brake) {
            (false, Some(brake)) => tracing::error!(
                lost = brake.lost,
                cells = brake.cells,
                "many cells were lost at once: what ran there is not started elsewhere until enough of them return, or two \
                 minutes have passed"
            ),
            (true, None) if !self.scheduler.holds_what_was_lost() => {
                tracing::warn!("lost cells are replaced again");
            }
            _ => {}
        }
        self.braked = brake.is_some() || (self.braked && self.scheduler.holds_what_was_lost());
    }
}

impl Fleet {
    /// What an operator should know, in a sentence each.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let state = self.state();
        let brake = state.scheduler.brake().map(|brake| {
            let left = std::time::Duration::from_micros(
                u64::try_from(brake.until.0.saturating_sub(state.now().0)).unwrap_or(0),
            );
            format!(
                "{} of {} cells were lost at once: what ran there is not started elsewhere until enough of them return, or {} s \
                 have passed",
                brake.lost,
                brake.cells,
                left.as_secs()
            )
        });
        brake.into_iter().collect()
    }
}
