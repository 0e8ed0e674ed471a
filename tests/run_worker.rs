//! The real binary: what a worker finds around it. Most of it is read from `/proc/PID` of workers that do nothing.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use support::process::{descriptors, environment, nofile, status_field};
use support::{Manager, REMUDA, Setup, http, root, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// A program that leaves signals as it finds them, unlike a shell or Rust's runtime.
fn asleep(setup: Setup) -> Setup {
    setup.options("--ack none").program(&["sleep", "1000"])
}

/// A shell that acks and then stops itself, so that what is read of its descriptors stays as it is.
fn still(setup: Setup) -> Setup {
    let script = format!("{} ack --quiet && kill -STOP $$", support::REMUDA);
    setup.options("--ack manual").program(&["sh", "-c", &script])
}

/// The pid of the only worker of a group that is up.
fn only_worker(manager: &Manager) -> i32 {
    manager.up();
    manager.pids("ready")[0]
}

/// The mask as a number.
fn mask(pid: i32, name: &str) -> u64 {
    u64::from_str_radix(&status_field(pid, name), 16).unwrap()
}

/// A command whose last steps before exec are those of `arrange`, which may only make async-signal-safe calls.
fn arranged(setup: &Setup, arrange: fn() -> nix::Result<()>) -> Command {
    let mut command = setup.command();
    // SAFETY: what the callers pass makes system calls and nothing else.
    unsafe { command.pre_exec(move || arrange().map_err(Into::into)) };
    command
}

#[test]
fn a_worker_has_its_sockets_and_nothing_else() {
    // Odd descriptors that somebody left open stop at the manager.
    let setup = still(setup("")).options("-b 127.0.0.1:0 -b 127.0.0.1:0 -n 2");
    let command = arranged(&setup, || {
        let (reader, writer) = nix::unistd::pipe()?;
        // Not close-on-exec, and at odd places.
        for at in [9, 17, 63] {
            // SAFETY: makes a copy at a number that nobody uses in this process, just before it becomes another.
            nix::errno::Errno::result(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&writer), at) })?;
        }
        std::mem::forget((reader, writer));
        Ok(())
    });
    let manager = setup.start_as(command);
    manager.up();
    assert!(descriptors(manager.pid()).len() > 6, "the manager has inherited them");
    let sockets: Vec<String> = manager
        .pids("ready")
        .iter()
        .map(|&pid| {
            let found = descriptors(pid);
            assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{found:?}");
            assert_eq!(found[&0], "/dev/null");
            assert!(
                found[&3].starts_with("socket:")
                    && found[&4].starts_with("socket:")
                    && found[&3] != found[&4]
            );
            format!("{} {}", found[&3], found[&4])
        })
        .collect();
    assert_eq!(sockets[0], sockets[1], "the same sockets in each");
    // In the order of the command line: those that the kernel lists under these inodes have these ports.
    let tcp = fs::read_to_string("/proc/net/tcp").unwrap();
    let ports: Vec<u16> = sockets[0]
        .split(' ')
        .map(|socket| {
            let inode = socket.trim_matches(|c: char| !c.is_ascii_digit());
            let line = tcp.lines().find(|line| line.split_whitespace().nth(9) == Some(inode)).unwrap();
            let local = line.split_whitespace().nth(1).unwrap();
            u16::from_str_radix(local.split(':').nth(1).unwrap(), 16).unwrap()
        })
        .collect();
    let group = manager.group();
    for (at, port) in ports.iter().enumerate() {
        assert_eq!(group["sockets"][at]["address"], format!("127.0.0.1:{port}"));
    }
}

#[test]
fn upgrades_and_deaths_leak_no_descriptor() {
    let manager = setup("pause").options("-b 127.0.0.1:0 -n 3 --ack none").start();
    manager.up();
    let before = descriptors(manager.pid());
    let mut events = manager.events();
    for _ in 0..20 {
        manager.done(&["upgrade", "--wait-drained"]);
    }
    manager.done(&["signal", "KILL"]);
    events.until("died");
    events.until_that("full group", |event| event["ready"] == 3);
    drop(events);
    manager.done(&["ping"]);
    // That of the verb, and of the events, may not have been closed yet.
    let after = descriptors(manager.pid());
    assert!(after.len() <= before.len() + 2, "{before:?}\n{after:?}");
}

