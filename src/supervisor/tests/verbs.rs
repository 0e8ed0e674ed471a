//! Requests: stop and start of groups, waiters, acks, events, status.

use super::*;
use crate::plan::Level;
use crate::supervisor::command::Scale;
use crate::supervisor::snapshot::WorkerPhase;

fn web() -> Option<String> {
    Some("web".into())
}

fn worker(pid: i32, process_group: i32) -> Origin {
    Origin { pid, process_group, trusted: false }
}

#[test]
fn a_stopped_group_stays_stopped_until_it_is_started() {
    let mut bench = Bench::up(policy(2));
    let stop = bench.ask(Verb::Stop(web(), Wait::Done));
    assert_eq!((bench.signals.len(), bench.state()), (2, GroupState::Stopping));
    bench.calm();
    assert_eq!(
        (bench.verdict(stop), bench.state(), bench.exit),
        (Some(Code::Done), GroupState::Stopped, None)
    );
    assert_eq!((bench.noted("group-stopping"), bench.noted("group-stopped")), (1, 1));
    let again = bench.ask(Verb::Stop(web(), Wait::Done));
    assert_eq!(bench.verdict(again), Some(Code::Done), "repeating it is harmless");
    assert_eq!(bench.noted("group-stopped"), 1);
    bench.pass(secs(3600));
    assert_eq!((bench.spawns(), bench.wait()), (vec![], None));
    for verb in [Verb::Upgrade(web(), Wait::Done), Verb::Scale(web(), Scale::Up(1), Wait::Done)] {
        let refused = bench.ask(verb);
        assert_eq!(bench.verdict(refused), Some(Code::Refused));
    }
    let start = bench.ask(Verb::Start(web(), Wait::Done));
    assert_eq!((bench.spawned.len(), bench.verdict(start)), (2, None));
    bench.calm();
    assert_eq!((bench.verdict(start), bench.noted("group-started")), (Some(Code::Done), 1));
    let again = bench.ask(Verb::Start(web(), Wait::Done));
    assert_eq!((bench.verdict(again), bench.noted("group-started")), (Some(Code::Done), 1));
}

#[test]
fn a_restart_starts_a_stopped_group() {
    let mut bench = Bench::up(policy(1));
    bench.ask(Verb::Stop(web(), Wait::No));
    bench.calm();
    let restart = bench.ask(Verb::Restart(web(), Wait::Done));
    bench.calm();
    assert_eq!((bench.verdict(restart), bench.state()), (Some(Code::Done), GroupState::Up));
}

#[test]
fn a_stop_ends_an_upgrade_for_good() {
    let mut bench = Bench::up(policy(2));
    let running = bench.upgrade();
    bench.ask(Verb::Stop(web(), Wait::No));
    assert_eq!(bench.verdict(running), Some(Code::Failed));
    bench.calm();
    bench.ask(Verb::Start(web(), Wait::No));
    bench.calm();
    assert_eq!(bench.serving(), [(0, 1), (1, 1)]);

    let preparing = bench.ask(Verb::Upgrade(web(), Wait::Done));
    bench.ask(Verb::Stop(web(), Wait::No));
    assert_eq!(bench.verdict(preparing), Some(Code::Failed));
    bench.ask(Verb::Start(web(), Wait::No));
    bench.forget();
    bench.prepared();
    assert_eq!(
        (bench.forgotten, bench.machine.groups[0].generation),
        (vec![GenerationId(3)], GenerationId(1))
    );
}

#[test]
fn a_stop_and_a_start_in_one_pass_leave_nobody_waiting() {
    let mut bench = Bench::up(policy(1));
    let upgrade = bench.upgrade();
    let request = |request, verb| Event::Request {
        ticket: Ticket { client: ClientId(request), request },
        origin: OWNER,
        verb,
    };
    bench.machine.handle(bench.now, request(50, Verb::Stop(web(), Wait::No)));
    bench.feed(request(51, Verb::Start(web(), Wait::No)));
    assert_eq!(bench.verdict(upgrade), Some(Code::Failed));
}

