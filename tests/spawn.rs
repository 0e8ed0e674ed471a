//! Real children of `sys::spawn`, looked at through /proc: what they have, what they have not, and how they fail.
//!
//! A test that needs a process in a certain state (signals blocked, few descriptors, no privileges) runs itself again
//! as such a process, by the very function under test; the second run is told from the first by an environment
//! variable.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, geteuid};
use remuda::env::{EnvBlock, GroupContext, HandedSocket, SocketFamily, Template, WorkerContext};
use remuda::plan::{Convention, Handoff};
use remuda::process::{Exit, Stage};
use remuda::signame::Signal;
use remuda::sys::creds::Credentials;
use remuda::sys::poll::{Interest, PollSet};
use remuda::sys::signals::{Saved, SignalSet, Signals};
use remuda::sys::spawn::{
    Limit, Resource, Spawn, Spawned, Status, open_standard, raise_nofile, read_status, seal_inherited, spawn,
};
use remuda::sys::{clock, reap, signals};

/// Set in the second run of a test.
const AGAIN: &str = "REMUDA_TEST_AGAIN";

/// A user and group without privileges, whether they have names or not.
const NOBODY: u32 = 65_534;

/// One program to run, with its output in a pipe.
struct Case {
    argv: Vec<CString>,
    env: EnvBlock,
    null: File,
    output: PipeReader,
    writer: PipeWriter,
}

/// What became of it.
struct Ended {
    pid: i32,
    status: Status,
    exit: Exit,
    output: String,
}

impl Case {
    fn new(argv: &[&str]) -> Case {
        Case::with_env(argv, &[])
    }

    /// This test program, to run one test alone.
    fn again(test: &str) -> Case {
        let inherited = ["FAULT", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];
        let mut env: Vec<_> =
            inherited.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect();
        env.push((AGAIN, "1".to_owned()));
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Case::with_env(&["/proc/self/exe", "--exact", test, "--nocapture"], &env)
    }

    fn with_env(argv: &[&str], env: &[(&str, &str)]) -> Case {
        let (output, writer) = io::pipe().unwrap();
        let base: Vec<(OsString, OsString)> =
            env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        let socket = HandedSocket { name: None, family: SocketFamily::Unix, address: "@test".to_owned() };
        let group = GroupContext { sockets: &[socket], manager_pid: 0, control_path: None };
        let handoff = Handoff {
            conventions: [Convention::Systemd].into(),
            listen_pid: true,
            base_name: "FIRESTARTER".to_owned(),
            control_descriptor: false,
        };
        let worker = WorkerContext {
            slot: 0,
            index: 0,
            generation: 1,
            notify: None,
            watchdog: None,
            watch_file: None,
            fd_store: 0,
            kept: &[],
        };
        Case {
            argv: argv.iter().map(|argument| CString::new(*argument).unwrap()).collect(),
            env: Template::new(&base, &group, &handoff).worker(&worker),
            null: File::open("/dev/null").unwrap(),
            output,
            writer,
        }
    }

    fn descriptors<'a>(&'a self, sockets: &'a [OwnedFd]) -> Vec<BorrowedFd<'a>> {
        let standard = [self.null.as_fd(), self.writer.as_fd(), self.writer.as_fd()];
        standard.into_iter().chain(sockets.iter().map(AsFd::as_fd)).collect()
    }

    fn plain<'a>(&'a self, descriptors: &'a [BorrowedFd<'a>]) -> Spawn<'a> {
        Spawn {
            path: &self.argv[0],
            file: None,
            argv: &self.argv,
            env: &self.env,
            descriptors,
            beyond: None,
            process_group: false,
            session: false,
            limits: &[],
            nice: None,
            oom_score_adj: None,
            credentials: None,
            directory: None,
            umask: None,
            parent_death_signal: None,
            keep_signals: None,
        }
    }

    /// Waits for the end of all that hold the output, then of the child.
    fn end(self, spawned: Spawned) -> Ended {
        drop(self.writer);
        let mut output = String::new();
        let mut reader = self.output;
        reader.read_to_string(&mut output).unwrap();
        let exit = wait_and_reap(spawned.pid);
        Ended { pid: spawned.pid, status: read_status(&spawned.status), exit, output }
    }

    /// Runs with nothing special asked for.
    fn run(self) -> Ended {
        let descriptors = self.descriptors(&[]);
        let spawned = spawn(self.plain(&descriptors)).unwrap();
        self.end(spawned)
    }
}

