//! Programs that know credentials for registries: upstream's image credential providers.
//!
//! A program is started for an image that fits one of its patterns, reads a `CredentialProviderRequest` and writes a
//! `CredentialProviderResponse`, which is kept as long as it says for the image, the registry or all images.

mod config;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cri::AuthConfig;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::Instant;

use super::keyring::{Credential, Source, matches};
use crate::context::Context;
use crate::pods::spec;
use config::{CacheType, ProviderConfig, TokenAttributes};

pub use config::ProvidersError;

/// How long a program may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The longest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;

/// Why a provider gave nothing.
#[derive(Debug, thiserror::Error)]
enum ProviderError {
    /// It did not run.
    #[error("cannot run {}: {source}", program.display())]
    Run { program: PathBuf, source: std::io::Error },
    /// It ended with an error.
    #[error("{} failed ({status}): {said}", program.display())]
    Failed { program: PathBuf, status: std::process::ExitStatus, said: String },
    /// It took too long.
    #[error("{} did not end within {} seconds", program.display(), TIME_LIMIT.as_secs())]
    Slow { program: PathBuf },
    /// Its answer is none.
    #[error("{} gave no valid answer: {reason}", program.display())]
    Answer { program: PathBuf, reason: String },
    /// What it is to be told of the service account is not to be had.
    #[error("service account: {0}")]
    Account(String),
}

/// All providers of a node.
#[derive(Debug, Default)]
pub struct Providers(Vec<Provider>);

#[derive(Debug)]
struct Provider {
    config: ProviderConfig,
    program: PathBuf,
    kept: Mutex<HashMap<String, Kept>>,
    /// Held while the program runs, so that many pods of one image start it once.
    running: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Kept {
    auth: BTreeMap<String, Login>,
    until: Instant,
}

#[derive(Clone, Debug, Deserialize)]
struct Login {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    cache_key_type: String,
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, Login>>,
}

/// What a provider is told of the pod, and for whom its answer is good.
#[derive(Debug, Default)]
struct Account {
    token: String,
    annotations: BTreeMap<String, String>,
    key: String,
    source: Option<Source>,
}

impl Providers {
    /// Reads the configuration; the programs lie in `bin_dir`.
    pub fn load(config: &Path, bin_dir: &Path) -> Result<Self, ProvidersError> {
        let provider = |config: ProviderConfig| Provider {
            program: bin_dir.join(&config.name),
            config,
            kept: Mutex::default(),
            running: tokio::sync::Mutex::default(),
        };
        Ok(Self(config::read(config)?.into_iter().map(provider).collect()))
    }

    /// The credentials that fit an image, given by its complete name without tag. A provider that fails gives none.
    pub async fn credentials(&self, context: &Context, pod: &Pod, name: &str) -> Vec<Credential> {
        let mut found = Vec::new();
        for provider in self.0.iter().filter(|provider| provider.concerns(name)) {
            let account = match provider.account(context, pod).await {
                Ok(Some(account)) => account,
                Ok(None) => continue,
                Err(err) => {
                    tracing::warn!(provider = provider.config.name, image = name, %err, "no credentials");
                    continue;
                }
            };
            match provider.ask(name, &account, context).await {
                Ok(auth) => found.extend(fitting(auth, name, account.source.as_ref().unwrap_or(&Source::Node))),
                Err(err) => tracing::warn!(provider = provider.config.name, image = name, %err, "no credentials"),
            }
        }
        found
    }
}

/// The logins whose patterns fit, the longest pattern first.
fn fitting(auth: BTreeMap<String, Login>, name: &str, source: &Source) -> Vec<Credential> {
    let fit = auth.into_iter().rev().filter(|(pattern, _)| matches(pattern, name));
    fit.map(|(_, login)| Credential {
        auth: AuthConfig { username: login.username, password: login.password, ..AuthConfig::default() },
        source: source.clone(),
    })
    .collect()
}

impl Provider {
    fn concerns(&self, name: &str) -> bool {
        self.config.match_images.iter().any(|pattern| matches(pattern, name))
    }

