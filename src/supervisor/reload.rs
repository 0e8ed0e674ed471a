//! The plan is read again, and what is different in it is changed.
//!
//! A reload goes through three steps, and only the last one changes anything:
//!
//! ```text
//!   ReadPlan --PlanRead--> Adopt --NewPlan--> groups come, change and go
//!       |                    |
//!       +-- cannot be read --+-- cannot be had --> all is as it was, and whoever asked is told everything
//! ```
//!
//! Reading may take its time (host names are looked up) and happens elsewhere, with a deadline; one plan is read at a
//! time, later requests wait for their own turn, since the file may have changed again. Adopting opens what is new before
//! anything else is touched, in one piece: nothing can come between.
//!
//! A new group starts; one that the plan has no more drains, and its row is forgotten when the last worker is gone; one
//! whose program, sockets or manners are others gets a new generation by the usual rollout ([`super::upgrade`]), with
//! the new policy from that generation on. What only the manager has to know, such as a timeout, holds at once. The
//! number of workers is changed if the plan says another one than before; otherwise whatever was asked for at run time
//! stays. A group that was stopped stays stopped, and has the new generation when it is started.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::command::{ClientId, Reload, Reply, Ticket, Wait};
use super::event::{Action, Change, ChildId, GenerationId, GroupId, Mono, NewPlan};
use super::group::{Group, GroupStart, Presence, Waits};
use super::note::{Happening, Reason};
use super::snapshot::SocketStatus;
use super::waiter::{Goal, Outcome};
use crate::error::Code;
use crate::plan::{Level, Policy};
use crate::reading::Reading;

/// How long reading may take: several hosts of which each keeps us waiting.
const READ_TIME: Duration = Duration::from_secs(60);

/// Requests that may wait for their turn. Each of those that wait already reads a plan that is younger than the request.
const WAITING_MAX: usize = 16;

/// Every reload that was asked for and is not decided, the one under way first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Reloads {
    pub(super) queue: VecDeque<Request>,
    /// Counts readings, so that a late answer is known for what it is.
    pub(super) count: u64,
}

/// One reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Request {
    /// Who is to hear of it; nobody but the log where it was a signal.
    pub(super) ticket: Option<Ticket>,
    pub(super) reload: Reload,
    pub(super) wait: Wait,
    /// The reading under way and the moment at which it is late.
    pub(super) reading: Option<(u64, Mono)>,
}

