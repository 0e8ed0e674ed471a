//! Whether two descriptors are one and the same: kcmp(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{S_IFMT, S_IFSOCK, SYS_kcmp, c_long};
use nix::sys::stat::fstat;

use super::fault;

/// Compares two open file descriptions.
const KCMP_FILE: c_long = 0;

/// Whether both lead to the same open file description, so that what is done to one is done to the other.
///
/// Where the system does not tell, only sockets are compared, each of which has a number of its own; of anything else the
/// answer is no.
pub fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    compare(one, other).unwrap_or_else(|_| match (socket_number(one), socket_number(other)) {
        (Ok(Some(one)), Ok(Some(other))) => one == other,
        (_, _) => false,
    })
}

fn compare(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    fault::hit("kcmp")?;
    let pid = c_long::from(nix::unistd::getpid().as_raw());
    let (one, other) = (c_long::from(one.as_raw_fd()), c_long::from(other.as_raw_fd()));
    // SAFETY: numbers only.
    match unsafe { libc::syscall(SYS_kcmp, pid, pid, KCMP_FILE, one, other) } {
        -1 => Err(io::Error::last_os_error()),
        order => Ok(order == 0),
    }
}

/// What tells a socket from all others; `None` of anything else.
fn socket_number(descriptor: BorrowedFd<'_>) -> io::Result<Option<libc::ino_t>> {
    fault::hit("fstat")?;
    let found = fstat(descriptor)?;
    Ok((found.st_mode & S_IFMT == S_IFSOCK).then_some(found.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_copy_is_the_same_and_another_open_file_is_not() {
        let file = File::open("/dev/null").unwrap();
        assert!(same_file(file.as_fd(), file.try_clone().unwrap().as_fd()));
        let (one, other) = UnixStream::pair().unwrap();
        assert!(same_file(one.as_fd(), one.try_clone().unwrap().as_fd()));
        assert!(!same_file(one.as_fd(), other.as_fd()));
        let again = File::open("/dev/null").unwrap();
        assert!(!same_file(file.as_fd(), again.as_fd()));
    }

    #[test]
    fn a_socket_is_known_by_its_number() {
        let (one, other) = UnixStream::pair().unwrap();
        let number = |descriptor: BorrowedFd<'_>| socket_number(descriptor).unwrap();
        assert_eq!(number(one.as_fd()), number(one.try_clone().unwrap().as_fd()));
        assert_ne!(number(one.as_fd()), number(other.as_fd()));
        assert_eq!(number(File::open("/dev/null").unwrap().as_fd()), None);
    }
}
