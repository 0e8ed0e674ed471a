//! What a group asks for and cannot have, whatever the system is like: a sentence for each such thing.

use super::{Convention, GroupSpec};
use crate::env::FIRST_DESCRIPTOR;
use crate::placeholder;

impl GroupSpec {
    /// Everything in which the group contradicts itself.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = placeholder::check(&self.launch, &self.policy, &self.sockets);
        let free = self.first_free_descriptor();
        if let Some(number) = self.launch.ready_fd.filter(|&number| number < free) {
            let whose = self.holder(number);
            found.push(format!("descriptor {number} is {whose}: ready-fd is to be {free} or more"));
        }
        let told = &self.launch.handoff.conventions;
        if self.launch.fd_store > 0
            && !(told.contains(&Convention::Systemd) && told.contains(&Convention::Notify))
        {
            found.push(
                "fd-store needs the conventions systemd and notify, and handoff leaves one of them out"
                    .to_owned(),
            );
        }
        found
    }

    /// The lowest number that nothing stands at in a worker.
    fn first_free_descriptor(&self) -> u32 {
        let connection = usize::from(self.launch.handoff.control_descriptor);
        let fixed = u32::try_from(FIRST_DESCRIPTOR + self.sockets.len() + connection);
        fixed.unwrap_or(u32::MAX).saturating_add(self.launch.fd_store)
    }

    /// What stands at a descriptor below the first free one.
    fn holder(&self, number: u32) -> String {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        match (at, at.checked_sub(FIRST_DESCRIPTOR).and_then(|at| self.sockets.get(at))) {
            (0, _) => "standard input".to_owned(),
            (1, _) => "standard output".to_owned(),
            (2, _) => "standard error".to_owned(),
            (_, Some(socket)) => match &socket.name {
                Some(name) => format!("the socket {name}"),
                None => format!("the socket {}", socket.address),
            },
            (_, None) if self.launch.fd_store > 0 => "for what fd-store keeps".to_owned(),
            (_, None) => "the connection to the manager".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::addr;
    use crate::plan::{GroupSpec, Launch, Policy};

    #[test]
    fn a_descriptor_that_is_taken_is_named_with_whoever_has_it() {
        let told = |number: u32, fd_store: u32| {
            let launch = Launch { ready_fd: Some(number), fd_store, ..Launch::new("/bin/web".into()) };
            let sockets = ["127.0.0.1:80", "127.0.0.1:81,name=admin"].map(|word| addr::parse(word).unwrap());
            let group = GroupSpec {
                name: "web".to_owned(),
                launch,
                sockets: sockets.into(),
                policy: Policy::default(),
                control: None,
            };
            group.contradictions().join("; ")
        };
        assert_eq!(told(2, 0), "descriptor 2 is standard error: ready-fd is to be 5 or more");
        assert_eq!(told(3, 0), "descriptor 3 is the socket 127.0.0.1:80: ready-fd is to be 5 or more");
        assert_eq!(told(4, 0), "descriptor 4 is the socket admin: ready-fd is to be 5 or more");
        assert_eq!((told(5, 0), told(9, 4)), (String::new(), String::new()));
        assert_eq!(told(8, 4), "descriptor 8 is for what fd-store keeps: ready-fd is to be 9 or more");
    }
}
