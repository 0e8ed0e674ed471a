//! Keeping workers alive: back-off, streaks, giving up, restart policies, scaling, indices.

use super::*;
use crate::plan::{Restart, Success};
use crate::supervisor::event::Remains;
use crate::supervisor::snapshot::{ExitDetail, FailureStatus, LastExit, VacantSlot};

fn with(restart: Restart, workers: u32) -> Policy {
    Policy { restart, ..policy(workers) }
}

#[test]
fn all_workers_are_started_at_once() {
    let mut bench = Bench::new(policy(4));
    assert_eq!(bench.spawns(), ids(0, 4));
    let indices: Vec<u32> = bench.machine.children.iter().map(|child| child.index).collect();
    assert_eq!((indices, bench.state()), (vec![0, 1, 2, 3], GroupState::Starting));
}

#[test]
fn a_quiet_machine_waits_for_nothing() {
    let bench = Bench::up(policy(4));
    assert_eq!(bench.wait(), None);
}

#[test]
fn a_healthy_death_is_answered_at_once_even_while_another_slot_backs_off() {
    let mut bench = Bench::up(policy(2));
    bench.pass(secs(5));
    bench.code(ChildId(0), 1);
    let failing = bench.spawn();
    bench.fork(failing);
    bench.code(failing, 1);
    assert_eq!((bench.spawns(), bench.wait()), (vec![], Some(secs(1))));
    bench.code(ChildId(1), 1);
    let next = bench.spawn();
    assert_eq!(bench.child(next).map(|child| (child.slot, child.index)), Some((1, 0)));
}

#[test]
fn many_that_die_together_soon_after_they_were_ready_are_all_back_at_once() {
    let mut bench = Bench::new(Policy { ready: Readiness::Timer(secs(1)), ..policy(100) });
    let first = bench.spawns();
    for &child in &first {
        bench.fork(child);
        bench.exec(child);
    }
    bench.pass(Duration::from_millis(1300));
    for child in first {
        bench.die(child, KILLED);
    }
    let second = bench.spawns();
    assert_eq!((second.len(), bench.noted("back-off")), (100, 0));
    // Again within ten seconds: that is a fault that comes back.
    for &child in &second {
        bench.fork(child);
        bench.exec(child);
    }
    bench.pass(secs(5));
    for child in second {
        bench.die(child, KILLED);
    }
    assert_eq!((bench.spawns(), bench.noted("back-off"), bench.wait()), (vec![], 1, Some(secs(1))));
}

#[test]
fn deaths_of_a_slot_that_lie_ten_seconds_apart_are_answered_at_once_each_time() {
    for (apart, at_once) in [(secs(10), true), (secs(9), false)] {
        let mut bench = Bench::up(policy(2));
        for answered in [true, at_once] {
            let oldest = bench.machine.children.iter().find(|child| child.slot == 0).map(|child| child.id);
            bench.code(oldest.expect("a worker"), 1);
            assert_eq!(bench.spawned.len() == 1, answered, "{apart:?}");
            bench.calm();
            bench.pass(apart);
        }
        bench.calm();
        // Another slot has nothing to do with it.
        let other = bench.machine.children.iter().find(|child| child.slot == 1).map(|child| child.id);
        bench.code(other.expect("a worker"), 1);
        assert_eq!(bench.spawns().len(), 1);
    }
}

#[test]
fn ends_with_success_after_readiness_are_no_failures_but_a_slot_is_not_filled_without_pause() {
    let mut bench = Bench::up(policy(1));
    for _ in 0..5 {
        bench.pass(secs(2));
        let child = bench.ids()[0];
        bench.code(child, 0);
        assert_eq!(bench.spawned.len(), 1, "its work was done, and there is more of it");
        bench.calm();
    }
    let child = bench.ids()[0];
    bench.code(child, 0);
    assert_eq!((bench.spawned.len(), bench.wait()), (0, Some(secs(1))));
    bench.pass(secs(1));
    assert_eq!((bench.spawns().len(), bench.noted("back-off")), (1, 0));
}

