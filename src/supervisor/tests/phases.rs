//! The table of `supervisor/mod.rs`: a test for each row, a case for each cell.

use super::*;
use crate::plan::Restart;

/// The only worker of a group, brought to a phase.
fn worker_in(phase: Phase, policy: Policy) -> (Bench, ChildId) {
    let mut bench = Bench::new(policy);
    let child = bench.spawn();
    bench.fork(child);
    if phase != Phase::Spawning {
        bench.exec(child);
        if phase >= Phase::Ready {
            bench.feed(Event::Ready { child });
        }
    }
    if phase >= Phase::Stopping {
        bench.ask(Verb::Stop(Some("web".into()), Wait::No));
        if phase == Phase::Killed {
            bench.pass(secs(10));
        }
    }
    assert_eq!(bench.phase(child), Some(phase));
    bench.forget();
    (bench, child)
}

const PHASES: [Phase; 5] = [Phase::Spawning, Phase::Starting, Phase::Ready, Phase::Stopping, Phase::Killed];

#[test]
fn a_fork_is_noted_in_every_phase() {
    for phase in PHASES {
        let (mut bench, child) = worker_in(phase, policy(1));
        bench.feed(Event::Forked { child, pid: 77 });
        assert_eq!(bench.child(child).map(|child| (child.pid, child.phase)), Some((77, phase)));
    }
}

#[test]
fn an_exec_moves_only_a_spawning_worker() {
    for phase in PHASES {
        let (mut bench, child) = worker_in(phase, policy(1));
        bench.exec(child);
        let expected = if phase == Phase::Spawning { Phase::Starting } else { phase };
        assert_eq!(bench.phase(child), Some(expected), "from {phase:?}");
    }
}

#[test]
fn ready_at_exec_needs_no_more() {
    let (mut bench, child) = worker_in(Phase::Spawning, Policy { ready: Readiness::Exec, ..policy(1) });
    bench.exec(child);
    assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Ready), None));
}

#[test]
fn an_ack_makes_ready_once_and_is_only_noted_later() {
    for phase in PHASES {
        let (mut bench, child) = worker_in(phase, policy(1));
        bench.feed(Event::Ready { child });
        let (expected, ignored) = match phase {
            Phase::Spawning | Phase::Starting => (Phase::Ready, 0),
            Phase::Ready | Phase::Stopping | Phase::Killed => (phase, 1),
        };
        assert_eq!((bench.phase(child), bench.noted("ack-ignored")), (Some(expected), ignored), "{phase:?}");
    }
}

#[test]
fn an_ack_in_spawning_implies_the_exec() {
    let (mut bench, child) = worker_in(Phase::Spawning, policy(1));
    bench.feed(Event::Ready { child });
    bench.exec(child);
    assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Ready), None));
}

#[test]
fn an_ack_does_not_shorten_the_timer() {
    let timer = Policy { ready: Readiness::Timer(secs(5)), ..policy(1) };
    for phase in [Phase::Spawning, Phase::Starting] {
        let (mut bench, child) = worker_in(phase, timer.clone());
        bench.feed(Event::Ready { child });
        assert_eq!((bench.phase(child), bench.noted("ack-ignored")), (Some(phase), 1));
    }
    let (mut bench, child) = worker_in(Phase::Starting, timer);
    assert_eq!(bench.wait(), Some(secs(5)));
    bench.pass(secs(5));
    assert_eq!(bench.phase(child), Some(Phase::Ready));
}

#[test]
fn a_spawn_that_hangs_is_asked_to_go_at_the_ack_deadline() {
    for ready in [Readiness::Exec, Readiness::Timer(secs(1)), Readiness::Manual] {
        let (mut bench, child) = worker_in(Phase::Spawning, Policy { ready, ..policy(1) });
        bench.pass(secs(59));
        assert_eq!(bench.phase(child), Some(Phase::Spawning));
        bench.pass(secs(1));
        assert_eq!(
            (bench.phase(child), bench.signalled()),
            (Some(Phase::Stopping), vec![(child, Signal::TERM)])
        );
        assert_eq!(bench.machine.groups[0].streak.length, 1);
    }
}

#[test]
fn a_missed_ack_deadline_is_a_failure() {
    let (mut bench, child) = worker_in(Phase::Starting, Policy { ack_deadline: Some(secs(7)), ..policy(1) });
    assert_eq!(bench.wait(), Some(secs(7)));
    bench.pass(secs(7));
    assert_eq!((bench.phase(child), bench.signalled()), (Some(Phase::Stopping), vec![(child, Signal::TERM)]));
    assert_eq!(bench.machine.groups[0].streak.length, 1);
    bench.pass(secs(5));
    assert_eq!(bench.spawns(), [], "the slot is taken until the worker is reaped");
    bench.die(child, TERMED);
    assert_eq!(bench.spawns().len(), 1, "the back-off has passed meanwhile");
}

#[test]
fn a_ready_worker_has_no_deadline() {
    let (mut bench, child) = worker_in(Phase::Ready, policy(1));
    assert_eq!(bench.wait(), None);
    bench.feed(Event::Timeout);
    bench.pass(secs(100_000));
    assert_eq!((bench.phase(child), bench.notes.len()), (Some(Phase::Ready), 0));
}

// pitfall 16
#[test]
fn a_worker_that_ignores_the_signal_is_killed_with_its_group_each_second() {
    let (mut bench, child) = worker_in(Phase::Stopping, policy(1));
    assert_eq!(bench.wait(), Some(secs(10)));
    bench.pass(secs(10));
    assert_eq!(bench.phase(child), Some(Phase::Killed));
    bench.pass(secs(2));
    assert_eq!(bench.signals, vec![(child, Signal::KILL, true); 3]);
    assert_eq!(bench.wait(), Some(secs(1)));
}

