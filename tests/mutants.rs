//! The mutants of the core (`make mutants`) are patches, and patches go stale: each has to apply to the tree as it is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn every_mutant_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if Command::new("patch").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: patch(1) is not installed");
        return;
    }
    let mut count = 0;
    for entry in fs::read_dir(root.join("tests/mutants")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let applies = Command::new("patch")
            .args(["-p1", "--dry-run", "-f", "-s", "-i"])
            .arg(&path)
            .current_dir(root)
            .output()
            .unwrap();
        assert!(applies.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&applies.stdout));
        count += 1;
    }
    assert!(count >= 5, "{count} mutants");
}
