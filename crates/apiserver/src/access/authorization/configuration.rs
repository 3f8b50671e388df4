//! Who decides about requests: AuthorizationConfiguration, or the flags that say the same for simple chains.

use std::collections::HashSet;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use api::field::{FieldError, Path};
use api::validation::names;
use jiff::SignedDuration;
use serde::Deserialize;

use super::abac::PolicyFileError;
use super::modes::{AuthorizationMode, DEFAULT_MODES};
use super::webhook::TIMEOUT;
use crate::access::remote::RemoteError;

/// Why a chain of authorizers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is not what it should be.
    #[error("invalid authorization configuration: {0}")]
    Malformed(String),
    /// Parts of it are wrong.
    #[error("invalid authorization configuration: {}", joined(.0))]
    Invalid(Vec<FieldError>),
    /// A changed configuration has an authorizer that the server was not started with.
    #[error("authorizer type {0} is not allowed if it was not enabled at initial server startup")]
    NotStarted(AuthorizationMode),
    /// Flags do not go together.
    #[error("{0}")]
    Flags(String),
    /// The file of policies cannot be used.
    #[error("--authorization-policy-file: {0}")]
    Policies(#[from] PolicyFileError),
    /// A server cannot be asked.
    #[error("authorization webhook {name}: {source}")]
    Webhook {
        /// The authorizer.
        name: String,
        /// What is wrong.
        source: RemoteError,
    },
}

fn joined(errors: &[FieldError]) -> String {
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match all.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// The flags `--authorization-*`.
#[derive(Clone, Debug)]
pub struct AuthorizationOptions {
    /// `--authorization-mode`: who decides, in this order.
    pub modes: Vec<AuthorizationMode>,
    /// `--authorization-config`: an AuthorizationConfiguration in place of modes, taken up again whenever it changes.
    pub config_file: Option<PathBuf>,
    /// `--authorization-policy-file`: what the mode ABAC knows.
    pub policy_file: Option<PathBuf>,
    /// `--authorization-webhook-*`: whom the mode Webhook asks.
    pub webhook: Option<AuthorizationWebhook>,
}

impl Default for AuthorizationOptions {
    fn default() -> Self {
        Self { modes: DEFAULT_MODES.to_vec(), config_file: None, policy_file: None, webhook: None }
    }
}

/// The flags `--authorization-webhook-*`.
#[derive(Clone, Debug)]
pub struct AuthorizationWebhook {
    /// `--authorization-webhook-config-file`: a kubeconfig that names the server.
    pub config_file: PathBuf,
    /// `--authorization-webhook-version`: `v1` or `v1beta1` of `authorization.k8s.io`.
    pub version: String,
    /// `--authorization-webhook-cache-authorized-ttl`.
    pub authorized_ttl: Duration,
    /// `--authorization-webhook-cache-unauthorized-ttl`.
    pub unauthorized_ttl: Duration,
}

/// One authorizer of a chain.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) mode: AuthorizationMode,
    /// Whom a webhook asks and about what.
    pub(super) webhook: Option<(Webhook, Vec<cel::access::Condition>)>,
}

/// What a webhook is told.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) kubeconfig: PathBuf,
    pub(super) version: String,
    pub(super) timeout: Duration,
    /// How long answers are kept; nothing where they are not.
    pub(super) authorized_ttl: Option<Duration>,
    pub(super) unauthorized_ttl: Option<Duration>,
    pub(super) failure_policy: FailurePolicy,
}

/// What a server that cannot be asked counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailurePolicy {
    NoOpinion,
    Deny,
}

