//! The command line of start_server, of Server::Starter 0.35, and the plan that makes remuda behave as it did. Pure.
//!
//! One worker behind its sockets, up when it has lived for a while, started again for ever, replaced on HUP, given all the
//! time it wants to finish. start_server(1) tells where remuda differs on purpose.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::getopts::Opt;
use super::optparse::{self, Stop};
use super::{Outcome, Refusal, Stream};
use crate::addr;
use crate::ask::Errand;
use crate::env::FIRST_DESCRIPTOR;
use crate::error::Result;
use crate::output::{LogFile, Output, Place, Rotation, Target};
use crate::plan::{
    Address, Backoff, Convention, Dialect, ExitPolicy, GroupSpec, Handoff, Launch, Level, LogFormat, LogSpec,
    ManagerPolicy, Meaning, Meanwhile, OwnProcess, Plan, Policy, Readiness, Share, SocketSpec, Stdin,
};
use crate::signame::Signal;
use crate::values;

/// What the program exits with if it does not understand its command line.
const REFUSED: u8 = 1;

const USAGE: &str = "\
usage: start_server [options] -- program [args]

Options:
        --port PORT     PORT, HOST:PORT, [IPV6]:PORT; uPORT for UDP; repeatable
        --path PATH     Unix socket; repeatable
        --backlog COUNT how many connections may wait
        --interval SECONDS
                        a worker that has lived so long is up (1)
        --signal-on-hup SIGNAL
                        asks a worker that is replaced to go (TERM)
        --signal-on-term SIGNAL
                        asks the worker to go at the end (TERM)
        --dir PATH      directory of the program
        --pid-file PATH file for the pid of the manager
        --status-file PATH
                        file with a line GENERATION:PID for each worker
        --log-file PATH file for what the program writes
        --restart       have the one of --pid-file replace its worker, and wait
        --stop          have the one of --pid-file end, and wait
    -h, --help          show this text
        --version       show the version of Server::Starter that this is in the
                        manner of

This is remuda: see start_server(1), and remuda(1) for what else it can do.
";

/// Names an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Port,
    Path,
    Backlog,
    Interval,
    SignalOnHup,
    SignalOnTerm,
    Dir,
    PidFile,
    StatusFile,
    LogFile,
    Restart,
    Stop,
    Help,
    Version,
    KillOldDelay,
    /// One of those that remuda does not have.
    Lacking(&'static str),
}

const OPTIONS: [Opt<Id>; 19] = [
    Opt::with_value(Id::Port, None, "port"),
    Opt::with_value(Id::Path, None, "path"),
    Opt::with_value(Id::Backlog, None, "backlog"),
    Opt::with_value(Id::Interval, None, "interval"),
    Opt::with_value(Id::SignalOnHup, None, "signal-on-hup"),
    Opt::with_value(Id::SignalOnTerm, None, "signal-on-term"),
    Opt::with_value(Id::Dir, None, "dir"),
    Opt::with_value(Id::PidFile, None, "pid-file"),
    Opt::with_value(Id::StatusFile, None, "status-file"),
    Opt::with_value(Id::LogFile, None, "log-file"),
    Opt::flag(Id::Restart, None, "restart"),
    Opt::flag(Id::Stop, None, "stop"),
    Opt::flag(Id::Help, Some('h'), "help"),
    Opt::flag(Id::Version, None, "version"),
    Opt::with_value(Id::KillOldDelay, None, "kill-old-delay"),
    Opt::flag(
        Id::Lacking("--daemonize: remuda stays in the foreground; let a service manager start it"),
        None,
        "daemonize",
    ),
    Opt::with_value(
        Id::Lacking("--envdir is not to be had; 'remuda run --env-file FILE' reads NAME=VALUE lines"),
        None,
        "envdir",
    ),
    Opt::flag(
        Id::Lacking("--enable-auto-restart is not to be had; let a timer send HUP, or run --restart"),
        None,
        "enable-auto-restart",
    ),
    Opt::with_value(
        Id::Lacking("--auto-restart-interval is not to be had; let a timer send HUP, or run --restart"),
        None,
        "auto-restart-interval",
    ),
];

