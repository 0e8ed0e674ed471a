//! Looking at a worker from outside: how a probe is written, and where it goes. Pure.
//!
//! ```text
//! tcp:ADDR                 a connection to ADDR is accepted: PORT (of 127.0.0.1), IP:PORT, [IPv6]:PORT, localhost:PORT
//! unix:PATH  unix:@NAME    the same of a Unix socket
//! http://ADDR/PATH         GET /PATH there is answered with 2xx; the port is 80 if there is none
//! http://unix:PATH:/PATH   the same at a Unix socket
//! exec:COMMAND             this command exits with 0
//! ```
//!
//! The words of `placeholder` stand for what they do in a worker's arguments. Names of hosts are not looked up: nothing in
//! the manager waits for an answer of DNS, and a worker is on this machine.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::addr;
use crate::error::{Error, Result};
use crate::placeholder::{self, Values};
use crate::plan::{Address, Family, Hook, Host};
use crate::values;

/// What is tried to see whether a worker is well. In its texts the words of `placeholder` are still to be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Probe {
    /// Somebody can be reached.
    Contact(Contact),
    /// This command exits with 0.
    Exec(Hook),
}

/// A connection that is accepted, and perhaps a request that is answered with 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// The address.
    pub at: String,
    /// The request; without one the connection will do.
    pub request: Option<Request>,
}

/// A request of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The header `Host`.
    pub host: String,
    /// What is asked for.
    pub path: String,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP.
    Internet(SocketAddr),
    /// A Unix socket at a path.
    Path(PathBuf),
    /// One in Linux's abstract namespace, without the leading NUL.
    Abstract(Vec<u8>),
}

/// How a probe begins.
pub const KINDS: [&str; 4] = ["tcp:", "unix:", "http://", "exec:"];

/// Whether this is meant to be a probe.
pub fn is_probe(text: &str) -> bool {
    KINDS.iter().any(|kind| text.starts_with(kind)) || ["http:", "https:"].iter().any(|k| text.starts_with(k))
}

/// Reads a probe.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn parse(text: &str) -> Result<Probe> {
    if let Some(at) = text.strip_prefix("tcp:") {
        let at = at.strip_prefix("//").unwrap_or(at);
        if at.starts_with("unix:") || at.starts_with('@') || at.contains("://") {
            return Err(Error::usage(format!("'{at}' is no TCP address")));
        }
        return connect(at);
    }
    if text.starts_with("unix:") {
        return connect(text);
    }
    if let Some(rest) = text.strip_prefix("http://") {
        return http(rest);
    }
    if let Some(line) = text.strip_prefix("exec:") {
        let argv = values::command(line).map_err(|error| error.within("exec"))?;
        return Ok(Probe::Exec(Hook { argv }));
    }
    if text.starts_with("https:") {
        return Err(Error::usage("a probe speaks plain HTTP, no TLS (exec: runs a program that does)"));
    }
    Err(Error::usage(format!("'{text}' is none of tcp:ADDR, unix:PATH, http://ADDR/PATH, exec:COMMAND")))
}

fn connect(at: &str) -> Result<Probe> {
    look_at(at)?;
    Ok(Probe::Contact(Contact { at: at.to_owned(), request: None }))
}

fn http(rest: &str) -> Result<Probe> {
    let (at, host, path) = match rest.strip_prefix("unix:") {
        Some(socket) => {
            let (socket, path) = match socket.rfind(":/") {
                Some(end) => (&socket[..end], &socket[end + 1..]),
                None => (socket, "/"),
            };
            (format!("unix:{socket}"), "localhost".to_owned(), path.to_owned())
        }
        None => {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            let port = authority.trim_start_matches(':');
            let only_port = !port.is_empty() && sample(port).bytes().all(|byte| byte.is_ascii_digit());
            let has_port =
                only_port || sample(authority).rsplit(']').next().is_some_and(|end| end.contains(':'));
            let at = if has_port || authority.is_empty() {
                authority.to_owned()
            } else {
                format!("{authority}:80")
            };
            let host = if only_port { format!("localhost:{port}") } else { authority.to_owned() };
            (at, host, path)
        }
    };
    look_at(&at)?;
    match path.bytes().find(|byte| !byte.is_ascii_graphic()) {
        Some(_) => {
            Err(Error::usage(format!("{path:?} cannot be asked for: write %20 for a space, and so on")))
        }
        None => Ok(Probe::Contact(Contact { at, request: Some(Request { host, path }) })),
    }
}

/// Whether somebody can be found there, as far as that can be told before the words are replaced.
fn look_at(at: &str) -> Result<()> {
    match place(&sample(at))? {
        Place::Internet(address) if address.port() == 0 && !at.contains('{') => {
            Err(Error::usage("nobody is at port 0"))
        }
        Place::Internet(_) | Place::Path(_) | Place::Abstract(_) => Ok(()),
    }
}

