//! Starting a worker: fork(2), the steps of the child, execve(2).
//!
//! Everything is allocated and looked up before the fork. The child makes async-signal-safe calls only, in the order of
//! [`Prepared::steps`], and tells a failure as stage and errno by a close-on-exec pipe: its end without a word means that
//! the program runs. The manager never waits for that: the pipe is one more descriptor of its loop.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{
    AT_EMPTY_PATH, EPERM, ESRCH, PR_SET_PDEATHSIG, PRIO_PROCESS, RLIM_INFINITY, SYS_execveat, c_int, c_ulong,
    gid_t, mode_t, pid_t, rlim_t,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
pub use nix::sys::resource::Resource;
use nix::sys::resource::{getrlimit, setrlimit};
use nix::unistd;

use super::creds::Credentials;
use super::fdmap::{self, Arrangement};
use super::signals::{self, Saved};
pub use super::start::{open_standard, raise_nofile, seal_inherited};
use super::{cvt, fault};
use crate::attributes::{LimitName, ResourceLimit};
use crate::env::EnvBlock;
use crate::process::Stage;
use crate::signame::Signal;

/// A resource limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// The limit in force.
    pub soft: rlim_t,
    /// How far the process may raise it.
    pub hard: rlim_t,
}

impl Limit {
    /// Soft and hard limit in the width that they have on every host.
    #[allow(clippy::useless_conversion, reason = "rlim_t has 32 bits on some hosts")]
    pub fn wide(&self) -> (u64, u64) {
        (self.soft.into(), self.hard.into())
    }

    /// A limit that was told in that width; what does not fit is no limit.
    #[allow(clippy::useless_conversion, reason = "rlim_t has 32 bits on some hosts")]
    pub fn narrowed(resource: Resource, soft: u64, hard: u64) -> Self {
        let narrow = |limit: u64| limit.try_into().unwrap_or(libc::RLIM_INFINITY);
        Limit { resource, soft: narrow(soft), hard: narrow(hard) }
    }
}

impl From<&ResourceLimit> for Limit {
    fn from(limit: &ResourceLimit) -> Limit {
        let number = |amount: Option<u64>| amount.map_or(RLIM_INFINITY, |amount| amount as rlim_t);
        Limit { resource: resource(limit.name), soft: number(limit.soft), hard: number(limit.hard) }
    }
}

fn resource(name: LimitName) -> Resource {
    match name {
        LimitName::As => Resource::RLIMIT_AS,
        LimitName::Core => Resource::RLIMIT_CORE,
        LimitName::Cpu => Resource::RLIMIT_CPU,
        LimitName::Data => Resource::RLIMIT_DATA,
        LimitName::Fsize => Resource::RLIMIT_FSIZE,
        LimitName::Memlock => Resource::RLIMIT_MEMLOCK,
        LimitName::Msgqueue => Resource::RLIMIT_MSGQUEUE,
        LimitName::Nice => Resource::RLIMIT_NICE,
        LimitName::Nofile => Resource::RLIMIT_NOFILE,
        LimitName::Nproc => Resource::RLIMIT_NPROC,
        LimitName::Rss => Resource::RLIMIT_RSS,
        LimitName::Rtprio => Resource::RLIMIT_RTPRIO,
        LimitName::Rttime => Resource::RLIMIT_RTTIME,
        LimitName::Sigpending => Resource::RLIMIT_SIGPENDING,
        LimitName::Stack => Resource::RLIMIT_STACK,
    }
}

/// Whether children may have this limit, as far as that can be told beforehand: only root may have more than we have.
pub fn may_limit(limit: &ResourceLimit) -> bool {
    let Limit { resource, hard, .. } = limit.into();
    // Whoever cannot even ask is told by the child.
    unistd::geteuid().is_root() || getrlimit(resource).map_or(true, |(_, ours)| hard <= ours)
}

