//! Requests that only the protocols of other programs have, such as einhorn's: signals in a row, an end by a signal of the
//! client's choice, a look at everything, a change of policy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::child::{Child, Phase};
use super::command::{Reply, Ticket, Wait};
use super::event::{Action, ChildId, Mono};
use super::requests::MAX_WORKERS;
use super::upgrade::Purpose;
use crate::error::Code;
use crate::plan::{Level, Policy, Readiness, UpgradeMode};
use crate::signame::Signal;

/// A request that remuda's own protocol does not have. It is about every group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// Replace all workers at once, whatever mode the plan has.
    UpgradeFleet(Wait),
    /// End the manager; the workers are asked to go by this signal.
    StopWith(Signal),
    /// Send all workers these signals, one after the other, without any other consequence.
    Signals(Vec<Signal>),
    /// Log one level less important things too, down to each step.
    Louder,
    /// Log from one level higher on, up to warnings.
    Quieter,
    /// Everything that is known of the first group.
    Inspect,
    /// Treat workers in another way from now on.
    Configure(Changes),
}

/// What of a policy may be changed at run time; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Changes {
    /// Number of workers.
    pub workers: Option<u32>,
    /// [`Policy::spacing`].
    pub spacing: Option<Duration>,
    /// First delay of the back-off.
    pub backoff: Option<Duration>,
    /// [`Policy::ready`].
    pub ready: Option<Readiness>,
    /// [`Policy::stop_timeout`] and [`Policy::drain_timeout`].
    pub stop_timeout: Option<Option<Duration>>,
    /// [`Policy::max_unacked`].
    pub max_unacked: Option<u32>,
    /// [`Policy::max_extra`].
    pub max_extra: Option<u32>,
    /// Least important level that is logged.
    pub level: Option<Level>,
}

/// Everything that is known of a group. Moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// How its workers are treated by now, their number included.
    pub policy: Policy,
    /// Least important level that is logged.
    pub level: Level,
    /// The generation that new workers get, from 1.
    pub generation: u32,
    /// How workers are being replaced, if they are.
    pub upgrading: Option<UpgradeMode>,
    /// It stops, or has stopped.
    pub stopping: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Images that this process was asked to replace its own by.
    pub reexecs: u64,
    /// Where its sockets are bound.
    pub addresses: Vec<String>,
    /// When a worker was last started.
    pub last_spawn: Option<u64>,
    /// When an upgrade last began.
    pub last_upgrade: Option<u64>,
    /// Its workers, oldest first.
    pub workers: Vec<Inspected>,
}

/// One worker, as [`Inspection`] shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// Its pid.
    pub pid: i32,
    /// The generation it runs.
    pub generation: u32,
    /// Its EINHORN_CHILD_INDEX.
    pub index: u32,
    /// It is, or was, ready.
    pub acked: bool,
    /// By which it was asked to go.
    pub signals: Vec<Signal>,
    /// And when.
    pub signaled_at: Option<u64>,
    /// When it was started.
    pub born: u64,
    /// When it was last heard of, and what it said.
    pub heartbeat: Option<(u64, String)>,
}

/// That a worker said it is alive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    at: Mono,
    said: String,
}

impl Supervisor {
    pub(super) fn foreign(&mut self, ticket: Ticket, request: Foreign) {
        let reply = match request {
            Foreign::UpgradeFleet(wait) => {
                return self.upgrade_groups(ticket, &None, Some(UpgradeMode::Fleet), wait);
            }
            Foreign::StopWith(signal) => {
                self.begin_shutdown(None);
                self.forward_stop(signal);
                Reply::Done("stopping".into())
            }
            Foreign::Signals(signals) => {
                for child in self.all_workers() {
                    for &signal in &signals {
                        self.act(Action::Signal { child, signal, to_group: false });
                    }
                }
                Reply::Done(String::new())
            }
            Foreign::Louder => self.change_level(match self.level {
                Level::Debug | Level::Info => Level::Debug,
                Level::Warn | Level::Error => Level::Info,
            }),
            Foreign::Quieter => self.change_level(match self.level {
                Level::Debug => Level::Info,
                Level::Info | Level::Warn => Level::Warn,
                Level::Error => Level::Error,
            }),
            Foreign::Inspect => self.inspect(),
            Foreign::Configure(changes) => self.configure(&changes),
        };
        self.act(Action::Reply { ticket, reply, last: true });
    }

