//! Rollouts that fail: what ends an upgrade, the way back, and restarts.

use super::*;
use crate::plan::{Share, UpgradeMode};

fn rolling(workers: u32, surge: u32) -> Policy {
    Policy { surge: Share::Count(surge), ..policy(workers) }
}

/// Lets the back-off pass and takes the next spawn.
fn next_attempt(bench: &mut Bench) -> ChildId {
    if bench.spawned.is_empty() {
        bench.pass(secs(30));
    }
    bench.spawn()
}

#[test]
fn a_program_that_cannot_run_ends_the_upgrade_at_once() {
    for (stage, errno) in [
        (Stage::Exec, libc::ENOENT),
        (Stage::Exec, libc::EACCES),
        (Stage::Exec, libc::ENOEXEC),
        (Stage::Directory, libc::ENOENT),
        (Stage::User, libc::EPERM),
    ] {
        let mut bench = Bench::up(rolling(2, 1));
        let request = bench.upgrade();
        let child = bench.spawn();
        bench.fork(child);
        bench.fail(child, stage, errno);
        assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed), "{stage:?} {errno}");
        assert_eq!((bench.serving(), bench.signalled()), (vec![(0, 1), (1, 1)], vec![]));
        assert_eq!((bench.state(), bench.wait(), bench.web().generation), (GroupState::Up, None, 1));
        assert_eq!(bench.forgotten, [GenerationId(2)]);
    }
}

#[test]
fn an_error_that_passes_is_tried_again() {
    for (stage, errno) in
        [(Stage::Fork, libc::EAGAIN), (Stage::Exec, libc::ETXTBSY), (Stage::User, libc::EAGAIN)]
    {
        let mut bench = Bench::up(rolling(1, 1));
        let request = bench.upgrade();
        let child = bench.spawn();
        bench.fail(child, stage, errno);
        assert_eq!(bench.verdict(request), None, "{stage:?} {errno}");
        let again = next_attempt(&mut bench);
        bench.ready(again);
        assert_eq!(bench.verdict(request), Some(Code::Done));
    }
}

#[test]
fn three_deaths_in_a_row_end_the_upgrade() {
    let mut bench = Bench::up(rolling(2, 1));
    let request = bench.upgrade();
    for left in (0..3).rev() {
        let child = next_attempt(&mut bench);
        bench.fork(child);
        bench.exec(child);
        bench.code(child, 1);
        assert_eq!(bench.verdict(request).is_some(), left == 0);
    }
    assert_eq!((bench.serving(), bench.noted("upgrade-failed")), (vec![(0, 1), (1, 1)], 1));
    bench.pass(secs(3600));
    assert_eq!(bench.spawns(), [], "no more of them");
}

#[test]
fn missed_deadlines_count_like_deaths() {
    let mut bench = Bench::up(rolling(1, 1));
    let request = bench.upgrade();
    for _ in 0..3 {
        assert_eq!(bench.verdict(request), None);
        let child = next_attempt(&mut bench);
        bench.fork(child);
        bench.exec(child);
        bench.pass(secs(60));
        bench.die(child, TERMED);
    }
    assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed));
}

#[test]
fn the_back_off_holds_in_an_upgrade() {
    let mut bench = Bench::up(rolling(2, 2));
    bench.upgrade();
    for child in bench.spawns() {
        bench.fork(child);
        bench.code(child, 1);
    }
    assert_eq!((bench.spawns(), bench.wait()), (vec![], Some(secs(1))));
    bench.pass(secs(1));
    assert_eq!(bench.spawns().len(), 1, "one at a time while failing");
}

#[test]
fn a_slot_taken_forgives_the_failures_before_it() {
    let mut bench = Bench::up(rolling(3, 1));
    let request = bench.upgrade();
    for _ in 0..3 {
        for _ in 0..2 {
            let child = next_attempt(&mut bench);
            bench.fork(child);
            bench.code(child, 1);
        }
        let child = next_attempt(&mut bench);
        bench.ready(child);
    }
    assert_eq!(bench.verdict(request), Some(Code::Done));
}

