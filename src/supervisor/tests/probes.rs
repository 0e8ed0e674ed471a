//! Workers that are looked at from outside: probes of those that are not ready, live checks of those that are.

use super::*;
use crate::plan::Hook;
use crate::probe::{self, Probe};
use crate::supervisor::event::Finding;
use crate::supervisor::snapshot::{UpgradeResult, WorkerPhase};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn contact() -> Option<Probe> {
    probe::parse("tcp:80").ok()
}

fn command() -> Option<Probe> {
    Some(Probe::Exec(Hook { argv: vec!["check".into()] }))
}

fn probed(by: Option<Probe>) -> Policy {
    Policy { ready_probe: by, ..policy(1) }
}

fn checked(by: Option<Probe>) -> Policy {
    Policy { live_check: by, ..policy(1) }
}

/// The one worker whose program runs by now.
fn starting(bench: &mut Bench) -> ChildId {
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    child
}

/// The one probe that is under way comes to this.
fn answer(bench: &mut Bench, finding: Finding) {
    assert_eq!(bench.probes.len(), 1, "probes: {:?}", bench.probes);
    let child = bench.probes.remove(0);
    bench.feed(Event::Probed { child, finding });
}

fn refuse(bench: &mut Bench) {
    answer(bench, Finding::Unwell("connection refused".into()));
}

#[test]
fn a_worker_is_probed_from_its_exec_on_at_growing_intervals_and_ready_at_the_first_success() {
    let mut bench = Bench::new(probed(contact()));
    let child = bench.spawn();
    bench.fork(child);
    assert!(bench.probes.is_empty());
    bench.exec(child);
    for pause in [50, 100, 200, 400, 800, 1000, 1000] {
        refuse(&mut bench);
        assert_eq!(bench.wait(), Some(millis(pause)));
        assert!(bench.probes.is_empty());
        bench.pass(millis(pause));
    }
    assert_eq!(bench.phase(child), Some(Phase::Starting));
    answer(&mut bench, Finding::Well);
    assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Ready), None));
}

#[test]
fn a_worker_may_also_say_itself_that_it_is_ready() {
    let mut bench = Bench::new(probed(contact()));
    let child = starting(&mut bench);
    assert_eq!(bench.probes, [child]);
    bench.feed(Event::Ready { child });
    assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Ready), None));
    assert!(bench.probes.is_empty(), "nobody waits for the answer");
    bench.feed(Event::Probed { child, finding: Finding::Unwell("late".into()) });
    assert_eq!(bench.wait(), None);
}

#[test]
fn who_is_probed_in_vain_misses_the_deadline_with_the_reason() {
    let mut bench = Bench::new(probed(contact()));
    let child = starting(&mut bench);
    refuse(&mut bench);
    let shown = bench.web().workers[0].probe.clone().unwrap();
    assert_eq!((shown.message.as_str(), shown.count), ("connection refused", 1));
    for _ in 0..100 {
        if bench.phase(child) != Some(Phase::Starting) {
            break;
        }
        bench.pass(secs(1));
        if !bench.probes.is_empty() {
            answer(&mut bench, Finding::Unwell("answered 503".into()));
        }
    }
    assert_eq!(bench.signalled(), [(child, Signal::TERM)]);
    let shown = bench.web().workers[0].last_failure.clone().unwrap();
    assert_eq!(shown.message, "not ready in time: answered 503");
    assert!(bench.probes.is_empty());
    bench.pass(secs(5));
    assert!(bench.probes.is_empty(), "who is on its way out is not probed");
}

#[test]
fn a_probe_that_is_late_is_given_up_and_counts() {
    let mut bench = Bench::new(probed(contact()));
    starting(&mut bench);
    bench.pass(secs(2));
    assert!(bench.probes.is_empty());
    assert_eq!(bench.web().workers[0].probe.clone().unwrap().message, "no answer within 2 s");
    bench.pass(millis(50));
    assert_eq!(bench.probes.len(), 1);
}

#[test]
fn the_log_has_each_reason_once_and_none_of_the_first_moments() {
    let mut bench = Bench::new(probed(contact()));
    starting(&mut bench);
    for told in [0, 0, 0, 0, 0, 1, 1, 1] {
        refuse(&mut bench);
        assert_eq!(bench.noted("probe-failed"), told);
        bench.pass(secs(1));
    }
    answer(&mut bench, Finding::Unwell("answered 503".into()));
    assert_eq!(bench.noted("probe-failed"), 2);
    bench.pass(secs(1));
    answer(&mut bench, Finding::Well);
    assert_eq!((bench.noted("probe-failed"), bench.noted("probe-passed")), (2, 0));
}

