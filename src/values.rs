//! The values of options and of keys in the groups file, each read by one function that says what would have been right.
//! The option or key itself is named by the caller. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::addr;
use crate::duration::{self, Human};
use crate::error::{Error, Result};
use crate::nearest::nearest;
use crate::output::Overflow;
use crate::plan::{
    Backoff, Convention, Level, LogFormat, Meaning, Meanwhile, Policy, Readiness, Restart, Share, Stdin,
    Success, UpgradeMode,
};
use crate::probe::{self, Probe};
use crate::signame::Signal;
use crate::wildcard;
use crate::words;

/// More workers than this are taken for a slip of the finger: each is a process.
pub const WORKERS_MAX: u32 = 10_000;

/// Largest descriptor that a worker is given something at by its number: select(2) takes no more.
pub const DESCRIPTOR_MAX: u32 = 1023;

/// Most descriptors that are kept for a slot: SCM_MAX_FD, which is what a worker can give at once.
pub const FD_STORE_MAX: u32 = 253;

/// Longest instance or group name; it is part of a file name.
pub const NAME_MAX: usize = 64;

/// A shorter first delay would let a program that cannot start fill the disk with log lines.
pub const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// How long a canary has to stay ready where nobody says so.
pub const CANARY_TIME: Duration = Duration::from_secs(10);

/// Largest growth of the delay from one retry to the next.
const FACTOR_MAX: u32 = 100;

/// Values of `--restart`.
pub const RESTARTS: [(&str, Restart); 3] =
    [("always", Restart::Always), ("on-failure", Restart::OnFailure), ("never", Restart::Never)];

/// Values of `--upgrade`.
pub const UPGRADES: [(&str, UpgradeMode); 3] = [
    ("rolling", UpgradeMode::Rolling),
    ("fleet", UpgradeMode::Fleet),
    ("stop-first", UpgradeMode::StopFirst),
];

/// Values of `--when-upgrading`.
pub const MEANWHILES: [(&str, Meanwhile); 3] =
    [("supersede", Meanwhile::Supersede), ("queue", Meanwhile::Queue), ("refuse", Meanwhile::Refuse)];

/// What a signal to the manager may be made to mean by `--on-signal`.
pub const MEANINGS: [(&str, Meaning); 6] = [
    ("stop", Meaning::Stop),
    ("stop-now", Meaning::StopNow),
    ("upgrade", Meaning::Upgrade),
    ("reload", Meaning::Reload),
    ("reopen", Meaning::ReopenLogs),
    ("none", Meaning::Nothing),
];

/// Values of `--stdin`.
pub const STDINS: [(&str, Stdin); 2] = [("null", Stdin::Null), ("inherit", Stdin::Inherit)];

/// Values of `--log-format`.
pub const FORMATS: [(&str, LogFormat); 2] = [("plain", LogFormat::Plain), ("json", LogFormat::Json)];

/// Values of `--log-overflow`.
pub const OVERFLOWS: [(&str, Overflow); 2] = [("drop", Overflow::Drop), ("block", Overflow::Block)];

/// Levels of the log.
pub const LEVELS: [(&str, Level); 4] =
    [("debug", Level::Debug), ("info", Level::Info), ("warn", Level::Warn), ("error", Level::Error)];

/// `SIG=WHAT`: what a signal to the manager means.
pub fn on_signal(text: &str) -> Result<(Signal, Meaning)> {
    let Some((signal, what)) = text.split_once('=') else {
        return Err(Error::usage(format!("'{text}' is not SIG=WHAT, as in QUIT=stop")));
    };
    let signal: Signal = signal.parse()?;
    if !signal.can_be_given_a_meaning() {
        return Err(Error::usage(format!("the manager cannot give {signal} a meaning")));
    }
    Ok((signal, choice(what, &MEANINGS)?))
}

/// The value as text.
pub fn text(value: &OsStr) -> Result<&str> {
    value.to_str().ok_or_else(|| Error::usage(format!("'{}' is not valid UTF-8", value.display())))
}

