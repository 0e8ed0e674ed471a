//! Upgrades that succeed: order, modes and limits.

use super::*;
use crate::plan::{Restart, Share, UpgradeMode};

fn rolling(workers: u32, surge: u32) -> Policy {
    Policy { surge: Share::Count(surge), ..policy(workers) }
}

fn mode(workers: u32, upgrade: UpgradeMode) -> Policy {
    Policy { upgrade, ..rolling(workers, 1) }
}

/// The children signalled since the last look.
fn gone_to(bench: &mut Bench) -> Vec<u64> {
    bench.signalled().into_iter().map(|(child, _)| child.0).collect()
}

#[test]
fn an_upgrade_prepares_before_it_touches_anything() {
    let mut bench = Bench::up(rolling(2, 1));
    let request = bench.ask(Verb::Upgrade(None, Wait::Done));
    assert_eq!(bench.prepares, [(WEB, GenerationId(2))]);
    assert_eq!((bench.spawned.len(), bench.signals.len(), bench.state()), (0, 0, GroupState::Upgrading));
    bench.prepares.clear();
    let outcome = Err("no such program".to_owned());
    bench.feed(Event::Prepared { group: WEB, generation: GenerationId(2), outcome });
    assert!(
        bench
            .replies
            .iter()
            .any(|(_, reply, _)| matches!(reply, Reply::Failed(_, why) if why.contains("no such program")))
    );
    assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed));
    assert_eq!((bench.spawned.len(), bench.signals.len(), bench.state()), (0, 0, GroupState::Up));
}

#[test]
fn a_signal_of_their_own_is_for_old_workers_of_an_upgrade_only() {
    let mut bench = Bench::up(Policy { drain_signal: Some(Signal::USR2), ..rolling(1, 1) });
    bench.upgrade();
    let fresh = bench.spawn();
    bench.ready(fresh);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::USR2)]);
    bench.die(ChildId(0), Exit::Signal(Signal::USR2));
    bench.signal(Signal::TERM);
    assert_eq!(bench.signalled(), [(fresh, Signal::TERM)]);
}

#[test]
fn rolling_replaces_slot_by_slot_and_no_old_one_goes_before_a_new_one_is_ready() {
    let mut bench = Bench::up(rolling(2, 1));
    let request = bench.upgrade();
    let first = bench.spawn();
    bench.fork(first);
    bench.exec(first);
    assert_eq!(gone_to(&mut bench), Vec::<u64>::new());
    bench.feed(Event::Ready { child: first });
    assert_eq!(gone_to(&mut bench), [0]);
    assert_eq!(bench.wait(), Some(secs(60)), "drain timeout, not stop timeout");
    let second = bench.spawn();
    assert_eq!(bench.verdict(request), None);
    bench.ready(second);
    assert_eq!((gone_to(&mut bench), bench.verdict(request)), (vec![1], Some(Code::Done)));
    assert_eq!(bench.serving(), [(0, 2), (1, 2)]);
    bench.calm();
    bench.die(ChildId(0), TERMED);
    bench.die(ChildId(1), TERMED);
    assert_eq!(bench.forgotten, [], "it may be gone back to");
    assert_eq!((bench.wait(), bench.state(), bench.web().generation), (None, GroupState::Up, 2));
}

// pitfall 13
#[test]
fn surge_bounds_the_new_ones_beside_the_old_ones() {
    for (surge, workers, expected) in [
        (Share::Count(2), 4, 2),
        (Share::Percent(25), 8, 2),
        (Share::Percent(25), 3, 1),
        (Share::Count(9), 2, 2),
    ] {
        let mut bench = Bench::up(Policy { surge, ..policy(workers) });
        bench.upgrade();
        assert_eq!(bench.spawns().len(), expected, "{surge:?} of {workers}");
    }
}

