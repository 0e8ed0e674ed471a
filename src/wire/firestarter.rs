//! The protocol of firestarter, both sides: a request and its answer are one line of JSON each, and then the connection
//! is closed. Pure.
//!
//! There are two kinds of socket. On the manager's a request says which group it is about, or that it is about all of
//! them; on that of a group stands the inner part of such a request alone. What cannot be understood, and an ack, is
//! answered by the end of the connection.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Account, Decoded, Deed, GroupState, GroupStatus, Reply, Status, Verb, WorkerPhase};
use crate::error::{Error, Result};
use crate::signame::Signal;

/// Signals that may be sent, as they are spelled.
pub const SIGNALS: [&str; 10] = [
    "SIGKILL", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGWINCH", "SIGTTIN", "SIGTTOU", "SIGUSR1",
    "SIGUSR2",
];

/// What is asked of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Nothing that it could do.
    #[serde(rename = "none")]
    None,
    /// Kill the workers; they stay away until `start`.
    #[serde(rename = "worker:killall")]
    KillAll,
    /// Start the workers that are missing.
    #[serde(rename = "worker:start")]
    Start,
    /// Stop the workers.
    #[serde(rename = "worker:stop")]
    Stop,
    /// Stop the workers, then start as many.
    #[serde(rename = "worker:restart")]
    Restart,
    /// Replace the workers by a new generation.
    #[serde(rename = "worker:upgrade")]
    Upgrade,
    /// A worker is ready.
    #[serde(rename = "worker:ack")]
    Ack,
    /// One worker more.
    #[serde(rename = "worker:inc")]
    Inc,
    /// One worker fewer.
    #[serde(rename = "worker:dec")]
    Dec,
    /// How things stand.
    #[serde(rename = "worker:status")]
    Status,
    /// Give the group up.
    #[serde(rename = "monitor:stop")]
    StopMonitor,
}

impl Command {
    /// The one that a person writes as this word: `upgrade`.
    pub fn of_worker(word: &str) -> Option<Command> {
        serde_json::from_value(Value::String(format!("worker:{word}"))).ok()
    }
}

/// A request on the socket of a group, and the inner part of one on that of the manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What is asked.
    pub command: Command,
    /// Of whoever asks. Not looked at: the kernel tells better.
    pub pid: u32,
    /// Sent to workers instead of the signal that is usual.
    #[serde(default)]
    pub signal: Option<String>,
}

/// Which groups a request on the manager's socket is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The names of all of them.
    List,
    /// All of them.
    Status,
    /// One of them.
    CtrlWorker,
    /// All of them, and the manager ends.
    Stop,
}

/// A request on the manager's socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Which groups.
    pub command_type: Scope,
    /// The name of the group, if it is one.
    #[serde(default)]
    pub worker: Option<String>,
    /// What is asked of it.
    #[serde(default)]
    pub command: Option<Order>,
    /// As in [`Order`].
    pub pid: u32,
}

/// The answer about one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub status: Outcome,
    /// What was asked; none if it was not done.
    pub command: Command,
    /// Of the manager.
    pub pid: i32,
    /// What was done, or why it was not, for people.
    pub message: String,
}

/// Whether something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was.
    Ok,
    /// It was not.
    Error,
}

/// The answer that names the groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Of the manager.
    pub pid: i32,
    /// In the order of the file.
    pub workers: Vec<String>,
}

/// What the manager's side of one connection remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firestarter {
    /// Of the manager.
    pid: i32,
    /// The group whose socket it is; the manager's if absent.
    group: Option<String>,
    talk: Talk,
}

/// How far the one request of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Talk {
    /// Nothing was said yet.
    Open,
    /// The core has it.
    Asked(Shape, Command),
    /// Nothing more is to be said, and the connection ends with the manager.
    Ending,
    /// Nothing more is to be said.
    Over,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Shape {
    /// Nothing.
    Silence,
    /// The names of the groups.
    Names,
    /// An answer for each of them.
    All,
    /// The same, and then the manager ends.
    End,
    /// One answer.
    One,
}

