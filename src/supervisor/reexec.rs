//! The manager replaces itself: another image of the program goes on in the same process, with everything this one has.
//!
//! A re-execution goes through three phases:
//!
//! ```text
//!   Checking --can read our state--> Settling --no worker between fork and exec, no hook--> Executing --> the new image
//!       |                               |                                                      |
//!       +--refused, too late            +--too late                                            +--exec failed
//!       v                               v                                             v
//!   this image goes on as if nothing had been asked
//! ```
//!
//! Nothing changes for the workers before the exec, so every failure on the way leaves all as it was. While settling no
//! worker is started; what dies meanwhile is replaced afterwards, by whichever image runs then. Each phase has a
//! deadline. Shutdown wins here too: it ends a re-execution that is under way, and none begins in it.
//!
//! Those who wait for the end are part of the state, so that the new image answers them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::child::Phase as ChildPhase;
use super::command::{ClientId, Reply, Ticket, Wait};
use super::event::{Action, GroupId, Mono};
use super::note::Happening;
use super::waiter::{Goal, Part, Waiter};
use crate::error::Code;
use crate::plan::{Level, UpgradeMode};

/// How long the new image may take to say whether it can read the state.
const CHECK_TIME: Duration = Duration::from_secs(10);

/// How long workers that are being started may take to run their program.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// A re-execution under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Reexec {
    pub(super) phase: Phase,
    /// Which check is waited for.
    pub(super) check: u64,
    pub(super) deadline: Mono,
    /// Who is to hear how it ends.
    pub(super) waiting: Vec<Ticket>,
    /// The new image begins with an upgrade.
    #[serde(default)]
    pub(super) upgrade: bool,
    /// In this mode, if not in that of the policy.
    #[serde(default)]
    pub(super) mode: Option<UpgradeMode>,
    /// Who is to hear how that upgrade ends.
    #[serde(default)]
    pub(super) upgrading: Vec<(Ticket, Wait)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The new image is asked whether it can go on from our state.
    Checking,
    /// It can; workers between fork and exec are waited for.
    Settling,
    /// The driver was told to do it.
    Executing,
}

impl Supervisor {
    /// Begins to replace this image of the manager, or joins the re-execution that is under way.
    pub(super) fn request_reexec(&mut self) -> Result<(), Reply> {
        if self.shutdown.is_some() {
            return Err(Reply::Failed(Code::Refused, "the manager is stopping".into()));
        }
        if self.reexec.is_none() {
            self.checks += 1;
            self.reexec = Some(Reexec {
                phase: Phase::Checking,
                check: self.checks,
                deadline: self.now.after(CHECK_TIME),
                waiting: Vec::new(),
                upgrade: false,
                mode: None,
                upgrading: Vec::new(),
            });
            self.note_manager(Level::Info, Happening::ReexecStarted);
            self.act(Action::CheckImage { check: self.checks });
        }
        Ok(())
    }

    /// The same, with an upgrade of everything as the first thing that the new image does. Nobody waits for it.
    pub(super) fn request_reexec_and_upgrade(&mut self, mode: Option<UpgradeMode>) {
        // Not refused, as nothing stops.
        let _ = self.request_reexec();
        if let Some(reexec) = &mut self.reexec {
            (reexec.upgrade, reexec.mode) = (true, mode);
        }
    }

    /// The same for a client.
    pub(super) fn reexec_and_upgrade_for(
        &mut self,
        ticket: Ticket,
        mode: Option<UpgradeMode>,
        wait: Wait,
        accepted: Reply,
    ) {
        let last = wait == Wait::No;
        if matches!(wait, Wait::No | Wait::Told) {
            self.act(Action::Reply { ticket, reply: accepted, last });
        }
        if wait == Wait::Told {
            self.subscribers.push((ticket, None));
        }
        self.request_reexec_and_upgrade(mode);
        if let Some(reexec) = self.reexec.as_mut().filter(|_| !last) {
            reexec.upgrading.push((ticket, wait));
        }
    }

    /// Replaces this image for a client.
    pub(super) fn reexec_for(&mut self, ticket: Ticket, wait: Wait) {
        let reply = match (self.request_reexec(), wait) {
            (Err(refusal), _) => refusal,
            (Ok(()), Wait::No) => Reply::Done("re-executing".into()),
            (Ok(()), Wait::Done | Wait::Drained | Wait::Told) => {
                if let Some(reexec) = &mut self.reexec {
                    reexec.waiting.push(ticket);
                }
                return;
            }
        };
        self.act(Action::Reply { ticket, reply, last: true });
    }

    /// The new image has said whether it can go on from our state.
    pub(super) fn image_checked(&mut self, check: u64, outcome: Result<(), String>) {
        let now = self.now;
        let Some(reexec) = &mut self.reexec else { return };
        if reexec.phase != Phase::Checking || reexec.check != check {
            return;
        }
        match outcome {
            Ok(()) => {
                (reexec.phase, reexec.deadline) = (Phase::Settling, now.after(SETTLE_TIME));
                self.touch_all();
            }
            Err(reason) => self.fail_reexec(Code::Refused, reason),
        }
    }

