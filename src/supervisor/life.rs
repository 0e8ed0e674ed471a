//! The life of one worker: what happens to it, and what can be asked of it. Whether a worker is wanted at all is decided
//! elsewhere (`upgrade`); here its record moves through its phases and its end is drawn into the account of its group.

use std::time::Duration;

use super::backoff;
use super::child::{Child, Phase};
use super::event::{Action, ChildId, GenerationId, GroupId, HookKind, Mono, Remains};
use super::group::{Failure, Pace, Vacancy};
use super::note::{Happening, Reason};
use super::probe::Probing;
use super::snapshot::{ExitDetail, LastExit};
use super::{Supervisor, is_success};
use crate::plan::{Level, Readiness, Restart};
use crate::process::{Exit, Stage, status_of_failure};
use crate::signame::Signal;

/// How often SIGKILL is repeated until the child is reaped.
pub(super) const KILL_AGAIN: Duration = Duration::from_secs(1);

impl Supervisor {
    fn position(&self, id: ChildId) -> Option<usize> {
        self.children.binary_search_by_key(&id, |child| child.id).ok()
    }

    pub(super) fn child(&self, id: ChildId) -> Option<&Child> {
        self.position(id).map(|at| &self.children[at])
    }

    /// The record of a child, whose group is looked at again.
    pub(super) fn child_mut(&mut self, id: ChildId) -> Option<&mut Child> {
        let at = self.position(id)?;
        let child = &mut self.children[at];
        self.groups[child.group.0].dirty = true;
        Some(child)
    }

    pub(super) fn forked(&mut self, id: ChildId, pid: i32) {
        let Some(child) = self.child_mut(id) else { return };
        child.pid = pid;
        let (group, worker, hook) = (child.group, child.worker(), child.hook);
        if hook.is_none() {
            self.note_worker(group, Level::Debug, worker, Happening::Spawned);
        }
    }

    pub(super) fn execed(&mut self, id: ChildId) {
        let now = self.now;
        let Some(child) = self.child_mut(id) else { return };
        if child.phase != Phase::Spawning {
            return;
        }
        let (group, generation) = (child.group, child.generation);
        if child.hook.is_some() {
            let deadline = child.deadline;
            return child.enter(Phase::Starting, now, deadline);
        }
        let policy = self.groups[group.0].policy_of(generation);
        let at_first = policy.ready_at_first && self.groups[group.0].rollout.is_none();
        let deadline = match policy.ready {
            _ if at_first => return self.mark_ready(id),
            Readiness::Exec => return self.mark_ready(id),
            Readiness::Timer(span) => Some(now.after(span)),
            Readiness::Manual => now.within(policy.ack_deadline),
        };
        if let Some(child) = self.child_mut(id) {
            child.enter(Phase::Starting, now, deadline);
        }
    }

    pub(super) fn mark_ready(&mut self, id: ChildId) {
        let now = self.now;
        let Some(child) = self.child_mut(id) else { return };
        child.enter(Phase::Ready, now, None);
        let due = self.life_due(id);
        let Some(child) = self.child_mut(id) else { return };
        child.deadline = due;
        let child = child.clone();
        let group = &mut self.groups[child.group.0];
        group.streak.ready(id);
        if group.is_modern(&child) {
            let first =
                group.slot_mut(child.slot).is_some_and(|slot| !std::mem::replace(&mut slot.taken, true));
            if let Some(rollout) = group.rollout.as_mut().filter(|_| first) {
                rollout.failures = 0;
            }
        }
        let took = now.since(child.born);
        self.note_worker(child.group, Level::Info, child.worker(), Happening::Ready(took));
    }

    pub(super) fn spawn_failed(&mut self, id: ChildId, stage: Stage, errno: i32) {
        let Some(child) = self.child_mut(id) else { return };
        child.failure = Some((stage, errno));
        if stage == Stage::Fork {
            self.remove(id, None);
        }
    }

