//! Roles about ClusterTrustBundles, which a cluster has where it serves those, as upstream's has them with the feature.

use super::{Binding, EVENTS, Role, bind, named, role, row};

/// They and their group.
pub(super) const RESOURCE: &str = "clustertrustbundles.certificates.k8s.io";

const GROUP: &str = "certificates.k8s.io";

const PUBLISHER: &str = "system:controller:kube-apiserver-serving-clustertrustbundle-publisher";

pub(super) const ROLES: &[Role] = &[
    role("system:cluster-trust-bundle-discovery", &[row("get list watch", GROUP, "clustertrustbundles")]),
    role(
        PUBLISHER,
        &[
            named("attest", GROUP, "signers", "kubernetes.io/kube-apiserver-serving"),
            row("create update delete list watch", GROUP, "clustertrustbundles"),
            EVENTS,
        ],
    ),
];

pub(super) const BINDINGS: &[Binding] = &[
    bind("system:cluster-trust-bundle-discovery", &["g:system:serviceaccounts"]),
    bind(PUBLISHER, &["s:kube-system:kube-apiserver-serving-clustertrustbundle-publisher"]),
];
