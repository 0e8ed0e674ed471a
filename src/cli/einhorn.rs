//! The command line of einhorn 1.1.1, and the plan that makes remuda behave as it did. Pure, but for where temporary files
//! are and how many processors there are.
//!
//! What programs look at keeps its words and its status; einhorn(1) tells where remuda differs on purpose.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::getopts::Opt;
use super::optparse::{self, Stop};
use super::{Outcome, Refusal, Stream};
use crate::addr;
use crate::attributes::Attributes;
use crate::duration::{self, Unfit};
use crate::error::Result;
use crate::plan::{
    Address, Argv0, Backoff, ControlSpec, Dialect, EinhornManner, EnvSpec, ExitPolicy, GroupSpec, Handoff,
    Host, Launch, Level, LogFormat, LogSpec, ManagerPolicy, Meaning, OwnProcess, Plan, Policy, Readiness,
    Reexec, Share, Shrink, SocketSpec, Stdin, UpgradeMode,
};
use crate::signame::Signal;
use crate::values;
use crate::words;

/// The release this is in the manner of.
const VERSION: &str = "1.1.1";

/// Connections that may wait on a listening socket.
const BACKLOG: u32 = 100;

/// Growth of the pause between attempts, in thousandths.
const FACTOR_MILLI: u32 = 1500;

/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);

const USAGE: &str = "\
## Usage

einhorn [options] [--] program [args]

Options:
    -b, --bind ADDR                  address:port[,r][,n] to listen on; repeatable
    -c, --command-name NAME          name of the manager in ps and in default file names
    -d, --socket-path PATH           control socket ($TMPDIR/einhorn.sock)
    -e, --pidfile PATH               pid file ($TMPDIR/einhorn.pid)
    -f, --lockfile PATH              lock of the control socket ($TMPDIR/einhorn.lock)
    -g, --command-socket-as-fd       give each worker a connection to the manager
    -h, --help                       show this text
    -k, --kill-children-on-exit      workers get SIGUSR2 when the manager dies
    -l, --backlog N                  connections that may wait on a socket (100)
    -m, --ack-mode MODE              manual, or seconds after which a worker is up (1)
    -n, --number N                   how many workers (1)
    -p, --preload PATH               of Ruby's einhorn only: ignored
    -q, --quiet                      log less; repeatable
    -s, --seconds N                  seconds between the start of two workers (1)
    -t, --signal-timeout T           seconds until a worker that was asked to go is killed (never)
    -v, --verbose                    log more; repeatable
        --drop-env-var NAME          drop a variable at the first upgrade; repeatable
        --gc-before-fork             of Ruby's einhorn only: ignored
        --max-unacked N              workers that may be starting up at a time, but for the first ones
        --max-upgrade-additional N   workers beyond the number in a smooth upgrade
        --nice NICE                  nice values: MASTER, MASTER:WORKER or MASTER:WORKER:CMD
        --reexec-as CMDLINE          the command that leads back to einhorn in an upgrade
        --version                    show the version of einhorn that this is in the manner of
        --upgrade-check              say whether this einhorn can take over; for upgrades
        --with-state-fd FD           take over; for upgrades

This is remuda: see einhorn(1), and remuda(1) for what else it can do.
";

/// Names an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Bind,
    CommandName,
    SocketPath,
    Pidfile,
    Lockfile,
    SocketAsFd,
    Help,
    KillChildren,
    Backlog,
    AckMode,
    Number,
    Preload,
    Quiet,
    Seconds,
    SignalTimeout,
    Verbose,
    DropEnvVar,
    GcBeforeFork,
    MaxUnacked,
    MaxUpgradeAdditional,
    Nice,
    ReexecAs,
    Version,
    UpgradeCheck,
    WithStateFd,
}

