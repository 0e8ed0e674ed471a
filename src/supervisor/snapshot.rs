//! How things stand, as told to clients: the answer to `status`. The field names are the wire's (remuda-protocol(7));
//! fields may be added, never renamed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::ProbeKind;

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
    /// Milliseconds that its drain delay has left, 0 once it is over; absent if it does not drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
    /// Processes that were its to reap without being its workers. The machine knows of none: whoever reaps says so.
    #[serde(default)]
    pub strangers: u64,
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
    /// Its generations, newest first.
    #[serde(default)]
    pub generations: Vec<GenerationStatus>,
    /// The last upgrades that have ended, oldest first.
    #[serde(default)]
    pub upgrades: Vec<UpgradeStatus>,
    /// The generation that `rollback` would go back to, if no upgrade is under way.
    #[serde(default)]
    pub rollback_to: Option<u32>,
    /// Failures in a row, of which attempts under way at once count as one.
    #[serde(default)]
    pub failures: u32,
    /// Milliseconds until the canary has stood its time; absent if there is none that is ready.
    #[serde(default)]
    pub canary_ms: Option<u64>,
    /// Milliseconds that the upgrade under way has left, if it has a limit.
    #[serde(default)]
    pub upgrade_left_ms: Option<u64>,
    /// Milliseconds until these are tried again, if back-off keeps them waiting.
    #[serde(default)]
    pub next_attempt_ms: Option<u64>,
    /// Bytes that its workers have written and that were dropped. The machine knows of none: whoever has them says so.
    #[serde(default)]
    pub dropped_bytes: u64,
    /// Descriptors that are kept for its workers, FDSTORE=1 of `sd_notify(3)`. The machine knows of none either.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fd_store: u32,
}

/// For fields that are left out where there is nothing to tell.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// One generation of which workers live, or that may be wanted again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Its number.
    pub generation: u32,
    /// What it is to the group.
    pub role: GenerationRole,
    /// Milliseconds since it was asked for.
    pub since_ms: u64,
    /// Its workers that are ready.
    pub ready: u32,
    /// Its workers that are not ready yet.
    pub starting: u32,
    /// Its workers that are on their way out.
    pub draining: u32,
    /// Milliseconds since the first of these was asked to go.
    pub draining_ms: Option<u64>,
}

/// What a generation is to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationRole {
    /// It is up, or is to be.
    Current,
    /// Being upgraded to.
    New,
    /// Being upgraded from.
    Old,
    /// The last good one before the current one.
    Previous,
    /// Only its workers are left.
    Leaving,
}

impl GenerationRole {
    /// As on the wire: `current`.
    pub fn name(self) -> &'static str {
        match self {
            GenerationRole::Current => "current",
            GenerationRole::New => "new",
            GenerationRole::Old => "old",
            GenerationRole::Previous => "previous",
            GenerationRole::Leaving => "leaving",
        }
    }
}

/// An upgrade that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// The generation before.
    pub from: u32,
    /// The one that was asked for.
    pub to: u32,
    /// How it ended.
    pub result: UpgradeResult,
    /// The same in a sentence.
    pub message: String,
    /// Milliseconds since then.
    pub ago_ms: u64,
    /// Milliseconds from the request until then.
    pub took_ms: u64,
}

/// How an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeResult {
    /// The generation is up.
    Done,
    /// It failed, and the generation before is back.
    RolledBack,
    /// It failed before a worker was replaced, or the generation before does not start either.
    Failed,
    /// Another one took its place.
    Superseded,
    /// The group, or the manager, was stopped; or it was refused.
    Ended,
}

impl UpgradeResult {
    /// As on the wire: `rolled-back`.
    pub fn name(self) -> &'static str {
        match self {
            UpgradeResult::Done => "done",
            UpgradeResult::RolledBack => "rolled-back",
            UpgradeResult::Failed => "failed",
            UpgradeResult::Superseded => "superseded",
            UpgradeResult::Ended => "ended",
        }
    }
}

/// A worker that was not asked to go and did, or was not ready in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureStatus {
    /// What happened: `died: exit code 1 after 20 ms`.
    pub message: String,
    /// Its generation.
    pub generation: u32,
    /// Its pid; 0 if there was no process.
    pub pid: i32,
    /// Milliseconds since then.
    pub ago_ms: u64,
    /// The last lines that it wrote to its standard error, where that is captured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stderr: Vec<String>,
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
    /// What more there is to say of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit_detail: Option<ExitDetail>,
    /// The last failure in this slot.
    #[serde(default)]
    pub last_failure: Option<FailureStatus>,
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
    /// What more there is to say of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit_detail: Option<ExitDetail>,
    /// What it says of itself: STATUS of `sd_notify(3)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The process of its that it calls the main one, where that is not the one that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_pid: Option<i32>,
    /// The last failure in this slot.
    #[serde(default)]
    pub last_failure: Option<FailureStatus>,
    /// Milliseconds until it has to have done what it is waited for: to get ready, or to go.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// Descriptors that are kept for its slot. The machine knows of none: whoever keeps them says so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fd_store: u32,
    /// The last probe of it, if that was in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeStatus>,
}

/// A probe of a worker that was in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// What it was to tell.
    pub kind: ProbeKind,
    /// Why it was in vain: `connection refused`.
    pub message: String,
    /// How many were in a row.
    pub count: u32,
    /// Milliseconds since then.
    pub ago_ms: u64,
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

/// What more there is to say of how a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitDetail {
    /// The kernel has written an image of it, `core(5)`.
    CoreDumped,
    /// The kernel has killed it for want of memory.
    OutOfMemory,
}

impl fmt::Display for ExitDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExitDetail::CoreDumped => "core dumped",
            ExitDetail::OutOfMemory => "out of memory",
        })
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
