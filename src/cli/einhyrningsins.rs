//! The command line of einhyrningsins 0.2.0, and the plan that makes remuda behave as it did. Pure.
//!
//! What is written here keeps the words, the place and the status of that program; einhyrningsins(1) tells where remuda
//! differs on purpose.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::getopts::{self, Opt};
use super::{Outcome, Refusal, Stream};
use crate::addr;
use crate::error::{Error, Result};
use crate::plan::{
    Address, Backoff, ControlSpec, Dialect, EnvSpec, ExitPolicy, Facility, GroupSpec, Host, Launch, Level,
    LogFormat, LogSpec, LogTarget, ManagerPolicy, Meaning, OwnProcess, Plan, Policy, Readiness, Share,
    SocketSpec, Stdin,
};
use crate::signame::Signal;
use crate::values;

/// Where manager and client meet if nothing else is said; einhorn has the same.
pub(super) const SOCKET: &str = "/tmp/einhorn.sock";

/// What the program exits with if it does not understand its command line.
pub(super) const REFUSED: u8 = 255;

/// How long a worker has to live, or to ack, before it counts.
const CHILDHOOD: Duration = Duration::from_secs(3);

/// How long a worker has for each signal that asks it to go.
const GRACE: Duration = Duration::from_secs(3);

/// Connections that may wait on a listening socket.
const BACKLOG: u32 = 128;

const USAGE: &str = "
usage:  einhyrningsins [options] [--] program [program_args]

Options:
    -h, --help          show this text
        --version       show the version of einhyrningsins that this is in the manner of
    -v, --verbose       log each step
        --syslog        log to syslog instead of standard error
    -4, --ipv4-only     IPv4 addresses only
    -6, --ipv6-only     IPv6 addresses only
    -m, --manual        workers say themselves when they are up
    -n, --number COUNT  how many workers (1)
    -b, --bind ADDR     HOST:PORT[,r][,n] to listen on; repeatable
        --drop-env-var VAR
                        keep a variable from the workers; repeatable
    -d, --socket-path PATH
                        control socket (/tmp/einhorn.sock)
    -r, --retries COUNT how often to try to start a worker (1)

This is remuda: see einhyrningsins(1), and remuda(1) for what else it can do.
";

/// Names an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Help,
    Version,
    Verbose,
    Syslog,
    Ipv4Only,
    Ipv6Only,
    Manual,
    Number,
    Bind,
    DropEnvVar,
    SocketPath,
    Retries,
}

const OPTIONS: [Opt<Id>; 12] = [
    Opt::flag(Id::Help, Some('h'), "help"),
    Opt::flag(Id::Version, None, "version"),
    Opt::flag(Id::Verbose, Some('v'), "verbose"),
    Opt::flag(Id::Syslog, None, "syslog"),
    Opt::flag(Id::Ipv4Only, Some('4'), "ipv4-only"),
    Opt::flag(Id::Ipv6Only, Some('6'), "ipv6-only"),
    Opt::flag(Id::Manual, Some('m'), "manual"),
    Opt::with_value(Id::Number, Some('n'), "number"),
    Opt::with_value(Id::Bind, Some('b'), "bind"),
    Opt::with_value(Id::DropEnvVar, None, "drop-env-var"),
    Opt::with_value(Id::SocketPath, Some('d'), "socket-path"),
    Opt::with_value(Id::Retries, Some('r'), "retries"),
];

/// Reads the words after the program's name. What is wrong with them comes back as [`Outcome::Refuse`].
pub(super) fn parse(words: Vec<OsString>) -> Result<Outcome> {
    let words = match getopts::read(words, &OPTIONS) {
        Ok(words) => words,
        Err(complaint) => return Ok(misused(&complaint, USAGE)),
    };
    let given = |wanted: Id| words.options.iter().any(|(id, _)| *id == wanted);
    if given(Id::Help) {
        return Ok(Outcome::Print(USAGE.to_owned()));
    }
    if given(Id::Version) {
        return Ok(Outcome::Print("einhyrningsins 0.2.0\n".to_owned()));
    }
    let mut given = Given::default();
    for (id, value) in words.options {
        if let Err(error) = given.set(id, value) {
            return Ok(misused(&error.message, USAGE));
        }
    }
    Ok(given.outcome(words.free).unwrap_or_else(|sentence| refused(&format!("{sentence}\n"))))
}

/// The answer to a line that cannot be understood: what is wrong, and all that would be right.
pub(super) fn misused(complaint: &str, usage: &str) -> Outcome {
    refused(&format!("{complaint}\n\n{usage}"))
}

