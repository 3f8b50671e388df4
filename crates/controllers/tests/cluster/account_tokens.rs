//! Secrets that hold tokens of service accounts.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use skiff_controllers::{Config, ControllerManager};
use testkit::Cluster;

use crate::support::TestCluster;

const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

fn secret(name: &str, account: &str) -> Secret {
    let annotations = json!({"kubernetes.io/service-account.name": account});
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations}, "type": "kubernetes.io/service-account-token",
    }))
    .expect("a secret")
}

async fn account(test: &TestCluster, name: &str, secrets: &[&str]) {
    let reference = |name: &&str| ObjectReference { name: Some((*name).to_owned()), ..ObjectReference::default() };
    let account = testkit::object::<ServiceAccount>(&format!("default/{name}"))
        .with(|account| account.secrets = Some(secrets.iter().map(reference).collect()));
    test.api().create(&PostParams::default(), &crate::support::fresh(account)).await.expect("created");
}

/// The token of a secret, once it is filled in.
async fn token(test: &TestCluster, name: &str) -> (Secret, String) {
    let has = |secret: &Secret, key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
    let filled = test.until::<Secret>(name, |secret| has(secret, "token")).await;
    let text = |key: &str| String::from_utf8(filled.data.as_ref().expect("data")[key].0.clone()).expect("a text");
    assert_eq!((text("namespace"), text("ca.crt")), ("default".to_owned(), "certificate".to_owned()));
    let token = text("token");
    (filled, token)
}

/// As whom a token is believed.
async fn review(test: &TestCluster, token: &str) -> Option<String> {
    let review: TokenReview = serde_json::from_value(json!({"metadata": {}, "spec": {"token": token}})).expect("one");
    let reviews: Api<TokenReview> = test.api_all();
    let status = reviews.create(&PostParams::default(), &review).await.expect("answered").status.expect("a status");
    status.user.filter(|_| status.authenticated == Some(true)).and_then(|user| user.username)
}

#[tokio::test(start_paused = true)]
async fn a_secret_gets_a_token_that_ends_with_its_account() {
    let test = TestCluster::start(&[]).await;
    let secrets: &Api<Secret> = &test.api();
    account(&test, "robot", &["held"]).await;
    secrets.create(&PostParams::default(), &secret("held", "robot")).await.expect("created");
    let (_, held) = token(&test, "held").await;
    assert_eq!(review(&test, &held).await.as_deref(), Some("system:serviceaccount:default:robot"));
    let label = "kubernetes.io/legacy-token-last-used";
    test.until::<Secret>("held", |secret| secret.metadata.labels.as_ref().is_some_and(|all| all.contains_key(label)))
        .await;

    // A token that is taken out is made anew.
    let (mut filled, _) = token(&test, "held").await;
    filled.data = None;
    filled.metadata.resource_version = None;
    secrets.replace("held", &PostParams::default(), &filled).await.expect("replaced");
    token(&test, "held").await;

    // An account of the same name is another one, and has no part in the old one's tokens.
    let accounts: Api<ServiceAccount> = test.api();
    accounts.delete("robot", &DeleteParams::default()).await.expect("deleted");
    account(&test, "robot", &["held", "other"]).await;
    test.eventually("the secret goes", || async {
        secrets.get_opt("held").await.expect("readable").is_none().then_some(())
    })
    .await;
    assert_eq!(review(&test, &held).await, None);

    // Nobody names a secret that is gone.
    secrets.create(&PostParams::default(), &secret("other", "robot")).await.expect("created");
    token(&test, "other").await;
    secrets.delete("other", &DeleteParams::default()).await.expect("deleted");
    let names = |account: &ServiceAccount| {
        account.secrets.iter().flatten().filter_map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    test.until::<ServiceAccount>("robot", |account| names(account) == vec!["held".to_owned()]).await;
}

/// Lets the cleaner look at everything once.
async fn clean(cluster: &mut Cluster) {
    let config = Config {
        controllers: vec!["legacy-serviceaccount-token-cleaner-controller".to_owned()],
        legacy_token_clean_up_period: Duration::from_secs(3600),
        ..Config::default()
    };
    let client = cluster.client_of("system:kube-controller-manager", &[]);
    let manager = ControllerManager::build(config, client, cluster.accounts(), cluster.informers.clone());
    let (trigger, drain) = cluster.drain().child();
    cluster.tasks.spawn_fallible("cleaner", manager.expect("a valid configuration").run(drain));
    cluster.env.sleep(Duration::from_secs(60)).await;
    trigger.drain();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_uses_is_taken_away() {
    let mut cluster = Cluster::start().await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "default");
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "default");
    let reference = ObjectReference { name: Some("made".to_owned()), ..ObjectReference::default() };
    let robot = testkit::object::<ServiceAccount>("default/robot").with(|robot| robot.secrets = Some(vec![reference]));
    testkit::poll_async(Duration::from_secs(60), async || {
        accounts.create(&PostParams::default(), &crate::support::fresh(robot.clone())).await.ok()
    })
    .await
    .expect("created");
    for name in ["made", "own"] {
        secrets.create(&PostParams::default(), &secret(name, "robot")).await.expect("created");
    }
    let since = |secret: Option<Secret>| secret.and_then(|secret| secret.metadata.labels?.get(INVALID_SINCE).cloned());
    // Older than what must have been used.
    cluster.env.sleep(Duration::from_secs(2 * 3600)).await;
    clean(&mut cluster).await;
    assert_eq!(since(secrets.get_opt("made").await.expect("readable")), None, "uses are noted since today only");

    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
    let past = Patch::Merge(json!({"data": {"since": "2023-01-01"}}));
    let tracking = "kube-apiserver-legacy-service-account-token-tracking";
    maps.patch(tracking, &PatchParams::default(), &past).await.expect("it is there");
    clean(&mut cluster).await;
    assert_eq!(since(secrets.get_opt("made").await.expect("readable")).as_deref(), Some("2023-11-15"), "it is marked");
    clean(&mut cluster).await;
    let past = Patch::Merge(json!({"metadata": {"labels": {INVALID_SINCE: "2023-01-01"}}}));
    secrets.patch("made", &PatchParams::default(), &past).await.expect("it is still there");
    clean(&mut cluster).await;
    assert!(secrets.get_opt("made").await.expect("readable").is_none(), "it is deleted");
    let own = secrets.get_opt("own").await.expect("readable");
    assert!(own.is_some() && since(own).is_none(), "users' own are their users' business");
}
