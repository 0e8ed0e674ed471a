//! Those who asked for something that takes time, and what they wait for.

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::command::{Reply, Ticket, Wait};
use super::event::{Action, GenerationId, GroupId, Mono};
use super::group::SlotView;
use crate::error::Code;

/// How something that was waited for ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Outcome {
    Done(String),
    /// It is so, and workers had to be killed for it.
    Forced(String),
    Failed(Code, String),
}

/// What is waited for in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Goal {
    /// The end of this rollout, which says itself how it ended.
    Rollout(u64),
    /// As many ready workers as wanted.
    Filled,
    /// No worker left.
    Stopped,
    /// No worker of this generation on its way out.
    Gone(GenerationId),
}

/// One request that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) wait: Wait,
    pub(super) parts: Vec<Part>,
}

/// The share of one group in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) group: GroupId,
    pub(super) goal: Goal,
    pub(super) outcome: Option<Outcome>,
    /// What is to be told beside a failure, a line each.
    #[serde(default)]
    pub(super) words: Vec<String>,
}

impl Part {
    /// One that has not ended.
    pub(super) fn new((group, goal): (GroupId, Goal)) -> Self {
        Part { group, goal, outcome: None, words: Vec::new() }
    }
}

impl Supervisor {
    /// The rollout `serial` of a group has ended.
    pub(super) fn conclude(&mut self, group: GroupId, serial: u64, outcome: Outcome) {
        self.groups[group.0].history.end(serial, &outcome, self.now);
        let words = self.groups[group.0].words.as_ref().filter(|(failed, _)| *failed == serial);
        for part in self.waiters.iter_mut().flat_map(|waiter| &mut waiter.parts) {
            if part.group == group && part.goal == Goal::Rollout(serial) && part.outcome.is_none() {
                part.outcome = Some(outcome.clone());
                part.words = words.map(|(_, words)| words.clone()).unwrap_or_default();
            }
        }
    }

    /// Something else has taken the place of the rollout `serial`: those who are told of everything wait for that.
    pub(super) fn pass_on(&mut self, group: GroupId, serial: u64) {
        let next = self.groups[group.0].rollouts;
        let told = self.waiters.iter_mut().filter(|waiter| waiter.wait == Wait::Told);
        for part in told.flat_map(|waiter| &mut waiter.parts) {
            if part.group == group && part.goal == Goal::Rollout(serial) && part.outcome.is_none() {
                part.goal = Goal::Rollout(next);
            }
        }
    }

    /// Looks whether what is waited for in a group is so at this moment. Only the end of a rollout is remembered: what has
    /// become of the rest meanwhile counts.
    pub(super) fn settle(&mut self, id: GroupId, views: &[SlotView], now: Mono) {
        let group = &self.groups[id.0];
        let deserted = self.is_deserted(id);
        let stopping = group.stopped.is_some() || self.shutdown.is_some();
        let filled = group.rollout.is_none()
            && group.is_filled(views)
            && !self.workers_of(id).any(|child| child.slot >= group.target());
        // Whoever has all the workers that are wanted does not wait for attempts of any kind.
        let lacks = group.slots.iter().zip(views).any(|(slot, view)| !slot.is_content(view));
        let repeated = group.streak.probation && group.streak.length >= group.policy.upgrade_failures;
        let failing = lacks && (group.gave_up || repeated);
        let leaving = self.workers_of(id).filter(|child| !child.phase.is_serving());
        let draining: Vec<GenerationId> = leaving.map(|child| child.generation).collect();
        let outcome = |goal: Goal| match goal {
            Goal::Gone(generation) if draining.contains(&generation) => None,
            Goal::Gone(generation) => Some(Outcome::Done(format!("generation {} is gone", generation.0))),
            Goal::Stopped if deserted => Some(match group.killed.is_empty() {
                true => Outcome::Done("stopped".into()),
                false => Outcome::Forced(format!("stopped; killed {}", group.killed)),
            }),
            Goal::Stopped if !stopping => {
                Some(Outcome::Failed(Code::Failed, "started again meanwhile".into()))
            }
            Goal::Stopped => None,
            Goal::Rollout(_) | Goal::Filled if stopping => {
                Some(Outcome::Failed(Code::Failed, "stopped meanwhile".into()))
            }
            Goal::Filled if filled => Some(Outcome::Done(match group.waits {
                Some(_) => format!("{} are to start", views.len()),
                None => group.tally(views),
            })),
            Goal::Filled if failing && group.gave_up => {
                Some(Outcome::Failed(Code::Failed, "workers keep failing; gave up".into()))
            }
            Goal::Filled if failing => {
                let pause = group.streak.not_before.since(now);
                let sentence = format!("workers keep failing; next attempt in {} ms", pause.as_millis());
                Some(Outcome::Failed(Code::Failed, sentence))
            }
            Goal::Rollout(_) | Goal::Filled => None,
        };
        for part in self.waiters.iter_mut().flat_map(|waiter| &mut waiter.parts) {
            let remembered = matches!(part.goal, Goal::Rollout(_)) && part.outcome.is_some();
            if part.group == id && !remembered {
                part.outcome = outcome(part.goal);
            }
        }
    }

    /// Answers those for whom everything has ended.
    pub(super) fn answer_waiters(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiters);
        waiting.retain(|waiter| match self.verdict(waiter) {
            Some(reply) => {
                let reply = self.accounted(waiter, reply);
                self.subscribers.retain(|(ticket, _)| *ticket != waiter.ticket);
                self.act(Action::Reply { ticket: waiter.ticket, reply, last: true });
                false
            }
            None => true,
        });
        self.waiters = waiting;
    }

    /// The answer, if every part has ended: the first failure's code, and a sentence a group.
    fn verdict(&self, waiter: &Waiter) -> Option<Reply> {
        let (mut code, mut words) = (None, Vec::new());
        let mut sentences = Vec::with_capacity(waiter.parts.len());
        for part in &waiter.parts {
            let sentence = match part.outcome.as_ref()? {
                Outcome::Done(sentence) => sentence,
                Outcome::Forced(sentence) => {
                    code.get_or_insert(Code::Failed);
                    sentence
                }
                Outcome::Failed(failure, sentence) => {
                    code.get_or_insert(*failure);
                    words.extend_from_slice(&part.words);
                    sentence
                }
            };
            if waiter.wait == Wait::Drained && self.draining(part.group) > 0 {
                return None;
            }
            sentences.push(format!("{}: {sentence}", self.groups[part.group.0].name));
        }
        let sentence = sentences.join("; ");
        Some(match code {
            Some(code) if words.is_empty() => Reply::Failed(code, sentence),
            Some(code) => Reply::Rejected { code, error: sentence, errors: words },
            None => Reply::Done(sentence),
        })
    }
}