/// Reads the words after the program's name. What is wrong with them comes back as [`Outcome::Refuse`].
pub(super) fn parse(words: Vec<OsString>) -> Result<Outcome> {
    let mut given = Given::default();
    let free = match optparse::read(words, &OPTIONS, |id, value| given.set(id, value)) {
        Ok(free) => free,
        Err(Stop::Done(outcome)) => return Ok(*outcome),
        Err(Stop::Wrong(sentence)) => return Ok(refused(&sentence)),
    };
    Ok(given.outcome(free).unwrap_or_else(|sentence| refused(&sentence)))
}

fn refused(sentence: &str) -> Outcome {
    let page = format!("start_server: {sentence} (try --help)\n");
    Outcome::Refuse(Refusal { page, stream: Stream::Error, status: REFUSED })
}

/// Every option with its default.
struct Given {
    ports: Vec<String>,
    paths: Vec<PathBuf>,
    backlog: Option<u32>,
    interval: Duration,
    on_hup: Signal,
    on_term: Signal,
    dir: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    status_file: Option<PathBuf>,
    log_file: Option<PathBuf>,
    restart: bool,
    stop: bool,
}

impl Default for Given {
    fn default() -> Self {
        Given {
            ports: Vec::new(),
            paths: Vec::new(),
            backlog: None,
            interval: Duration::from_secs(1),
            on_hup: Signal::TERM,
            on_term: Signal::TERM,
            dir: None,
            pid_file: None,
            status_file: None,
            log_file: None,
            restart: false,
            stop: false,
        }
    }
}

impl Given {
    fn set(&mut self, id: Id, value: OsString) -> Result<(), Stop> {
        let within = |name: &str| {
            let name = name.to_owned();
            move |error: crate::error::Error| Stop::Wrong(error.within(name).message)
        };
        match id {
            Id::Port => self.ports.push(values::text(&value).map_err(within("--port"))?.to_owned()),
            Id::Path => self.paths.push(values::socket_path(value).map_err(within("--path"))?),
            Id::Backlog => self.backlog = Some(number(&value).map_err(in_option("--backlog"))?),
            Id::Interval => {
                let seconds = number(&value).map_err(in_option("--interval"))?;
                self.interval = Duration::from_secs(seconds.into());
            }
            Id::SignalOnHup => self.on_hup = signal(&value).map_err(within("--signal-on-hup"))?,
            Id::SignalOnTerm => self.on_term = signal(&value).map_err(within("--signal-on-term"))?,
            Id::Dir => self.dir = Some(values::path(value).map_err(within("--dir"))?),
            Id::PidFile => self.pid_file = Some(values::path(value).map_err(within("--pid-file"))?),
            Id::StatusFile => self.status_file = Some(values::path(value).map_err(within("--status-file"))?),
            Id::LogFile if value.to_string_lossy().trim_start().starts_with('|') => {
                return Err(Stop::Wrong(
                    "--log-file: a command is not to be had; name a file, or pipe standard error to it"
                        .into(),
                ));
            }
            Id::LogFile => self.log_file = Some(values::path(value).map_err(within("--log-file"))?),
            Id::Restart => self.restart = true,
            Id::Stop => self.stop = true,
            Id::Help => return Err(Stop::Done(Box::new(Outcome::Print(USAGE.to_owned())))),
            Id::Version => return Err(Stop::Done(Box::new(Outcome::Print("0.35\n".to_owned())))),
            Id::KillOldDelay => {
                if number(&value).map_err(in_option("--kill-old-delay"))? != 0 {
                    return Err(Stop::Wrong(
                        "--kill-old-delay is not to be had; a longer --interval lets old and new serve together"
                            .into(),
                    ));
                }
            }
            Id::Lacking(sentence) => return Err(Stop::Wrong(sentence.to_owned())),
        }
        Ok(())
    }

