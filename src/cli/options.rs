//! The one table of remuda's own command line: every verb, every option, with the words that tell of it.
//!
//! The parser knows an option only by its row here, `-h` and `--help` are printed from the rows, and the manual page is
//! tested against them. What an option does stands in `native.rs`, one arm for each [`Id`]. Pure.

use super::table::flag;
pub use super::table::{Command, Id, Kind, Opt, Question, Section};

/// The command of this name.
pub fn command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// `run`, which is also meant where no verb is given.
pub const RUN: &Command = &COMMANDS[0];

/// `init`, which other programs' names lead to as well.
pub const INIT: &Command = &COMMANDS[1];

/// Every verb.
pub const COMMANDS: &[Command] = &[
    Command {
        kind: Kind::Run,
        name: "run",
        operands: "-- PROGRAM [ARGS]",
        brief: "keep workers of one program, or of a file's groups, on sockets",
        more: "Opens the sockets, starts the workers with them at descriptor 3, 4, 5... and replaces workers that die. \
            The word 'run' may be left out. Everything after '--' is the program, untouched. An option given twice \
            counts as given last, unless it says 'repeatable'. \
            Signals: TERM and INT stop gracefully, a second INT or QUIT at once, HUP upgrades or, with a file, reloads it.",
        options: RUN_OPTIONS,
    },
    Command {
        kind: Kind::Init,
        name: "init",
        operands: "-- PROGRAM [ARGS]",
        brief: "be PID 1 of a container for one program",
        more: "Starts the program, passes all signals on to it, reaps orphans, gives it the terminal, and exits as it \
            does: with its code, or with 128 and the signal that ended it. Other processes that are left then get TERM, \
            and KILL when their time is over. The '--' may be left out. The options are those of tini and dumb-init \
            too, and so are their variables; see remuda-init(1).",
        options: INIT_OPTIONS,
    },
    Command {
        kind: Kind::Check,
        name: "check",
        operands: "FILE",
        brief: "tell what is wrong with a groups file",
        more: "Reads it as 'run -c FILE' would, and looks up programs, directories, users, host names and environment \
            files; nothing is opened, started or changed. Everything that is wrong is told at once.",
        options: CHECK,
    },
    Command {
        kind: Kind::Sample,
        name: "sample-config",
        operands: "",
        brief: "print a groups file to begin with",
        more: "Each key of remuda.toml(5) with its default and what it is for.",
        options: OFFLINE,
    },
    Command {
        kind: Kind::Ask(Question::Status),
        name: "status",
        operands: "[GROUP]",
        brief: "show groups and workers",
        more: "Generation, phase, pid and age of each worker, and how its predecessor ended. The layout of --json is \
            versioned; fields may be added.",
        options: ANSWERED,
    },
    Command {
        kind: Kind::Ask(Question::Why),
        name: "why",
        operands: "[GROUP[SLOT]]",
        brief: "tell what is waited for, and what went wrong",
        more: "Of each slot, or of one as in 'web[2]': the worker and what it is waited for, how the one before it \
            ended, and the last failure; of the group the next attempt, the upgrade under way and the last one. With \
            --json, what 'status' answers.",
        options: ANSWERED,
    },
    Command {
        kind: Kind::Ask(Question::Upgrade),
        name: "upgrade",
        operands: "[GROUP]",
        brief: "replace the workers by new ones, without losing a connection",
        more: "Program, directory, user and environment files are looked up anew. Done when all new workers are ready \
            and all old ones were told to finish. If new workers keep failing, the old generation stays. An upgrade \
            during an upgrade takes its place.",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Reload),
        name: "reload",
        operands: "",
        brief: "read the groups file again, and change what is different",
        more: "Prints the difference. New groups start, those that are gone drain and stop, changed ones are upgraded; \
            where only the number of workers is another one they are only scaled. Sockets that stay, stay open. If \
            anything is wrong with the file, nothing is changed. HUP does the same.",
        options: RELOAD,
    },
    Command {
        kind: Kind::Ask(Question::RollBack),
        name: "rollback",
        operands: "[GROUP]",
        brief: "go back to the last good generation",
        more: "Calls off the upgrade under way; without one, replaces the workers by others of the generation before, \
            as it was prepared then. Refused if there is none, or if what it ran can no longer be had.",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Drain),
        name: "drain",
        operands: "[GROUP] [GENERATION]",
        brief: "serve on, but be left out before a stop; or end old workers",
        more: "Without GENERATION the manager says from here on that it is not ready ('probe ready'), while its workers \
            serve on, and the verb returns when the drain delay is over: what the preStop hook of a container waits for. \
            A stop does not wait for it again; 'start' takes it back. With GENERATION, it waits for workers of that \
            generation which were asked to go and still finish their work; 'status' lists them.",
        options: DRAIN,
    },
    Command {
        kind: Kind::Ask(Question::Restart),
        name: "restart",
        operands: "[GROUP]",
        brief: "stop the workers, then start them again",
        more: "In the same generation: nothing is looked up anew. Connections wait in the backlog meanwhile.",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Start),
        name: "start",
        operands: "[GROUP]",
        brief: "start what was stopped",
        more: "",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Stop),
        name: "stop",
        operands: "[GROUP]",
        brief: "stop a group; without GROUP, all and the manager",
        more: "A stopped group keeps its sockets open and stays stopped until 'start'.",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Scale),
        name: "scale",
        operands: "[GROUP] N",
        brief: "change the number of workers to N",
        more: "From 1 to 10000.",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Inc),
        name: "inc",
        operands: "[GROUP] [N]",
        brief: "N workers more, one if not said",
        more: "A single operand that is a number is N.",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Dec),
        name: "dec",
        operands: "[GROUP] [N]",
        brief: "N workers fewer, one if not said",
        more: "A single operand that is a number is N.",
        options: WAITING,
    },
    Command {
        kind: Kind::Ask(Question::Signal),
        name: "signal",
        operands: "[GROUP] SIG",
        brief: "send each worker a signal",
        more: "A name such as HUP, SIGHUP or RTMIN+2, or a number. It has no other consequence: a worker that dies of \
            it is replaced.",
        options: ANSWERED,
    },
    Command {
        kind: Kind::Ask(Question::LogLevel),
        name: "log-level",
        operands: "LEVEL",
        brief: "log from here on: debug, info, warn, error",
        more: "",
        options: ANSWERED,
    },
    Command {
        kind: Kind::Ask(Question::Reopen),
        name: "reopen",
        operands: "",
        brief: "open the log files of workers again",
        more: "For logrotate and its like, when they have renamed them. The signal USR1 does the same.",
        options: ANSWERED,
    },
    Command {
        kind: Kind::Ask(Question::Reexec),
        name: "reexec",
        operands: "",
        brief: "replace the manager by the program at its path, in place",
        more: "For a new version of remuda: same process, same workers, same sockets and connections. The new program \
            is asked first whether it can go on from the state of the old one; if not, or if it cannot be executed, \
            the old one goes on as it is.",
        options: REEXEC,
    },
    Command {
        kind: Kind::Ask(Question::Events),
        name: "events",
        operands: "[GROUP]",
        brief: "print each state change until interrupted",
        more: "With --json, one object a line as in remuda-protocol(7).",
        options: EVENTS,
    },
    Command {
        kind: Kind::Ask(Question::Version),
        name: "version",
        operands: "",
        brief: "version of the running remuda",
        more: "'remuda --version' tells that of the program on disk.",
        options: ANSWERED,
    },
    Command {
        kind: Kind::Ask(Question::Ack),
        name: "ack",
        operands: "",
        brief: "report a worker ready (--ack manual)",
        more: "For workers that are shell scripts; others write the line themselves, see remuda-protocol(7).",
        options: ACK,
    },
    Command {
        kind: Kind::Ask(Question::Ping),
        name: "ping",
        operands: "",
        brief: "see whether the manager answers",
        more: "",
        options: ANSWERED,
    },
    Command {
        kind: Kind::Ask(Question::Probe),
        name: "probe",
        operands: "WHAT [GROUP]",
        brief: "exit with 0 if it is 'ready', or 'live', else with 1",
        more: "For probes of containers that run a command; one line says why. WHAT is live, the manager answers in time, or \
            ready: each group has a worker that is ready, or waits for its first connection, and nothing drains or stops. \
            A group that was stopped, or has finished, does not count, unless there is no other.",
        options: PROBE,
    },
];