fn refused(page: &str) -> Outcome {
    Outcome::Refuse(Refusal { page: page.to_owned(), stream: Stream::Output, status: REFUSED })
}

/// Every option with its default.
struct Given {
    verbose: bool,
    syslog: bool,
    ipv4_only: bool,
    ipv6_only: bool,
    manual: bool,
    number: u32,
    bind: Vec<OsString>,
    drop: Vec<String>,
    socket: PathBuf,
    retries: u32,
}

impl Default for Given {
    fn default() -> Self {
        Given {
            verbose: false,
            syslog: false,
            ipv4_only: false,
            ipv6_only: false,
            manual: false,
            number: 1,
            bind: Vec::new(),
            drop: Vec::new(),
            socket: SOCKET.into(),
            retries: 1,
        }
    }
}

impl Given {
    fn set(&mut self, id: Id, value: OsString) -> Result<()> {
        match id {
            Id::Verbose => self.verbose = true,
            Id::Ipv4Only => self.ipv4_only = true,
            Id::Ipv6Only => self.ipv6_only = true,
            Id::Manual => self.manual = true,
            Id::Number => self.number = count(&value).map_err(|error| error.within("--number"))?,
            Id::Retries => self.retries = count(&value).map_err(|error| error.within("--retries"))?,
            Id::Bind => self.bind.push(value),
            Id::DropEnvVar => {
                let name = values::text(&value).and_then(values::variable_name);
                self.drop.push(name.map_err(|error| error.within("--drop-env-var"))?);
            }
            Id::SocketPath => {
                self.socket = values::socket_path(value).map_err(|error| error.within("--socket-path"))?;
            }
            Id::Syslog => self.syslog = true,
            // These are answered before.
            Id::Help | Id::Version => {}
        }
        Ok(())
    }

    /// The plan, or a sentence about what stands in its way.
    fn outcome(self, free: Vec<OsString>) -> Result<Outcome, String> {
        if self.ipv4_only && self.ipv6_only {
            return Err("Can't be both IPv4-only and IPv6-only".to_owned());
        }
        let mut free = free.into_iter();
        let Some(program) = free.next().filter(|program| !program.is_empty()) else {
            return Err("Missing program to run (try --help)".to_owned());
        };
        let mut sockets = Vec::with_capacity(self.bind.len());
        for bind in &self.bind {
            sockets.push(self.socket(bind)?);
        }
        if let Some(address) = addr::duplicates(&sockets) {
            return Err(format!("--bind: {address} is given twice"));
        }
        let level = if self.verbose { Level::Debug } else { Level::Info };
        let target = match self.syslog {
            false => LogTarget::Stderr,
            true => LogTarget::Syslog { tag: "einhyrningsins".to_owned(), facility: Facility::Daemon },
        };
        let name = values::name_of_program(&program);
        let policy = self.policy();
        let launch = launch(program, free.collect(), self.drop);
        Ok(Outcome::Run(Box::new(Plan {
            activation: false,
            name: name.clone(),
            groups: vec![GroupSpec { name, launch, sockets, policy, control: None }],
            control: Some(ControlSpec::Path(self.socket)),
            dialect: Dialect::Einhyrningsins,
            manager: manager(),
            log: LogSpec { target, ..LogSpec::stderr(level, LogFormat::Plain) },
            pidfile: None,
            source: None,
            subreaper: false,
            own: OwnProcess::default(),
        })))
    }

    /// `HOST:PORT[,r][,n]`. What is between the commas may be empty, and `r` is the default.
    fn socket(&self, bind: &OsStr) -> Result<SocketSpec, String> {
        let text = values::text(bind).map_err(|error| error.within("--bind").message)?;
        let mut parts = text.split(',');
        let address = parts.next().unwrap_or_default();
        let mut nonblocking = false;
        for part in parts {
            match part {
                "n" => nonblocking = true,
                "r" | "" => {}
                unknown => {
                    return Err(format!(
                        "Unknown socket arg '{unknown}', I only know about 'n' and 'r'. Try --help"
                    ));
                }
            }
        }
        if address.contains("://") || !address.contains(':') || address.starts_with(':') {
            return Err(format!("--bind: '{address}' is not HOST:PORT"));
        }
        let family = match (self.ipv4_only, self.ipv6_only) {
            (true, _) => "tcp4",
            (_, true) => "tcp6",
            _ => "tcp",
        };
        let spec =
            addr::parse(&format!("{family}://{address}")).map_err(|error| format!("--bind: {error}"))?;
        if matches!(spec.address, Address::Tcp(Host::Any(_))) {
            return Err(format!("--bind: '{address}' is not HOST:PORT"));
        }
        Ok(SocketSpec {
            backlog: Some(BACKLOG),
            reuse_address: true,
            nonblocking,
            // As it was: [::] is IPv4 too unless the system says otherwise, or -6 does.
            v6_only: self.ipv6_only,
            ..spec
        })
    }

