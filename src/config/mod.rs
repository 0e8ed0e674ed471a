//! The groups file: from TOML to a [`Plan`], or to everything that is wrong with it at once. Pure: it is given the text
//! and whatever else it depends on.
//!
//! Each table at the top is a group, and its keys are firestarter's, with remuda's beside them; `[remuda]` is the manager
//! itself. Which keys there are says the table in `keys.rs`. An unknown key is an error, and so is one of firestarter's
//! that this version cannot honour: nothing is ignored. In firestarter's own manner, where unknown keys always were
//! ignored, it is told and passed over.

mod address;
mod fault;
mod group;
pub mod keys;
mod manager;
mod sample;
mod value;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

pub use fault::Fault;
use fault::{Faults, Wrong};
use group::Draft;
use keys::{Defaults, Key, Table, Usual};
pub use sample::sample;
use value::Value;

use crate::addr;
use crate::nearest::nearest;
use crate::plan::{
    ControlSpec, Dialect, ExitPolicy, GroupSpec, Level, LogFormat, LogSpec, ManagerPolicy, Meaning,
    OwnProcess, Plan, WatchFile, firestarter_socket,
};
pub use crate::reading::{Manner, Overrides, Source};
use crate::signame::Signal;
use crate::values;

/// The table that is no group.
pub const MANAGER: &str = "remuda";

/// What a file says, and what there is to tell of it although nothing is wrong.
#[derive(Clone, Debug)]
pub struct Contents {
    /// What is to run.
    pub plan: Plan,
    /// What is passed over.
    pub warnings: Vec<Fault>,
    /// Keys whose default is another in firestarter, and that the file leaves out without saying whose defaults it means.
    pub unlike: Vec<Unlike>,
    /// What is wrong with groups that are left out, where that is asked for.
    pub faults: Vec<Fault>,
}

/// A key that means one thing here and another in firestarter where it is left out.
#[derive(Clone, Debug)]
pub struct Unlike {
    /// The key.
    pub key: &'static Key,
    /// The groups that leave it out.
    pub groups: Vec<String>,
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, groups) = (self.key.name, self.groups.join(", "));
        let theirs = self.key.unlike().unwrap_or_default();
        match self.key.usual {
            Usual::Default(ours) => write!(f, "{groups}: {name} is {ours}, in firestarter {theirs}"),
            _ => write!(f, "{groups}: {name} is not set, in firestarter it is {theirs}"),
        }
    }
}

/// What a file depends on beside its text.
struct Surroundings<'a> {
    environment: &'a [(OsString, OsString)],
    manner: Manner,
}

impl<'a> Surroundings<'a> {
    fn variable(&self, name: &OsStr) -> Option<&'a OsStr> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// Where firestarter has a socket of this name if nobody says another place.
    fn temporary(&self, name: &str) -> PathBuf {
        firestarter_socket(|variable| self.variable(OsStr::new(variable)).map(OsStr::to_owned), name)
    }

    /// Where the files lie by which workers show that they live.
    fn watch_file(&self) -> WatchFile {
        match self.manner {
            Manner::Remuda => WatchFile::BesideControl,
            Manner::Firestarter => {
                let directory = self.variable(OsStr::new("TMPDIR")).filter(|directory| !directory.is_empty());
                WatchFile::In(directory.unwrap_or(OsStr::new("/tmp")).into())
            }
        }
    }

    /// The level that the last directive of RUST_LOG names, by which firestarter's log is set.
    fn log_level(&self) -> Option<Level> {
        let directives = self.variable(OsStr::new("RUST_LOG"))?.to_str()?;
        let level = directives.rsplit([',', '=']).next().map(str::to_ascii_lowercase)?;
        match level.as_str() {
            "trace" => Some(Level::Debug),
            "off" => Some(Level::Error),
            level => Level::from_name(level),
        }
    }
}

