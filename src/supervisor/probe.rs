//! Looking at workers from outside: the probe that makes one ready, and the live check that a ready one has to stand.
//!
//! Both are tried in the same way. One begins at its time and has `probe_timeout` to end; the next begins an interval
//! after its end, so that there is never more than one for a worker. Where it is a connection the driver makes it, where it
//! is a command it is a hook, a row of the table of children as any other. Only whoever is `Starting` is asked whether it is
//! ready, and only whoever is `Ready` whether it lives: with the phase ends the probe that is under way.
//!
//! * The **readiness probe** is tried at once and then after short pauses, which double up to `probe_interval`. Its first
//!   success is an ack. How long it may be in vain says `ack_deadline`.
//! * The **live check** is tried each `live_interval`. `live_failures` of them in a row end the worker as silence does.
//!
//! That nobody could look, for want of descriptors or because there is no such command, is no fault of the worker's and is
//! not counted. The log has a reason once, and not for the first moments of a worker that is only starting.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::child::{Child, Phase};
use super::event::{Action, ChildId, Finding, GroupId, HookKind, Mono, ProbeKind};
use super::note::{Happening, Reason};
use crate::duration::Human;
use crate::plan::{Level, Policy};
use crate::probe::Probe;

/// The pause after the first readiness probe that was in vain.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How often the pause may double: more than any interval needs.
const DOUBLINGS_MAX: u32 = 31;

/// The pause after so many readiness probes in vain before this one, as long as it is shorter than the interval.
fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.min(DOUBLINGS_MAX))
}

/// After how many tries the pause is as long as the interval.
pub(super) fn doublings(interval: Duration) -> u32 {
    (0..DOUBLINGS_MAX).find(|&tries| pause(tries) >= interval).unwrap_or(DOUBLINGS_MAX)
}

/// How a worker is looked at; nothing but a null pointer where it is not, as most are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Probing(Option<Box<Looking>>);

/// What is known of a worker that is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Looking {
    /// What for.
    pub(super) kind: Option<ProbeKind>,
    /// When the next one begins, if none is under way.
    pub(super) next: Option<Mono>,
    /// The one that is under way.
    pub(super) under_way: Option<UnderWay>,
    /// How many were in vain in a row.
    pub(super) tries: u32,
    /// How many of these say that the worker is not well.
    pub(super) failures: u32,
    /// The last one, if it was in vain.
    pub(super) last: Option<Failed>,
    /// The reason that was told last.
    pub(super) told: Option<String>,
}

static NOT_AT_ALL: Looking =
    Looking { kind: None, next: None, under_way: None, tries: 0, failures: 0, last: None, told: None };

impl Probing {
    /// Takes no memory where there is nothing to know.
    fn new(looking: Looking) -> Probing {
        Probing((looking != NOT_AT_ALL).then(|| Box::new(looking)))
    }
}

impl Deref for Probing {
    type Target = Looking;

    fn deref(&self) -> &Looking {
        self.0.as_deref().unwrap_or(&NOT_AT_ALL)
    }
}

impl DerefMut for Probing {
    fn deref_mut(&mut self) -> &mut Looking {
        self.0.get_or_insert_default()
    }
}

/// How a probe is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum UnderWay {
    /// The driver has until then to answer.
    Asked(Mono),
    /// By this hook, which has a deadline of its own.
    Hook(ChildId),
}

/// A probe that was in vain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) why: String,
    pub(super) at: Mono,
}

impl Supervisor {
    /// When something is to be done about the probes of a child.
    pub(super) fn next_probe(&self, child: &Child) -> Option<Mono> {
        match child.probing.under_way {
            Some(UnderWay::Asked(deadline)) => Some(deadline),
            Some(UnderWay::Hook(_)) => None,
            None => child.probing.next.filter(|_| !self.is_settling()),
        }
    }

