//! The real binary in the manner of firestarter: its command line, its sockets of both kinds, its messages, and what remuda
//! does better.
//!
//! `tests/golden/firestarter` holds exchanges recorded with firestarter 0.3.3: all that a client sent on one connection,
//! and all that it got; `d` on the manager's socket, `g` on that of the group.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use support::process::{Output, descriptors, environment, lives, run, status_field, wait_gone};
use support::{LIMIT, Manager, REMUDA, Setup, root, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Writes the file of groups. `WORKER` in it stands for the keys that make a group run the worker, `DIR` for the
/// directory.
fn write(setup: &Setup, text: &str) -> PathBuf {
    let worker = "exec_start = \"DIR/program --exact worker_entry --nocapture '--test-threads=1'\"\nenv_files = ['DIR/env']\n";
    let directory = setup.path("");
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    let file = setup.path("groups.toml");
    fs::write(&file, text.replace("WORKER", worker).replace("DIR", directory)).unwrap();
    file
}

/// `remuda firestarter run` with this file; sockets of groups are in the directory.
fn command(setup: &Setup, text: &str) -> Command {
    let mut command = Command::new(REMUDA);
    command.args(["firestarter", "run", "--config"]).arg(write(setup, text));
    command.arg("-d").arg(setup.path("c.sock")).env("TMPDIR", setup.path(""));
    command
}

fn start(script: &str, text: &str) -> Manager {
    let setup = setup(script);
    let command = command(&setup, text);
    setup.start_as(command)
}

/// What the client prints when it is asked these words.
fn firestarter(manager: &Manager, words: &[&str]) -> Output {
    let (first, rest) = words.split_first().unwrap();
    let mut command = Command::new(REMUDA);
    run(command.args(["firestarter", first, "-d"]).arg(&manager.control).args(rest))
}

/// The same, which must succeed.
fn done(manager: &Manager, words: &[&str]) -> String {
    let output = firestarter(manager, words);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{words:?}: {output:?}");
    output.stdout
}

/// What is done with a group: the message without the line before it.
fn ctrl(manager: &Manager, group: &str, command: &str) -> String {
    let told = done(manager, &["ctrl", group, command]);
    let begin = format!("send ctrl command [{command}] to [{group}] worker\n");
    told.strip_prefix(&begin).unwrap_or_else(|| panic!("{told}")).trim_end().to_owned()
}

/// The pids in the lists of a message, list by list, each in order.
fn lists(message: &str) -> Vec<Vec<i32>> {
    let inside = message.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    let numbers = |list: &str| {
        let mut pids: Vec<i32> = list.split(", ").filter_map(|pid| pid.parse().ok()).collect();
        pids.sort_unstable();
        pids
    };
    inside.map(|(list, _)| numbers(list)).collect()
}

/// The pids that the status of a group shows.
fn pids(manager: &Manager, group: &str) -> Vec<i32> {
    let told = ctrl(manager, group, "status");
    lists(&told).pop().unwrap()
}

/// Waits until a group shows this many workers.
fn settled(manager: &Manager, group: &str, count: usize) -> Vec<i32> {
    let begin = Instant::now();
    loop {
        let pids = pids(manager, group);
        if pids.len() == count {
            return pids;
        }
        assert!(begin.elapsed() < LIMIT, "{group} has {pids:?}");
    }
}

/// Waits until a group shows this many workers, and until they have been ready.
fn up(manager: &Manager, group: &str, count: usize) -> Vec<i32> {
    let pids = settled(manager, group, count);
    for pid in &pids {
        let ready = |line: &str| line.contains(&format!("pid {pid} ")) && line.contains(": ready after");
        manager.log.lines("ready", 1, ready);
    }
    pids
}

/// All that comes back on a connection where this is sent.
fn exchange(socket: &Path, request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Numbers differ from run to run.
fn without_numbers(text: &[u8]) -> String {
    let mut plain = String::new();
    for letter in String::from_utf8_lossy(text).chars() {
        match letter.is_ascii_digit() {
            true if plain.ends_with('#') => {}
            true => plain.push('#'),
            false => plain.push(letter),
        }
    }
    plain
}

const TWO: &str = "[plain]\nWORKER\n[web]\nWORKER\nnumprocesses = 2\nack_timeout = 0\n";

// ---- messages --------------------------------------------------------------------------------------------------------

#[test]
fn exchanges_are_those_that_were_recorded() {
    let mut manager = start("pause", TWO);
    let group = manager.path("firestarter-web.socket");
    settled(&manager, "plain", 1);
    settled(&manager, "web", 2);
    for (socket, name) in [
        (&manager.control, "d-list"),
        (&manager.control, "d-status"),
        (&manager.control, "d-ctrl-status"),
        (&manager.control, "d-ctrl-inc"),
        (&manager.control, "d-ctrl-dec"),
        (&manager.control, "d-ctrl-upgrade"),
        (&manager.control, "d-ctrl-restart"),
        (&manager.control, "d-badjson"),
        (&group, "g-status"),
        (&group, "g-none"),
        (&group, "g-nopid"),
        (&group, "g-badjson"),
        (&group, "g-ack"),
        (&group, "g-ack-nosignal"),
    ] {
        let recorded = |end: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/firestarter");
            fs::read(folder.join(format!("{name}.{end}"))).unwrap()
        };
        let answer = exchange(socket, &recorded("req"));
        assert_eq!(without_numbers(&answer), without_numbers(&recorded("resp")), "{name}");
        let pid = format!("\"pid\":{},", manager.pid());
        assert!(answer.is_empty() || String::from_utf8_lossy(&answer).contains(&pid), "{name}");
    }
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn one_request_is_one_answer_whatever_comes_with_it() {
    let manager = start("pause", TWO);
    let group = manager.path("firestarter-web.socket");
    let list = b"{\"command_type\":\"list\",\"pid\":1,\"more\":[]}\n";
    assert_eq!(
        exchange(&manager.control, &[list.as_slice(), list].concat()),
        exchange(&manager.control, list)
    );
    for wrong in [
        &b"\n"[..],
        b"{}\n",
        b"[]\n",
        b"{\"command_type\":\"dance\",\"pid\":1}\n",
        b"{\"command_type\":\"list\"}\n",
        b"{\"command_type\":\"ctrl_worker\",\"worker\":\"web\",\"command\":null,\"pid\":1}\n",
        b"{\"command_type\":\"ctrl_worker\",\"worker\":\"web\",\"command\":{\"command\":\"worker:stop\",\"pid\":1,\"signal\":\"SIGFOO\"},\"pid\":1}\n",
    ] {
        assert_eq!(exchange(&manager.control, wrong), b"", "{wrong:?}");
        assert_eq!(exchange(&group, wrong), b"", "{wrong:?}");
    }
    // A line without its end counts when nothing more can come.
    let mut stream = UnixStream::connect(&manager.control).unwrap();
    stream.write_all(list.trim_ascii()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\"workers\":[\"plain\",\"web\"]}\n"), "{answer}");
    assert!(lives(manager.pid()));
}

#[test]
fn a_group_that_is_not_there_is_told_with_those_that_are() {
    let manager = start("pause", TWO);
    let output = firestarter(&manager, &["ctrl", "wbe", "status"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let told = "send ctrl command [status] to [wbe] worker\nerror: no group \"wbe\"; there is plain, web\n";
    assert_eq!(output.stdout, told);
}

// ---- the client ------------------------------------------------------------------------------------------------------

#[test]
fn every_command_does_what_it_says_and_tells_the_pids() {
    let mut manager = start("pause", TWO);
    assert_eq!(done(&manager, &["list"]), "worker names:\nplain\nweb\n\n");
    let first = up(&manager, "web", 2);
    let status = done(&manager, &["status"]);
    assert!(
        status.starts_with("[plain] active\nprocesses [") && status.contains("\n[web] active\n"),
        "{status}"
    );

    let one = lists(&ctrl(&manager, "web", "inc")).remove(0);
    assert!(one.len() == 1 && lives(one[0]));
    let mut three = [&first[..], &one].concat();
    three.sort_unstable();
    assert_eq!(pids(&manager, "web"), three);
    assert_eq!(lists(&ctrl(&manager, "web", "dec")).concat(), one);
    assert!(wait_gone(one[0]));
    assert_eq!(ctrl(&manager, "plain", "dec"), "decrements worker process pid [0]");

    let moved = lists(&ctrl(&manager, "web", "upgrade"));
    let second = pids(&manager, "web");
    assert_eq!(moved, [second.clone(), first.clone()]);
    assert!(first.iter().all(|&pid| wait_gone(pid)));
    let moved = lists(&ctrl(&manager, "web", "restart"));
    let third = pids(&manager, "web");
    assert_eq!(moved, [third.clone(), second]);

    let stopped = ctrl(&manager, "web", "stop");
    assert!(
        stopped.starts_with("send signal SIGTERM pid [") && lists(&stopped) == [third.clone()],
        "{stopped}"
    );
    assert!(third.iter().all(|&pid| !lives(pid)));
    assert!(ctrl(&manager, "web", "status").starts_with("[web] stopped\nprocesses []\ntime 00:0"));
    assert_eq!(ctrl(&manager, "web", "stop"), "send signal SIGTERM pid []");
    assert_eq!(ctrl(&manager, "web", "upgrade"), "upgrade processes new [] old []");
    let fourth = lists(&ctrl(&manager, "web", "start")).remove(0);
    assert_eq!(pids(&manager, "web"), fourth);
    assert_eq!(ctrl(&manager, "web", "start"), "start processes pid []");

    let plain = pids(&manager, "plain");
    let stopped = done(&manager, &["stop"]);
    assert_eq!(
        without_numbers(stopped.as_bytes()),
        "send signal SIGTERM pid [#]\nsend signal SIGTERM pid [#, #]\n"
    );
    assert_eq!(lists(&stopped), [plain, fourth]);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
    assert!(manager.descendants().is_empty());
    let left: Vec<String> = fs::read_dir(manager.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("sock"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_signal_of_ones_own_is_sent_instead() {
    let mut manager = start("exit-on:HUP:7 pause", TWO);
    let first = up(&manager, "web", 2);
    // The worker handles HUP before it waits; until then that would be a clean end too.
    let told = done(&manager, &["ctrl", "-s", "SIGHUP", "web", "stop"]);
    assert!(told.contains("\nsend signal SIGHUP pid [") && lists(&told).last() == Some(&first), "{told}");
    let stopping = |line: &str| line.contains("web[") && line.contains("stopping with signal HUP");
    manager.log.lines("stopped by HUP", 2, stopping);
    done(&manager, &["ctrl", "web", "start"]);
    for command in ["upgrade", "restart", "dec"] {
        let told = done(&manager, &["ctrl", "web", command, "--signal", "SIGKILL"]);
        let old = lists(told.trim_end()).pop().unwrap();
        assert!(!old.is_empty(), "{told}");
        assert!(old.iter().all(|&pid| wait_gone(pid)));
    }
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn stopped_stays_stopped_whatever_the_restart_policy() {
    let text = "[web]\nWORKER\nnumprocesses = 2\nrestart = 'always'\n[other]\nWORKER\nrestart = 'always'\n";
    let manager = start("pause", text);
    for (command, told) in [("stop", "send signal SIGTERM pid"), ("killall", "kill processes pid")] {
        let before = up(&manager, "web", 2);
        let message = ctrl(&manager, "web", command);
        assert!(message.starts_with(told) && lists(&message) == [before], "{message}");
        // Whatever would bring them back has had its turn by then.
        ctrl(&manager, "other", "restart");
        assert_eq!(pids(&manager, "web"), [0; 0]);
        ctrl(&manager, "web", "start");
    }
}

#[test]
fn a_group_that_has_finished_can_be_started_again() {
    let manager = start("exit:0", "[once]\nWORKER\n");
    manager.log.line("finished");
    let begin = Instant::now();
    while !ctrl(&manager, "once", "status").starts_with("[once] stopped\nprocesses []\n") {
        assert!(begin.elapsed() < LIMIT);
    }
    manager.next_script("pause");
    assert_eq!(lists(&ctrl(&manager, "once", "upgrade")), [[0; 0], [0; 0]]);
    ctrl(&manager, "once", "start");
}

#[test]
fn an_upgrade_that_fails_is_told_and_leaves_the_old_workers() {
    let manager = start("pause", "[web]\nWORKER\nnumprocesses = 2\nack_timeout = 30\n");
    // An old worker that is not ready yet would be of no use to it, and would go.
    let before = up(&manager, "web", 2);
    manager.next_script("exit:3");
    let output = firestarter(&manager, &["ctrl", "web", "upgrade"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("\nerror: the upgrade to generation 2 failed: "), "{output:?}");
    assert_eq!(pids(&manager, "web"), before);
}

// ---- workers ---------------------------------------------------------------------------------------------------------

#[test]
fn acks_are_waited_for_in_upgrades_and_need_no_pid() {
    let manager = start("pause", "[web]\nWORKER\nnumprocesses = 2\nack = 'manual'\n");
    let first = up(&manager, "web", 2);
    // These never acked, and are taken for ready all the same.
    assert_eq!(lists(&ctrl(&manager, "web", "start")), [[0; 0]]);
    manager.next_script("ack-in-passing pause");
    let moved = lists(&ctrl(&manager, "web", "upgrade"));
    assert_eq!(moved, [pids(&manager, "web"), first]);
    // One that cannot be told from others, as it comes from outside of all of them.
    manager.next_script("pause");
    let request = "{\"command_type\":\"ctrl_worker\",\"worker\":\"web\",\"command\":{\"command\":\"worker:upgrade\",\"pid\":1},\"pid\":1}\n";
    let mut upgrade = UnixStream::connect(&manager.control).unwrap();
    upgrade.set_read_timeout(Some(LIMIT)).unwrap();
    upgrade.write_all(request.as_bytes()).unwrap();
    let own = manager.path("firestarter-web.socket");
    settled(&manager, "web", 4);
    for (signal, left) in [("null", 3), ("\"SIGKILL\"", 2)] {
        let ack = format!("{{\"command\":\"worker:ack\",\"pid\":0,\"signal\":{signal}}}\n");
        assert_eq!(exchange(&own, ack.as_bytes()), b"");
        settled(&manager, "web", left);
    }
    let mut answer = String::new();
    upgrade.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"message\":\"upgrade processes new ["), "{answer}");
    manager.log.line("stopping with signal KILL: replaced");
}

#[test]
fn without_acks_an_upgrade_is_a_stop_and_a_start() {
    let manager = start("note:{dir}/started pause", "[web]\nWORKER\nnumprocesses = 2\nack = 'none'\n");
    let first = up(&manager, "web", 2);
    let [new, old] = &lists(&ctrl(&manager, "web", "upgrade"))[..] else { panic!("two lists") };
    assert_eq!(*old, first);
    manager.log.line("upgraded: all workers are of generation 2");
    let log = manager.log.text();
    let at = |line: &str| log.find(line).unwrap_or_else(|| panic!("no {line}"));
    for old in &first {
        assert!(
            at(&format!("pid {old} gen 1: stopping with signal USR2")) < at(&format!("pid {} gen 2", new[0]))
        );
    }
}

#[test]
fn a_worker_finds_what_firestarter_tells_and_no_more_descriptors() {
    let setup = setup("pause");
    let text = "[web]\nWORKER\nsocket_address = ['tcp::0', 'DIR/web.sock']\n\
        start_immediate = true\nworking_directory = '/'\n\
        environments = ['A=b=c', 'FIRESTARTER_FD_0=x']\nenvironment_base_name = 'FS'\n";
    let mut command = command(&setup, text);
    command.env("LISTEN_FDS", "9").env("OPEN", "y");
    let mut manager = setup.start_as(command);
    let pid = up(&manager, "web", 1)[0];
    let variables = environment(pid);
    let get = |name: &str| variables.get(name).map(String::as_str);
    assert_eq!((get("LISTEN_FDS"), get("LISTEN_PID")), (Some("2"), None));
    assert_eq!((get("FS_FD_COUNT"), get("FS_FD_0"), get("FS_FD_1")), (Some("2"), Some("3"), Some("4")));
    assert_eq!(get("FS_MASTER_PID"), Some(manager.pid().to_string().as_str()));
    assert_eq!(status_field(pid, "PPid"), manager.pid().to_string());
    assert_eq!(get("FS_SOCK_PATH"), manager.path("firestarter-web.socket").to_str());
    assert_eq!((get("A"), get("OPEN"), get("FS_SOCK_FD")), (Some("b=c"), Some("y"), None));
    assert!(descriptors(pid).keys().filter(|&&number| (3..20).contains(&number)).count() >= 2);
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(manager.stop(), Some(0));
    assert!(!manager.path("web.sock").exists());
}

#[test]
fn workers_of_another_user_ack_on_the_socket_of_their_group_which_root_may_use_for_all() {
    if !root() {
        return;
    }
    let setup = setup("ack-in-passing pause");
    // Where the test binary is may be closed to others.
    let program = setup.path("copy");
    support::copy_program(&std::env::current_exe().unwrap(), &program);
    support::replace_by_link(&setup.path("program"), &program);
    let command = command(&setup, "[web]\nWORKER\nuid = 54321\nack = 'manual'\n");
    let manager = setup.start_as(command);
    let first = up(&manager, "web", 1);
    let own = manager.path("firestarter-web.socket");
    let file = fs::metadata(&own).unwrap();
    assert_eq!((file.uid(), file.mode() & 0o777), (54321, 0o600));
    let moved = lists(&ctrl(&manager, "web", "upgrade"));
    assert_eq!(moved, [pids(&manager, "web"), first]);
    let told = exchange(&own, b"{\"command\":\"worker:status\",\"pid\":1}\n");
    assert!(String::from_utf8_lossy(&told).contains("\"message\":\"[web] active"), "{told:?}");
}

// ---- signals, places, command line -----------------------------------------------------------------------------------

#[test]
fn each_signal_to_end_stops_everything_gracefully_and_leaves_nothing() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut manager = start("pause", TWO);
        settled(&manager, "web", 2);
        manager.signal(signal);
        assert_eq!(manager.exit().code(), Some(0), "{signal}: {}", manager.log.text());
        assert!(manager.descendants().is_empty() && !manager.log.text().contains("killing"));
        for name in ["c.sock", "c.sock.lock", "firestarter-web.socket", "firestarter-plain.socket.lock"] {
            assert!(!manager.path(name).exists(), "{name}");
        }
    }
}

#[test]
fn manager_and_client_meet_where_firestarter_has_its_sockets() {
    let setup = setup("pause");
    let directory = setup.path("");
    let file = write(&setup, "[web]\nWORKER\n");
    let door = setup.path("firestarter");
    symlink(REMUDA, &door).unwrap();
    let here = |words: &[&str]| {
        let mut command = Command::new(&door);
        command.args(words).env("TMPDIR", &directory).env("FIRESTARTER_APP_NAME", "app");
        command
    };
    let mut command = here(&["run", "-c"]);
    command.arg(file);
    let mut manager = setup.start_as(command);
    assert!(manager.path("app-control.socket").exists() && manager.path("app-web.socket").exists());
    assert_eq!(run(&mut here(&["list"])).stdout, "worker names:\nweb\n\n");
    assert_eq!(run(&mut here(&["stop"])).code, Some(0));
    assert_eq!(manager.exit().code(), Some(0));
    let none = run(&mut here(&["list"]));
    assert_eq!((none.code, none.stdout.as_str()), (Some(3), ""));
}

#[test]
fn what_is_wrong_with_a_line_is_told_as_firestarter_tells_it() {
    let line = |words: &[&str]| run(Command::new(REMUDA).arg("firestarter").args(words));
    let hint = "\n\nFor more information try --help\n";
    for (words, told) in [
        (
            &["nosuch"][..],
            "error: Found argument 'nosuch' which wasn't expected, or isn't valid in this context\n\n\
             USAGE:\n    firestarter <SUBCOMMAND>",
        ),
        (
            &["ctrl", "-d", "/x", "web", "frob"],
            "error: 'frob' isn't a valid value for '<COMMAND>'\n\
             \t[possible values: dec, inc, killall, restart, start, status, stop, upgrade]\n\n\n\
             USAGE:\n    firestarter ctrl <WORKER_CONFIG_NAME> <COMMAND> --socket-path <PATH>",
        ),
        (
            &["run"],
            "error: The following required arguments were not provided:\n    --config <FILE>\n\n\
             USAGE:\n    firestarter run --config <FILE> --socket-path <PATH>",
        ),
    ] {
        let output = line(words);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
        assert_eq!(output.stderr, format!("{told}{hint}"));
    }
    let nothing = line(&[]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(1), ""));
    let help = line(&["-h"]);
    assert_eq!((help.code, help.stdout), (Some(0), nothing.stderr));
    assert_eq!(line(&["-V"]).stdout, "firestarter 0.3.3\n");
    let missing = line(&["run", "-c", "/nonexist"]);
    assert_eq!(missing.code, Some(1));
    assert_eq!(missing.stderr, "remuda: cannot read /nonexist: no such file or directory\n");
}

#[test]
fn of_a_file_as_its_users_have_it_only_programs_that_are_missing_are_complained_of() {
    let setup = setup("");
    let file = write(
        &setup,
        "[worker1]\nexec_start = \"./demo/target/debug/demo\"\nnumprocesses = 1\nrestart = \"on-failure\"\n\
         start_immediate = true\nsocket_address = [\"127.0.0.1:4000\"]\nenvironments=[\"TEST_A=XXXX\", \"TEST_B=YYYY\"]\n\
         ack = \"manual\"\nupgrader = \"/a/b/upgrader --config abc\"\n",
    );
    let output = run(Command::new(REMUDA).arg("check").arg(file));
    assert_eq!(output.code, Some(1), "{output:?}");
    let programs = ["./demo/target/debug/demo", "/a/b/upgrader"];
    for line in output.stderr.lines() {
        let about = |program: &&str| line.contains(&format!("cannot execute {program}: no such file"));
        assert!(programs.iter().any(about), "{line}");
    }
    assert!(output.stderr.contains(programs[0]), "{output:?}");
}

#[test]
fn unknown_keys_are_told_and_passed_over() {
    let mut manager = start("pause", "[web]\nWORKER\nnumproceses = 3\n");
    let told = manager.log.line("remuda: warn: ");
    assert!(
        told.contains("web.numproceses: unknown key (did you mean 'numprocesses'?), passed over"),
        "{told}"
    );
    settled(&manager, "web", 1);
    assert_eq!(manager.stop(), Some(0));
}
