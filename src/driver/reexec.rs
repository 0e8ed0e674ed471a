//! Replacing the image of the manager: this one collects its state and executes the other, the other goes on from there.
//!
//! No handled signal ever meets an image without handlers: all signals are blocked from before the state is collected
//! until the new image has restored it, and the kernel keeps what comes meanwhile. No death is missed: the new image
//! knows every worker before it looks for the dead, and looks once before its first wait.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::plan::Reexec;
use crate::signame::Signal;
use crate::supervisor::event::{Event, GroupId, Mono};
use crate::sys::pidfile::PidFile;
use crate::sys::poll::PollSet;
use crate::sys::reexec::{self, Image, Inherited, Keeper};
use crate::sys::signals::{self, SignalSet, Signals};
use crate::sys::socket::{Listener, ListenerState};
use crate::sys::status_file::StatusFile;
use crate::sys::{clock, program, reap, start};

use super::check::{CAN_RESUME, UPGRADE_CHECK};
use super::clients::Clients;
use super::generation::Generation;
use super::group::Group;
use super::journal::Journal;
use super::probe::Probes;
use super::service::Service;
use super::state::{Document, FORMAT, GroupState, SignalsState, VERSION};
use super::turns::Turns;
use super::workers::Workers;
use super::{Driver, Opened, Reader, own_pid};

/// The state that the image before this one has left for it.
pub struct Resumption {
    bytes: Vec<u8>,
}

/// Whether this process goes on with the work of another image, and with what. To be asked first thing.
pub fn resumption() -> Option<Resumption> {
    let bytes = reexec::state_left()?;
    // What is meant for another process, such as our parent, is none of our business.
    (Document::pid_in(&bytes) == Some(own_pid())).then_some(Resumption { bytes })
}

impl Resumption {
    /// Goes on to the end and returns the status to exit with. `reader` reads the plan again where it comes from a file.
    ///
    /// # Errors
    /// The state cannot be restored, against what was said when we were asked; the workers were asked to stop, as far as
    /// they are known. Or as for [`super::run`].
    pub fn run(self, reader: Reader) -> Result<u8> {
        let failed = |why: String| Error::failed(format!("cannot go on after the re-execution: {why}"));
        let document = Document::read(&self.bytes).map_err(failed)?;
        drop(self.bytes);
        let pids = document.workers.pids();
        let mut driver = Driver::resume(document, reader).map_err(|error| {
            // Whoever else has such a number was never started by us.
            for pid in pids.into_iter().filter(|&pid| reap::is_child(pid)) {
                // Nobody is left to look after them, and there is nobody to tell.
                let _ = reap::kill(pid, Signal::TERM);
            }
            failed(error.message)
        })?;
        let outcome = driver.serve();
        driver.close();
        outcome
    }
}

impl Driver {
    /// Asks the image that would take our place.
    pub(super) fn check_image(&mut self, check: u64) -> Option<Event> {
        let begun = self.document(&mut Keeper::default(), SignalSet::default()).bytes().and_then(|state| {
            let image = self.successor(&[UPGRADE_CHECK], CAN_RESUME)?;
            self.workers.begin_check(check, &image, &state)
        });
        begun.err().map(|why| Event::ImageChecked { check, outcome: Err(why) })
    }

    /// Executes the other image. Where it returns that has failed, nothing is changed, and the machine knows.
    pub(super) fn reexec(&mut self) {
        for gone in self.opened.clients.flush() {
            self.core.handle(Mono(clock::now_ms()), Event::ClientGone(gone));
        }
        let mut received = SignalSet::default();
        let reason = match signals::block_all() {
            Err(error) => format!("cannot block signals: {error}"),
            Ok(_blocked) => {
                received = self.signals.drain();
                let mut keeper = Keeper::default();
                match self.document(&mut keeper, received).bytes() {
                    Ok(state) => match self.successor(&[reexec::STATE_OPTION, reexec::STATE_PLACE], "") {
                        Ok(image) => {
                            let error = reexec::execute(&image, &state, &keeper);
                            format!("cannot execute {}: {}", image.path.display(), crate::sys::reason(error))
                        }
                        Err(why) => why,
                    },
                    Err(why) => why,
                }
            }
        };
        let now = Mono(clock::now_ms());
        let core = &mut self.core;
        core.handle(now, Event::ReexecFailed(reason));
        // What was taken out of the self-pipe wakes nobody any more.
        self.workers.reap(&self.poll, &mut self.journal, |event| core.handle(now, event));
        for signal in received {
            core.handle(now, super::received(signal, self.terminal));
        }
    }

