//! The asking side: the verbs that talk to a running manager.