#[test]
fn workers_that_recycle_themselves_do_not_end_the_upgrade() {
    let mut bench = Bench::up(rolling(2, 1));
    let request = bench.upgrade();
    let mut recycling = bench.spawn();
    bench.ready(recycling);
    let second = bench.spawn();
    for _ in 0..5 {
        bench.pass(secs(5));
        bench.code(recycling, 0);
        if let Some(next) = bench.take_spawn() {
            recycling = next;
            bench.ready(recycling);
        }
    }
    bench.ready(second);
    bench.calm();
    assert_eq!(bench.verdict(request), Some(Code::Done));
}

#[test]
fn failures_of_old_workers_do_not_end_the_upgrade() {
    let mut bench = Bench::up(Policy { upgrade_failures: 1, ..rolling(2, 2) });
    let request = bench.upgrade();
    bench.code(ChildId(0), 1);
    bench.code(ChildId(1), 1);
    assert_eq!(bench.verdict(request), None);
    bench.calm();
    assert_eq!(bench.verdict(request), Some(Code::Done));
}

/// Two workers, the first one replaced, then generation 2 fails.
fn half_failed() -> (Bench, u64) {
    half_failed_with(rolling(2, 1))
}

fn half_failed_with(policy: Policy) -> (Bench, u64) {
    let mut bench = Bench::up(policy);
    let request = bench.upgrade();
    let first = bench.spawn();
    bench.ready(first);
    bench.die(ChildId(0), TERMED);
    bench.signalled();
    let second = bench.spawn();
    bench.fork(second);
    bench.fail(second, Stage::Exec, libc::ENOENT);
    (bench, request)
}

#[test]
fn a_failed_upgrade_brings_the_replaced_slots_back() {
    let (mut bench, request) = half_failed();
    assert_eq!((bench.verdict(request), bench.state()), (None, GroupState::Upgrading));
    let back = bench.spawn();
    assert_eq!(bench.child(back).map(|child| (child.slot, child.generation.0)), Some((0, 1)));
    assert_eq!(bench.signalled(), [], "what serves stays until its place is taken");
    bench.ready(back);
    assert_eq!(bench.signalled(), [(ChildId(2), Signal::TERM)]);
    assert_eq!((bench.verdict(request), bench.serving()), (Some(Code::RolledBack), vec![(0, 1), (1, 1)]));
    bench.die(ChildId(2), TERMED);
    assert_eq!((bench.forgotten, bench.machine.next_deadline()), (vec![GenerationId(2)], None));
}

#[test]
fn unready_workers_of_a_failed_upgrade_are_stopped() {
    let mut bench = Bench::up(rolling(2, 2));
    let request = bench.upgrade();
    let new = bench.spawns();
    bench.fork(new[0]);
    bench.fork(new[1]);
    bench.exec(new[1]);
    bench.fail(new[0], Stage::Exec, libc::ENOENT);
    assert_eq!(bench.signalled(), [(new[1], Signal::TERM)]);
    assert_eq!((bench.verdict(request), bench.spawns()), (Some(Code::UpgradeFailed), vec![]));
}

#[test]
fn a_fleet_that_fails_leaves_the_old_ones_alone() {
    let mut bench = Bench::up(Policy { upgrade: UpgradeMode::Fleet, ..policy(2) });
    let request = bench.upgrade();
    let new = bench.spawns();
    bench.ready(new[0]);
    bench.fork(new[1]);
    bench.fail(new[1], Stage::Exec, libc::ENOENT);
    assert_eq!(bench.signalled(), [(new[0], Signal::TERM)]);
    assert_eq!((bench.verdict(request), bench.serving()), (Some(Code::UpgradeFailed), vec![(0, 1), (1, 1)]));
}

#[test]
fn an_upgrade_during_the_roll_back_takes_its_place() {
    let (mut bench, request) = half_failed();
    let back = bench.spawn();
    bench.fork(back);
    // It is of the committed generation, but beside it stands one that is ready.
    let next = bench.upgrade();
    assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed));
    assert_eq!(bench.signalled(), [(back, Signal::TERM)]);
    bench.die(back, TERMED);
    bench.calm();
    assert_eq!(bench.verdict(next), Some(Code::Done));
    for child in ids(1, 2) {
        bench.die(child, TERMED);
    }
    assert_eq!(bench.serving(), [(0, 3), (1, 3)]);
}

