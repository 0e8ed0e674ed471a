//! The real binary: the control socket under clients of every kind, and the verbs as people and programs read them.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::events::{Events, Talk};
use support::process::{self, Log, Process, descriptors};
use support::{Manager, pid_of, root, setup, tool, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

fn two_workers() -> Manager {
    let manager = setup("pause").options("-b 127.0.0.1:0 -n 2 --ack none").start();
    manager.up();
    manager
}

/// The manager still does what it is asked, and has lost nobody.
fn unharmed(manager: &Manager, pids: &[i32]) {
    assert_eq!(manager.ask(&json!({"command": "worker:ping", "id": 1}))["ok"], true);
    assert_eq!(manager.pids("ready"), pids);
    assert_eq!(manager.group()["state"], "up");
}

// pitfall 49
#[test]
fn garbage_is_answered_and_harms_nobody() {
    let manager = two_workers();
    let pids = manager.pids("ready");
    let mut talk = manager.connect();
    for garbage in [
        "hello",
        "{",
        "[]",
        "42",
        "null",
        "{}",
        r#"{"command":7}"#,
        r#"{"command":"upgarde"}"#,
        r#"{"command":"scale"}"#,
        r#"{"command":"scale","workers":-1}"#,
        r#"{"command":"scale","workers":"many"}"#,
        r#"{"command":"scale","workers":1e99}"#,
        r#"{"command":"inc","count":0}"#,
        r#"{"command":"signal"}"#,
        r#"{"command":"signal","signal":"NONSENSE"}"#,
        r#"{"command":"log-level","level":"loud"}"#,
        r#"{"command":"worker:ack","pid":-3}"#,
        r#"{"command":"upgrade","wait":"yes"}"#,
        r#"{"command":"upgrade","wait":false,"drained":true}"#,
        r#"{"command":"stop","group":5}"#,
        "\u{0}\u{1}\u{7f}",
        "GET / HTTP/1.1",
        "--- yaml",
    ] {
        talk.send_bytes(format!("{garbage}\n").as_bytes());
        let answer = talk.receive().unwrap();
        assert_eq!(
            (&answer["done"], &answer["ok"], &answer["code"]),
            (&json!(true), &json!(false), &json!(2)),
            "{garbage}: {answer}"
        );
        assert!(!answer["error"].as_str().unwrap().is_empty());
    }
    talk.send_bytes(b"\xff\xfe\xfd\n");
    assert_eq!(talk.receive().unwrap()["code"], 2);
    let deep = "[".repeat(30_000);
    talk.send_bytes(format!("{{\"command\":\"status\",\"x\":{deep}\n").as_bytes());
    assert_eq!(talk.receive().unwrap()["code"], 2);
    // Empty lines are none, and the connection still serves.
    talk.send_bytes(b"\n\r\n{\"command\":\"version\",\"id\":{\"a\":[1.50]}}\r\n");
    let answer = talk.receive().unwrap();
    assert_eq!((&answer["ok"], &answer["id"]), (&json!(true), &json!({"a": [1.5]})));
    assert!(answer["version"].as_str().unwrap().starts_with("remuda "));
    // An unknown group is refused, and the one there is named.
    let answer = talk.ask(&json!({"command": "upgrade", "group": "wbe"}));
    assert_eq!(answer["code"], 4);
    assert!(answer["error"].as_str().unwrap().contains("web"), "{answer}");
    unharmed(&manager, &pids);
}

#[test]
fn a_huge_line_is_answered_and_ends_its_connection() {
    // Size limits.
    let manager = two_workers();
    let pids = manager.pids("ready");
    let mut talk = manager.connect();
    let most = 64 * 1024;
    let fits = format!("{{\"command\":\"worker:ping\",\"x\":\"{}\"}}\n", "x".repeat(most - 64));
    talk.send_bytes(fits.as_bytes());
    assert_eq!(talk.receive().unwrap()["ok"], true);
    // The manager may close before all is written.
    let _ = talk.stream().write_all(&vec![b'x'; 4 * most]);
    let answer = talk.receive().expect("an answer");
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!(2)), "{answer}");
    assert!(talk.receive().is_none());
    unharmed(&manager, &pids);
}

