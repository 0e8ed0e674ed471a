//! socketmaster's command line, in the grammar of Go's `flag` package: from words to a plan. Pure.
//!
//! One worker behind one socket, ready after a time, replaced on HUP, never started again, its output in the log, with no
//! control socket. What the program under it can see is as it was there: its process group, its standard input, its place
//! for the socket, and its own name in full.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use super::{Outcome, Refusal, Stream};
use crate::addr::UNIX_NAME_MAX;
use crate::duration;
use crate::error::{Error, Result};
use crate::output::{Output, Target};
use crate::plan::{
    Address, Argv0, Dialect, ExitPolicy, Facility, Family, GroupSpec, Host, Launch, Level, LogFormat,
    LogSpec, LogTarget, ManagerPolicy, Meaning, OwnProcess, Plan, Policy, Readiness, Restart, Share,
    SocketOptions, SocketSpec, Stdin, UpgradeMode,
};
use crate::signame::Signal;
use crate::values;

/// The words that make a command line socketmaster's, whatever the program is called.
const OWN: [&str; 3] = ["listen", "command", "start"];

/// What `-h` prints, and what stands below each complaint. `-hup-signal` is ours and is not told here: this is what
/// socketmaster prints.
const USAGE: &str = "\
Usage of socketmaster:
  -command string
    \tProgram to start
  -listen string
    \tPort on which to bind (default \"tcp://:8080\")
  -start int
    \tHow long the new process takes to boot in millis (default 3000)
  -syslog
    \tLog to syslog
  -user string
    \trun the command as this user
";

/// What was said by flags.
#[derive(Debug, PartialEq)]
struct Flags {
    command: OsString,
    listen: String,
    start: i64,
    syslog: bool,
    user: String,
    hup: Signal,
}

/// Why a command line comes to nothing.
#[derive(Debug, PartialEq)]
enum Trouble {
    /// Help was asked for.
    Help,
    /// A sentence to stand above the usage.
    Wrong(String),
}

/// Whether a command line of remuda's own is meant for this door: it begins with an option, and among the words before
/// `--` is one that only socketmaster knows.
pub(super) fn claims(words: &[OsString]) -> bool {
    let own = |word: &OsString| {
        let word = word.as_bytes();
        let name = word.strip_prefix(b"--").or_else(|| word.strip_prefix(b"-"));
        let name = name.and_then(|name| name.split(|&byte| byte == b'=').next());
        name.is_some_and(|name| OWN.iter().any(|own| own.as_bytes() == name))
    };
    words.first().is_some_and(|first| first.as_bytes().starts_with(b"-"))
        && words.iter().take_while(|word| *word != "--").any(own)
}

/// Reads the words after the program's name.
///
/// # Errors
/// None: what is wrong is told in socketmaster's words.
pub(super) fn parse(words: Vec<OsString>) -> Result<Outcome> {
    let refusal = |page, status| Outcome::Refuse(Refusal { page, stream: Stream::Error, status });
    let (flags, args) = match read(words) {
        Ok(read) => read,
        Err(Trouble::Help) => return Ok(refusal(USAGE.to_owned(), 0)),
        Err(Trouble::Wrong(sentence)) => return Ok(refusal(format!("{sentence}\n{USAGE}"), 2)),
    };
    let address = address(&flags.listen);
    let mut plan = plan(flags, args);
    Ok(match address {
        Ok(address) => {
            plan.groups[0].sockets.push(socket(address));
            Outcome::Run(Box::new(plan))
        }
        // socketmaster looks at the program first, and so do we.
        Err(why) => Outcome::Decline(Box::new(plan), Error::failed(why)),
    })
}

/// Takes the flags off the words; what is left are the program's arguments.
fn read(words: Vec<OsString>) -> Result<(Flags, Vec<OsString>), Trouble> {
    let mut flags = Flags {
        command: OsString::new(),
        listen: "tcp://:8080".to_owned(),
        start: 3000,
        syslog: false,
        user: String::new(),
        hup: Signal::HUP,
    };
    let mut words = words.into_iter().peekable();
    let is_flag = |word: &OsString| word.as_bytes().len() >= 2 && word.as_bytes()[0] == b'-';
    while let Some(word) = words.next_if(is_flag) {
        let bytes = word.as_bytes();
        let dashes = 1 + usize::from(bytes[1] == b'-');
        if bytes.len() == dashes {
            break;
        }
        let named = &bytes[dashes..];
        if matches!(named[0], b'-' | b'=') {
            return Err(Trouble::Wrong(format!("bad flag syntax: {}", word.display())));
        }
        let (name, value) = match named.iter().position(|&byte| byte == b'=') {
            Some(at) => (&named[..at], Some(OsStr::from_bytes(&named[at + 1..]).to_owned())),
            None => (named, None),
        };
        let name = String::from_utf8_lossy(name);
        if name == "syslog" {
            flags.syslog = value.map_or(Ok(true), |value| boolean(&name, &value.to_string_lossy()))?;
            continue;
        }
        if !["command", "listen", "start", "user", "hup-signal"].contains(&&*name) {
            return Err(match &*name {
                "h" | "help" => Trouble::Help,
                _ => Trouble::Wrong(format!("flag provided but not defined: -{name}")),
            });
        }
        let needed = || Trouble::Wrong(format!("flag needs an argument: -{name}"));
        let value = value.or_else(|| words.next()).ok_or_else(needed)?;
        flags.set(&name, value)?;
    }
    Ok((flags, words.collect()))
}

impl Flags {
    fn set(&mut self, name: &str, value: OsString) -> Result<(), Trouble> {
        let text = value.to_string_lossy().into_owned();
        let invalid = |why: &str| Trouble::Wrong(format!("invalid value {text:?} for flag -{name}: {why}"));
        match name {
            "command" => self.command = value,
            "listen" => self.listen = text,
            "user" => self.user = text,
            "hup-signal" => self.hup = text.parse().map_err(|error: Error| invalid(&error.message))?,
            _ => {
                let millis = integer(&text).map_err(invalid)?;
                let fits = |millis: u64| Duration::from_millis(millis) <= duration::MAX;
                self.start = Some(millis)
                    .filter(|&millis| u64::try_from(millis).map_or(true, fits))
                    .ok_or_else(|| invalid("value out of range"))?;
            }
        }
        Ok(())
    }
}

/// `strconv.ParseBool`.
fn boolean(name: &str, text: &str) -> Result<bool, Trouble> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Trouble::Wrong(format!("invalid boolean value {text:?} for -{name}: parse error"))),
    }
}

