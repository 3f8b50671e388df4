//! How much the edge gives to a client before it knows who that is.

use std::time::Duration;

/// Bounds of connections. Times that upstream bounds have its defaults.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// How many connections there may be at once; beyond it, whoever has the most makes room for others.
    pub connections: usize,
    /// `--http2-max-streams-per-connection`; client-go puts all watches of a process on one connection.
    pub streams: u32,
    /// How long a client may take for its TLS handshake.
    pub handshake: Duration,
    /// How long it may take for the head of a request, the first one of HTTP/2 or any of HTTP/1.1.
    pub head: Duration,
    /// How long a connection of HTTP/2 is kept on which there is no request; at most twice as long.
    pub idle: Duration,
    /// How long a client may read nothing of what waits for it, unless that is passed on from a node or another server.
    pub stalled: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            streams: 1000,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(32),
            idle: Duration::from_secs(90),
            stalled: Duration::from_secs(60),
        }
    }
}
