//! The machine that decides: which worker is started, signalled, given up. It is pure: events and the time go in,
//! actions come out, and nothing in this folder touches the system.
//!
//! # The machine in prose
//!
//! A **group** wants `target` **workers** of one **generation** (a prepared command with its environment, directory and
//! user). Each worker stands in a **slot**, a logical place; in an upgrade a slot has a new worker beside the old one,
//! and afterwards perhaps old ones that still finish their work. A worker also has an **index**, the smallest number
//! that no living worker of its group has.
//!
//! The only state is a flat table of children and a few facts about each group. Events edit records; then
//! [`Supervisor::converge`](Supervisor) compares the table with what is wanted and acts on the difference. It looks at
//! levels, never at edges, so whatever was missed heals at the next look. Numbers are counted from the table when they
//! are needed and stored nowhere.
//!
//! A worker dies healthy if it had shown that it is ready, or has run for a second where nothing more is asked, and the one
//! before it in its slot did not die just before. An exit with success, where the restart policy is content with that, is
//! the end of a task: its slot wants nobody any more.
//!
//! A group may [wait](idle) for its time or for a connection before it starts the first workers.
//!
//! Beside the workers stand hooks ([`hook`]), commands that are run for one purpose each. A worker may be looked at from
//! outside ([`probe`]), to see whether it is ready, and whether it still is.
//!
//! A worker goes forward through its phases, and only the reaper takes it out of the table:
//!
//! ```text
//!   Spawning --exec--> Starting --timer, ack, READY=1--> Ready
//!       |                  |                               |
//!       +------------------+----- asked to go -------------+--> Stopping --deadline--> Killed (again each second)
//!       +------------------+------------------+------------------+---------------------+--> reaped: out of the table
//! ```
//!
//! | event \ phase | Spawning | Starting | Ready | Stopping | Killed |
//! |---|---|---|---|---|---|
//! | `Forked` | note the pid | same | same | same | same |
//! | `Execed` | Starting (Ready if readiness is exec) | - | - | - | - |
//! | `Ready`, ack (manual) | Ready | Ready | noted | noted | noted |
//! | `Ready`, ack (else) | noted | noted | noted | noted | noted |
//! | deadline | Stopping, a failure | Ready (timer); Stopping, a failure (manual) | Stopping (watchdog) | Killed | SIGKILL again |
//! | `SpawnFailed` (fork) | out, a failure | - | - | out | out |
//! | `SpawnFailed` (later) | noted for the reaper | - | - | noted | noted |
//! | `Exited` | out, a failure | out, a failure | out; a failure unless healthy | out | out |
//! | asked to go | Stopping | Stopping | Stopping | - | - |
//!
//! Each look at a group, in this order:
//!
//! 1. **expire**: deadlines that have passed move their children on.
//! 2. If the group or the manager stops, or the plan has the group no more ([`reload`]), every serving child is asked to
//!    go, and that is all.
//! 3. The upgrade under way, if it has to stand a [`trial`], has stood it, or has failed.
//! 4. **cull**: children in slots beyond the target are asked to go.
//! 5. **retire** ([`upgrade`]): children that gave way to a modern one are asked to go. Nobody else is who serves: a
//!    worker of the committed generation does from its start, ready or not, any other once it is ready.
//! 6. **replenish** ([`upgrade`]): slots without a modern child get one, if back-off ([`backoff`]) and limits allow, and
//!    unless the manager is about to replace its own image ([`reexec`]).
//! 7. The rollout, if all is replaced, ends; waiting clients are answered.
//! 8. Probes that are due begin, and those that nobody waits for any more end.
//!
//! Shutdown is sticky and wins over everything. When it has begun and the table is empty, the machine asks to exit.

pub mod account;
mod backoff;
mod canonical;
mod child;
pub mod command;
mod deadlines;
mod drain;
pub mod event;
pub mod foreign;
mod gap;
mod group;
mod history;
mod hook;
mod idle;
mod life;
mod liveness;
pub mod note;
mod orphans;
mod probe;
mod reexec;
mod reload;
mod requests;
mod rollback;
mod shutdown;
pub mod snapshot;
pub mod standing;
mod trial;
mod upgrade;
mod waiter;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

#[doc(hidden)]
pub use canonical::{Canonical, Record, Wish};
pub use group::GroupStart;
pub use requests::MAX_WORKERS;

use crate::plan::{Level, ManagerPolicy, Readiness, Success};
use crate::process::Exit;
use crate::wildcard;
use account::Inquiry;
use backoff::Random;
use child::{Child, Phase};
use command::{ClientId, Reply, Selector, Ticket};
use drain::Drain;
use event::{Action, ChildId, Event, GroupId, Mono};
use group::{Group, Presence};
use note::{Counts, Happening, Note, Reason, Worker};
use orphans::Orphans;
use reexec::Reexec;
use reload::Reloads;
use shutdown::Shutdown;
use waiter::Waiter;

