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
    O_CLOEXEC, O_NONBLOCK, SA_NOCLDSTOP, SA_RESTART, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGCHLD, SIGPIPE, SIGXFSZ,
    c_int, c_void, siginfo_t,
};
use nix::unistd;
use serde::{Deserialize, Serialize};

use super::sigwait::Mask;
use super::{cvt, fault, start};
use crate::signame::Signal;

/// Highest signal number on Linux.
const LAST: c_int = 64;

/// Those that the C library keeps for itself: two in glibc, three in musl.
const OF_C_LIBRARY: std::ops::RangeInclusive<c_int> = 32..=34;

/// Those which the manager leaves as they are unless somebody gives them a meaning: they stop it and let it go on, tell of
/// faults in the program itself, or do nothing. All others would end it and leave its workers behind.
const LEFT_ALONE: [c_int; 16] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    SIGCHLD,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
];

/// Signals that may be ignored, as a [`SignalSet`]: all until [`Signals::install`] has looked. Handlers end with execve(2),
/// which is why whatever is of no interest has a handler: a worker then needs no system call to be rid of it.
static MAY_BE_IGNORED: AtomicU64 = AtomicU64::new(u64::MAX);

/// This process is a copy of the manager: handlers do what the signal does by default.
static IS_COPY: AtomicBool = AtomicBool::new(false);

/// Whether [`hold`] was called, and the mask that was in force before.
static HELD: AtomicBool = AtomicBool::new(false);
static MASK_BEFORE: AtomicU64 = AtomicU64::new(0);

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

    fn to_mask(self) -> Mask {
        Mask::of(self.0)
    }

    fn from_mask(mask: Mask) -> SignalSet {
        SignalSet(mask.signals())
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
        let blocked = match held() {
            Some(mask) => mask,
            None => change_mask(None)?,
        };
        Ok(Saved { blocked: SignalSet::from_mask(blocked), ignored })
    }

    /// Puts them in force: dispositions first, since a signal that waits is delivered once it is no longer blocked. What
    /// has a handler keeps it until execve(2), and the handler does what the signal does by default. For the forked child:
    /// no allocation, no lock.
    pub(super) fn put_in_force(&self) -> io::Result<()> {
        IS_COPY.store(true, Ordering::Relaxed);
        let changed = SignalSet(MAY_BE_IGNORED.load(Ordering::Relaxed) | self.ignored.0);
        for Signal(number) in changed {
            let action = if self.ignored.contains(Signal(number)) { SIG_IGN } else { SIG_DFL };
            match set_action(number, &plain_action(action)) {
                // KILL and STOP are fixed. Those of the C library are as they were inherited.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                other => drop(other?),
            }
        }
        change_mask(Some(self.blocked.to_mask())).map(drop)
    }
}

/// Has a program call [`hold`] among the initialisers that the C library calls: half of the system calls before `main`
/// come after these. For programs only: the library is part of test programs too, whose signals are their own.
#[macro_export]
macro_rules! hold_signals_before_main {
    () => {
        #[used]
        // SAFETY: the section holds pointers to functions that take what they like and return nothing.
        #[unsafe(link_section = ".init_array")]
        static HOLD_SIGNALS: extern "C" fn() = $crate::sys::signals::hold;
    };
}

/// Blocks all signals, so that none is lost or ends us before it is known what they mean. What comes meanwhile waits for
/// [`Signals::unblock`] or [`release`].
pub extern "C" fn hold() {
    // Without it a signal that comes early does what it does by default, which is no reason not to start.
    if let Ok(before) = Mask::exchange(Some(Mask::ALL)) {
        MASK_BEFORE.store(before.signals(), Ordering::Relaxed);
        HELD.store(true, Ordering::Relaxed);
    }
}

/// Lets signals do what they do to a program that handles none.
pub fn release() {
    if let Some(mask) = held() {
        HELD.store(false, Ordering::Relaxed);
        // It was in force before, so it cannot be refused.
        let _ = Mask::exchange(Some(mask));
    }
}