const RUN_OPTIONS: &[Opt] = &[
    flag(
        Id::Config,
        "config",
        Section::Workers,
        "groups of a file, instead of one PROGRAM",
        "See remuda.toml(5), 'remuda sample-config' and 'remuda check FILE'. Beside it stand --name, --control, \
         --pidfile, --verbose, --quiet, --log-format, --syslog, --subreaper, --drain-delay and --keep-going only; what they say goes before the \
         file, also when it is reloaded.",
    )
    .letter('c')
    .takes("FILE"),
    KEEP_GOING.rare(),
    flag(
        Id::Bind,
        "bind",
        Section::Sockets,
        "PORT, HOST:PORT, unix:PATH, ...; repeatable",
        "IP:PORT, [IPv6]:PORT, HOST:PORT, :PORT (all addresses), PORT (127.0.0.1), tcp://, tcp4://, tcp6://, udp://, \
         unix:PATH, unix://PATH, @NAME (abstract), fd://N. Options follow after commas: backlog=N, reuseaddr=on|off, \
         nonblock, v6only, name=NAME; for TCP defer-accept[=DUR], nodelay, keepalive[=DUR], fastopen[=N]; for TCP and \
         UDP rcvbuf=SIZE, sndbuf=SIZE, bind-to-device=IF, freebind, transparent; for a Unix path mode=OCTAL, \
         user=USER, group=GROUP. The first socket is descriptor 3 of the workers, the next 4; {fd:NAME} and \
         {port:NAME} in the program's arguments stand for the descriptor and the port of the one called NAME.",
    )
    .letter('b')
    .takes("ADDR"),
    flag(
        Id::Handoff,
        "handoff",
        Section::Sockets,
        "which variables tell workers of the sockets",
        "Some of systemd (LISTEN_FDS and its like), einhorn (EINHORN_FD_COUNT), server-starter (SERVER_STARTER_PORT), \
         firestarter (FIRESTARTER_FD_COUNT), notify (NOTIFY_SOCKET), with commas between; or all, or none.",
    )
    .takes("LIST")
    .defaults("all")
    .rare(),
    flag(
        Id::NoListenPid,
        "no-listen-pid",
        Section::Sockets,
        "leave out LISTEN_PID",
        "For a program behind a wrapper that does not exec it: LISTEN_PID would name the wrapper.",
    )
    .rare(),
    flag(Id::Workers, "workers", Section::Workers, "how many", "From 1 to 10000.")
        .letter('n')
        .takes("N")
        .defaults("1"),
    flag(
        Id::Lazy,
        "lazy",
        Section::Workers,
        "start them with the first connection",
        "Or datagram; it waits in the socket and is not lost. Without a socket workers are started at once.",
    )
    .rare(),
    flag(
        Id::Warmup,
        "warmup",
        Section::Workers,
        "start them so long after the sockets are open",
        "",
    )
    .takes("DUR")
    .defaults("0s")
    .rare(),
    flag(
        Id::Ack,
        "ack",
        Section::Workers,
        "ready: none, timer, manual, a probe",
        "When a worker counts as ready. none: as soon as its program runs. timer: after it has lived that long. \
         manual: when it says so, by worker:ack on the control socket or by READY=1 (sd_notify(3)). tcp:ADDR and unix:PATH: \
         when a connection is accepted there; http://ADDR/PATH and http://unix:PATH:/PATH: when GET is answered with 2xx; \
         exec:COMMAND: when it exits with 0, MAINPID in its environment being the worker. {slot}, {index}, {generation} and \
         {port:NAME} stand for those of the worker. At the address of --bind another worker, or at tcp: nobody at all, may \
         answer: only a place of the worker's own tells of this very one. See 'Probes' in remuda(1).",
    )
    .takes("WHEN")
    .defaults("timer:1s"),
    flag(
        Id::AckDeadline,
        "ack-deadline",
        Section::Workers,
        "time for a manual ack, or a probe",
        "A worker that is not ready by then is replaced.",
    )
    .takes("DUR")
    .defaults("60s"),
    flag(
        Id::ReadyFd,
        "ready-fd",
        Section::Workers,
        "a line feed on this descriptor is the ack",
        "In the manner of s6: the program is told the number, and writes a line there when it is ready. Without --ack it means \
         --ack manual. The first number that is free is 3 and one more for each socket.",
    )
    .takes("N")
    .rare(),
    flag(
        Id::FdStore,
        "fd-store",
        Section::Workers,
        "descriptors kept for a slot by FDSTORE=1",
        "A worker sends them to NOTIFY_SOCKET, and the next worker of its slot finds them after its sockets, by their names in \
         LISTEN_FDNAMES: so a connection, or memory, outlives the worker (sd_notify(3)).",
    )
    .takes("N")
    .defaults("0")
    .rare(),
    flag(
        Id::ProbeInterval,
        "probe-interval",
        Section::Workers,
        "from one failed probe of --ack to the next",
        "The first ones follow sooner: after 50 ms, 100 ms, and so on up to this.",
    )
    .takes("DUR")
    .defaults("1s")
    .rare(),
    flag(Id::ProbeTimeout, "probe-timeout", Section::Workers, "how long a probe or live check may take", "")
        .takes("DUR")
        .defaults("2s")
        .rare(),
    flag(
        Id::Watchdog,
        "watchdog",
        Section::Workers,
        "replace a worker that is silent this long",
        "A ready worker has to send WATCHDOG=1 to NOTIFY_SOCKET at least that often; it is told by WATCHDOG_USEC. One that \
         does not is asked to go, killed if it does not go either, and replaced.",
    )
    .takes("DUR"),
    flag(
        Id::LiveCheck,
        "live-check",
        Section::Workers,
        "look at ready workers: a probe as for --ack",
        "tcp:ADDR, unix:PATH, http://ADDR/PATH, http://unix:PATH:/PATH, exec:COMMAND. A worker that does not stand it \
         --live-failures times in a row is asked to go, killed if it does not go either, and replaced.",
    )
    .takes("PROBE")
    .rare(),
    flag(
        Id::LiveInterval,
        "live-interval",
        Section::Workers,
        "from the end of one live check to the next",
        "",
    )
    .takes("DUR")
    .defaults("10s")
    .rare(),
    flag(
        Id::LiveFailures,
        "live-failures",
        Section::Workers,
        "failed live checks in a row that end a worker",
        "",
    )
    .takes("N")
    .defaults("3")
    .rare(),
    flag(
        Id::GracefulSignal,
        "graceful-signal",
        Section::Workers,
        "asks a worker to finish and go",
        "Sent to the worker alone, not to its process group.",
    )
    .takes("SIG")
    .defaults("TERM"),
    flag(
        Id::StopTimeout,
        "stop-timeout",
        Section::Workers,
        "from that signal to SIGKILL (10s; 8s as PID 1)",
        "SIGKILL goes to the process group of the worker. Most of those who run containers kill all of it after 10 s. Each \
         second the log tells whom a stop of everything waits for.",
    )
    .takes("DUR"),
    flag(
        Id::DrainDelay,
        "drain-delay",
        Section::Workers,
        "serve on so long after TERM, then stop",
        "Meanwhile the manager says that it is not ready ('probe ready'), so that whoever spreads the traffic leaves it \
         out. A second TERM, or INT, ends it. See also 'remuda drain'.",
    )
    .takes("DUR")
    .defaults("0s")
    .rare(),
    flag(
        Id::StopCommand,
        "stop-command",
        Section::Workers,
        "asks a worker to go, instead of that signal",
        "A command line, which is split into words without a shell; MAINPID in its environment is the worker. If it \
         fails, the signal is sent after all.",
    )
    .takes("CMD")
    .rare(),
    flag(
        Id::Restart,
        "restart",
        Section::Workers,
        "after a death: always, on-failure, never",
        "With on-failure, a death by --success-exit is final. When no worker is left the manager ends.",
    )
    .takes("WHEN")
    .defaults("always"),
    flag(
        Id::SuccessExit,
        "success-exit",
        Section::Workers,
        "exit codes and signals that are no failure",
        "With commas between, as in 0,2,TERM: a number is an exit code, a name a signal. Name 0 too if it is meant.",
    )
    .takes("LIST")
    .defaults("0")
    .rare(),
    flag(
        Id::OnExit,
        "on-exit",
        Section::Workers,
        "at a worker's end: ignore, exit, exit:N",
        "ignore: --restart says what becomes of it. exit: everything stops gracefully, and the manager exits as that \
         worker did, with its code or with 128 and the number of its signal. exit:N: so does the N-th end; a worker that \
         was ready for 60 s begins the count anew. Ends of new workers in an upgrade do not count.",
    )
    .takes("WHAT")
    .defaults("ignore")
    .rare(),
    flag(
        Id::Backoff,
        "backoff",
        Section::Workers,
        "retry after BASE[:FACTOR[:MAX]]",
        "After workers that died before they were ready for 1 s: the first wait, by how much each further one is \
         longer, and the longest.",
    )
    .takes("DELAYS")
    .defaults("1s:1.5:30s"),
    flag(
        Id::GiveUp,
        "give-up",
        Section::Workers,
        "stop retrying after N failures in a row",
        "Without it, retries never end.",
    )
    .takes("N"),
    flag(
        Id::NoKillGroup,
        "no-kill-group",
        Section::Workers,
        "spare what dead workers leave behind",
        "Otherwise what is left of a dead worker's process group is sent SIGKILL.",
    )
    .rare(),
    flag(
        Id::Upgrade,
        "upgrade",
        Section::Upgrade,
        "rolling, fleet, stop-first",
        "rolling: a few new workers at a time, an old one goes when its successor is ready. fleet: all new workers \
         first, then all old ones go. stop-first: an old one goes before its successor starts.",
    )
    .takes("MODE")
    .defaults("rolling"),
    flag(
        Id::Surge,
        "surge",
        Section::Upgrade,
        "new workers at a time, beside the old ones",
        "A number or a part of the workers, rounded down but at least one. With stop-first, how many may be missing.",
    )
    .takes("N|P%")
    .defaults("25%"),
    flag(
        Id::MaxUnacked,
        "max-unacked",
        Section::Upgrade,
        "new workers that are not ready (as --surge)",
        "Holds in upgrades only.",
    )
    .takes("N")
    .rare(),
    flag(
        Id::MaxDraining,
        "max-draining",
        Section::Upgrade,
        "old workers on their way out (as --workers)",
        "An upgrade waits while more would be.",
    )
    .takes("N")
    .rare(),
    flag(
        Id::DrainTimeout,
        "drain-timeout",
        Section::Upgrade,
        "time of old workers to finish",
        "In place of --stop-timeout, for workers that an upgrade replaces.",
    )
    .takes("DUR")
    .defaults("60s"),
    flag(
        Id::Canary,
        "canary",
        Section::Upgrade,
        "try one new worker before the others",
        "It has to become ready and to stay so for --canary-time. Until then the old worker of its slot is kept, but in \
         a stop-first upgrade, and no other is replaced.",
    ),
    flag(
        Id::CanaryTime,
        "canary-time",
        Section::Upgrade,
        "how long a canary has to stay ready (10s)",
        "Implies --canary.",
    )
    .takes("DUR")
    .rare(),
    flag(
        Id::UpgradeAttempts,
        "upgrade-attempts",
        Section::Upgrade,
        "failures in a row that end an upgrade",
        "Deaths and missed deadlines of new workers since a slot was last taken. What no attempt can change, such as a \
         program that is not there, ends an upgrade at once.",
    )
    .takes("N")
    .defaults("3")
    .rare(),
    flag(
        Id::UpgradeTimeout,
        "upgrade-timeout",
        Section::Upgrade,
        "for an upgrade as a whole (no limit)",
        "From its first new worker on. What is not done by then has failed, and is rolled back; that has no limit.",
    )
    .takes("DUR")
    .rare(),
    flag(
        Id::AutoUpgrade,
        "auto-upgrade",
        Section::Upgrade,
        "upgrade when the program has changed",
        "It is looked at once a second, through symbolic links, and has to be the same twice. Workers are replaced then \
         without anybody asking.",
    )
    .rare(),
    flag(
        Id::Preflight,
        "preflight",
        Section::Upgrade,
        "runs before an upgrade, which fails with it",
        "A command line, which is split into words without a shell, for a check or a migration. It runs before anything \
         of the upgrade is looked up.",
    )
    .takes("CMD"),
    flag(Id::PreflightTimeout, "preflight-timeout", Section::Upgrade, "time for that command", "")
        .takes("DUR")
        .defaults("300s")
        .rare(),
    flag(
        Id::PreflightEvery,
        "preflight-every",
        Section::Upgrade,
        "run it so often, and upgrade when it succeeds",
        "Upgrades that somebody asks for do without it then.",
    )
    .takes("DUR")
    .rare(),
    flag(
        Id::WhenUpgrading,
        "when-upgrading",
        Section::Upgrade,
        "a second one: supersede, queue, refuse",
        "What becomes of an upgrade that is asked for, by verb or signal, while one is under way: it takes its place, \
         begins when that has ended, or is refused.",
    )
    .takes("WHAT")
    .defaults("supersede")
    .rare(),
    flag(Id::Directory, "directory", Section::Environment, "working directory of workers", "")
        .letter('C')
        .takes("DIR"),
    flag(
        Id::User,
        "user",
        Section::Environment,
        "user of workers, names or numbers",
        "With all its supplementary groups. GROUP as with --group. The static program looks into /etc/passwd and \
         /etc/group only, and for the hosts of --bind into /etc/hosts; numbers need no file.",
    )
    .takes("USER[:GROUP]"),
    flag(Id::Group, "group", Section::Environment, "group of workers (that of --user)", "A name or a number.")
        .takes("GROUP"),
    flag(
        Id::Env,
        "env",
        Section::Environment,
        "set a variable; repeatable",
        "Wins over --env-file.",
    )
    .letter('e')
    .takes("K=V"),
    flag(
        Id::EnvFile,
        "env-file",
        Section::Environment,
        "set the variables in a file; repeatable",
        "Lines of K=V; empty lines and lines that begin with # count for nothing. Read anew at each upgrade.",
    )
    .takes("FILE"),
    flag(
        Id::DropEnv,
        "drop-env",
        Section::Environment,
        "keep an inherited variable out; repeatable",
        "",
    )
    .takes("K")
    .rare(),
    flag(
        Id::LoginEnv,
        "login-env",
        Section::Environment,
        "set HOME, USER and LOGNAME to those of the user",
        "Of --user, or of the manager's own user. --env-file and --env win.",
    )
    .rare(),
    flag(
        Id::Rlimit,
        "rlimit",
        Section::Environment,
        "limit a resource; repeatable",
        "NAME is one of AS, CORE, CPU, DATA, FSIZE, MEMLOCK, MSGQUEUE, NICE, NOFILE, NPROC, RSS, RTPRIO, RTTIME, \
         SIGPENDING, STACK (getrlimit(2)); a limit is a number, with K, M, G or T for bytes, or 'unlimited'. Without \
         HARD both are the same.",
    )
    .takes("NAME=SOFT[:HARD]")
    .rare(),
    flag(Id::Nice, "nice", Section::Environment, "nice value of workers, -20 to 19", "").takes("N").rare(),
    flag(
        Id::OomScoreAdj,
        "oom-score-adj",
        Section::Environment,
        "weight for the OOM killer, -1000 to 1000",
        "Without it workers have the value of the manager, but at least 0: what protects the manager is not meant for \
         its workers.",
    )
    .takes("N")
    .rare(),
    flag(
        Id::Pdeathsig,
        "pdeathsig",
        Section::Environment,
        "signal to workers if the manager is killed",
        "Sent by the kernel. Without it workers live on.",
    )
    .takes("SIG")
    .rare(),
    flag(Id::Umask, "umask", Section::Environment, "umask of workers, octal", "").takes("MASK").rare(),
    flag(Id::Stdin, "stdin", Section::Environment, "standard input of workers: null, inherit", "")
        .takes("WHAT")
        .defaults("null")
        .rare(),
    flag(
        Id::KeepSignals,
        "keep-signals",
        Section::Environment,
        "leave ignored and blocked signals as they are",
        "Otherwise workers start with all signals at their default and none blocked.",
    )
    .rare(),
    flag(
        Id::Subreaper,
        "subreaper",
        Section::Workers,
        "take in orphans of workers when not PID 1",
        "They are reaped and counted, and nothing else; PID 1 has them in any case.",
    )
    .rare(),
    flag(Id::Verbose, "verbose", Section::Logging, "log each step", "").letter('v'),
    flag(Id::Quiet, "quiet", Section::Logging, "log warnings only; twice, errors only", "").letter('q'),
    flag(Id::LogFormat, "log-format", Section::Logging, "plain, json", "The shape of log lines.")
        .takes("FORMAT")
        .defaults("plain"),
    flag(
        Id::Syslog,
        "syslog",
        Section::Logging,
        "log to the system's log instead of standard error",
        "Of facility daemon, as 'remuda'. What the system's log has no room for is dropped and counted; while it is not \
            there, standard error has the lines.",
    )
    .rare(),
    flag(
        Id::StdoutLog,
        "stdout-log",
        Section::Logging,
        "output of workers: PATH, prefix, syslog",
        "PATH with a / in it; size:MAX:BACKUPS:PATH, rotated before it is longer than MAX (10M); \
         time:N:UNIT:ZONE:BACKUPS:PATH, rotated each N units (S, M, H, D or MIDNIGHT; ZONE is UTC or LOCAL); prefix, lines \
         that begin with GROUP[SLOT] on the manager's standard output; prefix:TARGET, the same to a file; syslog; null; \
         inherit, the manager's own.",
    )
    .takes("TARGET")
    .defaults("inherit"),
    flag(
        Id::StderrLog,
        "stderr-log",
        Section::Logging,
        "the same of standard error",
        "If it is the same target, both streams keep their order.",
    )
    .takes("TARGET")
    .defaults("inherit"),
    flag(
        Id::LogOverflow,
        "log-overflow",
        Section::Logging,
        "where a log takes no more: drop, block",
        "drop: what workers write is dropped and counted, see 'remuda status'. block: they wait.",
    )
    .takes("WHAT")
    .defaults("drop")
    .rare(),
    NAME,
    CONTROL,
    flag(
        Id::Pidfile,
        "pidfile",
        Section::Control,
        "write the manager's pid there",
        "Locked while the manager runs, removed at its end.",
    )
    .takes("PATH"),
    HELP,
    VERSION,
];