#[test]
fn half_lines_and_clients_that_vanish_harm_nobody() {
    let manager = two_workers();
    let pids = manager.pids("ready");
    let before = descriptors(manager.pid()).len();
    let mut half = manager.connect();
    half.send_bytes(b"{\"command\":");
    for request in ["status", "events", "upgrade", "worker:ack"] {
        let mut talk = manager.connect();
        talk.send_bytes(format!("{{\"command\":\"{request}\",\"group\":\"nobody\"").as_bytes());
    }
    half.send_bytes(b"\"version\"}");
    // A last line may lack its end.
    half.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.receive().unwrap()["ok"], true);
    assert!(half.receive().is_none(), "the connection ends when all is answered");
    drop(half);
    unharmed(&manager, &pids);
    // Nothing of them is left: each of these connections has been closed by now, or is at this answer.
    let after = descriptors(manager.pid()).len();
    assert!(after <= before + 1, "{before} descriptors before, {after} after");
}

#[test]
fn two_hundred_idle_clients_keep_nobody_out() {
    let manager = two_workers();
    let pids = manager.pids("ready");
    let idle: Vec<Talk> = (0..200).map(|_| manager.connect()).collect();
    unharmed(&manager, &pids);
    manager.done(&["upgrade", "--timeout", "20s"]);
    manager.done(&["scale", "3", "--timeout", "20s"]);
    let held = descriptors(manager.pid()).len();
    assert!(held < 140, "{held} descriptors");
    drop(idle);
    manager.done(&["status"]);
}

#[test]
fn a_crowd_that_connects_at_once_is_served_to_the_last() {
    let manager = two_workers();
    let start = Arc::new(Barrier::new(150));
    let askers: Vec<_> = (0..150)
        .map(|_| {
            let (start, control) = (Arc::clone(&start), manager.control.clone());
            thread::spawn(move || {
                start.wait();
                let mut talk = Talk::new(UnixStream::connect(control).unwrap());
                let answer = talk.ask(&json!({"command": "worker:ping"}));
                // It keeps its connection until all are done: only silence makes room.
                (talk, answer)
            })
        })
        .collect();
    for asker in askers {
        let (_talk, answer) = asker.join().unwrap();
        assert_eq!(answer["ok"], true);
    }
}

#[test]
fn one_listener_too_many_is_told_so_and_workers_and_who_looks_or_stops_are_not() {
    let mut manager = setup("ack pause").options("-n 2 --ack manual").start();
    manager.up();
    let mut listeners: Vec<Events> = (0..64).map(|_| manager.events()).collect();
    for request in [json!({"command": "events", "id": 7}), json!({"command": "restart", "id": 7})] {
        let answer = manager.ask(&request);
        assert_eq!(
            (&answer["ok"], &answer["code"], &answer["id"]),
            (&json!(false), &json!(4), &json!(7)),
            "{answer}"
        );
    }
    manager.done(&["status"]);
    manager.signal(Signal::SIGHUP);
    listeners[0].until("upgrade-done");
    manager.done(&["stop"]);
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn who_talks_without_end_has_its_turn_and_then_makes_room() {
    let manager = two_workers();
    let stop = Arc::new(AtomicBool::new(false));
    let talkers: Vec<_> = (0..2)
        .map(|_| {
            let (stop, control) = (Arc::clone(&stop), manager.control.clone());
            thread::spawn(move || {
                let open = || UnixStream::connect(&control).unwrap();
                let mut talkers: Vec<UnixStream> = (0..40).map(|_| open()).collect();
                while !stop.load(Ordering::Relaxed) {
                    for talker in &mut talkers {
                        // One that had to make room stays out.
                        let _ = talker.write_all(b"\n");
                    }
                }
            })
        })
        .collect();
    for _ in 0..20 {
        manager.done(&["status"]);
    }
    stop.store(true, Ordering::Relaxed);
    talkers.into_iter().for_each(|talker| talker.join().unwrap());
}

#[test]
fn a_listener_that_does_not_read_is_dropped_and_the_others_are_served() {
    let manager = two_workers();
    let before = descriptors(manager.pid()).len();
    let mut deaf = manager.connect();
    deaf.send(&json!({"command": "events"}));
    let mut events = manager.events();
    // Each number of workers is an event. Nobody waits for workers, so that there are many.
    let mut talk = manager.connect();
    let deadline = Instant::now() + support::LIMIT;
    while descriptors(manager.pid()).len() > before + 2 {
        for workers in [1, 2] {
            assert_eq!(talk.ask(&json!({"command": "scale", "workers": workers, "wait": false}))["ok"], true);
            events.until("scaled");
        }
        assert!(Instant::now() < deadline, "it is still connected");
    }
    assert_eq!(manager.ask(&json!({"command": "worker:ping"}))["ok"], true);
}

#[test]
fn a_client_that_does_not_read_answers_is_dropped() {
    let manager = two_workers();
    let pids = manager.pids("ready");
    let deaf = manager.connect();
    deaf.stream().set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let line = b"{\"command\":\"status\"}\n".repeat(1000);
    let mut sent = 0;
    // Sooner or later the manager has enough of it.
    let dropped = loop {
        match deaf.stream().write(&line) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 256 << 20, "{sent} bytes were taken");
    };
    assert!(
        matches!(dropped.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset),
        "{dropped}"
    );
    let _ = deaf.stream().read(&mut [0; 16]);
    unharmed(&manager, &pids);
    let resident: u64 =
        process::status_field(manager.pid(), "VmRSS").trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 64 * 1024, "the manager has grown to {resident} kB");
}

