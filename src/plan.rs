//! The plan: what is to run, as the only input of everything behind the command line.
//!
//! A front door (`cli/`) ends in a [`Plan`]; nothing behind it knows which door it was. Where two doors want
//! different behaviour, the difference is a field here. Pure data: nothing in this file touches the system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::output::Output;
use crate::probe::Probe;
use crate::reading::Source;
use crate::signame::Signal;

mod contradiction;
pub mod init;
mod lookup;
mod socket;

pub use socket::{Address, Family, Host, SocketOptions, SocketSpec};

/// All that one manager is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Instance name: names the control socket and stands in status and logs.
    pub name: String,
    /// What to run. Names are unique.
    pub groups: Vec<GroupSpec>,
    /// Where the manager listens for requests; if absent, only signals reach it.
    pub control: Option<ControlSpec>,
    /// What is spoken there.
    pub dialect: Dialect,
    /// What signals mean, and what the manager's end says.
    pub manager: ManagerPolicy,
    /// How the manager speaks about itself.
    pub log: LogSpec,
    /// Listening sockets that the manager's own manager passes (`sd_listen_fds(3)`) are taken over, by name or address. A
    /// plan of one group without sockets takes them all.
    #[serde(default)]
    pub activation: bool,
    /// File that holds the manager's pid while it runs.
    #[serde(with = "crate::octets")]
    pub pidfile: Option<PathBuf>,
    /// The file that it comes from; if absent there is nothing to read again.
    #[serde(default)]
    pub source: Option<Source>,
    /// Take in orphans of workers, as PID 1 does in any case.
    #[serde(default)]
    pub subreaper: bool,
    /// What is wanted of the manager's own process.
    #[serde(default)]
    pub own: OwnProcess,
}

/// What is wanted of the manager's own process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnProcess {
    /// Nice value, -20 to 19; what it was started with if absent. Workers have it too, unless they have one of their own.
    pub nice: Option<i32>,
    /// What ps(1) shows.
    pub title: Option<String>,
    /// How it replaces its own image.
    pub reexec: Reexec,
    /// A SIGHUP that was ignored at the start, as nohup(1) has it, means what it does otherwise.
    pub heeds_hangup: bool,
    /// File that tells who serves while it runs: a line `GENERATION:PID` for each worker.
    #[serde(with = "crate::octets")]
    pub status_file: Option<PathBuf>,
}

/// How the manager replaces its own image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reexec {
    /// The command that leads back to the program, looked up in PATH: it gets `--upgrade-check -- TAIL` when it is asked,
    /// and `--with-state-fd FD -- TAIL` when it is to take over. If empty, the program itself is executed as it was first.
    #[serde(with = "crate::octets")]
    pub command: Vec<OsString>,
    /// The words after `--`.
    #[serde(with = "crate::octets")]
    pub tail: Vec<OsString>,
    /// Names that are dropped from the environment.
    pub drop: Vec<String>,
}

/// How the manager itself behaves; the part of the plan beside the groups that the core reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagerPolicy {
    /// What the signals it handles mean. SIGCHLD is its own affair.
    pub signals: BTreeMap<Signal, Meaning>,
    /// What its exit code tells.
    pub exit: ExitPolicy,
    /// End when the last worker is gone and none is wanted. Otherwise a group that was scaled to none waits for more.
    pub exit_when_empty: bool,
    /// End when no worker is left and the restart policies are content with that. Otherwise the groups can be started again.
    pub exit_when_finished: bool,
    /// An upgrade begins with the manager itself: its image is replaced, and the new one replaces the workers.
    pub reexec_on_upgrade: bool,
    /// How long workers serve on after [`Meaning::Stop`] before the stop begins, while the manager says of itself that it is
    /// not ready.
    pub drain_delay: Duration,
    /// Tell each second of a stop of everything whom it waits for.
    pub tell_awaited: bool,
    /// End also when somebody cannot be killed, as whoever is left ends with PID 1.
    #[serde(default)]
    pub ends_all: bool,
}

impl ManagerPolicy {
    /// That of remuda's own doors.
    pub fn native() -> Self {
        ManagerPolicy { tell_awaited: true, ..ManagerPolicy::default() }
    }

