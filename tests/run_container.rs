//! `remuda run` in a container: as PID 1, drained before it stops, and probed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::http::get;
use support::namespace::{pid_namespace, process_in};
use support::process::{Log, Process};
use support::{Manager, REMUDA, Setup, copy_program, pid_of, process, root, setup};

#[test]
fn worker_entry() {
    support::worker::enter();
}

/// A manager that is PID 1 of a namespace.
struct First {
    manager: Manager,
    pid: i32,
}

impl First {
    fn start(setup: Setup) -> Option<First> {
        let mut command = pid_namespace()?;
        command.arg(REMUDA).args(setup.words());
        let manager = setup.start_as(command);
        let pid = process_in(manager.pid());
        Some(First { manager, pid })
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }
}

fn probe(manager: &Manager, words: &[&str]) -> (Option<i32>, String) {
    let output = manager.verb(&[&["probe"], words].concat());
    (output.code, output.stdout + &output.stderr)
}

// pitfall 41
#[test]
fn as_pid_1_a_stop_is_bounded_by_eight_seconds_if_nobody_says_otherwise() {
    for (options, least, most) in
        [("--ack manual", 1, 8_000), ("--ack manual --stop-timeout 1h", 60_000, 3_600_000)]
    {
        let setup = setup("ignore:TERM stop-on:WINCH ack pause").options(options).options("-n 2");
        let Some(mut first) = First::start(setup) else { return };
        first.manager.up();
        let workers = first.manager.workers();
        first.signal(Signal::SIGTERM);
        let told = first.manager.log.line("waiting for web[0]");
        let both =
            format!("waiting for web[0] pid {}, web[1] pid {}; ", pid_of(&workers[0]), pid_of(&workers[1]));
        assert!(told.contains(&both) && told.ends_with(" left"), "{told}");
        let left = first.manager.workers()[0]["until_ms"].as_u64().unwrap();
        assert!((least..most).contains(&left), "{options}: {left} ms are left");
        first.signal(Signal::SIGQUIT);
        assert_eq!(first.manager.exit().code(), Some(1));
    }
}

#[test]
fn as_pid_1_it_is_gone_the_moment_the_last_worker_is() {
    // Whoever waits for the end of that time does not end within the patience of this test.
    let setup = setup("pause").options("--ack none -n 3 --stop-timeout 1h");
    let Some(mut first) = First::start(setup) else { return };
    first.manager.up();
    first.signal(Signal::SIGTERM);
    assert_eq!(first.manager.exit().code(), Some(0));
    let log = first.manager.log.all();
    assert!(log.lines().last().is_some_and(|line| line.ends_with("web: stopped")), "{log}");
    assert_eq!(log.matches(": gone: ").count(), 3, "{log}");
}

/// A shell script as the worker of a manager that is PID 1, which leaves somebody in a session of its own when it goes.
fn with_orphan(options: &str, trap: &str) -> Setup {
    let setup = setup("");
    let (ready, script) = (setup.path("ready"), setup.path("tree.sh"));
    let orphan = format!("trap '{trap}' TERM; echo >>{}; while :; do sleep 0.02; done", ready.display());
    let orphan = orphan.replace("WENT", &setup.path("went").display().to_string());
    fs::write(setup.path("orphan.sh"), orphan).unwrap();
    let line = format!("#!/bin/sh\nsetsid sh {} &\nexec sleep 1000\n", setup.path("orphan.sh").display());
    support::write_program(&script, &line);
    setup.options("--ack none").options(options).program(&[script])
}

fn until_there(path: &Path) {
    let deadline = std::time::Instant::now() + support::LIMIT;
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline, "never there: {}", path.display());
        std::thread::yield_now();
    }
}

// pitfall 40
#[test]
fn as_pid_1_whoever_is_left_is_asked_to_go_and_waited_for() {
    let Some(mut first) = First::start(with_orphan("--stop-timeout 1h", "echo >>WENT; exit 0")) else {
        return;
    };
    until_there(&first.manager.path("ready"));
    first.signal(Signal::SIGTERM);
    assert_eq!(first.manager.exit().code(), Some(0));
    assert!(first.manager.path("went").exists());
    first.manager.log.line("left by workers: pid ");
}