    /// Ends the probes of a group that are late or that nobody waits for any more, and begins those that are due.
    pub(super) fn probe_workers(&mut self, id: GroupId) {
        let now = self.now;
        let concerned = |child: &&Child| child.probing.kind.is_some() || self.wanted_probe(child).is_some();
        let workers: Vec<ChildId> = self.workers_of(id).filter(concerned).map(|child| child.id).collect();
        for worker in workers {
            let Some(child) = self.child(worker) else { continue };
            let wanted = self.wanted_probe(child).map(|(kind, _)| kind);
            if child.probing.kind != wanted {
                let child = child.clone();
                self.end_probe(&child);
                self.await_probe(worker, wanted);
            } else if let Some(UnderWay::Asked(deadline)) = child.probing.under_way
                && deadline <= now
            {
                self.act(Action::StopProbe { child: worker });
                self.release(worker);
                self.probe_is_late(worker);
            }
            if self.is_settling() {
                self.put_off(worker);
            }
            let due = |child: &&Child| self.next_probe(child).is_some_and(|at| at <= now);
            if self.child(worker).filter(due).is_some() {
                self.begin_probe(worker);
            }
        }
    }

    /// What a worker is to be asked now, and how.
    fn wanted_probe(&self, child: &Child) -> Option<(ProbeKind, &Probe)> {
        let policy = self.policy_of(child);
        match child.phase {
            Phase::Starting => Some((ProbeKind::Ready, policy.ready_probe.as_ref()?)),
            Phase::Ready => Some((ProbeKind::Live, policy.live_check.as_ref()?)),
            Phase::Spawning | Phase::Stopping | Phase::Killed => None,
        }
    }

    fn policy_of(&self, child: &Child) -> &Policy {
        self.groups[child.group.0].policy_of(child.generation)
    }

    /// Begins with probes of another kind, or with none.
    fn await_probe(&mut self, worker: ChildId, kind: Option<ProbeKind>) {
        let now = self.now;
        let Some(child) = self.child(worker) else { return };
        let first = kind.map(|kind| match kind {
            ProbeKind::Ready => now,
            ProbeKind::Live => now.after(self.policy_of(child).live_interval),
        });
        // A command that was killed is waited for, so that no other one is in its way.
        let left = child.probing.under_way.filter(|left| match left {
            UnderWay::Asked(_) => false,
            UnderWay::Hook(hook) => self.child(*hook).is_some(),
        });
        if let Some(child) = self.child_mut(worker) {
            let looking = Looking { kind, next: first, under_way: left, ..Looking::default() };
            child.probing = Probing::new(looking);
        }
    }

    fn begin_probe(&mut self, worker: ChildId) {
        let Some(child) = self.child(worker) else { return };
        let Some((_, probe)) = self.wanted_probe(child) else { return };
        let (group, generation, slot, index) = (child.group, child.generation, child.slot, child.index);
        let (probe, deadline) = (probe.clone(), self.now.after(self.policy_of(child).probe_timeout));
        let under_way = match probe {
            Probe::Exec(command) => {
                let hook = HookKind::Probe(worker);
                UnderWay::Hook(self.run_hook(group, hook, generation, (slot, index), Some(deadline), command))
            }
            Probe::Contact(contact) => {
                self.act(Action::Probe { child: worker, group, generation, slot, index, contact });
                UnderWay::Asked(deadline)
            }
        };
        if let Some(child) = self.child_mut(worker) {
            child.probing.under_way = Some(under_way);
        }
    }

    /// Ends what is under way for a worker that is not looked at any more, or not in this way.
    pub(super) fn end_probe(&mut self, child: &Child) {
        match child.probing.under_way {
            None => {}
            Some(UnderWay::Asked(_)) => self.act(Action::StopProbe { child: child.id }),
            Some(UnderWay::Hook(hook)) => _ = self.cut_short(hook),
        }
    }

    /// Kills the command that probes a worker, unless that was done before.
    fn cut_short(&mut self, hook: ChildId) -> bool {
        let runs = self.child(hook).is_some_and(|hook| hook.phase.is_serving());
        if runs {
            self.kill_hook(hook);
        }
        runs
    }

    /// Ends a command that probes a worker, which a re-execution would have to wait for; it is run again afterwards.
    fn put_off(&mut self, worker: ChildId) {
        let now = self.now;
        let Some(Some(UnderWay::Hook(hook))) = self.child(worker).map(|child| child.probing.under_way) else {
            return;
        };
        if self.cut_short(hook)
            && let Some(child) = self.child_mut(worker)
        {
            child.probing.next = Some(now);
        }
    }

    /// There is none under way any more.
    fn release(&mut self, worker: ChildId) {
        if let Some(child) = self.child_mut(worker) {
            child.probing.under_way = None;
        }
    }

