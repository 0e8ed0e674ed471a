//! Workers that hand over to another process of theirs: `MAINPID=` of `sd_notify(3)`.
//!
//! Only the worker itself can say so, and only of a process that is its own; who that is is looked at through a descriptor of
//! the process, so that no other one can have got its number meanwhile. Until the process before it has ended the new one is
//! the child of that one: it is signalled by its descriptor, and nobody tells us of its end but that. Then it comes to us, as
//! orphans do, and is reaped like any other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::journal::Journal;
use super::workers::{Process, Workers};
use crate::plan::Level;
use crate::process::Exit;
use crate::signame::Signal;
use crate::supervisor::event::{Event, Remains, Word};
use crate::supervisor::note::Ending;
use crate::sys::family::{self, Kin};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{clock, pidfd, reap, reason};

/// How long a process that has ended, and that somebody else may reap, is waited for, in milliseconds: where its parent ends
/// with it we are told how it has ended.
const PATIENCE_MS: u64 = 300;

/// What a worker has said by `MAINPID=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Who has said it.
    pub(super) by: i32,
    /// Who is to be the worker.
    pub(super) heir: i32,
}

/// A worker that is no child of ours.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) handle: OwnedFd,
    /// When it was seen to have ended.
    ended: Option<u64>,
    /// Where it stands in the poll set.
    at: Option<usize>,
}

impl Foreign {
    pub(super) fn new(handle: OwnedFd) -> Foreign {
        Foreign { handle, ended: None, at: None }
    }
}

/// One that may become the worker.
struct Heir {
    /// If it is no child of ours.
    foreign: Option<Foreign>,
    /// Its session or process group, as [`Process::root`] has it.
    root: Option<i32>,
    /// It was known as an orphan.
    orphan: bool,
}

impl Process {
    /// The same worker, which is another process now.
    fn led_by(self, heir: Heir) -> Process {
        Process { foreign: heir.foreign, ..self.rooted(heir.root) }
    }

    /// The same with a tree that is found by this number, or not at all.
    fn rooted(self, root: Option<i32>) -> Process {
        let is = root.is_some();
        Process {
            root: root.unwrap_or(0),
            leads_group: self.leads_group && is,
            tree: self.tree && is,
            ..self
        }
    }

    /// Signals it alone.
    pub(super) fn send(&self, pid: i32, signal: Signal) -> io::Result<()> {
        match &self.foreign {
            Some(foreign) => pidfd::signal(foreign.handle.as_fd(), signal),
            None => reap::kill(pid, signal),
        }
    }
}

impl Workers {
    /// Takes in what a worker says of its successor, or tells why not. Returns who is the worker now.
    pub(super) fn succeed(
        &mut self,
        before: i32,
        claim: Claim,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) -> i32 {
        let Claim { heir: pid, .. } = claim;
        let Some(process) = self.by_pid.get_mut(&before) else { return before };
        // It has handed over, and so it runs.
        process.read_status(tell);
        let (child, told) = (process.child, process.refusal_told);
        if pid == before {
            tell(Event::Said { child, word: Word::MainPid(pid) });
            return before;
        }
        let heir = match self.heir(before, claim) {
            Ok(heir) => heir,
            Err(why) => {
                if family::belongs(pid, before) {
                    tell(Event::Said { child, word: Word::MainPid(pid) });
                }
                if !told {
                    journal.line(Level::Warn, &format!("ignored MAINPID={pid} of pid {before}: {why}"));
                }
                if let Some(process) = self.by_pid.get_mut(&before) {
                    process.refusal_told = true;
                }
                return before;
            }
        };
        let Some(process) = self.by_pid.remove(&before) else { return before };
        self.former.remove(&pid);
        if process.foreign.is_none() {
            self.former.insert(before, child);
        }
        if heir.orphan {
            self.trees.reaped(pid, tell);
        }
        self.outputs.rename(before, pid);
        let process = process.led_by(heir);
        self.keep_under(pid, process);
        self.successions.push((before, pid));
        tell(Event::HandedOver { child, pid });
        pid
    }

    /// Whether a worker may hand over to this process: or a sentence why not.
    fn heir(&self, before: i32, Claim { by, heir: pid }: Claim) -> Result<Heir, String> {
        let process = self.by_pid.get(&before).ok_or("it has ended")?;
        let (root, child) = (process.root, process.child);
        if by != before {
            return Err(format!("pid {by} says so, and not the worker itself"));
        }
        if pid <= 1 || pid == self.manager {
            return Err("no worker can be that".to_owned());
        }
        let anothers = self.former.get(&pid).is_some_and(|owner| *owner != child);
        if anothers || self.by_pid.contains_key(&pid) {
            return Err("that is another worker".to_owned());
        }
        if !self.trees.adopts {
            return Err("orphans do not come to the manager, which is no subreaper".to_owned());
        }
        // From here on the number is that of another process only if this one was reaped, which is looked at in the end.
        let handle = pidfd::open(pid).map_err(reason)?;
        let kin = family::look(pid).map_err(|error| format!("cannot tell whose it is: {}", reason(error)))?;
        if kin.uid != Some(process.uid) {
            return Err(format!("it is not of the worker's user, uid {}", process.uid));
        }
        let ours = reap::is_child(pid);
        let together = process.leads_group
            && (kin.group == root || (process.session && kin.session == root))
            && self.root_of(before, process).is_some();
        // Whoever has lost its parents has come to us; it is of this worker as far as anybody can tell.
        let lost = || {
            ours && self.is_nobodys(pid, kin) && family::look(before).is_ok_and(|own| own.begun <= kin.begun)
        };
        if !together && !family::descends(pid, before) && !lost() {
            return Err("it is neither of the worker's session nor descends from it".to_owned());
        }
        if !pidfd::exists(handle.as_fd()) {
            return Err("it has ended".to_owned());
        }
        Ok(Heir {
            foreign: (!ours).then(|| Foreign::new(handle)),
            root: self.root_among(process, kin),
            orphan: !self.trees.is_news(pid),
        })
    }

