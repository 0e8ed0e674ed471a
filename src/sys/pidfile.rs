//! The pid file: one number for scripts and service managers, written at once and whole.
//!
//! As with every lock here ([`super::lock`]), a lock on the file itself says that its owner runs; the number only says
//! who. A file of a dead owner is replaced whatever it holds, even if its number is alive again or our own.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::lock::{self, LockedFile};
use super::reap;
use super::reason;
use super::reexec::{Inherited, Keeper};
use crate::error::{Error, Result};
use crate::signame::Signal;

/// How often the file may change hands while we look at it before that is an error.
const RETRIES: u32 = 100;

/// A pid file with our number in it, ours until [`PidFile::remove`] or the end of this process.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
}

impl PidFile {
    /// Writes our pid and a line feed to `path`, mode 0644: to a new file first, which then takes its place. Refuses if
    /// the owner of the file there runs, or if what is there is no regular file.
    pub fn write(path: &Path) -> Result<PidFile> {
        let failed = |why: String| Error::failed(format!("cannot write pid file {}: {why}", path.display()));
        let refused = |pid: Option<i32>| match pid {
            Some(pid) => failed(format!("its owner is running (pid {pid})")),
            None => failed("its owner is running".into()),
        };
        let temporary = temporary_path(path).ok_or_else(|| failed("not the name of a file".into()))?;
        for _ in 0..RETRIES {
            let earlier = match open_earlier(path) {
                Ok(earlier) => earlier,
                Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                    return Err(failed("it is a symbolic link".into()));
                }
                Err(error) => return Err(failed(reason(error))),
            };
            if let Some(mut earlier) = earlier {
                if !earlier.metadata().map_err(|error| failed(reason(error)))?.is_file() {
                    return Err(failed("there is something else than a regular file".into()));
                }
                if !lock::try_lock(&earlier).map_err(|error| failed(reason(error)))? {
                    return Err(refused(lock::holder(&mut earlier)));
                }
                if !lock::is_at(&earlier, path).map_err(|error| failed(reason(error)))? {
                    continue;
                }
                // We hold the lock of the file we replace: nobody else replaces it meanwhile.
                let file = create(&temporary).map_err(|error| failed(reason(error)))?;
                fs::rename(&temporary, path).map_err(|error| discard(&temporary, failed(reason(error))))?;
                return Ok(PidFile { file, path: path.to_owned() });
            }
            // Without a file there is no lock to hold: link(2), other than rename(2), leaves a file alone that another
            // process has put there since.
            let file = create(&temporary).map_err(|error| failed(reason(error)))?;
            let linked = fs::hard_link(&temporary, path);
            let removed = fs::remove_file(&temporary);
            match linked {
                Ok(()) => {
                    removed.map_err(|error| failed(reason(error)))?;
                    return Ok(PidFile { file, path: path.to_owned() });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed(reason(error))),
            }
        }
        Err(failed("it is replaced again and again".into()))
    }

    /// What another image of this process needs to go on with it.
    pub fn hand_over(&self, keeper: &mut Keeper) -> LockedFile {
        LockedFile::hand_over(&self.file, &self.path, keeper)
    }

    /// The file of the image before this one.
    pub fn take_over(state: LockedFile, inherited: &mut Inherited) -> io::Result<PidFile> {
        let (file, path) = state.take_over(inherited)?;
        Ok(PidFile { file, path })
    }

    /// Removes the file if it is still ours.
    pub fn remove(self) -> io::Result<()> {
        lock::remove_if_ours(&self.file, &self.path)
    }
}

/// The owner of a pid file, seen by another process.
#[derive(Debug)]
pub struct Owner {
    file: File,
    path: PathBuf,
    pid: i32,
}

