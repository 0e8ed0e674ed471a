//! The real binary in the manner of einhorn: upgrades with a manager that replaces itself, and signals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::einhorn::*;
use crate::support::process::{descriptors, environment, lives, wait_gone};
use crate::support::{LIMIT, Manager, REMUDA, replace_by_link, setup, write_program};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

#[path = "../../examples/support/load.rs"]
#[allow(dead_code, reason = "made for the examples")]
mod load;

use self::load::{Load, Traffic};

#[test]
fn an_upgrade_is_told_from_beginning_to_end_across_a_new_image() {
    let mut manager = start(POLITE, "-m manual -n 2 -s 0.01");
    alive(&manager, 2);
    let mut other = UnixStream::connect(&manager.control).unwrap();
    other.set_read_timeout(Some(LIMIT)).unwrap();
    other
        .write_all(b"{\"command\":\"upgrade_fleet\",\"id\":\"mine\"}\n{\"command\":\"louder\",\"id\":3}\n")
        .unwrap();
    let told = sh(&manager, "upgrade");
    assert_eq!(told.code, Some(0), "{told:?}");
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"Upgrading smoothly, as commanded"), "{told:?}");
    assert_eq!(lines.last(), Some(&"Upgrade done"), "{told:?}");
    for part in [
        "Starting smooth upgrade from version",
        "===> Launched",
        "killing off 1 old workers.",
        "Sending USR2 to [",
        "Upgraded successfully to version",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told:?}");
    }
    other.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    other.read_to_string(&mut all).unwrap();
    let begin = r#"{"message":"Upgrading fleet, as commanded","request_id":"mine","wait":true}"#;
    assert_eq!(all.lines().next(), Some(begin), "{all}");
    assert_eq!(all.lines().last(), Some(r#"{"message":"Upgrade done","request_id":"mine"}"#), "{all}");
    assert!(all.contains(r#"{"message":"Verbosity set to 0","request_id":3}"#), "{all}");
    manager.log.line("re-executed");
    stop(&mut manager);
}

#[test]
fn hup_upgrades_and_the_signals_that_end_it_have_their_status() {
    // nohup(1) has HUP ignored at the start.
    let setup = setup("");
    let mut command = Command::new("nohup");
    command.args([REMUDA, "einhorn"]);
    let command = command_by(command, &setup, POLITE, "-m manual");
    let mut manager = setup.start_as(command);
    alive(&manager, 1);
    let (old, _) = workers(&manager)[0];
    manager.signal(Signal::SIGUSR1);
    manager.signal(Signal::SIGHUP);
    manager.log.line("INFO: Starting smooth upgrade from version 0...");
    manager.log.line("INFO: Upgraded successfully to version 1 (Einhorn 1.1.1).");
    assert!(wait_gone(old));
    assert_eq!(workers(&manager).iter().map(|&(_, version)| version).collect::<Vec<_>>(), [1]);
    stop(&mut manager);
    let mut manager = start("stop-on:QUIT ack-einhorn pause", "-m manual");
    alive(&manager, 1);
    manager.signal(Signal::SIGQUIT);
    assert_eq!(manager.exit().code(), Some(1));
}

#[test]
fn a_worker_that_does_not_go_is_killed_where_a_time_is_set() {
    let mut manager = start("ignore:USR2 ack-einhorn pause", "-m manual -t 1");
    alive(&manager, 1);
    manager.signal(Signal::SIGINT);
    manager.log.line("is still active after");
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn a_wrapper_leads_back_to_the_manager_with_the_first_environment() {
    let lines =
        format!("[ \"$1\" = 'a b' ] || exit 9\nshift\nexec env -u REMUDA_STATE_FD {REMUDA} einhorn \"$@\"");
    let mut manager = start_wrapped(&lines, "-m manual --drop-env-var DROPPED");
    alive(&manager, 1);
    let (old, _) = workers(&manager)[0];
    assert_eq!(
        environment(old).get("DROPPED").map(String::as_str),
        Some("x"),
        "the first workers still see it"
    );
    let told = sh(&manager, "upgrade");
    assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}\n{}", manager.log.text());
    assert!(wait_gone(old));
    let (new, version) = workers(&manager)[0];
    assert_eq!((version, environment(new).get("DROPPED")), (1, None));
    stop(&mut manager);
}

#[test]
fn a_wrapper_that_fails_or_leads_elsewhere_costs_nothing_but_the_upgrade() {
    let lines = format!("shift\nexec {REMUDA} einhorn \"$@\"");
    let mut manager = start_wrapped(&lines, "-m manual");
    alive(&manager, 1);
    let before = workers(&manager);
    for lines in ["exit 3", "exec sh -c 'exit 0'", "exec /no/such/program", "kill -9 $$"] {
        rewrite(&manager, lines);
        let told = sh(&manager, "upgrade");
        let last = told.stdout.lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("Upgrade failed: not re-executed: "), "{lines}: {told:?}");
        assert_eq!(workers(&manager), before, "{lines}");
    }
    stop(&mut manager);
}

#[test]
fn a_wrapper_that_takes_its_time_is_waited_for_and_loses_nobody() {
    let lines = format!("shift\nexec {REMUDA} einhorn \"$@\"");
    let mut manager = start_wrapped(&lines, "-m manual");
    alive(&manager, 1);
    let (worker, _) = workers(&manager)[0];
    for name in ["asked", "gap"] {
        mkfifo(&manager.path(name), Mode::from_bits_truncate(0o600)).unwrap();
    }
    let directory = manager.path("").display().to_string();
    let wait = format!(
        "case $1 in --upgrade-check) read go <{directory}/asked;; *) read go <{directory}/gap;; esac"
    );
    rewrite(&manager, &format!("shift\n{wait}\nexec {REMUDA} einhorn \"$@\""));
    // Open as soon as the wrapper waits there.
    let gate = |name: &str| fs::OpenOptions::new().write(true).open(manager.path(name)).unwrap();
    let mut half = UnixStream::connect(&manager.control).unwrap();
    half.set_read_timeout(Some(LIMIT)).unwrap();
    half.write_all(b"---%0Acommand: qui").unwrap();
    let mut told = UnixStream::connect(&manager.control).unwrap();
    told.set_read_timeout(Some(LIMIT)).unwrap();
    told.write_all(b"{\"command\":\"upgrade\",\"id\":\"u\"}\n").unwrap();
    let mut asked = gate("asked");
    assert_eq!(workers(&manager), [(worker, 0)], "who waits for the wrapper does everything else");
    asked.write_all(b"\n").unwrap();
    let mut gap = gate("gap");
    assert!(lives(worker));
    // Nobody is there to read it at this moment.
    half.write_all(b"eter%0Aid: 7%0A\n").unwrap();
    gap.write_all(b"\n").unwrap();
    for (stream, end) in [
        (&mut half, "---%0Amessage: Verbosity set to 2%0Arequest_id: 7%0A\n"),
        (&mut told, "{\"message\":\"Upgrade done\",\"request_id\":\"u\"}\n"),
    ] {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(end), "{answer}");
    }
    assert!(wait_gone(worker));
    stop(&mut manager);
}

fn upgrades_under_load(count: u32) {
    let setup = setup("");
    let command =
        command(&setup, "stop-on:USR2 ack-einhorn serve", "-b 127.0.0.1:0,r -n 3 -m manual -s 0.001");
    let mut manager = setup.start_as(command);
    alive(&manager, 3);
    let limit = Duration::from_secs(10);
    let traffic =
        Traffic { connections: 4, pause: Duration::from_millis(1), limit, ..Traffic::to(address(&manager)) };
    let load = Load::start(traffic).unwrap();
    let upgrade = || {
        let told = sh(&manager, "upgrade");
        assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}\n{}", manager.log.text());
    };
    upgrade();
    // Old workers go when they are done, and the end of a client is noticed in the next pass.
    let open = |manager: &Manager| {
        let begin = Instant::now();
        while workers(manager).len() > 3 {
            assert!(begin.elapsed() < LIMIT, "{}", state(manager));
        }
        descriptors(manager.pid()).into_values().filter(|target| target.starts_with("socket:")).count()
    };
    let before = open(&manager);
    for _ in 1..count {
        upgrade();
    }
    let begin = Instant::now();
    while open(&manager) > before {
        assert!(begin.elapsed() < LIMIT, "{:?} after {before}", descriptors(manager.pid()));
    }
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    println!("{count} upgrades: {report}");
    stop(&mut manager);
}