impl Ended {
    #[track_caller]
    fn failed_at(&self, stage: Stage, errno: i32) {
        assert_eq!(self.status, Status::Failed(stage, errno), "{}", self.output);
        assert_eq!(self.exit, Exit::Code(127));
    }

    #[track_caller]
    fn succeeded(&self) -> &str {
        assert_eq!((self.status, self.exit), (Status::Running, Exit::Code(0)), "{}", self.output);
        &self.output
    }

    /// The second run of a test passed, and was one.
    #[track_caller]
    fn passed(&self) {
        assert!(self.succeeded().contains("1 passed"), "{}", self.output);
    }

    /// A line of /proc/PID/status.
    #[track_caller]
    fn field(&self, name: &str) -> String {
        field(self.succeeded(), name)
    }
}

#[track_caller]
fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

fn is_again() -> bool {
    std::env::var_os(AGAIN).is_some()
}

fn wait_and_reap(pid: i32) -> Exit {
    waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    reap::reap(pid).unwrap().exit
}

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: changing the user needs root");
    }
    root
}

/// The number and the file of each line of `ls -l /proc/self/fd`, without the directory that ls reads.
fn open_files(listing: &str) -> BTreeMap<i32, String> {
    let file = |line: &str| {
        let (left, file) = line.split_once(" -> ")?;
        Some((left.rsplit(' ').next()?.parse().ok()?, file.to_owned()))
    };
    listing.lines().filter_map(file).filter(|(_, file)| !file.ends_with("/fd")).collect()
}

fn file_of(descriptor: &impl AsRawFd) -> String {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    fs::read_link(path).unwrap().to_str().unwrap().to_owned()
}

/// So many sockets, each with its number in /proc.
fn sockets(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| UnixStream::pair().unwrap().0.into()).collect()
}