const OPTIONS: [Opt<Id>; 25] = [
    Opt::with_value(Id::Bind, Some('b'), "bind"),
    Opt::with_value(Id::CommandName, Some('c'), "command-name"),
    Opt::with_value(Id::SocketPath, Some('d'), "socket-path"),
    Opt::with_value(Id::Pidfile, Some('e'), "pidfile"),
    Opt::with_value(Id::Lockfile, Some('f'), "lockfile"),
    Opt::flag(Id::SocketAsFd, Some('g'), "command-socket-as-fd"),
    Opt::flag(Id::Help, Some('h'), "help"),
    Opt::flag(Id::KillChildren, Some('k'), "kill-children-on-exit"),
    Opt::with_value(Id::Backlog, Some('l'), "backlog"),
    Opt::with_value(Id::AckMode, Some('m'), "ack-mode"),
    Opt::with_value(Id::Number, Some('n'), "number"),
    Opt::with_value(Id::Preload, Some('p'), "preload"),
    Opt::flag(Id::Quiet, Some('q'), "quiet"),
    Opt::with_value(Id::Seconds, Some('s'), "seconds"),
    Opt::with_value(Id::SignalTimeout, Some('t'), "signal-timeout"),
    Opt::flag(Id::Verbose, Some('v'), "verbose"),
    Opt::with_value(Id::DropEnvVar, None, "drop-env-var"),
    Opt::flag(Id::GcBeforeFork, None, "gc-before-fork"),
    Opt::with_value(Id::MaxUnacked, None, "max-unacked"),
    Opt::with_value(Id::MaxUpgradeAdditional, None, "max-upgrade-additional"),
    Opt::with_value(Id::Nice, None, "nice"),
    Opt::with_value(Id::ReexecAs, None, "reexec-as"),
    Opt::flag(Id::Version, None, "version"),
    Opt::flag(Id::UpgradeCheck, None, "upgrade-check"),
    Opt::with_value(Id::WithStateFd, None, "with-state-fd"),
];

/// Where temporary files are.
pub(super) fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

/// `einhorn.sock`, or `einhorn-NAME.sock`.
pub(super) fn file_name(name: Option<&OsStr>, end: &str) -> OsString {
    let mut file = OsString::from("einhorn");
    if let Some(name) = name {
        file.push("-");
        file.push(name);
    }
    file.push(".");
    file.push(end);
    file
}

/// Reads the words after the program's name. What is wrong with them comes back as [`Outcome::Refuse`].
pub(super) fn parse(words: Vec<OsString>) -> Result<Outcome> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let processors = u32::try_from(processors).unwrap_or(u32::MAX);
    Ok(parse_on(words, &temporary_directory(), processors))
}

fn parse_on(words: Vec<OsString>, temporary: &std::path::Path, processors: u32) -> Outcome {
    let mut given = Given::default();
    let free = match optparse::read(words, &OPTIONS, |id, value| given.set(id, value)) {
        Ok(free) => free,
        Err(Stop::Done(outcome)) => return *outcome,
        Err(Stop::Wrong(sentence)) => return refused(&sentence),
    };
    given.outcome(free, temporary, processors).unwrap_or_else(|sentence| refused(&sentence))
}

/// Where einhorn shows where in its own source it gave up, one line has to do.
fn refused(sentence: &str) -> Outcome {
    Outcome::Refuse(Refusal { page: format!("einhorn: {sentence}\n"), stream: Stream::Error, status: 1 })
}

/// Host, port and flags of a socket, as they were written.
type Written = (String, u16, Vec<String>);

/// Every option with its default.
struct Given {
    bind: Vec<(SocketSpec, Written)>,
    name: Option<String>,
    socket: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    lockfile: Option<PathBuf>,
    socket_as_fd: bool,
    kill_children: bool,
    backlog: u32,
    ready: Readiness,
    number: i64,
    seconds: Duration,
    signal_timeout: Option<Duration>,
    verbosity: u8,
    drop: Vec<String>,
    max_unacked: Option<u32>,
    max_extra: Option<u32>,
    nice: (Option<i32>, Option<i32>),
    reexec_as: Vec<OsString>,
    /// Options that mean nothing here.
    ignored: Vec<&'static str>,
}

impl Default for Given {
    fn default() -> Self {
        Given {
            bind: Vec::new(),
            name: None,
            socket: None,
            pidfile: None,
            lockfile: None,
            socket_as_fd: false,
            kill_children: false,
            backlog: BACKLOG,
            ready: Readiness::Timer(Duration::from_secs(1)),
            number: 1,
            seconds: Duration::from_secs(1),
            signal_timeout: None,
            verbosity: 1,
            drop: Vec::new(),
            max_unacked: None,
            max_extra: None,
            nice: (None, None),
            reexec_as: Vec::new(),
            ignored: Vec::new(),
        }
    }
}

