//! Signals and their names: `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+2`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use nix::sys::signal::Signal as Named;

use crate::error::{Error, Result};
use crate::nearest::nearest;

/// A signal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signal(pub i32);

impl Signal {
    /// Asks a process to end.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// Ends a process without asking.
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// Ctrl-C.
    pub const INT: Signal = Signal(libc::SIGINT);
    /// Ctrl-\.
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    /// The terminal is gone; by custom: read your configuration again.
    pub const HUP: Signal = Signal(libc::SIGHUP);
    /// By custom of log rotation: open log files again.
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    /// Without a fixed meaning.
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    /// A process in the background reads from the terminal; einhorn and unicorn: one worker more.
    pub const TTIN: Signal = Signal(libc::SIGTTIN);
    /// A process in the background writes to the terminal; einhorn and unicorn: one worker fewer.
    pub const TTOU: Signal = Signal(libc::SIGTTOU);
    /// Ctrl-Z.
    pub const TSTP: Signal = Signal(libc::SIGTSTP);
    /// The terminal has another size.
    pub const WINCH: Signal = Signal(libc::SIGWINCH);
    /// Nobody reads what is written.
    pub const PIPE: Signal = Signal(libc::SIGPIPE);
    /// A child has ended, was stopped or goes on.
    pub const CHLD: Signal = Signal(libc::SIGCHLD);
    /// Lets a stopped process go on.
    pub const CONT: Signal = Signal(libc::SIGCONT);
    /// Power fails. Managers of containers ask PID 1 to stop by it.
    pub const PWR: Signal = Signal(libc::SIGPWR);

    /// By which systemd is asked to halt, and so any PID 1 that is taken for it.
    pub fn halt() -> Signal {
        Signal(libc::SIGRTMIN() + 3)
    }

    /// Whether a process can be made to do something of its choice at it: not at KILL and STOP; CHLD has its meaning; and
    /// after a fault of the program itself there is no way back.
    pub fn can_be_given_a_meaning(self) -> bool {
        let fixed = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD];
        let faults = [libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV];
        let of_c_library = 32..libc::SIGRTMIN();
        !fixed.contains(&self.0) && !faults.contains(&self.0) && !of_c_library.contains(&self.0)
    }
}

/// Other names for signals that `kill -l` and old manuals know.
const ALIASES: [(&str, i32); 3] = [("CLD", libc::SIGCHLD), ("IOT", libc::SIGABRT), ("POLL", libc::SIGIO)];

impl FromStr for Signal {
    type Err = Error;

    /// Reads a name in upper or lower case, with or without `SIG`, `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`, or a number
    /// from 1 to the last signal of the system.
    fn from_str(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let alias =
            || ALIASES.into_iter().find(|&(alias, _)| alias == name).map(|(_, number)| Signal(number));
        named(name)
            .or_else(alias)
            .or_else(|| real_time(name))
            .or_else(|| number(text))
            .ok_or_else(|| unknown(text, name))
    }
}

impl fmt::Display for Signal {
    /// `TERM`; `RTMIN+2` for a real-time signal; the number where there is no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(signal) = Named::try_from(self.0) {
            return f.write_str(short(signal));
        }
        match self.0 - libc::SIGRTMIN() {
            0 => f.write_str("RTMIN"),
            above if above > 0 && self.0 <= libc::SIGRTMAX() => write!(f, "RTMIN+{above}"),
            _ => write!(f, "{}", self.0),
        }
    }
}

fn short(signal: Named) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

fn named(name: &str) -> Option<Signal> {
    Named::iterator().find(|&signal| short(signal) == name).map(|signal| Signal(signal as i32))
}

fn real_time(name: &str) -> Option<Signal> {
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        first.checked_add(offset(rest, '+')?)?
    } else {
        last.checked_sub(offset(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (first..=last).contains(&number).then_some(Signal(number))
}

/// The number after `sign`, 0 if nothing stands there.
fn offset(rest: &str, sign: char) -> Option<i32> {
    match rest {
        "" => Some(0),
        rest => digits(rest.strip_prefix(sign)?),
    }
}

fn number(text: &str) -> Option<Signal> {
    digits(text).filter(|number| (1..=libc::SIGRTMAX()).contains(number)).map(Signal)
}

/// A number without the sign that `i32::from_str` would take.
fn digits(text: &str) -> Option<i32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn unknown(text: &str, name: &str) -> Error {
    let last = libc::SIGRTMAX();
    if name.starts_with("RTM") {
        let span = last - libc::SIGRTMIN();
        return Error::usage(format!("no signal '{text}' (real-time signals are RTMIN to RTMIN+{span})"));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Error::usage(format!("no signal {text} (signals are 1 to {last})"));
    }
    let known = Named::iterator().map(short).chain(["RTMIN", "RTMAX"]);
    Error::usage(match nearest(name, known) {
        Some(near) => format!("no signal '{text}' (did you mean {near}?)"),
        None => format!("no signal '{text}' (a name such as TERM or RTMIN+1, or a number from 1 to {last})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_numbers() {
        let first = libc::SIGRTMIN();
        let last = libc::SIGRTMAX();
        for (text, number) in [
            ("TERM", libc::SIGTERM),
            ("SIGTERM", libc::SIGTERM),
            ("term", libc::SIGTERM),
            ("sigTerm", libc::SIGTERM),
            ("15", 15),
            ("WINCH", libc::SIGWINCH),
            ("CLD", libc::SIGCHLD),
            ("RTMIN", first),
            ("RTMIN+2", first + 2),
            ("sigrtmin+0", first),
            ("RTMAX", last),
            ("RTMAX-1", last - 1),
            ("1", 1),
            ("64", 64),
        ] {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_signal() {
        let message = |text: &str| text.parse::<Signal>().unwrap_err().message;
        assert_eq!(message("TREM"), "no signal 'TREM' (did you mean TERM?)");
        assert_eq!(message("SIGURS2"), "no signal 'SIGURS2' (did you mean USR2?)");
        assert_eq!(message("0"), "no signal 0 (signals are 1 to 64)");
        assert_eq!(message("99999999999"), "no signal 99999999999 (signals are 1 to 64)");
        let span = libc::SIGRTMAX() - libc::SIGRTMIN();
        for text in ["RTMIN-1", "RTMAX+1", "RTMIN+99", "RTMIN++1", "RTMAX-99", "RTMIN+2147483647"] {
            let expected = format!("no signal '{text}' (real-time signals are RTMIN to RTMIN+{span})");
            assert_eq!(message(text), expected);
        }
        for text in ["", "SIG", "-15", "+15", "plover", "1 5"] {
            assert!(message(text).contains("a name such as TERM"), "{text}");
        }
    }

    #[test]
    fn every_signal_is_told_so_that_it_can_be_read() {
        for number in 1..=libc::SIGRTMAX() {
            let told = Signal(number).to_string();
            assert_eq!(told.parse(), Ok(Signal(number)), "{told}");
        }
        assert_eq!(Signal::TERM.to_string(), "TERM");
        assert_eq!(Signal(libc::SIGRTMIN() + 2).to_string(), "RTMIN+2");
        assert_eq!(Signal(libc::SIGRTMIN()).to_string(), "RTMIN");
        assert_eq!(Signal(200).to_string(), "200");
    }
}
