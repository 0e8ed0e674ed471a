//! The only place that talks to the system, and the only one with `unsafe`.

pub mod clock;
pub mod control;
pub mod creds;
pub mod fault;
pub mod fdmap;
pub mod lock;
pub mod log;
pub mod notify;
pub mod pidfile;
pub mod poll;
pub mod program;
pub mod reap;
pub mod signals;
pub mod socket;
pub mod spawn;
