//! What a message asks for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Einhorn;
use super::manner;
use crate::duration::{self, Unfit};
use crate::plan::{Level, Readiness};
use crate::signame::Signal;
use crate::supervisor::foreign::{Changes, Foreign};
use crate::wire::yaml::{self, Yaml};
use crate::wire::{Scale, Verb, Wait};

/// Most workers that may be asked for.
const WORKERS_MAX: i64 = 1000;

/// What a request was, as far as its replies depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Asked {
    Inc,
    Dec,
    SetWorkers,
    Verbosity,
    /// That many signals.
    Signal(usize),
    Die,
    Config,
    Reload,
    Upgrade,
    UpgradeFleet,
    State,
    /// Nobody is told how an ack or a ping went.
    #[default]
    Silent,
}

impl Asked {
    pub(super) fn is_silent(self) -> bool {
        self == Asked::Silent
    }
}

/// What comes of a message.
pub(super) enum Order {
    Ask(Asked, Verb),
    Say(String),
    /// The connection ends.
    End,
}

/// Reads a message; `identified` says whether it has an id, without which nothing can be told but the beginning.
pub(super) fn order(message: &Yaml, identified: bool, codec: &Einhorn) -> Order {
    let say = |sentence: &str| Order::Say(sentence.to_owned());
    let ask = Order::Ask;
    let wait = if identified { Wait::Told } else { Wait::No };
    let Some(command) = message.get("command").filter(|command| !command.is_falsy()) else {
        return say("No \"command\" parameter provided; not sure what you want me to do.");
    };
    if let Some(said) = of_worker(message) {
        return said.map_or(Order::End, |verb| ask(Asked::Silent, verb));
    }
    let command = match command {
        Yaml::Scalar { text, .. } if command.as_text().is_some() => text.as_str(),
        Yaml::Scalar { text, .. } => return Order::Say(manner::unknown(text)),
        Yaml::List(_) | Yaml::Map(_) => return Order::Say(manner::unknown("?")),
    };
    match command {
        "ehlo" => Order::Say(manner::welcome(message.get("user"), codec)),
        "help" => Order::Say(manner::help()),
        "inc" => ask(Asked::Inc, Verb::Scale(None, Scale::Up(1), Wait::No)),
        "dec" => ask(Asked::Dec, Verb::Scale(None, Scale::Down(1), Wait::No)),
        "quieter" => ask(Asked::Verbosity, Verb::Foreign(Foreign::Quieter)),
        "louder" => ask(Asked::Verbosity, Verb::Foreign(Foreign::Louder)),
        "reload" => ask(Asked::Reload, Verb::Reexec(Wait::No)),
        "upgrade" => ask(Asked::Upgrade, Verb::Upgrade(None, wait)),
        "upgrade_fleet" => ask(Asked::UpgradeFleet, Verb::Foreign(Foreign::UpgradeFleet(wait))),
        "state" => ask(Asked::State, Verb::Foreign(Foreign::Inspect)),
        "signal" | "die" | "set_workers" | "config" => {
            let args = match message.get("args").filter(|args| !args.is_nothing()) {
                Some(Yaml::List(args)) => args.as_slice(),
                // The client's own help says that it may be left out.
                None if command == "die" => &[],
                None => return say("No args provided"),
                Some(_) => return say("Args must be an array"),
            };
            let order = match command {
                "signal" => signal(args),
                "die" => die(args),
                "set_workers" => set_workers(args.first()),
                _ => config(args),
            };
            order.unwrap_or_else(Order::Say)
        }
        unknown => Order::Say(manner::unknown(&format!("{unknown:?}"))),
    }
}

/// What a worker says of itself; the inner `None` if it cannot be told which worker. The outer one is anything else.
pub(super) fn of_worker(message: &Yaml) -> Option<Option<Verb>> {
    match message.get("command")?.as_text()? {
        "worker:ack" => Some(pid(message).map(Verb::Ack)),
        "worker:ping" => {
            let said = match message.get("request_id") {
                Some(Yaml::Scalar { text, .. }) => text.clone(),
                Some(Yaml::List(_) | Yaml::Map(_)) | None => String::new(),
            };
            Some(pid(message).map(|pid| Verb::Heartbeat(pid, said)))
        }
        _ => None,
    }
}

