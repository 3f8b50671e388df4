//! Containers.

use cri::{Code, ContainerEventType, ContainerState, SecurityProfile, security_profile::ProfileType};

use crate::support::{Machine, container, context, eventually, strings};

pub async fn processes_run_and_are_told_of(machine: &mut Machine) {
    let config = machine.pod("exec");
    let id = machine.run_pod(&config).await;
    let mut main = container("main", "echo out; echo err >&2; sleep 600");
    let shared = machine.path("shared");
    main.mounts.push(cri::Mount {
        host_path: shared.display().to_string(),
        container_path: "/shared".to_owned(),
        ..Default::default()
    });
    let main = machine.run((&id, &config), main).await;
    assert_eq!(machine.status(&main).await.state(), ContainerState::ContainerRunning);
    assert_eq!(machine.exec(&main, "echo $COLOR; exit 3").await, ("blue".to_owned(), 3));
    machine.exec(&main, "echo here >/shared/file").await;
    assert_eq!(std::fs::read_to_string(shared.join("file")).expect("written"), "here\n");

    let request = cri::ExecSyncRequest { container_id: main.clone(), cmd: strings(&["/bin/sleep", "300"]), timeout: 1 };
    let late = machine.runtime.exec_sync(request).await.expect_err("it takes too long");
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let runtime = machine.runtime.clone();
    eventually("the end of what took too long", async || {
        let cmd = strings(&["/bin/ps"]);
        let request = cri::ExecSyncRequest { container_id: main.clone(), cmd, timeout: 30 };
        let answer = runtime.clone().exec_sync(request).await.ok()?.into_inner();
        (!String::from_utf8_lossy(&answer.stdout).contains("sleep 300")).then_some(())
    })
    .await;
    let filter = cri::ContainerFilter { pod_sandbox_id: id.clone(), ..Default::default() };
    let listed = machine.runtime.list_containers(cri::ListContainersRequest { filter: Some(filter) }).await;
    let listed = listed.expect("listed").into_inner().containers;
    assert_eq!((listed.len(), &listed[0].id), (1, &main));
    machine.remove_pod(&id).await;
}

