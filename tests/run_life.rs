//! The real binary: starting, keeping workers alive, changing their number, stopping.

mod support;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde_json::json;
use support::process::{lives, status_field, wait_gone};
use support::{LIMIT, Manager, http, pass, pid_of, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn starts_workers_that_serve_and_stops_them() {
    let mut manager = setup("serve").options("-b 127.0.0.1:0 -n 4 --ack none").start();
    manager.up();
    let group = manager.group();
    assert_eq!(
        (&group["name"], &group["target"], &group["generation"], &group["state"]),
        (&json!("web"), &json!(4), &json!(1), &json!("up"))
    );
    let pids = manager.pids("ready");
    let (pid, generation) = http::who(&http::get(manager.address(), "/").unwrap());
    assert!(pids.contains(&pid), "{pid} is none of {pids:?}");
    assert_eq!(generation, 1);
    let slots: Vec<_> = manager.workers().iter().map(|worker| worker["slot"].clone()).collect();
    assert_eq!(slots, [0, 1, 2, 3]);

    let control = manager.control.clone();
    assert!(control.exists());
    assert_eq!(manager.stop(), Some(0));
    assert!(!pids.into_iter().any(lives));
    assert!(!control.exists(), "the control socket is still there");
    assert!(manager.log.all().contains("shutting down gracefully (signal TERM)"));
}

#[test]
fn many_workers_that_start_keep_nobody_waiting() {
    // The first of them are heard long before the last is forked.
    let manager = setup("").options("-n 1 --ack none").program(&["sleep", "1000"]).start();
    manager.up();
    let mut events = manager.events();
    manager.done(&["scale", "300"]);
    events.until_that("full group", |event| event["ready"] == 300);
    let seen = events.into_seen();
    let ready = seen.iter().position(|event| event["event"] == "ready").unwrap();
    let spawned_after = seen[ready..].iter().filter(|event| event["event"] == "spawned").count();
    assert!(spawned_after > 100, "{spawned_after}");
}

#[test]
fn the_word_run_may_be_left_out() {
    let setup = setup("pause").options("--ack none");
    let mut command = std::process::Command::new(support::REMUDA);
    command.args(&setup.words()[1..]);
    let mut manager = setup.start_as(command);
    manager.up();
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_worker_that_was_well_is_replaced_at_once() {
    let manager = setup("pause").options("-n 2 --ack none --backoff 30s").start();
    manager.up();
    let mut events = manager.events();
    let victim = manager.workers()[1].clone();
    // Only a worker that was ready for a second has proved itself.
    pass(Duration::from_millis(1100));
    let killed = Instant::now();
    send(pid_of(&victim), Signal::SIGKILL);
    let died = events.until("died");
    assert_eq!((&died["slot"], &died["exit"]), (&json!(1), &json!({"signal": "KILL"})));
    let ready = events.until("ready");
    assert!(killed.elapsed() < Duration::from_secs(5), "it took {:?}", killed.elapsed());
    assert_eq!((&ready["slot"], &ready["index"]), (&victim["slot"], &victim["index"]));
    assert_ne!(ready["pid"], victim["pid"]);
    let now = manager.workers()[1].clone();
    assert_eq!((&now["restarts"], &now["last_exit"]), (&json!(1), &json!({"signal": "KILL"})));
    assert!(events.seen("back-off").is_empty());
}

// pitfall 30
#[test]
fn all_workers_that_die_at_once_come_back() {
    let manager = setup("pause").options("-n 12 --ack none").start();
    manager.up();
    let mut events = manager.events();
    let before = manager.pids("ready");
    pass(Duration::from_millis(1100));
    for &pid in &before {
        send(pid, Signal::SIGKILL);
    }
    // SIGCHLD coalesces.
    for _ in 0..12 {
        events.until("died");
    }
    events.until_that("full group", |event| event["ready"] == 12);
    let after: BTreeSet<i32> = manager.pids("ready").into_iter().collect();
    assert_eq!(after.len(), 12);
    assert!(before.iter().all(|pid| !after.contains(pid)));
}

#[test]
fn a_program_that_fails_is_tried_again_ever_more_slowly() {
    // Neither given up nor a fork bomb.
    let manager = setup("exit:3").options("-n 4 --ack timer:10s --backoff 200ms:2:800ms").start();
    let mut events = manager.events();
    let begin = Instant::now();
    let mut delays = Vec::new();
    while delays.len() < 5 {
        let delay = events.until("back-off")["delay_ms"].as_u64().unwrap();
        delays.push(delay);
    }
    // Those before the stream began are not in it; the delays only ever grow to their ceiling and its jitter.
    assert!(delays.iter().all(|&delay| (200..=880).contains(&delay)), "{delays:?}");
    assert!(delays[3..].iter().all(|&delay| delay >= 800), "{delays:?}");
    assert!(begin.elapsed() >= Duration::from_millis(1500), "{:?}", begin.elapsed());
    let died = events.seen("died").len();
    assert!(died < 15, "{died} deaths of 4 workers in {:?}", begin.elapsed());
    assert_eq!(manager.group()["state"], "failing");
    let shown = manager.done(&["status"]).stdout;
    assert!(shown.contains("failing"), "{shown}");
}

// pitfall 45
#[test]
fn a_group_that_failed_recovers() {
    let manager = setup("pause").options("-n 3 --ack timer:100ms --backoff 300ms").start();
    manager.up();
    manager.next_script("once:{dir}/first:exit=1 pause");
    let mut events = manager.events();
    // The first of the new workers fails, the others do not; three in a row would end the upgrade.
    assert_eq!(manager.done(&["upgrade"]).code, Some(0));
    events.until("died");
    let group = manager.group();
    assert_eq!((&group["state"], &group["generation"]), (&json!("up"), &json!(2)));
}

#[test]
fn the_number_of_workers_can_be_changed() {
    let mut manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    let first = manager.pids("ready");
    let output = manager.done(&["scale", "5"]);
    assert_eq!(output.stdout.lines().last(), Some("web: 5 of 5 ready"), "{output:?}");
    assert_eq!(manager.pids("ready").len(), 5);
    assert_eq!(manager.pids("ready")[..2], first, "those that were there stay");
    manager.done(&["inc"]);
    manager.done(&["inc", "web", "2"]);
    assert_eq!(manager.pids("ready").len(), 8);
    manager.done(&["dec", "4"]);
    manager.done(&["dec", "--wait-drained"]);
    assert_eq!(manager.group()["target"], 3);
    let indices: Vec<_> = manager.workers().iter().map(|worker| worker["index"].clone()).collect();
    assert_eq!(indices, [0, 1, 2]);
    // A verb twice is harmless.
    manager.done(&["scale", "3"]);
    manager.done(&["scale", "web", "3", "--json"]);
    assert_eq!(manager.pids("ready").len(), 3);
    assert_eq!(manager.pids("ready")[..2], first);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn more_workers_than_there_may_be_are_refused() {
    let manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    let answer = manager.ask(&json!({"command": "scale", "workers": 10_001}));
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!(4)));
    assert_eq!(manager.verb(&["inc", "10000"]).code, Some(4));
    assert_eq!(manager.group()["target"], 2);
}

#[test]
fn restart_keeps_the_generation_and_replaces_all() {
    let manager = setup("pause").options("-n 3 --ack none").start();
    manager.up();
    let before = manager.pids("ready");
    manager.done(&["restart"]);
    let after = manager.pids("ready");
    assert_eq!((after.len(), &manager.group()["generation"]), (3, &json!(1)));
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
}

#[test]
fn a_stopped_group_stays_stopped_and_keeps_its_socket() {
    let manager = setup("serve").options("-b 127.0.0.1:0 -n 2 --ack none").start();
    manager.up();
    let address = manager.address();
    manager.done(&["stop", "web"]);
    assert_eq!((&manager.group()["state"], manager.workers().len()), (&json!("stopped"), 0));
    // Verbs are idempotent.
    manager.done(&["stop", "web"]);
    let upgrade = manager.verb(&["upgrade", "web"]);
    assert_eq!(upgrade.code, Some(4), "{upgrade:?}");
    assert!(upgrade.stderr.contains("stopped"), "{upgrade:?}");
    manager.signal(Signal::SIGHUP);
    // Asked after the signal: connections wait for the workers to come.
    let asked = std::thread::spawn(move || http::get(address, "/").unwrap());
    assert_eq!(manager.group()["state"], "stopped");
    manager.done(&["start"]);
    manager.done(&["start"]);
    let (pid, _) = http::who(&asked.join().unwrap());
    assert!(manager.pids("ready").contains(&pid));
}

#[test]
fn signal_reaches_each_worker_and_only_them() {
    let manager = setup("exit-on:USR1:7 pause").options("-n 3 --ack timer:300ms --backoff 100ms").start();
    manager.up();
    let mut events = manager.events();
    let output = manager.done(&["signal", "SIGUSR1"]);
    assert!(output.stdout.contains("3 workers"), "{output:?}");
    for _ in 0..3 {
        assert_eq!(events.until("died")["exit"], json!({"code": 7}));
    }
    events.until_that("full group", |event| event["ready"] == 3);
}

// pitfall 16
#[test]
fn a_worker_that_ignores_the_graceful_signal_is_killed() {
    let mut manager = setup("ignore:TERM ack serve:linger")
        .options("-b 127.0.0.1:0 -n 2 --ack manual --stop-timeout 500ms")
        .start();
    manager.up();
    let pids = manager.pids("ready");
    let mut events = manager.events();
    let begin = Instant::now();
    // A worker had to be killed: that is not what was asked for.
    assert_eq!(manager.stop(), Some(1));
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
    events.rest();
    assert_eq!(events.seen("killing").len(), 2);
    assert_eq!(events.seen("gone")[0]["exit"], json!({"signal": "KILL"}));
    assert!(!pids.into_iter().any(lives));
}

// pitfall 35
#[test]
fn another_graceful_signal_can_be_chosen() {
    let mut manager = setup("ignore:TERM exit-on:QUIT:0 ack pause")
        .options("--ack manual --graceful-signal SIGQUIT")
        .start();
    manager.up();
    let mut events = manager.events();
    assert_eq!(manager.stop(), Some(0));
    events.rest();
    let stopping = events.seen("stopping")[0];
    assert_eq!((&stopping["signal"], &stopping["reason"]), (&json!("QUIT"), &json!("stop")));
}

// pitfall 38
#[test]
fn what_a_dead_worker_leaves_behind_is_killed() {
    // Grandchildren survive neither the death of a worker nor the stop.
    let mut manager = setup("grandchild ack pause").options("-n 2 --ack manual --stop-timeout 100ms").start();
    manager.up();
    let mut events = manager.events();
    let first = worker::noted(&manager.path("grandchildren"));
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|&pid| lives(pid)));
    for pid in manager.pids("ready") {
        send(pid, Signal::SIGKILL);
    }
    for _ in 0..2 {
        events.until("died");
    }
    for pid in first {
        assert!(wait_gone(pid), "grandchild {pid} lives on");
    }
    events.until_that("full group", |event| event["ready"] == 2);
    let second = worker::noted(&manager.path("grandchildren")).split_off(2);
    // They ignore what asks them to go.
    assert_eq!(manager.stop(), Some(1));
    for pid in second {
        assert!(wait_gone(pid), "grandchild {pid} lives on");
    }
}