const INIT_OPTIONS: &[Opt] = &[
    flag(
        Id::ToGroup,
        "to-group",
        Section::General,
        "pass signals on to the program's whole group",
        "The program leads a process group of its own; otherwise signals are for the program alone.",
    )
    .letter('g'),
    flag(
        Id::SingleChild,
        "single-child",
        Section::General,
        "leave the program in our process group",
        "It gets neither a group of its own nor the terminal.",
    )
    .letter('c'),
    flag(
        Id::Rewrite,
        "rewrite",
        Section::General,
        "pass A on as B, or not at all (B is 0); repeatable",
        "Names or numbers, as in TERM:QUIT and 15:3.",
    )
    .letter('r')
    .takes("A:B"),
    flag(
        Id::Subreaper,
        "subreaper",
        Section::General,
        "take in orphans when not PID 1",
        "Orphans among the descendants of the program, as PID 1 does.",
    )
    .letter('s'),
    flag(
        Id::ParentDeathSignal,
        "pdeathsig",
        Section::General,
        "get SIG when our parent dies, and pass it on",
        "With KILL, the program is killed with us.",
    )
    .letter('p')
    .takes("SIG"),
    flag(
        Id::ExitZero,
        "exit-zero",
        Section::General,
        "exit with 0 instead of CODE; repeatable",
        "From 0 to 255; 143 is a death by TERM. Several stand with commas between.",
    )
    .letter('e')
    .takes("CODE"),
    flag(
        Id::StopTimeout,
        "stop-timeout",
        Section::General,
        "time of the others after the program's end",
        "From TERM to KILL. All other processes of the container, as PID 1; as a subreaper, the orphans and what is \
         left of the program's group. Another TERM, INT or QUIT ends it at once; 0 leaves them to the kernel.",
    )
    .takes("DUR")
    .defaults("3s"),
    flag(
        Id::Pause,
        "pause",
        Section::General,
        "run no program, reap until INT or TERM",
        "For containers that hold a PID namespace for others.",
    )
    .letter('P'),
    flag(Id::WarnReaped, "warn-reaped", Section::General, "tell of each orphan that is reaped", "")
        .letter('w'),
    flag(Id::Verbose, "verbose", Section::General, "tell more; twice, tell each signal", "").letter('v'),
    flag(Id::Quiet, "quiet", Section::General, "tell errors only", "").letter('q'),
    HELP,
    VERSION,
];

