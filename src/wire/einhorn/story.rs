//! The story of a group in einhorn's words: the lines of its log, and of an upgrade as it is told to who asked for it.

use std::time::Duration;

use super::VERSION;
use crate::duration::Human;
use crate::plan::{Level, UpgradeMode};
use crate::supervisor::note::{Ending, Happening, Note, Reason};

/// The lines about something that happens in an upgrade; none if it is no part of it.
pub(super) fn of_upgrade(note: &Note, fleet: bool) -> Vec<String> {
    let lines = match &note.what {
        Happening::Stopping(_, Reason::Replaced) if fleet => {
            [vec!["Killing off 1 old workers.".to_owned()], lines(note)].concat()
        }
        Happening::Stopping(_, Reason::Replaced) => {
            [vec!["Smooth upgrade: killing off 1 old workers.".to_owned()], lines(note)].concat()
        }
        Happening::Spawned
        | Happening::SpawnFailed(..)
        | Happening::BackOff(_)
        | Happening::Gone(_)
        | Happening::Died(..)
        | Happening::Killing(_)
        | Happening::Stopping(..)
        | Happening::UpgradeStarted(..)
        | Happening::UpgradeDone(_)
        | Happening::UpgradeFailed(..)
        | Happening::RolledBack(_)
        | Happening::Superseded(..) => lines(note),
        _ => Vec::new(),
    };
    let wrong = level(note) == Level::Error;
    lines.into_iter().map(|line| if wrong { format!("ERROR: {line}") } else { line }).collect()
}

/// How important something is in einhorn's log: there the end of a worker is an ordinary thing.
pub fn level(note: &Note) -> Level {
    match (&note.what, note.level) {
        (Happening::Spawned, _) => Level::Info,
        (_, Level::Warn) => Level::Info,
        (_, level) => level,
    }
}

/// The lines of einhorn's log about something that happened.
pub fn lines(note: &Note) -> Vec<String> {
    let pid = note.worker.map_or(0, |worker| worker.pid);
    let acks = note.counts.map(|counts| format!("Up to {} / {} ACKs", counts.ready, counts.target));
    let ended = |how: String| vec![format!("===> Exited worker {pid} ({how})")];
    match &note.what {
        Happening::Spawned => {
            let index = note.worker.map_or(0, |worker| worker.index);
            vec![format!("===> Launched {pid} (index: {index})")]
        }
        Happening::Ready(after) => {
            let up =
                format!("Worker {pid} has been up for {}, so we are considering it alive.", seconds(*after));
            [up].into_iter().chain(acks).collect()
        }
        Happening::Gone(exit) => ended(Ending(*exit).to_string()),
        Happening::Died(exit, after, _) => ended(format!("{} after {}", Ending(*exit), Human(*after))),
        Happening::BackOff(pause) => vec![format!(
            "Last spinup was a failure, and spinup_interval is {}, so not spinning up a new process before that.",
            seconds(*pause)
        )],
        Happening::Stopping(signal, _) => vec![format!("Sending {signal} to [{pid}]")],
        Happening::Killing(after) => {
            vec![format!("Child {pid} is still active after {}. Sending SIGKILL.", seconds(*after))]
        }
        Happening::UpgradeStarted(from, _, mode) => {
            let how = match mode {
                UpgradeMode::Rolling | UpgradeMode::StopFirst => "smooth",
                UpgradeMode::Fleet => "fleet",
            };
            vec![format!("Starting {how} upgrade from version {}...", from.saturating_sub(1))]
        }
        Happening::UpgradeDone(to) => {
            vec![format!("Upgraded successfully to version {} (Einhorn {VERSION}).", to.saturating_sub(1))]
        }
        Happening::Superseded(..) => {
            vec!["Currently upgrading; bumping version and starting over...".to_owned()]
        }
        Happening::ReexecStarted => vec!["Reloading einhorn master...".to_owned()],
        Happening::ReexecFailed(why) => {
            vec![format!("Can not initiate einhorn master reload safely, aborting: {why}")]
        }
        what => vec![what.to_string()],
    }
}

/// `1s`, `1.003s`.
fn seconds(span: Duration) -> String {
    format!("{}s", span.as_secs_f64())
}