impl Given {
    fn set(&mut self, id: Id, value: OsString) -> Result<(), Stop> {
        let text = value.to_str().ok_or_else(|| Stop::Wrong(format!("'{}' is not UTF-8", value.display())));
        match id {
            Id::Help => return done(Outcome::Print(USAGE.to_owned())),
            Id::Version => return done(Outcome::Print(format!("{VERSION}\n"))),
            Id::UpgradeCheck => return done(Outcome::CanResume),
            Id::WithStateFd => {
                return Err(Stop::Wrong(format!(
                    "descriptor {} holds no state of remuda: --with-state-fd is how a running einhorn starts another",
                    value.display()
                )));
            }
            Id::Bind => self.bind.push(bind(text?).map_err(Stop::Wrong)?),
            Id::CommandName => self.name = Some(command_name(text?).map_err(Stop::Wrong)?),
            Id::SocketPath => self.socket = Some(file(value, "--socket-path").map_err(Stop::Wrong)?),
            Id::Pidfile => self.pidfile = Some(file(value, "--pidfile").map_err(Stop::Wrong)?),
            Id::Lockfile => self.lockfile = Some(file(value, "--lockfile").map_err(Stop::Wrong)?),
            Id::SocketAsFd => self.socket_as_fd = true,
            Id::KillChildren => self.kill_children = true,
            Id::Backlog => {
                // As for listen(2), less than nothing is nothing, and the kernel has a maximum of its own.
                let backlog = lenient(text?).clamp(0, i64::from(i32::MAX));
                self.backlog = u32::try_from(backlog).unwrap_or(0);
            }
            Id::AckMode => self.ready = ack_mode(text?).map_err(Stop::Wrong)?,
            Id::Number => self.number = lenient(text?),
            Id::Preload => self.ignored.push("--preload"),
            Id::GcBeforeFork => self.ignored.push("--gc-before-fork"),
            Id::Quiet => self.verbosity = (self.verbosity + 1).min(2),
            Id::Verbose => self.verbosity = self.verbosity.saturating_sub(1),
            Id::Seconds => {
                let text = text?;
                let wrong = |unfit| match unfit {
                    Unfit::NoSeconds => "seconds must be > 0".to_owned(),
                    Unfit::TooLong => duration::too_long("seconds", text),
                };
                let span = duration::seconds(text);
                let span =
                    span.and_then(|span| if span.is_zero() { Err(Unfit::NoSeconds) } else { Ok(span) });
                self.seconds = span.map_err(|unfit| Stop::Wrong(wrong(unfit)))?;
            }
            Id::SignalTimeout => {
                let seconds = integer(text?, "--signal-timeout").map_err(Stop::Wrong)?;
                let span = u64::try_from(seconds).ok().map(Duration::from_secs);
                let wrong = || {
                    let most = duration::MAX.as_secs();
                    Stop::Wrong(format!(
                        "--signal-timeout: {seconds} is not a number of seconds from 0 to {most}"
                    ))
                };
                self.signal_timeout = Some(span.filter(|&span| span <= duration::MAX).ok_or_else(wrong)?);
            }
            Id::DropEnvVar => self.drop.push(text?.to_owned()),
            Id::MaxUnacked => {
                let count = integer(text?, "--max-unacked").map_err(Stop::Wrong)?;
                let count = u32::try_from(count).ok().filter(|&count| count > 0);
                self.max_unacked =
                    Some(count.ok_or_else(|| Stop::Wrong("--max-unacked must be > 0".to_owned()))?);
            }
            Id::MaxUpgradeAdditional => {
                let count = integer(text?, "--max-upgrade-additional").map_err(Stop::Wrong)?;
                let negative = || Stop::Wrong("--max-upgrade-additional must be >= 0".to_owned());
                self.max_extra = Some(u32::try_from(count).map_err(|_| negative())?);
            }
            Id::Nice => self.nice = nice(text?).map_err(Stop::Wrong)?,
            Id::ReexecAs => self.reexec_as = shell_words(text?).map_err(Stop::Wrong)?,
        }
        Ok(())
    }

