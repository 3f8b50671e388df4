//! Questions and answers as text.

use hickory_proto::rr::{RData, Record, RecordType};
use serde_json::{Value, json};

use super::*;

fn add(zone: &mut Zone, key: &str, spec: Value, endpoints: Value) {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    let service = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    let slice = json!({
        "metadata": {"namespace": namespace, "name": name},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}],
    });
    let service = serde_json::from_value(service).expect("a service");
    let slice = Arc::new(serde_json::from_value(slice).expect("a slice"));
    zone.set_namespace(namespace, true);
    zone.set_service(&ObjectKey::namespaced(namespace, name), service_records(&service, &[Arc::clone(&slice), slice]));
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", &["10.43.0.10".parse().expect("an address")]).expect("a zone");
    let ports = || json!([{"name": "http", "port": 80}, {"name": "Dns", "port": 53, "protocol": "UDP"}]);
    let endpoints = json!([
        {"addresses": ["10.42.0.2"], "hostname": "web-0"},
        {"addresses": ["10.42.0.3"]},
        {"addresses": ["10.42.0.4"], "hostname": "web-1", "conditions": {"ready": false}},
    ]);
    let dual = json!({"clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7", "fd00::7"], "ports": ports()});
    add(&mut zone, "default/web", dual, endpoints.clone());
    add(&mut zone, "default/pods", json!({"clusterIP": "None"}), endpoints);
    add(&mut zone, "default/nobody", json!({"clusterIP": "None", "ports": ports()}), json!([]));
    add(&mut zone, "shop/db", json!({"type": "ExternalName", "externalName": "db.example.com"}), json!([]));
    zone.set_namespace("empty", true);
    zone
}

fn text(answer: &Answer) -> String {
    let record = |record: &Record| match &record.data {
        RData::A(ip) => ip.to_string(),
        RData::AAAA(ip) => ip.to_string(),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        RData::PTR(name) => name.to_string(),
        RData::NS(name) => name.to_string(),
        RData::TXT(txt) => txt.to_string(),
        RData::SOA(soa) => format!("{} {}", soa.mname, soa.minimum),
        other => format!("{other:?}"),
    };
    let list = |records: &[Record]| records.iter().map(record).collect::<Vec<_>>().join(", ");
    match answer {
        Answer::Records(records, additional) if additional.is_empty() => list(records),
        Answer::Records(records, additional) => format!("{} + {}", list(records), list(additional)),
        Answer::Alias(name) => format!("alias {name}"),
        Answer::NoData => "no data".to_owned(),
        Answer::NoName => "no name".to_owned(),
        Answer::Elsewhere => "elsewhere".to_owned(),
    }
}

/// Each line is `name TYPE = answer`; names end in `.` or are below `cluster.local.`.
#[track_caller]
fn check(zone: &Zone, cases: &str) {
    for case in cases.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (question, expected) = case.split_once(" = ").expect("question = answer");
        let (name, kind) = question.split_once(' ').expect("name and type");
        let name = if name.ends_with('.') { name.to_owned() } else { format!("{name}.cluster.local.") };
        let kind: RecordType = kind.parse().expect("a type");
        let answer = zone.lookup(&Name::from_ascii(&name).expect("a name"), kind);
        assert_eq!(text(&answer), expected, "{question}");
    }
}

#[test]
fn services_have_their_cluster_addresses() {
    check(
        &zone(),
        "
        web.default.svc A = 10.43.0.7
        web.default.svc AAAA = fd00::7
        WEB.Default.SVC A = 10.43.0.7
        web.default.svc TXT = no data
        web.default.svc MX = no data
        pods.default.svc AAAA = no data
        other.default.svc A = no name
        web.other.svc A = no name
        x.y.web.default.svc A = no name
        default.svc A = no data
        empty.svc A = no data
        other.svc A = no name
        svc A = no data
        pod A = no data
        other A = no name
        web.default.svc.example.com. A = elsewhere
        example.com. A = elsewhere
        local. A = elsewhere
        ",
    );
}