const NAME: Opt = flag(
    Id::Name,
    "name",
    Section::Control,
    "instance (base name of PROGRAM; the only one)",
    "Letters, digits, '_', '.' and '-', at most 64. For 'run' the base name of the program if not given; for a verb \
     the only instance that runs.",
)
.takes("NAME");

const CONTROL: Opt = flag(
    Id::Control,
    "control",
    Section::Control,
    "control socket, instead of the place for NAME",
    "Otherwise NAME.sock in $RUNTIME_DIRECTORY, in /run/remuda for root, in $XDG_RUNTIME_DIR/remuda, or an abstract \
     socket.",
)
.takes("PATH");

const HELP: Opt = flag(Id::Help, "help", Section::General, "-h is short, --help is all", "").letter('h');

const VERSION: Opt =
    flag(Id::Version, "version", Section::General, "print the version of this program", "").letter('V');

const JSON: Opt = flag(Id::Json, "json", Section::Asking, "print the answer as JSON, one object a line", "");

const SILENT: Opt = flag(Id::Silent, "quiet", Section::Asking, "print errors only", "").letter('q');

const ANSWER_TIMEOUT: Opt = flag(
    Id::AnswerTimeout,
    "timeout",
    Section::Asking,
    "how long to wait for the answer",
    "Exit code 6 then.",
)
.takes("DUR")
.defaults("10s");

