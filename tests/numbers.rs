//! Numbers from outside: whatever stands where a number is expected, on a wire, a command line or in a file, it is
//! understood within bounds or refused; nothing overflows, and nothing ends the program.

use std::ffi::OsString;
use std::time::Duration;

use proptest::prelude::*;
use remuda::cli::{self, Outcome};
use remuda::config::{self, Source};
use remuda::plan::{Dialect, Readiness};
use remuda::supervisor::command::{Scale, Verb};
use remuda::supervisor::foreign::Foreign;
use remuda::wire::{Codec, Decoded};

/// Numbers as people, programs and attackers write them.
const NUMBERS: [&str; 33] = [
    "0",
    "-0",
    "1",
    "-1",
    "1.5",
    "0.0000001",
    "1e3",
    "1.5e19",
    "1e308",
    "1e309",
    "-1e309",
    "1e-400",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "infinity",
    ".inf",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "4294967297",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "340282366920938463463374607431768211456",
    "0x7fffffffffffffffffff",
    "1_000_000_000_000_000_000",
];

/// No clock of ours is asked to add more than this.
const LONGEST: Duration = Duration::from_secs(1000 * 24 * 60 * 60);

fn decode(mut codec: Codec, line: &str) -> Option<Verb> {
    match codec.decode(line.as_bytes()) {
        Decoded::Request { verb, .. } => Some(verb),
        Decoded::Reply(_) | Decoded::Nothing => None,
    }
}

