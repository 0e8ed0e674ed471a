//! What a worker says of itself, and where: its notification socket, `sd_notify(3)`, and the pipe on which a line feed
//! says that it is ready, as s6 has it. Both are open as long as somebody may speak there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::kept::{Kept, Place};
use super::notified::{self, Storing};
use super::succession::Claim;
use crate::plan::Level;
use crate::supervisor::event::{ChildId, Event};
use crate::sys::notify::{Message, NotifySocket, NotifyState, Sender};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::{creds, reason, stream};

/// Most notifications of one worker that are read in one pass: whoever sends them without end does not hold up the loop.
const NOTIFICATIONS_MAX: usize = 8;

/// Most of those that are looked through when the worker has ended: as many as a queue holds, and more.
const LAST_MAX: usize = 1000;

/// Whose words they are.
#[derive(Clone, Copy)]
pub(super) struct Speaker {
    pub(super) child: ChildId,
    pub(super) pid: i32,
    pub(super) uid: u32,
    /// The manager, which says nothing of its workers.
    pub(super) manager: i32,
}

impl Speaker {
    /// Whether this one may speak for the worker.
    fn is_spoken_for_by(&self, sender: Sender) -> bool {
        let known = sender.uid == self.uid || sender.uid == 0 || sender.uid == creds::our_uid();
        known && sender.pid != self.manager
    }
}

/// Where one worker is heard.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Where its READY=1 arrives. Open as long as it lives, or what it says later would fail.
    notify: Option<NotifySocket>,
    /// Where a line feed says that it is ready, until one has come or nobody is left who could send it.
    ready: Option<OwnedFd>,
    /// Where what it gives away is kept, and how many descriptors at most.
    store: Option<(Place, u32)>,
    /// That a stranger has sent something was told.
    strangers_told: bool,
    /// That no more is kept was told.
    full_told: bool,
}

/// The same on its way to another image of the manager.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct HearingState {
    #[serde(default)]
    notify: Option<NotifyState>,
    #[serde(default)]
    ready: Option<i32>,
    #[serde(default)]
    store: Option<(Place, u32)>,
}

impl Hearing {
    /// At these places; what is given away there is kept for `store`, so many descriptors at most, or not at all.
    pub(super) fn new(
        notify: Option<NotifySocket>,
        ready: Option<OwnedFd>,
        store: Option<(Place, u32)>,
    ) -> Hearing {
        Hearing { notify, ready, store, ..Hearing::default() }
    }

    /// Nothing, if there is nothing to listen to and never will be.
    pub(super) fn unless_deaf(self) -> Option<Box<Hearing>> {
        (self.notify.is_some() || self.ready.is_some()).then(|| Box::new(self))
    }

    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> HearingState {
        HearingState {
            notify: self.notify.as_ref().map(|notify| notify.hand_over(keeper)),
            ready: self.ready.as_ref().map(|ready| keeper.keep(ready.as_fd())),
            store: self.store,
        }
    }

    pub(super) fn take_over(state: HearingState, inherited: &mut Inherited) -> io::Result<Hearing> {
        Ok(Hearing {
            notify: state.notify.map(|notify| NotifySocket::take_over(notify, inherited)).transpose()?,
            ready: state.ready.map(|number| inherited.claim(number)).transpose()?,
            store: state.store,
            ..Hearing::default()
        })
    }

    /// Puts what is listened to into the poll set; returns where, if there is anything.
    pub(super) fn watch(&self, poll: &mut PollSet) -> Option<Heard> {
        let mut add = |descriptor: BorrowedFd<'_>| poll.add(descriptor, Interest::READ);
        let heard = Heard {
            notify: self.notify.as_ref().map(|socket| add(socket.as_fd())),
            ready: self.ready.as_ref().map(|pipe| add(pipe.as_fd())),
        };
        (heard.notify.is_some() || heard.ready.is_some()).then_some(heard)
    }

    /// Reads what has come, up to where the worker names its successor, if it does.
    pub(super) fn hear(
        &mut self,
        at: &Heard,
        poll: &PollSet,
        speaker: Speaker,
        kept: &mut Kept,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) -> Option<Claim> {
        if at.ready.is_some_and(|at| poll.readable(at)) {
            self.read_ready(speaker, tell);
        }
        if at.notify.is_some_and(|at| poll.readable(at)) {
            return self.read_notify(speaker, kept, journal, tell);
        }
        None
    }

    /// Looks for the line feed by which a worker says that it is ready. What comes before it is nothing to us, as with s6.
    fn read_ready(&mut self, speaker: Speaker, tell: &mut impl FnMut(Event)) {
        let mut bytes = [0; 512];
        let Some(pipe) = &self.ready else { return };
        match stream::read(pipe, &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Ok(length) if length > 0 && !bytes[..length].contains(&b'\n') => return,
            Ok(length) if length > 0 => tell(Event::Ready { child: speaker.child }),
            // Nobody is left to say it here. It may still be said elsewhere, and the deadline holds.
            Ok(_) | Err(_) => {}
        }
        self.ready = None;
    }

