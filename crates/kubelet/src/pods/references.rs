//! The ConfigMaps and Secrets that a pod refers to: held as long as the pod lives, so that changes wake it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use tokio::sync::Notify;

use super::spec;
use crate::context::Context;
use crate::environment;
use crate::sources::{Subscription, Timeout};

/// A pod's hold on what it refers to.
#[derive(Default)]
pub struct References {
    config_maps: BTreeMap<String, Subscription<ConfigMap>>,
    secrets: BTreeMap<String, Subscription<Secret>>,
}

impl References {
    /// Takes hold of everything that the pod refers to.
    pub fn hold(&mut self, context: &Context, pod: &Pod, wake: &Arc<Notify>) {
        let (config_maps, secrets) = names(pod);
        let namespace = spec::namespace(pod);
        self.config_maps.retain(|name, _| config_maps.contains(name));
        self.secrets.retain(|name, _| secrets.contains(name));
        for name in config_maps {
            let subscribe = || context.config_maps.subscribe(namespace, &name, wake);
            self.config_maps.entry(name.clone()).or_insert_with(subscribe);
        }
        for name in secrets {
            let subscribe = || context.secrets.subscribe(namespace, &name, wake);
            self.secrets.entry(name.clone()).or_insert_with(subscribe);
        }
    }

    /// A ConfigMap of the pod's namespace, if it exists.
    pub async fn config_map(&self, name: &str) -> Result<Option<Arc<ConfigMap>>, Timeout> {
        match self.config_maps.get(name) {
            Some(subscription) => subscription.get().await,
            None => Ok(None),
        }
    }

    /// A Secret of the pod's namespace, if it exists.
    pub async fn secret(&self, name: &str) -> Result<Option<Arc<Secret>>, Timeout> {
        match self.secrets.get(name) {
            Some(subscription) => subscription.get().await,
            None => Ok(None),
        }
    }
}

/// Names of ConfigMaps and of Secrets.
fn names(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for container in spec::all_containers(pod) {
        let (of_config_maps, of_secrets) = environment::references(&container);
        config_maps.extend(of_config_maps);
        secrets.extend(of_secrets);
    }
    secrets.extend(spec::spec(pod).image_pull_secrets.iter().flatten().map(|reference| reference.name.clone()));
    for volume in spec::spec(pod).volumes.iter().flatten() {
        config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
        }
    }
    for names in [&mut config_maps, &mut secrets] {
        names.remove("");
    }
    (config_maps, secrets)
}
