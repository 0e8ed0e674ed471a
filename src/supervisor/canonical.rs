//! The machine as a search sees it: two machines with the same [`Canonical`] form have the same future. For tests only
//! (tests/model.rs), but it must stand here, since it reads every field; a new field does not compile until it is said
//! what it means for the future.
//!
//! Moments become distances from the present, cut off where no policy can tell them apart. Ids, generations and serials
//! become ranks. Counters are cut off at the last limit that is asked of them. Left out is what only tells (statistics,
//! pids, the words of a failure) and what never changes (names).

use super::Supervisor;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::backoff::{Streak, pause};
use super::child::{Child, Phase};
use super::drain::Drain;
use super::event::{ChildId, GenerationId, GroupId, HookKind, Mono, ProbeKind};
use super::group::{Group, Slot, Vacancy, Waits};
use super::hook::Preflight;
use super::probe::{Looking, UnderWay, doublings};
use super::reexec::Reexec;
use super::reload::{Reloads, Request};
use super::shutdown::Shutdown;
use super::snapshot::WorkerPhase;
use super::upgrade::{Purpose, Rollout};
use super::waiter::{Goal, Outcome, Part, Waiter};
use super::watch::Watch;

/// What a machine will do, and nothing else.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Canonical(Vec<u64>);

/// One row of the table of children.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its own id.
    pub child: ChildId,
    /// Of this group.
    pub group: GroupId,
    /// Its logical place.
    pub slot: u32,
    /// Its EINHORN_CHILD_INDEX.
    pub index: u32,
    /// Its pid; 0 before the fork.
    pub pid: i32,
    /// What it runs.
    pub generation: GenerationId,
    /// Where it is in its life.
    pub phase: WorkerPhase,
    /// What it waits for at the latest.
    pub deadline: Option<Mono>,
    /// What it is run for, if it is no worker.
    pub hook: Option<HookKind>,
}

/// What is wanted of one group.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Number of workers wanted.
    pub target: u32,
    /// The generation that new ones get.
    pub generation: GenerationId,
    /// Slots that want no worker any more.
    pub finished: u32,
    /// None is started yet.
    pub waiting: bool,
    /// Asked to stop.
    pub stopped: bool,
    /// No more attempts are made.
    pub gave_up: bool,
    /// Workers are being replaced, or a generation is being prepared for it.
    pub changing: bool,
}

