//! Judges the rules of a CustomResourceDefinition: whether they compile, and whether they could cost too much.

use std::sync::Arc;

use api::field::{ErrorList, FieldError, Path};
use api::schema::ListType;
use api::structural::{Structural, ValidationRule};
use serde_json::{Value as Json, json};

use super::compile::{self, Rule};
use super::values;
use crate::schema::{Decl, MAX_REQUEST_BYTES};

/// What a rule may cost for all values of one object that it applies to.
const RULE_LIMIT: u64 = 10_000_000;
/// What all rules of a schema may cost together.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of the rules that cost most are named.
const MOST_EXPENSIVE: usize = 4;

/// What is wrong with the rules of a whole resource's schema, which stands at `path`. The schema has no other errors.
#[must_use]
pub fn check(schema: &Structural, path: &Path) -> ErrorList {
    let mut check = Check { errors: ErrorList::new(), total: 0, expensive: Vec::new() };
    if schema.any(&|schema| !schema.extensions.validations.is_empty()) {
        let site = Site { rules: schema, schema, decl: Decl::new(schema, true), count: Some(1), uncorrelatable: None };
        check.node(&site, path);
    }
    if check.total > SCHEMA_LIMIT {
        for (path, _) in &check.expensive {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            check.errors.push(FieldError::forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        check.errors.push(FieldError::forbidden(path, too_expensive(what, check.total, SCHEMA_LIMIT)));
    }
    check.errors
}

/// A node of a schema.
struct Site<'a> {
    /// Where the rules are: the node itself, or what an `allOf` says about it.
    rules: &'a Structural,
    schema: &'a Structural,
    decl: Option<Arc<Decl>>,
    /// How many such values an object can have; nothing if no bound is known.
    count: Option<u64>,
    /// The list whose items cannot be told apart.
    uncorrelatable: Option<&'a Path>,
}

struct Check {
    errors: ErrorList,
    total: u64,
    expensive: Vec<(Path, u64)>,
}

impl Check {
    fn node(&mut self, site: &Site<'_>, path: &Path) {
        let (rules, schema) = (site.rules, site.schema);
        let compiled = compile::all(&rules.extensions.validations, schema, site.decl.as_ref());
        for (index, rule) in compiled.iter().enumerate() {
            self.rule(rule, site, &path.child("x-kubernetes-validations").index(index));
        }
        for (index, all_of) in rules.values.all_of.iter().enumerate() {
            let site = Site { rules: all_of, decl: site.decl.clone(), ..*site };
            self.node(&site, &path.child("allOf").index(index));
        }
        let element = site.decl.as_ref().and_then(|decl| decl.element().cloned());
        let times = |max: Option<i64>| {
            site.count.and_then(|count| max.map(|max| count.saturating_mul(u64::try_from(max).unwrap_or(0))))
        };
        if let (Some(rules), Some(items)) = (rules.items.as_deref(), schema.items.as_deref()) {
            let associative = schema.extensions.list_type == Some(ListType::Map);
            let uncorrelatable = if associative { site.uncorrelatable } else { Some(path) };
            let count = times(schema.values.max_items);
            let site = Site { rules, schema: items, decl: element.clone(), count, uncorrelatable };
            self.node(&site, &path.child("items"));
        }
        if let (Some(rules), Some(schema)) = (values(rules), values(schema)) {
            let count = times(site.schema.values.max_properties);
            let site = Site { rules, schema, decl: element, count, ..*site };
            self.node(&site, &path.child("additionalProperties"));
        }
        for (name, rules) in &rules.properties {
            if let Some(schema) = schema.properties.get(name) {
                let decl = site.decl.as_ref().and_then(|decl| decl.property(name).cloned());
                let site = Site { rules, schema, decl, ..*site };
                self.node(&site, &path.child("properties").key(name));
            }
        }
    }

    fn rule(&mut self, rule: &Rule, site: &Site<'_>, path: &Path) {
        let rule_path = path.child("rule");
        match &rule.program {
            Ok(Some(program)) => {
                // Where nothing bounds their number, values are as many as fit into a request.
                let min_size = site.decl.as_ref().map_or(1, |decl| decl.min_size);
                let count = site.count.unwrap_or(MAX_REQUEST_BYTES / (min_size + 1));
                let cost = program.max_cost().saturating_mul(count);
                if cost > RULE_LIMIT {
                    let why = too_expensive("estimated rule cost", cost, RULE_LIMIT);
                    self.errors.push(FieldError::forbidden(&rule_path, why));
                }
                self.observe(rule_path.clone(), cost);
            }
            Ok(None) => return,
            Err(why) => self.errors.push(FieldError::invalid(&rule_path, shown(&rule.source), why.clone())),
        }
        let message_path = path.child("messageExpression");
        match &rule.message {
            Ok(Some(program)) => {
                let cost = program.max_cost();
                if cost > RULE_LIMIT {
                    let why = too_expensive("estimated messageExpression cost", cost, RULE_LIMIT);
                    self.errors.push(FieldError::forbidden(&message_path, why));
                }
                self.observe(message_path, cost);
            }
            Ok(None) => {}
            Err(why) => self.errors.push(FieldError::invalid(&message_path, shown(&rule.source), why.clone())),
        }
        self.old_self(rule, site, path);
    }

    fn old_self(&mut self, rule: &Rule, site: &Site<'_>, path: &Path) {
        if rule.uses_old_self() {
            if let Some(list) = site.uncorrelatable {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
                self.errors.push(FieldError::invalid(&path.child("rule"), rule.source.rule.as_str(), why));
            }
        } else if let Some(optional) = rule.source.optional_old_self
            && rule.program.is_ok()
        {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(&path.child("optionalOldSelf"), optional, why));
        }
    }

    /// Adds to the total, and remembers what costs much.
    fn observe(&mut self, path: Path, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost < SCHEMA_LIMIT / 100 {
            return;
        }
        self.expensive.push((path, cost));
        self.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        self.expensive.truncate(MOST_EXPENSIVE);
    }
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as errors show it: in the form that upstream's own type has.
fn shown(rule: &ValidationRule) -> Json {
    json!({
        "Rule": rule.rule, "Message": rule.message, "MessageExpression": rule.message_expression,
        "Reason": rule.reason, "FieldPath": rule.field_path, "OptionalOldSelf": rule.optional_old_self,
    })
}