// pitfalls 38 and 40
#[test]
fn as_pid_1_whoever_does_not_go_is_killed_and_named() {
    let Some(mut first) = First::start(with_orphan("--stop-timeout 100ms", "")) else { return };
    until_there(&first.manager.path("ready"));
    first.signal(Signal::SIGTERM);
    assert_eq!(first.manager.exit().code(), Some(1));
    let line = first.manager.log.line("left by workers and not gone: pid ");
    assert!(line.contains(" (sh)"), "{line}");
}

// pitfalls 38 and 40
#[test]
fn as_pid_1_it_ends_although_somebody_cannot_be_killed_and_says_who() {
    if !root() || !support::tool("setpriv") {
        return;
    }
    // Of another user than the manager, which may not signal others: as good as one that hangs in the kernel.
    let setup = setup("").options("--ack none --user 65534:65534 --stop-timeout 100ms -C /");
    let setup = setup.program(&["sleep", "1000"]);
    let Some(namespace) = pid_namespace() else { return };
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-kill", "--inh-caps=-kill"]).arg(namespace.get_program());
    command.args(namespace.get_args()).arg(REMUDA).args(setup.words());
    let mut manager = setup.start_as(command);
    // Before its program runs a worker is still of our user.
    manager.log.line("ready after");
    let pid = process_in(manager.pid());
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    assert_eq!(manager.exit().code(), Some(1));
    manager.log.line("could not be killed, and left behind: web[0] pid 2");
}

// pitfall 43
#[test]
fn as_pid_1_strangers_are_reaped_and_counted_and_nothing_else() {
    let program = ["sh", "-c", "( : & ); exec sleep 1000"];
    let Some(mut first) = First::start(setup("").program(&program).options("--ack none -v")) else { return };
    first.manager.log.line("not a worker (1 so far)");
    assert_eq!(first.manager.status()["strangers"], 1);
    assert!(first.manager.done(&["status"]).stdout.contains("reaped 1 process that was no worker\n"));
    assert_eq!(first.manager.workers()[0]["restarts"], 0);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.manager.exit().code(), Some(0));
}