#[test]
fn headless_services_and_their_pods_have_the_endpoints_addresses() {
    check(
        &zone(),
        "
        pods.default.svc A = 10.42.0.3, 10.42.0.2
        web-0.pods.default.svc A = 10.42.0.2
        10-42-0-3.pods.default.svc A = 10.42.0.3
        web-1.pods.default.svc A = no name
        web-0.pods.default.svc AAAA = no data
        nobody.default.svc A = no name
        web-0.web.default.svc A = 10.42.0.2
        ",
    );
}

#[test]
fn ports_have_srv_records() {
    check(
        &zone(),
        "
        _http._tcp.web.default.svc SRV = 0 100 80 web.default.svc.cluster.local. + 10.43.0.7, fd00::7
        _dns._udp.web.default.svc SRV = 0 100 53 web.default.svc.cluster.local. + 10.43.0.7, fd00::7
        _dns._tcp.web.default.svc SRV = no name
        _http._tcp.web.default.svc A = 10.43.0.7
        _tcp.web.default.svc SRV = no data
        _sctp.web.default.svc SRV = no name
        web.default.svc SRV = 0 50 80 web.default.svc.cluster.local., 0 50 53 web.default.svc.cluster.local. + 10.43.0.7, fd00::7
        _http._tcp.pods.default.svc SRV = 0 50 8080 10-42-0-3.pods.default.svc.cluster.local., 0 50 8080 web-0.pods.default.svc.cluster.local. + 10.42.0.3, 10.42.0.2
        ",
    );
}

#[test]
fn external_names_stand_for_others() {
    check(
        &zone(),
        "
        db.shop.svc A = alias db.example.com.
        db.shop.svc CNAME = alias db.example.com.
        x.db.shop.svc A = no name
        ",
    );
}

#[test]
fn pods_have_names_made_of_their_address() {
    check(
        &zone(),
        "
        10-42-0-9.default.pod A = 10.42.0.9
        10-42-0-9.default.pod AAAA = no data
        fd00--9.default.pod AAAA = fd00::9
        10-42-0.default.pod A = no name
        10-42-0-9.other.pod A = no name
        default.pod A = no data
        ",
    );
}

#[test]
fn addresses_lead_back_to_names() {
    check(
        &zone(),
        "
        7.0.43.10.in-addr.arpa. PTR = web.default.svc.cluster.local.
        7.0.43.10.in-addr.arpa. A = no data
        2.0.42.10.in-addr.arpa. PTR = web-0.pods.default.svc.cluster.local.
        3.0.42.10.in-addr.arpa. PTR = 10-42-0-3.pods.default.svc.cluster.local.
        4.0.42.10.in-addr.arpa. PTR = elsewhere
        42.10.in-addr.arpa. PTR = elsewhere
        ",
    );
}

#[test]
fn the_zone_describes_itself() {
    check(
        &zone(),
        "
        dns-version TXT = 1.1.0
        dns-version A = no data
        cluster.local. SOA = ns.dns.cluster.local. 5
        cluster.local. NS = ns.dns.cluster.local. + 10.43.0.10
        cluster.local. A = no data
        ns.dns A = 10.43.0.10
        ",
    );
}

#[test]
fn changes_do_not_touch_clones_and_leave_nothing() {
    let mut zone = zone();
    let before = zone.clone();
    let key = ObjectKey::namespaced("default", "web");
    zone.set_service(&key, None);
    check(&zone, "web.default.svc A = no name\n 7.0.43.10.in-addr.arpa. PTR = elsewhere");
    check(&before, "web.default.svc A = 10.43.0.7\n 7.0.43.10.in-addr.arpa. PTR = web.default.svc.cluster.local.");
    zone.set_service(&ObjectKey::namespaced("shop", "db"), None);
    zone.set_namespace("shop", false);
    check(&zone, "shop.svc A = no name");
}
