//! `why` for people: of each slot what it waits for and what went wrong there, then the same of its group.

use super::printable;
use super::table::{Tally, span};
use crate::wire::{
    ExitDetail, FailureStatus, GroupState, GroupStatus, LastExit, ProbeKind, ProbeStatus, Status,
    WorkerPhase, WorkerStatus,
};

/// The page, of one slot if there is a number; nothing if no group has that slot.
pub(super) fn page(status: &Status, slot: Option<u32>) -> Option<String> {
    let meant = |number: u32| slot.is_none_or(|slot| slot == number);
    let mut page = String::new();
    let mut found = slot.is_none();
    for group in &status.groups {
        for line in of_group(group) {
            page += &format!("{}: {line}\n", printable(&group.name));
        }
        for worker in group.workers.iter().filter(|worker| meant(worker.slot)) {
            found = true;
            let exit = (worker.last_exit.as_ref(), worker.last_exit_detail);
            let past = past(worker.restarts, exit, worker.last_failure.as_ref());
            page += &line(group, worker.slot, &(of_worker(worker) + &past));
            page += &words(worker.last_failure.as_ref());
        }
        for vacant in group.vacant.iter().filter(|vacant| meant(vacant.slot)) {
            found = true;
            let next = match group.next_attempt_ms {
                Some(next) => format!("no worker; the next attempt is in {}", span(next)),
                None => "no worker, and none is due".to_owned(),
            };
            let exit = (vacant.last_exit.as_ref(), vacant.last_exit_detail);
            let past = past(vacant.restarts, exit, vacant.last_failure.as_ref());
            page += &line(group, vacant.slot, &(next + &past));
            page += &words(vacant.last_failure.as_ref());
        }
    }
    found.then_some(page)
}

fn line(group: &GroupStatus, slot: u32, sentence: &str) -> String {
    format!("{}[{slot}]: {sentence}\n", printable(&group.name))
}

/// What the group as a whole is about.
fn of_group(group: &GroupStatus) -> Vec<String> {
    let mut lines =
        vec![format!("{}, {}, generation {}", group.state.name(), Tally::of(group), group.generation)];
    if group.failures > 0 {
        lines.push(format!("{} failures in a row", group.failures));
    }
    if let Some(left) = group.canary_ms {
        lines.push(format!("the canary is ready and has to stay so for {} more", span(left)));
    }
    if let Some(left) = group.upgrade_left_ms {
        lines.push(format!("the upgrade has {} left", span(left)));
    }
    let leaving: Vec<String> = group
        .workers
        .iter()
        .filter(|worker| matches!(worker.phase, WorkerPhase::Stopping | WorkerPhase::Killed))
        .map(|worker| format!("pid {}", worker.pid))
        .collect();
    if group.state == GroupState::Stopping && !leaving.is_empty() {
        lines.push(format!("the stop waits for {}", leaving.join(", ")));
    }
    if let Some(last) = group.upgrades.last() {
        let (name, message, ago) = (last.result.name(), printable(&last.message), span(last.ago_ms));
        lines.push(format!("last upgrade, {} -> {}, {ago} ago: {name}: {message}", last.from, last.to));
    }
    lines
}

fn of_worker(worker: &WorkerStatus) -> String {
    let until = worker.until_ms.map(span).unwrap_or_default();
    let since = span(worker.since_ms);
    let place = format!("pid {} gen {}: ", worker.pid, worker.generation);
    place
        + &match worker.phase {
            WorkerPhase::Starting => format!("not ready yet, after {since}; has {until} left"),
            WorkerPhase::Ready => format!("ready for {since}"),
            WorkerPhase::Stopping => format!("was asked to go {since} ago; has {until} left"),
            WorkerPhase::Killed => format!("was sent KILL {since} ago and is not gone"),
        }
        + &worker.probe.as_ref().map(probe).unwrap_or_default()
}

