//! What becomes of everybody else once the program has ended: they are asked to go, waited for, and killed when their time
//! is over, instead of being killed by the kernel at the moment when PID 1 exits.

use std::io;
use std::time::Duration;

use crate::plan::Level;
use crate::plan::init::Init;
use crate::signame::Signal;
use crate::sys::{clock, family, holder, reap, reason};

use super::tell;

/// How long those that were killed are waited for: one that hangs in the kernel may never go.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Of how many the names are told.
const NAMED_MAX: usize = 8;

/// Everybody whom we would reap.
pub(super) struct Others {
    /// We are PID 1: they are all processes of the namespace. Otherwise they are our children.
    first: bool,
    phase: Phase,
}

enum Phase {
    /// The program runs, and they may do as they like.
    Free,
    /// They have been asked. Children that come to us later are asked when they come: these were already.
    Asked { deadline: u64, children: Vec<i32> },
    /// They are killed, whoever is left or still comes.
    Killed { deadline: u64 },
    /// Nobody waits for them any longer.
    GivenUp,
}

impl Others {
    pub(super) fn new(first: bool) -> Others {
        Others { first, phase: Phase::Free }
    }

    /// Until when they are waited for.
    pub(super) fn deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Free | Phase::GivenUp => None,
            Phase::Asked { deadline, .. } | Phase::Killed { deadline } => Some(deadline),
        }
    }

    /// Whether there is nobody to wait for.
    pub(super) fn are_gone(&self) -> bool {
        matches!(self.phase, Phase::GivenUp) || !reap::has_children().unwrap_or(false)
    }

    /// Asks them to go.
    pub(super) fn ask(&mut self, init: &Init) {
        if self.first {
            // Those that were stopped cannot hear it before they go on. That there is nobody is no error.
            for signal in [Signal::TERM, Signal::CONT] {
                complain_of(init, signal, reap::kill_namespace(signal));
            }
        }
        self.phase = Phase::Asked { deadline: after(init.stop_timeout), children: Vec::new() };
        self.pass(init);
    }

    /// Does to new children what was done to those before them. To be called whenever one may have come.
    pub(super) fn pass(&mut self, init: &Init) {
        if self.first {
            return;
        }
        match &mut self.phase {
            Phase::Free | Phase::GivenUp => {}
            Phase::Asked { children, .. } => {
                for child in living(init) {
                    if !children.contains(&child) {
                        for signal in [Signal::TERM, Signal::CONT] {
                            complain_of(init, signal, reap::kill(child, signal));
                        }
                        children.push(child);
                    }
                }
            }
            Phase::Killed { .. } => kill_children(init),
        }
    }

    /// They have had their time by somebody's wish.
    pub(super) fn hurry(&mut self) {
        if let Phase::Asked { deadline, .. } = &mut self.phase {
            *deadline = clock::now_ms();
        }
    }

    /// Goes on if their time is over.
    pub(super) fn overdue(&mut self, init: &Init) {
        if self.deadline().is_none_or(|deadline| clock::now_ms() < deadline) {
            return;
        }
        if matches!(self.phase, Phase::Killed { .. }) {
            tell(init, Level::Warn, || format!("not gone, though killed: {}", self.named()));
            self.phase = Phase::GivenUp;
            return;
        }
        tell(init, Level::Warn, || format!("asked to go and still there, killing: {}", self.named()));
        if self.first {
            complain_of(init, Signal::KILL, reap::kill_namespace(Signal::KILL));
        } else {
            kill_children(init);
        }
        self.phase = Phase::Killed { deadline: after(LAST_WAIT) };
    }

    /// `process 7 (sleep), process 8 (cat)`
    fn named(&self) -> String {
        let Ok(pids) = (if self.first { family::all_others() } else { family::children() }) else {
            return "whoever is left".to_owned();
        };
        let name = |&pid: &i32| match holder::of_pid(pid).and_then(|holder| holder.name) {
            Some(name) => format!("process {pid} ({name})"),
            None => format!("process {pid}"),
        };
        let mut names: Vec<String> = pids.iter().take(NAMED_MAX).map(name).collect();
        if pids.len() > NAMED_MAX {
            names.push(format!("{} more", pids.len() - NAMED_MAX));
        }
        names.join(", ")
    }
}

fn kill_children(init: &Init) {
    for child in living(init) {
        complain_of(init, Signal::KILL, reap::kill(child, Signal::KILL));
    }
}

/// Our children; none if nobody can tell.
fn living(init: &Init) -> Vec<i32> {
    // It is found out at less cost when there is none.
    if !reap::has_children().unwrap_or(true) {
        return Vec::new();
    }
    family::children().unwrap_or_else(|error| {
        tell(init, Level::Warn, || format!("cannot find the orphans: {}", reason(error)));
        Vec::new()
    })
}

fn complain_of(init: &Init, signal: Signal, sent: io::Result<()>) {
    if let Err(error) = sent {
        tell(init, Level::Warn, || format!("cannot send {signal} to the others: {}", reason(error)));
    }
}

fn after(time: Duration) -> u64 {
    clock::now_ms().saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
