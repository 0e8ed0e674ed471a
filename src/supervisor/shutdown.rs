//! What signals to the manager mean, and the end of everything: how it begins, and with what the process then exits.
//!
//! A shutdown is sticky: what began gracefully may become more urgent, never less.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::child::{Child, Phase};
use super::command::{Reload, Wait};
use super::event::{Action, ChildId, GroupId, Mono};
use super::group::{Group, Named, Slot, Vacancy};
use super::note::Happening;
use super::{Supervisor, is_success};
use crate::plan::{ExitPolicy, Level, Meaning, UpgradeMode};
use crate::process::Exit;
use crate::signame::Signal;

/// How often it is told whom the end of everything waits for.
const WORD_EVERY: Duration = Duration::from_secs(1);

/// The end of everything, once it has begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Shutdown {
    pub(super) since: Mono,
    /// Sent to workers instead of their graceful signal.
    pub(super) signal: Option<Signal>,
    /// An interrupt was among the reasons: the next one means at once.
    pub(super) interrupted: bool,
    pub(super) at_once: bool,
    /// A worker did not go by itself.
    pub(super) killed: bool,
    /// The manager is to end as if it had failed.
    #[serde(default)]
    pub(super) failed: bool,
    /// The manager is to exit as a worker did.
    #[serde(default)]
    pub(super) code: Option<u8>,
    /// When to tell next whom it waits for.
    #[serde(default)]
    pub(super) next_word: Option<Mono>,
}

