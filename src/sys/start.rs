//! What the process was started with, and putting it in order before anything else happens.
//!
//! Some of it is gone by the time of `main`: Rust's runtime sets SIGPIPE to ignored, and aborts if one of the
//! descriptors 0 to 2 is closed and `/dev/null` cannot be opened. [`before_runtime`] therefore runs ahead of it, among
//! the initialisers that the C library calls.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{CLOSE_RANGE_CLOEXEC, F_GETFD, F_SETFD, FD_CLOEXEC, c_int, c_uint};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::spawn::Limit;
use super::{cvt, fault, signals};

/// First descriptor without a fixed meaning.
const FIRST_UNNAMED: u32 = 3;

static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

#[used]
// SAFETY: the section holds pointers to functions that take what they like and return nothing.
#[unsafe(link_section = ".init_array")]
static BEFORE_RUNTIME: extern "C" fn() = before_runtime;

extern "C" fn before_runtime() {
    SIGPIPE_WAS_IGNORED.store(signals::is_ignored(libc::SIGPIPE), Ordering::Relaxed);
    // The manager calls it again and is told then what went wrong.
    let _ = open_standard();
}

/// Whether SIGPIPE was ignored when the process was started, before Rust's runtime set it so.
pub(super) fn sigpipe_was_ignored() -> bool {
    SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed)
}

/// Opens those of the descriptors 0, 1 and 2 that are closed on `/dev/null`, so that no socket gets such a number and
/// is then taken for standard output.
///
/// Where there is no `/dev/null`, descriptor 0 reads end of file (a pipe that nobody writes), and 1 and 2 fail with
/// EBADF as a closed descriptor does (the root directory, open for reading).
pub fn open_standard() -> io::Result<()> {
    open_standard_on(c"/dev/null")
}

fn open_standard_on(null: &CStr) -> io::Result<()> {
    for descriptor in 0..3 {
        // SAFETY: asks about a number; no memory is involved.
        let flags = fault::hit("fcntl").and_then(|()| cvt(unsafe { libc::fcntl(descriptor, F_GETFD) }));
        match flags {
            Ok(_) => continue,
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
            Err(error) => return Err(error),
        }
        // All below are open, so that whatever is opened gets this very number.
        match open(null, libc::O_RDWR) {
            Ok(_) => {}
            Err(_) if descriptor == 0 => empty_pipe()?,
            Err(_) => {
                open(c"/", libc::O_RDONLY | libc::O_DIRECTORY)?;
            }
        }
    }
    Ok(())
}

/// Opens without close-on-exec: the standard descriptors are for those who come after us too.
fn open(path: &CStr, flags: c_int) -> io::Result<RawFd> {
    fault::hit("open")?;
    // SAFETY: the path ends with NUL.
    cvt(unsafe { libc::open(path.as_ptr(), flags) })
}

/// Puts the reading end of a pipe that nobody writes on the lowest free descriptor.
fn empty_pipe() -> io::Result<()> {
    let mut ends: [RawFd; 2] = [-1; 2];
    fault::hit("pipe2")?;
    // SAFETY: there is room for two descriptors.
    cvt(unsafe { libc::pipe2(ends.as_mut_ptr(), 0) })?;
    // SAFETY: the writing end was opened here and nobody else knows it.
    cvt(unsafe { libc::close(ends[1]) }).map(drop)
}

/// The descriptors from 3 on that are open, that of this listing among them.
fn listed() -> io::Result<Vec<RawFd>> {
    fault::hit("opendir")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let descriptor = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        found.extend(descriptor.filter(|&descriptor| descriptor >= FIRST_UNNAMED as RawFd));
    }
    Ok(found)
}

/// What workers find at descriptor 0: `/dev/null`, or where there is none a pipe that nobody writes. Close-on-exec.
pub fn null_input() -> io::Result<OwnedFd> {
    fault::hit("open")?;
    match File::open("/dev/null") {
        Ok(null) => Ok(null.into()),
        Err(_) => {
            fault::hit("pipe2")?;
            io::pipe().map(|(reader, _)| reader.into())
        }
    }
}

/// A descriptor that takes everything and keeps nothing, for workers nobody listens to.
pub fn null_output() -> io::Result<OwnedFd> {
    fault::hit("open")?;
    Ok(File::options().write(true).open("/dev/null")?.into())
}

/// Sets close-on-exec on every descriptor from 3 on except those in `keep`: what whoever started us left open is not
/// for our workers.
///
/// # Errors
/// Where neither close_range(2) with CLOSE_RANGE_CLOEXEC (Linux 5.11) nor `/proc` is there. Trying all numbers up to
/// the limit is no way out: the limit may be a thousand million.
pub fn seal_inherited(keep: &[RawFd]) -> io::Result<()> {
    gaps(keep).into_iter().try_for_each(seal_range).or_else(|_| seal_listed(keep))
}

/// Closes every descriptor from 3 on. Whoever calls this has no descriptors of its own.
///
/// # Errors
/// As for [`seal_inherited`].
pub fn close_unnamed() -> io::Result<()> {
    let closed = fault::hit("close_range").and_then(|()| {
        // SAFETY: numbers only; nobody here owns any of these descriptors.
        cvt(unsafe { libc::syscall(libc::SYS_close_range, FIRST_UNNAMED, c_uint::MAX, 0) })
    });
    closed.map(drop).or_else(|_| {
        let listed = listed()?;
        for descriptor in listed {
            // SAFETY: as above. That of the listing itself is closed already, which does not matter.
            unsafe { libc::close(descriptor) };
        }
        Ok(())
    })
}

