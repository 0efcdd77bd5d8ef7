//! Crashes in the database: one note for each, and how many there were in a row, so that a new server goes on counting.

use model::instance::{Exit, InstanceReport};
use scheduler::{Event, Time};
use store::records::CrashCount;

use super::state::State;

impl State {
    /// What is to be remembered of an end that was just reported, if the scheduler counted it as an index's last crash.
    pub(super) fn crash_count(&self, report: &InstanceReport, exit: &Exit) -> Option<CrashCount> {
        let row = self.scheduler.index(report.process, report.index)?;
        (row.last_crash == Some(report.instance)).then(|| CrashCount {
            process: report.process,
            version: report.version,
            index: report.index,
            instance: report.instance,
            count: row.crash_count,
            at_us: report.since_us.min(self.now().0),
            exit: exit.clone(),
        })
    }

    /// Takes over what an earlier server counted.
    pub(super) fn remember_crashes(&mut self, counts: Vec<CrashCount>) {
        for counted in counts {
            let index = (counted.process, counted.index);
            self.last_exits
                .insert(index, (counted.version, counted.exit.clone()));
            self.apply(Event::CrashHistory {
                process: counted.process,
                version: counted.version,
                index: counted.index,
                instance: counted.instance,
                crash_count: counted.count,
                at: Time(counted.at_us).min(self.now()),
                exit: counted.exit,
            });
        }
    }
}