#[test]
fn a_superseded_upgrade_that_fails_goes_back_to_the_committed_generation() {
    let mut bench = Bench::up(rolling(2, 1));
    bench.upgrade();
    let first = bench.spawn();
    bench.ready(first);
    bench.spawns();
    let request = bench.upgrade();
    bench.signalled();
    let child = bench.spawn();
    bench.fork(child);
    bench.fail(child, Stage::Exec, libc::ENOENT);
    assert_eq!(bench.web().generation, 1);
    bench.calm();
    for child in bench.ids() {
        if bench.phase(child) == Some(Phase::Stopping) {
            bench.die(child, TERMED);
        }
    }
    bench.calm();
    assert_eq!((bench.verdict(request), bench.serving()), (Some(Code::RolledBack), vec![(0, 1), (1, 1)]));
}

#[test]
fn a_roll_back_that_fails_is_told_and_goes_on() {
    let (mut bench, request) = half_failed();
    for _ in 0..3 {
        let child = next_attempt(&mut bench);
        bench.fork(child);
        bench.code(child, 1);
    }
    let sentence = bench.sentence(request);
    assert!(
        sentence.contains("generation 1 does not start either") && sentence.contains("still trying"),
        "{sentence}"
    );
    let child = next_attempt(&mut bench);
    bench.ready(child);
    bench.calm();
    assert_eq!((bench.serving(), bench.state()), (vec![(0, 1), (1, 1)], GroupState::Up));
}

#[test]
fn a_roll_back_does_not_give_up() {
    let (mut bench, _) = half_failed_with(Policy { give_up: Some(1), ..rolling(2, 1) });
    bench.notes.clear();
    for _ in 0..5 {
        let child = next_attempt(&mut bench);
        bench.fork(child);
        bench.code(child, 1);
    }
    assert_eq!((bench.noted("gave-up"), bench.exit), (0, None));
}

#[test]
fn a_roll_back_gives_up_where_the_plan_says_so() {
    let limits = Policy { give_up: Some(1), give_up_roll_back: true, ..rolling(2, 1) };
    let (mut bench, request) = half_failed_with(limits);
    bench.notes.clear();
    let child = next_attempt(&mut bench);
    bench.fork(child);
    bench.code(child, 1);
    assert!(bench.sentence(request).ends_with("gave up"));
    bench.pass(secs(3600));
    assert_eq!((bench.spawns(), bench.noted("gave-up"), bench.exit), (vec![], 1, None));
    assert_eq!(bench.serving(), [(0, 2), (1, 1)], "what serves is left alone");
}

#[test]
fn deaths_of_old_workers_neither_delay_nor_give_up_the_upgrade() {
    let mut bench = Bench::up(Policy { give_up: Some(1), ..rolling(2, 1) });
    let request = bench.upgrade();
    let first = bench.spawn();
    bench.code(ChildId(0), 1);
    bench.code(ChildId(1), 1);
    bench.ready(first);
    let second = bench.spawn();
    bench.ready(second);
    assert_eq!((bench.verdict(request), bench.noted("gave-up")), (Some(Code::Done), 0));
}

#[test]
fn giving_up_ends_an_upgrade() {
    let mut bench = Bench::up(Policy { give_up: Some(2), ..rolling(1, 1) });
    let request = bench.upgrade();
    for _ in 0..2 {
        let child = next_attempt(&mut bench);
        bench.fork(child);
        bench.code(child, 1);
    }
    assert_eq!((bench.verdict(request), bench.serving()), (Some(Code::UpgradeFailed), vec![(0, 1)]));
}

#[test]
fn a_missed_deadline_is_no_way_round_the_back_off() {
    let mut bench = Bench::up(rolling(1, 1));
    bench.pass(secs(5));
    bench.upgrade();
    let new = bench.spawn();
    bench.fork(new);
    bench.exec(new);
    // A healthy death would be answered at once, had the slot not got its new worker before.
    bench.code(ChildId(0), 1);
    bench.pass(secs(60));
    bench.die(new, TERMED);
    assert_eq!((bench.spawns(), bench.wait()), (vec![], Some(secs(1))));
}

