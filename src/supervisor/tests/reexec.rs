//! Replacing the manager's image: the phases, their deadlines, and what goes on meanwhile.

use super::*;
use crate::plan::{ManagerPolicy, Meaning};

const CHECK: Action = Action::CheckImage { check: 1 };

/// Workers that are replaced at once when they die.
fn healthy(policy: Policy) -> Bench {
    let mut bench = Bench::up(policy);
    bench.pass(secs(2));
    bench
}

/// A re-execution whose image has said that it can.
fn settling(policy: Policy) -> (Bench, u64) {
    let mut bench = healthy(policy);
    let request = bench.ask(Verb::Reexec(Wait::Done));
    assert_eq!(bench.take_others(), [CHECK]);
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    (bench, request)
}

impl Bench {
    fn take_others(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.others)
    }

    /// The machine as another image has it.
    fn cross(&mut self) {
        let text = serde_json::to_string(&self.machine).unwrap();
        let machine: Supervisor = serde_json::from_str(&text).unwrap();
        assert_eq!(machine, self.machine);
        self.machine = machine;
        self.feed(Event::Reexeced);
    }
}

#[test]
fn a_quiet_manager_is_replaced_as_soon_as_the_new_image_can_read_its_state() {
    let (mut bench, request) = settling(policy(2));
    assert_eq!(bench.take_others(), [Action::Reexec]);
    assert_eq!(bench.answer(request), None);
    bench.cross();
    assert_eq!(bench.verdict(request), Some(Code::Done));
    assert_eq!((bench.noted("reexec-started"), bench.noted("reexec-done")), (1, 1));
    assert_eq!((bench.serving().len(), bench.spawns(), bench.wait()), (2, vec![], None));
}

#[test]
fn a_client_that_does_not_wait_is_answered_at_once() {
    let mut bench = healthy(policy(1));
    let request = bench.ask(Verb::Reexec(Wait::No));
    assert_eq!((bench.verdict(request), bench.take_others()), (Some(Code::Done), vec![CHECK]));
}

#[test]
fn an_image_that_cannot_is_refused_with_its_reason() {
    let mut bench = healthy(policy(1));
    let request = bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ImageChecked { check: 1, outcome: Err("format 9".into()) });
    assert_eq!(bench.answer(request), Some(Reply::Failed(Code::Refused, "not re-executed: format 9".into())));
    assert_eq!((bench.take_others(), bench.wait()), (vec![CHECK], None));
    bench.die(ChildId(0), Exit::Code(0));
    assert_eq!(bench.spawns().len(), 1);
}

#[test]
fn an_image_that_does_not_answer_is_given_up_and_its_late_answer_is_nothing() {
    let mut bench = healthy(policy(1));
    let request = bench.ask(Verb::Reexec(Wait::Done));
    bench.pass(secs(10));
    assert_eq!(bench.verdict(request), Some(Code::Refused));
    assert_eq!(bench.take_others(), [CHECK, Action::StopCheck { check: 1 }]);
    let again = bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    assert_eq!(bench.take_others(), [Action::CheckImage { check: 2 }]);
    bench.feed(Event::ImageChecked { check: 2, outcome: Ok(()) });
    assert_eq!((bench.take_others(), bench.answer(again)), (vec![Action::Reexec], None));
}

#[test]
fn workers_are_started_while_the_image_is_checked_and_waited_for_before_the_exec() {
    let mut bench = healthy(policy(1));
    bench.ask(Verb::Reexec(Wait::Done));
    bench.code(ChildId(0), 1);
    let child = bench.spawn();
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    bench.fork(child);
    assert_eq!(bench.take_others(), [CHECK]);
    bench.exec(child);
    assert_eq!(bench.take_others(), [Action::Reexec]);
}

#[test]
fn a_worker_that_dies_on_the_way_is_replaced_by_the_new_image() {
    let mut bench = healthy(policy(2));
    bench.code(ChildId(0), 1);
    let slow = bench.spawn();
    bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    bench.code(ChildId(1), 1);
    assert_eq!(bench.spawns(), [], "not while settling");
    bench.fork(slow);
    bench.exec(slow);
    assert_eq!(bench.take_others(), [CHECK, Action::Reexec]);
    bench.cross();
    assert_eq!(bench.spawns().len(), 1);
}

