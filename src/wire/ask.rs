//! remuda's own protocol, the client's side: requests out, answers in (remuda-protocol(7)). Pure.
//!
//! What a newer manager adds is ignored, except where the raw text is handed on.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Reload, Scale, Status, Verb, Wait};
use crate::error::{Code, Error, Result};
use crate::supervisor::note::{Place, Worker};

/// One request. Fields stand in this order; those that do not apply, or have their default, are absent.
#[derive(Default, Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_going: Option<bool>,
    generation: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drained: Option<bool>,
}

/// The line that asks for `verb`, with its end; none if only other protocols have it. Answers carry `id`, if there is one.
pub fn request_line(id: Option<u64>, verb: &Verb) -> Vec<u8> {
    let command = |command| Request { id, command, ..Request::default() };
    let (request, selector, wait) = match verb {
        Verb::Status(of) => (command("status"), of, Wait::Done),
        Verb::Events(of) => (command("events"), of, Wait::Done),
        Verb::Upgrade(of, wait) => (command("upgrade"), of, *wait),
        Verb::RollBack(of, wait) => (command("rollback"), of, *wait),
        Verb::Drain(of, generation, now, wait) => {
            let now = now.then_some(true);
            (Request { generation: Some(generation.0), now, ..command("drain") }, of, *wait)
        }
        Verb::DrainManager(delay, wait) => {
            let delay_ms = delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            (Request { delay_ms, ..command("drain") }, &None, *wait)
        }
        Verb::Restart(of, wait) => (command("restart"), of, *wait),
        Verb::Start(of, wait) => (command("start"), of, *wait),
        Verb::Stop(of, wait) => (command("stop"), of, *wait),
        Verb::Reexec(wait) => (command("reexec"), &None, *wait),
        Verb::Reload(Reload { dry_run, keep_going }, wait) => {
            let given = |flag: bool| flag.then_some(true);
            let (dry_run, keep_going) = (given(*dry_run), given(*keep_going));
            (Request { dry_run, keep_going, ..command("reload") }, &None, *wait)
        }
        Verb::Scale(of, Scale::To(workers), wait) => {
            (Request { workers: Some(*workers), ..command("scale") }, of, *wait)
        }
        Verb::Scale(of, Scale::Up(count), wait) => {
            (Request { count: Some(*count), ..command("inc") }, of, *wait)
        }
        Verb::Scale(of, Scale::Down(count), wait) => {
            (Request { count: Some(*count), ..command("dec") }, of, *wait)
        }
        Verb::Signal(of, signal) => {
            (Request { signal: Some(signal.to_string()), ..command("signal") }, of, Wait::Done)
        }
        Verb::LogLevel(level) => {
            (Request { level: Some(level.name()), ..command("log-level") }, &None, Wait::Done)
        }
        Verb::Reopen => (command("reopen"), &None, Wait::Done),
        Verb::Version => (command("version"), &None, Wait::Done),
        Verb::Ack(pid) => (Request { pid: *pid, ..command("worker:ack") }, &None, Wait::Done),
        Verb::Ping => (command("worker:ping"), &None, Wait::Done),
        // Only other protocols have them.
        Verb::Account(..) | Verb::AckIn(..) | Verb::Foreign(_) | Verb::Heartbeat(..) => return Vec::new(),
    };
    let request = Request {
        group: selector.as_deref(),
        wait: (wait == Wait::No).then_some(false),
        drained: (wait == Wait::Drained).then_some(true),
        ..request
    };
    let mut line = super::native::to_json(&request).into_bytes();
    line.push(b'\n');
    line
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Of the request it belongs to, if that had an id.
    pub id: Option<u64>,
    /// What it says.
    pub body: Body,
}

/// What one line of an answer says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// How things stand as an event stream begins.
    Begin(Box<Status>),
    /// One state change.
    Event(Box<Event>),
    /// Said on the way; the last line is still to come.
    Progress(Option<String>),
    /// What is different in a plan that was read again; the last line is still to come.
    Changes(Vec<String>),
    /// The last line.
    Last(Last),
}

