//! A manager in the manner of einhorn, and those who talk to it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sys::signal::Signal;

use super::process::{Output, run};
use super::{LIMIT, Manager, REMUDA, Setup, replace_by_link, setup, worker, write_program};

/// A worker that says that it is up and stops when asked as einhorn does.
pub(crate) const POLITE: &str = "stop-on:USR2 ack-einhorn pause";

/// `remuda einhorn OPTIONS -d SOCKET -e PIDFILE -f LOCKFILE -- PROGRAM`, where the program does what `script` says.
pub(crate) fn command_by(mut command: Command, setup: &Setup, script: &str, options: &str) -> Command {
    command.args(options.split_whitespace());
    for (option, name) in [("-d", "c.sock"), ("-e", "pid"), ("-f", "lock")] {
        command.arg(option).arg(setup.path(name));
    }
    command.arg("--").arg(setup.path("program"));
    command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
    command.env(worker::SCRIPT, script.replace("{dir}", &setup.path("").display().to_string()));
    command
}

pub(crate) fn command(setup: &Setup, script: &str, options: &str) -> Command {
    let mut command = Command::new(REMUDA);
    command.arg("einhorn");
    command_by(command, setup, script, options)
}

pub(crate) fn start(script: &str, options: &str) -> Manager {
    let setup = setup("");
    let command = command(&setup, script, options);
    setup.start_as(command)
}

/// Everything that is answered to these bytes until the connection ends, or the sender has nothing more to say.
pub(crate) fn exchange(manager: &Manager, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(&manager.control).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn sh(manager: &Manager, commands: &str) -> Output {
    run(Command::new(REMUDA).arg("einhornsh").arg("-d").arg(&manager.control).args(["-e", commands]))
}

/// The text of `state`.
pub(crate) fn state(manager: &Manager) -> String {
    let answer = exchange(manager, b"{\"command\":\"state\"}\n");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["message"].as_str().unwrap().to_owned()
}

/// Pids of the workers that the state tells of, with their version.
pub(crate) fn workers(manager: &Manager) -> Vec<(i32, u32)> {
    let text = state(manager);
    let lines: Vec<&str> = text.lines().collect();
    let pid = |at: usize| lines[at].strip_prefix("    ")?.strip_suffix(':')?.parse::<i32>().ok();
    let version = |at: usize| lines[at + 2].trim().strip_prefix(":version: ").unwrap().parse().unwrap();
    (0..lines.len()).filter_map(|at| pid(at).map(|pid| (pid, version(at)))).collect()
}

pub(crate) fn address(manager: &Manager) -> SocketAddr {
    let text = state(manager);
    let (_, rest) = text.split_once(":bound_ports:\n  - ").expect("a port");
    SocketAddr::from(([127, 0, 0, 1], rest.lines().next().unwrap().parse().unwrap()))
}

/// Waits until that many workers were told to be alive.
pub(crate) fn alive(manager: &Manager, count: usize) {
    manager
        .log
        .lines("workers that are alive", count, |line| line.contains("so we are considering it alive."));
}

pub(crate) fn stop(manager: &mut Manager) {
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
    for name in ["c.sock", "pid", "lock"] {
        assert!(!manager.path(name).exists(), "{name} is left");
    }
}

/// Starts with a command that leads back to the manager: a script with these lines before it.
pub(crate) fn start_wrapped(lines: &str, options: &str) -> Manager {
    let setup = setup("");
    let script = setup.path("wrapper");
    write_program(&script, &format!("#!/bin/sh\n{lines}\n"));
    let mut base = Command::new(REMUDA);
    base.arg("einhorn").arg("--reexec-as").arg(format!("{} 'a b'", script.display()));
    let mut command = command_by(base, &setup, POLITE, options);
    command.env("DROPPED", "x");
    setup.start_as(command)
}

pub(crate) fn rewrite(manager: &Manager, lines: &str) {
    let fresh = manager.path("wrapper.2");
    write_program(&fresh, &format!("#!/bin/sh\n{lines}\n"));
    replace_by_link(&manager.path("wrapper"), &fresh);
}
