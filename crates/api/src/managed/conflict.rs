//! Fields of a configuration that other managers own with other values.

use std::collections::BTreeMap;

use super::managers::{Manager, Operation};
use super::set::Set;
use crate::status::{Cause, Details, Status, reason};

/// The fields in conflict, by the manager that owns them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts(BTreeMap<Manager, Set>);

impl Conflicts {
    pub(super) fn insert(&mut self, manager: Manager, fields: Set) {
        if !fields.is_empty() {
            self.0.insert(manager, fields);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The conflicts about fields that are not in the set.
    pub(super) fn without(&self, allowed: &Set) -> Self {
        let mut rest = Self::default();
        for (manager, fields) in &self.0 {
            rest.insert(manager.clone(), fields.difference(allowed));
        }
        rest
    }

    /// The refusal, as upstream words it.
    pub fn status(&self) -> Status {
        let paths: Vec<(String, Vec<String>)> =
            self.0.iter().map(|(manager, fields)| (shown(manager), fields.paths())).collect();
        let count: usize = paths.iter().map(|(_, paths)| paths.len()).sum();
        let message = match paths.as_slice() {
            [(manager, paths)] if count == 1 => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.concat())
            }
            _ => {
                let each = paths.iter().map(|(manager, paths)| {
                    let lines: String = paths.iter().map(|path| format!("\n- {path}")).collect();
                    format!("conflicts with {manager}:{lines}")
                });
                format!("Apply failed with {count} conflicts: {}", each.collect::<Vec<_>>().join("\n"))
            }
        };
        let causes = paths.into_iter().flat_map(|(manager, paths)| {
            paths.into_iter().map(move |field| Cause {
                reason: "FieldManagerConflict".into(),
                message: format!("conflict with {manager}"),
                field,
            })
        });
        let details = Details { causes: causes.collect(), ..Details::default() };
        Status::custom(409, reason::CONFLICT, message, Some(details))
    }
}

fn shown(manager: &Manager) -> String {
    let mut shown = format!("\"{}\"", manager.name);
    if !manager.subresource.is_empty() {
        shown = format!("{shown} with subresource \"{}\"", manager.subresource);
    }
    match (&manager.api_version, manager.operation) {
        (Some(version), Operation::Update) => format!("{shown} using {version}"),
        _ => shown,
    }
}
