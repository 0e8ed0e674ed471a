//! The real binary: releases that are made current by a symbolic link, and what the words of a command line lead to then.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::process::{self, Output};
use support::{LIMIT, Manager, REMUDA, Setup, pass, setup, worker, write_program};

#[test]
fn worker_entry() {
    worker::enter();
}

/// Two releases with a program that writes down which one it is, and `current`, which leads to the first.
fn releases(setup: &Setup) {
    for release in ["one", "two"] {
        let directory = setup.path(release);
        fs::create_dir(&directory).unwrap();
        let note = setup.path("ran");
        let text = format!("#!/bin/sh\necho {release} >>{}\nexec sleep 1000\n", note.display());
        write_program(&directory.join("app"), &text);
        fs::write(directory.join(".env"), format!("RELEASE={release}\n")).unwrap();
    }
    make_current(&setup.path("current"), "one");
}

fn make_current(link: &Path, release: &str) {
    let fresh = link.with_extension("new");
    symlink(release, &fresh).unwrap();
    fs::rename(fresh, link).unwrap();
}

/// A shell that goes into `current` first: PWD has the name by which it came there.
fn from_current(setup: &Setup, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(setup.path("current")).arg(REMUDA);
    command.args(words).arg("--control").arg(setup.path("c.sock"));
    command
}

/// Which releases the workers have run, once that many have said so: a program may have begun and not yet come to it.
fn ran(manager: &Manager, count: usize) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let told = fs::read_to_string(manager.path("ran")).unwrap_or_default();
        if told.lines().count() >= count {
            return told.lines().map(str::to_owned).collect();
        }
        assert!(Instant::now() < deadline, "{told:?}\n{}", manager.log.text());
        pass(Duration::from_millis(5));
    }
}

fn release_of(manager: &Manager) -> String {
    let pid = manager.pids("ready")[0];
    process::environment(pid)["RELEASE"].clone()
}

// pitfall 11
#[test]
fn a_manager_started_inside_the_current_release_upgrades_to_the_next_one() {
    let setup = setup("");
    releases(&setup);
    let mut command = from_current(&setup, &["run", "--ack", "none", "--env-file", ".env"]);
    command.args(["--", "./app"]);
    let manager = setup.start_as(command);
    manager.up();
    assert_eq!(ran(&manager, 1), ["one"]);
    make_current(&manager.path("current"), "two");
    // Another image of the manager knows the name, too.
    manager.done(&["reexec"]);
    manager.done(&["upgrade"]);
    assert_eq!(ran(&manager, 2), ["one", "two"]);
    assert_eq!(release_of(&manager), "two");
    let pid = manager.pids("ready")[0];
    let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(directory, manager.path("two").canonicalize().unwrap());
}

#[test]
fn a_file_that_was_named_from_inside_the_current_release_is_read_where_that_is_now() {
    let setup = setup("");
    releases(&setup);
    for release in ["one", "two"] {
        let text = "[web]\nexec_start = './app'\nack = 'none'\nenv_files = ['.env']\n";
        let text = match release {
            "one" => text.to_owned(),
            _ => format!("{text}[more]\nexec_start = 'sleep 1000'\nack = 'none'\n"),
        };
        fs::write(setup.path(release).join("site.toml"), text).unwrap();
    }
    let command = from_current(&setup, &["run", "-c", "site.toml"]);
    let manager = setup.start_as(command);
    manager.up();
    // What is the same is left alone.
    manager.done(&["reload"]);
    assert_eq!(ran(&manager, 1), ["one"]);
    make_current(&manager.path("current"), "two");
    manager.done(&["reload"]);
    let names: Vec<String> = manager.status()["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["web", "more"], "the file of the second release");
    manager.done(&["upgrade", "web"]);
    assert_eq!(ran(&manager, 2), ["one", "two"]);
}

#[test]
fn a_roll_back_whose_words_lead_to_the_new_code_says_so() {
    let setup = setup("");
    releases(&setup);
    let script = setup.path("current").join("app");
    let mut command = Command::new(REMUDA);
    command.args(["run", "--ack", "none", "--control"]).arg(setup.path("c.sock"));
    command.args(["--", "sh"]).arg(&script);
    let mut manager = setup.start_as(command);
    manager.up();
    assert_eq!(ran(&manager, 1), ["one"]);
    make_current(&manager.path("current"), "two");
    let upgrade: Output = manager.done(&["upgrade"]);
    assert!(!upgrade.stdout.contains("not with the code"), "{upgrade:?}");
    // Who is replaced before it has said what it is says nothing.
    assert_eq!(ran(&manager, 2), ["one", "two"]);
    let back = manager.done(&["rollback"]);
    assert!(back.stdout.contains("generation 1 is up, but not with the code that it had"), "{back:?}");
    assert!(back.stdout.contains(&script.display().to_string()), "{back:?}");
    // Also to those who have not asked.
    let line = manager.log.line("generation 1 is up, but not with the code that it had: ");
    assert!(line.contains(&script.display().to_string()) && line.contains("warn"), "{line}");
    assert_eq!(ran(&manager, 3), ["one", "two", "two"]);
    // With the link set back before, there is nothing to say.
    manager.done(&["upgrade"]);
    make_current(&manager.path("current"), "one");
    manager.done(&["upgrade"]);
    make_current(&manager.path("current"), "two");
    let back = manager.done(&["rollback"]);
    assert!(!back.stdout.contains("not with the code"), "{back:?}");
    assert_eq!(manager.stop(), Some(0));
    let log = manager.log.all();
    assert_eq!(log.matches("not with the code").count(), 1, "{log}");
}

#[test]
fn a_path_behind_an_option_is_a_word_that_leads_somewhere() {
    let setup = setup("");
    releases(&setup);
    let option = format!("--config={}", setup.path("current").join(".env").display());
    let mut command = Command::new(REMUDA);
    command.args(["run", "--ack", "none", "--control"]).arg(setup.path("c.sock"));
    command.args(["--", "sh", "-c", "exec sleep 1000", "app", &option]);
    let manager = setup.start_as(command);
    manager.up();
    make_current(&manager.path("current"), "two");
    manager.done(&["upgrade"]);
    let back = manager.done(&["rollback"]);
    assert!(back.stdout.contains(&format!("not with the code that it had: {option}")), "{back:?}");
}

#[test]
fn a_relative_word_in_the_directory_of_a_release_goes_back_with_it() {
    let setup = setup("");
    releases(&setup);
    let mut command = Command::new(REMUDA);
    command.args(["run", "--ack", "none", "--control"]).arg(setup.path("c.sock"));
    command.arg("-C").arg(setup.path("current")).args(["--", "sh", "app"]);
    let manager = setup.start_as(command);
    manager.up();
    assert_eq!(ran(&manager, 1), ["one"]);
    make_current(&manager.path("current"), "two");
    manager.done(&["upgrade"]);
    assert_eq!(ran(&manager, 2), ["one", "two"]);
    let back = manager.done(&["rollback"]);
    assert!(!back.stdout.contains("not with the code"), "{back:?}");
    assert_eq!(ran(&manager, 3), ["one", "two", "one"]);
}