#[test]
fn a_group_started_while_it_stops_waits_for_its_old_workers() {
    let mut bench = Bench::up(policy(1));
    let stop = bench.ask(Verb::Stop(web(), Wait::Done));
    let start = bench.ask(Verb::Start(web(), Wait::Done));
    assert_eq!(bench.spawns(), []);
    assert_eq!(bench.verdict(stop), Some(Code::Failed), "it will not come to that any more");
    bench.calm();
    assert_eq!((bench.verdict(start), bench.serving()), (Some(Code::Done), vec![(0, 1)]));
}

#[test]
fn who_does_not_wait_is_answered_at_once() {
    let mut bench = Bench::up(policy(1));
    for verb in [
        Verb::Upgrade(None, Wait::No),
        Verb::Scale(None, Scale::Up(1), Wait::No),
        Verb::Stop(web(), Wait::No),
        Verb::Start(None, Wait::No),
        Verb::Stop(None, Wait::No),
    ] {
        let request = bench.ask(verb);
        assert_eq!(bench.verdict(request), Some(Code::Done));
    }
}

#[test]
fn who_hung_up_is_not_answered() {
    let mut bench = Bench::up(policy(1));
    let upgrade = bench.upgrade();
    let events = bench.ask(Verb::Events(None));
    bench.feed(Event::ClientGone(ClientId(upgrade)));
    bench.feed(Event::ClientGone(ClientId(events)));
    bench.replies.clear();
    bench.calm();
    assert_eq!((bench.replies.len(), bench.serving()), (0, vec![(0, 2)]));
}

#[test]
fn waiting_for_workers_that_keep_failing_ends() {
    let mut bench = Bench::up(policy(1));
    let scale = bench.ask(Verb::Scale(None, Scale::To(2), Wait::Done));
    for _ in 0..3 {
        assert_eq!(bench.verdict(scale), None);
        let child = bench.spawn();
        bench.fork(child);
        bench.code(child, 1);
        bench.pass(secs(5));
    }
    assert_eq!(bench.verdict(scale), Some(Code::Failed));
}

#[test]
fn unknown_groups_are_refused_with_the_names_there_are() {
    let mut bench = Bench::of(vec![("web", policy(1)), ("api", policy(1))]);
    for verb in [
        Verb::Status(Some("wbe".into())),
        Verb::Events(Some("wbe".into())),
        Verb::Upgrade(Some("wbe".into()), Wait::No),
        Verb::Stop(Some("wbe".into()), Wait::Done),
        Verb::Signal(Some("wbe".into()), Signal::HUP),
    ] {
        let request = bench.ask(verb);
        assert_eq!(bench.sentence(request), "no group \"wbe\"; there is web, api");
    }
}

#[test]
fn a_signal_goes_to_every_worker_and_has_no_other_consequence() {
    let mut bench = Bench::up(policy(2));
    let before = bench.machine.clone();
    let request = bench.ask(Verb::Signal(web(), Signal::HUP));
    assert_eq!(bench.signals, [(ChildId(0), Signal::HUP, false), (ChildId(1), Signal::HUP, false)]);
    assert_eq!(bench.sentence(request), "sent HUP to 2 workers");
    assert!(bench.machine == before);
}

#[test]
fn a_stop_names_whom_it_had_to_kill() {
    let mut bench = Bench::up(policy(12));
    let request = bench.ask(Verb::Stop(web(), Wait::Done));
    for child in ids(1, 2) {
        bench.die(child, TERMED);
    }
    bench.pass(secs(10));
    for child in bench.ids() {
        bench.die(child, KILLED);
    }
    let Some(Reply::Failed(Code::Failed, told)) = bench.answer(request) else { panic!("not told") };
    assert!(told.starts_with("web: stopped; killed web[0] pid 101, web[3] pid 104, "), "{told}");
    assert!(told.ends_with(" and 2 more"), "{told}");
    // The next one is another matter.
    bench.ask(Verb::Start(web(), Wait::Done));
    bench.calm();
    let request = bench.ask(Verb::Stop(web(), Wait::Done));
    bench.calm();
    assert_eq!(bench.sentence(request), "web: stopped");
}

