//! The one table of remuda's own command line: every verb, every option, with the words that tell of it.
//!
//! The parser knows an option only by its row here, `-h` and `--help` are printed from the rows, and the manual page is
//! tested against them. What an option does stands in `native.rs`, one arm for each [`Id`]. Pure.

mod init;
mod run;

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
        options: run::OPTIONS,
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
        options: init::OPTIONS,
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
    Opt {
        brief: "wait until it is so, for at most this long",
        more: "Also for a manager that is not there yet. Exit code 6 when the time is over. Without it the answer comes \
            at once, and is waited for 10s.",
        default: None,
        ..ANSWER_TIMEOUT
    },
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