pub async fn containers_are_confined(machine: &mut Machine) {
    let mut config = machine.pod("confined");
    let linux = config.linux.get_or_insert_default();
    linux.sysctls = [("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned())].into();
    let id = machine.run_pod(&config).await;
    let mut main = container("main", "sleep 600");
    let wanted = context(&mut main);
    wanted.run_as_user = Some(cri::Int64Value { value: 1000 });
    wanted.run_as_group = Some(cri::Int64Value { value: 7 });
    wanted.supplemental_groups = vec![50];
    wanted.readonly_rootfs = true;
    wanted.no_new_privs = true;
    wanted.masked_paths = vec!["/proc/keys".to_owned()];
    wanted.capabilities = Some(cri::Capability { drop_capabilities: strings(&["ALL"]), ..Default::default() });
    wanted.seccomp = Some(SecurityProfile { profile_type: ProfileType::RuntimeDefault.into(), ..Default::default() });
    let main = machine.run((&id, &config), main).await;
    let (text, _) = machine.exec(&main, "id; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; touch /x").await;
    assert!(text.contains("uid=1000(web) gid=7 groups=7,50,60(extra)\n") && text.contains("\n80"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    let (text, _) = machine.exec(&main, "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status").await;
    assert_eq!(text, "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2");
    assert_eq!(machine.exec(&main, "cat /proc/keys").await.0, "", "it is masked");
    machine.remove_pod(&id).await;
}

pub async fn users_have_the_groups_that_are_asked_for(machine: &mut Machine) {
    let config = machine.pod("groups");
    let id = machine.run_pod(&config).await;
    let strict = cri::SupplementalGroupsPolicy::Strict;
    for (name, group, policy, expected) in [
        ("merged", None, cri::SupplementalGroupsPolicy::Merge, "gid=100(users) groups=100(users),50,60(extra)"),
        ("merged-group", Some(7), cri::SupplementalGroupsPolicy::Merge, "gid=7 groups=7,50,60(extra)"),
        ("strict", None, strict, "gid=100(users) groups=100(users),50"),
        ("strict-group", Some(7), strict, "gid=7 groups=7,50"),
    ] {
        let mut main = container(name, "sleep 600");
        let wanted = context(&mut main);
        wanted.run_as_user = Some(cri::Int64Value { value: 1000 });
        wanted.run_as_group = group.map(|value| cri::Int64Value { value });
        wanted.supplemental_groups = vec![50];
        wanted.set_supplemental_groups_policy(policy);
        let main = machine.run((&id, &config), main).await;
        let (text, _) = machine.exec(&main, "id").await;
        let groups = |text: &str| {
            let (first, all) = text.split_once(" groups=").expect("all groups");
            let mut all: Vec<String> = all.split(',').map(str::to_owned).collect();
            all.sort();
            (first.to_owned(), all)
        };
        assert_eq!(groups(text.trim()), groups(&format!("uid=1000(web) {expected}")), "{name}");
        let told = machine.status(&main).await.user.and_then(|user| user.linux);
        assert_eq!(told.map(|user| user.uid), (name != "merged").then_some(1000), "{name}");
    }
    machine.remove_pod(&id).await;
}

pub async fn containers_end_as_they_are_told(machine: &mut Machine) {
    let config = machine.pod("ends");
    let id = machine.run_pod(&config).await;
    let mut polite = container("polite", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done");
    polite.set_stop_signal(cri::Signal::Sigusr1);
    let polite = machine.run((&id, &config), polite).await;
    eventually("the trap", async || machine.log("ends", "polite").contains("ready").then_some(())).await;
    stop(machine, &polite, 60).await;
    let status = machine.ended(&polite).await;
    assert_eq!((status.exit_code, status.reason.as_str(), status.stop_signal()), (7, "Error", cri::Signal::Sigusr1));
    assert!(status.started_at <= status.finished_at && status.created_at <= status.started_at, "{status:?}");

    let deaf =
        machine.run((&id, &config), container("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done")).await;
    eventually("the trap", async || machine.log("ends", "deaf").contains("ready").then_some(())).await;
    stop(machine, &deaf, 0).await;
    assert_eq!(machine.ended(&deaf).await.exit_code, 137);

    let mut absent = container("absent", "");
    absent.command = strings(&["/nowhere"]);
    let absent = machine.create((&id, &config), absent).await.expect("made");
    machine.start_container(&absent).await.expect_err("there is no such program");
    let status = machine.ended(&absent).await;
    assert_eq!(status.reason, "StartError");
    assert!(status.exit_code != 0 && status.message.contains("/nowhere"), "{status:?}");

    for id in [&polite, &deaf, &absent, "unknown"] {
        let request = cri::RemoveContainerRequest { container_id: (*id).to_owned() };
        machine.runtime.remove_container(request).await.expect("removed");
        stop(machine, id, 0).await;
    }
    let request = cri::ContainerStatusRequest { container_id: polite, verbose: false };
    assert_eq!(machine.runtime.container_status(request).await.expect_err("gone").code(), Code::NotFound);
    machine.remove_pod(&id).await;
}

async fn stop(machine: &mut Machine, id: &str, timeout: i64) {
    let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
    machine.runtime.stop_container(request).await.expect("stopped");
}

pub async fn what_happens_is_told(machine: &mut Machine) {
    let events = machine.runtime.get_container_events(cri::GetEventsRequest {}).await;
    let mut events = events.expect("they can be followed").into_inner();
    let config = machine.pod("told");
    let id = machine.run_pod(&config).await;
    let main = machine.run((&id, &config), container("main", "true")).await;
    machine.ended(&main).await;
    machine.remove_pod(&id).await;
    let mut kinds = Vec::new();
    while kinds.last() != Some(&ContainerEventType::ContainerDeletedEvent) {
        let next = tokio::time::timeout(std::time::Duration::from_secs(60), events.message()).await;
        let event = next.expect("in time").expect("no error").expect("an event");
        if event.container_id == main {
            assert_eq!(event.pod_sandbox_status.as_ref().map(|status| status.id.as_str()), Some(id.as_str()));
            kinds.push(event.container_event_type());
        }
    }
    use ContainerEventType::{
        ContainerCreatedEvent, ContainerDeletedEvent, ContainerStartedEvent, ContainerStoppedEvent,
    };
    assert_eq!(kinds, [ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent, ContainerDeletedEvent]);
}

pub async fn containers_are_measured_and_limited(machine: &mut Machine) {
    let config = machine.pod("limits");
    let id = machine.run_pod(&config).await;
    let mut main = container("main", "touch /x; sleep 600");
    let limit = |megabytes: i64| cri::LinuxContainerResources {
        memory_limit_in_bytes: megabytes << 20,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        ..Default::default()
    };
    main.linux.get_or_insert_default().resources = Some(limit(64));
    let main = machine.run((&id, &config), main).await;
    let request = cri::UpdateContainerResourcesRequest {
        container_id: main.clone(),
        linux: Some(limit(128)),
        ..Default::default()
    };
    machine.runtime.update_container_resources(request).await.expect("changed");
    let resources = machine.status(&main).await.resources.and_then(|resources| resources.linux).expect("limits");
    assert_eq!((resources.memory_limit_in_bytes, resources.cpu_quota), (128 << 20, 50_000));

    let request = cri::PodSandboxStatsRequest { pod_sandbox_id: id.clone() };
    let stats = machine.runtime.pod_sandbox_stats(request).await.expect("measured").into_inner().stats;
    let linux = stats.and_then(|stats| stats.linux).expect("figures");
    assert_eq!(linux.containers.len(), 1);
    let value = |value: Option<cri::UInt64Value>| value.expect("measured").value;
    assert!(value(linux.cpu.expect("measured").usage_core_nano_seconds) > 0);
    assert!(value(linux.memory.expect("measured").working_set_bytes) > 0);
    assert_eq!(linux.network.and_then(|network| network.default_interface).expect("an interface").name, "eth0");
    machine.remove_pod(&id).await;
}
