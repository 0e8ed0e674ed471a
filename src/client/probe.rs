//! Whether a manager wants to be asked, for the readiness probe of a container: what a status comes to.

use std::time::Duration;

use super::table::Tally;
use crate::duration::Human;
use crate::wire::{GroupState, GroupStatus, Status};

/// One line that says why it is ready, or why not. With `all`, a group needs as many ready workers as it wants; else one.
pub(super) fn readiness(status: &Status, all: bool) -> Result<String, String> {
    match status.drain_ms {
        None => {}
        Some(0) => return Err("not ready: drained".to_owned()),
        Some(left) => {
            return Err(format!("not ready: draining, {} left", Human(Duration::from_millis(left))));
        }
    }
    let counting: Vec<&GroupStatus> = status.groups.iter().filter(|group| !is_out(group)).collect();
    if counting.is_empty() {
        let stopping = status.groups.iter().any(|group| group.state == GroupState::Stopping);
        let why = if stopping { "stopping" } else { "every group is stopped" };
        return Err(format!("not ready: {why}"));
    }
    let lacking = |group: &&&GroupStatus| {
        let tally = Tally::of(group);
        let least = if all { tally.target } else { tally.target.min(1) };
        group.state != GroupState::Waiting && tally.ready < least
    };
    match counting.iter().find(lacking) {
        Some(group) => Err(format!("not ready: {}", standing(group))),
        None => {
            let standings: Vec<String> = counting.iter().map(|group| standing(group)).collect();
            Ok(format!("ready: {}", standings.join("; ")))
        }
    }
}

/// Somebody has stopped it, or it has done what it was for.
fn is_out(group: &GroupStatus) -> bool {
    matches!(group.state, GroupState::Stopping | GroupState::Stopped)
}

fn standing(group: &GroupStatus) -> String {
    format!("{} {}, {}", group.name, group.state.name(), Tally::of(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(groups: &str, drain: &str) -> Status {
        let text =
            format!(r#"{{"version":1,"pid":7,"name":"site","uptime_ms":1{drain},"groups":[{groups}]}}"#);
        serde_json::from_str(&text).expect("a status")
    }

    fn group(name: &str, state: &str, target: u32, ready: u32) -> String {
        let worker = |slot: u32| {
            format!(
                r#"{{"slot":{slot},"index":{slot},"pid":{},"generation":1,"phase":"ready","since_ms":1,"restarts":0,"last_exit":null}}"#,
                100 + slot
            )
        };
        let workers: Vec<String> = (0..ready).map(worker).collect();
        let workers = workers.join(",");
        format!(
            r#"{{"name":"{name}","target":{target},"generation":1,"state":"{state}","sockets":[],"workers":[{workers}]}}"#
        )
    }

    #[test]
    fn one_worker_of_each_group_is_enough_unless_all_are_wanted() {
        let two = [group("web", "up", 2, 2), group("api", "starting", 4, 1)].join(",");
        let two = status(&two, "");
        assert_eq!(readiness(&two, false).unwrap(), "ready: web up, 2/2 ready; api starting, 1/4 ready");
        assert_eq!(readiness(&two, true).unwrap_err(), "not ready: api starting, 1/4 ready");
        let none = status(&group("web", "failing", 2, 0), "");
        assert_eq!(readiness(&none, false).unwrap_err(), "not ready: web failing, 0/2 ready");
    }

    #[test]
    fn what_waits_for_its_first_connection_is_ready_and_what_is_stopped_does_not_count() {
        let lazy = group("web", "waiting", 2, 0);
        assert!(readiness(&status(&lazy, ""), true).is_ok());
        let beside = [lazy, group("migrate", "stopped", 1, 0)].join(",");
        assert!(readiness(&status(&beside, ""), true).is_ok());
        let over = status(&group("migrate", "stopped", 1, 0), "");
        assert_eq!(readiness(&over, false).unwrap_err(), "not ready: every group is stopped");
        let ending = [group("web", "stopping", 1, 1), group("api", "stopped", 1, 0)].join(",");
        assert_eq!(readiness(&status(&ending, ""), false).unwrap_err(), "not ready: stopping");
    }

    #[test]
    fn what_drains_is_not_ready_whatever_its_workers_are() {
        let web = group("web", "up", 1, 1);
        let draining = status(&web, r#","drain_ms":1500"#);
        assert_eq!(readiness(&draining, false).unwrap_err(), "not ready: draining, 1.5 s left");
        assert_eq!(readiness(&status(&web, r#","drain_ms":0"#), false).unwrap_err(), "not ready: drained");
    }
}
