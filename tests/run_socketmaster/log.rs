//! The real binary under the name of socketmaster: its log, in which its workers' lines are.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::process::{Process, lives, wait_gone};
use crate::support::socketmaster::{Program, children, command, replace, run, send, sentences, spawn};
use crate::support::{pass, setup, syslog};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn every_line_of_a_worker_arrives() {
    for _ in 0..20 {
        let output = run(&["-command", "echo", "-listen", "tcp://127.0.0.1:0", "--", "hi"]);
        assert!(output.stderr.contains("] hi\n"), "{output:?}");
    }
    // 1 MiB of lines, on both descriptors, and the end of one without its end.
    let program = Program::sh(
        "i=0; line=$(printf %01000d 0); while [ $i -lt 1024 ]; do echo \"$i $line\"; i=$((i+1)); done; \
         echo to stderr >&2; printf 'no end'",
    );
    let output = run(&["-command", &program.path(), "-listen", "tcp://127.0.0.1:0"]);
    assert_eq!(output.code, Some(0));
    let lines = sentences(&output.stderr);
    let told: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix('[')?.split_once("] "))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(told.len(), 1026, "{:?}", lines.last());
    for (number, line) in told[..1024].iter().enumerate() {
        assert!(line.len() > 1000 && line.split(' ').next() == Some(number.to_string().as_str()), "{line}");
    }
    assert_eq!(told[1024..], ["to stderr", "no end"]);
    let last = lines.last().unwrap();
    assert!(last.ends_with("exit status 0 <nil>"), "the death is not told after what it said: {last}");
}

#[test]
fn lines_are_kept_for_a_reader_that_is_slow_and_signals_are_heard_meanwhile() {
    let program = Program::sh("trap 'echo bye; exit 0' TERM; i=0; while :; do echo $i; i=$((i+1)); done");
    let app = program.path();
    let mut process = spawn(&mut command(&["-command", &app, "-listen", "tcp://127.0.0.1:0"]));
    let mut stderr = process.child.stderr.take().unwrap();
    let manager = process.pid();
    // Nobody reads. When the worker has written so much, the manager has more than it keeps and takes nothing from it.
    let written = |pid: i32| {
        let told = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        told.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok()).unwrap()
    };
    let deadline = Instant::now() + crate::support::LIMIT;
    let worker = loop {
        let children = fs::read_to_string(format!("/proc/{manager}/task/{manager}/children")).unwrap();
        match children.trim().parse() {
            Ok(pid) if written(pid) > 60_000 => break pid,
            _ => assert!(Instant::now() < deadline, "the worker does not write"),
        }
        pass(Duration::from_millis(5));
    };
    assert!(lives(worker));
    send(manager, Signal::SIGTERM);
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(process.wait().code(), Some(0));
    let lines = sentences(&text);
    let told: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix('[')?.split_once("] "))
        .map(|(_, text)| text)
        .collect();
    let (last, numbers) = told.split_last().unwrap();
    assert_eq!(*last, "bye");
    assert!(numbers.len() > 1000);
    for (number, line) in numbers.iter().enumerate() {
        assert_eq!(*line, number.to_string());
    }
}

