//! What Services get, on clusters of one family and of two.

use base::Random;
use serde_json::{Value, json};

use super::claims::Owner;
use super::{Family, Held, ServiceAllocator, addresses};

const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const V4_V6: &[Family] = &[Family::V4, Family::V6];
const V6_V4: &[Family] = &[Family::V6, Family::V4];

fn allocator(families: &[Family]) -> ServiceAllocator {
    ServiceAllocator { families: families.to_vec(), ports: 30000..=30003, used: <_>::default() }
}

fn service(spec: &Value) -> Value {
    let mut service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": spec});
    if service["spec"].get("type").is_none() {
        service["spec"]["type"] = "ClusterIP".into();
    }
    service
}

/// Policy, families, and of each address its family, or what is wrong.
fn shown(result: Result<Value, api::status::Status>) -> String {
    let object = match result {
        Ok(object) => object,
        Err(status) => return status.message.trim_start_matches("Service \"s\" is invalid: ").to_owned(),
    };
    let policy = super::fields::policy(&object).to_owned();
    let ips: Vec<String> = super::fields::cluster_ips(&object)
        .iter()
        .map(|ip| super::fields::family_of(ip).map_or_else(|| ip.clone(), |family| family.name().to_owned()))
        .collect();
    assert_eq!(
        super::fields::text(&object, "/spec/clusterIP"),
        super::fields::cluster_ips(&object).first().map_or("", String::as_str)
    );
    format!("{policy} [{}] [{}]", super::fields::ip_families(&object).join(" "), ips.join(" "))
}

/// Gives a Service what it needs; which address of a family that is does not matter here.
fn allocate(allocator: &ServiceAllocator, mut object: Value, old: &Value) -> Result<Value, api::status::Status> {
    let owner = Owner { namespace: "n".to_owned(), name: "s".to_owned() };
    let mut held = Held { allocator: allocator.clone(), owner, addresses: Vec::new(), ports: Vec::new() };
    allocator.prepare(&mut held, &Random::seeded(1), &mut object, old)?;
    held.ports.clear();
    for wanted in addresses::wanted(&object, old) {
        let any = match wanted.family {
            Family::V4 => "10.43.0.77",
            Family::V6 => "fd43::77",
        };
        let given = wanted.named.unwrap_or_else(|| any.parse().expect("an address"));
        addresses::write(&mut object, wanted, given);
    }
    if !old.is_null() {
        let services = api::kinds::find("", "v1", "services").expect("a kind");
        let errors = api::validation::update(services, &object, old);
        if !errors.is_empty() {
            return Err(super::invalid("s", errors));
        }
    }
    Ok(object)
}

#[track_caller]
fn check_create(cluster: &[Family], spec: Value, expected: &str) {
    let created = shown(allocate(&allocator(cluster), service(&spec), &Value::Null));
    assert_eq!(created, expected, "{spec} on {cluster:?}");
}

/// Creates, then changes what was created as a merge patch does.
#[track_caller]
fn check_update(cluster: &[Family], spec: Value, patch: Value, expected: &str) {
    let allocator = allocator(cluster);
    let mut spec = spec;
    spec["ports"] = json!([{"port": 80, "protocol": "TCP"}]);
    spec["sessionAffinity"] = "None".into();
    let mut old = allocate(&allocator, service(&spec), &Value::Null).expect("created");
    old["metadata"]["resourceVersion"] = "1".into();
    let mut new = old.clone();
    for (field, value) in patch.as_object().expect("a patch") {
        match value {
            Value::Null => drop(new["spec"].as_object_mut().expect("a spec").remove(field)),
            value => new["spec"][field] = value.clone(),
        }
    }
    assert_eq!(shown(allocate(&allocator, new, &old)), expected, "{spec} then {patch} on {cluster:?}");
}

#[test]
fn a_new_service_has_the_primary_family_unless_it_asks() {
    check_create(V4, json!({}), "SingleStack [IPv4] [IPv4]");
    check_create(V6, json!({}), "SingleStack [IPv6] [IPv6]");
    check_create(V4_V6, json!({}), "SingleStack [IPv4] [IPv4]");
    check_create(V6_V4, json!({}), "SingleStack [IPv6] [IPv6]");
    check_create(V4_V6, json!({"ipFamilies": ["IPv6"]}), "SingleStack [IPv6] [IPv6]");
    check_create(V4_V6, json!({"clusterIP": "fd43::5"}), "SingleStack [IPv6] [IPv6]");
    check_create(V4_V6, json!({"type": "ExternalName"}), " [] []");
}

