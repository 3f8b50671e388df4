//! What every controller is given.

use std::sync::Arc;

use base::Env;
use client::{EventRecorder, Informers};
use kube::core::{ApiResource, DynamicResourceScope, NamespaceResourceScope};
use kube::{Api, Resource};

use crate::Config;

/// The client, informers, clock and configuration of one term of the controller manager. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: kube::Client,
    pub(crate) informers: Informers,
    pub(crate) env: Env,
    pub(crate) config: Arc<Config>,
    recorder: fn(&Recorders) -> &EventRecorder,
    recorders: Arc<Recorders>,
}

/// Events say which controller they come from, so each source has a recorder.
pub(crate) struct Recorders {
    pub(crate) replica_set: EventRecorder,
    pub(crate) deployment: EventRecorder,
    pub(crate) node: EventRecorder,
    pub(crate) taint_eviction: EventRecorder,
    pub(crate) endpoint_slice: EventRecorder,
    pub(crate) resource_claim: EventRecorder,
}

impl Context {
    pub(crate) fn new(client: kube::Client, informers: Informers, config: Arc<Config>, recorders: Recorders) -> Self {
        let env = informers.env().clone();
        Self { client, informers, env, config, recorder: |all| &all.node, recorders: Arc::new(recorders) }
    }

    /// The same with another client.
    pub(crate) fn acting_with(mut self, client: kube::Client) -> Self {
        self.client = client;
        self
    }

    /// The same with another source of events.
    pub(crate) fn recording_as(mut self, recorder: fn(&Recorders) -> &EventRecorder) -> Self {
        self.recorder = recorder;
        self
    }

    /// The recorder of this controller.
    pub(crate) fn recorder(&self) -> &EventRecorder {
        (self.recorder)(&self.recorders)
    }

    /// The API of a namespaced type.
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API of a cluster-scoped type.
    pub(crate) fn cluster<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// The API of a kind known at run time, in a namespace where its objects have one.
    pub(crate) fn dynamic<K>(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }
}
