//! Connections to the control socket: bytes in, requests out, replies back. What they mean is the codec's business.
//!
//! Whatever a client sends or does not send, it costs the manager little and the others nothing: lines, replies that
//! nobody reads and the number of connections are bounded. At the limit the connection that has been silent longest
//! makes room; only if every one of them waits for an answer do newcomers wait in the backlog.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::supervisor::command::{ClientId, Origin, Reply, Ticket};
use crate::supervisor::event::Event;
use crate::sys::control::{Control, Endpoint};
use crate::sys::creds::Peer;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{reap, stream};
use crate::wire::{Codec, Decoded, Line, LineBuffer, REQUEST_LINE_MAX};

/// Most connections at a time of people and their programs; workers have as many of their own.
const CLIENTS_MAX: usize = 64;

/// Bytes of replies that may wait for a slow reader before it is dropped.
const UNREAD_MAX: usize = 256 * 1024;

/// Bytes taken from one connection in one pass, so that a flood on one does not keep the others waiting.
const PIECE: usize = 16 * 1024;

/// Who a connection belongs to, for its share of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Person,
    Worker,
}

/// One connection.
struct Client {
    socket: OwnedFd,
    peer: Peer,
    kind: Kind,
    trusted: bool,
    input: LineBuffer,
    codec: Codec,
    output: Vec<u8>,
    /// The pass in which it last sent something.
    heard: u64,
    /// It will send nothing more.
    silent: bool,
    /// To be closed as soon as `output` is out.
    closing: bool,
}

/// A listening socket that clients connect to.
struct Door {
    control: Control,
    /// Whoever gets in here may ask for anything; elsewhere only for what a worker needs.
    trusted: bool,
}

/// Every connection, by its id.
pub(super) struct Clients {
    /// The main one first.
    doors: Vec<Door>,
    table: BTreeMap<ClientId, Client>,
    next: u64,
    pass: u64,
    /// Connections that were closed since the machine was last told.
    gone: Vec<ClientId>,
    /// Given up for a moment when there are no descriptors left: a connection that is not even accepted would keep its
    /// door readable, and the loop awake.
    spare: Option<OwnedFd>,
}

/// Where in the poll set the connections stand.
pub(super) struct Watched {
    doors: Vec<(usize, usize)>,
    clients: Vec<(ClientId, usize)>,
}

impl Clients {
    pub(super) fn new(control: Control) -> Self {
        let spare = control.as_fd().try_clone_to_owned().ok();
        let doors = vec![Door { control, trusted: true }];
        Clients { doors, table: BTreeMap::new(), next: 1, pass: 0, gone: Vec::new(), spare }
    }

    /// Where the manager listens.
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.doors[0].control.endpoint()
    }

    /// Opens a second socket that the workers of a group with another uid may connect to.
    pub(super) fn open_for_workers(&mut self, group: &str, uid: u32) -> crate::error::Result<Endpoint> {
        let control = self.doors[0].control.worker_socket(group, uid)?;
        let endpoint = control.endpoint().clone();
        self.doors.push(Door { control, trusted: false });
        Ok(endpoint)
    }

    /// Puts doors and connections into the poll set. A door is left out while nobody else can be let in.
    pub(super) fn watch(&self, poll: &mut PollSet) -> Watched {
        let full = self.table.len() >= 2 * CLIENTS_MAX && !self.table.values().any(Client::is_idle);
        let doors = self
            .doors
            .iter()
            .enumerate()
            .filter(|_| !full)
            .map(|(at, door)| (at, poll.add(door.control.as_fd(), Interest::READ)))
            .collect();
        let clients = self
            .table
            .iter()
            .map(|(&id, client)| {
                let interest = Interest { read: !client.silent, write: !client.output.is_empty() };
                (id, poll.add(client.socket.as_fd(), interest))
            })
            .collect();
        Watched { doors, clients }
    }

    /// Reads what has arrived, lets newcomers in, and hands requests over.
    pub(super) fn serve(
        &mut self,
        poll: &PollSet,
        watched: &Watched,
        is_worker: impl Fn(i32) -> bool,
        mut tell: impl FnMut(Event),
    ) {
        self.pass += 1;
        for &(id, _) in watched.clients.iter().filter(|&&(_, at)| poll.readable(at)) {
            let Some(client) = self.table.get_mut(&id) else { continue };
            client.heard = self.pass;
            if !client.receive(id, &mut tell) {
                self.drop_client(id);
            }
        }
        for &(door, at) in &watched.doors {
            if poll.readable(at) {
                self.accept(door, &is_worker);
            }
        }
        for id in std::mem::take(&mut self.gone) {
            tell(Event::ClientGone(id));
        }
    }

    /// Queues a reply. A client that does not read is dropped instead.
    pub(super) fn reply(&mut self, ticket: Ticket, reply: &Reply, last: bool) {
        let Some(client) = self.table.get_mut(&ticket.client) else { return };
        if client.output.len() > UNREAD_MAX {
            return self.drop_client(ticket.client);
        }
        client.codec.encode(ticket.request, reply, last, &mut client.output);
    }

    /// Writes what can be written, and names the connections that are no more.
    pub(super) fn flush(&mut self) -> Vec<ClientId> {
        let over =
            |(&id, client): (&ClientId, &mut Client)| (!client.send() || client.is_over()).then_some(id);
        let over: Vec<ClientId> = self.table.iter_mut().filter_map(over).collect();
        for id in over {
            self.drop_client(id);
        }
        std::mem::take(&mut self.gone)
    }

    /// Removes the sockets of the manager; connections end with it.
    pub(super) fn close(self) -> io::Result<()> {
        // The main one goes last: its lock says that the manager is there.
        self.doors.into_iter().rev().map(|door| door.control.close()).fold(Ok(()), Result::and)
    }

    fn drop_client(&mut self, id: ClientId) {
        if self.table.remove(&id).is_some() {
            self.gone.push(id);
        }
    }

    /// Lets in who waits at a door, as far as there is room.
    fn accept(&mut self, door: usize, is_worker: &impl Fn(i32) -> bool) {
        // Bounded: whoever is left over is there on the next pass.
        for _ in 0..CLIENTS_MAX {
            let trusted = self.doors[door].trusted;
            let (socket, peer) = match self.doors[door].control.accept() {
                Ok(Some(accepted)) => accepted,
                Ok(None) => return,
                Err(error) => return self.turn_away(door, &error),
            };
            let worker =
                !trusted || is_worker(peer.pid) || reap::process_group_of(peer.pid).is_some_and(is_worker);
            let kind = if worker { Kind::Worker } else { Kind::Person };
            if !self.make_room(kind) {
                return;
            }
            let id = ClientId(self.next);
            self.next += 1;
            self.table.insert(
                id,
                Client {
                    socket,
                    peer,
                    kind,
                    trusted,
                    input: LineBuffer::new(REQUEST_LINE_MAX),
                    codec: Codec::native(),
                    output: Vec::new(),
                    heard: self.pass,
                    silent: false,
                    closing: false,
                },
            );
        }
    }

    /// With no descriptors left, takes a connection only to close it.
    fn turn_away(&mut self, door: usize, error: &io::Error) {
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            self.spare = None;
            drop(self.doors[door].control.accept());
            self.spare = self.doors[door].control.as_fd().try_clone_to_owned().ok();
        }
    }

    /// Closes the connection that has been silent longest if there are too many of a kind.
    fn make_room(&mut self, kind: Kind) -> bool {
        if self.table.values().filter(|client| client.kind == kind).count() < CLIENTS_MAX {
            return true;
        }
        let idle = self.table.iter().filter(|(_, client)| client.kind == kind && client.is_idle());
        let Some((&silent, _)) = idle.min_by_key(|(id, client)| (client.heard, **id)) else { return false };
        self.drop_client(silent);
        true
    }
}

