//! The real binary: files in directories that the workers' user, or everybody, may write. Who writes there leads the manager
//! to no file that is not theirs.

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use support::process::environment;
use support::{REMUDA, Setup, root, setup, worker};

/// A user that owns nothing else.
const THEIRS: u32 = 12345;

#[test]
fn worker_entry() {
    worker::enter();
}

/// A directory that belongs to the workers' user, in one that anybody may enter, and a file that only root may read.
fn place(setup: &Setup) -> (PathBuf, PathBuf) {
    fs::set_permissions(setup.path(""), Permissions::from_mode(0o711)).unwrap();
    let (theirs, secret) = (setup.path("app"), setup.path("secret"));
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(THEIRS), Some(THEIRS)).unwrap();
    fs::write(&secret, "PASSWORD=topsecret\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    (theirs, secret)
}

/// Puts a link of the workers' user in the place of a file of theirs.
fn swap(path: &Path, target: &Path) {
    let _ = fs::remove_file(path);
    symlink(target, path).unwrap();
    lchown(path, Some(THEIRS), Some(THEIRS)).unwrap();
}

fn as_theirs(setup: Setup) -> Setup {
    setup.options(&format!("--user {THEIRS}:{THEIRS} --ack none --stop-timeout 1s"))
}

#[test]
fn a_log_that_is_swapped_for_a_link_is_not_followed() {
    if !root() {
        return;
    }
    let setup = setup("");
    let (theirs, secret) = place(&setup);
    let (log, new) = (theirs.join("log"), setup.path("new"));
    // Full after some lines, so that it is put aside again and again.
    let script = "i=0; while read go; do i=$((i + 1)); echo $i; done <$0/go; exec sleep 1000";
    let gate = setup.path("app/go");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    chown(&gate, Some(THEIRS), None).unwrap();
    let target = format!("size:1024:2:{}", log.display());
    let setup =
        as_theirs(setup).option("--stdout-log").option(target).option("--log-overflow").option("block");
    let manager = setup.program(&["sh", "-c", script, &theirs.display().to_string()]).start();
    manager.up();
    for target in [&new, &secret] {
        swap(&log, target);
        let output = manager.verb(&["reopen"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        let told =
            format!("it is a symbolic link of uid {THEIRS} to {}, which is not theirs", target.display());
        assert!(output.stderr.contains(&told), "{output:?}");
    }
    fs::write(&gate, "\n".repeat(2_000)).unwrap();
    manager.log.line("which is not theirs; it grows on");
    assert!(!new.exists());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "PASSWORD=topsecret\n");
    assert!(!manager.path("secret.1").exists());
}

#[test]
fn an_environment_file_that_is_swapped_shows_nothing_of_the_managers() {
    if !root() {
        return;
    }
    let setup = setup("");
    let (theirs, secret) = place(&setup);
    let file = theirs.join("env");
    fs::write(&file, "A=1\n").unwrap();
    chown(&file, Some(THEIRS), None).unwrap();
    let setup = as_theirs(setup).option("--env-file").option(&file).program(&["sleep", "1000"]);
    let manager = setup.start();
    manager.up();
    assert_eq!(environment(manager.pids("ready")[0])["A"], "1");
    let refused = |why: &str| {
        let output = manager.verb(&["upgrade"]);
        assert_eq!(output.code, Some(5), "{output:?}");
        assert!(output.stderr.contains(why) && !output.stderr.contains("topsecret"), "{output:?}");
        assert!(!manager.log.text().contains("topsecret"));
    };
    swap(&file, &secret);
    refused("which is not theirs");
    fs::remove_file(&file).unwrap();
    fs::hard_link(&secret, &file).unwrap();
    refused("it has 2 names (hard links), and uid 12345 may have made one");
    // The directory above it, as a release is swapped.
    fs::remove_file(&file).unwrap();
    swap(&file, &theirs.join("own"));
    fs::write(theirs.join("own"), "A=2\n").unwrap();
    chown(theirs.join("own"), Some(THEIRS), None).unwrap();
    manager.done(&["upgrade"]);
    assert_eq!(environment(manager.pids("ready")[0])["A"], "2", "what is theirs they may link to");
}

#[test]
fn a_hard_link_in_the_place_of_a_lock_is_not_truncated() {
    if !root() {
        return;
    }
    let setup = setup("");
    let (theirs, secret) = place(&setup);
    fs::hard_link(&secret, theirs.join("c.lock")).unwrap();
    let mut command = Command::new(REMUDA);
    command.args(["run", "--ack", "none", "--control"]).arg(theirs.join("c")).args(["--", "sleep", "1000"]);
    let output = support::process::run(&mut command);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("c.lock: it has 2 names (hard links)"), "{output:?}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "PASSWORD=topsecret\n");
}

#[test]
fn a_lock_of_a_stranger_on_a_directory_delays_nothing() {
    let setup = setup("serve").options("--ack none");
    let bind = format!("unix:{}", setup.path("w.sock").display());
    let setup = setup.option("-b").option(bind);
    let directory = File::open(setup.path("")).unwrap();
    // Held as long as the test goes on.
    let _held = nix::fcntl::Flock::lock(directory, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let trace = setup.path("trace");
    if !support::tool("strace") {
        return;
    }
    let mut command = Command::new("strace");
    command
        .args(["-e", "trace=nanosleep,clock_nanosleep,flock", "-o"])
        .arg(&trace)
        .arg(REMUDA)
        .args(setup.words());
    let mut manager = setup.start_as(command);
    manager.up();
    manager.done(&["stop"]);
    assert_eq!(manager.exit().code(), Some(0));
    let trace = fs::read_to_string(manager.path("trace")).unwrap();
    assert!(trace.contains("flock") && !trace.contains("nanosleep"), "{trace}");
}

#[test]
fn whoever_takes_the_names_of_watch_files_beforehand_keeps_no_worker_away() {
    if !root() {
        return;
    }
    let setup = setup("");
    let file = setup.path("site.toml");
    fs::write(
        &file,
        "[web]\nrestart = 'always'\nexec_start = '/bin/sleep 1000'\nlive_check_timeout = 1000\n",
    )
    .unwrap();
    let mut command = Command::new(REMUDA);
    command.args(["firestarter", "run", "-d"]).arg(setup.path("c.sock")).arg("-c").arg(&file);
    command.env("TMPDIR", setup.path(""));
    let manager = setup.launch(command);
    let worker = || {
        let deadline = Instant::now() + support::LIMIT;
        loop {
            // Between fork and exec it has our environment.
            match manager.descendants()[..] {
                [only] if environment(only).contains_key("FIRESTARTER_WATCH_FILE") => return only,
                _ => assert!(Instant::now() < deadline, "{}", manager.log.text()),
            }
            std::thread::yield_now();
        }
    };
    let first = worker();
    let name = |number: u32| manager.path(&format!("firestarter-process-web-{}-{number}.id", manager.pid()));
    let taken: Vec<PathBuf> = (0..20).map(name).filter(|path| !path.exists()).collect();
    assert!(taken.len() < 20, "the first worker has one");
    for path in &taken {
        fs::create_dir(path).unwrap();
        chown(path, Some(THEIRS), None).unwrap();
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).unwrap();
    support::process::wait_gone(first);
    let file = environment(worker())["FIRESTARTER_WATCH_FILE"].clone();
    assert!(Path::new(&file).is_file(), "{file}");
}

#[test]
fn check_tells_of_directories_that_others_may_write() {
    if !root() {
        return;
    }
    let setup = setup("");
    let (theirs, _) = place(&setup);
    let open = setup.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let file = setup.path("site.toml");
    fs::write(theirs.join("env"), "A=1\n").unwrap();
    let text = format!(
        "[remuda]\ndefaults = 'remuda'\npidfile = '{open}/pid'\n[web]\nexec_start = 'sleep 1'\nenv_files = ['{theirs}/env']\n\
         stdout_log = '{theirs}/log'\nsocket_address = ['unix:{open}/web.sock']\n",
        open = open.display(),
        theirs = theirs.display(),
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(REMUDA);
    command.arg("check").arg(&file);
    let output = support::process::run(&mut command);
    assert_eq!(output.code, Some(0), "{output:?}");
    let prefix = format!("{}: ", file.display());
    let told: Vec<&str> = output.stdout.lines().map(|line| line.strip_prefix(&prefix).unwrap()).collect();
    let (open, theirs) = (open.display(), theirs.display());
    assert_eq!(
        told,
        [
            format!("the pid file {open}/pid lies where everybody may write"),
            format!("web: the environment file {theirs}/env lies where uid {THEIRS} may write"),
            format!("web: the log {theirs}/log lies where uid {THEIRS} may write"),
            format!("web: the socket {open}/web.sock lies where everybody may write"),
        ]
    );
}
