//! Rules of custom resources in CEL: compiled once for each version of a definition, run when all else holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::custom::{Custom, Definition};
use api::field::ErrorList;
use api::kinds::Resource;
use api::structural::{Structural, unchecked_rules};
use api::validation::definitions;
use cel::rules::Rules;
use serde_json::Value;

use crate::expressions;
use crate::kinds::Kinds;

/// The rules of one version, and the definition that has them.
struct Compiled {
    definition: Arc<Definition>,
    rules: Arc<Rules>,
}

/// The compiled rules, by the name of the definition and the version.
#[derive(Default)]
pub(crate) struct RuleCache(Mutex<HashMap<(String, String), Compiled>>);

impl RuleCache {
    /// The rules of a version; they are compiled when a schema is seen for the first time.
    fn of(&self, kinds: &Kinds, custom: &Custom) -> Arc<Rules> {
        let version = custom.version();
        let key = (custom.definition.name.clone(), version.name.to_string());
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache.get(&key);
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.definition, &custom.definition)) {
            return known.rules.clone();
        }
        // Most changes of a definition leave its schemas alone.
        let schema = |definition: &Definition| definition.version(&version.name).map(|version| version.schema.clone());
        let same = known.filter(|known| schema(&known.definition).as_ref() == Some(&version.schema));
        let rules = same.map_or_else(|| Arc::new(Rules::compile(&version.structural)), |known| known.rules.clone());
        cache.retain(|(name, _), _| kinds.definition(name).is_some());
        cache.insert(key, Compiled { definition: custom.definition.clone(), rules: rules.clone() });
        rules
    }

    /// Adds what rules say to what is wrong with an object already; `old` is what it was before an update. What was
    /// wrong then and has not changed is no error; it is answered, to be a warning.
    pub(crate) fn judge(
        &self,
        kinds: &Kinds,
        resource: &Resource,
        new: &Value,
        old: Option<&Value>,
        errors: &mut ErrorList,
    ) -> Vec<String> {
        if let Some(custom) = &resource.custom {
            let rules = self.of(kinds, custom);
            if rules.is_empty() {
                return Vec::new();
            }
            if let Some(unchecked) = unchecked_rules(errors) {
                errors.push(unchecked);
                return Vec::new();
            }
            let verdict = rules.validate(&custom.version().structural, new, old);
            errors.extend(verdict.errors);
            return verdict.warnings;
        }
        if is_definition(resource) {
            judge_definition(new, old, errors);
        }
        expressions::judge(resource, new, old, errors);
        Vec::new()
    }
}

fn is_definition(resource: &Resource) -> bool {
    resource.group == "apiextensions.k8s.io" && resource.plural == "customresourcedefinitions"
}

/// Judges the rules of the schemas of a definition that are new and have no other errors.
fn judge_definition(new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let before: Vec<&Value> = old.map(definitions::schemas).into_iter().flatten().map(|placed| placed.schema).collect();
    for placed in definitions::schemas(new) {
        let path = placed.path.to_string();
        let is_wrong = errors.iter().any(|error| error.field.starts_with(&path));
        if is_wrong || before.contains(&placed.schema) {
            continue;
        }
        if let Ok(schema) = Structural::parse(placed.schema) {
            errors.extend(cel::rules::check(&schema, &placed.path));
        }
    }
}
