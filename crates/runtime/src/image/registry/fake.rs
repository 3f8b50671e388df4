//! A registry for tests, which misbehaves on demand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::image::{Algorithm, Digest};

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Another answer, which may say when to come again.
    Status(u16, Option<u32>),
    /// So many bytes, then nothing more.
    Stall(usize),
    /// A byte now and then.
    Drip,
    /// So many bytes, then the connection ends.
    Break(usize),
    /// Another content of the same length.
    Wrong,
    /// All from the beginning, whatever was asked for.
    NoRange,
    /// To be had elsewhere.
    Redirect(String),
}

/// Who is let in.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// Who says this with each request.
    Basic(&'static str, &'static str),
    /// Who has a token, which these get.
    Bearer {
        /// A user with a password.
        password: (&'static str, &'static str),
        /// An identity token.
        identity: &'static str,
    },
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The method and the path with its query.
    pub line: String,
    /// The part that was asked for.
    pub range: Option<String>,
    /// What was said of who asks.
    pub authorization: Option<String>,
    /// All that was said.
    pub headers: HeaderMap,
}

#[derive(Default)]
struct Content {
    manifests: HashMap<String, (String, Bytes)>,
    blobs: HashMap<String, Bytes>,
    faults: Vec<(String, Fault)>,
    seen: Vec<Seen>,
    door: Option<Door>,
    tokens: u32,
    algorithm: Option<Algorithm>,
}

/// A registry that listens on this machine until it is dropped.
pub(crate) struct FakeRegistry {
    /// Host and port.
    pub address: String,
    content: Arc<Mutex<Content>>,
    task: JoinHandle<()>,
}

/// An image that the registry has.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The digest of its manifest.
    pub manifest: String,
    /// The digest of its configuration.
    pub config: String,
    /// The digests of its layers.
    pub layers: Vec<String>,
}

/// The digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// A layer with files.
pub(crate) fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, *content).expect("appended");
    }
    archive.into_inner().expect("finished")
}

