//! Words in arguments and variables that stand for what differs from socket to socket and from worker to worker. Pure.
//!
//! ```text
//! {fd:NAME}     the descriptor of a socket      {slot}        the place of the worker, from 0
//! {port:NAME}   the port it is bound to         {index}       the smallest number no other living worker has
//! {{slot}       the word itself: {slot}         {generation}  the generation of the worker, from 1
//! ```
//!
//! NAME is the name of a socket (`name=`), or its position, from 0. Only these very words mean anything: every other brace
//! is one, so that `{"a": 1}`, `${HOME}` and `{{.Name}}` arrive as they were written.

use std::borrow::Cow;
use std::ffi::OsString;

use crate::env::{FIRST_DESCRIPTOR, HandedSocket};
use crate::plan::{Address, Launch, Policy, SocketSpec};
use crate::probe::Probe;

/// What the words stand for in one worker.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The sockets, in the order of their descriptors.
    pub sockets: &'a [HandedSocket],
    /// `{slot}`
    pub slot: u32,
    /// `{index}`
    pub index: u32,
    /// `{generation}`
    pub generation: u32,
}

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    Descriptor(&'a str),
    Port(&'a str),
    Slot,
    Index,
    Generation,
}

/// What stands at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// As it is.
    Plain(&'a [u8]),
    Word(Word<'a>),
}

/// `text` with every word replaced by what it stands for.
pub fn fill<'a>(text: &'a [u8], values: &Values<'_>) -> Cow<'a, [u8]> {
    if !text.contains(&b'{') {
        return Cow::Borrowed(text);
    }
    let mut filled = Vec::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => filled.extend_from_slice(plain),
            Piece::Word(word) => filled.extend_from_slice(values.of(word).as_bytes()),
        }
    }
    Cow::Owned(filled)
}

/// Looks whether every socket that the arguments and variables of a program ask for, and the probes of its workers, is
/// there; a sentence for each that is not.
pub fn check(launch: &Launch, policy: &Policy, sockets: &[SocketSpec]) -> Vec<String> {
    if !launch.placeholders {
        return Vec::new();
    }
    let texts = launch.args.iter().chain(launch.env.set.iter().map(|(_, value)| value));
    let texts = texts.map(OsString::as_os_str).chain(policy.probes().flat_map(Probe::texts));
    let mut complaints = Vec::new();
    for piece in texts.flat_map(|text| pieces(text.as_encoded_bytes())) {
        let (word, name) = match piece {
            Piece::Word(Word::Descriptor(name)) => ("fd", name),
            Piece::Word(Word::Port(name)) => ("port", name),
            Piece::Word(Word::Slot | Word::Index | Word::Generation) | Piece::Plain(_) => continue,
        };
        let found = position(name, sockets, |socket| socket.name.as_deref()).and_then(|at| sockets.get(at));
        let why = match found.map(|socket| &socket.address) {
            None => "no socket has this name, nor is it a position, from 0",
            Some(Address::UnixPath(_) | Address::UnixAbstract(_)) if word == "port" => {
                "that socket has no port"
            }
            Some(_) => continue,
        };
        let sentence = format!("{{{word}:{name}}}: {why}");
        if !complaints.contains(&sentence) {
            complaints.push(sentence);
        }
    }
    complaints
}

impl Values<'_> {
    /// What a word stands for. `check` has seen that there is a socket; a port that an inherited one turns out not to have
    /// is 0.
    fn of(&self, word: Word<'_>) -> String {
        let at = |name: &str| position(name, self.sockets, |socket| socket.name.as_deref());
        match word {
            Word::Descriptor(name) => at(name).map_or(0, |at| FIRST_DESCRIPTOR + at).to_string(),
            Word::Port(name) => {
                let socket = at(name).and_then(|at| self.sockets.get(at));
                let port = socket.and_then(|socket| socket.address.rsplit(':').next()?.parse::<u16>().ok());
                port.unwrap_or(0).to_string()
            }
            Word::Slot => self.slot.to_string(),
            Word::Index => self.index.to_string(),
            Word::Generation => self.generation.to_string(),
        }
    }
}

/// Where the socket called `name` stands: its name goes before its position.
fn position<T>(name: &str, sockets: &[T], named: impl Fn(&T) -> Option<&str>) -> Option<usize> {
    let by_name = sockets.iter().position(|socket| named(socket) == Some(name));
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    by_name.or_else(|| if digits { name.parse().ok().filter(|&at| at < sockets.len()) } else { None })
}

fn pieces(text: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, length) = first(rest);
        rest = &rest[length..];
        Some(piece)
    })
}

