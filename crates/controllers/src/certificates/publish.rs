//! Publishes the certificates of the cluster's authority as a ClusterTrustBundle, for whoever wants to check the API
//! server by it: where the API server serves those.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::discovery::discover;
use client::{Controller, ControllerError, ListSelector, Lister, ObjectKey, objects};
use k8s_openapi::api::certificates::v1beta1::{ClusterTrustBundle, ClusterTrustBundleSpec};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::service_account::is_benign;

const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

/// How many bytes of the hash of a bundle are in its name.
const HASH: usize = 12;

/// How long to wait after the server could not be asked for its resources.
const DISCOVERY_RETRY: Duration = Duration::from_secs(5);

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let is_served = drain.until(are_served(&context)).await;
    let Some(root_ca) = context.config.root_ca.clone().filter(|_| is_served == Some(true)) else {
        drain.drained().await;
        return Ok(());
    };
    let bundles =
        context.informers.filtered::<ClusterTrustBundle>(ListSelector::fields(format!("spec.signerName={SIGNER}")));
    let lister = Arc::new(bundles.lister());
    let controller =
        Controller::new("kube-apiserver-serving-clustertrustbundle-publisher-controller", context.env.clone())
            .watch(&bundles, |_, queue| queue.add(the_only_key()));
    let queue = controller.queue();
    queue.add(the_only_key());
    let mut changes = root_ca.clone();
    let changes = async move {
        while changes.changed().await.is_ok() {
            queue.add(the_only_key());
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    let syncing = controller.run(drain, move |key| {
        let (context, lister, pem) = (context.clone(), Arc::clone(&lister), root_ca.borrow().clone());
        async move { sync(&context, &lister, &key, pem).await }
    });
    tokio::select! {
        ended = syncing => ended,
        never = changes => match never {},
    }
}

/// All bundles of the signer are looked at together.
fn the_only_key() -> ObjectKey {
    ObjectKey::cluster(SIGNER)
}

/// Whether the API server has the resource; asks until it says so.
async fn are_served(context: &Context) -> bool {
    loop {
        match discover(&context.client).await {
            Ok(found) => {
                return found.resources.iter().any(|offered| {
                    let resource = &offered.resource;
                    (resource.group.as_str(), resource.version.as_str(), resource.plural.as_str())
                        == ("certificates.k8s.io", "v1beta1", "clustertrustbundles")
                });
            }
            Err(err) => tracing::debug!(err = %objects::message(&err), "discovery failed"),
        }
        context.env.sleep(DISCOVERY_RETRY).await;
    }
}

/// The name of a bundle: what is in it never changes.
fn name_of(pem: &str) -> String {
    format!("{}:{}", SIGNER.replace('/', ":"), hex::encode(&Sha256::digest(pem)[..HASH]))
}

async fn sync(
    context: &Context,
    bundles: &Lister<ClusterTrustBundle>,
    key: &ObjectKey,
    pem: String,
) -> Result<Option<Duration>, SyncError> {
    let (name, api): (String, Api<ClusterTrustBundle>) = (name_of(&pem), context.cluster());
    let spec = ClusterTrustBundleSpec { signer_name: Some(SIGNER.to_owned()), trust_bundle: pem };
    let published = match bundles.get(None, &name) {
        Some(bundle) if bundle.spec.trust_bundle == spec.trust_bundle => Ok(()),
        Some(bundle) => {
            let bundle = ClusterTrustBundle { spec, ..ClusterTrustBundle::clone(&bundle) };
            api.replace(&name, &PostParams::default(), &bundle).await.map(drop)
        }
        None => {
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            api.create(&PostParams::default(), &ClusterTrustBundle { metadata, spec }).await.map(drop)
        }
    };
    published.or_else(|err| if is_benign(&err) { Ok(()) } else { Err(err) }).attempt("publish", key)?;
    // Those of earlier authorities go once the new one is there.
    for old in bundles.list().iter().map(|bundle| objects::name(&**bundle)).filter(|old| *old != name) {
        let deleted = api.delete(old, &DeleteParams::default()).await.map(drop);
        deleted.or_else(|err| if is_benign(&err) { Ok(()) } else { Err(err) }).attempt("delete earlier", key)?;
    }
    Ok(None)
}