impl Supervisor {
    /// The canonical form.
    #[doc(hidden)]
    pub fn canonical(&self) -> Canonical {
        let Supervisor {
            identity: _,
            policy: _,
            started: _,
            now,
            groups,
            children,
            next_child: _,
            waiters,
            inquiries,
            subscribers,
            drain,
            shutdown,
            reexec,
            reloads: Reloads { queue, count: _ },
            orphans,
            // The answer to an earlier check is known by its number, and has no other consequence.
            checks: _,
            exited,
            // Without jitter it decides nothing.
            random: _,
            level: _,
            epoch_ms: _,
            actions,
        } = self;
        let mut form = Form { now: *now, words: Vec::with_capacity(64) };
        form.count(actions.0.len());
        form.count(subscribers.len());
        form.flag(*exited);
        let (count, phase, until) = orphans.shape();
        form.count(count);
        form.count(phase);
        form.ahead(until);
        form.flag(shutdown.is_some());
        if let Some(Shutdown { since, signal, interrupted, at_once, killed, failed, code, next_word }) =
            shutdown
        {
            let longest =
                groups.iter().filter_map(|group| group.policy.stop_timeout).max().unwrap_or_default();
            form.age(*since, longest);
            form.count(signal.map_or(0, |signal| signal.0.unsigned_abs() as usize));
            form.flag(*interrupted);
            form.flag(*at_once);
            form.flag(*killed);
            form.flag(*failed);
            form.count(code.map_or(0, |code| 1 + usize::from(code)));
            form.ahead(*next_word);
        }
        form.flag(drain.is_some());
        if let Some(Drain { until, stop, over, waiting }) = drain {
            form.ahead(Some(*until));
            form.count(stop.map_or(0, |signal| signal.0.unsigned_abs() as usize));
            form.flag(*over);
            form.count(waiting.len());
        }
        form.flag(reexec.is_some());
        if let Some(Reexec { phase, check: _, deadline, waiting, upgrade, mode, upgrading }) = reexec {
            form.count(*phase as usize);
            form.ahead(Some(*deadline));
            form.count(waiting.len());
            form.flag(*upgrade);
            form.count(mode.map_or(0, |mode| 1 + mode as usize));
            form.count(upgrading.len());
        }
        form.count(queue.len());
        for Request { ticket, reload, wait, reading } in queue {
            form.flag(ticket.is_some());
            form.flag(reload.dry_run);
            form.flag(reload.keep_going);
            form.count(*wait as usize);
            form.ahead(reading.map(|(_, deadline)| deadline));
        }
        for group in groups {
            form.group(group, children, waiters);
        }
        form.count(inquiries.len());
        for Waiter { ticket: _, wait, parts } in waiters {
            form.count(*wait as usize);
            form.count(parts.len());
            for Part { group, goal, outcome, words: _ } in parts {
                form.count(group.0);
                form.count(match goal {
                    Goal::Filled => 0,
                    Goal::Stopped => 1,
                    Goal::Rollout(serial) => 2 + rank(&serials(&groups[group.0], waiters), serial),
                    Goal::Gone(generation) => {
                        let older = |child: &&Child| child.group == *group && child.generation < *generation;
                        1000 + children.iter().filter(older).count()
                    }
                });
                form.count(match outcome {
                    None => 0,
                    Some(Outcome::Done(_)) => 1,
                    Some(Outcome::Forced(_)) => 2,
                    Some(Outcome::Failed(code, _)) => 3 + usize::from(code.status()),
                });
            }
        }
        Canonical(form.words)
    }

    /// The table of children, oldest first.
    #[doc(hidden)]
    pub fn census(&self) -> impl Iterator<Item = Record> {
        self.children.iter().map(|child| Record {
            child: child.id,
            group: child.group,
            slot: child.slot,
            index: child.index,
            pid: child.pid,
            generation: child.generation,
            phase: child.phase.shown(),
            deadline: child.deadline,
            hook: child.hook,
        })
    }

    /// What is wanted, group by group.
    #[doc(hidden)]
    pub fn wishes(&self) -> impl Iterator<Item = Wish> {
        self.groups.iter().map(|group| Wish {
            target: group.target(),
            generation: group.generation,
            finished: group.slots.iter().map(|slot| u32::from(slot.vacancy == Vacancy::Finished)).sum(),
            waiting: group.waits.is_some(),
            stopped: group.stopped.is_some(),
            gave_up: group.gave_up,
            changing: group.rollout.is_some() || group.preparing.is_some(),
        })
    }
}

struct Form {
    now: Mono,
    words: Vec<u64>,
}

impl Form {
    fn count(&mut self, count: usize) {
        self.words.push(count as u64);
    }

    fn flag(&mut self, flag: bool) {
        self.words.push(u64::from(flag));
    }

    /// How long ago; the same for all that is at least `limit` ago.
    fn age(&mut self, moment: Mono, limit: std::time::Duration) {
        self.words.push(self.now.since(moment).min(limit).as_millis() as u64);
    }

    /// How far ahead; the same for all that has come.
    fn ahead(&mut self, moment: Option<Mono>) {
        self.words.push(moment.map_or(u64::MAX, |moment| moment.since(self.now).as_millis() as u64));
    }

    fn value(&mut self, value: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        self.words.push(hasher.finish());
    }

