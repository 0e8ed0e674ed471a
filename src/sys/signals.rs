//! Signals of the manager: handlers, self-pipe, saved dispositions.
