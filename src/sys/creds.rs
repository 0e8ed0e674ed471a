//! Who workers run as, and the credentials of a peer: SO_PEERCRED of unix(7).
//!
//! Looking up a name may read files and ask directory services, so it is done when a generation is prepared and never
//! between fork and exec.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::names::{self, User};
use super::reason;
use crate::error::{Error, Result};

/// Who a worker runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, `gid` among them.
    pub groups: Vec<u32>,
}

/// Who is at the other end of a Unix socket, as the kernel noted it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Process id; 0 if the process is not visible from our pid namespace.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// The peer of a connected Unix stream socket: to a server who called connect(2), to a client who called listen(2).
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
}

/// Our effective user id.
pub fn our_uid() -> u32 {
    Uid::effective().as_raw()
}

/// Whether we may start workers as these: root may do so as anybody, others only as themselves.
pub fn may_become(who: &Credentials) -> bool {
    Uid::effective().is_root() || (who.uid == our_uid() && who.gid == Gid::effective().as_raw())
}

/// Whether we may signal processes of other users: CAP_KILL (capabilities(7)) is in effect, as far as can be told.
pub fn may_signal_others() -> bool {
    /// CAP_KILL, by its number.
    const CAP_KILL: u32 = 5;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    set.is_none_or(|set| set & (1 << CAP_KILL) != 0)
}

/// Looks up who workers run as: a user and a group, each a name or a number; `None` if neither is given.
///
/// A name wins over a number of the same spelling, as with chown(1). A number without an entry in the user database is
/// taken as it stands, with no group but the given one or, without that, the group of the same number: never root's.
/// A group without a user leaves the user as it is.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Credentials>> {
    let gid = group.map(resolve_group).transpose()?;
    let (uid, entry) = match user {
        Some(user) => find_user(user)?,
        None if gid.is_some() => {
            let uid = our_uid();
            (uid, names::user_with(uid).map_err(|error| unreadable("user", &uid.to_string(), error))?)
        }
        None => return Ok(None),
    };
    let gid = gid.unwrap_or_else(|| entry.as_ref().map_or(uid, |entry| entry.gid));
    let groups = match &entry {
        Some(entry) => supplementary_groups(&entry.name, gid)?,
        None => vec![gid],
    };
    Ok(Some(Credentials { uid, gid, groups }))
}

/// HOME, USER and LOGNAME of a user, given by name or number, or of our own.
pub fn login_variables(user: Option<&str>) -> Result<Vec<(OsString, OsString)>> {
    let (uid, entry) = match user {
        Some(user) => find_user(user)?,
        None => {
            let uid = our_uid();
            (uid, names::user_with(uid).map_err(|error| unreadable("user", &uid.to_string(), error))?)
        }
    };
    let entry = entry.ok_or_else(|| {
        Error::failed(format!("the user database has no HOME for uid {uid}, which workers are to be told"))
    })?;
    let name = OsString::from(entry.name);
    Ok(vec![
        ("HOME".into(), entry.home.into_os_string()),
        ("USER".into(), name.clone()),
        ("LOGNAME".into(), name),
    ])
}

/// The id of a user given by name or number.
pub fn resolve_user(user: &str) -> Result<u32> {
    find_user(user).map(|(uid, _)| uid)
}

/// The id of a group given by name or number.
pub fn resolve_group(group: &str) -> Result<u32> {
    match names::group_named(group) {
        Ok(Some(gid)) => Ok(gid),
        Ok(None) => number(group).ok_or_else(|| Error::failed(format!("unknown group {group:?}"))),
        Err(error) => number(group).ok_or_else(|| unreadable("group", group, error)),
    }
}

fn find_user(user: &str) -> Result<(u32, Option<User>)> {
    let named = names::user_named(user);
    if let Ok(Some(entry)) = named {
        return Ok((entry.uid, Some(entry)));
    }
    match (number(user), named) {
        // A database that cannot be read is no reason to refuse a number: a container may have none.
        (Some(uid), _) => Ok((uid, names::user_with(uid).ok().flatten())),
        (None, Err(error)) => Err(unreadable("user", user, error)),
        (None, Ok(_)) => Err(Error::failed(format!("unknown user {user:?}"))),
    }
}

/// The largest id is -1 for setuid(2), which means "leave as it is".
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&id| digits && id != u32::MAX)
}

fn supplementary_groups(name: &str, gid: u32) -> Result<Vec<u32>> {
    names::groups_of(name, gid)
        .map_err(|error| Error::failed(format!("cannot find the groups of user {name:?}: {}", reason(error))))
}

fn unreadable(kind: &str, name: &str, error: io::Error) -> Error {
    Error::failed(format!("cannot look up {kind} {name:?}: {}", reason(error)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// An id that no user database names.
    const NOBODY_KNOWS: &str = "3999999999";

    #[test]
    fn root_is_found_by_name_and_number_with_groups() {
        for user in ["root", "0"] {
            let root = resolve(Some(user), None).unwrap().unwrap();
            assert_eq!((root.uid, root.gid), (0, 0));
            assert!(root.groups.contains(&0));
        }
    }

    #[test]
    fn a_number_without_an_entry_is_taken_as_it_stands() {
        let known = resolve(Some(NOBODY_KNOWS), None).unwrap().unwrap();
        assert_eq!((known.uid, known.gid), (3_999_999_999, 3_999_999_999));
        assert_eq!(known.groups, [3_999_999_999]);
        let grouped = resolve(Some(NOBODY_KNOWS), Some("12345678")).unwrap().unwrap();
        assert_eq!((grouped.gid, grouped.groups), (12_345_678, vec![12_345_678]));
    }

    #[test]
    fn a_group_alone_leaves_the_user() {
        let switched = resolve(None, Some(NOBODY_KNOWS)).unwrap().unwrap();
        assert_eq!((switched.uid, switched.gid), (our_uid(), 3_999_999_999));
        assert!(switched.groups.contains(&3_999_999_999));
        assert_eq!(resolve(None, None), Ok(None));
    }

    #[test]
    fn a_user_is_told_of_its_home() {
        let told = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let root = [told("HOME", "/root"), told("USER", "root"), told("LOGNAME", "root")];
        assert_eq!(login_variables(Some("0")).unwrap(), root);
        let nobody = login_variables(Some(NOBODY_KNOWS)).unwrap_err().message;
        assert!(nobody.contains("uid 3999999999"), "{nobody}");
    }

    #[test]
    fn unknown_names_are_named() {
        let user = resolve(Some("no-such-user"), None).unwrap_err();
        assert_eq!(user.message, "unknown user \"no-such-user\"");
        let group = resolve(Some("root"), Some("no-such-group")).unwrap_err();
        assert_eq!(group.message, "unknown group \"no-such-group\"");
        for not_an_id in ["4294967295", "-1", "+1", "1.0", ""] {
            assert!(resolve(Some(not_an_id), None).is_err(), "{not_an_id:?}");
        }
    }

    #[test]
    fn the_peer_of_a_pair_is_ourselves() {
        let (left, _right) = UnixStream::pair().unwrap();
        let peer = peer(left.as_fd()).unwrap();
        assert_eq!((peer.pid, peer.uid), (std::process::id() as i32, our_uid()));
    }
}
