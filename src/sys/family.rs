//! Whose children orphans become: PID 1 of a PID namespace, or the nearest subreaper above them. And who is left of them.

use std::fs;
use std::io;

use libc::{PR_GET_CHILD_SUBREAPER, PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, c_int, c_ulong};

use super::{cvt, fault};
use crate::signame::Signal;

/// Whether this process is the first one of its PID namespace.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Makes this process a subreaper: orphans among its descendants become its children.
pub fn become_subreaper() -> io::Result<()> {
    prctl(PR_SET_CHILD_SUBREAPER, 1)
}

/// Whether it is one.
pub fn is_subreaper() -> io::Result<bool> {
    let mut is: c_int = 0;
    fault::hit("prctl")?;
    // SAFETY: this option takes a pointer to a number, which is valid for writing.
    cvt(unsafe { libc::prctl(PR_GET_CHILD_SUBREAPER, &raw mut is) })?;
    Ok(is != 0)
}

/// Asks for a signal at the death of our parent. If that has died just now, the signal is there at once.
pub fn watch_parent(signal: Signal) -> io::Result<()> {
    let parent = std::os::unix::process::parent_id();
    prctl(PR_SET_PDEATHSIG, signal.0 as c_ulong)?;
    if std::os::unix::process::parent_id() != parent {
        super::reap::kill(std::process::id().cast_signed(), signal)?;
    }
    Ok(())
}

/// The children of this process that live.
///
/// # Errors
/// There is no `/proc`, or it is that of another PID namespace.
pub fn children() -> io::Result<Vec<i32>> {
    let own = std::process::id().cast_signed();
    living(|stat| stat.parent == own)
}

/// Every process of this PID namespace that lives, but this one.
///
/// # Errors
/// As for [`children`].
pub fn all_others() -> io::Result<Vec<i32>> {
    living(|_| true)
}

/// The children of this process, dead ones that are not reaped among them.
///
/// # Errors
/// There is no `/proc`, or the kernel does not list them there.
pub fn own_children() -> io::Result<Vec<i32>> {
    let own = std::process::id();
    fault::hit("open")?;
    is_own_namespace()?;
    let line = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
    Ok(line.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Whether the first thread of a process is stopped, as far as `/proc` can tell: before the last one is, its parent is
/// not told of it.
pub fn is_stopping(process: i32) -> bool {
    let stat = fs::read(format!("/proc/{process}/stat")).ok().and_then(|line| read_stat(&line));
    is_own_namespace().is_ok() && stat.is_some_and(|stat| stat.state == b'T')
}

/// The session and the process group of a process that lives.
pub fn kinship(process: i32) -> Option<(i32, i32)> {
    let stat = read_stat(&fs::read(format!("/proc/{process}/stat")).ok()?)?;
    (!matches!(stat.state, b'Z' | b'X')).then_some((stat.session, stat.group))
}

/// The processes that live in the session of this leader, or only in its process group.
///
/// # Errors
/// As for [`children`].
pub fn tree_of(leader: i32, whole_session: bool) -> io::Result<Vec<i32>> {
    living(|stat| stat.group == leader || (whole_session && stat.session == leader))
}

/// What is known of a process that may become a worker, a dead one that is not reaped too.
#[derive(Clone, Copy, Debug)]
pub struct Kin {
    /// Its session.
    pub session: i32,
    /// Its process group.
    pub group: i32,
    /// When it began, in ticks since the machine did.
    pub begun: u64,
    /// Its user, unless it has several.
    pub uid: Option<u32>,
}

/// What `/proc` tells of a process.
///
/// # Errors
/// As for [`children`], or there is no such process.
pub fn look(process: i32) -> io::Result<Kin> {
    is_own_namespace()?;
    let unknown = || io::Error::from(io::ErrorKind::InvalidData);
    let line = fs::read(format!("/proc/{process}/stat"))?;
    let stat = read_stat(&line).ok_or_else(unknown)?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).ok_or_else(unknown)?;
    let mut uids = line.split_ascii_whitespace().map(str::parse);
    let first = uids.next().and_then(Result::ok);
    let uid = first.filter(|first| uids.all(|other| other.as_ref() == Ok(first)));
    Ok(Kin { session: stat.session, group: stat.group, begun: stat.begun, uid })
}

/// How far the ancestors of a process are followed.
const GENERATIONS_MAX: usize = 64;

/// Whether a process lives and belongs to another one: it is in the process group that the other leads, or descends from
/// it. One that has left the group and lost its parents belongs to nobody as far as can be told.
pub fn belongs(process: i32, to: i32) -> bool {
    let stat = |pid: i32| fs::read(format!("/proc/{pid}/stat")).ok().and_then(|line| read_stat(&line));
    let lives = |stat: &Stat| !matches!(stat.state, b'Z' | b'X');
    let Some(first) = stat(process).filter(lives) else { return false };
    if super::reap::process_group_of(process) == Some(to) {
        return true;
    }
    descends(first.parent, to)
}

/// Whether a process is another one, or descends from it as far as its ancestors live.
pub fn descends(process: i32, from: i32) -> bool {
    let stat = |pid: i32| fs::read(format!("/proc/{pid}/stat")).ok().and_then(|line| read_stat(&line));
    let line = std::iter::successors(Some(process), |&process| Some(stat(process)?.parent));
    line.take(GENERATIONS_MAX).take_while(|&process| process > 1).any(|process| process == from)
}

/// What `/proc/PID/stat` tells of a process.
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
    session: i32,
    begun: u64,
}