/// A file of this content in a directory of its own, which goes with the guard.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("remuda-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    /// Written by a process of its own: the kernel executes no file that somebody has open for writing, and what we have
    /// open is copied into whatever another test forks at this moment.
    fn file(&self, name: &str, mode: u32, content: &str) -> String {
        let path = self.0.join(name);
        let mut command = Command::new("sh");
        command.args(["-c", "printf %s \"$2\" >\"$1\"", "sh"]).arg(&path).arg(content);
        assert!(command.status().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_program_runs_and_the_status_pipe_says_so() {
    let case = Case::new(&["/bin/sh", "-c", "echo out; exit 3"]);
    let descriptors = case.descriptors(&[]);
    let spawned = spawn(case.plain(&descriptors)).unwrap();
    let mut set = PollSet::new();
    set.add(spawned.status.as_fd(), Interest::READ);
    set.wait(None).unwrap();
    assert_eq!(read_status(&spawned.status), Status::Running);
    let ended = case.end(spawned);
    assert_eq!((ended.exit, ended.output.as_str()), (Exit::Code(3), "out\n"));
}

#[test]
fn a_death_by_signal_is_told_with_the_signal() {
    let ended = Case::new(&["/bin/sh", "-c", "kill -USR2 $$"]).run();
    assert_eq!((ended.status, ended.exit), (Status::Running, Exit::Signal(Signal::USR2)));
}

#[test]
fn descriptors_stand_in_order_and_no_other_is_open() {
    seal_inherited(&[]).unwrap();
    let sockets = sockets(3);
    let case = Case::new(&["/bin/ls", "-l", "/proc/self/fd"]);
    // Neither in the order of their numbers nor each once.
    let mut descriptors = case.descriptors(&sockets);
    descriptors.swap(3, 5);
    descriptors.push(sockets[0].as_fd());
    let mut wanted: BTreeMap<i32, String> = (0..).zip(descriptors.iter().map(file_of)).collect();
    let spawned = spawn(case.plain(&descriptors)).unwrap();
    let ended = case.end(spawned);
    assert_eq!(open_files(ended.succeeded()), wanted, "{}", ended.output);
    assert_eq!(wanted.remove(&3), Some(file_of(&sockets[2])));
}

#[test]
fn one_descriptor_may_stand_beyond_the_others_and_nothing_between() {
    seal_inherited(&[]).unwrap();
    let sockets = sockets(2);
    let case = Case::new(&["/bin/ls", "-l", "/proc/self/fd"]);
    let descriptors = case.descriptors(&sockets[..1]);
    let mut wanted: BTreeMap<i32, String> = (0..).zip(descriptors.iter().map(file_of)).collect();
    wanted.insert(77, file_of(&sockets[1]));
    let beyond = Some((77, sockets[1].as_fd()));
    let spawned = spawn(Spawn { beyond, ..case.plain(&descriptors) }).unwrap();
    let ended = case.end(spawned);
    assert_eq!(open_files(ended.succeeded()), wanted, "{}", ended.output);
}

#[test]
fn descriptors_left_open_by_whoever_started_the_manager_do_not_leak() {
    let test = "descriptors_left_open_by_whoever_started_the_manager_do_not_leak";
    if !is_again() {
        let sockets = sockets(4);
        let case = Case::again(test);
        let descriptors = case.descriptors(&sockets);
        let spawned = spawn(case.plain(&descriptors)).unwrap();
        return case.end(spawned).passed();
    }
    assert!(fs::read_link("/proc/self/fd/6").unwrap().to_str().unwrap().starts_with("socket:"));
    let kept = fs::read_link("/proc/self/fd/5").unwrap().to_str().unwrap().to_owned();
    seal_inherited(&[5]).unwrap();
    let ended = Case::new(&["/bin/ls", "-l", "/proc/self/fd"]).run();
    let open = open_files(ended.succeeded());
    assert_eq!(open.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 5]);
    assert_eq!(open[&5], kept);
}

#[test]
fn standard_descriptors_closed_at_the_start_are_opened_on_null() {
    let test = "standard_descriptors_closed_at_the_start_are_opened_on_null";
    if !is_again() {
        let script = r#"exec "$@" 3>&1 <&- >&- 2>&-"#;
        let mut case = Case::again(test);
        let shell = ["/bin/sh", "-c", script, "sh", std::env::current_exe().unwrap().to_str().unwrap()]
            .map(|argument| CString::new(argument).unwrap());
        case.argv.splice(..1, shell);
        let ended = case.run();
        assert_eq!(ended.succeeded(), "done");
        return;
    }
    open_standard().unwrap();
    for standard in [0, 1, 2] {
        assert_eq!(file_of(&standard), "/dev/null");
    }
    let mut case = Case::new(&["/bin/ls", "-l", "/proc/self/fd"]);
    seal_inherited(&[]).unwrap();
    let spawned = spawn(case.plain(&case.descriptors(&[]))).unwrap();
    case.argv.clear();
    let ended = case.end(spawned);
    assert_eq!(open_files(ended.succeeded()).len(), 3, "{}", ended.output);
    fs::write("/proc/self/fd/3", "done").unwrap();
}

#[test]
fn signals_are_reset_or_kept_whatever_the_manager_was_started_with() {
    let test = "signals_are_reset_or_kept_whatever_the_manager_was_started_with";
    let set = |numbers: &[i32]| numbers.iter().copied().map(Signal).collect::<SignalSet>();
    let state = Saved {
        blocked: set(&[Signal::TERM.0, Signal::USR1.0, 17, 40, 64]),
        ignored: set(&[Signal::HUP.0, Signal::INT.0, Signal::USR2.0, 13, 21, 50, 64]),
    };
    // Masks of proc(5): bit n - 1 for signal n.
    let mask =
        |numbers: &[u32]| format!("{:016x}", numbers.iter().fold(0_u64, |mask, n| mask | 1 << (n - 1)));
    if !is_again() {
        let case = Case::again(test);
        let descriptors = case.descriptors(&[]);
        let spawned = spawn(Spawn { keep_signals: Some(&state), ..case.plain(&descriptors) }).unwrap();
        return case.end(spawned).passed();
    }
    let signals =
        Signals::install([Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2]).unwrap();
    assert_eq!(signals.saved(), &state, "as started, SIGPIPE before Rust's runtime included");

    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    // All are handled but those of the C library.
    assert_eq!(field(&own, "SigBlk"), mask(&[32, 33]), "what is handled is unblocked");
    assert_eq!(u64::from_str_radix(&field(&own, "SigIgn"), 16).unwrap() & 1, 1, "HUP stays ignored");

    let clean = Case::new(&["/bin/cat", "/proc/self/status"]).run();
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(clean.field(name), mask(&[]), "{name}");
    }

    let case = Case::new(&["/bin/cat", "/proc/self/status"]);
    let descriptors = case.descriptors(&[]);
    let spawned = spawn(Spawn { keep_signals: Some(signals.saved()), ..case.plain(&descriptors) }).unwrap();
    let kept = case.end(spawned);
    assert_eq!(kept.field("SigBlk"), mask(&[10, 15, 17, 40, 64]));
    let of_c_library = 0b111 << 31;
    let ignored = u64::from_str_radix(&kept.field("SigIgn"), 16).unwrap() & !of_c_library;
    assert_eq!(format!("{ignored:016x}"), mask(&[1, 2, 12, 13, 21, 50, 64]));
}

