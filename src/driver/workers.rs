//! Processes: their pids, status pipes and notification sockets. From the fork to the reaper.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::hearing::{Heard, Hearing, HearingState, Speaker};
use super::journal::Journal;
use super::kept::{Kept, KeptState};
use super::lifesign::LifeSign;
use super::output::{Outputs, OutputsState};
use super::succession::Foreign;
use super::tree::{Root, Trees, TreesState, tell_doomed};
use crate::error::{Error, Result};
use crate::plan::{Launch, Level};
use crate::process::Exit;
use crate::reading::Reading;
use crate::signame::Signal;
use crate::supervisor::event::{ChildId, Event, Mono, Remains, Word};
use crate::supervisor::note::Ending;
use crate::sys::disposal;
use crate::sys::offload::{self, Offloaded};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::{Image, Inherited, Keeper};
use crate::sys::signals::Saved;
use crate::sys::spawn::{self, Limit, Resource, Status};
use crate::sys::{cgroup, family, reap, reason, start};

/// Most processes at a time that close what others have sent us.
const DISPOSALS_MAX: usize = 32;

/// So many descriptors are closed before more are taken.
const DISCARDED_MAX: usize = 253;

/// Milliseconds until such a process is asked for again where there was none to be had.
const DISPOSAL_PAUSE_MS: u64 = 200;

/// What the driver holds of a worker.
pub(super) struct Process {
    pub(super) child: ChildId,
    /// It leads a process group of its own.
    pub(super) leads_group: bool,
    /// It leads a session of its own.
    pub(super) session: bool,
    /// What it leaves behind is looked for when it has ended.
    pub(super) tree: bool,
    /// What is left of its process group is not spared.
    pub(super) kill_group: bool,
    /// Open until its program runs.
    pub(super) status: Option<OwnedFd>,
    /// Absent where nothing is listened to, so that a worker of which nobody wants to hear costs no memory for it.
    pub(super) hearing: Option<Box<Hearing>>,
    pub(super) uid: u32,
    pub(super) life_sign: Option<LifeSign>,
    /// The number of its process group, or session, where it leads one, or where the process has that has handed over to it.
    pub(super) root: i32,
    /// While it is no child of ours.
    pub(super) foreign: Option<Foreign>,
    /// That it cannot hand over as it wants to was told.
    pub(super) refusal_told: bool,
}

/// Every process that is ours and not reaped, by pid.
pub(super) struct Workers {
    pub(super) by_pid: BTreeMap<i32, Process>,
    pub(super) pids: BTreeMap<ChildId, i32>,
    /// Processes that have handed over to others and are not reaped, with the worker that they were.
    pub(super) former: BTreeMap<i32, ChildId>,
    /// Who has handed over to whom since that was last asked.
    pub(super) successions: Vec<(i32, i32)>,
    /// Workers whose numbers others have got: they were no children of ours, and have ended unseen.
    pub(super) displaced: Vec<(i32, Process)>,
    pub(super) null: OwnedFd,
    /// What workers have left behind.
    pub(super) trees: Trees,
    /// What some workers leave behind is left alone, and so are orphans, whosever they were.
    pub(super) spares: bool,
    /// Images that are being asked whether they can go on from our state.
    checks: Vec<Check>,
    /// Plans that are being read, by the number of the reading.
    readings: Vec<(u64, Offloaded)>,
    /// Who closes what others have sent us.
    disposals: Vec<i32>,
    /// That there is nobody to do it was told.
    disposal_told: bool,
    /// The limit of open files that workers get.
    nofile: Limit,
    /// The oom_score_adj of workers for which none was asked, if it is not that of the manager.
    oom_score_adj: Option<i32>,
    saved: Saved,
    pub(super) manager: i32,
    /// Processes that were given to us to reap and were never ours.
    strangers: u64,
    /// What they have given us to keep.
    pub(super) kept: Kept,
    /// What they write, where that goes into our log.
    pub(super) outputs: Outputs,
    /// Our ends of connections that new workers were given, by pid and uid.
    pub(super) connections: Vec<(i32, u32, OwnedFd)>,
    /// How many of our control group were killed for want of memory, when that was last looked at.
    oom_kills: Option<u64>,
}

/// Where in the poll set those workers are listened to that may say something, by pid: first their status pipes, then what
/// they say of themselves; and where what they have given us to keep stands.
pub(super) struct Listened {
    workers: Vec<(i32, Option<usize>, Heard)>,
    kept: Vec<Option<usize>>,
}

