//! Writing log lines without ever blocking: what cannot be written at once is kept, up to a limit, and written when there
//! is room. A line beyond the limit is dropped and counted, and the next one that is not is preceded by a line that says
//! how many are missing.
//!
//! Lines of workers are another matter: they are not to be lost. [`LineLog::queue`] takes any of them; whoever has more
//! waits until it [has room](LineLog::has_room) again, and lets workers wait meanwhile.
//!
//! How it is written without blocking is the business of [`Outlet`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::outlet::{Outlet, is_passing};

/// Longest line, newline included: PIPE_BUF of Linux. A pipe takes that much in one piece or not at all.
const LINE_MAX: usize = 4096;

/// With so many bytes waiting to be written, no more are asked for.
const QUEUE_MAX: usize = 64 * 1024;

/// With so many of them a line that is not asked for is dropped: there is room for some where workers have to wait.
const KEPT_MAX: usize = 2 * QUEUE_MAX;

/// Lines to standard error.
pub type StderrLog = LineLog<io::Stderr>;

/// Lines to a descriptor that others use as well.
pub struct LineLog<F: AsFd> {
    outlet: Outlet<F>,
    notice: fn(u64) -> String,
    dropped: u64,
    /// Those of `dropped` that no line has told of.
    untold: u64,
    /// What is not written yet.
    queue: Vec<u8>,
}

impl LineLog<io::Stderr> {
    /// Lines to standard error. `notice` makes the line that tells of so many missing ones.
    pub fn new(notice: fn(u64) -> String) -> StderrLog {
        LineLog::to(io::stderr(), notice)
    }
}

impl<F: AsFd> LineLog<F> {
    fn to(target: F, notice: fn(u64) -> String) -> LineLog<F> {
        LineLog { outlet: Outlet::to(target), notice, dropped: 0, untold: 0, queue: Vec::new() }
    }

    /// Writes a line, given without its newline, or keeps it for [`LineLog::flush`], or drops it where too much is kept. Of
    /// a line that is too long only the beginning is written.
    pub fn line(&mut self, line: &str) {
        // A line is never written ahead of the notice of those before it.
        if !self.tell_missing() || !self.put(line) {
            self.lose(1);
        }
    }

    /// Writes what is queued, as far as that can be done at once, and after it the notice of missing lines. True if no
    /// line is left untold.
    pub fn tell_missing(&mut self) -> bool {
        self.flush();
        if self.untold > 0 {
            let notice = (self.notice)(self.untold);
            if self.put(&notice) {
                self.untold = 0;
            }
        }
        self.untold == 0
    }

    /// Writes a line of any length, given without its newline, as far as that can be done at once, and keeps the rest for
    /// [`LineLog::flush`]. Ask [`LineLog::has_room`] first: a line is taken in any case.
    pub fn queue(&mut self, line: &[u8]) {
        if self.untold > 0 {
            let notice = (self.notice)(self.untold);
            self.untold = 0;
            self.enqueue(notice.as_bytes());
        }
        self.enqueue(line);
        self.flush();
    }

    /// What waits to be written.
    pub fn queued(&self) -> &[u8] {
        &self.queue
    }

    /// Goes on with what another log of the same target had [queued](LineLog::queued).
    pub fn restore(&mut self, queued: Vec<u8>) {
        self.queue = queued;
    }

