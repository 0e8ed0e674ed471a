//! What remuda costs, beside the least that such a program can cost: `make bench`.
//!
//! Every time is taken in pairs, remuda and a loop in C that does nothing but fork, exec, kill and wait, one right after
//! the other, so that a busy machine slows down both. A worker notes the moment of its first instruction by itself.
//! What stands in the table is the median, with the least and the greatest behind it; a ratio is the median of those of
//! the pairs. The exit status is 1 if a figure is worse than what is accepted.
//!
//! `BENCH_ROUNDS` sets the number of pairs. `cargo bench --bench manager -- start memory` takes some measures only:
//! start, deaths, death, capture, memory, idle, size.
//!
//! On a machine that has other work to do, `nice -n -15 make bench` as root keeps the others from taking the processor
//! at the moment of a wake-up.

use std::env;
use std::fs;
use std::io;
use std::process::ExitCode;

#[path = "../examples/support/manager.rs"]
#[allow(dead_code, reason = "each of those that share it uses a part")]
mod manager;
mod measures;
mod stage;

use measures::{Memory, Pairs};
use stage::Stage;

/// Pairs, if `BENCH_ROUNDS` does not say otherwise.
const ROUNDS: usize = 11;
/// Managers started for each memory figure.
const MEMORY_ROUNDS: usize = 3;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<bool> {
    manager::catch_interrupts()?;
    let rounds = match env::var("BENCH_ROUNDS") {
        Ok(text) => {
            text.parse().map_err(|_| io::Error::other(format!("BENCH_ROUNDS={text}: not a number")))?
        }
        Err(_) => ROUNDS,
    };
    let stage = Stage::set_up()?;
    let mut table = Table::default();
    println!("load average before: {}", load_average()?);

    let chosen: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    for (name, measure) in MEASURES {
        if chosen.is_empty() || chosen.iter().any(|choice| choice == name) {
            measure(&stage, rounds, &mut table)?;
        }
    }
    println!("load average after: {}\n", load_average()?);
    table.print();
    Ok(!table.missed)
}

type Measure = fn(&Stage, usize, &mut Table) -> io::Result<()>;

const MEASURES: [(&str, Measure); 7] = [
    ("start", start),
    ("deaths", deaths),
    ("death", death),
    ("capture", capture),
    ("memory", memory),
    ("idle", idle),
    ("size", size),
];

fn start(stage: &Stage, rounds: usize, table: &mut Table) -> io::Result<()> {
    println!("starting 100 workers, {rounds} pairs for each kind of loop");
    let beside_fork = measures::start_of_many(stage, rounds, "fork")?;
    table.ratio("100 workers up, ms", &beside_fork, Wanted::ratio(1.3, 1.6));
    let beside_vfork = measures::start_of_many(stage, rounds, "vfork")?;
    table.ratio("  beside vfork", &beside_vfork, Wanted::nothing());
    Ok(())
}

fn deaths(stage: &Stage, rounds: usize, table: &mut Table) -> io::Result<()> {
    println!("killing 100 workers at once, {rounds} pairs for each kind of loop");
    let [fork, kill_fork, kill_vfork] = measures::death_of_many(stage, rounds)?;
    table.ratio("100 killed at once, 100 back, ms", &fork, Wanted::ratio(1.3, 1.6));
    table.ratio("  beside kill, wait, fork, exec", &kill_fork, Wanted::nothing());
    table.ratio("  beside kill, wait, vfork, exec", &kill_vfork, Wanted::nothing());
    Ok(())
}

fn death(stage: &Stage, rounds: usize, table: &mut Table) -> io::Result<()> {
    println!("killing 10 workers one by one, {rounds} pairs for each kind of loop");
    let beside_fork = measures::death_of_one(stage, rounds, "fork")?;
    table.ratio(
        "one killed, one back, ms",
        &beside_fork,
        Wanted { goal: Some(1.0), accepted: None, by_ratio: false },
    );
    table.ratio(
        "  the best peer is 4.8x",
        &beside_fork,
        Wanted { goal: Some(4.8), accepted: None, by_ratio: true },
    );
    let beside_vfork = measures::death_of_one(stage, rounds, "vfork")?;
    table.ratio("  beside kill, wait, vfork, exec", &beside_vfork, Wanted::nothing());
    Ok(())
}

fn capture(stage: &Stage, rounds: usize, table: &mut Table) -> io::Result<()> {
    println!("capturing the output of a worker, {rounds} pairs");
    let [time, processor] = measures::capture(stage, rounds)?;
    // 0.9 of the floor's throughput.
    table.ratio("256 MB from a worker to a file, ms", &time, Wanted::ratio(1.11, 1.11));
    table.ratio("  processor ms for 100 MB", &processor, Wanted::nothing());
    Ok(())
}

