//! remuda's own command line: from words to a plan, to something to ask a running manager, or to something to print.
//! Pure: nothing is looked up, nothing is touched.
//!
//! Which options there are says the table in `options`, what each one means `given.rs`.

use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

use super::given::Given;
use super::options::{COMMANDS, Command, Id, Kind, Opt, Question, RUN, command};
use super::{Outcome, help, init};
use crate::ask::Ask;
use crate::config;
use crate::error::{Error, Result};
use crate::nearest::nearest;
use crate::values;

/// Reads the words after the program's name.
///
/// # Errors
/// [`crate::error::Code::Usage`], with what is wrong and how to get help. Nothing was done by then.
pub fn parse(args: Vec<OsString>) -> Result<Outcome> {
    let args = behind_verb(args);
    let (command, rest) = match args.first().map(|first| first.to_string_lossy()) {
        None => return Err(Error::usage("nothing to do; try 'remuda -h'")),
        Some(word) if args.len() == 1 && (word == "-h" || word == "--help") => {
            return Ok(Outcome::Print(if word == "-h" { help::overview() } else { help::overview_long() }));
        }
        Some(word) if word == "help" => return help_on(&args[1..]),
        Some(word) if word.starts_with('-') => (RUN, &args[..]),
        Some(word) => match command(&word) {
            Some(command) => (command, &args[1..]),
            None => return Err(unknown_verb(&word, &args)),
        },
    };
    read(command, rest).map_err(|error| Error {
        message: format!("{}; try 'remuda {} -h'", error.message, command.name),
        ..error
    })
}

/// `help`, or `help VERB`.
fn help_on(words: &[OsString]) -> Result<Outcome> {
    match words {
        [] => Ok(Outcome::Print(help::overview_long())),
        [word] => match command(&word.to_string_lossy()) {
            Some(command) => Ok(Outcome::Print(help::long(command))),
            None => Err(unknown_verb(&word.to_string_lossy(), words)),
        },
        [_, extra, ..] => Err(unexpected(extra)),
    }
}

/// Which manager is meant may be said before the verb too: `--name web status` is `status --name web`.
fn behind_verb(args: Vec<OsString>) -> Vec<OsString> {
    let mut before = 0;
    while let Some(word) = args.get(before).map(|word| word.to_string_lossy()) {
        before += match &*word {
            "--name" | "--control" => 2,
            word if word.starts_with("--name=") || word.starts_with("--control=") => 1,
            _ => break,
        };
    }
    let verb = args.get(before).and_then(|word| command(&word.to_string_lossy()));
    if before == 0 || !verb.is_some_and(|verb| matches!(verb.kind, Kind::Ask(_))) {
        return args;
    }
    let mut args = args;
    args[..=before].rotate_right(1);
    args
}

fn read(command: &'static Command, args: &[OsString]) -> Result<Outcome> {
    if let Some(page) = page_asked_for(command, args) {
        return Ok(Outcome::Print(page));
    }
    match command.kind {
        Kind::Run => read_run(args),
        Kind::Init => init::read(args, &init::Manner::native(&|name| std::env::var_os(name))),
        Kind::Check => read_check(command, args),
        Kind::Sample => {
            operands(command, &mut Given::default(), args)?
                .first()
                .map_or(Ok(()), |word| Err(unexpected(word)))?;
            Ok(Outcome::Print(config::sample()))
        }
        Kind::Ask(question) => read_verb(question, command, args).map(Outcome::Ask),
    }
}

fn read_run(args: &[OsString]) -> Result<Outcome> {
    let mut given = Given::default();
    let mut parser = Parser::from_args(args);
    while !program_follows(&mut parser) {
        match parser.next().map_err(lexical)? {
            Some(Arg::Value(word)) => {
                return Err(match given.source()? {
                    Some(_) => unexpected(&word),
                    None => forgotten_dashes(args, word, parser),
                });
            }
            Some(arg) => {
                let option = known(RUN, &arg)?;
                apply(&mut given, option, &mut parser)?;
            }
            None => {
                let nothing =
                    || Error::usage("no program to run: it follows after '--'; or a file with --config");
                return given.source()?.map(Outcome::RunFile).ok_or_else(nothing);
            }
        }
    }
    let mut words = parser.raw_args().map_err(lexical)?;
    if given.source()?.is_some() {
        return Err(Error::usage("a program after '--' and --config contradict each other"));
    }
    match words.next() {
        Some(program) if !program.is_empty() => {
            given.plan(program, words.collect()).map(|plan| Outcome::Run(Box::new(plan)))
        }
        Some(_) => Err(Error::usage("the name of the program is empty")),
        None => Err(Error::usage("no program to run: nothing follows after '--'")),
    }
}

fn read_check(command: &'static Command, args: &[OsString]) -> Result<Outcome> {
    let mut given = Given::default();
    let words = operands(command, &mut given, args)?;
    match &words[..] {
        [] => Err(Error::usage("FILE is missing: remuda check FILE")),
        [file] => {
            let file = values::path(file.into()).map_err(|error| error.within("FILE"))?;
            Ok(Outcome::Check(given.source_of(file)))
        }
        [_, extra, ..] => Err(unexpected(extra)),
    }
}

fn read_verb(question: Question, command: &'static Command, args: &[OsString]) -> Result<Ask> {
    let mut given = Given::default();
    let words = operands(command, &mut given, args)?;
    let words: Vec<String> =
        words.into_iter().map(|word| values::text(&word).map(str::to_owned)).collect::<Result<_>>()?;
    given.ask(question, command, &words)
}

