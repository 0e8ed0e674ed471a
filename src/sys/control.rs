//! The control socket: opening it as the only one of its name, accepting on it, and connecting to it.
//!
//! Who owns a path is decided by a lock beside it (`NAME.lock`, of a path given by the user `PATH.lock`), taken before the
//! path is looked at. So a socket left by a dead manager is replaced without asking, and a live one is never stolen. An
//! abstract name needs neither: the kernel gives it to one process and frees it with that.
//!
//! The socket has mode 0600, and every peer must be of our uid or root, which of an abstract name is all there is to keep
//! strangers out. A client asks the same of the server behind an abstract name: anybody might have taken it first.
//!
//! A group that runs as another user has a second socket, which that user owns: `NAME@GROUP.worker` beside the first (no
//! group has an `@` in its name, and no instance's socket ends in this, so that names cannot meet), or `/GROUP` after an
//! abstract name. For these workers to reach it, a runtime directory of ours is then searchable by all, mode 0711: what is
//! in it stays closed, by its own modes, and cannot be listed. A directory that the user chose is left as it is, and
//! refused if those workers cannot enter it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{SockFlag, UnixAddr, accept4, bind, connect as connect_to};
use serde::{Deserialize, Serialize};

use super::creds::{self, Peer, peer};
use super::lock::{Lock, LockedFile, Refusal};
use super::reexec::{Inherited, Keeper};
use super::unix::{self, Access, BoundPath, Occupant};
use super::{fault, reason, sockopt};
use crate::error::{Code, Error, Result};
use crate::plan::ControlSpec;

pub use super::endpoint::{Endpoint, candidates, endpoint, forbidden, looked_at, running};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Strangers that are turned away in one call of [`Control::accept`], so that they cannot hold the manager up.
const STRANGERS_MAX: u32 = 16;

/// How long a client waits for room in the queue of a manager that does not accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A listening control socket, ours until [`Control::close`] or the end of this process.
#[derive(Debug)]
pub struct Control {
    fd: OwnedFd,
    endpoint: Endpoint,
    /// Its directory is one that we choose and look after.
    in_runtime_directory: bool,
    /// Who may connect besides ourselves and root.
    worker_uid: Option<u32>,
    path: Option<BoundPath>,
    lock: Option<Lock>,
}

/// A control socket on its way to another image of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlState {
    descriptor: i32,
    endpoint: Endpoint,
    in_runtime_directory: bool,
    worker_uid: Option<u32>,
    path: Option<BoundPath>,
    lock: Option<LockedFile>,
}

impl Control {
    /// Opens the control socket of the manager with this name, or says who has it.
    pub fn open(spec: &ControlSpec, name: &str) -> Result<Control> {
        Control::open_for(spec, name, None)
    }

    /// Opens a socket of a group of its own, to which the group's workers may connect, also if they run as this other user.
    pub fn open_of_group(path: &Path, group: &str, uid: Option<u32>) -> Result<Control> {
        let mut control = Control::open_for(&ControlSpec::Path(path.to_owned()), group, uid)?;
        control.worker_uid = uid;
        let reached = uid.filter(|_| control.path.is_some()).map_or(Ok(()), |uid| control.let_in(path, uid));
        match reached {
            Ok(()) => Ok(control),
            Err(error) => {
                // Why workers cannot reach it is the better error.
                let _ = control.close();
                Err(error)
            }
        }
    }

