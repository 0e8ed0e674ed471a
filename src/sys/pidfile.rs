//! The pid file.
