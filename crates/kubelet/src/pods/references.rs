//! The objects that a pod refers to: held as long as the pod lives, so that changes wake it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ClusterTrustBundleProjection, ConfigMap, Pod, Secret};
use tokio::sync::Notify;

use super::spec;
use crate::context::Context;
use crate::environment;
use crate::sources::{Objects, Subscription, Unread, named};

/// A pod's hold on what it refers to.
#[derive(Default)]
pub struct References {
    config_maps: BTreeMap<String, Subscription<ConfigMap>>,
    secrets: BTreeMap<String, Subscription<Secret>>,
    /// Sets of bundles, by what selects them.
    trust_bundles: BTreeMap<String, Subscription<ClusterTrustBundle>>,
    wake: Arc<Notify>,
}

impl References {
    /// Takes hold of everything that the pod refers to.
    pub fn hold(&mut self, context: &Context, pod: &Pod, wake: &Arc<Notify>) {
        self.wake = Arc::clone(wake);
        let names = Names::of(pod);
        let namespace = spec::namespace(pod);
        self.config_maps.retain(|name, _| names.config_maps.contains(name));
        self.secrets.retain(|name, _| names.secrets.contains(name));
        self.trust_bundles.retain(|fields, _| names.trust_bundles.contains(fields));
        for name in names.config_maps {
            let subscribe = || context.config_maps.subscribe(namespace, &named(&name), wake);
            self.config_maps.entry(name.clone()).or_insert_with(subscribe);
        }
        for name in names.secrets {
            let subscribe = || context.secrets.subscribe(namespace, &named(&name), wake);
            self.secrets.entry(name.clone()).or_insert_with(subscribe);
        }
        for fields in names.trust_bundles {
            let subscribe = || context.trust_bundles.subscribe("", &fields, wake);
            self.trust_bundles.entry(fields.clone()).or_insert_with(subscribe);
        }
    }

    /// What wakes the pod.
    pub fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }

    /// A ConfigMap of the pod's namespace, if it exists.
    pub async fn config_map(&self, name: &str) -> Result<Option<Arc<ConfigMap>>, Unread> {
        match self.config_maps.get(name) {
            Some(subscription) => subscription.get(name).await,
            None => Ok(None),
        }
    }

    /// A Secret of the pod's namespace, if it exists.
    pub async fn secret(&self, name: &str) -> Result<Option<Arc<Secret>>, Unread> {
        match self.secrets.get(name) {
            Some(subscription) => subscription.get(name).await,
            None => Ok(None),
        }
    }

    /// The bundles of the name or the signer that a volume's source names.
    pub async fn trust_bundles(
        &self,
        source: &ClusterTrustBundleProjection,
    ) -> Result<Arc<Objects<ClusterTrustBundle>>, Unread> {
        match self.trust_bundles.get(&bundle_fields(source)) {
            Some(subscription) => subscription.all().await,
            None => Ok(Arc::default()),
        }
    }
}

/// The field selector of the bundles that a volume's source names.
fn bundle_fields(source: &ClusterTrustBundleProjection) -> String {
    match (&source.name, &source.signer_name) {
        (Some(name), _) => named(name),
        (None, signer) => format!("spec.signerName={}", signer.as_deref().unwrap_or_default()),
    }
}

/// What a pod refers to by name.
#[derive(Default)]
struct Names {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
    trust_bundles: BTreeSet<String>,
}

impl Names {
    fn of(pod: &Pod) -> Self {
        let mut names = Self::default();
        for container in spec::all_containers(pod) {
            let (config_maps, secrets) = environment::references(&container);
            names.config_maps.extend(config_maps);
            names.secrets.extend(secrets);
        }
        let pull_secrets = spec::spec(pod).image_pull_secrets.iter().flatten();
        names.secrets.extend(pull_secrets.map(|reference| reference.name.clone()));
        for volume in spec::spec(pod).volumes.iter().flatten() {
            names.config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
            names.secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
                names.config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
                names.secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
                names.trust_bundles.extend(source.cluster_trust_bundle.as_ref().map(bundle_fields));
            }
        }
        names.config_maps.remove("");
        names.secrets.remove("");
        names
    }
}