    fn open_for(spec: &ControlSpec, name: &str, owner: Option<u32>) -> Result<Control> {
        let endpoint = endpoint(spec, name)?;
        let in_runtime_directory = *spec == ControlSpec::Default;
        let (fd, path, lock) = match &endpoint {
            Endpoint::Path(path) => {
                let beside = lock_path(path, in_runtime_directory);
                let lock = match spec {
                    ControlSpec::Locked { lock, .. } => lock,
                    ControlSpec::Default | ControlSpec::Path(_) => &beside,
                };
                let lock = Lock::take(lock).map_err(|refusal| match refusal {
                    Refusal::Held { pid } if in_runtime_directory => already_running(name, pid),
                    // Whoever has the path need not have our name.
                    Refusal::Held { pid } => running_at(path, pid),
                    Refusal::Failed(error) => error.within("cannot open the control socket"),
                })?;
                match listen_at(path, owner) {
                    Ok((fd, path)) => (fd, Some(path), Some(lock)),
                    Err(error) => {
                        // Why we cannot listen is the better error; a lock file left behind stands in nobody's way.
                        let _ = lock.release();
                        return Err(error);
                    }
                }
            }
            Endpoint::Abstract(_) => (listen_abstract(&endpoint, name)?, None, None),
        };
        sockopt::refuse_descriptors(fd.as_fd());
        Ok(Control { fd, endpoint, in_runtime_directory, worker_uid: None, path, lock })
    }

    /// Opens the second socket, for the workers of a group that run as `uid`. The caller must not take more than acks and
    /// pings from it.
    pub fn worker_socket(&self, group: &str, uid: u32) -> Result<Control> {
        let endpoint = self.worker_endpoint(group);
        let (fd, path) = match &endpoint {
            Endpoint::Path(path) => {
                self.let_in(path, uid)?;
                let (fd, bound) = listen_at(path, Some(uid))?;
                (fd, Some(bound))
            }
            Endpoint::Abstract(_) => (listen_abstract(&endpoint, group)?, None),
        };
        sockopt::refuse_descriptors(fd.as_fd());
        Ok(Control {
            fd,
            endpoint,
            in_runtime_directory: self.in_runtime_directory,
            worker_uid: Some(uid),
            path,
            lock: None,
        })
    }

    /// Where the second socket of a group is.
    pub fn worker_endpoint(&self, group: &str) -> Endpoint {
        match &self.endpoint {
            Endpoint::Path(main) => Endpoint::Path(worker_path(main, group)),
            Endpoint::Abstract(main) => Endpoint::Abstract([main, &b"/"[..], group.as_bytes()].concat()),
        }
    }

    /// What another image of this process needs to go on with it.
    pub fn hand_over(&self, keeper: &mut Keeper) -> ControlState {
        ControlState {
            descriptor: keeper.keep(self.fd.as_fd()),
            endpoint: self.endpoint.clone(),
            in_runtime_directory: self.in_runtime_directory,
            worker_uid: self.worker_uid,
            path: self.path.clone(),
            lock: self.lock.as_ref().map(|lock| lock.hand_over(keeper)),
        }
    }

