//! Role bindings; roles show only their name.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{age, list, name, string};
use super::{AGE, Column, NAME, Printer, text, wide};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: RBAC, kind: "ClusterRoleBinding", columns: BINDING, cells: binding },
    Printer { group: RBAC, kind: "RoleBinding", columns: BINDING, cells: binding },
];

const BINDING: &[Column] = &[NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = &object["roleRef"];
    let subjects = |kind: &str| -> Value {
        let of_kind = list(&object["subjects"]).iter().filter(|subject| subject["kind"] == kind);
        let names: Vec<String> = of_kind
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", string(&subject["namespace"]), string(&subject["name"])),
                _ => string(&subject["name"]).to_owned(),
            })
            .collect();
        names.join(", ").into()
    };
    vec![
        name(object),
        format!("{}/{}", string(&role["kind"]), string(&role["name"])).into(),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
