//! Waiting for descriptors: poll(2). The set is built anew on each pass, in a buffer that is kept.
//!
//! A hang-up or an error counts as being ready for whatever was asked, and always for reading: the owner then reads or
//! writes, learns what happened, and takes the descriptor out. Nothing can be ready without anybody being told, so a
//! pass never spins.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, c_int, nfds_t, pollfd};

use super::{clock, cvt, fault};

/// What is waited for on a descriptor. With neither, only a hang-up or an error is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes, a connection or a datagram to take.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Only to read.
    pub const READ: Interest = Interest { read: true, write: false };
    /// Only to write.
    pub const WRITE: Interest = Interest { read: false, write: true };
}

/// Descriptors to wait for, and after [`PollSet::wait`] what is ready.
#[derive(Default)]
pub struct PollSet {
    entries: Vec<pollfd>,
}

impl PollSet {
    /// An empty set.
    pub fn new() -> PollSet {
        PollSet::default()
    }

    /// Takes all descriptors out; the memory stays.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Puts a descriptor in and tells the index under which it is asked for after the wait.
    pub fn add(&mut self, descriptor: BorrowedFd<'_>, interest: Interest) -> usize {
        let events = if interest.read { POLLIN } else { 0 } | if interest.write { POLLOUT } else { 0 };
        self.entries.push(pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 });
        self.entries.len() - 1
    }

    /// Waits until a descriptor is ready, a signal was handled, or `deadline` (milliseconds of [`clock::now_ms`]) is
    /// reached; without one, for ever. Waking with nothing ready is no error.
    ///
    /// # Errors
    /// Those of poll(2) except EINTR; and a descriptor that is not open, by its number: nobody would ever take it out.
    pub fn wait(&mut self, deadline: Option<u64>) -> io::Result<()> {
        let timeout = deadline.map_or(-1, |deadline| timeout(deadline, clock::now_ms()));
        for entry in &mut self.entries {
            entry.revents = 0;
        }
        let count = self.entries.len() as nfds_t;
        // SAFETY: the buffer holds `count` entries, and nothing else touches it during the call.
        let mut poll = || cvt(unsafe { libc::poll(self.entries.as_mut_ptr(), count, timeout) });
        match fault::hit("poll").and_then(|()| poll()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.entries.iter().find(|entry| entry.revents & POLLNVAL != 0) {
            Some(entry) => {
                Err(io::Error::other(format!("cannot poll descriptor {}: it is not open", entry.fd)))
            }
            None => Ok(()),
        }
    }

    /// There is something to read, or a hang-up or error to learn of by reading.
    pub fn readable(&self, index: usize) -> bool {
        self.entries[index].revents & (POLLIN | POLLHUP | POLLERR) != 0
    }

    /// The other end has closed both directions: nobody reads what is written any more.
    pub fn hung_up(&self, index: usize) -> bool {
        self.entries[index].revents & (POLLHUP | POLLERR) != 0
    }

    /// Writing was asked for, and there is room, or a hang-up or error to learn of by writing.
    pub fn writable(&self, index: usize) -> bool {
        let entry = self.entries[index];
        entry.events & POLLOUT != 0 && entry.revents & (POLLOUT | POLLHUP | POLLERR) != 0
    }
}

/// Milliseconds from `now` to `deadline`, in the type of poll(2). `now` was rounded down, so the wait ends at the
/// deadline or after it, never a moment before, which would be a pass for nothing.
fn timeout(deadline: u64, now: u64) -> c_int {
    c_int::try_from(deadline.saturating_sub(now)).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn wait(set: &mut PollSet) {
        set.wait(Some(0)).unwrap();
    }

    #[test]
    fn what_is_ready_is_told_by_index() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut set = PollSet::new();
        let far_index = set.add(far.as_fd(), Interest::READ);
        let near_index = set.add(near.as_fd(), Interest { read: true, write: true });
        wait(&mut set);
        assert!(!set.readable(far_index) && !set.writable(far_index));
        assert!(!set.readable(near_index) && set.writable(near_index));

        far.write_all(b"x").unwrap();
        set.clear();
        let index = set.add(near.as_fd(), Interest::READ);
        set.wait(None).unwrap();
        assert!(set.readable(index) && !set.writable(index), "writing was not asked for");
    }

    #[test]
    fn a_hang_up_is_ready_for_whatever_was_asked() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut set = PollSet::new();
        let asked = set.add(writer.as_fd(), Interest::WRITE);
        let unasked = set.add(writer.as_fd(), Interest::default());
        set.wait(None).unwrap();
        assert!(set.writable(asked));
        assert!(set.readable(unasked) && !set.writable(unasked));
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_named() {
        let mut set = PollSet::new();
        let (reader, _writer) = std::io::pipe().unwrap();
        set.add(reader.as_fd(), Interest::READ);
        set.entries[0].fd = 1_000_000;
        let error = set.wait(None).unwrap_err();
        assert_eq!(error.to_string(), "cannot poll descriptor 1000000: it is not open");
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader = OwnedFd::from(reader);
        let mut set = PollSet::new();
        for span in [0, 1, 2, 5] {
            let deadline = clock::now_ms() + span;
            set.clear();
            let index = set.add(reader.as_fd(), Interest::READ);
            set.wait(Some(deadline)).unwrap();
            assert!(!set.readable(index));
            assert!(clock::now_ms() >= deadline);
        }
    }

    #[test]
    fn deadlines_far_away_and_long_past_fit_the_call() {
        assert_eq!(timeout(5, 9), 0);
        assert_eq!(timeout(9, 5), 4);
        assert_eq!(timeout(u64::MAX, 0), c_int::MAX);
    }
}
