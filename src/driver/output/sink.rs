//! One place that the output of workers goes to, shared by all who write there.
//!
//! What it does not take at once is kept, and its pipes are read no further: workers wait, as on any full pipe. That is
//! how it stays for those who are to wait. For the others it ends when the place takes nothing for a while, or at once
//! where writing fails: then what they write is dropped and counted, until the place takes something again.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::file::{Log, LogState};
use crate::driver::journal::Journal;
use crate::output::{Overflow, Place, Target};
use crate::plan::Level;
use crate::sys::outlet::{Outlet, is_passing};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::syslog::{Sent, Syslog};
use crate::sys::{clock, reason};

/// With so many bytes waiting to be written, no more are asked for.
const QUEUE_MAX: usize = 64 * 1024;

/// Milliseconds for which a place may take nothing before it costs those bytes that are to be dropped rather than waited
/// for.
const PATIENCE_MS: u64 = 1_000;

/// Milliseconds between attempts to write what somebody waits for, where writing fails.
const RETRY_MS: u64 = 1_000;

/// Milliseconds between two complaints about the same place.
const COMPLAINT_MS: u64 = 10_000;

/// Which place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Address {
    /// One that the plan names.
    Place(Place),
    /// The system's log. What is written to it are datagrams, with a newline after each.
    Syslog,
}

impl Address {
    /// That of a target; none where workers write by themselves, or to our own log.
    pub(super) fn of(target: &Target) -> Option<Address> {
        match target {
            Target::Syslog => Some(Address::Syslog),
            target => target.place().cloned().map(Address::Place),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Place(place) => place.fmt(f),
            Address::Syslog => f.write_str("the system's log"),
        }
    }
}

/// A place, and what it has not taken yet.
pub(super) struct Sink {
    address: Address,
    medium: Medium,
    queue: Vec<u8>,
    /// What was taken last did not end a line.
    mid_line: bool,
    /// No group has it in its plan any more.
    unwanted: bool,
    trouble: Option<Trouble>,
    /// Somebody who writes here is to wait.
    awaited: bool,
    /// Bytes that were dropped and not told of.
    untold: u64,
    /// When the last complaint was made.
    complained: Option<u64>,
    /// The present trouble was told.
    told: bool,
    /// Where in the poll set it stands.
    at: Option<usize>,
}

/// A place on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct SinkState {
    address: Address,
    #[serde(default)]
    file: Option<LogState>,
    #[serde(default, with = "crate::octets")]
    queue: Vec<u8>,
    #[serde(default)]
    mid_line: bool,
}

/// How it is written to.
enum Medium {
    File(Log),
    Shared(Outlet<OwnedFd>),
    Syslog(Syslog),
}

/// What keeps a place from taking more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It has no room, since this moment.
    Slow(u64),
    /// The same, and for too long.
    Stuck,
    /// It cannot be written. The next attempt, if somebody waits.
    Failing(u64),
}

impl Sink {
    /// Opens a place.
    pub(super) fn open(address: &Address) -> io::Result<Sink> {
        Ok(Sink::of(address.clone(), Medium::open(address)?, Vec::new()))
    }

    fn of(address: Address, medium: Medium, queue: Vec<u8>) -> Sink {
        // How the place is, only an attempt tells; it is made at once.
        let awaited = !queue.is_empty();
        let trouble = awaited.then(|| Trouble::Failing(clock::now_ms()));
        Sink {
            address,
            medium,
            queue,
            mid_line: false,
            unwanted: false,
            trouble,
            awaited,
            untold: 0,
            complained: None,
            told: false,
            at: None,
        }
    }

    /// What another image of the manager needs to go on with it.
    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> SinkState {
        let file = match &self.medium {
            Medium::File(log) => Some(log.hand_over(keeper)),
            Medium::Shared(_) | Medium::Syslog(_) => None,
        };
        SinkState { address: self.address.clone(), file, queue: self.queue.clone(), mid_line: self.mid_line }
    }

    /// That of the image before this one.
    pub(super) fn take_over(state: SinkState, inherited: &mut Inherited) -> io::Result<Sink> {
        let medium = match (state.file, &state.address) {
            (Some(file), Address::Place(Place::File(spec))) => {
                Medium::File(Log::take_over(spec, file, inherited)?)
            }
            (_, address) => Medium::open(address)?,
        };
        Ok(Sink { mid_line: state.mid_line, ..Sink::of(state.address, medium, state.queue) })
    }

    /// Whether no group writes here any more, and nothing is left to be written.
    pub(super) fn is_over(&self) -> bool {
        self.unwanted && self.queue.is_empty()
    }

