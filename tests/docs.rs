//! Holds the documents to the program: remuda(1) lists the options, verbs and exit codes that there are, the command
//! lines of README.md and of the pages can be read, and the pages are sound mdoc.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use remuda::cli::options::{COMMANDS, INIT, Kind, Opt, RUN, Section};
use remuda::cli::{self, Outcome};
use remuda::error::Code;

/// An option as a document tells it: names, argument, default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    names: String,
    argument: Option<String>,
    default: Option<String>,
}

impl From<&Opt> for Told {
    fn from(option: &Opt) -> Self {
        let letter = option.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
        Told {
            names: format!("{letter}--{}", option.long),
            argument: option.argument.map(str::to_owned),
            default: option.default.map(str::to_owned),
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The lines of a page between the heading `.Sh SECTION` and the next one.
fn section<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    under(page.lines(), &format!(".Sh {heading}"), ".Sh ")
}

fn under<'a>(lines: impl Iterator<Item = &'a str>, heading: &str, end: &str) -> Vec<&'a str> {
    let mut rest = lines.skip_while(|line| *line != heading);
    assert!(rest.next().is_some(), "the page has no '{heading}'");
    rest.take_while(|line| !line.starts_with(end)).collect()
}

/// The subsections of a section, by title; what stands before the first has none.
fn subsections<'a>(lines: &[&'a str]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut found = vec![("", Vec::new())];
    for line in lines {
        match line.strip_prefix(".Ss ") {
            Some(title) => found.push((title, Vec::new())),
            None => found.last_mut().expect("never empty").1.push(*line),
        }
    }
    found
}

/// `.It Fl b , Fl -bind Ar ADDR` and, further down, `Default:` with `.Cm VALUE` after it.
fn options_told(lines: &[&str]) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        if let Some(head) = line.strip_prefix(".It Fl ") {
            let (names, argument) = match head.split_once(" Ar ") {
                Some((names, argument)) => (names, Some(argument.to_owned())),
                None => (head, None),
            };
            let names: Vec<String> = names.split(" , Fl ").map(|name| format!("-{name}")).collect();
            told.push(Told { names: names.join(", "), argument, default: None });
        } else if *line == "Default:" {
            let value = lines.next().and_then(|line| line.strip_prefix(".Cm "));
            let option = told.last_mut().expect("a default belongs to an option");
            assert!(option.default.is_none(), "{} has two defaults", option.names);
            option.default = Some(value.expect("'Default:' is followed by '.Cm VALUE'").to_owned());
        }
    }
    told
}

fn sorted(options: impl IntoIterator<Item = Told>) -> Vec<Told> {
    let mut options: Vec<Told> = options.into_iter().collect();
    options.sort();
    options
}

#[test]
fn the_page_has_the_options_of_run_and_no_others() {
    let page = read("man/remuda.1");
    let told: BTreeMap<&str, Vec<Told>> = subsections(&section(&page, "OPTIONS"))
        .into_iter()
        .filter(|(title, _)| *title != "Options of the verbs")
        .map(|(title, lines)| (title, options_told(&lines)))
        .filter(|(_, options)| !options.is_empty())
        .collect();
    let mut table: BTreeMap<&str, Vec<Told>> = BTreeMap::new();
    for section in Section::ALL {
        let options: Vec<Told> =
            RUN.options.iter().filter(|option| option.section == section).map(Told::from).collect();
        if !options.is_empty() {
            table.insert(section.title(), options);
        }
    }
    assert_eq!(told, table);
}

#[test]
fn the_page_has_the_options_of_the_verbs_and_no_others() {
    let page = read("man/remuda.1");
    let all = section(&page, "OPTIONS");
    let (_, lines) = subsections(&all).pop().expect("OPTIONS ends with the verbs");
    let table: BTreeSet<Told> = COMMANDS
        .iter()
        .filter(|command| ![RUN.name, INIT.name].contains(&command.name))
        .flat_map(|command| command.options)
        .map(Told::from)
        .collect();
    assert_eq!(sorted(options_told(&lines)), sorted(table));
}

#[test]
fn the_page_has_every_verb_with_its_operands_and_options() {
    let page = read("man/remuda.1");
    let parts = subsections(&section(&page, "VERBS"));
    // What every verb takes is said once, before the first list.
    let common = flags(&parts[0].1);
    let mut told = BTreeMap::new();
    for (title, lines) in &parts[1..] {
        let list = lines.iter().position(|line| line.starts_with(".Bl ")).expect("a list of verbs");
        let (head, list) = lines.split_at(list);
        let takes: BTreeSet<String> = flags(head).union(&common).cloned().collect();
        for head in list.iter().filter_map(|line| line.strip_prefix(".It Cm ")) {
            let (verb, operands) = head.split_once(' ').unwrap_or((head, ""));
            let earlier = told.insert(verb.to_owned(), (operands_told(operands), takes.clone()));
            assert!(earlier.is_none(), "'{verb}' is told twice, again under '{title}'");
        }
    }
    let table: BTreeMap<String, (String, BTreeSet<String>)> = COMMANDS
        .iter()
        .filter(|command| matches!(command.kind, Kind::Ask(_)))
        .map(|command| {
            let takes = command.options.iter().map(|option| format!("--{}", option.long)).collect();
            (command.name.to_owned(), (command.operands.to_owned(), takes))
        })
        .collect();
    assert_eq!(told, table);
}