    /// What to do, or a sentence about what stands in its way.
    fn outcome(self, free: Vec<OsString>) -> Result<Outcome, String> {
        match (self.restart, self.stop, self.pid_file.clone(), self.status_file.clone()) {
            (true, true, _, _) => return Err("--restart and --stop exclude each other".to_owned()),
            (true, false, Some(pidfile), Some(status_file)) => {
                return Ok(Outcome::Errand(Errand::Restart { pidfile, status_file }));
            }
            (true, false, _, _) => return Err("--restart needs --pid-file and --status-file".to_owned()),
            (false, true, Some(pidfile), _) => return Ok(Outcome::Errand(Errand::Stop { pidfile })),
            (false, true, None, _) => return Err("--stop needs --pid-file".to_owned()),
            (false, false, _, _) => {}
        }
        let mut free = free.into_iter();
        let program = free.next().filter(|program| !program.is_empty());
        let program = program.ok_or("server program not specified")?;
        let name = values::name_of_program(&program);
        let group = GroupSpec {
            name: name.clone(),
            launch: self.launch(program, free.collect()),
            sockets: self.sockets()?,
            policy: self.policy(),
            control: None,
        };
        Ok(Outcome::Run(Box::new(Plan {
            activation: false,
            name,
            groups: vec![group],
            control: None,
            dialect: Dialect::Native,
            manager: self.manager(),
            log: LogSpec::stderr(Level::Info, LogFormat::Plain),
            pidfile: self.pid_file,
            source: None,
            subreaper: false,
            own: OwnProcess { status_file: self.status_file, heeds_hangup: true, ..OwnProcess::default() },
        })))
    }

    /// Ports first, then paths, each in its order.
    fn sockets(&self) -> Result<Vec<SocketSpec>, String> {
        let mut sockets = Vec::with_capacity(self.ports.len() + self.paths.len());
        for (descriptor, port) in (FIRST_DESCRIPTOR..).zip(&self.ports) {
            let (address, wanted) = address(port).map_err(|why| format!("--port {port}: {why}"))?;
            if wanted.is_some_and(|wanted| wanted != descriptor) {
                return Err(format!("--port {port}: this socket is descriptor {descriptor} of the program"));
            }
            sockets.push(SocketSpec { backlog: self.backlog, ..addr::plain(address) });
        }
        for path in &self.paths {
            let address = Address::UnixPath(path.clone());
            let everybody = Some(0o777);
            sockets.push(SocketSpec { backlog: self.backlog, mode: everybody, ..addr::plain(address) });
        }
        match addr::duplicates(&sockets) {
            Some(address) => Err(format!("{address} is given twice")),
            None => Ok(sockets),
        }
    }

    fn launch(&self, program: OsString, args: Vec<OsString>) -> Launch {
        let rotation = Rotation::Never;
        let to_file = |path: &PathBuf| {
            Output::both(Target::Bytes(Place::File(LogFile { path: path.clone(), rotation })))
        };
        Launch {
            args,
            directory: self.dir.clone(),
            stdin: Stdin::Inherit,
            output: self.log_file.as_ref().map(to_file).unwrap_or_default(),
            handoff: Handoff { conventions: [Convention::ServerStarter].into(), ..Handoff::default() },
            own_process_group: false,
            own_session: false,
            kill_process_group: false,
            placeholders: false,
            ..Launch::new(program)
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            workers: 1,
            ready: match self.interval {
                Duration::ZERO => Readiness::Exec,
                interval => Readiness::Timer(interval),
            },
            graceful_signal: self.on_term,
            drain_signal: Some(self.on_hup),
            // Nobody is killed for being slow to go.
            stop_timeout: None,
            drain_timeout: None,
            surge: Share::Count(1),
            // However many old ones still finish their work.
            max_draining: Some(u32::MAX),
            // A new version is tried until it comes up, and the old one serves as long.
            upgrade_failures: u32::MAX,
            meanwhile: Meanwhile::Queue,
            healthy_after: Duration::ZERO,
            crash_window: Duration::ZERO,
            stable_after: Duration::ZERO,
            backoff: Backoff {
                base: self.interval,
                factor_milli: 1000,
                max: self.interval,
                jitter_percent: 0,
            },
            ..Policy::default()
        }
    }

