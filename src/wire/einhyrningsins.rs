//! The protocol of einhyrningsins, both sides: a request is a JSON object a line, `{"command":C,"args":[...],"pid":N}`,
//! its answer one JSON string a line. Pure.
//!
//! Requests have no ids, so that answers come in the order of the requests: one that is known at once waits for those
//! before it. No answer waits for an upgrade or a stop to end; it says that it has begun.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Decoded, GroupStatus, PENDING_MAX, REQUEST_LINE_MAX, Reply, Scale, Status, Verb, Wait};
use crate::duration::Human;
use crate::error::{Error, Result};
use crate::signame::Signal;

/// The release whose answers these are, as the answer to `version` has it.
const VERSION: &str = "einhyrningsinsctl 0.2.0";

const HELP: &str = "\
Commands:

    inc             one worker more
    dec             one worker fewer; without any left, the manager ends
    upgrade         start new workers, stop each old one when its successor is up
    die             stop all workers gracefully, then end
    signal SIG      send SIG to all workers: HUP INT TERM TTIN TTOU KILL USR1 USR2 STOP CONT
    status          show all workers
    help            show this text
    version         show the version of the protocol
";

const NO_COMMAND: &str = "Missing or unhandled 'command'";
const NO_SIGNAL: &str = "Missing or unhandled 'signal'";
const NO_JSON: &str = "Expected valid JSON!";
const NOBODY: &str = "No live workers to shutdown! :(";

/// Signals that may be sent, in the spelling that begins with `SIG`.
const SIGNALS: [&str; 10] = [
    "SIGHUP", "SIGINT", "SIGTERM", "SIGTTIN", "SIGTTOU", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGSTOP",
    "SIGCONT",
];

/// What the manager's side of one connection remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Einhyrningsins {
    /// Requests so far; the number of the latest.
    requests: u64,
    /// Answers that are not out yet, oldest first.
    queue: VecDeque<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Entry {
    /// The core has it.
    Asked(u64, Asked),
    /// A whole line, which waits for those before it.
    Answered(Vec<u8>),
}

/// What a request was, as far as its answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Asked {
    Status,
    Inc,
    Dec,
    Upgrade,
    Die,
    Signal,
    /// Of the worker that asks.
    Ack,
    /// Of a worker that is named.
    AckOf,
}

/// What one line asks for.
enum Order {
    Ask(Asked, Verb),
    Say(&'static str),
}

impl Einhyrningsins {
    /// See [`super::Codec::decode`].
    pub(super) fn decode(&mut self, line: &[u8]) -> Decoded {
        let text = line.trim_ascii();
        if text.is_empty() {
            return Decoded::Nothing;
        }
        if self.queue.len() >= PENDING_MAX {
            return Decoded::Reply(say("Too many requests are waiting"));
        }
        match order(text) {
            Order::Ask(asked, verb) => {
                self.requests += 1;
                self.queue.push_back(Entry::Asked(self.requests, asked));
                Decoded::Request { request: self.requests, verb }
            }
            Order::Say(sentence) if self.queue.is_empty() => Decoded::Reply(say(sentence)),
            Order::Say(sentence) => {
                self.queue.push_back(Entry::Answered(say(sentence)));
                Decoded::Nothing
            }
        }
    }

    /// See [`super::Codec::encode`].
    pub(super) fn encode(&mut self, request: u64, reply: &Reply, last: bool, out: &mut Vec<u8>) {
        if !last {
            // Nothing of this protocol has more than one answer.
            return;
        }
        for entry in &mut self.queue {
            if let Entry::Asked(number, asked) = *entry
                && number == request
            {
                *entry = Entry::Answered(say(&sentence(asked, reply)));
            }
        }
        while let Some(Entry::Answered(line)) = self.queue.front() {
            out.extend(line);
            self.queue.pop_front();
        }
    }

