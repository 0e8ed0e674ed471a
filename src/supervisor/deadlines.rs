//! Every moment that the machine waits for, in one list: it says when the next one comes, and which group is looked at
//! again because one has come. What is to be done then is decided by that look, on the level.

use super::Supervisor;
use super::child::Child;
use super::event::{GroupId, Mono};
use super::group::{Group, Slot, SlotView, Vacancy};

impl Supervisor {
    /// When to send [`Event::Timeout`](super::event::Event::Timeout); never, if nothing is waited for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        self.deadlines().map(|(_, at)| at).min()
    }

    /// Moves the time on. Whatever the event is that comes with it, the groups of which a deadline has come are looked at;
    /// at the same moment as before, only if this is a timeout.
    pub(super) fn advance(&mut self, now: Mono, timeout: bool) {
        if now <= self.now && !timeout {
            return;
        }
        let now = now.max(self.now);
        let due: Vec<GroupId> =
            self.deadlines().filter(|&(_, at)| at <= now).filter_map(|(group, _)| group).collect();
        self.now = now;
        for id in due {
            self.groups[id.0].dirty = true;
        }
    }

    /// Each deadline, with the group that is concerned; those of the manager itself are looked at in any case.
    fn deadlines(&self) -> impl Iterator<Item = (Option<GroupId>, Mono)> {
        let of_children = self
            .children
            .iter()
            .flat_map(|child| self.deadlines_of_child(child).map(|at| (Some(child.group), at)));
        let of_groups = self
            .groups
            .iter()
            .flat_map(|group| self.deadlines_of_group(group).map(|at| (Some(group.id), at)));
        let own = [
            self.reexec_deadline(),
            self.reading_deadline(),
            self.drain_deadline(),
            self.next_word(),
            self.orphans_deadline(),
        ];
        of_children.chain(of_groups).chain(own.into_iter().flatten().map(|at| (None, at)))
    }

    fn deadlines_of_child(&self, child: &Child) -> impl Iterator<Item = Mono> {
        child.deadline.into_iter().chain(self.next_probe(child))
    }

    fn deadlines_of_group(&self, group: &Group) -> impl Iterator<Item = Mono> {
        let each = [
            self.next_attempt(group),
            self.trial_deadline(group),
            self.next_preflight(group),
            self.next_look(group),
            self.warm_at(group),
        ];
        each.into_iter().flatten()
    }

    /// When a slot that waits for the end of a back-off, of a pace or of its own rest may be filled.
    pub(super) fn next_attempt(&self, group: &Group) -> Option<Mono> {
        let now = self.now;
        let ahead = |at: &Mono| *at > now;
        let paced = Some(group.paced_until()).filter(ahead);
        let failing = Some(group.streak.not_before).filter(ahead);
        let rests = |slot: &Slot| slot.rests_until.filter(ahead);
        let held =
            paced.is_some() || failing.is_some() || group.slots.iter().any(|slot| rests(slot).is_some());
        if !held || self.shutdown.is_some() || self.is_settling() || group.stopped.is_some() || group.gave_up
        {
            return None;
        }
        let views = group.views(&self.children);
        let held_until = |(slot, view): (&Slot, &SlotView)| {
            let own = match slot.vacancy {
                _ if view.modern.is_some() => return None,
                Vacancy::Finished => return None,
                Vacancy::Open => failing.max(rests(slot)),
                Vacancy::Urgent => rests(slot),
            };
            own.max(paced)
        };
        group.slots.iter().zip(&views).filter_map(held_until).min()
    }
}
