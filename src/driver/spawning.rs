//! Starting workers. Those that are to be started together are outfitted first, then forked one right after the other, and
//! then taken into account: each page of memory that is written between two forks is a fault and a copy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::generation::Generation;
use super::group::Group;
use super::hearing::Hearing;
use super::journal::Journal;
use super::kept::Place;
use super::lifesign::{self, LifeSign};
use super::output::Streams;
use super::workers::{Process, Workers};
use crate::env::{EnvBlock, WorkerContext};
use crate::plan::{Convention, Level, Stdin};
use crate::process::Stage;
use crate::supervisor::event::{ChildId, Event, GenerationId, GroupId};
use crate::sys::creds;
use crate::sys::notify::NotifySocket;
use crate::sys::spawn::{Limit, Prepared, Spawn, Spawned};
use crate::sys::stream;

/// A worker that the machine asks for.
pub(super) struct Order {
    pub(super) child: ChildId,
    pub(super) place: Place,
    pub(super) generation: GenerationId,
    pub(super) index: u32,
}

/// All that a worker is started with.
struct Outfit<'a> {
    generation: &'a Generation,
    environment: EnvBlock,
    argv: Cow<'a, [CString]>,
    limits: Vec<Limit>,
    streams: Streams,
    notify: Option<NotifySocket>,
    /// A connection to the manager that it is born with: our end and its own.
    connection: Option<(UnixStream, UnixStream)>,
    /// By which it says that it is ready, our end and its own.
    ready: Option<(OwnedFd, OwnedFd)>,
    life_sign: Option<LifeSign>,
}

impl Outfit<'_> {
    /// What stands at 0, 1, 2... in the worker.
    fn descriptors<'a>(
        &'a self,
        place: Place,
        workers: &'a Workers,
        stdin: &'a io::Stdin,
    ) -> Vec<BorrowedFd<'a>> {
        let Generation { launch, surroundings, .. } = self.generation;
        let input = match launch.stdin {
            Stdin::Null => workers.null.as_fd(),
            Stdin::Inherit => stdin.as_fd(),
        };
        let [output, errors] = self.streams.descriptors();
        let sockets = surroundings.listeners.iter().map(|listener| listener.as_fd());
        let kept = workers.kept.of(place).map(|(_, descriptor)| descriptor);
        let connection = self.connection.as_ref().map(|(_, theirs)| theirs.as_fd());
        [input, output, errors].into_iter().chain(sockets).chain(kept).chain(connection).collect()
    }

    fn prepare<'a>(&'a self, workers: &'a Workers, descriptors: &'a [BorrowedFd<'a>]) -> Prepared<'a> {
        let Generation { launch, path, credentials, directory, .. } = self.generation;
        Spawn {
            path,
            file: self.generation.held(),
            argv: &self.argv,
            env: &self.environment,
            descriptors,
            beyond: launch.ready_fd.zip(self.ready.as_ref().map(|(_, theirs)| theirs.as_fd())),
            process_group: launch.own_process_group,
            session: launch.has_own_session(),
            limits: &self.limits,
            nice: launch.attributes.nice,
            oom_score_adj: workers.oom_score_adj(launch),
            credentials: credentials.as_ref(),
            directory: directory.as_deref(),
            umask: launch.umask,
            parent_death_signal: launch.attributes.parent_death_signal,
            keep_signals: launch.keep_signals.then_some(workers.signals_at_start()),
        }
        .prepare()
    }
}

impl Workers {
    /// Starts workers and tells how that went.
    pub(super) fn spawn(
        &mut self,
        orders: &[Order],
        groups: &mut BTreeMap<GroupId, Group>,
        journal: &mut Journal,
        mut tell: impl FnMut(Event),
    ) {
        for order in self.spawn_together(orders, groups, journal, &mut tell) {
            // It may have lacked only what those held that were started with it.
            let alone = std::slice::from_ref(order);
            self.spawn_together(alone, groups, journal, &mut tell);
        }
    }