    fn manager(&self) -> ManagerPolicy {
        let signals = BTreeMap::from([
            (Signal::HUP, Meaning::Upgrade),
            (Signal::INT, Meaning::StopWith(Signal::TERM)),
            (Signal::TERM, Meaning::StopWith(self.on_term)),
            (Signal::QUIT, Meaning::StopNow),
            (Signal::USR1, Meaning::ReopenLogs),
        ]);
        ManagerPolicy { signals, exit: ExitPolicy::Zero, ..ManagerPolicy::default() }
    }
}

/// `[HOST:][u]PORT[=FD]`.
fn address(text: &str) -> Result<(Address, Option<usize>), String> {
    let wrong = || "not [HOST:]PORT[=FD]".to_owned();
    let (text, descriptor) = match text.trim().split_once('=') {
        Some((text, digits)) => (text.trim_end(), Some(digits.trim().parse().map_err(|_| wrong())?)),
        None => (text.trim(), None),
    };
    let (host, port) = text.rsplit_once(':').map_or((None, text), |(host, port)| (Some(host), port));
    let (scheme, port) = port.strip_prefix('u').map_or(("tcp", port), |port| ("udp", port));
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let written = match host {
        // By default IPv4 alone.
        None => format!("{scheme}://{}:{port}", Ipv4Addr::UNSPECIFIED),
        Some(host) if host.starts_with('[') => format!("{scheme}://{host}:{port}"),
        Some(host) => format!("{scheme}4://{host}:{port}"),
    };
    let spec = addr::parse(&written).map_err(|error| error.message)?;
    Ok((spec.address, descriptor))
}

/// In any case, with or without SIG.
fn signal(value: &OsStr) -> Result<Signal> {
    values::text(value)?.parse()
}

fn number(value: &OsStr) -> Result<u32, String> {
    let word = value.to_string_lossy();
    values::whole(&word).ok_or_else(|| format!("'{word}' is not a whole number"))
}

