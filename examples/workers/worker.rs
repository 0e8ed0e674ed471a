//! A worker for remuda: answers HTTP on the sockets it is given, says that it is ready, goes when it is asked. With nix for
//! the signal; `tests/servers/axum` has a crate for the sockets too.
//!
//! ```text
//! cargo build --release --example worker
//! remuda run -b 127.0.0.1:8080 -n 4 --ack manual -- target/release/examples/worker
//! ```

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

/// The sockets at descriptor 3 and up, as sd_listen_fds(3) has them.
fn listeners() -> Vec<TcpListener> {
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(process::id()) {
        return Vec::new();
    }
    let end = 3 + i32::try_from(number("LISTEN_FDS").unwrap_or(0)).unwrap_or(0);
    // SAFETY: the manager has put a listening socket at each of these, for this process, which takes each once.
    (3..end).map(|descriptor| unsafe { TcpListener::from_raw_fd(descriptor) }).collect()
}

/// One datagram to the manager, as sd_notify(3) has it.
fn notify(text: &str) -> io::Result<()> {
    let Ok(address) = env::var("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

fn answer(mut client: TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = BufReader::new(&client).lines();
    // To the empty line after its head, or the end.
    while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = format!("rust {}\n", process::id());
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn main() -> io::Result<()> {
    // The signal is one more descriptor of the loop: no connection that was accepted is ever left half way.
    let stop = SigSet::from(Signal::SIGTERM);
    stop.thread_block()?;
    let stop = SignalFd::new(&stop)?;
    let listeners = listeners();
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    notify("READY=1")?;
    loop {
        let all = [stop.as_fd()].into_iter().chain(listeners.iter().map(AsFd::as_fd));
        let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut polled, PollTimeout::NONE)?;
        if polled[0].any() == Some(true) {
            return notify("STOPPING=1");
        }
        for listener in &listeners {
            match listener.accept() {
                // The client may be gone: its affair.
                Ok((client, _)) => drop(answer(client)),
                // Nobody was there, or another worker was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
