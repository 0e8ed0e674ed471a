//! The options of `init`.

use super::{HELP, Id, Opt, Section, VERSION};
use crate::cli::table::flag;

pub(super) const OPTIONS: &[Opt] = &[
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
