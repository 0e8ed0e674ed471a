//! What can be seen while a verb waits: on a terminal one line that is drawn anew (`web: 3/4 ready, 1 draining`) below
//! what went wrong so far, elsewhere one line for each event worth knowing. All of it goes to standard error.

use std::io::Write;

use super::printable;
use super::table::Tally;
use crate::wire::Status;
use crate::wire::ask::Event;

/// Events that plain output tells, besides those of level `warn` and above.
const MILESTONES: [&str; 13] = [
    "upgrade-started",
    "upgrade-done",
    "superseded",
    "restart-started",
    "restart-done",
    "scaled",
    "group-stopped",
    "group-started",
    "back-off",
    "reexec-started",
    "group-added",
    "group-removed",
    "group-gone",
];

/// Widest progress line, in characters: one that wraps could not be drawn over.
const WIDTH: usize = 79;

/// Carriage return, erase to the end of the line.
const ERASE: &str = "\r\x1b[K";

/// The progress of one request.
pub(super) struct Progress {
    terminal: bool,
    groups: Vec<(String, Tally)>,
    /// What stands on the terminal's last line.
    drawn: String,
}

impl Progress {
    /// Nothing is known yet.
    pub(super) fn new(terminal: bool) -> Self {
        Progress { terminal, groups: Vec::new(), drawn: String::new() }
    }

    /// How things stand at the beginning.
    pub(super) fn begin(&mut self, status: &Status) {
        self.groups = status.groups.iter().map(|group| (group.name.clone(), Tally::of(group))).collect();
        self.draw();
    }

    /// Something happened.
    pub(super) fn event(&mut self, event: &Event) {
        // Why a plan is refused, or not in all of it, stands in the answer.
        let answered = matches!(event.name.as_str(), "reload-failed" | "plan-kept");
        let wrong = matches!(event.level.as_str(), "warn" | "error") && !answered;
        if wrong || !self.terminal && MILESTONES.contains(&event.name.as_str()) {
            self.say(&event.to_string());
        }
        let (Some(group), Some(ready), Some(target)) = (&event.group, event.ready, event.target) else {
            return;
        };
        let tally = Tally { ready, target, draining: event.draining.unwrap_or(0) };
        match self.groups.iter_mut().find(|(name, _)| name == group) {
            Some((_, known)) => *known = tally,
            None => self.groups.push((group.clone(), tally)),
        }
        self.draw();
    }

    /// Tells a line that stays.
    pub(super) fn say(&mut self, line: &str) {
        self.erase();
        put(&format!("{}\n", printable(line)));
        self.draw();
    }

    /// Lets something else be written meanwhile.
    pub(super) fn aside<T>(&mut self, write: impl FnOnce() -> T) -> T {
        self.erase();
        let written = write();
        self.draw();
        written
    }

    fn draw(&mut self) {
        if !self.terminal || self.groups.is_empty() {
            return;
        }
        let line = self.line();
        if line != self.drawn {
            put(&format!("{ERASE}{line}"));
            self.drawn = line;
        }
    }

    fn line(&self) -> String {
        let groups: Vec<String> =
            self.groups.iter().map(|(name, tally)| format!("{}: {tally}", printable(name))).collect();
        let line = groups.join("; ");
        match line.char_indices().nth(WIDTH) {
            Some(_) => line.chars().take(WIDTH - 3).chain("...".chars()).collect(),
            None => line,
        }
    }

    fn erase(&mut self) {
        if !self.drawn.is_empty() {
            put(ERASE);
            self.drawn.clear();
        }
    }
}

impl Drop for Progress {
    /// The result, or the failure, stands alone.
    fn drop(&mut self) {
        self.erase();
    }
}

fn put(text: &str) {
    // Progress that nobody can see is no reason to fail: the result and the exit code are what was asked for.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_each_group_and_never_wraps() {
        let mut progress = Progress::new(true);
        progress.groups.push(("web".to_owned(), Tally { ready: 3, target: 4, draining: 1 }));
        progress.groups.push(("jobs".to_owned(), Tally { ready: 2, target: 2, draining: 0 }));
        assert_eq!(progress.line(), "web: 3/4 ready, 1 draining; jobs: 2/2 ready");
        for number in 0..20 {
            progress.groups.push((format!("group-{number}"), Tally { ready: 0, target: 1, draining: 0 }));
        }
        assert_eq!(progress.line().chars().count(), WIDTH);
        assert!(progress.line().ends_with("..."));
    }
}
