//! A socket that is open already and that a new plan asks for: whether it is the same one, and what about it can be
//! changed while workers and clients use it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt::SockType as AskType};

use super::socket::{Listener, LookUp, backlog};
use super::{creds, fault, reason, sockopt, unix};
use crate::addr;
use crate::plan::{Address, Host, SocketSpec};

impl Listener {
    /// Whether this is the socket meant: of the same family and type, at the same address. A port that the system is to
    /// choose is nowhere yet. Hosts are looked for by `look_up`.
    pub fn is_at(&self, spec: &SocketSpec, look_up: &LookUp<'_>) -> bool {
        let spelled: Vec<Address> = match &spec.address {
            address if addr::port(address) == Some(0) => Vec::new(),
            Address::Tcp(host) => all_of(host, spec.v6_only, look_up).into_iter().map(Address::Tcp).collect(),
            Address::Udp(host) => all_of(host, spec.v6_only, look_up).into_iter().map(Address::Udp).collect(),
            Address::UnixPath(path) => std::path::absolute(path).map(Address::UnixPath).into_iter().collect(),
            Address::UnixAbstract(_) => vec![spec.address.clone()],
            Address::Inherited(_) => Vec::new(),
        };
        spelled.iter().any(|address| address.to_string() == self.address)
    }

    /// Changes what the plan says of the socket beside its address: options, backlog, blocking, mode and owner of a path.
    /// An option that is not asked for any more holds until the socket is closed.
    ///
    /// # Errors
    /// What cannot be changed, and why; the rest is.
    pub fn adjust(&self, spec: &SocketSpec) -> Result<(), Vec<String>> {
        let mut failed = Vec::new();
        let mut note = |what: &str, done: io::Result<()>| {
            if let Err(error) = done {
                failed.push(format!("cannot set {what} of {}: {}", self.address, reason(error)));
            }
        };
        if getsockopt(&self.fd, AskType) != Ok(SockType::Datagram) {
            note("the backlog", unix::listen(&self.fd, backlog(spec)));
        }
        note("what is asked", sockopt::set_all(&self.fd, self.family, &spec.options));
        note("the blocking", self.set_nonblocking(spec.nonblocking));
        if let Some(path) = self.path.borrow().as_ref().map(|bound| bound.path()) {
            if let Some(mode) = spec.mode {
                note("the mode", fs::set_permissions(path, Permissions::from_mode(mode)));
            }
            let user = spec.user.as_deref().map(creds::resolve_user).transpose();
            let group = spec.group.as_deref().map(creds::resolve_group).transpose();
            match (user, group) {
                (Ok(None), Ok(None)) => {}
                (Ok(uid), Ok(gid)) => note("the owner", chown(path, uid, gid)),
                (Err(error), _) | (_, Err(error)) => failed.push(error.message),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        fault::hit("fcntl")?;
        let flags = OFlag::from_bits_retain(fcntl(self.as_fd(), FcntlArg::F_GETFL)?);
        let mut wanted = flags;
        wanted.set(OFlag::O_NONBLOCK, nonblocking);
        if flags != wanted {
            fcntl(self.as_fd(), FcntlArg::F_SETFL(wanted))?;
        }
        Ok(())
    }
}

/// How the kernel may tell of a socket that was bound to this.
fn all_of(host: &Host, v6_only: bool, look_up: &LookUp<'_>) -> Vec<Host> {
    match host {
        Host::Ip(address) if address.is_ipv6() && address.ip().is_unspecified() && !v6_only => {
            vec![Host::Any(address.port())]
        }
        Host::Ip(_) => vec![host.clone()],
        Host::Any(port) if v6_only => vec![Host::Ip((std::net::Ipv6Addr::UNSPECIFIED, *port).into())],
        Host::Any(port) => {
            vec![Host::Any(*port), Host::Ip((std::net::Ipv4Addr::UNSPECIFIED, *port).into())]
        }
        Host::Name(name, port, family) => {
            look_up(name, *port, *family).unwrap_or_default().into_iter().map(Host::Ip).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::addr::parse;
    use crate::sys::socket::{bind, look_up};
    use crate::sys::tests::scratch;

    fn open(text: &str) -> Listener {
        bind(&parse(text).unwrap(), &look_up).unwrap()
    }

    fn at(listener: &Listener, text: &str) -> bool {
        listener.is_at(&parse(text).unwrap(), &look_up)
    }

    #[test]
    fn the_same_address_is_the_same_socket_however_it_is_written() {
        let tcp = open("127.0.0.1:0");
        let port: u16 = tcp.address.rsplit(':').next().unwrap().parse().unwrap();
        for text in
            [format!("{port}"), format!("127.0.0.1:{port}"), format!("tcp4://localhost:{port},name=x")]
        {
            assert!(at(&tcp, &text), "{text}");
        }
        for text in ["127.0.0.1:0".into(), format!("udp://127.0.0.1:{port}"), format!("0.0.0.0:{port}")] {
            assert!(!at(&tcp, &text), "{text}");
        }
        let name = format!("@remuda-reuse-{}", std::process::id());
        let unix = open(&name);
        assert!(at(&unix, &format!("unix:{name}")) && !at(&unix, &format!("{name}x")));
    }

    #[test]
    fn what_can_change_of_an_open_socket_changes() {
        let directory = scratch("reuse");
        let path = directory.join("a.sock");
        let text = format!("unix:{}", path.display());
        let listener = open(&format!("{text},mode=0600"));
        let wanted = parse(&format!("{text},mode=0640,nonblock,backlog=3")).unwrap();
        assert!(listener.is_at(&wanted, &look_up));
        listener.adjust(&wanted).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let flags = OFlag::from_bits_retain(fcntl(&listener.fd, FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_NONBLOCK));
        listener.remove().unwrap();
        let told = listener.adjust(&wanted).unwrap_err();
        assert!(told[0].starts_with("cannot set the mode of unix:"), "{told:?}");
    }
}
