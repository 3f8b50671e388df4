//! Which group and which version of a group comes first in discovery: upstream's table for what this server answers
//! itself. Extension API servers have theirs in their APIServices.

/// How much a group and a version of it count; the higher comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priorities {
    pub(crate) group: i64,
    pub(crate) version: i64,
}

/// Priorities of built-in groups, in upstream's order.
const GROUPS: [(&str, i64); 22] = [
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("storagemigration.k8s.io", 15800),
];

/// Priorities of versions that are neither [`VERSION`] nor [`UNSTABLE_VERSION`].
const VERSIONS: [((&str, &str), i64); 6] = [
    (("", "v1"), 1),
    (("autoscaling", "v2"), 30),
    (("flowcontrol.apiserver.k8s.io", "v1"), 21),
    (("resource.k8s.io", "v1"), 20),
    (("resource.k8s.io", "v1beta2"), 15),
    (("resource.k8s.io", "v1alpha3"), 1),
];
const VERSION: i64 = 15;
/// Versions that are not settled come after those that are.
const UNSTABLE_VERSION: i64 = 9;

/// The group that has no APIServices for itself, and comes before all others whatever theirs say.
pub(crate) const FIRST: &str = "apiregistration.k8s.io";

/// Those of custom resources.
pub(crate) const CUSTOM: Priorities = Priorities { group: 1000, version: 100 };

impl Priorities {
    /// Those of a group and version that this server answers itself.
    pub(crate) fn of(group: &str, version: &str) -> Self {
        let settled = if version.contains("alpha") || version.contains("beta") { UNSTABLE_VERSION } else { VERSION };
        if group == FIRST {
            return Self { group: i64::MAX, version: settled };
        }
        let Some((_, priority)) = GROUPS.iter().find(|(name, _)| *name == group) else { return CUSTOM };
        let known = VERSIONS.iter().find(|(key, _)| *key == (group, version));
        Self { group: *priority, version: known.map_or(settled, |(_, priority)| *priority) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_upstreams() {
        #[track_caller]
        fn check(group: &str, version: &str, expected: (i64, i64)) {
            let found = Priorities::of(group, version);
            assert_eq!((found.group, found.version), expected);
        }
        check("", "v1", (18000, 1));
        check("autoscaling", "v2", (17500, 30));
        check("apps", "v1", (17800, 15));
        check("resource.k8s.io", "v1beta1", (16200, 9));
        check("storage.k8s.io", "v1beta1", (16800, 9));
        check("example.com", "v1", (1000, 100));
    }
}