#[test]
fn a_stop_of_everything_names_whom_it_had_to_kill() {
    let mut bench = Bench::up(policy(1));
    let request = bench.ask(Verb::Stop(None, Wait::Done));
    bench.pass(secs(10));
    bench.die(ChildId(0), KILLED);
    assert_eq!(bench.sentence(request), "web: stopped; killed web[0] pid 101");
    assert_eq!(bench.exit, Some(1));
}

#[test]
fn fewer_workers_are_there_also_while_the_others_take_their_time() {
    let mut bench = Bench::up(policy(2));
    for _ in 0..3 {
        let child = bench.machine.children.iter().find(|child| child.slot == 1).map(|child| child.id);
        bench.die(child.expect("a worker"), KILLED);
        bench.pass(secs(2));
        let child = bench.take_spawn().expect("the next one");
        bench.fork(child);
        bench.exec(child);
    }
    let request = bench.ask(Verb::Scale(None, Scale::To(1), Wait::Done));
    assert_eq!(bench.answer(request), None, "one of two is still to go");
    bench.calm();
    assert_eq!(bench.sentence(request), "web: 1 of 1 ready");
}

#[test]
fn what_was_reached_and_is_not_so_any_more_is_not_told_as_done() {
    let mut bench = Bench::of(vec![("web", policy(1)), ("api", policy(1))]);
    bench.calm();
    let request = bench.ask(Verb::Scale(None, Scale::To(2), Wait::Done));
    let [web, api] = bench.spawns()[..] else { panic!("one more of each") };
    bench.ready(web);
    bench.pass(secs(1));
    bench.code(web, 1);
    let again = bench.spawn();
    bench.ready(api);
    assert_eq!(bench.answer(request), None, "web has one of two");
    bench.ready(again);
    assert_eq!(bench.sentence(request), "web: 2 of 2 ready; api: 2 of 2 ready");
}

#[test]
fn small_questions() {
    let mut bench = Bench::up(policy(1));
    let ping = bench.ask(Verb::Ping);
    assert_eq!(bench.sentence(ping), "pong");
    let version = bench.ask(Verb::Version);
    assert!(matches!(bench.answer(version), Some(Reply::Version(version)) if version.starts_with("remuda ")));
    bench.ask(Verb::LogLevel(Level::Debug));
    assert_eq!(bench.others, [Action::SetLevel(Level::Debug)]);
}

// ---- acks --------------------------------------------------------------------------------------------------------

/// One worker that waits for its ack, and its pid.
fn starting() -> (Bench, ChildId, i32) {
    let mut bench = Bench::new(policy(1));
    let child = bench.spawn();
    let pid = bench.fork(child);
    bench.exec(child);
    (bench, child, pid)
}

#[test]
fn an_ack_without_a_pid_is_the_senders() {
    for said in [None, Some(0)] {
        let (mut bench, child, pid) = starting();
        let ack = bench.ask_as(worker(pid, pid), Verb::Ack(said));
        assert_eq!((bench.verdict(ack), bench.phase(child)), (Some(Code::Done), Some(Phase::Ready)));
    }
}

#[test]
fn an_ack_from_the_workers_process_group_is_the_workers() {
    let (mut bench, child, pid) = starting();
    let ack = bench.ask_as(worker(pid + 5000, pid), Verb::Ack(None));
    assert_eq!((bench.verdict(ack), bench.phase(child)), (Some(Code::Done), Some(Phase::Ready)));
}

#[test]
fn the_owner_may_ack_for_any_living_worker() {
    let (mut bench, child, pid) = starting();
    let ack = bench.ask(Verb::Ack(Some(pid)));
    assert_eq!((bench.verdict(ack), bench.phase(child)), (Some(Code::Done), Some(Phase::Ready)));
}

