//! A server that is asked what somebody may do, by SubjectAccessReviews.

use std::path::Path;
use std::time::Duration;

use base::{Env, TtlCache};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::configuration::{FailurePolicy, Webhook};
use super::{Decision, Refused};
use crate::access::attributes::{Attributes, review};
use crate::access::remote::{Remote, RemoteError};

/// The longest question whose answer is kept: what is asked is the asker's choice.
const MAX_KEPT: usize = 10_000;

/// What the server says.
#[derive(Clone, Debug)]
struct Answer {
    allowed: bool,
    denied: bool,
    reason: String,
}

/// Asks another server.
pub(super) struct WebhookAuthorizer {
    url: Url,
    remote: Remote,
    settings: Webhook,
    conditions: Vec<cel::access::Condition>,
    cache: TtlCache<[u8; 32], Answer>,
}

impl WebhookAuthorizer {
    /// One as its settings say, whose conditions compile.
    pub(super) fn new(
        settings: Webhook,
        conditions: Vec<cel::access::Condition>,
        env: Env,
    ) -> Result<Self, RemoteError> {
        let (url, remote) = Remote::from_kubeconfig(Path::new(&settings.kubeconfig), env.clone())?;
        Ok(Self { url, remote, settings, conditions, cache: TtlCache::new(env) })
    }

    /// What the server says, if the conditions hold.
    pub(super) async fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let spec = review::spec(attributes);
        match self.is_meant(&spec) {
            Ok(true) => {}
            Ok(false) => return Decision::NoOpinion(Refused::default()),
            Err(why) => return self.failed(why),
        }
        let question = spec.to_string();
        let key = Sha256::digest(&question).into();
        let answer = match self.cache.get(&key) {
            Some(answer) => answer,
            None => match self.ask(spec).await {
                Ok(answer) => {
                    let ttl =
                        if answer.allowed { self.settings.authorized_ttl } else { self.settings.unauthorized_ttl };
                    if let Some(ttl) = ttl.filter(|_| question.len() < MAX_KEPT) {
                        self.cache.put(key, answer.clone(), ttl);
                    }
                    answer
                }
                Err(why) => return self.failed(why),
            },
        };
        let reason = answer.reason;
        match (answer.allowed, answer.denied) {
            (true, true) => {
                let error = "webhook subject access review returned both allow and deny response".to_owned();
                Decision::Deny(Refused { reason, error: Some(error) })
            }
            (true, false) => Decision::Allow(reason.into()),
            (false, true) => Decision::Deny(Refused { reason, error: None }),
            (false, false) => Decision::NoOpinion(Refused { reason, error: None }),
        }
    }

    /// Whether all conditions hold. One that does not settles it, whatever is wrong with others.
    fn is_meant(&self, spec: &Value) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let request = shown(spec);
        let mut errors = Vec::new();
        for condition in &self.conditions {
            match condition.holds(&request) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(err) => errors.push(format!(
                    "cel evaluation error: expression '{}' resulted in error: {err}",
                    condition.source()
                )),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    async fn ask(&self, mut spec: Value) -> Result<Answer, String> {
        if self.settings.version == "v1beta1" {
            spec["group"] = spec["groups"].take();
            spec.as_object_mut().and_then(|spec| spec.remove("groups"));
        }
        let review = json!({
            "apiVersion": format!("authorization.k8s.io/{}", self.settings.version), "kind": "SubjectAccessReview",
            "spec": spec,
        });
        let timeout = self.settings.timeout;
        let answer = self.remote.post(&self.url, &review, timeout).await.map_err(|err| err.to_string())?;
        let status = &answer["status"];
        if !status.is_object() {
            return Err(format!("{}: the answer is no SubjectAccessReview with a status", self.url));
        }
        let is = |field: &str| status[field] == true;
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        Ok(Answer { allowed: is("allowed"), denied: is("denied"), reason })
    }

    fn failed(&self, why: String) -> Decision {
        tracing::error!(authorizer = self.settings.name, why, "authorization webhook could not be asked");
        let refused = Refused { reason: String::new(), error: Some(why) };
        match self.settings.failure_policy {
            FailurePolicy::NoOpinion => Decision::NoOpinion(refused),
            FailurePolicy::Deny => Decision::Deny(refused),
        }
    }
}

/// What conditions are shown: the fields of users and attributes are all there, empty or not; selectors only where
/// there are some.
fn shown(spec: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut request = json!({
        "user": text(&spec["user"]), "groups": spec["groups"], "uid": text(&spec["uid"]), "extra": {},
    });
    if let Some(extra) = spec.get("extra") {
        request["extra"] = extra.clone();
    }
    let complete = |given: &Value, fields: &[&str]| {
        let mut all = given.clone();
        for field in fields {
            all[*field] = text(&given[*field]).into();
        }
        all
    };
    if let Some(resource) = spec.get("resourceAttributes") {
        let fields = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
        request["resourceAttributes"] = complete(resource, &fields);
    }
    if let Some(path) = spec.get("nonResourceAttributes") {
        request["nonResourceAttributes"] = complete(path, &["path", "verb"]);
    }
    request
}

/// How long an answer of a server is waited for whose settings do not say.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
