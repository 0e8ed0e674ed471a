//! Waiting for descriptors: poll(2).
