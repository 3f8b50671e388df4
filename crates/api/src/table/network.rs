//! Services, endpoints, ingresses and addresses.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{NONE, UNSET, age, few, labels, list, name, number, scalar, selector, string, string_or};
use super::{AGE, Column, NAME, Printer, text, wide};

const NETWORKING: &str = "networking.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "Endpoints", columns: ENDPOINTS, cells: endpoints },
    Printer { group: "", kind: "Service", columns: SERVICE, cells: service },
    Printer { group: "discovery.k8s.io", kind: "EndpointSlice", columns: ENDPOINT_SLICE, cells: endpoint_slice },
    Printer { group: NETWORKING, kind: "IPAddress", columns: IP_ADDRESS, cells: ip_address },
    Printer { group: NETWORKING, kind: "Ingress", columns: INGRESS, cells: ingress },
    Printer { group: NETWORKING, kind: "IngressClass", columns: INGRESS_CLASS, cells: ingress_class },
    Printer { group: NETWORKING, kind: "NetworkPolicy", columns: NETWORK_POLICY, cells: network_policy },
    Printer { group: NETWORKING, kind: "ServiceCIDR", columns: SERVICE_CIDR, cells: service_cidr },
];

/// More entries than these are only counted.
const FEW: usize = 3;

const SERVICE: &[Column] =
    &[NAME, text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"), AGE, wide("Selector")];

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = list(&spec["ports"])
        .iter()
        .map(|port| {
            let protocol = string(&port["protocol"]);
            match number(&port["nodePort"]) {
                0 => format!("{}/{protocol}", number(&port["port"])),
                node_port => format!("{}:{node_port}/{protocol}", number(&port["port"])),
            }
        })
        .collect();
    let ports = if ports.is_empty() { NONE.to_owned() } else { ports.join(",") };
    vec![
        name(object),
        string(&spec["type"]).into(),
        string_or(&spec["clusterIPs"][0], string_or(&spec["clusterIP"], NONE)).into(),
        external_address(object).into(),
        ports.into(),
        age(object, now),
        labels(&spec["selector"]).into(),
    ]
}

fn external_address(service: &Value) -> String {
    let spec = &service["spec"];
    let external: Vec<String> = list(&spec["externalIPs"]).iter().map(scalar).collect();
    match string(&spec["type"]) {
        "ExternalName" => string(&spec["externalName"]).to_owned(),
        "LoadBalancer" => {
            let mut all: Vec<String> = load_balancer(service);
            all.extend(external);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ if external.is_empty() => NONE.to_owned(),
        _ => external.join(","),
    }
}

fn load_balancer(object: &Value) -> Vec<String> {
    let ingress = list(&object["status"]["loadBalancer"]["ingress"]).iter();
    let mut addresses: Vec<String> =
        ingress.map(|ingress| string_or(&ingress["ip"], string(&ingress["hostname"])).to_owned()).collect();
    addresses.retain(|address| !address.is_empty());
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

const ENDPOINTS: &[Column] = &[NAME, text("Endpoints"), AGE];

fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let subsets = list(&object["subsets"]);
    let mut all = Vec::new();
    for subset in subsets {
        let addresses: Vec<&str> = list(&subset["addresses"]).iter().map(|address| string(&address["ip"])).collect();
        let ports = list(&subset["ports"]);
        if ports.is_empty() {
            all.extend(addresses.iter().map(|address| (*address).to_owned()));
        }
        for port in ports {
            let port = number(&port["port"]);
            all.extend(addresses.iter().map(|address| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            }));
        }
    }
    let shown = if subsets.is_empty() { NONE.to_owned() } else { few(&all, FEW, ",") };
    vec![name(object), shown.into(), age(object, now)]
}

const ENDPOINT_SLICE: &[Column] = &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE];

fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(&object["ports"])
        .iter()
        .map(|port| match port["port"].as_i64() {
            Some(number) => number.to_string(),
            None => port["name"].as_str().unwrap_or("*").to_owned(),
        })
        .collect();
    let addresses: Vec<String> =
        list(&object["endpoints"]).iter().flat_map(|endpoint| list(&endpoint["addresses"])).map(scalar).collect();
    let shown = |items: &[String]| match few(items, FEW, ",") {
        nothing if nothing.is_empty() => UNSET.to_owned(),
        some => some,
    };
    vec![
        name(object),
        string(&object["addressType"]).into(),
        shown(&ports).into(),
        shown(&addresses).into(),
        age(object, now),
    ]
}

const INGRESS: &[Column] = &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE];

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let ports = if list(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name(object),
        string_or(&spec["ingressClassName"], NONE).into(),
        hosts(list(&spec["rules"])).into(),
        load_balancer(object).join(",").into(),
        ports.into(),
        age(object, now),
    ]
}

/// The hosts of the first rules that have one. Of the rules behind them, all count.
fn hosts(rules: &[Value]) -> String {
    let named = rules.iter().enumerate().filter(|(_, rule)| !string(&rule["host"]).is_empty());
    let shown: Vec<(usize, &str)> = named.take(FEW).map(|(index, rule)| (index, string(&rule["host"]))).collect();
    let names: Vec<&str> = shown.iter().map(|(_, host)| *host).collect();
    match shown.last() {
        None => "*".to_owned(),
        Some((last, _)) if shown.len() == FEW && last + 1 < rules.len() => {
            format!("{} + {} more...", names.join(","), rules.len() - FEW)
        }
        Some(_) => names.join(","),
    }
}

const INGRESS_CLASS: &[Column] = &[NAME, text("Controller"), text("Parameters"), AGE];

fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = &object["spec"]["parameters"];
    let shown = if parameters.is_null() {
        NONE.to_owned()
    } else {
        let group = parameters["apiGroup"].as_str().map_or_else(String::new, |group| format!(".{group}"));
        format!("{}{group}/{}", string(&parameters["kind"]), string(&parameters["name"]))
    };
    vec![name(object), string(&object["spec"]["controller"]).into(), shown.into(), age(object, now)]
}

const NETWORK_POLICY: &[Column] = &[NAME, text("Pod-Selector"), AGE];

fn network_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), selector(&object["spec"]["podSelector"]).into(), age(object, now)]
}

const IP_ADDRESS: &[Column] = &[NAME, text("ParentRef")];

fn ip_address(object: &Value, _now: Timestamp) -> Vec<Value> {
    let parent = &object["spec"]["parentRef"];
    let mut shown = string(&parent["resource"]).to_owned();
    for (separator, part) in [(".", "group"), ("/", "namespace"), ("/", "name")] {
        let part = string(&parent[part]);
        if !part.is_empty() {
            shown.push_str(separator);
            shown.push_str(part);
        }
    }
    vec![name(object), if parent.is_null() { NONE.into() } else { shown.into() }]
}

const SERVICE_CIDR: &[Column] = &[NAME, text("CIDRs"), AGE];

fn service_cidr(object: &Value, now: Timestamp) -> Vec<Value> {
    let ranges: Vec<String> = list(&object["spec"]["cidrs"]).iter().map(scalar).collect();
    vec![name(object), ranges.join(",").into(), age(object, now)]
}
