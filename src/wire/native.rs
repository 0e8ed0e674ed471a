//! remuda's own protocol, the manager's side: one JSON object a line (remuda-protocol(7)). Pure.
//!
//! Known fields must have their type; unknown ones are ignored, so that an older manager understands a newer client.
//! An error names the field and costs the client nothing but that line.
//!
//! The clients of einhorn speak YAML, wherever EINHORN_SOCK_PATH leads: their acks and pings are understood, too. As there,
//! they end the connection without an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::einhorn;
use super::event::EventObject;
use super::{Decoded, PENDING_MAX, REQUEST_LINE_MAX, Reload, Reply, Scale, Status, Verb, Wait};
use crate::error::Code;
use crate::nearest::nearest;
use crate::plan::Level;
use crate::signame::Signal;
use crate::supervisor::event::GenerationId;

/// Longest `"id"`, in bytes of its JSON: it is remembered for each pending request.
pub const ID_MAX: usize = 1024;

/// How much of a wrong value an error repeats.
const QUOTE_MAX: usize = 40;

/// Every value of `"command"`.
pub const COMMANDS: [&str; 19] = [
    "status",
    "upgrade",
    "rollback",
    "drain",
    "restart",
    "start",
    "stop",
    "scale",
    "inc",
    "dec",
    "signal",
    "log-level",
    "reopen",
    "reexec",
    "reload",
    "events",
    "version",
    "worker:ack",
    "worker:ping",
];

/// What the manager's side of one connection remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Native {
    /// Requests so far; the number of the latest.
    requests: u64,
    /// Those without a last reply, oldest first.
    pending: Vec<Pending>,
    /// An ack or ping of einhorn's has ended the connection.
    #[serde(default)]
    over: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pending {
    request: u64,
    /// The client's `"id"` as it wrote it.
    id: Option<String>,
    /// It is einhorn's, and has no answer.
    #[serde(default)]
    silent: bool,
}

/// Any line of an answer but an event. Fields stand in this order.
#[derive(Default, Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Status>,
}

impl Native {
    /// See [`super::Codec::decode`].
    pub(super) fn decode(&mut self, line: &[u8]) -> Decoded {
        let text = line.trim_ascii();
        if text.is_empty() {
            return Decoded::Nothing;
        }
        if text[0] != b'{'
            && let Some(said) = einhorn::of_worker(text)
        {
            return self.hear(said);
        }
        let fields = match Fields::parse(text) {
            Ok(fields) => fields,
            Err(error) => return Decoded::Reply(refusal(None, Code::Usage, &error)),
        };
        let id = match fields.id() {
            Ok(id) => id,
            Err(error) => return Decoded::Reply(refusal(None, Code::Usage, &error)),
        };
        let verb = match verb(&fields) {
            Ok(verb) => verb,
            Err(error) => return Decoded::Reply(refusal(id, Code::Usage, &error)),
        };
        if self.pending.len() >= PENDING_MAX {
            let error =
                format!("{PENDING_MAX} requests of this connection are waiting: let some finish first");
            return Decoded::Reply(refusal(id, Code::Refused, &error));
        }
        self.await_reply(verb, id.map(|id| id.get().to_owned()), false)
    }

    /// What a worker says in einhorn's manner, after which the connection ends.
    fn hear(&mut self, said: Option<Verb>) -> Decoded {
        match said {
            Some(verb) if self.pending.len() < PENDING_MAX => self.await_reply(verb, None, true),
            Some(_) | None => {
                self.over = true;
                Decoded::Nothing
            }
        }
    }

    fn await_reply(&mut self, verb: Verb, id: Option<String>, silent: bool) -> Decoded {
        self.requests += 1;
        self.pending.push(Pending { request: self.requests, id, silent });
        Decoded::Request { request: self.requests, verb }
    }

