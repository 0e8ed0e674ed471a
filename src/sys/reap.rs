//! The dead: waitid(2); and signalling the living: kill(2). A pid is good for both only while it is not reaped.

use std::io;

use libc::{
    CLD_DUMPED, CLD_EXITED, ECHILD, ESRCH, P_ALL, P_PID, WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WSTOPPED,
    c_int, id_t, idtype_t, pid_t, siginfo_t,
};

use super::{cvt, fault};
use crate::process::Exit;
use crate::signame::Signal;

/// A child that is dead and not reaped, if there is one. It is left as it is, so that its process group can still be
/// named by its pid.
pub fn peek() -> io::Result<Option<i32>> {
    match wait(P_ALL, 0, WNOWAIT) {
        Ok(info) => Ok(pid(&info)),
        Err(error) if error.raw_os_error() == Some(ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// By what.
    pub exit: Exit,
    /// The kernel has written an image of it, `core(5)`.
    pub core_dumped: bool,
}

/// Reaps a dead child and tells how it ended: [`Exit::Unknown`] if somebody else has reaped it.
///
/// # Errors
/// `WouldBlock` if it lives.
pub fn reap(child: i32) -> io::Result<Death> {
    let number = id_t::try_from(child).map_err(|_| no_process(child))?;
    match wait(P_PID, number, 0) {
        Ok(info) if pid(&info).is_none() => Err(io::ErrorKind::WouldBlock.into()),
        Ok(info) => Ok(Death { exit: exit(&info), core_dumped: info.si_code == CLD_DUMPED }),
        Err(error) if error.raw_os_error() == Some(ECHILD) => {
            Ok(Death { exit: Exit::Unknown, core_dumped: false })
        }
        Err(error) => Err(error),
    }
}

/// Whether this process has any child, alive or waiting to be reaped.
pub fn has_children() -> io::Result<bool> {
    match wait(P_ALL, 0, WNOWAIT) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(ECHILD) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The signal that has stopped a child, told once each time. That it is gone is no error.
pub fn stopped(child: i32) -> io::Result<Option<Signal>> {
    let number = id_t::try_from(child).map_err(|_| no_process(child))?;
    match wait_for(P_PID, number, WSTOPPED) {
        // SAFETY: waitid has filled in the fields of SIGCHLD.
        Ok(info) => Ok(pid(&info).map(|_| Signal(unsafe { info.si_status() }))),
        Err(error) if error.raw_os_error() == Some(ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a child is stopped at this moment.
pub fn is_stopped(child: i32) -> bool {
    let Ok(number) = id_t::try_from(child) else { return false };
    wait_for(P_PID, number, WSTOPPED | WNOWAIT).is_ok_and(|info| pid(&info).is_some())
}

/// Whether a child has gone on since [`stopped`] told that it was stopped, even if it was stopped again meanwhile.
pub fn has_gone_on(child: i32) -> bool {
    let Ok(number) = id_t::try_from(child) else { return false };
    // A child that was stopped again has forgotten that it went on, and a stop that was told of is told of no more.
    let news = wait_for(P_PID, number, WCONTINUED | WSTOPPED | WNOWAIT);
    news.is_ok_and(|info| pid(&info).is_some())
}

/// Whether a process is a child of ours, alive or waiting to be reaped.
pub fn is_child(child: i32) -> bool {
    let Ok(number) = id_t::try_from(child) else { return false };
    !wait(P_PID, number, WNOWAIT).is_err_and(|error| error.raw_os_error() == Some(ECHILD))
}

/// Signals a process. That it is gone is no error.
pub fn kill(process: i32, signal: Signal) -> io::Result<()> {
    // 0 is our own process group, -1 everybody.
    if process <= 0 {
        return Err(no_process(process));
    }
    send(process, signal)
}

/// Signals all processes of a group. That they are gone is no error.
pub fn kill_group(group: i32, signal: Signal) -> io::Result<()> {
    // -1 would be everybody.
    if group <= 1 {
        return Err(no_process(group));
    }
    send(-group, signal)
}

/// Whether anybody is in a process group, also one that is dead and not reaped.
pub fn group_exists(group: i32) -> bool {
    group > 1 && fault::hit("kill").is_ok() && {
        // SAFETY: numbers only; signal 0 does nothing.
        let sent = cvt(unsafe { libc::kill(-group, 0) });
        sent.is_ok() || sent.is_err_and(|error| error.raw_os_error() != Some(ESRCH))
    }
}

/// Signals every process of our PID namespace but ourselves.
///
/// # Errors
/// This process is not the first one of its namespace: it would signal far more.
pub fn kill_namespace(signal: Signal) -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not the first process"));
    }
    send(-1, signal)
}

/// The process group of a process, if there is such a process.
pub fn process_group_of(process: i32) -> Option<i32> {
    fault::hit("getpgid").ok()?;
    // SAFETY: numbers only.
    cvt(unsafe { libc::getpgid(process) }).ok()
}

/// The session of a process, if there is such a process; of 0 our own.
pub fn session_of(process: i32) -> Option<i32> {
    fault::hit("getsid").ok()?;
    // SAFETY: numbers only.
    cvt(unsafe { libc::getsid(process) }).ok()
}

fn wait(kind: idtype_t, number: id_t, more: c_int) -> io::Result<siginfo_t> {
    wait_for(kind, number, WEXITED | more)
}

fn wait_for(kind: idtype_t, number: id_t, what: c_int) -> io::Result<siginfo_t> {
    // SAFETY: a structure of numbers and pointers that nobody follows; zero is a value of each.
    let mut info: siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is valid for writing.
        let mut wait = || cvt(unsafe { libc::waitid(kind, number, &raw mut info, WNOHANG | what) });
        match fault::hit("waitid").and_then(|()| wait()) {
            Ok(_) => return Ok(info),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The child that waitid has told about; with WNOHANG there may be none.
fn pid(info: &siginfo_t) -> Option<pid_t> {
    // SAFETY: waitid has filled in the fields of SIGCHLD, or left the zeros.
    Some(unsafe { info.si_pid() }).filter(|&pid| pid != 0)
}

fn exit(info: &siginfo_t) -> Exit {
    // SAFETY: waitid has filled in the fields of SIGCHLD.
    let status = unsafe { info.si_status() };
    match info.si_code {
        // The kernel keeps the low eight bits of what was given to _exit(2).
        CLD_EXITED => Exit::Code(status as u8),
        _ => Exit::Signal(Signal(status)),
    }
}

fn send(target: pid_t, signal: Signal) -> io::Result<()> {
    fault::hit("kill")?;
    // SAFETY: numbers only.
    match cvt(unsafe { libc::kill(target, signal.0) }) {
        Err(error) if error.raw_os_error() != Some(ESRCH) => Err(error),
        _ => Ok(()),
    }
}

fn no_process(number: i32) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{number} is not the number of a process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // pitfall 32
    #[test]
    fn numbers_that_mean_more_than_one_process_are_refused() {
        for number in [0, -1, i32::MIN] {
            assert_eq!(kill(number, Signal(0)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        for number in [1, 0, -1] {
            assert_eq!(kill_group(number, Signal(0)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(reap(-1).is_err());
    }

    #[test]
    fn who_is_gone_is_no_error() {
        // Above the largest pid that Linux gives (2^22).
        let nobody = 1 << 23;
        kill(nobody, Signal::TERM).unwrap();
        kill_group(nobody, Signal::TERM).unwrap();
        assert_eq!(process_group_of(nobody), None);
        assert_eq!(reap(nobody).unwrap().exit, Exit::Unknown);
    }
}
