//! What stands in a message of a worker, `sd_notify(3)`. Lines of `NAME=VALUE`; what is not known is passed over.

use std::time::Duration;

use crate::duration;
use crate::supervisor::event::Word;
use crate::supervisor::note::errno_text;

/// Longest text for status, in characters.
const STATUS_MAX: usize = 200;

/// A message, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Notification {
    /// `READY=1`
    pub(super) ready: bool,
    /// Everything for the machine, in the order of the message.
    pub(super) words: Vec<Word>,
    /// `FDSTORE=1`: what came along is to be kept.
    pub(super) store: Option<Storing>,
    /// `FDSTOREREMOVE=1`: what has this name is not to be kept any more.
    pub(super) remove: Option<String>,
    /// `MAINPID=`
    pub(super) main_pid: Option<i32>,
}

/// How a descriptor is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storing {
    /// `FDNAME=`, or what stands for none.
    pub(super) name: String,
    /// Not `FDPOLL=0`: it is to go when its other end hangs up.
    pub(super) watched: bool,
}

/// The name of what was given to keep without one, `sd_listen_fds(3)`.
const NAMELESS: &str = "stored";

/// Longest name, in bytes: FDNAME_MAX of systemd.
const NAME_MAX: usize = 255;

/// Reads a message.
pub(super) fn read(text: &[u8]) -> Notification {
    let mut found = Notification::default();
    let mut status = None;
    let mut otherwise = None;
    let (mut store, mut remove, mut watched) = (false, false, true);
    let mut descriptor_name = None;
    for line in text.split(|&byte| byte == b'\n') {
        let Some(at) = line.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (&line[..at], String::from_utf8_lossy(&line[at + 1..]));
        let number = || value.parse::<u64>().ok();
        match (name, &*value) {
            (b"READY", "1") => found.ready = true,
            (b"STATUS", text) => status = Some(shown(text)),
            (b"RELOADING", "1") => otherwise = Some("reloading".to_owned()),
            (b"STOPPING", "1") => {
                otherwise = Some("stopping".to_owned());
                found.words.push(Word::Stopping);
            }
            (b"ERRNO", _) => {
                let errno = value.parse().ok().filter(|errno| (1..4096).contains(errno));
                otherwise = errno.map(errno_text).or(otherwise);
            }
            (b"WATCHDOG", "1") => found.words.push(Word::Alive),
            (b"WATCHDOG", "trigger") => found.words.push(Word::Trigger),
            (b"WATCHDOG_USEC", _) => {
                found.words.extend(number().filter(|&usec| usec > 0).map(micros).map(Word::AliveEvery));
            }
            (b"EXTEND_TIMEOUT_USEC", _) => found.words.extend(number().map(micros).map(Word::Extend)),
            (b"FDSTORE", "1") => store = true,
            (b"FDSTOREREMOVE", "1") => remove = true,
            (b"FDPOLL", "0") => watched = false,
            (b"FDNAME", name) => descriptor_name = Some(name.to_owned()).filter(|name| is_name(name)),
            (b"MAINPID", _) => found.main_pid = value.parse().ok(),
            _ => {}
        }
    }
    found.remove = descriptor_name.clone().filter(|_| remove);
    let name = descriptor_name.unwrap_or_else(|| NAMELESS.to_owned());
    found.store = store.then_some(Storing { name, watched });
    found.words.extend(status.or(otherwise).map(Word::Status));
    found
}

/// Whether LISTEN_FDNAMES can have it, `sd_listen_fds(3)`.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits)
}

fn micros(usec: u64) -> Duration {
    // In whole milliseconds, and at least one, as the machine counts in them.
    Duration::from_millis(usec.div_ceil(1000).max(1)).min(duration::MAX)
}

/// One line without what would move a cursor.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(STATUS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_understood() {
        let ms = Duration::from_millis;
        for (text, words) in [
            ("STATUS=warm", vec![Word::Status("warm".into())]),
            ("STATUS=\u{1b}[31mred\r", vec![Word::Status("[31mred".into())]),
            ("RELOADING=1\nMONOTONIC_USEC=5", vec![Word::Status("reloading".into())]),
            ("STOPPING=1", vec![Word::Stopping, Word::Status("stopping".into())]),
            ("STOPPING=1\nSTATUS=bye", vec![Word::Stopping, Word::Status("bye".into())]),
            ("ERRNO=2", vec![Word::Status("no such file or directory".into())]),
            ("WATCHDOG=1", vec![Word::Alive]),
            ("WATCHDOG=trigger", vec![Word::Trigger]),
            ("WATCHDOG_USEC=1500000", vec![Word::AliveEvery(ms(1500))]),
            ("WATCHDOG_USEC=1", vec![Word::AliveEvery(ms(1))]),
            ("EXTEND_TIMEOUT_USEC=2000", vec![Word::Extend(ms(2))]),
            ("EXTEND_TIMEOUT_USEC=18446744073709551615", vec![Word::Extend(duration::MAX)]),
            ("WATCHDOG_USEC=18446744073709551616\nEXTEND_TIMEOUT_USEC=1e30\nWATCHDOG_USEC=-0.5", vec![]),
            ("WATCHDOG_USEC=0\nWATCHDOG_USEC=-1\nWATCHDOG_USEC=x", vec![]),
            ("X_OWN=1\nnonsense\n=\n\nERRNO=x\nERRNO=0", vec![]),
        ] {
            let told = Notification { words, ..Notification::default() };
            assert_eq!(read(text.as_bytes()), told, "{text:?}");
        }
    }

    #[test]
    fn ready_is_a_line_and_not_a_piece_of_one() {
        assert!(read(b"READY=1").ready && read(b"MAINPID=3\nREADY=1\nSTATUS=x").ready);
        for other in [&b""[..], b"READY=0", b"READY=10", b"XREADY=1", b"STATUS=READY=1"] {
            assert!(!read(other).ready);
        }
        assert_eq!(read(b"MAINPID=3\nREADY=1").main_pid, Some(3));
    }

    #[test]
    fn what_is_to_be_kept_has_a_name_that_can_be_told() {
        let storing = |text: &str| read(text.as_bytes()).store;
        let kept = |name: &str, watched| Some(Storing { name: name.to_owned(), watched });
        assert_eq!(storing("FDSTORE=1\nFDNAME=state"), kept("state", true));
        assert_eq!(storing("FDPOLL=0\nFDNAME=a b\nFDSTORE=1"), kept("a b", false));
        for name in ["", "a:b", "\u{e9}", "a\tb", &"x".repeat(256)] {
            assert_eq!(storing(&format!("FDSTORE=1\nFDNAME={name}")), kept("stored", true), "{name:?}");
        }
        assert_eq!((storing("FDNAME=x"), storing("FDSTORE=0")), (None, None));
        let removed = |text: &str| read(text.as_bytes()).remove;
        assert_eq!(removed("FDSTOREREMOVE=1\nFDNAME=state"), Some("state".to_owned()));
        // What is meant is to be said here.
        assert_eq!((removed("FDSTOREREMOVE=1"), removed("FDNAME=state")), (None, None));
    }

    #[test]
    fn garbage_is_nothing() {
        assert_eq!(read(&[0xff; 4096]), Notification::default());
        let long = [b"STATUS=".as_slice(), &[0xc3; 4000]].concat();
        assert!(matches!(&read(&long).words[..], [Word::Status(text)] if text.chars().count() == STATUS_MAX));
    }
}
