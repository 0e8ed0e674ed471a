//! Reading one YAML document that somebody sent, within limits of ours. Pure.
//!
//! The parser hands over events, not values, so that nothing is built before it was allowed: a value has at most
//! [`DEPTH_MAX`] levels, [`NODES_MAX`] nodes and [`BYTES_MAX`] bytes of text. Tags are refused, but for those that mean a
//! string; an alias of a scalar is its copy, any other is refused, so that nothing multiplies.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// Most nodes.
const NODES_MAX: usize = 4096;

/// Most text of all scalars together, in bytes.
const BYTES_MAX: usize = 256 * 1024;

/// A value. What a scalar means depends on who asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    /// Text, and whether it stood without quotes: then it may be a number or nothing at all.
    Scalar { text: String, plain: bool },
    /// `- a`, `[a]`.
    List(Vec<Yaml>),
    /// `a: b`, `{a: b}`, in their order.
    Map(Vec<(Yaml, Yaml)>),
}

impl Yaml {
    /// A text in quotes.
    pub(super) fn quoted(text: &str) -> Yaml {
        Yaml::Scalar { text: text.to_owned(), plain: false }
    }

    /// A word without quotes.
    pub(super) fn plain(text: &str) -> Yaml {
        Yaml::Scalar { text: text.to_owned(), plain: true }
    }

    /// The value of a key; that of the last one, where it is there twice. A symbol is as good as a string.
    pub(super) fn get(&self, name: &str) -> Option<&Yaml> {
        let Yaml::Map(entries) = self else { return None };
        let named = |key: &Yaml| {
            matches!(key, Yaml::Scalar { text, plain }
                if text == name || (*plain && text.strip_prefix(':') == Some(name)))
        };
        entries.iter().rev().find(|(key, _)| named(key)).map(|(_, value)| value)
    }

    /// Nothing: absent, `~`, `null`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Yaml::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Nothing, or a plain `false` in any of its spellings.
    pub(super) fn is_falsy(&self) -> bool {
        self.is_nothing()
            || matches!(self, Yaml::Scalar { text, plain: true }
                if ["false", "no", "off"].contains(&text.to_ascii_lowercase().as_str()))
    }

    /// The text of a scalar that is a string, and no number or the like.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Yaml::Scalar { text, plain } if !plain || !is_special(text) => Some(text),
            Yaml::Scalar { .. } | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    /// A whole number.
    pub(super) fn as_integer(&self) -> Option<i64> {
        match self {
            Yaml::Scalar { text, plain: true } => integer(text),
            Yaml::Scalar { .. } | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }
}

/// A whole number as Ruby reads it: `12`, `+12`, `1_000`, `1,000`, `0x1f`.
fn integer(text: &str) -> Option<i64> {
    let digits = text.replace(['_', ','], "");
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hexadecimal, 16).ok().filter(|_| !hexadecimal.starts_with(['+', '-']));
    }
    text.ends_with(|last: char| last.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a word without quotes is something else than a string: a number, a truth, nothing, a date.
pub(super) fn is_special(text: &str) -> bool {
    const WORDS: [&str; 9] = ["", "~", "null", "true", "false", "yes", "no", "on", "off"];
    let date = |text: &str| {
        let parts: Vec<&str> = text.split([' ', 'T']).next().unwrap_or_default().split('-').collect();
        let digits = |part: &&str, length: std::ops::RangeInclusive<usize>| {
            length.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        matches!(&parts[..], [y, m, d] if digits(y, 4..=4) && digits(m, 1..=2) && digits(d, 1..=2))
    };
    let number = |text: &str| {
        let begins = text.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit());
        let plain = text.replace(['_', ','], "");
        begins && (integer(text).is_some() || plain.parse::<f64>().is_ok() || is_sexagesimal(text))
    };
    WORDS.contains(&text.to_ascii_lowercase().as_str())
        || number(text)
        || date(text)
        || [".inf", "-.inf", "+.inf", ".nan"].contains(&text.to_ascii_lowercase().as_str())
}

/// `12:30:45`, a number to base 60.
fn is_sexagesimal(text: &str) -> bool {
    text.contains(':')
        && text
            .trim_start_matches(['+', '-'])
            .split(':')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// Why a text is no value. What is wrong with it is nobody's business but the sender's, who is told that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Reads the first document in `text`.
///
/// # Errors
/// It is no YAML, or above a limit, or has a tag.
pub(super) fn read(text: &str) -> Result<Yaml, Unreadable> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0, bytes: 0 };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::Nothing | Event::DocumentStart(_) => {}
            Event::StreamEnd | Event::DocumentEnd => return Err(Unreadable),
            first => {
                let value = reader.node(first, 0)?;
                // What stands below it belongs to it, or is wrong.
                return match reader.next()? {
                    Event::DocumentEnd | Event::StreamEnd => Ok(value),
                    _ => Err(Unreadable),
                };
            }
        }
    }
}

