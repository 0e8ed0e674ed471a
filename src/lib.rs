//! remuda keeps N copies of a program alive on listening sockets that it owns, and replaces them without refusing or
//! dropping a connection.
//!
//! # Layers
//!
//! ```text
//! argv --> cli --> Plan --> supervisor --> driver --> sys
//!                  (what)   (decides,      (poll,     (the only
//!                            pure)          performs)  unsafe)
//! control bytes --> wire --> Verb --> supervisor --> Reply --> wire --> bytes
//! ```
//!
//! Imports go one way: `cli` uses the plan layer; `supervisor` uses plan types; `wire` uses the supervisor's verbs and
//! replies; `sys` uses plan types; `driver` uses `supervisor`, `wire` and `sys`; `client` uses `wire` and `sys`; only this
//! file joins `cli`, `driver` and `client`. `tests/layers.rs` fails on any other edge.

pub mod addr;
pub mod ask;
pub mod cli;
pub mod client;
pub mod driver;
pub mod duration;
pub mod env;
pub mod error;
pub mod nearest;
pub mod plan;
pub mod process;
pub mod signame;
pub mod supervisor;
pub mod sys;
pub mod wire;
