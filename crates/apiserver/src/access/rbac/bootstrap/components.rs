//! Roles for the parts of a cluster: control plane, kubelets, the proxy, and those that help them.

use super::{Binding, EVENTS, READ, Role, bind, named, role, row};

const fn local(namespace: &'static str, name: &'static str, rules: &'static [super::Row]) -> Role {
    Role { namespace, name, part_of: "", is_aggregate: false, rules }
}

pub(super) const ROLES: &[Role] = &[
    role(
        "system:auth-delegator",
        &[
            row("create", "authentication.k8s.io", "tokenreviews"),
            row("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[row("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[row("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving")],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[named("approve", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown")],
    ),
    role(
        "system:heapster",
        &[row(READ, "core", "events namespaces nodes pods"), row(READ, "extensions", "deployments")],
    ),
    role("system:kube-aggregator", &[row(READ, "core", "endpoints services")]),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            row("create", "coordination.k8s.io", "leases"),
            named("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
            row("create", "core", "secrets serviceaccounts"),
            row("delete", "core", "secrets"),
            row("get", "core", "configmaps namespaces secrets serviceaccounts"),
            row("update", "core", "secrets serviceaccounts"),
            row("create", "authentication.k8s.io", "tokenreviews"),
            row("create", "authorization.k8s.io", "subjectaccessreviews"),
            row("list watch", "*", "*"),
            row("create", "core", "serviceaccounts/token"),
        ],
    ),
    role("system:kube-dns", &[row("list watch", "core", "endpoints services")]),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            row("create", "coordination.k8s.io", "leases"),
            named("get update", "coordination.k8s.io", "leases", "kube-scheduler"),
            row(READ, "core", "nodes"),
            row("get list watch delete", "core", "pods"),
            row("create", "core", "bindings pods/binding"),
            row("update patch", "core", "pods/status"),
            row(READ, "core", "replicationcontrollers services"),
            row(READ, "apps extensions", "replicasets"),
            row(READ, "apps", "statefulsets"),
            row(READ, "policy", "poddisruptionbudgets"),
            row(READ, "core", "persistentvolumeclaims persistentvolumes"),
            row("create", "authentication.k8s.io", "tokenreviews"),
            row("create", "authorization.k8s.io", "subjectaccessreviews"),
            row(READ, "storage.k8s.io", "csinodes"),
            row(READ, "core", "namespaces"),
            row(READ, "storage.k8s.io", "csidrivers"),
            row(READ, "storage.k8s.io", "csistoragecapacities"),
            row(READ, "storage.k8s.io", "volumeattachments"),
            row(READ, "resource.k8s.io", "deviceclasses resourceclaims resourceslices"),
            row("create", "resource.k8s.io", "resourceclaims"),
            row("update patch", "resource.k8s.io", "resourceclaims resourceclaims/status"),
            row("update", "core", "pods/finalizers"),
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            row(READ, "core", "nodes"),
            row("proxy", "core", "nodes"),
            row(
                "*",
                "core",
                "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/spec nodes/stats",
            ),
        ],
    ),
    role(
        "system:node",
        &[
            row("create", "authentication.k8s.io", "tokenreviews"),
            row("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
            row(READ, "core", "services"),
            row("get list watch create", "core", "nodes"),
            row("update patch", "core", "nodes/status"),
            row("update patch", "core", "nodes"),
            EVENTS,
            row(READ, "core", "pods"),
            row("create delete", "core", "pods"),
            row("update patch", "core", "pods/status"),
            row("create", "core", "pods/eviction"),
            row(READ, "core", "configmaps secrets"),
            row("get", "core", "persistentvolumeclaims persistentvolumes"),
            row("get", "core", "endpoints"),
            row("get list watch create", "certificates.k8s.io", "certificatesigningrequests"),
            row("get create update patch delete", "coordination.k8s.io", "leases"),
            row("get", "storage.k8s.io", "volumeattachments"),
            row("create", "core", "serviceaccounts/token"),
            row("get update patch", "core", "persistentvolumeclaims/status"),
            row(READ, "storage.k8s.io", "csidrivers"),
            row("get create update patch delete", "storage.k8s.io", "csinodes"),
            row(READ, "node.k8s.io", "runtimeclasses"),
            row("get", "resource.k8s.io", "resourceclaims"),
            row(super::READ_WRITE, "resource.k8s.io", "resourceslices"),
            row("get", "core", "serviceaccounts"),
            row(READ, "certificates.k8s.io", "clustertrustbundles").given("clustertrustbundles.certificates.k8s.io"),
            row("get list watch create", "certificates.k8s.io", "podcertificaterequests")
                .given("podcertificaterequests.certificates.k8s.io"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[row("get list watch create", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    role("system:node-problem-detector", &[row("get", "core", "nodes"), row("patch", "core", "nodes/status"), EVENTS]),
    role(
        "system:node-proxier",
        &[
            row("list watch", "core", "endpoints services"),
            row(READ, "core", "nodes"),
            EVENTS,
            row("list watch", "discovery.k8s.io", "endpointslices"),
            row("list watch", "networking.k8s.io", "servicecidrs"),
        ],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            row("get list watch create delete", "core", "persistentvolumes"),
            row("get list watch update", "core", "persistentvolumeclaims"),
            row(READ, "storage.k8s.io", "storageclasses"),
            row("watch", "core", "events"),
            EVENTS,
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            row("get list watch update patch", "core", "persistentvolumes"),
            row(READ, "storage.k8s.io", "storageclasses"),
            row("get list watch update patch", "core", "persistentvolumeclaims"),
        ],
    ),
    local(
        "kube-public",
        "system:controller:bootstrap-signer",
        &[row(READ, "core", "configmaps"), named("update", "core", "configmaps", "cluster-info"), EVENTS],
    ),
    local(
        "kube-system",
        "extension-apiserver-authentication-reader",
        &[named(READ, "core", "configmaps", "extension-apiserver-authentication")],
    ),
    local(
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &[row("watch", "core", "configmaps"), named("get update", "core", "configmaps", "kube-controller-manager")],
    ),
    local(
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &[row("watch", "core", "configmaps"), named("get update", "core", "configmaps", "kube-scheduler")],
    ),
    local("kube-system", "system:controller:bootstrap-signer", &[row(READ, "core", "secrets")]),
    local("kube-system", "system:controller:cloud-provider", &[row("get list watch create", "core", "configmaps")]),
    local("kube-system", "system:controller:token-cleaner", &[row("get list watch delete", "core", "secrets"), EVENTS]),
];

const fn local_binding(name: &'static str, role: &'static str, subjects: &'static [&'static str]) -> Binding {
    Binding { namespace: "kube-system", name, role, subjects }
}

pub(super) const BINDINGS: &[Binding] = &[
    bind("system:kube-controller-manager", &["u:system:kube-controller-manager"]),
    bind("system:kube-dns", &["s:kube-system:kube-dns"]),
    bind("system:kube-scheduler", &["u:system:kube-scheduler"]),
    bind("system:volume-scheduler", &["u:system:kube-scheduler"]),
    // Nodes have what is in it by the Node authorizer.
    bind("system:node", &[]),
    bind("system:node-proxier", &["u:system:kube-proxy"]),
    Binding {
        namespace: "kube-public",
        name: "system:controller:bootstrap-signer",
        role: "system:controller:bootstrap-signer",
        subjects: &["s:kube-system:bootstrap-signer"],
    },
    local_binding(
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &["u:system:kube-controller-manager", "u:system:kube-scheduler"],
    ),
    local_binding(
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &["u:system:kube-controller-manager", "s:kube-system:kube-controller-manager"],
    ),
    local_binding(
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &["u:system:kube-scheduler", "s:kube-system:kube-scheduler"],
    ),
    local_binding(
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &["s:kube-system:bootstrap-signer"],
    ),
    local_binding(
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &["s:kube-system:cloud-provider"],
    ),
    local_binding(
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &["s:kube-system:token-cleaner"],
    ),
];
