//! flock(2): who owns an instance name.
