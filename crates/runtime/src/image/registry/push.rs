//! Giving images to a registry: blobs that it does not have, then the manifest that names them.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode};
use reqwest::{Body, Response};
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use url::Url;

use super::hosts::Capability;
use super::transport::Transport;
use super::{Api, Registry, RegistryError, scope};
use crate::image::Digest;

/// How much of a blob is read at once.
const CHUNK: usize = 256 << 10;

impl Registry {
    fn writable(&self) -> Result<&Api, RegistryError> {
        // The registry itself, which is the last, before mirrors that take images too.
        let writable = self.hosts.iter().rev().find(|api| api.host.can(Capability::Push));
        writable.ok_or_else(|| RegistryError::NoHost(self.reference.registry().to_owned()))
    }

    /// Whether the repository has a blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let (api, repository) = (self.writable()?, self.reference.repository());
        let url = api.url(repository, &format!("blobs/{digest}"));
        let head = |transport: &Transport| transport.request(Method::HEAD, url.clone());
        let answer = api.call(&scope(repository, "pull,push"), head).await?;
        match api.expect(Method::HEAD, &[StatusCode::OK], answer).await {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Gives the repository a blob of `size` bytes.
    pub(crate) async fn push_blob(&self, digest: &Digest, size: u64, blob: File) -> Result<(), RegistryError> {
        let (api, repository) = (self.writable()?, self.reference.repository());
        let scope = scope(repository, "pull,push");
        let begin = api.url(repository, "blobs/uploads/");
        let post = |transport: &Transport| transport.request(Method::POST, begin.clone()).header(CONTENT_LENGTH, 0);
        let answer = api.call(&scope, post).await?;
        let answer = api.expect(Method::POST, &[StatusCode::ACCEPTED], answer).await?;
        let mut upload = location(&begin, &answer)?;
        upload.query_pairs_mut().append_pair("digest", digest.as_str());
        // The answer above has brought a token, so that the stream is sent once.
        let body = Body::wrap_stream(ReaderStream::with_capacity(blob, CHUNK));
        let put = api.transport.request(Method::PUT, upload);
        let put = put.header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_LENGTH, size).body(body);
        let answer = api.send(&scope, put).await?;
        api.expect(Method::PUT, &[StatusCode::CREATED], answer).await.map(drop)
    }

    /// Puts a manifest under the tag or digest of the reference.
    pub(crate) async fn push_manifest(&self, media_type: &str, manifest: Vec<u8>) -> Result<(), RegistryError> {
        let (api, repository) = (self.writable()?, self.reference.repository());
        let name = self.reference.tag().or(self.reference.digest().map(Digest::as_str)).unwrap_or_default();
        let url = api.url(repository, &format!("manifests/{name}"));
        let put = |transport: &Transport| {
            let request = transport.request(Method::PUT, url.clone());
            request.header(CONTENT_TYPE, media_type).body(manifest.clone())
        };
        let answer = api.call(&scope(repository, "pull,push"), put).await?;
        api.expect(Method::PUT, &[StatusCode::CREATED, StatusCode::OK], answer).await.map(drop)
    }
}

/// Where an upload goes on.
fn location(begun: &Url, answer: &Response) -> Result<Url, RegistryError> {
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    begun.join(location).map_err(|err| RegistryError::Answer {
        method: Method::POST,
        url: begun.to_string(),
        reason: format!("location {location:?}: {err}"),
    })
}
