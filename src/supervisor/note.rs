//! What is worth telling: one value from which the log line, the JSON log line and the event stream are made.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;

use super::event::{HookKind, ProbeKind};
use super::snapshot::ExitDetail;
use crate::duration::Human;
use crate::plan::{Level, UpgradeMode};
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

impl fmt::Display for Note {
    /// The log line without its `remuda: LEVEL: `: `web[0] pid 4711 gen 2: ready after 1.003 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place { group: self.group.as_deref(), worker: self.worker };
        write!(f, "{place}{}", self.what)
    }
}

/// Whom a line is about, as it stands before the message: `web[0] pid 4711 gen 2: `, `web: `, or nothing for the
/// manager itself. The same for the log and for clients that print events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Name of the group.
    pub group: Option<&'a str>,
    /// The worker, if it is about one.
    pub worker: Option<Worker>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(group) = self.group else { return Ok(()) };
        f.write_str(group)?;
        if let Some(worker) = self.worker {
            write!(f, "[{}]", worker.slot)?;
            if worker.pid != 0 {
                write!(f, " pid {}", worker.pid)?;
            }
            write!(f, " gen {}", worker.generation)?;
        }
        f.write_str(": ")
    }
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
    /// It did not go when it was asked before.
    Stubborn,
    /// The plan does not have its group any more.
    Removed,
    /// It did not show in time that it lives.
    Silent,
    /// It did not stand its live check.
    Unwell,
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
            Reason::Stubborn => "did not go",
            Reason::Removed => "group removed",
            Reason::Silent => "no sign of life",
            Reason::Unwell => "live check failed",
        })
    }
}

/// What happened. [`Happening::name`] is its tag on the wire, its `Display` the sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The manager begins.
    Started,
    /// Somebody connects to a group that has waited for it.
    Connected,
    /// The program of a group has become another file.
    ProgramChanged,
    /// A worker was forked.
    Spawned,
    /// A worker is ready, this long after its fork.
    Ready(Duration),
    /// A worker acked although nobody waits for it, or a second time.
    AckIgnored,
    /// A worker was asked to go.
    Stopping(Signal, Reason),
    /// A worker was asked to go by its stop command.
    StopCommand(Reason),
    /// A hook was started.
    HookStarted(HookKind),
    /// A hook was content.
    HookDone(HookKind),
    /// A hook was not content, was late, or could not be run.
    HookFailed(HookKind, String),
    /// A probe of a worker was in vain, for this reason. The same reason is told once.
    ProbeFailed(ProbeKind, String),
    /// A worker stands its live check again.
    ProbePassed,
    /// A worker did not go in time and was sent SIGKILL.
    Killing(Duration),
    /// These live on of a worker that has ended, and are asked to go by this signal, if they were not before.
    LeftBehind(String, Option<Signal>),
    /// The worker is this process from here on, and was that one.
    HandedOver(i32),
    /// Nobody is left of them.
    TreeGone,
    /// The program of a worker went into the background: these live on.
    Backgrounded(String),
    /// These are in no worker's tree, and are asked to go.
    OrphansAsked(String),
    /// These have not gone, and are killed.
    OrphansKilled(String),
    /// These live on although they were killed, and nobody waits for them any longer.
    Survivors(String),
    /// A worker ended as it was asked to.
    Gone(Exit),
    /// A worker ended without being asked.
    Died(Exit, Duration, Option<ExitDetail>),
    /// A worker could not be started: stage and errno.
    SpawnFailed(Stage, i32),
    /// The next attempt waits.
    BackOff(Duration),
    /// No more attempts after that many failures.
    GaveUp(u32),
    /// No worker of the slot is started again: its restart policy is content.
    Finished(Exit),
    /// Replacing the workers of generation `.0` by generation `.1`.
    UpgradeStarted(u32, u32, UpgradeMode),
    /// The canary of generation `.0` was ready for as long as wanted, and the others follow.
    CanaryDone(u32, Duration),
    /// All workers are of this generation.
    UpgradeDone(u32),
    /// The upgrade to generation `.0` failed because of `.1`; generation `.2` stays.
    UpgradeFailed(u32, String, u32),
    /// The slots that were replaced have this generation back.
    RolledBack(u32),
    /// An upgrade waits for the end of what is under way.
    UpgradeQueued,
    /// An upgrade is not begun because of what is under way.
    UpgradeRefused,
    /// It will not be possible to go back to generation `.0`, for the reason `.1`.
    Irretrievable(u32, String),
    /// Generation `.0` is up, and its workers do not run what it ran, for the reason `.1`.
    LedAstray(u32, String),
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
    /// Workers serve on this long before the manager stops, if a signal has asked for that; else it stays.
    Draining(Option<Signal>, Duration),
    /// That time is over, and nobody has asked for a stop.
    Drained,
    /// What was said of that does not hold any more.
    DrainTakenBack,
    /// The manager is to end after that many deaths, with this code, since a group wants that.
    ExitWanted(u32, u8),
    /// Whom the stop waits for, and for how long at most.
    Awaiting(String, Option<Duration>),
    /// A signal that has no meaning now.
    SignalIgnored(Signal),
    /// The manager is to replace its own image.
    ReexecStarted,
    /// This is the new image.
    Reexeced,
    /// The image stays, for this reason.
    ReexecFailed(String),
    /// The plan is to be read again.
    ReloadStarted,
    /// One thing in which the plan that was read differs.
    PlanChanged(String),
    /// One thing that was asked for and left as it is.
    PlanKept(String),
    /// The plan was read again; in how many things it differed.
    Reloaded(u32),
    /// The plan stays as it was, for this reason, perhaps among others.
    ReloadFailed(String),
    /// The plan has a group that was not there.
    GroupAdded,
    /// The plan does not have a group any more: its workers drain.
    GroupRemoved,
    /// Nothing is left of a group that the plan does not have any more.
    GroupGone,
}

