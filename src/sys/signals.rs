//! Signals of the manager: what it was started with, handlers that only leave a mark, and the self-pipe that wakes the
//! poll loop.
//!
//! The pipe only wakes; the marks are the truth. A handler first leaves its mark and then writes, the loop first
//! empties the pipe and then takes the marks: whatever the order in which these meet, a mark that was not taken has a
//! byte in the pipe. A full pipe loses nothing, as a byte in it already wakes the loop.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use libc::{
    O_CLOEXEC, O_NONBLOCK, SA_NOCLDSTOP, SA_RESTART, SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIGCHLD,
    SIGPIPE, c_int, sigset_t,
};
use nix::unistd;
use serde::{Deserialize, Serialize};

use super::{cvt, fault, start};
use crate::signame::Signal;

/// Highest signal number on Linux.
const LAST: c_int = 64;

/// Those that the C library keeps for itself: two in glibc, three in musl.
const OF_C_LIBRARY: std::ops::RangeInclusive<c_int> = 32..=34;

/// Signals that may have another disposition than the default one, as a [`SignalSet`]: all until [`Signals::install`] has
/// looked. It spares every worker some fifty system calls between fork and exec.
static NOT_DEFAULT: AtomicU64 = AtomicU64::new(u64::MAX);

/// No pipe: no handler is in place.
const NOWHERE: c_int = -1;

/// Where handlers write their byte.
static WAKE: AtomicI32 = AtomicI32::new(NOWHERE);

/// The marks, by signal number.
static RECEIVED: [AtomicBool; LAST as usize + 1] = [const { AtomicBool::new(false) }; LAST as usize + 1];

/// A set of signals.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Puts a signal in. Numbers that no signal has are passed over.
    pub fn insert(&mut self, signal: Signal) {
        if (1..=LAST).contains(&signal.0) {
            self.0 |= 1 << (signal.0 - 1);
        }
    }

    /// Whether a signal is in it.
    pub fn contains(self, signal: Signal) -> bool {
        (1..=LAST).contains(&signal.0) && self.0 & 1 << (signal.0 - 1) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn to_mask(self) -> sigset_t {
        let mut mask = empty_mask();
        for signal in self {
            // SAFETY: the set is initialised. The C library refuses the numbers that it keeps for itself: rightly.
            unsafe { libc::sigaddset(&raw mut mask, signal.0) };
        }
        mask
    }

    fn from_mask(mask: &sigset_t) -> SignalSet {
        // SAFETY: the set is initialised.
        (1..=LAST).filter(|&number| unsafe { libc::sigismember(mask, number) } == 1).map(Signal).collect()
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SignalSet {
        let mut set = SignalSet::default();
        signals.into_iter().for_each(|signal| set.insert(signal));
        set
    }
}

impl IntoIterator for SignalSet {
    type Item = Signal;
    type IntoIter = Iter;

    /// The signals by number.
    fn into_iter(self) -> Iter {
        Iter(self)
    }
}

/// The signals of a [`SignalSet`] by number.
#[derive(Clone, Debug)]
pub struct Iter(SignalSet);

impl Iterator for Iter {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        let rest = &mut self.0.0;
        let signal = (*rest != 0).then(|| Signal(rest.trailing_zeros() as c_int + 1));
        *rest &= rest.wrapping_sub(1); // without its lowest bit
        signal
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(*self).finish()
    }
}

/// A signal mask and dispositions, as far as they outlive execve(2) and the C library tells of them. The default one is
/// that of a clean start: nothing blocked, nothing ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Blocked signals.
    pub blocked: SignalSet,
    /// Ignored signals; all others have their default disposition.
    pub ignored: SignalSet,
}

impl Saved {
    /// Those that this process was started with, if [`Signals::install`] was not called yet.
    pub fn at_start() -> io::Result<Saved> {
        let mut ignored: SignalSet =
            (1..=LAST).filter(|&number| number != SIGPIPE && is_ignored(number)).map(Signal).collect();
        if start::sigpipe_was_ignored() {
            ignored.insert(Signal(SIGPIPE));
        }
        Ok(Saved { blocked: SignalSet::from_mask(&change_mask(SIG_BLOCK, &empty_mask())?), ignored })
    }

