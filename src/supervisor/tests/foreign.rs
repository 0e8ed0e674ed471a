//! What only the protocols of other programs ask for, and what only their plans want: workers that follow one another at
//! a pace, an upgrade that begins with the manager itself, a client that is told of everything on the way.

use super::*;
use crate::plan::{Backoff, Level, ManagerPolicy, Meaning, Share, Shrink, UpgradeMode};
use crate::supervisor::command::Scale;
use crate::supervisor::foreign::{Changes, Foreign, Inspection};

/// In the manner of einhorn: a second between two workers, the image replaced before the workers are.
fn paced(workers: u32) -> Policy {
    Policy {
        spacing: secs(1),
        surge: Share::Percent(100),
        healthy_after: Duration::ZERO,
        stable_after: Duration::ZERO,
        upgrade_failures: u32::MAX,
        workers_min: 1,
        shrink: Shrink::Oldest,
        ..policy(workers)
    }
}

fn reexecs(policy: Policy) -> Bench {
    let mut bench = Bench::up(policy);
    bench.machine =
        bench.machine.with_policy(ManagerPolicy { reexec_on_upgrade: true, ..ManagerPolicy::default() });
    bench
}

/// The re-execution that was asked for succeeds.
fn reexec(bench: &mut Bench) {
    assert!(matches!(bench.others[..], [Action::CheckImage { .. }]), "{:?}", bench.others);
    let check = bench.machine.checks;
    bench.feed(Event::ImageChecked { check, outcome: Ok(()) });
    assert!(matches!(bench.others.last(), Some(Action::Reexec)), "{:?}", bench.others);
    bench.others.clear();
    bench.feed(Event::Reexeced);
}

/// What a request was told before its last answer: events by name, and what was accepted.
fn told(bench: &Bench, request: u64) -> Vec<&'static str> {
    let on_the_way = |(number, reply, last): &(u64, Reply, bool)| {
        (*number == request && !last).then_some(match reply {
            Reply::Event(note) => note.what.name(),
            Reply::Done(_) => "accepted",
            _ => "something else",
        })
    };
    bench.replies.iter().filter_map(on_the_way).collect()
}

fn inspection(bench: &mut Bench) -> Inspection {
    let request = bench.ask(Verb::Foreign(Foreign::Inspect));
    match bench.answer(request) {
        Some(Reply::Inspection(inspection)) => *inspection,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn the_first_workers_come_at_once_and_later_ones_at_their_pace() {
    let mut bench = Bench::new(paced(3));
    assert_eq!(bench.spawned, ids(0, 3));
    bench.calm();
    bench.pass(secs(10));
    for child in ids(0, 3) {
        bench.code(child, 0);
    }
    assert_eq!(bench.spawned, ids(3, 1), "the last start was long ago");
    assert_eq!(bench.wait(), Some(secs(1)));
    bench.pass(secs(1));
    assert_eq!(bench.spawned, ids(3, 2));
    bench.pass(secs(1));
    assert_eq!(bench.spawned, ids(3, 3));
}

#[test]
fn a_rolling_upgrade_keeps_the_pace_and_a_fleet_does_not() {
    let mut bench = Bench::up(paced(3));
    bench.pass(secs(5));
    bench.upgrade();
    assert_eq!(bench.spawned.len(), 1);
    bench.pass(secs(1));
    assert_eq!(bench.spawned.len(), 2);
    let mut bench = Bench::up(paced(3));
    bench.ask(Verb::Foreign(Foreign::UpgradeFleet(Wait::No)));
    bench.prepared();
    assert_eq!(bench.spawned.len(), 3, "although the last start was just now");
}

#[test]
fn workers_beside_the_target_are_limited_with_those_that_go() {
    let mut bench = Bench::up(Policy { max_extra: Some(1), spacing: Duration::ZERO, ..paced(2) });
    bench.upgrade();
    let first = bench.spawn();
    bench.ready(first);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)]);
    assert_eq!(bench.spawns(), [], "three live, one of them on its way out");
    bench.die(ChildId(0), TERMED);
    assert_eq!(bench.spawns().len(), 1);
}

