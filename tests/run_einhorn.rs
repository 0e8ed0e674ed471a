//! The real binary in the manner of einhorn: its command line, its wire, its upgrades with a manager that replaces itself,
//! and what remuda does better.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, mkfifo};
use support::process::{Output, descriptors, environment, lives, run, wait_gone};
use support::{LIMIT, Manager, REMUDA, Setup, replace_by_link, setup, worker, write_program};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

/// A worker that says that it is up and stops when asked as einhorn does.
const POLITE: &str = "stop-on:USR2 ack-einhorn pause";

/// `remuda einhorn OPTIONS -d SOCKET -e PIDFILE -f LOCKFILE -- PROGRAM`, where the program does what `script` says.
fn command_by(mut command: Command, setup: &Setup, script: &str, options: &str) -> Command {
    command.args(options.split_whitespace());
    for (option, name) in [("-d", "c.sock"), ("-e", "pid"), ("-f", "lock")] {
        command.arg(option).arg(setup.path(name));
    }
    command.arg("--").arg(setup.path("program"));
    command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
    command.env(worker::SCRIPT, script.replace("{dir}", &setup.path("").display().to_string()));
    command
}

fn command(setup: &Setup, script: &str, options: &str) -> Command {
    let mut command = Command::new(REMUDA);
    command.arg("einhorn");
    command_by(command, setup, script, options)
}

fn start(script: &str, options: &str) -> Manager {
    let setup = setup("");
    let command = command(&setup, script, options);
    setup.start_as(command)
}

/// Everything that is answered to these bytes until the connection ends, or the sender has nothing more to say.
fn exchange(manager: &Manager, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(&manager.control).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn sh(manager: &Manager, commands: &str) -> Output {
    run(Command::new(REMUDA).arg("einhornsh").arg("-d").arg(&manager.control).args(["-e", commands]))
}

/// The text of `state`.
fn state(manager: &Manager) -> String {
    sh(manager, "state").stdout
}

/// Pids of the workers that the state tells of, with their version.
fn workers(manager: &Manager) -> Vec<(i32, u32)> {
    let text = state(manager);
    let lines: Vec<&str> = text.lines().collect();
    let pid = |at: usize| lines[at].strip_prefix("    ")?.strip_suffix(':')?.parse::<i32>().ok();
    let version = |at: usize| lines[at + 2].trim().strip_prefix(":version: ").unwrap().parse().unwrap();
    (0..lines.len()).filter_map(|at| pid(at).map(|pid| (pid, version(at)))).collect()
}

fn address(manager: &Manager) -> SocketAddr {
    let text = state(manager);
    let (_, rest) = text.split_once(":bound_ports:\n  - ").expect("a port");
    SocketAddr::from(([127, 0, 0, 1], rest.lines().next().unwrap().parse().unwrap()))
}

/// Waits until that many workers were told to be alive.
fn alive(manager: &Manager, count: usize) {
    manager
        .log
        .lines("workers that are alive", count, |line| line.contains("so we are considering it alive."));
}

fn stop(manager: &mut Manager) {
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
    for name in ["c.sock", "pid", "lock"] {
        assert!(!manager.path(name).exists(), "{name} is left");
    }
}

// ---- command line ----------------------------------------------------------------------------------------------------

#[test]
fn a_line_that_comes_to_nothing_has_the_status_and_the_place_of_einhorns() {
    let einhorn = |words: &[&str]| run(Command::new(REMUDA).arg("einhorn").args(words));
    let version = einhorn(&["--version"]);
    assert_eq!((version.code, version.stdout.as_str()), (Some(0), "1.1.1\n"));
    for (words, status) in [(&["-h"][..], 0), (&[], 1)] {
        let output = einhorn(words);
        assert_eq!(
            (output.code, output.stdout.lines().next()),
            (Some(status), Some("## Usage")),
            "{output:?}"
        );
    }
    let wrong = einhorn(&["-z"]);
    assert_eq!((wrong.code, wrong.stderr.as_str()), (Some(1), "einhorn: invalid option: -z\n"));
    let check = einhorn(&["--upgrade-check", "-z"]);
    assert_eq!((check.code, check.stdout.as_str()), (Some(0), ""), "{check:?}");
    assert!(check.stderr.starts_with("remuda "), "{check:?}");
    let none = einhorn(&["--with-state-fd", "9", "--", "true"]);
    assert_eq!(none.code, Some(1), "{none:?}");
}

#[test]
fn the_programs_are_known_by_their_own_names() {
    let setup = setup("");
    for name in ["einhorn", "einhornsh"] {
        symlink(REMUDA, setup.path(name)).unwrap();
    }
    assert_eq!(run(Command::new(setup.path("einhorn")).arg("--version")).stdout, "1.1.1\n");
    let output = run(Command::new(setup.path("einhornsh")).arg("-h"));
    assert!(output.code == Some(0) && output.stdout.contains("einhornsh [options]"), "{output:?}");
}

#[test]
fn a_program_that_is_not_there_leaves_nothing_behind() {
    let setup = setup("");
    fs::remove_file(setup.path("program")).unwrap();
    let output = run(&mut command(&setup, "", ""));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("no such file or directory"), "{output:?}");
    assert!(!setup.path("c.sock").exists() && !setup.path("pid").exists());
}

