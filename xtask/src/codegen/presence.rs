//! Which fields upstream holds by value and which it writes even when they are empty: facts about its Go types that
//! neither crate carries, and that decide what an object looks like when it is read back.

use super::openapi::Ty;
use super::overrides;

/// Fields that are written even when nothing is set: type and field.
const ALWAYS: &[(&str, &str)] = &[
    ("APIGroup", "preferredVersion"),
    ("AllocatedDeviceStatus", "conditions"),
    ("AllocationResult", "devices"),
    ("CSINodeDriver", "topologyKeys"),
    ("CapacityRequestPolicy", "default"),
    ("ClusterRole", "rules"),
    ("Container", "resources"),
    ("ContainerImage", "names"),
    ("ContainerStateRunning", "startedAt"),
    ("ContainerStateTerminated", "finishedAt"),
    ("ContainerStateTerminated", "startedAt"),
    ("ContainerStatus", "lastState"),
    ("ContainerStatus", "state"),
    ("ControllerRevision", "data"),
    ("CustomResourceDefinitionStatus", "acceptedNames"),
    ("CustomResourceDefinitionStatus", "conditions"),
    ("CustomResourceDefinitionStatus", "storedVersions"),
    ("DaemonSetSpec", "updateStrategy"),
    ("DeploymentSpec", "strategy"),
    ("DeviceClaim", "requests"),
    ("Endpoint", "conditions"),
    ("EndpointSlice", "ports"),
    ("EphemeralContainer", "resources"),
    ("EventSeries", "lastObservedTime"),
    ("FlowSchemaSpec", "matchingPrecedence"),
    ("IngressServiceBackend", "port"),
    ("IngressStatus", "loadBalancer"),
    ("JobTemplateSpec", "metadata"),
    ("JobTemplateSpec", "spec"),
    ("LimitedPriorityLevelConfiguration", "limitResponse"),
    ("NetworkPolicySpec", "podSelector"),
    ("NodeDaemonEndpoints", "kubeletEndpoint"),
    ("NodeRuntimeHandler", "name"),
    ("NodeStatus", "daemonEndpoints"),
    ("NodeStatus", "nodeInfo"),
    ("PersistentVolumeClaimSpec", "resources"),
    ("PersistentVolumeClaimTemplate", "metadata"),
    ("PodTemplate", "template"),
    ("PodTemplateSpec", "metadata"),
    ("PodTemplateSpec", "spec"),
    ("ProjectedVolumeSource", "sources"),
    ("QueuingConfiguration", "handSize"),
    ("QueuingConfiguration", "queueLengthLimit"),
    ("QueuingConfiguration", "queues"),
    ("ReplicaSetSpec", "template"),
    ("ResourceClaimSpec", "devices"),
    ("ResourceClaimTemplateSpec", "metadata"),
    ("ResourceClaimTemplateSpec", "spec"),
    ("ResourceFieldSelector", "divisor"),
    ("ResourcePolicyRule", "namespaces"),
    ("Role", "rules"),
    ("SelfSubjectReviewStatus", "userInfo"),
    ("ServicePort", "targetPort"),
    ("ServiceStatus", "loadBalancer"),
    ("StatefulSetOrdinals", "start"),
    ("StatefulSetSpec", "serviceName"),
    ("StatefulSetSpec", "updateStrategy"),
    ("StatefulSetStatus", "availableReplicas"),
    ("TokenRequestSpec", "boundObjectRef"),
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
    ("resource.v1beta1.DeviceRequest", "deviceClassName"),
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
    ("resource.v1beta1.ResourceSliceSpec", "allNodes"),
];

/// Fields that are pointers although [`BY_VALUE`] has their name.
const BY_POINTER: &[(&str, &str)] = &[
    ("AzureDiskVolumeSource", "readOnly"),
    ("CSIVolumeSource", "readOnly"),
    ("HorizontalPodAutoscalerStatus", "observedGeneration"),
    ("VolumeNodeResources", "count"),
];

