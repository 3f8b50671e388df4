//! Rules of custom resources: `x-kubernetes-validations`.
//!
//! [`Rules::compile`] compiles all rules of a version's schema, once; [`Rules::validate`] runs them on every create and
//! update; [`check`] judges them when a CustomResourceDefinition is written.

mod check;
mod compile;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::structural::{AdditionalProperties, Structural};

use crate::schema::Decl;
pub use check::check;
use compile::Rule;
pub use run::Verdict;

/// What all rules may cost for one object.
pub const OBJECT_BUDGET: u64 = 10_000_000;

/// The compiled rules of a schema.
#[derive(Debug)]
pub struct Rules {
    root: Option<Node>,
}

/// The rules of a node of a schema and of those below it.
#[derive(Debug)]
struct Node {
    decl: Option<Arc<Decl>>,
    rules: Vec<Rule>,
    /// The same node once more, for the rules of each schema of `allOf`.
    all_of: Vec<Node>,
    items: Option<Box<Node>>,
    fields: BTreeMap<String, Node>,
    values: Option<Box<Node>>,
}

impl Rules {
    /// Compiles the rules of a whole resource's schema. Rules that do not compile fail on every object; a checked
    /// schema has none.
    #[must_use]
    pub fn compile(schema: &Structural) -> Self {
        let has_rules = schema.any(&|schema| !schema.extensions.validations.is_empty());
        Self { root: if has_rules { Node::new(schema, schema, Decl::new(schema, true)) } else { None } }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}

impl Node {
    /// The rules that `rules` has for what `schema` describes: both are one, but below `allOf`. Nothing if there are
    /// none.
    fn new(rules: &Structural, schema: &Structural, decl: Option<Arc<Decl>>) -> Option<Self> {
        let element = decl.as_ref().and_then(|decl| decl.element().cloned());
        let below = |rules: Option<&Structural>, schema: Option<&Structural>| {
            Self::new(rules?, schema?, element.clone()).map(Box::new)
        };
        let fields = rules.properties.iter().filter_map(|(name, rules)| {
            let schema = schema.properties.get(name)?;
            let decl = decl.as_ref().and_then(|decl| decl.property(name).cloned());
            Some((name.clone(), Self::new(rules, schema, decl)?))
        });
        let node = Self {
            rules: compile::all(&rules.extensions.validations, schema, decl.as_ref()),
            all_of: rules.values.all_of.iter().filter_map(|rules| Self::new(rules, schema, decl.clone())).collect(),
            items: below(rules.items.as_deref(), schema.items.as_deref()),
            values: below(values(rules), values(schema)),
            fields: fields.collect(),
            decl: decl.clone(),
        };
        let empty = node.rules.is_empty() && node.all_of.is_empty() && node.fields.is_empty();
        (!empty || node.items.is_some() || node.values.is_some()).then_some(node)
    }
}

/// The schema of a map's values.
fn values(schema: &Structural) -> Option<&Structural> {
    schema.additional_properties.as_ref().and_then(AdditionalProperties::schema)
}
