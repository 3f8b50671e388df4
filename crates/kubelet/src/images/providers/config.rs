//! `CredentialProviderConfig`: which programs know credentials, and for which images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Why credential providers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// The configuration cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    providers: Vec<ProviderConfig>,
}

/// One provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// The program's file name.
    pub name: String,
    /// The images that it is asked about.
    pub match_images: Vec<String>,
    /// How long answers are good that do not say it.
    #[serde(deserialize_with = "duration")]
    pub default_cache_duration: Duration,
    /// The version of what is said to it.
    pub api_version: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its variables, beside the kubelet's own.
    #[serde(default)]
    pub env: Vec<Variable>,
    /// What it is told of the pod's service account, if anything.
    pub token_attributes: Option<TokenAttributes>,
}

/// A variable.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a provider is told of the pod's service account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenAttributes {
    /// For whom the account's token is.
    pub service_account_token_audience: String,
    /// For what answers are good.
    pub cache_type: CacheType,
    /// It is asked only for pods with an account.
    pub require_service_account: bool,
    /// Annotations of the account without which it is not asked.
    #[serde(default)]
    pub required_service_account_annotation_keys: Vec<String>,
    /// Annotations of the account that it is told where they are there.
    #[serde(default)]
    pub optional_service_account_annotation_keys: Vec<String>,
}

/// For what an answer is good that was given for a token.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum CacheType {
    /// For all pods of the account.
    ServiceAccount,
    /// For this token.
    Token,
}

/// A length of time as Go writes it.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format!("invalid duration {text:?}")))
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok())
}

/// Reads and checks a configuration.
pub fn read(path: &Path) -> Result<Vec<ProviderConfig>, ProvidersError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ProvidersError::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|reason| ProvidersError::Invalid { path: path.to_owned(), reason })
}

fn parse(text: &str) -> Result<Vec<ProviderConfig>, String> {
    let document: Document = serde_saphyr::from_str(text).map_err(|err| err.to_string())?;
    let versions = ["v1", "v1beta1", "v1alpha1"];
    let in_group = |text: &str, group: &str| {
        text.strip_prefix(group)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|version| versions.contains(&version))
    };
    if document.kind != "CredentialProviderConfig" || !in_group(&document.api_version, "kubelet.config.k8s.io") {
        return Err(format!("unsupported kind {} of {}", document.kind, document.api_version));
    }
    if document.providers.is_empty() {
        return Err("providers: Required value: at least 1 item in plugins is required".to_owned());
    }
    let mut names = BTreeSet::new();
    for (index, provider) in document.providers.iter().enumerate() {
        let wrong = |field: &str, reason: &str| Err(format!("providers[{index}].{field}: {reason}"));
        let name = provider.name.as_str();
        if name.is_empty() || name.contains(['/', ' ']) || name == "." || name == ".." {
            return wrong("name", &format!("invalid value {name:?}: it is no name of a program"));
        }
        if !names.insert(name) {
            return wrong("name", &format!("duplicate value {name:?}"));
        }
        if provider.match_images.is_empty() {
            return wrong("matchImages", "required value: it says for which images the provider is asked");
        }
        if !in_group(&provider.api_version, "credentialprovider.kubelet.k8s.io") {
            return wrong("apiVersion", &format!("unsupported value {:?}", provider.api_version));
        }
        if let Some(attributes) = &provider.token_attributes {
            if !provider.api_version.ends_with("/v1") {
                return wrong("tokenAttributes", "forbidden: it needs credentialprovider.kubelet.k8s.io/v1");
            }
            if attributes.service_account_token_audience.is_empty() {
                return wrong("tokenAttributes.serviceAccountTokenAudience", "required value");
            }
            if !attributes.require_service_account && !attributes.required_service_account_annotation_keys.is_empty() {
                return wrong("tokenAttributes.requiredServiceAccountAnnotationKeys", "needs requireServiceAccount");
            }
        }
    }
    Ok(document.providers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(provider: &str) -> String {
        format!("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- {provider}\n")
    }

    #[test]
    fn configurations_are_checked() {
        let good = "{name: a, matchImages: ['*.io'], defaultCacheDuration: 1h30m, apiVersion: credentialprovider.kubelet.k8s.io/v1}";
        let read = parse(&text(good)).expect("it is right");
        assert_eq!(read[0].default_cache_duration, Duration::from_secs(5400));
        for (provider, expected) in [
            (good.replace("name: a", "name: ../a"), "no name of a program"),
            (good.replace("['*.io']", "[]"), "matchImages"),
            (good.replace("k8s.io/v1}", "k8s.io/v9}"), "unsupported value"),
            (good.replace("1h30m", "soon"), "invalid duration"),
            (good.replace("name: a", "name: a, nmae: b"), "nmae"),
            (format!("{good}\n- {good}"), "duplicate"),
            ("{name: a}".to_owned(), "matchImages"),
        ] {
            let err = parse(&text(&provider)).expect_err("it is wrong");
            assert!(err.contains(expected), "{err}");
        }
        assert!(parse("kind: Pod\napiVersion: v1\nproviders: []").is_err());
    }
}
