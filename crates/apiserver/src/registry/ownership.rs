//! Who owns which field: what every write does to `metadata.managedFields`, and server-side apply.

use api::kinds::Resource;
use api::managed::{self, Shape, Write};
use api::status::Status;
use jiff::Timestamp;
use serde_json::Value;

use super::Expected;
use crate::kinds::Kinds;

/// In whose name fields are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    /// The field manager.
    pub(crate) manager: &'a str,
    /// The subresource that is written, or nothing.
    pub(crate) subresource: &'a str,
}

impl Writer<'static> {
    /// This server.
    pub(crate) const SERVER: Self = Self { manager: SERVER, subresource: "" };

    /// This server, where it writes a status.
    pub(crate) const SERVER_STATUS: Self = Self { manager: SERVER, subresource: "status" };
}

/// The field manager that this server is.
const SERVER: &str = "kube-apiserver";

type Paths = &'static [&'static [&'static str]];

/// Statuses are written by themselves, and with them nothing else.
const STATUS: Paths = &[&["status"]];
const SPEC: Paths = &[&["spec"]];
const SPEC_AND_METADATA: Paths = &[&["spec"], &["metadata"]];

/// What requests to a resource or its subresource never write where that is more than [`STATUS`] and [`SPEC`].
const NEVER_WRITTEN: &[((&str, &str), &str, Paths)] = &[
    (("", "namespaces"), "finalize", STATUS),
    (("", "pods"), "status", &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
    // Upstream keeps all but the containers of the pod that is there, its managers too.
    (("", "pods"), "ephemeralcontainers", SPEC),
    (("certificates.k8s.io", "certificatesigningrequests"), "approval", &[&["spec"], &["status", "certificate"]]),
    (("certificates.k8s.io", "certificatesigningrequests"), "status", &[&["spec"], &["status", "conditions"]]),
    (("apps", "deployments"), "status", &[&["spec"], &["metadata", "labels"]]),
    (("admissionregistration.k8s.io", "validatingadmissionpolicies"), "status", SPEC_AND_METADATA),
    (("flowcontrol.apiserver.k8s.io", "flowschemas"), "status", SPEC_AND_METADATA),
    (("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"), "status", SPEC_AND_METADATA),
    (("resource.k8s.io", "devicetaintrules"), "status", SPEC_AND_METADATA),
    (("resource.k8s.io", "resourceclaims"), "status", SPEC_AND_METADATA),
];

fn never_written(resource: &Resource, subresource: &str) -> Paths {
    let key = (&*resource.group, &*resource.plural);
    let row = NEVER_WRITTEN.iter().find(|(row, name, _)| *row == key && *name == subresource);
    match (row, subresource) {
        (Some((_, _, paths)), _) => paths,
        (None, "") if resource.subresource("status").is_some() => STATUS,
        (None, "status") => SPEC,
        _ => &[],
    }
}

/// The object in another version of its kind, with its shape there.
///
/// Versions that a webhook converts count as if they differed in name only: ownership is worked out while an object is
/// changed, and nothing waits for the network there.
fn in_version<'k>(kinds: &'k Kinds, value: &Value, api_version: &str) -> Option<(Value, Shape<'k>)> {
    let row = |api_version: &str| {
        let (group, version) = api::meta::split_api_version(api_version);
        kinds.find_kind(group, version, api::meta::kind(value))
    };
    let (from, to) = (row(api::meta::api_version(value))?, row(api_version)?);
    if (&from.storage_group, &from.storage_version) != (&to.storage_group, &to.storage_version) {
        return None;
    }
    let stored = crate::convert::to_storage(from, value);
    Some((crate::convert::from_storage(to, &stored), shape(to)))
}

fn shape(resource: &Resource) -> Shape<'_> {
    shape_of(Expected::of(resource))
}

fn shape_of(expected: Expected<'_>) -> Shape<'_> {
    match expected.custom {
        Some(custom) => Shape::Resource(&custom.version().structural),
        None => Shape::root(expected.schema),
    }
}

/// What a write is about.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) kinds: &'a Kinds,
    pub(crate) resource: &'a Resource,
    pub(crate) writer: Writer<'a>,
    pub(crate) now: Timestamp,
}

impl Subject<'_> {
    fn with_write<T>(&self, act: impl FnOnce(&Write<'_>) -> T) -> T {
        let Self { kinds, resource, writer, now } = *self;
        act(&Write {
            manager: writer.manager,
            subresource: writer.subresource,
            api_version: &resource.api_version(),
            shape: shape(resource),
            reset: never_written(resource, writer.subresource),
            now,
            convert: &|value, api_version| in_version(kinds, value, api_version),
        })
    }

    /// Gives the writer what a request changes; `live` is `None` for a new object.
    pub(crate) fn track(&self, live: Option<&Value>, new: &mut Value) {
        self.with_write(|write| managed::track(write, live, new));
    }

    /// Merges a configuration that nobody owns, such as one of an admission policy, onto the live object.
    pub(crate) fn adopt(expected: Expected<'_>, live: &Value, config: &Value) -> Result<Value, managed::AdoptError> {
        managed::adopt(live, config, shape_of(expected))
    }

    /// Applies a configuration to the live object.
    pub(crate) fn apply(&self, live: &Value, config: &Value, force: bool) -> Result<Value, Status> {
        self.with_write(|write| managed::apply(write, live, config, force)).map_err(Status::from)
    }
}
