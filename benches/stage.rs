//! What the measures stand on: the two C programs, the file of stamps, and the floor as a running process.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, mem};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything that is waited for may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How often the stamp file's size is looked at while workers start: rarely enough not to disturb them.
const GLANCE: Duration = Duration::from_millis(10);

/// A directory with the compiled programs and the stamps; removed when dropped.
pub(crate) struct Stage {
    directory: PathBuf,
}

impl Stage {
    /// Compiles the programs.
    pub(crate) fn set_up() -> io::Result<Stage> {
        let directory = env::temp_dir().join(format!("remuda-bench-{}", process::id()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let stage = Stage { directory };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
        let compiler = env::var_os("CC").unwrap_or("cc".into());
        for name in ["worker", "floor"] {
            let status = Command::new(&compiler)
                .args(["-static", "-O2", "-o"])
                .arg(stage.program(name))
                .arg(sources.join(format!("{name}.c")))
                .status()?;
            if !status.success() {
                return Err(io::Error::other(format!(
                    "cannot compile benches/{name}.c: the compiler's {status}"
                )));
            }
        }
        Ok(stage)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where output is captured; empty, or not there.
    pub(crate) fn captured(&self) -> io::Result<PathBuf> {
        let path = self.directory.join("captured");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(path),
        }
    }

    /// The program that writes so many megabytes to standard output.
    pub(crate) fn writer(&self, megabytes: usize) -> [PathBuf; 3] {
        [self.program("floor"), "write".into(), megabytes.to_string().into()]
    }

    /// Has the floor program copy so many megabytes from a pipe to a file. Returns the processor time that took it, in
    /// milliseconds.
    pub(crate) fn copy(&self, megabytes: usize, to: &Path) -> io::Result<f64> {
        let output = Command::new(self.program("floor"))
            .args(["copy", &megabytes.to_string()])
            .arg(to)
            .stdin(Stdio::null())
            .output()?;
        let told = String::from_utf8_lossy(&output.stdout).trim().parse::<f64>();
        told.map(|us| us / 1000.0)
            .map_err(|_| io::Error::other(format!("floor copy ended with {}", output.status)))
    }

    /// The command line of a worker, and the file for its stamps, which is empty now. Two that run at the same time
    /// have files of different names.
    pub(crate) fn worker(&self, stamps: &str) -> io::Result<([PathBuf; 2], Stamps)> {
        let path = self.directory.join(stamps);
        File::create(&path)?;
        Ok(([self.program("worker"), path.clone()], Stamps { path }))
    }

    /// Starts the floor program: `how` is `fork` or `vfork`, `what` its mode and the numbers that belong to it.
    pub(crate) fn floor(&self, how: &str, what: &[&str], worker: &[PathBuf; 2]) -> io::Result<Floor> {
        let process = Command::new(self.program("floor"))
            .arg(how)
            .args(what)
            .args(worker)
            .stdin(Stdio::null())
            // As the manager is started: both shall have the same start.
            .process_group(0)
            .spawn()?;
        Ok(Floor { process })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed stays in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A running floor program. Dropped, it ends with its workers.
pub(crate) struct Floor {
    process: Child,
}

impl Floor {
    /// Waits for one that ends by itself.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        match self.process.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("the floor program ended with {status}"))),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It has ended already, or it ends by this signal.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
            let _ = self.process.wait();
        }
    }
}

/// What a stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StampKind {
    /// A worker's first instruction.
    Start,
    /// The floor program killed the worker before this one.
    Kill,
}

/// One moment, as a C program noted it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) ns: u64,
    /// The worker it is about.
    pub(crate) pid: Pid,
    /// What happened.
    pub(crate) kind: StampKind,
}

/// The file that workers append to.
pub(crate) struct Stamps {
    path: PathBuf,
}

impl Stamps {
    /// Size of `struct stamp` in worker.c.
    const SIZE: usize = 16;

    /// Waits until there are that many.
    pub(crate) fn wait_for(&self, count: usize) -> io::Result<Vec<Stamp>> {
        let deadline = Instant::now() + LIMIT;
        let size = (count * Self::SIZE) as u64;
        while fs::metadata(&self.path)?.len() < size {
            if Instant::now() > deadline {
                let seen = self.read()?.len();
                return Err(io::Error::other(format!("{seen} of {count} stamps after {LIMIT:?}")));
            }
            thread::sleep(GLANCE);
        }
        self.read()
    }

    /// All there are, in the order in which they were written.
    pub(crate) fn read(&self) -> io::Result<Vec<Stamp>> {
        let bytes = fs::read(&self.path)?;
        let stamps = bytes.chunks_exact(Self::SIZE).map(|stamp| {
            let (ns, rest) = stamp.split_at(mem::size_of::<u64>());
            let (pid, kind) = rest.split_at(mem::size_of::<u32>());
            Stamp {
                ns: u64::from_ne_bytes(ns.try_into().unwrap_or_default()),
                pid: Pid::from_raw(i32::from_ne_bytes(pid.try_into().unwrap_or_default())),
                kind: if kind == [0; 4] { StampKind::Start } else { StampKind::Kill },
            }
        });
        Ok(stamps.collect())
    }
}

/// CLOCK_MONOTONIC in nanoseconds, comparable with stamps.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that may be written to, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
