//! The real binary: a rogues' gallery of new versions, each upgraded to under load. Whatever the new version does, no
//! request fails, the verb exits with the code that says what became of it, and the fleet is of one generation.
//!
//! With two workers each is a test; with fifty all of them are one, so that no more than
//! fifty start at a time. `make gallery` shows the figures.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::process::{Output, lives, wait_gone};
use support::{Manager, Setup, copy_program, replace_by_link, setup, worker, write_program};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

/// A worker that is as it should be.
const GOOD: &str = "ack serve";

/// A fleet, to be upgraded.
fn fleet(workers: u32, options: &str) -> Setup {
    setup(GOOD)
        .options("-b 127.0.0.1:0 --ack manual --backoff 20ms:1:20ms")
        .options(&format!("-n {workers} {options}"))
}

/// Upgrades under load by `upgrade`; says how that has to end, by exit code and words, and which generation is up then.
fn meet(
    name: &str,
    manager: &Manager,
    workers: u32,
    upgrade: impl FnOnce() -> Output,
    (code, words, generation): (i32, &str, u32),
) {
    let traffic = Traffic {
        connections: 4,
        pause: Duration::from_millis(2),
        limit: Duration::from_secs(10),
        ..Traffic::to(manager.address())
    };
    let load = Load::start(traffic).unwrap();
    let begun = Instant::now();
    let output = upgrade();
    let took = begun.elapsed();
    let told = output.stderr.lines().last().unwrap_or_default().to_owned() + &output.stdout;
    assert_eq!(output.code, Some(code), "{name}: {output:?}\n{}", manager.log.text());
    assert!(told.contains(words), "{name}: {told}");
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{name}: {report}\n{}", manager.log.text());
    let mut serving = manager.workers();
    serving.retain(|worker| worker["phase"] == "ready");
    assert_eq!(serving.len(), workers as usize, "{name}: {serving:?}");
    assert!(serving.iter().all(|worker| worker["generation"] == generation), "{name}: {serving:?}");
    println!("{name}, {workers} workers: exit code {code} after {} ms, {report}", took.as_millis());
}

/// A new version that does what `script` says.
fn scripted(name: &str, workers: u32, options: &str, script: &str, wanted: (i32, &str, u32)) -> Manager {
    let manager = fleet(workers, options).start();
    manager.up();
    manager.next_script(script);
    meet(name, &manager, workers, || manager.verb(&["upgrade"]), wanted);
    manager
}

fn exits_at_once(workers: u32) {
    scripted("exits at once", workers, "", "exit:3", (5, "exit code 3", 1));
}

fn exits_after_it_is_ready(workers: u32) {
    let options = "--canary-time 30s";
    scripted("exits after it is ready", workers, options, "ack exit:3", (5, "exit code 3", 1));
}

fn never_ready(workers: u32) {
    // The good ones get ready in time also where that takes longer: their deadline is that of the manager's start.
    let manager = fleet(workers, "--ack-deadline 20s --upgrade-timeout 1s").start();
    manager.up();
    manager.next_script("pause");
    meet("never ready", &manager, workers, || manager.verb(&["upgrade"]), (5, "not done within 1 s", 1));
    drop(manager);
    // If one of the good ones takes longer, it is tried again before the upgrade begins.
    let options = "--ack-deadline 1500ms --upgrade-attempts 2 --stop-timeout 20s";
    scripted("misses its deadline", workers, options, "pause", (5, "not ready in time", 1));
}

fn ready_then_dies_after_a_second(workers: u32) {
    let options = "--canary-time 30s --upgrade-attempts 1";
    scripted("ready, then dies", workers, options, "ack exit-after:1000:1", (5, "exit code 1", 1));
}

/// The program is replaced by another file.
fn replaced(name: &str, workers: u32, make: impl FnOnce(&Path), words: &str) {
    let manager = fleet(workers, "").start();
    manager.up();
    let rogue = manager.path("rogue");
    make(&rogue);
    replace_by_link(&manager.path("program"), &rogue);
    meet(name, &manager, workers, || manager.verb(&["upgrade"]), (5, words, 1));
}

fn not_executable(workers: u32) {
    replaced(
        "not executable",
        workers,
        |path| fs::write(path, "#!/bin/sh\n").unwrap(),
        "it is not executable",
    );
}

fn missing_interpreter(workers: u32) {
    let make = |path: &Path| write_program(path, "#!/no/such/python3\n");
    replaced("missing interpreter", workers, make, "its interpreter /no/such/python3: no such file");
}

fn interpreter_not_executable(workers: u32) {
    let make = |path: &Path| {
        let interpreter = path.with_file_name("python3");
        fs::write(&interpreter, "").unwrap();
        write_program(path, &format!("#!{}\n", interpreter.display()));
    };
    replaced("interpreter not executable", workers, make, "/python3: it is not executable");
}

fn fills_its_standard_error(workers: u32) {
    let make = |path: &Path| write_program(path, "#!/bin/sh\nyes nonsense | head -c 1000000 >&2\nexit 4\n");
    replaced("fills standard error", workers, make, "exit code 4");
    // The same through a pipe that the manager reads.
    let setup = fleet(workers, "--stderr-log");
    let log = setup.path("log");
    let manager = setup.option(format!("prefix:{}", log.display())).start();
    manager.up();
    let rogue = manager.path("rogue");
    make(&rogue);
    replace_by_link(&manager.path("program"), &rogue);
    let upgrade = || manager.verb(&["upgrade"]);
    meet("fills standard error, captured", &manager, workers, upgrade, (5, "exit code 4", 1));
    assert!(fs::read_to_string(log).unwrap().contains("nonsense"));
}

