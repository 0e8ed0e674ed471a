//! What an upgrade has to stand before it is let go on: a canary, and a limit of time.
//!
//! Where the policy wants a canary, one slot gets a worker of the new generation beside, or in a stop-first upgrade in
//! the place of, its old one. All others keep what they have, and what dies there is followed by another worker of the
//! committed generation. When the canary has been ready for its time the upgrade goes on as any other; when it dies
//! before, that is a failure like that of any new worker.

use super::Supervisor;
use super::child::{Child, Phase};
use super::event::{GenerationId, GroupId, Mono};
use super::group::Group;
use super::note::Happening;
use super::upgrade::Purpose;
use crate::duration::Human;
use crate::plan::Level;

/// The slot of the canary: the one that a smaller fleet loses last.
pub(super) const CANARY: u32 = 0;

impl Group {
    /// One worker of the new generation is being tried, and the others wait for what becomes of it.
    pub(super) fn has_canary(&self) -> bool {
        let tries = self.rollout.as_ref().is_some_and(|r| r.purpose == Purpose::Upgrade && !r.proven);
        tries && self.policy.canary.is_some() && !self.slots.is_empty() && self.waits.is_none()
    }

    /// This is the one that is being tried.
    pub(super) fn is_canary(&self, child: &Child) -> bool {
        self.has_canary() && child.slot == CANARY && self.is_modern(child)
    }

    /// The generation that a new worker of this slot gets.
    pub(super) fn generation_for(&self, slot: u32) -> GenerationId {
        if slot != CANARY && self.has_canary() { self.committed } else { self.generation }
    }
}

impl Supervisor {
    /// Lets the upgrade of a group go on if its canary has stood its time, or ends it if it has taken too long.
    pub(super) fn try_rollout(&mut self, id: GroupId) {
        let now = self.now;
        let group = &self.groups[id.0];
        if group.rollout.as_ref().and_then(|rollout| rollout.until).is_some_and(|until| until <= now) {
            let limit = Human(group.policy.upgrade_timeout.unwrap_or_default());
            return self.fail_upgrade(id, format!("not done within {limit}"));
        }
        let views = group.views(&self.children);
        let finished = group
            .slots
            .iter()
            .zip(&views)
            .next()
            .is_some_and(|(slot, view)| slot.is_content(view) && !view.modern_ready());
        let proven =
            group.has_canary() && (finished || self.canary_until(group).is_some_and(|until| until <= now));
        if !proven {
            return;
        }
        let (generation, time) = (group.generation, group.policy.canary.unwrap_or_default());
        if let Some(rollout) = &mut self.groups[id.0].rollout {
            rollout.proven = true;
        }
        self.note(id, Level::Info, Happening::CanaryDone(generation.0, time));
    }

    /// When the trial of a group's upgrade comes to an end, or moves on, by itself.
    pub(super) fn trial_deadline(&self, group: &Group) -> Option<Mono> {
        if self.shutdown.is_some() || group.stopped.is_some() {
            return None;
        }
        let until = group.rollout.as_ref().and_then(|rollout| rollout.until);
        until.into_iter().chain(self.canary_until(group)).min()
    }

    /// When the canary of a group, if it is ready, has stood its time.
    pub(super) fn canary_until(&self, group: &Group) -> Option<Mono> {
        let time = group.policy.canary?;
        let ready = |child: &&Child| child.phase == Phase::Ready && group.is_canary(child);
        self.workers_of(group.id).find(ready)?.ready_at.map(|at| at.after(time))
    }
}
