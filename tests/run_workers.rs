//! The workers of examples/workers, each in its language: they serve, say that they are ready, are upgraded and go when
//! they are asked, with nothing left behind.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::http::Connection;
use support::{setup, skip, tool, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workers").join(name)
}

/// One life of two workers that answer with the name of their language.
fn lives(language: &str, program: &[&str]) {
    let setup = setup("").options("-b 127.0.0.1:0 -b 127.0.0.1:0 -n 2 --ack manual").program(program);
    let mut manager = setup.start();
    manager.up();
    let address = manager.address();
    let ask = || {
        let mut connection = Connection::open(address).unwrap();
        connection.send("/").unwrap();
        let body = connection.receive().unwrap();
        let (told, pid) = body.trim_end().split_once(' ').unwrap();
        assert_eq!(told, language);
        pid.parse::<i32>().unwrap()
    };
    let before = manager.pids("ready");
    assert!(before.contains(&ask()));
    manager.done(&["upgrade", "--wait-drained"]);
    let after = ask();
    assert!(!before.contains(&after) && manager.pids("ready").contains(&after));
    assert_eq!(manager.stop(), Some(0), "every worker went by itself");
    manager.leaves_nobody();
}

#[test]
fn python() {
    if tool("python3") {
        lives("python", &["python3", example("worker.py").to_str().unwrap()]);
    }
}

#[test]
fn ruby() {
    if tool("ruby") {
        lives("ruby", &["ruby", example("worker.rb").to_str().unwrap()]);
    }
}

#[test]
fn javascript() {
    if tool("node") {
        lives("javascript", &["node", example("worker.js").to_str().unwrap()]);
    }
}

#[test]
fn go() {
    if !tool("go") {
        return;
    }
    let built = setup("");
    let program = built.path("worker-go");
    let mut command = Command::new("go");
    // It needs no module and no network.
    command.args(["build", "-o"]).arg(&program).arg(example("worker.go")).env("GOCACHE", built.path("cache"));
    assert!(command.env("GO111MODULE", "off").env("GOFLAGS", "").status().unwrap().success());
    lives("go", &[program.to_str().unwrap()]);
}

#[test]
fn rust() {
    // Beside the tests, built by the same `cargo test`.
    let program =
        std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("worker");
    if !program.exists() {
        return skip("the example was not built: cargo build --example worker");
    }
    lives("rust", &[program.to_str().unwrap()]);
}