    /// Notes that a worker is alive.
    pub(super) fn heartbeat(&mut self, child: ChildId, said: String) {
        let at = self.now;
        if let Some(child) = self.child_mut(child) {
            child.heartbeat = Some(Heartbeat { at, said });
        }
    }

    /// Logs from another level on.
    pub(super) fn change_level(&mut self, level: Level) -> Reply {
        self.level = level;
        self.act(Action::SetLevel(level));
        Reply::Level(level)
    }

    fn configure(&mut self, changes: &Changes) -> Reply {
        if let Some(workers) = changes.workers.filter(|&workers| workers > MAX_WORKERS) {
            return Reply::Failed(Code::Refused, format!("{workers} workers are more than {MAX_WORKERS}"));
        }
        for at in 0..self.groups.len() {
            let mut policy = self.groups[at].policy.clone();
            let Changes { workers, spacing, backoff, ready, stop_timeout, max_unacked, max_extra, level: _ } =
                changes;
            policy.spacing = spacing.unwrap_or(policy.spacing);
            policy.backoff.base = backoff.unwrap_or(policy.backoff.base);
            policy.ready = ready.unwrap_or(policy.ready);
            policy.stop_timeout = stop_timeout.unwrap_or(policy.stop_timeout);
            policy.drain_timeout = stop_timeout.unwrap_or(policy.drain_timeout);
            policy.max_unacked = max_unacked.or(policy.max_unacked);
            policy.max_extra = max_extra.or(policy.max_extra);
            self.groups[at].plan_policy(policy, None);
            self.groups[at].dirty = true;
            if let Some(workers) = *workers {
                let id = self.groups[at].id;
                self.resize(id, workers);
            }
        }
        if let Some(level) = changes.level {
            self.change_level(level);
        }
        Reply::Done(String::new())
    }

    fn inspect(&self) -> Reply {
        let Some(group) = self.groups.first() else {
            return Reply::Failed(Code::Failed, "there is no group".into());
        };
        let graceful = |child: &Child| {
            let forced = self.shutdown.as_ref().and_then(|shutdown| shutdown.signal);
            let drain = group.policy.drain_signal.filter(|_| child.retired);
            forced.or(drain).unwrap_or(group.policy.graceful_signal)
        };
        let inspected = |child: &Child| {
            let signals = match child.phase {
                Phase::Spawning | Phase::Starting | Phase::Ready => Vec::new(),
                Phase::Stopping => vec![graceful(child)],
                Phase::Killed => vec![graceful(child), Signal::KILL],
            };
            Inspected {
                pid: child.pid,
                generation: child.generation.0,
                index: child.index,
                acked: child.ready_at.is_some(),
                signaled_at: (!signals.is_empty()).then(|| self.wall(child.asked_at(self.now))),
                signals,
                born: self.wall(child.born),
                heartbeat: child
                    .heartbeat
                    .as_ref()
                    .map(|heartbeat| (self.wall(heartbeat.at), heartbeat.said.clone())),
            }
        };
        let of_group = self.workers_of(group.id).filter(|child| child.pid != 0);
        let upgrade = group.rollout.as_ref().filter(|rollout| rollout.purpose != Purpose::Restart);
        Reply::Inspection(Box::new(Inspection {
            policy: Policy { workers: group.target(), ..group.policy.clone() },
            level: self.level,
            generation: group.generation.0,
            upgrading: upgrade.map(|rollout| rollout.mode),
            stopping: group.stopped.is_some() || self.shutdown.is_some(),
            failures: group.streak.length,
            reexecs: self.checks,
            addresses: group.sockets.iter().map(|socket| socket.address.clone()).collect(),
            last_spawn: group.last_spawn.map(|at| self.wall(at)),
            last_upgrade: group.last_upgrade.map(|at| self.wall(at)),
            workers: of_group.map(inspected).collect(),
        }))
    }

    /// A moment by the clock on the wall.
    fn wall(&self, moment: Mono) -> u64 {
        self.epoch_ms.saturating_add(moment.0)
    }
}
