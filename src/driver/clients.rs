//! Connections to the control socket: bytes in, requests out, replies back. What they mean is the codec's business.
//!
//! Whatever a client sends or does not send, it costs the manager little and the others nothing: lines, replies that
//! nobody reads and the number of connections are bounded. At the limit the connection that has been silent longest
//! makes room, but not before it had time to speak; until then newcomers wait in the backlog. One that never stops
//! speaking has its turn, and makes room then. Those that wait for answers stay, but not everywhere: some places are kept
//! for who only asks how things stand, or wants an end of it.
//!
//! Workers share nothing with all this: each may have a few connections, however many workers and people there are. An
//! ack that is lost in a crowd would be a worker lost.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::error::Code;
use crate::plan::{ControlSpec, Dialect, GroupSpec};
use crate::supervisor::command::{ClientId, Origin, Reply, Ticket, Verb};
use crate::supervisor::event::{Event, GroupId};
use crate::supervisor::foreign::Foreign;
use crate::sys::control::{Control, ControlState, is_trusted};
use crate::sys::creds::{self, Peer};
use crate::sys::endpoint::{Endpoint, endpoint};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::{reap, sockopt, stream};
use crate::wire::{Codec, Decoded, Line, LineBuffer, REQUEST_LINE_MAX};

/// Most connections at a time of people and their programs.
const CLIENTS_MAX: usize = 64;

/// Places beside those, where nobody waits long: for `status`, `stop`, and what is answered at once.
const KEPT_PLACES: usize = 16;

/// Most connections at a time of one worker, with what it has started in its process group.
const WORKER_CLIENTS_MAX: usize = 8;

/// Milliseconds that a connection may be silent before it has to make room for another. A client that has just
/// connected may be kept from writing by all the others that do the same.
const SILENCE_MS: u64 = 200;

/// Milliseconds after which a connection has to make room for another though it goes on speaking.
const TURN_MS: u64 = 1000;

/// Bytes of replies that may wait for a slow reader before it is dropped.
const UNREAD_MAX: usize = 256 * 1024;

/// Milliseconds for which a door is left alone whose connections cannot be accepted: it stays readable, and asking again
/// at once would keep the loop awake.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Bytes taken from one connection in one pass, so that a flood on one does not keep the others waiting.
const PIECE: usize = 16 * 1024;

/// Who a connection belongs to: each has a share of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Owner {
    /// People and their programs.
    Person,
    /// Somebody of a worker's user who is no worker.
    Stranger,
    /// The worker with this pid, or a process of its group.
    Worker(i32),
}

impl Owner {
    fn share(self) -> usize {
        match self {
            Owner::Person | Owner::Stranger => CLIENTS_MAX + KEPT_PLACES,
            Owner::Worker(_) => WORKER_CLIENTS_MAX,
        }
    }
}

/// One connection.
struct Client {
    socket: OwnedFd,
    peer: Peer,
    owner: Owner,
    trusted: bool,
    input: LineBuffer,
    codec: Codec,
    output: Vec<u8>,
    /// When it last sent something, or connected.
    heard: u64,
    /// When it connected.
    since: u64,
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
    /// Whose workers come here, if it is not for all.
    group: Option<GroupDoor>,
}

/// Whose door it is, if it is not the manager's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct GroupDoor {
    /// The group whose workers come here,
    id: GroupId,
    /// and their user, if it is not ours.
    uid: Option<u32>,
    /// The name of the group, if this is the socket of its own that the plan gives it: requests there are about this group,
    /// and from whom they come decides what may be asked for.
    own: Option<String>,
}

impl Door {
    fn is_for(&self, id: GroupId, uid: Option<u32>) -> bool {
        self.group.as_ref().is_some_and(|group| (group.id, group.uid) == (id, uid))
    }

    fn is_own(&self) -> bool {
        self.own_group().is_some()
    }

    fn own_group(&self) -> Option<&str> {
        self.group.as_ref()?.own.as_deref()
    }
}

/// Every connection, by its id.
pub(super) struct Clients {
    /// The main one first.
    doors: Vec<Door>,
    /// What is spoken behind all of them.
    dialect: Dialect,
    table: BTreeMap<ClientId, Client>,
    next: u64,
    /// Connections that were closed since the machine was last told.
    gone: Vec<ClientId>,
    /// Given up for a moment when there are no descriptors left: a connection that is not even accepted would keep its
    /// door readable, and the loop awake.
    spare: Option<OwnedFd>,
    /// No door is watched before this moment, as accepting has failed.
    pause_until: u64,
}

