//! Descriptors that others have sent us, closed where nobody waits for it.
//!
//! To close a descriptor may take as long as whoever made it likes: a TCP socket with SO_LINGER waits for its peer, a file
//! of FUSE for its server. So it is done by a copy of this process that shares its table of descriptors and ends when
//! they are closed; the loop goes on meanwhile. Only pipes, which take no time, are closed at once.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_long, c_ulong};

use super::{cvt, fault, signals};

/// How long the copy waits for one of them, in microseconds: a wait that a signal can end is ended then.
const PATIENCE_USEC: libc::suseconds_t = 10_000;

/// Closes what is a pipe, and returns the others. Only a pipe has a size that F_GETPIPE_SZ tells; nothing but this table is
/// asked for it, whereas fstat(2) may have to wait for a server.
pub fn close_pipes(descriptors: Vec<OwnedFd>) -> Vec<OwnedFd> {
    let is_pipe = |descriptor: &OwnedFd| {
        // SAFETY: numbers only.
        unsafe { libc::fcntl(descriptor.as_fd().as_raw_fd(), libc::F_GETPIPE_SZ) >= 0 }
    };
    descriptors.into_iter().filter(|descriptor| !is_pipe(descriptor)).collect()
}

/// Has these descriptors closed, and takes them out of the list. Returns the pid of who closes them, to be reaped like any
/// other child.
///
/// # Errors
/// There is no process to be had. The list is as it was.
pub fn dispose(descriptors: &mut Vec<OwnedFd>) -> io::Result<i32> {
    // SAFETY: asks for a number.
    let parent = unsafe { libc::getpid() };
    // Unblocked when this function returns.
    let _blocked = signals::block_all()?;
    fault::hit("clone")?;
    // Arguments stand in another order on s390, where flags and stack change places; no stack means a copy of ours.
    let flags = (libc::CLONE_FILES | libc::SIGCHLD) as c_ulong;
    let (first, second): (c_ulong, c_ulong) =
        if cfg!(target_arch = "s390x") { (0, flags) } else { (flags, 0) };
    // SAFETY: as fork(2) but for the table of descriptors. This process has one thread, and its copy makes system calls only
    // and does not return from `run`.
    let pid =
        cvt(
            unsafe { libc::syscall(libc::SYS_clone, first, second, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) }
                as c_int,
        )?;
    if pid == 0 {
        run(parent, descriptors);
    }
    for descriptor in descriptors.drain(..) {
        // The copy closes it in the table that both have.
        let _ = descriptor.into_raw_fd();
    }
    Ok(pid)
}

/// The life of the copy.
fn run(parent: i32, descriptors: &[OwnedFd]) -> ! {
    // Whatever of this fails makes it only slower to end.
    let _ = prepare(parent);
    for descriptor in descriptors {
        // SAFETY: the original has given it up and closes it nowhere else.
        unsafe { libc::close(descriptor.as_raw_fd()) };
    }
    // SAFETY: ends the process. No destructor and no exit handler of the original runs in its copy.
    unsafe { libc::_exit(0) }
}

extern "C" fn on_alarm(_signal: c_int) {}

/// Lets a timer interrupt what waits.
fn prepare(parent: i32) -> io::Result<()> {
    signals::reset()?;
    let kill = libc::SIGKILL as c_ulong;
    // SAFETY: numbers only.
    cvt(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, kill) })?;
    // SAFETY: asks for a number.
    if unsafe { libc::getppid() } != parent {
        return Ok(());
    }
    // SAFETY: a structure of numbers and pointers for which all zeros is a value: no flags, so that calls are interrupted.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_alarm as *const () as usize;
    // SAFETY: the action is whole, and its handler does nothing.
    cvt(unsafe { libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) })?;
    let span = libc::timeval { tv_sec: 0, tv_usec: PATIENCE_USEC };
    let timer = libc::itimerval { it_interval: span, it_value: span };
    // By its number, as the type of the first argument depends on the C library.
    // SAFETY: the timer is whole.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL as c_long,
            &raw const timer,
            ptr::null_mut::<u8>(),
        )
    } as c_int)
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn pipes_are_closed_at_once_and_nothing_else_is() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let left = close_pipes(vec![writer.into(), socket.into()]);
        assert_eq!(left.len(), 1);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