/// Optional strings that are pointers, so that an empty one is kept: by name of the field.
const POINTER_STRINGS: &[&str] = &[
    "cachingMode",
    "commonEncodingVersion",
    "completionMode",
    "deprecationWarning",
    "distinctAttribute",
    "endpointsNamespace",
    "extendedResourceName",
    "failurePolicy",
    "fsGroupChangePolicy",
    "fsGroupPolicy",
    "gmsaCredentialSpec",
    "gmsaCredentialSpecName",
    "holderIdentity",
    "hostnameOverride",
    "ingressClassName",
    "initiatorName",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "ipMode",
    "labelSelectorPath",
    "loadBalancerClass",
    "localhostProfile",
    "managedBy",
    "matchAttribute",
    "matchPolicy",
    "mountPropagation",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "parameterNotFoundAction",
    "persistentVolumeName",
    "podReplacementPolicy",
    "preemptionPolicy",
    "preferredHolder",
    "procMount",
    "propagationPolicy",
    "reclaimPolicy",
    "recursiveReadOnly",
    "resourceClaimName",
    "resourceClaimTemplateName",
    "runAsUserName",
    "runtimeClassName",
    "seLinuxChangePolicy",
    "secretNamespace",
    "selectPolicy",
    "shareID",
    "sideEffects",
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
    ("BasicDevice", "nodeName"),
    ("CSIVolumeSource", "fsType"),
    ("ClusterTrustBundleProjection", "name"),
    ("ClusterTrustBundleProjection", "signerName"),
    ("Container", "restartPolicy"),
    ("Device", "nodeName"),
    ("DeviceAttribute", "string"),
    ("DeviceAttribute", "version"),
    ("DeviceTaintSelector", "device"),
    ("DeviceTaintSelector", "driver"),
    ("DeviceTaintSelector", "pool"),
    ("Endpoint", "hostname"),
    ("Endpoint", "nodeName"),
    ("EndpointAddress", "nodeName"),
    ("EphemeralContainer", "restartPolicy"),
    ("GRPCAction", "service"),
    ("HostPathVolumeSource", "type"),
    ("IngressClassParametersReference", "apiGroup"),
    ("IngressClassParametersReference", "namespace"),
    ("IngressClassParametersReference", "scope"),
    ("IngressPortStatus", "error"),
    ("JSONSchemaProps", "$ref"),
    ("LeaseSpec", "strategy"),
    ("LocalVolumeSource", "fsType"),
    ("MutatingWebhook", "reinvocationPolicy"),
    ("NamedRuleWithOperations", "scope"),
    ("NetworkPolicyPort", "protocol"),
    ("PersistentVolumeClaimSpec", "storageClassName"),
    ("PersistentVolumeClaimStatus", "currentVolumeAttributesClassName"),
    ("PodDNSConfigOption", "value"),
    ("PortStatus", "error"),
    ("Preconditions", "resourceVersion"),
    ("Preconditions", "uid"),
    ("RuleWithOperations", "scope"),
    ("ServicePort", "appProtocol"),
    ("ServiceReference", "path"),
    ("TypedObjectReference", "apiGroup"),
    ("TypedObjectReference", "namespace"),
    ("ValidationRule", "reason"),
    ("WebhookClientConfig", "url"),
    ("api.core.v1.EndpointPort", "appProtocol"),
    ("api.discovery.v1.EndpointPort", "appProtocol"),
    ("api.discovery.v1.EndpointPort", "name"),
    ("api.discovery.v1.EndpointPort", "protocol"),
    ("core.v1.TypedLocalObjectReference", "apiGroup"),
    ("resource.v1.ResourceSliceSpec", "nodeName"),
    ("resource.v1beta2.ResourceSliceSpec", "nodeName"),
    ("v1.Validation", "reason"),
];

/// Fields that are pointers although they are required or written even when nothing is set.
const POINTERS: &[(&str, &str)] = &[
    ("CapacityRequestPolicy", "default"),
    ("CapacityRequestPolicyRange", "min"),
    ("DaemonSetSpec", "selector"),
    ("DeploymentSpec", "selector"),
    ("HTTPIngressPath", "pathType"),
    ("IPAddressSpec", "parentRef"),
    ("MutatingWebhook", "sideEffects"),
    ("ReplicaSetSpec", "selector"),
    ("ScaleIOPersistentVolumeSource", "secretRef"),
    ("ScaleIOVolumeSource", "secretRef"),
    ("StatefulSetSpec", "selector"),
    ("TokenRequestSpec", "boundObjectRef"),
    ("ValidatingWebhook", "sideEffects"),
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
        // The one time that is neither a pointer nor written when it is not set.
        _ => type_name.ends_with(".ObjectMeta") && field == "creationTimestamp",
    }
}

/// Whether upstream points to a field that is required or always written.
pub fn is_pointer(type_name: &str, field: &str) -> bool {
    listed(POINTERS, type_name, field)
}