// pitfall 56
#[test]
fn workers_serve_on_for_the_drain_delay_while_the_manager_is_not_ready() {
    let mut manager = setup("serve").options("-b 127.0.0.1:0 --ack none --drain-delay 1h").start();
    manager.up();
    assert_eq!(probe(&manager, &["ready"]), (Some(0), "ready: web up, 1/1 ready\n".to_owned()));
    let mut events = manager.events();
    manager.signal(Signal::SIGTERM);
    let draining = events.until("draining");
    assert_eq!((&draining["signal"], &draining["delay_ms"]), (&json!("TERM"), &json!(3_600_000)));
    let (code, told) = probe(&manager, &["ready"]);
    assert!(code == Some(1) && told.starts_with("remuda: not ready: draining, "), "{code:?} {told}");
    assert_eq!(probe(&manager, &["live"]).0, Some(0));
    assert!(manager.done(&["status"]).stdout.contains("draining: not ready, serving on, "));
    // Who dies meanwhile is replaced, and connections are answered.
    let pid = manager.pids("ready")[0];
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    events.until("died");
    events.until("ready");
    get(manager.address(), "/").unwrap();
    assert_eq!(manager.verb(&["start", "--no-wait"]).code, Some(0), "it takes no signal back");
    assert_eq!(probe(&manager, &["ready"]).0, Some(1));
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn the_stop_follows_the_drain_delay() {
    let mut manager = setup("pause").options("--ack none --drain-delay 50ms").start();
    manager.up();
    assert_eq!(manager.stop(), Some(0));
    let log = manager.log.all();
    let line =
        |text: &str| log.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{log}"));
    assert!(
        line("draining: shutting down in 50 ms (signal TERM)")
            < line("shutting down gracefully (signal TERM)")
    );
}

#[test]
fn the_verb_drain_waits_for_the_delay_and_leaves_the_stop_to_others() {
    let mut manager = setup("serve").options("-b 127.0.0.1:0 --ack none").start();
    manager.up();
    let refused = manager.verb(&["drain"]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("--drain-delay") && refused.stderr.contains("--delay"), "{refused:?}");
    assert_eq!(manager.done(&["drain", "--delay", "50ms"]).stdout, "drained\n");
    assert_eq!(probe(&manager, &["ready"]), (Some(1), "remuda: not ready: drained\n".to_owned()));
    get(manager.address(), "/").unwrap();
    manager.done(&["start"]);
    assert_eq!(probe(&manager, &["ready"]).0, Some(0));
    // Who hangs up while it waits has changed nothing; a stop ends the waiting of the others.
    let mut events = manager.events();
    let waiting = manager.begin(&["drain", "--delay", "1h"]);
    events.until("draining");
    manager.signal(Signal::SIGTERM);
    events.until_that("promised stop", |event| event["event"] == "draining" && event["signal"] == "TERM");
    assert_eq!(manager.stop(), Some(0));
    assert_eq!(waiting.output().code, Some(0));
}

#[test]
fn probes_say_yes_or_no_and_why() {
    let manager = setup("gate:{dir}/gate ack serve").options("-b 127.0.0.1:0 --ack manual -n 2");
    let gate = manager.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let manager = manager.start();
    assert_eq!(probe(&manager, &["live"]).0, Some(0));
    let waiting = "remuda: not ready: web starting, 0/2 ready\n";
    assert_eq!(probe(&manager, &["ready"]), (Some(1), waiting.to_owned()));
    let open = fs::OpenOptions::new().write(true).open(&gate).unwrap();
    manager.up();
    drop(open);
    assert_eq!(probe(&manager, &["ready", "--all"]).0, Some(0));
    assert_eq!(probe(&manager, &["ready", "web"]).0, Some(0));
    assert_eq!(probe(&manager, &["ready", "nobody"]).0, Some(1));
    manager.done(&["stop", "web"]);
    assert_eq!(
        probe(&manager, &["ready"]),
        (Some(1), "remuda: not ready: every group is stopped\n".to_owned())
    );
    // One that hangs does not live, and one that is not there does not either.
    manager.signal(Signal::SIGSTOP);
    assert_eq!(probe(&manager, &["live", "--timeout", "100ms"]).0, Some(6));
    assert_eq!(probe(&manager, &["live"]).0, Some(1), "without a time to wait it is yes or no");
    manager.signal(Signal::SIGCONT);
    assert_eq!(probe(&manager, &["live"]).0, Some(0));
    let mut nobody = Command::new(REMUDA);
    nobody.args(["probe", "live", "--control"]).arg(manager.path("nobody.sock"));
    assert_eq!(process::run(&mut nobody).code, Some(1));
    let wrong = manager.verb(&["probe", "well"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""), "{wrong:?}");
}

// pitfall 42
#[test]
fn a_group_may_end_the_manager_with_the_code_of_its_worker() {
    let run = |script: &str, options: &str| setup(script).options("--ack none").options(options).output();
    assert_eq!(run("exit:7", "--on-exit exit").code, Some(7));
    let third = run("exit:9", "--on-exit exit:3 --backoff 10ms");
    assert_eq!((third.code, third.stderr.matches("died: exit code 9").count()), (Some(9), 3), "{third:?}");

    let mut manager = setup("pause").options("--ack none --on-exit exit -n 2").start();
    manager.up();
    let workers = manager.pids("ready");
    kill(Pid::from_raw(workers[0]), Signal::SIGKILL).unwrap();
    assert_eq!(manager.exit().code(), Some(137));
    let log = manager.log.all();
    assert!(log.contains("everything ends with a worker, with exit code 137"), "{log}");
    assert!(log.contains(&format!("web[1] pid {} gen 1: gone: ", workers[1])), "{log}");
}

/// Somebody of whom no user database knows.
const NOBODY: &str = "54321:54321";

/// The manager as it can be executed where there is nothing else: linked statically, if that was built since.
fn lonely() -> Option<PathBuf> {
    let age = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let target = Path::new(REMUDA).ancestors().nth(2)?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = ["debug", "release"].map(|profile| target.join(&triple).join(profile).join("remuda"));
    built
        .into_iter()
        .find(|path| age(path).is_some_and(|age_of_it| Some(age_of_it) >= age(Path::new(REMUDA))))
}

/// A directory with the manager, the libraries that it cannot do without, and nothing else.
fn empty_root(setup: &Setup) -> PathBuf {
    let root = setup.path("root");
    fs::create_dir(&root).unwrap();
    if let Some(lonely) = lonely() {
        copy_program(&lonely, &root.join("remuda"));
        return root;
    }
    copy_program(Path::new(REMUDA), &root.join("remuda"));
    let libraries = process::run(Command::new("ldd").arg(REMUDA));
    for path in libraries.stdout.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        copy_program(Path::new(path), &copy);
    }
    root
}

