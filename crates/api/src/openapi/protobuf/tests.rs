use serde_json::json;

use super::*;
use crate::openapi::Members;

/// What stands at a path of tags in a message.
fn at(mut bytes: &[u8], path: &[u32]) -> Vec<u8> {
    let Some((first, rest)) = path.split_first() else { return bytes.to_vec() };
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            _ => varint(&mut bytes) as usize,
        };
        let (field, after) = bytes.split_at(length);
        if key >> 3 == u64::from(*first) {
            return at(field, rest);
        }
        bytes = after;
    }
    panic!("no field {first}");
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a byte");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

#[track_caller]
fn check(message: &[u8], path: &[u32], expected: &str) {
    assert_eq!(String::from_utf8(at(message, path)).expect("text"), expected);
}

fn members(value: Value) -> Members {
    serde_json::from_value(value).expect("an object")
}

#[test]
fn the_second_version_is_gnostics_message() {
    let items = members(json!({"/a": {"get": {
        "operationId": "getA", "parameters": [{"$ref": "#/parameters/p"}],
        "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/B"}}},
    }}}));
    let schemas = members(json!({"B": {
        "type": "object", "x-kubernetes-list-map-keys": ["a"],
        "properties": {"c": {"type": "array", "items": {"type": "string"}}},
    }}));
    let parameters = members(json!({"p": {"name": "q", "in": "query", "type": "string"}}));
    let items = v2_paths(&items).expect("JSON");
    let schemas = v2_definitions(schemas.iter().map(|(name, text)| (name, text.get()))).expect("JSON");
    let [before, between, behind] = v2_frame(&parameters, items.len(), schemas.len()).expect("JSON");
    let message = [before, items, between, schemas, behind].concat();
    check(&message, &[1], "2.0");
    check(&message, &[2, 1], "Kubernetes");
    check(&message, &[8, 2, 1], "/a");
    check(&message, &[8, 2, 2, 2, 5], "getA");
    check(&message, &[8, 2, 2, 2, 8, 2, 1], "#/parameters/p");
    check(&message, &[8, 2, 2, 2, 9, 1, 1], "200");
    check(&message, &[8, 2, 2, 2, 9, 1, 2, 1, 2, 1, 1], "#/definitions/B");
    check(&message, &[9, 1, 1], "B");
    check(&message, &[9, 1, 2, 22, 1], "object");
    check(&message, &[9, 1, 2, 25, 1, 2, 23, 1, 22, 1], "string");
    check(&message, &[9, 1, 2, 31, 1], "x-kubernetes-list-map-keys");
    check(&message, &[9, 1, 2, 31, 2, 2], "[\"a\"]\n");
    check(&message, &[10, 1, 2, 2, 3, 4], "q");
    check(&message, &[13, 1, 1], "BearerToken");
}

#[test]
fn the_third_version_is_gnostics_message() {
    let document = json!({
        "openapi": "3.0.0",
        "paths": {"/a": {"post": {
            "requestBody": {"content": {"*/*": {"schema": {"$ref": "#/components/schemas/B"}}}},
            "parameters": [{"name": "q", "in": "query", "schema": {"type": "string"}}],
        }}},
        "components": {"schemas": {"B": {
            "type": "object", "properties": {"c": {"type": "string", "default": "", "enum": ["x", "y"]}},
        }}},
    });
    let message = v3(&document);
    check(&message, &[4, 1, 1], "/a");
    check(&message, &[4, 1, 2, 6, 6, 1, 1], "q");
    check(&message, &[4, 1, 2, 6, 7, 1, 2, 1, 2, 1, 2, 1], "#/components/schemas/B");
    check(&message, &[5, 1, 1, 2, 1, 25], "object");
    check(&message, &[5, 1, 1, 2, 1, 31, 1, 2, 1, 33, 3], "");
    check(&message, &[5, 1, 1, 2, 1, 31, 1, 2, 1, 24, 2], "\"x\"\n");
}

#[test]
fn defaults_that_cannot_be_said_are_empty() {
    let schema = json!({"default": {}});
    let document = json!({"components": {"schemas": {"B": schema}}});
    check(&v3(&document), &[5, 1, 1, 2, 1, 33], "");
}