    /// Goes by what a target says of the same place from now on, if there still is one.
    pub(super) fn follow(&mut self, target: Option<&Target>) {
        self.unwanted = target.is_none();
        if let (Medium::File(log), Some(spec)) = (&mut self.medium, target.and_then(Target::file)) {
            log.rotate_by(spec);
            self.address = Address::Place(Place::File(spec.clone()));
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether this target means it.
    pub(super) fn is_for(&self, target: &Target) -> bool {
        match &self.address {
            Address::Place(place) => target.place().is_some_and(|meant| meant.is_same(place)),
            Address::Syslog => *target == Target::Syslog,
        }
    }

    /// Device and inode of a regular file.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        match &self.medium {
            Medium::File(log) => log.identity(),
            Medium::Shared(_) | Medium::Syslog(_) => None,
        }
    }

    /// Whether more is welcome from those with this policy.
    pub(super) fn takes(&self, overflow: Overflow) -> bool {
        self.queue.len() < QUEUE_MAX || (overflow == Overflow::Drop && self.refuses())
    }

    fn refuses(&self) -> bool {
        matches!(self.trouble, Some(Trouble::Stuck | Trouble::Failing(_)))
    }

    /// Writes, keeps what the place does not take, or drops the end of it: a line of which only the beginning was written is
    /// ended then. Returns how many bytes were dropped.
    pub(super) fn put(&mut self, bytes: &[u8], overflow: Overflow, journal: &mut Journal) -> u64 {
        self.awaited |= overflow == Overflow::Block;
        if !self.queue.is_empty() && matches!(self.trouble, Some(Trouble::Failing(_))) {
            self.flush(journal);
        }
        let written = if self.queue.is_empty() { self.write(bytes, journal) } else { 0 };
        self.taken(&bytes[..written]);
        let rest = &bytes[written..];
        if overflow == Overflow::Drop && self.refuses() && !rest.is_empty() {
            let lost = rest.len() as u64;
            self.untold += lost;
            if self.trouble == Some(Trouble::Stuck) {
                self.complain("it takes nothing", journal);
            }
            if std::mem::take(&mut self.mid_line) {
                self.queue.push(b'\n');
            }
            return lost;
        }
        self.queue.extend_from_slice(rest);
        self.taken(rest);
        0
    }

    /// Counts bytes as dropped that are not put here, as the beginning of their line was dropped.
    pub(super) fn forgo(&mut self, bytes: usize) {
        self.untold += bytes as u64;
    }

    fn taken(&mut self, bytes: &[u8]) {
        if let Some(&last) = bytes.last() {
            self.mid_line = last != b'\n';
        }
    }

    /// Puts it into the poll set if there is something to write, and room to wait for. Returns where it stands there.
    pub(super) fn watch(&mut self, poll: &mut PollSet) -> Option<usize> {
        self.at = self.waits_for().map(|descriptor| poll.add(descriptor, Interest::WRITE));
        self.at
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        let waits = !self.queue.is_empty() && !matches!(self.trouble, Some(Trouble::Failing(_)));
        self.medium.room().filter(|_| waits)
    }

    /// When something is to be done that no descriptor tells of.
    pub(super) fn deadline(&self) -> Option<u64> {
        let trouble = match self.trouble {
            Some(Trouble::Slow(since)) => Some(since + PATIENCE_MS),
            Some(Trouble::Failing(retry)) if self.awaited && !self.queue.is_empty() => Some(retry),
            Some(Trouble::Failing(_) | Trouble::Stuck) | None => None,
        };
        let rotation = match &self.medium {
            Medium::File(log) => log.deadline(),
            Medium::Shared(_) | Medium::Syslog(_) => None,
        };
        trouble.into_iter().chain(rotation).min()
    }

    /// Does what was waited for.
    pub(super) fn tend(&mut self, poll: &PollSet, journal: &mut Journal) {
        if self.at.take().is_some_and(|at| poll.writable(at)) {
            self.flush(journal);
        }
        let now = clock::now_ms();
        match self.trouble {
            Some(Trouble::Slow(since)) if now >= since + PATIENCE_MS => self.trouble = Some(Trouble::Stuck),
            Some(Trouble::Failing(retry)) if now >= retry && !self.queue.is_empty() => self.flush(journal),
            Some(_) | None => {}
        }
        if let Medium::File(log) = &mut self.medium {
            log.tend();
        }
        self.pass_on_complaint(journal);
    }

    /// Opens a file again by its name; false if this is none.
    pub(super) fn reopen(&mut self, journal: &mut Journal) -> io::Result<bool> {
        match &mut self.medium {
            Medium::File(log) => log.reopen()?,
            Medium::Shared(_) | Medium::Syslog(_) => return Ok(false),
        }
        self.flush(journal);
        Ok(true)
    }

