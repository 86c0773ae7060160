//! What one listener grants to strangers and to its own devices, with the reason for each number.

use std::time::Duration;

use super::pace::{DOWNLOAD, Pace};

/// The limits of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A TLS handshake takes three packets; whoever needs longer holds a place for nothing.
    pub handshake_timeout: Duration,
    /// From the handshake to the first complete request, and for every HTTP/1 head.
    pub header_timeout: Duration,
    /// A connection without a request. Longer than the pools of our clients keep one (60 s).
    pub idle_timeout: Duration,
    /// Bytes of a request's head.
    pub header_bytes_max: u32,
    /// Fields of an HTTP/1 head.
    pub header_fields_max: usize,
    /// Requests at once on one HTTP/2 connection: a Kubernetes client keeps a watch for each kind.
    pub streams_max: u32,
    /// Connections in all; each costs a file descriptor and some 50 KB.
    pub connections_max: usize,
    /// Connections of one IPv4 address or IPv6 /64 network; raise it where clients come through one address.
    pub connections_per_address_max: usize,
    /// Connections of one device: a client needs one, a DP a few while it fetches.
    pub connections_per_device_max: usize,
    /// Bytes of a request body. Routes may set less for themselves.
    pub body_bytes_max: usize,
    /// A body must arrive within this time in all.
    pub body_timeout: Duration,
    /// After [`Limits::header_timeout`], a body must have arrived at this average rate or better.
    pub body_bytes_per_sec_min: u64,
    /// How slowly an answer of known length may be taken: each such answer has a total time that grows with its size. Long
    /// polls wait before their answer begins, and watches have no length.
    pub answer: Pace,
    /// How long requests may go on after the listener was told to stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            header_bytes_max: 16 * 1024,
            header_fields_max: 64,
            streams_max: 100,
            connections_max: 10_000,
            connections_per_address_max: 64,
            connections_per_device_max: 4,
            body_bytes_max: 2 * 1024 * 1024,
            body_timeout: Duration::from_secs(10 * 60),
            body_bytes_per_sec_min: 1024,
            answer: DOWNLOAD,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
