//! Requests whose answer gives an account of what they did: which workers have come, which have gone. The protocols of
//! other programs name them by their pids.
//!
//! Whatever is asked is carried out as any other request. What is added is a look at the workers before and after, and a
//! signal of the client's own for those that are to go.

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::command::{Origin, Reply, Scale, Selector, Ticket, Wait};
use super::event::{Action, ChildId, GroupId};
use super::group::Named;
use super::note::Reason;
use super::upgrade::Purpose;
use super::waiter::{Outcome, Waiter};
use crate::error::Code;
use crate::plan::UpgradeMode;
use crate::signame::Signal;

/// What is to be done, and told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// Start what was stopped.
    Start,
    /// Stop; the groups can be started again.
    Stop,
    /// The same by SIGKILL.
    Kill,
    /// End the manager.
    End,
    /// Stop, then start, in the same generation.
    Restart,
    /// Replace the workers by a new generation. Where none are wanted that is nothing to do, and no failure.
    Upgrade,
    /// One worker more.
    Inc,
    /// One worker fewer, but not the last one.
    Dec,
}

/// What a request did to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub group: String,
    /// What asks its workers to go.
    pub signal: Signal,
    /// Why it was not done.
    pub failure: Option<String>,
    /// Pids of the workers that were started and serve, in the order of their start.
    pub new: Vec<i32>,
    /// Pids of the workers that served before and serve no more, in the order of their start.
    pub old: Vec<i32>,
}

/// Who is to be given an account, and how things stood before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Inquiry {
    pub(super) ticket: Ticket,
    /// For each group its serving workers.
    before: Vec<(GroupId, Vec<(ChildId, i32)>)>,
    /// Who came later than this came meanwhile.
    mark: ChildId,
    /// What whoever asks wants workers to be sent.
    signal: Option<Signal>,
}

