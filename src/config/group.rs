//! The table of one group, key by key, to a [`GroupSpec`]. Pure.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::fault::Wrong;
use super::keys::{Defaults, Id, Kind};
use super::value::Value;
use super::{Manner, Surroundings, address};
use crate::addr::{self, Shared};
use crate::duration;
use crate::error::{Error, Result};
use crate::output::{self, Target};
use crate::plan::{GroupSpec, Hook, Launch, Policy, Readiness, Restart, SocketSpec, UpgradeMode};
use crate::probe::{self, Probe};
use crate::values;
use crate::words;

/// What `ack` says; the time of `timer` is another key.
#[derive(Clone, Copy, Debug)]
enum Ack {
    Exec,
    Timer,
    Manual,
}

/// One of these, or a probe.
fn ack(word: &str) -> Result<(Ack, Option<Probe>)> {
    match word {
        "timer" => Ok((Ack::Timer, None)),
        "manual" => Ok((Ack::Manual, None)),
        "none" => Ok((Ack::Exec, None)),
        _ if probe::is_probe(word) => probe::parse(word).map(|probe| (Ack::Manual, Some(probe))),
        _ => Err(values::no_readiness(word)),
    }
}

/// A socket as it was written.
#[derive(Debug)]
pub(super) struct Socket {
    /// Where in the file.
    pub(super) at: usize,
    pub(super) spec: SocketSpec,
    text: String,
}

impl Socket {
    /// With the options of all sockets of its group.
    fn with(mut self, options: &[Shared]) -> SocketSpec {
        for option in options {
            option.apply(&mut self.spec, &self.text);
        }
        self.spec
    }
}

/// What was said of a group so far, and the defaults of the rest.
#[derive(Debug)]
pub(super) struct Draft {
    command: Vec<OsString>,
    launch: Launch,
    sockets: Vec<Socket>,
    socket_options: Vec<Shared>,
    logs: Vec<(usize, &'static str, Target)>,
    policy: Policy,
    /// As it was said.
    ack: Option<Ack>,
    ack_timeout: Duration,
    control: Option<PathBuf>,
    /// What is passed over, and told.
    warnings: Vec<Wrong>,
    upgrade: Option<UpgradeMode>,
    defaults: Defaults,
    canary: bool,
    canary_time: Duration,
}

impl Draft {
    /// A group of which nothing was said. firestarter's defaults for its keys are still to be set.
    pub(super) fn new(defaults: Defaults) -> Self {
        let policy =
            Policy { stop_timeout_as_first: Some(Policy::STOP_TIMEOUT_AS_FIRST), ..Policy::default() };
        let standard = match policy.ready {
            Readiness::Timer(time) => time,
            Readiness::Exec | Readiness::Manual => Duration::from_secs(1),
        };
        Draft {
            command: Vec::new(),
            launch: Launch::new(OsString::new()),
            sockets: Vec::new(),
            socket_options: Vec::new(),
            logs: Vec::new(),
            ack: None,
            ack_timeout: standard,
            control: None,
            warnings: Vec::new(),
            upgrade: None,
            defaults,
            canary: false,
            canary_time: values::CANARY_TIME,
            policy,
        }
    }