#[test]
fn a_dozen_upgrades_with_re_execution_lose_no_request() {
    upgrades_under_load(12);
}

#[test]
#[ignore = "takes long; `cargo test --test run_einhorn -- --ignored`"]
fn two_hundred_upgrades_with_re_execution_lose_no_request() {
    upgrades_under_load(200);
}

// ---- the story and the order of it -----------------------------------------------------------------------------------

/// What the log tells of an upgrade, in order: a letter for each line that begins so. `L`aunched, `A`live, `S`ending USR2,
/// e`X`ited; `.` for the end of the upgrade.
fn story(manager: &Manager) -> String {
    let text = manager.log.text();
    let (_, upgrade) = text.split_once("upgrade from version").expect("an upgrade");
    let letter = |line: &str| {
        let (_, told) = line.split_once("INFO: ")?;
        [
            ("===> Launched", 'L'),
            ("Worker ", 'A'),
            ("Sending USR2", 'S'),
            ("===> Exited worker", 'X'),
            ("Upgraded successfully", '.'),
        ]
        .into_iter()
        .find_map(|(begin, letter)| told.starts_with(begin).then_some(letter))
    };
    upgrade.lines().filter_map(letter).collect()
}

/// The most workers that ever lived at a time, of `count` before the upgrade.
fn most(story: &str, count: usize) -> usize {
    let mut living = count;
    let mut most = count;
    for letter in story.chars() {
        match letter {
            'L' => living += 1,
            'X' => living -= 1,
            _ => {}
        }
        most = most.max(living);
    }
    most
}

