//! The real binary: a worker hands over to a process that it has started, by MAINPID=, and that one is the worker from then
//! on.

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::events::Events;
use support::process::{lives, status_field, wait_gone};
use support::{LIMIT, Manager, Setup, http, pid_of, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// A worker that serves at descriptor 3, if there is a socket, and does what signals tell it:
/// HUP: starts its successor, and says so. With `at-once` it ends then, with `when-asked` the successor asks it to.
/// USR1: a child of its own says so.  USR2: says what stands in the file `say`.  TERM: notes that, and ends; with
/// `at-the-end` it starts a successor first, if it is none itself.
const PROGRAM: &str = r#"
import os, select, signal, socket, sys
directory, modes = sys.argv[1], sys.argv[2:]
is_heir = "HEIR" in os.environ
def say(text):
    name = os.environ["NOTIFY_SOCKET"]
    name = "\0" + name[1:] if name[0] == "@" else name
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), name)
def note(text):
    with open(directory + "/noted", "a") as file:
        file.write("%s %d\n" % (text, os.getpid()))
def hand_over():
    wait, ready = os.pipe()
    # What it is sent before it listens waits until it does.
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    pid = os.fork()
    if pid == 0:
        if "session" in modes:
            os.setsid()
        if "other-user" in modes:
            os.setuid(65534)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
            os.write(ready, b"x")
            signal.pause()
        os.environ["HEIR"] = "1"
        os.execv(sys.executable, [sys.executable] + sys.argv)
    if "other-user" in modes:
        os.read(wait, 1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    say("MAINPID=%d" % pid)
heard = []
read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)
names = ["HUP", "USR1", "USR2", "TERM", "QUIT"]
numbers = [getattr(signal, "SIG" + name) for name in names]
for name, number in zip(names, numbers):
    signal.signal(number, lambda number, frame, name=name: heard.append(name))
signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
listeners = []
if os.environ.get("LISTEN_FDS"):
    listeners = [socket.socket(fileno=3)]
    listeners[0].setblocking(False)
    os.set_inheritable(3, True)
say("READY=1\nSTATUS=" + ("heir" if is_heir else "first"))
note("heir" if is_heir else "first")
if is_heir and "when-asked" in modes:
    os.kill(os.getppid(), signal.SIGQUIT)
while True:
    while heard:
        name = heard.pop(0)
        if name == "HUP":
            hand_over()
            if "at-once" in modes:
                os._exit(0)
        elif name == "USR1":
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                say("MAINPID=%d" % os.getpid())
                signal.pause()
        elif name == "USR2":
            say(open(directory + "/say").read())
        elif name == "TERM":
            note("TERM")
            if "at-the-end" in modes and not is_heir:
                hand_over()
            os._exit(0)
        elif name == "QUIT":
            note("QUIT")
            os._exit(0)
    if listeners and listeners[0] in select.select(listeners + [read], [], [], 0.1)[0]:
        try:
            connection, _ = listeners[0].accept()
        except BlockingIOError:
            continue
        connection.setblocking(True)
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += connection.recv(4096)
        body = "%d 1" % os.getpid()
        connection.sendall(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)).encode())
        connection.close()
    elif not listeners:
        select.select([read], [], [], 0.1)
"#;

/// A manager of one such worker, unless there is no Python.
fn python(modes: &str, options: &str) -> Option<Manager> {
    support::tool("python3").then(|| begin(setup(""), modes, options))
}

