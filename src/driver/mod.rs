//! The poll loop: what happens outside becomes events, what the machine asks for becomes system calls.
//!
//! One pass, in this order, because the other order loses something:
//!
//! 1. Perform every action the machine asks for; replies go into the buffers of their clients, then out.
//! 2. poll(2) until a descriptor is ready or the machine's next deadline.
//! 3. Drain the self-pipe, so that a signal that comes during the rest of the pass wakes the next one.
//!    What workers write into our log is read before anything else is told, as far as the log has room for it.
//! 4. Reap, on every pass, whatever woke it: SIGCHLDs coalesce. For each dead worker first its status pipe is read to
//!    the end (a failed exec is known by stage and errno before the death is told), then what is left of its process
//!    group is killed (safe only while its pid is not reaped), then it is reaped.
//! 5. Status pipes and READY=1 of the living; signals; requests of clients; the deadline. Deaths come before requests,
//!    so that nobody is told of a worker that is gone.
//!
//! Nothing in the loop blocks, and nothing wakes it but what somebody asked for: with nothing to do it sits in poll(2).
//!
//! This folder owns every descriptor of the manager. It decides nothing: what it does on its own account is only what
//! the machine cannot know of, such as connections that send garbage.

mod check;
mod clients;
mod generation;
mod hook;
mod journal;
mod obstacle;
mod output;
mod reexec;
mod state;
mod wording;
mod workers;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;

use crate::env::HandedSocket;
use crate::error::{Code, Error, Result};
use crate::placeholder;
use crate::plan::{Address, GroupSpec, Level, ManagerPolicy, Plan};
use crate::signame::Signal;
use crate::supervisor::command::Reply;
use crate::supervisor::event::{Action, Event, GenerationId, GroupId, Mono};
use crate::supervisor::snapshot::SocketStatus;
use crate::supervisor::{GroupStart, Identity, Supervisor};
use crate::sys::control::{Control, Endpoint};
use crate::sys::pidfile::PidFile;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::Image;
use crate::sys::signals::Signals;
use crate::sys::socket::{self, Listener};
use crate::sys::{clock, reason, start};
pub use check::{CAN_RESUME, RESUMABLE, can_resume};
use clients::Clients;
use generation::Generation;
use hook::Order;
use journal::Journal;
use obstacle::{Hurdle, Obstacle};
pub use reexec::{Resumption, resumption};
use workers::Workers;

/// Runs a plan to its end and returns the status to exit with.
///
/// # Errors
/// Whatever stands in the way of starting, before anything was started; later only a failure of poll(2) itself, after
/// the workers were asked to stop.
pub fn run(plan: Plan) -> Result<u8> {
    begin(plan, None)
}

/// Goes as far as [`run`] does before it opens the sockets, and fails there: they cannot be opened, for this reason.
///
/// # Errors
/// That reason, or what was in the way before it.
pub fn decline(plan: Plan, why: Error) -> Result<u8> {
    begin(plan, Some(why))
}

fn begin(plan: Plan, declined: Option<Error>) -> Result<u8> {
    start::open_standard()
        .map_err(|error| Error::failed(format!("cannot open /dev/null: {}", reason(error))))?;
    let sealed = start::seal_inherited(&inherited(&plan));
    let mut journal = Journal::new(&plan.log);
    let mut driver = match Base::open(plan, declined, &mut journal) {
        Ok(base) => Driver::new(base, journal),
        Err(obstacle) if journal.refuse(&obstacle) => return Ok(Code::Failed.status()),
        Err(obstacle) => return Err(obstacle.into_error()),
    };
    if let Err(error) = sealed {
        let sentence =
            format!("workers may inherit descriptors that the manager was started with: {}", reason(error));
        driver.journal.line(Level::Warn, &sentence);
    }
    driver.core.handle(Mono(clock::now_ms()), Event::Start);
    let outcome = driver.serve();
    driver.close();
    outcome
}

/// Descriptors that the plan takes over from whoever started us.
fn inherited(plan: &Plan) -> Vec<i32> {
    let sockets = plan.groups.iter().flat_map(|group| &group.sockets);
    sockets
        .filter_map(|socket| match socket.address {
            Address::Inherited(number) => i32::try_from(number).ok(),
            Address::Tcp(_) | Address::Udp(_) | Address::UnixPath(_) | Address::UnixAbstract(_) => None,
        })
        .collect()
}

