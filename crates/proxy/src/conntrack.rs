//! Forgets UDP flows that connection tracking would go on sending to an endpoint that is gone.
//!
//! TCP clients notice a dead peer and connect anew; a UDP client that keeps its port stays in one flow for as long as it
//! sends, so the flow has to be deleted. Spoken as raw ctnetlink messages: dump, match, delete.

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::nftables::{Address, Family, StaleFlow};

const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const HEADER: usize = 16;
/// The header and the `nfgenmsg` behind it.
const PREAMBLE: usize = HEADER + 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;
/// What of an attribute's type is the type.
const TYPE_MASK: u16 = 0x3fff;
const UDP: u8 = 17;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    destination_port: u16,
}

/// Deletes the flows. Blocking; at most one dump for each address family.
pub(crate) fn forget(stale: &[StaleFlow]) -> io::Result<usize> {
    let mut deleted = 0;
    for family in Family::ALL {
        let mine: Vec<&StaleFlow> = stale.iter().filter(|flow| family_of(flow) == family).collect();
        if !mine.is_empty() {
            deleted += forget_family(family, &mine)?;
        }
    }
    Ok(deleted)
}

fn family_of(flow: &StaleFlow) -> Family {
    match flow.frontend.address {
        Address::Ip(ip) => Family::of(ip),
        Address::Node(family) => family,
    }
}

fn forget_family(family: Family, stale: &[&StaleFlow]) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let af = if family == Family::V4 { 2 } else { 10 };
    socket.send(&message(GET, REQUEST | DUMP, af, &[]), 0)?;
    let mut to_delete = Vec::new();
    let mut done = false;
    while !done {
        let (datagram, _) = socket.recv_from_full()?;
        for (kind, body) in messages(&datagram) {
            match kind {
                MESSAGE_DONE => done = true,
                MESSAGE_ERROR => return Err(error_of(body)),
                _ => to_delete.extend(body.get(4..).and_then(|attributes| stale_key(attributes, stale))),
            }
        }
    }
    let mut deleted = 0;
    for key in to_delete {
        socket.send(&message(DELETE, REQUEST | ACK, af, &key), 0)?;
        let (datagram, _) = socket.recv_from_full()?;
        // A flow that has ended by itself in between is as good.
        let gone = messages(&datagram).all(|(_, body)| error_of(body).raw_os_error() == Some(0));
        deleted += usize::from(gone);
    }
    Ok(deleted)
}

/// What names a flow in a delete request, if the flow is stale: its original tuple and zone as they came.
fn stale_key(attributes_of_flow: &[u8], stale: &[&StaleFlow]) -> Option<Vec<u8>> {
    let find = |wanted| attributes(attributes_of_flow).find(|(kind, _, _)| *kind == wanted);
    let (_, original, raw) = find(TUPLE_ORIGINAL)?;
    let (_, reply, _) = find(TUPLE_REPLY)?;
    let (original, reply) = (tuple(original)?, tuple(reply)?);
    if original.protocol != UDP {
        return None;
    }
    let matches = |flow: &&&StaleFlow| {
        let arrives = match flow.frontend.address {
            Address::Ip(ip) => ip == original.destination,
            Address::Node(_) => true,
        };
        let goes_to = flow.endpoint.unwrap_or(original.destination);
        arrives && flow.frontend.port == original.destination_port && goes_to == reply.source
    };
    stale.iter().find(matches)?;
    let mut key = raw.to_vec();
    key.extend(find(ZONE).map(|(_, _, raw)| raw).unwrap_or_default());
    Some(key)
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let find = |bytes, wanted| attributes(bytes).find(|(kind, _, _)| *kind == wanted).map(|(_, value, _)| value);
    let (ip, protocol) = (find(bytes, 1)?, find(bytes, 2)?);
    let address = |v4, v6| {
        let four = find(ip, v4).and_then(|value| Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)));
        four.or_else(|| Some(IpAddr::from(<[u8; 16]>::try_from(find(ip, v6)?).ok()?)))
    };
    Some(Tuple {
        source: address(1, 3)?,
        destination: address(2, 4)?,
        protocol: *find(protocol, 1)?.first()?,
        destination_port: find(protocol, 3).map_or(Some(0), |v| Some(u16::from_be_bytes(v.try_into().ok()?)))?,
    })
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(PREAMBLE + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence and port number: requests are not told apart, each is answered before the next.
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// The types and bodies of a datagram's messages.
fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The types, values and whole texts of attributes.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = rest.get(4..length)?;
        let padded = length.next_multiple_of(4).min(rest.len());
        let raw = &rest[..padded];
        rest = &rest[padded..];
        Some((kind, value, raw))
    })
}

fn error_of(body: &[u8]) -> io::Error {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    io::Error::from_raw_os_error(-code)
}
