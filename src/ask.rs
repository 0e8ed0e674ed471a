//! What one invocation of a verb asks of a running manager: the input of `client`, as the plan is that of `driver`.
//! Pure data.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::Level;
use crate::signame::Signal;

/// A verb with everything that was said about it on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Instance name of the manager; the only one running if absent.
    pub name: Option<String>,
    /// Its control socket, if it is not at the place that the name says.
    pub control: Option<PathBuf>,
    /// What is asked.
    pub verb: AskVerb,
    /// Which group, or a pattern of names; all if absent, the manager itself for [`AskVerb::Stop`].
    pub group: Option<String>,
    /// Wait until what was asked for is so.
    pub wait: bool,
    /// Wait also until the workers that were replaced are gone.
    pub drained: bool,
    /// How long to wait at most; without end if absent.
    pub timeout: Option<Duration>,
    /// Print what the manager answers as JSON, one object a line.
    pub json: bool,
    /// Print nothing but errors.
    pub quiet: bool,
}

/// What a probe of a container asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether requests are to be sent to it.
    Ready {
        /// Only with all workers, and not with one of each group.
        all: bool,
    },
    /// Whether it is to be left running.
    Live,
}

/// A line shell of another program: commands go to a manager as they are typed, answers come back as they are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// The control socket of the manager.
    pub socket: PathBuf,
    /// The one command to give; those on standard input if absent.
    pub execute: Option<String>,
}

/// What is asked of a manager by a signal, and how its files tell that it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// SIGHUP, until all workers are of a newer generation.
    Restart {
        /// Says who the manager is.
        pidfile: PathBuf,
        /// Says which generations there are.
        status_file: PathBuf,
    },
    /// SIGTERM, until the manager is gone.
    Stop {
        /// Says who the manager is.
        pidfile: PathBuf,
    },
}

/// What firestarter's client is to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ctrl {
    /// The control socket of the manager; where firestarter has it if absent.
    pub socket: Option<PathBuf>,
    /// What is asked.
    pub verb: CtrlVerb,
}

/// The subcommands of firestarter's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CtrlVerb {
    /// The names of the groups.
    List,
    /// How all of them stand.
    Status,
    /// The end of the manager.
    Stop,
    /// Something to be done with one of them.
    Group {
        /// Its name.
        name: String,
        /// `start`, `upgrade` and so on.
        command: String,
        /// A signal for its workers, `SIGHUP`, instead of the usual one.
        signal: Option<String>,
    },
}

/// The verbs, with the operand of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskVerb {
    /// How things stand.
    Status,
    /// What is waited for, and what went wrong; in one slot, if there is a number.
    Why(Option<u32>),
    /// Replace the workers by a new generation.
    Upgrade,
    /// Go back to the last good generation.
    RollBack,
    /// Wait for the workers of a generation that are on their way out, or kill them.
    Drain {
        /// Its number.
        generation: u32,
        /// Kill them.
        now: bool,
    },
    /// Serve on for a while without wanting to be asked.
    DrainManager {
        /// How long; as the manager was told at its start if absent.
        delay: Option<Duration>,
    },
    /// Stop the workers, then start them, in the same generation.
    Restart,
    /// Start groups that were stopped.
    Start,
    /// Stop a group; without a group, end the manager.
    Stop,
    /// Exactly this many workers.
    Scale(u32),
    /// This many workers more.
    Inc(u32),
    /// This many workers fewer.
    Dec(u32),
    /// Send workers a signal.
    Signal(Signal),
    /// Log from this level on.
    LogLevel(Level),
    /// Open the logs of workers again.
    Reopen,
    /// Replace the manager's own image, keeping everything else.
    Reexec,
    /// Read the groups file again, and change what is different in it.
    Reload {
        /// Tell what is different, and change nothing.
        dry_run: bool,
        /// Groups with an error stay as they are, and the others change all the same.
        keep_going: bool,
    },
    /// Every state change from this moment on, without end.
    Events,
    /// Name and version of the running manager.
    Version,
    /// Is anybody there.
    Ping,
    /// Whether it is well, to be told by the exit code.
    Probe(Probe),
    /// A worker is ready: the one with this pid, else the one that asks.
    Ack(Option<i32>),
}
