//! One manifest of a static pod: from a file's text to the pod that the node runs.

use std::path::Path;

use api::decode::{self, MediaType};
use api::validation;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CONFIG_HASH, CONFIG_SEEN, CONFIG_SOURCE};

/// How many hexadecimal digits of a digest make a UID.
const UID_DIGITS: usize = 32;

/// Why a manifest cannot be used. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read as a document.
    #[error("{0}")]
    Decode(String),
    /// It is of another kind.
    #[error("a Pod of version v1 is expected, this is {0}; put one Pod in each file")]
    Kind(String),
    /// It is no valid pod.
    #[error("{0}")]
    Invalid(String),
    /// It refers to an object of the API, which a static pod has no access to.
    #[error("static pods cannot refer to {0}: give the pod what it needs by value, or run it through the API")]
    Reference(&'static str),
}

/// Where a manifest comes from.
pub struct Origin<'a> {
    /// `file` or `http`.
    pub kind: &'static str,
    /// The file, or the address.
    pub path: &'a Path,
}

/// Reads a manifest for a node. `seen` says when it was found.
pub fn read(text: &[u8], origin: &Origin<'_>, node: &str, seen: jiff::Timestamp) -> Result<Pod, ManifestError> {
    let (mut value, findings) = decode_pod(text)?;
    for finding in findings {
        tracing::warn!(path = %origin.path.display(), finding, "the manifest of a static pod says something unknown");
    }
    // One that the manifest gives would stay the same when something else in it changes.
    let uid = digest(&value, origin.path, node);
    localize(&mut value, &uid, node, (origin.kind, seen));
    let resource = api::kinds::find("", "v1", "pods").ok_or_else(|| ManifestError::Kind("unknown".to_owned()))?;
    decode::normalize(&mut value, resource.schema);
    api::defaults::apply(resource, &mut value);
    let errors = validation::create(resource, &value);
    if let Some(error) = errors.into_iter().next() {
        return Err(ManifestError::Invalid(error.to_string()));
    }
    let pod: Pod = serde_json::from_value(value).map_err(|err| ManifestError::Decode(err.to_string()))?;
    match reference(&pod) {
        Some(what) => Err(ManifestError::Reference(what)),
        None => Ok(pod),
    }
}

/// The pod, and what in the text is of no meaning: as upstream, that keeps no node from starting.
fn decode_pod(text: &[u8]) -> Result<(Value, Vec<String>), ManifestError> {
    // Which JSON is too.
    let media = MediaType::Yaml;
    let failed = |status: api::status::Status| ManifestError::Decode(status.message);
    let decoded = decode::decode(text, media).map_err(failed)?;
    let field = |name: &str| decoded.value.get(name).and_then(Value::as_str).unwrap_or("nothing").to_owned();
    let (version, kind) = (field("apiVersion"), field("kind"));
    if (version.as_str(), kind.as_str()) != ("v1", "Pod") {
        return Err(ManifestError::Kind(format!("{kind} of version {version}")));
    }
    let decoded = decode::decode_as(text, media, "io.k8s.api.core.v1.Pod").map_err(failed)?;
    let findings = decoded.strict_findings();
    Ok((decoded.value, findings))
}

/// A UID that is another one for another manifest, file or node, and the same one after a restart.
fn digest(value: &Value, path: &Path, node: &str) -> String {
    let digest = Sha256::new()
        .chain_update(node)
        .chain_update([0])
        .chain_update(path.as_os_str().as_encoded_bytes())
        .chain_update([0])
        .chain_update(value.to_string())
        .finalize();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.chars().take(UID_DIGITS).collect()
}

