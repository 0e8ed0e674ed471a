//! The command line: every word of it against the table of options, and what it comes to against golden files.
//!
//! `UPDATE_GOLDEN=1 cargo test --test cli` writes the files under tests/golden anew.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use remuda::ask::{Ask, AskVerb, Probe};
use remuda::cli::native::parse;
use remuda::cli::options::{self, COMMANDS, Id, Kind, Opt, RUN};
use remuda::cli::{Outcome, help};
use remuda::config::{Overrides, Source};
use remuda::error::Code;
use remuda::plan::{Level, LogFormat, Meaning, Plan, Readiness};
use remuda::signame::Signal;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn plan(line: &str) -> Plan {
    match parse(words(line)) {
        Ok(Outcome::Run(plan)) => *plan,
        other => panic!("{line}: {other:?}"),
    }
}

fn ask(line: &str) -> Ask {
    match parse(words(line)) {
        Ok(Outcome::Ask(ask)) => ask,
        other => panic!("{line}: {other:?}"),
    }
}

fn page(line: &str) -> String {
    match parse(words(line)) {
        Ok(Outcome::Print(page)) => page,
        other => panic!("{line}: {other:?}"),
    }
}

/// The sentence of a usage error, without the way to get help.
fn refusal(args: Vec<OsString>) -> String {
    let shown = format!("{args:?}");
    match parse(args) {
        Err(error) => {
            assert_eq!(error.code, Code::Usage, "{shown}");
            let (sentence, help) = error.message.rsplit_once("; try '").expect("says how to get help");
            assert!(help.starts_with("remuda ") && help.ends_with(" -h'"), "{shown}: {help}");
            sentence.to_owned()
        }
        other => panic!("{shown}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    refusal(words(line))
}

/// A value that every option of this name takes.
fn good_value(option: &Opt) -> Option<&'static str> {
    option.argument?;
    Some(match option.id {
        Id::Config => "web.toml",
        Id::Bind => "127.0.0.1:8080",
        Id::Handoff => "systemd,einhorn",
        Id::Workers | Id::GiveUp | Id::MaxUnacked | Id::MaxDraining | Id::UpgradeAttempts => "4",
        Id::Ack => "timer:2s",
        Id::AckDeadline | Id::StopTimeout | Id::DrainTimeout | Id::Timeout | Id::AnswerTimeout => "1.5s",
        Id::ProbeInterval | Id::ProbeTimeout | Id::LiveInterval => "1.5s",
        Id::LiveCheck => "http://localhost:8080/health",
        Id::LiveFailures => "4",
        Id::CanaryTime | Id::UpgradeTimeout | Id::Watchdog | Id::DrainDelay | Id::Delay => "1.5s",
        Id::WhenUpgrading => "queue",
        Id::GracefulSignal | Id::Pdeathsig => "USR1",
        Id::Rlimit => "NOFILE=1024:4096",
        Id::Nice => "5",
        Id::OomScoreAdj => "300",
        Id::StopCommand | Id::Preflight => "true",
        Id::PreflightTimeout | Id::PreflightEvery | Id::Warmup => "2s",
        Id::ReadyFd | Id::FdStore => "5",
        Id::Restart => "never",
        Id::OnExit => "exit:3",
        Id::SuccessExit => "0,2,TERM",
        Id::Backoff => "1s:2:10s",
        Id::Upgrade => "fleet",
        Id::Surge => "50%",
        Id::Directory => "/srv",
        Id::User | Id::Group => "www-data",
        Id::Env => "A=1",
        Id::EnvFile => "/etc/default/web",
        Id::DropEnv => "SECRET",
        Id::Umask => "027",
        Id::Stdin => "inherit",
        Id::LogFormat => "json",
        Id::StdoutLog | Id::StderrLog => "size:10M:5:/var/log/web.log",
        Id::LogOverflow => "block",
        Id::Name => "site",
        Id::Control | Id::Pidfile => "/run/web.sock",
        Id::Pid => "4711",
        Id::ParentDeathSignal => "KILL",
        Id::Rewrite => "TERM:QUIT",
        Id::ExitZero => "3,143",
        Id::OnSignal => "QUIT=stop",
        _ => panic!("--{} has a value that this test does not know", option.long),
    })
}

/// What to give to a command beside its options.
fn operands(command: &options::Command) -> &'static [&'static str] {
    match command.name {
        "run" | "init" => &["--", "web"],
        "check" => &["web.toml"],
        "scale" => &["4"],
        "signal" => &["HUP"],
        "drain" => &["2"],
        "probe" => &["ready"],
        "log-level" => &["debug"],
        _ => &[],
    }
}

