//! Hand-off: how a worker learns of its sockets and of its manager. From the environment the manager was started with,
//! the changes of the plan and the conventions in force to the block of strings that `execve(2)` wants. Pure.
//!
//! Sockets stand at descriptor 3, 4, 5... in the order of the plan, and all conventions may hold at once:
//!
//! | convention | variables |
//! |---|---|
//! | systemd (`sd_listen_fds(3)`) | `LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID`; none of them without sockets. |
//! | | Descriptors that are kept for the worker's slot count as sockets here, and stand behind them |
//! | einhorn | `EINHORN_FD_n`, `EINHORN_FD_FAMILY_n` and `EINHORN_FDS` for the sockets; always `EINHORN_FD_COUNT` |
//! | | (also `0`), `EINHORN_MASTER_PID`, `EINHORN_SOCK_PATH`, `EINHORN_CHILD_INDEX` |
//! | Server::Starter | `SERVER_STARTER_PORT` (`127.0.0.1:80=3;/run/x.sock=4`) with sockets, `SERVER_STARTER_GENERATION` always |
//! | firestarter | `BASE_FD_COUNT`, `BASE_FD_n` and `LISTEN_FDS` with sockets, `BASE_SOCK_PATH` and `BASE_MASTER_PID` always |
//! | notify (`sd_notify(3)`) | `NOTIFY_SOCKET`, where the manager listens for it |
//!
//! What the manager itself was told by such variables is not meant for its workers: [`base`] leaves it out. What the
//! user sets with `-e` or in a file stays, except where a convention in force sets the same name.
//!
//! A [`Template`] is made once a generation; a spawn copies it and adds the few entries that differ. `LISTEN_PID` is
//! known in the forked child only, where nothing may be allocated: the [`EnvBlock`] has room for it.

use std::cell::Cell;
use std::ffi::{OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::placeholder::{self, Values};
use crate::plan::{Convention, EnvSpec, Handoff};

/// The descriptor of the first socket, `SD_LISTEN_FDS_START`.
pub const FIRST_DESCRIPTOR: usize = 3;

/// Longest name in LISTEN_FDNAMES, `FDNAME_MAX` of systemd.
const DESCRIPTOR_NAME_MAX: usize = 255;

/// `LISTEN_PID=` with room for the ten digits of the largest `u32` and the final NUL.
const LISTEN_PID: [u8; 22] = *b"LISTEN_PID=\0\0\0\0\0\0\0\0\0\0\0";

/// Where the digits of [`LISTEN_PID`] begin.
const LISTEN_PID_DIGITS: usize = 11;

/// The address family of a socket, as EINHORN_FD_FAMILY_n names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SocketFamily {
    /// AF_INET.
    Inet,
    /// AF_INET6.
    Inet6,
    /// AF_UNIX.
    Unix,
}

impl SocketFamily {
    fn name(self) -> &'static str {
        match self {
            SocketFamily::Inet => "AF_INET",
            SocketFamily::Inet6 => "AF_INET6",
            SocketFamily::Unix => "AF_UNIX",
        }
    }
}

/// One socket, as told to workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedSocket {
    /// The name the user gave it.
    pub name: Option<String>,
    /// Its family.
    pub family: SocketFamily,
    /// Where it is bound: `127.0.0.1:8080`, `[::1]:8080`, `/run/web.sock`, `@web`; `unix:` before a path is dropped.
    pub address: String,
}

impl HandedSocket {
    /// The name in LISTEN_FDNAMES and in status: the one given, else the address, with `-` for what the format of
    /// LISTEN_FDNAMES does not take (colons, control and non-ASCII characters): `127.0.0.1-8080`, `/run/web.sock`.
    pub fn descriptor_name(&self) -> String {
        let name = self.name.as_deref().unwrap_or_else(|| self.bare_address());
        name.chars()
            .map(|c| if c == ':' || !(' '..='~').contains(&c) { '-' } else { c })
            .take(DESCRIPTOR_NAME_MAX)
            .collect()
    }

