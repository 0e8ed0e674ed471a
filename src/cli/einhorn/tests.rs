use std::path::Path;

use super::*;

fn outcome(line: &str) -> Outcome {
    let words = line.split_whitespace().map(OsString::from).collect();
    parse_on(words, Path::new("/tmp"), 4)
}

fn plan(line: &str) -> Plan {
    match outcome(line) {
        Outcome::Run(plan) => *plan,
        other => panic!("{line}: {other:?}"),
    }
}

fn policy(line: &str) -> Policy {
    plan(line).groups.remove(0).policy
}

fn bound(line: &str) -> SocketSpec {
    plan(line).groups.remove(0).sockets.remove(0)
}

/// What is told on standard error, with status 1.
fn said(line: &str) -> String {
    match outcome(line) {
        Outcome::Refuse(Refusal { page, stream: Stream::Error, status: 1 }) => page,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_option_is_in_the_help() {
    for option in &OPTIONS {
        assert!(USAGE.contains(&format!("--{}", option.long)), "{}", option.long);
        assert!(option.short.is_none_or(|letter| USAGE.contains(&format!("-{letter}, "))));
    }
}

#[test]
fn each_option_sets_its_part_of_the_plan() {
    let plain = plan("/bin/prog a -n");
    assert_eq!((plain.name.as_str(), plain.groups[0].launch.args.len()), ("prog", 2));
    assert_eq!(
        plain.control,
        Some(ControlSpec::Locked { path: "/tmp/einhorn.sock".into(), lock: "/tmp/einhorn.lock".into() })
    );
    assert_eq!(plain.pidfile.as_deref(), Some(Path::new("/tmp/einhorn.pid")));
    assert!(matches!(plain.dialect, Dialect::Einhorn(_)) && plain.manager.reexec_on_upgrade);
    assert_eq!(plain.own.title.as_deref(), Some("einhorn: /bin/prog a -n"));

    let named = plan("-c web -d x.sock -f y -e z prog");
    assert_eq!(named.name, "web");
    assert_eq!(named.control, Some(ControlSpec::Locked { path: "x.sock".into(), lock: "y".into() }));
    assert_eq!(plan("--command-n web prog").pidfile.as_deref(), Some(Path::new("/tmp/einhorn-web.pid")));

    let usual = policy("prog");
    assert_eq!((usual.workers, usual.ready), (1, Readiness::Timer(Duration::from_secs(1))));
    assert_eq!((usual.spacing, usual.max_unacked), (Duration::from_secs(1), Some(4)));
    assert_eq!((usual.graceful_signal, usual.stop_timeout), (Signal::USR2, None));
    assert_eq!(usual.backoff.base, Duration::from_millis(1500));
    assert_eq!(policy("-n3 prog").workers, 3);
    assert_eq!(policy("--number=3x prog").workers, 3);
    assert_eq!(policy("-m manual prog").ready, Readiness::Manual);
    assert_eq!(policy("-m0.5 prog").ready, Readiness::Timer(Duration::from_millis(500)));
    assert_eq!(policy("-s 0.2 prog").spacing, Duration::from_millis(200));
    assert_eq!(policy("-t 0x10 prog").drain_timeout, Some(Duration::from_secs(16)));
    assert_eq!(policy("--max-un 7 prog").max_unacked, Some(7));
    let limited = policy("--max-upgrade-additional 2 prog");
    assert_eq!((limited.max_extra, limited.upgrade), (Some(2), UpgradeMode::Rolling));
    let none = policy("--max-upgrade-additional 0 prog");
    assert_eq!((none.max_extra, none.upgrade), (Some(0), UpgradeMode::Rolling));

    let levels = ["prog", "-q prog", "-qqq prog", "-v prog", "-vvq prog"].map(|line| plan(line).log.level);
    assert_eq!(levels, [Level::Info, Level::Warn, Level::Warn, Level::Debug, Level::Info]);
    let launch = plan("-gk --nice 5:10:/bin/renice --drop-env-var A prog").groups.remove(0).launch;
    assert!(launch.handoff.control_descriptor);
    assert_eq!(launch.attributes.parent_death_signal, Some(Signal::USR2));
    assert_eq!((launch.attributes.nice, launch.env.drop.len()), (Some(10), 0));
    let own = plan("--nice 5 --drop-env-var A --reexec-as=/bin/wrap -- prog x").own;
    assert_eq!((own.nice, own.reexec.drop), (Some(5), vec!["A".to_owned()]));
    assert_eq!(
        (own.reexec.command, own.reexec.tail),
        (vec!["/bin/wrap".into()], vec!["prog".into(), "x".into()])
    );
    assert!(
        plan("-p a.rb --gc-before-fork prog")
            .log
            .opening
            .unwrap()
            .starts_with("--preload and --gc-before-fork")
    );
}

#[test]
fn sockets_have_their_flags() {
    let plain = bound("-b 127.0.0.1:80 prog");
    assert_eq!(plain.address, Address::Tcp(Host::Ip("127.0.0.1:80".parse().unwrap())));
    assert_eq!((plain.backlog, plain.reuse_address, plain.nonblocking), (Some(100), false, false));
    let flagged = bound("-l 7 -b 127.0.0.1:80,R,o_nonblock,whatever prog");
    assert_eq!((flagged.backlog, flagged.reuse_address, flagged.nonblocking), (Some(7), true, true));
    assert!(matches!(bound("-b localhost:0 prog").address, Address::Tcp(Host::Name(_, 0, _))));
}

#[test]
fn help_and_version_are_on_standard_output() {
    let page = |line: &str, starts: &str| match outcome(line) {
        Outcome::Refuse(Refusal { page, stream: Stream::Output, status: 1 }) => {
            assert!(page.starts_with(starts), "{page}")
        }
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(outcome("-h -z"), Outcome::Print(USAGE.to_owned()));
    page("", "## Usage\n");
    page("-n 3 --", "## Usage\n");
    assert_eq!(outcome("--version -z"), Outcome::Print("1.1.1\n".into()));
    assert_eq!(outcome("--upgrade-check --frobnicate"), Outcome::CanResume);
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    for (line, complaint) in [
        ("-z prog", "invalid option: -z"),
        ("-n", "missing argument: -n"),
        ("--ma=1 prog", "ambiguous option: --ma"),
        ("-n 0 prog", "--number: you need to spin up at least 1 copy"),
        ("-n abc prog", "--number: you need to spin up at least 1 copy"),
        ("-n -5 prog", "--number: you need"),
        ("-s 0 prog", "seconds must be > 0"),
        ("-s -1 prog", "seconds must be > 0"),
        ("-m foo prog", "Invalid ack-mode \"foo\" (valid modes: FLOAT or manual)"),
        ("-m -5 prog", "Invalid ack-mode \"-5\""),
        ("-b 80 prog", "Invalid value for \"80\": bind address must be of the form address:port[,flags...]"),
        ("-b [::1]:80 prog", "Invalid value for"),
        ("-b 127.0.0.1:65536 prog", "--bind: '127.0.0.1:65536': a port is at most 65535"),
        ("-b 127.0.0.1:80 -b 127.0.0.1:80 prog", "--bind: 127.0.0.1:80 is given twice"),
        ("-t x prog", "--signal-timeout: invalid value for Integer(): \"x\""),
        ("--max-unacked 0 prog", "--max-unacked must be > 0"),
        ("--nice :5 prog", "--nice: invalid value for Integer(): \"\""),
        ("--nice 50 prog", "--nice: MASTER is a number from -20 to 19"),
        ("-d /tmp/ prog", "--socket-path: '/tmp/' is a directory: it takes the path of a file"),
        ("-c a/b prog", "--command-name: 'a/b'"),
        ("--reexec-as 'a prog", "--reexec-as: unmatched quote"),
        ("--with-state-fd 9 -- prog", "descriptor 9 holds no state of remuda"),
    ] {
        let page = said(line);
        assert!(page.starts_with(&format!("einhorn: {complaint}")), "{line}: {page}");
        assert_eq!(page.lines().count(), 1, "{page}");
    }
}
