//! Long random histories of up to five groups with policies of every kind: stubborn, crashing and slow workers, pids
//! that are used again, deaths in swarms, clocks that jump, clients that ask for anything and hang up, a manager that
//! changes its image. After each step the invariants of [`World`] hold; in the end everybody behaves, and all comes to
//! rest within [`REST_WITHIN`] of virtual time.
//!
//! The histories are others in every run, which prints the seed that makes them: `PROPTEST_RNG_SEED=SEED` makes them
//! again, and `PROPTEST_CASES=5000` more of them. What fails is written to tests/sim.regressions and tried first from then
//! on.

#[path = "support/os.rs"]
mod os;

use std::time::Duration;

use os::{Process, Revision, Stride, Violation, World};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};
use remuda::plan::{Backoff, Hook, Meanwhile, Policy, Readiness, Restart, Share, Success, UpgradeMode};
use remuda::probe::{self, Probe};
use remuda::process::Exit;
use remuda::signame::Signal;
use remuda::supervisor::command::{Reload, Scale, Selector, Verb, Wait};
use remuda::supervisor::event::{ChildId, Finding, GenerationId, Mono};

/// Once everybody behaves, only back-off and timers take time: at most 30 s between two attempts of a group of a dozen.
const REST_WITHIN: Duration = Duration::from_secs(900);

/// One thing that happens. Which worker it happens to is an index into those there are.
#[derive(Clone, Debug)]
enum Step {
    /// A worker does what it is to do next: exec, ack, go, be reaped.
    Proceeds(Index),
    /// A worker dies by itself.
    Dies(Index, Exit),
    /// The leader of a worker's tree ends, and others of it live on.
    EndsBeforeOthers(Index, Exit),
    /// Another process of a worker's tree becomes the worker.
    HandsOver(Index),
    /// Somebody who is in no tree comes to the manager, which is told of it or not, and ends.
    OrphanComes(bool),
    OrphanEnds(Index),
    /// Somebody has looked at a worker.
    Probed(Index, Finding),
    /// Several do, before the machine looks.
    Swarm(Vec<(Index, u8)>),
    /// Between fork and exec something fails.
    ExecFails(Index, i32),
    /// The next spawns fail to fork, that many.
    ForksFail(u8),
    /// A generation can be run, or not.
    Prepared(Index, bool),
    /// The new image can go on, or not; the change to it works, or not.
    Crossing(bool),
    /// Time passes, and the machine is told of deadlines only then.
    Passes(Duration),
    /// Time passes until the next deadline.
    Deadline,
    /// A client asks.
    Asks(Verb),
    /// A client that waits hangs up.
    HangsUp(Index),
    /// The plan is another one, and is to be read again.
    Reloads(Revision, Wait),
    /// It was read, or cannot be.
    Read(bool),
    /// The terminal or the system wants something.
    Signal(Signal),
}

/// A list that is printed one item a line, however it is asked to be printed.
#[derive(Clone)]
struct Lines<T>(Vec<T>);

impl<T: std::fmt::Debug> std::fmt::Debug for Lines<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|item| f.write_str(&format!("\n    {item:?}")))
    }
}

