//! Every way to write a socket address, and the one way it is written back. Pure: names are looked up in
//! `sys::socket`, when the socket is bound.
//!
//! ```text
//! IP:PORT  [IPv6]:PORT  HOST:PORT      that address; of a name, the first one that can be bound
//! :PORT  *:PORT                        all addresses, IPv6 and IPv4 on one socket where there is IPv6
//! PORT                                 127.0.0.1:PORT
//! tcp://..  tcp4://..  tcp6://..       the same, with the family fixed: tcp6://:PORT is [::]:PORT
//! udp://..  udp4://..  udp6://..       the same for datagrams
//! unix:PATH  unix://PATH               a path
//! @NAME  unix:@NAME                    Linux's abstract namespace
//! fd://N                               a socket inherited at descriptor N
//! ```
//!
//! Options follow after commas (so no path or name holds one); `options` has them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::nearest::nearest;
use crate::plan::{Address, Family, Host, SocketOptions, SocketSpec};

mod options;

pub use options::{Shared, shared};

/// Longest path or abstract name in bytes: `sun_path` of unix(7) less its NUL.
pub const UNIX_NAME_MAX: usize = 107;

/// Longest host name in bytes: RFC 1035.
const HOST_NAME_MAX: usize = 253;

const SCHEMES: [&str; 8] = ["tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "fd"];

/// Reads an address with its options. The error names the text and the part of it that is wrong.
pub fn parse(text: &str) -> Result<SocketSpec> {
    let (place, options) = match text.split_once(',') {
        Some((place, options)) => (place, Some(options)),
        None => (text, None),
    };
    parse_address(place)
        .and_then(|address| {
            let mut spec = plain(address);
            options::read(&mut spec, options.into_iter().flat_map(|options| options.split(',')))?;
            Ok(spec)
        })
        .map_err(|why| Error::usage(format!("bad address {text:?}: {why}")))
}

/// The first address that stands twice in `specs`, as [`collide`] sees it.
pub fn duplicates(specs: &[SocketSpec]) -> Option<&Address> {
    specs.iter().enumerate().map(|(position, spec)| (position, &spec.address)).find_map(
        |(position, address)| {
            let again = specs[..position].iter().any(|earlier| collide(&earlier.address, address));
            again.then_some(address)
        },
    )
}

/// Whether two sockets cannot both have their address, since it is the same. Port 0 is a new port each time.
pub fn collide(one: &Address, other: &Address) -> bool {
    one == other && port(one) != Some(0)
}

impl fmt::Display for Address {
    /// The canonical spelling; [`parse`] reads it back as the same address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host) => {
                // A host called `unix` would read as a path.
                match host {
                    Host::Name(name, _, Family::Either) if name != "unix" => {}
                    Host::Name(_, _, family) => write!(f, "tcp{}://", family_digit(*family))?,
                    Host::Ip(_) | Host::Any(_) => {}
                }
                write_host(f, host)
            }
            Address::Udp(host) => {
                let family = if let Host::Name(_, _, family) = host { *family } else { Family::Either };
                write!(f, "udp{}://", family_digit(family))?;
                write_host(f, host)
            }
            Address::UnixPath(path) => write!(f, "unix:{}", path.display()),
            // As in /proc/net/unix, a NUL inside the name shows as `@`.
            Address::UnixAbstract(name) => {
                write!(f, "unix:@{}", String::from_utf8_lossy(name).replace('\0', "@"))
            }
            Address::Inherited(descriptor) => write!(f, "fd://{descriptor}"),
        }
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &Host) -> fmt::Result {
    match host {
        Host::Ip(address) => write!(f, "{address}"),
        Host::Any(port) => write!(f, "*:{port}"),
        Host::Name(name, port, _) if name.contains(':') => write!(f, "[{name}]:{port}"),
        Host::Name(name, port, _) => write!(f, "{name}:{port}"),
    }
}

fn family_digit(family: Family) -> &'static str {
    match family {
        Family::Either => "",
        Family::V4 => "4",
        Family::V6 => "6",
    }
}

