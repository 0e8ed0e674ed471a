//! The real binary: when a worker counts as ready, and who may say so.

mod support;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use support::events::Talk;
use support::{Setup, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// The worker of this script becomes ready by what it says, long before the deadline.
fn becomes_ready(script: &str) {
    let mut manager = setup(script).options("-n 2 --ack manual").start();
    manager.up();
    assert_eq!(manager.pids("ready").len(), 2);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn an_ack_without_a_pid_is_for_the_sender() {
    becomes_ready("ack pause");
}

#[test]
fn an_ack_with_pid_0_is_for_the_sender() {
    becomes_ready("ack:0 pause");
}

#[test]
fn an_ack_with_the_own_pid_is_for_the_sender() {
    becomes_ready("ack:self pause");
}

#[test]
fn an_ack_by_a_child_of_the_worker_is_for_the_worker() {
    becomes_ready("ack-by-child pause");
}

#[test]
fn an_ack_of_einhorns_clients_is_one_and_ends_its_connection() {
    becomes_ready("ack-einhorn pause");
}

#[test]
fn a_ready_notification_is_an_ack() {
    // Known by the credentials of the sender. (A line feed cannot stand in the script.)
    becomes_ready("notify:READY=1 pause");
}

#[test]
fn the_verb_ack_is_for_workers_that_are_scripts() {
    let mut manager = setup("")
        .options("--ack manual")
        .program(&["sh", "-c", &format!("{} ack --json && exec sleep 1000", support::REMUDA)])
        .start();
    manager.up();
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn other_notifications_are_no_acks() {
    let manager = setup("notify:STATUS=working note:{dir}/there pause")
        .options("--ack manual --ack-deadline 500ms --backoff 100ms")
        .start();
    let mut events = manager.events();
    let stopping = events.until("stopping");
    assert_eq!(stopping["reason"], "not ready in time");
    assert_eq!(worker::noted(&manager.path("there")).len(), 1);
    assert!(events.seen("ready").is_empty());
}

#[test]
fn a_missed_deadline_is_a_failure_with_a_pause_after_it() {
    let manager = setup("pause").options("--ack manual --ack-deadline 200ms --backoff 300ms:1:300ms").start();
    let mut events = manager.events();
    let delay = events.until("back-off")["delay_ms"].as_u64().unwrap();
    assert!((300..=330).contains(&delay), "{delay}");
    events.until("gone");
    events.until("spawned");
    assert!(manager.workers()[0]["restarts"].as_u64() >= Some(1));
}

#[test]
fn acks_for_others_are_judged_by_their_pid() {
    let manager = setup("pause").options("-n 2 --ack manual").start();
    let mut events = manager.events();
    // They were forked together with the first line of the log, before any request was looked at.
    let pids = manager.pids("starting");
    assert!(pids.len() == 2 && !pids.contains(&0), "{pids:?}");
    // From outside, without a pid: nobody's.
    let answer = manager.ask(&json!({"command": "worker:ack"}));
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!(4)), "{answer}");
    let answer = manager.ask(&json!({"command": "worker:ack", "pid": manager.pid()}));
    assert_eq!(answer["code"], 4, "{answer}");
    // The owner may ack for a worker, by number or by text, and by the verb.
    assert_eq!(manager.ask(&json!({"command": "worker:ack", "pid": pids[0]}))["ok"], true);
    assert_eq!(events.until("ready")["pid"], pids[0]);
    manager.done(&["ack", "--pid", &pids[1].to_string()]);
    assert_eq!(events.until("ready")["pid"], pids[1]);
    // A second one is harmless.
    assert_eq!(manager.ask(&json!({"command": "worker:ack", "pid": pids[1].to_string()}))["ok"], true);
    assert_eq!(events.until("ack-ignored")["pid"], pids[1]);
}

#[test]
fn acks_do_not_shorten_a_timer() {
    let manager = setup("ack pause").options("--ack timer:700ms").start();
    let mut events = manager.events();
    let after = events.until("ready")["after_ms"].as_u64().unwrap();
    assert!((700..3000).contains(&after), "{after}");
}

/// A manager of a shell script; words of the script that begin with `DIR` are in its directory.
fn script(options: &str, text: &str) -> Setup {
    let setup = setup("").options(options);
    let text = text.replace("DIR", &setup.path("").display().to_string());
    setup.program(&["sh", "-c", &text])
}

#[test]
fn a_line_feed_on_the_ready_descriptor_is_an_ack() {
    // What comes before it is nothing, and there is nothing between the socket and the descriptor.
    let text = "printf warm >&6; test -e /proc/$$/fd/3 && ! test -e /proc/$$/fd/4 && ! test -e /proc/$$/fd/5 \
                && printf ' up\\nmore' >&6; exec 6>&-; exec sleep 1000";
    let mut manager = script("-b 127.0.0.1:0 -n 2 --ready-fd 6", text).start();
    manager.up();
    manager.done(&["upgrade"]);
    assert_eq!(manager.pids("ready").len(), 2);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn the_ready_descriptor_outlives_a_re_execution() {
    let setup = script("--ready-fd 3", "read line <DIR/gate; echo up >&3; exec sleep 1000");
    nix::unistd::mkfifo(&setup.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let manager = setup.start();
    // Open for whoever comes.
    let mut gate = OpenOptions::new().read(true).write(true).open(manager.path("gate")).unwrap();
    manager.done(&["reexec"]);
    let waiting = manager.pids("starting");
    gate.write_all(b"\n").unwrap();
    manager.up();
    assert_eq!((waiting.len(), manager.pids("ready")), (1, waiting));
}

#[test]
fn the_end_of_the_ready_descriptor_is_no_ack() {
    let text = "printf almost >&3; exec 3>&-; exec sleep 1000";
    let manager = script("--ready-fd 3 --ack-deadline 300ms", text).start();
    let mut events = manager.events();
    assert_eq!(events.until("stopping")["reason"], "not ready in time");
    assert!(events.seen("ready").is_empty());
    // Nor is it in the way of another ack.
    let text = format!("exec 3>&-; {} ack --json && exec sleep 1000", support::REMUDA);
    script("--ready-fd 3", &text).start().up();
}

#[test]
fn a_ready_descriptor_that_is_taken_is_refused_by_name() {
    let refusal = |options: &str| {
        let output = script(options, "exit 1").output();
        assert_eq!(output.code, Some(1), "{output:?}");
        output.stderr
    };
    let told = refusal("-b 127.0.0.1:0,name=web --ready-fd 3");
    assert!(told.contains("descriptor 3 is the socket web: ready-fd is to be 4 or more"), "{told}");
    let told = refusal("--ready-fd 2");
    assert!(told.contains("descriptor 2 is standard error: ready-fd is to be 3 or more"), "{told}");
}

#[test]
fn readiness_none_is_the_exec_itself() {
    let manager = setup("pause").options("--ack none").start();
    manager.up();
    manager.done(&["upgrade", "--timeout", "10s"]);
    let manager = setup("exit:0").options("--ack none --restart never").start();
    assert!(manager.log.line("ready after").contains("gen 1"));
}

// pitfall 17
#[test]
fn control_answers_while_workers_are_awaited() {
    let manager = setup("pause").options("-n 2 --ack manual").start();
    let upgrade = manager.begin(&["upgrade"]);
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(manager.ask(&json!({"command": "worker:ping"}))["ok"], true);
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(manager.group()["target"], 2);
    manager.done(&["stop", "--timeout", "20s"]);
    let upgrade = upgrade.output();
    assert!(upgrade.code.is_some_and(|code| code != 0), "{upgrade:?}");
}

#[test]
fn two_hundred_workers_ack() {
    let mut manager = setup("ack pause").options("-n 200 --ack manual --upgrade fleet").start();
    manager.up();
    let first: BTreeSet<i32> = manager.pids("ready").into_iter().collect();
    assert_eq!(first.len(), 200);
    manager.done(&["upgrade"]);
    let second: BTreeSet<i32> = manager.pids("ready").into_iter().collect();
    assert_eq!(second.len(), 200);
    assert!(first.is_disjoint(&second));
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn acks_get_through_when_idle_clients_have_taken_all_room() {
    let manager = setup("ack pause").options("-n 2 --ack manual").start();
    manager.up();
    let idle: Vec<Talk> = (0..200).map(|_| manager.connect()).collect();
    manager.signal(nix::sys::signal::Signal::SIGHUP);
    manager.log.line("upgraded: all workers are of generation 2");
    drop(idle);
}
