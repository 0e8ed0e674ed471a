//! The asking side of einhorn: commands with their arguments, as a shell would split them, each answered by one message or,
//! as long as one says that it is to be waited, by more.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::connection::{Connection, Received};
use super::{Halt, print, printable};
use crate::ask::Shell;
use crate::error::{Code, Error, Result};
use crate::plan::ControlSpec;
use crate::sys::control::{connect, endpoint};
use crate::wire::einhorn::client::{greeting, parse_reply, request_line};
use crate::words;

/// How long a manager may take for a first answer; an upgrade may take as long as it likes to go on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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

/// What comes of a line.
#[derive(PartialEq)]
enum Next {
    GoOn,
    Quit,
}

fn converse(shell: &Shell) -> Result<(), Halt> {
    let stream = connect(&endpoint(&ControlSpec::Path(shell.socket.clone()), "")?)?;
    let mut talk = Conversation { connection: Connection::new(stream, None)?, requests: 0 };
    if let Some(commands) = &shell.execute {
        return talk.line(commands).map(drop);
    }
    let terminal = io::stdin().is_terminal();
    if terminal {
        talk.greet()?;
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
        if talk.line(&line)? == Next::Quit {
            return Ok(());
        }
    }
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
        let _ = write!(io::stderr(), "{}", lines(&message));
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
            print(&lines(&message))?;
            if !wait {
                return Ok(());
            }
            first = false;
        }
    }

    fn receive(&mut self, first: bool) -> Result<(String, bool), Halt> {
        self.connection.until(Instant::now().checked_add(ANSWER_TIMEOUT).filter(|_| first));
        match self.connection.receive()? {
            Received::Line(line) => Ok(parse_reply(&line)?),
            Received::End => Err(Error::failed("the manager closed the connection").into()),
            Received::TimedOut => {
                let message = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                Err(Error { code: Code::TimedOut, message }.into())
            }
        }
    }
}

/// A message, with the end of its last line, safe to be shown.
fn lines(message: &str) -> String {
    let lines: Vec<String> = message.trim_end_matches('\n').split('\n').map(printable).collect();
    format!("{}\n", lines.join("\n"))
}
