//! Options of listening sockets, setsockopt(2): what the plan asks for, before the socket is bound. Accepted connections
//! inherit them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::SetSockOpt;
use nix::sys::socket::{setsockopt, sockopt};

use super::{cvt, fault, reason};
use crate::env::SocketFamily;
use crate::plan::SocketOptions;

/// Sets what is asked for. An error names the option that cannot be had.
pub fn set_all(fd: &OwnedFd, family: SocketFamily, options: &SocketOptions) -> io::Result<()> {
    let SocketOptions {
        defer_accept,
        no_delay,
        receive_buffer,
        send_buffer,
        keep_alive,
        keep_alive_idle,
        device,
        free_bind,
        fast_open,
        transparent,
    } = options;
    if let Some(size) = receive_buffer {
        buffer(fd, *size, sockopt::RcvBufForce, sockopt::RcvBuf).map_err(named("rcvbuf"))?;
    }
    if let Some(size) = send_buffer {
        buffer(fd, *size, sockopt::SndBufForce, sockopt::SndBuf).map_err(named("sndbuf"))?;
    }
    if let Some(device) = device {
        set(fd, sockopt::BindToDevice, &device.into()).map_err(named("bind-to-device"))?;
    }
    if *free_bind {
        // IPv6 sockets take this one too.
        set(fd, sockopt::IpFreebind, &true).map_err(named("freebind"))?;
    }
    if *transparent {
        let (level, name) = match family {
            SocketFamily::Inet6 => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
            SocketFamily::Inet | SocketFamily::Unix => (libc::SOL_IP, libc::IP_TRANSPARENT),
        };
        number(fd, level, name, 1).map_err(named("transparent"))?;
    }
    if *no_delay {
        set(fd, sockopt::TcpNoDelay, &true).map_err(named("nodelay"))?;
    }
    if *keep_alive {
        set(fd, sockopt::KeepAlive, &true).map_err(named("keepalive"))?;
    }
    if let Some(seconds) = keep_alive_idle {
        set(fd, sockopt::TcpKeepIdle, seconds).map_err(named("keepalive"))?;
    }
    if let Some(seconds) = defer_accept {
        number(fd, libc::SOL_TCP, libc::TCP_DEFER_ACCEPT, *seconds).map_err(named("defer-accept"))?;
    }
    if let Some(length) = fast_open {
        number(fd, libc::SOL_TCP, libc::TCP_FASTOPEN, *length).map_err(named("fastopen"))?;
    }
    Ok(())
}

/// How long the queue of a listening TCP socket may become: `tcpi_sacked` of `struct tcp_info`. Others do not tell.
pub(super) fn queue(fd: &OwnedFd) -> Option<u32> {
    // Eight bytes come first, then numbers of 32 bits, of which it is the sixth.
    let mut info = [0_u32; 8];
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: there is room for so many bytes, and the kernel writes no more.
    let asked = cvt(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut size,
        )
    });
    asked.is_ok().then_some(info[7])
}

/// With CAP_NET_ADMIN beyond what net.core.rmem_max and wmem_max allow, else up to there: socket(7).
fn buffer(
    fd: &OwnedFd,
    size: u32,
    beyond: impl SetSockOpt<Val = usize>,
    within: impl SetSockOpt<Val = usize>,
) -> io::Result<()> {
    let size = size as usize;
    set(fd, beyond, &size).or_else(|_| set(fd, within, &size))
}

fn set<O: SetSockOpt>(fd: &OwnedFd, option: O, value: &O::Val) -> io::Result<()> {
    fault::hit("setsockopt")?;
    Ok(setsockopt(fd, option, value)?)
}

/// An option that nix does not know.
fn number(fd: &impl AsFd, level: i32, name: i32, value: u32) -> io::Result<()> {
    fault::hit("setsockopt")?;
    let value = i32::try_from(value).unwrap_or(i32::MAX);
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is an int of the length told, and alive.
    cvt(unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length) })
        .map(drop)
}

/// The error of an option, with its name and what it takes.
fn named(option: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| {
        let takes = match (option, error.raw_os_error()) {
            ("transparent", Some(libc::EPERM)) => " (it takes CAP_NET_ADMIN)",
            ("bind-to-device", Some(libc::EPERM)) => " (it takes CAP_NET_RAW)",
            ("bind-to-device", Some(libc::ENODEV)) => " (there is no such interface)",
            _ => "",
        };
        io::Error::other(format!("option {option}: {}{takes}", reason(error)))
    }
}

/// Whether descriptors may be sent to a Unix socket, unix(7): Linux 6.16 and newer.
const SO_PASSRIGHTS: i32 = if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) { 0x5c } else { 83 };

