//! Keeps the Service `kube-system/kube-dns`, which people, charts and tools look for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base::Drain;
use client::{Backoff, Controller, ControllerError, Informer, ObjectKey, objects};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::PostParams;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";

/// Creates the Service whenever it is missing, until the drain signal. Every node's component does so; the first wins.
pub(crate) async fn keep(
    client: kube::Client,
    services: Informer<Service>,
    env: base::Env,
    addresses: Vec<IpAddr>,
    drain: Drain,
) -> Result<(), ControllerError> {
    let key = ObjectKey::namespaced(NAMESPACE, NAME);
    // The namespace may take a moment to appear in a new cluster; it is not worth more than a try every half minute.
    let controller = Controller::with_backoff(
        "kube-dns",
        env,
        Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(30) },
    );
    controller.queue().add(key.clone());
    let lister = services.lister();
    controller
        .watch(&services, move |event, queue| {
            if event.is_deleted() && ObjectKey::of(&**event.object()) == key {
                queue.add(key.clone());
            }
        })
        .run(drain, move |key| {
            let (client, addresses) = (client.clone(), addresses.clone());
            let exists = lister.get_key(&key).is_some();
            async move {
                if exists {
                    return Ok(None);
                }
                let api = Api::<Service>::namespaced(client, NAMESPACE);
                match api.create(&PostParams::default(), &service(&addresses)).await {
                    Err(err) if !objects::is_already_exists(&err) => Err(err),
                    _ => Ok(None),
                }
            }
        })
        .await
}

fn service(addresses: &[IpAddr]) -> Service {
    let text = |text: &str| text.to_owned();
    let labels = [
        ("k8s-app", "kube-dns"),
        ("kubernetes.io/cluster-service", "true"),
        ("kubernetes.io/name", "CoreDNS"),
        // Service proxies leave it to us: the address is on every node's loopback interface.
        ("service.kubernetes.io/service-proxy-name", "skiff-dns"),
    ];
    let port = |name: &str, protocol: &str| ServicePort {
        name: Some(text(name)),
        port: 53,
        protocol: Some(text(protocol)),
        target_port: Some(IntOrString::Int(53)),
        ..ServicePort::default()
    };
    let ips: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Service {
        metadata: ObjectMeta {
            name: Some(text(NAME)),
            namespace: Some(text(NAMESPACE)),
            labels: Some(labels.iter().map(|(key, value)| (text(key), text(value))).collect::<BTreeMap<_, _>>()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: ips.first().cloned(),
            cluster_ips: Some(ips),
            ports: Some(vec![port("dns", "UDP"), port("dns-tcp", "TCP")]),
            type_: Some(text("ClusterIP")),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
