//! Being PID 1 for one program: starting it, passing signals on to it, reaping whatever dies, and leaving when it has
//! ended, with its status.
//!
//! It needs no machine of states. All signals are blocked and taken one by one; after each, whatever it was, the dead are
//! looked for, so that a SIGCHLD that stands for many loses none. Between two signals no system call is made. There is one
//! deadline, and only at the end: the program has gone, and [the others](others) have been asked to go too.
//!
//! Talks to the system by `sys` only.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use crate::env::EnvBlock;
use crate::error::{Code, Error, Result};
use crate::plan::Level;
use crate::plan::init::Init;
use crate::process::{EXIT_NOT_FOUND, Exit, Stage, status_of_failure};
use crate::signame::Signal;
use crate::sys::log::StderrLog;
use crate::sys::sigwait::{Mask, Received, Sender};
use crate::sys::terminal::{self, Terminal};
use crate::sys::vfork::{self, Launch};
use crate::sys::{clock, family, program, reap, reason, sigwait, start};

mod others;

use others::Others;

/// A child of a container's terminal is told of these by the terminal itself, if it is in the foreground there.
const OF_TERMINAL: [Signal; 6] =
    [Signal::INT, Signal::QUIT, Signal::TSTP, Signal::TTIN, Signal::TTOU, Signal::WINCH];

/// By these a terminal stops a job.
const STOPPING: [Signal; 3] = [Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// After the end of the program these are no longer waited through.
const IMPATIENT: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];

/// Runs the program and returns the status to exit with.
///
/// # Errors
/// What of ourselves could not be prepared, or the wait for signals fails. That the program cannot be executed is no
/// error: it is told, and has a status.
pub fn run(init: Init) -> Result<u8> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Error::failed(format!("cannot {what}: {}", reason(error)))
    };
    let mask = sigwait::block().map_err(failed("block signals"))?;
    let first = family::is_first();
    if init.subreaper && !first {
        family::become_subreaper().map_err(failed("become a subreaper"))?;
    }
    if let Some(signal) = init.parent_death_signal {
        family::watch_parent(signal).map_err(failed("watch the parent process"))?;
    }
    let reaps = first || init.subreaper || family::is_subreaper().unwrap_or(false);
    if !reaps {
        tell(&init, Level::Warn, || {
            "neither PID 1 nor a subreaper: zombies among orphans of the program are left to others; -s takes \
             them in"
                .into()
        });
    }
    let mut watch = Watch {
        first,
        program: None,
        terminal: None,
        asked_to_stop: false,
        others: reaps.then(|| Others::new(first)),
        init,
    };
    if !watch.init.argv.is_empty() {
        match watch.start(mask) {
            Ok(pid) => watch.program = Some(pid),
            Err(Refused { status, message }) => {
                tell(&watch.init, Level::Error, || message);
                return Ok(status);
            }
        }
    }
    // A wrapper holds nothing that the program could miss: the other end of a pipe, a mount. Where that fails there is
    // nobody whom it helps to know.
    let _ = start::close_unnamed();
    let _ = std::env::set_current_dir("/");
    watch.serve().map_err(failed("wait for signals"))
}

/// Why the program does not run.
struct Refused {
    status: u8,
    message: String,
}

/// All there is to know while the program runs.
struct Watch {
    init: Init,
    /// We are PID 1.
    first: bool,
    /// The program, until it is reaped.
    program: Option<i32>,
    /// The terminal that we have. The program is put in the foreground when we are, if it has a group of its own.
    terminal: Option<Terminal>,
    /// The last signal to stop or to go on that was passed on was one to stop: by somebody's wish, and not by the terminal.
    asked_to_stop: bool,
    /// What becomes of orphans, if they come to us.
    others: Option<Others>,
}

impl Watch {
    fn start(&mut self, mask: Mask) -> Result<i32, Refused> {
        let name = self.init.argv[0].clone();
        // No argument has a NUL in it: ours came as such strings.
        let argv: Vec<CString> =
            self.init.argv.iter().flat_map(|word| CString::new(word.clone().into_vec())).collect();
        self.terminal = Terminal::controlling();
        let env = environment();
        let launch = Launch {
            argv: &argv,
            env: env.as_ref(),
            own_group: self.init.own_group,
            terminal: self.terminal.filter(|terminal| self.init.own_group && terminal.is_ours()),
            dies_with_us: self.init.parent_death_signal == Some(Signal::KILL),
            mask,
        };
        match vfork::launch(&launch) {
            Ok(pid) => {
                self.tell(Level::Info, || format!("started {} as process {pid}", name.display()));
                Ok(pid)
            }
            Err(failed) => Err(refused(&name, failed)),
        }
    }

