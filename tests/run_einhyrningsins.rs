//! The real binary in the manner of einhyrningsins: its flags, its signals, its messages, and what remuda does better.
//!
//! `tests/golden/einhyrningsins` holds exchanges recorded with einhyrningsins 0.2.0: all that a client sent on one
//! connection, and all that it got.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid};
use serde_json::json;
use support::process::{Output, descriptors, environment, lives, run, status_field, wait_gone};
use support::{LIMIT, Manager, REMUDA, Setup, http, replace_by_link, setup, syslog, worker, write_program};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

/// `remuda einhyrningsins OPTIONS -d SOCKET -- PROGRAM`, where the program does what `script` says.
fn command(setup: &Setup, script: &str, options: &str) -> Command {
    let mut command = Command::new(REMUDA);
    command.arg("einhyrningsins").args(options.split_whitespace()).arg("-d").arg(setup.path("c.sock"));
    command.arg("--").arg(setup.path("program"));
    command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
    command.env(worker::SCRIPT, script.replace("{dir}", &setup.path("").display().to_string()));
    command
}

fn start(script: &str, options: &str) -> Manager {
    let setup = setup("");
    let command = command(&setup, script, options);
    setup.start_as(command)
}

/// The same with a shell script for a program.
fn start_shell(text: &str, options: &str) -> Manager {
    let setup = setup("");
    replace_by_script(&setup.path("program"), &text.replace("{dir}", &setup.path("").display().to_string()));
    let command = command(&setup, "", options);
    setup.start_as(command)
}

fn replace_by_script(program: &Path, text: &str) {
    let script = program.with_extension("sh");
    write_program(&script, &format!("#!/bin/sh\n{text}\n"));
    replace_by_link(program, &script);
}

/// Says one thing to the manager and returns its answer.
fn say(manager: &Manager, command: &str, args: &[&str]) -> String {
    let mut talk = manager.connect();
    talk.send(&json!({"command": command, "args": args}));
    let answer = talk.receive().expect("an answer");
    answer.as_str().expect("a string").to_owned()
}

/// The lines of `status` about workers in this phase, by slot: pid and generation.
fn workers(manager: &Manager, phase: &str) -> Vec<(i32, u32)> {
    let status = say(manager, "status", &[]);
    let worker = |line: &str| {
        let rest = line.strip_prefix("worker ")?.split_once(": pid ")?.1;
        let (pid, rest) = rest.split_once(", generation ")?;
        let (generation, rest) = rest.split_once(", ")?;
        let fits = rest.starts_with(&format!("{phase} for "));
        fits.then(|| (pid.parse().unwrap(), generation.parse().unwrap()))
    };
    status.lines().filter_map(worker).collect()
}

fn pids(manager: &Manager, phase: &str) -> Vec<i32> {
    workers(manager, phase).into_iter().map(|(pid, _)| pid).collect()
}

/// The pid of the first worker, which may have been there for longer than its childhood on a busy machine.
fn first(manager: &Manager) -> i32 {
    [pids(manager, "starting"), pids(manager, "ready")].concat()[0]
}

fn address(manager: &Manager) -> SocketAddr {
    let status = say(manager, "status", &[]);
    let line = status.lines().find_map(|line| line.strip_prefix("socket ")).expect("a socket");
    line.parse().unwrap()
}

/// Waits until each of the first `count` slots has a ready worker of this generation.
fn ready(manager: &Manager, count: usize, generation: u32) {
    for slot in 0..count {
        let of_slot = |line: &str| {
            line.contains(&format!("[{slot}] pid "))
                && line.contains(&format!(" gen {generation}: "))
                && line.contains("ready after")
        };
        manager.log.lines(&format!("ready workers in slot {slot}"), 1, of_slot);
    }
}

fn ctl(manager: &Manager, words: &[&str]) -> Output {
    run(Command::new(REMUDA).arg("einhyrningsinsctl").arg("-d").arg(&manager.control).args(words))
}

fn stop(manager: &mut Manager) {
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
    assert!(!manager.control.exists());
}

/// A worker that says that it is up and stops when asked as einhyrningsins does.
const POLITE: &str = "stop-on:USR2 ack pause";

// ---- messages --------------------------------------------------------------------------------------------------------