#[test]
fn the_delay_grows_by_half_up_to_its_ceiling() {
    let mut bench = Bench::new(policy(1));
    let mut delays = Vec::new();
    for _ in 0..12 {
        let child = bench.spawn();
        bench.fork(child);
        bench.code(child, 1);
        let delay = bench.wait().unwrap_or_default();
        delays.push(delay.as_millis());
        bench.pass(delay - Duration::from_millis(1));
        assert_eq!(bench.spawned, []);
        bench.pass(Duration::from_millis(1));
    }
    assert_eq!(delays[..5], [1000, 1500, 2250, 3375, 5062]);
    assert_eq!(delays[10..], [30_000, 30_000]);
    assert_eq!(bench.state(), GroupState::Failing);
}

#[test]
fn an_attempt_is_made_also_if_its_time_comes_with_something_else() {
    let mut bench = Bench::new(policy(1));
    let child = bench.spawn();
    bench.fork(child);
    bench.code(child, 1);
    bench.now = bench.now.after(secs(2));
    bench.feed(Event::ClientGone(ClientId(7)));
    bench.spawn();
}

#[test]
fn one_attempt_at_a_time_while_failing() {
    let mut bench = Bench::new(policy(4));
    for child in bench.spawns() {
        bench.fork(child);
        bench.code(child, 1);
    }
    assert_eq!(bench.machine.groups[0].streak.length, 1, "deaths of one batch count once");
    bench.pass(secs(1));
    let probe = bench.spawn();
    bench.pass(secs(30));
    assert_eq!(bench.spawned, []);
    bench.ready(probe);
    assert_eq!(bench.spawns().len(), 3, "one that is ready ends the probation");
}

#[test]
fn a_streak_outlives_a_worker_that_was_ready_for_less_than_a_minute() {
    for (ready_for, length) in [(secs(59), 3), (secs(60), 1)] {
        let mut bench = Bench::new(policy(1));
        for _ in 0..2 {
            let child = bench.spawn();
            bench.fork(child);
            bench.code(child, 1);
            bench.pass(secs(2));
        }
        let child = bench.spawn();
        bench.ready(child);
        bench.pass(ready_for);
        bench.code(child, 1);
        let next = bench.spawn();
        bench.fork(next);
        bench.code(next, 1);
        assert_eq!(bench.machine.groups[0].streak.length, length, "{ready_for:?}");
    }
}

#[test]
fn a_missed_ack_long_after_a_streak_starts_a_new_one() {
    let mut bench = Bench::new(policy(1));
    for _ in 0..3 {
        let child = bench.spawn();
        bench.fork(child);
        bench.code(child, 1);
        bench.pass(secs(10));
    }
    let child = bench.spawn();
    bench.ready(child);
    bench.pass(secs(3600));
    bench.ask(Verb::Scale(None, crate::supervisor::command::Scale::To(2), Wait::No));
    let mute = bench.spawn();
    bench.fork(mute);
    bench.exec(mute);
    bench.pass(secs(60));
    assert_eq!(bench.machine.groups[0].streak.length, 1);
}

#[test]
fn other_stable_workers_do_not_end_the_streak_of_a_failing_slot() {
    let mut bench = Bench::up(policy(2));
    bench.pass(secs(100));
    bench.code(ChildId(0), 1);
    for length in 1..5 {
        let child = bench.spawn();
        bench.fork(child);
        bench.code(child, 1);
        assert_eq!(bench.machine.groups[0].streak.length, length);
        bench.pass(secs(40));
    }
}

// pitfall 45
#[test]
fn it_tries_for_ever_unless_told_to_give_up() {
    let mut bench = Bench::new(policy(1));
    for _ in 0..200 {
        let child = bench.spawn();
        bench.feed(Event::SpawnFailed { child, stage: Stage::Fork, errno: libc::EAGAIN });
        bench.pass(secs(30));
    }
    assert_eq!((bench.spawns().len(), bench.exit), (1, None));
}

#[test]
fn giving_up_ends_the_manager_if_nobody_is_left() {
    let mut bench = Bench::new(Policy { give_up: Some(3), ..policy(1) });
    for _ in 0..3 {
        let child = bench.spawn();
        bench.fork(child);
        bench.code(child, 6);
        bench.pass(secs(5));
    }
    assert_eq!((bench.spawned.len(), bench.noted("gave-up"), bench.exit), (0, 1, Some(6)));
}

