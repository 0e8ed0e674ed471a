//! What holds for any input: the body of the fuzz targets and of the test that replays their corpus (tests/fuzz.rs).

use std::ffi::{OsStr, OsString};

use remuda::config::{self, Manner, Source};
use remuda::plan::Dialect;
use remuda::supervisor::command::Reply;
use remuda::wire::einhorn::client;
use remuda::wire::{Codec, Decoded};
use remuda::words;

/// A groups file, in either manner: a plan, or faults that have a place in the text and stay on one line. What firestarter
/// passes over is all that may tell the manners apart.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let environment: [(OsString, OsString); 1] = [("RELEASE".into(), "/srv/current".into())];
    let read = |manner| {
        let source = Source { manner, ..Source::of("groups.toml".into()) };
        config::read(text, &source, &environment)
    };
    let lines = text.split('\n').count();
    let sound = |fault: &config::Fault| {
        assert!((1..=lines).contains(&fault.line) && fault.column >= 1, "{text:?}: {fault}");
        assert!(!fault.to_string().contains('\n'), "{text:?}: {fault}");
    };
    let (own, theirs) = (read(Manner::Remuda), read(Manner::Firestarter));
    for outcome in [&own, &theirs] {
        match outcome {
            Ok(reading) => {
                assert!(!reading.plan.groups.is_empty(), "{text:?}");
                reading.warnings.iter().for_each(sound);
            }
            Err(faults) => {
                assert!(!faults.is_empty(), "{text:?}");
                faults.iter().for_each(sound);
            }
        }
    }
    assert!(own.is_err() || theirs.is_ok(), "{text:?}: right here, and wrong in firestarter's manner");
}

/// A command line: words, or a fault at a boundary of characters; and words without anything special in them come back
/// as they went in when they are quoted.
pub(crate) fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let variable = |name: &str| name.starts_with('A').then_some(OsStr::new("a b"));
    if let Err(unsplit) = words::split(text, variable) {
        assert!(text.is_char_boundary(unsplit.at) && unsplit.at < text.len(), "{text:?}: {unsplit:?}");
    }
    if !text.contains(['\'', '\0']) {
        let line = format!("x '{text}'");
        assert_eq!(words::split(&line, variable), Ok(vec!["x".into(), text.into()]), "{line:?}");
    }
}

/// What comes on a connection where einhorn's protocol is spoken, and where our own is: every line is a request that can
/// be answered, or has its answer, or ends the connection; and einhornsh can read every answer of einhorn's.
pub(crate) fn einhorn(bytes: &[u8]) {
    let manner = Dialect::Einhorn(Box::default());
    for (mut codec, theirs) in [(Codec::new(&manner, 1, None), true), (Codec::native(), false)] {
        for line in bytes.split(|&byte| byte == b'\n').take_while(|line| line.len() <= 65_536) {
            let mut answer = Vec::new();
            match codec.decode(line) {
                Decoded::Request { request, .. } => {
                    codec.encode(request, &Reply::Done("done\n100%".into()), true, &mut answer);
                }
                Decoded::Reply(bytes) => answer = bytes,
                Decoded::Nothing => {}
            }
            assert_eq!(codec.pending(), 0, "{}", line.escape_ascii());
            let Some(text) = answer.strip_suffix(b"\n") else {
                assert!(answer.is_empty(), "{}: {}", line.escape_ascii(), answer.escape_ascii());
                continue;
            };
            for line in text.split(|&byte| byte == b'\n').filter(|_| theirs) {
                assert!(client::parse_reply(line).is_ok(), "{}", line.escape_ascii());
            }
        }
    }
}
