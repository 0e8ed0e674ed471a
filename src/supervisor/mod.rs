//! The machine.
pub mod command;
pub mod event;
pub mod note;
pub mod snapshot;
