//! A stand-in for the system's log, and what its lines are without what differs from run to run.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use super::REMUDA;
use super::process::{self, Output};

/// Runs remuda where `log` is the system's log, in a mount namespace of its own.
pub(crate) fn run(log: &Path, flags: &[&str]) -> Option<Output> {
    if !super::root() || !super::tool("unshare") {
        return None;
    }
    let output = process::run(&mut command(log, flags));
    if output.stderr.contains("unshare:") || output.stderr.contains("mount:") {
        super::skip("no mount namespace can be had");
        return None;
    }
    Some(output)
}

/// The same as a command that is still to be started, where [`run`] has shown that there can be one.
pub(crate) fn command(log: &Path, flags: &[&str]) -> Command {
    let script = "set -e; log=$1; shift
        if [ -e /dev/log ]; then mount --bind \"$log\" /dev/log
        else mount -t tmpfs none /run; : >/run/log; mount --bind \"$log\" /run/log; fi
        exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(log).arg(REMUDA).args(flags);
    command
}

/// Sends lines to the listener until it has no room for another.
pub(crate) fn fill(log: &Path) {
    loop {
        // Each sender has a limit of its own, which is not that of the listener.
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        sender.connect(log).unwrap();
        if sender.send(b"<30>filler").is_err() {
            return;
        }
        while sender.send(b"<30>filler").is_ok() {}
    }
}

/// How many lines this one says are missing, if it is about that.
pub(crate) fn missing(line: &str) -> Option<usize> {
    let head = line.strip_suffix(" could not be written")?;
    let head = head.strip_suffix(" log lines").or_else(|| head.strip_suffix(" log line"))?;
    head.rsplit(' ').next()?.parse().ok()
}

/// What has arrived at the listener so far.
pub(crate) fn datagrams(keeper: &UnixDatagram) -> Vec<String> {
    keeper.set_nonblocking(true).unwrap();
    let mut bytes = vec![0; 100_000];
    std::iter::from_fn(|| {
        let count = keeper.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    })
    .collect()
}

/// A datagram without time and pid: `<6> socketmaster: text`.
pub(crate) fn bare(datagram: &str) -> String {
    let (priority, rest) = datagram.split_once('>').unwrap();
    let (time, rest) = rest.split_at("Nov 21 07:34:04 ".len());
    assert!(time.ends_with(' ') && time.as_bytes()[9] == b':', "{datagram}");
    let (name, rest) = rest.split_once('[').unwrap();
    let (pid, text) = rest.split_once("]: ").unwrap();
    assert!(pid.parse::<u32>().is_ok());
    format!("{priority}> {name}: {}", anonymous(text))
}

/// A sentence in which each number of a process is `PID`.
pub(crate) fn anonymous(sentence: &str) -> String {
    let word = |word: &str| {
        let inner = word.trim_start_matches('[').trim_end_matches(']');
        let is_pid = inner.len() > 1 && inner.bytes().all(|byte| byte.is_ascii_digit());
        if is_pid { word.replace(inner, "PID") } else { word.to_owned() }
    };
    sentence.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
