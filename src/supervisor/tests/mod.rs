//! The machine, one rule at a time. A [`Bench`] feeds it events at moments of its own making and files the actions away
//! by kind, so that a test reads as a short history: what happened, then what was asked for.

mod foreign;
mod hooks;
mod idle;
mod liveness;
mod manners;
mod phases;
mod probes;
mod reexec;
mod respawn;
mod rollouts;
mod shutdown;
mod tasks;
mod trials;
mod turns;
mod upgrades;
mod verbs;
mod watch;

use std::time::Duration;

use super::child::{Child, Phase};
use super::command::{ClientId, Origin, Reload, Reply, Ticket, Verb, Wait};
use super::event::{Action, Change, ChildId, Event, GenerationId, GroupId, HookKind, Mono, NewPlan};
use super::note::Note;
use super::snapshot::{GroupState, GroupStatus, SocketStatus, Status};
use super::{GroupStart, Identity, Supervisor};
use crate::error::Code;
use crate::plan::{Backoff, Policy, Readiness};
use crate::process::{Exit, Stage};
use crate::signame::Signal;

const WEB: GroupId = GroupId(0);
const TERMED: Exit = Exit::Signal(Signal::TERM);
const KILLED: Exit = Exit::Signal(Signal::KILL);

/// The manager's own user, from a process that is no worker.
const OWNER: Origin = Origin { pid: 9, process_group: 9, trusted: true };

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The defaults, with acks by hand and no jitter, so that nothing happens by itself and delays are exact.
fn policy(workers: u32) -> Policy {
    let backoff = Backoff { base: secs(1), factor_milli: 1500, max: secs(30), jitter_percent: 0 };
    Policy { workers, ready: Readiness::Manual, backoff, ..Policy::default() }
}

/// The machine on a bench.
struct Bench {
    machine: Supervisor,
    now: Mono,
    next_pid: i32,
    next_request: u64,
    /// What was asked for since a test last looked.
    spawned: Vec<ChildId>,
    hooks: Vec<(ChildId, HookKind)>,
    /// Workers that are looked at by a connection.
    probes: Vec<ChildId>,
    signals: Vec<(ChildId, Signal, bool)>,
    prepares: Vec<(GroupId, GenerationId)>,
    forgotten: Vec<GenerationId>,
    replies: Vec<(u64, Reply, bool)>,
    notes: Vec<Note>,
    others: Vec<Action>,
    exit: Option<u8>,
}

impl Bench {
    /// One group, `web`, started: its spawns are asked for.
    fn new(policy: Policy) -> Self {
        Self::of(vec![("web", policy)])
    }

    fn of(groups: Vec<(&str, Policy)>) -> Self {
        let socket = || SocketStatus { name: "web".into(), address: "127.0.0.1:80".into() };
        let start = |(name, policy): (&str, Policy)| GroupStart {
            name: name.into(),
            sockets: policy.lazy.then(socket).into_iter().collect(),
            policy,
        };
        let groups = groups.into_iter().map(start).collect();
        let now = Mono(1_000_000);
        let identity = Identity { name: "bench".into(), pid: 1 };
        let mut bench = Bench {
            machine: Supervisor::new(identity, groups, now, 1),
            now,
            next_pid: 100,
            next_request: 0,
            spawned: Vec::new(),
            hooks: Vec::new(),
            probes: Vec::new(),
            signals: Vec::new(),
            prepares: Vec::new(),
            forgotten: Vec::new(),
            replies: Vec::new(),
            notes: Vec::new(),
            others: Vec::new(),
            exit: None,
        };
        bench.feed(Event::Start);
        bench
    }

    /// The same with every worker ready and nothing filed.
    fn up(policy: Policy) -> Self {
        let mut bench = Self::new(policy);
        bench.calm();
        bench.forget();
        bench
    }

    /// The plan is read again, and says something else of the group; `replace` if that takes new workers.
    fn replan(&mut self, policy: Policy, replace: bool) -> u64 {
        let request = self.ask(Verb::Reload(Reload::default(), Wait::Done));
        let reload = self.others.iter().rev().find_map(|action| match action {
            Action::ReadPlan { reload, .. } => Some(*reload),
            _ => None,
        });
        let change =
            Change::Changed { policy: Box::new(policy), sockets: Vec::new(), workers: None, replace };
        let plan = NewPlan { groups: vec![(WEB, change)], ..NewPlan::default() };
        self.feed(Event::NewPlan { reload: reload.expect("a plan is read"), outcome: Ok(plan) });
        request
    }

