//! What a plan may change: the meaning of signals, the way a stubborn worker is pressed, the exit code of the manager.

use super::*;
use crate::plan::{Backoff, ExitPolicy, ManagerPolicy, Meaning, Restart, Share};
use crate::supervisor::command::Scale;

fn with(policy: Policy, manager: ManagerPolicy) -> Bench {
    let mut bench = Bench::up(policy);
    bench.machine = bench.machine.with_policy(manager);
    bench
}

fn meaning(signal: Signal, meaning: Meaning) -> ManagerPolicy {
    ManagerPolicy {
        signals: [(signal, meaning)].into(),
        exit: ExitPolicy::Success,
        ..ManagerPolicy::default()
    }
}

#[test]
fn a_stubborn_worker_gets_each_step_its_time_before_sigkill() {
    let mut bench = Bench::up(Policy {
        graceful_signal: Signal::USR2,
        stop_timeout: Some(secs(3)),
        stop_steps: vec![(Signal::TERM, secs(2)), (Signal::INT, secs(1))],
        ..policy(1)
    });
    bench.signal(Signal::TERM);
    let mut sent = Vec::new();
    for _ in 0..8 {
        sent.extend(
            bench
                .signalled()
                .into_iter()
                .map(|(_, signal)| (bench.now.since(Mono(1_000_000)).as_secs(), signal)),
        );
        bench.pass(secs(1));
    }
    let first = sent.first().map_or(0, |&(at, _)| at);
    let sent: Vec<_> = sent.into_iter().map(|(at, signal)| (at - first, signal)).take(4).collect();
    assert_eq!(sent, [(0, Signal::USR2), (3, Signal::TERM), (5, Signal::INT), (6, Signal::KILL)]);
}

#[test]
fn a_forwarded_signal_reaches_the_workers_each_time_and_is_no_failure() {
    let mut bench = with(policy(1), meaning(Signal::QUIT, Meaning::Forward));
    bench.signal(Signal::QUIT);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::QUIT)]);
    bench.signal(Signal::QUIT);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::QUIT)]);
    bench.die(ChildId(0), Exit::Signal(Signal::QUIT));
    assert_eq!((bench.spawns(), bench.exit), (vec![], Some(0)));
}

#[test]
fn a_stop_with_another_signal_replaces_the_graceful_one() {
    let mut bench = with(policy(1), meaning(Signal::INT, Meaning::StopWith(Signal::USR2)));
    bench.signal(Signal::INT);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::USR2)]);
}

#[test]
fn a_relayed_signal_has_no_other_consequence() {
    let mut bench = with(policy(2), meaning(Signal::USR1, Meaning::Relay));
    bench.signal(Signal::USR1);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::USR1), (ChildId(1), Signal::USR1)]);
    assert_eq!((bench.phase(ChildId(0)), bench.exit), (Some(Phase::Ready), None));
}

#[test]
fn a_signal_without_a_meaning_is_noted_and_that_is_all() {
    let mut bench = with(policy(1), meaning(Signal::USR1, Meaning::Relay));
    bench.forget();
    bench.signal(Signal::TERM);
    assert_eq!((bench.noted("signal-ignored"), bench.signals.len()), (1, 0));
}

#[test]
fn the_exit_code_tells_what_the_plan_wants_it_to() {
    for (exit, code, expected) in [
        (ExitPolicy::Worker, 3, 3),
        (ExitPolicy::Success, 3, 1),
        (ExitPolicy::Success, 0, 0),
        (ExitPolicy::Zero, 3, 0),
    ] {
        let policy = Policy { restart: Restart::Never, ..policy(1) };
        let mut bench = with(policy, ManagerPolicy { exit, ..ManagerPolicy::default() });
        bench.code(ChildId(0), code);
        assert_eq!(bench.exit, Some(expected), "{exit:?} {code}");
    }
    let mut bench = with(policy(1), ManagerPolicy { exit: ExitPolicy::Zero, ..ManagerPolicy::default() });
    bench.signal(Signal::QUIT);
    bench.die(ChildId(0), KILLED);
    assert_eq!(bench.exit, Some(0));
}

#[test]
fn an_overdue_worker_may_get_a_signal_of_its_own() {
    let policy = Policy {
        graceful_signal: Signal::USR2,
        overdue_signal: Some(Signal::TERM),
        ack_deadline: Some(secs(3)),
        give_up: Some(1),
        ..policy(1)
    };
    let mut bench = Bench::new(policy);
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    bench.pass(secs(3));
    assert_eq!(bench.signalled(), [(child, Signal::TERM)]);
    bench.die(child, TERMED);
    assert_eq!((bench.spawns(), bench.exit), (vec![], Some(1)));
}

#[test]
fn a_manager_that_is_to_end_when_empty_does_so_once_it_had_a_worker() {
    let when_empty = || ManagerPolicy { exit_when_empty: true, ..ManagerPolicy::default() };
    let mut bench = with(policy(0), when_empty());
    bench.ask(Verb::Status(None));
    assert_eq!(bench.exit, None);
    bench.ask(Verb::Scale(None, Scale::Up(1), Wait::No));
    bench.calm();
    bench.ask(Verb::Scale(None, Scale::To(0), Wait::No));
    assert_eq!(bench.exit, None);
    bench.calm();
    assert_eq!(bench.exit, Some(0));
    // By default it waits for more.
    let mut bench = Bench::up(policy(1));
    bench.ask(Verb::Scale(None, Scale::To(0), Wait::No));
    bench.calm();
    assert_eq!((bench.exit, bench.ids(), bench.state()), (None, vec![], GroupState::Up));
}

