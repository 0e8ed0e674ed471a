//! A simulated system under the machine, and what must hold after every step whatever happens.
//!
//! The [`World`] does what the driver does, in the driver's order: it performs actions, forks and reaps, and tells the
//! machine. What a process or a client does is decided by the test. It knows the machine only by its actions, its
//! notes and the table it shows, and keeps its own account of them; a difference is a violation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remuda::plan::{
    Dialect, Level, LogFormat, LogSpec, ManagerPolicy, OwnProcess, Plan, Policy, Readiness, Restart, Success,
    UpgradeMode,
};
use remuda::process::{Exit, Stage};
use remuda::reading::Reading;
use remuda::signame::Signal;
use remuda::supervisor::command::{ClientId, Origin, Ticket, Verb};
use remuda::supervisor::event::{
    Action, Change, ChildId, Event, Finding, GenerationId, GroupId, HookKind, Mono, NewPlan,
};
use remuda::supervisor::note::{Happening, Note, Reason};
use remuda::supervisor::snapshot::{SocketStatus, WorkerPhase};
use remuda::supervisor::{GroupStart, Identity, Supervisor};

/// What went wrong.
pub(crate) type Violation = String;

macro_rules! demand {
    ($truth:expr, $($words:tt)+) => {
        if !$truth {
            return Err(format!($($words)+));
        }
    };
}

/// How often the machine repeats SIGKILL.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stride {
    /// Asked for, not forked.
    Asked,
    /// Forked; its program does not run yet.
    Forked,
    /// A step after the fork failed; it is a zombie.
    Failed,
    /// Its program runs.
    Running,
}

/// One process, from before its fork until it is reaped.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) group: GroupId,
    pub(crate) slot: u32,
    pub(crate) index: u32,
    pub(crate) generation: GenerationId,
    pub(crate) pid: i32,
    pub(crate) stride: Stride,
    /// When the machine said that it is ready.
    pub(crate) ready: Option<Mono>,
    /// What it is run for, if it is no worker.
    pub(crate) hook: Option<HookKind>,
    /// The last signal it was sent.
    signalled: Option<Signal>,
    /// The last signal by which the machine asked it to go, as it said.
    pub(crate) asked: Option<Signal>,
    /// It goes because another one has its place, or the upgrade that it was started for is no more.
    retired: bool,
    /// Its leader has ended, and others of its tree live.
    pub(crate) remnant: bool,
}

impl Process {
    /// A worker whose program runs.
    pub(crate) fn can_hand_over(&self) -> bool {
        self.stride == Stride::Running && self.hook.is_none() && !self.remnant
    }

    /// A worker that takes requests and may go on doing so: one that is ready, or whose program runs where that is what
    /// was there before any upgrade.
    fn is_up(&self, committed: GenerationId) -> bool {
        let serves = self.ready.is_some() || (self.stride == Stride::Running && self.generation == committed);
        self.hook.is_none() && serves && self.asked.is_none()
    }
}

/// What one group may do next, as its notes promise it.
#[derive(Clone, Debug)]
struct Watch {
    /// The generation whose upgrade was done last.
    committed: GenerationId,
    /// The one of the last upgrade that began.
    wanted: GenerationId,
    /// Workers before this one are to be replaced by the last restart.
    restarted: ChildId,
    /// No spawn before this moment but in slots whose worker died healthy.
    not_before: Option<Mono>,
    /// Until one of the spawns from this id on is ready: one at a time.
    probation: Option<ChildId>,
    /// Slots whose last worker died healthy.
    urgent: BTreeSet<u32>,
    /// When the last worker of a slot ended unasked, and until when the slot rests since two did so in too short a time.
    ends: BTreeMap<u32, Mono>,
    rests: BTreeMap<u32, Mono>,
    /// Slots in which a worker has ended as the restart policy wants it, and those in which that was so before the rollout
    /// under way.
    done: BTreeSet<u32>,
    done_before: Option<BTreeSet<u32>>,
    /// Slots in which a worker is up, and stays so unless it dies or somebody asks for less.
    up: BTreeSet<u32>,
    /// It said that it makes no more attempts.
    gave_up: bool,
    /// It said that it stops.
    stopping: bool,
}

impl Watch {
    fn new() -> Self {
        Watch {
            committed: GenerationId(1),
            wanted: GenerationId(1),
            restarted: ChildId(0),
            not_before: None,
            probation: None,
            urgent: BTreeSet::new(),
            ends: BTreeMap::new(),
            rests: BTreeMap::new(),
            done: BTreeSet::new(),
            done_before: None,
            up: BTreeSet::new(),
            gave_up: false,
            stopping: false,
        }
    }

    /// What comes now has nothing to do with what failed.
    fn forgive(&mut self) {
        (self.not_before, self.probation, self.gave_up) = (None, None, false);
        self.forget_ends();
    }

    fn forget_ends(&mut self) {
        self.ends.clear();
        self.rests.clear();
        self.done.clear();
    }

    /// A worker has ended unasked. Returns whether the one before it in its slot had done so a short time ago.
    fn end(&mut self, slot: u32, now: Mono, policy: &Policy) -> bool {
        let Some(before) = self.ends.insert(slot, now) else { return false };
        let last_turn = self.rests.get(&slot).copied().unwrap_or(before).max(before);
        if now.since(last_turn) < policy.floor() {
            self.rests.insert(slot, last_turn.after(policy.floor()));
        } else {
            self.rests.remove(&slot);
        }
        now.since(before) < policy.crash_window
    }
}

/// What stands in the plan is told by a [`Revision`].
fn nothing_read() -> Reading {
    let plan = Plan {
        name: "world".into(),
        groups: Vec::new(),
        control: None,
        dialect: Dialect::Native,
        manager: ManagerPolicy::default(),
        log: LogSpec::stderr(Level::Info, LogFormat::Plain),
        pidfile: None,
        source: None,
        subreaper: false,
        own: OwnProcess::default(),
        activation: false,
    };
    Reading { plan, left_out: Vec::new(), warnings: Vec::new(), hosts: Vec::new() }
}