    /// Takes one key.
    pub(super) fn set(
        &mut self,
        id: Id,
        value: &Value<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Vec<Wrong>> {
        let (launch, policy) = (&mut self.launch, &mut self.policy);
        match id {
            Id::ExecStart => self.command = command(value, around)?,
            Id::Workers => policy.workers = value.number(values::workers)?,
            Id::Directory => launch.directory = Some(value.read(|text| values::path(text.into()))?),
            Id::Sockets => {
                let read = |element: &Value<'_>| {
                    let (spec, text) = (element.read(address::parse)?, element.text()?.to_owned());
                    Ok(Socket { at: element.at(), spec, text })
                };
                // The good ones are still compared with those of other groups.
                value.list_into(&mut self.sockets, Kind::Text, read)?;
            }
            Id::SocketOptions => {
                self.socket_options = value.list(Kind::Text, |element| element.read(addr::shared))?;
            }
            Id::Handoff => {
                let sets = value.list(Kind::Text, |element| element.read(values::conventions))?;
                launch.handoff.conventions = sets.concat().into_iter().collect();
            }
            Id::BaseName => launch.handoff.base_name = value.read(base_name)?,
            Id::ListenPid => launch.handoff.listen_pid = value.flag()?,
            Id::StartImmediate => policy.lazy = !value.flag()?,
            Id::WarmupDelay => policy.warmup = value.amount(duration::parse)?,
            Id::Ack => {
                let (ack, probe) = value.read(ack)?;
                (self.ack, policy.ready_probe) = (Some(ack), probe);
            }
            Id::ProbeInterval => policy.probe_interval = value.amount(values::positive)?,
            Id::Check => policy.live_check = Some(value.read(probe::parse)?),
            Id::LiveInterval => policy.live_interval = value.amount(values::positive)?,
            Id::LiveFailures => policy.live_failures = value.number(values::count)?,
            Id::ProbeTimeout => policy.probe_timeout = value.amount(values::positive)?,
            Id::AckTimeout => self.ack_timeout = value.amount(duration::parse)?,
            Id::AckDeadline => policy.ack_deadline = Some(value.amount(values::positive)?),
            Id::FdStore => launch.fd_store = value.number(values::fd_store)?,
            Id::ReadyFd => launch.ready_fd = Some(value.number(values::descriptor)?),
            Id::Watchdog | Id::LiveCheck => {
                let span = value.amount(duration::parse)?;
                let off = id == Id::LiveCheck && span.is_zero();
                if !off && policy.watchdog.is_some() {
                    let why = "'watchdog' and 'live_check_timeout' contradict each other";
                    return Err(Wrong::new(value.at(), why.to_owned()).into());
                }
                if !off {
                    policy.watchdog = Some(value.amount(values::positive)?);
                }
                if !off && id == Id::LiveCheck {
                    launch.watch_file = Some(around.watch_file());
                }
            }
            Id::GracefulSignal => policy.graceful_signal = value.read(str::parse)?,
            Id::StopTimeout => {
                policy.stop_timeout = Some(value.amount(duration::parse)?);
                policy.stop_timeout_as_first = None;
            }
            Id::AutoUpgrade => policy.auto_upgrade = value.flag()?,
            Id::ExecStop => policy.stop_hook = Some(Hook { argv: command(value, around)? }),
            Id::Preflight | Id::Upgrader => {
                if policy.preflight.is_some() {
                    let other = if id == Id::Preflight { "upgrader" } else { "preflight" };
                    return Err(Wrong::new(value.at(), format!("'{other}' says the same")).into());
                }
                policy.preflight = Some(Hook { argv: command(value, around)? });
            }
            Id::UpgraderTimeout => policy.preflight_timeout = value.amount(values::positive)?,
            Id::UpgraderPeriod => policy.preflight_every = Some(value.amount(values::positive)?),
            Id::Restart => policy.restart = value.read(restart)?,
            Id::SuccessExit => {
                let codes = value.list(Kind::Exit, |element| element.amount(values::successes))?;
                policy.success = codes.concat();
            }
            Id::OnExit => policy.exit_after = value.read(values::on_exit)?,
            Id::Backoff => policy.backoff = value.read(values::backoff)?,
            Id::GiveUp => {
                policy.give_up = value.number(|digits| match digits {
                    "0" => Ok(None),
                    digits => values::count(digits).map(Some),
                })?;
            }
            Id::SignalGroup => policy.signal_group = value.flag()?,
            Id::KillGroup => launch.kill_process_group = value.flag()?,
            Id::Upgrade => {
                self.upgrade = Some(value.read(|text| values::choice(text, &values::UPGRADES))?);
            }
            Id::Surge => policy.surge = value.amount(values::share)?,
            Id::MaxUnacked => policy.max_unacked = Some(value.number(values::count)?),
            Id::MaxDraining => policy.max_draining = Some(value.number(values::count)?),
            Id::Canary => self.canary = value.flag()?,
            Id::CanaryTime => self.canary_time = value.amount(values::positive)?,
            Id::UpgradeAttempts => policy.upgrade_failures = value.number(values::count)?,
            Id::WhenUpgrading => {
                policy.meanwhile = value.read(|text| values::choice(text, &values::MEANWHILES))?;
            }
            Id::UpgradeTimeout => policy.upgrade_timeout = Some(value.amount(values::positive)?),
            Id::DrainTimeout => policy.drain_timeout = Some(value.amount(duration::parse)?),
            Id::AckSignal => policy.drain_signal = Some(value.read(str::parse)?),
            Id::Environment => {
                let lenient = around.manner == Manner::Firestarter;
                let read = |element: &Value<'_>| match element.text()? {
                    text if lenient && !text.contains('=') => Ok(Err(element.at())),
                    _ => element.read(|text| values::variable(text.into())).map(Ok),
                };
                let (set, skipped): (Vec<_>, Vec<_>) =
                    value.list(Kind::Text, read)?.into_iter().partition(Result::is_ok);
                launch.env.set = set.into_iter().flatten().collect();
                let skipped = skipped.into_iter().filter_map(Result::err);
                self.warnings.extend(skipped.map(|at| Wrong::new(at, "passed over: there is no = in it")));
            }
            Id::EnvFiles => {
                launch.env.files =
                    value.list(Kind::Text, |element| element.read(|text| values::path(text.into())))?;
            }
            Id::DropEnv => {
                launch.env.drop = value.list(Kind::Text, |element| element.read(values::variable_name))?;
            }
            Id::User => instead_of(&mut launch.user, value.read(values::account)?, "uid", value)?,
            Id::Group => instead_of(&mut launch.group, value.read(values::account)?, "gid", value)?,
            Id::Uid => instead_of(&mut launch.user, value.number(number_of_account)?, "user", value)?,
            Id::Gid => instead_of(&mut launch.group, value.number(number_of_account)?, "group", value)?,
            Id::LoginEnv => launch.login_env = value.flag()?,
            Id::Rlimits => {
                launch.attributes.limits = value.list(Kind::Text, |element| element.read(str::parse))?;
            }
            Id::Nice => launch.attributes.nice = Some(value.number(values::nice)?),
            Id::OomScoreAdj => {
                launch.attributes.oom_score_adj = Some(value.number(values::oom_score_adj)?);
            }
            Id::Pdeathsig => launch.attributes.parent_death_signal = Some(value.read(str::parse)?),
            Id::Umask => launch.umask = Some(value.octal(values::umask)?),
            Id::Stdin => launch.stdin = value.read(|text| values::choice(text, &values::STDINS))?,
            Id::KeepSignals => launch.keep_signals = value.flag()?,
            Id::StdoutLog => {
                launch.output.stdout = value.read(output::parse)?;
                self.logs.push((value.at(), "stdout_log", launch.output.stdout.clone()));
            }
            Id::StderrLog => {
                launch.output.stderr = value.read(output::parse)?;
                self.logs.push((value.at(), "stderr_log", launch.output.stderr.clone()));
            }
            Id::LogOverflow => {
                launch.output.overflow = value.read(|text| values::choice(text, &values::OVERFLOWS))?;
            }
            Id::OwnControl => {
                self.control = Some(value.read(|text| values::socket_path(text.into()))?);
            }
            // The table has these under `[remuda]` only.
            Id::Defaults
            | Id::Name
            | Id::ControlSocket
            | Id::Pidfile
            | Id::LogLevel
            | Id::LogFormat
            | Id::Syslog
            | Id::Subreaper
            | Id::DrainDelay
            | Id::OnSignal => {}
        }
        Ok(())
    }