#[test]
fn an_ack_for_nobody_is_refused() {
    let (mut bench, child, pid) = starting();
    for (origin, said) in [
        (OWNER, None),
        (OWNER, Some(0)),
        (OWNER, Some(-1)),
        (OWNER, Some(-pid)),
        (OWNER, Some(pid + 1)),
        (worker(0, 0), None),
        (worker(pid + 1, pid + 1), Some(pid)),
        (worker(pid + 1, pid + 1), None),
    ] {
        let ack = bench.ask_as(origin, Verb::Ack(said));
        assert_eq!((bench.verdict(ack), bench.phase(child)), (Some(Code::Refused), Some(Phase::Starting)));
    }
}

#[test]
fn a_spawn_without_a_pid_is_nobodys() {
    let mut bench = Bench::new(policy(1));
    let child = bench.spawn();
    let ack = bench.ask_as(worker(0, 0), Verb::Ack(Some(0)));
    assert_eq!((bench.verdict(ack), bench.phase(child)), (Some(Code::Refused), Some(Phase::Spawning)));
}

#[test]
fn workers_of_another_user_may_only_ack_and_ping() {
    let (mut bench, _, pid) = starting();
    let ping = bench.ask_as(worker(pid, pid), Verb::Ping);
    assert_eq!(bench.verdict(ping), Some(Code::Done));
    for verb in [
        Verb::Status(None),
        Verb::Version,
        Verb::Events(None),
        Verb::Upgrade(None, Wait::No),
        Verb::Stop(None, Wait::No),
        Verb::Signal(None, Signal::KILL),
        Verb::LogLevel(Level::Debug),
        Verb::Reopen,
    ] {
        let refused = bench.ask_as(worker(pid, pid), verb);
        assert_eq!(bench.verdict(refused), Some(Code::Refused));
    }
    assert_eq!((bench.signals.len(), bench.prepares.len(), bench.others.len()), (0, 0, 0));
}

// ---- events and status -------------------------------------------------------------------------------------------

#[test]
fn events_begin_with_the_status_and_tell_of_the_groups_asked_for() {
    let at_exec = || Policy { ready: Readiness::Exec, ..policy(1) };
    let mut bench = Bench::of(vec![("web", at_exec()), ("api", at_exec())]);
    bench.calm();
    bench.forget();
    let all = bench.ask(Verb::Events(None));
    let one = bench.ask(Verb::Events(web()));
    assert!(bench.replies.iter().all(|(_, reply, last)| matches!(reply, Reply::Status(_)) && !last));
    bench.replies.clear();
    bench.code(ChildId(1), 1);
    bench.signal(Signal::USR2);
    let told = |bench: &Bench, request: u64| {
        let tags = bench.replies.iter().filter(|(number, ..)| *number == request).map(|(_, reply, last)| {
            assert!(!last);
            let Reply::Event(note) = reply else { panic!("{reply:?}") };
            note.what.name()
        });
        tags.collect::<Vec<_>>()
    };
    assert_eq!(told(&bench, all), ["died", "back-off", "signal-ignored"]);
    assert_eq!(told(&bench, one), ["signal-ignored"]);
    let names: Vec<&str> = bench.notes.iter().map(|note| note.what.name()).collect();
    assert_eq!(names, told(&bench, all), "the log hears the same");
}

#[test]
fn status_tells_each_worker_and_how_long_it_is_so() {
    let mut bench = Bench::up(policy(2));
    bench.pass(secs(3));
    let upgrade = bench.upgrade();
    let new = bench.spawn();
    bench.ready(new);
    bench.pass(secs(1));
    assert_eq!(bench.verdict(upgrade), None);
    let group = bench.web();
    let workers: Vec<_> = group
        .workers
        .iter()
        .map(|worker| (worker.slot, worker.generation, worker.phase, worker.since_ms))
        .collect();
    assert_eq!(
        workers,
        [
            (0, 2, WorkerPhase::Ready, 1000),
            (0, 1, WorkerPhase::Stopping, 1000),
            (1, 2, WorkerPhase::Starting, 1000),
            (1, 1, WorkerPhase::Ready, 4000)
        ]
    );
    assert_eq!((group.state, group.generation, group.target), (GroupState::Upgrading, 2, 2));
    assert_eq!(bench.status().uptime_ms, 4000);
}
