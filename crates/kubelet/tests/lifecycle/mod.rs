//! The lives of pods and containers: starts, restarts, hooks, probes, ends.

use super::*;

#[tokio::test]
async fn what_was_made_and_not_started_is_started_and_counts_as_no_restart() {
    let stage = Stage::new(&["image:1"]).await;
    for (name, refused) in [("once", 1), ("twice", 2)] {
        stage.runtime.refuse_starts(name, refused);
        stage.create(pod(name).container(name, "image:1")).await;
    }
    // One that cannot be started at the second attempt either makes room for another.
    for (name, made) in [("once", 1), ("twice", 2)] {
        let container = stage.until_phase(name, "Running").await.container_statuses.expect("statuses").remove(0);
        assert_eq!(container.restart_count, 0);
        let creation = format!("CreateContainer {name}");
        assert_eq!(stage.runtime.calls().iter().filter(|call| **call == creation).count(), made, "{name}");
        if name == "once" {
            stage.runtime.refuse_starts(name, 1);
            stage.runtime.exit(name, 3);
        }
    }
    let restarted = async || {
        let container = stage.status("once").await.container_statuses?.pop()?;
        container.ready.then_some(container).filter(|container| container.restart_count == 1)
    };
    let ended = stage.until("a restart", restarted).await.last_state.and_then(|state| state.terminated);
    assert_eq!(ended.expect("an end").exit_code, 3);
}

#[tokio::test]
async fn a_pod_runs_restarts_and_goes() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    let status = stage.until_phase("web", "Running").await;
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.9"));
    assert_eq!(status.host_ip.as_deref(), Some("127.0.0.1"));
    let container = &status.container_statuses.expect("statuses")[0];
    let prefix = format!("{}://", stage.runtime.profile().name());
    assert!(container.ready && container.container_id.as_ref().is_some_and(|id| id.starts_with(&prefix)));

    stage.runtime.exit("a", 3);
    let restarted = async || {
        let status = stage.status("web").await.container_statuses?.pop()?;
        (status.restart_count == 1 && status.ready).then_some(status)
    };
    let container = stage.until("a restart", restarted).await;
    let ended = container.last_state.and_then(|state| state.terminated).expect("an end");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (3, Some("Error")));
    stage.runtime.exit("a", 3);
    let message = stage.until_waiting("web", "CrashLoopBackOff").await;
    assert!(message.starts_with("back-off 10s restarting failed container=a pod=web_default("), "{message}");

    stage.delete("web").await;
    let gone = async || (stage.runtime.sandboxes() == 0).then_some(());
    stage.until("removal", gone).await;
    let deleted = || stage.api.requests().iter().any(|r| r.starts_with("DELETE /api/v1/namespaces/default/pods/web"));
    stage.until("deletion from the API", async || deleted().then_some(())).await;
    let volumes = stage.dir.path().join("data/kubelet/pods/uid-web");
    stage.until("removal of volumes", async || (!volumes.exists()).then_some(())).await;
    assert_eq!(stage.status("web").await.phase.as_deref(), Some("Failed"));
}

#[tokio::test]
async fn a_container_that_somebody_removed_is_started_again_and_counted() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.create(pod("once").restart_policy("Never").container("b", "image:1").container("c", "image:1")).await;
    stage.until_phase("web", "Running").await;
    stage.until_phase("once", "Running").await;
    stage.runtime.lose("a");
    stage.runtime.lose("b");
    let restarted =
        async || stage.status("web").await.container_statuses?.pop().filter(|it| it.restart_count == 1 && it.ready);
    let last = stage.until("a restart", restarted).await.last_state.and_then(|state| state.terminated);
    assert_eq!(last.and_then(|ended| ended.reason).as_deref(), Some("ContainerStatusUnknown"));
    stage.runtime.exit("c", 0);
    stage.until_phase("once", "Failed").await;
    let made =
        |name: &str| stage.runtime.calls().iter().filter(|call| **call == format!("CreateContainer {name}")).count();
    assert_eq!(["a", "b", "c"].map(made), [2, 1, 1]);
}

#[tokio::test]
async fn hooks_and_grace_are_kept_and_deletion_interrupts_a_start() {
    let stage = Stage::new(&["image:1"]).await;
    let hook = |word: &str| LifecycleHandler {
        exec: Some(ExecAction { command: Some(vec![word.to_owned()]) }),
        ..LifecycleHandler::default()
    };
    let maker = web().with(|pod| {
        first(pod).lifecycle =
            Some(Lifecycle { post_start: Some(hook("begin")), pre_stop: Some(hook("end")), stop_signal: None });
    });
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    stage.delete("web").await;
    stage.until("removal", async || (stage.runtime.sandboxes() == 0).then_some(())).await;
    let calls = stage.runtime.calls();
    let tail: Vec<&str> = calls.iter().map(String::as_str).collect();
    assert_eq!(
        tail,
        [
            "RunPodSandbox",
            "CreateContainer a",
            "StartContainer a",
            "ExecSync begin",
            "ExecSync end",
            "StopContainer a 7",
            "StopPodSandbox"
        ]
    );
}

#[tokio::test]
async fn a_pod_has_ended_when_its_sidecars_have_and_their_hooks_run_once() {
    let stage = Stage::new(&["image:1"]).await;
    let sidecar = |name: &str, hook: Value| {
        json!({"name": name, "image": "image:1", "restartPolicy": "Always",
        "lifecycle": {"preStop": hook}})
    };
    let hooks = [("s1", json!({"exec": {"command": ["end"]}})), ("s2", json!({"sleep": {"seconds": 1}}))];
    let sidecars = hooks.map(|(name, hook)| serde_json::from_value(sidecar(name, hook)).expect("a container"));
    let maker = web().restart_policy("Never").with(|pod| {
        pod.spec.as_mut().expect("there").init_containers = Some(sidecars.to_vec());
    });
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    stage.runtime.exit("a", 0);
    stage.until_phase("web", "Succeeded").await;
    assert_eq!(stage.runtime.running(), [""; 0]);
    assert_eq!(stage.runtime.calls().iter().filter(|call| *call == "ExecSync end").count(), 1);
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_its_container() {
    let stage = Stage::new(&["image:1"]).await;
    let maker = web().with(|pod| {
        first(pod).liveness_probe = Some(Probe {
            exec: Some(ExecAction { command: Some(vec!["false".into()]) }),
            period_seconds: Some(1),
            failure_threshold: Some(1),
            ..Probe::default()
        });
    });
    stage.create(maker).await;
    let restarted =
        async || stage.status("web").await.container_statuses?.pop().filter(|status| status.restart_count >= 1);
    stage.until("a restart", restarted).await;
}

#[tokio::test]
async fn a_probe_that_is_sent_elsewhere_succeeds_with_a_warning() {
    let stage = Stage::new(&["image:1"]).await;
    let elsewhere = |_: &str| ("302 Found\r\nLocation: http://example.com/".to_owned(), "over there".to_owned());
    let server = web_server::WebServer::start(elsewhere).await;
    let maker = web().with(|pod| {
        let probe = json!({"httpGet": {"host": "127.0.0.1", "port": server.port}, "periodSeconds": 1});
        first(pod).readiness_probe = serde_json::from_value(probe).ok();
    });
    stage.create(maker).await;
    let ready = async || stage.status("web").await.container_statuses?.pop().filter(|status| status.ready);
    stage.until("readiness", ready).await;
    stage.events_say("Readiness probe warning: Probe terminated redirects, Response body: over there").await;
}
