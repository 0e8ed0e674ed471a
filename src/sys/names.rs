//! Users, groups and hosts by name: as the C library knows them, or, in a program that is linked statically, as the
//! files in `/etc` do.
//!
//! glibc asks what `nsswitch.conf(5)` names by libraries that it loads, which a static program cannot do safely. So that
//! one reads `/etc/passwd`, `/etc/group` and `/etc/hosts` itself and asks nobody else; a file that is not there is empty.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use nix::unistd::{self, Gid, Group, Uid};

/// Only files are asked.
const FILES_ONLY: bool = cfg!(target_feature = "crt-static");

/// An entry of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    /// Of the primary group.
    pub(super) gid: u32,
    pub(super) home: PathBuf,
}

impl From<unistd::User> for User {
    fn from(entry: unistd::User) -> Self {
        User { name: entry.name, uid: entry.uid.as_raw(), gid: entry.gid.as_raw(), home: entry.dir }
    }
}

/// The user of this name: `getpwnam(3)`.
pub(super) fn user_named(name: &str) -> io::Result<Option<User>> {
    if FILES_ONLY {
        return Ok(files::users(&files::read("/etc/passwd")?).find(|user| user.name == name));
    }
    Ok(unistd::User::from_name(name)?.map(User::from))
}

/// The user with this id: `getpwuid(3)`.
pub(super) fn user_with(uid: u32) -> io::Result<Option<User>> {
    if FILES_ONLY {
        return Ok(files::users(&files::read("/etc/passwd")?).find(|user| user.uid == uid));
    }
    Ok(unistd::User::from_uid(Uid::from_raw(uid))?.map(User::from))
}

/// The id of the group of this name: `getgrnam(3)`.
pub(super) fn group_named(name: &str) -> io::Result<Option<u32>> {
    if FILES_ONLY {
        let text = files::read("/etc/group")?;
        return Ok(files::groups(&text).find(|group| group.name == name).map(|group| group.gid));
    }
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// The ids of the groups of a user, `gid` among them: `getgrouplist(3)`.
pub(super) fn groups_of(login: &str, gid: u32) -> io::Result<Vec<u32>> {
    if FILES_ONLY {
        return Ok(files::groups_of(&files::read("/etc/group")?, login, gid));
    }
    let login = CString::new(login)?;
    Ok(unistd::getgrouplist(&login, Gid::from_raw(gid))?.into_iter().map(Gid::as_raw).collect())
}

/// The addresses of a host, which may be written as one: `getaddrinfo(3)`.
pub(super) fn addresses_of(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if !FILES_ONLY {
        return Ok((host, port).to_socket_addrs()?.collect());
    }
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => files::addresses_of(&files::read("/etc/hosts")?, host),
    };
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "not in /etc/hosts, and a static program asks nobody else",
        ));
    }
    Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// The files, line by line. What is no entry is passed over.
mod files {
    use std::fs;
    use std::io;
    use std::net::IpAddr;

    use super::User;

    pub(super) struct Group<'a> {
        pub(super) name: &'a str,
        pub(super) gid: u32,
        members: &'a str,
    }

    /// What stands in a file; nothing in one that is not there.
    pub(super) fn read(path: &str) -> io::Result<String> {
        match fs::read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// The entries of `passwd(5)`.
    pub(super) fn users(text: &str) -> impl Iterator<Item = User> {
        text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next().filter(|name| !name.is_empty())?, fields.next()?);
            let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let (_gecos, home) = (fields.next()?, fields.next()?);
            Some(User { name: name.to_owned(), uid, gid, home: home.into() })
        })
    }

    /// The entries of `group(5)`.
    pub(super) fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
        text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next().filter(|name| !name.is_empty())?, fields.next()?);
            Some(Group {
                name,
                gid: fields.next()?.parse().ok()?,
                members: fields.next().unwrap_or_default(),
            })
        })
    }

    pub(super) fn groups_of(text: &str, login: &str, gid: u32) -> Vec<u32> {
        let has = |group: &Group<'_>| group.members.split(',').any(|member| member.trim() == login);
        let mut found = vec![gid];
        for group in groups(text).filter(has) {
            if !found.contains(&group.gid) {
                found.push(group.gid);
            }
        }
        found
    }

    /// The addresses that `hosts(5)` has for a name, in their order.
    pub(super) fn addresses_of(text: &str, host: &str) -> Vec<IpAddr> {
        let of_line = |line: &str| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        };
        text.lines().filter_map(of_line).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_user_is_an_entry_with_all_that_is_asked_of_it() {
            let text =
                "root:x:0:0:root:/root:/bin/sh\n# web:x:1:1::/:\nbroken:x:many:0::/:\n\nweb:x:33:34::/srv:\n";
            let found: Vec<User> = users(text).collect();
            let web = User { name: "web".to_owned(), uid: 33, gid: 34, home: "/srv".into() };
            assert_eq!((found.len(), found.last()), (3, Some(&web)), "a comment has no meaning there");
            assert_eq!(users("").count(), 0);
        }

        #[test]
        fn the_groups_of_a_user_are_its_own_and_those_that_name_it() {
            let text =
                "root:x:0:\nweb:x:34:\nlog:x:4:syslog,web\nweblog:x:5:webby\nagain:x:34:web\nshort:x:9";
            assert_eq!(groups_of(text, "web", 34), [34, 4]);
            assert_eq!(groups(text).find(|group| group.name == "short").map(|group| group.gid), Some(9));
        }

        #[test]
        fn a_host_has_the_addresses_of_all_its_lines() {
            let text = "127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # localhost2\nnonsense localhost\n10.0.0.7 Web web.local\n";
            let told = |host: &str| -> Vec<String> {
                addresses_of(text, host).iter().map(IpAddr::to_string).collect()
            };
            assert_eq!(told("localhost"), ["127.0.0.1", "::1"]);
            assert_eq!(told("WEB"), ["10.0.0.7"]);
            assert!(told("localhost2").is_empty() && told("10.0.0.7").is_empty());
        }
    }
}
