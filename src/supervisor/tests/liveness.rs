//! What workers say of themselves, and what a watchdog makes of their silence.

use super::*;
use crate::supervisor::event::Word;

/// A ready worker that has to show itself every five seconds.
fn watched() -> (Bench, ChildId) {
    let mut bench = Bench::new(Policy { watchdog: Some(secs(5)), ..policy(1) });
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    // Before it is ready, its ack is waited for, and nothing else.
    bench.pass(secs(9));
    bench.feed(Event::Ready { child });
    bench.forget();
    (bench, child)
}

fn say(bench: &mut Bench, child: ChildId, word: Word) {
    bench.feed(Event::Said { child, word });
}

#[test]
fn a_worker_that_shows_itself_in_time_stays() {
    let (mut bench, child) = watched();
    for _ in 0..10 {
        bench.pass(secs(4));
        say(&mut bench, child, Word::Alive);
        assert_eq!(bench.wait(), Some(secs(5)));
    }
    assert_eq!(bench.phase(child), Some(Phase::Ready));
}

/// After a pause of the manager nobody is judged by what could not be heard: each has its time once more.
#[test]
fn time_that_nobody_had_is_given_once_more() {
    let (mut bench, child) = watched();
    bench.pass_without_looking(secs(60));
    bench.feed(Event::Lost(secs(55)));
    bench.feed(Event::Timeout);
    assert_eq!(bench.phase(child), Some(Phase::Ready));
    assert_eq!(bench.wait(), Some(secs(5)));
    bench.pass(secs(5));
    assert_eq!(bench.phase(child), Some(Phase::Stopping), "who is silent then is judged as ever");
    // What is to be asked to go has its time, but for what was lost.
    bench.pass_without_looking(secs(60));
    bench.feed(Event::Lost(secs(60)));
    bench.feed(Event::Timeout);
    assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Stopping), Some(secs(10))));

    let mut bench =
        Bench::new(Policy { ready: Readiness::Manual, ack_deadline: Some(secs(30)), ..policy(1) });
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    bench.pass_without_looking(secs(100));
    bench.feed(Event::Lost(secs(90)));
    bench.feed(Event::Timeout);
    assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Starting), Some(secs(30))));
}

#[test]
fn a_silent_worker_is_asked_to_go_killed_and_replaced_at_once() {
    let (mut bench, child) = watched();
    bench.pass(secs(5));
    assert_eq!((bench.phase(child), bench.signalled()), (Some(Phase::Stopping), vec![(child, Signal::TERM)]));
    assert!(bench.spawned.is_empty(), "one that may hang for ever does not breed others");
    bench.pass(secs(10));
    assert_eq!(bench.phase(child), Some(Phase::Killed));
    bench.feed(Event::Exited { child, exit: KILLED });
    assert_eq!(bench.spawned.len(), 1);
}

#[test]
fn a_worker_may_say_itself_how_often_it_shows_and_that_it_is_lost() {
    let (mut bench, child) = watched();
    say(&mut bench, child, Word::AliveEvery(secs(60)));
    assert_eq!(bench.wait(), Some(secs(60)));
    say(&mut bench, child, Word::Trigger);
    assert_eq!(bench.phase(child), Some(Phase::Stopping));
}

#[test]
fn a_worker_shows_itself_as_its_own_plan_wants_it() {
    let (mut bench, child) = watched();
    bench.replan(policy(1), true);
    bench.prepared();
    let new = bench.spawn();
    say(&mut bench, child, Word::Alive);
    bench.ready(new);
    // The old one is on its way out, and of the new one nobody wants a sign of life.
    assert_eq!(bench.phase(child), Some(Phase::Stopping));
    bench.die(child, TERMED);
    say(&mut bench, new, Word::Alive);
    assert_eq!((bench.phase(new), bench.wait()), (Some(Phase::Ready), None));
    bench.replan(Policy { watchdog: Some(secs(7)), ..policy(1) }, true);
    bench.prepared();
    // It has no watchdog, whatever comes after it.
    say(&mut bench, new, Word::AliveEvery(secs(1)));
    bench.pass(secs(3));
    assert_eq!(bench.phase(new), Some(Phase::Ready));
}

#[test]
fn without_a_watchdog_nobody_is_waited_for() {
    let mut bench = Bench::up(policy(1));
    let child = bench.ids()[0];
    for word in [Word::Alive, Word::AliveEvery(secs(1)), Word::Trigger, Word::Extend(secs(1)), Word::Stopping]
    {
        say(&mut bench, child, word);
        assert_eq!((bench.phase(child), bench.wait()), (Some(Phase::Ready), None));
    }
}

#[test]
fn more_time_is_given_to_what_has_a_deadline() {
    let mut bench = Bench::new(policy(1));
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    say(&mut bench, child, Word::Extend(secs(100)));
    // Never less.
    say(&mut bench, child, Word::Extend(secs(1)));
    assert_eq!(bench.wait(), Some(secs(100)));
    bench.pass(secs(100));
    assert_eq!(bench.phase(child), Some(Phase::Stopping));
    say(&mut bench, child, Word::Extend(secs(30)));
    assert_eq!(bench.wait(), Some(secs(30)));
    // The timer is no deadline.
    let mut bench = Bench::new(Policy { ready: Readiness::Timer(secs(3)), ..policy(1) });
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    say(&mut bench, child, Word::Extend(secs(100)));
    assert_eq!(bench.wait(), Some(secs(3)));
}

#[test]
fn a_worker_that_says_it_goes_has_not_failed() {
    for (says, spawned) in [(true, 1), (false, 0)] {
        let mut bench = Bench::up(Policy { ready: Readiness::Exec, ..policy(1) });
        let child = bench.ids()[0];
        if says {
            say(&mut bench, child, Word::Stopping);
        }
        bench.feed(Event::Exited { child, exit: Exit::Code(0) });
        assert_eq!(bench.spawned.len(), spawned);
    }
}

#[test]
fn what_a_worker_says_is_shown() {
    let mut bench = Bench::up(policy(1));
    let child = bench.ids()[0];
    say(&mut bench, child, Word::Status("warm".into()));
    say(&mut bench, child, Word::Status("hot".into()));
    assert_eq!(bench.web().workers[0].status.as_deref(), Some("hot"));
}
