//! Where the control socket of an instance is: one rule for the manager that opens it and for the client that looks for it.
//!
//! * `$RUNTIME_DIRECTORY/NAME.sock` under systemd (systemd.exec(5); its first entry),
//! * else `/run/remuda/NAME.sock` for root and `$XDG_RUNTIME_DIR/remuda/NAME.sock` for others,
//! * else, where no such directory can be made or written, `@remuda/UID/NAME` in Linux's abstract namespace,
//! * or what `--control` says, a path or `@NAME`.
//!
//! The directory is ours, and nobody else may write in it. It is created with mode 0700; [`super::control`] says when it
//! becomes 0711. Never anything in /tmp: whoever is first there decides what others find.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::socket::UnixAddr;
use nix::unistd::{AccessFlags, eaccess};
use serde::{Deserialize, Serialize};

use super::unix::path_address;
use super::{control, creds, holder, reason};
use crate::error::{Error, Result};
use crate::plan::ControlSpec;

/// What the files of an instance's control socket are called after its name.
const SUFFIX: &str = ".sock";

/// The address of a control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// A path, absolute.
    Path(#[serde(with = "crate::octets")] PathBuf),
    /// A name in the abstract namespace, without the leading NUL.
    Abstract(#[serde(with = "crate::octets")] Vec<u8>),
}

impl Endpoint {
    /// What workers find in EINHORN_SOCK_PATH: the path, or `@` and the name.
    pub fn variable(&self) -> OsString {
        match self {
            Endpoint::Path(path) => path.clone().into(),
            Endpoint::Abstract(name) => OsString::from_vec([b"@", &name[..]].concat()),
        }
    }

    /// Who owns the path, or the first directory on the way to it that cannot be passed.
    pub(super) fn owner(&self) -> Option<u32> {
        let Endpoint::Path(path) = self else { return None };
        path.ancestors().find_map(|path| fs::metadata(path).ok()).map(|found| found.uid())
    }

    /// The address for bind(2) and connect(2), or why there is none.
    pub(super) fn address(&self) -> Result<UnixAddr, String> {
        match self {
            Endpoint::Path(path) => path_address(path),
            Endpoint::Abstract(name) => UnixAddr::new_abstract(name).map_err(reason),
        }
    }
}

impl fmt::Display for Endpoint {
    /// The path, or `@` and the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Path(path) => write!(f, "{}", path.display()),
            Endpoint::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// The directory for the control socket of a manager that runs as we do, created if need be; `None` where there is none
/// that can be written and that is safe.
fn runtime_directory() -> Option<PathBuf> {
    first_usable(&directories(), creds::our_uid())
}

/// Where a manager of this name listens. For the default place its directory is created.
pub fn endpoint(spec: &ControlSpec, name: &str) -> Result<Endpoint> {
    match spec {
        ControlSpec::Default => {
            check_name(name)?;
            Ok(match runtime_directory() {
                Some(directory) => in_directory(&directory, name),
                None => abstract_name(creds::our_uid(), name),
            })
        }
        ControlSpec::Path(path) | ControlSpec::Locked { path, .. } => match path.as_os_str().as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => Ok(Endpoint::Abstract(name.to_vec())),
            _ => std::path::absolute(path).map(Endpoint::Path).map_err(|error| {
                Error::failed(format!("bad control socket {:?}: {}", path.display(), reason(error)))
            }),
        },
    }
}

/// All places in which a manager of this name may listen by default, most likely first. Nothing is created.
pub fn candidates(name: &str) -> Result<Vec<Endpoint>> {
    check_name(name)?;
    let uid = creds::our_uid();
    let directories = directories();
    let safe = directories.iter().filter(|directory| is_safe(directory, uid).is_ok());
    Ok(safe.map(|directory| in_directory(directory, name)).chain([abstract_name(uid, name)]).collect())
}

/// The instances that answer in the default places, by name. A socket left behind by a dead manager does not count. Where
/// the environment points at a runtime directory, what is elsewhere is not meant.
pub fn running() -> Vec<(String, Endpoint)> {
    match pointed_at() {
        Some(directory) => running_in(&[directory], None),
        None => running_in(&directories(), Some(creds::our_uid())),
    }
}

/// Where [`running`] looks, for a sentence.
pub fn looked_at() -> Vec<String> {
    let (directories, hidden) = match pointed_at() {
        Some(directory) => (vec![directory], None),
        None => (directories(), Some(abstract_name(creds::our_uid(), "*").to_string())),
    };
    let pattern = |directory: &PathBuf| in_directory(directory, "*").to_string();
    directories.iter().map(pattern).chain(hidden).collect()
}

/// The runtime directory that the environment points at, if it does.
fn pointed_at() -> Option<PathBuf> {
    let said = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let said = said("RUNTIME_DIRECTORY") || (said("XDG_RUNTIME_DIR") && creds::our_uid() != 0);
    directories().into_iter().next().filter(|_| said)
}

/// An instance of another user, whom alone it answers: its name, where it is, and its user. Any, or one of this name; where
/// the environment points at a runtime directory, only there.
pub fn forbidden(name: Option<&str>) -> Option<(String, Endpoint, u32)> {
    let ours = creds::our_uid();
    let pointed_at = pointed_at();
    let directories = match &pointed_at {
        Some(directory) => vec![directory.clone()],
        None => [directories(), vec![PathBuf::from("/run/remuda")]].concat(),
    };
    let of_others = |listener: holder::UnixListener| {
        let text = str::from_utf8(&listener.name).ok()?;
        let (instance, endpoint, uid) = if listener.is_abstract {
            let (uid, instance) = text.strip_prefix("remuda/")?.split_once('/')?;
            let uid: u32 = uid.parse().ok().filter(|_| pointed_at.is_none())?;
            let endpoint = Endpoint::Abstract(listener.name.clone());
            (instance, endpoint, uid)
        } else {
            let path = Path::new(text);
            let directory = directories.iter().find(|own| path.parent() == Some(own))?;
            let instance = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
            (instance, Endpoint::Path(path.into()), fs::metadata(directory).ok()?.uid())
        };
        // What has such a sign in it is the second socket of a group.
        let wanted = name.is_none_or(|name| name == instance) && !instance.contains(['/', '@']);
        let wanted = wanted && uid != ours && (!listener.is_abstract || control::listens_as(&endpoint, uid));
        wanted.then(|| (instance.to_owned(), endpoint, uid))
    };
    holder::unix_listeners().into_iter().find_map(of_others)
}

fn running_in(directories: &[PathBuf], uid: Option<u32>) -> Vec<(String, Endpoint)> {
    let mut found: Vec<(String, Endpoint)> = Vec::new();
    let own = creds::our_uid();
    for directory in directories.iter().filter(|directory| is_safe(directory, own).is_ok()) {
        // A directory that cannot be read holds nothing that we could talk to.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
            if let Some(name) = name.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_socket())) {
                found.push((name.to_owned(), Endpoint::Path(entry.path())));
            }
        }
    }
    let prefix = uid.map(|uid| format!("remuda/{uid}/"));
    let listeners = prefix.iter().flat_map(|prefix| {
        let names = holder::unix_listeners().into_iter().filter(|listener| listener.is_abstract);
        names.map(move |listener| (prefix, listener.name))
    });
    for (prefix, listener) in listeners {
        let name = listener.strip_prefix(prefix.as_bytes()).and_then(|name| str::from_utf8(name).ok());
        // With another `/` it is the second socket of a group.
        if let Some(name) = name.filter(|name| !name.contains('/')) {
            found.push((name.to_owned(), Endpoint::Abstract(listener.clone())));
        }
    }
    found.retain(|(_, endpoint)| control::connect(endpoint).is_ok());
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.dedup_by(|(one, _), (other, _)| one == other);
    found
}

