//! What the kernel is told of a worker beside its program: limits of resources, priority, what becomes of it without its
//! manager. With how people write a limit: `NOFILE=1024:4096`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nearest::nearest;
use crate::signame::Signal;

/// What the kernel is told of each worker of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// Limits other than those the manager was started with; the last of a name wins.
    pub limits: Vec<ResourceLimit>,
    /// Nice value, -20 to 19; the manager's own if absent.
    pub nice: Option<i32>,
    /// Weight in the choice of the OOM killer, -1000 to 1000. If absent it is that of the manager, but not below 0: what
    /// protects the manager is not meant for its workers.
    pub oom_score_adj: Option<i32>,
    /// Signal that the kernel sends when the manager dies.
    pub parent_death_signal: Option<Signal>,
}

/// What is limited: RLIMIT_ and this name, in getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LimitName {
    /// Address space, in bytes.
    As,
    /// Size of core files, in bytes.
    Core,
    /// Processor time, in seconds.
    Cpu,
    /// Data segment, in bytes.
    Data,
    /// Size of files, in bytes.
    Fsize,
    /// Locked memory, in bytes.
    Memlock,
    /// POSIX message queues, in bytes.
    Msgqueue,
    /// How far the nice value may be lowered: to 20 less this.
    Nice,
    /// Highest descriptor, plus one.
    Nofile,
    /// Processes of the user.
    Nproc,
    /// Resident memory, in bytes; without effect since Linux 2.4.30.
    Rss,
    /// Real-time priority.
    Rtprio,
    /// Processor time between two blocking calls of a real-time process, in microseconds.
    Rttime,
    /// Signals that are queued for the user.
    Sigpending,
    /// Stack, in bytes.
    Stack,
}

/// Every name, as it is written.
const NAMES: [(&str, LimitName); 15] = [
    ("AS", LimitName::As),
    ("CORE", LimitName::Core),
    ("CPU", LimitName::Cpu),
    ("DATA", LimitName::Data),
    ("FSIZE", LimitName::Fsize),
    ("MEMLOCK", LimitName::Memlock),
    ("MSGQUEUE", LimitName::Msgqueue),
    ("NICE", LimitName::Nice),
    ("NOFILE", LimitName::Nofile),
    ("NPROC", LimitName::Nproc),
    ("RSS", LimitName::Rss),
    ("RTPRIO", LimitName::Rtprio),
    ("RTTIME", LimitName::Rttime),
    ("SIGPENDING", LimitName::Sigpending),
    ("STACK", LimitName::Stack),
];

/// Letters after a number of bytes, and how many bytes they stand for.
const SIZES: [(char, u64); 4] = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30), ('T', 1 << 40)];

impl LimitName {
    fn is_size(self) -> bool {
        match self {
            LimitName::As
            | LimitName::Core
            | LimitName::Data
            | LimitName::Fsize
            | LimitName::Memlock
            | LimitName::Msgqueue
            | LimitName::Rss
            | LimitName::Stack => true,
            LimitName::Cpu
            | LimitName::Nice
            | LimitName::Nofile
            | LimitName::Nproc
            | LimitName::Rtprio
            | LimitName::Rttime
            | LimitName::Sigpending => false,
        }
    }

    /// A number, with a unit where bytes are meant; nothing for no limit at all.
    fn amount(self, word: &str) -> Result<Option<u64>> {
        if matches!(word, "unlimited" | "infinity") {
            return Ok(None);
        }
        let unit = SIZES.into_iter().find(|(letter, _)| self.is_size() && word.ends_with(*letter));
        let (digits, factor) = unit.map_or((word, 1), |(_, factor)| (&word[..word.len() - 1], factor));
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<u64>().ok().filter(|_| all_digits);
        // The largest number is how the system writes "no limit".
        let number = number.and_then(|number| number.checked_mul(factor)).filter(|&number| number < u64::MAX);
        let wanted =
            if self.is_size() { "such as 65536, 64K, 512M or 'unlimited'" } else { "or 'unlimited'" };
        number.map(Some).ok_or_else(|| Error::usage(format!("'{word}' is not a number {wanted}")))
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = NAMES.iter().find(|(_, name)| name == self);
        f.write_str(written.map_or("", |(written, _)| written))
    }
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Of what.
    pub name: LimitName,
    /// The limit in force; absent if there is none.
    pub soft: Option<u64>,
    /// How far a process may raise it; absent if there is no bound.
    pub hard: Option<u64>,
}

impl FromStr for ResourceLimit {
    type Err = Error;

    /// `NAME=SOFT:HARD`, or `NAME=BOTH`. The name may have `RLIMIT_` before it and small letters.
    fn from_str(word: &str) -> Result<ResourceLimit> {
        let Some((name, amounts)) = word.split_once('=') else {
            return Err(Error::usage(format!("'{word}' is not NAME=SOFT[:HARD]")));
        };
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
        let Some(&(_, name)) = NAMES.iter().find(|(known, _)| *known == short) else {
            let hint = nearest(short, NAMES.iter().map(|(known, _)| *known));
            let hint = hint.map(|near| format!(" (did you mean '{near}'?)")).unwrap_or_default();
            return Err(Error::usage(format!("there is no limit '{name}'{hint}")));
        };
        let (soft, hard) = amounts.split_once(':').unwrap_or((amounts, amounts));
        let (soft, hard) = (name.amount(soft)?, name.amount(hard)?);
        if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
            return Err(Error::usage(format!("'{word}' has a soft limit above the hard one")));
        }
        Ok(ResourceLimit { name, soft, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> Option<(LimitName, Option<u64>, Option<u64>)> {
        word.parse::<ResourceLimit>().ok().map(|limit| (limit.name, limit.soft, limit.hard))
    }

    #[test]
    fn limits_are_read_with_their_units() {
        assert_eq!(read("NOFILE=1024:4096"), Some((LimitName::Nofile, Some(1024), Some(4096))));
        assert_eq!(read("nofile=64"), Some((LimitName::Nofile, Some(64), Some(64))));
        assert_eq!(read("RLIMIT_AS=512M:unlimited"), Some((LimitName::As, Some(512 << 20), None)));
        assert_eq!(read("core=0:infinity"), Some((LimitName::Core, Some(0), None)));
        assert_eq!(read("stack=unlimited"), Some((LimitName::Stack, None, None)));
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for word in [
            "",
            "NOFILE",
            "NOFILE=",
            "NOFILE=1:",
            "NOFILE=2:1",
            "NOFILE=unlimited:1",
            "NOFILE=64K",
            "NOFILE=-1",
            "NOFILE=+1",
            "AS=K",
            "AS=99999999T",
            "AS=18446744073709551615",
            "NOFILES=1",
        ] {
            assert!(word.parse::<ResourceLimit>().is_err(), "{word}");
        }
        let near = "NOFILES=1".parse::<ResourceLimit>().unwrap_err().message;
        assert_eq!(near, "there is no limit 'NOFILES' (did you mean 'NOFILE'?)");
    }
}