/// `strconv.ParseInt` with base 0: decimal, or what a prefix says; underscores between digits.
fn integer(text: &str) -> Result<i64, &'static str> {
    const SYNTAX: &str = "parse error";
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(sign @ (b'+' | b'-')) => (*sign == b'-', &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    // One between a prefix and the digits is fine.
    let after_prefix = if radix == 10 { digits } else { digits.strip_prefix('_').unwrap_or(digits) };
    let plain = |part: &str| !part.is_empty() && part.chars().all(|digit| digit.is_digit(radix));
    if !after_prefix.split('_').all(plain) {
        return Err(SYNTAX);
    }
    let sign = if negative { "-" } else { "" };
    let number = i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix);
    number.map_err(|_| "value out of range")
}

fn plan(flags: Flags, args: Vec<OsString>) -> Plan {
    let name = match flags.command.is_empty() {
        true => "socketmaster".to_owned(),
        false => values::name_of_program(&flags.command),
    };
    let launch = Launch {
        args,
        argv0: Argv0::Found,
        user: (!flags.user.is_empty()).then_some(flags.user),
        stdin: Stdin::Inherit,
        output: Output::both(Target::Log),
        own_process_group: false,
        own_session: false,
        kill_process_group: false,
        placeholders: false,
        ..Launch::new(flags.command)
    };
    let target = match flags.syslog {
        true => LogTarget::Syslog { tag: "socketmaster".to_owned(), facility: Facility::Kernel },
        false => LogTarget::Stderr,
    };
    Plan {
        activation: false,
        name: name.clone(),
        groups: vec![GroupSpec {
            name,
            launch,
            sockets: Vec::new(),
            policy: policy(flags.start, flags.hup),
            control: None,
        }],
        control: None,
        dialect: Dialect::Native,
        manager: ManagerPolicy {
            signals: meanings(),
            exit: ExitPolicy::Success,
            exit_when_empty: true,
            ..ManagerPolicy::default()
        },
        log: LogSpec {
            level: Level::Info,
            format: LogFormat::Socketmaster,
            target,
            opening: Some(format!("Listening on {}", flags.listen)),
        },
        pidfile: None,
        source: None,
        subreaper: false,
        own: OwnProcess::default(),
    }
}