/// How many workers are started between two looks at what else has happened: a group of thousands keeps nobody waiting,
/// and a child does not inherit, to close them all, what its elder siblings report by.
const SPAWNS_MAX: usize = 16;

/// How far the machine's actions are performed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Performed {
    /// There are none left.
    All,
    /// There may be more.
    Some,
    /// The machine asks for the end, with this status.
    Exit(u8),
}

/// A group as the driver holds it.
struct Group {
    spec: GroupSpec,
    listeners: Vec<Listener>,
    handed: Vec<HandedSocket>,
    /// Where its workers find the manager, for EINHORN_SOCK_PATH.
    control_path: Option<OsString>,
    generations: Vec<(GenerationId, Generation)>,
}

/// What others can see of the manager while it runs, and what must not be left behind.
struct Opened {
    groups: Vec<Group>,
    clients: Clients,
    pidfile: Option<PidFile>,
}

/// What there has to be before the machine begins.
struct Base {
    name: String,
    policy: ManagerPolicy,
    opened: Opened,
    workers: Workers,
    signals: Signals,
    image: Image,
}

struct Driver {
    core: Supervisor,
    opened: Opened,
    workers: Workers,
    journal: Journal,
    signals: Signals,
    /// Standard input was a terminal at the start.
    terminal: bool,
    /// How the manager was started, its environment among it.
    image: Image,
    poll: PollSet,
}

impl Base {
    /// Checks everything, then opens everything; what fails leaves nothing behind. `declined` is why the sockets cannot be
    /// opened, where that is known already.
    fn open(plan: Plan, declined: Option<Error>, journal: &mut Journal) -> Result<Base, Obstacle> {
        let other = |error: Error| Hurdle::Other.failed(error);
        let signals = Signals::install(plan.manager.signals.keys().copied())
            .map_err(|error| other(Error::failed(format!("cannot handle signals: {}", reason(error)))))?;
        let image = Image::at_start().map_err(|error| {
            other(Error::failed(format!("cannot tell how this program was started: {}", reason(error))))
        })?;
        for group in &plan.groups {
            if let Some(why) = placeholder::check(&group.launch, &group.sockets).into_iter().next() {
                return Err(other(Error::failed(why)).within(&group.name));
            }
        }
        let firsts = plan
            .groups
            .iter()
            .map(|spec| Generation::of_group(spec, &image.environment).map_err(|e| e.within(&spec.name)))
            .collect::<Result<Vec<Generation>, Obstacle>>();
        if !matches!(&firsts, Err(obstacle) if matches!(obstacle.kind, Hurdle::Program(_))) {
            journal.opening();
        }
        if let (Ok(_), Some(why)) = (&firsts, declined) {
            return Err(Hurdle::Socket.failed(why));
        }
        let firsts = firsts?;
        let workers = Workers::new(&plan.groups, *signals.saved(), own_pid()).map_err(other)?;
        let control = plan.control.map(|spec| Control::open(&spec, &plan.name)).transpose().map_err(other)?;
        let clients = Clients::new(control, plan.dialect);
        let mut opened = Opened { groups: Vec::new(), clients, pidfile: None };
        if let Err(obstacle) = opened.open(plan.groups, firsts, plan.pidfile.as_deref()) {
            // Why we cannot start is what the user has to hear of.
            opened.close(&mut |_| ());
            return Err(obstacle);
        }
        Ok(Base { name: plan.name, policy: plan.manager, opened, workers, signals, image })
    }
}

impl Driver {
    fn new(base: Base, journal: Journal) -> Driver {
        let (now, pid) = (Mono(clock::now_ms()), own_pid());
        let starts = base.opened.groups.iter().map(Group::start).collect();
        let identity = Identity { name: base.name, pid };
        // Only for the jitter of delays: two managers started at once shall not retry in step.
        let seed = now.0.rotate_left(32) ^ u64::from(pid.unsigned_abs());
        Driver {
            core: Supervisor::new(identity, starts, now, seed).with_policy(base.policy),
            opened: base.opened,
            workers: base.workers,
            journal,
            signals: base.signals,
            terminal: io::stdin().is_terminal(),
            image: base.image,
            poll: PollSet::new(),
        }
    }

    /// The loop.
    fn serve(&mut self) -> Result<u8> {
        loop {
            let performed = self.perform();
            if let Performed::Exit(code) = performed {
                return Ok(code);
            }
            if self.send_replies() {
                continue;
            }
            if let Err(error) = self.wait(performed == Performed::Some) {
                self.workers.signal_all(Signal::TERM);
                return Err(Error::failed(format!(
                    "cannot wait for events: {}; the workers were asked to stop",
                    reason(error)
                )));
            }
        }
    }

