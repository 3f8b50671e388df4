//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others are asked about requests over HTTPS.

mod configuration;
mod mutating;
mod review;
mod validating;

use std::path::PathBuf;
use std::time::Duration;

use api::field::quote;
use api::status::Status;
use serde::Deserialize;
use serde_json::Value;

use super::control_config::{AdmissionConfigurationError, typed};
use super::matching::{FailurePolicy, Match, MatchOutcome, Needs, Subject, VersionedAttributes, Views, WEBHOOKS};
use super::metrics::Called;
use super::{Attributes, Operation};
use crate::access::remote;
use crate::webhook::{Users, WebhookError};
pub(super) use configuration::{Mutating, Validating};
use configuration::{SideEffects, Webhook};
pub(super) use mutating::PLUGIN as MUTATING;
use review::{Response, Review};
pub(super) use validating::PLUGIN as VALIDATING;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookAdmission {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    kube_config_file: PathBuf,
}

/// As whom webhooks are asked: a WebhookAdmissionConfiguration names a kubeconfig, whose users are named after hosts.
pub(super) fn configure(configuration: Value) -> Result<Users, AdmissionConfigurationError> {
    // The kind had another name in the first version.
    let (expected, version) = match api::meta::kind(&configuration) {
        "WebhookAdmission" => ("apiserver.config.k8s.io/v1alpha1 WebhookAdmission", "v1alpha1"),
        _ => ("apiserver.config.k8s.io/v1 WebhookAdmissionConfiguration", "v1"),
    };
    let read: WebhookAdmission = typed(expected, &[version], configuration)?;
    if !read.kube_config_file.is_absolute() {
        return Err(AdmissionConfigurationError::RelativeKubeconfig(read.kube_config_file));
    }
    Ok(remote::users(&read.kube_config_file)?)
}

/// Why a webhook's answer is none or no.
#[derive(Debug)]
enum Failure {
    /// It could not be asked, and the status that this is; what it means is for its failure policy to say.
    Call(String, u16),
    /// It refused.
    Refused(Box<Status>),
    /// What it wants, or what is asked of it, cannot be done.
    Impossible(Box<Status>),
}

impl Failure {
    fn internal(why: impl std::fmt::Display) -> Self {
        Self::Impossible(Box::new(Status::internal(why)))
    }
}

/// The request as it is reviewed, and the object that may be changed: a deletion has none.
fn reviewed<'a>(attributes: &Attributes<'a>, object: &'a Value) -> (Attributes<'a>, Option<&'a Value>) {
    match attributes.operation {
        Operation::Delete => (Attributes { old: Some(object), ..*attributes }, None),
        _ => (*attributes, Some(object)),
    }
}

impl Webhook {
    /// How the webhook wants to see the request; `None` if it is not for it.
    async fn invocation(&self, views: &mut Views<'_>) -> Result<Option<Match>, Status> {
        let (attributes, object) = views.given();
        let Some(found) = self.criteria.find(attributes, object).await? else { return Ok(None) };
        if self.conditions.is_empty() {
            return Ok(Some(found));
        }
        if ["authorizer", "authorizer.requestResource"].iter().any(|variable| self.conditions.uses(variable)) {
            attributes.registry.fresh().await?;
        }
        let request = views.show(&found).await.map_err(|err| Status::internal(err.message))?;
        match self.judge(&request).await? {
            MatchOutcome::Matches => Ok(Some(found)),
            MatchOutcome::Excluded => Ok(None),
            MatchOutcome::Failed(why) => {
                let resource = attributes.scope.resource;
                Err(Status::forbidden(&resource.group, &resource.plural, attributes.name(object), why))
            }
        }
    }

    async fn judge(&self, request: &VersionedAttributes<'_>) -> Result<MatchOutcome, Status> {
        let needs = Needs::of(|variable| self.conditions.uses(variable));
        let subject = Subject::new(request, needs).await?;
        let inputs = subject.inputs(request.object.as_deref(), request.old.as_deref(), None);
        Ok(self.conditions.evaluate(&WEBHOOKS.activate(&inputs, 0)))
    }

    /// Asks the webhook.
    async fn call(&self, request: &VersionedAttributes<'_>, is_mutating: bool) -> Result<Response, Failure> {
        let attributes = request.attributes;
        if attributes.caller.dry_run && self.side_effects == SideEffects::Possible {
            let why = format!("admission webhook {} does not support dry run", quote(&self.name));
            return Err(Failure::Impossible(Box::new(Status::bad_request(why))));
        }
        let uid = attributes.registry.env.random().uuid();
        let review = Review::new(&uid, self.review_version, request);
        let webhooks = &attributes.registry.webhooks;
        let configuration = &attributes.registry.config.admission;
        let users = match is_mutating {
            true => &configuration.mutating_webhook_users,
            false => &configuration.validating_webhook_users,
        };
        let answer = webhooks.post(&self.client_config, users, self.timeout, review.to_bytes()).await;
        let answer = answer.map_err(|err| {
            let code = if let WebhookError::Status { status, .. } = &err { status.as_u16() } else { 400 };
            Failure::Call(format!("failed to call webhook: {err}"), code)
        })?;
        let response = Response::read(answer, &uid, self.review_version, is_mutating);
        let response =
            response.map_err(|why| Failure::Call(format!("received invalid webhook response: {why}"), 503))?;
        if let Some(annotations) = attributes.caller.annotations {
            for (key, value) in &response.audit_annotations {
                annotations.add(format!("{}/{key}", self.name), value.as_str());
            }
        }
        response.warnings.iter().for_each(|warning| attributes.warn(warning.clone()));
        match response.is_allowed {
            true => Ok(response),
            false => Err(Failure::Refused(Box::new(response.refusal(&self.name)))),
        }
    }

    /// Counts a call in a step that took so long, and what came of it.
    fn count(&self, attributes: &Attributes<'_>, step: &'static str, took: Duration, failure: Option<&Failure>) {
        let metrics = &attributes.registry.admission.metrics;
        let (code, refusal) = match failure {
            None => (200, None),
            Some(Failure::Call(_, code)) if self.failure_policy == FailurePolicy::Ignore => {
                metrics.failed_open(&self.name, step);
                (*code, None)
            }
            Some(Failure::Call(_, code)) => (*code, Some("calling_webhook_error")),
            Some(Failure::Refused(status)) => (status.code, Some("no_error")),
            Some(Failure::Impossible(_)) => (0, Some("apiserver_internal_error")),
        };
        metrics.asked(&self.name, &Called { step, operation: attributes.operation, took, code, refusal });
    }

    /// Whether the request goes on although this failed.
    fn fails_open(&self, failure: &Failure) -> bool {
        matches!((failure, &self.failure_policy), (Failure::Call(..), FailurePolicy::Ignore))
    }

    /// What comes of a failure: an error, or nothing where the webhook may be missed.
    fn failed(&self, failure: Failure) -> Result<(), Status> {
        match failure {
            Failure::Refused(status) | Failure::Impossible(status) => Err(*status),
            Failure::Call(why, _) => {
                let why = format!("failed calling webhook {}: {why}", quote(&self.name));
                match self.failure_policy {
                    FailurePolicy::Fail => {
                        tracing::warn!(webhook = self.name, why, "webhook could not be called, failing closed");
                        Err(Status::internal(why))
                    }
                    FailurePolicy::Ignore => {
                        tracing::warn!(webhook = self.name, why, "webhook could not be called, failing open");
                        Ok(())
                    }
                }
            }
        }
    }
}
