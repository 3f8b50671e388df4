//! Certificates of pods: asked for by PodCertificateRequests, which a signer somewhere in the cluster answers, and asked
//! for anew, with another key, when the signer said that it is time.
//!
//! Keys are kept in memory only: a kubelet that starts anew asks anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use client::EventType;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestSpec};
use k8s_openapi::api::core::v1::{Pod, PodCertificateProjection, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;
use pki::PodKey;

use crate::context::Context;
use crate::pods::{References, spec};
use crate::sources::{Subscription, named};

/// Renewals are spread over so many seconds, so that pods that started together do not ask together for ever.
const SPREAD: u64 = 300;
/// So long after its time a renewal is overdue.
const OVERDUE: SignedDuration = SignedDuration::from_mins(10);
/// After a certificate could not be asked for.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// The certificates of pods' volumes.
#[derive(Default)]
pub struct PodCertificates(Mutex<HashMap<Key, Record>>);

/// A pod's UID, a volume, and the number of the source in it.
type Key = (String, String, usize);

/// A source of a volume that is a certificate.
pub struct Wanted<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The volume.
    pub volume: &'a str,
    /// The source's number in the volume.
    pub index: usize,
    /// The source.
    pub source: &'a PodCertificateProjection,
    /// The pod's hold on what it refers to.
    pub references: &'a References,
}

/// A key and its certificate.
pub struct Credentials {
    /// The private key, PEM.
    pub key: String,
    /// The certificate and those that lead to its authority, PEM.
    pub chain: String,
    /// When it has to be looked at again.
    pub refresh_at: Timestamp,
}

/// How far a source has come.
#[derive(Default)]
struct Record {
    current: Option<Issued>,
    /// What was asked for and is not answered yet.
    asked: Option<Asked>,
    /// That there will be no certificate any more, and why.
    refused: Option<String>,
}

struct Issued {
    key: String,
    chain: String,
    refresh_at: Timestamp,
    not_after: Timestamp,
    told_overdue: bool,
    told_expired: bool,
}

struct Asked {
    key: String,
    name: String,
    requests: Subscription<PodCertificateRequest>,
}

impl PodCertificates {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the certificates of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().retain(|(of, _, _), _| of != uid);
    }

    /// The key and certificate of a source; an error, which is a message for the user, until there is one.
    pub async fn credentials(&self, context: &Context, wanted: &Wanted<'_>) -> Result<Credentials, String> {
        let key = (spec::uid(wanted.pod).to_owned(), wanted.volume.to_owned(), wanted.index);
        // Only the pod's worker asks. If it drops this call, the pod has to stop and needs no certificate any more.
        let mut record = self.lock().remove(&key).unwrap_or_default();
        let outcome = record.advance(context, wanted).await;
        let answer = record.answer(context, wanted, outcome);
        self.lock().insert(key, record);
        answer
    }
}

impl Record {
    /// Asks if it is time, and takes in what was answered.
    async fn advance(&mut self, context: &Context, wanted: &Wanted<'_>) -> Result<(), String> {
        let now = context.env.now();
        if self.refused.is_some() {
            return Ok(());
        }
        if self.asked.is_none() && self.current.as_ref().is_none_or(|current| current.refresh_at <= now) {
            self.asked = Some(ask(context, wanted).await?);
        }
        let Some(asked) = &self.asked else { return Ok(()) };
        let request = asked.requests.get(&asked.name).await;
        let request = request.map_err(|err| format!("failed to read PodCertificateRequest {}: {err}", asked.name))?;
        let Some(request) = request else {
            let message = format!("PodCertificateRequest {} was deleted before it was answered", asked.name);
            self.asked = None;
            return Err(message);
        };
        match answer_of(&request) {
            None => Ok(()),
            Some(Answer::Refused { kind, message }) => {
                let name = format!("{}/{}", spec::namespace(wanted.pod), asked.name);
                let text = format!("PodCertificateRequest {name} {kind}, {message}");
                context.event(wanted.pod, None, EventType::Warning, kind.event_reason(), text);
                self.refused = Some(format!("PodCertificateRequest was permanently {}: {message}", kind.done()));
                self.asked = None;
                Ok(())
            }
            Some(Answer::Issued { chain, refresh_at, not_after }) => {
                let spread = SignedDuration::from_secs_f64(context.env.random().fraction() * SPREAD as f64);
                self.current = Some(Issued {
                    key: asked.key.clone(),
                    chain,
                    // A certificate may end sooner than others are spread.
                    refresh_at: refresh_at.saturating_add(spread).unwrap_or(refresh_at).min(not_after),
                    not_after,
                    told_overdue: false,
                    told_expired: false,
                });
                self.asked = None;
                Ok(())
            }
        }
    }

