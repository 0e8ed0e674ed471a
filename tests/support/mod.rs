//! What the tests of the real binary have in common: a manager of one's own in a directory of one's own, its log, verbs
//! and event streams with a time limit, and the worker it runs.
//!
//! Nothing here sleeps to wait for something: tests wait for events of the manager, lines of its log, the end of a
//! process, or bytes on a socket, and each wait fails the test after [`LIMIT`]. Whatever a test has started is gone when
//! its [`Setup`] or [`Manager`] is dropped.
//!
//! The worker is the test binary itself, started again for its test [`WORKER_TEST`]; see [`worker`].

#![allow(dead_code, reason = "each file of tests uses another part")]

pub(crate) mod einhorn;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod receiver;
pub(crate) mod site;
pub(crate) mod socketmaster;
pub(crate) mod syslog;
pub(crate) mod worker;

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use events::{Events, Talk};
use process::{Log, Output, Process};

/// No single wait takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// The binary under test.
pub(crate) const REMUDA: &str = env!("CARGO_BIN_EXE_remuda");

/// The test by which a test binary becomes a worker; every file of tests has it.
const WORKER_TEST: &str = "worker_entry";

/// In the environment of everything that a test starts: its directory. So all of it can be found and ended.
pub(crate) const MARK: &str = "REMUDA_TEST";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A manager that is still to be started, and its directory.
pub(crate) struct Setup {
    directory: Directory,
    options: Vec<OsString>,
    program: Vec<OsString>,
    control: Option<PathBuf>,
}

/// A setup whose workers do what `script` says: words of [`worker`], `{dir}` for the directory.
pub(crate) fn setup(script: &str) -> Setup {
    let directory = Directory::create();
    let program = directory.path("program");
    symlink(std::env::current_exe().unwrap(), &program).unwrap();
    directory.script(script);
    Setup {
        options: vec!["--name".into(), "web".into(), "--env-file".into(), directory.path("env").into()],
        program: [program.into_os_string()]
            .into_iter()
            .chain(["--exact", WORKER_TEST, "--nocapture", "--test-threads=1"].map(OsString::from))
            .collect(),
        control: Some(directory.path("c.sock")),
        directory,
    }
}

impl Setup {
    /// Adds options, written as on a command line without quotes.
    pub(crate) fn options(mut self, line: &str) -> Self {
        self.options.extend(line.split_whitespace().map(OsString::from));
        self
    }

    /// Adds one word to the options as it stands.
    pub(crate) fn option(mut self, word: impl AsRef<OsStr>) -> Self {
        self.options.push(word.as_ref().to_owned());
        self
    }

    /// Adds an option whose value is a path in the directory.
    pub(crate) fn option_path(mut self, option: &str, name: &str) -> Self {
        self.options.extend([option.into(), self.path(name).into_os_string()]);
        self
    }

    /// Runs this program instead of the worker.
    pub(crate) fn program(mut self, words: &[impl AsRef<OsStr>]) -> Self {
        self.program = words.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Leaves the control socket where it is by default.
    pub(crate) fn default_control(mut self) -> Self {
        self.control = None;
        self
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    /// `remuda run OPTIONS -- PROGRAM`.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(REMUDA);
        command.args(self.words()).env(MARK, &self.directory.0);
        command
    }

    /// The words of that command after `remuda`.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["run".into()];
        words.extend(self.options.iter().cloned());
        if let Some(control) = &self.control {
            words.extend(["--control".into(), control.into()]);
        }
        words.push("--".into());
        words.extend(self.program.iter().cloned());
        words
    }

    /// Starts the manager and waits until it says so.
    pub(crate) fn start(self) -> Manager {
        let command = self.command();
        self.start_as(command)
    }

    /// The same by a command of the test's own making, which becomes the manager.
    pub(crate) fn start_as(self, command: Command) -> Manager {
        let manager = self.launch(command);
        manager.log.line(": started");
        manager
    }

    /// The same without waiting.
    pub(crate) fn launch(self, mut command: Command) -> Manager {
        command
            .env(MARK, &self.directory.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let log = Log::follow(process.child.stderr.take().expect("a pipe"));
        let control = self.control.unwrap_or_else(|| self.directory.path("c.sock"));
        Manager { process, log, control, directory: self.directory }
    }

    /// Runs the manager where it is expected to end by itself, and returns what it left.
    pub(crate) fn output(&self) -> Output {
        process::run(&mut self.command())
    }

    /// A verb to whatever manager listens at the control socket of this setup.
    pub(crate) fn verb(&self, words: &[&str]) -> Output {
        let mut command = Command::new(REMUDA);
        command.args(words).arg("--control").arg(self.path("c.sock"));
        process::run(&mut command)
    }
}

/// A running manager. Dropped, it is killed, with all that it has started.
pub(crate) struct Manager {
    pub(crate) process: Process,
    pub(crate) log: Log,
    pub(crate) control: PathBuf,
    directory: Directory,
}

impl Manager {
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    /// What workers of the next generation do.
    pub(crate) fn next_script(&self, script: &str) {
        self.directory.script(script);
    }

    /// Sends a signal to the manager.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// `remuda WORDS`, to its end.
    pub(crate) fn verb(&self, words: &[&str]) -> Output {
        process::run(&mut self.asking(words))
    }

    /// The same, which must succeed.
    pub(crate) fn done(&self, words: &[&str]) -> Output {
        let output = self.verb(words);
        assert_eq!(output.code, Some(0), "remuda {words:?}: {output:?}\n{}", self.log.text());
        output
    }

