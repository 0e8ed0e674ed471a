//! A generation as the driver holds it: a [`Launch`] with every name resolved, ready to be executed again and again.
//!
//! What the user wrote is resolved anew for each generation, from the environment that the manager was started with;
//! respawns use what was resolved then, so that a moved symbolic link changes nothing until the next upgrade.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::group::Group;
use super::obstacle::{Hurdle, Obstacle};
use super::{hook, own_pid};
use crate::env::{self, GroupContext, HandedSocket, Template, WorkerContext};
use crate::error::{Error, Result};
use crate::placeholder;
use crate::plan::{Argv0, GroupSpec, Launch};
use crate::probe::Contact;
use crate::sys::creds::{self, Credentials};
use crate::sys::executable::{Executable, ExecutableState, Whereabouts};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::socket::Listener;
use crate::sys::{program, reason, spawn};

/// What a worker would be told of a group that nothing is known of yet.
const NOBODY: GroupContext<'_> = GroupContext { sockets: &[], manager_pid: 0, control_path: None };

/// One prepared generation.
pub(super) struct Generation {
    program: PathBuf,
    /// Absent if it was gone when this image of the manager took over from one that held none.
    executable: Option<Executable>,
    /// The file is not at its path any more, and is executed by its descriptor.
    by_descriptor: bool,
    pub(super) path: CString,
    pub(super) argv: Vec<CString>,
    directory_path: Option<PathBuf>,
    /// Arguments that lead through a symbolic link, and where they led when it was prepared.
    linked: Vec<(PathBuf, PathBuf)>,
    pub(super) directory: Option<CString>,
    pub(super) credentials: Option<Credentials>,
    base: Vec<(OsString, OsString)>,
    /// What was at the program's path when it was looked up.
    pub(super) print: Option<u64>,
    /// As the plan had it when it was prepared.
    pub(super) launch: Launch,
    pub(super) surroundings: Surroundings,
    pub(super) template: Template,
}

/// What workers of a generation find around them, beside what they are started with. A new plan may give the group other
/// sockets; a generation keeps its own as long as it lasts.
#[derive(Default)]
pub(super) struct Surroundings {
    /// Its sockets, at descriptor 3, 4, 5...
    pub(super) listeners: Vec<Rc<Listener>>,
    /// What they are told of them.
    pub(super) handed: Vec<HandedSocket>,
    /// Where they find the manager, for EINHORN_SOCK_PATH.
    pub(super) control_path: Option<OsString>,
    /// Their READY=1 is waited for.
    pub(super) notify: bool,
    /// How often a worker has to show that it lives.
    pub(super) watchdog: Option<Duration>,
}

/// A generation on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct GenerationState {
    #[serde(with = "crate::octets")]
    program: PathBuf,
    #[serde(with = "crate::octets")]
    argv: Vec<CString>,
    #[serde(default, with = "crate::octets")]
    directory: Option<PathBuf>,
    #[serde(default, with = "crate::octets")]
    linked: Vec<(PathBuf, PathBuf)>,
    #[serde(default)]
    credentials: Option<Credentials>,
    #[serde(with = "crate::octets")]
    base: Vec<(OsString, OsString)>,
    #[serde(default)]
    executable: Option<ExecutableState>,
    #[serde(default)]
    print: Option<u64>,
    /// That of its group if absent.
    #[serde(default)]
    launch: Option<Launch>,
    /// As of its group if absent.
    #[serde(default)]
    surroundings: Option<SurroundingsState>,
}

/// Surroundings on their way to another image of the manager.
#[derive(Serialize, Deserialize)]
struct SurroundingsState {
    /// The listeners by their descriptors; the listeners themselves stand elsewhere, each once.
    listeners: Vec<i32>,
    handed: Vec<HandedSocket>,
    #[serde(default, with = "crate::octets")]
    control_path: Option<OsString>,
    notify: bool,
    #[serde(default)]
    watchdog: Option<Duration>,
}

impl Generation {
    /// A generation of a group as a plan has it, whose hooks can be run too as far as that can be told beforehand.
    ///
    /// # Errors
    /// The first thing that cannot be had, or something in which the group contradicts itself.
    pub(super) fn of_group(spec: &GroupSpec, start: &[(OsString, OsString)]) -> Result<Generation, Obstacle> {
        Generation::with_hooks(spec, start).map_err(|obstacle| obstacle.within(&spec.name))
    }

    fn with_hooks(spec: &GroupSpec, start: &[(OsString, OsString)]) -> Result<Generation, Obstacle> {
        if let Some(why) = spec.contradictions().into_iter().next() {
            return Err(Hurdle::Other.failed(Error::failed(why)));
        }
        let generation = Generation::prepare(&spec.launch, start)?;
        for command in spec.policy.hooks() {
            let found = generation.for_command(&hook::launch(&spec.launch, command), &[]);
            found.map_err(|error| Hurdle::Other.failed(error))?;
        }
        Ok(generation)
    }

