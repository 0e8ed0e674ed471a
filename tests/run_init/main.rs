//! `remuda init`: one program, its signals, its orphans and its end, as PID 1 of a namespace and elsewhere. What has to do
//! with a terminal is in `terminal.rs`.

#[path = "../support/mod.rs"]
mod support;

mod terminal;

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::namespace::{pid_namespace, process_in};
use support::process::{Log, Process, lives, run, status_field, wait_gone};
use support::{LIMIT, REMUDA, Setup, setup, skip, tool};

/// The variable by which the test binary becomes a program that tells its signals.
const ROLE: &str = "REMUDA_TEST_TELLS_SIGNALS";

/// A process that holds `remuda init`, its output, and its input.
struct Started {
    process: Process,
    stdout: Log,
    stderr: Log,
}

impl Started {
    fn pid(&self) -> i32 {
        self.process.pid()
    }

    fn signal(&self, number: i32) {
        send(self.pid(), number);
    }

    /// Ends the standard input of the program.
    fn close(&mut self) {
        drop(self.process.child.stdin.take());
    }

    /// The exit code, once the input has ended.
    fn code(&mut self) -> Option<i32> {
        self.close();
        self.process.wait().code()
    }

    /// The exit code of what ends without the end of its input: that could arrive before a signal that is passed on.
    fn code_by_signal(&mut self) -> Option<i32> {
        let input = self.process.child.stdin.take();
        let status = self.process.wait();
        drop(input);
        status.code()
    }
}

fn start(command: &mut Command) -> Started {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(command);
    let stdout = Log::follow(process.child.stdout.take().expect("a pipe"));
    let stderr = Log::follow(process.child.stderr.take().expect("a pipe"));
    Started { process, stdout, stderr }
}

fn send(pid: i32, number: i32) {
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0, "signal {number} to process {pid}");
}

/// `remuda init OPTIONS -- sh -c SCRIPT`
fn init(options: &str, script: &str) -> Command {
    let mut command = Command::new(REMUDA);
    command.arg("init").args(options.split_whitespace()).args(["--", "sh", "-c", script]);
    command
}

/// The same as PID 1.
fn first(options: &str, script: &str) -> Option<Command> {
    let mut command = pid_namespace()?;
    command.args([REMUDA, "init"]).args(options.split_whitespace()).args(["--", "sh", "-c", script]);
    Some(command)
}

fn code(command: &mut Command) -> Option<i32> {
    run(command).code
}

/// The pid that the program has printed after this word.
fn told_pid(log: &Log, word: &str) -> i32 {
    log.line(word).rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid")
}

#[test]
fn the_exit_code_is_that_of_the_program() {
    for status in [0, 1, 7, 128, 255] {
        assert_eq!(code(&mut init("-s", &format!("exit {status}"))), Some(status));
    }
    for (signal, status) in [("KILL", 137), ("TERM", 143), ("USR1", 138)] {
        assert_eq!(code(&mut init("-s", &format!("kill -{signal} $$"))), Some(status), "{signal}");
    }
    assert_eq!(code(&mut init("-s -e 7 -e 143", "exit 7")), Some(0));
    assert_eq!(code(&mut init("-s -e 7 -e 143", "kill $$")), Some(0));
    assert_eq!(code(&mut init("-s -e 7", "exit 8")), Some(8));
}

