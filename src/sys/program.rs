//! Finding what a generation runs: the program, its directory and its environment files.
//!
//! All is resolved when a generation is prepared, through symbolic links: its workers, and those started later in their
//! place, run the release that `current` pointed to then.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, eaccess};

use super::guarded::Spot;
use super::reason;
use crate::error::{Error, Result};

/// Where programs are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Largest environment file, in bytes.
const ENV_FILE_MAX: u64 = 1 << 20;

/// The directories in which workers with this environment have their program looked up.
pub fn search_path(environment: &[(OsString, OsString)]) -> &OsStr {
    let path = environment.iter().find(|(name, _)| name == "PATH");
    path.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value.as_os_str())
}

/// Finds the file to execute, as an absolute path without symbolic links.
///
/// A name with a `/` is a path, relative to `directory` (the worker's) or to our own; another is looked up in the
/// directories of `path_var` as execvp(3) does: the first regular file that may be executed. That is a check for the
/// user's benefit; what the worker's own user may execute is known at its start.
pub fn resolve(program: &OsStr, directory: Option<&Path>, path_var: &OsStr) -> Result<PathBuf> {
    let found = find(program, directory, path_var)?;
    let failed = |why| Error::failed(format!("cannot execute {}: {why}", program.to_string_lossy()));
    let resolved = executable(&found).map_err(failed)?;
    interpretable(&resolved).map_err(failed)?;
    Ok(resolved)
}

/// Whether the interpreter of a script can be executed, if it is one. Of a relative one, which depends on the working
/// directory at its start, nothing is said.
fn interpretable(path: &Path) -> Result<(), String> {
    let named = super::executable::interpreter(path).map_err(reason)?;
    let Some(interpreter) =
        named.map(OsString::from_vec).map(PathBuf::from).filter(|path| path.is_absolute())
    else {
        return Ok(());
    };
    let why = |why| format!("its interpreter {}: {why}", interpreter.display());
    executable(&interpreter).map(drop).map_err(why)
}

/// The same without following symbolic links: the path by which the user knows the program.
pub fn find(program: &OsStr, directory: Option<&Path>, path_var: &OsStr) -> Result<PathBuf> {
    let shown = program.to_string_lossy();
    if program.is_empty() {
        return Err(Error::failed("the name of the program is empty"));
    }
    let base = base(directory)?;
    if program.as_bytes().contains(&b'/') {
        let path = base.join(program);
        let checked = executable(&path);
        return checked.map(|_| path).map_err(|why| Error::failed(format!("cannot execute {shown}: {why}")));
    }
    // As in execvp(3), a file that is there but may not be executed is the better reason than none at all.
    let mut refused = None;
    for entry in path_var.as_bytes().split(|&byte| byte == b':') {
        // By POSIX an empty entry is the working directory.
        let candidate = base.join(OsStr::from_bytes(entry)).join(program);
        match executable(&candidate) {
            Ok(_) => return Ok(candidate),
            Err(_) if fs::metadata(&candidate).is_err() => {}
            Err(why) => refused = refused.or(Some(format!("{}: {why}", candidate.display()))),
        }
    }
    Err(Error::failed(match refused {
        Some(why) => format!("cannot execute {shown}: {why}"),
        None => format!("program {shown} not found in PATH"),
    }))
}

/// A number by which a program is known again: another file, or one that was written to, has another number. Links are
/// followed.
pub fn print(program: &Path) -> io::Result<u64> {
    let file = fs::metadata(program)?;
    let facts = [
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime().cast_unsigned(),
        file.mtime_nsec().cast_unsigned(),
    ];
    // FNV-1a, the same in every version of this program.
    let bytes = facts.iter().flat_map(|fact| fact.to_le_bytes());
    Ok(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
}

/// The working directory of workers, absolute and without symbolic links.
pub fn resolve_directory(directory: &Path) -> Result<PathBuf> {
    let failed = |why: String| Error::failed(format!("cannot use directory {}: {why}", directory.display()));
    let path = fs::canonicalize(directory).map_err(|error| failed(reason(error)))?;
    if !path.is_dir() {
        return Err(failed("not a directory".into()));
    }
    Ok(path)
}

/// `$PWD`, if it names the directory we are in and leads there through a symbolic link.
pub fn logical_directory() -> Option<PathBuf> {
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute())?;
    let (there, here) = (fs::metadata(&named).ok()?, fs::metadata(".").ok()?);
    let same = (there.dev(), there.ino()) == (here.dev(), here.ino());
    (same && fs::canonicalize(&named).ok()? != named).then_some(named)
}

