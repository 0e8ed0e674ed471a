//! `remuda init`, and the command lines of those that it stands in for: tini, dumb-init and catatonit.
//!
//! Their options have letters that do not collide and are all in the one table, so that every door is the same parser
//! with other values where nothing is said. Pure, but for the variables that are asked of whoever calls.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::{Arg, Parser};

use super::given::Given;
use super::native::{apply, known, lexical, page_asked_for, program_follows};
use super::options::{self, Command};
use super::{Outcome, Refusal, Stream};
use crate::error::{Code, Error, Result};
use crate::plan::init::{Init, STOP_TIMEOUT};
use crate::plan::{Level, Success};
use crate::process::Exit;
use crate::signame::Signal;
use crate::values;

/// How loud, from the quietest.
const LEVELS: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

/// What was said by options that only `init` has.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) to_group: bool,
    pub(super) single_child: bool,
    pub(super) subreaper: bool,
    pub(super) parent_death_signal: Option<Signal>,
    pub(super) rewrite: Vec<(Signal, Option<Signal>)>,
    pub(super) success: Vec<u8>,
    pub(super) tell_reaped: bool,
    pub(super) pause: bool,
}

impl Said {
    /// What it comes to, with the program and what other commands have options for too.
    pub(super) fn meant(
        self,
        manner: &Manner,
        argv: Vec<OsString>,
        level: Level,
        stop_timeout: Option<Duration>,
    ) -> Result<Init> {
        if self.pause != argv.is_empty() {
            return Err(Error::usage(match self.pause {
                true => "--pause runs no program",
                false => "no program to run: it follows after the options",
            }));
        }
        if argv.first().is_some_and(|program| program.is_empty()) {
            return Err(Error::usage("the name of the program is empty"));
        }
        if self.single_child && self.to_group {
            return Err(Error::usage("--single-child and --to-group contradict each other"));
        }
        let own_group = manner.own_group && !self.single_child;
        Ok(Init {
            own_group,
            to_group: own_group && (self.to_group || manner.to_group),
            rewrite: self.rewrite,
            success: self.success,
            subreaper: self.subreaper || manner.subreaper,
            parent_death_signal: self.parent_death_signal,
            level,
            tell_reaped: self.tell_reaped,
            stop_timeout: stop_timeout.unwrap_or(STOP_TIMEOUT),
            ..Init::new(argv)
        })
    }
}

/// What holds in a door where its command line says nothing, the variables taken in.
#[derive(Debug)]
pub(super) struct Manner {
    own_group: bool,
    to_group: bool,
    subreaper: bool,
    /// Where in [`LEVELS`].
    loudness: usize,
    /// How much louder one `-v` is.
    step: usize,
    /// `PROGRAM -- ARGS` is the same as `PROGRAM ARGS`.
    dashes_after_program: bool,
}

/// Looks a variable up.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Manner {
    /// remuda's own, which knows everybody's variables.
    pub(super) fn native(variables: Variables<'_>) -> Manner {
        Manner::standard().with_variables_of_tini(variables).with_variables_of_dumb_init(variables)
    }

    fn standard() -> Manner {
        Manner {
            own_group: true,
            to_group: false,
            subreaper: false,
            loudness: 1,
            step: 1,
            dashes_after_program: false,
        }
    }

    fn tini(variables: Variables<'_>) -> Manner {
        let manner = Manner { dashes_after_program: true, ..Manner::standard() };
        manner.with_variables_of_tini(variables)
    }

    /// dumb-init tells nothing, or all.
    fn dumb_init(variables: Variables<'_>) -> Manner {
        let manner = Manner { to_group: true, loudness: 0, step: LEVELS.len(), ..Manner::standard() };
        manner.with_variables_of_dumb_init(variables)
    }

    fn catatonit(variables: Variables<'_>) -> Manner {
        let loudness = if variables("CATATONIT_DEBUG").is_some() { LEVELS.len() } else { 0 };
        Manner { subreaper: true, loudness, ..Manner::standard() }
    }

    fn with_variables_of_tini(mut self, variables: Variables<'_>) -> Manner {
        self.subreaper |= variables("TINI_SUBREAPER").is_some();
        self.to_group |= variables("TINI_KILL_PROCESS_GROUP").is_some();
        if let Some(verbosity) = variables("TINI_VERBOSITY") {
            // As atoi(3) has it, what is no number is 0.
            self.loudness = verbosity.to_str().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        }
        self
    }

    fn with_variables_of_dumb_init(mut self, variables: Variables<'_>) -> Manner {
        self.own_group &= variables("DUMB_INIT_SETSID").is_none_or(|value| value != "0");
        if variables("DUMB_INIT_DEBUG").is_some_and(|value| value == "1") {
            self.loudness = LEVELS.len();
        }
        self
    }

    /// What is told after so many `-v` and `-q`.
    pub(super) fn level(&self, louder: u32, quieter: u32) -> Level {
        let louder = self.loudness.saturating_add(self.step.saturating_mul(louder as usize));
        LEVELS[louder.saturating_sub(quieter as usize).min(LEVELS.len() - 1)]
    }
}