/// The port of an Internet address; 0 where the system is to choose one.
pub fn port(address: &Address) -> Option<u16> {
    match address {
        Address::Tcp(host) | Address::Udp(host) => Some(match host {
            Host::Ip(address) => address.port(),
            Host::Any(port) | Host::Name(_, port, _) => *port,
        }),
        Address::UnixPath(_) | Address::UnixAbstract(_) | Address::Inherited(_) => None,
    }
}

/// A socket at this address, without options.
pub fn plain(address: Address) -> SocketSpec {
    // A socket on [::] that also takes IPv4 stands in the way of one on 0.0.0.0: dual stack only if asked for, by
    // `:PORT` or v6only=off. An IPv4-mapped address cannot be bound v6only.
    let v6_only = match &address {
        Address::Tcp(host) | Address::Udp(host) => match host {
            Host::Ip(SocketAddr::V6(address)) => address.ip().to_ipv4_mapped().is_none(),
            Host::Name(_, _, family) => *family != Family::V4,
            Host::Ip(SocketAddr::V4(_)) | Host::Any(_) => false,
        },
        Address::UnixPath(_) | Address::UnixAbstract(_) | Address::Inherited(_) => false,
    };
    SocketSpec {
        name: None,
        backlog: None,
        // On a datagram socket Linux takes SO_REUSEADDR as leave to share the port: a second manager would bind it
        // without an error and take the first one's datagrams.
        reuse_address: !matches!(address, Address::Udp(_)),
        nonblocking: false,
        replace_stale: true,
        v6_only,
        mode: None,
        user: None,
        group: None,
        options: SocketOptions::default(),
        address,
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("the address is missing".into());
    }
    if text.contains('\0') {
        return Err("a NUL byte is in it".into());
    }
    if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
        return match path.strip_prefix('@') {
            Some(name) => parse_abstract(name),
            None => parse_path(path),
        };
    }
    if let Some(name) = text.strip_prefix('@') {
        return parse_abstract(name);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        if text.starts_with(['/', '.', '~']) {
            return Err(format!("a path is written unix:{text}"));
        }
        return parse_host(text, Family::Either).map(Address::Tcp);
    };
    match scheme {
        "tcp" => parse_host(rest, Family::Either).map(Address::Tcp),
        "tcp4" => parse_host(rest, Family::V4).map(Address::Tcp),
        "tcp6" => parse_host(rest, Family::V6).map(Address::Tcp),
        "udp" => parse_host(rest, Family::Either).map(Address::Udp),
        "udp4" => parse_host(rest, Family::V4).map(Address::Udp),
        "udp6" => parse_host(rest, Family::V6).map(Address::Udp),
        "fd" => parse_digits(rest)
            .filter(|&descriptor| i32::try_from(descriptor).is_ok())
            .map(Address::Inherited)
            .ok_or_else(|| format!("{rest:?} is not the number of a descriptor")),
        _ => Err(format!("unknown scheme {scheme:?}, {}", suggest(scheme, &SCHEMES))),
    }
}

fn parse_path(path: &str) -> Result<Address, String> {
    match path.len() {
        0 => Err("the path is missing".into()),
        1..=UNIX_NAME_MAX => Ok(Address::UnixPath(PathBuf::from(path))),
        length => Err(format!("the path has {length} bytes, the system takes {UNIX_NAME_MAX}")),
    }
}

fn parse_abstract(name: &str) -> Result<Address, String> {
    match name.len() {
        0 => Err("the name after @ is missing".into()),
        1..=UNIX_NAME_MAX => Ok(Address::UnixAbstract(name.as_bytes().to_vec())),
        length => Err(format!("the name has {length} bytes, the system takes {UNIX_NAME_MAX}")),
    }
}

