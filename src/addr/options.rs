//! What may stand behind an address, after commas. An option that means nothing for the address is an error, not ignored;
//! one that is for all sockets of a group is passed over by those that it means nothing for. Pure.
//!
//! ```text
//! name=NAME  nonblock[=on|off]                                       every socket
//! backlog=N                                                          those that connections are accepted on
//! reuseaddr[=on|off]  v6only[=on|off], also ipv6-only                TCP and UDP
//! rcvbuf=SIZE  sndbuf=SIZE  bind-to-device=IF  freebind  transparent TCP and UDP
//! defer-accept[=DUR]  nodelay  keepalive[=DUR]  fastopen[=N]         TCP
//! mode=OCTAL  user=USER  group=GROUP                                 a Unix path
//! ```

use std::net::SocketAddr;

use super::{parse_digits, suggest};
use crate::duration;
use crate::error::{Error, Result};
use crate::plan::{Address, Family, Host, SocketSpec};

/// Longest name in LISTEN_FDNAMES, in bytes: `sd_listen_fds_with_names(3)`.
const FD_NAME_MAX: usize = 255;

/// Longest name of an interface, in bytes: IFNAMSIZ less its NUL, netdevice(7).
const DEVICE_NAME_MAX: usize = 15;

/// How long a connection without a word is held back where no time is given, in seconds: longer than a request that was
/// lost on its way takes to come again, and shorter than any client waits.
const DEFER_ACCEPT: u32 = 5;

/// How many early connections may wait where no number is given.
const FAST_OPEN: u32 = 256;

const OPTIONS: [&str; 17] = [
    "backlog",
    "reuseaddr",
    "nonblock",
    "v6only",
    "defer-accept",
    "nodelay",
    "keepalive",
    "fastopen",
    "rcvbuf",
    "sndbuf",
    "bind-to-device",
    "freebind",
    "transparent",
    "mode",
    "user",
    "group",
    "name",
];

/// An option for all sockets of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared(String);

/// Reads one option that is meant for all sockets of a group; which of them it means something for is seen later.
pub fn shared(text: &str) -> Result<Shared> {
    let wrong = |why: String| Error::usage(format!("bad option {text:?}: {why}"));
    let (key, value) = halves(text);
    if canonical(key) == "name" {
        return Err(wrong("no two sockets can have the same name".into()));
    }
    if text.contains(',') {
        return Err(wrong("one option stands in one string".into()));
    }
    // Every option means something for one of these.
    let takers = [Address::Tcp(Host::Any(0)), Address::UnixPath("x".into())];
    if let Some(taker) = takers.into_iter().find(|address| applies(canonical(key), address)) {
        set(&mut super::plain(taker), key, value).map_err(wrong)?;
    }
    Ok(Shared(text.to_owned()))
}

impl Shared {
    /// Sets it where it means something, unless `text`, the address as it was written, says the same option itself.
    pub fn apply(&self, spec: &mut SocketSpec, text: &str) {
        let (key, value) = halves(&self.0);
        let own = text.split(',').skip(1).any(|option| canonical(halves(option).0) == canonical(key));
        if !own && applies(canonical(key), &spec.address) {
            // `shared` has read it, and what a value means does not depend on the address.
            let taken = set(spec, key, value);
            debug_assert!(taken.is_ok(), "{taken:?}");
        }
    }
}

/// Reads the options of one address.
pub(super) fn read<'a>(spec: &mut SocketSpec, options: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = Vec::new();
    for option in options {
        let (key, value) = halves(option);
        if seen.contains(&canonical(key)) {
            return Err(format!("option {key} is given twice"));
        }
        seen.push(canonical(key));
        set(spec, key, value)?;
    }
    Ok(())
}

fn halves(option: &str) -> (&str, Option<&str>) {
    match option.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (option, None),
    }
}

/// The one name of an option that has two.
fn canonical(key: &str) -> &str {
    if key == "ipv6-only" { "v6only" } else { key }
}

