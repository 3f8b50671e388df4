//! Makes sure that a container's image is there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use client::EventType;
use cri as v1;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};

use super::keyring::{self, Credential, Source};
use super::limits::{PullLimits, go_duration};
use super::providers::{Providers, ProvidersError};
use super::records::Records;
use super::reference::{repository, with_default_tag};
use crate::config::Config;
use crate::context::Context;
use crate::pods::{BackOff, spec};

/// Pulls images within the node's bounds, with the credentials that fit, and keeps the waiting times of failed ones.
pub struct Puller {
    env: Env,
    limits: PullLimits,
    providers: Providers,
    records: Records,
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

/// What is to be there, for whom.
struct Request<'a> {
    context: &'a Context,
    pod: &'a Pod,
    container: &'a Container,
    sandbox: &'a v1::PodSandboxConfig,
    /// As the container names it.
    image: &'a str,
    /// With the tag that it does not name.
    tagged: String,
}

impl Request<'_> {
    fn event(&self, kind: EventType, reason: &'static str, message: String) {
        self.context.event(self.pod, Some(&self.container.name), kind, reason, message);
    }
}

impl Puller {
    /// Nothing has failed yet.
    pub fn new(config: &Config, env: Env) -> Result<Self, ProvidersError> {
        let providers = match &config.images.credential_providers {
            Some((file, bin_dir)) => Providers::load(file, bin_dir)?,
            None => Providers::default(),
        };
        let limits = PullLimits::new(&config.images, &env);
        let records = Records::new(&config.kubelet_dir());
        Ok(Self { env, limits, providers, records, failures: Mutex::default() })
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

    /// Forgets who may use images that are gone for a while.
    pub(super) fn retain(&self, image_refs: &BTreeSet<String>, before: Timestamp) {
        if let Err(err) = self.records.retain(image_refs, before) {
            tracing::warn!(%err, "cannot forget images that are gone");
        }
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
        let mut request = Request { context, pod, container, sandbox, image, tagged: String::new() };
        request.tagged = with_default_tag(image).map_err(|err| {
            let message =
                format!("Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {err}");
            request.event(EventType::Warning, "InspectFailed", message.clone());
            ImageError::new("InvalidImageName", message)
        })?;
        let default_policy = if request.tagged.ends_with(":latest") { "Always" } else { "IfNotPresent" };
        let policy = container.image_pull_policy.as_deref().unwrap_or(default_policy);
        let present = match policy {
            "Always" => None,
            _ => inspect(context, &request.tagged).await.map_err(|status| {
                let message = format!("Failed to inspect image \"{image}\": {}", rpc_message(&status));
                request.event(EventType::Warning, "InspectFailed", message.clone());
                ImageError::new("ImageInspectError", message)
            })?,
        };
        let never = |message: String| {
            request.event(EventType::Warning, "ErrImageNeverPull", message.clone());
            ImageError::new("ErrImageNeverPull", message)
        };
        if present.is_none() && policy == "Never" {
            return Err(never(format!("Container image \"{image}\" is not present with pull policy of Never")));
        }
        let mut credentials: Vec<Credential> =
            secrets.iter().flat_map(|secret| keyring::of_secret(secret, image)).collect();
        let lets_in = |credentials: &[Credential]| {
            let (present, _) = present.as_ref()?;
            let verification = &context.config.images.verification;
            let pull = self.records.must_pull(verification, image, &present.image_ref, credentials);
            (!pull).then(|| present.clone())
        };
        let mut accessible = lets_in(&credentials);
        if accessible.is_none() {
            // Only now, because programs are started for them.
            credentials.extend(node_credentials(&request).await);
            credentials.extend(self.providers.credentials(context, pod, &repository(image)).await);
            accessible = lets_in(&credentials);
        }
        if let Some(present) = accessible {
            let message =
                format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
            request.event(EventType::Normal, "Pulled", message);
            return Ok(present);
        }
        if policy == "Never" {
            return Err(never(format!(
                "Container image \"{image}\" is present with pull policy of Never but does not have the proper credentials to access the image"
            )));
        }
        self.pull_or_wait(&request, &credentials).await
    }

    async fn pull_or_wait(&self, request: &Request<'_>, credentials: &[Credential]) -> Result<Present, ImageError> {
        let image = request.image;
        let key = format!("{}_{image}", spec::uid(request.pod));
        if let Some((until, last)) = self.waits(&key) {
            let message = format!("Back-off pulling image \"{image}\"");
            request.event(EventType::Normal, "BackOff", message.clone());
            let message = format!("{message}: {last}");
            return Err(ImageError { reason: "ImagePullBackOff", message, retry_at: Some(until) });
        }
        request.event(EventType::Normal, "Pulling", format!("Pulling image \"{image}\""));
        let began = self.env.instant();
        match self.pull(request, credentials).await {
            Ok(Pulled { present, size, took }) => {
                self.forget(&key);
                request.context.metrics.runtime.image_pulled(size, took);
                request.event(
                    EventType::Normal,
                    "Pulled",
                    format!(
                        "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {size} bytes.",
                        go_duration(took),
                        go_duration(began.elapsed()),
                    ),
                );
                Ok(present)
            }
            Err(text) => {
                request.event(EventType::Warning, "Failed", format!("Failed to pull image \"{image}\": {text}"));
                let (reason, message) = meaning(image, &text);
                let now = self.env.now();
                let mut failures = self.failures();
                failures.back_off.next(&key, now, now);
                failures.last.insert(key.clone(), format!("{reason}: {message}"));
                // Half way through the waiting time the reason turns into ImagePullBackOff.
                let half = now.saturating_add(failures.back_off.delay(&key) / 2).unwrap_or(Timestamp::MAX);
                Err(ImageError { reason, message, retry_at: Some(half) })
            }
        }
    }

    /// Pulls when its turn has come. An error is a message for people.
    async fn pull(&self, request: &Request<'_>, credentials: &[Credential]) -> Result<Pulled, String> {
        self.limits.take_turn(&self.env, self.pull_now(request, credentials)).await
    }

    async fn pull_now(&self, request: &Request<'_>, credentials: &[Credential]) -> Result<Pulled, String> {
        let began = self.env.instant();
        if !self.limits.admits(&self.env) {
            return Err("pull QPS exceeded".to_owned());
        }
        let note = |outcome: std::io::Result<()>| {
            outcome.map_err(|err| format!("failed to record the pull of image \"{}\": {err}", request.image))
        };
        note(self.records.intend(request.image))?;
        match pull_with_each(request, credentials).await {
            Ok((image_ref, credential)) => {
                let took = began.elapsed();
                // Some runtimes answer with another name of the image than the one by which it is known later on.
                let found = inspect(request.context, &image_ref).await.ok().flatten();
                let (present, size) = found.unwrap_or((Present { image_ref, ..Present::default() }, 0));
                note(self.records.pulled(request.image, &present.image_ref, credential, self.env.now()))?;
                Ok(Pulled { present, size, took })
            }
            Err(text) => {
                note(self.records.failed(request.image))?;
                Err(text)
            }
        }
    }
}

/// An image that has come.
struct Pulled {
    present: Present,
    /// Bytes.
    size: u64,
    /// How long it took without waiting.
    took: Duration,
}

/// The reason and the message that a container waits with after a pull has failed.
fn meaning(image: &str, text: &str) -> (&'static str, String) {
    // Runtimes put these words before what they say.
    for (reason, because) in [
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ] {
        if let Some(rest) = text.strip_prefix(reason) {
            return (reason, format!("image pull failed for {image} because {because}{rest}"));
        }
    }
    ("ErrImagePull", text.to_owned())
}

/// The node's own credentials that fit, from the first of its files that is there.
async fn node_credentials(request: &Request<'_>) -> Vec<Credential> {
    for path in &request.context.config.images.docker_configs {
        let Ok(bytes) = tokio::fs::read(path).await else { continue };
        match keyring::docker_config(&bytes, request.image) {
            Ok(found) => return found.into_iter().map(|auth| Credential { auth, source: Source::Node }).collect(),
            Err(err) => tracing::warn!(file = %path.display(), %err, "the node's credentials cannot be read"),
        }
    }
    Vec::new()
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

/// Pulls with each credential that fits, or without any: what the runtime calls the image, and what opened the door.
async fn pull_with_each<'a>(
    request: &Request<'_>,
    credentials: &'a [Credential],
) -> Result<(String, Option<&'a Credential>), String> {
    let attempts: Vec<Option<&Credential>> =
        if credentials.is_empty() { vec![None] } else { credentials.iter().map(Some).collect() };
    let mut failures: Vec<String> = Vec::new();
    for credential in attempts {
        let pull = v1::PullImageRequest {
            image: Some(v1::ImageSpec { image: request.tagged.clone(), ..v1::ImageSpec::default() }),
            auth: credential.map(|credential| credential.auth.clone()),
            sandbox_config: Some(request.sandbox.clone()),
        };
        match request.context.images.clone().pull_image(pull).await {
            Ok(answer) => return Ok((answer.into_inner().image_ref, credential)),
            Err(status) => {
                // A code that says nothing is left out, as upstream's kubelet does.
                let unknown = status.code() == v1::Code::Unknown;
                let text = if unknown { status.message().to_owned() } else { rpc_message(&status) };
                if !failures.contains(&text) {
                    failures.push(text);
                }
            }
        }
    }
    match failures.as_slice() {
        [only] => Err(only.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_say_has_a_meaning() {
        let check = |text: &str, reason: &str, message: &str| {
            let (told_reason, told) = meaning("r.io/a", text);
            assert_eq!((told_reason, told.as_str()), (reason, message));
        };
        check("no such image", "ErrImagePull", "no such image");
        check(
            "RegistryUnavailable: no route",
            "RegistryUnavailable",
            "image pull failed for r.io/a because the registry is unavailable: no route",
        );
        check(
            "SignatureValidationFailed: no key",
            "SignatureValidationFailed",
            "image pull failed for r.io/a because the signature validation failed: no key",
        );
    }
}
