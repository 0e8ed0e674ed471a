//! Replacing the image of this process: which program, what it inherits, execve(2).
//!
//! The state goes in a sealed memfd, never on a disk, and one variable names its descriptor. Whatever else is to survive
//! is kept by number: close-on-exec is taken off at the last moment, and put on again if the exec fails. As all that a
//! manager opens is close-on-exec, a descriptor that is open and is not can only have been inherited: so the new image
//! knows its heirlooms from its own, and takes each of them once.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use libc::{
    F_ADD_SEALS, F_GET_SEALS, F_GETFD, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, F_SETFD,
    FD_CLOEXEC, MFD_ALLOW_SEALING, MFD_CLOEXEC, c_int, c_uint,
};
use serde::{Deserialize, Serialize};

use super::{cvt, fault};
use crate::env::EnvBlock;

/// Names the descriptor of the state to the new image.
pub const STATE_VARIABLE: &str = "REMUDA_STATE_FD";

/// The option that names it where a command leads to the new image: that may have changed the environment.
pub const STATE_OPTION: &str = "--with-state-fd";

/// Stands in the arguments of an image for the number of that descriptor, which is known at the last moment.
pub const STATE_PLACE: &str = "{state}";

/// The lowest descriptor that can be inherited in this way: 0-2 have a meaning of their own, and stay anyway.
const FIRST: RawFd = 3;

/// Nobody changes the state on its way.
const SEALS: c_int = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

/// Linux 6.3; where a sysctl forbids other memfds, those with this flag are still allowed.
const MFD_NOEXEC_SEAL: c_uint = 8;

/// How this process was started, and is to be started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The program, by an absolute path; symbolic links in it are followed anew each time.
    #[serde(with = "crate::octets")]
    pub path: PathBuf,
    /// Its arguments, its name first.
    #[serde(with = "crate::octets")]
    pub argv: Vec<CString>,
    /// The environment at the first start.
    #[serde(with = "crate::octets")]
    pub environment: Vec<(OsString, OsString)>,
}

impl Image {
    /// That of this process, if nothing of it was changed yet: neither working directory nor environment.
    pub fn at_start() -> io::Result<Image> {
        let argv = std::env::args_os()
            .map(|argument| CString::new(argument.into_vec()))
            .collect::<Result<Vec<CString>, _>>()?;
        Ok(Image {
            path: std::path::absolute(executed_path()?)?,
            argv,
            environment: std::env::vars_os().collect(),
        })
    }
}

/// The path that was given to execve(2): AT_EXECFN of getauxval(3). Needs no /proc, and other than /proc/self/exe it is
/// still the path when another file has taken its place.
fn executed_path() -> io::Result<PathBuf> {
    // SAFETY: asks for a number.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    if address == 0 {
        return Err(io::Error::other("the system does not tell which program this is"));
    }
    // SAFETY: the kernel has put a string with a NUL at its end there, above the stack, for as long as the process runs.
    let path = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(address as usize)) };
    Ok(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
}

/// The descriptors that are to survive.
#[derive(Debug, Default)]
pub struct Keeper {
    numbers: Vec<RawFd>,
}

impl Keeper {
    /// Notes that a descriptor is to survive; returns the number under which the new image finds it.
    pub fn keep(&mut self, descriptor: BorrowedFd<'_>) -> RawFd {
        self.numbers.push(descriptor.as_raw_fd());
        descriptor.as_raw_fd()
    }

    /// All of them.
    pub fn numbers(&self) -> &[RawFd] {
        &self.numbers
    }
}

/// The descriptors that the image before this one has left. What is not claimed is closed in the end: it belongs to
/// something that only the other image knows.
#[derive(Debug)]
pub struct Inherited {
    left: Vec<RawFd>,
}

impl Inherited {
    /// Those of these numbers.
    pub fn new(numbers: Vec<RawFd>) -> Inherited {
        Inherited { left: numbers }
    }

