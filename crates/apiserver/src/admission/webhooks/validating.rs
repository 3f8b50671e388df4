//! ValidatingAdmissionWebhook: all webhooks that a request is for are asked at once, and each can refuse it.

use api::status::Status;
use futures::future::join_all;
use serde_json::Value;

use super::{Failure, reviewed};
use crate::admission::matching::{Views, is_exempt};
use crate::admission::{Attributes, Handler, Operation, Plugin};

pub(in crate::admission) const PLUGIN: Plugin = Plugin {
    validate: &[
        (Operation::Create, HANDLER),
        (Operation::Update, HANDLER),
        (Operation::Delete, HANDLER),
        (Operation::Connect, HANDLER),
    ],
    ..Plugin::named("ValidatingAdmissionWebhook")
};

const HANDLER: Handler = Handler::Later(|attributes, object| Box::pin(validate(attributes, object)));

async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let configurations = attributes.registry.admission.validating_webhooks.read(|all| all.all());
    if configurations.is_empty() || is_exempt(attributes) {
        return Ok(());
    }
    let (attributes, object) = reviewed(attributes, object);
    let mut views = Views::new(&attributes, object);
    let mut found = Vec::new();
    for webhook in configurations.iter().flat_map(|configuration| &configuration.0) {
        if let Some(invocation) = webhook.invocation(&mut views).await? {
            found.push((webhook, views.show(&invocation).await));
        }
    }
    let calls = found.iter().map(async |(webhook, request)| {
        let request = request.as_ref().map_err(|err| Failure::internal(&err.message))?;
        let env = &attributes.registry.env;
        let began = env.instant();
        let answer = webhook.call(request, false).await;
        let took = env.instant().saturating_duration_since(began);
        webhook.count(&attributes, "validating", took, answer.as_ref().err());
        answer
    });
    let mut outcome = Ok(());
    for (index, ((webhook, _), answer)) in found.iter().zip(join_all(calls).await).enumerate() {
        let Err(failure) = answer else { continue };
        if let (true, Some(annotations)) = (webhook.fails_open(&failure), attributes.caller.annotations) {
            let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
            annotations.add(key, webhook.name.as_str());
        }
        // The first refusal is told; others are in the log.
        outcome = outcome.and(webhook.failed(failure));
    }
    outcome
}
