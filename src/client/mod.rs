//! The asking side: the verbs that talk to a running manager (remuda-protocol(7)).
//!
//! One connection, one request, and beside it a stream of events where the result takes time: from it come the progress
//! line on a terminal and, elsewhere, a line for what is worth knowing. The result goes to standard output, all else to
//! standard error; the exit code is that of the last line of the answer.
//!
//! A connection that ends before that line is a failure, also for `stop`: the manager answers before it exits, so that
//! silence means it was killed. After a waited-for `stop` of the whole manager the end of the connection is awaited
//! too: then its name and its sockets are free again.

mod connection;
mod einhornsh;
mod einhyrningsinsctl;
mod errand;
mod find;
mod firestarter;
mod probe;
mod progress;
mod shell;
mod table;
mod waiting;
mod why;

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::ask::{Ask, AskVerb, Probe};
use crate::duration::Human;
use crate::error::{Code, Error};
use crate::wire::ask::{Body, Last, failure_line, parse_reply, parse_status, request_line};
use crate::wire::{GenerationId, Reload, Scale, Status, Verb, Wait};
use connection::{Connection, Received};
pub use einhornsh::einhornsh;
pub use einhyrningsinsctl::einhyrningsinsctl;
pub use errand::errand;
pub use firestarter::ctrl;
use progress::Progress;

/// How long a manager that said that it stops may take to be gone.
const EXIT_TIME: Duration = Duration::from_secs(5);

/// The id of the event stream beside a verb.
const EVENTS_ID: u64 = 0;

/// The id of a verb that has an event stream beside it.
const VERB_ID: u64 = 1;