#[test]
fn a_clean_start_is_seen_as_such_although_rust_ignores_sigpipe() {
    if !is_again() {
        return Case::again("a_clean_start_is_seen_as_such_although_rust_ignores_sigpipe").run().passed();
    }
    assert_eq!(
        Signals::install([Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2])
            .unwrap()
            .saved(),
        &Saved::default()
    );
}

// pitfall 31
#[test]
fn spawning_leaves_the_mask_of_the_manager_as_it_was() {
    let mask = || field(&fs::read_to_string("/proc/thread-self/status").unwrap(), "SigBlk");
    let before = mask();
    Case::new(&["/bin/true"]).run().succeeded();
    assert_eq!(mask(), before);
    let blocked = signals::block_all().unwrap();
    let all = mask();
    Case::new(&["/bin/true"]).run().succeeded();
    assert_eq!(mask(), all);
    drop(blocked);
}

#[test]
fn a_process_group_exists_when_spawn_returns() {
    let case = Case::new(&["/bin/sh", "-c", "read line"]);
    let (stdin, hold) = io::pipe().unwrap();
    let mut descriptors = case.descriptors(&[]);
    descriptors[0] = stdin.as_fd();
    let spawned = spawn(Spawn { process_group: true, ..case.plain(&descriptors) }).unwrap();
    assert_eq!(reap::process_group_of(spawned.pid), Some(spawned.pid));
    reap::kill_group(spawned.pid, Signal::KILL).unwrap();
    assert_eq!(case.end(spawned).exit, Exit::Signal(Signal::KILL));
    drop(hold);

    let case = Case::new(&["/bin/sh", "-c", "read line"]);
    let (stdin, hold) = io::pipe().unwrap();
    let mut descriptors = case.descriptors(&[]);
    descriptors[0] = stdin.as_fd();
    let spawned = spawn(case.plain(&descriptors)).unwrap();
    assert_eq!(reap::process_group_of(spawned.pid), reap::process_group_of(std::process::id() as i32));
    drop(hold);
    case.end(spawned);
}

