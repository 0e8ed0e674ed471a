//! The answer to `state`: all that einhorn would keep, as Ruby writes it, so that a Ruby program can load it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use super::verbosity;
use crate::plan::{EinhornManner, Readiness, UpgradeMode};
use crate::supervisor::foreign::{Inspected, Inspection};
use crate::wire::ruby;

/// Lines, each at its depth.
struct Page(String);

impl Page {
    /// `KEY: VALUE` with a value that needs no quotes; without one it is nothing, or stands below.
    fn line(&mut self, depth: usize, key: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        let space = if value.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{:1$}{key}:{space}{value}", "", depth * 2);
    }

    /// The same with a string.
    fn string(&mut self, depth: usize, key: &str, text: &str) {
        let begin = self.0.len();
        let _ = write!(self.0, "{:1$}{key}: ", "", depth * 2);
        let column = self.0.len() - begin - 1;
        ruby::string(&mut self.0, text, column, depth * 2 + 2);
    }

    fn maybe(&mut self, depth: usize, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.string(depth, key, text),
            None => self.line(depth, key, ""),
        }
    }

    fn strings<'a>(&mut self, depth: usize, key: &str, items: impl IntoIterator<Item = &'a str>) {
        let mut items = items.into_iter().peekable();
        self.line(depth, key, if items.peek().is_none() { "[]" } else { "" });
        for item in items {
            let _ = write!(self.0, "{:1$}- ", "", depth * 2);
            ruby::string(&mut self.0, item, depth * 2 + 1, depth * 2 + 2);
        }
    }
}

/// The whole text.
pub(super) fn text(inspection: &Inspection, manner: &EinhornManner) -> String {
    let mut page = Page("---\n:state:\n".to_owned());
    page.line(1, ":children", if inspection.workers.is_empty() { "{}" } else { "" });
    for worker in &inspection.workers {
        child(&mut page, worker);
    }
    let policy = &inspection.policy;
    page.line(1, ":config", "");
    page.line(2, ":number", policy.workers);
    page.line(2, ":backlog", manner.backlog);
    page.line(2, ":seconds", policy.spacing.as_secs_f64());
    if let Some(unacked) = policy.max_unacked {
        page.line(2, ":max_unacked", unacked);
    }
    if let Some(extra) = policy.max_extra {
        page.line(2, ":max_upgrade_additional", extra);
    }
    page.line(1, ":versions", "{}");
    page.line(1, ":version", inspection.generation.saturating_sub(1));
    page.line(1, ":sockets", "{}");
    let words: Vec<String> = manner.command.iter().map(lossy).collect();
    page.strings(1, ":orig_cmd", words.iter().map(String::as_str));
    bind(&mut page, inspection, manner);
    page.strings(1, ":cmd", words.iter().map(String::as_str));
    page.line(1, ":script_name", "");
    page.line(1, ":respawn", !inspection.stopping);
    page.line(1, ":upgrading", inspection.upgrading.is_some());
    page.line(
        1,
        ":smooth_upgrade",
        matches!(inspection.upgrading, Some(UpgradeMode::Rolling | UpgradeMode::StopFirst)),
    );
    page.line(1, ":reloading_for_upgrade", false);
    page.line(1, ":path", "");
    page.maybe(1, ":cmd_name", manner.command_name.as_deref());
    page.line(1, ":verbosity", verbosity(inspection.level));
    page.line(1, ":generation", inspection.reexecs);
    page.line(1, ":last_spinup", inspection.last_spawn.map_or(String::new(), time));
    page.line(1, ":ack_mode", "");
    match policy.ready {
        Readiness::Manual => page.line(2, ":type", ":manual"),
        Readiness::Timer(span) => {
            page.line(2, ":type", ":timer");
            page.line(2, ":timeout", span.as_secs_f64());
        }
        Readiness::Exec => {
            page.line(2, ":type", ":timer");
            page.line(2, ":timeout", 0);
        }
    }
    page.line(1, ":kill_children_on_exit", manner.kill_children);
    page.line(1, ":command_socket_as_fd", manner.socket_as_fd);
    page.string(1, ":socket_path", &path(&manner.socket));
    page.string(1, ":pidfile", &path(&manner.pidfile));
    page.string(1, ":lockfile", &path(&manner.lockfile));
    page.line(1, ":consecutive_deaths_before_ack", inspection.failures);
    page.line(1, ":last_upgraded", inspection.last_upgrade.map_or(String::new(), time));
    page.line(1, ":nice", "");
    let number = |nice: Option<i32>| nice.map_or(String::new(), |nice| nice.to_string());
    page.line(2, ":master", number(manner.nice_manager));
    page.line(2, ":worker", number(manner.nice_worker));
    page.string(2, ":renice_cmd", "/usr/bin/renice");
    if manner.reexec_as.is_empty() {
        page.line(1, ":reexec_commandline", "");
    } else {
        let words: Vec<String> = manner.reexec_as.iter().map(lossy).collect();
        page.strings(1, ":reexec_commandline", words.iter().map(String::as_str));
    }
    page.strings(1, ":drop_environment_variables", manner.drop.iter().map(String::as_str));
    let patience = policy.stop_timeout.map(|timeout| timeout.as_secs_f64().to_string());
    page.line(1, ":signal_timeout", patience.unwrap_or_default());
    page.line(1, ":preloaded", false);
    page.0
}

