//! The asking side of einhorn: commands with their arguments, as a shell would split them, each answered by one message or,
//! as long as one says that it is to be waited, by more.

use std::io::{self, Write};

use super::connection::Connection;
use super::shell::{self, Next, shown};
use super::{Halt, print};
use crate::ask::Shell;
use crate::error::{Code, Result};
use crate::wire::einhorn::client::{greeting, parse_reply, request_line};
use crate::words;

/// Hands commands on to a manager and tells what it answers. The value is the exit code.
///
/// # Errors
/// Standard input or output that cannot be used.
pub fn einhornsh(shell: &Shell) -> Result<u8> {
    let failed = |sentence: &str| {
        // The status tells the same to whoever does not read it.
        let _ = writeln!(io::stderr(), "{sentence}");
        Ok(Code::Failed.status())
    };
    match converse(shell) {
        Ok(()) | Err(Halt::NobodyReads) => Ok(Code::Done.status()),
        Err(Halt::Told(code)) => Ok(code.status()),
        Err(Halt::Failed(error)) if error.code == Code::NotRunning => failed(&format!(
            "Couldn't find an Einhorn at {:?}: {error}\nIs it running? Do you need -c or -d?",
            shell.socket
        )),
        Err(Halt::Failed(error)) => failed(&format!("einhornsh: {error}")),
    }
}

fn converse(shell: &Shell) -> Result<(), Halt> {
    let mut talk = Conversation { connection: shell::open(shell)?, requests: 0 };
    if let Some(commands) = &shell.execute {
        return talk.line(commands).map(drop);
    }
    if shell::is_interactive() {
        talk.greet()?;
    }
    shell::each_line(|line| talk.line(line))
}

struct Conversation {
    connection: Connection,
    requests: u64,
}

impl Conversation {
    /// Says who is there; what the manager says stands apart from answers.
    fn greet(&mut self) -> Result<(), Halt> {
        let user = std::env::var("USER").unwrap_or_default();
        self.connection.send(&greeting(&user))?;
        let (message, _) = self.receive(true)?;
        // On a terminal nobody else reads it.
        let _ = write!(io::stderr(), "{}", shown(&message));
        Ok(())
    }

    /// Gives the commands of a line, one after the other.
    fn line(&mut self, line: &str) -> Result<Next, Halt> {
        for piece in line.split(';') {
            let Some(words) = words::of_shell(piece) else {
                // The next line may be better.
                let _ = writeln!(io::stderr(), "einhornsh: a quote is not closed: {}", piece.trim());
                continue;
            };
            match words.split_first() {
                None => {}
                Some((quit, _)) if quit == "quit" || quit == "exit" => return Ok(Next::Quit),
                Some((command, args)) => self.ask(command, args)?,
            }
        }
        Ok(Next::GoOn)
    }

    /// Gives one command and tells all that is answered.
    fn ask(&mut self, command: &str, args: &[String]) -> Result<(), Halt> {
        self.requests += 1;
        self.connection.send(&request_line(self.requests, command, args))?;
        let mut first = true;
        loop {
            let (message, wait) = self.receive(first)?;
            print(&shown(&message))?;
            if !wait {
                return Ok(());
            }
            first = false;
        }
    }

    /// The first answer comes in time; then it may last.
    fn receive(&mut self, first: bool) -> Result<(String, bool), Halt> {
        Ok(parse_reply(&shell::answer(&mut self.connection, !first)?)?)
    }
}