impl Happening {
    /// The tag on the wire: `"event"` of an event object (remuda-protocol(7)).
    pub fn name(&self) -> &'static str {
        match self {
            Happening::Started => "started",
            Happening::Connected => "connected",
            Happening::ProgramChanged => "program-changed",
            Happening::Spawned => "spawned",
            Happening::Ready(_) => "ready",
            Happening::AckIgnored => "ack-ignored",
            Happening::Stopping(..) | Happening::StopCommand(_) => "stopping",
            Happening::HookStarted(_) => "hook-started",
            Happening::HookDone(_) => "hook-done",
            Happening::HookFailed(..) => "hook-failed",
            Happening::ProbeFailed(..) => "probe-failed",
            Happening::ProbePassed => "probe-passed",
            Happening::Killing(_) => "killing",
            Happening::LeftBehind(..) => "left-behind",
            Happening::HandedOver(_) => "handed-over",
            Happening::TreeGone => "tree-gone",
            Happening::Backgrounded(_) => "backgrounded",
            Happening::OrphansAsked(_) | Happening::OrphansKilled(_) => "orphans",
            Happening::Survivors(_) => "survivors",
            Happening::Gone(_) => "gone",
            Happening::Died(..) => "died",
            Happening::SpawnFailed(..) => "spawn-failed",
            Happening::BackOff(_) => "back-off",
            Happening::GaveUp(_) => "gave-up",
            Happening::Finished(_) => "finished",
            Happening::UpgradeStarted(..) => "upgrade-started",
            Happening::CanaryDone(..) => "canary-done",
            Happening::UpgradeDone(_) => "upgrade-done",
            Happening::UpgradeFailed(..) => "upgrade-failed",
            Happening::RolledBack(_) => "rolled-back",
            Happening::UpgradeQueued => "upgrade-queued",
            Happening::UpgradeRefused => "upgrade-refused",
            Happening::Irretrievable(..) => "irretrievable",
            Happening::LedAstray(..) => "led-astray",
            Happening::Superseded(..) => "superseded",
            Happening::RestartStarted => "restart-started",
            Happening::RestartDone => "restart-done",
            Happening::Scaled(..) => "scaled",
            Happening::GroupStopping => "group-stopping",
            Happening::GroupStopped => "group-stopped",
            Happening::GroupStarted => "group-started",
            Happening::ShuttingDown(_) | Happening::ShuttingDownAtOnce(_) => "shutting-down",
            Happening::Draining(..) => "draining",
            Happening::Drained => "drained",
            Happening::DrainTakenBack => "drain-ended",
            Happening::ExitWanted(..) => "exit-wanted",
            Happening::Awaiting(..) => "awaiting",
            Happening::SignalIgnored(_) => "signal-ignored",
            Happening::ReexecStarted => "reexec-started",
            Happening::Reexeced => "reexec-done",
            Happening::ReexecFailed(_) => "reexec-failed",
            Happening::ReloadStarted => "reload-started",
            Happening::PlanChanged(_) => "plan-changed",
            Happening::PlanKept(_) => "plan-kept",
            Happening::Reloaded(_) => "reload-done",
            Happening::ReloadFailed(_) => "reload-failed",
            Happening::GroupAdded => "group-added",
            Happening::GroupRemoved => "group-removed",
            Happening::GroupGone => "group-gone",
        }
    }
}