fn child(page: &mut Page, worker: &Inspected) {
    page.line(2, &worker.pid.to_string(), "");
    page.line(3, ":type", ":worker");
    page.line(3, ":version", worker.generation.saturating_sub(1));
    page.line(3, ":acked", worker.acked);
    page.line(3, ":signaled", "!ruby/object:Set");
    page.line(4, "hash", if worker.signals.is_empty() { "{}" } else { "" });
    for signal in &worker.signals {
        page.line(5, &signal.to_string(), true);
    }
    page.line(3, ":last_signaled_at", worker.signaled_at.map_or(String::new(), time));
    page.line(3, ":index", worker.index);
    page.line(3, ":spinup_time", time(worker.born));
    if let Some((at, said)) = &worker.heartbeat {
        page.line(3, ":pinged_at", time(*at));
        page.string(3, ":pinged_request_id", said);
    }
}

/// `:bind`, `:bind_fds` as workers have them, `:bound_ports`.
fn bind(page: &mut Page, inspection: &Inspection, manner: &EinhornManner) {
    page.line(1, ":bind", if manner.bind.is_empty() { "[]" } else { "" });
    for (host, port, flags) in &manner.bind {
        let _ = write!(page.0, "  - - ");
        ruby::string(&mut page.0, host, 5, 6);
        let _ = writeln!(page.0, "    - {port}");
        for (at, flag) in flags.iter().enumerate() {
            let _ = write!(page.0, "    {} - ", if at == 0 { "-" } else { " " });
            ruby::string(&mut page.0, flag, 7, 8);
        }
        if flags.is_empty() {
            let _ = writeln!(page.0, "    - []");
        }
    }
    let list = |page: &mut Page, key: &str, numbers: Vec<String>| {
        page.line(1, key, if numbers.is_empty() { "[]" } else { "" });
        for number in numbers {
            let _ = writeln!(page.0, "  - {number}");
        }
    };
    let first = crate::env::FIRST_DESCRIPTOR;
    list(page, ":bind_fds", (first..first + manner.bind.len()).map(|fd| fd.to_string()).collect());
    let port = |address: &String| address.rsplit(':').next().unwrap_or_default().to_owned();
    list(page, ":bound_ports", inspection.addresses.iter().map(port).collect());
}

fn lossy(word: &OsString) -> String {
    word.to_string_lossy().into_owned()
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A moment in UTC as Ruby writes it: `2026-11-21 06:59:42.890000000 +00:00`.
fn time(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar in eras of 400 years that begin on a first of March.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}000000 +00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_ruby_does() {
        assert_eq!(time(0), "1970-01-01 00:00:00.000000000 +00:00");
        assert_eq!(time(1_795_244_382_890), "2026-11-21 06:59:42.890000000 +00:00");
        assert_eq!(time(1_709_164_799_999), "2024-02-28 23:59:59.999000000 +00:00");
        assert_eq!(time(1_709_164_800_000), "2024-02-29 00:00:00.000000000 +00:00");
    }
}
