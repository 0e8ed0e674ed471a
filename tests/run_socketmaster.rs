//! The real binary under the name of socketmaster: its command line, its signals, its log, and its users' way of
//! replacing a program.

mod support;

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "the examples use all of it")]
mod load;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use load::{Load, Traffic};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::process::{self, Output, Process, environment, lives, wait_gone};
use support::{Manager, Setup, http, pass, setup, syslog, worker, write_program};

#[test]
fn worker_entry() {
    worker::enter();
}

/// `remuda socketmaster FLAGS`.
fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(support::REMUDA);
    command.arg("socketmaster").args(flags);
    command
}

fn run(flags: &[&str]) -> Output {
    process::run(&mut command(flags))
}

/// Starts one that the test talks to and listens to.
fn spawn(command: &mut Command) -> Process {
    Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()))
}

/// The lines of a log without name, pid and time: `Listening on tcp://:8080`. Each must have them.
fn sentences(log: &str) -> Vec<String> {
    log.lines()
        .map(|line| {
            let mut words = line.splitn(4, ' ');
            let (name, date, time) = (words.next(), words.next(), words.next());
            let shape = |text: Option<&str>| -> String {
                let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
                text.unwrap_or_default().chars().map(digit).collect()
            };
            let pid = name.and_then(|name| name.strip_prefix("socketmaster[")?.strip_suffix(']'));
            assert!(pid.is_some_and(|pid| pid.parse::<u32>().is_ok()), "{line}");
            assert_eq!((shape(date).as_str(), shape(time).as_str()), ("0000/00/00", "00:00:00"), "{line}");
            words.next().unwrap_or_default().to_owned()
        })
        .collect()
}

/// A program for `-command`, in a directory of its own: `sh` with these lines, or the test's worker with this script.
struct Program {
    setup: Setup,
}

impl Program {
    fn sh(lines: &str) -> Program {
        let program = Program { setup: setup("pause") };
        program.replace(lines);
        program
    }

    fn worker(script: &str) -> Program {
        let program = Program { setup: setup("pause") };
        program.replace_by_worker(script);
        program
    }

    fn path(&self) -> String {
        self.setup.path("app").display().to_string()
    }

    fn replace(&self, lines: &str) {
        replace(&self.setup.path("app"), lines);
    }

    fn replace_by_worker(&self, script: &str) {
        self.replace(&worker_lines(&self.setup.path("program"), script));
    }

    /// Starts a socketmaster on a free port of its own and waits until its worker is being started.
    fn start(self, flags: &[&str]) -> Manager {
        let path = self.path();
        self.start_as(command(&[&["-command", &path, "-listen", "tcp://127.0.0.1:0"], flags].concat()))
    }

    fn start_as(self, command: Command) -> Manager {
        let manager = self.setup.launch(command);
        manager.log.line(" Starting ");
        manager
    }
}

fn worker_lines(program: &std::path::Path, script: &str) -> String {
    let program = program.display();
    format!(
        "export {}='{script}'\nexec {program} --exact worker_entry --nocapture --test-threads=1",
        worker::SCRIPT
    )
}

fn replace(path: &std::path::Path, lines: &str) {
    let fresh = path.with_extension("new");
    write_program(&fresh, &format!("#!/bin/sh\n{lines}\n"));
    fs::rename(&fresh, path).unwrap();
}

