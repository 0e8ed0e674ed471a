//! The protocol of the control socket, to the byte: golden requests and replies, and what no input may do.
//!
//! `tests/golden/wire/*.txt` hold the expected text. `UPDATE_GOLDEN=1 cargo test --test wire` writes them anew; read the
//! difference before you commit it: clients depend on these bytes.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use remuda::error::Code;
use remuda::plan::{Level, UpgradeMode};
use remuda::process::{Exit, Stage};
use remuda::signame::Signal;
use remuda::supervisor::command::{Reply, Scale, Verb, Wait};
use remuda::supervisor::event::{ChildId, HookKind};
use remuda::supervisor::note::{Counts, Happening, Note, Reason, Worker};
use remuda::supervisor::snapshot::{
    ExitDetail, FailureStatus, GenerationRole, GenerationStatus, GroupState, GroupStatus, LastExit,
    SocketStatus, Status, UpgradeResult, UpgradeStatus, VacantSlot, WorkerPhase, WorkerStatus,
};
use remuda::wire::ask::{self, Body};
use remuda::wire::event::EventObject;
use remuda::wire::{Codec, Decoded, Line, LineBuffer};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire").join(name)
}

fn compare(name: &str, got: &str) {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, got).expect("write the golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (want, have)) in expected.lines().zip(got.lines()).enumerate() {
        assert_eq!(have, want, "{}:{}", path.display(), number + 1);
    }
    assert_eq!(got.lines().count(), expected.lines().count(), "{}: number of lines", path.display());
}

/// A file of `> request` lines, each followed by what it means: `= VERB`, `< bytes of the answer`, or `nothing`.
#[test]
fn requests_mean_what_the_golden_file_says() {
    let text = std::fs::read_to_string(golden("requests.txt")).expect("read the golden file");
    let mut got = String::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(got, "{line}").expect("to a string");
        }
        let Some(request) = line.strip_prefix("> ").or_else(|| line.strip_prefix('>')) else { continue };
        writeln!(got, "{line}").expect("to a string");
        match Codec::native().decode(request.as_bytes()) {
            Decoded::Request { verb, .. } => writeln!(got, "= {verb:?}"),
            Decoded::Reply(bytes) => write!(got, "< {}", String::from_utf8(bytes).expect("UTF-8")),
            Decoded::Nothing => writeln!(got, "nothing"),
        }
        .expect("to a string");
    }
    compare("requests.txt", &got);
}

#[test]
fn replies_are_the_bytes_of_the_golden_file() {
    let mut got = String::new();
    for (reply, last) in replies() {
        let mut codec = Codec::native();
        let Decoded::Request { request, .. } = codec.decode(br#"{"command":"version","id":"a"}"#) else {
            panic!("version is a request");
        };
        let mut out = Vec::new();
        codec.encode(request, &reply, last, &mut out);
        got.push_str(std::str::from_utf8(&out).expect("UTF-8"));
        assert_eq!(codec.pending(), usize::from(!last));
    }
    got.push_str(std::str::from_utf8(&Codec::native().too_long()).expect("UTF-8"));
    compare("replies.txt", &got);
}

/// Each happening as the log tells it, plain and as JSON.
#[test]
fn notes_are_told_as_in_the_golden_file() {
    let worker = Worker { slot: 0, index: 3, pid: 4711, generation: 2 };
    let counts = Counts { ready: 3, target: 4, draining: 1 };
    let mut got = String::new();
    for (level, has_worker, what) in happenings() {
        let manager = matches!(
            what,
            Happening::Started
                | Happening::ShuttingDown(_)
                | Happening::ShuttingDownAtOnce(_)
                | Happening::SignalIgnored(_)
                | Happening::ReexecStarted
                | Happening::Reexeced
                | Happening::ReexecFailed(_)
        );
        let note = Note {
            level,
            group: (!manager).then(|| "web".to_owned()),
            worker: has_worker.then_some(worker),
            counts: (!manager).then_some(counts),
            what,
        };
        let json = EventObject::new(&note).at("2026-11-21T11:45:00.123Z").to_line();
        writeln!(got, "remuda: {}: {note}\n{json}", note.level.name()).expect("to a string");
    }
    compare("notes.txt", &got);
}

