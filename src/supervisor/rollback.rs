//! What is asked for by hand around an upgrade: to go back to the last good generation, to end workers that take their
//! time to finish, and a second upgrade while one is under way.

use super::Supervisor;
use super::command::{Reply, Selector, Ticket, Wait};
use super::event::{Action, ChildId, GenerationId, GroupId};
use super::note::Happening;
use super::upgrade::Purpose;
use super::waiter::{Goal, Outcome};
use crate::error::Code;
use crate::plan::{Level, Meanwhile, UpgradeMode};

impl Supervisor {
    /// Why an upgrade of a group cannot be asked for at this moment.
    pub(super) fn refusal_to_upgrade(&self, id: GroupId) -> Option<String> {
        let group = &self.groups[id.0];
        let refused = group.policy.meanwhile == Meanwhile::Refuse && group.is_changing();
        refused.then(|| format!("{}: an upgrade or restart is under way", group.name))
    }

    /// Asks for a new generation, or has the request wait for the end of what is under way. `mode` is that of the policy,
    /// if absent, and in any case for a request that waits: several may have become one.
    pub(super) fn upgrade_or_queue(&mut self, id: GroupId, mode: Option<UpgradeMode>) -> u64 {
        let group = &mut self.groups[id.0];
        if group.policy.meanwhile != Meanwhile::Queue || !group.is_changing() {
            return self.request_upgrade(id, mode);
        }
        if let Some(serial) = group.queued {
            return serial;
        }
        group.rollouts += 1;
        let serial = group.rollouts;
        group.queued = Some(serial);
        self.note(id, Level::Info, Happening::UpgradeQueued);
        serial
    }

    /// Begins the upgrade that waits, if nothing is under way any more, or what is leads nowhere.
    pub(super) fn begin_queued(&mut self, id: GroupId) {
        let group = &mut self.groups[id.0];
        let attempts = group.policy.upgrade_failures.max(1);
        let busy = group.preparing.is_some()
            || group.rollout.as_ref().is_some_and(|r| r.purpose == Purpose::Upgrade || r.failures < attempts);
        if let Some(serial) = group.queued.take_if(|_| !busy) {
            self.prepare(id, serial, None);
        }
    }

    pub(super) fn roll_back_groups(&mut self, ticket: Ticket, selector: &Selector, wait: Wait) {
        let groups = match self.select_running(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        if let Some(reason) = groups.iter().find_map(|&id| self.refusal_to_roll_back(id)) {
            return self.refuse(ticket, Reply::Failed(Code::Refused, reason));
        }
        let accepted = Reply::Done(format!("rolling back {}", self.names(&groups)));
        let goals = groups.into_iter().map(|id| (id, self.roll_back(id))).collect();
        self.promise(ticket, wait, goals, accepted);
    }

    fn refusal_to_roll_back(&self, id: GroupId) -> Option<String> {
        let group = &self.groups[id.0];
        let reason = match group.rollout.as_ref().map(|rollout| &rollout.purpose) {
            Some(Purpose::RollBack(..)) => "a roll-back is under way already".to_owned(),
            Some(Purpose::Restart) => "a restart is under way".to_owned(),
            Some(Purpose::Upgrade) => return None,
            None if group.preparing.is_some() || group.previous.is_some() => return None,
            None if group.committed == group.sockets_since => {
                format!("the generations before generation {} had other sockets", group.committed.0)
            }
            None => format!("there is no generation to go back to before generation {}", group.committed.0),
        };
        Some(format!("{}: {reason}", group.name))
    }

    /// Calls off the upgrade under way, or goes back to the generation before.
    fn roll_back(&mut self, id: GroupId) -> Goal {
        let group = &mut self.groups[id.0];
        let committed = group.committed;
        let called_off =
            group.queued.take().into_iter().chain(group.preparing.take().map(|(_, serial)| serial));
        let called_off: Vec<u64> = called_off.collect();
        let upgrading = group.rollout.is_some();
        for &serial in &called_off {
            let sentence = format!("called off by hand; generation {} stays", committed.0);
            self.conclude(id, serial, Outcome::Failed(Code::UpgradeFailed, sentence));
        }
        self.give_up_preflight(id);
        if upgrading {
            self.fail_upgrade(id, "called off by hand".into());
            return Goal::Filled;
        }
        let group = &mut self.groups[id.0];
        match group.previous {
            Some(previous) if called_off.is_empty() => {
                group.rollouts += 1;
                let serial = group.rollouts;
                group.preparing = Some((previous, serial));
                (group.preparing_mode, group.astray) = (None, None);
                group.history.begin(serial, committed, previous, self.now);
                self.act(Action::CheckGeneration { group: id, generation: previous });
                Goal::Rollout(serial)
            }
            Some(_) | None => Goal::Filled,
        }
    }

    pub(super) fn drain_groups(
        &mut self,
        ticket: Ticket,
        selector: &Selector,
        generation: GenerationId,
        at_once: bool,
        wait: Wait,
    ) {
        let groups = match self.select(selector) {
            Ok(groups) => groups,
            Err(refusal) => return self.refuse(ticket, refusal),
        };
        let drains = self.workers().filter(|child| {
            groups.contains(&child.group) && child.generation == generation && !child.phase.is_serving()
        });
        let ids: Vec<ChildId> = drains.map(|child| child.id).collect();
        if ids.is_empty() {
            let reason = format!("no worker of generation {} is on its way out", generation.0);
            return self.refuse(ticket, Reply::Failed(Code::Refused, reason));
        }
        let count = ids.len();
        for child in ids.into_iter().filter(|_| at_once) {
            self.kill_child(child);
        }
        let verb = if at_once { "killing" } else { "waiting for" };
        let plural = if count == 1 { "" } else { "s" };
        let accepted = Reply::Done(format!("{verb} {count} worker{plural} of generation {}", generation.0));
        let goals = groups.into_iter().map(|id| (id, Goal::Gone(generation))).collect();
        self.promise(ticket, wait, goals, accepted);
    }
}
