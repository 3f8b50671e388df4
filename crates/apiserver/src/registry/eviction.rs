//! `pods/eviction`: a deletion that respects PodDisruptionBudgets.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::status::{Cause, Details, Status};
use serde_json::{Value, json};

use super::update::Part;
use super::{Caller, DeleteTarget, Deleted, Registry, Scope, Writer};
use crate::cache::Object;
use crate::http::options::DeleteOptions;

impl Registry {
    /// Evicts a pod, or refuses with 429 while a budget does not allow it.
    pub(crate) async fn evict(
        &self,
        scope: Scope<'_>,
        name: &str,
        options: &DeleteOptions,
        caller: Caller<'_>,
    ) -> Result<(), Status> {
        let pod = self.get(scope, name, super::ReadVersion::Latest).await?.value();
        if needs_budget(&pod) {
            let budgets = self.budgets_of(&pod, scope.namespace.unwrap_or_default())?;
            match budgets.as_slice() {
                [] => {}
                [budget] => self.spend(scope, budget.name(), &pod, caller).await?,
                _ => {
                    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                    return Err(Status::unclassified(message));
                }
            }
        }
        let options = DeleteOptions { dry_run: caller.dry_run, ..options.clone() };
        match self.delete(DeleteTarget { scope, name, options: &options, caller }).await? {
            Deleted::Gone(_) | Deleted::Pending(_) => Ok(()),
        }
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
        let caller = Caller { writer: Some(Writer::SERVER_STATUS), ..caller };
        self.update(scope, budget, Part::Special, caller, &change).await.map(drop)
    }
}

/// Pods that are over, not running yet or on their way out are no disruption.
fn needs_budget(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && !api::meta::is_deleting(pod)
}

fn spent(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let number = |field: &str| budget.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0);
    let name = api::meta::name(budget);
    if number("observedGeneration") < api::meta::generation(budget) {
        let message = format!("The disruption budget {name} is still being processed by the server.");
        let mut status =
            Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10);
        status.details.get_or_insert_default().causes.push(cause(message));
        return Err(status);
    }
    if number("disruptionsAllowed") <= 0 {
        let message = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        let mut status =
            Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
        status.details = Some(Box::new(Details { causes: vec![cause(message)], ..Details::default() }));
        return Err(status);
    }
    let mut spent = budget.clone();
    spent["status"]["disruptionsAllowed"] = (number("disruptionsAllowed") - 1).into();
    if number("disruptionsAllowed") == 1 {
        set_exhausted(&mut spent, now);
    }
    let disrupted = &mut spent["status"]["disruptedPods"];
    if !disrupted.is_object() {
        *disrupted = json!({});
    }
    disrupted[pod] = now.into();
    Ok(spent)
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