// pitfall 29
#[test]
fn signals_are_as_in_a_fresh_process() {
    // Whatever the manager was started with, and whatever Rust's runtime has done since.
    let setup = asleep(setup(""));
    let command = arranged(&setup, || {
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGPIPE, Signal::SIGUSR1] {
            // SAFETY: to ignore a signal involves no handler.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }?;
        }
        SigSet::all().thread_block()
    });
    let mut manager = setup.start_as(command);
    let worker = only_worker(&manager);
    assert_eq!((mask(worker, "SigBlk"), mask(worker, "SigIgn")), (0, 0));
    // And the manager hears what it needs, though all was blocked. A HUP ignored at the start stays ignored.
    assert_ne!(mask(manager.pid(), "SigIgn") & 1, 0);
    manager.signal(Signal::SIGHUP);
    assert_eq!(manager.group()["generation"], 1);
    assert_eq!(manager.stop(), Some(0));
}

// pitfall 29
#[test]
fn signals_may_be_kept_as_they_were() {
    let setup = asleep(setup("")).options("--keep-signals");
    let command = arranged(&setup, || {
        for signal in [Signal::SIGUSR1, Signal::SIGPIPE] {
            // SAFETY: to ignore a signal involves no handler.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }?;
        }
        let mut set = SigSet::empty();
        set.add(Signal::SIGUSR2);
        set.thread_set_mask()
    });
    let manager = setup.start_as(command);
    let worker = only_worker(&manager);
    let bit = |signal: Signal| 1_u64 << (signal as i32 - 1);
    // What this test was started with comes on top; SIGPIPE is ignored by its own runtime.
    let here = mask(std::process::id().cast_signed(), "SigIgn") & !bit(Signal::SIGPIPE);
    assert_eq!(mask(worker, "SigIgn"), here | bit(Signal::SIGUSR1) | bit(Signal::SIGPIPE));
    assert_eq!(mask(worker, "SigBlk"), bit(Signal::SIGUSR2));

    // Rust's runtime ignores SIGPIPE in the manager; the worker is to have what was before.
    let setup = asleep(support::setup("")).options("--keep-signals");
    let command = arranged(&setup, || {
        // SAFETY: the default involves no handler.
        unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
        SigSet::empty().thread_set_mask()
    });
    let manager = setup.start_as(command);
    let worker = only_worker(&manager);
    assert_eq!((mask(worker, "SigIgn"), mask(worker, "SigBlk")), (here, 0));
}

#[test]
fn the_limit_of_descriptors_is_that_of_the_start() {
    let setup = setup("pause").options("--ack none");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let command = arranged(&setup, || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, 123, hard)
    });
    let manager = setup.start_as(command);
    let worker = only_worker(&manager);
    let hard = hard.to_string();
    assert_eq!(nofile(worker), ("123".to_owned(), hard.clone()));
    assert_eq!(nofile(manager.pid()), (hard.clone(), hard), "the manager takes what it can get");
}

// pitfall 22
#[test]
fn nothing_is_closed_number_by_number_up_to_the_limit() {
    if !support::tool("strace") {
        return;
    }
    // As many as this machine allows; where that is a thousand million, each of them would be a call.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard > 1_500, "this limit ({hard}) shows nothing");
    let program: &[&str] = &["-b", "127.0.0.1:0", "--ack", "none", "--restart", "never", "--", "true"];
    for front in [&["run"][..], &["init", "--", support::REMUDA, "run"]] {
        let setup = setup("");
        let trace = setup.path("trace");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-e", "trace=close,close_range,fcntl,fstat,ioctl", "-o"])
            .arg(&trace)
            .arg(support::REMUDA);
        command.args(front).arg("--control").arg(setup.path("c.sock")).args(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: getrlimit(2) and setrlimit(2) are async-signal-safe.
        unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)) };
        let mut process = support::process::Process::spawn(&mut command);
        if process.wait().code() != Some(0) {
            return support::skip("no process may be traced");
        }
        let calls = fs::read_to_string(trace).unwrap().lines().count();
        assert!(
            (10..1_500).contains(&calls),
            "{front:?}: {calls} calls about descriptors with a limit of {hard}"
        );
    }
}