    /// Whether a child of ours is none that we have started, and in no worker's tree.
    fn is_nobodys(&self, pid: i32, kin: Kin) -> bool {
        !self.is_own(pid) && ![kin.session, kin.group].into_iter().any(|number| self.leads_tree(number))
    }

    /// The session, or the group, by which the tree of a worker can be found from here on, if there is one that is its own.
    fn root_among(&self, process: &Process, kin: Kin) -> Option<i32> {
        if !process.leads_group {
            return None;
        }
        let root = process.root;
        let (own, of_manager) = match process.session {
            true => (kin.session, reap::session_of(0)),
            false => (kin.group, reap::process_group_of(0)),
        };
        if own == root || kin.group == root {
            return Some(root);
        }
        let free = own > 1 && Some(own) != of_manager && !self.leads_tree(own);
        free.then_some(own)
    }

    /// The number of the session, or the group, that a worker's tree has, while it can be no other's: somebody of it is not
    /// reaped.
    pub(super) fn root_of(&self, pid: i32, process: &Process) -> Option<i32> {
        let root = process.root;
        let led = pid == root || self.former.contains_key(&root);
        let within = || {
            reap::process_group_of(pid) == Some(root)
                || (process.session && reap::session_of(pid) == Some(root))
        };
        (process.leads_group && (led || within())).then_some(root)
    }

    /// A process that has handed over was reaped.
    pub(super) fn former_ended(&mut self, before: i32, exit: Exit, journal: &mut Journal) {
        let Some(child) = self.former.remove(&before) else { return };
        let sentence = match self.pids.get(&child) {
            Some(pid) => format!("pid {before}, which had handed over to pid {pid}, ended: {}", Ending(exit)),
            None => format!("pid {before}, which had handed over, ended: {}", Ending(exit)),
        };
        journal.line(Level::Info, &sentence);
        self.trees.set_due();
        // The number of the tree was that of this process, perhaps, and is free where the worker has left its session.
        let Some((&pid, process)) = self.by_pid.iter().find(|(_, process)| process.child == child) else {
            return;
        };
        if process.root == before && process.leads_group && self.root_of(pid, process).is_none() {
            let root = family::look(pid).ok().and_then(|kin| self.root_among(process, kin));
            if let Some(process) = self.by_pid.remove(&pid) {
                self.by_pid.insert(pid, process.rooted(root));
            }
        }
    }

    /// Puts those into the poll set of whose end nobody else tells.
    pub(super) fn watch_foreign(&mut self, poll: &mut PollSet) {
        for foreign in self.by_pid.values_mut().filter_map(|process| process.foreign.as_mut()) {
            let waits = foreign.ended.is_none();
            foreign.at = waits.then(|| poll.add(foreign.handle.as_fd(), Interest::READ));
        }
    }

    /// When to look at one of them again, in milliseconds of [`clock::now_ms`].
    pub(super) fn foreign_deadline(&self) -> Option<u64> {
        let ends = self.by_pid.values().filter_map(|process| process.foreign.as_ref()?.ended);
        ends.map(|ended| ended.saturating_add(PATIENCE_MS)).min()
    }

    /// Looks who of them has come to us, and who has ended elsewhere.
    pub(super) fn follow_foreign(
        &mut self,
        poll: &PollSet,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) {
        let now = clock::now_ms();
        let mut lost = Vec::new();
        for (&pid, process) in &mut self.by_pid {
            let Some(foreign) = &mut process.foreign else { continue };
            if foreign.at.take().is_some_and(|at| poll.readable(at)) {
                foreign.ended.get_or_insert(now);
            }
            let patient = foreign.ended.is_none_or(|ended| now < ended.saturating_add(PATIENCE_MS));
            if reap::is_child(pid) {
                process.foreign = None;
            } else if !patient {
                lost.push(pid);
            }
        }
        let lost: Vec<_> =
            lost.into_iter().filter_map(|pid| Some((pid, self.by_pid.remove(&pid)?))).collect();
        let displaced = std::mem::take(&mut self.displaced);
        for (pid, mut process) in lost.into_iter().chain(displaced) {
            if let Some(hearing) = &mut process.hearing {
                hearing.silence(&mut self.kept);
            }
            // Its number may be another's by now, but that of its tree is not while there is somebody in it.
            let root =
                Some(process.root).filter(|root| process.leads_group && self.former.contains_key(root));
            let (left, lives_on) = self.left_by(pid, &process, root, journal, tell);
            let remains = Remains { left, ..Remains::default() };
            self.bury(pid, &process, (Exit::Unknown, remains), lives_on, journal, tell);
        }
    }

    /// Reads what a worker that has ended has said last, if it has named its successor there.
    pub(super) fn hear_last(&mut self, pid: i32, journal: &mut Journal, tell: &mut impl FnMut(Event)) {
        let manager = self.manager;
        let Some(process) = self.by_pid.get_mut(&pid).filter(|_| self.trees.adopts) else { return };
        let Some(mut ears) = process.hearing.take() else { return };
        let mut speaker = process.speaker(pid, manager);
        let messages = ears.rest(speaker, &mut self.kept);
        for message in messages {
            let claim = ears.take(message, speaker, &mut self.kept, journal, tell);
            if let Some(claim) = claim {
                speaker.pid = self.succeed(speaker.pid, claim, journal, tell);
            }
        }
        if let Some(process) = self.by_pid.get_mut(&speaker.pid) {
            process.hearing = Some(ears);
        }
    }
}
