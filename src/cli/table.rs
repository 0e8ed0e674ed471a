//! The shape of the table of options: what there is to say about a command and about an option. The rows are in
//! `options`. Pure.

/// Names an option to the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// `--config`
    Config,
    /// `--bind`
    Bind,
    /// `--handoff`
    Handoff,
    /// `--no-listen-pid`
    NoListenPid,
    /// `--workers`
    Workers,
    /// `--lazy`
    Lazy,
    /// `--warmup`
    Warmup,
    /// `--ack`
    Ack,
    /// `--ack-deadline`
    AckDeadline,
    /// `--fd-store`
    FdStore,
    /// `--ready-fd`
    ReadyFd,
    /// `--probe-interval`
    ProbeInterval,
    /// `--probe-timeout`
    ProbeTimeout,
    /// `--live-check`
    LiveCheck,
    /// `--live-interval`
    LiveInterval,
    /// `--live-failures`
    LiveFailures,
    /// `--watchdog`
    Watchdog,
    /// `--graceful-signal`
    GracefulSignal,
    /// `--stop-timeout`
    StopTimeout,
    /// `--stop-command`
    StopCommand,
    /// `--restart`
    Restart,
    /// `--success-exit`
    SuccessExit,
    /// `--backoff`
    Backoff,
    /// `--give-up`
    GiveUp,
    /// `--signal-group`
    SignalGroup,
    /// `--no-kill-group`
    NoKillGroup,
    /// `--upgrade`
    Upgrade,
    /// `--surge`
    Surge,
    /// `--max-unacked`
    MaxUnacked,
    /// `--max-draining`
    MaxDraining,
    /// `--drain-timeout`
    DrainTimeout,
    /// `--canary`
    Canary,
    /// `--canary-time`
    CanaryTime,
    /// `--upgrade-attempts`
    UpgradeAttempts,
    /// `--upgrade-timeout`
    UpgradeTimeout,
    /// `--auto-upgrade`
    AutoUpgrade,
    /// `--preflight`
    Preflight,
    /// `--preflight-timeout`
    PreflightTimeout,
    /// `--preflight-every`
    PreflightEvery,
    /// `--when-upgrading`
    WhenUpgrading,
    /// `--directory`
    Directory,
    /// `--user`
    User,
    /// `--group`
    Group,
    /// `--env`
    Env,
    /// `--env-file`
    EnvFile,
    /// `--drop-env`
    DropEnv,
    /// `--login-env`
    LoginEnv,
    /// `--rlimit`
    Rlimit,
    /// `--nice`
    Nice,
    /// `--oom-score-adj`
    OomScoreAdj,
    /// `--pdeathsig`
    Pdeathsig,
    /// `--umask`
    Umask,
    /// `--stdin`
    Stdin,
    /// `--keep-signals`
    KeepSignals,
    /// `--verbose`
    Verbose,
    /// `--quiet` of the manager
    Quiet,
    /// `--log-format`
    LogFormat,
    /// `--syslog`
    Syslog,
    /// `--stdout-log`
    StdoutLog,
    /// `--stderr-log`
    StderrLog,
    /// `--log-overflow`
    LogOverflow,
    /// `--name`
    Name,
    /// `--control`
    Control,
    /// `--pidfile`
    Pidfile,
    /// `--dry-run`
    DryRun,
    /// `--keep-going`
    KeepGoing,
    /// `--json`
    Json,
    /// `--no-wait`
    NoWait,
    /// `--wait-drained`
    WaitDrained,
    /// `--timeout` of a verb that waits for its result
    Timeout,
    /// `--timeout` of a verb that is answered at once
    AnswerTimeout,
    /// `--quiet` of a verb
    Silent,
    /// `--pid`
    Pid,
    /// `--to-group`
    ToGroup,
    /// `--single-child`
    SingleChild,
    /// `--no-subreaper`
    NoSubreaper,
    /// `--subreaper`
    Subreaper,
    /// `--pdeathsig` of `init`
    ParentDeathSignal,
    /// `--rewrite`
    Rewrite,
    /// `--exit-zero`
    ExitZero,
    /// `--warn-reaped`
    WarnReaped,
    /// `--pause`
    Pause,
    /// `--now`
    Now,
    /// `--drain-delay`
    DrainDelay,
    /// `--on-signal`
    OnSignal,
    /// `--delay`
    Delay,
    /// `--all`
    All,
    /// `--on-exit`
    OnExit,
    /// `-h`, `--help`
    Help,
    /// `-V`, `--version`
    Version,
}

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To be a manager.
    Run,
    /// To watch over one program.
    Init,
    /// To look at a groups file without running it.
    Check,
    /// To print a groups file to begin with.
    Sample,
    /// To ask a running one.
    Ask(Question),
}

