//! Sets of paths, and their form in `fieldsV1`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value, json};

use super::element::Element;
use super::shape::Shape;

/// A set of paths as a tree. No node is empty but the root of an empty set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Set {
    /// Whether the path that leads here is itself in the set.
    member: bool,
    children: BTreeMap<Element, Set>,
}

impl Set {
    /// Whether there is no path in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Adds a path.
    pub fn insert(&mut self, path: impl IntoIterator<Item = Element>) {
        let mut at = self;
        for element in path {
            at = at.children.entry(element).or_default();
        }
        at.member = true;
    }

    /// Adds the path that leads to this node.
    pub(super) fn mark(&mut self) {
        self.member = true;
    }

    /// Adds a whole subtree, if it is not empty.
    pub(super) fn put(&mut self, element: Element, set: Set) {
        if !set.is_empty() {
            match self.children.entry(element) {
                Entry::Vacant(entry) => {
                    entry.insert(set);
                }
                Entry::Occupied(mut entry) => entry.get_mut().absorb(set),
            }
        }
    }

    /// The paths below an element.
    pub fn child(&self, element: &Element) -> Option<&Set> {
        self.children.get(element)
    }

    /// Whether the path to this node is in the set.
    pub fn is_member(&self) -> bool {
        self.member
    }

    /// Whether there are paths below this node.
    pub fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// Whether the path is in the set.
    pub fn contains(&self, path: &[Element]) -> bool {
        path.iter().try_fold(self, |at, element| at.child(element)).is_some_and(|at| at.member)
    }

    fn extend(&mut self, other: &Set) {
        self.member |= other.member;
        for (element, theirs) in &other.children {
            self.children.entry(element.clone()).or_default().extend(theirs);
        }
    }

    /// Takes in the paths of another.
    pub(super) fn absorb(&mut self, other: Set) {
        self.member |= other.member;
        if self.children.is_empty() {
            self.children = other.children;
            return;
        }
        for (element, theirs) in other.children {
            match self.children.entry(element) {
                Entry::Vacant(entry) => {
                    entry.insert(theirs);
                }
                Entry::Occupied(mut entry) => entry.get_mut().absorb(theirs),
            }
        }
    }

    /// The paths of both.
    #[must_use]
    pub fn union(&self, other: &Set) -> Set {
        let mut union = self.clone();
        union.extend(other);
        union
    }

    /// The paths that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let both = self.children.iter().filter_map(|(element, ours)| {
            let common = ours.intersection(other.children.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        });
        Set { member: self.member && other.member, children: both.collect() }
    }

    /// The paths that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Set) -> Set {
        let rest = self.children.iter().filter_map(|(element, ours)| {
            let rest = match other.children.get(element) {
                Some(theirs) => ours.difference(theirs),
                None => ours.clone(),
            };
            (!rest.is_empty()).then(|| (element.clone(), rest))
        });
        Set { member: self.member && !other.member, children: rest.collect() }
    }

    /// Drops the paths that are in the other or below one of its paths.
    pub(super) fn drop_subtrees(&mut self, other: &Set) {
        self.member &= !other.member;
        for (element, theirs) in &other.children {
            let Some(ours) = self.children.get_mut(element) else { continue };
            if !theirs.member {
                ours.drop_subtrees(theirs);
            }
            if theirs.member || ours.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// Drops the path of one element, but nothing below it.
    pub(super) fn drop_element(&mut self, element: &Element) {
        if let Some(set) = self.children.get_mut(element) {
            set.member = false;
            if set.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// The set with every field of a declared type that leads to one of its paths.
    #[must_use]
    pub(super) fn with_named_fields(&self, shape: Shape<'_>) -> Set {
        let children = self.children.iter().map(|(element, set)| {
            let (inner, is_declared) = shape.below(element);
            let mut set = set.with_named_fields(inner);
            set.member |= is_declared;
            (element.clone(), set)
        });
        Set { member: self.member, children: children.collect() }
    }

    /// Every path as refusals show it, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(prefix.to_owned());
        }
        for (element, set) in &self.children {
            set.collect(&format!("{prefix}{}", element.display()), paths);
        }
    }

    /// The form in `fieldsV1`.
    pub fn encode(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.children.is_empty() {
            fields.insert(".".to_owned(), json!({}));
        }
        for (element, set) in &self.children {
            fields.insert(element.encoded().to_owned(), set.encode());
        }
        Value::Object(fields)
    }

    /// The set out of `fieldsV1`; `None` if it is none.
    pub fn decode(fields: &Value) -> Option<Set> {
        let mut set = Set::below(fields)?;
        // The whole document is no field, so nobody owns it, whatever a client says.
        set.member = false;
        Some(set)
    }

    fn below(fields: &Value) -> Option<Set> {
        let Value::Object(fields) = fields else { return None };
        let mut set = Set::default();
        for (key, below) in fields {
            if key == "." {
                set.member = true;
                continue;
            }
            let mut below = Set::below(below)?;
            // What has nothing below it is there for itself.
            below.member |= below.children.is_empty();
            set.children.insert(Element::parse(key)?, below);
        }
        Some(set)
    }
}