/// Every connection on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct ClientsState {
    doors: Vec<DoorState>,
    #[serde(default)]
    dialect: Dialect,
    table: Vec<ClientState>,
    next: u64,
}

#[derive(Serialize, Deserialize)]
struct DoorState {
    control: ControlState,
    trusted: bool,
    #[serde(default)]
    group: Option<GroupDoor>,
}

#[derive(Serialize, Deserialize)]
struct ClientState {
    id: ClientId,
    descriptor: i32,
    peer: Peer,
    owner: Owner,
    trusted: bool,
    input: LineBuffer,
    codec: Codec,
    #[serde(with = "crate::octets")]
    output: Vec<u8>,
    heard: u64,
    #[serde(default)]
    since: u64,
    silent: bool,
    closing: bool,
}

/// Where in the poll set the connections stand.
pub(super) struct Watched {
    doors: Vec<(usize, usize)>,
    clients: Vec<(ClientId, usize)>,
    /// When a door that was left out is to be watched again.
    pub(super) reopen: Option<u64>,
}

impl Clients {
    pub(super) fn new(control: Option<Control>, dialect: Dialect) -> Self {
        let spare = control.as_ref().and_then(|control| control.as_fd().try_clone_to_owned().ok());
        let doors = control.into_iter().map(|control| Door { control, trusted: true, group: None }).collect();
        Clients { doors, dialect, table: BTreeMap::new(), next: 1, gone: Vec::new(), spare, pause_until: 0 }
    }

    /// What another image of the manager needs to go on with them.
    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> ClientsState {
        let door = |door: &Door| DoorState {
            control: door.control.hand_over(keeper),
            trusted: door.trusted,
            group: door.group.clone(),
        };
        let doors = self.doors.iter().map(door).collect();
        let table = self.table.iter().map(|(&id, client)| client.hand_over(id, keeper)).collect();
        ClientsState { doors, dialect: self.dialect.clone(), table, next: self.next }
    }

    /// Those of the image before this one.
    pub(super) fn take_over(state: ClientsState, inherited: &mut Inherited) -> io::Result<Clients> {
        let mut doors = Vec::with_capacity(state.doors.len());
        for DoorState { control, trusted, group } in state.doors {
            doors.push(Door { control: Control::take_over(control, inherited)?, trusted, group });
        }
        let spare = doors.first().and_then(|main| main.control.as_fd().try_clone_to_owned().ok());
        let mut table = BTreeMap::new();
        for client in state.table {
            table.insert(client.id, Client::take_over(client, inherited)?);
        }
        let (dialect, next) = (state.dialect, state.next);
        Ok(Clients { doors, dialect, table, next, gone: Vec::new(), spare, pause_until: 0 })
    }

    /// A worker has become another process: its connections are that one's.
    pub(super) fn pass_on(&mut self, before: i32, pid: i32) {
        let own = |client: &&mut Client| client.owner == Owner::Worker(before);
        for client in self.table.values_mut().filter(own) {
            client.owner = Owner::Worker(pid);
        }
    }

