//! What calls cost and how large their results are.

use std::sync::Arc;

use super::{Coster, Estimate, Place};
use crate::cost::{REGEX_LENGTH, STRING_TRAVERSAL, is_order_of_text};
use crate::schema::Decl;
use crate::syntax::ast::Expr;
use crate::types::Type;

/// The cost of a call and the size of its result, if that is known.
struct Called {
    cost: Estimate,
    size: Option<Estimate>,
}

impl Called {
    fn costs(cost: Estimate) -> Self {
        Self { cost, size: None }
    }

    fn makes(self, size: Estimate) -> Self {
        Self { size: Some(size), ..self }
    }
}

/// A call that is looked at.
struct Site<'e> {
    function: &'e str,
    overload: &'e str,
    target: Option<&'e Expr>,
    args: &'e [Expr],
}

/// The longest pattern among the named formats.
const MAX_FORMAT_PATTERN: f64 = 128.0;

impl Coster<'_> {
    pub(super) fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Estimate {
        if let ("dyn", [arg]) = (function, args) {
            let cost = self.cost(arg);
            let size = self.size(arg);
            self.set_size(expr, size);
            if let Some(entry) = self.entry(arg) {
                self.entries.insert(expr.id, entry);
            }
            return cost.add(Estimate::fixed(1));
        }
        let arg_costs: Vec<Estimate> = args.iter().map(|arg| self.cost(arg)).collect();
        let overloads = self.checked.overloads(expr);
        if overloads.is_empty() {
            let sum = arg_costs.iter().fold(Estimate::fixed(0), |sum, cost| sum.add(*cost));
            return if function == "_?._" { sum.add(Estimate::fixed(1)) } else { sum };
        }
        let target = target.filter(|_| overloads[0].member);
        let target_cost = target.map_or(Estimate::fixed(0), |target| self.cost(target));
        let mut cost = Estimate { min: u64::MAX, max: 0 };
        let mut size: Option<Estimate> = None;
        for overload in overloads {
            let site = Site { function: overload.function, overload: overload.id, target, args };
            let called = self.overload(expr, &site, &arg_costs);
            cost = cost.union(called.cost);
            size = match (size, called.size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            if matches!(overload.id, "index_list" | "index_map")
                && let Some(container) = args.first()
            {
                size = self.entry(container).map(|entry| entry.value);
                let place = self.step(self.place(container), |decl| decl.element().cloned());
                self.paths.insert(expr.id, place);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        self.set_size(expr, size);
        target_cost.add(cost)
    }

    fn overload(&mut self, expr: &Expr, site: &Site<'_>, arg_costs: &[Estimate]) -> Called {
        let args = arg_costs.iter().fold(Estimate::fixed(0), |sum, cost| sum.add(*cost));
        match (site.overload, arg_costs) {
            ("logical_or" | "logical_and", [left, right]) => {
                return Called::costs(Estimate { min: left.min, max: left.add(*right).max });
            }
            ("conditional", [condition, yes, no]) => {
                let size = self.size_or_unknown(&site.args[1]).union(self.size_or_unknown(&site.args[2]));
                if let (Some(a), Some(b)) = (self.entry(&site.args[1]), self.entry(&site.args[2])) {
                    self.entries.insert(expr.id, a.union(b));
                }
                return Called::costs(condition.add(yes.union(*no))).makes(size);
            }
            _ => {}
        }
        let called = match self.kubernetes(site) {
            Some(called) => called,
            None => self.standard(expr, site),
        };
        Called { cost: called.cost.add(args), size: called.size }
    }

    /// The functions of Kubernetes' libraries.
    fn kubernetes(&mut self, site: &Site<'_>) -> Option<Called> {
        let one = Some(Called::costs(Estimate::fixed(1)));
        match (site.function, site.target, site.args) {
            ("check", Some(_), _) => Some(Called::costs(Estimate::fixed(350_000))),
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let size = self.size_or_unknown(target);
                let Type::List(element) = self.checked.type_of(target) else {
                    return Some(Called::costs(size.by_factor(STRING_TRAVERSAL)));
                };
                let mut each = Estimate::fixed(1);
                if matches!(**element, Type::String | Type::Bytes) {
                    each = each.add(self.element_size(target).by_factor(STRING_TRAVERSAL));
                }
                Some(Called::costs(size.multiply(each)))
            }
            ("url", None, [arg]) => Some(Called::costs(self.size_or_unknown(arg).by_factor(STRING_TRAVERSAL))),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
                let size = self.size_or_unknown(target);
                Some(Called::costs(size.by_factor(STRING_TRAVERSAL)).makes(size))
            }
            ("replace", Some(target), [old, new, ..]) => Some(self.replace(target, old, new)),
            ("split", Some(target), _) => {
                let size = self.size_or_unknown(target);
                let parts = Estimate { min: 0, max: size.max };
                Some(Called::costs(size.by_factor(2.0 * STRING_TRAVERSAL)).makes(parts))
            }
            ("join", Some(target), args) => Some(self.join(target, args.first())),
            ("find" | "findAll", Some(target), [pattern, ..]) => {
                let size = self.size_or_unknown(target);
                let found = Estimate { min: 0, max: size.max };
                Some(Called::costs(self.pattern_cost(target, pattern)).makes(found))
            }
            ("validate", Some(_), [text]) => {
                let size = self.size_or_unknown(text).by_factor(STRING_TRAVERSAL);
                Some(Called::costs(size.by_factor(MAX_FORMAT_PATTERN * REGEX_LENGTH)))
            }
            ("containsIP" | "containsCIDR", Some(_), [other]) => {
                let bits = Estimate { min: 4, max: 16 };
                let mut cost = bits.add(bits).by_factor(STRING_TRAVERSAL);
                if site.function == "containsCIDR" {
                    cost = cost.add(bits.by_factor(STRING_TRAVERSAL)).add(Estimate::fixed(1));
                }
                if site.overload.ends_with("_string") {
                    cost = cost.add(self.size_or_unknown(other).by_factor(STRING_TRAVERSAL));
                }
                Some(Called::costs(cost))
            }
            ("sets.contains" | "sets.intersects" | "sets.equivalent", None, [a, b]) => {
                let factor = if site.function == "sets.equivalent" { 2.0 } else { 1.0 };
                let pairs = self.size_or_unknown(a).multiply(self.size_or_unknown(b));
                Some(Called::costs(pairs.by_factor(factor).add(Estimate::fixed(1))))
            }
            ("ip" | "masked" | "prefixLength" | "family" | "sign" | "asInteger" | "compareTo", Some(_), _) => one,
            _ => None,
        }
    }

    /// How large the elements of a list are.
    fn element_size(&self, list: &Expr) -> Estimate {
        let element: Place = self.place(list).map(|decl| decl.and_then(|decl: Arc<Decl>| decl.element().cloned()));
        match element {
            Some(Some(decl)) => Estimate { min: 0, max: decl.max_elements },
            _ => Estimate::UNKNOWN,
        }
    }

    fn pattern_cost(&mut self, text: &Expr, pattern: &Expr) -> Estimate {
        let text = self.size_or_unknown(text).add(Estimate::fixed(1)).by_factor(STRING_TRAVERSAL);
        text.multiply(self.size_or_unknown(pattern).by_factor(REGEX_LENGTH))
    }

    fn replace(&mut self, target: &Expr, old: &Expr, new: &Expr) -> Called {
        let size = self.size_or_unknown(target);
        let (old, new) = (self.size_or_unknown(old), self.size_or_unknown(new));
        let ratio = |a: u64, b: u64| (a as f64 / b as f64).ceil() as u64;
        let (most, kept) = if old.min == 0 {
            (size.max.saturating_add(1), size.max)
        } else if new.max <= old.min {
            (0, size.max)
        } else {
            (ratio(size.max, old.min), 0)
        };
        let (fewest, kept_min) = if old.max == 0 {
            (size.min.saturating_add(1), size.min)
        } else if old.max <= new.min {
            (0, size.min)
        } else {
            (ratio(size.min, old.max), 0)
        };
        let count = Estimate { min: fewest, max: most };
        let result = count.multiply(new).add(Estimate { min: kept_min, max: kept });
        Called::costs(size.by_factor(2.0 * STRING_TRAVERSAL)).makes(result)
    }

    fn join(&mut self, list: &Expr, separator: Option<&Expr>) -> Called {
        let count = self.size_or_unknown(list);
        let mut size = count.multiply(self.element_size(list));
        if let Some(separator) = separator {
            let between = Estimate { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
            size = size.add(self.size_or_unknown(separator).multiply(between));
        }
        Called::costs(size.by_factor(STRING_TRAVERSAL)).makes(size)
    }

    /// The functions and operators of the language itself.
    fn standard(&mut self, expr: &Expr, site: &Site<'_>) -> Called {
        let traversed = |size: Estimate| Called::costs(size.by_factor(STRING_TRAVERSAL));
        match (site.overload, site.target, site.args) {
            ("string_to_bytes", None, [arg]) => {
                let size = self.size_or_unknown(arg);
                traversed(size).makes(Estimate { min: size.min, max: size.max.saturating_mul(4) })
            }
            ("bytes_to_string", None, [arg]) => {
                let size = self.size_or_unknown(arg);
                traversed(size).makes(Estimate { min: size.min / 4, max: size.max })
            }
            ("strings_quote", None, [arg]) => {
                let size = self.size_or_unknown(arg);
                let max = size.max.saturating_mul(2).saturating_add(2);
                traversed(size).makes(Estimate { min: size.min.saturating_add(2), max })
            }
            ("string_format", Some(target), _) => traversed(self.size_or_unknown(target)),
            ("starts_with_string" | "ends_with_string", _, [arg]) => traversed(self.size_or_unknown(arg)),
            ("in_list", _, [_, list]) => Called::costs(self.size_or_unknown(list)),
            ("matches_string", Some(target), [pattern]) => Called::costs(self.pattern_cost(target, pattern)),
            ("contains_string", Some(target), [part]) => {
                let text = self.size_or_unknown(target).by_factor(STRING_TRAVERSAL);
                Called::costs(text.multiply(self.size_or_unknown(part).by_factor(STRING_TRAVERSAL)))
            }
            ("add_string" | "add_bytes" | "add_list", _, [left, right]) => {
                let size = self.size_or_unknown(left).add(self.size_or_unknown(right));
                if let (Some(a), Some(b)) = (self.entry(left), self.entry(right)) {
                    self.entries.insert(expr.id, a.union(b));
                }
                let called =
                    if site.overload == "add_list" { Called::costs(Estimate::fixed(1)) } else { traversed(size) };
                called.makes(size)
            }
            (overload, _, [left, right])
                if matches!(overload, "equals" | "not_equals") || is_order_of_text(overload) =>
            {
                // Values of the libraries' types are small.
                if matches!(self.checked.type_of(left), Type::Opaque(_)) {
                    return Called::costs(Estimate::fixed(1));
                }
                let max = self.size_or_unknown(left).max.min(self.size_or_unknown(right).max);
                traversed(Estimate { min: u64::from(max > 0), max })
            }
            _ => Called::costs(Estimate::fixed(1)),
        }
    }
}
