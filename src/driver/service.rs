//! What our own manager, such as systemd, is told of us: sd_notify(3). On each pass what was told is compared with how
//! things stand, and the difference is sent; so nothing is forgotten, whatever it was that changed.
//!
//! | how things stand | what is sent |
//! |---|---|
//! | all workers are ready for the first time | `READY=1` |
//! | an upgrade, a reload or a re-execution begins | `RELOADING=1`, `MONOTONIC_USEC=` |
//! | it is over, well or not | `READY=1` |
//! | the end was asked for | `STOPPING=1` |
//! | one of these takes its time | `EXTEND_TIMEOUT_USEC=` up to the next deadline |
//! | the number of ready workers changes | `STATUS=` |
//! | half of WATCHDOG_USEC is over | `WATCHDOG=1` |
//! | the plan has a listening socket that it had not | `FDSTORE=1`, `FDNAME=` and the socket |
//! | it has one no more | `FDSTOREREMOVE=1`, `FDNAME=` |
//!
//! What cannot be sent at once, because systemd has not read what was sent before, is sent when it has.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use crate::plan::Level;
use crate::supervisor::event::Mono;
use crate::supervisor::standing::Standing;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::service::{self, Notifier};
use crate::sys::socket::Listener;
use crate::sys::{clock, reason};

/// What is allowed for beyond a deadline of ours: a machine under load is late.
const MARGIN_MS: u64 = 10_000;

/// Longest STATUS, in bytes: a message of more than 4096 would be dropped as a whole.
const STATUS_MAX: usize = 1024;

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    ready: bool,
    changing: bool,
    /// How many changes were begun when it was last looked.
    changes: u64,
    stopping: bool,
    status: String,
    /// Until when we may take our time.
    until: u64,
    /// When the watchdog last heard of us.
    pinged: u64,
}

/// A listening socket that our manager keeps for whoever comes after us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    name: String,
    /// These two tell it from others of this name.
    address: String,
    descriptor: i32,
}

/// What the next image of the manager need not say again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Said {
    #[serde(flatten)]
    told: Told,
    #[serde(default)]
    stored: Vec<Stored>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Yes,
    /// There is no room for it yet.
    Later,
    /// It cannot be sent at all, and that was told.
    Never,
}

/// Our own manager, if it listens.
#[derive(Debug, Default)]
pub(super) struct Service {
    notifier: Option<Notifier>,
    /// How often the watchdog wants to hear of us, in milliseconds: half of what it allows.
    ping_every: Option<u64>,
    /// It keeps descriptors for us.
    stores: bool,
    told: Told,
    stored: Vec<Stored>,
    /// Names that it was asked to forget: whoever else has one of them is to be given again.
    forgotten: BTreeSet<String>,
    /// It has no room for a message at the moment; writable when it has.
    full: Option<OwnedFd>,
    /// That it cannot be reached was told.
    complained: bool,
}

impl Service {
    /// As the environment of the first start says.
    pub(super) fn new(environment: &[(OsString, OsString)], pid: i32, said: Said) -> Result<Service, String> {
        let Some(address) = service::variable(environment, "NOTIFY_SOCKET") else {
            return Ok(Service::default());
        };
        let notifier = Notifier::new(address)
            .map_err(|error| format!("cannot use NOTIFY_SOCKET {}: {}", address.display(), reason(error)))?;
        let number = |name| service::number(environment, name);
        let ours = number("WATCHDOG_PID").is_none_or(|told| i32::try_from(told) == Ok(pid));
        let ping_every = number("WATCHDOG_USEC").filter(|&usec| ours && usec > 0).map(|usec| usec / 2000);
        Ok(Service {
            notifier: Some(notifier),
            ping_every: ping_every.map(|every| every.max(1)),
            stores: number("FDSTORE").is_some_and(|room| room > 0),
            told: said.told,
            stored: said.stored,
            ..Service::default()
        })
    }

    /// What the next image of the manager need not say again.
    pub(super) fn said(&self) -> Said {
        Said { told: self.told.clone(), stored: self.stored.clone() }
    }

    /// Whether there is anybody to tell how things stand.
    pub(super) fn listens(&self) -> bool {
        self.notifier.is_some()
    }

    /// Whether it keeps descriptors for us.
    pub(super) fn stores(&self) -> bool {
        self.notifier.is_some() && self.stores
    }

