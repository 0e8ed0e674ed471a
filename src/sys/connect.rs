//! Connections that we make: socket(2), connect(2). None of it waits.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, getpeername,
    getsockname, getsockopt, socket,
};

use super::fault;
use crate::probe::Place;

/// Begins a connection. The socket is writable when there is something to learn from [`outcome`].
///
/// # Errors
/// ECONNREFUSED and the like, where that is known at once; EAGAIN for a Unix socket whose backlog is full; and whatever
/// keeps us from having a socket, see [`is_ours`].
pub fn begin(place: &Place) -> io::Result<OwnedFd> {
    match place {
        Place::Internet(address) => begin_at(SockaddrStorage::from(*address)),
        Place::Path(path) => begin_at(UnixAddr::new(path.as_path())?),
        Place::Abstract(name) => begin_at(UnixAddr::new_abstract(name)?),
    }
}

fn begin_at(address: impl SockaddrLike) -> io::Result<OwnedFd> {
    let family = address.family().unwrap_or(AddressFamily::Unspec);
    fault::hit("socket")?;
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    fault::hit("connect")?;
    match connect(fd.as_raw_fd(), &address) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// How the connection has come out, once its socket is writable.
///
/// # Errors
/// What kept it from being made. Nobody has to be there for a connection to a port of our own choosing to be made with
/// itself (tcp(7)): that is refused, too.
pub fn outcome(fd: BorrowedFd<'_>) -> io::Result<()> {
    fault::hit("getsockopt")?;
    match getsockopt(&fd, SocketError)? {
        0 if is_with_itself(fd) => Err(Errno::ECONNREFUSED.into()),
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn is_with_itself(fd: BorrowedFd<'_>) -> bool {
    let (ours, theirs): (nix::Result<SockaddrStorage>, _) =
        (getsockname(fd.as_raw_fd()), getpeername(fd.as_raw_fd()));
    let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return false };
    // Both ends of a Unix socket may be without a name.
    ours == theirs && (ours.as_sockaddr_in().is_some() || ours.as_sockaddr_in6().is_some())
}

/// Whether this error says something of us, and nothing of whoever is at the other end.
pub fn is_ours(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT
                | libc::EINTR
        )
    )
}
