//! MutatingAdmissionWebhook: one after the other, in the order of their configurations' names, webhooks change the object.

use std::sync::Arc;

use api::decode;
use api::field::quote;
use api::patch;
use api::status::Status;
use serde_json::{Value, json};

use super::configuration::Webhook;
use super::{Failure, Mutating, reviewed};
use crate::admission::matching::{VersionedAttributes, is_exempt};
use crate::admission::reinvocation::{Callers, Calls};
use crate::admission::{Attributes, Handler, Operation, Plugin};
use crate::registry::{check_applied, complete};

pub(in crate::admission) const PLUGIN: Plugin = Plugin {
    admit: &[
        (Operation::Create, HANDLER),
        (Operation::Update, HANDLER),
        (Operation::Delete, HANDLER),
        (Operation::Connect, HANDLER),
    ],
    ..Plugin::named(NAME)
};

const NAME: &str = "MutatingAdmissionWebhook";

const HANDLER: Handler = Handler::Later(|attributes, object| Box::pin(admit(attributes, object)));

async fn admit(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let configurations = attributes.registry.admission.mutating_webhooks.read(|all| all.all());
    if configurations.is_empty() || is_exempt(attributes) {
        return Ok(());
    }
    let mut calls = attributes.begin_round(Callers::Webhooks, object);
    let done = call_all(&configurations, attributes, &mut calls, object).await;
    attributes.end_round(Callers::Webhooks, calls, object);
    done
}

async fn call_all(
    configurations: &[Arc<Mutating>],
    attributes: &Attributes<'_>,
    calls: &mut Calls,
    object: &mut Value,
) -> Result<(), Status> {
    let webhooks = configurations.iter().flat_map(|configuration| &configuration.0);
    for (index, webhook) in webhooks.enumerate() {
        let (changed, outcome) = {
            let (attributes, object) = reviewed(attributes, object);
            let Some(found) = webhook.invocation(&attributes, object).await? else { continue };
            if !calls.may_call(&webhook.id) {
                continue;
            }
            let request = found.show(&attributes, object).await.map_err(|err| Status::internal(err.message))?;
            match call(webhook, &request).await {
                Ok(changed) => match changed.zip(object) {
                    Some((changed, shown)) => (Some(found.take_back(&attributes, shown, changed).await?), Ok(())),
                    None => (None, Ok(())),
                },
                Err(failure) => (None, Err(failure)),
            }
        };
        note(attributes, webhook, index, changed.is_some(), outcome.as_ref().err());
        calls.called(webhook.id.clone(), webhook.is_reinvoked, changed.is_some());
        if let Some(changed) = changed {
            *object = changed;
        }
        outcome.or_else(|failure| webhook.failed(failure))?;
    }
    Ok(())
}

/// Notes for the audit log what came of a call.
fn note(attributes: &Attributes<'_>, webhook: &Webhook, index: usize, mutated: bool, failure: Option<&Failure>) {
    let Some(annotations) = attributes.caller.annotations else { return };
    let round = attributes.reinvocation.map_or(0, |rounds| rounds.round());
    let at = format!("webhook.admission.k8s.io/round_{round}_index_{index}");
    if failure.is_some_and(|failure| webhook.fails_open(failure)) {
        annotations.add(format!("failed-open.mutating.{at}"), webhook.name.as_str());
    } else {
        let note = json!({"configuration": webhook.configuration, "webhook": webhook.name, "mutated": mutated});
        annotations.add(format!("mutation.{at}"), note.to_string());
    }
}

/// Asks a webhook; answers what it makes of the object, if it changes it.
async fn call(webhook: &Webhook, request: &VersionedAttributes<'_>) -> Result<Option<Value>, Failure> {
    let response = webhook.call(request, true).await?;
    let internal = |why: &dyn std::fmt::Display| Failure::Refused(Box::new(Status::internal(why)));
    if response.patch.is_empty() {
        return Ok(None);
    }
    let patch: Value = serde_json::from_slice(&response.patch).map_err(|err| internal(&err))?;
    if patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let Some(before) = request.object.as_deref() else {
        let name = quote(&webhook.name);
        let why = format!(
            "admission webhook {name} attempted to modify the object, which is not supported for this operation"
        );
        return Err(internal(&why));
    };
    let patched = patch::json::apply(before.clone(), &patch).map_err(|err| {
        let name = quote(&webhook.name);
        internal(&format!("the patch of admission webhook {name} does not apply: {}", err.message))
    })?;
    let patched = settle(request, before, patched).map_err(|err| internal(&err.message))?;
    Ok((patched != *before).then_some(patched))
}

/// Brings what a patch made into the form of its type, with defaults for what is new.
fn settle(request: &VersionedAttributes<'_>, before: &Value, mut patched: Value) -> Result<Value, Status> {
    for field in ["apiVersion", "kind"] {
        if patched[field] != before[field] {
            let (found, wanted) = (&patched[field], &before[field]);
            return Err(Status::internal(format!("the patch changes {field} from {wanted} to {found}")));
        }
    }
    let resource = request.resource;
    if request.expected().is_some_and(|expected| expected.kind == &*resource.kind) {
        check_applied(resource, &mut patched)?;
        complete(resource, &mut patched);
        decode::settle(&mut patched, resource.schema);
    }
    Ok(patched)
}
