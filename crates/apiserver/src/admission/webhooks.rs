//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others are asked about requests over HTTPS.

mod configuration;
mod mutating;
mod review;
mod validating;

use api::field::quote;
use api::status::Status;
use serde_json::Value;

use super::matching::{FailurePolicy, Match, MatchOutcome, Needs, Subject, VersionedAttributes, WEBHOOKS};
use super::{Attributes, Operation};
pub(super) use configuration::{Mutating, Validating};
use configuration::{SideEffects, Webhook};
pub(super) use mutating::PLUGIN as MUTATING;
use review::{Response, Review};
pub(super) use validating::PLUGIN as VALIDATING;

/// Why a webhook's answer is none or no.
#[derive(Debug)]
enum Failure {
    /// It could not be asked; what that means is for its failure policy to say.
    Call(String),
    /// It refused, or what it wants cannot be done.
    Refused(Box<Status>),
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
    async fn invocation(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<Option<Match>, Status> {
        let Some(found) = self.criteria.find(attributes, object).await? else { return Ok(None) };
        if self.conditions.is_empty() {
            return Ok(Some(found));
        }
        if ["authorizer", "authorizer.requestResource"].iter().any(|variable| self.conditions.uses(variable)) {
            attributes.registry.fresh().await?;
        }
        let request = found.show(attributes, object).await.map_err(|err| Status::internal(err.message))?;
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
        let refused = |status: Status| Failure::Refused(Box::new(status));
        if attributes.caller.dry_run && self.side_effects == SideEffects::Possible {
            let why = format!("admission webhook {} does not support dry run", quote(&self.name));
            return Err(refused(Status::bad_request(why)));
        }
        let uid = attributes.registry.env.random().uuid();
        let review = Review::new(&uid, self.review_version, request);
        let webhooks = &attributes.registry.webhooks;
        let answer = webhooks.post(&self.client_config, self.timeout, review.to_bytes()).await;
        let answer = answer.map_err(|err| Failure::Call(format!("failed to call webhook: {err}")))?;
        let response = Response::read(answer, &uid, self.review_version, is_mutating);
        let response = response.map_err(|why| Failure::Call(format!("received invalid webhook response: {why}")))?;
        if let Some(annotations) = attributes.caller.annotations {
            for (key, value) in &response.audit_annotations {
                annotations.add(format!("{}/{key}", self.name), value.as_str());
            }
        }
        response.warnings.iter().for_each(|warning| attributes.warn(warning.clone()));
        match response.is_allowed {
            true => Ok(response),
            false => Err(refused(response.refusal(&self.name))),
        }
    }

    /// Whether the request goes on although this failed.
    fn fails_open(&self, failure: &Failure) -> bool {
        matches!((failure, &self.failure_policy), (Failure::Call(_), FailurePolicy::Ignore))
    }

    /// What comes of a failure: an error, or nothing where the webhook may be missed.
    fn failed(&self, failure: Failure) -> Result<(), Status> {
        match failure {
            Failure::Refused(status) => Err(*status),
            Failure::Call(why) => {
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