    fn bare_address(&self) -> &str {
        self.address.strip_prefix("unix:").unwrap_or(&self.address)
    }

    /// As Server::Starter tells it: all addresses are told by the port alone, and UDP as TCP is.
    fn starter_address(&self) -> &str {
        let bare = self.bare_address();
        let bare = bare.strip_prefix("udp://").unwrap_or(bare);
        bare.strip_prefix("*:").or_else(|| bare.strip_prefix("0.0.0.0:")).unwrap_or(bare)
    }
}

/// What the workers of one group have in common.
#[derive(Clone, Copy, Debug)]
pub struct GroupContext<'a> {
    /// The sockets, in the order of their descriptors.
    pub sockets: &'a [HandedSocket],
    /// Pid of the manager: the parent of every worker.
    pub manager_pid: i32,
    /// Path of the control socket, or `@NAME`; absent if there is none.
    pub control_path: Option<&'a OsStr>,
}

/// What one worker has for itself.
#[derive(Clone, Copy, Debug)]
pub struct WorkerContext<'a> {
    /// Its logical place, from 0.
    pub slot: u32,
    /// The smallest number that no living worker of the group has.
    pub index: u32,
    /// Its generation, from 1.
    pub generation: u32,
    /// Where the manager listens for its READY=1: a path, or `@NAME`.
    pub notify: Option<&'a OsStr>,
    /// How often it is to show that it lives, by WATCHDOG=1 there.
    pub watchdog: Option<Duration>,
    /// The file that it may change for that.
    pub watch_file: Option<&'a OsStr>,
    /// How many descriptors are kept for its slot at most, by FDSTORE=1 there; 0 if none are.
    pub fd_store: u32,
    /// Names of those that are, in their order: they stand behind its sockets.
    pub kept: &'a [&'a str],
}

impl WorkerContext<'static> {
    /// A worker that is told of nothing.
    pub fn new(slot: u32, index: u32, generation: u32) -> Self {
        WorkerContext {
            slot,
            index,
            generation,
            notify: None,
            watchdog: None,
            watch_file: None,
            fd_store: 0,
            kept: &[],
        }
    }
}