impl Firestarter {
    /// The codec of a new connection to the socket of this group, or of the manager.
    pub(super) fn new(pid: i32, group: Option<String>) -> Self {
        Firestarter { pid, group, talk: Talk::Open }
    }

    /// See [`super::Codec::decode`].
    pub(super) fn decode(&mut self, line: &[u8]) -> Decoded {
        if self.talk != Talk::Open {
            return Decoded::Nothing;
        }
        self.talk = Talk::Over;
        let understood = match &self.group {
            Some(group) => serde_json::from_slice::<Order>(line)
                .ok()
                .and_then(|order| meaning(Scope::CtrlWorker, Some(group.clone()), &order)),
            None => serde_json::from_slice::<Request>(line).ok().and_then(request),
        };
        match understood {
            Some(Meaning::Ask(shape, command, verb)) => {
                self.talk = Talk::Asked(shape, command);
                Decoded::Request { request: 1, verb }
            }
            Some(Meaning::Refuse(shape, sentence)) => {
                Decoded::Reply(self.lines(shape, vec![self.refusal(sentence)]))
            }
            None => Decoded::Nothing,
        }
    }

    /// See [`super::Codec::encode`].
    pub(super) fn encode(&mut self, reply: &Reply, last: bool, out: &mut Vec<u8>) {
        let Talk::Asked(shape, command) = self.talk else { return };
        if !last {
            // Nothing of this protocol has more than one answer.
            return;
        }
        let ends = shape == Shape::End && matches!(reply, Reply::Accounts(_));
        self.talk = if ends { Talk::Ending } else { Talk::Over };
        let bytes = match (shape, reply) {
            (Shape::Names, Reply::Status(status)) => {
                let workers = status.groups.iter().map(|group| group.name.clone()).collect();
                line(&Names { pid: self.pid, workers })
            }
            (_, Reply::Status(status)) => self.lines(shape, self.standing(status)),
            (_, Reply::Accounts(accounts)) => {
                self.lines(shape, accounts.iter().map(|account| self.told(command, account)).collect())
            }
            (_, Reply::Failed(_, why) | Reply::Rejected { error: why, .. }) => {
                self.lines(shape, vec![self.refusal(&format!("error: {why}"))])
            }
            (_, _) => self.lines(shape, vec![self.done(command, String::new())]),
        };
        out.extend(bytes);
    }

    /// See [`super::Codec::pending`].
    pub(super) fn pending(&self) -> usize {
        usize::from(matches!(self.talk, Talk::Asked(..)))
    }

    /// See [`super::Codec::is_over`].
    pub(super) fn is_over(&self) -> bool {
        self.talk == Talk::Over
    }

    fn done(&self, command: Command, message: String) -> Answer {
        Answer { status: Outcome::Ok, command, pid: self.pid, message }
    }

    fn refusal(&self, message: &str) -> Answer {
        Answer { status: Outcome::Error, command: Command::None, pid: self.pid, message: message.to_owned() }
    }

    fn standing(&self, status: &Status) -> Vec<Answer> {
        status.groups.iter().map(|group| self.done(Command::Status, standing(group))).collect()
    }

    fn told(&self, command: Command, account: &Account) -> Answer {
        if let Some(why) = &account.failure {
            return self.refusal(&format!("error: {why}"));
        }
        let Account { new, old, signal, .. } = account;
        let message = match command {
            Command::Start => format!("start processes pid {new:?}"),
            Command::Stop => format!("send signal SIG{signal} pid {old:?}"),
            Command::Restart => format!("restart processes new {new:?} old {old:?}"),
            Command::Upgrade => format!("upgrade processes new {new:?} old {old:?}"),
            Command::KillAll => format!("kill processes pid {old:?}"),
            Command::Inc => format!("increments worker process pid {new:?}"),
            Command::Dec if old.is_empty() => "decrements worker process pid [0]".to_owned(),
            Command::Dec => format!("decrements worker process pid {old:?}"),
            Command::StopMonitor => format!("stop monitor pid {}", self.pid),
            Command::None | Command::Ack | Command::Status => String::new(),
        };
        self.done(command, message)
    }

