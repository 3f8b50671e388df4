//! ResourceQuota: what is created uses up the quotas of its namespace, and is refused beyond them.
//!
//! What is used stands in the status of a quota. It is raised with a compare on the revision that it was read at before
//! the object is written, so that requests that run at once never use more than there is; the quota controller lowers
//! it when objects go. Limits are those of the status too: a quota counts once its controller has seen it.

mod limited;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use api::kinds::Resource;
use api::status::Status;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Attributes, Operation, Plugin};
use crate::cache::Object;
use crate::registry::{Current, MAX_RETRIES, Put, Registry, Scope, Subject, Write, Writer};
use api::quota::Evaluator;
use api::quota::amounts::{self, Amounts};
pub(super) use limited::{LimitedResource, configure};

/// Who owns what is used: upstream writes it with a client that has no name of its own.
const WRITER: Writer<'static> = Writer { manager: "Go-http-client", subresource: "status" };

/// What it does is called when all else is done: [`charge`].
pub(super) const PLUGIN: Plugin = Plugin::named("ResourceQuota");

/// Lets the requests of a namespace change its quotas one after the other, as each would fail the compares of the others.
#[derive(Debug, Default)]
pub(crate) struct QuotaLocks([Mutex<()>; 32]);

impl QuotaLocks {
    fn of(&self, namespace: &str) -> &Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace);
        let index = usize::try_from(hash % self.0.len() as u64).expect("it is less than the length of an array");
        &self.0[index]
    }
}

/// What an object that is about to be written has used up.
#[derive(Debug, Default)]
#[must_use = "what is not written after all gives it back"]
pub(crate) struct Charge(Vec<Spent>);

#[derive(Debug)]
struct Spent {
    key: String,
    amounts: Amounts,
}

impl Charge {
    /// Gives it back, as the object was not written.
    pub(crate) async fn refund(self, registry: &Registry) -> Result<(), Status> {
        let Some(quotas) = quotas() else { return Ok(()) };
        for spent in self.0 {
            let mut current = registry.stored(quotas, &spent.key).await?;
            for _ in 0..MAX_RETRIES {
                let Some(quota) = current.take() else { break };
                let mut used = amounts::read(quota.value.pointer("/status/used"));
                for (name, amount) in &spent.amounts {
                    if let Some(used) = used.get_mut(name) {
                        *used -= (*used).min(*amount);
                    }
                }
                match write(registry, quotas, &spent.key, &quota, &used).await? {
                    Put::Applied(_) => break,
                    Put::Mismatch(now) => current = now,
                }
            }
        }
        Ok(())
    }
}

/// Uses up the quotas that an object counts for; a dry run only looks.
pub(super) async fn charge(attributes: &Attributes<'_>, object: &Value) -> Result<Charge, Status> {
    let Scope { resource, namespace } = attributes.scope;
    let evaluator = Evaluator { group: &resource.group, plural: &resource.plural };
    let subresource = attributes.caller.subresource;
    let is_counted = match attributes.operation {
        Operation::Create => subresource.is_empty(),
        Operation::Update => evaluator.counts_updates(subresource),
        Operation::Delete | Operation::Connect => false,
    };
    let (Some(namespace), Some(quotas)) = (namespace.filter(|_| is_counted), quotas()) else {
        return Ok(Charge::default());
    };
    let registry = attributes.registry;
    let limited = registry.config.admission.limited_resources.as_slice();
    let mut limiting = attributes.in_namespace("", "v1", "resourcequotas");
    if limiting.is_empty() && limited.is_empty() {
        return Ok(Charge::default());
    }
    let request = Request { attributes, evaluator, object, usage: evaluator.usage(object, registry.env.now()) };
    if request.check_covered(limited, &values(&limiting)).is_err() {
        registry.fresh().await?;
        limiting = attributes.in_namespace("", "v1", "resourcequotas");
        request.check_covered(limited, &values(&limiting))?;
    }
    let _turn = registry.admission.quota_locks.of(namespace).lock().await;
    let mut charge = Charge::default();
    for quota in limiting {
        let current = Current::cached(&quota);
        match request.spend(quotas, &quota.key, current).await {
            Ok(amounts) if amounts.is_empty() => {}
            Ok(amounts) => charge.0.push(Spent { key: quota.key.to_string(), amounts }),
            Err(refusal) => {
                charge.refund(registry).await?;
                return Err(refusal);
            }
        }
    }
    Ok(charge)
}

fn values(objects: &[Arc<Object>]) -> Vec<Value> {
    objects.iter().map(|object| object.value()).collect()
}

fn quotas() -> Option<&'static Resource> {
    api::kinds::find("", "v1", "resourcequotas").map(AsRef::as_ref)
}

