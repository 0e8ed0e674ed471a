//! How things stand as a whole, for whoever runs the manager itself: is it up, is it changing something, does it end.

use super::Supervisor;
use super::child::Phase;
use super::event::{GroupId, Mono};
use super::group::Vacancy;
use super::snapshot::GroupState;

/// How the manager stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every group has its workers ready, or wants none.
    pub ready: bool,
    /// Workers, or the image of the manager, are being replaced.
    pub changing: bool,
    /// How many such changes were begun. It may have grown although nothing is being replaced: then it failed at once.
    pub changes: u64,
    /// The end was asked for.
    pub stopping: bool,
    /// When what is under way is over at the latest, as far as that is known. A group whose workers fail is not waited for.
    pub until: Option<Mono>,
    /// One line: `4/4 workers ready, generation 2`.
    pub summary: String,
}

impl Supervisor {
    /// Whether there is to be a worker in this slot, now or later.
    pub fn wants(&self, group: GroupId, slot: u32) -> bool {
        let found = self.groups.iter().find(|known| known.id == group);
        self.shutdown.is_none()
            && found.is_some_and(|group| {
                let slot = usize::try_from(slot).ok().and_then(|slot| group.slots.get(slot));
                group.stopped.is_none() && slot.is_some_and(|slot| slot.vacancy != Vacancy::Finished)
            })
    }

    /// Workers that have become ready and live, also those that are asked to go: generation and pid, oldest first.
    pub fn served_by(&self) -> impl Iterator<Item = (u32, i32)> {
        let known = self.children.iter().filter(|child| child.ready_at.is_some() && child.pid > 0);
        known.map(|child| (child.generation.0, child.pid))
    }

    /// How things stand now.
    pub fn standing(&self) -> Standing {
        let stopping = self.shutdown.is_some();
        let (mut ready, mut failing) = (true, false);
        let mut parts = Vec::new();
        for group in &self.groups {
            let mut own = self.workers_of(group.id).peekable();
            let state = group.state(&group.views(&self.children), own.peek().is_none(), stopping);
            ready &= matches!(state, GroupState::Up | GroupState::Stopped | GroupState::Waiting);
            failing |= state == GroupState::Failing;
            let serving = own.filter(|child| child.phase == Phase::Ready).count();
            parts.push(match self.groups.len() {
                1 => format!("{serving}/{} workers ready, generation {}", group.target(), group.generation.0),
                _ => format!("{} {serving}/{}", group.name, group.target()),
            });
        }
        let rollout = self.groups.iter().any(|group| group.rollout.is_some() || group.preparing.is_some());
        let under_way = match (stopping, &self.reexec, rollout) {
            (true, _, _) => "stopping: ",
            (false, Some(_), _) => "re-executing: ",
            (false, None, true) => "replacing workers: ",
            (false, None, false) => "",
        };
        // What a ready worker waits for is nothing that ends.
        let waited_for = self.children.iter().filter(|child| child.phase != Phase::Ready);
        let deadlines = waited_for.filter_map(|child| child.deadline).chain(self.reexec_deadline());
        Standing {
            ready,
            changing: rollout || self.reexec.is_some(),
            changes: self.groups.iter().map(|group| group.rollouts).sum::<u64>() + self.checks,
            stopping,
            until: deadlines.max().filter(|_| !failing),
            summary: format!("{under_way}{}", parts.join(", ")),
        }
    }
}
