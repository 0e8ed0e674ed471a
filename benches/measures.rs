//! The measures. Each returns numbers only; what is good enough is decided in main.rs.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remuda::supervisor::snapshot::WorkerPhase;

use crate::manager::{self, Manager};
use crate::stage::{LIMIT, Stage, Stamp, StampKind, Stamps, now_ns};

/// Workers of the measures that are about many.
const MANY: usize = 100;
/// Workers of the measure that is about one death at a time.
const FEW: usize = 10;
/// Rest between two deaths.
const GAP: Duration = Duration::from_millis(20);
/// A worker that was ready for a second died healthy and is replaced at once; with a margin.
const HEALTHY_MS: u64 = 1200;
/// How long an idle manager is watched.
const IDLE: Duration = Duration::from_secs(10);

/// Milliseconds of one thing done by the floor program and by remuda, pair after pair.
#[derive(Default)]
pub(crate) struct Pairs {
    /// The floor program.
    pub(crate) floor: Vec<f64>,
    /// remuda.
    pub(crate) remuda: Vec<f64>,
}

/// Does both in turn, each first every other time, so that noise falls on both alike.
fn alternate(
    rounds: usize,
    mut floor: impl FnMut() -> io::Result<Vec<f64>>,
    mut remuda: impl FnMut() -> io::Result<Vec<f64>>,
) -> io::Result<Pairs> {
    let mut pairs = Pairs::default();
    for round in 0..rounds {
        manager::pause()?;
        if round % 2 == 0 {
            pairs.floor.extend(floor()?);
            pairs.remuda.extend(remuda()?);
        } else {
            pairs.remuda.extend(remuda()?);
            pairs.floor.extend(floor()?);
        }
    }
    Ok(pairs)
}

fn options(workers: usize) -> [String; 6] {
    ["-b", "127.0.0.1:0", "-n", &workers.to_string(), "--name", "bench"].map(str::to_string)
}

fn launch(stage: &Stage, workers: usize) -> io::Result<(Manager, Stamps)> {
    let (worker, stamps) = stage.worker("remuda.stamps")?;
    let options = options(workers);
    Ok((Manager::launch(&options.each_ref().map(String::as_str), &worker)?, stamps))
}

/// Starts a manager and waits until its workers have been ready for a while.
fn start(stage: &Stage, workers: usize) -> io::Result<(Manager, Stamps)> {
    let (mut manager, stamps) = launch(stage, workers)?;
    manager.wait_for_answer()?;
    wait_until_healthy(&manager)?;
    Ok((manager, stamps))
}

fn wait_until_healthy(manager: &Manager) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let group = manager.group()?;
        let up = group.workers.len() == group.target as usize;
        let healthy = |worker: &remuda::supervisor::snapshot::WorkerStatus| {
            worker.phase == WorkerPhase::Ready && worker.since_ms >= HEALTHY_MS
        };
        if up && group.workers.iter().all(healthy) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
        manager::pause()?;
    }
    Err(manager.complaint("the workers are not ready in time"))
}

fn stop(manager: Manager) -> io::Result<()> {
    match manager.stop(LIMIT)? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("remuda ended with {status}"))),
    }
}

fn ms(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}

fn last_ns(stamps: &[Stamp]) -> u64 {
    stamps.iter().map(|stamp| stamp.ns).max().unwrap_or(0)
}

/// From the start of the manager to the first instruction of the last of 100 workers.
pub(crate) fn start_of_many(stage: &Stage, rounds: usize, how: &str) -> io::Result<Pairs> {
    alternate(
        rounds,
        || {
            let (worker, stamps) = stage.worker("floor.stamps")?;
            let start = now_ns();
            let _floor = stage.floor(how, &["keep", &MANY.to_string()], &worker)?;
            Ok(vec![ms(start, last_ns(&stamps.wait_for(MANY)?))])
        },
        || {
            let start = now_ns();
            let (mut manager, stamps) = launch(stage, MANY)?;
            let taken = ms(start, last_ns(&stamps.wait_for(MANY)?));
            manager.wait_for_answer()?;
            stop(manager)?;
            Ok(vec![taken])
        },
    )
}