#[test]
fn exchanges_are_those_that_were_recorded() {
    let mut manager = start(POLITE, "-m -n 2");
    ready(&manager, 2, 1);
    for name in [
        "empty",
        "bogus",
        "version",
        "ack",
        "signal-none",
        "signal-cont",
        "inc",
        "dec",
        "ehlo",
        "upgrade",
        "die",
    ] {
        let recorded = |end: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/einhyrningsins");
            fs::read(file.join(format!("{name}.{end}"))).unwrap()
        };
        let mut stream = UnixStream::connect(&manager.control).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&recorded("req")).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let mut expected = recorded("resp");
        if name == "ehlo" {
            assert_eq!(expected.pop(), Some(b'\r'), "the one byte that is not repeated");
        }
        assert_eq!(String::from_utf8_lossy(&answer), String::from_utf8_lossy(&expected), "{name}");
    }
    assert_eq!(manager.exit().code(), Some(0));
    assert!(!manager.control.exists());
}

#[test]
fn many_messages_in_one_piece_are_answered_in_their_order() {
    let manager = start(POLITE, "-m");
    ready(&manager, 1, 1);
    let mut talk = manager.connect();
    talk.send_bytes(
        b"{\"command\":\"inc\"}\n{\"command\":\"ehlo\"}\n\nnonsense\n{\"command\":\"status\"}\n{}\n",
    );
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(talk.receive().unwrap().as_str().unwrap().to_owned());
    }
    assert_eq!(answers[0], "Spawned! Went from 1 to 2");
    assert_eq!(answers[1], "Hi there!");
    assert_eq!(answers[2], "Expected valid JSON!");
    assert!(answers[3].contains(&format!("pid {}", manager.pid())), "{}", answers[3]);
    assert_eq!(answers[4], "Missing or unhandled 'command'");
}

