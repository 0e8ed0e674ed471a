//! Taking signals one by one instead of being interrupted by them: all are blocked, and sigtimedwait(2) hands them out.
//!
//! The set is made of the kernel's own words: the C library leaves out of its sets the real-time signals that it keeps
//! for its threads, and a process that does not block these is killed by them.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use libc::{
    SI_KERNEL, SI_QUEUE, SIG_DFL, SIG_IGN, SIG_SETMASK, c_int, c_ulong, siginfo_t, sigset_t, timespec,
};

use super::{cvt, fault, signals, start};
use crate::signame::Signal;

/// Of a set in the kernel: 64 signals, 128 on MIPS.
const SET_SIZE: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 16 } else { 8 };

/// A signal mask as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask([c_ulong; 16 / size_of::<c_ulong>()]);

impl Mask {
    /// Every signal.
    pub(super) const ALL: Mask = Mask([c_ulong::MAX; 16 / size_of::<c_ulong>()]);

    /// No signal.
    const NONE: Mask = Mask([0; 16 / size_of::<c_ulong>()]);

    /// These of the first 64 signals: bit 0 is signal 1.
    pub(super) fn of(signals: u64) -> Mask {
        let mut mask = Mask::NONE;
        for (word, at) in mask.0.iter_mut().zip(0_u32..) {
            // Words beyond the first 64 signals stay empty.
            *word = signals.checked_shr(at * c_ulong::BITS).unwrap_or(0) as c_ulong;
        }
        mask
    }

    /// The first 64 signals of it: bit 0 is signal 1.
    pub(super) fn signals(self) -> u64 {
        let words = self.0.iter().zip(0_u32..);
        words.fold(0, |all, (&word, at)| all | wide(word).checked_shl(at * c_ulong::BITS).unwrap_or(0))
    }

    /// Puts the mask in force and returns the one of before. For the child of a vfork: no allocation, no lock.
    pub(super) fn put_in_force(&self) -> io::Result<Mask> {
        fault::hit("rt_sigprocmask")?;
        Mask::exchange(Some(*self))
    }

    /// The same; without a mask it only asks.
    pub(super) fn exchange(mask: Option<Mask>) -> io::Result<Mask> {
        let mut before = Mask::NONE;
        let new = mask.as_ref().map_or(std::ptr::null(), |mask| mask.0.as_ptr());
        // SAFETY: both masks have room for a set of that size; none is put in force where there is none.
        cvt(unsafe {
            libc::syscall(libc::SYS_rt_sigprocmask, SIG_SETMASK, new, before.0.as_mut_ptr(), SET_SIZE)
        })?;
        Ok(before)
    }
}

/// A signal that was sent to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// By whom.
    pub sender: Sender,
}

/// Who sends a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The kernel: a terminal, mostly.
    Kernel,
    /// Ourselves, by what we did: SIGPIPE.
    Ourselves,
    /// Another process, by sigqueue(3), with this value.
    Queued(usize),
    /// Another process.
    Process,
}

/// Blocks all signals, so that [`next`] hands them out, and returns the mask of before.
///
/// SIGCHLD gets its default disposition: if it is ignored, as whoever started us may have left it, children are reaped by
/// nobody and tell nothing. SIGPIPE gets back the one that Rust's runtime has changed, since a program inherits it.
pub fn block() -> io::Result<Mask> {
    let before = Mask::ALL.put_in_force()?;
    let before = signals::held().unwrap_or(before);
    signals::set_plain(libc::SIGCHLD, SIG_DFL)?;
    signals::set_plain(libc::SIGPIPE, if start::sigpipe_was_ignored() { SIG_IGN } else { SIG_DFL })?;
    Ok(before)
}