    /// Takes one, which is close-on-exec from now on.
    ///
    /// # Errors
    /// It is not one of them, or was taken before, or is not open.
    pub fn claim(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        let Some(at) = self.left.iter().position(|&left| left == number) else {
            return Err(io::Error::other(format!("descriptor {number} was not kept")));
        };
        self.left.swap_remove(at);
        take(number)
            .map_err(|error| io::Error::other(format!("descriptor {number}: {}", super::reason(error))))
    }
}

impl Drop for Inherited {
    fn drop(&mut self) {
        for number in self.left.drain(..) {
            drop(take(number));
        }
    }
}

/// Takes a descriptor that was inherited, and not taken before.
fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST || flags(number)? & FD_CLOEXEC != 0 {
        return Err(io::Error::other("it was not inherited"));
    }
    set_flags(number, FD_CLOEXEC)?;
    // SAFETY: it is open. All that this process has opened is close-on-exec, and so is all that was taken, so that
    // nothing in it owns this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn flags(number: RawFd) -> io::Result<c_int> {
    fault::hit("fcntl")?;
    // SAFETY: asks about a number; no memory is involved.
    cvt(unsafe { libc::fcntl(number, F_GETFD) })
}

fn set_flags(number: RawFd, flags: c_int) -> io::Result<()> {
    fault::hit("fcntl")?;
    // SAFETY: sets a flag; no memory is involved.
    cvt(unsafe { libc::fcntl(number, F_SETFD, flags) }).map(drop)
}

/// A file without a name that holds `state`, close-on-exec, to be read from its beginning, and never to be changed.
pub fn memfd(state: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(empty_memfd()?);
    fault::hit("write")?;
    file.write_all(state)?;
    file.rewind()?;
    // SAFETY: numbers only.
    cvt(unsafe { libc::fcntl(file.as_raw_fd(), F_ADD_SEALS, SEALS) })?;
    Ok(file.into())
}

/// A file without a name and with nothing in it, close-on-exec.
pub(super) fn empty_memfd() -> io::Result<OwnedFd> {
    match create(MFD_NOEXEC_SEAL) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => create(0),
        created => created,
    }
}

fn create(more: c_uint) -> io::Result<OwnedFd> {
    fault::hit("memfd_create")?;
    // SAFETY: the name ends with NUL.
    let created =
        cvt(unsafe { libc::memfd_create(c"remuda-state".as_ptr(), MFD_CLOEXEC | MFD_ALLOW_SEALING | more) })?;
    // SAFETY: memfd_create(2) has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(created) })
}

/// The state in the memfd that we inherited at this descriptor, which is closed; `None` if there is no such thing.
pub fn state_at(number: RawFd) -> Option<Vec<u8>> {
    // SAFETY: numbers only.
    let seals = cvt(unsafe { libc::fcntl(number, F_GET_SEALS) }).ok()?;
    if seals & SEALS != SEALS {
        return None;
    }
    let mut file = File::from(take(number).ok()?);
    let mut state = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut state)).ok()?;
    Some(state)
}

/// The state that the image before this one has left, if there was one. To be called first thing: it removes the
/// variable, which is for nobody else.
pub fn state_left() -> Option<Vec<u8>> {
    let variable = std::env::var_os(STATE_VARIABLE);
    // SAFETY: the program has one thread, and nothing of it has read the environment yet.
    unsafe { std::env::remove_var(STATE_VARIABLE) };
    let value = variable.or_else(state_option)?;
    state_at(value.to_str()?.parse().ok()?)
}

/// What follows [`STATE_OPTION`] among our own options.
fn state_option() -> Option<OsString> {
    let mut options = std::env::args_os().skip(1).take_while(|word| word != "--");
    options.find(|word| word == STATE_OPTION)?;
    options.next()
}

