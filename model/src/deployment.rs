//! How a deployment replaces a release, and the stations of one that pauses on its way.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Every instance in turn, without a stop.
    Rolling,
    /// First a part of the `web` instances, then a pause until somebody decides.
    Canary(Canary),
}

/// A canary deployment: which part of the instances each step replaces, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Percent of the instances at each step, rising; none means one step of one instance.
    weights: Vec<u32>,
    station: Station,
}

/// Steps count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Station {
    /// The instances of this step are on their way.
    Deploying { step: u32 },
    /// They are healthy, and somebody has to say how it goes on.
    Paused { step: u32 },
    /// All others follow without a stop.
    Finishing,
}

/// What happens to a canary deployment that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryEvent {
    /// The instances of the step run.
    StepRuns,
    /// Somebody wants the next step.
    Continued,
}

/// How many instances run of which release, by index: the older one below `older`, the newer one above that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub older: u32,
    pub newer: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSteps {
    #[error("a canary has at most {} steps", Canary::MAX_STEPS)]
    TooMany,
    #[error("the weight of a step must be 1 to 100, not {0}")]
    Weight(u32),
    #[error("the weights of the steps must rise: {1} comes after {0}")]
    Order(u32, u32),
}

impl Canary {
    pub const MAX_STEPS: usize = 100;

    /// At its first step. The weights are percent.
    ///
    /// # Errors
    /// [`BadSteps`] where they are not between 1 and 100, or do not rise.
    pub fn new(weights: Vec<u32>) -> Result<Self, BadSteps> {
        if weights.len() > Self::MAX_STEPS {
            return Err(BadSteps::TooMany);
        }
        if let Some(&bad) = weights.iter().find(|weight| !(1..=100).contains(*weight)) {
            return Err(BadSteps::Weight(bad));
        }
        if let Some(pair) = weights.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(BadSteps::Order(pair[0], pair[1]));
        }
        Ok(Self {
            weights,
            station: Station::Deploying { step: 1 },
        })
    }

    #[must_use]
    pub const fn station(&self) -> Station {
        self.station
    }

    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// How many steps there are.
    #[must_use]
    pub fn steps(&self) -> u32 {
        u32::try_from(self.weights.len().max(1)).unwrap_or(u32::MAX)
    }

    /// The step where it is; the last one while the others follow.
    #[must_use]
    pub fn step(&self) -> u32 {
        match self.station {
            Station::Deploying { step } | Station::Paused { step } => step,
            Station::Finishing => self.steps(),
        }
    }

    #[must_use]
    pub const fn is_paused(&self) -> bool {
        matches!(self.station, Station::Paused { .. })
    }

    /// Where it is after `event`. None where nothing of the kind can happen there.
    #[must_use]
    pub fn after(&self, event: CanaryEvent) -> Option<Self> {
        let station = match (self.station, event) {
            (Station::Deploying { step }, CanaryEvent::StepRuns) => Station::Paused { step },
            (Station::Paused { step }, CanaryEvent::Continued) if step < self.steps() => {
                Station::Deploying { step: step + 1 }
            }
            (Station::Paused { .. }, CanaryEvent::Continued) => Station::Finishing,
            (Station::Deploying { .. } | Station::Finishing, CanaryEvent::Continued)
            | (Station::Paused { .. } | Station::Finishing, CanaryEvent::StepRuns) => return None,
        };
        Some(Self {
            weights: self.weights.clone(),
            station,
        })
    }

    /// How many instances of each release the present station wants, where `older` ran before and `newer` are wanted in the
    /// end. Until a step replaces all, one more runs than there will be, so that nothing is short.
    #[must_use]
    pub fn share(&self, older: u32, newer: u32) -> Share {
        let all = Share { older: 0, newer };
        let weight = match self.station {
            Station::Finishing => return all,
            Station::Deploying { step } | Station::Paused { step } => self.weights.get(
                usize::try_from(step)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(1),
            ),
        };
        match weight {
            Some(100) => all,
            Some(&weight) => {
                let replaced = part(older, weight).max(1);
                Share {
                    older: older.saturating_sub(replaced) + u32::from(older > 0),
                    newer: part(newer, weight).max(1).min(newer),
                }
            }
            None => Share {
                older,
                newer: newer.min(1),
            },
        }
    }
}

/// So many percent of a number, rounded.
fn part(of: u32, percent: u32) -> u32 {
    u32::try_from((u64::from(of) * u64::from(percent) + 50) / 100).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_pauses_after_every_step_and_finishes_when_continued() {
        let mut canary = Canary::new(vec![20, 100]).expect("steps");
        let path = [
            (CanaryEvent::StepRuns, Station::Paused { step: 1 }),
            (CanaryEvent::Continued, Station::Deploying { step: 2 }),
            (CanaryEvent::StepRuns, Station::Paused { step: 2 }),
            (CanaryEvent::Continued, Station::Finishing),
        ];
        assert_eq!(
            canary.after(CanaryEvent::Continued),
            None,
            "not healthy yet"
        );
        for (event, station) in path {
            canary = canary.after(event).expect("moves");
            assert_eq!(canary.station(), station);
        }
        assert_eq!(canary.after(CanaryEvent::Continued), None);
        assert_eq!(canary.after(CanaryEvent::StepRuns), None);
    }

    #[test]
    fn shares_follow_the_weights_with_one_to_spare() {
        for (weights, older, newer, want) in [
            (vec![], 1, 1, (1, 1)),
            (vec![], 4, 4, (4, 1)),
            (vec![], 0, 2, (0, 1)),
            (vec![], 2, 0, (2, 0)),
            (vec![1], 1, 1, (1, 1)),
            (vec![1], 4, 4, (4, 1)),
            (vec![20], 10, 10, (9, 2)),
            (vec![50], 4, 4, (3, 2)),
            (vec![99], 4, 4, (1, 4)),
            (vec![100], 4, 4, (0, 4)),
            (vec![50], 2, 6, (2, 3)),
            (vec![50], 0, 6, (0, 3)),
        ] {
            let canary = Canary::new(weights.clone()).expect("steps");
            let share = canary.share(older, newer);
            assert_eq!(
                (share.older, share.newer),
                want,
                "{weights:?} {older} {newer}"
            );
        }
    }

    #[test]
    fn steps_rise_between_1_and_100() {
        for (weights, bad) in [
            (vec![0], BadSteps::Weight(0)),
            (vec![101], BadSteps::Weight(101)),
            (vec![20, 20], BadSteps::Order(20, 20)),
            (vec![50, 20], BadSteps::Order(50, 20)),
            (vec![1; 101], BadSteps::TooMany),
        ] {
            assert_eq!(Canary::new(weights).expect_err("bad"), bad);
        }
    }
}
