//! Where a plan comes from, if that is a file, and what is found when the file is read again. Pure data.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Family, Level, LogFormat, LogTarget, Meaning, Plan};
use crate::signame::Signal;

/// What of the manager's own affairs was said, in the file or, with more weight, on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Instance name.
    pub name: Option<String>,
    /// Control socket.
    #[serde(with = "crate::octets")]
    pub control: Option<PathBuf>,
    /// File for the manager's pid.
    #[serde(with = "crate::octets")]
    pub pidfile: Option<PathBuf>,
    /// Least important level that is logged.
    pub level: Option<Level>,
    /// Shape of log lines.
    pub format: Option<LogFormat>,
    /// Where log lines go.
    pub target: Option<LogTarget>,
    /// Whether orphans of workers are taken in.
    #[serde(default)]
    pub subreaper: Option<bool>,
    /// How long workers serve on after TERM.
    pub drain_delay: Option<Duration>,
    /// What signals mean. The last word on a signal holds.
    pub on_signal: Vec<(Signal, Meaning)>,
    /// Whose defaults hold for the groups.
    pub defaults: Option<Defaults>,
}

impl Overrides {
    /// What was said here, and where nothing was, what `other` says.
    #[must_use]
    pub fn or(self, other: Overrides) -> Overrides {
        Overrides {
            name: self.name.or(other.name),
            control: self.control.or(other.control),
            pidfile: self.pidfile.or(other.pidfile),
            level: self.level.or(other.level),
            format: self.format.or(other.format),
            target: self.target.or(other.target),
            subreaper: self.subreaper.or(other.subreaper),
            drain_delay: self.drain_delay.or(other.drain_delay),
            on_signal: [other.on_signal, self.on_signal].concat(),
            defaults: self.defaults.or(other.defaults),
        }
    }
}

/// Whose defaults hold where keys are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Defaults {
    /// remuda's.
    #[default]
    Remuda,
    /// firestarter's.
    Firestarter,
}

/// In whose manner a file is run, beyond the defaults of its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// In remuda's own.
    #[default]
    Remuda,
    /// As firestarter does it: its sockets and what is spoken there, its signals, a manager that stays when all its workers
    /// have finished, and unknown keys are passed over.
    Firestarter,
}

/// A file, and what the command line said beside it: all that a plan depends on but for what stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where the file is.
    #[serde(with = "crate::octets")]
    pub file: PathBuf,
    /// From where relative names are looked up, if not from where we are; see [`crate::plan::Plan::look_up_from`].
    #[serde(default, with = "crate::octets")]
    pub directory: Option<PathBuf>,
    /// What goes before the file's own `[remuda]`.
    #[serde(default)]
    pub overrides: Overrides,
    /// A group with an error is left out; the others are read all the same.
    #[serde(default)]
    pub keep_going: bool,
    /// In whose manner it is run.
    #[serde(default)]
    pub manner: Manner,
}

impl Source {
    /// A file with nothing said beside it.
    pub fn of(file: PathBuf) -> Source {
        let (directory, overrides) = (None, Overrides::default());
        Source { file, directory, overrides, keep_going: false, manner: Manner::Remuda }
    }
}

/// A group that is left out because something is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub group: String,
    /// What is wrong, and where: a line.
    pub why: String,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The plan.
    pub plan: Plan,
    /// Why some groups are not in it, a row for each thing that is wrong.
    pub left_out: Vec<LeftOut>,
    /// What is passed over, a line each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Addresses of the hosts that sockets are to be bound to by name, as far as somebody has looked them up.
    pub hosts: Vec<HostFound>,
}

/// What looking up a host has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFound {
    /// Its name.
    pub name: String,
    /// The port that the addresses are for.
    pub port: u16,
    /// Which addresses of it will do.
    pub family: Family,
    /// They, or why there are none.
    pub addresses: Result<Vec<SocketAddr>, String>,
}
