//! Strategic merge patch: a merge patch that knows by which key the elements of a list are merged.
//!
//! The schema says per field how it merges; directives in the patch (`$patch`, `$retainKeys`, `$setElementOrder/x`,
//! `$deleteFromPrimitiveList/x`) ask for something else. What upstream does is the specification, also where it is
//! odd: elements that the patch adds stand before the others unless the patch gives an order.

use serde_json::{Map, Value};

mod order;

use super::unprocessable;
use crate::schema::{self, Field, FieldType, PatchStrategy, Type};
use crate::status::Status;
use crate::{decode, go_value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

/// Reads a patch, with findings about fields that are there twice.
///
/// # Errors
/// 400 if it is no object.
pub fn read(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let (patch, findings) = decode::json_document(bytes).map_err(Status::bad_request)?;
    let patch = decode::as_object(patch).map_err(|what| {
        Status::bad_request(format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"))
    })?;
    Ok((patch, findings))
}

/// Merges `patch` into `document`, an object of the type `type_name` of [`crate::schema`].
///
/// # Errors
/// 400 if the patch or a list of a directive is none, 422 if fields are not to be retained, 500 (as upstream) if a
/// directive is unknown or misplaced or a merge key is missing.
pub fn apply(mut document: Value, patch: Value, type_name: &str) -> Result<Value, Status> {
    let Value::Object(patch) = patch else {
        return Err(Status::bad_request("invalid JSON document"));
    };
    let shape = schema::type_by_name(type_name).map_or(Shape::Unknown, Shape::Type);
    if !document.is_object() {
        document = Value::Object(Map::new());
    }
    let target = document.as_object_mut().expect("it was made an object just now");
    merge_map(target, patch, shape)?;
    Ok(document)
}

/// What the schema knows about a JSON object.
#[derive(Clone, Copy)]
enum Shape {
    /// It has these fields.
    Type(&'static Type),
    /// It maps strings to this.
    Map(&'static FieldType),
    /// Nothing: objects merge, lists are replaced.
    Unknown,
}

impl Shape {
    fn of(ty: &'static FieldType) -> Self {
        match ty {
            FieldType::Ref(_) => ty.as_type().map_or(Shape::Unknown, Shape::Type),
            FieldType::Map(element) => Shape::Map(element),
            _ => Shape::Unknown,
        }
    }

    fn field(self, name: &str) -> FieldShape {
        match self {
            Shape::Type(ty) => ty.field(name).map_or(FieldShape::UNKNOWN, FieldShape::of),
            Shape::Map(element) => FieldShape { value: Shape::of(element), ..FieldShape::UNKNOWN },
            Shape::Unknown => FieldShape::UNKNOWN,
        }
    }
}

/// What the schema knows about a field.
#[derive(Clone, Copy)]
struct FieldShape {
    /// Its value, if that is an object.
    value: Shape,
    /// The elements of its value, if that is a list.
    element: Shape,
    strategy: PatchStrategy,
    merge_key: Option<&'static str>,
}

impl FieldShape {
    const UNKNOWN: FieldShape = FieldShape {
        value: Shape::Unknown,
        element: Shape::Unknown,
        strategy: PatchStrategy::Default,
        merge_key: None,
    };

    fn of(field: &'static Field) -> Self {
        let element = match &field.ty {
            FieldType::List(element) => Shape::of(element),
            _ => Shape::Unknown,
        };
        FieldShape {
            value: Shape::of(&field.ty),
            element,
            strategy: field.patch_strategy,
            merge_key: field.patch_merge_key,
        }
    }
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> Status {
    Status::unclassified(format!("unknown patch type: {} in map: {}", go_value::plain(directive), go_map(patch)))
}

fn no_merge_key(element: &Map<String, Value>, key: &str) -> Status {
    Status::unclassified(format!("map: {} does not contain declared merge key: {key}", go_map(element)))
}

fn bad_format(what: &str) -> Status {
    Status::bad_request(format!("invalid patch format of {what}"))
}

fn merge_map(target: &mut Map<String, Value>, mut patch: Map<String, Value>, shape: Shape) -> Result<(), Status> {
    if let Some(directive) = patch.get(DIRECTIVE).cloned() {
        match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                *target = clean_map(patch, shape);
                return Ok(());
            }
            Some("delete") => {
                target.clear();
                return Ok(());
            }
            // Merging is what happens anyway.
            Some("merge") => {
                patch.remove(DIRECTIVE);
            }
            _ => return Err(unknown_directive(&directive, &patch)),
        }
    }
    retain_keys(target, &mut patch)?;
    order::apply(target, &mut patch, shape)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            delete_from_primitive_list(target, list, &value)?;
            continue;
        }
        let field = shape.field(&key);
        if value.is_null() {
            target.remove(&key);
            continue;
        }
        match (target.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                if field.strategy == PatchStrategy::Replace {
                    *old = clean_map(new, field.value);
                } else {
                    merge_map(old, new, field.value)?;
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let merged = merge_list(std::mem::take(old), new, field)?;
                target.insert(key, Value::Array(merged));
            }
            (_, value) => {
                let cleaned = clean_field(value, field);
                target.insert(key, cleaned);
            }
        }
    }
    Ok(())
}

fn retain_keys(target: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Status> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(retained) = retained else {
        return Err(bad_format("retainKeys"));
    };
    let kept = |key: &String| retained.iter().any(|name| name.as_str() == Some(key));
    if patch.iter().any(|(key, value)| !key.starts_with('$') && !value.is_null() && !kept(key)) {
        return Err(unprocessable());
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

fn delete_from_primitive_list(target: &mut Map<String, Value>, list: &str, values: &Value) -> Result<(), Status> {
    let Value::Array(values) = values else {
        return Err(bad_format("primitive list"));
    };
    match target.get_mut(list) {
        Some(Value::Array(list)) => list.retain(|element| !values.contains(element)),
        None | Some(Value::Null) => {}
        Some(_) => return Err(bad_format("primitive list")),
    }
    Ok(())
}

/// What the list `old` becomes with the list `new` of a patch.
fn merge_list(old: Vec<Value>, new: Vec<Value>, field: FieldShape) -> Result<Vec<Value>, Status> {
    if !field.strategy.merges() {
        return Ok(clean_list(new, field.element));
    }
    if !new.iter().chain(&old).any(Value::is_object) {
        let order = new.clone();
        let live = old.clone();
        let mut merged: Vec<Value> = Vec::new();
        for value in old.into_iter().chain(new) {
            if !merged.contains(&value) {
                merged.push(value);
            }
        }
        return Ok(order::arrange(merged, &order, &live, None));
    }
    let Some(merge_key) = field.merge_key else {
        return Err(Status::unclassified("cannot merge lists without merge key"));
    };
    let live = old.clone();
    let mut merged = old;
    let Some(additions) = special_elements(&mut merged, new, merge_key, field.element)? else {
        return Ok(merged);
    };
    let order: Vec<Value> = additions.iter().cloned().map(Value::Object).collect();
    for addition in additions {
        let Some(key) = addition.get(merge_key) else {
            return Err(no_merge_key(&addition, merge_key));
        };
        let place = merged.iter_mut().find(|element| element.get(merge_key).is_some_and(|found| same(found, key)));
        match place.and_then(Value::as_object_mut) {
            Some(element) => merge_map(element, addition, field.element)?,
            None => merged.push(Value::Object(clean_map(addition, field.element))),
        }
    }
    Ok(order::arrange(merged, &order, &live, Some(merge_key)))
}

/// Carries out the elements that are directives and returns the others; `None` if the list was replaced.
fn special_elements(
    merged: &mut Vec<Value>,
    new: Vec<Value>,
    merge_key: &str,
    shape: Shape,
) -> Result<Option<Vec<Map<String, Value>>>, Status> {
    let mut additions = Vec::new();
    let mut replace = false;
    for element in new {
        let Value::Object(element) = element else {
            return Err(Status::unclassified("list element types are not identical"));
        };
        let Some(directive) = element.get(DIRECTIVE) else {
            additions.push(element);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let Some(key) = element.get(merge_key) else {
                    return Err(no_merge_key(&element, merge_key));
                };
                merged.retain(|found| !found.get(merge_key).is_some_and(|found| same(found, key)));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(Status::unclassified("merging lists cannot yet be specified in the patch"));
            }
            _ => return Err(unknown_directive(directive, &element)),
        }
    }
    if replace {
        *merged = additions.into_iter().map(|element| Value::Object(clean_map(element, shape))).collect();
        return Ok(None);
    }
    Ok(Some(additions))
}

/// Whether two values of a merge key are the same; `80` and `"80"` are.
fn same(a: &Value, b: &Value) -> bool {
    a == b || go_value::plain(a) == go_value::plain(b)
}

/// A value that the patch brings in where there was none: nulls and directives mean nothing there.
fn clean_field(value: Value, field: FieldShape) -> Value {
    match value {
        Value::Object(map) => Value::Object(clean_map(map, field.value)),
        Value::Array(list) => Value::Array(clean_list(list, field.element)),
        other => other,
    }
}

fn clean_list(list: Vec<Value>, shape: Shape) -> Vec<Value> {
    let cleaned = list.into_iter().filter_map(|element| match element {
        Value::Object(map) => {
            let directive = matches!(shape, Shape::Type(_)) && map.contains_key(DIRECTIVE);
            (!directive).then(|| Value::Object(clean_map(map, shape)))
        }
        other => Some(other),
    });
    cleaned.collect()
}

fn clean_map(map: Map<String, Value>, shape: Shape) -> Map<String, Value> {
    // Types have no field that starts with a dollar, maps may have such a key.
    let directive = |key: &str| matches!(shape, Shape::Type(_)) && key.starts_with('$') && !key.starts_with("$ref");
    let kept = map.into_iter().filter(|(key, value)| !value.is_null() && !directive(key));
    kept.map(|(key, value)| {
        let field = shape.field(&key);
        (key, clean_field(value, field))
    })
    .collect()
}

fn go_map(map: &Map<String, Value>) -> String {
    shown(&Value::Object(map.clone()))
}

/// A patch as it stands in messages.
#[must_use]
pub fn shown(patch: &Value) -> String {
    go_value::plain(patch)
}
