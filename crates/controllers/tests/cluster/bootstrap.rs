//! Bootstrap tokens sign the cluster's public information until they end.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use pki::BootstrapToken;
use serde_json::json;

use crate::support::TestCluster;

const TOKEN: &str = "abcdef.0123456789abcdef";

fn secret(token: &str, expiration: Option<jiff::Timestamp>) -> Secret {
    let (id, key) = token.split_once('.').expect("a token");
    serde_json::from_value::<Secret>(json!({
        "metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token",
    }))
    .map(|secret| Secret {
        string_data: Some(
            [
                ("token-id", id.to_owned()),
                ("token-secret", key.to_owned()),
                ("usage-bootstrap-signing", "true".to_owned()),
                ("expiration", expiration.map(|time| time.to_string()).unwrap_or_default()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        ),
        ..secret
    })
    .expect("a secret")
}

#[tokio::test(start_paused = true)]
async fn the_cluster_information_is_signed_by_every_token_while_it_is_good() {
    let test = TestCluster::start(&[]).await;
    let secrets: Api<Secret> = Api::namespaced(test.cluster.client.clone(), "kube-system");
    let maps: &Api<ConfigMap> = &Api::namespaced(test.cluster.client.clone(), "kube-public");
    let token = &BootstrapToken::parse(TOKEN).expect("a token");
    let expires = test.cluster.env.now() + jiff::SignedDuration::from_hours(1);
    secrets.create(&PostParams::default(), &secret(TOKEN, Some(expires))).await.expect("created");
    secrets.create(&PostParams::default(), &secret("lasts0.0123456789abcdef", None)).await.expect("created");
    let signed = |server: &'static str| async move {
        let data = maps.get("cluster-info").await.ok()?.data?;
        let (content, signature) = (data.get("kubeconfig")?, data.get("jws-kubeconfig-abcdef")?);
        let lasts = data.contains_key("jws-kubeconfig-lasts0");
        (content.contains(server) && token.has_signed(content, signature) && lasts).then_some(())
    };
    test.eventually("signatures", || signed("https://")).await;
    // Who moves the cluster behind another address gets new signatures.
    let content = pki::kubeconfig::cluster_info("https://example.com", "ca");
    let patch = Patch::Merge(json!({"data": {"kubeconfig": content}}));
    maps.patch("cluster-info", &PatchParams::default(), &patch).await.expect("patched");
    test.eventually("new signatures", || signed("https://example.com")).await;

    test.cluster.env.sleep(Duration::from_secs(3600)).await;
    test.eventually("the token goes, and its signature with it", || async {
        let secret = secrets.get_opt("bootstrap-token-abcdef").await.expect("readable");
        let data = maps.get("cluster-info").await.ok()?.data?;
        let gone = secret.is_none() && !data.contains_key("jws-kubeconfig-abcdef");
        (gone && data.contains_key("jws-kubeconfig-lasts0")).then_some(())
    })
    .await;
    assert!(secrets.get_opt("bootstrap-token-lasts0").await.expect("readable").is_some(), "it has no end");
}
