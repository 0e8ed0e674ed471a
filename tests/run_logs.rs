//! The real binary: what workers write, from their pipes to files, standard output and the system's log.
//!
//! Most managers here run workers to their end and then end themselves: by then everything they wrote is where it belongs.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use support::process::{Log, Output, lives};
use support::{LIMIT, MARK, Manager, REMUDA, Setup, pass, pid_of, setup, skip, syslog, tool, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Workers that run this in a shell once, `DIR` for the directory.
fn once(script: &str) -> Setup {
    let setup = setup("").options("--restart never --ack none");
    let directory = setup.path("").display().to_string();
    setup.program(&["sh", "-c", &script.replace("DIR", directory.trim_end_matches('/'))])
}

/// Runs it to its end.
fn run(setup: &Setup) -> Output {
    let output = setup.output();
    assert_eq!(output.code, Some(0), "{output:?}");
    output
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `seq 1 N` prints.
fn sequence(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// The names beside a log, which they begin with.
fn names(setup: &Setup, log: &str) -> Vec<String> {
    let entries = fs::read_dir(setup.path("")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(log))
        .collect();
    names.sort();
    names
}

/// Asks again and again until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::yield_now();
    }
}

/// Lets the worker that reads this FIFO go on.
fn open_gate(path: &Path) {
    OpenOptions::new().write(true).open(path).unwrap().write_all(b"go\n").unwrap();
}

fn gate(setup: &Setup, name: &str) {
    mkfifo(&setup.path(name), Mode::S_IRWXU).unwrap();
}

/// How much was dropped, when the manager has read all that its workers have written: what was written last may still be
/// in the pipe. Whenever it answers it has read what was there before.
fn all_dropped(manager: &Manager) -> u64 {
    let mut lost = 0;
    until("all is counted", || {
        let before = std::mem::replace(&mut lost, dropped(manager));
        lost > 0 && lost == before
    });
    lost
}

fn dropped(manager: &Manager) -> u64 {
    manager.group()["dropped_bytes"].as_u64().expect("a number")
}

#[test]
fn each_stream_goes_to_a_file_of_its_own_or_both_to_one() {
    let setup = once("echo out; printf errors >&2; printf rest")
        .option_path("--stdout-log", "out.log")
        .option_path("--stderr-log", "err.log");
    fs::write(setup.path("out.log"), "before\n").unwrap();
    let output = run(&setup);
    assert_eq!((text(setup.path("out.log")), output.stdout), ("before\nout\nrest".into(), String::new()));
    assert_eq!(text(setup.path("err.log")), "errors");

    let setup = once("echo 1; echo 2 >&2; echo 3")
        .option_path("--stdout-log", "log")
        .option_path("--stderr-log", "log");
    run(&setup);
    assert_eq!(text(setup.path("log")), "1\n2\n3\n");
}

#[test]
fn the_mode_of_a_log_is_what_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt;
    let setup = once(":").option_path("--stdout-log", "log").options("--umask 0");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 027; exec \"$@\"", "sh", REMUDA]).args(setup.words());
    assert_eq!(support::process::run(&mut command).code, Some(0));
    assert_eq!(fs::metadata(setup.path("log")).unwrap().permissions().mode() & 0o777, 0o640);
}

// pitfall 48
#[test]
fn streams_go_nowhere_or_to_descriptors_of_the_manager() {
    let output =
        run(&once("echo lost; echo errors >&2").options("--stdout-log null --stderr-log /dev/stdout"));
    assert_eq!(output.stdout, "errors\n");
    let output = run(&once("echo out; echo lost >&2")
        .options("--stdout-log size:1M:1:/dev/stderr --stderr-log time:1:D:U:1:/dev/null"));
    assert_eq!(output.stdout, "");
    assert!(output.stderr.lines().any(|line| line == "out") && !output.stderr.contains("lost"), "{output:?}");
}

/// Runs it with a socket as standard output, and returns what arrives there.
fn run_to_socket(setup: &Setup) -> String {
    let (mut near, far) = UnixStream::pair().unwrap();
    let mut command = setup.command();
    command.stdin(Stdio::null()).stdout(OwnedFd::from(far)).stderr(Stdio::null());
    let mut process = support::process::Process::spawn(&mut command);
    drop(command);
    let mut text = String::new();
    near.read_to_string(&mut text).unwrap();
    assert!(process.wait().success());
    text
}

