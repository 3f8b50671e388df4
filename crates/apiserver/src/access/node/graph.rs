//! Which objects belong to which node: what the pods bound to it refer to, and what those objects refer to.

use std::collections::HashMap;

use serde_json::Value;

use crate::cache::{Derivation, Object};

/// The kinds of objects that can belong to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Vertex {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    Volume,
    ServiceAccount,
    ResourceClaim,
    Attachment,
    ResourceSlice,
    CertificateRequest,
}

type Key = (Vertex, Box<str>, Box<str>);

fn key(vertex: Vertex, namespace: &str, name: &str) -> Key {
    (vertex, namespace.into(), name.into())
}

/// What a pod brings.
#[derive(Debug)]
struct Bound {
    uid: Box<str>,
    node: Box<str>,
    refers_to: Vec<Key>,
    /// Which resource claims were made for it is only known later.
    has_claims: bool,
}

/// What a persistent volume brings.
#[derive(Debug)]
struct Volume {
    /// The claim that it is bound to.
    claim: Key,
    secrets: Vec<Key>,
}

/// The objects that belong to nodes.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Objects that pods or the objects themselves tie to nodes, with the number of ties.
    tied: HashMap<Key, HashMap<Box<str>, usize>>,
    pods: HashMap<Box<str>, Bound>,
    volumes: HashMap<Box<str>, Volume>,
    /// The volumes that need a secret.
    volumes_of_secret: HashMap<Key, Vec<Box<str>>>,
    /// The node of each object that names one in its specification, but pods.
    nodes: HashMap<Key, Box<str>>,
}

const PODS: usize = 0;
const VOLUMES: usize = 1;

/// The kinds whose objects name their node themselves, in the order of the graph's resources behind the first ones.
const OF_NODES: [Vertex; 3] = [Vertex::Attachment, Vertex::ResourceSlice, Vertex::CertificateRequest];

/// The key of an object of a resource behind the first ones.
fn own_key(resource: usize, object: &Object) -> Key {
    key(OF_NODES[resource - VOLUMES - 1], object.namespace().unwrap_or_default(), object.name())
}

impl Derivation for Graph {
    const RESOURCES: &'static [(&'static str, &'static str)] = &[
        ("", "pods"),
        ("", "persistentvolumes"),
        ("storage.k8s.io", "volumeattachments"),
        ("resource.k8s.io", "resourceslices"),
        ("certificates.k8s.io", "podcertificaterequests"),
    ];

    fn put(&mut self, resource: usize, object: &Object) {
        match resource {
            PODS => self.put_pod(object),
            VOLUMES => self.put_volume(object),
            number => {
                let key = own_key(number, object);
                match object.value().pointer("/spec/nodeName").and_then(Value::as_str) {
                    Some(node) => drop(self.nodes.insert(key, node.into())),
                    None => drop(self.nodes.remove(&key)),
                }
            }
        }
    }

    fn remove(&mut self, resource: usize, object: &Object) {
        match resource {
            PODS => self.remove_pod(&object.key),
            VOLUMES => self.remove_volume(&object.key),
            number => drop(self.nodes.remove(&own_key(number, object))),
        }
    }
}

impl Graph {
    /// Whether an object belongs to a node.
    pub(super) fn reaches(&self, vertex: Vertex, namespace: &str, name: &str, node: &str) -> bool {
        let asked = key(vertex, namespace, name);
        match vertex {
            Vertex::Attachment | Vertex::ResourceSlice | Vertex::CertificateRequest => {
                self.nodes.get(&asked).is_some_and(|tied| &**tied == node)
            }
            Vertex::Volume => self.has_volume(name, node),
            _ if self.is_tied(&asked, node) => true,
            Vertex::Secret => {
                let volumes = self.volumes_of_secret.get(&asked).into_iter().flatten();
                volumes.into_iter().any(|volume| self.has_volume(volume, node))
            }
            _ => false,
        }
    }

