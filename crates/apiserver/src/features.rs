//! The fields that belong to features: they are dropped where the feature is off, unless the object had one of them
//! before. Upstream does the same when it prepares objects to be written.

use std::collections::HashMap;

use api::features::FeatureGates;
use api::kinds::Resource;
use serde_json::Value;

/// A resource, and where in its objects the fields of a row begin.
type Place = ((&'static str, &'static str), &'static str);

/// The fields that go together: as soon as an object has one of them all may be set.
struct Row {
    /// All of these must be on.
    gates: &'static [&'static str],
    places: &'static [Place],
    /// Paths; `*` stands for every element of a list and every value of a map.
    fields: &'static [&'static str],
    /// What must be there for the fields to count as the feature's; empty where they always do.
    only_with: &'static str,
    /// Whether what a field leaves empty goes as well.
    leaves_nothing: bool,
}

const fn row(gates: &'static [&'static str], places: &'static [Place], fields: &'static [&'static str]) -> Row {
    Row { gates, places, fields, only_with: "", leaves_nothing: false }
}

const POD_SPECS: &[Place] = &[
    (("", "pods"), "spec"),
    (("", "podtemplates"), "template.spec"),
    (("", "replicationcontrollers"), "spec.template.spec"),
    (("apps", "daemonsets"), "spec.template.spec"),
    (("apps", "deployments"), "spec.template.spec"),
    (("apps", "replicasets"), "spec.template.spec"),
    (("apps", "statefulsets"), "spec.template.spec"),
    (("batch", "cronjobs"), "spec.jobTemplate.spec.template.spec"),
    (("batch", "jobs"), "spec.template.spec"),
];
const POD_STATUS: &[Place] = &[(("", "pods"), "status")];
const NODE_STATUS: &[Place] = &[(("", "nodes"), "status")];
const VOLUME_CLAIM_SPEC: &[Place] = &[(("", "persistentvolumeclaims"), "spec")];
const LEASE_SPEC: &[Place] = &[(("coordination.k8s.io", "leases"), "spec")];
const DEFINITION_STATUS: &[Place] = &[(("apiextensions.k8s.io", "customresourcedefinitions"), "status")];
const CSI_DRIVER_SPEC: &[Place] = &[(("storage.k8s.io", "csidrivers"), "spec")];
const CLASS_SPEC: &[Place] = &[(("resource.k8s.io", "deviceclasses"), "spec")];
const SLICE_SPEC: &[Place] = &[(("resource.k8s.io", "resourceslices"), "spec")];
const CLAIM_STATUS: &[Place] = &[(("resource.k8s.io", "resourceclaims"), "status")];
const CLAIM_SPECS: &[Place] =
    &[(("resource.k8s.io", "resourceclaims"), "spec"), (("resource.k8s.io", "resourceclaimtemplates"), "spec.spec")];

