//! The front doors: each command line ends in a plan, in something to ask, or in something to print.
//!
//! A door is known by a name. Whoever calls the program by that name, or says it as the first word, speaks the dialect
//! of the door; so does one that writes `remuda -listen=URI -command=PATH`. Everything else is remuda's own command line
//! (`native`).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use crate::ask::{Ask, Ctrl, Errand, Shell};
use crate::config::Source;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::plan::init::Init;

mod einhorn;
mod einhornsh;
mod einhyrningsins;
mod einhyrningsinsctl;
mod firestarter;
mod getopts;
mod given;
pub mod help;
mod init;
pub mod native;
pub mod options;
mod optparse;
mod socketmaster;
mod start_server;
pub mod table;

/// What a command line comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Be a manager.
    Run(Box<Plan>),
    /// Watch over one program.
    Init(Box<Init>),
    /// Be a manager of the groups in a file.
    RunFile(Source),
    /// Tell what is wrong with a file.
    Check(Source),
    /// Be a manager as far as to its sockets, which cannot be opened for this reason.
    Decline(Box<Plan>, Error),
    /// Ask a running one.
    Ask(Ask),
    /// Hand commands on to a running one, as einhyrningsinsctl does.
    Shell(Shell),
    /// Ask one as firestarter's client does.
    Ctrl(Ctrl),
    /// Ask one by signals, as start_server does.
    Errand(Errand),
    /// The same as einhornsh does.
    Einhornsh(Shell),
    /// Say whether this program could go on from the state of another.
    CanResume,
    /// Write this to standard output, and that is all.
    Print(String),
    /// The line is refused, in the words, at the place and with the status of the program whose door it is.
    Refuse(Refusal),
}

/// How a program other than remuda says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// All that is written, with the end of its last line.
    pub page: String,
    /// Where.
    pub stream: Stream,
    /// The status to exit with.
    pub status: u8,
}

/// Where a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Output => "standard output",
            Stream::Error => "standard error",
        })
    }
}

/// What a door makes of the words after its name.
type Parse = fn(Vec<OsString>) -> Result<Outcome>;

/// The doors beside remuda's own, by name.
const DOORS: &[(&str, Parse)] = &[
    ("einhorn", einhorn::parse),
    ("einhornsh", einhornsh::parse),
    ("einhyrningsins", einhyrningsins::parse),
    ("einhyrningsinsctl", einhyrningsinsctl::parse),
    ("firestarter", firestarter::parse),
    ("tini", init::tini),
    ("docker-init", init::tini),
    ("dumb-init", init::dumb_init),
    ("catatonit", init::catatonit),
    ("socketmaster", socketmaster::parse),
    ("start_server", start_server::parse),
];

/// Reads a whole command line, the program's own name first.
///
/// # Errors
/// [`crate::error::Code::Usage`], with what is wrong and how to get help. Nothing was done by then.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Outcome> {
    let mut args = args.into_iter();
    let called = args.next();
    let mut words: Vec<OsString> = args.collect();
    if let Some(parse) = called.as_deref().and_then(|called| door(Path::new(called).file_name()?)) {
        return parse(words);
    }
    if let Some(parse) = words.first().and_then(|word| door(word)) {
        words.remove(0);
        return parse(words);
    }
    if socketmaster::claims(&words) {
        return socketmaster::parse(words);
    }
    native::parse(words)
}

fn door(name: &OsStr) -> Option<Parse> {
    DOORS.iter().find(|(known, _)| name == *known).map(|&(_, parse)| parse)
}