    fn feed(&mut self, event: Event) {
        self.machine.handle(self.now, event);
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Spawn { child, .. } => self.spawned.push(child),
                Action::SpawnHook { child, hook, .. } => self.hooks.push((child, hook)),
                Action::Probe { child, .. } => self.probes.push(child),
                Action::StopProbe { child } => self.probes.retain(|probed| *probed != child),
                Action::Signal { child, signal, to_group } => self.signals.push((child, signal, to_group)),
                Action::Prepare { group, generation, .. } | Action::CheckGeneration { group, generation } => {
                    self.prepares.push((group, generation));
                }
                Action::Forget { generation, .. } => self.forgotten.push(generation),
                Action::Reply { ticket, reply, last } => self.replies.push((ticket.request, reply, last)),
                Action::Note(note) => self.notes.push(note),
                Action::Exit(code) => self.exit = Some(code),
                Action::Wake { .. } | Action::LookForOrphans | Action::SignalOrphan { .. } => {}
                Action::SetLevel(_)
                | Action::ReopenLogs { .. }
                | Action::CheckImage { .. }
                | Action::StopCheck { .. }
                | Action::ReadPlan { .. }
                | Action::StopReading { .. }
                | Action::Adopt { .. }
                | Action::ForgetGroup { .. }
                | Action::ReadProgram { .. }
                | Action::Reexec => self.others.push(action),
            }
        }
    }

    /// Lets time pass, with a timeout at every deadline on the way.
    fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        while let Some(deadline) = self.machine.next_deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            self.feed(Event::Timeout);
        }
        self.now = end;
    }

    /// Lets time pass in which the manager does not run.
    fn pass_without_looking(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    // ---- what happens to workers ---------------------------------------------------------------------------------

    fn fork(&mut self, child: ChildId) -> i32 {
        self.next_pid += 1;
        self.feed(Event::Forked { child, pid: self.next_pid });
        self.next_pid
    }

    fn exec(&mut self, child: ChildId) {
        self.feed(Event::Execed { child });
    }

    /// Fork, exec and an ack.
    fn ready(&mut self, child: ChildId) {
        self.fork(child);
        self.exec(child);
        self.feed(Event::Ready { child });
    }

    fn die(&mut self, child: ChildId, exit: Exit) {
        self.feed(Event::Exited { child, exit });
    }

    fn code(&mut self, child: ChildId, code: u8) {
        self.die(child, Exit::Code(code));
    }

    fn fail(&mut self, child: ChildId, stage: Stage, errno: i32) {
        self.feed(Event::SpawnFailed { child, stage, errno });
        if stage != Stage::Fork {
            self.code(child, 127);
        }
    }

    /// Everybody behaves until nothing is asked for: what is spawned gets ready, what is asked to go goes, what is
    /// prepared can be run.
    fn calm(&mut self) {
        loop {
            if let Some(child) = self.take_spawn() {
                if self.child(child).is_some() {
                    self.ready(child);
                }
            } else if !self.signals.is_empty() {
                for (child, signal, _) in std::mem::take(&mut self.signals) {
                    self.die(child, Exit::Signal(signal));
                }
            } else if !self.prepares.is_empty() {
                self.prepared();
            } else {
                return;
            }
        }
    }

    fn prepared(&mut self) {
        for (group, generation) in std::mem::take(&mut self.prepares) {
            self.feed(Event::Prepared { group, generation, outcome: Ok(()) });
        }
    }

    // ---- what clients and the terminal do ------------------------------------------------------------------------

    /// Asks, as the owner, and returns the number of the request.
    fn ask(&mut self, verb: Verb) -> u64 {
        self.ask_as(OWNER, verb)
    }

    fn ask_as(&mut self, origin: Origin, verb: Verb) -> u64 {
        self.next_request += 1;
        let ticket = Ticket { client: ClientId(self.next_request), request: self.next_request };
        self.feed(Event::Request { ticket, origin, verb });
        self.next_request
    }

    /// An upgrade that got as far as its first spawns.
    fn upgrade(&mut self) -> u64 {
        let request = self.ask(Verb::Upgrade(None, Wait::Done));
        self.prepared();
        request
    }

    fn signal(&mut self, signal: Signal) {
        self.feed(Event::Signaled(signal));
    }

    // ---- what a test looks at ------------------------------------------------------------------------------------

    /// Throws away what is filed.
    fn forget(&mut self) {
        self.spawned.clear();
        self.signals.clear();
        self.replies.clear();
        self.notes.clear();
        self.others.clear();
        self.forgotten.clear();
    }

    fn take_spawn(&mut self) -> Option<ChildId> {
        if self.spawned.is_empty() { None } else { Some(self.spawned.remove(0)) }
    }

    /// The one spawn that was asked for.
    fn spawn(&mut self) -> ChildId {
        assert_eq!(self.spawned.len(), 1, "spawned: {:?}", self.spawned);
        self.spawned.remove(0)
    }

    fn spawns(&mut self) -> Vec<ChildId> {
        std::mem::take(&mut self.spawned)
    }

    /// The one hook that was asked for, whose program runs by now.
    fn hook(&mut self, kind: HookKind) -> ChildId {
        assert_eq!(self.hooks.len(), 1, "hooks: {:?}", self.hooks);
        let (child, hook) = self.hooks.remove(0);
        assert_eq!(hook, kind);
        self.fork(child);
        self.exec(child);
        child
    }

    /// Children signalled since the last look, with what.
    fn signalled(&mut self) -> Vec<(ChildId, Signal)> {
        std::mem::take(&mut self.signals).into_iter().map(|(child, signal, _)| (child, signal)).collect()
    }

    /// The last answer to a request, taken off the file; it must be the only last one.
    fn answer(&mut self, request: u64) -> Option<Reply> {
        let is_last = |(number, _, last): &&(u64, Reply, bool)| *number == request && *last;
        assert!(self.replies.iter().filter(is_last).count() <= 1, "{:?}", self.replies);
        let at = self.replies.iter().position(|reply| is_last(&reply))?;
        Some(self.replies.remove(at).1)
    }

    /// Whether a request was answered as done, and with which code if not.
    fn verdict(&mut self, request: u64) -> Option<Code> {
        match self.answer(request)? {
            Reply::Done(_) | Reply::Scaled { .. } => Some(Code::Done),
            Reply::Failed(code, _) => Some(code),
            reply => panic!("no verdict: {reply:?}"),
        }
    }

    fn sentence(&mut self, request: u64) -> String {
        match self.answer(request) {
            Some(Reply::Done(sentence) | Reply::Failed(_, sentence)) => sentence,
            reply => panic!("no sentence: {reply:?}"),
        }
    }

    fn child(&self, child: ChildId) -> Option<&Child> {
        self.machine.child(child)
    }

    fn phase(&self, child: ChildId) -> Option<Phase> {
        self.child(child).map(|child| child.phase)
    }

    /// The moments until the next deadline.
    fn wait(&self) -> Option<Duration> {
        self.machine.next_deadline().map(|deadline| deadline.since(self.now))
    }

    fn status(&mut self) -> Status {
        let request = self.ask(Verb::Status(None));
        match self.answer(request) {
            Some(Reply::Status(status)) => *status,
            reply => panic!("no status: {reply:?}"),
        }
    }

    fn web(&mut self) -> GroupStatus {
        self.status().groups.remove(0)
    }

    fn state(&mut self) -> GroupState {
        self.web().state
    }

    /// Slot and generation of the workers that serve, ready or not.
    fn serving(&self) -> Vec<(u32, u32)> {
        let mut serving: Vec<(u32, u32)> = self
            .machine
            .children
            .iter()
            .filter(|child| child.phase.is_serving())
            .map(|child| (child.slot, child.generation.0))
            .collect();
        serving.sort_unstable();
        serving
    }

    fn ids(&self) -> Vec<ChildId> {
        self.machine.children.iter().map(|child| child.id).collect()
    }

    fn noted(&self, name: &str) -> usize {
        self.notes.iter().filter(|note| note.what.name() == name).count()
    }
}

/// Every id from `from` on, `count` of them.
fn ids(from: u64, count: u64) -> Vec<ChildId> {
    (from..from + count).map(ChildId).collect()
}