fn memory(stage: &Stage, _rounds: usize, table: &mut Table) -> io::Result<()> {
    println!("memory with 10, 100 and 300 workers");
    let mut dirty = Vec::new();
    for workers in [10, 100, 300] {
        let mut untouched = Vec::new();
        let mut asked = Vec::new();
        for _ in 0..MEMORY_ROUNDS {
            let (before, after) = measures::memory(stage, workers)?;
            untouched.push(before);
            asked.push(after);
        }
        let values = |of: &[Memory], field: fn(&Memory) -> f64| of.iter().map(field).collect::<Vec<_>>();
        let wanted = if workers == 100 { Wanted::value(500.0) } else { Wanted::nothing() };
        let private = values(&untouched, |memory| memory.private_dirty);
        dirty.push(median(&private));
        table.value(&format!("private dirty kB, {workers} workers"), &private, wanted);
        table.value("  after telling its status", &values(&asked, |memory| memory.private_dirty), wanted);
        table.value(
            "  private clean kB",
            &values(&untouched, |memory| memory.private_clean),
            Wanted::nothing(),
        );
        table.value("  resident kB", &values(&untouched, |memory| memory.rss), Wanted::nothing());
    }
    table.value(
        "private dirty kB a worker, 100 to 300",
        &[(dirty[2] - dirty[1]) / 200.0],
        Wanted::value(1.0),
    );
    Ok(())
}

fn idle(stage: &Stage, _rounds: usize, table: &mut Table) -> io::Result<()> {
    println!("20 s of idling with 100 workers");
    let idle = measures::idle(stage)?;
    table.value("idle: voluntary context switches in 10 s", &[idle.switches], Wanted::value(0.0));
    match idle.calls {
        Ok(calls) => table.value("idle: system calls in 10 s", &[calls], Wanted::value(0.0)),
        Err(why) => println!("skipped: system calls of an idle manager: {why}"),
    }
    Ok(())
}

fn size(_stage: &Stage, _rounds: usize, table: &mut Table) -> io::Result<()> {
    let bytes = fs::metadata(manager::built_beside("remuda")?)?.len();
    table.value("stripped release binary, kB", &[bytes as f64 / 1024.0], Wanted::nothing());
    Ok(())
}

fn load_average() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// What a figure should be: at most.
#[derive(Clone, Copy)]
struct Wanted {
    goal: Option<f64>,
    accepted: Option<f64>,
    /// The ratio to the floor is meant, not the figure itself.
    by_ratio: bool,
}

impl Wanted {
    fn nothing() -> Self {
        Wanted { goal: None, accepted: None, by_ratio: false }
    }

    fn value(goal: f64) -> Self {
        Wanted { goal: Some(goal), accepted: Some(goal), by_ratio: false }
    }

    fn ratio(goal: f64, accepted: f64) -> Self {
        Wanted { goal: Some(goal), accepted: Some(accepted), by_ratio: true }
    }

    fn verdict(&self, figure: f64) -> &'static str {
        match (self.goal, self.accepted) {
            (Some(goal), _) if figure <= goal => "met",
            (_, Some(accepted)) if figure <= accepted => "accepted",
            (None, None) => "",
            _ => "missed",
        }
    }
}

/// All results, printed at the end.
#[derive(Default)]
struct Table {
    rows: Vec<[String; 7]>,
    missed: bool,
}

impl Table {
    fn ratio(&mut self, what: &str, pairs: &Pairs, wanted: Wanted) {
        // Of each pair, since what slows down both for a while does not change their ratio.
        let ratios = pairs.remuda.iter().zip(&pairs.floor).map(|(remuda, floor)| remuda / floor);
        let ratio = median(&ratios.collect::<Vec<_>>());
        let figure = if wanted.by_ratio { ratio } else { median(&pairs.remuda) };
        self.row(what, spread(&pairs.floor), spread(&pairs.remuda), format!("{ratio:.2}x"), wanted, figure);
    }

    fn value(&mut self, what: &str, values: &[f64], wanted: Wanted) {
        self.row(what, String::new(), spread(values), String::new(), wanted, median(values));
    }

    fn row(&mut self, what: &str, floor: String, remuda: String, ratio: String, wanted: Wanted, figure: f64) {
        let unit = if wanted.by_ratio { "x" } else { "" };
        let limit = |limit: Option<f64>| limit.map_or(String::new(), |limit| format!("{limit}{unit}"));
        let verdict = wanted.verdict(figure);
        self.missed |= verdict == "missed" && wanted.accepted.is_some();
        let cells = [what, &floor, &remuda, &ratio, &limit(wanted.goal), &limit(wanted.accepted), verdict];
        self.rows.push(cells.map(str::to_string));
    }

    fn print(&self) {
        let head = ["median (least-greatest)", "floor", "remuda", "ratio", "goal", "accepted", ""]
            .map(str::to_string);
        let rows = || std::iter::once(&head).chain(&self.rows);
        let widths: [usize; 7] =
            std::array::from_fn(|column| rows().map(|row| row[column].chars().count()).max().unwrap_or(0));
        for row in rows() {
            let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

/// `median (least-greatest)`, or the one value there is.
fn spread(values: &[f64]) -> String {
    let number = |value: f64| match value {
        value if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match values.len() {
        1 => number(values[0]),
        _ => format!("{} ({}-{})", number(median(values)), number(least), number(greatest)),
    }
}
