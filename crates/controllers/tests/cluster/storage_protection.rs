//! Claims and volumes that are in use outlive their deletion.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::TestCluster;

fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("valid")
}

fn claim(name: &str) -> PersistentVolumeClaim {
    typed(json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))
}

#[tokio::test(start_paused = true)]
async fn a_claim_stays_while_a_pod_uses_it() {
    let test = TestCluster::start(&["n1"]).await;
    let claims: &Api<PersistentVolumeClaim> = &test.api();
    let pods: Api<Pod> = test.api();
    for name in ["used", "unused"] {
        claims.create(&PostParams::default(), &claim(name)).await.expect("created");
    }
    let pod: Pod = typed(json!({
        "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": "c", "image": "image"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}],
        },
    }));
    test.until::<k8s_openapi::api::core::v1::ServiceAccount>("default", |_| true).await;
    pods.create(&PostParams::default(), &pod).await.expect("created");
    test.until::<Pod>("p", |pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())).await;

    for name in ["used", "unused"] {
        claims.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
    test.eventually("unused claim ends", || gone(claims, "unused")).await;
    let used = claims.get("used").await.expect("it stays");
    assert!(used.metadata.deletion_timestamp.is_some(), "it is being deleted");

    pods.delete("p", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    test.eventually("used claim ends", || gone(claims, "used")).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_stays_while_a_claim_is_bound_to_it() {
    let test = TestCluster::start(&[]).await;
    let volumes: &Api<PersistentVolume> = &test.api_all();
    let volume: PersistentVolume = typed(json!({
        "metadata": {"name": "v"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"}},
    }));
    volumes.create(&PostParams::default(), &volume).await.expect("created");
    let phase = async |phase: &str| {
        let patch = json!({"status": {"phase": phase}});
        volumes.patch_status("v", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched")
    };
    let bound = phase("Bound").await;
    assert_eq!(bound.metadata.finalizers.unwrap_or_default(), ["kubernetes.io/pv-protection"]);

    volumes.delete("v", &DeleteParams::default()).await.expect("deleted");
    // A minute of the paused clock lets the controllers look at it.
    test.cluster.env.sleep(std::time::Duration::from_secs(60)).await;
    assert!(volumes.get_opt("v").await.expect("readable").is_some(), "it is bound");

    phase("Released").await;
    test.eventually("volume ends", || gone(volumes, "v")).await;
}

async fn gone<K>(api: &Api<K>, name: &str) -> Option<()>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    api.get_opt(name).await.expect("readable").is_none().then_some(())
}
