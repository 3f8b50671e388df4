//! The numbers that bound a rollout.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision;

/// How many replicas the deployment asks for.
pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many replicas a replica set asks for.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many replicas a replica set has.
pub(super) fn observed(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// How many available replicas a replica set has.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

/// Whether updates roll, rather than recreate.
pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// By how much a rollout may exceed the replicas, and by how much it may fall short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fenceposts {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

/// Surge is rounded up and unavailability down; where both come to nothing one pod may be unavailable, or nothing
/// could ever move.
pub(super) fn fenceposts(deployment: &Deployment) -> Fenceposts {
    if !is_rolling(deployment) {
        return Fenceposts { surge: 0, unavailable: 0 };
    }
    let wanted = replicas(deployment);
    let rolling = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref()?.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
    let surge = scaled(surge, wanted, true);
    let mut unavailable = scaled(unavailable, wanted, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    Fenceposts { surge, unavailable: unavailable.min(wanted) }
}

/// A number, or a percentage of `total`.
fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or_default();
            let hundredths = percent.max(0) * i64::from(total.max(0));
            let rounded = if round_up { (hundredths + 99) / 100 } else { hundredths / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// How many pods there may be during a rollout.
pub(super) fn max_total(deployment: &Deployment) -> i32 {
    replicas(deployment) + fenceposts(deployment).surge
}

/// Whether the deployment was resized since its replica sets were: then they are resized in proportion before the
/// rollout goes on.
pub(super) fn is_scaling<'a>(deployment: &Deployment, sets: impl Iterator<Item = &'a ReplicaSet>) -> bool {
    let mut active = sets.filter(|set| size(set) > 0);
    active.any(|set| {
        revision::number(set, revision::DESIRED_REPLICAS).is_some_and(|desired| desired != replicas(deployment))
    })
}

#[cfg(test)]
mod tests {
    use testkit::deployment;

    use super::*;

    fn value(text: &str) -> IntOrString {
        text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
    }

    #[track_caller]
    fn check(replicas: i32, surge: &str, unavailable: &str, expected: (i32, i32)) {
        let made = deployment("web").replicas(replicas).rolling_update(value(surge), value(unavailable)).build();
        let got = fenceposts(&made);
        assert_eq!((got.surge, got.unavailable), expected);
    }

    #[test]
    fn surge_is_rounded_up_and_unavailability_down() {
        check(10, "25%", "25%", (3, 2));
        check(3, "25%", "25%", (1, 0));
        check(1, "25%", "25%", (1, 0));
        check(4, "0", "0", (0, 1));
        check(4, "0", "10%", (0, 1));
        check(4, "100%", "100%", (4, 4));
        check(2, "1", "5", (1, 2));
        check(0, "25%", "25%", (0, 0));
    }

    #[test]
    fn recreate_has_no_limits() {
        assert_eq!(fenceposts(&deployment("web").recreate().build()), Fenceposts { surge: 0, unavailable: 0 });
    }
}
