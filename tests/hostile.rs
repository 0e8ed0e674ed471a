//! The real binary among enemies: each dialect and each place where it hears gets payloads, half lines, floods, descriptors
//! and strangers, and the manager answers all the same, stops when asked, and loses no worker.
//!
//! Payloads are made anew on each run. `HOSTILE_SEED=N` replays those of the run that has printed N.

mod support;

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg, setsockopt, sockopt};
use serde_json::json;
use support::process::{descriptors, environment, lives, run};
use support::socketmaster::children;
use support::{LIMIT, Manager, REMUDA, einhorn, root, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Payloads that each dialect gets.
const PAYLOADS: usize = 1500;

/// Nobody, to the system.
const STRANGER: u32 = 65_534;

/// What no number of workers, no pid, no time is.
const NUMBERS: [&str; 14] = [
    "-1",
    "-0.5",
    "1e19",
    "1.5e19",
    "1e308",
    "1e999",
    "-1e999",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "NaN",
    "Infinity",
    "340282366920938463463374607431768211456",
];

/// xorshift64*, which is random enough to annoy.
struct Dice(u64);

impl Dice {
    /// From the seed of this run, told so that it can be replayed; each `place` has its own.
    fn new(place: &str) -> Dice {
        let seed = env::var("HOSTILE_SEED").ok().map(|seed| seed.parse().expect("HOSTILE_SEED is a number"));
        let fresh = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.subsec_nanos().into());
        let seed: u64 = seed.unwrap_or_else(fresh);
        println!("{place}: HOSTILE_SEED={seed}");
        let own = place.bytes().fold(seed | 1, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        Dice(own.max(1))
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let rolled = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(rolled).unwrap() % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.roll(most)).map(|_| u8::try_from(self.roll(256)).unwrap()).collect()
    }

    /// A request with `N` for numbers and `S` for words, made strange. Nothing that could be granted comes of it: letters of
    /// its command are never changed into those of another.
    fn payload(&mut self, forms: &[&str]) -> Vec<u8> {
        let form = self.pick(forms);
        let number = self.pick(&NUMBERS);
        let word = match self.roll(4) {
            0 => "x".repeat(self.roll(5000)),
            1 => "\\u0000\\ud800".to_owned(),
            2 => "[".repeat(self.roll(3000)),
            _ => "%s%n/../../\u{1b}[2J\u{202e}".to_owned(),
        };
        let mut bytes = form.replace('N', number).replace('S', &word).into_bytes();
        match self.roll(8) {
            0 => bytes.truncate(self.roll(bytes.len() + 1)),
            1 => bytes.extend(self.bytes(300)),
            2 => bytes = self.bytes(600),
            3 => bytes.insert(self.roll(bytes.len() + 1), b'\n'),
            4 => bytes = bytes.repeat(1 + self.roll(3)),
            5 => bytes = [b"{\"a\":".repeat(self.roll(400)), bytes].concat(),
            _ => {}
        }
        if self.roll(6) > 0 {
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Requests of remuda's own protocol, of einhorn's, of einhyrningsins' and of firestarter's.
const FORMS: [&str; 24] = [
    r#"{"command":"status"}"#,
    r#"{"command":"status","group":"S"}"#,
    r#"{"command":"version","id":"S"}"#,
    r#"{"command":"version","id":N}"#,
    r#"{"command":"scale","workers":N}"#,
    r#"{"command":"inc","count":N}"#,
    r#"{"command":"drain","delay_ms":N,"generation":N}"#,
    r#"{"command":"worker:ack","pid":N}"#,
    r#"{"command":"worker:ack","pid":"N"}"#,
    r#"{"command":"worker:ping","pid":N,"request_id":"S"}"#,
    r#"{"command":"log-level","level":"S"}"#,
    r#"{"command":"events"}"#,
    r#"{"command":"S"}"#,
    r#"{"command":{"S":N}}"#,
    r#"{"command":"set_workers","args":["N"],"id":1}"#,
    r#"{"command":"set_workers","args":[N],"id":1}"#,
    r#"{"command":"config","args":["{config: {seconds: N}}"],"id":1}"#,
    r#"{"command":"config","args":["{signal_timeout: N, ack_mode: {type: timer, timeout: N}}"]}"#,
    r#"{"command":"config","args":["{config: {number: N, S: N}}"],"id":"S"}"#,
    "--- {command: worker:ack, pid: N}",
    "--- &a [*a, *a, {command: S}]",
    r#"{"command_type":"status","pid":N}"#,
    r#"{"command_type":"ctrl_worker","worker":"S","command":{"command":"worker:status","pid":N},"pid":1}"#,
    r#"{"command":"worker:status","pid":N,"signal":"S"}"#,
];

/// Notifications.
const NOTES: [&str; 9] = [
    "WATCHDOG_USEC=N",
    "EXTEND_TIMEOUT_USEC=N\nSTATUS=S",
    "MAINPID=N",
    "ERRNO=N",
    "STATUS=S",
    "FDSTORE=1\nFDNAME=S",
    "FDSTOREREMOVE=1\nFDNAME=S",
    "READY=N\nRELOADING=1\nMONOTONIC_USEC=N",
    "S",
];

/// Sends what is taken at once, and reads what is there.
fn push(stream: &mut UnixStream, bytes: &[u8]) {
    let _ = stream.write(bytes);
    let _ = stream.read(&mut [0; 4096]);
}

fn open(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Everything that can be said on a connection. `look` asks how things stand, and fails if nobody answers.
fn assault(manager: &Manager, dice: &mut Dice, path: &Path, look: &dyn Fn()) {
    let mut open_ones: Vec<UnixStream> = Vec::new();
    for count in 0..PAYLOADS {
        let payload = dice.payload(&FORMS);
        if open_ones.len() < 40 {
            open_ones.push(open(path));
        }
        let at = dice.roll(open_ones.len());
        push(&mut open_ones[at], &payload);
        // Others hang up, half-way or not.
        if dice.roll(3) == 0 {
            open_ones.swap_remove(at);
        }
        if count % 300 == 0 {
            look();
        }
    }
    // Lines without an end, on as many connections as there are.
    let mut endless: Vec<UnixStream> = (0..90).map(|_| open(path)).collect();
    for _ in 0..20 {
        endless.iter_mut().for_each(|stream| push(stream, &[b'x'; 8192]));
    }
    look();
    give_descriptors(manager, look, &mut |text, numbers| {
        let rights = [ControlMessage::ScmRights(numbers)];
        let stream = open(path);
        // A kernel that can refuses them.
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(text)], &rights, MsgFlags::MSG_DONTWAIT, None)
            .is_ok()
    });
    look();
}

/// A connection that lingers when its last owner closes it, and its other end.
fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while (&stream).write(&[0; 65_536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    let forever = nix::libc::linger { l_onoff: 1, l_linger: 60 };
    setsockopt(&stream, sockopt::Linger, &forever).unwrap();
    (stream.into(), other)
}

/// Descriptors of all kinds; `give` says whether they were taken. The manager stands still meanwhile, so that it has the
/// last copy when it looks.
fn give_descriptors(manager: &Manager, look: &dyn Fn(), give: &mut dyn FnMut(&[u8], &[i32]) -> bool) {
    for text in [&b"X=1\n"[..], b"FDSTORE=1\nFDNAME=x\n", b"BARRIER=1\n"] {
        let (slow, _other) = lingering();
        manager.signal(Signal::SIGSTOP);
        if !give(text, &[slow.as_raw_fd()]) {
            // It is not we who are to wait.
            let never = nix::libc::linger { l_onoff: 0, l_linger: 0 };
            setsockopt(&slow, sockopt::Linger, &never).unwrap();
        }
        drop(slow);
        manager.signal(Signal::SIGCONT);
        look();
        let (_reader, writer) = std::io::pipe().unwrap();
        give(text, &[writer.as_raw_fd(); 250]);
        let file = fs::File::open("/dev/zero").unwrap();
        give(text, &[file.as_raw_fd(); 100]);
    }
}

/// How long an answer takes at most, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

fn answers_in_time(ask: impl FnOnce()) {
    let begun = Instant::now();
    ask();
    assert!(begun.elapsed() < PATIENCE, "an answer took {:?}", begun.elapsed());
}

fn unharmed(manager: &Manager, pids: &[i32]) {
    assert!(lives(manager.pid()), "the manager is gone");
    assert!(pids.iter().all(|&pid| lives(pid)), "of {pids:?} not all live");
    let now: Vec<i32> = children(manager);
    assert!(pids.iter().all(|pid| now.contains(pid)), "{pids:?} became {now:?}");
}

/// The workers of a manager that has just started, whatever it speaks.
fn workers_of(manager: &Manager, count: usize) -> Vec<i32> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let pids = children(manager);
        if pids.len() == count && pids.iter().all(|&pid| environment(pid).contains_key(worker::SCRIPT)) {
            return pids;
        }
        assert!(Instant::now() < deadline, "{pids:?}");
        std::thread::yield_now();
    }
}

#[test]
fn remudas_own_dialect() {
    let mut manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    let pids = manager.pids("ready");
    let before = descriptors(manager.pid()).len();
    let look = || answers_in_time(|| drop(manager.done(&["status"])));
    assault(&manager, &mut Dice::new("native"), &manager.control, &look);
    assert_eq!(manager.pids("ready"), pids);
    unharmed(&manager, &pids);
    settled(&manager, before);
    answers_in_time(|| drop(manager.done(&["stop"])));
    assert_eq!(manager.exit().code(), Some(0));
}

/// What was opened for enemies is closed again.
fn settled(manager: &Manager, before: usize) {
    let deadline = Instant::now() + LIMIT;
    // Connections of clients go when the manager has seen their end, descriptors when somebody has closed them.
    while descriptors(manager.pid()).len() > before + 1 {
        assert!(Instant::now() < deadline, "{before} before, {} now", descriptors(manager.pid()).len());
        let _ = manager.verb(&["status"]);
    }
}

#[test]
fn einhorns_dialect() {
    let mut manager = einhorn::start("stop-on:USR2 pause", "-n 2 -m manual");
    let pids = workers_of(&manager, 2);
    let look = || answers_in_time(|| assert!(einhorn::state(&manager).contains("children")));
    assault(&manager, &mut Dice::new("einhorn"), &manager.control, &look);
    unharmed(&manager, &pids);
    answers_in_time(|| drop(einhorn::exchange(&manager, b"{\"command\":\"die\"}\n")));
    manager.exit();
}

#[test]
fn einhyrningsins_dialect() {
    let setup = setup("");
    let mut command = Command::new(REMUDA);
    command.args(["einhyrningsins", "-n", "2", "-d"]).arg(setup.path("c.sock")).arg("--");
    command.arg(setup.path("program")).args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
    let mut manager = setup.start_as(with_script(command));
    let pids = workers_of(&manager, 2);
    let look =
        || answers_in_time(|| assert!(!said(&manager.control, b"{\"command\":\"status\"}\n").is_empty()));
    assault(&manager, &mut Dice::new("einhyrningsins"), &manager.control, &look);
    unharmed(&manager, &pids);
    assert_eq!(manager.stop(), Some(0));
}

fn with_script(mut command: Command) -> Command {
    command.env(worker::SCRIPT, "pause");
    command
}

/// What is answered to these bytes at first.
fn said(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn firestarters_dialect() {
    let setup = setup("pause");
    let program = setup.path("program").display().to_string();
    let file = setup.path("groups.toml");
    let text = format!(
        "[web]\nexec_start = \"{program} --exact worker_entry --nocapture '--test-threads=1'\"\n\
         env_files = ['{}']\nnumprocesses = 2\n",
        setup.path("env").display()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(REMUDA);
    command.args(["firestarter", "run", "--config"]).arg(file).arg("-d").arg(setup.path("c.sock"));
    command.env("TMPDIR", setup.path(""));
    let mut manager = setup.start_as(command);
    let pids = workers_of(&manager, 2);
    let look = || {
        answers_in_time(|| {
            let mut command = Command::new(REMUDA);
            let output = run(command.args(["firestarter", "status", "-d"]).arg(&manager.control));
            assert_eq!(output.code, Some(0), "{output:?}");
        });
    };
    assault(&manager, &mut Dice::new("firestarter"), &manager.control, &look);
    unharmed(&manager, &pids);
    assert_eq!(manager.stop(), Some(0));
}

/// Where a worker is heard.
fn notify_socket(pid: i32) -> String {
    loop {
        // Between fork and exec the environment is still that of the manager.
        if let Some(name) = environment(pid).get("NOTIFY_SOCKET") {
            return name.strip_prefix('@').expect("an abstract name").to_owned();
        }
        std::thread::yield_now();
    }
}

/// Sends a message there, with descriptors, if there is room for it at once.
fn notify(sender: &UnixDatagram, name: &str, text: &[u8], numbers: &[i32]) -> bool {
    let to = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    let rights = [ControlMessage::ScmRights(numbers)];
    let rights = if numbers.is_empty() { &[][..] } else { &rights[..] };
    sendmsg(sender.as_raw_fd(), &[IoSlice::new(text)], rights, MsgFlags::MSG_DONTWAIT, Some(&to)).is_ok()
}

#[test]
fn notifications() {
    for options in ["", "--fd-store 8"] {
        let mut manager =
            setup("pause").options("-n 2 --ack manual --ack-deadline 1h").options(options).start();
        let pids = manager.pids("starting");
        let names: Vec<String> = pids.iter().map(|&pid| notify_socket(pid)).collect();
        let look = || answers_in_time(|| drop(manager.done(&["status"])));
        let before = descriptors(manager.pid()).len();
        let mut dice = Dice::new("notify");
        let sender = UnixDatagram::unbound().unwrap();
        for count in 0..PAYLOADS {
            let name = &names[dice.roll(names.len())];
            let text = dice.payload(&NOTES);
            let _full = notify(&sender, name, &text[..text.len().min(60_000)], &[]);
            if count % 300 == 0 {
                look();
            }
        }
        // A flood.
        let address = SocketAddr::from_abstract_name(&names[0]).unwrap();
        sender.set_nonblocking(true).unwrap();
        for _ in 0..20_000 {
            let _ = sender.send_to_addr(b"STATUS=x", &address);
        }
        look();
        give_descriptors(&manager, &look, &mut |text, numbers| notify(&sender, &names[0], text, numbers));
        look();
        strangers_notify(&manager, &look, &names[1]);
        look();
        unharmed(&manager, &pids);
        settled(&manager, before + 8);
        answers_in_time(|| drop(manager.done(&["stop"])));
        assert_eq!(manager.exit().code(), Some(0));
    }
}

/// The same from a user who has nothing to do with it.
fn strangers_notify(manager: &Manager, look: &dyn Fn(), name: &str) {
    if !root() {
        return;
    }
    give_descriptors(manager, look, &mut |text, numbers| {
        let (name, text, numbers) = (name.to_owned(), text.to_owned(), numbers.to_vec());
        let mut stranger = Command::new("true");
        stranger.uid(STRANGER).gid(STRANGER);
        // SAFETY: it allocates, which no other thread of this process keeps it from: the C library sees to that in a child.
        unsafe {
            stranger.pre_exec(move || {
                let taken = notify(&UnixDatagram::unbound()?, &name, &text, &numbers);
                if taken { Ok(()) } else { Err(std::io::ErrorKind::WouldBlock.into()) }
            });
        }
        stranger.status().is_ok_and(|status| status.success())
    });
}

/// The socket at which workers of another user speak: their user gets in, and may say no more than they may.
#[test]
fn the_socket_of_workers_of_another_user() {
    if !root() {
        return;
    }
    let setup = setup("pause");
    let options = format!("-n 2 --ack manual --ack-deadline 1h --user {STRANGER}");
    let mut manager = setup.program(&["sleep", "100000"]).options(&options).start();
    let pids = manager.pids("starting");
    let path = environment_of(pids[0], "EINHORN_SOCK_PATH");
    let look = || answers_in_time(|| drop(manager.done(&["status"])));
    // As root this is a person who is let in there, and may ask for what workers may.
    assault(&manager, &mut Dice::new("ack"), Path::new(&path), &look);
    // Somebody of that user, who is no worker, on as many connections as there are, and never silent.
    let mut stranger = Command::new("true");
    stranger.uid(STRANGER).gid(STRANGER);
    let target = path.clone();
    let mut dice = Dice::new("ack of strangers");
    let payloads: Vec<Vec<u8>> = (0..PAYLOADS).map(|_| dice.payload(&FORMS)).collect();
    // SAFETY: as above.
    unsafe {
        stranger.pre_exec(move || {
            let mut crowd = Vec::new();
            for payload in &payloads {
                if crowd.len() < 70
                    && let Ok(stream) = UnixStream::connect(&target)
                {
                    stream.set_nonblocking(true)?;
                    crowd.push(stream);
                }
                for stream in &mut crowd {
                    push(stream, payload);
                }
            }
            Ok(())
        });
    }
    assert!(stranger.status().unwrap().success());
    look();
    assert_eq!(manager.pids("starting"), pids, "nobody was declared ready");
    unharmed(&manager, &pids);
    let refused = said(Path::new(&path), format!("{}\n", json!({"command": "version"})).as_bytes());
    assert!(!refused.is_empty());
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}

fn environment_of(pid: i32, name: &str) -> String {
    loop {
        if let Some(value) = environment(pid).get(name) {
            return value.clone();
        }
        std::thread::yield_now();
    }
}
