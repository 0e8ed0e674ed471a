//! `make install`, `make install-compat` and `make uninstall`, into a directory of the test's own.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::process::{Output, run};
use support::{REMUDA, Setup, setup, tool, write_program};

/// Runs `make`, which installs under `stage`. What it installs is no real program: it is copied, not run.
fn make(setup: &Setup, target: &str) -> Option<Output> {
    if !tool("make") {
        return None;
    }
    let built = setup.path("target/release");
    fs::create_dir_all(&built).unwrap();
    write_program(&built.join("remuda"), "the program");
    let mut command = Command::new("make");
    command.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).arg(target);
    command.arg(format!("DESTDIR={}", setup.path("stage").display())).arg("PREFIX=/usr");
    // Nothing of the `make` that runs this test counts.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS");
    command.env("CARGO_TARGET_DIR", setup.path("target"));
    Some(run(&mut command))
}

/// Every file and link under `directory`, without its name.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    found
}

fn done(output: &Output) {
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn install_installs_one_program_and_its_pages_and_uninstall_removes_them() {
    let setup = setup("");
    let Some(output) = make(&setup, "install") else { return };
    done(&output);
    let installed = files(&setup.path("stage"));
    let programs: Vec<&String> = installed.iter().filter(|file| file.starts_with("usr/bin/")).collect();
    assert_eq!(programs, ["usr/bin/remuda"]);
    let program = setup.path("stage/usr/bin/remuda");
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
    for page in ["man1/remuda.1", "man1/remuda-init.1", "man5/remuda.toml.5", "man7/remuda-protocol.7"] {
        assert!(installed.contains(&format!("usr/share/man/{page}")), "{page}: {installed:?}");
    }
    done(&make(&setup, "uninstall").unwrap());
    assert_eq!(files(&setup.path("stage")), BTreeSet::new());
}

#[test]
fn install_compat_adds_every_name_that_is_understood() {
    let setup = setup("");
    let Some(output) = make(&setup, "install-compat") else { return };
    done(&output);
    let help = run(Command::new(REMUDA).arg("-h")).stdout;
    let (_, names) = help.split_once("'remuda NAME -h'): ").expect("the names that are understood");
    let names: Vec<&str> = names.split(['.', ',', ' ', '\n']).filter(|name| !name.is_empty()).collect();
    assert!(names.contains(&"socketmaster"), "{names:?}");
    for name in names {
        let link = setup.path("stage/usr/bin").join(name);
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("remuda"), "{name}");
    }
    let installed = files(&setup.path("stage"));
    for page in ["einhyrningsins.1", "einhyrningsinsctl.1", "socketmaster.1", "start_server.1"] {
        assert!(installed.contains(&format!("usr/share/man/man1/{page}")), "{page}: {installed:?}");
    }
    // Once more changes nothing.
    done(&make(&setup, "install-compat").unwrap());
    assert_eq!(files(&setup.path("stage")), installed);
    done(&make(&setup, "uninstall").unwrap());
    assert_eq!(files(&setup.path("stage")), BTreeSet::new());
}

#[test]
fn other_programs_of_these_names_and_their_pages_are_left_alone() {
    let setup = setup("");
    let (programs, pages) = (setup.path("stage/usr/bin"), setup.path("stage/usr/share/man/man1"));
    fs::create_dir_all(&programs).unwrap();
    fs::create_dir_all(&pages).unwrap();
    fs::write(programs.join("tini"), "the other tini").unwrap();
    let Some(output) = make(&setup, "install-compat") else { return };
    assert_ne!(output.code, Some(0));
    assert!(output.stderr.contains("tini is another program: remove it first"), "{output:?}");

    // A page for a name that is only a link here is not ours.
    symlink("remuda", programs.join("dumb-init")).unwrap();
    for page in ["tini.1", "dumb-init.1", "socketmaster.1"] {
        fs::write(pages.join(page), "the other page").unwrap();
    }
    fs::remove_file(programs.join("socketmaster")).ok();
    fs::write(programs.join("socketmaster"), "the other socketmaster").unwrap();
    done(&make(&setup, "uninstall").unwrap());
    let left: Vec<String> = files(&setup.path("stage")).into_iter().collect();
    assert_eq!(
        left,
        [
            "usr/bin/socketmaster",
            "usr/bin/tini",
            "usr/share/man/man1/dumb-init.1",
            "usr/share/man/man1/socketmaster.1",
            "usr/share/man/man1/tini.1",
        ]
    );
}
