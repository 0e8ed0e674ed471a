//! Sockets of the plan: where they are bound, and with what options.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SocketSpec {
    /// Name in LISTEN_FDNAMES and in templates.
    pub name: Option<String>,
    /// What to bind.
    pub address: Address,
    /// `listen(2)` backlog; somaxconn if absent.
    pub backlog: Option<u32>,
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// O_NONBLOCK on the shared open file description.
    pub nonblocking: bool,
    /// A socket that nobody listens on makes way for a Unix path.
    #[serde(default)]
    pub replace_stale: bool,
    /// IPV6_V6ONLY of an IPv6 socket.
    pub v6_only: bool,
    /// File mode of a Unix path; the umask decides if absent.
    pub mode: Option<u32>,
    /// Owner of a Unix path: login name or number.
    pub user: Option<String>,
    /// Group of a Unix path: name or number.
    pub group: Option<String>,
    /// Options of the socket itself.
    #[serde(default)]
    pub options: SocketOptions,
}

/// Options of an Internet socket, setsockopt(2). As they are by default, nothing is said to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketOptions {
    /// TCP_DEFER_ACCEPT, in seconds: a connection is not there to accept before its first bytes are, or this time is over.
    pub defer_accept: Option<u32>,
    /// TCP_NODELAY of accepted connections: small pieces are sent at once.
    pub no_delay: bool,
    /// SO_RCVBUF in bytes. For TCP it bounds the window that clients are offered, hence set before listen(2).
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF in bytes.
    pub send_buffer: Option<u32>,
    /// SO_KEEPALIVE of accepted connections: clients that are gone without a word are noticed.
    pub keep_alive: bool,
    /// TCP_KEEPIDLE: seconds of silence before the first question; net.ipv4.tcp_keepalive_time if absent.
    pub keep_alive_idle: Option<u32>,
    /// SO_BINDTODEVICE: the one interface that is listened on.
    pub device: Option<String>,
    /// IP_FREEBIND: an address that this machine does not have, or not yet, will do.
    pub free_bind: bool,
    /// TCP_FASTOPEN: how many connections may wait that brought data in their first packet.
    pub fast_open: Option<u32>,
    /// IP_TRANSPARENT: connections to addresses of others arrive here too (TPROXY).
    pub transparent: bool,
}

/// Where a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Address {
    /// TCP on an address.
    Tcp(Host),
    /// UDP on an address.
    Udp(Host),
    /// Unix stream socket at a path.
    UnixPath(#[serde(with = "crate::octets")] PathBuf),
    /// Unix stream socket in Linux's abstract namespace, without the leading NUL.
    UnixAbstract(#[serde(with = "crate::octets")] Vec<u8>),
    /// A socket that the manager inherited at this descriptor.
    Inherited(u32),
}

/// The Internet half of an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Host {
    /// A literal address.
    Ip(SocketAddr),
    /// All addresses of this machine on a port: dual stack, or IPv4 alone where there is no IPv6.
    Any(u16),
    /// A name to look up, with a port.
    Name(String, u16, Family),
}

/// Which addresses of a name will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// The first found.
    Either,
    /// `tcp4://`.
    V4,
    /// `tcp6://`.
    V6,
}
