//! ImagePolicyWebhook: another server is asked, by an ImageReview, whether pods may run their images.

use std::path::PathBuf;
use std::time::Duration;

use api::status::Status;
use base::{Env, TtlCache};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::control_config::{AdmissionConfigurationError, malformed};
use super::{Attributes, Handler, Operation, Plugin};
use crate::access::RemoteError;
use crate::access::remote::{Remote, TIMEOUT};

pub(super) const PLUGIN: Plugin = Plugin {
    validate: &[(Operation::Create, HANDLER), (Operation::Update, HANDLER)],
    ..Plugin::off("ImagePolicyWebhook")
};

const HANDLER: Handler = Handler::Later(|attributes, pod| Box::pin(judge(attributes, pod)));

/// What its annotations for the audit log begin with.
const AUDIT_PREFIX: &str = "imagepolicywebhook.image-policy.k8s.io/";

/// Marks a pod that was let through because nobody could be asked.
const FAILED_OPEN: &str = "alpha.image-policy.k8s.io/failed-open";

/// Annotations of pods with this in their keys are shown.
const SHOWN: &str = ".image-policy.k8s.io/";

/// The plugin's configuration.
#[derive(Clone, Debug)]
pub(crate) struct ImagePolicy {
    kubeconfig: PathBuf,
    /// How long answers are good; `None` asks anew.
    allow_ttl: Option<Duration>,
    deny_ttl: Option<Duration>,
    /// The pause after the first attempt.
    retry_backoff: Duration,
    /// What holds when nobody can be asked.
    default_allow: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    image_policy: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    kube_config_file: PathBuf,
    #[serde(default, rename = "allowTTL")]
    allow_ttl: i64,
    #[serde(default, rename = "denyTTL")]
    deny_ttl: i64,
    #[serde(default)]
    retry_backoff: i64,
    #[serde(default)]
    default_allow: bool,
}

/// A setting that is a time: its unit, its bounds, and what it is when it is 0. With -1 there is none.
struct Setting {
    name: &'static str,
    unit: Duration,
    bounds: (Duration, Duration),
    default: Duration,
}

impl Setting {
    fn read(&self, given: i64) -> Result<Option<Duration>, AdmissionConfigurationError> {
        match given {
            -1 => return Ok(None),
            0 => return Ok(Some(self.default)),
            _ => {}
        }
        let (min, max) = self.bounds;
        let time = u32::try_from(given).ok().and_then(|given| self.unit.checked_mul(given));
        let time = time.filter(|time| (min..=max).contains(time));
        time.map(Some).ok_or_else(|| {
            let why =
                format!("{}: valid value is between {min:?} and {max:?}, got {given} of {:?}", self.name, self.unit);
            malformed("the configuration of ImagePolicyWebhook", why)
        })
    }
}

/// Reads the plugin's configuration.
pub(super) fn configure(document: Value) -> Result<ImagePolicy, AdmissionConfigurationError> {
    let read: Configuration =
        serde_json::from_value(document).map_err(|err| malformed("the configuration of ImagePolicyWebhook", err))?;
    let ttl = |name, default| Setting {
        name,
        unit: Duration::from_secs(1),
        bounds: (Duration::from_secs(1), Duration::from_secs(30 * 60)),
        default,
    };
    let backoff = Setting {
        name: "retryBackoff",
        unit: Duration::from_millis(1),
        bounds: (Duration::from_millis(1), Duration::from_secs(5 * 60)),
        default: Duration::from_millis(500),
    };
    let settings = read.image_policy;
    Ok(ImagePolicy {
        kubeconfig: settings.kube_config_file,
        allow_ttl: ttl("allowTTL", Duration::from_secs(5 * 60)).read(settings.allow_ttl)?,
        deny_ttl: ttl("denyTTL", Duration::from_secs(30)).read(settings.deny_ttl)?,
        retry_backoff: backoff.read(settings.retry_backoff)?.unwrap_or_default(),
        default_allow: settings.default_allow,
    })
}

/// What the server says of the images of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    allowed: bool,
    reason: String,
    audit_annotations: Map<String, Value>,
}

/// Asks the server.
pub(super) struct ImageReviews {
    url: Url,
    remote: Remote,
    settings: ImagePolicy,
    answers: TtlCache<[u8; 32], Answer>,
}

impl ImageReviews {
    pub(super) fn new(settings: &ImagePolicy, env: Env) -> Result<Self, RemoteError> {
        let (url, remote) = Remote::from_kubeconfig(&settings.kubeconfig, env.clone())?;
        let remote = remote.pausing(settings.retry_backoff);
        Ok(Self { url, remote, settings: settings.clone(), answers: TtlCache::new(env) })
    }