impl Client {
    /// Nobody is waiting for anything on this connection.
    fn is_idle(&self) -> bool {
        self.codec.pending() == 0 && self.output.is_empty()
    }

    /// Nothing more can come of this connection.
    fn is_over(&self) -> bool {
        self.output.is_empty() && (self.closing || (self.silent && self.codec.pending() == 0))
    }

    /// Reads once; false if the connection is broken.
    fn receive(&mut self, id: ClientId, tell: &mut impl FnMut(Event)) -> bool {
        if self.silent {
            // Nothing is read any more, so this is a hang-up.
            return false;
        }
        let mut piece = [0; PIECE];
        match stream::receive(self.socket.as_fd(), &mut piece) {
            Ok(0) => {
                self.silent = true;
                // A last line without its end counts: `printf` forgets it easily.
                if let Some(rest) = self.input.take_rest() {
                    self.line(id, &rest, tell);
                }
            }
            Ok(count) => {
                self.input.push(&piece[..count]);
                while let Some(line) = self.take_line() {
                    match line {
                        Some(line) => self.line(id, &line, tell),
                        None => {
                            self.output.extend(self.codec.too_long());
                            (self.closing, self.silent) = (true, true);
                        }
                    }
                }
            }
            Err(error) => return is_passing(&error),
        }
        true
    }

    /// The next line, `None` inside for one that is too long.
    fn take_line(&mut self) -> Option<Option<Vec<u8>>> {
        Some(match self.input.next_line()? {
            Line::Complete(line) => Some(line.to_vec()),
            Line::TooLong => None,
        })
    }

    fn line(&mut self, id: ClientId, line: &[u8], tell: &mut impl FnMut(Event)) {
        match self.codec.decode(line) {
            Decoded::Request { request, verb } => {
                let process_group = reap::process_group_of(self.peer.pid).unwrap_or(0);
                let origin = Origin { pid: self.peer.pid, process_group, trusted: self.trusted };
                tell(Event::Request { ticket: Ticket { client: id, request }, origin, verb });
            }
            Decoded::Reply(bytes) => {
                if self.output.len() <= UNREAD_MAX {
                    self.output.extend(bytes);
                } else {
                    self.closing = true;
                }
            }
            Decoded::Nothing => {}
        }
    }

    /// Writes as much as the socket takes; false if the connection is broken.
    fn send(&mut self) -> bool {
        let mut sent = 0;
        let alive = loop {
            if sent == self.output.len() {
                break true;
            }
            match stream::send(self.socket.as_fd(), &self.output[sent..]) {
                Ok(count) => sent += count,
                Err(error) => break is_passing(&error),
            }
        };
        self.output.drain(..sent);
        if self.output.is_empty() {
            self.output = Vec::new();
        }
        alive
    }
}

/// Nothing is wrong with the connection: it has only nothing to give or to take now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
