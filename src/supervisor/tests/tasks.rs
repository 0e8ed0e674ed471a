//! Groups whose workers finish: jobs that run once, and every verb that meets them.

use super::*;
use crate::plan::{Restart, Share};

/// One worker that has to ack, as none of these ever does.
fn task(restart: Restart) -> Policy {
    Policy { restart, surge: Share::Count(1), ..policy(1) }
}

/// Runs the one worker that was asked for to this end.
fn run(bench: &mut Bench, code: u8) {
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    bench.code(child, code);
}

/// A group whose task is done, beside one that goes on, so that the manager does not end with it.
fn done(restart: Restart) -> Bench {
    let mut bench = Bench::of(vec![("web", task(restart)), ("api", policy(1))]);
    let [job, other] = bench.spawns()[..] else { panic!("two workers") };
    bench.ready(other);
    bench.fork(job);
    bench.exec(job);
    bench.code(job, 0);
    assert_eq!((bench.spawns(), bench.noted("finished")), (vec![], 1));
    bench.forget();
    bench
}

fn web() -> Option<String> {
    Some("web".to_owned())
}

#[test]
fn a_task_is_done_with_its_success_before_it_was_ready_too() {
    for restart in [Restart::Never, Restart::OnFailure] {
        let mut bench = done(restart);
        bench.pass(secs(300));
        assert_eq!((bench.spawns(), bench.machine.next_deadline()), (vec![], None));
    }
    let mut bench = Bench::new(task(Restart::OnFailure));
    run(&mut bench, 1);
    bench.pass(secs(1));
    run(&mut bench, 0);
    assert_eq!((bench.noted("finished"), bench.exit), (1, Some(0)));
}

#[test]
fn an_upgrade_runs_a_task_once_and_is_done_with_its_success() {
    for restart in [Restart::Never, Restart::OnFailure] {
        let mut bench = done(restart);
        let request = bench.ask(Verb::Upgrade(web(), Wait::Done));
        bench.prepared();
        run(&mut bench, 0);
        assert_eq!(bench.sentence(request), "web: generation 2 has run and finished");
        bench.pass(secs(300));
        assert_eq!(bench.spawns(), []);
    }
}

#[test]
fn a_task_that_fails_in_an_upgrade_is_tried_again_and_the_one_before_is_not_done_again() {
    for restart in [Restart::Never, Restart::OnFailure] {
        let mut bench = done(restart);
        let request = bench.ask(Verb::Upgrade(web(), Wait::Done));
        bench.prepared();
        for attempt in 1..=3 {
            assert_eq!(bench.verdict(request), None, "{attempt}");
            run(&mut bench, 1);
            bench.pass(secs(3));
        }
        assert_eq!(bench.verdict(request), Some(Code::UpgradeFailed));
        bench.pass(secs(300));
        assert_eq!((bench.spawns(), bench.web().generation), (vec![], 1));
    }
}

#[test]
fn a_task_runs_again_when_it_is_restarted_or_started() {
    for restart in [Restart::Never, Restart::OnFailure] {
        let mut bench = done(restart);
        let request = bench.ask(Verb::Restart(web(), Wait::Done));
        run(&mut bench, 0);
        assert_eq!(bench.sentence(request), "web: ran again and finished");
        let request = bench.ask(Verb::Start(web(), Wait::Done));
        run(&mut bench, 0);
        assert_eq!(bench.sentence(request), "web: 1 of 1 finished");
        bench.pass(secs(300));
        assert_eq!(bench.spawns(), []);
    }
}

#[test]
fn a_task_is_rolled_back_by_running_the_generation_before() {
    let mut bench = done(Restart::OnFailure);
    bench.ask(Verb::Upgrade(web(), Wait::Done));
    bench.prepared();
    run(&mut bench, 0);
    let request = bench.ask(Verb::RollBack(web(), Wait::Done));
    bench.prepared();
    let child = bench.spawn();
    assert_eq!(bench.child(child).map(|child| child.generation), Some(GenerationId(1)));
    bench.fork(child);
    bench.exec(child);
    bench.code(child, 0);
    assert_eq!(bench.sentence(request), "web: generation 1 has run and finished");
}

#[test]
fn another_plan_runs_a_task_again_and_the_same_one_does_not() {
    let mut bench = done(Restart::OnFailure);
    bench.replan(task(Restart::OnFailure), false);
    bench.pass(secs(300));
    assert_eq!(bench.spawns(), []);
    let request = bench.replan(task(Restart::OnFailure), true);
    bench.prepared();
    run(&mut bench, 0);
    assert!(matches!(bench.answer(request), Some(Reply::Done(_) | Reply::Changes { .. })));
}

#[test]
fn more_of_a_task_are_only_the_ones_that_are_new() {
    let mut bench = done(Restart::OnFailure);
    let request = bench.ask(Verb::Scale(web(), super::super::command::Scale::To(2), Wait::Done));
    run(&mut bench, 0);
    assert!(matches!(bench.answer(request), Some(Reply::Scaled { .. } | Reply::Done(_))));
    assert_eq!(bench.spawns(), []);
    let request = bench.ask(Verb::Scale(web(), super::super::command::Scale::To(1), Wait::Done));
    assert!(matches!(bench.answer(request), Some(Reply::Scaled { .. } | Reply::Done(_))));
}
