//! Replacing the workers of a group: an upgrade to a new generation, its roll-back, a restart.
//!
//! All three are one thing, a [`Rollout`]: until it is over, workers that are not *modern* (of the wanted generation,
//! and younger than the last restart) give way to modern ones, slot by slot, in a mode and within limits. What differs
//! is which generation is wanted and what a failure means. The rollout ends when every slot has a ready modern worker
//! and every other worker has been asked to go.
//!
//! A new generation may have to stand a trial first (`trial`): one worker of it, and a limit of time.
//!
//! It also ends when new workers fail: at once if the program cannot be executed at all, else after
//! `upgrade_failures` deaths or missed deadlines since a slot was last taken for the first time. A slot is taken once,
//! so failures are forgiven at most `target` times, and every rollout comes to an end. Then the committed generation is
//! wanted again, and the same rule that brought the new workers in brings the old ones back.

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::child::{Child, Phase};
use super::event::{Action, GenerationId, GroupId, Mono};
use super::group::{OldWorker, Slot, SlotView, Vacancy};
use super::note::{Happening, Reason};
use super::trial::CANARY;
use super::waiter::Outcome;
use crate::error::Code;
use crate::plan::{Level, Restart, UpgradeMode};
use crate::process::Stage;

/// Most workers of a group that are asked for before whatever else has happened is looked at.
const SPAWNS_AT_A_LOOK: usize = 64;

/// The replacement of a group's workers that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Rollout {
    /// Which one, for those who wait for it.
    pub(super) serial: u64,
    pub(super) purpose: Purpose,
    pub(super) mode: UpgradeMode,
    /// Failures of new workers since a slot was last taken for the first time.
    pub(super) failures: u32,
    /// The canary, where one goes first, has stayed ready for its time.
    #[serde(default)]
    pub(super) proven: bool,
    /// When it has taken too long.
    #[serde(default)]
    pub(super) until: Option<Mono>,
}

impl Rollout {
    fn new(serial: u64, purpose: Purpose, mode: UpgradeMode) -> Self {
        Rollout { serial, purpose, mode, failures: 0, proven: false, until: None }
    }
}

/// Why workers are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// A new generation.
    Upgrade,
    /// The upgrade to that generation failed, for that reason: back to the committed one.
    RollBack(GenerationId, String),
    /// The same generation afresh.
    Restart,
}

impl Supervisor {
    /// Asks for a new generation of a group; whoever waits for the rollout `serial` hears of its end.
    /// `mode` is that of the policy, if absent.
    pub(super) fn request_upgrade(&mut self, id: GroupId, mode: Option<UpgradeMode>) -> u64 {
        let group = &mut self.groups[id.0];
        group.drain_signal = None;
        group.rollouts += 1;
        let serial = group.rollouts;
        self.prepare(id, serial, mode);
        serial
    }

    /// Workers that were started before have a socket that nobody can connect to: they are replaced.
    pub(super) fn socket_renewed(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(id.0) else { return };
        if self.shutdown.is_none() && group.stopped.is_none() {
            group.dirty = true;
            // Nobody waits for it: the log tells how it ends.
            let _serial = self.request_upgrade(id, None);
        }
    }

    /// Has a new generation prepared for the rollout `serial`.
    pub(super) fn prepare(&mut self, id: GroupId, serial: u64, mode: Option<UpgradeMode>) {
        let group = &mut self.groups[id.0];
        group.newest = GenerationId(group.newest.0 + 1);
        let generation = group.newest;
        let from = group.committed;
        group.history.begin(serial, from, generation, self.now);
        (group.preparing_mode, group.astray) = (mode, None);
        if let Some((given_up, earlier)) = group.preparing.replace((generation, serial)) {
            self.supersede(id, earlier, given_up, generation);
        }
        if self.groups[id.0].has_preflight() {
            self.await_preflight(id);
        } else {
            self.act(Action::Prepare { group: id, generation, from });
        }
    }

