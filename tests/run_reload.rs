//! The real binary: a file of groups that is read again, and what it does not touch.

mod support;

use std::net::TcpStream;

use nix::sys::signal::Signal;
use support::http::{get, who};
use support::process::{self, descriptors, environment, wait_gone};
use support::site::{groups, rewrite, run, start, start_with, table, write};
use support::{Manager, REMUDA, setup, worker};

#[path = "../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use load::{Load, Traffic};

#[test]
fn worker_entry() {
    worker::enter();
}

/// The pids of a group's ready workers.
fn pids(manager: &Manager, name: &str) -> Vec<i32> {
    let found = table(manager).into_iter().find(|(group, ..)| group == name);
    found.unwrap_or_else(|| panic!("no group {name}")).3
}

fn names(manager: &Manager) -> Vec<String> {
    table(manager).into_iter().map(|(name, ..)| name).collect()
}

/// Where a socket of a group is bound.
fn address(manager: &Manager, group: usize, socket: usize) -> String {
    groups(manager)[group]["sockets"][socket]["address"].as_str().expect("an address").to_owned()
}

const BEFORE: &str = "[web]\nWORKER\nnumprocesses = 2\n[api]\nWORKER\n[old]\nWORKER\n";
const AFTER: &str =
    "[new]\nWORKER\n[web]\nWORKER\nnumprocesses = 2\nenvironments = ['A=secret']\n[api]\nWORKER\n";

// pitfall 52
#[test]
fn only_what_is_different_is_touched() {
    let manager = start("pause", BEFORE);
    let before = table(&manager);
    rewrite(&manager, AFTER);
    let difference = "environments (new workers)";
    let program = manager.path("program").display().to_string();
    let lines = format!("+ new: 1 worker of {program}\n~ web: {difference}\n- old\n");
    let told = manager.done(&["reload", "--dry-run"]).stdout;
    assert_eq!(told, format!("{lines}nothing is changed\n"));
    assert_eq!(table(&manager), before);

    let told = manager.done(&["reload", "--wait-drained"]).stdout;
    assert!(told.starts_with(&lines), "{told}");
    assert!(told.ends_with("new: 1 of 1 ready; web: generation 2 is up; old: stopped\n"), "{told}");
    let after = table(&manager);
    assert_eq!(names(&manager), ["new", "web", "api"], "in the order of the file");
    assert_eq!(after[2], before[1], "not touched");
    assert_eq!((after[1].2, after[1].3.len()), (2, 2));
    assert!(after[1].3.iter().all(|pid| !before[0].3.contains(pid)));
    assert_eq!(environment(after[1].3[0]).get("A").map(String::as_str), Some("secret"));
    assert!(wait_gone(before[2].3[0]));
    assert!(!manager.log.text().contains("secret"));

    // Once more there is nothing to do, also by a signal.
    assert_eq!(manager.done(&["reload"]).stdout, "reloaded: nothing has changed\n");
    let mut events = manager.events();
    manager.signal(Signal::SIGHUP);
    events.until("reload-done");
    assert_eq!(table(&manager), after);
    // And back: a group of a name that was there before is a new one.
    rewrite(&manager, BEFORE);
    manager.signal(Signal::SIGHUP);
    let (mut up, mut upgraded) = (false, false);
    events.until_that("the new group up, and the upgrade of the changed one done", |event| {
        up |= event["group"] == "old" && event["event"] == "ready";
        upgraded |= event["event"] == "upgrade-done";
        up && upgraded
    });
    assert_eq!(pids(&manager, "api"), after[2].3);
}

