//! Makes sure that a container's image is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::Env;
use client::EventType;
use cri as v1;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};

use super::auth::credentials;
use super::reference::with_default_tag;
use crate::context::Context;
use crate::pods::{BackOff, spec};

/// Keeps the waiting times of images that could not be pulled.
pub struct Puller {
    env: Env,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    back_off: BackOff,
    /// What the last attempt came to, by the same key.
    last: HashMap<String, String>,
}

/// An image that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// What the runtime makes containers from.
    pub image_ref: String,
    /// The user that the image names by number.
    pub uid: Option<i64>,
    /// The user that the image names by name.
    pub username: String,
}

/// Why an image is not there: a reason as in a waiting container's state, and a message for people.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ImageError {
    /// `ErrImagePull` and its like.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
    /// When it may be tried again; at once where nothing is said.
    pub retry_at: Option<Timestamp>,
}

impl ImageError {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message, retry_at: None }
    }
}

impl Puller {
    /// Nothing has failed yet.
    pub fn new(env: Env) -> Self {
        Self { env, failures: Mutex::default() }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when a pull has to wait, and how the last one failed.
    fn waits(&self, key: &str) -> Option<(Timestamp, String)> {
        let failures = self.failures();
        let until = failures.back_off.waits_since_update(key, self.env.now())?;
        Some((until, failures.last.get(key).cloned().unwrap_or_default()))
    }

    fn forget(&self, key: &str) {
        let mut failures = self.failures();
        failures.back_off.forget(key);
        failures.last.remove(key);
    }

    /// Makes sure that a container's image is there, by its pull policy. Cancel safe: a pull is asked for again.
    pub async fn ensure(
        &self,
        context: &Context,
        pod: &Pod,
        container: &Container,
        secrets: &[Arc<Secret>],
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<Present, ImageError> {
        let image = container.image.as_deref().unwrap_or_default();
        let event = |kind, reason, message| context.event(pod, Some(&container.name), kind, reason, message);
        let tagged = with_default_tag(image).map_err(|err| {
            let message =
                format!("Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {err}");
            event(EventType::Warning, "InspectFailed", message.clone());
            ImageError::new("InvalidImageName", message)
        })?;
        let present = inspect(context, &tagged).await.map_err(|status| {
            let message = format!("Failed to inspect image \"{image}\": {}", rpc_message(&status));
            event(EventType::Warning, "InspectFailed", message.clone());
            ImageError::new("ImageInspectError", message)
        })?;
        let default_policy = if tagged.ends_with(":latest") { "Always" } else { "IfNotPresent" };
        match (container.image_pull_policy.as_deref().unwrap_or(default_policy), present) {
            ("Always", _) | ("IfNotPresent", None) => {}
            (_, Some((present, _))) => {
                let message =
                    format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
                event(EventType::Normal, "Pulled", message);
                return Ok(present);
            }
            (_, None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                event(EventType::Warning, "ErrImageNeverPull", message.clone());
                return Err(ImageError::new("ErrImageNeverPull", message));
            }
        }
        let key = format!("{}_{image}", spec::uid(pod));
        if let Some((until, last)) = self.waits(&key) {
            let message = format!("Back-off pulling image \"{image}\"");
            event(EventType::Normal, "BackOff", message.clone());
            let message = format!("{message}: ErrImagePull: {last}");
            return Err(ImageError { reason: "ImagePullBackOff", message, retry_at: Some(until) });
        }
        event(EventType::Normal, "Pulling", format!("Pulling image \"{image}\""));
        let began = self.env.instant();
        match pull(context, &tagged, secrets, sandbox).await {
            Ok(image_ref) => {
                self.forget(&key);
                let took = began.elapsed();
                let found = inspect(context, &image_ref).await.ok().flatten();
                let size = found.as_ref().map_or(0, |(_, size)| *size);
                event(
                    EventType::Normal,
                    "Pulled",
                    format!(
                        "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {size} bytes.",
                        took = seconds(took)
                    ),
                );
                Ok(found.map_or(Present { image_ref, ..Present::default() }, |(present, _)| present))
            }
            Err(status) => {
                let text = rpc_message(&status);
                event(EventType::Warning, "Failed", format!("Failed to pull image \"{image}\": {text}"));
                let now = self.env.now();
                let message = format!("failed to pull image \"{image}\": {text}");
                let mut failures = self.failures();
                failures.back_off.next(&key, now, now);
                failures.last.insert(key.clone(), message.clone());
                // Half way through the waiting time the reason turns into ImagePullBackOff.
                let half = now.saturating_add(failures.back_off.delay(&key) / 2).unwrap_or(Timestamp::MAX);
                Err(ImageError { reason: "ErrImagePull", message, retry_at: Some(half) })
            }
        }
    }
}

/// A gRPC error as Go's client prints it, which is what users see in messages.
pub fn rpc_message(status: &v1::Status) -> String {
    let code = match status.code() {
        v1::Code::NotFound => "NotFound",
        v1::Code::InvalidArgument => "InvalidArgument",
        v1::Code::Unavailable => "Unavailable",
        v1::Code::DeadlineExceeded => "DeadlineExceeded",
        v1::Code::PermissionDenied => "PermissionDenied",
        v1::Code::AlreadyExists => "AlreadyExists",
        v1::Code::FailedPrecondition => "FailedPrecondition",
        v1::Code::ResourceExhausted => "ResourceExhausted",
        v1::Code::Internal => "Internal",
        v1::Code::Unimplemented => "Unimplemented",
        v1::Code::Aborted => "Aborted",
        v1::Code::Cancelled => "Canceled",
        v1::Code::Unauthenticated => "Unauthenticated",
        v1::Code::OutOfRange => "OutOfRange",
        v1::Code::DataLoss => "DataLoss",
        v1::Code::Ok | v1::Code::Unknown => "Unknown",
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

/// A duration as Go prints it: `850ms`, `1.234s`.
fn seconds(duration: std::time::Duration) -> String {
    if duration.as_secs() == 0 {
        return format!("{}ms", duration.as_millis());
    }
    let text = format!("{:.3}", duration.as_secs_f64());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

async fn inspect(context: &Context, image: &str) -> Result<Option<(Present, u64)>, v1::Status> {
    let mut images = context.images.clone();
    let spec = v1::ImageSpec { image: image.to_owned(), ..v1::ImageSpec::default() };
    let request = v1::ImageStatusRequest { image: Some(spec), verbose: false };
    let image = images.image_status(request).await?.into_inner().image;
    Ok(image.map(|image| {
        let uid = image.uid.as_ref().map(|uid| uid.value);
        (Present { image_ref: image.id, uid, username: image.username }, image.size)
    }))
}

/// Pulls with each credential that fits, or without any.
async fn pull(
    context: &Context,
    image: &str,
    secrets: &[Arc<Secret>],
    sandbox: &v1::PodSandboxConfig,
) -> Result<String, v1::Status> {
    let mut auths: Vec<Option<v1::AuthConfig>> =
        secrets.iter().flat_map(|secret| credentials(secret, image)).map(Some).collect();
    if auths.is_empty() {
        auths.push(None);
    }
    let mut failure = v1::Status::unknown("no credential was tried");
    for auth in auths {
        let request = v1::PullImageRequest {
            image: Some(v1::ImageSpec { image: image.to_owned(), ..v1::ImageSpec::default() }),
            auth,
            sandbox_config: Some(sandbox.clone()),
        };
        match context.images.clone().pull_image(request).await {
            Ok(answer) => return Ok(answer.into_inner().image_ref),
            Err(status) => failure = status,
        }
    }
    Err(failure)
}
