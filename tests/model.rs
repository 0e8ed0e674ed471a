//! Exhaustive search: every history of small groups up to a stated bound, and what must hold after each step.
//!
//! A history is made of moves: a fork, exec or ack comes or fails, a worker dies or goes as asked, a second passes, a
//! client or the terminal asks for something. States that have the same future count as one
//! ([`World::canonical`]), so the search ends although histories do not. It is breadth first: the trail it prints for a
//! violation is a shortest one. From every state reached, it also lets everybody behave and demands that all comes to
//! rest: every history ends, everyone who waits is answered, one generation is left, and every slot has its worker.
//!
//! The bounds keep it to a minute. `MODEL_EXTRA=1 cargo test --release --test model` allows one fault more in each
//! history, and takes ten times as long.

#[path = "support/os.rs"]
mod os;

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use os::{Process, Revision, Stride, Violation, World};
use remuda::plan::{Backoff, Hook, Meanwhile, Policy, Readiness, Restart, Share, UpgradeMode};
use remuda::probe::{self, Probe};
use remuda::process::Exit;
use remuda::signame::Signal;
use remuda::supervisor::command::{Reload, Scale, Verb, Wait};
use remuda::supervisor::event::{ChildId, Finding, HookKind};

/// Time passes in this measure, and every span of a policy is a multiple of it.
const SECOND: Duration = Duration::from_secs(1);

/// Steps in which everything comes to rest once everybody behaves.
const REST_WITHIN: usize = 200;

/// What is searched.
struct Search {
    name: &'static str,
    policy: Policy,
    /// What clients and the terminal may ask for.
    wishes: Vec<Wish>,
    /// How often in one history.
    asks: u8,
    /// Each for the same thing at most once; and of the faults only deaths.
    once: bool,
    /// Deaths, failures and missed turns in one history.
    faults: u8,
    /// Codes with which workers die unasked.
    codes: Vec<u8>,
    /// Workers are trees: their leader may end before others of them, or hand over to another one, and leave orphans.
    trees: bool,
    /// States to explore at least, so that a search that became trivial is noticed.
    at_least: usize,
}

/// Something a client or the terminal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Wish {
    Upgrade,
    Restart,
    Stop,
    Start,
    Scale(u32),
    Reexec,
    /// Read the plan again, which is another one by then; one thing at a time.
    Reload(Revision),
    /// Go back by hand.
    RollBack,
    /// End those of the oldest generation that are on their way out.
    Drain,
    Signal(Signal),
    /// To be served: whoever connects.
    Connect,
    /// Nothing: the client that has waited longest hangs up.
    HangUp,
}

/// One step of a history.
#[derive(Clone, Copy, Debug)]
enum Move {
    Fork(ChildId),
    ForkFails(ChildId),
    Exec(ChildId),
    ExecFails(ChildId, i32),
    Ack(ChildId),
    /// Somebody looks at a worker, and it is well, or not.
    Passes(ChildId),
    Fails(ChildId),
    Dies(ChildId, u8),
    /// The leader of a worker's tree dies, and others of it live on.
    EndsBeforeOthers(ChildId, u8),
    /// Another process of the tree becomes the worker.
    HandsOver(ChildId),
    /// Somebody of no tree comes to the manager, which is told of it or not; and goes as asked.
    OrphanComes(bool),
    OrphanGoes(i32),
    Goes(ChildId),
    /// A hook is content.
    Ends(ChildId),
    Prepared,
    PrepareFails,
    Checked,
    CheckFails,
    PlanRead,
    PlanUnreadable,
    Crosses,
    CrossingFails,
    SecondPasses,
    /// Whoever reads the plan takes so long that nobody waits for it any more.
    ReadingIsLate,
    Asked(Wish),
}

