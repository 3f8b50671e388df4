//! Kinds of one's own: defined, found by discovery, and kept by a controller; and a watch that has missed too much.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event as Finalized, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::Config;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt, discovery};
use serde_json::json;

use super::watches::next;
use super::{NAMESPACE, made, refused, soon};

type Boxes = Api<DynamicObject>;

/// When the controller tries again what has failed.
const RETRY: Duration = Duration::from_millis(50);

pub async fn check(client: Client) {
    let client = &client;
    let (boxes, resource) = defined(client).await;
    objects(&boxes, &resource).await;
    controlled(client, &boxes, &resource).await;
    expired(&boxes, &resource).await;
}

/// Defines a kind and finds it.
async fn defined(client: &Client) -> (Boxes, ApiResource) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let size = json!({"type": "integer", "default": 1, "maximum": 9});
    let definition: CustomResourceDefinition = made(json!({
        "metadata": {"name": "boxes.rust.example.com"},
        "spec": {
            "group": "rust.example.com", "scope": "Namespaced",
            "names": {"plural": "boxes", "singular": "box", "kind": "Box"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                },
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": size, "text": {"type": "string"}}},
                    "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
                }}},
            }],
        },
    }));
    let apply = PatchParams::apply("rust");
    definitions.patch("boxes.rust.example.com", &apply, &Patch::Apply(&definition)).await.expect("applied");
    let is_there = await_condition(definitions, "boxes.rust.example.com", conditions::is_crd_established());
    soon("the kind", is_there).await.expect("it is watched");
    let gvk = GroupVersionKind::gvk("rust.example.com", "v1", "Box");
    let (resource, capabilities) = discovery::pinned_kind(client, &gvk).await.expect("it is served");
    assert_eq!(resource.plural, "boxes");
    assert_eq!(capabilities.subresources.len(), 2);
    (Api::namespaced_with(client.clone(), NAMESPACE, &resource), resource)
}

fn a_box(name: &str, resource: &ApiResource, size: u32) -> DynamicObject {
    DynamicObject::new(name, resource).data(json!({"spec": {"size": size}}))
}

async fn objects(boxes: &Boxes, resource: &ApiResource) {
    let empty = DynamicObject::new("one", resource).data(json!({"spec": {}}));
    let one = boxes.create(&PostParams::default(), &empty).await.expect("created");
    assert_eq!((&one.data["spec"]["size"], one.metadata.generation), (&json!(1), Some(1)));
    let large = refused(boxes.create(&PostParams::default(), &a_box("large", resource, 10)).await, 422, "Invalid");
    assert!(large.message.contains("spec.size in body should be less than or equal to 9"), "{large:?}");
    let params = PatchParams::default();
    let strategic = Patch::Strategic(json!({"spec": {"size": 2}}));
    refused(boxes.patch("one", &params, &strategic).await, 415, "UnsupportedMediaType");
    let apply = PatchParams::apply("rust");
    let mine = Patch::Apply(a_box("one", resource, 2));
    // Who made it without a name owns what was filled in.
    let others = refused(boxes.patch("one", &apply, &mine).await, 409, "Conflict");
    assert!(others.message.starts_with("Apply failed with 1 conflict: conflict with \"unknown\" "), "{others:?}");
    boxes.patch("one", &apply.clone().force(), &mine).await.expect("forced");
    let others = boxes.patch("one", &PatchParams::apply("other"), &Patch::Apply(a_box("one", resource, 3))).await;
    assert_eq!(
        refused(others, 409, "Conflict").message,
        "Apply failed with 1 conflict: conflict with \"rust\": .spec.size"
    );

    let status = DynamicObject::new("one", resource).data(json!({"status": {"size": 2}, "spec": {"size": 9}}));
    let shown = boxes.patch_status("one", &apply.force(), &Patch::Apply(&status)).await.expect("applied");
    assert_eq!((&shown.data["status"]["size"], &shown.data["spec"]["size"]), (&json!(2), &json!(2)));
    let scale =
        boxes.patch_scale("one", &params, &Patch::Merge(json!({"spec": {"replicas": 4}}))).await.expect("scaled");
    assert_eq!(scale.status.map(|status| status.replicas), Some(2));
    assert_eq!(boxes.get("one").await.expect("it is there").data["spec"]["size"], 4);
    boxes.delete("one", &DeleteParams::default()).await.expect("deleted");
}

