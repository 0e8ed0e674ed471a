//! Hooks: the preflight of an upgrade, and the command that asks a worker to go.

use super::*;
use crate::plan::Hook;
use crate::supervisor::command::Scale;

const PREFLIGHT: HookKind = HookKind::Preflight;

fn command() -> Option<Hook> {
    Some(Hook { argv: vec!["command".into()] })
}

fn with_preflight() -> Policy {
    Policy { preflight: command(), preflight_timeout: secs(5), ..policy(1) }
}

fn with_stop_command() -> Policy {
    Policy { stop_hook: command(), ..policy(1) }
}

#[test]
fn an_upgrade_begins_when_its_preflight_is_content() {
    let mut bench = Bench::up(with_preflight());
    let request = bench.ask(Verb::Upgrade(None, Wait::Done));
    assert_eq!((bench.prepares.len(), bench.state()), (0, GroupState::Upgrading));
    let hook = bench.hook(PREFLIGHT);
    assert_eq!(bench.web().workers.len(), 1, "a hook is no worker");
    bench.code(hook, 0);
    assert_eq!(bench.prepares, [(WEB, GenerationId(2))]);
    bench.calm();
    assert_eq!((bench.verdict(request), bench.web().generation), (Some(Code::Done), 2));
}

#[test]
fn a_preflight_that_is_not_content_ends_the_upgrade_before_anything_is_touched() {
    let mut bench = Bench::up(with_preflight());
    for outcome in 0..4 {
        let request = bench.ask(Verb::Upgrade(None, Wait::Done));
        let why = match outcome {
            0 => {
                let hook = bench.hook(PREFLIGHT);
                bench.code(hook, 3);
                "exit code 3"
            }
            1 => {
                let (child, _) = bench.hooks.remove(0);
                bench.fail(child, Stage::Exec, libc::ENOEXEC);
                "unable to execute the program: exec format error"
            }
            2 => {
                let (child, _) = bench.hooks.remove(0);
                bench.feed(Event::HookFailed { child, why: "program x not found in PATH".into() });
                "program x not found in PATH"
            }
            _ => {
                let hook = bench.hook(PREFLIGHT);
                bench.pass(secs(5));
                assert_eq!(bench.signals.remove(0), (hook, Signal::KILL, true));
                bench.die(hook, KILLED);
                "it did not end within 5 s"
            }
        };
        let Some(Reply::Failed(Code::UpgradeFailed, told)) = bench.answer(request) else {
            panic!("the upgrade did not fail: {why}");
        };
        let wanted =
            format!("web: the upgrade did not begin: the preflight failed: {why}; generation 1 stays");
        assert_eq!(told, wanted);
        assert_eq!((bench.spawned.len(), bench.signals.len(), bench.prepares.len()), (0, 0, 0));
        assert_eq!((bench.state(), bench.wait()), (GroupState::Up, None));
    }
}

#[test]
fn a_later_upgrade_ends_the_preflight_of_an_earlier_one_and_waits_for_its_end() {
    let mut bench = Bench::up(with_preflight());
    let first = bench.ask(Verb::Upgrade(None, Wait::Done));
    let hook = bench.hook(PREFLIGHT);
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    assert_eq!(bench.verdict(first), Some(Code::Superseded));
    assert_eq!(bench.signals, [(hook, Signal::TERM, true)]);
    assert!(bench.hooks.is_empty(), "two at a time would be in each other's way");
    bench.signals.clear();
    bench.code(hook, 0);
    assert!(bench.prepares.is_empty(), "the end of the first says nothing about the second");
    let hook = bench.hook(PREFLIGHT);
    bench.code(hook, 0);
    bench.calm();
    assert_eq!((bench.verdict(second), bench.web().generation), (Some(Code::Done), 3));
}

#[test]
fn a_stop_ends_the_preflight_and_what_it_was_for() {
    let mut bench = Bench::up(with_preflight());
    let request = bench.ask(Verb::Upgrade(None, Wait::Done));
    let hook = bench.hook(PREFLIGHT);
    let stop = bench.ask(Verb::Stop(Some("web".into()), Wait::Done));
    assert_eq!(bench.verdict(request), Some(Code::Failed));
    assert_eq!(bench.signalled(), [(hook, Signal::TERM), (ChildId(0), Signal::TERM)]);
    bench.die(ChildId(0), TERMED);
    assert_eq!((bench.verdict(stop), bench.state()), (None, GroupState::Stopping));
    bench.pass(secs(10));
    assert_eq!(bench.signals, [(hook, Signal::KILL, true)]);
    bench.die(hook, KILLED);
    assert_eq!((bench.verdict(stop), bench.state()), (Some(Code::Done), GroupState::Stopped));
    bench.signals.clear();
    bench.ask(Verb::Start(None, Wait::No));
    bench.calm();
    assert_eq!((bench.prepares.len(), bench.web().generation), (0, 1));
}

