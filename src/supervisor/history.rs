//! What a group remembers of its generations and of its last upgrades, for those who ask. Nothing here decides anything.

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::event::{GenerationId, GroupId, Mono};
use super::group::Group;
use super::snapshot::{GenerationRole, GenerationStatus, UpgradeResult, UpgradeStatus};
use super::waiter::Outcome;
use crate::error::Code;

/// Upgrades that a group remembers.
const UPGRADES_MAX: usize = 8;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct History {
    /// When each generation that is still known was asked for.
    asked: Vec<(GenerationId, Mono)>,
    /// Upgrades that have not ended.
    open: Vec<Attempt>,
    /// The last ones that have, oldest first.
    ended: Vec<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Attempt {
    serial: u64,
    from: GenerationId,
    to: GenerationId,
    began: Mono,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Ended {
    attempt: Attempt,
    at: Mono,
    result: UpgradeResult,
    sentence: String,
}

impl History {
    /// That of a group whose first generation is wanted from now on.
    pub(super) fn new(first: GenerationId, now: Mono) -> Self {
        History { asked: vec![(first, now)], ..History::default() }
    }

    /// The upgrade `serial` begins.
    pub(super) fn begin(&mut self, serial: u64, from: GenerationId, to: GenerationId, now: Mono) {
        if !self.asked.iter().any(|(known, _)| *known == to) {
            self.asked.push((to, now));
        }
        self.open.push(Attempt { serial, from, to, began: now });
    }

    /// The upgrade `serial`, if it is one, has ended. Only how it ended first is remembered.
    pub(super) fn end(&mut self, serial: u64, outcome: &Outcome, now: Mono) {
        let Some(at) = self.open.iter().position(|attempt| attempt.serial == serial) else { return };
        let attempt = self.open.remove(at);
        let (result, sentence) = match outcome {
            Outcome::Done(sentence) | Outcome::Forced(sentence) => (UpgradeResult::Done, sentence),
            Outcome::Failed(Code::RolledBack, sentence) => (UpgradeResult::RolledBack, sentence),
            Outcome::Failed(Code::Superseded, sentence) => (UpgradeResult::Superseded, sentence),
            Outcome::Failed(Code::UpgradeFailed, sentence) => (UpgradeResult::Failed, sentence),
            Outcome::Failed(_, sentence) => (UpgradeResult::Ended, sentence),
        };
        self.ended.push(Ended { attempt, at: now, result, sentence: sentence.clone() });
        let surplus = self.ended.len().saturating_sub(UPGRADES_MAX);
        self.ended.drain(..surplus);
    }

    /// Nobody runs this generation any more, nor will.
    pub(super) fn forget(&mut self, generation: GenerationId) {
        self.asked.retain(|(known, _)| *known != generation);
    }

    fn upgrades(&self, now: Mono) -> Vec<UpgradeStatus> {
        let told = |ended: &Ended| UpgradeStatus {
            from: ended.attempt.from.0,
            to: ended.attempt.to.0,
            result: ended.result,
            message: ended.sentence.clone(),
            ago_ms: millis(now, ended.at),
            took_ms: millis(ended.at, ended.attempt.began),
        };
        self.ended.iter().map(told).collect()
    }
}

impl Supervisor {
    /// The last upgrades of a group, oldest first.
    pub(super) fn upgrades(&self, group: &Group) -> Vec<UpgradeStatus> {
        group.history.upgrades(self.now)
    }

    /// The generations of a group, newest first: those of which workers live, and those that may be wanted again.
    pub(super) fn generations(&self, id: GroupId) -> Vec<GenerationStatus> {
        let group = &self.groups[id.0];
        let own = || self.workers_of(id);
        let mut known: Vec<GenerationId> = own().map(|child| child.generation).collect();
        known.extend(&group.prepared);
        known.sort_unstable();
        known.dedup();
        let told = |&generation: &GenerationId| {
            let of_it = || own().filter(|child| child.generation == generation);
            let draining = || of_it().filter(|child| !child.phase.is_serving());
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let ready = of_it().filter(|child| child.phase == super::Phase::Ready).count();
            let asked = group.history.asked.iter().find(|(known, _)| *known == generation);
            GenerationStatus {
                generation: generation.0,
                role: if generation == group.generation && generation == group.committed {
                    GenerationRole::Current
                } else if generation == group.generation {
                    GenerationRole::New
                } else if generation == group.committed {
                    GenerationRole::Old
                } else if group.previous == Some(generation) {
                    GenerationRole::Previous
                } else {
                    GenerationRole::Leaving
                },
                since_ms: millis(self.now, asked.map_or(self.started, |(_, at)| *at)),
                ready: count(ready),
                starting: count(of_it().count() - ready - draining().count()),
                draining: count(draining().count()),
                draining_ms: draining()
                    .map(|child| child.asked_at(self.now))
                    .min()
                    .map(|at| millis(self.now, at)),
            }
        };
        known.iter().rev().map(told).collect()
    }
}

fn millis(later: Mono, earlier: Mono) -> u64 {
    later.0.saturating_sub(earlier.0)
}
