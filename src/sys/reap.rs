//! The dead: waitid(2).
