//! How long a pod may stay on a node with taints.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It tolerates everything.
    ForEver,
    /// It goes at this time.
    Until(Timestamp),
    /// It goes now.
    No,
}

/// Judges a pod by the NoExecute taints of its node.
pub(super) fn stay(pod: &Pod, taints: &[Taint]) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
    let began = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let began = began.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0);
    let mut end: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == super::taints::NO_EXECUTE) {
        let matching: Vec<&Toleration> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if matching.is_empty() {
            return Stay::No;
        }
        let Some(seconds) = matching.iter().filter_map(|toleration| toleration.toleration_seconds).min() else {
            continue;
        };
        if seconds <= 0 {
            return Stay::No;
        }
        // A pod that was bound to a node with taints has its time from then on.
        let added = taint.time_added.as_ref().map(|time| time.0);
        let Some(from) = added.max(began) else { return Stay::No };
        let until = from.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        end = Some(end.map_or(until, |known| known.min(until)));
    }
    end.map_or(Stay::ForEver, Stay::Until)
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, effect) = (given(&toleration.key), given(&toleration.effect));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match given(&toleration.operator).as_str() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && given(&toleration.value) == given(&taint.value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use testkit::{Maker, at, pod};

    use super::super::taints::{NOT_READY, UNREACHABLE};
    use super::*;

    fn taint(key: &str, added: i64) -> Taint {
        Taint { key: key.to_owned(), effect: "NoExecute".to_owned(), value: None, time_added: Some(Time(at(added))) }
    }

    #[track_caller]
    fn check(pod: Maker<Pod>, taints: &[Taint], expected: Stay) {
        assert_eq!(stay(&pod.build(), taints), expected);
    }

    #[test]
    fn pods_stay_as_long_as_they_tolerate() {
        let plain = || pod("a");
        let usual =
            || plain().toleration(NOT_READY, "NoExecute", Some(300)).toleration(UNREACHABLE, "NoExecute", Some(300));
        check(plain(), &[], Stay::ForEver);
        check(plain(), &[taint(NOT_READY, 10)], Stay::No);
        check(usual(), &[taint(NOT_READY, 10)], Stay::Until(at(310)));
        check(usual(), &[taint("other", 10)], Stay::No);
        check(plain().toleration("", "", None), &[taint("other", 10)], Stay::ForEver);
        check(plain().toleration("", "NoExecute", Some(0)), &[taint("other", 10)], Stay::No);
        check(usual(), &[taint(NOT_READY, 10), taint(UNREACHABLE, 5)], Stay::Until(at(305)));
        check(usual().created(100), &[taint(NOT_READY, 10)], Stay::Until(at(400)));
        check(plain().toleration("", "NoSchedule", None), &[taint("other", 10)], Stay::No);
    }
}