/// The mask that was in force before [`hold`].
pub(super) fn held() -> Option<Mask> {
    HELD.load(Ordering::Relaxed).then(|| Mask::of(MASK_BEFORE.load(Ordering::Relaxed)))
}

/// All that would end a process that does not handle them, and are not for the C library.
fn deadly() -> SignalSet {
    let real_time = libc::SIGRTMIN();
    (1..=LAST)
        .filter(|number| !LEFT_ALONE.contains(number) && !(32..real_time).contains(number))
        .map(Signal)
        .collect()
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
    /// Handles CHLD, these (HUP not if it was ignored, as nohup(1) does) and all that would end the process otherwise, and
    /// unblocks what is handled, whatever mask the process was started with.
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
        let ignored = |&signal: &Signal| signal == Signal::HUP && saved.ignored.contains(signal);
        let wanted = handled.into_iter().chain(deadly());
        signals.handled = wanted.filter(|signal| !ignored(signal)).chain([Signal(SIGCHLD)]).collect();
        for signal in signals.handled {
            let mut action = plain_action(on_signal as *const () as usize);
            action.sa_flags = SA_RESTART | SA_NOCLDSTOP | SA_SIGINFO;
            // SAFETY: the set is valid for writing. With all signals blocked, handlers do not interrupt each other.
            unsafe { libc::sigfillset(&raw mut action.sa_mask) };
            signals.set(signal.0, &action)?;
        }
        MAY_BE_IGNORED.store(saved.ignored.0 & !signals.handled.0, Ordering::Relaxed);
        Ok(signals)
    }

    /// Lets in what is handled; what else was blocked at the first start stays so, and those of the C library, for which it
    /// gives us no handler, are never let in.
    pub fn unblock(&self) -> io::Result<()> {
        let before = self.saved.blocked.into_iter().filter(|&signal| !self.handled.contains(signal));
        let blocked: SignalSet = before.chain((32..libc::SIGRTMIN()).map(Signal)).collect();
        change_mask(Some(blocked.to_mask())).map(drop)
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
        MAY_BE_IGNORED.store(u64::MAX, Ordering::Relaxed);
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
extern "C" fn on_signal(number: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    if IS_COPY.load(Ordering::Relaxed) {
        // SAFETY: both may be called in a handler. The signal is blocked until this function has returned, and then does
        // what it does by default.
        unsafe {
            libc::signal(number, SIG_DFL);
            libc::raise(number);
        }
        return;
    }
    // What we brought on ourselves by writing is told by write(2): EPIPE, EFBIG. Nobody has sent us anything.
    // SAFETY: with SA_SIGINFO there is such a structure; getpid(2) may be called in a handler.
    if matches!(number, SIGPIPE | SIGXFSZ) && unsafe { (*info).si_pid() == libc::getpid() } {
        return;
    }
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
    before: Mask,
    /// A mask belongs to a thread.
    _not_send: PhantomData<*const ()>,
}

/// Blocks all signals, so that a forked child cannot run a handler of ours, which would write into our pipe.
pub fn block_all() -> io::Result<Blocked> {
    Ok(Blocked { before: change_mask(Some(Mask::ALL))?, _not_send: PhantomData })
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // It was in force before, so it cannot be refused.
        let _ = Mask::exchange(Some(self.before));
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

/// Puts a mask in force, if there is one, and returns that of before.
fn change_mask(mask: Option<Mask>) -> io::Result<Mask> {
    fault::hit("sigprocmask")?;
    Mask::exchange(mask)
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
        assert_eq!(SignalSet::from_mask(set.to_mask()), set);
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
        let mask = || SignalSet::from_mask(change_mask(None).unwrap());
        let before = mask();
        let blocked = block_all().unwrap();
        assert!(mask().contains(Signal::TERM) && mask().contains(Signal(LAST)));
        drop(blocked);
        assert_eq!(mask(), before);
    }
}