/// Whether a variable of the manager's own environment is meant for its workers. Those are not by which its own
/// manager talks to it.
pub fn inherits(name: &OsStr) -> bool {
    const NAMES: [&[u8]; 15] = [
        b"LISTEN_FDS",
        b"LISTEN_FDNAMES",
        b"LISTEN_PID",
        b"LISTEN_PIDFDID",
        b"LISTEN_FDS_FIRST_FD",
        b"NOTIFY_SOCKET",
        b"WATCHDOG_USEC",
        b"WATCHDOG_PID",
        b"FDSTORE",
        b"MAINPID",
        b"SYSTEMD_EXEC_PID",
        b"FIRESTARTER_SOCK_PATH",
        b"FIRESTARTER_SOCK_FD",
        b"FIRESTARTER_MASTER_PID",
        b"FIRESTARTER_WATCH_FILE",
    ];
    const PREFIXES: [&[u8]; 3] = [b"EINHORN_", b"SERVER_STARTER_", b"FIRESTARTER_FD_"];
    let name = name.as_bytes();
    !NAMES.contains(&name) && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The environment of a generation before the hand-off: `start` is what the manager was started with, `login` what
/// its user is told of itself, `files` the variables of the plan's environment files in their order. The last of a name
/// wins.
pub fn base(
    start: impl IntoIterator<Item = (OsString, OsString)>,
    login: impl IntoIterator<Item = (OsString, OsString)>,
    files: impl IntoIterator<Item = (OsString, OsString)>,
    spec: &EnvSpec,
) -> Vec<(OsString, OsString)> {
    let kept = start.into_iter().filter(|(name, _)| {
        inherits(name) && !spec.drop.iter().any(|dropped| name.as_os_str() == dropped.as_str())
    });
    let mut result: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in kept.chain(login).chain(files).chain(spec.set.iter().cloned()) {
        match result.iter_mut().find(|(present, _)| *present == name) {
            Some(entry) => entry.1 = value,
            None => result.push((name, value)),
        }
    }
    result
}

/// The part of the environment that all workers of a generation share.
#[derive(Clone)]
pub struct Template {
    entries: Entries,
    listen_pid: bool,
    child_index: bool,
    starter_generation: bool,
    notify: bool,
    control_descriptor: bool,
    /// The words of `placeholder` mean something.
    placeholders: bool,
    /// Variables that have a brace in them.
    words: Vec<(OsString, OsString)>,
    sockets: Vec<HandedSocket>,
}

impl Template {
    /// Adds to `base` (made by [`base`]) what `handoff` asks for.
    pub fn new(base: &[(OsString, OsString)], group: &GroupContext<'_>, handoff: &Handoff) -> Template {
        let holds = |convention| handoff.conventions.contains(&convention);
        let sockets = group.sockets;
        let mut entries = Entries::default();
        for (name, value) in base {
            entries.set(name.as_bytes(), value.as_bytes());
        }
        if holds(Convention::Systemd) && !sockets.is_empty() {
            let names: Vec<String> = sockets.iter().map(HandedSocket::descriptor_name).collect();
            entries.set_text("LISTEN_FDS", &sockets.len().to_string());
            entries.set_text("LISTEN_FDNAMES", &names.join(":"));
            entries.remove(b"LISTEN_PID");
        }
        if holds(Convention::Einhorn) {
            entries.set_einhorn(group);
        }
        if holds(Convention::ServerStarter) {
            if !sockets.is_empty() {
                entries.set_text("SERVER_STARTER_PORT", &server_starter_port(sockets));
            }
            entries.remove(b"SERVER_STARTER_GENERATION");
        }
        if holds(Convention::Firestarter) {
            entries.set_firestarter(group, &handoff.base_name);
        }
        Template {
            entries,
            listen_pid: holds(Convention::Systemd) && handoff.listen_pid,
            child_index: holds(Convention::Einhorn),
            starter_generation: holds(Convention::ServerStarter),
            notify: holds(Convention::Notify),
            control_descriptor: handoff.control_descriptor,
            placeholders: false,
            words: Vec::new(),
            sockets: sockets.to_vec(),
        }
    }

    /// Has the words of `placeholder` mean something, in arguments and in these variables but for those that a convention
    /// has set.
    #[must_use]
    pub fn with_words(mut self, variables: &[(OsString, OsString)]) -> Template {
        let ours = |(name, value): &&(OsString, OsString)| {
            self.entries.get(name.as_bytes()) == Some(value.as_bytes()) && value.as_bytes().contains(&b'{')
        };
        self.words = variables.iter().filter(ours).cloned().collect();
        self.placeholders = true;
        self
    }

    /// Has the words of `placeholder` stand for these sockets, which are not handed over.
    pub fn know(&mut self, sockets: Vec<HandedSocket>) {
        self.sockets = sockets;
    }

    /// What the words of `placeholder` stand for in one worker, if they mean anything.
    pub fn values(&self, worker: &WorkerContext<'_>) -> Option<Values<'_>> {
        let WorkerContext { slot, index, generation, .. } = *worker;
        self.placeholders.then_some(Values { sockets: &self.sockets, slot, index, generation })
    }

    /// The environment of one worker.
    pub fn worker(&self, worker: &WorkerContext<'_>) -> EnvBlock {
        let mut entries = self.entries.clone();
        if let Some(values) = self.values(worker) {
            for (name, text) in &self.words {
                entries.set(name.as_bytes(), &placeholder::fill(text.as_bytes(), &values));
            }
        }
        if self.child_index {
            entries.push(b"EINHORN_CHILD_INDEX", worker.index.to_string().as_bytes());
        }
        if self.starter_generation {
            entries.push(b"SERVER_STARTER_GENERATION", worker.generation.to_string().as_bytes());
        }
        if let Some(socket) = worker.notify.filter(|_| self.notify) {
            entries.set(b"NOTIFY_SOCKET", socket.as_bytes());
            if worker.fd_store > 0 {
                entries.set(b"FDSTORE", worker.fd_store.to_string().as_bytes());
            }
            if let Some(span) = worker.watchdog {
                entries.set(b"WATCHDOG_USEC", span.as_micros().to_string().as_bytes());
                // That it is meant for this very process: the client takes it so where there is none.
                entries.remove(b"WATCHDOG_PID");
            }
        }
        if let Some(file) = worker.watch_file {
            entries.set(b"FIRESTARTER_WATCH_FILE", file.as_bytes());
        }
        let count = self.sockets.len() + worker.kept.len();
        if !worker.kept.is_empty() {
            let own = self.sockets.iter().map(HandedSocket::descriptor_name);
            let names: Vec<String> = own.chain(worker.kept.iter().map(|&name| name.to_owned())).collect();
            entries.set_text("LISTEN_FDS", &count.to_string());
            entries.set_text("LISTEN_FDNAMES", &names.join(":"));
            entries.remove(b"LISTEN_PID");
        }
        if self.control_descriptor {
            entries.set_text("EINHORN_SOCK_FD", &(FIRST_DESCRIPTOR + count).to_string());
        }
        let listen_pid = (self.listen_pid && count > 0).then(|| Box::new(LISTEN_PID.map(Cell::new)));
        EnvBlock { entries, listen_pid }
    }
}

/// SERVER_STARTER_PORT: `ADDRESS=FD` joined by `;`. An address that holds one of these two separators cannot be told
/// by this convention and is left out.
fn server_starter_port(sockets: &[HandedSocket]) -> String {
    let told: Vec<String> = (FIRST_DESCRIPTOR..)
        .zip(sockets)
        .filter(|(_, socket)| !socket.address.contains([';', '=']))
        .map(|(descriptor, socket)| format!("{}={descriptor}", socket.starter_address()))
        .collect();
    told.join(";")
}

/// The environment of one worker, in the form of `execve(2)`.
///
/// It never prints its values: they may be secret.
pub struct EnvBlock {
    entries: Entries,
    /// Cells, so that the pointers handed out stay good when the child writes its pid.
    listen_pid: Option<Box<[Cell<u8>; LISTEN_PID.len()]>>,
}

impl EnvBlock {
    /// These variables as they are, without any hand-off.
    pub fn plain<'a>(variables: impl IntoIterator<Item = &'a (OsString, OsString)>) -> EnvBlock {
        let mut entries = Entries::default();
        for (name, value) in variables {
            entries.push(name.as_bytes(), value.as_bytes());
        }
        EnvBlock { entries, listen_pid: None }
    }

    /// These variables as they are, but for LISTEN_PID, which [`EnvBlock::fill_pid`] writes.
    pub fn with_listen_pid<'a>(variables: impl IntoIterator<Item = &'a (OsString, OsString)>) -> EnvBlock {
        let others = variables.into_iter().filter(|(name, _)| name != "LISTEN_PID");
        EnvBlock { listen_pid: Some(Box::new(LISTEN_PID.map(Cell::new))), ..EnvBlock::plain(others) }
    }

    /// `envp`: one pointer for each NUL-terminated `NAME=VALUE`, then a null pointer. They are good as long as the block
    /// lives, also across [`EnvBlock::fill_pid`].
    pub fn pointers(&self) -> Vec<*const c_char> {
        let mut pointers = Vec::with_capacity(self.entries.starts.len() + 2);
        pointers.extend(self.listen_pid.iter().map(|entry| entry.as_ptr().cast::<c_char>()));
        pointers.extend(self.entries.starts.iter().map(|&start| self.entries.bytes[start..].as_ptr().cast()));
        pointers.push(ptr::null());
        pointers
    }

    /// Writes LISTEN_PID where the block has it: decimal, without padding (`sd_listen_fds(3)` takes a leading zero for
    /// octal). For the forked child: no allocation, no lock, no panic.
    pub fn fill_pid(&self, pid: u32) {
        let Some(entry) = &self.listen_pid else { return };
        let mut digits = [0_u8; LISTEN_PID.len() - LISTEN_PID_DIGITS - 1];
        let mut rest = pid;
        let mut leading = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            leading -= 1;
            if rest == 0 {
                break;
            }
        }
        let written = digits.iter().skip(leading).chain(std::iter::repeat(&0));
        for (cell, &digit) in entry.iter().skip(LISTEN_PID_DIGITS).zip(written) {
            cell.set(digit);
        }
    }

    /// The value of a variable, for tests.
    #[cfg(test)]
    pub fn get(&self, name: &str) -> Option<OsString> {
        if let (Some(entry), "LISTEN_PID") = (&self.listen_pid, name) {
            let digits = entry.iter().skip(LISTEN_PID_DIGITS).map(Cell::get).take_while(|&byte| byte != 0);
            return Some(OsStr::from_bytes(&digits.collect::<Vec<u8>>()).to_owned());
        }
        self.entries.get(name.as_bytes()).map(|value| OsStr::from_bytes(value).to_owned())
    }
}

