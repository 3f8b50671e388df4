//! By which fields objects of a resource can be selected, and under which names: upstream's field labels.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use api::kinds::{Resource, Text};
use api::selector::{FieldSelector, FieldTerm};
use api::status::Status;

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

type Rows<T> = &'static [((&'static str, &'static str), &'static [T])];

/// Selectable fields besides `metadata.name` and `metadata.namespace`, by storage group and plural.
const SELECTABLE: Rows<&str> = &[
    (
        ("", "pods"),
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    (
        ("", "events"),
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    (("", "namespaces"), &["status.phase"]),
    (("", "nodes"), &["spec.unschedulable"]),
    (("", "replicationcontrollers"), &["status.replicas"]),
    (("", "secrets"), &["type"]),
    (("", "services"), &["spec.clusterIP", "spec.type"]),
    (("apps", "replicasets"), &["status.replicas"]),
    (("batch", "jobs"), &["status.successful"]),
    (("certificates.k8s.io", "certificatesigningrequests"), &["spec.signerName"]),
    (("certificates.k8s.io", "clustertrustbundles"), &["spec.signerName"]),
    (
        ("certificates.k8s.io", "podcertificaterequests"),
        &["spec.signerName", "spec.podName", "spec.serviceAccountName", "spec.nodeName"],
    ),
    (("resource.k8s.io", "resourceslices"), &["spec.nodeName", "spec.driver"]),
];

/// Names that fields have in requests to a group and plural, with the field that each means.
const RENAMED: Rows<(&str, &str)> = &[
    // Very old clients know the first name. The addresses are compared with nothing: no object has the field.
    (("", "pods"), &[("spec.host", "spec.nodeName"), ("status.podIPs", "status.podIPs")]),
    (
        ("events.k8s.io", "events"),
        &[
            ("reason", "reason"),
            ("regarding.kind", "involvedObject.kind"),
            ("regarding.namespace", "involvedObject.namespace"),
            ("regarding.name", "involvedObject.name"),
            ("regarding.uid", "involvedObject.uid"),
            ("regarding.apiVersion", "involvedObject.apiVersion"),
            ("regarding.resourceVersion", "involvedObject.resourceVersion"),
            ("regarding.fieldPath", "involvedObject.fieldPath"),
            ("reportingController", "reportingComponent"),
            ("source", "source"),
            ("type", "type"),
        ],
    ),
];

/// Namespaced kinds that cannot be selected by their namespace.
const WITHOUT_NAMESPACE: &[(&str, &str)] = &[("certificates.k8s.io", "podcertificaterequests")];

type Table = HashMap<(&'static str, &'static str), Arc<[Text]>>;

/// The selectable fields of a resource besides name and namespace.
pub(crate) fn selectable(resource: &Resource) -> Arc<[Text]> {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        let row = |(key, fields): &((&'static str, &'static str), &'static [&'static str])| {
            (*key, fields.iter().map(|field| Text::Borrowed(field)).collect())
        };
        SELECTABLE.iter().map(row).collect()
    });
    static NONE: LazyLock<Arc<[Text]>> = LazyLock::new(|| Arc::new([]));
    match &resource.custom {
        Some(custom) => custom.version().selectable.clone(),
        None => TABLE.get(&(&*resource.storage_group, &*resource.plural)).unwrap_or(&NONE).clone(),
    }
}

/// The selector of a request as one of what is indexed, if it only asks for fields that can be selected by.
pub(crate) fn field_selector(resource: &Resource, asked: &FieldSelector) -> Result<FieldSelector, Status> {
    let key = (&*resource.group, &*resource.plural);
    let renamed = RENAMED.iter().find(|(row, _)| *row == key).map_or(&[][..], |(_, renamed)| *renamed);
    let selectable = selectable(resource);
    // Who has no fields of his own is selected by what all kinds have, which is a namespace even outside of any.
    let is_plain = selectable.is_empty() && renamed.is_empty() && resource.custom.is_none();
    let has_namespace = is_plain || resource.namespaced && !WITHOUT_NAMESPACE.contains(&key);
    // A group whose objects are stored under another's has names of its own for all of them.
    let has_own_names = resource.group == resource.storage_group;
    let field = |label: &str| {
        let is_own = match label {
            NAME => true,
            NAMESPACE => has_namespace,
            _ => has_own_names && selectable.iter().any(|each| each == label),
        };
        match renamed.iter().find(|(name, _)| *name == label) {
            Some((_, field)) => Some((*field).to_owned()),
            None => is_own.then(|| label.to_owned()),
        }
    };
    let terms = asked.terms().iter().map(|term| match field(&term.field) {
        Some(field) => Ok(FieldTerm { field, ..term.clone() }),
        None if is_plain => Err(Status::bad_request(format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            api::field::quote(&term.field)
        ))),
        None => Err(Status::bad_request(format!("field label not supported: {}", term.field))),
    });
    terms.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check((group, version, plural): (&str, &str, &str), asked: &str, expected: Result<&str, &str>) {
        let resource = api::kinds::find(group, version, plural).expect("it is built in");
        let asked = FieldSelector::parse(asked).expect("a selector");
        let found = field_selector(resource, &asked).map(|found| found.to_string()).map_err(|status| status.message);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{plural} {asked}");
    }

    #[test]
    fn fields_have_the_names_that_a_group_gives_them() {
        let (pods, events) = (("", "v1", "pods"), ("", "v1", "events"));
        check(pods, "spec.host=a,spec.nodeName!=b", Ok("spec.nodeName=a,spec.nodeName!=b"));
        check(pods, "status.podIPs=1.2.3.4", Ok("status.podIPs=1.2.3.4"));
        check(pods, "spec.replicas=1", Err("field label not supported: spec.replicas"));
        check(events, "involvedObject.name=a,source=b", Ok("involvedObject.name=a,source=b"));
        check(events, "regarding.name=a", Err("field label not supported: regarding.name"));
        let events = ("events.k8s.io", "v1", "events");
        check(events, "regarding.fieldPath=a,type=Normal", Ok("involvedObject.fieldPath=a,type=Normal"));
        check(events, "reportingController=a,metadata.namespace=b", Ok("metadata.namespace=b,reportingComponent=a"));
        check(events, "involvedObject.name=a", Err("field label not supported: involvedObject.name"));
        check(events, "reportingComponent=a", Err("field label not supported: reportingComponent"));
    }

    #[test]
    fn a_namespace_is_selected_by_where_upstream_has_it() {
        let unknown = "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
        check(("", "v1", "configmaps"), "spec.x=1", Err(unknown));
        check(("", "v1", "persistentvolumes"), "metadata.namespace=a", Ok("metadata.namespace=a"));
        check(("", "v1", "nodes"), "metadata.namespace=a", Err("field label not supported: metadata.namespace"));
        let requests = ("certificates.k8s.io", "v1beta1", "podcertificaterequests");
        check(requests, "spec.nodeName=a,metadata.name=b", Ok("metadata.name=b,spec.nodeName=a"));
        check(requests, "metadata.namespace=a", Err("field label not supported: metadata.namespace"));
        let bundles = ("certificates.k8s.io", "v1beta1", "clustertrustbundles");
        check(bundles, "spec.signerName=a/b", Ok("spec.signerName=a/b"));
    }
}
