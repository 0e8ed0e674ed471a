//! Work that may take its time, done by a copy of this process, so that whoever asks for it need not wait: files are
//! read and hosts looked up there.
//!
//! The copy is a fork that executes nothing. As this process has one thread, its copy may allocate, lock and call
//! whatever it likes. It has no signal handler and no descriptor of ours but the one that its result goes to, and it
//! ends with its work, or with us.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};

use libc::{c_int, c_uint, c_ulong};

use super::{cvt, fault, reexec, signals};

/// What the copy exits with when the result is complete.
pub const DONE: u8 = 0;

/// What it exits with when there is none.
const FAILED: c_int = 1;

/// A piece of work under way.
#[derive(Debug)]
pub struct Offloaded {
    /// The copy, to be reaped like any other child.
    pub pid: i32,
    result: OwnedFd,
}

/// Begins some work whose result is these bytes.
///
/// # Errors
/// No descriptor for the result, or no process.
pub fn begin(work: impl FnOnce() -> Vec<u8>) -> io::Result<Offloaded> {
    let result = reexec::empty_memfd()?;
    // SAFETY: asks for a number.
    let parent = unsafe { libc::getpid() };
    // Unblocked when this function returns.
    let _blocked = signals::block_all()?;
    fault::hit("fork")?;
    // SAFETY: this process has one thread, so that its copy is a whole process; it does not return from `run`.
    let pid = cvt(unsafe { libc::fork() })?;
    if pid == 0 {
        run(parent, result, work);
    }
    Ok(Offloaded { pid, result })
}

impl Offloaded {
    /// The result, once the copy has exited with [`DONE`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn result(self) -> io::Result<Vec<u8>> {
        let mut file = File::from(self.result);
        let mut bytes = Vec::new();
        fault::hit("read")?;
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The life of the copy.
fn run(parent: i32, result: OwnedFd, work: impl FnOnce() -> Vec<u8>) -> ! {
    let done = prepare(parent, &result).and_then(|()| {
        // Nothing of ours is used after a panic.
        let bytes = panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| io::Error::other("panic"))?;
        File::from(result).write_all(&bytes)
    });
    let code = if done.is_ok() { c_int::from(DONE) } else { FAILED };
    // SAFETY: ends the process. No destructor and no exit handler of the original runs in its copy.
    unsafe { libc::_exit(code) }
}

fn prepare(parent: i32, result: &OwnedFd) -> io::Result<()> {
    let kill = libc::SIGKILL as c_ulong;
    // SAFETY: numbers only.
    cvt(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, kill) })?;
    // SAFETY: asks for a number.
    if unsafe { libc::getppid() } != parent {
        return Err(io::Error::other("the original is gone already"));
    }
    signals::reset()?;
    // A listening socket that is open here too would outlive its end there. What holds these descriptors in memory is
    // never dropped.
    let kept = result.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept + 1, c_uint::MAX)] {
        // A range may be empty, and Linux before 5.9 has no such call: then they stay open until the work is done.
        // SAFETY: numbers only; nothing in this process uses those descriptors any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
    Ok(())
}
