//! Writing log lines without ever blocking.
