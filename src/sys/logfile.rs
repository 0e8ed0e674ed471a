//! Files that grow: open(2), fstat(2), stat(2), write(2), rename(2), unlink(2), readdir(3).
//!
//! A log file is opened to be appended to, so that whoever else writes to it or shortens it does no harm, and its mode is
//! what the umask leaves of 0666. What is no regular file, such as a terminal or a FIFO, is opened so that writing to it
//! never waits.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::guarded::Spot;
use super::{fault, outlet, reason};

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Only such a file is rotated.
    pub regular: bool,
    /// Bytes in it.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub modified: i64,
    /// Device and inode: no other file has both.
    pub identity: (u64, u64),
}

/// Opens a file, or creates it. A FIFO is opened for reading as well, as far as that is permitted: then it is there before its
/// reader is, and after one, and what nobody reads fills it.
pub fn open(spot: &Spot) -> io::Result<OwnedFd> {
    let is_fifo = |found: &FileStat| found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFIFO.bits();
    let open_as = |access: OFlag| spot.open(access | OFlag::O_APPEND, 0o666).map(OwnedFd::from);
    let both = spot.look(spot.name())?.as_ref().is_some_and(is_fifo);
    let opened = open_as(if both { OFlag::O_RDWR } else { OFlag::O_WRONLY | OFlag::O_CREAT });
    match opened {
        Err(error) if both && error.raw_os_error() == Some(libc::EACCES) => open_as(OFlag::O_WRONLY),
        other => other,
    }
}

/// What is known of an open file.
pub fn facts(file: &OwnedFd) -> io::Result<Facts> {
    fault::hit("fstat")?;
    Ok(Facts::of(&fstat(file)?))
}

/// What is known of a file beside another, by the last name of this path; nothing if there is none.
pub fn facts_at(spot: &Spot, path: &Path) -> io::Result<Option<Facts>> {
    Ok(spot.look(last_name(path)?)?.map(|found| Facts::of(&found)))
}

impl Facts {
    /// The types of these numbers depend on the machine.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    fn of(found: &FileStat) -> Facts {
        Facts {
            regular: found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits(),
            size: u64::try_from(found.st_size).unwrap_or(0),
            modified: i64::from(found.st_mtime),
            identity: (found.st_dev as u64, found.st_ino as u64),
        }
    }
}

/// Writes as much as there is room for.
pub fn write(file: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    outlet::write(file, bytes)
}

/// Gives a file beside another the last name of a path in place of that of another path; who has that name already is no
/// more.
pub fn rename(spot: &Spot, from: &Path, to: &Path) -> io::Result<()> {
    spot.rename(last_name(from)?, last_name(to)?)
}

/// Removes a file beside another.
pub fn remove(spot: &Spot, path: &Path) -> io::Result<()> {
    spot.remove(last_name(path)?)
}

fn last_name(path: &Path) -> io::Result<&OsStr> {
    path.file_name().ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

/// The names of the regular files beside a file.
pub fn beside(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    fault::hit("opendir")?;
    for entry in fs::read_dir(directory(path))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

/// Why a file could not be opened or created, as far as that can be told without doing it.
pub fn obstacle(path: &Path) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Some(format!("cannot write {shown}: it is a directory")),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = directory(path);
            match fs::metadata(directory) {
                Ok(found) if found.is_dir() => None,
                Ok(_) => Some(format!("cannot create {shown}: {} is no directory", directory.display())),
                Err(error) => {
                    Some(format!("cannot create {shown}: {}: {}", directory.display(), reason(error)))
                }
            }
        }
        Err(error) => Some(format!("cannot write {shown}: {}", reason(error))),
    }
}

/// The directory in which a file is.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    #[test]
    fn what_is_written_is_added_at_the_end() {
        let directory = scratch("logfile");
        let path = directory.join("log");
        let spot = Spot::of(&path).unwrap();
        let (one, other) = (open(&spot).unwrap(), open(&spot).unwrap());
        assert_eq!(write(&one, b"one\n").unwrap(), 4);
        assert_eq!(write(&other, b"two\n").unwrap(), 4);
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        let found = facts(&one).unwrap();
        assert!(found.regular && found.size == 8 && found.modified > 0);
        assert_eq!(facts_at(&spot, &path).unwrap(), Some(found));

        let backup = directory.join("log.1");
        rename(&spot, &path, &backup).unwrap();
        assert_eq!(facts_at(&spot, &path).unwrap(), None);
        fs::create_dir(directory.join("log.2")).unwrap();
        assert_eq!(beside(&path).unwrap(), ["log.1"]);
        remove(&spot, &backup).unwrap();
        assert!(beside(&path).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_known_before() {
        let directory = scratch("logfile-obstacle");
        let shown = directory.display();
        fs::write(directory.join("file"), "").unwrap();
        assert_eq!(obstacle(&directory.join("file")), None);
        assert_eq!(obstacle(&directory.join("new")), None);
        assert_eq!(obstacle(Path::new("new")), None);
        let told = |path: &str| obstacle(&directory.join(path)).unwrap();
        assert_eq!(told(""), format!("cannot write {shown}/: it is a directory"));
        assert_eq!(
            told("none/log"),
            format!("cannot create {shown}/none/log: {shown}/none: no such file or directory")
        );
        assert_eq!(told("file/log"), format!("cannot write {shown}/file/log: not a directory"));
    }
}
