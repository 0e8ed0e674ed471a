//! What workers write: from their pipes to a file, to our own standard output, to the system's log, or into our own log.
//!
//! Where bytes are handed on as they come, the workers of a group share one pipe a target: one read and one write a
//! wake-up, whoever wrote. Where each line begins with its author, each worker has a pipe of its own, read until nobody
//! holds its writing end: what a worker, or whoever has its pipe after it, wrote last is still read.
//!
//! A pipe is read only while its target takes more. What happens where it does not is the business of [`sink`]. Workers
//! whose output goes nowhere, or where the manager's own goes, have no pipe: they write there by themselves.

mod file;
mod lines;
mod rotation;
mod sink;
mod tail;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use crate::error::{Error, Result};
use crate::output::{Output, Overflow, Place, Target};
use crate::plan::{Facility, GroupSpec, Level};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::syslog::Syslog;
use crate::sys::{clock, reason, start, stream};
use lines::Lines;
use sink::{Address, Sink, SinkState};
use tail::Tail;

/// Bytes taken from one pipe at a time: as large a piece as costs the least for each byte.
const PIECE: usize = 128 * 1024;

/// What memory is aligned to that the system copies to and from the fastest: elsewhere it takes some processors half as
/// long again.
const ALIGNMENT: usize = 4096;

/// Bytes taken from one pipe when the manager ends: as much as the largest pipe holds that anybody may make. Somebody who
/// still writes then cannot keep the manager from ending.
const LAST_BYTES: usize = 1 << 20;

/// Pipes of dead workers that are read as long as somebody has them, at least; at most one in so many of the descriptors
/// that may be open.
const LEFT_MIN: usize = 4;
const LEFT_SHARE: u64 = 16;

/// How long the manager waits at its end, in milliseconds, for a target that takes nothing more.
const LAST_WAIT: u64 = 2_000;

/// The pipes of a manager's workers, and where they lead.
#[derive(Default)]
pub(super) struct Outputs {
    pipes: Vec<Pipe>,
    sinks: Vec<Sink>,
    /// Bytes that were dropped, by group.
    dropped: BTreeMap<String, u64>,
    /// The last words of living processes that have written any, by pid.
    tails: BTreeMap<i32, Tail>,
    /// What was read last.
    piece: Piece,
    /// The same in its final shape.
    shaped: Vec<u8>,
}

/// Room for what is read at a time. Memory only where there is a pipe.
#[derive(Default)]
struct Piece {
    memory: Vec<u8>,
}

impl Piece {
    fn room(&mut self) -> &mut [u8] {
        self.memory.resize(PIECE + ALIGNMENT, 0);
        let before = self.memory.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        &mut self.memory[before..before + PIECE]
    }
}

/// One pipe, which many processes may write to.
struct Pipe {
    group: String,
    /// Whose it was first; 0 if it is that of the group.
    pid: i32,
    slot: u32,
    target: Target,
    overflow: Overflow,
    reader: OwnedFd,
    /// For workers to come, if it is that of the group.
    writer: Option<Rc<OwnedFd>>,
    lines: Lines,
    /// What was dropped last did not end a line: the rest of it goes the same way.
    skips: bool,
    /// It is the standard error of the process whose it was first, which lives.
    errors: bool,
    /// The process whose it was first is dead, and somebody else has it still.
    left: bool,
    /// Who may open it by its name (`/dev/stderr`) beside root.
    owner: Option<u32>,
    /// Where in the poll set it stands.
    at: Option<usize>,
    /// How many bytes more are read while nothing else is done.
    budget: usize,
}

/// All of it on its way to another image of the manager.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OutputsState {
    pipes: Vec<PipeState>,
    sinks: Vec<SinkState>,
    dropped: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct PipeState {
    group: String,
    pid: i32,
    slot: u32,
    target: Target,
    overflow: Overflow,
    reader: i32,
    #[serde(default)]
    writer: Option<i32>,
    #[serde(default, with = "crate::octets")]
    line: Vec<u8>,
    #[serde(default)]
    cut: bool,
    #[serde(default)]
    skips: bool,
    #[serde(default)]
    errors: bool,
    #[serde(default)]
    left: bool,
    #[serde(default)]
    owner: Option<u32>,
}