    /// Where the manager listens, if it does.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.main().map(|door| door.control.endpoint())
    }

    /// Where the workers of a group find the manager: at the group's own socket, at the main one, or at one for them alone
    /// if they run as another user. It is opened unless it is there.
    pub(super) fn door_for_workers(
        &mut self,
        id: GroupId,
        spec: &GroupSpec,
        uid: Option<u32>,
    ) -> crate::error::Result<Option<Endpoint>> {
        let control = match (&spec.control, uid) {
            (Some(path), _) => {
                let endpoint = endpoint(&ControlSpec::Path(path.clone()), &spec.name)?;
                if self.doors.iter().any(|door| door.is_for(id, uid) && *door.control.endpoint() == endpoint)
                {
                    return Ok(Some(endpoint));
                }
                Control::open_of_group(path, &spec.name, uid)?
            }
            (None, Some(uid)) => {
                let Some(main) = self.main() else { return Ok(None) };
                let there = |door: &&Door| door.is_for(id, Some(uid)) && !door.is_own();
                if let Some(door) = self.doors.iter().find(there) {
                    return Ok(Some(door.control.endpoint().clone()));
                }
                // While workers of another user, or of a group of this name that was removed, still come to the first
                // one, the other one needs a name of its own. No group has a `+` in its name.
                let others = (0..).map(|count| format!("{}+{count}", spec.name));
                let free = |name: &String| {
                    let endpoint = main.control.worker_endpoint(name);
                    self.doors.iter().all(|door| *door.control.endpoint() != endpoint)
                };
                let name = [spec.name.clone()].into_iter().chain(others).find(free).unwrap_or_default();
                main.control.worker_socket(&name, uid)?
            }
            (None, None) => return Ok(self.endpoint().cloned()),
        };
        let endpoint = control.endpoint().clone();
        let own = spec.control.is_some().then(|| spec.name.clone());
        let trusted = own.is_some() && uid.is_none();
        self.doors.push(Door { control, trusted, group: Some(GroupDoor { id, uid, own }) });
        Ok(Some(endpoint))
    }

    /// The socket of the manager itself.
    fn main(&self) -> Option<&Door> {
        self.doors.iter().find(|door| door.group.is_none())
    }

    /// Groups that have sockets for their workers.
    pub(super) fn groups_with_doors(&self) -> Vec<GroupId> {
        self.doors.iter().filter_map(|door| door.group.as_ref().map(|group| group.id)).collect()
    }

    /// Closes the sockets of a group where nobody who matters finds the manager any more: `keep` is asked with what
    /// workers are told of each.
    pub(super) fn close_doors(
        &mut self,
        group: GroupId,
        keep: impl Fn(&OsStr) -> bool,
        complain: &mut dyn FnMut(&str),
    ) {
        let unwanted = |door: &mut Door| {
            door.group.as_ref().is_some_and(|owner| owner.id == group)
                && !keep(&door.control.endpoint().variable())
        };
        for door in self.doors.extract_if(.., unwanted) {
            if let Err(error) = door.control.close() {
                complain(&format!("cannot remove a control socket: {error}"));
            }
        }
    }

    /// Takes a connection that a worker was born with.
    pub(super) fn adopt(&mut self, pid: i32, uid: u32, socket: OwnedFd, now: u64) {
        sockopt::refuse_descriptors(socket.as_fd());
        let client = Client {
            socket,
            peer: Peer { pid, uid, gid: uid },
            owner: Owner::Worker(pid),
            trusted: uid == creds::our_uid(),
            input: LineBuffer::new(REQUEST_LINE_MAX),
            codec: Codec::new(&self.dialect, super::own_pid(), None).lasting(),
            output: Vec::new(),
            heard: now,
            since: now,
            silent: false,
            closing: false,
        };
        self.table.insert(ClientId(self.next), client);
        self.next += 1;
    }

    /// Puts doors and connections into the poll set. A door is left out while newcomers have to wait.
    pub(super) fn watch(&self, poll: &mut PollSet, now: u64) -> Watched {
        let mut doors = Vec::with_capacity(self.doors.len());
        let mut reopen = None;
        for (at, door) in self.doors.iter().enumerate() {
            let paused = Some(self.pause_until).filter(|&until| until > now);
            match paused.or_else(|| self.crowded_until(door.trusted, now)) {
                None => doors.push((at, poll.add(door.control.as_fd(), Interest::READ))),
                until => reopen = reopen.into_iter().chain(until).min(),
            }
        }
        let clients = self
            .table
            .iter()
            .map(|(&id, client)| {
                let interest = Interest { read: !client.silent, write: !client.output.is_empty() };
                (id, poll.add(client.socket.as_fd(), interest))
            })
            .collect();
        Watched { doors, clients, reopen }
    }

    /// Reads what has arrived, lets newcomers in, and hands requests over.
    pub(super) fn serve(
        &mut self,
        poll: &PollSet,
        watched: &Watched,
        now: u64,
        worker_of: impl Fn(i32) -> Option<(i32, u32)>,
        mut tell: impl FnMut(Event),
    ) {
        let mut waiting = self.waiting();
        for &(id, at) in watched.clients.iter().filter(|&&(_, at)| poll.readable(at)) {
            let Some(client) = self.table.get_mut(&id) else { continue };
            client.heard = now;
            let new = client.owner == Owner::Person && client.codec.pending() == 0;
            let usable = client.receive(id, new && waiting >= CLIENTS_MAX, &mut tell);
            waiting += usize::from(new && client.codec.pending() > 0);
            // At once, so that a newcomer of this very pass finds room.
            if !usable || (client.silent && poll.hung_up(at)) {
                self.drop_client(id);
            }
        }
        for &(door, at) in &watched.doors {
            if poll.readable(at) {
                self.accept(door, now, &worker_of);
            }
        }
        for id in std::mem::take(&mut self.gone) {
            tell(Event::ClientGone(id));
        }
    }

    /// Queues a reply. A client that does not read is dropped instead.
    pub(super) fn reply(&mut self, ticket: Ticket, reply: &Reply, last: bool) {
        let Some(client) = self.table.get_mut(&ticket.client) else { return };
        // One pass may have a lot to tell: who reads is not to blame for that.
        if client.output.len() > UNREAD_MAX && (!client.send() || client.output.len() > UNREAD_MAX) {
            return self.drop_client(ticket.client);
        }
        client.codec.encode(ticket.request, reply, last, &mut client.output);
        client.closing |= client.codec.is_over();
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
    fn accept(&mut self, door: usize, now: u64, worker_of: &impl Fn(i32) -> Option<(i32, u32)>) {
        let trusted = self.doors[door].trusted;
        // Bounded: whoever is left over is there on the next pass.
        for _ in 0..CLIENTS_MAX {
            if self.crowded_until(trusted, now).is_some() {
                return;
            }
            let (socket, peer) = match self.doors[door].control.accept() {
                Ok(Some(accepted)) => accepted,
                Ok(None) => return,
                Err(error) => return self.turn_away(door, now, &error),
            };
            let group = self.doors[door].own_group();
            let trusted = trusted || (group.is_some() && is_trusted(peer.uid));
            let owner = owner(peer, reap::process_group_of(peer.pid), trusted, worker_of);
            let mut client = Client {
                socket,
                peer,
                owner,
                trusted,
                input: LineBuffer::new(REQUEST_LINE_MAX),
                codec: Codec::new(&self.dialect, super::own_pid(), group),
                output: Vec::new(),
                heard: now,
                since: now,
                silent: false,
                closing: false,
            };
            if !self.make_room(owner) {
                client.output.extend(client.codec.crowded(owner.share()));
                (client.closing, client.silent) = (true, true);
            }
            self.table.insert(ClientId(self.next), client);
            self.next += 1;
        }
    }

    /// With no descriptors left, takes a connection only to close it. Where that does not help either, or something else
    /// is lacking, doors are left alone for a moment.
    fn turn_away(&mut self, door: usize, now: u64, error: &io::Error) {
        let full = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        let freed = full && self.spare.take().is_some();
        let closed = freed && self.doors[door].control.accept().is_ok();
        if self.spare.is_none() {
            self.spare = self.doors[door].control.as_fd().try_clone_to_owned().ok();
        }
        if !closed {
            self.pause_until = now + ACCEPT_PAUSE_MS;
        }
    }

    /// When a door has room for people again, if it has none now and there is something to wait for: that one of them
    /// has been silent for long enough. Who waits for an answer may do so for hours, and is not waited for.
    fn crowded_until(&self, trusted: bool, now: u64) -> Option<u64> {
        let owner = if trusted { Owner::Person } else { Owner::Stranger };
        if self.count(owner) < owner.share() {
            return None;
        }
        let (_, until) = self.first_to_go(owner)?;
        Some(until).filter(|&until| until > now)
    }

    /// Closes the connection that has been silent longest if its owner has no room for another; false if all of them
    /// wait for answers.
    fn make_room(&mut self, owner: Owner) -> bool {
        if self.count(owner) < owner.share() {
            return true;
        }
        let Some((silent, _)) = self.first_to_go(owner) else { return false };
        self.drop_client(silent);
        true
    }

    fn count(&self, owner: Owner) -> usize {
        self.table.values().filter(|client| client.owner == owner).count()
    }

    /// How many people wait for an answer.
    fn waiting(&self) -> usize {
        let people = self.table.values().filter(|client| client.owner == Owner::Person);
        people.filter(|client| client.codec.pending() > 0).count()
    }

    /// Of the connections that wait for nothing, the one that makes room first, and from when on: it was silent for the
    /// longest time, or had its turn. One that does not read what it was told goes only after those that do.
    fn first_to_go(&self, owner: Owner) -> Option<(ClientId, u64)> {
        let movable =
            self.table.iter().filter(|(_, client)| client.owner == owner && client.codec.pending() == 0);
        let until = |client: &Client| (client.heard + SILENCE_MS).min(client.since + TURN_MS);
        let order = movable.map(|(&id, client)| (!client.output.is_empty(), until(client), id));
        order.min().map(|(_, until, id)| (id, until))
    }
}

