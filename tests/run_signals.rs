//! Signals to the manager: none ends it and leaves its workers, none that comes early is lost.

mod support;

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use support::process::{Process, status_field};
use support::{REMUDA, pid_of, setup};

#[test]
fn worker_entry() {
    support::worker::enter();
}

/// Sends a signal by its number: the real-time ones have no name in nix.
fn send(pid: i32, number: i32) {
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0, "{number}");
}

#[test]
fn by_pwr_and_rtmin_3_the_manager_stops_gracefully() {
    for number in [libc::SIGPWR, libc::SIGRTMIN() + 3] {
        let mut manager = setup("pause").start();
        manager.up();
        send(manager.pid(), number);
        assert_eq!(manager.exit().code(), Some(0), "{number}");
        manager.leaves_nobody();
    }
}

#[test]
fn no_other_signal_ends_the_manager() {
    let mut manager = setup("pause").start();
    manager.up();
    let before = manager.pids("ready");
    let named = [
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGIO,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGSTKFLT,
        libc::SIGPIPE,
        libc::SIGUSR2,
    ];
    let real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(|&number| number != libc::SIGRTMIN() + 3);
    for number in named.into_iter().chain(real_time) {
        send(manager.pid(), number);
        let name = remuda::signame::Signal(number).to_string();
        manager.log.line(&format!("signal {name} ignored"));
    }
    // The C library keeps these for itself, and gives nobody a handler for them.
    for number in 32..libc::SIGRTMIN() {
        send(manager.pid(), number);
    }
    assert_eq!(manager.pids("ready"), before);
    assert_eq!(manager.stop(), Some(0));
}

// pitfall 35
#[test]
fn a_signal_means_what_the_user_says() {
    let setup =
        setup("pause").options("--on-signal QUIT=stop --on-signal TERM=none --on-signal RTMIN+5=upgrade");
    let mut manager = setup.start();
    manager.up();
    let before = manager.pids("ready");
    send(manager.pid(), libc::SIGTERM);
    manager.log.line("signal TERM ignored");
    send(manager.pid(), libc::SIGRTMIN() + 5);
    manager.log.line("upgraded: all workers are of generation 2");
    assert_ne!(manager.up().pids("ready"), before);
    send(manager.pid(), libc::SIGQUIT);
    assert_eq!(manager.exit().code(), Some(0), "nobody had to be killed");
}

/// From then on a signal waits until the manager knows what it means. The number of system calls before it is that of the
/// C library and of the dynamic linker, with room for those of others.
// pitfall 31
#[test]
fn signals_are_held_back_from_the_first_moment() {
    let mut command = Command::new(REMUDA);
    command.args(["run", "--", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
    // Cargo has the dynamic linker look for libraries in many places.
    command.env_remove("LD_LIBRARY_PATH");
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: asks to be traced; no memory is involved.
    unsafe {
        command.pre_exec(move || match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let program = Process::spawn(&mut command);
    let mut stops = 0;
    let blocked = loop {
        let mut status = 0;
        // SAFETY: the status is valid for writing.
        assert_eq!(unsafe { libc::waitpid(program.pid(), &raw mut status, 0) }, program.pid());
        assert!(libc::WIFSTOPPED(status), "it has ended");
        let blocked = u64::from_str_radix(&status_field(program.pid(), "SigBlk"), 16).unwrap();
        if blocked != 0 {
            break blocked;
        }
        stops += 1;
        // SAFETY: the process is stopped, and traced by this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, program.pid(), nothing, nothing) }, 0);
    };
    // KILL and STOP cannot be blocked.
    assert_eq!(blocked, !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1)));
    // One stop for the exec, and two for each call.
    assert!(stops / 2 <= 45, "{stops} stops");
}

/// What is held back for the start is not held back from workers, nor is what a handler was there for.
#[test]
fn workers_start_with_no_signal_blocked_and_none_ignored() {
    let setup = setup("").program(&["sleep", "1000"]).options("-n 3");
    let mut command = setup.command();
    // SAFETY: the child only calls signal(2) between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            libc::signal(libc::SIGUSR2, libc::SIG_IGN);
            libc::signal(libc::SIGWINCH, libc::SIG_IGN);
            Ok(())
        });
    }
    let manager = setup.start_as(command);
    manager.up();
    for worker in manager.workers() {
        let pid = pid_of(&worker);
        for field in ["SigBlk", "SigIgn"] {
            assert_eq!(status_field(pid, field), "0000000000000000", "{field} of {pid}");
        }
    }
}

/// SIGXFSZ and EFBIG: to the manager a limit of file sizes is what a full disk is.
#[test]
fn a_limit_of_file_sizes_costs_output_and_nothing_else() {
    let script = "i=0; while [ $i -lt 400 ]; do echo \"$i of 400 lines\"; i=$((i+1)); done; exec sleep 1000";
    let setup = setup("").program(&["/bin/sh", "-c", script]).option_path("--stdout-log", "out.log");
    let mut command = setup.command();
    // SAFETY: the child only calls setrlimit(2) between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_FSIZE, 4096, 4096)?));
    }
    let mut manager = setup.start_as(command);
    manager.log.line("file too large");
    manager.up();
    let before = manager.pids("ready");
    // Nor does the state that the next image is to go on from fit in a file.
    let _ = manager.verb(&["reexec"]);
    assert_eq!(manager.pids("ready"), before);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.exit().code(), Some(0));
}
