//! Listening sockets: from what the plan says to descriptors that workers can accept on.
//!
//! All sockets are opened before anything starts, close-on-exec from birth; a spawn puts copies where workers look for
//! them. A failure names the address, the reason and, where /proc tells, who stands in the way.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind as bind_to, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use super::holder::{self, Transport};
use super::reexec::{Inherited, Keeper};
use super::service::Passed;
use super::shared::Wanted;
use super::unix::{self, Access, BoundPath, Occupant, listen};
use super::{creds, fault, names, reason, sockopt as own_options};
use crate::env::{HandedSocket, SocketFamily};
use crate::error::{Error, Result};
use crate::plan::{Address, Family, Host, SocketSpec};

/// The backlog where the plan names none: the kernel cuts it to net.core.somaxconn, listen(2).
const BACKLOG: i32 = i32::MAX;

/// The lowest descriptor a copy of an inherited one may get: 0-2 have a meaning of their own.
const FIRST_FREE: i32 = 3;

/// Why a name that was found is of no use.
const NO_SUCH_FAMILY: &str = "the name has no address of this family";

/// A socket that workers accept on, or receive from.
#[derive(Debug)]
pub struct Listener {
    /// The socket, close-on-exec.
    pub fd: OwnedFd,
    /// What the user calls it.
    pub name: Option<String>,
    /// Where it is bound, in the canonical spelling, with the port that it really has: `127.0.0.1:8080`, `*:8080`,
    /// `unix:/run/web.sock` (absolute), `unix:@web`, `udp://[::1]:53`.
    pub address: String,
    /// Its family.
    pub family: SocketFamily,
    /// Somebody else has opened it, and has it still.
    pub passed: bool,
    pub(super) path: RefCell<Option<BoundPath>>,
    /// Our manager has it too, and gives it to whoever comes after us.
    pub(super) kept: Cell<bool>,
    /// What workers may have changed, as the plan wants it.
    pub(super) wanted: Wanted,
    /// When it was made anew, in milliseconds of [`super::clock::now_ms`].
    pub(super) renewed: Cell<Option<u64>>,
}

/// A listener on its way to another image of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerState {
    /// Under which the other image finds it.
    pub descriptor: i32,
    name: Option<String>,
    address: String,
    family: SocketFamily,
    #[serde(default)]
    passed: bool,
    path: Option<BoundPath>,
    #[serde(default)]
    kept: bool,
    #[serde(default)]
    wanted: Wanted,
}

impl Listener {
    /// What another image of this process needs to go on with it.
    pub fn hand_over(&self, keeper: &mut Keeper) -> ListenerState {
        ListenerState {
            descriptor: keeper.keep(self.fd.as_fd()),
            name: self.name.clone(),
            address: self.address.clone(),
            family: self.family,
            passed: self.passed,
            path: self.path.borrow().clone(),
            kept: self.kept.get(),
            wanted: self.wanted,
        }
    }

    /// The listener of the image before this one.
    pub fn take_over(state: ListenerState, inherited: &mut Inherited) -> io::Result<Listener> {
        let ListenerState { descriptor, name, address, family, passed, path, kept, wanted } = state;
        let fd = inherited.claim(descriptor)?;
        Ok(Listener {
            fd,
            name,
            address,
            family,
            passed,
            path: path.into(),
            kept: kept.into(),
            wanted,
            renewed: Cell::default(),
        })
    }

    /// What the environment of workers says of it.
    pub fn handed(&self) -> HandedSocket {
        HandedSocket { name: self.name.clone(), family: self.family, address: self.address.clone() }
    }

    /// Says whether our manager keeps the socket for whoever comes after us: then its path stays.
    pub fn set_kept(&self, kept: bool) {
        self.kept.set(kept);
    }

