//! A group as the driver holds it: what the plan says of it, its sockets, and its generations.
//!
//! A socket is open as long as the plan has it or a generation that has it lasts, in whichever group; its last owner
//! closes it, and takes its name out of the file system.

use std::ffi::{OsStr, OsString};
use std::rc::Rc;

use super::clients::Clients;
use super::generation::{Generation, Surroundings};
use super::obstacle::{Hurdle, Obstacle};
use super::own_pid;
use crate::env::HandedSocket;
use crate::plan::{GroupSpec, Launch, Readiness};
use crate::supervisor::GroupStart;
use crate::supervisor::event::{GenerationId, GroupId};
use crate::supervisor::snapshot::SocketStatus;
use crate::sys::control::Endpoint;
use crate::sys::reason;
use crate::sys::service::Passed;
use crate::sys::socket::{self, Listener};

/// A group.
pub(super) struct Group {
    /// As the plan has it.
    pub(super) spec: GroupSpec,
    /// The sockets of `spec`, in its order.
    pub(super) sockets: Vec<Rc<Listener>>,
    /// Where workers that are started from now on find the manager, for EINHORN_SOCK_PATH.
    pub(super) control_path: Option<OsString>,
    pub(super) generations: Vec<(GenerationId, Generation)>,
    /// The generation that a new plan has brought, until the machine asks for it.
    pub(super) next: Option<Generation>,
    /// The plan does not have it any more.
    pub(super) removed: bool,
}

impl Group {
    /// Opens the sockets of a new group, whose generation 1 is prepared.
    pub(super) fn open(
        id: GroupId,
        spec: GroupSpec,
        first: Generation,
        passed: &mut Passed,
        clients: &mut Clients,
    ) -> Result<Group, Obstacle> {
        let bound = socket::open_all(&spec.sockets, passed);
        let listeners = bound.map_err(|error| Hurdle::Socket.failed(error).within(&spec.name))?;
        let sockets = listeners.into_iter().map(Rc::new).collect();
        let endpoint = clients.door_for_workers(id, &spec, first.other_user());
        let mut group = Group::new(spec, sockets);
        match endpoint {
            Ok(endpoint) => group.control_path = endpoint.as_ref().map(Endpoint::variable),
            Err(error) => {
                // Why we cannot start is what the user has to hear of.
                group.remove_paths(&mut |_| ());
                return Err(Hurdle::Other.failed(error).within(&group.spec.name));
            }
        }
        group.begin(first);
        Ok(group)
    }

    /// A group with open sockets and no generation.
    pub(super) fn new(spec: GroupSpec, sockets: Vec<Rc<Listener>>) -> Group {
        Group { spec, sockets, control_path: None, generations: Vec::new(), next: None, removed: false }
    }

    /// Makes a generation the first one.
    pub(super) fn begin(&mut self, mut first: Generation) {
        first.hand_off(self.surroundings(), own_pid());
        self.generations.push((GenerationId(1), first));
    }

    /// What workers of a new generation find.
    pub(super) fn surroundings(&self) -> Surroundings {
        let policy = &self.spec.policy;
        Surroundings {
            listeners: self.sockets.clone(),
            handed: self.handed().collect(),
            control_path: self.control_path.clone(),
            notify: policy.ready == Readiness::Manual
                || policy.watchdog.is_some()
                || self.spec.launch.fd_store > 0,
            watchdog: policy.watchdog,
        }
    }

    /// What workers of a new generation are told of its sockets.
    pub(super) fn handed(&self) -> impl Iterator<Item = HandedSocket> {
        let sockets = self.sockets.iter().zip(&self.spec.sockets);
        sockets.map(|(listener, spec)| HandedSocket { name: spec.name.clone(), ..listener.handed() })
    }

    /// The sockets of the plan with their names in LISTEN_FDNAMES.
    pub(super) fn named_sockets(&self) -> impl Iterator<Item = (String, &Listener)> {
        let names = self.handed().map(|handed| handed.descriptor_name());
        names.zip(self.sockets.iter().map(Rc::as_ref))
    }

    /// A generation of it that is not forgotten.
    pub(super) fn generation(&self, generation: GenerationId) -> Option<&Generation> {
        self.generations.iter().find(|(known, _)| *known == generation).map(|(_, held)| held)
    }

    /// Every socket that it has open, some of them perhaps more than once.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Rc<Listener>> {
        let generations = self.generations.iter().map(|(_, generation)| generation).chain(&self.next);
        self.sockets.iter().chain(generations.flat_map(|generation| &generation.surroundings.listeners))
    }

    /// How its workers were started, and those of a generation to come will be.
    pub(super) fn launches(&self) -> impl Iterator<Item = &Launch> {
        let generations = self.generations.iter().map(|(_, generation)| generation);
        generations.chain(&self.next).map(|generation| &generation.launch)
    }

    /// Whether workers find the manager at this place: those of some generation, or those to come.
    pub(super) fn tells_of(&self, control_path: &OsStr) -> bool {
        let generations = self.generations.iter().map(|(_, generation)| generation).chain(&self.next);
        let told = generations.map(|generation| &generation.surroundings.control_path);
        told.chain([&self.control_path]).flatten().any(|path| path == control_path)
    }

    /// Drops a generation; a socket that only this one had is closed.
    pub(super) fn forget(&mut self, generation: GenerationId, complain: &mut dyn FnMut(&str)) {
        if let Some(at) = self.generations.iter().position(|(known, _)| *known == generation) {
            let (_, forgotten) = self.generations.remove(at);
            release(forgotten.surroundings.listeners, complain);
        }
    }

    /// Drops everything; a socket that nobody else has is closed.
    pub(super) fn close(self, complain: &mut dyn FnMut(&str)) {
        let generations = self.generations.into_iter().map(|(_, generation)| generation).chain(self.next);
        let listeners = generations.flat_map(|generation| generation.surroundings.listeners);
        release(self.sockets.into_iter().chain(listeners).collect(), complain);
    }

    /// Removes the paths of Unix sockets; what fails is handed to `complain`.
    pub(super) fn remove_paths(&self, complain: &mut dyn FnMut(&str)) {
        for listener in self.listeners() {
            remove_path(listener, complain);
        }
    }

    /// For the machine.
    pub(super) fn start(&self) -> GroupStart {
        let (name, policy) = (self.spec.name.clone(), self.spec.policy.clone());
        GroupStart { name, policy, sockets: self.socket_status() }
    }

    /// Its sockets, for status.
    pub(super) fn socket_status(&self) -> Vec<SocketStatus> {
        let shown =
            |socket: HandedSocket| SocketStatus { name: socket.descriptor_name(), address: socket.address };
        self.handed().map(shown).collect()
    }
}

/// Gives sockets up. One that nobody else has is closed, and its path removed.
pub(super) fn release(listeners: Vec<Rc<Listener>>, complain: &mut dyn FnMut(&str)) {
    for listener in listeners {
        if let Some(listener) = Rc::into_inner(listener) {
            remove_path(&listener, complain);
        }
    }
}

fn remove_path(listener: &Listener, complain: &mut dyn FnMut(&str)) {
    if let Err(error) = listener.remove() {
        complain(&format!("cannot remove {}: {}", listener.address, reason(error)));
    }
}
