//! Hooks: commands that run beside the workers, each for one purpose, each with a deadline.
//!
//! A hook is a row of the table of children like a worker's, forked, watched and reaped in the same way; it only stands in
//! no slot. It goes through `Spawning`, `Starting` (its program runs) and, if it is late or no longer wanted, `Killed` or
//! `Stopping` and then `Killed`. Its end is all that is asked of it: an exit with 0 is success, everything else is not.
//!
//! * The **preflight** runs before an upgrade touches anything, and before what the upgrade will run is looked up. If it
//!   fails, or does not end in time, so does the upgrade. One runs at a time a group: a later upgrade ends the one under
//!   way and runs its own afterwards. With a period it runs by itself, and its success begins an upgrade.
//! * A **probe** looks at one worker; see [`probe`](super::probe).
//! * The **stop command** asks one worker to go, in place of the graceful signal. It has as long as the worker has. If it
//!   fails, the worker is sent the signal after all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::child::{Child, Phase};
use super::event::{Action, ChildId, Finding, GenerationId, GroupId, HookKind, Mono};
use super::group::Group;
use super::note::{Ending, Happening};
use super::waiter::Outcome;
use crate::duration::Human;
use crate::error::Code;
use crate::plan::{Hook, Level, Policy};
use crate::process::Exit;
use crate::signame::Signal;

/// Where the preflight of a group stands, if one is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Preflight {
    /// It is to run as soon as no other does.
    Due,
    /// It runs.
    Running(ChildId),
}

impl Group {
    /// Whether an upgrade on request begins with the preflight.
    pub(super) fn has_preflight(&self) -> bool {
        let policy = self.planned_policy();
        self.stopped.is_none() && policy.preflight.is_some() && policy.preflight_every.is_none()
    }

    /// The period in which the preflight runs by itself.
    fn period(&self) -> Option<Duration> {
        let policy = self.planned_policy();
        policy.preflight.as_ref().and(policy.preflight_every)
    }

    /// A preflight runs for a generation that is to come: it is the one of the plan.
    fn planned_policy(&self) -> &Policy {
        self.policy_of(self.newest)
    }
}

