//! The terminal's foreground process group: tcgetpgrp(3), tcsetpgrp(3), and stopping as a job of a shell does.

use std::io;

use libc::{SIG_BLOCK, SIG_UNBLOCK, c_int};

use super::{cvt, fault};
use crate::signame::Signal;

/// The controlling terminal of this process, by the number of a standard descriptor that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal(c_int);

impl Terminal {
    /// The one that standard input, output or error leads to, if this process has it.
    pub fn controlling() -> Option<Terminal> {
        (0..3).map(Terminal).find(|terminal| terminal.foreground().is_some())
    }

    /// Whether this process is in the foreground.
    ///
    /// A group of another PID namespace has the number 0 here, as ours may have: then nobody can tell whether it is ours,
    /// and it is taken for it.
    pub fn is_ours(self) -> bool {
        // SAFETY: no arguments; it cannot fail.
        self.foreground() == Some(unsafe { libc::getpgrp() })
    }

    /// The group in the foreground, if this is our controlling terminal still.
    pub fn foreground(self) -> Option<i32> {
        fault::hit("tcgetpgrp").ok()?;
        // SAFETY: asks about a number; no memory of ours is involved.
        cvt(unsafe { libc::tcgetpgrp(self.0) }).ok()
    }

    /// Puts a group of our session in the foreground. With SIGTTOU blocked this also goes from the background, and from
    /// the child of a vfork: no allocation, no lock.
    pub fn give_to(self, group: i32) -> io::Result<()> {
        fault::hit("tcsetpgrp")?;
        // SAFETY: numbers only.
        cvt(unsafe { libc::tcsetpgrp(self.0, group) }).map(drop)
    }

    /// Takes it back.
    pub fn take_back(self) -> io::Result<()> {
        // SAFETY: no arguments; it cannot fail.
        self.give_to(unsafe { libc::getpgrp() })
    }
}

/// Stops our own process group by one of the terminal's signals (TSTP, TTIN, TTOU), as if it had got it from the terminal,
/// and returns when we go on: true if it was SIGCONT that let us. That one is no longer pending then. Where nobody could let
/// us go on, in an orphaned group, the kernel does not stop us.
pub fn stop_ourselves(signal: Signal) -> io::Result<bool> {
    let set = set_of(signal);
    let change = |how| {
        fault::hit("sigprocmask")?;
        // SAFETY: the set is initialised; the old one is not asked for.
        cvt(unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) }).map(drop)
    };
    // The terminal may have sent it to us as well. It would stop us twice.
    take_pending(signal);
    change(SIG_UNBLOCK)?;
    let sent = fault::hit("kill").and_then(|()| {
        // It is delivered before the call returns, and its disposition is the default one.
        // SAFETY: numbers only.
        cvt(unsafe { libc::kill(0, signal.0) })
    });
    change(SIG_BLOCK)?;
    // A signal that stops takes back those that let go on: the one that is there came after it.
    sent.map(|_| take_pending(Signal::CONT))
}

/// Takes a blocked signal that waits for us, and tells whether there was one.
fn take_pending(signal: Signal) -> bool {
    let set = set_of(signal);
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: set and time are initialised, and nothing is to be filled in.
    unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const now) == signal.0 }
}

fn set_of(signal: Signal) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: the first call initialises the set, which the second one changes.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal.0);
        set.assume_init()
    }
}
