//! What has bitten users of such managers, and that a test stands against each. Tests bear the number in a comment above
//! them (`pitfall 23`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PITFALLS: [&str; 58] = [
    "a signal between exec and the handlers ends the new manager",
    "a child that ends during a re-execution is forgotten, or taken for another",
    "a new version cannot read the state of the old one, or the old one that of the new one",
    "state in variables of the environment grows too large, or outlives its use",
    "output of workers lands in the wrong log after a re-execution",
    "each re-execution leaks descriptors",
    "an upgrade changes the pid, and who supervises the manager loses it",
    "a manager that dies in an upgrade comes up never again",
    "a broken version replaces one that works, or is tried without end and nobody is told",
    "after an upgrade, respawns run the old code",
    "the release behind a symbolic link stays the one of the start",
    "the environment piles up from upgrade to upgrade",
    "an upgrade doubles the memory that is needed",
    "long connections block the next upgrade, or old generations pile up",
    "an upgrade asked for during an upgrade is lost",
    "a worker that ignores the signal to end lives for ever",
    "a wait without a deadline, or a sleep in the loop",
    "the file of a Unix socket is removed by somebody else than its owner",
    "the watchdog of the service manager fires during a re-execution",
    "a socket file left behind refuses the next start, or a live one is removed",
    "the number in a pid file is somebody else's by now",
    "all descriptors up to the limit are closed one by one",
    "a descriptor that hung up makes the loop spin",
    "an init keeps descriptors and directories of its program in use",
    "LISTEN_PID is wrong behind a wrapper, or our own LISTEN_ variables reach workers",
    "connections in the queue of a worker that ends are reset",
    "0.0.0.0 and [::] of one port do not go together",
    "a port in use leaves half of a change applied",
    "children inherit blocked or ignored signals",
    "one SIGCHLD stands for several deaths, and some are missed",
    "a signal just after a fork is lost",
    "a pid that was used again is signalled",
    "the wall clock jumps, and workers are killed for it",
    "a hangup cancels a shutdown",
    "a closed terminal means upgrade; a signal means something else to the program",
    "an interrupt of the terminal reaches workers, or a worker's signal its manager",
    "no job control, input or interrupt in an interactive container",
    "grandchildren outlive the stop",
    "a manager that was killed leaves workers that hold the port",
    "PID 1 leaves when its first child does, and the others are killed",
    "a stop always takes its whole time, never comes to its end, or does not say why",
    "a container exits with 0 after a failure, or stays up without its program",
    "a reaped orphan is taken for the death of a worker",
    "a read-only root, no /run, an unknown uid: it does not start",
    "a restart is given up for good after a few attempts",
    "a restart without a pause fills the disk, or ends a whole fleet",
    "nobody reads a pipe of output, or the disk is full: the worker stands still",
    "/dev/stdout as a log: illegal seek",
    "the control socket can be made to run anything, or is open to all",
    "a control socket in /tmp can be taken by others beforehand",
    "one bad or slow group blocks all others",
    "verbs without exit codes, and a reload that restarts everything",
    "wrong supplementary groups after a change of the user",
    "workers inherit the protection from the out-of-memory killer",
    "a notification of a short-lived sender is lost",
    "connections still arrive after the signal to end",
    "values of the environment are shown in a status or a log",
    "`--help` behind a verb performs the verb",
];

/// The numbers in the comments above tests of a source file.
fn numbers(source: &str) -> BTreeSet<usize> {
    let marked = source.lines().zip(source.lines().skip(1)).filter(|(_, next)| next.trim() == "#[test]");
    let marks = marked.filter_map(|(mark, _)| mark.trim().strip_prefix("// pitfall"));
    marks
        .flat_map(|mark| mark.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()))
        .collect()
}

fn collect(directory: &Path, found: &mut BTreeSet<usize>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(numbers(&fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn a_test_stands_against_each() {
    let mut found = BTreeSet::new();
    for directory in ["src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut found);
    }
    let untested = (1..).zip(PITFALLS).filter(|(number, _)| !found.contains(number));
    assert_eq!(untested.collect::<Vec<_>>(), []);
    assert!(found.iter().all(|number| (1..=PITFALLS.len()).contains(number)), "{found:?}");
}