#[test]
fn a_live_check_begins_an_interval_after_the_end_of_the_last_one() {
    let mut bench = Bench::up(checked(contact()));
    assert_eq!(bench.wait(), Some(secs(10)));
    bench.pass(secs(10));
    bench.pass(secs(1));
    answer(&mut bench, Finding::Well);
    assert_eq!((bench.wait(), bench.notes.len()), (Some(secs(10)), 0));
}

#[test]
fn live_checks_failed_in_a_row_end_a_worker_as_silence_does() {
    let mut bench = Bench::up(checked(contact()));
    let child = bench.ids()[0];
    for passes in [false, false, true, false, false] {
        bench.pass(secs(10));
        match passes {
            true => answer(&mut bench, Finding::Well),
            false => refuse(&mut bench),
        }
    }
    assert_eq!((bench.noted("probe-failed"), bench.noted("probe-passed")), (2, 1));
    assert_eq!(bench.phase(child), Some(Phase::Ready));
    bench.pass(secs(10));
    answer(&mut bench, Finding::Unwell("answered 503".into()));
    assert_eq!((bench.signalled(), bench.noted("probe-failed")), (vec![(child, Signal::TERM)], 3));
    let shown = bench.web().workers[0].last_failure.clone().unwrap();
    assert_eq!(shown.message, "live check failed 3 times in a row, the last: answered 503");
    bench.die(child, TERMED);
    let next = bench.spawn();
    bench.ready(next);
    assert_eq!((bench.web().workers[0].restarts, bench.wait()), (1, Some(secs(10))));
}

#[test]
fn that_nobody_could_look_is_no_fault_of_the_worker() {
    let mut bench = Bench::up(checked(contact()));
    for _ in 0..10 {
        bench.pass(secs(10));
        answer(&mut bench, Finding::Unknown("too many open files".into()));
    }
    assert!(bench.signals.is_empty());
    assert_eq!(bench.noted("probe-failed"), 1);
    let shown = bench.web().workers[0].probe.clone().unwrap();
    assert_eq!(shown.message, "it could not be made: too many open files");
}

#[test]
fn who_fails_twice_soon_after_it_was_ready_is_followed_after_a_pause() {
    let hasty = Policy { live_interval: millis(100), live_failures: 1, ..checked(contact()) };
    let mut bench = Bench::up(hasty);
    for spawned in [1, 0] {
        bench.pass(millis(100));
        refuse(&mut bench);
        let child = bench.ids()[0];
        bench.die(child, TERMED);
        assert_eq!(bench.spawned.len(), spawned);
        bench.calm();
    }
    assert_eq!(bench.wait(), Some(secs(1)));
}

#[test]
fn a_command_that_exits_with_0_makes_a_worker_ready() {
    let mut bench = Bench::new(probed(command()));
    let child = starting(&mut bench);
    let hook = bench.hook(HookKind::Probe(child));
    assert_eq!(bench.web().workers.len(), 1);
    bench.code(hook, 1);
    assert_eq!(bench.web().workers[0].probe.clone().unwrap().message, "exit code 1");
    bench.pass(millis(50));
    let hook = bench.hook(HookKind::Probe(child));
    bench.code(hook, 0);
    assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Ready), None));
}

#[test]
fn a_command_that_hangs_is_killed_and_followed_when_it_is_gone() {
    let mut bench = Bench::new(probed(command()));
    let child = starting(&mut bench);
    let hook = bench.hook(HookKind::Probe(child));
    bench.pass(secs(2));
    assert_eq!(bench.signals, [(hook, Signal::KILL, true)]);
    bench.pass(secs(3));
    assert!(bench.hooks.is_empty(), "two at a time would be in each other's way");
    let shown = bench.web().workers[0].probe.clone().unwrap();
    assert_eq!((shown.message.as_str(), shown.count), ("no answer within 2 s", 1));
    bench.die(hook, KILLED);
    bench.hook(HookKind::Probe(child));
}

#[test]
fn a_command_that_cannot_be_run_has_seen_nothing() {
    let mut bench = Bench::up(Policy { live_failures: 1, ..checked(command()) });
    for step in 0..3 {
        bench.pass(secs(10));
        let (child, _) = bench.hooks.remove(0);
        match step {
            0 => bench.feed(Event::HookFailed { child, why: "program check not found in PATH".into() }),
            1 => bench.feed(Event::SpawnFailed { child, stage: Stage::Fork, errno: libc::EAGAIN }),
            _ => bench.fail(child, Stage::Exec, libc::ENOENT),
        }
    }
    assert!(bench.signals.is_empty());
}