#[test]
fn the_environment_tells_the_child_its_own_pid() {
    let ended = Case::with_env(&["/usr/bin/env"], &[("GREETING", "hello world")]).run();
    let pid = format!("LISTEN_PID={}", ended.pid);
    let lines: Vec<&str> = ended.succeeded().lines().collect();
    for line in [pid.as_str(), "LISTEN_FDS=1", "GREETING=hello world"] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_its_reason() {
    let scratch = Scratch::new("exec");
    let no_format = scratch.file("no-format", 0o755, "no program\n");
    let no_permission = scratch.file("no-permission", 0o644, "#!/bin/sh\n");
    let no_interpreter = scratch.file("no-interpreter", 0o755, "#!/no/such/shell\n");
    for (path, errno) in [
        ("/no/such/program", libc::ENOENT),
        (no_interpreter.as_str(), libc::ENOENT),
        (no_permission.as_str(), libc::EACCES),
        ("/", libc::EACCES),
        (no_format.as_str(), libc::ENOEXEC),
    ] {
        Case::new(&[path]).run().failed_at(Stage::Exec, errno);
    }
}

#[test]
fn a_failure_after_the_descriptors_were_arranged_is_told_too() {
    let sockets = sockets(6);
    let case = Case::new(&["/no/such/program"]);
    let descriptors = case.descriptors(&sockets);
    let spawned = spawn(case.plain(&descriptors)).unwrap();
    case.end(spawned).failed_at(Stage::Exec, libc::ENOENT);
}

#[test]
fn each_step_that_fails_is_told_by_its_stage() {
    let scratch = Scratch::new("steps");
    let missing = CString::new(scratch.0.join("missing").to_str().unwrap()).unwrap();
    let no_directory = CString::new(scratch.file("file", 0o644, "")).unwrap();
    let upside_down = [Limit { resource: Resource::RLIMIT_CORE, soft: 2, hard: 1 }];
    type Change<'a> = Box<dyn Fn(&mut Spawn<'a>) + 'a>;
    let cases: [(Stage, i32, Change<'_>); 5] = [
        (Stage::Directory, libc::ENOENT, Box::new(|spawn| spawn.directory = Some(&missing))),
        (Stage::Directory, libc::ENOTDIR, Box::new(|spawn| spawn.directory = Some(&no_directory))),
        (Stage::Limits, libc::EINVAL, Box::new(|spawn| spawn.limits = &upside_down)),
        (Stage::Priority, libc::EINVAL, Box::new(|spawn| spawn.oom_score_adj = Some(9999))),
        (Stage::ParentDeath, libc::EINVAL, Box::new(|spawn| spawn.parent_death_signal = Some(Signal(999)))),
    ];
    for (stage, errno, change) in &cases {
        failing(change).failed_at(*stage, *errno);
    }

    fn failing<'a>(change: &dyn Fn(&mut Spawn<'a>)) -> Ended {
        // `Spawn` borrows for as long as what `change` puts in, hence leaked: two small vectors.
        let case: &'a Case = Box::leak(Box::new(Case::new(&["/bin/true"])));
        let descriptors: &'a [BorrowedFd<'a>] = Box::leak(case.descriptors(&[]).into_boxed_slice());
        let mut request = case.plain(descriptors);
        change(&mut request);
        let Spawned { pid, status } = spawn(request).unwrap();
        let exit = wait_and_reap(pid);
        Ended { pid, status: read_status(&status), exit, output: String::new() }
    }
}

#[test]
fn limits_priority_mask_and_directory_are_those_asked_for() {
    let script = "ulimit -Sc; ulimit -Hc; umask; nice; cat /proc/self/oom_score_adj; pwd";
    let case = Case::new(&["/bin/sh", "-c", script]);
    let descriptors = case.descriptors(&[]);
    let spawned = spawn(Spawn {
        limits: &[Limit { resource: Resource::RLIMIT_CORE, soft: 0, hard: 0 }],
        nice: Some(19),
        oom_score_adj: Some(1000),
        umask: Some(0o027),
        directory: Some(c"/"),
        ..case.plain(&descriptors)
    })
    .unwrap();
    assert_eq!(case.end(spawned).succeeded(), "0\n0\n0027\n19\n1000\n/\n");
}