    /// Reads what the worker, or another process of its user or ours, has to say. Its process group is not asked for: a
    /// sender such as systemd-notify(1) may be gone by now. What is left over is there on the next pass.
    fn read_notify(
        &mut self,
        speaker: Speaker,
        kept: &mut Kept,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) -> Option<Claim> {
        for _ in 0..NOTIFICATIONS_MAX {
            match self.notify.as_ref()?.receive() {
                Ok(Some(message)) if speaker.is_spoken_for_by(message.sender) => {
                    let claim = self.take(message, speaker, kept, journal, tell);
                    if claim.is_some() {
                        return claim;
                    }
                }
                Ok(Some(message)) => {
                    kept.discard(message.descriptors);
                    if !std::mem::replace(&mut self.strangers_told, true) {
                        let (pid, uid) = (speaker.pid, message.sender.uid);
                        let sentence = format!("ignored a notification for pid {pid} from uid {uid}");
                        journal.line(Level::Warn, &sentence);
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    let (pid, why) = (speaker.pid, reason(error));
                    journal.complain(&format!("cannot read the notifications of pid {pid}: {why}"));
                    self.silence(kept);
                    return None;
                }
            }
        }
        None
    }

    /// What waits to be read of a worker that has ended, if it names its successor there; else that is passed over.
    pub(super) fn rest(&mut self, speaker: Speaker, kept: &mut Kept) -> Vec<Message> {
        let Some(socket) = &self.notify else { return Vec::new() };
        let waiting = std::iter::from_fn(|| socket.receive().ok().flatten());
        let (own, strange): (Vec<Message>, Vec<Message>) =
            waiting.take(LAST_MAX).partition(|message| speaker.is_spoken_for_by(message.sender));
        let names = |message: &Message| {
            message.sender.pid == speaker.pid && notified::read(&message.text).main_pid.is_some()
        };
        let (own, passed) = if own.iter().any(names) { (own, Vec::new()) } else { (Vec::new(), own) };
        for message in strange.into_iter().chain(passed) {
            kept.discard(message.descriptors);
        }
        own
    }

    /// Hears no notification any more.
    pub(super) fn silence(&mut self, kept: &mut Kept) {
        if let Some(socket) = self.notify.take() {
            kept.discard(socket.close());
        }
    }

    /// Takes one message of the worker in; returns whom it calls its main process, if it does.
    pub(super) fn take(
        &mut self,
        message: Message,
        Speaker { child, pid, .. }: Speaker,
        kept: &mut Kept,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) -> Option<Claim> {
        let (told, by) = (notified::read(&message.text), message.sender.pid);
        let mut given = message.descriptors;
        if let Some((place, limit)) = self.store {
            if let Some(name) = &told.remove {
                kept.remove(place, name);
            }
            if let Some(Storing { name, watched }) = told.store {
                let refused = kept.store(place, &name, watched, std::mem::take(&mut given), limit);
                if refused > 0 && !std::mem::replace(&mut self.full_told, true) {
                    let sentence =
                        format!("pid {pid} gives more than {limit} descriptors to keep; closed {refused}");
                    journal.line(Level::Warn, &sentence);
                }
            }
        }
        kept.discard(given);
        for word in told.words {
            tell(Event::Said { child, word });
        }
        if told.ready {
            tell(Event::Ready { child });
        }
        told.main_pid.map(|heir| Claim { by, heir })
    }
}

/// Where in the poll set a worker is listened to.
#[derive(Debug, Default)]
pub(super) struct Heard {
    notify: Option<usize>,
    ready: Option<usize>,
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;
    use crate::plan::{LogFormat, LogSpec};

    #[test]
    fn a_worker_that_notifies_without_end_is_heard_a_piece_at_a_time() {
        let socket = NotifySocket::open().unwrap();
        let name = SocketAddr::from_abstract_name(&socket.name()[1..]).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sender.send_to_addr(b"READY=1", &name).is_ok() {
            sent += 1;
        }
        assert!(sent > NOTIFICATIONS_MAX, "the queue holds {sent}");
        let mut hearing = Hearing::new(Some(socket), None, None);
        let speaker = Speaker { child: ChildId(1), pid: 1, uid: creds::our_uid(), manager: 0 };
        let mut journal = Journal::new(&LogSpec::stderr(Level::Error, LogFormat::Plain));
        let mut heard = |hearing: &mut Hearing| {
            let mut count = 0;
            hearing.read_notify(speaker, &mut Kept::default(), &mut journal, &mut |_| count += 1);
            count
        };
        assert_eq!(heard(&mut hearing), NOTIFICATIONS_MAX);
        assert_eq!(heard(&mut hearing), sent - NOTIFICATIONS_MAX);
    }
}
