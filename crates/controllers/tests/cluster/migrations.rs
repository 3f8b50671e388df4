//! Storage version migrations: what lies in the datastore before and after.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};
use skiff_controllers::Config;
use store::RangeRequest;
use testkit::Cluster;

use crate::support::TestCluster;

const SERVED: &str = "storagemigration.k8s.io/v1beta1=true";

/// A cluster that serves migrations.
async fn cluster() -> Cluster {
    let env = base::Env::simulated(testkit::epoch(), 1);
    Cluster::start_with(env, |config| config.runtime_config = SERVED.parse().expect("a setting")).await
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

fn migration(name: &str, group: &str, resource: &str) -> StorageVersionMigration {
    object(json!({
        "metadata": {"name": name}, "spec": {"resource": {"group": group, "resource": resource}},
    }))
}

async fn create(cluster: &Cluster, migration: &StorageVersionMigration) -> StorageVersionMigration {
    let api: Api<StorageVersionMigration> = Api::all(cluster.client.clone());
    api.create(&PostParams::default(), migration).await.expect("created")
}

/// The conditions of a migration that is over: type, status, message.
async fn over(test: &TestCluster, name: &str) -> Vec<(String, String, String)> {
    let api: &Api<StorageVersionMigration> = &test.api_all();
    test.eventually(name, || async move {
        let status = api.get(name).await.expect("readable").status?;
        let conditions = status.conditions.unwrap_or_default();
        let is_over = conditions.iter().any(|c| ["Succeeded", "Failed"].contains(&&*c.type_) && c.status == "True");
        assert!(!is_over || status.resource_version.is_some_and(|version| version.parse::<u64>().is_ok()));
        is_over.then(|| conditions.into_iter().map(|c| (c.type_, c.status, c.message)).collect())
    })
    .await
}

#[track_caller]
fn check_over(conditions: &[(String, String, String)], expected: &[(&str, &str)], message: &str) {
    let told: Vec<(&str, &str)> = conditions.iter().map(|(kind, status, _)| (&**kind, &**status)).collect();
    assert_eq!(told, expected, "{conditions:?}");
    assert!(conditions.iter().any(|(_, _, told)| told.contains(message)), "{conditions:?}");
}

const SUCCEEDED: [(&str, &str); 2] = [("Running", "False"), ("Succeeded", "True")];

/// The stored forms of all objects of a resource.
async fn stored(cluster: &Cluster, prefix: &str) -> Vec<Vec<u8>> {
    let page = cluster.store().range(RangeRequest::prefix(prefix.to_owned())).await.expect("readable");
    page.kvs.into_iter().map(|kv| kv.value.to_vec()).collect()
}

/// Widgets with two versions, of which one is stored.
fn definition(storage: &str) -> CustomResourceDefinition {
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        }}})
    };
    object(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1"), version("v2")],
        },
    }))
}