// pitfall 53
#[test]
fn a_user_is_changed_completely() {
    if !is_root() {
        return;
    }
    let case = Case::new(&["/bin/cat", "/proc/self/status"]);
    let descriptors = case.descriptors(&[]);
    let credentials = Credentials { uid: NOBODY, gid: NOBODY - 1, groups: vec![7000, 6000, 7000] };
    let spawned = spawn(Spawn { credentials: Some(&credentials), ..case.plain(&descriptors) }).unwrap();
    let ended = case.end(spawned);
    assert_eq!(ended.field("Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(ended.field("Gid"), "65533\t65533\t65533\t65533");
    assert_eq!(ended.field("Groups"), "6000 7000 7000");
    assert_eq!(ended.field("CapEff"), "0000000000000000");
}

#[test]
fn a_directory_is_entered_as_the_user() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("private");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o700)).unwrap();
    let directory = CString::new(scratch.0.to_str().unwrap()).unwrap();
    let case = Case::new(&["/bin/true"]);
    let descriptors = case.descriptors(&[]);
    let credentials = Credentials { uid: NOBODY, gid: NOBODY, groups: Vec::new() };
    let spawned = spawn(Spawn {
        credentials: Some(&credentials),
        directory: Some(&directory),
        ..case.plain(&descriptors)
    })
    .unwrap();
    case.end(spawned).failed_at(Stage::Directory, libc::EACCES);
}

#[test]
fn without_privileges_only_the_own_user_can_be_named() {
    let test = "without_privileges_only_the_own_user_can_be_named";
    let own = Credentials { uid: NOBODY, gid: NOBODY, groups: vec![6000] };
    if !is_again() {
        if !is_root() {
            return;
        }
        let case = Case::again(test);
        let descriptors = case.descriptors(&[]);
        let spawned = spawn(Spawn { credentials: Some(&own), ..case.plain(&descriptors) }).unwrap();
        return case.end(spawned).passed();
    }
    let run_as = |credentials: &Credentials| {
        let case = Case::new(&["/bin/true"]);
        let descriptors = case.descriptors(&[]);
        let spawned = spawn(Spawn { credentials: Some(credentials), ..case.plain(&descriptors) }).unwrap();
        case.end(spawned)
    };
    run_as(&own).succeeded();
    run_as(&Credentials { groups: vec![6001], ..own.clone() }).failed_at(Stage::Groups, libc::EPERM);
    run_as(&Credentials { gid: 0, ..own.clone() }).failed_at(Stage::Groups, libc::EPERM);
    run_as(&Credentials { uid: 0, ..own.clone() }).failed_at(Stage::User, libc::EPERM);
}

#[test]
fn a_child_dies_with_the_manager_if_asked() {
    let test = "a_child_dies_with_the_manager_if_asked";
    if !is_again() {
        let (stdin, hold) = io::pipe().unwrap();
        let (life, held) = io::pipe().unwrap();
        let held = [OwnedFd::from(held)];
        let case = Case::again(test);
        let mut descriptors = case.descriptors(&held);
        descriptors[0] = stdin.as_fd();
        let spawned = spawn(case.plain(&descriptors)).unwrap();
        drop(held);
        // Child and grandchild have descriptor 3, write nothing to it, and have nothing to read: it is closed when both
        // are dead.
        let mut set = PollSet::new();
        let index = set.add(life.as_fd(), Interest::READ);
        set.wait(Some(clock::now_ms() + 20_000)).unwrap();
        assert!(set.readable(index), "the grandchild lives");
        drop(hold);
        let ended = case.end(spawned);
        assert_eq!(ended.exit, Exit::Signal(Signal::KILL), "{}", ended.output);
        return;
    }
    let (mut watch, told) = io::pipe().unwrap();
    let (stdin, stderr) = (io::stdin(), io::stderr());
    let case = Case::new(&["/bin/sh", "-c", "echo here; read line"]);
    let descriptors = [stdin.as_fd(), told.as_fd(), stderr.as_fd()];
    spawn(Spawn { parent_death_signal: Some(Signal::KILL), ..case.plain(&descriptors) }).unwrap();
    let mut here = [0; 5];
    watch.read_exact(&mut here).unwrap();
    assert_eq!(&here, b"here\n");
    reap::kill(std::process::id() as i32, Signal::KILL).unwrap();
}