/// Pids of its workers, in the order in which they were started.
fn children(manager: &Manager) -> Vec<i32> {
    let path = format!("/proc/{0}/task/{0}/children", manager.pid());
    fs::read_to_string(path).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Where a worker finds its socket, if it is one by now, and still is.
fn address(pid: i32) -> Option<SocketAddr> {
    let variables = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = variables.split(|&byte| byte == 0);
    let socket = variables.find_map(|variable| variable.strip_prefix(b"SERVER_STARTER_PORT="))?;
    String::from_utf8_lossy(socket).split('=').next()?.parse().ok()
}

/// Waits until the manager has one worker, and returns it with its address.
fn serving(manager: &Manager) -> (i32, SocketAddr) {
    let deadline = Instant::now() + support::LIMIT;
    loop {
        assert!(Instant::now() < deadline, "nobody serves");
        if let [pid] = children(manager)[..]
            && let Some(address) = address(pid)
        {
            // The backlog takes the connection before the worker is there.
            return (http::who(&http::get(address, "/").unwrap()).0, address);
        }
        pass(Duration::from_millis(5));
    }
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

// ---- the command line ------------------------------------------------------------------------------------------------

const USAGE: &str = include_str!("golden/socketmaster/usage.txt");

#[test]
fn the_command_line_is_answered_as_it_was_recorded() {
    // Flags, status, and all that is told: `usage` for the usage.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp://{}", taken.local_addr().unwrap());
    let in_use = format!(
        "Unable to open socket listen tcp {}: bind: address already in use",
        taken.trim_start_matches("tcp://")
    );
    let listening = format!("Listening on {taken}");
    let local = "tcp://127.0.0.1:0";
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&[], 1, &["Command path is mandatory"]),
        (&["-listen", "foo://x"], 1, &["Command path is mandatory"]),
        (&["-listen=tcp://127.0.0.1:0", "true"], 1, &["Command path is mandatory"]),
        (
            &["-command", "nosuchprog", "-listen", "foo://x"],
            1,
            &["Could not find executable exec: \"nosuchprog\": executable file not found in $PATH"],
        ),
        (
            &["-command", "./nosuch"],
            1,
            &["Could not find executable exec: \"./nosuch\": no such file or directory"],
        ),
        (
            &["-command", "true", "-listen", "foo://x", "-user", "nosuchuser"],
            1,
            &["Listening on foo://x", "Unable to find user user: unknown user nosuchuser"],
        ),
        (
            &["-command", "true", "-listen", "foo://x"],
            1,
            &["Listening on foo://x", "Unable to open socket Unsupported scheme: foo"],
        ),
        (
            &["-command", "true", "-listen", "nonsense"],
            1,
            &["Listening on nonsense", "Unable to open socket Unsupported scheme: "],
        ),
        (&["-command", "true", "-listen", &taken], 1, &[&listening, &in_use]),
        (
            &["-command", "true", "-listen", "fd://300"],
            1,
            &[
                "Listening on fd://300",
                "Unable to open socket strconv.ParseUint: parsing \"300\": value out of range",
            ],
        ),
        (
            &["-command", "true", "-listen", "tcp://127.0.0.1:1:2"],
            1,
            &[
                "Listening on tcp://127.0.0.1:1:2",
                "Unable to open socket address 127.0.0.1:1:2: too many colons in address",
            ],
        ),
        (
            &["-command", "true", "-listen", local],
            0,
            &[
                "Listening on tcp://127.0.0.1:0",
                "Starting /usr/bin/true [/usr/bin/true]",
                "PID exit status 0 <nil>",
            ],
        ),
        (
            &["--command=true", "--listen", local, "-start", "10", "--", "a", "b"],
            0,
            &[
                "Listening on tcp://127.0.0.1:0",
                "Starting /usr/bin/true [/usr/bin/true a b]",
                "PID exit status 0 <nil>",
            ],
        ),
        (
            &["-command", "echo", "-listen", "tcp4://127.0.0.1:0", "--", "-n", "hi there"],
            0,
            &[
                "Listening on tcp4://127.0.0.1:0",
                "Starting /usr/bin/echo [/usr/bin/echo -n hi there]",
                "[PID] hi there",
                "PID exit status 0 <nil>",
            ],
        ),
        // 0 there, whatever became of the program.
        (
            &["-command", "false", "-listen", local],
            1,
            &[
                "Listening on tcp://127.0.0.1:0",
                "Starting /usr/bin/false [/usr/bin/false]",
                "PID exit status 1 <nil>",
            ],
        ),
    ];
    for (flags, status, told) in cases {
        let output = run(flags);
        let mut sentences: Vec<String> =
            sentences(&output.stderr).iter().map(|line| syslog::anonymous(line)).collect();
        if let Some(last) = sentences.last_mut()
            && let Some(at) = last.find(" (pid ")
        {
            // Who is in the way is told as well.
            last.truncate(at);
        }
        assert_eq!(
            (output.code, &sentences[..]),
            (Some(*status), &told.iter().map(|told| (*told).to_owned()).collect::<Vec<_>>()[..]),
            "{flags:?}"
        );
        assert_eq!(output.stdout, "", "{flags:?}");
    }
}

