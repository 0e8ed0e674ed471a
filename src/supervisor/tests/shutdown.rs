//! Signals to the manager, and its end.

use super::*;
use crate::plan::Meaning;

#[test]
fn term_stops_gracefully_and_exits_with_zero() {
    let mut bench = Bench::up(policy(2));
    bench.signal(Signal::TERM);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM), (ChildId(1), Signal::TERM)]);
    bench.die(ChildId(0), TERMED);
    assert_eq!(bench.exit, None);
    bench.code(ChildId(1), 0);
    assert_eq!((bench.exit, bench.spawns()), (Some(0), vec![]));
}

#[test]
fn it_does_not_wait_until_thousands_are_started() {
    let start = GroupStart { name: "web".into(), sockets: Vec::new(), policy: policy(5000) };
    let identity = Identity { name: "bench".into(), pid: 1 };
    let mut machine = Supervisor::new(identity, vec![start], Mono(0), 1);
    machine.handle(Mono(0), Event::Start);
    let next = |machine: &mut Supervisor| {
        std::iter::from_fn(|| machine.poll_action()).find(|action| matches!(action, Action::Spawn { .. }))
    };
    assert!(next(&mut machine).is_some());
    machine.handle(Mono(0), Event::Signaled(Signal::TERM));
    let more = std::iter::from_fn(|| next(&mut machine)).count();
    assert_eq!(more, 63, "those of the look that was under way");
}

#[test]
fn a_worker_that_has_to_be_killed_makes_it_one() {
    let mut bench = Bench::up(policy(1));
    bench.signal(Signal::TERM);
    bench.pass(secs(10));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM), (ChildId(0), Signal::KILL)]);
    bench.die(ChildId(0), KILLED);
    assert_eq!(bench.exit, Some(1));
}

#[test]
fn with_nobody_running_it_leaves_at_once() {
    let mut bench = Bench::up(policy(0));
    assert_eq!(bench.exit, None);
    bench.signal(Signal::TERM);
    assert_eq!(bench.exit, Some(0));
}

// pitfall 34
#[test]
fn nothing_cancels_a_shutdown() {
    let mut bench = Bench::up(policy(2));
    bench.signal(Signal::TERM);
    bench.forget();
    let before = bench.machine.next_deadline();
    bench.pass(secs(3));
    bench.signal(Signal::HUP);
    bench.signal(Signal::TERM);
    assert_eq!((bench.prepares.len(), bench.noted("signal-ignored"), bench.signals.len()), (0, 1, 0));
    assert_eq!(bench.machine.next_deadline(), before, "nor prolongs it");
    use crate::supervisor::command::Scale;
    for verb in [
        Verb::Upgrade(None, Wait::Done),
        Verb::Restart(None, Wait::Done),
        Verb::Start(None, Wait::Done),
        Verb::Scale(None, Scale::Up(1), Wait::Done),
    ] {
        let request = bench.ask(verb);
        assert_eq!(bench.verdict(request), Some(Code::Refused));
    }
    bench.code(ChildId(0), 1);
    bench.code(ChildId(1), 1);
    assert_eq!((bench.spawns(), bench.exit), (vec![], Some(0)));
}

#[test]
fn a_second_interrupt_kills_and_a_second_term_does_not() {
    for first in [Signal::INT, Signal::TERM] {
        let mut bench = Bench::up(policy(1));
        bench.signal(first);
        bench.signalled();
        bench.signal(Signal::TERM);
        assert_eq!(bench.signalled(), []);
        bench.signal(Signal::INT);
        assert_eq!(bench.signals.len(), usize::from(first == Signal::INT));
        bench.signals.clear();
        bench.signal(Signal::INT);
        assert_eq!(bench.signals.len(), usize::from(first == Signal::TERM));
        bench.die(ChildId(0), KILLED);
        assert_eq!(bench.exit, Some(1));
    }
}

#[test]
fn quit_kills_at_once_and_also_those_that_were_asked_to_go() {
    let mut bench = Bench::up(policy(2));
    bench.code(ChildId(1), 1);
    bench.pass(secs(1));
    let spawning = bench.spawn();
    bench.signal(Signal::TERM);
    bench.signalled();
    bench.signal(Signal::QUIT);
    assert_eq!(bench.signals, [(ChildId(0), Signal::KILL, true), (spawning, Signal::KILL, true)]);
    bench.signal(Signal::QUIT);
    assert_eq!(bench.signals.len(), 2);
    bench.pass(secs(1));
    assert_eq!(bench.signals.len(), 4, "again each second");
}

