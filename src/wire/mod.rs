//! Lines in, lines out.

pub mod native;
