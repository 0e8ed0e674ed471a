//! Asking another image whether it could go on from our state, before anything depends on it.
//!
//! The program that this process was started from is run as a child with [`CAN_RESUME`] and the very state at
//! descriptor 3. It says [`RESUMABLE`] and exits with 0, or it does not; anything else it has to say is the reason. The
//! loop waits for its death as for any other, and the machine has the deadline.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use super::state::Document;
use crate::env::EnvBlock;
use crate::error::{Code, Error, Result};
use crate::process::Exit;
use crate::signame::Signal;
use crate::supervisor::note::{Ending, errno_text};
use crate::sys::reexec::{self, Image};
use crate::sys::spawn::{self, Spawn, Spawned, Status};
use crate::sys::stream;

/// The only argument of an image that is asked.
pub const CAN_RESUME: &str = "--can-resume";

/// The same where a command of the user's leads to the image.
pub(super) const UPGRADE_CHECK: &str = "--upgrade-check";

/// What it says if it can.
pub const RESUMABLE: &str = "remuda: can resume\n";

/// Where the image that is asked finds the state.
const STATE: i32 = 3;

/// Most that is read of what it says, in bytes.
const SAID_MAX: usize = 4096;

/// An image that is being asked.
pub(super) struct Check {
    number: u64,
    child: Spawned,
    /// What it says arrives here. A socket, as that can be read without waiting for whoever else holds the other end.
    said: UnixStream,
    path: String,
}

impl Check {
    /// Starts the child as the arguments of the image have it. `null` is its standard input.
    pub(super) fn begin(number: u64, image: &Image, state: &[u8], null: BorrowedFd<'_>) -> io::Result<Check> {
        let state = reexec::memfd(state)?;
        let (said, output) = UnixStream::pair()?;
        let path = CString::new(image.path.as_os_str().as_bytes())?;
        let child = spawn::spawn(Spawn {
            path: &path,
            file: None,
            argv: &image.argv,
            env: &EnvBlock::plain(&image.environment),
            descriptors: &[null, output.as_fd(), output.as_fd(), state.as_fd()],
            beyond: None,
            process_group: true,
            session: false,
            limits: &[],
            nice: None,
            oom_score_adj: None,
            credentials: None,
            directory: None,
            umask: None,
            parent_death_signal: Some(Signal::KILL),
            keep_signals: None,
        })?;
        Ok(Check { number, child, said, path: image.path.display().to_string() })
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.pid
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What its end means.
    pub(super) fn verdict(self, exit: Exit) -> Result<(), String> {
        let path = &self.path;
        if let Status::Failed(_, errno) = spawn::read_status(&self.child.status) {
            return Err(format!("cannot execute {path}: {}", errno_text(errno)));
        }
        let said = self.all_said();
        let said = String::from_utf8_lossy(&said);
        if exit == Exit::Code(0) && said.ends_with(RESUMABLE) {
            return Ok(());
        }
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let why = match last {
            Some(line) => line.strip_prefix("remuda: ").unwrap_or(line).to_owned(),
            None => Ending(exit).to_string(),
        };
        Err(format!("{path} cannot go on from the state of this one: {why}"))
    }

    fn all_said(&self) -> Vec<u8> {
        let mut said = vec![0; SAID_MAX];
        let mut length = 0;
        // Ends when all is read; should it end otherwise, what was read is all that is known.
        while let Ok(count @ 1..) = stream::receive(self.said.as_fd(), &mut said[length..]) {
            length += count;
        }
        said.truncate(length);
        said
    }
}

/// What a program of this kind says of itself where no manager asks.
pub const ABOUT: &str = concat!("remuda ", env!("CARGO_PKG_VERSION"), ", in the manner of einhorn 1.1.1\n");

/// The other side, where it is not certain that somebody asks: what to say if somebody does.
///
/// # Errors
/// As for [`can_resume`].
pub fn can_resume_if_asked() -> Result<Option<&'static str>> {
    match reexec::state_at(STATE) {
        None => Ok(None),
        Some(state) => may_resume(&state).map(|()| Some(RESUMABLE)),
    }
}

/// The other side: whether we can go on from the state that we are asked about.
///
/// # Errors
/// [`Code::Refused`], and why.
pub fn can_resume() -> Result<()> {
    let refused = |message: String| Error { code: Code::Refused, message };
    let state = reexec::state_at(STATE).ok_or_else(|| {
        refused(format!("descriptor {STATE} is no state; {CAN_RESUME} is what a manager asks its successor"))
    })?;
    may_resume(&state)
}

fn may_resume(state: &[u8]) -> Result<()> {
    Document::read(state).map(drop).map_err(|message| Error { code: Code::Refused, message })
}