    /// What a signal means. By PWR and RTMIN+3 those who run containers ask PID 1 to stop, whatever it is; any other one
    /// without a meaning is to end nobody.
    pub fn meaning(&self, signal: Signal) -> Meaning {
        let unasked = || match signal {
            signal if signal == Signal::PWR || signal == Signal::halt() => Meaning::Stop,
            _ => Meaning::Nothing,
        };
        self.signals.get(&signal).copied().unwrap_or_else(unasked)
    }
}

impl Default for ManagerPolicy {
    fn default() -> Self {
        let signals = BTreeMap::from([
            (Signal::TERM, Meaning::Stop),
            (Signal::INT, Meaning::Interrupt),
            (Signal::QUIT, Meaning::StopNow),
            (Signal::HUP, Meaning::Upgrade),
            (Signal::USR1, Meaning::ReopenLogs),
            (Signal::USR2, Meaning::Nothing),
        ]);
        ManagerPolicy {
            signals,
            exit: ExitPolicy::Worker,
            exit_when_empty: false,
            exit_when_finished: true,
            reexec_on_upgrade: false,
            drain_delay: Duration::ZERO,
            tell_awaited: false,
            ends_all: false,
        }
    }
}

/// What a signal to the manager means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Meaning {
    /// Stop gracefully, after [`ManagerPolicy::drain_delay`]; the second one ends that, and further ones change nothing.
    Stop,
    /// Stop gracefully; the second one means at once.
    Interrupt,
    /// Kill the workers, then end.
    StopNow,
    /// Stop, and send the workers this very signal, each time it comes.
    Forward,
    /// Stop, and send the workers this signal, each time it comes.
    StopWith(Signal),
    /// The same, and the manager's exit code is 1.
    FailWith(Signal),
    /// Send the workers this very signal, without any other consequence.
    Relay,
    /// Upgrade every group that is not stopped.
    Upgrade,
    /// Read the file that the plan comes from again, and change what is different.
    Reload,
    /// Open log files again.
    ReopenLogs,
    /// Replace the manager's own image, keeping everything else.
    Reexec,
    /// The same; the new image begins with an upgrade of every group that is not stopped.
    ReexecAndUpgrade,
    /// Nothing, but it is noted.
    Nothing,
}

/// What the exit code of the manager tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExitPolicy {
    /// After a stop 1 if a worker had to be killed; else the code of the one worker, or whether all succeeded.
    Worker,
    /// 0 after a stop, or if all workers succeeded, else 1.
    Success,
    /// Always 0.
    Zero,
}

/// One group: N workers of one program on shared sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// `[A-Za-z0-9_.-]+`.
    pub name: String,
    /// How one worker is started.
    pub launch: Launch,
    /// The sockets, in the order in which workers find them at descriptor 3, 4, 5...
    pub sockets: Vec<SocketSpec>,
    /// How the machine treats the workers.
    pub policy: Policy,
    /// A control socket of its own at this path, where its workers find the manager. In a dialect that knows such sockets
    /// requests there are about this group alone.
    #[serde(default, with = "crate::octets")]
    pub control: Option<PathBuf>,
}