    /// Starts workers and tells how that went, but for those of several for which there were no descriptors left: these are
    /// returned.
    fn spawn_together<'a>(
        &mut self,
        orders: &'a [Order],
        groups: &mut BTreeMap<GroupId, Group>,
        journal: &mut Journal,
        tell: &mut impl FnMut(Event),
    ) -> Vec<&'a Order> {
        let mut lacking = Vec::new();
        let mut failed = |order: &'a Order, error: &io::Error, tell: &mut dyn FnMut(Event)| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            if orders.len() > 1 && matches!(errno, libc::EMFILE | libc::ENFILE) {
                lacking.push(order);
            } else {
                tell(Event::SpawnFailed { child: order.child, stage: Stage::Fork, errno });
            }
        };
        // What is kept for a slot is the same from here to the last fork: workers are told how much it is.
        if let Err(error) = self.kept.refresh() {
            orders.iter().for_each(|order| failed(order, &error, tell));
            return lacking;
        }
        for order in orders {
            self.settle(order, groups, journal);
        }
        let mut outfits = Vec::with_capacity(orders.len());
        for order in orders {
            match self.outfit(order, groups, journal) {
                Ok(outfit) => outfits.push((order, outfit)),
                Err(error) => failed(order, &error, tell),
            }
        }
        let forked = self.fork(&outfits);
        for ((order, outfit), spawned) in outfits.into_iter().zip(forked) {
            match spawned {
                Ok(spawned) => {
                    let pid = spawned.pid;
                    self.admit(order, outfit, spawned);
                    tell(Event::Forked { child: order.child, pid });
                }
                Err(error) => {
                    if let Some(sign) = &outfit.life_sign {
                        sign.clear(journal);
                    }
                    failed(order, &error, tell);
                }
            }
        }
        lacking
    }

    /// Looks up what a generation is made of where that was moved away, and closes what is kept beyond its limit.
    fn settle(&mut self, order: &Order, groups: &mut BTreeMap<GroupId, Group>, journal: &mut Journal) {
        let Some(group) = groups.get_mut(&order.place.group) else { return };
        let mut generations = group.generations.iter_mut();
        let Some((_, generation)) = generations.find(|(number, _)| *number == order.generation) else {
            return;
        };
        if let Some(sentence) = generation.mend() {
            journal.line(Level::Warn, &format!("{}: {sentence}", group.spec.name));
        }
        self.kept.limit(order.place, generation.launch.fd_store);
    }

    /// Opens and allocates all that a worker is started with.
    fn outfit<'a>(
        &mut self,
        order: &Order,
        groups: &'a BTreeMap<GroupId, Group>,
        journal: &mut Journal,
    ) -> io::Result<Outfit<'a>> {
        let &Order { child, place, generation: number, index } = order;
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let group = groups.get(&place.group).ok_or_else(gone)?;
        let generation = group.generation(number).ok_or_else(gone)?;
        let Generation { launch, surroundings: around, .. } = generation;
        let name = &group.spec.name;

        let listens = around.notify && launch.handoff.conventions.contains(&Convention::Notify);
        let notify = listens.then(NotifySocket::open).transpose()?;
        let watch_file = match &launch.watch_file {
            Some(file) if around.watchdog.is_some() => {
                let control = around.control_path.as_deref();
                Some(lifesign::place(file, control, name, (child, self.manager()))?)
            }
            Some(_) | None => None,
        };
        let kept: Vec<&str> = self.kept.of(place).map(|(name, _)| name).collect();
        let context = WorkerContext {
            slot: place.slot,
            index,
            generation: number.0,
            notify: notify.as_ref().map(|socket| OsStr::new(socket.name())),
            watchdog: around.watchdog,
            watch_file: watch_file.as_ref().map(|(path, _)| path.as_os_str()),
            fd_store: launch.fd_store,
            kept: &kept,
        };
        let environment = generation.template.worker(&context);
        let argv = generation.arguments(&context).map_err(|error| io::Error::other(error.message))?;
        let streams = self.outputs.streams((name, place.slot), &launch.output, generation.other_user())?;
        journal.starting(&argv);
        let connection = launch.handoff.control_descriptor.then(UnixStream::pair).transpose()?;
        if let Some((ours, _)) = &connection {
            ours.set_nonblocking(true)?;
        }
        let ready = launch.ready_fd.map(|_| stream::pipe()).transpose()?;
        let limits = self.limits(launch);
        // Last, since it would stay where anything else fails.
        let life_sign = watch_file.zip(around.watchdog).map(|(file, span)| {
            let shown = file.0.clone();
            let created = LifeSign::create(file, span, generation.credentials.as_ref());
            created.inspect_err(|error| {
                let why = format!("cannot create {}: {error}", shown.display());
                journal.line(Level::Error, &format!("{name}: {why}"));
            })
        });
        let life_sign = life_sign.transpose()?;
        Ok(Outfit { generation, environment, argv, limits, streams, notify, connection, ready, life_sign })
    }

    /// Forks one after the other and does nothing else meanwhile.
    fn fork(&self, outfits: &[(&Order, Outfit<'_>)]) -> Vec<io::Result<Spawned>> {
        let stdin = io::stdin();
        let descriptors: Vec<_> =
            outfits.iter().map(|(order, outfit)| outfit.descriptors(order.place, self, &stdin)).collect();
        let both = outfits.iter().zip(&descriptors);
        let mut prepared: Vec<Prepared<'_>> =
            both.map(|((_, outfit), descriptors)| outfit.prepare(self, descriptors)).collect();
        prepared.iter_mut().map(Prepared::fork).collect()
    }

    /// Takes a worker that was forked into account.
    fn admit(&mut self, order: &Order, outfit: Outfit<'_>, spawned: Spawned) {
        let launch = &outfit.generation.launch;
        let uid = outfit.generation.other_user().unwrap_or_else(creds::our_uid);
        let store = (launch.fd_store > 0).then_some((order.place, launch.fd_store));
        let hearing = Hearing::new(outfit.notify, outfit.ready.map(|(ours, _)| ours), store);
        let process = Process {
            child: order.child,
            leads_group: launch.own_process_group,
            session: launch.has_own_session(),
            tree: launch.own_process_group,
            kill_group: launch.own_process_group && launch.kill_process_group,
            status: Some(spawned.status),
            hearing: hearing.unless_deaf(),
            uid,
            life_sign: outfit.life_sign,
            root: spawned.pid,
            foreign: None,
            refusal_told: false,
        };
        self.outputs.follow(spawned.pid, outfit.streams);
        if let Some((ours, _)) = outfit.connection {
            self.connections.push((spawned.pid, uid, ours.into()));
        }
        self.keep(spawned.pid, process);
    }
}
