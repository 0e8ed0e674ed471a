//! What the shells of other programs have in common: commands are lines of standard input, with a prompt on a terminal,
//! and each is answered in time.

use std::io::{self, BufRead, IsTerminal};
use std::time::{Duration, Instant};

use super::connection::{Connection, Received};
use super::{Halt, print, printable};
use crate::ask::Shell;
use crate::error::{Code, Error};
use crate::plan::ControlSpec;
use crate::sys::control::{connect, endpoint};

/// How long a manager may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether more lines are wanted.
#[derive(PartialEq)]
pub(super) enum Next {
    GoOn,
    Quit,
}

/// Connects to the manager.
pub(super) fn open(shell: &Shell) -> Result<Connection, Halt> {
    let stream = connect(&endpoint(&ControlSpec::Path(shell.socket.clone()), "")?)?;
    Ok(Connection::new(stream, None)?)
}

/// Whether somebody types the commands.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Hands over line after line, until no more are wanted or there are none.
pub(super) fn each_line(mut give: impl FnMut(&str) -> Result<Next, Halt>) -> Result<(), Halt> {
    let terminal = is_interactive();
    let mut input = io::stdin().lock();
    let mut line = String::new();
    loop {
        if terminal {
            print("> ")?;
        }
        line.clear();
        let length = input
            .read_line(&mut line)
            .map_err(|error| Error::failed(format!("cannot read standard input: {error}")))?;
        if length == 0 {
            return if terminal { print("\n") } else { Ok(()) };
        }
        if give(&line)? == Next::Quit {
            return Ok(());
        }
    }
}

/// The next line that the manager answers, in time unless it `may_last`.
pub(super) fn answer(connection: &mut Connection, may_last: bool) -> Result<Vec<u8>, Halt> {
    connection.until(Instant::now().checked_add(ANSWER_TIMEOUT).filter(|_| !may_last));
    match connection.receive()? {
        Received::Line(line) => Ok(line),
        Received::End => Err(Error::failed("the manager closed the connection").into()),
        Received::TimedOut => {
            let message = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
            Err(Error { code: Code::TimedOut, message }.into())
        }
    }
}

/// What a manager says, with the end of its last line and nothing in it that would steer a terminal.
pub(super) fn shown(text: &str) -> String {
    let lines: Vec<String> = text.trim_end_matches('\n').split('\n').map(printable).collect();
    format!("{}\n", lines.join("\n"))
}