/// The first piece, and how much of the text it takes.
fn first(text: &[u8]) -> (Piece<'_>, usize) {
    // `{{slot}` is `{slot}`: the second brace and what follows, without a look at it.
    if let Some((_, length)) = text.strip_prefix(b"{").and_then(word) {
        return (Piece::Plain(&text[1..=length]), length + 1);
    }
    if let Some((word, length)) = word(text) {
        return (Piece::Word(word), length);
    }
    let plain = 1 + text[1..].iter().position(|&byte| byte == b'{').unwrap_or(text.len() - 1);
    (Piece::Plain(&text[..plain]), plain)
}

/// The word that a text begins with, and its length.
fn word(text: &[u8]) -> Option<(Word<'_>, usize)> {
    let end = text.iter().position(|&byte| byte == b'}')?;
    let inner = std::str::from_utf8(text.strip_prefix(b"{")?.get(..end - 1)?).ok()?;
    let word = match inner.split_once(':') {
        None if inner == "slot" => Word::Slot,
        None if inner == "index" => Word::Index,
        None if inner == "generation" => Word::Generation,
        Some(("fd", name)) if !name.is_empty() => Word::Descriptor(name),
        Some(("port", name)) if !name.is_empty() => Word::Port(name),
        _ => return None,
    };
    Some((word, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SocketFamily;

    fn sockets() -> Vec<HandedSocket> {
        let socket = |name: Option<&str>, address: &str| HandedSocket {
            name: name.map(str::to_owned),
            family: SocketFamily::Inet,
            address: address.to_owned(),
        };
        vec![socket(Some("web"), "127.0.0.1:8080"), socket(None, "*:53"), socket(Some("0"), "unix:/run/x")]
    }

    fn filled(text: &str) -> String {
        let values = Values { sockets: &sockets(), slot: 4, index: 5, generation: 6 };
        String::from_utf8(fill(text.as_bytes(), &values).into_owned()).unwrap()
    }

    #[test]
    fn words_stand_for_what_a_worker_has() {
        for (text, result) in [
            ("fd://{fd:web}", "fd://3"),
            ("{fd:1}:{port:1}", "4:53"),
            ("{port:web}", "8080"),
            // A name goes before a position.
            ("{fd:0}", "5"),
            ("/tmp/{slot}-{index}-{generation}.log", "/tmp/4-5-6.log"),
            ("{slot}{slot}", "44"),
            ("{{slot}", "{slot}"),
            ("{{fd:web}}", "{fd:web}}"),
            ("{{{slot}", "{{slot}"),
        ] {
            assert_eq!(filled(text), result, "{text}");
        }
    }

    #[test]
    fn what_is_no_word_arrives_as_it_was_written() {
        for text in [
            "",
            "fd://3",
            "NGINX=3;",
            "{",
            "{}",
            "{{",
            "}{",
            "{ slot}",
            "{Slot}",
            "{slots}",
            "{fd}",
            "{fd:}",
            "{\"slot\": 1}",
            "{{.Name}}",
            "${HOME}",
            "{slot",
            "{é}",
        ] {
            assert_eq!(filled(text), text);
        }
        let broken = [b'{', 0xff, b'}'];
        let values = Values { sockets: &[], slot: 0, index: 0, generation: 1 };
        assert_eq!(fill(&broken, &values).as_ref(), broken);
    }

    #[test]
    fn a_socket_that_is_not_there_is_told_before_anything_starts() {
        let sockets: Vec<SocketSpec> =
            ["80,name=web", "unix:/x"].iter().map(|text| crate::addr::parse(text).unwrap()).collect();
        let mut launch = Launch::new("x".into());
        launch.args = ["{fd:web}", "{port:1}", "{fd:2}", "{{fd:9}"].map(Into::into).into();
        launch.env.set = vec![("A".into(), "{fd:2} {port:wbe}".into())];
        let mut policy =
            Policy { ready_probe: crate::probe::parse("tcp:{port:0}").ok(), ..Policy::default() };
        let told = check(&launch, &policy, &sockets);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("{port:1}: that socket has no port"), "{told:?}");
        assert!(told[1].starts_with("{fd:2}: no socket"), "{told:?}");
        assert!(told[2].starts_with("{port:wbe}: "), "{told:?}");
        policy.ready_probe = crate::probe::parse("http://localhost:{port:api}/").ok();
        assert_eq!(check(&launch, &policy, &sockets).len(), 4);
        launch.placeholders = false;
        assert_eq!(check(&launch, &policy, &sockets), Vec::<String>::new());
    }
}
