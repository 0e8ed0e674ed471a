//! The real binary in the manner of einhorn, asked what einhorn itself was asked when it was recorded.
//!
//! `tests/golden/einhorn` has the requests and the replies. Pids, versions and moments are of their day.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::einhorn::*;
use crate::support::process::{descriptors, environment, run, status_field};
use crate::support::{Manager, REMUDA, setup, write_program};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid, getsid};

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/einhorn").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One reply, written in either way.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    /// Every number in it is `N`: pids, versions and times are of their day.
    message: String,
    id: Option<String>,
    wait: bool,
}

/// Replies as they were recorded, which is Ruby's YAML, or as we write them to who asks in JSON.
fn told(answer: &str) -> Vec<Told> {
    answer.lines().map(|line| if line.starts_with('{') { from_json(line) } else { from_yaml(line) }).collect()
}

fn from_json(line: &str) -> Told {
    let object: serde_json::Value = serde_json::from_str(line).unwrap();
    let id = object.get("request_id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    let message = numberless(object["message"].as_str().unwrap());
    Told { message, id, wait: object.get("wait") == Some(&true.into()) }
}

fn from_yaml(line: &str) -> Told {
    let text = line.replace("%0A", "\n").replace("%25", "%");
    let (message, rest) =
        text.strip_prefix("---\nmessage: ").unwrap().split_once("\nrequest_id: ").map_or_else(
            || (text.strip_prefix("---\nmessage: ").unwrap().trim_end().to_owned(), String::new()),
            |(message, rest)| (message.to_owned(), rest.to_owned()),
        );
    let message = match message.strip_prefix("|\n") {
        Some(block) => {
            block.lines().map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned() + "\n").collect()
        }
        None => message.trim_matches(['"', '\'']).to_owned(),
    };
    let id = rest.lines().next().filter(|id| !id.is_empty()).map(str::to_owned);
    Told { message: numberless(&message), id, wait: rest.contains("\nwait: true\n") }
}

fn numberless(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_ascii_digit() { 'N' } else { c }) {
        if c != 'N' || !out.ends_with('N') {
            out.push(c);
        }
    }
    out
}

/// What is told to the end of a stream.
fn stream(manager: &Manager, request: &str) -> Vec<Told> {
    told(&exchange(manager, recorded(request).as_bytes()))
}

#[test]
fn recorded_upgrades_are_told_in_the_recorded_words() {
    let mut manager = start(POLITE, "-m manual -n 2 -s 0.01");
    alive(&manager, 2);
    for name in ["json-upgrade", "json-upgrade_fleet"] {
        let (ours, theirs) =
            (stream(&manager, &format!("{name}.req")), told(&recorded(&format!("{name}.resp"))));
        assert_eq!((ours.first(), ours.last()), (theirs.first(), theirs.last()), "{ours:?}");
        let (last, on_the_way) = ours.split_last().unwrap();
        assert!(!last.wait && on_the_way.iter().all(|told| told.wait && told.id == last.id), "{ours:?}");
        let mut rest = ours.clone();
        // Nobody writes the state into a pipe here, and when an old worker is gone is its own affair.
        for line in theirs.iter().filter(|told| !told.message.starts_with("===> Exited")) {
            let Some(at) = rest.iter().position(|told| told == line) else { panic!("{line:?} in {ours:?}") };
            rest.remove(at);
        }
    }
    let words = stream(&manager, "json-upgrade-noid.req");
    assert_eq!(words, told(&recorded("json-upgrade-noid.resp")));
    stop(&mut manager);
}

#[test]
fn recorded_requests_are_answered_across_a_new_image() {
    let mut manager = start(POLITE, "-m manual");
    alive(&manager, 1);
    let answer = stream(&manager, "json-reload.req");
    assert_eq!(answer, told(&recorded("json-reload.resp")));
    manager.log.line("re-executed");
    stop(&mut manager);
}

#[test]
fn recorded_refusals_begin_as_they_did_and_end_with_the_reason() {
    let mut manager = start_wrapped("exit 3", "-m manual");
    alive(&manager, 1);
    for name in ["reload", "upgrade", "upgrade_fleet", "upgrade-noid"] {
        let mut ours = stream(&manager, &format!("reload-refused-{name}.req"));
        let theirs = told(&recorded(&format!("reload-refused-{name}.resp")));
        if let Some(end) = ours.pop_if(|told| told.message.starts_with("Upgrade failed: not re-executed: ")) {
            assert_eq!((&end.id, end.wait), (&theirs[0].id, false), "{name}");
        } else {
            assert!(!theirs[0].wait, "{name}: {ours:?}");
        }
        ours.retain(|told| !told.message.contains("Reloading einhorn master"));
        assert_eq!(ours, theirs, "{name}");
    }
    stop(&mut manager);
}

