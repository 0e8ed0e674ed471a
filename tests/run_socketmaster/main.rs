//! The real binary under the name of socketmaster: its command line, its sockets, and what its worker finds.

#[path = "../support/mod.rs"]
mod support;

mod log;
mod swap;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use support::process::{self, environment};
use support::socketmaster::{Program, children, command, run, send, sentences, serving, spawn};
use support::{http, pass, setup, syslog, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

// ---- the command line ------------------------------------------------------------------------------------------------

const USAGE: &str = include_str!("../golden/socketmaster/usage.txt");

#[test]
fn the_command_line_is_answered_as_it_was_recorded() {
    // Flags, status, and all that is told: `usage` for the usage.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp://{}", taken.local_addr().unwrap());
    let in_use = format!(
        "Unable to open socket listen tcp {}: bind: address already in use",
        taken.trim_start_matches("tcp://")
    );
    let listening = format!("Listening on {taken}");
    let local = "tcp://127.0.0.1:0";
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&[], 1, &["Command path is mandatory"]),
        (&["-listen", "foo://x"], 1, &["Command path is mandatory"]),
        (&["-listen=tcp://127.0.0.1:0", "true"], 1, &["Command path is mandatory"]),
        (
            &["-command", "nosuchprog", "-listen", "foo://x"],
            1,
            &["Could not find executable exec: \"nosuchprog\": executable file not found in $PATH"],
        ),
        (
            &["-command", "./nosuch"],
            1,
            &["Could not find executable exec: \"./nosuch\": no such file or directory"],
        ),
        (
            &["-command", "true", "-listen", "foo://x", "-user", "nosuchuser"],
            1,
            &["Listening on foo://x", "Unable to find user user: unknown user nosuchuser"],
        ),
        (
            &["-command", "true", "-listen", "foo://x"],
            1,
            &["Listening on foo://x", "Unable to open socket Unsupported scheme: foo"],
        ),
        (
            &["-command", "true", "-listen", "nonsense"],
            1,
            &["Listening on nonsense", "Unable to open socket Unsupported scheme: "],
        ),
        (&["-command", "true", "-listen", &taken], 1, &[&listening, &in_use]),
        (
            &["-command", "true", "-listen", "fd://300"],
            1,
            &[
                "Listening on fd://300",
                "Unable to open socket strconv.ParseUint: parsing \"300\": value out of range",
            ],
        ),
        (
            &["-command", "true", "-listen", "tcp://127.0.0.1:1:2"],
            1,
            &[
                "Listening on tcp://127.0.0.1:1:2",
                "Unable to open socket address 127.0.0.1:1:2: too many colons in address",
            ],
        ),
        (
            &["-command", "true", "-listen", local],
            0,
            &[
                "Listening on tcp://127.0.0.1:0",
                "Starting /usr/bin/true [/usr/bin/true]",
                "PID exit status 0 <nil>",
            ],
        ),
        (
            &["--command=true", "--listen", local, "-start", "10", "--", "a", "b"],
            0,
            &[
                "Listening on tcp://127.0.0.1:0",
                "Starting /usr/bin/true [/usr/bin/true a b]",
                "PID exit status 0 <nil>",
            ],
        ),
        (
            &["-command", "echo", "-listen", "tcp4://127.0.0.1:0", "--", "-n", "hi there"],
            0,
            &[
                "Listening on tcp4://127.0.0.1:0",
                "Starting /usr/bin/echo [/usr/bin/echo -n hi there]",
                "[PID] hi there",
                "PID exit status 0 <nil>",
            ],
        ),
        // 0 there, whatever became of the program.
        (
            &["-command", "false", "-listen", local],
            1,
            &[
                "Listening on tcp://127.0.0.1:0",
                "Starting /usr/bin/false [/usr/bin/false]",
                "PID exit status 1 <nil>",
            ],
        ),
    ];
    for (flags, status, told) in cases {
        let output = run(flags);
        let mut sentences: Vec<String> =
            sentences(&output.stderr).iter().map(|line| syslog::anonymous(line)).collect();
        if let Some(last) = sentences.last_mut()
            && let Some(at) = last.find(" (pid ")
        {
            // Who is in the way is told as well.
            last.truncate(at);
        }
        assert_eq!(
            (output.code, &sentences[..]),
            (Some(*status), &told.iter().map(|told| (*told).to_owned()).collect::<Vec<_>>()[..]),
            "{flags:?}"
        );
        assert_eq!(output.stdout, "", "{flags:?}");
    }
}