    /// Removes the path of a Unix socket, if it is still ours. To be called when the socket is done with; merely dropping
    /// a listener leaves the path, for whoever else has the socket.
    pub fn remove(&self) -> io::Result<()> {
        self.path.borrow().as_ref().filter(|_| !self.kept.get()).map_or(Ok(()), BoundPath::remove)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Finds the addresses of a host, or says why there are none: [`look_up`], or what somebody has looked up already.
pub type LookUp<'a> = dyn Fn(&str, u16, Family) -> Result<Vec<SocketAddr>, String> + 'a;

/// Opens all sockets that were not passed to us, or none: paths made for the first ones are removed when a later one fails.
pub fn open_all(specs: &[SocketSpec], passed: &mut Passed) -> Result<Vec<Listener>> {
    let mut listeners = Vec::with_capacity(specs.len());
    for spec in specs {
        let opened = match passed.take(spec) {
            Some(fd) => accept_passed(spec, fd),
            None => bind(spec, &look_up),
        };
        match opened {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                for listener in &listeners {
                    // The failure to bind is what the user has to hear of.
                    let _ = listener.remove();
                }
                return Err(error);
            }
        }
    }
    Ok(listeners)
}

/// Looks up what [`bind`] would have to find: hosts, users and groups by their names, the directory of a path. Opens
/// nothing; returns a sentence for each that cannot be had.
pub fn check(spec: &SocketSpec) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |why: String| complaints.push(format!("cannot bind {}: {why}", spec.address));
    match &spec.address {
        Address::Tcp(Host::Name(name, port, family)) | Address::Udp(Host::Name(name, port, family)) => {
            match look_up(name, *port, *family) {
                Ok(found) if found.is_empty() => complain(NO_SUCH_FAMILY.to_owned()),
                Ok(_) => {}
                Err(why) => complain(why),
            }
        }
        Address::UnixPath(path) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
                complain(format!("there is no directory {}", parent.display()));
            }
        }
        Address::Tcp(_) | Address::Udp(_) | Address::UnixAbstract(_) | Address::Inherited(_) => {}
    }
    let user = spec.user.as_deref().and_then(|user| creds::resolve_user(user).err());
    let group = spec.group.as_deref().and_then(|group| creds::resolve_group(group).err());
    user.into_iter().chain(group).for_each(|error| complain(error.message));
    complaints
}