/// Requests and devices have a level more or less in the first beta of their group: a row names both.
const ROWS: &[Row] = &[
    row(&["GenericWorkload"], POD_SPECS, &["workloadRef"]),
    row(&["ClusterTrustBundleProjection"], POD_SPECS, &["volumes.*.projected.sources.*.clusterTrustBundle"]),
    row(&["PodCertificateRequest"], POD_SPECS, &["volumes.*.projected.sources.*.podCertificate"]),
    Row {
        gates: &["ContainerStopSignals"],
        places: POD_SPECS,
        fields: &[
            "containers.*.lifecycle.stopSignal",
            "initContainers.*.lifecycle.stopSignal",
            "ephemeralContainers.*.lifecycle.stopSignal",
        ],
        only_with: "",
        leaves_nothing: true,
    },
    row(&["HostnameOverride"], POD_SPECS, &["hostnameOverride"]),
    row(&["PodLevelResources"], POD_SPECS, &["resources"]),
    row(&["UserNamespacesSupport"], POD_SPECS, &["hostUsers"]),
    row(&["SELinuxChangePolicy"], POD_SPECS, &["securityContext.seLinuxChangePolicy"]),
    row(&["MatchLabelKeysInPodTopologySpread"], POD_SPECS, &["topologySpreadConstraints.*.matchLabelKeys"]),
    row(
        &["EnvFiles"],
        POD_SPECS,
        &[
            "containers.*.env.*.valueFrom.fileKeyRef",
            "initContainers.*.env.*.valueFrom.fileKeyRef",
            "ephemeralContainers.*.env.*.valueFrom.fileKeyRef",
        ],
    ),
    row(&["InPlacePodLevelResourcesVerticalScaling"], POD_STATUS, &["resources", "allocatedResources"]),
    row(&["DRAExtendedResource"], POD_STATUS, &["extendedResourceClaimStatus"]),
    row(
        &["ResourceHealthStatus"],
        POD_STATUS,
        &[
            "containerStatuses.*.allocatedResourcesStatus",
            "initContainerStatuses.*.allocatedResourcesStatus",
            "ephemeralContainerStatuses.*.allocatedResourcesStatus",
        ],
    ),
    row(&["NodeDeclaredFeatures"], NODE_STATUS, &["declaredFeatures"]),
    Row {
        gates: &["CrossNamespaceVolumeDataSource"],
        places: VOLUME_CLAIM_SPEC,
        fields: &["dataSourceRef"],
        only_with: "dataSourceRef.namespace",
        leaves_nothing: false,
    },
    row(&["VolumeAttributesClass"], VOLUME_CLAIM_SPEC, &["volumeAttributesClassName"]),
    row(&["CoordinatedLeaderElection"], LEASE_SPEC, &["strategy"]),
    row(&["CoordinatedLeaderElection"], LEASE_SPEC, &["preferredHolder"]),
    row(
        &["CRDObservedGenerationTracking"],
        DEFINITION_STATUS,
        &["observedGeneration", "conditions.*.observedGeneration"],
    ),
    row(&["CSIServiceAccountTokenSecrets"], CSI_DRIVER_SPEC, &["serviceAccountTokenInSecrets"]),
    row(&["MutableCSINodeAllocatableCount"], CSI_DRIVER_SPEC, &["nodeAllocatableUpdatePeriodSeconds"]),
    row(
        &["HPAConfigurableTolerance"],
        &[(("autoscaling", "horizontalpodautoscalers"), "spec.behavior")],
        &["scaleUp.tolerance", "scaleDown.tolerance"],
    ),
    row(
        &["DeploymentReplicaSetTerminatingReplicas"],
        &[(("apps", "deployments"), "status"), (("apps", "replicasets"), "status")],
        &["terminatingReplicas"],
    ),
    row(&["DRAExtendedResource"], CLASS_SPEC, &["extendedResourceName"]),
    row(&["DRADeviceTaints"], SLICE_SPEC, &["devices.*.taints", "devices.*.basic.taints"]),
    row(
        &["DRAPartitionableDevices"],
        SLICE_SPEC,
        &[
            "sharedCounters",
            "perDeviceNodeSelection",
            "devices.*.consumesCounters",
            "devices.*.nodeName",
            "devices.*.nodeSelector",
            "devices.*.allNodes",
            "devices.*.basic.consumesCounters",
            "devices.*.basic.nodeName",
            "devices.*.basic.nodeSelector",
            "devices.*.basic.allNodes",
        ],
    ),
    row(
        &["DRADeviceBindingConditions", "DRAResourceClaimDeviceStatus"],
        SLICE_SPEC,
        &[
            "devices.*.bindingConditions",
            "devices.*.bindingFailureConditions",
            "devices.*.bindsToNode",
            "devices.*.basic.bindingConditions",
            "devices.*.basic.bindingFailureConditions",
            "devices.*.basic.bindsToNode",
        ],
    ),
    row(
        &["DRAConsumableCapacity"],
        SLICE_SPEC,
        &[
            "devices.*.allowMultipleAllocations",
            "devices.*.capacity.*.requestPolicy",
            "devices.*.basic.allowMultipleAllocations",
            "devices.*.basic.capacity.*.requestPolicy",
        ],
    ),
    row(&["DRAPrioritizedList"], CLAIM_SPECS, &["devices.requests.*.firstAvailable"]),
    row(
        &["DRADeviceTaints"],
        CLAIM_SPECS,
        &[
            "devices.requests.*.exactly.tolerations",
            "devices.requests.*.tolerations",
            "devices.requests.*.firstAvailable.*.tolerations",
        ],
    ),
    row(
        &["DRAAdminAccess"],
        CLAIM_SPECS,
        &["devices.requests.*.exactly.adminAccess", "devices.requests.*.adminAccess"],
    ),
    row(
        &["DRAConsumableCapacity"],
        CLAIM_SPECS,
        &[
            "devices.constraints.*.distinctAttribute",
            "devices.requests.*.exactly.capacity",
            "devices.requests.*.capacity",
            "devices.requests.*.firstAvailable.*.capacity",
        ],
    ),
    row(&["DRAResourceClaimDeviceStatus"], CLAIM_STATUS, &["devices"]),
    row(
        &["DRAConsumableCapacity"],
        CLAIM_STATUS,
        &["allocation.devices.results.*.shareID", "allocation.devices.results.*.consumedCapacity", "devices.*.shareID"],
    ),
    row(
        &["DRADeviceBindingConditions"],
        CLAIM_STATUS,
        &["allocation.devices.results.*.bindingConditions", "allocation.devices.results.*.bindingFailureConditions"],
    ),
];

