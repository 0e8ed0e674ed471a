//! The real binary: what can be asked by hand around an upgrade - to go back, to end who drains, to wait for one's turn -
//! and what status and `why` tell of it.

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::process::{Output, Running, lives};
use support::{Manager, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// What asks such a worker to go is USR1, and no manager knows that.
const STUBBORN: &str = "ignore:TERM stop-on:USR1 ack pause";

/// Begins an upgrade to workers that do what `script` says, and waits until the first of them is there.
fn upgrading(manager: &Manager, script: &str) -> Running {
    let mut events = manager.events();
    manager.next_script(script);
    let verb = manager.begin(&["upgrade"]);
    events.until_that("worker of the next generation", |event| {
        event["event"] == "spawned" && event["generation"] == 2
    });
    verb
}

fn gate(manager: &Manager) -> PathBuf {
    let gate = manager.path("gate");
    nix::unistd::mkfifo(&gate, Mode::S_IRWXU).unwrap();
    gate
}

/// Lets all through that wait at the gate, and those that come to it while the file is held.
fn open(gate: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).open(gate).unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32, words: &str) {
    let told = format!("{}{}", output.stderr, output.stdout);
    assert!(output.code == Some(code) && told.contains(words), "no {code}, {words:?}: {output:?}");
}

/// What the last upgrades came to, as `FROM-TO RESULT`.
fn history(manager: &Manager) -> Vec<String> {
    let told = |upgrade: &Value| {
        format!("{}-{} {}", upgrade["from"], upgrade["to"], upgrade["result"].as_str().unwrap())
    };
    manager.group()["upgrades"].as_array().unwrap().iter().map(told).collect()
}