    /// Puts them in force: dispositions first, since a signal that waits is delivered once it is no longer blocked, and
    /// no handler of ours may then run. For the forked child: no allocation, no lock.
    pub(super) fn put_in_force(&self) -> io::Result<()> {
        let changed = SignalSet(NOT_DEFAULT.load(Ordering::Relaxed) | self.ignored.0);
        for Signal(number) in changed {
            let action = if self.ignored.contains(Signal(number)) { SIG_IGN } else { SIG_DFL };
            match set_action(number, &plain_action(action)) {
                // KILL and STOP are fixed. Those of the C library are as they were inherited.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                other => drop(other?),
            }
        }
        change_mask(SIG_SETMASK, &self.blocked.to_mask()).map(drop)
    }
}

/// Gives all signals their default disposition and blocks none. For the forked child: no allocation, no lock.
pub(super) fn reset() -> io::Result<()> {
    // The C library refuses to hear of its own, but whoever started us may have left them ignored.
    for number in OF_C_LIBRARY {
        set_default_by_kernel(number)?;
    }
    Saved::default().put_in_force()
}

/// The handlers of the manager. Dropping it puts back what was before.
#[derive(Debug)]
pub struct Signals {
    saved: Saved,
    handled: SignalSet,
    before: Vec<(c_int, Action)>,
    reader: OwnedFd,
    /// Handlers know it by its number.
    _writer: OwnedFd,
}

impl Signals {
    /// Handles CHLD and these (HUP not if it was ignored, as nohup(1) does), ignores PIPE, and unblocks what is handled,
    /// whatever mask the process was started with.
    ///
    /// # Errors
    /// No descriptors for the pipe; or handlers are in place already, as there is one set in a process.
    pub fn install(handled: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        let signals = Signals::take_over(handled.into_iter().collect(), Saved::at_start()?)?;
        signals.unblock()?;
        Ok(signals)
    }

    /// The same in an image that another one of this process has started with all signals blocked: they stay so until
    /// [`Signals::unblock`]. `saved` is what the first image was started with.
    ///
    /// # Errors
    /// As for [`Signals::install`].
    pub fn take_over(handled: SignalSet, saved: Saved) -> io::Result<Signals> {
        fault::hit("pipe2")?;
        let (reader, writer) = unistd::pipe2(nix::fcntl::OFlag::from_bits_retain(O_CLOEXEC | O_NONBLOCK))?;
        if WAKE.compare_exchange(NOWHERE, writer.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "signal handlers are in place already"));
        }
        let mut signals = Signals { saved, handled, before: Vec::new(), reader, _writer: writer };
        signals.set(SIGPIPE, &plain_action(SIG_IGN))?;
        let ignored = |&signal: &Signal| signal == Signal::HUP && saved.ignored.contains(signal);
        signals.handled =
            handled.into_iter().filter(|signal| !ignored(signal)).chain([Signal(SIGCHLD)]).collect();
        for signal in signals.handled {
            let mut action = plain_action(on_signal as *const () as usize);
            action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
            // SAFETY: the set is valid for writing. With all signals blocked, handlers do not interrupt each other.
            unsafe { libc::sigfillset(&raw mut action.sa_mask) };
            signals.set(signal.0, &action)?;
        }
        let not_default = [signals.handled, saved.ignored, SignalSet::from_iter([Signal(SIGPIPE)])];
        NOT_DEFAULT.store(not_default.iter().fold(0, |all, set| all | set.0), Ordering::Relaxed);
        Ok(signals)
    }

    /// Lets in what is handled; what else was blocked at the first start stays so.
    pub fn unblock(&self) -> io::Result<()> {
        let blocked: SignalSet =
            self.saved.blocked.into_iter().filter(|&signal| !self.handled.contains(signal)).collect();
        change_mask(SIG_SETMASK, &blocked.to_mask()).map(drop)
    }

    /// What is handled, CHLD among it.
    pub fn handled(&self) -> SignalSet {
        self.handled
    }

    /// Readable when a signal was received since the last [`Signals::drain`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The signals received since the last call, each once however often it came. CHLD is not among them: the dead are
    /// looked for on every pass, whatever woke it.
    pub fn drain(&self) -> SignalSet {
        let mut bytes = [0; 64];
        // Ends when the pipe is empty. Should it end otherwise, the marks are taken all the same.
        while fault::hit("read").is_ok() && unistd::read(&self.reader, &mut bytes) == Ok(bytes.len()) {}
        let taken = |mark: &AtomicBool| mark.load(Ordering::Relaxed) && mark.swap(false, Ordering::SeqCst);
        let received = (0..).zip(&RECEIVED).filter(|(_, mark)| taken(mark));
        received.map(|(number, _)| Signal(number)).filter(|&signal| signal != Signal(SIGCHLD)).collect()
    }

    /// What the process was started with.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    fn set(&mut self, number: c_int, action: &libc::sigaction) -> io::Result<()> {
        self.before.push((number, Action(set_action(number, action)?)));
        Ok(())
    }
}

