//! Tokens that another server knows: it is asked by a TokenReview.

use std::path::PathBuf;
use std::time::Duration;

use base::{Env, TtlCache};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::{Authenticated, Outcome};
use crate::access::identity::Identity;
use crate::access::remote::{Remote, RemoteError, TIMEOUT};

/// The flags `--authentication-token-webhook-*`.
#[derive(Clone, Debug)]
pub struct TokenWebhookConfig {
    /// `--authentication-token-webhook-config-file`: a kubeconfig that names the server.
    pub config_file: PathBuf,
    /// `--authentication-token-webhook-version`: `v1` or `v1beta1` of `authentication.k8s.io`.
    pub version: String,
    /// `--authentication-token-webhook-cache-ttl`.
    pub cache_ttl: Duration,
}

/// What the server says of a token: whose it is and for which audiences, nothing, or why it is bad.
type Judged = Result<Option<(Identity, Vec<String>)>, String>;

/// Asks another server.
pub(super) struct TokenWebhook {
    url: Url,
    remote: Remote,
    version: String,
    audiences: Vec<String>,
    ttl: Duration,
    cache: TtlCache<[u8; 32], Judged>,
}

impl TokenWebhook {
    pub(super) fn new(config: &TokenWebhookConfig, audiences: Vec<String>, env: Env) -> Result<Self, RemoteError> {
        let (url, remote) = Remote::from_kubeconfig(&config.config_file, env.clone())?;
        let (version, ttl) = (config.version.clone(), config.cache_ttl);
        Ok(Self { url, remote, version, audiences, ttl, cache: TtlCache::new(env) })
    }

    pub(super) async fn authenticate(&self, token: &str, audiences: &[String]) -> Outcome {
        let key = Sha256::digest(format!("{token}\n{}", audiences.join("\n"))).into();
        let judged = match self.cache.get(&key) {
            Some(judged) => judged,
            None => {
                let review = json!({
                    "apiVersion": format!("authentication.k8s.io/{}", self.version), "kind": "TokenReview",
                    "spec": {"token": token, "audiences": audiences},
                });
                // A server that cannot be asked may be there again a moment later: nothing is kept.
                let answer = self.remote.post(&self.url, &review, TIMEOUT).await.map_err(|err| err.to_string())?;
                let judged = self.judge(&answer["status"], audiences);
                self.cache.put(key, judged.clone(), self.ttl);
                judged
            }
        };
        Ok(judged?.map(|(identity, audiences)| Authenticated { identity, audiences }))
    }

    fn judge(&self, status: &Value, wanted: &[String]) -> Judged {
        if status["authenticated"] != true {
            return match status["error"].as_str() {
                Some(why) if !why.is_empty() => Err(why.to_owned()),
                _ => Ok(None),
            };
        }
        let said = texts(&status["audiences"]);
        // A server that knows no audiences speaks of those of this one.
        let good = if said.is_empty() { &self.audiences } else { &said };
        let shared: Vec<String> = wanted.iter().filter(|audience| good.contains(audience)).cloned().collect();
        if shared.is_empty() {
            return Ok(None);
        }
        let user = &status["user"];
        let text = |field: &str| user[field].as_str().unwrap_or_default().to_owned();
        let extra = user["extra"].as_object().into_iter().flatten();
        let identity = Identity {
            user: text("username"),
            groups: texts(&user["groups"]),
            uid: Some(text("uid")).filter(|uid| !uid.is_empty()),
            extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
        };
        Ok(Some((identity, shared)))
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