#[test]
fn without_room_beside_the_target_one_old_worker_after_the_other_goes_first() {
    let none =
        || Policy { max_extra: Some(0), spacing: Duration::ZERO, surge: Share::Percent(100), ..paced(2) };
    let mut bench = Bench::up(none());
    bench.upgrade();
    assert_eq!((bench.spawns(), bench.signalled()), (vec![], vec![(ChildId(0), Signal::TERM)]));
    bench.die(ChildId(0), TERMED);
    let new = bench.spawn();
    assert_eq!(bench.signalled(), []);
    bench.ready(new);
    assert_eq!((bench.spawns(), bench.signalled()), (vec![], vec![(ChildId(1), Signal::TERM)]));
    bench.die(ChildId(1), TERMED);
    bench.calm();
    assert_eq!(bench.serving(), [(0, 2), (1, 2)]);
    // Room that is made meanwhile is used.
    let mut bench = Bench::up(none());
    bench.upgrade();
    bench.forget();
    let changes = Changes { max_extra: Some(2), ..Changes::default() };
    bench.ask(Verb::Foreign(Foreign::Configure(changes)));
    assert_eq!((bench.spawns().len(), bench.signalled()), (2, vec![]));
}

#[test]
fn room_that_is_taken_away_in_an_upgrade_holds_up_nobody_for_ever() {
    let mut bench = Bench::up(paced(2));
    bench.pass(secs(5));
    bench.upgrade();
    let new = bench.spawn();
    let changes = Changes { max_extra: Some(0), ..Changes::default() };
    bench.ask(Verb::Foreign(Foreign::Configure(changes)));
    bench.ready(new);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM), (ChildId(1), Signal::TERM)]);
    bench.die(ChildId(0), TERMED);
    bench.die(ChildId(1), TERMED);
    bench.pass(secs(1));
    bench.calm();
    assert_eq!(bench.serving(), [(0, 2), (1, 2)]);
}

#[test]
fn who_keeps_a_pace_waits_for_the_unready_before_him_and_nobody_else_does() {
    let careful = || Policy { max_unacked: Some(1), ..paced(3) };
    let mut bench = Bench::new(careful());
    assert_eq!(bench.spawned.len(), 3, "the first ones come at once");
    bench.calm();
    bench.pass(secs(10));
    bench.code(ChildId(0), 0);
    bench.code(ChildId(1), 0);
    let second = bench.spawn();
    bench.pass(secs(10));
    let ack_deadline = bench.wait();
    assert_eq!((bench.spawns(), ack_deadline), (vec![], Some(secs(50))), "nobody wakes for the other");
    bench.ready(second);
    assert_eq!(bench.spawns().len(), 1);

    let mut bench = Bench::up(careful());
    bench.ask(Verb::Foreign(Foreign::UpgradeFleet(Wait::No)));
    bench.prepared();
    assert_eq!(bench.spawned.len(), 3, "a fleet is started at once");

    let mut bench = Bench::up(careful());
    bench.pass(secs(10));
    bench.upgrade();
    bench.spawn();
    bench.pass(secs(10));
    assert_eq!(bench.spawns(), []);
    let changes = Changes { max_unacked: Some(2), ..Changes::default() };
    bench.ask(Verb::Foreign(Foreign::Configure(changes)));
    assert_eq!(bench.spawns().len(), 1, "a limit that is raised holds at once");
}

#[test]
fn the_pace_of_a_failing_program_slows_down_by_half_to_half_a_minute_until_one_is_ready() {
    let backoff =
        Backoff { base: Duration::from_millis(1500), factor_milli: 1500, max: secs(30), jitter_percent: 0 };
    let mut bench = Bench::new(Policy { backoff, ..paced(1) });
    let fail = |bench: &mut Bench| {
        let child = bench.spawn();
        bench.fork(child);
        bench.exec(child);
        bench.code(child, 1);
        let pause = bench.wait().unwrap();
        bench.pass(pause);
        u32::try_from(pause.as_millis()).unwrap()
    };
    let pauses: Vec<u32> = (0..10).map(|_| fail(&mut bench)).collect();
    assert_eq!(pauses, [1500, 2250, 3375, 5062, 7593, 11_389, 17_083, 25_624, 30_000, 30_000]);
    let child = bench.spawn();
    bench.ready(child);
    bench.pass(secs(2));
    bench.code(child, 1);
    assert_eq!(fail(&mut bench), 1500);
}

