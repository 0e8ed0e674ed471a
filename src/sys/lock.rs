//! Who owns an instance name: flock(2) on a file of its own.
//!
//! The lock says that somebody runs; the number in the file only says who. So a file left by a dead process never
//! stands in the way, whatever number is in it (in a container often our own), and nobody has to remove it by hand.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::guarded::Spot;
use super::reexec::{Inherited, Keeper};
use super::{cvt, fault, reason};
use crate::error::{Error, Result};

/// How often a lock file may vanish under us before that is an error: each time means that another process took and
/// released the name meanwhile.
const RETRIES: u32 = 1000;

/// A lock held by this process until [`Lock::release`] or its end.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// A locked file on its way to another image of this process, which holds the lock all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    descriptor: i32,
    #[serde(with = "crate::octets")]
    path: PathBuf,
}

impl LockedFile {
    pub(super) fn hand_over(file: &File, path: &Path, keeper: &mut Keeper) -> LockedFile {
        LockedFile { descriptor: keeper.keep(file.as_fd()), path: path.to_owned() }
    }

    pub(super) fn take_over(self, inherited: &mut Inherited) -> io::Result<(File, PathBuf)> {
        Ok((inherited.claim(self.descriptor)?.into(), self.path))
    }
}

/// Why a lock was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another process holds it.
    Held {
        /// Its process id, if it can be told.
        pid: Option<i32>,
    },
    /// The file cannot be used.
    Failed(Error),
}

impl Lock {
    /// Takes the lock at `path` or says who has it; never waits for it. The file is created with mode 0600 and holds our
    /// pid afterwards; a symbolic link is not followed.
    pub fn take(path: &Path) -> Result<Lock, Refusal> {
        let failed =
            |why: String| Refusal::Failed(Error::failed(format!("cannot lock {}: {why}", path.display())));
        for _ in 0..RETRIES {
            let opened =
                Spot::of_name(path).and_then(|spot| spot.open(OFlag::O_RDWR | OFlag::O_CREAT, 0o600));
            let mut file = opened.map_err(|error| failed(reason(error)))?;
            if !file.metadata().map_err(|error| failed(reason(error)))?.is_file() {
                return Err(failed("not a regular file".into()));
            }
            if !try_lock(&file).map_err(|error| failed(reason(error)))? {
                return Err(Refusal::Held { pid: holder(&mut file) });
            }
            // The owner before us may have removed the file between our open and our lock: then what we hold has no
            // name, and the next one would lock a new file.
            if is_at(&file, path).map_err(|error| failed(reason(error)))? {
                write_pid(&mut file).map_err(|error| failed(reason(error)))?;
                return Ok(Lock { file, path: path.to_owned() });
            }
        }
        Err(failed("it is removed again and again".into()))
    }

    /// What another image of this process needs to hold it.
    pub fn hand_over(&self, keeper: &mut Keeper) -> LockedFile {
        LockedFile::hand_over(&self.file, &self.path, keeper)
    }

    /// The lock that the image before this one held.
    pub fn take_over(state: LockedFile, inherited: &mut Inherited) -> io::Result<Lock> {
        let (file, path) = state.take_over(inherited)?;
        Ok(Lock { file, path })
    }

    /// Removes the file, if it is still the one we locked, and gives the lock up.
    pub fn release(self) -> io::Result<()> {
        remove_if_ours(&self.file, &self.path)
    }
}