/// Makes the pod one of this node: its name ends in the node's, it is bound, and no taint drives it away.
fn localize(value: &mut Value, uid: &str, node: &str, (kind, seen): (&str, jiff::Timestamp)) {
    let name = format!("{}-{}", api::meta::name(value), node);
    let namespace =
        api::meta::namespace(value).filter(|namespace| !namespace.is_empty()).unwrap_or("default").to_owned();
    api::meta::set(value, "name", name);
    api::meta::set(value, "namespace", namespace);
    api::meta::set(value, "uid", uid);
    for (key, text) in
        [(CONFIG_HASH, uid.to_owned()), (CONFIG_SOURCE, kind.to_owned()), (CONFIG_SEEN, seen.to_string())]
    {
        value["metadata"]["annotations"][key] = text.into();
    }
    value["spec"]["nodeName"] = node.into();
    let stays = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    let tolerations = &mut value["spec"]["tolerations"];
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    if let Some(list) = tolerations.as_array_mut() {
        list.push(json!(stays));
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
}

/// What of the API a pod refers to.
fn reference(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let is_set = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    if is_set(&spec.service_account_name) || is_set(&spec.service_account) {
        return Some("a service account");
    }
    if spec.image_pull_secrets.as_ref().is_some_and(|secrets| !secrets.is_empty()) {
        return Some("image pull secrets");
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return Some("resource claims");
    }
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        return Some("ephemeral containers");
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for container in containers {
        let from = container.env_from.iter().flatten();
        let values = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref());
        if from.clone().any(|from| from.config_map_ref.is_some())
            || values.clone().any(|v| v.config_map_key_ref.is_some())
        {
            return Some("config maps");
        }
        if from.clone().any(|from| from.secret_ref.is_some()) || values.clone().any(|v| v.secret_key_ref.is_some()) {
            return Some("secrets");
        }
    }
    spec.volumes.iter().flatten().find_map(|volume| {
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        let refers = projected.clone().any(|source| {
            source.secret.is_some()
                || source.config_map.is_some()
                || source.service_account_token.is_some()
                || source.cluster_trust_bundle.is_some()
                || source.pod_certificate.is_some()
        });
        match () {
            () if volume.secret.is_some() => Some("secrets"),
            () if volume.config_map.is_some() => Some("config maps"),
            () if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() => {
                Some("persistent volume claims")
            }
            () if refers => Some("objects of a projected volume"),
            () => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

    fn read_at(text: &str, path: &str, node: &str) -> Result<Pod, ManifestError> {
        read(text.as_bytes(), &Origin { kind: "file", path: Path::new(path) }, node, NOW)
    }

    fn pod(spec: &str) -> String {
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {spec}}}")
    }

    const PLAIN: &str = "{containers: [{name: a, image: i}]}";

    #[test]
    fn a_pod_is_made_one_of_its_node_with_defaults() {
        let made = read_at(&pod(PLAIN), "/m/web.yaml", "node-1").expect("a pod");
        let metadata = &made.metadata;
        assert_eq!((metadata.name.as_deref(), metadata.namespace.as_deref()), (Some("web-node-1"), Some("default")));
        let annotations = metadata.annotations.as_ref().expect("annotations");
        assert_eq!(annotations[CONFIG_HASH], metadata.uid.clone().expect("a UID"));
        assert_eq!(
            (annotations[CONFIG_SOURCE].as_str(), annotations[CONFIG_SEEN].as_str()),
            ("file", "1970-01-01T00:00:00Z")
        );
        let spec = made.spec.expect("there");
        assert_eq!((spec.node_name.as_deref(), spec.restart_policy.as_deref()), (Some("node-1"), Some("Always")));
        let tolerations: Vec<_> =
            spec.tolerations.into_iter().flatten().map(|each| (each.operator, each.effect)).collect();
        assert_eq!(tolerations, [(Some("Exists".to_owned()), Some("NoExecute".to_owned()))]);
    }

    #[test]
    fn a_field_that_nobody_knows_keeps_no_pod_from_running() {
        let text = pod("{containers: [{name: a, image: i, immage: j}], dnsPolciy: Default}");
        let (value, findings) = decode_pod(text.as_bytes()).expect("a pod");
        assert_eq!(value["spec"]["dnsPolciy"], Value::Null);
        assert_eq!(findings, [r#"unknown field "spec.containers[0].immage""#, r#"unknown field "spec.dnsPolciy""#]);
        assert!(read_at(&text, "/m/a", "n").is_ok());
    }

    #[test]
    fn the_uid_is_that_of_manifest_file_and_node() {
        let uid = |text: &str, path: &str, node: &str| read_at(text, path, node).expect("a pod").metadata.uid;
        let first = uid(&pod(PLAIN), "/m/a", "n");
        assert_eq!(uid(&pod(PLAIN).replace(": v1", ":   v1"), "/m/a", "n"), first);
        for other in [
            uid(&pod("{containers: [{name: b, image: i}]}"), "/m/a", "n"),
            uid(&pod(PLAIN), "/m/b", "n"),
            uid(&pod(PLAIN), "/m/a", "o"),
        ] {
            assert_ne!(other, first);
        }
        // Also where the manifest has one: what changes is another pod.
        let given = |spec: &str| uid(&pod(spec).replace("name: web", "name: web, uid: mine"), "/m/a", "n");
        assert_ne!(given(PLAIN), given("{containers: [{name: b, image: i}]}"));
    }

    #[test]
    fn what_no_static_pod_can_be_is_refused() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let err = read_at(text, "/m/a", "n").expect_err(text).to_string();
            assert!(err.contains(expected), "{err}");
        }
        check("{", "error converting YAML to JSON");
        check("{apiVersion: v1, kind: ConfigMap}", "this is ConfigMap of version v1");
        check("[]", "this is nothing of version nothing");
        check(&pod("{containers: []}"), "spec.containers: Required value");
        check(&pod("{contianers: []}"), "spec.containers: Required value");
        for (with, what) in [
            ("serviceAccountName: a", "a service account"),
            ("imagePullSecrets: [{name: a}]", "image pull secrets"),
            ("volumes: [{name: v, secret: {secretName: a}}]", "secrets"),
            ("volumes: [{name: v, configMap: {name: a}}]", "config maps"),
            ("volumes: [{name: v, persistentVolumeClaim: {claimName: a}}]", "persistent volume claims"),
            ("volumes: [{name: v, projected: {sources: [{configMap: {name: a}}]}}]", "objects of a projected volume"),
            ("initContainers: [{name: b, image: i, envFrom: [{secretRef: {name: a}}]}]", "secrets"),
            (
                "initContainers: [{name: b, image: i, env: [{name: E, valueFrom: {configMapKeyRef: {name: a, key: k}}}]}]",
                "config maps",
            ),
        ] {
            check(
                &pod(&PLAIN.replace("{containers", &format!("{{{with}, containers"))),
                &format!("cannot refer to {what}:"),
            );
        }
    }
}