const OFFLINE: &[Opt] = &[HELP, VERSION];

const CHECK: &[Opt] = &[
    Opt {
        brief: "content if any group is left to run",
        more: "Tells what 'run --keep-going' would leave out; the exit code is 0 if it would start anything.",
        ..KEEP_GOING
    },
    HELP,
    VERSION,
];

const NO_WAIT: Opt = flag(Id::NoWait, "no-wait", Section::Asking, "return when the request is accepted", "");

const WAIT_DRAINED: Opt =
    flag(Id::WaitDrained, "wait-drained", Section::Asking, "wait also until replaced workers are gone", "");

const TIMEOUT: Opt = flag(
    Id::Timeout,
    "timeout",
    Section::Asking,
    "how long to wait for the result (no limit)",
    "Exit code 6 then; what was asked for goes on.",
)
.takes("DUR");

const WAITING: &[Opt] = &[NO_WAIT, WAIT_DRAINED, TIMEOUT, JSON, SILENT, NAME, CONTROL, HELP, VERSION];

const KEEP_GOING: Opt = flag(
    Id::KeepGoing,
    "keep-going",
    Section::Control,
    "leave out groups with an error, not all",
    "Otherwise one error in a groups file, a program that is missing or an address in use stops everything.",
);

const RELOAD: &[Opt] = &[
    flag(
        Id::DryRun,
        "dry-run",
        Section::Asking,
        "print the difference only",
        "Nothing is opened or changed.",
    ),
    Opt { section: Section::Asking, ..KEEP_GOING },
    flag(Id::NoWait, "no-wait", Section::Asking, "return when the file is in force", ""),
    WAIT_DRAINED,
    TIMEOUT,
    JSON,
    SILENT,
    NAME,
    CONTROL,
    HELP,
    VERSION,
];

