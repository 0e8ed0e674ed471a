//! A descriptor for a process, which becomes readable when that has ended, pidfd_open(2).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::fault;

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
