//! One request at a time over a netlink socket.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;

/// A request that the kernel refused, or that did not reach it.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {error}")]
pub struct NetlinkError {
    /// What was asked for, with the name of the link, address or route.
    pub operation: String,
    /// The kernel's answer.
    #[source]
    pub error: io::Error,
}

impl NetlinkError {
    /// Whether the kernel answered with this error number.
    pub fn is(&self, errno: nix::errno::Errno) -> bool {
        self.error.raw_os_error() == Some(errno as i32)
    }
}

/// A route-netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut inner = netlink_sys::Socket::new(NETLINK_ROUTE)?;
            inner.bind_auto()?;
            inner.connect(&SocketAddr::new(0, 0))?;
            Ok(Self { inner, sequence: 0 })
        };
        open().map_err(|error| NetlinkError { operation: "open a netlink socket".to_owned(), error })
    }

    /// Sends a request and waits for its acknowledgement.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: impl FnOnce() -> String,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, NLM_F_ACK | flags)
            .map(drop)
            .map_err(|error| NetlinkError { operation: operation(), error })
    }

    /// Sends a request and returns what the kernel answers before its acknowledgement.
    pub(super) fn get(
        &mut self,
        message: RouteNetlinkMessage,
        operation: impl FnOnce() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.exchange(message, NLM_F_ACK).map_err(|error| NetlinkError { operation: operation(), error })
    }

    /// Asks for all objects of a type.
    pub(super) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        operation: &str,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.exchange(message, NLM_F_DUMP).map_err(|error| NetlinkError { operation: operation.to_owned(), error })
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut buffer = vec![0; packet.buffer_len()];
        packet.serialize(&mut buffer);
        self.inner.send(&buffer, 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.inner.recv_from_full()?;
            if self.read(&datagram, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Reads the messages of one datagram; true when the answer is complete.
    fn read(&self, datagram: &[u8], answers: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
        let mut rest = datagram;
        while rest.len() >= 16 {
            let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = (parsed.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length.max(16)..];
            if parsed.header.sequence_number != self.sequence {
                continue; // The answer to a request whose reader gave up.
            }
            match parsed.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                _ => {}
            }
        }
        Ok(false)
    }
}
