//! The real binary: upgrades that come while the workers of the running generation are not ready yet, under load, through
//! every door that upgrades. Nobody is asked to go before a worker that is ready stands in its place, so that no request
//! fails, whatever the new version does.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{LIMIT, Manager, REMUDA, pass, setup, worker};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Takes requests at once, and does not say that it is ready.
const SERVES: &str = "serve";

fn load(address: SocketAddr) -> Load {
    let (pause, limit) = (Duration::from_millis(2), Duration::from_secs(20));
    Load::start(Traffic { connections: 4, pause, limit, ..Traffic::to(address) }).unwrap()
}

/// No request has failed, and no worker of the first generation was asked to go but as the last worker of its slot to
/// be replaced by one that is ready.
fn nothing_lost(load: Load, manager: &Manager) {
    let report = load.stop();
    let told = manager.log.text();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}\n{told}");
    let asked = told.lines().filter(|line| line.contains("gen 1: stopping"));
    let others: Vec<&str> = asked.filter(|line| !line.ends_with(": replaced")).collect();
    assert!(others.is_empty(), "{others:?}\n{told}");
}

/// Two workers whose program runs, and which are not ready.
fn starting(options: &str) -> Manager {
    let manager = setup(SERVES).options("-b 127.0.0.1:0 -n 2 --backoff 20ms:1:20ms").options(options).start();
    let deadline = Instant::now() + LIMIT;
    while manager.pids("starting").len() < 2 {
        assert!(Instant::now() < deadline, "{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
    manager
}

/// How the worker becomes ready that the first generation waits for in vain: an ack, a file that a probe looks for, or
/// more time than the test has.
const NOT_YET: [&str; 3] = ["--ack manual", "--ack timer:300s", "--ack exec:false"];

#[test]
fn a_version_that_fails_touches_nobody() {
    for ack in NOT_YET {
        for script in ["exit:3", "serve:linger"] {
            let hangs = script != "exit:3";
            let manager = starting(&format!("{ack} --upgrade-timeout 500ms --upgrade-attempts 2"));
            let before = manager.pids("starting");
            let load = load(manager.address());
            manager.next_script(script);
            let output = manager.verb(&["upgrade"]);
            assert_eq!(output.code, Some(5), "{ack}, {script}: {output:?}");
            let why = if hangs { "not done within 500 ms" } else { "exit code 3" };
            assert!(output.stderr.contains(why), "{output:?}");
            assert!(output.stderr.contains("generation 1 was not touched"), "{output:?}");
            assert_eq!(manager.pids("starting"), before, "{ack}, {script}");
            nothing_lost(load, &manager);
        }
    }
}

#[test]
fn a_version_that_comes_up_replaces_a_starting_fleet() {
    for options in ["", "--upgrade fleet", "--surge 2", "--canary-time 50ms"] {
        let manager = starting(&format!("--ack manual {options}"));
        let load = load(manager.address());
        manager.next_script("ack serve");
        let output = manager.verb(&["upgrade"]);
        assert_eq!(output.code, Some(0), "{options}: {output:?}\n{}", manager.log.text());
        nothing_lost(load, &manager);
        assert!(
            manager.workers().iter().all(|worker| worker["generation"] == 2 || worker["phase"] == "stopping")
        );
    }
}

#[test]
fn an_upgrade_before_the_timer_of_the_first_workers_loses_nothing() {
    let manager = starting("--ack timer:1500ms");
    let load = load(manager.address());
    let output = manager.verb(&["upgrade"]);
    assert_eq!(output.code, Some(0), "{output:?}\n{}", manager.log.text());
    nothing_lost(load, &manager);
}

#[test]
fn a_fleet_that_starts_is_called_back_reloaded_and_hung_up_on_without_loss() {
    // Called off by hand.
    let manager = starting("--ack manual");
    let before = manager.pids("starting");
    let running = load(manager.address());
    let mut events = manager.events();
    let upgrade = manager.begin(&["upgrade"]);
    events.until("upgrade-started");
    let back = manager.begin(&["rollback"]);
    assert_eq!(upgrade.output().code, Some(5));
    assert_eq!(manager.pids("starting"), before, "{}", manager.log.text());
    nothing_lost(running, &manager);
    drop((back, manager));

    // By a signal, from a starting fleet to one that is ready.
    let manager = starting("--ack manual");
    let running = load(manager.address());
    manager.next_script("ack serve");
    manager.signal(Signal::SIGHUP);
    manager.log.line("all workers are of generation 2");
    nothing_lost(running, &manager);
}

#[test]
fn a_reload_replaces_a_group_that_starts_without_loss() {
    let setup = setup("");
    let path = setup.path("site.toml");
    let text = |script: &str| {
        let program = setup.path("program");
        let words = "'--exact', 'worker_entry', '--nocapture', '--test-threads=1'";
        format!(
            "[web]\nexec_start = ['{}', {words}]\nnumprocesses = 2\nack = 'manual'\n\
             socket_address = ['127.0.0.1:0']\nenvironments = ['{}={script}']\n",
            program.display(),
            worker::SCRIPT
        )
    };
    fs::write(&path, text(SERVES)).unwrap();
    let next = text("ack serve");
    let mut command = Command::new(REMUDA);
    command.arg("run").arg("-c").arg(&path).arg("--control").arg(setup.path("c.sock"));
    let manager = setup.start_as(command);
    let deadline = Instant::now() + LIMIT;
    while manager.pids("starting").len() < 2 {
        assert!(Instant::now() < deadline, "{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
    let running = load(manager.address());
    fs::write(&path, next).unwrap();
    let output = manager.verb(&["reload"]);
    assert_eq!(output.code, Some(0), "{output:?}\n{}", manager.log.text());
    nothing_lost(running, &manager);
}

// ---- the doors -------------------------------------------------------------------------------------------------------

#[test]
fn einhorn_upgrades_a_fleet_that_is_in_its_infancy() {
    let manager = support::einhorn::start("stop-on:USR2 serve", "-n 2 -m 2 -s 0.05 -b 127.0.0.1:0");
    let address = support::einhorn::address(&manager);
    let running = load(address);
    assert!(!manager.log.text().contains("so we are considering it alive"), "too late to be of use");
    manager.signal(Signal::SIGHUP);
    manager.log.line("Upgraded successfully to version 1");
    nothing_lost(running, &manager);
}

#[test]
fn einhyrningsins_upgrades_a_fleet_in_its_childhood() {
    let setup = setup("");
    let mut command = Command::new(REMUDA);
    command.args(["einhyrningsins", "-n", "2", "-b", "127.0.0.1:0", "-d"]).arg(setup.path("c.sock"));
    command.arg("--").arg(setup.path("program"));
    command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
    command.env(
        worker::SCRIPT,
        "stop-on:USR2 note:{dir}/noted serve".replace("{dir}", &setup.path("").display().to_string()),
    );
    let manager = setup.start_as(command);
    let running = load(address_of(noted(&manager)[0]));
    manager.signal(Signal::SIGHUP);
    manager.log.line("all workers are of generation 2");
    nothing_lost(running, &manager);
}

#[test]
fn start_server_waits_for_the_new_worker_before_the_old_one_has_lived_its_interval() {
    for (options, signal) in [(&["--signal-on-hup", "USR1"][..], "USR1"), (&[][..], "TERM")] {
        let setup = setup("");
        let mut command = Command::new(REMUDA);
        command.args(["start_server", "--port", "127.0.0.1:0", "--interval", "2", "--pid-file", "pid"]);
        command.args(options).arg("--").arg(setup.path("program"));
        command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
        let directory = setup.path("");
        let script = format!("stop-on:{signal} note:{}/noted serve", directory.display());
        command.current_dir(directory).env(worker::SCRIPT, script);
        let manager = setup.launch(command);
        let running = load(address_of(noted(&manager)[0]));
        manager.signal(Signal::SIGHUP);
        manager.log.line("all workers are of generation 2");
        manager.log.line(&format!("gen 1: stopping with signal {signal}: replaced"));
        nothing_lost(running, &manager);
    }
}

/// Pids of those who have come to `note:noted`, one at least.
fn noted(manager: &Manager) -> Vec<i32> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let pids = worker::noted(&manager.path("noted"));
        if !pids.is_empty() {
            return pids;
        }
        assert!(Instant::now() < deadline, "{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
}

/// Where the socket is bound that a worker has at descriptor 3.
fn address_of(pid: i32) -> SocketAddr {
    let link = fs::read_link(format!("/proc/{pid}/fd/3")).unwrap();
    let link = link.to_string_lossy().into_owned();
    let inode = link.trim_start_matches("socket:[").trim_end_matches(']');
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let row = table.lines().find(|line| line.split_whitespace().nth(9) == Some(inode)).expect("a socket");
    let port = row.split_whitespace().nth(1).unwrap().split_once(':').unwrap().1;
    SocketAddr::from(([127, 0, 0, 1], u16::from_str_radix(port, 16).unwrap()))
}
