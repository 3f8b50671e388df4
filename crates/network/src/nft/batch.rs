//! Changes of map elements, spoken to the kernel directly.
//!
//! Starting `nft` costs milliseconds, and its end waits for the kernel to free what was deleted. A change of elements
//! alone needs neither: it is a batch of netlink messages on a socket that stays open.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use super::NftError;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENT: u16 = 0x0a0c;
const DELETE_ELEMENT: u16 = 0x0a0e;
const SUBSYSTEM: u16 = 10;
const INET: u8 = 1;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const NESTED: u16 = 0x8000;
const GOTO: i32 = -4;
const DROP: i32 = 0;

/// More than this does not fit into a socket's send buffer of the usual size.
const MAX_BYTES: usize = 128 * 1024;

/// What an element of a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Bytes, each part of a concatenation padded to four.
    Value(Vec<u8>),
    /// A jump without return.
    Goto(String),
    /// The end of a packet.
    Drop,
}

/// Changes of elements of one table of the `inet` family, applied together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    table: String,
    messages: u32,
}

impl Batch {
    /// A batch without changes.
    pub fn new(table: &str) -> Self {
        let mut batch = Self { bytes: Vec::new(), table: table.to_owned(), messages: 0 };
        batch.message(BATCH_BEGIN, 0, &[]);
        batch
    }

    /// Adds an element to a map, or to a set where `data` is none.
    pub fn add(&mut self, map: &str, key: &[u8], data: Option<&Data>) {
        self.element(NEW_ELEMENT, CREATE, map, key, data);
    }

    /// Deletes an element.
    pub fn delete(&mut self, map: &str, key: &[u8]) {
        self.element(DELETE_ELEMENT, 0, map, key, None);
    }

    /// Whether there is no change in it.
    pub fn is_empty(&self) -> bool {
        self.messages == 1
    }

    /// Whether it is small enough to be sent at once.
    pub fn fits(&self) -> bool {
        self.bytes.len() <= MAX_BYTES
    }

    fn element(&mut self, kind: u16, flags: u16, map: &str, key: &[u8], data: Option<&Data>) {
        let mut element = attribute(1 | NESTED, &attribute(1, key));
        if let Some(data) = data {
            let data = match data {
                Data::Value(bytes) => attribute(1, bytes),
                Data::Goto(chain) => {
                    let verdict = [attribute(1, &GOTO.to_be_bytes()), attribute(2, &text(chain))].concat();
                    attribute(2 | NESTED, &verdict)
                }
                Data::Drop => attribute(2 | NESTED, &attribute(1, &DROP.to_be_bytes())),
            };
            element.extend(attribute(2 | NESTED, &data));
        }
        let elements = attribute(3 | NESTED, &attribute(1 | NESTED, &element));
        let body = [attribute(1, &text(&self.table)), attribute(2, &text(map)), elements].concat();
        self.message(kind, flags, &body);
    }

    /// Appends a message. Its sequence number is its place in the batch.
    fn message(&mut self, kind: u16, flags: u16, body: &[u8]) {
        let (family, resource) = if matches!(kind, BATCH_BEGIN | BATCH_END) { (0, SUBSYSTEM) } else { (INET, 0) };
        let length = u32::try_from(20 + body.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(body);
        self.messages += 1;
    }

    /// The bytes to send. The last change asks for an acknowledgement, which the kernel sends when all is decided.
    fn finish(mut self) -> (Vec<u8>, u32) {
        let last = self.messages - 1;
        let mut at = 0;
        while let Some(&[a, b, c, d]) = self.bytes.get(at..at + 4) {
            let sequence = self.bytes.get(at + 8..at + 12);
            if sequence == Some(&last.to_ne_bytes()) {
                self.bytes[at + 6] |= ACK.to_ne_bytes()[0];
                self.bytes[at + 7] |= ACK.to_ne_bytes()[1];
            }
            at += u32::from_ne_bytes([a, b, c, d]) as usize;
        }
        self.message(BATCH_END, 0, &[]);
        (self.bytes, last)
    }
}

/// The socket that batches go through. It belongs to the network namespace of the thread that opened it. Closing it
/// takes milliseconds.
#[derive(Debug)]
pub struct BatchSocket(Socket);

impl BatchSocket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, NftError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(Self(socket))
        };
        open().map_err(NftError::Socket)
    }

    /// Applies a batch. Blocking, well below a millisecond.
    pub fn apply(&self, batch: Batch) -> Result<(), NftError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, last) = batch.finish();
        self.0.send(&bytes, 0).map_err(NftError::Socket)?;
        let mut refused: Option<i32> = None;
        loop {
            let (datagram, _) = self.0.recv_from_full().map_err(NftError::Socket)?;
            let mut rest = datagram.as_slice();
            while let Some(header) = rest.get(..20) {
                let number =
                    |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                let code = i32::from_ne_bytes([header[16], header[17], header[18], header[19]]);
                if code != 0 {
                    refused.get_or_insert(code);
                }
                if number(8) == last {
                    return match refused {
                        None => Ok(()),
                        Some(code) => Err(NftError::Kernel(io::Error::from_raw_os_error(-code))),
                    };
                }
                rest = rest.get((number(0) as usize).next_multiple_of(4).max(20)..).unwrap_or_default();
            }
        }
    }
}

pub(super) fn is_out_of_step(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOENT | Errno::EEXIST))
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
