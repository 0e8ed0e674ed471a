//! Every system call of the manager fails once, wherever it is made: first the first one, then the second, until none is
//! left. Whatever fails, the manager either says why it does not start and leaves nothing behind, or it goes on, brings
//! its workers up again, loses no child and no descriptor, and stops when asked.
//!
//! Needs the feature `fault`: `cargo test --features fault --test run_fault`.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::events::Talk;
use support::process::{descriptors, lives, wait_gone};
use support::{LIMIT, Manager, Setup, pid_of, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Every call that has a wrapper, and how it fails.
const CALLS: &[(&str, &str)] = &[
    ("accept4", "EMFILE"),
    ("bind", "EADDRNOTAVAIL"),
    ("chdir", "EIO"),
    ("chmod", "EIO"),
    ("chown", "EIO"),
    ("clone", "EAGAIN"),
    ("close_range", "ENOSYS"),
    ("connect", "ECONNREFUSED"),
    ("dup2", "EMFILE"),
    ("dup3", "EMFILE"),
    ("execve", "ENOMEM"),
    ("fchmod", "EIO"),
    ("fchown", "EPERM"),
    ("fcntl", "EMFILE"),
    ("flock", "EIO"),
    ("fork", "EAGAIN"),
    ("fstat", "EIO"),
    ("getpgid", "EIO"),
    ("getrlimit", "EIO"),
    ("getsid", "EIO"),
    ("getsockopt", "EIO"),
    ("kcmp", "ENOSYS"),
    ("kill", "EIO"),
    ("listen", "EIO"),
    ("memfd_create", "EMFILE"),
    ("open", "EMFILE"),
    ("opendir", "EMFILE"),
    ("pidfd_open", "EMFILE"),
    ("pidfd_send_signal", "EIO"),
    ("pipe2", "EMFILE"),
    ("poll", "ENOMEM"),
    ("prctl", "EIO"),
    ("read", "EIO"),
    ("recv", "EIO"),
    ("recvmsg", "EIO"),
    ("rt_sigaction", "EIO"),
    ("rename", "EIO"),
    ("rt_sigprocmask", "EIO"),
    ("send", "EIO"),
    ("sendmsg", "EIO"),
    ("setgroups", "EPERM"),
    ("setpgid", "EIO"),
    ("setpriority", "EPERM"),
    ("setresgid", "EPERM"),
    ("setresuid", "EPERM"),
    ("setrlimit", "EPERM"),
    ("setsid", "EPERM"),
    ("setsockopt", "ENOPROTOOPT"),
    ("sigaction", "EIO"),
    ("sigprocmask", "EIO"),
    ("sigqueue", "EIO"),
    ("sigtimedwait", "EIO"),
    ("socket", "EMFILE"),
    ("stat", "EIO"),
    ("tcgetpgrp", "EIO"),
    ("tcsetpgrp", "EIO"),
    ("unlink", "EIO"),
    ("waitid", "EIO"),
    ("write", "EIO"),
];

/// Whatever ends a manager or makes it exit with 1 is told by one of these; what stands after it is where and why.
const TOLD: [&str; 3] = ["unable to ", "cannot ", "not gone after "];

#[test]
fn every_call_may_fail_once() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sys");
    let known: BTreeSet<String> = CALLS.iter().map(|(call, _)| (*call).to_owned()).collect();
    assert_eq!(known, calls_in(&sources), "the table above and the wrappers in src/sys");

    let at_rest = descriptors_at_rest();
    let queue = Mutex::new(CALLS.iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((call, errno)) = { queue.lock().unwrap().next() } {
                    let begin = Instant::now();
                    let mut count = 1;
                    let outcome = thread::Builder::new()
                        .name((*call).to_owned())
                        .spawn(move || {
                            let mut lives = 0;
                            while life(&format!("{call}:{count}:{errno}"), at_rest) {
                                lives += 1;
                                // Each of the first ones. The later ones are made in a loop over all signals, or again
                                // and again in the same place.
                                count += 1 + count / 16;
                            }
                            (count - 1, lives)
                        })
                        .unwrap()
                        .join();
                    match outcome {
                        Ok((count, lives)) => println!("{call}: {lives} of {count} in {:?}", begin.elapsed()),
                        Err(_) => failures.lock().unwrap().push(*call),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:?}");
}

/// The names in `fault::hit("NAME")`.
fn calls_in(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(calls_in(&path));
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let calls = text.split("fault::hit(\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(calls.map(str::to_owned));
    }
    found
}

/// How many descriptors a manager has open when all is well and quiet, without those for its workers. After an upgrade it
/// keeps the program of the generation before, too.
fn descriptors_at_rest() -> usize {
    let setup = prepared();
    let command = setup.command();
    let mut manager = setup.launch(command);
    up(&mut manager).expect("a manager without a fault");
    manager.done(&["upgrade", "--wait-drained"]);
    let workers = up(&mut manager).expect("a manager without a fault").len();
    // Clients may not have been noticed to be gone.
    let fewest = (0..100).map(|_| {
        manager.done(&["ping"]);
        descriptors(manager.pid()).len()
    });
    fewest.min().expect("a hundred counts") - workers
}

fn prepared() -> Setup {
    let setup = setup("notify:READY=1 ack pause")
        .options("-b 127.0.0.1:0,nodelay -n 2 --ack manual --stop-timeout 1s --drain-timeout 1s")
        .options("--backoff 20ms:1:20ms --umask 022 -C /")
        .option_path("--pidfile", "pid");
    // The first line that a worker writes does not fit any more.
    std::fs::write(setup.path("log"), [b'x'; 1020]).unwrap();
    let log = format!("size:1K:2:{}", setup.path("log").display());
    let setup = setup.option("--stdout-log").option(log);
    let mut address = format!("unix:{},mode=600", setup.path("web.sock").display());
    let setup = if nix::unistd::geteuid().is_root() {
        address += ",user=0";
        setup.options("--user 0")
    } else {
        setup
    };
    setup.option("-b").option(address)
}

/// One life of a manager with a fault in it; false if the fault was not hit.
fn life(fault: &str, at_rest: usize) -> bool {
    let setup = prepared();
    let files = ["c.sock", "pid", "web.sock"].map(|name| setup.path(name));
    let mut command = setup.command();
    command.env("FAULT", fault);
    let mut manager = setup.launch(command);
    let code = live(&mut manager, at_rest);
    let code = code.unwrap_or_else(|| manager.exit().code().unwrap_or_else(|| panic!("{fault}: killed")));
    for pid in manager.descendants() {
        assert!(wait_gone(pid), "{fault}: process {pid} was left behind");
    }
    let log = manager.log.all();
    let hit = log.contains(&format!("fault: {fault}"));
    assert!(!log.contains("panicked"), "{fault}: {log}");
    assert!(code == 0 || (hit && code == 1), "{fault}: exit code {code}");
    if code == 1 {
        assert!(log.lines().any(|line| TOLD.iter().any(|told| line.contains(told))), "{fault}: {log}");
    }
    // A new image that cannot take over what it was given does not know what was its own: the next start cleans up.
    let lost = log.contains("cannot go on after the re-execution");
    for file in files.into_iter().filter(|_| !lost) {
        assert!(!file.exists(), "{fault}: {} was left behind\n{log}", file.display());
    }
    hit
}

/// Has the manager do a little of everything. Returns its exit code if it ends by itself.
fn live(manager: &mut Manager, at_rest: usize) -> Option<i32> {
    up(manager)?;
    // Their connections may be lost, and they say so.
    let verb = |manager: &Manager, words: &[&str]| {
        let output = manager.verb(words);
        assert!(matches!(output.code, Some(0 | 1 | 3 | 4 | 5 | 7)), "{words:?}: {output:?}");
    };
    verb(manager, &["upgrade", "--timeout", "30s"]);
    up(manager)?;
    verb(manager, &["reexec", "--timeout", "30s"]);
    verb(manager, &["scale", "3", "--timeout", "30s"]);
    verb(manager, &["dec", "--wait-drained", "--timeout", "30s"]);
    let victim = up(manager)?.first().map(pid_of)?;
    // It may have been replaced since.
    let _ = kill(Pid::from_raw(victim), Signal::SIGKILL);
    wait_gone(victim);
    // One that is ready by its notification may end since, where the connection for its ack is the one that was lost.
    let last = up(manager)?;
    assert!(last.iter().all(|worker| pid_of(worker) != victim), "{last:?}");
    // Each worker has a notification socket. Clients of ours may not have been noticed to be gone at once.
    let most = at_rest + last.len();
    let deadline = Instant::now() + LIMIT;
    while descriptors(manager.pid()).len() > most {
        let found = descriptors(manager.pid());
        assert!(Instant::now() < deadline, "{most} descriptors are enough, {found:?}");
        thread::yield_now();
    }
    // It may have ended meanwhile.
    let _ = kill(Pid::from_raw(manager.pid()), Signal::SIGTERM);
    None
}

/// Waits until all workers are ready and nothing else goes on, and returns them; none if the manager has ended.
///
/// It asks again and again: any connection may be the one that is lost.
fn up(manager: &mut Manager) -> Option<Vec<Value>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if manager.process.child.try_wait().unwrap().is_some() {
            return None;
        }
        let workers =
            status(manager).filter(|group| group["state"] == "up").map(|mut group| group["workers"].take());
        if let Some(Value::Array(workers)) = workers
            && workers.iter().all(|worker| worker["phase"] == "ready" && lives(pid_of(worker)))
        {
            return Some(workers);
        }
        assert!(Instant::now() < deadline, "the workers do not come up");
        thread::yield_now();
    }
}

