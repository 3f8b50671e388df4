//! Reading an EncryptionConfiguration and refusing what would not protect what it seems to.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::configuration::{API_VERSION, EncryptionConfiguration, KIND, Keys, Provider, ResourceConfiguration};
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
    Ok(())
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
    // An entry that is left out would store plain what it should protect.
    match kms {
        Some(_) => wrong(format!("{path}.kms"), "key management services are not supported: use secretbox or aesgcm"),
        None => Ok(()),
    }
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
        let kms = "kms: {apiVersion: v2, name: k, endpoint: unix:///s}";
        refuse("secrets", kms, "providers[0].kms: key management services are not supported");
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
    }
}
