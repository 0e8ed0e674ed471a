//! What becomes of what workers write to their standard output and standard error: where it goes, how files are rotated,
//! and how users write that. Pure.
//!
//! ```text
//! inherit                             the manager's own descriptor
//! null  /dev/null                     nowhere
//! /dev/stdout  /dev/stderr            the manager's own descriptor 1 or 2
//! syslog                              the system's log, as GROUP[PID]
//! PATH                                a file; it has a / in it
//! size:MAX:BACKUPS:PATH               the same, rotated before it is longer than MAX
//! time:N:UNIT:ZONE:BACKUPS:PATH       the same, rotated each N seconds, minutes, hours, days, or at midnight
//! prefix  prefix:TARGET               lines that begin with `GROUP[SLOT] `, to /dev/stdout or one of the four above
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::values;

/// What becomes of both streams of the workers of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Output {
    /// Where standard output goes.
    pub stdout: Target,
    /// Where standard error goes. If to the same target, both share a pipe and keep their order.
    pub stderr: Target,
    /// What happens where a target does not take what there is.
    pub overflow: Overflow,
}

impl Output {
    /// Both streams to one target.
    pub fn both(target: Target) -> Output {
        Output { stdout: target.clone(), stderr: target, overflow: Overflow::default() }
    }

    /// Both targets.
    pub fn targets(&self) -> [&Target; 2] {
        [&self.stdout, &self.stderr]
    }
}

/// What becomes of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Workers have the manager's own descriptor of this number.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// The manager's own log, line by line with the pid before it. Where that takes no more for the moment, workers wait
    /// as they would on any full pipe.
    Log,
    /// The system's log, `syslog(3)`, line by line.
    Syslog,
    /// A place, byte for byte.
    Bytes(Place),
    /// A place, line by line, each with `GROUP[SLOT] ` before it.
    Lines(Place),
}

impl Target {
    /// The place that the manager writes to. None where workers write by themselves, or to a log.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Target::Bytes(place @ Place::File(_)) | Target::Lines(place) => Some(place),
            Target::Bytes(Place::Stdout | Place::Stderr) => None,
            Target::Inherit | Target::Null | Target::Log | Target::Syslog => None,
        }
    }

    /// The file that it leads to.
    pub fn file(&self) -> Option<&LogFile> {
        match self.place() {
            Some(Place::File(file)) => Some(file),
            Some(Place::Stdout | Place::Stderr) | None => None,
        }
    }

    /// Why output cannot go here and there at the same time, if it cannot.
    pub fn clash(&self, other: &Target) -> Option<String> {
        self.file()?.clash(other.file()?)
    }
}

/// Where bytes are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The manager's standard output.
    Stdout,
    /// The manager's standard error.
    Stderr,
    /// A file.
    File(LogFile),
}

impl Place {
    /// Whether both are the same place, however it is rotated.
    pub fn is_same(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::File(one), Place::File(other)) => one.path == other.path,
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Stdout => f.write_str("standard output"),
            Place::Stderr => f.write_str("standard error"),
            Place::File(file) => file.path.display().fmt(f),
        }
    }
}

/// A file that lines of workers are added to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// As written: relative to the working directory of the manager.
    #[serde(with = "crate::octets")]
    pub path: PathBuf,
    /// When another one is begun. Means nothing for what is no regular file.
    pub rotation: Rotation,
}

impl LogFile {
    /// Why these two cannot both be written, if they cannot.
    pub fn clash(&self, other: &LogFile) -> Option<String> {
        let backup_of = |one: &LogFile, other: &LogFile| match one.rotation {
            Rotation::Size { backups, .. } => {
                (1..=backups).any(|number| numbered(&one.path, number) == other.path)
            }
            Rotation::Never | Rotation::Time { .. } => false,
        };
        let (path, theirs) = (self.path.display(), other.path.display());
        if self.path == other.path && self.rotation != other.rotation {
            Some(format!("{path} is to be rotated in two ways"))
        } else if backup_of(self, other) {
            Some(format!("{theirs} is a backup of {path}"))
        } else if backup_of(other, self) {
            Some(format!("{path} is a backup of {theirs}"))
        } else {
            None
        }
    }
}

/// The name of a backup of a file that is rotated by size: 1 is the latest.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// When a file is put aside and another one begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rotation {
    /// Never; others may do it, and then ask for the files to be opened again.
    Never,
    /// Before it is longer than so many bytes. The latest backup is `PATH.1`.
    Size {
        /// Bytes.
        max: u64,
        /// How many backups are kept.
        backups: u32,
    },
    /// When a time is over. The name of a backup tells when its time began.
    Time {
        /// So many units; at midnight it means nothing.
        every: u32,
        /// Of this length.
        unit: Unit,
        /// What midnight is, and the time in names.
        zone: Zone,
        /// How many backups are kept.
        backups: u32,
    },
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
    /// From one midnight to the next.
    Midnight,
}