#[test]
fn a_worker_finds_its_sockets_and_its_manager_and_a_connection_of_its_own() {
    let setup = setup("");
    let mut command = command(&setup, POLITE, "-gk -m manual -c app -b 127.0.0.1:0,r -b 127.0.0.1:0,n");
    command.env("EINHORN_FD_9", "9").env("OPEN", "y");
    let mut manager = setup.start_as(command);
    alive(&manager, 1);
    let (pid, _) = workers(&manager)[0];
    let variables = environment(pid);
    let get = |name: &str| variables.get(name).map(String::as_str);
    assert_eq!(
        (get("EINHORN_FD_COUNT"), get("EINHORN_FD_0"), get("EINHORN_FD_1")),
        (Some("2"), Some("3"), Some("4"))
    );
    assert_eq!(
        (get("EINHORN_MASTER_PID"), get("EINHORN_CHILD_INDEX")),
        (Some(&*manager.pid().to_string()), Some("0"))
    );
    assert_eq!(
        (get("EINHORN_SOCK_PATH"), get("EINHORN_FD_FAMILY_0")),
        (manager.control.to_str(), Some("AF_INET"))
    );
    assert_eq!((get("EINHORN_SOCK_FD"), get("EINHORN_FD_9"), get("OPEN")), (Some("5"), None, Some("y")));
    assert!(descriptors(pid)[&5].starts_with("socket:"), "{:?}", descriptors(pid));
    assert_eq!(getpgid(Some(Pid::from_raw(pid))).unwrap().as_raw(), pid);
    let shown = fs::read_to_string(format!("/proc/{}/cmdline", manager.pid())).unwrap();
    assert!(shown.starts_with("einhorn: app\0"), "{shown:?}");
    assert_eq!(fs::read_to_string(manager.path("pid")).unwrap().trim(), manager.pid().to_string());
    let text = state(&manager);
    for part in [
        ":cmd_name: app\n",
        ":command_socket_as_fd: true\n",
        "    - - r\n",
        ":type: :manual\n",
        "  :number: 1\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    stop(&mut manager);
}

#[test]
fn workers_are_told_when_a_manager_is_killed() {
    let mut manager = start("stop-on:USR2 note:{dir}/up pause", "-k");
    manager.log.line("===> Launched");
    alive(&manager, 1);
    let (pid, _) = workers(&manager)[0];
    manager.process.end();
    assert!(wait_gone(pid));
}

// ---- messages --------------------------------------------------------------------------------------------------------

#[test]
fn a_session_of_einhornsh_is_answered_as_it_was_by_einhorn() {
    let mut manager = start(POLITE, "-m manual -n 1 -s 0.01");
    alive(&manager, 1);
    let pid = manager.pid();
    let cannot = format!(
        "Can't decrease number of workers (already at 1).  Run kill {pid} if you really want to kill einhorn.\n"
    );
    for (commands, answer) in [
        ("inc", "Incrementing number of workers from 1 -> 2\n"),
        (
            "dec; quieter ;louder",
            "Decrementing number of workers from 2 -> 1\nVerbosity set to 2\nVerbosity set to 1\n",
        ),
        ("dec", &*cannot),
        (
            "set_workers 3; set_workers 0",
            "Altering worker count, 1 -> 3. Will spin up additional workers.\nInvalid count: '0'. Must be an integer in [1,1000).\n",
        ),
        ("signal FOO", "Invalid signal: \"FOO\"\n"),
        ("signal 'CONT' USR1x", "Invalid signal: \"USR1x\"\n"),
        ("config '{config: {number: 2}}'", "Successfully merged in config\n"),
        ("   ", ""),
        ("quit; help", ""),
    ] {
        let output = sh(&manager, commands);
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), answer), "{commands}: {output:?}");
    }
    assert!(sh(&manager, "help").stdout.starts_with("You are speaking to the Einhorn command socket."));
    assert!(state(&manager).contains(":number: 2\n"));
    assert_eq!(sh(&manager, "die TERM").stdout, "Einhorn is going down! \n");
    assert_eq!(manager.exit().code(), Some(0));
    let gone = sh(&manager, "help");
    assert!(gone.code == Some(1) && gone.stderr.contains("Couldn't find an Einhorn at"), "{gone:?}");
}

