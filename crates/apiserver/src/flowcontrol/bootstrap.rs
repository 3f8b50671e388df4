//! The levels and schemas that every cluster has, after upstream's v1.35: those without which nothing works, and those
//! that are suggested.

use serde_json::{Value, json};

use super::GROUP;

/// A level with queues: name, shares, percent that it lends, queues, and the size of a hand.
type QueueLevel = (&'static str, u32, u32, u32, u32);

const QUEUE_LEVELS: [QueueLevel; 6] = [
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

/// How many requests wait in a queue of those levels.
const QUEUE_LENGTH: u32 = 50;

fn level(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
        "spec": spec,
    })
}

/// The level that is not limited, and the one for what no other schema names.
pub(super) fn mandatory_levels() -> [Value; 2] {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let limited = json!({"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}});
    [level("exempt", exempt), level("catch-all", json!({"type": "Limited", "limited": limited}))]
}

pub(super) fn suggested_levels() -> Vec<Value> {
    let suggested = |(name, shares, lendable, queues, hand): QueueLevel| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH});
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing},
        });
        level(name, json!({"type": "Limited", "limited": limited}))
    };
    QUEUE_LEVELS.into_iter().map(suggested).collect()
}

/// A schema; subjects are given as `u:NAME`, `g:NAME` and `s:NAMESPACE:NAME`.
struct Row {
    name: &'static str,
    level: &'static str,
    precedence: u32,
    by: &'static str,
    subjects: &'static [&'static str],
    rules: Rules,
}

/// What the requests are to.
enum Rules {
    All,
    /// Verbs, group, resources, and whether they are of the cluster too; in every namespace.
    Resources(&'static [(&'static str, &'static str, &'static str, bool)]),
    /// Verbs and paths.
    Paths(&'static str, &'static str),
}

const EVERYBODY: &[&str] = &["g:system:unauthenticated", "g:system:authenticated"];
const HOLD: &str = "get create update";

const MANDATORY: [Row; 2] = [
    Row { name: "exempt", level: "exempt", precedence: 1, by: "", subjects: &["g:system:masters"], rules: Rules::All },
    Row {
        name: "catch-all",
        level: "catch-all",
        precedence: 10_000,
        by: "ByUser",
        subjects: EVERYBODY,
        rules: Rules::All,
    },
];

const SUGGESTED: [Row; 11] = [
    Row {
        name: "probes",
        level: "exempt",
        precedence: 2,
        by: "",
        subjects: EVERYBODY,
        rules: Rules::Paths("get", "/healthz /readyz /livez"),
    },
    Row {
        name: "system-leader-election",
        level: "leader-election",
        precedence: 100,
        by: "ByUser",
        subjects: &["u:system:kube-controller-manager", "u:system:kube-scheduler", "s:kube-system:*"],
        rules: Rules::Resources(&[(HOLD, "coordination.k8s.io", "leases", false)]),
    },
    Row {
        name: "endpoint-controller",
        level: "workload-high",
        precedence: 150,
        by: "ByUser",
        subjects: &[
            "u:system:kube-controller-manager",
            "s:kube-system:endpoint-controller",
            "s:kube-system:endpointslicemirroring-controller",
        ],
        rules: Rules::Resources(&[(HOLD, "", "endpoints", false)]),
    },
    Row {
        name: "workload-leader-election",
        level: "leader-election",
        precedence: 200,
        by: "ByUser",
        subjects: &["s:kube-system:*"],
        rules: Rules::Resources(&[
            (HOLD, "", "endpoints configmaps", false),
            (HOLD, "coordination.k8s.io", "leases", false),
        ]),
    },
    Row {
        name: "system-node-high",
        level: "node-high",
        precedence: 400,
        by: "ByUser",
        subjects: &["g:system:nodes"],
        rules: Rules::Resources(&[
            ("*", "", "nodes nodes/status", true),
            ("*", "coordination.k8s.io", "leases", false),
        ]),
    },
    Row {
        name: "system-nodes",
        level: "system",
        precedence: 500,
        by: "ByUser",
        subjects: &["g:system:nodes"],
        rules: Rules::All,
    },
    Row {
        name: "kube-controller-manager",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        subjects: &["u:system:kube-controller-manager"],
        rules: Rules::All,
    },
    Row {
        name: "kube-scheduler",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        subjects: &["u:system:kube-scheduler"],
        rules: Rules::All,
    },
    Row {
        name: "kube-system-service-accounts",
        level: "workload-high",
        precedence: 900,
        by: "ByNamespace",
        subjects: &["s:kube-system:*"],
        rules: Rules::All,
    },
    Row {
        name: "service-accounts",
        level: "workload-low",
        precedence: 9000,
        by: "ByUser",
        subjects: &["g:system:serviceaccounts"],
        rules: Rules::All,
    },
    Row {
        name: "global-default",
        level: "global-default",
        precedence: 9900,
        by: "ByUser",
        subjects: EVERYBODY,
        rules: Rules::All,
    },
];

