//! The control socket and its directory.