/// `NAME=VALUE` strings, each with its final NUL, in one buffer.
#[derive(Clone, Default)]
struct Entries {
    bytes: Vec<u8>,
    /// Where in `bytes` each string begins. A string that no start leads to is dead.
    starts: Vec<usize>,
}

impl Entries {
    /// Adds a variable that is not there yet. A name or value with a NUL cannot exist in an environment; it comes from
    /// nowhere, since the system and the command line cannot hold one either, and would end at the NUL.
    fn push(&mut self, name: &[u8], value: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(name);
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value);
        self.bytes.push(0);
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    fn set_text(&mut self, name: &str, value: &str) {
        self.set(name.as_bytes(), value.as_bytes());
    }

    fn remove(&mut self, name: &[u8]) {
        let bytes = &self.bytes;
        self.starts.retain(|&start| value_of(&bytes[start..], name).is_none());
    }

    fn set_einhorn(&mut self, group: &GroupContext<'_>) {
        let mut descriptors = Vec::with_capacity(group.sockets.len());
        for (number, socket) in group.sockets.iter().enumerate() {
            let descriptor = (FIRST_DESCRIPTOR + number).to_string();
            self.set_text(&format!("EINHORN_FD_{number}"), &descriptor);
            self.set_text(&format!("EINHORN_FD_FAMILY_{number}"), socket.family.name());
            descriptors.push(descriptor);
        }
        self.set_text("EINHORN_FD_COUNT", &group.sockets.len().to_string());
        if !group.sockets.is_empty() {
            self.set_text("EINHORN_FDS", &descriptors.join(" "));
        }
        self.set_text("EINHORN_MASTER_PID", &group.manager_pid.to_string());
        if let Some(path) = group.control_path {
            self.set(b"EINHORN_SOCK_PATH", path.as_bytes());
        }
        self.remove(b"EINHORN_CHILD_INDEX");
    }