#[test]
fn what_cannot_be_executed_says_why_and_has_a_status_for_it() {
    let directory = setup("");
    let script = |name: &str, text: &str| {
        support::write_program(&directory.path(name), text);
        directory.path(name).to_str().unwrap().to_owned()
    };
    let plain = script("plain", "exit 5\n");
    let secret = script("secret", "exit 0\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    for (program, status, told) in [
        ("no-such-program-anywhere", 127, "remuda: program no-such-program-anywhere not found in PATH"),
        ("/no/such/program", 127, "remuda: cannot execute /no/such/program: no such file or directory"),
        (&script("orphan", "#!/no/such/interpreter\n"), 127, "the interpreter that it names is not there"),
        (&secret, 126, "secret: it is not executable"),
        ("/tmp", 126, "remuda: cannot execute /tmp: it is a directory"),
    ] {
        let output = run(Command::new(REMUDA).args(["init", "-s", "--", program]));
        assert_eq!(output.code, Some(status), "{program}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{program}: {}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
    // As execvp(3) does it, and with it every shell.
    assert_eq!(code(Command::new(REMUDA).args(["init", "-s", "--", &plain])), Some(5));
}

/// The test binary as a program that takes signals one by one and prints them. It is started with all of them blocked.
#[test]
fn program_entry() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    // The C library leaves some out of the mask of a new thread, such as this one.
    block_all().unwrap();
    println!("got nothing yet, process {}", std::process::id());
    let all = [u64::MAX; 2];
    loop {
        // SAFETY: a structure of numbers and pointers that nobody follows; zero is a value of each.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let limit = std::ptr::null::<libc::timespec>();
        // SAFETY: the set is as long as told, `info` is valid for writing, and no limit is given.
        let number =
            unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, all.as_ptr(), &raw mut info, limit, 8) };
        // SAFETY: the kernel has filled it in, or left the zeros.
        let value = unsafe { info.si_value().sival_ptr as usize };
        let value = if info.si_code == libc::SI_QUEUE { value } else { 0 };
        println!("got {number} with {value}");
    }
}

