//! In what two versions of a group differ, and what that takes: new workers, another number of them, or nothing but the
//! manager's knowing of it. Pure.
//!
//! What workers find around them, or how they are spoken to, takes new workers. What only says how the manager treats
//! them, such as a timeout, holds at once. A field that is new in the plan does not compile here until it is said which
//! of the two it is.

use std::fmt;

use crate::attributes::Attributes;
use crate::output::Output;
use crate::plan::{GroupSpec, Launch, Policy};

/// The difference between two versions of a group; keys as in the groups file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What takes new workers.
    pub replacing: Vec<&'static str>,
    /// What holds at once.
    pub at_once: Vec<&'static str>,
    /// The number of workers before and from now on.
    pub workers: Option<(u32, u32)>,
}

impl Difference {
    /// What is different in `new`.
    pub fn between(old: &GroupSpec, new: &GroupSpec) -> Difference {
        let mut found = Difference::default();
        // They are told by this name.
        let GroupSpec { name: _, launch, sockets, policy, control } = new;
        found.launch(&old.launch, launch);
        found.replaces("socket_address", old.sockets != *sockets);
        found.replaces("control_socket", old.control != *control);
        found.policy(&old.policy, policy);
        found
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.replacing.is_empty() && self.at_once.is_empty() && self.workers.is_none()
    }

    /// It takes new workers.
    pub fn replaces_workers(&self) -> bool {
        !self.replacing.is_empty()
    }

    fn replaces(&mut self, key: &'static str, differs: bool) {
        if differs && !self.replacing.contains(&key) {
            self.replacing.push(key);
        }
    }

    fn holds_at_once(&mut self, key: &'static str, differs: bool) {
        if differs && !self.at_once.contains(&key) {
            self.at_once.push(key);
        }
    }

    fn launch(&mut self, old: &Launch, new: &Launch) {
        let Launch {
            program,
            args,
            argv0,
            directory,
            user,
            group,
            env,
            login_env,
            attributes,
            umask,
            stdin,
            watch_file,
            output,
            handoff,
            fd_store,
            ready_fd,
            placeholders,
            keep_signals,
            own_process_group,
            own_session,
            kill_process_group,
        } = new;
        let command = (&old.program, &old.args, old.argv0, old.placeholders);
        self.replaces("exec_start", command != (program, args, *argv0, *placeholders));
        self.replaces("working_directory", old.directory != *directory);
        self.replaces("user", old.user != *user);
        self.replaces("group", old.group != *group);
        self.replaces("environments", old.env.set != env.set);
        self.replaces("env_files", old.env.files != env.files);
        self.replaces("drop_env", old.env.drop != env.drop);
        self.replaces("login_env", old.login_env != *login_env);
        let Attributes { limits, nice, oom_score_adj, parent_death_signal } = attributes;
        self.replaces("rlimits", old.attributes.limits != *limits);
        self.replaces("nice", old.attributes.nice != *nice);
        self.replaces("oom_score_adj", old.attributes.oom_score_adj != *oom_score_adj);
        self.replaces("pdeathsig", old.attributes.parent_death_signal != *parent_death_signal);
        self.replaces("umask", old.umask != *umask);
        self.replaces("stdin", old.stdin != *stdin);
        self.replaces("live_check_timeout", old.watch_file != *watch_file);
        let Output { stdout, stderr, overflow } = output;
        self.replaces("stdout_log", old.output.stdout != *stdout);
        self.replaces("stderr_log", old.output.stderr != *stderr);
        self.replaces("log_overflow", old.output.overflow != *overflow);
        let told = (&old.handoff.conventions, old.handoff.control_descriptor);
        self.replaces("handoff", told != (&handoff.conventions, handoff.control_descriptor));
        self.replaces("listen_pid", old.handoff.listen_pid != handoff.listen_pid);
        self.replaces("environment_base_name", old.handoff.base_name != handoff.base_name);
        self.replaces("fd_store", old.fd_store != *fd_store);
        self.replaces("ready_fd", old.ready_fd != *ready_fd);
        self.replaces("keep_signals", old.keep_signals != *keep_signals);
        let groups = (old.own_process_group, old.own_session, old.kill_process_group);
        self.replaces("kill_group", groups != (*own_process_group, *own_session, *kill_process_group));
    }

