//! Devices of claims: allocated by the scheduler, prepared by a driver, seen by a container, given back.

use std::sync::{Arc, Mutex};

use plugin_api::dra::{Claim, Device};
use testkit::DraDriver;

use crate::devices::CdiFile;
use crate::{SOON, Stage};

const DRIVER: &str = "claims.e2e.skiff.local";

/// A class of the driver's devices, a claim that pods share, and a template for claims of their own.
const OBJECTS: &str = r#"
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: e2e}
spec:
  selectors: [{cel: {expression: 'device.driver == "claims.e2e.skiff.local"'}}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: shared}
spec:
  devices:
    requests:
    - name: large
      exactly:
        deviceClassName: e2e
        selectors: [{cel: {expression: 'device.attributes["claims.e2e.skiff.local"].size == "large"'}}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: own}
spec:
  spec:
    devices:
      requests: [{name: any, exactly: {deviceClassName: e2e}}]
"#;

const SLICE: &str = r#"
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: e2e-first}
spec:
  driver: claims.e2e.skiff.local
  nodeName: first
  pool: {name: first, generation: 1, resourceSliceCount: 1}
  devices:
  - {name: a, attributes: {size: {string: small}}}
  - {name: b, attributes: {size: {string: large}}}
"#;

/// The driver, and the files that it has written for claims.
pub struct Claims {
    driver: DraDriver,
    _files: Arc<Mutex<Vec<CdiFile>>>,
}

impl Claims {
    pub fn start(stage: &Stage) -> Self {
        let files = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&files);
        // What is prepared is described to the runtime under the claim's name.
        let prepare = move |claim: &Claim| {
            let name = if claim.name == "shared" { "SHARED" } else { "OWN" };
            let node = format!("/dev/claimed-{}", name.to_lowercase());
            let file = CdiFile::write("e2e.skiff.local/claim", &claim.uid, &format!("{name}={}", claim.uid), &node);
            written.lock().expect("nobody panics").push(file);
            let request = if name == "SHARED" { "large" } else { "any" };
            vec![Device {
                request_names: vec![request.to_owned()],
                pool_name: "first".to_owned(),
                device_name: if name == "SHARED" { "b" } else { "a" }.to_owned(),
                cdi_device_ids: vec![format!("e2e.skiff.local/claim={}", claim.uid)],
            }]
        };
        let _inside = stage.runtime.enter();
        let driver = DraDriver::start(&stage.kubelet_dir(), DRIVER, prepare);
        let claims = Self { driver, _files: files };
        stage.kubectl.apply(OBJECTS);
        claims.publish(stage);
        claims
    }

    /// Publishes the devices once the kubelet knows the driver, which removes those of before.
    fn publish(&self, stage: &Stage) {
        testkit::until(SOON, "the driver to be registered", || self.driver.is_registered().then_some(()));
        stage.kubectl.apply(SLICE);
    }

    pub fn are_seen_by_a_container(&self, stage: &Stage) {
        stage.run(
            "claiming",
            "resources: {claims: [{name: shared}, {name: own, request: any}]}",
            "resourceClaims: [{name: shared, resourceClaimName: shared}, {name: own, resourceClaimTemplateName: own}]",
        );
        let statuses = "-o=jsonpath={.status.resourceClaimStatuses[0].resourceClaimName}";
        let own = stage.kubectl.run(&["get", "pod", "claiming", statuses]);
        for (claim, variable, device) in [("shared", "SHARED", "b"), (own.as_str(), "OWN", "a")] {
            let found = stage.kubectl.json(&["get", "resourceclaim", claim]);
            let result = &found["status"]["allocation"]["devices"]["results"][0];
            assert_eq!((&result["device"], &result["driver"]), (&device.into(), &DRIVER.into()), "{found:#}");
            assert_eq!(found["status"]["reservedFor"][0]["name"], "claiming");
            let uid = found["metadata"]["uid"].as_str().expect("a UID");
            let node = format!("/dev/claimed-{}", variable.to_lowercase());
            let seen = stage.shell("claiming", &format!("echo ${variable} && head -c 3 {node} | base64"));
            assert_eq!(seen, format!("{uid}\nAAAA"));
        }
        let mut told = stage.watcher().container("claiming").dynamic_resources;
        told.sort_by_key(|claim| claim.claim_name != "shared");
        let names: Vec<&str> = told.iter().map(|claim| claim.claim_name.as_str()).collect();
        assert_eq!(names, ["shared", own.as_str()]);
        let device = &told[0].claim_resources[0];
        assert_eq!((device.driver_name.as_str(), device.device_name.as_str()), (DRIVER, "b"));
        assert!(device.cdi_devices[0].name.starts_with("e2e.skiff.local/claim="), "{device:?}");
    }

    /// The kubelet that has started anew finds the driver's socket where it was.
    pub fn come_back(&self, stage: &Stage) {
        stage.kubectl.wait(&["resourceslices"], "{.items}", SOON, |items| items == "[]");
        self.publish(stage);
        assert!(!self.driver.calls().iter().any(|call| call.starts_with("unprepare")), "{:?}", self.driver.calls());
        assert_eq!(stage.watcher().container("claiming").dynamic_resources.len(), 2);
    }

    pub fn are_given_back(&self, stage: &Stage) {
        stage.delete("claiming");
        let given_back = || {
            let calls = self.driver.calls();
            let back = calls.iter().filter_map(|call| call.strip_prefix("unprepare ")).flat_map(str::split_whitespace);
            (back.count() == 2).then_some(())
        };
        testkit::until(SOON, "both claims to be taken back", given_back);
        let status = "{.status.reservedFor}{.status.allocation}";
        stage.kubectl.wait(&["resourceclaim", "shared"], status, SOON, str::is_empty);
        stage.kubectl.wait(&["resourceclaims"], "{.items[*].metadata.name}", SOON, |names| names == "shared");
    }
}
