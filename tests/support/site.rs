//! A manager that runs a file of groups, and how each of them stands.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Manager, REMUDA, Setup, pid_of, setup};

/// Writes the file of groups. `WORKER` in it stands for the keys that make a group run the worker, `DIR` for the
/// directory.
pub(crate) fn write(setup: &Setup, text: &str) {
    write_in(&setup.path(""), text);
}

/// The same for a manager that runs already.
pub(crate) fn rewrite(manager: &Manager, text: &str) {
    write_in(&manager.path(""), text);
}

fn write_in(directory: &Path, text: &str) {
    let worker = "exec_start = ['DIR/program', '--exact', 'worker_entry', '--nocapture', '--test-threads=1']\n\
        env_files = ['DIR/env']\nack = 'none'\n";
    let name = directory.to_str().expect("a path in ASCII").trim_end_matches('/');
    fs::write(directory.join("site.toml"), text.replace("WORKER", worker).replace("DIR", name)).unwrap();
}

/// `remuda run -c` with the file of this setup.
pub(crate) fn run(setup: &Setup) -> Command {
    let mut command = Command::new(REMUDA);
    command.args(["run", "-c"]).arg(setup.path("site.toml"));
    command.arg("--control").arg(setup.path("c.sock"));
    command
}

/// Starts the manager of a file and waits until all its groups are up.
pub(crate) fn start(script: &str, text: &str) -> Manager {
    start_with(script, text, &[])
}

/// The same with more options.
pub(crate) fn start_with(script: &str, text: &str, options: &[&str]) -> Manager {
    let setup = setup(script);
    write(&setup, text);
    let mut command = run(&setup);
    command.args(options);
    let manager = setup.start_as(command);
    up(&manager);
    manager
}

pub(crate) fn groups(manager: &Manager) -> Vec<Value> {
    manager.status()["groups"].as_array().expect("a list of groups").clone()
}

/// Waits until every group is up.
pub(crate) fn up(manager: &Manager) {
    let mut events = manager.events();
    while !groups(manager).iter().all(|group| group["state"] == "up") {
        assert!(events.next().is_some(), "the manager ended");
    }
}

/// Name, state, generation and pids of the ready workers of each group.
pub(crate) fn table(manager: &Manager) -> Vec<(String, String, u64, Vec<i32>)> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    groups(manager)
        .iter()
        .map(|group| {
            let workers = group["workers"].as_array().expect("a list of workers").iter();
            let mut pids: Vec<i32> =
                workers.filter(|worker| worker["phase"] == "ready").map(pid_of).collect();
            pids.sort_unstable();
            let generation = group["generation"].as_u64().expect("a number");
            (text(&group["name"]), text(&group["state"]), generation, pids)
        })
        .collect()
}
