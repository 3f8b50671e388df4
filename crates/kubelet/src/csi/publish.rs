//! Brings a driver's volume to a pod: attached, staged, published, given to the pod's group.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use api::field::quote;
use k8s_openapi::api::core::v1::{Pod, Secret as ApiSecret};
use k8s_openapi::api::storage::v1::CSIDriverSpec;
use kube::Api;
use serde_json::json;

use super::attach;
use super::driver::Driver;
use super::messages::{Capability, NodePublishVolumeRequest, NodeStageVolumeRequest, Texts};
use super::record::Record;
use super::volume::{CsiVolume, Lifecycle, Secret, staging};
use crate::context::Context;
use crate::pods::spec;
use crate::volumes::{Fault, Ownership, Ready, give_to_group, is_mount_point, selinux_mount_option};

/// A volume that a pod has.
#[derive(Clone, Debug)]
pub struct Published {
    /// Where it is.
    pub path: PathBuf,
    /// When the driver wants to be asked again, or a token has to be renewed.
    pub refresh_at: Option<jiff::Timestamp>,
    /// Why the driver, asked again, has not brought it up to date, if it has not.
    pub outdated: Option<String>,
    /// Whether its files are still to be labelled for SELinux.
    pub relabel: bool,
}

/// How often drivers that want it are asked to publish again.
const REPUBLISH: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// The directory of a volume of a pod, in which it is `mount` (or, as a device, `dev`).
pub fn pod_dir(context: &Context, uid: &str, name: &str) -> PathBuf {
    context.config.pod_dir(uid).join("volumes/kubernetes.io~csi").join(name)
}

/// Where a volume of a pod is, and how far that has come.
struct Site {
    dir: PathBuf,
    target: PathBuf,
    /// Whether its driver has published it.
    is_there: bool,
    ready: Ready,
}

impl Site {
    fn of(context: &Context, pod: &Pod, volume: &CsiVolume) -> Result<Self, String> {
        let dir = pod_dir(context, spec::uid(pod), &volume.name);
        let target = dir.join(if volume.is_block { "dev" } else { "mount" });
        let is_there = is_published(&target).map_err(|err| format!("cannot look at {}: {err}", target.display()))?;
        Ok(Self { dir, target, is_there, ready: Ready::of(context, pod, "csi", &volume.name) })
    }

    /// Whether all was done, and is written down.
    fn is_ready(&self) -> bool {
        self.is_there && self.ready.is_set() && matches!(Record::read(&self.dir), Ok(Some(_)))
    }
}

/// Brings a volume to a pod; one that is there already is left, unless its driver wants to be asked again.
pub async fn publish(context: &Context, pod: &Pod, volume: &CsiVolume) -> Result<Published, Fault> {
    let known = context.csi.spec(&volume.driver).await;
    let republish = known.as_ref().is_some_and(|spec| spec.requires_republish == Some(true));
    let now = context.env.now();
    let refresh_at = if republish { now.checked_add(REPUBLISH).ok() } else { None };
    let by_mount = known.as_ref().is_some_and(|spec| spec.se_linux_mount == Some(true)) && volume.is_of_one_pod();
    let label = if by_mount { selinux_mount_option(&context.modules, pod, &volume.name_in_pod)? } else { None };
    let relabel = label.is_none() && !volume.read_only && !volume.is_block;
    let mut labelled = volume.clone();
    labelled.mount_options.extend(label);
    let site = Site::of(context, pod, volume)?;
    let mut published = Published { path: site.target.clone(), refresh_at, outdated: None, relabel };
    let is_ready = site.is_ready();
    if is_ready && !(republish && context.csi.is_due(&site.target, now, REPUBLISH)) {
        return Ok(published);
    }
    match bring(context, pod, &labelled, known.as_ref(), &site).await {
        // What the pod has is still there, and its driver is asked again.
        Err(fault) if is_ready => published.outdated = Some(fault.message),
        brought => brought?,
    }
    Ok(published)
}