    async fn ask(&self, spec: Value) -> Result<Answer, String> {
        let key = Sha256::digest(spec.to_string()).into();
        if let Some(answer) = self.answers.get(&key) {
            return Ok(answer);
        }
        let review = json!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview", "spec": spec});
        let mut answer = self.remote.post(&self.url, &review, TIMEOUT).await.map_err(|err| err.to_string())?;
        let status = answer["status"].take();
        if !status.is_object() {
            return Err(format!("{}: the answer is no ImageReview with a status", self.url));
        }
        let answer: Answer = serde_json::from_value(status).map_err(|err| err.to_string())?;
        let ttl = if answer.allowed { self.settings.allow_ttl } else { self.settings.deny_ttl };
        if let Some(ttl) = ttl {
            self.answers.put(key, answer.clone(), ttl);
        }
        Ok(answer)
    }
}

/// Refuses a pod whose images the server does not allow.
async fn judge(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let lists: &[&str] = match attributes.caller.subresource {
        "" => &["containers", "initContainers"],
        "ephemeralcontainers" => &["ephemeralContainers"],
        _ => return Ok(()),
    };
    let resource = attributes.scope.resource;
    let reviews = attributes.registry.admission.image_reviews.as_ref();
    let is_pod = resource.group.is_empty() && &*resource.plural == "pods";
    let Some(reviews) = reviews.filter(|_| is_pod) else { return Ok(()) };
    let answer = match reviews.ask(spec(attributes, pod, lists)).await {
        Ok(answer) => answer,
        Err(why) => {
            tracing::warn!(why, allowed = reviews.settings.default_allow, "no answer about images");
            if !reviews.settings.default_allow {
                return Err(attributes.forbidden(pod, why));
            }
            attributes.annotate(format!("{AUDIT_PREFIX}failed-open"), || "true".to_owned());
            api::meta::set_annotation(pod, FAILED_OPEN, "true");
            return Ok(());
        }
    };
    for (key, value) in &answer.audit_annotations {
        attributes.annotate(format!("{AUDIT_PREFIX}{key}"), || value.as_str().unwrap_or_default().to_owned());
    }
    match (answer.allowed, answer.reason.as_str()) {
        (true, _) => Ok(()),
        (false, "") => Err(attributes.forbidden(pod, "one or more images rejected by webhook backend")),
        (false, why) => {
            let why = format!("image policy webhook backend denied one or more images: {why}");
            Err(attributes.forbidden(pod, why))
        }
    }
}

/// What is asked.
fn spec(attributes: &Attributes<'_>, pod: &Value, lists: &[&str]) -> Value {
    let containers = lists.iter().flat_map(|list| api::quota::amounts::containers(pod, list));
    let images: Vec<Value> = containers.map(|container| json!({"image": container["image"]})).collect();
    let annotations = api::meta::annotations(pod).into_iter().flatten().filter(|(key, _)| key.contains(SHOWN));
    let annotations: Map<String, Value> = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut spec = json!({"containers": images, "namespace": attributes.scope.namespace});
    if !annotations.is_empty() {
        spec["annotations"] = annotations.into();
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(settings: Value, expected: Result<(Option<u64>, Option<u64>, u128), &str>) {
        let found = configure(json!({"imagePolicy": settings})).map_err(|err| err.to_string());
        let seconds = |ttl: Option<Duration>| ttl.map(|ttl| ttl.as_secs());
        let found =
            found.map(|found| (seconds(found.allow_ttl), seconds(found.deny_ttl), found.retry_backoff.as_millis()));
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned)),
        }
    }

    #[test]
    fn times_have_defaults_and_bounds() {
        check(json!({"kubeConfigFile": "a"}), Ok((Some(300), Some(30), 500)));
        let given =
            json!({"kubeConfigFile": "a", "allowTTL": 50, "denyTTL": -1, "retryBackoff": 100, "defaultAllow": true});
        check(given, Ok((Some(50), None, 100)));
        let why = "allowTTL: valid value is between 1s and 1800s, got 1801 of 1s";
        check(json!({"kubeConfigFile": "a", "allowTTL": 1801}), Err(why));
        check(
            json!({"kubeConfigFile": "a", "retryBackoff": -2}),
            Err("retryBackoff: valid value is between 1ms and 300s"),
        );
        check(json!({}), Err("kubeConfigFile"));
    }
}