#[test]
fn the_page_has_the_commands_that_ask_nobody() {
    let page = read("man/remuda.1");
    let told: Vec<(String, String)> = section(&page, "GROUPS OF A FILE")
        .iter()
        .filter_map(|line| line.strip_prefix(".It Cm "))
        .map(|head| head.split_once(' ').unwrap_or((head, "")))
        .map(|(name, operands)| (name.to_owned(), operands_told(operands)))
        .collect();
    let table: Vec<(String, String)> = COMMANDS
        .iter()
        .filter(|command| matches!(command.kind, Kind::Check | Kind::Sample))
        .map(|command| (command.name.to_owned(), command.operands.to_owned()))
        .collect();
    assert_eq!(told, table);
}

/// Every long option that is named in these lines.
fn flags(lines: &[&str]) -> BTreeSet<String> {
    let words = lines.iter().filter(|line| line.starts_with(".Fl ")).flat_map(|line| line.split(' '));
    words.filter(|word| word.starts_with('-')).map(|word| format!("-{word}")).collect()
}

/// `Oo Ar group Oc Ar n` as the table has it: `[GROUP] N`.
fn operands_told(macros: &str) -> String {
    let mut words = Vec::new();
    let mut optional = false;
    for word in macros.split(' ') {
        match word {
            "Op" | "Oo" => optional = true,
            "Oc" => optional = false,
            "Ar" | "" => {}
            name => {
                let name = name.to_uppercase();
                words.push(if optional { format!("[{name}]") } else { name });
                optional = false;
            }
        }
    }
    words.join(" ")
}

#[test]
fn the_page_of_init_has_its_options_and_no_others() {
    let page = read("man/remuda-init.1");
    let told = options_told(&section(&page, "OPTIONS"));
    assert_eq!(sorted(told), sorted(INIT.options.iter().map(Told::from)));
}

#[test]
fn the_page_has_every_exit_code() {
    let page = read("man/remuda.1");
    let lines = section(&page, "EXIT STATUS");
    let mut told: Vec<(u8, &str)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(code) = line.strip_prefix(".It ") {
            told.push((code.parse().expect("a number"), lines[at + 1]));
        }
    }
    let codes: Vec<Code> = (0..=u8::MAX).filter_map(Code::from_status).collect();
    assert_eq!(told.len(), codes.len(), "{told:?}");
    for ((number, sentence), code) in told.into_iter().zip(codes) {
        assert_eq!(number, code.status());
        let word = match code {
            Code::Done => "done",
            Code::Failed => "failed",
            Code::Usage => "usage",
            Code::NotRunning => "not running",
            Code::Refused => "refused",
            Code::UpgradeFailed => "upgrade failed",
            Code::TimedOut => "timeout",
            Code::RolledBack => "rolled back",
            Code::Superseded => "superseded",
        };
        assert!(sentence.starts_with(word), "{number} is '{word}', the page says '{sentence}'");
    }
}