#[test]
fn a_worker_that_never_gets_to_its_program_ends_the_re_execution_not_the_manager() {
    let mut bench = healthy(policy(2));
    bench.code(ChildId(0), 1);
    let _stuck = bench.spawn();
    let request = bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    bench.code(ChildId(1), 1);
    bench.pass(secs(5));
    assert_eq!(bench.verdict(request), Some(Code::Failed));
    assert_eq!((bench.take_others(), bench.spawns().len()), (vec![CHECK], 1));
}

#[test]
fn a_failed_exec_leaves_everything_as_it_was() {
    let (mut bench, request) = settling(policy(1));
    bench.feed(Event::ReexecFailed("cannot execute /bin/remuda: permission denied".into()));
    assert_eq!(bench.verdict(request), Some(Code::Failed));
    bench.code(ChildId(0), 1);
    assert_eq!((bench.spawns().len(), bench.noted("reexec-failed")), (1, 1));
    bench.take_others();
    bench.ask(Verb::Reexec(Wait::Done));
    assert_eq!(bench.take_others(), [Action::CheckImage { check: 2 }]);
}

#[test]
fn a_second_request_joins_the_first() {
    let mut bench = healthy(policy(1));
    let first = bench.ask(Verb::Reexec(Wait::Done));
    let second = bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    assert_eq!(bench.take_others(), [CHECK, Action::Reexec]);
    bench.cross();
    assert_eq!((bench.verdict(first), bench.verdict(second)), (Some(Code::Done), Some(Code::Done)));
}

#[test]
fn shutdown_wins() {
    let mut bench = healthy(policy(1));
    let request = bench.ask(Verb::Reexec(Wait::Done));
    bench.signal(Signal::TERM);
    assert_eq!(bench.verdict(request), Some(Code::Refused));
    assert_eq!(bench.take_others(), [CHECK, Action::StopCheck { check: 1 }]);
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    let late = bench.ask(Verb::Reexec(Wait::Done));
    assert_eq!((bench.verdict(late), bench.take_others()), (Some(Code::Refused), vec![]));
}

#[test]
fn a_manager_that_ends_by_itself_answers_first() {
    let mut bench = Bench::new(Policy { give_up: Some(1), ..policy(1) });
    let child = bench.spawn();
    bench.fork(child);
    let request = bench.ask(Verb::Reexec(Wait::Done));
    bench.take_others();
    bench.code(child, 1);
    assert_eq!((bench.take_others(), bench.exit), (vec![Action::StopCheck { check: 1 }], Some(1)));
    assert_eq!(bench.verdict(request), Some(Code::Refused));
}

#[test]
fn a_signal_may_mean_it() {
    let mut bench = healthy(policy(1));
    let signals = [(Signal::USR1, Meaning::Reexec), (Signal::TERM, Meaning::Stop)].into();
    bench.machine = bench.machine.with_policy(ManagerPolicy { signals, ..ManagerPolicy::default() });
    bench.signal(Signal::USR1);
    bench.signal(Signal::USR1);
    assert_eq!(bench.take_others(), [CHECK]);
    bench.signal(Signal::TERM);
    bench.take_others();
    bench.signal(Signal::USR1);
    assert_eq!((bench.take_others(), bench.noted("signal-ignored")), (vec![], 1));
}

#[test]
fn whoever_waits_for_something_else_still_waits_in_the_new_image() {
    let mut bench = healthy(policy(2));
    let upgrade = bench.upgrade();
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    let gone = bench.ask(Verb::Reexec(Wait::Done));
    bench.feed(Event::ClientGone(ClientId(gone)));
    bench.feed(Event::ImageChecked { check: 1, outcome: Ok(()) });
    bench.cross();
    assert_eq!(bench.answer(gone), None);
    bench.feed(Event::Ready { child });
    bench.calm();
    assert_eq!(bench.verdict(upgrade), Some(Code::Done));
    assert_eq!(bench.serving(), [(0, 2), (1, 2)]);
}