/// The machine on a simulated system.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) machine: Supervisor,
    pub(crate) now: Mono,
    pub(crate) processes: BTreeMap<ChildId, Process>,
    /// Connections by which workers are being looked at.
    pub(crate) probes: BTreeSet<ChildId>,
    /// Processes that no worker has in its tree, by pid, with the last signal that each was sent.
    pub(crate) orphans: BTreeMap<i32, Option<Signal>>,
    /// Those of them that nobody has told of.
    pub(crate) hidden: BTreeSet<i32>,
    /// Generations to be prepared.
    pub(crate) prepares: Vec<(GroupId, GenerationId)>,
    /// The new image that is asked whether it can go on, and whether the machine asked to change over to it.
    pub(crate) checking: Option<u64>,
    pub(crate) executing: bool,
    /// The plan is being read, and how it differs.
    pub(crate) reading: Option<u64>,
    reading_since: Mono,
    pub(crate) revision: Option<Revision>,
    /// Which groups the plan has, and which have a row in the driver's table.
    planned: Vec<bool>,
    present: Vec<bool>,
    /// Requests that are not answered yet.
    pub(crate) waiting: Vec<Ticket>,
    pub(crate) exit: Option<u8>,
    pub(crate) shutdown: bool,
    /// Reaped pids, to be used again before fresh ones.
    free: Vec<i32>,
    next_pid: i32,
    next_client: u64,
    watches: Vec<Watch>,
    policies: std::rc::Rc<Vec<Policy>>,
}

/// How the plan is another one the next time it is read. Groups that are not there are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Revision {
    /// It is the same.
    None,
    /// A group has another program.
    Replace(usize),
    /// It has another number of workers.
    Scale(usize, u32),
    /// It is not there any more.
    Remove(usize),
    /// It is there again.
    Add(usize),
}

fn start(at: usize, policy: &Policy) -> GroupStart {
    GroupStart {
        name: format!("g{at}"),
        policy: policy.clone(),
        sockets: policy.lazy.then(socket).into_iter().collect(),
    }
}

impl World {
    /// A world in which the machine has begun.
    pub(crate) fn new(policies: Vec<Policy>) -> Result<Self, Violation> {
        let groups = policies.iter().enumerate().map(|(at, policy)| start(at, policy));
        let now = Mono(1_000_000);
        let identity = Identity { name: "world".into(), pid: 1 };
        let mut world = World {
            machine: Supervisor::new(identity, groups.collect(), now, 7),
            now,
            processes: BTreeMap::new(),
            probes: BTreeSet::new(),
            orphans: BTreeMap::new(),
            hidden: BTreeSet::new(),
            prepares: Vec::new(),
            checking: None,
            executing: false,
            reading: None,
            reading_since: now,
            revision: None,
            planned: vec![true; policies.len()],
            present: vec![true; policies.len()],
            waiting: Vec::new(),
            exit: None,
            shutdown: false,
            free: Vec::new(),
            next_pid: 100,
            next_client: 0,
            watches: vec![Watch::new(); policies.len()],
            policies: std::rc::Rc::new(policies),
        };
        world.feed(Event::Start)?;
        Ok(world)
    }

    // ---- what happens --------------------------------------------------------------------------------------------

    /// The oldest spawn that was asked for and not carried out; nothing else happens before it.
    pub(crate) fn pending_fork(&self) -> Option<ChildId> {
        self.processes.iter().find(|(_, process)| process.stride == Stride::Asked).map(|(&child, _)| child)
    }

    fn free_pid(&mut self) -> i32 {
        self.free.pop().unwrap_or_else(|| {
            self.next_pid += 1;
            self.next_pid
        })
    }

    pub(crate) fn fork(&mut self, child: ChildId) -> Result<(), Violation> {
        let pid = self.free_pid();
        if let Some(process) = self.processes.get_mut(&child) {
            (process.pid, process.stride) = (pid, Stride::Forked);
        }
        self.feed(Event::Forked { child, pid })
    }

    pub(crate) fn fail_fork(&mut self, child: ChildId) -> Result<(), Violation> {
        self.processes.remove(&child);
        self.feed(Event::SpawnFailed { child, stage: Stage::Fork, errno: libc::EAGAIN })
    }

    pub(crate) fn exec(&mut self, child: ChildId) -> Result<(), Violation> {
        if let Some(process) = self.processes.get_mut(&child) {
            process.stride = Stride::Running;
        }
        self.feed(Event::Execed { child })
    }

    /// The status pipe tells of a failure, and the process can be reaped.
    pub(crate) fn fail_exec(&mut self, child: ChildId, errno: i32) -> Result<(), Violation> {
        if let Some(process) = self.processes.get_mut(&child) {
            process.stride = Stride::Failed;
        }
        self.feed(Event::SpawnFailed { child, stage: Stage::Exec, errno })
    }

    pub(crate) fn ack(&mut self, child: ChildId) -> Result<(), Violation> {
        self.feed(Event::Ready { child })
    }

    pub(crate) fn die(&mut self, child: ChildId, exit: Exit) -> Result<(), Violation> {
        if self.processes.get(&child).is_some_and(|process| process.remnant) {
            return self.leave_nobody(child);
        }
        self.look_for_orphans();
        if let Some(process) = self.processes.remove(&child) {
            self.free.push(process.pid);
            self.account_for(child, &process, exit);
        }
        self.feed(Event::Exited { child, exit })
    }

    /// The leader of a tree ends before others of it: it is a worker no more, and they drain.
    pub(crate) fn end_before_others(&mut self, child: ChildId, exit: Exit) -> Result<(), Violation> {
        let process = self.processes.get(&child).filter(|process| process.can_hand_over());
        let Some(process) = process.cloned() else {
            return self.die(child, exit);
        };
        self.look_for_orphans();
        self.account_for(child, &process, exit);
        if let Some(process) = self.processes.get_mut(&child) {
            (process.remnant, process.retired) = (true, true);
            process.asked.get_or_insert(Signal::TERM);
        }
        self.feed(Event::LeaderEnded { child, exit })
    }