    pub(super) fn exited(&mut self, id: ChildId, exit: Exit) {
        self.remove(id, Some(exit));
    }

    /// A worker has ended before others of its tree: its end is drawn into the account at once, and they drain like an old
    /// worker.
    pub(super) fn leader_ended(&mut self, id: ChildId, exit: Exit) {
        let now = self.now;
        let Some(child) = self.child(id).filter(|child| !child.remnant).cloned() else { return };
        self.forget_streak(child.group);
        self.end_probe(&child);
        let policy = self.groups[child.group.0].policy_of(child.generation);
        let forced = self.shutdown.as_ref().and_then(|shutdown| shutdown.signal);
        let signal = forced.unwrap_or(policy.graceful_signal);
        let (heard, stop_timeout) = (policy.signal_group, policy.stop_timeout);
        if let Some(child) = self.child_mut(id) {
            (child.remnant, child.retired) = (true, true);
            // Nobody looks at it any more.
            child.probing = Probing::default();
            if child.phase.is_serving() {
                child.enter(Phase::Stopping, now, now.within(stop_timeout));
            }
        }
        self.account_for(&child, Some(exit));
        let signal = match child.phase {
            Phase::Killed => Signal::KILL,
            Phase::Stopping if heard => return self.note_left_behind(&child, None),
            Phase::Spawning | Phase::Starting | Phase::Ready | Phase::Stopping => signal,
        };
        if signal == Signal::KILL {
            self.act(Action::Signal { child: id, signal, to_group: true });
            return self.note_left_behind(&child, None);
        }
        self.ask_by(id, signal);
        self.note_left_behind(&child, Some(signal));
    }

    fn note_left_behind(&mut self, child: &Child, signal: Option<Signal>) {
        let who = child.remains.left.join(", ");
        self.note_worker(child.group, Level::Info, child.worker(), Happening::LeftBehind(who, signal));
    }

    /// Another process of a worker's tree takes its place: it is the worker from here on, in whatever phase. What was asked
    /// of the one before it was not asked of this one.
    pub(super) fn handed_over(&mut self, id: ChildId, pid: i32) {
        let Some(child) = self.child_mut(id).filter(|child| child.hook.is_none() && !child.remnant) else {
            return;
        };
        let before = std::mem::replace(&mut child.pid, pid);
        child.main_pid = None;
        let (group, generation, phase, worker) = (child.group, child.generation, child.phase, child.worker());
        self.note_worker(group, Level::Info, worker, Happening::HandedOver(before));
        let forced = self.shutdown.as_ref().and_then(|shutdown| shutdown.signal);
        match phase {
            Phase::Spawning | Phase::Starting | Phase::Ready => {}
            Phase::Stopping => {
                let signal = forced.unwrap_or(self.groups[group.0].policy_of(generation).graceful_signal);
                self.ask_by(id, signal);
            }
            Phase::Killed => self.act(Action::Signal { child: id, signal: Signal::KILL, to_group: true }),
        }
    }

    /// Nobody is left of the tree of a worker that has ended.
    pub(super) fn tree_gone(&mut self, id: ChildId) {
        let Some(at) = self.position(id).filter(|&at| self.children[at].remnant) else { return };
        let child = self.children.remove(at);
        self.groups[child.group.0].dirty = true;
        self.note_worker(child.group, Level::Info, child.worker(), Happening::TreeGone);
        self.note_if_stopped(child.group);
    }

    /// Takes a child out of the table and draws the consequences. `exit` is absent if it never was a process.
    fn remove(&mut self, id: ChildId, exit: Option<Exit>) {
        let Some(at) = self.position(id) else { return };
        let group = self.children[at].group;
        self.forget_streak(group);
        let child = self.children.remove(at);
        self.end_probe(&child);
        match child.hook {
            None => self.account_for(&child, exit),
            Some(_) => self.account_for_hook(&child, exit),
        }
        self.note_if_stopped(group);
    }

