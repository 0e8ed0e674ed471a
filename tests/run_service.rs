//! The real binary under a service manager: what it says by sd_notify(3), which sockets it takes over and has kept. The
//! manager is a stand-in of our own, and systemd's own tools where they are installed.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::process::environment;
use support::receiver::Receiver;
use support::{Manager, Setup, setup, site, tool, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// A manager that reports to a stand-in.
fn reporting(setup: Setup, variables: &[(&str, &str)]) -> (Manager, Receiver) {
    let path = setup.path("notify");
    let receiver = Receiver::bind(&path);
    let mut command = setup.command();
    command.env("NOTIFY_SOCKET", &path).envs(variables.iter().copied());
    (setup.launch(command), receiver)
}

/// The pid of the only worker.
fn only_worker(manager: &Manager) -> i32 {
    manager.up();
    manager.pids("ready")[0]
}

/// A command that finds these sockets as systemd passes them: at 3, 4... with these names.
fn with_sockets(inner: &Command, sockets: Vec<OwnedFd>, names: &str) -> Command {
    // A shell, as the pid in LISTEN_PID is that of the process that becomes the manager.
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    // SAFETY: system calls and nothing else.
    unsafe {
        command.pre_exec(move || {
            // Out of the way first, then to their places.
            for (at, socket) in (100..).zip(&sockets) {
                nix::errno::Errno::result(libc::dup2(socket.as_raw_fd(), at))?;
            }
            for (at, _) in (0..).zip(&sockets) {
                nix::errno::Errno::result(libc::dup2(100 + at, 3 + at))?;
                nix::errno::Errno::result(libc::close(100 + at))?;
            }
            Ok(())
        });
    }
    command
}

fn answers(address: std::net::SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

// pitfall 19
#[test]
fn ready_is_said_when_the_workers_are_and_each_change_is_framed() {
    let setup = setup("gate:{dir}/gate notify:READY=1 pause").options("-n 2 --ack manual --max-unacked 2");
    nix::unistd::mkfifo(&setup.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let gate = setup.path("gate");
    let (mut manager, mut receiver) = reporting(setup, &[]);
    assert_eq!(receiver.until("STATUS="), "0/2 workers ready, generation 1");
    assert!(receiver.heard.iter().any(|text| text.contains("EXTEND_TIMEOUT_USEC=")), "{:?}", receiver.heard);
    assert!(!receiver.heard.iter().any(|text| text.contains("READY=1")), "{:?}", receiver.heard);
    manager.next_script("notify:READY=1 pause");
    // Open for whoever comes.
    let opened = fs::OpenOptions::new().read(true).write(true).open(gate).unwrap();
    receiver.until("READY=1");
    drop(opened);

    let begin = remuda::sys::clock::now_us();
    manager.done(&["upgrade"]);
    receiver.until("RELOADING=1");
    let told: u64 = receiver.until("MONOTONIC_USEC=").parse().unwrap();
    assert!(told >= begin, "{told} is before {begin}");
    receiver.until("READY=1");

    manager.done(&["reexec"]);
    receiver.until("RELOADING=1");
    receiver.until("READY=1");

    // An upgrade that fails ends its reload too.
    manager.next_script("exit:1");
    assert_eq!(manager.verb(&["upgrade"]).code, Some(5));
    receiver.until("RELOADING=1");
    receiver.until("READY=1");

    manager.signal(Signal::SIGTERM);
    receiver.until("STOPPING=1");
    receiver.until("BARRIER=1");
    assert_eq!(manager.exit().code(), Some(0));
}

// pitfall 19
#[test]
fn the_watchdog_is_fed_and_workers_hear_nothing_of_it() {
    let variables = [("WATCHDOG_USEC", "100000"), ("FDSTORE", "0")];
    let (manager, mut receiver) =
        reporting(setup("").options("--ack none").program(&["sleep", "1000"]), &variables);
    for _ in 0..5 {
        receiver.until("WATCHDOG=1");
    }
    let told = environment(only_worker(&manager));
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", "LISTEN_FDS", "LISTEN_PID"] {
        assert_eq!(told.get(name), None, "{name}");
    }
}

#[test]
fn a_manager_that_does_not_listen_is_passed_over() {
    let setup = setup("").options("--ack none").program(&["sleep", "1000"]);
    let mut command = setup.command();
    command.env("NOTIFY_SOCKET", setup.path("nobody"));
    let mut manager = setup.launch(command);
    manager.log.line("cannot notify the service manager");
    manager.up();
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn sockets_that_were_passed_are_taken_by_name_and_by_address() {
    let setup = setup("serve").options("--ack none -n 1");
    let (by_name, by_address) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = setup.path("web.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let addresses = [&by_name, &by_address, &stray].map(|socket| socket.local_addr().unwrap());
    // The first is bound elsewhere than the plan says: the name decides.
    let setup =
        setup.options(&format!("-b 127.0.0.1:1,name=web -b {} -b unix:{}", addresses[1], path.display()));
    let sockets: Vec<OwnedFd> = vec![stray.into(), by_address.into(), unix.into(), by_name.into()];
    let command = with_sockets(&setup.command(), sockets, "other:x.socket:y.socket:web");
    let mut manager = setup.start_as(command);
    manager.log.line("closed a socket that was passed as other");
    let told = manager.group()["sockets"].clone();
    let told: Vec<&str> = told.as_array().unwrap().iter().map(|s| s["address"].as_str().unwrap()).collect();
    let expected = [addresses[0].to_string(), addresses[1].to_string(), format!("unix:{}", path.display())];
    assert_eq!(told, expected);
    answers(addresses[0]);
    assert!(TcpStream::connect(addresses[2]).is_err(), "nobody wanted it");
    // Also in the next image.
    manager.done(&["reexec"]);
    answers(addresses[0]);
    assert_eq!(manager.stop(), Some(0));
    assert!(path.exists(), "it is not ours to remove");
}

#[test]
fn a_plan_without_sockets_has_those_that_were_passed() {
    let setup = setup("serve").options("--ack none -n 1");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let command = with_sockets(&setup.command(), vec![socket.into()], "web.socket");
    let manager = setup.start_as(command);
    assert_eq!(manager.group()["sockets"][0]["name"], "web.socket");
    answers(address);
}

#[test]
fn a_file_without_sockets_keeps_those_that_were_passed_when_it_is_read_again() {
    let file = |count: u32| {
        format!("[web]\nWORKER\nenvironments = ['REMUDA_TEST_SCRIPT=serve']\nnumprocesses = {count}\n")
    };
    let setup = setup("serve");
    site::write(&setup, &file(1));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let command = with_sockets(&site::run(&setup), vec![socket.into()], "web.socket");
    let manager = setup.start_as(command);
    let sockets = manager.group()["sockets"].clone();
    assert_eq!(sockets[0]["name"], "web.socket");
    site::rewrite(&manager, &file(2));
    let told = manager.done(&["reload"]).stdout;
    assert!(told.starts_with("~ web: numprocesses 1 -> 2"), "{told}");
    assert_eq!(manager.group()["sockets"], sockets);
    answers(address);
}

// pitfall 25
#[test]
fn sockets_for_another_process_are_left_alone() {
    let setup = setup("").options("--ack none").program(&["sleep", "1000"]);
    let mut command = setup.command();
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let manager = setup.start_as(command);
    assert_eq!(manager.group()["sockets"], serde_json::json!([]));
}

#[test]
fn a_manager_that_is_killed_finds_its_sockets_again() {
    let first = setup("serve").options("--ack none -b 127.0.0.1:0,name=web");
    let unix = format!("unix:{}", first.path("web.sock").display());
    let first = first.option("-b").option(&unix);
    let second = setup("serve").options("--ack none -b 127.0.0.1:0,name=web").option("-b").option(&unix);
    let (mut manager, mut receiver) = reporting(first, &[("FDSTORE", "8")]);
    receiver.until("READY=1");
    let address = manager.address();
    answers(address);
    manager.process.end();
    let names: Vec<String> = receiver.stored.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["web", unix.strip_prefix("unix:").unwrap()]);
    // A client that comes while nobody is there waits.
    let mut early = TcpStream::connect(address).unwrap();
    early.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let sockets = receiver.stored.drain(..).map(|(_, socket)| socket).collect();
    let command = with_sockets(&second.command(), sockets, &names.join(":"));
    let again = second.start_as(command);
    assert_eq!(again.address(), address);
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    UnixStream::connect(unix.strip_prefix("unix:").unwrap()).unwrap();
}

#[test]
fn of_two_kept_sockets_of_one_name_the_one_that_is_used_stays() {
    let setup = setup("pause").options("--ack none -b 127.0.0.1:0,name=web");
    let path = setup.path("notify");
    let mut receiver = Receiver::bind(&path);
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = sockets[0].local_addr().unwrap();
    let mut command = with_sockets(&setup.command(), sockets.map(OwnedFd::from).into(), "web:web");
    command.env("NOTIFY_SOCKET", &path).env("FDSTORE", "8");
    let manager = setup.launch(command);
    receiver.until("READY=1");
    assert_eq!(manager.address(), taken);
    // Both are forgotten by their name, and the one is given again.
    assert!(receiver.heard.iter().any(|text| text == "FDSTOREREMOVE=1\nFDNAME=web"), "{:?}", receiver.heard);
    let [(name, kept)] = &receiver.stored[..] else { panic!("{:?}", receiver.stored) };
    assert_eq!(name, "web");
    assert_eq!(TcpListener::from(kept.try_clone().unwrap()).local_addr().unwrap(), taken);
}

#[test]
fn sockets_that_a_reload_opens_are_kept_at_once_and_those_that_it_closes_are_not() {
    let file = |sockets: &str| format!("[web]\nWORKER\nsocket_address = [{sockets}]\n");
    let first = setup("pause");
    let path = first.path("api.sock");
    let api = format!("'unix:{},name=api'", path.display());
    site::write(&first, &file("'127.0.0.1:0,name=web'"));
    let notify = first.path("notify");
    let mut receiver = Receiver::bind(&notify);
    let mut command = site::run(&first);
    command.env("NOTIFY_SOCKET", &notify).env("FDSTORE", "8");
    let mut manager = first.launch(command);
    receiver.until("READY=1");
    let names =
        |receiver: &Receiver| receiver.stored.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&receiver), ["web"]);

    let reload = |receiver: &mut Receiver, sockets: &str| {
        site::rewrite(&manager, &file(sockets));
        manager.done(&["reload"]);
        receiver.until("RELOADING=1");
        receiver.until("READY=1");
    };
    reload(&mut receiver, &format!("'127.0.0.1:0,name=web', {api}"));
    assert_eq!(names(&receiver), ["web", "api"]);
    // The next image need not say it again.
    manager.done(&["reexec"]);
    receiver.until("RELOADING=1");
    receiver.until("READY=1");
    assert_eq!(names(&receiver), ["web", "api"]);
    // By another name: the same socket, and not the one that had this name before.
    reload(&mut receiver, "'127.0.0.1:0,name=front'");
    assert_eq!(names(&receiver), ["front"]);
    // At the end, if its last worker had not gone before.
    manager.signal(Signal::SIGTERM);
    receiver.until("BARRIER=1");
    assert_eq!(manager.exit().code(), Some(0));
    assert!(!path.exists(), "nobody is to find it again");
}

#[test]
fn systemd_passes_its_sockets() {
    if !tool("systemd-socket-activate") {
        return;
    }
    let setup = setup("serve").options("--ack none -n 1");
    let path = setup.path("web.sock");
    let setup = setup.option("-b").option(format!("unix:{},name=web", path.display()));
    let inner = setup.command();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(&path).arg("--fdname=web").arg(inner.get_program()).args(inner.get_args());
    command.env("LC_ALL", "C").stdin(Stdio::null());
    let manager = setup.launch(command);
    manager.log.line("Listening on ");
    // The first client is what starts it.
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(environment(only_worker(&manager))["LISTEN_FDNAMES"], "web");
}

#[test]
fn the_units_of_the_examples_are_sound() {
    if !tool("systemd-analyze") {
        return;
    }
    let setup = setup("");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd");
    let mut command = Command::new("systemd-analyze");
    command.arg("verify");
    for unit in ["remuda-web.service", "remuda-web.socket"] {
        // As installed: the program and its pages are there.
        let text =
            fs::read_to_string(folder.join(unit)).unwrap().replace("/usr/local/bin/remuda", support::REMUDA);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("Documentation=")).collect();
        fs::write(setup.path(unit), lines.join("\n")).unwrap();
        command.arg(setup.path(unit));
    }
    let output = command.output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaints.contains("remuda-web"), "{complaints}");
}

// pitfall 55
#[test]
fn systemd_notify_is_heard_from_a_worker() {
    if !tool("systemd-notify") {
        return;
    }
    let script = "systemd-notify --ready --status=warm && exec sleep 1000";
    let mut manager = setup("").options("--ack manual").program(&["sh", "-c", script]).start();
    manager.up();
    assert_eq!(manager.stop(), Some(0));
}
