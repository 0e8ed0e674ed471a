//! A connection to a manager: lines in, lines out, each wait bounded by one deadline.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::wire::{Line, LineBuffer};

/// Longest line of an answer: a status of 10000 workers has a tenth of that.
const REPLY_LINE_MAX: usize = 16 * 1024 * 1024;

/// Bytes to read at a time.
const PIECE: usize = 16 * 1024;

/// The shortest time to wait that a socket can be told; zero would mean for ever.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// An open connection.
pub(super) struct Connection {
    stream: UnixStream,
    lines: LineBuffer,
    deadline: Option<Instant>,
}

/// What came.
pub(super) enum Received {
    /// A line, without its end.
    Line(Vec<u8>),
    /// The manager closed the connection.
    End,
    /// The deadline is over.
    TimedOut,
}

impl Connection {
    /// Talks over `stream`, until `deadline` at most.
    pub(super) fn new(stream: UnixStream, deadline: Option<Instant>) -> Result<Self> {
        stream.set_nonblocking(false).map_err(lost)?;
        Ok(Connection { stream, lines: LineBuffer::new(REPLY_LINE_MAX), deadline })
    }

    /// From here on talks until `deadline` at most.
    pub(super) fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Sends whole lines. They are few and short, so that they fit into the socket's buffer.
    pub(super) fn send(&mut self, lines: &[u8]) -> Result<()> {
        match self.stream.write_all(lines) {
            // A manager that has no room for a client closes the connection, perhaps with a line that says why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            sent => sent.map_err(lost),
        }
    }

    /// Waits for the next line.
    pub(super) fn receive(&mut self) -> Result<Received> {
        let mut piece = [0; PIECE];
        loop {
            match self.lines.next_line() {
                Some(Line::Complete(line)) => return Ok(Received::Line(line.to_vec())),
                Some(Line::TooLong) => {
                    return Err(Error::failed(format!(
                        "the manager answers more than {REPLY_LINE_MAX} bytes"
                    )));
                }
                None => {}
            }
            let left = match self.deadline {
                None => None,
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left.max(SHORTEST_WAIT)),
                    _ => return Ok(Received::TimedOut),
                },
            };
            self.stream.set_read_timeout(left).map_err(lost)?;
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(Received::End),
                Ok(length) => self.lines.push(&piece[..length]),
                Err(error) => match error.kind() {
                    // At the end of the wait, or before it: the clock decides.
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    ErrorKind::ConnectionReset => return Ok(Received::End),
                    _ => return Err(lost(error)),
                },
            }
        }
    }

    /// Waits until the manager has closed the connection, `longest` at most.
    pub(super) fn until_end(&mut self, longest: Duration) -> Result<()> {
        let end = Instant::now() + longest;
        self.deadline = Some(self.deadline.map_or(end, |deadline| deadline.min(end)));
        while let Received::Line(_) = self.receive()? {}
        Ok(())
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::failed(format!("lost the connection to the manager: {error}"))
}
