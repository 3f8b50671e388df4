//! Certificates that a kubelet asks for in the names of pods: each is for a pod of its node, as that pod is.

use api::field::quote;

use super::{Asked, Refusal, text};
use crate::admission::{MIRROR, Operation};
use crate::cache::Object;

impl Asked<'_> {
    pub(super) fn pod_certificate_request(&self) -> Refusal {
        if self.attributes.operation != Operation::Create {
            return Ok(());
        }
        let asked = |field: &str| text(self.object, &format!("/spec/{field}"));
        if asked("nodeName") != self.node {
            let node = quote(asked("nodeName"));
            return Err(format!(
                "PodCertificateRequest.Spec.NodeName={node}, which is not the requesting node {}",
                self.quoted()
            ));
        }
        let name = asked("podName");
        let Some(pod) = self.named("pods", name) else { return Err(format!("pod {} not found", quote(name))) };
        if *pod.uid != *asked("podUID") {
            return Err(format!(
                "PodCertificateRequest for pod {} contains pod UID ({}) which differs from running version {}",
                quote(name),
                quote(asked("podUID")),
                quote(&pod.uid)
            ));
        }
        let running = pod.value();
        if api::meta::annotation(&running, MIRROR).is_some() {
            return Err(format!("pod {} is a mirror pod", quote(name)));
        }
        if pod.field("spec.nodeName") != Some(self.node) {
            return Err(format!("pod {} is not running on node {}", quote(name), self.quoted()));
        }
        let account = text(&running, "/spec/serviceAccountName");
        if account != asked("serviceAccountName") {
            let (asked, account) = (quote(asked("serviceAccountName")), quote(account));
            return Err(format!("pod {} is not running as service account {asked}, but as {account}", quote(name)));
        }
        self.is_uid_of("serviceaccounts", account, asked("serviceAccountUID"))?;
        self.is_uid_of("nodes", self.node, asked("nodeUID"))
    }

    /// An object of the request's namespace, or one that is in none.
    fn named(&self, plural: &str, name: &str) -> Option<std::sync::Arc<Object>> {
        let namespace = self.attributes.scope.namespace.filter(|_| plural != "nodes");
        self.attributes.registry.cached_by("", "v1", plural, namespace, name)
    }

    fn is_uid_of(&self, plural: &str, name: &str, uid: &str) -> Refusal {
        match self.named(plural, name) {
            None => Err(format!("{plural} {} not found", quote(name))),
            Some(object) if *object.uid != *uid => {
                Err(format!("{plural} {} has another UID than {}", quote(name), quote(uid)))
            }
            Some(_) => Ok(()),
        }
    }
}
