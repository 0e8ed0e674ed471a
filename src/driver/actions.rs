//! What the machine asks for, done: each action becomes system calls, or an answer to a client, or a line of the log.

use std::collections::BTreeSet;

use super::generation::Generation;
use super::group::Group;
use super::hook::Order;
use super::kept::Place;
use super::{Driver, own_pid, spawning};
use crate::env::WorkerContext;
use crate::error::{Code, Result};
use crate::plan::Level;
use crate::supervisor::command::Reply;
use crate::supervisor::event::{Action, Event, GenerationId, GroupId, Mono};
use crate::supervisor::note::Happening;
use crate::supervisor::snapshot::Status;
use crate::sys::{clock, reason};

/// How many workers are started between two looks at what else has happened: a group of thousands keeps nobody waiting,
/// a child does not inherit, to close them all, what its elder siblings report by, and what all of them are started with
/// takes little memory.
const SPAWNS_MAX: usize = 8;

/// How far the machine's actions are performed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Performed {
    /// There are none left.
    All,
    /// There may be more.
    Some,
    /// The machine asks for the end, with this status.
    Exit(u8),
}

impl Driver {
    /// Performs actions: all there are, unless they start many workers.
    pub(super) fn perform(&mut self) -> Performed {
        let mut spawns = 0;
        // Workers that are asked for one after the other are started together.
        let mut orders = Vec::new();
        // Groups whose workers may have changed what they share.
        let mut touched = BTreeSet::new();
        loop {
            let action = if spawns < SPAWNS_MAX { self.core.poll_action() } else { None };
            if action.is_none() || matches!(action, Some(Action::Spawn { .. })) {
                let renewed = self.look_after_sockets(&std::mem::take(&mut touched));
                if renewed && action.is_none() {
                    // The machine wants something by now, and nothing else would wake us for it.
                    continue;
                }
            }
            if !orders.is_empty() && !matches!(action, Some(Action::Spawn { .. } | Action::Note(_))) {
                self.spawn(&std::mem::take(&mut orders));
                if action.is_none() {
                    continue;
                }
            }
            let Some(action) = action else {
                return if spawns < SPAWNS_MAX { Performed::All } else { Performed::Some };
            };
            let now = Mono(clock::now_ms());
            match action {
                Action::Prepare { group, generation, from } => {
                    if let Err(reason) = self.retrievable(group, from) {
                        self.core.handle(now, Event::Irretrievable { group, generation: from, reason });
                    }
                    self.tell_astray(group, from);
                    let outcome = self.prepare(group, generation);
                    if let Ok(Some(program)) = outcome {
                        self.core.handle(now, Event::ProgramPrepared { group, program });
                    }
                    let outcome = outcome.map(|_| ()).map_err(|error| error.message);
                    self.core.handle(now, Event::Prepared { group, generation, outcome });
                }
                Action::CheckGeneration { group, generation } => {
                    let outcome = self.retrievable(group, generation);
                    self.tell_astray(group, generation);
                    self.core.handle(now, Event::Prepared { group, generation, outcome });
                }
                Action::Forget { group, generation } => {
                    let journal = &mut self.journal;
                    let mut complain = |sentence: &str| journal.complain(sentence);
                    if let Some(group) = self.opened.groups.get_mut(&group) {
                        group.forget(generation, &mut complain);
                    }
                    self.opened.close_unused_doors(group, &mut complain);
                    self.settle_outputs();
                }
                Action::Spawn { child, group, generation, slot, index } => {
                    spawns += 1;
                    orders.push(spawning::Order { child, place: Place { group, slot }, generation, index });
                }
                Action::ReadProgram { group: id, generation } => {
                    let group = self.opened.groups.get(&id);
                    let other = group
                        .and_then(|group| group.generation(generation)?.other_program(&group.spec.launch));
                    self.core.handle(now, Event::ProgramRead { group: id, other });
                }
                Action::SpawnHook { child, group, generation, slot, index, hook, command } => {
                    spawns += 1;
                    if let Some(group) = self.opened.groups.get(&group) {
                        let order = Order { child, generation, slot, index, hook, command };
                        let event = self.workers.spawn_hook(&order, group, &self.image.environment);
                        self.core.handle(now, event);
                    }
                }
                Action::Probe { child, group, generation, slot, index, contact } => {
                    let group = self.opened.groups.get(&group);
                    let worker = WorkerContext::new(slot, index, generation.0);
                    let contact = match group.and_then(|group| group.generation(generation)) {
                        Some(held) => held.contact(&contact, &worker),
                        None => contact,
                    };
                    if let Some(finding) = self.probes.begin(child, &contact) {
                        self.core.handle(now, Event::Probed { child, finding });
                    }
                }
                Action::StopProbe { child } => self.probes.stop(child),
                Action::Signal { child, signal, to_group } => {
                    if let Err(error) = self.workers.signal(child, signal, to_group, &mut self.journal) {
                        self.journal
                            .complain(&format!("cannot send {signal} to a worker: {}", reason(error)));
                    }
                }
                Action::LookForOrphans => {
                    let core = &mut self.core;
                    self.workers.look_for_orphans(&mut self.journal, |event| core.handle(now, event));
                }
                Action::SignalOrphan { pid, signal } => {
                    if let Err(error) = self.workers.trees.signal_orphan(pid, signal) {
                        self.journal
                            .complain(&format!("cannot send {signal} to pid {pid}: {}", reason(error)));
                    }
                }
                Action::Wake { child, to_group } => {
                    if let Err(error) = self.workers.wake(child, to_group, &mut self.journal) {
                        self.journal.complain(&format!("cannot let a worker go on: {}", reason(error)));
                    }
                }
                Action::Reply { ticket, mut reply, last } => {
                    if let Reply::Status(status) = &mut reply {
                        self.complete(status);
                    }
                    self.opened.clients.reply(ticket, &reply, last);
                }
                Action::Note(note) => {
                    self.journal.note(&note);
                    let changed = matches!(
                        note.what,
                        Happening::Ready(_)
                            | Happening::Died(..)
                            | Happening::Gone(_)
                            | Happening::UpgradeDone(_)
                    );
                    touched.extend(note.group.filter(|_| changed));
                }
                Action::SetLevel(level) => self.journal.set_level(level),
                Action::ReopenLogs { ticket } => {
                    let reply = self.reopen_logs();
                    if let Some(ticket) = ticket {
                        self.opened.clients.reply(ticket, &reply, true);
                    }
                }
                Action::CheckImage { check } => {
                    if let Some(event) = self.check_image(check) {
                        self.core.handle(now, event);
                    }
                }
                Action::StopCheck { check } => {
                    if let Err(error) = self.workers.stop_check(check) {
                        self.journal.complain(&format!("cannot end the check of a new image: {error}"));
                    }
                }
                Action::ReadPlan { reload, keep_going } => {
                    if let Err(why) = self.begin_reading(reload, keep_going) {
                        self.core.handle(now, Event::PlanRead { reload, outcome: Err(vec![why]) });
                    }
                }
                Action::StopReading { reload } => {
                    if let Err(error) = self.workers.stop_reading(reload) {
                        self.journal
                            .complain(&format!("cannot end the reading of a plan: {}", reason(error)));
                    }
                }
                Action::Adopt { reload, reading, dry_run } => {
                    let outcome = self.adopt(*reading, dry_run);
                    self.core.handle(now, Event::NewPlan { reload, outcome });
                }
                Action::ForgetGroup { group } => self.forget_group(group),
                Action::Reexec => self.reexec(),
                Action::Exit(code) => {
                    self.opened.clients.flush();
                    return Performed::Exit(code);
                }
            }
        }
    }

