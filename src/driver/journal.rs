//! What the manager says of itself: notes become lines on standard error, one event a line.

use crate::plan::{Level, LogFormat, LogSpec};
use crate::supervisor::note::Note;
use crate::sys::clock;
use crate::sys::log::StderrLog;
use crate::wire::event::EventObject;

/// The log.
pub(super) struct Journal {
    level: Level,
    format: LogFormat,
    writer: StderrLog,
}

impl Journal {
    pub(super) fn new(spec: &LogSpec) -> Self {
        let missing = match spec.format {
            LogFormat::Plain => |count| plain(Level::Warn, &missing(count)),
            LogFormat::Json => |count| json(Level::Warn, &missing(count)),
        };
        Journal { level: spec.level, format: spec.format, writer: StderrLog::new(missing) }
    }

    /// How it speaks by now.
    pub(super) fn spec(&self) -> LogSpec {
        LogSpec { level: self.level, format: self.format }
    }

    pub(super) fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// Standard error belongs to whoever started us: there is nothing to open again.
    pub(super) fn reopen(&mut self) {
        self.line(Level::Info, "no log file to open again");
    }

    pub(super) fn note(&mut self, note: &Note) {
        if note.level < self.level {
            return;
        }
        let line = match self.format {
            LogFormat::Plain => format!("remuda: {}: {note}", note.level.name()),
            LogFormat::Json => EventObject::new(note).at(&clock::wall()).to_line(),
        };
        self.writer.line(&line);
    }

    /// A failure that no event of the machine covers.
    pub(super) fn complain(&mut self, sentence: &str) {
        self.line(Level::Error, sentence);
    }

    /// Something worth knowing that no event of the machine covers.
    pub(super) fn line(&mut self, level: Level, sentence: &str) {
        if level < self.level {
            return;
        }
        let line = match self.format {
            LogFormat::Plain => plain(level, sentence),
            LogFormat::Json => json(level, sentence),
        };
        self.writer.line(&line);
    }
}

fn missing(count: u64) -> String {
    format!("{count} log line{} could not be written", if count == 1 { "" } else { "s" })
}

fn plain(level: Level, sentence: &str) -> String {
    format!("remuda: {}: {sentence}", level.name())
}

fn json(level: Level, sentence: &str) -> String {
    serde_json::json!({
        "time": clock::wall(), "event": "message", "level": level.name(), "message": sentence,
    })
    .to_string()
}
