//! The only place that talks to the system, and the only one with `unsafe`.
//!
//! Each wrapper is one call with its reason: it asks [`fault::hit`] under the name of the call, makes it, and turns -1
//! into `errno` by [`cvt`]. Descriptors have owners in signatures and are close-on-exec from birth.

use std::io;

pub mod cgroup;
pub mod clock;
pub mod connect;
pub mod control;
pub mod creds;
pub mod disposal;
pub mod endpoint;
pub mod executable;
pub mod family;
pub mod fault;
pub mod fdmap;
pub mod guarded;
pub mod holder;
pub mod lock;
pub mod log;
pub mod logfile;
mod names;
pub mod notify;
pub mod offload;
pub mod outlet;
pub mod pidfd;
pub mod pidfile;
pub mod poll;
pub mod program;
pub mod reap;
pub mod reexec;
mod reuse;
pub mod same;
pub mod service;
pub mod shared;
pub mod signals;
pub mod sigwait;
pub mod socket;
pub mod sockopt;
pub mod spawn;
pub mod start;
pub mod status_file;
pub mod stream;
pub mod syslog;
pub mod terminal;
pub mod title;
pub mod unix;
pub mod vfork;
pub mod watchfile;

// A library less to load at the start, and to map in each child: where a panic unwinds nothing, all that is wanted of the
// unwinder is its backtrace. (A static build does this by itself.)
#[cfg(all(panic = "abort", target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

/// The result of a system call as a `Result`: -1 stands for what `errno` says.
pub fn cvt<T: From<i8> + PartialEq>(ret: T) -> io::Result<T> {
    if ret == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Why a call failed, as the end of a sentence: `permission denied`, `address in use`.
pub fn reason(error: impl Into<io::Error>) -> String {
    let error = error.into();
    let text = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "address in use",
        Some(errno) => nix::errno::Errno::from_raw(errno).desc(),
        None => return error.to_string(),
    };
    // "Permission denied" fits in a sentence when its first letter is small; "I/O error" already does.
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{second}{}", first.to_lowercase(), letters.as_str())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Deref;
    use std::path::{Path, PathBuf};

    use super::*;

    /// An empty directory for one test, removed with what is in it when the test is done.
    pub(super) struct Scratch(PathBuf);

    /// Makes a directory; the name has to be that test's own.
    pub(super) fn scratch(test: &str) -> Scratch {
        let directory = std::env::temp_dir().join(format!("remuda-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Scratch(directory.canonicalize().unwrap())
    }

    impl Deref for Scratch {
        type Target = PathBuf;

        fn deref(&self) -> &PathBuf {
            &self.0
        }
    }

    impl AsRef<Path> for Scratch {
        fn as_ref(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            if let Err(error) = std::fs::remove_dir_all(&self.0) {
                eprintln!("{}: {error}", self.0.display());
            }
        }
    }

    #[test]
    fn reasons_end_a_sentence() {
        for (errno, text) in [
            (libc::EADDRINUSE, "address in use"),
            (libc::EACCES, "permission denied"),
            (libc::EIO, "I/O error"),
            (libc::ENOENT, "no such file or directory"),
        ] {
            assert_eq!(reason(io::Error::from_raw_os_error(errno)), text);
        }
    }
}
