//! Credentials for registries: which of many fit an image.

use std::collections::BTreeMap;

use cri::AuthConfig;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::reference;

/// Where credentials come from, as far as it matters for who may use an image that they brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The node: they are every pod's.
    Node,
    /// A pull secret: namespace, name and UID.
    Secret(String, String, String),
    /// A service account whose token a credential provider took: namespace, name and UID.
    ServiceAccount(String, String, String),
}

/// Credentials, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// As the runtime takes them.
    pub auth: AuthConfig,
    /// Where they come from.
    pub source: Source,
}

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

/// A file or text that is no configuration of Docker's.
#[derive(Debug, thiserror::Error)]
#[error("no configuration of docker's: {0}")]
pub struct InvalidDockerConfig(#[from] serde_json::Error);

/// The credentials in a `config.json` of Docker's that fit an image, the best fitting first.
pub fn docker_config(bytes: &[u8], image: &str) -> Result<Vec<AuthConfig>, InvalidDockerConfig> {
    Ok(fitting(serde_json::from_slice::<DockerConfig>(bytes)?.auths, image))
}

/// The credentials in a `.dockercfg`, the form before `config.json`, that fit an image.
pub fn legacy_docker_config(bytes: &[u8], image: &str) -> Result<Vec<AuthConfig>, InvalidDockerConfig> {
    Ok(fitting(serde_json::from_slice(bytes)?, image))
}

/// The credentials in a pull secret that fit an image, the best fitting first.
pub fn of_secret(secret: &Secret, image: &str) -> Vec<Credential> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let auths = match (data(".dockerconfigjson"), data(".dockercfg")) {
        (Some(bytes), _) => docker_config(bytes, image),
        (None, Some(bytes)) => legacy_docker_config(bytes, image),
        (None, None) => Ok(Vec::new()),
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let metadata = &secret.metadata;
    let source = Source::Secret(text(&metadata.namespace), text(&metadata.name), text(&metadata.uid));
    // A secret that cannot be read gives nothing; the pull then fails with the registry's own words.
    let auths = auths.unwrap_or_default().into_iter();
    auths.map(|auth| Credential { auth, source: source.clone() }).collect()
}

fn fitting(auths: BTreeMap<String, DockerAuth>, image: &str) -> Vec<AuthConfig> {
    let name = reference::repository(image);
    let mut fitting: Vec<(String, String, DockerAuth)> = auths
        .into_iter()
        .map(|(server, auth)| (key(&server), server, auth))
        .filter(|(key, _, _)| matches(key, &name))
        .collect();
    // Longer paths stand behind shorter ones in the alphabet, and are the better ones.
    fitting.sort_by(|a, b| b.0.cmp(&a.0));
    let auth = |(_, server, auth): (String, String, DockerAuth)| AuthConfig {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        server_address: server,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    };
    fitting.into_iter().map(auth).collect()
}

/// An address as it is compared: without scheme and version of the API.
fn key(server: &str) -> String {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let path = ["v1", "v2"]
        .iter()
        .find_map(|version| match path.strip_prefix(version) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(rest),
            _ => None,
        })
        .unwrap_or(path);
    let (host, path) = (if host == "index.docker.io" { "docker.io" } else { host }, path.trim_matches('/'));
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// Whether a pattern fits an image's complete name: as many labels in the host, each with wildcards, the same port, and
/// a path that the image's path begins with.
pub fn matches(pattern: &str, name: &str) -> bool {
    let split = |text: &str| {
        let text = text.trim_start_matches("https://").trim_start_matches("http://");
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
        (host.to_owned(), port.to_owned(), path.to_owned())
    };
    let ((host, port, path), (wanted_host, wanted_port, wanted_path)) = (split(pattern), split(name));
    let (labels, wanted): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), wanted_host.split('.').collect());
    labels.len() == wanted.len()
        && port == wanted_port
        && wanted_path.starts_with(&path)
        && labels.iter().zip(wanted).all(|(pattern, label)| glob(pattern.as_bytes(), label.as_bytes()))
}

/// Wildcards within a label: `*` for any characters, `?` for one.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        (Some((b'?', rest)), Some((_, tail))) => glob(rest, tail),
        (Some((one, rest)), Some((other, tail))) => one == other && glob(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn the_longest_fitting_entry_comes_first() {
        let config =
            br#"{"auths": {"https://index.docker.io/v1/": {"username": "hub"}, "r.io/v2/": {"username": "all"},
            "r.io/team": {"username": "team"}, "*.example.org": {"auth": "x"}, "r.io:5000": {"username": "port"}}}"#;
        let data = [(".dockerconfigjson".to_owned(), ByteString(config.to_vec()))].into();
        let secret = Secret { data: Some(data), ..Secret::default() };
        let users = |image: &str| -> Vec<String> {
            of_secret(&secret, image).into_iter().map(|credential| credential.auth.username).collect()
        };
        assert_eq!(users("busybox"), ["hub"]);
        assert_eq!(users("r.io/team/app:1"), ["team", "all"]);
        assert_eq!(users("r.io:5000/team/app"), ["port"]);
        assert_eq!(users("a.example.org/x").len(), 1);
        assert!(users("other.io/x").is_empty() && users("a.b.example.org/x").is_empty());
        assert!(docker_config(b"{", "x").is_err());
        assert_eq!(legacy_docker_config(br#"{"r.io": {"username": "u"}}"#, "r.io/x").expect("read").len(), 1);
    }

    #[test]
    fn patterns_fit_label_by_label() {
        for (pattern, name, fits) in [
            ("123456789.dkr.ecr.us-east-1.amazonaws.com", "123456789.dkr.ecr.us-east-1.amazonaws.com/a", true),
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/a/b", true),
            ("*.azurecr.io", "azurecr.io/a", false),
            ("gcr.io", "eu.gcr.io/a", false),
            ("*.*.registry.io", "a.b.registry.io/x", true),
            ("registry.io:8080/path", "registry.io:8080/path/x", true),
            ("registry.io:8080/path", "registry.io/path/x", false),
            ("k8s*.io", "k8s-test.io/x", true),
            ("registry.io/other", "registry.io/path", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