#[test]
fn help_and_wrong_flags_have_their_usage() {
    for (flags, status, sentence) in [
        (&["-h"][..], 0, ""),
        (&["--help"], 0, ""),
        (&["-zzz"], 2, "flag provided but not defined: -zzz\n"),
        (&["-command"], 2, "flag needs an argument: -command\n"),
        (&["-start=abc", "-command", "true"], 2, "invalid value \"abc\" for flag -start: parse error\n"),
        (
            &["-syslog=maybe", "-command", "true"],
            2,
            "invalid boolean value \"maybe\" for -syslog: parse error\n",
        ),
    ] {
        let output = run(flags);
        assert_eq!((output.code, output.stderr), (Some(status), format!("{sentence}{USAGE}")), "{flags:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn it_is_known_by_name_by_word_and_by_its_flags() {
    let setup = setup("pause");
    let link = setup.path("socketmaster");
    symlink(support::REMUDA, &link).unwrap();
    let flags = ["-listen=tcp://127.0.0.1:0", "-command=echo", "--", "hi"];
    for (program, words) in [
        (link.to_str().unwrap(), &flags[..]),
        (support::REMUDA, &flags[..]),
        (support::REMUDA, &["socketmaster", flags[0], flags[1], "--", "hi"]),
    ] {
        let output = process::run(Command::new(program).args(words));
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stderr.contains("] hi\n"), "{output:?}");
    }
}

// ---- sockets ---------------------------------------------------------------------------------------------------------

#[test]
fn a_path_is_made_taken_away_and_never_taken_from_others() {
    let program = Program::sh("exit 0");
    let (path, app) = (program.setup.path("a.sock"), program.path());
    let uri = format!("unix://{}", path.display());
    let flags = ["-command", &app, "-listen", &uri];
    assert_eq!(run(&flags).code, Some(0));
    assert!(!path.exists(), "it was ours");

    // Somebody's who has not tidied up.
    drop(UnixListener::bind(&path).unwrap());
    let before = fs::symlink_metadata(&path).unwrap().ino();
    let output = run(&flags);
    assert_eq!(output.code, Some(1));
    let wanted =
        format!("Unable to open socket listen unix {}: bind: address already in use", path.display());
    assert_eq!(sentences(&output.stderr)[1], wanted);
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
}

#[test]
fn a_path_that_was_replaced_meanwhile_stays() {
    let program = Program::sh("read line; exit 0");
    let (path, app) = (program.setup.path("a.sock"), program.path());
    let uri = format!("unix://{}", path.display());
    let mut manager = spawn(&mut command(&["-command", &app, "-listen", &uri]));
    let log = process::Log::follow(manager.child.stderr.take().unwrap());
    log.line(" Starting ");
    UnixStream::connect(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    // Workers have our standard input; with its end they end.
    drop(manager.child.stdin.take());
    assert_eq!(manager.wait().code(), Some(0));
    assert!(path.exists());
}

#[test]
fn an_inherited_descriptor_is_served() {
    let program = Program::worker("serve");
    let app = program.path();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // sh hands on what it has; the listener stands at some number, close-on-exec.
    let number = std::os::fd::AsRawFd::as_raw_fd(&listener);
    let mut shell = command(&["-command", &app, "-listen", "fd://9"]);
    // SAFETY: dup2(2) alone, which is async-signal-safe.
    unsafe {
        shell.pre_exec(move || match libc::dup2(number, 9) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut manager = program.start_as(shell);
    let (pid, _) = http::who(&http::get(address, "/").unwrap());
    assert_eq!(children(&manager), [pid]);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_socket_of_one_family_is_what_it_says() {
    let mut families = vec![("tcp4://127.0.0.1:0", true)];
    if TcpListener::bind("[::1]:0").is_ok() {
        families.push(("tcp6://[::1]:0", false));
    } else {
        support::skip("there is no IPv6");
    }
    for (uri, is_ipv4) in families {
        let program = Program::worker("serve");
        let app = program.path();
        let mut manager = program.start_as(command(&["-command", &app, "-listen", uri]));
        assert_eq!(serving(&manager).1.is_ipv4(), is_ipv4);
        assert_eq!(manager.stop(), Some(0));
    }
}

// ---- the worker ------------------------------------------------------------------------------------------------------

#[test]
fn the_worker_finds_what_it_found_there() {
    let program = Program::sh("echo \"$0 $*\"; echo ready; read line; echo \"read $line\"; exec sleep 1000");
    let app = program.path();
    let flags = ["-command", &app, "-listen", "tcp://127.0.0.1:0", "-start", "0", "--", "x", "-y"];
    let setup = program.setup;
    let mut process = spawn(command(&flags).process_group(0));
    let log = process::Log::follow(process.child.stderr.take().unwrap());
    process.child.stdin.as_mut().unwrap().write_all(b"a line\n").unwrap();
    log.line("] read a line");
    let manager = process.pid();
    let worker: i32 = {
        let line = log.line("] ready");
        let (_, rest) = line.rsplit_once(" [").unwrap();
        rest.split(']').next().unwrap().parse().unwrap()
    };
    assert!(log.line(&format!("[{worker}] /")).ends_with(" x -y"));
    // The shell has descriptors of its own as long as it is there.
    let deadline = Instant::now() + support::LIMIT;
    while !process::descriptors(worker).keys().eq([0, 1, 2, 3].iter()) {
        assert!(Instant::now() < deadline, "{:?}", process::descriptors(worker));
        pass(Duration::from_millis(5));
    }

    let variables = environment(worker);
    for (name, value) in
        [("EINHORN_FDS", "3"), ("EINHORN_FD_0", "3"), ("EINHORN_FD_COUNT", "1"), ("LISTEN_FDS", "1")]
    {
        assert_eq!(variables[name], value, "{name}");
    }
    assert_eq!(variables["LISTEN_PID"], worker.to_string());
    assert_eq!(variables["EINHORN_MASTER_PID"], manager.to_string());
    assert!(!variables.contains_key("EINHORN_SOCK_PATH"), "there is no control socket");

    let descriptors = process::descriptors(worker);
    assert!(descriptors[&1].starts_with("pipe:") && descriptors[&1] == descriptors[&2]);
    assert_ne!(descriptors[&0], descriptors[&1]);
    assert!(descriptors[&3].starts_with("socket:"));
    let group = nix::unistd::getpgid(Some(Pid::from_raw(worker))).unwrap();
    assert_eq!(group.as_raw(), manager, "it is in the process group of the manager");

    send(manager, Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    assert!(log.all().ends_with(&format!("{worker} signal: terminated <nil>")));
    drop(setup);
}

#[test]
fn another_user_has_its_own_groups_and_nothing_is_bound_without_the_right() {
    let unprivileged = |flags: &[&str]| {
        let mut command = command(flags);
        command.uid(65_534).gid(65_534);
        process::run(&mut command)
    };
    if !support::root() {
        return;
    }
    let program = Program::sh("id");
    let app = program.path();
    let output = run(&["-command", &app, "-listen", "tcp://127.0.0.1:0", "-user", "nobody"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("] uid=65534(nobody) gid=65534("), "{output:?}");

    // The user is a member of a second group, as far as this one can see.
    let groups = program.setup.path("group");
    fs::write(&groups, "root:x:0:\nnogroup:x:65534:\nherd:x:4711:other,nobody\n").unwrap();
    let members = Program::sh("id -G");
    let bind = "mount --bind \"$1\" /etc/group || exit; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", bind, "sh"]).arg(&groups).args([support::REMUDA, "socketmaster"]);
    command.args(["-command", &members.path(), "-listen", "tcp://127.0.0.1:0", "-user", "nobody"]);
    if support::tool("unshare") {
        let output = process::run(&mut command);
        if output.stderr.contains("unshare:") || output.stderr.contains("mount:") {
            support::skip("no mount namespace can be had");
        } else {
            assert!(output.stderr.contains("] 65534 4711\n"), "{output:?}");
        }
    }

    let path = program.setup.path("never.sock");
    let uri = format!("unix://{}", path.display());
    let output = unprivileged(&["-command", "true", "-listen", &uri, "-user", "root"]);
    assert_eq!(output.code, Some(1));
    let told = sentences(&output.stderr);
    assert_eq!(told[0], format!("Listening on {uri}"));
    assert_eq!(told[1], "Could not start process cannot run workers as uid 0, gid 0: only root may");
    assert!(!path.exists());
}

// ---- signals ---------------------------------------------------------------------------------------------------------

#[test]
fn stop_signals_are_forwarded_each_time_and_end_it() {
    for (signal, name) in
        [(Signal::SIGTERM, "terminated"), (Signal::SIGINT, "interrupt"), (Signal::SIGQUIT, "quit")]
    {
        let program = Program::sh("ulimit -c 0; echo up; exec sleep 1000");
        let mut manager = program.start(&[]);
        manager.log.line("] up");
        manager.signal(signal);
        assert_eq!(manager.exit().code(), Some(0), "{signal}");
        assert!(manager.log.all().ends_with(&format!("signal: {name} <nil>")), "{signal}");
    }
    // One that wants to hear it three times; nobody is killed for taking its time.
    let program = Program::sh(
        "n=0; trap 'n=$((n+1)); echo heard $n; [ $n -lt 3 ] || exit 7' TERM; echo up; while :; do sleep 0.05; done",
    );
    let mut manager = program.start(&[]);
    manager.log.line("] up");
    for heard in 1..=3 {
        manager.signal(Signal::SIGTERM);
        manager.log.line(&format!("] heard {heard}"));
    }
    assert_eq!(manager.exit().code(), Some(0), "after a forwarded signal");
    assert!(manager.log.all().ends_with("exit status 7 <nil>"));
}

#[test]
fn signals_during_the_wait_for_a_new_one_are_not_lost() {
    let program = Program::sh("trap 'echo told; exit 0' TERM; echo up $$; while :; do sleep 0.05; done");
    let mut manager = program.start(&["-start", "600000"]);
    manager.log.line("] up ");
    let first = children(&manager)[0];
    manager.signal(Signal::SIGHUP);
    let second = loop {
        match children(&manager).last() {
            Some(&pid) if pid != first => break pid,
            _ => pass(Duration::from_millis(5)),
        }
    };
    manager.log.line(&format!("] up {second}"));
    assert!(lives(first), "it stays until the new one has had its time");
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
    for pid in [first, second] {
        assert!(manager.log.all().contains(&format!("[{pid}] told")));
    }
}

#[test]
fn usr2_does_not_end_it() {
    let mut manager = Program::sh("echo up; exec sleep 1000").start(&[]);
    manager.log.line("] up");
    let before = children(&manager);
    manager.signal(Signal::SIGUSR2);
    manager.signal(Signal::SIGHUP);
    assert_eq!(&children(&manager)[..1], &before[..]);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn usr1_replaces_the_manager_then_the_worker_and_loses_nothing() {
    let mut manager = Program::worker("stop-on:HUP serve").start(&["-start", "200"]);
    let (mut old, address) = serving(&manager);
    let load = Load::start(traffic(address)).unwrap();
    for _ in 0..3 {
        manager.signal(Signal::SIGUSR1);
        assert!(wait_gone(old), "the old one stays");
        let (new, same) = serving(&manager);
        assert!(new != old && same == address);
        old = new;
    }
    let report = load.stop();
    assert!(report.requests() > 100 && report.failed() == 0, "{report}");
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn usr1_executes_what_is_at_the_path_by_then_and_leaves_all_as_it_is_if_that_refuses() {
    let program = Program::worker("stop-on:HUP serve");
    let link = program.setup.path("remuda");
    symlink(support::REMUDA, &link).unwrap();
    let app = program.path();
    let mut start = Command::new(&link);
    start.args(["socketmaster", "-command", &app, "-listen", "tcp://127.0.0.1:0", "-start", "50"]);
    let mut manager = program.start_as(start);
    let (old, address) = serving(&manager);

    // Another image, which leaves a trace when it is executed in the place of the manager.
    let trace = manager.path("trace");
    let lead_to = |name: &str, lines: &str| {
        let script = manager.path(name);
        write_program(&script, &format!("#!/bin/sh\n{lines}\nexec {} \"$@\"\n", support::REMUDA));
        support::replace_by_link(&link, &script);
    };
    lead_to("traced", &format!("[ \"$1\" = --can-resume ] || echo $$ >>{}", trace.display()));
    manager.signal(Signal::SIGUSR1);
    assert!(wait_gone(old), "the old one stays");
    let (new, same) = serving(&manager);
    assert!(new != old && same == address);
    assert_eq!(fs::read_to_string(&trace).unwrap(), format!("{}\n", manager.pid()));

    // One that cannot go on: neither is it executed, nor is the worker replaced.
    lead_to("refusing", "[ \"$1\" != --can-resume ] || { echo 'remuda: never heard of it' >&2; exit 4; }");
    manager.signal(Signal::SIGUSR1);
    manager.log.line("never heard of it");
    assert_eq!(serving(&manager), (new, address));
    // The one after it is by HUP.
    manager.signal(Signal::SIGHUP);
    assert!(wait_gone(new));
    let (last, _) = serving(&manager);
    manager.log.lines("starts", 3, |line| line.contains(" Starting "));
    assert!(last != new && manager.stop() == Some(0));
}

#[test]
fn half_a_line_outlives_the_manager_that_read_it() {
    let program = Program::sh("");
    let fifo = program.setup.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let app = program.setup.path("app");
    let lines =
        "trap '' HUP; echo up; printf 'one half, '; read line <FIFO; echo 'the other'; exec sleep 1000";
    program.replace(&lines.replace("FIFO", &fifo.display().to_string()));
    let mut manager = program.start(&["-start", "0"]);
    manager.log.line("] up");
    let first = children(&manager)[0];
    replace(&app, "echo second; exec sleep 1000");
    manager.signal(Signal::SIGUSR1);
    manager.log.line("] second");
    assert!(lives(first), "it does not mind HUP");
    fs::write(&fifo, "go\n").unwrap();
    manager.log.line(&format!("[{first}] one half, the other"));
    assert_eq!(manager.stop(), Some(0));
}

fn traffic(address: SocketAddr) -> Traffic {
    Traffic {
        connections: 4,
        pause: Duration::from_millis(1),
        limit: Duration::from_secs(10),
        ..Traffic::to(address)
    }
}

#[test]
fn the_line_of_its_readme_runs_as_it_stands() {
    if !support::tool("unshare") {
        return;
    }
    // A network of its own, where the port is free.
    let flags = if nix::unistd::geteuid().is_root() { "-n" } else { "-rn" };
    if !Command::new("unshare").args([flags, "true"]).status().unwrap().success() {
        return support::skip("no network namespace can be had");
    }
    let program = Program::worker("stop-on:HUP pause");
    let home = program.setup.path("");
    fs::create_dir_all(home.join("path/to/wrapper")).unwrap();
    fs::rename(home.join("app"), home.join("path/to/wrapper/script")).unwrap();
    symlink(support::REMUDA, home.join("socketmaster")).unwrap();
    let mut command = Command::new("unshare");
    let line = "PATH=$PWD:$PATH; exec socketmaster -listen=tcp://:8080 -command=path/to/wrapper/script";
    command.args([flags, "sh", "-c", line]).current_dir(&home);
    let mut manager = program.start_as(command);
    manager.log.line("Listening on tcp://:8080");
    let only = |manager: &Manager, but: i32| {
        let deadline = Instant::now() + support::LIMIT;
        loop {
            let workers = children(manager);
            if workers.len() == 1 && workers[0] != but {
                return workers[0];
            }
            assert!(Instant::now() < deadline, "{workers:?}");
            std::thread::yield_now();
        }
    };
    let first = only(&manager, 0);
    // 8080 in hexadecimal, any address, listening.
    let sockets = fs::read_to_string(format!("/proc/{first}/net/tcp6")).unwrap();
    assert!(
        sockets.contains("00000000000000000000000000000000:1F90 ") && sockets.contains(" 0A "),
        "{sockets}"
    );
    assert!(process::descriptors(first)[&3].starts_with("socket:"));
    // A new server, and then the end of the old one; the manager is the same process.
    manager.signal(Signal::SIGHUP);
    let second = only(&manager, first);
    assert!(wait_gone(first));
    assert!(process::lives(second));
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn hup_swaps_under_load_without_a_failed_request() {
    for flags in [&["-start", "200"][..], &["-start", "200", "-hup-signal=TERM"], &["-start", "0"]] {
        let word = if flags.len() == 3 { "serve" } else { "stop-on:HUP serve" };
        let mut manager = Program::worker(word).start(flags);
        let (mut old, address) = serving(&manager);
        let load = Load::start(traffic(address)).unwrap();
        for _ in 0..3 {
            manager.signal(Signal::SIGHUP);
            assert!(wait_gone(old), "the old one stays");
            let (new, _) = serving(&manager);
            assert_ne!(new, old);
            old = new;
        }
        let report = load.stop();
        assert!(report.requests() > 10 && report.failed() == 0, "{flags:?}: {report}");
        assert_eq!(manager.stop(), Some(0));
    }
}

#[test]
fn a_new_version_that_dies_at_once_leaves_the_old_one() {
    let program = Program::worker("stop-on:HUP serve");
    let (app, image) = (program.setup.path("app"), program.setup.path("program"));
    let mut manager = program.start(&["-start", "300"]);
    let (old, address) = serving(&manager);
    let load = Load::start(traffic(address)).unwrap();

    replace(&app, "echo cannot start; exit 3");
    manager.signal(Signal::SIGHUP);
    manager.log.line("Failed to kill old process, because there's no one left in the group");
    manager.log.line("] cannot start");
    manager.log.line("exit status 3 <nil>");
    // One that is not there at all.
    fs::remove_file(&app).unwrap();
    manager.signal(Signal::SIGHUP);
    manager.log.line("Could not start new process: ");
    assert_eq!(serving(&manager), (old, address));
    // And one that is as it should be.
    replace(&app, &worker_lines(&image, "stop-on:HUP serve"));
    manager.signal(Signal::SIGHUP);
    assert!(wait_gone(old));
    assert_ne!(serving(&manager).0, old);

    let report = load.stop();
    assert!(report.requests() > 100 && report.failed() == 0, "{report}");
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn it_ends_with_the_last_one_also_in_the_midst_of_a_swap() {
    let program = Program::sh("echo up; exec sleep 1000");
    let (app, fifo) = (program.setup.path("app"), program.setup.path("fifo"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let mut manager = program.start(&["-start", "600000"]);
    manager.log.line("] up");
    let old = children(&manager)[0];
    replace(&app, &format!("echo new; read line <{}; exit 3", fifo.display()));
    manager.signal(Signal::SIGHUP);
    manager.log.line("] new");
    send(old, Signal::SIGTERM);
    manager.log.line(&format!("{old} signal: terminated <nil>"));
    fs::write(&fifo, "go\n").unwrap();
    assert_eq!(manager.exit().code(), Some(1));
    assert_eq!(manager.log.all().matches(" Starting ").count(), 2, "nobody is started again");
}

#[test]
fn old_ones_that_take_their_time_do_not_hold_up_the_next_swap() {
    let program = Program::sh("trap 'echo asked' HUP; echo up; while :; do sleep 0.05; done");
    let mut manager = program.start(&["-start", "50"]);
    manager.log.lines("workers", 1, |line| line.ends_with("] up"));
    // Each swap is over when the one before has been asked to go, which is done once.
    for (count, asked) in [(2, 1), (3, 2)] {
        manager.signal(Signal::SIGHUP);
        manager.log.lines("workers", count, |line| line.ends_with("] up"));
        manager.log.lines("workers that were asked to go", asked, |line| line.ends_with("] asked"));
    }
    assert_eq!(children(&manager).len(), 3);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0), "all three have it");
}

// ---- the log ---------------------------------------------------------------------------------------------------------

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
    let deadline = Instant::now() + support::LIMIT;
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
    let recorded = include_str!("golden/socketmaster/syslog.txt");
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
        keeper.set_read_timeout(Some(support::LIMIT)).unwrap();
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