/// Who the manager is, for status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Instance name.
    pub name: String,
    /// Its pid.
    pub pid: i32,
}

/// The machine. Feed it with [`handle`](Supervisor::handle), then take actions from
/// [`poll_action`](Supervisor::poll_action) until there are none, then wait until
/// [`next_deadline`](Supervisor::next_deadline) or the next event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Supervisor {
    identity: Identity,
    policy: ManagerPolicy,
    started: Mono,
    now: Mono,
    groups: Vec<Group>,
    /// Ordered by id.
    children: Vec<Child>,
    next_child: ChildId,
    waiters: Vec<Waiter>,
    #[serde(default)]
    inquiries: Vec<Inquiry>,
    subscribers: Vec<(Ticket, Selector)>,
    #[serde(default)]
    drain: Option<Drain>,
    shutdown: Option<Shutdown>,
    reexec: Option<Reexec>,
    #[serde(default)]
    reloads: Reloads,
    #[serde(default)]
    orphans: Orphans,
    /// Counts the checks of new images, so that the answer to an earlier one is known for what it is.
    checks: u64,
    exited: bool,
    random: Random,
    /// Least important level that is logged.
    #[serde(default = "info")]
    level: Level,
    /// When the clock of [`Mono`] began, in milliseconds since 1970.
    #[serde(default)]
    epoch_ms: u64,
    #[serde(skip)]
    actions: Actions,
}

fn info() -> Level {
    Level::Info
}

/// Actions not taken yet; not part of what makes two states equal, since none are left between two events.
#[derive(Clone, Debug, Default)]
struct Actions(VecDeque<Action>);

impl PartialEq for Actions {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
    }
}

impl Eq for Actions {}

impl std::hash::Hash for Actions {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
    }
}

impl Supervisor {
    /// A machine for these groups, whose generation 1 is prepared. `seed` makes the jitter.
    pub fn new(identity: Identity, groups: Vec<GroupStart>, now: Mono, seed: u64) -> Self {
        let groups =
            groups.into_iter().enumerate().map(|(at, start)| Group::new(GroupId(at), start, now)).collect();
        Supervisor {
            identity,
            policy: ManagerPolicy::default(),
            started: now,
            now,
            groups,
            children: Vec::new(),
            next_child: ChildId(0),
            waiters: Vec::new(),
            inquiries: Vec::new(),
            subscribers: Vec::new(),
            drain: None,
            shutdown: None,
            reexec: None,
            reloads: Reloads::default(),
            orphans: Orphans::default(),
            checks: 0,
            exited: false,
            random: Random::new(seed),
            level: info(),
            epoch_ms: 0,
            actions: Actions::default(),
        }
    }