/// The most new workers that were ever starting up at a time.
fn unready(story: &str) -> i32 {
    let (mut now, mut most) = (0, 0);
    for letter in story.chars() {
        now += i32::from(letter == 'L') - i32::from(letter == 'A');
        most = most.max(now);
    }
    most
}

/// An upgrade of two workers, or as many as the options say, to its end and that of all old ones.
fn upgraded(options: &str, command: &str, count: usize) -> String {
    let mut manager = start(POLITE, options);
    alive(&manager, count);
    let old = workers(&manager);
    let told = sh(&manager, command);
    assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}");
    manager.log.lines("old workers that are gone", count, |line| {
        old.iter().any(|(pid, _)| line.contains(&format!("===> Exited worker {pid} ")))
    });
    manager.log.line("Upgraded successfully");
    let story = story(&manager);
    assert_eq!(story.matches('L').count(), count, "{story}");
    stop(&mut manager);
    story
}

#[test]
fn without_room_for_more_workers_old_ones_go_first_one_by_one() {
    let story = upgraded("-m manual -n 3 -s 0.001 --max-upgrade-additional 0", "upgrade", 3);
    assert_eq!(story, "SXLASXLASXLA.");
}

#[test]
fn there_are_no_more_workers_beside_the_number_than_allowed() {
    let story = upgraded("-m manual -n 3 -s 0.001 --max-unacked 9 --max-upgrade-additional 1", "upgrade", 3);
    assert_eq!(most(&story, 3), 4, "{story}");
}

#[test]
fn no_more_workers_start_up_at_a_time_than_allowed() {
    let story = upgraded("-m manual -n 4 -s 0.001 --max-unacked 1", "upgrade", 4);
    assert_eq!(unready(&story), 1, "{story}");
}

#[test]
fn a_fleet_whose_workers_are_up_by_the_time_is_started_at_once_and_replaces_at_once() {
    let story = upgraded("-m 0.05 -n 3 -s 5 --max-unacked 1", "upgrade_fleet", 3);
    let (starts, ends) = story.split_at(6);
    assert_eq!((starts.matches('L').count(), starts.matches('A').count()), (3, 3), "{story}");
    assert_eq!(ends.matches('S').count(), 3, "{story}");
}