    /// Performs actions: all there are, unless they start many workers.
    fn perform(&mut self) -> Performed {
        let mut spawns = 0;
        while spawns < SPAWNS_MAX {
            let Some(action) = self.core.poll_action() else { return Performed::All };
            let now = Mono(clock::now_ms());
            match action {
                Action::Prepare { group, generation } => {
                    let outcome = self.prepare(group, generation).map_err(|error| error.message);
                    self.core.handle(now, Event::Prepared { group, generation, outcome });
                }
                Action::Forget { group, generation } => {
                    if let Some(group) = self.opened.groups.get_mut(group.0) {
                        group.generations.retain(|(id, _)| *id != generation);
                    }
                }
                Action::Spawn { child, group, generation, slot, index } => {
                    spawns += 1;
                    if let Some(group) = self.opened.groups.get_mut(group.0) {
                        let event =
                            self.workers.spawn(child, group, generation, (slot, index), &mut self.journal);
                        self.core.handle(now, event);
                    }
                }
                Action::SpawnHook { child, group, generation, slot, index, hook } => {
                    spawns += 1;
                    if let Some(group) = self.opened.groups.get(group.0) {
                        let order = Order { child, generation, slot, index, hook };
                        let event = self.workers.spawn_hook(&order, group, &self.image.environment);
                        self.core.handle(now, event);
                    }
                }
                Action::Signal { child, signal, to_group } => {
                    if let Err(error) = self.workers.signal(child, signal, to_group) {
                        self.journal
                            .complain(&format!("cannot send {signal} to a worker: {}", reason(error)));
                    }
                }
                Action::Reply { ticket, mut reply, last } => {
                    if let Reply::Status(status) = &mut reply {
                        for group in &mut status.groups {
                            group.dropped_bytes = self.workers.outputs.dropped(&group.name);
                        }
                    }
                    self.opened.clients.reply(ticket, &reply, last);
                }
                Action::Note(note) => self.journal.note(&note),
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
                Action::Reexec => self.reexec(),
                Action::Exit(code) => {
                    self.opened.clients.flush();
                    return Performed::Exit(code);
                }
            }
        }
        Performed::Some
    }

    /// Writes what is to be written to clients. True if some are gone, which the machine then has to act upon.
    fn send_replies(&mut self) -> bool {
        let gone = self.opened.clients.flush();
        let now = Mono(clock::now_ms());
        for &client in &gone {
            self.core.handle(now, Event::ClientGone(client));
        }
        !gone.is_empty()
    }

