//! The policies that there are with what binds them: read when they change, not when they are used.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::matching::Criteria;
use super::params::ParamRef;
use crate::cache::{Derivation, Object};

/// What is made of the policies of one kind.
pub(super) trait Policy: Sized {
    /// The resources of the policies and of their bindings: group and plural.
    const RESOURCES: &'static [(&'static str, &'static str)];

    /// Reads a policy: parses its rules, compiles its expressions.
    fn read(policy: &Value) -> Self;
}

/// What puts a policy into force.
pub(super) struct Binding {
    pub(super) name: Arc<str>,
    policy: String,
    /// The requests that it is for, of those that the policy is for; `None` where it is for all of them.
    pub(super) criteria: Option<Criteria>,
    pub(super) params: Option<ParamRef>,
    /// What is done when a validation does not hold.
    pub(super) actions: Vec<Action>,
}

/// What is done when a validation does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Deny,
    Warn,
    Audit,
}

impl Action {
    /// As bindings name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "Deny",
            Self::Warn => "Warn",
            Self::Audit => "Audit",
        }
    }

    /// As metrics name it.
    pub(super) fn metric(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }
}

impl Binding {
    fn read(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        let known = [Action::Deny, Action::Warn, Action::Audit];
        Self {
            name: api::meta::name(binding).into(),
            policy: spec["policyName"].as_str().unwrap_or_default().to_owned(),
            criteria: spec["matchResources"].is_object().then(|| Criteria::of_match_resources(&spec["matchResources"])),
            params: ParamRef::read(&spec["paramRef"]),
            actions: actions.filter_map(|action| known.into_iter().find(|known| known.as_str() == action)).collect(),
        }
    }
}

/// A policy and its bindings, of which there is at least one.
pub(super) struct Hook<P> {
    pub(super) policy: Arc<P>,
    pub(super) bindings: Vec<Arc<Binding>>,
}

/// Every policy of a kind and every binding.
pub(super) struct Hooks<P> {
    policies: BTreeMap<Arc<str>, Arc<P>>,
    bindings: BTreeMap<Arc<str>, Arc<Binding>>,
    /// Those of them that belong together, as requests take them; made again after a change.
    all: Arc<[Hook<P>]>,
}

impl<P> Default for Hooks<P> {
    fn default() -> Self {
        Self { policies: BTreeMap::new(), bindings: BTreeMap::new(), all: Arc::from([]) }
    }
}

impl<P> Hooks<P> {
    /// The policies that are bound, in the order of their names.
    pub(super) fn all(&self) -> Arc<[Hook<P>]> {
        self.all.clone()
    }

    fn changed(&mut self) {
        let hook = |(name, policy): (&Arc<str>, &Arc<P>)| {
            let bindings: Vec<Arc<Binding>> =
                self.bindings.values().filter(|binding| *binding.policy == **name).cloned().collect();
            (!bindings.is_empty()).then(|| Hook { policy: Arc::clone(policy), bindings })
        };
        self.all = self.policies.iter().filter_map(hook).collect();
    }
}

/// The number of the policies among a kind's resources; their bindings are the other.
const POLICIES: usize = 0;

impl<P: Policy> Derivation for Hooks<P> {
    const RESOURCES: &'static [(&'static str, &'static str)] = P::RESOURCES;

    fn put(&mut self, resource: usize, object: &Object) {
        let (key, value) = (object.key.clone(), object.value());
        if resource == POLICIES {
            self.policies.insert(key, Arc::new(P::read(&value)));
        } else {
            self.bindings.insert(key, Arc::new(Binding::read(&value)));
        }
        self.changed();
    }

    fn remove(&mut self, resource: usize, object: &Object) {
        if resource == POLICIES {
            self.policies.remove(&object.key);
        } else {
            self.bindings.remove(&object.key);
        }
        self.changed();
    }
}