/// The text as it might be in some worker.
fn sample(text: &str) -> String {
    let values = Values { sockets: &[], slot: 0, index: 0, generation: 1 };
    filled(text, &values)
}

/// Where an address leads once its words are replaced.
///
/// # Errors
/// It leads nowhere that a probe can go.
pub fn place(at: &str) -> Result<Place> {
    if at.contains(',') {
        return Err(Error::usage(format!("'{at}': options mean nothing here")));
    }
    match addr::parse(at)?.address {
        Address::Tcp(Host::Ip(address)) => Ok(Place::Internet(address)),
        Address::Tcp(Host::Any(port)) => Ok(Place::Internet((Ipv4Addr::LOCALHOST, port).into())),
        Address::Tcp(Host::Name(name, port, family)) if name.eq_ignore_ascii_case("localhost") => {
            Ok(Place::Internet(match family {
                Family::Either | Family::V4 => (Ipv4Addr::LOCALHOST, port).into(),
                Family::V6 => (Ipv6Addr::LOCALHOST, port).into(),
            }))
        }
        Address::Tcp(Host::Name(name, ..)) => {
            let sentence = format!("'{name}' is a name: a probe goes to an IP address or to localhost");
            Err(Error::usage(sentence))
        }
        Address::UnixPath(path) => Ok(Place::Path(path)),
        Address::UnixAbstract(name) => Ok(Place::Abstract(name)),
        Address::Udp(_) | Address::Inherited(_) => {
            Err(Error::usage(format!("'{at}' takes no connections that a probe could make")))
        }
    }
}

impl Probe {
    /// Every text in which words may stand.
    pub fn texts(&self) -> impl Iterator<Item = &OsStr> {
        let (texts, argv): (Vec<&String>, &[OsString]) = match self {
            Probe::Contact(Contact { at, request: None }) => (vec![at], &[]),
            Probe::Contact(Contact { at, request: Some(Request { host: _, path }) }) => (vec![at, path], &[]),
            Probe::Exec(Hook { argv }) => (Vec::new(), argv),
        };
        texts.into_iter().map(OsStr::new).chain(argv.iter().map(OsString::as_os_str))
    }

    /// The command, if it is one.
    pub fn command(&self) -> Option<&Hook> {
        match self {
            Probe::Exec(hook) => Some(hook),
            Probe::Contact(_) => None,
        }
    }
}

impl Contact {
    /// The same, with the words of `placeholder` replaced.
    #[must_use]
    pub fn filled(&self, values: &Values<'_>) -> Contact {
        let text = |text: &String| filled(text, values);
        let request = |Request { host, path }: &Request| Request { host: text(host), path: text(path) };
        Contact { at: text(&self.at), request: self.request.as_ref().map(request) }
    }
}

impl Request {
    /// As it is sent: HTTP/1.0, after whose answer the connection is closed.
    pub fn bytes(&self) -> Vec<u8> {
        let Request { host, path } = self;
        format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: remuda\r\nConnection: close\r\n\r\n")
            .into_bytes()
    }
}

/// What the beginning of an answer says: nothing yet, that all is well, or a reason why not. `more` if more may come.
pub fn verdict(answer: &[u8], more: bool) -> Option<Result<(), String>> {
    let Some(end) = answer.iter().position(|&byte| byte == b'\n') else {
        return match (more, answer.is_empty()) {
            (true, _) => None,
            (false, true) => Some(Err("closed without an answer".to_owned())),
            (false, false) => Some(Err("an answer that is no HTTP".to_owned())),
        };
    };
    let line = String::from_utf8_lossy(&answer[..end]);
    let mut words = line.split_ascii_whitespace();
    let version = words.next().filter(|version| version.starts_with("HTTP/1."));
    let code = words
        .next()
        .filter(|code| code.len() == 3)
        .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|code| code.parse::<u16>().ok());
    Some(match version.and(code) {
        Some(200..=299) => Ok(()),
        Some(code) => Err(format!("answered {code}")),
        None => Err("an answer that is no HTTP".to_owned()),
    })
}