impl Drop for Signals {
    /// Handlers go before the pipe does, or a byte would land in whatever gets its number next.
    fn drop(&mut self) {
        NOT_DEFAULT.store(u64::MAX, Ordering::Relaxed);
        for (number, action) in self.before.drain(..).rev() {
            // It was in force before, so it cannot be refused.
            let _ = set_action(number, &action.0);
        }
        WAKE.store(NOWHERE, Ordering::SeqCst);
    }
}

/// A disposition; apart from libc's type only in that it can be printed.
struct Action(libc::sigaction);

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Action").field(&self.0.sa_sigaction).finish()
    }
}

/// Interrupts anything anywhere: leaves its mark, wakes the loop, and leaves `errno` as it was.
extern "C" fn on_signal(number: c_int) {
    // SAFETY: the address of this thread's errno is valid as long as the thread runs.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    if let Some(mark) = usize::try_from(number).ok().and_then(|number| RECEIVED.get(number)) {
        mark.store(true, Ordering::SeqCst);
    }
    // SAFETY: one byte is there. The pipe is open: handlers are removed before it is closed. A full pipe does not block,
    // and wakes the loop anyway.
    unsafe { libc::write(WAKE.load(Ordering::SeqCst), [0_u8].as_ptr().cast(), 1) };
    *errno = before;
}

/// All signals are blocked in this thread until this is dropped.
#[derive(Debug)]
#[must_use = "signals are unblocked when it is dropped"]
pub struct Blocked {
    before: sigset_t,
    /// A mask belongs to a thread.
    _not_send: PhantomData<*const ()>,
}

