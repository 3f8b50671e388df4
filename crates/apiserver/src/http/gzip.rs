//! Compression of big answers.

use std::io::{Read, Write};

use bytes::{Buf, Bytes};
use edge::PassedOn;
use flate2::read::GzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use futures::Stream;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use super::body::{self, Body, BoxError};

/// Smaller answers cost more to compress than to send.
const THRESHOLD: u64 = 128 * 1024;

/// Compresses the answer if it is big and has a known size; watches and tunnels pass.
pub(crate) fn compress(response: Response<Body>) -> Response<Body> {
    // Somebody else gave it, packed or not as they liked.
    if response.extensions().get::<PassedOn>().is_some() || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    if response.body().size_hint().lower() < THRESHOLD {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, body::results(stream(body)))
}

/// So many bytes are compressed at a time.
const CHUNK: usize = 256 * 1024;

/// A body, compressed while it is read: no more of it is in memory than a chunk.
fn stream(body: Body) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    futures::stream::try_unfold(Some((body, encoder)), |state| async {
        let Some((mut body, mut encoder)) = state else { return Ok(None) };
        let mut is_over = false;
        loop {
            let mut chunk = Vec::new();
            let mut length = 0;
            while length < CHUNK && !is_over {
                match body.frame().await.transpose()?.map(Frame::into_data) {
                    Some(Ok(piece)) => {
                        length += piece.len();
                        chunk.push(piece);
                    }
                    // Answers from memory have no trailers.
                    Some(Err(_)) => {}
                    None => is_over = true,
                }
            }
            // A worker thread does it, since a chunk takes longer than other requests should wait.
            let (back, compressed) = tokio::task::spawn_blocking(move || step(encoder, &chunk, is_over)).await??;
            encoder = back;
            if is_over {
                return Ok(Some((compressed, None)));
            }
            if !compressed.is_empty() {
                return Ok(Some((compressed, Some((body, encoder)))));
            }
        }
    })
}

/// Compresses a chunk; what has come out of the encoder so far, or all that was left in it.
fn step(
    mut encoder: GzEncoder<Vec<u8>>,
    chunk: &[Bytes],
    is_over: bool,
) -> std::io::Result<(GzEncoder<Vec<u8>>, Bytes)> {
    for piece in chunk {
        encoder.write_all(piece)?;
    }
    if is_over {
        encoder.try_finish()?;
    }
    let compressed = std::mem::take(encoder.get_mut());
    Ok((encoder, compressed.into()))
}

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

/// So many bytes are decompressed at a time.
const PLAIN_CHUNK: usize = 64 * 1024;

/// The body of the bytes that were compressed, which are decompressed while they are sent: no more of them is in memory
/// than a chunk for each client.
pub(crate) fn plain(compressed: Bytes) -> Body {
    let length = compressed.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let mut decoder = GzDecoder::new(compressed.reader());
    let chunks = std::iter::from_fn(move || {
        let mut chunk = Vec::with_capacity(PLAIN_CHUNK);
        // What was compressed here is whole; if it were not, the client would miss some of the length.
        decoder.by_ref().take(PLAIN_CHUNK as u64).read_to_end(&mut chunk).ok()?;
        (!chunk.is_empty()).then(|| Bytes::from(chunk))
    });
    body::pieces(length as usize, chunks)
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

impl Piece {
    /// How many bytes there are without compression.
    pub(crate) fn length(&self) -> usize {
        self.sum.amount() as usize
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[tokio::test]
    async fn a_body_is_decompressed_chunk_by_chunk() {
        for length in [0, 1, PLAIN_CHUNK - 1, PLAIN_CHUNK, 5 * PLAIN_CHUNK + 1] {
            let text: Vec<u8> =
                (0..length).map(|place| b'a' + u8::try_from(place % 23).expect("it is small")).collect();
            let mut body = plain(compressed(&text).expect("memory").into());
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let mut read = Vec::new();
            while let Some(frame) = body.frame().await {
                let data = frame.expect("no error").into_data().expect("data");
                assert!(data.len() <= PLAIN_CHUNK);
                read.extend_from_slice(&data);
            }
            assert!(read == text, "{length}");
        }
    }

    /// A body of so many pieces, each of a size, and how many were taken.
    fn counted(pieces: usize, size: usize) -> (Body, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let all = (0..pieces).map(move |number| {
            count.fetch_add(1, Ordering::Relaxed);
            Bytes::from(number.to_string().repeat(size).into_bytes()[..size].to_vec())
        });
        (body::pieces(pieces * size, all), taken)
    }

    #[tokio::test]
    async fn answers_are_compressed_while_they_are_sent() {
        const PIECE: usize = 64 * 1024;
        let (body, taken) = counted(60, PIECE);
        let (plain, _) = counted(60, PIECE);
        let answer = compress(Response::new(body));
        assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
        let mut body = answer.into_body();
        let mut compressed =
            body.frame().await.expect("a piece").expect("no error").into_data().expect("data").to_vec();
        let taken = taken.load(Ordering::Relaxed);
        assert!((1..=8 * CHUNK / PIECE).contains(&taken), "{taken} pieces were taken for the first");
        compressed.extend_from_slice(&body.collect().await.expect("no error").to_bytes());
        let plain = plain.collect().await.expect("no error").to_bytes();
        assert!(decompressed(&compressed).expect("a file of gzip") == plain);
    }

    #[tokio::test]
    async fn small_answers_go_as_they_are() {
        let (body, _) = counted(1, 1000);
        assert!(!compress(Response::new(body)).headers().contains_key(CONTENT_ENCODING));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_breaks_off() {
        let pieces = [Ok(Bytes::from_static(b"some")), Err("the rest is lost".into())];
        let collected = body::results(stream(body::results(futures::stream::iter(pieces)))).collect().await;
        assert_eq!(collected.expect_err("it breaks off").to_string(), "the rest is lost");
    }
}
