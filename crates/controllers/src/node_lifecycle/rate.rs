//! How fast nodes may be given up.
//!
//! One node that falls silent has failed; most nodes of a zone that fall silent at once have probably lost their
//! network, and moving all their pods would make it worse. Each zone has its own rate, which falls with the share of
//! its nodes that are not ready; where no node of any zone is ready nothing is moved at all.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::is_ready;

/// One node every ten seconds.
const USUAL: Duration = Duration::from_secs(10);
/// One node every hundred seconds, in a large zone that is partly down.
const SECONDARY: Duration = Duration::from_secs(100);
const UNHEALTHY_SHARE: f64 = 0.55;
const LARGE_ZONE: usize = 50;

/// How a zone is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disruption {
    /// Most nodes are ready.
    Normal,
    /// So many are not that the network may be at fault; with the zone's size.
    Partial(usize),
    /// None is ready.
    Full,
}

impl Disruption {
    /// The pause between two nodes; `None`: no node is given up.
    fn pause(self, all_full: bool) -> Option<Duration> {
        match self {
            _ if all_full => None,
            Self::Normal | Self::Full => Some(USUAL),
            Self::Partial(size) => (size > LARGE_ZONE).then_some(SECONDARY),
        }
    }
}

/// The zone of a node, by region and name.
pub(super) fn zone(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default();
    format!("{}/{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// Judges all zones.
pub(super) fn disruptions<'a>(nodes: impl Iterator<Item = &'a Node>) -> HashMap<String, Disruption> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for node in nodes {
        let (ready, not_ready) = counts.entry(zone(node)).or_default();
        *if is_ready(node) { ready } else { not_ready } += 1;
    }
    let judge = |(ready, not_ready): (usize, usize)| {
        let total = ready + not_ready;
        #[expect(clippy::cast_precision_loss, reason = "numbers of nodes")]
        let share = not_ready as f64 / total as f64;
        match (ready, not_ready) {
            (0, not_ready) if not_ready > 0 => Disruption::Full,
            (_, not_ready) if not_ready > 2 && share >= UNHEALTHY_SHARE => Disruption::Partial(total),
            _ => Disruption::Normal,
        }
    };
    counts.into_iter().map(|(zone, count)| (zone, judge(count))).collect()
}

/// Whether no zone has a ready node.
pub(super) fn all_full(zones: &HashMap<String, Disruption>) -> bool {
    !zones.is_empty() && zones.values().all(|state| *state == Disruption::Full)
}

/// Lets nodes be given up one after the other.
#[derive(Default)]
pub(super) struct Limiter {
    last: HashMap<String, Instant>,
}

/// Whether a node may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Now.
    Granted,
    /// Ask again after this time.
    Later(Duration),
    /// Not as long as the zones are as they are.
    Denied,
}

impl Limiter {
    pub(super) fn ask(&mut self, zone: &str, zones: &HashMap<String, Disruption>, now: Instant) -> Permission {
        let state = zones.get(zone).copied().unwrap_or(Disruption::Normal);
        let Some(pause) = state.pause(all_full(zones)) else { return Permission::Denied };
        if let Some(last) = self.last.get(zone) {
            let since = now - *last;
            if since < pause {
                return Permission::Later(pause - since);
            }
        }
        self.last.insert(zone.to_owned(), now);
        Permission::Granted
    }
}

#[cfg(test)]
mod tests {
    use testkit::node;

    use super::*;

    /// A zone of some ready and some silent nodes.
    fn zone_of(name: &str, ready: usize, silent: usize) -> Vec<Node> {
        let made = |number: usize| node(&format!("{name}{number}")).label("topology.kubernetes.io/zone", name);
        let ready = (0..ready).map(|number| made(number).ready().build());
        let silent = (100..100 + silent).map(|number| made(number).condition("Ready", "Unknown", 0).build());
        ready.chain(silent).collect()
    }

    /// What is said to the first two that ask in zone `a` at the same moment.
    #[track_caller]
    fn check(nodes: Vec<Node>, expected: [Permission; 2]) {
        let zones = disruptions(nodes.iter());
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        assert_eq!([limiter.ask("/a", &zones, now), limiter.ask("/a", &zones, now)], expected);
    }

    #[test]
    fn rates_fall_with_the_share_of_silent_nodes() {
        let usual = [Permission::Granted, Permission::Later(USUAL)];
        check(zone_of("a", 1, 1), usual);
        check(zone_of("a", 4, 4), usual);
        check(zone_of("a", 2, 3), [Permission::Denied; 2]);
        check(zone_of("a", 20, 60), [Permission::Granted, Permission::Later(SECONDARY)]);
        check(zone_of("a", 0, 3), [Permission::Denied; 2]);
        check([zone_of("a", 0, 3), zone_of("b", 1, 0)].concat(), usual);
    }
}
