//! Bytes as they arrive, lines as they are meant.

use serde::{Deserialize, Serialize};

/// Above this a buffer that has become empty gives its memory back.
const KEEP: usize = 4 * 1024;

/// What was taken from a [`LineBuffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// One line, without its LF or CR LF.
    Complete(&'a [u8]),
    /// A line above the limit. Told once; after it there are no more lines.
    TooLong,
}

/// Cuts a stream into lines of bounded length: the half line at the end stays until the rest arrives. Each byte is
/// looked at once, however small the pieces are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Rest", into = "Rest")]
pub struct LineBuffer {
    /// What has arrived; lines before `start` were taken.
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// No LF between `start` and here.
    scanned: usize,
    /// Longest line, without its end.
    limit: usize,
    /// A line was too long: nothing that follows can be trusted to begin where a line begins.
    poisoned: bool,
}

/// A buffer on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
struct Rest {
    #[serde(with = "crate::octets")]
    half_line: Vec<u8>,
    limit: usize,
    #[serde(default)]
    poisoned: bool,
}

impl From<Rest> for LineBuffer {
    fn from(rest: Rest) -> Self {
        LineBuffer { bytes: rest.half_line, start: 0, scanned: 0, limit: rest.limit, poisoned: rest.poisoned }
    }
}

impl From<LineBuffer> for Rest {
    fn from(buffer: LineBuffer) -> Self {
        Rest { half_line: buffer.half_line().to_vec(), limit: buffer.limit, poisoned: buffer.poisoned }
    }
}

impl LineBuffer {
    /// A buffer for lines of at most `limit` bytes, their end not counted.
    pub fn new(limit: usize) -> Self {
        LineBuffer { bytes: Vec::new(), start: 0, scanned: 0, limit, poisoned: false }
    }

    /// Appends what has arrived. Take all lines before the next call: only then is memory bounded, by the limit and
    /// one piece.
    pub fn push(&mut self, piece: &[u8]) {
        if self.poisoned {
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
            if self.bytes.len() < KEEP {
                self.bytes.shrink_to(KEEP);
            }
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The next line, if all of it is here.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        if self.poisoned {
            return None;
        }
        let found = self.bytes[self.scanned..].iter().position(|&byte| byte == b'\n');
        let end = found.map_or(self.bytes.len(), |at| self.scanned + at);
        let text = without_cr(&self.bytes[self.start..end]);
        // Of a half line too the CR is not counted: it may belong to the end.
        if text.len() > self.limit {
            self.poisoned = true;
            self.clear();
            return Some(Line::TooLong);
        }
        let length = text.len();
        if found.is_none() {
            self.scanned = end;
            if self.start == end {
                self.clear();
            }
            return None;
        }
        let start = self.start;
        self.start = end + 1;
        self.scanned = end + 1;
        Some(Line::Complete(&self.bytes[start..start + length]))
    }

    /// At the end of the stream: a last line that has no end, if there is one. The buffer is empty afterwards.
    pub fn take_rest(&mut self) -> Option<Vec<u8>> {
        let rest = without_cr(&self.bytes[self.start..]).to_vec();
        self.clear();
        (!rest.is_empty()).then_some(rest)
    }

    /// Whether a line was too long, so that nothing more is to be expected.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// The half line that waits for its rest.
    pub fn half_line(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn clear(&mut self) {
        self.start = 0;
        self.scanned = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(buffer: &mut LineBuffer) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(line) = buffer.next_line() {
            told.push(match line {
                Line::Complete(text) => String::from_utf8_lossy(text).into_owned(),
                Line::TooLong => "TOO LONG".to_owned(),
            });
        }
        told
    }

    #[test]
    fn half_lines_are_kept_until_the_rest_arrives() {
        let mut buffer = LineBuffer::new(100);
        buffer.push(b"one\r\ntw");
        assert_eq!(lines(&mut buffer), ["one"]);
        assert_eq!(buffer.half_line(), b"tw");
        buffer.push(b"o\n\nthree");
        assert_eq!(lines(&mut buffer), ["two", ""]);
        assert_eq!(buffer.take_rest().as_deref(), Some(&b"three"[..]));
        assert_eq!(buffer.take_rest(), None);
    }

    #[test]
    fn the_pieces_do_not_matter() {
        let stream = b"a\n\nbcd\r\n\r\nefgh\nij\r";
        for size in 1..=stream.len() {
            let mut buffer = LineBuffer::new(4);
            let mut told = Vec::new();
            for piece in stream.chunks(size) {
                buffer.push(piece);
                told.extend(lines(&mut buffer));
            }
            assert_eq!(told, ["a", "", "bcd", "", "efgh"], "in pieces of {size}");
            assert_eq!(buffer.half_line(), b"ij\r");
        }
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_byte_more_is_told_once() {
        for end in ["\n", "\r\n"] {
            let mut buffer = LineBuffer::new(4);
            buffer.push(format!("1234{end}").as_bytes());
            assert_eq!(lines(&mut buffer), ["1234"]);
            buffer.push(format!("ok{end}12345{end}next{end}").as_bytes());
            assert_eq!(lines(&mut buffer), ["ok", "TOO LONG"]);
            assert!(buffer.is_poisoned());
            buffer.push(b"more\n");
            assert_eq!(lines(&mut buffer), [""; 0]);
            assert_eq!(buffer.take_rest(), None);
        }
    }

    #[test]
    fn a_line_without_end_is_too_long_before_its_end_arrives() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"1234\r");
        assert_eq!(lines(&mut buffer), [""; 0]);
        buffer.push(b"5");
        assert_eq!(lines(&mut buffer), ["TOO LONG"]);
    }

    #[test]
    fn memory_is_given_back_after_a_big_line() {
        let mut buffer = LineBuffer::new(1 << 20);
        buffer.push(&vec![b'x'; 1 << 19]);
        assert_eq!(lines(&mut buffer), [""; 0]);
        buffer.push(b"\n");
        assert_eq!(lines(&mut buffer).len(), 1);
        assert!(buffer.bytes.capacity() <= KEEP, "{}", buffer.bytes.capacity());
    }

    #[test]
    fn many_small_pieces_take_linear_time() {
        // 1 MiB byte by byte: quadratic scanning would need 10^12 steps.
        let mut buffer = LineBuffer::new(2 << 20);
        for _ in 0..1 << 20 {
            buffer.push(b"x");
            assert_eq!(buffer.next_line(), None);
        }
        assert_eq!(buffer.half_line().len(), 1 << 20);
    }
}