impl Move {
    /// Whether it is somebody's fault.
    fn is_fault(self) -> bool {
        match self {
            Move::ForkFails(_) | Move::ExecFails(..) | Move::Dies(..) | Move::Fails(_) => true,
            Move::EndsBeforeOthers(..) | Move::OrphanComes(_) => true,
            Move::HandsOver(_) | Move::OrphanGoes(_) => false,
            Move::PrepareFails | Move::CheckFails | Move::PlanUnreadable | Move::CrossingFails => true,
            Move::Fork(_) | Move::Exec(_) | Move::Ack(_) | Move::Goes(_) | Move::Ends(_) => false,
            Move::Passes(_) => false,
            Move::Prepared | Move::Checked | Move::PlanRead | Move::Crosses => false,
            Move::SecondPasses | Move::ReadingIsLate | Move::Asked(_) => false,
        }
    }
}

/// A state, with what is left of the bounds.
#[derive(Clone)]
struct Node {
    world: World,
    asks: u8,
    /// What may be asked for only once, and was.
    asked: Vec<Wish>,
    faults: u8,
    /// Its number, for the trail.
    at: usize,
}

impl Node {
    fn moves(&self, search: &Search) -> Vec<Move> {
        let world = &self.world;
        let mut moves = Vec::new();
        if world.exit.is_some() {
            return moves;
        }
        let mortal = self.faults > 0;
        let faulty = mortal && !search.once;
        if let Some(child) = world.pending_fork() {
            moves.push(Move::Fork(child));
            moves.extend(faulty.then_some(Move::ForkFails(child)));
            return moves;
        }
        if world.executing {
            moves.push(Move::Crosses);
            moves.extend(faulty.then_some(Move::CrossingFails));
            return moves;
        }
        if world.checking.is_some() {
            moves.push(Move::Checked);
            moves.extend(faulty.then_some(Move::CheckFails));
        }
        if world.reading.is_some() {
            moves.push(Move::PlanRead);
            moves.extend(faulty.then_some(Move::PlanUnreadable));
        }
        if !world.prepares.is_empty() {
            moves.push(Move::Prepared);
            moves.extend(faulty.then_some(Move::PrepareFails));
        }
        for &child in &world.probes {
            moves.push(Move::Passes(child));
            moves.extend(mortal.then_some(Move::Fails(child)));
        }
        for (&child, process) in &world.processes {
            if process.stride == Stride::Failed {
                // The driver reaps what has failed before anything else.
                return vec![Move::Goes(child)];
            }
            if process.stride == Stride::Forked {
                moves.push(Move::Exec(child));
                if faulty {
                    moves.extend([libc::ENOENT, libc::ETXTBSY].map(|errno| Move::ExecFails(child, errno)));
                }
            }
            if search.trees && process.can_hand_over() {
                moves.push(Move::HandsOver(child));
            }
            if process.asked.is_some() {
                moves.push(Move::Goes(child));
                continue;
            }
            if process.hook.is_some() {
                if process.stride == Stride::Running {
                    moves.push(Move::Ends(child));
                }
                moves.extend(faulty.then_some(Move::Dies(child, 1)));
                continue;
            }
            if search.policy.ready == Readiness::Manual && process.ready.is_none() {
                moves.push(Move::Ack(child));
            }
            if mortal {
                moves.extend(search.codes.iter().map(|&code| Move::Dies(child, code)));
                if search.trees && process.stride == Stride::Running {
                    moves.extend(search.codes.iter().map(|&code| Move::EndsBeforeOthers(child, code)));
                }
            }
        }
        moves.extend(world.asked_orphan().map(Move::OrphanGoes));
        if search.trees && mortal && world.orphans.is_empty() {
            moves.extend([true, false].map(Move::OrphanComes));
        }
        // A probe that was killed is gone before long. Else they would pile up, one for each worker that came and went.
        let killed =
            |process: &Process| matches!(process.hook, Some(HookKind::Probe(_))) && process.asked.is_some();
        if world.processes.values().any(killed) {
            return moves;
        }
        // All that can happen beside a reading happens within a second or two; its own minute would be sixty states more of
        // everything.
        moves.push(match world.reading_for() {
            Some(age) if age >= 2 * SECOND => Move::ReadingIsLate,
            Some(_) | None => Move::SecondPasses,
        });
        if self.asks > 0 {
            let possible = |wish: &&Wish| match **wish {
                Wish::HangUp => !world.waiting.is_empty(),
                Wish::Reload(_) => world.revision.is_none(),
                Wish::Drain => world.draining().is_some(),
                _ => true,
            };
            let possible = |wish: &&Wish| possible(wish) && !self.asked.contains(wish);
            moves.extend(search.wishes.iter().filter(possible).map(|&wish| Move::Asked(wish)));
        }
        moves
    }

