//! The last words of a worker: the end of what it has written to its standard error, for whoever asks why it ended.

/// Bytes that are kept of each worker that has written something.
const BYTES_MAX: usize = 2048;

/// Lines that are told.
const LINES_MAX: usize = 8;

/// The end of a stream.
#[derive(Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Something came before it.
    cut: bool,
}

impl Tail {
    /// Takes what comes next.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let fresh = &bytes[bytes.len().saturating_sub(BYTES_MAX)..];
        let surplus = (self.bytes.len() + fresh.len()).saturating_sub(BYTES_MAX);
        self.cut |= surplus > 0 || fresh.len() < bytes.len();
        self.bytes.drain(..surplus);
        self.bytes.extend_from_slice(fresh);
    }

    /// The last lines, without those that are empty; the first one is whole, unless it is the only one.
    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let mut lines: Vec<&str> = text.split('\n').map(str::trim_end).collect();
        if self.cut && lines.iter().skip(1).any(|line| !line.is_empty()) {
            lines.remove(0);
        }
        lines.retain(|line| !line.is_empty());
        let surplus = lines.len().saturating_sub(LINES_MAX);
        lines.drain(..surplus);
        lines.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&str]) -> Vec<String> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.push(piece.as_bytes());
        }
        tail.lines()
    }

    #[test]
    fn the_last_whole_lines_are_told() {
        assert_eq!(lines(&["one\n\ntw", "o\r\nthree"]), ["one", "two", "three"]);
        assert!(lines(&[]).is_empty());
        let long = "x".repeat(BYTES_MAX);
        assert_eq!(lines(&["lost\n", &long, "\nlast\n"]), ["last"]);
        assert_eq!(lines(&["lost\n", &long]), [long]);
        let many: String = (0..3000).map(|number| format!("{number}\n")).collect();
        assert_eq!(lines(&[&many]), (2992..3000).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
