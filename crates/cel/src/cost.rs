//! What evaluation costs, and the limits that keep it from running away.
//!
//! Costs are upstream's, step for step. Beside them there is a second meter, of *work* that upstream does lazily or not
//! at all and that is done here at once, such as copying lists: it bounds memory and time, and no sensible expression
//! comes near its limit.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::error::EvalError;
use crate::library;
use crate::value::{Map, Value};

/// A character costs a tenth of a step to look at.
pub(crate) const STRING_TRAVERSAL: f64 = 0.1;
/// A character of a pattern stands for a quarter of a state of its machine.
pub(crate) const REGEX_LENGTH: f64 = 0.25;
/// Making a list.
pub(crate) const LIST_CREATE: u64 = 10;
/// Making a map.
pub(crate) const MAP_CREATE: u64 = 30;

/// Making an object or a patch.
pub(crate) const MESSAGE_CREATE: u64 = 40;

/// What comparing two values is worth in work.
pub(crate) const COMPARISON: u64 = 10;

/// The most work of one evaluation: elements copied, characters made.
const MAX_WORK: u64 = 100_000_000;
/// The most elements of a list and bytes of a string that an evaluation may make.
const MAX_SIZE: u64 = 10_000_000;
/// What compiling a pattern is worth, and each byte of it: a short one can make a large machine.
const REGEX_WORK: u64 = 200_000;
const REGEX_BYTE_WORK: u64 = 5_000;

/// Patterns that are known already.
pub(crate) type Regexes = HashMap<Arc<str>, Regex>;

/// Counts what an evaluation costs.
pub(crate) struct Meter<'p> {
    cost: u64,
    limit: u64,
    work: u64,
    known: &'p Regexes,
    compiled: Regexes,
}

impl<'p> Meter<'p> {
    /// A meter that stops at `limit`. The patterns that the program spells out are in `known`.
    pub(crate) fn new(limit: u64, known: &'p Regexes) -> Self {
        Self { cost: 0, limit, work: 0, known, compiled: Regexes::new() }
    }

    /// The cost so far.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Adds to the cost.
    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimitExceeded) } else { Ok(()) }
    }

    /// Whether more was spent than may be.
    pub(crate) fn is_spent(&self) -> bool {
        self.cost > self.limit
    }

    /// Adds to the work: something of `size` elements or bytes is about to be made.
    pub(crate) fn make(&mut self, size: u64) -> Result<(), EvalError> {
        self.work = self.work.saturating_add(size);
        if size > MAX_SIZE || self.work > MAX_WORK {
            self.cost = self.cost.max(self.limit.saturating_add(1));
            return Err(EvalError::CostLimitExceeded);
        }
        Ok(())
    }

    /// The pattern, compiled once. It is lent, because a copy of it would search without what it has learned.
    pub(crate) fn regex(&mut self, pattern: &str) -> Result<&Regex, EvalError> {
        if let Some(regex) = self.known.get(pattern) {
            return Ok(regex);
        }
        if !self.compiled.contains_key(pattern) {
            self.make(REGEX_WORK + REGEX_BYTE_WORK * pattern.len() as u64)?;
            self.compiled.insert(Arc::from(pattern), library::compile_regex(pattern)?);
        }
        Ok(&self.compiled[pattern])
    }
}

fn traversed(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// What a call costs beside its arguments. Known before it is made, except for what is charged by `of_result`.
pub(crate) fn of_call(function: &str, overload: &str, args: &[Value<'_>]) -> u64 {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    let once = |index: usize| traversed(size(index), STRING_TRAVERSAL);
    match function {
        "check" if overload.starts_with("authorizer") || overload.contains("check") => 350_000,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "url"
        | "isURL"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "jsonpatch.escapeKey"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => once(0),
        "replace" | "split" | "ip.isCanonical" => traversed(size(0), 2.0 * STRING_TRAVERSAL),
        "ip" if overload == "string_to_ip" => once(0),
        "find" | "findAll" => pattern_cost(size(0), size(1)),
        "validate" => {
            let length = match args.first() {
                Some(Value::Extension(extension)) => match &**extension {
                    crate::value::Extension::Format(format) => format.max_regex_size,
                    _ => 0,
                },
                _ => 0,
            };
            pattern_cost(size(1), length)
        }
        "containsIP" | "containsCIDR" => {
            let mut cost = traversed(2 * size(0), STRING_TRAVERSAL);
            if function == "containsCIDR" {
                cost += once(0) + 1;
            }
            if overload.ends_with("_string") {
                cost += once(1);
            }
            cost
        }
        "sets.contains" | "sets.intersects" => 1 + size(0).saturating_mul(size(1)),
        "sets.equivalent" => 1 + size(0).saturating_mul(size(1)).saturating_mul(2),
        "join" => 0,
        _ => of_standard(overload, &size),
    }
}

fn pattern_cost(text: u64, pattern: u64) -> u64 {
    traversed(text.saturating_add(1), STRING_TRAVERSAL).saturating_mul(traversed(pattern, REGEX_LENGTH))
}

fn of_standard(overload: &str, size: &dyn Fn(usize) -> u64) -> u64 {
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" => {
            traversed(size(0), STRING_TRAVERSAL)
        }
        "in_list" => size(1),
        "equals" | "not_equals" => traversed(size(0).min(size(1)), STRING_TRAVERSAL),
        "add_string" | "add_bytes" => traversed(size(0).saturating_add(size(1)), STRING_TRAVERSAL),
        "matches" | "matches_string" => pattern_cost(size(0), size(1)),
        "contains_string" => traversed(size(0), STRING_TRAVERSAL).saturating_mul(traversed(size(1), STRING_TRAVERSAL)),
        _ if is_order_of_text(overload) => traversed(size(0).min(size(1)), STRING_TRAVERSAL),
        _ => 1,
    }
}

/// Whether an overload compares texts or bytes.
pub(crate) fn is_order_of_text(overload: &str) -> bool {
    let compared = overload.strip_suffix("_string").or_else(|| overload.strip_suffix("_bytes"));
    matches!(compared, Some("less" | "less_equals" | "greater" | "greater_equals"))
}

/// What is charged for the result of a call.
pub(crate) fn of_result(function: &str, result: &Value<'_>) -> u64 {
    if function == "join" { traversed(result.size(), 2.0 * STRING_TRAVERSAL) } else { 0 }
}

/// What looking at all of a value costs.
fn traversal(value: &Value<'_>) -> u64 {
    let mut left = MAX_SIZE;
    let cost = traversal_within(value, &mut left);
    // What holds so much that looking at it has no end cannot be paid.
    if left == 0 { u64::MAX } else { cost }
}

fn traversal_within(value: &Value<'_>, left: &mut u64) -> u64 {
    *left = left.saturating_sub(1);
    if *left == 0 {
        return 0;
    }
    match value {
        Value::String(text) => (text.len() as f64 * STRING_TRAVERSAL) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * STRING_TRAVERSAL) as u64,
        Value::List(list) => list.iter().map(|item| item.map_or(1, |item| traversal_within(&item, left))).sum(),
        Value::Map(map) => traversal_of_map(map, left),
        _ => 1,
    }
}

fn traversal_of_map(map: &Map<'_>, left: &mut u64) -> u64 {
    let mut cost = 0;
    for key in map.keys() {
        cost += traversal_within(&key, left);
        cost += map.get(&key).ok().flatten().map_or(1, |value| traversal_within(&value, left));
    }
    cost
}
