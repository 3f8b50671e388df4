//! Reading an EncryptionConfiguration and refusing what would not protect what it seems to.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;

use crate::configuration::{API_VERSION, EncryptionConfiguration, KIND, Keys, Kms, Provider, ResourceConfiguration};
use crate::kms;
use crate::local::CipherKind;

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// It is not a document of its kind.
    #[error("not a document of kind {KIND}, {API_VERSION}: {0}")]
    Syntax(String),
    /// A field has a wrong value.
    #[error("{path}: {reason}")]
    Field {
        /// Where.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

fn wrong<T>(path: impl Into<String>, reason: impl Into<String>) -> Result<T, ConfigurationError> {
    Err(ConfigurationError::Field { path: path.into(), reason: reason.into() })
}

/// Reads a configuration, YAML or JSON.
pub fn parse(text: &str) -> Result<EncryptionConfiguration, ConfigurationError> {
    let configuration: EncryptionConfiguration =
        serde_saphyr::from_str(text).map_err(|err| ConfigurationError::Syntax(err.to_string()))?;
    check(&configuration)?;
    Ok(configuration)
}

/// Checks a configuration.
pub(crate) fn check(configuration: &EncryptionConfiguration) -> Result<(), ConfigurationError> {
    if configuration.kind != KIND || configuration.api_version != API_VERSION {
        let is = format!("it is of kind {:?}, {:?}", configuration.kind, configuration.api_version);
        return Err(ConfigurationError::Syntax(is));
    }
    if configuration.resources.is_empty() {
        return wrong("resources", "at least one entry is required");
    }
    for (number, entry) in configuration.resources.iter().enumerate() {
        let path = format!("resources[{number}]");
        check_resources(entry, &path)?;
        if entry.providers.is_empty() {
            return wrong(format!("{path}.providers"), "at least one provider is required");
        }
        for (number, provider) in entry.providers.iter().enumerate() {
            check_provider(provider, &format!("{path}.providers[{number}]"))?;
        }
    }
    check_names(configuration)
}

fn check_resources(entry: &ResourceConfiguration, path: &str) -> Result<(), ConfigurationError> {
    if entry.resources.is_empty() {
        return wrong(format!("{path}.resources"), "at least one resource is required");
    }
    for (number, resource) in entry.resources.iter().enumerate() {
        let path = format!("{path}.resources[{number}]");
        if resource.is_empty() {
            return wrong(path, "a resource has a name");
        }
        if resource.chars().any(char::is_uppercase) {
            return wrong(path, format!("{resource:?}: names of resources have no capital letters"));
        }
        if resource == "*" {
            return wrong(path, "use \"*.\" for the resources of the core group, or \"*.*\" for all resources");
        }
        if entry.resources[..number].contains(resource) {
            return wrong(path, format!("{resource:?} is there twice"));
        }
        let (plural, group) = split(resource);
        match group {
            "extensions" => return wrong(path, "the group \"extensions\" has no resources any more"),
            "events.k8s.io" => {
                return wrong(path, "events of every version are stored in the core group: use \"events\"");
            }
            _ => {}
        }
        let others = || entry.resources.iter().filter(|other| *other != resource);
        let masking = match (plural, group) {
            ("*", "*") => others().next(),
            ("*", _) => others().find(|other| split(other).1 == group),
            _ => None,
        };
        if let Some(masking) = masking {
            return wrong(path, format!("{resource:?} covers {masking:?} of the same entry already"));
        }
    }
    Ok(())
}

/// The resource and the group of `deployments.apps`; `secrets` and `*.` are of the core group.
pub(crate) fn split(resource: &str) -> (&str, &str) {
    resource.split_once('.').unwrap_or((resource, ""))
}

fn check_provider(provider: &Provider, path: &str) -> Result<(), ConfigurationError> {
    let Provider { aesgcm, aescbc, secretbox, identity, kms } = provider;
    let set = [aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), identity.is_some(), kms.is_some()];
    if set.iter().filter(|is_set| **is_set).count() != 1 {
        return wrong(path, "an element names exactly one of aesgcm, aescbc, secretbox, identity and kms");
    }
    let ciphers = [(CipherKind::AesGcm, aesgcm), (CipherKind::AesCbc, aescbc), (CipherKind::Secretbox, secretbox)];
    for (kind, keys) in ciphers {
        if let Some(keys) = keys {
            check_keys(kind, keys, &format!("{path}.{}", kind.as_str()))?;
        }
    }
    kms.as_ref().map_or(Ok(()), |kms| check_kms(kms, &format!("{path}.kms")))
}