    /// The driver has an answer.
    pub(super) fn probed(&mut self, worker: ChildId, finding: Finding) {
        let awaited = |child: &&Child| {
            let wanted = self.wanted_probe(child).map(|(kind, _)| kind);
            matches!(child.probing.under_way, Some(UnderWay::Asked(_))) && child.probing.kind == wanted
        };
        if self.child(worker).filter(awaited).is_some() {
            self.release(worker);
            self.found(worker, finding);
        }
    }

    /// The command that probes a worker has ended; `late` if it had no say any more.
    pub(super) fn probe_hook_ended(
        &mut self,
        (worker, hook): (ChildId, ChildId),
        late: bool,
        finding: Finding,
    ) {
        let is_its = |child: &&Child| child.probing.under_way == Some(UnderWay::Hook(hook));
        if self.child(worker).filter(is_its).is_none() {
            return;
        }
        self.release(worker);
        if !late {
            self.found(worker, finding);
        }
    }

    /// A probe has taken too long.
    pub(super) fn probe_is_late(&mut self, worker: ChildId) {
        let Some(child) = self.child(worker) else { return };
        let allowed = Human(self.policy_of(child).probe_timeout);
        self.found(worker, Finding::Unwell(format!("no answer within {allowed}")));
    }

    fn found(&mut self, worker: ChildId, finding: Finding) {
        let Some(child) = self.child(worker) else { return };
        // Whoever has become ready by its own word, or was asked to go, is not asked any more.
        let Some((kind, _)) = self.wanted_probe(child).filter(|(kind, _)| child.probing.kind == Some(*kind))
        else {
            return;
        };
        match (kind, finding) {
            (ProbeKind::Ready, Finding::Well) => self.mark_ready(worker),
            (ProbeKind::Live, Finding::Well) => self.lives(worker),
            (_, Finding::Unwell(why)) => self.in_vain(worker, kind, why, 1),
            (_, Finding::Unknown(why)) => {
                self.in_vain(worker, kind, format!("it could not be made: {why}"), 0);
            }
        }
    }

    fn lives(&mut self, worker: ChildId) {
        let now = self.now;
        let Some(child) = self.child(worker) else { return };
        let next = Some(now.after(self.policy_of(child).live_interval));
        let fresh = Probing::new(Looking { kind: Some(ProbeKind::Live), next, ..Looking::default() });
        let Some(child) = self.child_mut(worker) else { return };
        let before = std::mem::replace(&mut child.probing, fresh);
        let (group, place) = (child.group, child.worker());
        if before.told.is_some() {
            self.note_worker(group, Level::Info, place, Happening::ProbePassed);
        }
    }

    fn in_vain(&mut self, worker: ChildId, kind: ProbeKind, why: String, counts: u32) {
        let now = self.now;
        let Some(child) = self.child(worker) else { return };
        let policy = self.policy_of(child);
        let doubled = pause(child.probing.tries);
        let (pause_after, level, limit) = match kind {
            ProbeKind::Ready => (doubled.min(policy.probe_interval), Level::Info, u32::MAX),
            ProbeKind::Live => (policy.live_interval, Level::Warn, policy.live_failures.max(1)),
        };
        let told = kind == ProbeKind::Live || doubled >= policy.probe_interval;
        let Some(child) = self.child_mut(worker) else { return };
        let probing = &mut child.probing;
        probing.tries = probing.tries.saturating_add(1);
        probing.failures = probing.failures.saturating_add(counts);
        probing.next = Some(now.after(pause_after));
        probing.last = Some(Failed { why: why.clone(), at: now });
        let news = told && probing.told.as_ref() != Some(&why);
        if news {
            probing.told = Some(why.clone());
        }
        let failures = probing.failures;
        let (group, place) = (child.group, child.worker());
        if news {
            self.note_worker(group, level, place, Happening::ProbeFailed(kind, why.clone()));
        }
        if failures >= limit {
            let sentence = match failures {
                1 => format!("live check failed: {why}"),
                _ => format!("live check failed {failures} times in a row, the last: {why}"),
            };
            self.give_up_worker(worker, Reason::Unwell, &sentence);
        }
    }

    /// This is a new image, which has none of the connections of the old one: what was asked is asked again.
    pub(super) fn probe_again(&mut self) {
        let now = self.now;
        for child in &mut self.children {
            if let Some(UnderWay::Asked(_)) = child.probing.under_way {
                (child.probing.under_way, child.probing.next) = (None, Some(now));
            }
        }
    }
}