fn set(spec: &mut SocketSpec, key: &str, value: Option<&str>) -> Result<(), String> {
    let written = key;
    let key = canonical(key);
    if !OPTIONS.contains(&key) {
        return Err(if key.is_empty() {
            "an option is missing after the comma".into()
        } else {
            format!("unknown option {key:?}, {}", suggest(key, &OPTIONS))
        });
    }
    if !applies(key, &spec.address) {
        return Err(format!("option {written} means nothing for {}", kind(&spec.address)));
    }
    let options = &mut spec.options;
    match key {
        "backlog" => spec.backlog = Some(count(key, needed(key, value)?)?),
        "reuseaddr" => spec.reuse_address = on_or_off(key, value)?,
        "nonblock" => spec.nonblocking = on_or_off(key, value)?,
        "v6only" => spec.v6_only = on_or_off(written, value)?,
        "defer-accept" => options.defer_accept = switch(key, value, Some(DEFER_ACCEPT), seconds)?,
        "nodelay" => options.no_delay = on_or_off(key, value)?,
        "keepalive" => {
            options.keep_alive = value != Some("off");
            options.keep_alive_idle = switch(key, value, None, seconds)?;
        }
        "fastopen" => options.fast_open = switch(key, value, Some(FAST_OPEN), count)?,
        "rcvbuf" => options.receive_buffer = Some(bytes(key, needed(key, value)?)?),
        "sndbuf" => options.send_buffer = Some(bytes(key, needed(key, value)?)?),
        "bind-to-device" => {
            let name = needed(key, value)?;
            let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
            if name.len() > DEVICE_NAME_MAX || !name.bytes().all(plain) {
                return Err(format!("{name:?} is not the name of an interface"));
            }
            options.device = Some(name.to_owned());
        }
        "freebind" => options.free_bind = on_or_off(key, value)?,
        "transparent" => options.transparent = on_or_off(key, value)?,
        "mode" => {
            let digits = needed(key, value)?;
            let octal = digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            let mode = u32::from_str_radix(digits, 8).ok().filter(|&mode| octal && mode <= 0o777);
            spec.mode = Some(mode.ok_or("mode is an octal number up to 0777")?);
        }
        "user" => spec.user = Some(needed(key, value)?.to_owned()),
        "group" => spec.group = Some(needed(key, value)?.to_owned()),
        _ => {
            let name = needed(key, value)?;
            let printable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b':';
            if name.len() > FD_NAME_MAX || !name.bytes().all(printable) {
                return Err(format!("name is printable ASCII without a colon, up to {FD_NAME_MAX} bytes"));
            }
            spec.name = Some(name.to_owned());
        }
    }
    Ok(())
}

fn applies(key: &str, address: &Address) -> bool {
    let internet = matches!(address, Address::Tcp(_) | Address::Udp(_));
    // What an inherited socket is shows when it is taken over.
    let inherited = matches!(address, Address::Inherited(_));
    match key {
        "backlog" => !matches!(address, Address::Udp(_) | Address::Inherited(_)),
        "reuseaddr" | "bind-to-device" | "freebind" | "transparent" => internet,
        "v6only" => match address {
            Address::Tcp(host) | Address::Udp(host) => {
                !matches!(host, Host::Ip(SocketAddr::V4(_)) | Host::Name(_, _, Family::V4))
            }
            Address::UnixPath(_) | Address::UnixAbstract(_) | Address::Inherited(_) => false,
        },
        "defer-accept" | "nodelay" | "keepalive" | "fastopen" => {
            inherited || matches!(address, Address::Tcp(_))
        }
        "rcvbuf" | "sndbuf" => inherited || internet,
        "mode" | "user" | "group" => matches!(address, Address::UnixPath(_)),
        _ => true,
    }
}

fn kind(address: &Address) -> &'static str {
    match address {
        Address::Tcp(Host::Ip(SocketAddr::V4(_)) | Host::Name(_, _, Family::V4)) => "an IPv4 address",
        Address::Tcp(_) => "a TCP address",
        Address::Udp(Host::Ip(SocketAddr::V4(_)) | Host::Name(_, _, Family::V4)) => "an IPv4 UDP address",
        Address::Udp(_) => "a UDP address",
        Address::UnixPath(_) => "a Unix path",
        Address::UnixAbstract(_) => "an abstract name",
        Address::Inherited(_) => "an inherited socket",
    }
}

fn needed<'a>(key: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| format!("option {key} needs a value, as in {key}=..."))
}

fn on_or_off(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(value) => Err(format!("{key} is on or off, not {value:?}")),
    }
}

/// `usual` for on, nothing for off, or a value of its own.
fn switch(
    key: &str,
    value: Option<&str>,
    usual: Option<u32>,
    read: impl Fn(&str, &str) -> Result<u32, String>,
) -> Result<Option<u32>, String> {
    match value {
        None | Some("on") => Ok(usual),
        Some("off") => Ok(None),
        Some(value) => read(key, value).map(Some),
    }
}

fn count(key: &str, value: &str) -> Result<u32, String> {
    in_range(parse_digits(value)).ok_or_else(|| format!("{key} is a number from 1 to {}", i32::MAX))
}

/// A duration in whole seconds, at least one: the kernel knows no shorter ones here.
fn seconds(key: &str, value: &str) -> Result<u32, String> {
    let time = duration::parse(value).map_err(|error| error.message)?;
    let whole = u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0);
    // The kernel keeps it in 16 bits.
    in_range(whole)
        .filter(|&whole| whole <= 32_767)
        .ok_or_else(|| format!("{key} takes whole seconds, from 1 to 32767"))
}

