//! What workers share with a socket, and may change for all others: that it listens, how long its queue is, that it does
//! not block, that its path is there. The manager looks after it and puts it right.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use libc::{POLLHUP, POLLRDHUP, c_int, pollfd};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockFlag, SockaddrStorage, bind, getsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::socket::Listener;
use super::unix::{self, BoundPath, listen};
use super::{clock, cvt, fault, reason, sockopt as own_options};
use crate::env::SocketFamily;

/// A socket is not made anew again before so many milliseconds are over: workers that shut it down as soon as they start
/// would be replaced for ever.
const RENEWED_EVERY_MS: u64 = 60_000;

/// What all that share a socket share with it, as the plan wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// What listen(2) is told; absent where it is not ours to tell.
    pub(super) queue: Option<i32>,
    /// How long the queue of a TCP socket then was.
    pub(super) length: Option<u32>,
    /// Said to be so by the user.
    pub(super) nonblocking: bool,
    /// The port that it had, where the system has chosen it.
    pub(super) port: Option<SocketAddr>,
}

/// What a look at a socket came to.
#[derive(Debug, Default)]
pub struct Cared {
    /// What was done, or what stands in the way, a sentence each; nothing if all is well.
    pub told: Vec<Result<String, String>>,
    /// It is another socket now: workers that have the old one get no connection any more.
    pub renewed: bool,
}

impl Cared {
    fn add(&mut self, what: &str, outcome: io::Result<()>) {
        self.told.push(match outcome {
            Ok(()) => Ok(what.to_owned()),
            Err(error) => Err(format!("{what}: in vain: {}", reason(error))),
        });
    }
}

impl Listener {
    /// Puts right what a worker may have changed for all.
    pub fn look_after(&self) -> Cared {
        let mut cared = Cared::default();
        match self.wanted.queue {
            Some(queue) if self.family == SocketFamily::Unix => self.look_after_unix(queue, &mut cared),
            Some(queue) => self.look_after_tcp(queue, &mut cared),
            None => {}
        }
        if self.wanted.nonblocking
            && let Ok(flags) = fcntl(&self.fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain)
            && !flags.contains(OFlag::O_NONBLOCK)
        {
            let set = fcntl(&self.fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK));
            let what = "a worker had made it block, and it does not block again";
            cared.add(what, set.map(drop).map_err(io::Error::from));
        }
        let mended = self.path.borrow().as_ref().map_or(Ok(None), BoundPath::mend);
        cared.told.extend(mended.transpose());
        cared
    }

    fn look_after_tcp(&self, queue: i32, cared: &mut Cared) {
        if !getsockopt(&self.fd, sockopt::AcceptConn).unwrap_or(true) {
            let bound = self.wanted.port.map_or(Ok(()), |address| {
                bind(self.fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(io::Error::from)
            });
            let what = "a worker had shut it down, and it listens again";
            cared.add(what, bound.and_then(|()| listen(&self.fd, queue)));
        } else if own_options::queue(&self.fd) != self.wanted.length {
            let what = "a worker had changed its queue, which is as long again as it was";
            cared.add(what, listen(&self.fd, queue));
        }
    }

    fn look_after_unix(&self, queue: i32, cared: &mut Cared) {
        if self.is_shut_down() {
            match self.renew(queue) {
                Ok(()) => {
                    cared.renewed = true;
                    let what = "a worker had shut it down; an upgrade gives workers a new one in its place";
                    cared.told.push(Ok(what.to_owned()));
                }
                Err(reason) => cared.told.push(Err(format!("a worker has shut it down: {reason}"))),
            }
        } else if let Err(error) = listen(&self.fd, queue) {
            // Nobody tells how long its queue is, so it is told each time.
            cared.add("its queue is as long as it was meant to be", Err(error));
        }
    }

    /// shutdown(2) was called for a Unix socket. It does not listen any more although SO_ACCEPTCONN says so.
    fn is_shut_down(&self) -> bool {
        let mut entry = pollfd { fd: self.fd.as_raw_fd(), events: POLLRDHUP, revents: 0 };
        // SAFETY: one entry, and nothing else touches it during the call, which does not wait.
        let found = cvt(unsafe { libc::poll(&raw mut entry, 1, 0) });
        found.is_ok() && entry.revents & (POLLRDHUP | POLLHUP) != 0
    }

    /// Puts a new socket, at the same path and with its mode and owner, in the place of one that was shut down.
    fn renew(&self, queue: i32) -> Result<(), String> {
        let now = clock::now_ms();
        if self.renewed.get().is_some_and(|at| now.saturating_sub(at) < RENEWED_EVERY_MS) {
            return Err("it was made anew less than a minute ago; nobody can connect".to_owned());
        }
        let mut path = self.path.borrow_mut();
        let Some(bound) = path.as_mut() else {
            return Err(
                "nobody can connect until remuda, or the service that passed it, is started anew".to_owned()
            );
        };
        let flags = if self.wanted.nonblocking { SockFlag::SOCK_NONBLOCK } else { SockFlag::empty() };
        let (fd, mut made) = unix::listen_at(bound.path(), bound.access()?, queue, flags)?;
        fault::hit("dup3").map_err(reason)?;
        // SAFETY: both are open, and it is ours alone which file this number stands for.
        cvt(unsafe { libc::dup3(fd.as_raw_fd(), self.fd.as_fd().as_raw_fd(), libc::O_CLOEXEC) as c_int })
            .map_err(reason)?;
        made.keep_spare();
        *bound = made;
        self.renewed.set(Some(now));
        Ok(())
    }
}
