//! The time before the end in which workers still serve, while the manager says of itself that it is not ready: whoever
//! spreads requests over several of its kind has to hear of that before a socket closes.
//!
//! A signal begins it where the policy has a delay, and the stop follows by itself; or a request does, and then the
//! stop is still to be asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::command::{ClientId, Reply, Ticket, Wait};
use super::event::{Action, Mono};
use super::note::Happening;
use crate::duration::Human;
use crate::error::Code;
use crate::plan::Level;
use crate::signame::Signal;

/// Workers serve on, and nobody is to count on that.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Drain {
    /// The end of the delay.
    pub(super) until: Mono,
    /// The signal that has asked for a stop, which begins then.
    pub(super) stop: Option<Signal>,
    /// The delay is over, and that was told.
    pub(super) over: bool,
    /// Who waits for that.
    pub(super) waiting: Vec<Ticket>,
}

impl Supervisor {
    /// A signal asks for a graceful stop.
    pub(super) fn stop_after_drain(&mut self, signal: Signal) {
        let now = self.now;
        let delay = self.policy.drain_delay;
        match &mut self.drain {
            _ if self.shutdown.is_some() => {}
            None if !delay.is_zero() => self.begin_drain(delay, Some(signal)),
            Some(drain) if drain.stop.is_none() && !drain.over => {
                drain.stop = Some(signal);
                let left = drain.until.since(now);
                self.note_manager(Level::Info, Happening::Draining(Some(signal), left));
            }
            None | Some(_) => self.begin_shutdown(Some(signal)),
        }
    }

    /// A client asks for the delay alone.
    pub(super) fn drain_for(&mut self, ticket: Ticket, delay: Option<Duration>, wait: Wait) {
        let refusal = |sentence: &str| Reply::Failed(Code::Refused, sentence.to_owned());
        if self.shutdown.is_some() {
            return self.refuse(ticket, refusal("the manager is stopping"));
        }
        let delay = delay.unwrap_or(self.policy.drain_delay);
        if self.drain.is_none() && delay.is_zero() {
            let sentence = "there is no drain delay: run with --drain-delay, or say --delay";
            return self.refuse(ticket, refusal(sentence));
        }
        if self.drain.is_none() {
            self.begin_drain(delay, None);
        }
        let Some(drain) = &mut self.drain else { return };
        if wait != Wait::No && !drain.over {
            return drain.waiting.push(ticket);
        }
        // One that has begun already keeps its time.
        let left = drain.until.since(self.now);
        let reply = if drain.over { drained() } else { Reply::Done(format!("draining for {}", Human(left))) };
        self.act(Action::Reply { ticket, reply, last: true });
    }

    fn begin_drain(&mut self, delay: Duration, stop: Option<Signal>) {
        self.drain = Some(Drain { until: self.now.after(delay), stop, over: false, waiting: Vec::new() });
        self.note_manager(Level::Info, Happening::Draining(stop, delay));
    }

    /// When the delay is over.
    pub(super) fn drain_deadline(&self) -> Option<Mono> {
        self.drain.as_ref().filter(|drain| !drain.over).map(|drain| drain.until)
    }

    /// Looks whether the delay is over.
    pub(super) fn watch_drain(&mut self) {
        let now = self.now;
        let Some(drain) = self.drain.as_mut().filter(|drain| !drain.over && drain.until <= now) else {
            return;
        };
        drain.over = true;
        match drain.stop {
            Some(signal) => {
                self.begin_shutdown(Some(signal));
                self.touch_all();
            }
            None => {
                let waiting = std::mem::take(&mut drain.waiting);
                self.note_manager(Level::Info, Happening::Drained);
                self.answer_drained(waiting);
            }
        }
    }

    /// Somebody wants the manager to be asked again. A stop that a signal has asked for is not taken back.
    pub(super) fn take_drain_back(&mut self) {
        if self.drain.as_ref().is_some_and(|drain| drain.stop.is_none()) {
            self.end_drain();
            self.note_manager(Level::Info, Happening::DrainTakenBack);
        }
    }

    /// Nobody has to wait any longer.
    pub(super) fn end_drain(&mut self) {
        let waiting = self.drain.take().map(|drain| drain.waiting);
        self.answer_drained(waiting.unwrap_or_default());
    }

    fn answer_drained(&mut self, waiting: Vec<Ticket>) {
        for ticket in waiting {
            self.act(Action::Reply { ticket, reply: drained(), last: true });
        }
    }

    pub(super) fn forget_drain_client(&mut self, client: ClientId) {
        if let Some(drain) = &mut self.drain {
            drain.waiting.retain(|ticket| ticket.client != client);
        }
    }
}

fn drained() -> Reply {
    Reply::Done("drained".to_owned())
}
