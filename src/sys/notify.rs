//! NOTIFY_SOCKET, the receiving side: sd_notify(3).
//!
//! One datagram socket a worker, so that a message is that worker's whoever of its processes sends it, and without a
//! file: it is bound to a name that the kernel chooses in the abstract namespace (unix(7), "autobind"), which works with
//! no writable directory and leaves nothing behind. Anybody on the machine may send to such a name, so each message
//! carries the credentials of its sender, put there by the kernel; the driver decides whose word counts.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, shutdown, socket,
    sockopt,
};
use serde::{Deserialize, Serialize};

use super::reexec::{Inherited, Keeper};
use super::{cvt, fault};

/// Longest message that is read, in bytes: what systemd takes.
const MESSAGE_MAX: usize = 4096;

/// Most messages that are looked through when nobody listens any more; net.unix.max_dgram_qlen is far below.
const UNREAD_MAX: usize = 10_000;

/// Most descriptors of one message: SCM_MAX_FD of the kernel.
const DESCRIPTORS_MAX: usize = 253;

/// Room in the control buffer, in bytes: for the credentials,
const CREDENTIALS_SIZE: usize = {
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    unsafe { libc::CMSG_SPACE(mem::size_of::<libc::ucred>() as u32) as usize }
};

/// and for all descriptors that can be sent along (FDSTORE=1, BARRIER=1). For those that it finds no room for the kernel
/// would wait in our place until they are closed, and anybody may send some.
const CONTROL_SIZE: usize = CREDENTIALS_SIZE + {
    // SAFETY: as above.
    unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * mem::size_of::<RawFd>()) as u32) as usize }
};

/// A control buffer, aligned as cmsg(3) demands.
#[repr(C)]
union ControlBuffer {
    bytes: [u8; CONTROL_SIZE],
    _alignment: libc::cmsghdr,
}

/// The socket that one worker's notifications arrive at.
#[derive(Debug)]
pub struct NotifySocket {
    fd: OwnedFd,
    name: String,
}

/// A notification socket on its way to another image of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyState {
    descriptor: i32,
    name: String,
}

/// Who has sent a datagram, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Process id; 0 if it is not visible from our pid namespace.
    pub pid: i32,
    /// User id.
    pub uid: u32,
}

/// One datagram.
#[derive(Debug)]
pub struct Message {
    /// Whose it is.
    pub sender: Sender,
    /// The text, lines of `NAME=VALUE`; empty if it was too long.
    pub text: Vec<u8>,
    /// It was longer than 4096 bytes and has been dropped.
    pub too_long: bool,
    /// Descriptors that came along, close-on-exec. To close one may take as long as its sender likes, [`super::disposal`].
    pub descriptors: Vec<OwnedFd>,
}

impl NotifySocket {
    /// Opens the socket: nonblocking, close-on-exec, and asking for credentials before anybody can know its name.
    pub fn open() -> io::Result<NotifySocket> {
        fault::hit("socket")?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&fd, sockopt::PassCred, &true)?;
        fault::hit("bind")?;
        bind(fd.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let address: UnixAddr = getsockname(fd.as_raw_fd())?;
        let chosen = address.as_abstract().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let name = format!("@{}", String::from_utf8_lossy(chosen));
        Ok(NotifySocket { fd, name })
    }

    /// What another image of this process needs to go on with it.
    pub fn hand_over(&self, keeper: &mut Keeper) -> NotifyState {
        NotifyState { descriptor: keeper.keep(self.fd.as_fd()), name: self.name.clone() }
    }

    /// The socket of the image before this one.
    pub fn take_over(state: NotifyState, inherited: &mut Inherited) -> io::Result<NotifySocket> {
        Ok(NotifySocket { fd: inherited.claim(state.descriptor)?, name: state.name })
    }

    /// The name as NOTIFY_SOCKET has it: `@00a3f`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hears nothing more, and returns the descriptors of messages that nobody has read.
    pub fn close(self) -> Vec<OwnedFd> {
        // Whoever sends now has nobody to send to, so that what is read here is all there is.
        let shut = shutdown(self.fd.as_raw_fd(), Shutdown::Read);
        let unread = shut.map_or(0, |()| UNREAD_MAX);
        let messages = (0..unread).map_while(|_| self.receive().ok().flatten());
        messages.flat_map(|message| message.descriptors).collect()
    }

