//! Holds the layer rule of src/lib.rs: which module may name which, who may talk to the system, who may be unsafe.
//!
//! It reads the sources as text, comments, strings and tests left out, and looks at every path that begins with
//! `crate::`, `super::` or `self::`, in a `use` or anywhere else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PLAN: [&str; 19] = [
    "plan",
    "ask",
    "addr",
    "attributes",
    "difference",
    "duration",
    "signame",
    "process",
    "reading",
    "env",
    "nearest",
    "octets",
    "output",
    "values",
    "wildcard",
    "words",
    "placeholder",
    "probe",
    "error",
];

/// What the system is to the pure parts: they are told, they do not look.
const SYSTEM: [&str; 8] = ["fs", "net", "io", "os", "process", "thread", "env", "time::Instant"];

/// What a module at the root may name beside the plan layer and itself; `None` if there is no such module.
fn allowed(module: &str) -> Option<&'static [&'static str]> {
    Some(match module {
        "config" | "supervisor" | "sys" => &[],
        "cli" => &["config"],
        "check" => &["config", "sys"],
        "wire" => &["supervisor"],
        "client" => &["wire", "sys"],
        "driver" => &["supervisor", "wire", "sys"],
        "init" => &["sys"],
        "lib" => &["cli", "check", "driver", "init", "client"],
        "main" => &[],
        module if PLAN.contains(&module) => &[],
        _ => return None,
    })
}

/// One source file without what the compiler does not see in a release build.
struct Source {
    path: PathBuf,
    /// Its module path from the root: `["sys", "spawn"]`, `["lib"]`.
    module: Vec<String>,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap().with_extension("");
                let mut module: Vec<String> =
                    inside.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
                if module.last().is_some_and(|last| last == "mod") {
                    module.pop();
                }
                let code = without_tests(&without_prose(&fs::read_to_string(&path).unwrap()));
                // A file that is a test module of its own: `#[cfg(test)] mod tests;`.
                if module.last().is_none_or(|last| last != "tests") {
                    found.push(Source { path, module, code });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Blanks comments, strings and characters.
fn without_prose(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && !lifetime(rest) {
            quoted(rest, '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        // A word stays a word: what was skipped parts its neighbours, and lines keep their number.
        code.push(' ');
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        rest = &rest[skipped..];
    }
    code
}

/// The number of `#` of a raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn lifetime(rest: &str) -> bool {
    let mut next = rest.chars().skip(1);
    let (first, second) = (next.next(), next.next());
    first.is_some_and(|c| c.is_alphabetic() || c == '_') && second != Some('\'')
}

/// The length of a literal with its quotes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Drops every item under `#[cfg(test)]`: up to its closing brace, or its semicolon if none opens before.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        kept += &rest[..start];
        let mut depth = 0_usize;
        let length = rest[start..].char_indices().find_map(|(at, letter)| {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(letter, '}' | ';')).then_some(at + 1)
        });
        let item = &rest[start..start + length.unwrap_or(rest.len() - start)];
        kept.extend(item.chars().filter(|c| *c == '\n'));
        rest = &rest[start + item.len()..];
    }
    kept + rest
}

/// Splits code into words (`crate`, `::`, `{`, ...).
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(letter) = code[at..].chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if word(letter) {
            code[at..].find(|c| !word(c)).unwrap_or(code.len() - at)
        } else if code[at..].starts_with("::") {
            2
        } else {
            letter.len_utf8()
        };
        if !letter.is_whitespace() {
            found.push((code[..at].matches('\n').count() + 1, &code[at..at + length]));
        }
        at += length;
    }
    found
}

/// Every path in the code that begins with `start`, with its line: `crate::{a::b, c}` is two.
fn paths(words: &[(usize, &str)], start: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for at in 0..words.len() {
        let inside_path = at > 0 && words[at - 1].1 == "::";
        if words[at].1 == start && !inside_path && words.get(at + 1).is_some_and(|(_, next)| *next == "::") {
            branches(words, &mut (at + 2), &[start.to_owned()], words[at].0, &mut found);
        }
    }
    found
}

/// Follows a path from the word after a `::`.
fn branches(
    words: &[(usize, &str)],
    at: &mut usize,
    before: &[String],
    line: usize,
    found: &mut Vec<(usize, Vec<String>)>,
) {
    let Some((_, word)) = words.get(*at) else { return };
    if *word != "{" {
        let path = [before, &[(*word).to_owned()]].concat();
        *at += 1;
        if words.get(*at).is_some_and(|(_, next)| *next == "::") {
            *at += 1;
            branches(words, at, &path, line, found);
        } else {
            found.push((line, path));
        }
        return;
    }
    *at += 1;
    while words.get(*at).is_some_and(|(_, word)| *word != "}") {
        if words[*at].1 == "," {
            *at += 1;
        } else if words[*at].1 == "as" {
            *at += 2;
        } else {
            branches(words, at, before, line, found);
        }
    }
    *at += 1;
}

