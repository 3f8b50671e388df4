//! Aggregation: groups and versions that extension API servers answer, as APIServices name them.
//!
//! One task watches the APIServices and what they point to. It makes those of the groups that this server answers
//! itself, asks each extension API server for its documents, and says in the APIService's status whether that worked.
//! Requests are passed on by the table that it keeps.

mod api_service;
mod availability;
mod described;
mod discovery;
mod forward;
mod keeper;
mod local;
mod remote;
mod trust;

use std::collections::HashMap;
use std::sync::Arc;

use api::status::Status;
use arc_swap::ArcSwap;
use http::Response;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use serde_json::Value;

use crate::connect::FrontProxy;
use crate::http::body::Body;
use crate::pipeline::{Admitted, Core};
use crate::registry::Registry;

use api_service::ApiService;
pub(crate) use api_service::Availability;
pub(crate) use keeper::run;
use remote::Remote;

/// The name in the certificate that extension API servers are shown.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// The extension API servers that there are.
pub(crate) struct Aggregation {
    front_proxy: FrontProxy,
    remotes: ArcSwap<HashMap<String, Arc<Remote>>>,
}

impl Aggregation {
    pub(crate) fn new(front_proxy: FrontProxy) -> Self {
        Self { front_proxy, remotes: ArcSwap::default() }
    }

    /// The extension API server for a path, if it is one's.
    pub(crate) fn remote(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let mut segments = path.strip_prefix("/apis/")?.split('/');
        let (group, version) = (segments.next()?, segments.next()?);
        remotes.get(&format!("{version}.{group}")).cloned()
    }

    /// Which extension API servers cannot be reached, as a metric.
    pub(crate) fn unavailable(&self) -> Vec<MetricFamily> {
        let help = "Whether requests for an APIService cannot be passed on.";
        let gauge = IntGaugeVec::new(Opts::new("aggregator_unavailable_apiservice", help), &["name"]);
        let gauge = gauge.expect("a fixed name and label are valid");
        for (name, remote) in &**self.remotes.load() {
            gauge.with_label_values(&[name]).set(i64::from(!remote.api.is_available));
        }
        gauge.collect()
    }

    /// Lets connections that showed an earlier certificate end with what they carry.
    fn retire_connections(&self) {
        for remote in self.remotes.load().values() {
            remote.connections.retire();
        }
    }

    /// Takes up the APIServices as they are now, and where they can be reached.
    fn take(&self, registry: &Registry, objects: impl Iterator<Item = Value>) {
        let before = self.remotes.load();
        let remote = |api: ApiService| {
            let known = before.get(&api.name).map(|known| &**known);
            (api.name.clone(), Arc::new(Remote::new(registry, &self.front_proxy, api, known)))
        };
        self.remotes.store(Arc::new(objects.filter_map(|object| ApiService::parse(&object)).map(remote).collect()));
    }
}

/// Passes a request on to the extension API server that it is for.
pub(crate) async fn handle(core: Arc<Core>, remote: Arc<Remote>, admitted: Admitted) -> Result<Response<Body>, Status> {
    forward::forward(&core, &remote, &admitted.identity, admitted.request).await
}
