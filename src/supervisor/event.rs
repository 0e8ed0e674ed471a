//! What the machine is told and what it asks for. The driver translates between these and the system.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{Origin, Reply, Ticket, Verb};
use super::group::GroupStart;
use super::note::Note;
use super::snapshot::SocketStatus;
use crate::plan::{Hook, Level, Policy};
use crate::probe::Contact;
use crate::process::{Exit, Stage};
use crate::reading::Reading;
use crate::signame::Signal;

/// A moment: milliseconds of a clock that never goes back (CLOCK_MONOTONIC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mono(pub u64);

impl Mono {
    /// The moment `span` later; the end of time instead of an overflow.
    pub fn after(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The moment that a limit allows from this one on; never, if there is no limit.
    pub fn within(self, limit: Option<Duration>) -> Option<Mono> {
        limit.map(|span| self.after(span))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// One attempt to run a worker. Never used twice, so it outlives the reuse of a pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChildId(pub u64);

/// One preparation of a group's command, environment, directory and user. Counts from 1 within its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GenerationId(pub u32);

/// Position of a group in the table of groups: that in the first plan, and of a later one whatever was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub usize);

/// What a hook is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HookKind {
    /// To say whether an upgrade may begin.
    Preflight,
    /// To ask this worker to go.
    Stop(ChildId),
    /// To see whether this worker is well.
    Probe(ChildId),
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookKind::Preflight => "preflight",
            HookKind::Stop(_) => "stop command",
            HookKind::Probe(_) => "probe",
        })
    }
}

/// What a probe is to tell of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// Whether it has become ready.
    Ready,
    /// Whether it still serves.
    Live,
}

/// What a probe has come to. The reason ends a sentence: `connection refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The worker is well.
    Well,
    /// It is not, for this reason.
    Unwell(String),
    /// Nobody could look, for this reason: it says nothing of the worker.
    Unknown(String),
}

/// Something that happened outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Sockets are open and generation 1 of each group is prepared: begin.
    Start,
    /// The generation that workers run cannot be gone back to, although it is up: a sentence says why. Before the answer
    /// to [`Action::Prepare`].
    Irretrievable {
        /// Of this group.
        group: GroupId,
        /// Its number.
        generation: GenerationId,
        /// Why.
        reason: String,
    },
    /// Workers of a generation that are started from here on do not run what it ran: a sentence says which word leads to
    /// something else by now. Before the answer to [`Action::Prepare`] and [`Action::CheckGeneration`].
    LedAstray {
        /// Of this group.
        group: GroupId,
        /// Its number.
        generation: GenerationId,
        /// Why.
        reason: String,
    },
    /// A socket of the group is another one by now: workers that were started before get no connections.
    SocketRenewed {
        /// This group.
        group: GroupId,
    },
    /// The answer to [`Action::Prepare`] and [`Action::CheckGeneration`].
    Prepared {
        /// The group it was asked for.
        group: GroupId,
        /// The generation it was asked for.
        generation: GenerationId,
        /// A sentence if it cannot be run.
        outcome: Result<(), String>,
    },
    /// The moment of [`super::Supervisor::next_deadline`] has come. Too early is harmless.
    Timeout,
    /// A spawn got as far as a process.
    Forked {
        /// The attempt.
        child: ChildId,
        /// Its pid.
        pid: i32,
    },
    /// The program of a worker runs.
    Execed {
        /// The attempt.
        child: ChildId,
    },
    /// A spawn failed. At [`Stage::Fork`] there is no process; else `Exited` follows.
    SpawnFailed {
        /// The attempt.
        child: ChildId,
        /// The step that failed.
        stage: Stage,
        /// Why.
        errno: i32,
    },
    /// The command of a hook cannot be run: there is no process. A sentence says why.
    HookFailed {
        /// The attempt.
        child: ChildId,
        /// Why.
        why: String,
    },
    /// What a child leaves behind that is dead, if there is anything. Before [`Event::Exited`].
    Remains {
        /// Which.
        child: ChildId,
        /// What there is.
        remains: Remains,
    },
    /// A worker or a hook was reaped.
    Exited {
        /// The attempt.
        child: ChildId,
        /// How it ended.
        exit: Exit,
    },
    /// A worker was reaped, and others of its tree live. [`Event::TreeGone`] follows when none of them does any more.
    LeaderEnded {
        /// The attempt.
        child: ChildId,
        /// How it ended.
        exit: Exit,
    },
    /// A worker has handed over to another process, which is the worker from here on.
    HandedOver {
        /// The attempt.
        child: ChildId,
        /// The pid of that process.
        pid: i32,
    },
    /// Nobody is left of the tree of a worker that has ended.
    TreeGone {
        /// The attempt.
        child: ChildId,
    },
    /// A process that no worker has in its tree has become a child of ours.
    OrphanFound {
        /// Its pid.
        pid: i32,
        /// What it is, for the log.
        name: String,
    },
    /// Such a process is gone.
    OrphanGone {
        /// Its pid.
        pid: i32,
    },
    /// What the generation that is prepared runs, as [`Event::ProgramRead`] tells it. Before the answer to
    /// [`Action::Prepare`].
    ProgramPrepared {
        /// Of this group.
        group: GroupId,
        /// The number of what is there.
        program: u64,
    },
    /// The answer to [`Action::ReadProgram`].
    ProgramRead {
        /// The group.
        group: GroupId,
        /// What there is now, if it is something else. Equal numbers are equal programs.
        other: Option<u64>,
    },
    /// There is a connection or a datagram at a socket of a group that [waits](super::Supervisor::awaiting) for one.
    ListenerReadable {
        /// The group.
        group: GroupId,
    },
    /// The answer to [`Action::Probe`].
    Probed {
        /// The worker.
        child: ChildId,
        /// What was found.
        finding: Finding,
    },
    /// A worker said READY=1.
    Ready {
        /// The attempt.
        child: ChildId,
    },
    /// A worker said something else of itself.
    Said {
        /// The attempt.
        child: ChildId,
        /// What.
        word: Word,
    },
    /// For so long, up to now, the manager did not run; before all that has come meanwhile.
    Lost(Duration),
    /// The manager received a signal.
    Signaled(Signal),
    /// The manager received HUP, and the terminal that was its standard input is gone.
    TerminalGone,
    /// A client asks.
    Request {
        /// Where replies go.
        ticket: Ticket,
        /// Who asks.
        origin: Origin,
        /// What for.
        verb: Verb,
    },
    /// A client hung up; it gets no more replies.
    ClientGone(super::command::ClientId),
    /// The answer to [`Action::CheckImage`].
    ImageChecked {
        /// Which check.
        check: u64,
        /// A sentence if the image cannot go on from this state.
        outcome: Result<(), String>,
    },
    /// The answer to [`Action::ReadPlan`].
    PlanRead {
        /// Which reading.
        reload: u64,
        /// A line for each thing that is wrong.
        outcome: Result<Box<Reading>, Vec<String>>,
    },
    /// The answer to [`Action::Adopt`]: everything new can be had, or nothing was changed.
    NewPlan {
        /// Which reading.
        reload: u64,
        /// A line for each thing that stands in the way.
        outcome: Result<NewPlan, Vec<String>>,
    },
    /// The answer to [`Action::Reexec`] if it failed: the old image runs on.
    ReexecFailed(String),
    /// The answer to [`Action::Reexec`] in the new image.
    Reexeced,
}

