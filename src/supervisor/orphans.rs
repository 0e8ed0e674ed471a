//! Children that nobody has started and that are in no worker's tree: a worker has left them behind in a session of their
//! own. They may do as they like until everything ends; then they are asked to go, waited for, and killed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::event::{Action, Mono};
use super::group::Named;
use super::note::Happening;
use crate::plan::Level;
use crate::signame::Signal;

/// How long those that were killed are waited for: one that hangs in the kernel may never go.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How long they have where no worker has a limit.
const LONGEST: Duration = Duration::from_secs(10);

/// All that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Orphans {
    /// By pid, with what they are.
    living: Vec<(i32, String)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Phase {
    /// Nothing is wanted of them.
    #[default]
    Free,
    /// They are asked to go, whoever is there or comes, and have until then.
    Asked(Mono),
    /// They are killed, and waited for until then.
    Killed(Mono),
    /// Nobody waits for them any longer.
    GivenUp,
}

impl Orphans {
    /// How many there are, how far their end is, and until when that waits.
    pub(super) fn shape(&self) -> (usize, usize, Option<Mono>) {
        let until = Some(Mono(0));
        let (phase, until) = match self.phase {
            Phase::Free => (0, until),
            Phase::Asked(at) if !self.living.is_empty() => (1, Some(at)),
            Phase::Asked(_) => (2, until),
            Phase::Killed(at) => (3, Some(at)),
            Phase::GivenUp => (4, until),
        };
        (self.living.len(), phase, until)
    }
}

impl Supervisor {
    pub(super) fn orphan_found(&mut self, pid: i32, name: String) {
        if self.orphans.living.iter().any(|(known, _)| *known == pid) {
            return;
        }
        match self.orphans.phase {
            Phase::Free => {}
            Phase::Asked(_) => self.ask_orphan(pid, &name),
            Phase::Killed(_) | Phase::GivenUp => {
                self.act(Action::SignalOrphan { pid, signal: Signal::KILL });
            }
        }
        self.orphans.living.push((pid, name));
    }

    pub(super) fn orphan_gone(&mut self, pid: i32) {
        self.orphans.living.retain(|(known, _)| *known != pid);
    }

    fn ask_orphan(&mut self, pid: i32, name: &str) {
        self.note_manager(Level::Info, Happening::OrphansAsked(name.to_owned()));
        // One that is stopped hears it when it goes on.
        for signal in [Signal::TERM, Signal::CONT] {
            self.act(Action::SignalOrphan { pid, signal });
        }
    }

    /// When something is to be done about them next.
    pub(super) fn orphans_deadline(&self) -> Option<Mono> {
        match self.orphans.phase {
            Phase::Asked(until) | Phase::Killed(until) if !self.orphans.living.is_empty() => Some(until),
            Phase::Free | Phase::Asked(_) | Phase::Killed(_) | Phase::GivenUp => None,
        }
    }

    /// Asks them to go when everything ends, and kills those that have had their time.
    pub(super) fn watch_orphans(&mut self, ends: bool) {
        let now = self.now;
        let at_once = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.at_once);
        let ends = ends || self.shutdown.is_some();
        if !ends {
            // Somebody has started a group again meanwhile.
            self.orphans.phase = Phase::Free;
        }
        if self.orphans.phase == Phase::Free && ends {
            // Where workers have for ever, nobody else has.
            let longest = self.groups.iter().filter_map(|group| group.policy.stop_timeout).max();
            self.orphans.phase = Phase::Asked(now.after(longest.unwrap_or(LONGEST)));
            for (pid, name) in self.orphans.living.clone() {
                self.ask_orphan(pid, &name);
            }
            self.act(Action::LookForOrphans);
        }
        match self.orphans.phase {
            Phase::Asked(until) if !self.orphans.living.is_empty() && (until <= now || at_once) => {
                let who: Vec<&str> = self.orphans.living.iter().map(|(_, name)| &**name).collect();
                self.note_manager(Level::Warn, Happening::OrphansKilled(who.join(", ")));
                for (pid, _) in self.orphans.living.clone() {
                    self.act(Action::SignalOrphan { pid, signal: Signal::KILL });
                }
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.killed = true;
                }
                self.orphans.phase = Phase::Killed(now.after(LAST_WAIT));
            }
            Phase::Killed(until) if until <= now => self.orphans.phase = Phase::GivenUp,
            Phase::Free | Phase::Asked(_) | Phase::Killed(_) | Phase::GivenUp => {}
        }
    }

    /// Tells who lives on when everything has ended.
    pub(super) fn tell_survivors(&mut self) {
        let workers = self.children.iter().map(|child| self.name_of(child));
        let orphans = self.orphans.living.iter().map(|(_, name)| name.clone());
        let all: Named = workers.chain(orphans).collect();
        if !all.is_empty() {
            self.note_manager(Level::Error, Happening::Survivors(all.to_string()));
        }
    }

    /// Nobody is to be waited for.
    pub(super) fn orphans_are_settled(&self) -> bool {
        match self.orphans.phase {
            Phase::Free => false,
            Phase::Asked(_) | Phase::Killed(_) => self.actions.0.is_empty() && self.orphans.living.is_empty(),
            Phase::GivenUp => true,
        }
    }
}
