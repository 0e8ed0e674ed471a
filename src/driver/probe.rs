//! Connections by which workers are looked at: made, perhaps a request sent and the first line of its answer read, and
//! closed. Each is one more descriptor of the loop. How long one may take is the machine's affair; what a server sends is
//! bounded here.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};

use crate::probe::{self, Contact, Request};
use crate::supervisor::event::{ChildId, Event, Finding};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{connect, reason, stream};

/// Most that is read of an answer whose first line does not end, in bytes. Whole answers of the usual size fit as well, so
/// that nothing is left unread when the connection is closed, which the server would take for a broken one.
const ANSWER_MAX: usize = 8192;

/// Every connection that is under way, by the worker that is looked at.
#[derive(Default)]
pub(super) struct Probes(BTreeMap<ChildId, Attempt>);

/// One connection.
struct Attempt {
    socket: OwnedFd,
    connected: bool,
    /// What is still to be sent.
    request: Vec<u8>,
    /// An answer is wanted.
    asks: bool,
    answer: Vec<u8>,
}

impl Probes {
    /// Begins to look at a worker. Returns what was found if that is known at once.
    pub(super) fn begin(&mut self, child: ChildId, contact: &Contact) -> Option<Finding> {
        let place = match probe::place(&contact.at) {
            Ok(place) => place,
            Err(error) => return Some(Finding::Unknown(error.message)),
        };
        match connect::begin(&place) {
            Ok(socket) => {
                let request = contact.request.as_ref().map(Request::bytes);
                let asks = request.is_some();
                let request = request.unwrap_or_default();
                self.0.insert(child, Attempt { socket, connected: false, request, asks, answer: Vec::new() });
                None
            }
            Err(error) => Some(failed(error)),
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn stop(&mut self, child: ChildId) {
        self.0.remove(&child);
    }

    /// Puts what is waited for into the poll set, in an order that [`Probes::heard`] repeats.
    pub(super) fn watch(&self, poll: &mut PollSet) -> Option<usize> {
        let indices = self.0.values().map(|attempt| {
            let sends = !attempt.connected || !attempt.request.is_empty();
            poll.add(attempt.socket.as_fd(), if sends { Interest::WRITE } else { Interest::READ })
        });
        indices.collect::<Vec<usize>>().first().copied()
    }

    /// Goes on with those that something has happened to.
    pub(super) fn heard(&mut self, poll: &PollSet, first: Option<usize>, mut tell: impl FnMut(Event)) {
        let Some(first) = first else { return };
        let mut at = first..;
        self.0.retain(|&child, attempt| {
            let moved = at.next().is_some_and(|at| poll.readable(at) || poll.writable(at));
            let finding = if moved { attempt.go_on() } else { None };
            if let Some(finding) = finding {
                tell(Event::Probed { child, finding });
                return false;
            }
            true
        });
    }
}

impl Attempt {
    /// Goes as far as it can without waiting. Returns what was found, if it was.
    fn go_on(&mut self) -> Option<Finding> {
        match self.try_on() {
            Ok(verdict) => verdict.map(|verdict| verdict.map_or_else(Finding::Unwell, |()| Finding::Well)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(failed(error)),
        }
    }

    fn try_on(&mut self) -> io::Result<Option<Result<(), String>>> {
        if !self.connected {
            connect::outcome(self.socket.as_fd())?;
            self.connected = true;
            if !self.asks {
                return Ok(Some(Ok(())));
            }
        }
        while !self.request.is_empty() {
            let sent = stream::send(self.socket.as_fd(), &self.request)?;
            self.request.drain(..sent);
        }
        let mut piece = [0; ANSWER_MAX];
        let room = ANSWER_MAX.saturating_sub(self.answer.len());
        let length = stream::receive(self.socket.as_fd(), &mut piece[..room])?;
        self.answer.extend_from_slice(&piece[..length]);
        Ok(probe::verdict(&self.answer, length > 0 && self.answer.len() < ANSWER_MAX))
    }
}

/// What an error says of the worker.
fn failed(error: io::Error) -> Finding {
    match error.kind() {
        ErrorKind::WouldBlock => Finding::Unwell("its backlog is full".to_owned()),
        _ if connect::is_ours(&error) => Finding::Unknown(reason(error)),
        _ => Finding::Unwell(reason(error)),
    }
}
