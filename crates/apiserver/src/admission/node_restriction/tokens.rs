//! Tokens that a kubelet asks for: each is for a pod of its node, and for an audience that the pod itself names, or that
//! roles let the kubelet ask for. A kubelet in wrong hands thereby gets nothing that its pods did not have.

use api::field::quote;
use serde_json::Value;

use super::{Asked, Refusal, text};
use crate::access::attributes::{Attributes as Question, ResourceAttributes};
use crate::access::authorization::Decision;
use crate::cache::Object;

/// The verb on an audience, in place of a resource, by which roles open it to a kubelet.
const VERB: &str = "request-serviceaccounts-token-audience";

/// Volumes that had a field of their own before there was CSI, with the driver that mounts them since.
const MIGRATED: [(&str, &str); 7] = [
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("portworxVolume", "pxd.portworx.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
];

impl Asked<'_> {
    pub(super) fn token(&self) -> Refusal {
        let bound = |field: &str| text(self.object, &format!("/spec/boundObjectRef/{field}"));
        if (bound("apiVersion"), bound("kind")) != ("v1", "Pod") || bound("name").is_empty() {
            return Err("node requested token not bound to a pod".to_owned());
        }
        if bound("uid").is_empty() {
            return Err("node requested token with a pod binding without a uid".to_owned());
        }
        let namespace = self.attributes.scope.namespace;
        let Some(pod) = self.attributes.registry.cached_by("", "v1", "pods", namespace, bound("name")) else {
            return Err(format!("pod {} not found", quote(bound("name"))));
        };
        if *pod.uid != *bound("uid") {
            return Err(format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted \
                 and then recreated",
                bound("uid")
            ));
        }
        if pod.field("spec.nodeName") != Some(self.node) {
            return Err("node requested token bound to a pod scheduled on a different node".to_owned());
        }
        self.audience(&pod)
    }

    /// The audience is one that the pod names, or that the kubelet may ask for.
    fn audience(&self, pod: &Object) -> Refusal {
        let audience = match self.object.pointer("/spec/audiences").and_then(Value::as_array).map(Vec::as_slice) {
            // That of the API server.
            None | Some([]) => "",
            Some([one]) => one.as_str().unwrap_or_default(),
            Some(_) => return Err("node may only request 0 or 1 audiences".to_owned()),
        };
        if self.is_named_by(pod, audience) {
            return Ok(());
        }
        let identity = self.attributes.caller.identity;
        let question = ResourceAttributes {
            resource: audience,
            namespace: self.attributes.scope.namespace.unwrap_or_default(),
            name: self.attributes.path_name.unwrap_or_default(),
            version: "v1",
            ..ResourceAttributes::default()
        };
        let decision = self.attributes.registry.authorization.decide_now(&Question::of_verb(identity, VERB, question));
        let (audience, user) = (quote(audience), &identity.user);
        let refused = match decision {
            Decision::Allow(_) => return Ok(()),
            Decision::Deny(refused) | Decision::NoOpinion(refused) => refused,
        };
        Err(match refused.error {
            Some(error) => format!(
                "audience {audience} not found in pod spec volume, error authorizing {user} to request tokens for this \
                 audience: {error}"
            ),
            None => format!(
                "audience {audience} not found in pod spec volume, {user} is not authorized to request tokens for this \
                 audience"
            ),
        })
    }

    /// Whether a volume of the pod is a token for an audience, or is mounted by a driver that gets one.
    fn is_named_by(&self, pod: &Object, audience: &str) -> bool {
        let value = pod.value();
        let mut volumes = value.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
        let projects = |volume: &Value| {
            let sources = volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten();
            sources.filter_map(|source| source.get("serviceAccountToken")).any(|of| text(of, "/audience") == audience)
        };
        volumes.any(|volume| {
            projects(volume)
                || self.driver(pod.name(), volume).is_some_and(|driver| self.driver_gets(&driver, audience))
        })
    }

    /// The CSI driver that mounts a volume of a pod, if one does.
    fn driver(&self, pod: &str, volume: &Value) -> Option<String> {
        if let Some(driver) = volume.pointer("/csi/driver") {
            return driver.as_str().map(str::to_owned);
        }
        if let Some(claim) = volume.pointer("/persistentVolumeClaim/claimName") {
            return self.driver_of_claim(claim.as_str()?);
        }
        if volume.get("ephemeral").is_some() {
            return self.driver_of_claim(&format!("{pod}-{}", text(volume, "/name")));
        }
        migrated(volume)
    }

    fn driver_of_claim(&self, claim: &str) -> Option<String> {
        let (registry, namespace) = (self.attributes.registry, self.attributes.scope.namespace);
        let claim = registry.cached_by("", "v1", "persistentvolumeclaims", namespace, claim)?.value();
        let volume = text(&claim, "/spec/volumeName");
        let volume = registry.cached_by("", "v1", "persistentvolumes", None, volume)?.value();
        match volume.pointer("/spec/csi/driver") {
            Some(driver) => driver.as_str().map(str::to_owned),
            None => migrated(volume.get("spec")?),
        }
    }

    fn driver_gets(&self, driver: &str, audience: &str) -> bool {
        let driver = self.attributes.registry.cached_by("storage.k8s.io", "v1", "csidrivers", None, driver);
        let driver = driver.map(|driver| driver.value());
        let requests = driver.as_ref().and_then(|driver| driver.pointer("/spec/tokenRequests")?.as_array());
        requests.into_iter().flatten().any(|request| text(request, "/audience") == audience)
    }
}

fn migrated(volume: &Value) -> Option<String> {
    MIGRATED.iter().find(|(field, _)| volume.get(field).is_some()).map(|(_, driver)| (*driver).to_owned())
}