/// A number of bytes, also in units of 1024 (`64k`) or of 1024 of those (`1m`).
fn bytes(key: &str, value: &str) -> Result<u32, String> {
    let (digits, unit) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (&value[..value.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&value[..value.len() - 1], 1 << 20),
        _ => (value, 1),
    };
    in_range(parse_digits(digits).and_then(|number| number.checked_mul(unit)))
        .ok_or_else(|| format!("{key} is a number of bytes, as in {key}=64k"))
}

/// What setsockopt(2) takes: an int, and none of ours may be zero.
fn in_range(number: Option<u32>) -> Option<u32> {
    number.filter(|&number| number > 0 && i32::try_from(number).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::plan::SocketOptions;

    #[test]
    fn options_of_the_socket_itself_are_read() {
        let all = "80,defer-accept=3s,nodelay,keepalive=1m,fastopen=16,rcvbuf=64k,sndbuf=1m,bind-to-device=lo,\
                   freebind,transparent";
        assert_eq!(
            parse(all).unwrap().options,
            SocketOptions {
                defer_accept: Some(3),
                no_delay: true,
                receive_buffer: Some(65_536),
                send_buffer: Some(1 << 20),
                keep_alive: true,
                keep_alive_idle: Some(60),
                device: Some("lo".into()),
                free_bind: true,
                fast_open: Some(16),
                transparent: true,
            }
        );
        let short = parse("80,defer-accept,keepalive,fastopen").unwrap().options;
        assert_eq!((short.defer_accept, short.fast_open), (Some(DEFER_ACCEPT), Some(FAST_OPEN)));
        assert_eq!((short.keep_alive, short.keep_alive_idle), (true, None));
        let off = "80,defer-accept=off,nodelay=off,keepalive=off,fastopen=off,freebind=off,transparent=off";
        assert_eq!(parse(off).unwrap().options, SocketOptions::default());
    }

    #[test]
    fn an_option_with_two_names_is_one() {
        assert!(parse(":80,ipv6-only").unwrap().v6_only);
        let twice = parse(":80,v6only,ipv6-only").unwrap_err().message;
        assert!(twice.contains("ipv6-only is given twice"), "{twice}");
    }

    #[test]
    fn what_means_nothing_or_cannot_be_is_refused() {
        for (text, part) in [
            ("udp://80,nodelay", "nodelay means nothing for an IPv4 UDP address"),
            ("unix:/a,rcvbuf=64k", "rcvbuf means nothing for a Unix path"),
            ("fd://3,freebind", "freebind means nothing for an inherited socket"),
            ("80,defer-accept=500ms", "whole seconds"),
            ("80,defer-accept=0", "whole seconds"),
            ("80,keepalive=10h", "from 1 to 32767"),
            ("80,keepalive=soon", "'soon' is not a duration"),
            ("80,rcvbuf=k", "as in rcvbuf=64k"),
            ("80,rcvbuf=4096m", "as in rcvbuf=64k"),
            ("80,sndbuf=", "sndbuf needs a value"),
            ("80,fastopen=0", "fastopen is a number from 1"),
            ("80,bind-to-device=an-interface-name", "is not the name of an interface"),
            ("80,bind-to-device=a/b", "is not the name of an interface"),
            ("80,freebind=1", "freebind is on or off"),
        ] {
            let error = parse(text).expect_err(text).message;
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_shared_option_is_for_those_it_means_something_for() {
        let apply = |option: &str, text: &str| {
            let mut spec = parse(text).unwrap();
            shared(option).unwrap().apply(&mut spec, text);
            spec
        };
        assert!(apply("nodelay", "80").options.no_delay);
        assert!(!apply("nodelay", "80,nodelay=off").options.no_delay);
        assert_eq!(apply("nodelay", "unix:/a"), parse("unix:/a").unwrap());
        assert_eq!(apply("mode=0660", "unix:/a").mode, Some(0o660));
        assert!(apply("ipv6-only", ":80").v6_only);
        assert!(!apply("ipv6-only", ":80,v6only=off").v6_only);
        for (option, part) in [
            ("nodelya", "did you mean nodelay"),
            ("name=x", "no two sockets"),
            ("mode=9", "octal"),
            ("rcvbuf", "needs a value"),
            ("", "missing"),
        ] {
            let error = shared(option).unwrap_err().message;
            assert!(
                error.starts_with(&format!("bad option {option:?}: ")) && error.contains(part),
                "{error}"
            );
        }
    }
}