/// How the plan that was read differs from the one in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewPlan {
    /// In words, a line for each group and each value of the manager's own.
    pub changes: Vec<String>,
    /// What was left as it is though it was asked for, a line each.
    pub left: Vec<String>,
    /// Every group there is from now on, in the order of the plan, then those that leave it.
    pub groups: Vec<(GroupId, Change)>,
}

/// What becomes of one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is new; generation 1 is prepared.
    Added(Box<GroupStart>),
    /// Nothing.
    Kept,
    /// It is another one.
    Changed {
        /// How its workers are treated. The number in it is what the plan says, not what is wanted.
        policy: Box<Policy>,
        /// Its sockets, for status.
        sockets: Vec<SocketStatus>,
        /// The number of workers, if the plan says another one than before.
        workers: Option<u32>,
        /// It needs a new generation; [`Action::Prepare`] is answered from what is already prepared.
        replace: bool,
    },
    /// It is to drain, stop and be forgotten.
    Removed,
}

/// What a dead child leaves behind, for those who ask why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Remains {
    /// An image of its memory.
    pub core_dumped: bool,
    /// It seems to have been killed for want of memory: its control group has counted one more such kill.
    pub out_of_memory: bool,
    /// Processes that it has started and that live on, each by its pid and name.
    pub left: Vec<String>,
    /// The last lines that it wrote to its standard error, where that is captured.
    pub words: Vec<String>,
}

/// What a worker says of itself, `sd_notify(3)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A line for status.
    Status(String),
    /// It calls this process the one that matters, and nobody else takes it for that.
    MainPid(i32),
    /// It goes of its own accord: its end is no failure.
    Stopping,
    /// It lives.
    Alive,
    /// It does not, in any sense that matters.
    Trigger,
    /// From now on it shows that it lives at least this often.
    AliveEvery(Duration),
    /// What it is at may last this long from now.
    Extend(Duration),
}

