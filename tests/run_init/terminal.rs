//! `remuda init` on a terminal: job control of a shell that it watches over, as PID 1 and elsewhere, and of a shell that has
//! started it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::namespace::pid_namespace;
use crate::support::process::Process;
use crate::support::{LIMIT, REMUDA};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";

/// A program that answers each line, with other words than those that the terminal shows when they are typed.
const ANSWERING: &str = "sed -u 's/^/heard /'";

/// A terminal, and the process that is the leader of its session.
struct Terminal {
    process: Process,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not looked at yet.
    shown: String,
}

fn on_terminal(mut command: Command) -> Terminal {
    let ours =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/ptmx").unwrap();
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: numbers only.
    let theirs = unsafe {
        assert_eq!(libc::unlockpt(ours.as_raw_fd()), 0);
        libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags)
    };
    assert!(theirs >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it was opened just now, and nobody else knows it.
    let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
    command.env("PS1", "$ ").env_remove("ENV");
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    // SAFETY: two system calls with numbers.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let process = Process::spawn(&mut command);
    drop(command);
    let (sender, screen) = channel();
    let mut reader = ours.try_clone().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        // The end of a terminal is an error.
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    Terminal { process, keyboard: ours, screen, shown: String::new() }
}

impl Terminal {
    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is shown, and forgets it with what was before.
    fn shows(&mut self, text: &str) {
        if let Err(error) = self.wait_for(text, Instant::now() + LIMIT) {
            panic!("{text:?} is not shown ({error}):\n{}", self.shown);
        }
    }

    fn wait_for(&mut self, text: &str, deadline: Instant) -> Result<(), RecvTimeoutError> {
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.shown += &String::from_utf8_lossy(&self.screen.recv_timeout(left)?);
        }
    }

    /// Gives a command, which is shown by the terminal, to a shell.
    fn command(&mut self, line: &str) {
        self.keys(line);
        self.keys("\n");
        self.shows(&format!("{line}\r\n"));
    }

    /// [`ANSWERING`] answers. A line that is typed at the moment when a stopped reader goes on may be lost between the
    /// kernel and the reader, without us as well: then it is typed once more.
    fn answers(&mut self, word: &str) {
        let answer = format!("heard {word}\r\n");
        let deadline = Instant::now() + LIMIT;
        loop {
            self.keys(&format!("{word}\n"));
            match self.wait_for(&answer, Instant::now() + Duration::from_secs(1)) {
                Err(error) if Instant::now() > deadline => panic!("no {answer:?} ({error}):\n{}", self.shown),
                Err(_) => {}
                Ok(()) => return,
            }
        }
    }

    fn code(&mut self) -> Option<i32> {
        self.process.wait().code()
    }
}

fn shell(words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(words).env("REMUDA", REMUDA);
    command
}

/// What a shell does that has job control, for the user in front of it.
fn has_job_control(terminal: &mut Terminal, job: &str) {
    terminal.command(job);
    terminal.answers("first");
    terminal.keys(CTRL_Z);
    terminal.shows("Stopped");
    terminal.shows("$ ");
    terminal.command("fg");
    terminal.answers("second");
    terminal.keys(CTRL_Z);
    terminal.shows("Stopped");
    terminal.shows("$ ");
    terminal.command("fg");
    terminal.answers("third");
    terminal.keys(CTRL_C);
    terminal.shows("$ ");
    terminal.command("echo code $?");
    terminal.shows("code 130");
    terminal.shows("$ ");
}

// pitfall 37
#[test]
fn a_shell_has_job_control() {
    for options in [&["-s"][..], &["-s", "-g"]] {
        let mut commands = vec![Command::new(REMUDA)];
        if let Some(mut command) = pid_namespace() {
            command.arg(REMUDA);
            commands.push(command);
        }
        for mut command in commands {
            command.arg("init").args(options).args(["--", "sh", "-i"]);
            let mut terminal = on_terminal(command);
            terminal.shows("$ ");
            has_job_control(&mut terminal, ANSWERING);
            terminal.command("exit 3");
            assert_eq!(terminal.code(), Some(3));
        }
    }
}

#[test]
fn a_shell_that_starts_it_has_job_control() {
    for options in ["-q", "-qc", "-qg"] {
        let mut terminal = on_terminal(shell(&["-i"]));
        terminal.shows("$ ");
        has_job_control(&mut terminal, &format!("$REMUDA init {options} -- {ANSWERING}"));
        terminal.command("exit 4");
        assert_eq!(terminal.code(), Some(4));
    }
}

#[test]
fn a_program_in_the_background_stays_there_until_it_is_called() {
    let mut terminal = on_terminal(shell(&["-i"]));
    terminal.shows("$ ");
    terminal.command(&format!("$REMUDA init -q -- {ANSWERING} & wait; jobs"));
    // Its first read stops it, and the shell has the terminal still.
    terminal.shows("Stopped");
    terminal.shows("\n$ ");
    terminal.command("fg");
    terminal.answers("called");
    terminal.keys(CTRL_D);
    terminal.shows("$ ");
    terminal.command("echo back$((1+1))");
    terminal.shows("back2");
}

#[test]
fn a_script_has_the_terminal_again_afterwards() {
    for program in ["true", "/no/such/program"] {
        let script = format!("\"$REMUDA\" init -q -- {program}; read line; echo got $line");
        let mut terminal = on_terminal(shell(&["-c", &script]));
        terminal.keys("hello\n");
        terminal.shows("got hello");
        assert_eq!(terminal.code(), Some(0));
    }
}

#[test]
fn a_stop_that_nobody_could_end_is_none() {
    let Some(mut command) = pid_namespace() else { return };
    command.args([REMUDA, "init", "-vv", "--", "sed", "-u", "s/^/heard /"]);
    let mut terminal = on_terminal(command);
    terminal.answers("first");
    terminal.keys(CTRL_Z);
    terminal.shows("was stopped by TSTP");
    terminal.answers("second");
    terminal.keys(CTRL_C);
    terminal.shows("was killed by INT");
    assert_eq!(terminal.code(), Some(130));
}

#[test]
fn a_terminal_that_is_gone_ends_the_program() {
    let mut command = Command::new(REMUDA);
    command.args(["init", "-s", "--", "sh", "-c", "echo up; exec sleep 1000"]);
    let mut terminal = on_terminal(command);
    terminal.shows("up");
    let Terminal { mut process, keyboard, screen, .. } = terminal;
    // The reader holds the terminal too: it ends once it has something to tell and nobody listens.
    drop(screen);
    (&keyboard).write_all(b"x\n").unwrap();
    drop(keyboard);
    assert_eq!(process.wait().code(), Some(129), "HUP, as the leader of the session passes it on");
}