/// Reads the text of a file. `environment` is the manager's own: `$NAME` in commands stands for its variables. What is
/// wrong with single groups comes beside the plan of the others, if that is asked for and any are left.
///
/// # Errors
/// Everything that is wrong with the text, in its order. Nothing outside of it is looked at.
pub fn read(
    text: &str,
    source: &Source,
    environment: &[(OsString, OsString)],
) -> Result<Contents, Vec<Fault>> {
    let mut faults = Faults::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let sound = errors.is_empty();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        faults.add(None, Wrong::new(at, error.message()));
    }
    let around = Surroundings { environment, manner: source.manner };
    let warnings = Faults::new(text);
    let mut reader = Reader { text, around, faults, warnings, sound, unlike: Vec::new() };
    let said = source.overrides.clone().or(reader.manager(root.get_ref()));
    let defaults = match source.manner {
        Manner::Remuda => Defaults::Remuda,
        Manner::Firestarter => Defaults::Firestarter,
    };
    let mut groups = reader.groups(root.get_ref(), said.defaults.unwrap_or(defaults));
    let faults = reader.faults;
    if source.keep_going && faults.spare_others() {
        groups.retain(|group| !faults.spoil(&group.name));
    }
    let lenient = source.keep_going && faults.spare_others() && !groups.is_empty();
    if !lenient && !faults.are_none() {
        return Err(faults.into_list());
    }
    let around = &reader.around;
    let (mut manager, dialect, control, level) = match source.manner {
        Manner::Remuda => (ManagerPolicy::native(), Dialect::Native, ControlSpec::Default, None),
        Manner::Firestarter => {
            let control = ControlSpec::Path(around.temporary("control"));
            (firestarter(), Dialect::Firestarter, control, around.log_level())
        }
    };
    manager.signals.insert(Signal::HUP, Meaning::Reload);
    manager.drain_delay = said.drain_delay.unwrap_or_default();
    manager.signals.extend(said.on_signal);
    let told = said.defaults.is_some() || source.manner == Manner::Firestarter;
    let unlike = if told { Vec::new() } else { reader.unlike };
    let plan = Plan {
        activation: true,
        name: said.name.unwrap_or_else(|| name_of_file(&source.file)),
        groups,
        control: Some(said.control.map_or(control, ControlSpec::Path)),
        manager,
        dialect,
        log: LogSpec {
            level: said.level.or(level).unwrap_or(Level::Info),
            format: said.format.unwrap_or(LogFormat::Plain),
            target: said.target.unwrap_or_default(),
            opening: None,
        },
        pidfile: said.pidfile,
        source: Some(source.clone()),
        subreaper: said.subreaper.unwrap_or(source.manner != Manner::Firestarter),
        own: OwnProcess::default(),
    };
    Ok(Contents { plan, warnings: reader.warnings.into_list(), unlike, faults: faults.into_list() })
}

/// How the manager behaves as firestarter's does, as far as that is of use: there only Ctrl-C and QUIT ended everything.
fn firestarter() -> ManagerPolicy {
    let mut policy =
        ManagerPolicy { exit: ExitPolicy::Success, exit_when_finished: false, ..ManagerPolicy::default() };
    policy.signals.insert(Signal::QUIT, Meaning::Stop);
    policy
}

/// The instance name that a file gets if nobody gives one: its own, without `.toml`.
fn name_of_file(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    let stem =
        if file.extension().is_some_and(|extension| extension == "toml") { file.file_stem() } else { None };
    values::name_of_program(stem.unwrap_or(name))
}

struct Reader<'a> {
    text: &'a str,
    around: Surroundings<'a>,
    faults: Faults<'a>,
    /// What is passed over.
    warnings: Faults<'a>,
    /// The text is TOML, so that what is missing is really not there.
    sound: bool,
    unlike: Vec<Unlike>,
}

impl<'a> Reader<'a> {
    /// The table `[remuda]`, which may stand anywhere and says how the others are meant.
    fn manager(&mut self, root: &'a DeTable<'a>) -> Overrides {
        let mut said = Overrides::default();
        if let Some((_, table)) = tables(root).find(|(name, _)| name.get_ref() == MANAGER) {
            self.keys(MANAGER, Table::Manager, table, |key, value, _| manager::set(&mut said, key.id, value));
        }
        said
    }

