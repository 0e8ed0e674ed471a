//! The real binary: what stands in the way of starting, what is left behind, and what is cleaned up.

mod support;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::process::{self, Output, Process};
use support::{Setup, http, root, setup, tool, worker, write_program};

#[test]
fn worker_entry() {
    worker::enter();
}

/// The start is refused with this code, in one line that has all of this in it, and nothing is left behind.
fn refused(setup: &Setup, code: i32, parts: &[&str]) {
    refused_as(setup, &mut setup.command(), code, parts);
}

fn refused_as(setup: &Setup, command: &mut Command, code: i32, parts: &[&str]) {
    let output = process::run(command);
    assert_eq!(output.code, Some(code), "{output:?}");
    // STYLE: what, where, why; in lower case and without a full stop.
    assert!(output.stderr.starts_with("remuda: ") && output.stderr.lines().count() == 1, "{output:?}");
    assert!(!output.stderr.trim_end().ends_with('.'), "{output:?}");
    for part in parts {
        assert!(output.stderr.contains(part), "no {part:?}: {output:?}");
    }
    assert!(!setup.path("c.sock").exists() && !setup.path("started").exists(), "{output:?}");
}

// pitfall 20
#[test]
fn a_control_socket_left_behind_is_cleaned_without_asking() {
    let setup = setup("pause").options("--ack none");
    let mut first = Process::spawn(setup.command().stderr(Stdio::piped()).stdout(Stdio::null()));
    let log = process::Log::follow(first.child.stderr.take().unwrap());
    log.line("ready after");
    first.child.kill().unwrap();
    first.wait();
    assert!(setup.path("c.sock").exists());
    assert_eq!(setup.verb(&["status"]).code, Some(3));
    let mut second = setup.start();
    second.up();
    assert_eq!(second.stop(), Some(0));
}

// pitfall 20
#[test]
fn a_second_instance_is_refused_by_the_pid_of_the_first() {
    let directory = setup("");
    let instance = || {
        let setup = setup("pause").options("--ack none").default_control();
        let mut command = setup.command();
        command.env("RUNTIME_DIRECTORY", directory.path(""));
        (setup, command)
    };
    let (first, command) = instance();
    let mut first = first.start_as(command);
    let (second, mut command) = instance();
    let output = process::run(&mut command);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains(&format!("pid {}", first.pid())) && output.stderr.contains("web"),
        "{output:?}"
    );
    // A live one is never stolen: the first still answers at its place.
    let mut ask = Command::new(support::REMUDA);
    ask.args(["status", "--json", "--name", "web"]).env("RUNTIME_DIRECTORY", directory.path(""));
    let status: Value = serde_json::from_str(&process::run(&mut ask).stdout).unwrap();
    assert_eq!(status["pid"], first.pid());
    // And the place is free as soon as it is gone.
    assert_eq!(first.stop(), Some(0));
    drop(second);
    let (third, command) = instance();
    third.start_as(command);
}

// pitfall 21
#[test]
fn of_two_that_start_at_once_exactly_one_wins() {
    for _ in 0..10 {
        let directory = setup("");
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let setup = setup("exit-after:300:0").options("--ack none --restart never").default_control();
                let mut command = setup.command();
                command.env("RUNTIME_DIRECTORY", directory.path(""));
                (setup, process::begin(&mut command))
            })
            .collect();
        let outputs: Vec<Output> = runs.into_iter().map(|(_setup, run)| run.output()).collect();
        let won = outputs.iter().filter(|output| output.code == Some(0)).count();
        assert_eq!(won, 1, "{outputs:?}");
        let lost = outputs.iter().find(|output| output.code != Some(0)).unwrap();
        assert_eq!(lost.code, Some(1));
        assert!(lost.stderr.contains("already") && lost.stderr.contains("pid "), "{lost:?}");
    }
}

