//! Every recorded exchange, the bytes of every client that is known, and what no input may do.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::error::Code;
use crate::plan::Policy;
use crate::signame::Signal;
use crate::supervisor::command::{Scale, Verb, Wait};
use crate::supervisor::foreign::{Changes, Foreign, Inspected, Inspection};

fn codec() -> Einhorn {
    Einhorn::new(
        &EinhornManner {
            command: vec!["sleep".into(), "1000".into()],
            backlog: 100,
            ..EinhornManner::default()
        },
        18639,
    )
}

fn recorded(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/einhorn").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a line is answered with by a core that says this.
fn answer(codec: &mut Einhorn, line: &str, reply: &Reply) -> String {
    let mut out = Vec::new();
    match codec.decode(line.as_bytes()) {
        Decoded::Request { request, .. } => codec.encode(request, reply, true, &mut out),
        Decoded::Reply(bytes) => out = bytes,
        Decoded::Nothing => {}
    }
    String::from_utf8(out).unwrap()
}

/// The same request as einhornsh would write it.
fn in_yaml(json: &str) -> String {
    fn block(value: &serde_json::Value) -> String {
        match value {
            serde_json::Value::String(text) => {
                let mut out = String::new();
                ruby::string(&mut out, text, 0, 2);
                out
            }
            serde_json::Value::Array(items) if items.is_empty() => "[]\n".into(),
            serde_json::Value::Array(items) => {
                "\n".to_owned() + &items.iter().map(|item| format!("- {}", block(item))).collect::<String>()
            }
            other => format!("{other}\n"),
        }
    }
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap();
    if fields.is_empty() {
        return escape("--- {}\n");
    }
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {}", block(value))).collect();
    escape(&format!("---\n{lines}"))
}

/// What a reply says, whatever it is written in: message, id, whether more follow.
fn parsed(line: &str) -> (String, Option<(String, bool)>, bool) {
    let (message, _) = read(line.trim_end().as_bytes()).unwrap_or_else(|| panic!("{line:?}"));
    let Some(Yaml::Scalar { text, .. }) = message.get("message") else { panic!("{line:?}") };
    let id = message.get("request_id").map(|id| match id {
        Yaml::Scalar { text, plain } => (text.clone(), *plain),
        other => panic!("{other:?}"),
    });
    (text.clone(), id, message.get("wait").is_some())
}

fn scaled(from: u32, to: u32) -> Reply {
    Reply::Scaled { from, to, message: String::new() }
}

#[test]
fn recorded_requests_are_answered_as_they_were() {
    let done = || Reply::Done(String::new());
    let level = Reply::Level;
    for (name, reply) in [
        ("json-ehlo-id", done()),
        ("json-ehlo-noid", done()),
        ("json-help", done()),
        ("json-help-noid", done()),
        ("json-unknown", done()),
        ("json-unknown-noid", done()),
        ("int-command", done()),
        ("json-nocommand", done()),
        ("json-nocommand-noid", done()),
        ("json-inc", scaled(2, 3)),
        ("json-dec", scaled(3, 2)),
        ("json-dec2", scaled(2, 1)),
        ("json-dec-at-one", scaled(1, 1)),
        ("json-set_workers-0", done()),
        ("json-set_workers-1001", done()),
        ("json-set_workers-2", scaled(3, 2)),
        ("json-set_workers-3", scaled(1, 3)),
        ("json-set_workers-emptyargs", done()),
        ("json-set_workers-noargs", done()),
        ("json-set_workers-same", scaled(3, 3)),
        ("json-quieter", level(Level::Warn)),
        ("json-quieter-again", level(Level::Warn)),
        ("json-quieter3", level(Level::Info)),
        ("json-louder", level(Level::Info)),
        ("json-louder2", level(Level::Debug)),
        ("json-signal-argstr", done()),
        ("json-signal-bad", done()),
        ("json-signal-cont", done()),
        ("json-signal-empty", done()),
        ("json-signal-noargs", done()),
        ("json-signal-term-recordless", done()),
        ("json-die", done()),
        ("json-die-badsig", done()),
        ("json-die-int", done()),
        ("die-args", done()),
        ("json-config-empty", done()),
        ("json-config-noargs", done()),
        ("json-upgrade-noid", Reply::Done("upgrading web".into())),
    ] {
        let (request, expected) = (recorded(&format!("{name}.req")), recorded(&format!("{name}.resp")));
        let request = request.trim_end();
        assert_eq!(answer(&mut codec(), &in_yaml(request), &reply), expected, "{name}, to the byte");
        let json = answer(&mut codec(), request, &reply);
        assert_eq!(parsed(&json), parsed(&expected), "{name}");
        assert!(json.starts_with('{') && !json.contains(['%', '+']), "{json}");
    }
    for name in ["bad-yaml", "scalar", "emptyline", "CRASH-ruby-object"] {
        let request = recorded(&format!("{name}.req"));
        let expected = recorded("bad-yaml.resp");
        assert_eq!(answer(&mut codec(), request.trim_end_matches('\n'), &done()), expected, "{name}");
    }
}

#[test]
fn recorded_requests_of_workers_end_the_connection_without_a_word() {
    for (name, verb) in [
        ("ack-nopid", Verb::Ack(None)),
        ("ack-timer-mode", Verb::Ack(Some(12345))),
        ("ping", Verb::Heartbeat(Some(12345), "r1".into())),
        ("manual-ack-goji", Verb::Ack(Some(22763))),
    ] {
        let request = recorded(&format!("{name}.req"));
        let mut codec = codec();
        let Decoded::Request { request, verb: decoded } = codec.decode(request.trim_end().as_bytes()) else {
            panic!("{name}")
        };
        assert_eq!(decoded, verb, "{name}");
        let mut out = Vec::new();
        codec.encode(request, &Reply::Failed(Code::Refused, "no such worker".into()), true, &mut out);
        assert_eq!(
            (String::from_utf8(out).unwrap(), codec.is_over()),
            (recorded(&format!("{name}.resp")), true)
        );
    }
}

#[test]
fn a_manager_with_a_name_greets_with_it_as_recorded() {
    let named = EinhornManner { command_name: Some("myapp".into()), ..EinhornManner::default() };
    let (request, expected) = (recorded("ehlo-cmdname.req"), recorded("ehlo-cmdname.resp"));
    let done = Reply::Done(String::new());
    let greet = |line: &str| answer(&mut Einhorn::new(&named, 26633), line, &done);
    assert_eq!(greet(&in_yaml(request.trim_end())), expected, "to the byte");
    assert_eq!(parsed(&greet(request.trim_end())), parsed(&expected));
}

#[test]
fn what_is_no_mapping_is_refused_as_a_config_where_einhorn_shows_a_backtrace() {
    let request = recorded("json-config-nothash.req");
    for line in [request.trim_end().to_owned(), in_yaml(request.trim_end())] {
        let ours = answer(&mut codec(), &line, &Reply::Done(String::new()));
        let sentence = "Parsed argument is a Integer, not a hash".to_owned();
        assert_eq!(parsed(&ours), (sentence, Some(("7".into(), true)), false));
    }
}

#[test]
fn the_recorded_bytes_of_clients_are_understood() {
    let verb = |name: &str| match codec().decode(recorded(name).trim_end().as_bytes()) {
        Decoded::Request { verb, .. } => verb,
        other => panic!("{name}: {other:?}"),
    };
    let changes = Changes { workers: Some(4), ..Changes::default() };
    assert_eq!(verb("client-einhornsh-config.req"), Verb::Foreign(Foreign::Configure(changes)));
    assert_eq!(verb("client-einhornsh-set_workers.req"), Verb::Scale(None, Scale::To(3), Wait::No));
    assert_eq!(verb("client-baseplate-ack.req"), Verb::Ack(Some(13047)));
    assert_eq!(verb("client-ruby-worker-ack.req"), Verb::Ack(Some(13035)));
}

#[test]
fn our_einhornsh_sends_the_bytes_of_theirs() {
    for (name, command, args) in [
        ("client-einhornsh-help.req", "help", vec![]),
        ("client-einhornsh-set_workers.req", "set_workers", vec!["3".to_owned()]),
        ("client-einhornsh-config.req", "config", vec!["{config: {number: 4}}".to_owned()]),
    ] {
        let line = client::request_line(1, command, &args);
        assert_eq!(String::from_utf8(line).unwrap(), recorded(name), "{name}");
    }
    assert_eq!(client::greeting("root"), b"---%0Acommand: ehlo%0Auser: root%0A\n");
}

#[test]
fn what_a_state_does_not_tell_of_a_connection_has_a_default() {
    let mut codec = codec();
    assert!(matches!(codec.decode(br#"{"id":7,"command":"upgrade"}"#), Decoded::Request { .. }));
    let mut state = serde_json::to_value(&codec).unwrap();
    assert_eq!(serde_json::from_value::<Einhorn>(state.clone()).unwrap(), codec);
    for place in ["", "/pending/0", "/pending/0/style"] {
        let fields = state.pointer(place).unwrap().as_object().unwrap();
        for name in fields.keys() {
            let mut less = state.clone();
            less.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(name);
            serde_json::from_value::<Einhorn>(less).unwrap_or_else(|error| panic!("{place}/{name}: {error}"));
        }
    }
    state["pending"][0]["from_a_later_version"] = serde_json::json!([1]);
    assert_eq!(serde_json::from_value::<Einhorn>(state).unwrap(), codec);
}

#[test]
fn acks_and_pings_of_every_client_are_understood_and_end_the_connection() {
    let ack = |pid| Verb::Ack(pid);
    let ping = |pid, said: &str| Verb::Heartbeat(pid, said.to_owned());
    for (line, verb) in [
        // Einhorn::Worker
        ("---%0Acommand: worker:ack%0Apid: 13035%0A", ack(Some(13035))),
        (
            "---%0Acommand: worker:ping%0Apid: 13037%0Arequest_id: |-%0A  req-1%25%0A  2%0A",
            ping(Some(13037), "req-1%\n2"),
        ),
        // go-einhorn
        ("command: worker:ack%0Apid: 1234%0A", ack(Some(1234))),
        // goji, baseplate, CHH/einhorn and the documentation
        (r#"{"command": "worker:ack", "pid": 22763}"#, ack(Some(22763))),
        (r#"{"command":"worker:ack","pid":123}"#, ack(Some(123))),
        (r#"{"command":"worker:ping", "pid":12345,"request_id":"r1"}"#, ping(Some(12345), "r1")),
        // Others
        (r#"{"command":"worker:ack","pid":"123"}"#, ack(Some(123))),
        (r#"{"command":"worker:ack"}"#, ack(None)),
        ("command: worker:ack%0Apid: '77'%0A\r", ack(Some(77))),
    ] {
        let mut codec = codec();
        let Decoded::Request { request, verb: decoded } = codec.decode(line.as_bytes()) else {
            panic!("{line}")
        };
        assert_eq!(decoded, verb, "{line}");
        assert!(!codec.is_over());
        let mut out = Vec::new();
        codec.encode(request, &Reply::Failed(Code::Refused, "no such worker".into()), true, &mut out);
        assert!(out.is_empty() && codec.is_over() && codec.pending() == 0, "{line}");
    }
    for wrong in ["-1", "x", "[]", "1.5", "99999999999", "{}"] {
        let mut codec = codec();
        assert_eq!(codec.decode(format!("command: worker:ack%0Apid: {wrong}").as_bytes()), Decoded::Nothing);
        assert!(codec.is_over());
    }
    let mut lasting = codec().lasting();
    answer(&mut lasting, "command: worker:ack", &Reply::Done(String::new()));
    assert!(!lasting.is_over());
}

#[test]
fn what_einhornsh_and_go_einhorn_ask_is_understood() {
    let verb = |line: &str| match codec().decode(line.as_bytes()) {
        Decoded::Request { verb, .. } => verb,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(
        verb("---%0Aid: 1%0Acommand: set_workers%0Aargs:%0A- '3'%0A"),
        Verb::Scale(None, Scale::To(3), Wait::No)
    );
    assert_eq!(
        verb("request_id: 7%0Acommand: signal%0Aargs:%0A- USR1%0A- sigusr2%0A- EXIT%0A"),
        Verb::Foreign(Foreign::Signals(vec![Signal::USR1, Signal::USR2]))
    );
    assert_eq!(verb("command: die"), Verb::Foreign(Foreign::StopWith(Signal::USR2)));
    assert_eq!(verb("id: 1%0Acommand: upgrade"), Verb::Upgrade(None, Wait::Told));
    assert_eq!(verb("command: upgrade_fleet"), Verb::Foreign(Foreign::UpgradeFleet(Wait::No)));
    let changes = Changes { workers: Some(4), ..Changes::default() };
    let expected = Verb::Foreign(Foreign::Configure(changes));
    assert_eq!(verb("---%0Aid: 1%0Acommand: config%0Aargs:%0A- \"{config: {number: 4}}\"%0A"), expected);
    assert_eq!(verb(r#"{"command":"config","args":["{:config:","{:number: 4}}"]}"#), expected);
}

#[test]
fn ids_come_back_as_they_were_given() {
    for (id, back) in [
        ("1", "request_id: 1%0A"),
        ("1.5", "request_id: 1.5%0A"),
        ("abc", "request_id: abc%0A"),
        ("'5'", "request_id: '5'%0A"),
        ("true", "request_id: true%0A"),
        ("\"a: b\"", "request_id: 'a: b'%0A"),
    ] {
        let line = format!("id: {id}%0Acommand: louder%0A");
        let answer = answer(&mut codec(), &line, &Reply::Level(Level::Info));
        assert_eq!(answer, format!("---%0Amessage: Verbosity set to 1%0A{back}\n"));
    }
    for none in ["~", "false", "null", "[]", "{}"] {
        let line = format!("id: {none}%0Acommand: louder%0A");
        let answer = answer(&mut codec(), &line, &Reply::Level(Level::Info));
        assert!(!answer.contains("request_id"), "{answer}");
    }
}

#[test]
fn options_that_cannot_change_are_refused_by_name() {
    let said = |text: &str| {
        let line = in_yaml(&serde_json::json!({"command": "config", "args": [text]}).to_string());
        parsed(&answer(&mut codec(), &line, &Reply::Done(String::new()))).0
    };
    assert_eq!(
        said("{config: {seconds: 2.5}, signal_timeout: 3, verbosity: 0}"),
        "Successfully merged in config"
    );
    assert_eq!(said("ack_mode: {type: timer, timeout: 2}"), "Successfully merged in config");
    assert_eq!(said("5"), "Parsed argument is a Integer, not a hash");
    assert!(said("bind: []").starts_with("Not merged: bind cannot change"), "{}", said("bind: []"));
    assert_eq!(said("config: {max_upgrade_additional: 0}"), "Successfully merged in config");
    assert_eq!(said("signal_timeout: ~"), "Successfully merged in config");
    assert!(said("config: {number: 0}").starts_with("Not merged: config.number must be"));
    assert!(said("config: {backlog: 5}").starts_with("Not merged: config.backlog cannot change"));
    assert_eq!(said("{"), "Must pass in a YAML-encoded hash");
}

#[test]
fn escapes_are_taken_once() {
    assert_eq!(unescape("a%0Ab%250A%%25%0a%2"), "a\nb%0A%%%0a%2");
    assert_eq!(unescape(&escape("%0A\n%")), "%0A\n%");
    assert_eq!(unescape("%ä"), "%ä");
}

#[test]
fn the_state_is_what_ruby_would_write() {
    let worker = Inspected {
        pid: 18667,
        generation: 1,
        index: 0,
        acked: true,
        signals: Vec::new(),
        signaled_at: None,
        born: 1_795_244_382_890,
        heartbeat: None,
    };
    let inspection = Inspection {
        policy: Policy {
            workers: 2,
            spacing: Duration::from_secs(1),
            stop_timeout: None,
            ..Policy::default()
        },
        level: Level::Info,
        generation: 1,
        upgrading: None,
        stopping: false,
        failures: 0,
        reexecs: 0,
        addresses: Vec::new(),
        last_spawn: Some(1_795_244_382_900),
        last_upgrade: None,
        workers: vec![worker.clone(), Inspected { pid: 18668, index: 1, born: 1_795_244_382_900, ..worker }],
    };
    let mut codec = codec();
    codec.manner.socket = "/tmp/x.sock".into();
    codec.manner.pidfile = "/tmp/x.pid".into();
    codec.manner.lockfile = "/tmp/x.lock".into();
    let reply = Reply::Inspection(Box::new(inspection.clone()));
    let ours = answer(&mut codec, "id: 1%0Acommand: state%0A", &reply);
    // Of moments we tell milliseconds, and each in full.
    let theirs = recorded("json-state.resp")
        .replace("890203075", "890000000")
        .replace("&1 2026-11-21 06:59:42.900717233", "2026-11-21 06:59:42.900000000")
        .replace("*1", "2026-11-21 06:59:42.900000000 +00:00")
        .replace("- \"/usr/bin/sleep\"", "- sleep");
    assert_eq!(ours, theirs);

    let mut asked = inspection;
    asked.workers[0].signals = vec![Signal::USR2, Signal::KILL];
    asked.workers[0].heartbeat = Some((0, "r: 1".into()));
    asked.policy.stop_timeout = Some(Duration::from_millis(2500));
    asked.policy.max_extra = Some(0);
    codec.manner.bind =
        vec![("127.0.0.1".into(), 0, vec!["r".into(), "n".into()]), ("localhost".into(), 80, Vec::new())];
    asked.addresses = vec!["127.0.0.1:37271".into(), "127.0.0.1:80".into()];
    let (text, ..) = parsed(&answer(&mut codec, "command: state", &Reply::Inspection(Box::new(asked))));
    let text = text.replace("!ruby/object:Set", "");
    let Yaml::Map(_) = yaml::read(&text).unwrap_or_else(|_| panic!("{text}")) else { panic!("{text}") };
    for part in [
        "hash:\n          USR2: true\n          KILL: true\n",
        ":pinged_request_id: 'r: 1'\n",
        "  :bind:\n  - - 127.0.0.1\n    - 0\n    - - r\n      - \"n\"\n  - - localhost\n    - 80\n    - []\n",
        ":bound_ports:\n  - 37271\n  - 80\n",
        ":signal_timeout: 2.5\n",
        ":max_upgrade_additional: 0\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn no_line_is_too_odd() {
    let deep = "[".repeat(65_000);
    let anchors = format!("a: &a [{}]", "*a,".repeat(10_000));
    for line in [
        "",
        " ",
        "%",
        "%0A",
        "{",
        "}",
        "[]",
        "---",
        "...",
        "\0",
        "command: \0",
        "{\"command\":\"\\u0000\"}",
        "!!x",
        "? ",
        "- - -",
        "%YAML 9",
        "command: [",
        "command: {}",
        "command: [a]",
        "id: &x 1%0Acommand: *x",
        "&a command: *a",
        &deep,
        &anchors,
        "command: inc%0Acommand: dec",
        "{\"id\":[[1]],\"command\":\"inc\"}",
        "args: inc",
    ] {
        for bytes in
            [line.as_bytes(), &[line.as_bytes(), b"\xff"].concat(), &line.as_bytes()[..line.len() / 2]]
        {
            let mut codec = codec();
            let _decoded = codec.decode(bytes);
            assert!(!codec.is_over(), "{line:?}");
        }
    }
    let mut codec = codec();
    for _ in 0..PENDING_MAX {
        assert!(matches!(codec.decode(b"command: inc"), Decoded::Request { .. }));
    }
    assert!(matches!(codec.decode(b"command: inc"), Decoded::Reply(_)));
}
