//! A file by whose change a worker shows that it lives.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, fchown, geteuid};
use serde::{Deserialize, Serialize};

use super::creds::Credentials;
use super::fault;

/// What a change of the file changes: its modification time, in seconds and nanoseconds. It says nothing by itself, as
/// the clock may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(i64, i64);

/// The path of a file that is to be created; where somebody has put something else there beforehand, one beside it that
/// nobody can know beforehand.
pub fn untaken(path: PathBuf) -> PathBuf {
    match fs::symlink_metadata(&path) {
        Ok(found) if !found.is_file() || found.uid() != geteuid().as_raw() => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{:016x}", RandomState::new().hash_one(&path)));
            path.with_file_name(name)
        }
        Ok(_) | Err(_) => path,
    }
}

/// Creates the file with this text, mode 0600, for a worker with these credentials, or with ours. One that is there
/// already is of somebody who did not remove it, and is replaced.
///
/// # Errors
/// Those of open(2), write(2) and fchown(2); then there is no file.
pub fn create(path: &Path, text: &str, owner: Option<&Credentials>) -> io::Result<Stamp> {
    fault::hit("open")?;
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let written = write(path, text, owner);
    if written.is_err() {
        // Why it could not be written is what somebody has to hear of.
        let _ = fs::remove_file(path);
    }
    written
}

fn write(path: &Path, text: &str, owner: Option<&Credentials>) -> io::Result<Stamp> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(owner) = owner {
        fchown(file.as_fd(), Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    let found = file.metadata()?;
    Ok(Stamp(found.mtime(), found.mtime_nsec()))
}

/// How the file is now.
///
/// # Errors
/// Those of lstat(2).
pub fn look(path: &Path) -> io::Result<Stamp> {
    fault::hit("stat")?;
    let found = fs::symlink_metadata(path)?;
    Ok(Stamp(found.mtime(), found.mtime_nsec()))
}

/// Removes the file. Its worker may have done so.
///
/// # Errors
/// Those of unlink(2).
pub fn remove(path: &Path) -> io::Result<()> {
    fault::hit("unlink")?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
