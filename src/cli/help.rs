//! Help and version, printed from the table of options. Pure.

use super::DOORS;
use super::options::{COMMANDS, Command, Kind, Opt, RUN, Section};
use crate::duration;

/// Widest line, for the narrowest usual terminal.
const WIDTH: usize = 80;

/// Where the text beside an option begins.
const COLUMN: usize = 29;

/// Where the text beside a verb begins.
const VERB_COLUMN: usize = 16;

/// Exit codes of `run`.
const RUN_CODES: &str = "\
Exit code:
  0 after a graceful stop, 1 if a worker had to be killed; when nobody is left
  with --restart on-failure or never, that of the worker if there was one, else
  0 if all succeeded and 1 if not
";

/// Exit codes of `init`.
const INIT_CODES: &str = "\
Exit code:
  that of the program, or 128 and the number of the signal that ended it; 127 if
  it is not found, 126 if it cannot be executed, 1 if it cannot be started
";

/// Exit codes of verbs, as in `error.rs`.
const VERB_CODES: &str = "\
Exit codes of verbs:
  0 done, 1 failed, 2 wrong usage, 3 no manager runs, 4 refused,
  5 upgrade failed, 6 timeout, 7 rolled back, 8 superseded
";

/// `remuda 0.1.0`
pub fn version() -> String {
    format!("{} {}\n", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

/// What `remuda -h` prints.
pub fn overview() -> String {
    let mut page = String::from(
        "\
usage: remuda [run] [OPTIONS] -- PROGRAM [ARGS]
       remuda run -c FILE [OPTIONS]
       remuda VERB [GROUP] [OPTIONS]

Keeps workers of a program alive on sockets that it owns, and replaces them
without refusing or dropping a connection:

  remuda -b 127.0.0.1:8080 -n 4 -- uvicorn --fd 3 app:app
  remuda upgrade

",
    );
    for command in COMMANDS {
        let words = format!("  {:width$}", command.name, width = VERB_COLUMN - 2);
        page += &beside(&words, VERB_COLUMN, command.brief);
    }
    page += "\nOptions: 'remuda run -h', 'remuda VERB -h'; all about run: 'remuda --help'.\n";
    let names: Vec<&str> = DOORS.iter().map(|(name, _)| *name).collect();
    page += &wrapped(&format!("In the manner of others ('remuda NAME -h'): {}.", names.join(", ")), 0);
    page
}

/// What `remuda --help` prints.
pub fn overview_long() -> String {
    format!("{}\n{VERB_CODES}\n{}", overview(), long(RUN))
}

/// What `-h` of a command prints: one screen.
pub fn short(command: &Command) -> String {
    let mut page = synopsis(command);
    for section in Section::ALL {
        let options: Vec<&Opt> = in_section(command, section).filter(|option| option.common).collect();
        if !options.is_empty() && titled(command, section) {
            page += &format!("{}:\n", section.title());
        }
        for option in options {
            page += &beside(&left(option), COLUMN, &brief(option));
        }
    }
    if command.options.iter().any(|option| !option.common) {
        page += &format!("'remuda {} --help' tells more, and of more options.\n", command.name);
    }
    page
}

/// What `--help` of a command prints: everything.
pub fn long(command: &Command) -> String {
    let mut page = synopsis(command);
    if !command.more.is_empty() {
        page += "\n";
        page += &wrapped(command.more, 0);
    }
    for section in Section::ALL {
        let options: Vec<&Opt> = in_section(command, section).collect();
        if !options.is_empty() && titled(command, section) {
            page += &format!("\n{}:\n", section.title());
        } else if !options.is_empty() {
            page += "\n";
        }
        for option in options {
            page += &beside(&left(option), COLUMN, &brief(option));
            page += &wrapped(option.more, 10);
        }
    }
    let codes = match command.kind {
        Kind::Run => RUN_CODES,
        Kind::Init => INIT_CODES,
        Kind::Check | Kind::Sample | Kind::Ask(_) => VERB_CODES,
    };
    format!("{page}\nDurations: {}.\n\n{codes}", duration::FORMS)
}

/// Headings help where options are many.
fn titled(command: &Command, section: Section) -> bool {
    command.kind == Kind::Run && section != Section::General
}

fn in_section(command: &Command, section: Section) -> impl Iterator<Item = &'static Opt> {
    command.options.iter().filter(move |option| option.section == section)
}

fn synopsis(command: &Command) -> String {
    let usage = format!("usage: remuda {} [OPTIONS] {}", command.name, command.operands);
    let brief = command.brief;
    format!("{}\n{}{}\n", usage.trim_end(), brief[..1].to_uppercase(), &brief[1..])
}

fn left(option: &Opt) -> String {
    let letter = option.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let argument = option.argument.map_or_else(String::new, |argument| format!(" {argument}"));
    format!("  {letter}--{}{argument}", option.long)
}

fn brief(option: &Opt) -> String {
    match option.default {
        Some(default) => format!("{} [{default}]", option.brief),
        None => option.brief.to_owned(),
    }
}

/// A line with `text` at `column`, or two where `left` reaches as far.
fn beside(left: &str, column: usize, text: &str) -> String {
    let left = left.trim_end();
    if left.chars().count() < column {
        format!("{left:column$}{text}\n")
    } else {
        format!("{left}\n{:column$}{text}\n", "")
    }
}

/// `text` in lines of at most [`WIDTH`], each after `indent` spaces.
fn wrapped(text: &str, indent: usize) -> String {
    let mut page = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.len() + 1 + word.len() > WIDTH {
            page += &format!("{:indent$}{line}\n", "");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        page += &format!("{:indent$}{line}\n", "");
    }
    page
}
