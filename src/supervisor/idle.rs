//! Groups that wait before they start their first workers: for the end of their warm-up, or for a connection.
//!
//! Their sockets are open and connections queue up in them, so that nothing is lost. A group waits once: it is over with
//! the moment or the connection that it waits for, or with a `start` or `restart`. Meanwhile it is content with what it
//! has, so that an upgrade or another number of workers is done as soon as it is accepted, and holds for the workers to
//! come.

use super::Supervisor;
use super::event::{GroupId, Mono};
use super::group::{Group, Waits};
use super::note::Happening;
use crate::plan::Level;

impl Supervisor {
    /// The groups at whose sockets a connection is awaited. Ask again after each event.
    pub fn awaiting(&self) -> impl Iterator<Item = GroupId> {
        let stops = self.shutdown.is_some();
        let awaits =
            move |group: &&Group| !stops && group.stopped.is_none() && group.waits == Some(Waits::Connection);
        self.groups.iter().filter(awaits).map(|group| group.id)
    }

    /// Somebody connects to a group that waited for it.
    pub(super) fn listener_readable(&mut self, id: GroupId) {
        if self.awaiting().all(|awaiting| awaiting != id) {
            return;
        }
        self.groups[id.0].waits = None;
        self.groups[id.0].dirty = true;
        self.note(id, Level::Info, Happening::Connected);
    }

    /// Ends the warm-up of a group whose time has come.
    pub(super) fn warm_up(&mut self, id: GroupId) {
        let now = self.now;
        let group = &mut self.groups[id.0];
        if matches!(group.waits, Some(Waits::Until(at)) if at <= now) {
            group.waits = group.lazily();
        }
    }

    /// When the warm-up of a group is over.
    pub(super) fn warm_at(&self, group: &Group) -> Option<Mono> {
        match group.waits {
            Some(Waits::Until(at)) if self.shutdown.is_none() && group.stopped.is_none() => Some(at),
            Some(Waits::Until(_) | Waits::Connection) | None => None,
        }
    }
}
