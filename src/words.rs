//! Command lines in the groups file, split into words as firestarter does, with single quotes added. No shell is
//! involved. Pure.
//!
//! ```text
//! command  = words with ASCII white space between them, also line ends
//! word     = one part or more, adjacent: x" "y is the one word `x y`
//! part     = plain characters: ASCII, but no white space, no control character and none of " ' > < | ; { } $
//!          | "..." or '...'      as it stands: no escapes, nothing is expanded, may be empty or span lines
//!          | {}                  as it stands
//!          | $NAME               the value of a variable, which is not split again; NAME is [A-Za-z0-9_]+
//! ```
//!
//! Backslash is a plain character. What a shell would take for its own is refused instead of handed to the program.

use std::ffi::{OsStr, OsString};

/// Why a command line cannot be split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsplit {
    /// Where, in bytes from its beginning; a boundary of characters.
    pub at: usize,
    /// What is wrong there, and what would be right.
    pub why: String,
}

/// The words of a command line. `variable` gives the value of a variable that is set.
///
/// # Errors
/// The first thing in it that is none of the above, or a variable that is not set.
pub fn split<'v>(line: &str, variable: impl Fn(&str) -> Option<&'v OsStr>) -> Result<Vec<OsString>, Unsplit> {
    let mut words = Vec::new();
    let mut word: Option<OsString> = None;
    let mut at = 0;
    while let Some(first) = line[at..].chars().next() {
        if first.is_ascii_whitespace() {
            words.extend(word.take());
            at += 1;
            continue;
        }
        let rest = &line[at..];
        let (part, length) = part(rest, first, &variable).map_err(|why| Unsplit { at, why })?;
        word.get_or_insert_default().push(part);
        at += length;
    }
    words.extend(word);
    Ok(words)
}

/// Words as a shell splits them: single and double quotes, backslashes; nothing is expanded. `None` where a quote is not
/// closed.
pub fn of_shell(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match c {
            '\\' => word.extend(chars.next()),
            '\'' => loop {
                match chars.next()? {
                    '\'' => break,
                    inner => word.push(inner),
                }
            },
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => match chars.next()? {
                        escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                        other => word.extend(['\\', other]),
                    },
                    inner => word.push(inner),
                }
            },
            plain => word.push(plain),
        }
    }
    words.extend(word);
    Some(words)
}

