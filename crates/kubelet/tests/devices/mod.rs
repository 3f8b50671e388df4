//! Devices of plugins: what the node shows, what containers are given, and what remains of it over a restart.

mod claims;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use plugin_api::device_plugin::{CdiDevice, ContainerAllocateResponse, Device, DeviceSpec, Mount};
use plugin_api::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
use plugin_api::pod_resources::{AllocatableResourcesRequest, GetPodResourcesRequest, ListPodResourcesRequest};
use serde_json::json;
use testkit::{DevicePlugin, Maker, connect, device, pod};

use super::Stage;

const RESOURCE: &str = "example.com/foo";

/// A little of everything that a plugin can give with devices.
fn answer(ids: &[String]) -> ContainerAllocateResponse {
    let spec = |id: &String| DeviceSpec {
        container_path: format!("/dev/{id}"),
        host_path: "/dev/null".to_owned(),
        permissions: "rw".to_owned(),
    };
    ContainerAllocateResponse {
        envs: [("DEVICES".to_owned(), ids.join(","))].into(),
        mounts: vec![Mount { container_path: "/driver".to_owned(), host_path: "/usr".to_owned(), read_only: true }],
        devices: ids.iter().map(spec).collect(),
        annotations: [("example.com/devices".to_owned(), ids.join(","))].into(),
        cdi_devices: ids.iter().map(|id| CdiDevice { name: format!("example.com/foo={id}") }).collect(),
    }
}

impl Stage {
    fn plugin(&self, devices: &[Device]) -> DevicePlugin {
        DevicePlugin::start(&self.kubelet_dir(), RESOURCE, devices, answer)
    }

    /// Waits until the node shows so many devices, and so many that can be used.
    async fn until_shown(&self, resource: &str, capacity: Option<&str>, allocatable: Option<&str>) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let shown = async || {
            let status = nodes.get_opt("n1").await.expect("answered")?.status?;
            let amount = |list: &Option<std::collections::BTreeMap<_, _>>| {
                let amount: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
                    list.as_ref().and_then(|list| list.get(resource));
                amount.map(|quantity| quantity.0.clone())
            };
            let found = (amount(&status.capacity), amount(&status.allocatable));
            (found == (capacity.map(str::to_owned), allocatable.map(str::to_owned))).then_some(())
        };
        self.until(&format!("{resource} {capacity:?} {allocatable:?}"), shown).await;
    }

    /// Who has which devices, as the kubelet has written it down.
    fn checkpoint(&self) -> String {
        let file = self.kubelet_dir().join("device-plugins/kubelet_internal_checkpoint");
        std::fs::read_to_string(file).expect("a checkpoint")
    }

    /// Kills the kubelet as it is.
    fn kill(&mut self) {
        self.kubelet = None;
    }

    async fn until_runs_again(&self, name: &str, restarts: i32) {
        let again = async || {
            let status = self.status(name).await.container_statuses?.pop()?;
            (status.ready && status.restart_count == restarts).then_some(())
        };
        self.until("a restart", again).await;
    }
}

/// A pod with one container that asks for devices.
fn asking(name: &str, count: u32) -> Maker<Pod> {
    pod(name).container("a", "image:1").with(move |pod| limit(pod, count))
}

fn limit(pod: &mut Pod, count: u32) {
    let limits = json!({"limits": {RESOURCE: count.to_string()}, "requests": {RESOURCE: count.to_string()}});
    let container = &mut pod.spec.as_mut().expect("a specification").containers[0];
    container.resources = serde_json::from_value(limits).expect("resources");
}

