//! Which devices claims are given.

use client::Informer;
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::node;

use super::*;
use crate::node_info::NodeInfo;
use crate::plugins::test_support::node_info;

const DRIVER: &str = "gpu.example.com";

fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("valid")
}

/// A cluster of devices.
struct Scene {
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    classes: Informer<DeviceClass>,
    devices: Devices,
}

fn device(name: &str, model: &str, rack: &str) -> Value {
    json!({"name": name, "attributes": {"model": {"string": model}, "example.com/rack": {"string": rack}}})
}

impl Scene {
    /// One class `gpu` of all devices of the driver, and devices of one node.
    fn new(devices: &[Value]) -> Self {
        let (claims, slices, classes) = (Informer::detached(), Informer::detached(), Informer::detached());
        let selector = json!({"cel": {"expression": format!("device.driver == '{DRIVER}'")}});
        let parameters = json!({"opaque": {"driver": DRIVER, "parameters": {}}});
        classes.apply(typed(json!({
            "metadata": {"name": "gpu"}, "spec": {"selectors": [selector], "config": [parameters]},
        })));
        let (assumed, selectors) = Default::default();
        let lists = (claims.lister(), slices.lister(), classes.lister());
        let known = Devices { claims: lists.0, slices: lists.1, classes: lists.2, selectors, assumed };
        let scene = Self { claims, slices, classes, devices: known };
        scene.slice("s", json!({"nodeName": "n1"}), devices, 1);
        scene
    }

    fn slice(&self, name: &str, place: Value, devices: &[Value], generation: i64) {
        let mut spec = json!({
            "driver": DRIVER, "devices": devices,
            "pool": {"name": name, "generation": generation, "resourceSliceCount": 1},
        });
        spec.as_object_mut().expect("an object").extend(place.as_object().expect("an object").clone());
        self.slices.apply(typed(json!({"metadata": {"name": format!("{name}-{generation}")}, "spec": spec})));
    }

    fn claim(&self, name: &str, devices: Value) {
        let metadata = json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}")});
        self.claims.apply(typed(json!({"metadata": metadata, "spec": {"devices": devices}})));
    }

    /// The devices that the claims of a pod get on a node, as `request=device`, or why they get none.
    fn find(&mut self, claims: &[&str], node: &NodeInfo) -> Result<Vec<String>, String> {
        let decisions = self.decide(claims, node)?;
        let allocations = decisions.iter().filter_map(|decision| decision.allocation.as_ref());
        let results = allocations.flat_map(|one| one.devices.clone().unwrap_or_default().results.unwrap_or_default());
        Ok(results.map(|result| format!("{}={}", result.request, result.device)).collect())
    }

    fn decide(&mut self, claims: &[&str], node: &NodeInfo) -> Result<Vec<Decision>, String> {
        let entries: Vec<Value> =
            claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
        let pod: Pod = typed(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "uid-p"},
            "spec": {"containers": [], "resourceClaims": entries},
        }));
        let plan = self.devices.plan(&pod)?.expect("claims");
        plan.fits(node)?;
        Ok(plan.decide(&node.name))
    }

    #[track_caller]
    fn check(&mut self, claims: &[&str], expected: Result<&[&str], &str>) {
        let found = self.find(claims, &n1());
        let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected.map_err(str::to_owned));
    }
}

fn n1() -> NodeInfo {
    node_info(&node("n1").build(), &[])
}

/// A request for devices of the class, with more fields.
fn exactly(name: &str, more: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu"});
    exactly.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({"name": name, "exactly": exactly})
}

fn model(model: &str) -> Value {
    let expression = format!("device.attributes['{DRIVER}'].model == '{model}'");
    json!({"selectors": [{"cel": {"expression": expression}}]})
}

const NO: Result<&[&str], &str> = Err("cannot allocate all claims");

#[test]
fn requests_are_met_by_number_class_and_selectors() {
    let mut scene = Scene::new(&[device("a", "small", "1"), device("b", "large", "1"), device("c", "large", "2")]);
    scene.claim("one", json!({"requests": [exactly("r", json!({}))]}));
    scene.check(&["one"], Ok(&["r=a"]));
    scene.claim("two", json!({"requests": [exactly("r", json!({"count": 2}))]}));
    scene.check(&["two"], Ok(&["r=a", "r=b"]));
    scene.claim("large", json!({"requests": [exactly("r", model("large"))]}));
    scene.check(&["large"], Ok(&["r=b"]));
    scene.check(&["large", "two"], Ok(&["r=b", "r=a", "r=c"]));
    scene.claim("all", json!({"requests": [exactly("r", json!({"allocationMode": "All"}))]}));
    scene.check(&["all"], Ok(&["r=a", "r=b", "r=c"]));
    scene.claim("four", json!({"requests": [exactly("r", json!({"count": 4}))]}));
    scene.check(&["four"], NO);
    scene.claim("huge", json!({"requests": [exactly("r", model("huge"))]}));
    scene.check(&["huge"], NO);
    scene.claim("other", json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "fpga"}}]}));
    scene.check(&["other"], Err("request r: device class fpga does not exist"));
    scene.check(&["missing"], Err("resourceclaim.resource.k8s.io \"missing\" not found"));
}

