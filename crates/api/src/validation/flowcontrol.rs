//! Flow schemas and priority levels.

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaSpec, LimitedPriorityLevelConfiguration, NonResourcePolicyRule, PolicyRulesWithSubjects,
    PriorityLevelConfiguration, PriorityLevelConfigurationSpec, QueuingConfiguration, ResourcePolicyRule, Subject,
};
use serde_json::{Value, json};

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

const MAX_PRECEDENCE: i32 = 10_000;
const MAX_QUEUES: i32 = 10_000_000;

/// A shuffled hand is dealt from a hash of so many bits.
const MAX_HASH_BITS: i32 = 60;

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The schemas that cannot be changed: those that nothing works without.
fn mandatory_schema(name: &str) -> Option<Value> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let (precedence, level, subjects) = match name {
        "exempt" => (1, "exempt", json!([group("system:masters")])),
        "catch-all" => (10_000, "catch-all", json!([group("system:unauthenticated"), group("system:authenticated")])),
        _ => return None,
    };
    let mut spec = json!({
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": {"name": level},
        "rules": [{
            "subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    });
    if name == "catch-all" {
        spec["distinguisherMethod"] = json!({"type": "ByUser"});
    }
    Some(spec)
}

/// The levels of those schemas; of the exempt one the shares may be set.
fn mandatory_level(name: &str, spec: &PriorityLevelConfigurationSpec) -> Option<Value> {
    match name {
        "exempt" => Some(json!({"type": "Exempt", "exempt": check::json(&spec.exempt)})),
        "catch-all" => Some(json!({
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
        })),
        _ => None,
    }
}

fn must_equal(spec: &Value, mandatory: Option<Value>, name: &str, path: &Path, errors: &mut ErrorList) {
    if mandatory.is_some_and(|mandatory| mandatory != *spec) {
        errors.push(FieldError::invalid(path, spec.clone(), format!("spec of '{name}' must equal the fixed value")));
    }
}

/// Judges a flow schema.
pub(super) fn flow_schema(schema: &FlowSchema, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let name = check::text(&schema.metadata.name);
    let spec = schema.spec.clone().unwrap_or_default();
    precedence(&spec, name, &path.child("matchingPrecedence"), errors);
    if let Some(method) = &spec.distinguisher_method
        && !["ByNamespace", "ByUser"].contains(&method.type_.as_str())
    {
        let path = path.child("distinguisherMethod").child("type");
        errors.push(FieldError::not_supported(&path, check::json(method), &["ByNamespace", "ByUser"]));
    }
    let level = spec.priority_level_configuration.name.as_str();
    let level_path = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.push(FieldError::required(&level_path, "must reference a priority level"));
    } else {
        check::invalid(errors, &level_path, level, names::dns_subdomain(level));
    }
    for (index, found) in spec.rules.iter().flatten().enumerate() {
        rules(found, &path.child("rules").index(index), errors);
    }
    must_equal(&check::json(&spec), mandatory_schema(name), name, &path, errors);
    schema_conditions(schema, errors);
}

fn precedence(spec: &FlowSchemaSpec, name: &str, path: &Path, errors: &mut ErrorList) {
    let precedence = spec.matching_precedence.unwrap_or(0);
    let mut refuse = |why: String| errors.push(FieldError::invalid(path, precedence, why));
    if precedence <= 0 {
        refuse("must be a positive value".to_owned());
    }
    if precedence > MAX_PRECEDENCE {
        refuse(format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if precedence == 1 && name != "exempt" {
        refuse("only the schema named 'exempt' may have matchingPrecedence 1".to_owned());
    }
}

fn rules(rules: &PolicyRulesWithSubjects, path: &Path, errors: &mut ErrorList) {
    if rules.subjects.is_empty() {
        errors.push(FieldError::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (index, found) in rules.subjects.iter().enumerate() {
        subject(found, &path.child("subjects").index(index), errors);
    }
    let resource_rules = rules.resource_rules.as_deref().unwrap_or_default();
    let other_rules = rules.non_resource_rules.as_deref().unwrap_or_default();
    if resource_rules.is_empty() && other_rules.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, why));
    }
    for (index, found) in resource_rules.iter().enumerate() {
        resource_rule(found, &path.child("resourceRules").index(index), errors);
    }
    for (index, found) in other_rules.iter().enumerate() {
        url_rule(found, &path.child("nonResourceRules").index(index), errors);
    }
}

fn subject(subject: &Subject, path: &Path, errors: &mut ErrorList) {
    let kinds = [
        ("ServiceAccount", "serviceAccount", subject.service_account.is_some()),
        ("User", "user", subject.user.is_some()),
        ("Group", "group", subject.group.is_some()),
    ];
    let kind = subject.kind.as_str();
    if !kinds.iter().any(|(known, ..)| *known == kind) {
        errors.push(FieldError::not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]));
        return;
    }
    for (of, field, set) in kinds {
        if of == kind && !set {
            let why = format!("{field} is required when subject kind is '{of}'");
            errors.push(FieldError::required(&path.child(field), why));
        } else if of != kind && set {
            let why = format!("{field} is forbidden when subject kind is not '{of}'");
            errors.push(FieldError::forbidden(&path.child(field), why));
        }
    }
    match (kind, &subject.service_account, &subject.user, &subject.group) {
        ("ServiceAccount", Some(account), ..) => {
            let path = path.child("serviceAccount");
            if check::required(errors, &path.child("name"), &account.name) && account.name != "*" {
                check::invalid(errors, &path.child("name"), account.name.as_str(), names::dns_subdomain(&account.name));
            }
            if account.namespace.is_empty() {
                let why = "must specify namespace for service account";
                errors.push(FieldError::required(&path.child("namespace"), why));
            } else {
                let judged = names::dns_label(&account.namespace);
                check::invalid(errors, &path.child("namespace"), account.namespace.as_str(), judged);
            }
        }
        ("User", _, Some(user), _) => {
            check::required(errors, &path.child("user").child("name"), &user.name);
        }
        ("Group", _, _, Some(group)) => {
            check::required(errors, &path.child("group").child("name"), &group.name);
        }
        _ => {}
    }
}

/// A list that must not be empty, and in which `*` must be alone; tells whether `*` is in it.
fn wild(values: &[String], missing: &str, others: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let has_star = values.iter().any(|value| value == "*");
    if values.is_empty() {
        errors.push(FieldError::required(path, missing));
    } else if has_star && values.len() > 1 {
        let why = format!("if '*' is present, must not specify other {others}");
        errors.push(FieldError::invalid(path, values.to_vec(), why));
    }
    has_star
}

fn verbs(verbs: &[String], path: &Path, errors: &mut ErrorList) {
    let has_star = wild(verbs, "verbs must contain at least one value", "verbs", path, errors);
    if !has_star && !verbs.iter().all(|verb| VERBS.contains(&verb.as_str())) {
        errors.push(FieldError::not_supported(path, verbs.to_vec(), &VERBS));
    }
}

fn resource_rule(rule: &ResourcePolicyRule, path: &Path, errors: &mut ErrorList) {
    verbs(&rule.verbs, &path.child("verbs"), errors);
    let missing = "resource rules must supply at least one api group";
    wild(&rule.api_groups, missing, "api groups", &path.child("apiGroups"), errors);
    let missing = "resource rules must supply at least one resource";
    wild(&rule.resources, missing, "resources", &path.child("resources"), errors);
    let namespaces = rule.namespaces.as_deref().unwrap_or_default();
    let path = path.child("namespaces");
    if namespaces.is_empty() && rule.cluster_scope == Some(true) {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if wild(namespaces, missing, "namespaces", &path, errors) {
        return;
    }
    for (index, namespace) in namespaces.iter().enumerate() {
        let intro = "each member of this list must be '*' or a DNS-1123 label; ";
        let judged = names::dns_label(namespace).into_iter().map(|why| format!("{intro}{why}")).collect();
        check::invalid(errors, &path.index(index), namespace.as_str(), judged);
    }
}

fn url_rule(rule: &NonResourcePolicyRule, path: &Path, errors: &mut ErrorList) {
    verbs(&rule.verbs, &path.child("verbs"), errors);
    let urls = &rule.non_resource_urls;
    let path = path.child("nonResourceURLs");
    if wild(urls, "nonResourceURLs must contain at least one value", "non-resource URLs", &path, errors) {
        return;
    }
    for (index, url) in urls.iter().enumerate() {
        let stars = url.matches('*').count();
        let why = match url.as_str() {
            "" => "must not be empty",
            "/" => continue,
            _ if !url.starts_with('/') => "must start with slash",
            _ if url.contains(' ') => "must not contain white-space",
            _ if url.contains("//") => "must not contain double slash",
            _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => "wildcard can only do suffix matching",
            _ => continue,
        };
        errors.push(FieldError::invalid(&path.index(index), url.as_str(), why));
    }
}

fn conditions<'a>(types: impl Iterator<Item = &'a Option<String>>, errors: &mut ErrorList) {
    let list = Path::new("status").child("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, kind) in types.enumerate() {
        let path = list.index(index).child("type");
        let kind = check::text(kind);
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&path, kind));
        }
        seen.push(kind);
        if kind.is_empty() {
            errors.push(FieldError::required(&path, "must not be empty"));
        }
    }
}