    /// Draws the end of a child into the account of its slot, its group and the rollout under way.
    fn account_for(&mut self, child: &Child, exit: Option<Exit>) {
        let now = self.now;
        let group = &mut self.groups[child.group.0];
        group.dirty = true;
        let ended = exit.unwrap_or(Exit::Unknown);
        let policy = group.policy_of(child.generation);
        let (modern, restart) = (group.is_modern(child), policy.restart);
        let success = is_success(&policy.success, ended) && child.failure.is_none();
        let in_rollout = group.rollout.is_some();
        let asked = !child.phase.is_serving();
        let ready_for = child.ready_for(now);
        let settled = child.is_healthy(policy, now);
        let stable = child.ready_at.is_some() && ready_for >= policy.stable_after;
        let canary = group.is_canary(child);
        let detail = match &child.remains {
            Remains { core_dumped: true, .. } => Some(ExitDetail::CoreDumped),
            // Whom we kill ourselves no OOM killer has ended.
            Remains { out_of_memory: true, .. } if child.phase != Phase::Killed => {
                Some(ExitDetail::OutOfMemory)
            }
            Remains { .. } => None,
        };
        let kept = match restart {
            Restart::Always => true,
            Restart::OnFailure => !success,
            Restart::Never => false,
        };
        // A new worker whose end was none that the policy is content with is a failed attempt, also where no other would
        // follow it.
        let failed = in_rollout && (child.ready_at.is_none() || canary) && !success;
        let again = kept || failed || !modern;
        let pace = Pace::of(policy);
        let soon = match group.slot_mut(child.slot) {
            Some(slot) if !asked => slot.note_end(now, pace),
            Some(_) | None => false,
        };
        let healthy = settled && (success || !soon);
        // What ends beside a canary is followed by its like only where it would be without any upgrade.
        let at_once = healthy && (kept || !group.has_canary());
        if let Some(slot) = group.slot_mut(child.slot) {
            slot.last_exit = Some(match child.failure {
                Some((stage, errno)) => LastExit::Spawn(Happening::SpawnFailed(stage, errno).to_string()),
                None => last_exit(ended),
            });
            slot.last_exit_detail = detail;
            let next = match (again, at_once) {
                (false, _) => Vacancy::Finished,
                (true, true) => Vacancy::Urgent,
                (true, false) => Vacancy::Open,
            };
            if !asked && slot.vacate(modern, next) {
                slot.last = Some(ended);
                slot.restarts = slot.restarts.saturating_add(u32::from(again));
            }
        }
        let worker = child.worker();
        if asked {
            self.remember_words(child);
            return self.note_worker(child.group, Level::Info, worker, Happening::Gone(ended));
        }
        let level = if again || !success { Level::Warn } else { Level::Info };
        let how = match child.failure {
            Some((stage, errno)) => Happening::SpawnFailed(stage, errno),
            None => Happening::Died(ended, now.since(child.born), detail),
        };
        let sentence = format!("{how}");
        if !success {
            self.remember_failure(child, &sentence);
        }
        self.note_worker(child.group, level, worker, how);
        let status = child.failure.map_or(ended.status(), |(_, errno)| status_of_failure(errno));
        if exit.is_some() && !(in_rollout && modern) && self.ends_everything(child, status) {
            return;
        }
        let left = &child.remains.left;
        if kept && success && !healthy && !left.is_empty() {
            // Another one would come beside those that live on, and again.
            let who = left.join(", ");
            self.groups[child.group.0].gave_up |= modern && !in_rollout;
            self.note_worker(child.group, Level::Error, worker, Happening::Backgrounded(who));
        }
        if !again {
            return self.note_worker(child.group, Level::Info, worker, Happening::Finished(ended));
        }
        let next = if healthy { None } else { self.count_failure(child) };
        let recycled = healthy && success;
        if modern && (canary || !(stable || recycled)) {
            self.rollout_failure(child, &sentence);
        }
        self.note_next(child, next);
    }