    fn perform(&mut self, step: Move, once: bool) -> Result<(), Violation> {
        self.faults -= u8::from(step.is_fault());
        let world = &mut self.world;
        match step {
            Move::Fork(child) => world.fork(child),
            Move::ForkFails(child) => world.fail_fork(child),
            Move::Exec(child) => world.exec(child),
            Move::ExecFails(child, errno) => world.fail_exec(child, errno),
            Move::Ack(child) => world.ack(child),
            Move::Passes(child) => world.probed(child, Finding::Well),
            Move::Fails(child) => world.probed(child, Finding::Unwell("refused".into())),
            Move::Dies(child, code) => world.die(child, Exit::Code(code)),
            Move::EndsBeforeOthers(child, code) => world.end_before_others(child, Exit::Code(code)),
            Move::HandsOver(child) => world.hand_over(child),
            Move::OrphanComes(told) => world.orphan_comes(told),
            Move::OrphanGoes(pid) => world.orphan_goes(pid),
            Move::Goes(child) => world.obey(child),
            Move::Ends(child) => world.die(child, Exit::Code(0)),
            Move::Prepared => world.prepared(0, Ok(())),
            Move::PrepareFails => world.prepared(0, Err("not there".into())),
            Move::Checked => world.checked(Ok(())),
            Move::CheckFails => world.checked(Err("too old".into())),
            Move::PlanRead => world.plan_read(Ok(())),
            Move::PlanUnreadable => world.plan_read(Err("no such file".into())),
            Move::Crosses => world.cross(),
            Move::CrossingFails => world.fail_to_cross(),
            Move::SecondPasses => world.advance(SECOND),
            Move::ReadingIsLate => world.advance(60 * SECOND),
            Move::Asked(wish) => {
                self.asks -= 1;
                if once {
                    self.asked.push(wish);
                    self.asked.sort_unstable();
                }
                let group = || Some("g0".to_owned());
                let verb = match wish {
                    Wish::Upgrade => Verb::Upgrade(None, Wait::Done),
                    Wish::Restart => Verb::Restart(None, Wait::Drained),
                    Wish::RollBack => Verb::RollBack(None, Wait::Done),
                    Wish::Drain => {
                        let Some(oldest) = world.draining() else { return Ok(()) };
                        Verb::Drain(None, oldest, true, Wait::Done)
                    }
                    Wish::Stop => Verb::Stop(group(), Wait::Done),
                    Wish::Start => Verb::Start(group(), Wait::Done),
                    Wish::Scale(count) => Verb::Scale(None, Scale::To(count), Wait::Done),
                    Wish::Reexec => Verb::Reexec(Wait::Done),
                    Wish::Reload(revision) => {
                        world.revision = Some(revision);
                        Verb::Reload(Reload::default(), Wait::Drained)
                    }
                    Wish::Signal(signal) => return world.signal(signal),
                    Wish::Connect => return world.connect(0),
                    Wish::HangUp => return world.hang_up(world.waiting[0].client),
                };
                world.ask(verb).map(|_| ())
            }
        }
    }

    fn key(&self) -> u128 {
        let mut hasher = DefaultHasher::new();
        let form = (self.asks, &self.asked, self.faults, self.world.canonical());
        form.hash(&mut hasher);
        let first = hasher.finish();
        // Hashed on, the same words give a second, different half: 64 bits would be few for millions of states.
        form.hash(&mut hasher);
        u128::from(first) << 64 | u128::from(hasher.finish())
    }
}

