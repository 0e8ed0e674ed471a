//! The real binary under the name of socketmaster: its signals, and its users' way of replacing a program.

#[path = "../../examples/support/load.rs"]
#[allow(dead_code, reason = "the examples use all of it")]
mod load;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use self::load::{Load, Traffic};
use crate::support::process::{self, lives, wait_gone};
use crate::support::socketmaster::{Program, children, replace, send, serving, worker_lines};
use crate::support::{Manager, pass, write_program};
use nix::sys::signal::Signal;

#[test]
fn stop_signals_are_forwarded_each_time_and_end_it() {
    for (signal, name) in
        [(Signal::SIGTERM, "terminated"), (Signal::SIGINT, "interrupt"), (Signal::SIGQUIT, "quit")]
    {
        let program = Program::sh("ulimit -c 0; echo up; exec sleep 1000");
        let mut manager = program.start(&[]);
        manager.log.line("] up");
        manager.signal(signal);
        assert_eq!(manager.exit().code(), Some(0), "{signal}");
        assert!(manager.log.all().ends_with(&format!("signal: {name} <nil>")), "{signal}");
    }
    // One that wants to hear it three times; nobody is killed for taking its time.
    let program = Program::sh(
        "n=0; trap 'n=$((n+1)); echo heard $n; [ $n -lt 3 ] || exit 7' TERM; echo up; while :; do sleep 0.05; done",
    );
    let mut manager = program.start(&[]);
    manager.log.line("] up");
    for heard in 1..=3 {
        manager.signal(Signal::SIGTERM);
        manager.log.line(&format!("] heard {heard}"));
    }
    assert_eq!(manager.exit().code(), Some(0), "after a forwarded signal");
    assert!(manager.log.all().ends_with("exit status 7 <nil>"));
}

#[test]
fn signals_during_the_wait_for_a_new_one_are_not_lost() {
    let program = Program::sh("trap 'echo told; exit 0' TERM; echo up $$; while :; do sleep 0.05; done");
    let mut manager = program.start(&["-start", "600000"]);
    manager.log.line("] up ");
    let first = children(&manager)[0];
    manager.signal(Signal::SIGHUP);
    let second = loop {
        match children(&manager).last() {
            Some(&pid) if pid != first => break pid,
            _ => pass(Duration::from_millis(5)),
        }
    };
    manager.log.line(&format!("] up {second}"));
    assert!(lives(first), "it stays until the new one has had its time");
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
    for pid in [first, second] {
        assert!(manager.log.all().contains(&format!("[{pid}] told")));
    }
}

#[test]
fn usr2_does_not_end_it() {
    let mut manager = Program::sh("echo up; exec sleep 1000").start(&[]);
    manager.log.line("] up");
    let before = children(&manager);
    manager.signal(Signal::SIGUSR2);
    manager.signal(Signal::SIGHUP);
    assert_eq!(&children(&manager)[..1], &before[..]);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}

