//! One group: what is wanted of it, what it remembers, and a view of its slots as the table of children shows them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff::Streak;
use super::child::{Child, Phase};
use super::event::{ChildId, GenerationId, GroupId, Mono};
use super::history::History;
use super::hook::Preflight;
use super::snapshot::{ExitDetail, GroupState, LastExit, SocketStatus};
use super::upgrade::{Purpose, Rollout};
use super::watch::Watch;
use crate::plan::{Policy, UpgradeMode};
use crate::process::Exit;
use crate::signame::Signal;

/// A group as the machine is given it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupStart {
    /// Its name, unique.
    pub name: String,
    /// How its workers are treated.
    pub policy: Policy,
    /// Its sockets, for status.
    pub sockets: Vec<SocketStatus>,
}

/// What a slot without a worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Vacancy {
    /// A worker as soon as the streak of failures allows.
    Open,
    /// A worker at once: the last one died healthy.
    Urgent,
    /// Nothing: the restart policy is content with how the last one ended.
    Finished,
}

/// What a group without workers waits for before it starts the first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Waits {
    /// For this moment.
    Until(Mono),
    /// For a connection or a datagram.
    Connection,
}

/// Whether the plan has a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Presence {
    /// It has.
    #[default]
    Planned,
    /// Not any more: what is left of the group drains.
    Removed,
    /// Nothing is left of it. The row stays, as rows are known by their place, until a new group takes it.
    Gone,
}

/// A worker that ended unasked, or was not ready in time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) sentence: String,
    pub(super) generation: GenerationId,
    pub(super) pid: i32,
    pub(super) at: Mono,
    /// The last lines that it wrote.
    #[serde(default)]
    pub(super) words: Vec<String>,
}

/// So many are told of by name.
const NAMED_MAX: usize = 8;

/// Whom a sentence is about: the first of them by name, the rest by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Named {
    first: Vec<String>,
    more: usize,
}

impl Named {
    pub(super) fn push(&mut self, name: String) {
        match self.first.len() {
            NAMED_MAX => self.more += 1,
            _ => self.first.push(name),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        Ok(())
    }
}

impl FromIterator<String> for Named {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let mut named = Named::default();
        names.into_iter().for_each(|name| named.push(name));
        named
    }
}

/// A logical place for one worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) vacancy: Vacancy,
    /// Unasked deaths that were answered with a new worker.
    pub(super) restarts: u32,
    /// How the last worker of the slot ended, for clients.
    pub(super) last_exit: Option<LastExit>,
    #[serde(default)]
    pub(super) last_exit_detail: Option<ExitDetail>,
    /// The last failure, for clients.
    #[serde(default)]
    pub(super) last_failure: Option<Failure>,
    /// How the last one ended that had not been asked to go, for the manager's own exit code.
    pub(super) last: Option<Exit>,
    /// A worker of the rollout under way has been ready here.
    pub(super) taken: bool,
    /// It had finished when the rollout under way began.
    #[serde(default)]
    pub(super) was_finished: bool,
    /// When the last worker ended that nobody had asked to go.
    #[serde(default)]
    pub(super) last_end: Option<Mono>,
    /// No worker before this moment: the last two ended in too short a time.
    #[serde(default)]
    pub(super) rests_until: Option<Mono>,
}

/// What lies between two ends in one slot at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// [`Policy::crash_window`]
    window: Duration,
    /// [`Policy::floor`]
    floor: Duration,
}

impl Pace {
    pub(super) fn of(policy: &Policy) -> Self {
        Pace { window: policy.crash_window, floor: policy.floor() }
    }
}

impl Slot {
    pub(super) fn new() -> Self {
        Slot {
            vacancy: Vacancy::Open,
            restarts: 0,
            last_exit: None,
            last_exit_detail: None,
            last_failure: None,
            last: None,
            taken: false,
            was_finished: false,
            last_end: None,
            rests_until: None,
        }
    }

