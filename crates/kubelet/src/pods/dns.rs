//! The resolver configuration of a pod.

use cri::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

use super::spec;

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
/// How long the line of domains may be.
const MAX_SEARCH_LINE: usize = 2048;

/// What a pod's resolver configuration is made from, beside the pod.
#[derive(Clone, Debug, Default)]
pub struct NodeDns {
    /// Addresses of the cluster's DNS.
    pub servers: Vec<String>,
    /// The cluster's domain.
    pub domain: String,
    /// The node's own configuration.
    pub host: DnsConfig,
}

/// A `resolv.conf` file as data.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = words.map(|word| word.trim_end_matches('.').to_owned()).collect(),
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config.searches.retain(|search| !search.is_empty());
    config
}

/// Something that a pod does not get of what it asks for. The messages are shown to users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// The node knows no DNS of the cluster.
    #[error(
        "pod: \"{pod}\". kubelet does not have ClusterDNS IP configured and cannot create Pod using \"{policy}\" policy. \
         Falling back to \"Default\" policy."
    )]
    NoClusterDns {
        /// The pod.
        pod: String,
        /// Its policy.
        policy: String,
    },
    /// More servers than a resolver asks.
    #[error(
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
        .0.join(" ")
    )]
    Servers(Vec<String>),
    /// More domains than a resolver tries.
    #[error(
        "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
        .0.join(" ")
    )]
    Searches(Vec<String>),
}

impl Shortage {
    /// The reason of its event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoClusterDns { .. } => "MissingClusterDNS",
            Self::Servers(_) | Self::Searches(_) => "DNSConfigForming",
        }
    }
}

/// The resolver configuration that the runtime writes into the pod.
pub fn dns_config(pod: &Pod, node: &NodeDns) -> DnsConfig {
    let mut config = wanted(pod, node);
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    while config.searches.join(" ").len() > MAX_SEARCH_LINE {
        config.searches.pop();
    }
    config
}

/// What the pod does not get.
pub fn shortages(pod: &Pod, node: &NodeDns) -> Vec<Shortage> {
    let (wanted, got) = (wanted(pod, node), dns_config(pod, node));
    let policy = spec::spec(pod).dns_policy.as_deref().unwrap_or("ClusterFirst");
    let mut shortages = Vec::new();
    if wants_cluster(pod) && node.servers.is_empty() {
        shortages.push(Shortage::NoClusterDns { pod: spec::full_name(pod), policy: policy.to_owned() });
    }
    if wanted.servers.len() > got.servers.len() {
        shortages.push(Shortage::Servers(got.servers));
    }
    if wanted.searches.len() > got.searches.len() {
        shortages.push(Shortage::Searches(got.searches));
    }
    shortages
}

fn wants_cluster(pod: &Pod) -> bool {
    match spec::spec(pod).dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "ClusterFirst" => !spec::host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    }
}

/// The configuration without the bounds of resolvers.
fn wanted(pod: &Pod, node: &NodeDns) -> DnsConfig {
    let pod_spec = spec::spec(pod);
    let policy = pod_spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let mut config = match policy {
        "None" => DnsConfig::default(),
        _ if wants_cluster(pod) && !node.servers.is_empty() => {
            let domain = &node.domain;
            let mut searches =
                vec![format!("{}.svc.{domain}", spec::namespace(pod)), format!("svc.{domain}"), domain.clone()];
            searches.extend(node.host.searches.iter().cloned());
            DnsConfig { servers: node.servers.clone(), searches, options: vec!["ndots:5".to_owned()] }
        }
        _ => node.host.clone(),
    };
    if let Some(own) = &pod_spec.dns_config {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            config.options.retain(|existing| existing.split(':').next() != Some(name));
            config.options.push(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
        }
    }
    without_repetition(&mut config.servers);
    without_repetition(&mut config.searches);
    config
}

fn without_repetition(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodDNSConfig, PodDNSConfigOption, PodSpec};

    use super::*;

    fn node() -> NodeDns {
        NodeDns {
            servers: vec!["10.43.0.10".to_owned()],
            domain: "cluster.local".to_owned(),
            host: parse_resolv_conf("# made by hand\nnameserver 1.1.1.1\nsearch example.org.\noptions ndots:2\n"),
        }
    }

    fn pod(policy: &str, host_network: bool) -> Pod {
        let spec =
            PodSpec { dns_policy: Some(policy.to_owned()), host_network: Some(host_network), ..PodSpec::default() };
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        pod.metadata.namespace = Some("n".to_owned());
        pod
    }

    #[track_caller]
    fn check(pod: &Pod, servers: &[&str], searches: &[&str], options: &[&str]) {
        let config = dns_config(pod, &node());
        assert_eq!(config.servers, servers);
        assert_eq!(config.searches, searches);
        assert_eq!(config.options, options);
    }

    #[test]
    fn policies() {
        let search = ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"];
        check(&pod("ClusterFirst", false), &["10.43.0.10"], &search, &["ndots:5"]);
        check(&pod("ClusterFirst", true), &["1.1.1.1"], &["example.org"], &["ndots:2"]);
        check(&pod("ClusterFirstWithHostNet", true), &["10.43.0.10"], &search, &["ndots:5"]);
        check(&pod("Default", false), &["1.1.1.1"], &["example.org"], &["ndots:2"]);
        let mut own = pod("None", false);
        own.spec.as_mut().expect("a specification").dns_config = Some(PodDNSConfig {
            nameservers: Some(vec!["9.9.9.9".to_owned()]),
            searches: Some(vec!["a.b".to_owned()]),
            options: Some(vec![PodDNSConfigOption { name: Some("ndots".to_owned()), value: Some("1".to_owned()) }]),
        });
        check(&own, &["9.9.9.9"], &["a.b"], &["ndots:1"]);
    }

    #[test]
    fn what_a_resolver_would_not_use_is_told() {
        let texts =
            |pod: &Pod, node: &NodeDns| shortages(pod, node).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(texts(&pod("ClusterFirst", false), &node()).is_empty());
        let mut own = pod("None", false);
        own.spec.as_mut().expect("a specification").dns_config = Some(PodDNSConfig {
            nameservers: Some((1..5).map(|n| format!("192.0.2.{n}")).collect()),
            ..PodDNSConfig::default()
        });
        let line = "the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3";
        let told = format!("Nameserver limits were exceeded, some nameservers have been omitted, {line}");
        assert_eq!(texts(&own, &node()), [told]);
        own.spec.as_mut().expect("a specification").dns_config = Some(PodDNSConfig {
            nameservers: Some(vec!["192.0.2.1".to_owned()]),
            searches: Some((0..16).map(|n| format!("{}.{n:02}", "a".repeat(200))).collect()),
            ..PodDNSConfig::default()
        });
        let told = texts(&own, &node()).remove(0);
        let (_, line) = told.split_once("the applied search line is: ").expect("a line");
        assert_eq!((line.split(' ').count(), line.len()), (10, 2039), "{told}");
        let nobody = NodeDns { servers: Vec::new(), ..node() };
        let told = texts(&pod("ClusterFirst", false), &nobody);
        assert!(told[0].contains("cannot create Pod using \"ClusterFirst\" policy"), "{told:?}");
        assert!(texts(&pod("Default", false), &nobody).is_empty());
    }
}
