//! Files that workers change to show that they live, FIRESTARTER_WATCH_FILE: created before each start, looked at while
//! the worker is there, removed after it. A change is a sign of life like WATCHDOG=1; how long one may be missing is the
//! machine's affair.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use crate::plan::WatchFile;
use crate::supervisor::event::ChildId;
use crate::sys::creds::Credentials;
use crate::sys::watchfile::{self, Stamp};
use crate::sys::{clock, reason};

/// How often a file is looked at in the time that a worker has: a sign that comes in time is seen in time.
const LOOKS: u32 = 4;

/// The file of one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LifeSign {
    #[serde(with = "crate::octets")]
    path: PathBuf,
    stamp: Stamp,
    /// Milliseconds between two looks.
    every: u64,
    /// When to look again, in milliseconds of [`clock::now_ms`].
    next: u64,
}

/// Where the file of a worker lies, and what stands in it.
///
/// # Errors
/// There is no directory for it.
pub(super) fn place(
    place: &WatchFile,
    control_path: Option<&OsStr>,
    group: &str,
    (child, manager): (ChildId, i32),
) -> io::Result<(PathBuf, String)> {
    let directory = match place {
        WatchFile::In(directory) => directory.as_path(),
        WatchFile::BesideControl => beside(control_path)?,
    };
    let path = directory.join(format!("firestarter-process-{group}-{manager}-{}.id", child.0));
    Ok((watchfile::untaken(path), format!("{group}-{}", child.0)))
}

impl LifeSign {
    /// Creates the file of a worker that has `span` to change it.
    ///
    /// # Errors
    /// As for [`watchfile::create`].
    pub(super) fn create(
        (path, text): (PathBuf, String),
        span: Duration,
        owner: Option<&Credentials>,
    ) -> io::Result<LifeSign> {
        let stamp = watchfile::create(&path, &text, owner)?;
        let every = u64::try_from((span / LOOKS).as_millis()).unwrap_or(u64::MAX).max(1);
        Ok(LifeSign { path, stamp, every, next: clock::now_ms().saturating_add(every) })
    }

    /// When to look at it.
    pub(super) fn deadline(&self) -> u64 {
        self.next
    }

    /// Looks, if it is time to. True if the worker has shown that it lives since the last look.
    pub(super) fn seen(&mut self, now: u64) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.saturating_add(self.every);
        // A file that is gone or cannot be looked at is no sign of life.
        let Ok(stamp) = watchfile::look(&self.path) else { return false };
        std::mem::replace(&mut self.stamp, stamp) != stamp
    }

    /// Removes the file.
    fn remove(&self) -> io::Result<()> {
        watchfile::remove(&self.path)
    }

    /// Removes the file of a worker that is gone, or did not come.
    pub(super) fn clear(&self, journal: &mut Journal) {
        if let Err(error) = self.remove() {
            journal.complain(&format!("cannot remove {}: {}", self.path.display(), reason(error)));
        }
    }
}

/// The directory of the control socket that workers are told of: they can get there.
fn beside(control_path: Option<&OsStr>) -> io::Result<&Path> {
    let path = control_path.filter(|path| !path.as_bytes().starts_with(b"@")).map(Path::new);
    path.and_then(Path::parent).ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;

    // pitfall 33
    #[test]
    fn a_change_is_a_sign_of_life_also_to_an_earlier_time() {
        let path = std::env::temp_dir().join(format!("remuda-{}-life-sign", std::process::id()));
        // Left behind by somebody.
        fs::write(&path, "old").unwrap();
        let place = (path.clone(), "web-1".to_owned());
        let mut sign = LifeSign::create(place, Duration::from_secs(8), None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "web-1");
        let first = sign.deadline();
        assert!(!sign.seen(first - 1));
        assert!(!sign.seen(first));
        assert_eq!(sign.deadline(), first + 2_000);
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!sign.seen(first + 1), "it is not time to look");
        assert!(sign.seen(first + 2_000));
        assert!(!sign.seen(first + 4_000), "once");
        sign.remove().unwrap();
        assert!(!sign.seen(first + 6_000));
        sign.remove().unwrap();
    }

    #[test]
    fn the_file_lies_where_the_plan_says() {
        let at = |file: &WatchFile, control: Option<&str>| {
            place(file, control.map(OsStr::new), "web", (ChildId(3), 7)).map(|(path, _)| path)
        };
        let path = at(&WatchFile::In("/tmp".into()), None).unwrap();
        assert_eq!(path, Path::new("/tmp/firestarter-process-web-7-3.id"));
        let path = at(&WatchFile::BesideControl, Some("/run/remuda/web.sock")).unwrap();
        assert_eq!(path, Path::new("/run/remuda/firestarter-process-web-7-3.id"));
        assert!(at(&WatchFile::BesideControl, Some("@web")).is_err());
        assert!(at(&WatchFile::BesideControl, None).is_err());
    }
}