fn parse_host(text: &str, family: Family) -> Result<Host, String> {
    if text.is_empty() {
        return Err("the address is missing".into());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let loopback: IpAddr =
            if family == Family::V6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        return Ok(Host::Ip(SocketAddr::new(loopback, parse_port(text)?)));
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (inner, port) = bracketed.split_once(']').ok_or("the ] after the IPv6 address is missing")?;
        let port = port.strip_prefix(':').ok_or("the port after ] is missing")?;
        if family == Family::V4 {
            return Err(format!("{inner} is not an IPv4 address"));
        }
        return parse_v6(inner, parse_port(port)?);
    }
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing, as in HOST:PORT")?;
    if host.contains(':') {
        return Err("an IPv6 address is written in brackets, as in [::1]:80".into());
    }
    let port = parse_port(port)?;
    if host.is_empty() || host == "*" {
        return Ok(match family {
            Family::Either => Host::Any(port),
            Family::V4 => Host::Ip(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            Family::V6 => Host::Ip(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)),
        });
    }
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let address: Ipv4Addr = host.parse().map_err(|_| format!("{host} is not an IPv4 address"))?;
        if family == Family::V6 {
            return Err(format!("{host} is not an IPv6 address"));
        }
        return Ok(Host::Ip(SocketAddr::new(address.into(), port)));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if host.len() > HOST_NAME_MAX || !host.bytes().all(plain) {
        return Err(format!("{host:?} is not a host name"));
    }
    Ok(Host::Name(host.to_owned(), port, family))
}