impl fmt::Display for Happening {
    /// One sentence in lower case without a full stop; the place it happened at stands before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Started => f.write_str("started"),
            Happening::Connected => f.write_str("there is a connection: starting"),
            Happening::ProgramChanged => f.write_str("the program has changed"),
            Happening::Spawned => f.write_str("spawned"),
            Happening::Ready(after) => write!(f, "ready after {}", Human(*after)),
            Happening::AckIgnored => f.write_str("ack ignored: nobody waits for it"),
            Happening::Stopping(signal, reason) => write!(f, "stopping with signal {signal}: {reason}"),
            Happening::StopCommand(reason) => write!(f, "stopping by the stop command: {reason}"),
            Happening::HookStarted(hook) => write!(f, "{hook} started"),
            Happening::HookDone(hook) => write!(f, "{hook} done"),
            Happening::HookFailed(hook, why) => write!(f, "{hook} failed: {why}"),
            Happening::ProbeFailed(ProbeKind::Ready, why) => write!(f, "not ready yet: {why}"),
            Happening::ProbeFailed(ProbeKind::Live, why) => write!(f, "live check failed: {why}"),
            Happening::ProbePassed => f.write_str("live check passes again"),
            Happening::Killing(after) => write!(f, "not gone after {}: sending KILL", Human(*after)),
            Happening::LeftBehind(who, None) => write!(f, "left behind: {who}"),
            Happening::LeftBehind(who, Some(signal)) => {
                write!(f, "left behind: {who}; stopping with signal {signal}")
            }
            Happening::HandedOver(before) => {
                write!(f, "is the worker from here on, by the word of pid {before}")
            }
            Happening::TreeGone => f.write_str("nobody is left of it"),
            Happening::Backgrounded(who) => {
                write!(
                    f,
                    "the program goes into the background, where {who} lives on; run it in the foreground"
                )
            }
            Happening::OrphansAsked(who) => write!(f, "left by workers: {who}; stopping with signal TERM"),
            Happening::Survivors(who) => write!(f, "could not be killed, and left behind: {who}"),
            Happening::OrphansKilled(who) => write!(f, "left by workers and not gone: {who}; sending KILL"),
            Happening::Gone(exit) => write!(f, "gone: {}", Ending(*exit)),
            Happening::Died(exit, after, None) => {
                write!(f, "died: {} after {}", Ending(*exit), Human(*after))
            }
            Happening::Died(exit, after, Some(detail)) => {
                write!(f, "died: {} ({detail}) after {}", Ending(*exit), Human(*after))
            }
            Happening::SpawnFailed(stage, errno) => write!(f, "unable to {stage}: {}", errno_text(*errno)),
            Happening::BackOff(delay) => write!(f, "next attempt in {}", Human(*delay)),
            Happening::GaveUp(1) => f.write_str("gave up after 1 failure"),
            Happening::GaveUp(failures) => write!(f, "gave up after {failures} failures in a row"),
            Happening::Finished(exit) => write!(f, "finished: {}, not started again", Ending(*exit)),
            Happening::UpgradeStarted(from, to, _) => write!(f, "upgrading: generation {from} -> {to}"),
            Happening::CanaryDone(to, after) => {
                write!(f, "the canary of generation {to} stood {}: the others follow", Human(*after))
            }
            Happening::UpgradeDone(to) => write!(f, "upgraded: all workers are of generation {to}"),
            Happening::UpgradeFailed(to, why, stays) => {
                write!(f, "upgrade to generation {to} failed: {why}; generation {stays} stays")
            }
            Happening::RolledBack(to) => write!(f, "rolled back: all workers are of generation {to} again"),
            Happening::UpgradeQueued => {
                f.write_str("upgrade queued: it begins when what is under way has ended")
            }
            Happening::UpgradeRefused => {
                f.write_str("upgrade refused: another one or a restart is under way")
            }
            Happening::Irretrievable(generation, why) => {
                write!(f, "generation {generation} cannot be gone back to: {why}")
            }
            Happening::LedAstray(generation, why) => {
                write!(f, "generation {generation} is up, but not with the code that it had: {why}")
            }
            Happening::Superseded(from, to) => {
                write!(f, "upgrade to generation {from} gives way to generation {to}")
            }
            Happening::RestartStarted => f.write_str("restarting"),
            Happening::RestartDone => f.write_str("restarted"),
            Happening::Scaled(from, to) => write!(f, "scaling: {from} -> {to} workers"),
            Happening::GroupStopping => f.write_str("stopping"),
            Happening::GroupStopped => f.write_str("stopped"),
            Happening::GroupStarted => f.write_str("starting"),
            Happening::ShuttingDown(None) => f.write_str("shutting down gracefully"),
            Happening::ShuttingDown(Some(signal)) => write!(f, "shutting down gracefully (signal {signal})"),
            Happening::ShuttingDownAtOnce(None) => f.write_str("shutting down at once"),
            Happening::ShuttingDownAtOnce(Some(signal)) => {
                write!(f, "shutting down at once (signal {signal})")
            }
            Happening::Draining(None, time) => write!(f, "draining for {}", Human(*time)),
            Happening::Draining(Some(signal), time) => {
                write!(f, "draining: shutting down in {} (signal {signal})", Human(*time))
            }
            Happening::Drained => f.write_str("drained: serving on until a stop is asked for"),
            Happening::DrainTakenBack => f.write_str("not draining any more"),
            Happening::ExitWanted(1, code) => {
                write!(f, "everything ends with a worker, with exit code {code}")
            }
            Happening::ExitWanted(deaths, code) => {
                write!(f, "everything ends with death {deaths} of workers, with exit code {code}")
            }
            Happening::Awaiting(whom, None) => write!(f, "waiting for {whom}"),
            Happening::Awaiting(whom, Some(left)) => write!(f, "waiting for {whom}; {} left", Human(*left)),
            Happening::SignalIgnored(signal) => write!(f, "signal {signal} ignored"),
            Happening::ReexecStarted => f.write_str("re-executing"),
            Happening::Reexeced => f.write_str(concat!("re-executed: remuda ", env!("CARGO_PKG_VERSION"))),
            Happening::ReexecFailed(why) => write!(f, "not re-executed: {why}"),
            Happening::ReloadStarted => f.write_str("reloading"),
            Happening::PlanChanged(what) | Happening::PlanKept(what) => f.write_str(what),
            Happening::Reloaded(0) => f.write_str("reloaded: nothing has changed"),
            Happening::Reloaded(1) => f.write_str("reloaded: 1 change"),
            Happening::Reloaded(changes) => write!(f, "reloaded: {changes} changes"),
            Happening::ReloadFailed(why) => write!(f, "not reloaded: {why}"),
            Happening::GroupAdded => f.write_str("added"),
            Happening::GroupRemoved => f.write_str("removed: draining"),
            Happening::GroupGone => f.write_str("gone"),
        }
    }
}