/// The words that are paths, or options that end in one after a `=`, and lead through a symbolic link: relative ones from
/// `directory` or from where we are. Each with the file that it leads to.
pub fn linked<'a>(
    words: impl Iterator<Item = &'a [u8]>,
    directory: Option<&Path>,
) -> Vec<(PathBuf, PathBuf)> {
    let paths = words.filter(|word| word.contains(&b'/')).map(|word| Path::new(OsStr::from_bytes(word)));
    let resolved = paths.filter_map(|word| {
        let bytes = word.as_os_str().as_bytes();
        let equals = bytes.iter().position(|&byte| byte == b'=').filter(|_| bytes.starts_with(b"-"));
        let path = equals.map_or(bytes, |at| &bytes[at + 1..]);
        let written = directory.unwrap_or(Path::new("")).join(OsStr::from_bytes(path));
        let file = fs::canonicalize(&written).ok()?;
        (std::path::absolute(&written).ok()? != file).then(|| (word.to_owned(), file))
    });
    resolved.collect()
}

/// Reads `NAME=VALUE` lines. Blanks around a line, a leading `export ` and one pair of quotes around the value are taken
/// off; empty lines and those that begin with `#` are skipped; nothing is expanded. Errors name file and line, and never
/// what stands there: it may be secret.
pub fn read_env_file(path: &Path) -> Result<Vec<(OsString, OsString)>> {
    let failed =
        |why: String| Error::failed(format!("cannot read environment file {}: {why}", path.display()));
    let file = Spot::of(path).and_then(|spot| spot.open(OFlag::O_RDONLY, 0));
    let file = file.map_err(|error| failed(reason(error)))?;
    if !file.metadata().map_err(|error| failed(reason(error)))?.is_file() {
        return Err(failed("not a regular file".into()));
    }
    let mut text = Vec::new();
    file.take(ENV_FILE_MAX + 1).read_to_end(&mut text).map_err(|error| failed(reason(error)))?;
    if text.len() as u64 > ENV_FILE_MAX {
        return Err(failed(format!("longer than {ENV_FILE_MAX} bytes")));
    }
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let entry = parse_env_line(line)
            .map_err(|why| Error::failed(format!("{}:{number}: {why}", path.display())))?;
        variables.extend(entry);
    }
    Ok(variables)
}

fn base(directory: Option<&Path>) -> Result<PathBuf> {
    match directory {
        Some(directory) if directory.is_absolute() => Ok(directory.to_owned()),
        _ => std::env::current_dir()
            .map(|own| directory.map_or_else(|| own.clone(), |directory| own.join(directory)))
            .map_err(|error| Error::failed(format!("cannot tell the working directory: {}", reason(error)))),
    }
}

fn executable(path: &Path) -> Result<PathBuf, String> {
    let resolved = fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => {
            "the symbolic link leads nowhere".into()
        }
        _ => reason(error),
    })?;
    let metadata = fs::metadata(&resolved).map_err(reason)?;
    if metadata.is_dir() {
        return Err("it is a directory".into());
    }
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    match eaccess(&resolved, AccessFlags::X_OK) {
        Ok(()) => Ok(resolved),
        Err(Errno::EACCES) => Err("it is not executable".into()),
        Err(errno) => Err(reason(errno)),
    }
}

