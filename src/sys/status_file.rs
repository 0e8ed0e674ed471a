//! A file that tells scripts who serves, written whole: a line `GENERATION:PID` for each worker, as Server::Starter has it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::pidfile;

/// The file. It is not there before there is something to tell.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    told: String,
}

impl StatusFile {
    /// To be written at this path.
    pub fn at(path: PathBuf) -> StatusFile {
        StatusFile { path, told: String::new() }
    }

    /// Tells of these workers, by generation and pid, if that is something new. The new file takes the place of the old one
    /// at once; what fails is not tried again before there is more to tell.
    pub fn tell(&mut self, workers: impl Iterator<Item = (u32, i32)>) -> io::Result<()> {
        let lines: String = workers.map(|(generation, pid)| format!("{generation}:{pid}\n")).collect();
        if lines == self.told {
            return Ok(());
        }
        let written = self.write(&lines);
        self.told = lines;
        written
    }

    fn write(&self, lines: &str) -> io::Result<()> {
        let temporary = pidfile::temporary_path(&self.path).ok_or(io::ErrorKind::InvalidFilename)?;
        let mut file = pidfile::new_file(&temporary)?;
        let written = file.write_all(lines.as_bytes()).and_then(|()| fs::rename(&temporary, &self.path));
        written.map_err(|error| pidfile::discard(&temporary, error))
    }

    /// Removes it, if it was ever written.
    pub fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The generations in such a file.
///
/// # Errors
/// It cannot be read.
pub fn generations(path: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(path)?;
    let generation = |line: &str| line.split_once(':')?.0.parse().ok();
    Ok(text.lines().filter_map(generation).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::scratch;

    #[test]
    fn it_holds_what_was_told_last() {
        let directory = scratch("status-file");
        let path = directory.join("status");
        let mut file = StatusFile::at(path.clone());
        file.tell([].into_iter()).unwrap();
        assert!(!path.exists());
        file.tell([(1, 17), (2, 18)].into_iter()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1:17\n2:18\n");
        assert_eq!(generations(&path).unwrap(), [1, 2]);
        file.tell([].into_iter()).unwrap();
        assert!(generations(&path).unwrap().is_empty());
        file.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_failure_is_told_once() {
        let directory = scratch("status-file-nowhere");
        let mut file = StatusFile::at(directory.join("none/status"));
        assert!(file.tell([(1, 17)].into_iter()).is_err());
        assert!(file.tell([(1, 17)].into_iter()).is_ok());
        file.remove().unwrap();
    }
}