/// The command line of a manager in a root with nothing else in it, which cannot be written to: a shell with more rights
/// than the manager has the limits set, and `chroot` with these options go there.
fn alone(root: &Path, namespaces: &[&str], limits: &str, chroot: &str, name: &str) -> Command {
    let script = format!(
        "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && ulimit {limits} && \
         exec chroot {chroot} \"$0\" /remuda run --name {name} \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(namespaces).args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", &script]);
    command.arg(root).args(["-b", "127.0.0.1:0", "-n", "2", "--ack", "none"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env(support::MARK, root.parent().unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A verb asked from within the same root, by the same user.
fn within(root: &Path, chroot: &str, words: &[&str]) -> process::Output {
    let mut command = Command::new("chroot");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(chroot.split_whitespace()).arg(root).arg("/remuda").args(words);
    process::run(&mut command)
}

// pitfall 44
#[test]
fn where_there_is_nothing_else_it_starts_and_works() {
    if !root() {
        return;
    }
    // As many descriptors as may be had, which may be a billion; 32 MiB, in KiB.
    let limits = ["-n 16", "-n $(ulimit -H -n)", "-v 32768"];
    for (number, limits) in limits.into_iter().enumerate() {
        let setup = setup("");
        let root = empty_root(&setup);
        let name = format!("nothing-{}-{number}", std::process::id());
        let chroot = format!("--userspec={NOBODY}");
        let mut command = alone(&root, &[], limits, &chroot, &name);
        command.args(["--user", NOBODY, "--", "/remuda", "init", "--pause", "--quiet"]);
        let mut first = Process::spawn(&mut command);
        let log = Log::follow(first.child.stderr.take().unwrap());
        log.lines("ready worker", 2, |line| line.contains(": ready after "));
        let probed = within(&root, &chroot, &["probe", "ready", "--all", "--name", &name]);
        assert_eq!(
            probed.stdout,
            format!("ready: {name} up, 2/2 ready\n"),
            "{limits}: {probed:?}\n{}",
            log.text()
        );
        let upgraded = within(&root, &chroot, &["upgrade", "--name", &name]);
        assert_eq!(upgraded.code, Some(0), "{limits}: {upgraded:?}\n{}", log.text());
        let nameless = within(&root, &chroot, &["status"]);
        assert_eq!(nameless.code, Some(3), "nobody can tell who runs without /proc: {nameless:?}");
        kill(Pid::from_raw(process_in(first.pid())), Signal::SIGTERM).unwrap();
        assert_eq!(first.wait().code(), Some(0), "{limits}: {}", log.all());
    }
}

/// As where somebody without rights runs containers: root of nothing but its own namespace, who cannot become anybody.
#[test]
fn in_a_user_namespace_it_works_and_says_what_it_may_not() {
    let may = process::run(Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]));
    if may.code != Some(0) {
        support::skip(&format!("no user namespace: {}", may.stderr.trim()));
        return;
    }
    let setup = setup("");
    let root = empty_root(&setup);
    let name = format!("rootless-{}", std::process::id());
    let user = ["--user", "--map-root-user"];
    let mut command = alone(&root, &user, "-n 64", "", &name);
    command.args(["--", "/remuda", "init", "--pause", "--quiet"]);
    let mut first = Process::spawn(&mut command);
    let log = Log::follow(first.child.stderr.take().unwrap());
    log.lines("ready worker", 2, |line| line.contains(": ready after "));
    kill(Pid::from_raw(process_in(first.pid())), Signal::SIGTERM).unwrap();
    assert_eq!(first.wait().code(), Some(0), "{}", log.all());

    let mut command = alone(&root, &user, "-n 64", "", &name);
    command.args(["--user", NOBODY, "--give-up", "2", "--backoff", "10ms"]);
    command.args(["--", "/remuda", "init", "--pause"]);
    let mut other = Process::spawn(&mut command);
    let log = Log::follow(other.child.stderr.take().unwrap());
    log.line("unable to set groups: ");
    assert_ne!(other.wait().code(), Some(0), "{}", log.all());
}

/// What stands in `examples/container`.
fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/container").join(name)).unwrap()
}