    /// See [`super::Codec::pending`].
    pub(super) fn pending(&self) -> usize {
        self.queue.len()
    }
}

/// The answer to a line above [`REQUEST_LINE_MAX`].
pub(super) fn too_long() -> Vec<u8> {
    say(&format!("Line is longer than {REQUEST_LINE_MAX} bytes: closing the connection"))
}

/// The answer to a connection for which there is no room.
pub(super) fn crowded(connections: usize) -> Vec<u8> {
    say(&format!("{connections} connections wait for answers: no room for another"))
}

/// One answer, with its end.
fn say(sentence: &str) -> Vec<u8> {
    let mut line = json!(sentence).to_string().into_bytes();
    line.push(b'\n');
    line
}

fn order(text: &[u8]) -> Order {
    let Ok(request) = serde_json::from_slice::<Value>(text) else { return Order::Say(NO_JSON) };
    let ask = Order::Ask;
    match request["command"].as_str() {
        Some("ehlo") => Order::Say("Hi there!"),
        Some("help") => Order::Say(HELP),
        Some("version") => Order::Say(VERSION),
        Some("status") => ask(Asked::Status, Verb::Status(None)),
        Some("inc") => ask(Asked::Inc, Verb::Scale(None, Scale::Up(1), Wait::No)),
        Some("dec") => ask(Asked::Dec, Verb::Scale(None, Scale::Down(1), Wait::No)),
        Some("upgrade") => ask(Asked::Upgrade, Verb::Upgrade(None, Wait::No)),
        Some("die") => ask(Asked::Die, Verb::Stop(None, Wait::No)),
        Some("signal") => match request["args"][0].as_str().and_then(signal) {
            Some(signal) => ask(Asked::Signal, Verb::Signal(None, signal)),
            None => Order::Say(NO_SIGNAL),
        },
        Some("worker:ack") => match pid(&request["pid"]) {
            Some(None) => ask(Asked::Ack, Verb::Ack(None)),
            Some(pid) => ask(Asked::AckOf, Verb::Ack(pid)),
            None => Order::Say("Missing or unhandled 'pid'"),
        },
        Some(_) | None => Order::Say(NO_COMMAND),
    }
}

/// `SIGUSR1`, `USR1` or `usr1`.
fn signal(name: &str) -> Option<Signal> {
    let whole = SIGNALS.into_iter().find(|known| {
        let short = &known[3..];
        name == *known || name == short || name == short.to_ascii_lowercase()
    })?;
    whole.parse().ok()
}

/// The inner `None` is whoever asks: no pid, or 0. The outer one is no pid at all.
fn pid(value: &Value) -> Option<Option<i32>> {
    let number = match value {
        Value::Null => return Some(None),
        Value::String(digits) => digits.parse().ok()?,
        other => other.as_i64()?,
    };
    match i32::try_from(number).ok()? {
        0 => Some(None),
        pid if pid > 0 => Some(Some(pid)),
        _ => None,
    }
}

fn sentence(asked: Asked, reply: &Reply) -> String {
    match (asked, reply) {
        // The ancestor asks nobody whose pid it is.
        (Asked::AckOf, _) => "Acknowledged!".to_owned(),
        // Workers of a manager that stops are on their way out, all of them.
        (Asked::Dec, Reply::Failed(..)) => NOBODY.to_owned(),
        (_, Reply::Failed(_, sentence)) => sentence.clone(),
        (_, Reply::Rejected { error, .. }) => error.clone(),
        (_, Reply::Changes { message, .. }) => message.clone(),
        (_, Reply::Status(status)) => show(status),
        (Asked::Inc, Reply::Scaled { from, to, .. }) => format!("Spawned! Went from {from} to {to}"),
        (Asked::Dec, Reply::Scaled { from: 0, to: 0, .. }) => "Already at count=0, no-op".to_owned(),
        (Asked::Dec, Reply::Scaled { from, to, .. }) => format!("Notified! Went from {from} to {to}"),
        (Asked::Upgrade, _) => "Upgrading all children!".to_owned(),
        (Asked::Die, _) => "Sent shutdown to all children!".to_owned(),
        (Asked::Signal, _) => "Signalled all children!".to_owned(),
        (Asked::Ack, _) => "Acknowledged!".to_owned(),
        (_, Reply::Done(sentence) | Reply::Version(sentence) | Reply::Scaled { message: sentence, .. }) => {
            sentence.clone()
        }
        // Nothing of this protocol asks for it.
        (_, Reply::Accounts(_)) => String::new(),
        (_, Reply::Event(note)) => note.what.to_string(),
        (_, Reply::Level(level)) => level.name().to_owned(),
        // Nothing of this protocol asks for it.
        (_, Reply::Inspection(_)) => String::new(),
    }
}

/// How things stand, for people: a line for the manager, one for each socket, one for each worker.
fn show(status: &Status) -> String {
    let up = Human(Duration::from_secs(status.uptime_ms / 1000));
    let mut text = format!("{}: pid {}, up {up}", status.name, status.pid);
    for group in &status.groups {
        show_group(&mut text, group);
    }
    text
}

fn show_group(text: &mut String, group: &GroupStatus) {
    let ready = group.workers.iter().filter(|worker| worker.phase.name() == "ready").count();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n{}: {ready} ready, {} wanted, generation {}",
        group.state.name(),
        group.target,
        group.generation
    );
    for socket in &group.sockets {
        let _ = write!(text, "\nsocket {}", socket.address);
    }
    for worker in &group.workers {
        let since = Human(Duration::from_secs(worker.since_ms / 1000));
        let _ = write!(
            text,
            "\nworker {}: pid {}, generation {}, {} for {since}",
            worker.slot,
            worker.pid,
            worker.generation,
            worker.phase.name()
        );
    }
}