    /// Notes an end that nobody asked for. Returns whether the one before came within the window; has the slot rest where
    /// not even the floor lies between them.
    pub(super) fn note_end(&mut self, now: Mono, pace: Pace) -> bool {
        let before = self.last_end.replace(now);
        let last_turn = before.max(self.rests_until);
        self.rests_until = last_turn.filter(|&at| now.since(at) < pace.floor).map(|at| at.after(pace.floor));
        before.is_some_and(|at| now.since(at) < pace.window)
    }

    /// Its worker, which is the `modern` one or not, has left it or is to, and this comes next. What a worker that is to be
    /// replaced leaves does not call back one that has finished after it.
    pub(super) fn vacate(&mut self, modern: bool, next: Vacancy) -> bool {
        let vacates = modern || self.vacancy != Vacancy::Finished;
        if vacates {
            self.vacancy = next;
        }
        vacates
    }

    /// Has its ready modern worker, or wants none.
    pub(super) fn is_content(&self, view: &SlotView) -> bool {
        view.modern_ready() || self.vacancy == Vacancy::Finished
    }
}

/// What is known of a group beside its children.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) name: String,
    pub(super) policy: Policy,
    pub(super) sockets: Vec<SocketStatus>,
    /// One slot for each worker wanted.
    pub(super) slots: Vec<Slot>,
    /// The generation that new workers get.
    pub(super) generation: GenerationId,
    /// The last generation whose upgrade was done: where a failed upgrade goes back to.
    pub(super) committed: GenerationId,
    /// The one that was committed before it, to go back to by hand.
    #[serde(default)]
    pub(super) previous: Option<GenerationId>,
    /// What there is to tell of generations and upgrades.
    #[serde(default)]
    pub(super) history: History,
    /// An upgrade that waits for the end of what is under way.
    #[serde(default)]
    pub(super) queued: Option<u64>,
    /// The highest number given to a generation.
    pub(super) newest: GenerationId,
    /// Generations that the driver holds prepared.
    pub(super) prepared: Vec<GenerationId>,
    /// A generation that is being prepared, and the rollout it is for.
    pub(super) preparing: Option<(GenerationId, u64)>,
    /// Whether that waits for the preflight.
    #[serde(default)]
    pub(super) preflight: Option<Preflight>,
    /// When the preflight runs by itself.
    #[serde(default)]
    pub(super) next_preflight: Option<Mono>,
    /// How that rollout replaces workers, if not as the policy has it.
    #[serde(default)]
    pub(super) preparing_mode: Option<UpgradeMode>,
    /// Workers older than this are to be replaced, whatever their generation.
    pub(super) restart_mark: ChildId,
    pub(super) rollout: Option<Rollout>,
    /// What whoever has failed a rollout wrote last, for those who wait for that.
    #[serde(default)]
    pub(super) words: Option<(u64, Vec<String>)>,
    /// A generation whose workers do not run what it ran, and why; of the last that was asked after.
    #[serde(default)]
    pub(super) astray: Option<(GenerationId, String)>,
    /// Counts rollouts, so that whoever waits for one knows it.
    pub(super) rollouts: u64,
    /// No worker is wanted yet.
    #[serde(default)]
    pub(super) waits: Option<Waits>,
    /// What was seen of the program.
    #[serde(default)]
    pub(super) watch: Watch,
    /// Sent to old workers of the upgrade under way, if whoever asked for it wants another one than the policy's.
    #[serde(default)]
    pub(super) drain_signal: Option<Signal>,
    /// When its first worker was started.
    #[serde(default)]
    pub(super) began: Option<Mono>,
    /// Asked to stop, and since when.
    pub(super) stopped: Option<Mono>,
    pub(super) streak: Streak,
    pub(super) gave_up: bool,
    /// Ends that nobody asked for, as far as [`Policy::exit_after`] counts them.
    #[serde(default)]
    pub(super) deaths: u32,
    /// Workers that had to be killed since its stop was asked for.
    #[serde(default)]
    pub(super) killed: Named,
    /// Policies of the plans so far, each with the first generation that it holds for; empty while there is only one.
    #[serde(default)]
    pub(super) policies: Vec<(GenerationId, Policy)>,
    /// Its place in the plan, for those who are told of groups in order.
    #[serde(default)]
    pub(super) rank: usize,
    /// The first generation that keeps no socket open which the plan has no more. Whoever waits in the backlog of such a
    /// socket would wait for nobody, so the generations before are not kept to go back to.
    #[serde(default)]
    pub(super) sockets_since: GenerationId,
    /// Whether the plan still has it.
    #[serde(default)]
    pub(super) presence: Presence,
    /// When a worker was last started.
    #[serde(default)]
    pub(super) last_spawn: Option<Mono>,
    /// When an upgrade last began.
    #[serde(default)]
    pub(super) last_upgrade: Option<Mono>,
    /// Something has changed since the last look.
    pub(super) dirty: bool,
}

