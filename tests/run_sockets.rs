//! The real binary: what a worker does to a socket that others share is put right when the worker is ready or has ended.

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use support::{Manager, http, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Two workers on this socket, the first of which does something to it before it is ready.
fn start(bind: &str, deed: &str) -> Manager {
    let script = format!("once:{{dir}}/once:{deed} ack serve");
    setup(&script).options(&format!("-n 2 --ack manual -b {bind}")).start()
}

#[test]
fn a_listener_that_a_worker_shuts_down_listens_again() {
    let manager = start("127.0.0.1:0", "shut");
    let address = manager.address();
    manager.log.line("a worker had shut it down, and it listens again");
    manager.up();
    assert_eq!(manager.address(), address, "at the same port");
    for _ in 0..4 {
        http::get(address, "/").unwrap();
    }
}

#[test]
fn a_queue_that_a_worker_shortens_is_as_long_again_as_it_was() {
    let manager = start("127.0.0.1:0,backlog=77", "queue=3");
    manager.log.line("a worker had changed its queue, which is as long again as it was");
    manager.up();
    http::get(manager.address(), "/").unwrap();
}

// pitfall 18
#[test]
fn a_path_that_a_worker_removes_is_there_again() {
    let setup = setup("once:{dir}/once:remove={dir}/w.sock ack serve");
    let path = setup.path("w.sock");
    let bind = format!("unix:{}", path.display());
    let manager = setup.options("-n 2 --ack manual -b").option(bind).start();
    manager.up();
    manager.log.line("w.sock: ");
    let connected = UnixStream::connect(&path);
    assert!(connected.is_ok(), "{connected:?}\n{}", manager.log.text());
    drop(connected);
    let mut manager = manager;
    assert_eq!(manager.stop(), Some(0));
    let left: Vec<_> =
        std::fs::read_dir(manager.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("w.sock")), "{left:?}");
}

#[test]
fn a_unix_socket_that_a_worker_shuts_down_is_made_anew_and_workers_are_replaced() {
    let setup = setup("once:{dir}/once:shut ack serve").options("-n 2 --ack manual -b");
    let path = setup.path("w.sock");
    let bind = format!("unix:{},mode=0640", path.display());
    let mut manager = setup.option(bind).start();
    manager.log.line("a worker had shut it down; an upgrade gives workers a new one in its place");
    manager.log.line("upgraded: all workers are of generation 2");
    // Those of the first generation that still drain do not answer for it.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(support::LIMIT)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(stream);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(manager.group()["generation"], 2);
    assert_eq!(manager.stop(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_socket_that_is_made_anew_needs_nobody_else_to_wake_the_manager() {
    // It is looked at when the time of the only worker is over, and then nothing happens by itself.
    let setup = setup("once:{dir}/once:shut pause").options("-n 1 --ack timer:100ms -b");
    let bind = format!("unix:{}", setup.path("w.sock").display());
    let manager = setup.option(bind).start();
    manager.log.line("upgraded: all workers are of generation 2");
}
