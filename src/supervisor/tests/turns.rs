//! What is asked for around an upgrade: to go back, to wait for its end, to end those who drain; and what is remembered.

use super::*;
use crate::plan::{Meanwhile, Share, UpgradeMode};
use crate::supervisor::snapshot::{GenerationRole, UpgradeResult};

fn rolling(workers: u32) -> Policy {
    Policy { surge: Share::Count(1), ..policy(workers) }
}

fn roles(bench: &mut Bench) -> Vec<(u32, GenerationRole)> {
    bench.web().generations.iter().map(|of| (of.generation, of.role)).collect()
}

fn results(bench: &mut Bench) -> Vec<(u32, u32, UpgradeResult)> {
    bench.web().upgrades.iter().map(|of| (of.from, of.to, of.result)).collect()
}

fn roll_back(bench: &mut Bench) -> u64 {
    bench.ask(Verb::RollBack(None, Wait::Done))
}

#[test]
fn a_roll_back_by_hand_returns_to_the_generation_before_once() {
    let mut bench = Bench::up(rolling(2));
    let refused = roll_back(&mut bench);
    assert_eq!(bench.sentence(refused), "web: there is no generation to go back to before generation 1");
    bench.upgrade();
    bench.calm();
    assert_eq!(roles(&mut bench), [(2, GenerationRole::Current), (1, GenerationRole::Previous)]);
    assert_eq!(bench.web().rollback_to, Some(1));
    let request = roll_back(&mut bench);
    bench.calm();
    assert_eq!(bench.verdict(request), Some(Code::Done));
    assert_eq!(
        (bench.serving(), roles(&mut bench)),
        (vec![(0, 1), (1, 1)], vec![(1, GenerationRole::Current)])
    );
    assert_eq!(bench.forgotten, [GenerationId(2)]);
    let refused = roll_back(&mut bench);
    assert_eq!(bench.verdict(refused), Some(Code::Refused));
    bench.upgrade();
    bench.calm();
    assert_eq!(bench.serving(), [(0, 3), (1, 3)], "no number is given twice");
}

#[test]
fn what_can_no_longer_be_had_is_not_gone_back_to() {
    let mut bench = Bench::up(rolling(1));
    bench.upgrade();
    bench.calm();
    let request = roll_back(&mut bench);
    bench.prepares.clear();
    let outcome = Err("/srv/app is gone".to_owned());
    bench.feed(Event::Prepared { group: WEB, generation: GenerationId(1), outcome });
    assert_eq!(bench.sentence(request), "web: cannot go back to generation 1: /srv/app is gone");
    assert_eq!(
        (bench.serving(), bench.state(), bench.noted("irretrievable")),
        (vec![(0, 2)], GroupState::Up, 1)
    );
    assert_eq!(bench.forgotten, []);
}

#[test]
fn a_roll_back_by_hand_calls_off_the_upgrade_under_way() {
    // While it is prepared, before a slot was taken, and after.
    let mut bench = Bench::up(rolling(2));
    let upgrade = bench.ask(Verb::Upgrade(None, Wait::Done));
    let back = roll_back(&mut bench);
    assert_eq!((bench.verdict(upgrade), bench.verdict(back)), (Some(Code::UpgradeFailed), Some(Code::Done)));
    bench.prepared();
    assert_eq!((bench.spawns(), bench.forgotten.pop()), (vec![], Some(GenerationId(2))));

    for (taken, code) in [(0, Code::UpgradeFailed), (1, Code::RolledBack)] {
        let upgrade = bench.upgrade();
        for _ in 0..taken {
            let child = bench.spawn();
            bench.ready(child);
        }
        let back = roll_back(&mut bench);
        bench.calm();
        assert_eq!((bench.verdict(upgrade), bench.verdict(back)), (Some(code), Some(Code::Done)));
        assert_eq!(bench.serving(), [(0, 1), (1, 1)]);
    }
    let upgrade = bench.upgrade();
    let child = bench.spawn();
    bench.ready(child);
    roll_back(&mut bench);
    let refused = roll_back(&mut bench);
    assert_eq!(bench.sentence(refused), "web: a roll-back is under way already");
    bench.calm();
    assert_eq!(bench.verdict(upgrade), Some(Code::RolledBack));
}

#[test]
fn a_roll_back_by_hand_that_fails_is_rolled_back_itself() {
    let mut bench = Bench::up(Policy { upgrade_failures: 1, canary: Some(secs(9)), ..rolling(1) });
    bench.upgrade();
    bench.calm();
    bench.pass(secs(9));
    bench.calm();
    let request = roll_back(&mut bench);
    bench.prepared();
    let child = bench.spawn();
    bench.fork(child);
    bench.code(child, 1);
    assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed));
    assert_eq!((bench.serving(), bench.state()), (vec![(0, 2)], GroupState::Up));
}