#[test]
fn help_and_wrong_flags_have_their_usage() {
    for (flags, status, sentence) in [
        (&["-h"][..], 0, ""),
        (&["--help"], 0, ""),
        (&["-zzz"], 2, "flag provided but not defined: -zzz\n"),
        (&["-command"], 2, "flag needs an argument: -command\n"),
        (&["-start=abc", "-command", "true"], 2, "invalid value \"abc\" for flag -start: parse error\n"),
        (
            &["-syslog=maybe", "-command", "true"],
            2,
            "invalid boolean value \"maybe\" for -syslog: parse error\n",
        ),
    ] {
        let output = run(flags);
        assert_eq!((output.code, output.stderr), (Some(status), format!("{sentence}{USAGE}")), "{flags:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn it_is_known_by_name_by_word_and_by_its_flags() {
    let setup = setup("pause");
    let link = setup.path("socketmaster");
    symlink(support::REMUDA, &link).unwrap();
    let flags = ["-listen=tcp://127.0.0.1:0", "-command=echo", "--", "hi"];
    for (program, words) in [
        (link.to_str().unwrap(), &flags[..]),
        (support::REMUDA, &flags[..]),
        (support::REMUDA, &["socketmaster", flags[0], flags[1], "--", "hi"]),
    ] {
        let output = process::run(Command::new(program).args(words));
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stderr.contains("] hi\n"), "{output:?}");
    }
}

// ---- sockets ---------------------------------------------------------------------------------------------------------

#[test]
fn a_path_is_made_taken_away_and_never_taken_from_others() {
    let program = Program::sh("exit 0");
    let (path, app) = (program.setup.path("a.sock"), program.path());
    let uri = format!("unix://{}", path.display());
    let flags = ["-command", &app, "-listen", &uri];
    assert_eq!(run(&flags).code, Some(0));
    assert!(!path.exists(), "it was ours");

    // Somebody's who has not tidied up.
    drop(UnixListener::bind(&path).unwrap());
    let before = fs::symlink_metadata(&path).unwrap().ino();
    let output = run(&flags);
    assert_eq!(output.code, Some(1));
    let wanted =
        format!("Unable to open socket listen unix {}: bind: address already in use", path.display());
    assert_eq!(sentences(&output.stderr)[1], wanted);
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
}

// pitfall 18
#[test]
fn a_path_that_was_replaced_meanwhile_stays() {
    let program = Program::sh("read line; exit 0");
    let (path, app) = (program.setup.path("a.sock"), program.path());
    let uri = format!("unix://{}", path.display());
    let mut manager = spawn(&mut command(&["-command", &app, "-listen", &uri]));
    let log = process::Log::follow(manager.child.stderr.take().unwrap());
    log.line(" Starting ");
    UnixStream::connect(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    // Workers have our standard input; with its end they end.
    drop(manager.child.stdin.take());
    assert_eq!(manager.wait().code(), Some(0));
    assert!(path.exists());
}

#[test]
fn an_inherited_descriptor_is_served() {
    let program = Program::worker("serve");
    let app = program.path();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // sh hands on what it has; the listener stands at some number, close-on-exec.
    let number = std::os::fd::AsRawFd::as_raw_fd(&listener);
    let mut shell = command(&["-command", &app, "-listen", "fd://9"]);
    // SAFETY: dup2(2) alone, which is async-signal-safe.
    unsafe {
        shell.pre_exec(move || match libc::dup2(number, 9) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut manager = program.start_as(shell);
    let (pid, _) = http::who(&http::get(address, "/").unwrap());
    assert_eq!(children(&manager), [pid]);
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_socket_of_one_family_is_what_it_says() {
    let mut families = vec![("tcp4://127.0.0.1:0", true)];
    if TcpListener::bind("[::1]:0").is_ok() {
        families.push(("tcp6://[::1]:0", false));
    } else {
        support::skip("there is no IPv6");
    }
    for (uri, is_ipv4) in families {
        let program = Program::worker("serve");
        let app = program.path();
        let mut manager = program.start_as(command(&["-command", &app, "-listen", uri]));
        assert_eq!(serving(&manager).1.is_ipv4(), is_ipv4);
        assert_eq!(manager.stop(), Some(0));
    }
}

// ---- the worker ------------------------------------------------------------------------------------------------------

#[test]
fn the_worker_finds_what_it_found_there() {
    let program = Program::sh("echo \"$0 $*\"; echo ready; read line; echo \"read $line\"; exec sleep 1000");
    let app = program.path();
    let flags = ["-command", &app, "-listen", "tcp://127.0.0.1:0", "-start", "0", "--", "x", "-y"];
    let setup = program.setup;
    let mut process = spawn(command(&flags).process_group(0));
    let log = process::Log::follow(process.child.stderr.take().unwrap());
    process.child.stdin.as_mut().unwrap().write_all(b"a line\n").unwrap();
    log.line("] read a line");
    let manager = process.pid();
    let worker: i32 = {
        let line = log.line("] ready");
        let (_, rest) = line.rsplit_once(" [").unwrap();
        rest.split(']').next().unwrap().parse().unwrap()
    };
    assert!(log.line(&format!("[{worker}] /")).ends_with(" x -y"));
    // The shell has descriptors of its own as long as it is there, and what follows it has no variables in its first moment.
    let deadline = Instant::now() + support::LIMIT;
    while !process::descriptors(worker).keys().eq([0, 1, 2, 3].iter())
        || !environment(worker).contains_key("LISTEN_PID")
    {
        assert!(Instant::now() < deadline, "{:?}", process::descriptors(worker));
        pass(Duration::from_millis(5));
    }

    let variables = environment(worker);
    for (name, value) in
        [("EINHORN_FDS", "3"), ("EINHORN_FD_0", "3"), ("EINHORN_FD_COUNT", "1"), ("LISTEN_FDS", "1")]
    {
        assert_eq!(variables[name], value, "{name}");
    }
    assert_eq!(variables["LISTEN_PID"], worker.to_string());
    assert_eq!(variables["EINHORN_MASTER_PID"], manager.to_string());
    assert!(!variables.contains_key("EINHORN_SOCK_PATH"), "there is no control socket");

    let descriptors = process::descriptors(worker);
    assert!(descriptors[&1].starts_with("pipe:") && descriptors[&1] == descriptors[&2]);
    assert_ne!(descriptors[&0], descriptors[&1]);
    assert!(descriptors[&3].starts_with("socket:"));
    let group = nix::unistd::getpgid(Some(Pid::from_raw(worker))).unwrap();
    assert_eq!(group.as_raw(), manager, "it is in the process group of the manager");

    send(manager, Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    assert!(log.all().ends_with(&format!("{worker} signal: terminated <nil>")));
    drop(setup);
}

#[test]
fn another_user_has_its_own_groups_and_nothing_is_bound_without_the_right() {
    let unprivileged = |flags: &[&str]| {
        let mut command = command(flags);
        command.uid(65_534).gid(65_534);
        process::run(&mut command)
    };
    if !support::root() {
        return;
    }
    let program = Program::sh("id");
    let app = program.path();
    let output = run(&["-command", &app, "-listen", "tcp://127.0.0.1:0", "-user", "nobody"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("] uid=65534(nobody) gid=65534("), "{output:?}");

    // The user is a member of a second group, as far as this one can see.
    let groups = program.setup.path("group");
    fs::write(&groups, "root:x:0:\nnogroup:x:65534:\nherd:x:4711:other,nobody\n").unwrap();
    let members = Program::sh("id -G");
    let bind = "mount --bind \"$1\" /etc/group || exit; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", bind, "sh"]).arg(&groups).args([support::REMUDA, "socketmaster"]);
    command.args(["-command", &members.path(), "-listen", "tcp://127.0.0.1:0", "-user", "nobody"]);
    if support::tool("unshare") {
        let output = process::run(&mut command);
        if output.stderr.contains("unshare:") || output.stderr.contains("mount:") {
            support::skip("no mount namespace can be had");
        } else {
            assert!(output.stderr.contains("] 65534 4711\n"), "{output:?}");
        }
    }

    let path = program.setup.path("never.sock");
    let uri = format!("unix://{}", path.display());
    let output = unprivileged(&["-command", "true", "-listen", &uri, "-user", "root"]);
    assert_eq!(output.code, Some(1));
    let told = sentences(&output.stderr);
    assert_eq!(told[0], format!("Listening on {uri}"));
    assert_eq!(told[1], "Could not start process cannot run workers as uid 0, gid 0: only root may");
    assert!(!path.exists());
}
