//! The real binary: upgrades under load, and a hundred workers that do nothing.

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::process::{Log, Process, status_field};
use support::{Manager, pass, setup, tool, worker};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

#[test]
fn ten_seconds_of_load_with_upgrades_lose_no_request() {
    let mut manager = setup("ack serve").options("-b 127.0.0.1:0 -n 4 --ack manual").start();
    manager.up();
    let load =
        Load::start(Traffic { limit: Duration::from_secs(10), ..Traffic::to(manager.address()) }).unwrap();
    for _ in 0..4 {
        pass(Duration::from_millis(2000));
        manager.done(&["upgrade", "--wait-drained"]);
    }
    pass(Duration::from_secs(1));
    // Scaling and restarting loses none either, and so does a worker that dies of nothing in hand.
    manager.done(&["scale", "2"]);
    manager.done(&["restart"]);
    manager.done(&["scale", "4"]);
    let report = load.stop();
    println!("{report}");
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    assert_eq!(manager.group()["generation"], 5);
    assert_eq!(manager.stop(), Some(0));
}

fn a_hundred_idle_workers() -> Manager {
    let manager = setup("").options("-b 127.0.0.1:0 -n 100 --ack none").program(&["sleep", "1000"]).start();
    manager.up();
    // The last connection of ours has been closed when this is answered over another.
    manager.done(&["ping"]);
    manager
}

/// Until the manager has noticed the end of the last client: it sleeps, and has done nothing else for a moment.
fn settle(manager: &Manager) -> u64 {
    let switches = || status_field(manager.pid(), "voluntary_ctxt_switches").parse::<u64>().unwrap();
    for _ in 0..20 {
        let before = switches();
        pass(Duration::from_millis(300));
        if switches() == before {
            return before;
        }
    }
    panic!("the manager does not come to rest");
}

#[test]
fn with_nothing_to_do_the_manager_sleeps() {
    let manager = a_hundred_idle_workers();
    let before = settle(&manager);
    pass(Duration::from_secs(6));
    let after: u64 = status_field(manager.pid(), "voluntary_ctxt_switches").parse().unwrap();
    assert_eq!(after, before, "the manager woke up {} times in 6 s", after - before);
    let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", manager.pid())).unwrap_or_default();
    println!("{}", memory.lines().filter(|line| line.starts_with("Private_Dirty")).collect::<String>());
}

// pitfall 23
#[test]
fn with_nothing_to_do_the_manager_makes_no_system_call() {
    if !tool("strace") {
        return;
    }
    let manager = a_hundred_idle_workers();
    settle(&manager);
    let trace = manager.path("trace");
    let mut command = Command::new("strace");
    command.arg("-o").arg(&trace).arg("-p").arg(manager.pid().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut strace = Process::spawn(&mut command);
    let told = Log::follow(strace.child.stderr.take().expect("a pipe"));
    let first = told.line("strace: ");
    if !first.contains("attached") {
        return support::skip(&format!("no process may be traced: {first}"));
    }
    pass(Duration::from_secs(4));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(strace.pid()), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    strace.wait();
    let trace = fs::read_to_string(trace).unwrap();
    // The call it sleeps in is shown when strace attaches, and again when it detaches.
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains('(')).collect();
    let sleeping = |line: &&str| line.contains("poll(") || line.contains("restart_syscall(");
    assert!(calls.len() <= 1 && calls.iter().all(sleeping), "{trace}");
}

/// Nanoseconds for which it had a processor.
fn time_on_a_processor(pid: i32) -> u64 {
    let told = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

// pitfall 23
#[test]
fn a_hang_up_of_any_kind_does_not_make_the_loop_spin() {
    // Workers that close their output and the descriptor on which they were to say that they are ready.
    let script = "exec >&- 2>&- 3>&- 4>&-; exec sleep 1000";
    let setup = setup("").options("-b 127.0.0.1:0 -n 2 --ack none --ready-fd 4 --stderr-log prefix");
    let manager = setup.option_path("--stdout-log", "out").program(&["sh", "-c", script]).start();
    manager.up();
    // Clients that say no more and wait for what comes, that say half of something, and that are gone.
    let half_closed = [manager.connect(), manager.connect()];
    for (talk, bytes) in half_closed.iter().zip(["{\"command\":\"events\"}\n", "{\"command\":\"sta"]) {
        let mut stream = talk.stream();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    drop(manager.connect());
    let before = settle(&manager);
    let busy = time_on_a_processor(manager.pid());
    pass(Duration::from_secs(1));
    let after: u64 = status_field(manager.pid(), "voluntary_ctxt_switches").parse().unwrap();
    assert_eq!((after, time_on_a_processor(manager.pid())), (before, busy), "the loop turns");
    assert!(!manager.log.text().contains("has turned"), "{}", manager.log.text());
}

#[test]
fn a_back_off_is_the_only_reason_to_wake_up() {
    // One worker that fails, with a long pause: nothing happens in between.
    let manager = setup("exit:1").options("-n 3 --ack timer:30s --backoff 60s").start();
    manager.log.line("next attempt in");
    let before = settle(&manager);
    pass(Duration::from_secs(2));
    let after: u64 = status_field(manager.pid(), "voluntary_ctxt_switches").parse().unwrap();
    assert_eq!(after, before);
}
