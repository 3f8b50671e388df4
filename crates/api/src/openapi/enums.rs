//! The values of fields that take one of a closed set.

const ADDRESS_TYPE: &[&str] = &["FQDN", "IPv4", "IPv6"];
const CLUSTER_OR_LOCAL: &[&str] = &["Cluster", "Local"];
const FAILURE_POLICY: &[&str] = &["Fail", "Ignore"];
const HONOR_OR_IGNORE: &[&str] = &["Honor", "Ignore"];
const LABEL_OPERATOR: &[&str] = &["DoesNotExist", "Exists", "In", "NotIn"];
const MATCH_POLICY: &[&str] = &["Equivalent", "Exact"];
const PREEMPTION: &[&str] = &["Never", "PreemptLowerPriority"];
const PROFILE: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const PROTOCOL: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICY: &[&str] = &["Always", "IfNotPresent", "Never"];
const RECLAIM_POLICY: &[&str] = &["Delete", "Recycle", "Retain"];
const RESTART_POLICY: &[&str] = &["Always", "Never", "OnFailure"];
const SCOPE: &[&str] = &["*", "Cluster", "Namespaced"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
const TAINT_EFFECT: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];
const TERMINATION_MESSAGE: &[&str] = &["FallbackToLogsOnError", "File"];
const VOLUME_MODE: &[&str] = &["Block", "Filesystem"];

/// The values that a field takes, by the name of its type in OpenAPI; none if the set is not closed.
pub(super) fn values(type_name: &str, field: &str) -> &'static [&'static str] {
    let Some(name) = type_name.strip_prefix("io.k8s.api.") else { return &[] };
    let Some((group, rest)) = name.split_once('.') else { return &[] };
    let ty = rest.rsplit('.').next().unwrap_or(rest);
    match group {
        "core" => core(ty, field),
        "admissionregistration" => admission(ty, field),
        "apps" => apps(ty, field),
        "batch" => batch(ty, field),
        "storage" => storage(ty, field),
        _ => others(group, ty, field),
    }
}

fn core(ty: &str, field: &str) -> &'static [&'static str] {
    match (ty, field) {
        ("AppArmorProfile" | "SeccompProfile", "type") => PROFILE,
        ("AzureDiskVolumeSource", "cachingMode") => &["None", "ReadOnly", "ReadWrite"],
        ("AzureDiskVolumeSource", "kind") => &["Dedicated", "Managed", "Shared"],
        ("Container" | "EphemeralContainer", "imagePullPolicy") | ("ImageVolumeSource", "pullPolicy") => PULL_POLICY,
        ("Container" | "EphemeralContainer", "terminationMessagePolicy") => TERMINATION_MESSAGE,
        ("ContainerPort" | "EndpointPort" | "ServicePort" | "PortStatus", "protocol") => PROTOCOL,
        ("HTTPGetAction", "scheme") => &["HTTP", "HTTPS"],
        ("HostPathVolumeSource", "type") => {
            &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"]
        }
        ("ModifyVolumeStatus", "status") => &["InProgress", "Infeasible", "Pending"],
        ("NamespaceStatus", "phase") => &["Active", "Terminating"],
        ("NodeAddress", "type") => &["ExternalDNS", "ExternalIP", "Hostname", "InternalDNS", "InternalIP"],
        ("NodeSelectorRequirement", "operator") => &["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"],
        ("NodeStatus", "phase") => &["Pending", "Running", "Terminated"],
        ("PersistentVolumeClaimSpec" | "PersistentVolumeSpec", "volumeMode") => VOLUME_MODE,
        ("PersistentVolumeClaimStatus", "phase") => &["Bound", "Lost", "Pending"],
        ("PersistentVolumeSpec", "persistentVolumeReclaimPolicy") => RECLAIM_POLICY,
        ("PersistentVolumeStatus", "phase") => &["Available", "Bound", "Failed", "Pending", "Released"],
        ("PodSecurityContext", "fsGroupChangePolicy") => &["Always", "OnRootMismatch"],
        ("PodSecurityContext", "supplementalGroupsPolicy") => &["Merge", "Strict"],
        ("PodSpec", "dnsPolicy") => &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        ("PodSpec", "preemptionPolicy") => PREEMPTION,
        ("PodSpec", "restartPolicy") => RESTART_POLICY,
        ("PodStatus", "phase") => &["Failed", "Pending", "Running", "Succeeded", "Unknown"],
        ("PodStatus", "qosClass") => &["BestEffort", "Burstable", "Guaranteed"],
        ("ScopedResourceSelectorRequirement", "operator") => LABEL_OPERATOR,
        ("ScopedResourceSelectorRequirement", "scopeName") => &[
            "BestEffort",
            "CrossNamespacePodAffinity",
            "NotBestEffort",
            "NotTerminating",
            "PriorityClass",
            "Terminating",
            "VolumeAttributesClass",
        ],
        ("SecurityContext", "procMount") => &["Default", "Unmasked"],
        ("ServiceSpec", "externalTrafficPolicy" | "internalTrafficPolicy") => CLUSTER_OR_LOCAL,
        ("ServiceSpec", "ipFamilyPolicy") => &["PreferDualStack", "RequireDualStack", "SingleStack"],
        ("ServiceSpec", "sessionAffinity") => &["ClientIP", "None"],
        ("ServiceSpec", "type") => &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ("Taint" | "Toleration", "effect") => TAINT_EFFECT,
        ("Toleration", "operator") => &["Equal", "Exists", "Gt", "Lt"],
        ("TopologySpreadConstraint", "nodeAffinityPolicy" | "nodeTaintsPolicy") => HONOR_OR_IGNORE,
        ("TopologySpreadConstraint", "whenUnsatisfiable") => &["DoNotSchedule", "ScheduleAnyway"],
        ("VolumeMount", "mountPropagation") => &["Bidirectional", "HostToContainer", "None"],
        _ => &[],
    }
}

