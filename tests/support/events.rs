//! The client's side of remuda-protocol(7), as thin as it can be.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::{Value, json};

use super::LIMIT;

/// A connection to a control socket.
pub(crate) struct Talk {
    reader: BufReader<UnixStream>,
}

impl Talk {
    pub(crate) fn new(stream: UnixStream) -> Talk {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Talk { reader: BufReader::new(stream) }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, request: &Value) {
        self.try_send(request).unwrap();
    }

    /// Sends a request where the connection may be gone.
    pub(crate) fn try_send(&mut self, request: &Value) -> std::io::Result<()> {
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes())
    }

    /// The next line; `None` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Sends a request and returns the last line of its answer.
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        self.answer()
    }

    /// The last line of the next answer.
    pub(crate) fn answer(&mut self) -> Value {
        loop {
            let line = self.receive().expect("the connection ended without an answer");
            if line["done"] == true {
                return line;
            }
        }
    }
}

/// A stream of state changes.
pub(crate) struct Events {
    talk: Talk,
    /// How things stood at its beginning.
    pub(crate) status: Value,
    seen: Vec<Value>,
}

impl Events {
    pub(crate) fn subscribe(mut talk: Talk) -> Events {
        talk.send(&json!({"command": "events"}));
        let first = talk.receive().expect("the status at the beginning of the stream");
        assert_eq!(first["event"], "status", "{first}");
        Events { talk, status: first["status"].clone(), seen: Vec::new() }
    }

    /// The next one; `None` if the manager has ended.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let event = self.talk.receive()?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Waits for an event that has what is wanted, and returns it.
    pub(crate) fn until_that(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        while let Some(event) = self.next() {
            if wanted(&event) {
                return event;
            }
            assert!(Instant::now() < deadline, "no {what} in time, but\n{}", self.story());
        }
        panic!("no {what} before the manager ended, but\n{}", self.story());
    }

    /// Waits for the next event of this name.
    pub(crate) fn until(&mut self, name: &str) -> Value {
        self.until_that(name, |event| event["event"] == name)
    }

    /// Waits until the one group has all its workers ready and nothing else going on.
    pub(crate) fn up(&mut self) {
        let group = &self.status["groups"][0];
        let leaving = |worker: &Value| worker["phase"] == "stopping" || worker["phase"] == "killed";
        let quiet = !group["workers"].as_array().expect("a list of workers").iter().any(leaving);
        if self.seen.is_empty() && group["state"] == "up" && quiet {
            return;
        }
        self.until_that("quiet group", |event| {
            event["ready"].is_u64() && event["ready"] == event["target"] && event["draining"] == 0
        });
    }

    /// What was seen so far of an event.
    pub(crate) fn seen(&self, name: &str) -> Vec<&Value> {
        self.seen.iter().filter(|event| event["event"] == name).collect()
    }

    /// Everything until the end of the manager.
    pub(crate) fn rest(&mut self) -> &[Value] {
        while self.next().is_some() {}
        &self.seen
    }

    /// All that was seen so far.
    pub(crate) fn into_seen(self) -> Vec<Value> {
        self.seen
    }

    /// What was seen, a line each.
    pub(crate) fn story(&self) -> String {
        let lines: Vec<String> = self.seen.iter().map(Value::to_string).collect();
        lines.join("\n")
    }
}
