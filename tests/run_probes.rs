//! The real binary: workers that are looked at from outside, to see whether they are ready and whether they still are.
//!
//! Whoever is asked is a thread of the test, so that it answers when and how the test wants it to.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use serde_json::Value;
use support::process::{lives, status_field};
use support::{Manager, REMUDA, Setup, pid_of, setup, worker};

#[test]
fn worker_entry() {
    worker::enter();
}

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Answer {
    /// Answers with this code.
    Code(u16),
    /// Says nothing, and keeps it open.
    Nothing,
    /// Sends a byte now and then, and never the end of a line.
    Drip,
    /// Sends as much as is taken, and never the end of a line.
    Flood,
    /// Hangs up.
    Close,
}

/// Serves one connection. The first line of the request, and its `Host`, are returned.
fn serve(mut stream: impl Read + Write, answer: Answer) -> (String, String) {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut reader = BufReader::new(&mut stream);
    while reader.read_line(&mut line).is_ok_and(|length| length > 0) && line.trim_end() != "" {
        lines.push(std::mem::take(&mut line).trim_end().to_owned());
    }
    let host = lines.iter().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default().to_owned();
    // Whoever asks may hang up at any time.
    let mut say = |bytes: &[u8]| stream.write_all(bytes).is_ok();
    match answer {
        Answer::Code(code) => {
            _ = say(format!("HTTP/1.1 {code} So\r\nContent-Length: 2\r\n\r\nok").as_bytes())
        }
        Answer::Nothing => thread::sleep(support::LIMIT),
        Answer::Drip => {
            while say(b"H") {
                thread::sleep(Duration::from_millis(20));
            }
        }
        Answer::Flood => while say(&[b'a'; 4096]) {},
        Answer::Close => {}
    }
    (lines.into_iter().next().unwrap_or_default(), host)
}

/// A server for each connection of which `answer` says what to do, by its number from 0.
fn server(answer: impl Fn(usize) -> Answer + Send + 'static) -> (SocketAddr, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let (answer, tell) = (answer(number), tell.clone());
            // The test may be over.
            thread::spawn(move || drop(tell.send(serve(stream, answer))));
        }
    });
    (address, told)
}

/// Options by which probes follow one another quickly, and the deadline is far away.
const QUICK: &str = "--probe-interval 50ms --probe-timeout 30s --ack-deadline 80s";

fn probed(probe: impl AsRef<std::ffi::OsStr>) -> Setup {
    setup("pause").options(QUICK).option("--ack").option(probe)
}

/// `exec:sh -c SCRIPT`; `DIR` in it is the directory.
fn shell(setup: &Setup, script: &str) -> String {
    assert!(!script.contains('\''));
    let script = script.replace("DIR", setup.path("").to_str().unwrap().trim_end_matches('/'));
    format!("exec:sh -c '{script}'")
}

/// Waits until a probe has failed like this.
fn fails(manager: &Manager, error: &str) {
    manager.log.line(&format!("not ready yet: {error}"));
}

/// The why of the one worker, once it says this.
fn why(manager: &Manager, text: &str) {
    let told = manager.done(&["why"]).stdout;
    assert!(told.contains(text), "{told}");
}

#[test]
fn a_worker_is_ready_when_a_connection_is_accepted() {
    let held: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&held), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address: SockaddrIn = getsockname(std::os::fd::AsRawFd::as_raw_fd(&held)).unwrap();
    let mut manager = probed(format!("tcp:{}", address.port())).start();
    fails(&manager, "connection refused");
    why(&manager, "ago: connection refused");
    let shown = manager.done(&["status"]).stdout;
    assert!(shown.contains("probe: connection refused"), "{shown}");
    assert_eq!(manager.pids("starting").len(), 1);
    listen(&held, Backlog::new(8).unwrap()).unwrap();
    manager.up();
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_place_of_its_own_tells_of_one_worker_and_no_other() {
    let setup = setup("pause").options(QUICK).options("-n 2");
    let at = |slot: u32| setup.path(&format!("app-{slot}.sock"));
    let probe = format!("unix:{}", setup.path("app-{slot}.sock").display());
    let (first, second) = (at(0), at(1));
    let manager = setup.option("--ack").option(probe).start();
    fails(&manager, "no such file or directory");
    let _second = UnixListener::bind(second).unwrap();
    let mut events = manager.events();
    if manager.pids("ready").is_empty() {
        assert_eq!(events.until("ready")["slot"], 1);
    }
    let ready: Vec<Value> =
        manager.workers().into_iter().filter(|worker| worker["phase"] == "ready").collect();
    assert_eq!(ready.iter().map(|worker| worker["slot"].as_u64()).collect::<Vec<_>>(), [Some(1)]);
    let _first = UnixListener::bind(first).unwrap();
    manager.up();
}