    /// The same without waiting.
    pub(crate) fn begin(&self, words: &[&str]) -> process::Running {
        process::begin(&mut self.asking(words))
    }

    /// The command of a verb.
    pub(crate) fn asking(&self, words: &[&str]) -> Command {
        let mut command = Command::new(REMUDA);
        command.args(words).arg("--control").arg(&self.control);
        command
    }

    /// A connection to the control socket.
    pub(crate) fn connect(&self) -> Talk {
        Talk::new(UnixStream::connect(&self.control).unwrap())
    }

    /// One request and the last line of its answer.
    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.connect().ask(request)
    }

    /// Every state change from here on.
    pub(crate) fn events(&self) -> Events {
        Events::subscribe(self.connect())
    }

    /// How things stand.
    pub(crate) fn status(&self) -> Value {
        self.ask(&json!({"command": "status"}))["status"].take()
    }

    /// The one group.
    pub(crate) fn group(&self) -> Value {
        self.status()["groups"][0].take()
    }

    /// Its workers.
    pub(crate) fn workers(&self) -> Vec<Value> {
        self.group()["workers"].as_array().expect("a list of workers").clone()
    }

    /// Pids of the workers in this phase, by slot.
    pub(crate) fn pids(&self, phase: &str) -> Vec<i32> {
        self.workers().iter().filter(|worker| worker["phase"] == phase).map(pid_of).collect()
    }

    /// Where the first socket is bound.
    pub(crate) fn address(&self) -> SocketAddr {
        let group = self.group();
        let address = group["sockets"][0]["address"].as_str().expect("an address");
        address.parse().unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Waits until all workers are ready and the group is quiet.
    pub(crate) fn up(&self) -> &Self {
        self.events().up();
        self
    }

    /// Waits for the end of the manager.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Asks it to stop and returns what it exits with.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.exit().code()
    }

    /// Pids of everything that lives and was started by this manager, or by what it has started.
    pub(crate) fn descendants(&self) -> Vec<i32> {
        let mut marked = self.directory.marked();
        marked.retain(|&pid| pid != self.pid());
        marked
    }

    /// Fails unless all that it has started is gone, or killed and on its way: a process that is not a child of the manager
    /// may die a moment after it.
    pub(crate) fn leaves_nobody(&self) {
        let left: Vec<i32> = self.descendants().into_iter().filter(|&pid| !process::wait_gone(pid)).collect();
        assert!(left.is_empty(), "{left:?} live on");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // First, so that it starts nothing while its workers are being killed.
        self.process.end();
        if std::thread::panicking() {
            let text = self.log.text();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!("the end of the manager's log:\n{}", last.join("\n"));
        }
    }
}

/// The pid in a worker's status, or in an event.
pub(crate) fn pid_of(worker: &Value) -> i32 {
    worker["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap_or_else(|| panic!("no pid: {worker}"))
}

/// The directory of one test. Dropped, it is removed, after every process that has its mark was killed.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Directory {
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            // Short: the path of a Unix socket has at most 107 bytes.
            let path = PathBuf::from(format!("/tmp/rmd-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o755).create(&path) {
                // Of a run that was killed, whose number we have.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.unwrap();
                    return Directory(path);
                }
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes the file from which each generation takes its script; `{dir}` in it is this directory.
    fn script(&self, script: &str) {
        let script = script.replace("{dir}", &self.0.display().to_string());
        let line = format!("{}={script}\n{MARK}={}\n", worker::SCRIPT, self.0.display());
        let fresh = self.path("env.new");
        fs::write(&fresh, line).unwrap();
        fs::rename(&fresh, self.path("env")).unwrap();
    }

    /// Pids of the processes that have the mark of this directory.
    fn marked(&self) -> Vec<i32> {
        let mark = [MARK.as_bytes(), b"=", self.0.as_os_str().as_encoded_bytes()].concat();
        process::all()
            .into_iter()
            .filter(|pid| {
                // Gone, a zombie, or somebody else's.
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|&byte| byte == 0).any(|entry| entry == mark)
            })
            .collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Whoever forks at this very moment is found in the next round.
        for _ in 0..100 {
            let marked = self.marked();
            if marked.is_empty() {
                break;
            }
            for pid in marked {
                // It may be gone already.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Says that a test cannot be done here; `make test` collects these lines.
pub(crate) fn skip(why: &str) {
    println!("skipped: {}: {why}", std::thread::current().name().unwrap_or("a test"));
}

/// Whether this is root; if not, the test is skipped.
pub(crate) fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("it needs root");
    }
    root
}

/// Whether a tool is on PATH; if not, the test is skipped.
pub(crate) fn tool(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if !found {
        skip(&format!("there is no {name}"));
    }
    found
}

/// Lets time pass where time itself is under test: not to wait for anything.
pub(crate) fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
}

/// Replaces a file by another at once, as a deployment does.
pub(crate) fn replace_by_link(path: &Path, target: &Path) {
    let fresh = path.with_extension("new");
    symlink(target, &fresh).unwrap();
    fs::rename(&fresh, path).unwrap();
}

/// Writes a program that is to be executed.
///
/// A process of its own does it: a descriptor of ours that is open for writing would be copied into whatever another
/// test forks at this moment, and as long as anybody has one the kernel executes no such file ("text file busy").
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "printf %s \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"]).arg(path).arg(text);
    assert!(command.status().unwrap().success());
}

/// Copies a program, in the same way.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}
