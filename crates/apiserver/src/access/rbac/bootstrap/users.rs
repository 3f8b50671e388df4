//! Roles for people: the administrator's, the aggregated ones, and what everybody may.

use super::{Binding, READ, READ_WRITE, Role, Row, WRITE, bind, paths, role, row};

const fn aggregate(name: &'static str, part_of: &'static str) -> Role {
    Role { namespace: "", name, part_of, is_aggregate: true, rules: &[] }
}

const fn part(name: &'static str, part_of: &'static str, rules: &'static [Row]) -> Role {
    Role { namespace: "", name, part_of, is_aggregate: false, rules }
}

pub(super) const ROLES: &[Role] = &[
    role("cluster-admin", &[row("*", "*", "*"), paths("*", "*")]),
    aggregate("admin", ""),
    aggregate("edit", "admin"),
    aggregate("view", "edit"),
    part(
        "system:aggregate-to-admin",
        "admin",
        &[
            row("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            row(READ_WRITE, "rbac.authorization.k8s.io", "roles rolebindings"),
        ],
    ),
    part(
        "system:aggregate-to-edit",
        "edit",
        &[
            row(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
            row("impersonate", "core", "serviceaccounts"),
            row(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
            row("create", "core", "pods/eviction"),
            row(
                WRITE,
                "core",
                "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
             serviceaccounts services services/proxy",
            ),
            row("create", "core", "serviceaccounts/token"),
            row(
                WRITE,
                "apps",
                "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
             statefulsets/scale",
            ),
            row(WRITE, "autoscaling", "horizontalpodautoscalers"),
            row(WRITE, "batch", "cronjobs jobs"),
            row(
                WRITE,
                "extensions",
                "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets \
             replicasets/scale replicationcontrollers/scale",
            ),
            row(WRITE, "policy", "poddisruptionbudgets"),
            row(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            row(READ_WRITE, "coordination.k8s.io", "leases"),
            row(WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
        ],
    ),
    part(
        "system:aggregate-to-view",
        "view",
        &[
            row(
                READ,
                "core",
                "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
             replicationcontrollers/scale serviceaccounts services services/status",
            ),
            row(
                READ,
                "core",
                "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
             resourcequotas resourcequotas/status",
            ),
            row(READ, "core", "namespaces"),
            row(READ, "discovery.k8s.io", "endpointslices"),
            row(
                READ,
                "apps",
                "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
             replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            ),
            row(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            row(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            row(
                READ,
                "extensions",
                "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status \
             networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
            ),
            row(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
            row(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
            row(READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
        ],
    ),
    role(
        "system:basic-user",
        &[
            row("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            row("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:discovery",
        &[paths("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")],
    ),
    role("system:public-info-viewer", &[paths("get", "/healthz /livez /readyz /version /version/")]),
    role(
        "system:service-account-issuer-discovery",
        &[
            paths("get", "/.well-known/openid-configuration /openid/v1/jwks"),
            paths("get", "/.well-known/openid-configuration/ /openid/v1/jwks/"),
        ],
    ),
    role(
        "system:monitoring",
        &[paths("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
    ),
];

pub(super) const BINDINGS: &[Binding] = &[
    bind("cluster-admin", &["g:system:masters"]),
    bind("system:basic-user", &["g:system:authenticated"]),
    bind("system:discovery", &["g:system:authenticated"]),
    bind("system:public-info-viewer", &["g:system:authenticated", "g:system:unauthenticated"]),
    bind("system:service-account-issuer-discovery", &["g:system:serviceaccounts"]),
    bind("system:monitoring", &["g:system:monitoring"]),
];