// pitfall 28
#[test]
fn a_file_with_anything_wrong_changes_nothing_and_tells_everything() {
    let manager = start("pause", BEFORE);
    let before = table(&manager);
    let place = manager.path("site.toml").display().to_string();
    rewrite(&manager, &format!("{AFTER}numprocesses = -1\nexec_sotp = 'x'\n"));
    let refused = manager.verb(&["reload"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{refused:?}");
    assert_eq!(
        lines[0],
        format!("remuda: {place}:18:16: api.numprocesses: '-1' is not a number from 0 to 10000")
    );
    assert!(lines[1].contains("19:1: api.exec_sotp: unknown key"), "{refused:?}");
    assert_eq!(lines[2], "remuda: not reloaded: 2 errors; nothing is changed");

    // What cannot be had is no better, and what was opened for it is closed again.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = format!("socket_address = ['unix:DIR/w.sock', '{}']", taken.local_addr().unwrap());
    rewrite(&manager, &format!("{AFTER}{sockets}\n[bad]\nexec_start = '/no/such/program'\n"));
    let open = descriptors(manager.pid()).len();
    for words in [&["reload"][..], &["reload", "--dry-run"]] {
        let refused = manager.verb(words);
        assert_eq!(refused.code, Some(4), "{refused:?}");
        assert!(refused.stderr.contains("bad: cannot execute /no/such/program: no such file"), "{refused:?}");
    }
    rewrite(&manager, &format!("{AFTER}{sockets}\n"));
    let refused = manager.verb(&["reload"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("api: cannot bind 127.0.0.1:"), "{refused:?}");
    assert!(!manager.path("w.sock").exists());
    manager.done(&["ping"]);
    assert!(descriptors(manager.pid()).len() <= open + 1);

    // A signal has nobody to tell but the log.
    std::fs::remove_file(manager.path("site.toml")).unwrap();
    let mut events = manager.events();
    manager.signal(Signal::SIGHUP);
    let failed = events.until("reload-failed");
    assert!(failed["error"].as_str().unwrap().ends_with("site.toml: no such file or directory"), "{failed}");
    assert_eq!(table(&manager), before);
}

// pitfall 52
#[test]
fn numbers_only_scale_and_survive_unless_the_file_has_another() {
    let text = |count: u32, more: &str| format!("[web]\nWORKER\nnumprocesses = {count}\n{more}\n");
    let manager = start("pause", &text(2, ""));
    let first = pids(&manager, "web");
    manager.done(&["scale", "3"]);
    let three = pids(&manager, "web");
    // A time-out is for the manager alone to know.
    rewrite(&manager, &text(2, "stop_timeout = 1"));
    assert!(manager.done(&["reload"]).stdout.starts_with("~ web: stop_timeout (at once)\n"));
    assert_eq!(pids(&manager, "web"), three, "scaled at run time");
    rewrite(&manager, &text(4, "stop_timeout = 1"));
    assert!(manager.done(&["reload"]).stdout.starts_with("~ web: numprocesses 2 -> 4\n"));
    let four = pids(&manager, "web");
    assert!(four.len() == 4 && three.iter().all(|pid| four.contains(pid)), "{three:?} {four:?}");
    rewrite(&manager, &text(1, "stop_timeout = 1"));
    manager.done(&["reload"]);
    let one = pids(&manager, "web");
    assert!(one.len() == 1 && first.contains(&one[0]), "{one:?}");
    assert_eq!(table(&manager)[0].2, 1, "the first generation still");
}

#[test]
fn what_is_stopped_stays_stopped_and_starts_as_the_file_says() {
    let manager = start("pause", "[web]\nWORKER\n[api]\nWORKER\n");
    manager.done(&["stop", "web"]);
    rewrite(&manager, "[web]\nWORKER\nenvironments = ['A=1']\n[api]\nWORKER\n");
    manager.done(&["reload"]);
    assert_eq!(table(&manager)[0].1, "stopped");
    manager.done(&["start", "web"]);
    let found = table(&manager);
    assert_eq!((found[0].1.as_str(), found[0].2, found[0].3.len()), ("up", 2, 1));
    assert_eq!(environment(found[0].3[0]).get("A").map(String::as_str), Some("1"));
}

#[test]
fn patterns_mean_the_groups_whose_names_fit() {
    let mut manager = start("pause", "[web-1]\nWORKER\n[web-2]\nWORKER\n[api]\nWORKER\nrestart = 'always'\n");
    let before = table(&manager);
    manager.done(&["upgrade", "web*"]);
    let after = table(&manager);
    assert_eq!([after[0].2, after[1].2, after[2].2], [2, 2, 1]);
    assert_eq!(after[2], before[2]);
    manager.done(&["stop", "*"]);
    assert!(table(&manager).iter().all(|group| group.1 == "stopped" && group.3.is_empty()));
    manager.done(&["start", "???"]);
    let states: Vec<String> = table(&manager).into_iter().map(|group| group.1).collect();
    assert_eq!(states, ["stopped", "stopped", "up"]);
    let told = manager.verb(&["upgrade", "web*"]);
    assert_eq!(told.code, Some(4));
    assert!(told.stderr.contains("web-1, web-2 are stopped; start them first"), "{told:?}");
    let told = manager.verb(&["upgrade", "x*"]);
    assert_eq!((told.code, told.stderr.contains("no group \"x*\"")), (Some(4), true), "{told:?}");
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_socket_that_moves_between_groups_under_load_loses_no_request() {
    let serve = "environments = ['REMUDA_TEST_SCRIPT=serve']\nWORKER\nnumprocesses = 2\n";
    let manager = start("pause", &format!("[a]\n{serve}socket_address = ['127.0.0.1:0']\n[b]\nWORKER\n"));
    let web = address(&manager, 0, 0);
    let of = |name: &str, own: &str| format!("[{name}]\n{serve}socket_address = ['{own}']\n");
    let load = Load::start(Traffic::to(web.parse().unwrap())).unwrap();
    // From a group that stays without it to one that has none, to a new one, and back.
    rewrite(&manager, &format!("[a]\n{serve}[b]\n{serve}socket_address = ['{web}']\n"));
    manager.done(&["reload", "--wait-drained"]);
    rewrite(&manager, &of("c", &web));
    manager.done(&["reload", "--wait-drained"]);
    assert_eq!(names(&manager), ["c"]);
    rewrite(&manager, &format!("{}[c]\nWORKER\n", of("a", &web)));
    manager.done(&["reload", "--wait-drained"]);
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    let (pid, _) = who(&get(web.parse().unwrap(), "/").unwrap());
    assert!(pids(&manager, "a").contains(&pid));
}

#[test]
fn a_socket_that_is_gone_from_the_file_is_closed_with_its_last_worker() {
    let serve = "environments = ['REMUDA_TEST_SCRIPT=serve']\nWORKER\n";
    let sockets = "socket_address = ['127.0.0.1:0', 'unix:DIR/w.sock']\n";
    let manager = start("pause", &format!("[a]\n{serve}{sockets}[b]\nWORKER\n"));
    let web = address(&manager, 0, 0);
    let mut busy = support::http::Connection::open(web.parse().unwrap()).unwrap();
    busy.ask("/").unwrap();
    rewrite(&manager, "[b]\nWORKER\n");
    let mut events = manager.events();
    manager.done(&["reload"]);
    // Its worker still has a connection.
    assert_eq!(names(&manager), ["b", "a"]);
    assert_eq!(groups(&manager)[1]["state"], "stopping");
    assert!(manager.path("w.sock").exists());
    busy.ask("/").unwrap();
    let refused = manager.verb(&["upgrade", "a"]);
    assert!(refused.code == Some(4) && refused.stderr.contains("a was removed"), "{refused:?}");
    drop(busy);
    events.until("group-gone");
    manager.done(&["ping"]);
    assert_eq!(names(&manager), ["b"]);
    assert!(!manager.path("w.sock").exists());
    assert!(TcpStream::connect(&web).is_err());
}

#[test]
fn a_changed_group_whose_upgrade_fails_has_what_it_had() {
    let manager = start("pause", "[web]\nWORKER\nsocket_address = ['unix:DIR/w.sock']\n");
    let before = table(&manager);
    let failing =
        "[web]\nexec_start = 'false'\nack = 'manual'\ngraceful_signal = 'USR2'\nbackoff = '10ms:1'\n";
    rewrite(&manager, failing);
    let failed = manager.verb(&["reload"]);
    assert_eq!(failed.code, Some(5), "{failed:?}");
    assert_eq!(table(&manager)[0].3, before[0].3);
    // What replaces a worker by now is of the old file: program, sockets, and no ack.
    let mut events = manager.events();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(before[0].3[0]), Signal::SIGKILL).unwrap();
    events.until("ready");
    let again = pids(&manager, "web");
    assert_eq!(environment(again[0]).get("LISTEN_FDS").map(String::as_str), Some("1"));
    manager.done(&["stop", "web"]);
    manager.log.line("stopping with signal TERM: stop");
}

#[test]
fn a_manager_that_replaced_itself_reloads_and_one_that_reloaded_replaces_itself() {
    let serve = "environments = ['REMUDA_TEST_SCRIPT=serve']\nWORKER\n";
    let manager = start("pause", &format!("[a]\n{serve}socket_address = ['127.0.0.1:0']\n[b]\nWORKER\n"));
    let web = address(&manager, 0, 0);
    let b = pids(&manager, "b");
    manager.done(&["reexec"]);
    // While the old worker still has a connection, its generation has a socket that its group has no more.
    let mut busy = support::http::Connection::open(web.parse().unwrap()).unwrap();
    busy.ask("/").unwrap();
    rewrite(&manager, &format!("[a]\n{serve}[b]\nWORKER\n[c]\n{serve}socket_address = ['{web}']\n"));
    manager.done(&["reload"]);
    manager.done(&["reexec"]);
    busy.ask("/").unwrap();
    drop(busy);
    assert_eq!(pids(&manager, "b"), b);
    rewrite(&manager, &format!("[b]\nWORKER\n[c]\n{serve}socket_address = ['{web}']\n"));
    let told = manager.done(&["reload", "--wait-drained"]).stdout;
    assert!(told.starts_with("- a\n"), "{told}");
    manager.done(&["reexec"]);
    manager.done(&["upgrade", "c", "--wait-drained"]);
    let (pid, _) = who(&get(web.parse().unwrap(), "/").unwrap());
    assert_eq!((names(&manager), pids(&manager, "c")), (vec!["b".to_owned(), "c".to_owned()], vec![pid]));
    assert_eq!(pids(&manager, "b"), b);
}

#[test]
fn of_five_hundred_workers_only_those_of_the_changed_group_are_replaced() {
    let file = |seconds: u32| {
        let group = |number: u32| {
            let seconds = if number == 17 { seconds } else { 1000 };
            format!(
                "[g{number}]\nexec_start = 'sleep {seconds}'\nnumprocesses = 10\nack = 'none'\nsurge = 10\n"
            )
        };
        (0..50).map(group).collect::<String>()
    };
    let manager = start("pause", &file(1000));
    let before = table(&manager);
    assert_eq!(before.iter().map(|group| group.3.len()).sum::<usize>(), 500);
    rewrite(&manager, &file(1001));
    assert!(manager.done(&["reload", "-q"]).stdout.is_empty());
    for (before, after) in before.iter().zip(table(&manager)) {
        if before.0 == "g17" {
            assert!(after.2 == 2 && after.3.len() == 10, "{after:?}");
            assert!(after.3.iter().all(|pid| !before.3.contains(pid)));
        } else {
            assert_eq!(*before, after);
        }
    }
}

#[test]
fn the_managers_own_keys_change_at_once_or_are_said_not_to() {
    let text = |own: &str| format!("[remuda]\n{own}\n[web]\nWORKER\n");
    let manager = start_with("pause", &text("log_level = 'info'"), &["--name", "mine"]);
    rewrite(&manager, &text("log_level = 'debug'\npidfile = 'DIR/pid'\nname = 'other'"));
    let told = manager.done(&["reload"]).stdout;
    let expected = "~ remuda: log_level (at once)\n! remuda: pidfile stays as it is until the manager is stopped \
        and started again\nreloaded: 1 change\n";
    assert_eq!(told, expected, "the name was given on the command line, which goes before the file");
    assert!(!manager.path("pid").exists());
    assert_eq!(manager.status()["name"], "mine");
    manager.done(&["upgrade"]);
    manager.log.line("debug: web[0]");
    // What was set at run time stays, as long as the file does not say something new.
    manager.done(&["log-level", "warn"]);
    rewrite(&manager, &text("log_level = 'debug'").replace("[web]", "[api]"));
    manager.done(&["reload", "--wait-drained"]);
    assert!(!manager.log.text().contains("api: added"));
}

// pitfall 51
#[test]
fn a_bad_group_is_refused_alone_if_that_is_asked_for() {
    let good = "[web]\nWORKER\n";
    let bad = "[bad]\nexec_start = 'sh'\nnumprocesses = -1\n[gone]\nexec_start = '/no/such/program'\n";
    let setup = setup("pause");
    write(&setup, &format!("{good}{bad}"));
    assert_eq!(process::run(&mut run(&setup)).code, Some(1));
    let check = |words: &[&str]| {
        process::run(std::process::Command::new(REMUDA).arg("check").args(words).arg(setup.path("site.toml")))
    };
    let (strict, lenient) = (check(&[]), check(&["--keep-going"]));
    assert_eq!((strict.code, strict.stderr.lines().count()), (Some(1), 1), "{strict:?}");
    assert_eq!((lenient.code, lenient.stderr.lines().count()), (Some(0), 2), "{lenient:?}");

    let unlogged = "[unlogged]\nWORKER\nstdout_log = '/no/such/log'\n";
    let manager = start_with("pause", &format!("{good}{bad}{unlogged}"), &["--keep-going"]);
    let before = table(&manager);
    assert_eq!(names(&manager), ["web"]);
    manager
        .log
        .line("gone: cannot execute /no/such/program: no such file or directory; the group is left out");
    manager.log.line("unlogged: cannot open /no/such/log: no such file or directory; the group is left out");
    manager.log.line("bad.numprocesses: '-1' is not a number from 0 to 10000; the group is left out");

    // The one that runs stays as it is where its new version is bad; another one comes.
    rewrite(&manager, "[web]\nWORKER\nnumprocesses = 'x'\n[api]\nWORKER\n[gone]\nexec_start = '/no/such'\n");
    let told = manager.done(&["reload"]).stdout;
    assert!(told.contains("+ api: "), "{told}");
    assert!(told.contains("not a string; the group stays as it is\n"), "{told}");
    assert!(told.contains("! gone: cannot execute /no/such"), "{told}");
    let after = table(&manager);
    assert_eq!(after.len(), 2);
    assert!(after.contains(&before[0]));

    let manager = start("pause", good);
    rewrite(&manager, &format!("{bad}[api]\nWORKER\n"));
    assert_eq!(manager.verb(&["reload"]).code, Some(4));
    assert_eq!(names(&manager), ["web"]);
    manager.done(&["reload", "--keep-going", "--wait-drained"]);
    assert_eq!(names(&manager), ["api"]);
}

#[test]
fn a_generation_from_before_a_reload_is_gone_back_to_as_it_was() {
    let serve = |release: u32| {
        let script = if release == 1 { "serve" } else { "stop-on:USR1 serve" };
        let variables = format!("'REMUDA_TEST_SCRIPT={script}', 'RELEASE={release}'");
        format!("environments = [{variables}]\nWORKER\nnumprocesses = 2\n")
    };
    let one = "socket_address = ['127.0.0.1:0']\ngraceful_signal = 'TERM'\n";
    let text = |release, sockets: &str| format!("[web]\n{}{sockets}", serve(release));
    let manager = start("pause", &text(1, one));
    let web = address(&manager, 0, 0);
    let load = Load::start(Traffic::to(web.parse().unwrap())).unwrap();
    let release = |manager: &Manager| {
        let told = |pid: &i32| environment(*pid).get("RELEASE").cloned().unwrap_or_default();
        pids(manager, "web").iter().map(told).collect::<Vec<String>>()
    };
    let two = format!("socket_address = ['{web}', 'unix:DIR/w.sock']\ngraceful_signal = 'USR1'\n");
    rewrite(&manager, &text(2, &two));
    manager.done(&["reload", "--wait-drained"]);
    assert_eq!(release(&manager), ["2", "2"]);
    // Another image knows of it too.
    manager.done(&["reexec"]);
    manager.done(&["rollback", "--wait-drained"]);
    assert_eq!((release(&manager), table(&manager)[0].2), (vec!["1".to_owned(), "1".to_owned()], 1));
    let again = pids(&manager, "web");
    assert_eq!(environment(again[0]).get("LISTEN_FDS").map(String::as_str), Some("1"));
    // It is treated as its own plan says, and what takes its place as the one in force.
    manager.done(&["upgrade", "--wait-drained"]);
    assert_eq!((release(&manager), table(&manager)[0].2), (vec!["2".to_owned(), "2".to_owned()], 3));
    manager.done(&["upgrade", "--wait-drained"]);
    for (generation, signal, count) in [(1, "TERM", 4), (2, "USR1", 2), (3, "USR1", 2)] {
        let line = format!("gen {generation}: stopping with signal {signal}: replaced");
        manager.log.lines(&line, count, |told| told.contains(&line));
    }
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");

    // A socket that the file has no more is not kept open for the sake of those who might come back to it.
    rewrite(&manager, &text(3, &format!("graceful_signal = 'USR1'\nsocket_address = ['{web}']\n")));
    manager.done(&["reload", "--wait-drained"]);
    let refused = manager.verb(&["rollback"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("before generation 5 had other sockets"), "{refused:?}");
    manager.done(&["ping"]);
    assert!(!manager.path("w.sock").exists());
}

#[test]
fn without_a_file_there_is_nothing_to_read_again() {
    let manager = setup("pause").start();
    let refused = manager.verb(&["reload"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("runs a program of its command line"), "{refused:?}");
}

#[test]
fn a_group_with_a_named_host_may_get_another_name() {
    let group = |name: &str| format!("[{name}]\nWORKER\nsocket_address = ['localhost:0']\n[b]\nWORKER\n");
    let manager = start("pause", &group("a"));
    rewrite(&manager, &group("c"));
    manager.done(&["reload", "--wait-drained"]);
    assert_eq!(names(&manager), ["c", "b"]);
}

#[test]
fn a_control_socket_of_a_group_comes_and_goes_with_it() {
    let group = |path: &str| format!("[a]\nWORKER\ncontrol_socket = 'DIR/{path}'\n[b]\nWORKER\n");
    let manager = start("pause", &group("one.sock"));
    let told = |name: &str| environment(pids(&manager, name)[0]).get("EINHORN_SOCK_PATH").cloned();
    let path = |name: &str| manager.path(name).display().to_string();
    assert_eq!((told("a"), told("b")), (Some(path("one.sock")), Some(path("c.sock"))));
    manager.done(&["reexec"]);
    assert!(manager.path("one.sock").exists());
    rewrite(&manager, &group("two.sock"));
    let changed = manager.done(&["reload", "--wait-drained"]).stdout;
    assert!(changed.contains("~ a: control_socket (new workers)"), "{changed}");
    assert_eq!(told("a"), Some(path("two.sock")));
    assert!(manager.path("one.sock").exists(), "there is a way back to workers that are told of it");
    manager.done(&["upgrade", "a", "--wait-drained"]);
    manager.done(&["ping"]);
    assert!(!manager.path("one.sock").exists(), "nobody is told of it any more");
    // A plan that is not to be leaves nothing behind, and takes nothing away.
    rewrite(&manager, &format!("{}socket_address = ['unix:DIR/none/w.sock']\n", group("three.sock")));
    assert_eq!(manager.verb(&["reload"]).code, Some(4));
    assert!(manager.path("two.sock").exists() && !manager.path("three.sock").exists());
    rewrite(&manager, "[b]\nWORKER\n");
    manager.done(&["reload", "--wait-drained"]);
    manager.done(&["ping"]);
    assert!(!manager.path("two.sock").exists() && manager.path("c.sock").exists());
}

#[test]
fn logs_follow_the_file() {
    let pour = "exec_start = ['sh', '-c', 'trap \"seq 1 2000; exit\" TERM; while :; do sleep 0.01; done']\n";
    let log = |size: &str| format!("[a]\n{pour}ack = 'none'\nstdout_log = 'size:{size}:3:DIR/a.log'\n");
    let old = "[old]\nWORKER\nstdout_log = 'DIR/old.log'\n";
    let mut manager = start("pause", &format!("{}{old}", log("1M")));
    let path = |name: &str| manager.path(name).display().to_string();
    let open = |name: &str| descriptors(manager.pid()).values().any(|target| *target == path(name));
    assert!(open("a.log") && open("old.log"));
    // A plan that is not to be opens nothing for good.
    let new = "[new]\nWORKER\nstdout_log = 'DIR/new.log'\nsocket_address = ['unix:DIR/none/w']\n";
    rewrite(&manager, &format!("{}{old}{new}", log("1M")));
    assert_eq!(manager.verb(&["reload"]).code, Some(4));
    assert!(open("a.log") && open("old.log") && !open("new.log"));

    rewrite(&manager, &log("4K"));
    manager.done(&["reload", "--wait-drained"]);
    manager.done(&["ping"]);
    assert_eq!((open("a.log"), open("old.log")), (true, false));
    let aside = manager.path("a.log.1");
    assert_eq!(manager.stop(), Some(0));
    assert!(aside.exists(), "it was put aside when it was as long as the new file says");
}