/// What a verb asks of a running manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// How things stand.
    Status,
    /// What is waited for, and what went wrong.
    Why,
    /// To upgrade.
    Upgrade,
    /// To go back to the last good generation.
    RollBack,
    /// To serve on for a while and be left out meanwhile, or to end workers that are on their way out.
    Drain,
    /// To restart.
    Restart,
    /// To start what was stopped.
    Start,
    /// To stop a group, or the manager.
    Stop,
    /// For a number of workers.
    Scale,
    /// For more workers.
    Inc,
    /// For fewer workers.
    Dec,
    /// For a signal to workers.
    Signal,
    /// For another log level.
    LogLevel,
    /// To open logs again.
    Reopen,
    /// To replace its own image.
    Reexec,
    /// To read its file again.
    Reload,
    /// For all state changes.
    Events,
    /// For its version.
    Version,
    /// To take a worker for ready.
    Ack,
    /// For a sign of life.
    Ping,
    /// Whether it is to be left alone, or to be asked.
    Probe,
}

/// Under which heading an option stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What is listened on.
    Sockets,
    /// How many, when ready, what becomes of the dead.
    Workers,
    /// How workers are replaced.
    Upgrade,
    /// What workers find around them.
    Environment,
    /// What the manager tells, and what becomes of what workers tell.
    Logging,
    /// How the manager is reached.
    Control,
    /// How a verb waits and what it prints.
    Asking,
    /// Help and version.
    General,
}

impl Section {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Section; 8] = [
        Section::Sockets,
        Section::Workers,
        Section::Upgrade,
        Section::Environment,
        Section::Logging,
        Section::Asking,
        Section::Control,
        Section::General,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Section::Sockets => "Sockets",
            Section::Workers => "Workers",
            Section::Upgrade => "Upgrade",
            Section::Environment => "Environment",
            Section::Logging => "Logging",
            Section::Control => "Control",
            Section::Asking => "Asking",
            Section::General => "General",
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Its name to the parser.
    pub id: Id,
    /// Its name after two dashes.
    pub long: &'static str,
    /// Its letter after one dash.
    pub short: Option<char>,
    /// What stands for its value; absent if it takes none.
    pub argument: Option<&'static str>,
    /// The value in force without it, as it would be written.
    pub default: Option<&'static str>,
    /// Where it is printed.
    pub section: Section,
    /// Part of `-h`; the others are in `--help` only.
    pub common: bool,
    /// One line.
    pub brief: &'static str,
    /// Sentences that add to the line, for `--help`.
    pub more: &'static str,
}

/// One verb, `run` among them.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// What it is for.
    pub kind: Kind,
    /// The word.
    pub name: &'static str,
    /// What follows the options, as in a synopsis.
    pub operands: &'static str,
    /// One line.
    pub brief: &'static str,
    /// Sentences that add to the line, for `--help`.
    pub more: &'static str,
    /// Which options it takes.
    pub options: &'static [Opt],
}

impl Command {
    /// The option with this name after two dashes.
    pub fn long(&self, name: &str) -> Option<&'static Opt> {
        self.options.iter().find(|option| option.long == name)
    }

    /// The option with this letter.
    pub fn short(&self, letter: char) -> Option<&'static Opt> {
        self.options.iter().find(|option| option.short == Some(letter))
    }
}

/// A row of an option that takes no value, to which the methods below add.
pub(super) const fn flag(
    id: Id,
    long: &'static str,
    section: Section,
    brief: &'static str,
    more: &'static str,
) -> Opt {
    Opt { id, long, short: None, argument: None, default: None, section, common: true, brief, more }
}

impl Opt {
    /// With a letter.
    pub(super) const fn letter(self, letter: char) -> Opt {
        Opt { short: Some(letter), ..self }
    }

    /// With a value.
    pub(super) const fn takes(self, argument: &'static str) -> Opt {
        Opt { argument: Some(argument), ..self }
    }

    /// With a value that holds without it.
    pub(super) const fn defaults(self, default: &'static str) -> Opt {
        Opt { default: Some(default), ..self }
    }

    /// Not part of `-h`.
    pub(super) const fn rare(self) -> Opt {
        Opt { common: false, ..self }
    }
}
