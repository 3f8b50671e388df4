//! The certificates of the authority as a ClusterTrustBundle.

use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use kube::api::{Api, ListParams};
use skiff_controllers::Config;
use testkit::Cluster;
use tokio::sync::watch;

use crate::support::TestCluster;

/// The certificate of a new authority.
fn authority(env: &base::Env) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    pki::Authority::load_or_create(dir.path(), "ca", env).expect("an authority").certificate_pem()
}

/// Waits until there is one bundle, with these certificates; its name.
async fn until_published(test: &TestCluster, pem: &str) -> String {
    let api: &Api<ClusterTrustBundle> = &test.api_all();
    test.eventually("the bundle", || async move {
        let bundles = api.list(&ListParams::default()).await.ok()?.items;
        let [bundle] = bundles.as_slice() else { return None };
        assert_eq!(bundle.spec.signer_name.as_deref(), Some("kubernetes.io/kube-apiserver-serving"));
        (bundle.spec.trust_bundle == pem).then(|| bundle.metadata.name.clone().expect("a name"))
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn the_bundle_of_the_authority_is_there_and_is_replaced_when_that_is_another() {
    let env = base::Env::simulated(testkit::epoch(), 1);
    let (first, second) = (authority(&env), authority(&env));
    let (changed, root_ca) = watch::channel(first.clone());
    let cluster = Cluster::start_with(env, |config| {
        config.runtime_config = "certificates.k8s.io/v1beta1=true".parse().expect("settings");
    })
    .await;
    let config = Config { root_ca: Some(root_ca), ..Config::default() };
    let test = TestCluster::start_on(cluster, &["n1"], config).await;
    let name = until_published(&test, &first).await;
    let hash = name.strip_prefix("kubernetes.io:kube-apiserver-serving:").expect("the signer's name comes first");
    assert!(hash.len() == 24 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");

    let api: Api<ClusterTrustBundle> = test.api_all();
    api.delete(&name, &kube::api::DeleteParams::default()).await.expect("deleted");
    assert_eq!(until_published(&test, &first).await, name);
    changed.send_replace(second.clone());
    assert_ne!(until_published(&test, &second).await, name);
}
