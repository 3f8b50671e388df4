//! Header blocks of HTTP/2 (RFC 7541), as far as it takes to find the `:authority` of a request in one.
//!
//! Names and values of earlier blocks are not remembered: what is looked for is written out the first time, and what
//! was mended then is referred to later.

use std::sync::OnceLock;

use tonic::codegen::http::uri::Authority;

/// The place of `:authority` in the table that every connection begins with.
const AUTHORITY_INDEX: usize = 1;

const AUTHORITY: &[u8] = b":authority";

/// The lengths of the codes of all bytes and of the end. The codes follow from them: shorter ones first, and those of one
/// length in the order of their bytes.
#[rustfmt::skip]
const CODE_LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The longest code.
const LONGEST: usize = 30;

/// The codes by their lengths.
struct Codes {
    /// All symbols in the order of their codes.
    symbols: Vec<u16>,
    /// For each length the first code, where its symbol stands, and how many there are.
    of_length: [(u32, usize, usize); LONGEST + 1],
}

fn codes() -> &'static Codes {
    static CODES: OnceLock<Codes> = OnceLock::new();
    CODES.get_or_init(|| {
        let (mut symbols, mut of_length, mut code) = (Vec::new(), [(0, 0, 0); LONGEST + 1], 0);
        for (length, entry) in of_length.iter_mut().enumerate().skip(1) {
            code <<= 1;
            let first = symbols.len();
            let same = (0..=256).zip(CODE_LENGTHS).filter(|(_, of_symbol)| usize::from(*of_symbol) == length);
            symbols.extend(same.map(|(symbol, _)| symbol));
            let count = symbols.len() - first;
            *entry = (code, first, count);
            code += u32::try_from(count).unwrap_or(u32::MAX);
        }
        Codes { symbols, of_length }
    })
}

fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let codes = codes();
    let (mut text, mut code, mut length) = (Vec::new(), 0, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        let (first, place, count) = *codes.of_length.get(length)?;
        let Some(behind) = code.checked_sub(first).map(|behind| behind as usize).filter(|behind| *behind < count)
        else {
            continue;
        };
        text.push(u8::try_from(codes.symbols[place + behind]).ok()?);
        (code, length) = (0, 0);
    }
    // What is left of the last byte is filled with ones.
    (length < 8 && code == (1 << length) - 1).then_some(text)
}

/// A number that begins in the last `prefix` bits of the byte at `at`, and where it ends.
fn integer(block: &[u8], mut at: usize, prefix: u32) -> Option<(usize, usize)> {
    let most = (1 << prefix) - 1;
    let mut value = usize::from(*block.get(at)?) & most;
    at += 1;
    if value < most {
        return Some((value, at));
    }
    for shift in (0..28).step_by(7) {
        let byte = *block.get(at)?;
        at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

fn put_length(length: usize, block: &mut Vec<u8>) {
    const MOST: usize = 0x7f;
    if length < MOST {
        // Checked just now.
        return block.push(length as u8);
    }
    block.push(0x7f);
    let mut rest = length - MOST;
    while rest >= 0x80 {
        block.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// The text at `at`, and where it ends.
fn string(block: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let compressed = *block.get(at)? & 0x80 != 0;
    let (length, begin) = integer(block, at, 7)?;
    let end = begin.checked_add(length)?;
    let bytes = block.get(begin..end)?;
    Some((if compressed { decompress(bytes)? } else { bytes.to_vec() }, end))
}

/// The block with an `:authority` that is one, if that in it is none. Both are of the same length, for both ends of a
/// connection count what they remember.
pub(crate) fn mended(block: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    while let Some(first) = block.get(at) {
        if first & 0x80 != 0 {
            // What both ends remember.
            (_, at) = integer(block, at, 7)?;
            continue;
        }
        if first & 0xe0 == 0x20 {
            // How much they remember.
            (_, at) = integer(block, at, 5)?;
            continue;
        }
        let (index, mut next) = integer(block, at, if first & 0x40 == 0 { 4 } else { 6 })?;
        let mut is_authority = index == AUTHORITY_INDEX;
        if index == 0 {
            let (name, end) = string(block, next)?;
            (is_authority, next) = (name == AUTHORITY, end);
        }
        let (value, end) = string(block, next)?;
        if is_authority {
            if value.is_empty() || Authority::try_from(value.as_slice()).is_ok() {
                return None;
            }
            let mut mended = block[..next].to_vec();
            put_length(value.len(), &mut mended);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
            mended.extend(value.into_iter().map(|byte| if allowed(byte) { byte } else { b'-' }));
            mended.extend_from_slice(&block[end..]);
            return Some(mended);
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decompressed() {
        // The first example of the standard.
        let bytes = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decompress(&bytes).as_deref(), Some(&b"www.example.com"[..]));
        assert_eq!(decompress(&[0x00]), None);
    }

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        for length in [0, 5, 126, 127, 128, 255, 20_000] {
            let mut block = Vec::new();
            put_length(length, &mut block);
            assert_eq!(integer(&block, 0, 7), Some((length, block.len())));
        }
        assert_eq!(integer(&[0xff, 0xff], 0, 7), None);
    }

    /// A method, a new entry for a path, `given`, and something behind it.
    #[track_caller]
    fn check(given: &[u8], expected: Option<&[u8]>) {
        let around = |middle: &[u8]| [b"\x83\x3f\xe1\x1f\x44\x02/x", middle, b"\x86"].concat();
        assert_eq!(mended(&around(given)), expected.map(around));
    }

    #[test]
    fn only_what_is_no_authority_is_mended() {
        check(b"\x41\x09localhost", None);
        check(b"\x41\x05a:123", None);
        check(b"\xbe", None);
        check(b"\x41\x07/a/b.so", Some(b"\x41\x07-a-b.so"));
        check(b"\x01\x07/a/b.so", Some(b"\x01\x07-a-b.so"));
        check(b"\x00\x0a:authority\x08%2Fa%2Fb", Some(b"\x00\x0a:authority\x08-2Fa-2Fb"));
        check(b"\x00\x01a\x02/b", None);
        // The text /run/skiff, compressed.
        let compressed = [0x41, 0x88, 0x62, 0xcb, 0x6a, 0x61, 0x1d, 0x4d, 0x2c, 0xbf];
        check(&compressed, Some(b"\x41\x0a-run-skiff"));
    }
}