fn in_option(name: &str) -> impl Fn(String) -> Stop {
    move |why| Stop::Wrong(format!("{name}: {why}"))
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
            Outcome::Refuse(Refusal { page, stream: Stream::Error, status: 1 }) => page,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_help_has_every_option_that_is_to_be_had() {
        for option in &OPTIONS {
            let had = !matches!(option.id, Id::Lacking(_) | Id::KillOldDelay);
            assert_eq!(USAGE.contains(&format!("--{}", option.long)), had, "{}", option.long);
        }
    }

    #[test]
    fn ports_come_first_and_each_has_its_address() {
        let sockets = |line: &str| {
            let sockets = plan(line).groups.remove(0).sockets;
            let shown: Vec<String> = sockets.iter().map(|socket| socket.address.to_string()).collect();
            shown.join(" ")
        };
        for (line, expected) in [
            ("prog", ""),
            ("--port 80 prog", "0.0.0.0:80"),
            ("--port=[::1]:80 --port 127.0.0.1:81=4 prog", "[::1]:80 127.0.0.1:81"),
            ("--path /run/a --port 80=3 --path=/run/b prog", "0.0.0.0:80 unix:/run/a unix:/run/b"),
            ("--port u53 --port 127.0.0.1:u54 prog", "udp://0.0.0.0:53 udp://127.0.0.1:54"),
        ] {
            assert_eq!(sockets(line), expected, "{line}");
        }
        let sockets = plan("--backlog 7 --port [::1]:80 --path /run/a prog").groups.remove(0).sockets;
        assert!(sockets.iter().all(|socket| socket.backlog == Some(7)));
        assert!(sockets[0].v6_only && sockets[0].reuse_address);
        assert_eq!(sockets[1].mode, Some(0o777));
    }

    #[test]
    fn each_option_sets_its_part_of_the_plan() {
        let line = "--interval 3 --signal-on-hup usr1 --signal-on-term=SIGUSR2 --dir /srv --pid-file p --status-file s \
                    --log-file l --kill-old-delay 0 -- prog --port 1";
        let plan = plan(line);
        let group = &plan.groups[0];
        assert_eq!((plan.name.as_str(), group.launch.args.len()), ("prog", 2));
        assert_eq!(group.policy.ready, Readiness::Timer(Duration::from_secs(3)));
        assert_eq!(group.policy.drain_signal, Some(Signal::USR1));
        assert_eq!(group.policy.graceful_signal, Signal::USR2);
        assert_eq!(plan.manager.signals[&Signal::TERM], Meaning::StopWith(Signal::USR2));
        assert_eq!(plan.manager.signals[&Signal::INT], Meaning::StopWith(Signal::TERM));
        assert_eq!(group.launch.directory, Some("/srv".into()));
        assert_eq!(group.launch.output.stdout.file().map(|file| file.path.clone()), Some("l".into()));
        assert_eq!((plan.pidfile, plan.own.status_file), (Some("p".into()), Some("s".into())));
        let errand = |line: &str| match outcome(line) {
            Outcome::Errand(errand) => errand,
            other => panic!("{line}: {other:?}"),
        };
        let (pidfile, status_file) = ("p".into(), "s".into());
        assert_eq!(
            errand("--restart --pid-file p --status-file s --port 80 -- prog"),
            Errand::Restart { pidfile, status_file }
        );
        assert_eq!(errand("--stop --pid-file p"), Errand::Stop { pidfile: "p".into() });
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_its_name() {
        for (line, words) in [
            ("", "server program not specified"),
            ("--port 80 --", "server program not specified"),
            ("--port x prog", "--port x: not [HOST:]PORT[=FD]"),
            ("--port 80=x prog", "--port 80=x: not [HOST:]PORT[=FD]"),
            ("--port 80=7 prog", "--port 80=7: this socket is descriptor 3 of the program"),
            ("--port 80 --port 80 prog", "0.0.0.0:80 is given twice"),
            ("--interval 1.5 prog", "--interval: '1.5' is not a whole number"),
            ("--backlog -1 prog", "--backlog: '-1' is not a whole number"),
            ("--signal-on-hup NONE prog", "--signal-on-hup: "),
            ("--log-file |cat prog", "--log-file: a command is not to be had"),
            ("--daemonize prog", "--daemonize: "),
            ("--envdir /e prog", "--envdir is not to be had"),
            ("--enable-auto-restart prog", "--enable-auto-restart is not to be had"),
            ("--auto-restart-interval 9 prog", "--auto-restart-interval is not to be had"),
            ("--kill-old-delay 5 prog", "--kill-old-delay is not to be had"),
            ("--restart --pid-file p", "--restart needs --pid-file and --status-file"),
            ("--stop", "--stop needs --pid-file"),
            ("--stop --restart", "--restart and --stop exclude each other"),
            ("--nonsense prog", "invalid option: --nonsense"),
        ] {
            let told = said(line);
            assert!(told.starts_with(&format!("start_server: {words}")), "{line}: {told}");
        }
    }

    #[test]
    fn help_and_version_are_no_failures() {
        assert_eq!(outcome("--help x"), Outcome::Print(USAGE.to_owned()));
        assert_eq!(outcome("--version"), Outcome::Print("0.35\n".to_owned()));
        assert!(matches!(outcome("prog --help"), Outcome::Run(_)));
    }
}