#[test]
fn the_first_alternative_that_can_be_met_is_taken() {
    let mut scene = Scene::new(&[device("a", "small", "1"), device("b", "large", "1")]);
    let sub = |name: &str, more: Value| {
        let mut sub = exactly(name, more)["exactly"].clone();
        sub["name"] = json!(name);
        sub
    };
    let alternatives = [sub("huge", model("huge")), sub("both", json!({"count": 2})), sub("large", model("large"))];
    scene.claim("c", json!({"requests": [{"name": "r", "firstAvailable": alternatives}]}));
    scene.check(&["c"], Ok(&["r/both=a", "r/both=b"]));
    // A later request can make an alternative impossible.
    let requests = json!([{"name": "r", "firstAvailable": alternatives}, exactly("s", model("small"))]);
    scene.claim("d", json!({"requests": requests}));
    scene.check(&["d"], Ok(&["r/large=b", "s=a"]));
}

#[test]
fn devices_share_the_attributes_that_they_must() {
    let mut scene = Scene::new(&[device("a", "small", "1"), device("b", "large", "2"), device("c", "large", "1")]);
    let requests = json!([exactly("r", model("small")), exactly("s", model("large"))]);
    let constraint = |attribute: &str| json!([{"requests": ["r", "s"], "matchAttribute": attribute}]);
    scene.claim("c", json!({"requests": requests, "constraints": constraint("example.com/rack")}));
    scene.check(&["c"], Ok(&["r=a", "s=c"]));
    scene.claim("d", json!({"requests": requests, "constraints": constraint("gpu.example.com/model")}));
    scene.check(&["d"], NO);
    scene.claim("e", json!({"requests": requests, "constraints": constraint("example.com/missing")}));
    scene.check(&["e"], NO);
}

#[test]
fn a_device_is_given_once_but_administrators_see_all() {
    let mut scene = Scene::new(&[device("a", "small", "1")]);
    scene.claim("one", json!({"requests": [exactly("r", json!({}))]}));
    scene.claim("two", json!({"requests": [exactly("r", json!({}))]}));
    scene.check(&["one", "two"], NO);
    let decisions = scene.decide(&["one"], &n1()).expect("a device");
    scene.devices.assume(&decisions);
    scene.check(&["two"], NO);
    scene.claim("admin", json!({"requests": [exactly("r", json!({"adminAccess": true}))]}));
    scene.check(&["admin"], Ok(&["r=a"]));
    scene.devices.give_back(&["uid-one".to_owned()]);
    scene.check(&["two"], Ok(&["r=a"]));

    // What a claim itself says counts as well, and binds it to where its devices are.
    let mut allocated = ResourceClaim::clone(&scene.claims.lister().get(Some("ns"), "one").expect("there"));
    allocated.status.get_or_insert_default().allocation = decisions[0].allocation.clone();
    scene.claims.apply(allocated);
    scene.check(&["two"], NO);
    scene.check(&["one"], Ok(&[]));
    let elsewhere = node_info(&node("n2").build(), &[]);
    assert_eq!(scene.find(&["one"], &elsewhere), Err("resourceclaim not available on the node".to_owned()));
}

#[test]
fn only_whole_pools_of_the_newest_generation_within_reach_offer_devices() {
    let mut scene = Scene::new(&[]);
    scene.claim("c", json!({"requests": [exactly("r", json!({}))]}));
    scene.check(&["c"], NO);
    scene.slice("far", json!({"nodeName": "n2"}), &[device("far", "small", "1")], 1);
    let zone = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
    scene.slice("zone", json!({"nodeSelector": {"nodeSelectorTerms": [zone]}}), &[device("zone", "small", "1")], 1);
    scene.check(&["c"], NO);
    let in_zone = node_info(&node("n3").label("zone", "a").build(), &[]);
    let decision = scene.decide(&["c"], &in_zone).expect("a device").remove(0);
    let selector = decision.allocation.expect("an allocation").node_selector.expect("a selector");
    assert_eq!(selector.node_selector_terms[0].match_expressions.as_ref().map(Vec::len), Some(1));
    scene.slice("net", json!({"allNodes": true}), &[device("old", "small", "1")], 1);
    scene.slice("net", json!({"allNodes": true}), &[device("new", "small", "1")], 2);
    scene.check(&["c"], Ok(&["r=new"]));
    let decision = scene.decide(&["c"], &n1()).expect("a device").remove(0);
    let allocation = decision.allocation.expect("an allocation");
    assert_eq!(allocation.node_selector, None);
    let config = allocation.devices.and_then(|devices| devices.config).expect("what the class says");
    assert_eq!((config[0].source.as_str(), config[0].requests.clone()), ("FromClass", Some(vec!["r".to_owned()])));
    assert_eq!(scene.classes.lister().len(), 1);
}