/// Waits for the next signal, for so long at most: nothing if none came, or if the wait was interrupted otherwise, by a
/// debugger or by being stopped. Without a limit it goes on waiting then, and makes no other system call.
pub fn next(timeout: Option<Duration>) -> io::Result<Option<Received>> {
    let mut info = MaybeUninit::<siginfo_t>::zeroed();
    let limit = timeout.map(|timeout| timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let all = every_signal();
    loop {
        fault::hit("sigtimedwait")?;
        // SAFETY: the set is initialised, `info` is valid for writing, and the limit is null or valid.
        match cvt(unsafe { libc::sigtimedwait(&raw const all, info.as_mut_ptr(), limit) }) {
            Ok(number) => {
                // SAFETY: zeros are a value of it, and the call has filled in more.
                let sender = sender(unsafe { &*info.as_ptr() });
                return Ok(Some(Received { signal: Signal(number), sender }));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted && timeout.is_none() => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Passes on a value with a signal, as sigqueue(3) does. That the process is gone is no error.
pub fn queue(process: i32, signal: Signal, value: usize) -> io::Result<()> {
    fault::hit("sigqueue")?;
    let value = libc::sigval { sival_ptr: value as *mut _ };
    // SAFETY: the value is handed on as it is; nobody here follows it.
    match cvt(unsafe { libc::sigqueue(process, signal.0, value) }) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// A word of a set has 32 bits or 64.
fn wide(word: impl Into<u64>) -> u64 {
    word.into()
}

/// What the C library takes; it hands it to the kernel as it is.
fn every_signal() -> sigset_t {
    let mut all = MaybeUninit::<sigset_t>::uninit();
    // SAFETY: a structure of numbers, in which every pattern of bits is a value.
    unsafe {
        std::ptr::write_bytes(all.as_mut_ptr(), 0xff, 1);
        all.assume_init()
    }
}

fn sender(info: &siginfo_t) -> Sender {
    let code: c_int = info.si_code;
    if code == SI_KERNEL {
        return Sender::Kernel;
    }
    // SAFETY: whatever the kind of signal, the field lies within the structure, which was zeroed.
    let (pid, value) = unsafe { (info.si_pid(), info.si_value().sival_ptr as usize) };
    match code {
        // A positive code is the kernel's too, such as that of SIGCHLD.
        1.. => Sender::Kernel,
        SI_QUEUE => Sender::Queued(value),
        _ if pid == std::process::id().cast_signed() => Sender::Ourselves,
        _ => Sender::Process,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_taken_one_by_one_with_their_value() {
        let this = std::process::id().cast_signed();
        // A thread of its own: its mask, and signals to it alone.
        std::thread::spawn(move || {
            let before = Mask::ALL.put_in_force().unwrap();
            // Those which the C library would leave out are blocked as well.
            for number in [libc::SIGUSR1, 33, libc::SIGRTMAX()] {
                // SAFETY: no arguments; it cannot fail.
                let thread = unsafe { libc::gettid() };
                // SAFETY: numbers only; the signal is blocked.
                cvt(unsafe { libc::syscall(libc::SYS_tgkill, this, thread, number) }).unwrap();
            }
            for number in [libc::SIGUSR1, 33, libc::SIGRTMAX()] {
                let received = next(None).unwrap().unwrap();
                assert_eq!(received, Received { signal: Signal(number), sender: Sender::Ourselves });
            }
            assert_eq!(next(Some(Duration::from_millis(1))).unwrap(), None);
            assert_eq!(before.put_in_force().unwrap().0[0] & 1, 1);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_value_goes_with_a_signal_and_nobody_is_no_error() {
        queue(1 << 23, Signal::USR1, 7).unwrap();
        // SAFETY: a structure of numbers; zero is a value of each.
        let mut info: siginfo_t = unsafe { std::mem::zeroed() };
        info.si_code = SI_QUEUE;
        assert_eq!(sender(&info), Sender::Queued(0));
        info.si_code = SI_KERNEL;
        assert_eq!(sender(&info), Sender::Kernel);
    }
}
