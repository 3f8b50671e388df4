//! The functions of the authorizer that admission binds. They are declared here and answered by the value itself.

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Extension, Outcome, Value};

/// Rows whose calls go to their target.
macro_rules! delegated {
    ($($id:literal, $name:literal, $signature:literal;)*) => {
        pub(super) const FUNCTIONS: &[Row] = &[$(($id, $signature, {
            fn call<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
                delegate($name, args)
            }
            call
        }),)*];
    };
}

delegated! {
    "authorizer_path", "path",
        "kubernetes.authorization.Authorizer::path(string) -> kubernetes.authorization.PathCheck";
    "authorizer_group", "group",
        "kubernetes.authorization.Authorizer::group(string) -> kubernetes.authorization.GroupCheck";
    "authorizer_serviceaccount", "serviceAccount",
        "kubernetes.authorization.Authorizer::serviceAccount(string, string) -> kubernetes.authorization.Authorizer";
    "groupcheck_resource", "resource",
        "kubernetes.authorization.GroupCheck::resource(string) -> kubernetes.authorization.ResourceCheck";
    "resourcecheck_subresource", "subresource",
        "kubernetes.authorization.ResourceCheck::subresource(string) -> kubernetes.authorization.ResourceCheck";
    "resourcecheck_namespace", "namespace",
        "kubernetes.authorization.ResourceCheck::namespace(string) -> kubernetes.authorization.ResourceCheck";
    "resourcecheck_name", "name",
        "kubernetes.authorization.ResourceCheck::name(string) -> kubernetes.authorization.ResourceCheck";
    "authorizer_fieldselector", "fieldSelector",
        "kubernetes.authorization.ResourceCheck::fieldSelector(string) -> kubernetes.authorization.ResourceCheck";
    "authorizer_labelselector", "labelSelector",
        "kubernetes.authorization.ResourceCheck::labelSelector(string) -> kubernetes.authorization.ResourceCheck";
    "pathcheck_check", "check",
        "kubernetes.authorization.PathCheck::check(string) -> kubernetes.authorization.Decision";
    "resourcecheck_check", "check",
        "kubernetes.authorization.ResourceCheck::check(string) -> kubernetes.authorization.Decision";
    "decision_allowed", "allowed", "kubernetes.authorization.Decision::allowed() -> bool";
    "decision_reason", "reason", "kubernetes.authorization.Decision::reason() -> string";
    "decision_errored", "errored", "kubernetes.authorization.Decision::errored() -> bool";
    "decision_error", "error", "kubernetes.authorization.Decision::error() -> string";
}

fn delegate<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match args.split_first() {
        Some((Value::Extension(target), args)) => match &**target {
            Extension::Opaque(target) => target.call(function, args),
            _ => Err(EvalError::NoSuchOverload),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}
