//! Manifests from a web server (`staticPodURL`): one Pod, or a list of them, asked for again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::manifest::{self, ManifestError, Origin};
use super::{Manifests, Source};
use crate::context::Shared;
use crate::pods::spec;
use crate::probes::{HttpCheck, HttpError, InvalidUrl, http_get};

/// How long the server may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// No answer is larger: requests to the API are not either.
const MAX_BYTES: usize = 3 << 20;

/// Where manifests come from.
#[derive(Clone, Debug)]
pub struct ManifestUrl {
    /// `staticPodURL`.
    pub url: String,
    /// `staticPodURLHeader`.
    pub headers: BTreeMap<String, Vec<String>>,
    /// `httpCheckFrequency`: between requests.
    pub interval: Duration,
}

/// Why an answer brings no pods.
#[derive(Debug, thiserror::Error)]
enum UrlError {
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the server answers with status {0}")]
    Status(u16),
    #[error("the answer is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Follows the manifests of a web server until the drain signal. Where it does not answer, or with what is no manifest,
/// what it said before holds.
pub async fn follow(context: Shared, drain: Drain) {
    let Some(source) = context.config.static_pod_url.clone() else {
        drain.drained().await;
        return;
    };
    let mut said = None;
    loop {
        let before = context.static_pods.of(Source::Url);
        let asked = drain.until(ask(&source, &context.config.node_name, context.env.now(), &before)).await;
        match asked {
            None => return,
            Some(Ok(found)) => {
                context.static_pods.found(Source::Url, Some(found));
                said = None;
            }
            Some(Err(err)) => {
                // Pods of the API need not wait for a server that is away.
                context.static_pods.found(Source::Url, None);
                let text = err.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!(url = source.url, err = text, "manifests of static pods cannot be had");
                    said = Some(text);
                }
            }
        }
        if drain.until(context.env.sleep(source.interval)).await.is_none() {
            return;
        }
    }
}

async fn ask(
    source: &ManifestUrl,
    node: &str,
    now: Timestamp,
    before: &Manifests,
) -> Result<BTreeMap<PathBuf, Arc<Pod>>, UrlError> {
    let headers = source.headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let check = HttpCheck::of_url(&source.url, headers, LIMIT, MAX_BYTES)?;
    let answer = http_get(&check).await?;
    if answer.status != 200 {
        return Err(UrlError::Status(answer.status));
    }
    let body = answer.body.ok_or(UrlError::TooLarge)?;
    read(&body, &source.url, node, now, before)
}

/// The pods of an answer; none for an empty one. All of them have to be right.
fn read(
    text: &[u8],
    url: &str,
    node: &str,
    now: Timestamp,
    before: &Manifests,
) -> Result<BTreeMap<PathBuf, Arc<Pod>>, UrlError> {
    let mut found = BTreeMap::new();
    for (index, one) in manifests(text)?.iter().enumerate() {
        // Of several, each has its place.
        let place = Path::new(url).join(index.to_string());
        let pod = manifest::read(one, &Origin { kind: "http", path: Path::new(url) }, node, now)?;
        let same = before.values().find(|before| spec::uid(before) == spec::uid(&pod));
        found.insert(place, same.map_or_else(|| Arc::new(pod), Arc::clone));
    }
    Ok(found)
}

/// The texts of the manifests in a text.
fn manifests(text: &[u8]) -> Result<Vec<Vec<u8>>, ManifestError> {
    if text.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let decode = |err: &dyn std::fmt::Display| ManifestError::Decode(err.to_string());
    let document = std::str::from_utf8(text).map_err(|err| decode(&err))?;
    let document: Value = serde_saphyr::from_str(document).map_err(|err| decode(&err))?;
    let Some(items) = document.get("items").and_then(Value::as_array).filter(|_| is_list(&document)) else {
        return Ok(vec![text.to_vec()]);
    };
    let one = |item: &Value| {
        let mut item = item.clone();
        // What a list has need not say what it is.
        if let Some(fields) = item.as_object_mut() {
            fields.entry("apiVersion").or_insert(json!("v1"));
            fields.entry("kind").or_insert(json!("Pod"));
        }
        item.to_string().into_bytes()
    };
    Ok(items.iter().map(one).collect())
}

fn is_list(document: &Value) -> bool {
    document["apiVersion"] == "v1" && (document["kind"] == "PodList" || document["kind"] == "List")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        let found = read(text.as_bytes(), "http://m/pods", "n", Timestamp::UNIX_EPOCH, &Manifests::default());
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let names: Vec<&str> = found.values().map(|pod| spec::name(pod)).collect();
                assert_eq!(names, expected);
                let is_http = |pod: &Arc<Pod>| {
                    pod.metadata.annotations.as_ref().expect("some")[super::super::CONFIG_SOURCE] == "http"
                };
                assert!(found.values().all(is_http));
            }
            (Err(err), Err(part)) => assert!(err.to_string().contains(part), "{err}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn an_answer_has_one_pod_or_many() {
        let pod = |name: &str, head: &str| {
            format!("{{{head}metadata: {{name: {name}}}, spec: {{containers: [{{name: a, image: i}}]}}}}")
        };
        let (one, two) = (pod("web", "apiVersion: v1, kind: Pod, "), pod("db", ""));
        check("", Ok(&[]));
        check(&one, Ok(&["web-n"]));
        check(&format!("{{apiVersion: v1, kind: PodList, items: [{one}, {two}]}}"), Ok(&["web-n", "db-n"]));
        check("{apiVersion: v1, kind: PodList, items: []}", Ok(&[]));
        check("{apiVersion: v1, kind: Service}", Err("a Pod of version v1 is expected"));
        check("{apiVersion: v1, kind: PodList, items: [{kind: Service}]}", Err("a Pod of version v1 is expected"));
    }
}