    /// The image that is to follow, and its arguments: `marks` where a command leads there, else the argument of our own,
    /// or those we were started with.
    fn successor(&self, marks: &[&str], own: &str) -> Result<Image, String> {
        let Reexec { command, tail, .. } = &self.own.reexec;
        let environment = self.lasting_environment();
        let Some(program) = command.first() else {
            let mut image = Image { environment, ..self.image.clone() };
            if !own.is_empty() {
                image.argv.truncate(1);
                image.argv.extend(CString::new(own));
            }
            return Ok(image);
        };
        let path = program::find(program, None, program::search_path(&environment))
            .map_err(|error| error.message)?;
        let marks = marks.iter().chain(&["--"]).map(OsString::from);
        let words = command.iter().cloned().chain(marks).chain(tail.iter().cloned());
        let argv = words.map(|word| CString::new(word.into_vec())).collect::<Result<Vec<CString>, _>>();
        let argv = argv.map_err(|_| "a word of the command has a NUL byte in it".to_owned())?;
        Ok(Image { path, argv, environment })
    }

    /// The environment without what is dropped when the image is replaced.
    fn lasting_environment(&self) -> Vec<(OsString, OsString)> {
        let kept = |name: &OsString| !self.own.reexec.drop.iter().any(|dropped| name == dropped.as_str());
        self.image.environment.iter().filter(|(name, _)| kept(name)).cloned().collect()
    }

    fn document(&self, keeper: &mut Keeper, received: SignalSet) -> Document {
        let groups: Vec<GroupState> =
            self.opened.groups.iter().map(|(&id, group)| group.hand_over(id, keeper)).collect();
        let mut told: Vec<i32> =
            groups.iter().flat_map(|group| &group.listeners).map(|listener| listener.descriptor).collect();
        let mut listeners = Vec::new();
        for listener in self.opened.groups.values().flat_map(Group::listeners) {
            let number = listener.fd.as_raw_fd();
            if !told.contains(&number) {
                told.push(number);
                listeners.push(listener.hand_over(keeper));
            }
        }
        let clients = self.opened.clients.hand_over(keeper);
        let workers = self.workers.hand_over(keeper);
        let pidfile = self.opened.pidfile.as_ref().map(|pidfile| pidfile.hand_over(keeper));
        Document {
            format: FORMAT,
            version: VERSION.to_owned(),
            pid: own_pid(),
            image: Image { environment: self.lasting_environment(), ..self.image.clone() },
            own: self.own.clone(),
            descriptors: keeper.numbers().to_vec(),
            signals: SignalsState {
                saved: *self.signals.saved(),
                handled: self.signals.handled(),
                received: received.into_iter().collect(),
                terminal: self.terminal,
            },
            core: self.core.clone(),
            groups,
            listeners,
            plan: self.plan.clone(),
            clients,
            workers,
            pidfile,
            log: self.journal.spec(),
            service: self.service.said(),
            unwritten: self.journal.unwritten().to_vec(),
            untold: self.journal.untold(),
        }
    }

