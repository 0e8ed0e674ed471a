//! Files in places where others may write, opened so that nobody leads us to what is not theirs to give.
//!
//! A path is walked name by name. A symbolic link that neither root nor we have made leads only to files of its maker; and in
//! a directory that others may write a file has one name, and nobody else's owner where everybody may create one. What was
//! found is looked at after it was opened, and nothing is shortened before.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, stat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::fault;

/// As many as the kernel follows.
const LINKS_MAX: u32 = 40;

/// Where a file is or is to be: an open directory, and a name in it.
#[derive(Debug)]
pub struct Spot {
    directory: OwnedFd,
    /// The directory, all links resolved.
    shown: PathBuf,
    name: OsString,
    /// A link of this user has led here.
    led_by: Option<u32>,
    /// The name is one of the kernel's own links (`/proc/self/fd/3`), which only the kernel can follow.
    magic: bool,
}

impl Spot {
    /// Where this path leads.
    ///
    /// # Errors
    /// Those of open(2) for its directories; ELOOP.
    pub fn of(path: &Path) -> io::Result<Spot> {
        Spot::walk(path, true)
    }

    /// The same, without following a link of the last name.
    pub fn of_name(path: &Path) -> io::Result<Spot> {
        Spot::walk(path, false)
    }

    fn walk(path: &Path, last_too: bool) -> io::Result<Spot> {
        let mut left: Vec<OsString> = names(path);
        let (mut directory, mut shown) = start(path)?;
        let (mut led_by, mut links) = (None, 0);
        loop {
            let Some(name) = left.pop() else {
                return Err(Errno::EISDIR.into());
            };
            let last = left.is_empty();
            if last && (!last_too || name == "..") {
                return Ok(Spot { directory, shown, name, led_by, magic: false });
            }
            let found = match fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) if last => None,
                found => Some(found?),
            };
            let Some(link) = found.filter(|found| kind(found) == SFlag::S_IFLNK) else {
                if last {
                    return Ok(Spot { directory, shown, name, led_by, magic: false });
                }
                directory = enter(&directory, &name)?;
                push(&mut shown, &name);
                continue;
            };
            if is_procfs(&directory) {
                if last {
                    return Ok(Spot { directory, shown, name, led_by, magic: true });
                }
                // As `/proc/self/root`: nobody but the kernel makes links there.
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                directory = openat(&directory, name.as_os_str(), flags, Mode::empty())?;
                push(&mut shown, &name);
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::ELOOP.into());
            }
            if !is_trusted(link.st_uid) {
                led_by = Some(link.st_uid);
            }
            let target = PathBuf::from(readlinkat(&directory, name.as_os_str())?);
            left.extend(names(&target));
            if target.is_absolute() {
                (directory, shown) = start(&target)?;
            }
        }
    }

    /// The path without links.
    pub fn path(&self) -> PathBuf {
        self.shown.join(&self.name)
    }

    /// What is known of the file, if there is one. A link is one of its own.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn look(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        let flags = if self.magic { AtFlags::empty() } else { AtFlags::AT_SYMLINK_NOFOLLOW };
        fault::hit("stat")?;
        match fstatat(&self.directory, name, flags) {
            Err(Errno::ENOENT) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// The last name.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Opens the file, close-on-exec and without waiting for anybody. `mode` is that of a file that is created.
    ///
    /// # Errors
    /// Those of open(2); and a sentence about why it is not opened although it could be.
    pub fn open(&self, flags: OFlag, mode: u32) -> io::Result<File> {
        let around = fstat(&self.directory)?;
        let mut flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        flags.set(OFlag::O_NOFOLLOW, !self.magic);
        if self.led_by.is_some_and(|uid| around.st_uid != uid) {
            flags.remove(OFlag::O_CREAT);
        }
        fault::hit("open")?;
        let file = openat(&self.directory, self.name.as_os_str(), flags, Mode::from_bits_retain(mode));
        let file = File::from(file.map_err(|errno| match self.led_by {
            Some(uid) if errno == Errno::ENOENT => io::Error::other(format!(
                "it is a symbolic link of uid {uid} to {}, which is not theirs",
                self.path().display()
            )),
            _ => errno.into(),
        })?);
        match self.doubt(&around, &fstat(&file)?) {
            Some(doubt) if !self.magic => Err(io::Error::other(doubt)),
            _ => Ok(file),
        }
    }

    /// Why a file that was found there is not to be used.
    fn doubt(&self, around: &FileStat, found: &FileStat) -> Option<String> {
        let path = self.path();
        if let Some(uid) = self.led_by.filter(|&uid| found.st_uid != uid) {
            let path = path.display();
            return Some(format!("it is a symbolic link of uid {uid} to {path}, which is not theirs"));
        }
        let writers = writers(around)?;
        if kind(found) == SFlag::S_IFREG && found.st_nlink > 1 {
            return Some(format!(
                "it has {} names (hard links), and {writers} may have made one",
                found.st_nlink
            ));
        }
        let sticky = around.st_mode & Mode::S_ISVTX.bits() != 0;
        let known = is_trusted(found.st_uid) || found.st_uid == around.st_uid;
        (sticky && !known)
            .then(|| format!("it belongs to uid {}, in a directory where {writers} may write", found.st_uid))
    }

    /// Gives a file beside it another name; who has that name already is no more.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fault::hit("rename")?;
        Ok(renameat(&self.directory, from, &self.directory, to)?)
    }

    /// Removes a file beside it.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        fault::hit("unlink")?;
        Ok(unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir)?)
    }
}