    /// The new generation can be run, or why it cannot.
    pub(super) fn prepared(&mut self, id: GroupId, generation: GenerationId, outcome: Result<(), String>) {
        let now = self.now;
        let group = &mut self.groups[id.0];
        // It was prepared long ago, and is gone back to.
        let again = group.prepared.contains(&generation);
        let Some((_, serial)) = group.preparing.take_if(|(awaited, _)| *awaited == generation) else {
            if outcome.is_ok() && !again {
                self.act(Action::Forget { group: id, generation });
            }
            return;
        };
        let committed = group.committed;
        if let Err(reason) = outcome {
            if again {
                let sentence = format!("cannot go back to generation {}: {reason}", generation.0);
                self.note(id, Level::Warn, Happening::Irretrievable(generation.0, reason));
                return self.conclude(id, serial, Outcome::Failed(Code::Refused, sentence));
            }
            let sentence = format!("the upgrade did not begin: {reason}; generation {} stays", committed.0);
            self.conclude(id, serial, Outcome::Failed(Code::UpgradeFailed, sentence));
            self.note(id, Level::Error, Happening::UpgradeFailed(generation.0, reason, committed.0));
            return;
        }
        if !again {
            group.prepared.push(generation);
        }
        if self.shutdown.is_some() {
            self.conclude(id, serial, Outcome::Failed(Code::Refused, "stopped meanwhile".into()));
            return;
        }
        if group.stopped.is_some() {
            return self.adopt_at_rest(id, serial, generation);
        }
        let wanted = group.generation;
        let mode = group.preparing_mode.take();
        group.last_upgrade = Some(now);
        let policy = group.policy_of(generation);
        let mode = mode.unwrap_or(policy.upgrade);
        let until = policy.upgrade_timeout.map(|span| now.after(span)).filter(|_| !again);
        let rollout = Rollout { until, proven: again, ..Rollout::new(serial, Purpose::Upgrade, mode) };
        self.begin(id, rollout, generation);
        self.groups[id.0].want(generation);
        self.groups[id.0].forgive(self.next_child);
        self.note(id, Level::Info, Happening::UpgradeStarted(wanted.0, generation.0, mode));
    }

    /// Why a group cannot be restarted now.
    pub(super) fn refusal_to_restart(&self, id: GroupId) -> Option<String> {
        let group = &self.groups[id.0];
        let upgrading = group.preparing.is_some()
            || group.rollout.as_ref().is_some_and(|r| r.purpose != Purpose::Restart);
        upgrading.then(|| format!("{}: an upgrade is under way", group.name))
    }

    /// Stops all workers of a group and starts them again in the same generation.
    pub(super) fn request_restart(&mut self, id: GroupId) -> u64 {
        let group = &mut self.groups[id.0];
        group.rollouts += 1;
        let (serial, generation) = (group.rollouts, group.generation);
        self.begin(id, Rollout::new(serial, Purpose::Restart, UpgradeMode::StopFirst), generation);
        self.groups[id.0].restart_mark = self.next_child;
        self.groups[id.0].forgive(self.next_child);
        self.note(id, Level::Info, Happening::RestartStarted);
        serial
    }

    fn begin(&mut self, id: GroupId, rollout: Rollout, generation: GenerationId) {
        let group = &mut self.groups[id.0];
        let given_up = group.generation;
        // What a generation that was given up has finished is not what there is to go back to.
        if group.rollout.as_ref().is_none_or(|earlier| earlier.purpose != Purpose::Upgrade) {
            for slot in &mut group.slots {
                slot.was_finished = slot.vacancy == Vacancy::Finished;
            }
        }
        match self.groups[id.0].rollout.replace(rollout) {
            None => {}
            Some(Rollout { serial, purpose: Purpose::RollBack(failed, reason), .. }) => {
                let sentence = format!(
                    "the upgrade to generation {} failed: {reason}; that to generation {} took the place of its roll-back",
                    failed.0, generation.0
                );
                self.pass_on(id, serial);
                self.conclude(id, serial, Outcome::Failed(Code::UpgradeFailed, sentence));
            }
            Some(earlier) => self.supersede(id, earlier.serial, given_up, generation),
        }
    }

