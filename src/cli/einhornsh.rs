//! The command line of einhornsh 1.1.1. Pure, but for where temporary files are.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::einhorn::{file_name, temporary_directory};
use super::getopts::Opt;
use super::optparse::{self, Stop};
use super::{Outcome, Refusal, Stream};
use crate::ask::Shell;
use crate::error::Result;

const USAGE: &str = "\
## Usage

einhornsh [options] [cmd_name]

Options:
    -h, --help                       show this text
    -c, --command-name NAME          talk to the einhorn of this name
    -d, --socket-path PATH           talk to the einhorn at this control socket ($TMPDIR/einhorn.sock)
    -e, --execute CMD                give these commands, with ; between them, instead of reading commands

This is remuda: see einhornsh(1).
";

/// Names an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Help,
    CommandName,
    SocketPath,
    Execute,
}

const OPTIONS: [Opt<Id>; 4] = [
    Opt::flag(Id::Help, Some('h'), "help"),
    Opt::with_value(Id::CommandName, Some('c'), "command-name"),
    Opt::with_value(Id::SocketPath, Some('d'), "socket-path"),
    Opt::with_value(Id::Execute, Some('e'), "execute"),
];

fn refused(page: String) -> Outcome {
    Outcome::Refuse(Refusal { page, stream: Stream::Error, status: 1 })
}

/// Reads the words after the program's name. What is wrong with them comes back as [`Outcome::Refuse`].
pub(super) fn parse(words: Vec<OsString>) -> Result<Outcome> {
    let (mut name, mut socket, mut execute) = (None, None, None);
    let read = optparse::read(words, &OPTIONS, |id, value| {
        match id {
            Id::Help => return Err(Stop::Done(Box::new(Outcome::Print(USAGE.to_owned())))),
            Id::CommandName => name = Some(value),
            Id::SocketPath => socket = Some(PathBuf::from(value)),
            Id::Execute => match value.into_string() {
                Ok(commands) => execute = Some(commands),
                Err(value) => return Err(Stop::Wrong(format!("'{}' is not UTF-8", value.display()))),
            },
        }
        Ok(())
    });
    let mut free = match read {
        Ok(free) => free.into_iter(),
        Err(Stop::Done(outcome)) => return Ok(*outcome),
        Err(Stop::Wrong(sentence)) => return Ok(refused(format!("einhornsh: {sentence}\n"))),
    };
    let given = free.next().or(name);
    if free.next().is_some() {
        return Ok(refused(USAGE.to_owned()));
    }
    let default = || temporary_directory().join(file_name(given.as_deref().map(OsStr::new), "sock"));
    Ok(Outcome::Einhornsh(Shell { socket: socket.unwrap_or_else(default), execute }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Shell {
        match parse(line.split_whitespace().map(OsString::from).collect()).unwrap() {
            Outcome::Einhornsh(shell) => shell,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_manager_is_found_by_name_or_by_path() {
        let at = |file: &str| temporary_directory().join(file);
        assert_eq!(shell("").socket, at("einhorn.sock"));
        assert_eq!(shell("web").socket, at("einhorn-web.sock"));
        assert_eq!(shell("-c web").socket, at("einhorn-web.sock"));
        assert_eq!(shell("--comm web -d /run/e.sock -e upgrade").socket, PathBuf::from("/run/e.sock"));
        assert_eq!(shell("-e upgrade").execute.as_deref(), Some("upgrade"));
    }

    #[test]
    fn every_option_is_in_the_help_and_too_many_words_lead_there() {
        for option in &OPTIONS {
            assert!(USAGE.contains(&format!("--{}", option.long)), "{}", option.long);
        }
        assert_eq!(parse(vec!["-h".into()]).unwrap(), Outcome::Print(USAGE.to_owned()));
        assert_eq!(parse(vec!["a".into(), "b".into()]).unwrap(), refused(USAGE.to_owned()));
        let wrong = parse(vec!["-z".into()]).unwrap();
        assert_eq!(wrong, refused("einhornsh: invalid option: -z\n".into()));
    }
}
