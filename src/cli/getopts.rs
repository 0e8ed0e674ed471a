//! Command lines in the manner of getopts, up to the first free word, with the complaints of its Rust edition. Pure.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

/// One option of a program.
pub(super) struct Opt<I: 'static> {
    pub(super) id: I,
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    pub(super) takes_value: bool,
}

impl<I> Opt<I> {
    /// One without a value.
    pub(super) const fn flag(id: I, short: Option<char>, long: &'static str) -> Self {
        Opt { id, short, long, takes_value: false }
    }

    /// One with a value.
    pub(super) const fn with_value(id: I, short: Option<char>, long: &'static str) -> Self {
        Opt { id, short, long, takes_value: true }
    }
}

/// What a command line holds.
#[derive(Debug, PartialEq)]
pub(super) struct Words<I> {
    /// The options in their order, each with its value, which is empty where it has none.
    pub(super) options: Vec<(I, OsString)>,
    /// The first word that is no option, and everything after it. A `--` before it is left out.
    pub(super) free: Vec<OsString>,
}

/// Reads the words after a program's name.
///
/// # Errors
/// A sentence about the first option that is wrong.
pub(super) fn read<I: Copy>(words: Vec<OsString>, table: &[Opt<I>]) -> Result<Words<I>, String> {
    let mut parser = Parser::from_args(words);
    let mut options = Vec::new();
    while let Some(arg) = parser.next().map_err(complaint)? {
        let (found, written) = match arg {
            Arg::Long(name) => (table.iter().find(|option| option.long == name), name.to_owned()),
            Arg::Short(letter) => {
                (table.iter().find(|option| option.short == Some(letter)), letter.to_string())
            }
            Arg::Value(first) => {
                let rest = parser.raw_args().map_err(complaint)?;
                return Ok(Words { options, free: [first].into_iter().chain(rest).collect() });
            }
        };
        let option = found.ok_or_else(|| format!("Unrecognized option: '{written}'"))?;
        let value = if option.takes_value {
            parser.value().map_err(|_| format!("Argument to option '{written}' missing"))?
        } else {
            OsString::new()
        };
        options.push((option.id, value));
    }
    Ok(Words { options, free: Vec::new() })
}

fn complaint(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => {
            format!("Option '{}' does not take an argument", option.trim_start_matches('-'))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Opt<char>; 2] =
        [Opt::flag('v', Some('v'), "verbose"), Opt::with_value('n', Some('n'), "number")];

    fn words(line: &str) -> Result<Words<char>, String> {
        read(line.split_whitespace().map(OsString::from).collect(), &TABLE)
    }

    #[test]
    fn options_end_at_the_first_free_word_or_at_two_dashes() {
        for (line, options, free) in [
            ("", "", ""),
            ("-v prog -n x", "v", "prog -n x"),
            ("-vn3 -- prog -- -v", "v n3", "prog -- -v"),
            ("--number=3 --number 4 prog", "n3 n4", "prog"),
            ("-n -v prog --verbose", "n-v", "prog --verbose"),
            ("prog -- x", "", "prog -- x"),
            ("--", "", ""),
        ] {
            let read = words(line).unwrap();
            let shown = |(id, value): &(char, OsString)| format!("{id}{}", value.display());
            assert_eq!(read.options.iter().map(shown).collect::<Vec<_>>().join(" "), options, "{line}");
            let free: Vec<OsString> = free.split_whitespace().map(OsString::from).collect();
            assert_eq!(read.free, free, "{line}");
        }
    }

    #[test]
    fn complaints_are_those_of_getopts() {
        for (line, complaint) in [
            ("-Z", "Unrecognized option: 'Z'"),
            ("-vZ", "Unrecognized option: 'Z'"),
            ("--zed=1", "Unrecognized option: 'zed'"),
            ("-n", "Argument to option 'n' missing"),
            ("-v --number", "Argument to option 'number' missing"),
            ("--verbose=yes", "Option 'verbose' does not take an argument"),
        ] {
            assert_eq!(words(line).unwrap_err(), complaint, "{line}");
        }
    }
}