#[test]
fn the_graceful_signal_goes_to_the_process_alone() {
    let mut bench = Bench::up(Policy { graceful_signal: Signal::USR2, ..policy(1) });
    bench.ask(Verb::Stop(Some("web".into()), Wait::No));
    assert_eq!(bench.signals, [(ChildId(0), Signal::USR2, false)]);
}

#[test]
fn a_failed_fork_takes_the_record_out_at_once() {
    let (mut bench, child) = worker_in(Phase::Spawning, policy(1));
    bench.feed(Event::SpawnFailed { child, stage: Stage::Fork, errno: libc::EAGAIN });
    assert_eq!((bench.phase(child), bench.noted("spawn-failed")), (None, 1));
    assert_eq!((bench.machine.groups[0].streak.length, bench.wait()), (1, Some(secs(1))));
}

#[test]
fn a_failed_fork_of_a_worker_asked_to_go_is_no_failure() {
    let mut bench = Bench::new(policy(1));
    let child = bench.spawn();
    bench.ask(Verb::Stop(Some("web".into()), Wait::No));
    bench.feed(Event::SpawnFailed { child, stage: Stage::Fork, errno: libc::EAGAIN });
    assert_eq!((bench.phase(child), bench.machine.groups[0].streak.length), (None, 0));
}

#[test]
fn a_failure_after_the_fork_waits_for_the_reaper() {
    let (mut bench, child) = worker_in(Phase::Spawning, policy(1));
    bench.feed(Event::SpawnFailed { child, stage: Stage::Directory, errno: libc::ENOENT });
    assert_eq!((bench.phase(child), bench.spawns().len()), (Some(Phase::Spawning), 0));
    bench.code(child, 127);
    assert_eq!((bench.phase(child), bench.noted("spawn-failed"), bench.noted("died")), (None, 1, 0));
}

#[test]
fn an_exec_that_failed_is_a_failure_whatever_the_exit_code() {
    let (mut bench, child) = worker_in(Phase::Spawning, Policy { restart: Restart::OnFailure, ..policy(1) });
    bench.feed(Event::SpawnFailed { child, stage: Stage::Exec, errno: libc::ETXTBSY });
    bench.code(child, 0);
    assert_eq!((bench.machine.groups[0].streak.length, bench.exit), (1, None));
}

#[test]
fn an_exit_takes_the_record_out_in_every_phase() {
    for phase in PHASES {
        let (mut bench, child) = worker_in(phase, policy(1));
        bench.code(child, 1);
        assert_eq!(bench.phase(child), None);
        let failed = u32::from(phase < Phase::Ready);
        assert_eq!(bench.machine.groups[0].streak.length, failed, "{phase:?}");
    }
}

#[test]
fn a_worker_that_is_ready_as_soon_as_it_runs_is_healthy_after_a_second_any_other_at_once() {
    let (exec, timer) = (Readiness::Exec, Readiness::Timer(secs(1)));
    let cases = [(exec, 999, 1), (exec, 1000, 0), (timer, 1000, 0), (Readiness::Manual, 0, 0)];
    for (ready, lived, failures) in cases {
        let mut bench = Bench::new(Policy { ready, ..policy(1) });
        let child = bench.spawn();
        bench.ready(child);
        bench.pass(Duration::from_millis(lived));
        bench.code(child, 1);
        assert_eq!(bench.machine.groups[0].streak.length, failures);
        assert_eq!(bench.spawns().len(), usize::from(failures == 0));
    }
}

#[test]
fn asking_to_go_twice_changes_nothing() {
    for phase in PHASES {
        let (mut bench, child) = worker_in(phase, policy(1));
        let before = bench.wait();
        bench.pass(secs(3).min(before.unwrap_or(secs(3)) / 2));
        bench.forget();
        let deadline = bench.machine.next_deadline();
        bench.ask(Verb::Stop(Some("web".into()), Wait::No));
        bench.ask(Verb::Stop(Some("web".into()), Wait::No));
        if phase.is_serving() {
            assert_eq!(bench.signalled(), [(child, Signal::TERM)]);
            assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Stopping), Some(secs(10))));
        } else {
            assert_eq!(bench.signalled(), []);
            assert_eq!((bench.phase(child), bench.machine.next_deadline()), (Some(phase), deadline));
        }
    }
}

// pitfall 32
#[test]
fn events_of_a_reaped_or_unknown_worker_change_nothing() {
    let (mut bench, child) = worker_in(Phase::Ready, policy(1));
    bench.pass(secs(2));
    bench.code(child, 0);
    let next = bench.spawn();
    bench.ready(next);
    bench.forget();
    let before = bench.machine.clone();
    for ghost in [child, ChildId(99)] {
        bench.feed(Event::Forked { child: ghost, pid: 5 });
        bench.exec(ghost);
        bench.feed(Event::Ready { child: ghost });
        bench.feed(Event::SpawnFailed { child: ghost, stage: Stage::Fork, errno: 1 });
        bench.code(ghost, 1);
    }
    bench.feed(Event::Prepared { group: GroupId(7), generation: GenerationId(1), outcome: Ok(()) });
    assert!(bench.machine == before);
    assert!(bench.notes.is_empty() && bench.spawned.is_empty() && bench.signals.is_empty());
}

// pitfall 33
#[test]
fn the_clock_never_goes_back() {
    let (mut bench, child) = worker_in(Phase::Starting, policy(1));
    let late = bench.now.after(secs(60));
    bench.now = Mono(5);
    bench.feed(Event::Timeout);
    assert_eq!((bench.phase(child), bench.machine.next_deadline()), (Some(Phase::Starting), Some(late)));
}
