//! Unix sockets at a path: who is there, binding with the right mode and owner from the first moment, and taking the
//! name away again. Shared by the listeners of workers and by the control socket.
//!
//! A path stays behind when its process dies. It is replaced without asking if it is a socket that nobody listens on,
//! and never otherwise. Errors are the reason alone, for a sentence that names the path.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{Gid, Uid, fchownat};
use serde::{Deserialize, Serialize};

use super::creds::{Peer, peer};
use super::holder::{self, Holder};
use super::lock::{self, Lock};
use super::{cvt, fault, reason};
use crate::addr::UNIX_NAME_MAX;

/// The name of a socket that we bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPath {
    #[serde(with = "crate::octets")]
    path: PathBuf,
    device: u64,
    inode: u64,
    /// A second name of it, by which it comes back when somebody removes the first.
    #[serde(default, with = "crate::octets")]
    spare: Option<PathBuf>,
}

/// Who may connect, and where the listening socket is to be made; what is absent is left to umask and creator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    /// File mode.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Leave a socket that nobody listens on where it is: the address is in use then.
    pub keep_stale: bool,
}

impl BoundPath {
    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the name, and the spare one, if device and inode say that they are still those we made.
    pub fn remove(&self) -> io::Result<()> {
        for path in [Some(&self.path), self.spare.as_ref()].into_iter().flatten() {
            match fs::symlink_metadata(path) {
                Ok(named) if self.is(&named) => fs::remove_file(path)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Mode and owner, as they are now; of the spare name where the first one is not there.
    pub(super) fn access(&self) -> Result<Access, String> {
        let named = fs::symlink_metadata(&self.path);
        let named = named.or_else(|error| self.spare.as_ref().map_or(Err(error), fs::symlink_metadata));
        let named = named.map_err(reason)?;
        Ok(Access {
            mode: Some(named.mode() & 0o777),
            uid: Some(named.uid()),
            gid: Some(named.gid()),
            keep_stale: false,
        })
    }

    fn is(&self, named: &fs::Metadata) -> bool {
        (named.dev(), named.ino()) == (self.device, self.inode)
    }

    /// Gives the socket a second name beside the first: `.NAME.remuda`. Where that cannot be had, a removed name is told and
    /// stays away.
    pub(super) fn keep_spare(&mut self) {
        let Some(name) = self.path.file_name() else { return };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".remuda");
        let spare = self.path.with_file_name(hidden);
        let left = fs::symlink_metadata(&spare).is_ok_and(|there| there.file_type().is_socket());
        if left {
            // By one that was killed: whoever lives has another name, as its path is another.
            let _ = fs::remove_file(&spare);
        }
        self.spare = fs::hard_link(&self.path, &spare).is_ok().then_some(spare);
    }

    /// Gives the socket its name again, if it has lost it. Nothing if all is well; else what was done.
    ///
    /// # Errors
    /// A sentence: what stands in the way.
    pub(super) fn mend(&self) -> Result<Option<String>, String> {
        match fs::symlink_metadata(&self.path) {
            Ok(named) if self.is(&named) => return Ok(None),
            Ok(_) => return Err("something else is at its path".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("its path cannot be looked at: {}", reason(error))),
        }
        let Some(spare) = &self.spare else { return Err("its path was removed".to_owned()) };
        match fs::hard_link(spare, &self.path) {
            Ok(()) => Ok(Some("its path was removed, and is there again".to_owned())),
            Err(error) => Err(format!("its path was removed, and cannot be made again: {}", reason(error))),
        }
    }
}

/// A stream socket, bound and listening at an absolute path. Nobody can connect before mode and owner are as asked.
/// `backlog` as for listen(2).
pub fn listen_at(
    path: &Path,
    access: Access,
    backlog: i32,
    flags: SockFlag,
) -> Result<(OwnedFd, BoundPath), String> {
    let address = path_address(path)?;
    let claimed = claim(path)?;
    let bound = bind_at(path, &address, access, backlog, flags);
    if let Some(lock) = claimed {
        // A file that stays is taken and removed by the next one.
        let _ = lock.release();
    }
    bound
}

fn bind_at(
    path: &Path,
    address: &UnixAddr,
    access: Access,
    backlog: i32,
    flags: SockFlag,
) -> Result<(OwnedFd, BoundPath), String> {
    if !access.keep_stale {
        clear(path, address)?;
    }
    let fd = stream_socket(flags).map_err(reason)?;
    if let Some(mode) = access.mode {
        // Linux creates the name with the mode of the socket less the umask: it is never wider than asked. Changing the
        // umask itself would reach every other file that is made meanwhile.
        fault::hit("fchmod").map_err(reason)?;
        fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(reason)?;
    }
    fault::hit("bind").map_err(reason)?;
    bind(fd.as_raw_fd(), address).map_err(reason)?;
    let made = fs::symlink_metadata(path).map_err(reason)?;
    let bound = BoundPath { path: path.to_owned(), device: made.dev(), inode: made.ino(), spare: None };
    let finished = own(path, made.mode(), access).and_then(|()| listen(&fd, backlog));
    match finished {
        Ok(()) => Ok((fd, bound)),
        Err(error) => {
            // What stopped us is the better error, whether the name goes or not.
            let _ = bound.remove();
            Err(reason(error))
        }
    }
}

/// Marks a bound socket as listening: listen(2).
pub fn listen(fd: &OwnedFd, backlog: i32) -> io::Result<()> {
    fault::hit("listen")?;
    // SAFETY: listen(2) takes two integers, and the descriptor is open.
    cvt(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// A new stream socket, close-on-exec.
pub fn stream_socket(flags: SockFlag) -> io::Result<OwnedFd> {
    fault::hit("socket")?;
    Ok(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | flags, None)?)
}

/// The address of a path, which has to fit in one.
pub fn path_address(path: &Path) -> Result<UnixAddr, String> {
    UnixAddr::new(path).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => {
            let length = path.as_os_str().len();
            format!("the path has {length} bytes, the system takes {UNIX_NAME_MAX}")
        }
        _ => reason(errno),
    })
}

/// What is found at an address.
pub enum Occupant {
    /// There is nothing.
    Nobody,
    /// There is a socket that nobody listens on.
    Stale,
    /// Somebody listens; who, if it can be told.
    Listener(Option<Peer>),
}

/// Asks who listens at an address, by connecting to it without waiting.
pub fn occupant(address: &UnixAddr) -> io::Result<Occupant> {
    let probe = stream_socket(SockFlag::SOCK_NONBLOCK)?;
    match connect(probe.as_raw_fd(), address) {
        Ok(()) => Ok(Occupant::Listener(peer(probe.as_fd()).ok())),
        Err(Errno::ENOENT) => Ok(Occupant::Nobody),
        Err(Errno::ECONNREFUSED) => Ok(Occupant::Stale),
        // A full queue, or a socket of another type: in use.
        Err(Errno::EAGAIN | Errno::EPROTOTYPE) => Ok(Occupant::Listener(None)),
        Err(errno) => Err(errno.into()),
    }
}

/// The holder of an address as /proc/net/unix spells it: who has the socket open now, else who called listen(2).
pub fn holder_of(address: &[u8], listener: Option<Peer>) -> Option<Holder> {
    holder::of_unix(address).or_else(|| holder::of_pid(listener?.pid))
}

/// `address in use (pid 4711, nginx)`.
pub fn in_use(holder: Option<Holder>) -> String {
    match holder {
        Some(holder) => format!("address in use ({holder})"),
        None => "address in use".into(),
    }
}

/// Makes way for us at a path.
fn clear(path: &Path, address: &UnixAddr) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reason(error)),
        Ok(there) if there.is_dir() => {
            return Err("that is a directory: it takes the path of a socket".into());
        }
        Ok(there) if !there.file_type().is_socket() => {
            return Err("there is a file that is not a socket".into());
        }
        Ok(_) => {}
    }
    match occupant(address).map_err(|error| format!("there is a socket, and {}", reason(error)))? {
        Occupant::Nobody => Ok(()),
        Occupant::Listener(peer) => Err(in_use(holder_of(path.as_os_str().as_encoded_bytes(), peer))),
        Occupant::Stale => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove a stale socket: {}", reason(error)))
            }
            _ => Ok(()),
        },
    }
}

