//! How a process starts and how it ends: the vocabulary shared by the core and by `sys`. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::signame::Signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// By `_exit(2)` with this code.
    Code(u8),
    /// By this signal.
    Signal(Signal),
    /// It is gone, and nobody can say how.
    Unknown,
}

impl Exit {
    /// The status by which shells tell it: its own, or 128 and the number of its signal; 1 if nobody can say.
    pub fn status(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            // Signals end at 64, or at 127 on MIPS.
            Exit::Signal(Signal(number)) => 128 + (number & 0x7f) as u8,
            Exit::Unknown => 1,
        }
    }
}

/// What shells exit with for a program that is not there.
pub const EXIT_NOT_FOUND: u8 = 127;

/// What shells exit with for a program that is there and cannot be executed.
const EXIT_NOT_EXECUTABLE: u8 = 126;

/// The status by which shells tell that a program could not be executed, for this errno.
pub fn status_of_failure(errno: i32) -> u8 {
    if errno == libc::ENOENT { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE }
}

/// A step between fork and the new program; names where a spawn failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Pipe and fork, in the manager.
    Fork,
    /// setpgid(2).
    ProcessGroup,
    /// dup2(2) of descriptors.
    Descriptors,
    /// setrlimit(2).
    Limits,
    /// setpriority(2), oom_score_adj.
    Priority,
    /// setgroups(2), setgid(2).
    Groups,
    /// setuid(2).
    User,
    /// chdir(2).
    Directory,
    /// prctl(PR_SET_PDEATHSIG) and the parent check.
    ParentDeath,
    /// Signal dispositions and mask.
    Signals,
    /// execve(2).
    Exec,
}

impl fmt::Display for Stage {
    /// As in "unable to VERB OBJECT".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Fork => "fork",
            Stage::ProcessGroup => "set the process group",
            Stage::Descriptors => "arrange descriptors",
            Stage::Limits => "set resource limits",
            Stage::Priority => "set the priority",
            Stage::Groups => "set groups",
            Stage::User => "set the user",
            Stage::Directory => "enter the working directory",
            Stage::ParentDeath => "watch the manager",
            Stage::Signals => "reset signals",
            Stage::Exec => "execute the program",
        })
    }
}
