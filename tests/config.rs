//! The groups file: what each key comes to, everything that is wrong with a file with its place, and the documents that
//! tell of it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remuda::attributes::{Attributes, ResourceLimit};
use remuda::cli::options::{Id, RUN};
use remuda::cli::{Outcome, native};
use remuda::config::keys::{self, KEYS, Key, Kind, Origin, Table, Usual};
use remuda::config::{self, Contents, Manner, Overrides, Source};
use remuda::plan::{
    ControlSpec, Convention, Dialect, Hook, Level, LogFormat, Meaning, Plan, Readiness, Restart, Share,
    Stdin, Success, UpgradeMode,
};
use remuda::signame::Signal;

fn source() -> Source {
    Source::of(PathBuf::from("/etc/remuda/groups.toml"))
}

fn environment() -> Vec<(OsString, OsString)> {
    vec![("RELEASE".into(), "/srv/current".into())]
}

fn plan(text: &str) -> Plan {
    reading(text).plan
}

fn reading(text: &str) -> Contents {
    config::read(text, &source(), &environment()).unwrap_or_else(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{text}\n{}", told.join("\n"))
    })
}

/// The faults of a file, a line each.
fn faults(text: &str) -> Vec<String> {
    match config::read(text, &source(), &environment()) {
        Ok(reading) => panic!("{text}\n{reading:?}"),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// A group with one line more.
fn group(line: &str) -> String {
    format!("[web]\nexec_start = \"web\"\n{line}\n")
}

/// A file that says nothing but one key, and what must be there.
fn file_with(key: &Key, value: &str) -> String {
    match (key.table, key.usual) {
        (Table::Group, Usual::Required(_)) => format!("[web]\n{} = {value}\n", key.name),
        (Table::Group, _) => group(&format!("{} = {value}", key.name)),
        (Table::Manager, _) => format!("[remuda]\n{} = {value}\n{}", key.name, group("")),
    }
}

#[test]
fn every_key_comes_to_what_it_says() {
    let secs = Duration::from_secs;
    let text = r#"
        [remuda]
        name = "front"
        control_socket = "/run/front.sock"
        pidfile = "/run/front.pid"
        log_level = "warn"
        log_format = "json"

        [web]
        exec_start = "$RELEASE/bin/web --title 'a b'"
        numprocesses = 4
        working_directory = "/srv"
        socket_address = ["tcp::8080", "unix:/run/web.sock,mode=0660,name=admin"]
        socket_options = ["nodelay"]
        handoff = ["systemd", "notify"]
        environment_base_name = "WEB"
        listen_pid = false
        ack = "manual"
        ack_deadline = "2m"
        graceful_signal = "SIGQUIT"
        stop_timeout = 2.5
        restart = "on-failure"
        success_exit = [0, 2, "TERM"]
        backoff = "100ms:2:1m"
        giveup = 5
        kill_group = false
        upgrade = "fleet"
        surge = "50%"
        max_unacked = 2
        max_draining = 3
        drain_timeout = "5m"
        ack_signal = "SIGUSR2"
        environments = ["A=1", "B=x=y"]
        env_files = ["/etc/default/web"]
        drop_env = ["SECRET"]
        user = "www-data"
        gid = 33
        login_env = true
        rlimits = ["nofile=1024:4096", "CORE=unlimited"]
        nice = -5
        oom_score_adj = -500
        pdeathsig = "SIGKILL"
        umask = 0o027
        stdin = "inherit"
        keep_signals = true
        ready_fd = 5

        [api]
        exec_start = ["api", "$RELEASE", ""]
        ack_timeout = 3
        surge = 2
        umask = "022"
        restart = "none"
    "#;
    let plan = plan(text);
    let no_delay = |at: usize| plan.groups[0].sockets[at].options.no_delay;
    assert!(no_delay(0) && !no_delay(1), "it means nothing for a Unix path");
    assert_eq!(plan.name, "front");
    assert_eq!(plan.control, Some(ControlSpec::Path("/run/front.sock".into())));
    assert_eq!(plan.pidfile.as_deref(), Some(Path::new("/run/front.pid")));
    assert_eq!((plan.log.level, plan.log.format), (Level::Warn, LogFormat::Json));
    let [web, api] = &plan.groups[..] else { panic!("{:?}", plan.groups) };

    assert_eq!(web.name, "web");
    let launch = &web.launch;
    assert_eq!(launch.program, "/srv/current/bin/web");
    assert_eq!(launch.args, ["--title", "a b"]);
    assert_eq!(launch.directory.as_deref(), Some(Path::new("/srv")));
    assert_eq!(launch.handoff.conventions, BTreeSet::from([Convention::Systemd, Convention::Notify]));
    assert_eq!((launch.handoff.base_name.as_str(), launch.handoff.listen_pid), ("WEB", false));
    assert_eq!(launch.env.set, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
    assert_eq!(launch.env.files, [PathBuf::from("/etc/default/web")]);
    assert_eq!(launch.env.drop, ["SECRET"]);
    assert_eq!((launch.user.as_deref(), launch.group.as_deref()), (Some("www-data"), Some("33")));
    assert_eq!((launch.umask, launch.stdin, launch.keep_signals), (Some(0o027), Stdin::Inherit, true));
    assert!(!launch.kill_process_group && launch.login_env);
    assert_eq!((launch.ready_fd, plan.groups[1].launch.ready_fd), (Some(5), None));
    let limits: Vec<ResourceLimit> =
        ["NOFILE=1024:4096", "CORE=unlimited"].map(|limit| limit.parse().unwrap()).into();
    let attributes = Attributes {
        limits,
        nice: Some(-5),
        oom_score_adj: Some(-500),
        parent_death_signal: Some(Signal::KILL),
    };
    assert_eq!(launch.attributes, attributes);
    let addresses: Vec<String> = web.sockets.iter().map(|socket| socket.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:8080", "unix:/run/web.sock"]);
    assert_eq!((web.sockets[1].name.as_deref(), web.sockets[1].mode), (Some("admin"), Some(0o660)));
    let policy = &web.policy;
    assert_eq!((policy.workers, policy.ready, policy.ack_deadline), (4, Readiness::Manual, Some(secs(120))));
    assert_eq!((policy.graceful_signal, policy.drain_signal), (Signal::QUIT, Some(Signal::USR2)));
    assert_eq!(
        (policy.stop_timeout, policy.drain_timeout),
        (Some(Duration::from_millis(2500)), Some(secs(300)))
    );
    assert_eq!((policy.restart, policy.give_up), (Restart::OnFailure, Some(5)));
    assert_eq!(policy.success, [Success::Exit(0), Success::Exit(2), Success::Signal(Signal::TERM)]);
    assert_eq!((policy.backoff.base, policy.backoff.factor_milli), (Duration::from_millis(100), 2000));
    assert_eq!((policy.upgrade, policy.surge), (UpgradeMode::Fleet, Share::Percent(50)));
    assert_eq!((policy.max_unacked, policy.max_draining), (Some(2), Some(3)));

    assert_eq!(api.launch.program, "api");
    assert_eq!(api.launch.args, ["$RELEASE", ""], "words of a list stand for themselves");
    assert_eq!((api.policy.ready, api.policy.surge), (Readiness::Timer(secs(3)), Share::Count(2)));
    assert_eq!((api.launch.umask, api.policy.restart), (Some(0o022), Restart::Never));
}

#[test]
fn a_group_that_says_nothing_is_what_the_command_line_makes_of_a_program() {
    let Ok(Outcome::Run(typed)) =
        native::parse(["run", "--name", "web", "--", "web"].map(Into::into).to_vec())
    else {
        panic!("no plan")
    };
    let mut read = plan(&group(""));
    // What comes from a file can be read again, and HUP asks for that.
    assert_eq!(read.source.take(), Some(source()));
    let signals = &mut read.manager.signals;
    assert_eq!(signals.insert(Signal::HUP, Meaning::Upgrade), Some(Meaning::Reload));
    assert_eq!(Plan { name: "groups".to_owned(), ..*typed }, read);
}

#[test]
fn the_command_line_goes_before_the_file_and_both_before_its_name() {
    let text = "[remuda]\nname = \"front\"\nlog_level = \"warn\"\n[web]\nexec_start = \"web\"\n";
    let overrides =
        Overrides { name: Some("mine".into()), level: Some(Level::Debug), ..Overrides::default() };
    let plan = config::read(text, &Source { overrides, ..source() }, &[]).unwrap().plan;
    assert_eq!((plan.name.as_str(), plan.log.level), ("mine", Level::Debug));
    for (file, name) in
        [("web.toml", "web"), ("a/web", "web"), ("/x/my app.toml", "my-app"), (".toml", "toml")]
    {
        let source = Source::of(file.into());
        assert_eq!(config::read(&group(""), &source, &[]).unwrap().plan.name, name, "{file}");
    }
}

/// A value that is not the one that holds without the key, and what else has to be said for it to make a difference.
fn another(key: &Key) -> (&'static str, &'static str) {
    match (key.name, key.kind, key.usual) {
        ("exec_start", ..) => ("\"other\"", ""),
        (.., Usual::Absent(value) | Usual::Required(value)) => (value, ""),
        ("defaults", ..) => ("\"firestarter\"", ""),
        ("log_level", ..) => ("\"warn\"", ""),
        ("log_format", ..) => ("\"json\"", ""),
        ("socket_address", ..) => ("[\"127.0.0.1:80\"]", ""),
        ("socket_options", ..) => ("[\"backlog=7\"]", "socket_address = [\"127.0.0.1:80\"]"),
        ("handoff", ..) => ("[\"systemd\"]", ""),
        ("environment_base_name", ..) => ("\"OTHER\"", ""),
        ("ack", ..) => ("\"manual\"", ""),
        ("graceful_signal", ..) => ("\"QUIT\"", ""),
        ("restart", ..) => ("\"on-failure\"", ""),
        ("success_exit", ..) => ("[0, 3]", ""),
        ("on_exit", ..) => ("\"exit\"", ""),
        ("backoff", ..) => ("\"2s:1.5:30s\"", ""),
        ("upgrade", ..) => ("\"fleet\"", ""),
        ("canary_time", ..) => ("7", "canary = true"),
        ("when_upgrading", ..) => ("\"queue\"", ""),
        ("environments", ..) => ("[\"A=1\"]", ""),
        ("env_files", ..) => ("[\"/etc/web.env\"]", ""),
        ("drop_env", ..) => ("[\"HOME\"]", ""),
        ("rlimits", ..) => ("[\"nofile=100\"]", ""),
        ("stdin", ..) => ("\"inherit\"", ""),
        ("stdout_log" | "stderr_log", ..) => ("\"/var/log/web\"", ""),
        ("log_overflow", ..) => ("\"block\"", "stdout_log = \"/var/log/web\""),
        (_, Kind::Flag, Usual::Default("true")) => ("false", ""),
        (_, Kind::Flag, _) => ("true", ""),
        (_, Kind::Number | Kind::Duration | Kind::Share, _) => ("7", ""),
        (name, ..) => panic!("{name}: say another value of it here"),
    }
}

#[test]
fn defaults_in_the_table_are_those_in_force_and_every_key_changes_something() {
    for key in KEYS {
        let with = |value: &str| plan(&file_with(key, value));
        if let Usual::Default(value) = key.usual {
            assert_eq!(with(value), plan(&group("")), "{} = {value}", key.name);
        }
        let (value, more) = another(key);
        let besides = |text: String| text.replace("[web]\n", &format!("[web]\n{more}\n"));
        let changed = plan(&besides(file_with(key, value)));
        assert_ne!(changed, plan(&besides(group(""))), "{} = {value}", key.name);
        if let Origin::Firestarter(Some(theirs)) | Origin::Remuda(Some(theirs)) = key.origin {
            drop(with(theirs));
        }
    }
}

/// A file with firestarter's defaults and one line more.
fn theirs(line: &str) -> String {
    format!("{}[remuda]\ndefaults = \"firestarter\"\n", group(line))
}

#[test]
fn firestarters_defaults_are_those_of_the_table() {
    let silent = plan(&theirs(""));
    for key in KEYS.iter().filter(|key| key.table == Table::Group) {
        let with = |value: &str| plan(&theirs(&format!("{} = {value}", key.name)));
        match (key.unlike(), key.usual) {
            (Some(value), _) => assert_eq!(with(value), silent, "{} = {value}", key.name),
            // With ack none it depends on this key being said.
            (None, Usual::Default(value)) if key.id != keys::Id::Upgrade => {
                assert_eq!(with(value), silent, "{} = {value}", key.name);
            }
            _ => {}
        }
    }
    let group = &silent.groups[0];
    assert_eq!((group.policy.restart, group.policy.drain_signal), (Restart::Never, Some(Signal::USR2)));
    assert!(group.policy.ready_at_first && group.policy.give_up_spawns_only);
    assert!(!group.launch.own_process_group && !group.launch.kill_process_group);
    assert_eq!((group.launch.stdin, group.launch.handoff.listen_pid), (Stdin::Inherit, false));
    assert_eq!(group.launch.program, "./web", "a program stands in the working directory");
    let hooks = plan(&theirs("ack = 'none'\nexec_stop = 'stop it'\nupgrader = '/bin/fetch'"));
    let policy = &hooks.groups[0].policy;
    let program = |hook: &Option<Hook>| hook.as_ref().map(|hook| hook.argv[0].clone());
    assert_eq!(program(&policy.stop_hook), Some("./stop".into()));
    assert_eq!((program(&policy.preflight), policy.drain_signal), (Some("/bin/fetch".into()), None));
    assert_eq!(plan(&theirs("ack = 'manual'")).groups[0].policy.upgrade, UpgradeMode::Rolling);
    assert_eq!(plan(&theirs("ack = 'none'")).groups[0].policy.upgrade, UpgradeMode::StopFirst);
    let said = plan(&theirs("ack = 'none'\nupgrade = 'rolling'\nkill_group = true"));
    assert_eq!(said.groups[0].policy.upgrade, UpgradeMode::Rolling);
    assert!(said.groups[0].launch.own_process_group);
}

#[test]
fn in_firestarters_manner_sockets_and_signals_are_its_own_and_unknown_keys_are_passed_over() {
    let source = Source { manner: Manner::Firestarter, ..source() };
    let text = "[web]\nexec_start = 'web'\nname = 'x'\nenvironments = ['A', 'B=1']\n[web.sub]\nx = 1\n[api]\nexec_start = '/bin/api'\ncontrol_socket = '/run/api'\n";
    let variables = |list: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect()
    };
    let Contents { plan, warnings, unlike, faults: _ } = config::read(text, &source, &[]).unwrap();
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "3:1: web.name: unknown key (it belongs to [remuda]), passed over",
            "4:17: web.environments: passed over: there is no = in it",
            "5:6: web.sub: unknown key, passed over"
        ]
    );
    assert!(unlike.is_empty());
    assert_eq!(plan.groups[0].launch.env.set, [("B".into(), "1".into())]);
    assert_eq!(plan.groups[0].policy.restart, Restart::Never);
    assert_eq!((&plan.dialect, plan.manager.exit_when_finished), (&Dialect::Firestarter, false));
    assert_eq!(plan.manager.signals[&Signal::QUIT], Meaning::Stop);
    let sockets = |plan: &Plan| -> Vec<PathBuf> {
        let Some(ControlSpec::Path(main)) = plan.control.clone() else { panic!("no path") };
        let own = plan.groups.iter().filter_map(|group| group.control.clone());
        [main].into_iter().chain(own).collect()
    };
    let told = |list: &[&str]| -> Vec<PathBuf> { list.iter().map(PathBuf::from).collect() };
    let standard = ["/tmp/firestarter-control.socket", "/tmp/firestarter-web.socket", "/run/api"];
    assert_eq!(sockets(&plan), told(&standard));
    let around = variables(&[
        ("TMPDIR", "/t"),
        ("FIRESTARTER_APP_NAME", "app"),
        ("RUST_LOG", "x=warn,firestarter=debug"),
    ]);
    let plan = config::read(text, &source, &around).unwrap().plan;
    assert_eq!(sockets(&plan), told(&["/t/app-control.socket", "/t/app-web.socket", "/run/api"]));
    assert_eq!(plan.log.level, Level::Debug);
    // What is wrong stays wrong.
    let wrong = config::read("[web]\nnumprocesses = 'x'\nfoo = 1\n", &source, &[]).unwrap_err();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
}

#[test]
fn keys_whose_defaults_differ_are_told_unless_the_file_says_whose_it_means() {
    let two = "[web]\nexec_start = 'web'\nrestart = 'always'\n[api]\nexec_start = 'api'\n";
    let told: Vec<String> = reading(two).unlike.iter().map(ToString::to_string).collect();
    for sentence in [
        "api: restart is \"always\", in firestarter \"none\"",
        "web, api: ack_signal is not set, in firestarter it is \"SIGUSR2\"",
        "web, api: listen_pid is true, in firestarter false",
    ] {
        assert!(told.iter().any(|told| told == sentence), "{told:?}");
    }
    assert_eq!(told.len(), KEYS.iter().filter(|key| key.unlike().is_some()).count());
    for defaults in ["remuda", "firestarter"] {
        assert!(reading(&format!("{two}[remuda]\ndefaults = '{defaults}'")).unlike.is_empty());
    }
}

#[test]
fn every_option_of_run_is_a_key_too() {
    let keys: BTreeSet<&str> = KEYS.iter().filter_map(|key| key.option).collect();
    let nothing = [Id::Config, Id::KeepGoing, Id::Quiet, Id::Subreaper, Id::Help, Id::Version];
    let options: BTreeSet<&str> =
        RUN.options.iter().filter(|option| !nothing.contains(&option.id)).map(|option| option.long).collect();
    assert_eq!(keys, options);
}

#[test]
fn the_table_names_nothing_twice() {
    let mut seen = BTreeSet::new();
    for key in KEYS {
        assert!(seen.insert((key.table == Table::Group, key.name)), "{}", key.name);
    }
}

#[test]
fn a_value_of_another_type_is_told_what_is_wanted() {
    for key in KEYS {
        let wrong = faults(&file_with(key, "2026-11-21"));
        assert_eq!(wrong.len(), 1, "{}: {wrong:?}", key.name);
        assert!(wrong[0].ends_with(" wanted, not a date or a time"), "{wrong:?}");
        if matches!(key.kind, Kind::List | Kind::Exits | Kind::Command) {
            let wrong = faults(&file_with(key, "[1.5, {}]"));
            assert_eq!(wrong.len(), 2, "{}: {wrong:?}", key.name);
        }
        let nul =
            if matches!(key.kind, Kind::List | Kind::Exits) { "[\"a\\u0000\"]" } else { "\"a\\u0000\"" };
        assert_eq!(faults(&file_with(key, nul)).len(), 1, "{}", key.name);
    }
}

#[test]
fn every_fault_is_told_with_its_line_and_column() {
    for (text, told) in [
        ("", &["1:1: there is no group: a table such as [web], with the key exec_start"][..]),
        ("[remuda]\n", &["1:1: there is no group"]),
        ("[web]\n", &["1:2: web.exec_start: the key is missing, as in exec_start = "]),
        ("\n  [ web ]\nnumprocesses=1", &["2:5: web.exec_start: the key is missing"]),
        ("x = 1", &["1:1: x: only tables stand at the top, as in [x]"]),
        ("exec_start = 'a'", &["1:1: exec_start: this key belongs to a group: the line [NAME] is missing"]),
        ("[[web]]\nexec_start='a'", &["1:3: web: a group is one table, [web], not a list"]),
        ("['a b']\nexec_start='a'", &["1:2: a b: 'a b' is not a name"]),
        ("[\"a\\nb\"]\nexec_start='a'", &["1:2: a\\nb: 'a\\nb' is not a name"]),
        ("[web]\nexec_start = ''", &["2:14: web.exec_start: no program is named"]),
        ("[web]\nexec_start = '\"\" x'", &["2:14: web.exec_start: the name of the program is empty"]),
        ("[web]\nexec_start = []", &["2:14: web.exec_start: no program is named"]),
        ("[web]\nexec_start = ['']", &["2:14: web.exec_start: the name of the program is empty"]),
        ("[web]\nexec_start = \"a | b\"", &["2:17: web.exec_start: '|' means nothing without a shell"]),
        ("[web]\nexec_start = 'a $NOPE'", &["2:17: web.exec_start: the variable NOPE is not set"]),
        ("[web]\nexec_start = '''\na\n  'b'''", &["4:3: web.exec_start: this ' is not closed"]),
        (
            "[web]\nexec_start = \"\\u00e9 x\"",
            &[
                "2:14: web.exec_start: '\u{e9}' must be quoted, as everything that is not ASCII, at character 1",
            ],
        ),
        ("[web]\nexec_start='a'\nworkers=2", &["3:1: web.workers: unknown key (here it is 'numprocesses')"]),
        ("[web]\nexec_start='a'\nno_kill_group=true", &["unknown key (here it is 'kill_group')"]),
        (
            "[web]\nexec_start='a'\nnumproces=2",
            &["3:1: web.numproces: unknown key (did you mean 'numprocesses'?)"],
        ),
        ("[web]\nexec_start='a'\nname='x'", &["3:1: web.name: unknown key (it belongs to [remuda])"]),
        ("[web]\nexec_start='a'\nxyzzy='x'", &["3:1: web.xyzzy: unknown key"]),
        ("[web]\nexec_start='a'\n[web.sub]\nx=1", &["3:6: web.sub: unknown key"]),
        (
            "[web]\nexec_start='a'\n[remuda]\nuser='x'",
            &["4:1: remuda.user: unknown key (it belongs to a group)"],
        ),
        ("[web]\nexec_start='a'\nnumprocesses=-1", &["3:14: web.numprocesses: '-1' is not a number"]),
        ("[web]\nexec_start='a'\nnumprocesses=1.0", &["web.numprocesses: a whole number is wanted"]),
        ("[web]\nexec_start='a'\nnumprocesses=99999999999999999999", &["is not a number from 0"]),
        ("[web]\nexec_start='a'\nack_timeout=-1", &["3:13: web.ack_timeout: '-1' is not a duration"]),
        ("[web]\nexec_start='a'\nack_timeout=inf", &["3:13: web.ack_timeout: 'inf' is not a duration"]),
        ("[web]\nexec_start='a'\nack='timmer'", &["3:5: web.ack: unknown 'timmer' (did you mean 'timer'?)"]),
        ("[web]\nexec_start='a'\nrestart='nope'", &["web.restart: unknown 'nope' (did you mean 'none'?)"]),
        ("[web]\nexec_start='a'\nack_signal='USR3'", &["3:12: web.ack_signal: no signal 'USR3'"]),
        ("[web]\nexec_start='a'\numask=18", &["3:7: web.umask: a string of octal digits"]),
        ("[web]\nexec_start='a'\numask='8'", &["3:7: web.umask: '8' is not an octal number"]),
        ("[web]\nexec_start='a'\nnice=20", &["3:6: web.nice: '20' is not a number from -20 to 19"]),
        ("[web]\nexec_start='a'\noom_score_adj=-1001", &["3:15: web.oom_score_adj: '-1001' is not a number"]),
        (
            "[web]\nexec_start='a'\nrlimits=['NOFILE=1', 'NOFILES=1']",
            &["3:22: web.rlimits: there is no limit 'NOFILES' (did you mean 'NOFILE'?)"],
        ),
        ("[web]\nexec_start='a'\nuid=-1", &["3:5: web.uid: '-1' is not an id (0 to 4294967294)"]),
        ("[web]\nexec_start='a'\nuid=4294967295", &["web.uid: '4294967295' is not an id"]),
        ("[web]\nexec_start='a'\nuid=0\nuser='root'", &["4:6: web.user: 'uid' says the same"]),
        ("[web]\nexec_start='a'\ngroup='x'\ngid=0", &["4:5: web.gid: 'group' says the same"]),
        ("[web]\nexec_start='a'\nenvironments=['A']", &["3:15: web.environments: 'A' is not NAME=VALUE"]),
        ("[web]\nexec_start='a'\nenvironment_base_name='1A'", &["'1A' cannot begin the name of a variable"]),
        (
            "[web]\nexec_start='a'\nsocket_address=['80', 'foo::1', '80']",
            &[
                "3:23: web.socket_address: bad address \"foo::1\": unknown kind of socket 'foo' (tcp, udp, unix)",
                "3:33: web.socket_address: 127.0.0.1:80 is given twice",
            ],
        ),
        (
            "[a]\nexec_start='a'\nsocket_address=['80','0']\n[b]\nexec_start='b'\nsocket_address=[\n'tcp::0',\n'tcp::80']",
            &["8:1: b.socket_address: 127.0.0.1:80 is a socket of group 'a' already"],
        ),
        (
            "[w]\nexec_start='a'\nsocket_options=['nodelya']",
            &[
                "3:17: w.socket_options: bad option \"nodelya\": unknown option \"nodelya\", did you mean nodelay",
            ],
        ),
        ("[remuda]\nlog_level='loud'\n[w]\nexec_start='a'", &["2:11: remuda.log_level: unknown 'loud'"]),
        ("# \u{e9}\n\u{e9} = 1", &["2:1: "]),
        (
            "[web]\nexec_start='a'\n# \u{e9}\nhandoff = ['\u{e9}\u{e9}', 'x']",
            &["4:12: web.handoff", "4:18: web.handoff"],
        ),
        ("[web\nexec_start='a'", &["1:5: "]),
        ("[web]\nexec_start='a'\nnumprocesses=1\nnumprocesses=2", &["4:1: duplicate key"]),
        ("[web]\nexec_start='a'\n[web]\nnumprocesses=2", &["3:2: duplicate key"]),
        (
            "[web]\nexec_start='a\nbind=['80']\r\n[api]\nnumprocess = 3\nx\n",
            &[
                "2:14: ",
                "3:1: web.bind: unknown key (here it is 'socket_address')",
                "5:1: api.numprocess",
                "6:2: ",
            ],
        ),
    ] {
        let found = faults(text);
        assert_eq!(found.len(), told.len(), "{text}\n{}", found.join("\n"));
        for (found, told) in found.iter().zip(told) {
            let fits = if told.starts_with(|first: char| first.is_ascii_digit()) {
                found.starts_with(told)
            } else {
                found.contains(told)
            };
            assert!(fits, "{text}\n{found}\n{told}");
        }
    }
}

#[test]
fn the_sample_is_a_file_in_which_every_comment_may_be_taken_off() {
    let sample = config::sample();
    assert_eq!(plan(&sample).groups[0].policy, plan(&group("")).groups[0].policy);
    let lines: Vec<&str> = sample.lines().collect();
    let commented = |line: &str| line.strip_prefix('#').is_some_and(|rest| !rest.starts_with(' '));
    let mut told: Vec<&str> = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| commented(line)) {
        let mut lines = lines.clone();
        lines[at] = &line[1..];
        plan(&lines.join("\n"));
        told.push(line[1..].split(' ').next().unwrap());
    }
    let optional: Vec<&str> =
        KEYS.iter().filter(|key| !matches!(key.usual, Usual::Required(_))).map(|key| key.name).collect();
    assert_eq!(told, optional);
}

