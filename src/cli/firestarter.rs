//! The command line of firestarter 0.3.3: to be a manager of the groups in a file as it was, or to ask one. Pure.
//!
//! What is wrong with a line is told in that program's words, at its place and with its status; firestarter(1) tells where
//! remuda differs on purpose.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use lexopt::{Arg, Parser};

use super::{Outcome, Refusal, Stream};
use crate::ask::{Ctrl, CtrlVerb};
use crate::config::{Manner, Overrides, Source};
use crate::error::Result;
use crate::values;

/// What the program exits with if it does not understand its command line.
const REFUSED: u8 = 1;

const VERSION: &str = "firestarter 0.3.3\n";

/// What may be asked of a group, in the order of the help.
const COMMANDS: [&str; 8] = ["start", "stop", "inc", "dec", "upgrade", "killall", "status", "restart"];

/// What workers may be sent instead of the usual signal.
const SIGNALS: [&str; 7] = ["SIGKILL", "SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"];

/// An option with a value.
#[derive(Debug)]
struct Opt {
    id: Id,
    short: char,
    long: &'static str,
    value: &'static str,
    brief: &'static str,
}

/// Names an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Config,
    SocketPath,
    Signal,
}

/// One subcommand.
#[derive(Debug)]
struct Sub {
    name: &'static str,
    brief: &'static str,
    /// What is left once its options are taken.
    usage: &'static str,
    operands: &'static [(&'static str, &'static str)],
    options: &'static [&'static Opt],
}

const CONFIG: Opt = Opt {
    id: Id::Config,
    short: 'c',
    long: "config",
    value: "FILE",
    brief: "the groups, see remuda.toml(5)",
};

const SOCKET_PATH: Opt = Opt {
    id: Id::SocketPath,
    short: 'd',
    long: "socket-path",
    value: "PATH",
    brief: "control socket of the manager [default: /tmp/firestarter-control.socket]",
};

const SIGNAL: Opt = Opt {
    id: Id::Signal,
    short: 's',
    long: "signal",
    value: "SIGNAL",
    brief: "send workers this signal instead of the usual one",
};

const GROUP: &str = "WORKER_CONFIG_NAME";
const COMMAND: &str = "COMMAND";

/// In the order of the help.
const SUBCOMMANDS: [Sub; 5] = [
    Sub {
        name: "ctrl",
        brief: "Ask for something to be done with a group",
        usage: "<WORKER_CONFIG_NAME> <COMMAND> --socket-path <PATH>",
        operands: &[(GROUP, "name of the group"), (COMMAND, "what is to be done with it")],
        options: &[&SIGNAL, &SOCKET_PATH],
    },
    Sub {
        name: "list",
        brief: "Show the names of the groups",
        usage: "--socket-path <PATH>",
        operands: &[],
        options: &[&SOCKET_PATH],
    },
    Sub {
        name: "run",
        brief: "Be the manager, in the foreground",
        usage: "--config <FILE> --socket-path <PATH>",
        operands: &[],
        options: &[&CONFIG, &SOCKET_PATH],
    },
    Sub {
        name: "status",
        brief: "Show how all groups stand",
        usage: "--socket-path <PATH>",
        operands: &[],
        options: &[&SOCKET_PATH],
    },
    Sub {
        name: "stop",
        brief: "Stop all groups, and the manager",
        usage: "--socket-path <PATH>",
        operands: &[],
        options: &[&SOCKET_PATH],
    },
];

/// Reads the words after the program's name. What is wrong with them comes back as [`Outcome::Refuse`].
pub(super) fn parse(words: Vec<OsString>) -> Result<Outcome> {
    let Some(first) = words.first() else { return Ok(refused(overview())) };
    let sub = |word: &OsStr| SUBCOMMANDS.iter().find(|sub| word == sub.name);
    Ok(match (first.to_str(), sub(first)) {
        (_, Some(sub)) => read(sub, &words[1..]).unwrap_or_else(|complaint| misused(&complaint, Some(sub))),
        (Some("-h" | "--help"), _) => Outcome::Print(overview()),
        (Some("-V" | "--version"), _) => Outcome::Print(VERSION.to_owned()),
        (Some("help"), _) => match words.get(1) {
            None => Outcome::Print(overview()),
            Some(word) => match sub(word) {
                Some(sub) => Outcome::Print(help(sub)),
                None => {
                    let sentence = format!("The subcommand '{}' wasn't recognized", word.display());
                    misused(&sentence, None)
                }
            },
        },
        _ => misused(&unexpected(first), None),
    })
}

