//! remuda keeps N copies of a program alive on listening sockets that it owns, and replaces them without refusing or
//! dropping a connection.
//!
//! # Layers
//!
//! ```text
//! argv, TOML --> cli, config --> Plan --> supervisor --> driver --> sys
//!                                (what)   (decides,      (poll,     (the only
//!                                          pure)          performs)  unsafe)
//! control bytes --> wire --> Verb --> supervisor --> Reply --> wire --> bytes
//! ```
//!
//! Imports go one way only, and `tests/layers.rs` fails on any other edge:
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | plan | [`plan`], [`ask`], [`addr`], [`attributes`], [`difference`], [`duration`], [`signame`], [`process`], [`reading`], [`env`](mod@env), [`nearest`], [`octets`], [`output`], [`placeholder`], [`probe`], [`values`], [`wildcard`], [`words`], [`error`] | each other |
//! | file | [`config`] | plan; nothing of the system |
//! | door | [`cli`] | file, plan |
//! | core | [`supervisor`] | plan; nothing of the system |
//! | wire | [`wire`] | core, plan; nothing of the system |
//! | system | [`sys`] | plan; alone may hold `unsafe` |
//! | shell | [`driver`] | core, wire, system, plan |
//! | one program | [`init`] | system, plan |
//! | offline | [`check`] | file, system, plan |
//! | asking | [`client`] | wire, system, plan |
//!
//! Only this file joins `cli`, `check`, `driver`, `init` and `client`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use cli::{Outcome, Refusal, Stream};
use error::{Code, Error, Result};
use sys::signals;

pub mod addr;
pub mod ask;
pub mod attributes;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod difference;
pub mod driver;
pub mod duration;
pub mod env;
pub mod error;
pub mod init;
pub mod nearest;
pub mod octets;
pub mod output;
pub mod placeholder;
pub mod plan;
pub mod probe;
pub mod process;
pub mod reading;
pub mod signame;
pub mod supervisor;
pub mod sys;
pub mod values;
pub mod wildcard;
pub mod wire;
pub mod words;

/// The program: reads the command line (`args` begins with the program's own name, which may be that of a door), does
/// what it says, tells errors on standard error.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let outcome = match driver::resumption() {
        // The command line was understood by the first image.
        Some(resumption) => resumption.run(check::load),
        None if args.iter().skip(1).eq([driver::CAN_RESUME]) => {
            driver::can_resume().and_then(|()| print(Stream::Output, driver::RESUMABLE))
        }
        None => cli::parse(args).inspect_err(|_| signals::release()).and_then(perform),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Where standard error is closed there is nobody left to tell; the exit code still does.
            let _ = writeln!(io::stderr(), "remuda: {error}");
            ExitCode::from(error.code.status())
        }
    }
}

fn perform(outcome: Outcome) -> Result<u8> {
    // Those who run programs let signals in when they know what they mean.
    let runs =
        matches!(outcome, Outcome::Run(_) | Outcome::RunFile(_) | Outcome::Init(_) | Outcome::Decline(..));
    if !runs {
        signals::release();
    }
    match outcome {
        Outcome::Run(plan) => driver::run(check::located_plan(*plan)),
        Outcome::Init(spec) => init::run(*spec),
        Outcome::RunFile(source) => match check::load(&check::located(source)) {
            Ok(reading) => driver::run_file(reading, check::load),
            Err(complaints) => {
                signals::release();
                Ok(complain(&complaints, true))
            }
        },
        Outcome::Check(source) => {
            let found = check::check(&source);
            let remarks: String = found.remarks.iter().map(|remark| format!("{remark}\n")).collect();
            print(Stream::Output, &remarks)?;
            Ok(complain(&found.complaints, found.stops))
        }
        Outcome::Decline(plan, why) => driver::decline(*plan, why),
        Outcome::Ask(ask) => client::ask(&ask),
        Outcome::Shell(shell) => client::einhyrningsinsctl(&shell),
        Outcome::Ctrl(ctrl) => client::ctrl(&ctrl),
        Outcome::Errand(errand) => client::errand(&errand),
        Outcome::Einhornsh(shell) => client::einhornsh(&shell),
        Outcome::CanResume => driver::can_resume_if_asked().and_then(|page| match page {
            Some(page) => print(Stream::Output, page),
            None => print(Stream::Error, driver::ABOUT),
        }),
        Outcome::Print(page) => print(Stream::Output, &page),
        Outcome::Refuse(Refusal { page, stream, status }) => {
            print(stream, &page)?;
            Ok(status)
        }
    }
}

/// Tells complaints, a line each, and with the status whether anything stops for them.
fn complain(complaints: &[String], stops: bool) -> u8 {
    for complaint in complaints {
        // As in `run`.
        let _ = writeln!(io::stderr(), "remuda: {complaint}");
    }
    let code = if stops { Code::Failed } else { Code::Done };
    code.status()
}

/// Writes a page. A reader that has seen enough and closed its end is content.
fn print(stream: Stream, page: &str) -> Result<u8> {
    let written = match stream {
        Stream::Output => io::stdout().write_all(page.as_bytes()).and_then(|()| io::stdout().flush()),
        Stream::Error => io::stderr().write_all(page.as_bytes()),
    };
    match written {
        Ok(()) => Ok(Code::Done.status()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Code::Done.status()),
        Err(error) => Err(Error::failed(format!("cannot write to {stream}: {error}"))),
    }
}
