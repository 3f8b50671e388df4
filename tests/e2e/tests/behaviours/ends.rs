//! How containers end, and what becomes of their pods then, as documented beside upstream's conformance list.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::environment::prints;
use crate::stage::{DEADLINE, IMAGE, Stage, container, pod, script, with};

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new("a pod has ended when its sidecars have", sidecars_last),
        Behaviour::new("a container that fails its probe is started again though it ends well", failed_probe),
        Behaviour::new("a container that fails its probe is the end of a pod that never restarts", last_probe),
        prints(
            "an image is a volume that nobody writes to",
            Vec::new(),
            with(
                pod(
                    "main",
                    json!({
                        "command": script("cat /v/www/version; touch /v/file || echo kept; ls /sub"),
                        "volumeMounts": [
                            {"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/sub", "subPath": "www"},
                        ],
                    }),
                ),
                json!({"spec": {"volumes": [{"name": "v", "image": {"reference": IMAGE}}]}}),
            ),
            &["1", "kept", "index.html"],
        ),
    ]
}

/// Who watches the pod never sees it ended while its sidecar takes its time.
async fn sidecars_last(stage: Stage) {
    let side = json!({
        "name": "side", "image": IMAGE, "restartPolicy": "Always",
        "command": script("trap 'sleep 1; exit 0' TERM; sleep 1000 & wait"),
    });
    let main = pod("main", json!({"command": ["true"]}));
    stage.create(with(main, json!({"spec": {"restartPolicy": "Never", "initContainers": [side]}}))).await;
    stage.phase("main", "Succeeded").await;
    let history = stage.history("main");
    let ended = |pod: &Value, name: &str| container(pod, name)["state"]["terminated"].is_object();
    let early = history.iter().find(|pod| pod["status"]["phase"] == "Succeeded" && !ended(pod, "side"));
    assert_eq!(early, None);
}

async fn failed_probe(stage: Stage) {
    let command = "[ ! -e /state/first ] || touch /state/second; touch /state/first; \
                   trap 'exit 0' TERM; sleep 1000 & wait";
    let probe = json!({"exec": {"command": script("[ -e /state/second ]")}, "periodSeconds": 1, "failureThreshold": 2});
    let main = json!({
        "command": script(command), "livenessProbe": probe,
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
    });
    let spec = json!({"spec": {"restartPolicy": "OnFailure", "volumes": [{"name": "state", "emptyDir": {}}]}});
    stage.create(with(pod("main", main), spec)).await;
    let restarted = |pod: &Value| {
        let main = container(pod, "main");
        (main["restartCount"] == 1 && main["ready"] == true).then(|| main["lastState"]["terminated"].clone())
    };
    let last = stage.until("main", "a restart", restarted).await;
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(0), &json!("Completed")));
    is_told(&stage, "Container main failed liveness probe, will be restarted").await;
}

async fn last_probe(stage: Stage) {
    let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    let command = script("trap 'exit 3' TERM; sleep 1000 & wait");
    let main = pod("main", json!({"command": command, "livenessProbe": probe}));
    stage.create(with(main, json!({"spec": {"restartPolicy": "Never"}}))).await;
    let pod = stage.phase("main", "Failed").await;
    let main = container(&pod, "main");
    assert_eq!((&main["state"]["terminated"]["exitCode"], &main["restartCount"]), (&json!(3), &json!(0)));
    is_told(&stage, "Container main failed liveness probe").await;
}

/// Events come when they come.
async fn is_told(stage: &Stage, message: &str) {
    let event = ("Killing".to_owned(), message.to_owned());
    let told = async || stage.events("main").await.contains(&event).then_some(());
    testkit::poll_async(DEADLINE, told).await.expect(message);
}