    fn policy(&self) -> Policy {
        let standard = Policy::default();
        Policy {
            workers: self.number,
            dec_min: 0,
            ready: if self.manual { Readiness::Manual } else { Readiness::Timer(CHILDHOOD) },
            ack_deadline: if self.manual { Some(CHILDHOOD) } else { standard.ack_deadline },
            graceful_signal: Signal::USR2,
            overdue_signal: Some(Signal::TERM),
            stop_timeout: Some(GRACE),
            drain_timeout: Some(GRACE),
            stop_steps: vec![(Signal::TERM, GRACE)],
            // All successors at once; each old worker goes when its own successor is up.
            surge: Share::Percent(100),
            upgrade_failures: self.retries.max(1),
            give_up: Some(self.retries.max(1)),
            give_up_roll_back: true,
            // No worker that was up once is held back, and no other is waited for.
            healthy_after: Duration::ZERO,
            crash_window: Duration::ZERO,
            stable_after: Duration::ZERO,
            backoff: Backoff {
                base: Duration::ZERO,
                factor_milli: 1000,
                max: Duration::ZERO,
                jitter_percent: 0,
            },
            ..standard
        }
    }
}

fn launch(program: OsString, args: Vec<OsString>, drop: Vec<String>) -> Launch {
    Launch {
        args,
        env: EnvSpec { drop, ..EnvSpec::default() },
        stdin: Stdin::Inherit,
        own_process_group: false,
        own_session: false,
        kill_process_group: false,
        placeholders: false,
        ..Launch::new(program)
    }
}

fn manager() -> ManagerPolicy {
    let signals = BTreeMap::from([
        (Signal::HUP, Meaning::Upgrade),
        (Signal::INT, Meaning::StopWith(Signal::USR2)),
        (Signal::USR2, Meaning::StopWith(Signal::USR2)),
        (Signal::TERM, Meaning::StopWith(Signal::TERM)),
        (Signal::QUIT, Meaning::StopWith(Signal::TERM)),
        (Signal::USR1, Meaning::Relay),
        (Signal::TTIN, Meaning::Relay),
        (Signal::TTOU, Meaning::Relay),
        (Signal::CONT, Meaning::Relay),
    ]);
    ManagerPolicy { signals, exit: ExitPolicy::Zero, exit_when_empty: true, ..ManagerPolicy::default() }
}