    /// Resolves program, directory and user, and reads the environment files.
    ///
    /// # Errors
    /// The first of these that cannot be had.
    pub(super) fn prepare(launch: &Launch, start: &[(OsString, OsString)]) -> Result<Generation, Obstacle> {
        let mut files = Vec::new();
        for file in &launch.env.files {
            files.extend(program::read_env_file(file).map_err(|error| Hurdle::Other.failed(error))?);
        }
        let login =
            if launch.login_env { creds::login_variables(launch.user.as_deref()) } else { Ok(Vec::new()) };
        let login = login.map_err(|error| Hurdle::User.failed(error))?;
        let base = env::base(start.iter().cloned(), login, files, &launch.env);
        let no_program = |error| Hurdle::Program(launch.program.clone()).failed(error);
        let (program, directory_path) = resolve(launch, &base).map_err(no_program)?;
        let credentials = creds::resolve(launch.user.as_deref(), launch.group.as_deref())
            .map_err(|error| Hurdle::User.failed(error))?;
        if let Some(who) = credentials.as_ref().filter(|who| !creds::may_become(who)) {
            let sentence = format!("cannot run workers as uid {}, gid {}: only root may", who.uid, who.gid);
            return Err(Hurdle::Other.failed(Error::failed(sentence)));
        }
        if let Some(limit) = launch.attributes.limits.iter().find(|limit| !spawn::may_limit(limit)) {
            let sentence =
                format!("cannot raise the limit {} of workers above our own: only root may", limit.name);
            return Err(Hurdle::Other.failed(Error::failed(sentence)));
        }
        Generation::of(launch, base, program, directory_path, credentials)
            .map_err(|error| Hurdle::Other.failed(error))
    }

    /// A command in the surroundings of this generation, with more variables. It has no sockets.
    ///
    /// # Errors
    /// Its program cannot be had.
    pub(super) fn for_command(&self, launch: &Launch, more: &[(OsString, OsString)]) -> Result<Generation> {
        let mut base = self.base.clone();
        base.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
        base.extend_from_slice(more);
        let directory = self.directory_path.clone();
        let program = program::resolve(&launch.program, directory.as_deref(), program::search_path(&base))?;
        Generation::of(launch, base, program, directory, self.credentials.clone())
    }

    fn of(
        launch: &Launch,
        base: Vec<(OsString, OsString)>,
        program: PathBuf,
        directory_path: Option<PathBuf>,
        credentials: Option<Credentials>,
    ) -> Result<Generation> {
        let mut argv = vec![c_string(&argv0(launch, &base, directory_path.as_deref())?)?];
        for argument in &launch.args {
            argv.push(c_string(argument)?);
        }
        // Who is not told of it upgrades by request only.
        let print = program::print(&program).ok();
        let failed =
            |error| Error::failed(format!("cannot look at {}: {}", program.display(), reason(error)));
        let executable = Executable::hold(&program).map_err(failed)?;
        Ok(Generation {
            linked: linked(&argv, directory_path.as_deref()),
            path: c_string(program.as_os_str())?,
            program,
            executable: Some(executable),
            by_descriptor: false,
            argv,
            directory: directory_path.as_ref().map(|path| c_string(path.as_os_str())).transpose()?,
            directory_path,
            credentials,
            print,
            template: Template::new(&base, &NOBODY, &launch.handoff),
            base,
            launch: launch.clone(),
            surroundings: Surroundings::default(),
        })
    }

    /// What another image of the manager needs to start workers of it.
    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> GenerationState {
        let around = &self.surroundings;
        GenerationState {
            program: self.program.clone(),
            argv: self.argv.clone(),
            directory: self.directory_path.clone(),
            linked: self.linked.clone(),
            credentials: self.credentials.clone(),
            base: self.base.clone(),
            executable: self.executable.as_ref().map(|held| held.hand_over(keeper)),
            print: self.print,
            launch: Some(self.launch.clone()),
            surroundings: Some(SurroundingsState {
                listeners: around.listeners.iter().map(|listener| listener.fd.as_raw_fd()).collect(),
                handed: around.handed.clone(),
                control_path: around.control_path.clone(),
                notify: around.notify,
                watchdog: around.watchdog,
            }),
        }
    }