#[test]
fn sixteen_descriptors_are_enough_for_some_sockets() {
    let test = "sixteen_descriptors_are_enough_for_some_sockets";
    let nofile = |soft, hard| Limit { resource: Resource::RLIMIT_NOFILE, soft, hard };
    if !is_again() {
        let case = Case::again(test);
        let descriptors = case.descriptors(&[]);
        let spawned = spawn(Spawn { limits: &[nofile(16, 16)], ..case.plain(&descriptors) }).unwrap();
        return case.end(spawned).passed();
    }
    seal_inherited(&[]).unwrap();
    let original = raise_nofile().unwrap();
    assert_eq!(original, nofile(16, 16));
    let sockets = sockets(2);
    let case = Case::new(&["/bin/ls", "-l", "/proc/self/fd"]);
    let descriptors = case.descriptors(&sockets);
    let spawned = spawn(Spawn { limits: &[original], ..case.plain(&descriptors) }).unwrap();
    assert_eq!(open_files(case.end(spawned).succeeded()).len(), 5);

    let too_many: Vec<BorrowedFd<'_>> = std::iter::repeat_n(sockets[0].as_fd(), 17).collect();
    let case = Case::new(&["/bin/true"]);
    let spawned = spawn(case.plain(&too_many)).unwrap();
    let ended = case.end(spawned);
    assert!(matches!(ended.status, Status::Failed(Stage::Descriptors, _)), "{:?}", ended.status);
}

#[test]
fn workers_get_the_original_limit_however_many_descriptors_the_manager_has() {
    let test = "workers_get_the_original_limit_however_many_descriptors_the_manager_has";
    let nofile = |soft, hard| Limit { resource: Resource::RLIMIT_NOFILE, soft, hard };
    if !is_again() {
        let case = Case::again(test);
        let descriptors = case.descriptors(&[]);
        let spawned = spawn(Spawn { limits: &[nofile(32, 128)], ..case.plain(&descriptors) }).unwrap();
        return case.end(spawned).passed();
    }
    let original = raise_nofile().unwrap();
    assert_eq!(original, nofile(32, 128));
    let sockets = sockets(64);
    let case = Case::new(&["/bin/sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"]);
    let descriptors = case.descriptors(&sockets[..2]);
    let spawned =
        spawn(Spawn { limits: &[original], oom_score_adj: Some(1000), ..case.plain(&descriptors) }).unwrap();
    assert_eq!(case.end(spawned).succeeded(), "32\n128\n1000\n");
}

