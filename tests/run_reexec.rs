//! The real binary: a manager that replaces its own image keeps everything, whatever happens on the way.
//!
//! Where something has to happen in the very gap between two images, the manager is executed by a link that leads to a
//! script by then: what the script does before it executes the binary happens while no image is there.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};
use support::events::Talk;
use support::process::{self, descriptors, lives, status_field};
use support::{Manager, REMUDA, Setup, pid_of, replace_by_link, setup, tool, worker, write_program};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

/// A manager that was executed by a link, which may lead elsewhere later.
fn start_by_link(setup: Setup) -> Manager {
    let link = setup.path("remuda");
    symlink(REMUDA, &link).unwrap();
    let mut command = Command::new(link);
    command.args(setup.words());
    setup.start_as(command)
}

/// Lets the link lead to a shell script that ends in the binary. `$1` is set when it is only asked.
fn lead_to_script(manager: &Manager, lines: &str) {
    write_script(&manager.path("script"), &format!("#!/bin/sh\n{lines}\nexec {REMUDA} \"$@\"\n"));
    replace_by_link(&manager.path("remuda"), &manager.path("script"));
}

fn write_script(path: &Path, text: &str) {
    write_program(path, text);
}

fn lead_back(manager: &Manager) {
    replace_by_link(&manager.path("remuda"), Path::new(REMUDA));
}

/// In a script: only where the image is not merely asked.
fn in_the_gap(what: &str) -> String {
    format!("[ \"$1\" = --can-resume ] || {what}")
}

/// What the descriptors lead to, but for those that each image opens for itself, of which only the number counts.
fn inventory(pid: i32) -> (BTreeMap<String, usize>, BTreeMap<i32, String>) {
    let open = descriptors(pid);
    let standard = open.iter().filter(|(number, _)| **number < 3);
    let standard = standard.map(|(&number, target)| (number, target.clone())).collect();
    let mut kept = BTreeMap::new();
    for (_, target) in open.into_iter().filter(|(number, _)| *number >= 3) {
        let own = target.starts_with("pipe:");
        *kept.entry(if own { "pipe".to_owned() } else { target }).or_default() += 1;
    }
    (kept, standard)
}

/// The same once so many sockets are open: what another test forks at this moment has, until it is executed, a copy of the
/// connection that this one has closed, and nobody sees the end of that before.
fn settled(pid: i32, sockets: usize) -> (BTreeMap<String, usize>, BTreeMap<i32, String>) {
    let begin = Instant::now();
    loop {
        let found = inventory(pid);
        if found.0.keys().filter(|target| target.starts_with("socket:")).count() == sockets {
            return found;
        }
        assert!(begin.elapsed() < support::LIMIT, "not {sockets} sockets: {found:?}");
        thread::yield_now();
    }
}

/// Returns when the manager has seen the end of every connection that was closed before.
fn quiet(client: &mut Talk) {
    // The first answer may be on its way before the last connection is dropped, the second is not.
    for _ in 0..2 {
        assert_eq!(client.ask(&json!({"command": "worker:ping"}))["ok"], true);
    }
}