/// What to start, and how.
pub struct Spawn<'a> {
    /// The program, by its path.
    pub path: &'a CStr,
    /// The program itself, where it is to be executed by a descriptor (execveat(2)) and not by that path. No script.
    pub file: Option<BorrowedFd<'a>>,
    /// Arguments, with the name of the program first.
    pub argv: &'a [CString],
    /// Environment; its LISTEN_PID is filled in by the child.
    pub env: &'a EnvBlock,
    /// What stands at 0, 1, 2, 3... in the child. Give three at least: a standard descriptor that is not given is that
    /// of the manager.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// What stands at this number, beyond those; nothing stands between.
    pub beyond: Option<(u32, BorrowedFd<'a>)>,
    /// Make it the leader of a process group of its own.
    pub process_group: bool,
    /// Make it the leader of a session of its own, and so of such a group: it has no terminal.
    pub session: bool,
    /// Limits other than those of the manager.
    pub limits: &'a [Limit],
    /// Nice value, -20 to 19.
    pub nice: Option<i32>,
    /// Weight in the choice of the OOM killer, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Another user. What the process has already is not asked for again, so that a manager without privileges can name
    /// its own.
    pub credentials: Option<&'a Credentials>,
    /// Working directory, entered as that user.
    pub directory: Option<&'a CStr>,
    /// File mode mask.
    pub umask: Option<mode_t>,
    /// Signal at the death of the manager.
    pub parent_death_signal: Option<Signal>,
    /// Signal mask and ignored signals; if absent nothing is blocked and nothing ignored.
    pub keep_signals: Option<&'a Saved>,
}

impl<'a> Spawn<'a> {
    /// Allocates and looks up all that the child needs.
    pub fn prepare(self) -> Prepared<'a> {
        let argv = self.argv.iter().map(|argument| argument.as_ptr()).chain([ptr::null()]).collect();
        Prepared {
            parent: unistd::getpid().as_raw(),
            file: None,
            argv,
            envp: self.env.pointers(),
            descriptors: Arrangement::new(self.sources()),
            oom_score_adj: self.oom_score_adj.map(|score| score.to_string()),
            groups: vec![0; self.credentials.map_or(0, |credentials| credentials.groups.len() + 1)],
            spawn: self,
        }
    }

    /// What is to stand at 0, 1, 2...
    fn sources(&self) -> Vec<RawFd> {
        let mut sources: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        if let Some((number, descriptor)) = &self.beyond {
            sources.resize(sources.len().max(*number as usize), fdmap::GAP);
            sources.push(descriptor.as_raw_fd());
        }
        sources
    }
}

/// A forked child.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid, good until it is reaped.
    pub pid: i32,
    /// For [`read_status`], when it is readable.
    pub status: OwnedFd,
}

/// How far a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Between fork and exec.
    Pending,
    /// The program runs, or did; a child that was killed on the way there looks the same, and is told by its death.
    Running,
    /// This step failed for this reason (errno), and the child ends.
    Failed(Stage, i32),
}

/// What a child that fails exits with: the shell's code for a program that cannot be found.
const EXIT_FAILED: c_int = 127;

/// By the number they are told under.
const STAGES: [Stage; 11] = [
    Stage::Fork,
    Stage::ProcessGroup,
    Stage::Descriptors,
    Stage::Limits,
    Stage::Priority,
    Stage::Groups,
    Stage::User,
    Stage::Directory,
    Stage::ParentDeath,
    Stage::Signals,
    Stage::Exec,
];

/// Prepares a child and forks it.
///
/// # Errors
/// As [`Prepared::fork`].
pub fn spawn(spawn: Spawn<'_>) -> io::Result<Spawned> {
    spawn.prepare().fork()
}

