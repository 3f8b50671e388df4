//! `pods/eviction`: a deletion that respects PodDisruptionBudgets.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::status::{Cause, Details, Status, reason};
use serde_json::{Value, json};

use super::update::Part;
use super::{Caller, DeleteTarget, MAX_RETRIES, ReadVersion, Registry, Scope, Writer};
use crate::cache::Object;
use crate::http::options::DeleteOptions;

/// Evictions of one budget whose pods may be on their way out at once.
const MAX_DISRUPTED_PODS: usize = 2000;

/// Why a pod may go.
enum Leave {
    /// It disrupts nothing, or the disruption is accounted for.
    Granted,
    /// It disrupts nothing as it is now; a change makes that uncertain.
    AsItIs,
    /// It is not healthy, and the budget named is for those that are; a change makes that uncertain.
    Unhealthy(String),
}

impl Registry {
    /// Evicts a pod, or refuses with 429 while a budget does not allow it.
    pub(crate) async fn evict(
        &self,
        scope: Scope<'_>,
        name: &str,
        options: &DeleteOptions,
        caller: Caller<'_>,
    ) -> Result<(), Status> {
        let options = DeleteOptions { dry_run: caller.dry_run, ..options.clone() };
        for _ in 0..MAX_RETRIES {
            let pod = self.get(scope, name, ReadVersion::Latest).await?.value();
            // What the client means by it does not change by looking again.
            let version = api::meta::resource_version(&pod).unwrap_or_default();
            super::delete::check_preconditions(scope.resource, name, &options, &pod, version)?;
            let leave = self.leave(scope, &pod, caller).await?;
            let is_own_version = options.resource_version.is_none() && !matches!(leave, Leave::Granted);
            let mut exact = options.clone();
            if is_own_version {
                exact.resource_version = api::meta::resource_version(&pod).map(str::to_owned);
            }
            match self.mark_and_delete(scope, name, &mut exact, caller).await {
                Err(status) if status.reason == reason::CONFLICT && is_own_version => match leave {
                    Leave::Unhealthy(budget) => return Err(still_processed(&budget)),
                    Leave::AsItIs | Leave::Granted => {}
                },
                other => return other,
            }
        }
        Err(Status::server_timeout("", "pods", "eviction", 1))
    }

    /// Whether a pod may go; a disruption is taken from its budget.
    async fn leave(&self, scope: Scope<'_>, pod: &Value, caller: Caller<'_>) -> Result<Leave, Status> {
        if api::meta::is_deleting(pod) {
            return Ok(Leave::Granted);
        }
        let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        // Those that are over or do not run yet are no disruption.
        if matches!(phase, "Succeeded" | "Failed" | "Pending") {
            return Ok(Leave::AsItIs);
        }
        let budgets = self.budgets_of(pod, scope.namespace.unwrap_or_default())?;
        let budget = match budgets.as_slice() {
            [] => return Ok(Leave::Granted),
            [budget] => budget.value(),
            _ => {
                let message =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(Status::unclassified(message));
            }
        };
        if !is_ready(pod) && lets_unhealthy_go(&budget) {
            return Ok(Leave::Unhealthy(api::meta::name(&budget).to_owned()));
        }
        self.spend(scope, api::meta::name(&budget), pod, caller).await?;
        Ok(Leave::Granted)
    }

    /// Says in the pod's status why it goes, and deletes it.
    async fn mark_and_delete(
        &self,
        scope: Scope<'_>,
        name: &str,
        options: &mut DeleteOptions,
        caller: Caller<'_>,
    ) -> Result<(), Status> {
        if !options.dry_run {
            let now = api::meta::format_time(self.env.now());
            let wanted = options.clone();
            let change = move |pod: &Value| {
                let version = api::meta::resource_version(pod).unwrap_or_default();
                super::delete::check_preconditions(scope.resource, name, &wanted, pod, version)?;
                Ok(marked(pod, &now))
            };
            let caller = Caller { writer: None, ..caller };
            let updated = self.update(scope, name, Part::Status, caller, &change).await?;
            if let Some(version) = &mut options.resource_version {
                api::meta::resource_version(&updated.value).unwrap_or_default().clone_into(version);
            }
        }
        self.delete(DeleteTarget { scope, name, options, caller }).await.map(drop)
    }

