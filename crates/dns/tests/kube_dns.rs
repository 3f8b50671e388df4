//! The Service that people look for: made where it is missing, and made again.

use std::time::Duration;

use base::{Env, Tasks};
use client::Informers;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::DeleteParams;
use skiff_dns::{Config, Dns, Upstream};
use testkit::MemoryApi;

/// The first answer of `ask` that is one.
async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    });
    asked.await.expect("within ten seconds")
}

#[test]
fn the_kube_dns_service_is_made_and_made_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = directory.path().join("host");
    network::netns::create(&host).expect("a namespace (run as root)");
    let on_host = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let api = MemoryApi::new();
            let services = Api::<Service>::namespaced(api.client(), "kube-system");
            let informers = Informers::new(api.client(), Env::system());
            let config = Config {
                cluster_domain: "cluster.local".to_owned(),
                cluster_dns: vec!["10.43.0.10".parse().expect("an address")],
                listen: Vec::new(),
                upstream: Upstream::Servers(Vec::new()),
                keep_service: true,
            };
            let dns = Dns::build(config, &informers).expect("build");
            let (trigger, drain) = base::drain();
            let mut tasks = Tasks::new();
            let informers_drain = drain.clone();
            tasks.spawn_fallible("informers", async move { informers.run(informers_drain).await });
            tasks.spawn_fallible("dns", dns.run(drain));
            let made = eventually(async || services.get_opt("kube-dns").await.expect("get")).await;
            let spec = made.spec.expect("a spec");
            assert_eq!(spec.cluster_ip.as_deref(), Some("10.43.0.10"));
            let ports: Vec<_> = spec.ports.iter().flatten().map(|port| (port.port, port.protocol.as_deref())).collect();
            assert_eq!(ports, [(53, Some("UDP")), (53, Some("TCP"))]);
            let uid = made.metadata.uid;
            // The informer has to see it before it can see it go.
            eventually(async || {
                services.delete("kube-dns", &DeleteParams::default()).await.ok()?;
                Some(())
            })
            .await;
            eventually(async || {
                let again = services.get_opt("kube-dns").await.expect("get")?;
                (again.metadata.uid != uid).then_some(())
            })
            .await;
            trigger.drain();
            let failures = tasks.shutdown(Duration::from_secs(5)).await;
            assert!(failures.is_empty(), "{failures:?}");
        });
    };
    network::netns::run_in(&host, on_host).expect("the host");
    network::netns::remove(&host).expect("remove");
}
