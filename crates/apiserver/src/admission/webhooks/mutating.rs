//! MutatingAdmissionWebhook: one after the other, in the order of their configurations' names, webhooks change the object.

use std::sync::Arc;

use api::decode;
use api::field::quote;
use api::patch;
use api::status::Status;
use serde::Serialize;
use serde_json::Value;

use super::configuration::Webhook;
use super::review::JSON_PATCH;
use super::{Failure, Mutating, reviewed};
use crate::admission::matching::{VersionedAttributes, Views, is_exempt};
use crate::admission::reinvocation::{Callers, Calls};
use crate::admission::{Attributes, Handler, Operation, Plugin};
use crate::audit::Annotations;
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
    let mut webhooks = webhooks.enumerate();
    while let Some(changed) = call_until_changed(&mut webhooks, attributes, calls, object).await? {
        *object = changed;
    }
    Ok(())
}

/// Calls webhooks until one changes the object; what it makes of it.
async fn call_until_changed<'w>(
    webhooks: &mut (impl Iterator<Item = (usize, &'w Webhook)> + Send),
    attributes: &Attributes<'_>,
    calls: &mut Calls,
    object: &Value,
) -> Result<Option<Value>, Status> {
    let (attributes, object) = reviewed(attributes, object);
    let mut views = Views::new(&attributes, object);
    for (index, webhook) in webhooks {
        let Some(found) = webhook.invocation(&mut views).await? else { continue };
        if !calls.may_call(&webhook.id) {
            continue;
        }
        let notes = Notes::new(&attributes, webhook, index);
        let request = views.show(&found).await.map_err(|err| Status::internal(err.message))?;
        let env = &attributes.registry.env;
        let began = env.instant();
        let called = call(webhook, &request, notes.as_ref()).await;
        let took = env.instant().saturating_duration_since(began);
        webhook.count(&attributes, "admit", took, called.as_ref().err());
        let (changed, outcome) = match called {
            Ok(changed) => match changed.zip(object) {
                Some((changed, shown)) => (Some(found.take_back(&attributes, shown, changed).await?), Ok(())),
                None => (None, Ok(())),
            },
            Err(failure) => (None, Err(failure)),
        };
        if let Some(notes) = &notes {
            let has_failed_open = outcome.as_ref().is_err_and(|failure| webhook.fails_open(failure));
            notes.called(changed.is_some(), has_failed_open);
        }
        calls.called(webhook.id.clone(), webhook.is_reinvoked, changed.is_some());
        outcome.or_else(|failure| webhook.failed(failure))?;
        if changed.is_some() {
            return Ok(changed);
        }
    }
    Ok(None)
}

/// What came of a call, for the audit log.
struct Notes<'a> {
    annotations: &'a Annotations,
    webhook: &'a Webhook,
    /// The end of the keys: which call it is.
    at: String,
}

/// The annotation of a call: its fields in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Note<'a> {
    configuration: &'a str,
    webhook: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
}

impl<'a> Notes<'a> {
    /// None if nobody reads them.
    fn new(attributes: &Attributes<'a>, webhook: &'a Webhook, index: usize) -> Option<Self> {
        let annotations = attributes.caller.annotations?;
        let round = attributes.reinvocation.map_or(0, |rounds| rounds.round());
        Some(Self { annotations, webhook, at: format!("webhook.admission.k8s.io/round_{round}_index_{index}") })
    }

    fn note(&self) -> Note<'_> {
        let Webhook { configuration, name, .. } = self.webhook;
        Note { configuration, webhook: name, mutated: None, patch: None, patch_type: None }
    }

    /// The webhook was called.
    fn called(&self, mutated: bool, has_failed_open: bool) {
        let note = Note { mutated: Some(mutated), ..self.note() };
        self.annotations.add(format!("mutation.{}", self.at), text(&note));
        if has_failed_open {
            self.annotations.add(format!("failed-open.mutation.{}", self.at), self.webhook.name.as_str());
        }
    }

    /// Its patch was applied: that is about as much as the body of the request.
    fn patched(&self, patch: &Value) {
        let note = || text(&Note { patch: Some(patch), patch_type: Some(JSON_PATCH), ..self.note() });
        self.annotations.add_of_body(format!("patch.{}", self.at), note);
    }
}

fn text(note: &Note<'_>) -> String {
    serde_json::to_string(note).expect("its keys are texts")
}

/// Asks a webhook; answers what it makes of the object, if it changes it.
async fn call(
    webhook: &Webhook,
    request: &VersionedAttributes<'_>,
    notes: Option<&Notes<'_>>,
) -> Result<Option<Value>, Failure> {
    let response = webhook.call(request, true).await?;
    if response.patch.is_empty() {
        return Ok(None);
    }
    let patch: Value = serde_json::from_slice(&response.patch).map_err(Failure::internal)?;
    if patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let Some(before) = request.object.as_deref() else {
        let name = quote(&webhook.name);
        let why = format!(
            "admission webhook {name} attempted to modify the object, which is not supported for this operation"
        );
        return Err(Failure::internal(why));
    };
    if response.patch_type != JSON_PATCH {
        return Err(Failure::Call(format!("unsupported patch type {}", quote(&response.patch_type)), 0));
    }
    let patched = patch::json::apply(before.clone(), &patch).map_err(|err| {
        let name = quote(&webhook.name);
        Failure::internal(format!("the patch of admission webhook {name} does not apply: {}", err.message))
    })?;
    let patched = settle(request, before, patched).map_err(|err| Failure::internal(err.message))?;
    if let Some(notes) = notes {
        notes.patched(&patch);
    }
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
    let resource = request.resource();
    if request.expected().is_some_and(|expected| expected.kind == &*resource.kind) {
        check_applied(resource, &mut patched)?;
        complete(resource, &mut patched);
        decode::settle(&mut patched, resource.schema);
    }
    Ok(patched)
}
