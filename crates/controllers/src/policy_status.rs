//! The status of validating admission policies: what is wrong with the types of their expressions.
//!
//! A policy is written before anybody knows which objects it will see, so that a wrong field is no error. The types of
//! the resources that its rules name are looked up in the OpenAPI documents of the API server, and what does not fit
//! becomes a warning in the status. It changes nothing about what the policy does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use cel::admission::{Environment, Purpose};
use cel::{CompileError, Decl, Schemas};
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use http::Request;
use k8s_openapi::api::admissionregistration::v1::{
    NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Attempt, SyncError};

const NAME: &str = "validatingadmissionpolicy-status-controller";

/// Policies for more kinds are checked against the first of them.
const MAX_KINDS: usize = 10;

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let policies = context.informers.of::<ValidatingAdmissionPolicy>();
    let lister = Arc::new(policies.lister());
    Controller::new(NAME, context.env.clone())
        .watch(&policies, |event, queue| {
            if !event.is_deleted() && is_unseen(event.object()) {
                queue.add(ObjectKey::of(&**event.object()));
            }
        })
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move { sync(&context, &lister, &key).await }
        })
        .await
}

/// Whether the policy has changed since its status was written.
fn is_unseen(policy: &ValidatingAdmissionPolicy) -> bool {
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
    policy.metadata.generation > Some(observed.unwrap_or(0))
}

async fn sync(
    context: &Context,
    policies: &Lister<ValidatingAdmissionPolicy>,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    let Some(policy) = policies.get_key(key).filter(|policy| is_unseen(policy)) else { return Ok(None) };
    let spec = policy.spec.clone().unwrap_or_default();
    let types = Types::of_policy(&context.client, &spec).await.attempt("look up the types of", key)?;
    let warnings: Vec<Value> =
        types.check(&spec).into_iter().map(|(field, warning)| json!({"fieldRef": field, "warning": warning})).collect();
    let status = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": key.name},
        "status": {
            "observedGeneration": policy.metadata.generation,
            "typeChecking": if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) },
        },
    });
    let api: Api<ValidatingAdmissionPolicy> = context.cluster();
    let params = PatchParams::apply(NAME).force();
    let applied = api.patch_status(&key.name, &params, &Patch::Apply(status)).await;
    objects::ignore_not_found(applied).attempt("write the status of", key)?;
    Ok(None)
}

/// A group, a version, and a kind or a plural.
type Name = (String, String, String);

/// What is known of the objects that a policy sees.
#[derive(Default)]
struct Types {
    /// The kinds that its rules name, in order.
    objects: Vec<(Name, Arc<Decl>)>,
    params: Option<Arc<Decl>>,
}

impl Types {
    async fn of_policy(client: &kube::Client, spec: &ValidatingAdmissionPolicySpec) -> Result<Self, kube::Error> {
        let rules = spec.match_constraints.iter().flat_map(|resources| resources.resource_rules.iter().flatten());
        let mut found = Kinds { client, documents: BTreeMap::new() };
        let mut kinds = BTreeSet::new();
        for (group, version, plural) in rules.flat_map(named) {
            if kinds.len() == MAX_KINDS {
                break;
            }
            if let Some(kind) = found.kind_of(&group, &version, &plural).await? {
                kinds.insert((group, version, kind));
            }
        }
        let mut types = Self::default();
        for kind in kinds {
            if let Some(decl) = found.decl(&kind).await? {
                types.objects.push((kind, decl));
            }
        }
        if let Some(params) = &spec.param_kind {
            let (group, version) = api::meta::split_api_version(params.api_version.as_deref().unwrap_or_default());
            let kind = params.kind.clone().unwrap_or_default();
            types.params = found.decl(&(group.to_owned(), version.to_owned(), kind)).await?;
        }
        Ok(types)
    }

