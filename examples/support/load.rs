//! An HTTP load generator: threads that ask as fast as they are answered, and count whatever goes wrong.
//!
//! Shared by path, so that examples and tests apply the same standard: `#[path = "support/load.rs"] mod load;`. A
//! request has failed if it was refused, reset, cut short, answered with anything but 200, or took longer than the
//! limit. Nothing is ever retried, also not a request on a connection that had been idle.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a connection rests after a failure, so that a dead server does not turn the load into a busy loop.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// What to ask, of whom, and how.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// The server.
    pub(crate) address: SocketAddr,
    /// Path of each request.
    pub(crate) path: String,
    /// Connections that ask at the same time, each in a thread.
    pub(crate) connections: usize,
    /// How many of them keep their connection as long as the server allows; the others open one for each request.
    pub(crate) kept_alive: usize,
    /// Rest between two requests of a connection.
    pub(crate) pause: Duration,
    /// Longest time that a request may take.
    pub(crate) limit: Duration,
}

impl Traffic {
    /// Eight connections without rest, one for each request, and 2 s for each answer.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Traffic {
            address,
            path: "/".to_string(),
            connections: 8,
            kept_alive: 0,
            pause: Duration::ZERO,
            limit: Duration::from_secs(2),
        }
    }
}

/// What goes on at the server meanwhile; requests are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nothing out of the ordinary.
    Quiet,
    /// Workers are being replaced. A request that sees any of it belongs here.
    Upgrade,
}

impl Phase {
    const ALL: [Phase; 2] = [Phase::Quiet, Phase::Upgrade];
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Refused,
    Reset,
    /// The connection ended before the answer did.
    Short,
    TimedOut,
    /// An answer other than 200.
    Status,
    /// Anything else: the message of the first failure tells.
    Other,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Refused, Kind::Reset, Kind::Short, Kind::TimedOut, Kind::Status, Kind::Other];

    fn of(error: &io::Error) -> Kind {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Kind::Reset,
            io::ErrorKind::UnexpectedEof => Kind::Short,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Kind::TimedOut,
            io::ErrorKind::InvalidData => Kind::Status,
            _ => Kind::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Reset => "reset",
            Kind::Short => "short",
            Kind::TimedOut => "timed out",
            Kind::Status => "bad status",
            Kind::Other => "other",
        }
    }
}

/// A load that is being applied.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    traffic: Traffic,
    stop: AtomicBool,
    phase: AtomicUsize,
    latency: [Histogram; Phase::ALL.len()],
    failed: [AtomicU64; Kind::ALL.len()],
    first_failure: Mutex<Option<String>>,
}

impl Load {
    /// Starts asking.
    pub(crate) fn start(traffic: Traffic) -> io::Result<Load> {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            phase: AtomicUsize::new(Phase::Quiet as usize),
            latency: Default::default(),
            failed: Default::default(),
            first_failure: Mutex::new(None),
            traffic,
        });
        let mut load = Load { shared, threads: Vec::new() };
        for number in 0..load.shared.traffic.connections {
            let shared = Arc::clone(&load.shared);
            let kept_alive = number < load.shared.traffic.kept_alive;
            load.threads.push(thread::Builder::new().spawn(move || shared.ask_until_stopped(kept_alive))?);
        }
        Ok(load)
    }

    /// Requests that end from here on belong to this phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.phase.store(phase as usize, Ordering::SeqCst);
    }

    /// What has happened so far.
    pub(crate) fn report(&self) -> Report {
        let shared = &self.shared;
        let [quiet, upgrade] = Phase::ALL.map(|phase| shared.latency[phase as usize].summary());
        let failures = Kind::ALL.map(|kind| shared.failed[kind as usize].load(Ordering::Relaxed));
        let first_failure = shared.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report { quiet, upgrade, failures, first_failure }
    }

    /// Lets each connection finish the request it is at, and tells all that has happened.
    pub(crate) fn stop(mut self) -> Report {
        self.halt();
        self.report()
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has told why on standard error; it must not pass for a success.
            if thread.join().is_err() {
                self.shared.count_failure(&io::Error::other("a thread of the load generator panicked"));
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Shared {
    fn ask_until_stopped(&self, kept_alive: bool) {
        let mut kept = None;
        while !self.stop.load(Ordering::Relaxed) {
            let phase = self.phase.load(Ordering::SeqCst);
            let start = Instant::now();
            match ask(&self.traffic, kept_alive, &mut kept, || {}) {
                Ok(latency) if latency <= self.traffic.limit => {
                    let phase = phase.max(self.phase.load(Ordering::SeqCst));
                    self.latency[phase].add(latency);
                    thread::sleep(self.traffic.pause);
                }
                Ok(_) => self.count_failure(&io::ErrorKind::TimedOut.into()),
                Err(error) => {
                    kept = None;
                    self.count_failure(&io::Error::new(
                        error.kind(),
                        format!("{error} after {} ms", start.elapsed().as_millis()),
                    ));
                    thread::sleep(REST_AFTER_FAILURE);
                }
            }
        }
    }

    fn count_failure(&self, error: &io::Error) {
        let kind = Kind::of(error);
        self.failed[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| format!("{}: {error}", kind.name()));
    }
}

/// Sends one request over a connection of its own and waits for the whole answer, `limit` at most for each step.
/// Returns the time from the connect to the last byte of the body.
pub(crate) fn ask_once(address: SocketAddr, path: &str, limit: Duration) -> io::Result<Duration> {
    ask_noting_head(address, path, limit, || {})
}

/// The same for an answer that comes in parts: `begun` is called when its head is here.
pub(crate) fn ask_noting_head(
    address: SocketAddr,
    path: &str,
    limit: Duration,
    begun: impl FnOnce(),
) -> io::Result<Duration> {
    ask(&Traffic { path: path.to_string(), limit, ..Traffic::to(address) }, false, &mut None, begun)
}

fn ask(
    traffic: &Traffic,
    keep: bool,
    kept: &mut Option<BufReader<TcpStream>>,
    begun: impl FnOnce(),
) -> io::Result<Duration> {
    let start = Instant::now();
    let mut reader = match kept.take() {
        Some(reader) => reader,
        None => BufReader::new(connect(traffic)?),
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n\r\n",
        traffic.path, traffic.address
    );
    reader.get_mut().write_all(request.as_bytes())?;
    let may_keep = read_answer(&mut reader, begun)?;
    let latency = start.elapsed();
    if keep && may_keep {
        *kept = Some(reader);
    } else {
        // The server closes first, and keeps the address in TIME_WAIT: a client that closed first would run out of
        // ports within a second. How it closes does not matter any more: the answer is here.
        let _ = io::copy(&mut reader, &mut io::sink());
    }
    Ok(latency)
}

fn connect(traffic: &Traffic) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&traffic.address, traffic.limit)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(traffic.limit))?;
    stream.set_write_timeout(Some(traffic.limit))?;
    Ok(stream)
}

