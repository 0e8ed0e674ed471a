//! Cutting a stream of bytes into lines. Pure.

/// A line is handed on in pieces of at most so many bytes.
pub(super) const LINE_MAX: usize = 64 * 1024;

/// What has come of a line that has no end yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Its beginning.
    pub(super) line: Vec<u8>,
    /// What came before `line` was a piece of the same line.
    pub(super) cut: bool,
}

impl Lines {
    /// Hands on every line that is complete, and pieces of one that is too long.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut tell: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LINE_MAX - self.line.len();
            let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(room.min(bytes.len()));
            self.line.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken + usize::from(end.is_some())..];
            let full = self.line.len() == LINE_MAX;
            if full || (end.is_some() && !(self.cut && self.line.is_empty())) {
                tell(&self.line);
                self.line.clear();
            }
            self.cut = end.is_none() && (self.cut || full);
        }
    }

    /// Hands on a last line that has no end.
    pub(super) fn end(&mut self, tell: impl FnOnce(&[u8])) {
        if !self.line.is_empty() {
            tell(&self.line);
            self.line = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut lines = Lines::default();
        let mut told = Vec::new();
        for piece in pieces {
            lines.take(piece, |line| told.push(line.to_vec()));
        }
        (told, lines.line)
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