#[test]
fn of_programs_that_run_and_end_it_is_said_apart_whether_they_count_for_giving_up() {
    let mut bench = Bench::new(Policy { give_up: Some(2), give_up_spawns_only: true, ..policy(1) });
    let end = |bench: &mut Bench| {
        let child = bench.spawn();
        bench.fork(child);
        bench.exec(child);
        bench.code(child, 6);
        bench.pass(secs(40));
    };
    let fail = |bench: &mut Bench| {
        let child = bench.spawn();
        bench.feed(Event::SpawnFailed { child, stage: Stage::Fork, errno: libc::EAGAIN });
        bench.pass(secs(40));
    };
    (0..5).for_each(|_| end(&mut bench));
    fail(&mut bench);
    end(&mut bench);
    fail(&mut bench);
    assert_eq!(bench.noted("gave-up"), 0);
    fail(&mut bench);
    assert_eq!((bench.noted("gave-up"), bench.exit), (1, Some(1)));
}

#[test]
fn a_group_that_gave_up_keeps_its_healthy_workers_and_start_tries_again() {
    let mut bench = Bench::up(Policy { give_up: Some(1), ..policy(2) });
    bench.pass(secs(2));
    bench.code(ChildId(0), 1);
    let child = bench.spawn();
    bench.fork(child);
    bench.code(child, 1);
    bench.pass(secs(3600));
    assert_eq!((bench.spawns(), bench.state(), bench.exit), (vec![], GroupState::Failing, None));
    bench.code(ChildId(1), 1);
    let urgent = bench.spawn();
    bench.ready(urgent);
    bench.ask(Verb::Start(None, Wait::No));
    let again = bench.spawn();
    bench.ready(again);
    assert_eq!(bench.state(), GroupState::Up);
}

#[test]
fn a_group_that_gave_up_announces_no_next_attempt() {
    let mut bench = Bench::up(Policy { give_up: Some(1), ..policy(2) });
    bench.pass(secs(2));
    bench.code(ChildId(0), 1);
    let failing = bench.spawn();
    bench.fork(failing);
    bench.code(failing, 1);
    bench.code(ChildId(1), 1);
    let urgent = bench.spawn();
    bench.fork(urgent);
    bench.code(urgent, 1);
    assert_eq!((bench.noted("gave-up"), bench.noted("back-off"), bench.exit), (1, 0, Some(1)));
}

#[test]
fn giving_up_on_a_missed_deadline_exits_once_the_worker_is_gone() {
    let mut bench = Bench::new(Policy { give_up: Some(1), ..policy(1) });
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    bench.pass(secs(60));
    assert_eq!((bench.noted("gave-up"), bench.exit), (1, None));
    bench.die(child, TERMED);
    assert_eq!(bench.exit, Some(1));
}

#[test]
fn always_answers_success_too() {
    let mut bench = Bench::up(with(Restart::Always, 1));
    bench.pass(secs(1));
    bench.code(ChildId(0), 0);
    assert_eq!(bench.spawns().len(), 1);
}

#[test]
fn on_failure_is_content_with_success() {
    let success = vec![Success::Exit(0), Success::Exit(3), Success::Signal(Signal::USR1)];
    for exit in [Exit::Code(0), Exit::Code(3), Exit::Signal(Signal::USR1)] {
        let mut bench = Bench::up(Policy { success: success.clone(), ..with(Restart::OnFailure, 2) });
        bench.pass(secs(1));
        bench.die(ChildId(0), exit);
        assert_eq!((bench.spawns().len(), bench.noted("finished"), bench.exit), (0, 1, None));
        bench.code(ChildId(1), 1);
        let next = bench.spawn();
        bench.ready(next);
        bench.pass(secs(1));
        bench.die(next, exit);
        assert_eq!(bench.exit, Some(0), "all succeeded");
    }
}

#[test]
fn never_leaves_with_the_code_of_the_one_worker() {
    for (exit, code) in
        [(Exit::Code(0), 0), (Exit::Code(42), 42), (Exit::Signal(Signal::KILL), 137), (Exit::Unknown, 1)]
    {
        let mut bench = Bench::up(with(Restart::Never, 1));
        bench.die(ChildId(0), exit);
        assert_eq!((bench.spawns().len(), bench.exit), (0, Some(code)));
    }
}

