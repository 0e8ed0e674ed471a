//! What clients ask and what they are answered, free of any wire format.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{Account, Deed};
use super::event::GenerationId;
use super::foreign::{Foreign, Inspection};
use super::note::Note;
use super::snapshot::Status;
use crate::error::Code;
use crate::plan::Level;
use crate::signame::Signal;
#[cfg(doc)]
use crate::wildcard;

/// One connection to the control socket. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u64);

/// One request of one connection: where its replies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The connection.
    pub client: ClientId,
    /// Counts the requests of the connection.
    pub request: u64,
}

/// Who asks, as the kernel tells (SO_PEERCRED) and the driver looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The process that connected.
    pub pid: i32,
    /// Its process group, 0 if unknown.
    pub process_group: i32,
    /// Root or the manager's own user, on the main socket. Others may only ack and ping, for themselves.
    pub trusted: bool,
}

/// How long a verb waits before its last reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Wait {
    /// Not at all: accepted is enough.
    No,
    /// Until what was asked for is so.
    #[default]
    Done,
    /// And until the workers that were replaced are gone.
    Drained,
    /// Until it is so, or what has taken its place is; every state change on the way is told.
    Told,
}

/// A new number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scale {
    /// Exactly this many.
    To(u32),
    /// This many more.
    Up(u32),
    /// This many fewer.
    Down(u32),
}

/// Which groups: all, the one of that name, or those whose names fit a pattern ([`wildcard`]).
pub type Selector = Option<String>;

/// How the plan is to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reload {
    /// Tell what is different, and change nothing.
    pub dry_run: bool,
    /// A group with an error stays as it is, or is left out; the others change all the same.
    pub keep_going: bool,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// How things stand.
    Status(Selector),
    /// Name and version of the program.
    Version,
    /// Is anybody there.
    Ping,
    /// Every state change from this moment on, without end.
    Events(Selector),
    /// Replace the workers by a new generation.
    Upgrade(Selector, Wait),
    /// Go back to the last good generation.
    RollBack(Selector, Wait),
    /// Serve on, for this long or for that of the policy, while not wanting to be asked.
    DrainManager(Option<Duration>, Wait),
    /// Wait for the workers of a generation that are on their way out, or kill them if the flag says so.
    Drain(Selector, GenerationId, bool, Wait),
    /// Stop the workers, then start them, in the same generation.
    Restart(Selector, Wait),
    /// Start groups that were stopped.
    Start(Selector, Wait),
    /// Stop groups; without a name, end the manager.
    Stop(Selector, Wait),
    /// Change the number of workers.
    Scale(Selector, Scale, Wait),
    /// Send workers a signal, without any other consequence.
    Signal(Selector, Signal),
    /// Change what is logged.
    LogLevel(Level),
    /// Open the logs of workers again.
    Reopen,
    /// A worker is ready: the one with this pid, or the one that asks.
    Ack(Option<i32>),
    /// A worker is alive: the one with this pid, or the one that asks. What it says with it is shown to whoever looks.
    Heartbeat(Option<i32>, String),
    /// Replace the manager's own image, keeping workers, sockets and connections.
    Reexec(Wait),
    /// Read the plan again, and change what is different.
    Reload(Reload, Wait),
    /// Do something and tell which workers have come and gone by it; those that are to go may be sent another signal.
    Account(Deed, Selector, Option<Signal>),
    /// A worker of this group is ready: the one that asks or, where that is not known, the one waited for longest. The old
    /// worker whose place it takes may be sent another signal.
    AckIn(String, Option<Signal>),
    /// What only the protocols of other programs have.
    Foreign(Foreign),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done as asked, with a sentence where there is something to say.
    Done(String),
    /// Accepted: the number of workers wanted, over all groups meant, is another one, or the same.
    Scaled {
        /// Before.
        from: u32,
        /// From now on.
        to: u32,
        /// As for [`Reply::Done`].
        message: String,
    },
    /// Not done.
    Failed(Code, String),
    /// The answer to [`Verb::Reload`], or its beginning: what is different, a line each.
    Changes {
        /// The lines.
        changes: Vec<String>,
        /// As for [`Reply::Done`].
        message: String,
    },
    /// Not done, for more than one reason, or with more to say of it.
    Rejected {
        /// As for [`Reply::Failed`].
        code: Code,
        /// What all of it comes to.
        error: String,
        /// The reasons, or what a worker that failed wrote last, a line each.
        errors: Vec<String>,
    },
    /// The answer to [`Verb::Status`].
    Status(Box<Status>),
    /// The answer to [`Verb::Version`]: `remuda 0.1.0`.
    Version(String),
    /// The answer to [`Verb::Account`], a group each, unless it was refused.
    Accounts(Vec<Account>),
    /// From this level on is logged by now.
    Level(Level),
    /// The answer to [`Foreign::Inspect`].
    Inspection(Box<Inspection>),
    /// One state change, for [`Verb::Events`] and [`Wait::Told`].
    Event(Box<Note>),
}
