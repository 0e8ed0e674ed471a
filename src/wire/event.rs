//! One note as one JSON object: a line of the event stream, and a line of the log under `--log-format json`.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::LastExit;
use crate::process::Exit;
use crate::supervisor::note::{Happening, Note, errno_text};

/// The object for a note. Fields that do not apply are absent, the others stand in this order.
#[derive(Debug, Default, Serialize)]
pub struct EventObject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    event: &'a str,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<u32>,
    #[serde(flatten)]
    detail: Detail,
    message: String,
}

/// What some happenings have to say beyond the place.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Detail {
    /// The inner `None` is `null`: gone, and nobody can say how.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<Option<LastExit>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_once: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<String>,
}

impl<'a> EventObject<'a> {
    /// The object for `note`, without time and id.
    pub fn new(note: &'a Note) -> Self {
        EventObject {
            event: note.what.name(),
            level: note.level.name(),
            group: note.group.as_deref(),
            slot: note.worker.map(|worker| worker.slot),
            index: note.worker.map(|worker| worker.index),
            pid: note.worker.map(|worker| worker.pid),
            generation: note.worker.map(|worker| worker.generation),
            ready: note.counts.map(|counts| counts.ready),
            target: note.counts.map(|counts| counts.target),
            draining: note.counts.map(|counts| counts.draining),
            detail: Detail::of(&note.what),
            message: note.what.to_string(),
            ..EventObject::default()
        }
    }

    /// With `"time"` in front, RFC 3339, for the log.
    pub fn at(mut self, time: &'a str) -> Self {
        self.time = Some(time);
        self
    }

    /// With the `"id"` of the request that asked for events.
    pub(super) fn echoing(mut self, id: Option<&'a RawValue>) -> Self {
        self.id = id;
        self
    }

    /// The object as one line, without its end.
    pub fn to_line(&self) -> String {
        super::native::to_json(self)
    }
}

impl Detail {
    fn of(what: &Happening) -> Self {
        let none = Detail::default();
        match what {
            Happening::Ready(after) | Happening::Killing(after) => {
                Detail { after_ms: Some(milliseconds(*after)), ..none }
            }
            Happening::Stopping(signal, reason) => {
                Detail { signal: Some(signal.to_string()), reason: Some(reason.to_string()), ..none }
            }
            Happening::StopCommand(reason) => Detail { reason: Some(reason.to_string()), ..none },
            Happening::HookStarted(hook) | Happening::HookDone(hook) => {
                Detail { hook: Some(hook.to_string()), ..none }
            }
            Happening::HookFailed(hook, why) => {
                Detail { hook: Some(hook.to_string()), error: Some(why.clone()), ..none }
            }
            Happening::ProbeFailed(_, why) => Detail { error: Some(why.clone()), ..none },
            Happening::ProbePassed => none,
            Happening::Gone(exit) | Happening::Finished(exit) => Detail { exit: Some(ending(*exit)), ..none },
            Happening::Died(exit, after, _) => {
                Detail { exit: Some(ending(*exit)), after_ms: Some(milliseconds(*after)), ..none }
            }
            Happening::SpawnFailed(stage, errno) => Detail {
                stage: Some(stage.to_string()),
                errno: Some(*errno),
                error: Some(errno_text(*errno)),
                ..none
            },
            Happening::BackOff(delay) => Detail { delay_ms: Some(milliseconds(*delay)), ..none },
            Happening::GaveUp(failures) => Detail { failures: Some(*failures), ..none },
            Happening::CanaryDone(to, after) => {
                Detail { to: Some(*to), after_ms: Some(milliseconds(*after)), ..none }
            }
            Happening::UpgradeDone(to) | Happening::RolledBack(to) => Detail { to: Some(*to), ..none },
            Happening::UpgradeFailed(to, why, stays) => {
                Detail { from: Some(*stays), to: Some(*to), error: Some(why.clone()), ..none }
            }
            Happening::UpgradeStarted(from, to, _)
            | Happening::Superseded(from, to)
            | Happening::Scaled(from, to) => Detail { from: Some(*from), to: Some(*to), ..none },
            Happening::ShuttingDown(signal) => {
                Detail { signal: signal.map(|signal| signal.to_string()), at_once: Some(false), ..none }
            }
            Happening::ShuttingDownAtOnce(signal) => {
                Detail { signal: signal.map(|signal| signal.to_string()), at_once: Some(true), ..none }
            }
            Happening::Draining(signal, delay) => Detail {
                signal: signal.map(|signal| signal.to_string()),
                delay_ms: Some(milliseconds(*delay)),
                ..none
            },
            Happening::ReexecFailed(why) | Happening::ReloadFailed(why) => {
                Detail { error: Some(why.clone()), ..none }
            }
            Happening::Irretrievable(from, why) | Happening::LedAstray(from, why) => {
                Detail { from: Some(*from), error: Some(why.clone()), ..none }
            }
            Happening::SignalIgnored(signal) => Detail { signal: Some(signal.to_string()), ..none },
            Happening::ExitWanted(deaths, code) => {
                Detail { exit: Some(Some(LastExit::Code(*code))), failures: Some(*deaths), ..none }
            }
            Happening::Awaiting(_, left) => Detail { delay_ms: left.map(milliseconds), ..none },
            Happening::LeftBehind(_, signal) => {
                Detail { signal: signal.map(|signal| signal.to_string()), ..none }
            }
            Happening::HandedOver(before) => Detail { from: Some(before.unsigned_abs()), ..none },
            Happening::Backgrounded(_)
            | Happening::TreeGone
            | Happening::OrphansAsked(_)
            | Happening::OrphansKilled(_)
            | Happening::Survivors(_) => none,
            Happening::UpgradeQueued | Happening::UpgradeRefused => none,
            Happening::Drained | Happening::DrainTakenBack => none,
            Happening::Started
            | Happening::Connected
            | Happening::ProgramChanged
            | Happening::Spawned
            | Happening::AckIgnored
            | Happening::RestartStarted
            | Happening::RestartDone
            | Happening::GroupStopping
            | Happening::GroupStopped
            | Happening::GroupStarted
            | Happening::ReexecStarted
            | Happening::Reexeced
            | Happening::ReloadStarted
            | Happening::PlanChanged(_)
            | Happening::PlanKept(_)
            | Happening::Reloaded(_)
            | Happening::GroupAdded
            | Happening::GroupRemoved
            | Happening::GroupGone => none,
        }
    }
}

