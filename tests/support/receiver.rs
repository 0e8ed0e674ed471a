//! A stand-in for the service manager: the receiving end of sd_notify(3), which keeps what it is given.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};

use super::LIMIT;

/// What arrives at NOTIFY_SOCKET.
pub(crate) struct Receiver {
    socket: UnixDatagram,
    lines: VecDeque<String>,
    /// What was given along with FDSTORE=1, by its name, and not removed.
    pub(crate) stored: Vec<(String, OwnedFd)>,
    /// Every message so far.
    pub(crate) heard: Vec<String>,
}

impl Receiver {
    /// At this path.
    pub(crate) fn bind(path: &Path) -> Receiver {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Receiver { socket, lines: VecDeque::new(), stored: Vec::new(), heard: Vec::new() }
    }

    /// Takes the next message in. Descriptors are kept where that is asked for, else closed, as a barrier wants it.
    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        let mut space = nix::cmsg_space!([i32; 8]);
        let (text, descriptors) = {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let message =
                recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())
                    .unwrap_or_else(|error| panic!("no message: {error}; so far {:?}", self.heard));
            let mut descriptors = Vec::new();
            for control in message.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(numbers) = control {
                    // SAFETY: the kernel has made them for us just now.
                    descriptors
                        .extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
                }
            }
            let length = message.bytes;
            (String::from_utf8(buffer[..length].to_vec()).unwrap(), descriptors)
        };
        if text.lines().any(|line| line == "FDSTORE=1") {
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
            self.stored.extend(descriptors.into_iter().map(|descriptor| (name.to_owned(), descriptor)));
        }
        if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            self.stored.retain(|(stored, _)| Some(stored.as_str()) != name);
        }
        self.lines.extend(text.lines().map(str::to_owned));
        self.heard.push(text);
    }

    /// Waits for a line that begins like this, and returns what stands behind; what comes before it is passed over.
    pub(crate) fn until(&mut self, beginning: &str) -> String {
        let begin = Instant::now();
        loop {
            while let Some(line) = self.lines.pop_front() {
                if let Some(rest) = line.strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
            assert!(begin.elapsed() < LIMIT, "no {beginning}: {:?}", self.heard);
            self.receive();
        }
    }
}