#[test]
fn an_upgrade_that_begins_with_the_manager_is_told_from_beginning_to_end() {
    let mut bench = reexecs(paced(1));
    bench.pass(secs(5));
    let request = bench.ask(Verb::Upgrade(None, Wait::Told));
    assert_eq!(bench.prepares, [], "the image comes first");
    reexec(&mut bench);
    bench.prepared();
    let new = bench.spawn();
    bench.ready(new);
    assert_eq!(
        told(&bench, request),
        [
            "accepted",
            "reexec-started",
            "reexec-done",
            "upgrade-started",
            "spawned",
            "ready",
            "stopping",
            "upgrade-done"
        ]
    );
    assert_eq!(bench.verdict(request), Some(Code::Done));
    bench.die(ChildId(0), TERMED);
    assert!(!told(&bench, request).contains(&"gone"), "nothing is told after the last answer");
}

#[test]
fn an_image_that_refuses_ends_the_upgrade_with_the_reason() {
    let mut bench = reexecs(paced(1));
    let clients = [Wait::Told, Wait::Done].map(|wait| bench.ask(Verb::Upgrade(None, wait)));
    let check = bench.machine.checks;
    bench.feed(Event::ImageChecked { check, outcome: Err("too old".into()) });
    for request in clients {
        assert_eq!(bench.sentence(request), "not re-executed: too old");
    }
    assert_eq!((bench.prepares.len(), bench.state()), (0, GroupState::Up));
    assert!(bench.machine.subscribers.is_empty());
}

#[test]
fn a_signal_that_means_upgrade_begins_with_the_manager_too() {
    let mut bench = reexecs(paced(1));
    bench.signal(Signal::HUP);
    reexec(&mut bench);
    assert_eq!(bench.prepares.len(), 1);
}

#[test]
fn who_is_told_of_everything_follows_what_takes_the_place_of_his_upgrade() {
    let mut bench = Bench::up(Policy { spacing: Duration::ZERO, ..paced(1) });
    let first = bench.ask(Verb::Upgrade(None, Wait::Told));
    bench.prepared();
    let plain = bench.ask(Verb::Upgrade(None, Wait::Done));
    let second = bench.ask(Verb::Upgrade(None, Wait::Told));
    bench.calm();
    assert_eq!(bench.verdict(plain), Some(Code::Superseded));
    assert_eq!((bench.verdict(first), bench.verdict(second)), (Some(Code::Done), Some(Code::Done)));
    assert!(told(&bench, first).contains(&"superseded"));
}

#[test]
fn fewer_workers_are_taken_from_the_unready_then_from_the_oldest() {
    let mut bench = Bench::new(paced(4));
    for child in [1, 2, 3, 0].map(ChildId) {
        if child != ChildId(2) {
            bench.ready(child);
        }
    }
    bench.spawns();
    bench.ask(Verb::Scale(None, Scale::Down(1), Wait::No));
    assert_eq!(bench.signalled(), [(ChildId(2), Signal::TERM)]);
    bench.ask(Verb::Scale(None, Scale::To(1), Wait::No));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM), (ChildId(1), Signal::TERM)]);
    assert_eq!(bench.serving(), [(0, 1)]);
    assert_eq!(bench.phase(ChildId(3)), Some(Phase::Ready));
}

#[test]
fn the_last_worker_is_not_taken_away() {
    let mut bench = Bench::up(paced(2));
    let mut down = |count| {
        let request = bench.ask(Verb::Scale(None, Scale::Down(count), Wait::No));
        match bench.answer(request) {
            Some(Reply::Scaled { from, to, .. }) => (from, to),
            reply => panic!("{reply:?}"),
        }
    };
    assert_eq!([down(1), down(1), down(5)], [(2, 1), (1, 1), (1, 1)]);
    let request = bench.ask(Verb::Scale(None, Scale::To(0), Wait::No));
    assert_eq!(bench.verdict(request), Some(Code::Refused));
}

#[test]
fn an_end_by_a_signal_of_the_clients_choice() {
    let mut bench = Bench::up(policy(1));
    bench.ask(Verb::Foreign(Foreign::StopWith(Signal::HUP)));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::HUP)]);
    bench.ask(Verb::Foreign(Foreign::StopWith(Signal::INT)));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::INT)]);
    bench.die(ChildId(0), TERMED);
    assert_eq!(bench.exit, Some(0));
}

