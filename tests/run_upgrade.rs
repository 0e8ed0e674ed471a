//! The real binary: upgrades of each kind, those that fail, and what the waiting verb says.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::http::{self, Connection};
use support::process::lives;
use support::{LIMIT, Manager, pid_of, replace_by_link, root, setup, skip, tool, worker, write_program};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Every worker is of this generation and ready.
fn assert_generation(manager: &Manager, generation: u32, count: usize) {
    let workers = manager.workers();
    let serving: Vec<&Value> = workers.iter().filter(|worker| worker["phase"] == "ready").collect();
    assert_eq!(serving.len(), count, "{workers:?}");
    assert!(serving.iter().all(|worker| worker["generation"] == generation), "{workers:?}");
}

fn upgrades_under_load(options: &str) -> Vec<Value> {
    let manager = setup("serve").options("-b 127.0.0.1:0 -n 4 --ack timer:100ms").options(options).start();
    manager.up();
    let mut events = manager.events();
    let traffic = Traffic {
        connections: 4,
        pause: Duration::from_millis(1),
        limit: Duration::from_secs(10),
        ..Traffic::to(manager.address())
    };
    let load = Load::start(traffic).unwrap();
    for generation in 2..4 {
        let output = manager.done(&["upgrade", "--wait-drained"]);
        assert!(output.stdout.contains(&format!("generation {generation} is up")), "{output:?}");
        assert_generation(&manager, generation, 4);
        assert_eq!(manager.workers().len(), 4);
    }
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    events.until_that("last end of an upgrade", |event| event["event"] == "upgrade-done" && event["to"] == 3);
    events.into_seen()
}

/// Position of the first event that fits.
fn first(events: &[Value], name: &str, generation: u32) -> usize {
    let fits = |event: &Value| event["event"] == name && event["generation"] == generation;
    events.iter().position(fits).unwrap_or_else(|| panic!("no {name} of generation {generation}"))
}

fn last(events: &[Value], name: &str, generation: u32) -> usize {
    let fits = |event: &Value| event["event"] == name && event["generation"] == generation;
    events.iter().rposition(fits).unwrap_or_else(|| panic!("no {name} of generation {generation}"))
}

// pitfall 26
#[test]
fn rolling_upgrades_lose_no_request() {
    // At most one worker more than wanted, with four of them and the default surge.
    let events = upgrades_under_load("");
    assert!(first(&events, "ready", 2) < first(&events, "stopping", 1));
    assert!(first(&events, "stopping", 1) < last(&events, "spawned", 2), "one slot after the other");
    let mut serving = 4_i32;
    for event in &events {
        serving += i32::from(event["event"] == "spawned") - i32::from(event["event"] == "stopping");
        assert!((4..=5).contains(&serving), "{serving} serving after {event}");
    }
}

#[test]
fn fleet_upgrades_lose_no_request() {
    let events = upgrades_under_load("--upgrade fleet");
    // Nobody is asked to go before all are there.
    assert!(last(&events, "ready", 2) < first(&events, "stopping", 1));
    assert!(last(&events, "spawned", 2) < first(&events, "ready", 2), "all at once");
}

#[test]
fn stop_first_upgrades_lose_no_request() {
    let events = upgrades_under_load("--upgrade stop-first --surge 50%");
    assert!(first(&events, "stopping", 1) < first(&events, "spawned", 2));
    let mut serving = 4_i32;
    for event in &events {
        serving += i32::from(event["event"] == "spawned") - i32::from(event["event"] == "stopping");
        assert!((2..=4).contains(&serving), "{serving} serving after {event}");
    }
}

#[test]
fn a_larger_surge_replaces_more_at_a_time() {
    let manager = setup("pause").options("-n 4 --ack timer:200ms --surge 100%").start();
    manager.up();
    let mut events = manager.events();
    manager.done(&["upgrade"]);
    events.until("upgrade-done");
    let events = events.into_seen();
    assert!(last(&events, "spawned", 2) < first(&events, "ready", 2));
}

#[test]
fn a_hangup_signal_upgrades() {
    let manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    let mut events = manager.events();
    manager.signal(Signal::SIGHUP);
    assert_eq!(events.until("upgrade-done")["to"], 2);
    assert_generation(&manager, 2, 2);
}