fn policy(start: i64, hup: Signal) -> Policy {
    let ready = match u64::try_from(start) {
        Ok(0) | Err(_) => Readiness::Exec,
        Ok(millis) => Readiness::Timer(Duration::from_millis(millis)),
    };
    Policy {
        workers: 1,
        ready,
        ready_at_first: true,
        graceful_signal: hup,
        // Nobody is killed for being slow to go.
        stop_timeout: None,
        drain_timeout: None,
        upgrade: UpgradeMode::Rolling,
        surge: Share::Count(1),
        // However many old ones still finish their work.
        max_draining: Some(u32::MAX),
        upgrade_failures: 1,
        restart: Restart::Never,
        ..Policy::default()
    }
}

fn meanings() -> BTreeMap<Signal, Meaning> {
    BTreeMap::from([
        (Signal::HUP, Meaning::Upgrade),
        (Signal::INT, Meaning::Forward),
        (Signal::TERM, Meaning::Forward),
        (Signal::QUIT, Meaning::Forward),
        (Signal::USR1, Meaning::ReexecAndUpgrade),
        // As in a Go program, it does not end it.
        (Signal::USR2, Meaning::Nothing),
    ])
}

fn socket(address: Address) -> SocketSpec {
    SocketSpec {
        name: None,
        backlog: None,
        reuse_address: true,
        nonblocking: false,
        // A path that is there belongs to somebody.
        replace_stale: false,
        v6_only: matches!(&address, Address::Tcp(Host::Ip(SocketAddr::V6(_)) | Host::Name(_, _, Family::V6))),
        mode: None,
        user: None,
        group: None,
        options: SocketOptions::default(),
        address,
    }
}

/// The address that a `-listen` names, as `url.Parse` and Go's resolver understand it; what they do not, in their words.
fn address(uri: &str) -> Result<Address, String> {
    let (scheme, rest) = match uri.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), uri),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    match &*scheme {
        "tcp" => internet(host, Family::Either),
        "tcp4" => internet(host, Family::V4),
        "tcp6" => internet(host, Family::V6),
        "unix" => unix(path),
        "fd" => descriptor(host),
        _ => Err(format!("Unsupported scheme: {scheme}")),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// A descriptor is a `uint8` there.
fn descriptor(number: &str) -> Result<Address, String> {
    let failed = |why: &str| format!("strconv.ParseUint: parsing {number:?}: {why}");
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(failed("invalid syntax"));
    }
    let descriptor: u8 = number.parse().map_err(|_| failed("value out of range"))?;
    Ok(Address::Inherited(descriptor.into()))
}

fn unix(path: &str) -> Result<Address, String> {
    if !path.starts_with('/') {
        return Err(format!("listen unix {path}: the path is missing, as in unix:///run/web.sock"));
    }
    let path = unescaped(path).ok_or_else(|| format!("invalid URL escape in {path:?}"))?;
    if path.len() > UNIX_NAME_MAX {
        let path = String::from_utf8_lossy(&path);
        return Err(format!("listen unix {path}: bind: invalid argument (more than {UNIX_NAME_MAX} bytes)"));
    }
    Ok(Address::UnixPath(PathBuf::from(OsString::from_vec(path))))
}

/// The bytes that `%XX` stands for; nothing if they are none.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(bytes)
}