    /// Passes on and reaps until the program has ended and the others have too, or have had their time.
    fn serve(&mut self) -> io::Result<u8> {
        let mut status = None;
        loop {
            status = self.reap().or(status);
            if let Some(status) = status
                && self.others.as_ref().is_none_or(Others::are_gone)
            {
                return Ok(status);
            }
            let received = sigwait::next(self.time_left())?;
            match received {
                Some(received) if status.is_none() => status = self.received(received),
                Some(received) if IMPATIENT.contains(&received.signal) => self.hurry(),
                // There is nobody left to pass it on to.
                Some(_) => {}
                None => self.overdue(),
            }
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let deadline = self.others.as_ref().and_then(Others::deadline)?;
        Some(Duration::from_millis(deadline.saturating_sub(clock::now_ms())))
    }

    /// Reaps the dead. If the program is among them, returns the status to exit with.
    fn reap(&mut self) -> Option<u8> {
        let mut status = None;
        loop {
            let dead = match reap::peek() {
                Ok(Some(dead)) => dead,
                Ok(None) => break,
                Err(error) => {
                    self.tell(Level::Error, || format!("cannot look for the dead: {}", reason(error)));
                    break;
                }
            };
            if self.program == Some(dead) {
                // While it is not reaped, its number is that of its group and of no other.
                self.farewell(dead);
            }
            let exit = match reap::reap(dead) {
                Ok(death) => death.exit,
                Err(error) => {
                    self.tell(Level::Error, || format!("cannot reap process {dead}: {}", reason(error)));
                    break;
                }
            };
            if self.program == Some(dead) {
                self.tell(Level::Info, || format!("process {dead} {}", told(exit)));
                self.program = None;
                self.take_terminal_back(dead);
                status = Some(self.ended(self.init.status(exit)));
            } else {
                let level = if self.init.tell_reaped { Level::Warn } else { Level::Debug };
                self.tell(level, || format!("reaped the orphan {dead}, which {}", told(exit)));
            }
        }
        if let Some(others) = &mut self.others {
            others.pass(&self.init);
        }
        if let Some(program) = self.program {
            match reap::stopped(program) {
                Ok(Some(signal)) => self.stopped(program, signal),
                Ok(None) => {}
                Err(error) => self.tell(Level::Error, || format!("cannot ask for stops: {}", reason(error))),
            }
        }
        status
    }

    /// The program is dead and its group may not be.
    fn farewell(&self, program: i32) {
        if self.init.own_group && (self.init.to_group || self.others.is_some()) && self.asks_others() {
            self.send(Target::Group(program), Signal::TERM);
        }
    }

    fn asks_others(&self) -> bool {
        !self.init.stop_timeout.is_zero()
    }

    /// From here on it is about the others only.
    fn ended(&mut self, status: u8) -> u8 {
        if self.asks_others()
            && let Some(others) = &mut self.others
        {
            others.ask(&self.init);
        } else {
            self.others = None;
        }
        status
    }

    fn hurry(&mut self) {
        if let Some(others) = &mut self.others {
            others.hurry();
        }
    }

    fn overdue(&mut self) {
        if let Some(others) = &mut self.others {
            others.overdue(&self.init);
        }
    }

    /// Passes a signal on. Without a program, those that mean an end do, and the status is returned.
    fn received(&mut self, Received { signal, sender }: Received) -> Option<u8> {
        let by_terminal = sender == Sender::Kernel && OF_TERMINAL.contains(&signal);
        // In the foreground with the program, we get what it gets. What the terminal does to us in the background, since
        // we are there, is not for the program.
        let has_it = by_terminal && !self.init.own_group;
        let ours = by_terminal && [Signal::TTIN, Signal::TTOU].contains(&signal);
        let by_writing = signal == Signal::PIPE && sender == Sender::Ourselves;
        if signal == Signal::CHLD || has_it || ours || by_writing {
            return None;
        }
        let Some(program) = self.program else {
            return (signal == Signal::INT || signal == Signal::TERM)
                .then(|| self.ended(Code::Done.status()));
        };
        let Some(passed) = self.init.passed_on(signal) else {
            self.tell(Level::Debug, || format!("swallowed {signal}"));
            return None;
        };
        if passed == Signal::CONT {
            self.asked_to_stop = false;
            self.bring_to_foreground(program);
        } else if STOPPING.contains(&passed) {
            self.asked_to_stop = true;
        }
        self.tell(Level::Debug, || match passed == signal {
            true => format!("passing {signal} on"),
            false => format!("passing {signal} on as {passed}"),
        });
        match (self.target(program), sender) {
            (Target::Process(process), Sender::Queued(value)) => {
                let sent = sigwait::queue(process, passed, value);
                self.complain_of(sent, passed, process);
            }
            (target, _) => self.send(target, passed),
        }
        None
    }

    fn target(&self, program: i32) -> Target {
        // A program may have left its group for another one, and then nobody is there.
        match self.init.to_group && reap::process_group_of(program) == Some(program) {
            true => Target::Group(program),
            false => Target::Process(program),
        }
    }

    fn send(&self, target: Target, signal: Signal) {
        let (sent, process) = match target {
            Target::Process(process) => (reap::kill(process, signal), process),
            Target::Group(leader) => (reap::kill_group(leader, signal), leader),
        };
        self.complain_of(sent, signal, process);
    }

    fn complain_of(&self, sent: io::Result<()>, signal: Signal, process: i32) {
        if let Err(error) = sent {
            self.tell(Level::Warn, || {
                format!("cannot pass {signal} on to process {process}: {}", reason(error))
            });
        }
    }

    /// The program was stopped by a signal. If it was the terminal that did it, a shell above us has to learn of it, and
    /// does when we stop in the same way. Where there is none (in a container, mostly), nobody could let it go on: then a
    /// stop is no good, and the kernel would not stop it either if it were alone.
    fn stopped(&mut self, program: i32, signal: Signal) {
        self.tell(Level::Debug, || format!("process {program} was stopped by {signal}"));
        let Some(terminal) = self.terminal else { return };
        if !STOPPING.contains(&signal) || (self.first && self.asked_to_stop) {
            return;
        }
        // Whether we were stopped or not, there is nothing else to be done about it.
        let called = !self.first && terminal::stop_ourselves(signal).unwrap_or(false);
        let foreground = terminal.is_ours();
        self.bring_to_foreground(program);
        // A program of our group was let go on with us, and may be stopped again by now: once more would be once too often.
        let goes_on = !self.init.own_group && reap::has_gone_on(program);
        if !goes_on && (called || foreground || signal == Signal::TSTP) {
            let target = if self.init.own_group { Target::Group(program) } else { Target::Process(program) };
            self.send(target, Signal::CONT);
        }
    }

    /// A shell that lets us go on in the foreground means the program.
    fn bring_to_foreground(&self, program: i32) {
        if let Some(terminal) = self.terminal.filter(|terminal| self.init.own_group && terminal.is_ours()) {
            // It may have gone meanwhile.
            let _ = terminal.give_to(program);
        }
    }

    /// Takes the terminal back from a program that has ended, for those among whom we were started: a shell script that
    /// goes on expects it.
    fn take_terminal_back(&self, program: i32) {
        let left = |terminal: &Terminal| terminal.foreground() == Some(program);
        if let Some(terminal) = self.terminal.filter(|terminal| !self.first && left(terminal)) {
            // It may have gone meanwhile.
            let _ = terminal.take_back();
        }
    }

    fn tell(&self, level: Level, sentence: impl FnOnce() -> String) {
        tell(&self.init, level, sentence);
    }
}

/// Who gets a signal.
enum Target {
    Process(i32),
    /// The group with this leader.
    Group(i32),
}

/// Writes a line to standard error, if this level is told, without waiting for whoever reads it.
fn tell(init: &Init, level: Level, sentence: impl FnOnce() -> String) {
    if level >= init.level {
        StderrLog::new(|_| String::new()).line(&format!("remuda: {}", sentence()));
    }
}

fn told(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with {code}"),
        Exit::Signal(signal) => format!("was killed by {signal}"),
        Exit::Unknown => "ended".to_owned(),
    }
}

/// Our own environment as it is, unless sockets were handed to us by `sd_listen_fds(3)`: they are for the program.
fn environment() -> Option<EnvBlock> {
    let for_us = std::env::var_os("LISTEN_PID").is_some_and(|pid| *pid == *std::process::id().to_string());
    for_us.then(|| EnvBlock::with_listen_pid(&std::env::vars_os().collect::<Vec<_>>()))
}

fn refused(name: &OsString, vfork::Failed { stage, error }: vfork::Failed) -> Refused {
    if stage != Stage::Exec {
        let message = format!("cannot start {}: unable to {stage}: {}", name.display(), reason(error));
        return Refused { status: Code::Failed.status(), message };
    }
    let status = status_of_failure(error.raw_os_error().unwrap_or(libc::ENOEXEC));
    let variables: Vec<_> = std::env::vars_os().collect();
    let message = match program::find(name, None, program::search_path(&variables)) {
        Err(found) => found.message,
        Ok(path) if status == EXIT_NOT_FOUND => {
            format!("cannot execute {}: the interpreter that it names is not there", path.display())
        }
        Ok(path) => format!("cannot execute {}: {}", path.display(), reason(error)),
    };
    Refused { status, message }
}