    /// The same machine, behaving by this policy instead of the default one.
    #[must_use]
    pub fn with_policy(mut self, policy: ManagerPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The same machine, which logs from this level on, and whose clock began that many milliseconds after 1970.
    #[must_use]
    pub fn with_log(mut self, level: Level, epoch_ms: u64) -> Self {
        (self.level, self.epoch_ms) = (level, epoch_ms);
        self
    }

    /// Takes an event into account. `now` never goes back; events of one pass carry the same moment.
    pub fn handle(&mut self, now: Mono, event: Event) {
        self.advance(now, event == Event::Timeout);
        match event {
            Event::Start => {
                self.note_manager(Level::Info, Happening::Started);
                self.touch_all();
            }
            // To move the time on was all.
            Event::Timeout => {}
            Event::Lost(gap) => self.lost(gap),
            Event::Prepared { group, generation, outcome } => {
                if group.0 < self.groups.len() {
                    self.prepared(group, generation, outcome);
                    self.groups[group.0].dirty = true;
                }
            }
            Event::Irretrievable { group, generation, reason } => {
                if group.0 < self.groups.len() {
                    self.note(group, Level::Warn, Happening::Irretrievable(generation.0, reason));
                }
            }
            Event::LedAstray { group, generation, reason } => {
                if let Some(found) = self.groups.get_mut(group.0) {
                    found.astray = Some((generation, reason));
                }
            }
            Event::SocketRenewed { group } => self.socket_renewed(group),
            Event::Forked { child, pid } => self.forked(child, pid),
            Event::Execed { child } => self.execed(child),
            Event::SpawnFailed { child, stage, errno } => self.spawn_failed(child, stage, errno),
            Event::HookFailed { child, why } => self.hook_failed(child, why),
            Event::Remains { child, remains } => {
                if let Some(child) = self.child_mut(child) {
                    child.remains = remains;
                }
            }
            Event::Exited { child, exit } => self.exited(child, exit),
            Event::LeaderEnded { child, exit } => self.leader_ended(child, exit),
            Event::HandedOver { child, pid } => self.handed_over(child, pid),
            Event::TreeGone { child } => self.tree_gone(child),
            Event::OrphanFound { pid, name } => self.orphan_found(pid, name),
            Event::OrphanGone { pid } => self.orphan_gone(pid),
            Event::ProgramRead { group, other } => self.program_read(group, other),
            Event::ProgramPrepared { group, program } => self.program_prepared(group, program),
            Event::ListenerReadable { group } => self.listener_readable(group),
            Event::Probed { child, finding } => self.probed(child, finding),
            Event::Ready { child } => {
                self.acked(child);
            }
            Event::Said { child, word } => self.said(child, word),
            Event::Signaled(signal) => self.signaled(signal),
            Event::TerminalGone => self.terminal_gone(),
            Event::Request { ticket, origin, verb } => {
                self.touch_all();
                self.request(ticket, origin, verb);
            }
            Event::ClientGone(client) => self.client_gone(client),
            Event::PlanRead { reload, outcome } => self.plan_read(reload, outcome),
            Event::NewPlan { reload, outcome } => self.new_plan(reload, outcome),
            Event::ImageChecked { check, outcome } => self.image_checked(check, outcome),
            Event::ReexecFailed(reason) => self.reexec_failed(reason),
            Event::Reexeced => self.reexeced(),
        }
    }

    /// The next thing to be done, if any. Call until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.actions.0.is_empty() && !self.exited {
            self.converge();
        }
        self.actions.0.pop_front().or_else(|| self.due_reexec())
    }

    fn touch_all(&mut self) {
        for group in &mut self.groups {
            group.dirty = true;
        }
    }

    fn client_gone(&mut self, client: ClientId) {
        self.waiters.retain(|waiter| waiter.ticket.client != client);
        self.inquiries.retain(|inquiry| inquiry.ticket.client != client);
        self.subscribers.retain(|(ticket, _)| ticket.client != client);
        self.forget_drain_client(client);
        self.forget_reexec_client(client);
        self.forget_reload_client(client);
    }

    // ---- the look at the table -----------------------------------------------------------------------------------

    fn converge(&mut self) {
        let now = self.now;
        self.watch_reexec();
        self.watch_reload();
        self.watch_drain();
        for at in 0..self.groups.len() {
            if std::mem::take(&mut self.groups[at].dirty) {
                self.converge_group(GroupId(at), now);
            }
        }
        self.answer_waiters();
        self.tell_awaited();
        let code = self.exit_code();
        self.watch_orphans(code.is_some());
        if let Some(code) = code.filter(|_| self.orphans_are_settled()) {
            self.end_reexec();
            self.end_drain();
            self.tell_survivors();
            self.exited = true;
            self.act(Action::Exit(code));
        }
    }

    fn converge_group(&mut self, id: GroupId, now: Mono) {
        self.expire(id, now);
        let shutdown = self.shutdown.as_ref().map(|shutdown| (shutdown.since, shutdown.at_once));
        if self.groups[id.0].presence == Presence::Removed && shutdown.is_none() {
            self.drain_group(id);
        } else if let Some(since) = self.groups[id.0].stopped.or(shutdown.map(|(since, _)| since)) {
            self.stop_group(id, since, shutdown.is_some_and(|(_, at_once)| at_once), now);
        } else {
            self.try_rollout(id);
            self.cull(id);
            let mut views = self.groups[id.0].views(&self.children);
            self.retire(id, &mut views);
            self.warm_up(id);
            if !self.is_settling() && self.groups[id.0].waits.is_none() {
                self.replenish(id, &mut views, now);
            }
            self.finish_rollout(id, &views);
            self.look_at_program(id);
            self.begin_queued(id);
            self.start_preflight(id);
        }
        self.probe_workers(id);
        let views = self.groups[id.0].views(&self.children);
        self.settle(id, &views, now);
        self.forget_generations(id);
        self.forget_group(id);
    }

    /// Moves on every child of a group whose deadline has passed.
    fn expire(&mut self, id: GroupId, now: Mono) {
        let group = &self.groups[id.0];
        let timer = |child: &Child| matches!(group.policy_of(child.generation).ready, Readiness::Timer(_));
        let due: Vec<(ChildId, Phase, bool, bool)> = self
            .children
            .iter()
            .filter(|child| child.group == id && child.deadline.is_some_and(|deadline| deadline <= now))
            .map(|child| (child.id, child.phase, child.hook.is_some(), timer(child)))
            .collect();
        for (child, phase, hook, timer) in due {
            match phase {
                _ if hook => self.hook_is_late(child),
                Phase::Starting if timer => self.mark_ready(child),
                Phase::Spawning | Phase::Starting => self.miss_deadline(child),
                Phase::Ready => self.miss_sign_of_life(child),
                Phase::Stopping => self.press_child(child),
                Phase::Killed => self.kill_child(child),
            }
        }
    }

    /// Asks every serving child to go, and lets no drain outlast the stop.
    fn stop_group(&mut self, id: GroupId, since: Mono, at_once: bool, now: Mono) {
        let latest = since.within(self.groups[id.0].policy.stop_timeout);
        self.give_up_preflight(id);
        self.hasten_hooks(id, latest, at_once);
        let all: Vec<(ChildId, Phase)> = self.workers_of(id).map(|child| (child.id, child.phase)).collect();
        for (child, phase) in all {
            match phase {
                Phase::Spawning | Phase::Starting | Phase::Ready | Phase::Stopping if at_once => {
                    self.kill_child(child)
                }
                Phase::Spawning | Phase::Starting | Phase::Ready => self.stop_child(child, Reason::Stop),
                Phase::Stopping => {
                    if let Some(child) = self.child_mut(child).filter(|child| child.steps == 0) {
                        child.hasten(latest, now);
                    }
                }
                Phase::Killed => {}
            }
        }
        self.groups[id.0].dirty = false;
    }

    /// Asks children in slots beyond the target to go.
    fn cull(&mut self, id: GroupId) {
        let target = self.groups[id.0].target();
        let surplus: Vec<ChildId> = self
            .workers_of(id)
            .filter(|child| child.slot >= target && child.phase.is_serving())
            .map(|child| child.id)
            .collect();
        for child in surplus {
            self.stop_child(child, Reason::Scale);
        }
    }

    // ---- the rest ------------------------------------------------------------------------------------------------

    /// Lets the driver drop generations that nobody runs or will run.
    fn forget_generations(&mut self, id: GroupId) {
        let group = &mut self.groups[id.0];
        let kept = [group.generation, group.committed, group.previous.unwrap_or(group.committed)];
        let children = &self.children;
        let mut forgotten = Vec::new();
        group.prepared.retain(|&generation| {
            let needed = kept.contains(&generation)
                || children.iter().any(|child| child.group == id && child.generation == generation);
            if !needed {
                forgotten.push(generation);
            }
            needed
        });
        group.forget_policies();
        for generation in forgotten {
            self.groups[id.0].history.forget(generation);
            self.act(Action::Forget { group: id, generation });
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.0.push_back(action);
    }

    fn note_manager(&mut self, level: Level, what: Happening) {
        self.publish(Note { level, group: None, worker: None, counts: None, what });
    }

    fn note(&mut self, id: GroupId, level: Level, what: Happening) {
        let (group, counts) = self.describe(id);
        self.publish(Note { level, group, worker: None, counts, what });
    }

    fn note_worker(&mut self, id: GroupId, level: Level, worker: Worker, what: Happening) {
        let (group, counts) = self.describe(id);
        self.publish(Note { level, group, worker: Some(worker), counts, what });
    }

    /// A group's name and how it stands.
    fn describe(&self, id: GroupId) -> (Option<String>, Option<Counts>) {
        let group = &self.groups[id.0];
        let of_group = self.workers_of(id);
        let (mut ready, mut draining) = (0, 0);
        for child in of_group {
            let counted =
                child.phase == Phase::Ready && group.is_modern(child) && child.slot < group.target();
            ready += u32::from(counted);
            draining += u32::from(!child.phase.is_serving());
        }
        (Some(group.name.clone()), Some(Counts { ready, target: group.target(), draining }))
    }

    fn publish(&mut self, note: Note) {
        let interested: Vec<Ticket> = self
            .subscribers
            .iter()
            .filter(|(_, selector)| match (selector, &note.group) {
                (Some(pattern), Some(group)) => wildcard::matches(pattern, group),
                (None, _) | (_, None) => true,
            })
            .map(|&(ticket, _)| ticket)
            .collect();
        for ticket in interested {
            self.act(Action::Reply { ticket, reply: Reply::Event(Box::new(note.clone())), last: false });
        }
        self.act(Action::Note(note));
    }
}

fn is_success(success: &[Success], exit: Exit) -> bool {
    success.iter().any(|success| match (success, exit) {
        (Success::Exit(wanted), Exit::Code(code)) => *wanted == code,
        (Success::Signal(wanted), Exit::Signal(signal)) => *wanted == signal,
        (Success::Exit(_) | Success::Signal(_), Exit::Code(_) | Exit::Signal(_) | Exit::Unknown) => false,
    })
}
