//! One record of the table of children: a worker or a hook, from before its fork until it is reaped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{ChildId, GenerationId, GroupId, HookKind, Mono, Remains};
use super::foreign::Heartbeat;
use super::note::Worker;
use super::probe::Probing;
use super::snapshot::WorkerPhase;
use crate::plan::Policy;
use crate::process::Stage;

/// Where a worker is in its life. Only forward, and only the reaper takes a record out of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Asked for; its program does not run yet.
    Spawning,
    /// Its program runs and is not ready.
    Starting,
    /// Ready.
    Ready,
    /// Has the graceful signal.
    Stopping,
    /// Has SIGKILL.
    Killed,
}

impl Phase {
    /// Not asked to go.
    pub(super) fn is_serving(self) -> bool {
        match self {
            Phase::Spawning | Phase::Starting | Phase::Ready => true,
            Phase::Stopping | Phase::Killed => false,
        }
    }

    /// Not ready yet, and not asked to go.
    pub(super) fn is_unready(self) -> bool {
        matches!(self, Phase::Spawning | Phase::Starting)
    }

    /// The name for clients, who need not know of the time before the exec.
    pub(super) fn shown(self) -> WorkerPhase {
        match self {
            Phase::Spawning | Phase::Starting => WorkerPhase::Starting,
            Phase::Ready => WorkerPhase::Ready,
            Phase::Stopping => WorkerPhase::Stopping,
            Phase::Killed => WorkerPhase::Killed,
        }
    }
}

/// A worker, or a hook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Child {
    pub(super) id: ChildId,
    pub(super) group: GroupId,
    pub(super) generation: GenerationId,
    pub(super) slot: u32,
    pub(super) index: u32,
    /// 0 until the fork is reported.
    pub(super) pid: i32,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Mono,
    /// When the spawn was asked for.
    pub(super) born: Mono,
    /// When it became ready; kept through the phases that follow.
    pub(super) ready_at: Option<Mono>,
    /// What the phase waits for at the latest. A ready worker waits for nothing, or for its next sign
    /// of life.
    pub(super) deadline: Option<Mono>,
    /// How many of the policy's further signals it was sent while stopping.
    pub(super) steps: u32,
    /// Asked to go because another worker has taken its place, or is to take it.
    pub(super) retired: bool,
    /// When it was asked to go.
    #[serde(default)]
    pub(super) asked: Option<Mono>,
    /// It has ended, and is accounted for; others of its tree live.
    #[serde(default)]
    pub(super) remnant: bool,
    /// SIGKILL was repeated.
    #[serde(default)]
    pub(super) unkillable: bool,
    /// Why its program never ran.
    pub(super) failure: Option<(Stage, i32)>,
    /// What it is run for, if it is no worker.
    #[serde(default)]
    pub(super) hook: Option<HookKind>,
    /// What it says of itself, for status.
    #[serde(default)]
    pub(super) said: Option<String>,
    /// The process of its that it calls the main one, where that is not the worker, for status.
    #[serde(default)]
    pub(super) main_pid: Option<i32>,
    /// It has said that it goes of its own accord.
    #[serde(default)]
    pub(super) finishing: bool,
    /// How often it shows that it lives, where that is not what the policy says.
    #[serde(default)]
    pub(super) alive_every: Option<Duration>,
    /// The last time that it said it is alive.
    #[serde(default)]
    pub(super) heartbeat: Option<Heartbeat>,
    /// How it is looked at from outside.
    #[serde(default)]
    pub(super) probing: Probing,
    /// What it has left behind.
    #[serde(default)]
    pub(super) remains: Remains,
}

impl Child {
    pub(super) fn enter(&mut self, phase: Phase, now: Mono, deadline: Option<Mono>) {
        if !phase.is_serving() {
            self.asked.get_or_insert(now);
        }
        self.phase = phase;
        self.since = now;
        self.deadline = deadline;
        if phase == Phase::Ready {
            self.ready_at = Some(now);
        }
    }

    /// Brings its deadline forward to `latest`, or to the present where that has passed.
    pub(super) fn hasten(&mut self, latest: Option<Mono>, now: Mono) {
        let latest = latest.map(|latest| latest.max(now));
        self.deadline = self.deadline.into_iter().chain(latest).min();
    }

    /// Ready, and for long enough where readiness says no more than that the program runs; or it goes of its own accord.
    pub(super) fn is_healthy(&self, policy: &Policy, now: Mono) -> bool {
        let lasts = !policy.is_ready_at_exec() || self.ready_for(now) >= policy.healthy_after;
        self.ready_at.is_some() && (lasts || self.finishing)
    }

    /// How long it was ready without being asked to go; zero if it never was.
    pub(super) fn ready_for(&self, now: Mono) -> Duration {
        self.ready_at.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// When it was asked to go, as far as its record tells; `now` if it was not.
    pub(super) fn asked_at(&self, now: Mono) -> Mono {
        self.asked.unwrap_or(if self.phase.is_serving() { now } else { self.since })
    }

    pub(super) fn worker(&self) -> Worker {
        Worker { slot: self.slot, index: self.index, pid: self.pid, generation: self.generation.0 }
    }
}
