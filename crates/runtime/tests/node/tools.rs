//! What `crictl` and scripts around it need: identifiers that were cut short, details as JSON objects, the right
//! refusals, and any name for the host.

use cri::{Code, ContainerState, ImageSpec, LinuxContainerResources};
use serde_json::Value;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::skip_without_privileges;
use crate::sparse::{container, pod, run};
use crate::support::{Host, IMAGE};

/// As many digits as `crictl` prints of an identifier.
fn cut(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(13).collect()
}

fn spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned(), ..Default::default() })
}

fn object(info: &std::collections::HashMap<String, String>, key: &str) -> Value {
    let value: Value = serde_json::from_str(&info[key]).expect("a document");
    assert!(value.is_object(), "{value}");
    value
}

#[tokio::test]
async fn identifiers_may_be_cut_short() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.27.0/24")).await;
    host.import_busybox().await;
    let status = cri::ImageStatusRequest { image: spec(IMAGE), verbose: false };
    let image = host.images.image_status(status).await.expect("answered").into_inner().image.expect("it is here");
    let mut found = Vec::new();
    for name in [cut(&image.id), format!("sha256:{}", cut(&image.id)), "f".repeat(13), "sha256:".to_owned()] {
        let request = cri::ImageStatusRequest { image: spec(&name), verbose: false };
        found.push(host.images.image_status(request).await.expect("answered").into_inner().image.is_some());
    }
    assert_eq!(found, [true, true, false, false]);
    let (sandbox, config) = run(&mut host, pod("short")).await;
    let mut of_image = container("c", &["busybox", "top"]);
    of_image.image = spec(&cut(&image.id));
    let id = host.run(&(cut(&sandbox), config), of_image).await;
    let short = cut(&id);
    assert_eq!(host.exec(&short, &["echo", "-n", "hello"]).await.0, "hello");
    assert_eq!(host.status(&short).await.id, id);
    let resources = LinuxContainerResources { cpu_shares: 512, ..Default::default() };
    let update = cri::UpdateContainerResourcesRequest {
        container_id: short.clone(),
        linux: Some(resources),
        ..Default::default()
    };
    host.runtime.update_container_resources(update).await.expect("updated");
    let shares = host.status(&id).await.resources.and_then(|resources| resources.linux).map(|linux| linux.cpu_shares);
    assert_eq!(shares, Some(512));
    host.stop(&short, 0).await;
    assert_eq!(host.status(&id).await.state(), ContainerState::ContainerExited);
    host.runtime.remove_container(cri::RemoveContainerRequest { container_id: short }).await.expect("removed");
    let request = cri::RemovePodSandboxRequest { pod_sandbox_id: cut(&sandbox) };
    host.runtime.remove_pod_sandbox(request).await.expect("removed");
    let sandboxes = host.runtime.list_pod_sandbox(cri::ListPodSandboxRequest { filter: None }).await.expect("listed");
    assert!(sandboxes.into_inner().items.is_empty());
    let request = cri::RemoveImageRequest { image: spec(&cut(&image.id)) };
    host.images.remove_image(request).await.expect("removed");
    let images = host.images.list_images(cri::ListImagesRequest { filter: None }).await.expect("listed").into_inner();
    assert!(images.images.is_empty());
}

#[tokio::test]
async fn details_lead_into_pods_and_containers() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.28.0/24")).await;
    host.import_busybox().await;
    let mut config = pod("details");
    config.hostname = "inside".to_owned();
    let sandbox = run(&mut host, config).await;
    let id = host.run(&sandbox, container("c", &["busybox", "top"])).await;
    let request = cri::ContainerStatusRequest { container_id: id.clone(), verbose: true };
    let of_container = object(&host.runtime.container_status(request).await.expect("known").into_inner().info, "info");
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.0.clone(), verbose: true };
    let of_pod = object(&host.runtime.pod_sandbox_status(request).await.expect("known").into_inner().info, "info");
    assert_eq!(of_container["sandboxID"], sandbox.0.as_str());
    assert_eq!(of_container["config"]["metadata"]["name"], "c");
    assert_eq!(of_container["runtimeSpec"]["process"]["args"][1], "top");
    assert_eq!(
        (&of_pod["config"]["metadata"]["name"], &of_pod["runtimeSpec"]["hostname"]),
        (&"details".into(), &"inside".into())
    );
    // Both processes, and the file, are of the same network.
    let link = |pid: &Value| std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("it runs");
    assert_eq!(link(&of_container["pid"]), link(&of_pod["pid"]));
    let namespaces = of_pod["runtimeSpec"]["linux"]["namespaces"].as_array().expect("a list");
    let mut kinds: Vec<&str> = namespaces.iter().filter_map(|namespace| namespace["type"].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ipc", "network", "pid", "uts"]);
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network").expect("it is there");
    let path = network["path"].as_str().expect("a path");
    use std::os::unix::fs::MetadataExt;
    let of_process = std::fs::metadata(format!("/proc/{}/ns/net", of_pod["pid"])).expect("it runs");
    assert_eq!(std::fs::metadata(path).expect("it is there").ino(), of_process.ino());
    let request = cri::ImageStatusRequest { image: spec(IMAGE), verbose: true };
    let of_image = object(&host.images.image_status(request).await.expect("answered").into_inner().info, "info");
    assert_eq!(of_image["imageSpec"]["config"]["Cmd"][0], "/bin/sh");
    let status = host.runtime.status(cri::StatusRequest { verbose: true }).await.expect("answered").into_inner();
    object(&status.info, "config");
}