/// One of a few words.
pub fn choice<T: Copy>(word: &str, choices: &[(&str, T)]) -> Result<T> {
    if let Some((_, meaning)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(*meaning);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    Err(Error::usage(match nearest(word, names.iter().copied()) {
        Some(near) => format!("unknown '{word}' (did you mean '{near}'?)"),
        None => format!("unknown '{word}' ({})", names.join(", ")),
    }))
}

/// A number of workers, from 1.
pub fn count(word: &str) -> Result<u32> {
    whole(word)
        .filter(|count| (1..=WORKERS_MAX).contains(count))
        .ok_or_else(|| Error::usage(format!("'{word}' is not a number from 1 to {WORKERS_MAX}")))
}

/// A number of workers, from 0: none is wanted for now.
pub fn workers(word: &str) -> Result<u32> {
    whole(word)
        .filter(|&count| count <= WORKERS_MAX)
        .ok_or_else(|| Error::usage(format!("'{word}' is not a number from 0 to {WORKERS_MAX}")))
}

/// How many descriptors are kept for a slot, from 0: no more than one message can bring.
pub fn fd_store(word: &str) -> Result<u32> {
    whole(word)
        .filter(|&count| count <= FD_STORE_MAX)
        .ok_or_else(|| Error::usage(format!("'{word}' is not a number from 0 to {FD_STORE_MAX}")))
}

/// The number of a descriptor that a worker is to find, up to the largest that select(2) takes.
pub fn descriptor(word: &str) -> Result<u32> {
    whole(word).filter(|&number| number <= DESCRIPTOR_MAX).ok_or_else(|| {
        Error::usage(format!("'{word}' is not the number of a descriptor, up to {DESCRIPTOR_MAX}"))
    })
}

/// `3` or `25%`.
pub fn share(word: &str) -> Result<Share> {
    let share = match word.strip_suffix('%') {
        Some(percent) => whole(percent).filter(|percent| (1..=100).contains(percent)).map(Share::Percent),
        None => whole(word).filter(|count| (1..=WORKERS_MAX).contains(count)).map(Share::Count),
    };
    share.ok_or_else(|| {
        Error::usage(format!("'{word}' is neither a number from 1 to {WORKERS_MAX} nor 1% to 100%"))
    })
}

/// A number of bytes: `4096`, `64K`, `10M`, `1G`, each unit 1024 times the one before.
pub fn size(word: &str) -> Result<u64> {
    const UNITS: [(char, u32); 3] = [('K', 10), ('M', 20), ('G', 30)];
    let unit = UNITS.into_iter().find(|(unit, _)| word.ends_with([*unit, unit.to_ascii_lowercase()]));
    let (digits, shift) = unit.map_or((word, 0), |(_, shift)| (&word[..word.len() - 1], shift));
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
    number.ok_or_else(|| {
        Error::usage(format!("'{word}' is not a size (a number of bytes, or with K, M or G behind it)"))
    })
}

/// A duration that may not be zero.
pub fn positive(word: &str) -> Result<Duration> {
    let duration = duration::parse(word)?;
    if duration.is_zero() { Err(Error::usage(format!("'{word}' leaves no time"))) } else { Ok(duration) }
}

/// `none`, `timer` (the default one), `timer:DUR`, `manual`, or a [probe](crate::probe), with which a worker may still say
/// itself that it is ready.
pub fn readiness(word: &str) -> Result<(Readiness, Option<Probe>)> {
    let standard = Policy::default().ready;
    let ready = match (word, word.split_once(':')) {
        _ if probe::is_probe(word) => {
            return probe::parse(word).map(|probe| (Readiness::Manual, Some(probe)));
        }
        ("none", _) => Readiness::Exec,
        ("timer", _) => standard,
        ("manual", _) => Readiness::Manual,
        (_, Some(("timer", time))) => Readiness::Timer(duration::parse(time)?),
        (_, Some((kind @ ("none" | "manual"), _))) => {
            return Err(Error::usage(format!("'{kind}' takes no time, only 'timer' does")));
        }
        _ => return Err(no_readiness(word)),
    };
    Ok((ready, None))
}

/// The error for what says nothing of when a worker is ready.
pub fn no_readiness(word: &str) -> Error {
    let kind = word.split(':').next().unwrap_or(word);
    Error::usage(match nearest(kind, ["none", "timer", "manual", "tcp", "unix", "http", "exec"]) {
        Some(near) => format!("unknown '{word}' (did you mean '{near}'?)"),
        None => format!("unknown '{word}' (none, timer, manual, {})", probe::KINDS.join(", ")),
    })
}

/// `BASE[:FACTOR[:MAX]]`; what is left out keeps its default, the ceiling at least the base.
pub fn backoff(word: &str) -> Result<Backoff> {
    let standard = Policy::default().backoff;
    let mut parts = word.split(':');
    let base = duration::parse(parts.next().unwrap_or_default())?;
    if base < BACKOFF_MIN {
        return Err(Error::usage(format!(
            "'{word}' retries too fast (BASE is at least {})",
            Human(BACKOFF_MIN)
        )));
    }
    let factor_milli = parts.next().map_or(Ok(standard.factor_milli), factor)?;
    let max = parts.next().map_or(Ok(standard.max.max(base)), duration::parse)?;
    if max < base {
        return Err(Error::usage(format!("'{word}' ends below where it begins (MAX is at least BASE)")));
    }
    if parts.next().is_some() {
        return Err(Error::usage(format!("'{word}' has more than BASE:FACTOR:MAX")));
    }
    Ok(Backoff { base, factor_milli, max, ..standard })
}

/// `1.5` as 1500: from 1 to [`FACTOR_MAX`], with up to three digits after the point.
fn factor(word: &str) -> Result<u32> {
    let (ones, part) = word.split_once('.').unwrap_or((word, "0"));
    let thousandths = (1..=3).contains(&part.len()).then(|| whole(&format!("{part:0<3}"))).flatten();
    let milli =
        whole(ones).zip(thousandths).and_then(|(ones, part)| ones.checked_mul(1000)?.checked_add(part));
    milli
        .filter(|milli| (1000..=FACTOR_MAX * 1000).contains(milli))
        .ok_or_else(|| Error::usage(format!("'{word}' is not a factor from 1 to {FACTOR_MAX} such as 1.5")))
}

/// What the unasked end of a worker means to the manager: `ignore`, `exit`, `exit:N` for the N-th one.
pub fn on_exit(word: &str) -> Result<Option<u32>> {
    match word.split_once(':') {
        None if word == "ignore" => Ok(None),
        None if word == "exit" => Ok(Some(1)),
        Some(("exit", number)) => count(number).map(Some),
        None | Some(_) => Err(Error::usage(format!("'{word}' is none of ignore, exit, exit:N"))),
    }
}

/// Exit codes and signal names: `0,2,TERM`.
pub fn successes(list: &str) -> Result<Vec<Success>> {
    let mut found = Vec::new();
    for word in list.split(',') {
        let success = match word.parse::<u8>() {
            Ok(code) => Success::Exit(code),
            Err(_) if word.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(Error::usage(format!(
                    "'{word}' is not an exit code (0 to 255) or a signal name"
                )));
            }
            Err(_) => Success::Signal(word.parse::<Signal>()?),
        };
        if !found.contains(&success) {
            found.push(success);
        }
    }
    Ok(found)
}

