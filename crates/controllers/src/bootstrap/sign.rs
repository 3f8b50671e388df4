//! Signs the cluster's public information with every bootstrap token that is good for that, so that whoever has a token
//! can tell whether what he reads is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, ListSelector, Lister, ObjectKey, objects};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;

use super::{NAMESPACE, secrets, signing_token, time_left};
use crate::context::Context;
use crate::error::{Attempt, SyncError};

const PUBLIC: &str = "kube-public";
const NAME: &str = "cluster-info";
const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let maps = context.informers.filtered::<ConfigMap>(ListSelector::fields(format!("metadata.name={NAME}")));
    let secrets = secrets(&context.informers);
    let listers = Arc::new((maps.lister(), secrets.lister()));
    let key = ObjectKey::namespaced(PUBLIC, NAME);
    let of_secrets = key.clone();
    Controller::new("bootstrap-signer-controller", context.env.clone())
        .watch(&maps, move |event, queue| {
            if ObjectKey::of(&**event.object()) == key {
                queue.add(key.clone());
            }
        })
        .watch(&secrets, move |event, queue| {
            if objects::namespace(&**event.object()) == NAMESPACE {
                queue.add(of_secrets.clone());
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
    maps: &Lister<ConfigMap>,
    secrets: &Lister<Secret>,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    let Some(map) = maps.get_key(key) else { return Ok(None) };
    let now = context.env.now();
    let secrets = secrets.in_namespace(NAMESPACE);
    // A signature goes with its token, also when nobody removes the secret.
    let next = secrets.iter().filter_map(|secret| time_left(secret, now)).filter(|left| !left.is_zero()).min();
    let data = map.data.clone().unwrap_or_default();
    let mut wanted: BTreeMap<String, String> =
        data.iter().filter(|(entry, _)| !entry.starts_with(SIGNATURE)).map(|(k, v)| (k.clone(), v.clone())).collect();
    if let Some(content) = data.get(CONTENT) {
        let tokens = secrets.iter().filter_map(|secret| signing_token(secret, now));
        wanted.extend(tokens.map(|token| (format!("{SIGNATURE}{}", token.id()), token.sign(content))));
    }
    if wanted != data {
        let map = ConfigMap { data: Some(wanted), ..ConfigMap::clone(&map) };
        let api: Api<ConfigMap> = context.namespaced(PUBLIC);
        let replaced = api.replace(NAME, &PostParams::default(), &map).await;
        objects::ignore_not_found(replaced).attempt("sign", key)?;
    }
    Ok(next)
}
