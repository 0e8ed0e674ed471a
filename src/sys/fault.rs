//! Faults on request, for tests.