    /// Puts right what workers may have changed of the sockets that all of a group share. True if there is a new one.
    fn look_after_sockets(&mut self, groups: &BTreeSet<String>) -> bool {
        let now = Mono(clock::now_ms());
        let mut any = false;
        for (&id, group) in self.opened.groups.iter().filter(|(_, group)| groups.contains(&group.spec.name)) {
            let mut renewed = false;
            for socket in &group.sockets {
                let cared = socket.look_after();
                for outcome in cared.told {
                    let level = if outcome.is_ok() { Level::Warn } else { Level::Error };
                    let (Ok(what) | Err(what)) = outcome;
                    self.journal.line(level, &format!("{}: {}: {what}", group.spec.name, socket.address));
                }
                renewed |= cared.renewed;
            }
            if renewed {
                self.core.handle(now, Event::SocketRenewed { group: id });
            }
            any |= renewed;
        }
        any
    }

    /// Starts workers, and has clients of those that are born with a connection.
    fn spawn(&mut self, orders: &[spawning::Order]) {
        let (core, now) = (&mut self.core, Mono(clock::now_ms()));
        self.workers
            .spawn(orders, &mut self.opened.groups, &mut self.journal, |event| core.handle(now, event));
        for (pid, uid, socket) in self.workers.take_connections() {
            self.opened.clients.adopt(pid, uid, socket, now.0);
        }
    }

