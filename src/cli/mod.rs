//! The front doors: each command line ends in a plan.

pub mod native;
pub mod options;
