//! How a definition's objects get from one version to another.

use serde_json::Value;

use super::{list, text};
use crate::custom::conditions;
use crate::custom::names::ESTABLISHED;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{ca_bundle, check, names, urls};

/// The versions of ConversionReview that the server speaks.
const KNOWN: [&str; 2] = ["v1", "v1beta1"];

/// Which bundles of authorities a webhook may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bundle {
    /// Any: a definition with one that cannot be read is not established.
    Any,
    /// One that can be read.
    Valid,
}

impl Bundle {
    /// What is established stays so: it may lose no bundle that can be read.
    pub(super) fn after(old: &Value) -> Self {
        let was_valid = invalid_bundle(old).is_none();
        if conditions::is_true(old, ESTABLISHED) && was_valid { Self::Valid } else { Self::Any }
    }
}

/// What is wrong with the bundle of a definition's webhook.
pub(crate) fn invalid_bundle(crd: &Value) -> Option<String> {
    ca_bundle::problem(text(&crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"]))
}

pub(super) fn judge(conversion: &Value, preserves: bool, bundle: Bundle, path: &Path, errors: &mut ErrorList) {
    if conversion.is_null() {
        return;
    }
    let strategy = text(&conversion["strategy"]);
    if preserves && strategy != "None" {
        let why = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid(&path.child("strategy"), strategy, why));
    }
    check::required_one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"]);
    let webhook = &conversion["webhook"];
    let config = &webhook["clientConfig"];
    let (config_path, versions_path) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    let versions = list(&webhook["conversionReviewVersions"]);
    if strategy == "Webhook" {
        match config.is_object() {
            true => client(config, bundle, &config_path, errors),
            false => errors.push(FieldError::required(&config_path, "required when strategy is set to Webhook")),
        }
        review_versions(versions, &versions_path, errors);
        return;
    }
    let why = "should not be set when strategy is not set to Webhook";
    if config.is_object() {
        errors.push(FieldError::forbidden(&config_path, why));
    }
    if !versions.is_empty() {
        errors.push(FieldError::forbidden(&versions_path, why));
    }
}

fn client(config: &Value, bundle: Bundle, path: &Path, errors: &mut ErrorList) {
    match (config["url"].as_str(), &config["service"]) {
        (Some(url), Value::Null) => urls::webhook_url(url, &path.child("url"), errors),
        (None, service @ Value::Object(_)) => {
            let target = urls::Service {
                name: text(&service["name"]),
                namespace: text(&service["namespace"]),
                path: service["path"].as_str(),
                port: service["port"].as_i64().and_then(|port| i32::try_from(port).ok()).unwrap_or(443),
            };
            urls::webhook_service(&target, &path.child("service"), errors);
        }
        _ => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
    let authorities = text(&config["caBundle"]);
    if let Some(why) = ca_bundle::problem(authorities).filter(|_| bundle == Bundle::Valid) {
        errors.push(FieldError::invalid(&path.child("caBundle"), authorities, why));
    }
}

fn review_versions(versions: &[Value], path: &Path, errors: &mut ErrorList) {
    if versions.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let at = path.index(index);
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(&at, version.clone(), "duplicate version"));
            continue;
        }
        for why in names::dns_1035_label(text(version)) {
            errors.push(FieldError::invalid(&at, version.clone(), why));
        }
    }
    if !versions.iter().any(|version| KNOWN.contains(&text(version))) {
        let why = format!("must include at least one of {}", KNOWN.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), why));
    }
}