#[test]
fn what_a_dead_worker_leaves_behind_can_be_spared() {
    let mut manager = setup("grandchild ack pause").options("--ack manual --no-kill-group").start();
    manager.up();
    let grandchildren = worker::noted(&manager.path("grandchildren"));
    assert_eq!(manager.stop(), Some(0));
    assert!(grandchildren.iter().all(|&pid| lives(pid)));
}

#[test]
fn what_a_killed_worker_leaves_behind_can_be_spared() {
    let mut manager = setup("ignore:TERM grandchild ack serve:linger")
        .options("-b 127.0.0.1:0 --ack manual --stop-timeout 100ms --no-kill-group")
        .start();
    manager.up();
    let grandchildren = worker::noted(&manager.path("grandchildren"));
    assert_eq!(manager.stop(), Some(1));
    assert!(grandchildren.iter().all(|&pid| lives(pid)));
}

// pitfall 36
#[test]
fn a_second_interrupt_stops_at_once() {
    let mut manager = setup("ignore:TERM grandchild ack serve:linger")
        .options("-b 127.0.0.1:0 -n 2 --ack manual --stop-timeout 60s")
        .start();
    manager.up();
    let mut events = manager.events();
    manager.signal(Signal::SIGINT);
    assert_eq!(events.until("shutting-down")["at_once"], false);
    // Shutdown is sticky. A repeated TERM and a HUP change nothing.
    manager.signal(Signal::SIGTERM);
    manager.signal(Signal::SIGHUP);
    events.until("signal-ignored");
    assert_eq!(manager.pids("stopping").len(), 2);
    assert_eq!(manager.verb(&["upgrade"]).code, Some(4));
    assert_eq!(manager.verb(&["start"]).code, Some(4));
    manager.signal(Signal::SIGINT);
    assert_eq!(manager.exit().code(), Some(1));
    events.rest();
    assert_eq!(events.seen("shutting-down").len(), 2, "{}", events.story());
    assert!(events.seen("upgrade-started").is_empty());
    manager.leaves_nobody();
}