/// The generations that status lists, as `NUMBER ROLE READY DRAINING`.
fn generations(manager: &Manager) -> Vec<String> {
    let told = |of: &Value| {
        let role = of["role"].as_str().unwrap();
        format!("{} {role} {} {}", of["generation"], of["ready"], of["draining"])
    };
    manager.group()["generations"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn rollback_goes_back_to_the_generation_before_and_no_further() {
    let manager = setup("note:{dir}/first ack pause").options("-n 2 --ack manual").start();
    manager.up();
    ends(&manager.verb(&["rollback"]), 4, "there is no generation to go back to before generation 1");
    manager.next_script("ack pause");
    manager.done(&["upgrade", "--wait-drained"]);
    assert_eq!(generations(&manager), ["2 current 2 0", "1 previous 0 0"]);

    manager.done(&["rollback", "--wait-drained"]);
    assert_eq!(generations(&manager), ["1 current 2 0"]);
    assert_eq!(history(&manager), ["1-2 done", "2-1 done"]);
    // With all that the generation had: these have noted their pids too.
    let noted = worker::noted(&manager.path("first"));
    assert!(noted.len() == 4 && manager.pids("ready").iter().all(|pid| noted.contains(pid)), "{noted:?}");
    ends(&manager.verb(&["rollback"]), 4, "there is no generation to go back to before generation 1");
}

#[test]
fn rollback_calls_off_an_upgrade_that_has_replaced_nobody() {
    let manager = setup("ack pause").options("-n 2 --ack manual").start();
    manager.up();
    let before = manager.pids("ready");
    let upgrade = upgrading(&manager, "pause");
    assert_eq!(generations(&manager)[1], "1 old 2 0");
    manager.done(&["rollback"]);
    ends(&upgrade.output(), 5, "called off by hand; generation 1 was not touched");
    assert_eq!(manager.pids("ready"), before);
    assert_eq!(history(&manager), ["1-2 failed"]);
}

#[test]
fn rollback_takes_back_what_a_running_upgrade_has_replaced() {
    let manager = setup("ack pause").options("-n 2 --ack manual").start();
    manager.up();
    let mut events = manager.events();
    // Only the first one gets ready.
    let upgrade = upgrading(&manager, "once:{dir}/taken:ack pause");
    events.until_that("worker that is replaced", |event| event["event"] == "stopping");
    manager.done(&["rollback"]);
    ends(&upgrade.output(), 7, "called off by hand; generation 1 is back");
    events.until("rolled-back");
    let mut serving = manager.workers();
    serving.retain(|worker| worker["phase"] == "ready");
    assert!(serving.len() == 2 && serving.iter().all(|worker| worker["generation"] == 1), "{serving:?}");
    assert_eq!(history(&manager), ["1-2 rolled-back"]);
}

#[test]
fn drain_waits_for_a_generation_or_ends_it() {
    let manager = setup(STUBBORN).options("-n 2 --ack manual --drain-timeout 1h").start();
    manager.up();
    let old = manager.pids("ready");
    ends(&manager.verb(&["drain", "1"]), 4, "no worker of generation 1 is on its way out");
    manager.next_script("ack pause");
    manager.done(&["upgrade"]);
    assert_eq!(generations(&manager), ["2 current 2 0", "1 previous 0 2"]);
    assert!(manager.group()["generations"][1]["draining_ms"].is_u64());
    let shown = manager.done(&["status"]).stdout;
    assert!(shown.contains("generation 1") && shown.contains("2 draining"), "{shown}");

    // One goes, and whoever waits goes on waiting for the other. What is asked next is answered before.
    let mut events = manager.events();
    let mut waiting = manager.connect();
    waiting.send(&json!({"id": 1, "command": "drain", "generation": 1, "wait": true}));
    assert_eq!(waiting.ask(&json!({"id": 2, "command": "ping"}))["id"], 2);
    kill(Pid::from_raw(old[0]), Signal::SIGUSR1).unwrap();
    events.until_that("end", |event| event["event"] == "gone" && event["pid"] == old[0]);
    assert_eq!(generations(&manager)[1], "1 previous 0 1");
    manager.done(&["drain", "1", "--now"]);
    let answer = waiting.answer();
    assert!(answer["id"] == 1 && answer["ok"] == true, "{answer}");
    assert!(old.iter().all(|&pid| !lives(pid)));
    assert_eq!(generations(&manager)[1], "1 previous 0 0");
}

#[test]
fn an_upgrade_waits_for_the_one_before_where_asked_to() {
    let manager = setup("ack pause").options("-n 1 --ack manual --when-upgrading queue").start();
    manager.up();
    let gate = gate(&manager);
    let first = upgrading(&manager, "gate:{dir}/gate ack pause");
    let mut events = manager.events();
    let second = manager.begin(&["upgrade"]);
    events.until("upgrade-queued");
    manager.next_script("ack pause");
    let _open = open(&gate);
    ends(&first.output(), 0, "generation 2 is up");
    ends(&second.output(), 0, "generation 3 is up");
    assert_eq!(history(&manager), ["1-2 done", "2-3 done"]);
}

#[test]
fn an_upgrade_is_refused_during_another_where_asked_to() {
    let manager = setup("ack pause").options("-n 1 --ack manual --when-upgrading refuse").start();
    manager.up();
    let gate = gate(&manager);
    let first = upgrading(&manager, "gate:{dir}/gate ack pause");
    ends(&manager.verb(&["upgrade"]), 4, "an upgrade or restart is under way");
    let _open = open(&gate);
    ends(&first.output(), 0, "generation 2 is up");
    assert_eq!(history(&manager), ["1-2 done"]);
}

#[test]
fn a_canary_that_stays_ready_is_followed_by_the_others() {
    let manager = setup("ack pause").options("-n 3 --ack manual --surge 3 --canary-time 300ms").start();
    manager.up();
    let mut events = manager.events();
    manager.done(&["upgrade"]);
    events.until("upgrade-done");
    let events = events.into_seen();
    let proven = events.iter().position(|event| event["event"] == "canary-done").expect("an event");
    let spawned = |events: &[Value]| {
        let new = |event: &&Value| event["event"] == "spawned" && event["generation"] == 2;
        events.iter().filter(new).count()
    };
    assert_eq!((spawned(&events[..proven]), spawned(&events[proven..])), (1, 2), "{events:#?}");
    // Nobody was asked to go before.
    assert!(events[..proven].iter().all(|event| event["event"] != "stopping"), "{events:#?}");
}

#[test]
fn why_tells_of_one_slot_and_of_who_holds_up_a_stop() {
    let mut manager = setup(STUBBORN).options("-n 2 --ack manual --stop-timeout 1h").start();
    manager.up();
    let pids = manager.pids("ready");
    let one = manager.done(&["why", "web[1]"]).stdout;
    assert!(one.contains(&format!("web[1]: pid {} gen 1: ready for ", pids[1])), "{one}");
    assert!(!one.contains("web[0]"), "{one}");
    ends(&manager.verb(&["why", "web[2]"]), 4, "there is no slot 2");

    let mut events = manager.events();
    manager.signal(Signal::SIGTERM);
    for _ in &pids {
        events.until("stopping");
    }
    kill(Pid::from_raw(pids[0]), Signal::SIGUSR1).unwrap();
    events.until_that("end", |event| event["event"] == "gone" && event["pid"] == pids[0]);
    let why = manager.done(&["why"]).stdout;
    assert!(why.contains(&format!("web: the stop waits for pid {}\n", pids[1])), "{why}");
    assert!(why.contains("was asked to go ") && why.contains(" left"), "{why}");
    kill(Pid::from_raw(pids[1]), Signal::SIGUSR1).unwrap();
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn why_tells_of_an_image_that_the_kernel_has_written() {
    const CRASH: [&str; 3] = ["sh", "-c", "ulimit -c unlimited; kill -SEGV $$"];
    let setup = setup("").options("-n 1 --ack none --backoff 1h:1:1h");
    let directory = setup.path("");
    let crash = Command::new(CRASH[0]).args(&CRASH[1..]).current_dir(&directory).output().unwrap();
    if !crash.status.core_dumped() {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        return support::skip(&format!("the kernel writes no image to {:?}", pattern.trim()));
    }
    let setup = setup.option("-C").option(directory);
    let manager = setup.program(&CRASH).start();
    manager.log.line("died: killed by signal SEGV (core dumped)");
    let why = manager.done(&["why"]).stdout;
    assert!(why.contains("last exit: killed by signal SEGV (core dumped)"), "{why}");
}

/// Wants 256 MiB at a time, and ends.
const GREEDY: [&str; 5] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"];

/// A control group with little memory, gone when dropped.
struct Cramped(PathBuf);

impl Cramped {
    const BYTES: &str = "67108864";

    /// Nothing where none can be made.
    fn new() -> Option<Self> {
        let name = format!("remuda-test-{}", std::process::id());
        let unified = Path::new("/sys/fs/cgroup");
        let kinds = [
            (unified.to_owned(), "memory.max", "memory.swap.max"),
            (unified.join("memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        ];
        kinds.into_iter().find_map(|(parent, memory, with_swap)| {
            let path = parent.join(&name);
            fs::create_dir(&path).ok()?;
            let group = Cramped(path);
            // Where no control groups are, there may be a directory all the same.
            if !group.0.join(memory).exists() {
                return None;
            }
            // Without swap the second file is not there, and not needed.
            let swap = if with_swap == "memory.swap.max" { "0" } else { Self::BYTES };
            fs::write(group.0.join(memory), Self::BYTES).ok()?;
            let limited = fs::write(group.0.join(with_swap), swap).is_ok();
            let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default().lines().count() > 1;
            (limited || !swaps).then_some(group)
        })
    }

    /// The same command, as a member of the group.
    fn run(&self, command: &Command) -> Command {
        let mut joining = Command::new("sh");
        joining.arg("-c").arg("echo $$ >\"$1\" && shift && exec \"$@\"").arg("sh");
        joining.arg(self.0.join("cgroup.procs")).arg(command.get_program()).args(command.get_args());
        joining
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        // What was killed leaves it a moment later.
        let deadline = std::time::Instant::now() + support::LIMIT;
        let busy = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ResourceBusy;
        while fs::remove_dir(&self.0).is_err_and(|error| busy(&error)) && std::time::Instant::now() < deadline
        {
            std::thread::yield_now();
        }
    }
}

#[test]
fn why_tells_of_a_worker_that_was_killed_for_want_of_memory() {
    let Some(group) = Cramped::new() else {
        return support::skip("no control group with a limit of memory can be made here");
    };
    if group.run(Command::new(GREEDY[0]).args(&GREEDY[1..])).output().unwrap().status.signal() != Some(9) {
        return support::skip("a control group with a limit of memory does not keep to it");
    }
    let setup = setup("").options("-n 1 --ack none --backoff 1h:1:1h").program(&GREEDY);
    let command = group.run(&setup.command());
    let manager = setup.start_as(command);
    manager.log.line("died: killed by signal KILL (out of memory)");
    let why = manager.done(&["why"]).stdout;
    assert!(why.contains("last exit: killed by signal KILL (out of memory)"), "{why}");
    drop(manager);
}