    /// Puts in what the machine does not know of.
    fn complete(&self, status: &mut Status) {
        status.strangers = self.workers.strangers();
        for group in &mut status.groups {
            group.dropped_bytes = self.workers.outputs.dropped(&group.name);
            let named = |(_, held): &(&GroupId, &Group)| held.spec.name == group.name;
            let Some((&id, _)) = self.opened.groups.iter().rev().find(named) else { continue };
            group.fd_store = self.workers.kept.count_of_group(id);
            for worker in &mut group.workers {
                worker.fd_store = self.workers.kept.count(Place { group: id, slot: worker.slot });
            }
        }
    }

    /// Opens the logs of workers again, which somebody may have moved.
    fn reopen_logs(&mut self) -> Reply {
        match self.workers.outputs.reopen(&mut self.journal) {
            Ok(count) => {
                let sentence = match count {
                    // Neither standard error nor the system's log is ours to open again.
                    0 => "no log file to open again".to_owned(),
                    1 => "opened 1 log file again".to_owned(),
                    count => format!("opened {count} log files again"),
                };
                self.journal.line(Level::Info, &sentence);
                Reply::Done(sentence)
            }
            Err(error) => {
                self.journal.complain(&error.message);
                Reply::Failed(Code::Failed, error.message)
            }
        }
    }

    /// Whether a generation that was prepared can still be run as it was; if not, why.
    fn retrievable(&self, id: GroupId, generation: GenerationId) -> Result<(), String> {
        let group = self.opened.groups.get(&id);
        let held = group.and_then(|group| group.generation(generation));
        held.map_or_else(|| Err("it is forgotten".to_owned()), Generation::retrievable)
    }

    /// Says so if workers of a generation would not run what they ran.
    fn tell_astray(&mut self, id: GroupId, generation: GenerationId) {
        let held = self.opened.groups.get(&id).and_then(|group| group.generation(generation));
        if let Some(reason) = held.and_then(Generation::led_astray) {
            let now = Mono(clock::now_ms());
            self.core.handle(now, Event::LedAstray { group: id, generation, reason });
        }
    }

    /// Prepares a generation; returns what its program is known by.
    fn prepare(&mut self, id: GroupId, generation: GenerationId) -> Result<Option<u64>> {
        let Some(group) = self.opened.groups.get_mut(&id) else { return Ok(None) };
        let prepared = match group.next.take() {
            Some(prepared) => prepared,
            None => {
                let prepared = Generation::of_group(&group.spec, &self.image.environment);
                let mut prepared = prepared.map_err(|obstacle| obstacle.error)?;
                prepared.hand_off(group.surroundings(), own_pid());
                prepared
            }
        };
        let print = prepared.print;
        group.generations.push((generation, prepared));
        Ok(print)
    }
}
