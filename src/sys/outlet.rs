//! Writing to a descriptor that others use as well, without ever blocking: write(2), send(2).
//!
//! Standard output and standard error are shared with the workers and with whoever started us, so their open file
//! descriptions cannot be set to non-blocking; and between a poll(2) that finds room and the write, a worker may take the
//! room. So, where that is possible, bytes are written in a way that cannot block: to a pipe or terminal by an open file
//! description of our own, to a socket by send(2) with MSG_DONTWAIT. Elsewhere poll(2) is asked first.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::{
    MSG_DONTWAIT, MSG_NOSIGNAL, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_WRONLY, S_IFCHR, S_IFIFO, S_IFMT, S_IFSOCK,
};
use nix::fcntl::{self, OFlag};
use nix::sys::stat::{Mode, fstat};

use super::poll::{Interest, PollSet};
use super::{cvt, fault};

/// With room for that much (PIPE_BUF of Linux), a pipe that others write to as well takes it without waiting.
const SHARED_MAX: usize = 4096;

/// A descriptor to write to.
pub struct Outlet<F: AsFd> {
    target: F,
    way: Way,
}

/// How to write without blocking.
enum Way {
    /// By a non-blocking open file description of our own.
    Own(OwnedFd),
    /// send(2).
    Send,
    /// poll(2) first.
    Ask(PollSet),
}

impl<F: AsFd> Outlet<F> {
    /// The best way to write to this.
    pub fn to(target: F) -> Outlet<F> {
        let kind = fstat(&target).map_or(0, |status| status.st_mode & S_IFMT);
        let way = match kind {
            S_IFSOCK => Way::Send,
            S_IFIFO | S_IFCHR => reopen(&target).map_or_else(|_| Way::Ask(PollSet::new()), Way::Own),
            _ => Way::Ask(PollSet::new()),
        };
        Outlet { target, way }
    }

    /// What to wait for, with room to write, when there was none.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Own(own) => own.as_fd(),
            Way::Send | Way::Ask(_) => self.target.as_fd(),
        }
    }

    /// Writes as much as can be written at once.
    ///
    /// # Errors
    /// Those for which [`is_passing`] says so: it has no room now. With any other, nothing can be written to it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.way {
            Way::Own(own) => write(own, bytes),
            Way::Send => send(&self.target, bytes),
            Way::Ask(set) => {
                set.clear();
                let index = set.add(self.target.as_fd(), Interest::WRITE);
                set.wait(Some(0))?;
                match set.writable(index) {
                    true => write(&self.target, &bytes[..bytes.len().min(SHARED_MAX)]),
                    false => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn asking(target: F) -> Outlet<F> {
        Outlet { target, way: Way::Ask(PollSet::new()) }
    }

    #[cfg(test)]
    pub(super) fn target(&self) -> &F {
        &self.target
    }
}

/// Nothing is wrong with a target: it has only no room now.
pub fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Opens the same pipe or terminal anew. Fails without /proc, and on a pipe of another user.
fn reopen(target: &impl AsFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", target.as_fd().as_raw_fd());
    let flags = OFlag::from_bits_retain(O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    fault::hit("open")?;
    Ok(fcntl::open(path.as_str(), flags, Mode::empty())?)
}

/// write(2). It blocks if the descriptor does.
pub(super) fn write(target: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    fault::hit("write")?;
    Ok(nix::unistd::write(target, bytes)?)
}

fn send(target: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let (socket, flags) = (target.as_fd().as_raw_fd(), MSG_DONTWAIT | MSG_NOSIGNAL);
    fault::hit("send")?;
    // SAFETY: the buffer is as long as told.
    let sent = cvt(unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) })?;
    Ok(sent.unsigned_abs())
}
