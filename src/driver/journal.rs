//! What the manager says of itself, and what its workers say where that goes into the same log: one event a line, on
//! standard error or to the system's log.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use super::obstacle::Obstacle;
use super::wording::{self, Wording};
use crate::plan::{Level, LogFormat, LogSpec, LogTarget};
use crate::supervisor::note::Note;
use crate::sys::clock;
use crate::sys::log::StderrLog;
use crate::sys::syslog::{Sent, Syslog};
use crate::wire::einhorn::story;
use crate::wire::event::EventObject;

/// The log.
pub(super) struct Journal {
    level: Level,
    format: LogFormat,
    wording: Wording,
    opening: Option<String>,
    target: LogTarget,
    /// Also where everything goes that the system's log cannot have.
    stderr: StderrLog,
    syslog: Option<System>,
}

/// The system's log.
struct System {
    log: Syslog,
    /// Lines that it had no room for, and that no line has told of.
    untold: u64,
    /// The latest of them has found no room, and whether there is some has not been looked at since.
    awaited: bool,
    /// It has been told that nobody is there.
    missed: bool,
}

impl Journal {
    pub(super) fn new(spec: &LogSpec) -> Self {
        let missing = match spec.format {
            LogFormat::Plain => |count| plain(Level::Warn, &missing(count)),
            LogFormat::Json => |count| json(Level::Warn, &missing(count)),
            LogFormat::Einhorn => |count| einhorn(Level::Warn, &missing(count)),
            LogFormat::Socketmaster => |count| socketmaster(&missing(count)),
        };
        let syslog = match &spec.target {
            LogTarget::Stderr => None,
            LogTarget::Syslog { tag, facility } => {
                let log = Syslog::new(tag, *facility, std::process::id());
                Some(System { log, untold: 0, awaited: false, missed: false })
            }
        };
        Journal {
            level: spec.level,
            format: spec.format,
            wording: Wording::default(),
            opening: spec.opening.clone(),
            target: spec.target.clone(),
            stderr: StderrLog::new(missing),
            syslog,
        }
    }

    /// That of the image before this one, with what that could not write yet, and how many lines it has lost untold.
    pub(super) fn take_over(spec: &LogSpec, unwritten: Vec<u8>, untold: u64) -> Self {
        let mut journal = Journal::new(spec);
        journal.stderr.restore(unwritten);
        if let Some(system) = &mut journal.syslog {
            system.untold = untold;
        }
        journal
    }

    /// How it speaks by now.
    pub(super) fn spec(&self) -> LogSpec {
        LogSpec { level: self.level, format: self.format, target: self.target.clone(), opening: None }
    }

    /// What waits to be written.
    pub(super) fn unwritten(&self) -> &[u8] {
        self.stderr.queued()
    }

    /// Lines that the system's log had no room for, and that no line has told of.
    pub(super) fn untold(&self) -> u64 {
        self.syslog.as_ref().map_or(0, |system| system.untold)
    }

    pub(super) fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    pub(super) fn note(&mut self, note: &Note) {
        match self.format {
            LogFormat::Plain => self.line(note.level, &note.to_string()),
            LogFormat::Json if note.level < self.level => {}
            LogFormat::Json => {
                self.write(note.level, &EventObject::new(note).at(&clock::wall()).to_line());
            }
            LogFormat::Einhorn => {
                for sentence in story::lines(note) {
                    self.line(story::level(note), &sentence);
                }
            }
            LogFormat::Socketmaster => {
                if let Some((level, sentence)) = self.wording.of(note) {
                    self.line(level, &sentence);
                }
            }
        }
    }

    /// What is told before the sockets are opened.
    pub(super) fn opening(&mut self) {
        if let Some(line) = self.opening.take() {
            self.line(Level::Info, &line);
        }
    }

    /// A worker is about to be started; worth a line where the machine's own note does not say with what.
    pub(super) fn starting(&mut self, argv: &[CString]) {
        if self.format == LogFormat::Socketmaster {
            self.line(Level::Info, &wording::starting(argv));
        }
    }

    /// Tells why nothing was started, if that is to stand in the log: else it is left to whoever called us.
    pub(super) fn refuse(&mut self, obstacle: &Obstacle) -> bool {
        let tells = self.format == LogFormat::Socketmaster;
        if tells {
            self.line(Level::Info, &wording::refusal(obstacle));
        }
        tells
    }

    /// A group cannot be run, and the others are all the same.
    pub(super) fn left_out(&mut self, obstacle: &Obstacle) {
        self.line(Level::Error, &format!("{obstacle}; the group is left out"));
    }

    /// Takes over what a new plan says, `old` being what the one before said: what was set at run time stays where the plan
    /// says nothing new.
    pub(super) fn replan(&mut self, old: &LogSpec, new: &LogSpec) {
        let level = if old.level == new.level { self.level } else { new.level };
        if (old.format, &old.target) == (new.format, &new.target) {
            self.level = level;
        } else {
            self.settle();
            let unwritten = self.unwritten().to_vec();
            *self = Journal::take_over(&LogSpec { level, opening: None, ..new.clone() }, unwritten, 0);
        }
    }