#[test]
fn no_wait_returns_at_once() {
    let manager = setup("pause").options("--ack timer:500ms").start();
    manager.up();
    let mut events = manager.events();
    let output = manager.done(&["upgrade", "--no-wait"]);
    assert!(output.stdout.contains("upgrading"), "{output:?}");
    assert_eq!(manager.group()["state"], "upgrading");
    events.until("upgrade-done");
}

#[test]
fn a_timeout_ends_the_verb_and_not_the_upgrade() {
    let manager = setup("pause").options("--ack timer:1s").start();
    manager.up();
    let mut events = manager.events();
    let output = manager.verb(&["upgrade", "--timeout", "100ms"]);
    assert_eq!(output.code, Some(6), "{output:?}");
    events.until("upgrade-done");
    assert_generation(&manager, 2, 1);
}

/// An upgrade that fails before anything was touched.
fn refuses_to_upgrade(manager: &Manager, reason: &str) {
    let before = manager.pids("ready");
    let output = manager.verb(&["upgrade"]);
    assert_eq!(output.code, Some(5), "{output:?}\n{}", manager.log.text());
    assert!(output.stderr.contains(reason), "{output:?}");
    assert!(output.stderr.lines().last().unwrap().starts_with("remuda: "), "{output:?}");
    let mut events = manager.events();
    events.up();
    assert_eq!(manager.pids("ready"), before, "the workers are the same");
    assert_eq!(manager.group()["state"], "up");
}

// pitfall 9
#[test]
fn a_program_that_exits_at_once_does_not_replace_one_that_works() {
    let manager = setup("ack pause").options("-n 3 --ack manual --backoff 50ms").start();
    manager.up();
    manager.next_script("exit:7");
    refuses_to_upgrade(&manager, "3 failures in a row, the last: died: exit code 7");
    assert_eq!(manager.group()["generation"], 1);
}

#[test]
fn a_program_that_cannot_be_run_does_not_replace_one_that_works() {
    // Refused before workers are touched.
    let manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    let program = manager.path("program");
    let plain = manager.path("plain");
    fs::write(&plain, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    replace_by_link(&program, &plain);
    refuses_to_upgrade(&manager, "it is not executable");

    let foreign = manager.path("foreign");
    write_program(&foreign, "\x7fELF this is none");
    replace_by_link(&program, &foreign);
    refuses_to_upgrade(&manager, "exec format error");

    fs::remove_file(&program).unwrap();
    refuses_to_upgrade(&manager, "no such file or directory");

    replace_by_link(&program, &std::env::current_exe().unwrap());
    manager.done(&["upgrade"]);
}

#[test]
fn a_user_that_is_gone_is_told_of_before_a_worker_is_touched() {
    if !root() || !tool("unshare") {
        return;
    }
    let setup = setup("").options("-n 2 --ack none --user drover").program(&["sleep", "1000"]);
    let users = setup.path("passwd");
    let list = "root:x:0:0::/root:/bin/sh\ndrover:x:4711:4711::/:/bin/sh\n";
    fs::write(&users, list).unwrap();
    let inner = setup.command();
    let bind = "mount --bind \"$1\" /etc/passwd || exit 77; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", bind, "sh"]).arg(&users).arg(inner.get_program()).args(inner.get_args());
    let allowed =
        Command::new("unshare").args(["-m", "mount", "--bind", "/dev/null", "/etc/passwd"]).output();
    if !allowed.unwrap().status.success() {
        return skip("no mount namespace can be had");
    }
    let manager = setup.start_as(command);
    manager.up();
    // The same file, as the mount is of that.
    fs::write(&users, "root:x:0:0::/root:/bin/sh\n").unwrap();
    refuses_to_upgrade(&manager, "unknown user \"drover\"");
    fs::write(&users, list).unwrap();
    manager.done(&["upgrade"]);
}

