//! The only place that talks to the system, and the only one with `unsafe`.
//!
//! Each wrapper is one call with its reason: it asks [`fault::hit`] under the name of the call, makes it, and turns -1
//! into `errno` by [`cvt`]. Descriptors have owners in signatures and are close-on-exec from birth.

use std::io;

pub mod clock;
pub mod control;
pub mod creds;
pub mod fault;
pub mod fdmap;
pub mod lock;
pub mod log;
pub mod notify;
pub mod pidfile;
pub mod poll;
pub mod program;
pub mod reap;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod start;

/// The result of a system call as a `Result`: -1 stands for what `errno` says.
pub fn cvt<T: From<i8> + PartialEq>(ret: T) -> io::Result<T> {
    if ret == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(ret) }
}
