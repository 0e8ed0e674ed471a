//! The asking side of firestarter: one request, its answer as people read it, and an exit code that tells whether it was
//! done.

use std::time::Duration;

use super::connection::{Connection, Received};
use super::{Halt, print};
use crate::ask::{Ctrl, CtrlVerb};
use crate::error::{Code, Error, Result};
use crate::plan::{ControlSpec, firestarter_socket};
use crate::sys::control::{connect, endpoint};
use crate::wire::firestarter::{Answer, Command, Names, Order, Outcome, Request, Scope, line, parse_answer};

/// How long a manager that said that it stops may take to be gone.
const EXIT_TIME: Duration = Duration::from_secs(5);

/// Asks a manager and tells what it answers. The value is the exit code.
///
/// # Errors
/// That no manager answers, or what kept it from answering.
pub fn ctrl(ctrl: &Ctrl) -> Result<u8> {
    match converse(ctrl) {
        Ok(()) | Err(Halt::NobodyReads) => Ok(Code::Done.status()),
        Err(Halt::Told(code)) => Ok(code.status()),
        Err(Halt::Failed(error)) => Err(error),
    }
}

fn converse(ctrl: &Ctrl) -> Result<(), Halt> {
    let variable = |name: &str| std::env::var_os(name);
    let socket = ctrl.socket.clone().unwrap_or_else(|| firestarter_socket(variable, "control"));
    let mut connection = Connection::new(connect(&endpoint(&ControlSpec::Path(socket), "")?)?, None)?;
    connection.send(&line(&request(&ctrl.verb)?))?;
    let answer = match connection.receive()? {
        Received::Line(answer) => parse_answer(&answer)?,
        Received::End | Received::TimedOut => {
            return Err(Error::failed("the manager closed the connection without an answer").into());
        }
    };
    match (answer, &ctrl.verb) {
        (crate::wire::firestarter::Received::Names(Names { workers, .. }), _) => {
            print(&format!("worker names:\n{}\n", lines(&workers)))
        }
        (crate::wire::firestarter::Received::Answers(answers), verb) => {
            if let CtrlVerb::Group { name, command, .. } = verb {
                print(&format!("send ctrl command [{command}] to [{name}] worker\n"))?;
            }
            let messages: Vec<&str> = answers.iter().map(|answer| answer.message.as_str()).collect();
            print(&lines(&messages))?;
            if answers.iter().any(|Answer { status, .. }| *status == Outcome::Error) {
                return Err(Halt::Told(Code::Failed));
            }
            if *verb == CtrlVerb::Stop {
                // Then its sockets are free again.
                connection.until_end(EXIT_TIME)?;
            }
            Ok(())
        }
    }
}

fn request(verb: &CtrlVerb) -> Result<Request> {
    let pid = std::process::id();
    let order = |command, signal| Order { command, pid, signal };
    let (command_type, worker, command) = match verb {
        CtrlVerb::List => (Scope::List, None, None),
        CtrlVerb::Status => (Scope::Status, None, Some(order(Command::Status, None))),
        CtrlVerb::Stop => (Scope::Stop, None, Some(order(Command::Stop, None))),
        CtrlVerb::Group { name, command, signal } => {
            let command = Command::of_worker(command)
                .ok_or_else(|| Error::usage(format!("there is no command '{command}'")))?;
            (Scope::CtrlWorker, Some(name.clone()), Some(order(command, signal.clone())))
        }
    };
    Ok(Request { command_type, worker, command, pid })
}

/// Each of them on a line of its own, with nothing in it that would steer a terminal.
fn lines(texts: &[impl AsRef<str>]) -> String {
    let lines = texts.iter().flat_map(|text| text.as_ref().split('\n'));
    lines.map(|line| super::printable(line) + "\n").collect()
}