    /// The control socket of the image before this one.
    pub fn take_over(state: ControlState, inherited: &mut Inherited) -> io::Result<Control> {
        let ControlState { descriptor, endpoint, in_runtime_directory, worker_uid, path, lock } = state;
        let lock = lock.map(|lock| Lock::take_over(lock, inherited)).transpose()?;
        let fd = inherited.claim(descriptor)?;
        sockopt::refuse_descriptors(fd.as_fd());
        Ok(Control { fd, endpoint, in_runtime_directory, worker_uid, path, lock })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The next connection, nonblocking and close-on-exec, or `None` if none is waiting. Strangers are hung up on.
    pub fn accept(&self) -> io::Result<Option<(OwnedFd, Peer)>> {
        let mut strangers = 0;
        while strangers < STRANGERS_MAX {
            fault::hit("accept4")?;
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let connection = match accept4(self.fd.as_raw_fd(), flags) {
                // SAFETY: accept4(2) has just made this descriptor, and nothing else knows it.
                Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let peer = peer(connection.as_fd())?;
            if self.admits(peer.uid) {
                return Ok(Some((connection, peer)));
            }
            strangers += 1;
        }
        Ok(None)
    }

    /// Stops listening: removes the path while it is ours, then the lock.
    pub fn close(self) -> io::Result<()> {
        let removed = self.path.as_ref().map_or(Ok(()), BoundPath::remove);
        let released = self.lock.map_or(Ok(()), Lock::release);
        removed.and(released)
    }

    fn admits(&self, uid: u32) -> bool {
        is_trusted(uid) || self.worker_uid == Some(uid)
    }

    /// Makes sure that a user can get as far as a socket beside ours.
    fn let_in(&self, path: &Path, uid: u32) -> Result<()> {
        let cannot = |directory: &Path, why: String| {
            let directory = directory.display();
            Error::failed(format!("workers of uid {uid} cannot reach a control socket in {directory}: {why}"))
        };
        if let Some(directory) = path.parent().filter(|_| self.in_runtime_directory) {
            fs::metadata(directory)
                .map(|found| Permissions::from_mode(found.mode() & 0o7777 | 0o011))
                .and_then(|open| fs::set_permissions(directory, open))
                .map_err(|error| cannot(directory, reason(error)))?;
        }
        for directory in path.ancestors().skip(1) {
            let found = fs::metadata(directory).map_err(|error| cannot(directory, reason(error)))?;
            if !may_search(found.mode(), found.uid() == uid) {
                let closed = format!("{} is closed to them", directory.display());
                return Err(cannot(path.parent().unwrap_or(path), closed));
            }
        }
        Ok(())
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Connects to a manager. [`Code::NotRunning`] if none is there; any other code if one is there that we cannot talk to.
pub fn connect(endpoint: &Endpoint) -> Result<UnixStream> {
    let failed = |why: String| Error::failed(format!("cannot connect to {endpoint}: {why}"));
    let address = endpoint.address().map_err(failed)?;
    let stream =
        UnixStream::from(unix::stream_socket(SockFlag::empty()).map_err(|error| failed(reason(error)))?);
    // Of a stopped manager the queue fills up, and connect(2) would wait for ever. It goes by this timeout: socket(7).
    stream.set_write_timeout(Some(CONNECT_TIMEOUT)).map_err(|error| failed(reason(error)))?;
    match connect_to(stream.as_raw_fd(), &address) {
        Ok(()) => {}
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ECONNREFUSED) => {
            let message = format!("no remuda is running at {endpoint}");
            return Err(Error { code: Code::NotRunning, message });
        }
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => {
            let whose = endpoint.owner().map_or(String::new(), |uid| format!(" (it belongs to uid {uid})"));
            let message = format!("cannot connect to {endpoint}: {}{whose}", reason(errno));
            return Err(Error { code: Code::Refused, message });
        }
        Err(Errno::EAGAIN) => return Err(failed("it does not accept connections".into())),
        Err(errno) => return Err(failed(reason(errno))),
    }
    stream.set_write_timeout(None).map_err(|error| failed(reason(error)))?;
    // Whoever is first at a path in a directory for all decides who answers there, as with an abstract name.
    let server = peer(stream.as_fd()).map_err(|error| failed(reason(error)))?;
    if !is_trusted(server.uid) {
        let Peer { uid, pid, .. } = server;
        let message =
            format!("{endpoint} belongs to uid {uid} (pid {pid}), and only that user may ask there");
        return Err(Error { code: Code::Refused, message });
    }
    Ok(stream)
}

/// Whether it is that user who listens there. Anybody may take an abstract name that has a user's number in it; and nobody
/// is waited for.
pub(super) fn listens_as(endpoint: &Endpoint, uid: u32) -> bool {
    let Ok(address) = endpoint.address() else { return false };
    let Ok(socket) = unix::stream_socket(SockFlag::SOCK_NONBLOCK) else { return false };
    connect_to(socket.as_raw_fd(), &address).is_ok() && peer(socket.as_fd()).is_ok_and(|peer| peer.uid == uid)
}

/// Ourselves, or root, who needs no leave of ours.
pub fn is_trusted(uid: u32) -> bool {
    uid == creds::our_uid() || uid == 0
}

fn lock_path(path: &Path, in_runtime_directory: bool) -> PathBuf {
    if in_runtime_directory {
        return path.with_extension("lock");
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn worker_path(main: &Path, group: &str) -> PathBuf {
    let name = main.as_os_str().as_bytes();
    let stem = name.strip_suffix(b".sock").unwrap_or(name);
    let mut name = OsStr::from_bytes(stem).to_owned();
    name.push(format!("@{group}.worker"));
    name.into()
}

fn already_running(name: &str, pid: Option<i32>) -> Error {
    Error::failed(format!("remuda {name:?} is already running{}", in_brackets(pid)))
}

fn running_at(path: &Path, pid: Option<i32>) -> Error {
    Error::failed(format!("a remuda is already running at {}{}", path.display(), in_brackets(pid)))
}

fn in_brackets(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn listen_at(path: &Path, owner: Option<u32>) -> Result<(OwnedFd, BoundPath)> {
    let access = Access { mode: Some(0o600), uid: owner, ..Access::default() };
    unix::listen_at(path, access, BACKLOG, SockFlag::SOCK_NONBLOCK)
        .map_err(|why| Error::failed(format!("cannot open control socket {}: {why}", path.display())))
}

fn listen_abstract(endpoint: &Endpoint, name: &str) -> Result<OwnedFd> {
    let failed = |why: String| Error::failed(format!("cannot open control socket {endpoint}: {why}"));
    let address = endpoint.address().map_err(failed)?;
    let fd = unix::stream_socket(SockFlag::SOCK_NONBLOCK).map_err(|error| failed(reason(error)))?;
    fault::hit("bind").map_err(|error| failed(reason(error)))?;
    match bind(fd.as_raw_fd(), &address) {
        Ok(()) => {}
        Err(Errno::EADDRINUSE) => return Err(taken(endpoint, &address, name)),
        Err(errno) => return Err(failed(reason(errno))),
    }
    unix::listen(&fd, BACKLOG).map_err(|error| failed(reason(error)))?;
    Ok(fd)
}

/// Who has the abstract name that we want: a manager of this name, or a stranger.
fn taken(endpoint: &Endpoint, address: &UnixAddr, name: &str) -> Error {
    match unix::occupant(address) {
        Ok(Occupant::Listener(Some(owner))) if !is_trusted(owner.uid) => {
            let Peer { pid, uid, .. } = owner;
            Error::failed(format!(
                "cannot open control socket {endpoint}: uid {uid} has taken this name (pid {pid})"
            ))
        }
        Ok(Occupant::Listener(Some(owner))) => already_running(name, Some(owner.pid).filter(|&pid| pid > 0)),
        _ => already_running(name, None),
    }
}

/// Whether a user may look a name up in a directory of this mode: no only if that is certain, for who is in which group
/// is not asked.
fn may_search(mode: u32, owner: bool) -> bool {
    mode & if owner { 0o100 } else { 0o011 } != 0
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use super::*;
    use crate::sys::tests::scratch;
    use crate::sys::unix::tests::leave_stale;

    /// A user that nobody is.
    const STRANGER: u32 = 54321;

    fn at(path: &Path) -> ControlSpec {
        ControlSpec::Path(path.to_owned())
    }

    fn abstract_spec(test: &str) -> ControlSpec {
        ControlSpec::Path(format!("@remuda-control-{test}-{}", std::process::id()).into())
    }

    fn us() -> i32 {
        std::process::id() as i32
    }

    /// Runs something as another user: as far as the kernel goes credentials belong to a thread. `None` if we may not.
    fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> Option<T> {
        if creds::our_uid() != 0 {
            eprintln!("skipped: not root");
            return None;
        }
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: the bare system call takes integers, and changes this thread alone, which ends with `act`.
                    let switched = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
                    assert_eq!(switched, 0);
                    Some(act())
                })
                .join()
                .unwrap()
        })
    }

    #[test]
    fn a_client_is_accepted_with_its_credentials() {
        let directory = scratch("control-accept");
        for spec in [at(&directory.join("a.sock")), abstract_spec("accept")] {
            let control = Control::open(&spec, "web").unwrap();
            assert!(control.accept().unwrap().is_none());
            let mut client = connect(control.endpoint()).unwrap();
            let (connection, peer) = control.accept().unwrap().unwrap();
            assert_eq!((peer.pid, peer.uid), (us(), creds::our_uid()));
            let mut connection = UnixStream::from(connection);
            assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            client.write_all(b"x").unwrap();
            assert_eq!(connection.read(&mut [0]).unwrap(), 1);
        }
    }

    // pitfall 50
    #[test]
    fn the_socket_is_for_its_owner_alone_and_leaves_nothing() {
        let directory = scratch("control-mode");
        let path = directory.join("a.sock");
        let control = Control::open(&at(&path), "web").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(directory.join("a.sock.lock")).unwrap().mode() & 0o777, 0o600);
        let endpoint = control.endpoint().clone();
        control.close().unwrap();
        assert_eq!(connect(&endpoint).unwrap_err().code, Code::NotRunning);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn a_second_one_of_the_same_name_is_told_who_runs() {
        let directory = scratch("control-second");
        let path = directory.join("a.sock");
        for (spec, who) in [
            (at(&path), format!("a remuda is already running at {}", path.display())),
            (abstract_spec("second"), "remuda \"web\" is already running".to_owned()),
        ] {
            let _first = Control::open(&spec, "web").unwrap();
            let refused = Control::open(&spec, "web").unwrap_err();
            assert_eq!(refused.message, format!("{who} (pid {})", us()));
        }
    }

    #[test]
    fn what_a_killed_manager_left_is_replaced() {
        let directory = scratch("control-stale");
        let path = directory.join("a.sock");
        leave_stale(&path);
        fs::write(path.with_extension("sock.lock"), format!("{}\n", us())).unwrap();
        let control = Control::open(&at(&path), "web").unwrap();
        connect(control.endpoint()).unwrap();
    }

    #[test]
    fn a_live_socket_without_a_lock_is_not_stolen() {
        let directory = scratch("control-foreign");
        let path = directory.join("a.sock");
        let _foreign = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let refused = Control::open(&at(&path), "web").unwrap_err();
        assert!(refused.message.contains(&format!("a.sock: address in use (pid {}, ", us())), "{refused}");
        UnixStream::connect(&path).unwrap();
        assert!(!directory.join("a.sock.lock").exists());
    }

    #[test]
    fn the_socket_of_a_successor_stays() {
        let directory = scratch("control-successor");
        let path = directory.join("a.sock");
        let first = Control::open(&at(&path), "web").unwrap();
        fs::remove_file(&path).unwrap();
        fs::remove_file(path.with_extension("sock.lock")).unwrap();
        let second = Control::open(&at(&path), "web").unwrap();
        first.close().unwrap();
        connect(second.endpoint()).unwrap();
        assert!(path.with_extension("sock.lock").exists());
    }

    #[test]
    fn of_two_starts_at_once_one_wins() {
        let directory = scratch("control-race");
        let path = directory.join("a.sock");
        for round in 0..50 {
            leave_stale(&path);
            // A new name each time: a child that another test has just forked may hold the old one a moment longer.
            for spec in [at(&path), abstract_spec(&format!("race-{round}"))] {
                let mut started: Vec<_> = thread::scope(|scope| {
                    let starts: Vec<_> =
                        (0..3).map(|_| scope.spawn(|| Control::open(&spec, "web"))).collect();
                    starts.into_iter().filter_map(|start| start.join().unwrap().ok()).collect()
                });
                assert_eq!(started.len(), 1);
                started.remove(0).close().unwrap();
            }
        }
    }

    #[test]
    fn a_control_socket_that_cannot_be_says_why() {
        let directory = scratch("control-refused");
        let missing = Control::open(&at(&directory.join("none/a.sock")), "web").unwrap_err();
        assert!(missing.message.ends_with("no such file or directory"), "{missing}");
        let long = Control::open(&at(&directory.join("n".repeat(120))), "web").unwrap_err();
        assert!(long.message.ends_with("the system takes 107"), "{long}");
        let nobody = connect(&Endpoint::Path(directory.join("none.sock"))).unwrap_err();
        assert_eq!(nobody.code, Code::NotRunning);
    }

    #[test]
    fn nobody_can_send_a_descriptor_even_before_it_is_let_in() {
        let control = Control::open(&abstract_spec("rights"), "web").unwrap();
        if !sockopt::refuse_descriptors(control.as_fd()) {
            eprintln!("skipped: this kernel has no SO_PASSRIGHTS");
            return;
        }
        let client = connect(control.endpoint()).unwrap();
        let send = || crate::sys::service::send(&client.try_clone().unwrap().into(), b"x", &[client.as_fd()]);
        assert_eq!(send().unwrap_err().raw_os_error(), Some(libc::EPERM));
        let _accepted = control.accept().unwrap().unwrap();
        assert_eq!(send().unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn strangers_are_turned_away_on_both_sides() {
        let control = Control::open(&abstract_spec("stranger"), "web").unwrap();
        let endpoint = control.endpoint().clone();
        // The stranger trusts us, who are root; we do not trust the stranger.
        let Some(stranger) = as_user(STRANGER, || connect(&endpoint).unwrap()) else { return };
        assert!(control.accept().unwrap().is_none());
        assert_eq!((&stranger).read(&mut [0]).unwrap(), 0);

        let foreign = abstract_spec("foreign");
        let Some(theirs) = as_user(STRANGER, || Control::open(&foreign, "web").unwrap()) else { return };
        let refused = connect(theirs.endpoint()).unwrap_err();
        assert!(refused.message.contains(&format!("belongs to uid {STRANGER} (pid {})", us())), "{refused}");
        let taken = Control::open(&foreign, "web").unwrap_err();
        assert!(taken.message.contains(&format!("uid {STRANGER} has taken this name")), "{taken}");
    }

    #[test]
    fn workers_of_another_user_reach_their_socket_and_no_other() {
        let directory = scratch("control-worker");
        fs::set_permissions(&directory, Permissions::from_mode(0o711)).unwrap();
        for spec in [at(&directory.join("web.sock")), abstract_spec("worker")] {
            if creds::our_uid() != 0 {
                eprintln!("skipped: not root");
                return;
            }
            let main = Control::open(&spec, "web").unwrap();
            let second = main.worker_socket("api", STRANGER).unwrap();
            let endpoint = second.endpoint().clone();
            let _client = as_user(STRANGER, || connect(&endpoint).unwrap());
            assert_eq!(second.accept().unwrap().unwrap().1.uid, STRANGER);
            let other = as_user(STRANGER + 1, || UnixStream::connect(endpoint.variable()).ok()).flatten();
            assert!(other.is_none());
            let main_endpoint = main.endpoint().clone();
            let _refused = as_user(STRANGER, || connect(&main_endpoint).ok()).flatten();
            assert!(main.accept().unwrap().is_none());
            second.close().unwrap();
            main.close().unwrap();
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_workers_cannot_enter_is_refused_or_if_ours_opened() {
        let directory = scratch("control-closed");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        let mut control = Control::open(&at(&directory.join("web.sock")), "web").unwrap();
        let refused = control.let_in(&directory.join("x"), STRANGER).unwrap_err();
        assert!(refused.message.ends_with("is closed to them"), "{refused}");
        control.in_runtime_directory = true;
        control.let_in(&directory.join("x"), STRANGER).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o711);
    }

    #[test]
    fn names_of_second_sockets_do_not_meet() {
        let path = |main: &str, group: &str| worker_path(Path::new(main), group);
        assert_eq!(path("/run/remuda/web.sock", "api"), Path::new("/run/remuda/web@api.worker"));
        assert_ne!(path("/r/a.b.sock", "c"), path("/r/a.sock", "b.c"));
        assert_ne!(path("/r/a.x", "c"), path("/r/a.y", "c"));
    }
}