/// Asks a running manager and tells what it answers. The value is the exit code where something was done or where the
/// failure was printed already; an error is still to be printed.
///
/// # Errors
/// Whatever the manager refuses or fails to do, with its code; that no manager runs, or more than one.
pub fn ask(ask: &Ask) -> crate::error::Result<u8> {
    match converse(ask) {
        Ok(()) | Err(Halt::NobodyReads) => Ok(Code::Done.status()),
        Err(Halt::Told(code)) => Ok(code.status()),
        // Whoever probes asks for nothing but yes and no, unless it was said for how long to wait.
        Err(Halt::Failed(error))
            if matches!(ask.verb, AskVerb::Probe(_)) && !(ask.wait && error.code == Code::TimedOut) =>
        {
            Err(Error { code: Code::Failed, ..error })
        }
        Err(Halt::Failed(error)) if ask.json => {
            // Whether or not somebody reads it: the code tells the same.
            let _ = print(&failure_line(&error));
            Ok(error.code.status())
        }
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// Why a conversation ends early.
enum Halt {
    /// A failure to be told.
    Failed(Error),
    /// A failure that the manager's own line has told.
    Told(Code),
    /// Standard output is a closed pipe: whoever read it has seen enough.
    NobodyReads,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Failed(error)
    }
}

fn converse(ask: &Ask) -> Result<(), Halt> {
    let deadline = ask.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if let (AskVerb::Probe(_), true, Some(deadline)) = (&ask.verb, ask.wait, deadline) {
        return waiting::wait(ask, deadline);
    }
    let mut connection = Connection::new(find::manager(ask)?, deadline)?;
    let verb = verb(ask);
    match verb {
        Verb::Events(_) => stream(ask, &mut connection, &verb),
        _ => request(ask, &mut connection, &verb),
    }
}

/// What the command line asks, as the manager understands it.
fn verb(ask: &Ask) -> Verb {
    let group = ask.group.clone();
    let wait = match (ask.wait, ask.drained) {
        (false, _) => Wait::No,
        (true, false) => Wait::Done,
        (true, true) => Wait::Drained,
    };
    match ask.verb {
        AskVerb::Status | AskVerb::Why(_) | AskVerb::Probe(Probe::Ready { .. }) => Verb::Status(group),
        AskVerb::Upgrade => Verb::Upgrade(group, wait),
        AskVerb::RollBack => Verb::RollBack(group, wait),
        AskVerb::Drain { generation, now } => Verb::Drain(group, GenerationId(generation), now, wait),
        AskVerb::DrainManager { delay } => Verb::DrainManager(delay, wait),
        AskVerb::Restart => Verb::Restart(group, wait),
        AskVerb::Start => Verb::Start(group, wait),
        AskVerb::Stop => Verb::Stop(group, wait),
        AskVerb::Scale(workers) => Verb::Scale(group, Scale::To(workers), wait),
        AskVerb::Inc(count) => Verb::Scale(group, Scale::Up(count), wait),
        AskVerb::Dec(count) => Verb::Scale(group, Scale::Down(count), wait),
        AskVerb::Signal(signal) => Verb::Signal(group, signal),
        AskVerb::LogLevel(level) => Verb::LogLevel(level),
        AskVerb::Reexec => Verb::Reexec(wait),
        AskVerb::Reload { dry_run, keep_going } => Verb::Reload(Reload { dry_run, keep_going }, wait),
        AskVerb::Events => Verb::Events(group),
        AskVerb::Reopen => Verb::Reopen,
        AskVerb::Version => Verb::Version,
        AskVerb::Ping | AskVerb::Probe(Probe::Live) => Verb::Ping,
        AskVerb::Ack(pid) => Verb::Ack(pid),
    }
}

/// `events`: prints lines as they come, until the manager ends.
fn stream(ask: &Ask, connection: &mut Connection, verb: &Verb) -> Result<(), Halt> {
    connection.send(&request_line(None, verb))?;
    loop {
        let line = match connection.receive()? {
            Received::Line(line) => line,
            Received::End => return Ok(()),
            Received::TimedOut => return Err(timed_out(ask, verb).into()),
        };
        let answer = parse_reply(&line)?;
        if let Body::Last(Last { code, sentence, .. }) = answer.body {
            return finish(ask, code, sentence, &[], &line);
        }
        if ask.quiet {
            continue;
        }
        if ask.json {
            print(&text_line(&line))?;
            continue;
        }
        match answer.body {
            Body::Begin(status) => print(&table::heads(&status, table::colour()))?,
            Body::Event(event) => print(&format!("{}\n", printable(&event.to_string())))?,
            Body::Progress(Some(message)) => print(&format!("{}\n", printable(&message)))?,
            Body::Changes(_) | Body::Progress(None) | Body::Last(_) => {}
        }
    }
}

/// Every other verb: one request and its last line, with progress in between.
fn request(ask: &Ask, connection: &mut Connection, verb: &Verb) -> Result<(), Halt> {
    let mut progress = None;
    let mut id = None;
    let mut lines = Vec::new();
    if takes_time(verb) && !ask.json && !ask.quiet {
        progress = Some(Progress::new(std::io::stderr().is_terminal()));
        id = Some(VERB_ID);
        lines.extend(request_line(Some(EVENTS_ID), &Verb::Events(ask.group.clone())));
    }
    lines.extend(request_line(id, verb));
    connection.send(&lines)?;
    let (last, line) = loop {
        let line = match connection.receive()? {
            Received::Line(line) => line,
            Received::End => {
                let message = "the manager ended without an answer; its log may say why";
                return Err(Error::failed(message).into());
            }
            Received::TimedOut => return Err(timed_out(ask, verb).into()),
        };
        let answer = parse_reply(&line)?;
        match (answer.body, &mut progress) {
            (Body::Last(last), _) if answer.id == id => break (last, line),
            // The stream was refused; then the verb is refused too, and says so better.
            (Body::Last(_), _) => {}
            (Body::Begin(status), Some(progress)) => progress.begin(&status),
            (Body::Event(event), Some(progress)) => progress.event(&event),
            (Body::Progress(Some(message)), Some(progress)) => progress.say(&message),
            (Body::Changes(_), _) if ask.json => print(&text_line(&line))?,
            (Body::Changes(changes), Some(progress)) => progress.aside(|| print(&lines_of(&changes)))?,
            (Body::Begin(_) | Body::Event(_) | Body::Progress(_) | Body::Changes(_), _) => {}
        }
    };
    drop(progress);
    if last.code == Code::Done && matches!(verb, Verb::Stop(None, Wait::Done | Wait::Drained)) {
        connection.until_end(EXIT_TIME)?;
    }
    if let (AskVerb::Probe(Probe::Ready { all }), Code::Done, Some(status)) =
        (&ask.verb, last.code, &last.status)
    {
        let sentence = probe::readiness(&parse_status(status)?, *all).map_err(Error::failed)?;
        return finish(ask, last.code, Some(sentence), &[], &line);
    }
    if last.code != Code::Done || ask.quiet {
        return finish(ask, last.code, last.sentence, &last.lines, &line);
    }
    match (&last.status, &last.version) {
        (Some(status), _) if ask.json => print(&format!("{status}\n")),
        (Some(status), _) => print(&told(ask, &parse_status(status)?)?),
        (None, Some(version)) if !ask.json => print(&format!("{}\n", printable(version))),
        _ => finish(ask, last.code, last.sentence, &last.lines, &line),
    }
}

/// The answer to `status`, or to `why`, for people.
fn told(ask: &Ask, status: &Status) -> Result<String, Error> {
    let AskVerb::Why(slot) = ask.verb else { return Ok(table::status(status, table::colour())) };
    why::page(status, slot).ok_or_else(|| {
        let message = format!("there is no slot {}", slot.unwrap_or_default());
        Error { code: Code::Refused, message }
    })
}

/// The end of an answer that is a code and a sentence, perhaps with lines before it.
fn finish(
    ask: &Ask,
    code: Code,
    sentence: Option<String>,
    lines: &[String],
    line: &[u8],
) -> Result<(), Halt> {
    match (code, sentence) {
        (Code::Done, _) if ask.quiet => Ok(()),
        (Code::Done, _) if ask.json => print(&text_line(line)),
        (Code::Done, Some(sentence)) => print(&format!("{}{}\n", lines_of(lines), printable(&sentence))),
        (Code::Done, None) => print(&lines_of(lines)),
        (code, _) if ask.json => {
            print(&text_line(line))?;
            Err(Halt::Told(code))
        }
        (code, sentence) => {
            for line in lines {
                // Whether or not somebody reads it: the code tells the same.
                let _ = writeln!(std::io::stderr(), "remuda: {}", printable(line));
            }
            let message = sentence.unwrap_or_else(|| "the manager failed and does not say why".to_owned());
            Err(Error { code, message: printable(&message) }.into())
        }
    }
}

/// Whether the manager may answer later than at once.
fn takes_time(verb: &Verb) -> bool {
    match verb {
        Verb::Upgrade(_, wait)
        | Verb::RollBack(_, wait)
        | Verb::Drain(_, _, _, wait)
        | Verb::DrainManager(_, wait)
        | Verb::Restart(_, wait)
        | Verb::Start(_, wait)
        | Verb::Stop(_, wait)
        | Verb::Reexec(wait)
        | Verb::Reload(_, wait)
        | Verb::Scale(_, _, wait) => *wait != Wait::No,
        Verb::Status(_)
        | Verb::Version
        | Verb::Account(..)
        | Verb::AckIn(..)
        | Verb::Ping
        | Verb::Events(_)
        | Verb::Signal(..)
        | Verb::LogLevel(_)
        | Verb::Reopen
        | Verb::Foreign(_)
        | Verb::Heartbeat(..)
        | Verb::Ack(_) => false,
    }
}

fn timed_out(ask: &Ask, verb: &Verb) -> Error {
    let after = Human(ask.timeout.unwrap_or_default());
    let message = match verb {
        Verb::Events(_) => format!("stopped listening after {after}"),
        verb if takes_time(verb) => {
            format!("not finished after {after}: it goes on, 'remuda status' tells how far it is")
        }
        _ => format!("the manager does not answer within {after}"),
    };
    Error { code: Code::TimedOut, message }
}

/// Writes to standard output, at once.
fn print(text: &str) -> Result<(), Halt> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Halt::NobodyReads),
        Err(error) => Err(Error::failed(format!("cannot write to standard output: {error}")).into()),
    }
}

