//! What the rules of a kind consist of; [`list`] names those of every kind.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{check, undecodable};
use crate::field::ErrorList;
use crate::kinds::Resource;

mod list;

pub(super) use list::all;

/// Judges a name.
pub(super) type NameRule = fn(&str) -> Vec<String>;

type One = Box<dyn Fn(&Value, &mut ErrorList) + Send + Sync>;
type Two = Box<dyn Fn(&Value, &Value, &mut ErrorList) + Send + Sync>;
/// Judges a difference that is made at a time.
type TwoAt = Box<dyn Fn(&Value, &Value, Timestamp, &mut ErrorList) + Send + Sync>;

/// What upstream's rules of a kind judge of the metadata of an update, after the server has judged them once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metadata {
    /// The difference only.
    Difference,
    /// Only what any object must be.
    Object,
    /// Both.
    Both,
}

/// The rules of one kind.
pub(super) struct Rules {
    key: (&'static str, &'static str, &'static str),
    /// What its objects may be called.
    pub(super) name: NameRule,
    /// Judges everything but the metadata.
    pub(super) create: Option<One>,
    /// Judges what only a new object must not have.
    pub(super) create_only: Option<One>,
    /// Judges the difference of an update.
    pub(super) update: Option<Two>,
    /// Whether an update is judged by its difference only.
    pub(super) update_only: bool,
    /// How upstream judges the metadata of an update.
    pub(super) metadata: Metadata,
    /// Judges the difference of a status update.
    pub(super) status: Option<TwoAt>,
    /// Judges the difference that an approval makes.
    pub(super) approval: Option<Two>,
}

type Key = (&'static str, &'static str, &'static str);

static BY_KIND: LazyLock<HashMap<Key, Rules>> =
    LazyLock::new(|| all().into_iter().map(|rules| (rules.key, rules)).collect());

/// The rules of a resource, if its kind has some.
pub(super) fn find(resource: &Resource) -> Option<&Rules> {
    BY_KIND.get(&(&resource.group, &resource.version, &resource.kind))
}

/// Reads a document as `K`; the types insist on times of conditions, which rules must be able to miss.
fn read<K: DeserializeOwned>(object: &Value) -> Result<K, serde_json::Error> {
    K::deserialize(object).or_else(|error| {
        let mut filled = object.clone();
        let conditions = filled.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        let mut missed = false;
        for condition in conditions.into_iter().flatten() {
            if condition.get("lastTransitionTime").is_none_or(Value::is_null) {
                condition["lastTransitionTime"] = check::NO_TIME.into();
                missed = true;
            }
        }
        if missed { K::deserialize(&filled) } else { Err(error) }
    })
}

/// Reads a document as `K` and judges it.
pub(super) fn typed<K: DeserializeOwned>(object: &Value, errors: &mut ErrorList, judge: fn(&K, &mut ErrorList)) {
    match read::<K>(object) {
        Ok(object) => judge(&object, errors),
        Err(error) => errors.push(undecodable(&error)),
    }
}

/// Reads both documents as `K` and judges their difference.
pub(super) fn typed_update<K: DeserializeOwned>(
    new: &Value,
    old: &Value,
    errors: &mut ErrorList,
    judge: impl FnOnce(&K, &K, &mut ErrorList),
) {
    match (read::<K>(new), read::<K>(old)) {
        (Ok(new), Ok(old)) => judge(&new, &old, errors),
        (Err(error), _) | (_, Err(error)) => errors.push(undecodable(&error)),
    }
}

fn update_rule<K: DeserializeOwned + 'static>(judge: fn(&K, &K, &mut ErrorList)) -> Two {
    Box::new(move |new, old, errors| typed_update(new, old, errors, judge))
}

/// Starts the rules of the kind `K`.
fn rules<K: k8s_openapi::Resource>(name: NameRule) -> Rules {
    Rules {
        key: (K::GROUP, K::VERSION, K::KIND),
        name,
        create: None,
        create_only: None,
        update: None,
        update_only: false,
        metadata: Metadata::Difference,
        status: None,
        approval: None,
    }
}

impl Rules {
    /// Group, version and kind.
    #[cfg(test)]
    pub(super) fn key(&self) -> Key {
        self.key
    }

    fn create<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &mut ErrorList)) -> Self {
        self.create = Some(Box::new(move |object, errors| typed(object, errors, judge)));
        self
    }

    fn create_only<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &mut ErrorList)) -> Self {
        self.create_only = Some(Box::new(move |object, errors| typed(object, errors, judge)));
        self
    }

    fn update<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &K, &mut ErrorList)) -> Self {
        self.update = Some(update_rule(judge));
        self
    }

    /// Rules that read the document as it is.
    fn document(
        mut self,
        create: fn(&Value, &mut ErrorList),
        update: fn(&Value, &Value, &mut ErrorList),
        status: fn(&Value, &Value, &mut ErrorList),
    ) -> Self {
        self.create = Some(Box::new(create));
        self.update = Some(Box::new(update));
        self.status = Some(Box::new(move |new, old, _, errors| status(new, old, errors)));
        self.update_only()
    }

    fn update_only(mut self) -> Self {
        self.update_only = true;
        self
    }

    fn whole(mut self) -> Self {
        self.metadata = Metadata::Both;
        self
    }

    fn object_only(mut self) -> Self {
        self.metadata = Metadata::Object;
        self
    }

    fn approval<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &K, &mut ErrorList)) -> Self {
        self.approval = Some(update_rule(judge));
        self
    }

    fn status<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &K, &mut ErrorList)) -> Self {
        self.status = Some(Box::new(move |new, old, _, errors| typed_update(new, old, errors, judge)));
        self
    }

    /// Rules of a status to which it matters when it is written.
    fn status_at<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &K, Timestamp, &mut ErrorList)) -> Self {
        self.status = Some(Box::new(move |new, old, now, errors| {
            typed_update(new, old, errors, |new: &K, old: &K, errors: &mut ErrorList| judge(new, old, now, errors));
        }));
        self
    }
}
