//! The real binary: a worker is a tree of processes. What is asked of it, what becomes of those that it leaves behind, and
//! whose they are.

mod support;

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getsid};
use support::process::status_field;
use support::{LIMIT, pid_of, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn session(pid: i32) -> i32 {
    getsid(Some(Pid::from_raw(pid))).unwrap().as_raw()
}

fn group(pid: i32) -> i32 {
    getpgid(Some(Pid::from_raw(pid))).unwrap().as_raw()
}

/// Waits for what nobody tells of.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_leads_a_session_of_its_own() {
    let manager = setup("ack pause").options("--ack manual").start();
    manager.up();
    let pid = pid_of(&manager.workers()[0]);
    assert_eq!((session(pid), group(pid)), (pid, pid));
}

#[test]
fn a_worker_that_reads_our_input_stays_in_our_session() {
    let manager = setup("ack pause").options("--ack manual --stdin inherit").start();
    manager.up();
    let pid = pid_of(&manager.workers()[0]);
    assert_eq!((session(pid), group(pid)), (session(manager.pid()), pid));
}

#[test]
fn a_paused_worker_hears_that_it_is_to_go() {
    let mut manager = setup("ack pause").options("--ack manual --stop-timeout 1h").start();
    manager.up();
    let pid = pid_of(&manager.workers()[0]);
    send(pid, Signal::SIGSTOP);
    until("it is stopped", || status_field(pid, "State").starts_with('T'));
    // It goes by itself, and nobody kills it.
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_worker_that_has_left_its_group_is_killed() {
    // The group of its child; in a session of its own a worker cannot leave the group that it leads.
    let script = "import os,signal,time\n\
                  signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                  os.setpgid(0, os.getpgid(os.getppid()))\n\
                  time.sleep(1000)";
    if !support::tool("python3") {
        return;
    }
    let setup = setup("").options("--ack none --stdin inherit --stop-timeout 100ms");
    let mut manager = setup.program(&["python3", "-c", script]).start();
    manager.up();
    let pid = pid_of(&manager.workers()[0]);
    let own = group(manager.pid());
    until("it has left its group", || group(pid) == own);
    assert_eq!(manager.stop(), Some(1));
}

/// A shell that does not execute the program, and waits for it: at TERM the shell ends first.
const WRAPPER: &str = "\"$@\"; true";

#[test]
fn what_stands_behind_a_shell_is_asked_to_go_and_waited_for() {
    let setup = setup("ack pause").options("--ack manual --stop-timeout 1h");
    let words: Vec<std::ffi::OsString> = setup.words();
    let program = words[words.iter().position(|word| word == "--").unwrap() + 1..].to_vec();
    let wrapped: Vec<std::ffi::OsString> =
        ["sh", "-c", WRAPPER, "sh"].map(Into::into).into_iter().chain(program).collect();
    let mut manager = setup.program(&wrapped).start();
    manager.up();
    let mut events = manager.events();
    // It goes by itself; nobody is killed.
    assert_eq!(manager.stop(), Some(0));
    events.rest();
    assert_eq!(events.seen("left-behind").len(), 1, "{}", events.story());
    assert_eq!(events.seen("tree-gone").len(), 1, "{}", events.story());
}

// pitfall 38
// pitfall 38
#[test]
fn what_does_not_go_is_killed_and_named() {
    let script = "trap '' TERM; sleep 1000 & trap - TERM; wait";
    let setup = setup("").options("--ack none --stop-timeout 100ms").program(&["sh", "-c", script]);
    let mut manager = setup.start();
    manager.up();
    let pid = pid_of(&manager.workers()[0]);
    until("there is somebody to be left", || {
        manager.descendants().iter().any(|&other| status_field(other, "Name") == "sleep")
    });
    let other = manager.descendants().into_iter().find(|&other| other != pid).unwrap();
    assert_eq!(manager.stop(), Some(1));
    manager.log.line(&format!("killing what pid {pid} has started: pid {other} (sleep)"));
}

#[test]
fn the_death_of_a_worker_is_answered_before_its_tree_is_gone() {
    let script = "trap '' TERM; sleep 1000 & trap - TERM; wait";
    let setup = setup("").options("--ack none --stop-timeout 1h").program(&["sh", "-c", script]);
    let manager = setup.start();
    manager.up();
    let pid = pid_of(&manager.workers()[0]);
    until("there is somebody to be left", || {
        manager.descendants().iter().any(|&other| status_field(other, "Name") == "sleep")
    });
    let mut events = manager.events();
    send(pid, Signal::SIGKILL);
    events.until("left-behind");
    let successor = events.until("ready");
    // The index of what drains is not given to another.
    assert_eq!((&successor["slot"], &successor["index"]), (&0.into(), &1.into()));
    let left = manager.pids("stopping");
    assert_eq!(left, [pid]);
    for other in manager.descendants() {
        if session(other) == pid {
            send(other, Signal::SIGKILL);
        }
    }
    events.until("tree-gone");
}

#[test]
fn a_program_that_goes_into_the_background_is_not_started_over_and_over() {
    let setup = setup("").options("--ack timer:1h --stop-timeout 100ms");
    let mut manager = setup.program(&["sh", "-c", "sleep 1000 & exit 0"]).start();
    manager.log.line("the program goes into the background, where pid ");
    assert_eq!(manager.exit().code(), Some(1));
    assert_eq!(manager.log.all().matches("died: exit code 0").count(), 1);
}

// pitfall 40
// pitfall 38
#[test]
fn orphans_of_another_session_are_asked_to_go_at_the_stop() {
    let script = "setsid sh -c 'sleep 1000 & ' ; exec sleep 2000";
    if !support::tool("setsid") {
        return;
    }
    let mut manager = setup("").options("--ack none").program(&["sh", "-c", script]).start();
    manager.up();
    let pid = pid_of(&manager.workers()[0]);
    let orphan = |pids: Vec<i32>| pids.into_iter().find(|&other| other != pid && session(other) != pid);
    let own = manager.pid().to_string();
    until("there is an orphan", || {
        let found = orphan(manager.descendants());
        found
            .is_some_and(|found| status_field(found, "PPid") == own && status_field(found, "Name") == "sleep")
    });
    let found = orphan(manager.descendants()).unwrap();
    assert_eq!(manager.stop(), Some(0));
    assert!(!support::process::lives(found), "{found} lives on");
    manager.log.line(&format!("left by workers: pid {found} (sleep); stopping with signal TERM"));
}

#[test]
fn the_whole_group_is_asked_to_go_where_the_user_wants_it() {
    // Without that the signal is the leader's alone: the one that it has started hears of it only when that is gone.
    for (options, together) in [("--signal-group", true), ("", false)] {
        let script = "trap 'wait $!; exit 0' TERM\n\
                      sh -c 'trap \"echo asked >>asked; exit 0\" TERM; echo ready >>ready; while :; do sleep 0.02; done' &\n\
                      while :; do wait $!; done\n";
        let setup = setup("");
        let program = setup.path("tree.sh");
        support::write_program(&program, &format!("#!/bin/sh\ncd {}\n{script}", setup.path("").display()));
        let mut manager =
            setup.options("--ack none --stop-timeout 500ms").options(options).program(&[program]).start();
        until("the program runs", || manager.path("ready").exists());
        manager.signal(Signal::SIGTERM);
        let code = manager.exit().code();
        // The leader waits for the other one, who was asked or has to be killed with it.
        assert_eq!(
            (code, manager.path("asked").exists()),
            (Some(i32::from(!together)), together),
            "{options}"
        );
    }
}

#[test]
fn that_workers_cannot_be_signalled_is_told_at_the_start() {
    if !support::root() || !support::tool("setpriv") {
        return;
    }
    let setup = setup("").options("--user 65534:65534 --ack none").program(&["sleep", "0.3"]);
    let words = setup.words();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--bounding-set=-kill", "--inh-caps=-kill", support::REMUDA]).args(words);
    command.args(["--restart", "never"]);
    let at = command.get_args().position(|word| word == "--").expect("a program");
    let mut arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let restart = arguments.split_off(arguments.len() - 2);
    arguments.splice(at..at, restart);
    let mut command = std::process::Command::new("setpriv");
    command.args(arguments).current_dir("/");
    let output = support::process::run(&mut command);
    assert!(output.stderr.contains("we lack CAP_KILL to signal them"), "{output:?}");
}
