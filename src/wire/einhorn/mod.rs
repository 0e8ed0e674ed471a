//! The protocol of einhorn 1.1.1, both sides. A message is a line: a YAML mapping in which `%` is written `%25` and a line
//! feed `%0A`; one line of JSON is YAML too. Pure.
//!
//! A request in JSON is answered in one line of JSON, in which `%` and `+` are escaped, so that readers of JSON, of YAML
//! and of YAML in a query string (go-einhorn) all understand it; any other is answered in Ruby's YAML, to the byte.
//!
//! Replies carry the `id` of their request, and `wait` if more follow. `worker:ack` and `worker:ping` have none: the
//! connection ends.

pub mod client;
mod manner;
mod request;
mod state;
pub mod story;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::yaml::{self, Yaml};
use super::{Decoded, PENDING_MAX, REQUEST_LINE_MAX, Reply, Verb, ruby};
use crate::plan::{EinhornManner, Level};
use request::{Asked, Order};

/// The release whose words these are.
pub const VERSION: &str = "1.1.1";

/// What the manager's side of one connection remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Einhorn {
    /// How the manager was started.
    manner: EinhornManner,
    /// Its pid.
    manager: i32,
    /// An ack or a ping does not end the connection.
    lasting: bool,
    /// It has ended.
    over: bool,
    requests: u64,
    /// Requests without a last reply.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Pending {
    request: u64,
    asked: Asked,
    style: Style,
}

/// How replies to a request are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Style {
    /// As JSON.
    json: bool,
    /// The client's id, and whether it stood without quotes.
    id: Option<(String, bool)>,
}

impl Einhorn {
    /// For a connection to the manager with this pid, which was started in this manner.
    pub(super) fn new(manner: &EinhornManner, manager: i32) -> Self {
        Einhorn { manner: manner.clone(), manager, ..Einhorn::default() }
    }

    /// For a connection that belongs to one worker: acks and pings do not end it.
    pub(super) fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// See [`super::Codec::decode`].
    pub(super) fn decode(&mut self, line: &[u8]) -> Decoded {
        self.requests += 1;
        self.decode_as(self.requests, line)
    }

    /// The same for a request with a number of the caller's choice.
    pub(super) fn decode_as(&mut self, request: u64, line: &[u8]) -> Decoded {
        let unread = Style::default();
        let Some((message, json)) = read(line) else {
            return Decoded::Reply(unread.reply("Could not parse command", false));
        };
        let id = message.get("id").filter(|id| !id.is_falsy());
        let id = id.and_then(|id| match id {
            Yaml::Scalar { text, plain } => Some((text.clone(), *plain)),
            Yaml::List(_) | Yaml::Map(_) => None,
        });
        let style = Style { json, id };
        match request::order(&message, style.id.is_some(), self) {
            Order::Say(sentence) => Decoded::Reply(style.reply(&sentence, false)),
            Order::Ask(..) if self.pending.len() >= PENDING_MAX => {
                Decoded::Reply(style.reply("Too many requests are waiting", false))
            }
            Order::Ask(asked, verb) => {
                self.pending.push(Pending { request, asked, style });
                Decoded::Request { request, verb }
            }
            Order::End => {
                self.end();
                Decoded::Nothing
            }
        }
    }

    /// See [`super::Codec::encode`].
    pub(super) fn encode(&mut self, request: u64, reply: &Reply, last: bool, out: &mut Vec<u8>) {
        let Some(at) = self.pending.iter().position(|pending| pending.request == request) else { return };
        let Pending { asked, style, .. } = &self.pending[at];
        for sentence in manner::sentences(*asked, reply, last, self) {
            out.extend(style.reply(&sentence, !last));
        }
        let silent = asked.is_silent();
        if last {
            self.pending.remove(at);
        }
        if silent {
            self.end();
        }
    }

    fn end(&mut self) {
        self.over = !self.lasting;
    }