fn children_of(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

// pitfalls 5 and 6
#[test]
fn fifty_re_executions_keep_every_descriptor_and_everybody() {
    let setup = setup("serve").options("-n 3 --ack none -b 127.0.0.1:0");
    let listen = format!("unix:{}", setup.path("web.sock").display());
    let manager = setup.option("-b").option(listen).option_path("--pidfile", "pid").start();
    manager.up();
    let (pid, workers) = (manager.pid(), manager.pids("ready"));
    let mut client = manager.connect();
    // What whoever started us has left open is not kept.
    manager.done(&["reexec"]);
    quiet(&mut client);
    // Two listeners, the control socket and this client.
    let before = settled(pid, 4);
    let of_worker = descriptors(workers[0]);
    let memory = resident(pid);
    for _ in 0..50 {
        let output = manager.done(&["reexec"]);
        assert_eq!(output.stdout, format!("re-executed: remuda {}\n", env!("CARGO_PKG_VERSION")));
    }
    quiet(&mut client);
    assert_eq!(inventory(pid), before);
    assert_eq!(descriptors(workers[0]), of_worker);
    assert_eq!(manager.pids("ready"), workers);
    let mut children = children_of(pid);
    children.sort_unstable();
    let mut expected = workers.clone();
    expected.sort_unstable();
    assert_eq!(children, expected, "no zombies, and no other children");
    assert!(resident(pid) <= memory + 512, "{} KiB after {memory} KiB", resident(pid));
    assert_eq!(fs::read_to_string(manager.path("pid")).unwrap(), format!("{pid}\n"));
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("resume"));

    // Ownership holds: a second manager is refused, and at the end nothing is left behind.
    let mut second = Command::new(REMUDA);
    second.args(["run", "--name", "web", "--control"]).arg(&manager.control).args(["--", "true"]);
    let output = process::run(&mut second);
    let refusal = |text: &str| text.contains("already running") && text.ends_with(&format!("(pid {pid})\n"));
    assert!(refusal(&output.stderr), "{output:?}");
    let mut manager = manager;
    assert_eq!(manager.stop(), Some(0));
    for name in ["c.sock", "c.sock.lock", "web.sock", "pid"] {
        assert!(!manager.path(name).exists(), "{name} is left");
    }
}