    /// What the program is told of the pod's account; `None` where it is not to be asked.
    async fn account(&self, context: &Context, pod: &Pod) -> Result<Option<Account>, ProviderError> {
        let Some(attributes) = &self.config.token_attributes else { return Ok(Some(Account::default())) };
        let namespace = spec::namespace(pod);
        let name = spec::spec(pod).service_account_name.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Ok((!attributes.require_service_account).then(Account::default));
        }
        let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
        let object = api.get(name).await.map_err(|err| ProviderError::Account(err.to_string()))?;
        let all = object.metadata.annotations.unwrap_or_default();
        let Some(annotations) = annotations(attributes, &all) else { return Ok(None) };
        let projection = ServiceAccountTokenProjection {
            audience: Some(attributes.service_account_token_audience.clone()),
            expiration_seconds: None,
            path: attributes.service_account_token_audience.clone(),
        };
        let token = context.tokens.token(context, pod, "image-credential-provider", &projection).await;
        let token = token.map_err(|err| ProviderError::Account(err.to_string()))?.token;
        let uid = object.metadata.uid.unwrap_or_default();
        let told = match attributes.cache_type {
            CacheType::ServiceAccount => format!("{namespace}/{name}/{uid}/{annotations:?}"),
            CacheType::Token => token.clone(),
        };
        let key = format!("{:x}", Sha256::digest(told));
        let source = Some(Source::ServiceAccount(namespace.to_owned(), name.to_owned(), uid));
        Ok(Some(Account { token, annotations, key, source }))
    }

    /// What is kept for an image, or what the program says.
    async fn ask(
        &self,
        name: &str,
        account: &Account,
        context: &Context,
    ) -> Result<BTreeMap<String, Login>, ProviderError> {
        if let Some(auth) = self.kept(name, account, context.env.instant()) {
            return Ok(auth);
        }
        let _alone = self.running.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(auth) = self.kept(name, account, context.env.instant()) {
            return Ok(auth);
        }
        let began = context.env.instant();
        let answer = tokio::time::timeout(TIME_LIMIT, self.run(name, account)).await;
        let slow = |_| ProviderError::Slow { program: self.program.clone() };
        let answer = answer.map_err(slow).flatten();
        context.metrics.credentials.ran(&self.config.name, began.elapsed(), answer.is_err());
        let answer = answer?;
        self.keep(name, account, answer, context.env.instant())
    }

