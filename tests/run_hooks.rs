//! The real binary: commands that run beside the workers, before an upgrade and in place of the graceful signal.

mod support;

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use support::process::{lives, wait_gone};
use support::{Manager, REMUDA, Setup, replace_by_link, setup, worker, write_program};

#[test]
fn worker_entry() {
    worker::enter();
}

/// `sh -c SCRIPT` as one word of the command line; `DIR` in it is the directory.
fn shell(setup: &Setup, script: &str) -> String {
    assert!(!script.contains('\''));
    let script = script.replace("DIR", setup.path("").to_str().unwrap().trim_end_matches('/'));
    format!("sh -c '{script}'")
}

fn with(setup: Setup, option: &str, script: &str) -> Setup {
    let line = shell(&setup, script);
    setup.option(option).option(line)
}

fn only_pid(manager: &Manager) -> i32 {
    let pids = manager.pids("ready");
    assert_eq!(pids.len(), 1);
    pids[0]
}

#[test]
fn a_stop_command_asks_the_worker_that_it_is_told_of() {
    let setup = setup("stop-on:USR1 pause").options("--ack none --stop-timeout 30s -e COLOUR=red");
    let setup = with(setup, "--stop-command", "echo stopping $COLOUR $MAINPID; kill -USR1 $MAINPID");
    let mut manager = setup.start();
    let old = only_pid(manager.up());
    manager.done(&["upgrade", "--wait-drained"]);
    manager.log.line(&format!("] stopping red {old}"));
    manager.log.line("stopping by the stop command: replaced");
    let new = only_pid(&manager);
    assert_eq!(manager.stop(), Some(0));
    manager.log.line(&format!("] stopping red {new}"));
}

#[test]
fn a_stop_command_that_fails_is_followed_by_the_signal() {
    let setup = with(setup("pause").options("--ack none --stop-timeout 30s"), "--stop-command", "exit 7");
    let mut manager = setup.start();
    manager.up();
    assert_eq!(manager.stop(), Some(0));
    manager.log.line("stop command failed: exit code 7; sending TERM instead");
}

#[test]
fn what_a_stop_command_does_not_bring_about_sigkill_does() {
    let setup = setup("ignore:TERM pause").options("--ack none --stop-timeout 100ms");
    let mut manager = with(setup, "--stop-command", "sleep 1000").start();
    manager.up();
    assert_eq!(manager.stop(), Some(1));
    assert!(manager.descendants().is_empty(), "the command is killed with its children");
}

#[test]
fn an_upgrade_fails_with_its_preflight_and_touches_nothing() {
    let setup = setup("pause").options("--ack none");
    let manager = with(setup, "--preflight", "echo looking; test -e DIR/good || exit 3").start();
    let before = only_pid(manager.up());
    let refused = manager.verb(&["upgrade"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    let told = "the upgrade did not begin: the preflight failed: exit code 3; generation 1 stays";
    assert!(refused.stderr.contains(told), "{refused:?}");
    manager.log.line("] looking");
    assert_eq!((only_pid(&manager), manager.group()["generation"].as_u64()), (before, Some(1)));
    fs::write(manager.path("good"), "").unwrap();
    manager.done(&["upgrade"]);
    assert_ne!(only_pid(&manager), before);
}

#[test]
fn a_preflight_runs_before_anything_is_looked_up() {
    // It may well bring the release that the upgrade is to run.
    let setup = setup("").options("--ack none");
    for release in ["one", "two"] {
        write_program(&setup.path(release), "#!/bin/sh\nexec sleep 1000\n");
    }
    replace_by_link(&setup.path("current"), &setup.path("one"));
    let program = setup.path("current");
    let setup = setup.program(&[program.as_os_str()]);
    let manager = with(setup, "--preflight", "rm DIR/one && rm DIR/current && ln -s two DIR/current").start();
    manager.up();
    manager.done(&["upgrade"]);
    manager.signal(Signal::SIGHUP);
    manager.log.line("the preflight failed: exit code 1");
}

#[test]
fn a_preflight_that_takes_too_long_is_killed_with_all_it_has_started() {
    let setup = setup("pause").options("--ack none --preflight-timeout 100ms");
    let manager = with(setup, "--preflight", "echo $$ >DIR/pid; sleep 1000; true").start();
    let before = only_pid(manager.up());
    let refused = manager.verb(&["upgrade"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("it did not end within 100 ms"), "{refused:?}");
    // A re-execution waits until it is reaped.
    manager.done(&["reexec"]);
    assert_eq!(only_pid(&manager), before);
    // What was killed without being a child of the manager dies when its turn comes.
    let others: Vec<i32> = manager.descendants().into_iter().filter(|&pid| pid != before).collect();
    assert!(others.iter().all(|&pid| wait_gone(pid)), "{others:?}");
    // It may not even have come to write its pid.
    let pid = fs::read_to_string(manager.path("pid")).ok().and_then(|pid| pid.trim().parse().ok());
    assert!(pid.is_none_or(|pid: i32| !lives(pid)));
}

#[test]
fn a_file_says_the_same_and_runs_an_upgrader_by_itself() {
    let setup = setup("");
    let text = "[web]\nexec_start = 'sleep 1000'\nack = 'none'\nupgrader = \"UPGRADER\"\n\
        upgrader_timeout = 30\nupgrader_active_sec = 0.1\nexec_stop = \"STOP\"\n";
    let text = text.replace("UPGRADER", &shell(&setup, "test -e DIR/good && rm DIR/good"));
    let text = text.replace("STOP", &shell(&setup, "echo asked >>DIR/asked; kill -9 $MAINPID"));
    fs::write(setup.path("site.toml"), text).unwrap();
    let mut command = Command::new(REMUDA);
    command.args(["run", "-c"]).arg(setup.path("site.toml")).arg("--control").arg(setup.path("c.sock"));
    let manager = setup.start_as(command);
    let before = only_pid(manager.up());
    let mut events = manager.events();
    for _ in 0..2 {
        events.until("hook-failed");
    }
    assert_eq!(only_pid(&manager), before);
    fs::write(manager.path("good"), "").unwrap();
    events.until("upgrade-done");
    events.until("gone");
    assert_eq!(fs::read_to_string(manager.path("asked")).unwrap(), "asked\n");
}

#[test]
fn commands_that_cannot_be_run_are_refused_beforehand() {
    for option in ["--preflight", "--stop-command"] {
        let refused = setup("pause").options(option).option("no-such-program --now").output();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("program no-such-program not found in PATH"), "{refused:?}");
    }
    let setup = setup("");
    let text = "[web]\nexec_start = 'sleep 1'\npreflight = './none'\nexec_stop = ['no-such-program']\n";
    fs::write(setup.path("site.toml"), text).unwrap();
    let checked = support::process::run(Command::new(REMUDA).arg("check").arg(setup.path("site.toml")));
    assert_eq!(checked.code, Some(1));
    for told in ["cannot execute ./none", "program no-such-program not found"] {
        assert!(checked.stderr.contains(told), "{checked:?}");
    }
}
