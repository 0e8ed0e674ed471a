//! The real binary in the manner of einhorn: its command line, what workers find, its wire, and the shell that speaks it.

#[path = "../support/mod.rs"]
mod support;

mod recorded;
mod upgrade;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, getpgid, mkfifo};
use support::einhorn::*;
use support::namespace::pid_namespace;
use support::process::{descriptors, environment, lives, run, wait_gone};
use support::{LIMIT, Manager, REMUDA, replace_by_link, setup, worker, write_program};

#[test]
fn worker_entry() {
    worker::enter();
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

/// Starts the program as a shell does that has no more to do than these lines.
fn start_script(lines: &str, options: &str) -> Manager {
    let setup = setup("");
    fs::remove_file(setup.path("program")).unwrap();
    write_program(&setup.path("program"), &format!("#!/bin/sh\n{lines}\n"));
    let command = command(&setup, "", options);
    let manager = setup.launch(command);
    manager.log.line("worker is up");
    manager
}

#[test]
fn the_paths_that_it_takes_are_said_when_they_lead_to_a_directory() {
    for (option, complaint) in [
        ("-d", "that is a directory: it takes the path of a socket"),
        ("-e", "there is something else than a regular file"),
        ("-f", "is a directory"),
    ] {
        let setup = setup("");
        let directory = setup.path("somewhere");
        fs::create_dir(&directory).unwrap();
        let mut command = Command::new(REMUDA);
        command.arg("einhorn").current_dir(setup.path(""));
        for (other, name) in [("-d", "c.sock"), ("-e", "pid"), ("-f", "lock")] {
            command.arg(other).arg(if other == option { directory.clone() } else { setup.path(name) });
        }
        let output = run(command.args(["--", "sleep", "1000"]));
        assert_eq!(output.code, Some(1), "{output:?}");
        let place = directory.display().to_string();
        assert!(output.stderr.contains(&format!("{place}: {complaint}")), "{output:?}");
        assert!(["c.sock", "pid", "lock"].iter().all(|name| !setup.path(name).exists()), "{option}");
        assert!(directory.is_dir());
    }
}

#[test]
fn a_second_manager_is_refused_and_the_files_of_the_first_are_its_users_alone() {
    let mut manager = start("pause", "");
    for name in ["c.sock", "lock"] {
        let mode = fs::symlink_metadata(manager.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    let pid = manager.pid();
    // The same files; another lock; another lock and socket.
    for (socket, lock) in [("c.sock", "lock"), ("c.sock", "lock.2"), ("c.sock.2", "lock.2")] {
        let mut command = Command::new(REMUDA);
        command.arg("einhorn");
        for (option, name) in [("-d", socket), ("-e", "pid"), ("-f", lock)] {
            command.arg(option).arg(manager.path(name));
        }
        let output = run(command.args(["--", "sleep", "1000"]));
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains(&format!("pid {pid}")), "{output:?}");
        for name in ["c.sock.2", "lock.2"] {
            assert!(!manager.path(name).exists(), "{name} is left");
        }
    }
    assert_eq!(fs::read_to_string(manager.path("pid")).unwrap().trim(), pid.to_string());
    assert_eq!(workers(&manager).len(), 1);
    stop(&mut manager);
}

#[test]
fn options_of_rubys_einhorn_are_told_to_mean_nothing() {
    let mut manager = start("pause", "--preload app.rb --gc-before-fork");
    manager.log.line("--preload and --gc-before-fork");
    assert!(manager.log.line("Ruby programs only").contains("ignored"));
    stop(&mut manager);
}

#[test]
fn a_quiet_manager_says_nothing_until_it_is_asked_to_be_louder() {
    let mut manager = start_script("echo worker is up >&2\nexec sleep 1000", "-q");
    assert!(!manager.log.text().contains("INFO"), "{}", manager.log.text());
    assert_eq!(sh(&manager, "state").stdout.matches(":verbosity: 2\n").count(), 1);
    let said = sh(&manager, "louder; set_workers 2");
    assert!(said.stdout.starts_with("Verbosity set to 1\n"), "{said:?}");
    manager.log.line("INFO: ===> Launched");
    stop(&mut manager);
}

/// The nice value of a process.
fn nice(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(16).unwrap().parse().unwrap()
}

#[test]
fn nice_values_are_those_of_the_manager_and_of_workers_and_are_told() {
    let own = nice(std::process::id().cast_signed());
    let (master, worker) = (own.max(5), own.max(5) + 3);
    let mut manager = start("pause", &format!("-m 0 --nice {master}:{worker}"));
    alive(&manager, 1);
    assert_eq!((nice(manager.pid()), nice(workers(&manager)[0].0)), (master, worker));
    let nices = format!("  :nice:\n    :master: {master}\n    :worker: {worker}\n");
    assert!(state(&manager).contains(&nices), "{}", state(&manager));
    stop(&mut manager);
}

#[test]
fn the_connection_of_a_worker_lasts_for_acks_and_questions_and_across_a_new_image() {
    let setup = setup("");
    for name in ["one", "two"] {
        mkfifo(&setup.path(name), Mode::from_bits_truncate(0o600)).unwrap();
    }
    let script = "ack-by-fd ask-by-fd:{dir}/one ask-by-fd:{dir}/two pause";
    let command = command(&setup, script, "-g -m manual");
    let mut manager = setup.start_as(command);
    alive(&manager, 1);
    let before = workers(&manager);
    let ask = |name: &str, line: &str| fs::write(manager.path(name), line).unwrap();
    ask("one", "{\"command\":\"ehlo\",\"user\":\"w\",\"id\":1}\n");
    let answer = manager.log.line(&format!("worker {}: answered", before[0].0));
    assert!(answer.contains("Welcome, w!"), "{answer}");
    assert_eq!(sh(&manager, "reload").stdout, "Reloading, as commanded\n");
    manager.log.line("re-executed");
    ask("two", "---%0Aid: 2%0Acommand: quieter%0A\n");
    let answer = manager.log.line("answered ---%0Amessage: Verbosity set to 2");
    assert!(answer.ends_with("request_id: 2%0A"), "{answer}");
    assert_eq!(workers(&manager), before);
    stop(&mut manager);
}

/// Children of the manager are in a PID namespace in which there is none: so it looks to a worker whose manager has died.
#[test]
fn a_worker_whose_manager_is_gone_before_it_can_be_told_is_not_executed() {
    if pid_namespace().is_none() {
        return;
    }
    let setup = setup("");
    let mut base = Command::new("unshare");
    if !geteuid().is_root() {
        base.args(["--user", "--map-root-user"]);
    }
    base.args(["--pid", "--", REMUDA, "einhorn"]);
    let command = command_by(base, &setup, "note:{dir}/up pause", "-k");
    let manager = setup.start_as(command);
    manager.log.line("unable to watch the manager");
    assert!(!manager.path("up").exists());
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

#[test]
fn a_line_without_an_end_is_cut_off_and_requests_are_not_piled_up() {
    let mut manager = start("stop-on:USR2 pause", "-m manual");
    let mut long = UnixStream::connect(&manager.control).unwrap();
    long.set_read_timeout(Some(LIMIT)).unwrap();
    long.write_all(&[b'a'; 65_537]).unwrap();
    let mut answer = String::new();
    BufReader::new(&long).read_line(&mut answer).unwrap();
    assert_eq!(answer, "---%0Amessage: 'Line is longer than 65536 bytes: closing the connection'%0A\n");
    assert_eq!(long.read(&mut [0; 10]).unwrap(), 0, "the manager hangs up");

    // The upgrade does not end: new workers say nothing.
    let mut eager = UnixStream::connect(&manager.control).unwrap();
    eager.set_read_timeout(Some(LIMIT)).unwrap();
    let asked = 70;
    let requests: String =
        (1..=asked).map(|id| format!("{{\"command\":\"upgrade\",\"id\":{id}}}\n")).collect();
    eager.write_all(requests.as_bytes()).unwrap();
    let refused = |line: &String| line.contains("Too many requests are waiting");
    let lines = BufReader::new(eager).lines().map(Result::unwrap);
    let refused: Vec<String> = lines.filter(refused).take(asked - 64).collect();
    assert!(refused[0].ends_with("\"request_id\":65}"), "{refused:?}");
    assert!(refused.last().unwrap().ends_with("\"request_id\":70}"), "{refused:?}");
    assert_eq!(sh(&manager, "louder").stdout, "Verbosity set to 0\n", "others are heard");
    stop(&mut manager);
}

#[test]
fn what_is_merged_into_the_config_holds_and_is_told() {
    let mut manager = start("ignore:USR2 ack-einhorn pause", "-m manual --max-upgrade-additional 3 -s 0.01");
    alive(&manager, 1);
    let config = "{config: {number: 2, seconds: 0.5, max_unacked: 7, max_upgrade_additional: 0}, \
                  ':ack_mode': {type: timer, timeout: 0.25}, signal_timeout: 1, verbosity: 0}";
    let said = sh(&manager, &format!("config \"{config}\""));
    assert_eq!(said.stdout, "Successfully merged in config\n", "{said:?}");
    let text = state(&manager);
    for part in [
        ":number: 2\n",
        ":seconds: 0.5\n",
        ":max_unacked: 7\n",
        ":max_upgrade_additional: 0\n",
        ":type: :timer\n    :timeout: 0.25\n",
        ":signal_timeout: 1\n",
        ":verbosity: 0\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    alive(&manager, 2);
    // Each old one has to be killed before there is room for a new one.
    let told = sh(&manager, "upgrade");
    assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}");
    assert_eq!(told.stdout.matches("is still active after").count(), 2, "{told:?}");
    let refused = sh(&manager, "config '{bind: []}'");
    assert!(refused.stdout.starts_with("Not merged: bind cannot change while Einhorn runs"), "{refused:?}");
    let lifted = sh(&manager, "config '{signal_timeout: ~}'; state");
    assert!(lifted.stdout.contains(":signal_timeout:\n"), "{lifted:?}");
    stop(&mut manager);
}

// ---- the shell -----------------------------------------------------------------------------------------------------

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

/// Both ends of a new terminal: what it types into, and what reads from it.
fn terminal() -> (fs::File, fs::File) {
    let keyboard =
        fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/ptmx").unwrap();
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: numbers only.
    let theirs = unsafe {
        assert_eq!(libc::unlockpt(keyboard.as_raw_fd()), 0);
        libc::ioctl(keyboard.as_raw_fd(), libc::TIOCGPTPEER, flags)
    };
    assert!(theirs >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it was opened just now, and nobody else knows it.
    (keyboard, fs::File::from(unsafe { OwnedFd::from_raw_fd(theirs) }))
}

#[test]
fn on_a_terminal_a_shell_greets_and_asks_for_line_after_line() {
    let mut manager = start(POLITE, "-m manual -c app");
    alive(&manager, 1);
    let said = "> Verbosity set to 2\n> Verbosity set to 1\nVerbosity set to 0\n> ";
    // A last line, or the end of the input, which is a line feed more.
    for (end, rest) in [("quit\n", ""), ("\x04", "\n")] {
        let (mut keyboard, theirs) = terminal();
        let mut shell = Command::new(REMUDA)
            .args(["einhornsh", "-d"])
            .arg(&manager.control)
            .env("USER", "tester")
            .stdin(theirs)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        keyboard.write_all(format!("quieter\nlouder; louder\n{end}").as_bytes()).unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        shell.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        shell.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(shell.wait().unwrap().code(), Some(0));
        assert_eq!(stdout, format!("{said}{rest}"));
        let welcome =
            format!("Welcome, tester! You are speaking to Einhorn Master Process {} (app).", manager.pid());
        assert_eq!(stderr, format!("{welcome}\nThis is Einhorn 1.1.1.\n"));
        assert_eq!(sh(&manager, "quieter").stdout, "Verbosity set to 1\n");
    }
    stop(&mut manager);
}