impl Supervisor {
    /// Every worker, oldest first.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Child> {
        self.children.iter().filter(|child| child.hook.is_none())
    }

    /// Every worker of a group, oldest first.
    pub(super) fn workers_of(&self, id: GroupId) -> impl Iterator<Item = &Child> {
        self.workers().filter(move |child| child.group == id)
    }

    /// Nothing of a group lives, be it a worker or a hook.
    pub(super) fn is_deserted(&self, id: GroupId) -> bool {
        !self.children.iter().any(|child| child.group == id)
    }

    pub(super) fn run_hook(
        &mut self,
        id: GroupId,
        hook: HookKind,
        generation: GenerationId,
        (slot, index): (u32, u32),
        deadline: Option<Mono>,
        command: Hook,
    ) -> ChildId {
        let child = self.enlist(id, generation, (slot, index), Some(hook), deadline);
        self.act(Action::SpawnHook { child, group: id, generation, slot, index, hook, command });
        child
    }

    /// Starts the command that asks a worker to go, which has as long as the worker has.
    pub(super) fn run_stop_hook(&mut self, worker: ChildId) {
        let Some(child) = self.child(worker) else { return };
        let (group, generation, place) = (child.group, child.generation, (child.slot, child.index));
        let deadline = child.deadline;
        let Some(command) = self.groups[group.0].policy_of(generation).stop_hook.clone() else { return };
        self.run_hook(group, HookKind::Stop(worker), generation, place, deadline, command);
    }

    /// Starts the preflight that an upgrade waits for, or that is due by its period.
    pub(super) fn start_preflight(&mut self, id: GroupId) {
        let (now, settling) = (self.now, self.is_settling());
        let group = &mut self.groups[id.0];
        let runs = |child: &Child| child.group == id && child.hook == Some(HookKind::Preflight);
        if settling || self.children.iter().any(runs) {
            return;
        }
        if group.next_preflight.is_none() {
            group.next_preflight = group.period().map(|period| now.after(period));
        }
        let generation = match (group.preflight, group.preparing) {
            (Some(Preflight::Due), Some((generation, _))) => generation,
            (None, None) if group.rollout.is_none() && group.next_preflight.is_some_and(|at| at <= now) => {
                group.generation
            }
            _ => return,
        };
        let policy = group.planned_policy();
        let deadline = Some(now.after(policy.preflight_timeout));
        let Some(command) = policy.preflight.clone() else { return };
        let child = self.run_hook(id, HookKind::Preflight, generation, (0, 0), deadline, command);
        let group = &mut self.groups[id.0];
        // The period begins again when this one has ended.
        group.next_preflight = None;
        if group.preflight.is_some() {
            group.preflight = Some(Preflight::Running(child));
        }
        self.note(id, Level::Info, Happening::HookStarted(HookKind::Preflight));
    }

    /// When the preflight of a group runs by itself; never while it could not.
    pub(super) fn next_preflight(&self, group: &Group) -> Option<Mono> {
        let idle = group.stopped.is_none() && group.rollout.is_none() && group.preparing.is_none();
        group.next_preflight.filter(|_| idle && self.shutdown.is_none() && !self.is_settling())
    }

    /// Nobody waits for the preflight of a group any more, nor for the upgrade that it was to begin.
    pub(super) fn give_up_preflight(&mut self, id: GroupId) {
        let group = &mut self.groups[id.0];
        group.next_preflight = None;
        if group.preflight.take().is_some() {
            group.preparing = None;
        }
        self.cancel_preflight(id);
    }

    /// Asks the preflight of a group that runs to end.
    fn cancel_preflight(&mut self, id: GroupId) {
        let is_running = |child: &&Child| child.group == id && child.hook == Some(HookKind::Preflight);
        let running: Vec<ChildId> = self.children.iter().filter(is_running).map(|child| child.id).collect();
        for child in running {
            self.cancel_hook(child);
        }
    }

    /// Has the upgrade that is to be prepared wait for the preflight, which ends the one of an earlier upgrade.
    pub(super) fn await_preflight(&mut self, id: GroupId) {
        self.groups[id.0].preflight = Some(Preflight::Due);
        self.groups[id.0].dirty = true;
        self.cancel_preflight(id);
    }

    /// Lets no hook outlast the stop of its group.
    pub(super) fn hasten_hooks(&mut self, id: GroupId, latest: Option<Mono>, at_once: bool) {
        let now = self.now;
        let lives = |child: &Child| child.group == id && child.hook.is_some() && child.phase != Phase::Killed;
        for child in self.children.iter_mut().filter(|child| lives(child)) {
            child.hasten(latest, now);
        }
        if at_once {
            let all: Vec<ChildId> =
                self.children.iter().filter(|child| lives(child)).map(|child| child.id).collect();
            for child in all {
                self.kill_hook(child);
            }
        }
    }

    /// Asks a hook that nobody waits for any more to end.
    fn cancel_hook(&mut self, id: ChildId) {
        let now = self.now;
        let Some(child) = self.child(id).filter(|child| child.phase.is_serving()) else { return };
        let policy = &self.groups[child.group.0].policy;
        let (signal, deadline) = (Signal::TERM, now.within(policy.stop_timeout));
        if let Some(child) = self.child_mut(id) {
            child.enter(Phase::Stopping, now, deadline);
        }
        self.act(Action::Signal { child: id, signal, to_group: true });
    }

    /// The deadline of a hook has passed.
    pub(super) fn hook_is_late(&mut self, id: ChildId) {
        let Some(child) = self.child(id).cloned() else { return };
        self.kill_hook(id);
        match child.hook.filter(|_| child.phase.is_serving()) {
            Some(HookKind::Preflight) => {
                let allowed = self.groups[child.group.0].planned_policy().preflight_timeout;
                self.preflight_failed(&child, format!("it did not end within {}", Human(allowed)));
            }
            Some(HookKind::Probe(worker)) => self.probe_is_late(worker),
            Some(HookKind::Stop(_)) | None => {}
        }
    }

    /// Sends SIGKILL to a hook and what it has started; again later if that is not enough.
    pub(super) fn kill_hook(&mut self, id: ChildId) {
        let now = self.now;
        let Some(child) = self.child_mut(id) else { return };
        child.enter(Phase::Killed, now, Some(now.after(super::life::KILL_AGAIN)));
        self.act(Action::Signal { child: id, signal: Signal::KILL, to_group: true });
    }

    /// The command of a hook cannot even be looked up.
    pub(super) fn hook_failed(&mut self, id: ChildId, why: String) {
        let Some(at) = self.children.iter().position(|child| child.id == id) else { return };
        let child = self.children.remove(at);
        self.groups[child.group.0].dirty = true;
        self.hook_ended(&child, Err(why));
        self.note_if_stopped(child.group);
    }

    /// How a hook that is out of the table has ended. `exit` is absent if it never was a process.
    pub(super) fn account_for_hook(&mut self, child: &Child, exit: Option<Exit>) {
        let ended = match (child.failure, exit) {
            (Some((stage, errno)), _) => Err(Happening::SpawnFailed(stage, errno).to_string()),
            (None, Some(Exit::Code(0))) => Ok(()),
            (None, exit) => Err(Ending(exit.unwrap_or(Exit::Unknown)).to_string()),
        };
        self.groups[child.group.0].dirty = true;
        self.hook_ended(child, ended);
    }

    fn hook_ended(&mut self, child: &Child, outcome: Result<(), String>) {
        // One that is late or was given up has no say any more.
        let heard = child.phase.is_serving();
        if let Some(HookKind::Probe(worker)) = child.hook {
            let finding = match outcome {
                Ok(()) => Finding::Well,
                // One that did not run has seen nothing.
                Err(why) if child.phase == Phase::Spawning => Finding::Unknown(why),
                Err(why) => Finding::Unwell(why),
            };
            return self.probe_hook_ended((worker, child.id), !heard, finding);
        }
        match (child.hook.filter(|_| heard), outcome) {
            (None | Some(HookKind::Probe(_)), _) | (Some(HookKind::Stop(_)), Ok(())) => {}
            (Some(HookKind::Preflight), Ok(())) => self.preflight_passed(child),
            (Some(HookKind::Preflight), Err(why)) => self.preflight_failed(child, why),
            (Some(HookKind::Stop(worker)), Err(why)) => self.stop_hook_failed(worker, why),
        }
    }

    /// The worker gets the graceful signal after all.
    fn stop_hook_failed(&mut self, worker: ChildId, why: String) {
        let Some(child) = self.child(worker).filter(|child| child.phase == Phase::Stopping) else { return };
        let (group, place) = (child.group, child.worker());
        let signal = self.groups[group.0].policy_of(child.generation).graceful_signal;
        let why = format!("{why}; sending {signal} instead");
        self.note_worker(group, Level::Warn, place, Happening::HookFailed(HookKind::Stop(worker), why));
        self.ask_by(worker, signal);
    }

    fn preflight_passed(&mut self, child: &Child) {
        let id = child.group;
        self.note(id, Level::Info, Happening::HookDone(HookKind::Preflight));
        let group = &mut self.groups[id.0];
        match (group.preflight, group.preparing) {
            (Some(Preflight::Running(awaited)), Some((generation, _))) if awaited == child.id => {
                group.preflight = None;
                let from = group.committed;
                self.act(Action::Prepare { group: id, generation, from });
            }
            // By its period.
            (None, None) => {
                // Nobody waits for the upgrade: the log tells how it ends.
                let _serial = self.request_upgrade(id, None);
            }
            _ => {}
        }
    }

    /// An upgrade that waited for it fails before anything was touched.
    fn preflight_failed(&mut self, child: &Child, why: String) {
        let id = child.group;
        self.note(id, Level::Warn, Happening::HookFailed(HookKind::Preflight, why.clone()));
        let group = &mut self.groups[id.0];
        let committed = group.committed.0;
        if group.preflight != Some(Preflight::Running(child.id)) {
            return;
        }
        group.preflight = None;
        if let Some((generation, serial)) = group.preparing.take() {
            let reason = format!("the preflight failed: {why}");
            let sentence = format!("the upgrade did not begin: {reason}; generation {committed} stays");
            self.conclude(id, serial, Outcome::Failed(Code::UpgradeFailed, sentence));
            self.note(id, Level::Error, Happening::UpgradeFailed(generation.0, reason, committed));
        }
    }
}
