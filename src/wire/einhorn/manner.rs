//! What is said, in einhorn's words where programs have been seen to look for them.

use super::request::Asked;
use super::{Einhorn, VERSION, state, story, verbosity};
use crate::wire::Reply;
use crate::wire::yaml::Yaml;

const COMMANDS: &str = "\
config: Merge in a new set of config options. (Note: this will likely be subsumed by config file reloading at some point.)
dec: Decrement the number of Einhorn child processes
die: Send SIGNAL (default: SIGUSR2) to all workers, stop spawning new ones, and exit once all workers die (args: [SIGNAL])
help: Print out available commands
inc: Increment the number of Einhorn child processes
louder: Increase verbosity
quieter: Decrease verbosity
reload: Reload Einhorn
set_workers: Set the number of Einhorn child processes
signal: Send one or more signals to all workers (args: SIG1 [SIG2 ...])
state: Get a dump of Einhorn's current state
upgrade: Upgrade all Einhorn workers smoothly. This causes Einhorn to reload its own code as well.
upgrade_fleet: Upgrade all Einhorn workers a fleet at a time. This causes Einhorn to reload its own code as well.
";

pub(super) fn help() -> String {
    format!(
        "You are speaking to the Einhorn command socket. You can run the following commands:\n\n{COMMANDS}"
    )
}

pub(super) fn unknown(command: &str) -> String {
    format!("Unrecognized command: {command}\n\n{COMMANDS}")
}

pub(super) fn welcome(user: Option<&Yaml>, codec: &Einhorn) -> String {
    let user = match user {
        Some(Yaml::Scalar { text, .. }) => text.as_str(),
        Some(Yaml::List(_) | Yaml::Map(_)) | None => "",
    };
    let named = codec.manner.command_name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    format!(
        "Welcome, {user}! You are speaking to Einhorn Master Process {}{named}.\nThis is Einhorn {VERSION}.\n",
        codec.manager
    )
}

/// What a reply of the core says here, a line each.
pub(super) fn sentences(asked: Asked, reply: &Reply, last: bool, codec: &Einhorn) -> Vec<String> {
    let one = |sentence: String| vec![sentence];
    match (asked, reply) {
        (Asked::Silent, _) => Vec::new(),
        (_, Reply::Event(note)) => story::of_upgrade(note, asked == Asked::UpgradeFleet),
        (Asked::Inc, Reply::Scaled { from, to, .. }) => {
            one(format!("Incrementing number of workers from {from} -> {to}"))
        }
        (Asked::Dec, Reply::Scaled { from, to, .. }) if from == to => one(format!(
            "Can't decrease number of workers (already at {from}).  Run kill {} if you really want to kill einhorn.",
            codec.manager
        )),
        (Asked::Dec, Reply::Scaled { from, to, .. }) => {
            one(format!("Decrementing number of workers from {from} -> {to}"))
        }
        (Asked::SetWorkers, Reply::Scaled { from, to, .. }) if from == to => one(String::new()),
        (Asked::SetWorkers, Reply::Scaled { from, to, .. }) => {
            let next = if to > from {
                "Will spin up additional workers."
            } else {
                "Will gracefully terminate workers."
            };
            one(format!("Altering worker count, {from} -> {to}. {next}"))
        }
        (Asked::Upgrade, Reply::Failed(_, why) | Reply::Rejected { error: why, .. }) => {
            one(format!("Upgrade failed: {why}"))
        }
        (Asked::UpgradeFleet, Reply::Failed(_, why) | Reply::Rejected { error: why, .. }) => {
            one(format!("Upgrade failed: {why}"))
        }
        // Without an id the first line is the last one too.
        (Asked::Upgrade, Reply::Done(said)) if !last || said.starts_with("upgrading ") => {
            one("Upgrading smoothly, as commanded".to_owned())
        }
        (Asked::UpgradeFleet, Reply::Done(said)) if !last || said.starts_with("upgrading ") => {
            one("Upgrading fleet, as commanded".to_owned())
        }
        (Asked::Upgrade | Asked::UpgradeFleet, _) => one("Upgrade done".to_owned()),
        (_, Reply::Failed(_, why) | Reply::Rejected { error: why, .. }) => one(why.clone()),
        (Asked::Signal(count), _) => one("\n".repeat(count.saturating_sub(1))),
        (Asked::Die, _) => one("Einhorn is going down! ".to_owned()),
        (Asked::Reload, _) => one("Reloading, as commanded".to_owned()),
        (Asked::Config, _) => one("Successfully merged in config".to_owned()),
        (_, Reply::Level(level)) => one(format!("Verbosity set to {}", verbosity(*level))),
        (_, Reply::Inspection(inspection)) => one(state::text(inspection, &codec.manner)),
        (_, Reply::Done(said) | Reply::Version(said) | Reply::Scaled { message: said, .. }) => {
            one(said.clone())
        }
        (_, Reply::Changes { message, .. }) => one(message.clone()),
        (_, Reply::Status(_) | Reply::Accounts(_)) => Vec::new(),
    }
}
