//! remuda's own command line.