fn schema_conditions(schema: &FlowSchema, errors: &mut ErrorList) {
    let list = schema.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions(list.map(|condition| &condition.type_), errors);
}

/// Judges an update of the status of a flow schema.
pub(super) fn flow_schema_status(new: &FlowSchema, _: &FlowSchema, errors: &mut ErrorList) {
    schema_conditions(new, errors);
}

fn level_conditions(level: &PriorityLevelConfiguration, errors: &mut ErrorList) {
    let list = level.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions(list.map(|condition| &condition.type_), errors);
}

/// Judges an update of the status of a priority level.
pub(super) fn priority_level_status(
    new: &PriorityLevelConfiguration,
    _: &PriorityLevelConfiguration,
    errors: &mut ErrorList,
) {
    level_conditions(new, errors);
}

/// Judges a priority level.
pub(super) fn priority_level(level: &PriorityLevelConfiguration, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let name = check::text(&level.metadata.name);
    let spec = level.spec.clone().unwrap_or_default();
    let kind = spec.type_.as_str();
    if (name == "exempt") != (kind == "Exempt") {
        let why = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.push(FieldError::invalid(&path.child("type"), kind, why));
    }
    match kind {
        "Exempt" => {
            if spec.limited.is_some() {
                errors.push(FieldError::forbidden(&path.child("limited"), "must be nil if the type is not Limited"));
            }
            if let Some(exempt) = &spec.exempt {
                let path = path.child("exempt");
                shares(exempt.nominal_concurrency_shares, &path, errors);
                lendable(exempt.lendable_percent, &path, errors);
            }
        }
        "Limited" => {
            if spec.exempt.is_some() {
                errors.push(FieldError::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
            }
            match &spec.limited {
                None => {
                    errors.push(FieldError::required(&path.child("limited"), "must not be empty when type is Limited"))
                }
                Some(found) => limited(found, &path.child("limited"), errors),
            }
        }
        _ => errors.push(FieldError::not_supported(&path.child("type"), kind, &["Exempt", "Limited"])),
    }
    must_equal(&check::json(&spec), mandatory_level(name, &spec), name, &path, errors);
    level_conditions(level, errors);
}

fn shares(shares: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(shares) = shares.filter(|shares| *shares < 0) {
        let path = path.child("nominalConcurrencyShares");
        errors.push(FieldError::invalid(&path, shares, "must be a non-negative integer"));
    }
}

fn lendable(percent: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
        let why = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(&path.child("lendablePercent"), percent, why));
    }
}