    /// A line that the worker `pid`, or a process that it has started, has written.
    pub(super) fn output(&mut self, pid: i32, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        match (&self.syslog, self.format) {
            (Some(_), _) => self.write(Level::Info, &format!("[{pid}] {text}")),
            (None, LogFormat::Json) => {
                let object = serde_json::json!({
                    "time": clock::wall(), "event": "output", "level": Level::Info.name(), "pid": pid, "message": text,
                });
                self.stderr.queue(object.to_string().as_bytes());
            }
            (None, LogFormat::Plain) => {
                self.stderr.queue(&[format!("remuda: info: [{pid}] ").as_bytes(), line].concat());
            }
            (None, LogFormat::Einhorn) => {
                self.stderr.queue(&[format!("[WORKER {pid}] ").as_bytes(), line].concat());
            }
            (None, LogFormat::Socketmaster) => {
                self.stderr.queue(&[socketmaster(&format!("[{pid}] ")).as_bytes(), line].concat());
            }
        }
    }

    /// Whether more of [`Journal::output`] is welcome now.
    pub(super) fn has_room(&self) -> bool {
        self.stderr.has_room()
    }

    /// What has to have room to write before [`Journal::flush`] can do anything, if there is anything to be done.
    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.stderr.waits_for()
    }

    /// Writes what could not be written at once.
    pub(super) fn flush(&mut self) {
        self.stderr.flush();
    }

    /// What has to have room to write before [`Journal::tell_missing`] can do anything, if there is anything to be told.
    pub(super) fn lacks(&self) -> Option<BorrowedFd<'_>> {
        self.syslog.as_ref().filter(|system| system.awaited).and_then(|system| system.log.as_fd())
    }

    /// Tells how many lines the system's log had no room for. True if no line is left untold.
    pub(super) fn tell_missing(&mut self) -> bool {
        let count = self.untold();
        if count == 0 {
            return true;
        }
        let told = self.send(Level::Warn, &self.shaped(Level::Warn, &missing(count)));
        if let Some(system) = &mut self.syslog {
            // Whatever the reason was: one more try is made with the next line, and none for its own sake.
            system.awaited = false;
            system.untold = if told { 0 } else { count };
        }
        told
    }

    /// Tells of missing lines for the last time: where the system's log has no room for that either, on standard error.
    pub(super) fn settle(&mut self) {
        if !self.tell_missing() {
            let count = self.untold();
            self.without_syslog(None, Level::Warn, &self.shaped(Level::Warn, &missing(count)));
        }
        self.stderr.tell_missing();
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
        self.write(level, &self.shaped(level, sentence));
    }

    /// A sentence as a line of the log, which has time, name and level of its own if it is the system's.
    fn shaped(&self, level: Level, sentence: &str) -> String {
        match (&self.syslog, self.format) {
            (_, LogFormat::Json) => json(level, sentence),
            (Some(_), LogFormat::Plain | LogFormat::Einhorn | LogFormat::Socketmaster) => sentence.to_owned(),
            (None, LogFormat::Plain) => plain(level, sentence),
            (None, LogFormat::Einhorn) => einhorn(level, sentence),
            (None, LogFormat::Socketmaster) => socketmaster(sentence),
        }
    }

    /// Writes a line in its final shape.
    fn write(&mut self, level: Level, line: &str) {
        if self.syslog.is_none() {
            return self.stderr.line(line);
        }
        // A line is never written ahead of the notice of those before it.
        let sent = self.tell_missing() && self.send(level, line);
        if let (false, Some(system)) = (sent, &mut self.syslog) {
            system.untold += 1;
            system.awaited = true;
        }
    }

    /// Writes a line in its final shape to the system's log, or to standard error where nobody keeps one. False if there
    /// was no room for it.
    fn send(&mut self, level: Level, line: &str) -> bool {
        let Some(system) = &mut self.syslog else { return true };
        match system.log.line(level, line) {
            Sent::Whole => system.missed = false,
            Sent::Dropped => return false,
            Sent::Nobody(why) => {
                let first = !std::mem::replace(&mut system.missed, true);
                self.without_syslog(first.then_some(&why), level, line);
            }
        }
        true
    }

    /// Writes to standard error what the system's log cannot have.
    fn without_syslog(&mut self, why: Option<&String>, level: Level, line: &str) {
        let shape = match self.format {
            LogFormat::Plain => plain,
            LogFormat::Json => json,
            LogFormat::Einhorn => einhorn,
            LogFormat::Socketmaster => |_, sentence: &str| socketmaster(sentence),
        };
        if let Some(why) = why {
            let sentence = format!("cannot reach the system's log: {why}; standard error has the lines");
            self.stderr.line(&shape(Level::Warn, &sentence));
        }
        match self.format {
            LogFormat::Json => self.stderr.line(line),
            LogFormat::Plain | LogFormat::Einhorn | LogFormat::Socketmaster => {
                self.stderr.queue(shape(level, line).as_bytes())
            }
        }
    }
}

fn missing(count: u64) -> String {
    format!("{count} log line{} could not be written", if count == 1 { "" } else { "s" })
}

fn plain(level: Level, sentence: &str) -> String {
    format!("remuda: {}: {sentence}", level.name())
}

fn einhorn(level: Level, sentence: &str) -> String {
    let name = match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn | Level::Error => "ERROR",
    };
    format!("[MASTER {}] {name}: {sentence}", std::process::id())
}

fn socketmaster(sentence: &str) -> String {
    format!("socketmaster[{}] {} {sentence}", std::process::id(), clock::Civil::now())
}

fn json(level: Level, sentence: &str) -> String {
    serde_json::json!({
        "time": clock::wall(), "event": "message", "level": level.name(), "message": sentence,
    })
    .to_string()
}