/// Locks the file for us alone; false if another holds it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    fault::hit("flock")?;
    // SAFETY: flock(2) takes two integers, and the descriptor is open as long as `file` lives.
    match cvt(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until nobody else holds the file any more, and locks it for us alone.
pub(super) fn wait(file: &File) -> io::Result<()> {
    loop {
        fault::hit("flock")?;
        // SAFETY: as for `try_lock`.
        match cvt(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked.map(drop),
        }
    }
}

/// Whether the file of this name is still the one we have open.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the name of a locked file; that of another file stays. Nobody else can put a file of theirs there between
/// the look and the removal as long as they, too, ask for the lock first.
pub(super) fn remove_if_ours(file: &File, path: &Path) -> io::Result<()> {
    if is_at(file, path)? { fs::remove_file(path) } else { Ok(()) }
}

/// Who holds the lock of an open file: the kernel's word, else the number in the file.
pub(super) fn holder(file: &mut File) -> Option<i32> {
    if let Some(pid) = known_holder(file) {
        return Some(pid);
    }
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|&pid| pid > 0)
}

/// Who holds the lock of an open file, by the kernel's word.
pub(super) fn known_holder(file: &File) -> Option<i32> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let stat = file.metadata().ok()?;
    let (major, minor) = (libc::major(stat.dev()), libc::minor(stat.dev()));
    flock_holder(&locks, &format!("{major:02x}:{minor:02x}:{}", stat.ino()))
}

/// The process in the line `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF` of proc_locks(5). Its number is 0 if the
/// process lives in a pid namespace that we do not see.
fn flock_holder(locks: &str, inode: &str) -> Option<i32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", pid, at, ..] if at == inode => pid.parse().ok().filter(|&pid| pid > 0),
            _ => None,
        }
    })
}

pub(super) fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::scratch;

    fn our_pid() -> i32 {
        std::process::id() as i32
    }

    #[test]
    fn a_second_taker_is_told_the_pid_of_the_first() {
        let directory = scratch("lock-twice");
        let path = directory.join("a.lock");
        let lock = Lock::take(&path).unwrap();
        assert_eq!(Lock::take(&path).unwrap_err(), Refusal::Held { pid: Some(our_pid()) });
        // The number in the file does not count: the kernel knows.
        fs::write(&path, "1\n").unwrap();
        assert_eq!(Lock::take(&path).unwrap_err(), Refusal::Held { pid: Some(our_pid()) });
        lock.release().unwrap();
        assert!(!path.exists());
        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_file_left_behind_is_no_obstacle_whatever_it_holds() {
        let directory = scratch("lock-stale");
        let path = directory.join("a.lock");
        for content in [String::new(), "garbage".into(), format!("{}\n", std::process::id()), "1\n".into()] {
            fs::write(&path, content).unwrap();
            let lock = Lock::take(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
            lock.release().unwrap();
        }
    }

    #[test]
    fn links_and_other_things_are_not_locked() {
        let directory = scratch("lock-link");
        let (target, link) = (directory.join("target"), directory.join("a.lock"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(Lock::take(&link), Err(Refusal::Failed(_))));
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        let fifo = directory.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let Err(Refusal::Failed(error)) = Lock::take(&fifo) else { panic!("a FIFO was locked") };
        assert!(error.message.ends_with("not a regular file"), "{error}");
    }

    #[test]
    fn the_file_of_a_successor_is_left_alone() {
        let directory = scratch("lock-successor");
        let path = directory.join("a.lock");
        let first = Lock::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = Lock::take(&path).unwrap();
        first.release().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn of_many_takers_at_once_one_wins_each_time() {
        let directory = scratch("lock-race");
        let path = directory.join("a.lock");
        let owners = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(lock) = Lock::take(&path) {
                            use std::sync::atomic::Ordering::SeqCst;
                            assert_eq!(owners.fetch_add(1, SeqCst), 0);
                            owners.fetch_sub(1, SeqCst);
                            lock.release().unwrap();
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn the_kernel_names_the_holder() {
        let locks =
            "1: POSIX  ADVISORY  WRITE 12 08:01:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 08:01:99 0 EOF\n";
        assert_eq!(flock_holder(locks, "08:01:99"), Some(4711));
        assert_eq!(flock_holder(locks, "08:01:98"), None);
        assert_eq!(flock_holder("1: FLOCK  ADVISORY  WRITE 0 08:01:99 0 EOF", "08:01:99"), None);
    }
}