#[test]
fn max_unacked_bounds_the_unready_ones_in_upgrades_only() {
    let limited = Policy { max_unacked: Some(1), upgrade: UpgradeMode::Fleet, ..policy(3) };
    let mut bench = Bench::new(limited);
    assert_eq!(bench.spawned.len(), 3, "not at the start");
    bench.calm();
    bench.upgrade();
    for _ in 0..3 {
        let child = bench.spawn();
        bench.ready(child);
    }
    bench.calm();
    for child in ids(0, 3) {
        bench.die(child, TERMED);
    }
    bench.ask(Verb::Restart(None, Wait::No));
    for (child, _) in bench.signalled() {
        bench.die(child, TERMED);
    }
    assert_eq!(bench.spawned.len(), 3, "nor in a restart");
}

// pitfall 13
#[test]
fn max_draining_holds_back_the_next_old_one() {
    let mut bench = Bench::up(Policy { max_draining: Some(1), ..rolling(3, 3) });
    let request = bench.upgrade();
    for child in bench.spawns() {
        bench.ready(child);
    }
    assert_eq!((gone_to(&mut bench), bench.verdict(request)), (vec![0], None));
    bench.die(ChildId(0), TERMED);
    assert_eq!(gone_to(&mut bench), [1]);
    bench.pass(secs(60));
    assert_eq!(gone_to(&mut bench), [1], "killed when its drain is over");
    bench.die(ChildId(1), KILLED);
    assert_eq!((gone_to(&mut bench), bench.verdict(request)), (vec![2], Some(Code::Done)));
}

#[test]
fn a_worker_that_missed_its_deadline_counts_as_draining_in_the_next_upgrade() {
    let mut bench = Bench::up(Policy { ack_deadline: Some(secs(1)), upgrade_failures: 1, ..rolling(1, 1) });
    for _ in 0..10 {
        bench.upgrade();
        for child in bench.spawns() {
            bench.fork(child);
            bench.exec(child);
        }
        bench.pass(secs(1));
    }
    assert!(bench.ids().len() <= 4, "{:?}", bench.ids());
}

#[test]
fn fleet_stops_the_old_ones_when_all_new_ones_are_ready() {
    let mut bench = Bench::up(mode(3, UpgradeMode::Fleet));
    let request = bench.upgrade();
    let new = bench.spawns();
    assert_eq!(new.len(), 3);
    bench.ready(new[0]);
    bench.ready(new[1]);
    assert_eq!((gone_to(&mut bench), bench.verdict(request)), (vec![], None));
    bench.ready(new[2]);
    assert_eq!((gone_to(&mut bench), bench.verdict(request)), (vec![0, 1, 2], Some(Code::Done)));
}

#[test]
fn stop_first_stops_one_then_starts_its_successor_when_it_is_gone() {
    let mut bench = Bench::up(mode(2, UpgradeMode::StopFirst));
    let request = bench.upgrade();
    assert_eq!((gone_to(&mut bench), bench.spawns()), (vec![0], vec![]));
    bench.die(ChildId(0), TERMED);
    let first = bench.spawn();
    bench.fork(first);
    bench.exec(first);
    assert_eq!(gone_to(&mut bench), Vec::<u64>::new());
    bench.feed(Event::Ready { child: first });
    assert_eq!(gone_to(&mut bench), [1]);
    bench.die(ChildId(1), TERMED);
    let second = bench.spawn();
    bench.ready(second);
    assert_eq!(bench.verdict(request), Some(Code::Done));
}

#[test]
fn a_slot_that_has_finished_is_no_empty_one_in_a_stop_first_upgrade() {
    let mut bench = Bench::up(Policy { restart: Restart::OnFailure, ..mode(2, UpgradeMode::StopFirst) });
    let request = bench.upgrade();
    bench.die(ChildId(0), TERMED);
    let first = bench.spawn();
    bench.fork(first);
    // Ready and done before the machine looks.
    bench.machine.handle(bench.now, Event::Ready { child: first });
    bench.forget();
    bench.code(first, 0);
    assert_eq!(gone_to(&mut bench), [1]);
    bench.calm();
    bench.die(ChildId(1), TERMED);
    bench.calm();
    assert_eq!(bench.verdict(request), Some(Code::Done));
}

