//! What a Service needs: cluster IPs, IP families, node ports.

use std::net::IpAddr;

use api::field::{ErrorList, FieldError, Path};
use api::status::Status;
use base::Random;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Held, Refused, ServiceAllocator};

const HEADLESS: &str = "None";

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn service_type(object: &Value) -> &str {
    match text(object, "/spec/type") {
        "" => "ClusterIP",
        ty => ty,
    }
}

fn has_cluster_ip(object: &Value) -> bool {
    !object.is_null() && service_type(object) != "ExternalName"
}

fn has_node_ports(object: &Value) -> bool {
    match service_type(object) {
        "NodePort" => true,
        "LoadBalancer" => {
            object.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool).unwrap_or(true)
        }
        _ => false,
    }
}

fn has_health_check_port(object: &Value) -> bool {
    service_type(object) == "LoadBalancer" && text(object, "/spec/externalTrafficPolicy") == "Local"
}

fn ports(object: &Value) -> &[Value] {
    object.pointer("/spec/ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn node_port(port: &Value) -> Option<u16> {
    port.get("nodePort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// Addresses and ports that a Service has.
pub(super) fn owned(object: &Value) -> (Vec<IpAddr>, Vec<u16>) {
    let mut addresses: Vec<IpAddr> = object
        .pointer("/spec/clusterIPs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|ip| ip.as_str()?.parse().ok())
        .collect();
    if addresses.is_empty() {
        addresses.extend(text(object, "/spec/clusterIP").parse::<IpAddr>().ok());
    }
    let mut node_ports: Vec<u16> = ports(object).iter().filter_map(node_port).collect();
    node_ports.extend(health_check_port(object));
    (addresses, node_ports)
}

fn health_check_port(object: &Value) -> Option<u16> {
    let port = object.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64)?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Takes what `object` needs beyond what `old` has, and writes it into `object`.
pub(super) fn allocate(
    allocator: &ServiceAllocator,
    random: &Random,
    object: &mut Value,
    old: &Value,
) -> Result<Held, Status> {
    let mut held = Held { allocator: Some(allocator.clone()), addresses: Vec::new(), ports: Vec::new() };
    if !old.is_null() {
        keep_allocated(object, old);
        drop_what_the_type_lacks(object, old);
    }
    follow_cluster_ip(object, old);
    let name = api::meta::name(object).to_owned();
    let all_invalid = |errors| Status::invalid("", "Service", &name, errors);
    let invalid = |error: FieldError| all_invalid(vec![error]);
    let errors = api::validation::service_addresses(object);
    if !errors.is_empty() {
        return Err(all_invalid(errors));
    }
    set_families(allocator, object).map_err(all_invalid)?;
    if has_cluster_ip(object) {
        cluster_ip(allocator, random, object, old, &mut held).map_err(|error| match error {
            Some(error) => invalid(error),
            None => Status::internal("failed to allocate a serviceIP: range is full"),
        })?;
    }
    if has_node_ports(object) {
        take_node_ports(allocator, random, object, old, &mut held).map_err(invalid)?;
    }
    if has_health_check_port(object) && health_check_port(object).is_none() {
        let port = allocator
            .take_any_port(random)
            .map_err(|_| Status::internal("failed to allocate requested HealthCheck NodePort: range is full"))?;
        held.ports.push(port);
        object["spec"]["healthCheckNodePort"] = port.into();
    }
    Ok(held)
}

/// A client that leaves out what it was given keeps it.
fn keep_allocated(object: &mut Value, old: &Value) {
    if has_cluster_ip(object) && has_cluster_ip(old) && text(object, "/spec/clusterIP").is_empty() {
        crate::strategy::copy_at(object, old, &["spec", "clusterIP"]);
        crate::strategy::copy_at(object, old, &["spec", "clusterIPs"]);
    }
    if has_node_ports(object) && has_node_ports(old) {
        let taken: Vec<u16> = ports(object).iter().filter_map(node_port).collect();
        let old_ports = ports(old).to_vec();
        let same = |a: &Value, b: &Value| a["port"] == b["port"] && protocol(a) == protocol(b);
        let list = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in list.into_iter().flatten().filter(|port| node_port(port).is_none()) {
            let before = old_ports.iter().find(|old| same(old, port)).and_then(node_port);
            if let Some(before) = before.filter(|before| !taken.contains(before)) {
                port["nodePort"] = before.into();
            }
        }
    }
    if has_health_check_port(object) && has_health_check_port(old) && health_check_port(object).is_none() {
        crate::strategy::copy_at(object, old, &["spec", "healthCheckNodePort"]);
    }
}

fn protocol(port: &Value) -> &str {
    port.get("protocol").and_then(Value::as_str).unwrap_or("TCP")
}

/// A client that only changes the type does not mean to keep what the new type cannot have.
fn drop_what_the_type_lacks(object: &mut Value, old: &Value) {
    let same = |path: &str| object.pointer(path) == old.pointer(path);
    let drops_ip =
        has_cluster_ip(old) && !has_cluster_ip(object) && same("/spec/clusterIP") && same("/spec/clusterIPs");
    let drops_ports = has_node_ports(old) && !has_node_ports(object);
    let drops_check = has_health_check_port(old) && !has_health_check_port(object) && same("/spec/healthCheckNodePort");
    let is_balanced = |service: &Value| service_type(service) == "LoadBalancer";
    let drops_balancer = is_balanced(old) && !is_balanced(object) && same("/spec/allocateLoadBalancerNodePorts");
    let drops_class = is_balanced(old) && !is_balanced(object) && same("/spec/loadBalancerClass");
    let has_policy = |service: &Value| matches!(service_type(service), "NodePort" | "LoadBalancer");
    let drops_policy = has_policy(old) && !has_policy(object) && same("/spec/externalTrafficPolicy");
    let old_ports: Vec<u16> = ports(old).iter().filter_map(node_port).collect();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let dropped = [
        (drops_balancer, "allocateLoadBalancerNodePorts"),
        (drops_class, "loadBalancerClass"),
        (drops_policy, "externalTrafficPolicy"),
    ];
    for (_, field) in dropped.iter().filter(|(drops, _)| *drops) {
        spec.remove(*field);
    }
    if drops_ip {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
    }
    if drops_check {
        spec.remove("healthCheckNodePort");
    }
    if drops_ports {
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let is_old = node_port(port).is_some_and(|port| old_ports.contains(&port));
            if let Some(port) = port.as_object_mut().filter(|_| is_old) {
                port.remove("nodePort");
            }
        }
    }
}

/// Clients that know only `clusterIP` set only that; `clusterIPs` follows it.
fn follow_cluster_ip(object: &mut Value, old: &Value) {
    let address = text(object, "/spec/clusterIP").to_owned();
    let has_list = object.pointer("/spec/clusterIPs").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let is_left_behind = if old.is_null() {
        !has_list
    } else {
        address != text(old, "/spec/clusterIP") && object.pointer("/spec/clusterIPs") == old.pointer("/spec/clusterIPs")
    };
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut).filter(|_| is_left_behind) else { return };
    if address.is_empty() {
        spec.remove("clusterIPs");
    } else {
        spec.insert("clusterIPs".to_owned(), json!([address]));
    }
}

/// Families and policy of a cluster with one family.
fn set_families(allocator: &ServiceAllocator, object: &mut Value) -> Result<(), ErrorList> {
    let is_external = !has_cluster_ip(object);
    let is_headless = text(object, "/spec/clusterIP") == HEADLESS;
    let has_selector = object.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty());
    let family = match allocator.network {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    };
    let other = if family == "IPv4" { "IPv6" } else { "IPv4" };
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    if is_external {
        return Ok(());
    }
    let is_unset = |spec: &serde_json::Map<String, Value>, field: &str| {
        spec.get(field).is_none_or(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty))
    };
    if is_headless && !has_selector {
        // Without a selector the endpoints are made by hand, and may be of any family.
        if is_unset(spec, "ipFamilyPolicy") {
            let policy = match spec.get("ipFamilies").and_then(Value::as_array).map(Vec::len) {
                Some(1) => "SingleStack",
                _ => "RequireDualStack",
            };
            spec.insert("ipFamilyPolicy".to_owned(), policy.into());
        }
        if is_unset(spec, "ipFamilies") {
            let families =
                if spec["ipFamilyPolicy"] == "SingleStack" { json!([family]) } else { json!([family, other]) };
            spec.insert("ipFamilies".to_owned(), families);
        }
        return Ok(());
    }
    let path = Path::new("spec");
    let mut errors = Vec::new();
    if spec.get("ipFamilyPolicy").is_some_and(|policy| policy == "RequireDualStack") {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), "RequireDualStack", why));
    }
    let families = spec.get("ipFamilies").and_then(Value::as_array).into_iter().flatten();
    for (index, wanted) in families.enumerate().filter(|(_, wanted)| **wanted == other) {
        let path = path.child("ipFamilies").index(index);
        errors.push(FieldError::invalid(&path, wanted.clone(), "not configured on this cluster"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if is_unset(spec, "ipFamilyPolicy") {
        spec.insert("ipFamilyPolicy".to_owned(), "SingleStack".into());
    }
    if is_unset(spec, "ipFamilies") {
        spec.insert("ipFamilies".to_owned(), json!([family]));
    }
    Ok(())
}

/// Takes the address that is asked for, or any. `None` in the error means that the range is full.
fn cluster_ip(
    allocator: &ServiceAllocator,
    random: &Random,
    object: &mut Value,
    old: &Value,
    held: &mut Held,
) -> Result<(), Option<FieldError>> {
    let first = object.pointer("/spec/clusterIPs/0").and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = match text(object, "/spec/clusterIP") {
        "" => first,
        wanted => wanted.to_owned(),
    };
    if wanted == HEADLESS {
        object["spec"]["clusterIP"] = HEADLESS.into();
        object["spec"]["clusterIPs"] = json!([HEADLESS]);
        return Ok(());
    }
    if wanted.is_empty() {
        let address = allocator.take_any_address(random).map_err(|_| None)?;
        held.addresses.push(address);
        object["spec"]["clusterIP"] = address.to_string().into();
        object["spec"]["clusterIPs"] = json!([address.to_string()]);
        return Ok(());
    }
    if wanted == text(old, "/spec/clusterIP") {
        return Ok(());
    }
    let path = Path::new("spec").child("clusterIPs");
    let refuse = |why: String| {
        let why = format!("failed to allocate IP {wanted}: {why}");
        Some(FieldError::invalid(&path, json!([wanted]), why))
    };
    let Ok(address) = wanted.parse::<IpAddr>() else { return Ok(()) };
    allocator.take_address(address).map_err(|refused| match refused {
        Refused::Taken | Refused::Full => refuse("provided IP is already allocated".to_owned()),
        Refused::NotInRange => refuse(format!(
            "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {}",
            allocator.network
        )),
    })?;
    held.addresses.push(address);
    object["spec"]["clusterIP"] = wanted.clone().into();
    object["spec"]["clusterIPs"] = json!([wanted]);
    Ok(())
}

fn take_node_ports(
    allocator: &ServiceAllocator,
    random: &Random,
    object: &mut Value,
    old: &Value,
    held: &mut Held,
) -> Result<(), FieldError> {
    let old_ports: Vec<u16> = ports(old).iter().filter_map(node_port).collect();
    let range = format!("{}-{}", allocator.ports.start(), allocator.ports.end());
    let list = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    let mut mine: Vec<(u16, String)> = Vec::new();
    // Those that ask for a certain port come first, so that no other takes it from them.
    let mut entries: Vec<(usize, &mut Value)> = list.into_iter().flatten().enumerate().collect();
    entries.sort_by_key(|(_, port)| node_port(port).is_none());
    for (index, port) in entries {
        let path = Path::new("spec").child("ports").index(index).child("nodePort");
        let protocol = protocol(port).to_owned();
        match node_port(port) {
            Some(wanted) if old_ports.contains(&wanted) => mine.push((wanted, protocol)),
            Some(wanted) if mine.iter().any(|(port, other)| *port == wanted && *other != protocol) => {
                allocator.share_port(wanted);
                held.ports.push(wanted);
                mine.push((wanted, protocol));
            }
            Some(wanted) => {
                allocator.take_port(wanted).map_err(|refused| {
                    let why = match refused {
                        Refused::Taken | Refused::Full => "provided port is already allocated".to_owned(),
                        Refused::NotInRange => {
                            format!("provided port is not in the valid range. The range of valid ports is {range}")
                        }
                    };
                    FieldError::invalid(&path, wanted, why)
                })?;
                held.ports.push(wanted);
                mine.push((wanted, protocol));
            }
            None => {
                let taken = allocator
                    .take_any_port(random)
                    .map_err(|_| FieldError::internal(&path, "failed to allocate a nodePort: range is full"))?;
                held.ports.push(taken);
                port["nodePort"] = taken.into();
                mine.push((taken, protocol));
            }
        }
    }
    Ok(())
}
