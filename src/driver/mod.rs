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

mod actions;
mod check;
mod clients;
mod generation;
mod group;
mod hearing;
mod hook;
mod journal;
mod kept;
mod lifesign;
mod notified;
mod obstacle;
mod output;
mod probe;
mod reexec;
mod reload;
mod service;
mod spawning;
mod state;
mod succession;
mod tree;
mod turns;
mod wording;
mod workers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;

use crate::addr;
use crate::error::{Code, Error, Result};
use crate::plan::{Address, GroupSpec, Level, OwnProcess, Plan, SocketSpec};
use crate::reading::{Reading, Source};
use crate::signame::Signal;
use crate::supervisor::event::{Event, GroupId, Mono};
use crate::supervisor::{Identity, Supervisor};
use crate::sys::control::Control;
use crate::sys::pidfile::PidFile;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::reexec::Image;
use crate::sys::service::Passed;
use crate::sys::signals::{self, Signals};
use crate::sys::socket::Listener;
use crate::sys::status_file::StatusFile;
use crate::sys::{clock, creds, family, reason, start, title};
use actions::Performed;
pub use check::{ABOUT, CAN_RESUME, RESUMABLE, can_resume, can_resume_if_asked};
use clients::Clients;
use generation::Generation;
use group::Group;
use journal::Journal;
use obstacle::{Hurdle, Obstacle};
use probe::Probes;
pub use reexec::{Resumption, resumption};
use service::{Said, Service};
use turns::Turns;
use workers::Workers;

/// Reads a file that a plan comes from, or says all that is wrong with it. It may take its time.
pub type Reader = fn(&Source) -> Result<Reading, Vec<String>>;

/// Runs a plan to its end and returns the status to exit with.
///
/// # Errors
/// Whatever stands in the way of starting, before anything was started; later only a failure of poll(2) itself, after
/// the workers were asked to stop.
pub fn run(plan: Plan) -> Result<u8> {
    begin(plan, None, unreadable, Vec::new())
}

/// The same for a plan that comes from a file, which `reader` reads again when that is asked for.
///
/// # Errors
/// As for [`run`].
pub fn run_file(reading: Reading, reader: Reader) -> Result<u8> {
    let Reading { plan, left_out, warnings, .. } = reading;
    let left_out = left_out.into_iter().map(|group| {
        let line = format!("{}; the group is left out", group.why);
        (Level::Error, line)
    });
    let warnings = warnings.into_iter().map(|warning| (Level::Warn, warning));
    begin(plan, None, reader, left_out.chain(warnings).collect())
}

/// For a plan that comes from no file.
fn unreadable(_: &Source) -> Result<Reading, Vec<String>> {
    Err(vec!["the plan comes from no file".to_owned()])
}

/// Goes as far as [`run`] does before it opens the sockets, and fails there: they cannot be opened, for this reason.
///
/// # Errors
/// That reason, or what was in the way before it.
pub fn decline(plan: Plan, why: Error) -> Result<u8> {
    begin(plan, Some(why), unreadable, Vec::new())
}

/// Starts, with lines for the log that only now has a place to go to.
fn begin(mut plan: Plan, declined: Option<Error>, reader: Reader, lines: Vec<(Level, String)>) -> Result<u8> {
    start::open_standard()
        .map_err(|error| Error::failed(format!("cannot open /dev/null: {}", reason(error))))?;
    if plan.subreaper {
        family::become_subreaper()
            .map_err(|error| Error::failed(format!("cannot become a subreaper: {}", reason(error))))?;
    }
    as_first(&mut plan);
    let passed = activation(&mut plan);
    let mut kept = inherited(&plan);
    kept.extend(passed.numbers().map(|(number, _)| number));
    let sealed = start::seal_inherited(&kept);
    let mut journal = Journal::new(&plan.log);
    for (level, line) in lines {
        journal.line(level, &line);
    }
    let mut driver = match Base::open(plan, declined, passed, &mut journal) {
        Ok(base) => Driver::new(base, journal, reader),
        Err(obstacle) => {
            let told = journal.refuse(&obstacle);
            journal.settle();
            return if told { Ok(Code::Failed.status()) } else { Err(obstacle.into_error()) };
        }
    };
    if let Err(error) = sealed {
        let sentence =
            format!("workers may inherit descriptors that the manager was started with: {}", reason(error));
        driver.journal.line(Level::Warn, &sentence);
    }
    driver.present();
    driver.core.handle(Mono(clock::now_ms()), Event::Start);
    let outcome = driver.serve();
    driver.close();
    outcome
}