fn filled(text: &str, values: &Values<'_>) -> String {
    String::from_utf8_lossy(&placeholder::fill(text.as_bytes(), values)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(at: &str) -> Probe {
        Probe::Contact(Contact { at: at.to_owned(), request: None })
    }

    fn http(at: &str, host: &str, path: &str) -> Probe {
        let request = Some(Request { host: host.to_owned(), path: path.to_owned() });
        Probe::Contact(Contact { at: at.to_owned(), request })
    }

    #[test]
    fn each_spelling_means_one_probe() {
        let argv = ["pg_isready", "-h", "/run/db {slot}"].map(OsString::from).into();
        for (text, probe) in [
            ("tcp:8080", connect("8080")),
            ("tcp::8080", connect(":8080")),
            ("tcp:127.0.0.1:8080", connect("127.0.0.1:8080")),
            ("tcp://[::1]:8080", connect("[::1]:8080")),
            ("tcp:localhost:8{slot}", connect("localhost:8{slot}")),
            ("tcp:{port:web}", connect("{port:web}")),
            ("unix:/run/app-{slot}.sock", connect("unix:/run/app-{slot}.sock")),
            ("unix:@app", connect("unix:@app")),
            ("http://127.0.0.1:8080/health", http("127.0.0.1:8080", "127.0.0.1:8080", "/health")),
            ("http://localhost/", http("localhost:80", "localhost", "/")),
            ("http://[::1]", http("[::1]:80", "[::1]", "/")),
            ("http://8080/health?full=1", http("8080", "localhost:8080", "/health?full=1")),
            ("http://:8080/health", http(":8080", "localhost:8080", "/health")),
            ("http://:{port:web}?a", http(":{port:web}", "localhost:{port:web}", "/?a")),
            ("http://unix:/run/app.sock:/health", http("unix:/run/app.sock", "localhost", "/health")),
            ("http://unix:/run/app.sock", http("unix:/run/app.sock", "localhost", "/")),
            ("exec:pg_isready -h '/run/db {slot}'", Probe::Exec(Hook { argv })),
        ] {
            assert!(is_probe(text), "{text}");
            assert_eq!(parse(text).unwrap(), probe, "{text}");
        }
        assert!(!["none", "timer", "timer:2s", "manual", "web"].into_iter().any(is_probe));
    }

    #[test]
    fn what_leads_nowhere_is_refused_with_the_reason() {
        for (text, why) in [
            ("tcp:", "the address is missing"),
            ("tcp:0", "nobody is at port 0"),
            ("tcp:99999", "port \"99999\" is not a number"),
            ("tcp:/run/app.sock", "a path is written unix:"),
            ("tcp:unix:/run/app.sock", "is no TCP address"),
            ("tcp:udp://53", "is no TCP address"),
            ("tcp:example.com:80", "'example.com' is a name: a probe goes to an IP address or to localhost"),
            ("tcp:8080,nodelay", "options mean nothing here"),
            ("unix:", "the path is missing"),
            ("http:8080", "'http:8080' is none of tcp:ADDR"),
            ("http:///health", "the address is missing"),
            ("http://8080/a b", "write %20 for a space"),
            ("http://8080/a\r\nX: y", "cannot be asked for"),
            ("http://user@localhost/", "not a host name"),
            ("https://localhost/", "a probe speaks plain HTTP, no TLS"),
            ("exec:", "no program is named"),
            ("exec:sh -c 'x", "exec: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(why), "{text}: {}", error.message);
        }
    }

    #[test]
    fn words_are_replaced_and_lead_to_a_place() {
        let values = Values { sockets: &[], slot: 4, index: 5, generation: 6 };
        let Probe::Contact(contact) = parse("http://localhost:808{slot}/{index}/{generation}").unwrap()
        else {
            panic!("no contact");
        };
        let contact = contact.filled(&values);
        let request = Request { host: "localhost:8084".into(), path: "/5/6".into() };
        assert_eq!(contact, Contact { at: "localhost:8084".into(), request: Some(request.clone()) });
        assert!(request.bytes().starts_with(b"GET /5/6 HTTP/1.0\r\nHost: localhost:8084\r\n"));
        for (at, wanted) in [
            (":80", Place::Internet("127.0.0.1:80".parse().unwrap())),
            ("localhost:80", Place::Internet("127.0.0.1:80".parse().unwrap())),
            ("unix:/run/a", Place::Path("/run/a".into())),
            ("unix:@a", Place::Abstract(b"a".to_vec())),
        ] {
            assert_eq!(place(at).unwrap(), wanted);
        }
    }

    #[test]
    fn an_answer_is_judged_by_its_first_line() {
        let failed = |why: &str| Some(Err(why.to_owned()));
        for (answer, more, verdict_) in [
            ("", true, None),
            ("HTTP/1.1 20", true, None),
            ("HTTP/1.1 200 OK\r\nX", true, Some(Ok(()))),
            ("HTTP/1.0 204\r\n", true, Some(Ok(()))),
            ("HTTP/1.1 299 \n", false, Some(Ok(()))),
            ("HTTP/1.1 503 Service Unavailable\r\n", true, failed("answered 503")),
            ("HTTP/1.1 301 Moved\r\n", true, failed("answered 301")),
            ("", false, failed("closed without an answer")),
            ("HTTP/1.1 200", false, failed("an answer that is no HTTP")),
            ("HTTP/1.1 2000 OK\r\n", true, failed("an answer that is no HTTP")),
            ("HTTP/1.1 +20 OK\r\n", true, failed("an answer that is no HTTP")),
            ("HTTP/2 200\r\n", true, failed("an answer that is no HTTP")),
            ("220 mail ready\r\n", true, failed("an answer that is no HTTP")),
            ("\r\n", true, failed("an answer that is no HTTP")),
        ] {
            assert_eq!(verdict(answer.as_bytes(), more), verdict_, "{answer:?}");
        }
    }
}