    fn budgets_of(&self, pod: &Value, namespace: &str) -> Result<Vec<Arc<Object>>, Status> {
        let Some(resource) = api::kinds::find("policy", "v1", "poddisruptionbudgets") else { return Ok(Vec::new()) };
        let labels = api::meta::labels_owned(pod);
        let snapshot = self.resource_cache(resource)?.snapshot(0);
        let selects = |budget: &Arc<Object>| {
            let budget = budget.value();
            let selector = budget.pointer("/spec/selector").cloned();
            let selector = selector.and_then(|selector| serde_json::from_value(selector).ok());
            selector.and_then(|s| LabelSelector::from_k8s(&s).ok()).is_some_and(|s| s.matches(&labels))
        };
        Ok(snapshot.range(Some(namespace)).filter(|budget| selects(budget)).cloned().collect())
    }

    /// Takes one disruption from a budget.
    async fn spend(&self, scope: Scope<'_>, budget: &str, pod: &Value, caller: Caller<'_>) -> Result<(), Status> {
        let Some(resource) = api::kinds::find("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
        let scope = Scope { resource, namespace: scope.namespace };
        let pod_name = api::meta::name(pod).to_owned();
        let now = api::meta::format_time(self.env.now());
        let change = move |budget: &Value| spent(budget, &pod_name, &now);
        let caller = Caller { subresource: "status", writer: Some(Writer::SERVER_STATUS), ..caller };
        self.update(scope, budget, Part::Special, caller, &change).await.map(drop)
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether a pod that is not ready may go without a disruption being taken.
fn lets_unhealthy_go(budget: &Value) -> bool {
    let (healthy, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || (healthy >= desired && desired > 0)
}

fn number(budget: &Value, field: &str) -> i64 {
    budget.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0)
}

/// The pod with the condition that says that it was evicted.
fn marked(pod: &Value, now: &str) -> Value {
    const TARGET: &str = "DisruptionTarget";
    let mut marked = pod.clone();
    let condition = json!({
        "type": TARGET, "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "observedGeneration": api::meta::generation(pod), "lastProbeTime": null, "lastTransitionTime": now,
    });
    let conditions = &mut marked["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(conditions) = conditions.as_array_mut() {
        let is_set = |each: &Value| each["type"] == TARGET && each["status"] == "True";
        if conditions.iter().any(is_set) {
            return marked;
        }
        conditions.retain(|each| each["type"] != TARGET);
        conditions.push(condition);
    }
    marked
}

const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

fn still_processed(budget: &str) -> Status {
    let message = format!("The disruption budget {budget} is still being processed by the server.");
    let mut status = Status::too_many_requests(REFUSAL, 10);
    status.details.get_or_insert_default().causes.push(cause(message));
    status
}

fn spent(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let name = api::meta::name(budget);
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", name, why));
    if number(budget, "observedGeneration") < api::meta::generation(budget) {
        return Err(still_processed(name));
    }
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    let disrupted = budget.pointer("/status/disruptedPods").and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > MAX_DISRUPTED_PODS) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(exhausted(budget));
    }
    let mut spent = budget.clone();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if allowed == 1 {
        set_exhausted(&mut spent, now);
    }
    let disrupted = &mut spent["status"]["disruptedPods"];
    if !disrupted.is_object() {
        *disrupted = json!({});
    }
    disrupted[pod] = now.into();
    Ok(spent)
}

fn exhausted(budget: &Value) -> Status {
    let name = api::meta::name(budget);
    let mut conditions = budget.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let failed = conditions.find(|each| each["type"] == "DisruptionAllowed" && each["reason"] == "SyncFailed");
    let message = match failed {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            condition["message"].as_str().unwrap_or_default()
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number(budget, "desiredHealthy"),
            number(budget, "currentHealthy")
        ),
    };
    let mut status = Status::too_many_requests(REFUSAL, 0);
    status.details = Some(Box::new(Details { causes: vec![cause(message)], ..Details::default() }));
    status
}

/// Says that the budget allows no further disruption.
fn set_exhausted(budget: &mut Value, now: &str) {
    let generation = api::meta::generation(budget);
    let conditions = &mut budget["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    conditions.retain(|condition| condition["type"] != "DisruptionAllowed");
    conditions.push(json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "lastTransitionTime": now, "observedGeneration": generation,
    }));
}

fn cause(message: String) -> Cause {
    Cause { reason: "DisruptionBudget".into(), message, field: String::new() }
}