/// Opens one socket. Names are looked up: hosts of the addresses by `look_up`, users and groups of the paths here.
pub fn bind(spec: &SocketSpec, look_up: &LookUp<'_>) -> Result<Listener> {
    let failed = |why: String| Error::failed(format!("cannot bind {}: {why}", spec.address));
    let opened = match &spec.address {
        Address::Tcp(host) => bind_host(spec, host, Transport::Tcp, look_up).map(|fd| (fd, None)),
        Address::Udp(host) => bind_host(spec, host, Transport::Udp, look_up).map(|fd| (fd, None)),
        Address::UnixPath(path) => bind_path(spec, path).map(|(fd, path)| (fd, Some(path))),
        Address::UnixAbstract(name) => bind_abstract(spec, name).map(|fd| (fd, None)),
        Address::Inherited(descriptor) => {
            return adopt(spec, *descriptor)
                .map_err(|why| Error::failed(format!("cannot use {}: {why}", spec.address)));
        }
    };
    let (fd, mut path) = opened.map_err(failed)?;
    let (address, family) = describe(&fd).map_err(|error| failed(reason(error)))?;
    if let Some(path) = &mut path {
        path.keep_spare();
    }
    let stream = !matches!(spec.address, Address::Udp(_));
    let chosen = match &spec.address {
        Address::Tcp(Host::Ip(address)) => address.port() == 0,
        Address::Tcp(Host::Any(port) | Host::Name(_, port, _)) => *port == 0,
        _ => false,
    };
    let bound: Option<SocketAddr> = getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok().and_then(|bound| {
        let v4 = bound.as_sockaddr_in().map(|address| SocketAddr::from(*address));
        v4.or_else(|| bound.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
    });
    let wanted = Wanted {
        queue: stream.then(|| backlog(spec)),
        length: own_options::queue(&fd),
        nonblocking: spec.nonblocking,
        port: bound.filter(|_| chosen),
    };
    Ok(Listener {
        fd,
        name: spec.name.clone(),
        address: address.to_string(),
        family,
        passed: false,
        path: path.into(),
        kept: Cell::new(false),
        wanted,
        renewed: Cell::default(),
    })
}

/// A socket that our manager has opened for us.
fn accept_passed(spec: &SocketSpec, fd: OwnedFd) -> Result<Listener> {
    take_in(spec, fd)
        .map_err(|why| Error::failed(format!("cannot use what was passed as {}: {why}", spec.address)))
}

fn bind_host(
    spec: &SocketSpec,
    host: &Host,
    transport: Transport,
    look_up: &LookUp<'_>,
) -> Result<OwnedFd, String> {
    let candidates: Vec<SocketAddr> = match host {
        Host::Ip(address) => vec![*address],
        Host::Any(port) if spec.v6_only => vec![(Ipv6Addr::UNSPECIFIED, *port).into()],
        Host::Any(port) => vec![(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()],
        Host::Name(name, port, family) => look_up(name, *port, *family)?,
    };
    let mut unavailable = String::from(NO_SUCH_FAMILY);
    for address in candidates {
        match bind_address(spec, address, transport) {
            Ok(fd) => return Ok(fd),
            // Another address of the same name may do. One that is taken is an error: to serve on what is left of a name
            // would look right to us and wrong to half of the clients.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)) => {
                unavailable = why_not(&error, address, transport);
            }
            Err(error) => {
                let why = why_not(&error, address, transport);
                return Err(match host {
                    Host::Name(..) => format!("{}: {why}", address.ip()),
                    Host::Ip(_) | Host::Any(_) => why,
                });
            }
        }
    }
    Err(unavailable)
}

/// The addresses of a host: getaddrinfo(3), which may take its time.
///
/// # Errors
/// Why there are none.
pub fn look_up(name: &str, port: u16, family: Family) -> Result<Vec<SocketAddr>, String> {
    let found = names::addresses_of(name, port).map_err(|error| {
        // "failed to lookup address information: Name or service not known"
        let text = error.to_string();
        format!("cannot look up {name}: {}", text.rsplit(": ").next().unwrap_or(&text).to_lowercase())
    })?;
    Ok(found
        .into_iter()
        .filter(|address| match family {
            Family::Either => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        })
        .collect())
}

fn bind_address(spec: &SocketSpec, address: SocketAddr, transport: Transport) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    fault::hit("socket")?;
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | nonblocking(spec), None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &spec.reuse_address)?;
    if address.is_ipv6() {
        // Said explicitly: the default is a sysctl, and what our users find there differs.
        setsockopt(&fd, sockopt::Ipv6V6Only, &spec.v6_only)?;
    }
    let family = if address.is_ipv4() { SocketFamily::Inet } else { SocketFamily::Inet6 };
    own_options::set_all(&fd, family, &spec.options)?;
    fault::hit("bind")?;
    bind_to(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if transport == Transport::Tcp {
        listen(&fd, backlog(spec))?;
    }
    Ok(fd)
}

fn why_not(error: &io::Error, address: SocketAddr, transport: Transport) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => unix::in_use(holder::of_port(transport, address)),
        Some(libc::EADDRNOTAVAIL) => "this machine has no such address".into(),
        Some(libc::EAFNOSUPPORT) if address.is_ipv6() => "this machine has no IPv6".into(),
        Some(errno @ libc::EACCES) if address.port() < 1024 => {
            let why = reason(io::Error::from_raw_os_error(errno));
            format!("{why} (a port below 1024 takes root or CAP_NET_BIND_SERVICE)")
        }
        Some(errno) => reason(io::Error::from_raw_os_error(errno)),
        None => error.to_string(),
    }
}