fn parse_env_line(line: &[u8]) -> Result<Option<(OsString, OsString)>, &'static str> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let assignment = match line.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => rest.trim_ascii_start(),
        _ => line,
    };
    let equals = assignment.iter().position(|&byte| byte == b'=').ok_or("there is no = in this line")?;
    let (name, value) = (&assignment[..equals], assignment[equals + 1..].trim_ascii_start());
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"'\"`$#\\".contains(byte) || !byte.is_ascii();
    if name.is_empty() || !name.iter().all(plain) {
        return Err("what stands before = is not the name of a variable");
    }
    let value = match value {
        [quote @ (b'"' | b'\''), inner @ .., last] if quote == last => inner,
        [b'"' | b'\'', ..] => return Err("the quote at the beginning of the value has no match at its end"),
        _ => value,
    };
    if value.contains(&0) {
        return Err("there is a NUL byte in this line");
    }
    Ok(Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::sys::tests::scratch;

    fn place(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn message(result: Result<PathBuf>) -> String {
        result.unwrap_err().message
    }

    #[test]
    fn a_path_is_relative_to_the_workers_directory_and_keeps_its_release() {
        let root = scratch("program-path");
        place(&root.join("releases/1/app"), 0o755);
        place(&root.join("releases/2/app"), 0o755);
        symlink("releases/1", root.join("current")).unwrap();
        let resolve = |program: &str| resolve(program.as_ref(), Some(&root), "".as_ref());
        let first = resolve("current/app").unwrap();
        assert_eq!(first, root.join("releases/1/app"));
        fs::remove_file(root.join("current")).unwrap();
        symlink("releases/2", root.join("current")).unwrap();
        assert_eq!(resolve("./current/app").unwrap(), root.join("releases/2/app"));
        let directory = resolve_directory(&root.join("current")).unwrap();
        assert_eq!(directory, root.join("releases/2"));
    }

    #[test]
    fn a_name_is_the_first_executable_file_of_path() {
        let root = scratch("program-name");
        place(&root.join("a/app"), 0o644);
        fs::create_dir_all(root.join("b/app")).unwrap();
        place(&root.join("c/app"), 0o755);
        place(&root.join("d/app"), 0o755);
        place(&root.join("own"), 0o755);
        place(&root.join("a/plain"), 0o644);
        let path = ["none", "a", "b", "c", "d"].map(|entry| root.join(entry).display().to_string()).join(":");
        let resolve = |program: &str, path: &str| resolve(program.as_ref(), Some(&root), path.as_ref());
        assert_eq!(resolve("app", &path).unwrap(), root.join("c/app"));
        assert_eq!(resolve("own", ":/nowhere").unwrap(), root.join("own"));
        assert_eq!(resolve("app", "d").unwrap(), root.join("d/app"));
        assert_eq!(message(resolve("nothing", &path)), "program nothing not found in PATH");
        let plain = message(resolve("plain", &path));
        assert!(plain.ends_with("/a/plain: it is not executable"), "{plain}");
    }

    #[test]
    fn what_cannot_be_executed_says_why() {
        let root = scratch("program-refused");
        place(&root.join("plain"), 0o644);
        symlink("gone", root.join("dangling")).unwrap();
        place(&root.join("orphan"), 0o755);
        fs::write(root.join("orphan"), "#! /no/such/shell -x\n").unwrap();
        for (program, why) in [
            ("./none", "no such file or directory"),
            ("./plain", "it is not executable"),
            ("./dangling", "the symbolic link leads nowhere"),
            ("plain/app", "not a directory"),
            (".//", "it is a directory"),
            ("/dev/null", "not a regular file"),
            ("./orphan", "its interpreter /no/such/shell: no such file or directory"),
        ] {
            let error = message(resolve(program.as_ref(), Some(&root), "".as_ref()));
            assert_eq!(error, format!("cannot execute {program}: {why}"));
        }
        assert!(resolve("".as_ref(), None, "/bin".as_ref()).is_err());
        assert!(message(resolve_directory(&root.join("none"))).ends_with("no such file or directory"));
        assert!(message(resolve_directory(&root.join("plain"))).ends_with("not a directory"));
    }

    #[test]
    fn environment_files_are_read_line_by_line() {
        let directory = scratch("env-file");
        let path = directory.join("env");
        let text =
            b"# comment\n\n A=1 \r\nexport B=two words\nC=\"q # u\"\nD='x\"y'\nE=\nF=a=b\nexport=1\nG=\xff\n";
        fs::write(&path, text).unwrap();
        let read: Vec<_> = read_env_file(&path)
            .unwrap()
            .into_iter()
            .map(|(name, value)| (name.into_vec(), value.into_vec()))
            .collect();
        let wanted: Vec<(Vec<u8>, Vec<u8>)> = [
            (&b"A"[..], &b"1"[..]),
            (b"B", b"two words"),
            (b"C", b"q # u"),
            (b"D", b"x\"y"),
            (b"E", b""),
            (b"F", b"a=b"),
            (b"export", b"1"),
            (b"G", b"\xff"),
        ]
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect();
        assert_eq!(read, wanted);
    }

    // pitfall 57
    #[test]
    fn errors_in_environment_files_name_the_line_and_not_its_content() {
        let directory = scratch("env-file-bad");
        let path = directory.join("env");
        for bad in ["sesame", "=sesame", "A B=sesame", "A=\"sesame", "A='", "A=se\0same", "$A=sesame"] {
            fs::write(&path, format!("FINE=1\n{bad}\n")).unwrap();
            let error = read_env_file(&path).unwrap_err().message;
            assert!(error.starts_with(&format!("{}:2: ", path.display())), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
        fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert_eq!(read_env_file(&path).unwrap(), []);
        fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(read_env_file(&path).unwrap_err().message.ends_with("longer than 1048576 bytes"));
        assert!(read_env_file(Path::new("/dev/null")).is_err());
        assert!(read_env_file(&path.with_file_name("none")).is_err());
    }
}
