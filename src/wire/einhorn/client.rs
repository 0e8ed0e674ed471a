//! The client's side, for einhornsh.

use super::{escape, read};
use crate::error::{Error, Result};
use crate::wire::ruby;
use crate::wire::yaml::Yaml;

/// The line that asks for a command with its arguments, with its end. Replies carry the id.
pub fn request_line(id: u64, command: &str, args: &[String]) -> Vec<u8> {
    let mut text = format!("---\nid: {id}\ncommand: ");
    ruby::string(&mut text, command, "command:".len(), 2);
    text.push_str(if args.is_empty() { "args: []\n" } else { "args:\n" });
    for arg in args {
        text.push_str("- ");
        ruby::string(&mut text, arg, 1, 2);
    }
    line(&text)
}

/// The line that greets in the name of a user. It has no id.
pub fn greeting(user: &str) -> Vec<u8> {
    let mut text = "---\ncommand: ehlo\nuser: ".to_owned();
    ruby::string(&mut text, user, "user:".len(), 2);
    line(&text)
}

fn line(text: &str) -> Vec<u8> {
    let mut line = escape(text).into_bytes();
    line.push(b'\n');
    line
}

/// Reads one reply, given without its end: what it says, and whether more follow.
///
/// # Errors
/// That it is none: whoever answers speaks something else.
pub fn parse_reply(line: &[u8]) -> Result<(String, bool)> {
    let strange = || Error::failed("cannot read the manager's answer: it is no message of einhorn's");
    let (message, _) = read(line).ok_or_else(strange)?;
    let Some(Yaml::Scalar { text, .. }) = message.get("message") else { return Err(strange()) };
    Ok((text.clone(), message.get("wait").is_some_and(|wait| !wait.is_falsy())))
}