/// What only a manager that is PID 1 does in its own way.
fn as_first(plan: &mut Plan) {
    if family::is_first() {
        plan.manager.ends_all = true;
        plan.groups.iter_mut().for_each(|group| group.policy.be_first());
    }
}

/// The sockets that were passed to us and that the plan may take over. A plan of one group without sockets has them all.
fn activation(plan: &mut Plan) -> Passed {
    if !plan.activation {
        return Passed::default();
    }
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let passed = Passed::new(&environment, own_pid());
    if let [group] = &mut plan.groups[..]
        && group.sockets.is_empty()
    {
        let specs = passed.numbers().filter_map(|(number, name)| {
            let address = Address::Inherited(u32::try_from(number).ok()?);
            Some(SocketSpec { name: Some(name.to_owned()), ..addr::plain(address) })
        });
        group.sockets = specs.collect();
    }
    passed.for_sockets(plan.groups.iter().flat_map(|group| &group.sockets))
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

/// What others can see of the manager while it runs, and what must not be left behind.
struct Opened {
    groups: BTreeMap<GroupId, Group>,
    clients: Clients,
    pidfile: Option<PidFile>,
}

/// What there has to be before the machine begins.
struct Base {
    /// Without its groups.
    plan: Plan,
    opened: Opened,
    workers: Workers,
    signals: Signals,
    image: Image,
    service: Service,
}

struct Driver {
    core: Supervisor,
    /// The plan in force, without its groups; absent where an older image did not tell.
    plan: Option<Plan>,
    reader: Reader,
    opened: Opened,
    workers: Workers,
    probes: Probes,
    journal: Journal,
    signals: Signals,
    /// Standard input was a terminal at the start.
    terminal: bool,
    /// How the manager was started, its environment among it.
    image: Image,
    /// Our own manager.
    service: Service,
    /// What is wanted of this process itself.
    own: OwnProcess,
    status_file: Option<StatusFile>,
    poll: PollSet,
    turns: Turns,
}

impl Base {
    /// Checks everything, then opens everything; what fails leaves nothing behind. `declined` is why the sockets cannot be
    /// opened, where that is known already.
    fn open(
        mut plan: Plan,
        declined: Option<Error>,
        mut passed: Passed,
        journal: &mut Journal,
    ) -> Result<Base, Obstacle> {
        let other = |error: Error| Hurdle::Other.failed(error);
        let heeded = if plan.own.heeds_hangup { signals::heed(Signal::HUP) } else { Ok(()) };
        let signals = heeded
            .and_then(|()| Signals::install(plan.manager.signals.keys().copied()))
            .map_err(|error| other(Error::failed(format!("cannot handle signals: {}", reason(error)))))?;
        let image = Image::at_start().map_err(|error| {
            other(Error::failed(format!("cannot tell how this program was started: {}", reason(error))))
        })?;
        let keep_going = plan.source.as_ref().is_some_and(|source| source.keep_going);
        let mut last = None;
        let mut firsts = Vec::with_capacity(plan.groups.len());
        let mut workers = Workers::new(*signals.saved(), own_pid()).map_err(other)?;
        for spec in std::mem::take(&mut plan.groups) {
            let first = Generation::of_group(&spec, &image.environment).and_then(|first| {
                let logs = workers.outputs.add(&spec);
                logs.map(|()| first).map_err(|error| other(error.within(&spec.name)))
            });
            match first {
                Ok(first) => {
                    if let Some(uid) = first.other_user().filter(|_| !creds::may_signal_others()) {
                        let sentence = format!(
                            "{}: workers run as uid {uid}, and we lack CAP_KILL to signal them: they have to end by \
                             themselves",
                            spec.name
                        );
                        journal.line(Level::Warn, &sentence);
                    }
                    firsts.push((spec, first));
                }
                Err(obstacle) => {
                    if keep_going {
                        journal.left_out(&obstacle);
                    }
                    last.get_or_insert(obstacle);
                    if !keep_going {
                        break;
                    }
                }
            }
        }
        if !matches!(&last, Some(obstacle) if matches!(obstacle.kind, Hurdle::Program(_))) {
            journal.opening();
        }
        if let (None, Some(why)) = (&last, declined) {
            return Err(Hurdle::Socket.failed(why));
        }
        if let Some(obstacle) = last.take_if(|_| !keep_going || firsts.is_empty()) {
            return Err(obstacle);
        }
        let control =
            plan.control.as_ref().map(|spec| Control::open(spec, &plan.name)).transpose().map_err(other)?;
        let clients = Clients::new(control, plan.dialect.clone());
        let mut opened = Opened { groups: BTreeMap::new(), clients, pidfile: None };
        if let Err(obstacle) =
            opened.open(firsts, &mut passed, plan.pidfile.as_deref(), keep_going.then_some(&mut *journal))
        {
            // Why we cannot start is what the user has to hear of.
            opened.close(&mut |_| ());
            return Err(obstacle);
        }
        let mut service =
            Service::new(&image.environment, own_pid(), Said::default()).unwrap_or_else(|why| {
                journal.line(Level::Warn, &why);
                Service::default()
            });
        for name in passed.close() {
            journal.line(
                Level::Warn,
                &format!(
                    "closed a socket that was passed as {name}: no group has one of that name or address"
                ),
            );
            service.forget(&name, journal);
        }
        Ok(Base { plan, opened, workers, signals, image, service })
    }
}

impl Driver {
    fn new(base: Base, journal: Journal, reader: Reader) -> Driver {
        let (now, pid) = (Mono(clock::now_ms()), own_pid());
        let starts = base.opened.groups.values().map(Group::start).collect();
        let identity = Identity { name: base.plan.name.clone(), pid };
        // Only for the jitter of delays: two managers started at once shall not retry in step.
        let seed = now.0.rotate_left(32) ^ u64::from(pid.unsigned_abs());
        Driver {
            core: Supervisor::new(identity, starts, now, seed)
                .with_policy(base.plan.manager.clone())
                .with_log(journal.spec().level, clock::epoch_ms()),
            own: base.plan.own.clone(),
            status_file: base.plan.own.status_file.clone().map(StatusFile::at),
            plan: Some(base.plan),
            reader,
            opened: base.opened,
            workers: base.workers,
            probes: Probes::default(),
            journal,
            signals: base.signals,
            terminal: io::stdin().is_terminal(),
            image: base.image,
            service: base.service,
            poll: PollSet::new(),
            turns: Turns::default(),
        }
    }

    /// Makes the process look as it is wanted to. What cannot be had is no reason not to run.
    fn present(&mut self) {
        if let Some(error) = self.own.nice.and_then(|nice| start::renice(nice).err()) {
            self.journal.complain(&format!("cannot change the nice value: {}", reason(error)));
        }
        if let Some(error) = self.own.title.as_ref().and_then(|title| title::set(title).err()) {
            self.journal.complain(&format!("cannot change the title of the process: {}", reason(error)));
        }
    }

    /// The loop.
    fn serve(&mut self) -> Result<u8> {
        loop {
            let performed = self.perform();
            if let Performed::Exit(code) = performed {
                self.tell_service();
                return Ok(code);
            }
            if self.send_replies() {
                continue;
            }
            let core = &self.core;
            self.workers.kept.settle(|place| core.wants(place.group, place.slot));
            self.tell_service();
            self.tell_status_file();
            if let Err(error) = self.wait(performed == Performed::Some) {
                self.workers.signal_all(Signal::TERM);
                return Err(Error::failed(format!(
                    "cannot wait for events: {}; the workers were asked to stop",
                    reason(error)
                )));
            }
        }
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

    /// Has our own manager keep the sockets of the plan and tells it how things stand, if there is one that listens.
    fn tell_service(&mut self) {
        if self.service.stores() {
            let sockets: Vec<(String, &Listener)> =
                self.opened.groups.values().flat_map(Group::named_sockets).collect();
            if !self.service.keep(&sockets, &mut self.journal) {
                return;
            }
        }
        if self.service.listens() {
            let now = Mono(clock::now_ms());
            self.service.tell(&self.core.standing(), now, &mut self.journal);
        }
    }

    /// Tells scripts who serves, if that is wanted.
    fn tell_status_file(&mut self) {
        if let Some(file) = &mut self.status_file
            && let Err(error) = file.tell(self.core.served_by())
        {
            let path = file.path().display();
            self.journal.complain(&format!("cannot write the status file {path}: {}", reason(error)));
        }
    }

    /// Waits for something to happen and turns it into events; only looks whether something has, if there is `more` to
    /// perform.
    fn wait(&mut self, more: bool) -> std::io::Result<()> {
        self.poll.clear();
        let signals_at = self.poll.add(self.signals.fd(), Interest::READ);
        let workers_at = self.workers.watch(&mut self.poll, &mut self.journal);
        let probes_at = self.probes.watch(&mut self.poll);
        let clients_at = self.opened.clients.watch(&mut self.poll, clock::now_ms());
        let log_at = self.journal.waits_for().map(|log| self.poll.add(log, Interest::WRITE));
        let missing_at = self.journal.lacks().map(|log| self.poll.add(log, Interest::WRITE));
        self.workers.outputs.watch(&mut self.poll, &self.journal);
        let mut idle_at = Vec::new();
        for id in self.core.awaiting() {
            let listeners = self.opened.groups.get(&id).map(|group| &group.sockets);
            for listener in listeners.into_iter().flatten() {
                idle_at.push((id, self.poll.add(listener.as_fd(), Interest::READ)));
            }
        }
        self.service.watch(&mut self.poll);
        let deadlines = [
            self.core.next_deadline().map(|deadline| deadline.0),
            clients_at.reopen,
            self.workers.outputs.deadline(),
            self.workers.next_look(),
            self.workers.next_disposal(clock::now_ms()),
            self.workers.trees.deadline(),
            self.workers.foreign_deadline(),
            self.service.deadline(),
            more.then_some(0),
        ];
        let (due, asleep) = (deadlines.into_iter().flatten().min(), clock::now_ms());
        self.poll.wait(due)?;

        let now = Mono(clock::now_ms());
        if let Some(gap) = self.turns.woke(asleep, due, now.0) {
            self.core.handle(now, Event::Lost(gap.0));
            if let Some(line) = gap.line() {
                self.journal.line(Level::Warn, &line);
            }
        }
        let signals = if self.poll.readable(signals_at) { Some(self.signals.drain()) } else { None };
        if log_at.is_some_and(|at| self.poll.writable(at)) {
            self.journal.flush();
        }
        if missing_at.is_some_and(|at| self.poll.writable(at)) {
            self.journal.tell_missing();
        }
        let wrote = self.workers.outputs.heard(&self.poll, &mut self.journal);
        self.workers.spares = self.opened.groups.values().any(|group| !group.spec.launch.kill_process_group);
        let mut told = Told { core: &mut self.core, events: 0 };
        let core = &mut told;
        self.workers.heard(&self.poll, &workers_at, &mut self.journal, |event| core.handle(now, event));
        self.workers.look(now, |event| core.handle(now, event));
        let mut died = false;
        self.workers.reap(&self.poll, &mut self.journal, |event| {
            died |= matches!(event, Event::Exited { .. } | Event::LeaderEnded { .. });
            core.handle(now, event);
        });
        if died {
            self.workers.outputs.catch_up(&mut self.journal);
        }
        self.probes.heard(&self.poll, probes_at, |event| core.handle(now, event));
        for (group, at) in idle_at {
            if self.poll.readable(at) {
                core.handle(now, Event::ListenerReadable { group });
            }
        }
        for signal in signals.into_iter().flatten() {
            core.handle(now, received(signal, self.terminal));
        }
        for (before, pid) in self.workers.take_successions() {
            self.opened.clients.pass_on(before, pid);
        }
        let workers = &self.workers;
        self.opened.clients.serve(
            &self.poll,
            &clients_at,
            now.0,
            |number| workers.of_number(number),
            |event| core.handle(now, event),
        );
        if core.core.next_deadline().is_some_and(|deadline| deadline <= now) {
            core.handle(now, Event::Timeout);
        }
        let fruitful = more || wrote || told.events > 0;
        if let Some(line) = self.turns.turned(now.0, fruitful) {
            self.journal.line(Level::Warn, &line);
        }
        Ok(())
    }

    /// Removes what has a name in the file system.
    fn close(mut self) {
        self.workers.outputs.finish(&mut self.journal);
        let mut journal = self.journal;
        self.service.finish(&mut journal);
        if let Some(Err(error)) = self.status_file.as_ref().map(StatusFile::remove) {
            journal.complain(&format!("cannot remove the status file: {}", reason(error)));
        }
        self.opened.close(&mut |sentence| journal.complain(sentence));
        journal.settle();
    }
}

impl Opened {
    /// Closes the control sockets of a group that none of its workers is told of.
    fn close_unused_doors(&mut self, id: GroupId, complain: &mut dyn FnMut(&str)) {
        let group = self.groups.get(&id);
        self.clients.close_doors(id, |path| group.is_some_and(|group| group.tells_of(path)), complain);
    }

    /// Opens the sockets of all groups; with a journal to tell of it, leaves those out that cannot have theirs.
    fn open(
        &mut self,
        firsts: Vec<(GroupSpec, Generation)>,
        passed: &mut Passed,
        pidfile: Option<&Path>,
        mut lenient: Option<&mut Journal>,
    ) -> Result<(), Obstacle> {
        let mut first_obstacle = None;
        for (spec, first) in firsts {
            let id = GroupId(self.groups.len());
            match (Group::open(id, spec, first, passed, &mut self.clients), &mut lenient) {
                (Ok(group), _) => drop(self.groups.insert(id, group)),
                (Err(obstacle), Some(journal)) => {
                    journal.left_out(&obstacle);
                    first_obstacle.get_or_insert(obstacle);
                }
                (Err(obstacle), None) => return Err(obstacle),
            }
        }
        if let Some(obstacle) = first_obstacle.filter(|_| self.groups.is_empty()) {
            return Err(obstacle);
        }
        let written = pidfile.map(PidFile::write).transpose();
        self.pidfile = written.map_err(|error| Hurdle::Other.failed(error))?;
        Ok(())
    }

    fn close(self, complain: &mut dyn FnMut(&str)) {
        for group in self.groups.values() {
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

/// The machine, and how many events it was told of in this pass.
struct Told<'a> {
    core: &'a mut Supervisor,
    events: u32,
}

impl Told<'_> {
    fn handle(&mut self, now: Mono, event: Event) {
        self.events += 1;
        self.core.handle(now, event);
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
