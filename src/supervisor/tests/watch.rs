//! Upgrades that nobody asks for, because the program has become another.

use super::*;

fn watched() -> Bench {
    Bench::up(Policy { auto_upgrade: true, ..policy(1) })
}

/// A second passes, and the program is looked at: what is there?
fn look(bench: &mut Bench, other: Option<u64>) {
    bench.others.clear();
    bench.pass(secs(1));
    assert!(matches!(bench.others[..], [Action::ReadProgram { group: WEB, .. }]), "{:?}", bench.others);
    bench.feed(Event::ProgramRead { group: WEB, other });
}

#[test]
fn two_equal_looks_at_another_program_begin_an_upgrade() {
    let mut bench = watched();
    look(&mut bench, None);
    look(&mut bench, Some(7));
    look(&mut bench, Some(8));
    assert!(bench.prepares.is_empty(), "it is being written");
    look(&mut bench, Some(8));
    assert_eq!(bench.prepares, [(WEB, GenerationId(2))]);
    bench.others.clear();
    bench.pass(secs(2));
    assert!(bench.others.is_empty(), "not while workers are being replaced");
    bench.calm();
    assert_eq!((bench.web().generation, bench.noted("program-changed")), (2, 1));
}

#[test]
fn a_program_that_fails_is_not_tried_again_until_it_changes() {
    let mut bench = watched();
    look(&mut bench, Some(8));
    look(&mut bench, Some(8));
    bench.prepares.clear();
    let outcome = Err("not executable".to_owned());
    bench.feed(Event::Prepared { group: WEB, generation: GenerationId(2), outcome });
    for _ in 0..3 {
        look(&mut bench, Some(8));
    }
    assert!(bench.prepares.is_empty());
    look(&mut bench, Some(9));
    look(&mut bench, Some(9));
    assert_eq!(bench.prepares, [(WEB, GenerationId(3))]);
}

#[test]
fn what_was_tried_by_hand_is_not_tried_again_until_it_changes() {
    let mut bench = watched();
    // An upgrade by hand that fails, and one that is taken back.
    for program in [8, 9] {
        bench.ask(Verb::Upgrade(None, Wait::No));
        bench.feed(Event::ProgramPrepared { group: WEB, program });
        if program == 8 {
            bench.prepared();
            let child = bench.spawn();
            bench.fork(child);
            bench.feed(Event::SpawnFailed { child, stage: Stage::Exec, errno: libc::ENOENT });
            bench.die(child, Exit::Code(127));
        } else {
            bench.calm();
            bench.ask(Verb::RollBack(None, Wait::No));
        }
        bench.calm();
        assert_eq!((bench.state(), bench.web().generation), (GroupState::Up, 1));
        for _ in 0..3 {
            look(&mut bench, Some(program));
        }
        assert!(bench.prepares.is_empty());
    }
    look(&mut bench, Some(10));
    look(&mut bench, Some(10));
    assert_eq!(bench.prepares, [(WEB, GenerationId(4))]);
}

#[test]
fn who_is_told_not_to_look_any_more_does_not() {
    let mut bench = watched();
    look(&mut bench, None);
    bench.replan(Policy { auto_upgrade: false, ..policy(1) }, false);
    bench.others.clear();
    assert_eq!(bench.wait(), None);
    bench.pass(secs(5));
    assert!(bench.others.is_empty());
}

#[test]
fn nobody_looks_at_the_program_of_a_stopped_group_or_unasked() {
    let mut bench = watched();
    bench.ask(Verb::Stop(Some("web".into()), Wait::No));
    bench.calm();
    assert_eq!(bench.wait(), None);
    bench.pass(secs(5));
    bench.ask(Verb::Start(None, Wait::No));
    bench.calm();
    look(&mut bench, None);
    assert_eq!(Bench::up(policy(1)).wait(), None);
}