/// A connection that asked for something, and what it is told.
fn subscribe(manager: &Manager, request: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(&manager.control).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

#[test]
fn every_subscriber_is_told_all_from_where_he_came_in() {
    let mut manager = start(POLITE, "-m manual -n 2 -s 0.01");
    alive(&manager, 2);
    let ids = ["first", "second", "third"];
    let requests = ids.map(|id| format!("{{\"command\":\"upgrade\",\"id\":\"{id}\"}}\n"));
    // So that the last one does not come when all is over.
    manager.signal(Signal::SIGSTOP);
    let streams = requests.map(|request| subscribe(&manager, &request));
    manager.signal(Signal::SIGCONT);
    let told: Vec<Vec<String>> = streams
        .into_iter()
        .zip(ids)
        .map(|(stream, id)| {
            let mut told = Vec::new();
            for line in stream.lines() {
                let line = line.unwrap();
                let last = format!(",\"request_id\":\"{id}\"}}");
                let rest = format!(",\"request_id\":\"{id}\",\"wait\":true}}");
                let text = line.strip_suffix(&rest).or_else(|| line.strip_suffix(&last));
                told.push(text.unwrap_or_else(|| panic!("{id}: {line}")).to_owned());
                if line.ends_with(&last) {
                    break;
                }
            }
            told
        })
        .collect();
    for told in &told {
        assert_eq!(told.first().unwrap(), "{\"message\":\"Upgrading smoothly, as commanded\"", "{told:?}");
        assert_eq!(told.last().unwrap(), "{\"message\":\"Upgrade done\"", "{told:?}");
        for part in [
            "Starting smooth upgrade from version",
            "===> Launched",
            "Sending USR2 to [",
            "Upgraded successfully",
        ] {
            assert!(told.iter().any(|line| line.contains(part)), "{part}: {told:?}");
        }
    }
    // Who came in last was told no less than everybody of what happened then.
    let (latest, others) = told.split_last().unwrap();
    for other in others {
        assert!(other.ends_with(&latest[latest.len() - 5..]), "{told:?}");
    }
    stop(&mut manager);
}

#[test]
fn a_new_worker_that_dies_at_first_is_part_of_the_story() {
    let setup = setup("");
    let tried = setup.path("tried");
    fs::write(&tried, "").unwrap();
    let script = "stop-on:USR2 once:{dir}/tried:exit=3 ack-einhorn pause";
    let command = command(&setup, script, "-m manual -s 0.02");
    let mut manager = setup.start_as(command);
    alive(&manager, 1);
    fs::remove_file(&tried).unwrap();
    let told = sh(&manager, "upgrade");
    let place = |begin: &str, nth: usize| {
        let mut lines = told.stdout.lines().enumerate().filter(|(_, line)| line.starts_with(begin));
        lines.nth(nth).map_or_else(|| panic!("{begin} {nth}: {told:?}"), |(at, _)| at)
    };
    let order = [
        place("Starting smooth upgrade from version 0...", 0),
        place("===> Launched ", 0),
        place("===> Exited worker ", 0),
        place("Last spinup was ", 0),
        place("===> Launched ", 1),
        place("Smooth upgrade: killing off 1 old workers.", 0),
        place("Upgraded successfully to version 1 ", 0),
        place("Upgrade done", 0),
    ];
    assert!(order.is_sorted(), "{told:?}");
    stop(&mut manager);
}

// ---- what leads back to the manager ----------------------------------------------------------------------------------

#[test]
fn a_wrapper_that_cannot_be_executed_any_more_when_it_is_time_costs_nothing_but_the_upgrade() {
    for spoil in ["rm -f \"$0\"", "chmod 0 \"$0\"", "rm -f \"$0\" && mkdir \"$0\""] {
        let lines = format!("shift\n{spoil}\nexec {REMUDA} einhorn \"$@\"");
        let mut manager = start_wrapped(&lines, "-m manual");
        alive(&manager, 1);
        let before = workers(&manager);
        let told = sh(&manager, "upgrade");
        let last = told.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with("Upgrade failed: not re-executed: "), "{spoil}: {told:?}");
        assert!(
            !fs::metadata(manager.path("wrapper")).is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0),
            "{spoil}"
        );
        assert_eq!(workers(&manager), before, "{spoil}");
        stop(&mut manager);
    }
}

#[test]
fn a_wrapper_that_ends_where_it_should_lead_back_takes_the_workers_with_it_if_they_are_to_go() {
    let lines = format!("shift\n[ \"$1\" = --upgrade-check ] || exit 3\nexec {REMUDA} einhorn \"$@\"");
    let mut manager = start_wrapped(&lines, "-k -m manual");
    alive(&manager, 1);
    let (worker, _) = workers(&manager)[0];
    manager.signal(Signal::SIGHUP);
    assert_eq!(manager.exit().code(), Some(3), "{}", manager.log.text());
    assert!(wait_gone(worker));
}