    /// Takes everything over. Signals are let in when all is in place.
    fn resume(document: Document, reader: Reader) -> Result<Driver> {
        let Document {
            image,
            own,
            descriptors,
            signals: told,
            core,
            groups,
            listeners,
            plan,
            clients,
            workers,
            pidfile,
            log,
            service,
            unwritten,
            untold,
            ..
        } = document;
        let lost = |error: std::io::Error| Error::failed(error.to_string());
        let mut inherited = Inherited::new(descriptors);
        let signals = Signals::take_over(told.handled, told.saved)
            .map_err(|error| Error::failed(format!("cannot handle signals: {error}")))?;
        let mut opened = Opened {
            groups: BTreeMap::new(),
            clients: Clients::take_over(clients, &mut inherited).map_err(lost)?,
            pidfile: pidfile
                .map(|pidfile| PidFile::take_over(pidfile, &mut inherited))
                .transpose()
                .map_err(lost)?,
        };
        let mut open = BTreeMap::new();
        let mut taken = Vec::with_capacity(groups.len());
        for listener in listeners {
            take_listener(listener, &mut open, &mut inherited).map_err(lost)?;
        }
        for (at, mut group) in groups.into_iter().enumerate() {
            let sockets = std::mem::take(&mut group.listeners)
                .into_iter()
                .map(|listener| take_listener(listener, &mut open, &mut inherited))
                .collect::<std::io::Result<Vec<Rc<Listener>>>>()
                .map_err(|error| lost(error).within(&group.spec.name))?;
            taken.push((group.id.unwrap_or(GroupId(at)), group, sockets));
        }
        for (id, group, sockets) in taken {
            opened.groups.insert(id, Group::take_over(group, sockets, &open, &mut inherited)?);
        }
        // A socket is closed when its last owner gives it up, and this is none.
        drop(open);
        let workers = Workers::take_over(workers, told.saved, own_pid(), &mut inherited)?;
        drop(inherited);
        let mut journal = Journal::take_over(&log, unwritten, untold);
        let service = Service::new(&image.environment, own_pid(), service).unwrap_or_else(|why| {
            journal.complain(&why);
            Service::default()
        });
        let mut driver = Driver {
            core,
            plan,
            reader,
            opened,
            workers,
            probes: Probes::default(),
            journal,
            signals,
            terminal: told.terminal,
            image,
            service,
            status_file: own.status_file.clone().map(StatusFile::at),
            own,
            poll: PollSet::new(),
            turns: Turns::default(),
        };
        driver.present();
        if let Err(error) = start::seal_inherited(&[]) {
            driver.journal.complain(&format!("workers may inherit descriptors: {error}"));
        }
        driver.catch_up(told.received);
        driver
            .signals
            .unblock()
            .map_err(|error| Error::failed(format!("cannot unblock signals: {error}")))?;
        Ok(driver)
    }

    /// Learns what has happened while nobody looked.
    fn catch_up(&mut self, received: Vec<Signal>) {
        let now = Mono(clock::now_ms());
        let core = &mut self.core;
        core.handle(now, Event::Reexeced);
        self.workers.give_up_lost(&mut self.journal, |event| core.handle(now, event));
        self.workers.reap(&self.poll, &mut self.journal, |event| core.handle(now, event));
        for signal in received {
            core.handle(now, super::received(signal, self.terminal));
        }
    }
}

/// Takes a listener over, and notes it under the number by which generations know it.
fn take_listener(
    state: ListenerState,
    open: &mut BTreeMap<i32, Rc<Listener>>,
    inherited: &mut Inherited,
) -> std::io::Result<Rc<Listener>> {
    let number = state.descriptor;
    let listener = Rc::new(Listener::take_over(state, inherited)?);
    open.insert(number, Rc::clone(&listener));
    Ok(listener)
}

impl Group {
    fn hand_over(&self, id: GroupId, keeper: &mut Keeper) -> GroupState {
        GroupState {
            id: Some(id),
            spec: self.spec.clone(),
            listeners: self.sockets.iter().map(|listener| listener.hand_over(keeper)).collect(),
            control_path: self.control_path.clone(),
            generations: self.generations.iter().map(|(id, held)| (*id, held.hand_over(keeper))).collect(),
            removed: self.removed,
        }
    }

    fn take_over(
        state: GroupState,
        sockets: Vec<Rc<Listener>>,
        open: &BTreeMap<i32, Rc<Listener>>,
        inherited: &mut Inherited,
    ) -> Result<Group> {
        let mut group = Group::new(state.spec, sockets);
        (group.control_path, group.removed) = (state.control_path, state.removed);
        for (id, held) in state.generations {
            let generation = Generation::take_over(held, &group, open, inherited)?;
            group.generations.push((id, generation));
        }
        Ok(group)
    }
}