#[test]
fn workers_that_start_together_are_content_with_what_they_need_one_after_the_other() {
    let eight = || asleep(setup("")).options("-n 8 --stdout-log prefix --stderr-log prefix");
    let manager = eight().start();
    manager.up();
    let quiet = descriptors(manager.pid()).len();
    drop(manager);
    // Until they are listened to again, each has a pipe more by which it tells that its program runs; only the last one
    // needs the other ends of its two. Together they would need seven times one of these more.
    let setup = eight();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {}; exec \"$0\" \"$@\"", quiet + 13), REMUDA])
        .args(setup.words());
    let manager = setup.start_as(command);
    manager.up();
    assert_eq!(manager.pids("ready").len(), 8);
    assert!(!manager.log.text().contains("too many open files"), "{}", manager.log.text());
}

// pitfall 36
#[test]
fn each_worker_leads_a_process_group_of_its_own() {
    // Ctrl-C in a terminal reaches the manager alone.
    let manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    for pid in manager.pids("ready") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<i32> = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .skip(1)
            .take(2)
            .map(|field| field.parse().unwrap())
            .collect();
        assert_eq!(fields, [manager.pid(), pid], "parent and process group");
    }
}

#[test]
fn directory_umask_and_standard_input_are_as_asked() {
    let setup = setup("pause").options("--ack none --umask 027");
    fs::create_dir(setup.path("home")).unwrap();
    let home = setup.path("home");
    let manager = setup.option("-C").option(&home).start();
    let worker = only_worker(&manager);
    assert_eq!(fs::read_link(format!("/proc/{worker}/cwd")).unwrap(), home);
    assert_eq!(status_field(worker, "Umask"), "0027");
    assert_eq!(descriptors(worker)[&0], "/dev/null");

    // Otherwise what the manager was started with; its own files are for nobody else, whatever that is.
    let setup = support::setup("pause").options("--ack none").option_path("--pidfile", "pid");
    let mut command = arranged(&setup, || {
        umask(Mode::from_bits_retain(0o002));
        Ok(())
    });
    command.current_dir(setup.path(""));
    let manager = setup.start_as(command);
    let worker = only_worker(&manager);
    assert_eq!(status_field(worker, "Umask"), "0002");
    assert_eq!(fs::read_link(format!("/proc/{worker}/cwd")).unwrap(), manager.path(""));
}

#[test]
fn standard_input_may_be_inherited() {
    let setup = setup("").options("--ack none --stdin inherit --restart never").program(&[
        "sh",
        "-c",
        "read line && [ \"$line\" = hello ]",
    ]);
    let mut command = setup.command();
    command.stdin(Stdio::piped()).stderr(Stdio::null()).stdout(Stdio::null());
    let mut process = support::process::Process::spawn(&mut command);
    process.child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn started_without_standard_descriptors() {
    // The first socket that is opened must not take the place of standard output.
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        // It does not hear the signal of a stop, and stops itself again when it is continued.
        let script =
            format!("trap '' TERM; {} ack --quiet && while :; do kill -STOP $$; done", support::REMUDA);
        let setup =
            setup("").options("--ack manual -b 127.0.0.1:0 --stop-timeout 0").program(&["sh", "-c", &script]);
        let control = setup.path("c.sock");
        let mut command = setup.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: close(2) is async-signal-safe, and nothing follows but the exec.
        unsafe {
            command.pre_exec(move || {
                for &descriptor in closed {
                    libc::close(descriptor);
                }
                Ok(())
            })
        };
        let mut process = support::process::Process::spawn(&mut command);
        // There is no log to wait for: the verbs are asked until one is answered.
        let deadline = std::time::Instant::now() + support::LIMIT;
        while !control.exists() || setup.verb(&["status"]).code != Some(0) {
            assert!(process.child.try_wait().unwrap().is_none() && std::time::Instant::now() < deadline);
        }
        assert_eq!(setup.verb(&["upgrade"]).code, Some(0), "{closed:?}");
        let status = setup.verb(&["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let worker = support::pid_of(&status["groups"][0]["workers"][0]);
        let found = descriptors(worker);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "{closed:?}: {found:?}");
        assert!(found.iter().all(|(&at, target)| (at == 3) == target.starts_with("socket:")), "{found:?}");
        // It has acked, and may not have stopped itself yet.
        while !status_field(worker, "State").starts_with('T') {
            assert!(std::time::Instant::now() < deadline, "the worker does not stop itself");
            std::thread::yield_now();
        }
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid()), Signal::SIGTERM).unwrap();
        assert_eq!(process.wait().code(), Some(1), "it had to kill a worker that ignores TERM");
    }
}

