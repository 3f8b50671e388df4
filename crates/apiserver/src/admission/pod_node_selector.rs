//! PodNodeSelector: pods of a namespace go to the nodes that its annotation names.

use std::collections::BTreeMap;

use api::status::Status;
use serde::Deserialize;
use serde_json::Value;

use super::control_config::AdmissionConfigurationError;
use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(merge))],
    validate: &[(Operation::Create, Handler::Now(|attributes, pod| checked(attributes, pod).map(drop)))],
    ..Plugin::off("PodNodeSelector")
};

/// The labels of nodes that a namespace names, as `key=value` with commas between.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";

/// Names the selector of namespaces without that annotation, in the plugin's configuration.
const DEFAULT: &str = "clusterDefaultNodeSelector";

/// Gives a pod the selector of its namespace.
fn merge(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    for (key, value) in checked(attributes, pod)? {
        pod["spec"]["nodeSelector"][key] = value.into();
    }
    Ok(())
}

/// The selector of the namespace, which that of the pod must not contradict.
fn checked(attributes: &Attributes<'_>, pod: &Value) -> Result<BTreeMap<String, String>, Status> {
    let Some(namespace) = attributes.scope.namespace.filter(|_| attributes.is("", "pods")) else {
        return Ok(BTreeMap::new());
    };
    let Some(namespace) = attributes.registry.cached_by("", "v1", "namespaces", None, namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let namespace = namespace.value();
    let selectors = &attributes.registry.config.admission.node_selectors;
    let configured = |name: &str| selectors.get(name).map_or("", String::as_str);
    let selector = parse(api::meta::annotation(&namespace, ANNOTATION).unwrap_or_else(|| configured(DEFAULT)));
    let selector = selector.map_err(|why| Status::unclassified(format!("{why}: annotation {ANNOTATION}")))?;
    let wanted = |key: &String| pod["spec"]["nodeSelector"].get(key).and_then(Value::as_str);
    if selector.iter().any(|(key, value)| wanted(key).is_some_and(|wanted| wanted != value)) {
        let why = "pod node label selector conflicts with its namespace node label selector";
        return Err(attributes.forbidden(pod, why));
    }
    let bounds = parse(configured(api::meta::name(&namespace))).map_err(Status::unclassified)?;
    let chosen = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let is_within = |(key, value): (&String, &Value)| bounds.get(key).is_some_and(|bound| value == bound);
    if !bounds.is_empty() && !chosen.into_iter().all(is_within) {
        return Err(attributes.forbidden(pod, "pod node label selector labels conflict with its namespace whitelist"));
    }
    Ok(selector)
}

/// Reads the plugin's configuration.
pub(super) fn configure(document: Value) -> Result<BTreeMap<String, String>, AdmissionConfigurationError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Configuration {
        pod_node_selector_plugin_config: BTreeMap<String, String>,
    }
    let what = "the configuration of PodNodeSelector";
    let malformed = |why: String| AdmissionConfigurationError::Malformed { what, why };
    let read: Configuration = serde_json::from_value(document).map_err(|err| malformed(err.to_string()))?;
    for selector in read.pod_node_selector_plugin_config.values() {
        parse(selector).map_err(malformed)?;
    }
    Ok(read.pod_node_selector_plugin_config)
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
    let pair = |term: &str| {
        let (key, value) = term.split_once('=').ok_or_else(|| format!("invalid selector: {text:?}"))?;
        Ok((key.trim().to_owned(), value.trim_start_matches('=').trim().to_owned()))
    };
    terms.map(pair).collect()
}
