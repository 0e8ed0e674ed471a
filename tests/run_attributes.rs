//! The real binary: what the kernel is told of workers, and what workers are told of their user.

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use support::process::{environment, lives, nofile, status_field, wait_gone};
use support::{Manager, Setup, root, setup};

/// A program that changes nothing about itself.
fn asleep(options: &str) -> Setup {
    setup("").options("--ack none").options(options).program(&["sleep", "1000"])
}

fn only_worker(manager: &Manager) -> i32 {
    manager.up();
    manager.pids("ready")[0]
}

/// The nice value, the 19th field of `/proc/PID/stat`.
fn nice(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(16).unwrap().parse().unwrap()
}

fn oom_score_adj(pid: i32) -> i32 {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

#[test]
fn workers_have_the_attributes_that_were_asked_for_and_the_manager_has_not() {
    let options = "--rlimit NOFILE=77:99 --rlimit core=0 --rlimit STACK=1M --nice 5 --oom-score-adj 900";
    let manager = asleep(options).start();
    let worker = only_worker(&manager);
    assert_eq!(nofile(worker), ("77".to_owned(), "99".to_owned()));
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max stack size"), ["1048576", "1048576"]);
    assert_eq!((nice(worker), oom_score_adj(worker)), (5, 900));
    assert_eq!(nice(manager.pid()), nice(std::process::id().cast_signed()));
    assert_eq!(oom_score_adj(manager.pid()), oom_score_adj(std::process::id().cast_signed()));
}

#[test]
fn the_keys_of_a_file_say_the_same() {
    let setup = setup("");
    let file = "[web]\nexec_start = 'sleep 1000'\nack = 'none'\nrlimits = ['NOFILE=78:98']\nnice = 6\n\
        oom_score_adj = 901\nlogin_env = true\nenvironments = ['USER=nobody at all']\n";
    fs::write(setup.path("site.toml"), file).unwrap();
    let mut command = Command::new(support::REMUDA);
    command.args(["run", "-c"]).arg(setup.path("site.toml")).arg("--control").arg(setup.path("c.sock"));
    command.env("LOGNAME", "somebody").env("HOME", "/nowhere");
    let manager = setup.start_as(command);
    let worker = only_worker(&manager);
    assert_eq!(nofile(worker), ("78".to_owned(), "98".to_owned()));
    assert_eq!((nice(worker), oom_score_adj(worker)), (6, 901));
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    let told = environment(worker);
    assert_eq!(told["LOGNAME"], user.name);
    assert_eq!(told["HOME"], user.dir.to_str().unwrap());
    assert_eq!(told["USER"], "nobody at all");
}

// pitfall 39
#[test]
fn workers_die_with_their_manager_where_asked_to() {
    let manager = asleep("--pdeathsig KILL").start();
    let worker = only_worker(&manager);
    let mut manager = manager;
    manager.process.end();
    assert!(wait_gone(worker));

    let mut manager = asleep("").start();
    let worker = only_worker(&manager);
    manager.process.end();
    assert!(lives(worker));
}

// pitfall 54
#[test]
fn what_protects_the_manager_does_not_protect_its_workers() {
    // A container's runtime raises the value of all that is in it: that stays.
    let started_with = |score: &'static str| {
        let setup = asleep("");
        let mut command = setup.command();
        // SAFETY: system calls only; so short a path is copied to the stack.
        unsafe {
            command.pre_exec(move || fs::write("/proc/self/oom_score_adj", score));
        }
        setup.start_as(command)
    };
    let manager = started_with("700");
    let worker = only_worker(&manager);
    assert_eq!((oom_score_adj(manager.pid()), oom_score_adj(worker)), (700, 700));
    // Not even root may lower it everywhere. Then it is feigned: the manager reads a file in its place, and workers show by
    // the 700 that they do not inherit.
    let lowers = Command::new("sh").args(["-c", "echo -300 >/proc/self/oom_score_adj"]).output().unwrap();
    let manager = match lowers.status.success() {
        true => started_with("-300"),
        false => {
            let setup = asleep("");
            let script = "echo 700 >/proc/self/oom_score_adj && echo -300 >\"$1\" &&
                mount --bind \"$1\" /proc/$$/oom_score_adj && shift && exec \"$@\"";
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", script, "sh"]).arg(setup.path("feigned"));
            command.arg(support::REMUDA).args(setup.words());
            if !root() {
                return;
            }
            setup.start_as(command)
        }
    };
    let worker = only_worker(&manager);
    assert_eq!(oom_score_adj(worker), 0);
    // Also by an image that did not start it.
    manager.done(&["reexec"]);
    manager.done(&["restart"]);
    assert_eq!(oom_score_adj(manager.pids("ready")[0]), 0);
}

#[test]
fn workers_of_another_user_are_told_of_its_home() {
    if !root() {
        return;
    }
    let manager = asleep("--user nobody --login-env -C /").start();
    let worker = only_worker(&manager);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let told = environment(worker);
    assert_eq!((told["USER"].as_str(), told["LOGNAME"].as_str()), ("nobody", "nobody"));
    assert_eq!(told["HOME"], nobody.dir.to_str().unwrap());
    assert_eq!(status_field(worker, "Uid").split('\t').next().unwrap(), nobody.uid.to_string());
    let refused = asleep("--user 3999999999 --login-env").output();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("no HOME for uid 3999999999"), "{}", refused.stderr);
}
