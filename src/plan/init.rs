//! What `remuda init` is to do: watch over one program as the first process of a container does. Pure.

use std::ffi::OsString;
use std::time::Duration;

use super::Level;
use crate::process::Exit;
use crate::signame::Signal;

/// How long the others have after the program has ended. It leaves the program seven of the ten seconds that a container
/// usually has from TERM to KILL.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What is run, and how it is watched over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// The program and its arguments. If there are none, nothing is run: orphans are reaped until INT or TERM.
    pub argv: Vec<OsString>,
    /// The program leads a process group of its own, which gets the terminal if we have it.
    pub own_group: bool,
    /// Signals go to that whole group, not to the program alone.
    pub to_group: bool,
    /// Signals that are replaced by another before they are passed on, or by nothing.
    pub rewrite: Vec<(Signal, Option<Signal>)>,
    /// Statuses that are passed on as 0.
    pub success: Vec<u8>,
    /// Take in orphans even if we are not PID 1.
    pub subreaper: bool,
    /// A signal that we get, and pass on, when our parent dies.
    pub parent_death_signal: Option<Signal>,
    /// What is told on standard error.
    pub level: Level,
    /// Warn of each orphan that is reaped.
    pub tell_reaped: bool,
    /// How long the others have after the program has ended, from TERM to KILL; 0 does not ask them at all.
    pub stop_timeout: Duration,
}

impl Init {
    /// Watches over this program, with all else as it is where nothing is said.
    pub fn new(argv: Vec<OsString>) -> Init {
        Init {
            argv,
            own_group: true,
            to_group: false,
            rewrite: Vec::new(),
            success: Vec::new(),
            subreaper: false,
            parent_death_signal: None,
            level: Level::Warn,
            tell_reaped: false,
            stop_timeout: STOP_TIMEOUT,
        }
    }

    /// What is passed on for a signal that was received; nothing if it is to be swallowed.
    pub fn passed_on(&self, received: Signal) -> Option<Signal> {
        let rule = self.rewrite.iter().rev().find(|(from, _)| *from == received);
        rule.map_or(Some(received), |&(_, to)| to)
    }

    /// The status to exit with after the program has ended like this: its own, or 128 and its signal.
    pub fn status(&self, exit: Exit) -> u8 {
        let status = exit.status();
        if self.success.contains(&status) { 0 } else { status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_for_a_signal_counts() {
        let init = Init {
            rewrite: vec![
                (Signal::TERM, Some(Signal::INT)),
                (Signal::HUP, None),
                (Signal::TERM, Some(Signal::QUIT)),
            ],
            ..Init::new(Vec::new())
        };
        assert_eq!(init.passed_on(Signal::TERM), Some(Signal::QUIT));
        assert_eq!(init.passed_on(Signal::HUP), None);
        assert_eq!(init.passed_on(Signal(64)), Some(Signal(64)));
    }

    #[test]
    fn a_status_is_passed_on_unless_it_counts_as_success() {
        let init = Init { success: vec![7, 143], ..Init::new(Vec::new()) };
        for (exit, status) in [
            (Exit::Code(0), 0),
            (Exit::Code(255), 255),
            (Exit::Code(7), 0),
            (Exit::Signal(Signal::KILL), 137),
            (Exit::Signal(Signal(64)), 192),
            (Exit::Signal(Signal::TERM), 0),
            (Exit::Unknown, 1),
        ] {
            assert_eq!(init.status(exit), status, "{exit:?}");
        }
    }
}
