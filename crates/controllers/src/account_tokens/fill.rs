//! Fills in the secrets of service accounts' tokens, and removes them with their account.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use pki::{LegacyClaims, ServiceAccountKeys};
use tokio::sync::watch;

use super::{ACCOUNT_NAME, ACCOUNT_UID, account_of, annotation, is_for, names, secrets};
use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::root_ca::follow;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    /// A secret.
    Secret(ObjectKey),
    /// Whether an account still names a secret that is gone.
    Gone { secret: ObjectKey, account: String, account_uid: String },
}

impl From<ObjectKey> for Task {
    fn from(key: ObjectKey) -> Self {
        Self::Secret(key)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(key) => write!(f, "{key}"),
            Self::Gone { secret, account, .. } => write!(f, "{secret} of {account}, which is gone"),
        }
    }
}

/// What a sync reads.
struct Listers {
    secrets: Lister<Secret>,
    accounts: Lister<ServiceAccount>,
    keys: Arc<ServiceAccountKeys>,
    /// The certificates of the cluster's authority.
    root_ca: watch::Receiver<String>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let Some((keys, root_ca)) = context.config.service_account_keys.clone().zip(context.config.root_ca.clone()) else {
        drain.drained().await;
        return Ok(());
    };
    let (secrets, accounts) = (secrets(&context.informers), context.informers.of::<ServiceAccount>());
    let listers =
        Arc::new(Listers { secrets: secrets.lister(), accounts: accounts.lister(), keys, root_ca: root_ca.clone() });
    let of_accounts = secrets.lister();
    let controller = Controller::new("serviceaccount-token-controller", context.env.clone())
        .watch(&secrets, |event, queue| {
            let (secret, is_gone) = (event.object(), event.is_deleted());
            let key = ObjectKey::of(&**secret);
            queue.add(match is_gone {
                false => Task::Secret(key),
                true => Task::Gone {
                    secret: key,
                    account: annotation(secret, ACCOUNT_NAME).to_owned(),
                    account_uid: annotation(secret, ACCOUNT_UID).to_owned(),
                },
            });
        })
        .watch(&accounts, move |event, queue| {
            let account = event.object();
            for secret in of_accounts.in_namespace(objects::namespace(&**account)) {
                if annotation(&secret, ACCOUNT_NAME) == objects::name(&**account) {
                    queue.add(Task::Secret(ObjectKey::of(&*secret)));
                }
            }
        });
    let changes = follow(root_ca, secrets.lister(), controller.queue());
    let syncing = controller.run(drain, move |task| {
        let (context, listers) = (context.clone(), Arc::clone(&listers));
        async move {
            match task {
                Task::Secret(key) => sync(&context, &listers, &key).await,
                Task::Gone { secret, account, account_uid } => {
                    forget(&context, &listers, &secret, &account, &account_uid).await
                }
            }
        }
    });
    tokio::select! {
        ended = syncing => ended,
        never = changes => match never {},
    }
}

async fn sync(context: &Context, listers: &Listers, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
    let Some(secret) = listers.secrets.get_key(key) else { return Ok(None) };
    if objects::is_deleting(&*secret) {
        return Ok(None);
    }
    let api: Api<Secret> = context.namespaced(key.namespace());
    let Some(account) = account_of(&listers.accounts, &secret, key) else {
        // The informer of accounts may be behind; its event then adds this key again.
        let accounts: Api<ServiceAccount> = context.namespaced(key.namespace());
        let found = accounts.get_opt(annotation(&secret, ACCOUNT_NAME)).await.attempt("find the account of", key)?;
        if !found.is_some_and(|account| is_for(&secret, &account)) {
            let deleted = api.delete(&key.name, &objects::delete_uid(objects::uid(&*secret))).await;
            objects::ignore_not_found(deleted).attempt("delete the token of a missing account in", key)?;
        }
        return Ok(None);
    };
    let root_ca_pem = listers.root_ca.borrow().clone();
    if let Some(filled) = filled(&secret, &account, key, &root_ca_pem, &listers.keys) {
        let replaced = api.replace(&key.name, &PostParams::default(), &filled).await;
        objects::ignore_not_found(replaced).attempt("fill in the token of", key)?;
    }
    Ok(None)
}

/// The secret with everything that it lacks; nothing if it lacks nothing.
fn filled(
    secret: &Secret,
    account: &ServiceAccount,
    key: &ObjectKey,
    root_ca_pem: &str,
    keys: &ServiceAccountKeys,
) -> Option<Secret> {
    let mut filled = secret.clone();
    let data = filled.data.get_or_insert_default();
    let lacks = |value: Option<&ByteString>| value.is_none_or(|value| value.0.is_empty());
    data.insert("ca.crt".to_owned(), ByteString(root_ca_pem.as_bytes().to_vec()));
    if lacks(data.get("namespace")) {
        data.insert("namespace".to_owned(), ByteString(key.namespace().as_bytes().to_vec()));
    }
    if lacks(data.get("token")) {
        let claims = LegacyClaims::new(key.namespace(), objects::name(account), objects::uid(account), &key.name);
        data.insert("token".to_owned(), ByteString(keys.sign_legacy(&claims).into_bytes()));
    }
    let annotations = filled.metadata.annotations.get_or_insert_default();
    annotations.insert(ACCOUNT_UID.to_owned(), objects::uid(account).to_owned());
    (filled != *secret).then_some(filled)
}

/// Takes a secret that is gone out of its account, if that names it.
async fn forget(
    context: &Context,
    listers: &Listers,
    key: &ObjectKey,
    account: &str,
    account_uid: &str,
) -> Result<Option<Duration>, SyncError> {
    let found = listers.accounts.get(Some(key.namespace()), account);
    // An account of the same name that came later names another secret.
    let is_its = |account: &ServiceAccount| account_uid.is_empty() || account_uid == objects::uid(account);
    let Some(account) =
        found.filter(|found| is_its(found) && names(found, &key.name) && !objects::is_deleting(&**found))
    else {
        return Ok(None);
    };
    let secrets: Api<Secret> = context.namespaced(key.namespace());
    if secrets.get_opt(&key.name).await.attempt("look for", key)?.is_some() {
        // Another of the same name, perhaps of another type.
        return Ok(None);
    }
    let mut changed = ServiceAccount::clone(&account);
    changed.secrets.get_or_insert_default().retain(|reference| reference.name.as_deref() != Some(&*key.name));
    let api: Api<ServiceAccount> = context.namespaced(key.namespace());
    let replaced = api.replace(objects::name(&*account), &PostParams::default(), &changed).await;
    objects::ignore_not_found(replaced).attempt("take out of its account", key)?;
    Ok(None)
}