/// A controller that keeps a config map for each box, and tidies up behind it.
async fn controlled(client: &Client, boxes: &Boxes, resource: &ApiResource) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let context = Arc::new((boxes.clone(), maps.clone(), resource.clone()));
    let running = Controller::new_with(boxes.clone(), Config::default(), resource.clone())
        .owns(maps.clone(), Config::default())
        .run(reconcile, |_, _, _| Action::requeue(RETRY), context)
        // Failures are a matter of course: an object that has changed or gone meanwhile.
        .for_each(|_| std::future::ready(()));
    let running = tokio::spawn(running);

    boxes.create(&PostParams::default(), &a_box("kept", resource, 5)).await.expect("created");
    let size = |wanted: &'static str| {
        move |map: Option<&ConfigMap>| {
            map.and_then(|map| map.data.as_ref()).and_then(|data| data.get("size")).is_some_and(|size| size == wanted)
        }
    };
    let made = soon("the map", await_condition(maps.clone(), "box-kept", size("5"))).await.expect("it is watched");
    let uid = made.expect("it is there").uid().expect("objects have one");
    let larger = Patch::Merge(json!({"spec": {"size": 6}}));
    boxes.patch("kept", &PatchParams::default(), &larger).await.expect("patched");
    soon("the change", await_condition(maps.clone(), "box-kept", size("6"))).await.expect("it is watched");
    // What somebody takes away comes back.
    maps.delete("box-kept", &DeleteParams::default()).await.expect("deleted");
    let is_another = |map: Option<&ConfigMap>| map.is_some_and(|map| map.uid().as_ref() != Some(&uid));
    soon("another map", await_condition(maps.clone(), "box-kept", is_another)).await.expect("it is watched");

    let uid = boxes.get("kept").await.expect("it is there").uid().expect("objects have one");
    let going = boxes.delete("kept", &DeleteParams::default()).await.expect("it begins to go");
    assert!(going.left().expect("its finalizer keeps it").metadata.deletion_timestamp.is_some());
    let is_gone = await_condition(boxes.clone(), "kept", conditions::is_deleted(&uid));
    soon("the end", is_gone).await.expect("it is watched");
    // Tidied up before the box went, not by the garbage collector after it.
    assert!(maps.get_opt("box-kept").await.expect("an answer").is_none());
    running.abort();
    assert!(running.await.expect_err("it never ends by itself").is_cancelled());
}

type Context = Arc<(Boxes, Api<ConfigMap>, ApiResource)>;

async fn reconcile(
    kept: Arc<DynamicObject>,
    context: Context,
) -> Result<Action, kube::runtime::finalizer::Error<kube::Error>> {
    let boxes = context.0.clone();
    let apply = |event: Finalized<DynamicObject>| async move {
        let (_, maps, resource) = &*context;
        match event {
            Finalized::Apply(kept) => {
                let name = format!("box-{}", kept.name_any());
                let size = kept.data["spec"]["size"].to_string();
                let owner = kept.controller_owner_ref(resource);
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": name, "ownerReferences": [owner]}, "data": {"size": size},
                });
                maps.patch(&name, &PatchParams::apply("keeper").force(), &Patch::Apply(map)).await?;
            }
            Finalized::Cleanup(kept) => {
                let name = format!("box-{}", kept.name_any());
                if maps.get_metadata_opt(&name).await?.is_some() {
                    maps.delete(&name, &DeleteParams::default()).await?;
                }
            }
        }
        Ok(Action::await_change())
    };
    finalizer(&boxes, "rust.example.com/keeper", kept, apply).await
}

/// A watcher that comes back after its place was forgotten is told so, and lists again.
async fn expired(boxes: &Boxes, resource: &ApiResource) {
    boxes.create(&PostParams::default(), &a_box("seen", resource, 1)).await.expect("created");
    boxes.create(&PostParams::default(), &a_box("large", resource, 1)).await.expect("created");
    // Without bookmarks it knows no newer version than that of its list.
    let config = Config::default().fields("metadata.name=seen").timeout(1).disable_bookmarks();
    let mut watching = pin!(watcher(boxes.clone(), config));
    for expected in ["Init", "InitApply(seen)", "InitDone"] {
        assert_eq!(next(&mut watching).await, expected);
    }
    // More than the server remembers of a resource: an event counts as what was there before and after it.
    for number in 0..36 {
        let text = format!("{number} {}", "x".repeat(280_000));
        let patch = Patch::Merge(json!({"spec": {"text": text}}));
        boxes.patch_metadata("large", &PatchParams::default(), &patch).await.expect("patched");
    }
    for expected in ["410 Expired", "Init", "InitApply(seen)", "InitDone"] {
        assert_eq!(next(&mut watching).await, expected);
    }
    let patch = Patch::Merge(json!({"spec": {"size": 2}}));
    boxes.patch("seen", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(next(&mut watching).await, "Apply(seen)");
    boxes.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
}
