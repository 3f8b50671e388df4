//! The sizes of replica sets: pure functions from what is to what should be next.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::{limits, revision};

/// A replica set and the size it should get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// The name of the replica set.
    pub(super) name: String,
    /// The replicas it should ask for.
    pub(super) replicas: i32,
}

impl Size {
    pub(super) fn of(set: &ReplicaSet, replicas: i32) -> Self {
        Self { name: set.metadata.name.clone().unwrap_or_default(), replicas }
    }
}

/// The size of the new replica set when it is made or grows: as much as surge allows.
pub(super) fn new_size(deployment: &Deployment, new: Option<&ReplicaSet>, old: &[ReplicaSet]) -> i32 {
    let wanted = limits::replicas(deployment);
    if !limits::is_rolling(deployment) {
        return wanted;
    }
    let now = new.map_or(0, limits::size);
    let total: i32 = now + old.iter().map(limits::size).sum::<i32>();
    let room = limits::max_total(deployment) - total;
    now + room.min(wanted - now).max(0)
}

/// The next step of the new replica set in a rolling update.
pub(super) fn resize_new(deployment: &Deployment, new: &ReplicaSet, old: &[ReplicaSet]) -> Vec<Size> {
    let wanted = limits::replicas(deployment);
    let size = match limits::size(new) > wanted {
        true => wanted,
        false => new_size(deployment, Some(new), old),
    };
    vec![Size::of(new, size)]
}

/// The next step of the old replica sets in a rolling update. Unhealthy pods go first, since nobody misses them; then
/// as many healthy ones as availability allows, from the oldest revision on.
pub(super) fn shrink_old(deployment: &Deployment, new: &ReplicaSet, old: &[ReplicaSet]) -> Vec<Size> {
    let mut sizes: Vec<i32> = old.iter().map(limits::size).collect();
    let old_total: i32 = sizes.iter().sum();
    let min_available = limits::replicas(deployment) - limits::fenceposts(deployment).unavailable;
    let new_unavailable = limits::size(new) - limits::available(new);
    let mut may_go = old_total + limits::size(new) - min_available - new_unavailable;
    if old_total == 0 || may_go <= 0 {
        return Vec::new();
    }
    for (size, set) in sizes.iter_mut().zip(old) {
        let unhealthy = (*size - limits::available(set)).clamp(0, may_go);
        *size -= unhealthy;
        may_go -= unhealthy;
    }
    let available: i32 = old.iter().map(limits::available).sum::<i32>() + limits::available(new);
    let mut spare = available - min_available;
    for size in &mut sizes {
        let going = (*size).min(spare.max(0));
        *size -= going;
        spare -= going;
    }
    old.iter().zip(sizes).map(|(set, size)| Size::of(set, size)).collect()
}

/// New sizes after the deployment itself was resized, without any progress of a rollout.
pub(super) fn scale(deployment: &Deployment, new: Option<&ReplicaSet>, old: &[ReplicaSet]) -> Vec<Size> {
    let wanted = limits::replicas(deployment);
    if let Some(only) = active_or_latest(new, old) {
        return if limits::size(only) == wanted { Vec::new() } else { vec![Size::of(only, wanted)] };
    }
    if new.is_some_and(|new| is_saturated(deployment, new)) {
        return old.iter().filter(|set| limits::size(set) > 0).map(|set| Size::of(set, 0)).collect();
    }
    if limits::is_rolling(deployment) { in_proportion(deployment, new, old) } else { Vec::new() }
}