/// The inner `None` is whoever asks. The outer one is no pid at all.
fn pid(message: &Yaml) -> Option<Option<i32>> {
    let Some(value) = message.get("pid").filter(|pid| !pid.is_nothing()) else { return Some(None) };
    let Yaml::Scalar { text, .. } = value else { return None };
    match i32::try_from(Yaml::plain(text).as_integer()?).ok()? {
        0 => Some(None),
        pid if pid > 0 => Some(Some(pid)),
        _ => None,
    }
}

/// A signal by its name. Ruby counts `EXIT`, which is none and only looks whether somebody is there.
fn named(arg: &Yaml) -> Result<Option<Signal>, String> {
    let Yaml::Scalar { text, .. } = arg else { return Err("Invalid signal: \"\"".to_owned()) };
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let known = if name.starts_with(|first: char| first.is_ascii_digit()) { None } else { name.parse().ok() };
    match known {
        Some(signal) => Ok(Some(signal)),
        None if name == "EXIT" => Ok(None),
        None => Err(format!("Invalid signal: {text:?}")),
    }
}

fn signal(args: &[Yaml]) -> Result<Order, String> {
    let signals = args.iter().map(named).collect::<Result<Vec<_>, String>>()?;
    let signals = signals.into_iter().flatten().collect();
    Ok(Order::Ask(Asked::Signal(args.len()), Verb::Foreign(Foreign::Signals(signals))))
}

fn die(args: &[Yaml]) -> Result<Order, String> {
    let signal = args.first().map(named).transpose()?.flatten();
    Ok(Order::Ask(Asked::Die, Verb::Foreign(Foreign::StopWith(signal.unwrap_or(Signal::USR2)))))
}

fn invalid(count: &str) -> String {
    format!("Invalid count: '{count}'. Must be an integer in [1,1000).")
}

fn set_workers(arg: Option<&Yaml>) -> Result<Order, String> {
    let text = match arg {
        None => "",
        Some(Yaml::Scalar { text, plain: true }) if Yaml::plain(text).as_integer().is_some() => {
            return Err(format!("Argument is a Integer, not a string: {text}"));
        }
        // What is too large for an integer is a number still, and so is one with a fraction: its first digits are not meant.
        Some(Yaml::Scalar { text, .. }) if text.parse::<i64>().is_err() && text.parse::<f64>().is_ok() => {
            return Err(invalid(text));
        }
        Some(Yaml::Scalar { text, .. }) => text.as_str(),
        Some(Yaml::List(_)) => return Err("Argument is a Array, not a string".to_owned()),
        Some(Yaml::Map(_)) => return Err("Argument is a Hash, not a string".to_owned()),
    };
    match lenient(text) {
        Some(count @ 1..=WORKERS_MAX) => {
            let count = u32::try_from(count).unwrap_or(1);
            Ok(Order::Ask(Asked::SetWorkers, Verb::Scale(None, Scale::To(count), Wait::No)))
        }
        _ => Err(invalid(text)),
    }
}

/// The number at the beginning of a text, as Ruby's `to_i` has it.
fn lenient(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let length = digits.bytes().take_while(|byte| byte.is_ascii_digit()).count();
    digits[..length].parse().ok()
}

/// `{config: {number: 4, seconds: 2}, ack_mode: {type: timer, timeout: 2}, ...}`, keys with or without colons: what can
/// change at run time, and nothing else.
fn config(args: &[Yaml]) -> Result<Order, String> {
    const HASH: &str = "Must pass in a YAML-encoded hash";
    if args.is_empty() {
        return Err(HASH.to_owned());
    }
    let words = args.iter().map(|arg| match arg {
        Yaml::Scalar { text, .. } => Ok(text.as_str()),
        Yaml::List(_) | Yaml::Map(_) => Err(HASH.to_owned()),
    });
    let text = words.collect::<Result<Vec<&str>, String>>()?.join(" ");
    let entries = match yaml::read(&text) {
        Ok(Yaml::Map(entries)) => entries,
        Ok(value) if value.as_integer().is_some() => {
            return Err("Parsed argument is a Integer, not a hash".to_owned());
        }
        Ok(Yaml::List(_)) => return Err("Parsed argument is a Array, not a hash".to_owned()),
        Ok(Yaml::Scalar { .. }) => return Err("Parsed argument is a String, not a hash".to_owned()),
        Err(_) => return Err(HASH.to_owned()),
    };
    let mut changes = Changes::default();
    for (key, value) in &entries {
        change(&mut changes, "", key, value)?;
    }
    Ok(Order::Ask(Asked::Config, Verb::Foreign(Foreign::Configure(changes))))
}

