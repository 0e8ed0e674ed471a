//! The worker that tests run: the test binary again, which does what the words in [`SCRIPT`] say, one after the other.
//!
//! | word | what it does |
//! |---|---|
//! | `exit:N` | exits with N |
//! | `exit-after:MS:N` | exits with N, MS milliseconds later |
//! | `exit-on:SIG:N` | exits with N when the signal comes |
//! | `ignore:SIG` | ignores a signal |
//! | `stop-on:SIG` | takes this signal for the one that asks to stop, in place of TERM |
//! | `gate:PATH` | goes on when somebody opens the FIFO for writing |
//! | `once:PATH:WORD` | performs the word (with `=` for its colons) only if the file can be created |
//! | `in-slot:N:WORD` | performs the word (with `=` for its colons) only in that slot, as [`SLOT`] tells it |
//! | `first:PATH:N` | exits with 1 unless it is among the first N that come here |
//! | `bind` | binds the address of descriptor 3 itself, and exits with 1 if it may not |
//! | `shut` | shuts the socket at descriptor 3 down, for all that share it |
//! | `queue:N` | has the socket at descriptor 3 keep no more than N waiting connections |
//! | `remove:PATH` | removes a file |
//! | `note:PATH` | appends its pid to a file |
//! | `grandchild` | starts a process that ignores every signal it can; the pid is appended to the file `grandchildren` |
//! | `ack`, `ack:0`, `ack:self` | says that it is ready, in JSON: without pid, with 0, with its own |
//! | `ack-einhorn` | says so as Einhorn::Worker does, and waits until the manager hangs up |
//! | `ack-by-fd` | says so over the connection of EINHORN_SOCK_FD, where nobody answers |
//! | `ask-by-fd:PATH` | sends the line from this FIFO over that connection, and what is answered to standard error |
//! | `ack-by-child` | lets a child of its own say so |
//! | `ack-in-passing` | says so to FIRESTARTER_SOCK_PATH, as those who do not wait for an answer |
//! | `notify:TEXT` | sends a datagram to NOTIFY_SOCKET, with line feeds for commas |
//! | `give:TEXT:PATH` | the same with a descriptor of this file, or of one end of a connection if it is `pair` |
//! | `serve` | answers HTTP on descriptor 3 until TERM, then until all connections are closed; then exits with 0 |
//! | `serve:linger` | the same, but TERM means nothing |
//! | `udp` | answers datagrams on descriptor 3 until TERM |
//! | `pause` | does nothing until TERM, then exits with 0 |
//!
//! Answers: `/` the pid and the generation; `/slow?MS` the same after MS milliseconds.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::{Command, exit};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{
    ControlMessage, MsgFlags, SockFlag, SockaddrIn, UnixAddr, accept4, getsockname, sendmsg,
};

/// The variable with the words.
pub(crate) const SCRIPT: &str = "REMUDA_TEST_SCRIPT";

/// A variable that has to be set to `{slot}` for those who ask for it.
pub(crate) const SLOT: &str = "REMUDA_TEST_SLOT";

/// The body of the test by which a test binary becomes a worker. It is an empty test otherwise.
pub(crate) fn enter() {
    let Ok(script) = env::var(SCRIPT) else { return };
    for word in script.split_whitespace() {
        perform(word);
    }
    exit(0);
}

