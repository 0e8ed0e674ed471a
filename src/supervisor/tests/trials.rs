//! What an upgrade has to stand: a canary, and a limit of time.

use super::*;
use crate::plan::{Restart, Share, UpgradeMode};
use crate::supervisor::command::Scale;

fn with_canary(workers: u32, upgrade: UpgradeMode) -> Policy {
    Policy { canary: Some(secs(5)), upgrade, surge: Share::Count(2), ..policy(workers) }
}

#[test]
fn the_others_follow_a_canary_that_stands_its_time() {
    for mode in [UpgradeMode::Rolling, UpgradeMode::Fleet] {
        let mut bench = Bench::up(with_canary(3, mode));
        let request = bench.upgrade();
        let canary = bench.spawn();
        bench.pass(secs(50));
        bench.ready(canary);
        assert_eq!((bench.spawns(), bench.signalled(), bench.wait()), (vec![], vec![], Some(secs(5))));
        assert_eq!(bench.serving(), [(0, 1), (0, 2), (1, 1), (2, 1)], "{mode:?}");
        bench.pass(secs(5));
        assert_eq!((bench.noted("canary-done"), bench.spawned.len()), (1, 2));
        bench.calm();
        assert_eq!(bench.verdict(request), Some(Code::Done));
        assert_eq!((bench.serving(), bench.wait()), (vec![(0, 2), (1, 2), (2, 2)], None));
    }
}

#[test]
fn a_stop_first_upgrade_empties_the_canarys_slot_only() {
    let mut bench = Bench::up(with_canary(3, UpgradeMode::StopFirst));
    let request = bench.upgrade();
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)]);
    bench.die(ChildId(0), TERMED);
    let canary = bench.spawn();
    bench.ready(canary);
    assert_eq!((bench.spawns(), bench.signalled()), (vec![], vec![]));
    bench.pass(secs(5));
    assert_eq!(bench.signals.len(), 2);
    bench.calm();
    assert_eq!(bench.verdict(request), Some(Code::Done));
}

#[test]
fn a_canary_that_does_not_stand_ends_the_upgrade_before_any_other_is_touched() {
    // Ready for longer than what else counts as healthy, and with an exit code that else counts as success.
    let mut bench = Bench::up(Policy { canary: Some(secs(600)), ..with_canary(2, UpgradeMode::Rolling) });
    let request = bench.upgrade();
    for left in (0..3).rev() {
        let canary = bench.spawn();
        bench.ready(canary);
        bench.pass(secs(120));
        bench.code(canary, 0);
        assert_eq!(bench.verdict(request), (left == 0).then_some(Code::UpgradeFailed));
    }
    assert_eq!((bench.spawns(), bench.signalled(), bench.wait()), (vec![], vec![], None));
    assert_eq!(bench.serving(), [(0, 1), (1, 1)]);
}

#[test]
fn who_dies_healthy_beside_a_canary_is_followed_by_its_like() {
    let mut bench = Bench::up(with_canary(3, UpgradeMode::Rolling));
    bench.pass(secs(1));
    let request = bench.upgrade();
    let canary = bench.spawn();
    bench.fork(canary);
    bench.code(ChildId(2), 0);
    let second = bench.spawn();
    assert_eq!(bench.child(second).map(|child| child.generation), Some(GenerationId(1)));
    bench.fork(second);
    bench.code(second, 1);
    assert_eq!(
        (bench.spawns(), bench.state()),
        (vec![], GroupState::Upgrading),
        "and no longer, once it fails"
    );
    bench.exec(canary);
    bench.feed(Event::Ready { child: canary });
    bench.pass(secs(5));
    bench.calm();
    assert_eq!(bench.verdict(request), Some(Code::Done));
    assert_eq!(bench.serving(), [(0, 2), (1, 2), (2, 2)]);
}

#[test]
fn a_job_that_is_done_is_no_failed_canary_and_one_that_fails_is() {
    let policy = |restart| Policy { restart, ..with_canary(1, UpgradeMode::Rolling) };
    let mut bench = Bench::up(policy(Restart::OnFailure));
    let request = bench.upgrade();
    let canary = bench.spawn();
    bench.ready(canary);
    bench.code(canary, 0);
    assert_eq!(bench.verdict(request), Some(Code::Done));

    let mut bench = Bench::up(Policy { upgrade_failures: 1, ..policy(Restart::Never) });
    let request = bench.upgrade();
    let canary = bench.spawn();
    bench.ready(canary);
    bench.code(canary, 1);
    assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed));
    assert_eq!(bench.serving(), [(0, 1)]);
}

#[test]
fn a_canary_is_superseded_like_any_upgrade() {
    let mut bench = Bench::up(with_canary(2, UpgradeMode::Rolling));
    let first = bench.upgrade();
    let canary = bench.spawn();
    bench.ready(canary);
    let second = bench.upgrade();
    assert_eq!(bench.verdict(first), Some(Code::Superseded));
    bench.calm();
    bench.pass(secs(5));
    bench.calm();
    assert_eq!(bench.verdict(second), Some(Code::Done));
    assert_eq!(bench.serving(), [(0, 3), (1, 3)]);
}

#[test]
fn a_group_of_none_has_no_canary() {
    let mut bench = Bench::up(with_canary(1, UpgradeMode::Rolling));
    bench.ask(Verb::Scale(None, Scale::To(0), Wait::No));
    bench.calm();
    let request = bench.upgrade();
    assert_eq!(bench.verdict(request), Some(Code::Done));
    bench.upgrade();
    bench.ask(Verb::Scale(None, Scale::To(1), Wait::No));
    bench.calm();
    assert_eq!(bench.serving(), [(0, 3)]);
}

#[test]
fn an_upgrade_that_takes_too_long_is_rolled_back() {
    let limit = Policy { upgrade_timeout: Some(secs(30)), surge: Share::Count(1), ..policy(2) };
    let mut bench = Bench::up(limit);
    let request = bench.upgrade();
    let first = bench.spawn();
    bench.ready(first);
    let second = bench.spawn();
    bench.fork(second);
    bench.exec(second);
    bench.pass(secs(29));
    assert_eq!(bench.verdict(request), None);
    bench.pass(secs(1));
    bench.calm();
    let sentence = bench.sentence(request);
    assert!(sentence.contains("failed: not done within 30 s; generation 1 is back"), "{sentence}");
    assert_eq!((bench.serving(), bench.wait()), (vec![(0, 1), (1, 1)], None));
}

#[test]
fn the_limit_ends_with_the_upgrade() {
    let mut bench = Bench::up(Policy { upgrade_timeout: Some(secs(30)), ..policy(1) });
    let request = bench.upgrade();
    bench.calm();
    assert_eq!((bench.verdict(request), bench.wait()), (Some(Code::Done), None));

    let request = bench.upgrade();
    bench.signal(Signal::TERM);
    assert_eq!(bench.wait(), Some(secs(10)), "shutdown has its own");
    bench.calm();
    assert_eq!((bench.verdict(request), bench.exit), (Some(Code::Failed), Some(0)));
}

#[test]
fn attempts_are_as_many_as_wanted() {
    let mut bench = Bench::up(Policy { upgrade_failures: 1, ..policy(1) });
    let request = bench.upgrade();
    let child = bench.spawn();
    bench.fork(child);
    bench.code(child, 1);
    assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed));
}