#[test]
fn whatever_is_sent_the_manager_lives_and_answers_the_next_one() {
    let mut manager = start(POLITE, "-m manual");
    alive(&manager, 1);
    let bombs = ["[".repeat(65_000), format!("a: &a [{}]", "*a,".repeat(9000)), "- ".repeat(30_000)];
    let lines = ["--- !ruby/object:Object {}%0A", "hello", "", "\0", "{\"command\": ", "%", "!!x y"];
    for line in lines.into_iter().chain(bombs.iter().map(String::as_str)) {
        let answer = exchange(&manager, format!("{line}\n").as_bytes());
        assert_eq!(answer, "---%0Amessage: Could not parse command%0A\n", "{:?}", line.get(..20));
    }
    assert_eq!(exchange(&manager, b"\xff\xfe\n"), "---%0Amessage: Could not parse command%0A\n");
    let mut half = UnixStream::connect(&manager.control).unwrap();
    half.write_all(b"---%0Acommand: lou").unwrap();
    let ehlo = exchange(&manager, b"---%0Acommand: ehlo%0Auser: root%0A\n");
    let welcome = format!("Welcome, root! You are speaking to Einhorn Master Process {}.", manager.pid());
    assert_eq!(ehlo, format!("---%0Amessage: |%0A  {welcome}%0A  This is Einhorn 1.1.1.%0A\n"));
    half.write_all(b"der%0Aid: 7%0A\n").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "---%0Amessage: Verbosity set to 0%0Arequest_id: 7%0A\n");
    stop(&mut manager);
}

#[test]
fn acks_by_hand_end_their_connection_without_a_word() {
    let mut manager = start("stop-on:USR2 pause", "-m manual -n 3");
    manager.log.lines("workers", 3, |line| line.contains("===> Launched"));
    let pids: Vec<i32> = workers(&manager).into_iter().map(|(pid, _)| pid).collect();
    let acks = [
        format!("---%0Acommand: worker:ack%0Apid: {}%0A\n", pids[0]),
        format!("command: worker:ack%0Apid: {}%0A\n", pids[1]),
        format!("{{\"command\": \"worker:ack\", \"pid\": {}}}\n", pids[2]),
    ];
    for ack in &acks {
        let mut stream = UnixStream::connect(&manager.control).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(ack.as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0, "the manager hangs up");
    }
    alive(&manager, 3);
    exchange(
        &manager,
        format!("{{\"command\":\"worker:ping\",\"pid\":{},\"request_id\":\"r1\"}}\n", pids[0]).as_bytes(),
    );
    assert!(state(&manager).contains(":pinged_request_id: r1\n"));
    stop(&mut manager);
}

// ---- recorded exchanges ----------------------------------------------------------------------------------------------

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

// ---- upgrades --------------------------------------------------------------------------------------------------------

