//! Groups that wait before they start their first workers.

use super::*;
use crate::supervisor::command::Scale;

const CONNECTION: Event = Event::ListenerReadable { group: WEB };

fn lazy() -> Policy {
    Policy { lazy: true, ..policy(2) }
}

fn awaits(bench: &Bench) -> bool {
    bench.machine.awaiting().eq([WEB])
}

#[test]
fn a_lazy_group_starts_with_the_first_connection_and_waits_but_once() {
    let mut bench = Bench::new(Policy { ready: Readiness::Exec, ..lazy() });
    assert_eq!((bench.spawns(), bench.wait(), bench.state()), (vec![], None, GroupState::Waiting));
    assert!(awaits(&bench));
    bench.feed(CONNECTION);
    assert_eq!(bench.spawned.len(), 2);
    assert!(!awaits(&bench), "it is the workers' affair from here on");
    bench.calm();
    bench.code(ChildId(0), 1);
    assert!(!awaits(&bench), "not even inside the back-off");
    bench.feed(CONNECTION);
    assert_eq!((bench.spawned.len(), bench.noted("connected")), (0, 1));
}

#[test]
fn a_warm_up_comes_before_everything_else() {
    let mut bench = Bench::new(Policy { warmup: secs(3), ..lazy() });
    assert_eq!((bench.wait(), bench.state()), (Some(secs(3)), GroupState::Waiting));
    bench.feed(CONNECTION);
    assert!(bench.spawned.is_empty() && !awaits(&bench));
    bench.pass(secs(3));
    assert_eq!((bench.spawned.len(), bench.wait()), (0, None));
    assert!(awaits(&bench));
    let mut bench = Bench::new(Policy { warmup: secs(3), ..policy(2) });
    bench.pass(secs(2));
    assert_eq!(bench.spawned.len(), 0);
    bench.pass(secs(1));
    assert_eq!((bench.spawned.len(), bench.noted("connected")), (2, 0));
}

#[test]
fn what_is_asked_of_a_waiting_group_holds_for_the_workers_to_come() {
    let mut bench = Bench::new(lazy());
    let scale = bench.ask(Verb::Scale(None, Scale::To(3), Wait::Done));
    assert!(bench.answer(scale).is_some());
    let upgrade = bench.upgrade();
    assert_eq!(bench.sentence(upgrade), "web: generation 2 is what will start");
    assert_eq!((bench.spawned.len(), bench.state(), bench.web().generation), (0, GroupState::Waiting, 2));
    assert_eq!(bench.forgotten, [], "it may be gone back to");
    bench.feed(CONNECTION);
    bench.calm();
    assert_eq!(bench.serving(), [(0, 2), (1, 2), (2, 2)]);
}

#[test]
fn start_and_restart_end_the_waiting_and_stop_does_too() {
    for verb in [Verb::Start(None, Wait::Done), Verb::Restart(None, Wait::Done)] {
        let mut bench = Bench::new(lazy());
        let request = bench.ask(verb);
        assert!(!awaits(&bench));
        bench.calm();
        assert_eq!((bench.verdict(request), bench.state()), (Some(Code::Done), GroupState::Up));
    }
    let mut bench = Bench::new(Policy { warmup: secs(3), ..lazy() });
    let stop = bench.ask(Verb::Stop(Some("web".into()), Wait::Done));
    assert_eq!(
        (bench.verdict(stop), bench.state(), bench.wait()),
        (Some(Code::Done), GroupState::Stopped, None)
    );
    bench.pass(secs(5));
    assert!(!awaits(&bench) && bench.spawned.is_empty());
    bench.ask(Verb::Start(None, Wait::No));
    assert_eq!(bench.spawned.len(), 2, "who starts it wants it started");
}

#[test]
fn a_manager_whose_only_group_waits_does_not_end_by_itself() {
    let mut bench = Bench::new(lazy());
    assert_eq!(bench.exit, None);
    bench.signal(Signal::TERM);
    assert_eq!(bench.exit, Some(0));
    assert!(!awaits(&bench));
}

#[test]
fn a_group_waits_on_in_another_image() {
    let mut bench = Bench::new(lazy());
    let text = serde_json::to_string(&bench.machine).unwrap();
    bench.machine = serde_json::from_str(&text).unwrap();
    bench.feed(Event::Reexeced);
    assert!(awaits(&bench) && bench.spawned.is_empty());
}
