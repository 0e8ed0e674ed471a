//! Requests of clients: each is refused with a reason, answered at once, or leaves a [`Waiter`] behind.

use std::time::Duration;

use super::Supervisor;
use super::backoff::Streak;
use super::child::{Child, Phase};
use super::command::{Origin, Reply, Scale, Selector, Ticket, Verb, Wait};
use super::event::{Action, ChildId, GroupId};
use super::group::{Group, Named, Presence, Slot};
use super::note::Happening;
use super::probe::Looking;
use super::snapshot::{FailureStatus, GroupStatus, ProbeStatus, Status, VacantSlot, WorkerStatus};
use super::waiter::{Goal, Outcome, Part, Waiter};
use crate::error::Code;
use crate::plan::{Level, Readiness, Shrink, UpgradeMode};
use crate::wildcard;

/// Most workers a group may be scaled to at run time.
pub const MAX_WORKERS: u32 = 10_000;

impl Supervisor {
    pub(super) fn request(&mut self, ticket: Ticket, origin: Origin, verb: Verb) {
        let answer = match verb {
            Verb::Ack(pid) => self.ack(origin, pid),
            Verb::AckIn(group, signal) => self.ack_in(origin, &group, signal),
            Verb::Ping => Ok(Reply::Done("pong".into())),
            Verb::Heartbeat(pid, said) => self.meant(origin, pid).map(|child| {
                self.heartbeat(child, said);
                Reply::Done("pong".into())
            }),
            _ if !origin.trusted => Err(Reply::Failed(
                Code::Refused,
                "only worker:ack and worker:ping may be asked on this socket".into(),
            )),
            Verb::Status(selector) => self.status(&selector),
            Verb::Version => Ok(Reply::Version(concat!("remuda ", env!("CARGO_PKG_VERSION")).into())),
            Verb::Events(selector) => return self.subscribe(ticket, selector),
            Verb::LogLevel(level) => {
                let _level = self.change_level(level);
                Ok(Reply::Done(format!("the log level is {}", level.name())))
            }
            // Whoever opens them knows how that went.
            Verb::Reopen => return self.act(Action::ReopenLogs { ticket: Some(ticket) }),
            Verb::Stop(None, wait) => return self.stop_all(ticket, wait),
            Verb::Stop(selector, wait) => return self.stop_groups(ticket, &selector, wait),
            Verb::Start(selector, wait) => return self.start_groups(ticket, &selector, wait),
            Verb::Upgrade(selector, wait) => return self.upgrade_groups(ticket, &selector, None, wait),
            Verb::RollBack(selector, wait) => return self.roll_back_groups(ticket, &selector, wait),
            Verb::DrainManager(delay, wait) => return self.drain_for(ticket, delay, wait),
            Verb::Drain(selector, generation, at_once, wait) => {
                return self.drain_groups(ticket, &selector, generation, at_once, wait);
            }
            Verb::Restart(selector, wait) => return self.restart_groups(ticket, &selector, wait),
            Verb::Account(deed, selector, signal) => {
                return self.with_account(ticket, deed, &selector, signal);
            }
            Verb::Reexec(wait) => return self.reexec_for(ticket, wait),
            Verb::Reload(reload, wait) => return self.request_reload(Some(ticket), reload, wait),
            Verb::Foreign(request) => return self.foreign(ticket, request),
            Verb::Scale(selector, scale, wait) => return self.scale_groups(ticket, &selector, scale, wait),
            Verb::Signal(selector, signal) => self.select(&selector).map(|groups| {
                let ids: Vec<ChildId> = self
                    .workers()
                    .filter(|child| groups.contains(&child.group))
                    .map(|child| child.id)
                    .collect();
                let count = ids.len();
                for child in ids {
                    self.act(Action::Signal { child, signal, to_group: false });
                }
                Reply::Done(format!("sent {signal} to {count} worker{}", if count == 1 { "" } else { "s" }))
            }),
        };
        let reply = answer.unwrap_or_else(|refusal| refusal);
        self.act(Action::Reply { ticket, reply, last: true });
    }

    /// The groups in the order of the plan; those behind that are leaving it.
    fn in_order(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> =
            self.groups.iter().filter(|group| group.presence != Presence::Gone).collect();
        groups.sort_by_key(|group| (group.rank, group.id));
        groups
    }

