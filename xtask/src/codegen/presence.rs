//! Which fields upstream holds by value and which it writes even when they are empty: facts about its Go types that
//! neither crate carries, and that decide what an object looks like when it is read back.

use super::openapi::Ty;
use super::overrides;

/// Fields that are written even when nothing is set: type and field.
const ALWAYS: &[(&str, &str)] = &[
    ("ClusterRole", "rules"),
    ("Container", "resources"),
    ("ContainerStateRunning", "startedAt"),
    ("ContainerStateTerminated", "finishedAt"),
    ("ContainerStateTerminated", "startedAt"),
    ("ContainerStatus", "lastState"),
    ("ContainerStatus", "state"),
    ("CustomResourceDefinitionStatus", "acceptedNames"),
    ("CustomResourceDefinitionStatus", "conditions"),
    ("CustomResourceDefinitionStatus", "storedVersions"),
    ("DaemonSetSpec", "updateStrategy"),
    ("DeploymentSpec", "strategy"),
    ("Endpoint", "conditions"),
    ("EndpointSlice", "ports"),
    ("EphemeralContainer", "resources"),
    ("EventSeries", "lastObservedTime"),
    ("IngressServiceBackend", "port"),
    ("IngressStatus", "loadBalancer"),
    ("JobTemplateSpec", "metadata"),
    ("JobTemplateSpec", "spec"),
    ("NetworkPolicySpec", "podSelector"),
    ("NodeDaemonEndpoints", "kubeletEndpoint"),
    ("NodeStatus", "daemonEndpoints"),
    ("NodeStatus", "nodeInfo"),
    ("PersistentVolumeClaimSpec", "resources"),
    ("PersistentVolumeClaimTemplate", "metadata"),
    ("PodTemplate", "template"),
    ("PodTemplateSpec", "metadata"),
    ("PodTemplateSpec", "spec"),
    ("ReplicaSetSpec", "template"),
    ("ResourceClaimTemplateSpec", "metadata"),
    ("ResourceClaimTemplateSpec", "spec"),
    ("ResourceFieldSelector", "divisor"),
    ("Role", "rules"),
    ("ServicePort", "targetPort"),
    ("ServiceStatus", "loadBalancer"),
    ("StatefulSetSpec", "serviceName"),
    ("StatefulSetSpec", "updateStrategy"),
    ("StatefulSetStatus", "availableReplicas"),
    ("TokenReviewStatus", "user"),
    ("VolumeError", "time"),
    ("api.core.v1.Event", "eventTime"),
    ("api.core.v1.Event", "firstTimestamp"),
    ("api.core.v1.Event", "lastTimestamp"),
    ("api.core.v1.Event", "reportingComponent"),
    ("api.core.v1.Event", "reportingInstance"),
    ("api.core.v1.Event", "source"),
    ("api.events.v1.Event", "deprecatedFirstTimestamp"),
    ("api.events.v1.Event", "deprecatedLastTimestamp"),
    ("api.events.v1.Event", "deprecatedSource"),
    ("api.events.v1.Event", "eventTime"),
    ("api.events.v1.Event", "regarding"),
    ("v2.HorizontalPodAutoscalerStatus", "currentMetrics"),
    ("v2.HorizontalPodAutoscalerStatus", "desiredReplicas"),
];

/// Times of conditions; upstream writes `null` for those that are not set.
const CONDITION_TIMES: &[&str] = &["lastHeartbeatTime", "lastProbeTime", "lastTransitionTime", "lastUpdateTime"];

/// Conditions whose times are pointers and hence left out.
const POINTER_CONDITION_TIMES: &[(&str, &str)] = &[("IngressCondition", "lastTransitionTime")];

/// Optional booleans and integers that upstream holds by value, so that zero means not set: by name of the field.
const BY_VALUE: &[&str] = &[
    "active",
    "authenticated",
    "availableReplicas",
    "chapAuthDiscovery",
    "chapAuthSession",
    "clusterScope",
    "code",
    "count",
    "currentReplicas",
    "denied",
    "deprecated",
    "deprecatedCount",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "failed",
    "failureThreshold",
    "fullyLabeledReplicas",
    "generation",
    "globalDefault",
    "healthCheckNodePort",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "insecureSkipTLSVerify",
    "minReadySeconds",
    "nodePort",
    "nullable",
    "number",
    "numberAvailable",
    "numberUnavailable",
    "observedGeneration",
    "paused",
    "periodSeconds",
    "preserveUnknownFields",
    "publishNotReadyAddresses",
    "readOnly",
    "readyReplicas",
    "retryAfterSeconds",
    "signal",
    "sizeBytes",
    "sslEnabled",
    "stdin",
    "stdinOnce",
    "succeeded",
    "successThreshold",
    "tty",
    "unavailableReplicas",
    "uniqueItems",
    "unschedulable",
    "updatedNumberScheduled",
    "updatedReplicas",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
];