#[test]
fn every_verb_survives_the_way_to_the_manager() {
    let group = Some("web".to_owned());
    let mut verbs = vec![
        Verb::Status(None),
        Verb::Status(group.clone()),
        Verb::Version,
        Verb::Ping,
        Verb::Events(group.clone()),
        Verb::Signal(group.clone(), Signal::HUP),
        Verb::LogLevel(Level::Debug),
        Verb::Reopen,
        Verb::Ack(None),
        Verb::Ack(Some(4711)),
    ];
    for wait in [Wait::No, Wait::Done, Wait::Drained] {
        verbs.extend([
            Verb::Upgrade(group.clone(), wait),
            Verb::Restart(None, wait),
            Verb::Start(group.clone(), wait),
            Verb::Stop(None, wait),
            Verb::Reexec(wait),
            Verb::Scale(group.clone(), Scale::To(0), wait),
            Verb::Scale(group.clone(), Scale::Up(2), wait),
            Verb::Scale(None, Scale::Down(3), wait),
        ]);
    }
    for verb in verbs {
        let line = ask::request_line(Some(1), &verb);
        let line = line.strip_suffix(b"\n").expect("a line ends");
        assert_eq!(Codec::native().decode(line), Decoded::Request { request: 1, verb });
    }
}

#[test]
fn every_reply_survives_the_way_to_the_client() {
    for (reply, last) in replies() {
        let mut codec = Codec::native();
        let Decoded::Request { request, .. } = codec.decode(br#"{"command":"version","id":7}"#) else {
            panic!("version is a request");
        };
        let mut out = Vec::new();
        codec.encode(request, &reply, last, &mut out);
        let answer = ask::parse_reply(&out).expect("an answer");
        assert_eq!(answer.id, Some(7));
        match (reply, answer.body) {
            (Reply::Done(sentence), Body::Last(told)) => {
                assert_eq!(told.code, Code::Done);
                assert_eq!(told.sentence.unwrap_or_default(), sentence);
            }
            (Reply::Done(sentence), Body::Progress(told)) => assert_eq!(told, Some(sentence)),
            (Reply::Failed(code, sentence), Body::Last(told)) => {
                assert_eq!((told.code, told.sentence), (code, Some(sentence)));
            }
            (Reply::Changes { changes, message }, Body::Last(told)) => {
                assert_eq!((told.code, told.sentence, told.lines), (Code::Done, Some(message), changes));
            }
            (Reply::Changes { changes, .. }, Body::Changes(told)) => assert_eq!(told, changes),
            (Reply::Rejected { code, error, errors }, Body::Last(told)) => {
                assert_eq!((told.code, told.sentence, told.lines), (code, Some(error), errors));
            }
            (Reply::Version(version), Body::Last(told)) => assert_eq!(told.version, Some(version)),
            (Reply::Status(status), Body::Begin(told)) => assert_eq!(told, status),
            (Reply::Status(status), Body::Last(told)) => {
                let text = told.status.expect("a status");
                assert_eq!(ask::parse_status(&text).expect("a status"), *status);
            }
            (Reply::Event(note), Body::Event(told)) => assert_eq!(told.to_string(), note.to_string()),
            (reply, body) => panic!("{reply:?} became {body:?}"),
        }
    }
}

#[test]
fn a_client_reads_what_a_newer_manager_adds() {
    let line = br#"{"done":true,"ok":false,"error":"no","code":77,"hint":{"a":[1]}}"#;
    let Body::Last(last) = ask::parse_reply(line).expect("an answer").body else { panic!("a last line") };
    assert_eq!((last.code, last.sentence.as_deref()), (Code::Failed, Some("no")));
    let line = br#"{"event":"canary-started","level":"info","group":"web","share":5,"message":"canary"}"#;
    let Body::Event(event) = ask::parse_reply(line).expect("an answer").body else { panic!("an event") };
    assert_eq!(event.to_string(), "web: canary");
}