// pitfall 35
#[test]
fn a_terminal_that_is_closed_stops_what_it_has_started() {
    let (terminal, mut manager) = on_a_terminal(false);
    manager.up();
    let mut events = manager.events();
    manager.signal(Signal::SIGHUP);
    assert_eq!(events.until("upgrade-done")["to"], 2, "the terminal is still there");
    manager.done(&["reexec"]);
    drop(terminal);
    assert_eq!(manager.exit().code(), Some(0));
    manager.log.line("shutting down gracefully (signal HUP)");
}

// pitfall 35
#[test]
fn a_terminal_that_is_gone_is_no_reason_to_stop_where_hangup_was_ignored() {
    let (terminal, mut manager) = on_a_terminal(true);
    manager.up();
    let input = || support::process::descriptors(manager.pid())[&0].clone();
    assert!(input().starts_with("/dev/pts/"), "{}", input());
    // The kernel sends HUP then; and somebody does once more.
    drop(terminal);
    manager.signal(Signal::SIGHUP);
    // What it hears is answered before whoever asks.
    assert_eq!((&manager.group()["state"], &manager.group()["generation"]), (&json!("up"), &json!(1)));
    manager.done(&["ping"]);
    assert_eq!(manager.stop(), Some(0));
}

/// A terminal, and a manager that leads a session on it, with HUP ignored as by nohup(1) or not.
fn on_a_terminal(ignores_hangup: bool) -> (OwnedFd, Manager) {
    let setup = setup("pause").options("--ack none");
    let (terminal, name) = pseudo_terminal();
    let mut command = setup.command();
    // SAFETY: system calls only, of a process with one thread; to ignore a signal involves no handler.
    unsafe {
        command.pre_exec(move || {
            if ignores_hangup {
                nix::sys::signal::signal(Signal::SIGHUP, SigHandler::SigIgn)?;
            }
            // The leader of a session without a terminal gets the first one that it opens.
            nix::unistd::setsid()?;
            let own = nix::fcntl::open(name.as_c_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
            nix::unistd::dup2_stdin(own)?;
            Ok(())
        })
    };
    (terminal, setup.start_as(command))
}

/// The side of whoever shows it, and the name of the other one.
fn pseudo_terminal() -> (OwnedFd, CString) {
    let mut name = [0; 64];
    // SAFETY: plain calls on a descriptor that was just made; the buffer is as long as told.
    let terminal = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0 && libc::grantpt(master) == 0 && libc::unlockpt(master) == 0);
        assert_eq!(libc::ptsname_r(master, name.as_mut_ptr(), name.len()), 0);
        OwnedFd::from_raw_fd(master)
    };
    // SAFETY: the call has put a NUL behind the name.
    (terminal, unsafe { CStr::from_ptr(name.as_ptr()) }.to_owned())
}

