//! The real binary in the manner of start_server: what its programs are told, its signals, its files, and the two commands
//! that ask a running one.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::process::{Output, environment, lives, run, wait_gone};
use support::{LIMIT, Manager, REMUDA, Setup, pass, replace_by_link, setup, worker, write_program};

#[test]
fn worker_entry() {
    worker::enter();
}

/// `remuda start_server OPTIONS --pid-file PID --status-file STATUS -- PROGRAM`, where the program does what `script` says.
fn start(script: &str, options: &[&str]) -> Manager {
    let setup = setup("");
    let command = asking(&setup.path(""), options);
    start_as(setup, command, script)
}

/// The same by a command that lacks the program alone.
fn start_as(setup: Setup, mut command: Command, script: &str) -> Manager {
    command.arg("--").arg(setup.path("program"));
    command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
    command.env(worker::SCRIPT, script);
    launch(setup, command)
}

fn launch(setup: Setup, mut command: Command) -> Manager {
    command.current_dir(setup.path(""));
    setup.launch(command)
}

fn asking(directory: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(REMUDA);
    command.arg("start_server").args(options).current_dir(directory);
    command.args(["--pid-file", "pid", "--status-file", "status"]);
    command
}

fn ask(manager: &Manager, option: &str) -> Output {
    run(&mut asking(&manager.path(""), &[option]))
}

/// Waits until the status file tells of these generations and no others; returns their pids.
fn generations(manager: &Manager, wanted: &[u32]) -> Vec<i32> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = fs::read_to_string(manager.path("status")).unwrap_or_default();
        let lines = text.lines().map(|line| line.split_once(':').expect("GENERATION:PID"));
        let (generations, pids): (Vec<u32>, Vec<i32>) = lines
            .map(|(generation, pid)| (generation.parse::<u32>().unwrap(), pid.parse::<i32>().unwrap()))
            .unzip();
        if generations == wanted {
            return pids;
        }
        assert!(Instant::now() < deadline, "the status file holds {text:?}\n{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
}

/// Waits until so many workers have come to `note:noted`: they are up when their program runs, and ignore no signal yet.
fn noted(manager: &Manager, count: usize) {
    let deadline = Instant::now() + LIMIT;
    while fs::read_to_string(manager.path("noted")).unwrap_or_default().lines().count() < count {
        assert!(Instant::now() < deadline, "{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
}

#[test]
fn a_program_finds_its_sockets_and_is_replaced_and_stopped_by_command() {
    let mut manager = start("serve", &["--path", "a.sock", "--port", "127.0.0.1:0", "--interval", "0"]);
    let [first] = generations(&manager, &[1])[..] else { panic!("one worker") };
    let told = environment(first);
    let (port, path) = told["SERVER_STARTER_PORT"].split_once(';').expect("two sockets");
    assert!(port.starts_with("127.0.0.1:") && port.ends_with("=3"), "{port}");
    assert_eq!(path, format!("{}=4", manager.path("a.sock").display()));
    assert_eq!(told["SERVER_STARTER_GENERATION"], "1");
    assert!(!told.contains_key("LISTEN_FDS") && !told.contains_key("EINHORN_FD_COUNT"), "{told:?}");
    assert_eq!(fs::metadata(manager.path("a.sock")).unwrap().permissions().mode() & 0o777, 0o777);

    let restarted = ask(&manager, "--restart");
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let [second] = generations(&manager, &[2])[..] else { panic!("one worker") };
    assert!(wait_gone(first));
    assert_eq!(environment(second)["SERVER_STARTER_GENERATION"], "2");

    let stopped = ask(&manager, "--stop");
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(!lives(second));
    assert_eq!(manager.exit().code(), Some(0));
    for name in ["pid", "status", "a.sock"] {
        assert!(!manager.path(name).exists(), "{name}");
    }
    // There is nobody to ask any more.
    for option in ["--restart", "--stop"] {
        let refused = ask(&manager, option);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("pid file pid: it does not exist"), "{refused:?}");
    }
}

#[test]
fn a_hangup_replaces_the_worker_also_under_nohup() {
    let setup = setup("");
    let mut command = Command::new("nohup");
    command.arg(REMUDA).args(asking(&setup.path(""), &["--interval", "0"]).get_args());
    let mut manager = start_as(setup, command, "serve");
    generations(&manager, &[1]);
    let restarted = ask(&manager, "--restart");
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    generations(&manager, &[2]);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn an_old_worker_has_all_the_time_it_wants_and_is_in_the_status_file() {
    let mut manager = start("ignore:USR1 note:noted pause", &["--interval", "0", "--signal-on-hup", "USR1"]);
    generations(&manager, &[1]);
    noted(&manager, 1);
    manager.signal(Signal::SIGHUP);
    generations(&manager, &[1, 2]);
    noted(&manager, 2);
    manager.log.line("stopping with signal USR1: replaced");
    manager.signal(Signal::SIGHUP);
    generations(&manager, &[1, 2, 3]);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
}

#[test]
fn the_end_has_a_signal_of_its_own() {
    for (signal, expected) in [(Signal::SIGTERM, "USR2"), (Signal::SIGINT, "TERM")] {
        let mut manager = start("stop-on:USR2 pause", &["--interval", "0", "--signal-on-term", "usr2"]);
        generations(&manager, &[1]);
        manager.signal(signal);
        assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
        manager.log.line(&format!("stopping with signal {expected}"));
    }
}

#[test]
fn a_new_version_is_tried_until_it_comes_up_and_the_old_one_serves_as_long() {
    let setup = setup("");
    let program = setup.path("app");
    let version = |name: &str, text: &str| {
        let script = setup.path(name);
        write_program(&script, &format!("#!/bin/sh\n{text}\n"));
        replace_by_link(&program, &script);
    };
    version("good", "exec sleep 1000");
    let mut command = asking(&setup.path(""), &[]);
    command.arg("--").arg(&program);
    let directory = setup.path("");
    let mut manager = launch(setup, command);
    let [first] = generations(&manager, &[1])[..] else { panic!("one worker") };
    let bad = directory.join("bad");
    write_program(&bad, "#!/bin/sh\ntest -e fixed || exit 3\nexec sleep 1000\n");
    replace_by_link(&program, &bad);
    let restarting = support::process::begin(&mut asking(&directory, &["--restart"]));
    manager.log.lines("failed attempts", 2, |line| line.contains("gen 2: died: exit code 3"));
    assert_eq!(generations(&manager, &[1]), [first]);
    fs::write(directory.join("fixed"), "").unwrap();
    let restarted = restarting.output();
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    generations(&manager, &[2]);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
}

#[test]
fn a_worker_that_dies_is_started_again() {
    let mut manager = start("pause", &["--interval", "0"]);
    let [first] = generations(&manager, &[1])[..] else { panic!("one worker") };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), Signal::SIGKILL).unwrap();
    assert!(wait_gone(first));
    let deadline = Instant::now() + LIMIT;
    while generations(&manager, &[1]) == [first] {
        assert!(Instant::now() < deadline, "{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
}