fn change(changes: &mut Changes, within: &str, key: &Yaml, value: &Yaml) -> Result<(), String> {
    let Yaml::Scalar { text, .. } = key else { return Err("Keys must be words".to_owned()) };
    let name = format!("{within}{}", text.strip_prefix(':').unwrap_or(text));
    let wrong = |wanted: &str| format!("Not merged: {name} must be {wanted}");
    let count = |least: i64| {
        let number = value.as_integer().filter(|&number| (least..=WORKERS_MAX).contains(&number));
        number.and_then(|number| u32::try_from(number).ok())
    };
    match (name.as_str(), value) {
        ("config", Yaml::Map(entries)) => {
            for (key, value) in entries {
                change(changes, "config.", key, value)?;
            }
        }
        ("config.number", _) => {
            changes.workers = Some(count(1).ok_or_else(|| wrong("a number from 1 to 1000"))?);
        }
        ("config.seconds", _) => {
            let span = seconds(&name, value, || wrong("seconds above 0"))?;
            if span.is_zero() {
                return Err(wrong("seconds above 0"));
            }
            (changes.spacing, changes.backoff) = (Some(span), Some(span * 3 / 2));
        }
        ("config.max_unacked", _) => {
            changes.max_unacked = Some(count(1).ok_or_else(|| wrong("a number from 1 to 1000"))?);
        }
        ("config.max_upgrade_additional", _) => {
            changes.max_extra = Some(count(0).ok_or_else(|| wrong("a number from 0 to 1000"))?);
        }
        ("signal_timeout", never) if never.is_nothing() => changes.stop_timeout = Some(None),
        ("signal_timeout", _) => {
            changes.stop_timeout = Some(Some(seconds(&name, value, || wrong("seconds, or nothing"))?));
        }
        ("ack_mode", mode @ Yaml::Map(_)) => {
            let kind = mode.get("type").and_then(Yaml::as_text).unwrap_or_default();
            changes.ready = Some(match kind.trim_start_matches(':') {
                "manual" => Readiness::Manual,
                "timer" => {
                    let wrong = || wrong("a timer with a timeout in seconds, or manual");
                    let given = mode.get("timeout").map(|span| seconds("ack_mode.timeout", span, wrong));
                    Readiness::Timer(given.transpose()?.unwrap_or(Duration::from_secs(1)))
                }
                _ => return Err(wrong("a timer with a timeout in seconds, or manual")),
            });
        }
        ("verbosity", _) => {
            changes.level = Some(match value.as_integer() {
                Some(0) => Level::Debug,
                Some(1) => Level::Info,
                Some(2) => Level::Warn,
                _ => return Err(wrong("0, 1 or 2")),
            });
        }
        _ => {
            return Err(format!(
                "Not merged: {name} cannot change while Einhorn runs (config: number, seconds, max_unacked, \
                 max_upgrade_additional; ack_mode, signal_timeout and verbosity can)"
            ));
        }
    }
    Ok(())
}

/// A number of seconds, perhaps with a fraction; `wrong` is said of what is none.
fn seconds(name: &str, value: &Yaml, wrong: impl Fn() -> String) -> Result<Duration, String> {
    let Yaml::Scalar { text, plain: true } = value else { return Err(wrong()) };
    duration::seconds(text).map_err(|unfit| match unfit {
        Unfit::NoSeconds => wrong(),
        Unfit::TooLong => format!("Not merged: {}", duration::too_long(name, text)),
    })
}