    /// Waits for something to happen and turns it into events; only looks whether something has, if there is `more` to
    /// perform.
    fn wait(&mut self, more: bool) -> std::io::Result<()> {
        self.poll.clear();
        let signals_at = self.poll.add(self.signals.fd(), Interest::READ);
        let workers_at = self.workers.watch(&mut self.poll);
        let clients_at = self.opened.clients.watch(&mut self.poll, clock::now_ms());
        let log_at = self.journal.waits_for().map(|log| self.poll.add(log, Interest::WRITE));
        self.workers.outputs.watch(&mut self.poll, &self.journal);
        let mut idle_at = Vec::new();
        for id in self.core.awaiting() {
            let listeners = self.opened.groups.get(id.0).map(|group| &group.listeners);
            for listener in listeners.into_iter().flatten() {
                idle_at.push((id, self.poll.add(listener.as_fd(), Interest::READ)));
            }
        }
        let deadlines = [
            self.core.next_deadline().map(|deadline| deadline.0),
            clients_at.reopen,
            self.workers.outputs.deadline(),
            more.then_some(0),
        ];
        self.poll.wait(deadlines.into_iter().flatten().min())?;

        let now = Mono(clock::now_ms());
        let signals = if self.poll.readable(signals_at) { Some(self.signals.drain()) } else { None };
        if log_at.is_some_and(|at| self.poll.writable(at)) {
            self.journal.flush();
        }
        self.workers.outputs.heard(&self.poll, &mut self.journal);
        let core = &mut self.core;
        self.workers.heard(&self.poll, workers_at, &mut self.journal, |event| core.handle(now, event));
        let mut died = false;
        self.workers.reap(&mut self.journal, |event| {
            died |= matches!(event, Event::Exited { .. });
            core.handle(now, event);
        });
        if died {
            self.workers.outputs.catch_up(&mut self.journal);
        }
        for (group, at) in idle_at {
            if self.poll.readable(at) {
                core.handle(now, Event::ListenerReadable { group });
            }
        }
        for signal in signals.into_iter().flatten() {
            core.handle(now, received(signal, self.terminal));
        }
        let workers = &self.workers;
        self.opened.clients.serve(
            &self.poll,
            &clients_at,
            now.0,
            |pid| workers.is_worker(pid),
            |event| core.handle(now, event),
        );
        if core.next_deadline().is_some_and(|deadline| deadline <= now) {
            core.handle(now, Event::Timeout);
        }
        Ok(())
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

    fn prepare(&mut self, id: GroupId, generation: GenerationId) -> Result<()> {
        let Some(group) = self.opened.groups.get_mut(id.0) else { return Ok(()) };
        let prepared = Generation::of_group(&group.spec, &self.image.environment);
        let mut prepared = prepared.map_err(Obstacle::into_error)?;
        prepared.hand_off(group, own_pid());
        group.generations.push((generation, prepared));
        Ok(())
    }

    /// Removes what has a name in the file system.
    fn close(mut self) {
        self.workers.outputs.finish(&mut self.journal);
        let mut journal = self.journal;
        self.opened.close(&mut |sentence| journal.complain(sentence));
    }
}

impl Opened {
    fn open(
        &mut self,
        specs: Vec<GroupSpec>,
        firsts: Vec<Generation>,
        pidfile: Option<&Path>,
    ) -> Result<(), Obstacle> {
        for (spec, first) in specs.into_iter().zip(firsts) {
            self.groups.push(Group::open(spec, first, &mut self.clients)?);
        }
        let written = pidfile.map(PidFile::write).transpose();
        self.pidfile = written.map_err(|error| Hurdle::Other.failed(error))?;
        Ok(())
    }

    fn close(self, complain: &mut dyn FnMut(&str)) {
        for group in &self.groups {
            group.remove_paths(complain);
        }
        if let Some(Err(error)) = self.pidfile.map(PidFile::remove) {
            complain(&format!("cannot remove the pid file: {}", reason(error)));
        }
        if let Err(error) = self.clients.close() {
            complain(&format!("cannot remove the control socket: {}", reason(error)));
        }
    }
}

impl Group {
    fn open(spec: GroupSpec, mut first: Generation, clients: &mut Clients) -> Result<Group, Obstacle> {
        let bound = socket::bind_all(&spec.sockets);
        let listeners = bound.map_err(|error| Hurdle::Socket.failed(error).within(&spec.name))?;
        let handed = listeners.iter().map(Listener::handed).collect();
        let mut group = Group { spec, listeners, handed, control_path: None, generations: Vec::new() };
        let endpoint = match first.other_user() {
            None => clients.endpoint().cloned(),
            Some(uid) => clients
                .open_for_workers(&group.spec.name, uid)
                .inspect_err(|_| group.remove_paths(&mut |_| ()))
                .map_err(|error| Hurdle::Other.failed(error).within(&group.spec.name))?,
        };
        group.control_path = endpoint.as_ref().map(Endpoint::variable);
        first.hand_off(&group, own_pid());
        group.generations.push((GenerationId(1), first));
        Ok(group)
    }

    /// Removes the paths of Unix sockets; what fails is handed to `complain`.
    fn remove_paths(&self, complain: &mut dyn FnMut(&str)) {
        for listener in &self.listeners {
            if let Err(error) = listener.remove() {
                complain(&format!("cannot remove {}: {}", listener.address, reason(error)));
            }
        }
    }

    fn start(&self) -> GroupStart {
        let sockets = self
            .handed
            .iter()
            .map(|socket| SocketStatus { name: socket.descriptor_name(), address: socket.address.clone() })
            .collect();
        GroupStart { name: self.spec.name.clone(), policy: self.spec.policy.clone(), sockets }
    }
}

/// What a signal means to us. `terminal` says whether standard input was one at the start: HUP tells that it was closed,
/// unless it is still there.
fn received(signal: Signal, terminal: bool) -> Event {
    match signal {
        Signal::HUP if terminal && !io::stdin().is_terminal() => Event::TerminalGone,
        signal => Event::Signaled(signal),
    }
}

fn own_pid() -> i32 {
    // A pid fits: the kernel's limit is 2^22.
    i32::try_from(std::process::id()).unwrap_or(0)
}
