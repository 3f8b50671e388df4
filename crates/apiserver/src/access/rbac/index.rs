//! Roles by name and bindings by subject: what a user may do is found without looking at anybody else's roles.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use api::field::quote;
use serde::Deserialize;

use super::rule::{Rule, rules_of};
use crate::access::Identity;
use crate::access::identity::SERVICE_ACCOUNT;
use crate::cache::{Derivation, Object};

/// The role that a binding refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RoleRef {
    Cluster(Box<str>),
    /// By namespace and name, as one key.
    Namespaced(Box<str>),
}

/// What a binding gives to one of its subjects.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Why somebody is allowed something by it.
    pub(crate) reason: Arc<str>,
    pub(crate) role: RoleRef,
}

/// Who a binding is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

/// The bindings of a namespace, or of the cluster.
#[derive(Debug, Default)]
struct Bindings {
    users: HashMap<Box<str>, BTreeMap<Arc<str>, Grant>>,
    groups: HashMap<Box<str>, BTreeMap<Arc<str>, Grant>>,
    subjects: HashMap<Arc<str>, Vec<Subject>>,
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub(crate) struct Index {
    cluster_roles: HashMap<Box<str>, Arc<[Rule]>>,
    /// By namespace and name.
    roles: HashMap<Box<str>, Arc<[Rule]>>,
    cluster: Bindings,
    namespaces: HashMap<Box<str>, Bindings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(default)]
    subjects: Option<Vec<BindingSubject>>,
    role_ref: BindingRole,
}

#[derive(Deserialize)]
struct BindingSubject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct BindingRole {
    kind: String,
    name: String,
}

const CLUSTER_ROLES: usize = 0;
const ROLES: usize = 1;
const CLUSTER_ROLE_BINDINGS: usize = 2;

impl Derivation for Index {
    const RESOURCES: &'static [(&'static str, &'static str)] = &[
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    ];

    fn put(&mut self, resource: usize, object: &Object) {
        match resource {
            CLUSTER_ROLES | ROLES => match rules_of(object.stored()) {
                Ok(rules) => {
                    let roles = if resource == ROLES { &mut self.roles } else { &mut self.cluster_roles };
                    roles.insert((*object.key).into(), rules.into());
                }
                // A role that cannot be read gives nothing, not what it gave before.
                Err(err) => {
                    tracing::error!(role = &*object.key, %err, "role cannot be read");
                    self.remove(resource, object);
                }
            },
            _ => {
                self.remove(resource, object);
                match serde_json::from_slice::<Binding>(object.stored()) {
                    Ok(binding) => self.bind(object, &binding),
                    Err(err) => tracing::error!(binding = &*object.key, %err, "binding cannot be read"),
                }
            }
        }
    }

    fn remove(&mut self, resource: usize, object: &Object) {
        match (resource, object.namespace()) {
            (CLUSTER_ROLES, _) => drop(self.cluster_roles.remove(&*object.key)),
            (ROLES, _) => drop(self.roles.remove(&*object.key)),
            (CLUSTER_ROLE_BINDINGS, _) | (_, None) => self.cluster.remove(&object.key),
            (_, Some(namespace)) => {
                if let Some(bindings) = self.namespaces.get_mut(namespace) {
                    bindings.remove(&object.key);
                    if bindings.subjects.is_empty() {
                        self.namespaces.remove(namespace);
                    }
                }
            }
        }
    }
}

impl Bindings {
    fn remove(&mut self, key: &str) {
        for subject in self.subjects.remove(key).into_iter().flatten() {
            let (grants, name) = match &subject {
                Subject::User(name) => (&mut self.users, name),
                Subject::Group(name) => (&mut self.groups, name),
            };
            if let Some(of_subject) = grants.get_mut(name) {
                of_subject.remove(key);
                if of_subject.is_empty() {
                    grants.remove(name);
                }
            }
        }
    }

    /// The grants to somebody, as a user first.
    fn of<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Grant> {
        let of_groups = identity.groups.iter().filter_map(|group| self.groups.get(group.as_str()));
        self.users.get(identity.user.as_str()).into_iter().chain(of_groups).flat_map(BTreeMap::values)
    }
}

impl Index {
    fn bind(&mut self, object: &Object, binding: &Binding) {
        let namespace = object.namespace();
        let name = binding.role_ref.name.as_str();
        let role = match (binding.role_ref.kind.as_str(), namespace) {
            ("ClusterRole", _) => RoleRef::Cluster(name.into()),
            ("Role", Some(namespace)) => RoleRef::Namespaced(format!("{namespace}/{name}").into()),
            _ => return,
        };
        // Upstream shows a binding's name before its namespace.
        let (kind, shown) = match namespace {
            Some(namespace) => ("RoleBinding", format!("{}/{namespace}", object.name())),
            None => ("ClusterRoleBinding", object.name().to_owned()),
        };
        let what = format!("RBAC: allowed by {kind} {} of {} {}", quote(&shown), binding.role_ref.kind, quote(name));
        let bindings = match namespace {
            Some(namespace) => self.namespaces.entry(namespace.into()).or_default(),
            None => &mut self.cluster,
        };
        let mut subjects = Vec::new();
        for subject in binding.subjects.iter().flatten() {
            let of = match (subject.namespace.as_str(), namespace) {
                ("", Some(namespace)) => namespace,
                (given, _) => given,
            };
            let (key, name) = match subject.kind.as_str() {
                "User" => (Subject::User(subject.name.as_str().into()), subject.name.clone()),
                "Group" => (Subject::Group(subject.name.as_str().into()), subject.name.clone()),
                "ServiceAccount" if !of.is_empty() => {
                    let user = format!("{SERVICE_ACCOUNT}{of}:{}", subject.name);
                    (Subject::User(user.into()), format!("{}/{of}", subject.name))
                }
                _ => continue,
            };
            let (grants, user) = match &key {
                Subject::User(user) => (&mut bindings.users, user),
                Subject::Group(group) => (&mut bindings.groups, group),
            };
            let reason = format!("{what} to {} {}", subject.kind, quote(&name)).into();
            let grant = Grant { reason, role: role.clone() };
            grants.entry(user.clone()).or_default().insert(object.key.clone(), grant);
            subjects.push(key);
        }
        if !subjects.is_empty() {
            bindings.subjects.insert(object.key.clone(), subjects);
        }
    }

    /// The rules of a role, if it exists.
    pub(crate) fn rules(&self, role: &RoleRef) -> Option<&Arc<[Rule]>> {
        match role {
            RoleRef::Cluster(name) => self.cluster_roles.get(name),
            RoleRef::Namespaced(key) => self.roles.get(key),
        }
    }

    /// Shows what somebody is granted in the whole cluster, and then in a namespace; `None` stands for the rules of a
    /// role that does not exist.
    pub(crate) fn visit(
        &self,
        identity: &Identity,
        namespace: &str,
        mut visit: impl FnMut(&Grant, Option<&Arc<[Rule]>>) -> ControlFlow<()>,
    ) {
        let local = self.namespaces.get(namespace).into_iter().flat_map(|bindings| bindings.of(identity));
        for grant in self.cluster.of(identity).chain(local) {
            if visit(grant, self.rules(&grant.role)).is_break() {
                return;
            }
        }
    }
}