/// Every process on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct WorkersState {
    processes: Vec<ProcessState>,
    /// Soft and hard limit of open files that workers get.
    nofile: (u64, u64),
    strangers: u64,
    #[serde(default)]
    kept: Vec<KeptState>,
    #[serde(default)]
    outputs: OutputsState,
    #[serde(default)]
    trees: TreesState,
    #[serde(default)]
    former: Vec<(i32, ChildId)>,
}

#[derive(Serialize, Deserialize)]
struct ProcessState {
    pid: i32,
    child: ChildId,
    leads_group: bool,
    #[serde(default)]
    session: bool,
    #[serde(default)]
    tree: bool,
    kill_group: bool,
    #[serde(default)]
    status: Option<i32>,
    #[serde(flatten)]
    hearing: HearingState,
    uid: u32,
    #[serde(default)]
    life_sign: Option<LifeSign>,
    /// If it is not its pid.
    #[serde(default)]
    root: Option<i32>,
    /// The descriptor of a process that is no child of ours.
    #[serde(default)]
    foreign: Option<i32>,
}

impl WorkersState {
    pub(super) fn pids(&self) -> Vec<i32> {
        self.processes.iter().map(|process| process.pid).collect()
    }
}

impl Workers {
    pub(super) fn new(saved: Saved, manager: i32) -> Result<Workers> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Error::failed(format!("cannot {what}: {}", reason(error)))
        };
        let nofile = start::raise_nofile().map_err(failed("read the limit of open files"))?;
        Ok(Workers {
            by_pid: BTreeMap::new(),
            pids: BTreeMap::new(),
            former: BTreeMap::new(),
            successions: Vec::new(),
            displaced: Vec::new(),
            null: start::null_input().map_err(failed("open /dev/null"))?,
            trees: Trees::new(),
            spares: false,
            checks: Vec::new(),
            readings: Vec::new(),
            disposals: Vec::new(),
            disposal_told: false,
            nofile,
            oom_score_adj: unprotected(start::oom_score_adj()),
            saved,
            manager,
            strangers: 0,
            kept: Kept::default(),
            outputs: Outputs::default(),
            connections: Vec::new(),
            oom_kills: cgroup::oom_kills(),
        })
    }

    /// How many processes were reaped that we have not started.
    pub(super) fn strangers(&self) -> u64 {
        self.strangers
    }

    /// What another image of the manager needs to go on with them.
    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> WorkersState {
        let process = |(&pid, process): (&i32, &Process)| ProcessState {
            pid,
            child: process.child,
            leads_group: process.leads_group,
            session: process.session,
            tree: process.tree,
            kill_group: process.kill_group,
            status: process.status.as_ref().map(|status| keeper.keep(status.as_fd())),
            hearing: process.hearing.as_ref().map(|hearing| hearing.hand_over(keeper)).unwrap_or_default(),
            uid: process.uid,
            life_sign: process.life_sign.clone(),
            root: Some(process.root).filter(|&root| root != pid),
            foreign: process.foreign.as_ref().map(|foreign| keeper.keep(foreign.handle.as_fd())),
        };
        let processes = self.by_pid.iter().map(process).collect();
        WorkersState {
            processes,
            nofile: self.nofile.wide(),
            strangers: self.strangers,
            kept: self.kept.hand_over(keeper),
            outputs: self.outputs.hand_over(keeper),
            trees: self.trees.hand_over(),
            former: self.former.iter().map(|(&pid, &child)| (pid, child)).collect(),
        }
    }

    /// Those of the image before this one.
    pub(super) fn take_over(
        state: WorkersState,
        saved: Saved,
        manager: i32,
        inherited: &mut Inherited,
    ) -> Result<Workers> {
        let mut by_pid = BTreeMap::new();
        for process in state.processes {
            let pid = process.pid;
            let process = Process::take_over(process, inherited)
                .map_err(|error| Error::failed(format!("pid {pid}: {error}")))?;
            by_pid.insert(pid, process);
        }
        let (soft, hard) = state.nofile;
        Ok(Workers {
            pids: by_pid.iter().map(|(&pid, process)| (process.child, pid)).collect(),
            by_pid,
            former: state.former.into_iter().filter(|&(pid, _)| reap::is_child(pid)).collect(),
            successions: Vec::new(),
            displaced: Vec::new(),
            null: start::null_input()
                .map_err(|error| Error::failed(format!("cannot open /dev/null: {}", reason(error))))?,
            trees: Trees::take_over(state.trees),
            spares: false,
            checks: Vec::new(),
            readings: Vec::new(),
            disposals: Vec::new(),
            disposal_told: false,
            nofile: Limit::narrowed(Resource::RLIMIT_NOFILE, soft, hard),
            oom_score_adj: unprotected(start::oom_score_adj()),
            saved,
            manager,
            strangers: state.strangers,
            kept: Kept::take_over(state.kept, inherited)
                .map_err(|error| Error::failed(format!("what workers have given to keep: {error}")))?,
            outputs: Outputs::take_over(state.outputs, inherited)
                .map_err(|error| Error::failed(format!("the output of workers: {error}")))?,
            connections: Vec::new(),
            oom_kills: cgroup::oom_kills(),
        })
    }

    /// Starts asking an image whether it can go on from this state.
    pub(super) fn begin_check(&mut self, number: u64, image: &Image, state: &[u8]) -> Result<(), String> {
        let check = Check::begin(number, image, state, self.null.as_fd())
            .map_err(|error| format!("cannot ask {}: {error}", image.path.display()))?;
        self.checks.push(check);
        Ok(())
    }

    /// Ends an image that is being asked; it is reaped like any other.
    pub(super) fn stop_check(&self, number: u64) -> io::Result<()> {
        self.checks
            .iter()
            .filter(|check| check.number() == number)
            .try_for_each(|check| reap::kill_group(check.pid(), Signal::KILL))
    }

    /// Starts reading a plan: `work` ends in a [`Reading`], or in all that is wrong, as JSON.
    pub(super) fn begin_reading(&mut self, reload: u64, work: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        self.readings.push((reload, offload::begin(work)?));
        Ok(())
    }

    /// Ends a reading; its process is reaped like any other.
    pub(super) fn stop_reading(&self, reload: u64) -> io::Result<()> {
        self.readings
            .iter()
            .filter(|(number, _)| *number == reload)
            .try_for_each(|(_, reading)| reap::kill(reading.pid, Signal::KILL))
    }

    /// Takes those for dead that are no children of ours: somebody has reaped them while this process ran another
    /// program, such as a shell that executed us.
    pub(super) fn give_up_lost(&mut self, journal: &mut Journal, mut tell: impl FnMut(Event)) {
        let is_lost = |&(&pid, process): &(&i32, &Process)| process.foreign.is_none() && !reap::is_child(pid);
        let lost: Vec<i32> = self.by_pid.iter().filter(is_lost).map(|(&pid, _)| pid).collect();
        for pid in lost {
            if let Some(mut process) = self.by_pid.remove(&pid) {
                if let Some(hearing) = &mut process.hearing {
                    hearing.silence(&mut self.kept);
                }
                self.bury(pid, &process, (Exit::Unknown, Remains::default()), false, journal, &mut tell);
            }
        }
    }

    /// Takes a process that was forked into account.
    pub(super) fn keep(&mut self, pid: i32, process: Process) {
        self.keep_under(pid, Process { root: pid, ..process });
    }

    pub(super) fn keep_under(&mut self, pid: i32, process: Process) {
        self.pids.insert(process.child, pid);
        if let Some(other) = self.by_pid.insert(pid, process) {
            self.pids.remove(&other.child);
            self.displaced.push((pid, other));
        }
    }

    /// The pid of a child that is not reaped.
    pub(super) fn pid(&self, child: ChildId) -> Option<i32> {
        self.pids.get(&child).copied()
    }

    /// Mask and ignored signals that the manager was started with.
    pub(super) fn signals_at_start(&self) -> &Saved {
        &self.saved
    }

    /// Our own pid.
    pub(super) fn manager(&self) -> i32 {
        self.manager
    }

    /// The limits of what is started like this: those that the manager was started with, and what was asked for.
    pub(super) fn limits(&self, launch: &Launch) -> Vec<Limit> {
        [self.nofile].into_iter().chain(launch.attributes.limits.iter().map(Limit::from)).collect()
    }

    /// The oom_score_adj of what is started like this, if it is not that of the manager.
    pub(super) fn oom_score_adj(&self, launch: &Launch) -> Option<i32> {
        launch.attributes.oom_score_adj.or(self.oom_score_adj)
    }

    /// Our ends of connections that workers were given since this was last asked: pid and uid of the worker, and the end.
    pub(super) fn take_connections(&mut self) -> Vec<(i32, u32, OwnedFd)> {
        std::mem::take(&mut self.connections)
    }

    /// Signals a worker, or its process group where it leads one. A worker that is reaped is left alone, and so is
    /// whoever has its pid by now.
    pub(super) fn signal(
        &self,
        child: ChildId,
        signal: Signal,
        to_group: bool,
        journal: &mut Journal,
    ) -> io::Result<()> {
        let Some(&pid) = self.pids.get(&child) else {
            return self.trees.signal(child, signal, journal).unwrap_or(Ok(()));
        };
        let Some(process) = self.by_pid.get(&pid) else { return Ok(()) };
        let whole = to_group
            && match signal {
                // Whom the plan spares when a worker dies it spares also when we kill that worker.
                Signal::KILL => process.kill_group,
                _ => process.leads_group,
            };
        let root = self.root_of(pid, process).filter(|_| whole);
        if let (Some(root), Signal::KILL, true) = (root, signal, process.tree) {
            tell_doomed(root, process.session, journal);
        }
        match (root, signal) {
            // It may have left its group, and the group may have others in it: none of both holds up the end of the other.
            (Some(root), Signal::KILL) => process.send(pid, signal).and(reap::kill_group(root, signal)),
            (Some(root), _) if root == pid => reap::kill_group(root, signal),
            (Some(root), _) => {
                let apart = reap::process_group_of(pid) != Some(root);
                let sent = if apart { process.send(pid, signal) } else { Ok(()) };
                sent.and(reap::kill_group(root, signal))
            }
            (None, _) => process.send(pid, signal),
        }
    }

    /// Lets a worker go on that is stopped; one that runs hears nothing of it.
    pub(super) fn wake(&self, child: ChildId, to_group: bool, journal: &mut Journal) -> io::Result<()> {
        match self.pids.get(&child) {
            Some(&pid) if !reap::is_stopped(pid) && !family::is_stopping(pid) => Ok(()),
            _ => self.signal(child, Signal::CONT, to_group, journal),
        }
    }

    /// Signals every worker, when the loop itself has failed and nothing more can be done.
    pub(super) fn signal_all(&self, signal: Signal) {
        for (&pid, process) in &self.by_pid {
            // The workers that are left are on their own now; there is nobody to tell.
            let _ = process.send(pid, signal);
        }
    }

    /// The worker, by its pid and its user, that this is the number of: of its process, of one that has handed over to that,
    /// or of its process group.
    pub(super) fn of_number(&self, number: i32) -> Option<(i32, u32)> {
        let of = |(&pid, process): (&i32, &Process)| (pid, process.uid);
        let led = |(_, process): &(&i32, &Process)| process.leads_group && process.root == number;
        let current = self.former.get(&number).and_then(|child| self.pids.get(child)).unwrap_or(&number);
        self.by_pid.get_key_value(current).map(of).or_else(|| self.by_pid.iter().find(led).map(of))
    }

    /// Who has handed over to whom since this was last asked.
    pub(super) fn take_successions(&mut self) -> Vec<(i32, i32)> {
        std::mem::take(&mut self.successions)
    }

    /// Puts what is listened to into the poll set.
    pub(super) fn watch(&mut self, poll: &mut PollSet, journal: &mut Journal) -> Listened {
        self.trees.watch(poll);
        self.watch_foreign(poll);
        self.dispose(journal);
        // What waits to be closed waits for one of them to end, and nobody sends us more meanwhile.
        let listens = self.disposals.len() < DISPOSALS_MAX && self.kept.discarded().is_empty();
        let mut workers = Vec::new();
        for (&pid, process) in &self.by_pid {
            let status = process.status.as_ref().map(|status| poll.add(status.as_fd(), Interest::READ));
            let hearing = process.hearing.as_ref().filter(|_| listens);
            let hearing = hearing.and_then(|hearing| hearing.watch(poll));
            if status.is_some() || hearing.is_some() {
                workers.push((pid, status, hearing.unwrap_or_default()));
            }
        }
        Listened { workers, kept: self.kept.watch(poll) }
    }

    /// Has what nobody wants closed by somebody who may wait for it.
    fn dispose(&mut self, journal: &mut Journal) {
        if self.kept.discarded().is_empty() || self.disposals.len() >= DISPOSALS_MAX {
            return;
        }
        match disposal::dispose(self.kept.discarded()) {
            Ok(pid) => {
                self.disposals.push(pid);
                self.disposal_told = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.disposal_told, true) {
                    let why = reason(error);
                    journal.complain(&format!("cannot close what workers have sent, and try again: {why}"));
                }
            }
        }
    }

    /// When to try again to have it closed, in milliseconds of [`clock::now_ms`].
    pub(super) fn next_disposal(&mut self, now: u64) -> Option<u64> {
        let waits = self.disposals.len() < DISPOSALS_MAX && !self.kept.discarded().is_empty();
        waits.then_some(now + DISPOSAL_PAUSE_MS)
    }

    /// Reads status pipes and notifications that have something to say.
    pub(super) fn heard(
        &mut self,
        poll: &PollSet,
        at: &Listened,
        journal: &mut Journal,
        mut tell: impl FnMut(Event),
    ) {
        self.kept.drop_hung_up(&at.kept, poll);
        for &(pid, status, ref hearing) in &at.workers {
            let Some(process) = self.by_pid.get_mut(&pid) else { continue };
            if status.is_some_and(|at| poll.readable(at)) {
                process.read_status(&mut tell);
            }
            let speaker = process.speaker(pid, self.manager);
            if let Some(ears) = &mut process.hearing
                && let Some(claim) = ears.hear(hearing, poll, speaker, &mut self.kept, journal, &mut tell)
            {
                self.succeed(pid, claim, journal, &mut tell);
            }
            // Before the next one can send as many.
            if self.kept.discarded().len() >= DISCARDED_MAX {
                self.dispose(journal);
            }
        }
    }

    /// When to look whether workers have shown that they live, in milliseconds of [`clock::now_ms`].
    pub(super) fn next_look(&self) -> Option<u64> {
        self.by_pid.values().filter_map(|process| process.life_sign.as_ref().map(LifeSign::deadline)).min()
    }

    /// Looks where it is time to.
    pub(super) fn look(&mut self, now: Mono, mut tell: impl FnMut(Event)) {
        for process in self.by_pid.values_mut() {
            if process.life_sign.as_mut().is_some_and(|sign| sign.seen(now.0)) {
                tell(Event::Said { child: process.child, word: Word::Alive });
            }
        }
    }

    /// How many of our control group were killed for want of memory since that was last looked at.
    fn new_oom_kills(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.oom_kills, cgroup::oom_kills());
        self.oom_kills.zip(before).map_or(0, |(now, before)| now.saturating_sub(before))
    }

    /// Tells the end of a process that has no pid any more, with its last words, and removes what only it made use of.
    pub(super) fn bury(
        &mut self,
        pid: i32,
        process: &Process,
        (exit, remains): (Exit, Remains),
        lives_on: bool,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) {
        let child = process.child;
        self.pids.remove(&child);
        if let Some(sign) = &process.life_sign {
            sign.clear(journal);
        }
        let known = self.former.len();
        self.former.retain(|_, owner| *owner != child);
        if self.former.len() < known {
            // Who has handed over to it is nobody's now, and is told of before its end lets everything end.
            self.look_for_orphans(journal, &mut *tell);
        }
        let remains = Remains { words: self.outputs.last_words(pid, journal), ..remains };
        if remains != Remains::default() {
            tell(Event::Remains { child, remains });
        }
        tell(if lives_on { Event::LeaderEnded { child, exit } } else { Event::Exited { child, exit } });
    }

    /// Takes in every dead child.
    pub(super) fn reap(&mut self, poll: &PollSet, journal: &mut Journal, mut tell: impl FnMut(Event)) {
        self.reap_all(journal, &mut tell);
        self.follow_foreign(poll, journal, &mut tell);
        if self.trees.is_due(poll) {
            self.look_for_orphans(journal, &mut tell);
            self.trees.look(tell);
        }
    }

    /// Looks for children that nobody has started and that are in no tree; where somebody is to be spared they all are.
    pub(super) fn look_for_orphans(
        &mut self,
        journal: &mut Journal,
        mut tell: impl FnMut(Event),
    ) -> Vec<String> {
        if self.spares {
            return Vec::new();
        }
        let mut trees = std::mem::take(&mut self.trees);
        let found =
            trees.look_for_orphans(|pid| self.is_own(pid), |leader| self.leads_tree(leader), &mut tell);
        self.trees = trees;
        if !found.is_empty() {
            journal.line(Level::Info, &format!("taken in, as its parent has ended: {}", found.join(", ")));
        }
        found
    }

    /// Whether this is somebody we have started, or who has taken the place of such a one.
    pub(super) fn is_own(&self, pid: i32) -> bool {
        self.by_pid.contains_key(&pid)
            || self.former.get(&pid).is_some_and(|child| self.pids.contains_key(child))
            || self.checks.iter().any(|check| check.pid() == pid)
            || self.readings.iter().any(|(_, reading)| reading.pid == pid)
            || self.disposals.contains(&pid)
    }

    /// Whether a session or process group of this number is that of a worker.
    pub(super) fn leads_tree(&self, number: i32) -> bool {
        let leads = |process: &Process| process.leads_group && process.root == number;
        self.by_pid.get(&number).is_some_and(leads) || self.by_pid.values().any(leads)
    }

    /// What a worker that was just reaped has left behind: names, and whether it is waited for.
    pub(super) fn left_by(
        &mut self,
        pid: i32,
        process: &Process,
        root: Option<i32>,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) -> (Vec<String>, bool) {
        let Some(leader) = root.filter(|_| process.tree) else { return (Vec::new(), false) };
        let root = Root { child: process.child, leader, session: process.session };
        let somebody = reap::group_exists(leader) || self.former.contains_key(&leader);
        if !process.kill_group {
            if somebody {
                let who = Trees::spared(root).join(", ");
                journal
                    .line(Level::Info, &format!("pid {pid} has ended, and what it leaves is spared: {who}"));
            }
            return (Vec::new(), false);
        }
        let unknown = self.trees.adopts && self.has_strange_children();
        let mut left = if somebody || unknown { self.trees.take_in(root) } else { Vec::new() };
        let lives_on = !left.is_empty();
        if unknown {
            left.extend(self.look_for_orphans(journal, &mut *tell));
        }
        (left, lives_on)
    }

    /// Whether there is a child that nobody has started.
    fn has_strange_children(&self) -> bool {
        // Where the kernel does not list them, all processes are looked at.
        family::own_children().map_or(true, |children| {
            let own = |pid: &i32| self.by_pid.contains_key(pid) || self.disposals.contains(pid);
            let former = |pid: &i32| self.former.contains_key(pid);
            children.iter().any(|pid| !own(pid) && !former(pid) && self.trees.is_news(*pid))
        })
    }

    fn reap_all(&mut self, journal: &mut Journal, mut tell: &mut impl FnMut(Event)) {
        // Of this pass, as far as they are not explained.
        let mut oom_kills = None;
        loop {
            let pid = match reap::peek() {
                Ok(Some(pid)) => pid,
                Ok(None) => return,
                Err(error) => {
                    return journal.complain(&format!("cannot look for dead children: {}", reason(error)));
                }
            };
            self.hear_last(pid, journal, tell);
            let mut root = None;
            if let Some(process) = self.by_pid.get_mut(&pid) {
                process.read_status(&mut tell);
            }
            if let Some(process) = self.by_pid.get(&pid) {
                root = self.root_of(pid, process);
                if process.kill_group
                    && !process.tree
                    && let Err(error) = reap::kill_group(pid, Signal::KILL)
                {
                    journal
                        .complain(&format!("cannot kill the process group of pid {pid}: {}", reason(error)));
                }
            }
            let check = self.checks.iter().position(|check| check.pid() == pid);
            let check = check.map(|at| self.checks.swap_remove(at));
            if check.is_some()
                && let Err(error) = reap::kill_group(pid, Signal::KILL)
            {
                journal.complain(&format!("cannot kill the process group of pid {pid}: {}", reason(error)));
            }
            let death = match reap::reap(pid) {
                Ok(death) => death,
                Err(error) => return journal.complain(&format!("cannot reap pid {pid}: {}", reason(error))),
            };
            let exit = death.exit;
            if let Some(check) = check {
                let number = check.number();
                tell(Event::ImageChecked { check: number, outcome: check.verdict(exit) });
                continue;
            }
            if let Some(at) = self.readings.iter().position(|(_, reading)| reading.pid == pid) {
                let (reload, reading) = self.readings.swap_remove(at);
                tell(Event::PlanRead { reload, outcome: was_read(reading, exit) });
                continue;
            }
            if let Some(at) = self.disposals.iter().position(|&closer| closer == pid) {
                self.disposals.swap_remove(at);
                continue;
            }
            match self.by_pid.remove(&pid) {
                Some(mut process) => {
                    if let Some(hearing) = &mut process.hearing {
                        hearing.silence(&mut self.kept);
                    }
                    if exit == Exit::Signal(Signal::KILL) {
                        oom_kills = Some(oom_kills.unwrap_or_else(|| self.new_oom_kills()));
                    }
                    let (left, lives_on) = self.left_by(pid, &process, root, journal, &mut tell);
                    let remains = Remains {
                        left,
                        core_dumped: death.core_dumped,
                        out_of_memory: exit == Exit::Signal(Signal::KILL) && claim(&mut oom_kills),
                        ..Remains::default()
                    };
                    self.bury(pid, &process, (exit, remains), lives_on, journal, &mut tell);
                }
                None if self.former.contains_key(&pid) => self.former_ended(pid, exit, journal),
                None => {
                    self.trees.reaped(pid, &mut tell);
                    self.strangers += 1;
                    let count = self.strangers;
                    journal.line(Level::Debug, &format!("reaped pid {pid}, not a worker ({count} so far)"));
                }
            }
        }
    }
}

