//! The cost of an expression before it is evaluated: between what and what, given the bounds of the schemas.
//!
//! The rules are upstream's to the letter, with what is odd about them, because the estimate decides whether a
//! CustomResourceDefinition is accepted.

mod calls;
mod range;

use std::collections::HashMap;
use std::sync::Arc;

use crate::check::Checked;
use crate::cost::{LIST_CREATE, MAP_CREATE, MESSAGE_CREATE};
use crate::schema::Decl;
use crate::syntax::ast::{Expr, ExprKind, Fold, Literal};
use crate::types::Type;

pub(crate) use range::Estimate;

/// What an evaluation of `root` costs. `variables` are the free variables with the shapes that schemas declare.
pub(crate) fn estimate(root: &Expr, checked: &Checked, variables: &[(&str, Option<&Arc<Decl>>)]) -> Estimate {
    let mut coster = Coster {
        checked,
        root: variables.iter().find_map(|(_, decl)| decl.cloned()),
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(root)
}

/// Where a value is found in the documents: nowhere, at a place that no schema declares, or at one that has a shape.
type Place = Option<Option<Arc<Decl>>>;

/// How large the keys (or indices) and the values of a container are.
#[derive(Clone, Copy)]
struct EntrySize {
    is_list: bool,
    key: Estimate,
    value: Estimate,
}

impl EntrySize {
    fn union(self, other: Self) -> Self {
        Self { is_list: self.is_list, key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

/// A variable of a loop.
struct Local {
    name: String,
    place: Place,
    size: Option<Estimate>,
    entry: Option<EntrySize>,
}

struct Coster<'e> {
    checked: &'e Checked,
    /// The shape of `self`.
    root: Option<Arc<Decl>>,
    paths: HashMap<u32, Place>,
    sizes: HashMap<u32, Estimate>,
    entries: HashMap<u32, EntrySize>,
    locals: Vec<Local>,
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> Estimate {
        match &expr.kind {
            ExprKind::Literal(_) => Estimate::fixed(0),
            ExprKind::Ident(name) => {
                let place = match self.local(name) {
                    Some(local) => local.place.clone(),
                    None => Some(self.root.clone()),
                };
                self.paths.insert(expr.id, place);
                Estimate::fixed(1)
            }
            ExprKind::Select { operand, test: true, .. } => self.cost(operand),
            ExprKind::Select { operand, field, .. } => {
                let mut sum = self.cost(operand);
                if matches!(self.checked.type_of(operand), Type::Map(..) | Type::Object(_)) {
                    sum = sum.add(Estimate::fixed(1));
                }
                let place = self.step(self.place(operand), |decl| {
                    decl.field(field).or_else(|| decl.element().filter(|_| decl.field(field).is_none())).cloned()
                });
                self.paths.insert(expr.id, place);
                sum
            }
            ExprKind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            ExprKind::List(elements) => {
                let mut sum = Estimate::fixed(LIST_CREATE);
                let mut size = Estimate::nothing_if(elements.is_empty());
                for element in elements {
                    sum = sum.add(self.cost(&element.value));
                    size = size.union(self.size_or_unknown(&element.value));
                }
                self.entries.insert(expr.id, EntrySize { is_list: true, key: Estimate::fixed(1), value: size });
                sum
            }
            ExprKind::Map(entries) => {
                let mut sum = Estimate::fixed(MAP_CREATE);
                let (mut keys, mut values) =
                    (Estimate::nothing_if(entries.is_empty()), Estimate::nothing_if(entries.is_empty()));
                for entry in entries {
                    sum = sum.add(self.cost(&entry.key)).add(self.cost(&entry.value));
                    keys = keys.union(self.size_or_unknown(&entry.key));
                    values = values.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, EntrySize { is_list: false, key: keys, value: values });
                sum
            }
            ExprKind::Message { fields, .. } => {
                let created = Estimate::fixed(MESSAGE_CREATE);
                fields.iter().fold(created, |sum, field| sum.add(self.cost(&field.value)))
            }
            ExprKind::Fold(fold) if is_let(fold) => self.let_in(expr, fold),
            ExprKind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn place(&self, expr: &Expr) -> Place {
        if let ExprKind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.place.clone();
        }
        self.paths.get(&expr.id).cloned().flatten()
    }

    /// One step further down. What begins nowhere is taken for the root: upstream drops the first part of each path.
    fn step(&self, place: Place, down: impl Fn(&Decl) -> Option<Arc<Decl>>) -> Place {
        match place {
            None => Some(self.root.clone()),
            Some(decl) => Some(decl.and_then(|decl| down(&decl))),
        }
    }

    fn set_size(&mut self, expr: &Expr, size: Option<Estimate>) {
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Estimate {
        self.size(expr).unwrap_or(Estimate::UNKNOWN)
    }

    /// How large the value of an expression is, if that is known.
    fn size(&mut self, expr: &Expr) -> Option<Estimate> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = literal_size(expr) {
            return Some(Estimate::fixed(size));
        }
        if let Some(Some(decl)) = self.place(expr) {
            let size = Estimate { min: 0, max: decl.max_elements };
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.checked.type_of(expr)) {
            return Some(Estimate::fixed(1));
        }
        match &expr.kind {
            ExprKind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn entry(&self, expr: &Expr) -> Option<EntrySize> {
        if let Some(entry) = self.entries.get(&expr.id) {
            return Some(*entry);
        }
        match &expr.kind {
            ExprKind::Ident(name) => self.local(name).and_then(|local| local.entry),
            _ => None,
        }
    }

    fn push_bound(&mut self, name: &str, init: &Expr) {
        let (place, entry, size) = (self.place(init), self.entry(init), self.size(init));
        self.locals.push(Local { name: name.to_owned(), place, size, entry });
    }

    /// A variable that runs over the keys (`key`) or the values of a range.
    fn push_iter(&mut self, name: &str, range: &Expr, key: bool) {
        let entry = self.entry(range);
        let is_list = match entry {
            Some(entry) => entry.is_list,
            None => matches!(self.checked.type_of(range), Type::List(_)),
        };
        let size = entry.map(|entry| if key { entry.key } else { entry.value });
        let place = self.step(self.place(range), |decl| match (key, is_list) {
            (true, true) => Some(Arc::clone(Decl::index())),
            (true, false) => Some(Arc::clone(Decl::key())),
            (false, _) => decl.element().cloned(),
        });
        self.locals.push(Local { name: name.to_owned(), place, size, entry: None });
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Estimate {
        let mut sum = self.cost(&fold.range).add(self.cost(&fold.accu_init));
        let outside = self.locals.len();
        self.push_bound(&fold.accu_var, &fold.accu_init);
        match &fold.iter_var2 {
            Some(second) => {
                self.push_iter(&fold.iter_var, &fold.range, true);
                self.push_iter(second, &fold.range, false);
            }
            None => {
                let is_list = match self.entry(&fold.range) {
                    Some(entry) => entry.is_list,
                    None => matches!(self.checked.type_of(&fold.range), Type::List(_)),
                };
                self.push_iter(&fold.iter_var, &fold.range, !is_list);
            }
        }
        let round = self.cost(&fold.condition).add(self.cost(&fold.step));
        self.locals.truncate(outside + 1);
        sum = sum.add(self.cost(&fold.result));
        self.locals.truncate(outside);
        let count = self.size_or_unknown(&fold.range);
        sum = sum.add(count.multiply(round));
        match &fold.accu_init.kind {
            ExprKind::Literal(_) => {
                let size = self.size(&fold.accu_init);
                self.set_size(expr, size);
            }
            ExprKind::List(_) | ExprKind::Map(_) => {
                self.set_size(expr, Some(count));
                if let Some(entry) = self.entry(&fold.step) {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        sum
    }

    fn let_in(&mut self, expr: &Expr, fold: &Fold) -> Estimate {
        let mut sum = self.cost(&fold.range).add(self.cost(&fold.accu_init));
        self.push_bound(&fold.accu_var, &fold.accu_init);
        sum = sum.add(self.cost(&fold.result));
        self.locals.pop();
        let size = self.size(&fold.result);
        self.set_size(expr, size);
        if let Some(entry) = self.entry(&fold.result) {
            self.entries.insert(expr.id, entry);
        }
        sum
    }
}

/// Whether a loop has no rounds and only binds a variable.
fn is_let(fold: &Fold) -> bool {
    matches!(&fold.range.kind, ExprKind::List(elements) if elements.is_empty())
        && matches!(fold.condition.kind, ExprKind::Literal(Literal::Bool(false)))
}

fn literal_size(expr: &Expr) -> Option<u64> {
    match &expr.kind {
        ExprKind::Literal(Literal::String(text)) => Some(text.chars().count() as u64),
        ExprKind::Literal(Literal::Bytes(bytes)) => Some(bytes.len() as u64),
        ExprKind::Literal(_) => Some(1),
        ExprKind::List(elements) => Some(elements.len() as u64),
        ExprKind::Map(entries) => Some(entries.len() as u64),
        _ => None,
    }
}

/// Whether values of the type always have the same size.
fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(inner) => is_scalar(inner),
        _ => false,
    }
}
