//! A file that tells scripts who serves, written whole: a line `GENERATION:PID` for each worker, as Server::Starter has it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::pidfile;

/// The file. It is not there before there is something to tell.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    /// What it holds, as far as that is known.
    told: Option<String>,
    /// That it cannot be written was told.
    complained: bool,
}

impl StatusFile {
    /// To be written at this path.
    pub fn at(path: PathBuf) -> StatusFile {
        StatusFile { path, told: None, complained: false }
    }

    /// Tells of these workers, by generation and pid, if that is something new. The new file takes the place of the old one
    /// at once. What fails is tried again each time, and told once.
    pub fn tell(&mut self, workers: impl Iterator<Item = (u32, i32)>) -> io::Result<()> {
        let lines: String = workers.map(|(generation, pid)| format!("{generation}:{pid}\n")).collect();
        if self.told.as_ref() == Some(&lines) {
            return Ok(());
        }
        // One that somebody has left behind tells of workers that are none of ours.
        let left_behind = self.told.is_none() && lines.is_empty();
        match if left_behind { self.remove() } else { self.write(&lines) } {
            Ok(()) => {
                self.told = Some(lines);
                self.complained = false;
                Ok(())
            }
            Err(_) if std::mem::replace(&mut self.complained, true) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, lines: &str) -> io::Result<()> {
        let temporary = pidfile::temporary_path(&self.path).ok_or(io::ErrorKind::InvalidFilename)?;
        let mut file = pidfile::new_file(&temporary)?;
        let written = file.write_all(lines.as_bytes()).and_then(|()| fs::rename(&temporary, &self.path));
        written.map_err(|error| pidfile::discard(&temporary, error))
    }

    /// Removes it, if it is there.
    pub fn remove(&self) -> io::Result<()> {
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
    fn a_failure_is_told_once_and_made_up_for() {
        let directory = scratch("status-file-nowhere");
        let path = directory.join("none/status");
        let mut file = StatusFile::at(path.clone());
        assert!(file.tell([(1, 17)].into_iter()).is_err());
        assert!(file.tell([(1, 17)].into_iter()).is_ok());
        fs::create_dir(directory.join("none")).unwrap();
        file.tell([(1, 17)].into_iter()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1:17\n");
        file.remove().unwrap();
    }

    #[test]
    fn one_that_was_left_behind_goes_at_once() {
        let directory = scratch("status-file-old");
        let path = directory.join("status");
        fs::write(&path, "7:123\n").unwrap();
        StatusFile::at(path.clone()).tell([].into_iter()).unwrap();
        assert!(!path.exists());
    }
}