impl Owner {
    /// Whoever runs and holds the file.
    ///
    /// # Errors
    /// There is none: no file, no number in it, or nobody who holds it. Or somebody else than the number says.
    pub fn of(path: &Path) -> Result<Owner> {
        let failed = |why: String| Error::failed(format!("pid file {}: {why}", path.display()));
        let file = open_earlier(path).map_err(|error| failed(reason(error)))?;
        let file = file.ok_or_else(|| failed("it does not exist".into()))?;
        let text = io::read_to_string(&file).map_err(|error| failed(reason(error)))?;
        let pid = text.trim_end().parse().ok().filter(|&pid| pid > 0);
        let pid = pid.ok_or_else(|| failed("there is no pid in it".into()))?;
        let owner = Owner { file, path: path.to_owned(), pid };
        match owner.lives()? {
            true => match lock::known_holder(&owner.file) {
                Some(holder) if holder != pid => {
                    Err(failed(format!("it names pid {pid}, and pid {holder} holds it")))
                }
                _ => Ok(owner),
            },
            false => Err(failed(format!("its owner is gone (pid {pid})"))),
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// That cannot be told.
    pub fn lives(&self) -> Result<bool> {
        lock::try_lock(&self.file).map(|locked| !locked).map_err(|error| self.untold(error))
    }

    /// Waits for its end, however long that takes.
    ///
    /// # Errors
    /// That cannot be told.
    pub fn wait_gone(&self) -> Result<()> {
        lock::wait(&self.file).map_err(|error| self.untold(error))
    }

    fn untold(&self, error: io::Error) -> Error {
        Error::failed(format!("pid file {}: {}", self.path.display(), reason(error)))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is another user's, or gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let sent = reap::kill(self.pid, signal);
        sent.map_err(|error| {
            Error::failed(format!("cannot send {signal} to pid {}: {}", self.pid, reason(error)))
        })
    }
}

/// Beside the file, so that rename(2) and link(2) stay within one file system.
pub(super) fn temporary_path(path: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name()?);
    name.push(format!(".{}", std::process::id()));
    Some(path.with_file_name(name))
}

fn open_earlier(path: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A new file, mode 0644 but for what the umask takes. One of this name can only be a leftover of a dead process that had
/// our pid.
pub(super) fn new_file(temporary: &Path) -> io::Result<File> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW;
    OpenOptions::new().write(true).create_new(true).mode(0o644).custom_flags(flags).open(temporary)
}

/// A new file, locked before it gets its name, with our pid in it.
fn create(temporary: &Path) -> io::Result<File> {
    let mut file = new_file(temporary)?;
    let filled = lock::try_lock(&file)
        // The umask had a say in the mode of creation.
        .and_then(|_| file.set_permissions(Permissions::from_mode(0o644)))
        .and_then(|()| lock::write_pid(&mut file));
    match filled {
        Ok(()) => Ok(file),
        Err(error) => Err(discard(temporary, error)),
    }
}

/// Removes the temporary file on the way out. What stopped us is the better error, whether that succeeds or not.
pub(super) fn discard<E>(temporary: &Path, error: E) -> E {
    let _ = fs::remove_file(temporary);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::scratch;

    fn our_line() -> String {
        format!("{}\n", std::process::id())
    }

    fn names(directory: &Path) -> Vec<std::ffi::OsString> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn it_holds_our_number_for_all_to_read_and_goes_with_us() {
        let directory = scratch("pidfile");
        let path = directory.join("web.pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), our_line());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(names(&directory), ["web.pid"]);
        file.remove().unwrap();
        assert!(names(&directory).is_empty());
    }

    // pitfall 21
    #[test]
    fn the_file_of_a_dead_owner_is_replaced_whatever_it_holds() {
        let directory = scratch("pidfile-stale");
        let path = directory.join("web.pid");
        for content in ["", "garbage", "1\n", &our_line()] {
            fs::write(&path, content).unwrap();
            let file = PidFile::write(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), our_line());
            assert_eq!(names(&directory), ["web.pid"]);
            file.remove().unwrap();
        }
    }

    #[test]
    fn a_running_owner_keeps_it_and_is_named() {
        let directory = scratch("pidfile-live");
        let path = directory.join("web.pid");
        let _file = PidFile::write(&path).unwrap();
        let error = PidFile::write(&path).unwrap_err();
        assert!(
            error.message.ends_with(&format!("its owner is running (pid {})", std::process::id())),
            "{error}"
        );
    }

    // pitfall 21
    #[test]
    fn whom_it_names_without_holding_it_is_not_its_owner() {
        let directory = scratch("pidfile-named");
        let path = directory.join("pid");
        fs::write(&path, "1\n").unwrap();
        let file = File::open(&path).unwrap();
        assert!(lock::try_lock(&file).unwrap());
        let told = Owner::of(&path).unwrap_err().message;
        let us = std::process::id();
        assert!(told.ends_with(&format!("it names pid 1, and pid {us} holds it")), "{told}");
        fs::write(&path, format!("{us}\n")).unwrap();
        assert_eq!(Owner::of(&path).unwrap().pid, us.cast_signed());
    }

    // pitfall 21
    #[test]
    fn the_file_of_a_successor_stays() {
        let directory = scratch("pidfile-successor");
        let path = directory.join("web.pid");
        let first = PidFile::write(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = PidFile::write(&path).unwrap();
        first.remove().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn links_and_devices_are_not_replaced() {
        let directory = scratch("pidfile-link");
        let (target, link) = (directory.join("target"), directory.join("web.pid"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(PidFile::write(&link).unwrap_err().message.ends_with("it is a symbolic link"));
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert!(PidFile::write(Path::new("/dev/null")).is_err());
        assert!(PidFile::write(&directory).is_err());
        assert!(PidFile::write(&directory.join("none/web.pid")).is_err());
    }
}