// pitfall 10
#[test]
fn a_new_generation_is_looked_up_anew_and_respawns_use_it() {
    // A `current` link that is switched, and the old release deleted.
    let setup = setup("pause");
    for release in ["one", "two"] {
        let directory = setup.path(release);
        fs::create_dir(&directory).unwrap();
        let program = directory.join("server");
        let log = setup.path("where");
        write_program(&program, &format!("#!/bin/sh\npwd -P >>{}\nexec sleep 1000\n", log.display()));
    }
    let current = setup.path("current");
    replace_by_link(&current, &setup.path("one"));
    let places = |manager: &Manager| -> Vec<String> {
        let text = fs::read_to_string(manager.path("where")).unwrap();
        text.lines().map(|line| Path::new(line).file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let program = current.join("server");
    let manager =
        setup.options("--ack timer:300ms").option("-C").option(&current).program(&[program]).start();
    manager.up();
    assert_eq!(places(&manager), ["one"]);
    // The link is switched, and nobody has asked for an upgrade.
    replace_by_link(&current, &manager.path("two"));
    let mut events = manager.events();
    manager.done(&["signal", "KILL"]);
    events.until("ready");
    assert_eq!(places(&manager), ["one", "one"]);
    manager.done(&["upgrade"]);
    fs::remove_dir_all(manager.path("one")).unwrap();
    assert_eq!(places(&manager), ["one", "one", "two"]);
    manager.done(&["signal", "KILL"]);
    events.until_that("respawn", |event| event["event"] == "died" && event["generation"] == 2);
    events.until("ready");
    assert_eq!(places(&manager), ["one", "one", "two", "two"]);
    // And where the committed release is gone altogether, the path as written will do.
    replace_by_link(&current, &manager.path("two"));
    fs::rename(manager.path("two"), manager.path("three")).unwrap();
    replace_by_link(&current, &manager.path("three"));
    manager.done(&["signal", "KILL"]);
    events.until("ready");
    assert_eq!(places(&manager).last().unwrap(), "three");
}

#[test]
fn an_upgrade_that_fails_half_way_is_rolled_back() {
    // Two new workers come up, then the program fails.
    let manager = setup("ack pause").options("-n 4 --ack manual --backoff 50ms").start();
    manager.up();
    let mut events = manager.events();
    manager.next_script("first:{dir}/turns:2 ack pause");
    let output = manager.verb(&["upgrade"]);
    assert_eq!(output.code, Some(7), "{output:?}\n{}", manager.log.text());
    assert!(output.stderr.contains("generation 1 is back"), "{output:?}");
    events.until("upgrade-failed");
    assert_eq!(events.until("rolled-back")["to"], 1);
    assert_generation(&manager, 1, 4);
    assert_eq!(manager.group()["state"], "up");
    // The next one counts on.
    manager.next_script("ack pause");
    manager.done(&["upgrade"]);
    assert_generation(&manager, 3, 4);
}

// pitfall 17
#[test]
fn a_missed_ack_deadline_fails_the_upgrade() {
    // No wait without a deadline.
    let manager = setup("ack pause").options("-n 2 --ack manual --ack-deadline 300ms --backoff 50ms").start();
    manager.up();
    let before = manager.pids("ready");
    manager.next_script("pause");
    let begin = Instant::now();
    let output = manager.verb(&["upgrade"]);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.stderr.contains("not ready in time"), "{output:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(manager.pids("ready"), before);
}

// pitfall 15
#[test]
fn a_second_upgrade_takes_the_place_of_the_first() {
    let manager = setup("ack pause").options("-n 2 --ack manual").start();
    manager.up();
    let mut events = manager.events();
    manager.next_script("pause");
    let first = manager.begin(&["upgrade"]);
    events.until_that("worker of the first upgrade", |event| {
        event["event"] == "spawned" && event["generation"] == 2
    });
    manager.next_script("ack pause");
    manager.done(&["upgrade"]);
    let first = first.output();
    assert_eq!(first.code, Some(8), "{first:?}");
    assert!(first.stderr.contains("the upgrade to generation 3 took its place"), "{first:?}");
    assert_generation(&manager, 3, 2);
    events.until("upgrade-done");
    assert_eq!(events.seen("superseded").len(), 1);
}

/// Asks until a worker of this generation answers, and returns its pid. One that was asked to go a moment ago may accept
/// another connection before it hears of that.
fn answered_by(address: SocketAddr, generation: u32) -> i32 {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (pid, answers) = http::who(&http::get(address, "/").unwrap());
        if answers == generation {
            return pid;
        }
        assert!(Instant::now() < deadline, "generation {answers} goes on answering");
    }
}

// pitfall 14
#[test]
fn clients_with_long_connections_hold_up_nobody() {
    let manager = setup("serve").options("-b 127.0.0.1:0 -n 2 --ack timer:100ms --drain-timeout 2s").start();
    manager.up();
    let address = manager.address();
    let mut held: Vec<Connection> = Vec::new();
    let mut holders = Vec::new();
    // Until both workers hold one.
    while holders.len() < 2 {
        let mut connection = Connection::open(address).unwrap();
        let (pid, _) = http::who(&connection.ask("/").unwrap());
        if !holders.contains(&pid) {
            holders.push(pid);
        }
        held.push(connection);
    }
    let mut events = manager.events();
    manager.done(&["upgrade"]);
    let pid = answered_by(address, 2);
    assert!(!holders.contains(&pid));
    // The old ones drain: visible, and still serving whom they have.
    assert_eq!(manager.pids("stopping").len(), 2);
    let shown = manager.done(&["status"]).stdout;
    assert!(shown.contains("stopping"), "{shown}");
    for connection in &mut held {
        let (pid, generation) = http::who(&connection.ask("/").unwrap());
        assert!(generation == 1 && holders.contains(&pid));
    }
    // The next upgrade is not blocked by them.
    let begin = Instant::now();
    manager.done(&["upgrade", "--timeout", "20s"]);
    answered_by(address, 3);
    // And their time is bounded.
    for _ in 0..2 {
        events.until("killing");
    }
    assert!(begin.elapsed() < Duration::from_secs(15));
    events.until_that("end of the drain", |event| event["event"] == "gone" && event["draining"] == 0);
    assert!(held[0].ask("/").is_err());
}

#[test]
fn slow_requests_finish_and_new_connections_do_not_wait() {
    let manager = setup("serve").options("-b 127.0.0.1:0 -n 4 --ack timer:100ms").start();
    manager.up();
    let address = manager.address();
    // A slow request on every worker.
    let mut slow: Vec<Connection> = Vec::new();
    let mut busy = Vec::new();
    while busy.len() < 4 {
        let mut connection = Connection::open(address).unwrap();
        let (pid, _) = http::who(&connection.ask("/").unwrap());
        if !busy.contains(&pid) {
            busy.push(pid);
            connection.send("/slow?3000").unwrap();
            slow.push(connection);
        }
    }
    let upgrade = manager.begin(&["upgrade"]);
    let mut longest = Duration::ZERO;
    let mut events = manager.events();
    let mut last_generation = 1;
    while last_generation < 2 || longest == Duration::ZERO {
        let begin = Instant::now();
        (_, last_generation) = http::who(&http::get(address, "/").unwrap());
        longest = longest.max(begin.elapsed());
    }
    assert_eq!(upgrade.output().code, Some(0));
    for _ in 0..50 {
        let begin = Instant::now();
        http::get(address, "/").unwrap();
        longest = longest.max(begin.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "a new connection waited {longest:?}");
    for (mut connection, pid) in slow.into_iter().zip(busy) {
        assert_eq!(http::who(&connection.receive().unwrap()), (pid, 1));
    }
    events.until_that("end of the drain", |event| event["draining"] == 0 && event["event"] == "gone");
    assert!(events.seen("killing").is_empty());
}

#[test]
fn workers_that_are_replaced_do_not_count_as_restarted() {
    let manager = setup("pause").options("-n 2 --ack none").start();
    manager.up();
    let old = manager.pids("ready");
    manager.done(&["upgrade", "--wait-drained", "--json"]);
    for worker in manager.workers() {
        assert_eq!(worker["restarts"], 0, "{worker}");
        assert!(!old.contains(&pid_of(&worker)));
    }
    assert!(!old.into_iter().any(lives));
}

// pitfall 12
#[test]
fn environment_files_are_read_anew_and_never_pile_up() {
    let manager = setup("pause").options("--ack none").start();
    manager.up();
    let variables = |manager: &Manager| {
        let mut variables = support::process::environment(manager.pids("ready")[0]);
        variables.remove("LISTEN_PID");
        variables
    };
    let mut first = variables(&manager);
    manager.next_script("pause pause");
    manager.done(&["upgrade"]);
    let mut second = variables(&manager);
    assert_eq!(second.remove(worker::SCRIPT).as_deref(), Some("pause pause"));
    first.remove(worker::SCRIPT);
    assert_eq!(second.insert("SERVER_STARTER_GENERATION".into(), "1".into()).as_deref(), Some("2"));
    // The index of an upgraded worker depends on who lived at the time.
    first.remove("EINHORN_CHILD_INDEX");
    second.remove("EINHORN_CHILD_INDEX");
    assert_eq!(first, second);
    // A file that is gone refuses the upgrade.
    fs::remove_file(manager.path("env")).unwrap();
    let output = manager.verb(&["upgrade"]);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert_eq!(manager.group()["generation"], json!(2));
}

#[test]
fn a_program_that_has_changed_is_upgraded_to_unasked() {
    let setup = setup("").options("--ack none --auto-upgrade");
    for release in ["one", "two"] {
        support::write_program(&setup.path(release), "#!/bin/sh\nexec sleep 1000\n");
    }
    support::replace_by_link(&setup.path("current"), &setup.path("one"));
    let program = setup.path("current");
    let manager = setup.program(&[program.as_os_str()]).start();
    manager.up();
    let mut events = manager.events();
    support::replace_by_link(&manager.path("current"), &manager.path("two"));
    events.until("program-changed");
    assert_eq!(events.until("upgrade-done")["to"], 2);
}

#[test]
fn auto_upgrade_is_a_key_too() {
    let setup = setup("");
    support::write_program(&setup.path("program.sh"), "#!/bin/sh\nexec sleep 1000\n");
    let text =
        "[web]\nexec_start = './program.sh'\nworking_directory = 'DIR'\nack = 'none'\nauto_upgrade = true\n";
    std::fs::write(setup.path("site.toml"), text.replace("DIR", setup.path("").to_str().unwrap())).unwrap();
    let mut command = std::process::Command::new(support::REMUDA);
    command.args(["run", "-c"]).arg(setup.path("site.toml")).arg("--control").arg(setup.path("c.sock"));
    let manager = setup.start_as(command);
    manager.up();
    let mut events = manager.events();
    support::write_program(&manager.path("program.new"), "#!/bin/sh\nexec sleep 2000\n");
    std::fs::rename(manager.path("program.new"), manager.path("program.sh")).unwrap();
    assert_eq!(events.until("upgrade-done")["to"], 2);
}

#[test]
fn who_waits_for_an_upgrade_reads_what_the_new_worker_wrote_last() {
    let setup = setup("ack pause").options("-n 1 --ack manual --upgrade-attempts 1 --stderr-log");
    let log = format!("prefix:{}", setup.path("log").display());
    let manager = setup.option(log).start();
    manager.up();
    let rogue = manager.path("rogue");
    write_program(
        &rogue,
        "#!/bin/sh\nyes nonsense | head -c 90000 >&2\necho \"no such key:\nPORT\" >&2\nexit 3\n",
    );
    replace_by_link(&manager.path("program"), &rogue);
    let failed = manager.verb(&["upgrade"]);
    assert_eq!(failed.code, Some(5), "{failed:?}");
    assert!(failed.stderr.contains(" wrote: no such key:\nremuda: "), "{failed:?}");
    assert!(failed.stderr.contains(" wrote: PORT\nremuda: "), "{failed:?}");
    assert_eq!(failed.stderr.matches(" wrote: ").count(), 8, "{failed:?}");
    let why = manager.done(&["why"]).stdout;
    assert!(
        why.contains("died: exit code 3 after ") && why.ends_with("    | no such key:\n    | PORT\n"),
        "{why}"
    );
    // The one that is there again has written nothing.
    assert_eq!(manager.pids("ready").len(), 1);
}

#[test]
fn a_script_that_was_written_over_is_told_of_before_the_upgrade_begins() {
    let setup = setup("").options("-n 1 --ack none");
    let script = setup.path("app");
    write_program(&script, "#!/bin/sh\nexec sleep 1000\n");
    let manager = setup.program(&[&script]).start();
    manager.up();
    write_program(&script, "#!/bin/sh\n# the next version\nexec sleep 1000\n");
    manager.done(&["upgrade"]);
    manager.log.line("upgraded: all workers are of generation 2");
    let text = manager.log.text();
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("no {words:?} in\n{text}"));
    assert!(place("is not the file any more that it was") < place("upgrading: generation 1 -> 2"), "{text}");
    // And there is nothing to go back to.
    let refused = manager.verb(&["rollback"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("is not the file any more that it was"), "{refused:?}");
    assert_eq!(manager.group()["generation"], 2);
}
