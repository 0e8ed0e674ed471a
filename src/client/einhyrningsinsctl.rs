//! The asking side of einhyrningsins: a greeting, then commands, each answered by one string.
//!
//! A command is a word, and its arguments follow after spaces. On a terminal there is a prompt; the end of the input is
//! the end of the shell.

use std::io::{self, Write};

use super::connection::Connection;
use super::shell::{self, Next, shown};
use super::{Halt, print};
use crate::ask::Shell;
use crate::error::{Code, Result};
use crate::wire::einhyrningsins::{parse_answer, request_line};

/// What the program exits with if it cannot reach its manager, or loses it.
const FAILED: u8 = 255;

/// Hands commands on to a manager and tells what it answers. The value is the exit code.
///
/// # Errors
/// Standard input or output that cannot be used.
pub fn einhyrningsinsctl(shell: &Shell) -> Result<u8> {
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
    let mut connection = shell::open(shell)?;
    ask(&mut connection, "ehlo")?;
    if let Some(command) = &shell.execute {
        return ask(&mut connection, command).and_then(|answer| print(&shown(&answer)));
    }
    if shell::is_interactive() {
        print("Commands go to the manager; try 'help'. Ctrl-D ends.\n")?;
    }
    shell::each_line(|line| {
        if !line.trim().is_empty() {
            print(&shown(&ask(&mut connection, line)?))?;
        }
        Ok(Next::GoOn)
    })
}

/// Gives one command, with its arguments, and waits for the answer.
fn ask(connection: &mut Connection, command: &str) -> Result<String, Halt> {
    let mut words = command.split_whitespace();
    connection.send(&request_line(words.next().unwrap_or_default(), &words.collect::<Vec<_>>()))?;
    Ok(parse_answer(&shell::answer(connection, false)?)?)
}
