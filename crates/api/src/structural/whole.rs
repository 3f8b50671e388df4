//! Numbers as upstream writes them: without a fraction where there is none.

use serde_json::Value;

use super::schema::{Structural, Type};

impl Structural {
    /// Writes whole numbers without a fraction, `1.0` as `1`. Those that are not of their type stay as they are, so
    /// that their errors name what was sent.
    pub(super) fn settle_numbers(&self, value: &mut Value) {
        settle(value, Some(self));
    }
}

fn settle(value: &mut Value, schema: Option<&Structural>) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let takes_numbers =
                schema.is_none_or(|schema| matches!(schema.ty, None | Some(Type::Integer | Type::Number)));
            if let Some(whole) = number.as_f64().and_then(whole).filter(|_| takes_numbers) {
                *value = whole.into();
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                settle(value, schema.and_then(|schema| schema.field(name)));
            }
        }
        Value::Array(items) => {
            for item in items {
                settle(item, schema.and_then(|schema| schema.items.as_deref()));
            }
        }
        _ => {}
    }
}

/// The number, if it is a whole one that needs no exponent.
#[expect(clippy::cast_possible_truncation, reason = "the number has just been found to be in range")]
fn whole(number: f64) -> Option<i64> {
    const LARGEST: f64 = 9_223_372_036_854_774_784.0;
    (number.fract() == 0.0 && number.abs() <= LARGEST).then_some(number as i64)
}