/// Lines that an answer has besides its sentence.
fn lines_of(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}

/// A line as it came, with its end.
fn text_line(line: &[u8]) -> String {
    format!("{}\n", String::from_utf8_lossy(line))
}

/// The text without anything that would steer a terminal.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::wire::{Codec, Decoded, Reply};

    fn asked(verb: AskVerb) -> Ask {
        Ask {
            name: None,
            control: None,
            verb,
            group: None,
            wait: true,
            drained: false,
            timeout: None,
            json: false,
            quiet: true,
        }
    }

    /// A manager that reads one request, gives these answers to it, the last one as the last line, and hangs up.
    fn manager(replies: Vec<Reply>) -> (UnixStream, JoinHandle<Verb>) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let talk = thread::spawn(move || {
            let mut reader = BufReader::new(&theirs);
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line).expect("a request");
            let mut codec = Codec::native();
            let Decoded::Request { request, verb } = codec.decode(line.trim_ascii_end()) else {
                panic!("{line:?} is no request");
            };
            let count = replies.len();
            for (number, reply) in replies.into_iter().enumerate() {
                let mut out = Vec::new();
                codec.encode(request, &reply, number + 1 == count, &mut out);
                (&theirs).write_all(&out).expect("the client listens");
            }
            verb
        });
        (ours, talk)
    }

    fn outcome(ask: &Ask, replies: Vec<Reply>) -> (Result<(), Error>, Verb) {
        let (stream, talk) = manager(replies);
        let deadline = ask.timeout.map(|timeout| Instant::now() + timeout);
        let mut connection = Connection::new(stream, deadline).expect("a connection");
        let ended = request(ask, &mut connection, &verb(ask)).map_err(|halt| match halt {
            Halt::Failed(error) => error,
            Halt::Told(code) => Error { code, message: "told".to_owned() },
            Halt::NobodyReads => Error::failed("nobody reads"),
        });
        drop(connection);
        (ended, talk.join().expect("the manager's end"))
    }

    #[test]
    fn success_is_success_after_lines_on_the_way() {
        let replies = vec![Reply::Done("half way".to_owned()), Reply::Done("web: upgraded".to_owned())];
        let (ended, verb) = outcome(&asked(AskVerb::Upgrade), replies);
        assert_eq!(ended, Ok(()));
        assert_eq!(verb, Verb::Upgrade(None, Wait::Done));
    }

    #[test]
    fn a_failure_has_the_managers_code_and_words() {
        let replies = vec![Reply::Failed(Code::UpgradeFailed, "web: no such file".to_owned())];
        let (ended, _) = outcome(&asked(AskVerb::Upgrade), replies);
        assert_eq!(ended, Err(Error { code: Code::UpgradeFailed, message: "web: no such file".to_owned() }));
    }

    #[test]
    fn a_manager_that_ends_without_an_answer_is_a_failure() {
        for verb in [AskVerb::Stop, AskVerb::Status] {
            let (ended, _) = outcome(&asked(verb), Vec::new());
            assert_eq!(ended.map_err(|error| error.code), Err(Code::Failed));
        }
    }

    #[test]
    fn the_time_is_over_although_the_manager_works_on() {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let ask = Ask { timeout: Some(Duration::from_millis(20)), ..asked(AskVerb::Restart) };
        let mut connection = Connection::new(ours, Some(Instant::now())).expect("a connection");
        match request(&ask, &mut connection, &verb(&ask)) {
            Err(Halt::Failed(error)) => {
                assert_eq!(error.code, Code::TimedOut);
                assert!(error.message.starts_with("not finished after 20 ms: it goes on"), "{error}");
            }
            _ => panic!("no timeout"),
        }
        drop(theirs);
    }

    #[test]
    fn nothing_printed_can_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\rc ü"), "a\\u{1b}[2Jb\\rc ü");
    }
}
