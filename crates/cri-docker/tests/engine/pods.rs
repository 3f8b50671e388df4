//! Sandboxes and what the node is.

use cri::{NamespaceMode, NamespaceOption, PodSandboxState};

use crate::support::{Machine, container, context, eventually};

pub async fn the_node_is_described(machine: &mut Machine) {
    let version = machine.runtime.version(cri::VersionRequest::default()).await.expect("answered").into_inner();
    assert_eq!((version.runtime_name.as_str(), version.runtime_api_version.as_str()), ("docker", "v1"));
    let status = machine.runtime.status(cri::StatusRequest { verbose: true }).await.expect("answered").into_inner();
    let conditions = status.status.expect("a status").conditions;
    assert!(conditions.iter().all(|condition| condition.status), "{conditions:?}");
    assert!(status.runtime_handlers.iter().any(|handler| handler.name == "runc"), "{:?}", status.runtime_handlers);
}

pub async fn a_pod_is_connected_and_disconnected(machine: &mut Machine) {
    let mut config = machine.pod("net");
    config.dns_config = Some(cri::DnsConfig { servers: vec!["10.43.0.10".to_owned()], ..Default::default() });
    let id = machine.run_pod(&config).await;
    let status = status(machine, &id).await.expect("it is known");
    assert_eq!(status.state(), PodSandboxState::SandboxReady);
    let ip = status.network.expect("a network").ip;
    assert!(ip.starts_with("10.78.0."), "{ip}");

    let main = machine.run((&id, &config), container("main", "sleep 600")).await;
    let (text, _) = machine.exec(&main, "ip -o addr show eth0; hostname; cat /etc/resolv.conf").await;
    assert!(text.contains(&ip) && text.contains("\nnet\nnameserver 10.43.0.10"), "{text}");

    // An adapter that starts knows it all, and nothing was started anew.
    let before = machine.status(&main).await;
    machine.kill_adapter().await;
    machine.start_adapter().await;
    assert_eq!(machine.status(&main).await, before);
    assert_eq!(self::status(machine, &id).await.expect("known").network.expect("a network").ip, ip);
    let filter = |pod: &str| {
        let label_selector = [("pod".to_owned(), pod.to_owned())].into();
        cri::ListPodSandboxRequest { filter: Some(cri::PodSandboxFilter { label_selector, ..Default::default() }) }
    };
    for (pod, count) in [("net", 1), ("other", 0)] {
        let found = machine.runtime.list_pod_sandbox(filter(pod)).await.expect("listed").into_inner().items;
        assert_eq!(found.len(), count, "{found:?}");
    }

    let stop = cri::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
    machine.runtime.stop_pod_sandbox(stop.clone()).await.expect("stopped");
    machine.runtime.stop_pod_sandbox(stop).await.expect("stopped already");
    assert_eq!(self::status(machine, &id).await.expect("known").state(), PodSandboxState::SandboxNotready);
    assert_eq!(machine.ended(&main).await.exit_code, 137);
    machine.remove_pod(&id).await;
    machine.remove_pod(&id).await;
    assert!(self::status(machine, &id).await.is_none());
    let kept = std::fs::read_dir(machine.path("cni-cache/results")).expect("there").count();
    assert_eq!(kept, 0, "the address is free");
}

pub async fn a_shared_process_namespace_has_a_parent_for_orphans(machine: &mut Machine) {
    let config = machine.pod("shared");
    let id = machine.run_pod(&config).await;
    let mut main = container("main", "sleep 600");
    let options = NamespaceOption { pid: NamespaceMode::Pod.into(), ..Default::default() };
    context(&mut main).namespace_options = Some(options);
    let main = machine.run((&id, &config), main).await;
    let (text, _) = machine.exec(&main, "(sleep 0.01 &); cat /proc/1/cmdline").await;
    assert_eq!(text.trim_matches('\0'), "/pause");
    eventually("no dead process is left", async || {
        let request = cri::ExecSyncRequest {
            container_id: main.clone(),
            cmd: crate::support::strings(&["/bin/sh", "-c", "cat /proc/[0-9]*/stat"]),
            timeout: 30,
        };
        let answer = machine.runtime.clone().exec_sync(request).await.ok()?.into_inner();
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        (!text.contains(") Z ") && !text.contains("0.01")).then_some(())
    })
    .await;
    machine.remove_pod(&id).await;
}

async fn status(machine: &mut Machine, id: &str) -> Option<cri::PodSandboxStatus> {
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
    match machine.runtime.pod_sandbox_status(request).await {
        Ok(answer) => answer.into_inner().status,
        Err(err) => {
            assert_eq!(err.code(), cri::Code::NotFound, "{err}");
            None
        }
    }
}