#[test]
fn the_pages_of_other_doors_have_the_options_of_their_help() {
    for door in ["einhorn", "einhornsh", "einhyrningsins", "einhyrningsinsctl", "start_server"] {
        let Ok(Outcome::Print(help)) = cli::parse(words(&format!("remuda {door} --help"))) else {
            panic!("{door} has no help");
        };
        let page = read(&format!("man/{door}.1"));
        let told: BTreeSet<String> = options_told(&section(&page, "DESCRIPTION"))
            .into_iter()
            .map(|told| match told.argument {
                Some(argument) => format!("{} {argument}", told.names),
                None => told.names,
            })
            .collect();
        let shown: BTreeSet<String> = help
            .lines()
            .filter_map(|line| {
                let option = line.trim_start();
                let indented = (4..=8).contains(&(line.len() - option.len()));
                let end = option.find("  ").unwrap_or(option.len());
                // A long one may leave a single space before what it means.
                let words = option[..end].split(' ').take_while(|word| {
                    word.starts_with('-') || word.bytes().all(|byte| byte.is_ascii_uppercase())
                });
                (indented && option.starts_with('-')).then(|| words.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(told, shown, "{door}");
    }
}

#[test]
fn the_page_of_firestarter_has_the_options_and_commands_of_its_help() {
    let page = read("man/firestarter.1");
    let told: BTreeSet<String> = options_told(&section(&page, "DESCRIPTION"))
        .into_iter()
        .map(|told| match told.argument {
            Some(argument) => format!("{} <{argument}>", told.names),
            None => told.names,
        })
        .collect();
    let help = |line: &str| match cli::parse(words(&format!("remuda firestarter {line}"))) {
        Ok(Outcome::Print(help)) => help,
        other => panic!("{line} is no help: {other:?}"),
    };
    let mut shown = BTreeSet::new();
    for subcommand in ["ctrl", "list", "run", "status", "stop"] {
        assert!(help("-h").contains(&format!("\n    {subcommand} ")), "{subcommand}");
        for line in help(&format!("{subcommand} -h")).lines().filter_map(|line| line.strip_prefix("    -")) {
            shown.insert(format!("-{}", line.split("  ").next().unwrap_or(line)));
        }
    }
    assert_eq!(told, shown);
}

#[test]
fn the_page_of_socketmaster_has_the_flags_of_its_usage() {
    let Ok(Outcome::Refuse(refusal)) = cli::parse(words("remuda socketmaster -h")) else {
        panic!("socketmaster has no usage");
    };
    let page = read("man/socketmaster.1");
    let told: BTreeSet<&str> = section(&page, "DESCRIPTION")
        .into_iter()
        .filter_map(|line| line.strip_prefix(".It Fl ")?.split([' ', ',']).next())
        .collect();
    let shown = refusal.page.lines().filter_map(|line| line.strip_prefix("  -")?.split(' ').next());
    // What only this one has, and what Go has by itself.
    let known: BTreeSet<&str> = shown.chain(["hup-signal", "h"]).collect();
    assert_eq!(told, known);
}

#[test]
fn every_command_line_in_the_documents_can_be_read() {
    let mut lines = markdown_commands(&read("README.md"));
    let from_readme = remuda_lines(&lines).len();
    assert!(from_readme >= 10, "README.md has only {from_readme} command lines of remuda");
    for page in pages() {
        lines.extend(literal_displays(&fs::read_to_string(page).expect("a page")));
    }
    for line in remuda_lines(&lines) {
        match cli::parse(words(&line)) {
            Ok(Outcome::RunFile(_) | Outcome::Check(_)) => {}
            Ok(
                Outcome::Run(_)
                | Outcome::Init(_)
                | Outcome::Ask(_)
                | Outcome::Shell(_)
                | Outcome::Ctrl(_)
                | Outcome::Errand(_)
                | Outcome::Print(_),
            ) => {}
            Ok(Outcome::Einhornsh(_) | Outcome::CanResume) => {}
            Ok(Outcome::Refuse(refusal)) => panic!("{line}\n{}", refusal.page),
            Ok(Outcome::Decline(_, error)) => panic!("{line}\n{error}"),
            Err(error) => panic!("{line}\n{error}"),
        }
    }
}

/// The lines of code for a shell, those of other code that show a prompt, and the code at the end of a table's rows.
fn markdown_commands(text: &str) -> Vec<String> {
    let mut shell = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            shell = line == "```sh";
        } else if shell || line.starts_with("    $ ") {
            found.push(line.to_owned());
        } else if let Some(code) = line.strip_prefix("| ").and_then(|row| row.strip_suffix("` |")) {
            found.extend(code.split_once(" | `").map(|(_, code)| code.to_owned()));
        }
    }
    found
}

/// The lines of `.Bd -literal`, as a terminal would show them.
fn literal_displays(page: &str) -> Vec<String> {
    let mut literal = false;
    let mut found = Vec::new();
    for line in page.lines() {
        match line {
            ".Ed" => literal = false,
            line if line.starts_with(".Bd -literal") => literal = true,
            line if literal => found.push(line.replace(r"\e", r"\").replace(r"\&", "")),
            _ => {}
        }
    }
    found
}

/// Command lines of remuda, with what is continued after a backslash, without what a shell keeps for itself.
fn remuda_lines(lines: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let mut line = line.trim().trim_start_matches("$ ").to_owned();
        while line.ends_with('\\') {
            line.pop();
            line += lines.next().map_or("", |next| next.trim());
        }
        if line.starts_with("remuda ") {
            found.push(line);
        }
    }
    found
}

/// Splits as a shell does, as far as documents need it: quotes; a comment, `|`, `&`, `;` and `>` end the command.
fn words(line: &str) -> Vec<OsString> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(mark), letter) if letter == mark => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                if !std::mem::replace(&mut open, true) {
                    words.push(String::new());
                }
            }
            (None, '|' | '&' | ';' | '>') => break,
            (None, '#') if !open => break,
            (None, letter) if letter.is_whitespace() => open = false,
            (_, letter) => {
                if !std::mem::replace(&mut open, true) {
                    words.push(String::new());
                }
                words.last_mut().expect("pushed when it was opened").push(letter);
            }
        }
    }
    assert!(quote.is_none(), "a quote is not closed: {line}");
    words.into_iter().map(OsString::from).collect()
}

#[test]
fn the_pages_are_sound_mdoc() {
    for page in pages() {
        let output = match Command::new("mandoc").args(["-T", "lint"]).arg(&page).output() {
            Ok(output) => output,
            Err(error) => {
                println!("skipped: mandoc -T lint: {error}");
                return;
            }
        };
        let told = String::from_utf8_lossy(&output.stdout);
        // Which other manuals are installed says nothing about ours.
        let faults: Vec<&str> =
            told.lines().filter(|line| !line.contains("referenced manual not found")).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("man")).expect("man/");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry of man/").path()).collect();
    pages.sort();
    pages
}