    /// What is wrong with the expressions of a policy: the field of each that is not right, and why.
    fn check(&self, spec: &ValidatingAdmissionPolicySpec) -> Vec<(String, String)> {
        let mut environments = Vec::new();
        for (kind, object) in &self.objects {
            let mut environment = Environment::typed(object, self.params.as_ref());
            for variable in spec.variables.iter().flatten() {
                environment.add_variable(&variable.name, &variable.expression);
            }
            environments.push((kind, environment));
        }
        let mut warnings = Vec::new();
        let mut check = |field: String, source: &str| {
            let mut wrong = Vec::new();
            for ((group, version, kind), environment) in &environments {
                // What an expression evaluates to was checked when the policy was written.
                if let Some(error) = environment.compile(Purpose::Variable, source).error() {
                    let issues = match error {
                        CompileError::Invalid(issues) => issues.clone(),
                        other => other.to_string(),
                    };
                    wrong.push(format!("{group}/{version}, Kind={kind}: {issues}\n"));
                }
            }
            if !wrong.is_empty() {
                warnings.push((field, wrong.join("\n")));
            }
        };
        for (index, validation) in spec.validations.iter().flatten().enumerate() {
            check(format!("spec.validations[{index}].expression"), &validation.expression);
            if let Some(message) = validation.message_expression.as_deref().filter(|message| !message.is_empty()) {
                check(format!("spec.validations[{index}].messageExpression"), message);
            }
        }
        warnings
    }
}

/// The resources that a rule names; none where it says `*` of groups or versions.
fn named(rule: &NamedRuleWithOperations) -> Vec<Name> {
    let sorted = |names: &Option<Vec<String>>| -> BTreeSet<String> { names.iter().flatten().cloned().collect() };
    let (groups, versions) = (sorted(&rule.api_groups), sorted(&rule.api_versions));
    if groups.iter().chain(&versions).any(|name| name.contains('*')) {
        return Vec::new();
    }
    let plurals: Vec<String> =
        sorted(&rule.resources).into_iter().filter(|plural| !plural.contains(['*', '/'])).collect();
    let mut names = Vec::new();
    for group in &groups {
        for version in &versions {
            names.extend(plurals.iter().map(|plural| (group.clone(), version.clone(), plural.clone())));
        }
    }
    names
}

/// What the API server says about kinds, asked once for each version.
struct Kinds<'c> {
    client: &'c kube::Client,
    documents: BTreeMap<String, Option<Document>>,
}

struct Document {
    resources: APIResourceList,
    openapi: Value,
}

impl Kinds<'_> {
    async fn document(&mut self, group: &str, version: &str) -> Result<Option<&Document>, kube::Error> {
        let path = api::openapi::path_of(group, version);
        if !self.documents.contains_key(&path) {
            let resources = get(self.client, &format!("/{path}")).await?;
            let openapi = get(self.client, &format!("/openapi/v3/{path}")).await?;
            let document = resources.zip(openapi).map(|(resources, openapi)| Document { resources, openapi });
            self.documents.insert(path.clone(), document);
        }
        Ok(self.documents.get(&path).and_then(Option::as_ref))
    }

    async fn kind_of(&mut self, group: &str, version: &str, plural: &str) -> Result<Option<String>, kube::Error> {
        let document = self.document(group, version).await?;
        let resources = document.into_iter().flat_map(|document| &document.resources.resources);
        Ok(resources.into_iter().find(|resource| resource.name == plural).map(|resource| resource.kind.clone()))
    }

    async fn decl(&mut self, (group, version, kind): &Name) -> Result<Option<Arc<Decl>>, kube::Error> {
        let document = self.document(group, version).await?;
        Ok(document.and_then(|document| Schemas::new(&document.openapi).of_kind(group, version, kind)))
    }
}

/// A document of the server; nothing where it has none.
async fn get<T: DeserializeOwned>(client: &kube::Client, path: &str) -> Result<Option<T>, kube::Error> {
    let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    objects::ignore_not_found(client.request(request).await)
}
