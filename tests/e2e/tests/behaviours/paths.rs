//! Sub-paths of volumes that are made from variables.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::stage::{Stage, condition, container, pod, script, with};

/// A pod that mounts `expression` below its volume at `/mounted`, and all of the volume at `/all`.
fn mounting(expression: &str, text: &str, annotation: &str) -> Value {
    let main = json!({
        "command": script(text),
        "env": [
            {"name": "POD_NAME", "value": "main"},
            {"name": "ANNOTATION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['path']"}}},
        ],
        "volumeMounts": [
            {"name": "work", "mountPath": "/mounted", "subPathExpr": expression},
            {"name": "work", "mountPath": "/all"},
        ],
    });
    with(
        pod("main", main),
        json!({
            "metadata": {"annotations": {"path": annotation}},
            "spec": {"volumes": [{"name": "work", "emptyDir": {}}]},
        }),
    )
}

/// The container is held back by its configuration.
async fn is_held(stage: &Stage) -> Value {
    let held = |pod: &Value| {
        let waiting = container(pod, "main")["state"]["waiting"].clone();
        (waiting["reason"] == "CreateContainerConfigError").then_some(waiting)
    };
    stage.until("main", "an error of configuration", held).await
}

fn fails(name: &'static str, expression: &'static str, annotation: &'static str) -> Behaviour {
    Behaviour::new(name, async move |stage: Stage| {
        stage.create(mounting(expression, "true", annotation)).await;
        is_held(&stage).await;
        assert_eq!(condition(stage.history("main").last().expect("it was seen"), "Ready")["status"], "False");
    })
}

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new(
            "Variable Expansion should allow substituting values in a volume subpath",
            async |stage: Stage| {
                let text = "echo here > /mounted/file; cat /all/main/file";
                stage.create(mounting("$(POD_NAME)", text, "")).await;
                stage.phase("main", "Succeeded").await;
                assert_eq!(stage.log("main", "main").await, "here\n");
            },
        ),
        fails(
            "Variable Expansion should fail substituting values in a volume subpath with absolute path",
            "$(ANNOTATION)",
            "/tmp",
        ),
        fails(
            "Variable Expansion should fail substituting values in a volume subpath with backticks",
            "$(ANNOTATION)",
            "..",
        ),
        Behaviour::new(
            "Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle \
             of a container",
            async |stage: Stage| {
                stage.create(mounting("$(ANNOTATION)", "exec sleep 1000", "/tmp/bad")).await;
                is_held(&stage).await;
                stage.patch("main", None, json!({"metadata": {"annotations": {"path": "good"}}})).await;
                stage.ready("main").await;
                assert_eq!(stage.exec("main", &["ls", "/all"]).await, "good\n");
            },
        ),
        Behaviour::new("Variable Expansion should succeed in writing subpaths in container", async |stage: Stage| {
            stage.create(mounting("$(ANNOTATION)/$(POD_NAME)", "exec sleep 1000", "mypath")).await;
            stage.ready("main").await;
            stage.exec("main", &["sh", "-c", "echo text > /mounted/test.log"]).await;
            assert_eq!(stage.exec("main", &["cat", "/all/mypath/main/test.log"]).await, "text\n");
            stage.patch("main", None, json!({"metadata": {"annotations": {"path": "otherpath"}}})).await;
            stage.delete("main").await;
            stage.gone("main").await;
        }),
    ]
}