    fn kept(&self, name: &str, account: &Account, now: Instant) -> Option<BTreeMap<String, Login>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, entry| entry.until > now);
        let keys = ["Image", "Registry", "Global"].into_iter().filter_map(|kind| key(kind, name, account));
        keys.into_iter().find_map(|key| kept.get(&key)).map(|entry| entry.auth.clone())
    }

    fn keep(
        &self,
        name: &str,
        account: &Account,
        answer: Answer,
        now: Instant,
    ) -> Result<BTreeMap<String, Login>, ProviderError> {
        let wrong = |reason: String| ProviderError::Answer { program: self.program.clone(), reason };
        if answer.kind != "CredentialProviderResponse" || answer.api_version != self.config.api_version {
            return Err(wrong(format!("kind {} of {}", answer.kind, answer.api_version)));
        }
        let key = key(&answer.cache_key_type, name, account)
            .ok_or_else(|| wrong(format!("cacheKeyType {:?}", answer.cache_key_type)))?;
        let duration = match &answer.cache_duration {
            Some(text) => config::parse_duration(text).ok_or_else(|| wrong(format!("cacheDuration {text:?}")))?,
            None => self.config.default_cache_duration,
        };
        let auth = answer.auth.unwrap_or_default();
        if !duration.is_zero() && !auth.is_empty() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(key, Kept { auth: auth.clone(), until: now + duration });
        }
        Ok(auth)
    }

    async fn run(&self, name: &str, account: &Account) -> Result<Answer, ProviderError> {
        let mut request = json!({
            "apiVersion": self.config.api_version,
            "kind": "CredentialProviderRequest",
            "image": name,
        });
        if !account.token.is_empty() {
            request["serviceAccountToken"] = json!(account.token);
        }
        if !account.annotations.is_empty() {
            request["serviceAccountAnnotations"] = json!(account.annotations);
        }
        let failed = |source| ProviderError::Run { program: self.program.clone(), source };
        let mut command = Command::new(&self.program);
        command.args(&self.config.args).envs(self.config.env.iter().map(|one| (&one.name, &one.value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let text = request.to_string();
        let tell = async move {
            if let Some(mut stdin) = stdin {
                // A program that does not want to know may still have an answer.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        };
        let (answer, said) = (collect(stdout), collect(stderr));
        let (status, (), answer, said) = tokio::join!(child.wait(), tell, answer, said);
        let (status, answer) = (status.map_err(failed)?, answer.map_err(failed)?);
        if !status.success() {
            let said = String::from_utf8_lossy(&said.unwrap_or_default()).trim().chars().take(512).collect();
            return Err(ProviderError::Failed { program: self.program.clone(), status, said });
        }
        serde_json::from_slice(&answer)
            .map_err(|err| ProviderError::Answer { program: self.program.clone(), reason: err.to_string() })
    }
}

/// The annotations that a provider is told; `None` if one is missing that it needs.
fn annotations(attributes: &TokenAttributes, all: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let mut told = BTreeMap::new();
    for key in &attributes.required_service_account_annotation_keys {
        told.insert(key.clone(), all.get(key)?.clone());
    }
    for key in &attributes.optional_service_account_annotation_keys {
        told.extend(all.get_key_value(key).map(|(key, value)| (key.clone(), value.clone())));
    }
    Some(told)
}

/// Under what an answer is kept.
fn key(kind: &str, name: &str, account: &Account) -> Option<String> {
    let of = match kind {
        "Image" => name,
        "Registry" => name.split('/').next().unwrap_or_default(),
        "Global" => "",
        _ => return None,
    };
    Some(format!("{kind} {of} {}", account.key))
}

async fn collect(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let mut bounded = pipe.take(MAX_ANSWER);
        bounded.read_to_end(&mut bytes).await?;
        // What is too much is read and dropped, or the program would wait for ever.
        tokio::io::copy(&mut bounded.into_inner(), &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A provider whose program is the shell with this script, which also counts how often it ran.
    fn provider(dir: &Path, script: &str) -> Provider {
        let file = dir.join("script");
        fs::write(&file, format!("echo >> {}/runs\n{script}\n", dir.display())).expect("written");
        let text = r#"{"name": "program", "matchImages": ["*.io"], "defaultCacheDuration": "10s", "args": ["--x"],
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "env": [{"name": "WHO", "value": "me"}]}"#;
        let mut config: ProviderConfig = serde_json::from_str(text).expect("a configuration");
        config.args.insert(0, file.display().to_string());
        Provider {
            config,
            program: PathBuf::from("/bin/sh"),
            kept: Mutex::default(),
            running: tokio::sync::Mutex::default(),
        }
    }

    fn answer(kind: &str, more: &str) -> String {
        format!(
            r#"echo '{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"{kind}"{more},"auth":{{"*.io":{{"username":"'$WHO$1'","password":"p"}}}}}}'"#
        )
    }

    /// Asks about images one after the other, each after some seconds; how often the program ran.
    async fn runs(script: &str, asked: &[(&str, u64)]) -> usize {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (provider, account, mut now) = (provider(dir.path(), script), Account::default(), Instant::now());
        for (name, later) in asked {
            now += Duration::from_secs(*later);
            if provider.kept(name, &account, now).is_none() {
                let answer = provider.run(name, &account).await.expect("an answer");
                provider.keep(name, &account, answer, now).expect("kept");
            }
        }
        fs::read_to_string(dir.path().join("runs")).expect("it ran").lines().count()
    }

    #[tokio::test]
    async fn answers_are_kept_as_long_and_for_what_they_say() {
        let asked = [("a.io/x", 0), ("a.io/x", 5), ("a.io/y", 0), ("b.io/x", 0), ("a.io/x", 6)];
        assert_eq!(runs(&answer("Image", ""), &asked).await, 4);
        assert_eq!(runs(&answer("Registry", ""), &asked).await, 3);
        assert_eq!(runs(&answer("Global", ""), &asked).await, 2);
        assert_eq!(runs(&answer("Global", r#","cacheDuration":"1h""#), &asked).await, 1);
        assert_eq!(runs(&answer("Global", r#","cacheDuration":"0s""#), &asked).await, 5);
    }

    #[tokio::test]
    async fn a_program_is_told_the_image_and_its_answer_is_checked() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ask = async |script: &str| {
            let (provider, account) = (provider(dir.path(), script), Account::default());
            let answer = provider.run("a.io/x", &account).await?;
            let auth = provider.keep("a.io/x", &account, answer, Instant::now())?;
            Ok::<_, ProviderError>(fitting(auth, "a.io/x", &Source::Node))
        };
        let found =
            ask(&format!("cat > {}/request\n{}", dir.path().display(), answer("Image", ""))).await.expect("given");
        assert_eq!(found[0].auth.username, "me--x");
        let request: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.path().join("request")).expect("read")).expect("JSON");
        assert_eq!((&request["kind"], &request["image"]), (&json!("CredentialProviderRequest"), &json!("a.io/x")));
        for (script, expected) in [
            ("echo no idea >&2; exit 3", "no idea"),
            ("echo nonsense", "no valid answer"),
            (&answer("Planet", ""), "cacheKeyType"),
            (&answer("Image", "").replace("k8s.io/v1", "k8s.io/v2"), "no valid answer"),
            (&answer("Image", r#","cacheDuration":"soon""#), "cacheDuration"),
        ] {
            let err = ask(script).await.expect_err("it fails");
            assert!(err.to_string().contains(expected), "{err}");
        }
    }
}
