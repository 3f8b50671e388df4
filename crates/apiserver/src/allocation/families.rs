//! Which families of addresses a Service has: what it asks for, what it had, and what the cluster has.

use api::field::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

use super::Family;
use super::fields::{
    HEADLESS, cluster_ips, family_of, has_selector, ip_families, needs_cluster_ip, policy, service_type, set, text,
    texts,
};

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// Sets policy and families of a Service where it does not, and refuses those that cannot be had. `configured` are the
/// cluster's, the primary first.
pub(super) fn settle(configured: &[Family], object: &mut Value, old: &Value) -> Result<(), ErrorList> {
    if !needs_cluster_ip(object) || prefers_as_before(object, old) {
        return Ok(());
    }
    if policy(object).is_empty() {
        let inferred = inferred_policy(object, old).to_owned();
        set(object, "ipFamilyPolicy", inferred);
    }
    refuse(api::validation::service_addresses(object))?;
    let mut errors = ErrorList::new();
    if !old.is_null() {
        give_up_second(object, old, &mut errors);
    }
    judge_number(object, &mut errors);
    infer_families(configured, object, &mut errors);
    refuse(errors)?;

    let is_single = policy(object) == SINGLE;
    let mut families = ip_families(object);
    let is_by_hand = text(object, "/spec/clusterIP") == HEADLESS && !has_selector(object);
    // Endpoints that are made by hand may be of families that the cluster does not have.
    if !is_by_hand {
        refuse(unavailable(configured, object))?;
    }
    if let Some(primary) = configured.first().filter(|_| families.is_empty()) {
        families.push(primary.name().to_owned());
    }
    if let [only] = families.as_slice()
        && !is_single
        && (is_by_hand || configured.len() == 2)
    {
        let other = if only == Family::V4.name() { Family::V6 } else { Family::V4 };
        families.push(other.name().to_owned());
    }
    set(object, "ipFamilies", families);
    Ok(())
}

fn refuse(errors: ErrorList) -> Result<(), ErrorList> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Whether a Service that takes two families where it can asks for nothing new. It then stays as it is, also when the
/// cluster has gained or lost a family meanwhile.
pub(super) fn prefers_as_before(object: &Value, old: &Value) -> bool {
    let prefers = |service: &Value| policy(service) == PREFER;
    !old.is_null()
        && service_type(object) == service_type(old)
        && matches!(service_type(object), "ClusterIP" | "NodePort" | "LoadBalancer")
        && prefers(object)
        && prefers(old)
        && cluster_ips(object) == cluster_ips(old)
        && ip_families(object) == ip_families(old)
}

/// Nobody gains or loses a family without having said so.
fn inferred_policy<'a>(object: &Value, old: &'a Value) -> &'a str {
    match policy(old) {
        "" if text(object, "/spec/clusterIP") == HEADLESS && !has_selector(object) => REQUIRE,
        "" => SINGLE,
        before => before,
    }
}

/// Who asks for a single family gives up the second; who only leaves it out must say so.
fn give_up_second(object: &mut Value, old: &Value, errors: &mut ErrorList) {
    let fields = [
        ("clusterIPs", "must be 'SingleStack' to release the secondary cluster IP"),
        ("ipFamilies", "must be 'SingleStack' to release the secondary IP family"),
    ];
    for (field, why) in fields {
        let list = |service: &Value| texts(service, &format!("/spec/{field}"));
        let (now, before) = (list(object), list(old));
        if policy(object) != SINGLE {
            if !now.is_empty() && now.len() < before.len() {
                errors.push(policy_error(object, why));
            }
        } else if now.len() > 1 && now == before {
            set(object, field, json!([now[0]]));
        }
    }
}

fn policy_error(object: &Value, why: &str) -> FieldError {
    FieldError::invalid(&Path::new("spec").child("ipFamilyPolicy"), policy(object), why)
}

fn judge_number(object: &Value, errors: &mut ErrorList) {
    if policy(object) != SINGLE {
        return;
    }
    for (list, what) in [(cluster_ips(object), "cluster IPs"), (ip_families(object), "IP families")] {
        if list.len() == 2 {
            let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(policy_error(object, &why));
        }
    }
}

/// Addresses that are asked for say of which families they are.
fn infer_families(configured: &[Family], object: &mut Value, errors: &mut ErrorList) {
    let ips = cluster_ips(object);
    let mut families = ip_families(object);
    let named = families.len();
    for (index, ip) in ips.iter().enumerate().skip(named) {
        let Some(family) = family_of(ip) else { break };
        if configured.contains(&family) {
            families.push(family.name().to_owned());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(index);
            let why = format!("{} is not configured on this cluster", family.name());
            errors.push(FieldError::invalid(&path, ips.clone(), why));
        }
    }
    if families.len() > named {
        set(object, "ipFamilies", families);
    }
}

/// What is asked for and the cluster does not have.
fn unavailable(configured: &[Family], object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if policy(object) == REQUIRE && configured.len() < 2 {
        errors.push(policy_error(object, "this cluster is not configured for dual-stack services"));
    }
    for (index, family) in ip_families(object).into_iter().enumerate() {
        if !configured.iter().any(|known| known.name() == family) {
            let path = Path::new("spec").child("ipFamilies").index(index);
            errors.push(FieldError::invalid(&path, family, "not configured on this cluster"));
        }
    }
    errors
}
