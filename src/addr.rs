//! Every way to write a socket address. Pure.
