//! The files of volumes that come from the API: ConfigMaps, Secrets, fields of the pod, tokens, and mixtures of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, DownwardAPIVolumeFile, KeyToPath, Pod, PodCertificateProjection,
    ProjectedVolumeSource, Secret, SecretVolumeSource,
};

use super::certificates::{Credentials, Wanted};
use super::trust_bundles;
use crate::context::Context;
use crate::environment::{FieldContext, pod_field, resource_field};
use crate::pods::{References, spec};

/// Files by their path in the volume.
pub type Payload = BTreeMap<String, File>;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// The user whose it is; root where it says nothing.
    pub owner: Option<u32>,
}

impl File {
    fn new(data: Vec<u8>, mode: u32) -> Self {
        Self { data, mode, owner: None }
    }
}

/// Permissions as the API gives them, 0644 where it says nothing.
pub fn mode(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644)
}

/// The files of a ConfigMap volume.
pub async fn config_map(source: &ConfigMapVolumeSource, references: &References) -> Result<Payload, String> {
    let optional = source.optional == Some(true);
    let data = config_map_data(&source.name, optional, references).await?;
    select(data, "config", source.items.as_deref(), mode(source.default_mode), optional)
}

/// The files of a Secret volume.
pub async fn secret(source: &SecretVolumeSource, references: &References) -> Result<Payload, String> {
    let optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    let data = secret_data(name, optional, references).await?;
    select(data, "secret", source.items.as_deref(), mode(source.default_mode), optional)
}

type Data = BTreeMap<String, Vec<u8>>;

async fn config_map_data(name: &str, optional: bool, references: &References) -> Result<Data, String> {
    let object = references.config_map(name).await;
    match object.map_err(|err| format!("failed to sync configmap cache: {err}"))? {
        Some(object) => Ok(of_config_map(&object)),
        None if optional => Ok(Data::new()),
        None => Err(format!("configmap \"{name}\" not found")),
    }
}

