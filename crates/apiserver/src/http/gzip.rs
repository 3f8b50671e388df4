//! Compression of big answers.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::read::GzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::{HeaderMap, Response};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::body::{self, Body};

/// Smaller answers cost more to compress than to send.
const THRESHOLD: u64 = 128 * 1024;

/// Compresses the answer if it is big and has a known size; watches and tunnels pass.
pub(crate) async fn compress(response: Response<Body>) -> Response<Body> {
    if response.extensions().get::<AsIs>().is_some() || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    if response.body().size_hint().lower() < THRESHOLD {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The body comes from memory and cannot fail.
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => Bytes::new(),
    };
    // A worker thread does it, since megabytes take longer than other requests should wait.
    let source = bytes.clone();
    let outcome = tokio::task::spawn_blocking(move || compressed(&source)).await;
    match outcome {
        Ok(Ok(compressed)) => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(parts, body::full(compressed))
        }
        Ok(Err(_)) | Err(_) => Response::from_parts(parts, body::full(bytes)),
    }
}

/// Marks an answer that somebody else gave, packed or not as they liked.
#[derive(Clone, Copy)]
pub(crate) struct AsIs;

/// Whether the client takes compressed answers.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| coding.trim().starts_with("gzip"))
}

/// The bytes, compressed.
pub(crate) fn compressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The bytes that were compressed.
pub(crate) fn decompressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(bytes.len() * 8);
    GzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

/// A piece of a text, compressed by itself: pieces are joined without compressing them again.
pub(crate) struct Piece {
    deflated: Vec<u8>,
    sum: Crc,
}

impl Piece {
    pub(crate) fn new(text: &[u8]) -> std::io::Result<Self> {
        let mut encoder = DeflateEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
        encoder.write_all(text)?;
        // Up to the end of a byte, where another piece may follow.
        encoder.flush()?;
        let mut sum = Crc::new();
        sum.update(text);
        Ok(Self { deflated: encoder.get_ref().clone(), sum })
    }
}

/// A file of gzip without a name and a time.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The last block, which is empty.
const LAST: [u8; 2] = [3, 0];

/// The compressed text of all pieces.
pub(crate) fn join<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Vec<u8> {
    let (mut bytes, mut sum) = (HEAD.to_vec(), Crc::new());
    for piece in pieces {
        bytes.extend_from_slice(&piece.deflated);
        sum.combine(&piece.sum);
    }
    bytes.extend_from_slice(&LAST);
    bytes.extend_from_slice(&sum.sum().to_le_bytes());
    bytes.extend_from_slice(&sum.amount().to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_into_one_text() {
        #[track_caller]
        fn check(texts: &[&str]) {
            let pieces: Vec<Piece> = texts.iter().map(|text| Piece::new(text.as_bytes()).expect("memory")).collect();
            let plain = decompressed(&join(&pieces)).expect("a file of gzip");
            assert_eq!(String::from_utf8(plain).expect("text"), texts.concat());
        }
        check(&[]);
        check(&["{"]);
        check(&["{", "", &"\"a\":1,".repeat(100_000), "\"a\":1", "}"]);
    }
}
