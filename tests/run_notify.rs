//! The real binary: what workers say to their NOTIFY_SOCKET beside READY=1, and what others send there.

mod support;

use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Instant;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use support::process::{descriptors, environment, wait_gone};
use support::{LIMIT, setup, site, worker};

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
fn hostile_datagrams_cost_nothing() {
    let manager = setup("note:{dir}/there pause").options("--ack manual").start();
    let mut events = manager.events();
    let pid = manager.pids("starting")[0];
    let name = loop {
        // Between fork and exec the environment is still that of the manager.
        if let Some(name) = environment(pid).get("NOTIFY_SOCKET") {
            break name.clone();
        }
        std::thread::yield_now();
    };
    let name = name.strip_prefix('@').expect("an abstract name").to_owned();
    let before = descriptors(manager.pid()).len();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    let send = |bytes: &[u8]| sender.send_to_addr(bytes, &address);
    for garbage in [&b""[..], &[0; 512], &[0xff; 4096], &[b'\n'; 4096], b"=\n==\nREADY", &[b'x'; 100_000]] {
        send(garbage).unwrap();
    }
    // A system of usual limits does not even take it.
    let _ = send(&vec![b'x'; 1 << 20]);
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
    let with = |text: &[u8], numbers: &[i32]| {
        let to = UnixAddr::new_abstract(name.as_bytes()).unwrap();
        let rights = [ControlMessage::ScmRights(numbers)];
        sendmsg(sender.as_raw_fd(), &[IoSlice::new(text)], &rights, MsgFlags::empty(), Some(&to)).unwrap();
    };
    with(b"FDSTORE=1\nFDNAME=x", &[null.as_raw_fd(); 200]);
    let (mut barrier, writer) = std::io::pipe().unwrap();
    with(b"BARRIER=1", &[writer.as_raw_fd()]);
    drop(writer);
    // Closed when all before it was read.
    assert_eq!(barrier.read(&mut [0]).unwrap(), 0);
    // Fewer, if it had not noticed yet that the program runs.
    assert!(descriptors(manager.pid()).len() <= before, "{before} before");
    assert_eq!(manager.pids("starting"), [pid]);
    assert!(events.seen("ready").is_empty());
    // And it still listens.
    send(b"READY=1").unwrap();
    assert_eq!(support::pid_of(&events.until("ready")), pid);
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
