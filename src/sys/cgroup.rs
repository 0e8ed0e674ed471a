//! What the kernel tells of our control group, `cgroups(7)`: how many of its processes the OOM killer has ended.

use std::fs;
use std::path::{Path, PathBuf};

/// How many processes of the control group that we are in, and of those below it, have been killed for want of memory;
/// nothing where nobody tells, as without /proc or without a memory controller.
pub fn oom_kills() -> Option<u64> {
    oom_kills_below(Path::new("/"))
}

fn oom_kills_below(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(events_file).find_map(|file| {
        let events = fs::read_to_string(root.join("sys/fs/cgroup").join(file)).ok()?;
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    })
}

/// Where a group of /proc/self/cgroup counts them: a line is `0::PATH`, or `NUMBER:CONTROLLERS:PATH` in version 1.
fn events_file(line: &str) -> Option<PathBuf> {
    let (_, group) = line.split_once(':')?;
    let (controllers, path) = group.split_once(':')?;
    let path = path.trim_start_matches('/');
    if controllers.is_empty() {
        return Some(Path::new(path).join("memory.events"));
    }
    let counts = controllers.split(',').any(|controller| controller == "memory");
    counts.then(|| Path::new("memory").join(path).join("memory.oom_control"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::scratch;

    #[test]
    fn the_count_of_either_version_is_found() {
        let root = scratch("cgroup");
        let write = |place: &str, text: &str| {
            let path = root.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(oom_kills_below(&root), None);
        write("proc/self/cgroup", "4:memory:/web\n1:cpu,cpuacct:/\n0::/web.service\n");
        assert_eq!(oom_kills_below(&root), None);
        write("sys/fs/cgroup/web.service/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n");
        assert_eq!(oom_kills_below(&root), Some(2));
        write("sys/fs/cgroup/memory/web/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
        assert_eq!(oom_kills_below(&root), Some(5));
    }
}