#[test]
fn a_manager_that_ends_waits_for_its_hooks_and_kills_them_when_it_ends_at_once() {
    let mut bench = Bench::up(with_preflight());
    bench.ask(Verb::Upgrade(None, Wait::No));
    let hook = bench.hook(PREFLIGHT);
    bench.signal(Signal::TERM);
    bench.die(ChildId(0), TERMED);
    assert_eq!(bench.exit, None);
    bench.signals.clear();
    bench.signal(Signal::QUIT);
    assert_eq!(bench.signals, [(hook, Signal::KILL, true)]);
    bench.die(hook, KILLED);
    assert_eq!(bench.exit, Some(0), "no worker had to be killed");
}

#[test]
fn a_preflight_with_a_period_runs_by_itself_and_upgrades_when_it_is_content() {
    let mut bench = Bench::up(Policy { preflight_every: Some(secs(60)), ..with_preflight() });
    assert_eq!(bench.wait(), Some(secs(60)));
    bench.pass(secs(60));
    let hook = bench.hook(PREFLIGHT);
    assert_eq!(bench.wait(), Some(secs(5)));
    bench.pass(secs(2));
    bench.code(hook, 1);
    assert_eq!((bench.noted("hook-failed"), bench.noted("upgrade-failed")), (1, 0));
    assert_eq!(bench.wait(), Some(secs(60)), "from its end on");
    bench.pass(secs(60));
    let hook = bench.hook(PREFLIGHT);
    bench.code(hook, 0);
    bench.calm();
    assert_eq!(bench.web().generation, 2);
    // One that somebody asks for does not wait for it.
    bench.upgrade();
    bench.calm();
    assert_eq!(bench.web().generation, 3);
    bench.ask(Verb::Stop(Some("web".into()), Wait::No));
    bench.calm();
    assert_eq!(bench.wait(), None);
}

#[test]
fn the_stop_command_takes_the_place_of_the_signal() {
    let mut bench = Bench::up(with_stop_command());
    bench.ask(Verb::Scale(None, Scale::To(0), Wait::No));
    let worker = ChildId(0);
    let hook = bench.hook(HookKind::Stop(worker));
    assert!(bench.signals.is_empty());
    assert_eq!((bench.phase(worker), bench.wait()), (Some(Phase::Stopping), Some(secs(10))));
    bench.code(hook, 0);
    assert!(bench.signals.is_empty(), "the worker has its time");
    bench.pass(secs(10));
    assert_eq!(bench.signals, [(worker, Signal::KILL, true)]);
}

#[test]
fn a_stop_command_that_fails_is_followed_by_the_signal() {
    let mut bench = Bench::up(with_stop_command());
    bench.ask(Verb::Scale(None, Scale::To(0), Wait::No));
    let hook = bench.hook(HookKind::Stop(ChildId(0)));
    bench.pass(secs(1));
    bench.code(hook, 1);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)]);
    assert_eq!(bench.wait(), Some(secs(9)));
    bench.die(ChildId(0), TERMED);
    assert_eq!(bench.wait(), None);
}

#[test]
fn a_stop_command_has_no_more_time_than_its_worker() {
    let mut bench = Bench::up(with_stop_command());
    bench.ask(Verb::Scale(None, Scale::To(0), Wait::No));
    let hook = bench.hook(HookKind::Stop(ChildId(0)));
    bench.pass(secs(10));
    let mut killed = bench.signalled();
    killed.sort_unstable_by_key(|&(child, _)| child);
    assert_eq!(killed, [(ChildId(0), Signal::KILL), (hook, Signal::KILL)]);
}

#[test]
fn signals_of_their_own_and_programs_that_do_not_run_yet_have_no_stop_command() {
    let mut bench = Bench::up(Policy { drain_signal: Some(Signal::USR2), ..with_stop_command() });
    bench.upgrade();
    let fresh = bench.spawn();
    bench.ready(fresh);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::USR2)]);
    bench.ask(Verb::Scale(None, Scale::Up(1), Wait::No));
    let young = bench.spawn();
    bench.fork(young);
    bench.ask(Verb::Scale(None, Scale::To(1), Wait::No));
    assert_eq!(bench.signalled(), [(young, Signal::TERM)]);
    assert!(bench.hooks.is_empty());
}

#[test]
fn a_reexecution_waits_for_hooks_and_starts_no_preflight() {
    let mut bench = Bench::up(with_preflight());
    bench.ask(Verb::Upgrade(None, Wait::No));
    let hook = bench.hook(PREFLIGHT);
    let request = bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    assert!(!bench.others.contains(&Action::Reexec));
    let second = bench.ask(Verb::Upgrade(None, Wait::Done));
    bench.code(hook, 0);
    assert!(bench.hooks.is_empty() && bench.others.contains(&Action::Reexec));
    bench.feed(Event::Reexeced);
    assert_eq!(bench.verdict(request), Some(Code::Done));
    let hook = bench.hook(PREFLIGHT);
    bench.code(hook, 0);
    bench.signals.clear();
    bench.calm();
    assert_eq!(bench.verdict(second), Some(Code::Done));

    bench.ask(Verb::Upgrade(None, Wait::No));
    bench.hook(PREFLIGHT);
    let late = bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ImageChecked { check: 2, outcome: Ok(()) });
    bench.pass(Duration::from_millis(4999));
    assert_eq!(bench.verdict(late), None);
    bench.pass(secs(1));
    // Whichever deadline comes first.
    assert_eq!(bench.verdict(late), Some(Code::Failed));
}
