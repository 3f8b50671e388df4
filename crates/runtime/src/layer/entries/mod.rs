//! The entries of a tar archive that nobody vouches for: in the formats of ustar, GNU and PAX, within bounds.
//!
//! The `tar` crate, which writes archives elsewhere, would read a name of any length into memory and expand a sparse
//! file of any size; what is asked here is bounded, and holes stay holes.

mod extensions;
mod sparse;

use std::ffi::OsString;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::{EntryType, Header};

use extensions::Extensions;
pub(super) use sparse::Segment;

/// The size of everything in an archive.
const BLOCK: usize = 512;

/// Where a header has the size of the content.
const SIZE: Range<usize> = 124..136;

/// How much names and extended attributes of one entry may take in all.
const MAX_EXTENSION: u64 = 1 << 20;

/// An entry, whose content is what the [`Entries`] read next.
#[derive(Debug)]
pub(super) struct Item {
    pub path: PathBuf,
    /// The target of a link.
    pub link: Option<PathBuf>,
    pub kind: EntryType,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Names without the prefix that archives give them.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// The size of a file with its holes.
    pub size: u64,
    /// Where a sparse file has content; the pieces follow each other in the archive.
    pub segments: Option<Vec<Segment>>,
}

/// Reads an archive, entry by entry.
pub(super) struct Entries<R> {
    source: R,
    /// What is left of the current entry's content.
    remaining: u64,
    /// What follows the content up to the end of its last block.
    padding: u64,
    /// How much was said about the next entry.
    said: u64,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, remaining: 0, padding: 0, said: 0 }
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        let mut extensions = Extensions::default();
        self.said = 0;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            self.content_of(field(&header, SIZE, header.entry_size())?);
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.name()?),
                EntryType::GNULongLink => extensions.link = Some(self.name()?),
                EntryType::XHeader => {
                    let records = self.extension()?;
                    extensions.read_pax(&records)?;
                }
                // What it says is about all that follows; nobody who writes images says anything there.
                EntryType::XGlobalHeader => {}
                _ => return self.item(&header, extensions).map(Some),
            }
        }
    }

    fn content_of(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Leaves what is left of the current entry behind.
    fn skip(&mut self) -> io::Result<()> {
        let left = self.remaining.checked_add(self.padding).ok_or_else(|| invalid("an entry has no end"))?;
        let skipped = io::copy(&mut self.source.by_ref().take(left), &mut io::sink())?;
        (self.remaining, self.padding) = (0, 0);
        if skipped < left { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// The next header; `None` at the end, which is a block of zeros or that of the stream.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum counts itself as blanks; some archivers of the past counted signed bytes.
        let own = |at: usize| (148..156).contains(&at);
        let bytes = header.as_bytes().iter().enumerate();
        let unsigned: u32 = bytes.clone().map(|(at, byte)| if own(at) { 32 } else { u32::from(*byte) }).sum();
        let signed: i32 = bytes.map(|(at, byte)| if own(at) { 32 } else { i32::from(byte.cast_signed()) }).sum();
        let said = header.cksum()?;
        if said != unsigned && i64::from(said) != i64::from(signed) {
            return Err(invalid("a header has the wrong checksum"));
        }
        Ok(Some(header))
    }

    /// Fills a block; `false` at the end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(true)
    }

    /// The whole content of an entry that is about the next one.
    fn extension(&mut self) -> io::Result<Vec<u8>> {
        self.said = self.said.saturating_add(self.remaining);
        if self.said > MAX_EXTENSION {
            return Err(invalid("names and attributes of an entry are longer than 1 MiB"));
        }
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }

    /// A long name, which may end with a zero byte.
    fn name(&mut self) -> io::Result<Vec<u8>> {
        let mut name = self.extension()?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn item(&mut self, header: &Header, extensions: Extensions) -> io::Result<Item> {
        let kind = header.entry_type();
        let has_content = !matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        let stored = extensions.size.map_or_else(|| field(header, SIZE, header.entry_size()), Ok)?;
        // Links and the like have no content, whatever their header says of a size.
        self.content_of(if has_content { stored } else { 0 });
        let (size, segments) = self.layout(header, &extensions, stored)?;
        let sparse_name = extensions.sparse.name;
        let path = sparse_name.or(extensions.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let seconds = || {
            let time = field(header, 136..148, header.mtime())?;
            Ok::<_, io::Error>((i64::try_from(time).unwrap_or(i64::MAX), 0))
        };
        Ok(Item {
            // A file whose name ends with a slash was a directory before there were kinds.
            kind: if kind.is_file() && path.ends_with(b"/") { EntryType::Directory } else { kind },
            path: OsString::from_vec(path).into(),
            link: link.map(|link| OsString::from_vec(link).into()),
            mode: field(header, 100..108, header.mode())?,
            uid: extensions.uid.map_or_else(|| field(header, 108..116, header.uid()), Ok)?,
            gid: extensions.gid.map_or_else(|| field(header, 116..124, header.gid()), Ok)?,
            mtime: extensions.mtime.map_or_else(seconds, Ok)?,
            device: (
                header.device_major().ok().flatten().unwrap_or_default(),
                header.device_minor().ok().flatten().unwrap_or_default(),
            ),
            xattrs: extensions.xattrs,
            size,
            segments,
        })
    }

    /// The size of a file with its holes, and where it has content if it has holes.
    fn layout(
        &mut self,
        header: &Header,
        extensions: &Extensions,
        stored: u64,
    ) -> io::Result<(u64, Option<Vec<Segment>>)> {
        let (size, segments) = if header.entry_type() == EntryType::GNUSparse {
            let gnu = header.as_gnu().ok_or_else(|| invalid("a sparse file has no map"))?;
            (gnu.real_size()?, sparse::old_map(gnu, |block| self.block(block))?)
        } else if extensions.sparse.in_content {
            let map = sparse::content_map(self)?;
            (extensions.sparse.size.unwrap_or(stored), map)
        } else if let Some(map) = &extensions.sparse.map {
            (extensions.sparse.size.unwrap_or(stored), map.clone())
        } else {
            return Ok((stored, None));
        };
        sparse::check(&segments, size, self.remaining)?;
        Ok((size, Some(segments)))
    }
}

impl<R: Read> Read for Entries<R> {
    /// Reads the content of the current entry.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..wanted])?;
        self.remaining -= read as u64;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
    }
}

/// A number of a header; one that is blank is none, which is zero.
fn field<T: Default>(header: &Header, place: Range<usize>, read: io::Result<T>) -> io::Result<T> {
    let blank = header.as_bytes()[place].iter().all(|byte| matches!(byte, 0 | b' '));
    if blank { Ok(T::default()) } else { read }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests;