    fn groups(&mut self, root: &'a DeTable<'a>, defaults: Defaults) -> Vec<GroupSpec> {
        for (name, value) in in_order(root) {
            let (key, value) = (name.get_ref().as_ref(), value.get_ref());
            if value.as_table().is_none() {
                self.faults.add(Some(key), Wrong::new(name.span().start, outside(key, value)));
            }
        }
        let mut drafts: Vec<(&str, Draft)> = Vec::new();
        for (name, table) in tables(root).filter(|(name, _)| name.get_ref() != MANAGER) {
            let (key, at) = (name.get_ref().as_ref(), name.span().start);
            self.faults.about(Some(key));
            if let Err(error) = values::name(key) {
                self.faults.add(Some(key), Wrong::value(at)(error));
            }
            let mut draft = Draft::new(defaults);
            self.assume(key, at, &mut draft, defaults);
            self.keys(key, Table::Group, table, |key, value, around| draft.set(key.id, value, around));
            self.warnings.add_all(&format!("{key}.environments"), draft.warnings());
            self.required(key, at, table);
            self.compare(key, table);
            drafts.push((key, draft));
            self.faults.about(None);
        }
        if drafts.is_empty() && self.sound && self.faults.are_none() {
            let why = "there is no group: a table such as [web], with the key exec_start";
            self.faults.add(None, Wrong::new(0, why));
        }
        self.duplicates(&drafts);
        self.clashes(&drafts);
        drafts.into_iter().map(|(name, draft)| draft.finish(name.to_owned(), &self.around)).collect()
    }

    /// Begins a group with firestarter's defaults, if these are meant: read as if they stood in the file.
    fn assume(&mut self, group: &str, at: usize, draft: &mut Draft, defaults: Defaults) {
        if defaults != Defaults::Firestarter {
            return;
        }
        for key in keys::KEYS.iter().filter(|key| key.table == Table::Group) {
            let Some(text) = key.unlike() else { continue };
            let outcome = match DeValue::parse(text) {
                Ok(value) => draft.set(key.id, &Value::new(text, &value, key.kind), &self.around),
                Err(error) => Err(Wrong::new(at, error.message()).into()),
            };
            if let Err(wrongs) = outcome {
                self.faults.add_all(&format!("{group}.{}", key.name), wrongs);
            }
        }
    }

    /// Remembers which keys a group leaves out that mean something else in firestarter.
    fn compare(&mut self, group: &str, table: &DeTable<'_>) {
        for key in keys::KEYS.iter().filter(|key| key.table == Table::Group && key.unlike().is_some()) {
            if table.contains_key(key.name) {
                continue;
            }
            match self.unlike.iter_mut().find(|unlike| unlike.key.id == key.id) {
                Some(unlike) => unlike.groups.push(group.to_owned()),
                None => self.unlike.push(Unlike { key, groups: vec![group.to_owned()] }),
            }
        }
    }

    /// Hands each known key of a table to `set`.
    fn keys(
        &mut self,
        name: &str,
        kind: Table,
        table: &'a DeTable<'a>,
        mut set: impl FnMut(&Key, &Value<'a>, &Surroundings<'a>) -> Result<(), Vec<Wrong>>,
    ) {
        for (written, value) in in_order(table) {
            let path = format!("{name}.{}", written.get_ref());
            let outcome = match keys::key(kind, written.get_ref()) {
                Some(key) => set(key, &Value::new(self.text, value, key.kind), &self.around),
                None if self.around.manner == Manner::Firestarter => {
                    let why = format!("{}, passed over", unknown(kind, written.get_ref()));
                    self.warnings.add(Some(&path), Wrong::new(written.span().start, why));
                    Ok(())
                }
                None => Err(Wrong::new(written.span().start, unknown(kind, written.get_ref())).into()),
            };
            if let Err(wrongs) = outcome {
                self.faults.add_all(&path, wrongs);
            }
        }
    }

