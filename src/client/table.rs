//! `status` for people: a head line for the manager and for each group, then one row a worker.

use std::collections::BTreeSet;
use std::fmt;
use std::io::IsTerminal;
use std::time::Duration;

use super::printable;
use crate::duration::Human;
use crate::wire::{
    GenerationStatus, GroupState, GroupStatus, LastExit, ProbeKind, Status, UpgradeStatus, VacantSlot,
    WorkerPhase, WorkerStatus,
};

/// The columns. The last one is there only if a worker says something of itself.
const HEADS: [&str; 9] = ["GROUP", "SLOT", "PID", "GEN", "PHASE", "SINCE", "RESTARTS", "LAST EXIT", "STATUS"];

/// Position of the one that has a colour.
const PHASE: usize = 4;

/// How a group stands: `3/4 ready, 1 draining`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    /// Slots with a ready worker.
    pub(super) ready: u32,
    /// Workers wanted.
    pub(super) target: u32,
    /// Workers on their way out.
    pub(super) draining: u32,
}

impl Tally {
    /// Counts the workers of a group.
    pub(super) fn of(group: &GroupStatus) -> Self {
        let ready: BTreeSet<u32> = group
            .workers
            .iter()
            .filter(|worker| worker.phase == WorkerPhase::Ready)
            .map(|worker| worker.slot)
            .collect();
        let draining = group
            .workers
            .iter()
            .filter(|w| matches!(w.phase, WorkerPhase::Stopping | WorkerPhase::Killed))
            .count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Tally { ready: count(ready.len()), target: group.target, draining: count(draining) }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ready", self.ready, self.target)?;
        if self.draining > 0 { write!(f, ", {} draining", self.draining) } else { Ok(()) }
    }
}

/// Whether standard output takes colours: a terminal that can, and no `NO_COLOR`.
pub(super) fn colour() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stdout().is_terminal() && !forbidden && !dumb
}

