//! Names inside documents: tags, operations, schemas of custom resources.

/// The tag of a group and version, such as `rbacAuthorization_v1`.
pub(super) fn tag(group: &str, version: &str) -> String {
    format!("{}_{}", group_tag(group), operation_part(version, false))
}

/// The tag of a group, such as `rbacAuthorization`.
pub(super) fn group_tag(group: &str) -> String {
    match group.strip_suffix(".k8s.io").unwrap_or(group) {
        "" => "core".to_owned(),
        group => operation_part(group, false),
    }
}

/// Text as a part of the name of an operation: letters, digits and `_`; what else there is makes the next letter a
/// capital.
pub(super) fn operation_part(text: &str, capital: bool) -> String {
    let mut capital = capital;
    let mut part = String::new();
    for (index, letter) in text.chars().enumerate() {
        let is_kept = letter.is_alphabetic() || letter == '_' || (index > 0 && letter.is_numeric());
        match (is_kept, capital) {
            (true, true) => part.extend(letter.to_uppercase()),
            (true, false) => part.push(letter),
            (false, _) => {}
        }
        capital = !is_kept;
    }
    part
}

/// The name of the schema of a custom kind: the group backwards, the version, the kind.
pub(super) fn custom_schema(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.rsplit('.').collect();
    parts.extend([version, kind]);
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_group_in_one_word() {
        for (group, version, expected) in [
            ("", "v1", "core_v1"),
            ("apps", "v1", "apps_v1"),
            ("rbac.authorization.k8s.io", "v1", "rbacAuthorization_v1"),
            ("flowcontrol.apiserver.k8s.io", "v1", "flowcontrolApiserver_v1"),
            ("my-group.example.com", "v1alpha1", "myGroupExampleCom_v1alpha1"),
        ] {
            assert_eq!(tag(group, version), expected);
        }
    }

    #[test]
    fn schemas_of_custom_kinds_are_named_backwards() {
        assert_eq!(custom_schema("stable.example.com", "v1", "CronTab"), "com.example.stable.v1.CronTab");
    }
}
