//! The real binary: what workers say to their NOTIFY_SOCKET beside READY=1, and what others send there.

mod support;

use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg, setsockopt, sockopt};
use nix::unistd::Pid;
use support::process::{descriptors, environment, status_field, wait_gone};
use support::{LIMIT, Manager, setup, site, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

#[test]
fn a_worker_without_a_sign_of_life_is_replaced() {
    let manager = setup("notify:READY=1 pause").options("--ack manual --watchdog 200ms").start();
    let mut events = manager.events();
    let stopping = events.until("stopping");
    assert_eq!(stopping["reason"], "no sign of life");
    events.until("gone");
    let again = events.until("spawned");
    assert_ne!(support::pid_of(&again), support::pid_of(&stopping));
    assert!(manager.workers()[0]["restarts"].as_u64() >= Some(1));
}

#[test]
fn a_worker_is_told_how_often_and_may_say_that_it_is_lost() {
    let script = "notify:READY=1 gate:{dir}/gate notify:WATCHDOG=trigger pause";
    let setup = setup(script).options("--ack manual --watchdog 90s");
    nix::unistd::mkfifo(&setup.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let manager = setup.start();
    manager.up();
    let told = environment(manager.pids("ready")[0]);
    assert_eq!((told["WATCHDOG_USEC"].as_str(), told.get("WATCHDOG_PID")), ("90000000", None));
    let mut events = manager.events();
    drop(std::fs::OpenOptions::new().write(true).open(manager.path("gate")).unwrap());
    assert_eq!(events.until("stopping")["reason"], "no sign of life");
}

#[test]
fn what_a_worker_says_of_itself_is_in_the_status() {
    let manager = setup("notify:STATUS=warm notify:READY=1 pause").options("--ack manual").start();
    manager.up();
    assert_eq!(manager.workers()[0]["status"], "warm");
    let page = manager.done(&["status"]).stdout;
    assert!(page.contains("STATUS") && page.contains("warm"), "{page}");
    // The next image knows it too.
    manager.done(&["reexec"]);
    assert_eq!(manager.workers()[0]["status"], "warm");
    let plain = setup("notify:READY=1 pause").options("--ack manual").start();
    plain.up();
    assert!(plain.workers()[0].get("status").is_none());
    assert!(!plain.done(&["status"]).stdout.contains("STATUS"));
}

#[test]
fn a_worker_that_reloads_or_fails_says_so_where_it_has_no_status() {
    for (text, shown) in [
        ("RELOADING=1,MONOTONIC_USEC=1", "reloading"),
        ("ERRNO=2", "no such file or directory"),
        ("ERRNO=2,STATUS=no_licence", "no_licence"),
    ] {
        let manager = setup(&format!("notify:{text} notify:READY=1 pause")).options("--ack manual").start();
        manager.up();
        assert_eq!(manager.workers()[0]["status"], shown, "{text}");
    }
}

#[test]
fn a_worker_that_says_that_it_goes_is_no_failure() {
    let script = "notify:READY=1 gate:{dir}/gate notify:STOPPING=1 exit:3";
    // A failure would be answered after a time that no test waits for.
    let setup = setup(script).options("--ack manual --backoff 1h:1:1h");
    nix::unistd::mkfifo(&setup.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let manager = setup.start();
    manager.up();
    let first = manager.pids("ready")[0];
    let mut events = manager.events();
    drop(std::fs::OpenOptions::new().write(true).open(manager.path("gate")).unwrap());
    let second = support::pid_of(&events.until("ready"));
    assert_ne!(first, second);
    assert_eq!(manager.group()["failures"], 0);
}

#[test]
fn a_worker_may_ask_for_more_time_and_say_how_often_it_shows_that_it_lives() {
    let manager = setup("notify:EXTEND_TIMEOUT_USEC=3600000000 note:{dir}/there pause")
        .options("--ack manual --ack-deadline 80s")
        .start();
    let name = notify_socket(manager.pids("starting")[0]);
    let noted = || worker::noted(&manager.path("there")).len();
    let deadline = Instant::now() + LIMIT;
    while noted() == 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    barrier(&name);
    let left = manager.workers()[0]["until_ms"].as_u64().unwrap();
    assert!((80_001..=3_600_000).contains(&left), "{left}");

    let script = "notify:READY=1,WATCHDOG_USEC=100000 pause";
    let manager = setup(script).options("--ack manual --watchdog 1h").start();
    assert_eq!(manager.events().until("stopping")["reason"], "no sign of life");
}

#[test]
fn the_main_process_that_a_worker_names_is_the_worker_if_it_is_one_of_its_own() {
    let notify = "systemd-notify";
    if !support::tool(notify) {
        return;
    }
    let script = format!("sleep 1000 & {notify} MAINPID=$! READY=1 && wait");
    let manager = setup("").options("--ack manual").program(&["sh", "-c", &script]).start();
    manager.up();
    let worker = manager.workers()[0].clone();
    // Privileged, systemd-notify speaks as the shell that has called it; else it is not the worker that says so.
    let heeded = nix::unistd::geteuid().is_root();
    let field = if heeded { "pid" } else { "main_pid" };
    let main = worker[field].as_i64().expect("a pid").try_into().unwrap();
    assert_eq!(status_field(main, "Name"), "sleep");
    manager.done(&["reexec"]);
    assert_eq!(manager.workers()[0][field], main);
    manager.done(&["stop", "--timeout", "60s"]);
    assert!(wait_gone(main));

    let stranger = setup("notify:MAINPID=1 notify:READY=1 pause").options("--ack manual").start();
    stranger.up();
    stranger.log.line("ignored MAINPID=1 of pid");
    assert!(stranger.workers()[0].get("main_pid").is_none());
}

/// What a worker was told by the variables of its sockets: how many, their names, and how many may be kept.
fn told(pid: i32) -> [Option<String>; 3] {
    let variables = environment(pid);
    assert!(variables.get("LISTEN_PID").is_none_or(|told| *told == pid.to_string()));
    ["LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE"].map(|name| variables.get(name).cloned())
}

fn some(words: [&str; 3]) -> [Option<String>; 3] {
    words.map(|word| Some(word.to_owned()))
}

/// Kills the only worker and returns the one that is ready after it.
fn kill_and_wait(manager: &Manager) -> i32 {
    let mut events = manager.events();
    kill(Pid::from_raw(manager.pids("ready")[0]), Signal::SIGKILL).unwrap();
    support::pid_of(&events.until("ready"))
}

#[test]
fn what_a_worker_gives_to_keep_is_there_for_the_next_one() {
    let script = "give:FDSTORE=1,FDNAME=state:{dir}/state notify:READY=1 pause";
    let setup = setup(script).options("--ack manual --fd-store 2 --backoff 10ms -b 127.0.0.1:0,name=web");
    let file = setup.path("state").display().to_string();
    let mut manager = setup.start();
    manager.up();
    let first = manager.pids("ready")[0];
    assert_eq!(told(first), some(["1", "web", "2"]));
    assert_eq!(manager.workers()[0]["fd_store"], 1);
    assert_eq!(manager.group()["fd_store"], 1);
    assert!(manager.done(&["status"]).stdout.contains(", 1 descriptor kept"));

    // After a death, with what each has given.
    let second = kill_and_wait(&manager);
    assert_eq!(told(second), some(["2", "web:state", "2"]));
    assert_eq!(descriptors(second)[&4], file);
    assert_eq!(manager.workers()[0]["fd_store"], 2);

    // In another image of the manager, and in an upgrade, where the old worker has it still.
    manager.done(&["reexec"]);
    manager.done(&["upgrade"]);
    let third = manager.pids("ready")[0];
    assert_eq!(told(third), some(["3", "web:state:state", "2"]));
    assert_eq!((descriptors(third)[&4].as_str(), descriptors(third)[&5].as_str()), (&*file, &*file));
    // What it gives is one too many, and closed.
    manager.log.line("gives more than 2 descriptors to keep; closed 1");
    assert_eq!(manager.workers()[0]["fd_store"], 2);
    let held = descriptors(manager.pid()).values().filter(|target| **target == file).count();
    assert_eq!(held, 2);

    // A restart has new workers find it; a stop lets go of it.
    manager.done(&["restart"]);
    assert_eq!(told(manager.pids("ready")[0]), some(["3", "web:state:state", "2"]));
    manager.done(&["stop", "web"]);
    assert!(!descriptors(manager.pid()).values().any(|target| *target == file));
    manager.done(&["start"]);
    assert_eq!(told(manager.pids("ready")[0]), some(["1", "web", "2"]));
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_worker_takes_back_by_its_name_what_it_has_given() {
    let script = "give:FDSTORE=1,FDNAME=one:{dir}/one give:FDSTORE=1:{dir}/two give:FDNAME=three:{dir}/three \
                  notify:FDSTOREREMOVE=1,FDNAME=one notify:READY=1 pause";
    let manager = setup(script).options("--ack manual --fd-store 9 --backoff 10ms").start();
    manager.up();
    assert_eq!(told(manager.pids("ready")[0]), [None, None, Some("9".to_owned())]);
    assert_eq!(manager.workers()[0]["fd_store"], 1);
    // Each slot has its own.
    manager.done(&["scale", "2"]);
    let pids = manager.pids("ready");
    assert_eq!((pids.len(), told(pids[1])), (2, [None, None, Some("9".to_owned())]));
    assert_eq!(told(kill_and_wait(&manager)), some(["1", "stored", "9"]));
}

#[test]
fn what_hangs_up_is_kept_no_more_unless_that_is_wanted() {
    let script =
        "give:FDSTORE=1,FDNAME=gone:pair give:FDSTORE=1,FDPOLL=0,FDNAME=spared:pair notify:READY=1 pause";
    let manager = setup(script).options("--ack manual --fd-store 9 --backoff 10ms").start();
    manager.up();
    assert_eq!(manager.workers()[0]["fd_store"], 2);
    // The other ends are gone with the worker.
    assert_eq!(told(kill_and_wait(&manager)), some(["1", "spared", "9"]));
}

#[test]
fn keeping_needs_the_conventions_that_tell_of_it() {
    for option in ["--handoff notify", "--handoff systemd"] {
        let output = setup("pause").options("--fd-store 2").options(option).output();
        assert_eq!(output.code, Some(1));
        assert!(output.stderr.contains("fd-store needs the conventions systemd and notify"), "{output:?}");
    }
}

/// The name of a worker's NOTIFY_SOCKET, without its `@`.
fn notify_socket(pid: i32) -> String {
    loop {
        // Between fork and exec the environment is still that of the manager.
        if let Some(name) = environment(pid).get("NOTIFY_SOCKET") {
            return name.strip_prefix('@').expect("an abstract name").to_owned();
        }
        std::thread::yield_now();
    }
}

/// Sends a message there, with descriptors.
fn give(name: &str, text: &[u8], numbers: &[i32]) -> nix::Result<()> {
    let sender = UnixDatagram::unbound().unwrap();
    let to = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    let rights = [ControlMessage::ScmRights(numbers)];
    sendmsg(sender.as_raw_fd(), &[IoSlice::new(text)], &rights, MsgFlags::empty(), Some(&to)).map(drop)
}

/// Returns when all that was sent there was read.
fn barrier(name: &str) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    give(name, b"BARRIER=1", &[writer.as_raw_fd()]).unwrap();
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

/// Waits until no more is open than before. Whoever closes what was sent may be at it still, when a barrier is passed.
fn settled(manager: &Manager, before: usize) {
    let deadline = Instant::now() + LIMIT;
    // Fewer, if it had not noticed yet that the program runs.
    while descriptors(manager.pid()).len() > before {
        assert!(Instant::now() < deadline, "{before} before");
    }
}

#[test]
fn hostile_datagrams_cost_nothing() {
    let manager = setup("note:{dir}/there pause").options("--ack manual").start();
    let mut events = manager.events();
    let pid = manager.pids("starting")[0];
    let name = notify_socket(pid);
    let before = descriptors(manager.pid()).len();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    let send = |bytes: &[u8]| sender.send_to_addr(bytes, &address);
    for garbage in [&b""[..], &[0; 512], &[0xff; 4096], &[b'\n'; 4096], b"=\n==\nREADY", &[b'x'; 100_000]] {
        send(garbage).unwrap();
    }
    // A system of usual limits does not even take it from anybody but root.
    let room = setsockopt(&sender, sockopt::SndBufForce, &(4 << 20));
    let sent = send(&vec![b'x'; 1 << 20]);
    assert!(room.is_err() || sent.is_ok(), "{sent:?}");
    for line in [
        "WATCHDOG=1",
        "WATCHDOG=trigger",
        "MAINPID=1",
        "MAINPID=-1",
        "EXTEND_TIMEOUT_USEC=18446744073709551615",
    ] {
        send(line.as_bytes()).unwrap();
    }
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    give(&name, b"FDSTORE=1\nFDNAME=x", &[null.as_raw_fd(); 200]).unwrap();
    barrier(&name);
    settled(&manager, before);
    assert_eq!(manager.pids("starting"), [pid]);
    assert!(events.seen("ready").is_empty());
    // And it still listens.
    send(b"READY=1").unwrap();
    assert_eq!(support::pid_of(&events.until("ready")), pid);
}

#[test]
fn what_another_user_sends_is_refused_and_kept_by_nobody() {
    if !support::root() {
        return;
    }
    for options in ["", "--fd-store 9"] {
        let manager = setup("note:{dir}/there pause").options("--ack manual").options(options).start();
        let pid = manager.pids("starting")[0];
        let name = notify_socket(pid);
        barrier(&name);
        let before = descriptors(manager.pid()).len();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut stranger = Command::new("true");
        stranger.uid(65_534).gid(65_534);
        let number = writer.as_raw_fd();
        // SAFETY: it allocates, which no other thread of this process keeps it from: the C library sees to that in a child.
        unsafe {
            stranger.pre_exec({
                let name = name.clone();
                move || Ok(give(&name, b"READY=1\nFDSTORE=1\nSTATUS=stolen", &[number; 200])?)
            });
        }
        assert!(stranger.status().unwrap().success());
        drop((stranger, writer));
        barrier(&name);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "all are closed");
        manager.log.line(&format!("ignored a notification for pid {pid} from uid 65534"));
        assert!(descriptors(manager.pid()).len() <= before, "{before} before");
        assert_eq!(manager.pids("starting"), [pid]);
        let worker = &manager.workers()[0];
        assert!(worker.get("status").is_none() && worker.get("fd_store").is_none(), "{worker}");
    }
}

#[test]
fn two_hundred_descriptors_are_kept_as_far_as_there_is_room() {
    let manager = setup("pause").options("--ack manual --fd-store 5").start();
    let name = notify_socket(manager.pids("starting")[0]);
    barrier(&name);
    let before = descriptors(manager.pid()).len();
    let files: Vec<OwnedFd> = (0..200).map(|_| std::fs::File::open("/dev/zero").unwrap().into()).collect();
    let numbers: Vec<i32> = files.iter().map(AsRawFd::as_raw_fd).collect();
    for _ in 0..3 {
        give(&name, b"FDSTORE=1\nFDNAME=zero", &numbers).unwrap();
    }
    barrier(&name);
    // Who closes the others may be at it still, when the barrier is passed.
    let deadline = Instant::now() + LIMIT;
    let held = loop {
        let held = descriptors(manager.pid());
        match held.values().filter(|target| *target == "/dev/zero").count() {
            5 => break held,
            more => assert!(more > 5 && Instant::now() < deadline, "{more} are kept"),
        }
    };
    assert!(held.len() <= before + 5, "{before} before");
    assert_eq!(manager.workers()[0]["fd_store"], 5);
}

#[test]
fn a_worker_that_leaves_its_watch_file_alone_is_replaced() {
    let script =
        "(echo $FIRESTARTER_WATCH_FILE; cat $FIRESTARTER_WATCH_FILE; echo) >>DIR/told; exec sleep 1000";
    let group =
        format!("[web]\nexec_start = ['sh', '-c', '{script}']\nack = 'none'\nlive_check_timeout = '100ms'\n");
    let mut manager = site::start("pause", &group);
    manager.done(&["reexec"]);
    let mut events = manager.events();
    let dead =
        support::pid_of(&events.until_that("a silent worker", |event| event["reason"] == "no sign of life"));
    assert!(wait_gone(dead));
    let told = || std::fs::read_to_string(manager.path("told")).unwrap();
    let deadline = Instant::now() + LIMIT;
    while told().lines().count() < 4 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let told = told();
    assert_eq!(manager.stop(), Some(0));
    // Each has had a file of its own, which is gone with it.
    let files: Vec<&str> = told.lines().filter(|line| line.starts_with('/')).collect();
    assert!(files.len() >= 2 && files[0] != files[1], "{told}");
    assert!(told.contains("\nweb-0"), "{told}");
    let beside = manager.path("firestarter-process-web-").display().to_string();
    assert!(
        files.iter().all(|file| file.starts_with(&beside) && !std::path::Path::new(file).exists()),
        "{told}"
    );
}
