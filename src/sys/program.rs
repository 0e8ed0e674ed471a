//! Finding a program, its directory and what stands in the way of running it.