/// Takes the options of a command, and returns the words between them.
fn operands(command: &'static Command, given: &mut Given, args: &[OsString]) -> Result<Vec<OsString>> {
    let mut operands = Vec::new();
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(lexical)? {
        if let Arg::Value(word) = arg {
            operands.push(word);
        } else {
            let option = known(command, &arg)?;
            apply(given, option, &mut parser)?;
        }
    }
    Ok(operands)
}

fn unexpected(word: &OsStr) -> Error {
    Error::usage(format!("unexpected word '{}'", word.display()))
}

pub(super) fn apply(given: &mut Given, option: &Opt, parser: &mut Parser) -> Result<()> {
    let value = option.argument.map(|argument| value(parser, option, argument)).transpose()?;
    given
        .set(option.id, value.unwrap_or_default())
        .map_err(|error| error.within(format_args!("--{}", option.long)))
}

/// Help and version go before everything else, also before whatever is wrong with the line. What stands in the place of
/// an option's value, or belongs to the program that is to run, is no such request.
pub(super) fn page_asked_for(command: &'static Command, args: &[OsString]) -> Option<String> {
    let mut parser = Parser::from_args(args);
    loop {
        if program_follows(&mut parser) {
            return None;
        }
        let (option, short) = match parser.next() {
            Ok(Some(Arg::Long(name))) => (command.long(name), false),
            Ok(Some(Arg::Short(letter))) => (command.short(letter), true),
            Ok(Some(Arg::Value(_))) if matches!(command.kind, Kind::Run | Kind::Init) => return None,
            Ok(Some(Arg::Value(_))) => continue,
            // A flag with a value, such as `--json=yes`; the words after it may still ask for help.
            Err(_) => continue,
            Ok(None) => return None,
        };
        match option {
            Some(Opt { id: Id::Help, .. }) if short => return Some(help::short(command)),
            Some(Opt { id: Id::Help, .. }) => return Some(help::long(command)),
            Some(Opt { id: Id::Version, .. }) => return Some(help::version()),
            Some(Opt { argument: Some(_), .. }) => drop(parser.value().ok()?),
            _ => {}
        }
    }
}

/// Takes the `--` that ends the options of `run`, if it is the next word.
pub(super) fn program_follows(parser: &mut Parser) -> bool {
    parser.try_raw_args().is_some_and(|mut words| words.next_if(|word| word == "--").is_some())
}

/// One option of the command line, looked up in the table.
pub(super) fn known(command: &'static Command, arg: &Arg<'_>) -> Result<&'static Opt> {
    let (found, written) = match arg {
        Arg::Long(name) => (command.long(name), format!("--{name}")),
        Arg::Short(letter) => (command.short(*letter), format!("-{letter}")),
        Arg::Value(word) => return Err(unexpected(word)),
    };
    found.ok_or_else(|| {
        let near = match arg {
            Arg::Long(name) => nearest(name, command.options.iter().map(|option| option.long)),
            Arg::Short(_) | Arg::Value(_) => None,
        };
        let elsewhere = || {
            let takes = |command: &&Command| match arg {
                Arg::Long(name) => command.long(name).is_some(),
                Arg::Short(letter) => command.short(*letter).is_some(),
                Arg::Value(_) => false,
            };
            COMMANDS.iter().find(takes).map(|command| format!(" (it belongs to 'remuda {}')", command.name))
        };
        let hint =
            near.map(|near| format!(" (did you mean '--{near}'?)")).or_else(elsewhere).unwrap_or_default();
        Error::usage(format!("unknown option '{written}'{hint}"))
    })
}

/// The value of an option that takes one.
fn value(parser: &mut Parser, option: &Opt, argument: &str) -> Result<OsString> {
    parser.value().map_err(|_| Error::usage(format!("option '--{}' needs a value: {argument}", option.long)))
}

/// What the lexer itself refuses.
pub(super) fn lexical(error: lexopt::Error) -> Error {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => {
            Error::usage(format!("option '{option}' takes no value, and has '{}'", value.display()))
        }
        other => Error::usage(other.to_string()),
    }
}

/// The error for a free word among the options of `run`: nearly always the program, with `--` forgotten.
fn forgotten_dashes(args: &[OsString], word: OsString, mut parser: Parser) -> Error {
    let rest: Vec<OsString> = parser.raw_args().map(Iterator::collect).unwrap_or_default();
    let word_shown = word.display();
    if rest.iter().any(|word| word == "--") {
        return Error::usage(format!("unexpected word '{word_shown}' before '--'"));
    }
    let options = &args[..args.len().saturating_sub(rest.len() + 1)];
    let line = [&["remuda".into(), "run".into()], options, &["--".into(), word.clone()], &rest[..]].concat();
    Error::usage(format!("a '--' must stand before the program '{word_shown}': {}", shown(&line)))
}

fn unknown_verb(word: &str, args: &[OsString]) -> Error {
    let hint = match nearest(word, COMMANDS.iter().map(|command| command.name)) {
        Some(near) => format!(" (did you mean '{near}'?)"),
        None => format!("; to run a program: remuda -- {}", shown(args)),
    };
    Error::usage(format!("unknown verb '{word}'{hint}; try 'remuda -h'"))
}

/// Words as they can be typed into a shell.
fn shown(words: &[OsString]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+[]".contains(c);
    let quoted = |word: &OsString| {
        let word = word.to_string_lossy();
        match !word.is_empty() && word.chars().all(plain) {
            true => word.into_owned(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
