//! How often policies had something to say, as a metric.

use std::sync::Arc;

use cel::admission::EvaluationError;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

/// What kept an expression from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    Compilation,
    OutOfBudget,
    Invalid,
}

impl Trouble {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "no_error",
            Self::Compilation => "compile_error",
            Self::OutOfBudget => "out_of_budget",
            Self::Invalid => "invalid_error",
        }
    }
}

impl From<&EvaluationError> for Trouble {
    fn from(error: &EvaluationError) -> Self {
        match error {
            EvaluationError::Compilation(_) => Self::Compilation,
            EvaluationError::OutOfBudget => Self::OutOfBudget,
            EvaluationError::Failed { .. } => Self::Invalid,
        }
    }
}

/// What came of one expression of a policy.
pub(super) struct Check {
    pub(super) policy: Arc<str>,
    pub(super) binding: Arc<str>,
    pub(super) trouble: Trouble,
    /// What was done about it; mutations have none.
    pub(super) action: Option<&'static str>,
}

/// The counters of both kinds of policies.
pub(super) struct Checks {
    validating: IntCounterVec,
    mutating: IntCounterVec,
}

impl Checks {
    pub(super) fn new() -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("fixed names and labels are valid")
        };
        Self {
            validating: counters(
                "apiserver_validating_admission_policy_check_total",
                "What validating policies have found, by policy, binding and what was done about it.",
                &["policy", "policy_binding", "error_type", "enforcement_action"],
            ),
            mutating: counters(
                "apiserver_mutating_admission_policy_check_total",
                "Mutations of policies that were evaluated, by policy and binding.",
                &["policy", "policy_binding", "error_type"],
            ),
        }
    }

    pub(super) fn count(&self, checks: &[Check]) {
        for Check { policy, binding, trouble, action } in checks {
            match action {
                Some(action) => self.validating.with_label_values(&[policy, binding, trouble.as_str(), action]).inc(),
                None => self.mutating.with_label_values(&[policy, binding, trouble.as_str()]).inc(),
            }
        }
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        self.validating.collect().into_iter().chain(self.mutating.collect()).collect()
    }
}