impl FakeRegistry {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let content = Arc::new(Mutex::new(Content::default()));
        let router = Router::new().fallback(serve).with_state(content.clone());
        let task = tokio::spawn(async move {
            // It ends with the test, however that goes.
            let _ = axum::serve(listener, router).await;
        });
        Self { address, content, task }
    }

    /// One that speaks TLS, with a certificate for `localhost`.
    pub(crate) async fn start_with_tls(tls: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let content = Arc::new(Mutex::new(Content::default()));
        let router = Router::new().fallback(serve).with_state(content.clone());
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                // Each ends with its client, which ends with the test.
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let builder = hyper::server::conn::http1::Builder::new();
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        Self { address: format!("localhost:{port}"), content, task }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets in only who is named from now on.
    pub(crate) fn close(&self, door: Door) {
        self.content().door = Some(door);
    }

    /// Lets the next request whose path has `part` in it fail.
    pub(crate) fn fail(&self, part: &str, fault: Fault) {
        self.content().faults.push((part.to_owned(), fault));
    }

    /// The requests so far whose line has `part` in it.
    pub(crate) fn seen(&self, part: &str) -> Vec<Seen> {
        self.content().seen.iter().filter(|seen| seen.line.contains(part)).cloned().collect()
    }

    /// Names content by another algorithm from now on.
    pub(crate) fn name_by(&self, algorithm: Algorithm) {
        self.content().algorithm = Some(algorithm);
    }

    fn digest(&self, bytes: &[u8]) -> String {
        let algorithm = self.content().algorithm.unwrap_or(Algorithm::Sha256);
        Digest::by(algorithm, bytes).to_string()
    }

    pub(crate) fn put_blob(&self, bytes: Vec<u8>) -> String {
        let name = self.digest(&bytes);
        self.content().blobs.insert(name.clone(), bytes.into());
        name
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Bytes> {
        self.content().blobs.get(digest).cloned()
    }

    /// Puts a document under `repository:tag` and its digest; the digest.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: Vec<u8>) -> String {
        let name = self.digest(&bytes);
        let bytes = Bytes::from(bytes);
        let mut content = self.content();
        for reference in [tag, &name] {
            let key = format!("{repository}/manifests/{reference}");
            content.manifests.insert(key, (media_type.to_owned(), bytes.clone()));
        }
        name
    }

    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<Bytes> {
        self.content().manifests.get(&format!("{repository}/manifests/{reference}")).map(|(_, bytes)| bytes.clone())
    }

    /// Puts an image of these layers there, compressed by `pack`.
    pub(crate) fn put_image(
        &self,
        repository: &str,
        tag: &str,
        layers: &[Vec<u8>],
        pack: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Stored {
        let diff_ids: Vec<String> = layers.iter().map(|layer| self.digest(layer)).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let packed: Vec<(String, usize)> = layers
            .iter()
            .map(|layer| {
                let packed = pack(layer);
                let size = packed.len();
                (self.put_blob(packed), size)
            })
            .collect();
        let layers: Vec<_> = packed
            .iter()
            .map(|(digest, size)| {
                json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
            })
            .collect();
        let size = config.len();
        let config = self.put_blob(config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
            "layers": layers,
        });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = self.put_manifest(repository, tag, media_type, manifest.to_string().into_bytes());
        Stored { manifest, config, layers: packed.into_iter().map(|(digest, _)| digest).collect() }
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = Arc<Mutex<Content>>;

async fn serve(State(content): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let line = format!("{} {}", parts.method, parts.uri);
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (range, authorization) = (text(RANGE), text(AUTHORIZATION));
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
    let headers = parts.headers.clone();
    content.seen.push(Seen { line, range: range.clone(), authorization: authorization.clone(), headers });
    let path = parts.uri.path().to_owned();
    if path == "/token" {
        return content.token(authorization.as_deref(), &String::from_utf8_lossy(&body));
    }
    if let Some(refusal) = content.refusal(parts.headers.get("host").and_then(|host| host.to_str().ok()), authorization)
    {
        return refusal;
    }
    let fault = content.faults.iter().position(|(part, _)| path.contains(part)).map(|at| content.faults.remove(at).1);
    match fault {
        Some(Fault::Status(code, after)) => {
            let status = StatusCode::from_u16(code).expect("a status");
            match after {
                Some(after) => (status, [(RETRY_AFTER, after.to_string())]).into_response(),
                None => status.into_response(),
            }
        }
        Some(Fault::Redirect(to)) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to)]).into_response(),
        fault => content.answer(&parts.method, &path, parts.uri.query(), range, body, fault),
    }
}

impl Content {
    fn token(&mut self, authorization: Option<&str>, form: &str) -> Response {
        let Some(Door::Bearer { password: (user, password), identity }) = &self.door else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let by_identity =
            form.contains("grant_type=refresh_token") && form.contains(&format!("refresh_token={identity}"));
        if authorization != Some(basic.as_str()) && !by_identity {
            return (StatusCode::UNAUTHORIZED, "who are you").into_response();
        }
        self.tokens += 1;
        let token = format!("token-{}", self.tokens);
        let body =
            if by_identity { json!({"access_token": token}) } else { json!({"token": token, "expires_in": 300}) };
        body.to_string().into_response()
    }