fn check_kms(kms: &Kms, path: &str) -> Result<(), ConfigurationError> {
    match &*kms.api_version {
        kms::VERSION => {}
        // An entry that is left out would store plain what it should protect.
        "" | "v1" => {
            let reason = "version 1 of key management plugins is not supported: set apiVersion to v2, and use a plugin \
                          that speaks it";
            return wrong(format!("{path}.apiVersion"), reason);
        }
        other => return wrong(format!("{path}.apiVersion"), format!("{other:?} is not a version of plugins: use v2")),
    }
    if kms.name.is_empty() {
        return wrong(format!("{path}.name"), "a plugin has a name");
    }
    if kms.name.contains(':') {
        return wrong(format!("{path}.name"), "the name of a plugin has no colon");
    }
    if kms.cache_size.is_some() {
        return wrong(format!("{path}.cachesize"), "it is of version 1 alone");
    }
    if let Err(reason) = kms::socket(&kms.endpoint) {
        return wrong(format!("{path}.endpoint"), reason);
    }
    match timeout(kms) {
        Some(_) => Ok(()),
        None => wrong(format!("{path}.timeout"), "it is a time above zero, such as 3s"),
    }
}

/// How long a plugin may take; `None` if that is no time above zero.
pub(crate) fn timeout(kms: &Kms) -> Option<Duration> {
    let Some(text) = &kms.timeout else { return Some(kms::TIMEOUT) };
    let parsed = text.parse::<SignedDuration>().ok()?;
    Duration::try_from(parsed).ok().filter(|timeout| !timeout.is_zero())
}

/// Names that two plugins share would be prefixes of the values of both.
fn check_names(configuration: &EncryptionConfiguration) -> Result<(), ConfigurationError> {
    let mut names: Vec<&str> = Vec::new();
    for (number, entry) in configuration.resources.iter().enumerate() {
        for (provider, kms) in entry.providers.iter().enumerate() {
            let Some(kms) = &kms.kms else { continue };
            if names.contains(&&*kms.name) {
                let path = format!("resources[{number}].providers[{provider}].kms.name");
                return wrong(path, format!("there are two plugins {:?}", kms.name));
            }
            names.push(&kms.name);
        }
    }
    Ok(())
}