    /// Another process of a worker's tree becomes the worker; the one before it ends then. It has heard nothing of what that
    /// one was asked.
    pub(crate) fn hand_over(&mut self, child: ChildId) -> Result<(), Violation> {
        let pid = self.free_pid();
        let Some(process) = self.processes.get_mut(&child).filter(|process| process.can_hand_over()) else {
            self.free.push(pid);
            return Ok(());
        };
        self.free.push(std::mem::replace(&mut process.pid, pid));
        process.signalled = None;
        self.feed(Event::HandedOver { child, pid })?;
        let asked = |process: &Process| process.asked.is_none() || process.signalled.is_some();
        let hears = self.processes.get(&child).is_none_or(asked);
        demand!(hears, "{child:?} is asked to go, and whoever has taken its place hears nothing of that");
        Ok(())
    }

    /// A process that a worker has started and that is not in its tree comes to the manager, which is told of it, or finds it
    /// when it looks: if somebody ends, or if the machine wants it.
    pub(crate) fn orphan_comes(&mut self, told: bool) -> Result<(), Violation> {
        if !self.processes.values().any(Process::can_hand_over) {
            return Ok(());
        }
        let pid = self.free_pid();
        self.orphans.insert(pid, None);
        if !told {
            self.hidden.insert(pid);
            return Ok(());
        }
        self.feed(Event::OrphanFound { pid, name: "orphan".into() })
    }

    pub(crate) fn orphan_goes(&mut self, pid: i32) -> Result<(), Violation> {
        self.orphans.remove(&pid);
        self.free.push(pid);
        let unknown = self.hidden.remove(&pid);
        self.look_for_orphans();
        self.feed(if unknown { Event::Timeout } else { Event::OrphanGone { pid } })
    }

    fn look_for_orphans(&mut self) {
        for pid in std::mem::take(&mut self.hidden) {
            self.machine.handle(self.now, Event::OrphanFound { pid, name: "orphan".into() });
        }
    }

    /// One that was asked to go.
    pub(crate) fn asked_orphan(&self) -> Option<i32> {
        self.orphans.iter().find(|(_, signal)| signal.is_some()).map(|(&pid, _)| pid)
    }

    /// The last one of a tree ends.
    fn leave_nobody(&mut self, child: ChildId) -> Result<(), Violation> {
        if let Some(process) = self.processes.remove(&child) {
            self.free.push(process.pid);
        }
        self.feed(Event::TreeGone { child })
    }

    /// What the end of a process means for what may come next.
    fn account_for(&mut self, child: ChildId, process: &Process, exit: Exit) {
        let policy = &self.policies[process.group.0];
        let unasked = process.hook.is_none() && process.asked.is_none();
        let soon = unasked && self.watches[process.group.0].end(process.slot, self.now, policy);
        let healthy = is_healthy(process, policy, self.now) && (is_success(policy, exit) || !soon);
        let wish = self.machine.wishes().nth(process.group.0);
        let wanted = wish.map(|wish| wish.generation);
        let in_place = wish.is_some_and(|wish| process.slot < wish.target);
        let restarted = self.watches[process.group.0].restarted;
        let mut others = self.processes.iter().filter(|(id, _)| **id != child);
        let shared = others.any(|(&id, other)| {
            let modern = Some(other.generation) == wanted && id >= restarted;
            let successor = other.hook.is_none() && modern && other.asked.is_none();
            (other.group, other.slot) == (process.group, process.slot) && successor
        });
        let Watch { urgent, up, committed, done, .. } = &mut self.watches[process.group.0];
        if process.is_up(*committed) {
            up.remove(&process.slot);
        }
        match (process.asked, healthy) {
            _ if process.hook.is_some() => {}
            (Some(_), _) => {}
            (None, true) if shared => {}
            (None, true) => _ = urgent.insert(process.slot),
            (None, false) => _ = urgent.remove(&process.slot),
        }
        let content = policy.restart != Restart::Always && is_success(policy, exit);
        if unasked
            && content
            && in_place
            && Some(process.generation) == wanted
            && process.stride == Stride::Running
        {
            done.insert(process.slot);
        }
    }

    /// The process goes as it was asked to.
    pub(crate) fn obey(&mut self, child: ChildId) -> Result<(), Violation> {
        let signal = self.processes.get(&child).and_then(|process| process.asked).unwrap_or(Signal::KILL);
        self.die(child, Exit::Signal(signal))
    }

    pub(crate) fn prepared(&mut self, at: usize, outcome: Result<(), String>) -> Result<(), Violation> {
        let (group, generation) = self.prepares.remove(at);
        self.feed(Event::Prepared { group, generation, outcome })
    }

    /// The new image has said whether it can go on.
    pub(crate) fn checked(&mut self, outcome: Result<(), String>) -> Result<(), Violation> {
        let Some(check) = self.checking.take() else { return Ok(()) };
        self.feed(Event::ImageChecked { check, outcome })
    }

    /// For how long the plan has been read.
    #[allow(dead_code, reason = "only a search asks for it")]
    pub(crate) fn reading_for(&self) -> Option<Duration> {
        self.reading.map(|_| self.now.since(self.reading_since))
    }

    /// The oldest generation of which workers are on their way out.
    #[allow(dead_code, reason = "only a search asks for it")]
    pub(crate) fn draining(&self) -> Option<GenerationId> {
        let leaving =
            self.processes.values().filter(|process| process.hook.is_none() && process.asked.is_some());
        leaving.map(|process| process.generation).min()
    }

    /// The plan was read, or cannot be.
    pub(crate) fn plan_read(&mut self, outcome: Result<(), String>) -> Result<(), Violation> {
        let Some(reload) = self.reading.take() else { return Ok(()) };
        if outcome.is_err() {
            self.revision = None;
        }
        let outcome = outcome.map(|()| Box::new(nothing_read())).map_err(|why| vec![why]);
        self.feed(Event::PlanRead { reload, outcome })
    }

    /// The image is replaced: what the machine knows is written down and read again by another one.
    pub(crate) fn cross(&mut self) -> Result<(), Violation> {
        self.executing = false;
        // The other one has none of the connections of this one.
        self.probes.clear();
        let text = serde_json::to_string(&self.machine).map_err(|error| error.to_string())?;
        self.machine = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        self.feed(Event::Reexeced)
    }

    pub(crate) fn fail_to_cross(&mut self) -> Result<(), Violation> {
        self.executing = false;
        self.feed(Event::ReexecFailed("no such file".into()))
    }