#[test]
fn a_worker_is_ready_when_it_answers_with_2xx() {
    let (address, requests) = server(|number| Answer::Code(if number < 6 { 503 } else { 204 }));
    let mut manager = probed(format!("http://{address}/health?full=1")).start();
    fails(&manager, "answered 503");
    manager.up();
    assert_eq!(manager.stop(), Some(0));
    let request = requests.recv().unwrap();
    assert_eq!(request, ("GET /health?full=1 HTTP/1.0".to_owned(), address.to_string()));
}

#[test]
fn http_is_spoken_at_unix_sockets_too() {
    let setup = setup("pause").options(QUICK);
    let listener = UnixListener::bind(setup.path("app.sock")).unwrap();
    let probe = format!("http://unix:{}:/health", setup.path("app.sock").display());
    let manager = setup.option("--ack").option(probe).start();
    let (stream, _) = listener.accept().unwrap();
    let request = serve(stream, Answer::Code(200));
    assert_eq!(request, ("GET /health HTTP/1.0".to_owned(), "localhost".to_owned()));
    manager.up();
}

#[test]
fn words_lead_to_the_sockets_of_the_group() {
    let manager = setup("serve")
        .options(QUICK)
        .options("-b 127.0.0.1:0,name=web --ack http://127.0.0.1:{port:web}/")
        .start();
    manager.up();
    let refused = setup("pause").options("--ack tcp:{port:web}").output();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("{port:web}: no socket has this name"), "{refused:?}");
}

#[test]
fn servers_that_do_not_come_to_the_point_are_not_waited_for() {
    for (answer, error) in [
        (Answer::Nothing, "no answer within 200 ms"),
        (Answer::Drip, "no answer within 200 ms"),
        (Answer::Flood, "an answer that is no HTTP"),
        (Answer::Close, "closed without an answer"),
    ] {
        let (address, _requests) = server(move |number| if number < 8 { answer } else { Answer::Code(200) });
        let manager = setup("pause")
            .options("--probe-interval 50ms --probe-timeout 200ms --ack-deadline 80s")
            .options(&format!("--ack http://{address}/"))
            .start();
        fails(&manager, error);
        manager.up();
    }
}

#[test]
fn who_never_answers_misses_the_deadline_with_the_reason() {
    let (address, _requests) = server(|_| Answer::Code(500));
    let setup = setup("pause").options("--ack-deadline 1s --probe-interval 50ms --backoff 100ms");
    let manager = setup.options(&format!("--ack http://{address}/")).start();
    let mut events = manager.events();
    assert_eq!(events.until("stopping")["reason"], "not ready in time");
    events.until("back-off");
    why(&manager, "not ready in time: answered 500");
}

#[test]
fn a_command_says_by_its_end_whether_a_worker_is_ready() {
    let setup = setup("pause").options(QUICK).options("-e COLOUR=red");
    let script =
        "kill -0 $MAINPID && test $COLOUR = red && test -e DIR/good-{slot} && echo $MAINPID >DIR/seen";
    let probe = shell(&setup, script);
    let mut manager = setup.option("--ack").option(probe).start();
    fails(&manager, "exit code 1");
    fs::write(manager.path("good-0"), "").unwrap();
    manager.up();
    let seen = fs::read_to_string(manager.path("seen")).unwrap();
    assert_eq!(seen.trim(), manager.pids("ready")[0].to_string());
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn a_command_that_hangs_is_killed_with_all_it_has_started() {
    let setup = setup("pause").options("--probe-interval 50ms --probe-timeout 200ms");
    let script = "test -e DIR/tried && exit 0; echo $$ >DIR/pid; >DIR/tried; sleep 1000; true";
    let probe = shell(&setup, script);
    let mut manager = setup.option("--ack").option(probe).start();
    manager.up();
    // On a busy machine it may have been killed before it came to write its pid.
    let pid = fs::read_to_string(manager.path("pid")).ok().and_then(|pid| pid.trim().parse().ok());
    assert!(pid.is_none_or(|pid: i32| !lives(pid)));
    assert_eq!(manager.stop(), Some(0));
    manager.leaves_nobody();
}

#[test]
fn a_worker_that_does_not_stand_its_live_check_is_replaced() {
    let well = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&well);
    let code = move |_| Answer::Code(if told.load(Ordering::SeqCst) { 200 } else { 503 });
    let (address, requests) = server(code);
    let setup = setup("pause").options("--ack none --live-interval 50ms --probe-timeout 30s");
    let mut manager = setup.options(&format!("--live-check http://{address}/")).start();
    let before = manager.up().pids("ready");
    for _ in 0..5 {
        requests.recv_timeout(support::LIMIT).unwrap();
    }
    assert_eq!(manager.pids("ready"), before);
    let mut events = manager.events();
    well.store(false, Ordering::SeqCst);
    let found = events.until("probe-failed");
    assert_eq!((found["error"].as_str(), found["level"].as_str()), (Some("answered 503"), Some("warn")));
    let stopping = events.until("stopping");
    assert_eq!((stopping["reason"].as_str(), pid_of(&stopping)), (Some("live check failed"), before[0]));
    well.store(true, Ordering::SeqCst);
    events.up();
    assert_ne!(manager.pids("ready"), before);
    why(&manager, "live check failed 3 times in a row, the last: answered 503");
    assert_eq!(manager.stop(), Some(0));
}