#[test]
fn the_last_worker_that_is_taken_away_ends_the_manager() {
    let mut manager = start(POLITE, "-m");
    ready(&manager, 1, 1);
    assert_eq!(say(&manager, "dec", &[]), "Notified! Went from 1 to 0");
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn while_all_are_on_their_way_out_there_is_none_to_take_away() {
    let mut manager = start(POLITE, "-m");
    ready(&manager, 1, 1);
    let mut talk = manager.connect();
    // In one piece, so that the manager does not end between them.
    talk.send_bytes(b"{\"command\":\"die\"}\n{\"command\":\"dec\"}\n");
    assert_eq!(talk.receive().unwrap(), "Sent shutdown to all children!");
    assert_eq!(talk.receive().unwrap(), "No live workers to shutdown! :(");
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn none_to_begin_with_waits_for_more() {
    let mut manager = start(POLITE, "-m -n 0");
    assert_eq!(say(&manager, "dec", &[]), "Already at count=0, no-op");
    assert_eq!(say(&manager, "inc", &[]), "Spawned! Went from 0 to 1");
    ready(&manager, 1, 1);
    stop(&mut manager);
}

#[test]
fn an_ack_is_for_a_worker_that_lives() {
    let mut manager = start("stop-on:USR2 pause", "-m -r 5");
    let pid = pids(&manager, "starting")[0];
    let mut talk = manager.connect();
    // Whoever has pid 1 is told that all is well, and nobody is up for it.
    for (ack, answer) in [
        (json!(1), "Acknowledged!"),
        (json!(-5), "Missing or unhandled 'pid'"),
        (json!("x"), "Missing or unhandled 'pid'"),
        (json!(pid), "Acknowledged!"),
    ] {
        assert_eq!(pids(&manager, "starting"), [pid]);
        talk.send(&json!({"command": "worker:ack", "pid": ack}));
        assert_eq!(talk.receive().unwrap(), answer);
    }
    ready(&manager, 1, 1);
    assert_eq!(pids(&manager, "ready"), [pid]);
    stop(&mut manager);
}

// ---- flags -----------------------------------------------------------------------------------------------------------

#[test]
fn a_worker_finds_its_sockets_its_manager_and_a_clean_slate() {
    let setup = setup("");
    let mut command = command(&setup, POLITE, "-m -b 127.0.0.1:0 -b 127.0.0.1:0,n,r --drop-env-var SECRET");
    command.env("SECRET", "x").env("OPEN", "y").env("LISTEN_FDS", "7").env("EINHORN_FD_9", "9");
    let mut manager = setup.start_as(command);
    ready(&manager, 1, 1);
    let pid = pids(&manager, "ready")[0];
    let variables = environment(pid);
    let get = |name: &str| variables.get(name).map(String::as_str);
    assert_eq!(
        (get("EINHORN_FD_COUNT"), get("EINHORN_FD_0"), get("EINHORN_FD_1")),
        (Some("2"), Some("3"), Some("4"))
    );
    assert_eq!(get("EINHORN_MASTER_PID"), Some(manager.pid().to_string().as_str()));
    assert_eq!(get("EINHORN_SOCK_PATH"), manager.control.to_str());
    assert_eq!((get("LISTEN_FDS"), get("EINHORN_FD_9")), (Some("2"), None));
    assert_eq!((get("SECRET"), get("OPEN")), (None, Some("y")));
    let nonblocking = |descriptor: i32| {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
        u32::from_str_radix(&flags, 8).unwrap() & libc::O_NONBLOCK.cast_unsigned() != 0
    };
    // The worker of this test touches no socket, so that these are the flags it was given.
    assert_eq!((nonblocking(3), nonblocking(4)), (false, true));
    // The C library blocks signals for a moment where it starts a thread: what counts is that none stays blocked.
    let begin = Instant::now();
    while status_field(pid, "SigBlk") != "0000000000000000" {
        assert!(begin.elapsed() < LIMIT, "signals stay blocked");
        std::thread::yield_now();
    }
    let group = |pid: i32| getpgid(Some(Pid::from_raw(pid))).unwrap();
    assert_eq!(group(pid), group(manager.pid()));
    assert_eq!(descriptors(pid)[&0], descriptors(manager.pid())[&0]);
    stop(&mut manager);
}

#[test]
fn a_name_is_bound_at_the_address_of_the_family_that_is_wanted() {
    let mut manager = start(POLITE, "-m -4 -b localhost:0");
    assert!(address(&manager).is_ipv4());
    ready(&manager, 1, 1);
    stop(&mut manager);
    let setup = setup("");
    let output = run(&mut command(&setup, POLITE, "-6 -b 127.0.0.1:0"));
    assert_eq!(output.code, Some(255), "{output:?}");
    assert!(output.stdout.starts_with("--bind: ") && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn with_ipv6_only_addresses_of_that_family_are_bound() {
    if TcpListener::bind("[::1]:0").is_err() {
        return support::skip("there is no IPv6");
    }
    for bind in ["[::1]:0", "[::]:0"] {
        let mut manager = start(POLITE, &format!("-m -6 -b {bind}"));
        ready(&manager, 1, 1);
        let bound = address(&manager);
        assert!(bound.is_ipv6());
        // The backlog takes it: these workers look at no socket.
        TcpStream::connect((Ipv6Addr::LOCALHOST, bound.port())).unwrap();
        stop(&mut manager);
    }
}

#[test]
fn verbose_tells_each_step() {
    let mut manager = start(POLITE, "-m -v");
    manager.log.line("remuda: debug: ");
    ready(&manager, 1, 1);
    stop(&mut manager);
}

#[test]
fn the_log_goes_to_syslog_if_asked_for() {
    let setup = setup("");
    let path = setup.path("log");
    let keeper = UnixDatagram::bind(&path).unwrap();
    let socket = setup.path("e.sock");
    let words = ["einhyrningsins", "--syslog", "-d", socket.to_str().unwrap(), "--", "false"];
    let Some(output) = syslog::run(&path, &words) else { return };
    assert_eq!(output.stderr, "", "{output:?}");
    let told: Vec<String> = syslog::datagrams(&keeper).iter().map(|line| syslog::bare(line)).collect();
    assert!(
        told.iter().any(|line| line.starts_with("<28> einhyrningsins: false[0] pid PID gen 1: died: ")),
        "{told:?}"
    );
    // Without anybody there it goes on, and says so once.
    drop(keeper);
    let output = syslog::run(&path, &words).unwrap();
    assert!(output.stderr.contains("cannot reach the system's log: "), "{output:?}");
    assert!(output.stderr.contains("died: exit code 1"), "{output:?}");
}

#[test]
fn without_manual_acks_a_worker_is_up_after_three_seconds() {
    let mut manager = start("stop-on:USR2 pause", "");
    ready(&manager, 1, 1);
    assert!(manager.log.line("ready after").contains("ready after 3"), "{}", manager.log.text());
    stop(&mut manager);
}

#[test]
fn a_line_that_cannot_be_understood_is_told_on_standard_output() {
    for (words, first) in [
        (&["-Z"][..], "Unrecognized option: 'Z'"),
        (&["-n"], "Argument to option 'n' missing"),
        (&["-n", "many", "true"], "--number: 'many' is not a whole number from 0 to 10000"),
        (&["-4", "-6", "true"], "Can't be both IPv4-only and IPv6-only"),
        (&[], "Missing program to run (try --help)"),
        (
            &["-b", "127.0.0.1:0,q", "true"],
            "Unknown socket arg 'q', I only know about 'n' and 'r'. Try --help",
        ),
    ] {
        let output = run(Command::new(REMUDA).arg("einhyrningsins").args(words));
        assert_eq!((output.code, output.stdout.lines().next()), (Some(255), Some(first)), "{output:?}");
        assert_eq!(output.stderr, "");
    }
    let output = run(Command::new(REMUDA).args(["einhyrningsins", "--help"]));
    assert!(output.code == Some(0) && output.stdout.contains("usage:"), "{output:?}");
}

#[test]
fn the_programs_are_known_by_their_own_names() {
    let setup = setup("");
    for name in ["einhyrningsins", "einhyrningsinsctl"] {
        let link = setup.path(name);
        symlink(REMUDA, &link).unwrap();
        let output = run(Command::new(&link).arg("--version"));
        assert_eq!((output.code, output.stdout), (Some(0), format!("{name} 0.2.0\n")));
    }
}

#[test]
fn a_program_that_is_not_there_is_an_error_before_anything_is_started() {
    let setup = setup("");
    fs::remove_file(setup.path("program")).unwrap();
    let output = run(&mut command(&setup, "", ""));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("no such file or directory"), "{output:?}");
    assert!(!setup.path("c.sock").exists());
}

// ---- the control socket ----------------------------------------------------------------------------------------------

#[test]
fn a_socket_on_which_somebody_listens_is_left_alone_and_its_owner_named() {
    let setup = setup("");
    let path = setup.path("c.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let output = run(&mut command(&setup, POLITE, "-m"));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&format!("pid {}", std::process::id())), "{output:?}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    drop(listener);
    // Now nobody does, and it is replaced without asking.
    let command = command(&setup, POLITE, "-m");
    let mut manager = setup.start_as(command);
    ready(&manager, 1, 1);
    let second =
        run(Command::new(REMUDA).arg("einhyrningsins").arg("-d").arg(&manager.control).args(["--", "true"]));
    assert_eq!(second.code, Some(1), "{second:?}");
    let owner = format!("already running at {} (pid {})", manager.control.display(), manager.pid());
    assert!(second.stderr.contains(&owner), "{second:?}");
    assert_eq!(say(&manager, "ehlo", &[]), "Hi there!");
    stop(&mut manager);
}

// ---- einhyrningsinsctl -----------------------------------------------------------------------------------------------

#[test]
fn the_ancestors_own_run_through_its_commands() {
    let mut manager = start(POLITE, "-m");
    ready(&manager, 1, 1);
    for (command, answer) in [
        ("inc", "Spawned! Went from 1 to 2\n"),
        ("upgrade", "Upgrading all children!\n"),
        ("dec", "Notified! Went from 2 to 1\n"),
        ("signal SIGCONT", "Signalled all children!\n"),
        ("signal nonsense", "Missing or unhandled 'signal'\n"),
        ("version", "einhyrningsinsctl 0.2.0\n"),
        ("nonsense", "Missing or unhandled 'command'\n"),
    ] {
        let output = ctl(&manager, &["-e", command]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), answer), "{command}");
    }
    let status = ctl(&manager, &["--execute=status"]);
    assert!(status.stdout.contains("generation 2") && status.stdout.contains("worker 0: pid "), "{status:?}");
    let help = ctl(&manager, &["-e", "help"]);
    for word in ["inc", "dec", "upgrade", "die", "signal SIG", "status", "help", "version"] {
        assert!(help.stdout.contains(&format!("\n    {word} ")), "{help:?}");
    }
    assert_eq!(ctl(&manager, &["-e", "die"]).stdout, "Sent shutdown to all children!\n");
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn the_shell_reads_commands_to_the_end_of_its_input() {
    let mut manager = start(POLITE, "-m");
    ready(&manager, 1, 1);
    let mut shell = Command::new(REMUDA)
        .args(["einhyrningsinsctl", "-d"])
        .arg(&manager.control)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(b"nonsense\n\n  signal   CONT \nversion").unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Missing or unhandled 'command'\nSignalled all children!\neinhyrningsinsctl 0.2.0\n"
    );
    stop(&mut manager);
}

#[test]
fn without_a_manager_the_client_says_where_it_looked() {
    let setup = setup("");
    let path = setup.path("none");
    let output =
        run(Command::new(REMUDA).arg("einhyrningsinsctl").arg("-d").arg(&path).args(["-e", "status"]));
    assert_eq!(output.code, Some(255));
    assert_eq!(
        output.stdout,
        format!(
            "Couldn't find control socket ({path:?})\n\
             Is the master process running? Do you need to tell me the correct socket path?\n"
        )
    );
    // Somebody else's socket: whoever hangs up has not answered.
    let listener = UnixListener::bind(&path).unwrap();
    let closer = std::thread::spawn(move || drop(listener.accept()));
    let output =
        run(Command::new(REMUDA).arg("einhyrningsinsctl").arg("-d").arg(&path).args(["-e", "status"]));
    closer.join().unwrap();
    assert_eq!(output.code, Some(255), "{output:?}");
    assert!(output.stderr.starts_with("einhyrningsinsctl: "), "{output:?}");
    for words in [&["-Z"][..], &["-e"], &["status"]] {
        let output = run(Command::new(REMUDA).arg("einhyrningsinsctl").args(words));
        assert_eq!(output.code, Some(255), "{output:?}");
        assert!(output.stdout.contains("usage:"), "{output:?}");
    }
}

// ---- signals ---------------------------------------------------------------------------------------------------------

/// Tells each signal it gets on standard error, where the manager's log is; ends by those in `ends_by`.
fn diary(ends_by: &str) -> String {
    let trap = |signal: &&str| {
        let end = if ends_by.split(' ').any(|end| end == *signal) { "; exit 0" } else { "" };
        format!("trap 'echo diary {signal} >&2{end}' {signal}\n")
    };
    let traps: String = ["USR1", "USR2", "TERM", "TTIN", "TTOU", "CONT"].iter().map(trap).collect();
    format!("{traps}echo diary up >&2\nwhile :; do sleep 0.1; done")
}

/// Waits for the n-th entry of the diaries, counted from 1.
fn entry(manager: &Manager, number: usize) -> String {
    let entries = manager.log.lines("entries", number, |line| line.starts_with("diary "));
    entries[number - 1]["diary ".len()..].to_owned()
}

#[test]
fn signals_that_end_the_manager_are_passed_on_in_its_manner() {
    for (signal, sent) in [
        (Signal::SIGINT, "USR2"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGQUIT, "TERM"),
    ] {
        let mut manager = start_shell(&diary("USR2 TERM"), "-n 1");
        assert_eq!(entry(&manager, 1), "up");
        let pid = first(&manager);
        manager.signal(signal);
        assert_eq!(manager.exit().code(), Some(0), "{signal}");
        assert!(!lives(pid), "it has waited for the worker");
        assert_eq!(entry(&manager, 2), sent, "{signal}");
        assert!(!manager.control.exists());
    }
}

#[test]
fn signals_for_the_workers_are_relayed() {
    let mut manager = start_shell(&diary("TERM"), "");
    assert_eq!(entry(&manager, 1), "up");
    let signals = [Signal::SIGUSR1, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCONT];
    for (number, signal) in signals.into_iter().enumerate() {
        manager.signal(signal);
        assert_eq!(format!("SIG{}", entry(&manager, number + 2)), signal.as_str());
    }
    assert_eq!(say(&manager, "signal", &["sigusr1"]), "Missing or unhandled 'signal'");
    assert_eq!(say(&manager, "signal", &["usr1"]), "Signalled all children!");
    assert_eq!(entry(&manager, 6), "USR1");
    stop(&mut manager);
}

#[test]
fn a_stubborn_worker_is_pressed_step_by_step() {
    let mut manager = start_shell(&diary(""), "");
    assert_eq!(entry(&manager, 1), "up");
    let pid = first(&manager);
    let begin = Instant::now();
    assert_eq!(say(&manager, "die", &[]), "Sent shutdown to all children!");
    assert_eq!(entry(&manager, 2), "USR2");
    assert_eq!(entry(&manager, 3), "TERM");
    assert!(begin.elapsed() >= Duration::from_millis(2900) && lives(pid));
    assert_eq!(manager.exit().code(), Some(0));
    assert!(begin.elapsed() >= Duration::from_millis(5900) && !lives(pid));
    assert!(begin.elapsed() < Duration::from_secs(20));
}

// ---- workers that fail -----------------------------------------------------------------------------------------------

#[test]
fn a_worker_that_dies_in_its_childhood_is_tried_as_often_as_was_said() {
    for (options, attempts) in [("", 1), ("-r 3", 3)] {
        let mut manager = start("note:{dir}/tries exit:7", options);
        assert_eq!(manager.exit().code(), Some(0), "{options}");
        assert_eq!(worker::noted(&manager.path("tries")).len(), attempts, "{options}");
    }
}

#[test]
fn a_worker_that_does_not_ack_in_three_seconds_is_sent_term() {
    let mut manager = start_shell(&diary("TERM"), "-m -r 2");
    assert_eq!(manager.exit().code(), Some(0));
    assert_eq!([1, 2, 3, 4].map(|number| entry(&manager, number)), ["up", "TERM", "up", "TERM"]);
}

#[test]
fn a_worker_that_was_up_is_replaced_at_once_whatever_killed_it() {
    let mut manager = start(POLITE, "-m -n 2");
    ready(&manager, 2, 1);
    let before = pids(&manager, "ready");
    assert_eq!(say(&manager, "signal", &["KILL"]), "Signalled all children!");
    for pid in &before {
        assert!(wait_gone(*pid));
        manager.log.line(&format!("pid {pid} gen 1: died"));
    }
    manager.log.lines("ready workers", 4, |line| line.contains(": ready after"));
    assert!(pids(&manager, "ready").iter().all(|pid| !before.contains(pid)));
    stop(&mut manager);
}

// ---- upgrades --------------------------------------------------------------------------------------------------------

#[test]
fn without_manual_acks_old_workers_go_when_their_successors_have_lived_three_seconds() {
    let mut manager = start("stop-on:USR2 serve", "-n 2 -b 127.0.0.1:0");
    ready(&manager, 2, 1);
    let old = pids(&manager, "ready");
    let traffic = Traffic {
        connections: 4,
        pause: Duration::from_millis(1),
        limit: Duration::from_secs(10),
        ..Traffic::to(address(&manager))
    };
    let load = Load::start(traffic).unwrap();
    manager.signal(Signal::SIGHUP);
    ready(&manager, 2, 2);
    manager.log.line("all workers are of generation 2");
    for pid in &old {
        assert!(wait_gone(*pid));
    }
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    let new = workers(&manager, "ready");
    assert!(new.len() == 2 && new.iter().all(|&(pid, generation)| generation == 2 && !old.contains(&pid)));
    // Each of them had its time, and not one of the old ones was asked to go before a new one was up.
    let told = manager.log.text();
    let up: Vec<&str> = told.lines().filter(|line| line.contains("gen 2: ready after")).collect();
    assert!(up.len() == 2 && up.iter().all(|line| line.contains("ready after 3")), "{told}");
    let first = |part: &str| told.lines().position(|line| line.contains(part));
    let asked = first("gen 1: stopping").expect("a line about it");
    assert!(first("gen 2: ready after").is_some_and(|up| up < asked), "{told}");
    stop(&mut manager);
}

#[test]
fn upgrades_under_load_lose_no_request_also_if_the_new_version_dies() {
    let mut manager = start("stop-on:USR2 ack serve", "-m -n 3 -b 127.0.0.1:0");
    ready(&manager, 3, 1);
    let traffic = Traffic {
        connections: 4,
        pause: Duration::from_millis(1),
        limit: Duration::from_secs(10),
        ..Traffic::to(address(&manager))
    };
    let load = Load::start(traffic.clone()).unwrap();
    let ask = || {
        for _ in 0..20 {
            http::get(traffic.address, "/").unwrap();
        }
    };
    for generation in 2..=9 {
        // By the signal, or by the message.
        if generation % 2 == 0 {
            manager.signal(Signal::SIGHUP);
        } else {
            assert_eq!(say(&manager, "upgrade", &[]), "Upgrading all children!");
        }
        ask();
        manager.log.line(&format!("all workers are of generation {generation}"));
        ask();
    }
    let before = workers(&manager, "ready");
    assert!(before.len() == 3 && before.iter().all(|&(_, generation)| generation == 9), "{before:?}");
    // A version that dies at once leaves those that work.
    replace_by_script(&manager.path("program"), "exit 1");
    assert_eq!(say(&manager, "upgrade", &[]), "Upgrading all children!");
    ask();
    manager.log.line("upgrade to generation 10 failed");
    assert_eq!(workers(&manager, "ready"), before);
    // And one that is not there at all.
    fs::remove_file(manager.path("program")).unwrap();
    assert_eq!(say(&manager, "upgrade", &[]), "Upgrading all children!");
    manager.log.line("no such file or directory");
    ask();
    assert_eq!(workers(&manager, "ready"), before);
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    stop(&mut manager);
    assert!(!before.into_iter().any(|(pid, _)| lives(pid)));
}