/// The line that asks for a command with its arguments, with its end.
pub fn request_line(command: &str, args: &[&str]) -> Vec<u8> {
    let mut line = json!({"command": command, "args": args}).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Reads one answer, given without its end.
///
/// # Errors
/// That it is none: whoever answers speaks something else.
pub fn parse_answer(line: &[u8]) -> Result<String> {
    // The ancestor ends its greeting with LF CR, so that the CR stands before the next answer.
    serde_json::from_slice(line.trim_ascii())
        .map_err(|error| Error::failed(format!("cannot read the manager's answer: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn decode(codec: &mut Einhyrningsins, line: &str) -> Option<(u64, Verb)> {
        match codec.decode(line.as_bytes()) {
            Decoded::Request { request, verb } => Some((request, verb)),
            Decoded::Reply(_) | Decoded::Nothing => None,
        }
    }

    fn answer(line: &str) -> String {
        match Einhyrningsins::default().decode(line.as_bytes()) {
            Decoded::Reply(bytes) => parse_answer(&bytes).unwrap(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_requests() {
        let mut codec = Einhyrningsins::default();
        let (inc, _) = decode(&mut codec, r#"{"command":"inc"}"#).unwrap();
        let (die, _) = decode(&mut codec, r#"{"command":"die"}"#).unwrap();
        assert_eq!(codec.decode(br#"{"command":"ehlo"}"#), Decoded::Nothing);
        assert_eq!(codec.pending(), 3);
        let mut out = Vec::new();
        codec.encode(die, &Reply::Done("stopping".into()), true, &mut out);
        assert!(out.is_empty());
        codec.encode(inc, &Reply::Scaled { from: 2, to: 3, message: String::new() }, true, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"Spawned! Went from 2 to 3\"\n\"Sent shutdown to all children!\"\n\"Hi there!\"\n"
        );
        assert_eq!(codec.pending(), 0);
    }

    #[test]
    fn every_spelling_of_a_signal_that_the_ancestor_takes_and_no_other() {
        for known in SIGNALS {
            let wanted: Signal = known.parse().unwrap();
            let short = &known[3..];
            for name in [known, short, &short.to_ascii_lowercase()] {
                assert_eq!(signal(name), Some(wanted), "{name}");
            }
            assert_eq!(signal(&known.to_ascii_lowercase()), None);
        }
        for name in ["", "SIG", "QUIT", "SIGQUIT", "15", "Usr1", "sigusr1", "RTMIN"] {
            assert_eq!(signal(name), None, "{name}");
        }
        for args in [r#"[]"#, r#"[15]"#, r#""USR1""#, r#"{"0":"USR1"}"#, "null"] {
            assert_eq!(answer(&format!(r#"{{"command":"signal","args":{args}}}"#)), NO_SIGNAL, "{args}");
        }
    }

    #[test]
    fn an_ack_names_a_worker_or_means_the_sender() {
        let ack = |pid: &str| {
            let line = format!(r#"{{"command":"worker:ack","pid":{pid}}}"#);
            decode(&mut Einhyrningsins::default(), &line).map(|(_, verb)| verb)
        };
        assert_eq!(ack("12"), Some(Verb::Ack(Some(12))));
        assert_eq!(ack("\"12\""), Some(Verb::Ack(Some(12))));
        assert_eq!(ack("0"), Some(Verb::Ack(None)));
        assert_eq!(ack("null"), Some(Verb::Ack(None)));
        for wrong in ["-1", "1.5", "\"x\"", "[]", "4294967296", "99999999999999999999"] {
            assert_eq!(ack(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_refused_is_told_in_the_words_of_the_ancestor_where_it_has_any() {
        let refused = |line: &str| {
            let mut codec = Einhyrningsins::default();
            let (request, _) = decode(&mut codec, line).unwrap();
            let mut out = Vec::new();
            codec.encode(request, &Reply::Failed(Code::Refused, "why".into()), true, &mut out);
            parse_answer(&out).unwrap()
        };
        assert_eq!(refused(r#"{"command":"worker:ack","pid":1}"#), "Acknowledged!");
        assert_eq!(refused(r#"{"command":"worker:ack"}"#), "why");
        assert_eq!(refused(r#"{"command":"dec"}"#), NOBODY);
        assert_eq!(refused(r#"{"command":"inc"}"#), "why");
    }

    #[test]
    fn garbage_costs_one_line() {
        for line in ["{", "nonsense", "\u{fffd}", "[1", "'a'"] {
            assert_eq!(answer(line), NO_JSON, "{line}");
        }
        for line in ["[]", "1", "\"inc\"", "{}", r#"{"command":1}"#, r#"["inc"]"#, r#"{"command":"Inc"}"#] {
            assert_eq!(answer(line), NO_COMMAND, "{line}");
        }
        assert_eq!(Einhyrningsins::default().decode(b" \r"), Decoded::Nothing);
        assert_eq!(answer(&"[".repeat(60_000)), NO_JSON);
    }

    #[test]
    fn a_flood_of_requests_is_bounded() {
        let mut codec = Einhyrningsins::default();
        for _ in 0..PENDING_MAX {
            decode(&mut codec, r#"{"command":"inc"}"#).unwrap();
        }
        assert!(matches!(codec.decode(br#"{"command":"inc"}"#), Decoded::Reply(_)));
    }

    #[test]
    fn what_the_core_refuses_is_told_as_it_says_it() {
        let mut codec = Einhyrningsins::default();
        let (request, _) = decode(&mut codec, r#"{"command":"inc"}"#).unwrap();
        let mut out = Vec::new();
        codec.encode(request, &Reply::Failed(Code::Refused, "no \"more\"".into()), true, &mut out);
        assert_eq!(out, b"\"no \\\"more\\\"\"\n");
    }

    #[test]
    fn the_greeting_of_the_ancestor_does_not_spoil_the_next_answer() {
        assert_eq!(parse_answer(b"\r\"Hi there!\"").unwrap(), "Hi there!");
        assert!(parse_answer(b"Hi there!").is_err());
    }
}
