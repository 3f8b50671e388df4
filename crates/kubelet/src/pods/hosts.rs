//! Host names of pods, and the `/etc/hosts` file that the kubelet keeps for each.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

use super::spec;

/// The pod's host name, and its domain where it has one.
pub fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let pod_spec = spec::spec(pod);
    if let Some(hostname) = pod_spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (hostname.to_owned(), None);
    }
    let hostname = pod_spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(spec::name(pod));
    let domain = pod_spec
        .subdomain
        .as_deref()
        .filter(|subdomain| !subdomain.is_empty())
        .map(|subdomain| format!("{subdomain}.{}.svc.{cluster_domain}", spec::namespace(pod)));
    // A host name has at most 63 characters; a pod's name may have more.
    let hostname: String = hostname.chars().take(63).collect();
    (hostname.trim_end_matches(['-', '.']).to_owned(), domain)
}

/// What the kernel takes as a host name.
const MAX_HOSTNAME: usize = 64;

/// A full name that is too long to be a host name. The message is shown to users.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {0} is too long ({MAX_HOSTNAME} characters is \
     the max, {length} characters requested)",
    length = .0.len()
)]
pub struct TooLong(String);

/// Whether the pod's processes can have the name that it asks for.
pub fn check_hostname(pod: &Pod, cluster_domain: &str) -> Result<(), TooLong> {
    let name = sandbox_hostname(pod, cluster_domain);
    if name.len() > MAX_HOSTNAME { Err(TooLong(name)) } else { Ok(()) }
}

/// The name that the pod's processes see: the full one if the pod asks for that.
pub fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let (hostname, domain) = hostname_and_domain(pod, cluster_domain);
    match domain {
        Some(domain) if spec::spec(pod).set_hostname_as_fqdn == Some(true) => format!("{hostname}.{domain}"),
        _ => hostname,
    }
}

/// The pod's `/etc/hosts`. `host` is the node's file, of which a pod on the node's network gets a copy.
pub fn hosts_file(pod: &Pod, ips: &[String], cluster_domain: &str, host: Option<&str>) -> String {
    let mut text = String::from("# Kubernetes-managed hosts file");
    match host {
        Some(host) => {
            text.push_str(" (host network).\n");
            text.push_str(host);
            if !host.ends_with('\n') {
                text.push('\n');
            }
        }
        None => {
            text.push_str(".\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
            text.push_str(
                "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
            );
            let (hostname, domain) = hostname_and_domain(pod, cluster_domain);
            for ip in ips {
                match &domain {
                    Some(domain) => text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n")),
                    None => text.push_str(&format!("{ip}\t{hostname}\n")),
                }
            }
        }
    }
    let aliases = spec::spec(pod).host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for HostAlias { ip, hostnames } in aliases {
            text.push_str(&format!("{ip}\t{}\n", hostnames.clone().unwrap_or_default().join("\t")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;

    use super::*;

    #[test]
    fn a_pod_with_a_subdomain_has_a_full_name() {
        let spec = PodSpec { hostname: Some("web-0".into()), subdomain: Some("web".into()), ..PodSpec::default() };
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        pod.metadata.namespace = Some("n".into());
        pod.spec.as_mut().expect("there").host_aliases =
            Some(vec![HostAlias { ip: "1.2.3.4".into(), hostnames: Some(vec!["a".into(), "b".into()]) }]);
        let text = hosts_file(&pod, &["10.0.0.5".into()], "cluster.local", None);
        assert!(text.contains("10.0.0.5\tweb-0.web.n.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("1.2.3.4\ta\tb\n"), "{text}");
        assert_eq!(sandbox_hostname(&pod, "cluster.local"), "web-0");
    }

    #[test]
    fn a_full_name_has_to_fit() {
        let named = |hostname: &str| {
            let spec = PodSpec {
                hostname: Some(hostname.into()),
                subdomain: Some("web".into()),
                set_hostname_as_fqdn: Some(true),
                ..PodSpec::default()
            };
            let mut pod = Pod { spec: Some(spec), ..Pod::default() };
            pod.metadata.namespace = Some("n".into());
            pod
        };
        assert_eq!(check_hostname(&named("a"), "cluster.local"), Ok(()));
        let name = "a".repeat(63);
        let error = check_hostname(&named(&name), "cluster.local").expect_err("too long").to_string();
        assert!(error.ends_with("is too long (64 characters is the max, 87 characters requested)"), "{error}");
    }
}