fn seconds(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn policies() -> impl Strategy<Value = Lines<Policy>> {
    prop::collection::vec(policy(), 1..=5).prop_map(Lines)
}

fn policy() -> impl Strategy<Value = Policy> {
    let ready = prop_oneof![
        Just(Readiness::Exec),
        seconds(0..=5).prop_map(Readiness::Timer),
        Just(Readiness::Manual),
    ];
    let upgrade =
        prop_oneof![Just(UpgradeMode::Rolling), Just(UpgradeMode::Fleet), Just(UpgradeMode::StopFirst)];
    let surge = prop_oneof![(1..4u32).prop_map(Share::Count), (0..=100u32).prop_map(Share::Percent)];
    let limit = || prop::option::weighted(0.3, 1..4u32);
    let restart =
        prop_oneof![4 => Just(Restart::Always), 1 => Just(Restart::OnFailure), 1 => Just(Restart::Never)];
    let backoff =
        (500..2000u64, 1000..2000u32, 0..=20u32).prop_map(|(base, factor_milli, jitter_percent)| {
            let max = Duration::from_secs(30);
            Backoff { base: Duration::from_millis(base), factor_milli, max, jitter_percent }
        });
    let steps = prop_oneof![
        4 => Just(Vec::new()),
        1 => Just(vec![(Signal::INT, Duration::from_secs(3)), (Signal::QUIT, Duration::from_secs(1))])
    ];
    let times = (seconds(1..=10), seconds(1..=10), seconds(1..=30), steps);
    let how = (0..6u32, ready, upgrade, surge, limit(), limit());
    let ends = (1..4u32, restart, backoff, prop::option::weighted(0.2, 1..5u32), any::<bool>());
    let meanwhile = prop_oneof![4 => Just(Meanwhile::Supersede), 1 => Just(Meanwhile::Queue), 1 => Just(Meanwhile::Refuse)];
    let hook = prop::option::weighted(0.2, Just(Hook { argv: vec!["hook".into()] }));
    let trial = (
        prop::option::weighted(0.3, seconds(0..=5)),
        prop::option::weighted(0.3, seconds(1..=20)),
        meanwhile,
        (hook, seconds(1..=10)),
    );
    let contact = || prop::option::weighted(0.3, Just(probe::parse("tcp:80").expect("a probe")));
    let command = || Just(Probe::Exec(Hook { argv: vec!["probe".into()] }));
    let by = || prop_oneof![3 => contact(), 1 => command().prop_map(Some)];
    let probes = (by(), by(), seconds(1..=5), seconds(1..=20), 1..4u32);
    (how, times, ends, trial, probes).prop_map(|(how, times, ends, trial, probes)| {
        let (ready_probe, live_check, probe_timeout, live_interval, live_failures) = probes;
        let (workers, ready, upgrade, surge, max_unacked, max_draining) = how;
        let (ack_deadline, stop_timeout, drain_timeout, stop_steps) = times;
        let (upgrade_failures, restart, backoff, give_up, give_up_roll_back) = ends;
        let (canary, upgrade_timeout, meanwhile, (preflight, preflight_timeout)) = trial;
        Policy {
            workers,
            ready,
            upgrade,
            surge,
            max_unacked,
            max_draining,
            ack_deadline: Some(ack_deadline),
            stop_timeout: Some(stop_timeout),
            drain_timeout: Some(drain_timeout),
            stop_steps,
            upgrade_failures,
            restart,
            backoff,
            give_up,
            give_up_roll_back,
            canary,
            upgrade_timeout,
            meanwhile,
            preflight,
            preflight_timeout,
            ready_probe: ready_probe.filter(|_| ready == Readiness::Manual),
            live_check,
            probe_timeout,
            live_interval,
            live_failures,
            success: vec![Success::Exit(0), Success::Signal(Signal::TERM)],
            ..Policy::default()
        }
    })
}

fn history() -> impl Strategy<Value = Lines<Step>> {
    prop::collection::vec(step(), 20..400).prop_map(Lines)
}

fn step() -> impl Strategy<Value = Step> {
    let exit = prop_oneof![
        (0..3u8).prop_map(Exit::Code),
        Just(Exit::Signal(Signal(libc::SIGSEGV))),
        Just(Exit::Signal(Signal::KILL)),
        Just(Exit::Unknown)
    ];
    let errno = prop::sample::select(vec![libc::ENOENT, libc::EACCES, libc::ETXTBSY, libc::ENOMEM]);
    let signal = prop_oneof![
        6 => prop::sample::select(vec![Signal::HUP, Signal::USR1, Signal::USR2]),
        1 => prop::sample::select(vec![Signal::TERM, Signal::INT, Signal::QUIT])
    ];
    prop_oneof![
        40 => any::<Index>().prop_map(Step::Proceeds),
        12 => (any::<Index>(), finding()).prop_map(|(which, finding)| Step::Probed(which, finding)),
        8 => (any::<Index>(), exit.clone()).prop_map(|(who, exit)| Step::Dies(who, exit)),
        3 => (any::<Index>(), exit).prop_map(|(who, exit)| Step::EndsBeforeOthers(who, exit)),
        3 => any::<Index>().prop_map(Step::HandsOver),
        1 => any::<bool>().prop_map(Step::OrphanComes),
        1 => any::<Index>().prop_map(Step::OrphanEnds),
        2 => prop::collection::vec((any::<Index>(), 0..2u8), 1..8).prop_map(Step::Swarm),
        2 => (any::<Index>(), errno).prop_map(|(who, errno)| Step::ExecFails(who, errno)),
        2 => (0..4u8).prop_map(Step::ForksFail),
        6 => (any::<Index>(), prop::bool::weighted(0.9)).prop_map(|(which, can)| Step::Prepared(which, can)),
        3 => any::<bool>().prop_map(Step::Crossing),
        12 => (1..3000u64).prop_map(|span| Step::Passes(Duration::from_millis(span))),
        1 => seconds(60..=100_000).prop_map(Step::Passes),
        16 => Just(Step::Deadline),
        8 => verb().prop_map(Step::Asks),
        1 => any::<Index>().prop_map(Step::HangsUp),
        1 => signal.prop_map(Step::Signal),
        3 => (revision(), waits()).prop_map(|(revision, wait)| Step::Reloads(revision, wait)),
        4 => prop::bool::weighted(0.9).prop_map(Step::Read),
    ]
}

fn finding() -> impl Strategy<Value = Finding> {
    let why = || "refused".to_owned();
    prop_oneof![3 => Just(Finding::Well), 2 => Just(Finding::Unwell(why())), 1 => Just(Finding::Unknown(why()))]
}

fn revision() -> impl Strategy<Value = Revision> {
    (0..5u8, 0..5usize, 0..8u32).prop_map(|(what, group, count)| match what {
        0 => Revision::None,
        1 => Revision::Replace(group),
        2 => Revision::Scale(group, count),
        3 => Revision::Remove(group),
        _ => Revision::Add(group),
    })
}

fn waits() -> impl Strategy<Value = Wait> {
    prop::sample::select(vec![Wait::No, Wait::Done, Wait::Drained])
}

fn verb() -> impl Strategy<Value = Verb> {
    // The last one is mostly no group's name.
    let group = prop_oneof![1 => Just(None), 3 => (0..6usize).prop_map(|at| Some(format!("g{at}")))];
    let what = (0..13u8, 0..8u32, any::<bool>());
    (group, waits(), what).prop_map(|(group, wait, (what, count, up)): (Selector, Wait, _)| match what {
        0..=2 => Verb::Upgrade(group, wait),
        3 => Verb::Restart(group, wait),
        4 => Verb::Start(group, wait),
        5 => Verb::Stop(Some(group.unwrap_or_else(|| "g0".into())), wait),
        6 => Verb::Scale(group, Scale::To(count), wait),
        7 => Verb::Scale(group, if up { Scale::Up(count) } else { Scale::Down(count) }, wait),
        8 => Verb::Reexec(wait),
        9 | 10 => Verb::RollBack(group, wait),
        11 => Verb::Drain(group, GenerationId(count), up, wait),
        _ => Verb::Status(group),
    })
}

/// A world, and what of its history must be remembered.
struct Life {
    world: World,
    failing_forks: u8,
}

impl Life {
    fn pick(&self, which: Index, among: impl Fn(&Process) -> bool) -> Option<ChildId> {
        let able: Vec<ChildId> = self
            .world
            .processes
            .iter()
            .filter(|(_, process)| among(process))
            .map(|(&child, _)| child)
            .collect();
        (!able.is_empty()).then(|| able[which.index(able.len())])
    }

    fn step(&mut self, step: Step) -> Result<(), Violation> {
        // A step that failed is known by its status pipe; the process is reaped in the same pass.
        let failed = |(_, process): &(&ChildId, &Process)| process.stride == Stride::Failed;
        while let Some((&child, _)) = self.world.processes.iter().find(failed) {
            self.world.die(child, Exit::Code(127))?;
        }
        self.fork_all()?;
        let world = &mut self.world;
        if world.exit.is_some() {
            return Ok(());
        }
        match step {
            Step::Proceeds(which) => {
                if let Some(child) = self.pick(which, |_| true) {
                    self.world.proceed(child)?;
                }
            }
            Step::Dies(which, exit) => {
                if let Some(child) = self.pick(which, |_| true) {
                    self.world.die(child, exit)?;
                }
            }
            Step::EndsBeforeOthers(which, exit) => {
                if let Some(child) = self.pick(which, |_| true) {
                    self.world.end_before_others(child, exit)?;
                }
            }
            Step::HandsOver(which) => {
                if let Some(child) = self.pick(which, Process::can_hand_over) {
                    self.world.hand_over(child)?;
                }
            }
            Step::OrphanComes(told) => world.orphan_comes(told)?,
            Step::OrphanEnds(which) => {
                let orphans: Vec<i32> = world.orphans.keys().copied().collect();
                if !orphans.is_empty() {
                    world.orphan_goes(orphans[which.index(orphans.len())])?;
                }
            }
            Step::Swarm(dead) => {
                for (which, code) in dead {
                    self.fork_all()?;
                    if let Some(child) = self.pick(which, |_| true) {
                        self.world.die(child, Exit::Code(code))?;
                    }
                }
            }
            Step::ExecFails(which, errno) => {
                if let Some(child) = self.pick(which, |process| process.stride == Stride::Forked) {
                    self.world.fail_exec(child, errno)?;
                }
            }
            Step::Probed(which, finding) => {
                let probes: Vec<ChildId> = world.probes.iter().copied().collect();
                if !probes.is_empty() {
                    world.probed(probes[which.index(probes.len())], finding)?;
                }
            }
            Step::ForksFail(count) => self.failing_forks = count,
            Step::Prepared(which, can) => {
                if !world.prepares.is_empty() {
                    let outcome = if can { Ok(()) } else { Err("not there".into()) };
                    world.prepared(which.index(world.prepares.len()), outcome)?;
                }
            }
            Step::Crossing(can) if world.checking.is_some() => {
                world.checked(if can { Ok(()) } else { Err("too old".into()) })?;
            }
            Step::Passes(span) => world.advance(span)?,
            Step::Deadline => _ = world.advance_to_deadline()?,
            Step::Asks(verb) => _ = world.ask(verb)?,
            Step::HangsUp(which) if !world.waiting.is_empty() => {
                let client = world.waiting[which.index(world.waiting.len())].client;
                world.hang_up(client)?;
            }
            Step::Reloads(revision, wait) if world.revision.is_none() => {
                world.revision = Some(revision);
                world.ask(Verb::Reload(Reload::default(), wait))?;
            }
            Step::Read(can) if world.reading.is_some() => {
                world.plan_read(if can { Ok(()) } else { Err("no such file".into()) })?;
            }
            Step::Reloads(..) | Step::Read(_) => {}
            Step::Signal(signal) => world.signal(signal)?,
            Step::Crossing(_) | Step::HangsUp(_) => {}
        }
        self.fork_all()
    }

    /// The driver forks, and changes its image, before anything else happens.
    fn fork_all(&mut self) -> Result<(), Violation> {
        loop {
            if let Some(child) = self.world.pending_fork() {
                if self.failing_forks > 0 {
                    self.failing_forks -= 1;
                    self.world.fail_fork(child)?;
                } else {
                    self.world.fork(child)?;
                }
            } else if self.world.executing {
                if self.world.now.0.is_multiple_of(2) {
                    self.world.cross()?
                } else {
                    self.world.fail_to_cross()?
                };
            } else {
                return Ok(());
            }
        }
    }

    fn come_to_rest(&mut self) -> Result<(), Violation> {
        let begun = self.world.now;
        while self.world.behave()? {
            // Live checks go on for ever.
            if self.world.looks_for_ever() && self.world.at_rest().is_ok() {
                return Ok(());
            }
            let Mono(now) = self.world.now;
            let passed = Duration::from_millis(now - begun.0);
            if passed > REST_WITHIN {
                return Err(format!("everybody behaves, and after {passed:?} it has not come to rest"));
            }
        }
        self.world.at_rest()
    }
}

fn live(policies: Vec<Policy>, history: Vec<Step>) -> Result<(), Violation> {
    let mut life = Life { world: World::new(policies)?, failing_forks: 0 };
    life.fork_all()?;
    for step in history {
        if life.world.exit.is_some() {
            return Ok(());
        }
        life.step(step)?;
    }
    life.come_to_rest()
}

fn config() -> Config {
    let given = Config::default();
    let seed = match given.rng_seed {
        RngSeed::Random => std::time::UNIX_EPOCH.elapsed().map_or(20, |since| since.as_nanos() as u64),
        RngSeed::Fixed(seed) => seed,
    };
    println!("PROPTEST_RNG_SEED={seed}");
    Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { 300 },
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/sim.regressions"))),
        ..given
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_goes_wrong_in_long_random_histories(policies in policies(), history in history()) {
        if let Err(violation) = live(policies.0, history.0) {
            return Err(TestCaseError::fail(violation));
        }
    }
}