#[test]
fn quit_stops_at_once() {
    let mut manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    manager.signal(Signal::SIGQUIT);
    assert_eq!(manager.exit().code(), Some(1));
    assert!(manager.log.all().contains("shutting down at once (signal QUIT)"));
    manager.leaves_nobody();
}

#[test]
fn stop_waits_no_longer_than_needed_and_is_answered() {
    // Whoever waits for the end of that time does not end within the patience of this test.
    let setup = setup("pause").options("-n 2 --ack none --stop-timeout 1h");
    let mut again = setup.command();
    let mut manager = setup.start();
    manager.up();
    let workers = manager.pids("ready");
    let output = manager.done(&["stop"]);
    assert_eq!(output.stdout, "web: stopped\n", "{output:?}");
    // Not before they are gone.
    assert!(workers.into_iter().all(|pid| !lives(pid)), "{output:?}");
    assert_eq!(manager.exit().code(), Some(0));
    // Its place can be taken again.
    let second = support::process::begin(&mut again);
    manager.done(&["probe", "ready", "--timeout", "60s"]);
    manager.done(&["stop"]);
    assert_eq!(second.output().code, Some(0));
}

#[test]
fn usr2_is_ignored_with_a_note() {
    let manager = setup("pause").options("--ack none").start();
    manager.up();
    let mut events = manager.events();
    manager.signal(Signal::SIGUSR2);
    assert_eq!(events.until("signal-ignored")["signal"], "USR2");
    manager.signal(Signal::SIGUSR1);
    assert_eq!(manager.group()["state"], "up");
}

