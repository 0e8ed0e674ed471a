//! One log file: written, put aside when it is full or its time is over, opened again when somebody else has moved it.
//!
//! What is put aside gets another name and nothing else happens to it, so no byte is lost or written twice; the next one
//! goes into a new file. Where that cannot be done, the file simply grows on. Of other files only backups are renamed or
//! removed, by names that no other program gives; and the file itself only while its name still means the one that is
//! open.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::rotation::{self, Period};
use crate::output::{LogFile, Rotation, Unit, numbered};
use crate::sys::guarded::Spot;
use crate::sys::logfile::{self, Facts};
use crate::sys::reexec::{Inherited, Keeper};
use crate::sys::{clock, reason};

/// Milliseconds until the next attempt to put a file aside when one has failed.
const HOLD_MS: u64 = 10_000;

/// How often in a row a full file is put aside: the one that has its name by then may be somebody else's, and full too.
const PUT_ASIDE_MAX: u32 = 3;

/// Most backups with the same stamp.
const SAME_MAX: u32 = 10_000;

/// An open log file.
pub(super) struct Log {
    spec: LogFile,
    file: OwnedFd,
    facts: Facts,
    /// What was written last did not end a line.
    mid_line: bool,
    /// Of a file that is rotated by time.
    period: Option<Period>,
    /// It is not to be put aside before.
    held_until: u64,
    /// What went wrong beside the writing, and was not told yet.
    complaint: Option<String>,
}

/// A log file on its way to another image of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct LogState {
    file: i32,
    #[serde(default)]
    mid_line: bool,
    #[serde(default)]
    begin: Option<i64>,
}

impl Log {
    /// Opens a file, or creates it.
    pub(super) fn open(spec: &LogFile) -> io::Result<Log> {
        let file = logfile::open(&Spot::of(&spec.path)?)?;
        let facts = logfile::facts(&file)?;
        Ok(Log::of(spec, file, facts))
    }

    fn of(spec: &LogFile, file: OwnedFd, facts: Facts) -> Log {
        let begin = if facts.size > 0 { facts.modified } else { now() };
        let period = facts.regular.then(|| period(&spec.rotation, begin)).flatten();
        let spec = spec.clone();
        Log { spec, file, facts, mid_line: false, period, held_until: 0, complaint: None }
    }

    /// What another image of the manager needs to go on with it.
    pub(super) fn hand_over(&self, keeper: &mut Keeper) -> LogState {
        LogState {
            file: keeper.keep(self.file.as_fd()),
            mid_line: self.mid_line,
            begin: self.period.map(|period| period.begin),
        }
    }

    /// That of the image before this one.
    pub(super) fn take_over(spec: &LogFile, state: LogState, inherited: &mut Inherited) -> io::Result<Log> {
        let file = inherited.claim(state.file)?;
        let facts = logfile::facts(&file)?;
        let known = state.begin.and_then(|begin| period(&spec.rotation, begin));
        let fresh = Log::of(spec, file, facts);
        Ok(Log { mid_line: state.mid_line, period: known.or(fresh.period), ..fresh })
    }

    /// Is put aside as `spec` says from now on. It is the same file.
    pub(super) fn rotate_by(&mut self, spec: &LogFile) {
        if self.spec != *spec {
            let begin = self.period.map_or_else(now, |period| period.begin);
            self.period = self.facts.regular.then(|| period(&spec.rotation, begin)).flatten();
            self.spec = spec.clone();
            self.held_until = 0;
        }
    }