impl Search {
    /// Explores every state; panics with the shortest trail to a violation.
    fn run(&self) {
        let begun = std::time::Instant::now();
        let world = World::new(vec![self.policy.clone()]).unwrap_or_else(|violation| panic!("{violation}"));
        let extra =
            std::env::var("MODEL_EXTRA").map_or(0, |extra| extra.parse().expect("a number of faults"));
        let root = Node { world, asks: self.asks, asked: Vec::new(), faults: self.faults + extra, at: 0 };
        let mut trail: Vec<(usize, Option<Move>)> = vec![(0, None)];
        let mut seen = HashSet::from([root.key()]);
        let mut resting = HashSet::new();
        let mut moves = 0usize;
        let mut open = VecDeque::from([root]);
        while let Some(node) = open.pop_front() {
            for step in node.moves(self) {
                moves += 1;
                let mut next = node.clone();
                let outcome = next.perform(step, self.once);
                let fresh = outcome.is_ok() && seen.insert(next.key());
                let outcome =
                    outcome.and_then(|()| if fresh { rests(&next.world, &mut resting) } else { Ok(()) });
                if let Err(violation) = outcome {
                    trail.push((node.at, Some(step)));
                    panic!("{}: {violation}\n{}", self.name, tell(&trail));
                }
                if fresh {
                    next.at = trail.len();
                    trail.push((node.at, Some(step)));
                    open.push_back(next);
                }
            }
        }
        println!("{}: {} states, {moves} moves, {} ms", self.name, seen.len(), begun.elapsed().as_millis());
        assert!(seen.len() >= self.at_least, "{}: only {} states", self.name, seen.len());
    }
}

/// Everybody behaves from here on: does all come to rest? `known` are states from which it does.
fn rests(world: &World, known: &mut HashSet<u64>) -> Result<(), Violation> {
    let mut world = world.clone();
    let mut passed = Vec::new();
    for step in 0.. {
        let mut hasher = DefaultHasher::new();
        world.canonical().hash(&mut hasher);
        let key = hasher.finish();
        if known.contains(&key) {
            break;
        }
        if passed.contains(&key) {
            // Only live checks go on for ever.
            world.at_rest()?;
            break;
        }
        passed.push(key);
        let moved = world.behave().map_err(|violation| format!("when all behave: {violation}"))?;
        if !moved {
            world.at_rest()?;
            break;
        }
        if step > REST_WITHIN {
            return Err("all behave, and it does not come to rest".into());
        }
    }
    known.extend(passed);
    Ok(())
}

/// The moves that lead to the last state, one a line.
fn tell(trail: &[(usize, Option<Move>)]) -> String {
    let mut lines = Vec::new();
    let mut at = trail.len() - 1;
    while let (before, Some(step)) = trail[at] {
        lines.push(format!("{step:?}"));
        at = before;
    }
    lines.reverse();
    lines.iter().enumerate().map(|(at, line)| format!("{:3}. {line}\n", at + 1)).collect()
}

/// Spans of one or two seconds, so that the state space is small, and no jitter.
fn policy(workers: u32, ready: Readiness, upgrade: UpgradeMode) -> Policy {
    Policy {
        workers,
        ready,
        upgrade,
        surge: Share::Count(1),
        ack_deadline: Some(SECOND),
        stop_timeout: Some(SECOND),
        drain_timeout: Some(2 * SECOND),
        upgrade_failures: 2,
        backoff: Backoff { base: SECOND, factor_milli: 2000, max: 2 * SECOND, jitter_percent: 0 },
        healthy_after: SECOND,
        crash_window: 2 * SECOND,
        stable_after: 2 * SECOND,
        ..Policy::default()
    }
}

fn rolling() -> Policy {
    policy(1, Readiness::Exec, UpgradeMode::Rolling)
}

fn hook() -> Option<Hook> {
    Some(Hook { argv: vec!["hook".into()] })
}

fn contact() -> Option<Probe> {
    probe::parse("tcp:80").ok()
}

/// One that is due again after a moment, so that the pauses before that are no states of their own.
fn probed(by: Option<Probe>) -> Policy {
    Policy {
        ready_probe: by.clone(),
        probe_interval: Duration::from_millis(50),
        probe_timeout: SECOND,
        live_check: by,
        live_interval: SECOND,
        live_failures: 2,
        ..policy(1, Readiness::Manual, UpgradeMode::Rolling)
    }
}

fn everything() -> Vec<Wish> {
    let verbs = [Wish::Upgrade, Wish::Restart, Wish::Stop, Wish::Start, Wish::Scale(0), Wish::Scale(2)];
    let verbs = verbs.into_iter().chain([Wish::Reexec, Wish::HangUp]);
    let signals = [Signal::TERM, Signal::INT, Signal::QUIT].map(Wish::Signal);
    verbs.chain(signals).collect()
}