/// The words after a subcommand, or what is wrong with them.
fn read(sub: &Sub, words: &[OsString]) -> Result<Outcome, String> {
    if let Some(page) = page_asked_for(sub, words) {
        return Ok(Outcome::Print(page));
    }
    let (mut given, mut operands) = (Vec::<(Id, OsString)>::new(), Vec::new());
    let mut parser = Parser::from_args(words);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        let option = match arg {
            Arg::Value(word) if operands.len() < sub.operands.len() => {
                operands.push(word);
                continue;
            }
            Arg::Value(word) => return Err(unexpected(&word)),
            Arg::Long(name) => option(sub, |option| option.long == name).ok_or(format!("--{name}")),
            Arg::Short(letter) => option(sub, |option| option.short == letter).ok_or(format!("-{letter}")),
        };
        let option = option.map_err(|written| unexpected(OsStr::new(&written)))?;
        if given.iter().any(|(id, _)| *id == option.id) {
            return Err(format!(
                "The argument '{}' was provided more than once, but cannot be used multiple times",
                named(option)
            ));
        }
        let value = parser.value().map_err(|_| {
            format!("The argument '{}' requires a value but none was supplied", named(option))
        })?;
        given.push((option.id, value));
    }
    let mut value = |wanted: Id| given.iter().position(|(id, _)| *id == wanted).map(|at| given.remove(at).1);
    let (config, socket, signal) = (value(Id::Config), value(Id::SocketPath), value(Id::Signal));
    let wants_config = sub.options.iter().any(|option| option.id == Id::Config);
    let mut missing: Vec<String> = Vec::new();
    missing.extend((wants_config && config.is_none()).then(|| named(&CONFIG)));
    missing.extend(sub.operands.iter().skip(operands.len()).map(|(name, _)| format!("<{name}>")));
    if !missing.is_empty() {
        let list: String = missing.iter().map(|name| format!("\n    {name}")).collect();
        return Err(format!("The following required arguments were not provided:{list}"));
    }
    let socket = socket.map(values::socket_path).transpose();
    let socket = socket.map_err(|error| format!("--{}: {error}", SOCKET_PATH.long))?;
    if let Some(file) = config {
        let file = values::path(file).map_err(|error| format!("--{}: {error}", CONFIG.long))?;
        let overrides = Overrides { control: socket, ..Overrides::default() };
        return Ok(Outcome::RunFile(Source { overrides, manner: Manner::Firestarter, ..Source::of(file) }));
    }
    let signal = signal.map(|signal| one_of(&signal, &SIGNALS, &named(&SIGNAL))).transpose()?;
    let verb = match (sub.name, &operands[..]) {
        (_, [name, command]) => CtrlVerb::Group {
            name: values::text(name).map_err(|error| error.message)?.to_owned(),
            command: one_of(command, &COMMANDS, &format!("<{COMMAND}>"))?,
            signal,
        },
        ("list", _) => CtrlVerb::List,
        ("status", _) => CtrlVerb::Status,
        (_, _) => CtrlVerb::Stop,
    };
    Ok(Outcome::Ctrl(Ctrl { socket, verb }))
}

/// Help and version go before whatever is wrong with a line.
fn page_asked_for(sub: &Sub, words: &[OsString]) -> Option<String> {
    let mut parser = Parser::from_args(words);
    loop {
        match parser.next() {
            Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return Some(help(sub)),
            Ok(Some(Arg::Long("version") | Arg::Short('V'))) => return Some(VERSION.to_owned()),
            Ok(Some(Arg::Long(name))) if option(sub, |option| option.long == name).is_some() => {
                parser.value().ok()?;
            }
            Ok(Some(Arg::Short(letter))) if option(sub, |option| option.short == letter).is_some() => {
                parser.value().ok()?;
            }
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => return None,
        }
    }
}

fn option(sub: &Sub, fits: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
    sub.options.iter().copied().find(|option| fits(option))
}

fn named(option: &Opt) -> String {
    format!("--{} <{}>", option.long, option.value)
}

fn one_of(word: &OsStr, choices: &[&str], argument: &str) -> Result<String, String> {
    if let Some(known) = choices.iter().find(|known| word == **known) {
        return Ok((*known).to_owned());
    }
    let mut sorted = choices.to_vec();
    sorted.sort_unstable();
    let list = sorted.join(", ");
    Err(format!("'{}' isn't a valid value for '{argument}'\n\t[possible values: {list}]\n", word.display()))
}

fn unexpected(word: &OsStr) -> String {
    format!("Found argument '{}' which wasn't expected, or isn't valid in this context", word.display())
}