/// The state that is told to this recorded request, and that which was told then, both without what is of their day.
fn states(manager: &Manager, name: &str) -> (String, String) {
    let message = |told: &[Told]| told[0].message.clone();
    let ours = message(&stream(manager, &format!("{name}.req")));
    let ours = ours
        .replace(&numberless(&manager.path("").display().to_string()), "/tmp/")
        // We tell the limit that holds where nobody has set one, too.
        .replace("    :max_unacked: N\n", "");
    // Ruby names a moment the first time it writes it, and refers to it afterwards; and it looks the program up first.
    let theirs = message(&told(&recorded(&format!("{name}.resp"))))
        .replace(": &N N", ": N")
        .replace("*N", "N-N-N N:N:N.N +N:N")
        .replace("/usr/bin/sleep", "sleep")
        .replace("\"sleep\"", "sleep");
    (ours, theirs)
}

#[test]
fn the_recorded_states_are_told() {
    let setup = setup("");
    let mut command = Command::new(REMUDA);
    command.current_dir(setup.path("")).args(["einhorn", "-m", "manual"]);
    for (option, name) in [("-d", "x.sock"), ("-e", "x.pid"), ("-f", "x.lock")] {
        command.arg(option).arg(setup.path(name));
    }
    command.args(["--", "sleep", "1000"]);
    let mut manager = setup.start_as(command);
    manager.control = manager.path("x.sock");
    manager.log.line("===> Launched");
    let (ours, theirs) = states(&manager, "manual-state");
    assert_eq!(ours, theirs);
    let (pid, _) = workers(&manager)[0];
    for name in ["manual-ack-goji", "manual-ping"] {
        let request = recorded(&format!("{name}.req")).replace("22763", &pid.to_string());
        assert_eq!(exchange(&manager, request.as_bytes()), recorded(&format!("{name}.resp")), "{name}");
    }
    let (ours, theirs) = states(&manager, "manual-state-after");
    assert_eq!(ours, theirs);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn the_recorded_state_of_sockets_and_options_is_told() {
    let setup = setup("");
    write_program(&setup.path("envdump.py"), "#!/bin/sh\nexec sleep 1000\n");
    let mut command = Command::new(REMUDA);
    command.current_dir(setup.path("")).args(["einhorn", "-b", "127.0.0.1:0,r,n", "-b", "127.0.0.1:0"]);
    command.args(["-g", "-c", "myapp", "--drop-env-var", "DROPME"]);
    for (option, name) in [("-d", "x.sock"), ("-e", "x.pid"), ("-f", "x.lock")] {
        command.arg(option).arg(setup.path(name));
    }
    command.args(["--", "./envdump.py", "-x", "a", "--verbose"]);
    let mut manager = setup.start_as(command);
    manager.control = manager.path("x.sock");
    alive(&manager, 1);
    let (ours, theirs) = states(&manager, "state-bind-g-c");
    assert_eq!(ours, theirs);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}

/// A recorded session of einhornsh: its words, what it printed and its status.
fn session(name: &str) -> (Vec<String>, String, i32) {
    let text = recorded(name);
    let (words, rest) = text.strip_prefix("ARGS (").unwrap().split_once(")\nSTDOUT\n").unwrap();
    let (stdout, rest) = rest.split_once("\nSTDERR\n").unwrap();
    let status = rest.trim().strip_prefix("RC ").unwrap().parse().unwrap();
    (words.split(", ").map(|word| word.trim_matches('\'').to_owned()).collect(), stdout.to_owned(), status)
}

#[test]
fn recorded_sessions_of_einhornsh_go_as_they_went() {
    let mut manager = start(POLITE, "-m manual -n 2 -s 0.01");
    alive(&manager, 2);
    for name in ["help", "nocmd", "quit"] {
        let (words, stdout, status) = session(&format!("einhornsh-{name}.einhornsh"));
        let mut command = Command::new(REMUDA);
        command.arg("einhornsh").arg("-d").arg(&manager.control).args(words);
        let output = run(&mut command);
        assert_eq!((output.stdout, output.code), (stdout, Some(status)), "{name}");
    }
    let output = sh(&manager, "upgrade; quieter; louder");
    let ours: Vec<String> = output.stdout.lines().map(numberless).collect();
    let theirs = recorded("einhornsh-upgrade.einhornsh");
    let theirs: Vec<String> = theirs.lines().map(numberless).collect();
    // The verbosity is that of its day, the state passer is none of ours, and who is gone when is not ours to say.
    let mut rest = ours.iter();
    for line in theirs.iter().filter(|line| !line.contains("===> Exited") && !line.is_empty()) {
        assert!(ours.contains(line), "{line}: {ours:?}");
    }
    for line in
        ["Upgrading smoothly, as commanded", "Upgrade done", "Verbosity set to N", "Verbosity set to N"]
    {
        assert!(rest.any(|ours| ours == line), "{line}: {ours:?}");
    }
    stop(&mut manager);
}

#[test]
fn the_recorded_state_on_its_way_to_another_image_is_told() {
    let setup = setup("");
    let wrapper = setup.path("reexec.sh");
    let mut command = Command::new(REMUDA);
    command.current_dir(setup.path("")).args(["einhorn", "-b", "127.0.0.1:0,r", "-m", "30"]);
    command.arg("--reexec-as").arg(format!("{} 'a b'", wrapper.display()));
    for (option, name) in [("-d", "x.sock"), ("-e", "x.pid"), ("-f", "x.lock")] {
        command.arg(option).arg(setup.path(name));
    }
    command.args(["--", "sleep", "500"]);
    let mut manager = setup.start_as(command);
    manager.control = manager.path("x.sock");
    manager.log.line("===> Launched");
    let theirs = recorded("state-fd.yaml");
    let (theirs, _descriptors) = theirs.split_once(":persistent_descriptors:").unwrap();
    let theirs = numberless(theirs)
        .replace("    N:\n      :type: :state_passer\n", "")
        // It was written down in the midst of an upgrade, which here is asked for again by the other image.
        .replace(":reloading_for_upgrade: true", ":reloading_for_upgrade: false")
        .replace(":smooth_upgrade: true", ":smooth_upgrade: false")
        .replace(": &N N", ": N")
        .replace("*N", "N-N-N N:N:N.N +N:N")
        .replace("\"/usr/bin/sleep\"", "sleep")
        .replace("timeout: N.N", "timeout: N")
        .replace("/run/rec/", "/tmp/");
    let ours = numberless(&state(&manager))
        .replace(&numberless(&manager.path("").display().to_string()), "/tmp/")
        .replace("    :max_unacked: N\n", "");
    assert_eq!(ours, theirs);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn a_worker_finds_what_the_recorded_one_found() {
    let theirs: serde_json::Value = serde_json::from_str(&recorded("worker-env.json")).unwrap();
    let setup = setup("");
    write_program(&setup.path("envdump.py"), "#!/bin/sh\nexec sleep 1000\n");
    let mut command = Command::new(REMUDA);
    command.current_dir(setup.path("")).args(["einhorn", "-b", "127.0.0.1:0", "--drop-env-var", "DROPME"]);
    for (option, name) in [("-d", "c.sock"), ("-e", "pid"), ("-f", "lock")] {
        command.arg(option).arg(setup.path(name));
    }
    command.args(["--", "./envdump.py"]).env("KEEPME", "1").env("DROPME", "2");
    let mut manager = setup.start_as(command);
    alive(&manager, 1);
    let (pid, _) = workers(&manager)[0];
    let ours = environment(pid);
    for (name, value) in theirs["env"].as_object().unwrap() {
        let expected = match name.as_str() {
            // Sockets stand at 3 and up here.
            "EINHORN_FD_0" => "3".to_owned(),
            "EINHORN_MASTER_PID" => manager.pid().to_string(),
            "EINHORN_SOCK_PATH" => manager.control.display().to_string(),
            _ => value.as_str().unwrap().to_owned(),
        };
        assert_eq!(ours.get(name), Some(&expected), "{name}");
    }
    let id = |value: nix::Result<Pid>| value.unwrap().as_raw();
    let of_worker = Some(Pid::from_raw(pid));
    assert_eq!((theirs["pgid"] == theirs["pid"], id(getpgid(of_worker))), (true, pid));
    assert_eq!(id(getsid(of_worker)), id(getsid(None)), "the session stays");
    assert_eq!(status_field(pid, "PPid"), manager.pid().to_string());
    assert_eq!(
        status_field(pid, "SigBlk"),
        theirs["sig"][0].as_str().unwrap().trim_start_matches("SigBlk:\t")
    );
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        fs::canonicalize(manager.path("")).unwrap()
    );
    let (of_manager, of_worker) = (descriptors(manager.pid()), descriptors(pid));
    for standard in 0..3 {
        assert_eq!(of_worker[&standard], of_manager[&standard], "{standard}");
    }
    let sockets = of_worker.values().filter(|target| target.starts_with("socket:")).count();
    assert_eq!(sockets, 1, "{of_worker:?}");
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}