fn bind_path(spec: &SocketSpec, path: &Path) -> Result<(OwnedFd, BoundPath), String> {
    // Workers may run in another directory, and ask the socket where it is bound.
    let path: PathBuf = std::path::absolute(path).map_err(reason)?;
    let access = Access {
        mode: spec.mode,
        uid: spec.user.as_deref().map(creds::resolve_user).transpose().map_err(|error| error.message)?,
        gid: spec.group.as_deref().map(creds::resolve_group).transpose().map_err(|error| error.message)?,
        keep_stale: !spec.replace_stale,
    };
    unix::listen_at(&path, access, backlog(spec), nonblocking(spec))
}

fn bind_abstract(spec: &SocketSpec, name: &[u8]) -> Result<OwnedFd, String> {
    let address = UnixAddr::new_abstract(name).map_err(reason)?;
    let fd = unix::stream_socket(nonblocking(spec)).map_err(reason)?;
    fault::hit("bind").map_err(reason)?;
    match bind_to(fd.as_raw_fd(), &address) {
        Ok(()) => {}
        Err(Errno::EADDRINUSE) => return Err(unix::in_use(abstract_holder(name, &address))),
        Err(errno) => return Err(reason(errno)),
    }
    listen(&fd, backlog(spec)).map_err(reason)?;
    Ok(fd)
}

fn abstract_holder(name: &[u8], address: &UnixAddr) -> Option<holder::Holder> {
    let listener = match unix::occupant(address) {
        Ok(Occupant::Listener(peer)) => peer,
        Ok(Occupant::Nobody | Occupant::Stale) | Err(_) => None,
    };
    unix::holder_of(&[b"@", name].concat(), listener)
}

/// Takes over a socket that we were started with. Ours is a copy; the original stays open and becomes close-on-exec.
fn adopt(spec: &SocketSpec, descriptor: u32) -> Result<Listener, String> {
    let number = i32::try_from(descriptor).map_err(|_| "there is no such descriptor")?;
    // SAFETY: the borrow ends with this function, in which nothing is closed; if the descriptor is not open, fcntl(2)
    // says so and the borrow is not used again.
    let original = unsafe { BorrowedFd::borrow_raw(number) };
    // All that we open ourselves is close-on-exec, and nothing that we inherited can be.
    let inherited = fcntl(original, FcntlArg::F_GETFD).is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0);
    if !inherited {
        return Err("no such descriptor was open at the start".into());
    }
    let copy = fcntl(original, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FREE)).map_err(reason)?;
    // Workers get the copy in its place; at this number they would have it a second time.
    fcntl(original, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(reason)?;
    // SAFETY: fcntl(2) has just made this descriptor, and nothing else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(copy) };
    take_in(spec, fd)
}

/// Makes a listener of a socket that somebody else has bound.
fn take_in(spec: &SocketSpec, fd: OwnedFd) -> Result<Listener, String> {
    let kind = getsockopt(&fd, sockopt::SockType).map_err(|errno| match errno {
        Errno::ENOTSOCK => "it is not a socket".into(),
        _ => reason(errno),
    })?;
    if kind != SockType::Datagram && !getsockopt(&fd, sockopt::AcceptConn).map_err(reason)? {
        return Err("the socket does not listen".into());
    }
    let (address, family) = describe(&fd).map_err(reason)?;
    own_options::set_all(&fd, family, &spec.options).map_err(reason)?;
    if spec.nonblocking {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).map_err(reason)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(reason)?;
    }
    let (name, address) = (spec.name.clone(), address.to_string());
    let wanted = Wanted { nonblocking: spec.nonblocking, ..Wanted::default() };
    Ok(Listener {
        fd,
        name,
        address,
        family,
        passed: true,
        path: None.into(),
        kept: Cell::new(false),
        wanted,
        renewed: Cell::default(),
    })
}