    /// The next message, or `None` if none is waiting.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        let mut text = vec![0u8; MESSAGE_MAX];
        let mut control = ControlBuffer { bytes: [0; CONTROL_SIZE] };
        let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
        // SAFETY: msghdr is a plain C structure for which all zeros is a value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = CONTROL_SIZE as _;
        let length = loop {
            fault::hit("recvmsg")?;
            let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
            // SAFETY: the header points to buffers of the lengths it tells, which outlive the call.
            match cvt(unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut header, flags) }) {
                Ok(length) => break length as usize,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let (sender, descriptors) = attached(&header);
        let too_long = header.msg_flags & libc::MSG_TRUNC != 0;
        text.truncate(if too_long { 0 } else { length });
        Ok(Some(Message { sender, text, too_long, descriptors }))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What came along with a message. Without credentials, which only a kernel at fault would leave out, the sender is one
/// that no rule trusts.
fn attached(header: &libc::msghdr) -> (Sender, Vec<OwnedFd>) {
    let (mut sender, mut descriptors) = (Sender { pid: 0, uid: u32::MAX }, Vec::new());
    // SAFETY: the kernel has filled the control buffer and told its length; CMSG_FIRSTHDR gives null or a whole header
    // within it.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: null, or a header within the buffer, which outlives this.
    while let Some(control) = unsafe { next.as_ref() } {
        #[allow(clippy::unnecessary_cast, reason = "its type depends on the C library")]
        // SAFETY: CMSG_LEN is arithmetic on its argument.
        let length = (control.cmsg_len as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        // SAFETY: the data stands behind the header.
        let data = unsafe { libc::CMSG_DATA(control) };
        match (control.cmsg_level, control.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length == mem::size_of::<libc::ucred>() => {
                // SAFETY: a message of this type and length holds a ucred; it need not be aligned.
                let told = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                sender = Sender { pid: told.pid, uid: told.uid };
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                descriptors.extend((0..length / mem::size_of::<RawFd>()).map(|at| {
                    // SAFETY: so many numbers are there, of descriptors that the kernel has just made for us and that
                    // nobody else knows.
                    unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().add(at).read_unaligned()) }
                }));
            }
            _ => {}
        }
        // SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    (sender, descriptors)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;

    fn send(to: &NotifySocket, text: &[u8], descriptors: &[i32]) {
        let sender = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let address = UnixAddr::new_abstract(&to.name().as_bytes()[1..]).unwrap();
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let text = [IoSlice::new(text)];
        sendmsg(sender.as_raw_fd(), &text, control, MsgFlags::empty(), Some(&address)).unwrap();
    }

    fn ourselves() -> Sender {
        Sender { pid: std::process::id() as i32, uid: crate::sys::creds::our_uid() }
    }

    // pitfall 55
    #[test]
    fn a_message_comes_with_its_sender() {
        let socket = NotifySocket::open().unwrap();
        assert!(socket.receive().unwrap().is_none());
        send(&socket, b"STATUS=warm\nREADY=1\n", &[]);
        let message = socket.receive().unwrap().unwrap();
        assert_eq!(message.text, b"STATUS=warm\nREADY=1\n");
        assert_eq!(message.sender, ourselves());
        assert!(!message.too_long);
        assert!(socket.receive().unwrap().is_none());
    }

    #[test]
    fn each_socket_has_a_name_of_its_own_and_does_not_cross_exec() {
        let (one, two) = (NotifySocket::open().unwrap(), NotifySocket::open().unwrap());
        assert_ne!(one.name(), two.name());
        assert!(one.name().starts_with('@'));
        let flags = nix::fcntl::fcntl(&one, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn descriptors_of_messages_that_nobody_has_read_are_found_at_the_end() {
        let socket = NotifySocket::open().unwrap();
        let (_reader, writer) = std::io::pipe().unwrap();
        send(&socket, b"X=1", &[writer.as_raw_fd()]);
        send(&socket, b"X=2", &[]);
        send(&socket, b"X=3", &[writer.as_raw_fd(); 2]);
        assert_eq!(socket.close().len(), 3);
    }

    #[test]
    fn what_is_too_long_is_dropped_and_said_to_be() {
        let socket = NotifySocket::open().unwrap();
        send(&socket, &[b'x'; MESSAGE_MAX], &[]);
        send(&socket, &[b'x'; MESSAGE_MAX + 1], &[]);
        send(&socket, b"", &[]);
        let lengths: Vec<_> =
            std::iter::from_fn(|| socket.receive().unwrap()).map(|m| (m.text.len(), m.too_long)).collect();
        assert_eq!(lengths, [(MESSAGE_MAX, false), (0, true), (0, false)]);
    }

    #[test]
    fn descriptors_come_with_their_sender_and_none_is_left_to_the_kernel() {
        let socket = NotifySocket::open().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&socket, b"FDSTORE=1", &[writer.as_raw_fd(); DESCRIPTORS_MAX]);
        drop(writer);
        let message = socket.receive().unwrap().unwrap();
        assert_eq!((message.sender, message.text.as_slice()), (ourselves(), &b"FDSTORE=1"[..]));
        assert_eq!(message.descriptors.len(), DESCRIPTORS_MAX);
        let flags = nix::fcntl::fcntl(&message.descriptors[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        drop(message);
        assert_eq!(io::Read::read(&mut reader, &mut [0]).unwrap(), 0, "all are closed");
        assert!(socket.receive().unwrap().is_none());
    }
}