fn perform(word: &str) {
    let mut parts = word.splitn(3, ':');
    let parts = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    match parts {
        ("exit", Some(code), None) => exit(code.parse().unwrap()),
        ("exit-after", Some(ms), Some(code)) => {
            thread::sleep(Duration::from_millis(ms.parse().unwrap()));
            exit(code.parse().unwrap());
        }
        ("exit-on", Some(name), Some(code)) => {
            CODE.store(code.parse().unwrap(), Ordering::Relaxed);
            handle(signal(name), exit_with_code);
        }
        ("ignore", Some(name), None) => ignore(signal(name)),
        ("stop-on", Some(name), None) => STOP_SIGNAL.store(signal(name) as i32, Ordering::Relaxed),
        ("gate", Some(path), None) => drop(File::open(path).unwrap()),
        ("once", Some(path), Some(word)) => {
            if OpenOptions::new().write(true).create_new(true).open(path).is_ok() {
                perform(&word.replace('=', ":"));
            }
        }
        ("in-slot", Some(slot), Some(word)) => {
            if env::var(SLOT).unwrap() == slot {
                perform(&word.replace('=', ":"));
            }
        }
        ("first", Some(path), Some(count)) => {
            append(path, std::process::id());
            let own = std::process::id().cast_signed();
            let place = noted(path.as_ref()).iter().position(|&pid| pid == own).unwrap();
            if place >= count.parse().unwrap() {
                exit(1);
            }
        }
        ("bind", None, None) => {
            let address: SockaddrIn = getsockname(3).unwrap();
            if TcpListener::bind((address.ip(), address.port())).is_err() {
                exit(1);
            }
        }
        ("shut", None, None) => nix::sys::socket::shutdown(3, nix::sys::socket::Shutdown::Both).unwrap(),
        ("queue", Some(length), None) => {
            // SAFETY: listen(2) takes no pointer, and descriptor 3 is the socket of the test.
            assert_eq!(unsafe { libc::listen(3, length.parse().unwrap()) }, 0);
        }
        ("remove", Some(path), None) => fs::remove_file(path).unwrap(),
        ("note", Some(path), None) => append(path, std::process::id()),
        ("grandchild", None, None) => grandchild(),
        ("ack", None, None) => ack(""),
        ("ack", Some("0"), None) => ack(r#","pid":0"#),
        ("ack", Some("self"), None) => ack(&format!(r#","pid":{}"#, std::process::id())),
        ("ack-einhorn", None, None) => {
            if let Err(error) = ack_einhorn() {
                eprintln!("worker {}: ack lost: {error}", std::process::id());
                exit(1);
            }
        }
        ("ack-by-fd", None, None) => {
            let line = format!("{{\"command\":\"worker:ack\",\"pid\":{}}}\n", std::process::id());
            own_connection().write_all(line.as_bytes()).unwrap();
        }
        ("ask-by-fd", Some(path), None) => {
            let mut connection = own_connection();
            connection.write_all(&fs::read(path).unwrap()).unwrap();
            let mut answer = String::new();
            BufReader::new(connection).read_line(&mut answer).unwrap();
            eprintln!("worker {}: answered {}", std::process::id(), answer.trim_end());
        }
        ("ack-by-child", None, None) => {
            let status = this_program_again("ack").status().unwrap();
            assert!(status.success());
        }
        ("ack-in-passing", None, None) => {
            let line = b"{\"command\":\"worker:ack\", \"pid\":0,\"signal\":null}\n";
            let address = unix_address("FIRESTARTER_SOCK_PATH");
            UnixStream::connect_addr(&address).unwrap().write_all(line).unwrap();
        }
        ("notify", Some(text), None) => {
            let address = unix_address("NOTIFY_SOCKET");
            UnixDatagram::unbound().unwrap().send_to_addr(lines(text).as_bytes(), &address).unwrap();
        }
        ("beat", Some(ms), None) => loop {
            let address = unix_address("NOTIFY_SOCKET");
            // While the manager is stopped its queue is full, and this one waits.
            let _ = UnixDatagram::unbound().unwrap().send_to_addr(b"WATCHDOG=1", &address);
            thread::sleep(Duration::from_millis(ms.parse().unwrap()));
        },
        ("give", Some(text), Some(path)) => give(&lines(text), path),
        ("serve", how, None) => serve(how == Some("linger")),
        ("udp", None, None) => serve_datagrams(),
        ("pause", None, None) => {
            let stop = stop_requests();
            wait_for(&[stop.as_fd()]);
            exit(0);
        }
        other => panic!("no word {other:?}"),
    }
}

fn signal(name: &str) -> Signal {
    format!("SIG{name}").parse().unwrap()
}

fn ignore(signal: Signal) {
    // SAFETY: to ignore a signal involves no handler.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.unwrap();
}

/// What `exit-on` exits with.
static CODE: AtomicI32 = AtomicI32::new(0);

extern "C" fn exit_with_code(_signal: libc::c_int) {
    // SAFETY: ends the process, which is allowed in a handler.
    unsafe { libc::_exit(CODE.load(Ordering::Relaxed)) };
}

/// What asks to stop.
static STOP_SIGNAL: AtomicI32 = AtomicI32::new(libc::SIGTERM);

/// Where its handler writes to.
static STOP: AtomicI32 = AtomicI32::new(-1);

extern "C" fn ask_to_stop(_signal: libc::c_int) {
    // SAFETY: write(2) is async-signal-safe, and the buffer is as long as told.
    unsafe { libc::write(STOP.load(Ordering::Relaxed), [0_u8].as_ptr().cast(), 1) };
}

/// Handles a signal in whichever thread it comes to: the test harness around us has threads of its own.
fn handle(signal: Signal, handler: extern "C" fn(libc::c_int)) {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handlers above make async-signal-safe calls only.
    unsafe { sigaction(signal, &action) }.unwrap();
}

/// A descriptor that is readable once the signal that asks to stop has come.
fn stop_requests() -> OwnedFd {
    let (reader, writer) = std::io::pipe().unwrap();
    STOP.store(writer.into_raw_fd(), Ordering::Relaxed);
    handle(Signal::try_from(STOP_SIGNAL.load(Ordering::Relaxed)).unwrap(), ask_to_stop);
    reader.into()
}

/// Waits until one of them is readable, and returns its place; the earlier one of two.
fn wait_for(descriptors: &[BorrowedFd<'_>]) -> usize {
    let mut polled: Vec<PollFd<'_>> =
        descriptors.iter().map(|&descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
    while poll(&mut polled, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
    polled.iter().position(|polled| polled.any() == Some(true)).unwrap()
}

fn append(path: &str, pid: u32) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{pid}\n").as_bytes()).unwrap();
}

fn this_program_again(script: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(env::args_os().skip(1)).env(SCRIPT, script);
    command
}

#[allow(clippy::zombie_processes, reason = "it is meant to outlive this process")]
fn grandchild() {
    let directory = env::var(super::MARK).unwrap();
    let child = Command::new("sh")
        .args(["-c", "trap '' TERM INT HUP USR1 USR2; sleep 1000 & wait; wait"])
        .spawn()
        .unwrap();
    append(&format!("{directory}/grandchildren"), child.id());
}

/// The connection to the manager that this worker was started with.
fn own_connection() -> UnixStream {
    let number = env::var("EINHORN_SOCK_FD").unwrap().parse().unwrap();
    // SAFETY: the manager has put it there, and it stays open until the end of this process.
    let connection = unsafe { BorrowedFd::borrow_raw(number) };
    UnixStream::from(connection.try_clone_to_owned().unwrap())
}

fn lines(text: &str) -> String {
    text.replace(',', "\n")
}

fn give(text: &str, path: &str) {
    let given: OwnedFd = match path {
        "pair" => {
            let (given, kept) = UnixStream::pair().unwrap();
            // Open as long as this process lives.
            let _ = kept.into_raw_fd();
            given.into()
        }
        path => OpenOptions::new().read(true).append(true).create(true).open(path).unwrap().into(),
    };
    let name = env::var("NOTIFY_SOCKET").unwrap();
    let to = UnixAddr::new_abstract(&name.as_bytes()[1..]).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    let (text, rights) = ([IoSlice::new(text.as_bytes())], [given.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&rights)];
    sendmsg(sender.as_raw_fd(), &text, &rights, MsgFlags::empty(), Some(&to)).unwrap();
}

fn unix_address(variable: &str) -> SocketAddr {
    let value = env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
    match value.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
        None => SocketAddr::from_pathname(value).unwrap(),
    }
}

/// Sends an ack and waits for the answer, so that what follows comes after it. A worker without one ends.
fn ack(pid: &str) {
    if let Err(error) = try_ack(pid) {
        eprintln!("worker {}: ack lost: {error}", std::process::id());
        exit(1);
    }
}

fn ack_einhorn() -> std::io::Result<()> {
    let mut stream = UnixStream::connect_addr(&unix_address("EINHORN_SOCK_PATH"))?;
    stream.write_all(format!("---%0Acommand: worker:ack%0Apid: {}%0A\n", std::process::id()).as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() { Ok(()) } else { Err(std::io::Error::other(format!("answered with {answer:?}"))) }
}

fn try_ack(pid: &str) -> std::io::Result<()> {
    let mut stream = UnixStream::connect_addr(&unix_address("EINHORN_SOCK_PATH"))?;
    stream.write_all(format!("{{\"command\":\"worker:ack\"{pid}}}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let done = line.contains(r#""ok":true"#) || line == "\"Acknowledged!\"\n";
    if done { Ok(()) } else { Err(std::io::Error::other(format!("answered with {line:?}"))) }
}

/// Descriptor 3.
fn inherited_socket() -> BorrowedFd<'static> {
    // SAFETY: the manager has put the socket there, and it stays open until the end of this process.
    unsafe { BorrowedFd::borrow_raw(3) }
}

fn set_nonblocking(socket: BorrowedFd<'_>) {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL).unwrap());
    fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
}

fn serve(deaf: bool) {
    let stop = stop_requests();
    if deaf {
        ignore(Signal::SIGTERM);
    }
    let listener = inherited_socket();
    set_nonblocking(listener);
    let open = Arc::new((Mutex::new(0_u32), Condvar::new()));
    while wait_for(&[stop.as_fd(), listener]) == 1 {
        // Another worker may have been faster.
        let Ok(accepted) = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) else { continue };
        // SAFETY: accept4(2) just made it. Only calls that any stream socket understands are made on it.
        let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(accepted) });
        *open.0.lock().unwrap() += 1;
        let open = Arc::clone(&open);
        thread::spawn(move || {
            // A client may hang up whenever it likes.
            let _ = converse(stream);
            *open.0.lock().unwrap() -= 1;
            open.1.notify_all();
        });
    }
    let mut left = open.0.lock().unwrap();
    while *left > 0 {
        left = open.1.wait(left).unwrap();
    }
    exit(0);
}

fn converse(mut stream: UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut last = false;
        while !line.trim_end().is_empty() {
            line.clear();
            reader.read_line(&mut line)?;
            last |= line.trim_end().eq_ignore_ascii_case("connection: close");
        }
        if let Some(ms) = path.strip_prefix("/slow?") {
            thread::sleep(Duration::from_millis(ms.parse().unwrap()));
        }
        let generation = env::var("SERVER_STARTER_GENERATION").unwrap_or_default();
        let body = format!("{} {generation}\n", std::process::id());
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        if last {
            // To close with bytes unread would take the answer back.
            stream.shutdown(Shutdown::Write)?;
            while reader.read_line(&mut line)? > 0 {}
            return Ok(());
        }
    }
}

fn serve_datagrams() {
    let stop = stop_requests();
    set_nonblocking(inherited_socket());
    let socket = UdpSocket::from(inherited_socket().try_clone_to_owned().unwrap());
    let mut bytes = [0; 64];
    while wait_for(&[stop.as_fd(), inherited_socket()]) == 1 {
        match socket.recv_from(&mut bytes) {
            Ok((_, from)) => {
                let answer = std::process::id().to_string();
                socket.send_to(answer.as_bytes(), from).unwrap();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("recv: {error}"),
        }
    }
    exit(0);
}

/// Pids in the file that `note` and `grandchild` write.
pub(crate) fn noted(path: &std::path::Path) -> Vec<i32> {
    fs::read_to_string(path).unwrap_or_default().lines().map(|line| line.parse().unwrap()).collect()
}