#[test]
fn a_socket_is_as_good_as_a_file() {
    // Nobody can open a socket by the path /dev/stdout.
    assert_eq!(run_to_socket(&once("echo errors >&2").options("--stderr-log /dev/stdout")), "errors\n");
    assert_eq!(run_to_socket(&once("seq 1 20000").options("--stdout-log prefix")), {
        let line = |number: u32| format!("web[0] {number}\n");
        (1..=20_000).map(line).collect::<String>()
    });
}

#[test]
fn lines_begin_with_group_and_slot() {
    let setup =
        once("echo one; echo two >&2; printf three").options("-n 2 --stdout-log prefix --stderr-log prefix");
    let output = run(&setup);
    for slot in [0, 1] {
        let own = format!("web[{slot}] ");
        let lines: Vec<&str> = output.stdout.lines().filter_map(|line| line.strip_prefix(&own)).collect();
        assert_eq!(lines, ["one", "two", "three"], "{output:?}");
    }
    assert_eq!(output.stdout.lines().count(), 6);

    let setup = once("echo one; echo two >&2");
    let log = format!("prefix:{}", setup.path("log").display());
    let setup = setup.option("--stdout-log").option(&log).option("--stderr-log").option("prefix:/dev/stderr");
    let output = run(&setup);
    assert_eq!(text(setup.path("log")), "web[0] one\n");
    assert!(output.stderr.lines().any(|line| line == "web[0] two"), "{output:?}");
}