fn wrong_directory(workers: u32) {
    let manager = fleet(workers, "");
    let current = manager.path("current");
    fs::create_dir(manager.path("release")).unwrap();
    replace_by_link(&current, &manager.path("release"));
    let manager = manager.option("-C").option(&current).start();
    manager.up();
    replace_by_link(&current, &manager.path("nowhere"));
    let wanted = (5, "cannot use directory", 1);
    meet("wrong directory", &manager, workers, || manager.verb(&["upgrade"]), wanted);
}

fn crashes_in_one_slot_only(workers: u32) {
    let slot = 2.min(workers - 1);
    let options = format!("--env {}={{slot}}", worker::SLOT);
    let script = format!("in-slot:{slot}:exit=1 ack serve");
    scripted("crashes in one slot", workers, &options, &script, (7, "generation 1 is back", 1));
}

fn ignores_the_signal(workers: u32) {
    let options = "--upgrade-attempts 1 --ack-deadline 10s --upgrade-timeout 1s --stop-timeout 300ms";
    let script = "ignore:TERM stop-on:USR1 note:{dir}/deaf pause";
    let manager = scripted("ignores TERM", workers, options, script, (5, "not done within 1 s", 1));
    for pid in worker::noted(&manager.path("deaf")) {
        manager.log.line(&format!("pid {pid} gen 2: gone: killed by signal KILL"));
        assert!(!lives(pid));
    }
}

fn takes_long_to_start(workers: u32) {
    // One after the other, and all at once: in a fleet nobody goes through before the last has come to the gate.
    for (options, at_once) in [("", 1), ("--upgrade fleet", workers)] {
        takes_long_to_start_as(workers, options, at_once);
    }
}

/// As long as the test wants: until `at_once` of them have come to a gate.
fn takes_long_to_start_as(workers: u32, options: &str, at_once: u32) {
    let manager = fleet(workers, options).start();
    manager.up();
    let gate = manager.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    manager.next_script("gate:{dir}/gate ack serve");
    let upgrade = || {
        let mut events = manager.events();
        let verb = manager.begin(&["upgrade"]);
        for _ in 0..at_once {
            events.until("spawned");
        }
        assert_eq!(manager.group()["state"], "upgrading");
        // Open for all that wait, and for those that come to it later.
        let _open = fs::OpenOptions::new().read(true).write(true).open(&gate).unwrap();
        verb.output()
    };
    meet("takes long to start", &manager, workers, upgrade, (0, "generation 2 is up", 2));
}

fn forks_and_leaves(workers: u32) {
    let wanted = (5, "exit code 0", 1);
    let options = "--stop-timeout 300ms";
    let manager = scripted("forks and leaves", workers, options, "grandchild exit:0", wanted);
    let left = worker::noted(&manager.path("grandchildren"));
    // They have the time that a worker has to stop, and ignore that they are asked to.
    assert!(!left.is_empty() && left.iter().all(|&pid| wait_gone(pid)), "{left:?}");
}

fn binds_the_port_itself(workers: u32) {
    scripted("binds the port", workers, "", "bind ack serve", (5, "exit code 1", 1));
}

fn the_old_release_is_deleted(workers: u32) {
    let manager = fleet(workers, "");
    let current = manager.path("current");
    for release in ["one", "two"] {
        fs::create_dir(manager.path(release)).unwrap();
        copy_program(&std::env::current_exe().unwrap(), &manager.path(release).join("server"));
    }
    replace_by_link(&current, &manager.path("one"));
    let words = ["--exact", "worker_entry", "--nocapture", "--test-threads=1"].map(Into::into);
    let program = [&[current.join("server").into_os_string()], &words[..]].concat();
    let manager = manager.program(&program).start();
    manager.up();
    replace_by_link(&current, &manager.path("two"));
    fs::remove_dir_all(manager.path("one")).unwrap();
    manager.next_script(&format!("first:{{dir}}/turns:{} ack serve", workers - 1));
    let wanted = (7, "generation 1 is back", 1);
    meet("the old release is deleted", &manager, workers, || manager.verb(&["upgrade"]), wanted);
    // What runs is the old one all the same.
    for pid in manager.pids("ready") {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert!(program.to_string_lossy().ends_with("/one/server (deleted)"), "{program:?}");
    }
}

macro_rules! gallery {
    ($($rogue:ident)*) => {
        mod two {
            $(#[test] fn $rogue() { super::$rogue(2) })*
        }

        #[test]
        fn fifty() {
            $(self::$rogue(50);)*
        }
    };
}

gallery! {
    exits_at_once
    exits_after_it_is_ready
    never_ready
    ready_then_dies_after_a_second
    not_executable
    missing_interpreter
    interpreter_not_executable
    fills_its_standard_error
    wrong_directory
    crashes_in_one_slot_only
    ignores_the_signal
    takes_long_to_start
    forks_and_leaves
    binds_the_port_itself
    the_old_release_is_deleted
}
