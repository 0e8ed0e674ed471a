//! A worker to run under remuda: an HTTP/1.1 server on a socket that somebody else has opened.
//!
//! ```text
//! remuda run -b 127.0.0.1:8080 -n 4 -- target/release/examples/http_worker
//! curl 127.0.0.1:8080/pid
//! ```
//!
//! To be replaced without losing a request, a program has to do three things, and all three are in this file:
//!
//! 1. Take the listening socket from descriptor 3 instead of opening one: [`inherited_listener`].
//! 2. On SIGTERM accept no more: [`accept_until_stopped`]. Nobody is refused by that: the queue of waiting
//!    connections belongs to the socket, and the other workers go on taking from it.
//! 3. Answer whatever was accepted, then exit with 0: [`converse`] and the end of [`run`].
//!
//! A fourth is useful for a program that is slow to start: say when it is ready, with `--ack` or `--notify` here
//! and `--ack manual` there: [`Readiness::tell`].
//!
//! Paths: `/`, `/pid`, `/generation`, `/slow?ms=3000`.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The first inherited socket, as `sd_listen_fds(3)` has it.
const LISTEN_FDS_START: i32 = 3;

/// How long a client may keep a connection open without asking anything. To close an idle connection at a stop would
/// save this time, and lose the request that is on its way at that moment.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// How long a client may take to close a connection after the last answer.
const LINGER_LIMIT: Duration = Duration::from_secs(1);

/// Longest head of a request, in bytes.
const HEAD_LIMIT: u64 = 8192;

/// Set once, when the worker has been asked to stop: from then on each answer is the last of its connection.
static STOPPING: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("http_worker: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let readiness = Readiness::from_args()?;
    let listener = inherited_listener()?;
    let signals = stop_signals().map_err(|error| format!("cannot take signals: {error}"))?;
    readiness.tell()?;

    // Every connection holds a sender. When the last one is dropped, the receiver hangs up.
    let (open, all_closed) = mpsc::channel::<()>();
    accept_until_stopped(&listener, &signals, &open).map_err(|error| format!("cannot accept: {error}"))?;
    drop(open);
    drop(listener);
    while all_closed.recv().is_ok() {}
    Ok(())
}

/// The socket that the manager opened, at descriptor 3.
fn inherited_listener() -> Result<TcpListener, String> {
    let usage = "start it as `remuda run -b 127.0.0.1:8080 -- http_worker`";
    let count = env::var("LISTEN_FDS").map_err(|_| format!("LISTEN_FDS is not set: {usage}"))?;
    if count != "1" {
        return Err(format!("LISTEN_FDS is {count}, and one socket is wanted: {usage}"));
    }
    // A program behind a shell script finds the pid of the script here: what it stands beside is not for us.
    if env::var("LISTEN_PID").is_ok_and(|pid| pid != process::id().to_string()) {
        return Err("LISTEN_PID names another process".to_string());
    }
    // SAFETY: LISTEN_FDS promises that descriptor 3 is open and ours, and nothing else in this program takes it.
    let listener = unsafe { TcpListener::from_raw_fd(LISTEN_FDS_START) };
    // All workers are woken for a connection and one of them gets it. The others shall return to their poll, where
    // they see signals, and not wait inside accept(2).
    listener.set_nonblocking(true).map_err(|error| format!("descriptor 3 is no socket of ours: {error}"))?;
    Ok(listener)
}

/// TERM and INT as a descriptor to poll. They are blocked in this thread and in those it starts, so that a request in
/// hand is never interrupted.
fn stop_signals() -> nix::Result<SignalFd> {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    stop.add(Signal::SIGINT);
    stop.thread_block()?;
    SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC)
}

/// Takes connections, each into a thread of its own, until a stop signal comes.
///
/// The signal is looked at before the listener: nothing is accepted after the decision to stop.
fn accept_until_stopped(listener: &TcpListener, signals: &SignalFd, open: &Sender<()>) -> io::Result<()> {
    loop {
        let mut ready = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if ready[0].any() == Some(true) {
            STOPPING.store(true, Ordering::Relaxed);
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, _)) => serve(stream, open.clone()),
            Err(error) if passes(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Errors of accept(2) that say nothing about the next connection: another worker was faster, the client left, or
/// there are no descriptors or no memory at the moment.
fn passes(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            // The connection still waits and poll(2) would report it at once.
            thread::sleep(Duration::from_millis(10));
            true
        }
        Some(libc::EAGAIN | libc::EINTR | libc::ECONNABORTED | libc::EPROTO) => true,
        _ => false,
    }
}

/// Converses on a connection in a thread, or right here if there are no more threads: it was accepted, so it is
/// answered.
fn serve(stream: TcpStream, open: Sender<()>) {
    let stream = Arc::new(stream);
    let shared = Arc::clone(&stream);
    let spawned = thread::Builder::new().spawn(move || {
        let _open = open;
        converse_and_log(&shared);
    });
    if spawned.is_err() {
        converse_and_log(&stream);
    }
}

fn converse_and_log(stream: &TcpStream) {
    match converse(stream) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {} // idle for too long
        Err(error) => eprintln!("http_worker: {}: connection lost: {error}", process::id()),
        Ok(()) => {}
    }
}

