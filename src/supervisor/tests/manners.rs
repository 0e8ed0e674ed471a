//! What a plan may change: the meaning of signals, the way a stubborn worker is pressed, the exit code of the manager.

use super::*;
use crate::plan::{ExitPolicy, ManagerPolicy, Meaning, Restart};

fn with(policy: Policy, manager: ManagerPolicy) -> Bench {
    let mut bench = Bench::up(policy);
    bench.machine = bench.machine.with_policy(manager);
    bench
}

fn meaning(signal: Signal, meaning: Meaning) -> ManagerPolicy {
    ManagerPolicy { signals: [(signal, meaning)].into(), exit: ExitPolicy::Success }
}

#[test]
fn a_stubborn_worker_gets_each_step_its_time_before_sigkill() {
    let mut bench = Bench::up(Policy {
        graceful_signal: Signal::USR2,
        stop_timeout: secs(3),
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