/// Where a socket is bound, as the kernel tells.
pub(super) fn describe(fd: impl AsFd) -> io::Result<(Address, SocketFamily)> {
    let fd = fd.as_fd();
    let bound: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let internet = |host: Host| -> io::Result<Address> {
        let datagram = getsockopt(&fd, sockopt::SockType)? == SockType::Datagram;
        Ok(if datagram { Address::Udp(host) } else { Address::Tcp(host) })
    };
    if let Some(address) = bound.as_sockaddr_in() {
        return Ok((internet(Host::Ip(SocketAddr::from(*address)))?, SocketFamily::Inet));
    }
    if let Some(address) = bound.as_sockaddr_in6() {
        let address = SocketAddr::from(*address);
        let dual_stack = address.ip().is_unspecified() && !getsockopt(&fd, sockopt::Ipv6V6Only)?;
        let host = if dual_stack { Host::Any(address.port()) } else { Host::Ip(address) };
        return Ok((internet(host)?, SocketFamily::Inet6));
    }
    match bound.as_unix_addr() {
        Some(address) => {
            let path = address.path().map(|path| Address::UnixPath(path.to_owned()));
            let name = address.as_abstract().map(|name| Address::UnixAbstract(name.to_vec()));
            Ok((path.or(name).unwrap_or(Address::UnixPath(PathBuf::new())), SocketFamily::Unix))
        }
        None => {
            Err(io::Error::other(format!("it is of family {:?}, neither Internet nor Unix", bound.family())))
        }
    }
}

fn nonblocking(spec: &SocketSpec) -> SockFlag {
    if spec.nonblocking { SockFlag::SOCK_NONBLOCK } else { SockFlag::empty() }
}