/// Something to be done outside, in order.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Action {
    /// Resolve program, directory, user and environment anew, unless a new plan has brought them; [`Event::Prepared`]
    /// answers.
    Prepare {
        /// Of this group.
        group: GroupId,
        /// Under this number.
        generation: GenerationId,
        /// The one to go back to if it fails; [`Event::Irretrievable`] where that will not be possible.
        from: GenerationId,
    },
    /// See whether a generation that was prepared long ago can still be run as it was; [`Event::Prepared`] answers.
    CheckGeneration {
        /// Of this group.
        group: GroupId,
        /// Its number.
        generation: GenerationId,
    },
    /// Forget a generation: no worker of it runs or will run.
    Forget {
        /// Of this group.
        group: GroupId,
        /// Its number.
        generation: GenerationId,
    },
    /// Start a worker; `Forked` and `Execed`, or `SpawnFailed`, answer.
    Spawn {
        /// The attempt.
        child: ChildId,
        /// Of this group.
        group: GroupId,
        /// With the command of this generation.
        generation: GenerationId,
        /// Its logical place.
        slot: u32,
        /// The smallest number that no living worker of the group has.
        index: u32,
    },
    /// Look whether the program of a group has become another file; [`Event::ProgramRead`] answers.
    ReadProgram {
        /// Of this group.
        group: GroupId,
        /// Than that of this generation.
        generation: GenerationId,
    },
    /// Start a hook of a group. Answered as `Spawn` is, or by `HookFailed`.
    SpawnHook {
        /// The attempt.
        child: ChildId,
        /// Of this group.
        group: GroupId,
        /// That of the worker it is about, or the one that is to come.
        generation: GenerationId,
        /// Slot of the worker it is about; else 0.
        slot: u32,
        /// Index of that worker; else 0.
        index: u32,
        /// What for.
        hook: HookKind,
        /// What is run.
        command: Hook,
    },
    /// Look at a worker, by a connection; [`Event::Probed`] answers. One at a time for each worker.
    Probe {
        /// Which.
        child: ChildId,
        /// Its group.
        group: GroupId,
        /// Its generation.
        generation: GenerationId,
        /// Its slot.
        slot: u32,
        /// Its index.
        index: u32,
        /// How.
        contact: Contact,
    },
    /// Nobody waits for the answer to [`Action::Probe`] any more.
    StopProbe {
        /// The worker.
        child: ChildId,
    },
    /// Signal a worker that is not reaped.
    Signal {
        /// Which.
        child: ChildId,
        /// With what.
        signal: Signal,
        /// Its whole process group, where it has its own.
        to_group: bool,
    },
    /// Let a worker go on that is stopped, so that it hears the signal before.
    Wake {
        /// Which.
        child: ChildId,
        /// Its whole process group, where it has its own.
        to_group: bool,
    },
    /// Look for processes that are children of ours and in no worker's tree; [`Event::OrphanFound`] tells of each.
    LookForOrphans,
    /// Signal one of those.
    SignalOrphan {
        /// Its pid.
        pid: i32,
        /// With what.
        signal: Signal,
    },
    /// Answer a request.
    Reply {
        /// Which.
        ticket: Ticket,
        /// What.
        reply: Reply,
        /// No more replies follow.
        last: bool,
    },
    /// Tell the log.
    Note(Note),
    /// Write log lines from this level on.
    SetLevel(Level),
    /// Open log files again.
    ReopenLogs {
        /// Whoever asked, to be told how that went.
        ticket: Option<Ticket>,
    },
    /// Ask the program that this process was started from whether it can go on from the state; [`Event::ImageChecked`]
    /// answers.
    CheckImage {
        /// Number of the check.
        check: u64,
    },
    /// Nobody waits for the answer of this check any more.
    StopCheck {
        /// Its number.
        check: u64,
    },
    /// Read the plan again, without waiting for it; [`Event::PlanRead`] answers.
    ReadPlan {
        /// Number of the reading.
        reload: u64,
        /// Read on where a group has an error, and leave it out.
        keep_going: bool,
    },
    /// Nobody waits for the answer of this reading any more.
    StopReading {
        /// Its number.
        reload: u64,
    },
    /// Make this the plan: open what it needs, or say why that cannot be had; [`Event::NewPlan`] answers.
    Adopt {
        /// Number of the reading.
        reload: u64,
        /// What was read.
        reading: Box<Reading>,
        /// Change nothing, but answer as if.
        dry_run: bool,
    },
    /// A group is gone for good: close what is left of it.
    ForgetGroup {
        /// Which.
        group: GroupId,
    },
    /// Replace this process's image by that program, with all state. No action follows.
    Reexec,
    /// End the process with this status: nothing is left to do.
    Exit(u8),
}
