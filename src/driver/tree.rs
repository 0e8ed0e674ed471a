//! What workers leave behind: the rest of their trees when they have ended, and orphans that are in no tree.
//!
//! `/proc` is read only when there is something to be found: the process group of a worker that has ended is not empty, or
//! there is a child that we have not started. Where there is no `/proc`, the group stands for the tree.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use crate::plan::Level;
use crate::signame::Signal;
use crate::supervisor::event::{ChildId, Event};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{clock, family, holder, pidfd, reap, reason};

/// How often trees are looked at whose processes do not tell of their end.
const LOOK_EVERY: u64 = 100;

/// Of how many the names are told.
const NAMED_MAX: usize = 8;

/// Whose tree it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    pub(super) child: ChildId,
    /// The worker, which is dead and whose number is that of the group, and of the session.
    pub(super) leader: i32,
    pub(super) session: bool,
}

/// The rest of the tree of a worker that has ended.
pub(super) struct Remnant {
    root: Root,
    /// Who was there when that was last looked at, each with a descriptor that tells of its end.
    members: Vec<(i32, Option<OwnedFd>)>,
}

/// All of them, and orphans.
#[derive(Default)]
pub(super) struct Trees {
    remnants: Vec<Remnant>,
    orphans: Vec<i32>,
    /// Orphans come to us.
    pub(super) adopts: bool,
    /// Somebody has ended: it is to be looked who is left.
    due: bool,
    look_at: Option<u64>,
    /// Where the descriptors stand in the poll set.
    watched: Vec<usize>,
}

/// The same on its way to another image of the manager.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct TreesState {
    roots: Vec<Root>,
    orphans: Vec<i32>,
}

impl Root {
    /// Who lives of its tree. If that cannot be told but there is somebody, `None`.
    fn members(self) -> Option<Vec<i32>> {
        match family::tree_of(self.leader, self.session) {
            Ok(members) => Some(members),
            Err(_) if reap::group_exists(self.leader) => None,
            Err(_) => Some(Vec::new()),
        }
    }
}

impl Trees {
    pub(super) fn new() -> Trees {
        let adopts = family::is_first() || family::is_subreaper().unwrap_or(false);
        Trees { adopts, ..Trees::default() }
    }

    pub(super) fn hand_over(&self) -> TreesState {
        let roots = self.remnants.iter().map(|remnant| remnant.root).collect();
        TreesState { roots, orphans: self.orphans.clone() }
    }

    pub(super) fn take_over(state: TreesState) -> Trees {
        let trees = Trees::new();
        // What is left of a tree has come to us, as far as orphans do. Others that have such a number by now are not ours.
        let ours = |root: &Root| {
            let members = root.members().filter(|_| trees.adopts);
            members.is_none_or(|members| members.into_iter().any(reap::is_child))
        };
        let remnants: Vec<Remnant> =
            state.roots.into_iter().filter(ours).map(|root| Remnant { root, members: Vec::new() }).collect();
        let orphans = state.orphans.into_iter().filter(|&pid| reap::is_child(pid)).collect();
        // Their descriptors are opened at the first look, which is due.
        let look_at = (!remnants.is_empty()).then_some(0);
        Trees { remnants, orphans, look_at, ..trees }
    }

    /// Takes a tree in whose root was just reaped, if anybody lives of it; returns who, by pid and name.
    pub(super) fn take_in(&mut self, root: Root) -> Vec<String> {
        let Some(mut remnant) = Remnant::look(root) else { return Vec::new() };
        let names = remnant.names();
        remnant.follow();
        self.remnants.push(remnant);
        self.set_look();
        names
    }

    /// Who lives of a tree that is to be left alone.
    pub(super) fn spared(root: Root) -> Vec<String> {
        Remnant::look(root).map_or_else(Vec::new, |remnant| remnant.names())
    }

    /// Children that `known` does not know and that are in no tree: tells of each that is new, and returns those.
    pub(super) fn look_for_orphans(
        &mut self,
        known: impl Fn(i32) -> bool,
        in_tree: impl Fn(i32) -> bool,
        tell: &mut impl FnMut(Event),
    ) -> Vec<String> {
        let mut found = Vec::new();
        if !self.adopts {
            return found;
        }
        // Where it cannot be told nobody is found.
        for pid in family::own_children().or_else(|_| family::children()).unwrap_or_default() {
            if known(pid) || self.orphans.contains(&pid) {
                continue;
            }
            let Some((session, group)) = family::kinship(pid) else { continue };
            let of_remnant = |remnant: &Remnant| [session, group].contains(&remnant.root.leader);
            if in_tree(session) || in_tree(group) || self.remnants.iter().any(of_remnant) {
                continue;
            }
            self.orphans.push(pid);
            let name = named(pid);
            tell(Event::OrphanFound { pid, name: name.clone() });
            found.push(name);
        }
        found
    }

    /// A child was reaped that is nobody we have started.
    pub(super) fn reaped(&mut self, pid: i32, tell: &mut impl FnMut(Event)) {
        self.due = true;
        if let Some(at) = self.orphans.iter().position(|&orphan| orphan == pid) {
            self.orphans.swap_remove(at);
            tell(Event::OrphanGone { pid });
        }
    }

    /// Somebody has ended: it is to be looked who is left.
    pub(super) fn set_due(&mut self) {
        self.due = true;
    }