    /// See [`super::Codec::encode`].
    pub(super) fn encode(&mut self, request: u64, reply: &Reply, last: bool, out: &mut Vec<u8>) {
        let Some(at) = self.pending.iter().position(|pending| pending.request == request) else {
            return;
        };
        if self.pending[at].silent {
            self.over |= last;
        } else {
            let line = reply_line(self.pending[at].id(), reply, last);
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        if last {
            self.pending.remove(at);
        }
    }

    /// See [`super::Codec::is_over`].
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// See [`super::Codec::pending`].
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl Pending {
    fn id(&self) -> Option<&RawValue> {
        // The text was taken from a RawValue and is JSON still.
        self.id.as_deref().and_then(|id| serde_json::from_str(id).ok())
    }
}

fn reply_line(id: Option<&RawValue>, reply: &Reply, last: bool) -> String {
    let answer = Answer { id, done: Some(last), ..Answer::default() };
    let sentence = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    match reply {
        Reply::Done(message) | Reply::Scaled { message, .. } => {
            let message = sentence(message);
            to_json(&Answer { ok: last.then_some(true), message: message.as_deref(), ..answer })
        }
        Reply::Changes { changes, message } => {
            let message = sentence(message);
            let (ok, message) = (last.then_some(true), message.as_deref());
            to_json(&Answer { ok, message, changes: Some(changes), ..answer })
        }
        Reply::Rejected { code, error, errors } => {
            let (error, errors) = (Some(error.as_str()), Some(&errors[..]));
            to_json(&Answer { ok: Some(false), error, errors, code: Some(code.status()), ..answer })
        }
        Reply::Failed(code, error) => {
            to_json(&Answer { ok: Some(false), error: Some(error), code: Some(code.status()), ..answer })
        }
        Reply::Status(status) if last => to_json(&Answer { ok: Some(true), status: Some(status), ..answer }),
        // How an event stream begins.
        Reply::Status(status) => {
            to_json(&Answer { event: Some("status"), done: None, status: Some(status), ..answer })
        }
        // Answers to what only other protocols ask.
        Reply::Level(_) | Reply::Inspection(_) => to_json(&Answer { ok: Some(true), ..answer }),
        Reply::Version(version) => to_json(&Answer { ok: Some(true), version: Some(version), ..answer }),
        // The answer to what only other protocols ask.
        Reply::Accounts(_) => to_json(&Answer { ok: Some(true), ..answer }),
        Reply::Event(note) => EventObject::new(note).echoing(id).to_line(),
    }
}

/// The line that says no.
fn refusal(id: Option<&RawValue>, code: Code, error: &str) -> Vec<u8> {
    let reply = Reply::Failed(code, error.to_owned());
    let mut line = reply_line(id, &reply, true).into_bytes();
    line.push(b'\n');
    line
}

/// The answer to a line above [`REQUEST_LINE_MAX`].
pub(super) fn too_long() -> Vec<u8> {
    refusal(
        None,
        Code::Usage,
        &format!("line is longer than {REQUEST_LINE_MAX} bytes: closing the connection"),
    )
}

/// The answer to a connection for which there is no room.
pub(super) fn crowded(connections: usize) -> Vec<u8> {
    refusal(None, Code::Refused, &format!("{connections} connections wait for answers: no room for another"))
}

/// JSON of a value that has string keys and no maps of its own, which is all that this module makes.
pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    // Serialising such a value into memory cannot fail; an empty line is ignored on both sides.
    serde_json::to_string(value).unwrap_or_default()
}

/// The fields of a request, each as its own piece of JSON.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, String> {
        if text[0] != b'{' {
            return Err(r#"a request is one JSON object a line, such as {"command":"status"}"#.to_owned());
        }
        serde_json::from_slice(text).map(Fields).map_err(|error| {
            // Line 1 is the only one there is.
            format!("request is not JSON: {}", error.to_string().replace("line 1 column", "column"))
        })
    }

    /// The field, unless it is absent or null.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|value| value.get() != "null")
    }

    fn id(&self) -> Result<Option<&'a RawValue>, String> {
        match self.0.get("id") {
            Some(id) if id.get().len() > ID_MAX => Err(format!(r#""id" is longer than {ID_MAX} bytes"#)),
            id => Ok(id.copied()),
        }
    }

    fn typed<T: Deserialize<'a>>(&self, name: &str, wanted: &str) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match serde_json::from_str(value.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!(r#""{name}" must be {wanted}, not {}"#, quote(value.get()))),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        self.typed(name, "a string")
    }

    fn number(&self, name: &str) -> Result<Option<u32>, String> {
        self.typed(name, "a whole number from 0 to 4294967295")
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.typed(name, "true or false")?.unwrap_or(default))
    }
}

