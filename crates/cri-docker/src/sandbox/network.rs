//! A sandbox's connection to the network, by CNI.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use cni::Attachment;
use cri::{PortMapping, Protocol, Status};
use serde_json::{Map, Value, json};

use super::{Sandbox, is_host_network};
use crate::engine::Engine;

/// The name of a pod's interface.
pub(crate) const POD_INTERFACE: &str = "eth0";

/// The annotations that limit a pod's traffic, and what plugins call the limit and the burst.
const BANDWIDTH: [(&str, &str, &str); 2] = [
    ("kubernetes.io/ingress-bandwidth", "ingressRate", "ingressBurst"),
    ("kubernetes.io/egress-bandwidth", "egressRate", "egressBurst"),
];

/// A burst of any length, in bits.
const ANY_BURST: u64 = i32::MAX as u64;

fn failed(err: &cni::InvokeError) -> Status {
    Status::unknown(err.to_string())
}

/// Connects a sandbox that runs.
pub(super) async fn connect(engine: &Engine, sandbox: &Sandbox) -> Result<(), Status> {
    let attachment = attachment(sandbox)?;
    engine.cni.add(&attachment).await.map_err(|err| failed(&err))?;
    Ok(())
}

/// Disconnects a sandbox; nothing where it is not connected.
pub(super) async fn disconnect(engine: &Engine, sandbox: &Sandbox) -> Result<(), Status> {
    engine.cni.del(&attachment(sandbox)?).await.map_err(|err| failed(&err))
}

/// The addresses of a sandbox; nothing while it is not connected.
pub(super) fn addresses(engine: &Engine, sandbox: &str) -> Result<Option<Vec<IpAddr>>, Status> {
    let outcome = engine.cni.outcome(sandbox, POD_INTERFACE).map_err(|err| failed(&err))?;
    Ok(outcome.map(|outcome| outcome.ips))
}

/// The network namespace of a sandbox that runs; nothing for the machine's own.
pub(crate) fn network_namespace(sandbox: &Sandbox) -> Option<PathBuf> {
    let own = sandbox.pid().filter(|_| !is_host_network(&sandbox.record.config));
    own.map(|pid| format!("/proc/{pid}/ns/net").into())
}

fn attachment(sandbox: &Sandbox) -> Result<Attachment, Status> {
    let metadata = sandbox.record.metadata();
    let argument = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Ok(Attachment {
        container_id: sandbox.id.clone(),
        netns: network_namespace(sandbox),
        if_name: POD_INTERFACE.to_owned(),
        arguments: vec![
            argument("IgnoreUnknown", "1"),
            argument("K8S_POD_NAMESPACE", &metadata.namespace),
            argument("K8S_POD_NAME", &metadata.name),
            argument("K8S_POD_INFRA_CONTAINER_ID", &sandbox.id),
            argument("K8S_POD_UID", &metadata.uid),
        ],
        capabilities: capabilities(&sandbox.record.config)?,
    })
}

/// What plugins are told that want it.
fn capabilities(config: &cri::PodSandboxConfig) -> Result<Map<String, Value>, Status> {
    let mut all = Map::new();
    let ports: Vec<Value> = config.port_mappings.iter().filter(|port| port.host_port > 0).map(mapping).collect();
    if !ports.is_empty() {
        all.insert("portMappings".to_owned(), Value::Array(ports));
    }
    let mut bandwidth = Map::new();
    for (annotation, rate, burst) in BANDWIDTH {
        if let Some(text) = config.annotations.get(annotation) {
            let bits = bits(text).ok_or_else(|| Status::invalid_argument(format!("{annotation}: {text:?}")))?;
            bandwidth.insert(rate.to_owned(), json!(bits));
            bandwidth.insert(burst.to_owned(), json!(ANY_BURST));
        }
    }
    if !bandwidth.is_empty() {
        all.insert("bandwidth".to_owned(), Value::Object(bandwidth));
    }
    if let Some(dns) = &config.dns_config {
        let dns = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        all.insert("dns".to_owned(), dns);
    }
    Ok(all)
}

fn mapping(port: &PortMapping) -> Value {
    let protocol = match port.protocol() {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let (host, container) = (port.host_port, port.container_port);
    json!({"hostPort": host, "containerPort": container, "protocol": protocol, "hostIP": port.host_ip})
}

/// Bits a second, as a quantity of Kubernetes' says.
fn bits(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// What went over the interfaces of a sandbox's own network, but for the loopback, as `/proc/net/dev` has it.
pub(crate) fn pod_interfaces(sandbox: &Sandbox) -> Option<String> {
    let pid = sandbox.pid().filter(|_| !is_host_network(&sandbox.record.config))?;
    fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use cri::PodSandboxConfig;

    use super::*;

    #[test]
    fn plugins_are_told_of_ports_and_limits() {
        let port = |host_port| PortMapping { host_port, container_port: 80, ..PortMapping::default() };
        let limit = ("kubernetes.io/egress-bandwidth".to_owned(), "10M".to_owned());
        let config = PodSandboxConfig {
            port_mappings: vec![port(0), port(8080)],
            annotations: HashMap::from([limit]),
            ..PodSandboxConfig::default()
        };
        let expected = json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}],
            "bandwidth": {"egressRate": 10_000_000, "egressBurst": 2_147_483_647},
        });
        assert_eq!(Value::Object(capabilities(&config).expect("all can be read")), expected);
    }

    #[test]
    fn quantities_are_read() {
        assert_eq!(["1", "2k", "3Mi", "x", "1.5M"].map(bits), [Some(1), Some(2000), Some(3 << 20), None, None]);
    }
}