pub(super) fn backlog(spec: &SocketSpec) -> i32 {
    spec.backlog.map_or(BACKLOG, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::addr::parse;
    use crate::sys::tests::scratch;
    use crate::sys::unix::tests::leave_stale;

    fn open(text: &str) -> Result<Listener> {
        bind(&parse(text).unwrap(), &look_up)
    }

    fn refusal(text: &str) -> String {
        open(text).unwrap_err().message
    }

    fn port(listener: &Listener) -> u16 {
        listener.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    fn flags(listener: &Listener) -> OFlag {
        OFlag::from_bits_retain(fcntl(&listener.fd, FcntlArg::F_GETFL).unwrap())
    }

    /// Not to be counted on in a container.
    fn has_ipv6() -> bool {
        let has = TcpListener::bind("[::1]:0").is_ok();
        if !has {
            eprintln!("skipped: no IPv6 here");
        }
        has
    }

    #[test]
    fn a_listener_tells_its_real_port_and_accepts() {
        let listener = open("127.0.0.1:0,name=web").unwrap();
        assert_ne!(port(&listener), 0);
        assert_eq!(listener.handed().name.as_deref(), Some("web"));
        assert_eq!(listener.family, SocketFamily::Inet);
        TcpStream::connect(&listener.address).unwrap();
        let descriptor_flags = fcntl(&listener.fd, FcntlArg::F_GETFD).unwrap();
        assert_eq!(descriptor_flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        assert!(getsockopt(&listener.fd, sockopt::ReuseAddr).unwrap());
    }

    #[test]
    fn blocking_is_left_to_the_user() {
        assert!(!flags(&open("0").unwrap()).contains(OFlag::O_NONBLOCK));
        assert!(flags(&open("0,nonblock").unwrap()).contains(OFlag::O_NONBLOCK));
        assert!(!getsockopt(&open("0,reuseaddr=off").unwrap().fd, sockopt::ReuseAddr).unwrap());
    }

    #[test]
    fn all_addresses_means_both_families_on_one_socket() {
        if !has_ipv6() {
            return;
        }
        let both = open(":0").unwrap();
        assert_eq!(both.address, format!("*:{}", port(&both)));
        assert_eq!(both.family, SocketFamily::Inet6);
        TcpStream::connect(("127.0.0.1", port(&both))).unwrap();
        TcpStream::connect(("::1", port(&both))).unwrap();
        let six = open("tcp6://:0").unwrap();
        assert_eq!(six.address, format!("[::]:{}", port(&six)));
        // The same port of the other family is free, whatever net.ipv6.bindv6only says.
        open(&format!("0.0.0.0:{}", port(&six))).unwrap();
    }

    #[test]
    fn names_are_looked_up_and_the_family_is_kept_to() {
        let four = open("tcp4://localhost:0").unwrap();
        assert_eq!(four.address, format!("127.0.0.1:{}", port(&four)));
        let unknown = refusal("no-such-host.invalid:80");
        assert!(unknown.starts_with("cannot bind no-such-host.invalid:80: cannot look up "), "{unknown}");
    }

    #[test]
    fn an_address_in_use_names_its_holder() {
        let us = format!("pid {}, ", std::process::id());
        let tcp = open("0").unwrap();
        assert!(
            refusal(&tcp.address).starts_with(&format!("cannot bind {}: address in use ({us}", tcp.address))
        );
        let name = format!("localhost:{}", port(&tcp));
        assert!(refusal(&format!("tcp4://{name}")).contains(&format!("127.0.0.1: address in use ({us}")));
        let udp = open("udp://0").unwrap();
        assert!(refusal(&udp.address).contains(&format!("address in use ({us}")));
        let name = format!("@remuda-socket-{}", std::process::id());
        let _abstract = open(&name).unwrap();
        assert!(refusal(&name).contains(&format!("cannot bind unix:{name}: address in use ({us}")));
    }

    #[test]
    fn addresses_of_others_are_refused() {
        assert_eq!(refusal("192.0.2.1:0"), "cannot bind 192.0.2.1:0: this machine has no such address");
    }

    #[test]
    fn datagrams_arrive() {
        let listener = open("udp://127.0.0.1:0").unwrap();
        let to = listener.address.strip_prefix("udp://").unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", to).unwrap();
        let socket = UdpSocket::from(listener.fd.try_clone().unwrap());
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
    }

    #[test]
    fn a_path_is_bound_and_removed_only_while_ours() {
        let directory = scratch("socket-path");
        let path = directory.join("a.sock");
        leave_stale(&path);
        let text = format!("unix:{},mode=0640", path.display());
        let listener = open(&text).unwrap();
        assert_eq!(listener.address, format!("unix:{}", path.display()));
        assert_eq!(listener.family, SocketFamily::Unix);
        UnixStream::connect(&path).unwrap().write_all(b"x").unwrap();
        assert!(refusal(&text).contains("address in use (pid "));
        let unknown = refusal(&format!("unix:{},user=no-such-user", path.display()));
        assert!(unknown.ends_with("unknown user \"no-such-user\""), "{unknown}");
        listener.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn all_or_none_are_bound() {
        let directory = scratch("socket-all");
        let path = directory.join("a.sock");
        let taken = open("0").unwrap();
        let specs = [format!("unix:{}", path.display()), taken.address.clone()];
        let specs: Vec<_> = specs.iter().map(|text| parse(text).unwrap()).collect();
        assert!(open_all(&specs, &mut Passed::default()).is_err());
        assert!(!path.exists());
        let good = [specs[0].clone(), parse("0").unwrap()];
        assert_eq!(open_all(&good, &mut Passed::default()).unwrap().len(), 2);
    }

    #[test]
    fn an_inherited_socket_is_taken_over_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let number = |fd: &dyn AsRawFd| format!("fd://{}", fd.as_raw_fd());
        // Ours, by the look of it: close-on-exec.
        let ours = refusal(&number(&listener));
        assert!(ours.ends_with("no such descriptor was open at the start"), "{ours}");
        assert!(refusal("fd://1000000").ends_with("no such descriptor was open at the start"));

        fcntl(&listener, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        let adopted = open(&format!("{},name=old,nonblock", number(&listener))).unwrap();
        assert_eq!((adopted.address.clone(), adopted.family), (local.to_string(), SocketFamily::Inet));
        assert!(flags(&adopted).contains(OFlag::O_NONBLOCK));
        drop(listener);
        TcpStream::connect(local).unwrap();

        let (connected, _other) = UnixStream::pair().unwrap();
        fcntl(&connected, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        assert!(refusal(&number(&connected)).ends_with("the socket does not listen"));
        let file = std::fs::File::open("/dev/null").unwrap();
        fcntl(&file, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        assert!(refusal(&number(&file)).ends_with("it is not a socket"));
    }
}
