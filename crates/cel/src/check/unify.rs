//! Types that are not known yet, and whether a value of one type may stand where another is wanted.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;

/// What is known about type variables.
#[derive(Default)]
pub(super) struct Unifier {
    bound: Vec<Option<Type>>,
    /// What was bound before, to be put back when a try fails.
    trail: Vec<(usize, Option<Type>)>,
}

impl Unifier {
    /// A type variable about which nothing is known.
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Var(self.bound.len() - 1)
    }

    /// A type of a signature, with type variables for its parameters.
    pub(super) fn instantiate(&mut self, ty: &Type, fresh: &mut HashMap<char, Type>) -> Type {
        match ty {
            Type::Param(name) => fresh.entry(*name).or_insert_with(|| self.fresh()).clone(),
            Type::List(element) => Type::list(self.instantiate(element, fresh)),
            Type::Map(key, value) => Type::map(self.instantiate(key, fresh), self.instantiate(value, fresh)),
            Type::Optional(inner) => Type::optional(self.instantiate(inner, fresh)),
            Type::Type(inner) => Type::of_type(self.instantiate(inner, fresh)),
            other => other.clone(),
        }
    }

    /// The type with all that is known filled in; what is not known becomes `dyn` where `to_dyn` is set.
    pub(super) fn resolve(&self, ty: &Type, to_dyn: bool) -> Type {
        match ty {
            Type::Var(number) => match &self.bound[*number] {
                Some(bound) => self.resolve(bound, to_dyn),
                None if to_dyn => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(element) => Type::list(self.resolve(element, to_dyn)),
            Type::Map(key, value) => Type::map(self.resolve(key, to_dyn), self.resolve(value, to_dyn)),
            Type::Optional(inner) => Type::optional(self.resolve(inner, to_dyn)),
            Type::Type(inner) => Type::of_type(self.resolve(inner, to_dyn)),
            other => other.clone(),
        }
    }

    /// Whether values of the types `actual` may stand where `wanted` are. What was learned is kept only then.
    pub(super) fn assign_all(&mut self, wanted: &[Type], actual: &[Type]) -> bool {
        if wanted.len() != actual.len() {
            return false;
        }
        self.trail.clear();
        let fits = wanted.iter().zip(actual).all(|(wanted, actual)| self.unify(wanted, actual));
        if !fits {
            while let Some((number, before)) = self.trail.pop() {
                self.bound[number] = before;
            }
        }
        fits
    }

    /// Whether a value of the type `actual` may stand where `wanted` is.
    pub(super) fn assign(&mut self, wanted: &Type, actual: &Type) -> bool {
        self.assign_all(std::slice::from_ref(wanted), std::slice::from_ref(actual))
    }

    fn unify(&mut self, wanted: &Type, actual: &Type) -> bool {
        match (wanted, actual) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(number), other) => self.bind(*number, other, true),
            (other, Type::Var(number)) => self.bind(*number, other, false),
            (a, b) if a.is_dyn() || b.is_dyn() => true,
            (Type::Null, other) | (other, Type::Null) => other.is_nullable(),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.unify(a, c) && self.unify(b, d),
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a.is(b),
        }
    }

    /// Makes the variable `number` stand for `other`, or checks that it does already.
    fn bind(&mut self, number: usize, other: &Type, wanted: bool) -> bool {
        if let Some(known) = self.bound[number].clone() {
            let fits = if wanted { self.unify(&known, other) } else { self.unify(other, &known) };
            // Where one of them can be anything, so can the variable.
            if fits && self.resolve(other, false).is_dyn() && !self.occurs(number, other) {
                self.set(number, Type::Dyn);
            }
            return fits;
        }
        let other = self.resolve(other, false);
        if let Type::Var(same) = other
            && same == number
        {
            return true;
        }
        if self.occurs(number, &other) {
            return false;
        }
        self.set(number, other);
        true
    }

    fn set(&mut self, number: usize, ty: Type) {
        let before = self.bound[number].replace(ty);
        self.trail.push((number, before));
    }

    fn occurs(&self, number: usize, ty: &Type) -> bool {
        let inside = |inner: &Arc<Type>| self.occurs(number, inner);
        match ty {
            Type::Var(other) => {
                *other == number || self.bound[*other].as_ref().is_some_and(|ty| self.occurs(number, ty))
            }
            Type::List(inner) | Type::Optional(inner) | Type::Type(inner) => inside(inner),
            Type::Map(key, value) => inside(key) || inside(value),
            _ => false,
        }
    }
}
