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
use super::workers::WorkersState;
use crate::plan::{GroupSpec, LogSpec};
use crate::signame::Signal;
use crate::supervisor::Supervisor;
use crate::supervisor::event::GenerationId;
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
    /// All descriptors that are kept.
    pub(super) descriptors: Vec<i32>,
    pub(super) signals: SignalsState,
    pub(super) core: Supervisor,
    pub(super) groups: Vec<GroupState>,
    pub(super) clients: ClientsState,
    pub(super) workers: WorkersState,
    #[serde(default)]
    pub(super) pidfile: Option<LockedFile>,
    pub(super) log: LogSpec,
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
}

/// A group as the driver holds it.
#[derive(Serialize, Deserialize)]
pub(super) struct GroupState {
    pub(super) spec: GroupSpec,
    pub(super) listeners: Vec<ListenerState>,
    #[serde(default, with = "crate::octets")]
    pub(super) control_path: Option<OsString>,
    pub(super) generations: Vec<(GenerationId, GenerationState)>,
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