    /// The exec has failed: this image goes on.
    pub(super) fn reexec_failed(&mut self, reason: String) {
        self.fail_reexec(Code::Failed, reason);
    }

    /// This is the new image.
    pub(super) fn reexeced(&mut self) {
        self.touch_all();
        self.probe_again();
        let version = concat!("remuda ", env!("CARGO_PKG_VERSION"));
        self.note_manager(Level::Info, Happening::Reexeced);
        let Some(reexec) = self.reexec.take() else { return };
        for ticket in reexec.waiting {
            let reply = Reply::Done(format!("re-executed: {version}"));
            self.act(Action::Reply { ticket, reply, last: true });
        }
        if !reexec.upgrade {
            return;
        }
        let goals: Vec<(GroupId, Goal)> = self
            .upgrade_running(reexec.mode)
            .into_iter()
            .map(|(id, serial)| (id, Goal::Rollout(serial)))
            .collect();
        for (ticket, wait) in reexec.upgrading {
            let parts = goals.iter().copied().map(Part::new).collect();
            self.waiters.push(Waiter { ticket, wait, parts });
        }
    }

    /// Ends a re-execution that is late, or that the end of the manager has overtaken.
    pub(super) fn watch_reexec(&mut self) {
        let Some(reexec) = &self.reexec else { return };
        let late = reexec.deadline <= self.now;
        match reexec.phase {
            Phase::Executing => {}
            Phase::Checking | Phase::Settling if self.shutdown.is_some() => self.end_reexec(),
            Phase::Checking if late => {
                self.stop_check();
                let span = CHECK_TIME.as_secs();
                self.fail_reexec(
                    Code::Refused,
                    format!("the new image did not say within {span} s whether it can go on"),
                );
            }
            Phase::Settling if late => {
                let why = match self.runs_hook() {
                    true => "a hook still runs",
                    false => "a worker that is being started does not get to its program",
                };
                self.fail_reexec(Code::Failed, why.into());
            }
            Phase::Checking | Phase::Settling => {}
        }
    }

    /// Gives up a re-execution because the manager ends.
    pub(super) fn end_reexec(&mut self) {
        self.stop_check();
        self.fail_reexec(Code::Refused, "stopped meanwhile".into());
    }

    /// The last action of all, when nothing else is left to do and no worker is between fork and exec.
    pub(super) fn due_reexec(&mut self) -> Option<Action> {
        let spawning = || self.children.iter().any(|child| child.phase == ChildPhase::Spawning);
        let preparing =
            || self.groups.iter().any(|group| group.preparing.is_some() && group.preflight.is_none());
        if self.reexec.as_ref()?.phase != Phase::Settling || spawning() || self.runs_hook() || preparing() {
            return None;
        }
        if let Some(stop) = self.interrupt_reading() {
            return Some(stop);
        }
        self.reexec.as_mut()?.phase = Phase::Executing;
        Some(Action::Reexec)
    }

    fn runs_hook(&self) -> bool {
        self.children.iter().any(|child| child.hook.is_some())
    }

    /// No worker is to be started now.
    pub(super) fn is_settling(&self) -> bool {
        self.reexec.as_ref().is_some_and(|reexec| reexec.phase != Phase::Checking)
    }

    /// When a re-execution is late.
    pub(super) fn reexec_deadline(&self) -> Option<Mono> {
        self.reexec.as_ref().map(|reexec| reexec.deadline)
    }

    /// A client that is gone waits no longer.
    pub(super) fn forget_reexec_client(&mut self, client: ClientId) {
        if let Some(reexec) = &mut self.reexec {
            reexec.waiting.retain(|ticket| ticket.client != client);
            reexec.upgrading.retain(|(ticket, _)| ticket.client != client);
        }
    }

    fn stop_check(&mut self) {
        if let Some(Reexec { phase: Phase::Checking, check, .. }) = self.reexec {
            self.act(Action::StopCheck { check });
        }
    }

    fn fail_reexec(&mut self, code: Code, reason: String) {
        let Some(reexec) = self.reexec.take() else { return };
        // What was not started meanwhile is due.
        self.touch_all();
        self.note_manager(Level::Error, Happening::ReexecFailed(reason.clone()));
        for ticket in reexec.waiting.into_iter().chain(reexec.upgrading.into_iter().map(|(ticket, _)| ticket))
        {
            let reply = Reply::Failed(code, format!("not re-executed: {reason}"));
            self.subscribers.retain(|(subscriber, _)| *subscriber != ticket);
            self.act(Action::Reply { ticket, reply, last: true });
        }
    }
}