    /// For those who ask later.
    pub(super) fn remember_failure(&mut self, child: &Child, sentence: &str) {
        let at = self.now;
        if let Some(slot) = self.groups[child.group.0].slot_mut(child.slot) {
            let (generation, pid, sentence) = (child.generation, child.pid, sentence.to_owned());
            slot.last_failure = Some(Failure { sentence, generation, pid, at, words: Vec::new() });
        }
        self.remember_words(child);
    }

    /// What a worker that has failed wrote last belongs to its failure, also where it has ended only later, and to that of
    /// the rollout.
    fn remember_words(&mut self, child: &Child) {
        let group = &mut self.groups[child.group.0];
        let modern = group.is_modern(child);
        let words = &child.remains.words;
        let slot = group.slot_mut(child.slot);
        let failure = slot.and_then(|slot| slot.last_failure.as_mut()).filter(|known| known.pid == child.pid);
        let Some(failure) = failure.filter(|_| !words.is_empty()) else { return };
        failure.words.clone_from(words);
        if let Some(rollout) = group.rollout.as_ref().filter(|_| modern) {
            let place = format!("{}[{}] pid {}", group.name, child.slot, child.pid);
            let told = words.iter().map(|line| format!("{place} wrote: {line}")).collect();
            group.words = Some((rollout.serial, told));
        }
    }

    /// Tells when the last worker of a group that is to have none is gone.
    pub(super) fn note_if_stopped(&mut self, id: GroupId) {
        let group = &self.groups[id.0];
        let empty = self.is_deserted(id);
        let over = || self.is_over(group);
        if empty && group.is_planned() && (group.stopped.is_some() || self.shutdown.is_some() || over()) {
            self.note(id, Level::Info, Happening::GroupStopped);
        }
    }

    /// Adds a failure of `child` to the streak of its group, and says what comes of it. How a worker ends that is to be
    /// replaced says nothing about the one that is to come.
    pub(super) fn count_failure(&mut self, child: &Child) -> Option<Happening> {
        let (now, next_child, random) = (self.now, self.next_child, self.random.next());
        let group = &mut self.groups[child.group.0];
        if !group.is_modern(child) {
            return None;
        }
        let (backoff, limit) = (group.policy.backoff, group.give_up());
        let hopeless = child.failure.is_some() || !group.policy.give_up_spawns_only;
        let delay = |n| backoff::pause(&backoff, n, random);
        let pause = group.streak.fail(child.id, next_child, now, hopeless, limit, delay)?;
        let failures = group.streak.hopeless;
        if limit.is_some_and(|limit| failures >= limit) {
            let told = std::mem::replace(&mut group.gave_up, true);
            return (!told).then_some(Happening::GaveUp(failures));
        }
        Some(Happening::BackOff(pause))
    }

    /// Tells what comes of a failure, unless it has ended an upgrade: then there is no next attempt of its kind.
    pub(super) fn note_next(&mut self, child: &Child, next: Option<Happening>) {
        let Some(next) = next.filter(|_| self.groups[child.group.0].is_modern(child)) else { return };
        let level = if matches!(next, Happening::GaveUp(_)) { Level::Error } else { Level::Info };
        self.note(child.group, level, next);
    }

    /// Ends a streak of failures if a worker started since the last one has been ready long enough.
    fn forget_streak(&mut self, id: GroupId) {
        let now = self.now;
        let group = &self.groups[id.0];
        let stable = self.workers_of(id).any(|child| {
            child.id >= group.streak.mark
                && child.phase == Phase::Ready
                && child.ready_for(now) >= group.policy.stable_after
        });
        if stable && group.streak.length > 0 {
            self.groups[id.0].streak = backoff::Streak::none(self.next_child);
        }
    }