impl Supervisor {
    pub(super) fn signaled(&mut self, signal: Signal) {
        self.touch_all();
        let stopping = self.shutdown.is_some();
        match self.policy.meaning(signal) {
            Meaning::Stop => self.stop_after_drain(signal),
            Meaning::Interrupt => {
                if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.interrupted) {
                    return self.kill_all(Some(signal));
                }
                self.begin_shutdown(Some(signal));
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.interrupted = true;
                }
            }
            Meaning::StopNow => self.kill_all(Some(signal)),
            Meaning::Forward => self.stop_with(signal, signal),
            Meaning::StopWith(other) => self.stop_with(signal, other),
            Meaning::FailWith(other) => {
                self.stop_with(signal, other);
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.failed = true;
                }
            }
            Meaning::Relay => {
                for child in self.all_workers() {
                    self.act(Action::Signal { child, signal, to_group: false });
                }
            }
            Meaning::Upgrade if !stopping && self.policy.reexec_on_upgrade => {
                self.request_reexec_and_upgrade(None);
            }
            Meaning::Upgrade if !stopping => self.upgrade_all(),
            Meaning::ReopenLogs => self.act(Action::ReopenLogs { ticket: None }),
            Meaning::Reexec if !stopping => {
                // Not refused, as nothing stops; and nobody waits for it: the log tells how it ends.
                let _ = self.request_reexec();
            }
            Meaning::ReexecAndUpgrade if !stopping => self.request_reexec_and_upgrade(None),
            Meaning::Reload if !stopping => self.request_reload(None, Reload::default(), Wait::No),
            Meaning::Upgrade
            | Meaning::Reload
            | Meaning::Reexec
            | Meaning::ReexecAndUpgrade
            | Meaning::Nothing => {
                self.note_manager(Level::Info, Happening::SignalIgnored(signal));
            }
        }
    }

    /// Whoever closes the terminal wants no new workers: where HUP has another meaning than that it keeps it.
    pub(super) fn terminal_gone(&mut self) {
        match self.policy.signals.get(&Signal::HUP) {
            Some(Meaning::Upgrade | Meaning::Reload | Meaning::Reexec | Meaning::ReexecAndUpgrade) => {
                self.touch_all();
                self.begin_shutdown(Some(Signal::HUP));
            }
            _ => self.signaled(Signal::HUP),
        }
    }

    /// Upgrades every group that is not stopped. Nobody waits for it: the log tells how it ends.
    pub(super) fn upgrade_all(&mut self) {
        let _serials = self.upgrade_running(None);
    }

    /// The same in this mode, if not in that of the policy; returns the rollouts to wait for.
    pub(super) fn upgrade_running(&mut self, mode: Option<UpgradeMode>) -> Vec<(GroupId, u64)> {
        let mut serials = Vec::new();
        let running: Vec<GroupId> =
            self.planned().filter(|group| group.stopped.is_none()).map(|group| group.id).collect();
        for id in running {
            if self.refusal_to_upgrade(id).is_some() {
                self.note(id, Level::Warn, Happening::UpgradeRefused);
            } else {
                serials.push((id, self.upgrade_or_queue(id, mode)));
            }
        }
        serials
    }

    fn planned(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.is_planned())
    }

    pub(super) fn all_workers(&self) -> Vec<ChildId> {
        self.workers().map(|child| child.id).collect()
    }

    /// Counts the end of a worker that nobody asked for. If it is one too many for the policy of its group, everything
    /// ends with it, and the manager exits with this code.
    pub(super) fn ends_everything(&mut self, child: &Child, code: u8) -> bool {
        let now = self.now;
        let group = &mut self.groups[child.group.0];
        let Some(limit) = group.policy.exit_after.filter(|_| self.shutdown.is_none()) else {
            return false;
        };
        if child.ready_at.is_some() && child.ready_for(now) >= group.policy.stable_after {
            group.deaths = 0;
        }
        group.deaths = group.deaths.saturating_add(1);
        let deaths = group.deaths;
        if deaths < limit {
            return false;
        }
        self.note(child.group, Level::Error, Happening::ExitWanted(deaths, code));
        self.begin_shutdown(None);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.code = Some(code);
        }
        self.touch_all();
        true
    }

    /// Begins a graceful stop of everything; a second time changes nothing.
    pub(super) fn begin_shutdown(&mut self, signal: Option<Signal>) {
        if self.shutdown.is_none() {
            self.end_drain();
            for group in &mut self.groups {
                group.killed = Named::default();
            }
            self.shutdown = Some(Shutdown {
                since: self.now,
                signal: None,
                interrupted: false,
                at_once: false,
                killed: false,
                failed: false,
                code: None,
                next_word: self.policy.tell_awaited.then(|| self.now.after(WORD_EVERY)),
            });
            self.note_manager(Level::Info, Happening::ShuttingDown(signal));
        }
    }

    /// When it is to be told next whom the end waits for.
    pub(super) fn next_word(&self) -> Option<Mono> {
        self.shutdown.as_ref()?.next_word.filter(|_| !self.children.is_empty())
    }

    /// Tells whom the end waits for, if it is time.
    pub(super) fn tell_awaited(&mut self) {
        let now = self.now;
        let Some(shutdown) = &mut self.shutdown else { return };
        if self.children.is_empty() || shutdown.next_word.is_none_or(|at| at > now) {
            return;
        }
        shutdown.next_word = Some(now.after(WORD_EVERY));
        let whom: Named = self.children.iter().map(|child| self.name_of(child)).collect();
        let whom = whom.to_string();
        let asked = self.children.iter().filter(|child| child.phase != Phase::Killed);
        let left = asked.filter_map(|child| child.deadline).max().map(|at| at.since(now));
        let left = left.map(|left| Duration::from_secs(left.as_millis().div_ceil(1000) as u64));
        self.note_manager(Level::Info, Happening::Awaiting(whom, left));
    }

    /// A child, by its place and its pid: `web[0] pid 4711`.
    pub(super) fn name_of(&self, child: &Child) -> String {
        let what = child.hook.map_or(String::new(), |hook| format!("{hook} of "));
        format!("{what}{}[{}] pid {}", self.groups[child.group.0].name, child.slot, child.pid)
    }

    /// Stops everything with a signal of its own; those who are stopping already get it too, each time.
    fn stop_with(&mut self, received: Signal, signal: Signal) {
        self.begin_shutdown(Some(received));
        self.forward_stop(signal);
    }

    /// From here on this is the signal that asks workers to go, also those that were asked before.
    pub(super) fn forward_stop(&mut self, signal: Signal) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.signal = Some(signal);
        }
        let stopping: Vec<ChildId> =
            self.workers().filter(|child| child.phase == Phase::Stopping).map(|child| child.id).collect();
        for child in stopping {
            self.ask_by(child, signal);
        }
    }

    fn kill_all(&mut self, signal: Option<Signal>) {
        self.begin_shutdown(signal);
        let Some(shutdown) = &mut self.shutdown else { return };
        if !std::mem::replace(&mut shutdown.at_once, true) {
            self.note_manager(Level::Warn, Happening::ShuttingDownAtOnce(signal));
        }
    }

    /// Nothing of a group runs and nothing will, by the policies of the group and of the manager.
    pub(super) fn is_over(&self, group: &Group) -> bool {
        let had_some = self.next_child > ChildId(0);
        group.is_over(
            &group.views(&self.children),
            self.policy.exit_when_empty && had_some,
            self.policy.exit_when_finished,
        )
    }

    /// The status to exit with, if nothing is left to do.
    pub(super) fn exit_code(&self) -> Option<u8> {
        let hopeless = |child: &Child| child.phase == Phase::Killed && child.unkillable;
        let given_up = self.policy.ends_all && self.shutdown.is_some() && self.children.iter().all(hopeless);
        if !self.children.is_empty() && !given_up {
            return None;
        }
        if let Some(shutdown) = &self.shutdown {
            if let Some(code) = shutdown.code {
                return Some(code);
            }
            let killed = shutdown.killed && self.policy.exit == ExitPolicy::Worker;
            return Some(u8::from(killed || shutdown.failed));
        }
        // What a plan has that is not read yet may be work for those who have finished.
        if self.awaits_plan()
            || self.planned().next().is_none()
            || !self.planned().all(|group| self.is_over(group))
        {
            return None;
        }
        let mut slots = self.planned().flat_map(|group| group.slots.iter().map(move |slot| (group, slot)));
        let succeeded = |(group, slot): (&Group, &Slot)| {
            slot.vacancy == Vacancy::Finished
                && slot.last.is_some_and(|exit| is_success(&group.policy.success, exit))
        };
        if self.policy.exit == ExitPolicy::Zero {
            return Some(0);
        }
        match (slots.next(), slots.next()) {
            (Some((_, slot)), None) if self.policy.exit == ExitPolicy::Worker => Some(match slot.last {
                Some(Exit::Code(0)) if slot.vacancy != Vacancy::Finished => 1,
                Some(exit) => exit.status(),
                None => 1,
            }),
            (first, second) => Some(u8::from(!first.into_iter().chain(second).chain(slots).all(succeeded))),
        }
    }
}