fn check_keys(kind: CipherKind, keys: &Keys, path: &str) -> Result<(), ConfigurationError> {
    if keys.keys.is_empty() {
        return wrong(format!("{path}.keys"), "at least one key is required");
    }
    for (number, key) in keys.keys.iter().enumerate() {
        let path = format!("{path}.keys[{number}]");
        if key.name.is_empty() {
            return wrong(format!("{path}.name"), "a key has a name");
        }
        if key.name.contains(':') {
            return wrong(format!("{path}.name"), "the name of a key has no colon");
        }
        if keys.keys[..number].iter().any(|other| other.name == key.name) {
            return wrong(format!("{path}.name"), format!("there are two keys {:?}", key.name));
        }
        // Nothing of the secret may come into a message.
        let Ok(secret) = BASE64_STANDARD.decode(&key.secret) else {
            return wrong(format!("{path}.secret"), "the secret is not base64");
        };
        if !kind.key_sizes().contains(&secret.len()) {
            let sizes: Vec<String> = kind.key_sizes().iter().map(ToString::to_string).collect();
            let reason = format!("the secret has {} bytes, {} takes {}", secret.len(), kind.as_str(), sizes.join(", "));
            return wrong(format!("{path}.secret"), reason);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(resources: &str, providers: &str) -> String {
        format!(
            "apiVersion: {API_VERSION}\nkind: {KIND}\nresources: [{{resources: [{resources}], providers: [{providers}]}}]"
        )
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let err = parse(text).expect_err("it is wrong").to_string();
        assert!(err.contains(expected), "{err:?} should contain {expected:?}");
    }

    #[test]
    fn configurations_that_do_not_protect_are_refused() {
        let key = "{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZg==}";
        let refuse = |resources: &str, providers: &str, expected: &str| {
            check_refused(&document(resources, providers), expected);
        };
        refuse("", "identity: {}", "resources[0].resources: at least one resource");
        refuse("secrets", "", "resources[0].providers: at least one provider");
        refuse("Secrets", "identity: {}", "capital letters");
        refuse("'*'", "identity: {}", "use \"*.\"");
        refuse("secrets, secrets", "identity: {}", "there twice");
        refuse("secrets, '*.'", "identity: {}", "covers \"secrets\"");
        refuse("deployments.apps, '*.apps'", "identity: {}", "covers \"deployments.apps\"");
        refuse("deployments.apps, '*.*'", "identity: {}", "covers");
        refuse("'*.extensions'", "identity: {}", "no resources any more");
        refuse("events.events.k8s.io", "identity: {}", "use \"events\"");
        refuse("secrets", "{identity: {}, aescbc: {keys: []}}", "exactly one of");
        refuse("secrets", "{}", "exactly one of");
        refuse("secrets", "aescbc: {keys: []}", "providers[0].aescbc.keys: at least one key");
        refuse("secrets", &format!("aescbc: {{keys: [{key}, {key}]}}"), "two keys \"a\"");
        refuse("secrets", &format!("secretbox: {{keys: [{key}]}}"), "has 16 bytes, secretbox takes 32");
        refuse("secrets", "aesgcm: {keys: [{name: 'a:b', secret: ''}]}", "no colon");
        refuse("secrets", "aesgcm: {keys: [{name: a, secret: '?'}]}", "not base64");
        let plugin = |fields: &str, expected: &str| refuse("secrets", &format!("kms: {{{fields}}}"), expected);
        let version = "kms.apiVersion: version 1 of key management plugins is not supported";
        plugin("name: k, endpoint: unix:///s", version);
        plugin("apiVersion: v1, name: k, endpoint: unix:///s", version);
        plugin("apiVersion: v3, name: k, endpoint: unix:///s", "\"v3\" is not a version");
        plugin("apiVersion: v2, endpoint: unix:///s", "kms.name: a plugin has a name");
        plugin("apiVersion: v2, name: 'a:b', endpoint: unix:///s", "no colon");
        plugin("apiVersion: v2, name: k", "kms.endpoint: the endpoint of a plugin is unix://");
        plugin("apiVersion: v2, name: k, endpoint: 'tcp://1.2.3.4:5'", "kms.endpoint: the endpoint of a plugin");
        plugin("apiVersion: v2, name: k, endpoint: 'unix://s'", "absolute");
        plugin("apiVersion: v2, name: k, endpoint: unix:///s, cachesize: 10", "kms.cachesize: it is of version 1");
        for timeout in ["0s", "-1s", "soon"] {
            plugin(&format!("apiVersion: v2, name: k, endpoint: unix:///s, timeout: {timeout}"), "kms.timeout: it is");
        }
        let kms = "{kms: {apiVersion: v2, name: k, endpoint: unix:///s}}";
        refuse("secrets", &format!("{kms}, {kms}"), "resources[0].providers[1].kms.name: there are two plugins \"k\"");
        refuse("secrets", "unknown: {}", "unknown");
        check_refused("kind: Pod\napiVersion: v1", "it is of kind \"Pod\"");
        check_refused("[", "not a document of kind");
    }

    #[test]
    fn good_configurations_are_read() {
        let text = document(
            "'*.', deployments.apps",
            "{aesgcm: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}, {identity: {}}",
        );
        let read = parse(&text).expect("it is right");
        assert_eq!(read.resources[0].resources, ["*.", "deployments.apps"]);
        let written = serde_json::to_string(&read).expect("it is JSON");
        assert_eq!(parse(&written), Ok(read.clone()));
        assert!(!format!("{read:?}").contains("MDEy"), "keys are not shown");
        for (fields, expected) in [("", 3000), (", timeout: 1m", 60_000), (", timeout: 1.5s", 1500)] {
            let kms = format!("kms: {{apiVersion: v2, name: k, endpoint: unix:///@k{fields}}}");
            let read = parse(&document("secrets", &kms)).expect("it is right");
            let kms = read.resources[0].providers[0].kms.as_ref().expect("a plugin");
            assert_eq!(timeout(kms), Some(Duration::from_millis(expected)));
        }
    }
}
