//! Starting one program as fast as can be: clone(2) with CLONE_VM and CLONE_VFORK, as posix_spawn(3) does it.
//!
//! The child borrows our memory, runs on a stack of its own, and we stand still until it has executed the program or
//! ended: no page table is copied, and what failed is simply there when we go on. (Where an emulator makes a plain fork of
//! it, a failure is known by the status of the child alone.) The manager does not start its workers so: it must not stand
//! still while a file system does not answer.

use std::ffi::{CString, c_char, c_void};
use std::io;
use std::mem::MaybeUninit;

use libc::{CLONE_VFORK, CLONE_VM, PR_SET_PDEATHSIG, SIGCHLD, SIGKILL, c_int, c_ulong};

use super::sigwait::Mask;
use super::terminal::Terminal;
use super::{cvt, fault};
use crate::env::EnvBlock;
use crate::process::Stage;

/// What to start, and how. All signals have to be blocked.
pub struct Launch<'a> {
    /// The program, looked up in PATH if it has no `/`, with its arguments. Not empty.
    pub argv: &'a [CString],
    /// Its environment; ours if absent.
    pub env: Option<&'a EnvBlock>,
    /// Make it the leader of a process group of its own.
    pub own_group: bool,
    /// Put that group in the foreground here.
    pub terminal: Option<Terminal>,
    /// Kill it when we die.
    pub dies_with_us: bool,
    /// Its signal mask.
    pub mask: Mask,
}

/// A step that failed.
#[derive(Debug)]
pub struct Failed {
    /// Which.
    pub stage: Stage,
    /// Why.
    pub error: io::Error,
}

/// Room for the child: the C library builds paths on it (PATH_MAX and a name), and for a script without `#!` the arguments
/// anew.
const STACK: usize = 64 * 1024;

/// Of a stack, on every architecture.
const ALIGNMENT: usize = 64;

/// Of a child that fails, in case that it is asked.
const EXIT_FAILED: c_int = 127;

/// What both sides see.
struct Shared<'a> {
    launch: &'a Launch<'a>,
    argv: Vec<*const c_char>,
    envp: Option<Vec<*const c_char>>,
    failed: Option<Failed>,
}

/// Starts a program and returns its pid once it runs.
///
/// # Errors
/// Which step failed, and why. There is no child then.
pub fn launch(launch: &Launch<'_>) -> Result<i32, Failed> {
    let pointers = launch.argv.iter().map(|argument| argument.as_ptr());
    let mut shared = Shared {
        launch,
        argv: pointers.chain([std::ptr::null()]).collect(),
        envp: launch.env.map(EnvBlock::pointers),
        failed: None,
    };
    let mut stack: Vec<MaybeUninit<u8>> =
        Vec::with_capacity(STACK + 2 * size_of::<*const c_char>() * shared.argv.len());
    let failed = |error| Failed { stage: Stage::Fork, error };
    fault::hit("clone").map_err(failed)?;
    let argument: *mut c_void = (&raw mut shared).cast();
    let flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
    // SAFETY: the stack grows down from an aligned end that lies within its memory, and nobody else uses it. The child
    // runs `child` only, which returns or becomes the program before this call does: what it borrows lives that long, and
    // nobody else looks at it meanwhile. No handler of a signal interrupts it, since all are blocked.
    let pid = cvt(unsafe {
        let end = stack.as_mut_ptr().add(stack.capacity());
        let end = end.sub(end.addr() % ALIGNMENT);
        libc::clone(child, end.cast(), flags, argument)
    })
    .map_err(failed)?;
    let Some(failed) = shared.failed else { return Ok(pid) };
    if let Some(terminal) = launch.terminal {
        // Nobody is there any more. The terminal may have gone too.
        let _ = terminal.take_back();
    }
    // It has ended, and is of no interest to anybody.
    // SAFETY: nothing to write to is given.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Err(failed)
}

extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: it points to what `launch` has made for this child, which alone uses it.
    let shared = unsafe { &mut *argument.cast::<Shared<'_>>() };
    let (stage, error) = shared.steps();
    shared.failed = Some(Failed { stage, error });
    EXIT_FAILED
}

impl Shared<'_> {
    /// Becomes the program, or tells why not.
    fn steps(&self) -> (Stage, io::Error) {
        let prepared = self.prepare();
        prepared.map_or_else(|failed| failed, |()| (Stage::Exec, self.execute()))
    }

    fn prepare(&self) -> Result<(), (Stage, io::Error)> {
        let at = |stage| move |error| (stage, error);
        let Launch { own_group, terminal, dies_with_us, mask, .. } = self.launch;
        if *own_group {
            let set = fault::hit("setpgid").and_then(|()| {
                // SAFETY: numbers only.
                cvt(unsafe { libc::setpgid(0, 0) })
            });
            set.map_err(at(Stage::ProcessGroup))?;
        }
        if let Some(terminal) = terminal {
            // A terminal that is gone by now is for the program to find out.
            let _ = terminal.take_back();
        }
        if *dies_with_us {
            let asked = fault::hit("prctl").and_then(|()| {
                // SAFETY: this option takes one number.
                cvt(unsafe { libc::prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong) })
            });
            asked.map_err(at(Stage::ParentDeath))?;
        }
        // Last: a signal that waits is delivered here, as to the program itself.
        mask.put_in_force().map_err(at(Stage::Signals))?;
        Ok(())
    }

    fn execute(&self) -> io::Error {
        if let Err(error) = fault::hit("execve") {
            return error;
        }
        // SAFETY: both arrays end with a null pointer, and all strings in them are alive: the launch has borrowed them. The
        // environment of the process is changed by nobody. These functions allocate on the stack only.
        unsafe {
            match (self.launch.env, &self.envp) {
                (Some(env), Some(envp)) => {
                    env.fill_pid(std::process::id());
                    libc::execvpe(self.argv[0], self.argv.as_ptr(), envp.as_ptr());
                }
                _ => {
                    libc::execvp(self.argv[0], self.argv.as_ptr());
                }
            }
        }
        io::Error::last_os_error()
    }
}
