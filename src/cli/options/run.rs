//! The options of `run`.

use super::{CONTROL, HELP, Id, KEEP_GOING, NAME, Opt, Section, VERSION};
use crate::cli::table::flag;

pub(super) const OPTIONS: &[Opt] = &[
    flag(
        Id::Config,
        "config",
        Section::Workers,
        "groups of a file, instead of one PROGRAM",
        "See remuda.toml(5), 'remuda sample-config' and 'remuda check FILE'. Beside it stand --name, --control, \
         --pidfile, --verbose, --quiet, --log-format, --syslog, --subreaper, --no-subreaper, --drain-delay, --on-signal \
         and --keep-going only; what they say goes before the file, also when it is reloaded.",
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
    flag(Id::Workers, "workers", Section::Workers, "how many", "From 0 to 10000; with 0 the sockets are open and connections wait.")
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
        Id::OnSignal,
        "on-signal",
        Section::Workers,
        "what a signal to the manager means; repeatable",
        "stop, stop-now, upgrade, reload, reopen or none, as in QUIT=stop for an image whose STOPSIGNAL is QUIT. Any but \
         KILL, STOP, CHLD and those that tell of a fault (SEGV, BUS, ILL, FPE).",
    )
    .takes("SIG=WHAT")
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
        Id::SignalGroup,
        "signal-group",
        Section::Workers,
        "send the graceful signal to the whole group",
        "Otherwise to the worker alone; what is left when that has ended gets it then.",
    )
    .rare(),
    flag(
        Id::NoKillGroup,
        "no-kill-group",
        Section::Workers,
        "spare what dead workers leave behind",
        "Otherwise what is left of its session is asked to go, and killed when its time is over.",
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
        "take in orphans of workers, as is usual",
        "They are reaped, and asked to go when everything stops; PID 1 has them in any case.",
    )
    .rare(),
    flag(
        Id::NoSubreaper,
        "no-subreaper",
        Section::Workers,
        "leave orphans of workers to others",
        "Their parent is then PID 1 or another subreaper above.",
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
