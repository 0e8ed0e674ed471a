//! Hooks as processes: commands in the surroundings of a worker, without its sockets, whose output goes into the log, but
//! for that of probes.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;

use super::generation::Generation;
use super::group::Group;
use super::obstacle::Obstacle;
use super::own_pid;
use super::workers::{Process, Workers};
use crate::env::WorkerContext;
use crate::error::{Error, Result};
use crate::output::{Output, Target};
use crate::plan::{Hook, Launch};
use crate::process::Stage;
use crate::supervisor::event::{ChildId, Event, GenerationId, HookKind};
use crate::sys::creds;
use crate::sys::spawn::{self, Spawn};

/// What the machine asks for.
pub(super) struct Order {
    pub(super) child: ChildId,
    pub(super) generation: GenerationId,
    pub(super) slot: u32,
    pub(super) index: u32,
    pub(super) hook: HookKind,
    pub(super) command: Hook,
}

impl Workers {
    /// Starts a hook and tells how that went. `start` is the environment that the manager was started with.
    pub(super) fn spawn_hook(
        &mut self,
        order: &Order,
        group: &Group,
        start: &[(OsString, OsString)],
    ) -> Event {
        let child = order.child;
        match self.prepare_hook(order, group, start) {
            Err(error) => Event::HookFailed { child, why: error.message },
            Ok(prepared) => match self.fork_hook(order, group, &prepared) {
                Ok(pid) => Event::Forked { child, pid },
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    Event::SpawnFailed { child, stage: Stage::Fork, errno }
                }
            },
        }
    }

    fn prepare_hook(
        &self,
        order: &Order,
        group: &Group,
        start: &[(OsString, OsString)],
    ) -> Result<Generation> {
        let (mut prepared, control_path, sockets) = match order.hook {
            // Before the generation that is to come: all is looked up as it will be for that.
            HookKind::Preflight => {
                let launch = launch(&group.spec.launch, &order.command);
                let prepared = Generation::prepare(&launch, start).map_err(Obstacle::into_error)?;
                (prepared, group.control_path.clone(), group.handed().collect())
            }
            HookKind::Stop(worker) | HookKind::Probe(worker) => {
                let none = || Error::failed("there is no such generation");
                let generation = group.generation(order.generation).ok_or_else(none)?;
                let launch = launch(&generation.launch, &order.command);
                let pid = self.pid(worker).ok_or_else(|| Error::failed("the worker is gone"))?;
                let prepared =
                    generation.for_command(&launch, &[("MAINPID".into(), pid.to_string().into())])?;
                let around = &generation.surroundings;
                (prepared, around.control_path.clone(), around.handed.clone())
            }
        };
        prepared.hand_off_without_sockets(sockets, control_path, own_pid());
        Ok(prepared)
    }

    fn fork_hook(&mut self, order: &Order, group: &Group, prepared: &Generation) -> io::Result<i32> {
        let launch = &prepared.launch;
        let context = WorkerContext::new(order.slot, order.index, order.generation.0);
        let environment = prepared.template.worker(&context);
        // A probe says all that it has to say by its end, and says it often.
        let (argv, target) = match order.hook {
            HookKind::Probe(_) => {
                let argv = prepared.arguments(&context).map_err(|error| io::Error::other(error.message))?;
                (argv, Target::Null)
            }
            HookKind::Preflight | HookKind::Stop(_) => (Cow::Borrowed(&prepared.argv[..]), Target::Log),
        };
        let whose = (&*group.spec.name, order.slot);
        let streams = self.outputs.streams(whose, &Output::both(target), prepared.other_user())?;
        let [output, errors] = streams.descriptors();
        let spawned = spawn::spawn(Spawn {
            path: &prepared.path,
            file: None,
            argv: &argv,
            env: &environment,
            descriptors: &[self.null.as_fd(), output, errors],
            beyond: None,
            process_group: true,
            session: false,
            limits: &self.limits(launch),
            nice: launch.attributes.nice,
            oom_score_adj: self.oom_score_adj(launch),
            credentials: prepared.credentials.as_ref(),
            directory: prepared.directory.as_deref(),
            umask: launch.umask,
            parent_death_signal: launch.attributes.parent_death_signal,
            keep_signals: None,
        })?;
        self.outputs.follow(spawned.pid, streams);
        let uid = prepared.other_user().unwrap_or_else(creds::our_uid);
        self.keep(spawned.pid, Process::hook(order.child, spawned.status, uid));
        Ok(spawned.pid)
    }
}

/// How a hook is started: as a worker of the group, but for its program.
pub(super) fn launch(launch: &Launch, hook: &Hook) -> Launch {
    let mut words = hook.argv.iter().cloned();
    Launch { program: words.next().unwrap_or_default(), args: words.collect(), ..launch.clone() }
}