    fn lines(&self, shape: Shape, answers: Vec<Answer>) -> Vec<u8> {
        match shape {
            Shape::Silence => Vec::new(),
            Shape::All | Shape::End => line(&answers),
            Shape::One | Shape::Names => answers.first().map(line).unwrap_or_default(),
        }
    }
}

/// What a request comes to.
enum Meaning {
    Ask(Shape, Command, Verb),
    Refuse(Shape, &'static str),
}

fn request(request: Request) -> Option<Meaning> {
    let Request { command_type, worker, command, pid: _ } = request;
    match command_type {
        Scope::List => Some(Meaning::Ask(Shape::Names, Command::Status, Verb::Status(None))),
        Scope::Status | Scope::Stop => meaning(command_type, None, &command?),
        Scope::CtrlWorker => meaning(command_type, Some(worker?), &command?),
    }
}

fn meaning(scope: Scope, group: Option<String>, order: &Order) -> Option<Meaning> {
    let signal = match &order.signal {
        None => None,
        Some(name) if SIGNALS.contains(&name.as_str()) => Some(name.parse::<Signal>().ok()?),
        Some(_) => return None,
    };
    let shape = if scope == Scope::CtrlWorker { Shape::One } else { Shape::All };
    let command = order.command;
    let deed = match command {
        _ if scope == Scope::Stop => return Some(ask(Shape::End, Command::Stop, Deed::End, None, signal)),
        Command::None => return Some(Meaning::Refuse(shape, "not implement")),
        Command::Status => return Some(Meaning::Ask(shape, command, Verb::Status(group))),
        Command::Ack => return Some(Meaning::Ask(Shape::Silence, command, Verb::AckIn(group?, signal))),
        Command::KillAll => Deed::Kill,
        Command::Start => Deed::Start,
        Command::Stop | Command::StopMonitor => Deed::Stop,
        Command::Restart => Deed::Restart,
        Command::Upgrade => Deed::Upgrade,
        Command::Inc => Deed::Inc,
        Command::Dec => Deed::Dec,
    };
    Some(ask(shape, command, deed, group, signal))
}

fn ask(shape: Shape, command: Command, deed: Deed, group: Option<String>, signal: Option<Signal>) -> Meaning {
    Meaning::Ask(shape, command, Verb::Account(deed, group, signal))
}

/// How a group stands, for people.
fn standing(group: &GroupStatus) -> String {
    let stopping = group.state == GroupState::Stopping;
    let listed = |phase| stopping || matches!(phase, WorkerPhase::Starting | WorkerPhase::Ready);
    let workers = group.workers.iter().filter(|worker| listed(worker.phase) && worker.pid > 0);
    let pids: Vec<i32> = workers.map(|worker| worker.pid).collect();
    let state = if pids.is_empty() { "stopped" } else { "active" };
    let seconds = group.age_ms.unwrap_or(0) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("[{}] {state}\nprocesses {pids:?}\ntime {hours:02}:{minutes:02}:{seconds:02}", group.name)
}

/// One line of JSON, with its end.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = super::native::to_json(value).into_bytes();
    line.push(b'\n');
    line
}

/// What a manager answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// To [`Scope::List`].
    Names(Names),
    /// To everything else: an answer a group.
    Answers(Vec<Answer>),
}

/// Reads an answer, given without its end.
///
/// # Errors
/// That it is none: whoever answers speaks something else.
pub fn parse_answer(line: &[u8]) -> Result<Received> {
    let odd = |error: &dyn fmt::Display| Error::failed(format!("cannot read the manager's answer: {error}"));
    let value: Value = serde_json::from_slice(line).map_err(|error| odd(&error))?;
    let read = if value.is_array() {
        serde_json::from_value(value).map(Received::Answers)
    } else if value.get("workers").is_some() {
        serde_json::from_value(value).map(Received::Names)
    } else {
        serde_json::from_value(value).map(|answer| Received::Answers(vec![answer]))
    };
    read.map_err(|error| odd(&error))
}
