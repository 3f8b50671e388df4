//! The shapes of what upstream declares by hand: the request, and the namespace that it is in.

use std::sync::{Arc, LazyLock};

use crate::schema::Decl;
use crate::types::Type;

/// A field: its name and the type of its values.
type Row = (&'static str, Type);

fn object(name: &str, fields: impl IntoIterator<Item = Row>) -> Type {
    Decl::object(name, fields.into_iter().map(|(field, ty)| (field.to_owned(), Decl::typed(ty)))).type_of()
}

fn decl(name: &str, fields: impl IntoIterator<Item = Row>) -> Arc<Decl> {
    Decl::typed(object(name, fields))
}

fn texts(names: &[&'static str]) -> Vec<Row> {
    names.iter().map(|name| (*name, Type::String)).collect()
}

fn strings() -> Type {
    Type::list(Type::String)
}

/// `request`: what is asked for and by whom. The objects are variables of their own.
pub(super) static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let kind = object("kubernetes.GroupVersionKind", texts(&["group", "version", "kind"]));
    let resource = object("kubernetes.GroupVersionResource", texts(&["group", "version", "resource"]));
    let mut user = texts(&["username", "uid"]);
    user.extend([("groups", strings()), ("extra", Type::map(Type::String, strings()))]);
    let mut fields = texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    fields.extend([
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("requestKind", kind),
        ("requestResource", resource),
        ("userInfo", object("kubernetes.UserInfo", user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ]);
    decl("kubernetes.AdmissionRequest", fields)
});

/// `namespaceObject`: the namespace, without owners and managers.
pub(super) static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let mut metadata = texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]);
    let labels = Type::map(Type::String, Type::String);
    metadata.extend([
        ("labels", labels.clone()),
        ("annotations", labels),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("finalizers", strings()),
    ]);
    let mut condition = texts(&["status", "type", "message", "reason"]);
    condition.push(("lastTransitionTime", Type::Timestamp));
    let conditions = Type::list(object("kubernetes.NamespaceCondition", condition));
    let status = object("kubernetes.NamespaceStatus", [("conditions", conditions), ("phase", Type::String)]);
    decl(
        "kubernetes.Namespace",
        [
            ("metadata", object("kubernetes.NamespaceMetadata", metadata)),
            ("spec", object("kubernetes.NamespaceSpec", [("finalizers", strings())])),
            ("status", status),
        ],
    )
});
