//! What can go wrong, in words for the user, and every exit code of the program.
//!
//! An [`Error`] is one sentence that names what failed, where, and why. It is printed as `remuda: SENTENCE` on
//! standard error by `lib.rs`, and by nobody else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Exit codes, of the manager and of the verbs that ask a running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Done as asked.
    Done = 0,
    /// Failed; of the manager also: a worker had to be killed.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// No running manager answers.
    NotRunning = 3,
    /// The manager understood and refuses.
    Refused = 4,
    /// The upgrade failed before any worker was replaced.
    UpgradeFailed = 5,
    /// The time given by `--timeout` is over.
    TimedOut = 6,
    /// The upgrade failed, and the workers that were replaced have the previous generation back.
    RolledBack = 7,
    /// A later upgrade took the place of this one.
    Superseded = 8,
}

impl Code {
    /// The code as a process exit status.
    pub fn status(self) -> u8 {
        self as u8
    }

    /// The code with this number, for clients that read it from a reply.
    pub fn from_status(status: u8) -> Option<Self> {
        [
            Code::Done,
            Code::Failed,
            Code::Usage,
            Code::NotRunning,
            Code::Refused,
            Code::UpgradeFailed,
            Code::TimedOut,
            Code::RolledBack,
            Code::Superseded,
        ]
        .into_iter()
        .find(|code| code.status() == status)
    }
}

/// One failure: an exit code and a sentence in lower case without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What the process exits with if nobody handles this.
    pub code: Code,
    /// `cannot bind 127.0.0.1:8080: address in use (pid 4711, nginx)`.
    pub message: String,
}

/// The result type of everything outside the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of the system or of what the user gave ([`Code::Failed`]).
    pub fn failed(message: impl Into<String>) -> Self {
        Error { code: Code::Failed, message: message.into() }
    }

    /// A command line that cannot be understood ([`Code::Usage`]).
    pub fn usage(message: impl Into<String>) -> Self {
        Error { code: Code::Usage, message: message.into() }
    }

    /// The same failure with `what: ` before it, to say where it happened.
    pub fn within(self, what: impl fmt::Display) -> Self {
        Error { code: self.code, message: format!("{what}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