    /// Has it forget what it kept under this name.
    pub(super) fn forget(&mut self, name: &str, journal: &mut Journal) {
        if self.stores() {
            self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[], journal);
            self.forgotten.insert(name.to_owned());
        }
    }

    /// Gives it the listening sockets of the plan to keep, by their names, so that they outlive us, and has it forget those
    /// that the plan has no more. False if it has no room for a message yet.
    pub(super) fn keep(&mut self, wanted: &[(String, &Listener)], journal: &mut Journal) -> bool {
        let is = |stored: &Stored, (name, listener): &(String, &Listener)| {
            let same = stored.descriptor == listener.fd.as_raw_fd() && stored.address == listener.address;
            same && stored.name == *name
        };
        while let Some(gone) =
            self.stored.iter().find(|stored| !wanted.iter().any(|wanted| is(stored, wanted)))
        {
            let name = gone.name.clone();
            if self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[], journal) == Sent::Later {
                return false;
            }
            // All of this name are forgotten; those that are left are given again.
            self.stored.retain(|stored| stored.name != name);
            self.forgotten.insert(name);
        }
        for wanted in wanted {
            if self.stored.iter().any(|stored| is(stored, wanted)) {
                continue;
            }
            let (name, listener) = wanted;
            // What was passed to us our manager has already.
            if !listener.passed || self.forgotten.contains(name) {
                let message = format!("FDSTORE=1\nFDNAME={name}");
                match self.send(&message, &[listener.as_fd()], journal) {
                    Sent::Later => return false,
                    sent => listener.set_kept(sent == Sent::Yes),
                }
            }
            let (address, descriptor) = (listener.address.clone(), listener.fd.as_raw_fd());
            self.stored.push(Stored { name: name.clone(), address, descriptor });
        }
        true
    }

    /// Tells what has changed.
    pub(super) fn tell(&mut self, standing: &Standing, now: Mono, journal: &mut Journal) {
        let news = self.news(standing, now);
        if news.is_empty() {
            // What there was no room for is no longer so: nobody waits for room.
            self.full = None;
        }
        for message in news {
            // In their order, or not yet.
            if self.send(&message.text, &[], journal) == Sent::Later {
                return;
            }
            self.told = message.told;
        }
    }

    /// When the watchdog is to hear of us.
    pub(super) fn deadline(&self) -> Option<u64> {
        let every = self.ping_every.filter(|_| self.notifier.is_some() && self.full.is_none())?;
        Some(self.told.pinged + every)
    }

    /// Waits for room, where there was none.
    pub(super) fn watch(&self, poll: &mut PollSet) {
        if let Some(socket) = &self.full {
            poll.add(socket.as_fd(), Interest::WRITE);
        }
    }

    /// Makes sure, at the end, that what was said is heard as ours.
    pub(super) fn finish(&self, journal: &mut Journal) {
        if let Some(Err(error)) = self.notifier.as_ref().map(Notifier::barrier) {
            journal.line(Level::Debug, &format!("no answer of the service manager: {}", reason(error)));
        }
    }

    /// The messages that say it, each with what is told then.
    fn news(&self, standing: &Standing, now: Mono) -> Vec<Message> {
        let mut told = self.told.clone();
        let mut messages = Vec::new();
        let mut lines = Vec::new();
        if standing.stopping {
            if !told.stopping {
                lines.push("STOPPING=1".to_owned());
                told.stopping = true;
            }
        } else if !told.ready {
            if standing.ready && !standing.changing {
                lines.push("READY=1".to_owned());
                told.ready = true;
            }
            told.changes = standing.changes;
        } else {
            if standing.changes != told.changes || (standing.changing && !told.changing) {
                lines.push(format!("RELOADING=1\nMONOTONIC_USEC={}", clock::now_us()));
                (told.changing, told.changes) = (true, standing.changes);
            }
            if told.changing && !standing.changing {
                // A message of its own: one that has both would be taken for ready only.
                if !lines.is_empty() {
                    messages.push(Message { text: lines.join("\n"), told: told.clone() });
                    lines.clear();
                }
                lines.push("READY=1".to_owned());
                told.changing = false;
            }
        }
        let busy = told.stopping || told.changing || !told.ready;
        if let Some(until) = standing.until.filter(|_| busy).map(|until| until.0.saturating_add(MARGIN_MS))
            && until > told.until
        {
            lines.push(format!("EXTEND_TIMEOUT_USEC={}", until.saturating_sub(now.0).saturating_mul(1000)));
            told.until = until;
        }
        let status = cut(&standing.summary);
        if told.status != status {
            lines.push(format!("STATUS={status}"));
            told.status = status.to_owned();
        }
        if let Some(every) = self.ping_every
            && (now.0 >= told.pinged + every || told.ready && !self.told.ready)
        {
            lines.push("WATCHDOG=1".to_owned());
            told.pinged = now.0;
        }
        if !lines.is_empty() {
            messages.push(Message { text: lines.join("\n"), told });
        }
        messages
    }

    /// Sends a message.
    fn send(&mut self, text: &str, descriptors: &[BorrowedFd<'_>], journal: &mut Journal) -> Sent {
        let Some(notifier) = &self.notifier else { return Sent::Never };
        let socket = self.full.take().map_or_else(|| notifier.connect(), Ok);
        let sent = socket.and_then(|socket| match service::send(&socket, text.as_bytes(), descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full = Some(socket);
                Ok(Sent::Later)
            }
            sent => sent.map(|()| Sent::Yes),
        });
        sent.unwrap_or_else(|error| {
            if !std::mem::replace(&mut self.complained, true) {
                let sentence = format!("cannot notify the service manager: {}", reason(error));
                journal.line(Level::Warn, &sentence);
            }
            Sent::Never
        })
    }
}

