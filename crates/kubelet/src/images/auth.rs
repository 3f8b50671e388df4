//! Credentials for registries, from pull secrets.

use cri::AuthConfig;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::reference::registry;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Clone, Default, Deserialize)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: String,
}

/// The credentials in a pull secret that fit an image, the best fitting first.
pub fn credentials(secret: &Secret, image: &str) -> Vec<AuthConfig> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let auths = if let Some(bytes) = data(".dockerconfigjson") {
        serde_json::from_slice::<DockerConfig>(bytes).map(|config| config.auths)
    } else if let Some(bytes) = data(".dockercfg") {
        serde_json::from_slice(bytes)
    } else {
        Ok(BTreeMap::new())
    };
    // A secret that cannot be read gives nothing; the pull then fails with the registry's own words.
    let mut fitting: Vec<(String, DockerAuth)> =
        auths.unwrap_or_default().into_iter().filter(|(server, _)| fits(server, image)).collect();
    fitting.sort_by_key(|(server, _)| std::cmp::Reverse(normalized(server).len()));
    fitting
        .into_iter()
        .map(|(server, auth)| AuthConfig {
            username: auth.username,
            password: auth.password,
            auth: auth.auth,
            server_address: server,
            identity_token: auth.identity_token,
            registry_token: auth.registry_token,
        })
        .collect()
}

fn normalized(server: &str) -> &str {
    let server = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let server = server.strip_suffix("/v1").or_else(|| server.strip_suffix("/v2")).unwrap_or(server);
    if server == "index.docker.io" { "docker.io" } else { server }
}

fn fits(server: &str, image: &str) -> bool {
    let server = normalized(server);
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let image_host = registry(image);
    let image_path = image.strip_prefix(image_host).map_or(image, |path| path.trim_start_matches('/'));
    let host_fits = match host.strip_prefix("*.") {
        Some(suffix) => image_host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
        None => host == image_host,
    };
    host_fits && (path.is_empty() || image_path == path || image_path.starts_with(&format!("{path}/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn the_longest_fitting_entry_comes_first() {
        let config = br#"{"auths": {"https://index.docker.io/v1/": {"username": "hub"},
            "r.io": {"username": "all"}, "r.io/team": {"username": "team"}, "*.example.org": {"auth": "x"}}}"#;
        let data = [(".dockerconfigjson".to_owned(), ByteString(config.to_vec()))].into();
        let secret = Secret { data: Some(data), ..Secret::default() };
        let users = |image: &str| -> Vec<String> {
            credentials(&secret, image).into_iter().map(|auth| auth.username).collect()
        };
        assert_eq!(users("busybox"), ["hub"]);
        assert_eq!(users("r.io/team/app:1"), ["team", "all"]);
        assert_eq!(users("a.example.org/x").len(), 1);
        assert!(users("other.io/x").is_empty());
    }
}