fn ending(exit: Exit) -> Option<LastExit> {
    match exit {
        Exit::Code(code) => Some(LastExit::Code(code)),
        Exit::Signal(signal) => Some(LastExit::Signal(signal.to_string())),
        Exit::Unknown => None,
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Level;
    use crate::process::Stage;
    use crate::signame::Signal;
    use crate::supervisor::note::{Counts, Reason, Worker};

    fn line(what: Happening) -> String {
        let note = Note { level: Level::Info, group: None, worker: None, counts: None, what };
        EventObject::new(&note).to_line()
    }

    #[test]
    fn a_worker_event_has_all_of_its_place() {
        let note = Note {
            level: Level::Info,
            group: Some("web".to_owned()),
            worker: Some(Worker { slot: 0, index: 4, pid: 12, generation: 2 }),
            counts: Some(Counts { ready: 3, target: 4, draining: 1 }),
            what: Happening::Ready(Duration::from_millis(1003)),
        };
        assert_eq!(
            EventObject::new(&note).at("2026-11-21T11:45:00.000Z").to_line(),
            r#"{"time":"2026-11-21T11:45:00.000Z","event":"ready","level":"info","group":"web","slot":0,"index":4,"#
                .to_owned()
                + r#""pid":12,"generation":2,"ready":3,"target":4,"draining":1,"after_ms":1003,"#
                + r#""message":"ready after 1.003 s"}"#
        );
    }

    #[test]
    fn what_does_not_apply_is_absent_and_an_unknown_exit_is_null() {
        assert_eq!(line(Happening::Started), r#"{"event":"started","level":"info","message":"started"}"#);
        assert_eq!(
            line(Happening::Gone(Exit::Unknown)),
            r#"{"event":"gone","level":"info","exit":null,"message":"gone: exit status unknown"}"#
        );
        assert_eq!(
            line(Happening::Stopping(Signal::TERM, Reason::Replaced)),
            r#"{"event":"stopping","level":"info","signal":"TERM","reason":"replaced","#.to_owned()
                + r#""message":"stopping with signal TERM: replaced"}"#
        );
        assert_eq!(
            line(Happening::SpawnFailed(Stage::Exec, libc::EACCES)),
            r#"{"event":"spawn-failed","level":"info","stage":"execute the program","errno":13,"#.to_owned()
                + r#""error":"permission denied","message":"unable to execute the program: permission denied"}"#
        );
    }
}
