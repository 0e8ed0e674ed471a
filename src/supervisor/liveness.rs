//! What workers say of themselves, `sd_notify(3)`, and what comes of it: a text for status, more time, a sign of life.
//!
//! A group with a `watchdog` wants a sign of life from each ready worker at least that often. The sign may be any: the
//! driver reports [`Word::Alive`] for it. The deadline of a ready worker is the moment by which the next one is due; one
//! that lets it pass is asked to go, killed if it does not, and replaced.

use super::Supervisor;
use super::child::Phase;
use super::event::{ChildId, Mono, Word};
use super::group::{Pace, Vacancy};
use super::note::Reason;
use crate::plan::Readiness;

impl Supervisor {
    /// A worker has said something.
    pub(super) fn said(&mut self, id: ChildId, word: Word) {
        let now = self.now;
        let Some(child) = self.child_mut(id) else { return };
        match word {
            Word::Status(text) => child.said = Some(text),
            Word::MainPid(pid) => child.main_pid = Some(pid).filter(|&pid| pid != child.pid),
            Word::Stopping => child.finishing = true,
            Word::Alive => {
                if child.phase == Phase::Ready {
                    let due = self.life_due(id);
                    if let Some(child) = self.child_mut(id) {
                        child.deadline = due;
                    }
                }
            }
            Word::AliveEvery(span) => {
                child.alive_every = Some(span);
                self.said(id, Word::Alive);
            }
            Word::Trigger => {
                if child.phase == Phase::Ready && self.life_due(id).is_some() {
                    self.miss_sign_of_life(id);
                }
            }
            Word::Extend(span) => self.extend(id, now.after(span)),
        }
    }

    /// By when a worker that is ready now has to show that it lives.
    pub(super) fn life_due(&self, id: ChildId) -> Option<Mono> {
        let child = self.child(id)?;
        let usual = self.groups[child.group.0].policy_of(child.generation).watchdog?;
        Some(self.now.after(child.alive_every.unwrap_or(usual)))
    }

    /// Gives the phase that a worker is in until this moment at least. How long a worker has to live to be ready by the
    /// timer is not its own to say.
    fn extend(&mut self, id: ChildId, until: Mono) {
        let Some(child) = self.child(id) else { return };
        let manual = self.groups[child.group.0].policy_of(child.generation).ready == Readiness::Manual;
        let waited_for = match child.phase {
            Phase::Starting => manual,
            Phase::Stopping => true,
            Phase::Spawning | Phase::Ready | Phase::Killed => false,
        };
        if let Some(child) = self.child_mut(id).filter(|_| waited_for) {
            child.deadline = child.deadline.map(|deadline| deadline.max(until));
        }
    }

    /// A ready worker has not shown that it lives.
    pub(super) fn miss_sign_of_life(&mut self, id: ChildId) {
        self.give_up_worker(id, Reason::Silent, "no sign of life");
    }

    /// Replaces a ready worker that does not do what it is there for. What is said of it is what would be said of its death.
    pub(super) fn give_up_worker(&mut self, id: ChildId, reason: Reason, sentence: &str) {
        let now = self.now;
        let Some(child) = self.child(id).cloned() else { return };
        let group = &mut self.groups[child.group.0];
        let (modern, canary) = (group.is_modern(&child), group.is_canary(&child));
        let policy = group.policy_of(child.generation);
        let stable = child.ready_for(now) >= policy.stable_after;
        let mut healthy = child.is_healthy(policy, now);
        let pace = Pace::of(policy);
        if let Some(slot) = group.slot_mut(child.slot) {
            healthy &= !slot.note_end(now, pace);
            slot.restarts = slot.restarts.saturating_add(1);
            slot.vacate(modern, if healthy { Vacancy::Urgent } else { Vacancy::Open });
        }
        self.remember_failure(&child, sentence);
        self.stop_child(id, reason);
        let next = if healthy { None } else { self.count_failure(&child) };
        if modern && (canary || !stable) {
            self.rollout_failure(&child, sentence);
        }
        self.note_next(&child, next);
    }
}
