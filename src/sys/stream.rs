//! Bytes of a connected stream socket: recv(2), send(2); of a pipe: pipe2(2), read(2). None of it ever blocks or raises
//! SIGPIPE.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, recv, send as send_bytes};
use nix::unistd;

use super::fault;

/// Takes what has arrived, at most a buffer full; 0 at the end of the stream.
///
/// # Errors
/// `WouldBlock` if nothing has arrived; anything else means that the connection is broken.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    fault::hit("recv")?;
    Ok(recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
}

/// Gives as much as the socket takes, and tells how much that was.
///
/// # Errors
/// `WouldBlock` if it takes nothing now; anything else means that the connection is broken.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    fault::hit("send")?;
    Ok(send_bytes(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?)
}

/// A pipe, its reading end first. Both ends are close-on-exec; reading never waits, while the writing end, which is for
/// others, is as they expect it.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    fault::hit("pipe2")?;
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    fault::hit("fcntl")?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

/// Makes a pipe that of another user, who may then open it by a name such as `/dev/stderr`: fchown(2).
///
/// # Errors
/// EPERM without CAP_CHOWN.
pub fn give(pipe: &OwnedFd, owner: Option<u32>) -> io::Result<()> {
    fault::hit("fchown")?;
    Ok(unistd::fchown(pipe, owner.map(unistd::Uid::from_raw), None)?)
}

/// Lets a pipe hold so many bytes, for a program that writes much: fcntl(2), F_SETPIPE_SZ.
///
/// # Errors
/// EPERM beyond what pipe(7) allows to this user; the pipe is as it was.
pub fn widen(pipe: &OwnedFd, bytes: i32) -> io::Result<()> {
    fault::hit("fcntl")?;
    fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes))?;
    Ok(())
}

/// Takes what is in a pipe, at most a buffer full; 0 when nobody has its writing end any more.
///
/// # Errors
/// `WouldBlock` if there is nothing now.
pub fn read(pipe: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    fault::hit("read")?;
    Ok(unistd::read(pipe, buffer)?)
}
