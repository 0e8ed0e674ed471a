//! A remuda of one's own: started on a free port, asked how things stand, stopped and cleaned up after.
//!
//! Shared by path between examples and benches. Everything lives in one temporary directory: the control socket and
//! what manager and workers print.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;
use remuda::supervisor::snapshot::{GroupState, GroupStatus, Status, WorkerPhase};

/// How often something is looked at that cannot be waited for.
const TICK: Duration = Duration::from_millis(10);

/// How long the manager may take for what it does at once: to open its control socket, to answer, to die.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the directories of one process different.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running manager. Dropped, it is ended at once, with its workers.
pub(crate) struct Manager {
    process: Child,
    binary: PathBuf,
    directory: PathBuf,
}

impl Manager {
    /// `remuda run OPTIONS -- PROGRAM`, ready to be asked. The binary is `$REMUDA_BIN`, else the one built beside
    /// this program.
    pub(crate) fn start(options: &[&str], program: &[impl AsRef<OsStr>]) -> io::Result<Manager> {
        let mut manager = Self::launch(options, program)?;
        manager.wait_for_answer()?;
        Ok(manager)
    }

    /// The same without waiting for anything.
    pub(crate) fn launch(options: &[&str], program: &[impl AsRef<OsStr>]) -> io::Result<Manager> {
        let binary = match env::var_os("REMUDA_BIN") {
            Some(path) => PathBuf::from(path),
            None => built_beside("remuda")?,
        };
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("remuda-{}-{number}", process::id()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let log = File::create(directory.join("log"))?;
        let spawned = Command::new(&binary)
            .arg("run")
            .args(options)
            .arg("--control")
            .arg(directory.join("control"))
            .arg("--")
            .args(program)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for this program, which then ends the manager in good order.
            .process_group(0)
            .spawn();
        let process = match spawned {
            Ok(process) => process,
            Err(error) => {
                fs::remove_dir_all(&directory)?;
                return Err(io::Error::new(
                    error.kind(),
                    format!("cannot run {}: {error}", binary.display()),
                ));
            }
        };
        Ok(Manager { process, binary, directory })
    }

    /// Waits until the control socket answers.
    pub(crate) fn wait_for_answer(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Err(self.complaint(&format!("remuda ended with {status}")));
            }
            match self.status() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(self.complaint(&format!("remuda does not answer: {error}")));
                }
                Err(_) => thread::sleep(TICK),
            }
        }
    }

    /// The binary that runs.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The manager's process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// How things stand.
    pub(crate) fn status(&self) -> io::Result<Status> {
        let mut stream = UnixStream::connect(self.directory.join("control"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"{\"command\":\"status\"}\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let mut answer: serde_json::Value = serde_json::from_str(&line)?;
        Ok(serde_json::from_value(answer["status"].take())?)
    }

    /// How the one group stands.
    pub(crate) fn group(&self) -> io::Result<GroupStatus> {
        self.status()?.groups.pop().ok_or_else(|| io::Error::other("a status without a group"))
    }

    /// Where the first socket is bound.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        let group = self.group()?;
        let socket = group.sockets.first().ok_or_else(|| io::Error::other("a status without a socket"))?;
        let address = socket.address.strip_prefix("tcp://").unwrap_or(&socket.address);
        address.parse().map_err(|error| io::Error::other(format!("{}: {error}", socket.address)))
    }

    /// Waits until all workers are ready and none is on its way out.
    pub(crate) fn wait_until_up(&self, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let group = self.group()?;
            let settled = group.workers.iter().all(|worker| worker.phase == WorkerPhase::Ready);
            if settled && group.state == GroupState::Up {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.complaint("the workers are not up in time"));
            }
            thread::sleep(TICK);
        }
    }

    /// `remuda VERB`, to its successful end. Meanwhile `step` is called again and again; its failure ends the wait.
    pub(crate) fn verb(
        &self,
        verb: &[&str],
        limit: Duration,
        mut step: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut process = Command::new(&self.binary)
            .args(verb)
            .arg("-q")
            .arg("--control")
            .arg(self.directory.join("control"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + limit;
        let ended = loop {
            match process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.complaint(&format!("remuda {}: {status}", verb.join(" ")))),
                None if Instant::now() > deadline => {
                    break Err(self.complaint(&format!("remuda {} does not end", verb.join(" "))));
                }
                None => {}
            }
            if let Err(error) = step() {
                break Err(error);
            }
        };
        process.kill()?;
        process.wait()?;
        ended
    }

    /// `remuda stop`, and the manager's own exit status.
    pub(crate) fn stop(mut self, limit: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        self.verb(&["stop"], limit, pause)?;
        wait_until(&mut self.process, deadline)
    }

    /// A failure with the last that was said in the log.
    pub(crate) fn complaint(&self, what: &str) -> io::Error {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n  ");
        io::Error::other(format!("{what}; the end of its log:\n  {last}"))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure here, and there is nothing else to try.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = kill(self.pid(), Signal::SIGQUIT);
            if wait_until(&mut self.process, Instant::now() + PATIENCE).is_err() {
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A step for [`Manager::verb`] that only passes time, until Ctrl-C.
pub(crate) fn pause() -> io::Result<()> {
    thread::sleep(TICK);
    match interrupted() {
        true => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
        false => Ok(()),
    }
}

/// Waits for a child until a moment.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a process did not end in time"));
        }
        thread::sleep(TICK);
    }
}

/// A program that cargo built together with this one: `target/PROFILE/NAME`, while this one is in a directory there.
pub(crate) fn built_beside(name: &str) -> io::Result<PathBuf> {
    let here = env::current_exe()?;
    let profile = here.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let path = profile.join(name);
    if !path.exists() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is missing: build it first", path.display()),
        ));
    }
    Ok(path)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes Ctrl-C and SIGTERM visible to [`interrupted`] instead of ending this process, so that it can clean up.
pub(crate) fn catch_interrupts() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(note_interrupt), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but store to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether Ctrl-C was pressed since [`catch_interrupts`].
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