/// By whose clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Zone {
    /// Coordinated universal time.
    Utc,
    /// That of TZ, else of the machine.
    Local,
}

/// What happens where a target does not take what workers write: a full disk, a reader that has stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// It is dropped and counted.
    #[default]
    Drop,
    /// Workers wait.
    Block,
}

/// Smallest file that is rotated by size, in bytes: one page of text is no log.
const SIZE_MIN: u64 = 1024;

/// Most backups.
const BACKUPS_MAX: u32 = 1000;

/// Words for both targets of both streams.
const WORDS: [(&str, Target); 3] =
    [("inherit", Target::Inherit), ("null", Target::Null), ("syslog", Target::Syslog)];

/// Reads a target.
///
/// # Errors
/// A sentence that says what is wrong with `text` and what would be right.
pub fn parse(text: &str) -> Result<Target> {
    if let Some((_, target)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(target.clone());
    }
    match text.strip_prefix("prefix:") {
        _ if text == "prefix" => Ok(Target::Lines(Place::Stdout)),
        Some(rest) => Ok(place(rest)?.map_or(Target::Null, Target::Lines)),
        None => Ok(place(text)?.map_or(Target::Null, Target::Bytes)),
    }
}

/// A place, or nothing for /dev/null.
fn place(text: &str) -> Result<Option<Place>> {
    let (path, rotation) = match text.split_once(':') {
        Some(("size", rest)) => by_size(rest).ok_or_else(|| form(text, "size:MAX:BACKUPS:PATH"))??,
        Some(("time", rest)) => {
            by_time(rest).ok_or_else(|| form(text, "time:N:UNIT:ZONE:BACKUPS:PATH"))??
        }
        _ if !text.contains('/') => {
            return Err(Error::usage(format!(
                "'{text}' is neither inherit, null, syslog or prefix, nor a path with a / in it"
            )));
        }
        _ => (text, Rotation::Never),
    };
    Ok(match path {
        "/dev/null" => None,
        "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Place::Stdout),
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Place::Stderr),
        _ if path.ends_with('/') => return Err(Error::usage(format!("'{path}' is a directory"))),
        path => Some(Place::File(LogFile { path: values::path(path.into())?, rotation })),
    })
}

fn form(text: &str, form: &str) -> Error {
    Error::usage(format!("'{text}' is not {form}"))
}

/// What follows after `size:`; nothing if parts are missing. A path may have colons in it.
fn by_size(rest: &str) -> Option<Result<(&str, Rotation)>> {
    let (max, rest) = rest.split_once(':')?;
    let (backups, path) = rest.split_once(':')?;
    let read = || {
        let max = values::size(max)?;
        if max < SIZE_MIN {
            return Err(Error::usage(format!("'{max}' is too small for a file (at least {SIZE_MIN} bytes)")));
        }
        Ok((path, Rotation::Size { max, backups: number_of_backups(backups)? }))
    };
    Some(read())
}

/// What follows after `time:`.
fn by_time(rest: &str) -> Option<Result<(&str, Rotation)>> {
    let mut parts = rest.splitn(5, ':');
    let (every, unit, zone, backups) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let path = parts.next()?;
    let read = || {
        let every = every.parse().ok().filter(|every| (1..=EVERY_MAX).contains(every));
        let every = every.ok_or_else(|| {
            Error::usage(format!("N of time:N:UNIT:ZONE:BACKUPS:PATH is a number from 1 to {EVERY_MAX}"))
        })?;
        let rotation = Rotation::Time {
            every,
            unit: values::choice(&unit.to_ascii_uppercase(), &UNITS)?,
            zone: values::choice(&zone.to_ascii_uppercase(), &ZONES)?,
            backups: number_of_backups(backups)?,
        };
        Ok((path, rotation))
    };
    Some(read())
}

/// Largest number of units: with days some 270 years.
const EVERY_MAX: u32 = 100_000;

const UNITS: [(&str, Unit); 5] = [
    ("S", Unit::Second),
    ("M", Unit::Minute),
    ("H", Unit::Hour),
    ("D", Unit::Day),
    ("MIDNIGHT", Unit::Midnight),
];

const ZONES: [(&str, Zone); 4] =
    [("UTC", Zone::Utc), ("U", Zone::Utc), ("LOCAL", Zone::Local), ("L", Zone::Local)];