/// Has a volume attached, staged and published, and given to the pod's group.
async fn bring(
    context: &Context,
    pod: &Pod,
    volume: &CsiVolume,
    known: Option<&CSIDriverSpec>,
    site: &Site,
) -> Result<(), Fault> {
    check_lifecycle(volume, known)?;
    let driver_spec = &known.cloned().unwrap_or_default();
    let (now, is_ready) = (context.env.now(), site.is_ready());
    let driver = context.csi.wait(&volume.driver).await?;
    let needs_attachment = volume.lifecycle == Lifecycle::Persistent && driver_spec.attach_required != Some(false);
    let record = Record {
        driver_name: volume.driver.clone(),
        volume_handle: volume.handle.clone(),
        spec_vol_id: volume.name.clone(),
        node_name: context.config.node_name.clone(),
        attachment_id: if needs_attachment { attach::attachment_name(context, volume) } else { String::new() },
        volume_lifecycle_mode: volume.lifecycle.as_str().to_owned(),
        volume_mode: if volume.is_block { "Block" } else { "Filesystem" }.to_owned(),
    };
    let publish_context =
        if needs_attachment { attach::wait(context, spec::uid(pod), volume).await? } else { Texts::new() };
    let by_driver = driver.can(Capability::VolumeMountGroup).await?;
    let group = spec::fs_group(pod).filter(|_| by_driver);
    let asked = Asked { context, pod, volume, driver: &driver, driver_spec, publish_context, group };
    // Neither another pod that comes nor one that goes may change what is staged meanwhile.
    let (staged, _) = staging(&context.config.kubelet_dir(), &volume.driver, &volume.handle);
    let lock = context.csi.lock(&staged);
    let _held = lock.lock().await;
    let Site { dir, target, .. } = site;
    make_dir(dir).and_then(|()| record.write(dir)).map_err(|err| format!("cannot write {}: {err}", dir.display()))?;
    if !is_ready {
        site.ready.clear()?;
    }
    let staged = asked.stage(&record, site.is_there).await?;
    asked.publish(target, staged.as_deref()).await?;
    context.csi.note_publication(target, now);
    if !is_ready
        && let Some(group) = spec::fs_group(pod).filter(|_| !by_driver)
        && volume.takes_group(driver_spec.fs_group_policy.as_deref())
    {
        let policy = spec::spec(pod).security_context.as_ref().and_then(|s| s.fs_group_change_policy.as_deref());
        let on_root_mismatch = policy == Some("OnRootMismatch");
        give_to_group(target, Ownership { group, read_only: false, on_root_mismatch }).await?;
    }
    Ok(site.ready.set()?)
}

/// Whether a volume is in place: mounted, or there as a device.
fn is_published(target: &Path) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    match fs::metadata(target) {
        Ok(metadata) if metadata.file_type().is_block_device() => Ok(true),
        Ok(_) => is_mount_point(target),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}

/// Whether a driver has volumes of this kind; what the cluster does not know has volumes that stay.
fn check_lifecycle(volume: &CsiVolume, spec: Option<&CSIDriverSpec>) -> Result<(), String> {
    let wanted = volume.lifecycle.as_str();
    let persistent = || vec![Lifecycle::Persistent.as_str().to_owned()];
    let modes = spec.and_then(|spec| spec.volume_lifecycle_modes.clone()).unwrap_or_else(persistent);
    if modes.iter().any(|mode| mode == wanted) {
        return Ok(());
    }
    let supported = match spec {
        None => "no CSIDriver object".to_owned(),
        Some(_) => format!("only supports [{}]", modes.iter().map(|mode| quote(mode)).collect::<Vec<_>>().join(" ")),
    };
    Err(format!("volume mode {} not supported by driver {} ({supported})", quote(wanted), volume.driver))
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

/// What a driver is asked for.
struct Asked<'a> {
    context: &'a Context,
    pod: &'a Pod,
    volume: &'a CsiVolume,
    driver: &'a Driver,
    driver_spec: &'a CSIDriverSpec,
    publish_context: Texts,
    /// The group that the driver itself gives the volume to.
    group: Option<i64>,
}

