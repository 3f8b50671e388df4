//! When a single container is started again.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;

/// Whether an init container runs beside the containers.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Judges the restart policy of a container and the rules that go before it.
pub(super) fn container(container: &Container, path: &Path, errors: &mut ErrorList) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    let policy_path = path.child("restartPolicy");
    if container.restart_policy.is_none() && !rules.is_empty() {
        errors.push(FieldError::required(&policy_path, "must specify restartPolicy when restart rules are used"));
    }
    check::optional_one_of(errors, &policy_path, &container.restart_policy, &["Always", "Never", "OnFailure"]);
    let path = path.child("restartPolicyRules");
    if rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, rules.len(), MAX_RULES));
    }
    for (index, found) in rules.iter().enumerate() {
        rule(found, &path.index(index), errors);
    }
}

/// The same of an init container; what is always started again has no rules.
pub(super) fn init_container(container: &Container, path: &Path, errors: &mut ErrorList) {
    let has_rules = container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty());
    if container.restart_policy.is_none() {
        if has_rules {
            let why = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&path.child("restartPolicy"), why));
        }
    } else if !is_sidecar(container) {
        self::container(container, path, errors);
    } else if has_rules {
        let why = "restartPolicyRules are not allowed for init containers with restart policy Always";
        errors.push(FieldError::forbidden(&path.child("restartPolicyRules"), why));
    }
}

fn rule(rule: &ContainerRestartRule, path: &Path, errors: &mut ErrorList) {
    check::one_of(errors, &path.child("action"), &rule.action, &["Restart"]);
    let path = path.child("exitCodes");
    let Some(codes) = &rule.exit_codes else {
        errors.push(FieldError::required(&path, "must be specified"));
        return;
    };
    check::one_of(errors, &path.child("operator"), &codes.operator, &["In", "NotIn"]);
    let values = codes.values.as_deref().unwrap_or_default();
    if values.len() > MAX_EXIT_CODES {
        errors.push(FieldError::too_many(&path.child("values"), values.len(), MAX_EXIT_CODES));
    }
}