    fn group(&mut self, group: &Group, children: &[Child], waiters: &[Waiter]) {
        let Group {
            id,
            name: _,
            policy,
            sockets: _,
            slots,
            generation,
            committed,
            previous,
            history: _,
            queued,
            newest: _,
            prepared,
            preparing,
            preflight,
            next_preflight,
            preparing_mode,
            restart_mark,
            waits,
            watch,
            rollout,
            words: _,
            astray: _,
            rollouts: _,
            drain_signal,
            began: _,
            stopped,
            streak,
            gave_up,
            deaths,
            killed,
            policies,
            // It only tells in which order.
            rank: _,
            sockets_since,
            presence,
            last_spawn: _,
            last_upgrade: _,
            dirty,
        } = group;
        let own: Vec<&Child> = children.iter().filter(|child| child.group == *id).collect();
        let older = |mark: &ChildId| own.iter().filter(|child| child.id < *mark).count();
        let mut generations: Vec<GenerationId> = own.iter().map(|child| child.generation).collect();
        generations.extend(prepared);
        generations.extend([*generation, *committed]);
        generations.extend(previous);
        generations.extend(preparing.map(|(generation, _)| generation));
        generations.sort_unstable();
        generations.dedup();
        let serials = serials(group, waiters);

        self.count(slots.len());
        for Slot {
            vacancy,
            restarts: _,
            last_exit: _,
            last_exit_detail: _,
            last_failure: _,
            last: _,
            taken,
            was_finished,
            last_end,
            rests_until,
        } in slots
        {
            self.count(*vacancy as usize);
            self.flag(*taken);
            self.flag(*was_finished);
            let matters = policy.crash_window.max(policy.floor());
            self.age(last_end.unwrap_or(Mono(0)), matters);
            self.age(rests_until.unwrap_or(Mono(0)), policy.floor());
            self.ahead(rests_until.filter(|at| *at > self.now));
        }
        self.count(rank(&generations, generation));
        self.count(rank(&generations, committed));
        self.count(previous.map_or(0, |previous| 1 + rank(&generations, &previous)));
        self.count(rank(&generations, sockets_since));
        self.count(queued.map_or(0, |serial| 1 + rank(&serials, &serial)));
        self.count(prepared.len());
        for generation in prepared {
            self.count(rank(&generations, generation));
        }
        self.count(preparing.map_or(0, |(generation, _)| 1 + rank(&generations, &generation)));
        self.count(preparing.map_or(0, |(_, serial)| 1 + rank(&serials, &serial)));
        self.count(match preflight {
            None => 0,
            Some(Preflight::Due) => 1,
            Some(Preflight::Running(child)) => 2 + older(child),
        });
        self.ahead(*next_preflight);
        let Watch { next, seen, tried } = watch;
        self.ahead(*next);
        self.words.extend([*seen, *tried].map(|print| print.map_or(0, |print| print.wrapping_add(1))));
        match waits {
            None => self.count(0),
            Some(Waits::Connection) => self.count(1),
            Some(Waits::Until(at)) => {
                self.count(2);
                self.ahead(Some(*at));
            }
        }
        self.count(preparing_mode.map_or(0, |mode| 1 + mode as usize));
        self.count(older(restart_mark));
        self.flag(rollout.is_some());
        if let Some(Rollout { serial, purpose, mode, failures, proven, until }) = rollout {
            self.count(rank(&serials, serial));
            self.count(match purpose {
                Purpose::Upgrade => 0,
                Purpose::RollBack(..) => 1,
                Purpose::Restart => 2,
            });
            self.count(*mode as usize);
            self.words.push(u64::from((*failures).min(policy.upgrade_failures)));
            self.flag(*proven);
            self.ahead(*until);
        }
        self.count(drain_signal.map_or(0, |signal| signal.0.unsigned_abs() as usize));
        self.flag(stopped.is_some());
        self.flag(killed.is_empty());
        if let Some(since) = stopped {
            self.age(*since, policy.stop_timeout.unwrap_or_default());
        }
        let Streak { length, hopeless, not_before, mark, probation } = streak;
        let ceiling = (1..=64).find(|&n| pause(&policy.backoff, n, 0) >= policy.backoff.max).unwrap_or(64);
        let limit = ceiling.max(policy.upgrade_failures).max(policy.give_up.unwrap_or(0));
        self.words.push(u64::from((*length).min(limit)));
        self.words.push(u64::from((*hopeless).min(policy.give_up.unwrap_or(0))));
        self.ahead(Some(*not_before));
        self.ahead(Some(group.paced_until()));
        self.count(older(mark));
        self.flag(*probation);
        self.flag(*gave_up);
        self.words.push(u64::from((*deaths).min(policy.exit_after.unwrap_or(0))));
        self.count(policies.len());
        for (first, policy) in policies {
            self.count(rank(&generations, first));
            self.value(policy);
        }
        self.value(policy);
        self.count(*presence as usize);
        self.flag(*dirty);

        self.count(own.len());
        for &child in &own {
            let Child {
                id: _,
                group: _,
                generation,
                slot,
                index: _,
                pid: _,
                phase,
                since: _,
                born: _,
                ready_at,
                deadline,
                steps,
                retired,
                // Only told of.
                asked: _,
                remnant,
                unkillable,
                failure,
                hook,
                said: _,
                main_pid: _,
                finishing,
                alive_every,
                heartbeat: _,
                probing,
                remains: _,
            } = child;
            let Looking { kind, next, under_way, tries, failures, last: _, told: _ } = &**probing;
            self.count(kind.map_or(0, |kind| 1 + kind as usize));
            self.ahead(*next);
            match under_way {
                None => self.count(0),
                Some(UnderWay::Asked(deadline)) => {
                    self.count(1);
                    self.ahead(Some(*deadline));
                }
                Some(UnderWay::Hook(hook)) => self.count(2 + older(hook)),
            }
            if *kind == Some(ProbeKind::Ready) {
                self.words.push(u64::from((*tries).min(doublings(policy.probe_interval))));
            } else {
                self.words.push(u64::from(*failures));
            }
            self.flag(*finishing);
            self.count(alive_every.map_or(0, |span| usize::try_from(span.as_millis()).unwrap_or(usize::MAX)));
            self.count(rank(&generations, generation));
            self.words.push(u64::from(*slot));
            self.count(*phase as usize);
            // Of one that was asked to go nobody asks how long it was ready.
            if let (Some(ready_at), Phase::Ready) = (ready_at, phase) {
                self.age(
                    *ready_at,
                    policy.stable_after.max(policy.healthy_after).max(policy.canary.unwrap_or_default()),
                );
            }
            self.ahead(*deadline);
            self.words.push(u64::from(*steps));
            self.flag(*retired);
            self.flag(*remnant);
            self.flag(*unkillable);
            self.count(match hook {
                None => 0,
                Some(HookKind::Preflight) => 1,
                Some(HookKind::Stop(worker)) => 2 + 2 * older(worker),
                Some(HookKind::Probe(worker)) => 3 + 2 * older(worker),
            });
            self.count(
                failure.map_or(0, |(stage, errno)| (1 + errno.unsigned_abs() as usize) << 8 | stage as usize),
            );
        }
    }
}

/// The rollouts of a group that somebody may still hear of.
fn serials(group: &Group, waiters: &[Waiter]) -> Vec<u64> {
    let of_group = |part: &&Part| part.group == group.id;
    let waited =
        waiters.iter().flat_map(|waiter| waiter.parts.iter().filter(of_group)).filter_map(|part| match part
            .goal
        {
            Goal::Rollout(serial) => Some(serial),
            Goal::Filled | Goal::Stopped | Goal::Gone(_) => None,
        });
    let mut serials: Vec<u64> = waited.collect();
    serials.extend(group.rollout.as_ref().map(|rollout| rollout.serial));
    serials.extend(group.queued);
    serials.extend(group.preparing.map(|(_, serial)| serial));
    serials.sort_unstable();
    serials.dedup();
    serials
}

fn rank<T: Ord>(sorted: &[T], value: &T) -> usize {
    sorted.partition_point(|other| other < value)
}
