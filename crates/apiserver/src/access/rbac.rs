//! Role-based access control: roles say what may be done, bindings say who has a role.

mod bootstrap;
mod cover;
mod escalation;
mod index;
mod rule;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use api::field::quote;

use super::attributes::Attributes;
use super::authorization::Decision;
use super::identity::Identity;
use crate::cache::{Cache, Derived};

pub(crate) use bootstrap::{node_rules, reconcile};
pub(crate) use escalation::check as check_escalation;
pub(crate) use rule::Rule;

use index::{Index, RoleRef};

/// Decides by the roles and bindings in the watch cache.
pub(crate) struct Rbac {
    index: Derived<Index>,
}

impl Rbac {
    pub(crate) fn new(cache: &Cache) -> Self {
        Self { index: Derived::new(cache) }
    }

    /// Whether some role of the user allows it.
    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let mut missing = BTreeSet::new();
        let allowed = self.index.read(|index| {
            let mut reason = None;
            index.visit(attributes.identity, attributes.namespace(), |grant, rules| {
                match rules {
                    Some(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                        reason = Some(grant.reason.clone());
                        return ControlFlow::Break(());
                    }
                    Some(_) => {}
                    None => drop(missing.insert(no_role(&grant.role))),
                }
                ControlFlow::Continue(())
            });
            reason
        });
        match allowed {
            Some(reason) => Decision::Allow(reason),
            None => {
                let errors = resolution_errors(missing).map(|errors| format!("RBAC: {errors}"));
                Decision::no_opinion(errors.unwrap_or_default())
            }
        }
    }

    /// The rules of a role, if it exists.
    fn rules(&self, role: &RoleRef) -> Option<Arc<[Rule]>> {
        self.index.read(|index| index.rules(role).cloned())
    }

    /// Every rule of the user in a namespace (`""` for the cluster alone), and what could not be found out.
    pub(crate) fn rules_for(&self, identity: &Identity, namespace: &str) -> (Vec<Rule>, Option<String>) {
        let mut missing = BTreeSet::new();
        let mut rules = Vec::new();
        self.index.read(|index| {
            index.visit(identity, namespace, |grant, granted| {
                match granted {
                    Some(granted) => rules.extend(granted.iter().cloned()),
                    None => drop(missing.insert(no_role(&grant.role))),
                }
                ControlFlow::Continue(())
            });
        });
        (rules, resolution_errors(missing))
    }
}

/// Upstream's words for a role that a binding refers to and that is not there.
fn no_role(role: &RoleRef) -> String {
    let (kind, name) = match role {
        RoleRef::Cluster(name) => ("clusterrole", &**name),
        RoleRef::Namespaced(key) => ("role", key.rsplit_once('/').map_or(&**key, |(_, name)| name)),
    };
    format!("{kind}.rbac.authorization.k8s.io {} not found", quote(name))
}

fn resolution_errors(missing: BTreeSet<String>) -> Option<String> {
    let list: Vec<String> = missing.into_iter().collect();
    match list.as_slice() {
        [] => None,
        [single] => Some(single.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}