#[tokio::test]
async fn a_container_is_given_devices_and_keeps_them_while_kubelet_and_plugin_are_away() {
    let mut stage = Stage::new(&["image:1"]).await;
    let mut plugin = stage.plugin(&[device("d1", "Healthy"), device("d2", "Healthy"), device("d3", "Unhealthy")]);
    plugin.register().await;
    stage.until_shown(RESOURCE, Some("3"), Some("2")).await;
    stage.create(asking("web", 1)).await;
    stage.until_phase("web", "Running").await;
    stage.until_metric("kubelet_device_plugin_registration_total{resource_name=\"example.com/foo\"} 1").await;
    let allocated = "kubelet_device_plugin_alloc_duration_seconds_count{resource_name=\"example.com/foo\"} 1";
    stage.until_metric(allocated).await;
    // The plugin would rather give the last one.
    assert_eq!(plugin.calls(), ["Allocate d2", "PreStartContainer d2"]);
    let check = |config: cri::ContainerConfig| {
        assert_eq!(
            (config.devices[0].container_path.as_str(), config.devices[0].permissions.as_str()),
            ("/dev/d2", "rw")
        );
        assert!(config.envs.iter().any(|env| env.key == "DEVICES" && env.value == "d2"), "{:?}", config.envs);
        assert!(config.mounts.iter().any(|mount| mount.container_path == "/driver" && mount.readonly));
        assert_eq!(config.annotations["example.com/devices"], "d2");
        assert_eq!(config.cdi_devices[0].name, "example.com/foo=d2");
    };
    check(stage.runtime.config("a").expect("a container"));

    // Who watches over devices is told by the pod resources API.
    let socket = stage.kubelet_dir().join("pod-resources/kubelet.sock");
    let channel = stage.until("pod resources", async || connect(socket.clone()).await.ok()).await;
    let mut lister = PodResourcesListerClient::new(channel);
    let listed = lister.list(ListPodResourcesRequest {}).await.expect("a list").into_inner().pod_resources;
    let found = &listed[0].containers[0].devices[0];
    assert_eq!((listed[0].name.as_str(), listed[0].containers[0].name.as_str()), ("web", "a"));
    assert_eq!((found.resource_name.as_str(), found.device_ids.as_slice()), (RESOURCE, &["d2".to_owned()][..]));
    assert_eq!(found.topology.as_ref().expect("a place").nodes[0].id, 0);
    let request =
        |name: &str| GetPodResourcesRequest { pod_name: name.to_owned(), pod_namespace: "default".to_owned() };
    assert_eq!(lister.get(request("web")).await.expect("there").into_inner().pod_resources, Some(listed[0].clone()));
    let missing = lister.get(request("other")).await.expect_err("missing");
    assert_eq!(missing.message(), "pod other in namespace default not found");
    let all = lister.get_allocatable_resources(AllocatableResourcesRequest {}).await.expect("a list").into_inner();
    let ids: Vec<&str> = all.devices.iter().map(|device| device.device_ids[0].as_str()).collect();
    assert_eq!(ids, ["d1", "d2"], "what is ill cannot be given");
    for (calls, count) in [("requests_total", 4), ("requests_list", 1), ("requests_get", 2), ("errors_get", 1)] {
        let line = format!("kubelet_pod_resources_endpoint_{calls}{{server_api_version=\"v1\"}} {count}");
        stage.until_metric(&line).await;
    }

    stage.kill();
    drop(plugin);
    stage.start();
    stage.until_shown(RESOURCE, Some("0"), Some("0")).await;
    stage.runtime.exit("a", 1);
    stage.until_runs_again("web", 1).await;
    check(stage.runtime.config("a").expect("a container"));
    // The other container of that device still has it when the plugin is back.
    let mut plugin = stage.plugin(&[device("d1", "Unhealthy"), device("d2", "Healthy")]);
    plugin.register().await;
    stage.until_shown(RESOURCE, Some("2"), Some("1")).await;
    stage.create(asking("late", 1)).await;
    let status = stage.until_phase("late", "Failed").await;
    let too_few = "Pod was rejected: Allocate failed due to requested number of devices unavailable for \
                   example.com/foo. Requested: 1, Available: 0, which is unexpected";
    assert_eq!(
        (status.reason.as_deref(), status.message.as_deref()),
        (Some("UnexpectedAdmissionError"), Some(too_few))
    );

    // What a pod had is free when it is gone.
    stage.delete("web").await;
    stage.until("its end", async || (stage.runtime.running().is_empty()).then_some(())).await;
    stage.until("its devices", async || (!stage.checkpoint().contains("uid-web")).then_some(())).await;
    stage.create(asking("next", 1)).await;
    stage.until_phase("next", "Running").await;
    check(stage.runtime.config("a").expect("a container"));
}

