//! Compression of big answers.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::body::{self, Body};

/// Smaller answers cost more to compress than to send.
const THRESHOLD: u64 = 128 * 1024;

/// Compresses the answer if it is big and has a known size; watches and tunnels pass.
pub(crate) async fn compress(response: Response<Body>) -> Response<Body> {
    if response.extensions().get::<AsIs>().is_some() {
        return response;
    }
    let is_list = response.extensions().get::<Compressible>().is_some();
    let is_big = response.body().size_hint().lower() >= THRESHOLD;
    if !is_list && !is_big {
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
    let compressed = tokio::task::spawn_blocking(move || gzip(&source)).await;
    match compressed {
        Ok(Ok(compressed)) => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(parts, body::full(compressed))
        }
        Ok(Err(_)) | Err(_) => Response::from_parts(parts, body::full(bytes)),
    }
}

/// Marks an answer in pieces that is big and ends.
#[derive(Clone, Copy)]
pub(crate) struct Compressible;

/// Marks an answer that somebody else gave, packed or not as they liked.
#[derive(Clone, Copy)]
pub(crate) struct AsIs;

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
