//! All functions and operators: their signatures, read from tables, and what they do.

mod arithmetic;
mod authorizer;
mod conversions;
mod format;
mod formats;
mod json_patch;
mod lists;
mod network;
mod optional;
mod order;
mod quantity;
mod regexes;
pub(crate) mod semver;
mod sets;
mod standard;
mod strings;
mod times;
mod url;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::cost::Meter;
use crate::types::{self, Type};
use crate::value::{Outcome, Value};

pub(crate) use regexes::compile as compile_regex;

/// What a function does with arguments that its overload takes.
pub(crate) type Call = for<'a> fn(&mut Meter<'_>, &[Value<'a>]) -> Outcome<'a>;

/// A row of a table: the overload's id, its signature, what it does. `target::name(args) -> result` is a member
/// function; capital letters are type parameters.
type Row = (&'static str, &'static str, Call);

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    /// The id that upstream gives it, which costs depend on.
    pub id: &'static str,
    /// The name of the function.
    pub function: &'static str,
    /// Whether it is called on a target, which is then the first argument.
    pub member: bool,
    /// The types of the arguments.
    pub params: Vec<Type>,
    /// The type of the result.
    pub result: Type,
    /// What it does.
    pub call: Call,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let tables = [
        standard::FUNCTIONS,
        order::FUNCTIONS,
        conversions::FUNCTIONS,
        times::FUNCTIONS,
        strings::FUNCTIONS,
        lists::FUNCTIONS,
        regexes::FUNCTIONS,
        url::FUNCTIONS,
        network::FUNCTIONS,
        quantity::FUNCTIONS,
        semver::FUNCTIONS,
        formats::FUNCTIONS,
        sets::FUNCTIONS,
        optional::FUNCTIONS,
        authorizer::FUNCTIONS,
        json_patch::FUNCTIONS,
    ];
    let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for row in tables.into_iter().flatten() {
        let overload = read(row).unwrap_or_else(|| panic!("the tables are well-formed, but not {}", row.1));
        functions.entry(overload.function).or_default().push(overload);
    }
    functions
});

fn read(&(id, signature, call): &Row) -> Option<Overload> {
    let (left, result) = signature.rsplit_once(" -> ")?;
    let (target, left) = match left.split_once("::") {
        Some((target, left)) => (Some(target), left),
        None => (None, left),
    };
    let (function, args) = left.strip_suffix(')')?.split_once('(')?;
    let mut params: Vec<Type> = target.map(types::parse).into_iter().collect::<Option<_>>()?;
    for arg in split(args) {
        params.push(types::parse(arg)?);
    }
    Some(Overload { id, function, member: target.is_some(), params, result: types::parse(result)?, call })
}

/// Splits at the commas outside of brackets.
fn split(args: &str) -> Vec<&str> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, 0_i32);
    for (at, c) in args.char_indices() {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            ',' if open == 0 => {
                parts.push(&args[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !args[start..].trim().is_empty() {
        parts.push(&args[start..]);
    }
    parts
}

/// The overloads of a function, if there is such a function.
pub(crate) fn overloads(function: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(function).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_is_well_formed_and_has_its_own_id() {
        let mut ids = HashSet::new();
        for overload in FUNCTIONS.values().flatten() {
            assert!(ids.insert(overload.id), "{}", overload.id);
        }
        assert!(ids.len() > 200);
    }
}