#[test]
fn a_drain_does_not_outlast_the_shutdown() {
    let mut bench = Bench::up(policy(1));
    bench.upgrade();
    let new = bench.spawn();
    bench.ready(new);
    assert_eq!(bench.wait(), Some(secs(60)));
    bench.signal(Signal::TERM);
    assert_eq!(bench.wait(), Some(secs(10)));
    bench.pass(secs(10));
    assert_eq!(bench.signals.iter().filter(|signal| signal.1 == Signal::KILL).count(), 2);
}

#[test]
fn a_group_stopped_long_ago_does_not_prolong_it() {
    let mut bench = Bench::of(vec![("web", policy(1)), ("api", policy(1))]);
    bench.calm();
    bench.ask(Verb::Stop(Some("web".into()), Wait::No));
    bench.pass(secs(4));
    bench.signal(Signal::TERM);
    assert_eq!(bench.wait(), Some(secs(6)), "the one that was asked first");
}

#[test]
fn hup_upgrades_all_running_groups() {
    let mut bench = Bench::of(vec![("web", policy(1)), ("api", policy(1))]);
    bench.calm();
    bench.ask(Verb::Stop(Some("web".into()), Wait::No));
    bench.calm();
    bench.signal(Signal::HUP);
    assert_eq!(bench.prepares, [(GroupId(1), GenerationId(2))]);
    bench.calm();
    assert_eq!(bench.status().groups[1].generation, 2);
}

#[test]
fn a_terminal_that_is_gone_stops_instead_of_an_upgrade_and_nothing_else() {
    let mut bench = Bench::up(policy(1));
    bench.feed(Event::TerminalGone);
    bench.feed(Event::TerminalGone);
    assert_eq!((bench.prepares.len(), bench.noted("shutting-down")), (0, 1));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)]);

    let mut bench = Bench::up(policy(1));
    bench.machine.policy.signals = [(Signal::HUP, Meaning::Relay)].into();
    bench.feed(Event::TerminalGone);
    assert_eq!((bench.signalled(), bench.noted("shutting-down")), (vec![(ChildId(0), Signal::HUP)], 0));
}

#[test]
fn usr1_reopens_logs_and_other_signals_are_told_of() {
    let mut bench = Bench::up(policy(1));
    bench.signal(Signal::USR1);
    assert_eq!(bench.others, [Action::ReopenLogs { ticket: None }]);
    let before = bench.machine.clone();
    bench.signal(Signal::USR2);
    assert_eq!((bench.noted("signal-ignored"), bench.signals.len()), (1, 0));
    assert!(bench.machine == before);
}

#[test]
fn everybody_who_waits_is_answered_before_the_exit() {
    let mut bench = Bench::up(policy(1));
    let preparing = bench.ask(Verb::Upgrade(None, Wait::Done));
    let drained = bench.ask(Verb::Start(None, Wait::Drained));
    assert_eq!(bench.verdict(drained), Some(Code::Done));
    let stop = bench.ask(Verb::Stop(None, Wait::Done));
    let again = bench.ask(Verb::Stop(None, Wait::Drained));
    assert_eq!(bench.verdict(preparing), Some(Code::Failed));
    assert_eq!((bench.verdict(stop), bench.verdict(again)), (None, None));
    bench.die(ChildId(0), TERMED);
    assert_eq!((bench.verdict(stop), bench.verdict(again)), (Some(Code::Done), Some(Code::Done)));
    assert_eq!(bench.exit, Some(0));
    bench.prepared();
    assert_eq!(bench.spawns(), []);
}

/// With this delay, and telling whom the stop waits for.
fn draining(count: u32, delay: u64) -> Bench {
    let mut bench = Bench::up(policy(count));
    bench.machine.policy.drain_delay = secs(delay);
    bench.machine.policy.tell_awaited = true;
    bench
}

#[test]
fn a_drain_delay_goes_before_the_stop() {
    let mut bench = draining(1, 5);
    bench.signal(Signal::TERM);
    assert_eq!((bench.signalled(), bench.wait()), (vec![], Some(secs(5))));
    assert_eq!(bench.status().drain_ms, Some(5000));
    bench.code(ChildId(0), 1);
    bench.pass(secs(2));
    let new = bench.spawn();
    bench.pass(secs(3));
    assert_eq!(bench.signalled(), [(new, Signal::TERM)], "it has served on until then");
    assert_eq!(bench.status().drain_ms, None);
}

#[test]
fn a_second_term_and_an_interrupt_end_the_delay() {
    for second in [Signal::TERM, Signal::INT] {
        let mut bench = draining(1, 5);
        bench.signal(Signal::TERM);
        bench.signal(second);
        assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)]);
    }
    let mut bench = draining(1, 5);
    bench.signal(Signal::INT);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)], "whoever types it does not want to wait");
}