proptest! {
    #[test]
    fn garbage_is_answered_and_never_panics(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_any_line(&line);
        let _ = ask::parse_reply(&line);
    }

    #[test]
    fn spoilt_requests_are_answered_and_never_panic(
        at in 0usize..80,
        byte in any::<u8>(),
        cut in 0usize..100,
    ) {
        let mut line = br#"{"id":[1,"x"],"command":"scale","group":"web","workers":6,"wait":true,"drained":true}"#.to_vec();
        line[at] = byte;
        line.truncate(line.len() - cut.min(line.len()));
        check_any_line(&line);
    }

    #[test]
    fn lines_are_the_same_in_any_pieces(
        stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x'), any::<u8>()], 0..200),
        cuts in proptest::collection::vec(1usize..40, 1..20),
    ) {
        const LIMIT: usize = 12;
        let mut expected = Vec::new();
        let mut whole: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
        let rest = whole.pop().unwrap_or_default();
        for line in whole.into_iter().chain(std::iter::once(rest)) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > LIMIT {
                expected.push(None);
                break;
            }
            expected.push(Some(line.to_vec()));
        }
        if expected.last() != Some(&None) {
            // The last one has no end.
            expected.pop();
        }
        let mut buffer = LineBuffer::new(LIMIT);
        let mut got = Vec::new();
        let mut left = &stream[..];
        for cut in cuts.into_iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (piece, after) = left.split_at(cut.min(left.len()));
            left = after;
            buffer.push(piece);
            while let Some(line) = buffer.next_line() {
                got.push(match line {
                    Line::Complete(text) => Some(text.to_vec()),
                    Line::TooLong => None,
                });
            }
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn a_status_survives_the_wire(status in any_status()) {
        let text = serde_json::to_string(&status).expect("a status is JSON");
        prop_assert_eq!(ask::parse_status(&text).expect("a status"), status);
    }
}

/// Whatever a line is, it is a request, or nothing, or has one line of JSON as its answer.
fn check_any_line(line: &[u8]) {
    match Codec::native().decode(line) {
        Decoded::Request { .. } | Decoded::Nothing => {}
        Decoded::Reply(bytes) => {
            assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(bytes.last(), Some(&b'\n'));
            let answer: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!(answer["done"], true);
            assert_eq!(answer["ok"], false);
            assert_eq!(answer["code"], 2);
        }
    }
}

fn status() -> Status {
    Status {
        version: 1,
        pid: 4711,
        name: "web".to_owned(),
        uptime_ms: 182_000,
        drain_ms: None,
        strangers: 0,
        groups: vec![GroupStatus {
            name: "web".to_owned(),
            target: 2,
            generation: 2,
            state: GroupState::Upgrading,
            sockets: vec![SocketStatus { name: "http".to_owned(), address: "127.0.0.1:8080".to_owned() }],
            workers: vec![
                WorkerStatus {
                    slot: 0,
                    index: 2,
                    pid: 4720,
                    generation: 2,
                    phase: WorkerPhase::Ready,
                    since_ms: 12,
                    restarts: 1,
                    last_exit: Some(LastExit::Signal("TERM".to_owned())),
                    status: Some("warm".to_owned()),
                    last_exit_detail: None,
                    last_failure: None,
                    until_ms: None,
                    fd_store: 0,
                    main_pid: None,
                    probe: None,
                },
                WorkerStatus {
                    slot: 0,
                    index: 0,
                    pid: 4712,
                    generation: 1,
                    phase: WorkerPhase::Stopping,
                    since_ms: 10,
                    restarts: 0,
                    last_exit: None,
                    status: None,
                    last_exit_detail: None,
                    last_failure: None,
                    until_ms: None,
                    fd_store: 0,
                    main_pid: None,
                    probe: None,
                },
            ],
            vacant: vec![VacantSlot {
                slot: 1,
                restarts: 3,
                last_exit: Some(LastExit::Code(1)),
                last_exit_detail: Some(ExitDetail::OutOfMemory),
                last_failure: Some(FailureStatus {
                    message: "not ready in time".to_owned(),
                    generation: 2,
                    pid: 4713,
                    ago_ms: 9,
                    stderr: vec!["KeyError: 'PORT'".to_owned()],
                }),
            }],
            age_ms: None,
            generations: vec![GenerationStatus {
                generation: 1,
                role: GenerationRole::Old,
                since_ms: 180_000,
                ready: 1,
                starting: 0,
                draining: 1,
                draining_ms: Some(12),
            }],
            upgrades: vec![UpgradeStatus {
                from: 1,
                to: 2,
                result: UpgradeResult::RolledBack,
                message: "generation 1 is back".to_owned(),
                ago_ms: 60_000,
                took_ms: 1_200,
            }],
            rollback_to: Some(1),
            failures: 2,
            canary_ms: Some(500),
            upgrade_left_ms: None,
            next_attempt_ms: Some(1500),
            dropped_bytes: 4096,
            fd_store: 0,
        }],
    }
}