#[test]
fn a_change_of_scale_is_told_in_numbers() {
    let mut bench = Bench::up(policy(2));
    for (scale, from, to, more) in [
        (Scale::Up(3), 2, 5, ""),
        (Scale::Down(2), 5, 3, ""),
        (Scale::Down(9), 3, 1, "; web stays at 1"),
        (Scale::To(0), 1, 0, ""),
    ] {
        let request = bench.ask(Verb::Scale(None, scale, Wait::No));
        let message = format!("scaling web{more}");
        assert_eq!(bench.answer(request), Some(Reply::Scaled { from, to, message }));
    }
}

#[test]
fn one_fewer_goes_down_to_one_and_none_is_asked_for_by_its_number() {
    for (target, stays) in [(1, "web stays at 1"), (0, "web stays at 0")] {
        let mut bench = Bench::up(policy(target));
        let request = bench.ask(Verb::Scale(None, Scale::Down(1), Wait::Done));
        let Some(Reply::Failed(Code::Refused, why)) = bench.answer(request) else { panic!("not refused") };
        assert!(why.contains(stays) && why.contains("scale 0"), "{why}");
    }
    // Where nobody may ask for none, or `dec` goes on down to it, that there is no difference is all there is to say.
    for (workers_min, dec_min) in [(1, 1), (0, 0)] {
        let policy = Policy { workers_min, dec_min, ..policy(dec_min) };
        let mut bench = Bench::up(policy);
        let request = bench.ask(Verb::Scale(None, Scale::Down(1), Wait::No));
        let (from, to, message) = (dec_min, dec_min, "scaling web".to_owned());
        assert_eq!(bench.answer(request), Some(Reply::Scaled { from, to, message }));
    }
    // One group that goes down is enough.
    let mut bench = Bench::of(vec![("web", policy(2)), ("api", policy(1))]);
    bench.calm();
    let request = bench.ask(Verb::Scale(None, Scale::Down(1), Wait::No));
    let message = "scaling web, api; api stays at 1".to_owned();
    assert_eq!(bench.answer(request), Some(Reply::Scaled { from: 3, to: 2, message }));
}

#[test]
fn a_group_that_gave_up_tries_again_when_more_workers_are_wanted() {
    let mut bench = Bench::up(Policy { give_up: Some(1), ready: Readiness::Exec, ..policy(2) });
    bench.code(ChildId(0), 1);
    bench.pass(secs(60));
    assert_eq!(bench.spawns(), []);
    bench.ask(Verb::Scale(None, Scale::Up(1), Wait::No));
    assert_eq!(bench.spawns().len(), 2, "the slot that was given up, and the new one");
}

#[test]
fn without_delays_a_failing_worker_is_started_again_at_once_and_given_up_in_the_end() {
    let none = Backoff { base: Duration::ZERO, factor_milli: 1000, max: Duration::ZERO, jitter_percent: 0 };
    let mut bench = Bench::new(Policy { give_up: Some(3), backoff: none, ..policy(1) });
    for pause in [Duration::ZERO, secs(1), Duration::ZERO] {
        let child = bench.spawn();
        bench.fork(child);
        bench.exec(child);
        bench.code(child, 1);
        if !pause.is_zero() {
            assert_eq!((bench.spawned.len(), bench.wait()), (0, Some(pause)), "not twice in a second");
        }
        bench.pass(pause);
    }
    assert_eq!((bench.spawns(), bench.exit), (vec![], Some(1)));
}

#[test]
fn readiness_may_be_asked_of_those_only_that_replace_another() {
    let policy = Policy { ready: Readiness::Timer(secs(9)), ready_at_first: true, ..policy(1) };
    let mut bench = Bench::new(policy);
    let first = bench.spawn();
    bench.fork(first);
    bench.exec(first);
    assert_eq!(bench.phase(first), Some(Phase::Ready));
    bench.upgrade();
    let second = bench.spawn();
    bench.fork(second);
    bench.exec(second);
    assert_eq!((bench.phase(first), bench.phase(second)), (Some(Phase::Ready), Some(Phase::Starting)));
    bench.pass(secs(9));
    assert_eq!((bench.phase(first), bench.phase(second)), (Some(Phase::Stopping), Some(Phase::Ready)));
}

#[test]
fn what_is_never_started_again_is_not_by_the_roll_back_of_an_upgrade_either() {
    let policy = Policy { restart: Restart::Never, upgrade_failures: 1, surge: Share::Count(1), ..policy(1) };
    let mut bench = Bench::up(policy);
    bench.upgrade();
    let second = bench.spawn();
    bench.fork(second);
    bench.exec(second);
    bench.code(ChildId(0), 0);
    assert_eq!(bench.exit, None, "the new one may still make it");
    bench.code(second, 3);
    assert_eq!((bench.spawns(), bench.exit), (vec![], Some(3)));
}
