//! Configurations of webhooks, as requests need them.

use std::time::Duration;

use serde_json::Value;

use crate::admission::matching::{Configuration, Criteria, FailurePolicy, MatchConditions, WEBHOOKS};

const GROUP: &str = "admissionregistration.k8s.io";

/// How long a webhook may take that does not say so itself.
const TIMEOUT: u64 = 10;

/// Whether a webhook does more than answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SideEffects {
    /// Not in a dry run.
    None,
    /// Perhaps in a dry run too.
    Possible,
}

/// The version of AdmissionReview that a webhook takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewVersion {
    V1,
    V1beta1,
}

impl ReviewVersion {
    /// The `apiVersion` of reviews.
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// One webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) name: String,
    /// The name of the object that it is in.
    pub(super) configuration: String,
    /// Tells it from all others.
    pub(super) id: String,
    pub(super) criteria: Criteria,
    pub(super) conditions: MatchConditions,
    pub(super) failure_policy: FailurePolicy,
    pub(super) client_config: Value,
    pub(super) timeout: Duration,
    pub(super) side_effects: SideEffects,
    pub(super) review_version: ReviewVersion,
    /// Whether it wants to see what others changed after it.
    pub(super) is_reinvoked: bool,
}

impl Webhook {
    fn list(object: &Value) -> Vec<Self> {
        let configuration = api::meta::name(object);
        let hooks = object["webhooks"].as_array().into_iter().flatten().enumerate();
        hooks.map(|(index, hook)| Self::read(configuration, index, hook)).collect()
    }

    fn read(configuration: &str, index: usize, hook: &Value) -> Self {
        let name = hook["name"].as_str().unwrap_or_default().to_owned();
        let failure_policy = FailurePolicy::parse(&hook["failurePolicy"]);
        let mut versions = hook["admissionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let review_version = versions.find_map(|version| match version {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1beta1),
            _ => None,
        });
        Self {
            id: format!("{configuration}/{name}/{index}"),
            name,
            configuration: configuration.to_owned(),
            criteria: Criteria::of_webhook(hook),
            conditions: MatchConditions::compile(&hook["matchConditions"], &WEBHOOKS, failure_policy),
            failure_policy,
            client_config: hook["clientConfig"].clone(),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT)),
            side_effects: match hook["sideEffects"].as_str() {
                Some("None" | "NoneOnDryRun") => SideEffects::None,
                _ => SideEffects::Possible,
            },
            review_version: review_version.unwrap_or(ReviewVersion::V1),
            is_reinvoked: hook["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

/// The webhooks of a MutatingWebhookConfiguration.
pub(crate) struct Mutating(pub(super) Vec<Webhook>);

impl Configuration for Mutating {
    const RESOURCE: &'static [(&'static str, &'static str)] = &[(GROUP, "mutatingwebhookconfigurations")];

    fn read(object: &Value) -> Self {
        Self(Webhook::list(object))
    }
}

/// The webhooks of a ValidatingWebhookConfiguration.
pub(crate) struct Validating(pub(super) Vec<Webhook>);

impl Configuration for Validating {
    const RESOURCE: &'static [(&'static str, &'static str)] = &[(GROUP, "validatingwebhookconfigurations")];

    fn read(object: &Value) -> Self {
        Self(Webhook::list(object))
    }
}
