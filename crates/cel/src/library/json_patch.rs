//! What JSON patches need beside strings.

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Outcome, Value};

pub(super) const FUNCTIONS: &[Row] =
    &[("jsonpatch_escapekey_string", "jsonpatch.escapeKey(string) -> string", escape_key)];

/// A key as it stands in the path of a patch.
fn escape_key<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(key)] = args else { return Err(EvalError::NoSuchOverload) };
    meter.make(key.len() as u64)?;
    Ok(Value::text(key.replace('~', "~0").replace('/', "~1")))
}