#[test]
fn a_signal_may_mean_an_end_that_counts_as_a_failure() {
    let mut bench = Bench::up(policy(1));
    let signals = [(Signal::QUIT, Meaning::FailWith(Signal::QUIT))].into();
    bench.machine = bench.machine.with_policy(ManagerPolicy { signals, ..ManagerPolicy::default() });
    bench.signal(Signal::QUIT);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::QUIT)]);
    bench.die(ChildId(0), TERMED);
    assert_eq!(bench.exit, Some(1));
}

#[test]
fn signals_in_a_row_reach_every_worker_and_have_no_other_consequence() {
    let mut bench = Bench::up(policy(2));
    bench.ask(Verb::Foreign(Foreign::Signals(vec![Signal::USR1, Signal::CONT])));
    assert_eq!(bench.signalled().len(), 4);
    assert_eq!(bench.phase(ChildId(0)), Some(Phase::Ready));
}

#[test]
fn the_log_gets_louder_and_quieter_between_debug_and_warn() {
    let mut bench = Bench::up(policy(1));
    let mut levels = Vec::new();
    for request in [Foreign::Quieter, Foreign::Quieter, Foreign::Louder, Foreign::Louder, Foreign::Louder] {
        let request = bench.ask(Verb::Foreign(request));
        match bench.answer(request) {
            Some(Reply::Level(level)) => levels.push(level),
            reply => panic!("{reply:?}"),
        }
    }
    assert_eq!(levels, [Level::Warn, Level::Warn, Level::Info, Level::Debug, Level::Debug]);
    assert_eq!(bench.others.last(), Some(&Action::SetLevel(Level::Debug)));
}

#[test]
fn what_is_known_of_the_workers_is_shown() {
    let mut bench = Bench::up(policy(2));
    bench.machine = bench.machine.with_log(Level::Info, 7_000_000_000);
    let pid = bench.child(ChildId(1)).unwrap().pid;
    bench.ask(Verb::Heartbeat(Some(pid), "req-1".into()));
    bench.ask(Verb::Scale(None, Scale::To(1), Wait::No));
    let shown = inspection(&mut bench);
    assert_eq!((shown.policy.workers, shown.generation, shown.upgrading), (1, 1, None));
    let (stays, goes) = (&shown.workers[0], &shown.workers[1]);
    assert_eq!((stays.acked, &stays.signals[..], stays.born), (true, &[][..], 7_001_000_000));
    assert_eq!(goes.heartbeat, Some((7_001_000_000, "req-1".into())));
    assert_eq!((&goes.signals[..], goes.signaled_at), (&[Signal::TERM][..], Some(7_001_000_000)));
    bench.ask(Verb::Foreign(Foreign::UpgradeFleet(Wait::No)));
    bench.prepared();
    assert_eq!(inspection(&mut bench).upgrading, Some(UpgradeMode::Fleet));
}

#[test]
fn a_heartbeat_is_for_a_worker_that_lives() {
    let mut bench = Bench::up(policy(1));
    let request = bench.ask(Verb::Heartbeat(Some(1), String::new()));
    assert_eq!(bench.verdict(request), Some(Code::Refused));
}

#[test]
fn a_policy_changes_at_run_time() {
    let mut bench = Bench::up(policy(1));
    let ready = Some(Readiness::Timer(secs(7)));
    let changes =
        Changes { workers: Some(2), ready, stop_timeout: Some(Some(secs(3))), ..Changes::default() };
    bench.ask(Verb::Foreign(Foreign::Configure(changes)));
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    assert_eq!(bench.wait(), Some(secs(7)));
    bench.ask(Verb::Foreign(Foreign::Configure(Changes { workers: Some(1), ..Changes::default() })));
    assert_eq!((bench.signalled(), bench.wait()), (vec![(child, Signal::TERM)], Some(secs(3))));
    let many = Changes { workers: Some(u32::MAX), ..Changes::default() };
    let request = bench.ask(Verb::Foreign(Foreign::Configure(many)));
    assert_eq!(bench.verdict(request), Some(Code::Refused));
}