/// How the last probe of a worker was in vain.
fn probe(probe: &ProbeStatus) -> String {
    let (what, message) = (probe_name(probe.kind), printable(&probe.message));
    match probe.count {
        1 => format!("; the last {what}, {} ago: {message}", span(probe.ago_ms)),
        count => format!("; the last of {count} {what}s in vain, {} ago: {message}", span(probe.ago_ms)),
    }
}

/// What a probe is called.
fn probe_name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Ready => "probe",
        ProbeKind::Live => "live check",
    }
}

/// What happened in a slot before.
fn past(
    restarts: u32,
    (exit, detail): (Option<&LastExit>, Option<ExitDetail>),
    failure: Option<&FailureStatus>,
) -> String {
    let mut past = String::new();
    if restarts > 0 {
        past += &format!("; restarts: {restarts}");
    }
    if let Some(exit) = exit {
        past += &format!("; last exit: {}", printable(&exit.to_string()));
        past += &detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    }
    if let Some(FailureStatus { message, generation, pid, ago_ms, .. }) = failure {
        let (message, ago) = (printable(message), span(*ago_ms));
        past += &format!("; last failure, {ago} ago, pid {pid} gen {generation}: {message}");
    }
    past
}

/// What whoever failed wrote last, below it.
fn words(failure: Option<&FailureStatus>) -> String {
    let lines = failure.into_iter().flat_map(|failure| &failure.stderr);
    lines.map(|line| format!("    | {}\n", printable(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ask::parse_status;

    const FAILING: &str = r#"{"version":1,"pid":4711,"name":"web","uptime_ms":182999,"groups":[
        {"name":"web","target":3,"generation":2,"state":"upgrading","sockets":[],"failures":2,"canary_ms":4000,
         "upgrade_left_ms":9000,"next_attempt_ms":1500,
         "upgrades":[{"from":1,"to":2,"result":"done","message":"generation 2 is up","ago_ms":60000,"took_ms":5}],
         "workers":[
          {"slot":0,"index":2,"pid":4720,"generation":2,"phase":"starting","since_ms":1200,"restarts":0,
           "last_exit":null,"until_ms":3000,"probe":{"kind":"ready","message":"answered 503","count":4,"ago_ms":20}},
          {"slot":1,"index":1,"pid":4713,"generation":1,"phase":"stopping","since_ms":2000,"restarts":2,
           "last_exit":{"code":1},"until_ms":8000,
           "last_failure":{"message":"died: exit code 1 after 20 ms","generation":1,"pid":12,"ago_ms":7000,
            "stderr":["no such key:","\u001b[2J"]}}],
         "vacant":[{"slot":2,"restarts":0,"last_exit":{"signal":"KILL"},"last_exit_detail":"out-of-memory"}]}]}"#;

    #[test]
    fn each_slot_says_what_it_waits_for_and_what_went_wrong() {
        let status = parse_status(FAILING).expect("a status");
        assert_eq!(
            page(&status, None).expect("a page"),
            "web: upgrading, 0/3 ready, 1 draining, generation 2\n\
             web: 2 failures in a row\n\
             web: the canary is ready and has to stay so for 4 s more\n\
             web: the upgrade has 9 s left\n\
             web: last upgrade, 1 -> 2, 1 m ago: done: generation 2 is up\n\
             web[0]: pid 4720 gen 2: not ready yet, after 1 s; has 3 s left; the last of 4 probes in vain, 20 ms ago: \
             answered 503\n\
             web[1]: pid 4713 gen 1: was asked to go 2 s ago; has 8 s left; restarts: 2; last exit: exit code 1; \
             last failure, 7 s ago, pid 12 gen 1: died: exit code 1 after 20 ms\n    \
             | no such key:\n    | \\u{1b}[2J\n\
             web[2]: no worker; the next attempt is in 1 s; last exit: killed by signal KILL (out of memory)\n"
        );
        let one = page(&status, Some(2)).expect("a page");
        assert!(one.contains("web[2]") && !one.contains("web[1]"), "{one}");
        assert_eq!(page(&status, Some(3)), None);
    }
}
