//! Descriptors that workers have given us to keep, FDSTORE=1 of `sd_notify(3)`: the next worker of the same slot finds them
//! after its sockets, by their names in LISTEN_FDNAMES, and so do all that come after it. They stay until a worker takes
//! them back by FDSTOREREMOVE=1, their other end hangs up, or the slot is not wanted any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::supervisor::event::GroupId;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::{disposal, same};

/// Whose they are: a slot of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) group: GroupId,
    pub(super) slot: u32,
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    entries: Vec<Entry>,
    /// What is not wanted, and to be closed where it holds nobody up.
    discarded: Vec<OwnedFd>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    name: String,
    /// It goes when its other end hangs up.
    watched: bool,
    descriptor: OwnedFd,
}

/// One of them on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptState {
    place: Place,
    name: String,
    watched: bool,
    descriptor: i32,
}

impl Kept {
    /// Keeps as many as there is room for in `limit`, none twice; the others are closed. Returns how many there was no room
    /// for.
    pub(super) fn store(
        &mut self,
        place: Place,
        name: &str,
        watched: bool,
        given: Vec<OwnedFd>,
        limit: u32,
    ) -> usize {
        let mut refused = 0;
        for descriptor in given {
            let mut own = self.entries.iter().filter(|entry| entry.place == place);
            if own.any(|entry| same::same_file(entry.descriptor.as_fd(), descriptor.as_fd())) {
                self.discarded.push(descriptor);
                continue;
            }
            if self.count(place) < limit {
                self.entries.push(Entry { place, name: name.to_owned(), watched, descriptor });
            } else {
                self.discarded.push(descriptor);
                refused += 1;
            }
        }
        refused
    }

    fn keep_only(&mut self, mut wanted: impl FnMut(&Entry) -> bool) {
        let gone = self.entries.extract_if(.., |entry| !wanted(entry));
        self.discarded.extend(gone.map(|entry| entry.descriptor));
    }

    /// Takes what somebody has sent and nobody wants. Pipes are closed at once: who waits for that, as BARRIER=1 does, is
    /// not to wait for more.
    pub(super) fn discard(&mut self, descriptors: Vec<OwnedFd>) {
        self.discarded.extend(disposal::close_pipes(descriptors));
    }

    /// What is to be closed.
    pub(super) fn discarded(&mut self) -> &mut Vec<OwnedFd> {
        &mut self.discarded
    }

    /// Closes those of this name.
    pub(super) fn remove(&mut self, place: Place, name: &str) {
        self.keep_only(|entry| entry.place != place || entry.name != name);
    }

    /// Closes what is more than `limit`, the last first.
    pub(super) fn limit(&mut self, place: Place, limit: u32) {
        let mut left = limit;
        self.keep_only(|entry| {
            if entry.place != place {
                return true;
            }
            let stays = left > 0;
            left = left.saturating_sub(1);
            stays
        });
    }

    /// Closes those of places that are not wanted any more.
    pub(super) fn settle(&mut self, wanted: impl Fn(Place) -> bool) {
        self.keep_only(|entry| wanted(entry.place));
    }

    /// How many a slot has.
    pub(super) fn count(&self, place: Place) -> u32 {
        let own = self.entries.iter().filter(|entry| entry.place == place).count();
        u32::try_from(own).unwrap_or(u32::MAX)
    }

    /// How many a group has.
    pub(super) fn count_of_group(&self, group: GroupId) -> u32 {
        let own = self.entries.iter().filter(|entry| entry.place.group == group).count();
        u32::try_from(own).unwrap_or(u32::MAX)
    }

