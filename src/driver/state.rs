//! The state of the manager on its way to another image: one JSON document.
//!
//! It holds all that the driver and the machine know, and descriptors by their numbers. Both sides may be of different
//! versions, in either direction: fields are only ever added, a reader passes over those it does not know, and a field
//! that the first format did not have has a default. What cannot be said that way raises [`FORMAT`]. A writer's value
//! that a reader does not know, such as a new kind of anything, makes the reader refuse: it is asked beforehand.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::clients::ClientsState;
use super::generation::GenerationState;
use super::service::Said;
use super::workers::WorkersState;
use crate::plan::{GroupSpec, LogSpec, OwnProcess, Plan};
use crate::signame::Signal;
use crate::supervisor::Supervisor;
use crate::supervisor::event::{GenerationId, GroupId};
use crate::sys::lock::LockedFile;
use crate::sys::reexec::Image;
use crate::sys::signals::{Saved, SignalSet};
use crate::sys::socket::ListenerState;

/// What this image writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// The version of this program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything.
#[derive(Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) format: u32,
    pub(super) version: String,
    /// Of the manager: the same before and after.
    pub(super) pid: i32,
    pub(super) image: Image,
    #[serde(default)]
    pub(super) own: OwnProcess,
    /// All descriptors that are kept.
    pub(super) descriptors: Vec<i32>,
    pub(super) signals: SignalsState,
    pub(super) core: Supervisor,
    pub(super) groups: Vec<GroupState>,
    /// Listeners that no group has by its plan any more, only by older generations.
    #[serde(default)]
    pub(super) listeners: Vec<ListenerState>,
    /// The plan in force, without its groups.
    #[serde(default)]
    pub(super) plan: Option<Plan>,
    pub(super) clients: ClientsState,
    pub(super) workers: WorkersState,
    #[serde(default)]
    pub(super) pidfile: Option<LockedFile>,
    pub(super) log: LogSpec,
    /// What our own manager was told.
    #[serde(default)]
    pub(super) service: Said,
    /// Lines of workers that the log had no room for yet.
    #[serde(default, with = "crate::octets")]
    pub(super) unwritten: Vec<u8>,
    /// Lines that the system's log had no room for, and that no line has told of.
    #[serde(default)]
    pub(super) untold: u64,
}

/// Signals of the manager.
#[derive(Serialize, Deserialize)]
pub(super) struct SignalsState {
    /// What the first image was started with.
    pub(super) saved: Saved,
    pub(super) handled: SignalSet,
    /// Received by the image before and not acted upon.
    #[serde(default)]
    pub(super) received: Vec<Signal>,
    /// Standard input was a terminal at the first start.
    #[serde(default)]
    pub(super) terminal: bool,
}

/// A group as the driver holds it.
#[derive(Serialize, Deserialize)]
pub(super) struct GroupState {
    /// The position in the list if absent.
    #[serde(default)]
    pub(super) id: Option<GroupId>,
    pub(super) spec: GroupSpec,
    pub(super) listeners: Vec<ListenerState>,
    #[serde(default, with = "crate::octets")]
    pub(super) control_path: Option<OsString>,
    pub(super) generations: Vec<(GenerationId, GenerationState)>,
    #[serde(default)]
    pub(super) removed: bool,
}

/// The fields by which a document is known before all of it is read.
#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    version: String,
    #[serde(default)]
    pid: i32,
}

impl Document {
    /// Reads a document, or says why it cannot be read.
    pub(super) fn read(bytes: &[u8]) -> Result<Document, String> {
        let head: Head =
            serde_json::from_slice(bytes).map_err(|error| format!("this is no state of remuda: {error}"))?;
        if head.format > FORMAT {
            let Head { format, version, .. } = head;
            return Err(format!(
                "the state of remuda {version} has format {format}; remuda {VERSION} reads up to format {FORMAT}"
            ));
        }
        serde_json::from_slice(bytes).map_err(|error| {
            format!("remuda {VERSION} cannot read the state of remuda {}: {error}", head.version)
        })
    }

    /// The pid in a document, whether or not the rest can be read.
    pub(super) fn pid_in(bytes: &[u8]) -> Option<i32> {
        serde_json::from_slice::<Head>(bytes).ok().map(|head| head.pid)
    }

    /// The bytes of it.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| format!("cannot write the state: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Argv0;

    /// A state as the first version that could be re-executed wrote it, in the midst of an upgrade. Every later version
    /// has to read it.
    const FIRST: &str = include_str!("../../tests/golden/state/format-1.json");

    /// The same in the manner of einhorn: clients that wait for upgrades, one with half a line, connections of workers.
    const EINHORN: &str = include_str!("../../tests/golden/state/einhorn-1.json");

    fn first() -> Value {
        serde_json::from_str(FIRST).unwrap()
    }

