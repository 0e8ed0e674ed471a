//! What is worth telling: one value from which the log line, the JSON log line and the event stream are made.

use std::fmt;
use std::time::Duration;

use crate::plan::Level;
use crate::process::{Exit, Stage};
use crate::signame::Signal;

/// One thing that happened, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// How important it is.
    pub level: Level,
    /// Name of the group, if it is about one.
    pub group: Option<String>,
    /// The worker, if it is about one.
    pub worker: Option<Worker>,
    /// How the group stands after it.
    pub counts: Option<Counts>,
    /// What happened.
    pub what: Happening,
}

/// The worker a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Its logical place.
    pub slot: u32,
    /// Its EINHORN_CHILD_INDEX.
    pub index: u32,
    /// Its pid; 0 if there was no process.
    pub pid: i32,
    /// The generation it runs.
    pub generation: u32,
}

/// How a group stands, for progress lines: `3/4 ready, 1 draining`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Slots whose worker is ready and, in an upgrade, of the new generation.
    pub ready: u32,
    /// Workers wanted.
    pub target: u32,
    /// Workers on their way out.
    pub draining: u32,
}

/// Why a worker is asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A new one has taken its place, or is to take it.
    Replaced,
    /// Fewer are wanted.
    Scale,
    /// A restart was asked for.
    Restart,
    /// Its group, or the manager, stops.
    Stop,
    /// It did not become ready in time.
    NotReady,
    /// It belongs to an upgrade that failed or was superseded.
    Abandoned,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Replaced => "replaced",
            Reason::Scale => "scaled down",
            Reason::Restart => "restart",
            Reason::Stop => "stop",
            Reason::NotReady => "not ready in time",
            Reason::Abandoned => "upgrade abandoned",
        })
    }
}

/// What happened. [`Happening::name`] is its tag on the wire, its `Display` the sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The manager begins.
    Started,
    /// A worker was forked.
    Spawned,
    /// A worker is ready, this long after its fork.
    Ready(Duration),
    /// A worker acked although nobody waits for it, or a second time.
    AckIgnored,
    /// A worker was asked to go.
    Stopping(Signal, Reason),
    /// A worker did not go in time and was sent SIGKILL.
    Killing(Duration),
    /// A worker ended as it was asked to.
    Gone(Exit),
    /// A worker ended without being asked.
    Died(Exit, Duration),
    /// A worker could not be started: stage and errno.
    SpawnFailed(Stage, i32),
    /// The next attempt waits.
    BackOff(Duration),
    /// No more attempts after that many failures.
    GaveUp(u32),
    /// No worker of the slot is started again: its restart policy is content.
    Finished(Exit),
    /// Replacing the workers of generation `.0` by generation `.1`.
    UpgradeStarted(u32, u32),
    /// All workers are of this generation.
    UpgradeDone(u32),
    /// The upgrade to generation `.0` failed because of `.1`; generation `.2` stays.
    UpgradeFailed(u32, String, u32),
    /// The slots that were replaced have this generation back.
    RolledBack(u32),
    /// The upgrade to generation `.0` gives way to that to `.1`.
    Superseded(u32, u32),
    /// Workers are stopped and started again.
    RestartStarted,
    /// All workers were started again.
    RestartDone,
    /// The number of workers was changed.
    Scaled(u32, u32),
    /// A group is being stopped.
    GroupStopping,
    /// No worker of a stopped or finished group lives.
    GroupStopped,
    /// A stopped group is started.
    GroupStarted,
    /// The manager stops; the signal that asked for it, if it was one.
    ShuttingDown(Option<Signal>),
    /// The manager stops without waiting.
    ShuttingDownAtOnce(Option<Signal>),
    /// A signal that has no meaning now.
    SignalIgnored(Signal),
}