    /// The connection to a worker has come to something.
    pub(crate) fn probed(&mut self, child: ChildId, finding: Finding) -> Result<(), Violation> {
        self.probes.remove(&child);
        self.feed(Event::Probed { child, finding })
    }

    /// Time passes. Deadlines that have come are told of as one.
    pub(crate) fn advance(&mut self, span: Duration) -> Result<(), Violation> {
        self.now = self.now.after(span);
        if self.machine.next_deadline().is_none_or(|deadline| deadline > self.now) {
            return Ok(());
        }
        self.feed(Event::Timeout)?;
        let next = self.machine.next_deadline();
        demand!(
            next.is_none_or(|next| next > self.now),
            "a timeout at {:?} leaves the deadline {next:?}: the loop would spin",
            self.now
        );
        Ok(())
    }

    /// Time passes until the next deadline. False if there is none.
    pub(crate) fn advance_to_deadline(&mut self) -> Result<bool, Violation> {
        let Some(deadline) = self.machine.next_deadline() else { return Ok(false) };
        self.advance(deadline.since(self.now)).map(|()| true)
    }

    pub(crate) fn ask(&mut self, verb: Verb) -> Result<Ticket, Violation> {
        self.next_client += 1;
        let ticket = Ticket { client: ClientId(self.next_client), request: 1 };
        let origin = Origin { pid: 2, process_group: 2, trusted: true };
        self.waiting.push(ticket);
        if let Verb::Stop(None, _) = verb {
            self.shutdown = true;
        }
        self.feed(Event::Request { ticket, origin, verb })?;
        Ok(ticket)
    }