#[test]
fn workers_that_are_not_ready_yet_serve_until_their_place_is_taken() {
    for upgrade in [UpgradeMode::Rolling, UpgradeMode::Fleet] {
        let mut bench = Bench::new(Policy { upgrade, ..rolling(2, 1) });
        for child in bench.spawns() {
            bench.fork(child);
            bench.exec(child);
        }
        bench.upgrade();
        assert_eq!(bench.signalled(), [], "{upgrade:?}");
        let first = bench.take_spawn().expect("a new worker");
        bench.ready(first);
        assert_eq!(gone_to(&mut bench), if upgrade == UpgradeMode::Rolling { vec![0] } else { vec![] });
        bench.calm();
        assert_eq!(bench.serving(), [(0, 2), (1, 2)]);
    }
}

#[test]
fn a_failed_upgrade_leaves_workers_alone_that_were_not_ready_when_it_began() {
    let mut bench = Bench::new(Policy { ready: Readiness::Timer(secs(5)), ..rolling(2, 1) });
    for child in bench.spawns() {
        bench.fork(child);
        bench.exec(child);
    }
    bench.pass(secs(3));
    let request = bench.upgrade();
    let new = bench.spawn();
    bench.fork(new);
    bench.fail(new, Stage::Exec, libc::ENOENT);
    assert_eq!((gone_to(&mut bench), bench.spawns()), (vec![], vec![]));
    bench.pass(secs(2));
    assert_eq!((bench.verdict(request), bench.state()), (Some(Code::UpgradeFailed), GroupState::Up));
    assert_eq!(bench.serving(), [(0, 1), (1, 1)]);
}

#[test]
fn a_stop_first_upgrade_of_a_starting_fleet_empties_no_more_than_its_share() {
    let mut bench = Bench::new(Policy { upgrade: UpgradeMode::StopFirst, ..rolling(4, 1) });
    for child in bench.spawns() {
        bench.fork(child);
        bench.exec(child);
    }
    bench.upgrade();
    assert_eq!(gone_to(&mut bench), [0], "the surge is one");
    bench.die(ChildId(0), TERMED);
    let first = bench.spawn();
    assert_eq!(bench.signalled(), []);
    bench.ready(first);
    assert_eq!(gone_to(&mut bench), [1]);
}

#[test]
fn a_superseding_upgrade_culls_the_unready_and_never_reaches_three_generations_of_serving() {
    let mut bench = Bench::up(mode(2, UpgradeMode::Fleet));
    let first = bench.upgrade();
    let new = bench.spawns();
    bench.ready(new[0]);
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    assert_eq!(bench.verdict(first), None, "until the next one is prepared");
    bench.prepared();
    assert_eq!(bench.verdict(first), Some(Code::Superseded));
    assert_eq!(gone_to(&mut bench), [0, 3], "the replaced one and the unready one");
    assert!(bench.serving().len() <= 4);
    bench.die(ChildId(0), TERMED);
    bench.die(ChildId(3), TERMED);
    bench.calm();
    assert_eq!(bench.verdict(second), Some(Code::Done));
    for child in bench.ids() {
        if bench.phase(child) == Some(Phase::Stopping) {
            bench.die(child, TERMED);
        }
    }
    assert_eq!(bench.serving(), [(0, 3), (1, 3)]);
}

#[test]
fn an_upgrade_supersedes_one_that_is_being_prepared() {
    let mut bench = Bench::up(rolling(1, 1));
    let first = bench.ask(Verb::Upgrade(None, Wait::Done));
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    assert_eq!(bench.verdict(first), Some(Code::Superseded));
    assert_eq!(bench.prepares, [(WEB, GenerationId(2)), (WEB, GenerationId(3))]);
    bench.calm();
    assert_eq!((bench.verdict(second), bench.serving()), (Some(Code::Done), vec![(0, 3)]));
    assert!(bench.forgotten.contains(&GenerationId(2)));
}

#[test]
fn old_workers_that_die_in_an_upgrade_are_not_replaced_by_old_ones() {
    let mut bench = Bench::up(rolling(2, 1));
    bench.pass(secs(5));
    bench.upgrade();
    let first = bench.spawn();
    bench.code(ChildId(1), 1);
    assert_eq!(bench.spawns(), [], "one unready at a time");
    bench.ready(first);
    let second = bench.spawn();
    assert_eq!(bench.child(second).map(|child| (child.slot, child.generation.0)), Some((1, 2)));
}

