//! What was given on the command line, option by option, and what it means: a plan, or something to ask. Pure.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::init;
use super::options::{Command, Id, Opt, Question, RUN};
use crate::addr;
use crate::ask::{Ask, AskVerb, Probe};
use crate::attributes::Attributes;
use crate::config::{Overrides, Source, keys};
use crate::duration;
use crate::error::{Error, Result};
use crate::output::{self, Output};
use crate::plan::init::Init;
use crate::plan::{
    ControlSpec, Convention, Dialect, EnvSpec, GroupSpec, Handoff, Hook, Launch, Level, LogFormat, LogSpec,
    LogTarget, ManagerPolicy, Meaning, OwnProcess, Plan, Policy, Readiness, SocketSpec, Stdin,
};
use crate::probe;
use crate::signame::Signal;
use crate::values;

/// Every option with its default. Which of them a command can set says the table.
#[derive(Debug)]
pub(super) struct Given {
    /// Which options were given, in their order.
    seen: Vec<Id>,
    config: Option<PathBuf>,
    sockets: Vec<SocketSpec>,
    conventions: Vec<Convention>,
    listen_pid: bool,
    policy: Policy,
    kill_process_group: bool,
    subreaper: Option<bool>,
    directory: Option<PathBuf>,
    user: Option<String>,
    group: Option<String>,
    env: EnvSpec,
    login_env: bool,
    attributes: Attributes,
    umask: Option<u32>,
    stdin: Stdin,
    keep_signals: bool,
    ready_fd: Option<u32>,
    fd_store: u32,
    louder: u32,
    quieter: u32,
    format: Option<LogFormat>,
    syslog: bool,
    output: Output,
    name: Option<String>,
    control: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    dry_run: bool,
    keep_going: bool,
    wait: bool,
    drained: bool,
    timeout: Option<Duration>,
    json: bool,
    silent: bool,
    pid: Option<i32>,
    init: init::Said,
    now: bool,
    drain_delay: Duration,
    on_signal: Vec<(Signal, Meaning)>,
    delay: Option<Duration>,
    all: bool,
}

impl Default for Given {
    fn default() -> Self {
        Given {
            seen: Vec::new(),
            config: None,
            sockets: Vec::new(),
            conventions: Convention::ALL.to_vec(),
            listen_pid: true,
            policy: Policy {
                stop_timeout_as_first: Some(Policy::STOP_TIMEOUT_AS_FIRST),
                ..Policy::default()
            },
            kill_process_group: true,
            subreaper: None,
            directory: None,
            user: None,
            group: None,
            env: EnvSpec::default(),
            login_env: false,
            attributes: Attributes::default(),
            umask: None,
            stdin: Stdin::default(),
            keep_signals: false,
            ready_fd: None,
            fd_store: 0,
            louder: 0,
            quieter: 0,
            format: None,
            syslog: false,
            output: Output::default(),
            name: None,
            control: None,
            pidfile: None,
            dry_run: false,
            keep_going: false,
            wait: true,
            drained: false,
            timeout: None,
            json: false,
            silent: false,
            pid: None,
            init: init::Said::default(),
            now: false,
            drain_delay: Duration::ZERO,
            on_signal: Vec::new(),
            delay: None,
            all: false,
        }
    }
}