#[test]
fn a_command_ends_with_the_worker_that_it_probes() {
    let mut bench = Bench::new(probed(command()));
    let child = starting(&mut bench);
    let hook = bench.hook(HookKind::Probe(child));
    bench.code(child, 1);
    assert_eq!(bench.signals, [(hook, Signal::KILL, true)]);
    bench.die(hook, KILLED);
    bench.signals.clear();
    bench.pass(secs(1));
    let child = starting(&mut bench);
    let hook = bench.hook(HookKind::Probe(child));
    let stop = bench.ask(Verb::Stop(Some("web".into()), Wait::Done));
    let mut signalled = bench.signalled();
    signalled.sort_unstable_by_key(|&(child, _)| child);
    assert_eq!(signalled, [(child, Signal::TERM), (hook, Signal::KILL)]);
    bench.die(child, TERMED);
    bench.die(hook, KILLED);
    assert_eq!((bench.verdict(stop), bench.wait()), (Some(Code::Done), None));
}

#[test]
fn a_new_image_begins_its_probes_again() {
    for by in [contact(), command()] {
        let mut bench = Bench::new(probed(by));
        let child = starting(&mut bench);
        let request = bench.ask(Verb::Reexec(Wait::Done));
        bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
        if let Some((hook, _)) = bench.hooks.pop() {
            assert_eq!(bench.signals, [(hook, Signal::KILL, true)]);
            assert!(!bench.others.contains(&Action::Reexec));
            bench.feed(Event::HookFailed { child: hook, why: "never forked".into() });
        }
        assert!(bench.others.contains(&Action::Reexec));
        bench.probes.clear();
        bench.feed(Event::Reexeced);
        assert_eq!(bench.verdict(request), Some(Code::Done));
        match bench.hooks.is_empty() {
            true => answer(&mut bench, Finding::Well),
            false => {
                let hook = bench.hook(HookKind::Probe(child));
                bench.code(hook, 0);
            }
        }
        assert_eq!(bench.phase(child), Some(Phase::Ready));
    }
}

#[test]
fn an_upgrade_whose_workers_fail_their_live_check_is_rolled_back() {
    let policy = Policy { live_failures: 1, live_interval: secs(2), ..checked(contact()) };
    let policy = Policy { canary: Some(secs(60)), upgrade_failures: 2, ..policy };
    let mut bench = Bench::up(policy);
    let request = bench.upgrade();
    for _ in 0..2 {
        let fresh = bench.spawn();
        bench.ready(fresh);
        for _ in 0..3 {
            bench.pass(secs(1));
            for child in std::mem::take(&mut bench.probes) {
                let finding =
                    if child == fresh { Finding::Unwell("answered 500".into()) } else { Finding::Well };
                bench.feed(Event::Probed { child, finding });
            }
        }
        assert_eq!(bench.phase(fresh), Some(Phase::Stopping));
        bench.die(fresh, TERMED);
    }
    let told = bench.sentence(request);
    assert!(told.contains("live check failed: answered 500"), "{told}");
    let web = bench.web();
    assert_eq!((web.generation, web.upgrades[0].result), (1, UpgradeResult::Failed));
}

#[test]
fn a_plan_without_a_live_check_ends_it() {
    let mut bench = Bench::up(checked(contact()));
    bench.replan(policy(1), false);
    assert_eq!(bench.wait(), None);
    bench.replan(Policy { live_interval: secs(3), ..checked(contact()) }, false);
    assert_eq!(bench.wait(), Some(secs(3)));
}

#[test]
fn an_ack_for_whoever_is_waited_for_longest_is_not_for_the_command_that_looks() {
    let mut bench = Bench::new(Policy { workers: 2, ..probed(command()) });
    for child in bench.spawns() {
        bench.fork(child);
        bench.exec(child);
    }
    let (second, _) = bench.hooks.pop().expect("a hook");
    let (first, _) = bench.hooks.pop().expect("a hook");
    for hook in [first, second] {
        bench.fork(hook);
        bench.exec(hook);
    }
    for _ in 0..3 {
        bench.ask(Verb::AckIn("web".into(), None));
    }
    assert_eq!(bench.web().workers.iter().filter(|worker| worker.phase == WorkerPhase::Ready).count(), 2);
    assert_eq!((bench.noted("ready"), bench.phase(first)), (2, Some(Phase::Killed)));
}
