//! NOTIFY_SOCKET: sd_notify(3), the receiving side.