#[test]
fn lines_go_to_the_log_of_the_system() {
    let setup = once("echo out; printf errors >&2");
    let path = setup.path("log");
    let keeper = UnixDatagram::bind(&path).unwrap();
    let setup = setup.options("--stdout-log syslog --stderr-log syslog");
    let words: Vec<String> = setup.words().into_iter().map(|word| word.into_string().unwrap()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(output) = syslog::run(&path, &words) else { return };
    assert_eq!(output.code, Some(0), "{output:?}");
    let told: Vec<String> = syslog::datagrams(&keeper).iter().map(|line| syslog::bare(line)).collect();
    assert_eq!(told, ["<30> web: out", "<30> web: errors"]);
}

#[test]
fn rotation_by_size_loses_and_doubles_nothing() {
    let setup = once("seq 1 200000");
    let log = format!("size:16K:1000:{}", setup.path("log").display());
    let setup = setup.option("--stdout-log").option(&log);
    run(&setup);
    let backups = names(&setup, "log").len() - 1;
    assert!(backups > 70, "{backups}");
    let mut found = String::new();
    for number in (1..=backups).rev() {
        let piece = text(setup.path(&format!("log.{number}")));
        assert!((8 * 1024..=16 * 1024).contains(&piece.len()), "log.{number}: {}", piece.len());
        found += &piece;
    }
    found += &text(setup.path("log"));
    assert!(found == sequence(200_000));
}

#[test]
fn so_many_backups_are_kept_and_other_files_left_alone() {
    let setup = once("seq 1 2000");
    let log = format!("size:1K:2:{}", setup.path("log").display());
    let setup = setup.option("--stdout-log").option(&log);
    for name in ["log.3", "log.old", "log.2.gz"] {
        fs::write(setup.path(name), "not ours\n").unwrap();
    }
    run(&setup);
    assert_eq!(names(&setup, "log"), ["log", "log.1", "log.2", "log.2.gz", "log.3", "log.old"]);
    for name in ["log.3", "log.old", "log.2.gz"] {
        assert_eq!(text(setup.path(name)), "not ours\n");
    }
    let last = ["log.2", "log.1", "log"].map(|name| text(setup.path(name))).concat();
    assert!(sequence(2000).ends_with(&last) && last.len() > 2000, "{last}");
}

#[test]
fn a_file_that_cannot_be_put_aside_grows_on() {
    let setup = once("seq 1 2000");
    let log = format!("size:1K:1:{}", setup.path("log").display());
    let setup = setup.option("--stdout-log").option(&log);
    fs::create_dir(setup.path("log.1")).unwrap();
    let output = run(&setup);
    assert_eq!(text(setup.path("log")), sequence(2000));
    let told = format!("cannot rotate {}: is a directory; it grows on", setup.path("log").display());
    assert_eq!(output.stderr.matches(&told).count(), 1, "{output:?}");
}

#[test]
fn rotation_by_time_happens_when_the_time_is_over() {
    // The second line is written when somebody has put the first one aside without being asked to write.
    let wait = "until ls DIR/log.2*[0-9] | grep -v 2019 >&2; do sleep 0.02; done";
    let setup = once(&format!("echo 1; ({wait}) 2>/dev/null; echo 2"));
    let log = format!("time:1:S:UTC:1:{}", setup.path("log").display());
    let setup = setup.option("--stdout-log").option(&log);
    let strangers = ["log.20190101", "log.notes", "log.20191301000000", "log.1"];
    for name in strangers.iter().chain(&["log.20190101000000", "log.20190101000000.1"]) {
        fs::write(setup.path(name), "old\n").unwrap();
    }
    run(&setup);
    let mut found = names(&setup, "log");
    found.retain(|name| !strangers.contains(&name.as_str()));
    // The last line may have been put aside, too, and then the first is removed.
    match &found[..] {
        [log, backup] => {
            assert!(log == "log" && backup.len() == "log.20191301000000".len(), "{found:?}");
            assert_eq!((text(setup.path(backup)), text(setup.path(log))), ("1\n".into(), "2\n".into()));
        }
        other => panic!("{other:?}"),
    }
    for name in strangers {
        assert_eq!(text(setup.path(name)), "old\n");
    }
}

#[test]
fn an_old_file_is_put_aside_before_anything_is_added() {
    let setup = once("echo new");
    let log = format!("time:1:MIDNIGHT:UTC:3:{}", setup.path("log").display());
    let setup = setup.option("--stdout-log").option(&log);
    fs::write(setup.path("log"), "old\n").unwrap();
    let written = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(setup.path("log")).unwrap().set_modified(written).unwrap();
    // What is there under the name already is not lost.
    fs::write(setup.path("log.20010909"), "older\n").unwrap();
    run(&setup);
    assert_eq!(names(&setup, "log"), ["log", "log.20010909", "log.20010909.1"]);
    let found = ["log", "log.20010909", "log.20010909.1"].map(|name| text(setup.path(name)));
    assert_eq!(found, ["new\n", "older\n", "old\n"]);
}

#[test]
fn a_log_that_somebody_has_moved_is_opened_again() {
    type Way = fn(&Manager);
    let ways: [Way; 2] = [
        |manager| assert_eq!(manager.done(&["reopen"]).stdout.trim(), "opened 1 log file again"),
        |manager| {
            manager.signal(Signal::SIGUSR1);
            manager.log.line("opened 1 log file again");
        },
    ];
    for reopen in ways {
        let setup = once("echo before; read go <DIR/go; echo after")
            .option_path("--stdout-log", "log")
            .option_path("--stderr-log", "log");
        gate(&setup, "go");
        let mut manager = setup.start();
        let (log, moved) = (manager.path("log"), manager.path("log.moved"));
        until("the first line", || text(&log) == "before\n");
        fs::rename(&log, &moved).unwrap();
        reopen(&manager);
        open_gate(&manager.path("go"));
        assert_eq!(manager.exit().code(), Some(0));
        assert_eq!((text(moved), text(log)), ("before\n".into(), "after\n".into()));
    }
}

#[test]
fn what_cannot_be_opened_again_is_told_and_written_as_before() {
    let setup = once("read go <DIR/go; echo after");
    fs::create_dir(setup.path("logs")).unwrap();
    let setup = setup.option_path("--stdout-log", "logs/log");
    gate(&setup, "go");
    let mut manager = setup.start();
    fs::rename(manager.path("logs"), manager.path("gone")).unwrap();
    let output = manager.verb(&["reopen"]);
    let why = format!("cannot open {}: no such file or directory", manager.path("logs/log").display());
    assert!(output.code == Some(1) && output.stderr.contains(&why), "{output:?}");
    open_gate(&manager.path("go"));
    assert_eq!(manager.exit().code(), Some(0));
    assert_eq!(text(manager.path("gone/log")), "after\n");
}

#[test]
fn a_log_that_cannot_be_opened_is_refused_at_the_start() {
    let setup = once(":").option_path("--stdout-log", "none/log");
    let output = setup.output();
    let why = format!("web: cannot open {}: no such file or directory", setup.path("none/log").display());
    assert!(output.code == Some(1) && output.stderr.contains(&why), "{output:?}");

    let setup = once(":").option_path("--stdout-log", "log").option_path("--stderr-log", "link");
    std::os::unix::fs::symlink("log", setup.path("link")).unwrap();
    let output = setup.output();
    assert!(output.code == Some(1) && output.stderr.contains("/log are the same file"), "{output:?}");
}

/// Runs the manager with standard output that nobody reads yet, and returns the reading end.
fn start_unread(setup: Setup) -> (Manager, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    // Standard output of `launch` goes nowhere; a shell in between gives the pipe a number that it keeps.
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&writer));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" >{path}"), "sh", REMUDA]).args(setup.words());
    let manager = setup.start_as(command);
    drop(writer);
    (manager, reader)
}

