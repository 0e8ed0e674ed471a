//! Users, groups and the credentials of a peer.