pub(super) fn mandatory_schemas() -> Vec<Value> {
    MANDATORY.iter().map(Row::object).collect()
}

pub(super) fn suggested_schemas() -> Vec<Value> {
    SUGGESTED.iter().map(Row::object).collect()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn subject(text: &str) -> Value {
    let (kind, name) = text.split_once(':').unwrap_or(("u", text));
    match (kind, name.split_once(':')) {
        ("s", Some((namespace, name))) => {
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
        }
        ("g", _) => json!({"kind": "Group", "group": {"name": name}}),
        _ => json!({"kind": "User", "user": {"name": name}}),
    }
}

impl Rules {
    fn lists(&self) -> Value {
        let paths = |verbs: &str, urls: &str| json!([{"verbs": words(verbs), "nonResourceURLs": words(urls)}]);
        let resources = |(verbs, group, resources, in_cluster): &(&str, &str, &str, bool)| {
            let mut rule = json!({
                "verbs": words(verbs), "apiGroups": [group], "resources": words(resources), "namespaces": ["*"],
            });
            if *in_cluster {
                rule["clusterScope"] = true.into();
            }
            rule
        };
        match self {
            Self::All => json!({
                "resourceRules": [resources(&("*", "*", "*", true))], "nonResourceRules": paths("*", "*"),
            }),
            Self::Resources(rules) => json!({"resourceRules": rules.iter().map(resources).collect::<Vec<_>>()}),
            Self::Paths(verbs, urls) => json!({"nonResourceRules": paths(verbs, urls)}),
        }
    }
}

impl Row {
    fn object(&self) -> Value {
        let mut rules = self.rules.lists();
        rules["subjects"] = self.subjects.iter().map(|text| subject(text)).collect();
        let mut spec = json!({
            "priorityLevelConfiguration": {"name": self.level}, "matchingPrecedence": self.precedence, "rules": [rules],
        });
        if !self.by.is_empty() {
            spec["distinguisherMethod"] = json!({"type": self.by});
        }
        json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "FlowSchema", "metadata": {"name": self.name}, "spec": spec,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_make_valid_objects() {
        let levels: Vec<Value> = mandatory_levels().into_iter().chain(suggested_levels()).collect();
        let schemas: Vec<Value> = mandatory_schemas().into_iter().chain(suggested_schemas()).collect();
        for object in levels.iter().chain(&schemas) {
            let resource = api::kinds::find_kind(GROUP, "v1", api::meta::kind(object)).expect("a built-in kind");
            let errors = api::validation::create(resource, object);
            assert!(errors.is_empty(), "{}: {errors:?}", api::meta::name(object));
        }
        for schema in &schemas {
            let level = &schema["spec"]["priorityLevelConfiguration"]["name"];
            assert!(levels.iter().any(|object| object["metadata"]["name"] == *level), "{level}");
        }
    }
}
