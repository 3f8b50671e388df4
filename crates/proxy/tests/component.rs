//! The component: events become rules, tables of earlier runs are taken over, flows are forgotten.

mod support;

use std::sync::Arc;
use std::time::Duration;

use base::Env;
use client::Informer;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::nft;
use serde_json::json;
use skiff_proxy::{Config, Proxy};
use support::{Host, NODE, UdpClient, service, slice, try_ask};

/// The proxy on detached informers, until the work is done.
async fn with_proxy(host: &Host, work: impl AsyncFnOnce(&Informer<Service>, &Informer<EndpointSlice>)) {
    let (services, slices, nodes) = (Informer::detached(), Informer::detached(), Informer::<Node>::detached());
    let config = Config::new(host.instance(), NODE, vec!["10.42.0.0/16".parse().expect("a network")]);
    let proxy = Proxy::from_informers(config, Env::system(), services.clone(), slices.clone(), nodes).expect("build");
    let (trigger, drain) = base::drain();
    let mut tasks = base::Tasks::new();
    tasks.spawn_fallible("proxy", proxy.run(drain));
    work(&services, &slices).await;
    trigger.drain();
    assert!(tasks.shutdown(Duration::from_secs(5)).await.is_empty());
}

/// Waits until `condition`, which may block, gives a value.
#[track_caller]
fn eventually<T: Send + 'static>(condition: impl Fn() -> Option<T> + Send + Sync + 'static) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    let condition = Arc::new(condition);
    async move {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let condition = condition.clone();
            if let Some(value) = tokio::task::spawn_blocking(move || condition()).await.expect("no panic") {
                return value;
            }
            assert!(tokio::time::Instant::now() < deadline, "{place}: not within ten seconds");
        }
    }
}

#[test]
fn events_become_rules_and_a_restart_takes_over() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a", "b"]).await;
        let web = service("web", "10.43.0.7", json!({}));
        let pod = host.pod("b");
        let expect = async |text: &'static str| {
            let pod = pod.clone();
            eventually(move || try_ask(&pod, "10.43.0.7:80").ok().filter(|answer| answer == text)).await
        };
        let expect_new = async || {
            let pod = pod.clone();
            eventually(move || try_ask(&pod, "10.43.0.8:80").ok()).await
        };
        with_proxy(&host, async |services, slices| {
            slices.apply(slice("web", &[("10.42.0.2", NODE, "ready")]));
            services.apply(web.clone());
            expect("a 10.42.0.3").await;
            slices.apply(slice("web", &[("10.42.0.3", NODE, "ready")]));
            expect("b 10.42.0.1").await;
        })
        .await;
        // Services go on while no proxy runs, and a new one removes what is no longer wanted.
        expect("b 10.42.0.1").await;
        with_proxy(&host, async |services, slices| {
            slices.apply(slice("new", &[("10.42.0.2", NODE, "ready")]));
            services.apply(service("new", "10.43.0.8", json!({})));
            expect_new().await;
            assert!(try_ask(&host.pod("a"), "10.43.0.7:80").is_err());
            // Somebody flushes all rules: the next change brings everything back.
            nft::delete_table("inet", &network::table_name(&host.instance(), "proxy")).expect("delete");
            services.apply(web);
            slices.apply(slice("web", &[("10.42.0.2", NODE, "ready")]));
            expect("a 10.42.0.3").await;
            expect_new().await;
        })
        .await;
        skiff_proxy::cleanup(&host.instance()).expect("cleanup");
        let table = network::table_name(&host.instance(), "proxy");
        assert_eq!(nft::list_table("inet", &table).expect("list"), None);
    });
}

#[test]
fn udp_flows_follow_the_endpoints() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a", "b", "c"]).await;
        with_proxy(&host, async |services, slices| {
            services.apply(service("web", "10.43.0.7", json!({})));
            slices.apply(slice("web", &[("10.42.0.2", NODE, "ready")]));
            let udp = Arc::new(UdpClient::new(&host.pod("c")));
            let answer = |text: &'static str| {
                let udp = udp.clone();
                eventually(move || udp.ask("10.43.0.7:80").ok().filter(|answer| answer == text))
            };
            answer("a 10.42.0.4").await;
            slices.apply(slice("web", &[("10.42.0.3", NODE, "ready")]));
            answer("b 10.42.0.4").await;
        })
        .await;
    });
}

#[test]
fn load_balancers_hear_how_many_endpoints_the_node_has() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&[]).await;
        with_proxy(&host, async |services, slices| {
            let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30999});
            services.apply(service("web", "10.43.0.7", spec));
            slices.apply(slice("web", &[("10.42.0.2", NODE, "ready"), ("10.42.0.9", "there", "ready")]));
            let get = || async {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut stream = tokio::net::TcpStream::connect("127.0.0.1:30999").await.ok()?;
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
                let mut text = String::new();
                stream.read_to_string(&mut text).await.ok()?;
                Some(text)
            };
            let wait = async |start: &str, end: &str| loop {
                if get().await.is_some_and(|text| text.starts_with(start) && text.contains(end)) {
                    return;
                }
                tokio::task::yield_now().await;
            };
            let within = Duration::from_secs(10);
            tokio::time::timeout(within, wait("HTTP/1.1 200 ", "\"localEndpoints\":1")).await.expect("one endpoint");
            slices.apply(slice("web", &[("10.42.0.9", "there", "ready")]));
            tokio::time::timeout(within, wait("HTTP/1.1 503 ", "\"localEndpoints\":0")).await.expect("no endpoint");
        })
        .await;
    });
}
