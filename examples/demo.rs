//! What remuda is for, to be watched: `make demo`.
//!
//! Four workers of `http_worker` under remuda, eight clients that never rest, three rolling upgrades meanwhile. On a
//! terminal one line is drawn again and again; elsewhere there is a line a second. The last line is the result, and
//! the exit status is 0 only if no request failed.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use remuda::supervisor::snapshot::WorkerPhase;

#[path = "support/load.rs"]
#[allow(dead_code, reason = "each of those that share it uses a part")]
mod load;
#[path = "support/manager.rs"]
#[allow(dead_code, reason = "each of those that share it uses a part")]
mod manager;

use load::{Load, Phase, Traffic};
use manager::Manager;

const UPGRADES: u32 = 3;
/// Time without an upgrade, before each and after the last.
const QUIET: Duration = Duration::from_millis(1500);
/// Longest time an upgrade may take.
const UPGRADE_LIMIT: Duration = Duration::from_secs(30);
/// How often the line is drawn on a terminal.
const FRAME: Duration = Duration::from_millis(100);
/// How often a line is written elsewhere.
const LINE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<bool> {
    manager::catch_interrupts()?;
    let worker = manager::built_beside("examples/http_worker")?;
    println!("$ remuda run -b 127.0.0.1:0 -n 4 --ack timer:500ms -- http_worker");
    let manager = Manager::start(
        &["-b", "127.0.0.1:0", "-n", "4", "--ack", "timer:500ms", "--name", "demo"],
        &[worker],
    )?;
    manager.wait_until_up(UPGRADE_LIMIT)?;
    let address = manager.address()?;
    println!("four workers are ready on {address}; eight clients begin to ask");

    // Two clients stay connected as long as they may. The short rest keeps the clients from taking all the processor
    // time, which would say more about this machine than about the upgrade.
    let traffic = Traffic { kept_alive: 2, pause: Duration::from_millis(1), ..Traffic::to(address) };
    let mut show = Show::new(&manager, Load::start(traffic)?);

    show.watch_for(QUIET)?;
    for number in 1..=UPGRADES {
        show.say(&format!("$ remuda upgrade --wait-drained    # {number} of {UPGRADES}"));
        show.load.enter(Phase::Upgrade);
        manager.verb(&["upgrade", "--wait-drained"], UPGRADE_LIMIT, || show.step())?;
        show.load.enter(Phase::Quiet);
        show.watch_for(QUIET)?;
    }

    let report = show.end();
    let status = manager.stop(UPGRADE_LIMIT)?;
    println!("{report}");
    if !status.success() {
        return Err(io::Error::other(format!("remuda ended with {status}")));
    }
    Ok(report.failed() == 0 && report.upgrade.answered > 0)
}

/// Draws what goes on.
struct Show<'a> {
    manager: &'a Manager,
    load: Load,
    start: Instant,
    terminal: bool,
    next_line: Instant,
}

impl<'a> Show<'a> {
    fn new(manager: &'a Manager, load: Load) -> Self {
        let start = Instant::now();
        Show { manager, load, start, terminal: io::stdout().is_terminal(), next_line: start }
    }

    fn watch_for(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step()?;
        }
        Ok(())
    }

    /// Shows the present state, where it is time to, and rests until the next frame.
    fn step(&mut self) -> io::Result<()> {
        if manager::interrupted() {
            self.say("interrupted");
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped before the end"));
        }
        let now = Instant::now();
        if self.terminal {
            print!("\r\x1b[K{}", self.line()?);
            io::stdout().flush()?;
        } else if now >= self.next_line {
            println!("{}", self.line()?);
            self.next_line = now + LINE;
        }
        thread::sleep(FRAME);
        Ok(())
    }

    /// `  4.2 s  generation 1: 3 ready, generation 2: 1 starting | 12345 requests, 0 failed`
    fn line(&self) -> io::Result<String> {
        let workers = self.manager.group()?.workers;
        let mut generations: Vec<u32> = workers.iter().map(|worker| worker.generation).collect();
        generations.sort_unstable();
        generations.dedup();
        let of_generation = |generation: &u32| {
            let count = |phase| {
                let of_phase = |worker: &&_| same(worker, *generation, phase);
                workers.iter().filter(of_phase).count()
            };
            let words = [
                (WorkerPhase::Ready, "ready"),
                (WorkerPhase::Starting, "starting"),
                (WorkerPhase::Stopping, "draining"),
                (WorkerPhase::Killed, "killed"),
            ];
            let counts = words.map(|(phase, word)| (count(phase), word)).into_iter();
            let told: Vec<String> = counts
                .filter(|(count, _)| *count > 0)
                .map(|(count, word)| format!("{count} {word}"))
                .collect();
            format!("generation {generation}: {}", told.join(" "))
        };
        let generations: Vec<String> = generations.iter().map(of_generation).collect();
        let report = self.load.report();
        Ok(format!(
            "{:5.1} s  {} | {} requests, {} failed",
            self.start.elapsed().as_secs_f64(),
            generations.join(", "),
            report.requests(),
            report.failed()
        ))
    }

    /// A line that stays.
    fn say(&self, text: &str) {
        if self.terminal {
            println!("\r\x1b[K{text}");
        } else {
            println!("{text}");
        }
    }

    fn end(self) -> load::Report {
        if self.terminal {
            println!();
        }
        self.load.stop()
    }
}

fn same(worker: &remuda::supervisor::snapshot::WorkerStatus, generation: u32, phase: WorkerPhase) -> bool {
    worker.generation == generation && worker.phase == phase
}
