//! Time that the manager did not have: healthy workers outlive it.

mod support;

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::setup;

#[test]
fn worker_entry() {
    support::worker::enter();
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// As by a freezer: all stand still for longer than the watchdog allows, and the manager is the first to go on.
#[test]
fn workers_that_were_frozen_with_the_manager_are_not_judged_by_it() {
    let options = "-n 2 --ack manual --watchdog 3s";
    let manager = setup("notify:READY=1 beat:100").options(options).start();
    manager.up();
    let workers = manager.pids("ready");
    let all = [workers.clone(), vec![manager.pid()]].concat();
    all.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    // The time itself is what is tested: late by so much that it is told.
    sleep(Duration::from_secs(6));
    send(manager.pid(), Signal::SIGCONT);
    manager.log.line("the manager did not run for ");
    assert_eq!(manager.pids("ready"), workers);
    workers.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    assert_eq!(manager.pids("ready"), workers);
    assert!(!manager.log.text().contains("no sign of life"), "{}", manager.log.text());
}

/// Only the manager stood still; a worker that becomes ready meanwhile, and a live check that was under way, are read.
#[test]
fn what_was_said_while_the_manager_stood_still_counts() {
    let options = "-n 2 --ack manual --ack-deadline 3s --live-check exec:true --live-interval 100ms --live-failures 1 \
                   --probe-timeout 1s";
    let setup = setup("gate:{dir}/gate notify:READY=1 beat:1000").options(options);
    let gate = setup.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let manager = setup.start();
    let workers = manager.pids("starting");
    assert_eq!(workers.len(), 2);
    send(manager.pid(), Signal::SIGSTOP);
    let open = std::fs::File::options().read(true).write(true).open(&gate).unwrap();
    sleep(Duration::from_secs(4));
    send(manager.pid(), Signal::SIGCONT);
    manager.up();
    assert_eq!(manager.pids("ready"), workers);
    drop(open);
}
