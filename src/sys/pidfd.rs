//! A descriptor for a process, which becomes readable when that has ended, pidfd_open(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{cvt, fault};
use crate::signame::Signal;

/// Opens one, which is not inherited.
///
/// # Errors
/// There is no such process, or no such call (before Linux 5.3).
pub fn open(process: i32) -> io::Result<OwnedFd> {
    fault::hit("pidfd_open")?;
    // SAFETY: numbers only.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    match RawFd::try_from(opened) {
        // SAFETY: the call just made it, and nobody else knows of it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Signals a process that need not be a child of ours, and so may be reaped by somebody else at any time. That it is gone is
/// no error.
pub fn signal(process: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    match send(process, signal) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// Whether it is not reaped yet.
pub fn exists(process: BorrowedFd<'_>) -> bool {
    send(process, Signal(0)).is_ok()
}

fn send(process: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    fault::hit("pidfd_send_signal")?;
    let (no_details, flags) = (std::ptr::null::<libc::siginfo_t>(), 0);
    let send = libc::SYS_pidfd_send_signal;
    // SAFETY: numbers, and a pointer that may be null.
    let sent = unsafe { libc::syscall(send, process.as_raw_fd(), signal.0, no_details, flags) };
    cvt(libc::c_int::try_from(sent).unwrap_or(-1)).map(drop)
}
