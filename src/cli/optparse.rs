//! Command lines in the manner of Ruby's OptionParser, up to the first free word: long options may be abbreviated, values
//! may begin with a dash, and each option takes effect where it stands. Pure.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

use super::Outcome;
use super::getopts::Opt;

/// Why the rest of a line is not read.
#[derive(Debug, PartialEq)]
pub(super) enum Stop {
    /// A sentence about what is wrong.
    Wrong(String),
    /// An option is all there is to do.
    Done(Box<Outcome>),
}

/// Reads the words after a program's name, hands options over one by one, and returns the free words. A `--` before them is
/// left out.
///
/// # Errors
/// The first option that is wrong, or that ends the line.
pub(super) fn read<I: Copy>(
    words: Vec<OsString>,
    table: &[Opt<I>],
    mut take: impl FnMut(I, OsString) -> Result<(), Stop>,
) -> Result<Vec<OsString>, Stop> {
    let mut parser = Parser::from_args(words);
    while let Some(arg) = parser.next().map_err(wrong)? {
        let (option, written) = match arg {
            Arg::Long(name) => (by_prefix(table, name)?, format!("--{name}")),
            Arg::Short(letter) => {
                let option = table.iter().find(|option| option.short == Some(letter));
                let written = format!("-{letter}");
                (option.ok_or_else(|| Stop::Wrong(format!("invalid option: {written}")))?, written)
            }
            Arg::Value(first) => {
                let rest = parser.raw_args().map_err(wrong)?;
                return Ok([first].into_iter().chain(rest).collect());
            }
        };
        let value = if option.takes_value {
            parser.value().map_err(|_| Stop::Wrong(format!("missing argument: {written}")))?
        } else {
            OsString::new()
        };
        take(option.id, value)?;
    }
    Ok(Vec::new())
}

/// The one option of this name, or the only one whose name begins so.
fn by_prefix<'a, I>(table: &'a [Opt<I>], name: &str) -> Result<&'a Opt<I>, Stop> {
    if let Some(exact) = table.iter().find(|option| option.long == name) {
        return Ok(exact);
    }
    let mut near = table.iter().filter(|option| option.long.starts_with(name));
    match (near.next(), near.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Stop::Wrong(format!("ambiguous option: --{name}"))),
        (None, _) => Err(Stop::Wrong(format!("invalid option: --{name}"))),
    }
}

fn wrong(error: lexopt::Error) -> Stop {
    Stop::Wrong(match error {
        lexopt::Error::UnexpectedValue { option, value } => {
            format!("needless argument: {option}={}", value.display())
        }
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Opt<char>; 4] = [
        Opt::flag('v', Some('v'), "verbose"),
        Opt::with_value('n', Some('n'), "number"),
        Opt::with_value('u', None, "max-unacked"),
        Opt::with_value('a', None, "max-upgrade-additional"),
    ];

    fn words(line: &str) -> Result<(String, Vec<OsString>), Stop> {
        let mut taken = Vec::new();
        let free = read(line.split_whitespace().map(OsString::from).collect(), &TABLE, |id, value| {
            taken.push(format!("{id}{}", value.display()));
            Ok(())
        })?;
        Ok((taken.join(" "), free))
    }

    #[test]
    fn options_may_be_bundled_and_abbreviated_and_take_what_follows() {
        for (line, options, free) in [
            ("prog -n x", "", "prog -n x"),
            ("-vn3 -- prog -- -v", "v n3", "prog -- -v"),
            ("--num 2 --max-un=7 --verb prog", "n2 u7 v", "prog"),
            ("-n -5 --number -- prog", "n-5 n--", "prog"),
        ] {
            let free: Vec<OsString> = free.split_whitespace().map(OsString::from).collect();
            assert_eq!(words(line), Ok((options.to_owned(), free)), "{line}");
        }
    }

    #[test]
    fn complaints_are_those_of_option_parser() {
        for (line, complaint) in [
            ("-z", "invalid option: -z"),
            ("--zed", "invalid option: --zed"),
            ("--ma=1", "ambiguous option: --ma"),
            ("-n", "missing argument: -n"),
            ("--verbose=yes prog", "needless argument: --verbose=yes"),
        ] {
            assert_eq!(words(line), Err(Stop::Wrong(complaint.into())), "{line}");
        }
    }
}
