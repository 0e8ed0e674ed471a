//! remuda's own protocol: one JSON object a line (remuda-protocol(7)).
