//! The front doors: each command line ends in a plan, in something to ask, or in something to print.

mod given;
pub mod help;
pub mod native;
pub mod options;
pub mod table;
mod values;