#[test]
fn two_families_come_where_the_cluster_has_them() {
    for policy in ["PreferDualStack", "RequireDualStack"] {
        let both = |families: &str| format!("{policy} [{families}] [{families}]");
        check_create(V4_V6, json!({"ipFamilyPolicy": policy}), &both("IPv4 IPv6"));
        check_create(V6_V4, json!({"ipFamilyPolicy": policy}), &both("IPv6 IPv4"));
        check_create(V4_V6, json!({"ipFamilyPolicy": policy, "ipFamilies": ["IPv6"]}), &both("IPv6 IPv4"));
        check_create(V4_V6, json!({"ipFamilyPolicy": policy, "clusterIP": "fd43::5"}), &both("IPv6 IPv4"));
        let named = json!({"ipFamilyPolicy": policy, "clusterIP": "fd43::5", "clusterIPs": ["fd43::5", "10.43.0.5"]});
        check_create(V4_V6, named, &both("IPv6 IPv4"));
    }
    check_create(V4, json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack [IPv4] [IPv4]");
}

#[test]
fn families_that_a_cluster_lacks_are_refused() {
    let require = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services";
    check_create(V4, json!({"ipFamilyPolicy": "RequireDualStack"}), require);
    check_create(
        V4,
        json!({"ipFamilies": ["IPv6"]}),
        "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
    );
    check_create(
        V4,
        json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}),
        "spec.ipFamilies[1]: Invalid value: \"IPv6\": not configured on this cluster",
    );
    check_create(
        V4,
        json!({"clusterIP": "fd43::5"}),
        "spec.clusterIPs[0]: Invalid value: [\"fd43::5\"]: IPv6 is not configured on this cluster",
    );
}

#[test]
fn a_single_family_leaves_no_room_for_two_values() {
    let families = "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
    check_create(V4_V6, json!({"ipFamilies": ["IPv4", "IPv6"]}), families);
    let ips = "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified";
    check_create(V4_V6, json!({"clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5", "fd43::5"]}), ips);
    check_create(
        V4_V6,
        json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"], "clusterIP": "10.43.0.5"}),
        "spec.clusterIPs[0]: Invalid value: \"10.43.0.5\": expected an IPv6 value as indicated by `ipFamilies[0]`",
    );
}

#[test]
fn headless_services_have_families_without_addresses() {
    let headless = |more: Value| {
        let mut spec = json!({"clusterIP": "None"});
        spec.as_object_mut().expect("a spec").extend(more.as_object().expect("fields").clone());
        spec
    };
    let selector = json!({"a": "b"});
    check_create(V4, headless(json!({})), "RequireDualStack [IPv4 IPv6] [None]");
    check_create(V6, headless(json!({})), "RequireDualStack [IPv6 IPv4] [None]");
    check_create(V4, headless(json!({"ipFamilies": ["IPv6"]})), "RequireDualStack [IPv6 IPv4] [None]");
    check_create(V4, headless(json!({"ipFamilyPolicy": "SingleStack"})), "SingleStack [IPv4] [None]");
    check_create(V4, headless(json!({"ipFamilyPolicy": "PreferDualStack"})), "PreferDualStack [IPv4 IPv6] [None]");
    check_create(V4, headless(json!({"selector": selector})), "SingleStack [IPv4] [None]");
    check_create(
        V4_V6,
        headless(json!({"selector": selector, "ipFamilyPolicy": "PreferDualStack"})),
        "PreferDualStack [IPv4 IPv6] [None]",
    );
    check_create(
        V4,
        headless(json!({"selector": selector, "ipFamilyPolicy": "PreferDualStack"})),
        "PreferDualStack [IPv4] [None]",
    );
}