fn replies() -> Vec<(Reply, bool)> {
    let event = Note {
        level: Level::Info,
        group: Some("web".to_owned()),
        worker: Some(Worker { slot: 0, index: 0, pid: 12, generation: 2 }),
        counts: Some(Counts { ready: 3, target: 4, draining: 1 }),
        what: Happening::Ready(Duration::from_millis(1003)),
    };
    vec![
        (Reply::Done(String::new()), true),
        (Reply::Done("web: 4 workers of generation 2".to_owned()), true),
        (Reply::Done("half way".to_owned()), false),
        (Reply::Failed(Code::UpgradeFailed, "said \"no\"\n\u{1b}".to_owned()), true),
        (
            Reply::Changes { changes: vec!["- api".to_owned()], message: "reloaded: 1 change".to_owned() },
            true,
        ),
        (Reply::Changes { changes: vec!["- api".to_owned()], message: String::new() }, false),
        (
            Reply::Rejected {
                code: Code::Refused,
                error: "not reloaded: 2 errors; nothing is changed".to_owned(),
                errors: vec!["a:1:2: b".to_owned(), "a:2:1: c".to_owned()],
            },
            true,
        ),
        (Reply::Version("remuda 0.1.0".to_owned()), true),
        (Reply::Status(Box::new(status())), true),
        (Reply::Status(Box::new(status())), false),
        (Reply::Event(Box::new(event)), false),
    ]
}

fn happenings() -> Vec<(Level, bool, Happening)> {
    let second = Duration::from_secs(1);
    vec![
        (Level::Info, false, Happening::Started),
        (Level::Info, false, Happening::Connected),
        (Level::Info, false, Happening::ProgramChanged),
        (Level::Debug, true, Happening::Spawned),
        (Level::Info, true, Happening::Ready(Duration::from_millis(1003))),
        (Level::Warn, true, Happening::AckIgnored),
        (Level::Info, true, Happening::Stopping(Signal::TERM, Reason::Replaced)),
        (Level::Info, true, Happening::StopCommand(Reason::Stop)),
        (Level::Info, false, Happening::HookStarted(HookKind::Preflight)),
        (Level::Info, false, Happening::HookDone(HookKind::Preflight)),
        (Level::Warn, true, Happening::HookFailed(HookKind::Stop(ChildId(7)), "exit code 1".to_owned())),
        (Level::Warn, true, Happening::Killing(10 * second)),
        (Level::Info, true, Happening::Gone(Exit::Code(0))),
        (Level::Info, true, Happening::Gone(Exit::Signal(Signal::KILL))),
        (Level::Warn, true, Happening::Died(Exit::Code(1), Duration::from_millis(300), None)),
        (Level::Warn, true, Happening::Died(Exit::Unknown, 90 * second, Some(ExitDetail::OutOfMemory))),
        (Level::Error, true, Happening::SpawnFailed(Stage::Exec, libc::ENOENT)),
        (Level::Info, false, Happening::BackOff(Duration::from_millis(1500))),
        (Level::Error, false, Happening::GaveUp(5)),
        (Level::Info, true, Happening::Finished(Exit::Code(0))),
        (Level::Info, false, Happening::UpgradeStarted(1, 2, UpgradeMode::Rolling)),
        (Level::Info, false, Happening::UpgradeDone(2)),
        (Level::Error, false, Happening::UpgradeFailed(2, "3 new workers in a row died".to_owned(), 1)),
        (Level::Warn, false, Happening::RolledBack(1)),
        (Level::Info, false, Happening::Superseded(2, 3)),
        (Level::Info, false, Happening::RestartStarted),
        (Level::Info, false, Happening::RestartDone),
        (Level::Info, false, Happening::Scaled(4, 6)),
        (Level::Info, false, Happening::GroupStopping),
        (Level::Info, false, Happening::GroupStopped),
        (Level::Info, false, Happening::GroupStarted),
        (Level::Info, false, Happening::ShuttingDown(Some(Signal::TERM))),
        (Level::Info, false, Happening::ShuttingDown(None)),
        (Level::Warn, false, Happening::ShuttingDownAtOnce(Some(Signal::QUIT))),
        (Level::Warn, false, Happening::SignalIgnored(Signal::USR2)),
        (Level::Info, false, Happening::ReexecStarted),
        (Level::Info, false, Happening::ReloadStarted),
        (Level::Info, false, Happening::PlanChanged("- api".to_owned())),
        (Level::Warn, false, Happening::PlanKept("! remuda: name stays".to_owned())),
        (Level::Info, false, Happening::Reloaded(2)),
        (Level::Error, false, Happening::ReloadFailed("no such file".to_owned())),
        (
            Level::Error,
            false,
            Happening::ReexecFailed("cannot execute /bin/remuda: permission denied".to_owned()),
        ),
    ]
}