    /// Those of a slot with their names, in the order in which they came.
    pub(super) fn of(&self, place: Place) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        let own = self.entries.iter().filter(move |entry| entry.place == place);
        own.map(|entry| (entry.name.as_str(), entry.descriptor.as_fd()))
    }

    /// Puts those whose hang-up counts into the poll set; returns where each entry stands.
    pub(super) fn watch(&self, poll: &mut PollSet) -> Vec<Option<usize>> {
        // With no interest but in a hang-up, what can be read or written there wakes nobody.
        let add =
            |entry: &Entry| entry.watched.then(|| poll.add(entry.descriptor.as_fd(), Interest::default()));
        self.entries.iter().map(add).collect()
    }

    /// Closes those that have hung up by this moment, so that nobody is given them.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        if !self.entries.is_empty() {
            let mut poll = PollSet::new();
            let at = self.watch(&mut poll);
            poll.wait(Some(0))?;
            self.drop_hung_up(&at, &poll);
        }
        Ok(())
    }

    /// Closes those that have hung up; `at` is what [`Kept::watch`] has returned, and nothing was stored or removed since.
    pub(super) fn drop_hung_up(&mut self, at: &[Option<usize>], poll: &PollSet) {
        let mut places = at.iter();
        self.keep_only(|_| !matches!(places.next(), Some(Some(at)) if poll.hung_up(*at)));
    }

    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> Vec<KeptState> {
        let state = |entry: &Entry| KeptState {
            place: entry.place,
            name: entry.name.clone(),
            watched: entry.watched,
            descriptor: keeper.keep(entry.descriptor.as_fd()),
        };
        self.entries.iter().map(state).collect()
    }

    pub(super) fn take_over(states: Vec<KeptState>, inherited: &mut Inherited) -> io::Result<Kept> {
        let mut entry = |KeptState { place, name, watched, descriptor }| {
            Ok(Entry { place, name, watched, descriptor: inherited.claim(descriptor)? })
        };
        let entries = states.into_iter().map(&mut entry).collect::<io::Result<_>>()?;
        Ok(Kept { entries, discarded: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn some(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect()
    }

    fn place(slot: u32) -> Place {
        Place { group: GroupId(0), slot }
    }

    fn names(kept: &Kept, slot: u32) -> Vec<&str> {
        kept.of(place(slot)).map(|(name, _)| name).collect()
    }

    #[test]
    fn each_slot_has_its_own_up_to_its_limit() {
        let mut kept = Kept::default();
        assert_eq!(kept.store(place(0), "a", true, some(2), 3), 0);
        assert_eq!(kept.store(place(0), "b", true, some(3), 3), 2);
        assert_eq!(kept.store(place(1), "a", true, some(1), 3), 0);
        assert_eq!((names(&kept, 0), names(&kept, 1)), (vec!["a", "a", "b"], vec!["a"]));
        kept.limit(place(0), 2);
        assert_eq!((names(&kept, 0), names(&kept, 1)), (vec!["a", "a"], vec!["a"]));
        kept.remove(place(0), "a");
        assert_eq!((kept.count(place(0)), kept.count_of_group(GroupId(0))), (0, 1));
        kept.settle(|place| place.slot == 0);
        assert_eq!(kept.count_of_group(GroupId(0)), 0);
    }

    #[test]
    fn the_same_is_kept_once() {
        let mut kept = Kept::default();
        let (reader, writer) = io::pipe().unwrap();
        for _ in 0..2 {
            let given = vec![reader.try_clone().unwrap().into(), writer.try_clone().unwrap().into()];
            assert_eq!(kept.store(place(0), "pipe", true, given, 2), 0);
        }
        assert_eq!(kept.count(place(0)), 2);
        assert_eq!(kept.store(place(1), "pipe", true, vec![reader.into()], 2), 0);
        assert_eq!(kept.count(place(1)), 1, "another slot has its own");
    }

    #[test]
    fn what_hangs_up_goes_unless_that_is_not_wanted() {
        let mut kept = Kept::default();
        let pair = || {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            (vec![OwnedFd::from(ours)], theirs)
        };
        let ((open, _stays), (closed, goes), (spared, gone)) = (pair(), pair(), pair());
        for (name, watched, given) in
            [("open", true, open), ("closed", true, closed), ("spared", false, spared)]
        {
            kept.store(place(0), name, watched, given, 9);
        }
        drop((goes, gone));
        kept.refresh().unwrap();
        assert_eq!(names(&kept, 0), ["open", "spared"]);
    }
}