/// The environment of the only worker without what this machine adds to it.
fn told(setup: Setup) -> BTreeMap<String, String> {
    let mut command = setup.command();
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let manager = setup.start_as(command);
    let worker = only_worker(&manager);
    let mut found = environment(worker);
    found.retain(|name, _| !name.starts_with("REMUDA_TEST") && name != "PATH");
    for value in found.values_mut() {
        for (part, name) in [
            (worker.to_string(), "WORKER"),
            (manager.pid().to_string(), "MANAGER"),
            (manager.control.display().to_string(), "CONTROL"),
        ] {
            if *value == part {
                *value = name.to_owned();
            }
        }
    }
    found
}

fn pairs(found: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn all_conventions_are_told_at_once() {
    let setup = setup("pause").options("--ack none");
    let path = setup.path("web.sock").display().to_string();
    let mut found = told(setup.option("-b").option(format!("unix:{path},name=main")));
    let notify = found.remove("NOTIFY_SOCKET");
    assert!(notify.is_none_or(|socket| socket.starts_with(['@', '/'])));
    let starter_port = format!("{path}=3");
    assert_eq!(
        pairs(&found),
        [
            ("EINHORN_CHILD_INDEX", "0"),
            ("EINHORN_FDS", "3"),
            ("EINHORN_FD_0", "3"),
            ("EINHORN_FD_COUNT", "1"),
            ("EINHORN_FD_FAMILY_0", "AF_UNIX"),
            ("EINHORN_MASTER_PID", "MANAGER"),
            ("EINHORN_SOCK_PATH", "CONTROL"),
            ("FIRESTARTER_FD_0", "3"),
            ("FIRESTARTER_FD_COUNT", "1"),
            ("FIRESTARTER_MASTER_PID", "MANAGER"),
            ("FIRESTARTER_SOCK_PATH", "CONTROL"),
            ("LISTEN_FDNAMES", "main"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_PID", "WORKER"),
            ("SERVER_STARTER_GENERATION", "1"),
            ("SERVER_STARTER_PORT", starter_port.as_str()),
        ]
    );
}

// pitfall 25
#[test]
fn the_conventions_can_be_narrowed() {
    let names = |options: &str| -> Vec<String> { told(two_sockets_of(options)).into_keys().collect() };
    // One after the other: the abstract name is one for all.
    assert_eq!(names("--handoff none"), Vec::<String>::new());
    assert_eq!(names("--handoff systemd"), ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"]);
    // For programs behind a wrapper.
    assert_eq!(names("--handoff systemd --no-listen-pid"), ["LISTEN_FDNAMES", "LISTEN_FDS"]);
    assert_eq!(names("--handoff server-starter"), ["SERVER_STARTER_GENERATION", "SERVER_STARTER_PORT"]);
    let both = names("--handoff einhorn,notify --ack manual");
    assert!(both.iter().all(|name| name.starts_with("EINHORN_") || name == "NOTIFY_SOCKET"), "{both:?}");
    assert!(both.contains(&"NOTIFY_SOCKET".to_owned()) && both.contains(&"EINHORN_FD_1".to_owned()));
}

fn two_sockets_of(options: &str) -> Setup {
    let manual = options.contains("manual");
    let setup = setup(if manual { "ack pause" } else { "pause" });
    let name = setup.path("one").display().to_string().replace('/', "-");
    let address = format!("unix:{},name=main", setup.path("web.sock").display());
    let setup = if manual { setup } else { setup.options("--ack none") };
    setup.options(options).options(&format!("-b @{name}")).option("-b").option(address)
}

#[test]
fn variables_can_be_set_dropped_and_read_from_files() {
    let setup = setup("pause").options("--ack none --handoff none");
    fs::write(setup.path("more"), "# a comment\n\nFROM_FILE=one\nBOTH=file\nQUOTED=a \"b\" 'c'\n").unwrap();
    let setup = setup
        .option_path("--env-file", "more")
        .options("-e BOTH=option -e EMPTY= -e EQUALS=a=b --drop-env SECRET --drop-env NOT_THERE");
    let mut command = setup.command();
    // What our own manager told us is not for our workers.
    command
        .env("SECRET", "x")
        .env("KEPT", "y")
        .env("BOTH", "start")
        .env("LISTEN_FDS", "7")
        .env("LISTEN_PID", "1")
        .env("NOTIFY_SOCKET", "/nowhere")
        .env("EINHORN_FD_COUNT", "3")
        .env("SERVER_STARTER_PORT", "80=3");
    let manager = setup.start_as(command);
    let found = environment(only_worker(&manager));
    let value = |name: &str| found.get(name).map(String::as_str);
    assert_eq!(value("FROM_FILE"), Some("one"));
    assert_eq!(value("BOTH"), Some("option"));
    assert_eq!(value("EMPTY"), Some(""));
    assert_eq!(value("EQUALS"), Some("a=b"));
    assert_eq!(value("KEPT"), Some("y"));
    for gone in
        ["SECRET", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "EINHORN_FD_COUNT", "SERVER_STARTER_PORT"]
    {
        assert_eq!(value(gone), None, "{gone}");
    }
}

#[test]
fn without_sockets_there_is_nothing_to_tell_of_them() {
    let found = told(setup("pause").options("--ack none"));
    assert_eq!(found.get("EINHORN_FD_COUNT").map(String::as_str), Some("0"));
    for name in ["LISTEN_FDS", "LISTEN_PID", "SERVER_STARTER_PORT", "EINHORN_FDS"] {
        assert!(!found.contains_key(name), "{name}");
    }
}

// pitfall 53
#[test]
fn workers_run_as_the_user_with_its_groups() {
    if !root() {
        return;
    }
    let setup = still(setup("")).options("--user nobody -b 127.0.0.1:0");
    let manager = setup.start();
    let worker = only_worker(&manager);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
    assert_eq!(status_field(worker, "Uid"), four(nobody.uid.as_raw()));
    assert_eq!(status_field(worker, "Gid"), four(nobody.gid.as_raw()));
    let groups: Vec<u32> =
        status_field(worker, "Groups").split_whitespace().map(|group| group.parse().unwrap()).collect();
    assert_eq!(groups, [nobody.gid.as_raw()]);
    assert_eq!(status_field(worker, "CapEff"), "0000000000000000");

    // By number, without an entry for it.
    let manager = support::setup("pause")
        .options("--ack none --user 54321 --group 54322 -C /")
        .program(&["sleep", "1000"])
        .start();
    let worker = only_worker(&manager);
    assert_eq!(status_field(worker, "Uid"), four(54321));
    assert_eq!(status_field(worker, "Gid"), four(54322));
}

#[test]
fn workers_of_another_user_can_ack_and_nothing_else() {
    if !root() {
        return;
    }
    let script = String::from(
        "\"$0\" ack --quiet || exit 9; \"$0\" scale 7 --control \"$EINHORN_SOCK_PATH\"; \
         echo \"scale exits with $?\" >&2; kill -STOP $$",
    );
    let setup = setup("");
    // Where every user can run it.
    let binary = setup.path("remuda");
    support::copy_program(std::path::Path::new(support::REMUDA), &binary);
    let manager = setup
        .options("--user nobody --ack manual -C /")
        .program(&["sh", "-c", script.as_str(), binary.to_str().unwrap()])
        .start();
    manager.up();
    assert_eq!(manager.log.line("scale exits with"), "scale exits with 4");
    assert_eq!(manager.group()["target"], 1);
}

#[test]
fn datagrams_and_ipv6_are_served() {
    let manager = setup("udp").options("-b udp://127.0.0.1:0 --ack none").start();
    manager.up();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(support::LIMIT)).unwrap();
    client
        .connect(manager.group()["sockets"][0]["address"].as_str().unwrap().trim_start_matches("udp://"))
        .unwrap();
    let mut answer = [0; 32];
    client.send(b"who").unwrap();
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(std::str::from_utf8(&answer[..length]).unwrap(), manager.pids("ready")[0].to_string());

    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return support::skip("there is no IPv6");
    }
    let manager = setup("serve").options("-b [::1]:0 --ack none").start();
    manager.up();
    let address = manager.address();
    assert!(address.is_ipv6());
    http::get(address, "/").unwrap();
}

// pitfall 27
#[test]
fn all_addresses_means_both_families() {
    let manager = setup("serve").options("-b :0 --ack none").start();
    manager.up();
    let address = manager.group()["sockets"][0]["address"].as_str().unwrap().to_owned();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    http::get(([127, 0, 0, 1], port).into(), "/").unwrap();
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        http::get(format!("[::1]:{port}").parse().unwrap(), "/").unwrap();
    }
}