fn internet(address: &str, family: Family) -> Result<Address, String> {
    let failed = |why: &str| format!("address {address}: {why}");
    let (host, port) = address.rsplit_once(':').ok_or_else(|| failed("missing port in address"))?;
    let (host, bracketed) = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
        Some(Some(inner)) => (inner, true),
        Some(None) => return Err(failed("missing ']' in address")),
        None => (host, false),
    };
    if !bracketed && host.contains(':') {
        return Err(failed("too many colons in address"));
    }
    let port = match port {
        "" => 0,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| format!("address {digits}: invalid port"))?
        }
        name => return Err(format!("lookup tcp/{name}: unknown port")),
    };
    let any = match (host.parse::<IpAddr>(), family) {
        // Go listens for both families if it is asked for all addresses of either.
        (Ok(ip), Family::Either) if ip.is_unspecified() => true,
        _ => host.is_empty() && family == Family::Either,
    };
    let host = match (host.parse(), family) {
        _ if any => Host::Any(port),
        _ if host.is_empty() && family == Family::V4 => Host::Ip((Ipv4Addr::UNSPECIFIED, port).into()),
        _ if host.is_empty() => Host::Ip((Ipv6Addr::UNSPECIFIED, port).into()),
        (Ok(ip @ IpAddr::V4(_)), Family::Either | Family::V4)
        | (Ok(ip @ IpAddr::V6(_)), Family::Either | Family::V6) => Host::Ip((ip, port).into()),
        (Ok(_), _) => return Err(failed("no suitable address found")),
        (Err(_), _) => Host::Name(host.to_owned(), port, family),
    };
    Ok(Address::Tcp(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
    }

    fn flags(line: &str) -> (Flags, Vec<OsString>) {
        read(words(line)).unwrap_or_else(|trouble| panic!("{line}: {trouble:?}"))
    }

    fn wrong(line: &str) -> String {
        match read(words(line)) {
            Err(Trouble::Wrong(sentence)) => sentence,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let (plain, rest) = flags("");
        assert_eq!(
            (plain.listen.as_str(), plain.start, plain.syslog, plain.hup),
            ("tcp://:8080", 3000, false, Signal::HUP)
        );
        assert!(rest.is_empty() && plain.command.is_empty() && plain.user.is_empty());

        for line in [
            "-command x -start 5",
            "--command=x --start=5",
            "-command x -start=0x5",
            "-start +0b101 --command x",
        ] {
            let (flags, _) = flags(line);
            assert_eq!((flags.command.to_str(), flags.start), (Some("x"), 5), "{line}");
        }
        // A value may look like a flag, be empty, or hold more of the signs.
        assert_eq!(flags("-user -syslog").0.user, "-syslog");
        assert_eq!(flags("-user=").0.user, "");
        assert_eq!(flags("-user=a=b").0.user, "a=b");
        // The last one counts.
        assert_eq!(flags("-user a -user b").0.user, "b");
        assert_eq!(flags("-hup-signal=TERM").0.hup, Signal::TERM);
    }

    #[test]
    fn flags_end_at_a_free_word_a_dash_and_two_dashes() {
        for (line, rest) in [
            ("-command a b -start 1", "b -start 1"),
            ("-command a -- -n hi", "-n hi"),
            ("-command a - -start 1", "- -start 1"),
            ("-command a -- -- x", "-- x"),
            ("-syslog true -start 1", "true -start 1"),
        ] {
            assert_eq!(flags(line).1, words(rest), "{line}");
        }
    }

    #[test]
    fn booleans_are_those_of_go() {
        for yes in
            ["-syslog", "--syslog", "-syslog=1", "-syslog=t", "-syslog=T", "-syslog=TRUE", "-syslog=True"]
        {
            assert!(flags(yes).0.syslog, "{yes}");
        }
        for no in ["-syslog=0", "-syslog -syslog=f", "-syslog=FALSE", "-syslog=False", "-syslog=false"] {
            assert!(!flags(no).0.syslog, "{no}");
        }
        for bad in ["maybe", "yes", "", "tRUE"] {
            assert_eq!(
                wrong(&format!("-syslog={bad}")),
                format!("invalid boolean value {bad:?} for -syslog: parse error")
            );
        }
    }

    #[test]
    fn numbers_are_those_of_go() {
        for (text, number) in [
            ("0", 0),
            ("3000", 3000),
            ("-5", -5),
            ("+5", 5),
            ("0x1F", 31),
            ("0X1f", 31),
            ("017", 15),
            ("0o17", 15),
            ("0b11", 3),
            ("1_000", 1000),
            ("0x_1F", 31),
            ("0_17", 15),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        for text in ["abc", "", "-", "1__0", "_1", "1_", "08", "0x", "1.5", "1e3", " 1", "0x_", "é", "0é"] {
            assert_eq!(integer(text), Err("parse error"), "{text}");
        }
        assert_eq!(integer("9223372036854775808"), Err("value out of range"));
    }

    #[test]
    fn what_is_wrong_is_told_in_its_words() {
        for (line, sentence) in [
            ("-zzz", "flag provided but not defined: -zzz"),
            ("--zzz=1", "flag provided but not defined: -zzz"),
            ("-Command x", "flag provided but not defined: -Command"),
            ("-comm x", "flag provided but not defined: -comm"),
            ("-command", "flag needs an argument: -command"),
            ("-start=abc", r#"invalid value "abc" for flag -start: parse error"#),
            (
                "-start 99999999999999999999",
                r#"invalid value "99999999999999999999" for flag -start: value out of range"#,
            ),
            ("---command x", "bad flag syntax: ---command"),
            ("-=x", "bad flag syntax: -=x"),
        ] {
            assert_eq!(wrong(line), sentence, "{line}");
        }
        assert!(wrong("-hup-signal=NONE").starts_with(r#"invalid value "NONE" for flag -hup-signal: "#));
        for help in ["-h", "--h", "-help", "--help", "-help=x", "-command x -h"] {
            assert_eq!(read(words(help)), Err(Trouble::Help), "{help}");
        }
    }

    #[test]
    fn each_scheme_names_its_address() {
        let ip = |text: &str| Ok(Address::Tcp(Host::Ip(text.parse().unwrap())));
        let name = |host: &str, family| Ok(Address::Tcp(Host::Name(host.into(), 80, family)));
        for (uri, wanted) in [
            ("tcp://127.0.0.1:80", ip("127.0.0.1:80")),
            ("TCP://127.0.0.1:80/ignored?x#y", ip("127.0.0.1:80")),
            ("tcp://[::1]:80", ip("[::1]:80")),
            ("tcp4://127.0.0.1:80", ip("127.0.0.1:80")),
            ("tcp6://[::1]:80", ip("[::1]:80")),
            ("tcp://:80", Ok(Address::Tcp(Host::Any(80)))),
            ("tcp://0.0.0.0:80", Ok(Address::Tcp(Host::Any(80)))),
            ("tcp://[::]:80", Ok(Address::Tcp(Host::Any(80)))),
            ("tcp4://:80", ip("0.0.0.0:80")),
            ("tcp4://0.0.0.0:80", ip("0.0.0.0:80")),
            ("tcp6://:80", ip("[::]:80")),
            ("tcp6://[::]:80", ip("[::]:80")),
            ("tcp://localhost:80", name("localhost", Family::Either)),
            ("tcp4://localhost:80", name("localhost", Family::V4)),
            ("tcp6://localhost:80", name("localhost", Family::V6)),
            ("tcp://127.0.0.1:", ip("127.0.0.1:0")),
            ("unix:///run/a.sock", Ok(Address::UnixPath("/run/a.sock".into()))),
            ("unix:/run/a%20b", Ok(Address::UnixPath("/run/a b".into()))),
            ("fd://0", Ok(Address::Inherited(0))),
            ("fd://255", Ok(Address::Inherited(255))),
        ] {
            assert_eq!(address(uri), wanted, "{uri}");
        }
        for (uri, why) in [
            ("foo://x", "Unsupported scheme: foo"),
            ("nonsense", "Unsupported scheme: "),
            ("", "Unsupported scheme: "),
            ("udp://:80", "Unsupported scheme: udp"),
            ("fd://300", r#"strconv.ParseUint: parsing "300": value out of range"#),
            ("fd://x", r#"strconv.ParseUint: parsing "x": invalid syntax"#),
            ("fd://", r#"strconv.ParseUint: parsing "": invalid syntax"#),
            ("tcp://127.0.0.1:1:2", "address 127.0.0.1:1:2: too many colons in address"),
            ("tcp://127.0.0.1", "address 127.0.0.1: missing port in address"),
            ("tcp://[::1:80", "address [::1:80: missing ']' in address"),
            ("tcp://:70000", "address 70000: invalid port"),
            ("tcp://:www-x", "lookup tcp/www-x: unknown port"),
            ("tcp4://[::1]:80", "address [::1]:80: no suitable address found"),
        ] {
            assert_eq!(address(uri), Err(why.to_owned()), "{uri}");
        }
        assert!(
            address("unix://").is_err()
                && address("unix:///a%zz").is_err()
                && address("unix:///a%é").is_err()
        );
        assert!(address(&format!("unix:///{}", "p".repeat(107))).is_err());
    }

    #[test]
    fn lines_that_only_socketmaster_understands_are_its_own() {
        for line in
            ["-listen=x", "--listen x", "-n 4 -command=x", "-start", "--start=5 -- x", "-user x -command y"]
        {
            assert!(claims(&words(line)), "{line}");
        }
        for line in [
            "",
            "-n 4 -- prog -listen=x",
            "run -start 1",
            "-listening",
            "-b 80",
            "--starter",
            "-- -start",
            "echo -start",
        ] {
            assert!(!claims(&words(line)), "{line}");
        }
    }

    #[test]
    fn the_time_to_start_is_when_a_worker_is_ready() {
        assert_eq!(policy(0, Signal::HUP).ready, Readiness::Exec);
        assert_eq!(policy(-1, Signal::HUP).ready, Readiness::Exec);
        assert_eq!(policy(20, Signal::HUP).ready, Readiness::Timer(Duration::from_millis(20)));
    }
}