#[test]
fn an_upgrade_is_told_from_beginning_to_end_across_a_new_image() {
    let mut manager = start(POLITE, "-m manual -n 2 -s 0.01");
    alive(&manager, 2);
    let mut other = UnixStream::connect(&manager.control).unwrap();
    other.set_read_timeout(Some(LIMIT)).unwrap();
    other
        .write_all(b"{\"command\":\"upgrade_fleet\",\"id\":\"mine\"}\n{\"command\":\"louder\",\"id\":3}\n")
        .unwrap();
    let told = sh(&manager, "upgrade");
    assert_eq!(told.code, Some(0), "{told:?}");
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"Upgrading smoothly, as commanded"), "{told:?}");
    assert_eq!(lines.last(), Some(&"Upgrade done"), "{told:?}");
    for part in [
        "Starting smooth upgrade from version",
        "===> Launched",
        "killing off 1 old workers.",
        "Sending USR2 to [",
        "Upgraded successfully to version",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told:?}");
    }
    other.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    other.read_to_string(&mut all).unwrap();
    let begin = r#"{"message":"Upgrading fleet, as commanded","request_id":"mine","wait":true}"#;
    assert_eq!(all.lines().next(), Some(begin), "{all}");
    assert_eq!(all.lines().last(), Some(r#"{"message":"Upgrade done","request_id":"mine"}"#), "{all}");
    assert!(all.contains(r#"{"message":"Verbosity set to 0","request_id":3}"#), "{all}");
    manager.log.line("re-executed");
    stop(&mut manager);
}

#[test]
fn hup_upgrades_and_the_signals_that_end_it_have_their_status() {
    let mut manager = start(POLITE, "-m manual");
    alive(&manager, 1);
    let (old, _) = workers(&manager)[0];
    manager.signal(Signal::SIGUSR1);
    manager.signal(Signal::SIGHUP);
    manager.log.line("INFO: Starting smooth upgrade from version 0...");
    manager.log.line("INFO: Upgraded successfully to version 1 (Einhorn 1.1.1).");
    assert!(wait_gone(old));
    assert_eq!(workers(&manager).iter().map(|&(_, version)| version).collect::<Vec<_>>(), [1]);
    stop(&mut manager);
    let mut manager = start("stop-on:QUIT ack-einhorn pause", "-m manual");
    alive(&manager, 1);
    manager.signal(Signal::SIGQUIT);
    assert_eq!(manager.exit().code(), Some(1));
}

#[test]
fn a_worker_that_does_not_go_is_killed_where_a_time_is_set() {
    let mut manager = start("ignore:USR2 ack-einhorn pause", "-m manual -t 1");
    alive(&manager, 1);
    manager.signal(Signal::SIGINT);
    manager.log.line("is still active after");
    assert_eq!(manager.exit().code(), Some(0));
}

/// Starts with a command that leads back to the manager: a script with these lines before it.
fn start_wrapped(lines: &str, options: &str) -> Manager {
    let setup = setup("");
    let script = setup.path("wrapper");
    write_program(&script, &format!("#!/bin/sh\n{lines}\n"));
    let mut base = Command::new(REMUDA);
    base.arg("einhorn").arg("--reexec-as").arg(format!("{} 'a b'", script.display()));
    let mut command = command_by(base, &setup, POLITE, options);
    command.env("DROPPED", "x");
    setup.start_as(command)
}

fn rewrite(manager: &Manager, lines: &str) {
    let fresh = manager.path("wrapper.2");
    write_program(&fresh, &format!("#!/bin/sh\n{lines}\n"));
    replace_by_link(&manager.path("wrapper"), &fresh);
}

#[test]
fn a_wrapper_leads_back_to_the_manager_with_the_first_environment() {
    let lines =
        format!("[ \"$1\" = 'a b' ] || exit 9\nshift\nexec env -u REMUDA_STATE_FD {REMUDA} einhorn \"$@\"");
    let mut manager = start_wrapped(&lines, "-m manual --drop-env-var DROPPED");
    alive(&manager, 1);
    let (old, _) = workers(&manager)[0];
    assert_eq!(
        environment(old).get("DROPPED").map(String::as_str),
        Some("x"),
        "the first workers still see it"
    );
    let told = sh(&manager, "upgrade");
    assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}\n{}", manager.log.text());
    assert!(wait_gone(old));
    let (new, version) = workers(&manager)[0];
    assert_eq!((version, environment(new).get("DROPPED")), (1, None));
    stop(&mut manager);
}

#[test]
fn a_wrapper_that_fails_or_leads_elsewhere_costs_nothing_but_the_upgrade() {
    let lines = format!("shift\nexec {REMUDA} einhorn \"$@\"");
    let mut manager = start_wrapped(&lines, "-m manual");
    alive(&manager, 1);
    let before = workers(&manager);
    for lines in ["exit 3", "exec sh -c 'exit 0'", "exec /no/such/program", "kill -9 $$"] {
        rewrite(&manager, lines);
        let told = sh(&manager, "upgrade");
        let last = told.stdout.lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("Upgrade failed: not re-executed: "), "{lines}: {told:?}");
        assert_eq!(workers(&manager), before, "{lines}");
    }
    stop(&mut manager);
}

#[test]
fn a_wrapper_that_takes_its_time_is_waited_for_and_loses_nobody() {
    let lines = format!("shift\nexec {REMUDA} einhorn \"$@\"");
    let mut manager = start_wrapped(&lines, "-m manual");
    alive(&manager, 1);
    let (worker, _) = workers(&manager)[0];
    for name in ["asked", "gap"] {
        mkfifo(&manager.path(name), Mode::from_bits_truncate(0o600)).unwrap();
    }
    let directory = manager.path("").display().to_string();
    let wait = format!(
        "case $1 in --upgrade-check) read go <{directory}/asked;; *) read go <{directory}/gap;; esac"
    );
    rewrite(&manager, &format!("shift\n{wait}\nexec {REMUDA} einhorn \"$@\""));
    // Open as soon as the wrapper waits there.
    let gate = |name: &str| fs::OpenOptions::new().write(true).open(manager.path(name)).unwrap();
    let mut half = UnixStream::connect(&manager.control).unwrap();
    half.set_read_timeout(Some(LIMIT)).unwrap();
    half.write_all(b"---%0Acommand: qui").unwrap();
    let mut told = UnixStream::connect(&manager.control).unwrap();
    told.set_read_timeout(Some(LIMIT)).unwrap();
    told.write_all(b"{\"command\":\"upgrade\",\"id\":\"u\"}\n").unwrap();
    let mut asked = gate("asked");
    assert_eq!(workers(&manager), [(worker, 0)], "who waits for the wrapper does everything else");
    asked.write_all(b"\n").unwrap();
    let mut gap = gate("gap");
    assert!(lives(worker));
    // Nobody is there to read it at this moment.
    half.write_all(b"eter%0Aid: 7%0A\n").unwrap();
    gap.write_all(b"\n").unwrap();
    for (stream, end) in [
        (&mut half, "---%0Amessage: Verbosity set to 2%0Arequest_id: 7%0A\n"),
        (&mut told, "{\"message\":\"Upgrade done\",\"request_id\":\"u\"}\n"),
    ] {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(end), "{answer}");
    }
    assert!(wait_gone(worker));
    stop(&mut manager);
}