/// What a worker finds at descriptors 1 and 2.
pub(super) struct Streams {
    stdout: End,
    stderr: End,
    /// The pipes that are its own.
    fresh: Vec<Pipe>,
}

/// For whom a pipe is.
#[derive(Clone, Copy)]
struct Whose<'a> {
    group: &'a str,
    slot: u32,
    owner: Option<u32>,
}

/// What stands at one descriptor of a worker.
enum End {
    Stdout(io::Stdout),
    Stderr(io::Stderr),
    Other(Rc<OwnedFd>),
}

/// What a pipe is good for after it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// There may be more at once.
    More,
    /// There is nothing now.
    Quiet,
    /// Nobody writes any more.
    Over,
}

impl Streams {
    /// The two descriptors.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [&self.stdout, &self.stderr].map(|end| match end {
            End::Stdout(stdout) => stdout.as_fd(),
            End::Stderr(stderr) => stderr.as_fd(),
            End::Other(writer) => writer.as_fd(),
        })
    }
}

impl Outputs {
    /// Opens the places that the workers of a group write to, unless they are open.
    ///
    /// # Errors
    /// One that cannot be opened, or two that are the same file and are to be rotated apart.
    pub(super) fn add(&mut self, group: &GroupSpec) -> Result<()> {
        let targets = [&group.launch.output.stdout, &group.launch.output.stderr];
        targets.into_iter().try_for_each(|target| self.open_target(target))
    }

    fn open_target(&mut self, target: &Target) -> Result<()> {
        let Some(address) = Address::of(target) else { return Ok(()) };
        if self.sinks.iter().any(|sink| sink.is_for(target)) {
            return Ok(());
        }
        let opened = Sink::open(&address);
        let sink =
            opened.map_err(|error| Error::failed(format!("cannot open {address}: {}", reason(error))))?;
        let same = |other: &&Sink| sink.identity().is_some() && other.identity() == sink.identity();
        if let Some(other) = self.sinks.iter().find(same) {
            return Err(Error::failed(format!("{address} and {} are the same file", other.address())));
        }
        self.sinks.push(sink);
        Ok(())
    }

    /// Goes by what groups want from now on, each with its name, what holds before what it takes the place of: closes what
    /// none of them writes to any more.
    pub(super) fn settle(&mut self, wanted: &[(&str, &Output)]) {
        for pipe in &mut self.pipes {
            let wants = |(group, output): &(&str, &Output)| {
                let leads_there = [&output.stdout, &output.stderr].contains(&&pipe.target);
                *group == pipe.group && output.overflow == pipe.overflow && leads_there
            };
            if !wanted.iter().any(wants) {
                // It ends when the last worker that has it is gone.
                pipe.writer = None;
            }
        }
        for sink in &mut self.sinks {
            let mut meant = wanted.iter().flat_map(|(_, output)| [&output.stdout, &output.stderr]);
            sink.follow(meant.find(|target| sink.is_for(target)));
        }
        self.dropped.retain(|known, _| wanted.iter().any(|(group, _)| group == known));
        self.close_unused();
    }

    /// Closes what no group wants once nothing more comes for it.
    fn close_unused(&mut self) {
        let Outputs { pipes, sinks, .. } = self;
        sinks.retain(|sink| !sink.is_over() || pipes.iter().any(|pipe| sink.is_for(&pipe.target)));
    }

    /// What another image of the manager needs to go on.
    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> OutputsState {
        OutputsState {
            pipes: self.pipes.iter().map(|pipe| pipe.hand_over(keeper)).collect(),
            sinks: self.sinks.iter().map(|sink| sink.hand_over(keeper)).collect(),
            dropped: self.dropped.clone(),
        }
    }