#[test]
fn what_a_grandchild_writes_after_its_parent_is_told_while_somebody_lives() {
    let program = Program::sh("");
    let fifo = program.setup.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    program.replace(&format!("(read line < {}; echo late) & echo up; exec sleep 1000", fifo.display()));
    let app = program.setup.path("app");
    let mut manager = program.start(&["-start", "50"]);
    manager.log.line("] up");
    let first = children(&manager)[0];
    replace(&app, "echo second; exec sleep 1000");
    manager.signal(Signal::SIGHUP);
    assert!(wait_gone(first));
    fs::write(&fifo, "go\n").unwrap();
    manager.log.line(&format!("[{first}] late"));
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn syslog_has_the_lines_as_they_were_recorded() {
    let setup = setup("pause");
    let path = setup.path("log");
    let keeper = UnixDatagram::bind(&path).unwrap();
    let flags = [
        "socketmaster",
        "-syslog",
        "-listen",
        "tcp://127.0.0.1:0",
        "-command",
        "/bin/sh",
        "--",
        "-c",
        "echo hi",
    ];
    let Some(output) = syslog::run(&path, &flags) else { return };
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let recorded = include_str!("../golden/socketmaster/syslog.txt");
    let told: Vec<String> = syslog::datagrams(&keeper).iter().map(|line| syslog::bare(line)).collect();
    assert_eq!(told, recorded.lines().map(syslog::bare).collect::<Vec<_>>());

    let flags = ["run", "--syslog", "--restart", "never"];
    let control = setup.path("c.sock");
    let flags = [&flags[..], &["--control", control.to_str().unwrap(), "--", "false"]].concat();
    let output = syslog::run(&path, &flags).unwrap();
    assert_eq!((output.code, output.stderr.as_str()), (Some(1), ""));
    let told: Vec<String> = syslog::datagrams(&keeper).iter().map(|line| syslog::bare(line)).collect();
    assert_eq!(told[0], "<30> remuda: started");
    assert!(
        told.iter().any(|line| line.starts_with("<28> remuda: false[0] pid PID gen 1: died: exit code 1")),
        "{told:?}"
    );
}

#[test]
fn a_log_that_is_full_or_absent_costs_no_worker() {
    let setup = setup("pause");
    let path = setup.path("log");
    let keeper = UnixDatagram::bind(&path).unwrap();
    let lines = "i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done";
    let flags =
        ["socketmaster", "-syslog", "-listen", "tcp://127.0.0.1:0", "-command", "/bin/sh", "--", "-c", lines];
    // Nobody reads it.
    let Some(output) = syslog::run(&path, &flags) else { return };
    assert_eq!(output.code, Some(0), "{output:?}");
    // The beginning and the end are three lines more. What was dropped is told where there is room for it.
    let (kept, told) = (syslog::datagrams(&keeper).len(), sentences(&output.stderr));
    assert_eq!(told.iter().map(|line| syslog::missing(line)).collect::<Vec<_>>(), [Some(5003 - kept)]);
    // Nobody is there.
    drop(keeper);
    let output = syslog::run(&path, &flags[..7]).unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    let told = sentences(&output.stderr);
    assert!(told[0].starts_with("cannot reach the system's log: ") && told.len() == 4, "{told:?}");
}

#[test]
fn lines_that_a_full_log_has_no_room_for_are_told_when_it_has_room_again() {
    let setup = setup("pause");
    let path = setup.path("log");
    let keeper = UnixDatagram::bind(&path).unwrap();
    if syslog::run(&path, &["--version"]).is_none() {
        return;
    }
    syslog::fill(&path);
    let flags =
        ["socketmaster", "-syslog", "-listen", "tcp://127.0.0.1:0", "-command", "/bin/sh", "--", "-c"];
    // What a worker writes to its standard output is a line of the log, so it says in another way that it has begun.
    let begun = setup.path("begun");
    nix::unistd::mkfifo(&begun, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("echo up >{}; exec sleep 1000", begun.display());
    let mut command = syslog::command(&path, &[&flags[..], &[&script]].concat());
    let mut manager = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    assert_eq!(fs::read_to_string(&begun).unwrap(), "up\n");
    // Two lines were dropped by now: `Listening` and `Starting`.
    let receive = || {
        let mut bytes = [0; 4096];
        keeper.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
        let count = keeper.recv(&mut bytes).expect("a line");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let told = loop {
        let line = receive();
        if line != "<30>filler" {
            break line;
        }
    };
    assert_eq!(syslog::bare(&told), "<4> socketmaster: 2 log lines could not be written");
    // Nobody has to do anything for it, and from here on all is as ever.
    kill(Pid::from_raw(manager.pid()), Signal::SIGTERM).unwrap();
    assert!(syslog::bare(&receive()).contains("signal: terminated"));
    assert!(manager.wait().success());
    let mut errors = String::new();
    manager.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}
