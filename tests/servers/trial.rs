//! One real server under remuda, from its start to the last trace of it: what `make test-servers` runs for each.
//!
//! ```text
//! trial [--kept-alive N] [--upgrades N] --site DIRECTORY -- remuda OPTIONS -- PROGRAM ARGS...
//! ```
//!
//! The words after the first `--` are a command line as README.md shows it. They and the files of DIRECTORY say
//! `127.0.0.1:8080`; a free port takes the place of 8080 in both, and the files are copied to a directory of their own,
//! where everything runs. The server answers `/` at once, and `/slow` in two parts with a second or two between them.
//!
//! It is started, upgraded twice, or `--upgrades` times, under load with a slow request in hand, loses a worker to SIGKILL
//! between two requests, and is stopped with a slow request in hand. No request may fail, and nothing may be left: no
//! process, no socket, no file. The exit status is 0 only if all of that was so.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use remuda::supervisor::snapshot::WorkerPhase;

#[path = "../../examples/support/load.rs"]
#[allow(dead_code, reason = "each of those that share it uses a part")]
mod load;
#[path = "../../examples/support/manager.rs"]
#[allow(dead_code, reason = "each of those that share it uses a part")]
mod manager;

use load::{Load, Phase, Traffic};
use manager::Manager;

/// What the documents listen on.
const WRITTEN: &str = "127.0.0.1:8080";
/// Longest time for what happens between two measurements: start, upgrade, stop.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the load goes on before the first upgrade, and after each.
const QUIET: Duration = Duration::from_secs(1);
/// Longest time for an answer under load, on a machine that does much else.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long what has ended may take to be gone from the system.
const TRACES: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match Settings::from_args().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trial: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says.
struct Settings {
    kept_alive: usize,
    upgrades: usize,
    site: PathBuf,
    options: Vec<String>,
    program: Vec<OsString>,
}

impl Settings {
    fn from_args() -> io::Result<Settings> {
        let wrong = || {
            io::Error::other("usage: trial [--kept-alive N] [--upgrades N] --site DIRECTORY -- COMMAND-LINE")
        };
        let (mut kept_alive, mut upgrades) = (0, 2);
        let mut site = None;
        let mut words = env::args_os().skip(1);
        loop {
            let word = words.next().ok_or_else(wrong)?;
            match word.to_str() {
                Some("--") => break,
                Some("--site") => site = words.next(),
                Some(option @ ("--kept-alive" | "--upgrades")) => {
                    let number = words.next().and_then(|number| number.to_str()?.parse().ok());
                    let number = number.ok_or_else(wrong)?;
                    *(if option == "--upgrades" { &mut upgrades } else { &mut kept_alive }) = number;
                }
                _ => return Err(wrong()),
            }
        }
        if words.next().is_none_or(|word| word != "remuda") {
            return Err(io::Error::other("a command line begins with 'remuda'"));
        }
        let options = words.by_ref().take_while(|word| word != "--");
        let options =
            options.map(|word| word.into_string().map_err(|_| wrong())).collect::<io::Result<_>>()?;
        let site = site.ok_or_else(wrong)?.into();
        Ok(Settings { kept_alive, upgrades, site, options, program: words.collect() })
    }
}

fn run(settings: Settings) -> io::Result<()> {
    manager::catch_interrupts()?;
    // Whoever loses its parent becomes a child of this process, so that nothing can be left behind unseen.
    prctl::set_child_subreaper(true)?;
    let site = Site::copy(&settings.site)?;
    let before = site.files()?;
    let address = site.address.to_string();
    let options: Vec<String> = settings.options.iter().map(|word| word.replace(WRITTEN, &address)).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).chain(["--pidfile", "remuda.pid"]).collect();

    let manager = Manager::start(&options, &settings.program)?;
    manager.wait_until_up(LIMIT)?;
    load::ask_once(site.address, "/", LIMIT)
        .map_err(|error| manager.complaint(&format!("no answer: {error}")))?;
    let workers = manager.group()?.target;

    let traffic =
        Traffic { kept_alive: settings.kept_alive, limit: ANSWER_LIMIT, ..Traffic::to(site.address) };
    let load = Load::start(traffic)?;
    pass(QUIET)?;
    for _ in 0..settings.upgrades {
        let slow = Slow::begin(site.address)?;
        load.enter(Phase::Upgrade);
        manager.verb(&["upgrade", "--wait-drained"], LIMIT, manager::pause)?;
        load.enter(Phase::Quiet);
        slow.end()
            .map_err(|error| manager.complaint(&format!("a slow request during an upgrade: {error}")))?;
        pass(QUIET)?;
    }
    let report = load.stop();
    println!("{workers} workers, {} upgrades: {report}", settings.upgrades);
    if report.failed() > 0 || report.requests() == 0 {
        return Err(manager.complaint("the upgrades were not without loss"));
    }

    let killed = replace_one(&manager, site.address)?;

    let slow = Slow::begin(site.address)?;
    let status = manager.stop(LIMIT)?;
    slow.end()
        .map_err(|error| io::Error::new(error.kind(), format!("a slow request during the stop: {error}")))?;
    if !status.success() {
        return Err(io::Error::other(format!("remuda ended with {status}")));
    }
    nobody_is_left()?;
    TcpListener::bind(site.address)
        .map_err(|error| io::Error::new(error.kind(), format!("{address} is still taken: {error}")))?;
    // Who is killed cannot remove the file that holds its number.
    let of_killed = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == killed.to_string());
    let left: Vec<_> = site.files()?.difference(&before).filter(|path| !of_killed(path)).cloned().collect();
    if !left.is_empty() {
        return Err(io::Error::other(format!("files were left behind: {}", left.join(", "))));
    }
    println!("one killed and replaced, stopped with a request in hand, nothing left behind");
    Ok(())
}

