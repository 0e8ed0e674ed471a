//! The one table of the groups file: every key, with its type, its default, where it comes from and what it is for.
//!
//! The parser knows a key only by its row here, `remuda sample-config` is printed from the rows, and remuda.toml(5) is
//! tested against them. What a key does stands in `group.rs` and `manager.rs`, one arm for each [`Id`]. Pure.

use std::fmt;

pub use crate::reading::Defaults;

/// Names a key to the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// `exec_start`
    ExecStart,
    /// `numprocesses`
    Workers,
    /// `working_directory`
    Directory,
    /// `socket_address`
    Sockets,
    /// `socket_options`
    SocketOptions,
    /// `handoff`
    Handoff,
    /// `environment_base_name`
    BaseName,
    /// `listen_pid`
    ListenPid,
    /// `start_immediate`
    StartImmediate,
    /// `warmup_delay`
    WarmupDelay,
    /// `ack`
    Ack,
    /// `ack_timeout`
    AckTimeout,
    /// `ack_deadline`
    AckDeadline,
    /// `fd_store`
    FdStore,
    /// `ready_fd`
    ReadyFd,
    /// `probe_interval`
    ProbeInterval,
    /// `probe_timeout`
    ProbeTimeout,
    /// `live_check`
    Check,
    /// `live_interval`
    LiveInterval,
    /// `live_failures`
    LiveFailures,
    /// `watchdog`
    Watchdog,
    /// `live_check_timeout`
    LiveCheck,
    /// `graceful_signal`
    GracefulSignal,
    /// `stop_timeout`
    StopTimeout,
    /// `exec_stop`
    ExecStop,
    /// `restart`
    Restart,
    /// `success_exit`
    SuccessExit,
    /// `on_exit`
    OnExit,
    /// `backoff`
    Backoff,
    /// `giveup`
    GiveUp,
    /// `signal_group`
    SignalGroup,
    /// `kill_group`
    KillGroup,
    /// `upgrade`
    Upgrade,
    /// `surge`
    Surge,
    /// `max_unacked`
    MaxUnacked,
    /// `max_draining`
    MaxDraining,
    /// `drain_timeout`
    DrainTimeout,
    /// `canary`
    Canary,
    /// `canary_time`
    CanaryTime,
    /// `upgrade_attempts`
    UpgradeAttempts,
    /// `upgrade_timeout`
    UpgradeTimeout,
    /// `when_upgrading`
    WhenUpgrading,
    /// `ack_signal`
    AckSignal,
    /// `auto_upgrade`
    AutoUpgrade,
    /// `preflight`
    Preflight,
    /// `upgrader`
    Upgrader,
    /// `upgrader_timeout`
    UpgraderTimeout,
    /// `upgrader_active_sec`
    UpgraderPeriod,
    /// `environments`
    Environment,
    /// `env_files`
    EnvFiles,
    /// `drop_env`
    DropEnv,
    /// `user`
    User,
    /// `group`
    Group,
    /// `uid`
    Uid,
    /// `gid`
    Gid,
    /// `login_env`
    LoginEnv,
    /// `rlimits`
    Rlimits,
    /// `nice`
    Nice,
    /// `oom_score_adj`
    OomScoreAdj,
    /// `pdeathsig`
    Pdeathsig,
    /// `umask`
    Umask,
    /// `stdin`
    Stdin,
    /// `keep_signals`
    KeepSignals,
    /// `stdout_log`
    StdoutLog,
    /// `stderr_log`
    StderrLog,
    /// `log_overflow`
    LogOverflow,
    /// `control_socket`
    OwnControl,
    /// `defaults` of the manager
    Defaults,
    /// `name` of the manager
    Name,
    /// `control_socket` of the manager
    ControlSocket,
    /// `pidfile` of the manager
    Pidfile,
    /// `log_level` of the manager
    LogLevel,
    /// `log_format` of the manager
    LogFormat,
    /// `syslog` of the manager
    Syslog,
    /// `subreaper`
    Subreaper,
    /// `drain_delay` of the manager
    DrainDelay,
    /// `on_signal` of the manager
    OnSignal,
}

/// In which tables of the file a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// In that of each group.
    Group,
    /// In `[remuda]`.
    Manager,
}