#[test]
fn a_service_gains_a_family_when_it_asks() {
    let both = |policy: &str| format!("{policy} [IPv4 IPv6] [IPv4 IPv6]");
    for policy in ["PreferDualStack", "RequireDualStack"] {
        check_update(V4_V6, json!({}), json!({"ipFamilyPolicy": policy}), &both(policy));
        check_update(
            V4_V6,
            json!({}),
            json!({"ipFamilyPolicy": policy, "ipFamilies": ["IPv4", "IPv6"]}),
            &both(policy),
        );
        let swapped = json!({"ipFamilyPolicy": policy, "ipFamilies": ["IPv6", "IPv4"]});
        check_update(
            V4_V6,
            json!({"clusterIP": "10.43.0.5"}),
            swapped,
            "spec.clusterIPs[0]: Invalid value: \"10.43.0.5\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        );
    }
    check_update(V4, json!({}), json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack [IPv4] [IPv4]");
    check_update(
        V4_V6,
        json!({"clusterIP": "10.43.0.5"}),
        json!({"ipFamilyPolicy": "PreferDualStack", "clusterIPs": ["10.43.0.5", "fd43::7"]}),
        &both("PreferDualStack"),
    );
}

#[test]
fn a_service_loses_its_second_family_when_it_says_so() {
    let both =
        json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5", "fd43::5"]});
    check_update(V4_V6, both.clone(), json!({"ipFamilyPolicy": "SingleStack"}), "SingleStack [IPv4] [IPv4]");
    check_update(
        V4_V6,
        both.clone(),
        json!({"ipFamilyPolicy": "SingleStack", "clusterIPs": ["10.43.0.5"], "ipFamilies": ["IPv4"]}),
        "SingleStack [IPv4] [IPv4]",
    );
    check_update(
        V4_V6,
        both.clone(),
        json!({"clusterIPs": ["10.43.0.5"]}),
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary cluster IP",
    );
    check_update(
        V4_V6,
        both,
        json!({"ipFamilies": ["IPv4"]}),
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary IP family",
    );
}

#[test]
fn services_turn_to_names_and_back() {
    check_update(
        V4_V6,
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        json!({"type": "ExternalName", "externalName": "a.b"}),
        " [] []",
    );
    check_update(
        V4_V6,
        json!({"type": "ExternalName", "externalName": "a.b"}),
        json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}),
        "PreferDualStack [IPv4 IPv6] [IPv4 IPv6]",
    );
    check_update(
        V4,
        json!({"type": "ExternalName", "externalName": "a.b"}),
        json!({"type": "ClusterIP"}),
        "SingleStack [IPv4] [IPv4]",
    );
}

#[test]
fn primary_addresses_stay() {
    check_update(
        V4_V6,
        json!({"clusterIP": "10.43.0.5"}),
        json!({"clusterIP": "10.43.0.6"}),
        "spec.clusterIPs[0]: Invalid value: [\"10.43.0.6\"]: may not change once set",
    );
    check_update(V4_V6, json!({}), json!({"clusterIP": null, "clusterIPs": null}), "SingleStack [IPv4] [IPv4]");
    check_update(V4_V6, json!({}), json!({"ipFamilyPolicy": null, "ipFamilies": null}), "SingleStack [IPv4] [IPv4]");
}

/// Node ports after a create and, where there is one, an update with these ports.
#[track_caller]
fn check_ports(steps: &[Value], expected: &[Option<u16>]) {
    let allocator = allocator(V4);
    let mut old = Value::Null;
    for ports in steps {
        let spec = json!({"type": "NodePort", "ports": ports, "clusterIP": "10.43.0.9", "sessionAffinity": "None"});
        let mut object = service(&spec);
        object["metadata"]["resourceVersion"] = "1".into();
        old = allocate(&allocator, object, &old).expect("allocated");
    }
    let given: Vec<Option<u16>> = super::fields::ports(&old).iter().map(super::fields::node_port).collect();
    let fixed: Vec<Option<u16>> =
        given.iter().zip(expected).map(|(port, expected)| if expected.is_some() { *port } else { None }).collect();
    assert_eq!(fixed, expected, "{given:?}");
}

#[test]
fn protocols_of_one_port_share_a_node_port() {
    let dns = json!([{"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53, "protocol": "TCP", "nodePort": 30002}]);
    check_ports(&[dns], &[Some(30002), Some(30002)]);
}

#[test]
fn node_ports_are_kept_by_name() {
    let before = json!([{"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30001}]);
    let after = json!([{"name": "a", "port": 81, "protocol": "TCP"}]);
    check_ports(&[before.clone(), after], &[Some(30001)]);
    let taken = json!([{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 81, "protocol": "TCP", "nodePort": 30001}]);
    check_ports(&[before, taken], &[None, Some(30001)]);
}

#[test]
fn a_named_port_for_health_checks_is_taken() {
    let allocator = allocator(V4);
    let balanced = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30003,
        "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80, "protocol": "TCP"}]});
    allocate(&allocator, service(&balanced), &Value::Null).expect("created");
    let again = shown(allocate(&allocator, service(&balanced), &Value::Null));
    let why = "Internal error occurred: failed to allocate requested HealthCheck NodePort 30003: provided port is already allocated";
    assert_eq!(again, why);
}
