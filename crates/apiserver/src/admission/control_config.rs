//! `--admission-control-config-file`: upstream's AdmissionConfiguration, with the configurations of single plugins in it or
//! in files beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::pod_security::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::event_rate_limit::{self, EventLimit};
use super::image_policy::{self, ImagePolicy};
use super::pod_toleration_restriction::{self, PodTolerations};
use super::resource_quota::{self, LimitedResource};
use super::{AdmissionPlugins, PLUGINS, PodSecurityConfiguration, pod_node_selector, webhooks};
use crate::access::RemoteError;
use crate::webhook::Users;

/// The configurations of all plugins.
#[derive(Clone, Debug, Default)]
pub struct AdmissionConfiguration {
    /// Of PodSecurity.
    pub pod_security: PodSecurityConfiguration,
    /// Of EventRateLimit.
    pub(crate) event_limits: Vec<EventLimit>,
    /// Of PodTolerationRestriction.
    pub(crate) pod_tolerations: PodTolerations,
    /// Of PodNodeSelector: the selector of namespaces that have none under `clusterDefaultNodeSelector`, and the one that
    /// bounds the pods of a namespace under its name.
    pub(crate) node_selectors: BTreeMap<String, String>,
    /// Of ResourceQuota: what nobody uses without a quota.
    pub(crate) limited_resources: Vec<LimitedResource>,
    /// Of ImagePolicyWebhook.
    pub(crate) image_policy: Option<ImagePolicy>,
    /// Of MutatingAdmissionWebhook and ValidatingAdmissionWebhook: as whom webhooks are asked.
    pub(crate) mutating_webhook_users: Users,
    pub(crate) validating_webhook_users: Users,
}

