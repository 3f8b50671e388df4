//! Archives come plain, gzipped or as zstd; the first bytes tell.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The plain content of a stream.
pub(crate) enum Decompressed<R: Read> {
    /// It was not compressed.
    Plain(BufReader<R>),
    /// It was gzipped.
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    /// It was compressed with zstd.
    Zstd(zstd::Decoder<'static, BufReader<R>>),
}

impl<R: Read> Decompressed<R> {
    /// Looks at the first bytes of `source`.
    pub(crate) fn new(source: R) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(64 * 1024, source);
        let start = source.fill_buf()?;
        if start.starts_with(&GZIP) {
            Ok(Self::Gzip(Box::new(MultiGzDecoder::new(source))))
        } else if start.starts_with(&ZSTD) {
            zstd::Decoder::with_buffer(source).map(Self::Zstd)
        } else {
            Ok(Self::Plain(source))
        }
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(source) => source.read(buffer),
            Self::Zstd(source) => source.read(buffer),
        }
    }
}