/// Ignores the signals that the C library keeps for itself: it unblocks them in a program with threads. Whoever starts
/// programs by posix_spawn(3), as cargo does, leaves them so.
fn ignore_those_of_the_c_library() -> io::Result<()> {
    // Handler, flags, restorer, mask, in the kernel's layout.
    let ignore = [libc::SIG_IGN as u64, 0, 0, 0];
    for number in [32, 33] {
        let before = std::ptr::null_mut::<u64>();
        // SAFETY: the structure is valid for reading, and the old one is not asked for.
        if unsafe { libc::syscall(libc::SYS_rt_sigaction, number, ignore.as_ptr(), before, 8) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Blocks all signals, those of the C library too. For a child before the exec, among others.
fn block_all() -> io::Result<()> {
    let all = [u64::MAX; 2];
    let before = std::ptr::null_mut::<u64>();
    // SAFETY: the mask is as long as told, and the old one is not asked for.
    match unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, all.as_ptr(), before, 8) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `remuda init` over that program.
fn signal_teller(options: &[&str]) -> (Started, i32) {
    let mut command = Command::new(REMUDA);
    command.arg("init").args(options).arg("--").arg(std::env::current_exe().unwrap()).env(ROLE, "1");
    command.args(["--exact", "program_entry", "--nocapture", "--test-threads=1"]);
    // SAFETY: both make system calls and nothing else.
    unsafe { command.pre_exec(|| block_all().and_then(|()| ignore_those_of_the_c_library())) };
    let started = start(&mut command);
    let program = told_pid(&started.stdout, "got nothing yet");
    (started, program)
}

#[test]
fn every_signal_is_passed_on() {
    for options in [&["-svv"][..], &["-svv", "-g"], &["-svv", "-c"]] {
        let (mut started, program) = signal_teller(options);
        // The C library keeps these for itself, and leaves them ignored in what it starts.
        for number in [32, 33] {
            started.signal(number);
            started.stderr.line(&format!("passing {number} on"));
        }
        for number in (1..32).chain(34..=64) {
            if ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(&number) {
                started.signal(number);
                started.stdout.line(&format!("got {number} with 0"));
            }
        }
        send(program, libc::SIGKILL);
        assert_eq!(started.code_by_signal(), Some(137), "{options:?}");
    }
}

#[test]
fn real_time_signals_keep_their_number_and_value() {
    let (mut started, program) = signal_teller(&["-s"]);
    let signal = libc::SIGRTMIN() + 5;
    for value in 1..=20_usize {
        let value = libc::sigval { sival_ptr: value as *mut _ };
        // SAFETY: the value is only handed on.
        assert_eq!(unsafe { libc::sigqueue(started.pid(), signal, value) }, 0);
    }
    let got = started.stdout.lines("signals", 20, |line| line.starts_with(&format!("got {signal} ")));
    let expected: Vec<String> = (1..=20).map(|value| format!("got {signal} with {value}")).collect();
    assert_eq!(got, expected);
    send(program, libc::SIGKILL);
    assert_eq!(started.code_by_signal(), Some(137));
}

#[test]
fn signals_are_rewritten_or_swallowed() {
    let (mut started, program) = signal_teller(&["-s", "-r", "TERM:QUIT", "-r", "1:0", "-r", "RTMIN+1:USR2"]);
    for number in [libc::SIGHUP, libc::SIGTERM, libc::SIGRTMIN() + 1, libc::SIGINT] {
        started.signal(number);
    }
    let mut got = started.stdout.lines("signals", 3, |line| line.contains(" with "));
    got.sort();
    let mut expected =
        [libc::SIGINT, libc::SIGQUIT, libc::SIGUSR2].map(|number| format!("got {number} with 0"));
    expected.sort();
    assert_eq!(got, expected);
    send(program, libc::SIGKILL);
    assert_eq!(started.code_by_signal(), Some(137));
}

#[test]
fn a_program_killed_by_a_signal_that_was_passed_on_tells_by_its_status() {
    for (number, status) in [(libc::SIGTERM, 143), (libc::SIGABRT, 134), (64, 192)] {
        let mut started = start(&mut init("-sv", "echo up; exec sleep 1000"));
        started.stdout.line("up");
        started.signal(number);
        assert_eq!(started.code_by_signal(), Some(status), "{}", started.stderr.text());
    }
}

#[test]
fn with_to_group_the_whole_group_gets_it() {
    let script = "sleep 1000 & echo other $!; wait";
    for (options, both) in [("-g", true), ("", false)] {
        let mut started = start(&mut init(options, script));
        let other = told_pid(&started.stdout, "other");
        started.signal(libc::SIGTERM);
        assert_eq!(started.code_by_signal(), Some(143));
        if both {
            assert!(wait_gone(other));
        } else {
            assert!(lives(other), "it was none of our business");
            send(other, libc::SIGKILL);
        }
    }
}

#[test]
fn a_stopped_program_goes_on_when_told() {
    let mut started = start(&mut init("-sv", "echo program $$; read line; exit 4"));
    let program = told_pid(&started.stdout, "program");
    started.signal(libc::SIGTSTP);
    wait_for_state(program, "T");
    started.signal(libc::SIGCONT);
    wait_for_state(program, "S");
    assert_eq!(started.code(), Some(4));
}

fn wait_for_state(pid: i32, state: &str) {
    let deadline = Instant::now() + LIMIT;
    while !status_field(pid, "State").starts_with(state) {
        assert!(Instant::now() < deadline, "process {pid} does not become {state}");
        std::thread::yield_now();
    }
}

#[test]
fn orphans_are_reaped_by_a_subreaper_and_told_on_request() {
    let mut started = start(&mut init("-sw", "(sh -c 'echo orphan $$; exit 3' &); read line"));
    let orphan = told_pid(&started.stdout, "orphan ");
    started.stderr.line(&format!("remuda: reaped the orphan {orphan}, which exited with 3"));
    assert_eq!(started.code(), Some(1), "the program read the end");
}

// pitfall 30
#[test]
fn a_flood_of_deaths_loses_none() {
    let script = "i=0; while [ $i -lt 300 ]; do (: &) ; i=$((i+1)); done; echo flooded; read line; exit 6";
    for command in [Some(init("-s", script)), first("", script)].into_iter().flatten() {
        let mut command = command;
        let mut started = start(&mut command);
        started.stdout.line("flooded");
        let init = process_in(started.pid());
        let deadline = Instant::now() + LIMIT;
        loop {
            let children: Vec<i32> =
                support::process::all().into_iter().filter(|&pid| parent_of(pid) == Some(init)).collect();
            if children.len() == 1 {
                break;
            }
            assert!(Instant::now() < deadline, "children are left: {children:?}");
        }
        assert_eq!(started.code(), Some(6));
    }
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[test]
fn it_says_when_orphans_do_not_come_to_it() {
    let told = "neither PID 1 nor a subreaper";
    assert!(run(&mut init("", "exit 0")).stderr.contains(told));
    for options in ["-q", "-s"] {
        assert_eq!(run(&mut init(options, "exit 0")).stderr, "");
    }
    assert_eq!(run(init("", "exit 0").env("TINI_SUBREAPER", "")).stderr, "");
    if let Some(mut command) = first("", "exit 0") {
        assert_eq!(run(&mut command).stderr, "");
    }
}

// pitfall 40
#[test]
fn the_first_process_asks_all_others_to_go_and_waits_for_them() {
    // One in another session, which needs a moment after TERM; one that was stopped; one that nobody has to ask.
    let script = "setsid sh -c 'trap \"echo asked; exit 0\" TERM; echo ready; while :; do sleep 0.01; done' &
        sleep 1000 & kill -STOP $!
        while read line; do exit 9; done; exit 8";
    let Some(mut command) = first("-vv", script) else { return };
    let mut started = start(&mut command);
    started.stdout.line("ready");
    assert_eq!(started.code(), Some(8), "{}", started.stderr.text());
    assert!(started.stdout.all().contains("asked"));
    let told = started.stderr.all();
    assert!(!told.contains("killing") && told.contains("which was killed by TERM"), "{told}");
}

#[test]
fn whoever_does_not_go_is_named_and_killed() {
    let stubborn = "setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.01; done' & \
        read line; exit 8";
    for command in
        [first("-v --stop-timeout 100ms", stubborn), Some(init("-sv --stop-timeout 100ms", stubborn))]
    {
        let Some(mut command) = command else { continue };
        let mut started = start(&mut command);
        started.stdout.line("ready");
        assert_eq!(started.code(), Some(8));
        let told = started.stderr.all();
        assert!(
            told.contains("asked to go and still there, killing: process ") && told.contains(" (sh)"),
            "{told}"
        );
        // The end of its output: nobody is left.
        started.stdout.all();
    }
}

#[test]
fn another_term_ends_the_time_of_the_others() {
    let script = "setsid sh -c 'trap \"echo asked\" TERM; echo ready; while :; do sleep 0.01; done' & \
        read line; exit 8";
    let Some(mut command) = first("--stop-timeout 1h", script) else { return };
    let mut started = start(&mut command);
    started.stdout.line("ready");
    let init = process_in(started.pid());
    started.close();
    started.stdout.line("asked");
    send(init, libc::SIGTERM);
    assert_eq!(started.code_by_signal(), Some(8));
}

#[test]
fn without_time_the_others_are_left() {
    let script = "trap '' TERM; sleep 1000 & echo other $!; read line; exit 8";
    let mut started = start(&mut init("-s --stop-timeout 0", script));
    let other = told_pid(&started.stdout, "other");
    assert_eq!(started.code(), Some(8));
    assert!(lives(other));
    send(other, libc::SIGKILL);
}

#[test]
fn pause_runs_nothing_until_term() {
    let mut command = Command::new(REMUDA);
    let mut started = start(command.args(["init", "-s", "--pause"]));
    wait_until_it_sleeps(started.pid());
    started.signal(libc::SIGHUP);
    started.signal(libc::SIGTERM);
    assert_eq!(started.code_by_signal(), Some(0));
}

/// Waits until it waits for signals.
fn wait_until_it_sleeps(pid: i32) {
    let deadline = Instant::now() + LIMIT;
    let call = format!("{} ", libc::SYS_rt_sigtimedwait);
    while !fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap().starts_with(&call) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn the_program_inherits_what_it_would_without_it() {
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; ls -l /proc/self/fd | grep -o '[0-9]* -> .*init-heirloom'; \
        umask; pwd; env | grep -v ^_= | sort; echo \"$0\" \"$@\"";
    let directory = setup("");
    let heirloom = fs::File::create(directory.path("init-heirloom")).unwrap();
    let inherited = |mut command: Command| {
        let number = heirloom.as_raw_fd();
        // SAFETY: system calls with numbers, and a mask of the process that is about to be executed.
        unsafe {
            command.pre_exec(move || {
                libc::dup2(number, 9);
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                libc::signal(libc::SIGPIPE, libc::SIG_IGN);
                let mut mask = std::mem::zeroed();
                libc::sigemptyset(&raw mut mask);
                libc::sigaddset(&raw mut mask, libc::SIGUSR2);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
                Ok(())
            });
        }
        let output = run(command.current_dir("/usr").env("ODD", "a=b\n"));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.stdout
    };
    let mut bare = Command::new("sh");
    bare.args(["-c", script, "name", "a b", "--"]);
    let mut watched = Command::new(REMUDA);
    watched.args(["init", "-s", "--", "sh", "-c", script, "name", "a b", "--"]);
    let bare = inherited(bare);
    assert!(bare.contains("init-heirloom") && bare.contains("/usr\n"), "{bare}");
    assert_eq!(inherited(watched), bare);
}

// pitfall 24
#[test]
fn it_holds_nothing_that_is_the_programs() {
    let mut command = init("-s", "exec 9>&-; echo closed; read line");
    let (reader, writer) = io::pipe().unwrap();
    let number = writer.as_raw_fd();
    // SAFETY: one system call with numbers.
    unsafe {
        command.pre_exec(move || {
            libc::dup2(number, 9);
            Ok(())
        });
    }
    let mut started = start(&mut command);
    drop(writer);
    started.stdout.line("closed");
    // Nobody has the other end any more.
    assert_eq!(io::read_to_string(reader).unwrap(), "");
    wait_until_it_sleeps(started.pid());
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", started.pid())).unwrap().to_str(), Some("/"));
    assert_eq!(started.code(), Some(1));
}

#[test]
fn a_sigchld_that_was_ignored_is_none_for_it() {
    let mut command = Command::new("sh");
    let script = "trap '' CHLD; exec \"$0\" init -s -- sh -c 'exit 7'";
    assert_eq!(code(command.args(["-c", script, REMUDA])), Some(7));
}

// pitfall 24
#[test]
fn sockets_handed_over_are_the_programs() {
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" init -s -- sh -c 'echo $$ $LISTEN_PID $LISTEN_FDS'";
    let output = run(Command::new("sh").args(["-c", script, REMUDA]));
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert!(words.len() == 3 && words[0] == words[1] && words[2] == "1", "{output:?}");
    // What is meant for another process stays so.
    let output = run(init("-s", "echo $LISTEN_PID").env("LISTEN_PID", "1"));
    assert_eq!(output.stdout, "1\n");
}

#[test]
fn the_death_of_the_parent_is_a_signal_for_the_program() {
    let script = "trap 'echo told' USR1; echo program $$; while :; do sleep 0.01; done";
    for (signal, told) in [("USR1", true), ("KILL", false)] {
        let mut command = Command::new("sh");
        let parent = "\"$0\" init -s -p \"$1\" -- sh -c \"$2\" & echo init $!; read line";
        command.args(["-c", parent, REMUDA, signal, script]);
        let mut started = start(&mut command);
        let init = told_pid(&started.stdout, "init");
        let program = told_pid(&started.stdout, "program");
        started.process.end();
        if told {
            started.stdout.line("told");
            send(program, libc::SIGKILL);
        }
        assert!(wait_gone(init) && wait_gone(program));
    }
}

/// The program by another of its names.
fn as_door(setup: &Setup, name: &str) -> Command {
    let path = setup.path(name);
    if !path.exists() {
        symlink(REMUDA, &path).unwrap();
    }
    Command::new(path)
}

#[test]
fn tini_is_understood() {
    let setup = setup("");
    let tini = |words: &[&str]| {
        let mut command = as_door(&setup, "tini");
        command.args(words);
        command
    };
    assert_eq!(code(&mut tini(&["-s", "--", "sh", "-c", "exit 3"])), Some(3));
    assert_eq!(code(&mut tini(&["-se143", "-vvv", "-g", "--", "sh", "-c", "kill $$"])), Some(0));
    let output = run(&mut tini(&["echo", "--", "-n", "a"]));
    assert_eq!(output.stdout, "a", "PROGRAM -- ARGS");
    assert!(output.stderr.contains("neither PID 1 nor a subreaper"));
    assert_eq!(run(tini(&["echo"]).env("TINI_VERBOSITY", "0")).stderr, "");
    assert!(run(&mut tini(&["--version"])).stdout.starts_with("tini version 0.19.0"));
    assert!(run(as_door(&setup, "docker-init").arg("--version")).stdout.starts_with("tini version "));
    for words in [&[][..], &["-x"], &["-p", "FOO", "true"], &["-e", "256", "true"]] {
        let output = run(&mut tini(words));
        assert!(output.code == Some(1) && output.stderr.starts_with("tini: "), "{words:?}: {output:?}");
    }
}

#[test]
fn dumb_init_is_understood() {
    let setup = setup("");
    for single in [false, true] {
        let mut command = as_door(&setup, "dumb-init");
        if single {
            command.env("DUMB_INIT_SETSID", "0");
        }
        let script =
            "read pid name state parent group rest </proc/$$/stat; echo $$ leads $group; exec sleep 1000";
        let mut started = start(command.args(["-r", "15:2", "sh", "-c", script]));
        let line = started.stdout.line("leads");
        let (program, group) = line.split_once(" leads ").unwrap();
        assert_eq!(program == group, !single, "{line}");
        started.signal(libc::SIGTERM);
        assert_eq!(started.code_by_signal(), Some(130));
        assert_eq!(started.stderr.all(), "");
    }
}

#[test]
fn catatonit_is_understood() {
    let setup = setup("");
    let output = run(as_door(&setup, "catatonit").args(["--", "sh", "-c", "exit 5"]));
    assert_eq!((output.code, &*output.stderr), (Some(5), ""));
    let output = run(as_door(&setup, "catatonit").env("CATATONIT_DEBUG", "1").arg("true"));
    assert!(output.stderr.contains("exited with 0"), "{output:?}");
}

#[test]
fn with_nothing_to_do_it_makes_no_system_call() {
    if !tool("strace") {
        return;
    }
    let mut started = start(&mut init("-s", "echo up; read line"));
    started.stdout.line("up");
    wait_until_it_sleeps(started.pid());
    let directory = setup("");
    let trace = directory.path("trace");
    let mut command = Command::new("strace");
    command.arg("-o").arg(&trace).arg("-p").arg(started.pid().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut strace = Process::spawn(&mut command);
    let told = Log::follow(strace.child.stderr.take().expect("a pipe"));
    let told_first = told.line("strace: ");
    if !told_first.contains("attached") {
        return skip(&format!("no process may be traced: {told_first}"));
    }
    support::pass(Duration::from_millis(2500));
    kill(Pid::from_raw(strace.pid()), Signal::SIGINT).unwrap();
    strace.wait();
    let trace = fs::read_to_string(trace).unwrap();
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains('(')).collect();
    // The call it sleeps in is shown when strace attaches; being attached to interrupts it once.
    assert!(calls.len() <= 2 && calls.iter().all(|line| line.contains("rt_sigtimedwait(")), "{trace}");
    assert_eq!(started.code(), Some(1));
}

#[test]
fn input_reaches_the_program() {
    let mut started = start(&mut init("-s", "read line; echo read $line; exit 2"));
    started.process.child.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    started.stdout.line("read hello");
    assert_eq!(started.code(), Some(2));
}