    fn supersede(&mut self, id: GroupId, serial: u64, given_up: GenerationId, generation: GenerationId) {
        let sentence = if given_up == generation {
            format!("a later restart of generation {} took its place", generation.0)
        } else {
            format!("the upgrade to generation {} took its place", generation.0)
        };
        self.pass_on(id, serial);
        self.conclude(id, serial, Outcome::Failed(Code::Superseded, sentence));
        self.note(id, Level::Warn, Happening::Superseded(given_up.0, generation.0));
    }

    /// Takes the failure of a modern worker into account.
    pub(super) fn rollout_failure(&mut self, child: &Child, how: &str) {
        let group = &mut self.groups[child.group.0];
        if !group.is_modern(child) {
            return;
        }
        let (limit, gave_up) = (group.policy.upgrade_failures.max(1), group.gave_up);
        let Some(rollout) = &mut group.rollout else { return };
        rollout.failures = rollout.failures.saturating_add(1);
        let hopeless = child.failure.is_some_and(|(stage, errno)| !is_passing(stage, errno));
        let failures = rollout.failures;
        let reason = if failures == 1 {
            how.to_owned()
        } else {
            format!("{failures} failures in a row, the last: {how}")
        };
        let ended = hopeless || gave_up || failures >= limit;
        match &rollout.purpose {
            Purpose::Upgrade if ended => self.fail_upgrade(child.group, reason),
            Purpose::RollBack(failed, why) if ended => {
                let next = if gave_up { "gave up" } else { "still trying" };
                let sentence = format!(
                    "the upgrade to generation {} failed: {why}; generation {} does not start either: {reason}; \
                     {next}",
                    failed.0, group.generation.0
                );
                let serial = rollout.serial;
                if gave_up {
                    group.rollout = None;
                }
                self.conclude(child.group, serial, Outcome::Failed(Code::UpgradeFailed, sentence));
            }
            Purpose::Restart if ended => {
                let serial = rollout.serial;
                let next = if gave_up { "gave up" } else { "still trying" };
                if gave_up {
                    group.rollout = None;
                }
                let sentence = format!("{reason}; {next}");
                self.conclude(child.group, serial, Outcome::Failed(Code::Failed, sentence));
            }
            Purpose::Upgrade | Purpose::RollBack(..) | Purpose::Restart => {}
        }
    }

    /// Ends an upgrade that cannot succeed: the committed generation is wanted again.
    pub(super) fn fail_upgrade(&mut self, id: GroupId, reason: String) {
        let group = &mut self.groups[id.0];
        let (failed, committed) = (group.generation, group.committed);
        let stop_first = group.mode() == UpgradeMode::StopFirst;
        group.want(committed);
        let views = group.views(&self.children);
        // A task that was done is not done again. And where no upgrade has emptied a slot, its worker has ended by itself,
        // which may have been the end of it.
        let ended: Vec<bool> = group
            .slots
            .iter()
            .zip(&views)
            .map(|(slot, view)| {
                let empty = view.modern.is_none() && view.old.is_empty();
                let by_itself = group.policy.restart == Restart::Never && !slot.taken && !stop_first;
                (slot.was_finished && view.modern.is_none()) || (empty && by_itself)
            })
            .collect();
        group.forgive(self.next_child);
        for (slot, _) in group.slots.iter_mut().zip(ended).filter(|(_, ended)| *ended) {
            slot.vacancy = Vacancy::Finished;
        }
        // A worker that was starting when the upgrade began, and is there still, was not touched, unless one that is ready
        // had come beside it.
        let lacking = |(slot, view): (&Slot, &SlotView)| {
            !slot.is_content(view) && (view.modern.is_none() || view.old.iter().any(|old| old.ready))
        };
        let replaced = group.slots.iter().zip(&views).any(lacking);
        if let Some(mut rollout) = group.rollout.take() {
            if replaced {
                rollout.purpose = Purpose::RollBack(failed, reason.clone());
                (rollout.failures, rollout.until) = (0, None);
                group.rollout = Some(rollout);
            } else {
                let sentence = format!(
                    "the upgrade to generation {} failed: {reason}; generation {} was not touched",
                    failed.0, committed.0
                );
                self.conclude(id, rollout.serial, Outcome::Failed(Code::UpgradeFailed, sentence));
            }
        }
        self.note(id, Level::Error, Happening::UpgradeFailed(failed.0, reason, committed.0));
    }

