//! What is different between two documents, as sets of fields.

use serde_json::Value;

use super::element::Element;
use super::items::Items;
use super::set::Set;
use super::shape::{Parts, Shape};

/// The fields in which a document differs from an older one.
#[derive(Debug, Clone, Default)]
pub(super) struct Comparison {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Comparison {
    pub(super) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Every field that differs.
    pub(super) fn all(&self) -> Set {
        self.added.union(&self.modified).union(&self.removed)
    }

    /// Without what is at or below the paths.
    pub(super) fn without(mut self, paths: &Set) -> Self {
        self.added.drop_subtrees(paths);
        self.modified.drop_subtrees(paths);
        self.removed.drop_subtrees(paths);
        self
    }

    fn put(&mut self, element: Element, below: Comparison) {
        let Comparison { added, modified, removed } = below;
        // Most have one of the three, and none needs a copy of the element.
        if !modified.is_empty() {
            self.modified.put(element.clone(), modified);
        }
        if !removed.is_empty() {
            self.removed.put(element.clone(), removed);
        }
        self.added.put(element, added);
    }

    /// The value itself is new, gone or another.
    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, Some(_)) => self.added.mark(),
            (Some(_), None) => self.removed.mark(),
            (old, new) if old != new => self.modified.mark(),
            _ => {}
        }
    }
}

/// Compares two documents of a shape.
pub(super) fn compare(old: &Value, new: &Value, shape: Shape<'_>) -> Comparison {
    let mut found = Comparison::default();
    visit(Some(old), Some(new), shape, &mut found);
    found
}

fn visit(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>, found: &mut Comparison) {
    if old == new {
        return;
    }
    match shape.parts(old, new) {
        Parts::Leaf => return found.leaf(old, new),
        Parts::Fields => fields(old, new, shape, found),
        Parts::Items => items(old, new, shape, found),
    }
    // What holds fields is itself new or gone, but never another.
    if old.is_none() || new.is_none() {
        found.leaf(old, new);
    }
}

fn fields(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>, found: &mut Comparison) {
    let below = |name: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Comparison| {
        if old != new {
            let mut inner = Comparison::default();
            visit(old, new, shape.field(name).0, &mut inner);
            found.put(Element::field(name), inner);
        }
    };
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    for (name, value) in old.into_iter().flatten() {
        below(name, Some(value), new.and_then(|new| new.get(name)), found);
    }
    for (name, value) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            below(name, None, Some(value), found);
        }
    }
}

fn items(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>, found: &mut Comparison) {
    let (old, new) = (Items::of(old, shape), Items::of(new, shape));
    let added = new.order.iter().filter(|element| !old.contains(element));
    for element in old.order.iter().chain(added) {
        let mut inner = Comparison::default();
        match (old.get(element), new.get(element)) {
            (before @ ([] | [_]), after @ ([] | [_])) => {
                visit(before.first().copied(), after.first().copied(), shape.item(), &mut inner);
            }
            // Items that are there more than once are one value together.
            ([], _) => inner.added.mark(),
            (_, []) => inner.removed.mark(),
            (before, after) if before != after => inner.modified.mark(),
            _ => {}
        }
        found.put(element.clone(), inner);
    }
}
