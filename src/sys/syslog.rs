//! The system's log, syslog(3): one datagram a line, to the socket of whoever keeps it.
//!
//! Sockets are made here and are non-blocking: a log that has no room costs the line and never a pause. The lines are
//! written here as well, since the crate writes UTC where RFC 3164, and syslog(3), have local time.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use syslog::{Error as Failure, LogFormat, Severity};

use super::clock::Civil;
use super::{fault, reason};
use crate::plan::{Facility, Level};

/// Where those who keep the log listen, in the order in which they are tried.
const PLACES: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Longest datagram for those who refuse more: the line of RFC 3164.
const SHORT: usize = 1024;

/// Lines to the system's log.
pub struct Syslog {
    head: Head,
    /// Absent while nobody keeps the log.
    socket: Option<UnixDatagram>,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The log has it.
    Whole,
    /// There was no room for it.
    Dropped,
    /// Nobody is there, and why.
    Nobody(String),
}

impl Syslog {
    /// A log for lines of `tag`. Nobody is asked before the first line.
    pub fn new(tag: &str, facility: Facility, pid: u32) -> Syslog {
        Syslog { head: Head { facility: number(facility), tag: tag.to_owned(), pid }, socket: None }
    }

    /// One for datagrams of others only: [`Syslog::frame`].
    pub fn for_others() -> Syslog {
        Syslog::new("", Facility::Daemon, 0)
    }

    /// Writes a line.
    pub fn line(&mut self, level: Level, text: &str) -> Sent {
        let frame = self.head.frame(level, text.as_bytes());
        self.send(&frame)
    }

    /// The datagram of a line that `pid`, one of those that are called `tag`, has written at this moment.
    pub fn frame(facility: Facility, level: Level, tag: &str, pid: u32, text: &[u8]) -> Vec<u8> {
        Head { facility: number(facility), tag: tag.to_owned(), pid }.frame(level, text)
    }

    /// Sends a datagram. Where the keeper of the log was started anew, it is found again. Of one that is too long only the
    /// beginning is sent.
    pub fn send(&mut self, frame: &[u8]) -> Sent {
        let known = self.socket.is_some();
        match self.try_send(frame) {
            // What we are connected to may be the socket of one that is gone.
            Sent::Nobody(_) if known => {
                self.socket = None;
                self.try_send(frame)
            }
            sent => sent,
        }
    }

    /// What to wait for when there was no room.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    fn try_send(&mut self, frame: &[u8]) -> Sent {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => match connect() {
                Ok(socket) => self.socket.insert(socket),
                Err(why) => return Sent::Nobody(why),
            },
        };
        match fault::hit("send").and_then(|()| socket.send(frame)) {
            Ok(_) => Sent::Whole,
            Err(error) => match error.raw_os_error() {
                Some(libc::EMSGSIZE) if frame.len() > SHORT => self.try_send(&frame[..SHORT]),
                Some(libc::EAGAIN | libc::ENOBUFS | libc::EMSGSIZE | libc::EINTR) => Sent::Dropped,
                _ => Sent::Nobody(reason(error)),
            },
        }
    }
}

fn connect() -> Result<UnixDatagram, String> {
    let failed = |place: &str, error: io::Error| format!("{place}: {}", reason(error));
    let mut first = None;
    for place in PLACES {
        let connected = fault::hit("connect").and_then(|()| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(place)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => first = first.or(Some(failed(place, error))),
        }
    }
    Err(first.unwrap_or_default())
}

/// What stands before the text of each line: `<30>Nov 21 07:34:04 remuda[4711]: `.
#[derive(Clone, Debug)]
struct Head {
    facility: syslog::Facility,
    tag: String,
    pid: u32,
}

impl<T: Display> LogFormat<T> for Head {
    fn format<W: Write>(&self, out: &mut W, severity: Severity, text: T) -> syslog::Result<()> {
        let priority = self.facility as u8 | severity as u8;
        let Civil { month, day, hour, minute, second, .. } = Civil::now();
        let month = usize::try_from(month - 1).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
        let Head { tag, pid, .. } = self;
        write!(out, "<{priority}>{month} {day:>2} {hour:02}:{minute:02}:{second:02} {tag}[{pid}]: {text}")
            .map_err(Failure::Write)
    }
}

impl Head {
    fn frame(&self, level: Level, text: &[u8]) -> Vec<u8> {
        let severity = match level {
            Level::Debug => Severity::LOG_DEBUG,
            Level::Info => Severity::LOG_INFO,
            Level::Warn => Severity::LOG_WARNING,
            Level::Error => Severity::LOG_ERR,
        };
        let mut frame = Vec::with_capacity(text.len() + 64);
        // Writing into memory does not fail.
        let _ = self.format(&mut frame, severity, "");
        frame.extend_from_slice(text);
        frame
    }
}

fn number(facility: Facility) -> syslog::Facility {
    match facility {
        Facility::Kernel => syslog::Facility::LOG_KERN,
        Facility::Daemon => syslog::Facility::LOG_DAEMON,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    /// A log that listens at `path`, and lines to it.
    fn at(path: &std::path::Path) -> (UnixDatagram, Syslog) {
        let keeper = UnixDatagram::bind(path).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(path).unwrap();
        let mut log = Syslog::new("web", Facility::Daemon, 41);
        log.socket = Some(socket);
        (keeper, log)
    }

    fn received(keeper: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let count = keeper.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn each_line_is_a_datagram_with_priority_time_and_tag() {
        let directory = scratch("syslog");
        let (keeper, mut log) = at(&directory.join("log"));
        for (level, priority) in
            [(Level::Debug, "<31>"), (Level::Info, "<30>"), (Level::Warn, "<28>"), (Level::Error, "<27>")]
        {
            assert_eq!(log.line(level, "ready 100% {}"), Sent::Whole);
            let line = received(&keeper);
            let (head, text) = line.split_once(" web[41]: ").unwrap();
            assert_eq!(text, "ready 100% {}");
            assert!(head.starts_with(priority) && head.len() == priority.len() + 15, "{head}");
        }
        log.head.facility = number(Facility::Kernel);
        log.line(Level::Info, "x");
        assert!(received(&keeper).starts_with("<6>"));
    }

    #[test]
    fn of_a_line_that_no_datagram_can_hold_the_beginning_is_sent() {
        let directory = scratch("syslog-long");
        let (keeper, mut log) = at(&directory.join("log"));
        let frame = Syslog::frame(Facility::Daemon, Level::Info, "api", 7, &vec![b'x'; 8 << 20]);
        assert_eq!(log.send(&frame), Sent::Whole);
        let line = received(&keeper);
        assert!(line.len() == SHORT && line.contains(" api[7]: xxx"), "{line}");
    }

    #[test]
    fn a_log_without_room_costs_the_line_and_no_pause() {
        let directory = scratch("syslog-full");
        let (_keeper, mut log) = at(&directory.join("log"));
        let refused = (0..1_000_000).map(|_| log.line(Level::Info, "x")).find(|sent| *sent != Sent::Whole);
        assert_eq!(refused, Some(Sent::Dropped));
    }

    #[test]
    fn a_log_that_is_gone_is_told() {
        let directory = scratch("syslog-gone");
        let (keeper, mut log) = at(&directory.join("log"));
        drop(keeper);
        // Elsewhere on this machine there may be one.
        assert_ne!(log.line(Level::Info, "x"), Sent::Dropped);
    }
}