/// From the first of 100 kills to the first instruction of the last of 100 replacements, beside three loops: one that
/// only forks and executes 100 times, as at a start; one that is killed at in the same way, so that it reaps as well;
/// and the same with vfork.
pub(crate) fn death_of_many(stage: &Stage, rounds: usize) -> io::Result<[Pairs; 3]> {
    let (manager, manager_stamps) = start(stage, MANY)?;
    let floors: [(&str, bool); 3] = [("fork", false), ("fork", true), ("vfork", true)];
    let [start, fork, vfork] = floors.map(|(how, killed)| {
        alternate(
            rounds,
            || {
                let (worker, stamps) = stage.worker("floor.stamps")?;
                let start = now_ns();
                let _floor = stage.floor(how, &["keep", &MANY.to_string()], &worker)?;
                match killed {
                    true => kill_all_and_wait(&stamps),
                    false => Ok(vec![ms(start, last_ns(&stamps.wait_for(MANY)?))]),
                }
            },
            || {
                wait_until_healthy(&manager)?;
                kill_all_and_wait(&manager_stamps)
            },
        )
    });
    let pairs = [start?, fork?, vfork?];
    stop(manager)?;
    Ok(pairs)
}

fn kill_all_and_wait(stamps: &Stamps) -> io::Result<Vec<f64>> {
    let before = stamps.wait_for(MANY)?;
    // A moment for the last one, which has stamped but may not be at rest, and for the manager to fall asleep.
    thread::sleep(GAP);
    let start = now_ns();
    for stamp in &before[before.len() - MANY..] {
        kill(stamp.pid, Signal::SIGKILL)?;
    }
    let after = stamps.wait_for(before.len() + MANY)?;
    Ok(vec![ms(start, last_ns(&after))])
}

/// From the kill of one ready worker to the first instruction of its replacement, ten times a round.
pub(crate) fn death_of_one(stage: &Stage, rounds: usize, how: &str) -> io::Result<Pairs> {
    let (manager, manager_stamps) = start(stage, FEW)?;
    let gap_ms = GAP.as_millis().to_string();
    let pairs = alternate(
        rounds,
        || {
            let (worker, stamps) = stage.worker("floor.stamps")?;
            stage.floor(how, &["cycle", &FEW.to_string(), &gap_ms], &worker)?.finish()?;
            let stamps = stamps.read()?;
            let started = |pid: Pid| {
                stamps
                    .iter()
                    .find(|stamp| stamp.kind == StampKind::Start && stamp.pid == pid)
                    .map(|stamp| stamp.ns)
            };
            let kills = stamps.iter().filter(|stamp| stamp.kind == StampKind::Kill);
            Ok(kills.filter_map(|stamp| Some(ms(stamp.ns, started(stamp.pid)?))).collect())
        },
        || {
            wait_until_healthy(&manager)?;
            let before = manager_stamps.read()?;
            let mut times = Vec::new();
            for (number, stamp) in before[before.len() - FEW..].iter().enumerate() {
                thread::sleep(GAP);
                let start = now_ns();
                kill(stamp.pid, Signal::SIGKILL)?;
                times.push(ms(start, last_ns(&manager_stamps.wait_for(before.len() + number + 1)?)));
            }
            Ok(times)
        },
    )?;
    stop(manager)?;
    Ok(pairs)
}

/// Megabytes of output in one round.
const CAPTURED_MB: usize = 256;

/// What a worker writes as fast as it can, into a file: milliseconds until it is there, and milliseconds of processor time
/// for each 100 MB.
pub(crate) fn capture(stage: &Stage, rounds: usize) -> io::Result<[Pairs; 2]> {
    let per_100_mb = |ms: f64| ms * 100.0 / CAPTURED_MB as f64;
    // Wall and processor time by turns.
    let both = alternate(
        rounds,
        || {
            let path = stage.captured()?;
            let start = now_ns();
            let used = stage.copy(CAPTURED_MB, &path)?;
            Ok(vec![ms(start, now_ns()), per_100_mb(used)])
        },
        || {
            let path = stage.captured()?;
            let log = path.display().to_string();
            let options = ["--restart", "never", "--ack", "none", "--name", "bench", "--stdout-log", &log];
            let start = now_ns();
            let mut manager = Manager::launch(&options, &stage.writer(CAPTURED_MB))?;
            let deadline = Instant::now() + LIMIT;
            while fs::metadata(&path).map_or(0, |found| found.len()) < (CAPTURED_MB as u64) << 20 {
                if Instant::now() > deadline {
                    return Err(manager.complaint("the output does not arrive"));
                }
                thread::sleep(Duration::from_millis(1));
            }
            let taken = ms(start, now_ns());
            let used = processor_ms(manager.pid())?;
            manager.wait_for_answer()?;
            stop(manager)?;
            Ok(vec![taken, per_100_mb(used)])
        },
    )?;
    let every_other = |values: &[f64], first: usize| values.iter().copied().skip(first).step_by(2).collect();
    Ok([0, 1].map(|first| Pairs {
        floor: every_other(&both.floor, first),
        remuda: every_other(&both.remuda, first),
    }))
}

