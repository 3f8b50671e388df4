//! PodNodeSelector: pods of a namespace go to the nodes that its annotation names.

use std::collections::BTreeMap;

use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(merge))],
    validate: &[(Operation::Create, Handler::Now(|attributes, pod| checked(attributes, pod).map(drop)))],
    ..Plugin::off("PodNodeSelector")
};

/// The labels of nodes that a namespace names, as `key=value` with commas between.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";

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
    let selector = parse(api::meta::annotation(&namespace, ANNOTATION).unwrap_or_default());
    let selector = selector.map_err(|why| Status::unclassified(format!("{why}: annotation {ANNOTATION}")))?;
    let wanted = |key: &String| pod["spec"]["nodeSelector"].get(key).and_then(Value::as_str);
    if selector.iter().any(|(key, value)| wanted(key).is_some_and(|wanted| wanted != value)) {
        let why = "pod node label selector conflicts with its namespace node label selector";
        return Err(attributes.forbidden(pod, why));
    }
    Ok(selector)
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
    let pair = |term: &str| {
        let (key, value) = term.split_once('=').ok_or_else(|| format!("invalid selector: {text:?}"))?;
        Ok((key.trim().to_owned(), value.trim_start_matches('=').trim().to_owned()))
    };
    terms.map(pair).collect()
}
