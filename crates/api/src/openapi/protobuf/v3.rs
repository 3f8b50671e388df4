//! The messages of OpenAPI v3.

use serde_json::Value;

use super::Form::{self, Any, Bool, Double, EachAny, Integer, Named, OneOf, Text, Wrapped};
use super::Message;

pub(super) static DOCUMENT: Message = Message::new(
    &[
        ("openapi", 1, Text),
        ("info", 2, Form::Message(&INFO)),
        ("paths", 4, Form::Message(&PATHS)),
        ("components", 5, Form::Message(&COMPONENTS)),
        ("security", 6, Named(&Wrapped(&Text))),
    ],
    9,
);

static INFO: Message = Message::new(&[("title", 1, Text), ("description", 2, Text), ("version", 6, Text)], 7);

static PATHS: Message = Message { members: &[], others: Some((1, Form::Message(&PATH_ITEM))), extensions: Some(2) };

static COMPONENTS: Message =
    Message::new(&[("schemas", 1, Named(&OneOf(schema))), ("securitySchemes", 7, Named(&OneOf(security_scheme)))], 10);

static PATH_ITEM: Message = Message::new(
    &[
        ("$ref", 1, Text),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("get", 4, Form::Message(&OPERATION)),
        ("put", 5, Form::Message(&OPERATION)),
        ("post", 6, Form::Message(&OPERATION)),
        ("delete", 7, Form::Message(&OPERATION)),
        ("options", 8, Form::Message(&OPERATION)),
        ("head", 9, Form::Message(&OPERATION)),
        ("patch", 10, Form::Message(&OPERATION)),
        ("parameters", 13, OneOf(parameter)),
    ],
    14,
);

static OPERATION: Message = Message::new(
    &[
        ("tags", 1, Text),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, OneOf(parameter)),
        ("requestBody", 7, OneOf(request_body)),
        ("responses", 8, Form::Message(&RESPONSES)),
        ("deprecated", 10, Bool),
    ],
    13,
);

static PARAMETER: Message = Message::new(
    &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Bool),
        ("deprecated", 5, Bool),
        ("allowEmptyValue", 6, Bool),
        ("schema", 10, OneOf(schema)),
    ],
    14,
);

static REQUEST_BODY: Message = Message::new(
    &[("description", 1, Text), ("content", 2, Named(&Form::Message(&MEDIA_TYPE))), ("required", 3, Bool)],
    4,
);

static MEDIA_TYPE: Message = Message::new(&[("schema", 1, OneOf(schema))], 5);

static RESPONSES: Message =
    Message { members: &[("default", 1, OneOf(response))], others: Some((2, OneOf(response))), extensions: Some(3) };

static RESPONSE: Message =
    Message::new(&[("description", 1, Text), ("content", 3, Named(&Form::Message(&MEDIA_TYPE)))], 5);

static REFERENCE: Message = Message {
    members: &[("$ref", 1, Text), ("summary", 2, Text), ("description", 3, Text)],
    others: None,
    extensions: None,
};

static SECURITY_SCHEME: Message = Message::new(
    &[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text), ("scheme", 5, Text)],
    9,
);

static SCHEMA: Message = Message::new(
    &[
        ("nullable", 1, Bool),
        ("readOnly", 3, Bool),
        ("writeOnly", 4, Bool),
        ("example", 7, Any),
        ("deprecated", 8, Bool),
        ("title", 9, Text),
        ("multipleOf", 10, Double),
        ("maximum", 11, Double),
        ("exclusiveMaximum", 12, Bool),
        ("minimum", 13, Double),
        ("exclusiveMinimum", 14, Bool),
        ("maxLength", 15, Integer),
        ("minLength", 16, Integer),
        ("pattern", 17, Text),
        ("maxItems", 18, Integer),
        ("minItems", 19, Integer),
        ("uniqueItems", 20, Bool),
        ("maxProperties", 21, Integer),
        ("minProperties", 22, Integer),
        ("required", 23, Text),
        ("enum", 24, EachAny),
        ("type", 25, Text),
        ("allOf", 26, OneOf(schema)),
        ("oneOf", 27, OneOf(schema)),
        ("anyOf", 28, OneOf(schema)),
        ("not", 29, Form::Message(&SCHEMA)),
        ("items", 30, Wrapped(&OneOf(schema))),
        ("properties", 31, Named(&OneOf(schema))),
        ("additionalProperties", 32, OneOf(additional_properties)),
        ("default", 33, OneOf(default)),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    36,
);

fn schema(value: &Value) -> Option<(u32, Form)> {
    or_reference(value, &SCHEMA)
}

fn parameter(value: &Value) -> Option<(u32, Form)> {
    or_reference(value, &PARAMETER)
}

fn request_body(value: &Value) -> Option<(u32, Form)> {
    or_reference(value, &REQUEST_BODY)
}

fn response(value: &Value) -> Option<(u32, Form)> {
    or_reference(value, &RESPONSE)
}

fn security_scheme(value: &Value) -> Option<(u32, Form)> {
    or_reference(value, &SECURITY_SCHEME)
}

fn or_reference(value: &Value, message: &'static Message) -> Option<(u32, Form)> {
    Some(if value.get("$ref").is_some() { (2, Form::Message(&REFERENCE)) } else { (1, Form::Message(message)) })
}

fn additional_properties(value: &Value) -> Option<(u32, Form)> {
    Some(if value.is_boolean() { (2, Bool) } else { (1, OneOf(schema)) })
}

/// A default that is neither a number, a boolean nor text cannot be said; the message is empty then.
fn default(value: &Value) -> Option<(u32, Form)> {
    match value {
        Value::Number(_) => Some((1, Double)),
        Value::Bool(_) => Some((2, Bool)),
        Value::String(_) => Some((3, Text)),
        _ => None,
    }
}