/// Reads one answer to its end, and calls `begun` before its body; `true` if another request may follow it.
fn read_answer(reader: &mut BufReader<TcpStream>, begun: impl FnOnce()) -> io::Result<bool> {
    let mut line = String::new();
    let mut next_line = |reader: &mut BufReader<TcpStream>| {
        line.clear();
        reader.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended before the answer",
            ));
        }
        Ok(line.trim_end().to_ascii_lowercase())
    };
    let status = next_line(reader)?;
    let mut length = None;
    let mut may_keep = true;
    loop {
        let header = next_line(reader)?;
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse::<u64>().ok(),
            Some(("connection", value)) => may_keep = value.trim() != "close",
            Some(_) => {}
            None => break,
        }
    }
    let length = length.ok_or_else(|| io::Error::other("an answer without Content-Length"))?;
    begun();
    if io::copy(&mut reader.take(length), &mut io::sink())? < length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within the answer"));
    }
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, status));
    }
    Ok(may_keep)
}

/// What came of a load. Its display is one line.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Answered requests outside of upgrades.
    pub(crate) quiet: Summary,
    /// Answered requests that saw an upgrade.
    pub(crate) upgrade: Summary,
    failures: [u64; Kind::ALL.len()],
    /// The message of the first failure.
    pub(crate) first_failure: Option<String>,
}

impl Report {
    /// All requests, answered or not.
    pub(crate) fn requests(&self) -> u64 {
        self.quiet.answered + self.upgrade.answered + self.failed()
    }

    /// Those that failed in any way.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} failed", self.requests(), self.failed())?;
        if self.failed() > 0 {
            let kinds = Kind::ALL.iter().filter(|&&kind| self.failures[kind as usize] > 0);
            let counts = kinds.map(|&kind| format!("{} {}", self.failures[kind as usize], kind.name()));
            write!(f, " ({}", counts.collect::<Vec<_>>().join(", "))?;
            if let Some(first) = &self.first_failure {
                write!(f, "; the first one {first}")?;
            }
            f.write_str(")")?;
        }
        write!(f, "; {} before, {} during upgrades", self.quiet, self.upgrade)
    }
}

/// Latencies of one phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// Requests answered in time.
    pub(crate) answered: u64,
    /// Half of them took no longer.
    pub(crate) p50: Duration,
    /// 99 of 100 took no longer.
    pub(crate) p99: Duration,
    /// The slowest.
    pub(crate) max: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, "p50 {:.2} ms p99 {:.2} ms", ms(self.p50), ms(self.p99))
    }
}

/// Counts of latencies in microseconds, in buckets that are exact below 32 and 3 % wide above.
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max_us: AtomicU64,
}

/// Buckets of each doubling, as a power of two.
const FINENESS: u32 = 5;
/// Enough for 2^27 us, more than two minutes; the last bucket takes the rest.
const BUCKETS: usize = 23 << FINENESS;

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], max_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    fn add(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[Self::index(us)].fetch_add(1, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    fn index(us: u64) -> usize {
        let doublings = (u64::BITS - us.leading_zeros()).saturating_sub(FINENESS + 1);
        (((doublings as usize) << FINENESS) + (us >> doublings) as usize).min(BUCKETS - 1)
    }

    /// The largest value of a bucket.
    fn upper_us(index: usize) -> u64 {
        let doublings = (index >> FINENESS).saturating_sub(1);
        (((index - (doublings << FINENESS)) as u64 + 1) << doublings) - 1
    }

    fn summary(&self) -> Summary {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let answered: u64 = counts.iter().sum();
        let max_us = self.max_us.load(Ordering::Relaxed);
        let quantile = |percent: u64| {
            let rank = (answered * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let index = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_micros(index.map_or(0, Self::upper_us).min(max_us))
        };
        Summary { answered, p50: quantile(50), p99: quantile(99), max: Duration::from_micros(max_us) }
    }
}