    /// The plan, or a sentence about what stands in its way.
    fn outcome(
        self,
        free: Vec<OsString>,
        temporary: &std::path::Path,
        processors: u32,
    ) -> Result<Outcome, String> {
        let Some((program, args)) = free.split_first().filter(|(program, _)| !program.is_empty()) else {
            let page = format!("{}\n", USAGE.split("\nOptions:").next().unwrap_or_default());
            return Ok(Outcome::Refuse(Refusal { page, stream: Stream::Output, status: 1 }));
        };
        let most = i64::from(values::WORKERS_MAX);
        let number =
            u32::try_from(self.number).ok().filter(|&number| number > 0 && i64::from(number) <= most);
        let number = number.ok_or_else(|| {
            format!("--number: you need to spin up at least 1 copy of the process, and at most {most}")
        })?;
        let name = self.name.as_deref().map(OsStr::new);
        let default = |end| temporary.join(file_name(name, end));
        let socket = self.socket.clone().unwrap_or_else(|| default("sock"));
        let pidfile = self.pidfile.clone().unwrap_or_else(|| default("pid"));
        let lock = self.lockfile.clone().unwrap_or_else(|| default("lock"));
        let manner = EinhornManner {
            command_name: self.name.clone(),
            command: free.clone(),
            bind: self.bind.iter().map(|(_, told)| told.clone()).collect(),
            backlog: self.backlog,
            socket: socket.clone(),
            pidfile: pidfile.clone(),
            lockfile: lock.clone(),
            kill_children: self.kill_children,
            socket_as_fd: self.socket_as_fd,
            nice_manager: self.nice.0,
            nice_worker: self.nice.1,
            reexec_as: self.reexec_as.clone(),
            drop: self.drop.clone(),
        };
        let group = values::name_of_program(program);
        let words = || free.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let title = self.name.clone().unwrap_or_else(words);
        let log = LogSpec {
            opening: (!self.ignored.is_empty())
                .then(|| format!("{} is for Ruby programs only: ignored", self.ignored.join(" and "))),
            ..LogSpec::stderr(level(self.verbosity), LogFormat::Einhorn)
        };
        let sockets: Vec<SocketSpec> = self
            .bind
            .iter()
            .map(|(socket, _)| SocketSpec { backlog: Some(self.backlog), ..socket.clone() })
            .collect();
        if let Some(address) = addr::duplicates(&sockets) {
            return Err(format!("--bind: {address} is given twice"));
        }
        Ok(Outcome::Run(Box::new(Plan {
            name: self.name.clone().unwrap_or_else(|| group.clone()),
            groups: vec![GroupSpec {
                name: group,
                launch: self.launch(program, args),
                sockets,
                policy: self.policy(number, processors),
                control: None,
            }],
            control: Some(ControlSpec::Locked { path: socket, lock }),
            dialect: Dialect::Einhorn(Box::new(manner)),
            manager: manager(),
            log,
            activation: false,
            pidfile: Some(pidfile),
            source: None,
            subreaper: false,
            own: OwnProcess {
                heeds_hangup: true,
                nice: self.nice.0,
                title: Some(format!("einhorn: {title}")),
                reexec: Reexec { command: self.reexec_as, tail: free, drop: self.drop },
                ..OwnProcess::default()
            },
        })))
    }

    fn launch(&self, program: &OsStr, args: &[OsString]) -> Launch {
        Launch {
            args: args.to_vec(),
            env: EnvSpec::default(),
            stdin: Stdin::Inherit,
            argv0: Argv0::Found,
            handoff: Handoff { control_descriptor: self.socket_as_fd, ..Handoff::default() },
            placeholders: false,
            attributes: Attributes {
                nice: self.nice.1,
                parent_death_signal: self.kill_children.then_some(Signal::USR2),
                ..Attributes::default()
            },
            own_process_group: true,
            own_session: false,
            kill_process_group: false,
            ..Launch::new(program.to_owned())
        }
    }

    fn policy(&self, workers: u32, processors: u32) -> Policy {
        let patience = self.signal_timeout;
        Policy {
            workers,
            workers_min: 1,
            shrink: Shrink::Oldest,
            ready: self.ready,
            // Nobody is killed for being slow to ack, and without -t nobody for being slow to go.
            ack_deadline: None,
            graceful_signal: Signal::USR2,
            stop_timeout: patience,
            drain_timeout: patience,
            upgrade: UpgradeMode::Rolling,
            surge: Share::Percent(100),
            max_unacked: Some(self.max_unacked.unwrap_or(processors)),
            // However many old ones still finish their work.
            max_draining: Some(u32::MAX),
            max_extra: self.max_extra,
            spacing: self.seconds,
            // An upgrade that does not succeed yet may do so as soon as the program is mended: the old ones live on.
            upgrade_failures: u32::MAX,
            healthy_after: Duration::ZERO,
            crash_window: Duration::ZERO,
            stable_after: Duration::ZERO,
            backoff: Backoff {
                base: (self.seconds * FACTOR_MILLI / 1000).min(PAUSE_MAX),
                factor_milli: FACTOR_MILLI,
                max: PAUSE_MAX,
                jitter_percent: 0,
            },
            ..Policy::default()
        }
    }
}

fn done(outcome: Outcome) -> Result<(), Stop> {
    Err(Stop::Done(Box::new(outcome)))
}

fn manager() -> ManagerPolicy {
    let signals = BTreeMap::from([
        (Signal::HUP, Meaning::Upgrade),
        (Signal::INT, Meaning::StopWith(Signal::USR2)),
        (Signal::USR2, Meaning::StopWith(Signal::USR2)),
        (Signal::TERM, Meaning::StopWith(Signal::TERM)),
        (Signal::QUIT, Meaning::FailWith(Signal::QUIT)),
        // These two would end it, and leave the workers alone.
        (Signal::USR1, Meaning::Nothing),
        (Signal(libc::SIGALRM), Meaning::Nothing),
    ]);
    ManagerPolicy { signals, exit: ExitPolicy::Success, reexec_on_upgrade: true, ..ManagerPolicy::default() }
}