/// Processor time of a process without its children, to the hundredth of a second.
fn processor_ms(pid: Pid) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let used = ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) * 10.0);
    used.ok_or_else(|| io::Error::other("/proc/PID/stat without times"))
}

/// Kilobytes of one manager, from /proc/PID/smaps_rollup.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Pages that belong to this process alone and are in no file.
    pub(crate) private_dirty: f64,
    /// Pages of files that no other process has mapped at the moment: mostly its own program text.
    pub(crate) private_clean: f64,
    /// Resident in all.
    pub(crate) rss: f64,
}

impl Memory {
    fn of(pid: Pid) -> io::Result<Memory> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kilobytes = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.ok_or_else(|| io::Error::other(format!("smaps_rollup without {name}")))
        };
        Ok(Memory {
            private_dirty: kilobytes("Private_Dirty")?,
            private_clean: kilobytes("Private_Clean")?,
            rss: kilobytes("Rss")?,
        })
    }
}

/// Memory of a manager that nobody has asked anything yet, and of the same one after it has told its status.
pub(crate) fn memory(stage: &Stage, workers: usize) -> io::Result<(Memory, Memory)> {
    let (mut manager, stamps) = launch(stage, workers)?;
    stamps.wait_for(workers)?;
    // Readiness comes a second after the start and cannot be seen from outside without asking.
    thread::sleep(Duration::from_millis(1500));
    let untouched = Memory::of(manager.pid())?;
    manager.wait_for_answer()?;
    wait_until_healthy(&manager)?;
    let asked = Memory::of(manager.pid())?;
    stop(manager)?;
    Ok((untouched, asked))
}

/// What a manager of 100 workers does while nothing happens.
pub(crate) struct Idle {
    /// Voluntary context switches in ten seconds.
    pub(crate) switches: f64,
    /// System calls in ten seconds, or why they could not be counted.
    pub(crate) calls: Result<f64, String>,
}

/// Watches an idle manager.
pub(crate) fn idle(stage: &Stage) -> io::Result<Idle> {
    let (manager, _stamps) = start(stage, MANY)?;
    thread::sleep(Duration::from_millis(200));
    let before = voluntary_switches(manager.pid())?;
    thread::sleep(IDLE);
    let switches = voluntary_switches(manager.pid())? - before;
    let calls = system_calls(manager.pid())?;
    stop(manager)?;
    Ok(Idle { switches, calls })
}

fn voluntary_switches(pid: Pid) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let count =
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok());
    count.ok_or_else(|| io::Error::other("/proc/PID/status without voluntary_ctxt_switches"))
}

/// Counts the calls that end within the time; the one that the process waits in does not.
fn system_calls(pid: Pid) -> io::Result<Result<f64, String>> {
    let strace = Command::new("strace")
        .args(["-c", "-f", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let strace = match strace {
        Ok(strace) => strace,
        Err(error) => return Ok(Err(format!("cannot run strace: {error}"))),
    };
    thread::sleep(IDLE);
    // It has ended by itself if it was not allowed to attach.
    let _ = kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT);
    let output = strace.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !text.contains(" attached") {
        return Ok(Err(text.lines().next().unwrap_or("strace said nothing").to_string()));
    }
    // `100.00    0.000123          12        10         2 total`; no table at all if there were no calls.
    let total = text.lines().find(|line| line.ends_with(" total"));
    Ok(Ok(total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(0.0)))
}