/// What is written after the `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `"..."`
    Text,
    /// `"..."` split into words, or `["...", "..."]` taken as words.
    Command,
    /// `4`
    Number,
    /// `true` or `false`
    Flag,
    /// `10`, `1.5`, `"500ms"`
    Duration,
    /// `4` or `"25%"`
    Share,
    /// `"022"` or `0o022`
    Octal,
    /// `["...", "..."]`
    List,
    /// `[0, 2, "TERM"]`
    Exits,
    /// One element of [`Kind::Exits`].
    Exit,
}

impl Kind {
    /// As documents call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Command => "command",
            Kind::Number => "number",
            Kind::Flag => "boolean",
            Kind::Duration => "duration",
            Kind::Share => "number or percentage",
            Kind::Octal => "octal number",
            Kind::List => "list of strings",
            Kind::Exits => "list of exit codes and signals",
            Kind::Exit => "exit code or signal",
        }
    }

    /// The unit of a bare number, if it has one.
    pub fn unit(self) -> Option<&'static str> {
        (self == Kind::Duration).then_some("seconds")
    }

    /// As errors ask for it.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Command => "a string, or a list of words,",
            Kind::Number => "a whole number",
            Kind::Flag => "true or false",
            Kind::Duration => "a number of seconds, or a string such as \"500ms\",",
            Kind::Share => "a whole number, or a string such as \"25%\",",
            Kind::Octal => "a string of octal digits such as \"022\"",
            Kind::List => "a list of strings",
            Kind::Exits => "a list of exit codes and names of signals",
            Kind::Exit => "an exit code or the name of a signal",
        }
    }
}

/// What holds where a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// This value, as it would be written.
    Default(&'static str),
    /// Nothing, or what another key says. A value as an example.
    Absent(&'static str),
    /// The key must be there. A value as an example.
    Required(&'static str),
}

impl Usual {
    /// A value that can be written after the `=`.
    pub fn sample(self) -> &'static str {
        match self {
            Usual::Default(value) | Usual::Absent(value) | Usual::Required(value) => value,
        }
    }
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// firestarter's, with the default that it has there.
    Firestarter(Option<&'static str>),
    /// remuda's own, with the default that makes it do what firestarter does, if that is another.
    Remuda(Option<&'static str>),
}

/// Values of the key `defaults`.
pub const DEFAULTS: [(&str, Defaults); 2] =
    [("remuda", Defaults::Remuda), ("firestarter", Defaults::Firestarter)];

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Firestarter(_) => "firestarter",
            Origin::Remuda(_) => "remuda",
        })
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name to the parser.
    pub id: Id,
    /// Where it stands.
    pub table: Table,
    /// Its name in the file.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What holds without it.
    pub usual: Usual,
    /// Whose it is.
    pub origin: Origin,
    /// The option of `remuda run` that says the same, without its dashes; absent if there is none.
    pub option: Option<&'static str>,
    /// One line.
    pub brief: &'static str,
}

/// The key of this name in such a table.
pub fn key(table: Table, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.table == table && key.name == name)
}

/// A key of a group, remuda's own, to which the methods below add.
const fn row(id: Id, name: &'static str, kind: Kind, usual: Usual, brief: &'static str) -> Key {
    Key { id, table: Table::Group, name, kind, usual, origin: Origin::Remuda(None), option: None, brief }
}

impl Key {
    /// What holds without it under firestarter's defaults, if that is not what holds under remuda's.
    pub fn unlike(&self) -> Option<&'static str> {
        let (Origin::Firestarter(theirs) | Origin::Remuda(theirs)) = self.origin;
        theirs.filter(|theirs| self.usual != Usual::Default(theirs))
    }

    /// firestarter has it, with this default or with none.
    const fn theirs(self, default: Option<&'static str>) -> Key {
        Key { origin: Origin::Firestarter(default), ..self }
    }

    /// firestarter does not have it, and does what this value says.
    const fn beside_theirs(self, default: &'static str) -> Key {
        Key { origin: Origin::Remuda(Some(default)), ..self }
    }

    /// On the command line it is this option.
    const fn option(self, option: &'static str) -> Key {
        Key { option: Some(option), ..self }
    }

    /// It stands in `[remuda]`.
    const fn of_manager(self) -> Key {
        Key { table: Table::Manager, ..self }
    }
}