#[test]
fn requests_may_be_sent_all_at_once() {
    let manager = two_workers();
    let mut talk = manager.connect();
    let mut lines = String::new();
    for id in 0..60 {
        lines += &format!("{{\"command\":\"worker:ping\",\"id\":{id}}}\n");
    }
    talk.send_bytes(lines.as_bytes());
    let ids: Vec<Value> = (0..60).map(|_| talk.receive().unwrap()["id"].take()).collect();
    assert_eq!(ids, (0..60).map(Value::from).collect::<Vec<_>>());
}

// pitfall 49
#[test]
fn the_control_socket_is_for_its_owner() {
    let manager = two_workers();
    let mode = std::fs::metadata(&manager.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    if !root() || !tool("setpriv") {
        return;
    }
    // Even where the file would let them in: the credentials of the peer are asked.
    std::fs::set_permissions(&manager.control, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", support::REMUDA, "scale", "9"]);
    command.arg("--control").arg(&manager.control);
    let output = process::run(&mut command);
    assert_ne!(output.code, Some(0), "{output:?}");
    assert_eq!(manager.group()["target"], 2);
}

#[test]
fn status_is_a_plain_table_and_a_versioned_object() {
    let manager = two_workers();
    let output = manager.done(&["status"]);
    assert!(!output.stdout.contains('\x1b'), "colour in a pipe: {output:?}");
    for pid in manager.pids("ready") {
        assert!(output.stdout.contains(&pid.to_string()), "{output:?}");
    }
    assert!(output.stdout.contains("web") && output.stdout.contains("127.0.0.1:"), "{output:?}");
    // Columns: the word of the second worker stands below that of the first.
    let columns: Vec<usize> = output.stdout.lines().filter_map(|line| line.find("ready ")).collect();
    assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{}", output.stdout);

    let output = manager.done(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&status["version"], &status["pid"], &status["name"]),
        (&json!(1), &json!(manager.pid()), &json!("web"))
    );
    assert!(status["uptime_ms"].is_u64());
    let group = &status["groups"][0];
    let worker = &group["workers"][1];
    let mut fields: BTreeMap<&str, &Value> =
        worker.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert!(fields.remove("since_ms").unwrap().is_u64());
    assert!(fields.remove("pid").unwrap().is_u64());
    assert_eq!(
        json!(fields),
        json!({
            "slot": 1, "index": 1, "generation": 1, "phase": "ready", "restarts": 0, "last_exit": null,
            "last_failure": null, "until_ms": null
        })
    );
    let socket = &group["sockets"][0];
    assert!(socket["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(socket["name"].is_string());
    // No values of variables.
    assert!(!output.stdout.contains(worker::SCRIPT));
    assert_eq!(manager.verb(&["status", "nobody"]).code, Some(4));
}

#[test]
fn events_are_printed_until_the_manager_ends() {
    let mut manager = two_workers();
    let listen = |words: &[&str]| {
        let mut process = Process::spawn(manager.asking(words).stdout(Stdio::piped()));
        let lines = Log::follow(process.child.stdout.take().expect("a pipe"));
        (process, lines)
    };
    let (mut plain, plain_lines) = listen(&["events"]);
    let (mut json, json_lines) = listen(&["events", "--json"]);
    // Each begins with how things stand.
    plain_lines.line("web");
    json_lines.line("status");
    manager.done(&["upgrade", "--wait-drained"]);
    assert_eq!(manager.stop(), Some(0));
    assert_eq!((plain.wait().code(), json.wait().code()), (Some(0), Some(0)));
    let (plain, json) = (plain_lines.all(), json_lines.all());
    assert!(plain.contains("web: upgraded: all workers are of generation 2"), "{plain}");
    assert!(plain.contains("shutting down gracefully (signal TERM)"), "{plain}");
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["event"], "status");
    assert!(lines.iter().all(|line| line["event"].is_string()));
    let ready = lines.iter().find(|line| line["event"] == "ready").unwrap();
    for field in
        ["level", "message", "group", "ready", "target", "draining", "slot", "index", "pid", "generation"]
    {
        assert!(!ready[field].is_null(), "no {field} in {ready}");
    }
}

#[test]
fn version_and_ping_are_answered() {
    let manager = two_workers();
    assert_eq!(manager.done(&["version"]).stdout, format!("remuda {}\n", env!("CARGO_PKG_VERSION")));
    manager.done(&["ping"]);
    manager.done(&["ping", "--quiet"]);
    assert_eq!(manager.done(&["ping", "--quiet"]).stdout, "");
}

#[test]
fn the_log_level_can_be_changed() {
    let manager = two_workers();
    manager.done(&["log-level", "error"]);
    manager.done(&["upgrade"]);
    manager.done(&["log-level", "debug"]);
    manager.done(&["restart"]);
    let log = manager.log.line("restarted");
    assert!(log.starts_with("remuda: info: web: "), "{log}");
    let log = manager.log.text();
    assert!(!log.contains("upgrading"), "{log}");
    assert!(log.contains("remuda: debug: web["), "{log}");
    assert_eq!(manager.verb(&["log-level", "loud"]).code, Some(2));
}

#[test]
fn verbs_without_a_manager_say_so() {
    let setup = setup("pause");
    for words in [
        &["status"][..],
        &["upgrade"],
        &["restart"],
        &["start"],
        &["stop"],
        &["scale", "3"],
        &["inc"],
        &["dec"],
        &["signal", "HUP"],
        &["log-level", "info"],
        &["events"],
        &["version"],
        &["ack"],
        &["ping"],
    ] {
        let output = setup.verb(words);
        assert_eq!(output.code, Some(3), "{words:?}: {output:?}");
        assert!(output.stderr.starts_with("remuda: ") && output.stderr.lines().count() == 1, "{output:?}");
    }
    let mut command = Command::new(support::REMUDA);
    command.args(["status", "--name", "nobody-of-this-name"]);
    let output = process::run(&mut command);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.contains("nobody-of-this-name"), "{output:?}");
}

#[test]
fn a_verb_without_a_name_takes_the_only_manager_or_lists_them() {
    let directory = setup("");
    let run = |words: &[&str]| {
        let mut command = Command::new(support::REMUDA);
        command.args(words).env("RUNTIME_DIRECTORY", directory.path(""));
        process::run(&mut command)
    };
    let start = |name: &str| {
        let setup = setup("pause").options("--ack none").option("--name").option(name).default_control();
        let mut command = setup.command();
        command.env("RUNTIME_DIRECTORY", directory.path(""));
        setup.start_as(command)
    };
    let mut one = start("one");
    assert_eq!(run(&["status", "--json"]).code, Some(0));
    let two = start("two");
    let output = run(&["status"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("one") && output.stderr.contains("two"), "{output:?}");
    assert_eq!(run(&["status", "--name", "two"]).code, Some(0));
    assert_eq!(run(&["stop", "--name", "one"]).code, Some(0));
    assert_eq!(one.exit().code(), Some(0));
    let status: Value = serde_json::from_str(&run(&["status", "--json"]).stdout).unwrap();
    assert_eq!((&status["name"], pid_of(&status)), (&json!("two"), two.pid()));
}

#[test]
fn a_verb_that_is_asked_by_a_worker_finds_its_manager() {
    let mut manager = setup("")
        .options("--ack none --restart never")
        .program(&["sh", "-c", &format!("{0} ping --control \"$EINHORN_SOCK_PATH\"", support::REMUDA)])
        .start();
    assert_eq!(manager.exit().code(), Some(0));
}

// ---- which manager is asked ------------------------------------------------------------------------------------------

/// A user who is nobody here.
const STRANGER: u32 = 54_321;

#[test]
fn which_manager_is_meant_may_be_said_before_the_verb_and_help_is_a_word() {
    let manager = two_workers();
    let mut command = Command::new(support::REMUDA);
    command.arg("--control").arg(&manager.control).args(["status", "--json"]);
    assert_eq!(process::run(&mut command).code, Some(0));
    let help = |words: &[&str]| process::run(Command::new(support::REMUDA).args(words));
    assert_eq!(help(&["help"]).stdout, help(&["--help"]).stdout);
    assert_eq!(help(&["help", "upgrade"]).stdout, help(&["upgrade", "--help"]).stdout);
    let unknown = help(&["help", "upgrad"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("did you mean 'upgrade'?"), "{unknown:?}");
}

#[test]
fn a_verb_without_a_name_asks_nobody_outside_the_runtime_directory_it_was_pointed_at() {
    let setup = setup("ack pause").options("-n 1 --ack manual");
    let uid = nix::unistd::getuid();
    let name = format!("elsewhere-{}", std::process::id());
    let empty = setup.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let abstract_name = format!("@remuda/{uid}/{name}");
    let words = setup.words();
    let mut command = Command::new(support::REMUDA);
    let at = words.iter().position(|word| word == "--control").expect("a control socket");
    command.args(&words[..=at]).arg(&abstract_name).args(&words[at + 2..]).env(worker::SCRIPT, "pause");
    let mut elsewhere = process::Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let ask = |words: &[&str]| {
        let mut command = Command::new(support::REMUDA);
        command.args(words).env("RUNTIME_DIRECTORY", &empty);
        process::run(&mut command)
    };
    // By its name it is found.
    let found = ask(&["probe", "live", "--name", &name, "--timeout", "30s"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    let bare = ask(&["stop"]);
    assert_eq!(bare.code, Some(3), "{bare:?}");
    assert!(bare.stderr.contains("no remuda is running"), "{bare:?}");
    assert!(!bare.stderr.contains("@remuda/"), "nobody has looked there: {bare:?}");
    assert_eq!(ask(&["stop", "--name", &name]).code, Some(0));
    elsewhere.wait();
}

#[test]
fn a_manager_of_another_user_is_told_as_such_and_not_as_not_running() {
    use std::os::unix::process::CommandExt;
    if !root() {
        return;
    }
    let manager = two_workers();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(manager.path(""), open).unwrap();
    let mut stranger = Command::new(support::REMUDA);
    stranger.arg("status").arg("--control").arg(&manager.control).uid(STRANGER).gid(STRANGER);
    let refused = process::run(&mut stranger);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("it belongs to uid 0"), "{refused:?}");

    // And the other way: whose answers are believed.
    let directory = manager.path("theirs");
    std::fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(STRANGER), Some(STRANGER)).unwrap();
    let mut theirs = Command::new(support::REMUDA);
    theirs.args(["run", "--control"]).arg(directory.join("c.sock")).args(["--", "sleep", "1000"]);
    theirs.uid(STRANGER).gid(STRANGER).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    let mut theirs = process::Process::spawn(&mut theirs);
    let mut waiting = Command::new(support::REMUDA);
    waiting.args(["probe", "live", "--timeout", "30s", "--control"]).arg(directory.join("c.sock"));
    waiting.uid(STRANGER).gid(STRANGER);
    assert_eq!(process::run(&mut waiting).code, Some(0));
    let mut root = Command::new(support::REMUDA);
    root.args(["stop", "--control"]).arg(directory.join("c.sock"));
    let refused = process::run(&mut root);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains(&format!("belongs to uid {STRANGER}")), "{refused:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(theirs.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(theirs.wait().code(), Some(0));
}

#[test]
fn a_probe_waits_for_a_manager_that_is_yet_to_come_and_not_for_ever() {
    let setup = setup("gate:{dir}/gate ack pause").options("-n 1 --ack manual");
    let gate = setup.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let control = setup.path("c.sock");
    let probe = |words: &[&str]| {
        let mut command = Command::new(support::REMUDA);
        command.arg("probe").args(words).arg("--control").arg(&control);
        command
    };
    let over = process::run(&mut probe(&["ready", "--timeout", "100ms"]));
    assert_eq!(over.code, Some(6), "{over:?}");
    assert!(over.stderr.contains("after 100 ms"), "{over:?}");
    let waiting = process::begin(&mut probe(&["ready", "--timeout", "60s"]));
    let manager = setup.start();
    let over = process::run(&mut probe(&["ready", "--timeout", "100ms"]));
    assert!(over.code == Some(6) && over.stderr.contains("web starting, 0/1 ready"), "{over:?}");
    let _open = std::fs::OpenOptions::new().read(true).write(true).open(&gate).unwrap();
    let ready = waiting.output();
    assert_eq!(ready.code, Some(0), "{ready:?}\n{}", manager.log.text());
    assert_eq!(process::run(&mut probe(&["live", "--timeout", "5s"])).code, Some(0));
}

/// Listens as that user at an abstract name, until it is dropped.
fn listen_as(uid: u32, name: &str) -> process::Process {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(support::REMUDA);
    command.args(["run", "--control", name, "--", "sleep", "1000"]).uid(uid).gid(uid).current_dir("/");
    let manager = process::Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let mut probe = Command::new(support::REMUDA);
    probe.args(["probe", "live", "--timeout", "30s", "--control", name]).uid(uid).gid(uid);
    assert_eq!(process::run(&mut probe).code, Some(0));
    manager
}

/// A verb of this process's user, who has no runtime directory.
fn ask_anywhere(words: &[&str]) -> process::Output {
    let mut command = Command::new(support::REMUDA);
    process::run(command.args(words).env_remove("RUNTIME_DIRECTORY").env_remove("XDG_RUNTIME_DIR"))
}

fn end(mut manager: process::Process) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(manager.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(manager.wait().code(), Some(0));
}

#[test]
fn a_probe_waits_for_ours_beside_a_manager_of_that_name_that_is_another_users() {
    if !root() {
        return;
    }
    let name = format!("twin-{}", std::process::id());
    let theirs = listen_as(STRANGER, &format!("@remuda/{STRANGER}/{name}"));
    let refused = ask_anywhere(&["status", "--name", &name]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains(&format!("runs as uid {STRANGER}")), "{refused:?}");
    let over = ask_anywhere(&["probe", "live", "--name", &name, "--timeout", "100ms"]);
    assert_eq!(over.code, Some(6), "{over:?}");
    let mut probe = Command::new(support::REMUDA);
    probe.args(["probe", "live", "--name", &name, "--timeout", "60s"]);
    let waiting = process::begin(probe.env_remove("RUNTIME_DIRECTORY").env_remove("XDG_RUNTIME_DIR"));
    let ours = listen_as(0, &format!("@remuda/0/{name}"));
    let found = waiting.output();
    assert_eq!(found.code, Some(0), "{found:?}");
    end(ours);
    end(theirs);
}

#[test]
fn a_number_in_an_abstract_name_does_not_tell_whose_it_is() {
    if !root() {
        return;
    }
    let name = format!("feigned-{}", std::process::id());
    let theirs = listen_as(STRANGER, &format!("@remuda/777/{name}"));
    let nobody = ask_anywhere(&["status", "--name", &name]);
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    end(theirs);
}