/// What stands between the brackets. A zone that is a number is part of the address; an interface's name has to be
/// looked up, and so makes the whole a name.
fn parse_v6(inner: &str, port: u16) -> Result<Host, String> {
    let wrong = || format!("{inner:?} is not an IPv6 address");
    let Some((address, zone)) = inner.split_once('%') else {
        let address: Ipv6Addr = inner.parse().map_err(|_| wrong())?;
        return Ok(Host::Ip(SocketAddr::new(address.into(), port)));
    };
    let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
    if let Some(scope) = parse_digits(zone) {
        return Ok(Host::Ip(SocketAddrV6::new(address, port, 0, scope).into()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if zone.is_empty() || !zone.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(Host::Name(format!("{address}%{zone}"), port, Family::V6))
}

fn parse_port(text: &str) -> Result<u16, String> {
    parse_digits(text)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| format!("port {text:?} is not a number from 0 to 65535"))
}

/// Digits only: `str::parse` would let a sign through.
fn parse_digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `did you mean backlog`, or all there is when nothing is near.
fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(candidate) => format!("did you mean {candidate}"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Address {
        Address::Tcp(Host::Ip(text.parse().unwrap()))
    }

    fn name(host: &str, port: u16, family: Family) -> Host {
        Host::Name(host.into(), port, family)
    }

    #[test]
    fn each_spelling_means_one_address_and_is_written_back_one_way() {
        let table = [
            ("127.0.0.1:80", tcp("127.0.0.1:80"), "127.0.0.1:80"),
            ("0.0.0.0:0", tcp("0.0.0.0:0"), "0.0.0.0:0"),
            ("[::1]:80", tcp("[::1]:80"), "[::1]:80"),
            ("[0:0::1]:80", tcp("[::1]:80"), "[::1]:80"),
            ("[fe80::1%2]:80", tcp("[fe80::1%2]:80"), "[fe80::1%2]:80"),
            (
                "[fe80::1%eth0]:80",
                Address::Tcp(name("fe80::1%eth0", 80, Family::V6)),
                "tcp6://[fe80::1%eth0]:80",
            ),
            ("localhost:8080", Address::Tcp(name("localhost", 8080, Family::Either)), "localhost:8080"),
            ("a_b.example:1", Address::Tcp(name("a_b.example", 1, Family::Either)), "a_b.example:1"),
            (":80", Address::Tcp(Host::Any(80)), "*:80"),
            ("*:80", Address::Tcp(Host::Any(80)), "*:80"),
            ("80", tcp("127.0.0.1:80"), "127.0.0.1:80"),
            ("0", tcp("127.0.0.1:0"), "127.0.0.1:0"),
            ("tcp://80", tcp("127.0.0.1:80"), "127.0.0.1:80"),
            ("tcp://127.0.0.1:80", tcp("127.0.0.1:80"), "127.0.0.1:80"),
            ("tcp://:80", Address::Tcp(Host::Any(80)), "*:80"),
            ("tcp4://:80", tcp("0.0.0.0:80"), "0.0.0.0:80"),
            ("tcp4://80", tcp("127.0.0.1:80"), "127.0.0.1:80"),
            ("tcp6://:80", tcp("[::]:80"), "[::]:80"),
            ("tcp6://80", tcp("[::1]:80"), "[::1]:80"),
            ("tcp6://[::1]:80", tcp("[::1]:80"), "[::1]:80"),
            ("tcp4://localhost:80", Address::Tcp(name("localhost", 80, Family::V4)), "tcp4://localhost:80"),
            ("tcp6://localhost:80", Address::Tcp(name("localhost", 80, Family::V6)), "tcp6://localhost:80"),
            ("udp://53", Address::Udp(Host::Ip("127.0.0.1:53".parse().unwrap())), "udp://127.0.0.1:53"),
            ("udp://:53", Address::Udp(Host::Any(53)), "udp://*:53"),
            ("udp://[::1]:53", Address::Udp(Host::Ip("[::1]:53".parse().unwrap())), "udp://[::1]:53"),
            ("udp4://dns:53", Address::Udp(name("dns", 53, Family::V4)), "udp4://dns:53"),
            ("unix:/run/a.sock", Address::UnixPath("/run/a.sock".into()), "unix:/run/a.sock"),
            ("unix:///run/a.sock", Address::UnixPath("/run/a.sock".into()), "unix:/run/a.sock"),
            ("unix:a.sock", Address::UnixPath("a.sock".into()), "unix:a.sock"),
            ("@web", Address::UnixAbstract(b"web".to_vec()), "unix:@web"),
            ("unix:@web", Address::UnixAbstract(b"web".to_vec()), "unix:@web"),
            ("unix://@web", Address::UnixAbstract(b"web".to_vec()), "unix:@web"),
            ("fd://3", Address::Inherited(3), "fd://3"),
        ];
        for (text, address, written) in table {
            let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).address;
            assert_eq!(parsed, address, "{text}");
            assert_eq!(parsed.to_string(), written, "{text}");
            assert_eq!(parse(written).unwrap().address, address, "{written}");
        }
    }

    #[test]
    fn options_set_their_field_and_nothing_else() {
        let plain = parse("80").unwrap();
        assert!(plain.reuse_address && !plain.nonblocking && !plain.v6_only);
        assert_eq!((plain.backlog, plain.name.as_deref()), (None, None));

        let all = parse("[::]:80,backlog=5,reuseaddr=off,nonblock,v6only=off,name=web 1").unwrap();
        assert_eq!(all.backlog, Some(5));
        assert!(!all.reuse_address && all.nonblocking && !all.v6_only);
        assert_eq!(all.name.as_deref(), Some("web 1"));

        let unix = parse("unix:/run/a,mode=0660,user=www-data,group=33").unwrap();
        assert_eq!(unix.mode, Some(0o660));
        assert_eq!((unix.user.as_deref(), unix.group.as_deref()), (Some("www-data"), Some("33")));
    }

    // pitfall 27
    #[test]
    fn ipv6_takes_ipv4_too_only_where_asked() {
        for (text, v6_only) in [
            (":80", false),
            (":80,v6only", true),
            ("[::]:80", true),
            ("[::]:80,v6only=off", false),
            ("tcp6://:80", true),
            ("[::ffff:127.0.0.1]:80", false),
            ("localhost:80", true),
            ("tcp4://localhost:80", false),
            ("127.0.0.1:80", false),
        ] {
            assert_eq!(parse(text).unwrap().v6_only, v6_only, "{text}");
        }
    }

    #[test]
    fn datagram_sockets_do_not_share_their_port_unasked() {
        assert!(!parse("udp://:53").unwrap().reuse_address);
        assert!(parse("udp://:53,reuseaddr").unwrap().reuse_address);
    }

    #[test]
    fn errors_name_the_text_and_the_part_that_is_wrong() {
        let long_path = format!("unix:/{}", "p".repeat(107));
        let long_name = format!("80,name={}", "n".repeat(256));
        for (text, part) in [
            ("", "the address is missing"),
            (",backlog=1", "the address is missing"),
            ("localhost", "the port is missing"),
            ("127.0.0.1", "the port is missing"),
            ("127.0.0.1:", "port \"\""),
            ("127.0.0.1:65536", "port \"65536\""),
            ("127.0.0.1:+80", "port \"+80\""),
            ("99999", "port \"99999\""),
            ("99999999999999999999", "port \"99999999999999999999\""),
            ("300.0.0.1:80", "300.0.0.1 is not an IPv4 address"),
            ("1.2.3:80", "1.2.3 is not an IPv4 address"),
            ("::1", "brackets"),
            ("::1:80", "brackets"),
            ("[::1", "the ]"),
            ("[::1]", "the port after ]"),
            ("[::g]:80", "\"::g\" is not an IPv6 address"),
            ("[fe80::1%]:80", "not an IPv6 address"),
            ("tcp4://[::1]:80", "not an IPv4 address"),
            ("tcp6://127.0.0.1:80", "not an IPv6 address"),
            ("tcp://", "the address is missing"),
            ("bad host:80", "\"bad host\" is not a host name"),
            ("tpc://:80", "did you mean tcp"),
            ("http://:80", "unknown scheme \"http\""),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("unix:", "the path is missing"),
            (&long_path, "108 bytes"),
            ("@", "the name after @"),
            ("fd://x", "\"x\" is not the number"),
            ("fd://", "not the number"),
            ("fd://4294967295", "not the number"),
            ("80,", "an option is missing"),
            ("80,backlgo=1", "did you mean backlog"),
            ("80,zzzzzzzzzzzz", "known are backlog, "),
            ("80,backlog", "backlog needs a value"),
            ("80,backlog=0", "backlog is a number"),
            ("80,backlog=-1", "backlog is a number"),
            ("80,backlog=1,backlog=2", "backlog is given twice"),
            ("80,nonblock=maybe", "\"maybe\""),
            ("80,mode=0660", "mode means nothing for an IPv4 address"),
            ("80,v6only", "v6only means nothing for an IPv4 address"),
            ("udp://:53,backlog=5", "backlog means nothing for a UDP address"),
            ("@x,user=root", "user means nothing for an abstract name"),
            ("fd://3,backlog=1", "backlog means nothing for an inherited socket"),
            ("unix:/a,mode=999", "octal"),
            ("unix:/a,mode=+1", "octal"),
            ("unix:/a,mode=1777", "octal"),
            ("80,name=a:b", "without a colon"),
            ("80,name=\u{e9}", "printable ASCII"),
            (&long_name, "up to 255"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.code, crate::error::Code::Usage);
            assert!(error.message.contains(part), "{text}: {error}");
            assert!(error.message.contains(&format!("{text:?}")), "{text}: {error}");
        }
    }

    #[test]
    fn the_same_address_twice_is_found_and_port_0_is_not() {
        let specs = |texts: &[&str]| texts.iter().map(|text| parse(text).unwrap()).collect::<Vec<_>>();
        let twice = specs(&["80", "unix:/a", "127.0.0.1:80,name=x"]);
        assert_eq!(duplicates(&twice), Some(&tcp("127.0.0.1:80")));
        assert!(duplicates(&specs(&["unix:/a", "unix:///a"])).is_some());
        assert!(duplicates(&specs(&["fd://3", "fd://3"])).is_some());
        assert_eq!(duplicates(&specs(&["0", "0", ":0", ":0"])), None);
        assert_eq!(duplicates(&specs(&["80", "udp://80", "[::1]:80"])), None);
        assert_eq!(duplicates(&[]), None);
    }

    #[test]
    fn no_text_makes_it_panic_and_what_it_takes_is_read_back() {
        let pieces = [
            "", "1", ":", "[", "]", "%", "@", "/", ".", ",", "=", "*", "::1", "tcp", "://", "udp6", "unix:",
            "fd", "é", "\0", "name", "mode", "on", "65536",
        ];
        // All texts of three pieces, then longer ones by chance: the generator of Knuth's MMIX, so that it is always the same.
        let mut state: u64 = 1;
        let mut number = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(state >> 33).unwrap()
        };
        let short = (0..pieces.len().pow(3)).map(|count| (count, 3));
        let long = std::iter::repeat_with(|| (number(), number() % 7)).take(30_000);
        for (mut rest, length) in short.chain(long) {
            let mut text = String::new();
            for _ in 0..length {
                text.push_str(pieces[rest % pieces.len()]);
                rest /= pieces.len();
            }
            if let Ok(spec) = parse(&text) {
                let written = spec.address.to_string();
                assert_eq!(parse(&written).map(|spec| spec.address), Ok(spec.address), "{text:?}");
            }
        }
    }
}