fn of_config_map(object: &ConfigMap) -> Data {
    let text = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

async fn secret_data(name: &str, optional: bool, references: &References) -> Result<Data, String> {
    let object = references.secret(name).await;
    match object.map_err(|err| format!("failed to sync secret cache: {err}"))? {
        Some(object) => Ok(of_secret(&object)),
        None if optional => Ok(Data::new()),
        None => Err(format!("secret \"{name}\" not found")),
    }
}

fn of_secret(object: &Secret) -> Data {
    object.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// All keys, or those that are listed, under their paths; `of` is what they are keys of, for the user.
fn select(
    data: Data,
    of: &str,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.into_iter().map(|(key, data)| (key, File::new(data, default_mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(data) => {
                let mode = item.mode.map_or(default_mode, |own| mode(Some(own)));
                payload.insert(item.path.clone(), File::new(data.clone(), mode));
            }
            None if optional => {}
            None => return Err(format!("references non-existent {of} key: {}", item.key)),
        }
    }
    Ok(payload)
}

/// The files of a downward API volume.
pub fn downward_api(
    context: &Context,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    default_mode: u32,
) -> Result<Payload, String> {
    let fields = FieldContext { pod_ips: &[], host_ips: &context.node_ips, allocatable: context.allocatable() };
    let mut payload = Payload::new();
    for item in items.unwrap_or_default() {
        let text = if let Some(field) = &item.field_ref {
            pod_field(pod, &field.field_path, &fields).map_err(|err| err.to_string())?
        } else if let Some(selector) = &item.resource_field_ref {
            resource_field(pod, None, selector, &fields).map_err(|err| err.to_string())?
        } else {
            continue;
        };
        let mode = item.mode.map_or(default_mode, |own| mode(Some(own)));
        payload.insert(item.path.clone(), File::new(text.into_bytes(), mode));
    }
    Ok(payload)
}

/// The files of a projected volume, and when a token among them has to be renewed.
pub async fn projected(
    context: &Context,
    pod: &Pod,
    volume: &str,
    source: &ProjectedVolumeSource,
    references: &References,
) -> Result<(Payload, Option<Timestamp>), String> {
    let default_mode = mode(source.default_mode);
    let mut payload = Payload::new();
    let mut refresh_at: Option<Timestamp> = None;
    let mut refresh = |at: Timestamp| refresh_at = Some(refresh_at.map_or(at, |before| before.min(at)));
    // What proves who a pod is, is for those who run in the pod, where that is known: its group gets it afterwards.
    let owner = only_user(pod);
    let mode = if owner.is_some() || spec::fs_group(pod).is_some() { 0o600 } else { default_mode };
    let secret_file = |data: &str| File { data: data.as_bytes().to_vec(), mode, owner };
    for (index, source) in source.sources.iter().flatten().enumerate() {
        if let Some(source) = &source.config_map {
            let optional = source.optional == Some(true);
            let data = config_map_data(&source.name, optional, references).await?;
            payload.extend(select(data, "config", source.items.as_deref(), default_mode, optional)?);
        }
        if let Some(source) = &source.secret {
            let optional = source.optional == Some(true);
            let data = secret_data(&source.name, optional, references).await?;
            payload.extend(select(data, "secret", source.items.as_deref(), default_mode, optional)?);
        }
        if let Some(source) = &source.downward_api {
            payload.extend(downward_api(context, pod, source.items.as_deref(), default_mode)?);
        }
        if let Some(source) = &source.service_account_token {
            let token = context.tokens.token(context, pod, volume, source).await.map_err(|err| err.to_string())?;
            refresh(token.refresh_at);
            payload.insert(source.path.clone(), secret_file(&token.token));
        }
        if let Some(source) = &source.cluster_trust_bundle {
            let certificates = trust_bundles::file(source, references).await?;
            payload.insert(source.path.clone(), File::new(certificates.into_bytes(), default_mode));
        }
        if let Some(source) = &source.pod_certificate {
            let wanted = Wanted { pod, volume, index, source, references };
            let credentials = context.certificates.credentials(context, &wanted).await?;
            refresh(credentials.refresh_at);
            payload.extend(credential_files(source, &credentials, secret_file));
        }
    }
    Ok((payload, refresh_at))
}

/// The files in which a pod wants its key and its certificate.
fn credential_files(
    source: &PodCertificateProjection,
    credentials: &Credentials,
    file: impl Fn(&str) -> File,
) -> Payload {
    let Credentials { key, chain, .. } = credentials;
    let files = [
        (&source.credential_bundle_path, format!("{key}{chain}")),
        (&source.key_path, key.clone()),
        (&source.certificate_chain_path, chain.clone()),
    ];
    let wanted =
        files.into_iter().filter_map(|(path, data)| Some((path.clone().filter(|path| !path.is_empty())?, data)));
    wanted.map(|(path, data)| (path, file(&data))).collect()
}

/// The user that all containers run as, if the pod says so; those that look in for a while do not count.
fn only_user(pod: &Pod) -> Option<u32> {
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|security| security.run_as_user);
    let user = |container: &Container| {
        container.security_context.as_ref().and_then(|security| security.run_as_user).or(of_pod)
    };
    let mut users = spec::init_containers(pod).iter().chain(spec::containers(pod)).map(user).collect::<Vec<_>>();
    users.dedup();
    match users[..] {
        [Some(user)] => u32::try_from(user).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use testkit::pod;

    use super::*;

    #[track_caller]
    fn check_user(users: &[Option<i64>], of_pod: Option<i64>, expected: Option<u32>) {
        let pod = pod("web").with(|pod| {
            let spec = pod.spec.as_mut().expect("a specification");
            spec.security_context.get_or_insert_default().run_as_user = of_pod;
            for user in users {
                let mut container = Container::default();
                container.security_context.get_or_insert_default().run_as_user = *user;
                spec.containers.push(container);
            }
        });
        assert_eq!(only_user(&pod.build()), expected, "{users:?} {of_pod:?}");
    }

    #[test]
    fn a_token_is_for_the_user_that_all_containers_run_as() {
        check_user(&[None], None, None);
        check_user(&[None], Some(7), Some(7));
        check_user(&[Some(8), Some(8)], None, Some(8));
        check_user(&[Some(8), None], Some(8), Some(8));
        check_user(&[Some(8), None], Some(7), None);
        check_user(&[Some(8), None, Some(8)], None, None);
        // Who looks in for a while changes nothing.
        let debugged = pod("web").container("a", "image:1").with(|pod| {
            let spec = pod.spec.as_mut().expect("a specification");
            spec.security_context.get_or_insert_default().run_as_user = Some(7);
            let ephemeral = json!([{"name": "debug", "securityContext": {"runAsUser": 0}}]);
            spec.ephemeral_containers = serde_json::from_value(ephemeral).expect("a container");
        });
        assert_eq!(only_user(&debugged.build()), Some(7));
    }

    #[track_caller]
    fn check_keys(items: serde_json::Value, optional: bool, expected: Result<&[(&str, u32)], &str>) {
        let data = [("a", "1"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.into())).into();
        let items: Vec<KeyToPath> = serde_json::from_value(items).expect("items");
        let payload = select(data, "secret", Some(&items), 0o640, optional);
        let files =
            payload.map(|payload| payload.into_iter().map(|(path, file)| (path, file.mode)).collect::<Vec<_>>());
        let expected = expected.map(|files| files.iter().map(|(path, mode)| ((*path).to_owned(), *mode)).collect());
        assert_eq!(files, expected.map_err(str::to_owned));
    }

    #[test]
    fn keys_are_taken_under_their_paths_or_missed() {
        check_keys(json!([]), false, Ok(&[("a", 0o640), ("b", 0o640)]));
        check_keys(json!([{"key": "a", "path": "x/y", "mode": 0o400}]), false, Ok(&[("x/y", 0o400)]));
        check_keys(json!([{"key": "c", "path": "x"}]), true, Ok(&[]));
        check_keys(json!([{"key": "c", "path": "x"}]), false, Err("references non-existent secret key: c"));
    }
}