/// Replaces the image. Call it with all signals blocked: the mask survives, so that no signal meets the new image before
/// it has its handlers, and none is lost.
///
/// # Errors
/// All it ever returns: why this image still runs. The descriptors are as they were.
pub fn execute(image: &Image, state: &[u8], keeper: &Keeper) -> io::Error {
    let state = match memfd(state) {
        Ok(state) => state,
        Err(error) => return error,
    };
    let kept: Vec<RawFd> = keeper.numbers.iter().copied().chain([state.as_raw_fd()]).collect();
    let number = OsString::from(state.as_raw_fd().to_string());
    let text = CString::new(state.as_raw_fd().to_string()).unwrap_or_default();
    let told = (OsString::from(STATE_VARIABLE), number);
    let environment = EnvBlock::plain(image.environment.iter().chain([&told]));
    let place = |argument: &CString| {
        if argument.as_bytes() == STATE_PLACE.as_bytes() { text.clone() } else { argument.clone() }
    };
    let argv: Vec<CString> = image.argv.iter().map(place).collect();
    let error = kept
        .iter()
        .try_for_each(|&number| set_flags(number, 0))
        .map_or_else(|error| error, |()| exec(image, &argv, &environment));
    for number in kept {
        // It had this flag before, so it cannot be refused.
        let _ = set_flags(number, FD_CLOEXEC);
    }
    error
}

fn exec(image: &Image, argv: &[CString], environment: &EnvBlock) -> io::Error {
    let path = match CString::new(image.path.as_os_str().as_bytes()) {
        Ok(path) => path,
        Err(error) => return error.into(),
    };
    let argv: Vec<_> = argv.iter().map(|argument| argument.as_ptr()).chain([std::ptr::null()]).collect();
    let envp = environment.pointers();
    if let Err(error) = fault::hit("execve") {
        return error;
    }
    // SAFETY: the path ends with NUL; both arrays end with a null pointer, and all strings in them are alive.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, IntoRawFd};

    use super::*;

    /// As if it had been inherited.
    fn inherit(descriptor: OwnedFd) -> RawFd {
        let number = descriptor.into_raw_fd();
        set_flags(number, 0).unwrap();
        number
    }

    // pitfall 4
    #[test]
    fn what_was_inherited_is_taken_once() {
        let (reader, writer) = io::pipe().unwrap();
        let number = inherit(reader.into());
        let own = writer.as_raw_fd();
        let mut inherited = Inherited::new(vec![number, own]);
        assert!(inherited.claim(own).unwrap_err().to_string().ends_with("it was not inherited"));
        let claimed = inherited.claim(number).unwrap();
        assert_eq!(flags(claimed.as_raw_fd()).unwrap(), FD_CLOEXEC);
        let again = inherited.claim(number).unwrap_err();
        assert_eq!(again.to_string(), format!("descriptor {number} was not kept"));
        assert!(Inherited::new(vec![number]).claim(number).is_err(), "it is taken");
        assert!(Inherited::new(vec![0]).claim(0).is_err(), "it is standard input");
    }

    #[test]
    fn what_nobody_claims_is_closed() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(Inherited::new(vec![inherit(reader.into())]));
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    // pitfall 4
    #[test]
    fn only_a_sealed_memfd_is_a_state() {
        let state = b"{\"format\":1}".repeat(10_000);
        let number = inherit(memfd(&state).unwrap());
        assert_eq!(state_at(number).unwrap(), state);
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(state_at(reader.as_raw_fd()), None);
        assert_eq!(state_at(0), None);
        assert_eq!(state_at(1_000_000), None);
        let ours = memfd(&state).unwrap();
        assert_eq!(state_at(ours.as_raw_fd()), None, "it was not inherited");
        assert!(File::from(ours).write_all(b"x").is_err(), "it is sealed");
    }

    #[test]
    fn an_exec_that_fails_leaves_everything_as_it_was() {
        let (reader, _writer) = io::pipe().unwrap();
        let mut keeper = Keeper::default();
        keeper.keep(reader.as_fd());
        let image =
            Image { path: "/no/such/program".into(), argv: vec![c"x".into()], environment: Vec::new() };
        let error = execute(&image, b"{}", &keeper);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(flags(reader.as_raw_fd()).unwrap(), FD_CLOEXEC);
    }

    #[test]
    fn the_path_of_this_program_is_known() {
        let image = Image::at_start().unwrap();
        assert!(image.path.is_absolute());
        assert_eq!(
            image.path.canonicalize().unwrap(),
            std::env::current_exe().unwrap().canonicalize().unwrap()
        );
        assert_eq!(image.argv.len(), std::env::args_os().len());
    }
}