    /// A worker did not become ready in time.
    pub(super) fn miss_deadline(&mut self, id: ChildId) {
        let Some(child) = self.child(id).cloned() else { return };
        self.forget_streak(child.group);
        let modern = self.groups[child.group.0].is_modern(&child);
        if let Some(slot) = self.groups[child.group.0].slot_mut(child.slot) {
            slot.restarts = slot.restarts.saturating_add(1);
            slot.vacate(modern, Vacancy::Open);
        }
        let sentence = match &child.probing.last {
            Some(last) => format!("not ready in time: {}", last.why),
            None => "not ready in time".to_owned(),
        };
        self.remember_failure(&child, &sentence);
        self.stop_child(id, Reason::NotReady);
        let next = self.count_failure(&child);
        self.rollout_failure(&child, &sentence);
        self.note_next(&child, next);
    }

    /// Asks for a new worker of the wanted generation.
    pub(super) fn spawn(&mut self, id: GroupId, slot: u32, now: Mono) -> ChildId {
        let group = &self.groups[id.0];
        let (generation, deadline) = (group.generation_for(slot), now.within(group.policy.ack_deadline));
        let index = self.free_index(id);
        let child = self.enlist(id, generation, (slot, index), None, deadline);
        self.groups[id.0].began.get_or_insert(now);
        self.groups[id.0].last_spawn = Some(now);
        self.act(Action::Spawn { child, group: id, generation, slot, index });
        child
    }

    /// Adds a child, whose fork has been asked for, to the table.
    pub(super) fn enlist(
        &mut self,
        group: GroupId,
        generation: GenerationId,
        (slot, index): (u32, u32),
        hook: Option<HookKind>,
        deadline: Option<Mono>,
    ) -> ChildId {
        let (id, now) = (self.next_child, self.now);
        self.next_child = ChildId(id.0 + 1);
        self.children.push(Child {
            id,
            group,
            generation,
            slot,
            index,
            pid: 0,
            phase: Phase::Spawning,
            since: now,
            born: now,
            ready_at: None,
            deadline,
            steps: 0,
            retired: false,
            remnant: false,
            unkillable: false,
            asked: None,
            failure: None,
            hook,
            said: None,
            main_pid: None,
            finishing: false,
            alive_every: None,
            heartbeat: None,
            probing: Probing::default(),
            remains: Remains::default(),
        });
        id
    }

    /// The smallest number that no living worker of the group has.
    fn free_index(&self, id: GroupId) -> u32 {
        let mut taken: Vec<u32> = self.workers_of(id).map(|child| child.index).collect();
        taken.sort_unstable();
        (0..)
            .zip(&taken)
            .find(|&(index, &taken)| index != taken)
            .map_or_else(|| u32::try_from(taken.len()).unwrap_or(u32::MAX), |(index, _)| index)
    }

    /// Asks a serving worker to go, by signal or by the stop command, and sets the moment of SIGKILL if there is one.
    pub(super) fn stop_child(&mut self, id: ChildId, reason: Reason) {
        self.stop_child_by(id, reason, None);
    }

    /// The same by another signal, if one is given.
    pub(super) fn stop_child_by(&mut self, id: ChildId, reason: Reason, signal: Option<Signal>) {
        let now = self.now;
        let Some(child) = self.child_mut(id) else { return };
        let (group, generation, phase) = (child.group, child.generation, child.phase);
        let policy = self.groups[group.0].policy_of(generation);
        let asked = self.groups[group.0].drain_signal;
        let forced = self.shutdown.as_ref().and_then(|shutdown| shutdown.signal);
        let own = match reason {
            Reason::Stop => forced,
            Reason::NotReady => policy.overdue_signal,
            Reason::Replaced => asked.or(policy.drain_signal),
            Reason::Removed => policy.drain_signal,
            Reason::Scale | Reason::Restart | Reason::Abandoned | Reason::Stubborn => None,
            Reason::Silent | Reason::Unwell => None,
        };
        let own = signal.or(own);
        // A program that does not run yet has nothing that a command could ask.
        let by_hook = own.is_none() && policy.stop_hook.is_some() && phase != Phase::Spawning;
        let signal = own.unwrap_or(policy.graceful_signal);
        let to_group = policy.signal_group;
        let timeout = match reason {
            Reason::Replaced | Reason::Removed => policy.drain_timeout,
            Reason::Scale
            | Reason::Restart
            | Reason::Stop
            | Reason::NotReady
            | Reason::Abandoned
            | Reason::Stubborn
            | Reason::Silent
            | Reason::Unwell => policy.stop_timeout,
        };
        let Some(child) = self.child_mut(id) else { return };
        child.enter(Phase::Stopping, now, now.within(timeout));
        let worker = child.worker();
        if by_hook {
            self.act(Action::Wake { child: id, to_group });
            self.run_stop_hook(id);
            return self.note_worker(group, Level::Info, worker, Happening::StopCommand(reason));
        }
        self.ask_by(id, signal);
        self.note_worker(group, Level::Info, worker, Happening::Stopping(signal, reason));
    }