    fn is_tied(&self, key: &Key, node: &str) -> bool {
        self.tied.get(key).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn has_volume(&self, volume: &str, node: &str) -> bool {
        self.volumes.get(volume).is_some_and(|volume| self.is_tied(&volume.claim, node))
    }

    fn put_pod(&mut self, object: &Object) {
        let node = object.field("spec.nodeName").unwrap_or_default();
        if node.is_empty() {
            return self.remove_pod(&object.key);
        }
        // References of a bound pod do not change, but for those to claims that are made for it.
        let known = self.pods.get(&*object.key);
        if known.is_some_and(|known| known.uid == object.uid && &*known.node == node && !known.has_claims) {
            return;
        }
        self.remove_pod(&object.key);
        let pod = object.value();
        let namespace = object.namespace().unwrap_or_default();
        let has_claims = pod.pointer("/spec/resourceClaims").is_some();
        let mut refers_to = references(&pod, namespace, object.name());
        refers_to.push(key(Vertex::Pod, namespace, object.name()));
        for reference in &refers_to {
            *self.tied.entry(reference.clone()).or_default().entry(node.into()).or_default() += 1;
        }
        let bound = Bound { uid: object.uid.clone(), node: node.into(), refers_to, has_claims };
        self.pods.insert((*object.key).into(), bound);
    }

    fn remove_pod(&mut self, pod: &str) {
        let Some(bound) = self.pods.remove(pod) else { return };
        for reference in bound.refers_to {
            let Some(nodes) = self.tied.get_mut(&reference) else { continue };
            if let Some(ties) = nodes.get_mut(&bound.node) {
                *ties -= 1;
                if *ties == 0 {
                    nodes.remove(&bound.node);
                }
            }
            if nodes.is_empty() {
                self.tied.remove(&reference);
            }
        }
    }

    fn put_volume(&mut self, object: &Object) {
        self.remove_volume(&object.key);
        let volume = object.value();
        let claim = |field: &str| volume.pointer(&format!("/spec/claimRef/{field}")).and_then(Value::as_str);
        let (Some(namespace), Some(name)) = (claim("namespace"), claim("name")) else { return };
        let secrets = volume_secrets(&volume, namespace);
        for secret in &secrets {
            self.volumes_of_secret.entry(secret.clone()).or_default().push((*object.key).into());
        }
        let claim = key(Vertex::Claim, namespace, name);
        self.volumes.insert((*object.key).into(), Volume { claim, secrets });
    }

    fn remove_volume(&mut self, name: &str) {
        for secret in self.volumes.remove(name).into_iter().flat_map(|volume| volume.secrets) {
            let Some(volumes) = self.volumes_of_secret.get_mut(&secret) else { continue };
            volumes.retain(|volume| &**volume != name);
            if volumes.is_empty() {
                self.volumes_of_secret.remove(&secret);
            }
        }
    }
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn items<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

/// What a pod refers to.
fn references(pod: &Value, namespace: &str, pod_name: &str) -> Vec<Key> {
    let mut found = Vec::new();
    let mut add = |vertex: Vertex, name: Option<&str>| {
        let Some(name) = name else { return };
        let key = key(vertex, namespace, name);
        if !found.contains(&key) {
            found.push(key);
        }
    };
    add(Vertex::ServiceAccount, text(pod, "/spec/serviceAccountName"));
    for secret in items(pod, "/spec/imagePullSecrets") {
        add(Vertex::Secret, text(secret, "/name"));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(pod, &format!("/spec/{list}")) {
            for source in items(container, "/envFrom") {
                add(Vertex::Secret, text(source, "/secretRef/name"));
                add(Vertex::ConfigMap, text(source, "/configMapRef/name"));
            }
            for variable in items(container, "/env") {
                add(Vertex::Secret, text(variable, "/valueFrom/secretKeyRef/name"));
                add(Vertex::ConfigMap, text(variable, "/valueFrom/configMapKeyRef/name"));
            }
        }
    }
    for volume in items(pod, "/spec/volumes") {
        add(Vertex::Secret, text(volume, "/secret/secretName"));
        add(Vertex::ConfigMap, text(volume, "/configMap/name"));
        add(Vertex::Claim, text(volume, "/persistentVolumeClaim/claimName"));
        if volume.get("ephemeral").is_some_and(|ephemeral| !ephemeral.is_null()) {
            let claim = text(volume, "/name").map(|name| format!("{pod_name}-{name}"));
            add(Vertex::Claim, claim.as_deref());
        }
        for source in items(volume, "/projected/sources") {
            add(Vertex::Secret, text(source, "/secret/name"));
            add(Vertex::ConfigMap, text(source, "/configMap/name"));
        }
        for path in VOLUME_SECRETS {
            add(Vertex::Secret, text(volume, path));
        }
    }
    for claim in items(pod, "/spec/resourceClaims") {
        add(Vertex::ResourceClaim, text(claim, "/resourceClaimName"));
    }
    for claim in items(pod, "/status/resourceClaimStatuses") {
        add(Vertex::ResourceClaim, text(claim, "/resourceClaimName"));
    }
    add(Vertex::ResourceClaim, text(pod, "/status/extendedResourceClaimStatus/resourceClaimName"));
    found
}

/// Where the volumes of pods name secrets for their drivers.
const VOLUME_SECRETS: [&str; 9] = [
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/csi/nodePublishSecretRef/name",
    "/flexVolume/secretRef/name",
    "/iscsi/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/storageos/secretRef/name",
];

/// Where persistent volumes do; they name the namespace too, or mean that of the claim.
const PERSISTENT_VOLUME_SECRETS: [&str; 9] = [
    "/spec/cephfs/secretRef",
    "/spec/cinder/secretRef",
    "/spec/csi/nodeExpandSecretRef",
    "/spec/csi/nodePublishSecretRef",
    "/spec/csi/nodeStageSecretRef",
    "/spec/flexVolume/secretRef",
    "/spec/iscsi/secretRef",
    "/spec/rbd/secretRef",
    "/spec/scaleIO/secretRef",
];

fn volume_secrets(volume: &Value, claim_namespace: &str) -> Vec<Key> {
    let mut secrets = Vec::new();
    for path in PERSISTENT_VOLUME_SECRETS {
        let Some(reference) = volume.pointer(path) else { continue };
        let namespace = text(reference, "/namespace").unwrap_or(claim_namespace);
        secrets.extend(text(reference, "/name").map(|name| key(Vertex::Secret, namespace, name)));
    }
    if let Some(name) = text(volume, "/spec/azureFile/secretName") {
        let namespace = text(volume, "/spec/azureFile/secretNamespace").unwrap_or(claim_namespace);
        secrets.push(key(Vertex::Secret, namespace, name));
    }
    secrets
}