fn from_process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// tini, which Docker calls `docker-init`.
///
/// # Errors
/// None: what is wrong is told with the usage, and has tini's status.
pub(super) fn tini(words: Vec<OsString>) -> Result<Outcome> {
    // What Docker reads out of it is the version of tini.
    let version = format!("tini version 0.19.0 - remuda {}\n", env!("CARGO_PKG_VERSION"));
    if words.iter().eq(["--version"]) {
        return Ok(Outcome::Print(version));
    }
    Ok(in_the_manner_of("tini", &words, &Manner::tini(&from_process)))
}

/// dumb-init.
///
/// # Errors
/// None, as for [`tini`].
pub(super) fn dumb_init(words: Vec<OsString>) -> Result<Outcome> {
    Ok(in_the_manner_of("dumb-init", &words, &Manner::dumb_init(&from_process)))
}

/// catatonit.
///
/// # Errors
/// None, as for [`tini`].
pub(super) fn catatonit(words: Vec<OsString>) -> Result<Outcome> {
    Ok(in_the_manner_of("catatonit", &words, &Manner::catatonit(&from_process)))
}

/// All of them exit with 1 if the line is wrong.
fn in_the_manner_of(name: &str, words: &[OsString], manner: &Manner) -> Outcome {
    if let Some(page) = page_asked_for(command(), words) {
        return Outcome::Print(page);
    }
    read(words, manner).unwrap_or_else(|error| {
        let page = format!("{name}: {error}; try '{name} -h', this is remuda-init(1)\n");
        Outcome::Refuse(Refusal { page, stream: Stream::Error, status: Code::Failed.status() })
    })
}

fn command() -> &'static Command {
    options::INIT
}

/// Reads the words after the name of a door.
///
/// # Errors
/// [`Code::Usage`], with what is wrong.
pub(super) fn read(args: &[OsString], manner: &Manner) -> Result<Outcome> {
    let mut given = Given::default();
    let mut parser = Parser::from_args(args);
    let mut argv = Vec::new();
    while !program_follows(&mut parser) {
        match parser.next().map_err(lexical)? {
            Some(Arg::Value(program)) => {
                argv.push(program);
                if manner.dashes_after_program {
                    program_follows(&mut parser);
                }
                break;
            }
            Some(arg) => {
                let option = known(command(), &arg)?;
                apply(&mut given, option, &mut parser)?;
            }
            None => break,
        }
    }
    argv.extend(parser.raw_args().map_err(lexical)?);
    given.init(manner, argv).map(|init| Outcome::Init(Box::new(init)))
}

/// `15:3`, `TERM:QUIT`, `HUP:0`.
pub(super) fn rewrite(text: &str) -> Result<(Signal, Option<Signal>)> {
    let wrong = || Error::usage(format!("'{text}' is not A:B, two signals, of which the second may be 0"));
    let (from, to) = text.split_once(':').ok_or_else(wrong)?;
    let to = if to == "0" { None } else { Some(to.parse()?) };
    Ok((from.parse()?, to))
}

/// Exit codes, and signals as the codes that they come to: `3,143`, `TERM`.
pub(super) fn statuses(text: &str) -> Result<Vec<u8>> {
    let status = |success| match success {
        Success::Exit(code) => code,
        Success::Signal(signal) => Exit::Signal(signal).status(),
    };
    Ok(values::successes(text)?.into_iter().map(status).collect())
}