/// How a process ended, within a sentence: `exit code 1`, `killed by signal KILL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending(pub Exit);

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// What an errno means, within a sentence: `no such file or directory`. Does not ask the system.
pub fn errno_text(errno: i32) -> String {
    let text = match Errno::from_raw(errno) {
        Errno::UnknownErrno => return format!("error {errno}"),
        known => known.desc(),
    };
    // "Is a directory", but "RPC version wrong": only a capital before a small letter belongs to the sentence.
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(group: Option<&str>, worker: Option<Worker>, what: Happening) -> String {
        let group = group.map(str::to_owned);
        Note { level: Level::Info, group, worker, counts: None, what }.to_string()
    }

    #[test]
    fn an_upgrade_reads_as_a_story() {
        let old = Worker { slot: 0, index: 0, pid: 4711, generation: 1 };
        let new = Worker { slot: 0, index: 1, pid: 4720, generation: 2 };
        let told = [
            note(Some("web"), None, Happening::UpgradeStarted(1, 2, UpgradeMode::Rolling)),
            note(Some("web"), Some(new), Happening::Spawned),
            note(Some("web"), Some(new), Happening::Ready(Duration::from_millis(1003))),
            note(Some("web"), Some(old), Happening::Stopping(Signal::TERM, Reason::Replaced)),
            note(Some("web"), None, Happening::UpgradeDone(2)),
            note(Some("web"), Some(old), Happening::Killing(Duration::from_secs(60))),
            note(Some("web"), Some(old), Happening::Gone(Exit::Signal(Signal::KILL))),
        ];
        assert_eq!(
            told.join("\n"),
            "web: upgrading: generation 1 -> 2\n\
             web[0] pid 4720 gen 2: spawned\n\
             web[0] pid 4720 gen 2: ready after 1.003 s\n\
             web[0] pid 4711 gen 1: stopping with signal TERM: replaced\n\
             web: upgraded: all workers are of generation 2\n\
             web[0] pid 4711 gen 1: not gone after 1 m: sending KILL\n\
             web[0] pid 4711 gen 1: gone: killed by signal KILL"
        );
    }

    #[test]
    fn a_failing_group_says_what_and_what_next() {
        let unborn = Worker { slot: 3, index: 3, pid: 0, generation: 2 };
        let worker = Worker { pid: 4711, ..unborn };
        let died = Happening::Died(Exit::Code(1), Duration::from_millis(300), None);
        assert_eq!(
            note(Some("web"), Some(worker), died),
            "web[3] pid 4711 gen 2: died: exit code 1 after 300 ms"
        );
        let failed = Happening::SpawnFailed(Stage::Exec, libc::ENOENT);
        assert_eq!(
            note(Some("web"), Some(unborn), failed),
            "web[3] gen 2: unable to execute the program: no such file or directory"
        );
        let wait = Happening::BackOff(Duration::from_millis(1500));
        assert_eq!(note(Some("web"), None, wait), "web: next attempt in 1.5 s");
        let why = "3 workers in a row died before they were ready".to_owned();
        assert_eq!(
            note(Some("web"), None, Happening::UpgradeFailed(2, why, 1)),
            "web: upgrade to generation 2 failed: 3 workers in a row died before they were ready; generation 1 stays"
        );
    }

    #[test]
    fn the_manager_itself_has_no_place() {
        assert_eq!(
            note(None, None, Happening::ShuttingDown(Some(Signal::INT))),
            "shutting down gracefully (signal INT)"
        );
    }

    #[test]
    fn errno_is_told_in_words_and_acronyms_keep_their_capitals() {
        assert_eq!(errno_text(libc::EACCES), "permission denied");
        assert_eq!(errno_text(libc::EIO), "I/O error");
        assert_eq!(errno_text(99999), "error 99999");
    }
}