/// A whole number, also 0.
fn count(value: &OsStr) -> Result<u32> {
    let most = values::WORKERS_MAX;
    let word = values::text(value)?;
    values::whole(word)
        .filter(|count| *count <= most)
        .ok_or_else(|| Error::usage(format!("'{word}' is not a whole number from 0 to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> Outcome {
        parse(line.split_whitespace().map(OsString::from).collect()).unwrap()
    }

    fn plan(line: &str) -> Plan {
        match outcome(line) {
            Outcome::Run(plan) => *plan,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn said(line: &str) -> String {
        match outcome(line) {
            Outcome::Refuse(Refusal { page, stream: Stream::Output, status: 255 }) => page,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn policy(line: &str) -> Policy {
        plan(line).groups.remove(0).policy
    }

    fn bound(line: &str) -> SocketSpec {
        plan(line).groups.remove(0).sockets.remove(0)
    }

    #[test]
    fn every_option_is_in_the_help() {
        for option in &OPTIONS {
            assert!(USAGE.contains(&format!("--{}", option.long)), "{}", option.long);
            assert!(option.short.is_none_or(|letter| USAGE.contains(&format!("-{letter}, "))));
        }
    }

    #[test]
    fn each_option_sets_its_part_of_the_plan() {
        let plain = plan("prog a -n");
        assert_eq!((plain.name.as_str(), plain.dialect), ("prog", Dialect::Einhyrningsins));
        assert_eq!(plain.control, Some(ControlSpec::Path("/tmp/einhorn.sock".into())));
        assert_eq!(plain.groups[0].launch.args, ["a", "-n"]);
        assert_eq!((plain.log.level, policy("prog").workers), (Level::Info, 1));
        assert_eq!(policy("prog").ready, Readiness::Timer(CHILDHOOD));
        assert_eq!(policy("prog").give_up, Some(1));
        assert_eq!(policy("-n 3 prog").workers, 3);
        assert_eq!(policy("--number=0 prog").workers, 0);
        assert_eq!(
            (policy("-m prog").ready, policy("-m prog").ack_deadline),
            (Readiness::Manual, Some(CHILDHOOD))
        );
        assert_eq!((policy("-r 4 prog").give_up, policy("-r 4 prog").upgrade_failures), (Some(4), 4));
        assert_eq!(policy("-r 0 prog").give_up, Some(1));
        assert_eq!(plan("-v prog").log.level, Level::Debug);
        assert_eq!(
            plan("--syslog -d /run/e.sock prog").control,
            Some(ControlSpec::Path("/run/e.sock".into()))
        );
        let facility = Facility::Daemon;
        let target = LogTarget::Syslog { tag: "einhyrningsins".to_owned(), facility };
        assert_eq!((plan("--syslog prog").log.target, plain.log.target), (target, LogTarget::Stderr));
        let dropped = plan("--drop-env-var A --drop-env-var=B prog").groups.remove(0).launch.env.drop;
        assert_eq!(dropped, ["A", "B"]);
    }

    #[test]
    fn sockets_have_their_flags_and_their_family() {
        let plain = bound("-b 127.0.0.1:80 prog");
        assert_eq!(plain.address, Address::Tcp(Host::Ip("127.0.0.1:80".parse().unwrap())));
        assert_eq!((plain.backlog, plain.reuse_address, plain.nonblocking), (Some(128), true, false));
        assert!(bound("-b 127.0.0.1:80,r,n prog").nonblocking);
        assert!(!bound("-b 127.0.0.1:80,,r, prog").nonblocking);
        let name = |family| Address::Tcp(Host::Name("localhost".into(), 80, family));
        assert_eq!(bound("-b localhost:80 prog").address, name(crate::plan::Family::Either));
        assert_eq!(bound("-4 -b localhost:80 prog").address, name(crate::plan::Family::V4));
        assert_eq!(bound("-6 -b localhost:80 prog").address, name(crate::plan::Family::V6));
        assert!(!bound("-b [::]:80 prog").v6_only);
        assert!(bound("-6 -b [::]:80 prog").v6_only);
        assert_eq!(plan("-b 127.0.0.1:0 -b 127.0.0.1:0 prog").groups[0].sockets.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_ancestor() {
        for (line, words) in [
            ("-4 -6 true", "Can't be both IPv4-only and IPv6-only\n"),
            ("", "Missing program to run (try --help)\n"),
            ("-n 2 --", "Missing program to run (try --help)\n"),
            ("-b 127.0.0.1:0,q true", "Unknown socket arg 'q', I only know about 'n' and 'r'. Try --help\n"),
        ] {
            assert_eq!(said(line), words, "{line}");
        }
        assert_eq!(said("-Z"), format!("Unrecognized option: 'Z'\n\n{USAGE}"));
        for (line, words) in [
            ("-n three true", "--number: 'three' is not a whole number from 0 to 10000\n"),
            ("-n -1 true", "--number: '-1' is not a whole number"),
            ("-n 10001 true", "--number: '10001' is not a whole number"),
            ("-r 1.5 true", "--retries: '1.5' is not a whole number"),
            ("--drop-env-var A=B true", "--drop-env-var: 'A=B' is not the name of a variable"),
            ("--socket-path= true", "--socket-path: the path is empty"),
            ("-b 8080 true", "--bind: '8080' is not HOST:PORT"),
            ("-b :8080 true", "--bind: ':8080' is not HOST:PORT"),
            ("-b *:8080 true", "--bind: '*:8080' is not HOST:PORT"),
            ("-b unix:/x true", "--bind: "),
            ("-b fd://3 true", "--bind: 'fd://3' is not HOST:PORT"),
            ("-b localhost:x true", "--bind: "),
            ("-4 -b [::1]:80 true", "--bind: "),
            ("-b 127.0.0.1:80 -b 127.0.0.1:80 true", "--bind: 127.0.0.1:80 is given twice"),
        ] {
            assert!(said(line).starts_with(words), "{line}: {}", said(line));
        }
    }

    #[test]
    fn help_and_version_are_no_failures() {
        assert_eq!(outcome("-v --help x"), Outcome::Print(USAGE.to_owned()));
        assert_eq!(outcome("--version"), Outcome::Print("einhyrningsins 0.2.0\n".to_owned()));
        assert!(matches!(outcome("prog --help"), Outcome::Run(_)));
    }
}