/// Lets time go by under load, until Ctrl-C.
fn pass(time: Duration) -> io::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        manager::pause()?;
    }
    Ok(())
}

/// Kills a worker that has nothing in hand. Whoever asks while there is none in its place is answered by the others.
fn replace_one(manager: &Manager, address: SocketAddr) -> io::Result<i32> {
    let workers = manager.group()?.workers;
    let victim = workers.first().ok_or_else(|| io::Error::other("no worker to kill"))?.pid;
    kill(Pid::from_raw(victim), Signal::SIGKILL)?;
    let deadline = Instant::now() + LIMIT;
    while manager.group()?.workers.iter().any(|worker| worker.pid == victim) {
        if Instant::now() > deadline {
            return Err(manager.complaint("the death of a worker goes unnoticed"));
        }
        manager::pause()?;
    }
    let mut asked = 0;
    loop {
        load::ask_once(address, "/", ANSWER_LIMIT).map_err(|error| {
            manager.complaint(&format!("after the death of a worker, request {asked}: {error}"))
        })?;
        asked += 1;
        let group = manager.group()?;
        let ready = group.workers.iter().filter(|worker| worker.phase == WorkerPhase::Ready).count();
        if ready == group.target as usize {
            return Ok(victim);
        }
        if Instant::now() > deadline {
            return Err(manager.complaint("a killed worker is not replaced"));
        }
        manager::pause()?;
    }
}

/// A request that a worker has begun to answer.
struct Slow {
    answer: Receiver<io::Result<()>>,
}

impl Slow {
    /// Asks, and waits until the first part of the answer is here.
    fn begin(address: SocketAddr) -> io::Result<Slow> {
        let (tell, answer) = mpsc::channel();
        let (tell_begun, begun) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            let end = load::ask_noting_head(address, "/slow", LIMIT, || {
                // Whoever does not listen has given up.
                let _ = tell_begun.send(());
            });
            let _ = tell.send(end.map(drop));
        })?;
        match begun.recv() {
            Ok(()) => Ok(Slow { answer }),
            // It failed before it began.
            Err(mpsc::RecvError) => {
                Slow { answer }.end()?;
                Err(io::Error::other("the slow answer had no body"))
            }
        }
    }

    /// Waits for the rest.
    fn end(self) -> io::Result<()> {
        self.answer.recv().map_err(|_| io::Error::other("its thread panicked"))?
    }
}

/// The directory that everything runs in. Dropped, it is removed.
struct Site {
    directory: PathBuf,
    address: SocketAddr,
}

impl Site {
    /// Copies the files, and enters the copy.
    fn copy(from: &Path) -> io::Result<Site> {
        let directory = env::temp_dir().join(format!("remuda-trial-{}", process::id()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        // It is free until somebody else is quicker than the manager, which then says so.
        let address =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr())?;
        let site = Site { directory, address };
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let text = fs::read_to_string(entry.path())?;
                fs::write(
                    site.directory.join(entry.file_name()),
                    text.replace(WRITTEN, &address.to_string()),
                )?;
            }
        }
        env::set_current_dir(&site.directory)?;
        Ok(site)
    }

    /// The files and sockets in it, also deeper down.
    fn files(&self) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                } else {
                    found.insert(entry.path().display().to_string());
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Nobody is left to be told, and there is nothing else to try.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Waits for the end of everybody who was orphaned, and fails if somebody lives on.
fn nobody_is_left() -> io::Result<()> {
    let deadline = Instant::now() + TRACES;
    loop {
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            let path = format!("/proc/self/task/{}/children", process::id());
            // Not every kernel tells.
            let children = fs::read_to_string(path).unwrap_or_default();
            return Err(io::Error::other(format!("processes were left behind: {children}")));
        }
        manager::pause()?;
    }
}
