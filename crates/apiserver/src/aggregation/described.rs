//! The OpenAPI document of an extension API server, asked for again only when its index says that it has changed.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use http::header::ETAG;
use serde_json::Value;

use super::forward;
use super::remote::Remote;
use crate::openapi::Document;
use crate::pipeline::Core;

/// Where the index is.
const INDEX: &str = "/openapi/v3";

/// A document, and what tells whether it has changed.
pub(super) struct Described {
    pub(super) document: Arc<Document>,
    /// Where the index has it: the URL changes with it.
    url: String,
    /// The tag of the index.
    tag: Option<String>,
}

/// Asks for the document; nothing if it is the one that is known.
pub(super) async fn fetch(
    core: &Arc<Core>,
    remote: &Remote,
    address: SocketAddr,
    known: Option<&Described>,
) -> Result<Option<Described>, String> {
    let tag = known.and_then(|known| known.tag.as_deref());
    let (status, headers, index) = forward::ask(core, remote, address, INDEX, tag).await?;
    if status == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    let index: Value = read(INDEX, status, &index)?;
    let key = api::openapi::path_of(&remote.api.group, &remote.api.version);
    let url = index["paths"][&key]["serverRelativeURL"].as_str().unwrap_or_default().to_owned();
    if url.is_empty() {
        return Err(format!("the index has no {key}"));
    }
    let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    if let Some(known) = known.filter(|known| known.url == url && url.contains("hash=")) {
        return Ok(Some(Described { document: known.document.clone(), url, tag }));
    }
    let (status, _, body) = forward::ask(core, remote, address, &url, None).await?;
    let now = core.registry.env.now();
    let own = format!("/{key}");
    let read_from = url.clone();
    let read = move || {
        let mut document: Value = read(&read_from, status, &body)?;
        keep_own(&mut document, &own);
        Document::new(&document.to_string(), now).map_err(|err| err.to_string())
    };
    // It may be large.
    let document = tokio::task::spawn_blocking(read).await.map_err(|err| err.to_string())??;
    Ok(Some(Described { document: Arc::new(document), url, tag }))
}

fn read(url: &str, status: StatusCode, body: &[u8]) -> Result<Value, String> {
    if status != StatusCode::OK {
        return Err(format!("{url}: {status}"));
    }
    serde_json::from_slice(body).map_err(|err| format!("{url}: {err}"))
}

/// Drops paths that are not the server's to describe.
fn keep_own(document: &mut Value, own: &str) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    paths.retain(|path, _| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_describes_its_own_paths_alone() {
        let mut document = json!({"paths": {"/apis/a/v1/": 1, "/apis/a/v1": 2, "/apis/a/v10": 3, "/api/v1/pods": 4}});
        keep_own(&mut document, "/apis/a/v1");
        assert_eq!(document, json!({"paths": {"/apis/a/v1/": 1, "/apis/a/v1": 2}}));
    }
}
