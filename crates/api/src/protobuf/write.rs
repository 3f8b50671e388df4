//! The primitives of the wire, written.

/// The wire type of numbers.
pub(super) const VARINT: u32 = 0;
/// The wire type of eight bytes.
pub(super) const FIXED64: u32 = 1;
/// The wire type of text, bytes and messages.
pub(super) const LENGTH_DELIMITED: u32 = 2;

pub(super) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// How many bytes a number takes.
pub(super) fn varint_length(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

pub(super) fn key(out: &mut Vec<u8>, tag: u32, wire_type: u32) {
    varint(out, u64::from(tag) << 3 | u64::from(wire_type));
}

pub(super) fn bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    key(out, tag, LENGTH_DELIMITED);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn text(out: &mut Vec<u8>, tag: u32, text: &str) {
    bytes(out, tag, text.as_bytes());
}

/// Negative numbers are sent as the two's complement of 64 bits.
pub(super) fn number(out: &mut Vec<u8>, tag: u32, number: i64) {
    key(out, tag, VARINT);
    varint(out, u64::from_le_bytes(number.to_le_bytes()));
}

pub(super) fn double(out: &mut Vec<u8>, tag: u32, number: f64) {
    key(out, tag, FIXED64);
    out.extend_from_slice(&number.to_le_bytes());
}

/// A message whose length is known only after it has been written.
pub(super) fn nested(out: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, tag, LENGTH_DELIMITED);
    // Most messages are short: one byte is kept for the length, and more are made room for when they are needed.
    let at = out.len();
    out.push(0);
    write(out);
    let length = (out.len() - at - 1) as u64;
    match varint_length(length) {
        1 => out[at] = length.to_le_bytes()[0],
        more => {
            let mut encoded = Vec::with_capacity(more);
            varint(&mut encoded, length);
            out.splice(at..=at, encoded);
        }
    }
}