/// A copy of a descriptor where none is put that the child is given.
fn above(file: BorrowedFd<'_>, floor: usize) -> io::Result<OwnedFd> {
    fault::hit("fcntl")?;
    let copy = fcntl(file, FcntlArg::F_DUPFD_CLOEXEC(RawFd::try_from(floor).unwrap_or(RawFd::MAX)))?;
    // SAFETY: fcntl(2) just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Asks how far a child is, without waiting. The answers `Running` and `Failed` are final.
pub fn read_status(status: &OwnedFd) -> Status {
    let mut report = [0; 8];
    loop {
        let read = fault::hit("read").and_then(|()| Ok(unistd::read(status, &mut report)?));
        match read {
            // Eight bytes are written and read in one piece.
            Ok(8) => return decode(report),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Status::Pending,
            // The end. Should reading fail, nothing more will be heard by this way: its death tells the rest.
            Ok(_) | Err(_) => return Status::Running,
        }
    }
}

fn encode(stage: Stage, errno: i32) -> [u8; 8] {
    (u64::from(stage as u8) << 32 | u64::from(errno as u32)).to_ne_bytes()
}

fn decode(report: [u8; 8]) -> Status {
    let report = u64::from_ne_bytes(report);
    let stage = STAGES.get((report >> 32) as usize).copied().unwrap_or(Stage::Exec);
    Status::Failed(stage, report as u32 as i32)
}

/// What a child needs, all of it in memory before the fork.
pub struct Prepared<'a> {
    spawn: Spawn<'a>,
    parent: pid_t,
    /// To be executed instead of the path.
    file: Option<RawFd>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    descriptors: Arrangement,
    oom_score_adj: Option<String>,
    /// Room to ask for the supplementary groups.
    groups: Vec<gid_t>,
}

type Step<T = ()> = Result<T, (Stage, io::Error)>;

impl Prepared<'_> {
    /// Forks a child that becomes the program. It returns as soon as there is a child, whatever becomes of it.
    ///
    /// Of several children that are started at once, all are best prepared before the first is forked: each page that is
    /// written between two forks is copied.
    ///
    /// # Errors
    /// No descriptors for the pipe, or no process: [`Stage::Fork`].
    pub fn fork(&mut self) -> io::Result<Spawned> {
        // Not before: whoever is forked has a copy of it, and its end is not seen until each of them runs its program.
        fault::hit("pipe2")?;
        let (status, report) = unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        self.descriptors.report_by(report.as_raw_fd());
        let file = self.spawn.file.map(|file| above(file, self.descriptors.targets())).transpose()?;
        self.file = file.as_ref().map(AsRawFd::as_raw_fd);

        // Unblocked when this function returns, after the child has its process group on this side too.
        let _blocked = signals::block_all()?;
        fault::hit("fork")?;
        // SAFETY: the child does nothing but `run`, which neither allocates nor locks and does not return.
        let pid = cvt(unsafe { libc::fork() })?;
        if pid == 0 {
            self.run();
        }
        // Not where it is to have a session, which the leader of a group cannot have any more.
        if self.spawn.process_group && !self.spawn.session {
            // On both sides, so that the group exists for whoever acts on it first. Here it may come too late, when the
            // child has done it and runs its program (EACCES); whether it could be done is told by the child.
            // SAFETY: numbers only.
            unsafe { libc::setpgid(pid, pid) };
        }
        Ok(Spawned { pid, status })
    }

    fn run(&mut self) -> ! {
        let Err((stage, error)) = self.steps();
        let report = encode(stage, error.raw_os_error().unwrap_or(0));
        // SAFETY: eight bytes are there; a pipe that is empty takes them at once. If the manager is gone, nobody is left
        // to be told. Nothing of the manager's is to be run at the exit, hence `_exit`.
        unsafe {
            libc::write(self.descriptors.report(), report.as_ptr().cast(), report.len());
            libc::_exit(EXIT_FAILED)
        }
    }

    /// In this order, as each step needs what the ones before it have not taken away yet.
    fn steps(&mut self) -> Step<Infallible> {
        let spawn = &self.spawn;
        // First: from here on a signal to the group of the manager passes it by.
        if spawn.session {
            self.own_session().map_err(at(Stage::ProcessGroup))?;
        } else if spawn.process_group {
            self.own_process_group().map_err(at(Stage::ProcessGroup))?;
        }
        self.descriptors.carry_out().map_err(at(Stage::Descriptors))?;
        // Before the limits: the descriptors of the manager, open until the exec, may fill the limit of the worker, and
        // then no file can be opened.
        if let Some(score) = &self.oom_score_adj {
            set_oom_score_adj(score).map_err(at(Stage::Priority))?;
        }
        // With the privileges of the manager: limits may be raised, and the nice value lowered.
        for limit in spawn.limits {
            set_limit(limit).map_err(at(Stage::Limits))?;
        }
        if let Some(nice) = spawn.nice {
            set_nice(nice).map_err(at(Stage::Priority))?;
        }
        if let Some(credentials) = spawn.credentials {
            become_group(credentials, &mut self.groups).map_err(at(Stage::Groups))?;
            become_user(credentials).map_err(at(Stage::User))?;
        }
        if let Some(mask) = spawn.umask {
            // SAFETY: a number; it cannot fail.
            unsafe { libc::umask(mask) };
        }
        // As the user: what it may not enter is refused, and what only it may enter (NFS) is not.
        if let Some(directory) = spawn.directory {
            change_directory(directory).map_err(at(Stage::Directory))?;
        }
        // A change of user clears it, hence not before.
        if let Some(signal) = spawn.parent_death_signal {
            self.watch_parent(signal).map_err(at(Stage::ParentDeath))?;
        }
        // Last: a signal that waits since the fork is delivered here, as to the program itself.
        spawn.keep_signals.map_or_else(signals::reset, Saved::put_in_force).map_err(at(Stage::Signals))?;
        self.execute().map_err(at(Stage::Exec))
    }

    fn own_process_group(&self) -> io::Result<()> {
        fault::hit("setpgid")?;
        // SAFETY: numbers only.
        cvt(unsafe { libc::setpgid(0, 0) }).map(drop)
    }

    fn own_session(&self) -> io::Result<()> {
        fault::hit("setsid")?;
        // SAFETY: no arguments.
        cvt(unsafe { libc::setsid() }).map(drop)
    }

    fn watch_parent(&self, signal: Signal) -> io::Result<()> {
        fault::hit("prctl")?;
        // SAFETY: this option takes one number.
        cvt(unsafe { libc::prctl(PR_SET_PDEATHSIG, signal.0 as c_ulong) })?;
        // A manager that died before the call sends no signal any more.
        // SAFETY: no arguments; it cannot fail.
        if unsafe { libc::getppid() } == self.parent { Ok(()) } else { Err(os_error(ESRCH)) }
    }

    fn execute(&self) -> io::Result<Infallible> {
        // SAFETY: no arguments; it cannot fail.
        self.spawn.env.fill_pid(unsafe { libc::getpid() } as u32);
        fault::hit("execve")?;
        let (argv, envp) = (self.argv.as_ptr(), self.envp.as_ptr());
        if let Some(file) = self.file {
            // SAFETY: as below; an empty path stands for the descriptor itself. Not every C library has a function for it.
            unsafe { libc::syscall(SYS_execveat, file, c"".as_ptr(), argv, envp, AT_EMPTY_PATH) };
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the path ends with NUL; both arrays end with a null pointer, and all strings in them are alive: those
        // of `spawn`, which this borrows.
        unsafe { libc::execve(self.spawn.path.as_ptr(), argv, envp) };
        Err(io::Error::last_os_error())
    }
}