/// The whole page.
pub(super) fn status(status: &Status, colour: bool) -> String {
    let mut page = heads(status, colour);
    let rows: Vec<(Option<WorkerPhase>, [String; 9])> = status
        .groups
        .iter()
        .flat_map(|group| {
            let workers = group.workers.iter().map(|worker| (Some(worker.phase), cells(&group.name, worker)));
            workers.chain(group.vacant.iter().map(|slot| (None, vacant_cells(&group.name, slot))))
        })
        .collect();
    if rows.is_empty() {
        return page;
    }
    let columns = if rows.iter().any(|(_, cells)| !cells[8].is_empty()) { 9 } else { 8 };
    let width = |column: usize| {
        let longest = rows.iter().map(|(_, cells)| cells[column].chars().count()).max();
        longest.unwrap_or(0).max(HEADS[column].len())
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    page.push('\n');
    write_row(&mut page, &HEADS.map(str::to_owned), &widths, None);
    for (phase, cells) in &rows {
        write_row(&mut page, cells, &widths, phase.and_then(|phase| paint(colour, phase_colour(phase))));
    }
    let told: Vec<String> = status.groups.iter().flat_map(past).collect();
    if !told.is_empty() {
        page.push('\n');
        page.extend(told);
    }
    page
}

/// A line for each generation of a group, where there are several, and for each upgrade that it remembers.
fn past(group: &GroupStatus) -> Vec<String> {
    let name = printable(&group.name);
    let several = group.generations.len() > 1;
    let generation = |of: &GenerationStatus| {
        let mut line =
            format!("{name}: generation {}, {}, for {}", of.generation, of.role.name(), span(of.since_ms));
        for (count, what) in [(of.ready, "ready"), (of.starting, "starting")] {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        if let Some(draining) = of.draining_ms {
            line.push_str(&format!(", {} draining for {}", of.draining, span(draining)));
        }
        line + "\n"
    };
    let upgrade = |of: &UpgradeStatus| {
        let UpgradeStatus { from, to, result, message, ago_ms, took_ms } = of;
        let (ago, took, message) = (span(*ago_ms), span(*took_ms), printable(message));
        format!("{name}: upgrade {from} -> {to}, {ago} ago, in {took}: {}: {message}\n", result.name())
    };
    let generations = group.generations.iter().filter(|_| several).map(generation);
    generations.chain(group.upgrades.iter().map(upgrade)).collect()
}

/// `remuda web, pid 4711, up 3 m 2 s`, and below it a line for each group.
pub(super) fn heads(status: &Status, colour: bool) -> String {
    let mut page =
        format!("remuda {}, pid {}, up {}\n", printable(&status.name), status.pid, span(status.uptime_ms));
    match status.drain_ms {
        None => {}
        Some(0) => page.push_str("drained: not ready, serving on until a stop is asked for\n"),
        Some(left) => page.push_str(&format!("draining: not ready, serving on, {} left\n", span(left))),
    }
    match status.strangers {
        0 => {}
        1 => page.push_str("reaped 1 process that was no worker\n"),
        count => page.push_str(&format!("reaped {count} processes that were no workers\n")),
    }
    for group in &status.groups {
        let (on, off) = match paint(colour, state_colour(group.state)) {
            Some(on) => (on, OFF),
            None => ("", ""),
        };
        let state = group.state.name();
        page.push_str(&format!("{}: {on}{state}{off}, {}", printable(&group.name), Tally::of(group)));
        page.push_str(&format!(", generation {}", group.generation));
        if group.target == 0 && group.state == GroupState::Up {
            page.push_str(", no workers are wanted: connections wait");
        }
        for socket in &group.sockets {
            page.push_str(", ");
            page.push_str(&printable(&socket.address));
        }
        if let Some(next) = group.next_attempt_ms {
            page.push_str(&format!(", next attempt in {}", span(next)));
        }
        if group.dropped_bytes > 0 {
            page.push_str(&format!(", {} bytes of output dropped", group.dropped_bytes));
        }
        match group.fd_store {
            0 => {}
            1 => page.push_str(", 1 descriptor kept"),
            count => page.push_str(&format!(", {count} descriptors kept")),
        }
        page.push('\n');
    }
    page
}

fn vacant_cells(group: &str, vacant: &VacantSlot) -> [String; 9] {
    let nothing = || "-".to_owned();
    [
        printable(group),
        vacant.slot.to_string(),
        nothing(),
        nothing(),
        "vacant".to_owned(),
        nothing(),
        vacant.restarts.to_string(),
        ended(vacant.last_exit.as_ref()),
        String::new(),
    ]
}

fn ended(exit: Option<&LastExit>) -> String {
    exit.map_or_else(|| "-".to_owned(), |exit| printable(&exit.to_string()))
}

fn cells(group: &str, worker: &WorkerStatus) -> [String; 9] {
    [
        printable(group),
        worker.slot.to_string(),
        if worker.pid == 0 { "-".to_owned() } else { worker.pid.to_string() },
        worker.generation.to_string(),
        worker.phase.name().to_owned(),
        span(worker.since_ms),
        worker.restarts.to_string(),
        ended(worker.last_exit.as_ref()),
        said(worker),
    ]
}

/// What a worker says of itself, and what was found by looking at it.
fn said(worker: &WorkerStatus) -> String {
    let main = worker.main_pid.map(|pid| format!("main pid {pid}"));
    let found = worker.probe.as_ref().map(|probe| match probe.kind {
        ProbeKind::Ready => format!("probe: {}", printable(&probe.message)),
        ProbeKind::Live => format!("live check: {}", printable(&probe.message)),
    });
    let said = worker.status.as_deref().map(printable);
    said.into_iter().chain(main).chain(found).collect::<Vec<String>>().join(", ")
}

/// Numbers stand to the right, words to the left, nothing after the last cell.
fn write_row(page: &mut String, cells: &[String; 9], widths: &[usize], on: Option<&str>) {
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        let last = column + 1 == widths.len();
        let padding = " ".repeat(width - cell.chars().count());
        match (column, on) {
            (1 | 2 | 3 | 6, _) => *page += &format!("{padding}{cell}"),
            (PHASE, Some(on)) => *page += &format!("{on}{cell}{OFF}{padding}"),
            _ if last => *page += cell,
            _ => *page += &format!("{cell}{padding}"),
        }
        page.push_str(if last { "\n" } else { "  " });
    }
}

/// A time for a table: milliseconds only below a second.
pub(super) fn span(milliseconds: u64) -> String {
    let whole = if milliseconds < 1000 { milliseconds } else { milliseconds - milliseconds % 1000 };
    Human(Duration::from_millis(whole)).to_string()
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const OFF: &str = "\x1b[0m";

fn paint(colour: bool, with: Option<&'static str>) -> Option<&'static str> {
    with.filter(|_| colour)
}

fn state_colour(state: GroupState) -> Option<&'static str> {
    match state {
        GroupState::Up => Some(GREEN),
        GroupState::Starting | GroupState::Upgrading | GroupState::Stopping => Some(YELLOW),
        GroupState::Failing => Some(RED),
        GroupState::Stopped | GroupState::Waiting => None,
    }
}

fn phase_colour(phase: WorkerPhase) -> Option<&'static str> {
    match phase {
        WorkerPhase::Ready => Some(GREEN),
        WorkerPhase::Starting | WorkerPhase::Stopping => Some(YELLOW),
        WorkerPhase::Killed => Some(RED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ask::parse_status;

    const UPGRADING: &str = r#"{"version":1,"pid":4711,"name":"web","uptime_ms":182999,"groups":[
        {"name":"web","target":2,"generation":2,"state":"upgrading",
         "sockets":[{"name":"http","address":"127.0.0.1:8080"},{"name":"adm","address":"unix:/run/\u001b.sock"}],
         "workers":[
          {"slot":0,"index":2,"pid":4720,"generation":2,"phase":"ready","since_ms":1200,"restarts":0,"last_exit":null},
          {"slot":0,"index":0,"pid":4712,"generation":1,"phase":"stopping","since_ms":12,"restarts":0,"last_exit":null},
          {"slot":1,"index":1,"pid":14713,"generation":1,"phase":"ready","since_ms":3700000,"restarts":12,
           "last_exit":{"signal":"SEGV"}}]},
        {"name":"jobs","target":1,"generation":1,"state":"stopped","sockets":[],"workers":[],"dropped_bytes":70}]}"#;

    #[test]
    fn the_page_is_aligned_and_has_no_control_characters() {
        let page = status(&parse_status(UPGRADING).expect("a status"), false);
        assert_eq!(
            page,
            "remuda web, pid 4711, up 3 m 2 s\n\
             web: upgrading, 2/2 ready, 1 draining, generation 2, 127.0.0.1:8080, unix:/run/\\u{1b}.sock\n\
             jobs: stopped, 0/1 ready, generation 1, 70 bytes of output dropped\n\
             \n\
             GROUP  SLOT    PID  GEN  PHASE     SINCE    RESTARTS  LAST EXIT\n\
             web       0   4720    2  ready     1 s             0  -\n\
             web       0   4712    1  stopping  12 ms           0  -\n\
             web       1  14713    1  ready     1 h 1 m        12  killed by signal SEGV\n"
        );
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let parsed = parse_status(UPGRADING).expect("a status");
        let mut page = status(&parsed, true);
        assert!(
            page.contains("\x1b[33mupgrading\x1b[0m") && page.contains("\x1b[32mready\x1b[0m     1 s"),
            "{page}"
        );
        for code in [GREEN, YELLOW, RED, OFF] {
            page = page.replace(code, "");
        }
        assert_eq!(page, status(&parsed, false));
    }
}
