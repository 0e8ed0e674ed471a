//! What stands in the way of running something, with the place where it does: whoever tells of it may ask.

use std::ffi::OsString;
use std::fmt;

use crate::error::Error;

/// What stands in the way of running something.
#[derive(Debug)]
pub(super) struct Obstacle {
    pub(super) kind: Hurdle,
    pub(super) error: Error,
    group: Option<String>,
}

/// At what it failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hurdle {
    /// To find the program, written like this, and to be allowed to execute it.
    Program(OsString),
    /// To find the user or group of workers.
    User,
    /// To open a socket.
    Socket,
    /// Anything else.
    Other,
}

impl Hurdle {
    /// A failure of this kind.
    pub(super) fn failed(self, error: Error) -> Obstacle {
        Obstacle { kind: self, error, group: None }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{group}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl Obstacle {
    /// The same failure, with where it happened.
    pub(super) fn within(self, group: &str) -> Obstacle {
        Obstacle { group: Some(group.to_owned()), ..self }
    }

    /// The error, for whoever does not ask at what it failed.
    pub(super) fn into_error(self) -> Error {
        match self.group {
            Some(group) => self.error.within(group),
            None => self.error,
        }
    }
}