fn at(stage: Stage) -> impl Fn(io::Error) -> (Stage, io::Error) {
    move |error| (stage, error)
}

fn set_limit(limit: &Limit) -> io::Result<()> {
    fault::hit("setrlimit")?;
    Ok(setrlimit(limit.resource, limit.soft, limit.hard)?)
}

fn set_nice(nice: i32) -> io::Result<()> {
    fault::hit("setpriority")?;
    // SAFETY: numbers only. The type of the first one depends on the C library.
    cvt(unsafe { libc::setpriority(PRIO_PROCESS as _, 0, nice) }).map(drop)
}

fn set_oom_score_adj(score: &str) -> io::Result<()> {
    fault::hit("open")?;
    // SAFETY: the path ends with NUL.
    let file =
        cvt(unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
    fault::hit("write")?;
    // SAFETY: the buffer is as long as told. The file is closed by the exec.
    cvt(unsafe { libc::write(file, score.as_ptr().cast(), score.len()) }).map(drop)
}

/// Groups before the user, who may not change them. `room` is longer by one than the supplementary groups.
fn become_group(wanted: &Credentials, room: &mut [gid_t]) -> io::Result<()> {
    let settled = if has_groups(&wanted.groups, None, room) { Ok(()) } else { set_groups(&wanted.groups) };
    fault::hit("setresgid")?;
    // SAFETY: numbers only.
    cvt(unsafe { libc::setresgid(wanted.gid, wanted.gid, wanted.gid) })?;

    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: all three are valid for writing.
    cvt(unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) })?;
    // Who may not set them may have them: what the group of the process itself gives it has without being among them too.
    let given = settled.is_err().then_some(wanted.gid);
    match has_groups(&wanted.groups, given, room) {
        true if [real, effective, saved] == [wanted.gid; 3] => Ok(()),
        _ => settled.and(Err(os_error(EPERM))),
    }
}

