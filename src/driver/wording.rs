//! socketmaster's words for what happens: `8087 exit status 0 <nil>` and its like, for programs and people that look for
//! them in its log. Pure.

use std::ffi::{CString, OsStr};

use super::obstacle::{Hurdle, Obstacle};
use crate::error::Error;
use crate::plan::Level;
use crate::process::Exit;
use crate::supervisor::note::{Happening, Note, errno_text};

/// The names that Go has for signals, by number from 1.
const SIGNALS: [&str; 15] = [
    "hangup",
    "interrupt",
    "quit",
    "illegal instruction",
    "trace/breakpoint trap",
    "aborted",
    "bus error",
    "floating point exception",
    "killed",
    "user defined signal 1",
    "segmentation fault",
    "user defined signal 2",
    "broken pipe",
    "alarm clock",
    "terminated",
];

/// What has been told and bears on the next sentence.
#[derive(Debug, Default)]
pub(super) struct Wording {
    /// The last generation a worker of which ended by itself.
    died: Option<u32>,
}

impl Wording {
    /// What is said of something that happened; nothing if it went without saying. What socketmaster had no words for is
    /// told in our own if it is a warning.
    pub(super) fn of(&mut self, note: &Note) -> Option<(Level, String)> {
        let said = |sentence: String| Some((Level::Info, sentence));
        let (pid, generation) = note.worker.map_or((0, 0), |worker| (worker.pid, worker.generation));
        match &note.what {
            Happening::Gone(exit) => said(format!("{pid} {} <nil>", ending(*exit))),
            Happening::Died(exit, ..) => {
                self.died = Some(generation);
                said(format!("{pid} {} <nil>", ending(*exit)))
            }
            Happening::SpawnFailed(stage, errno) if generation == 1 => {
                said(format!("Could not start process unable to {stage}: {}", errno_text(*errno)))
            }
            // Why the upgrade failed is told with that.
            Happening::SpawnFailed(..) => None,
            Happening::UpgradeFailed(generation, ..) if self.died == Some(*generation) => {
                said("Failed to kill old process, because there's no one left in the group".to_owned())
            }
            Happening::UpgradeFailed(_, why, _) => said(format!("Could not start new process: {why}")),
            what if note.level >= Level::Warn => Some((note.level, what.to_string())),
            _ => None,
        }
    }
}

/// That a worker is being started.
pub(super) fn starting(argv: &[CString]) -> String {
    let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
    format!("Starting {} [{}]", words.first().map_or("", |program| program), words.join(" "))
}

/// Why nothing was started.
pub(super) fn refusal(obstacle: &Obstacle) -> String {
    let why = &obstacle.error.message;
    match &obstacle.kind {
        Hurdle::Program(program) if program.is_empty() => "Command path is mandatory".to_owned(),
        Hurdle::Program(program) => {
            let why = not_found(program, &obstacle.error);
            format!("Could not find executable exec: \"{}\": {why}", program.display())
        }
        Hurdle::Socket => format!("Unable to open socket {}", not_bound(why)),
        Hurdle::User => format!("Unable to find user user: {}", why.replace('"', "")),
        Hurdle::Other => format!("Could not start process {why}"),
    }
}

fn not_found<'a>(program: &OsStr, error: &'a Error) -> &'a str {
    let program = program.to_string_lossy();
    if !program.contains('/') {
        return "executable file not found in $PATH";
    }
    error.message.strip_prefix(&format!("cannot execute {program}: ")).unwrap_or(&error.message)
}

/// `listen tcp 127.0.0.1:80: bind: address already in use (pid 4711, nginx)`: Go's sentence, which its users look for, and
/// who stands in the way.
fn not_bound(why: &str) -> String {
    let Some((address, why)) = why.strip_prefix("cannot bind ").and_then(|rest| rest.split_once(": ")) else {
        return why.to_owned();
    };
    let place = match address.strip_prefix("unix:") {
        Some(path) => format!("unix {path}"),
        None => format!("tcp {}", address.trim_start_matches('*')),
    };
    format!("listen {place}: bind: {}", why.replace("address in use", "address already in use"))
}