#[tokio::test]
async fn the_runtime_says_what_it_is_and_what_it_has_not() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.29.0/24")).await;
    let version = host.runtime.version(cri::VersionRequest { version: "0.1.0".to_owned() }).await.expect("answered");
    let version = version.into_inner();
    assert!(
        [&version.version, &version.runtime_name, &version.runtime_version, &version.runtime_api_version]
            .iter()
            .all(|text| !text.is_empty())
    );
    let conditions = async |host: &mut Host| -> Vec<(String, bool)> {
        let status = host.runtime.status(cri::StatusRequest { verbose: false }).await.expect("answered").into_inner();
        let conditions = status.status.expect("a status").conditions;
        conditions.into_iter().map(|condition| (condition.r#type, condition.status)).collect()
    };
    let ready = [("RuntimeReady".to_owned(), true), ("NetworkReady".to_owned(), true)];
    assert_eq!(conditions(&mut host).await, ready);
    let config = host.runtime.runtime_config(cri::RuntimeConfigRequest {}).await.expect("answered").into_inner();
    assert!(config.linux.is_some());
    let network = |pod_cidr: &str| {
        let network_config = Some(cri::NetworkConfig { pod_cidr: pod_cidr.to_owned() });
        cri::UpdateRuntimeConfigRequest { runtime_config: Some(cri::RuntimeConfig { network_config }) }
    };
    host.runtime.update_runtime_config(network("10.207.29.0/25")).await.expect("updated");
    let err = host.runtime.update_runtime_config(network("nonsense")).await.expect_err("it is no network");
    assert_eq!(err.code(), Code::InvalidArgument);
    let request = cri::CheckpointContainerRequest { container_id: "none".to_owned(), ..Default::default() };
    let err = host.runtime.checkpoint_container(request).await.expect_err("it is not offered");
    assert_eq!(err.code(), Code::Unimplemented);
    let request = cri::RunPodSandboxRequest { config: Some(pod("c")), runtime_handler: "unknown".to_owned() };
    assert_eq!(host.runtime.run_pod_sandbox(request).await.expect_err("nobody knows it").code(), Code::InvalidArgument);
}

/// A frame of HTTP/2 on the first stream, or on none.
fn frame(kind: u8, flags: u8, stream: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], content].concat()
}

#[tokio::test]
async fn clients_may_call_the_host_by_the_sockets_path() {
    skip_without_privileges!();
    let host = Host::start().await;
    let path = b"/runtime.v1.RuntimeService/Version";
    for authority in [&b"localhost"[..], b"/run/skiff/cri.sock", b"%2Frun%2Fskiff%2Fcri.sock"] {
        let text = |head: &[u8], text: &[u8]| [head, &[u8::try_from(text.len()).expect("short")], text].concat();
        let fields = [
            b"\x83\x86".to_vec(),
            text(b"\x04", path),
            text(b"\x41", authority),
            text(b"\x0f\x10", b"application/grpc"),
            [text(b"\x00", b"te"), text(b"", b"trailers")].concat(),
        ];
        let request = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, b""),
            frame(1, 4, 1, &fields.concat()),
            // A message of no bytes.
            frame(0, 1, 1, &[0; 5]),
        ];
        let mut stream = tokio::net::UnixStream::connect(host.path("run/cri.sock")).await.expect("connected");
        stream.write_all(&request.concat()).await.expect("written");
        let mut answer = Vec::new();
        let answered = async {
            while !answer.windows(5).any(|text| text == b"skiff") {
                assert!(stream.read_buf(&mut answer).await.expect("read") > 0, "refused: {answer:?}");
                // A stream that was reset.
                assert!(!answer.windows(9).any(|head| head == [0, 0, 4, 3, 0, 0, 0, 0, 1]), "{authority:?}");
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), answered).await.expect("in time");
    }
}
