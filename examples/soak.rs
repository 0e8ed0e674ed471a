//! Upgrades under load, again and again, for as long as you like: `make soak`.
//!
//! ```text
//! soak [--seconds N] [--every N] [--workers N] [--kept-alive N] [--pause-us N] [--slow PATH] [--ack KIND]
//!      [--reexec N] [-- PROGRAM ARGS...]
//! ```
//!
//! Starts PROGRAM (`http_worker` if none is given) under remuda, asks it with eight connections for `--seconds` (60)
//! and replaces its workers every `--every` seconds (5). `--kept-alive` of the connections are kept as long as the
//! server allows, the others ask once each. With `--slow PATH`, two requests a worker that take long are begun before
//! each upgrade, and all must be answered. With `--reexec N` the manager replaces its own image N times in the course of
//! each upgrade. The last line is the result; the exit status is 0 only if nothing failed.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[path = "support/load.rs"]
#[allow(dead_code, reason = "each of those that share it uses a part")]
mod load;
#[path = "support/manager.rs"]
#[allow(dead_code, reason = "each of those that share it uses a part")]
mod manager;

use load::{Load, Phase, Traffic};
use manager::Manager;

/// Longest time for what happens between two measurements: start, upgrade, stop.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest time that a slow request may take.
const SLOW_LIMIT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match Settings::from_args().and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says.
struct Settings {
    seconds: u64,
    every: u64,
    workers: u32,
    kept_alive: usize,
    pause: Duration,
    slow: Option<String>,
    ack: String,
    reexec: u32,
    program: Vec<OsString>,
}

impl Settings {
    fn from_args() -> io::Result<Settings> {
        let mut settings = Settings {
            seconds: 60,
            every: 5,
            workers: 4,
            kept_alive: 0,
            pause: Duration::ZERO,
            slow: None,
            ack: "timer:1s".to_string(),
            reexec: 0,
            program: Vec::new(),
        };
        let mut arguments = env::args_os().skip(1);
        while let Some(option) = arguments.next() {
            if option == "--" {
                settings.program = arguments.collect();
                break;
            }
            let option = option.to_string_lossy().into_owned();
            let value = arguments.next().map(|value| value.to_string_lossy().into_owned());
            let value = value.ok_or_else(|| io::Error::other(format!("{option} wants a value")))?;
            match option.as_str() {
                "--seconds" => settings.seconds = number(&option, &value)?,
                "--every" => settings.every = number(&option, &value)?,
                "--workers" => settings.workers = number(&option, &value)?,
                "--kept-alive" => settings.kept_alive = number(&option, &value)?,
                "--pause-us" => settings.pause = Duration::from_micros(number(&option, &value)?),
                "--slow" => settings.slow = Some(value),
                "--ack" => settings.ack = value,
                "--reexec" => settings.reexec = number(&option, &value)?,
                _ => return Err(io::Error::other(format!("unknown option {option}"))),
            }
        }
        if settings.program.is_empty() {
            settings.program = vec![manager::built_beside("examples/http_worker")?.into_os_string()];
        }
        Ok(settings)
    }
}

fn number<N: FromStr>(option: &str, value: &str) -> io::Result<N> {
    value.parse().map_err(|_| io::Error::other(format!("{option} {value}: not a number")))
}

fn run(settings: Settings) -> io::Result<bool> {
    manager::catch_interrupts()?;
    let workers = settings.workers.to_string();
    let options = ["-b", "127.0.0.1:0", "-n", &workers, "--ack", &settings.ack, "--name", "soak"];
    let manager = Manager::start(&options, &settings.program)?;
    manager.wait_until_up(LIMIT)?;
    let address = manager.address()?;
    wait_for_service(&manager, address)?;
    println!(
        "{workers} workers on {address}, {} s of load, an upgrade every {} s",
        settings.seconds, settings.every
    );

    let traffic = Traffic { kept_alive: settings.kept_alive, pause: settings.pause, ..Traffic::to(address) };
    let load = Load::start(traffic)?;
    let mut slow = Slow { address, asked: Vec::new() };
    let start = Instant::now();
    let end = start + Duration::from_secs(settings.seconds);
    let every = Duration::from_secs(settings.every);
    let mut next = start + every / 2;
    let (mut upgrades, mut re_executions) = (0, 0);
    while Instant::now() < end {
        rest_until(next.min(end))?;
        if Instant::now() >= end {
            break;
        }
        next += every;
        if let Some(path) = &settings.slow {
            slow.begin(path, 2 * settings.workers)?;
        }
        upgrades += 1;
        load.enter(Phase::Upgrade);
        if settings.reexec > 0 {
            manager.verb(&["upgrade", "--no-wait"], LIMIT, manager::pause)?;
        }
        for _ in 0..settings.reexec {
            manager.verb(&["reexec"], LIMIT, manager::pause)?;
            re_executions += 1;
        }
        manager.verb(&["upgrade", "--wait-drained"], LIMIT, manager::pause)?;
        load.enter(Phase::Quiet);
        let report = load.report();
        println!(
            "{:5.1} s  upgrade {upgrades} done, {} requests, {} failed",
            start.elapsed().as_secs_f64(),
            report.requests(),
            report.failed()
        );
    }
    let (slow_asked, slow_failed) = slow.end();
    let report = load.stop();
    let status = manager.stop(LIMIT)?;
    if slow_asked > 0 {
        println!("{slow_asked} slow requests, {slow_failed} failed");
    }
    println!("{upgrades} upgrades, {re_executions} re-executions; {report}");
    if !status.success() {
        return Err(io::Error::other(format!("remuda ended with {status}")));
    }
    Ok(report.failed() == 0 && slow_failed == 0 && report.requests() > 0 && upgrades > 0)
}

/// Waits for the first answer: a program that does not say when it is ready may take longer to start than the manager
/// was told to wait.
fn wait_for_service(manager: &Manager, address: SocketAddr) -> io::Result<()> {
    load::ask_once(address, "/", LIMIT)
        .map_err(|error| manager.complaint(&format!("the first request failed: {error}")))?;
    Ok(())
}

fn rest_until(moment: Instant) -> io::Result<()> {
    while Instant::now() < moment {
        manager::pause()?;
    }
    Ok(())
}

/// Requests that are in hand when an upgrade comes.
struct Slow {
    address: SocketAddr,
    asked: Vec<JoinHandle<io::Result<Duration>>>,
}

impl Slow {
    fn begin(&mut self, path: &str, count: u32) -> io::Result<()> {
        for _ in 0..count {
            let (address, path) = (self.address, path.to_string());
            let ask = move || load::ask_once(address, &path, SLOW_LIMIT);
            self.asked.push(thread::Builder::new().spawn(ask)?);
        }
        Ok(())
    }

    /// How many there were, and how many failed.
    fn end(self) -> (usize, usize) {
        let count = self.asked.len();
        let failed = self.asked.into_iter().filter_map(|thread| match thread.join() {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("its thread panicked".to_string()),
        });
        (count, failed.inspect(|error| eprintln!("soak: a slow request failed: {error}")).count())
    }
}
