//! The command line of einhyrningsinsctl 0.2.0. Pure.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Outcome;
use super::einhyrningsins::{SOCKET, misused};
use super::getopts::{self, Opt};
use crate::ask::Shell;
use crate::error::Result;
use crate::values;

const USAGE: &str = "
usage:  einhyrningsinsctl [options]

Options:
    -h, --help          show this text
        --version       show the version of einhyrningsins that this is in the manner of
    -e, --execute CMD   give this command, with its arguments, instead of reading commands
    -d, --socket-path PATH
                        control socket of the manager (/tmp/einhorn.sock)

This is remuda: see einhyrningsinsctl(1).
";

/// Names an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Help,
    Version,
    Execute,
    SocketPath,
}

const OPTIONS: [Opt<Id>; 4] = [
    Opt::flag(Id::Help, Some('h'), "help"),
    Opt::flag(Id::Version, None, "version"),
    Opt::with_value(Id::Execute, Some('e'), "execute"),
    Opt::with_value(Id::SocketPath, Some('d'), "socket-path"),
];

/// Reads the words after the program's name. What is wrong with them comes back as [`Outcome::Refuse`].
pub(super) fn parse(words: Vec<OsString>) -> Result<Outcome> {
    let words = match getopts::read(words, &OPTIONS) {
        Ok(words) => words,
        Err(complaint) => return Ok(misused(&complaint, USAGE)),
    };
    let given = |wanted: Id| words.options.iter().any(|(id, _)| *id == wanted);
    if given(Id::Help) {
        return Ok(Outcome::Print(USAGE.to_owned()));
    }
    if given(Id::Version) {
        return Ok(Outcome::Print("einhyrningsinsctl 0.2.0\n".to_owned()));
    }
    if let Some(word) = words.free.first() {
        let complaint = format!("Unexpected word '{}': a command follows after -e", word.display());
        return Ok(misused(&complaint, USAGE));
    }
    let mut shell = Shell { socket: PathBuf::from(SOCKET), execute: None };
    for (id, value) in words.options {
        let taken = match id {
            Id::Execute => values::text(&value)
                .map(|command| shell.execute = Some(command.to_owned()))
                .map_err(|error| error.within("--execute")),
            Id::SocketPath => values::socket_path(value)
                .map(|path| shell.socket = path)
                .map_err(|error| error.within("--socket-path")),
            // Answered before.
            Id::Help | Id::Version => Ok(()),
        };
        if let Err(error) = taken {
            return Ok(misused(&error.message, USAGE));
        }
    }
    Ok(Outcome::Shell(shell))
}

#[cfg(test)]
mod tests {
    use super::super::Refusal;
    use super::*;

    fn outcome(words: &[&str]) -> Outcome {
        parse(words.iter().map(OsString::from).collect()).unwrap()
    }

    fn shell(socket: &str, execute: Option<&str>) -> Outcome {
        Outcome::Shell(Shell { socket: socket.into(), execute: execute.map(str::to_owned) })
    }

    #[test]
    fn every_option_is_in_the_help() {
        for option in &OPTIONS {
            assert!(USAGE.contains(&format!("--{}", option.long)), "{}", option.long);
        }
    }

    #[test]
    fn a_command_may_have_arguments() {
        assert_eq!(outcome(&[]), shell(SOCKET, None));
        assert_eq!(outcome(&["-e", "signal USR1"]), shell(SOCKET, Some("signal USR1")));
        assert_eq!(outcome(&["-d", "/run/e", "--execute=inc"]), shell("/run/e", Some("inc")));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_usage() {
        for (words, complaint) in [
            (&["-Z"][..], "Unrecognized option: 'Z'"),
            (&["-e"], "Argument to option 'e' missing"),
            (&["status"], "Unexpected word 'status'"),
            (&["-d", ""], "--socket-path: the path is empty"),
        ] {
            let Outcome::Refuse(Refusal { page, status: 255, .. }) = outcome(words) else {
                panic!("{words:?} is not refused");
            };
            assert!(page.starts_with(complaint) && page.ends_with(USAGE), "{page}");
        }
    }
}