    /// That of the image before this one.
    pub(super) fn take_over(state: OutputsState, inherited: &mut Inherited) -> io::Result<Outputs> {
        let pipes = state.pipes.into_iter().map(|pipe| Pipe::take_over(pipe, inherited));
        let pipes = pipes.collect::<io::Result<Vec<Pipe>>>()?;
        let sinks = state.sinks.into_iter().map(|sink| Sink::take_over(sink, inherited));
        let sinks = sinks.collect::<io::Result<Vec<Sink>>>()?;
        Ok(Outputs { pipes, sinks, dropped: state.dropped, ..Outputs::default() })
    }

    /// How many bytes of a group were dropped.
    pub(super) fn dropped(&self, group: &str) -> u64 {
        self.dropped.get(group).copied().unwrap_or(0)
    }

    /// What a process of this group and slot is to find at descriptors 1 and 2, which the user `owner`, if it is not ours,
    /// may open by name. To be handed to [`Outputs::follow`] once it is there.
    pub(super) fn streams(
        &mut self,
        (group, slot): (&str, u32),
        output: &Output,
        owner: Option<u32>,
    ) -> io::Result<Streams> {
        let mut fresh = Vec::new();
        let overflow = output.overflow;
        let whose = Whose { group, slot, owner };
        let stdout = match self.end(whose, &output.stdout, overflow, &mut fresh)? {
            Some(end) => end,
            None => End::Stdout(io::stdout()),
        };
        let stderr = match self.end(whose, &output.stderr, overflow, &mut fresh)? {
            Some(end) => end,
            None => End::Stderr(io::stderr()),
        };
        for pipe in &mut fresh {
            pipe.errors =
                matches!((&stderr, &pipe.writer), (End::Other(end), Some(own)) if Rc::ptr_eq(end, own));
        }
        Ok(Streams { stdout, stderr, fresh })
    }

    /// The end of one stream; nothing if it is our own.
    fn end(
        &mut self,
        Whose { group, slot, owner }: Whose<'_>,
        target: &Target,
        overflow: Overflow,
        fresh: &mut Vec<Pipe>,
    ) -> io::Result<Option<End>> {
        let shared = match target {
            Target::Inherit => return Ok(None),
            Target::Null => return Ok(Some(End::Other(Rc::new(start::null_output()?)))),
            Target::Bytes(Place::Stdout) => return Ok(Some(End::Stdout(io::stdout()))),
            Target::Bytes(Place::Stderr) => return Ok(Some(End::Stderr(io::stderr()))),
            Target::Bytes(Place::File(_)) => true,
            Target::Log | Target::Syslog | Target::Lines(_) => false,
        };
        let pipes = if shared { &mut self.pipes } else { fresh };
        let known = pipes.iter_mut().find_map(|pipe| {
            let fits = pipe.group == group && pipe.target == *target && pipe.overflow == overflow;
            let writer = pipe.writer.clone().filter(|_| fits)?;
            Some((pipe, writer))
        });
        if let Some((pipe, writer)) = known {
            pipe.belong_to(owner);
            return Ok(Some(End::Other(writer)));
        }
        let (reader, writer) = stream::pipe()?;
        if shared {
            // Where that is not allowed, there are more and smaller pieces.
            let _ = stream::widen(&reader, PIECE as i32);
        }
        let writer = Rc::new(writer);
        let mut pipe = Pipe {
            group: group.to_owned(),
            pid: 0,
            slot,
            target: target.clone(),
            overflow,
            reader,
            writer: Some(Rc::clone(&writer)),
            lines: Lines::default(),
            skips: false,
            errors: false,
            left: false,
            owner: None,
            at: None,
            budget: 0,
        };
        pipe.belong_to(owner);
        pipes.push(pipe);
        Ok(Some(End::Other(writer)))
    }

    /// Reads from here on what the worker `pid` writes.
    pub(super) fn follow(&mut self, pid: i32, streams: Streams) {
        // The writing ends of its own pipes are the worker's alone.
        let own = streams.fresh.into_iter().map(|pipe| Pipe { pid, writer: None, ..pipe });
        self.pipes.extend(own);
    }

    /// What one process has written so far is another's, which takes its place.
    pub(super) fn rename(&mut self, before: i32, pid: i32) {
        for pipe in self.pipes.iter_mut().filter(|pipe| pipe.pid == before) {
            pipe.pid = pid;
        }
        if let Some(tail) = self.tails.remove(&before) {
            self.tails.insert(pid, tail);
        }
    }