#[test]
fn the_dead_are_seen_before_they_are_reaped() {
    let test = "the_dead_are_seen_before_they_are_reaped";
    if !is_again() {
        // Alone: the children of other tests would be seen as well.
        return Case::again(test).run().passed();
    }
    assert_eq!(reap::peek().unwrap(), None, "no children at all");
    let (stdin, hold) = io::pipe().unwrap();
    let case = Case::new(&["/bin/sh", "-c", "read line; exit 7"]);
    let mut descriptors = case.descriptors(&[]);
    descriptors[0] = stdin.as_fd();
    let spawned = spawn(Spawn { process_group: true, ..case.plain(&descriptors) }).unwrap();
    assert_eq!(reap::peek().unwrap(), None, "it lives");
    assert_eq!(reap::reap(spawned.pid).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    drop(hold);
    waitid(Id::Pid(Pid::from_raw(spawned.pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    assert_eq!(reap::peek().unwrap(), Some(spawned.pid));
    assert_eq!(reap::peek().unwrap(), Some(spawned.pid), "looking changes nothing");
    assert_eq!(reap::process_group_of(spawned.pid), Some(spawned.pid), "its group can still be named");
    reap::kill_group(spawned.pid, Signal::KILL).unwrap();
    assert_eq!(reap::reap(spawned.pid).unwrap().exit, Exit::Code(7));
    assert_eq!(reap::peek().unwrap(), None);
    assert_eq!(reap::reap(spawned.pid).unwrap().exit, Exit::Unknown);
}

#[cfg(feature = "fault")]
#[test]
fn each_call_of_a_spawn_may_fail() {
    let test = "each_call_of_a_spawn_may_fail";
    if is_again() {
        let case = Case::new(&["/bin/true"]);
        let descriptors = case.descriptors(&[]);
        let credentials = Credentials {
            uid: geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            groups: nix::unistd::getgroups().unwrap().iter().map(|group| group.as_raw()).collect(),
        };
        let request = Spawn {
            process_group: true,
            limits: &[Limit { resource: Resource::RLIMIT_CORE, soft: 0, hard: 0 }],
            nice: Some(19),
            oom_score_adj: Some(1000),
            credentials: Some(&credentials),
            directory: Some(c"/"),
            parent_death_signal: Some(Signal::KILL),
            ..case.plain(&descriptors)
        };
        match spawn(request) {
            Ok(spawned) => {
                let ended = case.end(spawned);
                println!("{}outcome: {:?}", ended.output, ended.status);
            }
            Err(error) => println!("outcome: {:?}", error.raw_os_error()),
        }
        // No child was lost, and the mask is as it was.
        assert_eq!(reap::peek().unwrap(), None);
        assert_eq!(field(&fs::read_to_string("/proc/thread-self/status").unwrap(), "SigBlk"), "0".repeat(16));
        return;
    }
    let failed = |stage| format!("{:?}", Status::Failed(stage, libc::EIO));
    let in_the_manager = format!("{:?}", Some(libc::EIO));
    for (fault, outcome) in [
        ("pipe2:1", in_the_manager.clone()),
        ("sigprocmask:1", in_the_manager.clone()),
        ("fork:1", in_the_manager),
        ("setpgid:1", failed(Stage::ProcessGroup)),
        ("dup2:1", failed(Stage::Descriptors)),
        ("dup2:3", failed(Stage::Descriptors)),
        ("open:1", failed(Stage::Priority)),
        ("write:1", failed(Stage::Priority)),
        ("setrlimit:1", failed(Stage::Limits)),
        ("setpriority:1", failed(Stage::Priority)),
        ("setresgid:1", failed(Stage::Groups)),
        ("setresuid:1", failed(Stage::User)),
        ("chdir:1", failed(Stage::Directory)),
        ("prctl:1", failed(Stage::ParentDeath)),
        ("sigaction:1", failed(Stage::Signals)),
        ("sigprocmask:2", failed(Stage::Signals)),
        ("execve:1", failed(Stage::Exec)),
        ("execve:2", format!("{:?}", Status::Running)),
    ] {
        let mut case = Case::again(test);
        let fault = CString::new(format!("FAULT={fault}:EIO")).unwrap();
        case.argv.splice(..0, [CString::new("/usr/bin/env").unwrap(), fault.clone()]);
        case.argv[2] = CString::new(std::env::current_exe().unwrap().to_str().unwrap()).unwrap();
        let ended = case.run();
        ended.passed();
        assert!(ended.output.contains(&format!("outcome: {outcome}\n")), "{fault:?}: {}", ended.output);
        let told = ended.output.contains("fault: ");
        assert_eq!(told, !outcome.contains("Running"), "{fault:?}: {}", ended.output);
    }
}
