//! The messages of OpenAPI v2. A document is put together from parts, as its text is.

use serde_json::Value;

use super::Form::{self, Any, Bool, Double, EachAny, Integer, Named, OneOf, Text, Wrapped};
use super::{Message, named, write_bytes, write_length, write_message};
use crate::openapi::Members;
use crate::openapi::v2::{head, tail};

/// What some paths add to the message of all paths.
pub fn paths(members: &Members) -> serde_json::Result<Vec<u8>> {
    entries(2, Form::Message(&PATH_ITEM), members.iter().map(|(name, text)| (name, text.get())))
}

/// What some definitions add to the message of all definitions.
pub fn definitions<'a>(members: impl Iterator<Item = (&'a String, &'a str)>) -> serde_json::Result<Vec<u8>> {
    entries(1, SCHEMA_FORM, members)
}

fn entries<'a>(
    tag: u32,
    form: Form,
    members: impl Iterator<Item = (&'a String, &'a str)>,
) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (name, text) in members {
        write_bytes(tag, &named(name, form, &serde_json::from_str(text)?), &mut out);
    }
    Ok(out)
}

/// The message of a document before its paths, which have so many bytes, between them and its definitions, and behind.
pub fn frame(parameters: &Members, paths: usize, definitions: usize) -> serde_json::Result<[Vec<u8>; 3]> {
    let (mut before, mut between) = (write_message(&DOCUMENT, &head()), Vec::new());
    write_length(PATHS_TAG, paths, &mut before);
    write_length(DEFINITIONS_TAG, definitions, &mut between);
    Ok([before, between, write_message(&DOCUMENT, &tail(parameters)?)])
}

const PATHS_TAG: u32 = 8;
const DEFINITIONS_TAG: u32 = 9;

static DOCUMENT: Message = Message::new(
    &[
        ("swagger", 1, Text),
        ("info", 2, Form::Message(&INFO)),
        ("host", 3, Text),
        ("basePath", 4, Text),
        ("schemes", 5, Text),
        ("consumes", 6, Text),
        ("produces", 7, Text),
        // Paths and definitions are written apart, and stand here.
        ("parameters", 10, Named(&OneOf(parameter))),
        ("security", 12, Named(&Wrapped(&Text))),
        ("securityDefinitions", 13, Named(&OneOf(security_definition))),
    ],
    16,
);

static SCHEMA_FORM: Form = Form::Message(&SCHEMA);

static INFO: Message = Message::new(&[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)], 7);

static PATH_ITEM: Message = Message::new(
    &[
        ("$ref", 1, Text),
        ("get", 2, Form::Message(&OPERATION)),
        ("put", 3, Form::Message(&OPERATION)),
        ("post", 4, Form::Message(&OPERATION)),
        ("delete", 5, Form::Message(&OPERATION)),
        ("options", 6, Form::Message(&OPERATION)),
        ("head", 7, Form::Message(&OPERATION)),
        ("patch", 8, Form::Message(&OPERATION)),
        ("parameters", 9, OneOf(parameter_or_reference)),
    ],
    10,
);

static OPERATION: Message = Message::new(
    &[
        ("tags", 1, Text),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Text),
        ("consumes", 7, Text),
        ("parameters", 8, OneOf(parameter_or_reference)),
        ("responses", 9, Form::Message(&RESPONSES)),
        ("schemes", 10, Text),
        ("deprecated", 11, Bool),
    ],
    13,
);

static RESPONSES: Message =
    Message { members: &[], others: Some((1, OneOf(response_or_reference))), extensions: Some(2) };

static RESPONSE: Message = Message::new(&[("description", 1, Text), ("schema", 2, OneOf(schema_item))], 5);

static REFERENCE: Message =
    Message { members: &[("$ref", 1, Text), ("description", 2, Text)], others: None, extensions: None };

static BODY_PARAMETER: Message = Message::new(
    &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Bool),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    6,
);

static QUERY_PARAMETER: Message = Message::new(
    &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("allowEmptyValue", 5, Bool),
        ("type", 6, Text),
        ("format", 7, Text),
        ("uniqueItems", 20, Bool),
    ],
    23,
);

static PATH_PARAMETER: Message = Message::new(
    &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("uniqueItems", 19, Bool),
    ],
    22,
);

static API_KEY: Message =
    Message::new(&[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)], 5);

static SCHEMA: Message = Message::new(
    &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Double),
        ("maximum", 7, Double),
        ("exclusiveMaximum", 8, Bool),
        ("minimum", 9, Double),
        ("exclusiveMinimum", 10, Bool),
        ("maxLength", 11, Integer),
        ("minLength", 12, Integer),
        ("pattern", 13, Text),
        ("maxItems", 14, Integer),
        ("minItems", 15, Integer),
        ("uniqueItems", 16, Bool),
        ("maxProperties", 17, Integer),
        ("minProperties", 18, Integer),
        ("required", 19, Text),
        ("enum", 20, EachAny),
        ("additionalProperties", 21, OneOf(additional_properties)),
        ("type", 22, Wrapped(&Text)),
        ("items", 23, Wrapped(&SCHEMA_FORM)),
        ("allOf", 24, Form::Message(&SCHEMA)),
        ("properties", 25, Named(&SCHEMA_FORM)),
        ("discriminator", 26, Text),
        ("readOnly", 27, Bool),
        ("example", 30, Any),
    ],
    31,
);

fn schema_item(_: &Value) -> Option<(u32, Form)> {
    Some((1, Form::Message(&SCHEMA)))
}

fn additional_properties(value: &Value) -> Option<(u32, Form)> {
    Some(if value.is_boolean() { (2, Bool) } else { (1, Form::Message(&SCHEMA)) })
}

fn parameter_or_reference(value: &Value) -> Option<(u32, Form)> {
    Some(if value.get("$ref").is_some() { (2, Form::Message(&REFERENCE)) } else { (1, OneOf(parameter)) })
}

fn parameter(value: &Value) -> Option<(u32, Form)> {
    Some(if value["in"] == "body" { (1, Form::Message(&BODY_PARAMETER)) } else { (2, OneOf(other_parameter)) })
}

fn other_parameter(value: &Value) -> Option<(u32, Form)> {
    Some(if value["in"] == "path" { (4, Form::Message(&PATH_PARAMETER)) } else { (3, Form::Message(&QUERY_PARAMETER)) })
}

fn response_or_reference(value: &Value) -> Option<(u32, Form)> {
    Some(if value.get("$ref").is_some() { (2, Form::Message(&REFERENCE)) } else { (1, Form::Message(&RESPONSE)) })
}

fn security_definition(_: &Value) -> Option<(u32, Form)> {
    Some((2, Form::Message(&API_KEY)))
}
