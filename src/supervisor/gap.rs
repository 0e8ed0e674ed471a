//! Time that nobody had: the manager was stopped, frozen with all that it runs, or starved of its processor. Meanwhile
//! nobody was heard, and perhaps nobody could speak. So each deadline by which others have to show something begins anew,
//! and what only gives them time is longer by what was lost. What waits to be read is read before any of them is judged.

use std::time::Duration;

use super::Supervisor;
use super::child::{Child, Phase};
use super::event::{HookKind, Mono};
use super::probe::UnderWay;
use crate::plan::Readiness;

impl Supervisor {
    /// For so long, up to now, nothing was done or heard.
    pub(super) fn lost(&mut self, gap: Duration) {
        for at in 0..self.children.len() {
            let (deadline, answer) =
                (self.new_deadline(&self.children[at], gap), self.next_answer(&self.children[at]));
            let child = &mut self.children[at];
            child.deadline = child.deadline.max(deadline);
            if let (Some(UnderWay::Asked(until)), Some(answer)) = (child.probing.under_way, answer) {
                child.probing.under_way = Some(UnderWay::Asked(until.max(answer)));
            }
        }
    }

    /// What the child has until then, if it waits for anything.
    fn new_deadline(&self, child: &Child, gap: Duration) -> Option<Mono> {
        let before = child.deadline?;
        let policy = self.groups[child.group.0].policy_of(child.generation);
        match (&child.hook, child.phase) {
            (Some(HookKind::Probe(_)), Phase::Spawning | Phase::Starting) => {
                Some(self.now.after(policy.probe_timeout))
            }
            (None, Phase::Spawning) => policy.ack_deadline.map(|span| self.now.after(span)),
            (None, Phase::Starting) if policy.ready == Readiness::Manual => {
                policy.ack_deadline.map(|span| self.now.after(span))
            }
            // It becomes ready by that time, and nothing is asked of it.
            (None, Phase::Starting) => None,
            (None, Phase::Ready) => self.life_due(child.id),
            (Some(_), Phase::Spawning | Phase::Starting | Phase::Ready) | (_, Phase::Stopping) => {
                Some(before.after(gap))
            }
            (_, Phase::Killed) => None,
        }
    }

    /// Until when a worker has to answer a probe that begins now.
    fn next_answer(&self, child: &Child) -> Option<Mono> {
        child
            .probing
            .under_way
            .map(|_| self.now.after(self.groups[child.group.0].policy_of(child.generation).probe_timeout))
    }
}