/// The gates that were set to something else than they are by default, and that this server has no use for.
pub(crate) fn without_effect(gates: &FeatureGates) -> impl Iterator<Item = &'static str> {
    gates.changed().filter(|gate| !ROWS.iter().any(|row| row.gates.contains(gate)))
}

type Path = Vec<&'static str>;

/// A row at one of its places.
struct Group {
    fields: Vec<Path>,
    only_with: Option<Path>,
    leaves_nothing: bool,
}

/// The fields of features that are off, by resource.
pub(crate) struct DisabledFields(HashMap<(&'static str, &'static str), Vec<Group>>);

impl DisabledFields {
    pub(crate) fn new(gates: &FeatureGates) -> Self {
        let mut groups: HashMap<_, Vec<Group>> = HashMap::new();
        for row in ROWS.iter().filter(|row| !row.gates.iter().all(|gate| gates.is_on(gate))) {
            for (resource, place) in row.places {
                let path = |field: &&'static str| place.split('.').chain(field.split('.')).collect();
                groups.entry(*resource).or_default().push(Group {
                    fields: row.fields.iter().map(path).collect(),
                    only_with: Some(row.only_with).filter(|only| !only.is_empty()).as_ref().map(path),
                    leaves_nothing: row.leaves_nothing,
                });
            }
        }
        Self(groups)
    }

    /// Drops what belongs to features that are off and is not in use in what was there.
    pub(crate) fn drop_from(&self, resource: &Resource, new: &mut Value, old: Option<&Value>) {
        if resource.custom.is_some() {
            return;
        }
        let groups = self.0.get(&(&*resource.group, &*resource.plural));
        for group in groups.into_iter().flatten() {
            let is_used = |object: &Value| group.fields.iter().any(|field| has(object, field));
            let counts = group.only_with.as_ref().is_none_or(|only| has(new, only));
            if counts && is_used(new) && !old.is_some_and(is_used) {
                group.fields.iter().for_each(|field| remove(new, field, group.leaves_nothing));
            }
        }
    }
}

/// Whether anything is at a path; an empty list is nothing.
fn has(value: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    };
    match (value, *first) {
        (Value::Array(list), "*") => list.iter().any(|item| has(item, rest)),
        (Value::Object(map), "*") => map.values().any(|member| has(member, rest)),
        (Value::Object(map), member) => map.get(member).is_some_and(|member| has(member, rest)),
        _ => false,
    }
}