    /// Complains of keys that must be there and are not.
    fn required(&mut self, group: &str, at: usize, table: &DeTable<'_>) {
        let there = |key: &Key| table.keys().any(|written| written.get_ref() == key.name);
        let required = |key: &&Key| key.table == Table::Group && matches!(key.usual, Usual::Required(_));
        for key in keys::KEYS.iter().filter(required) {
            if self.sound && !there(key) {
                let why = format!("the key is missing, as in {} = {}", key.name, key.usual.sample());
                self.faults.add(Some(&format!("{group}.{}", key.name)), Wrong::new(at, why));
            }
        }
    }

    /// Complains of sockets that two groups, or one of them twice, would bind.
    fn duplicates(&mut self, drafts: &[(&str, Draft)]) {
        let all: Vec<_> = drafts
            .iter()
            .flat_map(|(name, draft)| {
                draft.sockets().iter().map(move |socket| (*name, socket.at, &socket.spec))
            })
            .collect();
        for (position, (name, at, socket)) in all.iter().enumerate() {
            let earlier = all[..position]
                .iter()
                .find(|(_, _, earlier)| addr::collide(&earlier.address, &socket.address));
            if let Some((other, _, _)) = earlier {
                let why = match other == name {
                    true => format!("{} is given twice", socket.address),
                    false => format!("{} is a socket of group '{other}' already", socket.address),
                };
                self.faults.about(Some(name));
                self.faults.add(Some(&format!("{name}.socket_address")), Wrong::new(*at, why));
                self.faults.about(None);
            }
        }
    }

    /// Complains of logs that cannot be written beside others.
    fn clashes(&mut self, drafts: &[(&str, Draft)]) {
        let all: Vec<_> = drafts
            .iter()
            .flat_map(|(name, draft)| draft.logs().iter().map(move |log| (*name, log)))
            .collect();
        for (position, (name, (at, key, target))) in all.iter().enumerate() {
            let earlier = all[..position].iter();
            let clash = earlier
                .filter_map(|(other, (_, key, earlier))| Some((other, key, target.clash(earlier)?)))
                .next();
            if let Some((other, other_key, why)) = clash {
                let why = format!("{why}: see {other}.{other_key}");
                self.faults.add(Some(&format!("{name}.{key}")), Wrong::new(*at, why));
            }
        }
    }
}

/// The entries of a table as they stand in the file.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Those of them that are tables.
fn tables<'a>(root: &'a DeTable<'a>) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, &'a DeTable<'a>)> {
    in_order(root).into_iter().filter_map(|(name, value)| Some((name, value.get_ref().as_table()?)))
}

/// The error for a key at the top that is no table.
fn outside(name: &str, value: &DeValue<'_>) -> String {
    let of_group = keys::key(Table::Group, name).is_some();
    match value {
        _ if of_group => "this key belongs to a group: the line [NAME] is missing before it".to_owned(),
        DeValue::Array(_) => format!("a group is one table, [{name}], not a list"),
        _ => format!("only tables stand at the top, as in [{name}]"),
    }
}

/// The error for a key that is not in the table of keys.
fn unknown(table: Table, name: &str) -> String {
    let here = || keys::KEYS.iter().filter(|key| key.table == table);
    // Somebody who knows the command line may write its words.
    let option = name.replace('_', "-");
    if let Some(key) = here().find(|key| key.option == Some(&option)) {
        return format!("unknown key (here it is '{}')", key.name);
    }
    let elsewhere = keys::KEYS.iter().find(|key| key.table != table && key.name == name);
    match (elsewhere, nearest(name, here().map(|key| key.name))) {
        (Some(Key { table: Table::Manager, .. }), _) => format!("unknown key (it belongs to [{MANAGER}])"),
        (Some(_), _) => "unknown key (it belongs to a group)".to_owned(),
        (None, Some(near)) => format!("unknown key (did you mean '{near}'?)"),
        (None, None) => "unknown key".to_owned(),
    }
}