/// A worker that is to be replaced, and that nobody has asked to go yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldWorker {
    pub(super) id: ChildId,
    pub(super) ready: bool,
    /// Of the committed generation.
    pub(super) committed: bool,
}

/// One slot as the table shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotView {
    /// The wanted worker that is here, in any phase: also one on its way out, or a program that ignores the signal
    /// would breed without bound.
    pub(super) modern: Option<(ChildId, Phase)>,
    /// Workers that are to be replaced and were not asked to go, oldest first.
    pub(super) old: Vec<OldWorker>,
    /// Other workers that are on their way out.
    pub(super) leaving: u32,
}

impl SlotView {
    pub(super) fn modern_ready(&self) -> bool {
        matches!(self.modern, Some((_, Phase::Ready)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.modern.is_none() && self.old.is_empty() && self.leaving == 0
    }

    /// Workers in this slot beside the one that it is for, those on their way out not counted.
    pub(super) fn surplus(&self) -> u32 {
        let serving = self.old.len() + usize::from(self.modern.is_some());
        u32::try_from(serving.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Somebody takes requests here: the modern worker once it is ready, or one that is to be replaced.
    pub(super) fn is_served(&self) -> bool {
        self.modern_ready() || self.old.iter().any(|old| self.serves(old))
    }

    /// A worker of the committed generation takes requests from its start, ready or not, unless it was to take the place
    /// of one that is ready; any other once it is ready.
    pub(super) fn serves(&self, old: &OldWorker) -> bool {
        old.ready || (old.committed && !self.old.iter().any(|other| other.ready))
    }
}

impl Group {
    pub(super) fn new(id: GroupId, start: GroupStart, now: Mono) -> Self {
        let slots = (0..start.policy.workers).map(|_| Slot::new()).collect();
        let first = GenerationId(1);
        let mut group = Group {
            id,
            name: start.name,
            policy: start.policy,
            sockets: start.sockets,
            slots,
            generation: first,
            committed: first,
            previous: None,
            history: History::new(first, now),
            queued: None,
            newest: first,
            prepared: vec![first],
            preparing: None,
            preflight: None,
            next_preflight: None,
            preparing_mode: None,
            restart_mark: ChildId(0),
            rollout: None,
            words: None,
            astray: None,
            rollouts: 0,
            waits: None,
            watch: Watch::default(),
            drain_signal: None,
            began: None,
            stopped: None,
            streak: Streak::none(ChildId(0)),
            gave_up: false,
            deaths: 0,
            killed: Named::default(),
            policies: Vec::new(),
            rank: id.0,
            sockets_since: GenerationId::default(),
            presence: Presence::Planned,
            last_spawn: None,
            last_upgrade: None,
            dirty: true,
        };
        group.waits = if group.policy.warmup.is_zero() {
            group.lazily()
        } else {
            Some(Waits::Until(now.after(group.policy.warmup)))
        };
        group
    }

    /// What is waited for once the time of the warm-up is over.
    pub(super) fn lazily(&self) -> Option<Waits> {
        (self.policy.lazy && !self.sockets.is_empty()).then_some(Waits::Connection)
    }

    /// Number of workers wanted.
    pub(super) fn target(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Whether the plan has it.
    pub(super) fn is_planned(&self) -> bool {
        self.presence == Presence::Planned
    }

    /// From here on new workers are of this generation, and the group keeps to its policy.
    pub(super) fn want(&mut self, generation: GenerationId) {
        self.generation = generation;
        if !self.policies.is_empty() {
            self.policy = self.policy_of(generation).clone();
        }
    }

    /// This generation is up, and is what a failed upgrade goes back to.
    pub(super) fn commit(&mut self, generation: GenerationId) {
        let before = std::mem::replace(&mut self.committed, generation);
        // Back by hand: whoever was left is no generation to go back to.
        let back = self.previous == Some(generation);
        self.previous = Some(before).filter(|&before| !back && before >= self.sockets_since);
    }

    /// The policy that a generation came with: a program is asked to go as it understands it, also when the plan has
    /// another one by now.
    pub(super) fn policy_of(&self, generation: GenerationId) -> &Policy {
        let of_plan = self.policies.iter().rev().find(|(first, _)| *first <= generation);
        of_plan.map_or(&self.policy, |(_, policy)| policy)
    }

    /// Takes what the plan says by now. With a new generation, `from`, the policy begins to hold when that is wanted.
    pub(super) fn plan_policy(&mut self, policy: Policy, from: Option<GenerationId>) {
        match (from, self.policies.last_mut()) {
            (Some(from), last) => {
                if last.is_none() {
                    self.policies.push((GenerationId(0), self.policy.clone()));
                }
                self.policies.push((from, policy));
            }
            (None, Some((_, last))) => *last = policy,
            (None, None) => self.policy = policy,
        }
        self.want(self.generation);
    }

    /// Drops policies that no generation has any more.
    pub(super) fn forget_policies(&mut self) {
        let ends: Vec<GenerationId> = self.policies.iter().skip(1).map(|(first, _)| *first).collect();
        let mut ends = ends.iter();
        // The last one is that of the plan, and of what is to come.
        self.policies.retain(|(first, _)| {
            ends.next().is_none_or(|end| self.prepared.iter().any(|known| (first..end).contains(&known)))
        });
        if self.policies.len() == 1 {
            self.policies.clear();
        }
    }

    /// Workers are being replaced, or are about to be.
    pub(super) fn is_changing(&self) -> bool {
        self.preparing.is_some() || self.rollout.is_some()
    }

    /// Of the newest generation that is wanted, and not to be restarted.
    pub(super) fn is_modern(&self, child: &Child) -> bool {
        child.generation == self.generation && child.id >= self.restart_mark
    }

    /// What its slot wants at this moment, and not to be restarted.
    pub(super) fn is_in_place(&self, child: &Child) -> bool {
        child.generation == self.generation_for(child.slot) && child.id >= self.restart_mark
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(slot).ok()?)
    }

    /// How workers are replaced at this moment.
    pub(super) fn mode(&self) -> UpgradeMode {
        match self.rollout.as_ref().map(|rollout| rollout.mode) {
            Some(UpgradeMode::Rolling) if self.has_no_room() => UpgradeMode::StopFirst,
            mode => mode.unwrap_or(UpgradeMode::Rolling),
        }
    }

    /// No worker may stand beside those that there are to be.
    fn has_no_room(&self) -> bool {
        self.policy.max_extra == Some(0)
    }

    /// New workers that may stand beside old ones, or slots that may be empty, at this moment.
    pub(super) fn surge(&self) -> u32 {
        let restart = self.rollout.as_ref().is_some_and(|rollout| rollout.purpose == Purpose::Restart);
        match self.mode() {
            UpgradeMode::Fleet => self.target(),
            UpgradeMode::Rolling | UpgradeMode::StopFirst if restart => self.target(),
            UpgradeMode::StopFirst if self.has_no_room() => 1,
            UpgradeMode::Rolling | UpgradeMode::StopFirst => self.policy.surge.of(self.target()),
        }
    }

    /// New workers that may be unready at a time; no limit outside of upgrades, unless workers keep a pace: then one for
    /// those who do.
    pub(super) fn max_unready(&self) -> u32 {
        let limit = match &self.rollout {
            None if self.is_paced() => self.policy.max_unacked,
            None => None,
            Some(rollout) if rollout.purpose == Purpose::Restart => None,
            Some(rollout) if rollout.mode == UpgradeMode::Fleet && self.has_pace() => None,
            Some(_) => Some(self.policy.max_unacked.unwrap_or_else(|| self.surge())),
        };
        limit.map_or(u32::MAX, |limit| limit.max(1))
    }

    /// The plan wants workers to follow one another at a pace.
    fn has_pace(&self) -> bool {
        !self.policy.spacing.is_zero()
    }

    /// Workers that are started now keep it: not the first ones, nor those of a fleet upgrade.
    pub(super) fn is_paced(&self) -> bool {
        self.has_pace() && self.last_spawn.is_some() && self.mode() != UpgradeMode::Fleet
    }

    /// Workers that may be on their way out at a time before the next old one is asked to go.
    pub(super) fn max_draining(&self) -> u32 {
        self.policy.max_draining.unwrap_or_else(|| self.target()).max(1)
    }

    /// Workers that there may be at a time, those on their way out among them. Only who leaves a slot that is not wanted
    /// any more comes on top.
    pub(super) fn max_workers(&self) -> u32 {
        let surge = match (self.mode(), self.policy.upgrade) {
            (UpgradeMode::StopFirst, _) => 0,
            // Nobody stands beside another one, also where nothing is being replaced; only what a roll-back that was given
            // up has left may.
            (UpgradeMode::Rolling, UpgradeMode::StopFirst) if !self.policy.give_up_roll_back => 0,
            // Of a fleet that has failed all may leave at once, and hold up nobody who follows a death.
            (UpgradeMode::Fleet, _) | (UpgradeMode::Rolling, UpgradeMode::Fleet) => self.target(),
            (UpgradeMode::Rolling, UpgradeMode::Rolling | UpgradeMode::StopFirst) => self.surge(),
        };
        self.target().saturating_add(surge).saturating_add(self.max_draining())
    }

    /// Until when no worker is started, as one was started just now; a moment that has passed means nothing.
    pub(super) fn paced_until(&self) -> Mono {
        let last = self.last_spawn.filter(|_| self.is_paced());
        last.map_or(Mono(0), |at| at.after(self.policy.spacing))
    }

    /// Whether a slot may get a worker now as far as the history of failures goes.
    pub(super) fn may_try(&self, slot: &Slot, now: Mono, in_flight: u32) -> bool {
        match slot.vacancy {
            _ if slot.rests_until.is_some_and(|until| until > now) => false,
            Vacancy::Urgent => true,
            Vacancy::Finished => false,
            Vacancy::Open => {
                !self.gave_up && now >= self.streak.not_before && !(self.streak.probation && in_flight > 0)
            }
        }
    }

    /// Failures in a row after which no more attempts are made.
    pub(super) fn give_up(&self) -> Option<u32> {
        let rolls_back = |rollout: &Rollout| matches!(rollout.purpose, Purpose::RollBack(..));
        let endless = !self.policy.give_up_roll_back && self.rollout.as_ref().is_some_and(rolls_back);
        self.policy.give_up.filter(|_| !endless)
    }

    /// Forgets failures: what comes now has nothing to do with what failed.
    pub(super) fn forgive(&mut self, next_child: ChildId) {
        self.streak = Streak::none(next_child);
        self.gave_up = false;
        for slot in &mut self.slots {
            slot.vacancy = Vacancy::Open;
            slot.taken = false;
            (slot.last_end, slot.rests_until) = (None, None);
        }
    }

    /// No worker is wanted until somebody says so.
    pub(super) fn is_idle(&self) -> bool {
        let finished = self.slots.iter().all(|slot| slot.vacancy == Vacancy::Finished);
        self.stopped.is_some()
            || self.waits.is_some()
            || (finished && self.preparing.is_none() && self.rollout.is_none())
    }

    /// Nothing runs and nothing will, by the group's own policy; `none_will_do` if that holds also where no worker is
    /// wanted, `finished_will_do` where all have finished as the policy wants it.
    pub(super) fn is_over(&self, views: &[SlotView], none_will_do: bool, finished_will_do: bool) -> bool {
        self.stopped.is_none()
            && self.waits.is_none()
            && self.preparing.is_none()
            && self.rollout.is_none()
            && (none_will_do || !self.slots.is_empty())
            && self.slots.iter().zip(views).all(|(slot, view)| {
                view.modern.is_none()
                    && view.old.is_empty()
                    && ((slot.vacancy == Vacancy::Finished && (finished_will_do || self.gave_up))
                        || (self.gave_up && slot.vacancy == Vacancy::Open))
            })
    }

    /// Why workers of a generation run something else than it ran, if they do.
    pub(super) fn led_astray(&self, generation: GenerationId) -> Option<String> {
        self.astray.as_ref().filter(|(astray, _)| *astray == generation).map(|(_, why)| why.clone())
    }

    /// The slots in numbers: `3 of 4 ready, 1 finished`.
    pub(super) fn tally(&self, views: &[SlotView]) -> String {
        let ready = views.iter().filter(|view| view.modern_ready()).count();
        let finished = self.slots.iter().filter(|slot| slot.vacancy == Vacancy::Finished).count();
        match (self.slots.len(), finished) {
            (0, _) => "no workers are wanted".to_owned(),
            (all, 0) => format!("{ready} of {all} ready"),
            (all, finished) if finished == all => format!("{finished} of {all} finished"),
            (all, finished) => format!("{ready} of {all} ready, {finished} finished"),
        }
    }

    /// Every worker has finished as the restart policy wants it.
    pub(super) fn is_finished(&self) -> bool {
        !self.slots.is_empty() && self.slots.iter().all(|slot| slot.vacancy == Vacancy::Finished)
    }

    /// Every slot has its ready modern worker, or wants none, and nothing else serves.
    pub(super) fn is_filled(&self, views: &[SlotView]) -> bool {
        let content = |slot: &Slot, view| self.waits.is_some() || slot.is_content(view);
        self.slots.iter().zip(views).all(|(slot, view)| view.old.is_empty() && content(slot, view))
    }

    /// What the group is about, for clients.
    pub(super) fn state(&self, views: &[SlotView], empty: bool, shutdown: bool) -> GroupState {
        if self.stopped.is_some() || shutdown {
            return if empty { GroupState::Stopped } else { GroupState::Stopping };
        }
        if self.preparing.is_some() || self.rollout.as_ref().is_some_and(|r| r.purpose != Purpose::Restart) {
            return GroupState::Upgrading;
        }
        if self.waits.is_some() {
            return GroupState::Waiting;
        }
        if self.slots.iter().zip(views).all(|(slot, view)| slot.is_content(view)) {
            return if self.is_finished() && empty { GroupState::Stopped } else { GroupState::Up };
        }
        if self.gave_up || self.streak.probation { GroupState::Failing } else { GroupState::Starting }
    }

    /// The group's slots as the table shows them, in one pass.
    pub(super) fn views(&self, children: &[Child]) -> Vec<SlotView> {
        let mut views = vec![SlotView::default(); self.slots.len()];
        for child in children.iter().filter(|child| child.group == self.id && child.hook.is_none()) {
            let Some(view) = usize::try_from(child.slot).ok().and_then(|slot| views.get_mut(slot)) else {
                continue;
            };
            if child.retired {
                view.leaving += 1;
            } else if self.is_in_place(child) {
                view.modern = Some((child.id, child.phase));
            } else if child.phase.is_serving() {
                let (ready, committed) = (child.phase == Phase::Ready, child.generation == self.committed);
                view.old.push(OldWorker { id: child.id, ready, committed });
            } else {
                view.leaving += 1;
            }
        }
        views
    }
}
