//! The side that faces our own manager, such as systemd: sd_notify(3) as its sender, and the sockets it has passed,
//! sd_listen_fds(3).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use nix::unistd::pipe2;

use super::clock;
use super::fault;
use super::poll::{Interest, PollSet};
use super::socket::describe;
use crate::env::FIRST_DESCRIPTOR;
use crate::plan::{Address, Host, SocketSpec};

/// How long the end waits for the manager to have read all we have said: as long as systemd-notify(1).
const BARRIER_TIME: Duration = Duration::from_secs(5);

/// The value of a variable.
pub fn variable<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
}

/// A number in a variable, decimal.
pub fn number(environment: &[(OsString, OsString)], name: &str) -> Option<u64> {
    variable(environment, name)?.to_str()?.parse().ok()
}

/// Where our manager hears us: NOTIFY_SOCKET.
#[derive(Debug)]
pub struct Notifier {
    address: UnixAddr,
}

impl Notifier {
    /// From the value of NOTIFY_SOCKET: an absolute path, or `@NAME`.
    pub fn new(value: &OsStr) -> io::Result<Notifier> {
        let address = match value.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => UnixAddr::new_abstract(name)?,
            [b'/', ..] => UnixAddr::new(Path::new(value))?,
            _ => return Err(io::Error::other("it is neither a path nor an abstract name")),
        };
        Ok(Notifier { address })
    }

    /// A socket that is connected to it: writable when it has room for another message.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        fault::hit("socket")?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        fault::hit("connect")?;
        connect(fd.as_raw_fd(), &self.address)?;
        Ok(fd)
    }

    /// Waits, for a while, until everything that was sent is read: what a process says that is gone may not be counted as
    /// its word any more. BARRIER=1 of sd_notify_barrier(3).
    pub fn barrier(&self) -> io::Result<()> {
        fault::hit("pipe2")?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        send(&self.connect()?, b"BARRIER=1", &[writer.as_fd()])?;
        drop(writer);
        let mut poll = PollSet::new();
        let closed = poll.add(reader.as_fd(), Interest::default());
        let deadline = clock::now_ms() + BARRIER_TIME.as_millis() as u64;
        while !poll.hung_up(closed) && clock::now_ms() < deadline {
            poll.wait(Some(deadline))?;
        }
        Ok(())
    }
}

/// Sends one message over a connected socket.
pub fn send(socket: &OwnedFd, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights[..] };
    fault::hit("sendmsg")?;
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(text)], control, flags, None)?;
    Ok(())
}

/// Listening sockets that our manager has opened for us, sd_listen_fds(3).
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<PassedSocket>,
    /// Names that the plan has sockets for: an address alone does not take away what a name asks for.
    reserved: BTreeSet<String>,
}

#[derive(Debug)]
struct PassedSocket {
    number: i32,
    name: String,
}

impl Passed {
    /// What these variables say, if they are meant for this process.
    pub fn new(environment: &[(OsString, OsString)], pid: i32) -> Passed {
        let told = |name| number(environment, name);
        let ours = told("LISTEN_PID").is_some_and(|told| i32::try_from(told) == Ok(pid));
        let count = told("LISTEN_FDS").filter(|_| ours).and_then(|count| usize::try_from(count).ok());
        let names = variable(environment, "LISTEN_FDNAMES").map(OsStr::to_string_lossy).unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        // No more than are open: the number comes from outside.
        let open = (FIRST_DESCRIPTOR..).take(count.unwrap_or(0)).map_while(|number| {
            let number = i32::try_from(number).ok()?;
            // SAFETY: the borrow ends here; a descriptor that is not open is told by the call.
            fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD).ok()?;
            Some(number)
        });
        let sockets = open
            .map(|number| PassedSocket { number, name: names.next().unwrap_or("unknown").to_owned() })
            .collect();
        Passed { sockets, reserved: BTreeSet::new() }
    }

    /// Leaves alone those that the plan takes by their number, and keeps names for the sockets that ask for them.
    #[must_use]
    pub fn for_sockets<'a>(mut self, specs: impl Iterator<Item = &'a SocketSpec>) -> Passed {
        for spec in specs {
            self.reserved.extend(spec.name.clone());
            if let Address::Inherited(taken) = spec.address {
                self.sockets.retain(|socket| u32::try_from(socket.number) != Ok(taken));
            }
        }
        self
    }

    /// Their numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = (i32, &str)> {
        self.sockets.iter().map(|socket| (socket.number, socket.name.as_str()))
    }

    /// The one that stands for such a socket: that of its name, else that of its address.
    pub fn take(&mut self, spec: &SocketSpec) -> Option<OwnedFd> {
        let named =
            |socket: &PassedSocket| spec.name.as_deref() == Some(&socket.name) && fits(socket, spec, true);
        let there =
            |socket: &PassedSocket| !self.reserved.contains(&socket.name) && fits(socket, spec, false);
        let at = self.sockets.iter().position(named).or_else(|| self.sockets.iter().position(there))?;
        Some(self.sockets.swap_remove(at).own())
    }

    /// Closes those that nobody wants; returns their names.
    pub fn close(self) -> Vec<String> {
        self.sockets
            .into_iter()
            .map(|socket| {
                let name = socket.name.clone();
                drop(socket.own());
                name
            })
            .collect()
    }
}

impl PassedSocket {
    fn own(self) -> OwnedFd {
        // SAFETY: it was passed to this process to have, was open when that was looked at, and is told to nobody else:
        // each is taken out of the list once.
        let fd = unsafe { OwnedFd::from_raw_fd(self.number) };
        // That it stays open for workers too, should this fail, is no reason not to serve.
        let _ = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        fd
    }
}

/// Whether a socket is of the kind that is asked for; by its name also at another address, as that is what a name is for.
fn fits(socket: &PassedSocket, spec: &SocketSpec, by_name: bool) -> bool {
    // SAFETY: the borrow ends here, and it is open.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.number) };
    let Ok((bound, _)) = describe(fd) else { return false };
    match (&bound, &spec.address) {
        (Address::Tcp(bound), Address::Tcp(wanted)) | (Address::Udp(bound), Address::Udp(wanted)) => {
            by_name || same_host(bound, wanted)
        }
        (Address::UnixPath(bound), Address::UnixPath(wanted)) => {
            by_name || std::path::absolute(wanted).is_ok_and(|wanted| wanted == *bound)
        }
        (Address::UnixAbstract(bound), Address::UnixAbstract(wanted)) => by_name || bound == wanted,
        _ => false,
    }
}

/// Whether a socket that is bound there serves what was asked for. A name is not looked up for this: write its address.
fn same_host(bound: &Host, wanted: &Host) -> bool {
    match (bound, wanted) {
        (Host::Ip(bound), Host::Any(port)) => bound.ip().is_unspecified() && bound.port() == *port,
        _ => bound == wanted,
    }
}
