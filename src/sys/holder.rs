//! Who holds an address that we cannot have: proc_pid_net(5) tells the socket, proc_pid_fd(5) its process.
//!
//! For error messages only, so everything here is a best effort: what cannot be read, or belongs to a process that hides
//! its descriptors from us, is not told.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

/// How much of a table in /proc/net is read, in bytes: about 100,000 sockets. Listening ones stand first.
const TABLE_MAX: u64 = 16 << 20;

/// How many descriptors of other processes are looked at: less than a second.
const DESCRIPTORS_MAX: usize = 100_000;

/// TCP_LISTEN, as /proc/net/tcp writes it.
const LISTENING: &str = "0A";

/// `__SO_ACCEPTCON`, the flag of a listening socket in /proc/net/unix.
const ACCEPTS: u32 = 1 << 16;

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: i32,
    /// Its name as in ps(1).
    pub name: Option<String>,
}

impl fmt::Display for Holder {
    /// `pid 4711, nginx`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        match &self.name {
            Some(name) => write!(f, ", {name}"),
            None => Ok(()),
        }
    }
}

/// A transport of the Internet family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Stream sockets.
    Tcp,
    /// Datagram sockets.
    Udp,
}

/// Who is bound to an Internet address, or to one that excludes it.
pub fn of_port(transport: Transport, address: SocketAddr) -> Option<Holder> {
    let tables = match transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inode = tables
        .iter()
        .filter_map(|table| {
            let text = String::from_utf8(read(table)?).ok()?;
            text.lines().filter_map(|line| parse_port_line(line, address)).max_by_key(|&(fit, _)| fit)
        })
        .max_by_key(|&(fit, _)| fit)
        .map(|(_, inode)| inode)?;
    of_inode(inode)
}

/// Who is bound to a Unix address: a path, or `@` and an abstract name.
pub fn of_unix(address: &[u8]) -> Option<Holder> {
    let table = read("/proc/net/unix")?;
    let inode = unix_sockets(&table).find(|socket| socket.address == address)?.inode;
    of_inode(inode)
}

/// The process of this id, if there is one.
pub fn of_pid(pid: i32) -> Option<Holder> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    // A process chooses its name itself: no control characters of its choice on a terminal.
    let name: String = String::from_utf8_lossy(name.trim_ascii())
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect();
    Some(Holder { pid, name: (!name.is_empty()).then_some(name) })
}

/// Where a Unix socket listens.
pub struct UnixListener {
    /// Its path as it was bound, or its name without the leading NUL.
    pub name: Vec<u8>,
    /// In the abstract namespace.
    pub is_abstract: bool,
}

/// All Unix sockets that listen.
pub fn unix_listeners() -> Vec<UnixListener> {
    let table = read("/proc/net/unix").unwrap_or_default();
    let listeners = unix_sockets(&table).filter(|socket| socket.flags & ACCEPTS != 0);
    let named = |address: &[u8]| match address.strip_prefix(b"@") {
        Some(name) => UnixListener { name: name.to_vec(), is_abstract: true },
        None => UnixListener { name: address.to_vec(), is_abstract: false },
    };
    listeners.map(|socket| named(socket.address)).collect()
}

fn read(table: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(table).ok()?.take(TABLE_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

/// How well a socket explains that we cannot bind: listening, and on the very address.
type Fit = (bool, bool);

/// Of `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1234 ...` the inode, 1234, if the
/// socket stands in the way of `wanted`. Sockets without an owner have 0 there.
fn parse_port_line(line: &str, wanted: SocketAddr) -> Option<(Fit, u64)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let [_, local, _, state, _, _, _, _, _, inode] = fields[..] else { return None };
    let (ip, port) = local.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != wanted.port() {
        return None;
    }
    let (ip, wanted) = (parse_ip(ip)?, wanted.ip().to_canonical());
    if !(ip == wanted || ip.is_unspecified() || wanted.is_unspecified()) {
        return None;
    }
    let inode = inode.parse().ok().filter(|&inode| inode != 0)?;
    Some(((state == LISTENING, ip == wanted), inode))
}

/// Words of 32 bits as they stand in memory, in hexadecimal: one for IPv4, four for IPv6.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

struct UnixSocket<'a> {
    flags: u32,
    inode: u64,
    /// A path, or `@` and an abstract name; NULs within that show as `@` too.
    address: &'a [u8],
}

