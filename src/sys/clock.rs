//! The monotonic clock: clock_gettime(2).