#[test]
fn one_worker_with_every_wish() {
    for (asks, faults) in [(2, 0), (1, 2)] {
        Search {
            name: "one worker, ready at exec, every wish",
            policy: policy(1, Readiness::Exec, UpgradeMode::Rolling),
            wishes: everything(),
            asks,
            once: false,
            faults,
            codes: vec![1],
            trees: false,
            at_least: 5_000,
        }
        .run();
    }
}

#[test]
fn one_worker_acks_and_is_upgraded() {
    Search {
        name: "one worker, manual acks, upgrades",
        policy: policy(1, Readiness::Manual, UpgradeMode::Rolling),
        wishes: vec![Wish::Upgrade, Wish::Restart, Wish::Signal(Signal::TERM)],
        asks: 3,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 50_000,
    }
    .run();
}

#[test]
fn two_workers_are_upgraded_rolling() {
    Search {
        name: "two workers, timer, rolling upgrades",
        policy: Policy { max_draining: Some(1), ..policy(2, Readiness::Timer(SECOND), UpgradeMode::Rolling) },
        wishes: vec![Wish::Upgrade],
        asks: 1,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 50_000,
    }
    .run();
}

#[test]
fn two_workers_are_upgraded_after_a_canary() {
    for upgrade in [UpgradeMode::Rolling, UpgradeMode::Fleet, UpgradeMode::StopFirst] {
        Search {
            name: "two workers, ready at exec, an upgrade after a canary",
            policy: Policy {
                canary: Some(SECOND),
                upgrade_timeout: Some(4 * SECOND),
                ..policy(2, Readiness::Exec, upgrade)
            },
            wishes: vec![Wish::Upgrade],
            asks: 1,
            once: false,
            faults: 1,
            codes: vec![1],
            trees: false,
            at_least: 5_000,
        }
        .run();
    }
}

#[test]
fn a_canary_amid_other_wishes() {
    Search {
        name: "one worker, manual acks, a canary, other wishes",
        policy: Policy {
            canary: Some(SECOND),
            upgrade_timeout: Some(3 * SECOND),
            ..policy(1, Readiness::Manual, UpgradeMode::Rolling)
        },
        wishes: vec![Wish::Upgrade, Wish::Scale(2), Wish::Stop, Wish::Start, Wish::Signal(Signal::TERM)],
        asks: 2,
        once: false,
        faults: 0,
        codes: vec![1],
        trees: false,
        at_least: 5_000,
    }
    .run();
}

#[test]
fn an_upgrade_of_two_workers_is_superseded() {
    for upgrade in [UpgradeMode::Rolling, UpgradeMode::Fleet] {
        Search {
            name: "two workers, ready at exec, an upgrade after another",
            policy: Policy { max_draining: Some(1), ..policy(2, Readiness::Exec, upgrade) },
            wishes: vec![Wish::Upgrade],
            asks: 2,
            once: false,
            faults: 0,
            codes: vec![1],
            trees: false,
            at_least: 40_000,
        }
        .run();
    }
}

#[test]
fn two_workers_are_upgraded_as_a_fleet() {
    Search {
        name: "two workers, ready at exec, fleet upgrades",
        policy: policy(2, Readiness::Exec, UpgradeMode::Fleet),
        wishes: vec![Wish::Upgrade],
        asks: 1,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 120_000,
    }
    .run();
}

#[test]
fn two_workers_are_upgraded_stop_first() {
    Search {
        name: "two workers, ready at exec, stop-first upgrades",
        policy: policy(2, Readiness::Exec, UpgradeMode::StopFirst),
        wishes: vec![Wish::Upgrade, Wish::Restart],
        asks: 2,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 25_000,
    }
    .run();
}

#[test]
fn an_upgrade_begins_with_its_preflight() {
    Search {
        name: "one worker, ready at exec, a preflight before each upgrade",
        policy: Policy { preflight: hook(), preflight_timeout: SECOND, ..rolling() },
        wishes: vec![
            Wish::Upgrade,
            Wish::Stop,
            Wish::Start,
            Wish::Reexec,
            Wish::Signal(Signal::TERM),
            Wish::Signal(Signal::QUIT),
        ],
        asks: 2,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 2_000,
    }
    .run();
}