/// Whether one of the kills for want of memory was this one.
fn claim(kills: &mut Option<u64>) -> bool {
    let left = kills.unwrap_or(0);
    *kills = kills.map(|kills| kills.saturating_sub(1));
    left > 0
}

/// What the end of a reading means.
fn was_read(reading: Offloaded, exit: Exit) -> Result<Box<Reading>, Vec<String>> {
    if exit != Exit::Code(offload::DONE) {
        return Err(vec![format!("whoever read the plan did not get to its end: {}", Ending(exit))]);
    }
    let bytes =
        reading.result().map_err(|error| vec![format!("cannot take what was read: {}", reason(error))])?;
    serde_json::from_slice::<Result<Box<Reading>, Vec<String>>>(&bytes)
        .unwrap_or_else(|error| Err(vec![format!("cannot take what was read: {error}")]))
}

impl Process {
    /// A hook: what it leaves in its process group dies with it.
    pub(super) fn hook(child: ChildId, status: OwnedFd, uid: u32) -> Process {
        let status = Some(status);
        Process {
            child,
            leads_group: true,
            session: false,
            tree: false,
            kill_group: true,
            status,
            hearing: None,
            uid,
            life_sign: None,
            root: 0,
            foreign: None,
            refusal_told: false,
        }
    }

