//! When a single container is started again.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;

/// Judges the restart policy of a container and the rules that go before it.
pub(super) fn container(container: &Container, path: &Path, errors: &mut ErrorList) {
    let policy_path = path.child("restartPolicy");
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    if container.restart_policy.is_none() {
        if !rules.is_empty() {
            let why = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&policy_path, why));
        }
        return;
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
