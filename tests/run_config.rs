//! The real binary: groups of a file, each by itself under one manager, and files that are refused.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use support::process::{self, Output, environment};
use support::site::{run, start, table, write};
use support::{REMUDA, Setup, setup, tool, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

const TWO: &str = "[web]\nWORKER\nnumprocesses = 2\nsocket_address = ['tcp::0']\n\n[api]\nWORKER\n";

#[test]
fn each_group_is_told_of_and_handled_by_its_name() {
    let mut manager = start("pause", TWO);
    assert_eq!(manager.status()["name"], "site");
    let [web, api] = &table(&manager)[..] else { panic!("two groups") };
    assert_eq!((web.0.as_str(), web.2, web.3.len()), ("web", 1, 2));
    assert_eq!((api.0.as_str(), api.2, api.3.len()), ("api", 1, 1));
    let told = manager.done(&["status"]).stdout;
    assert!(told.contains("web") && told.contains("api"), "{told}");

    manager.done(&["upgrade", "web"]);
    let [new_web, same_api] = &table(&manager)[..] else { panic!("two groups") };
    assert_eq!((new_web.2, new_web.3.len()), (2, 2));
    assert!(new_web.3.iter().all(|pid| !web.3.contains(pid)));
    assert_eq!(same_api, api);

    manager.done(&["stop", "api"]);
    let [same_web, stopped] = &table(&manager)[..] else { panic!("two groups") };
    assert_eq!((stopped.1.as_str(), stopped.3.len()), ("stopped", 0));
    assert_eq!(same_web, new_web);
    manager.done(&["start", "api"]);
    manager.done(&["scale", "api", "2"]);
    let [same_web, started] = &table(&manager)[..] else { panic!("two groups") };
    assert_eq!((started.1.as_str(), started.3.len()), ("up", 2));
    assert_eq!(same_web, new_web);

    let refused = manager.verb(&["upgrade", "wbe"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert_eq!(manager.stop(), Some(0));
    manager.leaves_nobody();
}

// pitfall 51
#[test]
fn a_group_that_fails_leaves_the_others_alone() {
    let setup = setup("pause");
    write(&setup, &format!("{TWO}[bad]\nexec_start = \"sh -c 'exit 3'\"\nbackoff = '10ms:1'\n"));
    let command = run(&setup);
    let manager = setup.start_as(command);
    let mut events = manager.events();
    for _ in 0..3 {
        events.until_that("death", |event| event["event"] == "died" && event["group"] == "bad");
    }
    let before = table(&manager);
    manager.done(&["upgrade", "web"]);
    let after = table(&manager);
    assert_eq!((after[0].2, after[0].3.len()), (2, 2));
    assert_eq!(after[1], before[1]);
    assert_ne!(after[2].1, "up");
}

#[test]
fn workers_find_what_their_group_says() {
    let text = "[web]\nWORKER\nsocket_address = ['0', '@DIR']\nenvironment_base_name = 'WEB'\n\
        environments = ['A=1', 'B=$A']\nworking_directory = '/'\nlisten_pid = false\n[api]\nWORKER\n\
        handoff = ['einhorn']\n";
    let manager = start("pause", text);
    let found = table(&manager);
    let web = environment(found[0].3[0]);
    for (name, value) in [
        ("WEB_FD_COUNT", Some("2")),
        ("WEB_FD_1", Some("4")),
        ("LISTEN_FDS", Some("2")),
        ("LISTEN_PID", None),
        ("A", Some("1")),
        ("B", Some("$A")),
    ] {
        assert_eq!(web.get(name).map(String::as_str), value, "{name}");
    }
    let api = environment(found[1].3[0]);
    assert_eq!(api.get("EINHORN_FD_COUNT").map(String::as_str), Some("0"));
    assert!(!api.contains_key("A") && !api.contains_key("FIRESTARTER_MASTER_PID"));
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", found[0].3[0])).unwrap(), Path::new("/"));
}

#[test]
fn old_workers_of_an_upgrade_get_a_signal_of_their_own() {
    let mut manager = start("exit-on:USR2:0 pause", "[web]\nWORKER\nack_signal = 'SIGUSR2'\n");
    let mut events = manager.events();
    manager.done(&["upgrade"]);
    assert_eq!(events.until("stopping")["signal"], "USR2");
    manager.signal(Signal::SIGTERM);
    assert_eq!(events.until("stopping")["signal"], "TERM");
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn the_command_line_goes_before_the_file() {
    let setup = setup("pause");
    write(&setup, &format!("[remuda]\nname = 'front'\nlog_format = 'json'\npidfile = 'DIR/a.pid'\n{TWO}"));
    let mut command = run(&setup);
    command.args(["--name", "mine", "--log-format", "plain", "--pidfile"]).arg(setup.path("b.pid"));
    let manager = setup.start_as(command);
    assert_eq!(manager.status()["name"], "mine");
    assert!(manager.path("b.pid").exists() && !manager.path("a.pid").exists());
}

/// What a refused file leaves: words, and nothing else.
fn refused(setup: &Setup) -> Output {
    let output = process::run(&mut run(setup));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.stdout, "");
    assert!(!setup.path("c.sock").exists() && !setup.path("noted").exists(), "{output:?}");
    output
}

#[test]
fn a_file_with_anything_wrong_starts_nothing_and_tells_everything() {
    let setup = setup("note:{dir}/noted pause");
    write(&setup, &format!("{TWO}numprocesses = -1\nworkers = 2\nnumproces = 'x'\n"));
    let place = setup.path("site.toml").display().to_string();
    let told = refused(&setup).stderr;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    for (line, part) in lines.iter().zip([
        "14:16: api.numprocesses: '-1' is not a number from 0 to 10000",
        "15:1: api.workers: unknown key (here it is 'numprocesses')",
        "16:1: api.numproces: unknown key (did you mean 'numprocesses'?)",
    ]) {
        assert_eq!(*line, format!("remuda: {place}:{part}"));
    }

    write(
        &setup,
        "[web]\nWORKER\nsocket_address = ['@DIR']\n[api]\nWORKER\nsocket_address = ['unix:@DIR']\n",
    );
    let told = refused(&setup).stderr;
    assert!(told.contains("is a socket of group 'web' already"), "{told}");

    write(&setup, "[web]\nWORKER\n[api]\nexec_start = '/no/such/program'\n");
    let told = refused(&setup).stderr;
    assert!(told.contains("api: cannot execute /no/such/program: no such file or directory"), "{told}");

    fs::write(setup.path("site.toml"), b"[web]\n# \xff\n").unwrap();
    assert!(refused(&setup).stderr.ends_with(":2: not valid UTF-8\n"));
    fs::remove_file(setup.path("site.toml")).unwrap();
    let told = refused(&setup).stderr;
    assert_eq!(told, format!("remuda: cannot read {place}: no such file or directory\n"));
    fs::create_dir(setup.path("site.toml")).unwrap();
    assert_eq!(refused(&setup).stderr, format!("remuda: cannot read {place}: not a regular file\n"));
}

fn check(path: &Path) -> Output {
    process::run(Command::new(REMUDA).arg("check").arg(path))
}

#[test]
fn check_tells_everything_that_cannot_be_had() {
    let setup = setup("pause");
    write(&setup, &format!("[remuda]\ndefaults = 'remuda'\n{TWO}"));
    let output = check(&setup.path("site.toml"));
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (Some(0), "", ""),
        "{output:?}"
    );
    // A file that does not say whose defaults it means may come from elsewhere.
    write(&setup, TWO);
    let output = check(&setup.path("site.toml"));
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let told = format!(
        "{}: web, api: restart is \"always\", in firestarter \"none\"\n",
        setup.path("site.toml").display()
    );
    assert!(output.stdout.contains(&told) && output.stdout.ends_with("says whose are meant\n"), "{output:?}");

    write(
        &setup,
        "[web]\nexec_start = 'no-such-program'\nenv_files = ['/no/such/env']\nuser = 'no-such-user'\n\
         group = 'no-such-group'\nsocket_address = ['unix:/no/such/web.sock,user=nobody-such', '@x']\n\
         [api]\nexec_start = 'sh'\nworking_directory = '/no/such/directory'\n[fine]\nWORKER\n",
    );
    let output = check(&setup.path("site.toml"));
    assert_eq!(output.code, Some(1));
    let place = format!("remuda: {}: ", setup.path("site.toml").display());
    let told: Vec<&str> = output.stderr.lines().map(|line| line.strip_prefix(&place).expect(line)).collect();
    assert_eq!(
        told,
        [
            "web: cannot read environment file /no/such/env: no such file or directory",
            "web: program no-such-program not found in PATH",
            "web: unknown user \"no-such-user\"",
            "web: unknown group \"no-such-group\"",
            "web: cannot bind unix:/no/such/web.sock: there is no directory /no/such",
            "web: cannot bind unix:/no/such/web.sock: unknown user \"nobody-such\"",
            "api: cannot use directory /no/such/directory: no such file or directory",
        ]
    );
}

#[test]
fn the_sample_lacks_nothing_but_its_program() {
    let setup = setup("pause");
    let sample = process::run(Command::new(REMUDA).arg("sample-config"));
    assert_eq!((sample.code, sample.stderr.as_str()), (Some(0), ""));
    fs::write(setup.path("site.toml"), sample.stdout).unwrap();
    let output = check(&setup.path("site.toml"));
    assert_eq!(output.code, Some(1));
    let lines: Vec<&str> = output.stderr.lines().collect();
    let [line] = lines[..] else { panic!("{output:?}") };
    assert!(line.ends_with("web: cannot execute /path/to/program: no such file or directory"), "{line}");
}

#[test]
fn files_of_the_examples_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<_> = files.iter().filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(!files.is_empty());
    if tool("python3") {
        for file in files {
            let output = check(file);
            assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{}", file.display());
        }
    }
}