    /// Device and inode, if it is a regular file.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        self.facts.regular.then_some(self.facts.identity)
    }

    /// What to wait for when there was no room. A regular file has none to wait for.
    pub(super) fn room(&self) -> Option<BorrowedFd<'_>> {
        (!self.facts.regular).then(|| self.file.as_fd())
    }

    /// When its time is over, in milliseconds of [`clock::now_ms`]. An empty file is not put aside, so nobody has to wake
    /// up for it.
    pub(super) fn deadline(&self) -> Option<u64> {
        let period = self.period.filter(|_| self.facts.size > 0)?;
        let left = u64::try_from(period.end * 1000 - clock::wall_ms()).unwrap_or(0);
        Some((clock::now_ms() + left).max(self.held_until))
    }

    /// Puts the file aside if its time is over.
    pub(super) fn tend(&mut self) {
        let (Some(period), Rotation::Time { every, unit, zone, .. }) = (self.period, self.spec.rotation)
        else {
            return;
        };
        let now = now();
        if now < period.end || clock::now_ms() < self.held_until {
            return;
        }
        if self.facts.size == 0 || self.put_aside() {
            self.period = Some(period.next(now, every, unit, &zone));
        }
    }

    /// Writes as much of it as one file takes.
    ///
    /// # Errors
    /// Those of write(2): nothing was written then.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tend();
        let mut fitting = self.fitting(bytes);
        if fitting == 0 {
            // Somebody may have shortened it.
            self.facts.size = logfile::facts(&self.file)?.size;
            fitting = self.fitting(bytes);
        }
        for _ in 0..PUT_ASIDE_MAX {
            if fitting > 0 || !self.put_aside() {
                break;
            }
            fitting = self.fitting(bytes);
        }
        let fitting = if fitting > 0 { fitting } else { bytes.len() };
        let written = logfile::write(&self.file, &bytes[..fitting])?;
        self.facts.size += written as u64;
        self.mid_line = bytes[..written].last().is_some_and(|&byte| byte != b'\n');
        Ok(written)
    }

    fn fitting(&self, bytes: &[u8]) -> usize {
        match self.spec.rotation {
            Rotation::Size { max, .. } if self.facts.regular && clock::now_ms() >= self.held_until => {
                rotation::fitting(self.facts.size, max, self.mid_line, bytes)
            }
            Rotation::Size { .. } | Rotation::Never | Rotation::Time { .. } => bytes.len(),
        }
    }

    /// Opens the file that has the name by now, if that is another one.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let fresh = Log::open(&self.spec)?;
        if fresh.facts.identity != self.facts.identity {
            *self = fresh;
        }
        Ok(())
    }

    /// What went wrong beside the writing, once.
    pub(super) fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Whether there is another, empty file now. If not, the same one is used for a while.
    fn put_aside(&mut self) -> bool {
        let outcome = self.replace();
        if let Err(why) = &outcome {
            self.held_until = clock::now_ms() + HOLD_MS;
            let path = self.spec.path.display();
            self.complaint = Some(format!("cannot rotate {path}: {why}; it grows on"));
        }
        outcome.is_ok()
    }

    fn replace(&mut self) -> Result<(), String> {
        let failed = |error: io::Error| reason(error);
        // Backups stand beside the file itself, not beside a symbolic link to it.
        let spot = Spot::of(&self.spec.path).map_err(failed)?;
        let path = spot.path();
        let found = logfile::facts_at(&spot, &path).map_err(failed)?;
        // Otherwise somebody else has moved it, or we have and could not open another one.
        if found.is_some_and(|found| found.identity == self.facts.identity) {
            self.give_way(&spot, &path).map_err(failed)?;
        }
        let file = logfile::open(&spot).map_err(failed)?;
        self.facts = logfile::facts(&file).map_err(failed)?;
        (self.file, self.mid_line) = (file, false);
        if let Rotation::Time { unit, backups, .. } = self.spec.rotation
            && let Err(error) = prune(&spot, &path, unit, backups)
        {
            self.complaint =
                Some(format!("cannot remove old backups of {}: {}", path.display(), reason(error)));
        }
        Ok(())
    }

    /// Gives the file the name of a backup.
    fn give_way(&self, spot: &Spot, path: &Path) -> io::Result<()> {
        match (self.spec.rotation, self.period) {
            (Rotation::Never, _) | (Rotation::Time { .. }, None) => Ok(()),
            (Rotation::Size { backups: 0, .. } | Rotation::Time { backups: 0, .. }, _) => {
                logfile::remove(spot, path)
            }
            (Rotation::Size { backups, .. }, _) => {
                let mut free = 1;
                while free < backups && logfile::facts_at(spot, &numbered(path, free))?.is_some() {
                    free += 1;
                }
                for number in (1..free).rev() {
                    logfile::rename(spot, &numbered(path, number), &numbered(path, number + 1))?;
                }
                logfile::rename(spot, path, &numbered(path, 1))
            }
            (Rotation::Time { unit, zone, .. }, Some(period)) => {
                let stamped = with_suffix(path, &rotation::stamp(period.begin, unit, &zone));
                let mut backup = stamped.clone();
                let mut number = 0;
                while logfile::facts_at(spot, &backup)?.is_some() {
                    number += 1;
                    if number > SAME_MAX {
                        return Err(io::ErrorKind::AlreadyExists.into());
                    }
                    backup = numbered(&stamped, number);
                }
                logfile::rename(spot, path, &backup)
            }
        }
    }
}

/// Removes the oldest backups of a file that is rotated by time, so that so many are left.
fn prune(spot: &Spot, path: &Path, unit: Unit, keep: u32) -> io::Result<()> {
    let Some(base) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let names = logfile::beside(path)?;
    let names = names.iter().filter_map(|name: &OsString| name.to_str());
    let kept = usize::try_from(keep).unwrap_or(usize::MAX);
    for old in rotation::backups(base, unit, names).into_iter().skip(kept) {
        logfile::remove(spot, &path.with_file_name(old))?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// The time of a file that begins at this moment.
fn period(rotation: &Rotation, begin: i64) -> Option<Period> {
    match *rotation {
        Rotation::Time { every, unit, zone, .. } => Some(Period::beginning(begin, every, unit, &zone)),
        Rotation::Never | Rotation::Size { .. } => None,
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    clock::wall_ms().div_euclid(1000)
}