struct Reader<'input> {
    parser: Parser<'input, StrInput<'input>>,
    /// Scalars that have a name.
    anchors: BTreeMap<usize, Yaml>,
    nodes: usize,
    bytes: usize,
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<Event<'input>, Unreadable> {
        match self.parser.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(_)) | None => Err(Unreadable),
        }
    }

    /// The value that begins with this event.
    fn node(&mut self, first: Event<'input>, depth: usize) -> Result<Yaml, Unreadable> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            return Err(Unreadable);
        }
        match first {
            Event::Scalar(text, style, anchor, tag) => {
                let string = is_string(tag.as_deref())?;
                let plain = style == ScalarStyle::Plain && !string;
                let value = Yaml::Scalar { text: text.into_owned(), plain };
                if anchor != 0 {
                    self.anchors.insert(anchor, value.clone());
                }
                self.count(value)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned().ok_or(Unreadable)?;
                self.count(value)
            }
            Event::SequenceStart(_, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Yaml::List(items)),
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, None) => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Yaml::Map(entries)),
                        event => self.node(event, depth + 1)?,
                    };
                    let event = self.next()?;
                    entries.push((key, self.node(event, depth + 1)?));
                }
            }
            _ => Err(Unreadable),
        }
    }

    fn count(&mut self, value: Yaml) -> Result<Yaml, Unreadable> {
        if let Yaml::Scalar { text, .. } = &value {
            self.bytes += text.len();
        }
        if self.bytes > BYTES_MAX { Err(Unreadable) } else { Ok(value) }
    }
}

/// Whether a tag says that this is a string; any other is refused.
fn is_string(tag: Option<&Tag>) -> Result<bool, Unreadable> {
    let Some(tag) = tag else { return Ok(false) };
    let known = (tag.is_yaml_core_schema() && tag.suffix == "str")
        || (tag.handle == "!" && ["ruby/symbol", "ruby/sym", ""].contains(&tag.suffix.as_str()))
        || (tag.handle.is_empty() && tag.suffix == "!");
    if known { Ok(true) } else { Err(Unreadable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Yaml) -> String {
        match value {
            Yaml::Scalar { text, plain: true } => text.clone(),
            Yaml::Scalar { text, plain: false } => format!("{text:?}"),
            Yaml::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
            Yaml::Map(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{}: {}", shown(key), shown(value))).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    #[test]
    fn every_form_that_clients_write_is_read() {
        for (text, value) in [
            (
                "---\nid: 1\ncommand: signal\nargs:\n- TERM\n- a b\n- 100%\n- \":sym\"\n- '5'\n",
                r#"{id: 1, command: signal, args: [TERM, a b, 100%, ":sym", "5"]}"#,
            ),
            ("---\nid: 1\nargs: []\n", "{id: 1, args: []}"),
            ("command: worker:ack\npid: 1234\n", "{command: worker:ack, pid: 1234}"),
            (r#"{"command": "worker:ack", "pid": 12}"#, r#"{"command": "worker:ack", "pid": 12}"#),
            (r#"{"command":"worker:ack","pid":123}"#, r#"{"command": "worker:ack", "pid": 123}"#),
            (r#"{"a":"\u002b\n\/"}"#, r#"{"a": "+\n/"}"#),
            ("---\nrequest_id: |-\n  req-1%\n  2\n", r#"{request_id: "req-1%\n2"}"#),
            ("a: |\n  x\n  y\nb: |+\n  z\n\nc: >\n  f\n  g\n", r#"{a: "x\ny\n", b: "z\n\n", c: "f g\n"}"#),
            ("a:\n  - 1\n  -   2 # more\n...\n", "{a: [1, 2]}"),
            ("{a: [b, c],\n d: 'it''s'}", r#"{a: [b, c], d: "it's"}"#),
            ("a: one\n  two", "{a: one two}"),
            ("a: &x v\nb: *x", "{a: v, b: v}"),
            ("a: !ruby/symbol b", r#"{a: "b"}"#),
            ("a: b\r", "{a: b}"),
        ] {
            let read = read(text).unwrap_or_else(|Unreadable| panic!("{text:?}"));
            assert_eq!(shown(&read), value, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_value_or_too_much_of_one_is_refused() {
        let bomb: String = (1..10).fold("a0: &a0 [x, x]\n".to_owned(), |bomb, n| {
            format!("{bomb}a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1)
        });
        let deep = "[".repeat(65_536);
        let closed = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let steps = "- ".repeat(30_000);
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(60_000), "*a, ".repeat(1000));
        let many = format!("[{}]", "1, ".repeat(5000));
        for text in [
            "",
            "# nothing",
            "{",
            "a: [b",
            "\"",
            "*x",
            "a: *b",
            "a: b: c",
            "--- !ruby/object:Object {}",
            "a: !!int 5",
            "!!python/object:x {}",
            "&a [*a]",
            "%FOO",
            "\0",
            "a: b\n- c",
            &bomb,
            &deep,
            &closed,
            &steps,
            &long,
            &many,
        ] {
            let head: String = text.chars().take(40).collect();
            assert_eq!(read(text), Err(Unreadable), "{head:?}");
        }
    }

    #[test]
    fn words_without_quotes_are_what_ruby_takes_them_for() {
        for special in
            ["1", "-5", "1_000", "0x1f", "1.5", "1e3", "true", "No", "~", "", "null", "2020-01-01", "12:30"]
        {
            assert!(is_special(special), "{special}");
        }
        for text in ["a", "1a", "v1.2", "1.2.3", "true story", "12-30", "-", ".", "e3", "inf", "nan", "+"] {
            assert!(!is_special(text), "{text}");
        }
        assert_eq!(Yaml::plain("1_000").as_integer(), Some(1000));
        assert_eq!(Yaml::quoted("5").as_integer(), None);
        assert!(
            Yaml::plain("off").is_falsy() && !Yaml::quoted("off").is_falsy() && !Yaml::plain("0").is_falsy()
        );
    }
}
