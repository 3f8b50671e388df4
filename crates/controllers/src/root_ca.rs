//! Publishes the certificates of the cluster's authority to every namespace, for pods to check the API server by.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, ListSelector, Lister, Object, ObjectKey, Queue, objects};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::service_account::{is_active, is_benign};

const NAME: &str = "kube-root-ca.crt";
const ENTRY: &str = "ca.crt";

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let Some(root_ca) = context.config.root_ca.clone() else {
        drain.drained().await;
        return Ok(());
    };
    let namespaces = context.informers.of::<Namespace>();
    let maps = context.informers.filtered::<ConfigMap>(ListSelector::fields(format!("metadata.name={NAME}")));
    let listers = Arc::new((namespaces.lister(), maps.lister()));
    let controller = Controller::new("root-ca-certificate-publisher-controller", context.env.clone())
        .watch(&namespaces, |event, queue| {
            if !event.is_deleted() {
                queue.add(ObjectKey::of(&**event.object()));
            }
        })
        .watch(&maps, |event, queue| {
            let map = event.object();
            if objects::name(&**map) == NAME {
                queue.add(ObjectKey::cluster(objects::namespace(&**map)));
            }
        });
    let changes = follow(root_ca.clone(), namespaces.lister(), controller.queue());
    let syncing = controller.run(drain, move |key| {
        let (context, listers, pem) = (context.clone(), Arc::clone(&listers), root_ca.borrow().clone());
        async move { sync(&context, &listers.0, &listers.1, &key, pem).await }
    });
    tokio::select! {
        ended = syncing => ended,
        never = changes => match never {},
    }
}

/// Has every object that carries the certificates synced when they change.
pub(crate) async fn follow<K: Object, T: From<ObjectKey> + Clone + Eq + Hash>(
    mut root_ca: watch::Receiver<String>,
    carriers: Lister<K>,
    queue: Queue<T>,
) -> Infallible {
    while root_ca.changed().await.is_ok() {
        for carrier in carriers.list() {
            queue.add(ObjectKey::of(&*carrier).into());
        }
    }
    std::future::pending().await
}

async fn sync(
    context: &Context,
    namespaces: &Lister<Namespace>,
    maps: &Lister<ConfigMap>,
    key: &ObjectKey,
    pem: String,
) -> Result<Option<Duration>, SyncError> {
    if !namespaces.get_key(key).is_some_and(|namespace| is_active(&namespace)) {
        return Ok(None);
    }
    let data = BTreeMap::from([(ENTRY.to_owned(), pem)]);
    let api: Api<ConfigMap> = context.namespaced(&key.name);
    let result = match maps.get(Some(&key.name), NAME) {
        Some(map) if map.data.as_ref() == Some(&data) => return Ok(None),
        Some(map) => {
            let map = ConfigMap { data: Some(data), ..ConfigMap::clone(&map) };
            api.replace(NAME, &PostParams::default(), &map).await
        }
        None => {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
            api.create(&PostParams::default(), &map).await
        }
    };
    match result {
        Err(err) if !is_benign(&err) => Err(err).attempt("publish root certificate in", key),
        _ => Ok(None),
    }
}