/// How one worker is started, as the user wrote it: names are resolved when a generation is prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// A path if it contains `/`, else looked up in PATH.
    #[serde(with = "crate::octets")]
    pub program: OsString,
    /// Arguments after the program's name.
    #[serde(with = "crate::octets")]
    pub args: Vec<OsString>,
    /// What the program is told as its own name.
    #[serde(default)]
    pub argv0: Argv0,
    /// Working directory; the manager's own if absent.
    #[serde(with = "crate::octets")]
    pub directory: Option<PathBuf>,
    /// Login name or number.
    pub user: Option<String>,
    /// Group name or number; the user's primary group if absent.
    pub group: Option<String>,
    /// Changes to the environment.
    pub env: EnvSpec,
    /// Set HOME, USER and LOGNAME to those of the workers' user; what [`Launch::env`] sets wins.
    #[serde(default)]
    pub login_env: bool,
    /// What the kernel is told of workers.
    #[serde(default)]
    pub attributes: Attributes,
    /// File mode mask of workers; the manager's start mask if absent.
    pub umask: Option<u32>,
    /// What workers find at descriptor 0.
    pub stdin: Stdin,
    /// Workers get a file, FIRESTARTER_WATCH_FILE, whose change is a sign of life; [`Policy::watchdog`] says how often one
    /// is wanted.
    #[serde(default)]
    pub watch_file: Option<WatchFile>,
    /// What becomes of what they write to descriptors 1 and 2.
    #[serde(default)]
    pub output: Output,
    /// Which conventions tell workers of their sockets.
    pub handoff: Handoff,
    /// How many descriptors of a worker are kept for the next one of its slot, FDSTORE=1 of `sd_notify(3)`.
    #[serde(default)]
    pub fd_store: u32,
    /// The descriptor on which a worker says by a line feed that it is ready, in the manner of s6; if absent there is none.
    #[serde(default)]
    pub ready_fd: Option<u32>,
    /// The words of `placeholder` mean something in `args` and in the values of [`EnvSpec::set`].
    #[serde(default)]
    pub placeholders: bool,
    /// Keep the signal dispositions and mask that the manager was started with, instead of the default ones.
    pub keep_signals: bool,
    /// Give each worker a process group of its own.
    pub own_process_group: bool,
    /// Let that group be the only one of a session of the worker's own, unless it shares our standard input.
    #[serde(default)]
    pub own_session: bool,
    /// After a worker's death, SIGKILL what is left of its process group. Needs `own_process_group`.
    pub kill_process_group: bool,
}

impl Launch {
    /// `program` without arguments, started as remuda starts workers where nobody says otherwise.
    pub fn new(program: OsString) -> Self {
        Launch {
            program,
            args: Vec::new(),
            argv0: Argv0::default(),
            directory: None,
            user: None,
            group: None,
            env: EnvSpec::default(),
            login_env: false,
            attributes: Attributes::default(),
            umask: None,
            stdin: Stdin::default(),
            watch_file: None,
            output: Output::default(),
            handoff: Handoff::default(),
            fd_store: 0,
            ready_fd: None,
            placeholders: true,
            keep_signals: false,
            own_process_group: true,
            own_session: true,
            kill_process_group: true,
        }
    }

    /// Whether a worker leads a session: one that reads our terminal has to stay in that of the terminal.
    pub fn has_own_session(&self) -> bool {
        self.own_process_group && self.own_session && self.stdin == Stdin::Null
    }
}

/// Changes to the environment the manager was started with, applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvSpec {
    /// Names to leave out.
    pub drop: Vec<String>,
    /// Files of `NAME=VALUE` lines, read anew for each generation.
    #[serde(with = "crate::octets")]
    pub files: Vec<PathBuf>,
    /// Names to set, last wins.
    #[serde(with = "crate::octets")]
    pub set: Vec<(OsString, OsString)>,
}

/// What workers find at descriptor 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// The manager's own.
    Inherit,
}

/// Where the file lies by whose change a worker may show that it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchFile {
    /// In the directory of the control socket that the worker is told of.
    BesideControl,
    /// In this directory.
    In(#[serde(with = "crate::octets")] PathBuf),
}

/// What a program is told as its own name, `argv[0]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argv0 {
    /// The words of [`Launch::program`].
    #[default]
    AsWritten,
    /// The path at which it was found, symbolic links and all.
    Found,
}

/// One way to tell a worker of its sockets and of its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Convention {
    /// LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID: `sd_listen_fds(3)`.
    Systemd,
    /// EINHORN_FD_COUNT, EINHORN_FD_n, EINHORN_FD_FAMILY_n, EINHORN_FDS, EINHORN_MASTER_PID, EINHORN_SOCK_PATH,
    /// EINHORN_CHILD_INDEX.
    Einhorn,
    /// SERVER_STARTER_PORT and SERVER_STARTER_GENERATION.
    ServerStarter,
    /// FIRESTARTER_FD_COUNT and its like, under the base name of [`Handoff::base_name`].
    Firestarter,
    /// NOTIFY_SOCKET: `sd_notify(3)`. Set only where READY=1 is listened for.
    Notify,
}

impl Convention {
    /// All of them.
    pub const ALL: [Convention; 5] = [
        Convention::Systemd,
        Convention::Einhorn,
        Convention::ServerStarter,
        Convention::Firestarter,
        Convention::Notify,
    ];
}

