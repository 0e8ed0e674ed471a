//! A worker with the listenfd crate, which finds the inherited socket without `unsafe` in the program:
//! `remuda run -b 127.0.0.1:8080 -- listenfd_worker`.
//!
//! It answers one connection at a time and stops between two of them. `http_worker` is the fuller example.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use listenfd::ListenFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// How long a client may be silent.
const CLIENT_LIMIT: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let listener: TcpListener = ListenFd::from_env().take_tcp_listener(0)?.ok_or_else(|| {
        io::Error::other("no socket: start it as `remuda run -b 127.0.0.1:8080 -- listenfd_worker`")
    })?;
    listener.set_nonblocking(true)?;
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    stop.thread_block()?;
    let signals = SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC)?;
    loop {
        let mut ready = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::NONE)?;
        if ready[0].any() == Some(true) {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = answer(stream) {
                    eprintln!("listenfd_worker: {error}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {} // another worker has it
            Err(error) => return Err(error),
        }
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_LIMIT))?;
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")?;
    stream.shutdown(Shutdown::Write)?;
    // Wait for the client's end, so that closing does not reset the connection under the answer.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}