/// The file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[derive(Default)]
struct File {
    api_version: String,
    kind: String,
    authorizers: Vec<Authorizer>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Authorizer {
    #[serde(rename = "type")]
    mode: String,
    name: String,
    webhook: Option<WebhookFields>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct WebhookFields {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: String,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: String,
    cache_unauthorized_requests: Option<bool>,
    timeout: String,
    subject_access_review_version: String,
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: ConnectionInfo,
    match_conditions: Vec<MatchCondition>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ConnectionInfo {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MatchCondition {
    expression: String,
}

const GROUP: &str = "apiserver.config.k8s.io";
const KIND: &str = "AuthorizationConfiguration";
const AUTHORIZED_TTL: Duration = Duration::from_secs(300);
const UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONDITIONS: usize = 64;

/// The text of a file.
pub(super) fn read(path: &FilePath) -> Result<String, AuthorizationError> {
    std::fs::read_to_string(path).map_err(|source| AuthorizationError::Read { path: path.to_owned(), source })
}

/// The chain that a file describes. It must have the modes in `started`: a server keeps what it was started with, but
/// for its webhooks.
pub(super) fn parse(text: &str, started: &[AuthorizationMode]) -> Result<Vec<Configured>, AuthorizationError> {
    let file: File = serde_saphyr::from_str(text).map_err(|err| AuthorizationError::Malformed(err.to_string()))?;
    let versions = ["v1", "v1beta1", "v1alpha1"].map(|version| format!("{GROUP}/{version}"));
    if file.kind != KIND || !versions.contains(&file.api_version) {
        let why = format!("it is a {:?} of {:?}, not an {KIND} of {GROUP}/v1", file.kind, file.api_version);
        return Err(AuthorizationError::Malformed(why));
    }
    let mut reader = Reader::default();
    let root = Path::new("authorizers");
    if file.authorizers.is_empty() {
        reader.wrong(FieldError::required(&root, "at least one authorization mode must be defined"));
    }
    let read = file.authorizers.into_iter().enumerate();
    let chain: Vec<Configured> =
        read.filter_map(|(index, authorizer)| reader.authorizer(authorizer, &root.index(index))).collect();
    let is_missing = |mode: &AuthorizationMode| *mode != AuthorizationMode::Webhook && !reader.modes.contains(mode);
    let missing: Vec<&str> = started.iter().copied().filter(is_missing).map(AuthorizationMode::as_str).collect();
    if !missing.is_empty() {
        reader.wrong(FieldError::required(&root, format!("missing required types: {missing:?}")));
    }
    if reader.errors.is_empty() { Ok(chain) } else { Err(AuthorizationError::Invalid(reader.errors)) }
}

/// The chain that flags describe.
pub(super) fn of_flags(options: &AuthorizationOptions) -> Result<Vec<Configured>, AuthorizationError> {
    let wrong = |why: String| Err(AuthorizationError::Flags(why));
    let modes = &options.modes;
    if modes.is_empty() {
        return wrong("at least one authorization-mode must be passed".to_owned());
    }
    if let Some(twice) = modes.iter().enumerate().find_map(|(at, mode)| modes[..at].contains(mode).then_some(mode)) {
        return wrong(format!("authorization-mode {:?} has mode specified more than once", twice.as_str()));
    }
    for (mode, file, flag) in [
        (AuthorizationMode::Abac, options.policy_file.is_some(), "authorization-policy-file"),
        (AuthorizationMode::Webhook, options.webhook.is_some(), "authorization-webhook-config-file"),
    ] {
        match (modes.contains(&mode), file) {
            (true, false) => return wrong(format!("authorization-mode {mode} needs --{flag}")),
            (false, true) => return wrong(format!("cannot specify --{flag} without mode {mode}")),
            _ => {}
        }
    }
    let webhook = options.webhook.as_ref().map(|webhook| Webhook {
        name: "default".to_owned(),
        kubeconfig: webhook.config_file.clone(),
        version: webhook.version.clone(),
        timeout: TIMEOUT,
        authorized_ttl: Some(webhook.authorized_ttl),
        unauthorized_ttl: Some(webhook.unauthorized_ttl),
        failure_policy: FailurePolicy::NoOpinion,
    });
    let configured = |mode: &AuthorizationMode| Configured {
        mode: *mode,
        webhook: webhook.clone().filter(|_| *mode == AuthorizationMode::Webhook).map(|webhook| (webhook, Vec::new())),
    };
    Ok(modes.iter().map(configured).collect())
}

/// Reads authorizers and notes what is wrong with them.
#[derive(Default)]
struct Reader {
    errors: Vec<FieldError>,
    modes: HashSet<AuthorizationMode>,
    names: HashSet<String>,
}

impl Reader {
    fn wrong(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    fn authorizer(&mut self, authorizer: Authorizer, path: &Path) -> Option<Configured> {
        let kind = path.child("type");
        if authorizer.mode.is_empty() {
            self.wrong(FieldError::required(&kind, ""));
            return None;
        }
        let Ok(mode) = authorizer.mode.parse::<AuthorizationMode>() else {
            self.wrong(FieldError::not_supported(&kind, authorizer.mode, &AuthorizationMode::names()));
            return None;
        };
        if !self.modes.insert(mode) && mode != AuthorizationMode::Webhook {
            self.wrong(FieldError::duplicate(&kind, authorizer.mode));
            return None;
        }
        self.name(&authorizer.name, &path.child("name"));
        let expected = mode.as_str().to_lowercase();
        if mode != AuthorizationMode::Webhook && !authorizer.name.is_empty() && authorizer.name != expected {
            let why = format!("expected name {expected} for authorizer {mode}");
            self.wrong(FieldError::invalid(&path.child("name"), authorizer.name.as_str(), why));
        }
        let place = path.child("webhook");
        match (mode, authorizer.webhook) {
            (AuthorizationMode::Webhook, Some(fields)) => {
                let webhook = self.webhook(&fields, authorizer.name, path)?;
                Some(Configured { mode, webhook: Some(webhook) })
            }
            (AuthorizationMode::Webhook, None) => {
                self.wrong(FieldError::required(&place, "required when type=Webhook"));
                None
            }
            (_, Some(_)) => {
                self.wrong(FieldError::invalid(&place, "non-null", "may only be specified when type=Webhook"));
                None
            }
            (_, None) => Some(Configured { mode, webhook: None }),
        }
    }

    fn name(&mut self, name: &str, path: &Path) {
        let problems = names::dns_subdomain(name);
        if name.is_empty() {
            self.wrong(FieldError::required(path, ""));
        } else if self.names.contains(name) {
            self.wrong(FieldError::duplicate(path, name));
        } else if !problems.is_empty() {
            let why = format!("authorizer name is invalid: {}", problems.join(", "));
            self.wrong(FieldError::invalid(path, name, why));
        }
        self.names.insert(name.to_owned());
    }

    fn webhook(
        &mut self,
        fields: &WebhookFields,
        name: String,
        path: &Path,
    ) -> Option<(Webhook, Vec<cel::access::Condition>)> {
        let timeout = self.duration(&fields.timeout, &path.child("timeout"), None);
        if timeout.is_some_and(|timeout| timeout > MAX_TIMEOUT) {
            let why = "must be > 0s and <= 30s";
            self.wrong(FieldError::invalid(&path.child("timeout"), fields.timeout.as_str(), why));
        }
        let authorized = self.duration(&fields.authorized_ttl, &path.child("authorizedTTL"), Some(AUTHORIZED_TTL));
        let unauthorized =
            self.duration(&fields.unauthorized_ttl, &path.child("unauthorizedTTL"), Some(UNAUTHORIZED_TTL));
        let version = &fields.subject_access_review_version;
        self.choice(version, &path.child("subjectAccessReviewVersion"), &["v1", "v1beta1"]);
        self.choice(&fields.failure_policy, &path.child("failurePolicy"), &["NoOpinion", "Deny"]);
        let kubeconfig = self.connection(&fields.connection_info, &path.child("connectionInfo"));
        let conditions = self.conditions(fields, path);
        Some((
            Webhook {
                name,
                kubeconfig: kubeconfig?,
                version: version.clone(),
                timeout: timeout?,
                authorized_ttl: Some(authorized?).filter(|_| fields.cache_authorized_requests != Some(false)),
                unauthorized_ttl: Some(unauthorized?).filter(|_| fields.cache_unauthorized_requests != Some(false)),
                failure_policy: match fields.failure_policy.as_str() {
                    "Deny" => FailurePolicy::Deny,
                    _ => FailurePolicy::NoOpinion,
                },
            },
            conditions,
        ))
    }

    /// A time that must be given, unless there is a default.
    fn duration(&mut self, text: &str, path: &Path, default: Option<Duration>) -> Option<Duration> {
        if text.is_empty() {
            if default.is_none() {
                self.wrong(FieldError::required(path, ""));
            }
            return default;
        }
        match text.parse::<SignedDuration>() {
            Ok(parsed) if parsed.is_zero() && default.is_none() => self.wrong(FieldError::required(path, "")),
            Ok(parsed) if parsed.is_zero() => return default,
            Ok(parsed) => match Duration::try_from(parsed) {
                Ok(duration) => return Some(duration),
                Err(_) => self.wrong(FieldError::invalid(path, text, "must be > 0s")),
            },
            Err(err) => self.wrong(FieldError::invalid(path, text, err.to_string())),
        }
        None
    }

    fn choice(&mut self, value: &str, path: &Path, choices: &[&str]) {
        if value.is_empty() {
            self.wrong(FieldError::required(path, ""));
        } else if !choices.contains(&value) {
            self.wrong(FieldError::not_supported(path, value, choices));
        }
    }

    fn connection(&mut self, info: &ConnectionInfo, path: &Path) -> Option<PathBuf> {
        let (kind, place) = (path.child("type"), path.child("kubeConfigFile"));
        let file = info.kube_config_file.as_deref().unwrap_or_default();
        match info.kind.as_str() {
            "" => self.wrong(FieldError::required(&kind, "")),
            "KubeConfigFile" if file.is_empty() => self.wrong(FieldError::required(&place, "")),
            "KubeConfigFile" if !FilePath::new(file).is_absolute() => {
                self.wrong(FieldError::invalid(&place, file, "must be an absolute path"));
            }
            "KubeConfigFile" => match std::fs::metadata(file) {
                Ok(found) if found.is_file() => return Some(file.into()),
                Ok(_) => self.wrong(FieldError::invalid(&place, file, "must be a regular file")),
                Err(err) => self.wrong(FieldError::invalid(&place, file, format!("error loading file: {err}"))),
            },
            "InClusterConfig" if !file.is_empty() => {
                let why = "can only be set when type=KubeConfigFile";
                self.wrong(FieldError::invalid(&place, file, why));
            }
            "InClusterConfig" => {
                let why = "an API server cannot ask itself: use KubeConfigFile";
                self.wrong(FieldError::invalid(&kind, info.kind.as_str(), why));
            }
            other => self.wrong(FieldError::not_supported(&kind, other, &["InClusterConfig", "KubeConfigFile"])),
        }
        None
    }

    fn conditions(&mut self, fields: &WebhookFields, path: &Path) -> Vec<cel::access::Condition> {
        let version = path.child("matchConditionSubjectAccessReviewVersion");
        match fields.match_condition_subject_access_review_version.as_str() {
            "" if fields.match_conditions.is_empty() => {}
            "" => self.wrong(FieldError::required(&version, "required if match conditions are specified")),
            given => self.choice(given, &version, &["v1"]),
        }
        let place = path.child("matchConditions");
        if fields.match_conditions.len() > MAX_CONDITIONS {
            self.wrong(FieldError::too_many(&place, fields.match_conditions.len(), MAX_CONDITIONS));
            return Vec::new();
        }
        let (mut seen, mut compiled) = (HashSet::new(), Vec::new());
        for (index, condition) in fields.match_conditions.iter().enumerate() {
            let (source, path) = (condition.expression.as_str(), place.index(index).child("expression"));
            if source.trim().is_empty() {
                self.wrong(FieldError::required(&path, ""));
            } else if !seen.insert(source) {
                self.wrong(FieldError::duplicate(&path, source));
            } else {
                match cel::access::Condition::of_review(source) {
                    Ok(condition) => compiled.push(condition),
                    Err(err) => self.wrong(FieldError::invalid(&path, source, format!("compilation failed: {err}"))),
                }
            }
        }
        compiled
    }
}

#[cfg(test)]
mod tests;
