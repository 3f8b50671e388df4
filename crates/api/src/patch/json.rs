//! JSON patch, RFC 6902.

use serde_json::Value;

use super::unprocessable;
use crate::decode;
use crate::status::Status;

/// How many operations one patch may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// How many bytes of JSON the copies of one patch may add together: each may copy what the one before has made.
pub const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Reads a patch; if it `is_checked`, with findings about fields that are unknown or there twice.
///
/// # Errors
/// 400 if it is no list of operations.
pub fn read(bytes: &[u8], is_checked: bool) -> Result<(Value, Vec<String>), Status> {
    let (prefix, list, item) = match is_checked {
        true => ("error decoding patch: ", "[]handlers.jsonPatchOp", "handlers.jsonPatchOp"),
        false => ("", "jsonpatch.Patch", "jsonpatch.Operation"),
    };
    let refuse = |why: String| Status::bad_request(format!("{prefix}{why}"));
    let mistyped = |what: &str, ty: &str| refuse(format!("json: cannot unmarshal {what} into Go value of type {ty}"));
    let (patch, found) = decode::json_document(bytes).map_err(refuse)?;
    let operations = match &patch {
        Value::Array(operations) => operations.as_slice(),
        Value::Null => &[],
        other => return Err(mistyped(decode::json_type(other), list)),
    };
    let mut findings: Vec<String> = found.iter().map(|finding| format!("json patch {finding}")).collect();
    for (index, operation) in operations.iter().enumerate() {
        let fields = match operation {
            Value::Object(fields) => fields,
            Value::Null => continue,
            other => return Err(mistyped(decode::json_type(other), item)),
        };
        for (name, value) in fields.iter().filter(|_| is_checked) {
            match name.as_str() {
                "op" | "path" | "from" if !value.is_string() && !value.is_null() => {
                    let what = decode::json_type(value);
                    let why =
                        format!("json: cannot unmarshal {what} into Go struct field jsonPatchOp.{name} of type string");
                    return Err(refuse(why));
                }
                "op" | "path" | "from" | "value" => {}
                _ => findings.push(format!("json patch {}", decode::unknown_field(&format!("[{index}].{name}")))),
            }
        }
    }
    Ok((patch, findings))
}

/// Applies a list of operations; all or none.
///
/// # Errors
/// 400 if the patch is no list, 413 if it is too long, 422 if an operation is malformed or cannot be applied.
pub fn apply(document: Value, patch: &Value) -> Result<Value, Status> {
    apply_if(document, patch)?.ok_or_else(unprocessable)
}

/// [`apply`] that gives nothing where a test of the patch does not hold.
///
/// # Errors
/// The same, but for tests.
pub fn apply_if(mut document: Value, patch: &Value) -> Result<Option<Value>, Status> {
    let Value::Array(operations) = patch else {
        if patch.is_null() {
            return Ok(Some(document));
        }
        let found = decode::json_type(patch);
        let message = format!("json: cannot unmarshal {found} into Go value of type jsonpatch.Patch");
        return Err(Status::bad_request(message));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Status::request_entity_too_large(format_args!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        if step(&mut document, operation, &mut copied).ok_or_else(unprocessable)? == Step::Refuted {
            return Ok(None);
        }
    }
    Ok(Some(document))
}

/// What became of an operation.
#[derive(PartialEq, Eq)]
enum Step {
    Done,
    /// It is a test that does not hold.
    Refuted,
}

/// One operation; `None` if it cannot be done.
fn step(document: &mut Value, operation: &Value, copied_bytes: &mut usize) -> Option<Step> {
    let path = pointer(operation.get("path")?.as_str()?)?;
    let from = || pointer(operation.get("from")?.as_str()?);
    // An operation without a value has the value null.
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match operation.get("op")?.as_str()? {
        "add" => add(document, &path, value())?,
        "remove" => drop(remove(document, &path)?),
        "replace" => *find_mut(document, &path)? = value(),
        "move" => {
            let from = from()?;
            // A value cannot move into itself.
            if path.len() > from.len() && path.starts_with(&from) {
                return None;
            }
            let moved = remove(document, &from)?;
            add(document, &path, moved)?;
        }
        "copy" => {
            let copied = find_mut(document, &from()?)?;
            *copied_bytes += copied.to_string().len();
            let copied = (*copied_bytes <= MAX_COPIED).then(|| copied.clone())?;
            add(document, &path, copied)?;
        }
        "test" => {
            let holds = match find_mut(document, &path) {
                Some(found) => equal(found, &value()),
                None => value().is_null(),
            };
            return Some(if holds { Step::Done } else { Step::Refuted });
        }
        _ => return None,
    }
    Some(Step::Done)
}

/// The segments of a JSON pointer.
fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let segments = text.strip_prefix('/')?.split('/');
    Some(segments.map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect())
}

/// The index of an existing element; a negative one counts from the end.
fn element(segment: &str, length: usize) -> Option<usize> {
    let index: i64 = segment.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    if (0..length).contains(&index) { usize::try_from(index).ok() } else { None }
}

fn find_mut<'a>(document: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |value, segment| match value {
        Value::Object(object) => object.get_mut(segment),
        Value::Array(list) => {
            let index = element(segment, list.len())?;
            list.get_mut(index)
        }
        _ => None,
    })
}

fn add(document: &mut Value, path: &[String], value: Value) -> Option<()> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Some(());
    };
    match find_mut(document, parents)? {
        Value::Object(object) => {
            object.insert(last.clone(), value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            // One behind the last element is a place to insert at.
            let index = element(last, list.len() + 1)?;
            list.insert(index, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(document: &mut Value, path: &[String]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    match find_mut(document, parents)? {
        Value::Object(object) => object.remove(last),
        Value::Array(list) => {
            let index = element(last, list.len())?;
            Some(list.remove(index))
        }
        _ => None,
    }
}

/// Equality as RFC 6902 has it: numbers compare by value.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, value)| y.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => a == b,
    }
}
