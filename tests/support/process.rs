//! Processes with a time limit, what they print, and what `/proc` tells of any process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigHandler, Signal};

use super::LIMIT;

/// A child of the test. Dropped, it is killed.
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        heed_signals();
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { child }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits for its end, [`LIMIT`] at most.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        assert!(wait_gone(self.pid()), "process {} does not end", self.pid());
        self.child.wait().unwrap()
    }

    /// Kills it, if it still lives.
    pub(crate) fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets what tests start have the signals at their default that a shell ignores for what it runs in the background, and
/// nohup(1) for everything.
fn heed_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: the default runs no code of ours.
            unsafe { signal::signal(signal, SigHandler::SigDfl) }.unwrap();
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until a process has ended, whosever child it is; false if it does not within [`LIMIT`].
pub(crate) fn wait_gone(pid: i32) -> bool {
    // SAFETY: asks for a descriptor; no memory is involved.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let Ok(descriptor) = i32::try_from(descriptor) else { return true };
    if descriptor < 0 {
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ESRCH));
        return true;
    }
    // SAFETY: it was just opened, and nobody else knows it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// What a process left.
#[derive(Debug)]
pub(crate) struct Output {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process whose output is being read.
pub(crate) struct Running {
    process: Process,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Waits for its end.
    pub(crate) fn output(mut self) -> Output {
        let status = self.process.wait();
        let (stdout, stderr) = (self.stdout.join().unwrap(), self.stderr.join().unwrap());
        Output { code: status.code(), stdout, stderr }
    }
}

/// Starts a process and reads what it prints.
pub(crate) fn begin(command: &mut Command) -> Running {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(command);
    let stdout = read_all(process.child.stdout.take().expect("a pipe"));
    let stderr = read_all(process.child.stderr.take().expect("a pipe"));
    Running { process, stdout, stderr }
}

/// Runs a process to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    begin(command).output()
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until then is what there is.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What processes write into a pipe, line by line, such as a manager and its workers to standard error.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads until the last process has closed it.
    pub(crate) fn follow(stream: impl Read + Send + 'static) -> Log {
        let log = Log { lines: Arc::default() };
        let shared = log.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                shared.change(|lines| lines.lines.push(text));
            }
            shared.change(|lines| lines.ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lines, changed) = &*self.lines;
        change(&mut lines.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    /// Waits for a line with this in it, also one that was written before, and returns the first.
    pub(crate) fn line(&self, part: &str) -> String {
        self.lines(&format!("line with {part:?}"), 1, |line| line.contains(part)).remove(0)
    }

    /// Waits for so many lines that fit, and returns the first ones.
    pub(crate) fn lines(&self, what: &str, count: usize, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + LIMIT;
        let (lines, changed) = &*self.lines;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found: Vec<String> =
                lines.lines.iter().filter(|line| fits(line)).take(count).cloned().collect();
            if found.len() == count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                let text = lines.lines.join("\n");
                drop(lines);
                panic!("{} of {count} {what} in the log:\n{text}", found.len());
            }
            lines = changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until nobody can write any more, and returns all.
    pub(crate) fn all(&self) -> String {
        let deadline = Instant::now() + LIMIT;
        let (lines, changed) = &*self.lines;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        while !lines.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the log does not end: somebody holds it open");
            lines = changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        lines.lines.join("\n")
    }

    /// All lines so far.
    pub(crate) fn text(&self) -> String {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }
}

/// Every process there is.
pub(crate) fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a process runs: it is there, and no zombie.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A field of `/proc/PID/status`.
pub(crate) fn status_field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
    status.lines().find_map(field).unwrap_or_else(|| panic!("no {name} in\n{status}"))
}

/// The variables that a process was started with.
pub(crate) fn environment(pid: i32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let pair = |entry: &str| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split('\0').filter_map(pair).collect()
}

/// The open descriptors of a process and what they lead to.
pub(crate) fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// Soft and hard limit of open descriptors of a process.
pub(crate) fn nofile(pid: i32) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut words = line["Max open files".len()..].split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}