    /// The groups meant, or a refusal that names those there are.
    pub(super) fn select(&self, selector: &Selector) -> Result<Vec<GroupId>, Reply> {
        let groups = self.in_order();
        let is_meant =
            |group: &&&Group| selector.as_ref().is_none_or(|pattern| wildcard::matches(pattern, &group.name));
        let meant: Vec<GroupId> = groups.iter().filter(is_meant).map(|group| group.id).collect();
        match selector {
            Some(name) if meant.is_empty() => {
                let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
                Err(Reply::Failed(Code::Refused, format!("no group {name:?}; there is {}", names.join(", "))))
            }
            _ => Ok(meant),
        }
    }

    /// The same without those that are leaving the plan; a name that means no other is refused.
    fn select_planned(&self, selector: &Selector) -> Result<Vec<GroupId>, Reply> {
        let mut groups = self.select(selector)?;
        groups.retain(|id| self.groups[id.0].is_planned());
        match selector {
            Some(name) if groups.is_empty() => Err(Reply::Failed(
                Code::Refused,
                format!("{name} was removed; its last workers are draining"),
            )),
            _ => Ok(groups),
        }
    }

    /// The groups meant by a verb that changes something.
    fn select_to_change(&self, selector: &Selector) -> Result<Vec<GroupId>, Reply> {
        if self.shutdown.is_some() {
            return Err(Reply::Failed(Code::Refused, "the manager is stopping".into()));
        }
        self.select_planned(selector)
    }

    /// The same without stopped groups; those are refused by name and left out of "all" and of a pattern.
    pub(super) fn select_running(&self, selector: &Selector) -> Result<Vec<GroupId>, Reply> {
        let groups = self.select_to_change(selector)?;
        let running: Vec<GroupId> =
            groups.iter().copied().filter(|id| self.groups[id.0].stopped.is_none()).collect();
        match (running.is_empty(), selector) {
            (true, Some(_)) => {
                let names = self.names(&groups);
                let (are, them) = if groups.len() == 1 { ("is", "it") } else { ("are", "them") };
                Err(Reply::Failed(Code::Refused, format!("{names} {are} stopped; start {them} first")))
            }
            (true, None) => Err(Reply::Failed(Code::Refused, "every group is stopped".into())),
            (false, _) => Ok(running),
        }
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, reply: Reply) {
        self.act(Action::Reply { ticket, reply, last: true });
    }

    /// Answers at once if nobody wants to wait, else when the goals are reached.
    pub(super) fn promise(
        &mut self,
        ticket: Ticket,
        wait: Wait,
        goals: Vec<(GroupId, Goal)>,
        accepted: Reply,
    ) {
        match wait {
            Wait::No => self.act(Action::Reply { ticket, reply: accepted, last: true }),
            Wait::Done | Wait::Drained | Wait::Told => {
                if wait == Wait::Told {
                    self.act(Action::Reply { ticket, reply: accepted, last: false });
                    self.subscribers.push((ticket, None));
                }
                let parts = goals.into_iter().map(Part::new).collect();
                self.waiters.push(Waiter { ticket, wait, parts });
            }
        }
    }