    /// That of the image before this one. `group` is the one it belongs to, `open` every listener by the number it had.
    pub(super) fn take_over(
        state: GenerationState,
        group: &Group,
        open: &BTreeMap<i32, Rc<Listener>>,
        inherited: &mut Inherited,
    ) -> Result<Generation> {
        let GenerationState {
            program,
            argv,
            directory,
            linked,
            credentials,
            base,
            executable,
            print,
            launch,
            surroundings,
        } = state;
        let lost = |error| Error::failed(format!("{}: {}", program.display(), reason(error)));
        let executable = match executable {
            Some(held) => Some(Executable::take_over(held, inherited).map_err(lost)?),
            // From an image that held nothing.
            None => Executable::hold(&program).ok(),
        };
        let launch = launch.unwrap_or_else(|| group.spec.launch.clone());
        let mut generation = Generation {
            linked,
            path: c_string(program.as_os_str())?,
            program,
            executable,
            by_descriptor: false,
            argv,
            directory: directory.as_ref().map(|path| c_string(path.as_os_str())).transpose()?,
            directory_path: directory,
            credentials,
            template: Template::new(&base, &NOBODY, &launch.handoff),
            base,
            print,
            launch,
            surroundings: Surroundings::default(),
        };
        let surroundings = match surroundings {
            None => group.surroundings(),
            Some(state) => Surroundings {
                listeners: state.listeners.iter().filter_map(|number| open.get(number).cloned()).collect(),
                handed: state.handed,
                control_path: state.control_path,
                notify: state.notify,
                watchdog: state.watchdog,
            },
        };
        generation.hand_off(surroundings, own_pid());
        Ok(generation)
    }

    /// From here on workers find this around them, and are told of it.
    pub(super) fn hand_off(&mut self, surroundings: Surroundings, manager_pid: i32) {
        self.surroundings = surroundings;
        let context = GroupContext {
            sockets: &self.surroundings.handed,
            manager_pid,
            control_path: self.surroundings.control_path.as_deref(),
        };
        let launch = &self.launch;
        let template = Template::new(&self.base, &context, &launch.handoff);
        self.template = if launch.placeholders { template.with_words(&launch.env.set) } else { template };
    }

    /// The arguments of one worker, the name of the program first.
    pub(super) fn arguments(&self, worker: &WorkerContext<'_>) -> Result<Cow<'_, [CString]>> {
        let (Some(values), [name, arguments @ ..]) = (self.template.values(worker), &self.argv[..]) else {
            return Ok(Cow::Borrowed(&self.argv));
        };
        let filled = |argument: &CString| {
            c_string(OsStr::from_bytes(&placeholder::fill(argument.as_bytes(), &values)))
        };
        let filled = arguments.iter().map(filled);
        [Ok(name.clone())].into_iter().chain(filled).collect::<Result<Vec<CString>>>().map(Cow::Owned)
    }

    /// A connection to one worker, with what the words in it stand for there.
    pub(super) fn contact(&self, contact: &Contact, worker: &WorkerContext<'_>) -> Contact {
        self.template.values(worker).map_or_else(|| contact.clone(), |values| contact.filled(&values))
    }

    /// The same for a command that has no sockets; words may stand for those of the workers it is about.
    pub(super) fn hand_off_without_sockets(
        &mut self,
        of_workers: Vec<HandedSocket>,
        control_path: Option<OsString>,
        manager_pid: i32,
    ) {
        self.hand_off(Surroundings { control_path, ..Surroundings::default() }, manager_pid);
        self.template.know(of_workers);
    }

    /// What there is at the program's path as it was written, if it is not what was there when this generation was
    /// prepared. Where there is nothing, something is on its way.
    pub(super) fn other_program(&self, launch: &Launch) -> Option<u64> {
        let written = if launch.program.as_bytes().contains(&b'/') {
            launch.directory.as_deref().unwrap_or(Path::new("")).join(&launch.program)
        } else {
            let directory = self.directory_path.as_deref();
            program::find(&launch.program, directory, program::search_path(&self.base)).ok()?
        };
        let (print, now) = (self.print?, program::print(&written).ok()?);
        (now != print).then_some(now)
    }

    /// The uid of workers, if it is not the manager's own.
    pub(super) fn other_user(&self) -> Option<u32> {
        self.credentials.as_ref().map(|who| who.uid).filter(|&uid| uid != creds::our_uid())
    }

    /// What to execute in place of the path, where the file is not there any more.
    pub(super) fn held(&self) -> Option<BorrowedFd<'_>> {
        self.executable.as_ref()?.descriptor().filter(|_| self.by_descriptor)
    }

    /// Whether workers of it can be started as they were at first; if not, why.
    pub(super) fn retrievable(&self) -> Result<(), String> {
        if let Some(directory) = self.directory_path.as_ref().filter(|path| !path.is_dir()) {
            return Err(format!("directory {} is gone", directory.display()));
        }
        let program = self.program.display();
        match self.whereabouts() {
            Whereabouts::InPlace | Whereabouts::Held => Ok(()),
            Whereabouts::Changed => Err(format!("{program} is not the file any more that it was")),
            Whereabouts::Gone => Err(format!("{program} is gone")),
        }
    }