    /// Ends the rollout of a group if there is nothing left to replace.
    pub(super) fn finish_rollout(&mut self, id: GroupId, views: &[SlotView]) {
        let group = &mut self.groups[id.0];
        if !group.is_filled(views) || group.has_canary() {
            return;
        }
        let Some(rollout) = group.rollout.take() else { return };
        let generation = group.generation;
        let astray = group.led_astray(generation);
        let caveat = astray
            .as_ref()
            .map_or_else(String::new, |why| format!(", but not with the code that it had: {why}"));
        let goes_back = rollout.purpose != Purpose::Restart;
        let (outcome, happening) = match rollout.purpose {
            Purpose::Upgrade => {
                group.commit(generation);
                let comes = match group.is_finished() {
                    _ if group.waits.is_some() => "is what will start",
                    true => "has run and finished",
                    false => "is up",
                };
                (
                    Outcome::Done(format!("generation {} {comes}{caveat}", generation.0)),
                    Happening::UpgradeDone(generation.0),
                )
            }
            Purpose::RollBack(failed, reason) => {
                let sentence = format!(
                    "the upgrade to generation {} failed: {reason}; generation {} is back{caveat}",
                    failed.0, generation.0
                );
                (Outcome::Failed(Code::RolledBack, sentence), Happening::RolledBack(generation.0))
            }
            Purpose::Restart => {
                let how = if group.is_finished() { "ran again and finished" } else { "restarted" };
                (Outcome::Done(how.into()), Happening::RestartDone)
            }
        };
        self.conclude(id, rollout.serial, outcome);
        self.note(id, Level::Info, happening);
        if let Some(why) = astray.filter(|_| goes_back) {
            self.note(id, Level::Warn, Happening::LedAstray(generation.0, why));
        }
    }

    /// Asks old workers to go as far as the mode and the limits allow.
    pub(super) fn retire(&mut self, id: GroupId, views: &mut [SlotView]) {
        let group = &self.groups[id.0];
        let mode = group.mode();
        let restart = group.rollout.as_ref().is_some_and(|rollout| rollout.purpose == Purpose::Restart);
        let mut room = group.max_draining().saturating_sub(self.draining(id));
        let content: Vec<bool> =
            group.slots.iter().zip(&*views).map(|(slot, view)| slot.is_content(view)).collect();
        let lacking = |(content, view): (&bool, &SlotView)| u32::from(!content && !view.is_served());
        let canary = group.has_canary();
        // Slots that have to wait for a canary do not hold it up.
        let tried = if canary { 1 } else { views.len() };
        let empty = content.iter().zip(&*views).take(tried).map(lacking).sum();
        let mut empty_room = group.surge().saturating_sub(empty);
        let fleet_content = content.iter().all(|&content| content);
        for (slot, (view, content)) in (0u32..).zip(views.iter_mut().zip(content)) {
            // An unready worker of an upgrade, or of a roll-back, that was given up or superseded serves nobody.
            let (serving, abandoned): (Vec<OldWorker>, Vec<OldWorker>) =
                view.old.iter().partition(|old| view.serves(old));
            for old in abandoned {
                self.retire_child(old.id, Reason::Abandoned);
                (view.leaving, room) = (view.leaving + 1, room.saturating_sub(1));
            }
            view.old = serving;
            let replaced = match mode {
                // The one that a canary is to replace is there as long as the canary may fail.
                _ if canary => false,
                UpgradeMode::Rolling | UpgradeMode::StopFirst => content,
                UpgradeMode::Fleet => fleet_content,
            };
            // Of two that an abandoned upgrade left in one slot the older one had been replaced by the younger.
            let keep = usize::from(!replaced);
            while view.old.len() > keep && room > 0 {
                let old = view.old.remove(0);
                self.retire_child(old.id, Reason::Replaced);
                (view.leaving, room) = (view.leaving + 1, room - 1);
            }
            if mode == UpgradeMode::StopFirst
                && view.old.len() == 1
                && (!canary || slot == CANARY)
                && empty_room > 0
                && (room > 0 || restart)
            {
                let old = view.old.remove(0);
                self.retire_child(old.id, if restart { Reason::Restart } else { Reason::Replaced });
                (view.leaving, room, empty_room) = (view.leaving + 1, room.saturating_sub(1), empty_room - 1);
            }
        }
    }