/// The part that begins `rest`, and how many bytes it takes there.
fn part<'a, 'v: 'a>(
    rest: &'a str,
    first: char,
    variable: &impl Fn(&str) -> Option<&'v OsStr>,
) -> Result<(&'a OsStr, usize), String> {
    match first {
        quote @ ('"' | '\'') => {
            let inner = rest[1..].split_once(quote).map(|(inner, _)| inner);
            let inner = inner.ok_or_else(|| format!("this {quote} is not closed"))?;
            if inner.contains('\0') {
                return Err("a NUL byte is in the quotes".to_owned());
            }
            Ok((OsStr::new(inner), inner.len() + 2))
        }
        '$' => {
            let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let name = &rest[1..1 + rest[1..].bytes().take_while(|&byte| of_a_name(byte)).count()];
            if name.is_empty() {
                let braced = rest.starts_with("${");
                let hint = if braced { "write $NAME without braces" } else { "quote it if it is meant" };
                return Err(format!("no name of a variable follows this $ ({hint})"));
            }
            let value = variable(name).ok_or_else(|| format!("the variable {name} is not set"))?;
            Ok((value, 1 + name.len()))
        }
        '{' if rest.starts_with("{}") => Ok((OsStr::new("{}"), 2)),
        first if is_plain(first) => {
            let end = rest.find(|letter| !is_plain(letter)).unwrap_or(rest.len());
            Ok((OsStr::new(&rest[..end]), end))
        }
        '>' | '<' | '|' | ';' => {
            Err(format!("'{first}' means nothing without a shell: quote it, or run sh -c \"...\""))
        }
        '{' | '}' => Err(format!("'{first}' must be quoted")),
        other if other.is_ascii() => Err(format!("control character {:#04x}", u32::from(other))),
        other => Err(format!("'{other}' must be quoted, as everything that is not ASCII")),
    }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_graphic() && !"\"'><|;{}$".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<&'static OsStr> {
        match name {
            "HOME" => Some(OsStr::new("/home/me")),
            "TWO" => Some(OsStr::new("a b")),
            "EMPTY" => Some(OsStr::new("")),
            "A1_" => Some(OsStr::new("$HOME")),
            _ => None,
        }
    }

    #[test]
    fn splits_as_a_shell_does() {
        for (line, words) in [
            ("", &[][..]),
            ("  a  b\n", &["a", "b"]),
            ("signal 'a b' \"c d\" e\\ f", &["signal", "a b", "c d", "e f"]),
            (r#"a"b"'c' "" "\"\x" $HOME"#, &["abc", "", "\"\\x", "$HOME"]),
        ] {
            assert_eq!(of_shell(line).unwrap(), words, "{line}");
        }
        assert_eq!((of_shell("'a"), of_shell("a\"")), (None, None));
    }

    #[test]
    fn splits_as_firestarter_does() {
        for (line, words) in [
            ("", &[] as &[&str]),
            (" \t\r\n", &[]),
            ("server", &["server"]),
            ("  server  --port\t80\n-v ", &["server", "--port", "80", "-v"]),
            ("\"a b\" c", &["a b", "c"]),
            ("'a b' \"c'd\" 'e\"f'", &["a b", "c'd", "e\"f"]),
            ("x\" \"y", &["x y"]),
            ("x' 'y\"z\"", &["x yz"]),
            ("\"\"", &[""]),
            ("a '' b", &["a", "", "b"]),
            ("\"two\nlines\"", &["two\nlines"]),
            ("\"caf\u{e9} > $HOME\"", &["caf\u{e9} > $HOME"]),
            ("find {} a{}b", &["find", "{}", "a{}b"]),
            ("$HOME/bin/$TWO", &["/home/me/bin/a b"]),
            ("$EMPTY", &[""]),
            ("$A1_-x", &["$HOME-x"]),
            (r"a\ b \n", &[r"a\", "b", r"\n"]),
            ("--a=b,c:d@e#f%g&h*i?j!k~l`m^n[o](p)", &["--a=b,c:d@e#f%g&h*i?j!k~l`m^n[o](p)"]),
        ] {
            let split: Vec<OsString> = split(line, variable).unwrap();
            assert_eq!(split, words, "{line:?}");
        }
    }

    #[test]
    fn what_is_refused_is_told_with_its_place() {
        for (line, at, why) in [
            ("a \"b", 2, "this \" is not closed"),
            ("a'", 1, "this ' is not closed"),
            ("a | b", 2, "'|' means nothing without a shell: quote it, or run sh -c \"...\""),
            ("a;b", 1, "';' means nothing"),
            ("a > b", 2, "'>' means nothing"),
            ("a < b", 2, "'<' means nothing"),
            ("a {b}", 2, "'{' must be quoted"),
            ("a }", 2, "'}' must be quoted"),
            ("a $", 2, "no name of a variable follows this $ (quote it if it is meant)"),
            ("${HOME}", 0, "write $NAME without braces"),
            ("x $NOT_SET/y", 2, "the variable NOT_SET is not set"),
            ("a caf\u{e9}", 5, "'\u{e9}' must be quoted, as everything that is not ASCII"),
            ("\"\u{e9}\" \u{7f}", 5, "control character 0x7f"),
            ("a\u{1}", 1, "control character 0x01"),
            ("\"a\0b\"", 0, "a NUL byte is in the quotes"),
            ("a\u{b}b", 1, "control character 0x0b"),
        ] {
            let unsplit = split(line, variable).unwrap_err();
            assert_eq!(unsplit.at, at, "{line:?}");
            assert!(unsplit.why.contains(why), "{line:?}: {}", unsplit.why);
        }
    }
}