    /// The first argument that led to another file when it was prepared: its workers run that of today.
    pub(super) fn led_astray(&self) -> Option<String> {
        let now = linked(&self.argv, self.directory_path.as_deref());
        let moved = self
            .linked
            .iter()
            .find(|(word, file)| now.iter().any(|(other, other_file)| other == word && other_file != file));
        moved.map(|(word, file)| {
            format!("{} is a link that led to {}, and leads elsewhere by now", word.display(), file.display())
        })
    }

    fn whereabouts(&self) -> Whereabouts {
        match &self.executable {
            Some(executable) => executable.whereabouts(&self.program),
            None if self.program.exists() => Whereabouts::Changed,
            None => Whereabouts::Gone,
        }
    }

    /// If what was resolved is gone and not held, resolves it again as it was written. Returns a sentence if workers are
    /// started otherwise than before.
    pub(super) fn mend(&mut self) -> Option<String> {
        let whereabouts = self.whereabouts();
        let held = whereabouts == Whereabouts::Held;
        let fresh = !std::mem::replace(&mut self.by_descriptor, held) && held;
        let program_gone = whereabouts == Whereabouts::Gone;
        let directory_gone = self.directory_path.as_ref().is_some_and(|path| !path.exists());
        if !program_gone && !directory_gone {
            return fresh
                .then(|| format!("{} was replaced; running the file that it was", self.program.display()));
        }
        let lost = self.directory_path.clone().filter(|_| !program_gone).unwrap_or(self.program.clone());
        // If it cannot be had again either, the spawn fails and says why.
        let directory = self.launch.directory.as_deref().map(program::resolve_directory).transpose().ok()?;
        if program_gone {
            let search_path = program::search_path(&self.base);
            let program = program::resolve(&self.launch.program, directory.as_deref(), search_path).ok()?;
            self.path = c_string(program.as_os_str()).ok()?;
            self.executable = Executable::hold(&program).ok();
            self.program = program;
        }
        self.directory = directory.as_ref().and_then(|path| c_string(path.as_os_str()).ok());
        self.directory_path = directory;
        let found = self.directory_path.as_ref().filter(|_| !program_gone).unwrap_or(&self.program);
        Some(format!("{} is gone; using {} instead", lost.display(), found.display()))
    }
}

fn resolve(launch: &Launch, base: &[(OsString, OsString)]) -> Result<(PathBuf, Option<PathBuf>)> {
    let directory = launch.directory.as_deref().map(program::resolve_directory).transpose()?;
    Ok((program::resolve(&launch.program, directory.as_deref(), program::search_path(base))?, directory))
}

/// What the program is told as its name.
fn argv0(launch: &Launch, base: &[(OsString, OsString)], directory: Option<&Path>) -> Result<OsString> {
    match launch.argv0 {
        Argv0::Found if !launch.program.as_bytes().contains(&b'/') => {
            let found = program::find(&launch.program, directory, program::search_path(base));
            found.map(PathBuf::into_os_string)
        }
        Argv0::Found | Argv0::AsWritten => Ok(launch.program.clone()),
    }
}

fn linked(argv: &[CString], directory: Option<&Path>) -> Vec<(PathBuf, PathBuf)> {
    program::linked(argv.iter().skip(1).map(|word| word.as_bytes()), directory)
}

fn c_string(text: &OsStr) -> Result<CString> {
    CString::new(text.to_os_string().into_vec()).map_err(|_| {
        Error::failed(format!("{:?} has a NUL byte in it", String::from_utf8_lossy(text.as_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_gone_is_resolved_again_and_told_by_its_own_name() {
        let root = std::env::temp_dir().join(format!("remuda-{}-mend", std::process::id()));
        fs::create_dir_all(root.join("1")).unwrap();
        let root = root.canonicalize().unwrap();
        fs::create_dir_all(root.join("2")).unwrap();
        symlink("/bin/sh", root.join("program")).unwrap();
        symlink("1", root.join("current")).unwrap();
        let launch =
            Launch { directory: Some(root.join("current")), ..Launch::new(root.join("program").into()) };
        let mut generation = Generation::prepare(&launch, &[]).unwrap();
        assert_eq!(generation.mend(), None);

        fs::remove_file(root.join("current")).unwrap();
        symlink("2", root.join("current")).unwrap();
        assert_eq!(generation.mend(), None, "the release that was resolved is still there");
        fs::remove_dir(root.join("1")).unwrap();
        let (old, new) = (root.join("1"), root.join("2"));
        let told = format!("{} is gone; using {} instead", old.display(), new.display());
        assert_eq!(generation.mend(), Some(told));
        assert_eq!(generation.directory, Some(c_string(new.as_os_str()).unwrap()));
        fs::remove_dir_all(root).unwrap();
    }
}