    fn refusal(&self, host: Option<&str>, authorization: Option<String>) -> Option<Response> {
        let (expected, challenge) = match self.door.as_ref()? {
            Door::Basic(user, password) => {
                (format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))), "Basic realm=\"test\"".to_owned())
            }
            Door::Bearer { .. } => (
                format!("Bearer token-{}", self.tokens),
                format!("Bearer realm=\"http://{}/token\",service=\"test\"", host.unwrap_or_default()),
            ),
        };
        if self.tokens_match(&expected, authorization.as_deref()) {
            return None;
        }
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Some((StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)], body).into_response())
    }

    /// Only the newest token is good, so that a client has to ask for another when others come.
    fn tokens_match(&self, expected: &str, authorization: Option<&str>) -> bool {
        authorization == Some(expected) && expected != "Bearer token-0"
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        range: Option<String>,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Response {
        let name = path.strip_prefix("/v2/").unwrap_or_default();
        let last = name.rsplit('/').next().unwrap_or_default();
        if name.contains("/blobs/uploads/") {
            let named = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .find(|(key, _)| key == "digest")
                .map(|(_, digest)| digest.into_owned());
            return match (method, named) {
                (&Method::POST, _) => {
                    (StatusCode::ACCEPTED, [(LOCATION, format!("{path}some-upload?state=1"))]).into_response()
                }
                (_, Some(name)) if digest(&body) == name => {
                    self.blobs.insert(name, body);
                    StatusCode::CREATED.into_response()
                }
                _ => StatusCode::BAD_REQUEST.into_response(),
            };
        }
        if name.contains("/blobs/") {
            let Some(blob) = self.blobs.get(last) else { return unknown("BLOB_UNKNOWN") };
            return if method == Method::HEAD { StatusCode::OK.into_response() } else { part(blob, range, fault) };
        }
        if method == Method::PUT {
            let repository = name.split("/manifests/").next().unwrap_or_default();
            let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
            for reference in [last.to_owned(), digest(&body)] {
                let key = format!("{repository}/manifests/{reference}");
                self.manifests.insert(key, (media_type.clone(), body.clone()));
            }
            return StatusCode::CREATED.into_response();
        }
        match self.manifests.get(name) {
            Some((media_type, bytes)) => {
                let mut answer = part(bytes, None, fault);
                let media_type = media_type.parse().expect("a media type");
                answer.headers_mut().insert(CONTENT_TYPE, media_type);
                answer
            }
            None => unknown("MANIFEST_UNKNOWN"),
        }
    }
}

fn unknown(code: &str) -> Response {
    (StatusCode::NOT_FOUND, json!({"errors": [{"code": code, "message": "unknown"}]}).to_string()).into_response()
}

fn wrong(bytes: &Bytes) -> Bytes {
    bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into()
}

/// A blob, or what is asked for of it, as far as the fault lets it.
fn part(blob: &Bytes, range: Option<String>, fault: Option<Fault>) -> Response {
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let start = if matches!(fault, Some(Fault::NoRange)) { None } else { start };
    let bytes = if matches!(fault, Some(Fault::Wrong)) { wrong(blob) } else { blob.clone() };
    let total = bytes.len();
    if start.is_some_and(|start| start >= total) {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let rest = bytes.slice(start.unwrap_or_default()..);
    let length = rest.len();
    let body = match fault {
        Some(Fault::Stall(count)) => {
            let first = rest.slice(..count.min(length));
            Body::from_stream(stream::once(async { Ok::<_, Infallible>(first) }).chain(stream::pending()))
        }
        Some(Fault::Drip) => {
            let ticks = tokio::time::interval(std::time::Duration::from_millis(20));
            Body::from_stream(stream::unfold((rest, ticks), |(mut rest, mut ticks)| async move {
                ticks.tick().await;
                let byte = (!rest.is_empty()).then(|| rest.split_to(1))?;
                Some((Ok::<_, Infallible>(byte), (rest, ticks)))
            }))
        }
        Some(Fault::Break(count)) => {
            let first = rest.slice(..count.min(length));
            let end = stream::once(async {
                // Whoever sends takes the moment to flush, so that the first part goes before the connection does.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("broken"))
            });
            Body::from_stream(stream::once(async { Ok(first) }).chain(end))
        }
        _ => Body::from(rest),
    };
    let mut response = Response::builder().header("content-length", length);
    if let Some(start) = start {
        response = response.status(StatusCode::PARTIAL_CONTENT);
        response = response.header(CONTENT_RANGE, format!("bytes {start}-{}/{total}", total - 1));
    }
    response.body(body).expect("a response")
}