/// A key as remuda.toml(5) tells it, in one line.
fn told(key: &Key) -> String {
    let unit = key.kind.unit().map(|unit| format!(", in {unit}")).unwrap_or_default();
    let usual = match key.usual {
        Usual::Default(value) => format!("Default: {value}."),
        Usual::Absent(_) => "No default.".to_owned(),
        Usual::Required(_) => "Required.".to_owned(),
    };
    let origin = match key.origin {
        Origin::Firestarter(Some(value)) => format!(" From firestarter, where the default is {value}."),
        Origin::Firestarter(None) => " From firestarter.".to_owned(),
        Origin::Remuda(Some(value)) => format!(" With firestarter's defaults: {value}."),
        Origin::Remuda(None) => String::new(),
    };
    let option = key.option.map(|option| format!(" As option: --{option}.")).unwrap_or_default();
    format!("{}: Type: {}{unit}. {usual}{origin}{option}", key.name, key.kind.name())
}

#[test]
fn the_page_has_every_key_as_the_table_has_it_and_no_other() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/remuda.toml.5")).unwrap();
    let mut found: Vec<String> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix(".It Ic ") else { continue };
        let head: Vec<String> = lines
            .by_ref()
            .take_while(|line| *line != ".br")
            .map(|line| match line.strip_prefix(".Cm ").or(line.strip_prefix(".Fl ").map(|_| &line[4..])) {
                Some(value) => {
                    let dashes = if line.starts_with(".Fl") { "-" } else { "" };
                    format!("{dashes}{}", value.replace(" .", ".").replace(r"\(dq", "\""))
                }
                None => line.to_owned(),
            })
            .collect();
        found.push(format!("{name}: {}", head.join(" ")));
    }
    assert_eq!(found, KEYS.iter().map(told).collect::<Vec<_>>());
}

#[test]
fn with_a_ready_descriptor_an_ack_is_waited_for_unless_something_else_is_said() {
    let ready = |more: &str| plan(&format!("[web]\nexec_start = 'web'\n{more}")).groups[0].policy.ready;
    assert_eq!(ready("ready_fd = 3"), Readiness::Manual);
    assert_eq!(ready("ready_fd = 3\nack = 'none'"), Readiness::Exec);
    assert_eq!(ready(""), Readiness::Timer(Duration::from_secs(1)));
}