const DRAIN: &[Opt] = &[
    flag(Id::Delay, "delay", Section::Asking, "how long to serve on (as run --drain-delay)", "").takes("DUR"),
    flag(Id::Now, "now", Section::Asking, "send old workers SIGKILL, instead of waiting", ""),
    NO_WAIT,
    TIMEOUT,
    JSON,
    SILENT,
    NAME,
    CONTROL,
    HELP,
    VERSION,
];

const REEXEC: &[Opt] = &[NO_WAIT, TIMEOUT, JSON, SILENT, NAME, CONTROL, HELP, VERSION];

const ANSWERED: &[Opt] = &[ANSWER_TIMEOUT, JSON, SILENT, NAME, CONTROL, HELP, VERSION];

const PROBE: &[Opt] = &[
    flag(Id::All, "all", Section::Asking, "ready only with all workers of each group", ""),
    ANSWER_TIMEOUT,
    SILENT,
    NAME,
    CONTROL,
    HELP,
    VERSION,
];

const EVENTS: &[Opt] = &[JSON, NAME, CONTROL, HELP, VERSION];

const ACK: &[Opt] = &[
    flag(Id::Pid, "pid", Section::Asking, "which worker (the one that asks)", "").takes("N"),
    ANSWER_TIMEOUT,
    JSON,
    SILENT,
    NAME,
    CONTROL,
    HELP,
    VERSION,
];
