//! The asking side of einhyrningsins: a greeting, then commands, each answered by one string.
//!
//! A command is a word, and its arguments follow after spaces. On a terminal there is a prompt; the end of the input is
//! the end of the shell.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::connection::{Connection, Received};
use super::{Halt, print, printable};
use crate::ask::Shell;
use crate::error::{Code, Error, Result};
use crate::plan::ControlSpec;
use crate::sys::control::{connect, endpoint};
use crate::wire::einhyrningsins::{parse_answer, request_line};

/// What the program exits with if it cannot reach its manager, or loses it.
const FAILED: u8 = 255;

/// How long a manager may take for an answer: none waits for anything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Hands commands on to a manager and tells what it answers. The value is the exit code.
///
/// # Errors
/// Standard input or output that cannot be used.
pub fn shell(shell: &Shell) -> Result<u8> {
    match converse(shell) {
        Ok(()) | Err(Halt::NobodyReads) => Ok(Code::Done.status()),
        Err(Halt::Told(code)) => Ok(code.status()),
        Err(Halt::Failed(error)) if error.code == Code::NotRunning => {
            let missing = format!(
                "Couldn't find control socket ({:?})\n\
                 Is the master process running? Do you need to tell me the correct socket path?\n",
                shell.socket
            );
            // The status tells the same to whoever does not read it.
            let _ = print(&missing);
            Ok(FAILED)
        }
        Err(Halt::Failed(error)) => {
            // As above.
            let _ = writeln!(io::stderr(), "einhyrningsinsctl: {error}");
            Ok(FAILED)
        }
    }
}

fn converse(shell: &Shell) -> Result<(), Halt> {
    let stream = connect(&endpoint(&ControlSpec::Path(shell.socket.clone()), "")?)?;
    let mut connection = Connection::new(stream, None)?;
    ask(&mut connection, "ehlo")?;
    if let Some(command) = &shell.execute {
        return ask(&mut connection, command).and_then(|answer| tell(&answer));
    }
    let terminal = io::stdin().is_terminal();
    if terminal {
        print("Commands go to the manager; try 'help'. Ctrl-D ends.\n")?;
    }
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
        if !line.trim().is_empty() {
            tell(&ask(&mut connection, &line)?)?;
        }
    }
}

/// Gives one command, with its arguments, and waits for the answer.
fn ask(connection: &mut Connection, command: &str) -> Result<String, Halt> {
    let mut words = command.split_whitespace();
    let request = request_line(words.next().unwrap_or_default(), &words.collect::<Vec<_>>());
    connection.until(Instant::now().checked_add(ANSWER_TIMEOUT));
    connection.send(&request)?;
    match connection.receive()? {
        Received::Line(line) => Ok(parse_answer(&line)?),
        Received::End => Err(Error::failed("the manager closed the connection").into()),
        Received::TimedOut => {
            let sentence = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
            Err(Error { code: Code::TimedOut, message: sentence }.into())
        }
    }
}

fn tell(answer: &str) -> Result<(), Halt> {
    let lines: Vec<String> = answer.trim_end().split('\n').map(printable).collect();
    print(&format!("{}\n", lines.join("\n")))
}