/// Blocks all signals, so that a forked child cannot run a handler of ours, which would write into our pipe.
pub fn block_all() -> io::Result<Blocked> {
    let mut all = empty_mask();
    // SAFETY: the set is valid for writing.
    unsafe { libc::sigfillset(&raw mut all) };
    Ok(Blocked { before: change_mask(SIG_SETMASK, &all)?, _not_send: PhantomData })
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask was read from the system; nothing to write the old one to is given. It was in force before,
        // so it cannot be refused.
        unsafe { libc::sigprocmask(SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Gives a signal a disposition that is no handler: the default one, or to be ignored.
pub(super) fn set_plain(number: c_int, disposition: usize) -> io::Result<()> {
    set_action(number, &plain_action(disposition)).map(drop)
}

/// Whether a signal is ignored. A number that cannot be asked about is not.
pub(super) fn is_ignored(number: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: `action` is valid for writing, and is read only where the call has filled it.
    unsafe {
        libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == SIG_IGN
    }
}

/// Ends the ignoring of a signal that this process was started with; to be called before [`Signals::install`].
///
/// # Errors
/// What sigaction(2) says.
pub fn heed(Signal(number): Signal) -> io::Result<()> {
    set_action(number, &plain_action(SIG_DFL)).map(drop)
}

fn plain_action(handler: usize) -> libc::sigaction {
    // SAFETY: a structure of numbers and of a pointer that may be null; zero is a value of each.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action
}

fn set_action(number: c_int, action: &libc::sigaction) -> io::Result<libc::sigaction> {
    let mut before = plain_action(SIG_DFL);
    fault::hit("sigaction")?;
    // SAFETY: both structures are initialised; a handler, where one is set, is `on_signal`, which may run at any time.
    cvt(unsafe { libc::sigaction(number, action, &raw mut before) })?;
    Ok(before)
}

/// The system call itself: zeros mean the default disposition in the kernel's structure on every architecture, and it is
/// shorter than the zeros given. Its signal sets have eight bytes, except on MIPS.
fn set_default_by_kernel(number: c_int) -> io::Result<()> {
    let action = [0_u64; 8];
    let set_size = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 16_usize } else { 8 };
    let nowhere = std::ptr::null_mut::<u64>();
    fault::hit("rt_sigaction")?;
    // SAFETY: the structure is initialised, and that of before is not asked for.
    cvt(unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), nowhere, set_size) })
        .map(drop)
}

fn change_mask(how: c_int, mask: &sigset_t) -> io::Result<sigset_t> {
    let mut before = empty_mask();
    fault::hit("sigprocmask")?;
    // SAFETY: both sets are initialised.
    cvt(unsafe { libc::sigprocmask(how, mask, &raw mut before) })?;
    Ok(before)
}

fn empty_mask() -> sigset_t {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: the call initialises the whole set and cannot fail.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        mask.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, PollSet};

    #[test]
    fn a_set_has_what_was_put_in() {
        let mut set: SignalSet = [Signal::HUP, Signal(64)].into_iter().collect();
        set.insert(Signal(0));
        set.insert(Signal(65));
        set.insert(Signal(-1));
        assert_eq!(set.into_iter().collect::<Vec<_>>(), [Signal::HUP, Signal(64)]);
        assert!(set.contains(Signal::HUP) && !set.contains(Signal::INT) && !set.contains(Signal(0)));
        assert_eq!(SignalSet::from_mask(&set.to_mask()), set);
        assert!(SignalSet::default().is_empty());
    }

    #[test]
    fn signals_wake_the_loop_and_are_told_once() {
        let signals = Signals::install([Signal::USR2]).unwrap();
        assert_eq!(Signals::install([Signal::USR2]).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let mut set = PollSet::new();
        let index = set.add(signals.fd(), Interest::READ);
        for _ in 0..3 {
            // To this thread alone: others of the test program have masks of their own.
            nix::sys::signal::raise(nix::sys::signal::SIGUSR2).unwrap();
        }
        nix::sys::signal::raise(nix::sys::signal::SIGCHLD).unwrap();
        set.wait(None).unwrap();
        assert!(set.readable(index));
        assert_eq!(signals.drain().into_iter().collect::<Vec<_>>(), [Signal::USR2], "CHLD only wakes");
        set.wait(Some(0)).unwrap();
        assert!(!set.readable(index), "the pipe is empty");
        assert!(signals.drain().is_empty());

        drop(signals);
        assert_eq!(WAKE.load(Ordering::SeqCst), NOWHERE);
    }

    #[test]
    fn blocking_all_ends_with_its_guard() {
        let mask = || SignalSet::from_mask(&change_mask(SIG_BLOCK, &empty_mask()).unwrap());
        let before = mask();
        let blocked = block_all().unwrap();
        assert!(mask().contains(Signal::TERM) && mask().contains(Signal(LAST)));
        drop(blocked);
        assert_eq!(mask(), before);
    }
}