fn begin(setup: Setup, modes: &str, options: &str) -> Manager {
    let program = setup.path("worker.py");
    std::fs::write(&program, PROGRAM).unwrap();
    let directory = setup.path("").display().to_string();
    let words = ["python3", program.to_str().unwrap(), &directory];
    let words: Vec<&str> = words.into_iter().chain(modes.split_whitespace()).collect();
    let manager = setup.options("--ack manual --stop-timeout 1h").options(options).program(&words).start();
    manager.up();
    manager
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn worker_of(manager: &Manager) -> i32 {
    pid_of(&manager.workers()[0])
}

/// Has the worker hand over, and returns who it was and who it is.
fn hand_over(manager: &Manager, events: &mut Events) -> (i32, i32) {
    let before = worker_of(manager);
    send(before, Signal::SIGHUP);
    let told = events.until("handed-over");
    let heir = pid_of(&told);
    assert_eq!(told["from"], before);
    assert_eq!(worker_of(manager), heir);
    noted(manager, "heir", heir);
    (before, heir)
}

/// Waits for what workers have noted.
fn noted(manager: &Manager, what: &str, pid: i32) {
    let line = format!("{what} {pid}");
    let noted = || std::fs::read_to_string(manager.path("noted")).unwrap_or_default();
    until(&line, || noted().lines().any(|other| other == line));
}

/// Waits for what nobody tells of.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}

/// Nothing was taken for a death, and nobody was killed.
fn in_peace(mut events: Events) {
    events.rest();
    for name in ["died", "killing", "back-off"] {
        assert!(events.seen(name).is_empty(), "{}", events.story());
    }
}

#[test]
fn the_successor_is_the_worker() {
    let Some(mut manager) = python("at-once", "") else { return };
    let mut events = manager.events();
    let (before, heir) = hand_over(&manager, &mut events);
    assert!(wait_gone(before));
    manager.log.line(&format!("pid {before}, which had handed over to pid {heir}, ended: exit code 0"));
    let worker = manager.workers()[0].clone();
    assert_eq!((pid_of(&worker), &worker["phase"]), (heir, &"ready".into()));
    assert!(worker.get("main_pid").is_none());
    // What it says is the worker's word, by either way.
    until("its status", || manager.workers()[0]["status"] == "heir");
    assert_eq!(manager.ask(&serde_json::json!({"command": "worker:ack", "pid": heir}))["ok"], true);
    // It hands over in its turn.
    let (_, second) = hand_over(&manager, &mut events);
    assert_eq!(manager.stop(), Some(0));
    noted(&manager, "TERM", second);
    in_peace(events);
}

#[test]
fn the_death_of_the_successor_is_that_of_the_worker() {
    let Some(manager) = python("at-once", "--backoff 10ms") else { return };
    let mut events = manager.events();
    let (before, heir) = hand_over(&manager, &mut events);
    assert!(wait_gone(before));
    send(heir, Signal::SIGSEGV);
    let died = events.until("died");
    assert_eq!((pid_of(&died), &died["exit"]), (heir, &serde_json::json!({"signal": "SEGV"})));
    assert_ne!(pid_of(&events.until("ready")), heir);
}

#[test]
fn a_worker_that_hands_over_and_ends_before_it_is_heard_has_not_died() {
    for modes in ["at-once", "at-once session"] {
        let Some(mut manager) = python(modes, "") else { return };
        let mut events = manager.events();
        let before = worker_of(&manager);
        manager.signal(Signal::SIGSTOP);
        send(before, Signal::SIGHUP);
        until("it has ended", || status_field(before, "State").starts_with('Z'));
        manager.signal(Signal::SIGCONT);
        let heir = pid_of(&events.until("handed-over"));
        noted(&manager, "heir", heir);
        assert_eq!(worker_of(&manager), heir, "{modes}");
        assert_eq!(manager.stop(), Some(0), "{modes}");
        noted(&manager, "TERM", heir);
        in_peace(events);
    }
}

#[test]
fn while_both_live_the_successor_is_asked_to_go_and_the_other_one_after_it() {
    for modes in ["", "session"] {
        let Some(mut manager) = python(modes, "") else { return };
        let mut events = manager.events();
        let (before, heir) = hand_over(&manager, &mut events);
        assert_eq!(status_field(heir, "PPid"), before.to_string());
        assert_eq!(manager.stop(), Some(0), "{modes}");
        noted(&manager, "TERM", heir);
        noted(&manager, "TERM", before);
        in_peace(events);
    }
}

#[test]
fn a_successor_that_ends_first_is_a_worker_that_has_died() {
    let Some(manager) = python("", "--backoff 10ms") else { return };
    let mut events = manager.events();
    let (before, heir) = hand_over(&manager, &mut events);
    // Its parent is the other one, which does not reap it.
    send(heir, Signal::SIGKILL);
    assert_eq!(pid_of(&events.until("died")), heir);
    assert_ne!(pid_of(&events.until("ready")), heir);
    // The other one is no worker any more, and goes.
    noted(&manager, "TERM", before);
    assert!(wait_gone(before));
}

#[test]
fn both_cross_to_another_image_of_the_manager() {
    let Some(mut manager) = python("", "") else { return };
    let mut events = manager.events();
    let (before, heir) = hand_over(&manager, &mut events);
    manager.done(&["reexec"]);
    let worker = manager.workers()[0].clone();
    assert_eq!((pid_of(&worker), &worker["phase"]), (heir, &"ready".into()));
    send(before, Signal::SIGQUIT);
    assert!(wait_gone(before));
    assert_eq!(worker_of(&manager), heir);
    manager.done(&["reexec"]);
    let mut events = manager.events();
    assert_eq!(worker_of(&manager), heir);
    // It is upgraded as any other.
    manager.done(&["upgrade", "--wait-drained"]);
    assert_eq!(pid_of(&events.until("stopping")), heir);
    noted(&manager, "TERM", heir);
    assert_eq!(manager.stop(), Some(0));
    in_peace(events);
}

#[test]
fn who_hands_over_when_it_is_asked_to_go_has_a_successor_that_goes() {
    let Some(mut manager) = python("at-the-end", "") else { return };
    let mut events = manager.events();
    assert_eq!(manager.stop(), Some(0));
    let heir = pid_of(&events.until("handed-over"));
    assert_eq!(pid_of(&events.until("gone")), heir);
    in_peace(events);
}

#[test]
fn handing_over_loses_no_request() {
    let Some(mut manager) = python("when-asked", "-b 127.0.0.1:0") else { return };
    let mut events = manager.events();
    let (address, over) = (manager.address(), AtomicBool::new(false));
    let answered = thread::scope(|scope| {
        let ask = || {
            let mut answered = 0;
            while !over.load(Ordering::Relaxed) {
                http::get(address, "/").unwrap();
                answered += 1;
            }
            answered
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        for _ in 0..3 {
            let (before, _) = hand_over(&manager, &mut events);
            noted(&manager, "QUIT", before);
        }
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).min()
    });
    assert!(answered > Some(0));
    assert_eq!(manager.stop(), Some(0));
    in_peace(events);
}

/// What is refused goes on as if nothing had been said.
fn refused(manager: &mut Manager, pid: i32, why: &str) {
    let worker = worker_of(manager);
    manager.log.line(&format!("ignored MAINPID={pid} of pid {worker}: {why}"));
    assert_eq!(worker_of(manager), worker);
    assert_eq!(manager.stop(), Some(0));
    assert!(manager.log.all().contains("gone") && !manager.log.all().contains("died"));
}

fn says(manager: &Manager, pid: i32) {
    std::fs::write(manager.path("say"), format!("MAINPID={pid}")).unwrap();
    send(worker_of(manager), Signal::SIGUSR2);
}

#[test]
fn nobody_elses_process_becomes_a_worker() {
    let Some(mut manager) = python("", "") else { return };
    says(&manager, 1);
    refused(&mut manager, 1, "no worker can be that");

    let Some(mut manager) = python("", "") else { return };
    let own = manager.pid();
    says(&manager, own);
    refused(&mut manager, own, "no worker can be that");

    let Some(mut manager) = python("", "-n 2") else { return };
    let other = pid_of(&manager.workers()[1]);
    says(&manager, other);
    refused(&mut manager, other, "that is another worker");

    let Some(mut manager) = python("", "") else { return };
    let mut stranger = support::process::Process::spawn(Command::new("sleep").arg("1000"));
    says(&manager, stranger.pid());
    refused(&mut manager, stranger.pid(), "it is neither of the worker's session nor descends from it");
    assert!(lives(stranger.pid()));
    stranger.end();

    // Above the largest pid that Linux gives.
    let Some(mut manager) = python("", "") else { return };
    says(&manager, 1 << 23);
    refused(&mut manager, 1 << 23, "");
}

#[test]
fn only_the_worker_itself_can_hand_over() {
    let Some(mut manager) = python("", "") else { return };
    let worker = worker_of(&manager);
    send(worker, Signal::SIGUSR1);
    let line = manager.log.line("ignored MAINPID=");
    let child = manager.descendants().into_iter().find(|&pid| pid != worker).unwrap();
    assert!(line.contains(&format!("MAINPID={child} of pid {worker}: pid {child} says so")), "{line}");
    // It is shown, as before.
    assert_eq!(manager.workers()[0]["main_pid"], child);
    assert_eq!(worker_of(&manager), worker);
    send(child, Signal::SIGKILL);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn without_orphans_nobody_can_hand_over() {
    let Some(mut manager) = python("", "--no-subreaper") else { return };
    let worker = worker_of(&manager);
    send(worker, Signal::SIGHUP);
    let line = manager.log.line("ignored MAINPID=");
    assert!(line.contains("which is no subreaper"), "{line}");
    assert_eq!(worker_of(&manager), worker);
    assert!(manager.workers()[0]["main_pid"].is_i64());
    assert_eq!(manager.stop(), Some(0));
    noted(&manager, "TERM", worker);
}

#[test]
fn a_process_of_another_user_becomes_no_worker() {
    if !support::root() {
        return;
    }
    let Some(mut manager) = python("other-user", "") else { return };
    send(worker_of(&manager), Signal::SIGHUP);
    let line = manager.log.line("ignored MAINPID=");
    assert!(line.contains("it is not of the worker's user, uid 0"), "{line}");
    assert_eq!(manager.stop(), Some(0));
}
