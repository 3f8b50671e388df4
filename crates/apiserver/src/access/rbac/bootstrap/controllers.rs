//! Roles of the controllers: each acts as an account of `kube-system` with a role of the same name.

use serde_json::Value;

use super::{EVENTS, Row, Rule, binding_object, named, role_object, row};

/// A controller's account and what it may do.
struct Controller {
    account: &'static str,
    rules: &'static [Row],
    /// The group without which it has nothing to do, if that is not always served.
    group: Option<&'static str>,
}

const fn controller(account: &'static str, rules: &'static [Row]) -> Controller {
    Controller { account, rules, group: None }
}

/// A controller of a group that is not always served.
const fn controller_of(group: &'static str, account: &'static str, rules: &'static [Row]) -> Controller {
    Controller { account, rules, group: Some(group) }
}

const CONTROLLERS: &[Controller] = &[
    controller(
        "attachdetach-controller",
        &[
            row("list watch", "core", "persistentvolumeclaims persistentvolumes"),
            row("get list watch", "core", "nodes"),
            row("update patch", "core", "nodes/status"),
            row("list watch", "core", "pods"),
            EVENTS,
            row("get list watch create delete", "storage.k8s.io", "volumeattachments"),
            row("get list watch", "storage.k8s.io", "csidrivers"),
            row("get list watch", "storage.k8s.io", "csinodes"),
        ],
    ),
    controller(
        "certificate-controller",
        &[
            row("get list watch delete", "certificates.k8s.io", "certificatesigningrequests"),
            row(
                "update",
                "certificates.k8s.io",
                "certificatesigningrequests/approval certificatesigningrequests/status",
            ),
            named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
            named(
                "sign",
                "certificates.k8s.io",
                "signers",
                "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
            ),
            row("create", "authorization.k8s.io", "subjectaccessreviews"),
            EVENTS,
        ],
    ),
    controller(
        "clusterrole-aggregation-controller",
        &[row("get list watch update patch escalate", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    controller(
        "cronjob-controller",
        &[
            row("get list watch update", "batch", "cronjobs"),
            row("get list watch create update patch delete", "batch", "jobs"),
            row("update", "batch", "cronjobs/status"),
            row("update", "batch", "cronjobs/finalizers"),
            row("list delete", "core", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "daemon-set-controller",
        &[
            row("get list watch", "apps extensions", "daemonsets"),
            row("update", "apps extensions", "daemonsets/status"),
            row("update", "apps extensions", "daemonsets/finalizers"),
            row("list watch", "core", "nodes"),
            row("list watch create patch delete", "core", "pods"),
            row("create", "core", "pods/binding"),
            row("get list watch create update patch delete", "apps", "controllerrevisions"),
            EVENTS,
        ],
    ),
    controller(
        "deployment-controller",
        &[
            row("get list watch update", "apps extensions", "deployments"),
            row("update", "apps extensions", "deployments/status"),
            row("update", "apps extensions", "deployments/finalizers"),
            row("get list watch create update patch delete", "apps extensions", "replicasets"),
            row("get list watch update", "core", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "disruption-controller",
        &[
            row("get list watch", "apps extensions", "deployments"),
            row("get list watch", "apps extensions", "replicasets"),
            row("get list watch", "core", "replicationcontrollers"),
            row("get list watch", "policy", "poddisruptionbudgets"),
            row("get list watch", "apps", "statefulsets"),
            row("update", "policy", "poddisruptionbudgets/status"),
            row("get", "*", "*/scale"),
            EVENTS,
            row("update patch", "core", "pods/status"),
        ],
    ),
    controller(
        "endpoint-controller",
        &[
            row("get list watch", "core", "pods services"),
            row("get list create update delete", "core", "endpoints"),
            row("create", "core", "endpoints/restricted"),
            EVENTS,
        ],
    ),
    controller(
        "endpointslice-controller",
        &[
            row("get list watch", "core", "nodes pods services"),
            row("update", "core", "services/finalizers"),
            row("get list create update delete", "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    controller(
        "endpointslicemirroring-controller",
        &[
            row("get list watch", "core", "endpoints services"),
            row("update", "core", "services/finalizers"),
            row("update", "core", "endpoints/finalizers"),
            row("get list create update delete", "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    controller(
        "ephemeral-volume-controller",
        &[
            row("get list watch", "core", "pods"),
            row("update", "core", "pods/finalizers"),
            row("get list watch create", "core", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    controller(
        "expand-controller",
        &[
            row("get list watch update patch", "core", "persistentvolumes"),
            row("update patch", "core", "persistentvolumeclaims/status"),
            row("get list watch", "core", "persistentvolumeclaims"),
            row("get list watch", "storage.k8s.io", "storageclasses"),
            row("get", "core", "endpoints services"),
            row("get", "core", "secrets"),
            EVENTS,
        ],
    ),
    controller("generic-garbage-collector", &[row("get list watch update patch delete", "*", "*"), EVENTS]),
    controller(
        "horizontal-pod-autoscaler",
        &[
            row("get list watch", "autoscaling", "horizontalpodautoscalers"),
            row("update", "autoscaling", "horizontalpodautoscalers/status"),
            row("get update", "*", "*/scale"),
            row("list", "core", "pods"),
            named("get", "core", "services/proxy", "http:heapster: https:heapster:"),
            row("list", "metrics.k8s.io", "pods"),
            row("get list", "custom.metrics.k8s.io", "*"),
            row("get list", "external.metrics.k8s.io", "*"),
            EVENTS,
        ],
    ),
    controller(
        "job-controller",
        &[
            row("get list watch update patch", "batch", "jobs"),
            row("update", "batch", "jobs/status"),
            row("update", "batch", "jobs/finalizers"),
            row("list watch create patch delete", "core", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "namespace-controller",
        &[
            row("get list watch delete", "core", "namespaces"),
            row("update", "core", "namespaces/finalize namespaces/status"),
            row("get list delete deletecollection", "*", "*"),
        ],
    ),
    controller(
        "node-controller",
        &[
            row("get list update patch delete", "core", "nodes"),
            row("update patch", "core", "nodes/status"),
            row("update patch", "core", "pods/status"),
            row("get list delete", "core", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "persistent-volume-binder",
        &[
            row("get list watch create update delete", "core", "persistentvolumes"),
            row("update", "core", "persistentvolumes/status"),
            row("get list watch update", "core", "persistentvolumeclaims"),
            row("update", "core", "persistentvolumeclaims/status"),
            row("get list watch create delete", "core", "pods"),
            row("get list watch", "storage.k8s.io", "storageclasses"),
            row("get create update delete", "core", "endpoints"),
            row("get create delete", "core", "services"),
            row("get", "core", "secrets"),
            row("get list", "core", "nodes"),
            row("watch", "core", "events"),
            EVENTS,
            row("get list watch", "storage.k8s.io", "volumeattributesclasses"),
        ],
    ),
    controller(
        "pod-garbage-collector",
        &[
            row("list watch delete", "core", "pods"),
            row("get list", "core", "nodes"),
            row("patch", "core", "pods/status"),
        ],
    ),
    controller("pv-protection-controller", &[row("get list watch update", "core", "persistentvolumes"), EVENTS]),
    controller(
        "pvc-protection-controller",
        &[
            row("get list watch update", "core", "persistentvolumeclaims"),
            row("get list watch", "core", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "replicaset-controller",
        &[
            row("get list watch update", "apps extensions", "replicasets"),
            row("update", "apps extensions", "replicasets/status"),
            row("update", "apps extensions", "replicasets/finalizers"),
            row("list watch create patch delete", "core", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "replication-controller",
        &[
            row("get list watch update", "core", "replicationcontrollers"),
            row("update", "core", "replicationcontrollers/status"),
            row("update", "core", "replicationcontrollers/finalizers"),
            row("list watch create patch delete", "core", "pods"),
            EVENTS,
        ],
    ),
    controller(
        "resourcequota-controller",
        &[row("list watch", "*", "*"), row("update", "core", "resourcequotas/status"), EVENTS],
    ),
    controller("root-ca-cert-publisher", &[row("create update", "core", "configmaps"), EVENTS]),
    controller("route-controller", &[row("list watch", "core", "nodes"), row("patch", "core", "nodes/status"), EVENTS]),
    controller("service-account-controller", &[row("create", "core", "serviceaccounts"), EVENTS]),
    controller(
        "service-controller",
        &[
            row("get list watch", "core", "services"),
            row("update patch", "core", "services/status"),
            row("list watch", "core", "nodes"),
            EVENTS,
        ],
    ),
    controller(
        "statefulset-controller",
        &[
            row("list watch", "core", "pods"),
            row("get list watch", "apps", "statefulsets"),
            row("update", "apps", "statefulsets/status"),
            row("update", "apps", "statefulsets/finalizers"),
            row("get create update patch delete", "core", "pods"),
            row("get list watch create update patch delete", "apps", "controllerrevisions"),
            row("get create", "core", "persistentvolumeclaims"),
            EVENTS,
            row("update delete", "core", "persistentvolumeclaims"),
        ],
    ),
    controller("ttl-after-finished-controller", &[row("get list watch delete", "batch", "jobs"), EVENTS]),
    controller("ttl-controller", &[row("list watch update patch", "core", "nodes"), EVENTS]),
    controller(
        "legacy-service-account-token-cleaner",
        &[
            named("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
            row("update patch delete", "core", "secrets"),
        ],
    ),
    controller(
        "resourceclaim-controller",
        &[
            row("get list watch", "core", "pods"),
            row("update", "core", "pods/finalizers"),
            row("get list watch create delete", "resource.k8s.io", "resourceclaims"),
            row("get list watch", "resource.k8s.io", "resourceclaimtemplates"),
            row("update patch", "resource.k8s.io", "resourceclaims resourceclaims/status"),
            row("update patch", "core", "pods/status"),
            EVENTS,
        ],
    ),
    controller(
        "service-cidrs-controller",
        &[
            row("get list watch update patch", "networking.k8s.io", "servicecidrs"),
            row("update patch", "networking.k8s.io", "servicecidrs/finalizers"),
            row("update patch", "networking.k8s.io", "servicecidrs/status"),
            row("get list watch", "networking.k8s.io", "ipaddresses"),
            EVENTS,
        ],
    ),
    controller_of(
        "storagemigration.k8s.io",
        "storage-version-migrator-controller",
        &[row("get list patch", "*", "*"), row("update", "storagemigration.k8s.io", "storageversionmigrations/status")],
    ),
    controller(
        "validatingadmissionpolicy-status-controller",
        &[
            row("get list watch", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            row("get update patch", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
            EVENTS,
        ],
    ),
    controller(
        "volumeattributesclass-protection-controller",
        &[
            row("list watch", "core", "persistentvolumeclaims persistentvolumes"),
            row("get list watch update", "storage.k8s.io", "volumeattributesclasses"),
            EVENTS,
        ],
    ),
];

/// How the names of the roles begin.
const PREFIX: &str = "system:controller:";

fn served(is_served: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static Controller> {
    CONTROLLERS.iter().filter(move |controller| controller.group.is_none_or(&is_served))
}

/// The roles of the controllers that have something to do where these groups are served.
pub(super) fn roles(is_served: impl Fn(&str) -> bool) -> impl Iterator<Item = Value> {
    served(is_served).map(|controller| {
        let rules: Vec<Rule> = controller.rules.iter().map(Row::rule).collect();
        role_object("", &format!("{PREFIX}{}", controller.account), &rules)
    })
}

/// The bindings of these roles.
pub(super) fn bindings(is_served: impl Fn(&str) -> bool) -> impl Iterator<Item = Value> {
    served(is_served).map(|controller| {
        let name = format!("{PREFIX}{}", controller.account);
        binding_object("", &name, &name, &[&format!("s:kube-system:{}", controller.account)])
    })
}
