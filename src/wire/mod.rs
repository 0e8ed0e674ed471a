//! The wire: bytes of a connection to verbs, replies to bytes. Pure; `driver` moves the bytes.
//!
//! ```text
//! read(2) -> LineBuffer -> Codec::decode -> Verb -> supervisor -> Reply -> Codec::encode -> write(2)
//! ```
//!
//! A dialect is one variant of [`Codec`] and ends here: the core sees numbered requests and knows neither JSON nor the
//! ids that clients choose. Each connection has one codec, which remembers what its pending requests want echoed.
//!
//! `native` is the manager's side of remuda's own protocol, `ask` the client's side, `event` the object that both the
//! event stream and `--log-format json` are made of. `einhyrningsins`, `firestarter` and `einhorn` are both sides of these
//! protocols, `yaml` and `ruby` how the last one is read and written.

pub mod ask;
pub mod einhorn;
pub mod einhyrningsins;
pub mod event;
pub mod firestarter;
mod line;
pub mod native;
mod ruby;
mod yaml;

use serde::{Deserialize, Serialize};

pub use crate::supervisor::account::{Account, Deed};
pub use crate::supervisor::command::{Reload, Reply, Scale, Verb, Wait};
pub use crate::supervisor::event::GenerationId;
pub use crate::supervisor::event::ProbeKind;
pub use crate::supervisor::snapshot::{
    ExitDetail, FailureStatus, GenerationRole, GenerationStatus, GroupState, GroupStatus, LastExit,
    ProbeStatus, Status, UpgradeResult, UpgradeStatus, VacantSlot, WorkerPhase, WorkerStatus,
};
pub use line::{Line, LineBuffer};

use crate::plan::Dialect;

/// Longest line that a client may send, in bytes without its end.
pub const REQUEST_LINE_MAX: usize = 64 * 1024;

/// Most requests of one connection that wait for their last reply; one more is refused.
pub const PENDING_MAX: usize = 64;

/// What one line of a client means.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Decoded {
    /// A request. Its replies go through [`Codec::encode`] under the same number.
    Request {
        /// Number within the connection, from 1.
        request: u64,
        /// What is asked.
        verb: Verb,
    },
    /// Nothing for the core: these bytes are the whole answer.
    Reply(Vec<u8>),
    /// Nothing at all, such as an empty line.
    Nothing,
}

/// The dialect of one connection, with what it has to remember between request and reply. Plain values only, so that
/// a connection can be handed to another image of the manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Codec {
    /// One JSON object a line (remuda-protocol(7)).
    Native(native::Native),
    /// A JSON object a line, answered by a JSON string.
    Einhyrningsins(einhyrningsins::Einhyrningsins),
    /// One JSON object, answered by another one.
    Firestarter(firestarter::Firestarter),
    /// A YAML document a line.
    Einhorn(Box<einhorn::Einhorn>),
}

impl Codec {
    /// The codec of a new connection to a control socket where this is spoken: that of the manager with this pid, or of one
    /// of its groups.
    pub fn new(dialect: &Dialect, pid: i32, group: Option<&str>) -> Self {
        match dialect {
            Dialect::Native => Codec::native(),
            Dialect::Einhyrningsins => Codec::Einhyrningsins(einhyrningsins::Einhyrningsins::default()),
            Dialect::Firestarter => {
                Codec::Firestarter(firestarter::Firestarter::new(pid, group.map(str::to_owned)))
            }
            Dialect::Einhorn(manner) => Codec::Einhorn(Box::new(einhorn::Einhorn::new(manner, pid))),
        }
    }

    /// The codec of remuda's own protocol.
    pub fn native() -> Self {
        Codec::Native(native::Native::default())
    }

    /// Reads one line, given without its end. Whatever the bytes are, the connection stays usable.
    pub fn decode(&mut self, line: &[u8]) -> Decoded {
        match self {
            Codec::Native(native) => native.decode(line),
            Codec::Einhyrningsins(codec) => codec.decode(line),
            Codec::Firestarter(codec) => codec.decode(line),
            Codec::Einhorn(codec) => codec.decode(line),
        }
    }

    /// Appends the line for a reply to `out`; `last` ends the request. Nothing is appended for a request that is not
    /// pending, since its client has had its last line.
    pub fn encode(&mut self, request: u64, reply: &Reply, last: bool, out: &mut Vec<u8>) {
        match self {
            Codec::Native(native) => native.encode(request, reply, last, out),
            Codec::Einhyrningsins(codec) => codec.encode(request, reply, last, out),
            // It has one request only.
            Codec::Firestarter(codec) => codec.encode(reply, last, out),
            Codec::Einhorn(codec) => codec.encode(request, reply, last, out),
        }
    }

    /// The answer to [`Line::TooLong`], after which the connection is to be closed.
    pub fn too_long(&self) -> Vec<u8> {
        match self {
            Codec::Native(_) => native::too_long(),
            Codec::Einhyrningsins(_) => einhyrningsins::too_long(),
            Codec::Firestarter(_) => Vec::new(),
            Codec::Einhorn(_) => einhorn::too_long(),
        }
    }

    /// What a client is told for which there is no room beside that many others, before its connection is closed.
    pub fn crowded(&self, connections: usize) -> Vec<u8> {
        match self {
            Codec::Native(_) => native::crowded(connections),
            Codec::Einhyrningsins(_) => einhyrningsins::crowded(connections),
            Codec::Firestarter(_) => Vec::new(),
            Codec::Einhorn(_) => einhorn::crowded(connections),
        }
    }

    /// Requests without a last reply.
    pub fn pending(&self) -> usize {
        match self {
            Codec::Native(native) => native.pending(),
            Codec::Einhyrningsins(codec) => codec.pending(),
            Codec::Firestarter(codec) => codec.pending(),
            Codec::Einhorn(codec) => codec.pending(),
        }
    }

    /// By its own rules this connection ends once everything is sent: nothing that comes is read any more.
    pub fn is_over(&self) -> bool {
        match self {
            Codec::Native(native) => native.is_over(),
            Codec::Einhyrningsins(_) => false,
            Codec::Firestarter(codec) => codec.is_over(),
            Codec::Einhorn(codec) => codec.is_over(),
        }
    }

    /// The same codec for a connection that belongs to one worker and is to last as long as that.
    #[must_use]
    pub fn lasting(self) -> Self {
        match self {
            Codec::Native(_) | Codec::Einhyrningsins(_) | Codec::Firestarter(_) => self,
            Codec::Einhorn(codec) => Codec::Einhorn(Box::new(codec.lasting())),
        }
    }
}