fn misused(complaint: &str, sub: Option<&Sub>) -> Outcome {
    let usage = sub.map_or("<SUBCOMMAND>".to_owned(), |sub| format!("{} {}", sub.name, sub.usage));
    refused(format!(
        "error: {complaint}\n\nUSAGE:\n    firestarter {usage}\n\nFor more information try --help\n"
    ))
}

fn refused(page: String) -> Outcome {
    Outcome::Refuse(Refusal { page, stream: Stream::Error, status: REFUSED })
}

const FLAGS: &str = "    -h, --help       show this text
    -V, --version    show the version of firestarter that this is in the manner of
";

fn overview() -> String {
    let mut page = format!(
        "{VERSION}Keeps groups of processes alive on shared sockets\n\nUSAGE:\n    firestarter <SUBCOMMAND>\n\n\
         FLAGS:\n{FLAGS}\nSUBCOMMANDS:\n"
    );
    for sub in &SUBCOMMANDS {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "    {:<10}{}", sub.name, sub.brief);
    }
    page += "\nThis is remuda: see firestarter(1), and remuda(1) for what else it can do.\n";
    page
}

fn help(sub: &Sub) -> String {
    let operands: String = sub.operands.iter().map(|(name, _)| format!(" <{name}>")).collect();
    let config =
        if option(sub, |option| option.id == Id::Config).is_some() { " --config <FILE>" } else { "" };
    let mut page = format!(
        "firestarter-{}\n{}\n\nUSAGE:\n    firestarter {} [OPTIONS]{config}{operands}\n\nFLAGS:\n{FLAGS}\nOPTIONS:\n",
        sub.name, sub.brief, sub.name
    );
    for option in sub.options {
        let words = format!("-{}, {}", option.short, named(option));
        let _ = writeln!(page, "    {words:<28}{}", option.brief);
    }
    if option(sub, |option| option.id == Id::Signal).is_some() {
        let _ = writeln!(page, "                                {}", SIGNALS.join(" "));
    }
    if !sub.operands.is_empty() {
        page += "\nARGS:\n";
    }
    for (name, brief) in sub.operands {
        let _ = writeln!(page, "    {:<28}{brief}", format!("<{name}>"));
    }
    if !sub.operands.is_empty() {
        let _ = writeln!(page, "                                {}", COMMANDS.join(" "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> Outcome {
        parse(line.split_whitespace().map(OsString::from).collect()).unwrap()
    }

    fn source(control: Option<&str>) -> Outcome {
        let overrides = Overrides { control: control.map(Into::into), ..Overrides::default() };
        Outcome::RunFile(Source { overrides, manner: Manner::Firestarter, ..Source::of("a.toml".into()) })
    }

    fn ctrl(socket: Option<&str>, verb: CtrlVerb) -> Outcome {
        Outcome::Ctrl(Ctrl { socket: socket.map(Into::into), verb })
    }

    #[test]
    fn a_file_is_run_in_firestarters_manner() {
        assert_eq!(outcome("run -c a.toml"), source(None));
        for line in ["run --config a.toml -d /run/c", "run -ca.toml --socket-path=/run/c"] {
            assert_eq!(outcome(line), source(Some("/run/c")), "{line}");
        }
    }

    #[test]
    fn requests_name_a_group_a_command_and_a_signal() {
        assert_eq!(outcome("list"), ctrl(None, CtrlVerb::List));
        assert_eq!(outcome("status -d /run/c"), ctrl(Some("/run/c"), CtrlVerb::Status));
        assert_eq!(outcome("stop"), ctrl(None, CtrlVerb::Stop));
        for command in COMMANDS {
            let verb = CtrlVerb::Group { name: "web".into(), command: command.into(), signal: None };
            assert_eq!(outcome(&format!("ctrl web {command}")), ctrl(None, verb));
        }
        let verb =
            CtrlVerb::Group { name: "web".into(), command: "stop".into(), signal: Some("SIGHUP".into()) };
        assert_eq!(outcome("ctrl web -s SIGHUP stop -d /run/c"), ctrl(Some("/run/c"), verb));
    }

    #[test]
    fn every_option_is_in_the_help_of_its_subcommand() {
        for sub in &SUBCOMMANDS {
            assert!(overview().contains(&format!("    {} ", sub.name)));
            for line in [format!("{} -h", sub.name), format!("help {}", sub.name)] {
                assert_eq!(outcome(&line), Outcome::Print(help(sub)), "{line}");
            }
            for option in sub.options {
                assert!(help(sub).contains(&format!("-{}, {}", option.short, named(option))), "{}", sub.name);
            }
            assert_eq!(outcome(&format!("{} -V", sub.name)), Outcome::Print(VERSION.to_owned()));
        }
    }
}