fn limited(limited: &LimitedPriorityLevelConfiguration, path: &Path, errors: &mut ErrorList) {
    shares(limited.nominal_concurrency_shares, path, errors);
    lendable(limited.lendable_percent, path, errors);
    if let Some(percent) = limited.borrowing_limit_percent.filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(&path.child("borrowingLimitPercent"), percent, why));
    }
    let path = path.child("limitResponse");
    let response = limited.limit_response.clone().unwrap_or_default();
    let queuing_path = path.child("queuing");
    match (response.type_.as_str(), &response.queuing) {
        ("Reject", Some(_)) => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&queuing_path, why));
        }
        ("Queue", None) => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&queuing_path, why));
        }
        ("Queue", Some(found)) => queuing(found, &queuing_path, errors),
        ("Reject", None) => {}
        (other, _) => errors.push(FieldError::not_supported(&path.child("type"), other, &["Queue", "Reject"])),
    }
}

fn queuing(queuing: &QueuingConfiguration, path: &Path, errors: &mut ErrorList) {
    let limit = queuing.queue_length_limit.unwrap_or(0);
    let (queues, hand) = (queuing.queues.unwrap_or(0), queuing.hand_size.unwrap_or(0));
    let positive = |field: &str, value: i32, errors: &mut ErrorList| {
        if value <= 0 {
            errors.push(FieldError::invalid(&path.child(field), value, "must be positive"));
        }
        value > 0
    };
    positive("queueLengthLimit", limit, errors);
    if positive("queues", queues, errors) && queues > MAX_QUEUES {
        errors.push(FieldError::invalid(
            &path.child("queues"),
            queues,
            format!("must not be greater than {MAX_QUEUES}"),
        ));
    }
    if !positive("handSize", hand, errors) {
        return;
    }
    let hand_path = path.child("handSize");
    if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.push(FieldError::invalid(&hand_path, hand, why));
    } else if entropy_bits(queues, hand) > f64::from(MAX_HASH_BITS) {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        errors.push(FieldError::invalid(&hand_path, hand, why));
    }
}

/// How many bits of a hash dealing a hand takes, as upstream estimates it.
fn entropy_bits(deck: i32, hand: i32) -> f64 {
    (f64::from(deck).log2() * f64::from(hand)).ceil()
}

#[cfg(test)]
mod tests {
    use super::entropy_bits;

    #[test]
    fn hands_take_their_bits() {
        for (deck, hand, bits) in [(64, 8, 48.0), (512, 8, 72.0), (100, 2, 14.0), (1, 1, 0.0)] {
            assert!((entropy_bits(deck, hand) - bits).abs() < f64::EPSILON, "{deck} {hand}");
        }
    }
}