    /// The sockets, each with its place in the file.
    pub(super) fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// The logs, each with its place in the file and its key.
    pub(super) fn logs(&self) -> &[(usize, &'static str, Target)] {
        &self.logs
    }

    /// What was passed over.
    pub(super) fn warnings(&mut self) -> Vec<Wrong> {
        std::mem::take(&mut self.warnings)
    }

    /// The group, once everything was said.
    pub(super) fn finish(self, name: String, around: &Surroundings<'_>) -> GroupSpec {
        let mut command = self.command.into_iter();
        let program = command.next().unwrap_or_default();
        let mut launch = Launch { args: command.collect(), ..self.launch };
        let ack = match self.ack {
            Some(ack) => ack,
            None if launch.ready_fd.is_some() => Ack::Manual,
            None => Ack::Timer,
        };
        let ready = match ack {
            Ack::Exec => Readiness::Exec,
            Ack::Timer => Readiness::Timer(self.ack_timeout),
            Ack::Manual => Readiness::Manual,
        };
        let mut policy = Policy {
            ready,
            upgrade: self.upgrade.unwrap_or(self.policy.upgrade),
            canary: self.canary.then_some(self.canary_time),
            ..self.policy
        };
        if around.manner == Manner::Firestarter {
            policy.stop_timeout_as_first = None;
        }
        launch.program = match self.defaults {
            Defaults::Remuda => program,
            Defaults::Firestarter => {
                launch.own_process_group = launch.kill_process_group;
                launch.own_session = false;
                launch.placeholders = false;
                // Only an upgrade waits for acks, and with none it is a stop and a start.
                policy.ready_at_first = true;
                policy.give_up_spawns_only = true;
                if ready == Readiness::Exec && self.upgrade.is_none() {
                    policy.upgrade = UpgradeMode::StopFirst;
                }
                if ready == Readiness::Exec && policy.stop_hook.is_some() {
                    // An upgrade without acks stops workers as anything else does.
                    policy.drain_signal = None;
                }
                for hook in policy.stop_hook.iter_mut().chain(&mut policy.preflight) {
                    if let Some(program) = hook.argv.first_mut() {
                        *program = in_directory(std::mem::take(program));
                    }
                }
                in_directory(program)
            }
        };
        let control = match around.manner {
            Manner::Remuda => self.control,
            Manner::Firestarter => self.control.or_else(|| Some(around.temporary(&name))),
        };
        GroupSpec {
            name,
            launch,
            control,
            sockets: self.sockets.into_iter().map(|socket| socket.with(&self.socket_options)).collect(),
            policy,
        }
    }
}

/// A bare name is no longer looked up in PATH: it stands in the working directory, as every relative path does.
fn in_directory(program: OsString) -> OsString {
    if program.as_encoded_bytes().contains(&b'/') {
        return program;
    }
    let mut path = OsString::from("./");
    path.push(program);
    path
}

/// Words as they stand in a list, or a line that is split; the first one is the program.
fn command(value: &Value<'_>, around: &Surroundings<'_>) -> Result<Vec<OsString>, Vec<Wrong>> {
    let words = if value.is_list() {
        value.list(Kind::Text, |element| element.text().map(OsString::from))?
    } else {
        let text = value.text()?;
        let variable = |name: &str| around.variable(OsStr::new(name));
        words::split(text, variable).map_err(|error| value.wrong_within(text, error.at, &error.why))?
    };
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        Some(_) => Err(Wrong::new(value.at(), "the name of the program is empty").into()),
        None => Err(Wrong::new(value.at(), "no program is named").into()),
    }
}

/// Sets what two keys may say.
fn instead_of(
    target: &mut Option<String>,
    account: String,
    other: &str,
    value: &Value<'_>,
) -> Result<(), Wrong> {
    if target.is_some() {
        return Err(Wrong::new(value.at(), format!("'{other}' says the same")));
    }
    *target = Some(account);
    Ok(())
}

/// firestarter's word for `never` is `none`.
fn restart(word: &str) -> Result<Restart> {
    let [always, on_failure, never] = values::RESTARTS;
    values::choice(word, &[always, on_failure, ("none", Restart::Never), never])
}

/// An id; the largest number stands for none in the system's calls.
fn number_of_account(digits: &str) -> Result<String> {
    match digits.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(digits.to_owned()),
        _ => Err(Error::usage(format!("'{digits}' is not an id (0 to {})", u32::MAX - 1))),
    }
}

/// How names of variables may begin.
fn base_name(word: &str) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if word.is_empty() || !word.bytes().all(fits) || word.as_bytes()[0].is_ascii_digit() {
        return Err(Error::usage(format!("'{word}' cannot begin the name of a variable")));
    }
    Ok(word.to_owned())
}