#[test]
fn an_inherited_socket_is_passed_on() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let descriptor = OwnedFd::from(listener);
    let number = std::os::fd::AsRawFd::as_raw_fd(&descriptor);
    let socket = descriptors(std::process::id().cast_signed()).remove(&number).unwrap();
    let setup = setup("serve").options(&format!("--ack none -b fd://{number}"));
    let mut command = setup.command();
    // SAFETY: one system call on a descriptor that stays open until the exec.
    unsafe {
        command.pre_exec(move || {
            let descriptor = std::os::fd::BorrowedFd::borrow_raw(number);
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map_err(std::io::Error::from).map(drop)
        })
    };
    let manager = setup.start_as(command);
    drop(descriptor);
    let worker = only_worker(&manager);
    http::get(address, "/").unwrap();
    // In its place, and nowhere else.
    let sockets = descriptors(worker).into_iter().filter(|(_, target)| *target == socket);
    assert_eq!(sockets.map(|(number, _)| number).collect::<Vec<_>>(), [3]);
}

#[test]
fn output_of_workers_goes_where_the_manager_was_told() {
    let setup =
        setup("").options("--ack none --restart never -q").program(&["sh", "-c", "echo out; echo err >&2"]);
    let output = setup.output();
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "out\n"), "{output:?}");
    assert_eq!(output.stderr, "err\n");
}

