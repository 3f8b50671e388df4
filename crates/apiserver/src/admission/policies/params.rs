//! Parameters of policies: objects of any kind, which bindings name or select.

use std::sync::Arc;

use api::kinds::Resource;
use api::selector::LabelSelector;
use api::status::Status;
use serde_json::Value;

use super::super::Attributes;
use crate::cache::Object;
use crate::registry::{Current, Registry, Scope};

/// `paramKind` of a policy.
pub(super) struct ParamKind {
    api_version: String,
    kind: String,
}

/// `paramRef` of a binding.
pub(super) struct ParamRef {
    wanted: Wanted,
    namespace: String,
    /// Whether a request is refused when there are none.
    is_needed: bool,
}

/// Which objects a binding means.
enum Wanted {
    Named(String),
    /// Those that a selector selects, or what is wrong with it.
    Selected(Result<LabelSelector, String>),
}

impl ParamKind {
    pub(super) fn read(kind: &Value) -> Option<Self> {
        let text = |field: &str| kind[field].as_str().unwrap_or_default().to_owned();
        kind.is_object().then(|| Self { api_version: text("apiVersion"), kind: text("kind") })
    }

    /// The resource whose objects are parameters, or why there are none.
    pub(super) fn resource(&self, registry: &Registry) -> Result<Arc<Resource>, String> {
        let (group, version) = api::meta::split_api_version(&self.api_version);
        let kinds = registry.kinds();
        let found = kinds.find_kind(group, version, &self.kind);
        let served = found.filter(|found| kinds.find(group, version, &found.plural).is_some());
        served.cloned().ok_or_else(|| {
            let kind = &self.kind;
            format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")
        })
    }
}

impl ParamRef {
    pub(super) fn read(reference: &Value) -> Option<Self> {
        if !reference.is_object() {
            return None;
        }
        let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
        let wanted = match text("name") {
            name if name.is_empty() => Wanted::Selected(selector(&reference["selector"])),
            name => Wanted::Named(name),
        };
        let is_needed = reference["parameterNotFoundAction"] == "Deny";
        Some(Self { wanted, namespace: text("namespace"), is_needed })
    }
}

fn selector(selector: &Value) -> Result<LabelSelector, String> {
    let selector = serde_json::from_value(selector.clone()).map_err(|err| err.to_string())?;
    LabelSelector::from_k8s(&selector).map_err(|err| err.to_string())
}

/// The parameters that a policy is asked with, one after the other; `None` stands for no parameter. The policy is not
/// asked where there are none.
pub(super) async fn collect(
    kind: Option<&Resource>,
    reference: Option<&ParamRef>,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Result<Vec<Option<Value>>, String> {
    let Some((resource, reference)) = kind.zip(reference) else { return Ok(vec![None]) };
    let scope = scope_of(resource, reference, attributes.namespace(object))?;
    let registry = attributes.registry;
    let mut found = find(registry, scope, reference)?;
    if found.is_empty() {
        // It may have been made a moment ago.
        registry.fresh().await.map_err(|status| status.message)?;
        found = find(registry, scope, reference)?;
    }
    if found.is_empty() && reference.is_needed {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    let mut params = Vec::with_capacity(found.len());
    for object in found {
        params.push(Some(shown(registry, resource, &object).await.map_err(|status| status.message)?));
    }
    Ok(params)
}

/// Where parameters are: those of a namespaced kind in the namespace of the binding, or in that of the request.
fn scope_of<'a>(resource: &'a Resource, reference: &'a ParamRef, own: &'a str) -> Result<Scope<'a>, String> {
    let namespace = match (resource.namespaced, &*reference.namespace) {
        (false, "") => None,
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (true, "") if own.is_empty() => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.to_owned());
        }
        (true, "") => Some(own),
        (true, named) => Some(named),
    };
    Ok(Scope { resource, namespace })
}

fn find(registry: &Registry, scope: Scope<'_>, reference: &ParamRef) -> Result<Vec<Arc<Object>>, String> {
    match &reference.wanted {
        Wanted::Named(name) => Ok(registry.cached(scope.resource, &scope.key(name)).into_iter().collect()),
        Wanted::Selected(selector) => {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            let cache = registry.resource_cache(scope.resource).map_err(|status| status.message)?;
            let snapshot = cache.snapshot(0);
            Ok(snapshot
                .range(scope.namespace)
                .filter(|object| selector.matches_lookup(|key| object.labels.get(key)))
                .cloned()
                .collect())
        }
    }
}

/// An object in the version that the policy names.
async fn shown(registry: &Registry, resource: &Resource, object: &Object) -> Result<Value, Status> {
    let current = Current::cached(object);
    let converted = registry.convert_current(resource, Some(current)).await?;
    Ok(converted.map(|current| current.value).unwrap_or_default())
}
