//! Upgrades that nobody asks for: a group whose program has become another file.
//!
//! The program is looked at once a second. What is there is known by a number, in which nothing but equality counts. An
//! upgrade begins when two looks in a row see the same other program, so that a file that is being written is left
//! alone, and once only for each: a program that does not start, or that was taken back by hand, is not tried again until
//! it has changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::event::{Action, GroupId, Mono};
use super::group::Group;
use super::note::Happening;
use crate::plan::Level;

/// From one look at the program to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// What is remembered from one look to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Watch {
    /// When to look next.
    pub(super) next: Option<Mono>,
    /// What the last look saw, if it is not what runs.
    pub(super) seen: Option<u64>,
    /// What was upgraded to last.
    pub(super) tried: Option<u64>,
}

impl Supervisor {
    /// Looks at the program of a group if it is time.
    pub(super) fn look_at_program(&mut self, id: GroupId) {
        let now = self.now;
        let group = &mut self.groups[id.0];
        if !group.policy.auto_upgrade || group.watch.next.is_some_and(|at| at > now) {
            return;
        }
        let first = group.watch.next.replace(now.after(PERIOD)).is_none();
        if !first && !group.is_changing() {
            let generation = group.generation;
            self.act(Action::ReadProgram { group: id, generation });
        }
    }

    /// What there is in place of the program that runs, if it is another.
    pub(super) fn program_read(&mut self, id: GroupId, other: Option<u64>) {
        let Some(group) = self.groups.get_mut(id.0) else { return };
        if self.shutdown.is_some() || group.stopped.is_some() || group.is_changing() {
            return;
        }
        let again = std::mem::replace(&mut group.watch.seen, other) == other;
        if other.is_some() && again && group.watch.tried != other {
            group.watch.tried = other;
            group.dirty = true;
            self.note(id, Level::Info, Happening::ProgramChanged);
            // Nobody waits for it: the log tells how it ends.
            let _serial = self.request_upgrade(id, None);
        }
    }

    /// A generation is prepared that runs this program. Whoever asked for it, it is tried: if it fails, or is taken back by
    /// hand, it is not upgraded to by itself.
    pub(super) fn program_prepared(&mut self, id: GroupId, program: u64) {
        if let Some(group) = self.groups.get_mut(id.0) {
            group.watch.tried = Some(program);
        }
    }

    /// When to look at the program of a group.
    pub(super) fn next_look(&self, group: &Group) -> Option<Mono> {
        let looks = group.policy.auto_upgrade && self.shutdown.is_none() && group.stopped.is_none();
        group.watch.next.filter(|_| looks)
    }
}
