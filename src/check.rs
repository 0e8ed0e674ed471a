//! The groups file before anything runs: reading it, and looking up all that it names. Nothing is opened, started or
//! changed here; `remuda check` is this and no more.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::{self, Fault};
use crate::env;
use crate::error::{Error, Result};
use crate::output::Target;
use crate::plan::{Address, ControlSpec, Dialect, GroupSpec, Plan};
use crate::reading::{LeftOut, Manner, Reading, Source};
use crate::sys::{creds, guarded, logfile, program, reason, socket};

/// Largest groups file, in bytes.
const FILE_MAX: u64 = 4 << 20;

/// What `remuda check` has to tell.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Everything that stands in the way of running the file, as far as it can be told beforehand.
    pub complaints: Vec<String>,
    /// What is good to know and stands in nobody's way.
    pub remarks: Vec<String>,
    /// The complaints keep us from running it, as it was asked for.
    pub stops: bool,
}

/// What a file says, with a sentence for each thing in it that is passed over.
///
/// # Errors
/// A sentence for each thing that is wrong with it, beginning with the file's name and, where it is in the text, line
/// and column.
pub fn load(source: &Source) -> Result<Reading, Vec<String>> {
    let config::Contents { mut plan, faults, warnings, .. } = contents(source)?;
    if let Some(directory) = &source.directory {
        plan.look_up_from(directory);
    }
    if let Some(source) = &mut plan.source {
        // To be found again from wherever it is looked for.
        source.file = std::path::absolute(&source.file).unwrap_or_else(|_| source.file.clone());
    }
    let line = |fault: &Fault| format!("{}:{fault}", source.file.display());
    let left_out =
        |fault: &Fault| LeftOut { group: fault.group.clone().unwrap_or_default(), why: line(fault) };
    let left_out = faults.iter().map(left_out).collect();
    let warnings = warnings.iter().map(line).collect();
    Ok(Reading { plan, left_out, warnings, hosts: Vec::new() })
}

/// The same file, to be found again from wherever it is looked for, also when the links have changed that lead to where we
/// are.
pub fn located(mut source: Source) -> Source {
    if source.manner == Manner::Remuda
        && let Some(directory) = program::logical_directory()
    {
        source.file = directory.join(source.file);
        source.directory = Some(directory);
    }
    source
}

/// The same for a plan that stands in no file.
pub fn located_plan(mut plan: Plan) -> Plan {
    if plan.dialect == Dialect::Native
        && let Some(directory) = program::logical_directory()
    {
        plan.look_up_from(&directory);
    }
    plan
}

/// Looks at a file and at all that it names.
pub fn check(source: &Source) -> Findings {
    let config::Contents { plan, unlike, faults, .. } = match contents(source) {
        Ok(contents) => contents,
        Err(complaints) => return Findings { complaints, remarks: Vec::new(), stops: true },
    };
    let file = source.file.display();
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let mut complaints: Vec<String> = faults.iter().map(|fault| format!("{file}:{fault}")).collect();
    let mut sound = 0;
    for group in &plan.groups {
        let about = |why: String| format!("{file}: {}: {why}", group.name);
        let missing = missing(group, &environment);
        sound += usize::from(missing.is_empty());
        complaints.extend(missing.into_iter().map(about));
    }
    let mut remarks: Vec<String> = unlike.iter().map(|unlike| format!("{file}: {unlike}")).collect();
    if !remarks.is_empty() {
        remarks
            .push(format!("{file}: [remuda] defaults = \"remuda\" or \"firestarter\" says whose are meant"));
    }
    remarks.extend(exposed(&plan).into_iter().map(|remark| format!("{file}: {remark}")));
    let stops = if source.keep_going { sound == 0 } else { !complaints.is_empty() };
    Findings { complaints, remarks, stops }
}

fn contents(source: &Source) -> Result<config::Contents, Vec<String>> {
    let text = read(&source.file).map_err(|error| vec![error.message])?;
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    config::read(&text, source, &environment).map_err(|faults| {
        faults.into_iter().map(|fault| format!("{}:{fault}", source.file.display())).collect()
    })
}

/// What a group names and cannot have.
fn missing(group: &GroupSpec, start: &[(OsString, OsString)]) -> Vec<String> {
    let launch = &group.launch;
    let mut found = Vec::new();
    let mut files = Vec::new();
    for file in &launch.env.files {
        match program::read_env_file(file) {
            Ok(variables) => files.extend(variables),
            Err(error) => found.push(error.message),
        }
    }
    let login =
        if launch.login_env { creds::login_variables(launch.user.as_deref()) } else { Ok(Vec::new()) };
    let login = login.unwrap_or_else(|error| {
        found.push(error.message);
        Vec::new()
    });
    let environment = env::base(start.iter().cloned(), login, files, &launch.env);
    // A program that is looked for in a directory that is not there is no second fault.
    match launch.directory.as_deref().map(program::resolve_directory).transpose() {
        Ok(directory) => {
            let path = program::search_path(&environment);
            let programs = group.policy.hooks().filter_map(|hook| hook.argv.first());
            for program in [&launch.program].into_iter().chain(programs) {
                found.extend(program::resolve(program, directory.as_deref(), path).err().map(sentence));
            }
        }
        Err(error) => found.push(error.message),
    }
    found
        .extend(launch.user.as_deref().and_then(|user| creds::resolve(Some(user), None).err()).map(sentence));
    found.extend(launch.group.as_deref().and_then(|group| creds::resolve_group(group).err()).map(sentence));
    found.extend(group.sockets.iter().flat_map(socket::check));
    found.extend(group.contradictions());
    let logs = launch.output.targets().into_iter().filter_map(Target::file);
    found.extend(logs.filter_map(|log| logfile::obstacle(&log.path)));
    found
}

/// Files of the manager in directories that others may write, a sentence each.
fn exposed(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |what: &str, path: &Path| {
        if let Some(writers) = guarded::exposure(path) {
            found.push(format!("{what} {} lies where {writers} may write", path.display()));
        }
    };
    if let Some(path) = &plan.pidfile {
        look("the pid file", path);
    }
    if let Some(ControlSpec::Path(path)) = &plan.control {
        look("the control socket", path);
    }
    for group in &plan.groups {
        let mut look = |what: &str, path: &Path| look(&format!("{}: {what}", group.name), path);
        for file in &group.launch.env.files {
            look("the environment file", file);
        }
        for log in group.launch.output.targets().into_iter().filter_map(Target::file) {
            look("the log", &log.path);
        }
        for socket in &group.sockets {
            if let Address::UnixPath(path) = &socket.address {
                look("the socket", path);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn sentence(error: Error) -> String {
    error.message
}

fn read(path: &Path) -> Result<String> {
    let failed = |why: String| Error::failed(format!("cannot read {}: {why}", path.display()));
    // A FIFO that nobody writes to shall not hang us.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| failed(reason(error)))?;
    if !file.metadata().map_err(|error| failed(reason(error)))?.is_file() {
        return Err(failed("not a regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(reason(error)))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(failed(format!("longer than {FILE_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::failed(format!("{}:{line}: not valid UTF-8", path.display()))
    })
}