    /// Whether it is not known as an orphan.
    pub(super) fn is_news(&self, pid: i32) -> bool {
        !self.orphans.contains(&pid)
    }

    /// Signals an orphan that is not reaped.
    pub(super) fn signal_orphan(&self, pid: i32, signal: Signal) -> std::io::Result<()> {
        if self.orphans.contains(&pid) { reap::kill(pid, signal) } else { Ok(()) }
    }

    /// Signals everybody of a tree, if it is one of those.
    pub(super) fn signal(
        &self,
        child: ChildId,
        signal: Signal,
        journal: &mut Journal,
    ) -> Option<std::io::Result<()>> {
        let Remnant { root, .. } = self.remnants.iter().find(|remnant| remnant.root.child == child)?;
        let leader = root.leader;
        let Some(members) = root.members() else { return Some(reap::kill_group(leader, signal)) };
        if signal == Signal::KILL && !members.is_empty() {
            tell_killed(leader, &members, journal);
        }
        let mut sent = Ok(());
        for &member in &members {
            sent = sent.and(reap::kill(member, signal));
        }
        // Also whoever is forked just now.
        if signal == Signal::KILL
            && members.iter().any(|&member| reap::process_group_of(member) == Some(leader))
        {
            sent = sent.and(reap::kill_group(leader, signal));
        }
        Some(sent)
    }

    pub(super) fn watch(&mut self, poll: &mut PollSet) {
        self.watched.clear();
        let members = self.remnants.iter().flat_map(|remnant| &remnant.members);
        for (_, descriptor) in members {
            self.watched.extend(descriptor.as_ref().map(|fd| poll.add(fd.as_fd(), Interest::READ)));
        }
    }

    /// When to look again, where nobody tells that somebody has ended.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.look_at
    }

    /// Whether somebody may have ended.
    pub(super) fn is_due(&mut self, poll: &PollSet) -> bool {
        self.due |= self.watched.iter().any(|&at| poll.readable(at));
        self.watched.clear();
        self.due |= self.look_at.is_some_and(|at| at <= clock::now_ms());
        std::mem::take(&mut self.due)
    }

    /// Looks who is left, and tells of the trees of which nobody is.
    pub(super) fn look(&mut self, mut tell: impl FnMut(Event)) {
        self.remnants.retain_mut(|remnant| {
            let Some(now) = Remnant::look(remnant.root) else {
                tell(Event::TreeGone { child: remnant.root.child });
                return false;
            };
            let before = std::mem::replace(remnant, now);
            remnant.keep_following(before);
            true
        });
        self.set_look();
    }

    fn set_look(&mut self) {
        let silent = |remnant: &Remnant| {
            remnant.members.is_empty() || remnant.members.iter().any(|(_, descriptor)| descriptor.is_none())
        };
        let wanted = self.remnants.iter().any(silent);
        self.look_at = wanted.then(|| clock::now_ms().saturating_add(LOOK_EVERY));
    }
}

impl Remnant {
    /// What is left of a tree, if anything.
    fn look(root: Root) -> Option<Remnant> {
        let members = root.members();
        if members.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let members = members.unwrap_or_default().into_iter().map(|pid| (pid, None)).collect();
        Some(Remnant { root, members })
    }

    fn follow(&mut self) {
        for (pid, descriptor) in &mut self.members {
            if descriptor.is_none() {
                *descriptor = pidfd::open(*pid).ok();
            }
        }
    }

    fn keep_following(&mut self, before: Remnant) {
        let mut before = before.members;
        for (pid, descriptor) in &mut self.members {
            if let Some(at) = before.iter().position(|(known, _)| known == pid) {
                *descriptor = before.swap_remove(at).1;
            }
        }
        self.follow();
    }

    fn names(&self) -> Vec<String> {
        let pids: Vec<i32> = self.members.iter().map(|(pid, _)| *pid).collect();
        if pids.is_empty() { vec![format!("process group {}", self.root.leader)] } else { names(&pids) }
    }
}

/// Names who is killed with a worker, or after it.
pub(super) fn tell_killed(leader: i32, members: &[i32], journal: &mut Journal) {
    let others: Vec<i32> = members.iter().copied().filter(|&pid| pid != leader).collect();
    if !others.is_empty() {
        let who = names(&others).join(", ");
        journal.line(Level::Warn, &format!("killing what pid {leader} has started: {who}"));
    }
}

/// Names who dies with a worker that is killed.
pub(super) fn tell_doomed(leader: i32, session: bool, journal: &mut Journal) {
    match family::tree_of(leader, session) {
        Ok(members) => tell_killed(leader, &members, journal),
        Err(error) => {
            let sentence = format!("cannot tell whom pid {leader} has started: {}", reason(error));
            journal.line(Level::Debug, &sentence);
        }
    }
}

fn names(pids: &[i32]) -> Vec<String> {
    let mut names: Vec<String> = pids.iter().take(NAMED_MAX).map(|&pid| named(pid)).collect();
    if pids.len() > NAMED_MAX {
        names.push(format!("{} more", pids.len() - NAMED_MAX));
    }
    names
}

/// `pid 7 (sleep)`
fn named(pid: i32) -> String {
    match holder::of_pid(pid).and_then(|holder| holder.name) {
        Some(name) => format!("pid {pid} ({name})"),
        None => format!("pid {pid}"),
    }
}