/// The bound sockets among lines like `0000000000000000: 00000002 00000000 00010000 0001 01 1234 @name`.
fn unix_sockets(table: &[u8]) -> impl Iterator<Item = UnixSocket<'_>> {
    table.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut rest = line;
        let mut field = || {
            rest = rest.trim_ascii_start();
            let end = rest.iter().position(|&byte| byte == b' ')?;
            let (field, after) = rest.split_at(end);
            rest = after;
            std::str::from_utf8(field).ok()
        };
        let flags = field().and_then(|_| field()).and_then(|_| field()).and_then(|_| field())?;
        let inode = field().and_then(|_| field()).and_then(|_| field())?;
        Some(UnixSocket {
            flags: u32::from_str_radix(flags, 16).ok()?,
            inode: inode.parse().ok()?,
            address: rest.strip_prefix(b" ")?,
        })
    })
}

/// The first process with this socket open: of a server with workers most often the main one, as /proc is in order of pid.
fn of_inode(inode: u64) -> Option<Holder> {
    let wanted = format!("socket:[{inode}]");
    let mut looked_at = 0;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The descriptors of other users' processes cannot be read, and a process may be gone by now.
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            if fs::read_link(descriptor.path())
                .is_ok_and(|target| target.as_os_str().as_bytes() == wanted.as_bytes())
            {
                return of_pid(pid);
            }
            looked_at += 1;
            if looked_at == DESCRIPTORS_MAX {
                return None;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

    use super::*;

    fn is_us(holder: Option<Holder>) -> bool {
        holder.is_some_and(|holder| holder.pid == std::process::id() as i32 && holder.name.is_some())
    }

    #[test]
    fn the_holder_of_a_port_is_found_for_each_address_that_excludes_it() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        for wanted in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
            assert!(is_us(of_port(Transport::Tcp, wanted.parse().unwrap())), "{wanted}");
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(is_us(of_port(Transport::Udp, udp.local_addr().unwrap())));
    }

    #[test]
    fn the_holder_of_a_unix_address_is_found() {
        let name = format!("remuda-holder-{}", std::process::id());
        let _listener = UnixListener::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
        assert!(is_us(of_unix(format!("@{name}").as_bytes())));
        assert!(unix_listeners().iter().any(|found| found.is_abstract && found.name == name.as_bytes()));
        assert_eq!(of_unix(format!("@{name}x").as_bytes()), None);
    }

    #[test]
    fn lines_of_the_tables_are_understood() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 1234 1 0 100";
        let here = parse_port_line(line, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(here, Some(((true, true), 1234)));
        assert_eq!(parse_port_line(line, "0.0.0.0:8080".parse().unwrap()), Some(((true, false), 1234)));
        assert_eq!(parse_port_line(line, "127.0.0.2:8080".parse().unwrap()), None);
        assert_eq!(parse_port_line(line, "127.0.0.1:8081".parse().unwrap()), None);
        assert_eq!(parse_ip("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(parse_ip("0000000000000000FFFF00000100007F"), Some(Ipv4Addr::LOCALHOST.into()));
        for bad in ["", "sl  local_address", "0: x:y 0 0A 0 0 0 0 0 1", "0: é00007F:1F90 0 0A 0 0 0 0 0 1"] {
            assert_eq!(parse_port_line(bad, "127.0.0.1:8080".parse().unwrap()), None);
        }
        let table = b"Num RefCount Protocol Flags Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 77 /run/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 78\n";
        let sockets: Vec<_> = unix_sockets(table).map(|s| (s.flags, s.inode, s.address)).collect();
        assert_eq!(sockets, [(ACCEPTS, 77, &b"/run/a b.sock"[..])]);
    }
}