prop_compose! {
    fn any_worker()(
        numbers in any::<(u32, u32, i32, u32, u64, u32)>(),
        phase in prop_oneof![
            Just(WorkerPhase::Starting),
            Just(WorkerPhase::Ready),
            Just(WorkerPhase::Stopping),
            Just(WorkerPhase::Killed),
        ],
        last_exit in prop_oneof![
            Just(None),
            any::<u8>().prop_map(|code| Some(LastExit::Code(code))),
            any::<String>().prop_map(|name| Some(LastExit::Signal(name))),
            any::<String>().prop_map(|why| Some(LastExit::Spawn(why))),
            Just(Some(LastExit::Unknown(()))),
        ],
        status in any::<Option<String>>(),
    ) -> WorkerStatus {
        let (slot, index, pid, generation, since_ms, restarts) = numbers;
        let (last_failure, until_ms) = (None, Some(since_ms));
        WorkerStatus {
            slot,
            index,
            pid,
            generation,
            phase,
            since_ms,
            restarts,
            last_exit,
            last_exit_detail: None,
            status,
            last_failure,
            until_ms,
            fd_store: index,
            main_pid: Some(pid),
            probe: None,
        }
    }
}

prop_compose! {
    fn any_group()(
        name in any::<String>(),
        target in any::<u32>(),
        generation in any::<u32>(),
        state in prop_oneof![
            Just(GroupState::Starting),
            Just(GroupState::Up),
            Just(GroupState::Upgrading),
            Just(GroupState::Stopping),
            Just(GroupState::Stopped),
            Just(GroupState::Failing),
        ],
        sockets in proptest::collection::vec(any::<(String, String)>(), 0..3),
        workers in proptest::collection::vec(any_worker(), 0..4),
        age_ms in any::<Option<u64>>(),
        next_attempt_ms in any::<Option<u64>>(),
        dropped_bytes in any::<u64>(),
    ) -> GroupStatus {
        let sockets = sockets.into_iter().map(|(name, address)| SocketStatus { name, address }).collect();
        let (vacant, generations, upgrades) = (Vec::new(), Vec::new(), Vec::new());
        let rollback_to = next_attempt_ms.map(|_| generation);
        GroupStatus {
            name,
            target,
            generation,
            state,
            sockets,
            workers,
            vacant,
            age_ms,
            generations,
            upgrades,
            rollback_to,
            failures: target,
            canary_ms: next_attempt_ms,
            upgrade_left_ms: next_attempt_ms,
            next_attempt_ms,
            dropped_bytes,
            fd_store: generation,
        }
    }
}

prop_compose! {
    fn any_status()(
        pid in any::<i32>(),
        name in any::<String>(),
        uptime_ms in any::<u64>(),
        groups in proptest::collection::vec(any_group(), 0..3),
    ) -> Status {
        Status { version: 1, pid, name, uptime_ms, groups, drain_ms: None, strangers: 0 }
    }
}