fn number_of_backups(word: &str) -> Result<u32> {
    word.parse()
        .ok()
        .filter(|number| (0..=BACKUPS_MAX).contains(number))
        .ok_or_else(|| Error::usage(format!("'{word}' is not a number of backups (0 to {BACKUPS_MAX})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, rotation: Rotation) -> Place {
        Place::File(LogFile { path: path.into(), rotation })
    }

    #[test]
    fn every_way_to_write_a_target_is_read() {
        let size = |max, backups| Rotation::Size { max, backups };
        let time = |every, unit, zone, backups| Rotation::Time { every, unit, zone, backups };
        for (text, target) in [
            ("inherit", Target::Inherit),
            ("null", Target::Null),
            ("/dev/null", Target::Null),
            ("size:10M:1:/dev/null", Target::Null),
            ("syslog", Target::Syslog),
            ("/dev/stdout", Target::Bytes(Place::Stdout)),
            ("size:10240:5:/dev/stderr", Target::Bytes(Place::Stderr)),
            ("prefix", Target::Lines(Place::Stdout)),
            ("prefix:/dev/stderr", Target::Lines(Place::Stderr)),
            ("prefix:/dev/null", Target::Null),
            ("./web.log", Target::Bytes(file("./web.log", Rotation::Never))),
            ("prefix:/l/web.log", Target::Lines(file("/l/web.log", Rotation::Never))),
            ("size:10240:5:/tmp/out.log", Target::Bytes(file("/tmp/out.log", size(10_240, 5)))),
            ("size:1M:0:out", Target::Bytes(file("out", size(1 << 20, 0)))),
            ("size:2k:1:a:b", Target::Bytes(file("a:b", size(2048, 1)))),
            ("time:5:s:U:3:/l/t", Target::Bytes(file("/l/t", time(5, Unit::Second, Zone::Utc, 3)))),
            ("time:1:M:utc:0:t", Target::Bytes(file("t", time(1, Unit::Minute, Zone::Utc, 0)))),
            ("time:1:h:L:3:t", Target::Bytes(file("t", time(1, Unit::Hour, Zone::Local, 3)))),
            ("time:7:D:local:3:t", Target::Bytes(file("t", time(7, Unit::Day, Zone::Local, 3)))),
            ("prefix:time:1:midnight:L:3:t", {
                Target::Lines(file("t", time(1, Unit::Midnight, Zone::Local, 3)))
            }),
        ] {
            assert_eq!(parse(text), Ok(target), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "'' is neither inherit, null, syslog or prefix, nor a path with a / in it"),
            ("web.log", "'web.log' is neither inherit, null, syslog or prefix, nor a path with a / in it"),
            ("prefix:", "'' is neither inherit, null, syslog or prefix, nor a path with a / in it"),
            ("size:10:/l", "'size:10:/l' is not size:MAX:BACKUPS:PATH"),
            ("size:x:1:/l", "'x' is not a size (a number of bytes, or with K, M or G behind it)"),
            ("size:10:1:/l", "'10' is too small for a file (at least 1024 bytes)"),
            ("size:1M:-1:/l", "'-1' is not a number of backups (0 to 1000)"),
            ("size:1M:1:", "the path is empty"),
            ("time:1:D:U:/l", "'time:1:D:U:/l' is not time:N:UNIT:ZONE:BACKUPS:PATH"),
            ("time:0:D:U:1:/l", "N of time:N:UNIT:ZONE:BACKUPS:PATH is a number from 1 to 100000"),
            ("time:1:W:U:1:/l", "unknown 'W' (S, M, H, D, MIDNIGHT)"),
            ("time:1:D:JST:1:/l", "unknown 'JST' (UTC, U, LOCAL, L)"),
            ("/l/", "'/l/' is a directory"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.message), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn files_that_would_overwrite_each_other_clash() {
        let of = |text: &str| match parse(text) {
            Ok(Target::Bytes(Place::File(file)) | Target::Lines(Place::File(file))) => file,
            other => panic!("{other:?}"),
        };
        let (web, plain) = (of("size:1M:2:/l/web"), of("/l/web"));
        assert_eq!(web.clash(&web), None);
        assert_eq!(web.clash(&of("/l/api")), None);
        assert_eq!(web.clash(&of("/l/web.3")), None);
        assert_eq!(web.clash(&plain).as_deref(), Some("/l/web is to be rotated in two ways"));
        assert_eq!(web.clash(&of("/l/web.2")).as_deref(), Some("/l/web.2 is a backup of /l/web"));
        assert_eq!(of("/l/web.1").clash(&web).as_deref(), Some("/l/web.1 is a backup of /l/web"));
    }
}
