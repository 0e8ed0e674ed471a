//! The poll loop: readiness becomes events, actions become system calls.