/// Which conventions tell workers of their sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handoff {
    /// The set in force.
    pub conventions: BTreeSet<Convention>,
    /// Set LISTEN_PID; off for programs behind a wrapper that does not exec.
    pub listen_pid: bool,
    /// Prefix of firestarter's names, `FIRESTARTER` if not said otherwise.
    pub base_name: String,
    /// Give each worker a connection to the manager, by EINHORN_SOCK_FD, behind its sockets.
    #[serde(default)]
    pub control_descriptor: bool,
}

impl Default for Handoff {
    fn default() -> Self {
        Handoff {
            conventions: Convention::ALL.into(),
            listen_pid: true,
            base_name: "FIRESTARTER".to_owned(),
            control_descriptor: false,
        }
    }
}

/// When a worker counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Readiness {
    /// As soon as its program runs.
    Exec,
    /// When it has lived this long; acks are recorded and do not shorten it.
    Timer(Duration),
    /// When it says so: `worker:ack`, READY=1 or a line feed on [`Launch::ready_fd`].
    Manual,
}

/// How the workers of a group are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UpgradeMode {
    /// A few new ones at a time; an old one is stopped when the new one of its slot is ready.
    Rolling,
    /// All new ones at once; the old ones are stopped when all new ones are ready.
    Fleet,
    /// An old one is stopped first, the new one of its slot started when it is gone.
    StopFirst,
}

/// What becomes of an upgrade that is asked for while another one, or a restart, is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Meanwhile {
    /// It takes the place of that one.
    #[default]
    Supersede,
    /// It begins when that one has ended; several that wait are one.
    Queue,
    /// It is refused.
    Refuse,
}

/// A number of workers, absolute or relative to the target of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Share {
    /// That many.
    Count(u32),
    /// That part of the target, in percent, rounded down but at least one.
    Percent(u32),
}

impl Share {
    /// The number meant for `target` workers; at least 1.
    pub fn of(self, target: u32) -> u32 {
        let count = match self {
            Share::Count(count) => count,
            Share::Percent(percent) => {
                u32::try_from(u64::from(target) * u64::from(percent) / 100).unwrap_or(u32::MAX)
            }
        };
        count.max(1)
    }
}

/// Whom fewer workers are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shrink {
    /// The slots with the highest numbers.
    LastSlots,
    /// Those that are not ready, then the oldest.
    Oldest,
}

/// Which deaths are answered with a new worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Restart {
    /// All that we did not cause.
    Always,
    /// Those that are no success.
    OnFailure,
    /// None.
    Never,
}

/// One way to die that counts as success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Success {
    /// This exit code.
    Exit(u8),
    /// This signal.
    Signal(Signal),
}

/// How long to wait before a failing worker is started again: `base * factor^n`, at most `max`, plus jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backoff {
    /// The first delay.
    pub base: Duration,
    /// Growth in thousandths: 1500 is a factor of 1.5.
    pub factor_milli: u32,
    /// The ceiling.
    pub max: Duration,
    /// Part of the delay, in percent, by which it may be longer at random.
    pub jitter_percent: u32,
}

