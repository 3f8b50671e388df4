//! Objects of the node's groups that nothing runs for: made, read, changed and removed in every way.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::discovery::Scope;
use serde_json::{Value, json};

use futures::StreamExt;

use crate::Behaviour;
use crate::stage::{Stage, refused, resource, with};

pub fn behaviours() -> Vec<Behaviour> {
    let template = || json!({"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx"}]}}});
    let class = || json!({"spec": {"selectors": [{"cel": {"expression": "device.driver == 'e'"}}]}});
    let claim = || json!({"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "none"}}]}});
    let slice = || {
        json!({"spec": {
            "driver": "driver.example.com", "nodeName": "first", "devices": [{"name": "one"}],
            "pool": {"name": "pool", "generation": 1, "resourceSliceCount": 1},
        }})
    };
    let lease = || json!({"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0}});
    vec![
        served("Lease lease API should be available", "coordination.k8s.io/v1", "Lease", Scope::Namespaced, lease()),
        served(
            "PodTemplates should run the lifecycle of PodTemplates",
            "v1",
            "PodTemplate",
            Scope::Namespaced,
            template(),
        ),
        served(
            "PodTemplates should delete a collection of pod templates",
            "v1",
            "PodTemplate",
            Scope::Namespaced,
            template(),
        ),
        served("PodTemplates should replace a pod template", "v1", "PodTemplate", Scope::Namespaced, template()),
        served(
            "CRUD Tests resource.k8s.io/v1 DeviceClass",
            "resource.k8s.io/v1",
            "DeviceClass",
            Scope::Cluster,
            class(),
        ),
        served(
            "CRUD Tests resource.k8s.io/v1 ResourceClaim",
            "resource.k8s.io/v1",
            "ResourceClaim",
            Scope::Namespaced,
            json!({"spec": claim()}),
        ),
        served(
            "CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate",
            "resource.k8s.io/v1",
            "ResourceClaimTemplate",
            Scope::Namespaced,
            json!({"spec": {"spec": claim()}}),
        ),
        served(
            "CRUD Tests resource.k8s.io/v1 ResourceSlice",
            "resource.k8s.io/v1",
            "ResourceSlice",
            Scope::Cluster,
            slice(),
        ),
        served(
            "RuntimeClass should support RuntimeClasses API operations",
            "node.k8s.io/v1",
            "RuntimeClass",
            Scope::Cluster,
            json!({"handler": "handler"}),
        ),
        served(
            "ConfigMap should run through a ConfigMap lifecycle",
            "v1",
            "ConfigMap",
            Scope::Namespaced,
            json!({"data": {"a": "b"}}),
        ),
        served(
            "ConfigMap should update ConfigMap successfully",
            "v1",
            "ConfigMap",
            Scope::Namespaced,
            json!({"data": {"a": "b"}}),
        ),
        served("Secrets should patch a secret", "v1", "Secret", Scope::Namespaced, json!({"stringData": {"a": "b"}})),
        served("Node Lifecycle should run through the lifecycle of a node", "v1", "Node", Scope::Cluster, json!({})),
    ]
}

/// An object of a kind goes through all that can be done with it.
fn served(name: &'static str, api_version: &'static str, kind: &'static str, scope: Scope, body: Value) -> Behaviour {
    Behaviour::new(name, move |stage| goes_through(stage, api_version, kind, scope, body))
}

async fn goes_through(stage: Stage, api_version: &'static str, kind: &'static str, scope: Scope, body: Value) {
    let resource = resource(api_version, kind);
    let api: Api<DynamicObject> = match scope {
        Scope::Cluster => Api::all_with(stage.client.clone(), &resource),
        Scope::Namespaced => stage.objects(api_version, kind),
    };
    // Those of the whole cluster share their names with other behaviours.
    let selector = format!("behaviour={}", stage.namespace);
    let labelled = ListParams::default().labels(&selector);
    let name = |number: u32| format!("{}-{number}", stage.namespace);
    let object = |number: u32| {
        let metadata = json!({"name": name(number), "labels": {"behaviour": stage.namespace}});
        let head = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        serde_json::from_value::<DynamicObject>(with(head, body.clone())).expect("an object")
    };
    let count = async || api.list(&labelled).await.expect("listed").items.len();

    let watched = WatchParams::default().labels(&selector);
    let version = api.list(&labelled).await.expect("listed").metadata.resource_version.expect("lists have one");
    let mut events = api.watch(&watched, &version).await.expect("watched").boxed();

    for number in [1, 2, 3] {
        api.create(&PostParams::default(), &object(number)).await.expect("created");
    }
    refused(api.create(&PostParams::default(), &object(1)).await, 409);
    assert_eq!(count().await, 3);

    let patch = Patch::Merge(json!({"metadata": {"annotations": {"patched": "yes"}}}));
    api.patch(&name(1), &PatchParams::default(), &patch).await.expect("patched");
    let annotation =
        |object: &DynamicObject, key: &str| object.metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
    let mut read = api.get(&name(1)).await.expect("read");
    assert_eq!(annotation(&read, "patched").as_deref(), Some("yes"));
    read.metadata.annotations.get_or_insert_default().insert("replaced".to_owned(), "yes".to_owned());
    loop {
        // Controllers may write as well.
        match api.replace(&name(1), &PostParams::default(), &read).await {
            Ok(_) => break,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                read.metadata.resource_version = api.get(&name(1)).await.expect("read").metadata.resource_version;
            }
            Err(err) => panic!("{err}"),
        }
    }
    let read = api.get(&name(1)).await.expect("read");
    assert_eq!(annotation(&read, "replaced").as_deref(), Some("yes"));

    api.delete(&name(1), &DeleteParams::default()).await.expect("deleted");
    refused(api.get(&name(1)).await, 404);
    assert_eq!(count().await, 2);
    api.delete_collection(&DeleteParams::default(), &labelled).await.expect("deleted");
    testkit::poll_async(std::time::Duration::from_secs(60), async || (count().await == 0).then_some(()))
        .await
        .expect("the collection goes");

    let mut seen = [0; 3];
    while seen[2] < 3 {
        let event = tokio::time::timeout(std::time::Duration::from_secs(60), events.next()).await;
        match event.expect("in time").expect("the watch goes on").expect("no failure") {
            WatchEvent::Added(_) => seen[0] += 1,
            WatchEvent::Modified(_) => seen[1] += 1,
            WatchEvent::Deleted(_) => seen[2] += 1,
            _ => {}
        }
    }
    assert!(seen[0] == 3 && seen[1] >= 2, "{seen:?}");
}