#[test]
fn words_stand_for_what_each_worker_has() {
    let setup = setup("")
        .options("--ack none -n 2 -b 127.0.0.1:0,name=web -b 127.0.0.1:0")
        .options("-e WORD=p{port:0}");
    let words =
        ["sh", "-c", "kill -STOP $$", "fd://{fd:web}", "{fd:1}", "{port:web}", "{slot}/{index}/{generation}"];
    let literal = ["{{slot}", "{\"slot\":1}", "{{.Name}}", "3;"];
    let manager = setup.program(&[&words[..], &literal[..]].concat()).start();
    manager.up();
    let port = manager.address().port();
    let told: Vec<Vec<String>> = manager
        .pids("ready")
        .iter()
        .map(|pid| {
            assert_eq!(environment(*pid)["WORD"], format!("p{port}"));
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
            line.trim_end_matches('\0').split('\0').skip(3).map(str::to_owned).collect()
        })
        .collect();
    for (slot, told) in told.iter().enumerate() {
        let place = format!("{slot}/{slot}/1");
        let expected =
            ["fd://3", "4", &port.to_string(), &place, "{slot}", "{\"slot\":1}", "{{.Name}}", "3;"];
        assert_eq!(told, &expected);
    }
}

#[test]
fn a_word_for_a_socket_that_is_not_there_is_told_at_the_start() {
    let output = setup("").options("-b 127.0.0.1:0,name=web").program(&["sleep", "{fd:wbe}"]).output();
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("{fd:wbe}: no socket has this name"), "{output:?}");
}