/// The ranges, ends included, that `keep` leaves of all descriptors from 3 on.
fn gaps(keep: &[RawFd]) -> Vec<(u32, u32)> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|&descriptor| u32::try_from(descriptor).ok()).collect();
    kept.sort_unstable();
    let mut gaps = Vec::new();
    let mut first = FIRST_UNNAMED;
    for kept in kept.into_iter().filter(|&kept| kept >= FIRST_UNNAMED) {
        if kept > first {
            gaps.push((first, kept - 1));
        }
        first = kept + 1;
    }
    gaps.push((first, u32::MAX));
    gaps
}

fn seal_range((first, last): (u32, u32)) -> io::Result<()> {
    fault::hit("close_range")?;
    let (first, last): (c_uint, c_uint) = (first, last);
    // SAFETY: closes nothing; it sets a flag on descriptors. Called as a number since C libraries have it only lately.
    cvt(unsafe { libc::syscall(libc::SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

fn seal_listed(keep: &[RawFd]) -> io::Result<()> {
    for descriptor in listed()? {
        if !keep.contains(&descriptor) {
            fault::hit("fcntl")?;
            // SAFETY: sets a flag; no memory is involved.
            match cvt(unsafe { libc::fcntl(descriptor, F_SETFD, FD_CLOEXEC) }) {
                // Closed since it was listed.
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// Raises our own limit of open descriptors as far as it goes, and tells what it was: workers are to have that, since
/// programs that still use select(2), or walk all numbers up to the limit, rely on it.
pub fn raise_nofile() -> io::Result<Limit> {
    fault::hit("getrlimit")?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft != hard {
        fault::hit("setrlimit")?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(Limit { resource: Resource::RLIMIT_NOFILE, soft, hard })
}

/// How many descriptors this process may have open; nothing where that cannot be told.
pub fn descriptors_max() -> Option<u64> {
    #[allow(clippy::useless_conversion, reason = "the type depends on the machine")]
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| u64::from(soft))
}

/// Changes the nice value of this process.
pub fn renice(nice: i32) -> io::Result<()> {
    fault::hit("setpriority")?;
    // SAFETY: numbers only. The type of the first one depends on the C library.
    cvt(unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, nice) }).map(drop)
}

/// The oom_score_adj that this process was started with; absent where nobody tells (no `/proc`).
pub fn oom_score_adj() -> Option<i32> {
    fault::hit("open").ok()?;
    fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};
    use std::process::Command;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    /// Set for the process in which `standing_in_for_standard_descriptors` may close its own.
    const ROLE: &str = "REMUDA_TEST_CLOSES_ITS_STANDARD_DESCRIPTORS";

    fn seals_all_but_the_kept(seal: fn(&[RawFd]) -> io::Result<()>) {
        let (sealed, kept) = io::pipe().unwrap();
        let cloexec = |fd| FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap());
        for end in [sealed.as_fd(), kept.as_fd()] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        }
        seal(&[kept.as_raw_fd()]).unwrap();
        assert_eq!(cloexec(sealed.as_fd()), FdFlag::FD_CLOEXEC);
        assert_eq!(cloexec(kept.as_fd()), FdFlag::empty());
        assert_eq!(cloexec(io::stdout().as_fd()), FdFlag::empty());
    }

    #[test]
    fn inherited_descriptors_are_sealed_except_those_to_keep() {
        // One after the other: each would see the descriptors of the other.
        seals_all_but_the_kept(seal_listed);
        seals_all_but_the_kept(seal_inherited);
    }

    #[test]
    fn what_is_kept_leaves_gaps() {
        assert_eq!(gaps(&[]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[3]), [(4, u32::MAX)]);
        assert_eq!(gaps(&[7, -1, 0, 5, 4, 5]), [(3, 3), (6, 6), (8, u32::MAX)]);
    }

    #[test]
    fn the_limit_of_descriptors_is_raised_and_the_old_one_told() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let told = raise_nofile().unwrap();
        assert_eq!((told.soft, told.hard), (soft, hard));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }

    #[test]
    fn standing_in_for_standard_descriptors() {
        if std::env::var_os(ROLE).is_some() {
            for descriptor in 0..3 {
                // SAFETY: this process was started for this, and nothing in it uses them.
                cvt(unsafe { libc::close(descriptor) }).unwrap();
            }
            let outcome = std::panic::catch_unwind(|| {
                open_standard_on(c"/no/such/null").unwrap();
                assert_eq!(nix::unistd::read(io::stdin(), &mut [0; 8]), Ok(0));
                for stream in [io::stdout().as_fd(), io::stderr().as_fd()] {
                    assert_eq!(nix::unistd::write(stream, b"x"), Err(nix::errno::Errno::EBADF));
                }
            });
            std::process::exit(if outcome.is_ok() { 42 } else { 1 });
        }
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::start::tests::standing_in_for_standard_descriptors"])
            .env(ROLE, "1")
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(42));
    }
}
