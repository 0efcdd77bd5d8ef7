//! A world of chance: what befalls it, what people wish for, and what has to be true in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::ids::InstanceId;
use model::protocol::cell::OrderBody;
use store::EventFilter;
use store::records::{BuildState, PageRequest};
use tokio::time::Instant;

use super::world::World;

const FAULTS: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(250);
/// While nothing goes wrong any more.
const CALM_STEP: Duration = Duration::from_secs(1);
/// Longer than the brake and the longest back-off that the faults can have led to.
const TIME_TO_COME_RIGHT: Duration = Duration::from_secs(1200);
const LAST_BLOWS: Duration = Duration::from_secs(30);
const STAYS_RIGHT: Duration = Duration::from_secs(25);

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let mut chance = super::chance::Chance(seed);
        let (cells, apps) = (1 + chance.below(6), 1 + chance.below(4));
        Self::with_cells(seed, cells as usize, apps as usize).await
    }

    pub(super) async fn run(mut self) -> Result<(), String> {
        for cell in &mut self.cells {
            cell.is_faulty = true;
        }
        let until = Instant::now() + FAULTS;
        while Instant::now() < until {
            self.befall().await;
            self.wish().await;
            self.pass(STEP, STEP).await;
            self.check_always()?;
        }
        for cell in &mut self.cells {
            (cell.is_faulty, cell.is_up, cell.is_linked) = (false, true, true);
        }
        if self.server.is_none() {
            self.start_server().await;
        }
        // Crashes that were under way still come.
        self.pass(LAST_BLOWS, CALM_STEP).await;
        let until = Instant::now() + TIME_TO_COME_RIGHT;
        loop {
            self.pass(CALM_STEP, CALM_STEP).await;
            self.check_always()?;
            match self.wrong().await {
                None => break,
                Some(why) if Instant::now() > until => return Err(why),
                Some(_) => {}
            }
        }
        let (ran, right_at) = (self.ran(), Instant::now());
        self.pass(STAYS_RIGHT, CALM_STEP).await;
        if let Some(why) = self.wrong().await {
            return Err(format!("it was right and then: {why}"));
        }
        if self.ran() != ran {
            let orders = self.cells.iter().flat_map(|cell| {
                let late = cell.seen.orders.iter().filter(|(at, _)| *at >= right_at);
                late.map(|(at, order)| match order {
                    OrderBody::Run(spec) => format!(
                        "{:?} run {} {} on {}",
                        *at - right_at,
                        spec.process,
                        spec.index,
                        cell.id
                    ),
                    other => format!("{:?} {other:?} on {}", *at - right_at, cell.id),
                })
            });
            let orders = orders.collect::<Vec<_>>().join("\n");
            return Err(format!(
                "something was started although all was right:\n{orders}"
            ));
        }
        self.check_crashes().await
    }

    async fn befall(&mut self) {
        let one = self.chance.below(self.cells.len() as u64) as usize;
        match self.chance.below(160) {
            0..=3 if self.server.is_some() => self.kill_server(),
            4..=7 => self.cells[one].kill(),
            8 => self.cells[one].reboot(),
            9 if self.cells.len() > 1 => self.cells[one].lose_disk(),
            10..=13 => self.cells[one].is_linked = false,
            14..=17 => self.cells[one].break_link(),
            18..=40 => (self.cells[one].is_up, self.cells[one].is_linked) = (true, true),
            41..=60 if self.server.is_none() => self.start_server().await,
            _ => {}
        }
    }

    async fn wish(&mut self) {
        let app = self.apps[self.chance.below(self.apps.len() as u64) as usize];
        let instances = self.chance.below(5) as u32;
        match self.chance.below(60) {
            0 | 1 => {
                self.desire(app, instances).await;
            }
            2 => {
                self.count(app, instances).await;
                self.refresh(app).await;
            }
            3 => {
                self.store.undesire_app(app).await.expect("stopped");
                self.refresh(app).await;
            }
            4 => self.build().await,
            5 => {
                if let Some(server) = &self.server {
                    server.fleet.restart_instance(app.web_process(), 0);
                }
            }
            _ => {}
        }
    }

    /// What must never be.
    fn check_always(&self) -> Result<(), String> {
        let staged = self.cells.iter().flat_map(|cell| &cell.seen.staged);
        let mut once = BTreeSet::new();
        for task in staged {
            if !once.insert(task) {
                return Err(format!("build {task} ran twice"));
            }
        }
        let mut places: BTreeMap<InstanceId, usize> = BTreeMap::new();
        for (number, cell) in self.cells.iter().enumerate() {
            for spec in &cell.seen.ran {
                if *places.entry(spec.instance).or_insert(number) != number {
                    return Err(format!("instance {} ran on two cells", spec.instance));
                }
            }
        }
        Ok(())
    }

    /// What is not as it should be in the end.
    async fn wrong(&self) -> Option<String> {
        let lrps = self.store.list_desired_lrps(None).await.expect("listed");
        for app in &self.apps {
            let wanted = lrps
                .iter()
                .filter(|lrp| lrp.app == *app)
                .flat_map(|lrp| (0..lrp.instances).map(|index| (index, lrp.version)))
                .collect::<Vec<_>>();
            let running = self.running(*app);
            let found = running
                .iter()
                .map(|(_, index, _, version)| (*index, *version))
                .collect::<Vec<_>>();
            if wanted != found {
                return Some(format!("{wanted:?} should run and {found:?} do"));
            }
        }
        for cell in &self.cells {
            if let Some(held) = cell
                .held
                .values()
                .find(|held| !matches!(held.state, model::instance::InstanceState::Running { .. }))
            {
                return Some(format!("{held:?} has not come to rest"));
            }
        }
        for task in &self.tasks {
            let build = self.store.find_build_by_task(*task).await.expect("asked");
            if build.is_some_and(|build| build.state == BuildState::Staging) {
                return Some(format!("build {task} has not ended"));
            }
        }
        let waits = !self.fleet().alarms().is_empty();
        waits.then(|| "the alarm rings".into())
    }

    /// Each crash was written down once, and none was counted that did not happen.
    async fn check_crashes(&self) -> Result<(), String> {
        let filter = EventFilter {
            types: vec!["audit.app.process.crash".into()],
            ..EventFilter::default()
        };
        let events = self.store.list_events(&filter, PageRequest::ALL).await;
        let noted = events.expect("listed").items;
        let noted = noted
            .iter()
            .map(|event| InstanceId::from_uuid(event.id.as_uuid()))
            .collect::<BTreeSet<_>>();
        let crashed = self.cells.iter().flat_map(|cell| &cell.seen.crashed);
        let crashed = crashed.collect::<Vec<_>>();
        let happened = crashed
            .iter()
            .map(|report| report.instance)
            .collect::<BTreeSet<_>>();
        if let Some(ghost) = noted.difference(&happened).next() {
            return Err(format!("a crash of {ghost} was noted that never happened"));
        }
        let forgetful = self.cells.iter().filter(|cell| cell.seen.lost_disks > 0);
        if forgetful.count() == 0
            && let Some(missed) = happened.difference(&noted).next()
        {
            return Err(format!("the crash of {missed} was not noted"));
        }
        for count in self.store.list_crash_counts().await.expect("listed") {
            let of_index = crashed.iter().filter(|report| {
                let of = (report.process, report.index, report.version);
                of == (count.process, count.index, count.version)
            });
            if count.count as usize > of_index.count() {
                return Err(format!("{count:?} counts more than happened"));
            }
        }
        Ok(())
    }
}
