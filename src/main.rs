//! The binary: everything is in the library, so that tests reach it.

use std::process::ExitCode;

// Before the runtime begins: as PID 1 a signal without a handler is lost, else it ends us.
remuda::hold_signals_before_main!();

fn main() -> ExitCode {
    remuda::run(std::env::args_os())
}