    /// The same for a child that gives way to another.
    pub(super) fn retire_child(&mut self, id: ChildId, reason: Reason) {
        self.retire_child_by(id, reason, None);
    }

    /// The same by another signal, if one is given.
    pub(super) fn retire_child_by(&mut self, id: ChildId, reason: Reason, signal: Option<Signal>) {
        if let Some(child) = self.child_mut(id) {
            child.retired = true;
        }
        self.stop_child_by(id, reason, signal);
    }

    /// Sends a worker a signal by which it is to go; one that is stopped hears it too.
    pub(super) fn ask_by(&mut self, id: ChildId, signal: Signal) {
        let Some(child) = self.child(id) else { return };
        let policy = self.groups[child.group.0].policy_of(child.generation);
        let to_group = policy.signal_group || child.remnant;
        self.act(Action::Signal { child: id, signal, to_group });
        self.act(Action::Wake { child: id, to_group });
    }

    /// Sends a stopping child the next signal of its policy, or SIGKILL after the last one.
    pub(super) fn press_child(&mut self, id: ChildId) {
        let now = self.now;
        let Some(child) = self.child(id) else { return };
        let (group, worker, step) = (child.group, child.worker(), child.steps);
        let policy = self.groups[group.0].policy_of(child.generation);
        let next = policy.stop_steps.get(step as usize).filter(|_| !child.remnant);
        let Some(&(signal, wait)) = next else {
            return self.kill_child(id);
        };
        if let Some(child) = self.child_mut(id) {
            child.steps += 1;
            child.deadline = Some(now.after(wait));
        }
        self.ask_by(id, signal);
        self.note_worker(group, Level::Info, worker, Happening::Stopping(signal, Reason::Stubborn));
    }

    /// Sends SIGKILL to a child and what it has started; again later if that is not enough.
    pub(super) fn kill_child(&mut self, id: ChildId) {
        let now = self.now;
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.killed = true;
        }
        let Some(child) = self.child_mut(id) else { return };
        let (group, worker, waited) = (child.group, child.worker(), now.since(child.since));
        let again = child.phase == Phase::Killed;
        child.unkillable = again;
        child.enter(Phase::Killed, now, Some(now.after(KILL_AGAIN)));
        if let Some(name) = self.child(id).filter(|_| !again).map(|child| self.name_of(child)) {
            self.groups[group.0].killed.push(name);
        }
        self.act(Action::Signal { child: id, signal: Signal::KILL, to_group: true });
        let level = if again { Level::Debug } else { Level::Warn };
        self.note_worker(group, level, worker, Happening::Killing(waited));
    }

    /// Workers of a group that are on their way out and whose place is, or may be, another's.
    pub(super) fn draining(&self, id: GroupId) -> u32 {
        let group = &self.groups[id.0];
        let leaves =
            |child: &&Child| child.retired || !(child.phase.is_serving() || group.is_in_place(child));
        let count = self.workers_of(id).filter(leaves).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

fn last_exit(exit: Exit) -> LastExit {
    match exit {
        Exit::Code(code) => LastExit::Code(code),
        Exit::Signal(signal) => LastExit::Signal(signal.to_string()),
        Exit::Unknown => LastExit::Unknown(()),
    }
}