    /// What there is now.
    fn answer(
        &mut self,
        context: &Context,
        wanted: &Wanted<'_>,
        outcome: Result<(), String>,
    ) -> Result<Credentials, String> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let Some(current) = &mut self.current else {
            return Err(outcome.err().unwrap_or_else(|| "credential bundle is not issued yet".to_owned()));
        };
        let now = context.env.now();
        let overdue_at = current.refresh_at.saturating_add(OVERDUE).unwrap_or(Timestamp::MAX);
        let tell = |reason: &'static str, message: &str| {
            context.event(wanted.pod, None, EventType::Warning, reason, message.to_owned());
        };
        if now >= overdue_at && !current.told_overdue {
            tell("CertificateOverdueForRefresh", "PodCertificate refresh overdue");
            current.told_overdue = true;
        }
        if now >= current.not_after && !current.told_expired {
            tell("CertificateExpired", "PodCertificate expired");
            current.told_expired = true;
        }
        let retry = now.saturating_add(RETRY).unwrap_or(Timestamp::MAX);
        let refresh_at = if let Err(err) = outcome {
            tracing::warn!(uid = spec::uid(wanted.pod), volume = wanted.volume, err, "certificate cannot be renewed");
            retry
        } else {
            // An answer wakes the pod by itself.
            let times = [current.refresh_at, overdue_at, current.not_after];
            times.into_iter().filter(|time| *time > now).min().unwrap_or(retry)
        };
        Ok(Credentials { key: current.key.clone(), chain: current.chain.clone(), refresh_at })
    }
}

/// Asks for a certificate for a new key.
async fn ask(context: &Context, wanted: &Wanted<'_>) -> Result<Asked, String> {
    let (pod, source) = (wanted.pod, wanted.source);
    let (namespace, uid) = (spec::namespace(pod), spec::uid(pod));
    let account = spec::spec(pod).service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    let fail = |what: &str, err: &dyn std::fmt::Display| format!("failed to {what}: {err}");
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
    let account = accounts.get(account).await.map_err(|err| fail("read the service account", &err))?;
    let node = context.node.lister().get(None, &context.config.node_name);
    let node = node.ok_or_else(|| "the node is not known yet".to_owned())?;
    let (key_type, signed) = (source.key_type.clone(), uid.to_owned());
    let key = tokio::task::spawn_blocking(move || PodKey::generate(&key_type, &signed)).await;
    let key = key.map_err(|err| fail("make a key", &err))?.map_err(|err| err.to_string())?;
    let request = PodCertificateRequest {
        metadata: ObjectMeta {
            generate_name: Some("req-".to_owned()),
            namespace: Some(namespace.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: spec::name(pod).to_owned(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: PodCertificateRequestSpec {
            signer_name: source.signer_name.clone(),
            pod_name: spec::name(pod).to_owned(),
            pod_uid: uid.to_owned(),
            service_account_name: account.metadata.name.clone().unwrap_or_default(),
            service_account_uid: account.metadata.uid.clone().unwrap_or_default(),
            node_name: context.config.node_name.clone(),
            node_uid: node.metadata.uid.clone().unwrap_or_default(),
            max_expiration_seconds: source.max_expiration_seconds,
            pkix_public_key: ByteString(key.public),
            proof_of_possession: ByteString(key.proof),
            unverified_user_annotations: source.user_annotations.clone(),
        },
        status: None,
    };
    let requests: Api<PodCertificateRequest> = Api::namespaced(context.client.clone(), namespace);
    let made = requests.create(&PostParams::default(), &request).await;
    let made = made.map_err(|err| fail("create PodCertificateRequest", &err))?;
    let name = made.metadata.name.unwrap_or_default();
    // A kubelet may watch the requests of its own node.
    let fields = format!("{},spec.nodeName={}", named(&name), context.config.node_name);
    let requests = context.certificate_requests.subscribe(namespace, &fields, wanted.references.wake());
    Ok(Asked { key: key.pem, name, requests })
}

/// What a request was answered.
enum Answer {
    Issued { chain: String, refresh_at: Timestamp, not_after: Timestamp },
    Refused { kind: Refusal, message: String },
}

/// How a request ended without a certificate.
#[derive(Clone, Copy)]
enum Refusal {
    Denied,
    Failed,
}

impl Refusal {
    fn event_reason(self) -> &'static str {
        match self {
            Self::Denied => "Denied",
            Self::Failed => "Failed",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Denied => "was denied",
            Self::Failed => "failed",
        })
    }
}

/// The answer, if there is one.
fn answer_of(request: &PodCertificateRequest) -> Option<Answer> {
    let status = request.status.as_ref()?;
    status.conditions.iter().flatten().filter(|condition| condition.status == "True").find_map(|condition| {
        let refused = |kind| {
            let message = format!("reason={:?} message={:?}", condition.reason, condition.message);
            Some(Answer::Refused { kind, message })
        };
        match condition.type_.as_str() {
            "Denied" => refused(Refusal::Denied),
            "Failed" => refused(Refusal::Failed),
            "Issued" => {
                let certificates = pki::read_certificates(status.certificate_chain.as_deref().unwrap_or_default());
                Some(Answer::Issued {
                    chain: pki::write_certificates(&certificates),
                    refresh_at: status.begin_refresh_at.as_ref()?.0,
                    not_after: status.not_after.as_ref()?.0,
                })
            }
            _ => None,
        }
    })
}