/// Has the kernel refuse descriptors that are sent to this Unix socket and to those accepted from it: whoever reads a message
/// without them would otherwise wait until they are closed. True if it does; an older kernel does not know of it.
pub fn refuse_descriptors(fd: BorrowedFd<'_>) -> bool {
    number(&fd, libc::SOL_SOCKET, SO_PASSRIGHTS, 0).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use nix::sys::socket::getsockopt;

    use super::*;
    use crate::addr::parse;
    use crate::sys::socket::{Listener, bind, look_up};

    fn open(text: &str) -> Listener {
        bind(&parse(text).unwrap(), &look_up).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn value(fd: &impl AsRawFd, level: i32, name: i32) -> i32 {
        let (mut value, mut length) = (0_i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: both are valid for writing, and the length is that of the value.
        let told = cvt(unsafe {
            libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
        });
        told.map(|_| value).unwrap()
    }

    #[test]
    fn accepted_connections_have_the_options_of_their_listener() {
        let listener = open("0,nodelay,keepalive=77s,rcvbuf=20k,sndbuf=24k");
        let _client = TcpStream::connect(&listener.address).unwrap();
        let (accepted, _) = TcpListener::from(listener.fd).accept().unwrap();
        assert!(getsockopt(&accepted, sockopt::TcpNoDelay).unwrap());
        assert!(getsockopt(&accepted, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&accepted, sockopt::TcpKeepIdle).unwrap(), 77);
        // The kernel doubles what it is told, socket(7).
        assert_eq!(getsockopt(&accepted, sockopt::RcvBuf).unwrap(), 2 * 20 * 1024);
        assert_eq!(getsockopt(&accepted, sockopt::SndBuf).unwrap(), 2 * 24 * 1024);
        let plain = open("0");
        assert!(!getsockopt(&plain.fd, sockopt::TcpNoDelay).unwrap());
        assert!(!getsockopt(&plain.fd, sockopt::KeepAlive).unwrap());
    }

    #[test]
    fn a_deferred_connection_is_there_when_its_first_bytes_are() {
        let listener = open("0,defer-accept=30s,nonblock");
        let (address, listener) = (listener.address, TcpListener::from(listener.fd));
        let mut client = TcpStream::connect(&address).unwrap();
        // Another one, accepted after the first would have been, were it not for the option.
        let mut second = TcpStream::connect(&address).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        second.write_all(b"x").unwrap();
        let mut readiness = crate::sys::poll::PollSet::new();
        readiness.add(listener.as_fd(), crate::sys::poll::Interest::READ);
        readiness.wait(None).unwrap();
        let (mut accepted, from) = listener.accept().unwrap();
        assert_eq!(from, second.local_addr().unwrap());
        accepted.set_nonblocking(false).unwrap();
        accepted.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        accepted.read_exact(&mut [0]).unwrap();
        client.write_all(b"x").unwrap();
        readiness.wait(None).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }

    #[test]
    fn what_is_asked_for_is_what_the_kernel_has() {
        let listener = open("0,fastopen=7,defer-accept=3s,freebind");
        assert_eq!(value(&listener.fd, libc::SOL_TCP, libc::TCP_FASTOPEN), 7);
        assert!(value(&listener.fd, libc::SOL_TCP, libc::TCP_DEFER_ACCEPT) >= 3);
        // An address of nobody's, RFC 5737.
        assert!(open("192.0.2.1:0,freebind").address.starts_with("192.0.2.1:"));
        if TcpListener::bind("[::1]:0").is_ok() {
            assert!(open("[2001:db8::1]:0,freebind").address.starts_with("[2001:db8::1]:"));
        } else {
            println!("skipped: no IPv6 here");
        }
    }

    #[test]
    fn what_cannot_be_had_is_told_by_its_name() {
        let refusal = |text: &str| bind(&parse(text).unwrap(), &look_up).unwrap_err().message;
        let told = refusal("127.0.0.1:0,bind-to-device=no-such-if");
        assert!(told.starts_with("cannot bind 127.0.0.1:0: option bind-to-device: "), "{told}");
        assert!(told.ends_with(" (there is no such interface)") || told.ends_with(" (it takes CAP_NET_RAW)"));
        // Needs a privilege that containers often have not; either way it is not passed over.
        let asked = bind(&parse("127.0.0.1:0,transparent").unwrap(), &look_up);
        match asked {
            Ok(listener) => assert_eq!(value(&listener.fd, libc::SOL_IP, libc::IP_TRANSPARENT), 1),
            Err(error) => assert!(error.message.ends_with("(it takes CAP_NET_ADMIN)"), "{error}"),
        }
    }
}