impl Supervisor {
    /// Places that new groups may have, each once; there is always another one.
    pub fn vacancies(&self) -> impl Iterator<Item = GroupId> + use<'_> {
        let awaited = |id| self.waiters.iter().flat_map(|waiter| &waiter.parts).any(|part| part.group == id);
        let gone = self.groups.iter().filter(|group| group.presence == Presence::Gone);
        gone.map(|group| group.id).filter(move |&id| !awaited(id)).chain((self.groups.len()..).map(GroupId))
    }

    /// Asks for a reload.
    pub(super) fn request_reload(&mut self, ticket: Option<Ticket>, reload: Reload, wait: Wait) {
        let refusal = if self.shutdown.is_some() {
            Some("the manager is stopping".to_owned())
        } else if self.reloads.queue.len() >= WAITING_MAX {
            Some(format!("{WAITING_MAX} reloads wait for their turn already"))
        } else {
            None
        };
        match (refusal, ticket) {
            (Some(reason), Some(ticket)) => self.refuse(ticket, Reply::Failed(Code::Refused, reason)),
            (Some(reason), None) => self.note_manager(Level::Warn, Happening::ReloadFailed(reason)),
            (None, _) => self.reloads.queue.push_back(Request { ticket, reload, wait, reading: None }),
        }
    }

    /// Begins the next reading, or ends one that is late or that the end of the manager has overtaken.
    pub(super) fn watch_reload(&mut self) {
        if self.shutdown.is_some() {
            while self.end_reload(Code::Refused, "stopped meanwhile".into()) {}
            return;
        }
        let late = |request: &Request| request.reading.is_some_and(|(_, deadline)| deadline <= self.now);
        if self.reloads.queue.front().is_some_and(late) {
            let span = READ_TIME.as_secs();
            self.end_reload(Code::Failed, format!("the plan could not be read within {span} s"));
        }
        let (now, settling) = (self.now, self.is_settling());
        let Some(request) = self.reloads.queue.front_mut() else { return };
        if request.reading.is_some() || settling {
            return;
        }
        self.reloads.count += 1;
        let reload = self.reloads.count;
        request.reading = Some((reload, now.after(READ_TIME)));
        let keep_going = request.reload.keep_going;
        self.note_manager(Level::Info, Happening::ReloadStarted);
        self.act(Action::ReadPlan { reload, keep_going });
    }

    /// Ends the reload that is first in the queue, if there is one, without any change.
    fn end_reload(&mut self, code: Code, reason: String) -> bool {
        let Some(request) = self.reloads.queue.pop_front() else { return false };
        if let Some((reload, _)) = request.reading {
            self.act(Action::StopReading { reload });
        }
        self.reject(request, code, vec![reason]);
        true
    }

    fn reject(&mut self, request: Request, code: Code, mut errors: Vec<String>) {
        for reason in &errors {
            self.note_manager(Level::Error, Happening::ReloadFailed(reason.clone()));
        }
        let Some(ticket) = request.ticket else { return };
        let reply = match errors.pop() {
            Some(reason) if errors.is_empty() => Reply::Failed(code, format!("not reloaded: {reason}")),
            last => {
                errors.extend(last);
                let error = format!("not reloaded: {} errors; nothing is changed", errors.len());
                Reply::Rejected { code, error, errors }
            }
        };
        self.act(Action::Reply { ticket, reply, last: true });
    }

    /// The reload under way, if this is its number.
    fn awaited_reload(&self, reload: u64) -> Option<&Request> {
        let of_number = |request: &&Request| request.reading.is_some_and(|(number, _)| number == reload);
        self.reloads.queue.front().filter(of_number)
    }

    /// The plan was read.
    pub(super) fn plan_read(&mut self, reload: u64, outcome: Result<Box<Reading>, Vec<String>>) {
        let Some(request) = self.awaited_reload(reload) else { return };
        let dry_run = request.reload.dry_run;
        match outcome {
            Ok(reading) => self.act(Action::Adopt { reload, reading, dry_run }),
            Err(errors) => {
                if let Some(request) = self.reloads.queue.pop_front() {
                    self.reject(request, Code::Refused, errors);
                }
            }
        }
    }

    /// Everything new in the plan can be had, or nothing was changed.
    pub(super) fn new_plan(&mut self, reload: u64, outcome: Result<NewPlan, Vec<String>>) {
        if self.awaited_reload(reload).is_none() {
            return;
        }
        let Some(request) = self.reloads.queue.pop_front() else { return };
        let plan = match outcome {
            Ok(plan) => plan,
            Err(errors) => return self.reject(request, Code::Refused, errors),
        };
        let NewPlan { mut changes, left, groups } = plan;
        let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        if !request.reload.dry_run {
            for line in &changes {
                self.note_manager(Level::Info, Happening::PlanChanged(line.clone()));
            }
            for line in &left {
                self.note_manager(Level::Warn, Happening::PlanKept(line.clone()));
            }
        }
        changes.extend(left);
        let goals = if request.reload.dry_run { Vec::new() } else { self.adopt(groups, request.wait) };
        let done = Happening::Reloaded(count);
        if !request.reload.dry_run {
            self.note_manager(Level::Info, done.clone());
        }
        let Some(ticket) = request.ticket else { return };
        let message = match (request.reload.dry_run, count) {
            (true, 0) => "nothing would change".to_owned(),
            (true, _) => "nothing is changed".to_owned(),
            (false, _) => done.to_string(),
        };
        if goals.is_empty() || request.wait == Wait::No {
            let reply = Reply::Changes { changes, message };
            return self.act(Action::Reply { ticket, reply, last: true });
        }
        let begun = Reply::Changes { changes, message: String::new() };
        self.act(Action::Reply { ticket, reply: begun, last: false });
        self.promise(ticket, request.wait, goals, Reply::Done(message));
    }

    /// Changes the groups, and returns what is waited for in each.
    fn adopt(&mut self, groups: Vec<(GroupId, Change)>, wait: Wait) -> Vec<(GroupId, Goal)> {
        let mut goals = Vec::new();
        for (rank, (id, change)) in groups.into_iter().enumerate() {
            match change {
                Change::Added(start) => {
                    self.add_group(id, *start);
                    goals.push((id, Goal::Filled));
                }
                Change::Kept => {}
                Change::Changed { policy, sockets, workers, replace } => {
                    goals.extend(self.change_group(id, *policy, sockets, workers, replace));
                }
                Change::Removed => {
                    self.remove_group(id);
                    goals.extend((wait == Wait::Drained).then_some((id, Goal::Stopped)));
                }
            }
            if let Some(group) = self.groups.get_mut(id.0) {
                (group.rank, group.dirty) = (rank, true);
            }
        }
        goals
    }

    fn add_group(&mut self, id: GroupId, start: GroupStart) {
        let group = Group::new(id, start, self.now);
        match self.groups.get_mut(id.0) {
            Some(gone) => *gone = group,
            // The place is one of `vacancies`, taken in their order.
            None => self.groups.push(group),
        }
        self.note(id, Level::Info, Happening::GroupAdded);
    }

    fn change_group(
        &mut self,
        id: GroupId,
        policy: Policy,
        sockets: Vec<SocketStatus>,
        workers: Option<u32>,
        replace: bool,
    ) -> Option<(GroupId, Goal)> {
        let group = self.groups.get_mut(id.0)?;
        if group.waits == Some(Waits::Connection) && (!policy.lazy || sockets.is_empty()) {
            group.waits = None;
        }
        let next = GenerationId(group.newest.0 + 1);
        let stays = |socket: &SocketStatus| sockets.iter().any(|other| other.address == socket.address);
        if !group.sockets.iter().all(stays) {
            (group.sockets_since, group.previous) = (next, None);
        }
        group.sockets = sockets;
        // The next one is what the upgrade is to.
        group.plan_policy(policy, replace.then_some(next));
        // A preflight that runs by itself has its new period from here on.
        group.next_preflight = None;
        let stopped = group.stopped.is_some();
        let serial = replace.then(|| self.request_upgrade(id, None));
        if let Some(workers) = workers {
            self.resize(id, workers);
        }
        match (serial, workers) {
            (Some(serial), _) => Some((id, Goal::Rollout(serial))),
            (None, Some(_)) if !stopped => Some((id, Goal::Filled)),
            (None, _) => None,
        }
    }

    /// The new generation of a stopped group: nobody is to be replaced, and whoever is started has it.
    pub(super) fn adopt_at_rest(&mut self, id: GroupId, serial: u64, generation: GenerationId) {
        let group = &mut self.groups[id.0];
        group.commit(generation);
        group.want(generation);
        self.conclude(id, serial, Outcome::Done(format!("stopped; generation {} is next", generation.0)));
    }

    /// The plan does not have the group any more.
    fn remove_group(&mut self, id: GroupId) {
        if self.groups.get(id.0).is_none_or(|group| !group.is_planned()) {
            return;
        }
        self.note(id, Level::Info, Happening::GroupRemoved);
        let group = &mut self.groups[id.0];
        let rollout = group.rollout.take().map(|rollout| rollout.serial);
        let preparing = group.preparing.map(|(_, serial)| serial);
        for serial in rollout.into_iter().chain(preparing).chain(group.queued.take()) {
            self.conclude(id, serial, Outcome::Failed(Code::Failed, "removed meanwhile".into()));
        }
        let now = self.now;
        let group = &mut self.groups[id.0];
        group.presence = Presence::Removed;
        group.stopped.get_or_insert(now);
    }

    /// Asks the workers of a group that the plan has no more to finish and go.
    pub(super) fn drain_group(&mut self, id: GroupId) {
        self.give_up_preflight(id);
        let serving: Vec<ChildId> =
            self.workers_of(id).filter(|child| child.phase.is_serving()).map(|child| child.id).collect();
        for child in serving {
            self.stop_child(child, Reason::Removed);
        }
        self.groups[id.0].dirty = false;
    }

    /// Forgets a group that the plan has no more when nothing of it is left.
    pub(super) fn forget_group(&mut self, id: GroupId) {
        let group = &self.groups[id.0];
        let left = group.preparing.is_some() || !self.is_deserted(id);
        if group.presence != Presence::Removed || left {
            return;
        }
        self.note(id, Level::Info, Happening::GroupGone);
        let group = &mut self.groups[id.0];
        group.presence = Presence::Gone;
        group.slots.clear();
        group.prepared.clear();
        self.act(Action::ForgetGroup { group: id });
    }

    /// Before the image changes: the other one reads the plan for itself.
    pub(super) fn interrupt_reading(&mut self) -> Option<Action> {
        let (reload, _) = self.reloads.queue.front_mut()?.reading.take()?;
        Some(Action::StopReading { reload })
    }

    /// Whether a plan is to be read.
    pub(super) fn awaits_plan(&self) -> bool {
        !self.reloads.queue.is_empty()
    }

    /// When reading is late.
    pub(super) fn reading_deadline(&self) -> Option<Mono> {
        self.reloads.queue.front()?.reading.map(|(_, deadline)| deadline)
    }

    /// A client that is gone is not told; what it asked for is done all the same.
    pub(super) fn forget_reload_client(&mut self, client: ClientId) {
        for request in &mut self.reloads.queue {
            request.ticket = request.ticket.filter(|ticket| ticket.client != client);
        }
    }
}
