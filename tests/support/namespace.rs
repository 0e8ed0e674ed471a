//! Programs in namespaces of their own, where that is permitted.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use super::process::all;
use super::{LIMIT, skip};

/// How unshare(1) is called: as root, or with a user namespace that lets us be it.
const WAYS: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];

/// A command to which the words of a program are still to be added, which is then PID 1 of a PID namespace with its own
/// `/proc`, and is killed with the command. Says why if there can be none.
pub(crate) fn pid_namespace() -> Option<Command> {
    static WAY: OnceLock<Option<&[&str]>> = OnceLock::new();
    let command = |way: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(way).args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command
    };
    let works = |way: &&&[&str]| {
        let mut command = command(way);
        command.arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let way = WAY.get_or_init(|| WAYS.iter().find(works).copied());
    if way.is_none() {
        skip("no PID namespace may be made");
    }
    way.map(command)
}

/// The process that runs in the namespace of a command made by [`pid_namespace`], or the process itself if it is none.
pub(crate) fn process_in(command: i32) -> i32 {
    if fs::read_to_string(format!("/proc/{command}/comm")).unwrap().trim() != "unshare" {
        return command;
    }
    let child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(command)
    };
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(pid) = all().into_iter().find(child) {
            return pid;
        }
        assert!(Instant::now() < deadline, "unshare starts nothing");
    }
}
