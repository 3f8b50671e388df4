//! Names and values of a frame, and their compression, which is one zlib stream a direction for a whole connection.

use bytes::{Buf, BufMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::dictionary;

/// How large a header block may be when it is unpacked.
pub const MAX_BLOCK: usize = 64 * 1024;

/// Why a header block cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeadersError {
    /// The compressed form is broken.
    #[error("header block cannot be decompressed")]
    Compression,
    /// It unpacks to more than [`MAX_BLOCK`].
    #[error("header block has more than {MAX_BLOCK} bytes")]
    TooLarge,
    /// Lengths and content do not fit.
    #[error("header block is malformed: {0}")]
    Malformed(&'static str),
}

/// Headers in their order. Names are lower case; a name with several values occurs once for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first value of a name, in whatever case it is asked for.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn to_block(&self) -> Vec<u8> {
        // The values of one name stand together, a zero byte between them.
        let mut grouped: Vec<(&str, String)> = Vec::new();
        for (name, value) in self.iter() {
            match grouped.iter_mut().find(|(key, _)| *key == name) {
                Some((_, values)) => {
                    values.push('\0');
                    values.push_str(value);
                }
                None => grouped.push((name, value.to_owned())),
            }
        }
        let mut block = Vec::new();
        put_length(&mut block, grouped.len());
        for (name, values) in grouped {
            for text in [name, &values] {
                put_length(&mut block, text.len());
                block.put_slice(text.as_bytes());
            }
        }
        block
    }

    fn from_block(mut block: &[u8]) -> Result<Self, HeadersError> {
        let count = take_length(&mut block)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = take_text(&mut block)?.to_ascii_lowercase();
            if name.is_empty() {
                return Err(HeadersError::Malformed("a name is empty"));
            }
            let values = take_text(&mut block)?;
            headers.extend(values.split('\0').map(|value| (name.clone(), value.to_owned())));
        }
        if block.is_empty() { Ok(Self(headers)) } else { Err(HeadersError::Malformed("bytes are left over")) }
    }
}

fn put_length(block: &mut Vec<u8>, length: usize) {
    // Our own headers are a few words.
    block.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

fn take_length(block: &mut &[u8]) -> Result<usize, HeadersError> {
    let length = block.try_get_u32().map_err(|_| HeadersError::Malformed("a length is missing"))?;
    usize::try_from(length).map_err(|_| HeadersError::TooLarge)
}

fn take_text(block: &mut &[u8]) -> Result<String, HeadersError> {
    let length = take_length(block)?;
    let text = block.split_off(..length).ok_or(HeadersError::Malformed("a text is cut off"))?;
    String::from_utf8(text.to_vec()).map_err(|_| HeadersError::Malformed("a text is not UTF-8"))
}

/// Packs the header blocks of one direction.
#[derive(Debug)]
pub struct Compressor(Compress);

impl Default for Compressor {
    fn default() -> Self {
        let mut stream = Compress::new(Compression::best(), true);
        stream.set_dictionary(&dictionary::bytes()).expect("a new stream takes a dictionary");
        Self(stream)
    }
}

impl Compressor {
    /// The packed form of `headers`.
    pub fn compress(&mut self, headers: &Headers) -> Vec<u8> {
        let block = headers.to_block();
        let mut packed = Vec::with_capacity(block.len() + 64);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(block.len());
            let flushed = self.0.compress_vec(&block[done..], &mut packed, FlushCompress::Sync);
            flushed.expect("only a misused stream fails");
            let all = usize::try_from(self.0.total_in() - start).is_ok_and(|done| done == block.len());
            // Room that is left says that nothing waits to be written.
            if all && packed.len() < packed.capacity() {
                return packed;
            }
            packed.reserve(packed.capacity());
        }
    }
}

/// Unpacks the header blocks of one direction.
#[derive(Debug)]
pub struct Decompressor(Decompress);

impl Default for Decompressor {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Decompressor {
    /// The headers in a packed block.
    pub fn decompress(&mut self, packed: &[u8]) -> Result<Headers, HeadersError> {
        let mut block = Vec::with_capacity(1024);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(packed.len());
            let before = (done, block.len());
            match self.0.decompress_vec(&packed[done..], &mut block, FlushDecompress::Sync) {
                Ok(_) => {}
                Err(err) if err.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary::bytes()).map_err(|_| HeadersError::Compression)?;
                    continue;
                }
                Err(_) => return Err(HeadersError::Compression),
            }
            if block.len() > MAX_BLOCK {
                return Err(HeadersError::TooLarge);
            }
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(packed.len());
            if block.len() == block.capacity() {
                block.reserve(block.capacity());
            } else if done == packed.len() {
                return Headers::from_block(&block);
            } else if before == (done, block.len()) {
                // The stream has ended, yet there is more.
                return Err(HeadersError::Compression);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = Vec<Headers>> {
        let header = ("[a-z][a-z0-9-]{0,20}", "[ -~]{0,300}");
        let one = proptest::collection::vec(header, 0..6);
        let one = one.prop_map(|all| all.into_iter().fold(Headers::new(), |h, (name, value)| h.with(&name, value)));
        proptest::collection::vec(one, 1..5)
    }

    fn sorted(headers: &Headers) -> Vec<(&str, &str)> {
        let mut all: Vec<_> = headers.iter().collect();
        // Values of one name move together.
        all.sort_by_key(|(name, _)| *name);
        all
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(blocks in headers()) {
            let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
            for block in &blocks {
                let unpacked = decompressor.decompress(&compressor.compress(block)).expect("our own block");
                prop_assert_eq!(sorted(&unpacked), sorted(block));
            }
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Decompressor::default().decompress(&bytes);
            let _ = Headers::from_block(&bytes);
        }
    }

    #[test]
    fn a_block_that_unpacks_to_much_is_refused() {
        let bomb = Headers::new().with("a", "b".repeat(MAX_BLOCK));
        let packed = Compressor::default().compress(&bomb);
        assert!(packed.len() < 1024);
        assert_eq!(Decompressor::default().decompress(&packed), Err(HeadersError::TooLarge));
    }

    #[test]
    fn names_are_found_in_any_case() {
        let headers = Headers::new().with("streamType", "data").with("port", "80");
        assert_eq!(
            (headers.get("StreamType"), headers.get("port"), headers.get("x")),
            (Some("data"), Some("80"), None)
        );
    }
}
