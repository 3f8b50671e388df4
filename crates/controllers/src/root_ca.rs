//! Publishes the certificate of the cluster's authority to every namespace, for pods to check the API server by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, ListSelector, Lister, ObjectKey, objects};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::service_account::{is_active, is_benign};

const NAME: &str = "kube-root-ca.crt";
const ENTRY: &str = "ca.crt";

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    if context.config.root_ca_pem.is_empty() {
        drain.drained().await;
        return Ok(());
    }
    let namespaces = context.informers.of::<Namespace>();
    let maps = context.informers.filtered::<ConfigMap>(ListSelector::fields(format!("metadata.name={NAME}")));
    let listers = Arc::new((namespaces.lister(), maps.lister()));
    Controller::new("root-ca-certificate-publisher-controller", context.env.clone())
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
        })
        .run(drain, move |key| {
            let (context, listers) = (context.clone(), Arc::clone(&listers));
            async move { sync(&context, &listers.0, &listers.1, &key).await }
        })
        .await
}

async fn sync(
    context: &Context,
    namespaces: &Lister<Namespace>,
    maps: &Lister<ConfigMap>,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    if !namespaces.get_key(key).is_some_and(|namespace| is_active(&namespace)) {
        return Ok(None);
    }
    let data = BTreeMap::from([(ENTRY.to_owned(), context.config.root_ca_pem.clone())]);
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