#[test]
fn every_codec_bounds_or_refuses_a_number() {
    let einhorn = || Codec::new(&Dialect::Einhorn(Box::default()), 1, None);
    let keys = ["number", "seconds", "max_unacked", "max_upgrade_additional"];
    for number in NUMBERS {
        for quoted in [number.to_owned(), format!("\"{number}\"")] {
            let mut lines: Vec<String> =
                ["scale", "inc", "dec", "drain", "signal", "worker:ack", "log-level", "upgrade"]
                    .iter()
                    .flat_map(|command| {
                        ["workers", "count", "generation", "delay", "pid", "signal", "timeout", "id"].map(
                            |field| {
                                format!(r#"{{"command":"{command}","{field}":{quoted},"args":[{quoted}]}}"#)
                            },
                        )
                    })
                    .collect();
            lines.push(format!(r#"{{"command":"set_workers","args":[{quoted}]}}"#));
            lines.push(format!(r#"{{"command":"signal","args":["TERM",{quoted}]}}"#));
            for key in keys {
                lines.push(format!(r#"{{"command":"config","args":["{{config: {{{key}: {number}}}}}"]}}"#));
            }
            for rest in ["signal_timeout: N", "ack_mode: {type: timer, timeout: N}", "verbosity: N"] {
                let rest = rest.replace('N', number);
                lines.push(format!(r#"{{"command":"config","args":["{{{rest}}}"]}}"#));
            }
            for line in &lines {
                let codecs = [
                    Codec::native(),
                    einhorn(),
                    Codec::new(&Dialect::Firestarter, 1, Some("web")),
                    Codec::new(&Dialect::Einhyrningsins, 1, None),
                ];
                for codec in codecs {
                    if let Some(Verb::Foreign(Foreign::Configure(changes))) = decode(codec, line) {
                        let spans = [changes.spacing, changes.stop_timeout.flatten()];
                        assert!(
                            spans.into_iter().flatten().all(|span| span <= LONGEST),
                            "{line}: {changes:?}"
                        );
                        assert!(changes.workers.is_none_or(|workers| workers <= 10_000), "{line}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_number_of_workers_that_is_too_large_is_refused_and_not_cut() {
    for number in ["18446744073709551616", "18446744073709551617", "4294967297"] {
        for line in [
            format!(r#"{{"command":"set_workers","args":["{number}"]}}"#),
            format!(r#"{{"command":"scale","workers":{number}}}"#),
        ] {
            for codec in [Codec::native(), Codec::new(&Dialect::Einhorn(Box::default()), 1, None)] {
                let verb = decode(codec, &line);
                let cut = matches!(verb, Some(Verb::Scale(_, Scale::To(count), _)) if count <= 10_000);
                assert!(!cut, "{line}: {verb:?}");
            }
        }
    }
}

#[test]
fn every_door_bounds_or_refuses_the_number_of_an_option() {
    let doors: [(&str, &[&str]); 6] = [
        (
            "run",
            &[
                "-n",
                "--ack",
                "--ack-deadline",
                "--stop-timeout",
                "--drain-timeout",
                "--backoff",
                "--give-up",
                "--surge",
                "--max-unacked",
                "--max-draining",
                "--canary-time",
                "--watchdog",
                "--warmup",
                "--nice",
                "--umask",
                "--oom-score-adj",
                "--fd-store",
                "--ready-fd",
                "--probe-interval",
                "--live-failures",
                "--drain-delay",
                "--rlimit",
                "--upgrade-timeout",
                "--on-exit",
                "--success-exit",
            ],
        ),
        ("init", &["--stop-timeout", "-e", "-p", "--rewrite"]),
        ("einhorn", &["-n", "-s", "-m", "-t", "--max-unacked", "--max-upgrade-additional", "--nice"]),
        ("einhyrningsins", &["-n", "-r"]),
        ("start_server", &["--interval", "--backlog", "--port", "--kill-old-delay"]),
        ("socketmaster", &["-start", "-user"]),
    ];
    for (door, options) in doors {
        for option in options {
            for number in NUMBERS {
                for value in [
                    number.to_owned(),
                    format!("timer:{number}"),
                    format!("{number}s:{number}:{number}s"),
                    format!("nofile={number}"),
                    format!("{number}%"),
                ] {
                    let words = ["remuda", door, option, &value, "--", "/bin/true"].map(OsString::from);
                    if let Ok(Outcome::Run(plan)) = cli::parse(words) {
                        let policy = &plan.groups[0].policy;
                        let spans =
                            [policy.stop_timeout, policy.drain_timeout, policy.ack_deadline, policy.canary];
                        let within = spans.into_iter().flatten().chain([
                            policy.spacing,
                            policy.warmup,
                            policy.backoff.max,
                        ]);
                        let most = within.max().unwrap_or_default();
                        assert!(
                            most <= Duration::from_secs(u64::from(u32::MAX)),
                            "{door} {option} {value}: {most:?}"
                        );
                        assert!(policy.workers <= 10_000, "{door} {option} {value}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_file_bounds_or_refuses_the_number_of_every_key() {
    for key in config::keys::KEYS {
        for number in NUMBERS {
            for value in
                [number.to_owned(), format!("'{number}'"), format!("['{number}']"), format!("'{number}s'")]
            {
                let text =
                    format!("[remuda]\n{0} = {value}\n[web]\nexec_start = 'a'\n{0} = {value}\n", key.name);
                // A plan or faults; nothing else can come of it.
                let _either = config::read(&text, &Source::of("a.toml".into()), &[]);
            }
        }
    }
}

#[test]
fn too_many_seconds_are_refused_by_name() {
    let Ok(Outcome::Refuse(refusal)) = cli::parse(["einhorn", "-s", "1.5e19", "--", "x"].map(OsString::from))
    else {
        panic!("taken");
    };
    assert!(refusal.page.contains("seconds: 1.5e19 is more than 86400000"), "{}", refusal.page);
    for (request, said) in [
        ("{config: {seconds: 1.5e19}}", "config.seconds: 1.5e19 is more than 86400000"),
        ("{signal_timeout: 1e400}", "signal_timeout: 1e400 is more than 86400000"),
        ("{ack_mode: {type: timer, timeout: 86400001}}", "ack_mode.timeout: 86400001 is more than 86400000"),
    ] {
        let line = format!(r#"{{"command":"config","id":1,"args":["{request}"]}}"#);
        let mut codec = Codec::new(&Dialect::Einhorn(Box::default()), 1, None);
        let Decoded::Reply(answer) = codec.decode(line.as_bytes()) else { panic!("{line}: taken") };
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(said), "{answer}");
    }
}

#[test]
fn a_number_too_large_for_an_integer_scales_to_nothing_else() {
    for number in ["18446744073709551616", "\"18446744073709551616\"", "1e30", "4.5", "\"4.5\""] {
        let line = format!(r#"{{"command":"set_workers","id":1,"args":[{number}]}}"#);
        let mut codec = Codec::new(&Dialect::Einhorn(Box::default()), 1, None);
        match codec.decode(line.as_bytes()) {
            Decoded::Reply(_) => {}
            other => panic!("{line}: {other:?}"),
        }
    }
    let mut codec = Codec::new(&Dialect::Einhorn(Box::default()), 1, None);
    let line = br#"{"command":"set_workers","id":1,"args":["4"]}"#;
    let Decoded::Request { verb: Verb::Scale(None, Scale::To(4), _), .. } = codec.decode(line) else {
        panic!("refused");
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_number_einhorn_is_told_it_is_within_bounds_or_refused(
        bits: u64,
        whole: i128,
        digits in "[-+]?[0-9]{1,40}(\\.[0-9]{1,12})?(e[-+]?[0-9]{1,3})?",
    ) {
        for number in [format!("{:e}", f64::from_bits(bits)), whole.to_string(), digits] {
            for setting in ["config: {seconds: N}", "signal_timeout: N", "ack_mode: {type: timer, timeout: N}"] {
                let setting = setting.replace('N', &number);
                let line = format!(r#"{{"command":"config","id":1,"args":["{{{setting}}}"]}}"#);
                let codec = Codec::new(&Dialect::Einhorn(Box::default()), 1, None);
                if let Some(Verb::Foreign(Foreign::Configure(changes))) = decode(codec, &line) {
                    let timer = match changes.ready {
                        Some(Readiness::Timer(span)) => Some(span),
                        _ => None,
                    };
                    let spans = [changes.spacing, changes.stop_timeout.flatten(), timer];
                    prop_assert!(spans.into_iter().flatten().all(|span| span <= LONGEST), "{}: {:?}", line, changes);
                }
            }
            for option in ["-s", "-m", "--signal-timeout", "-l", "-n"] {
                let words = ["einhorn", option, &number, "--", "x"].map(OsString::from);
                if let Ok(Outcome::Run(plan)) = cli::parse(words) {
                    let policy = &plan.groups[0].policy;
                    let spans = [Some(policy.spacing), policy.stop_timeout];
                    prop_assert!(spans.into_iter().flatten().all(|span| span <= LONGEST), "{} {}", option, number);
                }
            }
        }
    }
}