    /// Whether what waits to be written is little.
    pub fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX
    }

    /// What to wait for, with room to write, before [`LineLog::flush`] can do anything; nothing if nothing is queued.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        (!self.queue.is_empty()).then(|| self.outlet.as_fd())
    }

    /// Writes what is queued, as far as that can be done at once. If it cannot be written at all, it is dropped and
    /// counted: those who wait for room would wait for ever.
    pub fn flush(&mut self) {
        let mut written = 0;
        while written < self.queue.len() {
            let rest = &self.queue[written..];
            // With room for that much, a pipe that we share takes it without waiting.
            let piece = &rest[..rest.len().min(LINE_MAX)];
            match self.outlet.write(piece) {
                Ok(count) if count > 0 => written += count,
                Err(error) if is_passing(&error) => break,
                Ok(_) | Err(_) => {
                    let lines = rest.split_inclusive(|&byte| byte == b'\n').count();
                    self.queue.clear();
                    return self.lose(lines as u64);
                }
            }
        }
        self.queue.drain(..written);
    }

    fn enqueue(&mut self, line: &[u8]) {
        self.queue.extend_from_slice(line);
        self.queue.push(b'\n');
    }

    fn lose(&mut self, lines: u64) {
        self.dropped += lines;
        self.untold += lines;
    }

    /// Whether there was room for the line.
    fn put(&mut self, line: &str) -> bool {
        let room = self.queue.len() < KEPT_MAX;
        if room {
            let end = (0..=line.len().min(LINE_MAX - 1)).rev().find(|&end| line.is_char_boundary(end));
            self.enqueue(&line.as_bytes()[..end.unwrap_or(0)]);
            self.flush();
        }
        room
    }

    /// How many lines were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{self, OFlag};

    use super::*;

    /// A target that is put aside for another.
    fn spare() -> OwnedFd {
        io::pipe().unwrap().1.into()
    }

    fn notice(missing: u64) -> String {
        format!("{missing} lines missing")
    }

    fn is_nonblocking(target: &impl AsFd) -> bool {
        let flags = fcntl::fcntl(target, fcntl::FcntlArg::F_GETFL).unwrap();
        OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
    }

    /// Reads what is there until nothing is kept any more.
    fn drain<F: AsFd>(log: &mut LineLog<F>, mut read: impl FnMut() -> Vec<u8>) -> Vec<u8> {
        let mut bytes = Vec::new();
        while log.waits_for().is_some() {
            bytes.extend(read());
            log.flush();
        }
        bytes
    }

    /// Writes lines as long as one piece of a pipe, until one is dropped, and tells how many were not.
    fn fill<F: AsFd>(log: &mut LineLog<F>) -> usize {
        (0..)
            .take_while(|n| {
                log.line(&format!("{n:0>4095}"));
                log.dropped() == 0
            })
            .count()
    }

    fn lines(bytes: Vec<u8>) -> Vec<String> {
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn emptied(reader: &mut PipeReader) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let count = reader.read(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    fn a_full_pipe_drops_and_counts(outlet: fn(OwnedFd) -> Outlet<OwnedFd>) {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = LineLog { outlet: outlet(writer.into()), ..LineLog::to(spare(), notice) };
        let written = fill(&mut log);
        assert!(written > 0);
        log.line("lost too");
        assert_eq!(log.dropped(), 2);
        assert!(!is_nonblocking(log.outlet.target()), "the shared description is as it was");

        let mut bytes = drain(&mut log, || emptied(&mut reader));
        log.line("heard");
        log.line("again");
        bytes.extend(drain(&mut log, || emptied(&mut reader)));
        assert_eq!(log.dropped(), 2);
        drop(log);
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(lines(bytes)[written..], ["2 lines missing", "heard", "again"]);
    }

    #[test]
    fn lines_to_a_full_pipe_are_kept_and_then_dropped_counted_and_told() {
        a_full_pipe_drops_and_counts(Outlet::to);
        a_full_pipe_drops_and_counts(Outlet::asking);
    }

    fn queued_lines_wait_for_room(outlet: fn(OwnedFd) -> Outlet<OwnedFd>) {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = LineLog { outlet: outlet(writer.into()), ..LineLog::to(spare(), notice) };
        let mut queued = 0;
        while log.has_room() {
            log.queue(format!("{queued:0>9999}").as_bytes());
            queued += 1;
        }
        log.line("behind the others");
        assert!(log.waits_for().is_some());
        let mut bytes = drain(&mut log, || emptied(&mut reader));
        drop(log);
        reader.read_to_end(&mut bytes).unwrap();
        let lines = lines(bytes);
        assert!(lines[..queued].iter().enumerate().all(|(n, line)| *line == format!("{n:0>9999}")));
        assert_eq!(lines[queued..], ["behind the others"]);
    }

    #[test]
    fn queued_lines_of_any_length_arrive_in_order() {
        queued_lines_wait_for_room(Outlet::to);
        queued_lines_wait_for_room(Outlet::asking);
    }

    #[test]
    fn what_is_queued_for_a_reader_that_is_gone_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let mut log = LineLog::to(OwnedFd::from(writer), notice);
        drop(reader);
        log.queue(b"lost");
        assert!(log.waits_for().is_none());
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn lines_to_a_full_socket_are_kept_and_then_dropped() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let mut log = LineLog::to(writer, notice);
        let written = fill(&mut log);
        assert!(!is_nonblocking(log.outlet.target()));
        let mut bytes = drain(&mut log, || {
            let mut bytes = vec![0; 1 << 20];
            let count = reader.read(&mut bytes).unwrap();
            bytes.truncate(count);
            bytes
        });
        drop(log);
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(lines(bytes).len(), written);
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_only() {
        let (reader, writer) = io::pipe().unwrap();
        let mut log = LineLog::to(OwnedFd::from(writer), notice);
        drop(reader);
        log.line("lost");
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn a_line_too_long_for_one_piece_is_cut_between_characters() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = LineLog::to(OwnedFd::from(writer), notice);
        log.line(&"é".repeat(LINE_MAX));
        log.line("next");
        drop(log);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let lines = lines(bytes);
        assert_eq!(lines[0].len(), LINE_MAX - 2, "an odd byte is left over");
        assert_eq!(lines[1..], ["next"]);
    }
}