#[test]
fn a_command_asks_workers_to_stop() {
    Search {
        name: "one worker, ready at exec, a stop command",
        policy: Policy { stop_hook: hook(), ..rolling() },
        wishes: everything(),
        asks: 1,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 2_000,
    }
    .run();
}

#[test]
fn workers_are_looked_at_by_a_connection_or_a_command() {
    let wishes = [Wish::Upgrade, Wish::Reexec, Wish::Stop, Wish::Start, Wish::Signal(Signal::TERM)];
    let command = hook().map(Probe::Exec);
    for (by, asks, faults) in [(contact(), 1, 2), (contact(), 0, 3), (command.clone(), 1, 1), (command, 0, 2)]
    {
        Search {
            name: "one worker that is probed",
            policy: probed(by),
            wishes: wishes.to_vec(),
            asks,
            once: false,
            faults,
            codes: vec![1],
            trees: false,
            at_least: 500,
        }
        .run();
    }
}

#[test]
fn a_group_waits_for_its_time_and_then_for_a_connection() {
    Search {
        name: "one worker, lazy, after a warm-up",
        policy: Policy { lazy: true, warmup: SECOND, ..rolling() },
        wishes: everything().into_iter().chain([Wish::Connect]).collect(),
        asks: 2,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 2_000,
    }
    .run();
}

#[test]
fn tasks_that_are_done_before_they_are_ready() {
    let all = [Wish::Upgrade, Wish::Restart, Wish::Start, Wish::RollBack, Wish::Scale(2)];
    for (restart, wishes, asks, faults) in [
        (Restart::Never, &all[..], 1, 2),
        (Restart::OnFailure, &all[..], 1, 2),
        (Restart::OnFailure, &all[..1], 2, 2),
        (Restart::Never, &[Wish::Upgrade, Wish::RollBack], 2, 1),
    ] {
        Search {
            name: "tasks, manual acks",
            policy: Policy { restart, ..policy(1, Readiness::Manual, UpgradeMode::Rolling) },
            wishes: wishes.to_vec(),
            asks,
            once: false,
            faults,
            codes: vec![0, 1],
            trees: false,
            at_least: 5_000,
        }
        .run();
    }
}

#[test]
fn trees_whose_leader_ends_before_others() {
    let rolling = || policy(1, Readiness::Exec, UpgradeMode::Rolling);
    let task = || Policy { restart: Restart::Never, ..rolling() };
    for (policy, wishes, asks, faults) in [
        (rolling(), everything(), 1, 1),
        (rolling(), vec![Wish::Upgrade, Wish::Restart], 1, 2),
        (rolling(), vec![Wish::Signal(Signal::TERM), Wish::Signal(Signal::QUIT)], 2, 2),
        (task(), vec![Wish::Start, Wish::Upgrade], 1, 2),
        (policy(1, Readiness::Exec, UpgradeMode::Fleet), vec![Wish::Upgrade, Wish::Scale(2)], 1, 1),
        (policy(1, Readiness::Exec, UpgradeMode::StopFirst), vec![Wish::Upgrade, Wish::Stop], 1, 2),
    ] {
        Search {
            name: "trees whose leader ends before others, or hands over, and orphans",
            policy,
            wishes,
            asks,
            once: false,
            faults,
            codes: vec![0, 1],
            trees: true,
            at_least: 500,
        }
        .run();
    }
}

#[test]
fn workers_that_finish() {
    for upgrade in [UpgradeMode::Rolling, UpgradeMode::Fleet] {
        Search {
            name: "two workers, restarted on failure",
            policy: Policy {
                restart: Restart::OnFailure,
                max_draining: Some(1),
                ..policy(2, Readiness::Exec, upgrade)
            },
            wishes: vec![Wish::Upgrade, Wish::Start],
            asks: 1,
            once: false,
            faults: 1,
            codes: vec![0, 1],
            trees: false,
            at_least: 50_000,
        }
        .run();
    }
}

