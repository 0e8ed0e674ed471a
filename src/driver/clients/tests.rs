use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::*;
use crate::plan::ControlSpec;
use crate::sys::control;

/// Connections to a socket of their own, and its name.
fn clients(test: &str) -> (Clients, Endpoint) {
    let name = PathBuf::from(format!("@remuda-clients-{test}-{}", std::process::id()));
    let control = Control::open(&ControlSpec::Path(name), "web").unwrap();
    let endpoint = control.endpoint().clone();
    (Clients::new(Some(control), Dialect::Native), endpoint)
}

/// One pass; the requests that came.
fn pass(clients: &mut Clients, now: u64) -> Vec<Ticket> {
    let mut poll = PollSet::new();
    let watched = clients.watch(&mut poll, now);
    poll.wait(Some(0)).unwrap();
    let mut tickets = Vec::new();
    let tell = |event| {
        if let Event::Request { ticket, .. } = event {
            tickets.push(ticket);
        }
    };
    clients.serve(&poll, &watched, now, |_| None, tell);
    tickets
}

/// A client that has asked so many questions, and their tickets.
fn asked(clients: &mut Clients, endpoint: &Endpoint, count: usize) -> (UnixStream, Vec<Ticket>) {
    let mut client = control::connect(endpoint).unwrap();
    client.write_all("{\"command\":\"version\"}\n".repeat(count).as_bytes()).unwrap();
    // Accepted in one pass, heard in the next.
    assert_eq!(pass(clients, 0), []);
    let tickets = pass(clients, 0);
    assert_eq!(tickets.len(), count);
    (client, tickets)
}

#[test]
fn much_to_tell_in_one_pass_is_no_reason_to_drop_a_client() {
    let (mut clients, endpoint) = clients("burst");
    let (mut client, tickets) = asked(&mut clients, &endpoint, 4);
    let reply = Reply::Done("x".repeat(UNREAD_MAX * 2 / 5));
    for ticket in tickets {
        clients.reply(ticket, &reply, true);
    }
    let mut piece = vec![0; UNREAD_MAX];
    let mut read = Vec::new();
    while read.iter().filter(|&&byte| byte == b'\n').count() < 4 {
        assert_eq!(clients.flush(), []);
        let count = client.read(&mut piece).unwrap();
        read.extend_from_slice(&piece[..count]);
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let (mut clients, endpoint) = clients("deaf");
    let (_client, tickets) = asked(&mut clients, &endpoint, 6);
    let reply = Reply::Done("x".repeat(UNREAD_MAX));
    for ticket in tickets {
        clients.reply(ticket, &reply, true);
    }
    assert_eq!(clients.flush(), [ClientId(1)]);
}

#[test]
fn a_door_that_cannot_accept_is_left_alone_for_a_moment() {
    let (mut clients, endpoint) = clients("exhausted");
    let _waiting = control::connect(&endpoint).unwrap();
    clients.turn_away(0, 1000, &io::Error::from_raw_os_error(libc::ENOMEM));
    let watched = clients.watch(&mut PollSet::new(), 1000);
    assert_eq!((watched.doors.len(), watched.reopen), (0, Some(1000 + ACCEPT_PAUSE_MS)));
    let watched = clients.watch(&mut PollSet::new(), 1000 + ACCEPT_PAUSE_MS);
    assert_eq!((watched.doors.len(), watched.reopen), (1, None));
}

#[test]
fn without_descriptors_a_newcomer_is_turned_away_at_once() {
    let (mut clients, endpoint) = clients("full");
    let mut waiting = control::connect(&endpoint).unwrap();
    clients.turn_away(0, 1000, &io::Error::from_raw_os_error(libc::EMFILE));
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    assert_eq!(clients.watch(&mut PollSet::new(), 1000).doors.len(), 1);
    assert!(clients.spare.is_some());
}

#[test]
fn whoever_joins_the_process_group_of_another_users_worker_does_not_speak_for_it() {
    let (theirs, others) = (creds::our_uid() + 12_345, creds::our_uid() + 12_346);
    let worker = |pid: i32| (pid == 70).then_some((pid, theirs));
    let peer = |pid: i32, uid: u32| Peer { pid, uid, gid: uid };
    let owner = |peer: Peer, group: i32| super::owner(peer, Some(group), false, worker);
    assert_eq!(owner(peer(70, theirs), 70), Owner::Worker(70));
    assert_eq!(owner(peer(71, theirs), 70), Owner::Worker(70), "a child of it");
    assert_eq!(owner(peer(71, creds::our_uid()), 70), Owner::Worker(70), "we may do as we like");
    assert_eq!(owner(peer(71, others), 70), Owner::Stranger);
    assert_eq!(owner(peer(71, theirs), 71), Owner::Stranger);
}