/// The lists of words in a YAML document.
fn lists(text: &str) -> Vec<Vec<String>> {
    let (mut open, mut found): (Vec<Option<Vec<String>>>, _) = (Vec::new(), Vec::new());
    for event in saphyr_parser::Parser::new_from_str(text) {
        match event.expect("YAML").0 {
            saphyr_parser::Event::SequenceStart(..) => open.push(Some(Vec::new())),
            saphyr_parser::Event::MappingStart(..) => open.push(None),
            saphyr_parser::Event::Scalar(word, ..) => {
                if let Some(Some(list)) = open.last_mut() {
                    list.push(word.into_owned());
                }
            }
            saphyr_parser::Event::SequenceEnd | saphyr_parser::Event::MappingEnd => {
                found.extend(open.pop().flatten());
            }
            _ => {}
        }
    }
    found
}

/// The lists of words that stand in brackets and quotes.
fn arrays(text: &str) -> Vec<Vec<String>> {
    let starts = text.match_indices('[').map(|(at, _)| &text[at..]);
    starts.filter_map(|rest| serde_json::from_str(&rest[..=rest.find(']')?]).ok()).collect()
}

/// Seconds of an option in a command line, or those that hold without it.
fn seconds(words: &[String], option: &str, otherwise: u64) -> u64 {
    let at = words.iter().position(|word| word == option);
    at.map_or(otherwise, |at| words[at + 1].trim_end_matches('s').parse().unwrap())
}

/// Fails unless each command line can be read, and returns that of `run`.
fn checked(lines: Vec<Vec<String>>) -> Vec<String> {
    let mut manager = None;
    for line in lines {
        let line: Vec<String> = line.into_iter().skip_while(|word| word == "CMD").collect();
        let words = match line.first().map(String::as_str) {
            Some("/remuda") if line.len() > 1 => line[1..].to_vec(),
            // The program stands apart.
            Some("run") => line,
            _ => continue,
        };
        let args = words.iter().map(std::ffi::OsString::from).collect();
        remuda::cli::native::parse(args).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        if words[0] == "run" {
            manager = Some(words);
        }
    }
    manager.expect("a manager is run")
}

/// How long a stop takes at most, by what the manager is told.
fn longest_stop(manager: &[String]) -> u64 {
    seconds(manager, "--drain-delay", 0) + seconds(manager, "--stop-timeout", 8)
}

#[test]
fn the_examples_can_be_read_and_leave_time_for_the_end() {
    let dockerfile = example("Dockerfile");
    let instruction = |word: &str| {
        let line = dockerfile.lines().find(|line| line.starts_with(word)).unwrap();
        arrays(line).remove(0)
    };
    let manager =
        checked(vec![[instruction("ENTRYPOINT"), instruction("CMD")].concat(), instruction("HEALTHCHECK")]);

    let number = |text: &str, key: &str| -> u64 {
        let value = text.split(key).nth(1).unwrap_or_else(|| panic!("{key}"));
        let digits: String =
            value.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    let compose = example("compose.yaml");
    let probes = lists(&compose);
    assert!(probes.iter().any(|list| list.first().is_some_and(|word| word == "CMD")), "{probes:?}");
    checked([probes, vec![manager_line(&manager)]].concat());
    assert!(number(&compose, "stop_grace_period:") > longest_stop(&manager));

    let kubernetes = example("kubernetes.yaml");
    let lines = lists(&kubernetes);
    assert_eq!(lines.iter().filter(|line| line.get(1).is_some_and(|word| word == "probe")).count(), 2);
    let manager = checked(lines);
    assert!(number(&kubernetes, "terminationGracePeriodSeconds:") > longest_stop(&manager));
    let hook = kubernetes.split("exec: {command: [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let hook = hook.split(", ").map(str::to_owned).collect();
    checked(vec![hook, manager_line(&manager)]);

    let nomad = example("web.nomad.hcl");
    assert_eq!(nomad.matches('{').count(), nomad.matches('}').count());
    let manager = checked(arrays(&nomad));
    assert!(number(&nomad, "kill_timeout") > longest_stop(&manager));
}

/// As it stands in an image.
fn manager_line(words: &[String]) -> Vec<String> {
    [&["/remuda".to_owned()], words].concat()
}