// pitfall 42
#[test]
fn never_restart_ends_with_the_code_of_the_worker() {
    for (script, restart, code) in [
        ("exit:0", "never", 0),
        ("exit:42", "never", 42),
        ("exit:0", "on-failure", 0),
        ("exit:3", "on-failure --success-exit 3", 3),
    ] {
        let mut manager =
            setup(script).options(&format!("--ack none --restart {restart} --backoff 100ms")).start();
        assert_eq!(manager.exit().code(), Some(code), "{script} {restart}");
        assert!(manager.log.all().contains("not started again"));
    }
}

#[test]
fn of_several_workers_all_must_succeed() {
    let mut manager =
        setup("once:{dir}/first:exit=5 exit:0").options("-n 3 --ack none --restart never").start();
    assert_eq!(manager.exit().code(), Some(1));

    let mut manager = setup("exit:0").options("-n 3 --ack none --restart never").start();
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn on_failure_restarts_failures_only() {
    let mut manager = setup("once:{dir}/first:exit=5 exit:0")
        .options("--ack none --restart on-failure --backoff 100ms")
        .start();
    assert_eq!(manager.exit().code(), Some(0));
    let log = manager.log.all();
    assert!(log.contains("died: exit code 5"), "{log}");
    assert!(log.contains("finished: exit code 0"), "{log}");
}

#[test]
fn give_up_ends_the_manager_with_the_code_of_the_worker() {
    let mut manager = setup("exit:9").options("--ack timer:5s --give-up 3 --backoff 50ms:1:50ms").start();
    assert_eq!(manager.exit().code(), Some(9));
    let log = manager.log.all();
    assert_eq!(log.matches("died: exit code 9").count(), 3, "{log}");
    assert!(log.contains("gave up after 3 failures in a row"), "{log}");
}

#[test]
fn a_subreaper_takes_in_orphans_and_reaps_them() {
    let setup = setup("pause").options("--ack none --subreaper");
    let pids = setup.path("orphan");
    let script =
        "(sh -c 'echo $$ >\"$0.new\" && mv \"$0.new\" \"$0\" && exec sleep 1000' \"$0\" &); exec sleep 1000";
    let pids_of = pids.to_str().unwrap().to_owned();
    let mut manager = setup.program(&["sh", "-c", script, &pids_of]).start();
    let deadline = Instant::now() + LIMIT;
    let orphan: i32 = loop {
        if let Ok(text) = fs::read_to_string(&pids) {
            break text.trim().parse().unwrap();
        }
        assert!(Instant::now() < deadline, "there is no orphan");
        std::thread::yield_now();
    };
    while status_field(orphan, "PPid") != manager.pid().to_string() {
        assert!(Instant::now() < deadline, "it has another parent: {}", status_field(orphan, "PPid"));
        std::thread::yield_now();
    }
    send(orphan, Signal::SIGKILL);
    // Once it is reaped nothing of it is left, not even a zombie.
    while fs::exists(format!("/proc/{orphan}")).unwrap() {
        assert!(Instant::now() < deadline, "it was not reaped");
        std::thread::yield_now();
    }
    assert_eq!(manager.stop(), Some(0));
}
