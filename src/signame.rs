//! Signals and their names: `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+2`. Pure.

/// A signal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(pub i32);

impl Signal {
    /// Asks a process to end.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// Ends a process without asking.
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// Ctrl-C.
    pub const INT: Signal = Signal(libc::SIGINT);
    /// Ctrl-\.
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    /// The terminal is gone; by custom: read your configuration again.
    pub const HUP: Signal = Signal(libc::SIGHUP);
    /// By custom of log rotation: open log files again.
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    /// Without a fixed meaning.
    pub const USR2: Signal = Signal(libc::SIGUSR2);
}
