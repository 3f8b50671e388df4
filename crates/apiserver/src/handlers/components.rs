//! `componentstatuses`: how the parts of the control plane are, found out when it is asked for.
//!
//! The datastore is asked; that the scheduler and the controller manager work shows in their leases. Upstream asks the
//! ports of the latter two on its own machine.

use std::collections::BTreeMap;

use api::status::Status;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::resources::Call;
use crate::http::body::Body;
use crate::http::options::ListOptions;
use crate::http::request_info::Verb;

const LEADERS: [(&str, &str); 2] = [("controller-manager", "kube-controller-manager"), ("scheduler", "kube-scheduler")];

pub(super) async fn handle(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let output = call.output()?;
    let statuses = statuses(call).await;
    match call.request.verb {
        Verb::Get => {
            let name = call.name()?;
            let found = statuses.iter().find(|status| api::meta::name(status) == name);
            let missing = || Status::not_found(&call.resource.group, &call.resource.plural, name);
            output.object(StatusCode::OK, found.ok_or_else(missing)?)
        }
        Verb::List => {
            let options = ListOptions::parse(call.query, false)?;
            let is_meant = |status: &Value| {
                let name = api::meta::name(status);
                let field = |field: &str| (field == "metadata.name").then(|| name.into());
                options.labels.matches(&BTreeMap::new()) && options.fields.matches(field)
            };
            output.documents(statuses.into_iter().filter(is_meant).collect(), json!({}))
        }
        _ => Err(Status::method_not_allowed()),
    }
}

async fn statuses(call: &Call<'_>) -> Vec<Value> {
    let registry = &call.core.registry;
    let mut statuses: Vec<Value> = LEADERS
        .iter()
        .map(|(name, lease)| {
            let held = registry.cached_by("coordination.k8s.io", "v1", "leases", Some("kube-system"), lease);
            let is_held = held.is_some_and(|lease| is_held(&lease.value(), registry.env.now()));
            status(name, if is_held { Ok(()) } else { Err(format!("nobody holds the lease {lease}")) })
        })
        .collect();
    let datastore = registry.storage.status().await.map(drop).map_err(|err| err.to_string());
    statuses.push(status("etcd-0", datastore));
    statuses.sort_by(|a, b| api::meta::name(a).cmp(api::meta::name(b)));
    statuses
}

/// Whether somebody holds a lease.
fn is_held(lease: &Value, now: Timestamp) -> bool {
    let spec = &lease["spec"];
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    let renewed = spec["renewTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let duration = SignedDuration::from_secs(spec["leaseDurationSeconds"].as_i64().unwrap_or_default());
    !holder.is_empty() && renewed.is_some_and(|renewed| now.duration_since(renewed) <= duration)
}

fn status(name: &str, health: Result<(), String>) -> Value {
    let (status, message) = match health {
        Ok(()) => ("True", "ok".to_owned()),
        Err(why) => ("False", why),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(holder: &str, renewed: &str, expected: bool) {
        let lease = json!({"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}});
        let now = "2026-01-01T00:00:20Z".parse().expect("a time");
        assert_eq!(is_held(&lease, now), expected, "{holder} {renewed}");
    }

    #[test]
    fn leases_are_held_until_their_time_is_over() {
        check("a", "2026-01-01T00:00:10.000000Z", true);
        check("a", "2026-01-01T00:00:00.000000Z", false);
        check("", "2026-01-01T00:00:10.000000Z", false);
    }
}