/// How the machine treats the workers of a group; the part of a group that the core reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Number of workers wanted; it may be changed at run time.
    pub workers: u32,
    /// Fewer cannot be asked for at run time.
    pub workers_min: u32,
    /// One fewer can be asked for, by `dec`, down to this number.
    pub dec_min: u32,
    /// Whom fewer workers are taken from.
    pub shrink: Shrink,
    /// When a worker is ready.
    pub ready: Readiness,
    /// That is asked of those only that replace another in an upgrade; every other is ready as soon as its program runs.
    pub ready_at_first: bool,
    /// How long a worker may take to ack when `ready` is manual; for ever if absent.
    pub ack_deadline: Option<Duration>,
    /// What makes a worker ready, beside its own word, when `ready` is manual.
    pub ready_probe: Option<Probe>,
    /// How long after a probe that says that a worker is not ready the next one begins. The first ones follow sooner.
    pub probe_interval: Duration,
    /// How long a probe may take, be it this one or `live_check`.
    pub probe_timeout: Duration,
    /// What a ready worker has to stand again and again; if absent nobody looks.
    pub live_check: Option<Probe>,
    /// How long after a worker was found ready, or a live check has ended, the next one begins.
    pub live_interval: Duration,
    /// Live checks failed in a row that end a worker.
    pub live_failures: u32,
    /// How often a ready worker has to show that it lives; if absent nobody asks.
    pub watchdog: Option<Duration>,
    /// Signal that asks a worker to finish and go.
    pub graceful_signal: Signal,
    /// The same for one that did not ack in time; `graceful_signal` if absent.
    pub overdue_signal: Option<Signal>,
    /// Signals that ask a worker to go are for its whole process group, where it has its own.
    #[serde(default)]
    pub signal_group: bool,
    /// Time from the graceful signal to the first of `stop_steps`, or to SIGKILL; if absent neither comes.
    pub stop_timeout: Option<Duration>,
    /// What takes the place of `stop_timeout` where the manager is PID 1 and nobody has said how long it is: whoever runs a
    /// container kills all of it after 10 s.
    pub stop_timeout_as_first: Option<Duration>,
    /// The same for old workers of an upgrade.
    pub drain_timeout: Option<Duration>,
    /// Signal that asks an old worker of an upgrade to finish and go; `graceful_signal` if absent.
    pub drain_signal: Option<Signal>,
    /// Signals to try before SIGKILL on a worker that did not go, each with the time it is given.
    pub stop_steps: Vec<(Signal, Duration)>,
    /// How workers are replaced.
    pub upgrade: UpgradeMode,
    /// How many new workers may stand beside the old ones in a rolling upgrade; how many slots may be empty in a
    /// stop-first one.
    pub surge: Share,
    /// How many new workers may be unready at a time in an upgrade; `surge` if absent. Where there is a `spacing` it holds
    /// for all workers that keep it, and for no others.
    pub max_unacked: Option<u32>,
    /// How many workers may be on their way out at a time in an upgrade; the target if absent.
    pub max_draining: Option<u32>,
    /// How many workers there may be beside the target in a rolling upgrade, those on their way out included; as many as
    /// the other limits allow if absent. Where there may be none, it is a stop-first one, a slot at a time.
    pub max_extra: Option<u32>,
    /// Least time between the start of two workers, once the first ones were started, all at once. Those of a fleet
    /// upgrade are started at once, too.
    pub spacing: Duration,
    /// Deaths or missed deadlines of new workers in a row that end an upgrade.
    pub upgrade_failures: u32,
    /// One worker of a new generation goes before the others, and has to stay ready this long; all follow at once, as
    /// far as the limits allow, if absent.
    pub canary: Option<Duration>,
    /// What becomes of a second upgrade during the first.
    pub meanwhile: Meanwhile,
    /// How long an upgrade may take from the first new worker on; without end if absent. A roll-back has no limit.
    pub upgrade_timeout: Option<Duration>,
    /// Which deaths are answered with a new worker.
    pub restart: Restart,
    /// Ways to die that count as success.
    pub success: Vec<Success>,
    /// So many deaths that nobody asked for end the manager, which exits as the last one did; none does if absent. A worker
    /// that was ready for `stable_after` begins the count anew.
    pub exit_after: Option<u32>,
    /// Delays between attempts of a failing group.
    pub backoff: Backoff,
    /// Failures in a row after which no more attempts are made; never if absent.
    pub give_up: Option<u32>,
    /// Only programs that cannot be executed count for that, and not those that run and end.
    pub give_up_spawns_only: bool,
    /// That holds in a roll-back too. Otherwise a roll-back never ends in vain: there is nothing else to go back to.
    pub give_up_roll_back: bool,
    /// A worker that is ready as soon as its program runs is healthy after this time; one that had to show that it is
    /// ready, by its age, its word or a probe, is so from then on. The slot of one that died healthy is filled again at
    /// once.
    pub healthy_after: Duration,
    /// Unless another worker of its slot has died this long before, or less. Ends with success do not count.
    pub crash_window: Duration,
    /// A worker that was ready this long ends a streak of failures.
    pub stable_after: Duration,
    /// Asks a worker to finish and go, in place of `graceful_signal`.
    pub stop_hook: Option<Hook>,
    /// Runs before an upgrade touches anything, and says by its exit code whether that may begin.
    pub preflight: Option<Hook>,
    /// How long that may take.
    pub preflight_timeout: Duration,
    /// Run the preflight by itself, so long after the last one has ended, and upgrade when it succeeds. An upgrade on
    /// request does without it then.
    pub preflight_every: Option<Duration>,
    /// How long the first workers wait after the sockets are open.
    pub warmup: Duration,
    /// The first workers wait for the first connection or datagram, where there is a socket.
    pub lazy: bool,
    /// Look at the program once a second, and upgrade when it has become another and stays so.
    pub auto_upgrade: bool,
}