    pub(super) fn names(&self, groups: &[GroupId]) -> String {
        groups.iter().map(|id| self.groups[id.0].name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn ack(&mut self, origin: Origin, pid: Option<i32>) -> Result<Reply, Reply> {
        let child = self.meant(origin, pid)?;
        self.acked(child);
        Ok(Reply::Done("acknowledged".into()))
    }

    /// The worker that speaks for itself, or that a trusted client speaks for.
    fn meant(&self, origin: Origin, pid: Option<i32>) -> Result<ChildId, Reply> {
        let find = |pid: i32| self.workers().find(|child| pid > 0 && child.pid == pid).map(|child| child.id);
        let sender = find(origin.pid).or_else(|| find(origin.process_group));
        let child = match pid.filter(|&pid| pid != 0) {
            None => {
                sender.ok_or_else(|| format!("pid {} is no worker, nor is its process group", origin.pid))
            }
            Some(pid) => match find(pid) {
                Some(child) if origin.trusted || sender == Some(child) => Ok(child),
                Some(_) => Err(format!("a worker may ack only for itself, not for pid {pid}")),
                None => Err(format!("pid {pid} is no living worker")),
            },
        };
        child.map_err(|reason| Reply::Failed(Code::Refused, reason))
    }

    /// A worker says that it is ready.
    pub(super) fn acked(&mut self, id: ChildId) {
        let Some(child) = self.child(id) else { return };
        let (group, worker, phase) = (child.group, child.worker(), child.phase);
        let awaited = self.groups[group.0].policy_of(child.generation).ready == Readiness::Manual;
        match phase {
            Phase::Spawning | Phase::Starting if awaited => self.mark_ready(id),
            Phase::Spawning | Phase::Starting | Phase::Ready | Phase::Stopping | Phase::Killed => {
                self.note_worker(group, Level::Debug, worker, Happening::AckIgnored);
            }
        }
    }

    fn subscribe(&mut self, ticket: Ticket, selector: Selector) {
        match self.status(&selector) {
            Ok(status) => {
                self.act(Action::Reply { ticket, reply: status, last: false });
                self.subscribers.push((ticket, selector));
            }
            Err(refusal) => self.refuse(ticket, refusal),
        }
    }

    pub(super) fn stop_all(&mut self, ticket: Ticket, wait: Wait) {
        self.begin_shutdown(None);
        let there = self.groups.iter().filter(|group| group.presence != Presence::Gone);
        let goals = there.map(|group| (group.id, Goal::Stopped)).collect();
        self.promise(ticket, wait, goals, Reply::Done("stopping".into()));
    }

    pub(super) fn stop_groups(&mut self, ticket: Ticket, selector: &Selector, wait: Wait) {
        let groups = match self.select_planned(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        for &id in &groups {
            self.stop_one(id);
        }
        let accepted = Reply::Done(format!("stopping {}", self.names(&groups)));
        self.promise(ticket, wait, groups.into_iter().map(|id| (id, Goal::Stopped)).collect(), accepted);
    }

    /// Stops a group for good: neither a rollout nor one that is being prepared outlives it.
    pub(super) fn stop_one(&mut self, id: GroupId) {
        let group = &mut self.groups[id.0];
        if group.stopped.is_some() {
            return;
        }
        group.stopped = Some(self.now);
        group.killed = Named::default();
        group.want(group.committed);
        let rollout = group.rollout.take().map(|rollout| rollout.serial);
        let preparing = group.preparing.take().map(|(_, serial)| serial);
        let queued = group.queued.take();
        for serial in rollout.into_iter().chain(preparing).chain(queued) {
            self.conclude(id, serial, Outcome::Failed(Code::Failed, "stopped meanwhile".into()));
        }
        self.note(id, Level::Info, Happening::GroupStopping);
        self.note_if_stopped(id);
    }

    pub(super) fn start_groups(&mut self, ticket: Ticket, selector: &Selector, wait: Wait) {
        let groups = match self.select_to_change(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        if selector.is_none() {
            self.take_drain_back();
        }
        for &id in &groups {
            let next_child = self.next_child;
            let group = &mut self.groups[id.0];
            let idle = group.gave_up
                || group.slots.iter().any(|slot| slot.vacancy == super::group::Vacancy::Finished);
            let waiting = group.waits.take().is_some();
            if group.stopped.take().is_some() || idle || waiting {
                group.forgive(next_child);
                self.note(id, Level::Info, Happening::GroupStarted);
            }
        }
        let accepted = Reply::Done(format!("starting {}", self.names(&groups)));
        self.promise(ticket, wait, groups.into_iter().map(|id| (id, Goal::Filled)).collect(), accepted);
    }

    pub(super) fn upgrade_groups(
        &mut self,
        ticket: Ticket,
        selector: &Selector,
        mode: Option<UpgradeMode>,
        wait: Wait,
    ) {
        let groups = match self.select_running(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        if let Some(reason) = groups.iter().find_map(|&id| self.refusal_to_upgrade(id)) {
            return self.refuse(ticket, Reply::Failed(Code::Refused, reason));
        }
        let names = self.names(&groups);
        if self.policy.reexec_on_upgrade {
            let accepted = Reply::Done(format!("upgrading {names}"));
            return self.reexec_and_upgrade_for(ticket, mode, wait, accepted);
        }
        let serials: Vec<(GroupId, u64)> =
            groups.into_iter().map(|id| (id, self.upgrade_or_queue(id, mode))).collect();
        let queued = serials.iter().any(|&(id, serial)| self.groups[id.0].queued == Some(serial));
        let after = if queued { ": queued until what is under way has ended" } else { "" };
        let accepted = Reply::Done(format!("upgrading {names}{after}"));
        let goals = serials.into_iter().map(|(id, serial)| (id, Goal::Rollout(serial))).collect();
        self.promise(ticket, wait, goals, accepted);
    }

    pub(super) fn restart_groups(&mut self, ticket: Ticket, selector: &Selector, wait: Wait) {
        let groups = match self.select_to_change(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        let busy = groups.iter().find_map(|&id| self.refusal_to_restart(id));
        if let Some(reason) = busy {
            return self.refuse(ticket, Reply::Failed(Code::Refused, reason));
        }
        let accepted = Reply::Done(format!("restarting {}", self.names(&groups)));
        let mut goals = Vec::with_capacity(groups.len());
        for id in groups {
            let waiting = self.groups[id.0].waits.take().is_some();
            if self.groups[id.0].stopped.take().is_some() || waiting {
                self.note(id, Level::Info, Happening::GroupStarted);
            }
            goals.push((id, Goal::Rollout(self.request_restart(id))));
        }
        self.promise(ticket, wait, goals, accepted);
    }

    pub(super) fn scale_groups(&mut self, ticket: Ticket, selector: &Selector, scale: Scale, wait: Wait) {
        let groups = match self.select_running(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        let mut targets = Vec::with_capacity(groups.len());
        // Who has reached the least that `dec` goes down to, though fewer may be asked for.
        let mut stay = Vec::new();
        for &id in &groups {
            let policy = &self.groups[id.0].policy;
            let (now, least) = (self.groups[id.0].target(), policy.workers_min);
            let target = match scale {
                Scale::To(count) => count,
                Scale::Up(count) => now.saturating_add(count),
                Scale::Down(count) => {
                    let floor = policy.dec_min.max(least);
                    if now.saturating_sub(count) < floor && floor > least {
                        stay.push((id, floor.min(now)));
                    }
                    now.saturating_sub(count).max(floor.min(now))
                }
            };
            if target < least && target < now {
                let reason = format!("{target} workers are fewer than {least}");
                return self.refuse(ticket, Reply::Failed(Code::Refused, reason));
            }
            if target > MAX_WORKERS {
                let reason = format!("{target} workers are more than {MAX_WORKERS}");
                return self.refuse(ticket, Reply::Failed(Code::Refused, reason));
            }
            targets.push((id, now, target));
        }
        let stays: String = stay
            .iter()
            .map(|&(id, count)| format!("; {} stays at {count}", self.groups[id.0].name))
            .collect();
        if !stay.is_empty() && targets.iter().all(|(_, now, target)| now == target) {
            let reason = format!("'dec' goes no further{stays}; 'scale 0' asks for none");
            return self.refuse(ticket, Reply::Failed(Code::Refused, reason));
        }
        let (mut from, mut to) = (0, 0);
        for (id, before, target) in targets {
            // A few groups of at most MAX_WORKERS.
            (from, to) = (from + before, to + target);
            self.resize(id, target);
        }
        let message = format!("scaling {}{stays}", self.names(&groups));
        let goals = groups.into_iter().map(|id| (id, Goal::Filled)).collect();
        self.promise(ticket, wait, goals, Reply::Scaled { from, to, message });
    }

    /// Changes the number of workers that a group is to have, at most [`MAX_WORKERS`].
    pub(super) fn resize(&mut self, id: GroupId, target: u32) {
        let next_child = self.next_child;
        let before = self.groups[id.0].target();
        if target < before && self.groups[id.0].policy.shrink == Shrink::Oldest {
            self.move_oldest_last(id, target);
        }
        let group = &mut self.groups[id.0];
        if target > before && std::mem::take(&mut group.gave_up) {
            // Who wants more workers wants them tried.
            group.streak = Streak::none(next_child);
        }
        if before != target {
            group.slots.resize_with(target as usize, Slot::new);
            self.note(id, Level::Info, Happening::Scaled(before, target));
        }
    }

    /// Changes the places of workers so that those who are to go first stand in the slots from `target` on: who does not
    /// serve, then who is oldest.
    fn move_oldest_last(&mut self, id: GroupId, target: u32) {
        let group = &self.groups[id.0];
        let views = group.views(&self.children);
        let mut order: Vec<(bool, Option<ChildId>, u32)> = (0..)
            .zip(&views)
            .map(|(slot, view)| {
                let modern = view.modern.map(|(child, _)| child);
                let oldest = modern.or_else(|| view.old.first().map(|old| old.id));
                (view.is_served(), oldest, slot)
            })
            .collect();
        order.sort_unstable();
        let leaving = order.len().saturating_sub(target as usize);
        let (going, staying) = order.split_at(leaving);
        let misplaced = going.iter().map(|&(_, _, slot)| slot).filter(|&slot| slot < target);
        let free = staying.iter().map(|&(_, _, slot)| slot).filter(|&slot| slot >= target);
        let swaps: Vec<(u32, u32)> = misplaced.zip(free).collect();
        for (one, other) in swaps {
            self.groups[id.0].slots.swap(one as usize, other as usize);
            for child in self.children.iter_mut().filter(|child| child.group == id) {
                if child.slot == one {
                    child.slot = other;
                } else if child.slot == other {
                    child.slot = one;
                }
            }
        }
    }

    fn status(&self, selector: &Selector) -> Result<Reply, Reply> {
        let groups = self.select(selector)?.into_iter().map(|id| self.group_status(id)).collect();
        Ok(Reply::Status(Box::new(Status {
            version: 1,
            pid: self.identity.pid,
            name: self.identity.name.clone(),
            uptime_ms: millis(self.now.since(self.started)),
            groups,
            drain_ms: self.drain.as_ref().map(|drain| millis(drain.until.since(self.now))),
            strangers: 0,
        })))
    }

    fn group_status(&self, id: GroupId) -> GroupStatus {
        let group = &self.groups[id.0];
        let mut children: Vec<_> = self.workers_of(id).collect();
        let views = group.views(&self.children);
        let state = group.state(&views, self.is_deserted(id), self.shutdown.is_some());
        let vacant = (0..)
            .zip(group.slots.iter().zip(&views))
            .filter(|(_, (_, view))| view.is_empty())
            .map(|(number, (slot, _))| VacantSlot {
                slot: number,
                restarts: slot.restarts,
                last_exit: slot.last_exit.clone(),
                last_exit_detail: slot.last_exit_detail,
                last_failure: self.failure_status(slot),
            })
            .collect();
        children.sort_by_key(|child| (child.slot, !child.phase.is_serving(), std::cmp::Reverse(child.id)));
        let workers = children
            .into_iter()
            .map(|child| {
                let slot = usize::try_from(child.slot).ok().and_then(|slot| group.slots.get(slot));
                WorkerStatus {
                    slot: child.slot,
                    index: child.index,
                    pid: child.pid,
                    generation: child.generation.0,
                    phase: child.phase.shown(),
                    since_ms: millis(self.now.since(child.since)),
                    restarts: slot.map_or(0, |slot| slot.restarts),
                    last_exit: slot.and_then(|slot| slot.last_exit.clone()),
                    last_exit_detail: slot.and_then(|slot| slot.last_exit_detail),
                    status: child.said.clone(),
                    main_pid: child.main_pid,
                    last_failure: slot.and_then(|slot| self.failure_status(slot)),
                    until_ms: child.deadline.map(|at| millis(at.since(self.now))),
                    fd_store: 0,
                    probe: self.probe_status(child),
                }
            })
            .collect();
        GroupStatus {
            name: group.name.clone(),
            target: group.target(),
            generation: group.generation.0,
            state,
            sockets: group.sockets.clone(),
            workers,
            vacant,
            age_ms: group.began.map(|began| millis(self.now.since(began))),
            generations: self.generations(id),
            upgrades: self.upgrades(group),
            rollback_to: group.previous.map(|previous| previous.0),
            failures: group.streak.length,
            canary_ms: self.canary_until(group).map(|at| millis(at.since(self.now))),
            upgrade_left_ms: group
                .rollout
                .as_ref()
                .and_then(|r| r.until)
                .map(|at| millis(at.since(self.now))),
            next_attempt_ms: self.next_attempt(group).map(|at| millis(at.since(self.now))),
            dropped_bytes: 0,
            fd_store: 0,
        }
    }
}

impl Supervisor {
    fn probe_status(&self, child: &Child) -> Option<ProbeStatus> {
        let Looking { kind, last, tries, .. } = &*child.probing;
        let (kind, last) = kind.zip(last.as_ref())?;
        let ago_ms = millis(self.now.since(last.at));
        Some(ProbeStatus { kind, message: last.why.clone(), count: *tries, ago_ms })
    }

    fn failure_status(&self, slot: &Slot) -> Option<FailureStatus> {
        slot.last_failure.as_ref().map(|failure| FailureStatus {
            message: failure.sentence.clone(),
            generation: failure.generation.0,
            pid: failure.pid,
            ago_ms: millis(self.now.since(failure.at)),
            stderr: failure.words.clone(),
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