/// How long a verb waits whose answer needs nothing but a living manager.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl Given {
    /// Takes one option; `value` is empty where it has none.
    pub(super) fn set(&mut self, id: Id, value: OsString) -> Result<()> {
        let text = || values::text(&value);
        self.seen.push(id);
        match id {
            Id::Config => self.config = Some(values::path(value)?),
            Id::Bind => self.sockets.push(addr::parse(text()?)?),
            Id::Handoff => self.conventions = values::conventions(text()?)?,
            Id::NoListenPid => self.listen_pid = false,
            Id::Workers => self.policy.workers = values::workers(text()?)?,
            Id::Lazy => self.policy.lazy = true,
            Id::Warmup => self.policy.warmup = duration::parse(text()?)?,
            Id::Ack => (self.policy.ready, self.policy.ready_probe) = values::readiness(text()?)?,
            Id::ProbeInterval => self.policy.probe_interval = values::positive(text()?)?,
            Id::LiveCheck => self.policy.live_check = Some(probe::parse(text()?)?),
            Id::LiveInterval => self.policy.live_interval = values::positive(text()?)?,
            Id::LiveFailures => self.policy.live_failures = values::count(text()?)?,
            Id::ProbeTimeout => self.policy.probe_timeout = values::positive(text()?)?,
            Id::AckDeadline => self.policy.ack_deadline = Some(values::positive(text()?)?),
            Id::FdStore => self.fd_store = values::fd_store(text()?)?,
            Id::ReadyFd => self.ready_fd = Some(values::descriptor(text()?)?),
            Id::Watchdog => self.policy.watchdog = Some(values::positive(text()?)?),
            Id::GracefulSignal => self.policy.graceful_signal = text()?.parse()?,
            Id::StopTimeout => {
                self.policy.stop_timeout = Some(duration::parse(text()?)?);
                self.policy.stop_timeout_as_first = None;
            }
            Id::DrainDelay => self.drain_delay = duration::parse(text()?)?,
            Id::OnSignal => self.on_signal.push(values::on_signal(text()?)?),
            Id::All => self.all = true,
            Id::Delay => self.delay = Some(values::positive(text()?)?),
            Id::AutoUpgrade => self.policy.auto_upgrade = true,
            Id::StopCommand => self.policy.stop_hook = Some(Hook { argv: values::command(text()?)? }),
            Id::Preflight => self.policy.preflight = Some(Hook { argv: values::command(text()?)? }),
            Id::PreflightTimeout => self.policy.preflight_timeout = values::positive(text()?)?,
            Id::PreflightEvery => self.policy.preflight_every = Some(values::positive(text()?)?),
            Id::Restart => self.policy.restart = values::choice(text()?, &values::RESTARTS)?,
            Id::SuccessExit => self.policy.success = values::successes(text()?)?,
            Id::OnExit => self.policy.exit_after = values::on_exit(text()?)?,
            Id::Backoff => self.policy.backoff = values::backoff(text()?)?,
            Id::GiveUp => self.policy.give_up = Some(values::count(text()?)?),
            Id::SignalGroup => self.policy.signal_group = true,
            Id::NoKillGroup => self.kill_process_group = false,
            Id::Upgrade => self.policy.upgrade = values::choice(text()?, &values::UPGRADES)?,
            Id::Surge => self.policy.surge = values::share(text()?)?,
            Id::MaxUnacked => self.policy.max_unacked = Some(values::count(text()?)?),
            Id::MaxDraining => self.policy.max_draining = Some(values::count(text()?)?),
            Id::Canary => self.policy.canary = self.policy.canary.or(Some(values::CANARY_TIME)),
            Id::CanaryTime => self.policy.canary = Some(values::positive(text()?)?),
            Id::UpgradeAttempts => self.policy.upgrade_failures = values::count(text()?)?,
            Id::WhenUpgrading => self.policy.meanwhile = values::choice(text()?, &values::MEANWHILES)?,
            Id::UpgradeTimeout => self.policy.upgrade_timeout = Some(values::positive(text()?)?),
            Id::DrainTimeout => self.policy.drain_timeout = Some(duration::parse(text()?)?),
            Id::Directory => self.directory = Some(values::path(value)?),
            Id::User => {
                let (user, group) = match text()?.split_once(':') {
                    Some((user, group)) => (user, Some(values::account(group)?)),
                    None => (text()?, None),
                };
                self.user = Some(values::account(user)?);
                self.group = group.or(self.group.take());
            }
            Id::Group => self.group = Some(values::account(text()?)?),
            Id::Env => self.env.set.push(values::variable(value)?),
            Id::EnvFile => self.env.files.push(values::path(value)?),
            Id::DropEnv => self.env.drop.push(values::variable_name(text()?)?),
            Id::LoginEnv => self.login_env = true,
            Id::Rlimit => self.attributes.limits.push(text()?.parse()?),
            Id::Nice => self.attributes.nice = Some(values::nice(text()?)?),
            Id::OomScoreAdj => self.attributes.oom_score_adj = Some(values::oom_score_adj(text()?)?),
            Id::Pdeathsig => self.attributes.parent_death_signal = Some(text()?.parse()?),
            Id::Umask => self.umask = Some(values::umask(text()?)?),
            Id::Stdin => self.stdin = values::choice(text()?, &values::STDINS)?,
            Id::KeepSignals => self.keep_signals = true,
            Id::Verbose => self.louder += 1,
            Id::Quiet => self.quieter += 1,
            Id::LogFormat => self.format = Some(values::choice(text()?, &values::FORMATS)?),
            Id::Syslog => self.syslog = true,
            Id::StdoutLog => self.output.stdout = output::parse(text()?)?,
            Id::StderrLog => self.output.stderr = output::parse(text()?)?,
            Id::LogOverflow => self.output.overflow = values::choice(text()?, &values::OVERFLOWS)?,
            Id::Name => self.name = Some(values::name(text()?)?),
            Id::Control => self.control = Some(values::socket_path(value)?),
            Id::Pidfile => self.pidfile = Some(values::path(value)?),
            Id::Json => self.json = true,
            Id::DryRun => self.dry_run = true,
            Id::KeepGoing => self.keep_going = true,
            Id::NoWait => self.wait = false,
            Id::WaitDrained => self.drained = true,
            Id::Timeout | Id::AnswerTimeout => self.timeout = Some(values::positive(text()?)?),
            Id::Silent => self.silent = true,
            Id::Now => self.now = true,
            Id::Pid => self.pid = Some(values::pid(text()?)?),
            Id::ToGroup => self.init.to_group = true,
            Id::SingleChild => self.init.single_child = true,
            Id::Subreaper => (self.init.subreaper, self.subreaper) = (true, Some(true)),
            Id::NoSubreaper => self.subreaper = Some(false),
            Id::ParentDeathSignal => self.init.parent_death_signal = Some(text()?.parse()?),
            Id::Rewrite => self.init.rewrite.push(init::rewrite(text()?)?),
            Id::ExitZero => self.init.success.extend(init::statuses(text()?)?),
            Id::WarnReaped => self.init.tell_reaped = true,
            Id::Pause => self.init.pause = true,
            // The parser answers these before it reads anything else.
            Id::Help | Id::Version => {}
        }
        Ok(())
    }

    /// The plan of `run`.
    pub(super) fn plan(self, program: OsString, args: Vec<OsString>) -> Result<Plan> {
        if let Some(address) = addr::duplicates(&self.sockets) {
            return Err(Error::usage(format!("--bind: {address} is given twice")));
        }
        if let Some(why) = self.output.stdout.clash(&self.output.stderr) {
            return Err(Error::usage(format!("--stdout-log and --stderr-log: {why}")));
        }
        if self.keep_going {
            return Err(Error::usage("--keep-going is about the groups of a file: it needs --config"));
        }
        let level = self.level()?;
        let target = self.log_target();
        let name = self.name.unwrap_or_else(|| values::name_of_program(&program));
        let mut policy = self.policy;
        if self.ready_fd.is_some() && !self.seen.contains(&Id::Ack) {
            policy.ready = Readiness::Manual;
        }
        let launch = Launch {
            args,
            directory: self.directory,
            user: self.user,
            group: self.group,
            env: self.env,
            login_env: self.login_env,
            attributes: self.attributes,
            umask: self.umask,
            stdin: self.stdin,
            output: self.output,
            handoff: Handoff {
                conventions: self.conventions.into_iter().collect(),
                listen_pid: self.listen_pid,
                ..Handoff::default()
            },
            keep_signals: self.keep_signals,
            ready_fd: self.ready_fd,
            fd_store: self.fd_store,
            kill_process_group: self.kill_process_group,
            ..Launch::new(program)
        };
        let mut manager = ManagerPolicy { drain_delay: self.drain_delay, ..ManagerPolicy::native() };
        manager.signals.extend(self.on_signal);
        Ok(Plan {
            activation: true,
            name: name.clone(),
            groups: vec![GroupSpec { name, launch, sockets: self.sockets, policy, control: None }],
            control: Some(self.control.map_or(ControlSpec::Default, ControlSpec::Path)),
            dialect: Dialect::Native,
            manager,
            log: LogSpec {
                target,
                ..LogSpec::stderr(level.unwrap_or(Level::Info), self.format.unwrap_or(LogFormat::Plain))
            },
            pidfile: self.pidfile,
            source: None,
            subreaper: self.subreaper.unwrap_or(true),
            own: OwnProcess::default(),
        })
    }

    /// What `init` does, in the manner of one of its doors.
    pub(super) fn init(self, manner: &init::Manner, argv: Vec<OsString>) -> Result<Init> {
        let level = manner.level(self.louder, self.quieter);
        let stop_timeout = self.policy.stop_timeout.filter(|_| self.seen.contains(&Id::StopTimeout));
        self.init.meant(manner, argv, level, stop_timeout)
    }

    /// The file that takes the place of a program, if there is one, with what was said beside it.
    pub(super) fn source(&mut self) -> Result<Option<Source>> {
        let Some(file) = self.config.take() else { return Ok(None) };
        if let Some(option) = self.seen.iter().find_map(|&id| contradiction(id)) {
            let key = keys::KEYS.iter().find(|key| key.option == Some(option.long));
            let hint = key.map_or(String::new(), |key| format!("; in the file it is the key '{}'", key.name));
            let sentence = format!("--{} and --config contradict each other{hint}", option.long);
            return Err(Error::usage(sentence));
        }
        let overrides = Overrides {
            name: self.name.take(),
            control: self.control.take(),
            pidfile: self.pidfile.take(),
            level: self.level()?,
            format: self.format,
            subreaper: self.subreaper,
            drain_delay: self.seen.contains(&Id::DrainDelay).then_some(self.drain_delay),
            on_signal: std::mem::take(&mut self.on_signal),
            target: self.syslog.then(|| self.log_target()),
            defaults: None,
        };
        Ok(Some(Source { overrides, keep_going: self.keep_going, ..Source::of(file) }))
    }

    /// A file of which only what stands in it is asked.
    pub(super) fn source_of(&self, file: PathBuf) -> Source {
        Source { keep_going: self.keep_going, ..Source::of(file) }
    }

    fn level(&self) -> Result<Option<Level>> {
        match (self.louder, self.quieter) {
            (0, 0) => Ok(None),
            (_, 0) => Ok(Some(Level::Debug)),
            (0, 1) => Ok(Some(Level::Warn)),
            (0, _) => Ok(Some(Level::Error)),
            _ => Err(Error::usage("--verbose and --quiet contradict each other")),
        }
    }

    fn log_target(&self) -> LogTarget {
        match self.syslog {
            false => LogTarget::Stderr,
            true => LogTarget::syslog(),
        }
    }

    /// What a verb asks.
    pub(super) fn ask(self, question: Question, command: &Command, operands: &[String]) -> Result<Ask> {
        if !self.wait && self.drained {
            return Err(Error::usage("--no-wait and --wait-drained contradict each other"));
        }
        let (group, verb) = self.verb(question, command, operands)?;
        let group =
            group.map(|group| values::group(group).map_err(|error| error.within("GROUP"))).transpose()?;
        let at_once = !self.wait || command.options.iter().any(|option| option.id == Id::AnswerTimeout);
        Ok(Ask {
            name: self.name,
            control: self.control,
            verb,
            group,
            // A probe answers at once, unless it was said for how long to wait.
            wait: self.wait && (question != Question::Probe || self.timeout.is_some()),
            drained: self.drained,
            timeout: self.timeout.or(at_once.then_some(ANSWER_TIMEOUT)),
            json: self.json,
            quiet: self.silent,
        })
    }

    /// The group, as written, and the verb.
    fn verb<'a>(
        &self,
        question: Question,
        command: &Command,
        operands: &'a [String],
    ) -> Result<(Option<&'a str>, AskVerb)> {
        let words: Vec<&str> = operands.iter().map(String::as_str).collect();
        let grouped = |verb| match words[..] {
            [] => Ok((None, verb)),
            [group] => Ok((Some(group), verb)),
            [_, extra, ..] => Err(unexpected(extra)),
        };
        let bare = |verb| words.first().map_or(Ok((None, verb)), |extra| Err(unexpected(extra)));
        // An optional group before a word that must be there.
        let last = |what: &str| match words[..] {
            [] => {
                Err(Error::usage(format!("{what} is missing: remuda {} {}", command.name, command.operands)))
            }
            [word] => Ok((None, word)),
            [group, word] => Ok((Some(group), word)),
            [_, _, extra, ..] => Err(unexpected(extra)),
        };
        let number = |word: &str| values::count(word).map_err(|error| error.within("N"));
        let change = || match words[..] {
            [] => Ok((None, 1)),
            [word] if word.bytes().all(|byte| byte.is_ascii_digit()) => Ok((None, number(word)?)),
            [group] => Ok((Some(group), 1)),
            [group, word] => Ok((Some(group), number(word)?)),
            [_, _, extra, ..] => Err(unexpected(extra)),
        };
        match question {
            Question::Status => grouped(AskVerb::Status),
            Question::Why => match words[..] {
                [] => Ok((None, AskVerb::Why(None))),
                [place] => read_place(place).map(|(group, slot)| (Some(group), AskVerb::Why(slot))),
                [_, extra, ..] => Err(unexpected(extra)),
            },
            Question::Upgrade => grouped(AskVerb::Upgrade),
            Question::RollBack => grouped(AskVerb::RollBack),
            Question::Drain if words.is_empty() => match self.now {
                false => Ok((None, AskVerb::DrainManager { delay: self.delay })),
                true => Err(Error::usage("--now is about the workers of a GENERATION, and none is given")),
            },
            Question::Drain if self.delay.is_some() => {
                Err(Error::usage("--delay is about the manager: there is no GENERATION beside it"))
            }
            Question::Drain => last("GENERATION").and_then(|(group, word)| {
                let generation = word.parse().ok().filter(|&number: &u32| number > 0);
                let wrong =
                    || Error::usage(format!("GENERATION: '{word}' is not the number of a generation"));
                Ok((group, AskVerb::Drain { generation: generation.ok_or_else(wrong)?, now: self.now }))
            }),
            Question::Restart => grouped(AskVerb::Restart),
            Question::Start => grouped(AskVerb::Start),
            Question::Stop => grouped(AskVerb::Stop),
            Question::Events => grouped(AskVerb::Events),
            Question::Scale => last("N").and_then(|(group, word)| {
                let workers = values::workers(word).map_err(|error| error.within("N"))?;
                Ok((group, AskVerb::Scale(workers)))
            }),
            Question::Inc => change().map(|(group, count)| (group, AskVerb::Inc(count))),
            Question::Dec => change().map(|(group, count)| (group, AskVerb::Dec(count))),
            Question::Signal => last("SIG").and_then(|(group, word)| {
                let signal = word.parse().map_err(|error: Error| error.within("SIG"))?;
                Ok((group, AskVerb::Signal(signal)))
            }),
            Question::LogLevel => match words[..] {
                [word] => values::choice(word, &values::LEVELS)
                    .map(|level| (None, AskVerb::LogLevel(level)))
                    .map_err(|error| error.within("LEVEL")),
                [] => Err(Error::usage("LEVEL is missing: debug, info, warn or error")),
                [_, extra, ..] => Err(unexpected(extra)),
            },
            Question::Reexec => bare(AskVerb::Reexec),
            Question::Reopen => bare(AskVerb::Reopen),
            Question::Reload => bare(AskVerb::Reload { dry_run: self.dry_run, keep_going: self.keep_going }),
            Question::Version => bare(AskVerb::Version),
            Question::Ping => bare(AskVerb::Ping),
            Question::Probe => {
                let probe = match words.first() {
                    Some(&"ready") => Probe::Ready { all: self.all },
                    Some(&"live") => Probe::Live,
                    Some(word) => return Err(Error::usage(format!("'{word}' is neither ready nor live"))),
                    None => return Err(Error::usage("ready or live is missing: remuda probe ready")),
                };
                match words[1..] {
                    [] => Ok((None, AskVerb::Probe(probe))),
                    [group] if probe != Probe::Live => Ok((Some(group), AskVerb::Probe(probe))),
                    [extra, ..] => Err(unexpected(extra)),
                }
            }
            Question::Ack => bare(AskVerb::Ack(self.pid)),
        }
    }
}

/// The option of `run` with this name, if a file of groups says the same.
fn contradiction(id: Id) -> Option<&'static Opt> {
    let beside = [
        Id::Config,
        Id::Name,
        Id::Control,
        Id::Pidfile,
        Id::Verbose,
        Id::Quiet,
        Id::LogFormat,
        Id::Syslog,
        Id::Subreaper,
        Id::NoSubreaper,
        Id::DrainDelay,
        Id::OnSignal,
        Id::KeepGoing,
    ];
    RUN.options.iter().find(|option| option.id == id && !beside.contains(&id))
}

/// `web`, or `web[2]`.
fn read_place(word: &str) -> Result<(&str, Option<u32>)> {
    let Some((group, rest)) = word.split_once('[') else { return Ok((word, None)) };
    let slot = rest.strip_suffix(']').and_then(|slot| slot.parse().ok());
    let wrong = || Error::usage(format!("'{word}' is neither GROUP nor GROUP[SLOT]"));
    slot.map(|slot| (group, Some(slot))).ok_or_else(wrong)
}

fn unexpected(word: &str) -> Error {
    Error::usage(format!("unexpected word '{word}'"))
}
