//! SPDY/3.1: several streams of bytes over one connection, as client-go speaks it for exec, attach and port-forward.
//!
//! [`frame`] and [`headers`] are the wire format without any I/O. [`Connection`] runs it over a byte stream: each end
//! gets one, which accepts or opens [`Stream`]s, and a [`Driver`], which its owner must run beside them. Nothing is
//! spawned here.
//!
//! What a peer can make this end hold is bounded: control frames by [`frame::MAX_CONTROL_FRAME`], headers by
//! [`headers::MAX_BLOCK`], the number of streams by [`MAX_STREAMS`], what was received and not yet read by a limit for
//! each stream and one for all, above which nothing more is read from the connection.
//!
//! Reference: the third draft of the SPDY protocol, with the window of the whole connection that 3.1 added.

mod connection;
mod dictionary;
pub mod frame;
pub mod headers;
mod session;
mod stream;
pub mod tunnel;

pub use connection::{Connection, ConnectionError, Driver, Incoming, Role};
pub use headers::Headers;
pub use session::MAX_STREAMS;
pub use stream::Stream;