#[test]
fn a_directory_that_is_another_by_now_is_the_one_of_the_new_workers() {
    let setup = setup("");
    for release in ["r1", "r2"] {
        fs::create_dir(setup.path(release)).unwrap();
        let lines = format!("#!/bin/sh\necho app of {release} >&2\nexec sleep 1000\n");
        write_program(&setup.path(release).join("app"), &lines);
    }
    symlink("r1", setup.path("current")).unwrap();
    let current = setup.path("current");
    let wrapper = setup.path("wrapper");
    let lines = format!("#!/bin/sh\ncd {} || exit 1\nexec {REMUDA} einhorn \"$@\"\n", current.display());
    write_program(&wrapper, &lines);
    let mut command = Command::new(REMUDA);
    command.current_dir(&current).args(["einhorn", "-m", "0"]).arg("--reexec-as").arg(&wrapper);
    for (option, name) in [("-d", "c.sock"), ("-e", "pid"), ("-f", "lock")] {
        command.arg(option).arg(setup.path(name));
    }
    command.args(["--", "./app"]);
    let mut manager = setup.start_as(command);
    let directory = |pid: i32| fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    manager.log.line("app of r1");
    assert_eq!(directory(workers(&manager)[0].0), manager.path("r1"));
    let (old, _) = workers(&manager)[0];
    replace_by_link(&current, Path::new("r2"));
    let told = sh(&manager, "upgrade");
    assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}");
    assert!(wait_gone(old));
    manager.log.line(&format!("===> Exited worker {old} "));
    manager.log.line("app of r2");
    assert_eq!(directory(workers(&manager)[0].0), manager.path("r2"));
    stop(&mut manager);
}

#[test]
fn alrm_means_nothing_and_usr2_ends_it_by_usr2() {
    let mut manager = start("exit-on:USR2:0 ack-einhorn pause", "-m manual");
    alive(&manager, 1);
    manager.signal(Signal::SIGALRM);
    assert_eq!(sh(&manager, "louder").stdout, "Verbosity set to 0\n");
    manager.signal(Signal::SIGUSR2);
    assert_eq!(manager.exit().code(), Some(0), "{}", manager.log.text());
    manager.log.line("Sending USR2 to [");
    assert!(!manager.path("c.sock").exists());
}

#[test]
#[ignore = "wants the program of an earlier commit; `make test-upgrade-from REV=COMMIT`"]
fn an_einhorn_of_an_earlier_commit_becomes_this_one() {
    let earlier = std::env::var_os("REMUDA_EARLIER").expect("REMUDA_EARLIER, the path of a program");
    let setup = setup("");
    symlink(earlier, setup.path("einhorn")).unwrap();
    let version = Command::new(setup.path("einhorn")).arg("--version").output().unwrap();
    if version.stdout != b"1.1.1\n" {
        return crate::support::skip("the earlier commit has no einhorn");
    }
    let command = command_by(
        Command::new(setup.path("einhorn")),
        &setup,
        "stop-on:USR2 ack-einhorn serve",
        "-gk -b 127.0.0.1:0,r -n 3 -m manual -s 0.01 -t 20",
    );
    let mut manager = setup.start_as(command);
    alive(&manager, 3);
    let before = workers(&manager);
    let limit = Duration::from_secs(10);
    let load = Load::start(Traffic { limit, ..Traffic::to(address(&manager)) }).unwrap();
    let mut half = subscribe(&manager, "---%0Acommand: qui");
    replace_by_link(&manager.path("einhorn"), Path::new(REMUDA));
    assert_eq!(sh(&manager, "reload").stdout, "Reloading, as commanded\n");
    manager.log.line("re-executed");
    let program = fs::canonicalize(format!("/proc/{}/exe", manager.pid())).unwrap();
    assert_eq!(program, fs::canonicalize(REMUDA).unwrap());
    half.get_mut().write_all(b"eter%0Aid: 7%0A\n").unwrap();
    let mut answer = String::new();
    half.read_line(&mut answer).unwrap();
    assert_eq!(answer, "---%0Amessage: Verbosity set to 2%0Arequest_id: 7%0A\n");
    assert_eq!(workers(&manager), before);
    let told = sh(&manager, "louder; upgrade");
    assert!(told.stdout.ends_with("Upgrade done\n"), "{told:?}");
    assert!(before.iter().all(|&(pid, _)| wait_gone(pid)));
    let report = load.stop();
    assert!(report.requests() > 0 && report.failed() == 0, "{report}");
    stop(&mut manager);
}