// pitfall 7
#[test]
fn usr1_replaces_the_manager_then_the_worker_and_loses_nothing() {
    let mut manager = Program::worker("stop-on:HUP serve").start(&["-start", "200"]);
    let (mut old, address) = serving(&manager);
    let load = Load::start(traffic(address)).unwrap();
    for _ in 0..3 {
        manager.signal(Signal::SIGUSR1);
        assert!(wait_gone(old), "the old one stays");
        let (new, same) = serving(&manager);
        assert!(new != old && same == address);
        old = new;
    }
    let report = load.stop();
    assert!(report.requests() > 100 && report.failed() == 0, "{report}");
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn usr1_executes_what_is_at_the_path_by_then_and_leaves_all_as_it_is_if_that_refuses() {
    let program = Program::worker("stop-on:HUP serve");
    let link = program.setup.path("remuda");
    symlink(crate::support::REMUDA, &link).unwrap();
    let app = program.path();
    let mut start = Command::new(&link);
    start.args(["socketmaster", "-command", &app, "-listen", "tcp://127.0.0.1:0", "-start", "50"]);
    let mut manager = program.start_as(start);
    let (old, address) = serving(&manager);

    // Another image, which leaves a trace when it is executed in the place of the manager.
    let trace = manager.path("trace");
    let lead_to = |name: &str, lines: &str| {
        let script = manager.path(name);
        write_program(&script, &format!("#!/bin/sh\n{lines}\nexec {} \"$@\"\n", crate::support::REMUDA));
        crate::support::replace_by_link(&link, &script);
    };
    lead_to("traced", &format!("[ \"$1\" = --can-resume ] || echo $$ >>{}", trace.display()));
    manager.signal(Signal::SIGUSR1);
    assert!(wait_gone(old), "the old one stays");
    let (new, same) = serving(&manager);
    assert!(new != old && same == address);
    assert_eq!(fs::read_to_string(&trace).unwrap(), format!("{}\n", manager.pid()));

    // One that cannot go on: neither is it executed, nor is the worker replaced.
    lead_to("refusing", "[ \"$1\" != --can-resume ] || { echo 'remuda: never heard of it' >&2; exit 4; }");
    manager.signal(Signal::SIGUSR1);
    manager.log.line("never heard of it");
    assert_eq!(serving(&manager), (new, address));
    // The one after it is by HUP.
    manager.signal(Signal::SIGHUP);
    assert!(wait_gone(new));
    let (last, _) = serving(&manager);
    manager.log.lines("starts", 3, |line| line.contains(" Starting "));
    assert!(last != new && manager.stop() == Some(0));
}

#[test]
fn half_a_line_outlives_the_manager_that_read_it() {
    let program = Program::sh("");
    let fifo = program.setup.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let app = program.setup.path("app");
    let lines =
        "trap '' HUP; echo up; printf 'one half, '; read line <FIFO; echo 'the other'; exec sleep 1000";
    program.replace(&lines.replace("FIFO", &fifo.display().to_string()));
    let mut manager = program.start(&["-start", "0"]);
    manager.log.line("] up");
    let first = children(&manager)[0];
    replace(&app, "echo second; exec sleep 1000");
    manager.signal(Signal::SIGUSR1);
    manager.log.line("] second");
    assert!(lives(first), "it does not mind HUP");
    fs::write(&fifo, "go\n").unwrap();
    manager.log.line(&format!("[{first}] one half, the other"));
    assert_eq!(manager.stop(), Some(0));
}

fn traffic(address: SocketAddr) -> Traffic {
    Traffic {
        connections: 4,
        pause: Duration::from_millis(1),
        limit: Duration::from_secs(10),
        ..Traffic::to(address)
    }
}

#[test]
fn the_line_of_its_readme_runs_as_it_stands() {
    if !crate::support::tool("unshare") {
        return;
    }
    // A network of its own, where the port is free.
    let flags = if nix::unistd::geteuid().is_root() { "-n" } else { "-rn" };
    if !Command::new("unshare").args([flags, "true"]).status().unwrap().success() {
        return crate::support::skip("no network namespace can be had");
    }
    let program = Program::worker("stop-on:HUP pause");
    let home = program.setup.path("");
    fs::create_dir_all(home.join("path/to/wrapper")).unwrap();
    fs::rename(home.join("app"), home.join("path/to/wrapper/script")).unwrap();
    symlink(crate::support::REMUDA, home.join("socketmaster")).unwrap();
    let mut command = Command::new("unshare");
    let line = "PATH=$PWD:$PATH; exec socketmaster -listen=tcp://:8080 -command=path/to/wrapper/script";
    command.args([flags, "sh", "-c", line]).current_dir(&home);
    let mut manager = program.start_as(command);
    manager.log.line("Listening on tcp://:8080");
    let only = |manager: &Manager, but: i32| {
        let deadline = Instant::now() + crate::support::LIMIT;
        loop {
            let workers = children(manager);
            if workers.len() == 1 && workers[0] != but {
                return workers[0];
            }
            assert!(Instant::now() < deadline, "{workers:?}");
            std::thread::yield_now();
        }
    };
    let first = only(&manager, 0);
    // 8080 in hexadecimal, any address, listening.
    let sockets = fs::read_to_string(format!("/proc/{first}/net/tcp6")).unwrap();
    assert!(
        sockets.contains("00000000000000000000000000000000:1F90 ") && sockets.contains(" 0A "),
        "{sockets}"
    );
    assert!(process::descriptors(first)[&3].starts_with("socket:"));
    // A new server, and then the end of the old one; the manager is the same process.
    manager.signal(Signal::SIGHUP);
    let second = only(&manager, first);
    assert!(wait_gone(first));
    assert!(process::lives(second));
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn hup_swaps_under_load_without_a_failed_request() {
    for flags in [&["-start", "200"][..], &["-start", "200", "-hup-signal=TERM"], &["-start", "0"]] {
        let word = if flags.len() == 3 { "serve" } else { "stop-on:HUP serve" };
        let mut manager = Program::worker(word).start(flags);
        let (mut old, address) = serving(&manager);
        let load = Load::start(traffic(address)).unwrap();
        for _ in 0..3 {
            manager.signal(Signal::SIGHUP);
            assert!(wait_gone(old), "the old one stays");
            let (new, _) = serving(&manager);
            assert_ne!(new, old);
            old = new;
        }
        let report = load.stop();
        assert!(report.requests() > 10 && report.failed() == 0, "{flags:?}: {report}");
        assert_eq!(manager.stop(), Some(0));
    }
}

#[test]
fn a_new_version_that_dies_at_once_leaves_the_old_one() {
    let program = Program::worker("stop-on:HUP serve");
    let (app, image) = (program.setup.path("app"), program.setup.path("program"));
    let mut manager = program.start(&["-start", "300"]);
    let (old, address) = serving(&manager);
    let load = Load::start(traffic(address)).unwrap();

    replace(&app, "echo cannot start; exit 3");
    manager.signal(Signal::SIGHUP);
    manager.log.line("Failed to kill old process, because there's no one left in the group");
    manager.log.line("] cannot start");
    manager.log.line("exit status 3 <nil>");
    // One that is not there at all.
    fs::remove_file(&app).unwrap();
    manager.signal(Signal::SIGHUP);
    manager.log.line("Could not start new process: ");
    assert_eq!(serving(&manager), (old, address));
    // And one that is as it should be.
    replace(&app, &worker_lines(&image, "stop-on:HUP serve"));
    manager.signal(Signal::SIGHUP);
    assert!(wait_gone(old));
    assert_ne!(serving(&manager).0, old);

    let report = load.stop();
    assert!(report.requests() > 100 && report.failed() == 0, "{report}");
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn it_ends_with_the_last_one_also_in_the_midst_of_a_swap() {
    let program = Program::sh("echo up; exec sleep 1000");
    let (app, fifo) = (program.setup.path("app"), program.setup.path("fifo"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let mut manager = program.start(&["-start", "600000"]);
    manager.log.line("] up");
    let old = children(&manager)[0];
    replace(&app, &format!("echo new; read line <{}; exit 3", fifo.display()));
    manager.signal(Signal::SIGHUP);
    manager.log.line("] new");
    send(old, Signal::SIGTERM);
    manager.log.line(&format!("{old} signal: terminated <nil>"));
    fs::write(&fifo, "go\n").unwrap();
    assert_eq!(manager.exit().code(), Some(1));
    assert_eq!(manager.log.all().matches(" Starting ").count(), 2, "nobody is started again");
}

#[test]
fn old_ones_that_take_their_time_do_not_hold_up_the_next_swap() {
    let program = Program::sh("trap 'echo asked' HUP; echo up; while :; do sleep 0.05; done");
    let mut manager = program.start(&["-start", "50"]);
    manager.log.lines("workers", 1, |line| line.ends_with("] up"));
    // Each swap is over when the one before has been asked to go, which is done once.
    for (count, asked) in [(2, 1), (3, 2)] {
        manager.signal(Signal::SIGHUP);
        manager.log.lines("workers", count, |line| line.ends_with("] up"));
        manager.log.lines("workers that were asked to go", asked, |line| line.ends_with("] asked"));
    }
    assert_eq!(children(&manager).len(), 3);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "all three have it");
}