/// `systemd,einhorn`, `all` or `none`.
pub fn conventions(list: &str) -> Result<Vec<Convention>> {
    const SETS: [(&str, &[Convention]); 7] = [
        ("systemd", &[Convention::Systemd]),
        ("einhorn", &[Convention::Einhorn]),
        ("server-starter", &[Convention::ServerStarter]),
        ("firestarter", &[Convention::Firestarter]),
        ("notify", &[Convention::Notify]),
        ("all", &Convention::ALL),
        ("none", &[]),
    ];
    let words: Vec<&str> = list.split(',').collect();
    if words.len() > 1 && words.contains(&"none") {
        return Err(Error::usage(format!("'{list}' says none and more than none")));
    }
    let sets = words.into_iter().map(|word| choice(word, &SETS)).collect::<Result<Vec<_>>>()?;
    Ok(sets.concat())
}

/// An instance or group name. It is part of a file name, so it does not begin with a dot.
pub fn name(word: &str) -> Result<String> {
    let fits = (1..=NAME_MAX).contains(&word.len());
    if fits && word.chars().all(of_a_name) && !word.starts_with('.') {
        return Ok(word.to_owned());
    }
    Err(Error::usage(format!(
        "'{word}' is not a name (1 to {NAME_MAX} of letters, digits, '_', '-' and '.', the first no '.')"
    )))
}

/// Which groups are meant: a name, or a pattern of names.
pub fn group(word: &str) -> Result<String> {
    if !wildcard::is_pattern(word) {
        return name(word);
    }
    let fits = |letter| of_a_name(letter) || matches!(letter, '*' | '?');
    match word.len() <= NAME_MAX && word.chars().all(fits) {
        true => Ok(word.to_owned()),
        false => Err(Error::usage(format!("'{word}' stands for no names"))),
    }
}

/// The instance name that a program gets if the user gives none.
pub fn name_of_program(program: &OsStr) -> String {
    let base =
        program.as_bytes().rsplit(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or_default();
    let name: String = String::from_utf8_lossy(base)
        .trim_start_matches('.')
        .chars()
        .take(NAME_MAX)
        .map(|letter| if of_a_name(letter) { letter } else { '-' })
        .collect();
    if name.is_empty() { env!("CARGO_PKG_NAME").to_owned() } else { name }
}

fn of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-')
}

/// A login or group, by name or number; whether it exists is seen when a generation is prepared.
pub fn account(word: &str) -> Result<String> {
    if word.is_empty() || word.contains(':') || word.contains(char::is_whitespace) {
        return Err(Error::usage(format!("'{word}' is neither a name nor a number")));
    }
    Ok(word.to_owned())
}