    /// Puts the pipes into the poll set whose target takes more, and the targets that have not taken all.
    pub(super) fn watch(&mut self, poll: &mut PollSet, journal: &Journal) {
        let Outputs { pipes, sinks, .. } = self;
        for sink in &mut *sinks {
            sink.watch(poll);
        }
        for pipe in pipes {
            let takes = pipe.takes(sinks, journal);
            pipe.at = takes.then(|| poll.add(pipe.reader.as_fd(), Interest::READ));
        }
    }

    /// When something is to be done that no descriptor tells of, in milliseconds of [`clock::now_ms`].
    pub(super) fn deadline(&self) -> Option<u64> {
        self.sinks.iter().filter_map(Sink::deadline).min()
    }

    /// Writes what there is room for, then reads once each pipe that has something.
    pub(super) fn heard(&mut self, poll: &PollSet, journal: &mut Journal) -> bool {
        for sink in &mut self.sinks {
            sink.tend(poll, journal);
        }
        let read = self
            .read_each(journal, |pipe, takes| takes && pipe.at.take().is_some_and(|at| poll.readable(at)));
        self.close_unused();
        read
    }

    /// Reads what is there of what goes into our log, so that it is told before the death of whoever wrote it: also where
    /// the log has no room, as it is no more than a pipe holds.
    pub(super) fn catch_up(&mut self, journal: &mut Journal) {
        self.allow(LAST_BYTES);
        while self.read_each(journal, |pipe, _| pipe.target == Target::Log && pipe.spend()) {}
    }

    /// The last lines that a process which is dead has written to a standard error of its own. What it has left there is
    /// read first; what comes later is not its own.
    pub(super) fn last_words(&mut self, pid: i32, journal: &mut Journal) -> Vec<String> {
        let own = |pipe: &&mut Pipe| pipe.errors && pipe.pid == pid;
        for pipe in self.pipes.iter_mut().filter(own) {
            pipe.budget = LAST_BYTES;
        }
        while self.read_each(journal, |pipe, takes| pipe.errors && pipe.pid == pid && takes && pipe.spend()) {
        }
        for pipe in self.pipes.iter_mut().filter(|pipe| pipe.pid == pid) {
            (pipe.errors, pipe.left) = (false, true);
        }
        self.leave_some(journal);
        self.tails.remove(&pid).map_or_else(Vec::new, |tail| tail.lines())
    }

    /// Closes pipes that dead workers have left to others, the oldest first, where there are too many: each costs a descriptor
    /// as long as somebody has it, and workers to come need theirs.
    fn leave_some(&mut self, journal: &mut Journal) {
        let mut left = self.pipes.iter().filter(|pipe| pipe.left).count();
        if left <= LEFT_MIN {
            return;
        }
        let allowed =
            start::descriptors_max().map_or(LEFT_MIN, |max| (max / LEFT_SHARE) as usize).max(LEFT_MIN);
        self.pipes.retain(|pipe| {
            let goes = pipe.left && left > allowed;
            if goes {
                left -= 1;
                let Pipe { group, slot, pid, .. } = pipe;
                journal.line(
                    Level::Warn,
                    &format!(
                        "{group}[{slot}] pid {pid}: processes that it left behind write on, and are not read any more: \
                         {allowed} such pipes are enough"
                    ),
                );
            }
            !goes
        });
    }

    /// Opens all files again, as somebody may have moved them. Returns how many.
    ///
    /// # Errors
    /// What could not be opened, with the reason: it is written to as before.
    pub(super) fn reopen(&mut self, journal: &mut Journal) -> Result<usize> {
        let mut reopened = 0;
        let mut failures = Vec::new();
        for sink in &mut self.sinks {
            match sink.reopen(journal) {
                Ok(is_file) => reopened += usize::from(is_file),
                Err(error) => failures.push(format!("cannot open {}: {}", sink.address(), reason(error))),
            }
        }
        if failures.is_empty() { Ok(reopened) } else { Err(Error::failed(failures.join("; "))) }
    }

