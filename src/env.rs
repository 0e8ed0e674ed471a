//! Hand-off conventions: what a worker finds in its environment. Pure.