async fn until_stored_versions(test: &TestCluster, expected: &[&str]) {
    let definitions: &Api<CustomResourceDefinition> = &test.api_all();
    test.eventually("stored versions", || async move {
        let status = definitions.get("widgets.example.com").await.expect("readable").status?;
        (status.stored_versions.unwrap_or_default() == expected).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_stored_in_the_version_that_is_stored_now() {
    let test = TestCluster::start_on(cluster().await, &[], Config::default()).await;
    let definitions: Api<CustomResourceDefinition> = test.api_all();
    definitions.create(&PostParams::default(), &definition("v1")).await.expect("created");
    let resource = ApiResource {
        group: "example.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "example.com/v1".to_owned(),
        kind: "Widget".to_owned(),
        plural: "widgets".to_owned(),
    };
    let widgets: &Api<DynamicObject> = &Api::namespaced_with(test.cluster.client.clone(), "default", &resource);
    test.eventually("widgets are served", || async move { widgets.list(&Default::default()).await.ok() }).await;
    let mut before = Vec::new();
    for name in ["a", "b", "c"] {
        let widget =
            object(json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "x": 1}));
        before.push(widgets.create(&PostParams::default(), &widget).await.expect("created"));
    }
    let versions = async || {
        let of = |value: &Vec<u8>| serde_json::from_slice::<Value>(value).expect("JSON")["apiVersion"].clone();
        stored(&test.cluster, "/registry/example.com/widgets/").await.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(versions().await, ["example.com/v1"; 3]);

    let patch = json!({"spec": {"versions": definition("v2").spec.versions}});
    definitions.patch("widgets.example.com", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    until_stored_versions(&test, &["v1", "v2"]).await;
    assert_eq!(versions().await, ["example.com/v1"; 3]);
    create(&test.cluster, &migration("m", "example.com", "widgets")).await;
    check_over(&over(&test, "m").await, &SUCCEEDED, "");
    assert_eq!(versions().await, ["example.com/v2"; 3]);
    until_stored_versions(&test, &["v2"]).await;
    for old in before {
        let now = widgets.get(old.metadata.name.as_deref().expect("a name")).await.expect("readable");
        assert_ne!(now.metadata.resource_version, old.metadata.resource_version);
        assert_eq!((now.metadata.generation, &now.data), (old.metadata.generation, &old.data));
    }
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_restart_is_ended_after_it() {
    let cluster = cluster().await;
    let mut begun = create(&cluster, &migration("m", "", "secrets")).await;
    let condition = json!({
        "type": "Running", "status": "True", "reason": "StorageVersionMigrationInProgress", "message": "",
        "lastTransitionTime": "2023-11-14T22:13:20Z",
    });
    begun.status = Some(object(json!({"resourceVersion": "1", "conditions": [condition]})));
    let api: Api<StorageVersionMigration> = Api::all(cluster.client.clone());
    api.replace_status("m", &PostParams::default(), &begun).await.expect("written");
    let test = TestCluster::start_on(cluster, &[], Config::default()).await;
    check_over(&over(&test, "m").await, &SUCCEEDED, "");
    let status = api.get("m").await.expect("readable").status.expect("a status");
    assert_eq!(status.resource_version.as_deref(), Some("1"), "it says where it began");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_migrated_says_why() {
    let test = TestCluster::start_on(cluster().await, &[], Config::default()).await;
    create(&test.cluster, &migration("absent", "example.com", "gadgets")).await;
    check_over(&over(&test, "absent").await, &[("Failed", "True")], "resource does not exist in discovery");
    // A resource that cannot be patched.
    create(&test.cluster, &migration("reviews", "authorization.k8s.io", "subjectaccessreviews")).await;
    check_over(&over(&test, "reviews").await, &[("Failed", "True")], "resource does not exist in discovery");

    let group = "admissionregistration.k8s.io/v1";
    let rules =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["UPDATE"]}]);
    let of = |kind: &str, plural: &str| ApiResource {
        group: "admissionregistration.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: group.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    for (kind, plural, spec) in [
        (
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            json!({
                "matchConstraints": {"resourceRules": rules},
                "validations": [{"expression": "object.metadata.name != 'kept'"}],
            }),
        ),
        (
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            json!({"policyName": "p", "validationActions": ["Deny"]}),
        ),
    ] {
        let api: Api<DynamicObject> = Api::all_with(test.cluster.client.clone(), &of(kind, plural));
        let value = json!({"apiVersion": group, "kind": kind, "metadata": {"name": "p"}, "spec": spec});
        api.create(&PostParams::default(), &object(value)).await.expect("created");
    }
    let maps: &Api<ConfigMap> = &test.api();
    let map = object(json!({"metadata": {"name": "kept"}, "data": {"a": "b"}}));
    maps.create(&PostParams::default(), &map).await.expect("created");
    let patch = &Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    test.eventually("the policy is followed", || async move {
        maps.patch("kept", &PatchParams::default(), patch).await.is_err().then_some(())
    })
    .await;
    create(&test.cluster, &migration("refused", "", "configmaps")).await;
    let expected = [("Running", "False"), ("Failed", "True")];
    check_over(&over(&test, "refused").await, &expected, "cannot write configmaps default/kept: ");
    // The others go on.
    create(&test.cluster, &migration("m", "", "secrets")).await;
    check_over(&over(&test, "m").await, &SUCCEEDED, "");
}

#[tokio::test(start_paused = true)]
async fn secrets_are_stored_under_the_key_that_writes_now() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("encryption.json");
    let mut configuration = encryption::EncryptionConfiguration::secrets(&base::Env::system());
    let provider = configuration.resources[0].providers.remove(0);
    std::fs::write(&path, configuration.to_json()).expect("written");
    let source = encryption::Source { path: path.clone(), automatic_reload: true };
    let env = base::Env::simulated(testkit::epoch(), 1);
    let cluster = Cluster::start_with(env, |config| {
        config.runtime_config = SERVED.parse().expect("a setting");
        config.encryption = Some(source);
    });
    let test = TestCluster::start_on(cluster.await, &[], Config::default()).await;
    let secrets: Api<Secret> = test.api();
    // More than one page of them.
    for number in 0..520 {
        let secret = object(json!({"metadata": {"name": format!("s{number}")}}));
        secrets.create(&PostParams::default(), &secret).await.expect("created");
    }
    let encrypted = async || {
        let stored = stored(&test.cluster, "/registry/core/secrets/default/").await;
        (stored.iter().filter(|value| value.starts_with(b"k8s:enc:secretbox:v1:key-")).count(), stored.len())
    };
    assert_eq!(encrypted().await, (0, 520));
    configuration.resources[0].providers.insert(0, provider);
    std::fs::write(&path, configuration.to_json()).expect("written");
    let hash = &encryption::EncryptionConfiguration::hash(&configuration.to_json());
    let client = &test.cluster.client;
    test.eventually("the configuration is in use", || async move {
        let request = http::Request::get("/debug/encryption").body(Vec::new()).expect("a request");
        let report: encryption::Report = client.request(request).await.expect("a report");
        (report.config_hash == *hash).then_some(())
    })
    .await;
    assert_eq!(encrypted().await, (0, 520));
    create(&test.cluster, &migration("m", "", "secrets")).await;
    check_over(&over(&test, "m").await, &SUCCEEDED, "");
    assert_eq!(encrypted().await, (520, 520));
}

#[tokio::test(start_paused = true)]
async fn where_migrations_are_not_served_nothing_is_missed() {
    let test = TestCluster::start(&[]).await;
    let api: Api<StorageVersionMigration> = test.api_all();
    let err = api.list(&Default::default()).await.expect_err("it is not served");
    assert!(matches!(&err, kube::Error::Api(status) if status.code == 404), "{err}");
    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRole> = test.api_all();
    let role = "system:controller:storage-version-migrator-controller";
    assert!(roles.get_opt(role).await.expect("readable").is_none());
    let test = TestCluster::start_on(cluster().await, &[], Config::default()).await;
    let roles: &Api<k8s_openapi::api::rbac::v1::ClusterRole> = &test.api_all();
    test.eventually("the role", || async move { roles.get_opt(role).await.expect("readable") }).await;
}