struct Message {
    text: String,
    told: Told,
}

/// As much of a line as STATUS may have.
fn cut(line: &str) -> &str {
    let end = (0..=STATUS_MAX.min(line.len())).rev().find(|&end| line.is_char_boundary(end));
    &line[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(ready: bool, changing: bool, changes: u64) -> Standing {
        Standing { ready, changing, changes, stopping: false, until: None, summary: "s".into() }
    }

    /// What is sent for these, one after the other.
    fn story(service: &mut Service, steps: &[Standing]) -> Vec<String> {
        let mut sent = Vec::new();
        for (at, step) in (1..).zip(steps) {
            for message in service.news(step, Mono(at)) {
                let plain = |line: &&str| !line.starts_with("MONOTONIC_USEC=");
                sent.push(message.text.lines().filter(plain).collect::<Vec<_>>().join(" "));
                service.told = message.told;
            }
        }
        sent
    }

    #[test]
    fn each_change_is_framed_by_reloading_and_ready() {
        let mut service = Service::default();
        let steps = [
            standing(false, false, 0),
            standing(true, false, 0),
            standing(true, false, 0),
            standing(false, true, 1),
            // Superseded by another one.
            standing(false, true, 2),
            standing(true, false, 2),
            // Failed before anything was replaced.
            standing(true, false, 3),
            // A worker died: no news but the status.
            standing(false, false, 3),
            Standing { stopping: true, ..standing(false, false, 3) },
            Standing { stopping: true, ..standing(false, true, 3) },
        ];
        assert_eq!(
            story(&mut service, &steps),
            [
                "STATUS=s",
                "READY=1",
                "RELOADING=1",
                "RELOADING=1",
                "READY=1",
                "RELOADING=1",
                "READY=1",
                "STOPPING=1"
            ]
        );
    }

    #[test]
    fn time_is_asked_for_where_it_is_needed_and_once() {
        let mut service = Service::default();
        let until = |until| Standing { until: Some(Mono(until)), ..standing(false, false, 0) };
        let ready = Standing { until: Some(Mono(9000)), ..standing(true, false, 0) };
        assert_eq!(
            story(&mut service, &[until(2000), until(2000), until(1000), until(2500), ready.clone(), ready]),
            ["EXTEND_TIMEOUT_USEC=11999000 STATUS=s", "EXTEND_TIMEOUT_USEC=12496000", "READY=1",]
        );
        let mut service = Service::default();
        assert_eq!(
            story(&mut service, &[until(u64::MAX)]),
            [format!("EXTEND_TIMEOUT_USEC={} STATUS=s", u64::MAX)],
            "as long as can be said, and not what is left of it after an overflow"
        );
    }

    #[test]
    fn the_watchdog_hears_of_us_in_time() {
        let mut service = Service { ping_every: Some(2), ..Service::default() };
        let idle = || standing(true, false, 0);
        assert_eq!(
            story(&mut service, &[idle(), idle(), idle(), idle()]),
            ["READY=1 STATUS=s WATCHDOG=1", "WATCHDOG=1"]
        );
    }

    #[test]
    fn a_status_is_cut_between_letters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"\u{e9}".repeat(600)).len(), STATUS_MAX);
        assert_eq!(cut(&format!("x{}", "\u{e9}".repeat(600))).len(), STATUS_MAX - 1);
    }
}