// pitfall 15
#[test]
fn a_second_upgrade_waits_for_the_first_where_it_is_to() {
    let mut bench = Bench::up(Policy { meanwhile: Meanwhile::Queue, ..rolling(1) });
    let first = bench.upgrade();
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    let third = bench.ask(Verb::Upgrade(None, Wait::No));
    assert_eq!(bench.sentence(third), "upgrading web: queued until what is under way has ended");
    assert_eq!((bench.prepares.len(), bench.noted("upgrade-queued")), (0, 1), "those that wait are one");
    let child = bench.spawn();
    bench.ready(child);
    assert_eq!((bench.verdict(first), bench.verdict(second)), (Some(Code::Done), None));
    bench.calm();
    assert_eq!((bench.verdict(second), bench.serving()), (Some(Code::Done), vec![(0, 3)]));

    // Nor does it wait for ever for a roll-back that does not succeed.
    let mut bench = Bench::up(Policy {
        upgrade_failures: 1,
        upgrade: UpgradeMode::StopFirst,
        meanwhile: Meanwhile::Queue,
        ..rolling(1)
    });
    let first = bench.upgrade();
    bench.die(ChildId(0), TERMED);
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    for _ in 0..2 {
        let child = bench.spawn();
        bench.fork(child);
        bench.code(child, 1);
        bench.pass(secs(1));
    }
    assert_eq!(bench.verdict(first), Some(Code::UpgradeFailed));
    bench.calm();
    assert_eq!((bench.verdict(second), bench.serving()), (Some(Code::Done), vec![(0, 3)]));
}

#[test]
fn a_second_upgrade_is_refused_where_it_is_to() {
    let mut bench = Bench::up(Policy { meanwhile: Meanwhile::Refuse, ..rolling(1) });
    let first = bench.upgrade();
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    assert_eq!(bench.sentence(second), "web: an upgrade or restart is under way");
    bench.signal(Signal::HUP);
    assert_eq!((bench.prepares.len(), bench.noted("upgrade-refused")), (0, 1));
    bench.calm();
    assert_eq!(bench.verdict(first), Some(Code::Done));
    let third = bench.upgrade();
    bench.calm();
    assert_eq!(bench.verdict(third), Some(Code::Done));
}

#[test]
fn a_stop_leaves_no_upgrade_waiting() {
    let mut bench = Bench::up(Policy { meanwhile: Meanwhile::Queue, ..rolling(1) });
    bench.upgrade();
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    bench.ask(Verb::Stop(Some("web".into()), Wait::No));
    assert_eq!(bench.verdict(second), Some(Code::Failed));
    bench.calm();
    bench.ask(Verb::Start(None, Wait::No));
    bench.calm();
    assert_eq!(bench.serving(), [(0, 1)]);
}

#[test]
fn those_who_take_their_time_to_go_are_waited_for_or_killed() {
    let mut bench = Bench::up(rolling(2));
    let refused = bench.ask(Verb::Drain(None, GenerationId(1), true, Wait::Done));
    assert_eq!(bench.sentence(refused), "no worker of generation 1 is on its way out");
    bench.upgrade();
    while let Some(child) = bench.take_spawn() {
        bench.ready(child);
    }
    bench.pass(secs(5));
    let generation = bench.web().generations.pop().unwrap();
    assert_eq!((generation.generation, generation.draining, generation.draining_ms), (1, 2, Some(5000)));
    bench.signals.clear();
    let patient = bench.ask(Verb::Drain(None, GenerationId(1), false, Wait::Done));
    assert_eq!(bench.signalled(), []);
    let request = bench.ask(Verb::Drain(None, GenerationId(1), true, Wait::Done));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::KILL), (ChildId(1), Signal::KILL)]);
    bench.die(ChildId(0), KILLED);
    assert_eq!(bench.verdict(request), None);
    bench.die(ChildId(1), KILLED);
    assert_eq!((bench.verdict(request), bench.verdict(patient)), (Some(Code::Done), Some(Code::Done)));
}

#[test]
fn the_last_eight_upgrades_are_remembered_with_their_results() {
    let mut bench = Bench::up(Policy { upgrade_failures: 1, ..rolling(1) });
    bench.upgrade();
    bench.upgrade();
    bench.calm();
    assert_eq!(results(&mut bench), [(1, 2, UpgradeResult::Superseded), (1, 3, UpgradeResult::Done)]);
    bench.upgrade();
    let child = bench.spawn();
    bench.fork(child);
    bench.code(child, 1);
    assert_eq!(results(&mut bench).pop(), Some((3, 4, UpgradeResult::Failed)));
    for _ in 0..7 {
        bench.upgrade();
        bench.calm();
    }
    assert_eq!(results(&mut bench).len(), 8);
    assert_eq!(results(&mut bench)[0], (3, 4, UpgradeResult::Failed));
    bench.ask(Verb::Restart(None, Wait::No));
    bench.calm();
    assert_eq!(results(&mut bench)[0], (3, 4, UpgradeResult::Failed), "a restart is no upgrade");
}