fn line(command: &options::Command, option: &[&str]) -> Vec<OsString> {
    let alone = |word: &&str| reads_file(command, word) || runs_nothing(command, word);
    let operands: &[&str] = match option {
        // It says something about a file only.
        ["--keep-going"] if command.kind == Kind::Run => &["-c", "web.toml"],
        // It is about the manager, and not about a generation.
        [delay, ..] if command.name == "drain" && delay.starts_with("--delay") => &[],
        option if option.iter().any(alone) => &[],
        _ => operands(command),
    };
    [&[command.name], option, operands].concat().into_iter().map(OsString::from).collect()
}

/// A file takes the place of a program.
fn reads_file(command: &options::Command, word: &str) -> bool {
    command.kind == Kind::Run && (word.starts_with("--config") || word.starts_with("-c"))
}

/// The one option of `init` that takes no program.
fn runs_nothing(command: &options::Command, word: &str) -> bool {
    command.kind == Kind::Init && matches!(word, "--pause" | "-P")
}

#[test]
fn every_option_of_the_table_is_accepted_in_every_spelling_and_told_by_help() {
    for command in COMMANDS {
        let short_page = help::short(command);
        let long_page = help::long(command);
        for option in command.options {
            let long = format!("--{}", option.long);
            let letter = option.short.map(|letter| format!("-{letter}"));
            let mut spellings = Vec::new();
            match good_value(option) {
                Some(value) => {
                    spellings.push(vec![long.clone(), value.to_owned()]);
                    spellings.push(vec![format!("{long}={value}")]);
                    if let Some(letter) = &letter {
                        spellings.push(vec![letter.clone(), value.to_owned()]);
                        spellings.push(vec![format!("{letter}{value}")]);
                    }
                }
                None => spellings.extend(
                    [Some(long.clone()), letter.clone()].into_iter().flatten().map(|word| vec![word]),
                ),
            }
            let outcomes: Vec<Outcome> = spellings
                .iter()
                .map(|spelling| {
                    let option: Vec<&str> = spelling.iter().map(String::as_str).collect();
                    parse(line(command, &option)).unwrap_or_else(|error| panic!("{spelling:?}: {error}"))
                })
                .collect();
            if option.id != Id::Help {
                assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{spellings:?}");
            }
            let expected = match (option.id, command.kind) {
                (Id::Help | Id::Version, _) => matches!(outcomes[0], Outcome::Print(_)),
                (Id::Config, _) => matches!(outcomes[0], Outcome::RunFile(_)),
                (Id::KeepGoing, Kind::Run) => matches!(outcomes[0], Outcome::RunFile(_)),
                (Id::KeepGoing, Kind::Check) => matches!(outcomes[0], Outcome::Check(_)),
                (_, Kind::Check | Kind::Sample) => false,
                (_, Kind::Init) => matches!(outcomes[0], Outcome::Init(_)),
                (_, Kind::Run) => matches!(outcomes[0], Outcome::Run(_)),
                (_, Kind::Ask(_)) => matches!(outcomes[0], Outcome::Ask(_)),
            };
            assert!(expected, "{} {long}: {:?}", command.name, outcomes[0]);
            // An option that changes nothing is not understood, only swallowed.
            // But --subreaper, of `run`, which is as usual.
            let usual = (option.id, command.kind) == (Id::Subreaper, Kind::Run);
            if !usual && !matches!(outcomes[0], Outcome::Print(_)) {
                assert_ne!(outcomes[0], parse(line(command, &[])).unwrap(), "{} {long}", command.name);
            }
            let told = format!(
                "--{}{}",
                option.long,
                option.argument.map_or(String::new(), |word| format!(" {word}"))
            );
            let told_by = |page: &str| {
                page.lines()
                    .any(|line| line.trim_start().starts_with(&told) || line.contains(&format!(", {told}")))
            };
            assert!(told_by(&long_page), "{} {told}", command.name);
            assert_eq!(told_by(&short_page), option.common, "{} {told}", command.name);
        }
    }
}

#[test]
fn the_parser_accepts_no_option_beside_the_table() {
    let all: HashSet<&str> =
        COMMANDS.iter().flat_map(|command| command.options).map(|option| option.long).collect();
    for command in COMMANDS {
        for long in &all {
            if command.long(long).is_none() {
                let message = refusal(line(command, &[&format!("--{long}")]));
                assert!(message.starts_with(&format!("unknown option '--{long}'")), "{message}");
            }
        }
        for letter in (' '..='~').filter(|letter| *letter != '-' && command.short(*letter).is_none()) {
            let message = refusal(line(command, &[&format!("-{letter}")]));
            assert!(message.starts_with(&format!("unknown option '-{letter}'")), "{message}");
        }
    }
}

#[test]
fn the_table_names_nothing_twice() {
    let mut names = HashSet::new();
    for command in COMMANDS {
        assert!(names.insert(command.name));
        let mut longs = HashSet::new();
        let mut shorts = HashSet::new();
        for option in command.options {
            assert!(longs.insert(option.long), "{} --{}", command.name, option.long);
            assert!(
                option.short.is_none_or(|letter| shorts.insert(letter)),
                "{} {:?}",
                command.name,
                option.short
            );
            assert!(option.default.is_none() || option.argument.is_some());
        }
    }
}