    /// As whoever says something there.
    pub(super) fn speaker(&self, pid: i32, manager: i32) -> Speaker {
        Speaker { child: self.child, pid, uid: self.uid, manager }
    }

    fn take_over(state: ProcessState, inherited: &mut Inherited) -> io::Result<Process> {
        Ok(Process {
            child: state.child,
            leads_group: state.leads_group,
            session: state.session,
            tree: state.tree,
            kill_group: state.kill_group,
            status: state.status.map(|number| inherited.claim(number)).transpose()?,
            hearing: Hearing::take_over(state.hearing, inherited)?.unless_deaf(),
            uid: state.uid,
            life_sign: state.life_sign,
            root: state.root.unwrap_or(state.pid),
            foreign: state.foreign.map(|number| inherited.claim(number)).transpose()?.map(Foreign::new),
            refusal_told: false,
        })
    }

    /// Looks whether the program runs. A pipe that is still open says nothing yet.
    pub(super) fn read_status(&mut self, tell: &mut impl FnMut(Event)) {
        let child = self.child;
        let Some(pipe) = &self.status else { return };
        match spawn::read_status(pipe) {
            Status::Pending => return,
            Status::Running => tell(Event::Execed { child }),
            Status::Failed(stage, errno) => tell(Event::SpawnFailed { child, stage, errno }),
        }
        self.status = None;
    }
}

/// What workers get in place of the oom_score_adj of a manager that is protected.
fn unprotected(own: Option<i32>) -> Option<i32> {
    own.filter(|&own| own < 0).map(|_| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_protects_the_manager_is_not_passed_on() {
        assert_eq!(
            [Some(-1000), Some(-1), Some(0), Some(700), None].map(unprotected),
            [Some(0), Some(0), None, None, None]
        );
    }
}