/// The module at the root that a path from inside `module` leads to.
fn root_of(module: &[String], path: &[String]) -> Option<String> {
    let mut place: Vec<String> = module.to_vec();
    let mut words = path.iter().peekable();
    match words.next()?.as_str() {
        "crate" => place.clear(),
        "super" => drop(place.pop()),
        _ => {}
    }
    while words.next_if(|word| *word == "super").is_some() {
        place.pop();
    }
    place.first().cloned().or_else(|| words.next().cloned())
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let own = source.module[0].as_str();
        let Some(allowed) = allowed(own) else {
            panic!("src/{own} is in no layer: name it in src/lib.rs and in {}", file!());
        };
        let words = tokens(&source.code);
        for start in ["crate", "super", "self"] {
            for (line, path) in paths(&words, start) {
                let Some(to) = root_of(&source.module, &path) else { continue };
                // Names of lib.rs itself, such as `crate::run`, are no module.
                if to == own || self::allowed(&to).is_none() {
                    continue;
                }
                seen.insert((own.to_owned(), to.clone()));
                if !PLAN.contains(&to.as_str()) && !allowed.contains(&to.as_str()) {
                    wrong.push(format!("{}:{line}: {own} may not use {to}", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "edges against the layer rule:\n{}", wrong.join("\n"));
    // Were the reader of paths broken, it would find nothing and be content.
    for edge in [("cli", "plan"), ("supervisor", "plan"), ("wire", "supervisor")] {
        assert!(seen.contains(&(edge.0.to_owned(), edge.1.to_owned())), "no edge {edge:?} was found");
    }
}

#[test]
fn the_core_and_the_wire_know_nothing_of_the_system() {
    let pure =
        |source: &Source| matches!(source.module[0].as_str(), "supervisor" | "wire" | "config" | "words");
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(pure) {
        let words = tokens(&source.code);
        for (line, path) in paths(&words, "std") {
            let inside = path[1..].join("::");
            if SYSTEM.iter().any(|name| inside == *name || inside.starts_with(&format!("{name}::"))) {
                wrong.push(format!("{}:{line}: std::{inside}", source.path.display()));
            }
        }
        // Numbers and their names (libc::EAGAIN, nix::errno) are no system; a function of it is.
        let constant = |name: &String| !name.contains(|c: char| c.is_ascii_lowercase());
        for (line, path) in ["nix", "libc"].iter().flat_map(|name| paths(&words, name)) {
            if path[1] != "errno" && !path.last().is_some_and(constant) {
                wrong.push(format!("{}:{line}: {}", source.path.display(), path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "the pure layers reach for the system:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_under_sys_only() {
    let mut wrong = Vec::new();
    let mut under_sys = 0;
    for source in sources() {
        for (line, word) in tokens(&source.code) {
            if word == "unsafe" && source.module[0] == "sys" {
                under_sys += 1;
            } else if word == "unsafe" {
                wrong.push(format!("{}:{line}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe outside src/sys:\n{}", wrong.join("\n"));
    assert!(under_sys > 0, "no unsafe was found under src/sys, where it must be");
}

#[test]
fn the_reader_of_sources_reads_them_right() {
    let code = without_tests(&without_prose(
        r##"
        //! crate::comment::a
        use crate::{plan::{Plan, Level as L}, error::Error};
        const A: &str = "crate::string::b \" crate::string::c";
        const B: &str = r#"crate::raw::d " "#;
        const C: char = '"'; fn f<'a>(x: &'a str) -> crate::addr::Parsed { super::super::wire::g('\'') }
        #[cfg(test)]
        mod tests { use crate::cli::Hidden; fn t() { if true {} } }
        #[cfg(test)]
        use crate::driver::Hidden;
        use crate::sys::poll;
        "##,
    ));
    let words = tokens(&code);
    let found: Vec<String> = ["crate", "super"]
        .iter()
        .flat_map(|start| paths(&words, start))
        .map(|(_, path)| path.join("::"))
        .collect();
    assert_eq!(
        found,
        [
            "crate::plan::Plan",
            "crate::plan::Level",
            "crate::error::Error",
            "crate::addr::Parsed",
            "crate::sys::poll",
            "super::super::wire::g",
        ]
    );
    let module = ["sys".to_owned(), "spawn".to_owned()];
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(root_of(&module, &path("super::super::wire::g")).as_deref(), Some("wire"));
    assert_eq!(root_of(&module, &path("super::poll::Set")).as_deref(), Some("sys"));
    assert_eq!(root_of(&module, &path("crate::plan::Plan")).as_deref(), Some("plan"));
    assert_eq!(root_of(&module, &path("self::inner")).as_deref(), Some("sys"));
}

/// Programs in whose manner remuda can be called.
const ANCESTORS: [&str; 8] =
    ["einhorn", "einhyrningsins", "socketmaster", "firestarter", "tini", "dumb", "catatonit", "native"];

#[test]
fn the_core_and_the_driver_behave_by_the_plan_and_not_by_a_dialect() {
    // The one place where a codec is made, and it is only handed on there; which lines the log is made of is a field of
    // the plan that has the name of the program whose lines they are.
    let makes_codec = |source: &Source| source.module == ["driver", "clients"];
    let writes_log = |source: &Source| {
        source.module[0] == "driver" && ["journal", "wording"].contains(&source.module[1].as_str())
    };
    let mut wrong = Vec::new();
    let mut handed_on = 0;
    let both = |source: &Source| matches!(source.module[0].as_str(), "supervisor" | "driver");
    for source in sources().into_iter().filter(both) {
        let words = tokens(&source.code);
        for (at, (line, word)) in words.iter().enumerate() {
            let lower = word.to_lowercase();
            let named = ANCESTORS.iter().find(|name| lower.contains(**name));
            let dialect = *word == "Dialect";
            handed_on += usize::from(dialect && makes_codec(&source));
            let decides = dialect && words.get(at + 1).is_some_and(|(_, next)| *next == "::");
            if decides || (dialect && !makes_codec(&source)) || (named.is_some() && !writes_log(&source)) {
                wrong.push(format!("{}:{line}: {word}", source.path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "what differs from dialect to dialect is a field of the plan:\n{}",
        wrong.join("\n")
    );
    assert!(handed_on > 0, "nobody makes a codec for a dialect");
}