/// A request that uses quota.
struct Request<'a> {
    attributes: &'a Attributes<'a>,
    evaluator: Evaluator<'a>,
    object: &'a Value,
    usage: Amounts,
}

impl Request<'_> {
    /// What the object uses more than before.
    fn added(&self) -> Amounts {
        let mut added = self.usage.clone();
        if let Some(old) = self.attributes.old {
            for (name, before) in self.evaluator.usage(old, self.attributes.registry.env.now()) {
                added.entry(name).and_modify(|amount| *amount -= before);
            }
        }
        added.retain(|_, amount| amount.sign() > 0);
        added
    }

    /// Uses up one quota; returns what was used up.
    async fn spend(&self, quotas: &Resource, key: &str, current: Current) -> Result<Amounts, Status> {
        let registry = self.attributes.registry;
        let mut current = Some(current);
        for _ in 0..MAX_RETRIES {
            let Some(quota) = current.take() else { return Ok(Amounts::new()) };
            let asked = match self.judge(&quota.value) {
                Ok(asked) => asked,
                Err(why) => match registry.newer(quotas, key, &quota).await? {
                    Some(newer) => {
                        current = newer;
                        continue;
                    }
                    None => return Err(self.attributes.forbidden(self.object, why)),
                },
            };
            if asked.is_empty() || self.attributes.caller.dry_run {
                return Ok(Amounts::new());
            }
            let mut used = amounts::read(quota.value.pointer("/status/used"));
            amounts::add(&mut used, &asked);
            match write(registry, quotas, key, &quota, &used).await? {
                Put::Applied(_) => return Ok(asked),
                Put::Mismatch(now) => current = now,
            }
        }
        Err(Status::server_timeout("", "resourcequotas", "update", 1))
    }

    /// What the request uses of a quota, or why it may not.
    fn judge(&self, quota: &Value) -> Result<Amounts, String> {
        let name = api::meta::name(quota);
        let hard = amounts::read(quota.pointer("/status/hard"));
        let used = amounts::read(quota.pointer("/status/used"));
        let limited = || hard.keys().filter(|name| self.evaluator.matches(name));
        if limited().next().is_none() || !api::quota::contain(quota, self.evaluator, self.object) {
            return Ok(Amounts::new());
        }
        let missing = self.evaluator.missing(self.object, limited());
        if !missing.is_empty() {
            return Err(format!("failed quota: {name}: must specify {}", missing.join("; ")));
        }
        if !limited().all(|name| used.contains_key(name)) {
            let names: Vec<_> = limited().map(String::as_str).collect();
            return Err(format!("status unknown for quota: {name}, resources: {}", names.join(",")));
        }
        let negative: Vec<_> = self.usage.iter().filter(|(_, amount)| amount.sign() < 0).collect();
        if !negative.is_empty() {
            let names: Vec<_> = negative.into_iter().map(|(name, _)| name.as_str()).collect();
            return Err(format!("quota usage is negative for resource(s): {}", names.join(",")));
        }
        let mut asked = self.usage.clone();
        asked.retain(|name, _| hard.contains_key(name));
        // A change costs what it adds; all of it where the object did not count before.
        if let Some(old) = self.attributes.old.filter(|old| api::quota::contain(quota, self.evaluator, old)) {
            for (name, before) in self.evaluator.usage(old, self.attributes.registry.env.now()) {
                if let Some(amount) = asked.get_mut(&name) {
                    *amount -= before;
                }
            }
        }
        asked.retain(|_, amount| amount.sign() > 0);
        let mut after = asked.clone();
        amounts::add(&mut after, &used);
        let exceeded: Vec<_> = asked.keys().filter(|name| after[*name] > hard[*name]).collect();
        if exceeded.is_empty() {
            return Ok(asked);
        }
        let print = |amounts: &Amounts| {
            let entries: Vec<_> = exceeded.iter().map(|name| format!("{name}={}", amounts[*name])).collect();
            entries.join(",")
        };
        let (requested, used, limited) = (print(&asked), print(&used), print(&hard));
        Err(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"))
    }
}

/// Writes what is used, if the quota is still the one that was read.
async fn write(
    registry: &Registry,
    quotas: &Resource,
    key: &str,
    quota: &Current,
    used: &Amounts,
) -> Result<Put, Status> {
    let mut changed = quota.value.clone();
    for (name, amount) in used {
        changed["status"]["used"][name.as_str()] = amount.to_string().into();
    }
    let kinds = registry.kinds();
    let subject = Subject { kinds: &kinds, resource: quotas, writer: WRITER, now: registry.env.now() };
    subject.track(Some(&quota.value), &mut changed);
    let write = Write { value: &changed, omitted: &quota.omitted, expected: quota.revision };
    registry.put(quotas, key, write).await
}
