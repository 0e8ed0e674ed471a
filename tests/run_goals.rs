//! The real binary: what a verb answers is about its goal in the moment of the answer; tasks that end with success are
//! done; a worker that was ready is replaced at once, and no slot without pause.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{LIMIT, Manager, REMUDA, pass, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// A server that goes on, and a job that writes a line to `runs` and does what `job` says then.
fn site(job: &str, restart: &str) -> Manager {
    let setup = setup("");
    let (runs, program) = (setup.path("runs"), setup.path("program"));
    let words = "'--exact', 'worker_entry', '--nocapture', '--test-threads=1'";
    let path = setup.path("site.toml");
    let text = format!(
        "[web]\nexec_start = ['{}', {words}]\nack = 'manual'\nenvironments = ['{}=ack pause']\n\
         [migrate]\nexec_start = ['sh', '-c', 'echo ran >>{}; {job}']\nworking_directory = '{}'\nrestart = '{restart}'\nack = 'manual'\n\
         backoff = '20ms:1:20ms'\n",
        program.display(),
        worker::SCRIPT,
        runs.display(),
        setup.path("").display(),
    );
    fs::write(&path, text).unwrap();
    let mut command = Command::new(REMUDA);
    command.arg("run").arg("-c").arg(&path).arg("--control").arg(setup.path("c.sock"));
    setup.start_as(command)
}

fn runs(manager: &Manager) -> usize {
    fs::read_to_string(manager.path("runs")).unwrap_or_default().lines().count()
}

#[test]
fn a_job_that_ends_with_success_runs_once_for_each_time_it_is_asked_for() {
    for restart in ["none", "on-failure"] {
        let manager = site("exit 0", restart);
        manager.log.line("migrate[0]");
        manager.log.lines("ends", 1, |line| line.contains("finished"));
        let mut wanted = 1;
        assert_eq!(runs(&manager), wanted);
        for (verb, sentence) in [
            (&["upgrade"][..], "migrate: generation 2 has run and finished"),
            (&["restart", "migrate"], "migrate: ran again and finished"),
            (&["start", "migrate"], "migrate: 1 of 1 finished"),
            (&["rollback", "migrate"], "migrate: generation 1 has run and finished"),
        ] {
            let output = manager.verb(verb);
            assert_eq!(output.code, Some(0), "{restart}, {verb:?}: {output:?}\n{}", manager.log.text());
            assert!(output.stdout.contains(sentence), "{verb:?}: {output:?}");
            wanted += 1;
            assert_eq!(runs(&manager), wanted, "{restart}, {verb:?}");
        }
        // Nothing is to be done about it by a plan that is the same.
        manager.done(&["reload"]);
        assert_eq!(runs(&manager), wanted);
        // One more of it runs beside the one that is done.
        manager.done(&["scale", "migrate", "2"]);
        assert_eq!(runs(&manager), wanted + 1);
        assert!(!manager.log.text().contains("next attempt"), "{}", manager.log.text());
        let why = manager.verb(&["why", "migrate[0]"]);
        assert_eq!(why.code, Some(0), "{why:?}");
    }
}

#[test]
fn a_job_that_fails_in_an_upgrade_is_not_followed_by_the_one_before() {
    // The job fails while its own directory has such a file.
    let manager = site("test ! -e broken", "on-failure");
    manager.log.lines("ends", 1, |line| line.contains("finished"));
    fs::write(manager.path("broken"), "").unwrap();
    let output = manager.verb(&["upgrade", "migrate"]);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.stderr.contains("generation 1 was not touched"), "{output:?}");
    assert_eq!(runs(&manager), 4, "once, and three attempts of the new one");
}

#[test]
fn none_may_be_asked_for_and_one_fewer_stops_at_one() {
    let manager = setup("ack serve").options("-b 127.0.0.1:0 -n 2 --ack manual").start();
    manager.up();
    let fewer = manager.verb(&["dec", "2"]);
    assert_eq!(fewer.code, Some(0), "{fewer:?}");
    let refused = manager.verb(&["dec"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("stays at 1"), "{refused:?}");
    assert_eq!(manager.group()["target"], 1);

    manager.done(&["scale", "0"]);
    assert!(manager.workers().is_empty());
    let status = manager.verb(&["status"]);
    assert!(status.stdout.contains("no workers are wanted: connections wait"), "{status:?}");
    assert_eq!(manager.group()["state"], "up");
    // Whoever connects meanwhile is served by the worker to come.
    let mut waiting = TcpStream::connect(manager.address()).unwrap();
    waiting.set_read_timeout(Some(LIMIT)).unwrap();
    waiting.write_all(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n").unwrap();
    manager.done(&["scale", "1"]);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1"), "{answer}");
}

#[test]
fn a_stop_that_had_to_kill_says_whom_and_fails() {
    let manager = setup("ignore:TERM stop-on:USR1 ack pause")
        .options("-n 2 --ack manual --stop-timeout 200ms --name web")
        .start();
    manager.up();
    let pids = manager.pids("ready");
    let group = manager.group()["name"].as_str().unwrap().to_owned();
    let stopped = manager.verb(&["stop", &group]);
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    for pid in &pids {
        assert!(stopped.stderr.contains(&format!("pid {pid}")), "{stopped:?}");
    }
    // The next time is another matter: those that are gone are not named again.
    manager.done(&["start", &group]);
    let pids_now = manager.pids("ready");
    let stopped = manager.verb(&["stop", &group]);
    let summary = stopped.stderr.lines().last().unwrap_or_default();
    assert!(pids_now.iter().all(|pid| summary.contains(&format!("pid {pid}"))), "{stopped:?}");
    assert!(!pids.iter().any(|pid| summary.contains(&format!("pid {pid}"))), "{stopped:?}");
}

#[test]
fn workers_that_die_soon_after_they_were_ready_are_back_at_once() {
    let manager = setup("ack pause").options("-n 5 --ack manual").start();
    manager.up();
    let before = manager.pids("ready");
    for &pid in &before {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    manager.log.lines("ready workers", 10, |line| line.contains(": ready after"));
    assert!(!manager.log.text().contains("next attempt"), "{}", manager.log.text());
    // The same again within ten seconds falls under the back-off.
    for pid in manager.pids("ready") {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    manager.log.line("next attempt in 1.");
}

// pitfall 46
#[test]
fn no_door_starts_a_worker_again_and_again_without_pause() {
    let setup = setup("");
    let noted = setup.path("noted");
    let mut command = Command::new(REMUDA);
    command
        .args(["einhyrningsins", "-m", "-d"])
        .arg(setup.path("c.sock"))
        .arg("--")
        .arg(setup.path("program"));
    command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
    command.env(worker::SCRIPT, format!("note:{} ack exit:0", noted.display()));
    let begun = Instant::now();
    let manager = setup.start_as(command);
    while worker::noted(&noted).len() < 4 {
        assert!(begun.elapsed() < LIMIT, "{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
    // The second came at once, each further one a second after the one before.
    assert!(begun.elapsed() >= Duration::from_millis(1900), "four starts within {:?}", begun.elapsed());
}