/// The one replica set with pods, or the latest where none has; `None` where several have.
fn active_or_latest<'a>(new: Option<&'a ReplicaSet>, old: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let mut active = old.iter().chain(new).filter(|set| limits::size(set) > 0);
    match (active.next(), active.next()) {
        (None, _) => new.or(old.last()),
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// Whether a replica set carries the whole deployment.
fn is_saturated(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = limits::replicas(deployment);
    revision::number(set, revision::DESIRED_REPLICAS) == Some(wanted)
        && limits::size(set) == wanted
        && limits::available(set) == wanted
}

/// Spreads what was added or taken over all active replica sets in proportion to their sizes, so that a rollout in
/// the middle keeps its balance; what rounding leaves over goes to the largest.
fn in_proportion(deployment: &Deployment, new: Option<&ReplicaSet>, old: &[ReplicaSet]) -> Vec<Size> {
    let wanted = limits::replicas(deployment);
    let mut active: Vec<&ReplicaSet> = old.iter().chain(new).filter(|set| limits::size(set) > 0).collect();
    let total: i32 = active.iter().map(|set| limits::size(set)).sum();
    let allowed = if wanted > 0 { limits::max_total(deployment) } else { 0 };
    let to_add = allowed - total;
    let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    // The largest first; of equals the newest when growing, the oldest when shrinking.
    active.sort_by(|a, b| {
        let by_age = if to_add > 0 { created(b).cmp(&created(a)) } else { created(a).cmp(&created(b)) };
        limits::size(b).cmp(&limits::size(a)).then(by_age)
    });
    let mut added = 0;
    let mut sizes = Vec::new();
    for set in active {
        let share = share(deployment, set, to_add, added);
        added += share;
        sizes.push(Size::of(set, limits::size(set) + share));
    }
    if let Some(largest) = sizes.first_mut() {
        largest.replicas = (largest.replicas + to_add - added).max(0);
    }
    sizes
}

/// What one replica set gets (or loses) of `to_add`, of which `added` is given away already.
fn share(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    let size = limits::size(set);
    if size == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let left = to_add - added;
    let fraction = if limits::replicas(deployment) == 0 {
        -size
    } else {
        let before = revision::number(set, revision::MAX_REPLICAS).filter(|before| *before > 0);
        let before = before.or_else(|| deployment.status.as_ref()?.replicas).filter(|before| *before > 0);
        match before {
            Some(before) => {
                let grown = f64::from(size) * f64::from(limits::max_total(deployment)) / f64::from(before);
                #[expect(clippy::cast_possible_truncation, reason = "replicas are far below 2^31")]
                let rounded = grown.round() as i32;
                rounded - size
            }
            None => 0,
        }
    };
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use testkit::{Maker, deployment, replica_set};

    use super::*;

    fn rolling(replicas: i32, surge: i32, unavailable: i32) -> Deployment {
        deployment("web")
            .replicas(replicas)
            .rolling_update(IntOrString::Int(surge), IntOrString::Int(unavailable))
            .build()
    }

    /// A replica set of a size, of which some are available.
    fn set(name: &str, size: i32, available: i32) -> Maker<ReplicaSet> {
        replica_set(name).replicas(size).observed(size, available, available)
    }

    fn sized(sizes: &[Size]) -> Vec<(&str, i32)> {
        sizes.iter().map(|size| (size.name.as_str(), size.replicas)).collect()
    }

    #[track_caller]
    fn check_new(deployment: &Deployment, new: (i32, i32), old: &[(i32, i32)], expected: i32) {
        let old: Vec<_> = old.iter().map(|(size, available)| set("old", *size, *available).build()).collect();
        let sizes = resize_new(deployment, &set("new", new.0, new.1).build(), &old);
        assert_eq!(sized(&sizes), [("new", expected)]);
    }

    #[test]
    fn the_new_set_grows_as_far_as_surge_allows() {
        check_new(&rolling(10, 3, 2), (0, 0), &[(10, 10)], 3);
        check_new(&rolling(10, 3, 2), (3, 0), &[(8, 8)], 5);
        check_new(&rolling(10, 0, 2), (0, 0), &[(10, 10)], 0);
        check_new(&rolling(10, 20, 2), (0, 0), &[(10, 10)], 10);
        check_new(&rolling(10, 3, 2), (12, 0), &[(10, 10)], 10);
        check_new(&rolling(10, 3, 2), (10, 10), &[(0, 0)], 10);
    }

    #[track_caller]
    fn check_old(deployment: &Deployment, new: (i32, i32), old: &[(i32, i32)], expected: &[i32]) {
        let old: Vec<_> = old.iter().map(|(size, available)| set("old", *size, *available).build()).collect();
        let sizes = shrink_old(deployment, &set("new", new.0, new.1).build(), &old);
        assert_eq!(sizes.iter().map(|size| size.replicas).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn old_sets_shrink_as_far_as_availability_allows() {
        check_old(&rolling(10, 3, 2), (3, 0), &[(10, 10)], &[8]);
        check_old(&rolling(10, 3, 2), (5, 0), &[(8, 8)], &[]);
        check_old(&rolling(10, 3, 2), (5, 5), &[(8, 8)], &[3]);
        check_old(&rolling(10, 3, 2), (10, 10), &[(3, 3)], &[0]);
        check_old(&rolling(3, 1, 0), (1, 0), &[(3, 3)], &[]);
        check_old(&rolling(3, 1, 0), (1, 1), &[(3, 3)], &[2]);
        check_old(&rolling(3, 1, 0), (3, 3), &[(0, 0)], &[]);
    }

    #[test]
    fn unhealthy_pods_of_old_sets_go_first() {
        check_old(&rolling(10, 3, 2), (3, 0), &[(5, 5), (5, 3)], &[5, 3]);
        check_old(&rolling(10, 3, 2), (0, 0), &[(2, 0), (8, 8)], &[0, 8]);
        check_old(&rolling(10, 3, 5), (0, 0), &[(2, 0), (8, 8)], &[0, 5]);
    }

    #[track_caller]
    fn check_scale(
        deployment: &Deployment,
        new: Maker<ReplicaSet>,
        old: Vec<Maker<ReplicaSet>>,
        expected: &[(&str, i32)],
    ) {
        let old: Vec<_> = old.into_iter().map(Maker::build).collect();
        assert_eq!(sized(&scale(deployment, Some(&new.build()), &old)), expected);
    }

    #[test]
    fn a_single_active_set_takes_the_whole_size() {
        check_scale(&rolling(5, 1, 1), set("new", 3, 3), vec![set("old", 0, 0)], &[("new", 5)]);
        check_scale(&rolling(5, 1, 1), set("new", 0, 0), vec![set("old", 3, 3)], &[("old", 5)]);
        check_scale(&rolling(5, 1, 1), set("new", 0, 0), vec![set("old", 0, 0)], &[("new", 5)]);
        check_scale(&rolling(5, 1, 1), set("new", 5, 5), vec![], &[]);
    }

    #[test]
    fn a_saturated_new_set_leaves_nothing_to_old_ones() {
        let new = set("new", 5, 5).annotation(revision::DESIRED_REPLICAS, "5");
        check_scale(&rolling(5, 1, 1), new, vec![set("old", 2, 2)], &[("old", 0)]);
    }

    #[test]
    fn sizes_change_in_proportion() {
        let sized_for = |made: Maker<ReplicaSet>, max: &str| made.annotation(revision::MAX_REPLICAS, max);
        check_scale(
            &rolling(15, 3, 2),
            sized_for(set("new", 5, 5), "13"),
            vec![sized_for(set("old", 8, 8), "13")],
            &[("old", 11), ("new", 7)],
        );
        check_scale(
            &rolling(5, 3, 2),
            sized_for(set("new", 5, 5), "13"),
            vec![sized_for(set("old", 8, 8), "13")],
            &[("old", 5), ("new", 3)],
        );
        check_scale(
            &rolling(0, 3, 2),
            sized_for(set("new", 5, 5), "13"),
            vec![sized_for(set("old", 8, 8), "13")],
            &[("old", 0), ("new", 0)],
        );
    }
}