impl Asked<'_> {
    /// Stages the volume, if its driver does so; where it is then.
    async fn stage(&self, record: &Record, is_there: bool) -> Result<Option<PathBuf>, String> {
        let volume = self.volume;
        if volume.lifecycle == Lifecycle::Ephemeral || !self.driver.can(Capability::StageUnstageVolume).await? {
            return Ok(None);
        }
        let (staged, dir) = staging(&self.context.config.kubelet_dir(), &volume.driver, &volume.handle);
        if is_there {
            return Ok(Some(staged));
        }
        let made = if volume.is_block { make_dir(&dir) } else { make_dir(&staged) };
        let made = made.and_then(|()| record.write(&dir));
        made.map_err(|err| format!("MountVolume.MountDevice failed: cannot make {}: {err}", dir.display()))?;
        let request = NodeStageVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context: self.publish_context.clone(),
            staging_target_path: text(&staged),
            volume_capability: Some(volume.capability(self.driver, self.group).await?),
            secrets: self.secrets(Secret::Stage).await?,
            volume_context: volume.attributes.clone(),
        };
        self.driver.act(request).await.map_err(|err| format!("MountVolume.MountDevice failed: {err}"))?;
        Ok(Some(staged))
    }

    async fn publish(&self, target: &Path, staged: Option<&Path>) -> Result<(), String> {
        let volume = self.volume;
        let mut volume_context = volume.attributes.clone();
        if self.driver_spec.pod_info_on_mount == Some(true) {
            volume_context.extend(pod_info(self.pod, volume.lifecycle));
        }
        let mut secrets = self.secrets(Secret::Publish).await?;
        if let Some(tokens) = self.tokens().await? {
            let hidden = self.driver_spec.service_account_token_in_secrets == Some(true);
            let texts = if hidden { &mut secrets } else { &mut volume_context };
            texts.insert("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), tokens);
        }
        let request = NodePublishVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context: self.publish_context.clone(),
            staging_target_path: staged.map(text).unwrap_or_default(),
            target_path: text(target),
            volume_capability: Some(volume.capability(self.driver, self.group).await?),
            readonly: volume.read_only,
            secrets,
            volume_context,
        };
        self.driver.act(request).await.map(|_| ())
    }

    /// Tokens of the pod's account for the audiences that the driver wants, if it wants any.
    async fn tokens(&self) -> Result<Option<String>, String> {
        let requests = self.driver_spec.token_requests.clone().unwrap_or_default();
        if requests.is_empty() {
            return Ok(None);
        }
        let mut tokens = BTreeMap::new();
        for request in requests {
            let token = self.context.tokens.for_driver(self.context, self.pod, &request).await;
            let token = token.map_err(|err| err.to_string())?;
            let expires_at = crate::pods::whole_seconds(token.expires_at).to_string();
            tokens.insert(request.audience, json!({"token": token.token, "expirationTimestamp": expires_at}));
        }
        Ok(Some(json!(tokens).to_string()))
    }

    async fn secrets(&self, which: Secret) -> Result<Texts, String> {
        read_secret(self.context, self.volume, which).await
    }
}

/// The texts of a volume's secret, if it has one.
pub async fn read_secret(context: &Context, volume: &CsiVolume, which: Secret) -> Result<Texts, String> {
    let Some(reference) = volume.secret(which) else { return Ok(Texts::new()) };
    let namespace = reference.namespace.clone().unwrap_or_default();
    let name = reference.name.clone().unwrap_or_default();
    let api: Api<ApiSecret> = Api::namespaced(context.client.clone(), &namespace);
    let secret = api.get(&name).await;
    let secret = secret.map_err(|err| format!("fetching secret {namespace}/{name} failed: {err}"))?;
    let data = secret.data.unwrap_or_default();
    Ok(data.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
}

/// What drivers that want it are told of the pod.
fn pod_info(pod: &Pod, lifecycle: Lifecycle) -> Texts {
    let account = spec::spec(pod).service_account_name.clone().unwrap_or_default();
    let ephemeral = (lifecycle == Lifecycle::Ephemeral).to_string();
    [
        ("pod.name", spec::name(pod)),
        ("pod.namespace", spec::namespace(pod)),
        ("pod.uid", spec::uid(pod)),
        ("serviceAccount.name", &account),
        ("ephemeral", &ephemeral),
    ]
    .into_iter()
    .map(|(key, value)| (format!("csi.storage.k8s.io/{key}"), value.to_owned()))
    .collect()
}

/// A path as drivers take it.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::CSIVolumeSource;
    use testkit::pod;

    use super::*;

    #[test]
    fn what_a_driver_does_not_support_is_said_as_upstream_does() {
        let volume = CsiVolume::inline(&pod("web").build(), "v", &CSIVolumeSource::default());
        let said = |modes: &[&str]| {
            let modes = modes.iter().map(|mode| (*mode).to_owned()).collect();
            let spec = CSIDriverSpec { volume_lifecycle_modes: Some(modes), ..CSIDriverSpec::default() };
            check_lifecycle(&volume, Some(&spec))
        };
        assert_eq!(said(&["Persistent", "Ephemeral"]), Ok(()));
        let start = "volume mode \"Ephemeral\" not supported by driver ";
        assert_eq!(said(&["Persistent", "Other"]), Err(format!("{start} (only supports [\"Persistent\" \"Other\"])")));
        assert_eq!(check_lifecycle(&volume, None), Err(format!("{start} (no CSIDriver object)")));
    }
}