fn status(manager: &Manager) -> Option<Value> {
    let stream = std::os::unix::net::UnixStream::connect(&manager.control).ok()?;
    let mut talk = Talk::new(stream);
    talk.try_send(&json!({"command": "status"})).ok()?;
    let mut answer = talk.receive()?;
    Some(answer["status"]["groups"][0].take())
}

#[test]
fn a_long_shortage_of_processes_ends() {
    let setup = setup("pause").options("-n 4 --ack none --backoff 20ms:1:20ms");
    let mut command = setup.command();
    command.env("FAULT", (1..20).map(|n| format!("fork:{n}:EAGAIN")).collect::<Vec<_>>().join(","));
    let mut manager = setup.start_as(command);
    manager.up();
    manager.log.line("unable to fork: try again");
    assert_eq!(manager.pids("ready").len(), 4);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_start_that_fails_leaves_no_watch_file() {
    let setup = setup("");
    let groups = setup.path("groups.toml");
    let group = "[web]\nexec_start = ['sleep', '1000']\nack = 'none'\nlive_check_timeout = '60s'\nbackoff = '20ms:1:20ms'\n";
    std::fs::write(&groups, group).unwrap();
    let mut command = std::process::Command::new(support::REMUDA);
    command.args(["run", "-c"]).arg(&groups).arg("--control").arg(setup.path("c.sock"));
    command.env("FAULT", "fork:1:EAGAIN,fork:2:EAGAIN");
    let mut manager = setup.start_as(command);
    manager.up();
    manager.log.line("unable to fork: try again");
    let names = std::fs::read_dir(manager.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let files = names.filter(|name| name.to_string_lossy().starts_with("firestarter-process-"));
    assert_eq!(files.count(), 1, "that of the worker");
    assert_eq!(manager.stop(), Some(0));
}
