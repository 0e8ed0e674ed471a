//! The real binary: groups that wait before they start their first workers, and cost nothing meanwhile.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use support::process::status_field;
use support::{Manager, REMUDA, http, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// How often the manager has gone to sleep by itself.
fn sleeps(manager: &Manager) -> String {
    status_field(manager.pid(), "voluntary_ctxt_switches")
}

#[test]
fn a_lazy_group_starts_with_the_first_connection_which_is_served() {
    let manager = setup("serve").options("-b 127.0.0.1:0 --ack none -n 2 --lazy").start();
    let group = manager.group();
    assert_eq!((group["state"].as_str(), manager.workers().len()), (Some("waiting"), 0));
    let shown = manager.done(&["status"]).stdout;
    assert!(shown.contains("waiting"), "{shown}");
    let address = manager.address();
    // It may still have to see that we have hung up.
    let sleeps_on = |_| {
        let before = sleeps(&manager);
        support::pass(Duration::from_millis(300));
        sleeps(&manager) == before
    };
    assert!((0..30).any(sleeps_on), "it waits without a clock");
    // By number, and before anybody accepts.
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    manager.up();
    assert_eq!(manager.pids("ready").len(), 2);
    manager.log.line("there is a connection: starting");
}

#[test]
fn a_waiting_group_is_upgraded_scaled_stopped_and_started_like_any_other() {
    let mut manager = setup("serve").options("-b 127.0.0.1:0 --ack none --lazy").start();
    let told = manager.done(&["upgrade"]);
    assert!(told.stdout.contains("generation 2 is what will start"), "{told:?}");
    manager.done(&["scale", "2"]);
    manager.done(&["reexec"]);
    assert_eq!((manager.group()["state"].as_str(), manager.workers().len()), (Some("waiting"), 0));
    assert!(http::get(manager.address(), "/").unwrap().ends_with(" 2\n"));
    manager.up();
    assert_eq!(manager.pids("ready").len(), 2);
    manager.done(&["stop", "web"]);
    manager.done(&["start"]);
    assert_eq!(manager.pids("ready").len(), 2);
    assert_eq!(manager.stop(), Some(0));

    let mut manager = setup("serve").options("-b 127.0.0.1:0 --ack none --lazy").start();
    manager.done(&["start"]);
    assert_eq!(manager.pids("ready").len(), 1);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_warm_up_opens_the_sockets_at_once_and_starts_workers_later() {
    let manager = setup("serve").options("-b 127.0.0.1:0 --ack none --warmup 1h").start();
    assert_eq!(manager.group()["state"], "waiting");
    let mut client = TcpStream::connect(manager.address()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(manager.workers().len(), 0);
    manager.done(&["start"]);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn a_file_says_the_same() {
    let setup = setup("");
    let text = "[lazy]\nexec_start = 'sleep 1000'\nack = 'none'\nsocket_address = ['@DIR/lazy']\n\
        start_immediate = false\n[late]\nexec_start = 'sleep 1000'\nack = 'none'\nwarmup_delay = 0.2\n";
    let text = text.replace("DIR", setup.path("").to_str().unwrap());
    fs::write(setup.path("site.toml"), text).unwrap();
    let mut command = Command::new(REMUDA);
    command.args(["run", "-c"]).arg(setup.path("site.toml")).arg("--control").arg(setup.path("c.sock"));
    let manager = setup.start_as(command);
    let mut events = manager.events();
    let late = || manager.status()["groups"][1]["state"] == "up";
    while !late() {
        events.until_that("worker", |event| event["group"] == "late");
    }
    assert_eq!(manager.status()["groups"][0]["state"], "waiting");
}