/// The directories to try, best first.
fn directories() -> Vec<PathBuf> {
    directories_for(
        std::env::var_os("RUNTIME_DIRECTORY"),
        std::env::var_os("XDG_RUNTIME_DIR"),
        creds::our_uid(),
    )
}

fn directories_for(runtime: Option<OsString>, xdg: Option<OsString>, uid: u32) -> Vec<PathBuf> {
    let first = runtime.and_then(|list| {
        let entry = list.as_bytes().split(|&byte| byte == b':').next()?;
        let path = Path::new(std::ffi::OsStr::from_bytes(entry));
        // With DynamicUser= what systemd names is a link into /run/private.
        path.is_absolute().then(|| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    });
    let own = if uid == 0 {
        Some(PathBuf::from("/run/remuda"))
    } else {
        xdg.map(PathBuf::from).filter(|path| path.is_absolute()).map(|path| path.join("remuda"))
    };
    first.into_iter().chain(own).collect()
}

fn first_usable(directories: &[PathBuf], uid: u32) -> Option<PathBuf> {
    directories.iter().find(|directory| make_usable(directory, uid).is_ok()).cloned()
}

fn make_usable(directory: &Path, uid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    is_safe(directory, uid)?;
    // Of root's the mode says nothing; a read-only file system does.
    Ok(eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// Whether what is found in a directory was put there by us: a directory and no link, ours, and nobody else may write.
fn is_safe(directory: &Path, uid: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(directory)?;
    if found.is_dir() && found.uid() == uid && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn in_directory(directory: &Path, name: &str) -> Endpoint {
    Endpoint::Path(directory.join(format!("{name}{SUFFIX}")))
}

fn abstract_name(uid: u32, name: &str) -> Endpoint {
    Endpoint::Abstract(format!("remuda/{uid}/{name}").into_bytes())
}

/// An instance name becomes the name of files.
fn check_name(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.starts_with('.') {
        "it begins with a dot"
    } else if name.contains(|letter: char| letter == '/' || letter.is_control()) {
        "it has a slash or a control character"
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("bad instance name {name:?}: {why}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::sys::control::Control;
    use crate::sys::tests::scratch;
    use crate::sys::unix::tests::leave_stale;

    fn uid() -> u32 {
        creds::our_uid()
    }

    #[test]
    fn the_order_of_directories_is_the_documented_one() {
        let some = |path: &str| Some(OsString::from(path));
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (runtime, xdg, uid, wanted) in [
            (None, some("/run/user/1"), 1, paths(&["/run/user/1/remuda"])),
            (None, None, 1, paths(&[])),
            (None, some("relative"), 1, paths(&[])),
            (None, some("/run/user/0"), 0, paths(&["/run/remuda"])),
            (some("/none/a:/none/b"), None, 0, paths(&["/none/a", "/run/remuda"])),
            (some(""), some("/x"), 1, paths(&["/x/remuda"])),
        ] {
            assert_eq!(directories_for(runtime, xdg, uid), wanted);
        }
        let root = scratch("endpoint-link");
        symlink(&root, root.join("link")).unwrap();
        let link = root.join("link").into_os_string();
        assert_eq!(directories_for(Some(link), None, 1), [root.to_path_buf()]);
    }

    #[test]
    fn a_directory_is_made_for_us_alone() {
        let directory = scratch("endpoint-make");
        let path = directory.join("remuda");
        assert_eq!(first_usable(std::slice::from_ref(&path), uid()), Some(path.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(first_usable(std::slice::from_ref(&path), uid()), Some(path));
    }

    // pitfall 50
    #[test]
    fn a_directory_that_others_could_have_prepared_is_passed_over() {
        let root = scratch("endpoint-unsafe");
        let (open, link, file, good) =
            (root.join("open"), root.join("link"), root.join("file"), root.join("good"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        symlink(&root, &link).unwrap();
        fs::write(&file, "").unwrap();
        let nowhere = PathBuf::from("/proc/none/remuda");
        let bad = [open, link, file, nowhere];
        assert_eq!(first_usable(&bad, uid()), None);
        assert_eq!(
            first_usable(&[&bad[..], std::slice::from_ref(&good)].concat(), uid()),
            Some(good.clone())
        );
        // Somebody else's.
        assert_eq!(first_usable(&[good], uid() + 1), None);
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "a\0", "a\n", ".hidden"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
            assert!(candidates(bad).is_err());
        }
        check_name("my app@2.1").unwrap();
        let candidates = candidates("web").unwrap();
        assert_eq!(candidates.last().unwrap().to_string(), format!("@remuda/{}/web", uid()));
    }

    #[test]
    fn a_path_given_by_the_user_is_made_absolute() {
        let at = |path: &str| endpoint(&ControlSpec::Path(path.into()), "web").unwrap();
        assert_eq!(at("/run/x.sock").variable(), "/run/x.sock");
        assert_eq!(at("x.sock").variable(), std::env::current_dir().unwrap().join("x.sock"));
        assert_eq!(at("@x"), Endpoint::Abstract(b"x".to_vec()));
        assert_eq!(at("@x").variable(), "@x");
        assert!(endpoint(&ControlSpec::Path("".into()), "web").is_err());
    }

    #[test]
    fn the_running_are_those_that_answer() {
        let directory = scratch("endpoint-running");
        let open = |file: &str| Control::open(&ControlSpec::Path(directory.join(file)), "x").unwrap();
        let (_b, _a) = (open("b.sock"), open("a.c.sock"));
        leave_stale(&directory.join("stale.sock"));
        fs::write(directory.join("file.sock"), "").unwrap();
        let name = format!("endpoint-test-{}", std::process::id());
        let hidden = ControlSpec::Path(format!("@remuda/{}/{name}", uid()).into());
        let _abstract = Control::open(&hidden, &name).unwrap();
        let found: Vec<_> = running_in(std::slice::from_ref(&*directory), Some(uid()))
            .into_iter()
            .filter(|(_, endpoint)| match endpoint {
                Endpoint::Path(path) => path.starts_with(&directory),
                Endpoint::Abstract(other) => other.ends_with(name.as_bytes()),
            })
            .map(|(name, _)| name)
            .collect();
        assert_eq!(found, ["a.c", "b", name.as_str()]);
    }
}