#[test]
fn never_with_several_workers_tells_whether_all_succeeded() {
    for (codes, code) in [([0, 0], 0), ([0, 5], 1), ([5, 0], 1)] {
        let mut bench = Bench::up(with(Restart::Never, 2));
        bench.code(ChildId(0), codes[0]);
        assert_eq!(bench.exit, None);
        bench.code(ChildId(1), codes[1]);
        assert_eq!(bench.exit, Some(code));
    }
}

#[test]
fn a_worker_that_drains_does_not_decide_the_exit_code() {
    let mut bench = Bench::up(with(Restart::Never, 1));
    bench.upgrade();
    let new = bench.spawn();
    bench.ready(new);
    bench.code(new, 3);
    bench.die(ChildId(0), KILLED);
    assert_eq!(bench.exit, Some(3));
}

#[test]
fn other_groups_keep_the_manager() {
    let mut bench = Bench::of(vec![("job", with(Restart::Never, 1)), ("web", policy(1))]);
    bench.calm();
    bench.code(ChildId(0), 0);
    assert_eq!(bench.exit, None);
    let states: Vec<GroupState> = bench.status().groups.iter().map(|group| group.state).collect();
    assert_eq!(states, [GroupState::Stopped, GroupState::Up]);
}

#[test]
fn scale_up_and_down_and_by_steps() {
    use crate::supervisor::command::Scale;
    let mut bench = Bench::up(policy(2));
    let up = bench.ask(Verb::Scale(None, Scale::Up(2), Wait::Done));
    let new = bench.spawns();
    assert_eq!((new.len(), bench.verdict(up)), (2, None));
    for child in new {
        bench.ready(child);
    }
    assert_eq!(bench.verdict(up), Some(Code::Done));
    let down = bench.ask(Verb::Scale(None, Scale::Down(3), Wait::Done));
    assert_eq!(bench.signalled(), ids(1, 3).into_iter().map(|id| (id, Signal::TERM)).collect::<Vec<_>>());
    for child in ids(1, 3) {
        assert_eq!(bench.verdict(down), None);
        bench.die(child, TERMED);
    }
    assert_eq!((bench.verdict(down), bench.spawns()), (Some(Code::Done), vec![]));
    let zero = bench.ask(Verb::Scale(None, Scale::To(0), Wait::Done));
    bench.calm();
    assert_eq!((bench.verdict(zero), bench.exit, bench.wait()), (Some(Code::Done), None, None));
    let back = bench.ask(Verb::Scale(None, Scale::To(1), Wait::Done));
    bench.calm();
    assert_eq!(bench.verdict(back), Some(Code::Done));
    let absurd = bench.ask(Verb::Scale(None, Scale::To(u32::MAX), Wait::Done));
    assert_eq!((bench.verdict(absurd), bench.web().target), (Some(Code::Refused), 1));
}

#[test]
fn a_slot_scaled_away_and_back_waits_for_its_worker_to_go() {
    use crate::supervisor::command::Scale;
    let mut bench = Bench::up(policy(2));
    bench.ask(Verb::Scale(None, Scale::To(1), Wait::No));
    bench.ask(Verb::Scale(None, Scale::To(2), Wait::No));
    assert_eq!((bench.signalled(), bench.spawns()), (vec![(ChildId(1), Signal::TERM)], vec![]));
    bench.die(ChildId(1), TERMED);
    assert_eq!(bench.spawns().len(), 1);
}

#[test]
fn an_index_is_the_smallest_that_no_living_worker_has() {
    let mut bench = Bench::up(policy(3));
    bench.pass(secs(1));
    bench.code(ChildId(1), 1);
    let child = bench.spawn();
    assert_eq!(bench.child(child).map(|child| (child.slot, child.index)), Some((1, 1)));
    bench.ready(child);
    bench.upgrade();
    let new = bench.spawn();
    assert_eq!(bench.child(new).map(|child| (child.slot, child.index)), Some((0, 3)));
}

#[test]
fn the_status_of_a_slot_tells_restarts_and_the_last_exit() {
    let mut bench = Bench::up(policy(1));
    bench.pass(secs(1));
    bench.code(ChildId(0), 9);
    bench.calm();
    let worker = bench.web().workers.remove(0);
    assert_eq!((worker.restarts, worker.last_exit), (1, Some(LastExit::Code(9))));
}

