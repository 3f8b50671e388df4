//! The same API through a function call and by HTTPS.

use std::path::PathBuf;
use std::time::Duration;

use base::Env;
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use skiff_client::{ConnectError, Informers, Source, connect, connect_as};
use testkit::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_leads_to_the_same_api_as_the_function_call() {
    let cluster = Cluster::start_in(Env::system()).await;
    let here: Api<Namespace> = Api::all(cluster.client.clone());
    let client = connect(Source::Kubeconfig(cluster.kubeconfig()), "test", &Env::system()).await.expect("a client");
    let informers = Informers::new(client.clone(), cluster.env.clone());
    let namespaces = informers.of::<Namespace>();
    let (_trigger, drain) = base::drain();
    let running = tokio::spawn({
        let informers = informers.clone();
        async move { informers.run(drain).await }
    });
    let mut events = namespaces.subscribe();
    let first = tokio::time::timeout(std::time::Duration::from_secs(30), events.next()).await.expect("an event");
    assert!(!first.is_deleted() && !running.is_finished());
    namespaces.synced().await;
    let there = Api::<Namespace>::all(client).list(&ListParams::default()).await.expect("listed");
    assert_eq!(there.items, here.list(&ListParams::default()).await.expect("listed").items);
}

#[tokio::test]
async fn an_unreadable_kubeconfig_is_named() {
    let err = connect(Source::Kubeconfig(PathBuf::from("/nowhere/kubeconfig")), "test", &Env::system())
        .await
        .err()
        .expect("an error");
    assert!(matches!(&err, ConnectError::Read { .. }));
    assert_eq!(err.to_string(), "cannot read kubeconfig /nowhere/kubeconfig");
}

async fn user(client: &Client) -> String {
    let asked = Api::all(client.clone()).create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let info = asked.expect("answered").status.and_then(|status| status.user_info);
    info.and_then(|info| info.username).expect("a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_act_as_another_user() {
    let cluster = Cluster::start_in(Env::system()).await;
    let client = connect_as(cluster.kubeconfig(), "test", "system:kube-proxy", &Env::system()).await.expect("a client");
    assert_eq!(user(&client).await, "system:kube-proxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_their_authority_change_and_no_request_or_watch_fails() {
    const DEADLINE: Duration = Duration::from_secs(30);
    let cluster = Cluster::start_in(Env::system()).await;
    let path = cluster.kubeconfig();
    let client = connect(Source::Kubeconfig(path.clone()), "test", &Env::system()).await.expect("a client");
    let before = std::fs::read(&path).expect("readable");
    assert_eq!(user(&client).await, "admin");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let watched =
        maps.watch(&WatchParams::default().disable_bookmarks().fields("metadata.name=a"), "0").await.expect("a watch");
    let mut watched = std::pin::pin!(watched);

    for authority in cluster.authorities().all() {
        authority.rotate().expect("a successor");
    }
    let authorities = async || {
        let request = http::Request::get("/cacerts").body(Vec::new()).expect("a request");
        client.request_text(request).await.expect("answered").matches("BEGIN").count()
    };
    let taken = async {
        while authorities().await < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, taken).await.expect("the server takes the successor");

    // The next request goes with the kubeconfig, whose certificate the successor has issued.
    cluster.kubeconfig_of("jane", &[]);
    assert_eq!(user(&client).await, "jane");
    // Who has not heard of the successor believes it all the same.
    let kept = path.with_file_name("kept.kubeconfig");
    std::fs::write(&kept, before).expect("writable");
    let kept = connect(Source::Kubeconfig(kept), "test", &Env::system()).await.expect("a client");
    assert_eq!(user(&kept).await, "admin");

    let made = testkit::object::<ConfigMap>("default/a").with(|map| map.metadata.uid = None).build();
    let here: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    here.create(&PostParams::default(), &made).await.expect("created");
    let event = tokio::time::timeout(DEADLINE, watched.next()).await.expect("in time").expect("the watch goes on");
    let event = event.expect("an event");
    assert!(matches!(&event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("a")), "{event:?}");
}
