//! Addresses of Services on a cluster of two families, and the objects that say whose they are.

use serde_json::{Value, json};

use crate::support::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const MERGE: &str = "application/merge-patch+json";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";

async fn dual() -> Cluster {
    let cluster = Cluster::start_with(|config| config.service_cluster_ip_range = both()).await;
    cluster.eventually(&format!("{SERVICES}/kubernetes")).await;
    cluster
}

fn both() -> base::Networks {
    base::Networks::new(&["10.43.0.0/16", "fd43::/112"].map(|network| network.parse().expect("a network")))
        .expect("one of each family")
}

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    service["spec"].as_object_mut().expect("a spec").extend(spec.as_object().expect("fields").clone());
    service
}

fn ips(service: &Value) -> Vec<String> {
    let ips = service["spec"]["clusterIPs"].as_array().expect("addresses");
    ips.iter().map(|ip| ip.as_str().expect("a text").to_owned()).collect()
}

#[tokio::test]
async fn each_address_of_a_service_is_an_object() {
    let cluster = dual().await;
    let made = cluster.post(SERVICES, service("a", json!({"ipFamilyPolicy": "PreferDualStack"}))).await.expect(201);
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    for (ip, family) in ips(&made).iter().zip(["IPv4", "IPv6"]) {
        let address = cluster.get(&format!("{ADDRESSES}/{ip}")).await.expect(200);
        let labels = json!({
            "ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        });
        assert_eq!(address["metadata"]["labels"], labels);
        let parent = json!({"resource": "services", "namespace": "default", "name": "a"});
        assert_eq!(address["spec"]["parentRef"], parent);
    }
    let single = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let changed = cluster.patch(&format!("{SERVICES}/a"), MERGE, single).await.expect(200);
    assert_eq!(ips(&changed), ips(&made)[..1]);
    cluster.get(&format!("{ADDRESSES}/{}", ips(&made)[1])).await.expect(404);
    cluster.delete(&format!("{SERVICES}/a")).await.expect(200);
    cluster.get(&format!("{ADDRESSES}/{}", ips(&made)[0])).await.expect(404);
}

#[tokio::test]
async fn a_write_that_comes_to_nothing_takes_no_address() {
    let cluster = dual().await;
    let named =
        json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9", "fd43::9"]});
    let mut wrong = service("a", named.clone());
    wrong["spec"]["ports"][0]["port"] = 0.into();
    cluster.post(SERVICES, wrong).await.expect(422);
    cluster.get(&format!("{ADDRESSES}/10.43.0.9")).await.expect(404);
    cluster.post(&format!("{SERVICES}?dryRun=All"), service("a", named.clone())).await.expect(201);
    cluster.get(&format!("{ADDRESSES}/fd43::9")).await.expect(404);
    cluster.post(SERVICES, service("a", named)).await.expect(201);
    let taken =
        json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.43.0.8", "clusterIPs": ["10.43.0.8", "fd43::9"]});
    let refused = cluster.post(SERVICES, service("b", taken)).await.expect(422);
    assert_eq!(
        refused["message"],
        "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.43.0.8\",\"fd43::9\"]: failed to allocate IP \
         fd43::9: provided IP is already allocated"
    );
    cluster.get(&format!("{ADDRESSES}/10.43.0.8")).await.expect(404);
}

#[tokio::test]
async fn who_has_claimed_an_address_has_it() {
    let cluster = dual().await;
    let claim = json!({"metadata": {"name": "10.43.0.7"}, "spec": {"parentRef": {"resource": "services", "name": "other", "namespace": "n"}}});
    cluster.post(ADDRESSES, claim).await.expect(201);
    let refused = cluster.post(SERVICES, service("a", json!({"clusterIP": "10.43.0.7"}))).await.expect(422);
    assert!(refused["message"].as_str().expect("a text").ends_with("provided IP is already allocated"), "{refused}");
    // What a Service has comes back when somebody deletes its claim.
    cluster.delete(&format!("{ADDRESSES}/10.43.0.1")).await.expect(200);
    cluster.eventually_answers(&format!("{ADDRESSES}/10.43.0.1"), 200).await;
}

#[tokio::test]
async fn addresses_come_from_ranges_that_are_ready() {
    let cluster = dual().await;
    let default = cluster.get(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert_eq!(default["spec"]["cidrs"], json!(["10.43.0.0/16", "fd43::/112"]));
    assert_eq!(default["status"]["conditions"][0]["status"], "True");
    let far = |name: &str| service(name, json!({"clusterIP": "10.99.0.5"}));
    let refused = cluster.post(SERVICES, far("a")).await.expect(422);
    let why = "failed to allocate IP 10.99.0.5: the provided network does not match the current range";
    assert!(refused["message"].as_str().expect("a text").ends_with(why), "{refused}");

    let more =
        json!({"metadata": {"name": "more", "finalizers": ["example.com/stay"]}, "spec": {"cidrs": ["10.99.0.0/24"]}});
    cluster.post(RANGES, more).await.expect(201);
    cluster.post(SERVICES, far("a")).await.expect(201);
    cluster.delete(&format!("{SERVICES}/a")).await.expect(200);
    cluster.delete(&format!("{RANGES}/more")).await.expect(200);
    cluster.post(SERVICES, far("a")).await.expect(422);
}

#[tokio::test]
async fn a_cluster_gains_a_second_family() {
    let cluster = Cluster::start().await;
    cluster.eventually(&format!("{SERVICES}/kubernetes")).await;
    let prefers = cluster.post(SERVICES, service("a", json!({"ipFamilyPolicy": "PreferDualStack"}))).await.expect(201);
    assert_eq!(prefers["spec"]["ipFamilies"], json!(["IPv4"]));
    let cluster = cluster.restart_with(|config| config.service_cluster_ip_range = both()).await;
    let cidrs = json!(["10.43.0.0/16", "fd43::/112"]);
    cluster.eventually_with(&format!("{RANGES}/kubernetes"), |range| range["spec"]["cidrs"] == cidrs).await;
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let same = cluster.patch(&format!("{SERVICES}/a"), MERGE, labelled).await.expect(200);
    assert_eq!(ips(&same), ips(&prefers));
    let required = json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}});
    let changed = cluster.patch(&format!("{SERVICES}/a"), MERGE, required).await.expect(200);
    assert_eq!(changed["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!((ips(&changed).len(), &ips(&changed)[0]), (2, &ips(&prefers)[0]));
}

#[tokio::test]
async fn a_service_that_waited_for_its_finalizer_gives_back_what_it_had() {
    let cluster = dual().await;
    let mut waiting = service("a", json!({"type": "NodePort", "clusterIP": "10.43.0.6"}));
    waiting["metadata"]["finalizers"] = json!(["example.com/stay"]);
    waiting["spec"]["ports"][0]["nodePort"] = 30123.into();
    cluster.post(SERVICES, waiting).await.expect(201);
    cluster.delete(&format!("{SERVICES}/a")).await.expect(200);
    cluster.patch(&format!("{SERVICES}/a"), MERGE, json!({"metadata": {"finalizers": null}})).await.expect(200);
    let mut again = service("b", json!({"type": "NodePort", "clusterIP": "10.43.0.6"}));
    again["spec"]["ports"][0]["nodePort"] = 30123.into();
    cluster.post(SERVICES, again).await.expect(201);
}
