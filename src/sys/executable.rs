//! The file that a generation runs, held so that the same can be run later, whatever stands at its path by then.
//!
//! A binary is held by a descriptor: deleted or replaced, it is executed by that (`execveat(2)` with AT_EMPTY_PATH, which
//! needs no /proc). A script cannot be: its interpreter would have to open it by a descriptor that it inherits, and
//! through /dev/fd. Of either it is remembered how it looked, so that it is known when it has been written over.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fault;
use super::reexec::{Inherited, Keeper};

/// How a file looked: the same file, unchanged, looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Looks {
    fn of(file: &Metadata) -> Self {
        Looks {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }
}

/// A file to execute.
#[derive(Debug)]
pub struct Executable {
    looks: Looks,
    /// Absent of scripts.
    file: Option<OwnedFd>,
}

/// The same on its way to another image of the manager.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExecutableState {
    looks: Looks,
    #[serde(default)]
    file: Option<RawFd>,
}

/// Where the file is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// At its path.
    InPlace,
    /// No longer there, or another is; it can be executed by its descriptor.
    Held,
    /// Written over, or another one in its place.
    Changed,
    /// Gone, and with it what it was.
    Gone,
}

impl Executable {
    /// Holds the file at a path, which has no symbolic links in it.
    pub fn hold(path: &Path) -> io::Result<Executable> {
        let looks = Looks::of(&fs::metadata(path)?);
        if is_script(path)? {
            return Ok(Executable { looks, file: None });
        }
        fault::hit("open")?;
        // O_PATH: whoever may execute a file need not be allowed to read it.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
        Ok(Executable { looks, file: Some(file.into()) })
    }

    /// Where it is by now, if it was held at this path.
    pub fn whereabouts(&self, path: &Path) -> Whereabouts {
        let there = fs::metadata(path).map(|file| Looks::of(&file));
        match there {
            Ok(looks) if looks == self.looks => Whereabouts::InPlace,
            _ if self.is_intact() => Whereabouts::Held,
            Ok(_) => Whereabouts::Changed,
            Err(_) => Whereabouts::Gone,
        }
    }

    /// To execute it by.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// It is held, and nobody has written to it.
    fn is_intact(&self) -> bool {
        let look = |file: &OwnedFd| File::from(file.try_clone().ok()?).metadata().ok();
        self.file.as_ref().and_then(look).is_some_and(|file| Looks::of(&file) == self.looks)
    }

    /// What another image of the manager needs to hold it.
    pub fn hand_over(&self, keeper: &mut Keeper) -> ExecutableState {
        ExecutableState { looks: self.looks, file: self.descriptor().map(|file| keeper.keep(file)) }
    }

    /// What the image before this one held.
    pub fn take_over(state: ExecutableState, inherited: &mut Inherited) -> io::Result<Executable> {
        let file = state.file.map(|number| inherited.claim(number)).transpose()?;
        Ok(Executable { looks: state.looks, file })
    }
}

/// Longest first line that the kernel looks at.
const SHEBANG_MAX: u64 = 256;

/// The interpreter that a script names in its first line; absent of whatever is none, or may not be read.
pub fn interpreter(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK).open(path);
    let mut head = Vec::new();
    match file {
        Ok(file) => file.take(SHEBANG_MAX).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.trim_ascii_start();
    let word = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).next().unwrap_or_default();
    Ok(Some(word.to_vec()))
}

fn is_script(path: &Path) -> io::Result<bool> {
    interpreter(path).map(|interpreter| interpreter.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::scratch;

    #[test]
    fn a_binary_is_held_when_its_path_is_lost_and_a_script_is_not() {
        let root = scratch("executable");
        let (binary, script) = (root.join("binary"), root.join("script"));
        fs::write(&binary, b"\x7fELF and so on").unwrap();
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let held = [&binary, &script].map(|path| Executable::hold(path).unwrap());
        let whereabouts = || [held[0].whereabouts(&binary), held[1].whereabouts(&script)];
        assert_eq!(whereabouts(), [Whereabouts::InPlace; 2]);
        for path in [&binary, &script] {
            fs::write(root.join("new"), "#!/bin/sh\n# another\n").unwrap();
            fs::rename(root.join("new"), path).unwrap();
        }
        assert_eq!(whereabouts(), [Whereabouts::Held, Whereabouts::Changed]);
        fs::remove_file(&binary).unwrap();
        fs::remove_file(&script).unwrap();
        assert_eq!(whereabouts(), [Whereabouts::Held, Whereabouts::Gone]);
    }

    #[test]
    fn what_is_written_over_in_place_is_lost() {
        let root = scratch("executable-over");
        let path = root.join("binary");
        fs::write(&path, b"\x7fELF and so on").unwrap();
        let held = Executable::hold(&path).unwrap();
        fs::write(&path, b"\x7fELF and so on, and on").unwrap();
        assert_eq!(held.whereabouts(&path), Whereabouts::Changed);
    }

    #[test]
    fn the_interpreter_is_the_first_word_of_the_first_line() {
        let root = scratch("interpreter");
        let path = root.join("script");
        for (text, wanted) in [
            ("#!/bin/sh\nexit\n", Some("/bin/sh")),
            ("#! /usr/bin/env python3\n", Some("/usr/bin/env")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("\x7fELF", None),
            ("", None),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(interpreter(&path).unwrap().as_deref(), wanted.map(str::as_bytes), "{text:?}");
        }
    }
}
