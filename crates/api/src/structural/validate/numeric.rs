//! Numbers: bounds and multiples.

use serde_json::Number;

use super::Outcome;
use crate::field::{FieldError, go_float};
use crate::structural::place::Place;
use crate::structural::schema::Structural;

pub(super) fn check(number: &Number, schema: &Structural, place: &Place<'_>, outcome: &mut Outcome) {
    let values = &schema.values;
    let fail = |what: String| {
        let why = format!("{} in body should be {what}", place.name());
        FieldError::invalid(&place.path(), number.clone(), why)
    };
    if let Some(factor) = values.multiple_of
        && !is_multiple(number, factor)
    {
        outcome.add(fail(format!("a multiple of {}", shown(number, factor))));
    }
    if let Some(minimum) = values.minimum
        && !is_within(compare(number, minimum), std::cmp::Ordering::Greater, values.exclusive_minimum)
    {
        let or_equal = if values.exclusive_minimum { "" } else { "or equal to " };
        outcome.add(fail(format!("greater than {or_equal}{}", shown(number, minimum))));
    }
    if let Some(maximum) = values.maximum
        && !is_within(compare(number, maximum), std::cmp::Ordering::Less, values.exclusive_maximum)
    {
        let or_equal = if values.exclusive_maximum { "" } else { "or equal to " };
        outcome.add(fail(format!("less than {or_equal}{}", shown(number, maximum))));
    }
    outcome.matches += 2;
}

/// For whole numbers upstream takes the limit as a whole number too.
#[expect(clippy::cast_possible_truncation, reason = "upstream cuts limits in the same way")]
fn whole(limit: f64) -> i64 {
    limit as i64
}

fn shown(number: &Number, limit: f64) -> String {
    if number.is_f64() { go_float(limit) } else { whole(limit).to_string() }
}

fn compare(number: &Number, limit: f64) -> Option<std::cmp::Ordering> {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => Some(number.cmp(&whole(limit))),
        (None, Some(_)) => Some(std::cmp::Ordering::Greater).filter(|_| limit < 18_446_744_073_709_551_615.0),
        _ => number.as_f64().and_then(|number| number.partial_cmp(&limit)),
    }
}

fn is_within(ordering: Option<std::cmp::Ordering>, wanted: std::cmp::Ordering, is_exclusive: bool) -> bool {
    ordering == Some(wanted) || (!is_exclusive && ordering == Some(std::cmp::Ordering::Equal))
}

fn is_multiple(number: &Number, factor: f64) -> bool {
    if let Some(number) = number.as_i64().filter(|_| factor.fract() == 0.0) {
        let factor = whole(factor);
        return factor != 0 && number % factor == 0;
    }
    let number = number.as_f64().unwrap_or_default();
    let quotient = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
    is_whole(quotient)
}

/// Floating point numbers that differ from a whole one by nothing but rounding count as whole.
fn is_whole(number: f64) -> bool {
    const TOLERANCE: f64 = 1e-9;
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    if !number.is_finite() || number.abs() > LARGEST {
        return false;
    }
    let difference = (number - number.trunc()).abs();
    difference == 0.0 || (number == 0.0) || difference / (number.abs() + number.trunc().abs()) < TOLERANCE
}
