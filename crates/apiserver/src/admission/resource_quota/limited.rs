//! Resources and scopes that nobody uses without a quota for them: `limitedResources` of the plugin's configuration.

use std::collections::BTreeSet;

use api::quota::{Amounts, Evaluator, ScopeTerm};
use api::status::Status;
use serde::Deserialize;
use serde_json::Value;

use super::Request;
use crate::admission::control_config::{AdmissionConfigurationError, check_type, malformed, typed};

/// What is limited where no quota is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitedResource {
    group: String,
    plural: String,
    /// Parts of the names of resources that objects use.
    parts: Vec<String>,
    /// Scopes, of whatever resource.
    scopes: Vec<ScopeTerm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    limited_resources: Vec<Limited>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limited {
    #[serde(default)]
    api_group: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    match_contains: Vec<String>,
    #[serde(default)]
    match_scopes: Vec<Term>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Term {
    scope_name: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

/// Reads the plugin's configuration.
pub(in crate::admission) fn configure(document: Value) -> Result<Vec<LimitedResource>, AdmissionConfigurationError> {
    let expected = "apiserver.config.k8s.io/v1 ResourceQuotaConfiguration";
    let own = "resourcequota.admission.k8s.io/v1beta1 Configuration";
    let read: Configuration = match check_type(own, &["v1beta1", "v1alpha1"], &document) {
        Ok(()) => typed(own, &["v1beta1", "v1alpha1"], document)?,
        Err(_) => typed(expected, &["v1"], document)?,
    };
    let read = read.limited_resources.into_iter().enumerate().map(|(index, limited)| {
        if limited.resource.is_empty() {
            let path = api::field::Path::new("limitedResources").index(index).child("resource");
            return Err(malformed(expected, api::field::FieldError::required(&path, "")));
        }
        let scopes = limited.match_scopes.into_iter();
        let scopes =
            scopes.map(|term| ScopeTerm { name: term.scope_name, operator: term.operator, values: term.values });
        Ok(LimitedResource {
            group: limited.api_group,
            plural: limited.resource,
            parts: limited.match_contains,
            scopes: scopes.collect(),
        })
    });
    read.collect()
}

impl LimitedResource {
    /// The resources that objects of a kind use and that are limited.
    fn names<'u>(&self, evaluator: Evaluator<'_>, usage: &'u Amounts) -> impl Iterator<Item = &'u str> {
        let is_meant = self.group == evaluator.group && self.plural == evaluator.plural;
        let names = usage.keys().map(String::as_str).filter(move |_| is_meant);
        names.filter(|name| self.parts.iter().any(|part| name.contains(part)))
    }
}

impl Request<'_> {
    /// Refuses what uses something limited that none of the namespace's quotas is about.
    pub(super) fn check_covered(&self, limited: &[LimitedResource], quotas: &[Value]) -> Result<(), Status> {
        let (evaluator, object) = (self.evaluator, self.object);
        if limited.is_empty() || self.added().is_empty() {
            return Ok(());
        }
        let mut names: BTreeSet<&str> = limited.iter().flat_map(|each| each.names(evaluator, &self.usage)).collect();
        let hard = |quota: &Value| api::quota::amounts::read(quota.pointer("/status/hard"));
        for quota in quotas.iter().filter(|quota| api::quota::contain(quota, evaluator, object)) {
            let hard = hard(quota);
            names.retain(|name| !hard.contains_key(*name));
        }
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            let why = format!("insufficient quota to consume: {}", names.join(","));
            return Err(self.attributes.forbidden(object, why));
        }
        let contains = |term: &ScopeTerm| term.contains(evaluator, object);
        let covered = quotas.iter().flat_map(ScopeTerm::of_quota).filter(contains);
        let covered: BTreeSet<String> = covered.map(|term| term.name).collect();
        let scopes = limited.iter().flat_map(|each| &each.scopes).filter(|term| contains(term));
        let missing: Vec<String> =
            scopes.filter(|term| !covered.contains(&term.name)).map(ToString::to_string).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => {
                let why = format!("insufficient quota to match these scopes: [{}]", missing.join(" "));
                Err(Status::unclassified(why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(document: Value, expected: Result<usize, &str>) {
        let found = configure(document).map(|limited| limited.len()).map_err(|err| err.to_string());
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned)),
        }
    }

    #[test]
    fn configurations_have_three_versions() {
        let of = |api_version: &str, kind: &str, limited: Value| json!({"apiVersion": api_version, "kind": kind, "limitedResources": limited});
        let pods = json!([{"resource": "pods", "matchContains": ["cpu"]}]);
        let kind = "ResourceQuotaConfiguration";
        check(of("apiserver.config.k8s.io/v1", kind, pods.clone()), Ok(1));
        check(of("resourcequota.admission.k8s.io/v1beta1", "Configuration", pods.clone()), Ok(1));
        check(of("resourcequota.admission.k8s.io/v1alpha1", "Configuration", pods.clone()), Ok(1));
        let why = "expected apiserver.config.k8s.io/v1 ResourceQuotaConfiguration, got apiserver.config.k8s.io/v2";
        check(of("apiserver.config.k8s.io/v2", kind, pods), Err(why));
        let nameless = json!([{"resource": "pods"}, {"matchContains": ["cpu"]}]);
        check(of("apiserver.config.k8s.io/v1", kind, nameless), Err("limitedResources[1].resource: Required value"));
        let unknown = json!([{"resource": "pods", "matches": []}]);
        check(of("apiserver.config.k8s.io/v1", kind, unknown), Err("matches"));
    }
}