fn level(verbosity: u8) -> Level {
    match verbosity {
        0 => Level::Debug,
        1 => Level::Info,
        _ => Level::Warn,
    }
}

/// `address:port[,flags...]`. Flags other than `r` and `n` mean nothing.
fn bind(text: &str) -> Result<(SocketSpec, Written), String> {
    let form =
        || format!("Invalid value for {text:?}: bind address must be of the form address:port[,flags...]");
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or_default();
    let flags: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
    let word = |flag: &String| flag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let (host, port) = address.split_once(':').ok_or_else(form)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if host.is_empty() || !digits || !flags.iter().all(word) {
        return Err(form());
    }
    let number: u16 = port.parse().map_err(|_| format!("--bind: '{address}': a port is at most 65535"))?;
    let spec = addr::parse(&format!("tcp4://{host}:{number}")).map_err(|error| format!("--bind: {error}"))?;
    if !matches!(spec.address, Address::Tcp(Host::Ip(_) | Host::Name(..))) {
        return Err(form());
    }
    let has = |names: &[&str]| flags.iter().any(|flag| names.contains(&flag.as_str()));
    let (reuse_address, nonblocking) = (has(&["r", "so_reuseaddr"]), has(&["n", "o_nonblock"]));
    Ok((SocketSpec { reuse_address, nonblocking, ..spec }, (host.to_owned(), number, flags)))
}

/// The name becomes part of file names.
fn command_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['/', '\0', '\n']) {
        return Err(format!(
            "--command-name: '{text}' is part of file names: it has no '/' and is not empty"
        ));
    }
    Ok(text.to_owned())
}

/// The path of a file that is to be made.
fn file(value: OsString, option: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(format!("{option}: '{}' is a directory: it takes the path of a file", path.display()));
    }
    Ok(path)
}

fn ack_mode(text: &str) -> Result<Readiness, String> {
    if text == "manual" {
        return Ok(Readiness::Manual);
    }
    duration::seconds(text).map(Readiness::Timer).map_err(|unfit| match unfit {
        Unfit::NoSeconds => format!("Invalid ack-mode {text:?} (valid modes: FLOAT or manual)"),
        Unfit::TooLong => duration::too_long("ack-mode", text),
    })
}

/// The number at the beginning of a text, as Ruby's `to_i` has it: 0 if there is none.
fn lenient(text: &str) -> i64 {
    let text = text.trim_start();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let length = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'_').count();
    let digits = unsigned[..length].replace('_', "");
    let number = digits.parse().unwrap_or(if digits.is_empty() { 0 } else { i64::MAX });
    if text.starts_with('-') { -number } else { number }
}

/// `Integer()` of Ruby: `12`, `0x10`, `0b1`, `010`, `1_000`.
fn integer(text: &str, option: &str) -> Result<i64, String> {
    let (sign, unsigned) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let plain = |part: &str| !part.is_empty() && part.chars().all(|digit| digit.is_digit(radix));
    let number = digits
        .split('_')
        .all(plain)
        .then(|| i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix));
    match number {
        Some(Ok(number)) => Ok(number),
        _ => Err(format!("{option}: invalid value for Integer(): {text:?}")),
    }
}

/// `MASTER[:WORKER[:RENICE_CMD]]`. The command is not needed: this is a call to the kernel here.
fn nice(text: &str) -> Result<(Option<i32>, Option<i32>), String> {
    let mut parts = text.splitn(3, ':');
    let mut value = |name: &str| {
        let Some(part) = parts.next() else { return Ok(None) };
        let nice = integer(part, "--nice")?;
        let nice = i32::try_from(nice).ok().filter(|nice| (-20..=19).contains(nice));
        nice.map(Some).ok_or_else(|| format!("--nice: {name} is a number from -20 to 19, not {part:?}"))
    };
    Ok((value("MASTER")?, value("WORKER")?))
}

/// Words as a shell splits them: quotes and backslashes, nothing is expanded.
fn shell_words(line: &str) -> Result<Vec<OsString>, String> {
    let words = words::of_shell(line).ok_or_else(|| format!("--reexec-as: unmatched quote in {line:?}"))?;
    if words.is_empty() {
        return Err("--reexec-as: the command is empty".to_owned());
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

#[cfg(test)]
mod tests;