impl Policy {
    /// [`Policy::stop_timeout`] of PID 1, if nobody says otherwise.
    pub const STOP_TIMEOUT_AS_FIRST: Duration = Duration::from_secs(8);

    /// Becomes the policy of a manager that is PID 1.
    pub fn be_first(&mut self) {
        self.stop_timeout = self.stop_timeout_as_first.take().or(self.stop_timeout);
    }

    /// Least time from the end of a worker to the start of the one after the next in the same slot, whatever they ended
    /// with. Where workers keep a pace that is enough.
    pub fn floor(&self) -> Duration {
        match (self.spacing, self.backoff.base) {
            (Duration::ZERO, Duration::ZERO) => Duration::from_secs(1),
            (Duration::ZERO, base) => base,
            _ => Duration::ZERO,
        }
    }

    /// Whether a worker is ready, at its first start at least, without having shown anything but that its program runs.
    pub fn is_ready_at_exec(&self) -> bool {
        self.ready == Readiness::Exec || self.ready_at_first
    }

    /// Every command that is run beside the workers.
    pub fn hooks(&self) -> impl Iterator<Item = &Hook> {
        let probes = self.probes().filter_map(Probe::command);
        self.stop_hook.iter().chain(&self.preflight).chain(probes)
    }

    /// Every probe of workers.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.ready_probe.iter().chain(&self.live_check)
    }
}

/// A command that is run beside the workers, in their environment and directory, as their user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hook {
    /// The program and its arguments.
    #[serde(with = "crate::octets")]
    pub argv: Vec<OsString>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            workers: 1,
            workers_min: 0,
            dec_min: 1,
            shrink: Shrink::LastSlots,
            ready: Readiness::Timer(Duration::from_secs(1)),
            ready_at_first: false,
            ack_deadline: Some(Duration::from_secs(60)),
            ready_probe: None,
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(2),
            live_check: None,
            live_interval: Duration::from_secs(10),
            live_failures: 3,
            watchdog: None,
            graceful_signal: Signal::TERM,
            overdue_signal: None,
            signal_group: false,
            stop_timeout: Some(Duration::from_secs(10)),
            stop_timeout_as_first: None,
            drain_timeout: Some(Duration::from_secs(60)),
            drain_signal: None,
            stop_steps: Vec::new(),
            upgrade: UpgradeMode::Rolling,
            surge: Share::Percent(25),
            max_unacked: None,
            max_draining: None,
            max_extra: None,
            spacing: Duration::ZERO,
            upgrade_failures: 3,
            canary: None,
            meanwhile: Meanwhile::Supersede,
            upgrade_timeout: None,
            restart: Restart::Always,
            success: vec![Success::Exit(0)],
            exit_after: None,
            backoff: Backoff {
                base: Duration::from_secs(1),
                factor_milli: 1500,
                max: Duration::from_secs(30),
                jitter_percent: 10,
            },
            give_up: None,
            give_up_spawns_only: false,
            give_up_roll_back: false,
            healthy_after: Duration::from_secs(1),
            crash_window: Duration::from_secs(10),
            stable_after: Duration::from_secs(60),
            stop_hook: None,
            preflight: None,
            preflight_timeout: Duration::from_secs(300),
            preflight_every: None,
            warmup: Duration::ZERO,
            lazy: false,
            auto_upgrade: false,
        }
    }
}

/// Where the manager listens for requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlSpec {
    /// In the runtime directory of whoever runs the manager, under the instance name.
    Default,
    /// At this path.
    Path(#[serde(with = "crate::octets")] PathBuf),
    /// At this path, owned by whoever holds the lock on a file elsewhere.
    Locked {
        /// Of the socket.
        #[serde(with = "crate::octets")]
        path: PathBuf,
        /// Of the lock.
        #[serde(with = "crate::octets")]
        lock: PathBuf,
    },
}

