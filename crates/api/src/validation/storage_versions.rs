//! In which versions API servers store a resource.

use k8s_openapi::api::apiserverinternal::v1alpha1::{
    ServerStorageVersion, StorageVersion, StorageVersionCondition, StorageVersionStatus,
};

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

/// What a storage version may be called: `<group>.<resource>`.
pub(super) fn name(name: &str) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let group = names::dns_subdomain(group).into_iter().map(|why| format!("the group segment {why}"));
    let resource = names::dns_1035_label(resource).into_iter().map(|why| format!("the resource segment {why}"));
    group.chain(resource).collect()
}

/// Judges an update of the status of a storage version; there is nothing else in it.
pub(super) fn status(new: &StorageVersion, _: &StorageVersion, errors: &mut ErrorList) {
    let path = Path::new("status");
    for (index, server) in new.status.storage_versions.iter().flatten().enumerate() {
        server_version(server, &path.child("storageVersions").index(index), errors);
    }
    common_version(&new.status, &path.child("commonEncodingVersion"), errors);
    conditions(new.status.conditions.as_deref().unwrap_or_default(), &path, errors);
}

fn server_version(server: &ServerStorageVersion, path: &Path, errors: &mut ErrorList) {
    let id = check::text(&server.api_server_id);
    check::invalid(errors, &path.child("apiServerID"), id, names::dns_subdomain(id));
    let encoding = check::text(&server.encoding_version);
    check::joined(errors, &path.child("encodingVersion"), encoding, &api_version(encoding), "", ",");
    let decodable = server.decodable_versions.as_deref().unwrap_or_default();
    let list = path.child("decodableVersions");
    for (index, version) in decodable.iter().enumerate() {
        check::joined(errors, &list.index(index), version, &api_version(version), "", ",");
    }
    if !decodable.iter().any(|version| version == encoding) {
        let why = format!("decodableVersions must include encodingVersion {encoding}");
        errors.push(FieldError::invalid(&list, check::json(decodable), why));
    }
}

/// What all servers encode in must be told, and nothing else.
fn common_version(status: &StorageVersionStatus, path: &Path, errors: &mut ErrorList) {
    let mut encodings = status.storage_versions.iter().flatten().map(|server| check::text(&server.encoding_version));
    let first = encodings.next();
    let common = first.filter(|first| encodings.all(|encoding| encoding == *first));
    let told = status.common_encoding_version.as_deref();
    let why = match (common, told) {
        (None, Some(_)) => "should be nil if servers do not agree on the same encoding version, or if there is no \
                            server reporting the supported versions yet"
            .to_owned(),
        (Some(common), None) => format!("the common encoding version is {common}"),
        (Some(common), Some(told)) if common != told => format!("the actual common encoding version is {common}"),
        _ => return,
    };
    errors.push(FieldError::invalid(path, check::json(&told), why));
}

/// Upstream numbers the conditions as if the status itself were their list.
fn conditions(conditions: &[StorageVersionCondition], list: &Path, errors: &mut ErrorList) {
    for (index, condition) in conditions.iter().enumerate() {
        let path = list.index(index);
        let kind = condition.type_.as_str();
        if let Some(first) = conditions[..index].iter().rposition(|other| other.type_ == kind) {
            let why = format!("the type of the condition is not unique, it also appears in conditions[{first}]");
            errors.push(FieldError::invalid(&path.child("type"), kind, why));
        }
        check::invalid(errors, &path.child("type"), kind, names::qualified_name(kind));
        check::invalid(errors, &path.child("status"), kind, names::qualified_name(&condition.status));
        if condition.reason.is_empty() {
            errors.push(FieldError::required(&path.child("reason"), "reason cannot be empty"));
        }
        if condition.message.is_empty() {
            errors.push(FieldError::required(&path.child("message"), "message cannot be empty"));
        }
    }
}

/// Judges an `apiVersion`: a version, behind a group where there is one.
fn api_version(text: &str) -> Vec<String> {
    const EMPTY: &str = "must be non-empty";
    let told =
        |part: &'static str, judged: Vec<String>| judged.into_iter().map(move |why| format!("{part} part: {why}"));
    let judge = |text: &str, rule: super::rules::NameRule| match text.is_empty() {
        true => vec![EMPTY.to_owned()],
        false => rule(text),
    };
    let (group, version) = match text.split_once('/') {
        None => (None, text),
        Some((_, rest)) if rest.contains('/') => {
            // The last sentence of the rule about labels has an example of its own.
            let label = names::dns_1035_label("/").into_iter().next().unwrap_or_default();
            return vec![format!(
                "an apiVersion is {label} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')"
            )];
        }
        Some((group, version)) => (Some(group), version),
    };
    let mut judged: Vec<String> =
        group.map(|group| told("group", judge(group, names::dns_subdomain)).collect()).unwrap_or_default();
    judged.extend(told("version", judge(version, names::dns_1035_label)));
    judged
}