#[test]
fn defaults_in_the_help_are_those_in_force() {
    for command in COMMANDS {
        let without = parse(line(command, &[])).unwrap();
        for option in command.options {
            if let Some(default) = option.default {
                let given = parse(line(command, &[&format!("--{}", option.long), default])).unwrap();
                assert_eq!(given, without, "{} --{} {default}", command.name, option.long);
            }
        }
    }
}

#[test]
fn short_help_fits_one_screen_and_all_help_80_columns() {
    let overview = page("-h");
    assert!(overview.lines().count() <= 40);
    let mut pages = vec![overview, page("--help")];
    for command in COMMANDS {
        let short = page(&format!("{} -h", command.name));
        assert!(short.lines().count() <= 40, "{}", command.name);
        pages.extend([short, page(&format!("{} --help", command.name))]);
    }
    for line in pages.iter().flat_map(|page| page.lines()) {
        assert!(line.chars().count() <= 80 && line.trim_end() == line, "{line:?}");
    }
}

#[test]
fn every_option_and_verb_is_parted_from_what_is_said_of_it() {
    for command in COMMANDS {
        let (short, long) = (help::short(command), help::long(command));
        for option in command.options {
            let argument = option.argument.map_or(String::new(), |argument| format!(" {argument}"));
            let head = format!("--{}{argument}", option.long);
            let is_parted = |page: &str| {
                page.match_indices(&head).any(|(at, _)| {
                    let after = page[at + head.len()..].trim_start_matches(' ');
                    let spaces = page[at + head.len()..].len() - after.len();
                    let (lead, told) = (page[..at].trim_end_matches(' '), after.trim_start());
                    let letter = option.short.map_or(String::new(), |letter| format!("-{letter},"));
                    let begins_line = lead.ends_with('\n') || lead.ends_with(&letter);
                    begins_line && (spaces > 0 || after.starts_with('\n')) && told.starts_with(option.brief)
                })
            };
            assert!(is_parted(&long), "{} {head}: {long}", command.name);
            assert!(!option.common || is_parted(&short), "{} {head}: {short}", command.name);
        }
        assert!(page("-h").contains(&format!("\n  {} ", command.name)), "{}", command.name);
    }
}