/// Where firestarter has the socket of the group of this name, and under `control` that of the manager. `variable` looks
/// into the environment.
pub fn firestarter_socket(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> PathBuf {
    let directory = variable("TMPDIR").filter(|directory| !directory.is_empty());
    let application = variable("FIRESTARTER_APP_NAME").unwrap_or_else(|| "firestarter".into());
    let mut file = application;
    file.push(format!("-{name}.socket"));
    PathBuf::from(directory.unwrap_or_else(|| "/tmp".into())).join(file)
}

/// What the clients of a control socket speak.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// remuda-protocol(7).
    #[default]
    Native,
    /// The protocol of firestarter: a request and its answer are a line of JSON each, one on a connection.
    Firestarter,
    /// The protocol of einhyrningsins: requests are JSON objects, answers JSON strings, a line each.
    Einhyrningsins,
    /// The protocol of einhorn: requests and replies are YAML documents, a line each.
    Einhorn(Box<EinhornManner>),
}

/// How einhorn was asked to start, as it tells whoever asks for its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct EinhornManner {
    /// The name that the manager shows.
    pub command_name: Option<String>,
    /// The program and its arguments.
    #[serde(with = "crate::octets")]
    pub command: Vec<OsString>,
    /// Host, port and flags of each socket.
    pub bind: Vec<(String, u16, Vec<String>)>,
    /// Connections that may wait on each.
    pub backlog: u32,
    /// The control socket.
    #[serde(with = "crate::octets")]
    pub socket: PathBuf,
    /// The pid file.
    #[serde(with = "crate::octets")]
    pub pidfile: PathBuf,
    /// The file by which one of two managers is refused.
    #[serde(with = "crate::octets")]
    pub lockfile: PathBuf,
    /// Workers are told when the manager dies.
    pub kill_children: bool,
    /// Each worker has a connection to the manager.
    pub socket_as_fd: bool,
    /// Niceness of the manager.
    pub nice_manager: Option<i32>,
    /// Niceness of workers.
    pub nice_worker: Option<i32>,
    /// The command that leads back to the manager when it replaces its own image.
    #[serde(with = "crate::octets")]
    pub reexec_as: Vec<OsString>,
    /// Variables that are dropped then.
    pub drop: Vec<String>,
}

/// How the manager speaks about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Least important level that is written.
    pub level: Level,
    /// Shape of a line.
    pub format: LogFormat,
    /// Where lines go.
    #[serde(default)]
    pub target: LogTarget,
    /// What is told between the look at the program and the opening of the sockets.
    #[serde(default)]
    pub opening: Option<String>,
}

impl LogSpec {
    /// Lines on standard error.
    pub fn stderr(level: Level, format: LogFormat) -> Self {
        LogSpec { level, format, target: LogTarget::Stderr, opening: None }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// To standard error.
    #[default]
    Stderr,
    /// To the system's log, `syslog(3)`; to standard error as long as that is not there.
    Syslog {
        /// Who speaks: stands before the pid.
        tag: String,
        /// What kind of program speaks.
        facility: Facility,
    },
}

impl LogTarget {
    /// The system's log for a daemon of remuda's own name.
    pub fn syslog() -> Self {
        LogTarget::Syslog { tag: "remuda".to_owned(), facility: Facility::Daemon }
    }
}

/// The facility of `syslog(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Facility {
    /// LOG_KERN, for what passes for it by tradition.
    Kernel,
    /// LOG_DAEMON.
    Daemon,
}

/// Importance of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Each step.
    Debug,
    /// What happens to workers.
    Info,
    /// What went wrong and is being dealt with.
    Warn,
    /// What went wrong and needs somebody.
    Error,
}

impl Level {
    /// `debug`, `info`, `warn`, `error`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Level::Debug, Level::Info, Level::Warn, Level::Error].into_iter().find(|level| level.name() == name)
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
    /// As einhorn wrote it, its sentences included: `[MASTER 4711] INFO: SENTENCE`.
    Einhorn,
    /// As socketmaster wrote it, its sentences included: `socketmaster[4711] 2026/11/21 07:11:50 SENTENCE`.
    Socketmaster,
}
