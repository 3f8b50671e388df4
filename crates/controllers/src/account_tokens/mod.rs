//! Tokens of service accounts that secrets hold: filled in, removed with their account, and taken away when nobody uses
//! them.

pub(crate) mod clean;
pub(crate) mod fill;

use std::sync::Arc;

use client::{Informer, Informers, ListSelector, Lister, ObjectKey, objects};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// The secrets that hold tokens.
fn secrets(informers: &Informers) -> Informer<Secret> {
    informers.filtered(ListSelector::fields("type=kubernetes.io/service-account-token"))
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> &'a str {
    secret.metadata.annotations.as_ref().and_then(|all| all.get(key)).map_or("", String::as_str)
}

/// Whether a secret is for this account, and not for one of the same name that was there before.
fn is_for(secret: &Secret, account: &ServiceAccount) -> bool {
    let uid = annotation(secret, ACCOUNT_UID);
    annotation(secret, ACCOUNT_NAME) == objects::name(account) && (uid.is_empty() || uid == objects::uid(account))
}

/// The account of a secret.
fn account_of(accounts: &Lister<ServiceAccount>, secret: &Secret, key: &ObjectKey) -> Option<Arc<ServiceAccount>> {
    let account = accounts.get(Some(key.namespace()), annotation(secret, ACCOUNT_NAME))?;
    is_for(secret, &account).then_some(account)
}

/// Whether an account names a secret as its own: then it was made for the account and not by its user.
fn names(account: &ServiceAccount, secret: &str) -> bool {
    account.secrets.iter().flatten().any(|reference| reference.name.as_deref() == Some(secret))
}