#[test]
fn a_group_that_gives_up() {
    Search {
        name: "one worker, gives up after two failures",
        policy: Policy { give_up: Some(2), ..policy(1, Readiness::Manual, UpgradeMode::Rolling) },
        wishes: everything(),
        asks: 1,
        once: false,
        faults: 3,
        codes: vec![1],
        trees: false,
        at_least: 10_000,
    }
    .run();
}

#[test]
fn upgrades_are_taken_back_by_hand() {
    let back = [Wish::Upgrade, Wish::RollBack, Wish::Drain];
    let more = [Wish::Stop, Wish::Start, Wish::Scale(2), Wish::Signal(Signal::TERM)];
    let with_more: Vec<Wish> = back.into_iter().chain(more).collect();
    for (workers, wishes, asks, faults) in
        [(1, &with_more[..], 2, 0), (1, &back[..], 2, 1), (1, &back[..2], 3, 0), (2, &back[..2], 2, 0)]
    {
        Search {
            name: "ready at exec, upgrades that are taken back",
            policy: Policy {
                max_draining: Some(1),
                ..policy(workers, Readiness::Exec, UpgradeMode::Rolling)
            },
            wishes: wishes.to_vec(),
            asks,
            once: false,
            faults,
            codes: vec![1],
            trees: false,
            at_least: 500,
        }
        .run();
    }
}

#[test]
fn an_upgrade_a_reload_a_scale_a_death_and_a_stop_in_any_order() {
    let reload = Wish::Reload(Revision::Replace(0));
    let wishes = vec![Wish::Upgrade, reload, Wish::Scale(0), Wish::Signal(Signal::TERM)];
    Search {
        name: "one worker, ready at exec, an upgrade, a reload, a scale, a death and a stop",
        policy: Policy { max_draining: Some(1), drain_timeout: Some(SECOND), ..rolling() },
        asks: wishes.len() as u8,
        wishes,
        once: true,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 50_000,
    }
    .run();
}

#[test]
fn an_upgrade_that_meets_another_is_queued_or_refused() {
    for meanwhile in [Meanwhile::Queue, Meanwhile::Refuse] {
        Search {
            name: "one worker, manual acks, upgrades that wait for others",
            policy: Policy { meanwhile, ..policy(1, Readiness::Manual, UpgradeMode::Rolling) },
            wishes: vec![Wish::Upgrade, Wish::Restart, Wish::RollBack, Wish::Stop, Wish::Start],
            asks: 3,
            once: false,
            faults: 0,
            codes: vec![1],
            trees: false,
            at_least: 5_000,
        }
        .run();
    }
}

#[test]
fn a_plan_that_is_read_again() {
    let revisions = [Revision::Replace(0), Revision::Scale(0, 2), Revision::Remove(0), Revision::Add(0)];
    let wishes = revisions.map(Wish::Reload).into_iter();
    Search {
        name: "one worker, manual acks, another plan",
        policy: policy(1, Readiness::Manual, UpgradeMode::Rolling),
        wishes: wishes.chain([Wish::Stop, Wish::Start, Wish::Reexec, Wish::Signal(Signal::TERM)]).collect(),
        asks: 1,
        once: false,
        faults: 0,
        codes: vec![1],
        trees: false,
        at_least: 1_000,
    }
    .run();
    Search {
        name: "one worker, another plan and failures",
        policy: policy(1, Readiness::Exec, UpgradeMode::Rolling),
        wishes: revisions.map(Wish::Reload).into_iter().chain([Wish::Upgrade]).collect(),
        asks: 1,
        once: false,
        faults: 1,
        codes: vec![1],
        trees: false,
        at_least: 1_000,
    }
    .run();
    // One plan after another.
    let revisions = [Revision::Replace(0), Revision::Remove(0), Revision::Add(0)];
    Search {
        name: "one worker, several other plans",
        policy: rolling(),
        wishes: revisions.map(Wish::Reload).into_iter().chain([Wish::RollBack, Wish::Upgrade]).collect(),
        asks: 2,
        once: false,
        faults: 0,
        codes: vec![1],
        trees: false,
        at_least: 1_000,
    }
    .run();
}