fn admission(ty: &str, field: &str) -> &'static [&'static str] {
    match (ty, field) {
        (_, "failurePolicy") => FAILURE_POLICY,
        (_, "matchPolicy") => MATCH_POLICY,
        (_, "parameterNotFoundAction") => &["Allow", "Deny"],
        (_, "reinvocationPolicy") => &["IfNeeded", "Never"],
        (_, "scope") => SCOPE,
        (_, "sideEffects") => SIDE_EFFECTS,
        _ => &[],
    }
}

fn apps(ty: &str, field: &str) -> &'static [&'static str] {
    match (ty, field) {
        ("DaemonSetUpdateStrategy" | "StatefulSetUpdateStrategy", "type") => &["OnDelete", "RollingUpdate"],
        ("DeploymentStrategy", "type") => &["Recreate", "RollingUpdate"],
        ("StatefulSetSpec", "podManagementPolicy") => &["OrderedReady", "Parallel"],
        _ => &[],
    }
}

fn batch(ty: &str, field: &str) -> &'static [&'static str] {
    match (ty, field) {
        ("CronJobSpec", "concurrencyPolicy") => &["Allow", "Forbid", "Replace"],
        ("JobSpec", "completionMode") => &["Indexed", "NonIndexed"],
        ("JobSpec", "podReplacementPolicy") => &["Failed", "TerminatingOrFailed"],
        ("PodFailurePolicyOnExitCodesRequirement", "operator") => &["In", "NotIn"],
        ("PodFailurePolicyRule", "action") => &["Count", "FailIndex", "FailJob", "Ignore"],
        _ => &[],
    }
}

fn storage(ty: &str, field: &str) -> &'static [&'static str] {
    match (ty, field) {
        ("CSIDriverSpec", "fsGroupPolicy") => &["File", "None", "ReadWriteOnceWithFSType"],
        ("StorageClass", "reclaimPolicy") => RECLAIM_POLICY,
        ("StorageClass", "volumeBindingMode") => &["Immediate", "WaitForFirstConsumer"],
        _ => &[],
    }
}

fn others(group: &str, ty: &str, field: &str) -> &'static [&'static str] {
    match (group, ty, field) {
        ("discovery", "EndpointSlice", "addressType") => ADDRESS_TYPE,
        ("discovery", "EndpointPort", "protocol") | ("networking", "NetworkPolicyPort", "protocol") => PROTOCOL,
        ("networking", "HTTPIngressPath", "pathType") => &["Exact", "ImplementationSpecific", "Prefix"],
        ("policy", "PodDisruptionBudgetSpec", "unhealthyPodEvictionPolicy") => &["AlwaysAllow", "IfHealthyBudget"],
        ("scheduling", "PriorityClass", "preemptionPolicy") => PREEMPTION,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn values_are_sorted_and_belong_to_fields() {
        let mut found = 0;
        for ty in schema::all_types() {
            for field in ty.fields {
                let values = values(ty.name, field.json);
                assert!(values.is_sorted(), "{}.{}", ty.name, field.json);
                found += usize::from(!values.is_empty());
            }
        }
        assert!(found >= 60, "only {found} fields");
    }
}