// pitfall 44
#[test]
fn no_writable_directory_is_needed() {
    // The control socket is then abstract.
    if !root() || !tool("setpriv") {
        return;
    }
    let name = format!("remuda-test-{}", std::process::id());
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65533", "--regid=65533", "--clear-groups"]).args(words).current_dir("/");
        command.env_remove("XDG_RUNTIME_DIR").env_remove("RUNTIME_DIRECTORY");
        command
    };
    let setup = setup("");
    let binary = setup.path("remuda");
    support::copy_program(Path::new(support::REMUDA), &binary);
    let binary = binary.to_str().expect("a path of this test").to_owned();
    let words = [&binary, "run", "--name", &name, "--ack", "manual", "--", "sh", "-c"];
    let script = format!("{binary} ack -q && exec sleep 1000");
    let mut manager = setup.start_as({
        let mut command = as_nobody(&words);
        command.arg(script);
        command
    });
    let status = || {
        let output = process::run(&mut as_nobody(&[&binary, "status", "--name", &name, "--json"]));
        assert_eq!(output.code, Some(0), "{output:?}");
        serde_json::from_str::<Value>(&output.stdout).unwrap()
    };
    manager.log.line("ready after");
    assert_eq!(status()["pid"], manager.pid());
    let second = process::run(as_nobody(&words).arg("true"));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains(&format!("pid {}", manager.pid())), "{second:?}");
    let output = process::run(&mut as_nobody(&[&binary, "stop", "--name", &name]));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(manager.exit().code(), Some(0));
}

#[test]
fn a_program_that_cannot_be_run_is_refused_before_anything_starts() {
    let setup = setup("");
    refused(&setup.program(&["/no/such/program"]), 1, &["/no/such/program", "no such file or directory"]);
    let setup = support::setup("").program(&["no-such-program-anywhere"]);
    refused(&setup, 1, &["no-such-program-anywhere", "PATH"]);
    let setup = support::setup("").program(&["/etc/passwd"]);
    refused(&setup, 1, &["/etc/passwd", "not executable"]);
    let setup = support::setup("").program(&["/usr"]);
    refused(&setup, 1, &["/usr", "directory"]);
    let setup = support::setup("pause").options("-C /no/such/directory");
    refused(&setup, 1, &["/no/such/directory", "no such file or directory"]);
    let setup = support::setup("pause").options("-C /etc/passwd");
    refused(&setup, 1, &["/etc/passwd", "not a directory"]);
    let setup = support::setup("pause").options("--user no-such-user-here");
    refused(&setup, 1, &["no-such-user-here"]);
    let setup = support::setup("pause").options("--group no-such-group-here");
    refused(&setup, 1, &["no-such-group-here"]);
    let setup = support::setup("pause").options("--env-file /no/such/file");
    refused(&setup, 1, &["/no/such/file", "no such file or directory"]);
    let setup = support::setup("pause").option_path("--env-file", "bad");
    fs::write(setup.path("bad"), "GOOD=1\nno equals sign\n").unwrap();
    refused(&setup, 1, &["bad:2"]);
}

#[test]
fn what_only_the_kernel_can_refuse_is_told_by_its_stage() {
    // The program looks right, and cannot be executed.
    let setup = setup("").options("--ack none --give-up 1");
    let foreign = setup.path("foreign");
    write_program(&foreign, "\x7fELF and nothing more");
    let mut manager = setup.program(&[&foreign]).start();
    // As a shell has it.
    assert_eq!(manager.exit().code(), Some(127));
    let log = manager.log.all();
    assert!(log.contains("unable to execute the program: exec format error"), "{log}");
    manager.leaves_nobody();
}

#[test]
fn a_script_whose_interpreter_is_not_there_is_refused_before_anything_is_started() {
    let setup = setup("").options("--ack none --give-up 1");
    let script = setup.path("script");
    write_program(&script, "#!/no/such/interpreter\n");
    let setup = setup.program(&[&script]);
    refused(&setup, 1, &["/script: its interpreter /no/such/interpreter: no such file or directory"]);
}