// pitfall 47
#[test]
fn a_reader_that_stops_costs_output_and_no_worker() {
    let setup = once("seq 1 200000; echo >DIR/written; read go <DIR/go").options("--stdout-log prefix");
    gate(&setup, "go");
    let (mut manager, mut reader) = start_unread(setup);
    until("the worker goes on", || manager.path("written").exists());
    manager
        .log
        .line("cannot write to standard output: it takes nothing; what workers write there is dropped");
    let lost = usize::try_from(all_dropped(&manager)).unwrap();
    let told = manager.done(&["status"]).stdout;
    assert!(told.contains(&format!(", {lost} bytes of output dropped")), "{told}");
    // Counted is counted, whoever counts.
    manager.done(&["reexec"]);
    assert_eq!(dropped(&manager), lost as u64);
    open_gate(&manager.path("go"));
    let mut found = String::new();
    reader.read_to_string(&mut found).unwrap();
    assert_eq!(manager.exit().code(), Some(0));
    let all: String = sequence(200_000).lines().map(|line| format!("web[0] {line}\n")).collect();
    assert!(all.starts_with(found.trim_end_matches(|letter| letter != '\n')), "the beginning is whole");
    assert_eq!(found.len() + lost, all.len());
}

#[test]
fn with_block_workers_wait_and_nothing_is_lost() {
    let setup = once("seq 1 200000; echo >DIR/written").options("--stdout-log prefix --log-overflow block");
    let (mut manager, mut reader) = start_unread(setup);
    let worker = pid_of(&manager.workers()[0]);
    // Longer than output is waited for that may be dropped.
    pass(Duration::from_millis(1500));
    assert!(lives(worker) && !manager.path("written").exists());
    assert_eq!(dropped(&manager), 0);
    let mut found = String::new();
    reader.read_to_string(&mut found).unwrap();
    assert_eq!(manager.exit().code(), Some(0));
    let all: String = sequence(200_000).lines().map(|line| format!("web[0] {line}\n")).collect();
    assert!(found == all);
}