/// A program and its arguments, as a line that is split (see [`words`](crate::words)); nothing stands for a variable.
pub fn command(line: &str) -> Result<Vec<OsString>> {
    let split = words::split(line, |_| None);
    let words = split.map_err(|unsplit| {
        let character = line[..unsplit.at].chars().count() + 1;
        let why = match line[unsplit.at..].starts_with('$') {
            true => "nothing stands for a variable here: quote this $, or run sh -c '...'",
            false => &unsplit.why,
        };
        Error::usage(format!("{why}, at character {character}"))
    })?;
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        Some(_) => Err(Error::usage("the name of the program is empty")),
        None => Err(Error::usage("no program is named")),
    }
}

/// A path that is not empty.
pub fn path(value: OsString) -> Result<PathBuf> {
    if value.is_empty() { Err(Error::usage("the path is empty")) } else { Ok(PathBuf::from(value)) }
}

/// A path that a Unix socket can have.
pub fn socket_path(value: OsString) -> Result<PathBuf> {
    let path = path(value)?;
    let length = path.as_os_str().len();
    if length > addr::UNIX_NAME_MAX {
        return Err(Error::usage(format!(
            "the path has {length} bytes, a socket's can have at most {}",
            addr::UNIX_NAME_MAX
        )));
    }
    Ok(path)
}

/// `NAME=VALUE`.
pub fn variable(value: OsString) -> Result<(OsString, OsString)> {
    let bytes = value.into_vec();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(middle) if middle > 0 => Ok((
            OsString::from_vec(bytes[..middle].to_vec()),
            OsString::from_vec(bytes[middle + 1..].to_vec()),
        )),
        _ => Err(Error::usage(format!("'{}' is not NAME=VALUE", String::from_utf8_lossy(&bytes)))),
    }
}

/// The name of a variable.
pub fn variable_name(word: &str) -> Result<String> {
    if word.is_empty() || word.contains('=') {
        return Err(Error::usage(format!("'{word}' is not the name of a variable")));
    }
    Ok(word.to_owned())
}

/// `022`.
pub fn umask(word: &str) -> Result<u32> {
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| u32::from_str_radix(word, 8).ok())
        .flatten()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| Error::usage(format!("'{word}' is not an octal number from 0 to 777")))
}

/// A nice value, setpriority(2).
pub fn nice(word: &str) -> Result<i32> {
    within(word, -20, 19)
}

/// A weight for the OOM killer, proc(5).
pub fn oom_score_adj(word: &str) -> Result<i32> {
    within(word, -1000, 1000)
}

/// A whole number between two others.
fn within(word: &str, least: i32, most: i32) -> Result<i32> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    whole(digits)
        .and_then(|_| word.parse().ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Error::usage(format!("'{word}' is not a number from {least} to {most}")))
}

/// A process id.
pub fn pid(word: &str) -> Result<i32> {
    whole(word)
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| Error::usage(format!("'{word}' is not a process id")))
}

/// Decimal digits and nothing else: no sign, no space.
pub fn whole(word: &str) -> Option<u32> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milli(text: &str) -> Option<u32> {
        factor(text).ok()
    }

    #[test]
    fn factors_are_read_in_thousandths() {
        assert_eq!(milli("1"), Some(1000));
        assert_eq!(milli("1.5"), Some(1500));
        assert_eq!(milli("2.25"), Some(2250));
        assert_eq!(milli("1.005"), Some(1005));
        assert_eq!(milli("100"), Some(100_000));
        for text in ["", ".5", "1.", "0.9", "100.001", "1.0005", "1,5", "-2", "99999999999"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }

    #[test]
    fn the_ceiling_of_the_backoff_is_never_below_its_base() {
        assert_eq!(backoff("1m").unwrap().max, Duration::from_secs(60));
        assert_eq!(backoff("2s:3:5s").unwrap().max, Duration::from_secs(5));
        assert!(backoff("2s:3:1s").is_err());
    }

    #[test]
    fn a_program_always_gives_a_name() {
        for (program, name) in [
            ("/usr/bin/uvicorn", "uvicorn"),
            ("./my app:v2", "my-app-v2"),
            ("bin/", "bin"),
            ("/", "remuda"),
            ("", "remuda"),
            ("caf\u{e9}", "caf-"),
        ] {
            assert_eq!(name_of_program(OsStr::new(program)), name, "{program}");
            assert_eq!(super::name(name).as_deref(), Ok(name));
        }
        assert_eq!(name_of_program(OsStr::new(&"x".repeat(100))).len(), NAME_MAX);
        assert_eq!(name_of_program(OsStr::from_bytes(b"a\xffb")), "a-b");
    }
}