#[test]
fn a_drain_on_request_leaves_the_stop_to_others() {
    let mut bench = draining(1, 5);
    let request = bench.ask(Verb::DrainManager(None, Wait::Done));
    bench.pass(secs(5));
    assert_eq!(bench.verdict(request), Some(Code::Done));
    assert_eq!((bench.status().drain_ms, bench.wait()), (Some(0), None));
    assert_eq!((bench.signalled(), bench.noted("drained")), (vec![], 1));
    bench.signal(Signal::TERM);
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)], "the delay is over already");

    let mut bench = draining(1, 5);
    bench.ask(Verb::DrainManager(Some(secs(9)), Wait::Done));
    bench.pass(secs(3));
    let late = bench.ask(Verb::DrainManager(Some(secs(20)), Wait::No));
    assert_eq!(bench.answer(late), Some(Reply::Done("draining for 6 s".into())), "it began before");
    bench.signal(Signal::TERM);
    assert_eq!((bench.signalled(), bench.wait()), (vec![], Some(secs(6))), "what is left of it");
    bench.pass(secs(6));
    assert_eq!(bench.signalled(), [(ChildId(0), Signal::TERM)]);
}

#[test]
fn a_drain_is_taken_back_by_a_start_and_refused_without_a_delay() {
    let mut bench = draining(1, 5);
    let waiting = bench.ask(Verb::DrainManager(None, Wait::Done));
    bench.ask(Verb::Start(None, Wait::No));
    assert_eq!((bench.status().drain_ms, bench.wait()), (None, None));
    assert_eq!(bench.verdict(waiting), Some(Code::Done));
    bench.machine.policy.drain_delay = secs(0);
    let request = bench.ask(Verb::DrainManager(None, Wait::Done));
    assert_eq!(bench.verdict(request), Some(Code::Refused));
    bench.signal(Signal::TERM);
    let request = bench.ask(Verb::DrainManager(Some(secs(1)), Wait::Done));
    assert_eq!(bench.verdict(request), Some(Code::Refused));
}

// pitfall 41
#[test]
fn each_second_of_a_stop_says_whom_it_waits_for() {
    let mut bench = draining(2, 0);
    assert_eq!(bench.wait(), None);
    bench.signal(Signal::TERM);
    assert_eq!(bench.wait(), Some(secs(1)));
    bench.pass(secs(1));
    bench.die(ChildId(0), TERMED);
    bench.pass(secs(1));
    assert_eq!(bench.noted("awaiting"), 2);
    bench.pass(secs(8));
    bench.die(ChildId(1), KILLED);
    assert_eq!((bench.exit, bench.wait()), (Some(1), None));
}

/// Workers whose second unasked end is the manager's.
fn ending_with_two(count: u32) -> Bench {
    Bench::up(Policy { exit_after: Some(2), ready: Readiness::Exec, ..policy(count) })
}

#[test]
fn so_many_deaths_as_the_policy_says_end_everything_with_the_code_of_the_last() {
    let mut bench = ending_with_two(2);
    bench.code(ChildId(0), 3);
    assert_eq!((bench.signalled(), bench.noted("exit-wanted")), (vec![], 0));
    bench.die(ChildId(1), KILLED);
    assert_eq!((bench.noted("exit-wanted"), bench.noted("back-off"), bench.exit), (1, 1, Some(137)));

    let mut bench = Bench::up(Policy { exit_after: Some(1), ..policy(2) });
    bench.code(ChildId(0), 0);
    assert_eq!(bench.signalled(), [(ChildId(1), Signal::TERM)], "the others stop gracefully");
    bench.code(ChildId(1), 5);
    assert_eq!(bench.exit, Some(0), "also where it has succeeded");
}

#[test]
fn a_worker_that_was_well_for_long_begins_the_count_anew() {
    let mut bench = ending_with_two(2);
    bench.code(ChildId(0), 3);
    bench.pass(secs(2));
    let new = bench.spawn();
    bench.ready(new);
    bench.pass(secs(60));
    bench.code(ChildId(1), 3);
    assert_eq!(bench.noted("exit-wanted"), 0);
    let newer = bench.spawn();
    bench.code(newer, 4);
    assert_eq!(bench.noted("exit-wanted"), 1);
}

#[test]
fn an_end_that_was_asked_for_or_that_an_upgrade_bears_does_not_count() {
    let mut bench = Bench::up(Policy { exit_after: Some(1), ..policy(1) });
    bench.upgrade();
    let new = bench.spawn();
    bench.code(new, 1);
    bench.calm();
    bench.ask(Verb::Restart(None, Wait::No));
    bench.calm();
    assert_eq!((bench.noted("exit-wanted"), bench.exit), (0, None));
}