fn verb(fields: &Fields<'_>) -> Result<Verb, String> {
    let command = fields.text("command")?.ok_or(r#""command" is missing"#)?;
    let group = fields.text("group")?;
    let wait = wait(fields)?;
    Ok(match command.as_str() {
        "status" => Verb::Status(group),
        "upgrade" => Verb::Upgrade(group, wait),
        "rollback" => Verb::RollBack(group, wait),
        "drain" if group.is_none() && fields.get("generation").is_none() => {
            let delay = fields.number("delay_ms")?.map(|delay| Duration::from_millis(delay.into()));
            Verb::DrainManager(delay, wait)
        }
        "drain" => {
            let generation = fields.number("generation")?.ok_or(r#""generation" is missing"#)?;
            Verb::Drain(group, GenerationId(generation), fields.flag("now", false)?, wait)
        }
        "restart" => Verb::Restart(group, wait),
        "start" => Verb::Start(group, wait),
        "stop" => Verb::Stop(group, wait),
        "scale" => {
            let workers = fields.number("workers")?.ok_or(r#""workers" is missing"#)?;
            Verb::Scale(group, Scale::To(workers), wait)
        }
        "inc" => Verb::Scale(group, Scale::Up(count(fields)?), wait),
        "dec" => Verb::Scale(group, Scale::Down(count(fields)?), wait),
        "signal" => Verb::Signal(group, signal(fields)?),
        "log-level" => Verb::LogLevel(level(fields)?),
        "reopen" => Verb::Reopen,
        "reexec" => Verb::Reexec(wait),
        "reload" => {
            let (dry_run, keep_going) = (fields.flag("dry_run", false)?, fields.flag("keep_going", false)?);
            Verb::Reload(Reload { dry_run, keep_going }, wait)
        }
        "events" => Verb::Events(group),
        "version" => Verb::Version,
        "worker:ack" => Verb::Ack(pid(fields)?),
        "worker:ping" => Verb::Ping,
        unknown => return Err(unknown_command(unknown)),
    })
}

fn wait(fields: &Fields<'_>) -> Result<Wait, String> {
    match (fields.flag("wait", true)?, fields.flag("drained", false)?) {
        (true, false) => Ok(Wait::Done),
        (true, true) => Ok(Wait::Drained),
        (false, false) => Ok(Wait::No),
        (false, true) => Err(r#""drained":true needs "wait":true"#.to_owned()),
    }
}

fn count(fields: &Fields<'_>) -> Result<u32, String> {
    match fields.number("count")?.unwrap_or(1) {
        0 => Err(r#""count" must be at least 1"#.to_owned()),
        count => Ok(count),
    }
}

fn signal(fields: &Fields<'_>) -> Result<Signal, String> {
    let name =
        fields.typed::<Name>("signal", "a signal's name or number")?.ok_or(r#""signal" is missing"#)?;
    name.text().parse().map_err(|error| format!(r#""signal": {error}"#))
}

fn level(fields: &Fields<'_>) -> Result<Level, String> {
    let name = fields.text("level")?.ok_or(r#""level" is missing"#)?;
    Level::from_name(&name)
        .ok_or_else(|| format!(r#""level" must be debug, info, warn or error, not {}"#, quote(&name)))
}

/// As a number, or in a string: workers written for the ancestors do both.
fn pid(fields: &Fields<'_>) -> Result<Option<i32>, String> {
    const WANTED: &str = "a process id";
    let Some(name) = fields.typed::<Name>("pid", WANTED)? else { return Ok(None) };
    match name.text().parse::<i32>() {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(pid)),
        _ => Err(format!(r#""pid" must be {WANTED}, not {}"#, quote(&name.text()))),
    }
}

/// A value that may be written with quotes or, if it is a number, without.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Number(i64),
    Text(String),
}

impl Name {
    fn text(&self) -> String {
        match self {
            Name::Number(number) => number.to_string(),
            Name::Text(text) => text.clone(),
        }
    }
}

fn unknown_command(unknown: &str) -> String {
    // Longer words are no slip of the finger, and to compare takes length times length.
    let near = if unknown.len() > QUOTE_MAX { None } else { nearest(unknown, COMMANDS) };
    match near {
        Some(near) => format!("no command '{}' (did you mean {near}?)", quote(unknown)),
        None => format!("no command '{}' (there are {})", quote(unknown), COMMANDS.join(", ")),
    }
}

/// The beginning of a value that is wrong, for an error.
fn quote(value: &str) -> String {
    let mut chars = value.chars();
    let start: String = chars.by_ref().take(QUOTE_MAX).collect();
    if chars.next().is_some() { format!("{start}...") } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        match Native::default().decode(line.as_bytes()) {
            Decoded::Reply(bytes) => String::from_utf8(bytes).expect("an answer is UTF-8"),
            other => panic!("{line} is {other:?}"),
        }
    }

    fn request(native: &mut Native, line: &str) -> u64 {
        match native.decode(line.as_bytes()) {
            Decoded::Request { request, .. } => request,
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn the_id_comes_back_byte_for_byte_until_the_last_reply() {
        let mut native = Native::default();
        let id = r#"{"b":1.50,"a":[12345678901234567890123]}"#;
        let first = request(&mut native, &format!(r#"{{"command":"status","id":{id}}}"#));
        let second = request(&mut native, r#"{"command":"version","id":null}"#);
        let mut out = Vec::new();
        native.encode(second, &Reply::Version("remuda 0.1.0".to_owned()), true, &mut out);
        native.encode(first, &Reply::Done("so far".to_owned()), false, &mut out);
        native.encode(first, &Reply::Done(String::new()), true, &mut out);
        native.encode(first, &Reply::Done("too late".to_owned()), true, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            format!(
                "{{\"id\":null,\"done\":true,\"ok\":true,\"version\":\"remuda 0.1.0\"}}\n\
                 {{\"id\":{id},\"done\":false,\"message\":\"so far\"}}\n\
                 {{\"id\":{id},\"done\":true,\"ok\":true}}\n"
            )
        );
        assert_eq!(native.pending(), 0);
    }

    #[test]
    fn more_than_the_limit_of_pending_requests_is_refused_with_its_id() {
        let mut native = Native::default();
        for _ in 0..PENDING_MAX {
            request(&mut native, r#"{"command":"upgrade"}"#);
        }
        match native.decode(br#"{"command":"upgrade","id":7}"#) {
            Decoded::Reply(bytes) => {
                let line = String::from_utf8_lossy(&bytes).into_owned();
                assert!(line.starts_with(r#"{"id":7,"done":true,"ok":false,"error":"64 requests"#), "{line}");
                assert!(line.ends_with(",\"code\":4}\n"), "{line}");
            }
            other => panic!("{other:?}"),
        }
        let mut out = Vec::new();
        native.encode(1, &Reply::Done(String::new()), true, &mut out);
        request(&mut native, r#"{"command":"upgrade"}"#);
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        assert!(error(r#"{"command":"upgarde"}"#).contains("(did you mean upgrade?)"));
        assert!(error(r#"{"command":"ack"}"#).contains("there are status, upgrade,"));
        assert!(error(r#"{"command":"worker:akc"}"#).contains("(did you mean worker:ack?)"));
        let long = "x".repeat(60_000);
        assert!(error(&format!(r#"{{"command":"{long}"}}"#)).len() < 400);
    }

    #[test]
    fn an_empty_line_means_nothing() {
        assert_eq!(Native::default().decode(b""), Decoded::Nothing);
        assert_eq!(Native::default().decode(b" \t\r"), Decoded::Nothing);
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = "[".repeat(60_000);
        assert!(error(&format!(r#"{{"command":"status","x":{deep}"#)).contains("request is not JSON"));
        let closed = format!("{deep}{}", "]".repeat(5_000));
        assert!(error(&format!(r#"{{"command":{closed}}}"#)).contains("request is not JSON"));
        let nested = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert!(error(&format!(r#"{{"command":{nested}}}"#)).contains("must be a string"));
        request(&mut Native::default(), &format!(r#"{{"command":"status","other":{nested}}}"#));
    }
}
