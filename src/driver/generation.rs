//! A generation as the driver holds it: a [`Launch`] with every name resolved, ready to be executed again and again.
//!
//! What the user wrote is resolved anew for each generation, from the environment that the manager was started with;
//! respawns use what was resolved then, so that a moved symbolic link changes nothing until the next upgrade.

use std::borrow::Cow;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::obstacle::{Hurdle, Obstacle};
use super::{Group, hook};
use crate::env::{self, GroupContext, Template, WorkerContext};
use crate::error::{Error, Result};
use crate::placeholder;
use crate::plan::{Argv0, GroupSpec, Launch};
use crate::sys::creds::{self, Credentials};
use crate::sys::{program, spawn};

/// One prepared generation.
pub(super) struct Generation {
    program: PathBuf,
    pub(super) path: CString,
    pub(super) argv: Vec<CString>,
    directory_path: Option<PathBuf>,
    pub(super) directory: Option<CString>,
    pub(super) credentials: Option<Credentials>,
    base: Vec<(OsString, OsString)>,
    pub(super) template: Template,
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
    #[serde(default)]
    credentials: Option<Credentials>,
    #[serde(with = "crate::octets")]
    base: Vec<(OsString, OsString)>,
}

impl Generation {
    /// A generation of a group, whose hooks can be run too as far as that can be told beforehand.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub(super) fn of_group(spec: &GroupSpec, start: &[(OsString, OsString)]) -> Result<Generation, Obstacle> {
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
        Generation::take_over(
            GenerationState { program, argv, directory: directory_path, credentials, base },
            launch,
        )
    }

    /// What another image of the manager needs to start workers of it.
    pub(super) fn hand_over(&self) -> GenerationState {
        GenerationState {
            program: self.program.clone(),
            argv: self.argv.clone(),
            directory: self.directory_path.clone(),
            credentials: self.credentials.clone(),
            base: self.base.clone(),
        }
    }

    /// A generation of which everything is resolved. Its workers are told of nothing yet: [`Generation::hand_off`].
    pub(super) fn take_over(state: GenerationState, launch: &Launch) -> Result<Generation> {
        let GenerationState { program, argv, directory, credentials, base } = state;
        let nobody = GroupContext { sockets: &[], manager_pid: 0, control_path: None };
        let template = Template::new(&base, &nobody, &launch.handoff);
        Ok(Generation {
            path: c_string(program.as_os_str())?,
            program,
            argv,
            directory: directory.as_ref().map(|path| c_string(path.as_os_str())).transpose()?,
            directory_path: directory,
            credentials,
            base,
            template,
        })
    }

    /// Adds what workers are told of their sockets and their manager.
    pub(super) fn hand_off(&mut self, group: &Group, manager_pid: i32) {
        let context =
            GroupContext { sockets: &group.handed, manager_pid, control_path: group.control_path.as_deref() };
        let launch = &group.spec.launch;
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

    /// The same for a command that has no sockets.
    pub(super) fn hand_off_without_sockets(&mut self, group: &Group, manager_pid: i32) {
        let control_path = group.control_path.as_deref();
        let context = GroupContext { sockets: &[], manager_pid, control_path };
        self.template = Template::new(&self.base, &context, &group.spec.launch.handoff);
    }

    /// The uid of workers, if it is not the manager's own.
    pub(super) fn other_user(&self) -> Option<u32> {
        self.credentials.as_ref().map(|who| who.uid).filter(|&uid| uid != creds::our_uid())
    }

    /// If what was resolved is gone, resolves it again as it was written. Returns a sentence if it did.
    pub(super) fn mend(&mut self, launch: &Launch) -> Option<String> {
        let gone = |path: &Path| !path.exists();
        let program_gone = gone(&self.program);
        let lost = if program_gone {
            self.program.clone()
        } else {
            self.directory_path.clone().filter(|path| gone(path))?
        };
        // If it cannot be had again either, the spawn fails and says why.
        let (program, directory) = resolve(launch, &self.base).ok()?;
        self.path = c_string(program.as_os_str()).ok()?;
        self.directory = directory.as_ref().and_then(|path| c_string(path.as_os_str()).ok());
        (self.program, self.directory_path) = (program, directory);
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
        assert_eq!(generation.mend(&launch), None);

        fs::remove_file(root.join("current")).unwrap();
        symlink("2", root.join("current")).unwrap();
        assert_eq!(generation.mend(&launch), None, "the release that was resolved is still there");
        fs::remove_dir(root.join("1")).unwrap();
        let (old, new) = (root.join("1"), root.join("2"));
        let told = format!("{} is gone; using {} instead", old.display(), new.display());
        assert_eq!(generation.mend(&launch), Some(told));
        assert_eq!(generation.directory, Some(c_string(new.as_os_str()).unwrap()));
        fs::remove_dir_all(root).unwrap();
    }
}
