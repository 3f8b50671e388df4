//! DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or cannot be reached.

use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Handler, Operation, Plugin};

const SECONDS: i64 = 300;

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(add)), (Operation::Update, Handler::Now(add))],
    ..Plugin::named("DefaultTolerationSeconds")
};

fn add(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return Ok(()) };
    for taint in TAINTS {
        if !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
            tolerations.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    Ok(())
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
    matches!(text("key"), "") | (text("key") == taint) && matches!(text("effect"), "" | "NoExecute")
}