// ---- restart -----------------------------------------------------------------------------------------------------

#[test]
fn a_restart_stops_all_then_starts_them_in_the_same_generation() {
    let mut bench = Bench::up(rolling(2, 1));
    let request = bench.ask(Verb::Restart(None, Wait::Done));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM), (ChildId(1), Signal::TERM)]);
    assert_eq!((bench.spawns(), bench.wait()), (vec![], Some(secs(10))));
    bench.die(ChildId(0), TERMED);
    bench.die(ChildId(1), TERMED);
    assert_eq!(bench.spawned.len(), 2);
    bench.calm();
    assert_eq!((bench.verdict(request), bench.serving()), (Some(Code::Done), vec![(0, 1), (1, 1)]));
    assert_eq!(bench.prepares, []);
}

#[test]
fn a_second_restart_takes_the_place_of_the_first() {
    let mut bench = Bench::up(rolling(1, 1));
    let first = bench.ask(Verb::Restart(None, Wait::Done));
    let second = bench.ask(Verb::Restart(None, Wait::Done));
    assert_eq!(bench.verdict(first), Some(Code::Superseded));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)], "asked once");
    bench.die(ChildId(0), TERMED);
    bench.calm();
    assert_eq!(bench.verdict(second), Some(Code::Done));
}

#[test]
fn a_restart_is_refused_while_an_upgrade_is_prepared_runs_or_is_rolled_back() {
    let mut bench = Bench::up(rolling(2, 1));
    bench.ask(Verb::Upgrade(None, Wait::No));
    let refused = bench.ask(Verb::Restart(None, Wait::Done));
    assert_eq!(bench.verdict(refused), Some(Code::Refused));
    bench.prepared();
    let refused = bench.ask(Verb::Restart(None, Wait::Done));
    assert_eq!(bench.verdict(refused), Some(Code::Refused));
    let (mut bench, _) = half_failed();
    let refused = bench.ask(Verb::Restart(None, Wait::Done));
    assert_eq!((bench.verdict(refused), bench.signalled()), (Some(Code::Refused), vec![]));
}

#[test]
fn an_upgrade_supersedes_a_restart() {
    let mut bench = Bench::up(rolling(1, 1));
    let restart = bench.ask(Verb::Restart(None, Wait::Done));
    let upgrade = bench.upgrade();
    assert_eq!(bench.verdict(restart), Some(Code::Superseded));
    bench.calm();
    assert_eq!((bench.verdict(upgrade), bench.serving()), (Some(Code::Done), vec![(0, 2)]));
}

#[test]
fn a_restart_that_fails_is_told_and_goes_on() {
    let mut bench = Bench::up(rolling(1, 1));
    let request = bench.ask(Verb::Restart(None, Wait::Done));
    bench.die(ChildId(0), TERMED);
    bench.signalled();
    for _ in 0..3 {
        assert_eq!(bench.verdict(request), None);
        let child = next_attempt(&mut bench);
        bench.fork(child);
        bench.code(child, 1);
    }
    assert_eq!(bench.verdict(request), Some(Code::Failed));
    let child = next_attempt(&mut bench);
    bench.ready(child);
    assert_eq!(bench.state(), GroupState::Up);
}

#[test]
fn a_restart_that_gives_up_is_over_and_the_manager_leaves() {
    let mut bench = Bench::up(Policy { give_up: Some(1), ..rolling(1, 1) });
    let request = bench.ask(Verb::Restart(None, Wait::Done));
    bench.die(ChildId(0), TERMED);
    let child = bench.spawn();
    bench.fork(child);
    bench.code(child, 4);
    assert!(!bench.sentence(request).contains("still trying"));
    assert_eq!(bench.exit, Some(4));
}

#[test]
fn a_failed_upgrade_announces_no_attempt_that_never_comes() {
    let mut bench = Bench::up(Policy { upgrade_failures: 1, ..policy(1) });
    bench.upgrade();
    let child = bench.spawn();
    bench.forget();
    bench.code(child, 1);
    assert_eq!((bench.noted("upgrade-failed"), bench.noted("back-off")), (1, 0));
}