/// Answers the requests of one connection, one after the other.
fn converse(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_LIMIT))?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let (status, body) = answer(&request);
        // Decided after the work: a slow request that was in hand when the stop came is the last of its connection.
        let last = request.last || STOPPING.load(Ordering::Relaxed);
        let connection = if last { "close" } else { "keep-alive" };
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: {connection}\r\n\r\n{body}"
        );
        (&*stream).write_all(response.as_bytes())?;
        if last {
            return hang_up(stream, reader);
        }
    }
    Ok(())
}

/// Closes without destroying the answer: closing a socket that holds unread bytes resets the connection, and the
/// client may lose what it has not read yet. So: say that there is no more, and wait for the client's end.
fn hang_up(stream: &TcpStream, mut reader: impl Read) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(LINGER_LIMIT))?;
    let mut rest = [0; 1024];
    // An error is as good an end as any: the answer has been given.
    while matches!(reader.read(&mut rest), Ok(1..)) {}
    Ok(())
}

/// As much of a request as matters here.
struct Request {
    method: String,
    path: String,
    query: String,
    /// It has a body, which is not read: nothing can follow it.
    has_body: bool,
    /// The client wants no other answer on this connection.
    last: bool,
}

impl Request {
    /// The next request of a connection, or `None` when the client has closed it.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut head = reader.take(HEAD_LIMIT);
        let Some(line) = read_line(&mut head)? else { return Ok(None) };
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_string();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request {
            method,
            path: path.to_string(),
            query: query.to_string(),
            has_body: false,
            last: words.next() != Some("HTTP/1.1"),
        };
        while let Some(line) = read_line(&mut head)? {
            if line.is_empty() {
                request.last |= request.has_body;
                return Ok(Some(request));
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.trim().to_ascii_lowercase();
            match name.to_ascii_lowercase().as_str() {
                "connection" => request.last |= value.split(',').any(|option| option.trim() == "close"),
                "content-length" => request.has_body |= value != "0",
                "transfer-encoding" => request.has_body = true,
                _ => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "half a request"))
    }

    /// A number in the query: `ms=3000`.
    fn number(&self, name: &str) -> Option<u64> {
        let of_name = |pair: &str| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
        self.query.split('&').find_map(of_name)
    }
}

/// One line without its end, or `None` at the end of input.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end().to_string()))
}

/// Status and body of the answer.
fn answer(request: &Request) -> (&'static str, String) {
    if !request.path.starts_with('/') {
        return ("400 Bad Request", "this is no request for a path\n".to_string());
    }
    if request.method != "GET" {
        return ("405 Method Not Allowed", "GET is all that is spoken here\n".to_string());
    }
    if request.has_body {
        return ("413 Content Too Large", "no body is taken here\n".to_string());
    }
    match request.path.as_str() {
        "/" => ("200 OK", format!("worker {} of generation {}\n", process::id(), generation())),
        "/pid" => ("200 OK", format!("{}\n", process::id())),
        "/generation" => ("200 OK", format!("{}\n", generation())),
        "/slow" => {
            let ms = request.number("ms").unwrap_or(1000);
            thread::sleep(Duration::from_millis(ms));
            ("200 OK", format!("{ms} ms later, worker {}\n", process::id()))
        }
        _ => ("404 Not Found", "try /, /pid, /generation or /slow?ms=3000\n".to_string()),
    }
}

/// The number of the generation this worker belongs to.
fn generation() -> String {
    env::var("SERVER_STARTER_GENERATION").unwrap_or_else(|_| "unknown".to_string())
}

/// How this worker says that it is ready. Nothing needs to be said to a manager that does not wait for it.
enum Readiness {
    Silent,
    /// One line of JSON to the manager's control socket.
    Ack,
    /// A datagram as in `sd_notify(3)`.
    Notify,
}

impl Readiness {
    fn from_args() -> Result<Readiness, String> {
        let mut readiness = Readiness::Silent;
        for argument in env::args().skip(1) {
            readiness = match argument.as_str() {
                "--ack" => Readiness::Ack,
                "--notify" => Readiness::Notify,
                _ => return Err(format!("unknown argument {argument}: there are --ack and --notify")),
            };
        }
        Ok(readiness)
    }

    fn tell(&self) -> Result<(), String> {
        let (variable, told) = match self {
            Readiness::Silent => return Ok(()),
            Readiness::Ack => ("EINHORN_SOCK_PATH", unix_address("EINHORN_SOCK_PATH").and_then(ack)),
            Readiness::Notify => ("NOTIFY_SOCKET", unix_address("NOTIFY_SOCKET").and_then(notify)),
        };
        told.map_err(|error| format!("cannot say that this worker is ready to {variable}: {error}"))
    }
}

fn ack(manager: SocketAddr) -> io::Result<()> {
    let mut stream = UnixStream::connect_addr(&manager)?;
    writeln!(stream, r#"{{"command":"worker:ack","pid":{}}}"#, process::id())
}

fn notify(manager: SocketAddr) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &manager)?;
    Ok(())
}

/// The address in an environment variable; one that begins with `@` is in Linux's abstract namespace.
fn unix_address(variable: &str) -> io::Result<SocketAddr> {
    let value = env::var(variable).map_err(|_| io::Error::new(io::ErrorKind::NotFound, "it is not set"))?;
    match value.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(value),
    }
}
