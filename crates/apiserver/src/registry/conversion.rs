//! Custom resources in other versions, for definitions that leave the conversion to a webhook: ConversionReview.

use std::sync::Arc;
use std::time::Duration;

use api::custom::{Conversion, Custom};
use api::kinds::Resource;
use api::status::Status;
use api::structural::Malformed;
use serde_json::{Value, json};

use super::Registry;
use crate::cache::{Change, Object};
use crate::webhook::Users;

/// How long a conversion may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The versions of ConversionReview that this server speaks, the best first.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The webhook of a resource's definition, if it has one.
fn webhook_of(resource: &Resource) -> Option<(&Custom, &Value)> {
    let custom = resource.custom.as_ref()?;
    match &custom.definition.conversion {
        Conversion::Webhook(webhook) => Some((custom, webhook)),
        Conversion::None => None,
    }
}

/// Whether a webhook converts the objects of a resource.
pub(super) fn is_by_webhook(resource: &Resource) -> bool {
    webhook_of(resource).is_some()
}

impl Registry {
    /// Objects of the cache, those that a webhook has to convert in the version of the resource.
    pub(crate) async fn in_version(
        &self,
        resource: &Resource,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        if !is_by_webhook(resource) {
            return Ok(objects);
        }
        let others: Vec<usize> = (0..objects.len()).filter(|index| !objects[*index].is_in(resource)).collect();
        let values = others.iter().map(|index| objects[*index].value()).collect();
        let converted = self.converted(resource, &resource.api_version(), values).await?;
        for (index, value) in others.into_iter().zip(converted) {
            objects[index] = Arc::new(objects[index].in_version(resource, &value));
        }
        Ok(objects)
    }

    /// Changes of such objects.
    pub(crate) async fn changes_in_version(
        &self,
        resource: &Resource,
        changes: Vec<Change>,
    ) -> Result<Vec<Change>, Status> {
        if !is_by_webhook(resource) {
            return Ok(changes);
        }
        let objects = changes.iter().map(|change| change.object.clone()).collect();
        let objects = self.in_version(resource, objects).await?;
        Ok(changes.into_iter().zip(objects).map(|(change, object)| change.showing(object)).collect())
    }

    /// Documents in another version; those that are in it already stay as they are.
    pub(super) async fn converted(
        &self,
        resource: &Resource,
        api_version: &str,
        mut values: Vec<Value>,
    ) -> Result<Vec<Value>, Status> {
        let Some((custom, webhook)) = webhook_of(resource) else { return Ok(values) };
        let others: Vec<usize> =
            (0..values.len()).filter(|index| api::meta::api_version(&values[*index]) != api_version).collect();
        if others.is_empty() {
            return Ok(values);
        }
        let sent: Vec<Value> = others.iter().map(|index| values[*index].clone()).collect();
        let gvk = |value: &Value| {
            let (group, version) = api::meta::split_api_version(api::meta::api_version(value));
            format!("{group}/{version}, Kind={}", api::meta::kind(value))
        };
        let what = gvk(&sent[0]);
        let failed = |why: String| Status::unclassified(format!("conversion webhook for {what} {why}"));
        let answer = self.review(webhook, api_version, &sent).await.map_err(|why| failed(format!("failed: {why}")))?;
        if answer.len() != sent.len() {
            return Err(failed(format!("returned {} objects, expected {}", answer.len(), sent.len())));
        }
        let (_, version) = api::meta::split_api_version(api_version);
        for ((position, index), mut value) in others.iter().enumerate().zip(answer) {
            let invalid = |why: String| failed(format!("returned invalid converted object at index {position}: {why}"));
            let original = &sent[position];
            if api::meta::api_version(&value) != api_version {
                let found = api::meta::api_version(&value);
                return Err(invalid(format!("invalid groupVersion (expected {api_version}, received {found})")));
            }
            if api::meta::kind(&value) != api::meta::kind(original) {
                let (wanted, found) = (api::meta::kind(original), api::meta::kind(&value));
                return Err(invalid(format!("invalid kind (expected {wanted}, received {found})")));
            }
            keep_metadata(&mut value, original).map_err(|why| failed(format!("returned invalid metadata: {why}")))?;
            if let Some(declared) = custom.definition.version(version) {
                let _ = declared.structural.coerce_metadata(&mut value, true, Malformed::Drop);
                declared.structural.prune(&mut value);
                declared.structural.drop_nulls(&mut value);
            }
            values[*index] = value;
        }
        Ok(values)
    }

    /// Asks the webhook; the error says what went wrong.
    async fn review(&self, webhook: &Value, api_version: &str, objects: &[Value]) -> Result<Vec<Value>, String> {
        let accepted = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        let mut accepted = accepted.filter_map(Value::as_str);
        let version = accepted.find(|version| REVIEW_VERSIONS.contains(version));
        let version = version.ok_or("no supported conversion review versions")?;
        let uid = self.env.random().uuid();
        let review = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        });
        let mut answer = self
            .webhooks
            .post(&webhook["clientConfig"], &Users::default(), TIMEOUT, review.to_string().into())
            .await
            .map_err(|err| err.to_string())?;
        let response = &mut answer["response"];
        if response["uid"] != uid && version == "v1" {
            let found = response["uid"].as_str().unwrap_or_default();
            return Err(format!("invalid response: expected response.uid={uid}, got {found}"));
        }
        if response["result"]["status"] != "Success" {
            return Err(match response["result"]["message"].as_str() {
                Some(message) if !message.is_empty() => message.to_owned(),
                _ => format!("conversion request failed: {}", response["result"]["status"]),
            });
        }
        match response["convertedObjects"].take() {
            Value::Array(objects) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }
}

/// Of the metadata a webhook may change labels and annotations, and nothing else.
fn keep_metadata(converted: &mut Value, original: &Value) -> Result<(), &'static str> {
    let Some(changed) = converted["metadata"].as_object() else { return Err("missing metadata in converted object") };
    let mut metadata = original["metadata"].clone();
    for field in ["labels", "annotations"] {
        match changed.get(field) {
            Some(value) if value.is_object() => metadata[field] = value.clone(),
            Some(value) if !value.is_null() => return Err("labels and annotations must be maps"),
            _ => {
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.remove(field);
                }
            }
        }
    }
    converted["metadata"] = metadata;
    Ok(())
}