#[test]
fn a_worker_that_ignores_the_signal_does_not_breed() {
    let mut bench = Bench::up(rolling(1, 1));
    for _ in 0..5 {
        bench.upgrade();
        for child in bench.spawns() {
            bench.ready(child);
        }
        bench.pass(secs(1));
    }
    assert!(bench.ids().len() <= 3, "{:?}", bench.ids());
}

#[test]
fn respawns_use_the_generation_that_is_up() {
    let mut bench = Bench::up(rolling(1, 1));
    bench.upgrade();
    bench.calm();
    bench.pass(secs(5));
    bench.code(ChildId(1), 1);
    bench.calm();
    assert_eq!(bench.serving(), [(0, 2)]);
}

#[test]
fn drained_waits_until_the_replaced_ones_are_gone() {
    let mut bench = Bench::up(rolling(1, 1));
    let done = bench.ask(Verb::Upgrade(None, Wait::Drained));
    bench.prepared();
    let child = bench.spawn();
    bench.ready(child);
    assert_eq!(bench.verdict(done), None);
    bench.die(ChildId(0), TERMED);
    assert_eq!(bench.verdict(done), Some(Code::Done));
}

#[test]
fn an_upgrade_of_finished_workers_runs_them_again_and_ends() {
    for upgrade in [UpgradeMode::Rolling, UpgradeMode::Fleet, UpgradeMode::StopFirst] {
        let mut bench = Bench::up(Policy { restart: Restart::OnFailure, ..mode(2, upgrade) });
        bench.pass(secs(2));
        bench.code(ChildId(0), 0);
        let request = bench.upgrade();
        bench.calm();
        assert_eq!(bench.verdict(request), Some(Code::Done), "{upgrade:?}");
    }
}

#[test]
fn a_new_worker_that_finishes_at_once_has_still_replaced_the_old_one() {
    for upgrade in [UpgradeMode::Rolling, UpgradeMode::Fleet] {
        let limits = Policy { max_draining: Some(1), surge: Share::Count(2), ..mode(2, upgrade) };
        let mut bench = Bench::up(Policy { restart: Restart::OnFailure, ..limits });
        let request = bench.upgrade();
        for child in bench.spawns() {
            bench.ready(child);
            bench.pass(secs(2));
        }
        // Slot 1 waits for the drain of slot 0, and its new worker is done before that.
        bench.code(ChildId(3), 0);
        for child in ids(0, 2) {
            bench.die(child, TERMED);
        }
        assert_eq!(bench.verdict(request), Some(Code::Done), "{upgrade:?}");
        assert_eq!(bench.serving(), [(0, 2)]);
    }
}

#[test]
fn an_upgrade_of_no_workers_is_done() {
    let mut bench = Bench::up(policy(0));
    let request = bench.upgrade();
    assert_eq!((bench.verdict(request), bench.web().generation), (Some(Code::Done), 2));
}

#[test]
fn each_group_is_upgraded_for_itself_and_one_answer_tells_of_all() {
    let mut bench = Bench::of(vec![("web", rolling(1, 1)), ("api", rolling(1, 1))]);
    bench.calm();
    let both = bench.upgrade();
    let new = bench.spawns();
    bench.ready(new[0]);
    assert_eq!(bench.verdict(both), None);
    bench.ready(new[1]);
    let sentence = bench.sentence(both);
    assert_eq!(sentence, "web: generation 2 is up; api: generation 2 is up");
    bench.ask(Verb::Upgrade(Some("api".into()), Wait::No));
    assert_eq!(bench.prepares, [(GroupId(1), GenerationId(3))]);
}

#[test]
fn a_new_worker_whose_old_one_may_not_go_yet_still_counts_as_surge() {
    let mut bench = Bench::up(Policy { surge: Share::Count(1), max_draining: Some(1), ..policy(4) });
    bench.upgrade();
    let first = bench.spawn();
    bench.ready(first);
    let second = bench.spawn();
    bench.ready(second);
    assert_eq!(bench.spawns(), [], "the first old one drains, so the second serves beside its successor");
}