fn ending(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit status {code}"),
        Exit::Signal(signal) => {
            let name = usize::try_from(signal.0 - 1).ok().and_then(|at| SIGNALS.get(at));
            name.map_or_else(|| format!("signal: signal {}", signal.0), |name| format!("signal: {name}"))
        }
        Exit::Unknown => "exit status unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::Stage;
    use crate::signame::Signal;
    use crate::supervisor::note::{Reason, Worker};

    fn said(wording: &mut Wording, level: Level, generation: u32, what: Happening) -> Option<String> {
        let worker = Some(Worker { slot: 0, index: 0, pid: 8087, generation });
        let note = Note { level, group: Some("web".into()), worker, counts: None, what };
        wording.of(&note).map(|(_, sentence)| sentence)
    }

    #[test]
    fn deaths_are_told_as_go_tells_them() {
        let mut wording = Wording::default();
        let mut died =
            |exit| said(&mut wording, Level::Warn, 1, Happening::Died(exit, Duration::ZERO, None)).unwrap();
        assert_eq!(died(Exit::Code(0)), "8087 exit status 0 <nil>");
        assert_eq!(died(Exit::Code(3)), "8087 exit status 3 <nil>");
        assert_eq!(died(Exit::Signal(Signal::TERM)), "8087 signal: terminated <nil>");
        assert_eq!(died(Exit::Signal(Signal(31))), "8087 signal: signal 31 <nil>");
        assert_eq!(
            said(&mut wording, Level::Info, 1, Happening::Gone(Exit::Signal(Signal::HUP))).unwrap(),
            "8087 signal: hangup <nil>"
        );
    }

    #[test]
    fn an_upgrade_that_fails_says_how() {
        let mut wording = Wording::default();
        let failed = Happening::SpawnFailed(Stage::Exec, libc::ENOEXEC);
        assert_eq!(said(&mut wording, Level::Warn, 2, failed.clone()), None);
        let upgrade = |why: &str| Happening::UpgradeFailed(2, why.into(), 1);
        assert_eq!(
            said(&mut wording, Level::Error, 2, upgrade("exec format error")).unwrap(),
            "Could not start new process: exec format error"
        );
        said(&mut wording, Level::Warn, 2, Happening::Died(Exit::Code(1), Duration::ZERO, None));
        assert_eq!(
            said(&mut wording, Level::Error, 2, upgrade("died")).unwrap(),
            "Failed to kill old process, because there's no one left in the group"
        );
        assert_eq!(
            said(&mut wording, Level::Warn, 1, failed).unwrap(),
            "Could not start process unable to execute the program: exec format error"
        );
    }

    #[test]
    fn a_refusal_says_what_go_says_and_who_is_in_the_way() {
        for (ours, theirs) in [
            ("cannot bind unix:/run/a: address in use", "listen unix /run/a: bind: address already in use"),
            (
                "cannot bind *:80: address in use (pid 7, nginx)",
                "listen tcp :80: bind: address already in use (pid 7, nginx)",
            ),
            ("Unsupported scheme: foo", "Unsupported scheme: foo"),
        ] {
            let obstacle = Hurdle::Socket.failed(Error::failed(ours)).within("web");
            assert_eq!(refusal(&obstacle), format!("Unable to open socket {theirs}"));
        }
        let program = |program: &str, why: &str| {
            refusal(&Hurdle::Program(program.into()).failed(Error::failed(why)).within("web"))
        };
        assert_eq!(program("", "the name of the program is empty"), "Command path is mandatory");
        assert_eq!(
            program("nosuch", "program nosuch not found in PATH"),
            "Could not find executable exec: \"nosuch\": executable file not found in $PATH"
        );
        assert_eq!(
            program("./x", "cannot execute ./x: it is not executable"),
            "Could not find executable exec: \"./x\": it is not executable"
        );
        let user = Hurdle::User.failed(Error::failed("unknown user \"x\""));
        assert_eq!(refusal(&user), "Unable to find user user: unknown user x");
    }

    #[test]
    fn what_it_had_no_words_for_is_told_only_as_a_warning() {
        let mut wording = Wording::default();
        assert_eq!(said(&mut wording, Level::Info, 1, Happening::Ready(Duration::ZERO)), None);
        let stopping = Happening::Stopping(Signal::HUP, Reason::Replaced);
        assert_eq!(said(&mut wording, Level::Info, 1, stopping), None);
        let killing = said(&mut wording, Level::Warn, 1, Happening::Killing(Duration::from_secs(1)));
        assert_eq!(killing.unwrap(), "not gone after 1 s: sending KILL");
    }
}