/// The last line of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// [`Code::Done`], or why not; [`Code::Failed`] for a code that this client does not know.
    pub code: Code,
    /// What was done, or why it was not.
    pub sentence: Option<String>,
    /// What is different, or what stands in the way: a line each.
    pub lines: Vec<String>,
    /// The answer to `version`.
    pub version: Option<String>,
    /// The answer to `status`, as the manager wrote it.
    pub status: Option<String>,
}

/// One state change, as far as a client needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// The tag: `ready`, `died`.
    #[serde(rename = "event")]
    pub name: String,
    /// How important it is: `info`; empty if it does not say.
    #[serde(default)]
    pub level: String,
    /// The sentence.
    #[serde(default)]
    pub message: String,
    /// The group it is about.
    pub group: Option<String>,
    /// Where the worker stands, with the three fields that follow.
    pub slot: Option<u32>,
    /// Its EINHORN_CHILD_INDEX.
    pub index: Option<u32>,
    /// Its pid, 0 if there was no process.
    pub pid: Option<i32>,
    /// The generation it runs.
    pub generation: Option<u32>,
    /// Slots that are ready, in an upgrade with a worker of the new generation.
    pub ready: Option<u32>,
    /// Workers wanted.
    pub target: Option<u32>,
    /// Workers on their way out.
    pub draining: Option<u32>,
}

impl std::fmt::Display for Event {
    /// As in the manager's log: `web[0] pid 4711 gen 2: ready after 1.003 s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let worker = self.slot.map(|slot| Worker {
            slot,
            index: self.index.unwrap_or(slot),
            pid: self.pid.unwrap_or(0),
            generation: self.generation.unwrap_or(0),
        });
        write!(f, "{}{}", Place { group: self.group.as_deref(), worker }, self.message)
    }
}

/// What tells one kind of line from the others.
#[derive(Deserialize)]
struct Outline<'a> {
    id: Option<u64>,
    event: Option<String>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    ok: bool,
    message: Option<String>,
    #[serde(default)]
    changes: Vec<String>,
    error: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
    code: Option<u8>,
    version: Option<String>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

/// Reads one line of an answer, given without its end. A line that is none means that whoever answers is no remuda,
/// or one of another age.
pub fn parse_reply(line: &[u8]) -> Result<Answer> {
    let odd = |error: serde_json::Error| Error::failed(format!("cannot read the manager's answer: {error}"));
    let outline: Outline<'_> = serde_json::from_slice(line).map_err(odd)?;
    let body = match (outline.event.as_deref(), outline.status) {
        (Some("status"), Some(status)) => Body::Begin(serde_json::from_str(status.get()).map_err(odd)?),
        (Some(_), _) => Body::Event(serde_json::from_slice(line).map_err(odd)?),
        (None, _) if !outline.done && !outline.changes.is_empty() => Body::Changes(outline.changes),
        (None, _) if !outline.done => Body::Progress(outline.message),
        (None, status) => Body::Last(Last {
            code: match outline.code.and_then(Code::from_status) {
                _ if outline.ok => Code::Done,
                None | Some(Code::Done) => Code::Failed,
                Some(code) => code,
            },
            sentence: if outline.ok { outline.message } else { outline.error },
            lines: if outline.ok { outline.changes } else { outline.errors },
            version: outline.version,
            status: status.map(|status| status.get().to_owned()),
        }),
    };
    Ok(Answer { id: outline.id, body })
}

/// Reads the status object of a last line.
pub fn parse_status(text: &str) -> Result<Status> {
    serde_json::from_str(text)
        .map_err(|error| Error::failed(format!("cannot read the manager's status: {error}")))
}

/// The last line that a manager would have sent for a failure that happened on this side, with its end.
pub fn failure_line(error: &Error) -> String {
    #[derive(Serialize)]
    struct Failure<'a> {
        done: bool,
        ok: bool,
        error: &'a str,
        code: u8,
    }
    let failure = Failure { done: true, ok: false, error: &error.message, code: error.code.status() };
    super::native::to_json(&failure) + "\n"
}
