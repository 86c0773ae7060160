//! The distribution point: holds published package content and serves it to clients.