    /// Tries once more what could not be written, when there will be no other time. True if that went well.
    pub(super) fn retry(&mut self, journal: &mut Journal) -> bool {
        if self.queue.is_empty() || !matches!(self.trouble, Some(Trouble::Failing(_))) {
            return false;
        }
        self.flush(journal);
        self.queue.is_empty()
    }

    /// Tells what is lost when the manager ends.
    pub(super) fn give_up(&mut self, journal: &mut Journal) {
        self.untold += self.queue.len() as u64;
        self.queue.clear();
        if self.untold > 0 {
            let sentence =
                format!("{} bytes of output could not be written to {}", self.untold, self.address);
            journal.line(Level::Warn, &sentence);
        }
    }

    fn flush(&mut self, journal: &mut Journal) {
        let mut queue = std::mem::take(&mut self.queue);
        let written = self.write(&queue, journal);
        queue.drain(..written);
        self.queue = queue;
    }

    /// Writes as much as the place takes now, and learns how it is.
    fn write(&mut self, bytes: &[u8], journal: &mut Journal) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            let outcome = self.medium.write(&bytes[written..]);
            self.pass_on_complaint(journal);
            match outcome {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_passing(&error) && self.medium.room().is_some() => {
                    self.trouble = match self.trouble {
                        Some(known @ (Trouble::Slow(_) | Trouble::Stuck)) if written == 0 => Some(known),
                        _ => Some(Trouble::Slow(clock::now_ms())),
                    };
                    return written;
                }
                Ok(_) => return self.fail("it takes nothing", written, journal),
                Err(error) => return self.fail(&reason(error), written, journal),
            }
        }
        self.recover(journal);
        written
    }

    fn fail(&mut self, why: &str, written: usize, journal: &mut Journal) -> usize {
        self.trouble = Some(Trouble::Failing(clock::now_ms() + RETRY_MS));
        self.complain(why, journal);
        written
    }

    fn complain(&mut self, why: &str, journal: &mut Journal) {
        let now = clock::now_ms();
        if self.told || self.complained.is_some_and(|last| now < last + COMPLAINT_MS) {
            return;
        }
        (self.told, self.complained) = (true, Some(now));
        let meanwhile = if self.awaited { "workers wait" } else { "what workers write there is dropped" };
        journal.line(Level::Warn, &format!("cannot write to {}: {why}; {meanwhile}", self.address));
    }

    fn recover(&mut self, journal: &mut Journal) {
        if self.trouble.take().is_none() || !std::mem::take(&mut self.told) {
            return;
        }
        let lost = match std::mem::take(&mut self.untold) {
            0 => "nothing was dropped".to_owned(),
            bytes => format!("{bytes} bytes were dropped"),
        };
        journal.line(Level::Warn, &format!("{} is written to again; {lost}", self.address));
    }

    fn pass_on_complaint(&mut self, journal: &mut Journal) {
        if let Medium::File(log) = &mut self.medium
            && let Some(complaint) = log.complaint()
        {
            journal.line(Level::Warn, &complaint);
        }
    }
}

impl Medium {
    fn open(address: &Address) -> io::Result<Medium> {
        Ok(match address {
            Address::Place(Place::File(spec)) => Medium::File(Log::open(spec)?),
            Address::Place(Place::Stdout) => Medium::shared(&io::stdout())?,
            Address::Place(Place::Stderr) => Medium::shared(&io::stderr())?,
            // Facility and sender stand in each datagram.
            Address::Syslog => Medium::Syslog(Syslog::for_others()),
        })
    }

    fn shared(stream: &impl AsFd) -> io::Result<Medium> {
        Ok(Medium::Shared(Outlet::to(stream.as_fd().try_clone_to_owned()?)))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Medium::File(log) => log.write(bytes),
            Medium::Shared(outlet) => outlet.write(whole_lines(bytes)),
            Medium::Syslog(log) => {
                let frame = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
                match log.send(frame) {
                    Sent::Whole => Ok((frame.len() + 1).min(bytes.len())),
                    Sent::Dropped => Err(io::ErrorKind::WouldBlock.into()),
                    Sent::Nobody(why) => Err(io::Error::other(why)),
                }
            }
        }
    }

    /// What to wait for when there was no room; nothing where room cannot be waited for.
    fn room(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Medium::File(log) => log.room(),
            Medium::Shared(outlet) => Some(outlet.as_fd()),
            Medium::Syslog(log) => log.as_fd(),
        }
    }
}

/// As much as a pipe takes in one piece or not at all, up to the end of a line: others write there too, and shall not get
/// between.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    /// PIPE_BUF of Linux.
    const PIECE: usize = 4096;
    let piece = &bytes[..bytes.len().min(PIECE)];
    match piece.iter().rposition(|&byte| byte == b'\n') {
        Some(end) => &piece[..=end],
        None => piece,
    }
}