/// Every key, in the order in which documents have them.
pub const KEYS: &[Key] = &[
    row(
        Id::Defaults,
        "defaults",
        Kind::Text,
        Usual::Default("\"remuda\""),
        "whose defaults hold for keys of groups that are left out: remuda, firestarter",
    )
    .of_manager(),
    row(Id::Name, "name", Kind::Text, Usual::Absent("\"site\""), "instance (base name of the file)")
        .of_manager()
        .option("name"),
    row(
        Id::ControlSocket,
        "control_socket",
        Kind::Text,
        Usual::Absent("\"/run/site/control.sock\""),
        "control socket, instead of the place for the name",
    )
    .of_manager()
    .option("control"),
    row(Id::Pidfile, "pidfile", Kind::Text, Usual::Absent("\"/run/site.pid\""), "the manager's pid is written there")
        .of_manager()
        .option("pidfile"),
    row(
        Id::LogLevel,
        "log_level",
        Kind::Text,
        Usual::Default("\"info\""),
        "least important level that is logged: debug, info, warn, error",
    )
    .of_manager()
    .option("verbose"),
    row(
        Id::LogFormat,
        "log_format",
        Kind::Text,
        Usual::Default("\"plain\""),
        "shape of log lines: plain, json",
    )
    .of_manager()
    .option("log-format"),
    row(
        Id::Syslog,
        "syslog",
        Kind::Flag,
        Usual::Default("false"),
        "log to the system's log instead of standard error",
    )
    .of_manager()
    .option("syslog"),
    row(
        Id::Subreaper,
        "subreaper",
        Kind::Flag,
        Usual::Default("true"),
        "take in orphans of workers, as PID 1 does in any case",
    )
    .of_manager()
    .option("no-subreaper"),
    row(
        Id::DrainDelay,
        "drain_delay",
        Kind::Duration,
        Usual::Default("0"),
        "serve on so long after TERM, and say of oneself that one is not ready; then stop",
    )
    .of_manager()
    .option("drain-delay"),
    row(
        Id::OnSignal,
        "on_signal",
        Kind::List,
        Usual::Absent("[\"QUIT=stop\"]"),
        "what signals to the manager mean: stop, stop-now, upgrade, reload, reopen, none",
    )
    .of_manager()
    .option("on-signal"),
    row(
        Id::ExecStart,
        "exec_start",
        Kind::Command,
        Usual::Required("\"/path/to/program --its-option\""),
        "program and arguments; a list is taken word by word",
    )
    .theirs(None),
    row(Id::Workers, "numprocesses", Kind::Number, Usual::Default("1"), "how many workers")
        .theirs(Some("1"))
        .option("workers"),
    row(
        Id::Directory,
        "working_directory",
        Kind::Text,
        Usual::Absent("\"/\""),
        "working directory of workers (that of the manager)",
    )
    .theirs(None)
    .option("directory"),
    row(
        Id::Sockets,
        "socket_address",
        Kind::List,
        Usual::Default("[]"),
        "sockets at descriptor 3, 4...: \"127.0.0.1:8080\", \"unix:/run/web.sock,mode=0660\"",
    )
    .theirs(Some("[]"))
    .option("bind"),
    row(
        Id::SocketOptions,
        "socket_options",
        Kind::List,
        Usual::Default("[]"),
        "options of all these sockets: \"nodelay\", \"defer-accept=5s\"",
    ),
    row(
        Id::Handoff,
        "handoff",
        Kind::List,
        Usual::Default("[\"all\"]"),
        "which variables tell workers of the sockets: systemd, einhorn, server-starter, firestarter, notify, all",
    )
    .option("handoff"),
    row(
        Id::BaseName,
        "environment_base_name",
        Kind::Text,
        Usual::Default("\"FIRESTARTER\""),
        "how firestarter's variables begin",
    )
    .theirs(Some("\"FIRESTARTER\"")),
    row(Id::ListenPid, "listen_pid", Kind::Flag, Usual::Default("true"), "set LISTEN_PID")
        .beside_theirs("false")
        .option("no-listen-pid"),
    row(
        Id::StartImmediate,
        "start_immediate",
        Kind::Flag,
        Usual::Default("true"),
        "start workers at once, not with the first connection; without a socket always at once",
    )
    .theirs(Some("false"))
    .option("lazy"),
    row(
        Id::WarmupDelay,
        "warmup_delay",
        Kind::Duration,
        Usual::Default("0"),
        "time from the opening of the sockets to the first worker",
    )
    .theirs(Some("0"))
    .option("warmup"),
    row(
        Id::Ack,
        "ack",
        Kind::Text,
        Usual::Default("\"timer\""),
        "when a worker is ready: none (at once), timer (after ack_timeout), manual (when it says so), or a probe: tcp:ADDR, unix:PATH, http://ADDR/PATH, exec:COMMAND",
    )
    .theirs(Some("\"timer\""))
    .option("ack"),
    row(Id::AckTimeout, "ack_timeout", Kind::Duration, Usual::Default("1"), "the time of ack = \"timer\"")
        .theirs(Some("1"))
        .option("ack"),
    row(
        Id::AckDeadline,
        "ack_deadline",
        Kind::Duration,
        Usual::Default("60"),
        "time for the ack of ack = \"manual\", or for a probe",
    )
    .option("ack-deadline"),
    row(
        Id::ReadyFd,
        "ready_fd",
        Kind::Number,
        Usual::Absent("5"),
        "a line feed on this descriptor is the ack of ack = \"manual\", which is the default with it, in the manner of s6",
    )
    .option("ready-fd"),
    row(
        Id::FdStore,
        "fd_store",
        Kind::Number,
        Usual::Default("0"),
        "descriptors that are kept for a slot's next worker, by FDSTORE=1",
    )
    .option("fd-store"),
    row(
        Id::ProbeInterval,
        "probe_interval",
        Kind::Duration,
        Usual::Default("1"),
        "from one failed probe of ack to the next; the first ones follow sooner",
    )
    .option("probe-interval"),
    row(
        Id::ProbeTimeout,
        "probe_timeout",
        Kind::Duration,
        Usual::Default("2"),
        "how long a probe or live check may take",
    )
    .option("probe-timeout"),
    row(
        Id::Watchdog,
        "watchdog",
        Kind::Duration,
        Usual::Absent("30"),
        "a ready worker that does not say WATCHDOG=1 this often is replaced",
    )
    .option("watchdog"),
    row(
        Id::LiveCheck,
        "live_check_timeout",
        Kind::Duration,
        Usual::Absent("30"),
        "a ready worker that does not change its FIRESTARTER_WATCH_FILE this often is replaced; 0: none",
    )
    .theirs(None),
    row(
        Id::Check,
        "live_check",
        Kind::Text,
        Usual::Absent("\"http://unix:/run/web-{index}.sock:/health\""),
        "look at ready workers, and replace who fails: tcp:ADDR, unix:PATH, http://ADDR/PATH, exec:COMMAND",
    )
    .option("live-check"),
    row(
        Id::LiveInterval,
        "live_interval",
        Kind::Duration,
        Usual::Default("10"),
        "from the end of one live check to the next",
    )
    .option("live-interval"),
    row(
        Id::LiveFailures,
        "live_failures",
        Kind::Number,
        Usual::Default("3"),
        "failed live checks in a row that end a worker",
    )
    .option("live-failures"),
    row(
        Id::GracefulSignal,
        "graceful_signal",
        Kind::Text,
        Usual::Default("\"TERM\""),
        "asks a worker to finish and go",
    )
    .option("graceful-signal"),
    row(Id::StopTimeout, "stop_timeout", Kind::Duration, Usual::Absent("10"), "from that signal to SIGKILL (10; 8 as PID 1)")
        .option("stop-timeout"),
    row(
        Id::ExecStop,
        "exec_stop",
        Kind::Command,
        Usual::Absent("\"/path/to/program --stop\""),
        "command that asks the worker $MAINPID to finish and go, instead of graceful_signal",
    )
    .theirs(None)
    .option("stop-command"),
    row(
        Id::Restart,
        "restart",
        Kind::Text,
        Usual::Default("\"always\""),
        "after a death: always, on-failure, none",
    )
    .theirs(Some("\"none\""))
    .option("restart"),
    row(
        Id::SuccessExit,
        "success_exit",
        Kind::Exits,
        Usual::Default("[0]"),
        "exit codes and signals that are no failure",
    )
    .option("success-exit"),
    row(
        Id::OnExit,
        "on_exit",
        Kind::Text,
        Usual::Default("\"ignore\""),
        "when a worker ends by itself: ignore, exit (the manager, as it did), exit:N (at the N-th end)",
    )
    .option("on-exit"),
    row(
        Id::Backoff,
        "backoff",
        Kind::Text,
        Usual::Default("\"1s:1.5:30s\""),
        "retry after BASE[:FACTOR[:MAX]]",
    )
    .option("backoff"),
    row(
        Id::GiveUp,
        "giveup",
        Kind::Number,
        Usual::Default("0"),
        "stop retrying after so many failures in a row; 0 is never",
    )
    .theirs(Some("0"))
    .option("give-up"),
    row(
        Id::SignalGroup,
        "signal_group",
        Kind::Flag,
        Usual::Default("false"),
        "send graceful_signal to the whole process group of a worker",
    )
    .option("signal-group"),
    row(
        Id::KillGroup,
        "kill_group",
        Kind::Flag,
        Usual::Default("true"),
        "end what is left of a dead worker's session",
    )
    .beside_theirs("false")
    .option("no-kill-group"),
    row(Id::Upgrade, "upgrade", Kind::Text, Usual::Default("\"rolling\""), "rolling, fleet, stop-first")
        .option("upgrade"),
    row(
        Id::Surge,
        "surge",
        Kind::Share,
        Usual::Default("\"25%\""),
        "new workers at a time, beside the old ones",
    )
    .beside_theirs("\"100%\"")
    .option("surge"),
    row(
        Id::MaxUnacked,
        "max_unacked",
        Kind::Number,
        Usual::Absent("1"),
        "new workers that are not ready (as surge)",
    )
    .option("max-unacked"),
    row(
        Id::MaxDraining,
        "max_draining",
        Kind::Number,
        Usual::Absent("2"),
        "old workers on their way out (as numprocesses)",
    )
    .option("max-draining"),
    row(
        Id::DrainTimeout,
        "drain_timeout",
        Kind::Duration,
        Usual::Default("60"),
        "time of old workers to finish",
    )
    .option("drain-timeout"),
    row(Id::Canary, "canary", Kind::Flag, Usual::Default("false"), "try one new worker before the others")
        .option("canary"),
    row(
        Id::CanaryTime,
        "canary_time",
        Kind::Duration,
        Usual::Default("10"),
        "how long a canary has to stay ready",
    )
    .option("canary-time"),
    row(
        Id::UpgradeAttempts,
        "upgrade_attempts",
        Kind::Number,
        Usual::Default("3"),
        "failures of new workers in a row that end an upgrade",
    )
    .option("upgrade-attempts"),
    row(
        Id::UpgradeTimeout,
        "upgrade_timeout",
        Kind::Duration,
        Usual::Absent("300"),
        "an upgrade that is not done by then has failed",
    )
    .option("upgrade-timeout"),
    row(
        Id::WhenUpgrading,
        "when_upgrading",
        Kind::Text,
        Usual::Default("\"supersede\""),
        "a second upgrade during the first: supersede, queue, refuse",
    )
    .option("when-upgrading"),
    row(
        Id::AckSignal,
        "ack_signal",
        Kind::Text,
        Usual::Absent("\"USR2\""),
        "asks an old worker to go when its successor is ready (as graceful_signal)",
    )
    .theirs(Some("\"SIGUSR2\"")),
    row(
        Id::AutoUpgrade,
        "auto_upgrade",
        Kind::Flag,
        Usual::Default("false"),
        "upgrade when the program has changed; looks at it once a second",
    )
    .theirs(Some("false"))
    .option("auto-upgrade"),
    row(
        Id::Preflight,
        "preflight",
        Kind::Command,
        Usual::Absent("\"/path/to/program --check\""),
        "command that runs before an upgrade, which fails with it",
    )
    .option("preflight"),
    row(
        Id::Upgrader,
        "upgrader",
        Kind::Command,
        Usual::Absent("\"/path/to/upgrader\""),
        "another name for preflight",
    )
    .theirs(None)
    .option("preflight"),
    row(Id::UpgraderTimeout, "upgrader_timeout", Kind::Duration, Usual::Default("300"), "time for that command")
        .theirs(Some("300"))
        .option("preflight-timeout"),
    row(
        Id::UpgraderPeriod,
        "upgrader_active_sec",
        Kind::Duration,
        Usual::Absent("3600"),
        "run that command so often, and upgrade when it succeeds; never before other upgrades",
    )
    .theirs(None)
    .option("preflight-every"),
    row(Id::Environment, "environments", Kind::List, Usual::Default("[]"), "variables to set: \"NAME=VALUE\"")
        .theirs(Some("[]"))
        .option("env"),
    row(Id::EnvFiles, "env_files", Kind::List, Usual::Default("[]"), "files of NAME=VALUE lines")
        .option("env-file"),
    row(
        Id::DropEnv,
        "drop_env",
        Kind::List,
        Usual::Default("[]"),
        "variables of the manager that workers do not get",
    )
    .option("drop-env"),
    row(Id::User, "user", Kind::Text, Usual::Absent("\"root\""), "user of workers, name or number")
        .option("user"),
    row(
        Id::Group,
        "group",
        Kind::Text,
        Usual::Absent("\"root\""),
        "group of workers, name or number (that of the user)",
    )
    .option("group"),
    row(Id::Uid, "uid", Kind::Number, Usual::Absent("0"), "user of workers, instead of user")
        .theirs(None)
        .option("user"),
    row(Id::Gid, "gid", Kind::Number, Usual::Absent("0"), "group of workers, instead of group")
        .theirs(None)
        .option("group"),
    row(
        Id::LoginEnv,
        "login_env",
        Kind::Flag,
        Usual::Default("false"),
        "set HOME, USER and LOGNAME to those of the user",
    )
    .option("login-env"),
    row(
        Id::Rlimits,
        "rlimits",
        Kind::List,
        Usual::Default("[]"),
        "limits of resources: \"NOFILE=1024:4096\", \"CORE=unlimited\"",
    )
    .option("rlimit"),
    row(Id::Nice, "nice", Kind::Number, Usual::Absent("10"), "nice value of workers, -20 to 19 (that of the manager)")
        .option("nice"),
    row(
        Id::OomScoreAdj,
        "oom_score_adj",
        Kind::Number,
        Usual::Absent("500"),
        "how readily the OOM killer takes workers, -1000 to 1000 (that of the manager, at least 0)",
    )
    .option("oom-score-adj"),
    row(
        Id::Pdeathsig,
        "pdeathsig",
        Kind::Text,
        Usual::Absent("\"KILL\""),
        "signal to workers if the manager is killed (none)",
    )
    .option("pdeathsig"),
    row(Id::Umask, "umask", Kind::Octal, Usual::Absent("\"022\""), "umask of workers").option("umask"),
    row(
        Id::Stdin,
        "stdin",
        Kind::Text,
        Usual::Default("\"null\""),
        "standard input of workers: null, inherit",
    )
    .beside_theirs("\"inherit\"")
    .option("stdin"),
    row(
        Id::KeepSignals,
        "keep_signals",
        Kind::Flag,
        Usual::Default("false"),
        "leave ignored and blocked signals as they are",
    )
    .option("keep-signals"),
    row(
        Id::StdoutLog,
        "stdout_log",
        Kind::Text,
        Usual::Default("\"inherit\""),
        "standard output of workers: PATH, size:10M:5:PATH, time:1:D:UTC:7:PATH, prefix, syslog, null, inherit",
    )
    .theirs(Some("\"/dev/null\""))
    .option("stdout-log"),
    row(
        Id::StderrLog,
        "stderr_log",
        Kind::Text,
        Usual::Default("\"inherit\""),
        "the same for standard error",
    )
    .theirs(Some("\"/dev/null\""))
    .option("stderr-log"),
    row(
        Id::LogOverflow,
        "log_overflow",
        Kind::Text,
        Usual::Default("\"drop\""),
        "where a log takes no more: drop (and count), block (workers wait)",
    )
    .option("log-overflow"),
    row(
        Id::OwnControl,
        "control_socket",
        Kind::Text,
        Usual::Absent("\"/run/web.sock\""),
        "a control socket of the group's own, which its workers are told of",
    )
    .theirs(None),
];