    /// All that were recorded.
    fn recorded() -> [Value; 2] {
        [FIRST, EINHORN].map(|text| serde_json::from_str(text).unwrap())
    }

    fn read(state: &Value) -> Result<Document, String> {
        Document::read(state.to_string().as_bytes())
    }

    fn refusal(state: &Value) -> String {
        read(state).err().expect("a refusal")
    }

    /// Puts a field that nobody knows into every object that has a fixed set of fields, and counts them. Others are maps,
    /// and enums, whose one key is the name of the variant; a span of time is serde's own.
    fn add_unknown(value: &mut Value) -> usize {
        let fixed = |name: &String| name.starts_with(|first: char| first.is_ascii_lowercase());
        let inside = match value {
            Value::Object(fields) => fields.values_mut().map(add_unknown).sum(),
            Value::Array(items) => items.iter_mut().map(add_unknown).sum(),
            _ => 0,
        };
        match value {
            Value::Object(fields)
                if fields.len() > 1 && fields.keys().all(fixed) && !fields.contains_key("secs") =>
            {
                fields.insert("from_a_later_version".into(), json!({"nested": [1, null]}));
                inside + 1
            }
            _ => inside,
        }
    }

    // pitfall 3
    #[test]
    fn a_state_of_the_first_format_is_read() {
        let document = read(&first()).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((document.format, document.pid), (1, 3857));
        assert_eq!(document.image.environment.len(), 2);
        assert_eq!(document.groups[0].spec.launch.program, "/bin/sleep");
        assert_eq!(document.groups[0].listeners.len(), 2);
        assert_eq!(document.groups[0].generations.len(), 2);
        assert_eq!(document.workers.pids(), [3863, 3879]);
        assert!(document.pidfile.is_some());
        assert_eq!(Document::pid_in(FIRST.as_bytes()), Some(3857));
    }

    #[test]
    fn a_state_in_the_manner_of_einhorn_is_read() {
        let document = Document::read(EINHORN.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
        let spec = &document.groups[0].spec;
        assert!(spec.launch.handoff.control_descriptor && spec.launch.argv0 == Argv0::Found);
        assert_eq!(
            (spec.policy.max_extra, spec.policy.stop_timeout),
            (Some(1), Some(Duration::from_secs(20)))
        );
        assert_eq!(document.own.reexec.command, ["/run/web/wrapper", "a b"]);
        assert_eq!((document.own.nice, document.workers.pids().len()), (Some(1), 3));
        let clients = serde_json::to_value(&document.clients).unwrap();
        let of_all = |place: &str| -> Vec<Value> {
            let clients = clients["table"].as_array().unwrap().iter();
            clients.filter_map(|client| client.pointer(place)).cloned().collect()
        };
        assert!(of_all("/input/half_line").contains(&json!("---%0Acommand: qui")));
        let ids = of_all("/codec/Einhorn/pending/0/style/id");
        assert_eq!(ids, [json!(["u", false]), json!(["1.5", true])]);
        assert_eq!(of_all("/owner/Worker").len(), 3);
    }

    #[test]
    fn nothing_of_a_state_is_lost_on_the_way() {
        for state in recorded() {
            let written: Value = serde_json::from_slice(&read(&state).unwrap().bytes().unwrap()).unwrap();
            let missing = missing(&state, &written, "");
            assert!(missing.is_empty(), "{missing:?}");
        }
    }

    /// Where the second value does not have what the first one has; it may have more.
    fn missing(old: &Value, new: &Value, place: &str) -> Vec<String> {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => old
                .iter()
                .flat_map(|(name, old)| {
                    missing(old, new.get(name).unwrap_or(&Value::Null), &format!("{place}/{name}"))
                })
                .collect(),
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() => (0..)
                .zip(old.iter().zip(new))
                .flat_map(|(at, (old, new)): (u32, _)| missing(old, new, &format!("{place}/{at}")))
                .collect(),
            (old, new) if old == new => Vec::new(),
            (old, new) => vec![format!("{place}: {old} became {new}")],
        }
    }

    // pitfall 3
    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        for mut later in recorded() {
            assert!(add_unknown(&mut later) > 30);
            later["version"] = json!("9.9.9");
            read(&later).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_by_name() {
        let mut later = first();
        (later["format"], later["version"]) = (json!(2), json!("9.9.9"));
        let expected = "the state of remuda 9.9.9 has format 2; remuda ";
        assert!(refusal(&later).starts_with(expected), "{}", refusal(&later));
        let mut strange = first();
        strange["core"]["policy"]["signals"]["10"] = json!("Dance");
        assert!(refusal(&strange).contains("cannot read the state of remuda 0.1.0: unknown variant `Dance`"));
        assert!(refusal(&json!([])).starts_with("this is no state of remuda"));
    }
}