#[test]
fn a_failure_in_between_is_told_by_its_stage() {
    if !root() || !tool("setpriv") {
        return;
    }
    // Without the privilege to become somebody else: known before anything is started.
    let setup = setup("").options("--ack none --user nobody -C /").program(&["sleep", "1000"]);
    std::os::unix::fs::chown(setup.path(""), Some(65533), Some(65533)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65533", "--regid=65533", "--clear-groups", support::REMUDA]).args(setup.words());
    refused_as(&setup, &mut command, 1, &["cannot run workers as uid 65534", "only root may"]);

    // A directory that the manager may enter and the worker may not.
    let setup =
        support::setup("").options("--ack none --give-up 1 --user nobody").program(&["sleep", "1000"]);
    let closed = setup.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mut manager = setup.option("-C").option(&closed).start();
    assert_eq!(manager.exit().code(), Some(127));
    let log = manager.log.all();
    assert!(log.contains("unable to enter the working directory: permission denied"), "{log}");
}

// pitfall 28
#[test]
fn a_port_in_use_is_told_with_its_holder() {
    // Everything is bound before anything is started.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = setup("note:{dir}/started pause").options(&format!("-b 127.0.0.1:0 -b {address}"));
    let holder = format!("pid {}", std::process::id());
    refused(&setup, 1, &["cannot bind", &address, "address in use", &holder]);
}

#[test]
fn addresses_that_cannot_be_bound_are_refused() {
    let refuses = |address: &str, code: i32, parts: &[&str]| {
        refused(&setup("note:{dir}/started pause").option("-b").option(address), code, parts);
    };
    refuses("192.0.2.1:0", 1, &["cannot bind", "192.0.2.1:0"]);
    refuses("unix:/no/such/place/web.sock", 1, &["/no/such/place/web.sock", "no such file or directory"]);
    refuses("no-such-host.invalid:80", 1, &["no-such-host.invalid"]);
    refuses("fd://57", 1, &["fd://57"]);
    refuses(&format!("unix:/tmp/{}", "x".repeat(200)), 2, &["xxx"]);
    let setup = setup("note:{dir}/started pause").options("-b 127.0.0.1:8080 -b 127.0.0.1:8080");
    refused(&setup, 2, &["127.0.0.1:8080", "twice"]);
}

// pitfall 18
#[test]
fn a_unix_socket_has_its_mode_and_is_removed_at_the_end() {
    let setup = setup("serve").options("--ack none");
    let path = setup.path("web.sock");
    let mut manager = setup.option("-b").option(format!("unix:{},mode=0620", path.display())).start();
    manager.up();
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o620);
    UnixStream::connect(&path).unwrap();
    assert_eq!(manager.stop(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_of_somebody_else_is_left_alone() {
    // Only the owner unlinks, and only what is still its own.
    let setup = setup("pause").options("--ack none");
    let path = setup.path("web.sock");
    let mut manager = setup.option("-b").option(format!("unix:{}", path.display())).start();
    manager.up();
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    assert_eq!(manager.stop(), Some(0));
    assert!(path.exists(), "it removed what was not its own");
    drop(other);

    // In use: refused. Stale: replaced. No socket: refused.
    let busy = support::setup("pause").options("--ack none");
    let path = busy.path("web.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let busy = busy.option("-b").option(format!("unix:{}", path.display()));
    refused(
        &busy,
        1,
        &["address in use", &path.display().to_string(), &format!("pid {}", std::process::id())],
    );
    assert!(path.exists());
    drop(listener);
    let mut manager = busy.start();
    manager.up();
    assert_eq!(manager.stop(), Some(0));
    let file = support::setup("pause").options("--ack none");
    let path = file.path("precious");
    fs::write(&path, "do not lose me").unwrap();
    let file = file.option("-b").option(format!("unix:{}", path.display()));
    refused(&file, 1, &["precious"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "do not lose me");
}

#[test]
fn the_control_socket_of_somebody_else_is_left_alone() {
    let setup = setup("pause").options("--ack none");
    let mut manager = setup.start();
    manager.up();
    fs::remove_file(&manager.control).unwrap();
    let other = UnixListener::bind(&manager.control).unwrap();
    assert_eq!(manager.stop(), Some(0));
    assert!(manager.control.exists());
    drop(other);

    let setup = support::setup("pause").options("--ack none");
    fs::write(setup.path("c.sock"), "do not lose me").unwrap();
    let output = setup.output();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(fs::read_to_string(setup.path("c.sock")).unwrap(), "do not lose me");
}

#[test]
fn the_pid_file_is_there_while_the_manager_runs() {
    // The lock decides, and not the number in the file.
    let setup = setup("pause").options("--ack none").option_path("--pidfile", "pid");
    let path = setup.path("pid");
    fs::write(&path, "1\n").unwrap();
    let mut manager = setup.start();
    manager.up();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", manager.pid()));
    let second = support::setup("pause").options("--ack none").option("--pidfile").option(&path);
    refused(&second, 1, &[&path.display().to_string(), &format!("pid {}", manager.pid())]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", manager.pid()));
    assert_eq!(manager.stop(), Some(0));
    assert!(!path.exists());
    let setup = support::setup("pause").options("--pidfile /no/such/directory/pid");
    refused(&setup, 1, &["/no/such/directory/pid"]);
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let setup = setup("pause").options("-b 127.0.0.1:0 -n 4 --ack none -v");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = setup.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    let mut process = Process::spawn(&mut command);
    // So that nobody but the manager and its workers hold it.
    drop(command);
    let mut reader = reader;
    let mut first = [0; 64];
    assert!(reader.read(&mut first).unwrap() > 0);
    // A pipe takes 64 KiB; an upgrade of 4 workers is more than 1 kB of lines.
    for _ in 0..80 {
        assert_eq!(setup.verb(&["upgrade"]).code, Some(0));
    }
    assert_eq!(setup.verb(&["stop"]).code, Some(0));
    assert_eq!(process.wait().code(), Some(0));
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.len() >= 60_000, "{} bytes: the pipe was not full", rest.len());
    assert!(rest.lines().skip(1).all(|line| line.starts_with("remuda: ")), "lines are whole");
}

#[test]
fn a_log_whose_reader_is_gone_holds_up_nobody() {
    let setup = setup("pause").options("--ack none");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = setup.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    let mut process = Process::spawn(&mut command);
    drop(command);
    assert!(reader.read(&mut [0; 64]).unwrap() > 0);
    drop(reader);
    assert_eq!(setup.verb(&["upgrade"]).code, Some(0));
    assert_eq!(setup.verb(&["stop"]).code, Some(0));
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn the_log_can_be_json() {
    let setup = setup("pause").options("--ack none --log-format json");
    let command = setup.command();
    let mut manager = setup.launch(command);
    manager.log.line("\"started\"");
    manager.up();
    manager.done(&["upgrade"]);
    assert_eq!(manager.stop(), Some(0));
    let log = manager.log.all();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for (line, event) in log.lines().zip(&events) {
        assert!(line.starts_with("{\"time\":\"2"), "{line}");
        let time = event["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
    }
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    for name in ["started", "ready", "upgrade-started", "stopping", "upgrade-done", "gone", "shutting-down"] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
}

#[test]
fn plain_lines_have_everything_at_its_place() {
    let manager = setup("pause").options("-n 2 --ack none -v").start();
    manager.up();
    let ready = manager.log.line("web[1]");
    let pid = manager.pids("ready")[1];
    assert!(ready.starts_with(&format!("remuda: debug: web[1] pid {pid} gen 1: ")), "{ready}");
    assert_eq!(manager.log.line("started"), "remuda: info: started");
}

#[test]
fn quiet_managers_say_what_goes_wrong_only() {
    let output = setup("exit:1").options("--ack timer:5s -q --give-up 2 --backoff 10ms").output();
    assert_eq!(output.code, Some(1));
    assert!(
        output
            .stderr
            .lines()
            .all(|line| line.starts_with("remuda: warn: ") || line.starts_with("remuda: error: ")),
        "{output:?}"
    );
    let output = setup("exit:1").options("--ack timer:5s -qq --give-up 2 --backoff 10ms").output();
    assert!(output.stderr.lines().all(|line| line.starts_with("remuda: error: ")), "{output:?}");
    assert!(output.stderr.contains("gave up after 2 failures in a row"), "{output:?}");
}

/// A line that cannot be understood starts nothing and says where help is.
fn usage(words: &[&str], part: &str) {
    let mut command = Command::new(support::REMUDA);
    command.args(words);
    let output = process::run(&mut command);
    assert_eq!(output.code, Some(2), "{words:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
    assert!(
        output.stderr.starts_with("remuda: ") && output.stderr.lines().count() == 1,
        "{words:?}: {output:?}"
    );
    assert!(output.stderr.contains(part), "{words:?}: no {part:?} in {output:?}");
}

#[test]
fn every_option_refuses_a_wrong_value() {
    let directory = setup("");
    let proof = directory.path("started");
    let proof = proof.to_str().unwrap();
    for (option, values) in [
        (
            "--bind",
            &["", "nonsense:port", "127.0.0.1:99999", "127.0.0.1:80,backlog=x", "1.2.3.4.5:80", "http://x"][..],
        ),
        ("--handoff", &["", "systemd,unknown", "none,systemd"]),
        ("--workers", &["", "-1", "many", "10001", "1.5", "4294967297"]),
        ("--ack", &["", "sometimes", "timer:", "timer:-1s", "manual:3s"]),
        ("--ack-deadline", &["", "0", "5 minutes", "-1s", "1y"]),
        ("--graceful-signal", &["", "NONSENSE", "0", "99", "KILLL"]),
        ("--stop-timeout", &["", "soon", "-1", "1h2"]),
        ("--restart", &["", "maybe", "Always"]),
        ("--success-exit", &["", "256", "-1", "0,", "NONSENSE"]),
        ("--backoff", &["", "0", "1ms", "1s:0.5", "1s:2:500ms", "1s:2:3s:4", "x"]),
        ("--give-up", &["", "0", "never"]),
        ("--upgrade", &["", "blue-green"]),
        ("--surge", &["", "0", "0%", "101%", "%", "half"]),
        ("--max-unacked", &["", "0", "x"]),
        ("--max-draining", &["", "0", "x"]),
        ("--drain-timeout", &["", "later"]),
        ("--directory", &[""]),
        ("--user", &[""]),
        ("--group", &[""]),
        ("--env", &["", "NAME", "=value"]),
        ("--env-file", &[""]),
        ("--drop-env", &["", "A=B"]),
        ("--umask", &["", "9", "1000", "-1", "x"]),
        ("--stdin", &["", "tty"]),
        ("--log-format", &["", "xml"]),
        ("--name", &["", "a/b", "..", "a b", "\u{fc}"]),
        ("--control", &[""]),
        ("--pidfile", &[""]),
    ] {
        for value in values {
            usage(&["run", option, value, "--", "touch", proof], option);
            usage(&[option, value, "--", "touch", proof], option);
        }
        usage(&["run", option], option);
    }
    assert!(!Path::new(proof).exists(), "something was started");
}

#[test]
fn lines_that_cannot_be_understood_start_nothing() {
    usage(&[], "remuda -h");
    usage(&["run"], "--");
    usage(&["run", "--"], "--");
    usage(&["run", "--wokers", "3", "--", "true"], "did you mean '--workers'");
    usage(&["run", "-x", "--", "true"], "-x");
    usage(&["run", "--keep-signals=yes", "--", "true"], "takes no value");
    usage(&["run", "-n", "2", "sleep", "5"], "remuda run -n 2 -- sleep 5");
    usage(&["run", "-v", "-q", "--", "true"], "contradict");
    usage(&["upgarde"], "did you mean 'upgrade'");
    usage(&["scale"], "N");
    usage(&["scale", "many"], "many");
    usage(&["scale", "web", "3", "4"], "4");
    usage(&["signal"], "SIG");
    usage(&["signal", "NONSENSE"], "NONSENSE");
    usage(&["log-level", "loud"], "loud");
    usage(&["status", "--wait-drained"], "--wait-drained");
    usage(&["upgrade", "--no-wait", "--wait-drained"], "contradict");
    usage(&["upgrade", "--timeout", "0"], "--timeout");
    usage(&["ack", "--pid", "-3"], "--pid");
    // Help before anything else.
    for words in
        [&["stop", "--help"][..], &["stop", "-h"], &["run", "--help", "--nonsense"], &["--version"], &["-h"]]
    {
        let mut command = Command::new(support::REMUDA);
        command.args(words);
        let output = process::run(&mut command);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(!output.stdout.is_empty());
    }
}

// pitfall 39
#[test]
fn a_manager_that_is_killed_leaves_workers_that_serve() {
    let manager = setup("serve").options("-b 127.0.0.1:0 --ack none").start();
    manager.up();
    let address = manager.address();
    let worker = manager.pids("ready")[0];
    kill(Pid::from_raw(manager.pid()), Signal::SIGKILL).unwrap();
    assert!(process::wait_gone(manager.pid()));
    let (pid, _) = http::who(&http::get(address, "/").unwrap());
    assert_eq!(pid, worker);
    // Who starts again is told who holds the address.
    let again = setup("pause").options(&format!("--ack none -b {address}"));
    refused(&again, 1, &["address in use", &format!("pid {worker}")]);
}

// pitfall 43
#[test]
fn children_that_are_not_ours_are_reaped_and_nothing_else() {
    // The manager replaces a shell that has a child already.
    let setup = setup("pause").options("--ack none");
    let words: Vec<String> =
        setup.words().iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let foreign = setup.path("foreign");
    let binary = support::REMUDA;
    let script = format!("sleep 0.3 & echo $! >'{}'; exec '{binary}' {}", foreign.display(), words.join(" "));
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let manager = setup.start_as(command);
    manager.up();
    let mut events = manager.events();
    let before = manager.pids("ready");
    let foreign = worker::noted(&foreign)[0];
    assert!(process::wait_gone(foreign));
    manager.done(&["upgrade", "--wait-drained"]);
    events.until("upgrade-done");
    assert!(events.seen("died").is_empty());
    assert_eq!(manager.group()["generation"], json!(2));
    assert_ne!(manager.pids("ready"), before);
    assert!(!Path::new(&format!("/proc/{foreign}")).exists(), "nobody has reaped it");
}