impl Supervisor {
    /// Does what is asked; the answer comes when it is done.
    pub(super) fn with_account(
        &mut self,
        ticket: Ticket,
        deed: Deed,
        selector: &Selector,
        signal: Option<Signal>,
    ) {
        let groups = match self.select(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        let before = groups.iter().map(|&id| (id, self.serving(id))).collect();
        let inquiry = Inquiry { ticket, before, mark: self.next_child, signal };
        let nothing_to_do = match deed {
            Deed::Upgrade => groups.iter().all(|id| self.groups[id.0].is_idle()),
            Deed::Dec => groups.iter().all(|id| self.groups[id.0].target() <= 1),
            Deed::Start | Deed::Stop | Deed::Kill | Deed::End | Deed::Restart | Deed::Inc => false,
        };
        if nothing_to_do && self.shutdown.is_none() {
            let accounts = self.accounts(&inquiry, None);
            return self.act(Action::Reply { ticket, reply: Reply::Accounts(accounts), last: true });
        }
        match deed {
            Deed::Start => self.start_groups(ticket, selector, Wait::Done),
            Deed::Stop | Deed::Kill => self.stop_groups(ticket, selector, Wait::Done),
            Deed::End => self.stop_all(ticket, Wait::Done),
            Deed::Restart => self.restart_groups(ticket, selector, Wait::Done),
            Deed::Upgrade => self.upgrade_groups(ticket, selector, None, Wait::Done),
            Deed::Inc => self.scale_groups(ticket, selector, Scale::Up(1), Wait::Done),
            Deed::Dec => self.scale_groups(ticket, selector, Scale::Down(1), Wait::Done),
        }
        // Otherwise it was refused, and that is the answer.
        if self.waiters.iter().any(|waiter| waiter.ticket == ticket) {
            self.ask_to_go(&inquiry, deed, signal);
            self.inquiries.push(inquiry);
        }
    }

    /// Asks those workers to go by a signal of the client's own that would be asked anyway.
    fn ask_to_go(&mut self, inquiry: &Inquiry, deed: Deed, signal: Option<Signal>) {
        for (id, children) in &inquiry.before {
            let target = self.groups[id.0].target();
            if deed == Deed::Upgrade {
                self.groups[id.0].drain_signal = signal;
            }
            if deed == Deed::Kill {
                let all = self.children.iter().filter(|child| child.group == *id);
                for child in all.map(|child| child.id).collect::<Vec<ChildId>>() {
                    self.kill_child(child);
                }
                // Nobody was given the time to go by itself.
                self.groups[id.0].killed = Named::default();
            }
            for &(child, _) in children {
                let surplus = self.child(child).is_some_and(|child| child.slot >= target);
                match (deed, signal) {
                    (Deed::Stop | Deed::End, Some(signal)) => {
                        self.stop_child_by(child, Reason::Stop, Some(signal))
                    }
                    (Deed::Restart, Some(signal)) => {
                        self.retire_child_by(child, Reason::Restart, Some(signal))
                    }
                    (Deed::Dec, Some(signal)) if surplus => {
                        self.stop_child_by(child, Reason::Scale, Some(signal))
                    }
                    (
                        Deed::Start
                        | Deed::Upgrade
                        | Deed::Inc
                        | Deed::Kill
                        | Deed::Stop
                        | Deed::End
                        | Deed::Restart
                        | Deed::Dec,
                        _,
                    ) => {}
                }
            }
        }
    }

    /// The answer for somebody who has waited: an account if that is what was asked for.
    pub(super) fn accounted(&mut self, waiter: &Waiter, reply: Reply) -> Reply {
        let Some(at) = self.inquiries.iter().position(|inquiry| inquiry.ticket == waiter.ticket) else {
            return reply;
        };
        let inquiry = self.inquiries.remove(at);
        Reply::Accounts(self.accounts(&inquiry, Some(waiter)))
    }

    fn accounts(&self, inquiry: &Inquiry, waiter: Option<&Waiter>) -> Vec<Account> {
        let account = |(id, before): &(GroupId, Vec<(ChildId, i32)>)| {
            let now = self.serving(*id);
            let pid = |&(_, pid): &(ChildId, i32)| pid;
            let stays = |child: &&(ChildId, i32)| now.iter().any(|(other, _)| *other == child.0);
            let parts = waiter.into_iter().flat_map(|waiter| &waiter.parts);
            let outcome = parts.filter(|part| part.group == *id).find_map(|part| part.outcome.as_ref());
            Account {
                group: self.groups[id.0].name.clone(),
                signal: inquiry.signal.unwrap_or(self.groups[id.0].policy.graceful_signal),
                failure: match outcome {
                    Some(Outcome::Failed(_, why)) => Some(why.clone()),
                    Some(Outcome::Done(_) | Outcome::Forced(_)) | None => None,
                },
                new: now.iter().filter(|(child, _)| *child >= inquiry.mark).map(pid).collect(),
                old: before.iter().filter(|child| !stays(child)).map(pid).collect(),
            }
        };
        inquiry.before.iter().map(account).collect()
    }

    /// The serving workers of a group that are processes, in the order of their start.
    fn serving(&self, id: GroupId) -> Vec<(ChildId, i32)> {
        self.workers_of(id)
            .filter(|child| child.phase.is_serving() && child.pid > 0)
            .map(|child| (child.id, child.pid))
            .collect()
    }

    /// A worker of a group says that it is ready: the one that asks, or, where nobody can tell which that is, the one that
    /// has been waited for longest. The old worker that it replaces may be asked to go by a signal of its choice.
    pub(super) fn ack_in(
        &mut self,
        origin: Origin,
        group: &str,
        signal: Option<Signal>,
    ) -> Result<Reply, Reply> {
        let id = self.select(&Some(group.to_owned()))?.first().copied();
        let of_group = |child: &&super::child::Child| Some(child.group) == id && child.pid > 0;
        let sent = |pid: i32| self.workers().filter(of_group).find(|child| child.pid == pid);
        let unready = || self.workers().filter(of_group).find(|child| child.phase.is_unready());
        let child = sent(origin.pid)
            .or_else(|| sent(origin.process_group))
            .or_else(|| origin.trusted.then(unready).flatten());
        let Some((child, slot)) = child.map(|child| (child.id, child.slot)) else {
            let sentence = format!("pid {} is no worker of {group}, nor is its process group", origin.pid);
            return Err(Reply::Failed(Code::Refused, sentence));
        };
        self.acked(child);
        if let (Some(id), Some(signal)) = (id, signal) {
            self.let_go(id, slot, signal);
        }
        Ok(Reply::Done("acknowledged".into()))
    }

    /// Asks the old worker of a slot whose new one is ready to go by this signal, if it is its turn.
    fn let_go(&mut self, id: GroupId, slot: u32, signal: Signal) {
        let group = &self.groups[id.0];
        let upgrade = group.rollout.as_ref().is_some_and(|rollout| rollout.purpose == Purpose::Upgrade);
        let views = group.views(&self.children);
        let view = usize::try_from(slot).ok().and_then(|slot| views.get(slot));
        let old = view.filter(|view| view.modern_ready()).and_then(|view| view.old.first());
        if let Some(old) = old.filter(|_| upgrade && group.mode() == UpgradeMode::Rolling) {
            self.retire_child_by(old.id, Reason::Replaced, Some(signal));
        }
    }
}