fn upgrades_under_load(count: u32) {
    let setup = setup("");
    let command =
        command(&setup, "stop-on:USR2 ack-einhorn serve", "-b 127.0.0.1:0,r -n 3 -m manual -s 0.001");
    let mut manager = setup.start_as(command);
    alive(&manager, 3);
    let limit = Duration::from_secs(10);
    let traffic =
        Traffic { connections: 4, pause: Duration::from_millis(1), limit, ..Traffic::to(address(&manager)) };
    let load = Load::start(traffic).unwrap();
    let upgrade = || {
        let told = sh(&manager, "upgrade");
        assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}\n{}", manager.log.text());
    };
    upgrade();
    // Old workers go when they are done, and the end of a client is noticed in the next pass.
    let open = |manager: &Manager| {
        let begin = Instant::now();
        while workers(manager).len() > 3 {
            assert!(begin.elapsed() < LIMIT, "{}", state(manager));
        }
        descriptors(manager.pid()).into_values().filter(|target| target.starts_with("socket:")).count()
    };
    let before = open(&manager);
    for _ in 1..count {
        upgrade();
    }
    let begin = Instant::now();
    while open(&manager) > before {
        assert!(begin.elapsed() < LIMIT, "{:?} after {before}", descriptors(manager.pid()));
    }
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    println!("{count} upgrades: {report}");
    stop(&mut manager);
}

#[test]
fn a_dozen_upgrades_with_re_execution_lose_no_request() {
    upgrades_under_load(12);
}

#[test]
#[ignore = "takes long; `cargo test --test run_einhorn -- --ignored`"]
fn two_hundred_upgrades_with_re_execution_lose_no_request() {
    upgrades_under_load(200);
}

#[test]
fn einhorn_runs_as_the_worker_of_another() {
    let setup = setup("");
    let inner = setup.path("inner");
    let text = format!(
        "#!/bin/sh\nexec {REMUDA} einhorn -d {0}/i.sock -e {0}/i.pid -f {0}/i.lock -- sleep 1000\n",
        setup.path("").display()
    );
    write_program(&inner, &text);
    replace_by_link(&setup.path("program"), &inner);
    let command = command(&setup, "", "");
    let mut manager = setup.start_as(command);
    alive(&manager, 1);
    let (worker, _) = workers(&manager)[0];
    assert!(lives(worker));
    kill(Pid::from_raw(manager.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
    assert!(!lives(worker));
}

#[test]
fn a_shell_reads_commands_to_the_end_of_its_input() {
    let mut manager = start(POLITE, "-m manual");
    alive(&manager, 1);
    let mut shell = Command::new(REMUDA)
        .args(["einhornsh", "-d"])
        .arg(&manager.control)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(b"quieter\n\n louder; inc \nexit\nnever").unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = "Verbosity set to 2\nVerbosity set to 1\nIncrementing number of workers from 1 -> 2\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), said);
    stop(&mut manager);
}