    /// Reads what is left when nobody will read any more, and waits until the targets have it or take nothing more.
    pub(super) fn finish(&mut self, journal: &mut Journal) {
        self.allow(LAST_BYTES);
        let mut poll = PollSet::new();
        let mut complete = false;
        loop {
            while self.read_each(journal, |pipe, takes| takes && pipe.spend()) {}
            poll.clear();
            let log = journal.waits_for().map(|log| poll.add(log, Interest::WRITE));
            let waiting: Vec<usize> =
                self.sinks.iter_mut().filter_map(|sink| sink.watch(&mut poll)).chain(log).collect();
            if waiting.is_empty() {
                if self.sinks.iter_mut().any(|sink| sink.retry(journal)) {
                    continue;
                }
                if complete {
                    break;
                }
                complete = true;
                self.end_lines(journal);
                continue;
            }
            let waited = poll.wait(Some(clock::now_ms() + LAST_WAIT));
            if waited.is_err() || !waiting.iter().any(|&at| poll.writable(at)) {
                break;
            }
            journal.flush();
            for sink in &mut self.sinks {
                sink.tend(&poll, journal);
            }
        }
        for sink in &mut self.sinks {
            sink.give_up(journal);
        }
    }

    fn allow(&mut self, bytes: usize) {
        for pipe in &mut self.pipes {
            pipe.budget = bytes;
        }
    }

    /// Hands on what has begun as a line and will have no end.
    fn end_lines(&mut self, journal: &mut Journal) {
        let Outputs { pipes, sinks, dropped, shaped, .. } = self;
        for pipe in pipes {
            let lost = pipe.hand_on(None, sinks, shaped, journal);
            count(dropped, &pipe.group, lost);
        }
    }