fn living(wanted: impl Fn(&Stat) -> bool) -> io::Result<Vec<i32>> {
    let own = std::process::id();
    fault::hit("opendir")?;
    is_own_namespace()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have gone since it was listed.
        let Some(stat) = fs::read(format!("/proc/{pid}/stat")).ok().and_then(|line| read_stat(&line)) else {
            continue;
        };
        if pid != own.cast_signed() && !matches!(stat.state, b'Z' | b'X') && wanted(&stat) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether the numbers in `/proc` are ours: where it leads elsewhere, they are those of another namespace.
fn is_own_namespace() -> io::Result<()> {
    if fs::read_link("/proc/self")?.to_str() == Some(&std::process::id().to_string()) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "/proc is that of another PID namespace"))
}

/// Of `12 (name) S 1 ...` the state and the parent. The name may hold anything.
fn read_stat(line: &[u8]) -> Option<Stat> {
    let end = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let mut number = || fields.next()?.parse().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    // It is the field 22, starttime.
    let begun = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, parent, group, session, begun })
}

fn prctl(option: c_int, value: c_ulong) -> io::Result<()> {
    fault::hit("prctl")?;
    // SAFETY: these options take one number.
    cvt(unsafe { libc::prctl(option, value) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn state_and_parent_stand_after_the_name() {
        let line = b"12 (a) Z 3 (b) S 7 7 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0\n";
        let stat = read_stat(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 7, 7, 0));
        assert_eq!(stat.begun, 4711);
        assert!(read_stat(b"").is_none() && read_stat(b"12 (a)").is_none());
    }

    #[test]
    fn a_process_belongs_to_its_ancestors_and_to_the_leader_of_its_group() {
        let own = std::process::id().cast_signed();
        // A shell of a process group of its own, and its child.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
        let mut shell = std::os::unix::process::CommandExt::process_group(&mut shell, 0).spawn().unwrap();
        let mut line = String::new();
        let output = shell.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let (leader, member) = (shell.id().cast_signed(), line.trim().parse().unwrap());
        assert!(belongs(member, leader) && belongs(member, own) && belongs(leader, own));
        assert!(!belongs(leader, member) && !belongs(1, own) && !belongs(0, own) && !belongs(-1, own));
        super::super::reap::kill_group(leader, Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(!belongs(leader, own), "it is dead");
    }

    #[test]
    fn a_child_is_among_the_children_until_it_is_dead() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(children().unwrap().contains(&pid) && all_others().unwrap().contains(&pid));
        assert!(!all_others().unwrap().contains(&std::process::id().cast_signed()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!children().unwrap().contains(&pid));
    }
}
