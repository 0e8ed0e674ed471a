//! How things stand, as told to clients: the answer to `status`. The field names are the wire's (remuda-protocol(7));
//! fields may be added, never renamed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The whole manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this layout: 1.
    pub version: u32,
    /// The manager's pid.
    pub pid: i32,
    /// Its instance name.
    pub name: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Its groups, in the order of the plan.
    pub groups: Vec<GroupStatus>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// Number of workers wanted.
    pub target: u32,
    /// The generation that new workers get, from 1.
    pub generation: u32,
    /// What it is about.
    pub state: GroupState,
    /// Its sockets, in the order of their descriptors.
    pub sockets: Vec<SocketStatus>,
    /// Its workers, by slot, those on their way out after the current one.
    pub workers: Vec<WorkerStatus>,
    /// Its slots that no worker fills.
    #[serde(default)]
    pub vacant: Vec<VacantSlot>,
    /// Milliseconds since its first worker was started; absent if none was yet.
    #[serde(default)]
    pub age_ms: Option<u64>,
    /// Milliseconds until these are tried again, if back-off keeps them waiting.
    #[serde(default)]
    pub next_attempt_ms: Option<u64>,
    /// Bytes that its workers have written and that were dropped. The machine knows of none: whoever has them says so.
    #[serde(default)]
    pub dropped_bytes: u64,
}

/// A slot without a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VacantSlot {
    /// Its number.
    pub slot: u32,
    /// As that of a worker.
    pub restarts: u32,
    /// How its last worker ended.
    pub last_exit: Option<LastExit>,
}

/// What a group is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    /// No worker is started yet: it waits for its time, or for a connection.
    Waiting,
    /// Workers are missing or not ready yet.
    Starting,
    /// All workers are ready.
    Up,
    /// Workers are being replaced by another generation.
    Upgrading,
    /// Asked to stop, and some workers still live.
    Stopping,
    /// Asked to stop, or finished, and no worker lives.
    Stopped,
    /// Workers die before they are ready; the next attempt waits.
    Failing,
}

impl GroupState {
    /// As on the wire: `up`.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Waiting => "waiting",
            GroupState::Starting => "starting",
            GroupState::Up => "up",
            GroupState::Upgrading => "upgrading",
            GroupState::Stopping => "stopping",
            GroupState::Stopped => "stopped",
            GroupState::Failing => "failing",
        }
    }
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketStatus {
    /// Its name, as in LISTEN_FDNAMES.
    pub name: String,
    /// Where it is bound: `127.0.0.1:8080`, `unix:/run/web.sock`.
    pub address: String,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its logical place.
    pub slot: u32,
    /// Its EINHORN_CHILD_INDEX.
    pub index: u32,
    /// Its pid; 0 before the fork.
    pub pid: i32,
    /// The generation it runs.
    pub generation: u32,
    /// Where it is in its life.
    pub phase: WorkerPhase,
    /// Milliseconds in this phase.
    pub since_ms: u64,
    /// How often this slot was filled again after an unasked death.
    pub restarts: u32,
    /// How the previous worker of this slot ended.
    pub last_exit: Option<LastExit>,
    /// What it says of itself: STATUS of `sd_notify(3)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerPhase {
    /// Forked, or running and not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Asked to go.
    Stopping,
    /// Killed and not reaped yet.
    Killed,
}

impl WorkerPhase {
    /// As on the wire: `ready`.
    pub fn name(self) -> &'static str {
        match self {
            WorkerPhase::Starting => "starting",
            WorkerPhase::Ready => "ready",
            WorkerPhase::Stopping => "stopping",
            WorkerPhase::Killed => "killed",
        }
    }
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastExit {
    /// With this exit code.
    Code(u8),
    /// By this signal: `TERM`.
    Signal(String),
    /// It never ran: the sentence says why.
    Spawn(String),
    /// Gone, and nobody can say how.
    Unknown(()),
}

impl fmt::Display for LastExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastExit::Code(code) => write!(f, "exit code {code}"),
            LastExit::Signal(name) => write!(f, "killed by signal {name}"),
            LastExit::Spawn(why) => f.write_str(why),
            LastExit::Unknown(()) => f.write_str("unknown"),
        }
    }
}