#[test]
fn the_overview_names_every_door_and_each_has_help() {
    let overview = page("-h");
    let (_, doors) = overview.split_once("'remuda NAME -h'): ").expect("names");
    let names: Vec<&str> = doors.trim_end_matches(['.', '\n']).split([',', ' ', '\n']).collect();
    for name in ["socketmaster", "einhyrningsins", "einhyrningsinsctl", "tini", "dumb-init", "catatonit"] {
        assert!(names.contains(&name), "{doors}");
    }
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        match remuda::cli::parse(words(&format!("remuda {name} -h"))) {
            Ok(Outcome::Print(_)) => {}
            Ok(Outcome::Refuse(refusal)) => assert_eq!(refusal.status, 0, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

// pitfall 58
#[test]
fn help_and_version_come_before_everything_else() {
    for command in COMMANDS {
        let name = command.name;
        for (line, expected) in [
            (format!("{name} -h"), help::short(command)),
            (format!("{name} --help"), help::long(command)),
            (format!("{name} --version"), help::version()),
            (format!("{name} --no-such-option -h"), help::short(command)),
            // For `init` the word after an option that it does not have is the program.
            (
                format!("{name} --name{}!! --help", if name == "init" { "=" } else { " " }),
                help::long(command),
            ),
            (format!("{name} --no-such=yes -h"), help::short(command)),
            (format!("{name} -Zh"), help::short(command)),
        ] {
            assert_eq!(page(&line), expected, "{line}");
        }
        if !matches!(command.kind, Kind::Run | Kind::Init) {
            assert_eq!(page(&format!("{name} a b c d -h")), help::short(command));
        }
    }
    assert_eq!(page("-n 4 -h"), help::short(RUN));
    assert_eq!(page("-n zero --bnid --help"), help::long(RUN));
    assert_eq!(page("--version"), format!("remuda {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(plan("run -e -h=1 -- web --help").groups[0].launch.args, ["--help"]);
    assert!(refused("run web --help").contains("'--' must stand before"));
}

#[test]
fn each_wrong_value_is_refused_with_the_option_the_value_and_what_is_right() {
    for (option, value, told) in [
        ("--bind", "127.0.0.1:http", "bad address \"127.0.0.1:http\""),
        ("--bind", "127.0.0.1:99999", "bad address"),
        ("--bind", "", "bad address"),
        ("--handoff", "sytemd", "unknown 'sytemd' (did you mean 'systemd'?)"),
        ("--handoff", "x", "unknown 'x' (systemd, einhorn, server-starter, firestarter, notify, all, none)"),
        ("--handoff", "none,systemd", "'none,systemd' says none and more than none"),
        ("--workers", "10001", "'10001' is not a number from 0 to 10000"),
        ("--workers", "-1", "'-1' is not a number"),
        ("--workers", "+1", "'+1' is not a number"),
        ("--workers", "four", "'four' is not a number"),
        ("--workers", "", "'' is not a number"),
        ("--ack", "timmer", "unknown 'timmer' (did you mean 'timer'?)"),
        ("--ack", "timer:x", "'x' is not a duration"),
        ("--ack", "manual:3s", "'manual' takes no time, only 'timer' does"),
        ("--ack-deadline", "0", "'0' leaves no time"),
        (
            "--ack-deadline",
            "1d",
            "'1d' is not a duration (500ms, 10s, 1.5s, 2m, 1h; a bare number is seconds)",
        ),
        ("--graceful-signal", "TREM", "no signal 'TREM' (did you mean TERM?)"),
        ("--graceful-signal", "0", "no signal 0"),
        ("--stop-timeout", "soon", "'soon' is not a duration"),
        ("--drain-timeout", "-1s", "'-1s' is not a duration"),
        ("--restart", "allways", "unknown 'allways' (did you mean 'always'?)"),
        ("--success-exit", "0,256", "'256' is not an exit code (0 to 255) or a signal name"),
        ("--success-exit", "0,", "'' is not an exit code"),
        ("--success-exit", "0 1", "no signal '0 1'"),
        ("--backoff", "1ms", "'1ms' retries too fast (BASE is at least 10 ms)"),
        ("--backoff", "1s:0.5", "'0.5' is not a factor from 1 to 100 such as 1.5"),
        ("--backoff", "10s:2:1s", "'10s:2:1s' ends below where it begins"),
        ("--backoff", "1s:2:3s:4", "has more than BASE:FACTOR:MAX"),
        ("--backoff", "1s:", "'' is not a factor"),
        ("--give-up", "0", "'0' is not a number from 1"),
        ("--upgrade", "stopfirst", "unknown 'stopfirst' (did you mean 'stop-first'?)"),
        ("--surge", "0%", "'0%' is neither a number from 1 to 10000 nor 1% to 100%"),
        ("--surge", "101%", "nor 1% to 100%"),
        ("--surge", "0", "is neither"),
        ("--max-unacked", "0", "'0' is not a number"),
        ("--max-draining", "x", "'x' is not a number"),
        ("--canary-time", "0", "'0' leaves no time"),
        ("--upgrade-attempts", "0", "'0' is not a number from 1"),
        ("--upgrade-timeout", "soon", "'soon' is not a duration"),
        ("--when-upgrading", "wait", "unknown 'wait' (supersede, queue, refuse)"),
        ("--directory", "", "the path is empty"),
        ("--user", "", "'' is neither a name nor a number"),
        ("--user", "a:b:c", "'b:c' is neither a name nor a number"),
        ("--group", "a b", "'a b' is neither a name nor a number"),
        ("--env", "NOVALUE", "'NOVALUE' is not NAME=VALUE"),
        ("--env", "=x", "'=x' is not NAME=VALUE"),
        ("--env-file", "", "the path is empty"),
        ("--drop-env", "A=1", "'A=1' is not the name of a variable"),
        ("--preflight", "", "no program is named"),
        ("--preflight", "''", "the name of the program is empty"),
        ("--preflight", "a $B", "nothing stands for a variable here: quote this $"),
        ("--stop-command", "a | b", "'|' means nothing without a shell"),
        ("--rlimit", "NOFILE", "'NOFILE' is not NAME=SOFT[:HARD]"),
        ("--rlimit", "NOFILE=2:1", "'NOFILE=2:1' has a soft limit above the hard one"),
        ("--nice", "-21", "'-21' is not a number from -20 to 19"),
        ("--oom-score-adj", "x", "'x' is not a number from -1000 to 1000"),
        ("--umask", "8", "'8' is not an octal number from 0 to 777"),
        ("--umask", "1777", "'1777' is not an octal number"),
        ("--stdin", "tty", "unknown 'tty' (null, inherit)"),
        ("--log-format", "jsno", "unknown 'jsno' (did you mean 'json'?)"),
        (
            "--name",
            "a/b",
            "'a/b' is not a name (1 to 64 of letters, digits, '_', '-' and '.', the first no '.')",
        ),
        ("--name", "", "'' is not a name"),
        ("--name", ".hidden", "'.hidden' is not a name"),
        ("--control", "", "the path is empty"),
        ("--pidfile", "", "the path is empty"),
    ] {
        let args = ["run", option, value, "--", "web"].map(OsString::from).to_vec();
        let message = refusal(args);
        assert!(
            message.starts_with(&format!("{option}: ")) && message.contains(told),
            "{option} {value}: {message}"
        );
    }
    let long = "x".repeat(108);
    assert!(
        refused(&format!("run --control /{long} -- web"))
            .contains("109 bytes, a socket's can have at most 107")
    );
    assert!(refused(&format!("run --name {long} -- web")).contains("is not a name"));
    assert!(refused("ack --pid 0").contains("--pid: '0' is not a process id"));
    assert!(refused("status --timeout 0").contains("--timeout: '0' leaves no time"));
}

#[test]
fn every_option_with_a_value_can_be_given_a_wrong_one() {
    let not_text = OsString::from_vec(b"\xff".to_vec());
    // Paths and environments may be any bytes; these are refused when empty, see the table above.
    let any_bytes = [Id::Config, Id::Directory, Id::EnvFile, Id::Control, Id::Pidfile, Id::Env];
    for command in COMMANDS {
        for option in command.options.iter().filter(|option| option.argument.is_some()) {
            let long = format!("--{}", option.long);
            assert_eq!(
                refusal(vec![command.name.into(), long.clone().into()]),
                format!("option '{long}' needs a value: {}", option.argument.unwrap())
            );
            if !any_bytes.contains(&option.id) {
                let message = refusal(vec![command.name.into(), long.clone().into(), not_text.clone()]);
                assert!(
                    message.starts_with(&format!("{long}: ")) && message.ends_with("is not valid UTF-8"),
                    "{message}"
                );
            }
        }
        for option in command.options.iter().filter(|option| option.argument.is_none()) {
            if !matches!(option.id, Id::Help | Id::Version) {
                let message = refusal(line(command, &[&format!("--{}=yes", option.long)]));
                assert_eq!(message, format!("option '--{}' takes no value, and has 'yes'", option.long));
            }
        }
    }
}

#[test]
fn the_nearest_known_word_is_named() {
    for (line, told) in [
        ("run --bnid :80 -- web", "unknown option '--bnid' (did you mean '--bind'?)"),
        ("run --worker 4 -- web", "unknown option '--worker' (did you mean '--workers'?)"),
        ("run --graceful TERM -- web", "unknown option '--graceful' (did you mean '--graceful-signal'?)"),
        ("run --json -- web", "unknown option '--json' (it belongs to 'remuda status')"),
        ("upgrade --surge 1", "unknown option '--surge' (it belongs to 'remuda run')"),
        ("status -n 4", "unknown option '-n' (it belongs to 'remuda run')"),
        ("run --xyzzy -- web", "unknown option '--xyzzy'"),
        ("upgrade --no-wiat", "unknown option '--no-wiat' (did you mean '--no-wait'?)"),
        ("stauts", "unknown verb 'stauts' (did you mean 'status'?)"),
        ("upgrad", "unknown verb 'upgrad' (did you mean 'upgrade'?)"),
        ("log-level degub", "LEVEL: unknown 'degub' (did you mean 'debug'?)"),
        ("signal HPU", "SIG: no signal 'HPU' (did you mean HUP?)"),
    ] {
        assert_eq!(refused(line), told, "{line}");
    }
}

#[test]
fn a_forgotten_double_dash_is_pointed_out_with_the_right_line() {
    assert_eq!(
        refused("run -b :80 -n4 python app.py -v"),
        "a '--' must stand before the program 'python': remuda run -b :80 -n4 -- python app.py -v"
    );
    assert_eq!(
        refused("-b :80 python"),
        "a '--' must stand before the program 'python': remuda run -b :80 -- python"
    );
    assert_eq!(refused("python app.py"), "unknown verb 'python'; to run a program: remuda -- python app.py");
    assert_eq!(
        refusal(["run", "sh", "-c", "it's"].map(OsString::from).to_vec()),
        r"a '--' must stand before the program 'sh': remuda run -- sh -c 'it'\''s'"
    );
    assert_eq!(refused("run web -- python"), "unexpected word 'web' before '--'");
    assert_eq!(refused("run -n 4"), "no program to run: it follows after '--'; or a file with --config");
    assert_eq!(refused("run -n 4 --"), "no program to run: nothing follows after '--'");
    assert_eq!(refusal(["run", "--", ""].map(OsString::from).to_vec()), "the name of the program is empty");
    assert_eq!(refused(""), "nothing to do");
}

#[test]
fn what_contradicts_itself_is_refused() {
    assert_eq!(refused("run -b 80 -b 127.0.0.1:80 -- web"), "--bind: 127.0.0.1:80 is given twice");
    assert_eq!(refused("run -v -q -- web"), "--verbose and --quiet contradict each other");
    assert_eq!(
        refused("upgrade --no-wait --wait-drained"),
        "--no-wait and --wait-drained contradict each other"
    );
}

#[test]
fn everything_after_the_double_dash_is_the_program() {
    let plan = plan("-n 2 -- ./bin/web -n 3 -- --bind x");
    assert_eq!(plan.groups[0].launch.program, "./bin/web");
    assert_eq!(plan.groups[0].launch.args, ["-n", "3", "--", "--bind", "x"]);
    assert_eq!(plan.groups[0].policy.workers, 2);
    assert_eq!((plan.name.as_str(), plan.groups[0].name.as_str()), ("web", "web"));
}

#[test]
fn run_is_meant_where_no_verb_is_given() {
    assert_eq!(plan("-b :80 -- web a"), plan("run -b :80 -- web a"));
    assert_eq!(plan("-- status"), plan("run -- status"));
}

#[test]
fn verbosity_counts() {
    for (options, level) in [
        ("", Level::Info),
        ("-v", Level::Debug),
        ("-vv", Level::Debug),
        ("-q", Level::Warn),
        ("-qq", Level::Error),
        ("-q --quiet -q", Level::Error),
    ] {
        assert_eq!(plan(&format!("run {options} -- web")).log.level, level, "{options}");
    }
}

#[test]
fn a_ready_descriptor_means_that_an_ack_is_waited_for() {
    let ready = |options: &str| match parse(words(&format!("run {options} -- web"))) {
        Ok(Outcome::Run(plan)) => (plan.groups[0].launch.ready_fd, plan.groups[0].policy.ready),
        other => panic!("{options}: {other:?}"),
    };
    assert_eq!(ready("--ready-fd 4"), (Some(4), Readiness::Manual));
    assert_eq!(ready("--ack none --ready-fd 4"), (Some(4), Readiness::Exec));
    let told = refused("run --ready-fd 1024 -- web");
    assert_eq!(told, "--ready-fd: '1024' is not the number of a descriptor, up to 1023");
}

#[test]
fn a_signal_is_given_one_of_six_meanings() {
    let meanings = |line: &str| match parse(words(line)) {
        Ok(Outcome::Run(plan)) => plan.manager,
        other => panic!("{line}: {other:?}"),
    };
    let given =
        meanings("run --on-signal QUIT=stop --on-signal sigalrm=reopen --on-signal RTMIN+3=none -- web");
    assert_eq!(given.meaning(Signal::QUIT), Meaning::Stop);
    assert_eq!(given.meaning("ALRM".parse().unwrap()), Meaning::ReopenLogs);
    assert_eq!(given.meaning("RTMIN+3".parse().unwrap()), Meaning::Nothing);
    assert_eq!(given.meaning(Signal::TERM), Meaning::Stop, "the others stay");
    let usual = meanings("run -- web");
    for (signal, meaning) in [
        ("PWR", Meaning::Stop),
        ("RTMIN+3", Meaning::Stop),
        ("QUIT", Meaning::StopNow),
        ("ALRM", Meaning::Nothing),
        ("RTMAX", Meaning::Nothing),
    ] {
        assert_eq!(usual.meaning(signal.parse().unwrap()), meaning, "{signal}");
    }
    for signal in ["KILL", "STOP", "CHLD", "SEGV", "9"] {
        let told = refused(&format!("run --on-signal {signal}=stop -- web"));
        assert!(told.starts_with("--on-signal: the manager cannot give "), "{told}");
    }
    for (value, told) in [
        ("QUIT", "--on-signal: 'QUIT' is not SIG=WHAT, as in QUIT=stop"),
        ("QIUT=stop", "--on-signal: no signal 'QIUT' (did you mean QUIT?)"),
    ] {
        assert_eq!(refused(&format!("run --on-signal {value} -- web")), told);
    }
    assert!(refused("run --on-signal QUIT=stpo -- web").contains("stop"), "the nearest word is named");
}

#[test]
fn a_file_takes_the_place_of_a_program_and_of_what_it_says_itself() {
    let line = "run -c web.toml --name front --control /run/c --pidfile /run/p -qq --log-format json";
    let overrides = Overrides {
        name: Some("front".into()),
        control: Some("/run/c".into()),
        pidfile: Some("/run/p".into()),
        level: Some(Level::Error),
        format: Some(LogFormat::Json),
        ..Overrides::default()
    };
    let source = Source { overrides, ..Source::of("web.toml".into()) };
    assert_eq!(parse(words(line)), Ok(Outcome::RunFile(source)));
    let bare = Source::of("web.toml".into());
    for line in ["run --config=web.toml", "-c web.toml", "-cweb.toml", "run -c other.toml -c web.toml"] {
        assert_eq!(parse(words(line)), Ok(Outcome::RunFile(bare.clone())), "{line}");
    }
    assert_eq!(parse(words("check web.toml")), Ok(Outcome::Check(bare.clone())));
    let lenient = Source { keep_going: true, ..bare.clone() };
    assert_eq!(parse(words("run -c web.toml --keep-going")), Ok(Outcome::RunFile(lenient.clone())));
    assert_eq!(parse(words("check --keep-going web.toml")), Ok(Outcome::Check(lenient)));
    let beside = [
        "config",
        "name",
        "control",
        "pidfile",
        "verbose",
        "quiet",
        "log-format",
        "syslog",
        "subreaper",
        "no-subreaper",
        "drain-delay",
        "on-signal",
        "keep-going",
        "help",
        "version",
    ];
    for option in RUN.options.iter().filter(|option| beside.contains(&option.long)) {
        let value = good_value(option).map(|value| format!("={value}")).unwrap_or_default();
        let line = format!("run -c web.toml --{}{value}", option.long);
        let taken = parse(words(&line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(option.long == "config" || taken != Outcome::RunFile(bare.clone()), "{line}");
    }
    for option in RUN.options.iter().filter(|option| !beside.contains(&option.long)) {
        let value = good_value(option).map(|value| format!("={value}")).unwrap_or_default();
        let told = refused(&format!("run -c web.toml --{}{value}", option.long));
        let contradiction =
            format!("--{} and --config contradict each other; in the file it is the key '", option.long);
        assert!(told.starts_with(&contradiction), "{told}");
    }
    for (line, told) in [
        ("run -c web.toml -- web", "a program after '--' and --config contradict each other"),
        ("run -c web.toml web", "unexpected word 'web'"),
        ("run -c web.toml -v -q", "--verbose and --quiet contradict each other"),
        ("check", "FILE is missing: remuda check FILE"),
        ("check a.toml b.toml", "unexpected word 'b.toml'"),
        ("sample-config web.toml", "unexpected word 'web.toml'"),
    ] {
        assert_eq!(refused(line), told, "{line}");
    }
}

#[test]
fn verbs_read_their_operands() {
    let web = Some("web".to_owned());
    for (line, group, verb) in [
        ("status", None, AskVerb::Status),
        ("status web", web.clone(), AskVerb::Status),
        ("upgrade web", web.clone(), AskVerb::Upgrade),
        ("restart", None, AskVerb::Restart),
        ("rollback web", web.clone(), AskVerb::RollBack),
        ("why", None, AskVerb::Why(None)),
        ("why web", web.clone(), AskVerb::Why(None)),
        ("why web[12]", web.clone(), AskVerb::Why(Some(12))),
        ("drain 3", None, AskVerb::Drain { generation: 3, now: false }),
        ("drain web 3 --now", web.clone(), AskVerb::Drain { generation: 3, now: true }),
        ("drain", None, AskVerb::DrainManager { delay: None }),
        ("drain --delay 5s", None, AskVerb::DrainManager { delay: Some(Duration::from_secs(5)) }),
        ("probe live", None, AskVerb::Probe(Probe::Live)),
        ("probe ready web --all", web.clone(), AskVerb::Probe(Probe::Ready { all: true })),
        ("start web", web.clone(), AskVerb::Start),
        ("stop", None, AskVerb::Stop),
        ("stop -- web", web.clone(), AskVerb::Stop),
        ("scale 6", None, AskVerb::Scale(6)),
        ("scale web 6", web.clone(), AskVerb::Scale(6)),
        ("inc", None, AskVerb::Inc(1)),
        ("inc 3", None, AskVerb::Inc(3)),
        ("inc web", web.clone(), AskVerb::Inc(1)),
        ("dec web 2", web.clone(), AskVerb::Dec(2)),
        ("signal HUP", None, AskVerb::Signal(Signal::HUP)),
        ("signal web sigusr1", web.clone(), AskVerb::Signal(Signal::USR1)),
        ("log-level warn", None, AskVerb::LogLevel(Level::Warn)),
        ("events web", web.clone(), AskVerb::Events),
        ("reexec", None, AskVerb::Reexec),
        ("reopen", None, AskVerb::Reopen),
        ("version", None, AskVerb::Version),
        ("ack", None, AskVerb::Ack(None)),
        ("ack --pid 7", None, AskVerb::Ack(Some(7))),
        ("ping", None, AskVerb::Ping),
    ] {
        let asked = ask(line);
        assert_eq!((asked.group, asked.verb), (group, verb), "{line}");
    }
    for (line, told) in [
        ("status a b", "unexpected word 'b'"),
        ("drain --now", "--now is about the workers of a GENERATION, and none is given"),
        ("drain 2 --delay 5s", "--delay is about the manager: there is no GENERATION beside it"),
        ("probe", "ready or live is missing: remuda probe ready"),
        ("probe well", "'well' is neither ready nor live"),
        ("probe live web", "unexpected word 'web'"),
        ("scale", "N is missing: remuda scale [GROUP] N"),
        ("scale web", "N: 'web' is not a number from 0 to 10000"),
        ("scale web 10001", "N: '10001' is not a number from 0 to 10000"),
        ("scale a 1 b", "unexpected word 'b'"),
        ("inc a b", "N: 'b' is not a number from 1 to 10000"),
        ("signal", "SIG is missing: remuda signal [GROUP] SIG"),
        ("log-level", "LEVEL is missing: debug, info, warn or error"),
        ("log-level info web", "unexpected word 'web'"),
        ("version web", "unexpected word 'web'"),
        ("ping x", "unexpected word 'x'"),
        ("ack 12", "unexpected word '12'"),
        (
            "stop a/b",
            "GROUP: 'a/b' is not a name (1 to 64 of letters, digits, '_', '-' and '.', the first no '.')",
        ),
    ] {
        assert_eq!(refused(line), told, "{line}");
    }
}

#[test]
fn verbs_say_how_long_to_wait() {
    let ten = Some(Duration::from_secs(10));
    assert_eq!((ask("upgrade").wait, ask("upgrade").drained, ask("upgrade").timeout), (true, false, None));
    assert_eq!((ask("upgrade --no-wait").wait, ask("upgrade --no-wait").timeout), (false, ten));
    assert!(ask("stop --wait-drained").drained);
    assert_eq!(ask("status").timeout, ten);
    assert_eq!(ask("scale 2 --timeout 1m").timeout, Some(Duration::from_secs(60)));
    assert_eq!(ask("events").timeout, None);
    assert!(ask("status --json").json && ask("upgrade -q").quiet);
    let asked = ask("ping --name web --control ./c.sock");
    assert_eq!((asked.name.as_deref(), asked.control.as_deref()), (Some("web"), Some(Path::new("./c.sock"))));
}

/// All lines of up to three words of a small vocabulary: none may panic, and an error is one about the line.
#[test]
fn no_line_is_too_odd() {
    let vocabulary = [
        "run",
        "status",
        "inc",
        "signal",
        "--",
        "-",
        "",
        "-h",
        "--help",
        "--version",
        "-n",
        "-n4",
        "-n=4",
        "-vq",
        "-vn",
        "--bind",
        "--bind=:80",
        "--bind=",
        "--name",
        "--name=a=b",
        "--json",
        "--json=1",
        "--=",
        "-=",
        "---",
        "--no-wait",
        "web",
        "4",
        "-1",
        "TERM",
        "\u{fc}",
        "-\u{fc}",
    ];
    let mut lines: Vec<Vec<&str>> = vec![Vec::new()];
    for length in 0..3 {
        let longer = lines.iter().filter(|line| line.len() == length);
        let longer: Vec<Vec<&str>> =
            longer.flat_map(|line| vocabulary.map(|word| [&line[..], &[word]].concat())).collect();
        lines.extend(longer);
    }
    for line in lines {
        if let Err(error) = parse(line.iter().map(OsString::from).collect()) {
            assert_eq!(error.code, Code::Usage, "{line:?}");
            assert!(
                !error.message.contains('\n') && error.message.contains("; try 'remuda "),
                "{line:?}: {error}"
            );
        }
    }
}

fn remuda(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn the_binary_tells_errors_on_stderr_and_by_its_exit_code() {
    let help = remuda(&["--version"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert_eq!(String::from_utf8(help.stdout).unwrap(), help::version());
    assert!(help.stderr.is_empty());

    let wrong = remuda(&["upgrade", "--no-wiat"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stdout.is_empty());
    assert_eq!(
        String::from_utf8(wrong.stderr).unwrap(),
        "remuda: unknown option '--no-wiat' (did you mean '--no-wait'?); try 'remuda upgrade -h'\n"
    );
}

#[test]
fn a_reader_that_hangs_up_is_content_and_a_full_disk_is_told() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let hung_up = remuda(&["--help"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((hung_up.status.code(), hung_up.stderr.as_slice()), (Some(0), &b""[..]));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let deaf = remuda(&["--no-such-option"]).stderr(writer).stdout(Stdio::null()).status().unwrap();
    assert_eq!(deaf.code(), Some(2));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = remuda(&["-h"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(full.stderr.starts_with(b"remuda: cannot write to standard output: "));
}

#[test]
fn plans_are_as_written_down() {
    for (name, line) in [
        ("plain", "run -- web"),
        (
            "sockets",
            "-b 127.0.0.1:8080 -b [::1]:8080,name=six -b unix:/run/web.sock,mode=660 -b @web -n 4 -- web --fd 3",
        ),
        (
            "policy",
            "run -n 8 --ack manual --ack-deadline 5s --graceful-signal QUIT --stop-timeout 3s --drain-timeout 2m \
             --upgrade stop-first --surge 2 --max-unacked 3 --max-draining 4 --restart on-failure \
             --success-exit 0,2,TERM --backoff 100ms:2:1m --give-up 5 -- /opt/web/bin/server",
        ),
        (
            "environment",
            "run --user web --group www -C /srv -e A=1 -e B=x=y --env-file /etc/web.env --drop-env SECRET \
             --login-env --rlimit NOFILE=1024:4096 --rlimit as=1G --nice -5 \
             --oom-score-adj 300 --pdeathsig KILL --umask 027 --stdin inherit --keep-signals --no-kill-group --handoff systemd,notify --no-listen-pid \
             --name site --control /run/site.ctl --pidfile /run/site.pid -q --log-format json -- web",
        ),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
        let found = format!("{line}\n\n{:#?}\n", plan(line));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &found).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == found, "{} differs (UPDATE_GOLDEN=1 writes it anew):\n{found}", path.display());
    }
}