#[tokio::test]
async fn a_plugin_that_refuses_or_is_gone_lets_no_pod_in() {
    let stage = Stage::new(&["image:1"]).await;
    let mut plugin = stage.plugin(&[device("d1", "Healthy")]);
    plugin.register().await;
    stage.until_shown(RESOURCE, Some("1"), Some("1")).await;
    plugin.fail(true);
    stage.create(asking("refused", 1)).await;
    let message = stage.until_phase("refused", "Failed").await.message.expect("a message");
    assert!(message.contains("desc = as the test wants it, which is unexpected"), "{message}");
    plugin.list(&[device("d1", "Unhealthy")]);
    stage.until_shown(RESOURCE, Some("1"), Some("0")).await;
    stage.create(asking("ill", 1)).await;
    let message = stage.until_phase("ill", "Failed").await.message.expect("a message");
    assert!(message.contains("no healthy devices present; cannot allocate unhealthy devices"), "{message}");
    plugin.list(&[device("d1", "Healthy")]);
    stage.until_shown(RESOURCE, Some("1"), Some("1")).await;
    drop(plugin);
    stage.until_shown(RESOURCE, Some("1"), Some("0")).await;
}

#[tokio::test]
async fn containers_share_the_devices_of_init_containers_before_them() {
    let stage = Stage::new(&["image:1"]).await;
    let mut plugin = stage.plugin(&[device("d1", "Healthy"), device("d2", "Healthy")]);
    plugin.register().await;
    stage.until_shown(RESOURCE, Some("2"), Some("2")).await;
    let maker = asking("web", 2).with(|pod| {
        let spec = pod.spec.as_mut().expect("a specification");
        let mut init = spec.containers[0].clone();
        init.name = "init".to_owned();
        spec.init_containers = Some(vec![init]);
    });
    stage.create(maker).await;
    let begun = async || (stage.runtime.running() == ["init"]).then_some(());
    stage.until("the init container", begun).await;
    stage.runtime.exit("init", 0);
    stage.until_phase("web", "Running").await;
    let allocations = plugin.calls().into_iter().filter(|call| call.starts_with("Allocate")).collect::<Vec<_>>();
    assert_eq!(allocations, ["Allocate d1 d2", "Allocate d1 d2"]);
}

#[tokio::test]
async fn a_plugin_of_another_version_or_with_a_name_of_kubernetes_is_refused() {
    let stage = Stage::new(&[]).await;
    let socket = stage.kubelet_dir().join("device-plugins/kubelet.sock");
    let channel = stage.until("the socket", async || connect(socket.clone()).await.ok()).await;
    let check = async |version: &str, resource: &str, expected: &str| {
        let request = plugin_api::device_plugin::RegisterRequest {
            version: version.to_owned(),
            resource_name: resource.to_owned(),
            ..Default::default()
        };
        let mut client = plugin_api::device_plugin::registration_client::RegistrationClient::new(channel.clone());
        assert_eq!(client.register(request).await.expect_err("refused").message(), expected);
    };
    let old = "requested API version \"v1alpha\" is not supported by kubelet. Supported version is \"v1beta1\"";
    check("v1alpha", RESOURCE, old).await;
    check("v1beta1", "cpu", "the ResourceName \"cpu\" is invalid").await;
    check("v1beta1", "kubernetes.io/x", "the ResourceName \"kubernetes.io/x\" is invalid").await;
}