impl AdmissionConfiguration {
    /// Checks that plugins that are on have what they cannot do without.
    ///
    /// # Errors
    ///
    /// A plugin has no configuration.
    pub fn check(&self, plugins: &AdmissionPlugins) -> Result<(), AdmissionConfigurationError> {
        let needed = [
            (event_rate_limit::PLUGIN.name, self.event_limits.is_empty()),
            (image_policy::PLUGIN.name, self.image_policy.is_none()),
        ];
        match needed.into_iter().find(|(name, is_missing)| *is_missing && plugins.has(name)) {
            Some((name, _)) => Err(AdmissionConfigurationError::Missing(name)),
            None => Ok(()),
        }
    }
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionConfigurationError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is nothing of its type.
    #[error("{what} cannot be understood: {why}")]
    Malformed {
        /// The type.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It is of another type.
    #[error("expected {expected}, got {found}")]
    Kind {
        /// The types that are taken.
        expected: &'static str,
        /// The type that it says it has.
        found: String,
    },
    /// A plugin does not exist.
    #[error("admission-control plugin {0:?} is unknown")]
    Unknown(String),
    /// A plugin has nothing to configure.
    #[error("admission plugin {0} takes no configuration")]
    Unconfigurable(String),
    /// A plugin does nothing without a configuration.
    #[error("admission plugin {0} needs a configuration in --admission-control-config-file")]
    Missing(&'static str),
    /// A plugin stands there twice, or its configuration does.
    #[error("admission plugin {0} is configured twice")]
    Twice(String),
    /// A kubeconfig is not named by its whole path.
    #[error("kubeConfigFile: {}: must be an absolute file path", .0.display())]
    RelativeKubeconfig(PathBuf),
    /// A kubeconfig does not say as whom others are asked.
    #[error(transparent)]
    Kubeconfig(#[from] RemoteError),
    /// Levels or versions of pod security are wrong.
    #[error("PodSecurityConfiguration: defaults: {0}")]
    Defaults(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    plugins: Vec<PluginConfiguration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfiguration {
    name: String,
    #[serde(default)]
    path: Option<PathBuf>,
    #[serde(default)]
    configuration: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodSecurity {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    exemptions: Exemptions,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

/// Reads the file.
///
/// # Errors
///
/// The file or one that it names cannot be read or understood.
pub fn load(path: &Path) -> Result<AdmissionConfiguration, AdmissionConfigurationError> {
    parse(&read(path)?, path.parent().unwrap_or_else(|| Path::new("")))
}

fn read(path: &Path) -> Result<String, AdmissionConfigurationError> {
    let failed = |source| AdmissionConfigurationError::Read { path: path.to_owned(), source };
    std::fs::read_to_string(path).map_err(failed)
}

fn yaml<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, AdmissionConfigurationError> {
    serde_saphyr::from_str(text).map_err(|err| malformed(what, err))
}

/// Something is wrong with a document of a type.
pub(super) fn malformed(what: &'static str, why: impl ToString) -> AdmissionConfigurationError {
    AdmissionConfigurationError::Malformed { what, why: why.to_string() }
}

/// Whether a document is of a type, which is given as `group/version Kind`.
pub(super) fn check_type(
    expected: &'static str,
    versions: &[&str],
    document: &Value,
) -> Result<(), AdmissionConfigurationError> {
    let (api_version, kind) = (api::meta::api_version(document), api::meta::kind(document));
    let (found, version) = api::meta::split_api_version(api_version);
    let group = expected.split('/').next().unwrap_or_default();
    if found == group && versions.contains(&version) && expected.rsplit(' ').next() == Some(kind) {
        return Ok(());
    }
    Err(AdmissionConfigurationError::Kind { expected, found: format!("{api_version} {kind}") })
}

fn parse(text: &str, beside: &Path) -> Result<AdmissionConfiguration, AdmissionConfigurationError> {
    let document = yaml("AdmissionConfiguration", text)?;
    let file: File = typed("apiserver.config.k8s.io/v1 AdmissionConfiguration", &["v1", "v1alpha1"], document)?;
    let mut found = AdmissionConfiguration::default();
    let mut seen: Vec<String> = Vec::new();
    for PluginConfiguration { name, path, configuration } in file.plugins {
        if !PLUGINS.iter().any(|plugin| plugin.name == name) {
            return Err(AdmissionConfigurationError::Unknown(name));
        }
        let configuration: Value = match (configuration, path.filter(|path| !path.as_os_str().is_empty())) {
            (Some(_), Some(_)) => return Err(AdmissionConfigurationError::Twice(name)),
            (Some(configuration), None) => configuration,
            (None, Some(path)) => yaml("the configuration of a plugin", &read(&beside.join(path))?)?,
            (None, None) => continue,
        };
        if seen.contains(&name) {
            return Err(AdmissionConfigurationError::Twice(name));
        }
        match name.as_str() {
            "PodSecurity" => found.pod_security = pod_security(configuration)?,
            "EventRateLimit" => found.event_limits = event_rate_limit::configure(configuration)?,
            "PodTolerationRestriction" => found.pod_tolerations = pod_toleration_restriction::configure(configuration)?,
            "ResourceQuota" => found.limited_resources = resource_quota::configure(configuration)?,
            "ImagePolicyWebhook" => found.image_policy = Some(image_policy::configure(configuration)?),
            "MutatingAdmissionWebhook" => found.mutating_webhook_users = webhooks::configure(configuration)?,
            "ValidatingAdmissionWebhook" => found.validating_webhook_users = webhooks::configure(configuration)?,
            "PodNodeSelector" => found.node_selectors = pod_node_selector::configure(configuration)?,
            _ => return Err(AdmissionConfigurationError::Unconfigurable(name)),
        }
        seen.push(name);
    }
    Ok(found)
}

/// Reads a document of a type, which is given as `group/version Kind`.
pub(super) fn typed<T: DeserializeOwned>(
    expected: &'static str,
    versions: &[&str],
    document: Value,
) -> Result<T, AdmissionConfigurationError> {
    check_type(expected, versions, &document)?;
    serde_json::from_value(document).map_err(|err| malformed(expected, err))
}

fn pod_security(configuration: Value) -> Result<PodSecurityConfiguration, AdmissionConfigurationError> {
    let expected = "pod-security.admission.config.k8s.io/v1 PodSecurityConfiguration";
    let read: PodSecurity = typed(expected, &["v1", "v1beta1", "v1alpha1"], configuration)?;
    let known = ["enforce", "audit", "warn"];
    let is_known = |key: &str| known.contains(&key.strip_suffix("-version").unwrap_or(key));
    if let Some(key) = read.defaults.keys().find(|key| !is_known(key)) {
        return Err(AdmissionConfigurationError::Defaults(format!("unknown field {key:?}")));
    }
    let label = |label: &str| read.defaults.get(label.strip_prefix("pod-security.kubernetes.io/")?).map(String::as_str);
    let (defaults, errors) = Policy::from_labels(label, &Policy::default());
    if let Some(error) = errors.first() {
        return Err(AdmissionConfigurationError::Defaults(error.to_string()));
    }
    Ok(PodSecurityConfiguration {
        defaults,
        exempt_usernames: read.exemptions.usernames,
        exempt_namespaces: read.exemptions.namespaces,
        exempt_runtime_classes: read.exemptions.runtime_classes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";

    fn of_pod_security(rest: &str) -> String {
        format!(
            "{HEAD}- name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    \
             kind: PodSecurityConfiguration\n{rest}"
        )
    }

    #[test]
    fn pod_security_has_defaults_and_exemptions() {
        let text = of_pod_security(
            "    defaults: {enforce: baseline, enforce-version: latest}\n    exemptions: {namespaces: [kube-system]}\n",
        );
        let found = parse(&text, Path::new("")).expect("a configuration").pod_security;
        assert_eq!(found.defaults.enforce.to_string(), "baseline:latest");
        assert_eq!(found.exempt_namespaces, ["kube-system"]);
        assert!(parse(HEAD.trim_end_matches("plugins:\n"), Path::new("")).is_ok());
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = parse(text, Path::new("")).expect_err("it is wrong").to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        check_error(&format!("{HEAD}- name: PodSecurty\n"), "admission-control plugin \"PodSecurty\" is unknown");
        let why = "admission plugin Priority takes no configuration";
        check_error(&format!("{HEAD}- name: Priority\n  configuration: {{}}\n"), why);
        let why = "expected apiserver.config.k8s.io/v1 AdmissionConfiguration, got v1 Config";
        check_error("apiVersion: v1\nkind: Config\n", why);
        let why =
            "expected apiserver.config.k8s.io/v1 AdmissionConfiguration, got apiserver.config.k8s.io/v1 Configuration";
        check_error("apiVersion: apiserver.config.k8s.io/v1\nkind: Configuration\n", why);
        check_error(&of_pod_security("    defaults: {enforce: strict}\n"), "PodSecurityConfiguration: defaults: ");
        check_error(&of_pod_security("    defaults: {enforces: baseline}\n"), "unknown field \"enforces\"");
        check_error(&of_pod_security("    exemption: {}\n"), "exemption");
    }
}