/// Who but root and us may write in the directory of this path: `uid 1000`, `its group`, `everybody`. Nothing if nobody may,
/// or if there is no such directory.
pub fn exposure(path: &Path) -> Option<String> {
    writers(&fstat(Spot::of(path).ok()?.directory.as_fd()).ok()?)
}

fn writers(directory: &FileStat) -> Option<String> {
    let others = |mode: Mode| directory.st_mode & mode.bits() != 0;
    match directory.st_uid {
        uid if !is_trusted(uid) => Some(format!("uid {uid}")),
        _ if others(Mode::S_IWOTH) => Some("everybody".to_owned()),
        _ if others(Mode::S_IWGRP) => Some(format!("group {}", directory.st_gid)),
        _ => None,
    }
}

/// Root, we, and the owner of `/`: in a user namespace that is root outside, by the number of all who have none here.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw() || stat("/").is_ok_and(|root| root.st_uid == uid)
}

/// The names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Where a path begins.
fn start(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let first = if path.is_absolute() { "/" } else { "." };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::open(first, flags, Mode::empty())?;
    let shown = if path.is_absolute() { PathBuf::from("/") } else { std::env::current_dir()? };
    Ok((directory, shown))
}

fn enter(directory: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

fn push(shown: &mut PathBuf, name: &OsStr) {
    if name == ".." {
        shown.pop();
    } else {
        shown.push(name);
    }
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

fn is_procfs(directory: &OwnedFd) -> bool {
    nix::sys::statfs::fstatfs(directory)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::super::tests::scratch;
    use super::*;

    fn read(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        Spot::of(path)?.open(OFlag::O_RDONLY, 0)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn links_of_ours_lead_where_they_say() {
        let directory = scratch("guarded-ours");
        fs::create_dir(directory.join("release")).unwrap();
        fs::write(directory.join("release/env"), "A=1").unwrap();
        symlink("release", directory.join("current")).unwrap();
        symlink("current/../current/env", directory.join("env")).unwrap();
        symlink(directory.join("env"), directory.join("absolute")).unwrap();
        for path in ["release/env", "current/env", "env", "absolute", "current/../env"] {
            assert_eq!(read(&directory.join(path)).unwrap(), "A=1", "{path}");
            assert_eq!(Spot::of(&directory.join(path)).unwrap().path(), directory.join("release/env"));
        }
        symlink("loop", directory.join("loop")).unwrap();
        assert_eq!(read(&directory.join("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(read(&directory.join("none/env")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(&directory.join("env/none")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(Spot::of(Path::new("/")).is_err());
        let file = File::open(directory.join("env")).unwrap();
        let number = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        assert_eq!(read(Path::new(&number)).unwrap(), "A=1", "a link of the kernel's");
    }

    #[test]
    fn a_link_of_somebody_else_leads_to_what_is_theirs() {
        if !geteuid().is_root() {
            return;
        }
        let directory = scratch("guarded-theirs");
        fs::write(directory.join("secret"), "root's").unwrap();
        let theirs = directory.join("app");
        fs::create_dir(&theirs).unwrap();
        symlink("../secret", theirs.join("env")).unwrap();
        symlink("../new", theirs.join("log")).unwrap();
        symlink("..", theirs.join("current")).unwrap();
        fs::write(theirs.join("own"), "their own").unwrap();
        symlink("own", theirs.join("to-own")).unwrap();
        for name in ["env", "log", "current", "own", "to-own", ""] {
            std::os::unix::fs::lchown(theirs.join(name), Some(12345), Some(12345)).unwrap();
        }
        let told = |path: &str| read(&theirs.join(path)).unwrap_err().to_string();
        let secret = directory.join("secret").display().to_string();
        assert_eq!(
            told("env"),
            format!("it is a symbolic link of uid 12345 to {secret}, which is not theirs")
        );
        assert_eq!(told("current/secret"), told("env"));
        assert_eq!(read(&theirs.join("to-own")).unwrap(), "their own");
        let log = Spot::of(&theirs.join("log")).unwrap();
        log.open(OFlag::O_WRONLY | OFlag::O_CREAT, 0o600).unwrap_err();
        assert!(!directory.join("new").exists());
        // A link of root's is root's word.
        fs::remove_file(theirs.join("env")).unwrap();
        symlink("../secret", theirs.join("env")).unwrap();
        assert_eq!(read(&theirs.join("env")).unwrap(), "root's");
        fs::hard_link(directory.join("secret"), theirs.join("hard")).unwrap();
        assert_eq!(told("hard"), "it has 2 names (hard links), and uid 12345 may have made one");
        assert_eq!(exposure(&theirs.join("env")), None, "root's link leads out of it");
        assert_eq!(exposure(&theirs.join("own")).unwrap(), "uid 12345");
    }

    #[test]
    fn where_everybody_may_write_a_file_of_somebody_else_is_not_used() {
        if !geteuid().is_root() {
            return;
        }
        let directory = scratch("guarded-sticky");
        let path = directory.join("env");
        fs::write(&path, "A=1").unwrap();
        chown(&path, Some(12345), None).unwrap();
        assert_eq!(read(&path).unwrap(), "A=1", "nobody else may write here: somebody has given it away");
        fs::set_permissions(&*directory, fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            "it belongs to uid 12345, in a directory where everybody may write"
        );
        chown(&path, Some(0), None).unwrap();
        assert_eq!(read(&path).unwrap(), "A=1");
    }
}
