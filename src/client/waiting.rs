//! `probe --timeout`: waits until it is so, also for a manager that is not there yet.
//!
//! A manager that answers tells by its events when there is a reason to look again. Of one that does not answer nothing
//! tells (its name may be in the abstract namespace), so it is tried again after a moment.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Received};
use super::{EVENTS_ID, VERB_ID, find, finish, probe, verb};
use crate::ask::{Ask, AskVerb, Probe};
use crate::duration::Human;
use crate::error::{Code, Error};
use crate::wire::Verb;
use crate::wire::ask::{Body, Last, parse_reply, parse_status, request_line};

/// From one attempt to reach a manager to the next.
const TICK: Duration = Duration::from_millis(50);

/// Waits until the probe has its answer, until `deadline` at most.
pub(super) fn wait(ask: &Ask, deadline: Instant) -> Result<(), super::Halt> {
    let mut why = "no manager answers".to_owned();
    loop {
        match attempt(ask, deadline, &mut why) {
            Ok(Some(sentence)) => return finish(ask, Code::Done, Some(sentence), &[], &[]),
            Ok(None) => {}
            Err(Miss::ForGood(error)) => return Err(error.into()),
            Err(Miss::ForNow(reason)) => why = reason,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let after = Human(ask.timeout.unwrap_or_default());
            let message = format!("{why}, after {after}");
            return Err(Error { code: Code::TimedOut, message }.into());
        }
        thread::sleep(TICK.min(left));
    }
}

/// Why an attempt came to nothing.
enum Miss {
    /// To wait longer makes nothing better: what was asked is unclear, or refused.
    ForGood(Error),
    ForNow(String),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Miss {
        match error.code {
            Code::Usage | Code::Refused => Miss::ForGood(error),
            _ => Miss::ForNow(error.message),
        }
    }
}

/// Talks to the manager until it is so: `None` if the conversation ends before. `why` says what is not so yet.
fn attempt(ask: &Ask, deadline: Instant, why: &mut String) -> Result<Option<String>, Miss> {
    let stream = find::manager(ask).map_err(|error| match error.code {
        // Somebody else's of that name says nothing about ours, which is yet to come.
        Code::Refused if ask.control.is_none() => Miss::ForNow(error.message),
        _ => error.into(),
    })?;
    let mut connection = Connection::new(stream, Some(deadline))?;
    let mut request = request_line(Some(VERB_ID), &verb(ask));
    if matches!(ask.verb, AskVerb::Probe(Probe::Ready { .. })) {
        // In this order nothing that happens in between is missed.
        request = [request_line(Some(EVENTS_ID), &Verb::Events(ask.group.clone())), request].concat();
    }
    connection.send(&request)?;
    // An answer is on its way, and something has happened since it was asked for.
    let (mut asked, mut stale) = (true, false);
    loop {
        let Received::Line(line) = connection.receive()? else { return Ok(None) };
        let answer = parse_reply(&line)?;
        match answer.body {
            Body::Last(last) if answer.id == Some(VERB_ID) => match judge(ask, &last)? {
                Ok(sentence) => return Ok(Some(sentence)),
                Err(reason) => (*why, asked) = (reason, false),
            },
            // The stream was refused; then the question is refused too, and says so better.
            Body::Last(_) => {}
            Body::Event(_) => stale = true,
            Body::Begin(_) | Body::Progress(_) | Body::Changes(_) => {}
        }
        if stale && !asked {
            connection.send(&request_line(Some(VERB_ID), &verb(ask)))?;
            (asked, stale) = (true, false);
        }
    }
}

/// What an answer comes to: it is so, or not yet.
fn judge(ask: &Ask, last: &Last) -> Result<Result<String, String>, Error> {
    let sentence = last.sentence.clone().unwrap_or_default();
    match (&ask.verb, last.code, &last.status) {
        (AskVerb::Probe(Probe::Ready { all }), Code::Done, Some(status)) => {
            Ok(probe::readiness(&parse_status(status)?, *all))
        }
        (_, Code::Done, _) => Ok(Ok(sentence)),
        (_, code, _) => Err(Error { code, message: sentence }),
    }
}