/// Removes whatever is at a path.
fn remove(value: &mut Value, path: &[&str], leaves_nothing: bool) {
    match (value, path) {
        (Value::Object(map), [last]) => drop(map.remove(*last)),
        (Value::Array(list), ["*", rest @ ..]) => list.iter_mut().for_each(|item| remove(item, rest, leaves_nothing)),
        (Value::Object(map), ["*", rest @ ..]) => {
            map.values_mut().for_each(|member| remove(member, rest, leaves_nothing));
        }
        (Value::Object(map), [first, rest @ ..]) => {
            let Some(member) = map.get_mut(*first) else { return };
            remove(member, rest, leaves_nothing);
            if leaves_nothing && rest.len() == 1 && member.as_object().is_some_and(serde_json::Map::is_empty) {
                map.remove(*first);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn gates_without_fields_are_without_effect() {
        let gates = "GenericWorkload=true,MemoryQoS=true".parse().expect("settings");
        assert_eq!(without_effect(&gates).collect::<Vec<_>>(), ["MemoryQoS"]);
    }

    #[track_caller]
    fn check(
        (group, version, plural): (&str, &str, &str),
        gates: &str,
        old: Option<Value>,
        new: Value,
        expected: Value,
    ) {
        let fields = DisabledFields::new(&gates.parse().expect("settings"));
        let resource = api::kinds::find(group, version, plural).expect("it is built in");
        let mut kept = new;
        fields.drop_from(resource, &mut kept, old.as_ref());
        assert_eq!(kept, expected, "{plural} {gates}");
    }

    #[test]
    fn fields_of_features_that_are_off_are_dropped_unless_they_were_there() {
        let pods = ("", "v1", "pods");
        let (with, without) = (json!({"spec": {"workloadRef": {"name": "w"}}}), json!({"spec": {}}));
        check(pods, "", None, with.clone(), without.clone());
        check(pods, "", Some(without.clone()), with.clone(), without.clone());
        check(pods, "", Some(with.clone()), with.clone(), with.clone());
        check(pods, "GenericWorkload=true", None, with.clone(), with.clone());
        let template = |spec: &Value| json!({"spec": {"jobTemplate": {"spec": {"template": spec}}}});
        check(("batch", "v1", "cronjobs"), "", None, template(&with), template(&without));
    }

    #[test]
    fn what_a_field_leaves_empty_goes_where_upstream_drops_it() {
        let pod = |first: Value| json!({"spec": {"containers": [first, {"name": "b"}]}});
        let pods = ("", "v1", "pods");
        check(pods, "", None, pod(json!({"lifecycle": {"stopSignal": "SIGINT"}})), pod(json!({})));
        let hook = json!({"preStop": {"sleep": {"seconds": 1}}});
        let mut both = hook.clone();
        both["stopSignal"] = "SIGINT".into();
        check(pods, "", None, pod(json!({"lifecycle": both})), pod(json!({"lifecycle": hook})));
        let source = |source: Value| json!({"spec": {"volumes": [{"projected": {"sources": [source]}}]}});
        check(pods, "", None, source(json!({"podCertificate": {"signerName": "a/b"}})), source(json!({})));
    }

    #[test]
    fn a_source_in_another_namespace_goes_as_a_whole() {
        let claims = ("", "v1", "persistentvolumeclaims");
        let claim = |source: Value| json!({"spec": {"dataSourceRef": source}});
        let (near, far) = (claim(json!({"name": "a"})), claim(json!({"name": "a", "namespace": "n"})));
        check(claims, "", None, near.clone(), near.clone());
        check(claims, "", None, far.clone(), json!({"spec": {}}));
        check(claims, "", Some(near), far.clone(), far.clone());
        check(claims, "CrossNamespaceVolumeDataSource=true", None, far.clone(), far);
    }

    #[test]
    fn all_gates_of_a_row_must_be_on() {
        let slice = |device: Value| json!({"spec": {"devices": [device]}});
        let slices = ("resource.k8s.io", "v1", "resourceslices");
        let with = slice(json!({"name": "x", "bindsToNode": true}));
        check(slices, "DRADeviceBindingConditions=true", None, with.clone(), with.clone());
        check(slices, "DRADeviceBindingConditions=false", None, with.clone(), slice(json!({"name": "x"})));
        let capacity = |policy: Value| slice(json!({"basic": {"capacity": {"memory": policy}}}));
        let policy = json!({"value": "1", "requestPolicy": {"default": "1"}});
        check(
            ("resource.k8s.io", "v1beta1", "resourceslices"),
            "",
            None,
            capacity(policy),
            capacity(json!({"value": "1"})),
        );
    }

    #[test]
    fn the_rows_are_about_gates_and_kinds_that_there_are() {
        let everything: FeatureGates = "AllAlpha=true,AllBeta=true".parse().expect("settings");
        assert!(DisabledFields::new(&everything).0.is_empty());
        for row in ROWS {
            for ((group, plural), _) in row.places {
                let mut kinds = api::kinds::all().iter();
                assert!(kinds.any(|kind| kind.group == *group && kind.plural == *plural), "{group} {plural}");
            }
        }
    }
}