    fn set_firestarter(&mut self, group: &GroupContext<'_>, base_name: &str) {
        if !group.sockets.is_empty() {
            let count = group.sockets.len().to_string();
            self.set_text("LISTEN_FDS", &count);
            self.set_text(&format!("{base_name}_FD_COUNT"), &count);
            for number in 0..group.sockets.len() {
                let descriptor = FIRST_DESCRIPTOR + number;
                self.set_text(&format!("{base_name}_FD_{number}"), &descriptor.to_string());
            }
        }
        self.set_text(&format!("{base_name}_MASTER_PID"), &group.manager_pid.to_string());
        if let Some(path) = group.control_path {
            self.set(format!("{base_name}_SOCK_PATH").as_bytes(), path.as_bytes());
        }
    }

    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.starts.iter().find_map(|&start| value_of(&self.bytes[start..], name))
    }
}

/// The value of the NUL-terminated string at the start of `bytes`, if it has this name.
fn value_of<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = bytes.strip_prefix(name)?.strip_prefix(b"=")?;
    value.split(|&byte| byte == 0).next()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::CStr;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn sockets() -> Vec<HandedSocket> {
        vec![
            HandedSocket { name: None, family: SocketFamily::Inet, address: "127.0.0.1:80".into() },
            HandedSocket {
                name: Some("admin".into()),
                family: SocketFamily::Unix,
                address: "unix:/run/x.sock".into(),
            },
            HandedSocket { name: None, family: SocketFamily::Inet6, address: "[::1]:443".into() },
        ]
    }

    fn handoff(conventions: &[Convention]) -> Handoff {
        Handoff {
            conventions: conventions.iter().copied().collect::<BTreeSet<_>>(),
            listen_pid: true,
            base_name: "FIRESTARTER".into(),
            control_descriptor: false,
        }
    }

    const ALL: [Convention; 5] = [
        Convention::Systemd,
        Convention::Einhorn,
        Convention::ServerStarter,
        Convention::Firestarter,
        Convention::Notify,
    ];

    fn block(
        base: &[(&str, &str)],
        sockets: &[HandedSocket],
        handoff: &Handoff,
        notify: Option<&str>,
    ) -> EnvBlock {
        let group = GroupContext { sockets, manager_pid: 41, control_path: Some(OsStr::new("/run/c.sock")) };
        let worker = WorkerContext {
            slot: 1,
            index: 2,
            generation: 7,
            notify: notify.map(OsStr::new),
            watchdog: None,
            watch_file: None,
            fd_store: 0,
            kept: &[],
        };
        Template::new(&pairs(base), &group, handoff).worker(&worker)
    }

    fn listing(block: &EnvBlock) -> Vec<String> {
        let mut lines: Vec<String> = block
            .entries
            .starts
            .iter()
            .map(|&start| {
                let entry = CStr::from_bytes_until_nul(&block.entries.bytes[start..]).unwrap();
                entry.to_str().unwrap().to_owned()
            })
            .collect();
        lines.extend(block.get("LISTEN_PID").map(|pid| format!("LISTEN_PID={}", pid.display())));
        lines.sort();
        lines
    }

    #[test]
    fn all_conventions_hold_at_once() {
        let block = block(&[("PATH", "/bin")], &sockets(), &handoff(&ALL), Some("@ready"));
        block.fill_pid(4711);
        assert_eq!(
            listing(&block),
            [
                "EINHORN_CHILD_INDEX=2",
                "EINHORN_FDS=3 4 5",
                "EINHORN_FD_0=3",
                "EINHORN_FD_1=4",
                "EINHORN_FD_2=5",
                "EINHORN_FD_COUNT=3",
                "EINHORN_FD_FAMILY_0=AF_INET",
                "EINHORN_FD_FAMILY_1=AF_UNIX",
                "EINHORN_FD_FAMILY_2=AF_INET6",
                "EINHORN_MASTER_PID=41",
                "EINHORN_SOCK_PATH=/run/c.sock",
                "FIRESTARTER_FD_0=3",
                "FIRESTARTER_FD_1=4",
                "FIRESTARTER_FD_2=5",
                "FIRESTARTER_FD_COUNT=3",
                "FIRESTARTER_MASTER_PID=41",
                "FIRESTARTER_SOCK_PATH=/run/c.sock",
                "LISTEN_FDNAMES=127.0.0.1-80:admin:[--1]-443",
                "LISTEN_FDS=3",
                "LISTEN_PID=4711",
                "NOTIFY_SOCKET=@ready",
                "PATH=/bin",
                "SERVER_STARTER_GENERATION=7",
                "SERVER_STARTER_PORT=127.0.0.1:80=3;/run/x.sock=4;[::1]:443=5",
            ]
        );
    }

    #[test]
    fn without_sockets_only_what_speaks_of_the_manager_is_told() {
        assert_eq!(
            listing(&block(&[], &[], &handoff(&ALL), None)),
            [
                "EINHORN_CHILD_INDEX=2",
                "EINHORN_FD_COUNT=0",
                "EINHORN_MASTER_PID=41",
                "EINHORN_SOCK_PATH=/run/c.sock",
                "FIRESTARTER_MASTER_PID=41",
                "FIRESTARTER_SOCK_PATH=/run/c.sock",
                "SERVER_STARTER_GENERATION=7",
            ]
        );
    }

    #[test]
    fn what_is_kept_for_a_worker_is_told_behind_its_sockets() {
        let handoff = handoff(&[Convention::Systemd, Convention::Notify]);
        let told = |sockets: &[HandedSocket], kept: &[&str]| {
            let group = GroupContext { sockets, manager_pid: 41, control_path: None };
            let worker = WorkerContext {
                slot: 0,
                index: 0,
                generation: 1,
                notify: Some(OsStr::new("@ready")),
                watchdog: None,
                watch_file: None,
                fd_store: 4,
                kept,
            };
            let block = Template::new(&[], &group, &handoff).worker(&worker);
            block.fill_pid(7);
            listing(&block)
        };
        assert_eq!(told(&[], &[]), ["FDSTORE=4", "NOTIFY_SOCKET=@ready"]);
        assert_eq!(
            told(&[], &["state"]),
            ["FDSTORE=4", "LISTEN_FDNAMES=state", "LISTEN_FDS=1", "LISTEN_PID=7", "NOTIFY_SOCKET=@ready"]
        );
        let told = told(&sockets()[1..2], &["state", "stored"]);
        assert!(told.contains(&"LISTEN_FDS=3".to_owned()), "{told:?}");
        assert!(told.contains(&"LISTEN_FDNAMES=admin:state:stored".to_owned()), "{told:?}");
    }

    #[test]
    fn conventions_can_be_narrowed_to_none() {
        let base = [("HOME", "/"), ("LISTEN_FDS", "set by the user"), ("NOTIFY_SOCKET", "/run/theirs")];
        let block = block(&base, &sockets(), &handoff(&[]), Some("@ready"));
        assert_eq!(listing(&block), ["HOME=/", "LISTEN_FDS=set by the user", "NOTIFY_SOCKET=/run/theirs"]);
    }

    #[test]
    fn firestarter_alone_sets_listen_fds_without_a_pid() {
        let mut handoff = handoff(&[Convention::Firestarter]);
        handoff.base_name = "APP".into();
        assert_eq!(
            listing(&block(&[], &sockets()[..1], &handoff, None)),
            [
                "APP_FD_0=3",
                "APP_FD_COUNT=1",
                "APP_MASTER_PID=41",
                "APP_SOCK_PATH=/run/c.sock",
                "LISTEN_FDS=1"
            ]
        );
    }

    #[test]
    fn a_convention_in_force_wins_over_a_variable_of_that_name() {
        let base =
            [("LISTEN_FDS", "9"), ("LISTEN_PID", "9"), ("EINHORN_CHILD_INDEX", "9"), ("NOTIFY_SOCKET", "/9")];
        let told = listing(&block(&base, &sockets(), &handoff(&ALL), Some("@ready")));
        assert!(told.iter().all(|line| !line.ends_with("=9") && !line.ends_with("/9")), "{told:?}");
        let without_notify = block(&base, &sockets(), &handoff(&ALL), None);
        assert_eq!(without_notify.get("NOTIFY_SOCKET").unwrap(), "/9");
    }

    #[test]
    fn listen_pid_has_no_padding_and_fits_every_pid() {
        let block = block(&[("A", "1")], &sockets(), &handoff(&[Convention::Systemd]), None);
        let pointers = block.pointers();
        for pid in [0, 7, 10, 4_194_304, u32::MAX, 1] {
            block.fill_pid(pid);
            assert_eq!(block.get("LISTEN_PID").unwrap(), pid.to_string().as_str());
        }
        assert_eq!(pointers, block.pointers());
        assert_eq!(pointers.len(), 5);
        assert!(pointers[..4].iter().all(|pointer| !pointer.is_null()) && pointers[4].is_null());
    }

    #[test]
    fn listen_pid_is_left_out_on_request() {
        let mut handoff = handoff(&[Convention::Systemd]);
        handoff.listen_pid = false;
        let block = block(&[], &sockets(), &handoff, None);
        block.fill_pid(1);
        assert_eq!(block.get("LISTEN_PID"), None);
        assert_eq!(block.get("LISTEN_FDS").unwrap(), "3");
    }

    #[test]
    fn server_starter_leaves_out_what_it_cannot_express() {
        let mut sockets = sockets();
        sockets[1].address = "/run/a;b=c".into();
        assert_eq!(server_starter_port(&sockets), "127.0.0.1:80=3;[::1]:443=5");
        sockets[1].address = "*:81".into();
        assert_eq!(server_starter_port(&sockets), "127.0.0.1:80=3;81=4;[::1]:443=5");
    }

    #[test]
    fn descriptor_names_keep_to_the_format() {
        let mut socket = sockets().remove(1);
        assert_eq!(socket.descriptor_name(), "admin");
        socket.name = None;
        assert_eq!(socket.descriptor_name(), "/run/x.sock");
        socket.address = format!("/tmp/b\u{fc}ro\n{}", "x".repeat(300));
        assert!(socket.descriptor_name().starts_with("/tmp/b-ro-xxx"));
        assert_eq!(socket.descriptor_name().len(), DESCRIPTOR_NAME_MAX);
    }

    #[test]
    fn server_starter_has_addresses_of_its_own() {
        for (address, told) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "80"),
            ("*:80", "80"),
            ("udp://0.0.0.0:53", "53"),
            ("udp://[::1]:53", "[::1]:53"),
            ("unix:/run/x.sock", "/run/x.sock"),
        ] {
            let socket = HandedSocket { name: None, family: SocketFamily::Inet, address: address.to_owned() };
            assert_eq!(socket.starter_address(), told);
        }
    }

    #[test]
    fn the_managers_own_variables_do_not_reach_workers() {
        let start = pairs(&[
            ("LISTEN_FDS", "1"),
            ("LISTEN_PIDFDID", "1"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("WATCHDOG_USEC", "1"),
            ("EINHORN_ANYTHING", "1"),
            ("SERVER_STARTER_PORT", "80=3"),
            ("FIRESTARTER_FD_0", "3"),
            ("FIRESTARTER_APP_NAME", "x"),
            ("LISTEN_ADDRESS", "kept"),
            ("SECRET", "1"),
            ("LANG", "C"),
        ]);
        let spec = EnvSpec {
            drop: vec!["SECRET".into()],
            files: vec![],
            set: pairs(&[("LANG", "de"), ("NOTIFY_SOCKET", "/mine"), ("A", "1"), ("A", "2")]),
        };
        assert_eq!(
            base(start, pairs(&[]), pairs(&[("LANG", "fr"), ("B", "file")]), &spec),
            pairs(&[
                ("FIRESTARTER_APP_NAME", "x"),
                ("LISTEN_ADDRESS", "kept"),
                ("LANG", "de"),
                ("B", "file"),
                ("NOTIFY_SOCKET", "/mine"),
                ("A", "2"),
            ])
        );
    }
}
