//! What workers write, where that goes into the manager's log: a pipe each, read until nobody holds its writing end, cut
//! into lines.
//!
//! A pipe is read only while the log has room for more; a worker that writes faster waits, as it would on any pipe, and
//! nothing is lost. Lines outlive their worker: what it, or whoever has its pipe after it, wrote last is still read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::{clock, stream};

/// A line is handed on in pieces of at most so many bytes.
const LINE_MAX: usize = 64 * 1024;

/// Bytes taken from one pipe at a time.
const PIECE: usize = 64 * 1024;

/// Bytes taken from one pipe when the manager ends: as much as the largest pipe holds that anybody may make. Somebody who
/// still writes then cannot keep the manager from ending.
const LAST_BYTES: usize = 1 << 20;

/// How long the manager waits at its end, in milliseconds, for a log that takes nothing more.
const LAST_WAIT: u64 = 2_000;

/// The pipes of a manager's workers.
#[derive(Default)]
pub(super) struct Outputs {
    pipes: Vec<Pipe>,
}

/// One pipe, which many processes may write to.
struct Pipe {
    /// Whose it was first.
    pid: i32,
    reader: OwnedFd,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// What came before `line` was a piece of the same line.
    cut: bool,
}

/// A pipe on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct PipeState {
    pid: i32,
    reader: i32,
    #[serde(default, with = "crate::octets")]
    line: Vec<u8>,
    #[serde(default)]
    cut: bool,
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

impl Outputs {
    /// What another image of the manager needs to go on reading.
    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> Vec<PipeState> {
        let state = |pipe: &Pipe| PipeState {
            pid: pipe.pid,
            reader: keeper.keep(pipe.reader.as_fd()),
            line: pipe.line.clone(),
            cut: pipe.cut,
        };
        self.pipes.iter().map(state).collect()
    }

    /// The pipes of the image before this one.
    pub(super) fn take_over(state: Vec<PipeState>, inherited: &mut Inherited) -> io::Result<Outputs> {
        let pipe = |state: PipeState| {
            let reader = inherited.claim(state.reader)?;
            Ok(Pipe { pid: state.pid, reader, line: state.line, cut: state.cut })
        };
        Ok(Outputs { pipes: state.into_iter().map(pipe).collect::<io::Result<Vec<Pipe>>>()? })
    }

    /// Reads from here on what the worker `pid` writes.
    pub(super) fn follow(&mut self, pid: i32, reader: OwnedFd) {
        self.pipes.push(Pipe { pid, reader, line: Vec::new(), cut: false });
    }

    /// Puts the pipes into the poll set, if the log has room for what they hold.
    pub(super) fn watch(&self, poll: &mut PollSet, journal: &Journal) -> Option<usize> {
        if !journal.has_room() {
            return None;
        }
        let mut first = None;
        for pipe in &self.pipes {
            let at = poll.add(pipe.reader.as_fd(), Interest::READ);
            first.get_or_insert(at);
        }
        first
    }

    /// Reads once each pipe that has something.
    pub(super) fn heard(&mut self, poll: &PollSet, first: Option<usize>, journal: &mut Journal) {
        let Some(first) = first else { return };
        let mut at = first;
        self.pipes.retain_mut(|pipe| {
            let readable = poll.readable(at);
            at += 1;
            !readable || !journal.has_room() || pipe.read(journal) != After::Over
        });
    }

    /// Reads what is there, so that it is told before the death of whoever wrote it.
    pub(super) fn catch_up(&mut self, journal: &mut Journal) {
        self.pipes.retain_mut(|pipe| {
            let mut left = LAST_BYTES;
            pipe.read_on(&mut left, journal) != After::Over
        });
    }

    /// Reads what is left when nobody will read any more, and waits until the log has it or takes nothing more.
    pub(super) fn finish(&mut self, journal: &mut Journal) {
        let mut left = vec![LAST_BYTES; self.pipes.len()];
        let mut poll = PollSet::new();
        loop {
            let mut more = false;
            for (pipe, left) in self.pipes.iter_mut().zip(&mut left) {
                more |= pipe.read_on(left, journal) == After::More && *left > 0;
            }
            if !more {
                for pipe in &mut self.pipes {
                    pipe.end(journal);
                }
            }
            poll.clear();
            let Some(log) = journal.waits_for() else {
                if more {
                    continue;
                }
                return;
            };
            let at = poll.add(log, Interest::WRITE);
            let waited = poll.wait(Some(clock::now_ms() + LAST_WAIT));
            if waited.is_err() || !poll.writable(at) {
                return;
            }
            journal.flush();
        }
    }
}

impl Pipe {
    /// Reads until there is nothing, or `left` is used up, or the log has no room.
    fn read_on(&mut self, left: &mut usize, journal: &mut Journal) -> After {
        while *left > 0 && journal.has_room() {
            let after = self.read(journal);
            if after != After::More {
                return after;
            }
            *left = left.saturating_sub(PIECE);
        }
        After::More
    }

    /// Reads once.
    fn read(&mut self, journal: &mut Journal) -> After {
        let mut piece = [0; PIECE];
        match stream::read(&self.reader, &mut piece) {
            Ok(0) => {
                self.end(journal);
                After::Over
            }
            Ok(count) => {
                self.take(&piece[..count], |pid, line| journal.output(pid, line));
                After::More
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => After::Quiet,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => After::More,
            Err(error) => {
                journal.complain(&format!("cannot read the output of pid {}: {error}", self.pid));
                self.end(journal);
                After::Over
            }
        }
    }

    /// Hands on every line that is complete, and pieces of one that is too long.
    fn take(&mut self, mut bytes: &[u8], mut tell: impl FnMut(i32, &[u8])) {
        while !bytes.is_empty() {
            let room = LINE_MAX - self.line.len();
            let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(room.min(bytes.len()));
            self.line.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken + usize::from(end.is_some())..];
            let full = self.line.len() == LINE_MAX;
            if full || (end.is_some() && !(self.cut && self.line.is_empty())) {
                tell(self.pid, &self.line);
                self.line.clear();
            }
            self.cut = end.is_none() && (self.cut || full);
        }
    }

    /// Hands on a last line that has no end.
    fn end(&mut self, journal: &mut Journal) {
        if !self.line.is_empty() {
            journal.output(self.pid, &self.line);
            self.line = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (reader, _writer) = stream::pipe().unwrap();
        let mut pipe = Pipe { pid: 7, reader, line: Vec::new(), cut: false };
        let mut told = Vec::new();
        for piece in pieces {
            pipe.take(piece, |pid, line| {
                assert_eq!(pid, 7);
                told.push(line.to_vec());
            });
        }
        (told, pipe.line)
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let (told, rest) = lines(&[b"one\ntw", b"o\n\n", b"thr", b"ee"]);
        assert_eq!(told, [&b"one"[..], b"two", b""]);
        assert_eq!(rest, b"three");
    }

    #[test]
    fn a_line_without_end_is_handed_on_in_pieces() {
        let long = vec![b'x'; 2 * LINE_MAX + 5];
        let (told, rest) = lines(&[&long[..9], &long[9..], b"\nnext\n"]);
        let lengths: Vec<usize> = told.iter().map(Vec::len).collect();
        assert_eq!(lengths, [LINE_MAX, LINE_MAX, 5, 4]);
        assert!(rest.is_empty());
        // A line that is exactly as long as a piece has its end in the next.
        let (told, _) = lines(&[&long[..LINE_MAX], b"\n\n"]);
        assert_eq!(told.len(), 2);
    }
}