#[test]
fn status_tells_of_a_slot_that_waits_and_until_when() {
    let mut bench = Bench::new(Policy { ready: Readiness::Exec, ..policy(1) });
    let child = bench.spawn();
    bench.ready(child);
    assert_eq!((bench.web().vacant, bench.web().next_attempt_ms), (vec![], None));
    bench.code(child, 3);
    bench.pass(Duration::from_millis(400));
    let web = bench.web();
    let last_failure = Some(FailureStatus {
        message: "died: exit code 3 after 0 ms".into(),
        generation: 1,
        pid: 101,
        ago_ms: 400,
        stderr: Vec::new(),
    });
    let last_exit = Some(LastExit::Code(3));
    let slot = VacantSlot { slot: 0, restarts: 1, last_exit, last_exit_detail: None, last_failure };
    assert_eq!((web.workers.len(), web.vacant, web.next_attempt_ms), (0, vec![slot], Some(600)));
}

#[test]
fn what_a_worker_leaves_behind_is_told_with_its_end() {
    let mut bench = Bench::new(Policy { ready: Readiness::Exec, ..policy(1) });
    let mut die = |remains: Remains, exit| {
        let child = bench.spawn();
        bench.ready(child);
        bench.feed(Event::Remains { child, remains });
        bench.die(child, exit);
        let slot = bench.web().vacant.pop().expect("a vacant slot");
        bench.pass(secs(30));
        let failure = slot.last_failure.expect("a failure");
        let (message, _) = failure.message.split_once(" after ").expect("how long it ran");
        (slot.last_exit_detail, message.to_owned(), failure.stderr)
    };
    let segv = Exit::Signal(Signal(libc::SIGSEGV));
    let remains = Remains { core_dumped: true, words: vec!["cannot map".into()], ..Remains::default() };
    let message = "died: killed by signal SEGV (core dumped)".to_owned();
    let words = vec!["cannot map".to_owned()];
    assert_eq!(die(remains, segv), (Some(ExitDetail::CoreDumped), message, words));
    let remains = Remains { out_of_memory: true, ..Remains::default() };
    let message = "died: killed by signal KILL (out of memory)".to_owned();
    assert_eq!(die(remains, KILLED), (Some(ExitDetail::OutOfMemory), message, vec![]));
    assert_eq!(die(Remains::default(), Exit::Code(2)), (None, "died: exit code 2".to_owned(), vec![]));
}

#[test]
fn whom_we_kill_ourselves_was_not_out_of_memory() {
    let mut bench = Bench::up(policy(1));
    let child = bench.ids()[0];
    bench.ask(Verb::Restart(None, Wait::No));
    bench.pass(secs(10));
    assert_eq!(bench.phase(child), Some(Phase::Killed));
    bench.feed(Event::Remains { child, remains: Remains { out_of_memory: true, ..Remains::default() } });
    bench.die(child, KILLED);
    assert_eq!(bench.web().workers[0].last_exit_detail, None);
}

#[test]
fn who_waits_for_an_upgrade_reads_what_the_worker_that_failed_wrote_last() {
    let mut bench = Bench::up(Policy { upgrade_failures: 2, ack_deadline: Some(secs(1)), ..policy(1) });
    let upgrade = bench.upgrade();
    let words = |line: &str| Remains { words: vec![line.to_owned()], ..Remains::default() };
    // One that was not ready in time and says why when it is gone, and one that dies in silence.
    let child = bench.spawn();
    bench.fork(child);
    bench.exec(child);
    bench.pass(secs(1));
    bench.feed(Event::Remains { child, remains: words("no answer from 10.0.0.1") });
    bench.die(child, TERMED);
    bench.pass(secs(1));
    let child = bench.spawn();
    bench.fork(child);
    bench.code(child, 1);
    let Some(Reply::Rejected { code, errors, .. }) = bench.answer(upgrade) else { panic!("no reasons") };
    assert_eq!(code, Code::UpgradeFailed);
    assert_eq!(errors, ["web[0] pid 102 wrote: no answer from 10.0.0.1"]);
    // What came before has nothing to do with the next one.
    let upgrade = bench.upgrade();
    for _ in 0..2 {
        let child = bench.spawn();
        bench.fork(child);
        bench.code(child, 1);
        bench.pass(secs(1));
    }
    assert_eq!(bench.verdict(upgrade), Some(Code::UpgradeFailed));
}
