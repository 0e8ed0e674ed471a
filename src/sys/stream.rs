//! Bytes of a connected stream socket: recv(2), send(2). Neither ever blocks or raises SIGPIPE.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, recv, send as send_bytes};

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
