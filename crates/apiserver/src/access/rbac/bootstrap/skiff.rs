//! Roles that installers of clusters add to upstream's: for cluster DNS, and for machines that join (of kubeadm's name,
//! so that its tools find it).

use super::{Binding, Role, bind, named, role, row};

/// Whether a role or binding is this server's alone, and nobody else's to add to.
pub(super) fn is_own(name: &str) -> bool {
    name.starts_with("skiff:")
}

pub(super) const ROLES: &[Role] = &[
    // What the manifest of the usual DNS server asks for.
    role(
        "system:coredns",
        &[
            row("list watch", "core", "endpoints namespaces pods services"),
            row("list watch", "discovery.k8s.io", "endpointslices"),
        ],
    ),
    // Cluster DNS keeps its own Service.
    Role {
        namespace: "kube-system",
        name: "skiff:kube-dns",
        part_of: "",
        is_aggregate: false,
        rules: &[row("create", "core", "services"), named("get update patch", "core", "services", "kube-dns")],
    },
    // Where the cluster is and whom it trusts, signed for those who have a token.
    Role {
        namespace: "kube-public",
        name: "kubeadm:bootstrap-signer-clusterinfo",
        part_of: "",
        is_aggregate: false,
        rules: &[named("get", "core", "configmaps", "cluster-info")],
    },
    // An agent has its kubelet's certificate alone; its proxy and its DNS act by it as users who may read what they need.
    role("skiff:agent", &[named("impersonate", "core", "users", "system:coredns system:kube-proxy")]),
];

pub(super) const BINDINGS: &[Binding] = &[
    bind("system:coredns", &["s:kube-system:kube-dns", "u:system:coredns"]),
    Binding {
        namespace: "kube-system",
        name: "skiff:kube-dns",
        role: "skiff:kube-dns",
        subjects: &["s:kube-system:kube-dns"],
    },
    Binding {
        namespace: "kube-public",
        name: "kubeadm:bootstrap-signer-clusterinfo",
        role: "kubeadm:bootstrap-signer-clusterinfo",
        subjects: &["u:system:anonymous"],
    },
    bind("skiff:agent", &["g:system:nodes"]),
    // As whom this server asks kubelets.
    Binding {
        namespace: "",
        name: "skiff:kubelet-api-admin",
        role: "system:kubelet-api-admin",
        subjects: &["u:kube-apiserver-kubelet-client"],
    },
    Binding {
        namespace: "",
        name: "skiff:node-bootstrapper",
        role: "system:node-bootstrapper",
        subjects: &["g:system:bootstrappers"],
    },
    Binding {
        namespace: "",
        name: "skiff:node-autoapprove-bootstrap",
        role: "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        subjects: &["g:system:bootstrappers"],
    },
    Binding {
        namespace: "",
        name: "skiff:node-autoapprove-certificate-rotation",
        role: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        subjects: &["g:system:nodes"],
    },
];