/// Starts a manager where `DIR/small` is a file system of 256 KiB, with a file `ballast` of 200 KiB in it. What is in
/// `small/log` at the end is copied to `copy`.
fn start_on_small_disk(setup: Setup) -> Option<Manager> {
    if !tool("unshare") {
        return None;
    }
    let flags = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
    let small = setup.path("small");
    fs::create_dir(&small).unwrap();
    let script = "cd \"$1\" && mount -t tmpfs -o size=256k none small &&
        head -c 204800 /dev/zero >small/ballast && shift && \"$@\"; code=$?; cp small/log copy; exit $code";
    let allowed = Command::new("unshare").args([flags, "mount", "-t", "tmpfs", "none"]).arg(&small).output();
    if !allowed.unwrap().status.success() {
        skip("no mount namespace can be had");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-c", script, "sh"]).arg(setup.path("")).arg(REMUDA).args(setup.words());
    Some(setup.start_as(command))
}

// pitfall 47
#[test]
fn a_full_disk_costs_output_and_no_worker() {
    let script = "seq 1 100000; printf half; echo >DIR/written; read go <DIR/go; rm DIR/small/ballast; echo way; \
        echo last";
    let setup = once(script).option_path("--stdout-log", "small/log");
    gate(&setup, "go");
    let Some(mut manager) = start_on_small_disk(setup) else { return };
    let shown = manager.path("small/log").display().to_string();
    until("the worker goes on", || manager.path("written").exists());
    let why = "no space left on device; what workers write there is dropped";
    manager.log.line(&format!("cannot write to {shown}: {why}"));
    let lost = all_dropped(&manager);
    open_gate(&manager.path("go"));
    assert_eq!(manager.exit().code(), Some(0));
    // A line of which a part was dropped goes as a whole.
    let lost = lost + "way\n".len() as u64;
    manager.log.line(&format!("{shown} is written to again; {lost} bytes were dropped"));
    let (found, all) = (text(manager.path("copy")), sequence(100_000) + "halfway\n");
    let kept = found.strip_suffix("last\n").expect("the last line, which begins one");
    // The disk was full in the midst of a line, which is ended.
    let (kept, torn) = match all.starts_with(kept) {
        true => (kept, 0),
        false => (kept.strip_suffix('\n').expect("the end of a torn line"), 1),
    };
    assert!(all.starts_with(kept), "the beginning is whole");
    assert_eq!((kept.len() as u64 + lost, torn), (all.len() as u64, torn));
}

#[test]
fn with_block_workers_wait_for_room_on_the_disk() {
    let Some((manager, shown)) = wait_for_room(|_| ()) else { return };
    manager.log.line(&format!("{shown} is written to again; nothing was dropped"));
}

#[test]
fn what_waits_for_room_is_written_by_another_image() {
    wait_for_room(|manager| {
        manager.done(&["reexec"]);
    });
}

/// `meanwhile` while there is none. Returns the manager, which has ended, and the name of the log.
fn wait_for_room(meanwhile: impl Fn(&Manager)) -> Option<(Manager, String)> {
    let script = "(read go <DIR/go; rm DIR/small/ballast) & seq 1 20000; wait";
    let setup = once(script).option_path("--stdout-log", "small/log").options("--log-overflow block");
    gate(&setup, "go");
    let mut manager = start_on_small_disk(setup)?;
    let shown = manager.path("small/log").display().to_string();
    manager.log.line(&format!("cannot write to {shown}: no space left on device; workers wait"));
    assert_eq!(dropped(&manager), 0);
    meanwhile(&manager);
    open_gate(&manager.path("go"));
    assert_eq!(manager.exit().code(), Some(0));
    assert!(text(manager.path("copy")) == sequence(20_000));
    Some((manager, shown))
}

// pitfall 5
#[test]
fn pipes_and_half_lines_survive_another_image() {
    let setup =
        once("printf half; printf raw >&2; echo >DIR/written; read go <DIR/go; echo -rest; echo -raw >&2");
    let (out, err) = (setup.path("out"), setup.path("err"));
    let setup = setup
        .option("--stdout-log")
        .option(format!("prefix:{}", out.display()))
        .option("--stderr-log")
        .option(format!("size:1M:3:{}", err.display()));
    gate(&setup, "go");
    let mut manager = setup.start();
    until("the first half", || manager.path("written").exists());
    manager.done(&["ping"]);
    for _ in 0..3 {
        manager.done(&["reexec"]);
    }
    // It is the same file still, whatever has become of its name.
    fs::rename(&err, manager.path("err.moved")).unwrap();
    manager.done(&["reexec"]);
    open_gate(&manager.path("go"));
    assert_eq!(manager.exit().code(), Some(0));
    assert_eq!(text(out), "web[0] half-rest\n");
    assert_eq!(text(manager.path("err.moved")), "raw-raw\n");
}

#[test]
fn workers_to_come_write_where_those_before_them_did() {
    let setup = setup("").options("--ack none -n 2").program(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let manager = setup.option_path("--stdout-log", "log").start();
    manager.up();
    let mut told: Vec<i32> = manager.pids("ready");
    manager.done(&["reexec"]);
    manager.done(&["upgrade"]);
    told.extend(manager.pids("ready"));
    let log = manager.path("log");
    let sorted = |mut pids: Vec<i32>| {
        pids.sort_unstable();
        pids
    };
    let told = sorted(told);
    until("four lines", || {
        sorted(text(&log).lines().map(|line| line.parse().unwrap()).collect::<Vec<i32>>()) == told
    });
}

#[test]
fn groups_may_share_a_file_that_is_rotated() {
    let setup = setup("");
    let log = setup.path("log").display().to_string();
    let group = |name: &str| {
        format!(
            "[{name}]\nexec_start = ['sh', '-c', 'i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo {name}-$i; done']\nrestart = 'none'\nack = 'none'\n\
             stdout_log = 'size:16K:1000:{log}'\nstderr_log = 'prefix'\n"
        )
    };
    fs::write(setup.path("site.toml"), group("web") + &group("api")).unwrap();
    let mut command = Command::new(REMUDA);
    command.args(["run", "-c"]).arg(setup.path("site.toml")).arg("--control").arg(setup.path("c.sock"));
    command.env(MARK, setup.path(""));
    let output = support::process::run(&mut command);
    assert_eq!(output.code, Some(0), "{output:?}");
    let backups = names(&setup, "log").len() - 1;
    assert!(backups >= 5, "{backups}");
    let rotated: Vec<String> =
        (1..=backups).rev().map(|number| text(setup.path(&format!("log.{number}")))).collect();
    // Whoever writes whole lines has whole lines in each file.
    assert!(rotated.iter().all(|piece| piece.ends_with('\n')), "a line is cut");
    let found = rotated.concat() + &text(setup.path("log"));
    for name in ["web", "api"] {
        let own: Vec<&str> = found.lines().filter(|line| line.starts_with(name)).collect();
        let all: Vec<String> = (1..=5000).map(|number| format!("{name}-{number}")).collect();
        assert!(own == all, "{name}");
    }
    assert_eq!(found.lines().count(), 10_000);
}

#[test]
fn what_files_of_groups_say_of_logs_is_checked() {
    let setup = setup("");
    let file = setup.path("site.toml");
    let check = |text: &str| {
        let text = format!("[web]\nexec_start = 'sh'\n{text}")
            .replace("DIR", &setup.path("d").display().to_string());
        fs::write(&file, text).unwrap();
        support::process::run(Command::new(REMUDA).arg("check").arg(&file))
    };
    let other = "[api]\nexec_start = 'sh'\nstderr_log = 'DIR/log'\n";
    let output = check(&format!("stdout_log = 'size:1M:1:DIR/log'\n{other}"));
    assert!(
        output.code == Some(1)
            && output.stderr.contains("/log is to be rotated in two ways: see web.stdout_log"),
        "{output:?}"
    );
    let output = check("stdout_log = 'log'\nstderr_log = '/'\n");
    assert!(
        output.code == Some(1) && output.stderr.contains("web.stderr_log: '/' is a directory"),
        "{output:?}"
    );
    assert!(output.stderr.contains("web.stdout_log: 'log' is neither inherit, "), "{output:?}");
    let output = check("stdout_log = 'DIR/log'\nstderr_log = 'DIR/log'\n");
    assert!(output.code == Some(1) && output.stderr.contains("/d: no such file or directory"), "{output:?}");
    let output =
        check("stdout_log = '/dev/stdout'\nstderr_log = 'time:1:D:U:1:/tmp/x.log'\nlog_overflow = 'block'\n");
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn with_nothing_written_the_manager_sleeps() {
    let setup = setup("").options("--ack none").program(&["sh", "-c", "echo one; exec sleep 1000"]);
    let (out, err) = (setup.path("out").display().to_string(), setup.path("err").display().to_string());
    let manager = setup
        .option("--stdout-log")
        .option(format!("size:1M:1:{out}"))
        .option("--stderr-log")
        .option(format!("time:1:S:U:1:{err}"))
        .start();
    manager.up();
    until("the line", || text(&out) == "one\n");
    let switches = || support::process::status_field(manager.pid(), "voluntary_ctxt_switches");
    // Until the last connection of this test is forgotten.
    until("rest", || {
        let before = switches();
        pass(Duration::from_millis(200));
        before == switches()
    });
    let before = switches();
    pass(Duration::from_millis(2500));
    // The file that would be rotated each second is empty.
    assert_eq!(switches(), before);
}

#[test]
fn a_manager_that_stops_writes_what_is_left() {
    let setup = setup("").options("--ack none --stdout-log prefix").program(&[
        "sh",
        "-c",
        "trap 'seq 1 5000; printf end; exit 0' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    let mut command = setup.command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = support::process::Process::spawn(&mut command);
    let told = Log::follow(process.child.stdout.take().unwrap());
    told.line("web[0] up");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(process.wait().code(), Some(0));
    let all = told.all();
    assert!(all.ends_with("web[0] 5000\nweb[0] end"), "{}", &all[all.len().saturating_sub(60)..]);
    assert_eq!(all.lines().count(), 5002);
}

#[test]
fn dropped_bytes_are_part_of_every_status() {
    let manager = setup("pause").options("--ack none").start();
    assert_eq!(manager.group()["dropped_bytes"], Value::from(0));
}

#[test]
fn a_fifo_is_a_log_before_anybody_reads_it_and_after() {
    let script = "echo one; read go <DIR/go; echo two; read go <DIR/go; echo three; exec sleep 1000";
    let setup = once(script).option_path("--stdout-log", "fifo").options("-n 1");
    gate(&setup, "go");
    gate(&setup, "fifo");
    let mut manager = setup.start();
    manager.up();
    let read_line = || {
        let mut line = [0; 4];
        File::open(manager.path("fifo")).unwrap().read_exact(&mut line).unwrap();
        String::from_utf8_lossy(&line).into_owned()
    };
    assert_eq!(read_line(), "one\n");
    // Nobody reads when this is written.
    open_gate(&manager.path("go"));
    assert_eq!(read_line(), "two\n");
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn what_dead_workers_leave_to_others_uses_up_no_descriptors() {
    // A helper in a session of its own keeps the output of a worker that is gone.
    let script = format!(
        "setsid sleep 1000 </dev/null & echo $! >>DIR/helpers; {REMUDA} ack --quiet; exec sleep 1000"
    );
    let setup = setup("").options("--ack manual -n 1 --backoff 10ms:1:10ms").option("--stdout-log");
    let log = format!("prefix:{}", setup.path("out").display());
    let directory = setup.path("").display().to_string();
    let setup =
        setup.option(log).program(&["sh", "-c", &script.replace("DIR", directory.trim_end_matches('/'))]);
    let mut command = setup.command();
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    // SAFETY: setrlimit(2) is async-signal-safe.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, move || {
            Ok(nix::sys::resource::setrlimit(limit, 40, 40)?)
        });
    }
    let manager = setup.start_as(command);
    manager.up();
    let mut events = manager.events();
    let mut worker = manager.pids("ready")[0];
    for _ in 0..30 {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), Signal::SIGKILL).unwrap();
        let ready = events.until_that("another ready worker", |event| event["event"] == "ready");
        worker = pid_of(&ready);
    }
    manager
        .log
        .line("processes that it left behind write on, and are not read any more: 4 such pipes are enough");
    let all = manager.log.text();
    assert!(!all.contains("too many open files"), "{all}");
    for helper in text(manager.path("helpers")).split_whitespace() {
        let helper = nix::unistd::Pid::from_raw(helper.parse().unwrap());
        // The last of them may be asked to go by the manager already.
        let _ = nix::sys::signal::kill(helper, Signal::SIGKILL);
    }
}

#[test]
fn a_worker_of_another_user_opens_its_standard_error_by_name() {
    if !support::root() {
        return;
    }
    let script = "echo by-number >&2; echo by-name >/dev/stderr; echo out-by-name >/dev/stdout";
    for kind in ["prefix:", ""] {
        let setup = setup("").options("--restart never --ack none --user nobody").option("--stderr-log");
        let log = format!("{kind}{}", setup.path("log").display());
        let setup = setup.option(&log).option("--stdout-log").option(&log).program(&["sh", "-c", script]);
        run(&setup);
        let found = text(setup.path("log"));
        assert!(found.contains("by-number\n") && found.contains("] by-name\n") != kind.is_empty(), "{found}");
        assert_eq!(found.matches("by-name\n").count(), 2, "{found}");
    }
}
