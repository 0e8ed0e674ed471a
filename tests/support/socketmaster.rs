//! A manager under the name of socketmaster: how it is started, what its log says, and whom it runs.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{self, Output, Process};
use super::{Manager, Setup, http, pass, setup, worker, write_program};

/// `remuda socketmaster FLAGS`.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(super::REMUDA);
    command.arg("socketmaster").args(flags);
    command
}

pub(crate) fn run(flags: &[&str]) -> Output {
    process::run(&mut command(flags))
}

/// Starts one that the test talks to and listens to.
pub(crate) fn spawn(command: &mut Command) -> Process {
    Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()))
}

/// The lines of a log without name, pid and time: `Listening on tcp://:8080`. Each must have them.
pub(crate) fn sentences(log: &str) -> Vec<String> {
    log.lines()
        .map(|line| {
            let mut words = line.splitn(4, ' ');
            let (name, date, time) = (words.next(), words.next(), words.next());
            let shape = |text: Option<&str>| -> String {
                let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
                text.unwrap_or_default().chars().map(digit).collect()
            };
            let pid = name.and_then(|name| name.strip_prefix("socketmaster[")?.strip_suffix(']'));
            assert!(pid.is_some_and(|pid| pid.parse::<u32>().is_ok()), "{line}");
            assert_eq!((shape(date).as_str(), shape(time).as_str()), ("0000/00/00", "00:00:00"), "{line}");
            words.next().unwrap_or_default().to_owned()
        })
        .collect()
}

/// A program for `-command`, in a directory of its own: `sh` with these lines, or the test's worker with this script.
pub(crate) struct Program {
    pub(crate) setup: Setup,
}

impl Program {
    pub(crate) fn sh(lines: &str) -> Program {
        let program = Program { setup: setup("pause") };
        program.replace(lines);
        program
    }

    pub(crate) fn worker(script: &str) -> Program {
        let program = Program { setup: setup("pause") };
        program.replace_by_worker(script);
        program
    }

    pub(crate) fn path(&self) -> String {
        self.setup.path("app").display().to_string()
    }

    pub(crate) fn replace(&self, lines: &str) {
        replace(&self.setup.path("app"), lines);
    }

    pub(crate) fn replace_by_worker(&self, script: &str) {
        self.replace(&worker_lines(&self.setup.path("program"), script));
    }

    /// Starts a socketmaster on a free port of its own and waits until its worker is being started.
    pub(crate) fn start(self, flags: &[&str]) -> Manager {
        let path = self.path();
        self.start_as(command(&[&["-command", &path, "-listen", "tcp://127.0.0.1:0"], flags].concat()))
    }

    pub(crate) fn start_as(self, command: Command) -> Manager {
        let manager = self.setup.launch(command);
        manager.log.line(" Starting ");
        manager
    }
}

pub(crate) fn worker_lines(program: &std::path::Path, script: &str) -> String {
    let program = program.display();
    format!(
        "export {}='{script}'\nexec {program} --exact worker_entry --nocapture --test-threads=1",
        worker::SCRIPT
    )
}

pub(crate) fn replace(path: &std::path::Path, lines: &str) {
    let fresh = path.with_extension("new");
    write_program(&fresh, &format!("#!/bin/sh\n{lines}\n"));
    fs::rename(&fresh, path).unwrap();
}

/// Pids of its workers, in the order in which they were started.
pub(crate) fn children(manager: &Manager) -> Vec<i32> {
    let path = format!("/proc/{0}/task/{0}/children", manager.pid());
    fs::read_to_string(path).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Where a worker finds its socket, if it is one by now, and still is.
pub(crate) fn address(pid: i32) -> Option<SocketAddr> {
    let variables = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = variables.split(|&byte| byte == 0);
    let socket = variables.find_map(|variable| variable.strip_prefix(b"SERVER_STARTER_PORT="))?;
    String::from_utf8_lossy(socket).split('=').next()?.parse().ok()
}

/// Waits until the manager has one worker, and returns it with its address.
pub(crate) fn serving(manager: &Manager) -> (i32, SocketAddr) {
    let deadline = Instant::now() + super::LIMIT;
    loop {
        assert!(Instant::now() < deadline, "nobody serves");
        if let [pid] = children(manager)[..]
            && let Some(address) = address(pid)
        {
            // The backlog takes the connection before the worker is there.
            return (http::who(&http::get(address, "/").unwrap()).0, address);
        }
        pass(Duration::from_millis(5));
    }
}

pub(crate) fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}