/// Between bind(2) and listen(2) a socket looks stale. So that of two processes that start at once neither removes the
/// other's, each holds a lock meanwhile, on a file beside it that nobody else can open. Where that cannot be had (a directory
/// in which we may make no file, a file of that name that is a stranger's) we go on without.
fn claim(path: &Path) -> Result<Option<Lock>, String> {
    let Some(name) = path.file_name() else { return Ok(None) };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".binding");
    match Lock::take(&path.with_file_name(hidden)) {
        Ok(lock) => Ok(Some(lock)),
        Err(lock::Refusal::Held { pid }) => Err(in_use(pid.and_then(holder::of_pid))),
        Err(lock::Refusal::Failed(_)) => Ok(None),
    }
}

/// Gives the name mode and owner as asked, if it has not got them at its creation.
fn own(path: &Path, found: u32, access: Access) -> io::Result<()> {
    if let Some(mode) = access.mode.filter(|mode| found & 0o777 != *mode) {
        fault::hit("chmod")?;
        let mode = Mode::from_bits_truncate(mode);
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)?;
    }
    if access.uid.is_some() || access.gid.is_some() {
        fault::hit("chown")?;
        let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
        fchownat(AT_FDCWD, path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;
    use crate::sys::tests::scratch;

    /// What a process leaves behind that was killed. The socket never listened: so it is stale even while a child that
    /// another test has forked holds a copy.
    pub(in crate::sys) fn leave_stale(path: &Path) {
        let dead = stream_socket(SockFlag::empty()).unwrap();
        bind(dead.as_raw_fd(), &path_address(path).unwrap()).unwrap();
    }

    fn open(path: &Path) -> Result<(OwnedFd, BoundPath), String> {
        listen_at(path, Access { mode: Some(0o600), ..Access::default() }, 5, SockFlag::empty())
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = scratch("unix-stale");
        let path = directory.join("a.sock");
        leave_stale(&path);
        let (_fd, _bound) = open(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        let refused = open(&path).unwrap_err();
        assert!(refused.starts_with(&format!("address in use (pid {}, ", std::process::id())), "{refused}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_stream_socket_of_a_dead_process_stays() {
        let directory = scratch("unix-other");
        let file = directory.join("file");
        fs::write(&file, "precious").unwrap();
        assert_eq!(open(&file).unwrap_err(), "there is a file that is not a socket");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        let link = directory.join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(open(&link).unwrap_err(), "there is a file that is not a socket");
        let datagram = directory.join("datagram");
        let _live = UnixDatagram::bind(&datagram).unwrap();
        assert!(open(&datagram).unwrap_err().starts_with("address in use"));
        // A queue that is full is no sign of death.
        let busy = directory.join("busy");
        let (_fd, _bound) = listen_at(&busy, Access::default(), 0, SockFlag::empty()).unwrap();
        let _waiting = UnixStream::connect(&busy).unwrap();
        assert!(open(&busy).unwrap_err().starts_with("address in use"));
    }

    #[test]
    fn a_name_is_removed_only_while_it_is_ours() {
        let directory = scratch("unix-remove");
        let path = directory.join("a.sock");
        let (_fd, bound) = open(&path).unwrap();
        fs::rename(&path, path.with_extension("old")).unwrap();
        let (_other, successor) = open(&path).unwrap();
        bound.remove().unwrap();
        assert!(path.exists());
        successor.remove().unwrap();
        assert!(!path.exists());
        successor.remove().unwrap();
    }

    #[test]
    fn mode_and_owner_are_as_asked() {
        let directory = scratch("unix-mode");
        let path = directory.join("a.sock");
        let (owner, group) = ((super::super::creds::our_uid() == 0).then_some(1234), None);
        // Narrower and wider than any usual umask.
        for mode in [0o600, 0o620, 0o777] {
            let access = Access { mode: Some(mode), uid: owner, gid: group, keep_stale: false };
            let (_fd, bound) = listen_at(&path, access, 5, SockFlag::empty()).unwrap();
            let made = fs::symlink_metadata(&path).unwrap();
            assert_eq!(made.permissions().mode() & 0o777, mode);
            if let Some(owner) = owner {
                assert_eq!(made.uid(), owner);
            }
            bound.remove().unwrap();
        }
    }

    #[test]
    fn nothing_is_left_of_a_socket_that_could_not_be_finished() {
        let directory = scratch("unix-unfinished");
        let long = directory.join("p".repeat(108));
        assert!(open(&long).unwrap_err().ends_with("the system takes 107"));
        assert_eq!(open(&directory.join("none/a.sock")).unwrap_err(), "no such file or directory");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn of_two_that_start_at_once_one_has_the_path() {
        let directory = scratch("unix-race");
        let path = directory.join("a.sock");
        for _ in 0..50 {
            leave_stale(&path);
            let results: Vec<_> = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..2).map(|_| scope.spawn(|| open(&path))).collect();
                starts.into_iter().map(|start| start.join().unwrap()).collect()
            });
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
            UnixStream::connect(&path).unwrap();
            fs::remove_file(&path).unwrap();
        }
    }
}