    /// See [`super::Codec::pending`].
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// See [`super::Codec::is_over`].
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

impl Style {
    /// One line. Where no id was given nobody can wait for more.
    fn reply(&self, sentence: &str, wait: bool) -> Vec<u8> {
        let wait = wait && self.id.is_some();
        let mut line = if self.json { self.json(sentence, wait) } else { self.yaml(sentence, wait) };
        line.push('\n');
        line.into_bytes()
    }

    fn yaml(&self, sentence: &str, wait: bool) -> String {
        let mut text = "---\nmessage: ".to_owned();
        ruby::string(&mut text, sentence, "message:".len(), 2);
        if let Some((id, plain)) = &self.id {
            text.push_str("request_id: ");
            if *plain && yaml::is_special(id) {
                text.push_str(id);
                text.push('\n');
            } else {
                ruby::string(&mut text, id, "request_id:".len(), 2);
            }
        }
        if wait {
            text.push_str("wait: true\n");
        }
        escape(&text)
    }

    fn json(&self, sentence: &str, wait: bool) -> String {
        let mut object = json!({"message": sentence});
        if let Some((id, plain)) = &self.id {
            let number = serde_json::from_str(id).ok().filter(|_| *plain);
            object["request_id"] = number.unwrap_or_else(|| json!(id));
        }
        if wait {
            object["wait"] = json!(true);
        }
        // Nothing but strings can hold these two, save a number such as 1e+5, which needs no sign.
        object.to_string().replace('%', "\\u0025").replace('+', "\\u002b")
    }
}

/// The answer to a line above [`REQUEST_LINE_MAX`].
pub(super) fn too_long() -> Vec<u8> {
    let style = Style::default();
    style.reply(&format!("Line is longer than {REQUEST_LINE_MAX} bytes: closing the connection"), false)
}

/// The answer to a connection for which there is no room.
pub(super) fn crowded(connections: usize) -> Vec<u8> {
    let style = Style::default();
    style.reply(&format!("{connections} connections wait for answers: no room for another"), false)
}

/// What a worker says of itself in a line, as einhorn's clients write it wherever EINHORN_SOCK_PATH leads; the inner `None`
/// if it cannot be told which worker. The outer one is any other line.
pub(super) fn of_worker(line: &[u8]) -> Option<Option<Verb>> {
    read(line).and_then(|(message, _)| request::of_worker(&message))
}

/// Reads a line: the mapping in it, and whether it was JSON.
fn read(line: &[u8]) -> Option<(Yaml, bool)> {
    let text = unescape(std::str::from_utf8(line).ok()?);
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(&text)
    {
        return Some((from_json(value), true));
    }
    yaml::read(&text).ok().filter(|value| matches!(value, Yaml::Map(_))).map(|value| (value, false))
}

fn from_json(value: serde_json::Value) -> Yaml {
    use serde_json::Value;
    match value {
        Value::String(text) => Yaml::Scalar { text, plain: false },
        Value::Array(items) => Yaml::List(items.into_iter().map(from_json).collect()),
        Value::Object(fields) => Yaml::Map(
            fields.into_iter().map(|(name, value)| (Yaml::quoted(&name), from_json(value))).collect(),
        ),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => Yaml::plain(&other.to_string()),
    }
}

/// Makes one line of a text.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\n', "%0A")
}

/// The text that a line stands for. Whatever else a `%` may introduce stays as it is.
fn unescape(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let (meant, length) = match rest.get(..3) {
            Some("%25") => ("%", 3),
            Some("%0A") => ("\n", 3),
            _ => ("%", 1),
        };
        text.push_str(meant);
        rest = &rest[length..];
    }
    text + rest
}

/// einhorn's own scale: 0 tells all, 2 only what went wrong.
fn verbosity(level: Level) -> u8 {
    match level {
        Level::Debug => 0,
        Level::Info => 1,
        Level::Warn | Level::Error => 2,
    }
}

#[cfg(test)]
mod tests;
