//! The corpus of the fuzz targets (tests/fuzz), replayed on any toolchain: each file of it as it is, and with a piece left
//! out, cut off or replaced at many places.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "fuzz/properties.rs"]
mod properties;

/// The committed inputs of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn mangled(bytes: &[u8]) -> Vec<Vec<u8>> {
    const PIECES: [&[u8]; 14] = [
        b"",
        b"\"",
        b"'",
        b"[",
        b"]",
        b"=",
        b"\n",
        b"\\",
        b"$",
        b"{",
        "\u{e9}".as_bytes(),
        b"\0",
        b"\"\"\"",
        b"\xff",
    ];
    let mut found = vec![bytes.to_vec()];
    for at in (0..bytes.len()).step_by(1 + bytes.len() / 60) {
        found.push(bytes[..at].to_vec());
        for piece in PIECES {
            found.push([&bytes[..at], piece, &bytes[at + 1..]].concat());
        }
    }
    found
}

fn replay(target: &str, property: fn(&[u8])) {
    corpus(target).iter().flat_map(|bytes| mangled(bytes)).for_each(|bytes| property(&bytes));
}

#[test]
fn no_file_makes_it_panic_or_leaves_a_fault_without_a_place() {
    replay("config", properties::config);
}

#[test]
fn no_request_makes_it_panic_or_has_an_answer_that_cannot_be_read() {
    replay("einhorn", properties::einhorn);
}

#[test]
fn no_command_line_makes_it_panic_or_leaves_a_fault_without_a_place() {
    replay("words", properties::words);
}