/// Fields whose name is in [`BY_VALUE`] on other types.
const BY_VALUE_ON: &[(&str, &str)] = &[
    ("AWSElasticBlockStoreVolumeSource", "partition"),
    ("CustomResourceColumnDefinition", "priority"),
    ("DeploymentStatus", "replicas"),
    ("GCEPersistentDiskVolumeSource", "partition"),
    ("Probe", "timeoutSeconds"),
    ("ScaleSpec", "replicas"),
];

/// Fields that are pointers although [`BY_VALUE`] has their name.
const BY_POINTER: &[(&str, &str)] = &[
    ("AzureDiskVolumeSource", "readOnly"),
    ("HorizontalPodAutoscalerStatus", "observedGeneration"),
    ("VolumeNodeResources", "count"),
];

/// Optional strings that are pointers, so that an empty one is kept: by name of the field.
const POINTER_STRINGS: &[&str] = &[
    "cachingMode",
    "completionMode",
    "deprecationWarning",
    "failurePolicy",
    "fsGroupChangePolicy",
    "gmsaCredentialSpec",
    "gmsaCredentialSpecName",
    "holderIdentity",
    "hostnameOverride",
    "ingressClassName",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "ipMode",
    "labelSelectorPath",
    "loadBalancerClass",
    "localhostProfile",
    "managedBy",
    "matchPolicy",
    "mountPropagation",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "persistentVolumeName",
    "podReplacementPolicy",
    "preemptionPolicy",
    "preferredHolder",
    "procMount",
    "reclaimPolicy",
    "recursiveReadOnly",
    "reinvocationPolicy",
    "resourceClaimName",
    "resourceClaimTemplateName",
    "runAsUserName",
    "runtimeClassName",
    "seLinuxChangePolicy",
    "secretNamespace",
    "selectPolicy",
    "shareID",
    "sideEffects",
    "signerName",
    "stopSignal",
    "supplementalGroupsPolicy",
    "timeZone",
    "trafficDistribution",
    "unhealthyPodEvictionPolicy",
    "volumeAttributesClassName",
    "volumeBindingMode",
    "volumeMode",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "zone",
];

/// Optional strings that are pointers on some types only.
const POINTER_STRINGS_ON: &[(&str, &str)] = &[
    ("AzureDiskVolumeSource", "fsType"),
    ("AzureDiskVolumeSource", "kind"),
    ("CSIVolumeSource", "fsType"),
    ("ClusterTrustBundleProjection", "name"),
    ("Container", "restartPolicy"),
    ("Endpoint", "hostname"),
    ("Endpoint", "nodeName"),
    ("EndpointAddress", "nodeName"),
    ("EphemeralContainer", "restartPolicy"),
    ("GRPCAction", "service"),
    ("HostPathVolumeSource", "type"),
    ("IngressClassParametersReference", "apiGroup"),
    ("IngressClassParametersReference", "namespace"),
    ("IngressClassParametersReference", "scope"),
    ("LeaseSpec", "strategy"),
    ("NamedRuleWithOperations", "scope"),
    ("NetworkPolicyPort", "protocol"),
    ("PersistentVolumeClaimSpec", "storageClassName"),
    ("PersistentVolumeClaimStatus", "currentVolumeAttributesClassName"),
    ("RuleWithOperations", "scope"),
    ("ServicePort", "appProtocol"),
    ("ServiceReference", "path"),
    ("TypedLocalObjectReference", "apiGroup"),
    ("TypedObjectReference", "apiGroup"),
    ("TypedObjectReference", "namespace"),
    ("WebhookClientConfig", "url"),
    ("api.core.v1.EndpointPort", "appProtocol"),
    ("api.discovery.v1.EndpointPort", "appProtocol"),
    ("api.discovery.v1.EndpointPort", "name"),
    ("api.discovery.v1.EndpointPort", "protocol"),
];

fn listed(list: &[(&str, &str)], type_name: &str, field: &str) -> bool {
    list.iter()
        .any(|(name, of)| *of == field && type_name.strip_suffix(name).is_some_and(|before| before.ends_with('.')))
}

/// Whether upstream writes the field even when it is empty.
pub fn is_always_written(type_name: &str, field: &str, of_kind: bool, ty: &Ty) -> bool {
    let by_value_struct = matches!(ty, Ty::Named(target) if overrides::opaque(target).is_none());
    let part_of_kind = of_kind && by_value_struct && matches!(field, "metadata" | "spec" | "status");
    let time_of_condition = type_name.ends_with("Condition")
        && CONDITION_TIMES.contains(&field)
        && !listed(POINTER_CONDITION_TIMES, type_name, field);
    part_of_kind || time_of_condition || listed(ALWAYS, type_name, field)
}

/// Whether the zero value of the field means that it is not set.
pub fn is_by_value(type_name: &str, field: &str, ty: &Ty) -> bool {
    match ty {
        Ty::String => !POINTER_STRINGS.contains(&field) && !listed(POINTER_STRINGS_ON, type_name, field),
        Ty::Bool | Ty::Int32 | Ty::Int64 => {
            (BY_VALUE.contains(&field) || listed(BY_VALUE_ON, type_name, field))
                && !listed(BY_POINTER, type_name, field)
        }
        _ => false,
    }
}
