//! What is wrong with a file, and where. Pure.

use std::fmt;

use crate::error::Error;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Table and key, `web.numprocesses`; absent where the text is no TOML.
    pub key: Option<String>,
    /// What is wrong there, and what would be right.
    pub message: String,
    /// The group that it is wrong with; absent where it is the whole file, or the manager's own table.
    pub group: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Something wrong at a byte of the text; who finds it need not know the key.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) why: String,
}

impl Wrong {
    pub(super) fn new(at: usize, why: impl Into<String>) -> Wrong {
        Wrong { at, why: why.into() }
    }

    /// What a parser of values has to say about a value that begins at `at`.
    pub(super) fn value(at: usize) -> impl Fn(Error) -> Wrong {
        move |error| Wrong { at, why: error.message }
    }
}

impl From<Wrong> for Vec<Wrong> {
    fn from(wrong: Wrong) -> Self {
        vec![wrong]
    }
}

/// What the file has is quoted in messages; it shall not spread them over lines or talk to a terminal.
fn on_one_line(text: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Everything wrong with one text.
pub(super) struct Faults<'a> {
    text: &'a str,
    found: Vec<(usize, Fault)>,
    /// The group that is being read.
    group: Option<String>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Faults { text, found: Vec::new(), group: None }
    }

    /// What is found from here on is wrong with this group.
    pub(super) fn about(&mut self, group: Option<&str>) {
        self.group = group.map(str::to_owned);
    }

    /// Nothing that is wrong with one group is in the way of the others.
    pub(super) fn spare_others(&self) -> bool {
        self.found.iter().all(|(_, fault)| fault.group.is_some())
    }

    /// Whether something is wrong with a group.
    pub(super) fn spoil(&self, group: &str) -> bool {
        self.found.iter().any(|(_, fault)| fault.group.as_deref() == Some(group))
    }

    pub(super) fn add(&mut self, key: Option<&str>, wrong: Wrong) {
        let (line, column) = self.place(wrong.at);
        let (key, message) = (key.map(on_one_line), on_one_line(&wrong.why));
        let fault = Fault { line, column, key, message, group: self.group.clone() };
        self.found.push((wrong.at, fault));
    }

    pub(super) fn add_all(&mut self, key: &str, wrongs: Vec<Wrong>) {
        for wrong in wrongs {
            self.add(Some(key), wrong);
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of the text. Where it is no TOML, what else was found on the same line is not told: it may be a
    /// consequence.
    pub(super) fn into_list(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|(at, _)| *at);
        let list: Vec<Fault> = self.found.into_iter().map(|(_, fault)| fault).collect();
        let broken: Vec<usize> =
            list.iter().filter(|fault| fault.key.is_none()).map(|fault| fault.line).collect();
        list.into_iter().filter(|fault| fault.key.is_none() || !broken.contains(&fault.line)).collect()
    }

    /// Line and column of a byte.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        // The first byte of each character is no continuation byte.
        let column = before[begin..].iter().filter(|&&byte| byte & 0xc0 != 0x80).count() + 1;
        (line, column)
    }
}
