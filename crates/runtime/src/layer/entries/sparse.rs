//! Files with holes: where the content goes that an archive has of them.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

use super::extensions::number;
use super::{BLOCK, invalid};

/// The most pieces that a sparse file may have.
const MAX_SEGMENTS: usize = 1 << 16;

/// A piece of a file that is no hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layer) struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// The map in headers of GNU's own format, which may go on in further blocks.
pub(super) fn old_map(
    header: &GnuHeader,
    mut next: impl FnMut(&mut [u8; BLOCK]) -> io::Result<bool>,
) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    add(&mut segments, &header.sparse)?;
    let mut more = header.is_extended();
    while more {
        let mut extended = GnuExtSparseHeader::new();
        if !next(extended.as_mut_bytes())? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        add(&mut segments, extended.sparse())?;
        more = extended.is_extended();
    }
    Ok(segments)
}

fn add(segments: &mut Vec<Segment>, entries: &[GnuSparseHeader]) -> io::Result<()> {
    for entry in entries.iter().filter(|entry| !entry.is_empty()) {
        segments.push(Segment { offset: entry.offset()?, length: entry.length()? });
    }
    bounded(segments.len())
}

fn bounded(segments: usize) -> io::Result<()> {
    if segments > MAX_SEGMENTS { Err(invalid("a sparse file has too many pieces")) } else { Ok(()) }
}

/// The map at the beginning of the content: how many pieces, then offset and length of each, a line for each number.
pub(super) fn content_map(content: &mut impl Read) -> io::Result<Vec<Segment>> {
    let mut lines = Lines { content, block: [0; BLOCK], at: BLOCK };
    let count = usize::try_from(lines.number()?).unwrap_or(usize::MAX);
    bounded(count)?;
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        segments.push(Segment { offset: lines.number()?, length: lines.number()? });
    }
    Ok(segments)
}

/// Numbers, each on a line, in whole blocks.
struct Lines<'a, R> {
    content: &'a mut R,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.content.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return number(&digits).ok_or_else(|| invalid("the map of a sparse file cannot be read"));
            }
            digits.push(byte);
            if digits.len() > 20 {
                return Err(invalid("the map of a sparse file cannot be read"));
            }
        }
    }
}

/// Whether the pieces follow each other within a file of this size, and the archive has them all.
pub(super) fn check(segments: &[Segment], size: u64, stored: u64) -> io::Result<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for segment in segments {
        let next = segment.offset.checked_add(segment.length).filter(|next| *next <= size && segment.offset >= end);
        end = next.ok_or_else(|| invalid("the pieces of a sparse file do not fit together"))?;
        sum += segment.length;
    }
    if sum == stored { Ok(()) } else { Err(invalid("the archive has not what the map of a sparse file says")) }
}