    fn policy(&mut self, old: &Policy, new: &Policy) {
        let Policy {
            workers,
            workers_min,
            dec_min,
            shrink,
            ready,
            ready_at_first,
            ack_deadline,
            ready_probe,
            probe_interval,
            probe_timeout,
            live_check,
            live_interval,
            live_failures,
            graceful_signal,
            overdue_signal,
            signal_group,
            stop_timeout,
            // It says where `stop_timeout` comes from.
            stop_timeout_as_first: _,
            drain_timeout,
            drain_signal,
            stop_steps,
            upgrade,
            surge,
            max_unacked,
            max_draining,
            max_extra,
            spacing,
            upgrade_failures,
            canary,
            upgrade_timeout,
            meanwhile,
            restart,
            success,
            exit_after,
            backoff,
            give_up,
            give_up_spawns_only,
            give_up_roll_back,
            healthy_after,
            crash_window,
            stable_after,
            stop_hook,
            watchdog,
            preflight,
            preflight_timeout,
            preflight_every,
            warmup,
            lazy,
            auto_upgrade,
        } = new;
        self.workers = (old.workers != *workers).then_some((old.workers, *workers));
        let before = (old.workers_min, old.dec_min, old.shrink);
        self.holds_at_once("numprocesses", before != (*workers_min, *dec_min, *shrink));
        let readiness = (old.ready, old.ready_at_first) != (*ready, *ready_at_first);
        self.replaces("ack", readiness || old.ready_probe != *ready_probe);
        self.holds_at_once("probe_interval", old.probe_interval != *probe_interval);
        self.holds_at_once("probe_timeout", old.probe_timeout != *probe_timeout);
        self.replaces("live_check", old.live_check != *live_check);
        self.holds_at_once("live_interval", old.live_interval != *live_interval);
        self.holds_at_once("live_failures", old.live_failures != *live_failures);
        let graceful = (old.graceful_signal, old.overdue_signal) != (*graceful_signal, *overdue_signal);
        self.replaces("graceful_signal", graceful || old.stop_steps != *stop_steps);
        self.holds_at_once("signal_group", old.signal_group != *signal_group);
        self.replaces("ack_signal", old.drain_signal != *drain_signal);
        self.replaces("watchdog", old.watchdog != *watchdog);
        self.replaces("exec_stop", old.stop_hook != *stop_hook);
        self.holds_at_once("upgrader", old.preflight != *preflight);
        self.holds_at_once("upgrader_timeout", old.preflight_timeout != *preflight_timeout);
        self.holds_at_once("upgrader_active_sec", old.preflight_every != *preflight_every);
        self.holds_at_once("warmup_delay", old.warmup != *warmup);
        self.holds_at_once("start_immediate", old.lazy != *lazy);
        self.holds_at_once("auto_upgrade", old.auto_upgrade != *auto_upgrade);
        self.holds_at_once("ack_deadline", old.ack_deadline != *ack_deadline);
        self.holds_at_once("stop_timeout", old.stop_timeout != *stop_timeout);
        self.holds_at_once("drain_timeout", old.drain_timeout != *drain_timeout);
        self.holds_at_once("upgrade", (old.upgrade, old.upgrade_failures) != (*upgrade, *upgrade_failures));
        self.holds_at_once("canary", old.canary != *canary);
        self.holds_at_once("upgrade_timeout", old.upgrade_timeout != *upgrade_timeout);
        self.holds_at_once("when_upgrading", old.meanwhile != *meanwhile);
        self.holds_at_once("surge", (old.surge, old.max_extra) != (*surge, *max_extra));
        self.holds_at_once("max_unacked", old.max_unacked != *max_unacked);
        self.holds_at_once("max_draining", old.max_draining != *max_draining);
        self.holds_at_once("restart", old.restart != *restart);
        self.holds_at_once("success_exit", old.success != *success);
        self.holds_at_once("on_exit", old.exit_after != *exit_after);
        let before = (old.backoff, old.spacing, old.healthy_after, old.crash_window, old.stable_after);
        let now = (*backoff, *spacing, *healthy_after, *crash_window, *stable_after);
        self.holds_at_once("backoff", before != now);
        let before = (old.give_up, old.give_up_spawns_only, old.give_up_roll_back);
        self.holds_at_once("giveup", before != (*give_up, *give_up_spawns_only, *give_up_roll_back));
    }
}

impl fmt::Display for Difference {
    /// `exec_start, ack (new workers); numprocesses 2 -> 4; stop_timeout (at once)`. No values: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys =
            |keys: &[&str], how: &str| (!keys.is_empty()).then(|| format!("{} ({how})", keys.join(", ")));
        let workers = self.workers.map(|(from, to)| format!("numprocesses {from} -> {to}"));
        let parts = [keys(&self.replacing, "new workers"), workers, keys(&self.at_once, "at once")];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::addr;
    use crate::plan::Readiness;

    fn web() -> GroupSpec {
        GroupSpec {
            name: "web".to_owned(),
            launch: Launch::new("/bin/web".into()),
            sockets: vec![addr::parse("127.0.0.1:80").unwrap()],
            policy: Policy::default(),
            control: None,
        }
    }

    #[test]
    fn the_same_does_not_differ() {
        assert!(Difference::between(&web(), &web()).is_empty());
    }

    #[test]
    fn what_workers_see_takes_new_ones_and_what_they_do_not_see_none() {
        let mut new = web();
        new.launch.env.set.push(("PASSWORD".into(), "secret".into()));
        new.policy.ready = Readiness::Manual;
        new.policy.stop_timeout = Some(Duration::from_secs(1));
        new.policy.workers = 4;
        let found = Difference::between(&web(), &new);
        assert!(found.replaces_workers());
        let told = "environments, ack (new workers); numprocesses 1 -> 4; stop_timeout (at once)";
        assert_eq!(found.to_string(), told);

        let mut new = web();
        new.sockets.clear();
        assert!(Difference::between(&web(), &new).replaces_workers());
        let mut new = web();
        (new.policy.workers, new.policy.drain_timeout) = (2, Some(Duration::ZERO));
        assert!(!Difference::between(&web(), &new).replaces_workers());
    }
}