    /// Reads once each pipe that is wanted; `wanted` is told whether its target takes more. True if there may be more to be
    /// read at once.
    fn read_each(&mut self, journal: &mut Journal, mut wanted: impl FnMut(&mut Pipe, bool) -> bool) -> bool {
        let Outputs { pipes, sinks, dropped, tails, piece, shaped } = self;
        let mut more = false;
        pipes.retain_mut(|pipe| {
            let takes = pipe.takes(sinks, journal);
            if !wanted(pipe, takes) {
                return true;
            }
            let room = piece.room();
            let (after, lost) = match stream::read(&pipe.reader, room) {
                Ok(0) => (After::Over, 0),
                Ok(bytes) => {
                    let bytes = &room[..bytes];
                    if pipe.errors {
                        tails.entry(pipe.pid).or_default().push(bytes);
                    }
                    (After::More, pipe.hand_on(Some(bytes), sinks, shaped, journal))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (After::Quiet, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (After::More, 0),
                Err(error) => {
                    journal.complain(&format!("cannot read the output of {}: {}", pipe.group, reason(error)));
                    (After::Over, 0)
                }
            };
            count(dropped, &pipe.group, lost);
            more |= after == After::More;
            if after == After::Over {
                let lost = pipe.hand_on(None, sinks, shaped, journal);
                count(dropped, &pipe.group, lost);
            }
            after != After::Over
        });
        more
    }
}

fn count(dropped: &mut BTreeMap<String, u64>, group: &str, lost: u64) {
    if lost > 0 {
        *dropped.entry(group.to_owned()).or_default() += lost;
    }
}

impl Pipe {
    /// Gives it to the user of its worker: programs open their standard error by name, which is refused to others.
    fn belong_to(&mut self, owner: Option<u32>) {
        if owner.is_some() && owner != self.owner {
            self.owner = owner;
            // Without the right to, the worker goes without.
            let _ = stream::give(&self.reader, owner);
        }
    }

    fn hand_over(&self, keeper: &mut Keeper) -> PipeState {
        PipeState {
            group: self.group.clone(),
            pid: self.pid,
            slot: self.slot,
            target: self.target.clone(),
            overflow: self.overflow,
            reader: keeper.keep(self.reader.as_fd()),
            writer: self.writer.as_ref().map(|writer| keeper.keep(writer.as_fd())),
            line: self.lines.line.clone(),
            cut: self.lines.cut,
            skips: self.skips,
            errors: self.errors,
            left: self.left,
            owner: self.owner,
        }
    }

    fn take_over(state: PipeState, inherited: &mut Inherited) -> io::Result<Pipe> {
        Ok(Pipe {
            group: state.group,
            pid: state.pid,
            slot: state.slot,
            target: state.target,
            overflow: state.overflow,
            reader: inherited.claim(state.reader)?,
            writer: state.writer.map(|number| inherited.claim(number)).transpose()?.map(Rc::new),
            lines: Lines { line: state.line, cut: state.cut },
            skips: state.skips,
            errors: state.errors,
            left: state.left,
            owner: state.owner,
            at: None,
            budget: 0,
        })
    }

    /// Whether the target takes more.
    fn takes(&self, sinks: &[Sink], journal: &Journal) -> bool {
        match sinks.iter().find(|sink| sink.is_for(&self.target)) {
            Some(sink) => sink.takes(self.overflow),
            None => journal.has_room(),
        }
    }

    /// Takes one piece out of the budget, if it is not used up.
    fn spend(&mut self) -> bool {
        let left = self.budget > 0;
        self.budget = self.budget.saturating_sub(PIECE);
        left
    }

    /// Gives the target what was read, or, at the end, the last line without an end. Returns how many bytes were dropped.
    fn hand_on(
        &mut self,
        bytes: Option<&[u8]>,
        sinks: &mut [Sink],
        shaped: &mut Vec<u8>,
        journal: &mut Journal,
    ) -> u64 {
        let Pipe { group, pid, slot, target, overflow, lines, skips, .. } = self;
        shaped.clear();
        let shape = |line: &[u8]| {
            match target {
                Target::Log => return journal.output(*pid, line),
                Target::Syslog => {
                    let pid = pid.unsigned_abs();
                    shaped.extend(Syslog::frame(Facility::Daemon, Level::Info, group, pid, line));
                }
                Target::Lines(_) | Target::Bytes(_) | Target::Inherit | Target::Null => {
                    shaped.extend_from_slice(format!("{group}[{slot}] ").as_bytes());
                    shaped.extend_from_slice(line);
                }
            }
            shaped.push(b'\n');
        };
        let raw = matches!(target, Target::Bytes(_));
        let ready = match bytes {
            Some(bytes) if raw => bytes,
            Some(bytes) => {
                lines.take(bytes, shape);
                shaped
            }
            None => {
                lines.end(shape);
                shaped
            }
        };
        let Some(sink) = sinks.iter_mut().find(|sink| sink.is_for(target)) else { return 0 };
        let rest = without_cut_line(ready, skips);
        let skipped = ready.len() - rest.len();
        sink.forgo(skipped);
        let lost = if rest.is_empty() { 0 } else { sink.put(rest, *overflow, journal) };
        if lost > 0 {
            *skips = !rest.ends_with(b"\n");
        }
        skipped as u64 + lost
    }
}

/// Takes off the rest of a line whose beginning was dropped, if it `skips` that.
fn without_cut_line<'a>(bytes: &'a [u8], skips: &mut bool) -> &'a [u8] {
    if !*skips {
        return bytes;
    }
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            *skips = false;
            &bytes[end + 1..]
        }
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_line_goes_with_its_beginning() {
        let mut skips = false;
        assert_eq!(without_cut_line(b"one\ntwo\n", &mut skips), b"one\ntwo\n");
        skips = true;
        assert_eq!(without_cut_line(b"", &mut skips), b"");
        assert_eq!(without_cut_line(b"still the same", &mut skips), b"");
        assert_eq!(without_cut_line(b" line\nanother\n", &mut skips), b"another\n");
        assert_eq!(without_cut_line(b"one\n", &mut skips), b"one\n");
    }

    #[test]
    fn what_is_read_begins_with_a_page() {
        let mut piece = Piece::default();
        for _ in 0..2 {
            let room = piece.room();
            assert_eq!((room.len(), room.as_ptr().addr() % ALIGNMENT), (PIECE, 0));
            room[PIECE - 1] = 1;
        }
    }
}