/// Resident memory of a process, in KiB.
fn resident(pid: i32) -> u64 {
    status_field(pid, "VmRSS").trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn clients_keep_what_they_asked_for() {
    let manager = setup("ack pause").options("-n 1 --ack manual").start();
    manager.up();
    let mut waiting = manager.connect();
    manager.next_script("gate:{dir}/gate ack pause");
    mkfifo(&manager.path("gate"), Mode::from_bits_truncate(0o600)).unwrap();
    let mut events = manager.events();
    waiting.send(&json!({"command": "upgrade", "id": "mine"}));
    events.until("spawned");
    let mut half = manager.connect();
    half.send_bytes(br#"{"command":"sta"#);
    let (mut unread, mut other) = (manager.connect(), manager.connect());
    // More than a socket takes, so that some of it waits in the manager.
    for batch in 0..8 {
        for number in 0..50 {
            unread.send(&json!({"command": "status", "id": batch * 50 + number}));
        }
        quiet(&mut other);
    }
    manager.done(&["reexec"]);
    events.until("reexec-started");
    events.until("reexec-done");
    half.send_bytes(b"tus\"}\n");
    assert_eq!(half.answer()["ok"], true);
    for number in 0..400 {
        assert_eq!(unread.answer()["id"], number);
    }
    drop(OpenOptions::new().write(true).open(manager.path("gate")).unwrap());
    let answer = waiting.answer();
    assert_eq!((&answer["ok"], &answer["id"]), (&json!(true), &json!("mine")), "{answer}");
    assert_eq!(manager.group()["generation"], 2);
}

#[test]
fn notifications_and_acks_reach_the_new_image() {
    let manager = setup("gate:{dir}/gate notify:READY=1 pause").options("-n 1 --ack manual");
    mkfifo(&manager.path("gate"), Mode::from_bits_truncate(0o600)).unwrap();
    let manager = manager.start();
    // It is Starting, or Spawning until the re-execution has waited for it.
    manager.done(&["reexec"]);
    drop(OpenOptions::new().write(true).open(manager.path("gate")).unwrap());
    manager.up();
}

#[test]
fn the_new_image_starts_workers_as_the_old_one_did() {
    // A program that has no opinion on signals.
    let setup =
        setup("").options("-n 1 --ack none -e COLOUR=blue -b 127.0.0.1:0").program(&["sleep", "1000"]);
    let mut command = setup.command();
    command.env("PRISTINE", "yes");
    let manager = setup.start_as(command);
    manager.up();
    let facts = |pid: i32| {
        let mut environment = process::environment(pid);
        // Each worker has its own.
        environment.remove("LISTEN_PID");
        let signals = ["SigBlk", "SigIgn"].map(|name| status_field(pid, name));
        let inherited = descriptors(pid).into_iter().take(4).collect::<Vec<_>>();
        (environment, signals, process::nofile(pid), inherited)
    };
    let before = manager.pids("ready")[0];
    let expected = facts(before);
    for _ in 0..3 {
        manager.done(&["reexec"]);
    }
    let mut events = manager.events();
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    events.until("ready");
    let after = manager.pids("ready")[0];
    assert_ne!(after, before);
    let found = facts(after);
    assert_eq!((&found.1, &found.2, &found.3), (&expected.1, &expected.2, &expected.3));
    assert_eq!(found.0, expected.0);
    assert_eq!(expected.0["PRISTINE"], "yes");
    assert!(!expected.0.contains_key("REMUDA_STATE_FD"));
}

// pitfall 7
#[test]
fn an_upgrade_goes_on_across_re_executions_under_load() {
    let manager = setup("serve").options("-b 127.0.0.1:0 -n 3 --ack timer:100ms").start();
    manager.up();
    let traffic = Traffic {
        connections: 4,
        pause: Duration::from_millis(1),
        limit: Duration::from_secs(10),
        ..Traffic::to(manager.address())
    };
    let load = Load::start(traffic).unwrap();
    for generation in 2..4 {
        let upgrade = manager.begin(&["upgrade", "--wait-drained"]);
        for _ in 0..10 {
            manager.done(&["reexec"]);
        }
        let output = upgrade.output();
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(manager.group()["generation"], generation);
    }
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
}

#[test]
#[ignore = "takes long; `cargo test --test run_reexec -- --ignored`"]
fn two_hundred_re_executions_lose_no_request() {
    let manager = setup("serve").options("-b 127.0.0.1:0 -n 4 --ack timer:100ms").start();
    manager.up();
    let workers = manager.pids("ready");
    let load = Load::start(Traffic { limit: Duration::from_secs(10), ..Traffic::to(manager.address()) });
    let load = load.unwrap();
    let mut client = manager.connect();
    manager.done(&["reexec"]);
    quiet(&mut client);
    let before = inventory(manager.pid());
    for _ in 0..200 {
        manager.done(&["reexec"]);
    }
    quiet(&mut client);
    assert_eq!(inventory(manager.pid()), before);
    assert_eq!(manager.pids("ready"), workers);
    let mut children = children_of(manager.pid());
    children.sort_unstable();
    let mut expected = workers.clone();
    expected.sort_unstable();
    assert_eq!(children, expected, "no zombies, and no other children");
    let report = load.stop();
    println!("{report}");
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
}

#[test]
#[ignore = "wants the program of an earlier commit; `make test-upgrade-from REV=COMMIT`"]
fn a_manager_of_an_earlier_commit_becomes_this_one() {
    let earlier = std::env::var_os("REMUDA_EARLIER").expect("REMUDA_EARLIER, the path of a program");
    let setup =
        setup("serve").options("-b 127.0.0.1:0 -n 3 --ack timer:100ms").option_path("--pidfile", "pid");
    symlink(earlier, setup.path("remuda")).unwrap();
    let mut command = Command::new(setup.path("remuda"));
    command.args(setup.words());
    let mut manager = setup.start_as(command);
    manager.up();
    let limit = Duration::from_secs(10);
    let load = Load::start(Traffic { limit, ..Traffic::to(manager.address()) }).unwrap();
    let (pid, workers) = (manager.pid(), manager.pids("ready"));
    let (mut client, mut half) = (manager.connect(), manager.connect());
    half.send_bytes(br#"{"command":"sta"#);
    quiet(&mut client);
    let sockets = |pid| -> BTreeSet<String> {
        descriptors(pid).into_values().filter(|target| target.starts_with("socket:")).collect()
    };
    let ours = sockets(pid);

    lead_back(&manager);
    manager.done(&["reexec"]);
    let program = fs::canonicalize(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!((manager.pid(), program), (pid, fs::canonicalize(REMUDA).unwrap()));
    half.send_bytes(b"tus\"}\n");
    assert_eq!(half.answer()["ok"], true);
    assert_eq!(manager.pids("ready"), workers);
    quiet(&mut client);
    assert_eq!(sockets(pid), ours);

    manager.done(&["upgrade", "--wait-drained"]);
    let group = manager.group();
    assert_eq!((&group["generation"], manager.pids("ready").len()), (&json!(2), 3), "{group}");
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    assert_eq!(manager.stop(), Some(0));
    assert!(!manager.path("pid").exists());
}

/// Re-executes again and again, by one connection, until `stop`; returns how often it was done.
fn keep_re_executing(manager: &Manager, stop: &AtomicBool, count: &AtomicU32) {
    let mut talk = manager.connect();
    while !stop.load(Ordering::Relaxed) {
        // Where nobody takes the request, or answers it, the manager has ended.
        let Ok(()) = talk.try_send(&json!({"command": "reexec"})) else { return };
        let Some(answer) = talk.receive() else { return };
        count.fetch_add(u32::from(answer["ok"] == true), Ordering::Relaxed);
    }
}

// pitfall 2
#[test]
fn workers_that_are_killed_meanwhile_are_always_replaced() {
    let manager = setup("pause").options("-n 3 --ack none --backoff 10ms:1:10ms").start();
    manager.up();
    let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| keep_re_executing(&manager, &stop, &count));
        let mut events = manager.events();
        let mut alive = manager.pids("ready");
        for round in 0..30 {
            let victim = alive.remove(round % alive.len());
            kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
            let died = events.until("died");
            assert_eq!((pid_of(&died), &died["exit"]), (victim, &json!({"signal": "KILL"})));
            let ready = events.until("ready");
            assert_eq!(ready["slot"], died["slot"], "in the slot that it left");
            alive.push(pid_of(&ready));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(count.load(Ordering::Relaxed) > 3, "{count:?} re-executions");
    assert_eq!(manager.pids("ready").len(), 3);
    assert_eq!(children_of(manager.pid()).len(), 3);
}

// pitfall 1
#[test]
fn signals_are_never_lost_and_never_kill() {
    let manager = setup("pause").options("-n 1 --ack none").start();
    manager.up();
    let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| keep_re_executing(&manager, &stop, &count));
        let mut events = manager.events();
        while count.load(Ordering::Relaxed) < 20 {
            manager.signal(Signal::SIGUSR2);
            events.until("signal-ignored");
            manager.signal(Signal::SIGUSR1);
            manager.signal(Signal::SIGCHLD);
        }
        for generation in 2..7 {
            manager.signal(Signal::SIGHUP);
            let done = |event: &Value| event["event"] == "upgrade-done" && event["to"] == generation;
            events.until_that("upgrade", done);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_stop_in_the_midst_of_re_executions_is_graceful() {
    for round in 0..12_u64 {
        let mut manager = setup("pause").options("-n 2 --ack none").start();
        manager.up();
        let workers = manager.pids("ready");
        let stop = AtomicBool::new(false);
        let count = AtomicU32::new(0);
        let pid = Pid::from_raw(manager.pid());
        thread::scope(|scope| {
            scope.spawn(|| keep_re_executing(&manager, &stop, &count));
            // Another moment of the cycle each time.
            let moment = Instant::now() + Duration::from_micros(2_500 * round);
            while count.load(Ordering::Relaxed) == 0 || Instant::now() < moment {
                thread::yield_now();
            }
            kill(pid, Signal::SIGTERM).unwrap();
        });
        assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
        assert!(!workers.into_iter().any(lives));
    }
}

/// In a script: kills a worker, and when it is dead sends the manager USR2 and HUP.
///
/// A process that was killed dies when its turn comes: only then is the order of things known. That is for workers of
/// one thread: others look like zombies before their last thread has ended and the manager is told. The shell starts
/// nothing to see it, since it would reap the dead one together with what it has started.
fn strike(victim: i32, manager: &str) -> String {
    let lives = format!(
        "{{ read -r stat </proc/{victim}/stat; }} 2>/dev/null && case $stat in *') Z '*) false;; esac"
    );
    format!(
        "{{ kill -KILL {victim}; while {lives}; do :; done; kill -USR2 {manager}; kill -HUP {manager}; }}"
    )
}

#[test]
fn what_happens_while_the_new_image_is_asked_is_known_afterwards() {
    // The old image hears of it, and has to hand it on to the new one, or to act upon it itself.
    let manager = start_by_link(setup("").options("-n 2 --ack none").program(&["sleep", "1000"]));
    manager.up();
    for (generation, end, code) in [(2, "true", 0), (3, "exit 4", 4)] {
        let mut events = manager.events();
        let victim = manager.pids("ready")[0];
        // There `$PPID` is the manager.
        let blow = strike(victim, "$PPID");
        lead_to_script(&manager, &format!("[ \"$1\" != --can-resume ] || {{ {blow}; {end}; }}"));
        let output = manager.verb(&["reexec"]);
        assert_eq!(output.code, Some(code), "{output:?}");
        let done = if code == 0 { "reexec-done" } else { "reexec-failed" };
        // Which of the two ends first, is open.
        for _ in 0..2 {
            events.until_that(done, |event| event["event"] == done || event["event"] == "upgrade-done");
        }
        assert_eq!(events.seen("upgrade-done")[0]["to"], generation, "{}", events.story());
        let died = events.seen("died");
        assert!(died.iter().any(|died| pid_of(died) == victim && died["slot"] == 0), "{}", events.story());
        assert_eq!(events.seen("signal-ignored").len(), 1, "{}", events.story());
        assert_eq!(events.seen(done).len(), 1, "{}", events.story());
        manager.up();
        let (workers, mut children) = (manager.pids("ready"), children_of(manager.pid()));
        children.retain(|&pid| lives(pid));
        assert!(workers.len() == 2 && children.iter().all(|pid| workers.contains(pid)), "{children:?}");
    }
    lead_back(&manager);
    manager.done(&["reexec"]);
}

// pitfall 2
#[test]
fn what_happens_in_the_gap_is_known_afterwards() {
    // A death while another program runs in the manager's process.
    let manager = start_by_link(setup("").options("-n 2 --ack none").program(&["sleep", "1000"]));
    manager.up();
    for round in 0..10_usize {
        let mut events = manager.events();
        let slot = round % 2;
        let victim = manager.pids("ready")[slot];
        lead_to_script(&manager, &in_the_gap(&strike(victim, "$$")));
        manager.done(&["reexec"]);
        events.until("reexec-done");
        let died = events.until("died");
        assert_eq!((pid_of(&died), &died["slot"]), (victim, &json!(slot)));
        events.until("signal-ignored");
        assert_eq!(events.until("upgrade-done")["to"], round + 2);
        manager.up();
    }
    lead_back(&manager);
    manager.done(&["reexec"]);
    assert_eq!(manager.pids("ready").len(), 2);
    assert_eq!(children_of(manager.pid()).len(), 2);
}

#[test]
fn a_worker_that_somebody_else_has_reaped_is_replaced() {
    if !tool("python3") {
        return;
    }
    let manager = start_by_link(setup("pause").options("-n 2 --ack none --backoff 10ms:1:10ms"));
    manager.up();
    let mut events = manager.events();
    let victim = manager.pids("ready")[0];
    write_script(
        &manager.path("script"),
        &format!(
            "#!/usr/bin/env python3\n\
             import os, sys\n\
             if sys.argv[1:] != ['--can-resume']:\n\
             \x20   os.kill({victim}, 9)\n\
             \x20   os.waitpid({victim}, 0)\n\
             os.execv('{REMUDA}', sys.argv)\n"
        ),
    );
    replace_by_link(&manager.path("remuda"), &manager.path("script"));
    manager.done(&["reexec"]);
    let died = events.until("died");
    assert_eq!((pid_of(&died), &died["exit"]), (victim, &Value::Null));
    assert_eq!(events.until("ready")["slot"], 0);
    assert_eq!(manager.pids("ready").len(), 2);
}

#[test]
fn a_stop_in_the_gap_ends_the_new_image_gracefully() {
    let mut manager = start_by_link(setup("pause").options("-n 2 --ack none"));
    manager.up();
    let workers = manager.pids("ready");
    lead_to_script(&manager, &in_the_gap("kill -TERM $$"));
    let output = manager.verb(&["reexec"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(manager.exit().code(), Some(0));
    assert!(!workers.into_iter().any(lives));
}

/// A re-execution that must not happen: its output. Afterwards everything is as before, and the next one succeeds.
fn refused(prepare: impl FnOnce(&Manager, &PathBuf)) -> (Option<i32>, String) {
    let manager = start_by_link(setup("pause").options("-n 2 --ack none --backoff 10ms:1:10ms"));
    manager.up();
    let workers = manager.pids("ready");
    let mut client = manager.connect();
    quiet(&mut client);
    // The control socket and this client.
    let before = settled(manager.pid(), 2);
    prepare(&manager, &manager.path("remuda"));
    let output = manager.verb(&["reexec"]);
    quiet(&mut client);
    // What belongs to the verb and to the program that was asked may be closed a moment later.
    let begin = std::time::Instant::now();
    while inventory(manager.pid()) != before {
        assert!(begin.elapsed() < support::LIMIT, "{:?} is not {before:?}", inventory(manager.pid()));
        std::thread::yield_now();
    }
    assert_eq!(manager.pids("ready"), workers);
    let mut events = manager.events();
    kill(Pid::from_raw(workers[0]), Signal::SIGKILL).unwrap();
    events.until("ready");
    assert_eq!(children_of(manager.pid()).len(), 2);
    let told = manager.log.line("not re-executed: ");
    assert!(told.starts_with("remuda: error: "), "{told}");
    let link = manager.path("remuda");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).unwrap();
    }
    lead_back(&manager);
    manager.done(&["reexec"]);
    (output.code, output.stderr.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn a_program_that_is_gone_is_refused() {
    let (code, sentence) = refused(|_, link| fs::remove_file(link).unwrap());
    assert_eq!(code, Some(4));
    assert!(sentence.ends_with("/remuda: no such file or directory"), "{sentence}");
}

#[test]
fn a_program_that_may_not_be_executed_is_refused() {
    let (code, sentence) = refused(|manager, link| {
        fs::write(manager.path("plain"), "").unwrap();
        replace_by_link(link, &manager.path("plain"));
    });
    assert_eq!(code, Some(4));
    assert!(sentence.ends_with("/remuda: permission denied"), "{sentence}");
}

#[test]
fn another_program_is_refused() {
    let (code, sentence) = refused(|_, link| replace_by_link(link, Path::new("/bin/true")));
    assert_eq!(code, Some(4));
    assert!(sentence.ends_with("cannot go on from the state of this one: exit code 0"), "{sentence}");
}

// pitfall 8
#[test]
fn a_version_that_cannot_read_the_state_is_refused_in_its_own_words() {
    let (code, sentence) = refused(|manager, link| {
        write_script(&manager.path("script"), "#!/bin/sh\necho 'remuda: format 1 is too old' >&2\nexit 4\n");
        replace_by_link(link, &manager.path("script"));
    });
    assert_eq!(code, Some(4));
    assert!(sentence.ends_with("cannot go on from the state of this one: format 1 is too old"), "{sentence}");
}

#[test]
fn a_program_that_does_not_answer_is_given_up() {
    let (code, sentence) = refused(|manager, link| {
        write_script(&manager.path("script"), "#!/bin/sh\nsleep 1000\n");
        replace_by_link(link, &manager.path("script"));
    });
    assert_eq!(code, Some(4));
    assert!(sentence.contains("did not say within 10 s"), "{sentence}");
}

// pitfall 8
#[test]
fn a_program_that_vanishes_after_it_was_asked_leaves_the_old_one_running() {
    let (code, sentence) = refused(|manager, _| lead_to_script(manager, "rm -f \"$0\""));
    assert_eq!(code, Some(1));
    assert!(sentence.contains("not re-executed: cannot execute "), "{sentence}");
}

#[test]
fn no_wait_returns_before_the_end_and_a_timeout_tells() {
    let manager = start_by_link(setup("pause").options("-n 1 --ack none"));
    manager.up();
    let mut events = manager.events();
    assert_eq!(manager.done(&["reexec", "--no-wait"]).stdout, "re-executing\n");
    events.until("reexec-done");
    write_script(&manager.path("script"), "#!/bin/sh\nsleep 1000\n");
    replace_by_link(&manager.path("remuda"), &manager.path("script"));
    let output = manager.verb(&["reexec", "--timeout", "50ms"]);
    assert_eq!(output.code, Some(6), "{output:?}");
    // A second request joins the first, and hears the same.
    assert_eq!(manager.verb(&["reexec", "-q"]).code, Some(4));
}

#[test]
fn a_state_that_is_not_ours_is_no_state() {
    let setup = setup("pause");
    let mut command = setup.command();
    command.env("REMUDA_STATE_FD", "0");
    let manager = setup.start_as(command);
    manager.up();
    let worker = manager.pids("ready")[0];
    assert!(!process::environment(worker).contains_key("REMUDA_STATE_FD"));
    let asked = process::run(Command::new(REMUDA).arg("--can-resume"));
    assert_eq!(asked.code, Some(4), "{asked:?}");
}

#[test]
fn pids_in_a_state_that_are_no_children_are_left_alone() {
    let setup = setup("pause");
    let mut victim =
        process::Process::spawn(Command::new("sleep").arg("1000").env(support::MARK, setup.path("")));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/state/format-1.json");
    let golden = fs::read_to_string(golden).unwrap();
    let pid = victim.pid().to_string();
    // With the descriptors that it names, which are none here, and without any.
    let state: Value = serde_json::from_str(&golden).unwrap();
    let mut without = state.clone();
    without["descriptors"] = json!([]);
    for mut state in [state, without] {
        for process in state["workers"]["processes"].as_array_mut().unwrap() {
            process["pid"] = json!(victim.pid());
        }
        state["pid"] = json!(4_444_444);
        let text = state.to_string();
        let mut command = setup.command();
        command.env("REMUDA_STATE_FD", "700");
        // SAFETY: it allocates, which no other thread of this process keeps it from: the C library sees to that in a child.
        unsafe {
            command.pre_exec(move || {
                let text = text.replace("4444444", &std::process::id().to_string());
                sealed_at(700, text.as_bytes())
            });
        }
        let output = process::run(&mut command);
        assert_ne!(output.code, Some(0), "{output:?}");
        assert!(output.stderr.contains("cannot go on after the re-execution"), "{output:?}");
        assert!(lives(victim.pid()), "pid {pid} was signalled: {output:?}");
    }
    victim.end();
}

/// A sealed file in memory that is inherited under this number.
fn sealed_at(number: i32, bytes: &[u8]) -> std::io::Result<()> {
    use nix::libc;
    // SAFETY: the name ends with a NUL byte, the bytes are as many as told, and the rest are numbers.
    unsafe {
        let memory = libc::memfd_create(c"state".as_ptr(), libc::MFD_ALLOW_SEALING);
        let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        let written = libc::write(memory, bytes.as_ptr().cast(), bytes.len());
        if usize::try_from(written) == Ok(bytes.len())
            && libc::fcntl(memory, libc::F_ADD_SEALS, seals) == 0
            && libc::dup2(memory, number) == number
        {
            return Ok(());
        }
    }
    Err(std::io::Error::last_os_error())
}

#[test]
fn the_state_may_be_looked_at_by_whoever_replaces_the_program() {
    // The recorded states in tests/golden/state were made in this way.
    let manager = start_by_link(setup("pause").options("-n 1 --ack none"));
    manager.up();
    let state = manager.path("state.json");
    let record = format!("[ \"$1\" = --can-resume ] && cat /proc/self/fd/3 >{}", state.display());
    lead_to_script(&manager, &record);
    manager.done(&["reexec"]);
    let state: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    assert_eq!((&state["format"], &state["pid"]), (&json!(1), &json!(manager.pid())));
    // Nothing of it is left in the file system, nor open.
    assert!(!descriptors(manager.pid()).values().any(|target| target.contains("memfd")));
}
