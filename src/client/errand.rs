//! What is asked by a signal, in the manner of start_server: the pid file says whom, the status file or the lock on the pid
//! file says when it is done.

use std::thread;
use std::time::Duration;

use crate::ask::Errand;
use crate::error::{Code, Error, Result};
use crate::signame::Signal;
use crate::sys::pidfile::Owner;
use crate::sys::{reason, status_file};

/// How often the status file is looked at, which tells of no change by itself.
const TICK: Duration = Duration::from_millis(100);

/// Sends the signal and waits, for as long as it takes.
///
/// # Errors
/// Nobody runs there, a file cannot be read, or the manager ends before it has done what was asked.
pub fn errand(errand: &Errand) -> Result<u8> {
    match errand {
        Errand::Restart { pidfile, status_file: path } => {
            let owner = Owner::of(pidfile)?;
            let generations = || {
                let generations = status_file::generations(path);
                generations.map_err(|error| {
                    Error::failed(format!("status file {}: {}", path.display(), reason(error)))
                })
            };
            let none = || Error::failed(format!("status file {}: there is no worker in it", path.display()));
            let newest = generations()?.into_iter().max().ok_or_else(none)?;
            owner.signal(Signal::HUP)?;
            loop {
                thread::sleep(TICK);
                // In this order: it removes the file when it ends.
                if !owner.lives()? {
                    return Err(Error::failed("the manager has ended before it had new workers"));
                }
                let generations = generations()?;
                if !generations.is_empty() && generations.iter().all(|&generation| generation > newest) {
                    return Ok(Code::Done.status());
                }
            }
        }
        Errand::Stop { pidfile } => {
            let owner = Owner::of(pidfile)?;
            owner.signal(Signal::TERM)?;
            owner.wait_gone()?;
            Ok(Code::Done.status())
        }
    }
}