    /// Starts the modern workers that are missing, as far as the mode, the limits and the back-off allow.
    ///
    /// No more than a number of them at a look: whatever else happens need not wait until a group of thousands is started.
    pub(super) fn replenish(&mut self, id: GroupId, views: &mut [SlotView], now: Mono) {
        let group = &self.groups[id.0];
        let stop_first = group.mode() == UpgradeMode::StopFirst;
        let canary = group.has_canary();
        let unready = |view: &SlotView| matches!(view.modern, Some((_, Phase::Spawning | Phase::Starting)));
        // Who is started anew beside a canary is no attempt at anything.
        let tried = if canary { 1 } else { views.len() };
        let mut in_flight = count(&views[..tried.min(views.len())], unready);
        // Also an old one that waits for its turn to drain beside the one that follows it.
        let mut extra: u32 = views.iter().map(SlotView::surplus).sum();
        let (max_unready, surge) = (group.max_unready(), group.surge());
        let paced = group.is_paced();
        let mut hold = group.paced_until() > now;
        let living = self.workers_of(id).count();
        let limit = group.policy.max_extra.filter(|_| group.mode() == UpgradeMode::Rolling);
        let limit = limit.map_or(u32::MAX, |extra| group.target().saturating_add(extra));
        let mut room = limit.saturating_sub(u32::try_from(living).unwrap_or(u32::MAX));
        if group.rollout.is_some() && self.draining(id) > group.max_draining() {
            return;
        }
        let wanted = self.workers_of(id).filter(|child| child.slot < group.target()).count();
        let mut places = group.max_workers().saturating_sub(u32::try_from(wanted).unwrap_or(u32::MAX));
        let mut asked = 0;
        for (slot, view) in (0u32..).zip(views.iter_mut()) {
            let group = &mut self.groups[id.0];
            let Some(place) = group.slots.get(slot as usize) else { continue };
            let beside_old = !view.old.is_empty();
            let limited = hold
                || in_flight >= max_unready
                || (stop_first && (beside_old || view.leaving > 0))
                || (beside_old && (extra >= surge || room == 0 || view.old.len() > 1));
            let blocked = match canary && slot != CANARY {
                // Beside a canary only who has died healthy is followed, by one of its own kind.
                true => view.modern.is_some() || beside_old || place.vacancy != Vacancy::Urgent,
                false => view.modern.is_some() || limited,
            };
            if blocked || places == 0 || !group.may_try(place, now, in_flight) {
                continue;
            }
            if asked == SPAWNS_AT_A_LOOK {
                group.dirty = true;
                return;
            }
            asked += 1;
            if let Some(slot) = group.slot_mut(slot) {
                slot.vacancy = Vacancy::Open;
            }
            let child = self.spawn(id, slot, now);
            view.modern = Some((child, Phase::Spawning));
            in_flight += 1;
            room = room.saturating_sub(1);
            hold = paced;
            places = places.saturating_sub(1);
            extra += u32::from(beside_old);
        }
    }
}

fn count(views: &[SlotView], mut which: impl FnMut(&SlotView) -> bool) -> u32 {
    views.iter().map(|view| u32::from(which(view))).sum()
}

/// Whether a failed spawn may succeed a little later, all else being equal.
fn is_passing(stage: Stage, errno: i32) -> bool {
    match errno {
        libc::EAGAIN
        | libc::ENOMEM
        | libc::EMFILE
        | libc::ENFILE
        | libc::ETXTBSY
        | libc::EINTR
        | libc::EBUSY => true,
        libc::EIO => stage != Stage::Exec,
        _ => false,
    }
}