    pub(crate) fn hang_up(&mut self, client: ClientId) -> Result<(), Violation> {
        self.waiting.retain(|ticket| ticket.client != client);
        self.feed(Event::ClientGone(client))
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), Violation> {
        self.shutdown |= matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT);
        self.feed(Event::Signaled(signal))
    }

    /// One step of a world in which everybody behaves: spawns succeed, programs start and ack, what is asked to go
    /// goes, and time passes. False if there is nothing left to happen.
    pub(crate) fn behave(&mut self) -> Result<bool, Violation> {
        if self.exit.is_some() {
            return Ok(false);
        }
        if let Some(child) = self.pending_fork() {
            return self.fork(child).map(|()| true);
        }
        if self.executing {
            return self.cross().map(|()| true);
        }
        if !self.prepares.is_empty() {
            return self.prepared(0, Ok(())).map(|()| true);
        }
        if self.checking.is_some() {
            return self.checked(Ok(())).map(|()| true);
        }
        if self.reading.is_some() {
            return self.plan_read(Ok(())).map(|()| true);
        }
        if let Some(&child) = self.probes.first() {
            return self.probed(child, Finding::Well).map(|()| true);
        }
        if let Some(pid) = self.asked_orphan() {
            return self.orphan_goes(pid).map(|()| true);
        }
        match self.processes.keys().copied().find(|&child| self.due(child).is_some()) {
            Some(child) => self.proceed(child).map(|()| true),
            None => self.advance_to_deadline(),
        }
    }

    /// What a process does next if it behaves.
    fn due(&self, child: ChildId) -> Option<Due> {
        let process = self.processes.get(&child)?;
        let manual = self.policies[process.group.0].ready == Readiness::Manual;
        match process.stride {
            Stride::Asked => None,
            Stride::Failed => Some(Due::Reap),
            Stride::Forked | Stride::Running if process.asked.is_some() => Some(Due::Go),
            Stride::Forked => Some(Due::Exec),
            Stride::Running if process.hook.is_some() => Some(Due::End),
            Stride::Running if manual && process.ready.is_none() => Some(Due::Ack),
            Stride::Running => None,
        }
    }

    /// A process does what it is to do next, if anything.
    pub(crate) fn proceed(&mut self, child: ChildId) -> Result<(), Violation> {
        match self.due(child) {
            Some(Due::Reap) => self.die(child, Exit::Code(127)),
            Some(Due::Go) => self.obey(child),
            Some(Due::Exec) => self.exec(child),
            Some(Due::Ack) => self.ack(child),
            Some(Due::End) => self.die(child, Exit::Code(0)),
            None => Ok(()),
        }
    }

    /// Whether something goes on in it also when all is quiet: ready workers are looked at.
    #[allow(dead_code, reason = "only the simulation asks for it")]
    pub(crate) fn looks_for_ever(&self) -> bool {
        self.policies.iter().any(|policy| policy.live_check.is_some())
    }

    /// What must be so when everybody behaves and nothing is left to happen.
    pub(crate) fn at_rest(&self) -> Result<(), Violation> {
        demand!(self.waiting.is_empty(), "all is quiet, and {:?} still wait", self.waiting);
        if self.exit.is_some() {
            return Ok(());
        }
        demand!(!self.shutdown, "all is quiet after a request to stop, and nobody asked to exit");
        for (at, wish) in self.machine.wishes().enumerate() {
            let of_group = |process: &&Process| process.group.0 == at;
            let looks = |process: &Process| matches!(process.hook, Some(HookKind::Probe(_)));
            let own: Vec<&Process> =
                self.processes.values().filter(of_group).filter(|process| !looks(process)).collect();
            if wish.stopped {
                demand!(own.is_empty(), "g{at} is stopped, and {own:?} live");
                continue;
            }
            if wish.waiting {
                demand!(own.is_empty(), "g{at} waits, and {own:?} live");
                continue;
            }
            demand!(!wish.changing, "all is quiet, and a rollout of g{at} is not over");
            // A roll-back that was given up leaves in place what nobody came to replace.
            let unfinished = wish.gave_up && self.policies[at].give_up_roll_back;
            let modern = |process: &Process| process.generation == wish.generation || unfinished;
            demand!(
                own.iter().all(|process| modern(process) && process.ready.is_some()),
                "all is quiet, and not every worker of g{at} is ready and of {:?}: {own:?}",
                wish.generation
            );
            let count = own.len() as u32;
            let full = count + wish.finished == wish.target || (wish.gave_up && count <= wish.target);
            demand!(full, "all is quiet, and g{at} has {count} of {} workers", wish.target);
        }
        Ok(())
    }

    /// Everything that decides what can happen from here, and nothing else.
    #[allow(dead_code, reason = "only a search asks for it")]
    pub(crate) fn canonical(&self) -> impl std::hash::Hash + Eq + use<> {
        let of_process = |process: &Process| {
            (process.stride, process.asked.is_some(), process.hook.is_some(), process.remnant)
        };
        let newest =
            |group: GroupId| self.prepares.iter().filter(|prepare| prepare.0 == group).map(|p| p.1).max();
        let of_watch = |watch: &Watch| {
            let probation = watch.probation.map(|mark| self.processes.range(..mark).count());
            let wait = watch.not_before.map_or(Duration::ZERO, |moment| moment.since(self.now));
            let rests: Vec<u32> =
                watch.rests.iter().filter(|(_, at)| **at > self.now).map(|(&slot, _)| slot).collect();
            let done = (watch.done.clone(), watch.done_before.clone());
            (wait, probation, watch.urgent.clone(), rests, done, watch.gave_up, watch.stopping)
        };
        (
            self.machine.canonical(),
            self.processes
                .iter()
                .map(|(child, process)| (of_process(process), self.probes.contains(child)))
                .collect::<Vec<_>>(),
            self.prepares.iter().map(|&(group, at)| (group.0, newest(group) == Some(at))).collect::<Vec<_>>(),
            self.orphans
                .iter()
                .map(|(pid, signal)| (signal.map(|signal| signal.0), self.hidden.contains(pid)))
                .collect::<BTreeSet<_>>(),
            self.waiting.len(),
            (self.exit, self.shutdown, self.checking.is_some(), self.executing),
            (self.reading.is_some(), self.revision, self.planned.clone(), self.present.clone()),
            self.watches.iter().map(of_watch).collect::<Vec<_>>(),
        )
    }

    // ---- what the machine does -----------------------------------------------------------------------------------

    fn feed(&mut self, event: Event) -> Result<(), Violation> {
        self.machine.handle(self.now, event);
        while let Some(action) = self.machine.poll_action() {
            demand!(self.exit.is_none(), "after the exit it asks for {action:?}");
            demand!(!self.executing, "after the change of image it asks for {action:?}");
            self.perform(action)?;
        }
        self.check()
    }

    fn perform(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Spawn { child, group, generation, slot, index } => {
                self.check_spawn(child, group, slot)?;
                let process = Process {
                    group,
                    slot,
                    index,
                    generation,
                    pid: 0,
                    stride: Stride::Asked,
                    ready: None,
                    hook: None,
                    signalled: None,
                    asked: None,
                    retired: false,
                    remnant: false,
                };
                self.processes.insert(child, process);
                self.check_number(group)?;
            }
            Action::SpawnHook { child, group, generation, slot: _, index, hook, command: _ } => {
                let same = |other: &Process| (other.group, other.hook) == (group, Some(hook));
                demand!(!self.processes.values().any(same), "{hook:?} of {group:?} runs twice");
                if hook == HookKind::Preflight {
                    let stops = self.shutdown || self.watches[group.0].stopping;
                    demand!(!stops, "a preflight is started while {group:?} stops");
                }
                let process = Process {
                    group,
                    slot: 0,
                    index,
                    generation,
                    pid: 0,
                    stride: Stride::Asked,
                    ready: None,
                    hook: Some(hook),
                    signalled: None,
                    asked: None,
                    retired: false,
                    remnant: false,
                };
                self.processes.insert(child, process);
            }
            Action::Probe { child, .. } => {
                let process = self.processes.get(&child);
                // An ack implies the exec.
                let runs = |process: &Process| {
                    (process.stride == Stride::Running || process.ready.is_some()) && process.asked.is_none()
                };
                demand!(process.is_some_and(runs), "{child:?} is probed: {process:?}");
                demand!(self.probes.insert(child), "{child:?} is probed twice at a time");
            }
            Action::StopProbe { child } => {
                demand!(self.probes.remove(&child), "a probe of {child:?} is stopped and is not under way");
            }
            Action::Signal { child, signal, .. } => {
                let Some(process) = self.processes.get_mut(&child) else {
                    return Err(format!("{signal} for {child:?}, which is reaped"));
                };
                process.signalled = Some(signal);
                // Of the end of hooks nothing else tells.
                if process.hook.is_some() {
                    process.asked = Some(signal);
                }
            }
            Action::Prepare { group, generation, .. } | Action::CheckGeneration { group, generation } => {
                self.prepares.push((group, generation));
            }
            Action::Reply { ticket, last: true, .. } => {
                let at = self.waiting.iter().position(|waiting| *waiting == ticket);
                let Some(at) = at else { return Err(format!("{ticket:?} is answered and does not wait")) };
                self.waiting.remove(at);
            }
            Action::Note(note) => self.observe(&note)?,
            Action::Exit(code) => {
                demand!(self.processes.is_empty(), "it exits while {:?} live", self.processes);
                demand!(self.waiting.is_empty(), "it exits while {:?} wait", self.waiting);
                let killed = |signal: &Option<Signal>| *signal == Some(Signal::KILL);
                let orphans = &self.orphans;
                demand!(orphans.values().all(killed), "it exits, and not all of {orphans:?} were killed");
                self.exit = Some(code);
            }
            Action::Forget { group, generation } => {
                let used = |process: &Process| process.group == group && process.generation == generation;
                demand!(!self.processes.values().any(used), "{generation:?} is forgotten and still runs");
            }
            Action::CheckImage { check } => self.checking = Some(check),
            Action::StopCheck { check } => {
                demand!(self.checking.take() == Some(check), "check {check} is stopped and does not run");
            }
            Action::Reexec => {
                let hook = self.processes.values().find(|process| process.hook.is_some());
                demand!(hook.is_none(), "the image changes while {hook:?} runs");
                let between = |process: &Process| matches!(process.stride, Stride::Asked | Stride::Forked);
                let unknown = self.processes.iter().find(|(_, process)| {
                    between(process) && process.asked.is_none() && process.ready.is_none()
                });
                demand!(unknown.is_none(), "the image changes while {unknown:?} is between fork and exec");
                self.executing = true;
            }
            Action::ReadPlan { reload, .. } => {
                (self.reading, self.reading_since) = (Some(reload), self.now);
            }
            Action::StopReading { reload } => {
                demand!(self.reading.take() == Some(reload), "reading {reload} is stopped and does not run");
            }
            Action::Adopt { reload, .. } => {
                let outcome = Ok(self.adopt());
                self.machine.handle(self.now, Event::NewPlan { reload, outcome });
            }
            Action::ForgetGroup { group } => {
                let own = |process: &Process| process.group == group;
                demand!(!self.processes.values().any(own), "{group:?} is forgotten and workers of it live");
                self.present[group.0] = false;
            }
            Action::Reply { .. } | Action::SetLevel(_) | Action::ReopenLogs { .. } => {}
            Action::ReadProgram { .. } | Action::Wake { .. } => {}
            Action::LookForOrphans => self.look_for_orphans(),
            Action::SignalOrphan { pid, signal } => {
                let known = self.orphans.get_mut(&pid).filter(|_| !self.hidden.contains(&pid));
                let Some(sent) = known else {
                    return Err(format!("{signal} for orphan {pid}, who is not there"));
                };
                // CONT only wakes it.
                if signal != Signal::CONT {
                    *sent = Some(signal);
                }
                let others = self.processes.values().any(|process| process.asked.is_none());
                demand!(self.shutdown || !others, "orphan {pid} is sent {signal} although nothing ends");
            }
        }
        Ok(())
    }

    /// Somebody connects to a group.
    #[allow(dead_code, reason = "only a search asks for it")]
    pub(crate) fn connect(&mut self, at: usize) -> Result<(), Violation> {
        self.feed(Event::ListenerReadable { group: GroupId(at) })
    }

    /// The difference that the plan was read for, with a row for every group there is.
    fn adopt(&mut self) -> NewPlan {
        let revision = self.revision.take().unwrap_or(Revision::None);
        let mut groups = Vec::new();
        for at in 0..self.policies.len() {
            let (id, policy) = (GroupId(at), self.policies[at].clone());
            let changed = |workers: Option<u32>, replace: bool| {
                let policy = Box::new(policy.clone());
                Change::Changed { policy, sockets: start(at, &self.policies[at]).sockets, workers, replace }
            };
            let change = match revision {
                Revision::Replace(group) if group == at && self.planned[at] => changed(None, true),
                Revision::Scale(group, count) if group == at && self.planned[at] => {
                    changed(Some(count), false)
                }
                Revision::Remove(group) if group == at && self.planned[at] => {
                    self.planned[at] = false;
                    Change::Removed
                }
                Revision::Add(group)
                    if group == at
                        && self.machine.vacancies().take(self.policies.len()).any(|free| free == id) =>
                {
                    (self.planned[at], self.present[at]) = (true, true);
                    Change::Added(Box::new(start(at, &policy)))
                }
                _ if self.present[at] => Change::Kept,
                _ => continue,
            };
            groups.push((id, change));
        }
        NewPlan { groups, ..NewPlan::default() }
    }

    fn check_spawn(&mut self, child: ChildId, group: GroupId, slot: u32) -> Result<(), Violation> {
        let waits = self.machine.wishes().nth(group.0).is_some_and(|wish| wish.waiting);
        demand!(!waits, "{child:?} is spawned while {group:?} waits");
        let watch = &mut self.watches[group.0];
        demand!(!self.shutdown && !watch.stopping, "{child:?} is spawned while {group:?} stops");
        if let Some(until) = watch.rests.get(&slot) {
            demand!(self.now >= *until, "{child:?} is spawned in slot {slot}, which rests until {until:?}");
        }
        demand!(!watch.done.contains(&slot), "{child:?} is spawned in slot {slot}, whose work is done");
        if watch.urgent.remove(&slot) {
            return Ok(());
        }
        demand!(!watch.gave_up, "{child:?} is spawned after {group:?} gave up");
        if let Some(not_before) = watch.not_before {
            demand!(
                self.now >= not_before,
                "{child:?} is spawned inside the back-off, before {not_before:?}"
            );
        }
        if watch.probation.is_some() {
            let generation = self.machine.wishes().nth(group.0).map(|wish| wish.generation);
            let in_flight = self.processes.values().find(|process| {
                let unready = process.ready.is_none() && process.asked.is_none() && process.hook.is_none();
                process.group == group && unready && Some(process.generation) == generation
            });
            demand!(in_flight.is_none(), "{child:?} is a second attempt beside {in_flight:?} while failing");
        }
        Ok(())
    }

    /// Draws consequences from what the machine tells, and checks that it may.
    fn observe(&mut self, note: &Note) -> Result<(), Violation> {
        let at = note.group.as_ref().and_then(|name| name.strip_prefix('g')?.parse::<usize>().ok());
        let Some(at) = at else { return Ok(()) };
        let child = note.worker.and_then(|worker| {
            let same = |process: &Process| {
                process.group.0 == at && process.index == worker.index && process.hook.is_none()
            };
            self.processes.iter().find(|(_, process)| same(process)).map(|(&child, _)| child)
        });
        let watch = &mut self.watches[at];
        match &note.what {
            Happening::BackOff(delay) => {
                demand!(*delay >= self.policies[at].backoff.base, "a pause of {delay:?} is too short");
                watch.not_before = Some(self.now.after(*delay));
                let next = self.processes.keys().next_back().map_or(0, |child| child.0 + 1);
                watch.probation = Some(ChildId(next));
            }
            Happening::UpgradeStarted(_, generation, _) => {
                watch.wanted = GenerationId(*generation);
                let done = watch.done.clone();
                watch.done_before.get_or_insert(done);
                watch.forgive();
            }
            Happening::RestartStarted => {
                watch.restarted =
                    self.processes.keys().next_back().map_or(ChildId(0), |last| ChildId(last.0 + 1));
                watch.done_before = None;
                watch.forgive();
            }
            Happening::UpgradeDone(generation) => {
                watch.committed = GenerationId(*generation);
                watch.done_before = None;
            }
            Happening::RolledBack(_) => watch.done_before = None,
            // Perhaps it did not even begin, and the group that had given up still has.
            Happening::UpgradeFailed(generation, ..) => {
                (watch.not_before, watch.probation) = (None, None);
                if watch.wanted == GenerationId(*generation) {
                    watch.forget_ends();
                    // What was done before is not done again.
                    watch.done = watch.done_before.take().unwrap_or_default();
                }
            }
            Happening::GaveUp(_) => watch.gave_up = true,
            Happening::Scaled(from, to) => {
                watch.ends.retain(|slot, _| slot < to);
                watch.rests.retain(|slot, _| slot < to);
                watch.done.retain(|slot| slot < to);
                if let Some(before) = &mut watch.done_before {
                    before.retain(|slot| slot < to);
                }
                // Who wants more workers wants them tried.
                if to > from && watch.gave_up {
                    (watch.not_before, watch.probation, watch.gave_up) = (None, None, false);
                }
            }
            Happening::GroupStarted => {
                watch.done_before = None;
                watch.forgive();
                watch.stopping = false;
            }
            Happening::GroupStopping | Happening::GroupRemoved => watch.stopping = true,
            Happening::GroupAdded => *watch = Watch::new(),
            Happening::Ready(_) => {
                let child = child.ok_or("an unknown worker is ready")?;
                if watch.probation.is_some_and(|mark| child >= mark) {
                    watch.probation = None;
                }
                if let Some(process) = self.processes.get_mut(&child) {
                    process.ready = Some(self.now);
                }
            }
            Happening::Stopping(signal, reason) => {
                let child = child.ok_or("an unknown worker is asked to go")?;
                self.check_stop(child, *reason)?;
                self.expect_less(child, *reason);
                self.mark_asked(child, *signal)?;
            }
            Happening::StopCommand(reason) => {
                let child = child.ok_or("an unknown worker is asked to go")?;
                self.check_stop(child, *reason)?;
                self.expect_less(child, *reason);
                let command = self.processes.values().any(|other| other.hook == Some(HookKind::Stop(child)));
                demand!(command, "{child:?} is asked to go by a command that does not run");
                if let Some(process) = self.processes.get_mut(&child) {
                    process.asked = Some(Signal::TERM);
                }
            }
            Happening::Killing(_) => {
                let child = child.ok_or("an unknown worker is killed")?;
                if self.shutdown {
                    self.expect_less(child, Reason::Stop);
                }
                self.mark_asked(child, Signal::KILL)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn mark_asked(&mut self, child: ChildId, signal: Signal) -> Result<(), Violation> {
        let Some(process) = self.processes.get_mut(&child) else { return Ok(()) };
        demand!(process.signalled == Some(signal), "{child:?} is said to be sent {signal}, and is not");
        process.asked = Some(signal);
        Ok(())
    }

    /// What going for that reason means beside the end of one worker.
    fn expect_less(&mut self, child: ChildId, reason: Reason) {
        let Some(process) = self.processes.get_mut(&child) else { return };
        let policy = &self.policies[process.group.0];
        let successful = policy.restart != Restart::Always
            && self.machine.wishes().nth(process.group.0).is_some_and(|wish| wish.finished > 0);
        let less = match reason {
            Reason::Replaced => policy.upgrade == UpgradeMode::StopFirst || successful,
            Reason::Stop | Reason::Scale | Reason::Removed | Reason::Restart => true,
            Reason::Silent | Reason::Unwell | Reason::NotReady => true,
            Reason::Abandoned | Reason::Stubborn => false,
        };
        let unwell = matches!(reason, Reason::Silent | Reason::Unwell);
        let soon = unwell && self.watches[process.group.0].end(process.slot, self.now, policy);
        let healthy = is_healthy(process, policy, self.now) && !soon;
        match reason {
            // As if it had died.
            Reason::Silent | Reason::Unwell if healthy => {
                _ = self.watches[process.group.0].urgent.insert(process.slot);
            }
            Reason::Silent | Reason::Unwell => _ = self.watches[process.group.0].urgent.remove(&process.slot),
            _ => {}
        }
        process.retired |= matches!(reason, Reason::Replaced | Reason::Abandoned | Reason::Restart);
        if less {
            self.watches[process.group.0].up.remove(&process.slot);
        }
    }

    /// New workers that may stand beside old ones.
    fn surge(&self, at: usize, target: u32) -> u32 {
        let policy = &self.policies[at];
        match policy.upgrade {
            UpgradeMode::Fleet => target,
            // What a roll-back that was given up has left is replaced later, in no special way.
            UpgradeMode::StopFirst if !policy.give_up_roll_back => 0,
            UpgradeMode::Rolling | UpgradeMode::StopFirst => policy.surge.of(target),
        }
    }

    fn max_draining(&self, at: usize, target: u32) -> u32 {
        self.policies[at].max_draining.unwrap_or(target).max(1)
    }

    /// There is one process more. However upgrades, reloads, deaths and stops follow one another, there are never more
    /// than the workers wanted, the surge and those that may drain. Who leaves after a scale to fewer comes on top.
    fn check_number(&self, group: GroupId) -> Result<(), Violation> {
        let target = self.machine.wishes().nth(group.0).map_or(0, |wish| wish.target);
        let wanted =
            |process: &&Process| process.group == group && process.hook.is_none() && process.slot < target;
        let own: Vec<&Process> = self.processes.values().filter(wanted).collect();
        let serving = own.iter().filter(|process| process.asked.is_none()).count() as u32;
        let (surge, draining) = (self.surge(group.0, target), self.max_draining(group.0, target));
        demand!(
            serving <= target + surge,
            "{serving} workers of {group:?} serve, more than {target} and a surge of {surge}"
        );
        demand!(
            own.len() as u32 <= target + surge + draining,
            "{} processes of {group:?}, more than {target}, a surge of {surge} and {draining} that drain",
            own.len()
        );
        Ok(())
    }

    /// No stop of ours empties a place in which somebody was ready, unless that was asked for.
    fn check_stop(&self, child: ChildId, reason: Reason) -> Result<(), Violation> {
        let process = &self.processes[&child];
        let policy = &self.policies[process.group.0];
        let wish = self.machine.wishes().nth(process.group.0).ok_or("an unknown group")?;
        match reason {
            Reason::Replaced if policy.upgrade != UpgradeMode::StopFirst => {
                let successor = self.processes.iter().any(|(&other, candidate)| {
                    let same_place = (candidate.group, candidate.slot) == (process.group, process.slot);
                    let serves = candidate.ready.is_some() && candidate.asked.is_none();
                    other != child && same_place && serves
                });
                let finished = policy.restart != Restart::Always && wish.finished > 0;
                demand!(successor || finished, "{child:?} goes as replaced, and nobody took its place");
                let own = self.processes.values().filter(|other| other.group == process.group);
                let leaving = own.filter(|other| other.retired).count() as u32;
                let most = self.max_draining(process.group.0, wish.target);
                demand!(leaving < most, "{child:?} goes as replaced while {leaving} of {most} drain");
            }
            Reason::Abandoned | Reason::NotReady => {
                demand!(process.ready.is_none(), "{child:?} is ready and goes as {reason:?}");
                // Whoever was there before the upgrade serves also while it is not ready.
                let serves = process.is_up(self.watches[process.group.0].committed);
                let beside = self.processes.values().any(|other| {
                    let same_place = (other.group, other.slot) == (process.group, process.slot);
                    same_place && other.ready.is_some() && other.asked.is_none()
                });
                let missed = reason == Reason::NotReady;
                demand!(missed || !serves || beside, "{child:?} serves alone, and goes as {reason:?}");
            }
            Reason::Scale => {
                demand!(process.slot >= wish.target, "{child:?} goes as surplus from a wanted slot");
            }
            Reason::Stop => demand!(self.shutdown || wish.stopped, "{child:?} goes as if all stopped"),
            Reason::Stubborn => demand!(process.asked.is_some(), "{child:?} is pressed, and was not asked"),
            Reason::Removed => {
                demand!(!self.planned[process.group.0], "{child:?} goes with its group, which stays")
            }
            Reason::Silent | Reason::Unwell => {
                demand!(process.ready.is_some(), "{child:?} is asked for a sign of life, and is not ready")
            }
            Reason::Replaced | Reason::Restart => {}
        }
        Ok(())
    }

    // ---- what must hold after every step -------------------------------------------------------------------------

    fn check(&mut self) -> Result<(), Violation> {
        let table: Vec<_> = self.machine.census().collect();
        demand!(
            table.len() == self.processes.len(),
            "the table has {} rows, and {} processes live",
            table.len(),
            self.processes.len()
        );
        for record in &table {
            let process = self.processes.get(&record.child);
            let same =
                process.is_some_and(|process| (process.pid, process.hook) == (record.pid, record.hook));
            demand!(same, "the table says {record:?}, the system {process:?}");
            let policy = &self.policies[record.group.0];
            let latest = match record.phase {
                WorkerPhase::Starting if record.hook == Some(HookKind::Preflight) => {
                    Some(policy.preflight_timeout)
                }
                WorkerPhase::Starting if matches!(record.hook, Some(HookKind::Probe(_))) => {
                    Some(policy.probe_timeout)
                }
                WorkerPhase::Starting if record.hook.is_some() => {
                    policy.stop_timeout.max(policy.drain_timeout)
                }
                WorkerPhase::Ready => None,
                WorkerPhase::Starting => match policy.ready {
                    Readiness::Timer(span) => Some(span).max(policy.ack_deadline),
                    Readiness::Exec | Readiness::Manual => policy.ack_deadline,
                },
                WorkerPhase::Stopping => {
                    let steps = policy.stop_steps.iter().map(|&(_, wait)| wait);
                    let own = [policy.stop_timeout, policy.drain_timeout];
                    steps.chain(own.into_iter().flatten()).max()
                }
                WorkerPhase::Killed => Some(KILL_AGAIN),
            };
            let bounded = match (latest, record.deadline) {
                (None, deadline) => deadline.is_none(),
                (Some(latest), Some(deadline)) => deadline <= self.now.after(latest),
                (Some(_), None) => false,
            };
            demand!(bounded, "{record:?} has no deadline that fits its phase");
        }
        let looked_at =
            |child: &ChildId| self.processes.get(child).is_some_and(|process| process.asked.is_none());
        let stray = self.probes.iter().find(|child| !looked_at(child));
        demand!(stray.is_none(), "{stray:?} is probed, and is gone or on its way out");
        let wishes: Vec<_> = self.machine.wishes().collect();
        for (at, wish) in wishes.iter().enumerate() {
            let own = || table.iter().filter(|record| record.group.0 == at && record.hook.is_none());
            let indices: BTreeSet<u32> = own().map(|record| record.index).collect();
            demand!(indices.len() == own().count(), "two workers of g{at} have one index: {table:?}");
            let is_up = |process: &&Process| {
                let serves = process.is_up(self.watches[at].committed);
                process.group.0 == at && serves && process.slot < wish.target
            };
            let up = self.processes.values().filter(is_up).map(|process| process.slot).collect();
            let before = std::mem::replace(&mut self.watches[at].up, up);
            let mut lost = before.difference(&self.watches[at].up).filter(|&&slot| slot < wish.target);
            demand!(
                lost.next().is_none(),
                "by our doing {} workers of g{at} serve, and {} did",
                self.watches[at].up.len(),
                before.len()
            );
        }
        let fades = self.exit.is_none() && self.machine.next_deadline().is_none();
        let moves = |process: &Process| {
            process.stride != Stride::Running || process.asked.is_some() || process.hook.is_some()
        };
        if fades && self.prepares.is_empty() && !self.processes.values().any(moves) {
            self.at_rest().map_err(|violation| format!("nothing will happen any more: {violation}"))?;
        }
        Ok(())
    }
}

/// A worker that is ready, and for long enough where that says no more than that its program runs.
fn is_healthy(process: &Process, policy: &Policy, now: Mono) -> bool {
    let at_exec = policy.ready == Readiness::Exec || policy.ready_at_first;
    process.ready.is_some_and(|ready| !at_exec || now.since(ready) >= policy.healthy_after)
}

fn is_success(policy: &Policy, exit: Exit) -> bool {
    policy.success.iter().any(|success| match *success {
        Success::Exit(code) => exit == Exit::Code(code),
        Success::Signal(signal) => exit == Exit::Signal(signal),
    })
}

fn socket() -> SocketStatus {
    SocketStatus { name: "web".into(), address: "127.0.0.1:80".into() }
}

enum Due {
    Reap,
    Go,
    Exec,
    Ack,
    /// A hook is content.
    End,
}
