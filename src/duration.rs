//! Spans of time as people write them. Pure.