impl Client {
    fn hand_over(&self, id: ClientId, keeper: &mut Keeper) -> ClientState {
        ClientState {
            id,
            descriptor: keeper.keep(self.socket.as_fd()),
            peer: self.peer,
            owner: self.owner,
            trusted: self.trusted,
            input: self.input.clone(),
            codec: self.codec.clone(),
            output: self.output.clone(),
            heard: self.heard,
            since: self.since,
            silent: self.silent,
            closing: self.closing,
        }
    }

    fn take_over(state: ClientState, inherited: &mut Inherited) -> io::Result<Client> {
        Ok(Client {
            socket: inherited.claim(state.descriptor)?,
            peer: state.peer,
            owner: state.owner,
            trusted: state.trusted,
            input: state.input,
            codec: state.codec,
            output: state.output,
            heard: state.heard,
            since: state.since,
            silent: state.silent,
            closing: state.closing,
        })
    }

    /// Nothing more can come of this connection.
    fn is_over(&self) -> bool {
        self.output.is_empty() && (self.closing || (self.silent && self.codec.pending() == 0))
    }

    /// Reads once; false if the connection is broken. Where all places to wait are `full`, what may last is refused.
    fn receive(&mut self, id: ClientId, full: bool, tell: &mut impl FnMut(Event)) -> bool {
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
                    self.line(id, &rest, full, tell);
                }
            }
            Ok(count) => {
                self.input.push(&piece[..count]);
                while let Some(line) = self.take_line() {
                    match line {
                        Some(line) => self.line(id, &line, full, tell),
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

    fn line(&mut self, id: ClientId, line: &[u8], full: bool, tell: &mut impl FnMut(Event)) {
        match self.codec.decode(line) {
            Decoded::Request { request, verb } if full && may_last(&verb) => {
                let why = format!("{CLIENTS_MAX} connections wait for answers: no room for another");
                self.codec.encode(request, &Reply::Failed(Code::Refused, why), true, &mut self.output);
            }
            Decoded::Request { request, verb } => {
                // Whose it is was found when it connected: a group may be joined later.
                let process_group = if let Owner::Worker(leader) = self.owner { leader } else { 0 };
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
        self.closing |= self.codec.is_over();
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

/// Whose connection it is. A process group can be joined by others of the session: they speak for the worker that leads it
/// only if they are of its user.
fn owner(
    peer: Peer,
    process_group: Option<i32>,
    trusted: bool,
    worker_of: impl Fn(i32) -> Option<(i32, u32)>,
) -> Owner {
    let theirs = |&(_, uid): &(i32, u32)| uid == peer.uid || is_trusted(peer.uid);
    let of_group = || process_group.and_then(&worker_of).filter(theirs);
    match worker_of(peer.pid).or_else(of_group) {
        Some((worker, _)) => Owner::Worker(worker),
        None if trusted => Owner::Person,
        None => Owner::Stranger,
    }
}

/// Whether the answer to it may be long in coming, and it is not needed to look into that or to end it.
fn may_last(verb: &Verb) -> bool {
    !matches!(
        verb,
        Verb::Status(_)
            | Verb::Stop(..)
            | Verb::Version
            | Verb::Ping
            | Verb::Ack(_)
            | Verb::AckIn(..)
            | Verb::Heartbeat(..)
            | Verb::LogLevel(_)
            | Verb::Reopen
            | Verb::Signal(..)
            | Verb::Account(..)
            | Verb::Foreign(Foreign::Inspect | Foreign::StopWith(_))
    )
}

/// Nothing is wrong with the connection: it has only nothing to give or to take now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
