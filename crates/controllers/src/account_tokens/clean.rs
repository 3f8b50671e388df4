//! Takes tokens away that nobody has used for a long time: such a token is first marked as no longer good, and its
//! secret deleted when after the same time again nobody has taken the mark off.
//!
//! Only secrets that an account names are meant: those were made for it by the cluster, in versions that did that.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::{account_of, names, secrets};
use crate::context::Context;
use crate::error::{Attempt, SyncError};

const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// Since when the API server notes uses.
const TRACKING: (&str, &str) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking");

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let (secrets, accounts) = (secrets(&context.informers), context.informers.of::<ServiceAccount>());
    let pods = context.informers.of::<Pod>();
    let listers = Arc::new((secrets.lister(), accounts.lister(), pods.lister()));
    let controller = Controller::new("legacy-serviceaccount-token-cleaner-controller", context.env.clone());
    // One key stands for all tokens: nothing that happens makes one unused, only time does.
    controller.queue().add(ObjectKey::namespaced(TRACKING.0, TRACKING.1));
    controller
        .reads(&secrets)
        .reads(&accounts)
        .reads(&pods)
        .run(drain, move |key| {
            let (context, listers) = (context.clone(), Arc::clone(&listers));
            async move {
                clean(&context, &listers.0, &listers.1, &listers.2, &key).await?;
                Ok::<_, SyncError>(Some(INTERVAL))
            }
        })
        .await
}

async fn clean(
    context: &Context,
    secrets: &Lister<Secret>,
    accounts: &Lister<ServiceAccount>,
    pods: &Lister<Pod>,
    tracking: &ObjectKey,
) -> Result<(), SyncError> {
    let maps: Api<ConfigMap> = context.namespaced(tracking.namespace());
    let map = maps.get_opt(&tracking.name).await.attempt("read", tracking)?;
    let Some(since) = map.and_then(|map| map.data?.get("since")?.parse::<Date>().ok()) else { return Ok(()) };
    let period = Period::new(context.env.now(), context.config.legacy_token_clean_up_period);
    if !period.has_passed_since(since) {
        return Ok(());
    }
    let mounted: HashSet<(String, String)> = pods.list().iter().flat_map(|pod| mounted(pod)).collect();
    for secret in secrets.list() {
        let key = ObjectKey::of(&*secret);
        let is_generated = account_of(accounts, &secret, &key).is_some_and(|account| names(&account, &key.name));
        if !is_generated || mounted.contains(&(key.namespace().to_owned(), key.name.clone())) {
            continue;
        }
        let api: Api<Secret> = context.namespaced(key.namespace());
        match period.verdict(&secret) {
            Verdict::Keep => {}
            Verdict::Invalidate => {
                tracing::info!(
                    namespace = key.namespace(),
                    name = key.name,
                    "unused service account token is no longer good"
                );
                let labels = json!({"labels": {INVALID_SINCE: period.today.to_string()}, "uid": secret.metadata.uid});
                let patch = Patch::Merge(json!({"metadata": labels}));
                let patched = api.patch(&key.name, &PatchParams::default(), &patch).await;
                objects::ignore_not_found(patched).attempt("mark as no longer good", &key)?;
            }
            Verdict::Delete => {
                tracing::info!(namespace = key.namespace(), name = key.name, "unused service account token is deleted");
                // Not if somebody has just taken the mark off.
                let (uid, resource_version) = (secret.metadata.uid.clone(), secret.metadata.resource_version.clone());
                let preconditions = Some(Preconditions { uid, resource_version });
                let options = DeleteParams { preconditions, ..DeleteParams::default() };
                let deleted = api.delete(&key.name, &options).await;
                objects::ignore_not_found(deleted).attempt("delete unused token", &key)?;
            }
        }
    }
    Ok(())
}

fn mounted(pod: &Pod) -> Vec<(String, String)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let names = volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.clone());
    names.map(|name| (objects::namespace(pod).to_owned(), name)).collect()
}

/// What becomes of a token.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Invalidate,
    Delete,
}

/// The time within which a token must have been used.
struct Period {
    begin: Timestamp,
    today: Date,
}

impl Period {
    fn new(now: Timestamp, length: Duration) -> Self {
        let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        let begin = now.checked_sub(length).unwrap_or(Timestamp::MIN);
        Self { begin, today: now.to_zoned(TimeZone::UTC).date() }
    }

    /// Whether all of it lies behind the end of a day.
    fn has_passed_since(&self, day: Date) -> bool {
        day < self.first_day()
    }

    fn first_day(&self) -> Date {
        self.begin.to_zoned(TimeZone::UTC).date()
    }

    fn verdict(&self, secret: &Secret) -> Verdict {
        let label = |key: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        // What is no date was not written by the cluster: nothing is known then.
        let is_recent = |day: &String| day.parse::<Date>().map_or(true, |day| day >= self.first_day());
        let is_new = secret.metadata.creation_timestamp.as_ref().is_none_or(|made| made.0 >= self.begin);
        if is_new || objects::is_deleting(secret) || label(LAST_USED).is_some_and(is_recent) {
            return Verdict::Keep;
        }
        match label(INVALID_SINCE).filter(|since| !since.is_empty()) {
            None => Verdict::Invalidate,
            Some(since) if is_recent(since) => Verdict::Keep,
            Some(_) => Verdict::Delete,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use testkit::{at, object};

    use super::*;

    const DAY: i64 = 24 * 3600;

    fn day(number: i64) -> String {
        at(number * DAY).to_zoned(TimeZone::UTC).date().to_string()
    }

    /// On day 1000, with a period of 365 days.
    #[track_caller]
    fn check(made: i64, used: Option<i64>, invalid: Option<i64>, expected: Verdict) {
        let secret = object::<Secret>("default/s").with(|secret| {
            secret.metadata.creation_timestamp = Some(Time(at(made * DAY)));
            let labels = [(LAST_USED, used), (INVALID_SINCE, invalid)];
            let labels = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), day(value?))));
            secret.metadata.labels = Some(labels.collect());
        });
        let period = Period::new(at(1000 * DAY), Duration::from_secs(365 * 24 * 3600));
        assert_eq!(period.verdict(&secret.build()), expected, "{made} {used:?} {invalid:?}");
    }

    #[test]
    fn a_token_ends_in_two_steps_when_nobody_uses_it() {
        check(900, None, None, Verdict::Keep);
        check(0, None, None, Verdict::Invalidate);
        check(0, Some(900), None, Verdict::Keep);
        check(0, Some(600), None, Verdict::Invalidate);
        check(0, None, Some(900), Verdict::Keep);
        check(0, Some(100), Some(600), Verdict::Delete);
        check(0, Some(900), Some(600), Verdict::Keep);
    }

    #[test]
    fn nothing_is_judged_before_uses_were_noted_long_enough() {
        let period = Period::new(at(1000 * DAY), Duration::from_secs(365 * 24 * 3600));
        for (since, expected) in [(634, true), (635, false), (999, false)] {
            assert_eq!(period.has_passed_since(day(since).parse().expect("a date")), expected, "{since}");
        }
    }
}
