//! AppArmor profiles of containers, which annotations named before fields did: whichever is there makes the other.

use api::field::Path;
use serde_json::{Value, json};

const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
/// How long the path of a profile may be.
const MAX_PATH: usize = 4095;

/// Makes annotations of fields and fields of annotations, and tells of the latter.
pub(super) fn join(pod: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if pod.pointer("/spec/os/name").is_some_and(|name| name == "windows") {
        return warnings;
    }
    let of_pod = pod.pointer("/spec/securityContext/appArmorProfile").filter(|profile| profile.is_object()).cloned();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let count = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array).map_or(0, Vec::len);
        for index in 0..count {
            let container = &pod["spec"][list][index];
            let key = format!("{PREFIX}{}", container["name"].as_str().unwrap_or_default());
            let annotation = pod["metadata"]["annotations"][&key].as_str().map(str::to_owned);
            let own = container.pointer("/securityContext/appArmorProfile").filter(|profile| profile.is_object());
            match (annotation, own) {
                (None, own) => {
                    if let Some(annotation) = own.or(of_pod.as_ref()).and_then(annotation_of) {
                        api::meta::metadata_mut(pod).entry("annotations").or_insert_with(|| json!({}))[&key] =
                            annotation.into();
                    }
                }
                (Some(annotation), None) => {
                    let profile = profile_of(&annotation);
                    // What the pod says already is no news.
                    if profile.is_some() && profile == of_pod {
                        continue;
                    }
                    let path = Path::new("metadata").child("annotations").key(&key);
                    let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
                    warnings.push(format!("{path}: {why}"));
                    if let Some(profile) = profile {
                        pod["spec"][list][index]["securityContext"]["appArmorProfile"] = profile;
                    }
                }
                (Some(_), Some(_)) => {}
            }
        }
    }
    warnings
}

fn annotation_of(profile: &Value) -> Option<String> {
    match profile["type"].as_str()? {
        "Unconfined" => Some("unconfined".to_owned()),
        "RuntimeDefault" => Some("runtime/default".to_owned()),
        "Localhost" => Some(format!("localhost/{}", profile["localhostProfile"].as_str()?)),
        _ => None,
    }
}

fn profile_of(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let file = annotation.strip_prefix("localhost/")?;
            let is_valid = !file.is_empty() && file.trim() == file && file.len() <= MAX_PATH;
            is_valid.then(|| json!({"type": "Localhost", "localhostProfile": file}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the annotation and the field of container `c` are then, and whether there is a warning.
    #[track_caller]
    fn check(annotation: Value, of_pod: Value, own: Value, expected: (Value, Value, bool)) {
        let key = format!("{PREFIX}c");
        let mut pod = json!({"metadata": {"annotations": {}}, "spec": {"containers": [{"name": "c"}]}});
        if annotation.is_string() {
            pod["metadata"]["annotations"][&key] = annotation;
        }
        for (context, profile) in [("/spec", of_pod), ("/spec/containers/0", own)] {
            if profile.is_object() {
                pod.pointer_mut(context).expect("a place")["securityContext"] = json!({"appArmorProfile": profile});
            }
        }
        let warnings = join(&mut pod);
        let field = pod.pointer("/spec/containers/0/securityContext/appArmorProfile").cloned().unwrap_or_default();
        assert_eq!((pod["metadata"]["annotations"][&key].clone(), field, !warnings.is_empty()), expected);
    }

    #[test]
    fn annotations_and_fields_make_each_other() {
        let unconfined = || json!({"type": "Unconfined"});
        let file = || json!({"type": "Localhost", "localhostProfile": "a"});
        let none = || Value::Null;
        check(none(), none(), none(), (none(), none(), false));
        check(none(), unconfined(), none(), (json!("unconfined"), none(), false));
        check(none(), unconfined(), file(), (json!("localhost/a"), file(), false));
        check(json!("localhost/a"), none(), none(), (json!("localhost/a"), file(), true));
        check(json!("unconfined"), unconfined(), none(), (json!("unconfined"), none(), false));
        check(json!("never"), none(), none(), (json!("never"), none(), true));
        check(json!("unconfined"), none(), file(), (json!("unconfined"), file(), false));
    }
}