fn set_groups(wanted: &[gid_t]) -> io::Result<()> {
    fault::hit("setgroups")?;
    // SAFETY: the list is as long as told.
    cvt(unsafe { libc::setgroups(wanted.len() as _, wanted.as_ptr()) }).map(drop)
}

/// Whether the supplementary groups of this process are these, in any order, and whether or not `given` is among them.
fn has_groups(wanted: &[gid_t], given: Option<gid_t>, room: &mut [gid_t]) -> bool {
    // SAFETY: `room` is as long as told; it is never empty, which would ask for the number of groups alone.
    let count = cvt(unsafe { libc::getgroups(room.len() as c_int, room.as_mut_ptr()) });
    // More groups than room is EINVAL, and not what is wanted either.
    let found = count.ok().and_then(|count| room.get(..usize::try_from(count).ok()?));
    found.is_some_and(|found| {
        let counts = |group: &&gid_t| Some(**group) != given;
        wanted.iter().filter(counts).all(|group| found.contains(group))
            && found.iter().filter(counts).all(|group| wanted.contains(group))
    })
}

/// Gives up the old user for good, and makes sure of it.
fn become_user(wanted: &Credentials) -> io::Result<()> {
    // SAFETY: no arguments; it cannot fail.
    let was_root = unsafe { libc::geteuid() } == 0;
    fault::hit("setresuid")?;
    // SAFETY: numbers only.
    cvt(unsafe { libc::setresuid(wanted.uid, wanted.uid, wanted.uid) })?;

    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: all three are valid for writing.
    cvt(unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) })?;
    let complete = [real, effective, saved] == [wanted.uid; 3];
    // Capabilities may survive the change (SECBIT_NO_SETUID_FIXUP), and lead back.
    // SAFETY: a number; if it succeeds, which it must not, the process ends.
    let leads_back = was_root && wanted.uid != 0 && unsafe { libc::setuid(0) } == 0;
    if complete && !leads_back { Ok(()) } else { Err(os_error(EPERM)) }
}

fn change_directory(directory: &CStr) -> io::Result<()> {
    fault::hit("chdir")?;
    // SAFETY: the path ends with NUL.
    cvt(unsafe { libc::chdir(directory.as_ptr()) }).map(drop)
}

fn os_error(errno: c_int) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_stage_and_errno() {
        for stage in STAGES {
            for errno in [0, libc::ENOENT, i32::MAX] {
                assert_eq!(decode(encode(stage, errno)), Status::Failed(stage, errno));
            }
        }
    }

    #[test]
    fn a_status_pipe_is_read_without_waiting() {
        let (status, report) = unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        assert_eq!(read_status(&status), Status::Pending);
        unistd::write(&report, &encode(Stage::Directory, libc::ENOENT)).unwrap();
        assert_eq!(read_status(&status), Status::Failed(Stage::Directory, libc::ENOENT));
        drop(report);
        assert_eq!(read_status(&status), Status::Running);
    }

    #[test]
    fn supplementary_groups_are_compared_as_a_set() {
        let groups: Vec<gid_t> =
            unistd::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
        let mut room = vec![0; groups.len() + 2];
        let reversed: Vec<gid_t> = groups.iter().rev().copied().collect();
        assert!(has_groups(&reversed, None, &mut room));
        let more = [reversed.as_slice(), &[54_321]].concat();
        assert!(!has_groups(&more, None, &mut room));
        assert!(has_groups(&more, Some(54_321), &mut room));
        assert!(!has_groups(&more, Some(54_320), &mut room));
        if let [first, rest @ ..] = &groups[..] {
            assert!(!has_groups(rest, None, &mut room));
            assert!(has_groups(rest, Some(*first), &mut room));
        }
        // Without room for all of them they cannot be the ones.
        if groups.len() > 1 {
            assert!(!has_groups(&groups[1..], Some(groups[0]), &mut [0]));
        }
    }
}