#[test]
fn an_upgrade_whose_workers_fail_their_probe_is_given_up() {
    let setup = setup("pause").options("--probe-interval 50ms --ack-deadline 1s --upgrade-attempts 1");
    fs::write(setup.path("good-1"), "").unwrap();
    // The deadline is short for the first generation too, on a busy machine.
    let setup = setup.options("--backoff 50ms:1:50ms");
    let probe = shell(&setup, "test -e DIR/good-{generation}");
    let manager = setup.option("--ack").option(probe).start();
    let before = manager.up().pids("ready");
    let failed = manager.verb(&["upgrade"]);
    assert_eq!(failed.code, Some(5), "{failed:?}");
    assert!(failed.stderr.contains("not ready in time"), "{failed:?}");
    manager.up();
    assert_eq!((manager.pids("ready"), manager.group()["generation"].as_u64()), (before, Some(1)));
}

#[test]
fn a_new_image_of_the_manager_begins_its_probes_again() {
    let (address, requests) = server(|number| if number == 0 { Answer::Nothing } else { Answer::Code(200) });
    let manager = probed(format!("http://{address}/")).start();
    assert_eq!(manager.pids("starting").len(), 1);
    manager.done(&["reexec"]);
    manager.up();
    requests.recv_timeout(support::LIMIT).unwrap();
}

#[test]
fn who_is_ready_and_not_checked_costs_nothing() {
    let (address, _requests) = server(|_| Answer::Code(200));
    let manager = probed(format!("http://{address}/")).start();
    manager.up();
    let sleeps = || status_field(manager.pid(), "voluntary_ctxt_switches");
    // It may still have to see that we have hung up.
    let sleeps_on = |_| {
        let before = sleeps();
        support::pass(Duration::from_millis(300));
        sleeps() == before
    };
    assert!((0..30).any(sleeps_on), "it waits without a clock");
}

#[test]
fn what_cannot_be_a_probe_is_refused_with_the_reason() {
    for (words, told) in [
        (["--ack", "tcp:"], "--ack: bad address \"\": the address is missing"),
        (["--ack", "tcp:0"], "--ack: nobody is at port 0"),
        (["--ack", "htp://127.0.0.1/"], "--ack: unknown 'htp://127.0.0.1/' (did you mean 'http'?)"),
        (["--ack", "https://127.0.0.1/"], "--ack: a probe speaks plain HTTP, no TLS"),
        (["--ack", "exec:"], "--ack: exec: no program is named"),
        (["--ack", "http://example.com/"], "'example.com' is a name: a probe goes to an IP address"),
        (["--live-check", "manual"], "--live-check: 'manual' is none of tcp:ADDR, unix:PATH"),
        (["--live-failures", "0"], "--live-failures: '0' is not a number from 1"),
        (["--probe-timeout", "0"], "--probe-timeout: '0' leaves no time"),
    ] {
        let refused = setup("pause").option(words[0]).option(words[1]).output();
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    let refused = setup("pause").option("--ack").option("exec:no-such-program").output();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("program no-such-program not found in PATH"), "{refused:?}");
}

#[test]
fn a_file_says_the_same() {
    let setup = setup("");
    let (address, _requests) = server(|number| Answer::Code(if number < 2 { 200 } else { 500 }));
    let text = format!(
        "[web]\nexec_start = 'sleep 1000'\nack = 'http://{address}/ready'\nprobe_interval = '50ms'\n\
         probe_timeout = 30\nlive_check = 'http://{address}/live'\nlive_interval = 0.05\nlive_failures = 2\n"
    );
    fs::write(setup.path("site.toml"), text).unwrap();
    let mut command = Command::new(REMUDA);
    command.args(["run", "-c"]).arg(setup.path("site.toml")).arg("--control").arg(setup.path("c.sock"));
    let manager = setup.start_as(command);
    manager.log.line("stopping with signal TERM: live check failed");
    let text = "[web]\nexec_start = 'sleep 1'\nack = 'tcp:'\nlive_check = 'exec:'\n";
    fs::write(manager.path("bad.toml"), text).unwrap();
    let checked = support::process::run(Command::new(REMUDA).arg("check").arg(manager.path("bad.toml")));
    assert_eq!(checked.code, Some(1));
    for told in ["bad.toml:3:7: web.ack: ", "bad.toml:4:14: web.live_check: exec: no program is named"] {
        assert!(checked.stderr.contains(told), "{checked:?}");
    }
}
