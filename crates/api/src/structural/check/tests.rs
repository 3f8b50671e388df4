use serde_json::{Value, json};

use super::*;

fn texts(errors: ErrorList) -> Vec<String> {
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

#[track_caller]
fn check_root(document: Value, has_status: bool, expected: &[&str]) {
    assert_eq!(texts(schema(&document, &Path::new("s"), has_status)), expected, "{document}");
}

/// Checks a schema whose only field is `a`.
#[track_caller]
fn check_a(a: Value, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|text| format!("s.properties[a]{text}")).collect();
    let document = json!({"type": "object", "properties": {"a": a}});
    assert_eq!(texts(schema(&document, &Path::new("s"), true)), expected, "{document}");
}

#[test]
fn every_field_has_a_type() {
    check_root(
        json!({"properties": {"a": {}, "l": {"type": "array", "items": {}}}}),
        false,
        &[
            "s.properties[a].type: Required value: must not be empty for specified object fields",
            "s.properties[l].items.type: Required value: must not be empty for specified array items",
            "s.type: Required value: must not be empty at the root",
        ],
    );
    check_root(json!({"type": "string"}), false, &["s.type: Invalid value: \"string\": must be object at the root"]);
    check_a(json!({"x-kubernetes-int-or-string": true}), &[]);
    check_a(json!({"x-kubernetes-preserve-unknown-fields": true}), &[]);
    check_a(
        json!({"type": "foo"}),
        &[
            ".type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ],
    );
    check_a(json!({"type": "array"}), &[".items: Required value: must be specified"]);
    check_a(
        json!({"type": "null"}),
        &[
            ".type: Forbidden: type cannot be set to null, use nullable as an alternative",
            ".type: Unsupported value: \"null\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ],
    );
}

#[test]
fn some_of_json_schema_is_not_supported() {
    check_a(json!({"$ref": "#/definitions/x"}), &[".$ref: Forbidden: $ref is not supported"]);
    check_a(json!({"type": "string", "id": "x"}), &[".id: Forbidden: id is not supported"]);
    for name in ["patternProperties", "definitions", "dependencies"] {
        let text = format!(".{name}: Forbidden: {name} is not supported");
        check_a(json!({"type": "object", name: {"x": {"type": "string"}}}), &[&text]);
    }
    check_a(
        json!({"type": "array", "items": [{"type": "string"}]}),
        &[".items: Forbidden: items must be a schema object and not an array"],
    );
    check_a(
        json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
        &[".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"],
    );
    check_a(
        json!({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        &[".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
    );
    check_root(
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        false,
        &["s.additionalProperties: Forbidden: must not be used at the root"],
    );
    check_a(
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
        &[".x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
    );
    check_a(
        json!({"type": "string", "pattern": "["}),
        &[
            ".pattern: Invalid value: \"[\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ]: `[`",
        ],
    );
    check_root(
        json!({"type": "object", "$schema": "x"}),
        false,
        &["s: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"],
    );
}

#[test]
fn branches_only_validate() {
    check_a(
        json!({"type": "integer", "anyOf": [{"type": "integer"}]}),
        &[".anyOf[0].type: Forbidden: must be empty to be structural"],
    );
    check_a(
        json!({"type": "string", "not": {"description": "d", "title": "t", "nullable": true, "default": "x",
            "x-kubernetes-int-or-string": true, "x-kubernetes-validations": [{"rule": "true"}]}}),
        &[
            ".not.default: Forbidden: must be undefined to be structural",
            ".not.description: Forbidden: must be empty to be structural",
            ".not.nullable: Forbidden: must be false to be structural",
            ".not.title: Forbidden: must be empty to be structural",
            ".not.x-kubernetes-int-or-string: Forbidden: must be false to be structural",
            ".not.x-kubernetes-validations: Forbidden: must be empty to be structural",
        ],
    );
    let int_or_string = json!([{"type": "integer"}, {"type": "string"}]);
    check_a(json!({"x-kubernetes-int-or-string": true, "anyOf": int_or_string}), &[]);
    check_a(json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": int_or_string}, {"minimum": 1}]}), &[]);
    check_a(
        json!({"x-kubernetes-int-or-string": true, "allOf": [{"minimum": 1}, {"anyOf": int_or_string}]}),
        &[
            ".allOf[1].anyOf[0].type: Forbidden: must be empty to be structural",
            ".allOf[1].anyOf[1].type: Forbidden: must be empty to be structural",
        ],
    );
}

#[test]
fn branches_speak_of_what_is_there() {
    let b = json!({"type": "array", "items": {"type": "string"}});
    check_root(
        json!({"type": "object", "properties": {"b": b},
            "oneOf": [{"properties": {"b": {"items": {"minLength": 1}}, "c": {"minimum": 1}}}]}),
        false,
        &["s.properties[c]: Required value: because it is defined in s.oneOf[0].properties[c]"],
    );
    check_root(
        json!({"type": "object", "properties": {"b": {"type": "string"}}, "allOf": [{"properties": {"b": {"items": {}}}}]}),
        false,
        &["s.properties[b].items: Required value: because it is defined in s.allOf[0].properties[b].items"],
    );
    check_a(
        json!({"type": "object", "properties": {"metadata": {"type": "object"}}, "anyOf": [{"properties": {"metadata": {}}}]}),
        &[".anyOf[0].properties[metadata]: Forbidden: must not be specified in a nested context"],
    );
}

#[test]
fn metadata_can_only_be_restricted_by_name() {
    let root = |metadata: Value| json!({"type": "object", "properties": {"metadata": metadata}});
    let text = json!({"type": "string", "maxLength": 3});
    check_root(root(json!({"type": "object"})), false, &[]);
    check_root(root(json!({"type": "object", "properties": {"name": text, "generateName": text}})), false, &[]);
    let forbidden = "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but \
                     metadata is implicitly specified";
    check_root(root(json!({"type": "object", "properties": {"labels": {"type": "object"}}})), false, &[forbidden]);
    check_root(root(json!({"type": "object", "description": "d"})), false, &[forbidden]);
    check_root(
        root(json!({"type": "string"})),
        false,
        &["s.properties[metadata].type: Invalid value: \"string\": must be object"],
    );
    check_root(
        json!({"type": "object", "properties": {"kind": {"type": "integer"}}}),
        false,
        &["s.properties[kind].type: Invalid value: \"integer\": must be string"],
    );
    check_root(
        json!({"type": "object", "properties": {"apiVersion": {"type": "string", "default": "v1"}}}),
        false,
        &["s.properties[apiVersion].default: Forbidden: must not be set in top-level apiVersion"],
    );
}

#[test]
fn embedded_resources_are_objects_of_their_own() {
    check_a(
        json!({"x-kubernetes-embedded-resource": true, "type": "object"}),
        &[
            ".properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ],
    );
    check_a(
        json!({"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
        &[".type: Required value: must be object if x-kubernetes-embedded-resource is true"],
    );
    check_a(
        json!({"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true, "type": "object",
            "additionalProperties": {"type": "string"}}),
        &[".additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set"],
    );
    check_a(
        json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}),
        &[
            ".x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ],
    );
    let nested =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    check_a(
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"metadata": {"type": "object",
            "properties": {"x": nested}}}}),
        &[
            ".properties[metadata].properties[x].x-kubernetes-embedded-resource: Forbidden: must not be used inside of resource meta",
        ],
    );
}

#[test]
fn defaults_are_valid_and_pruned() {
    check_a(
        json!({"type": "string", "default": 5}),
        &[".default: Invalid value: \"integer\":  in body must be of type string: \"integer\""],
    );
    check_a(
        json!({"type": "integer", "maximum": 1, "default": 5}),
        &[".default: Invalid value: 5:  in body should be less than or equal to 1"],
    );
    let object = json!({"type": "object", "properties": {"b": {"type": "string"}}, "default": {"b": "x", "c": 1}});
    check_a(object, &[".default: Invalid value: {\"b\":\"x\",\"c\":1}: must not have unknown fields"]);
    check_a(
        json!({"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}}, "default": {}}),
        &[".default.b: Required value"],
    );
    check_a(json!({"type": "string", "default": "x", "nullable": true}), &[]);
    let embedded = |metadata: Value| json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"metadata": metadata}});
    let named =
        |default: Value| json!({"type": "object", "properties": {"name": {"type": "string", "default": default}}});
    check_a(embedded(named(json!("n"))), &[]);
    check_a(
        embedded(named(json!("a/b"))),
        &[
            ".properties[metadata].properties[name].default: Invalid value: \"a/b\": must result in valid metadata: metadata.name: Invalid value: \"a/b\": may not contain '/'",
        ],
    );
    check_a(
        embedded(json!({"type": "object", "properties": {"labels": {"type": "object",
            "additionalProperties": {"type": "string", "default": "x"}}}})),
        &[
            ".properties[metadata].properties[labels].additionalProperties.default: Forbidden: must not be set inside additionalProperties applying to object metadata",
        ],
    );
}

#[test]
fn list_and_map_types() {
    let list = |extra: Value, items: Value| {
        let mut list = json!({"type": "array", "items": items});
        for (name, value) in extra.as_object().expect("an object") {
            list[name] = value.clone();
        }
        list
    };
    let keyed = |keys: Value| json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys});
    let item = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "d": {"type": "string", "default": "x"}, "o": {"type": "object"}, "n": {"type": "string"}}});
    check_a(list(keyed(json!(["k", "d"])), item.clone()), &[]);
    check_a(
        list(json!({"x-kubernetes-list-type": "map"}), item.clone()),
        &[".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"],
    );
    check_a(
        list(keyed(json!(["k", "k", "z"])), item.clone()),
        &[
            ".x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\",\"z\"]: entries must all be names of item properties",
            ".x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\",\"z\"]: must not contain duplicate entries",
        ],
    );
    check_a(
        list(keyed(json!(["n"])), item.clone()),
        &[
            ".items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
    check_a(
        list(
            keyed(json!(["k"])),
            json!({"type": "object", "nullable": true, "required": ["k"], "properties": {"k": {"type": "string", "nullable": true}}}),
        ),
        &[
            ".items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map",
            ".items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
        ],
    );
    check_a(
        list(keyed(json!(["k"])), json!({"type": "string"})),
        &[".items.type: Invalid value: \"string\": must be object if parent array's x-kubernetes-list-type is map"],
    );
    check_a(
        list(json!({"x-kubernetes-list-map-keys": ["k"]}), item),
        &[".x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"],
    );
    check_a(
        json!({"type": "string", "x-kubernetes-list-type": "set"}),
        &[".type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified"],
    );
    check_a(
        list(json!({"x-kubernetes-list-type": "bag"}), json!({"type": "string"})),
        &[".x-kubernetes-list-type: Unsupported value: \"bag\": supported values: \"atomic\", \"set\", \"map\""],
    );
    check_a(
        list(json!({"x-kubernetes-list-type": "set"}), json!({"type": "object"})),
        &[
            ".items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ],
    );
    check_a(
        json!({"type": "object", "x-kubernetes-map-type": "x"}),
        &[".x-kubernetes-map-type: Unsupported value: \"x\": supported values: \"atomic\", \"granular\""],
    );
}

#[test]
fn rules_have_their_parts() {
    let rule = |rule: Value| json!({"type": "object", "properties": {"b": {"type": "string"}}, "x-kubernetes-validations": [rule]});
    check_a(
        rule(json!({"rule": "self.b == ''", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".b"})),
        &[],
    );
    for (parts, expected) in [
        (json!({"rule": " "}), "rule: Required value: rule is not specified"),
        (json!({"rule": "x", "message": " "}), "message: Invalid value: \" \": message must be non-empty if specified"),
        (
            json!({"rule": "x", "message": "a\nb"}),
            "message: Invalid value: \"a\\nb\": message must not contain line breaks",
        ),
        (json!({"rule": "x\n&& y"}), "message: Required value: message must be specified if rule contains line breaks"),
        (
            json!({"rule": "x", "messageExpression": " "}),
            "messageExpression: Required value: messageExpression must be non-empty if specified",
        ),
        (
            json!({"rule": "x", "reason": "Why"}),
            "reason: Unsupported value: \"Why\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ),
        (json!({"rule": "x", "fieldPath": ".c"}), "fieldPath: Invalid value: \".c\": fieldPath must be a valid path"),
    ] {
        check_a(rule(parts), &[&format!(".x-kubernetes-validations[0].{expected}")]);
    }
}

#[test]
fn the_root_is_restricted_with_a_status() {
    let root = json!({"type": "object", "oneOf": [{"required": ["a"]}], "properties": {"a": {"type": "string"}}});
    check_root(root.clone(), false, &[]);
    let found = texts(schema(&root, &Path::new("s"), true));
    assert!(found[0].starts_with("s: Invalid value: {"), "{found:?}");
    assert!(
        found[0].ends_with(
            ": only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength \
             Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
             XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource \
             is enabled"
        ),
        "{found:?}"
    );
    check_root(
        json!({"type": "object", "nullable": true}),
        false,
        &["s.nullable: Forbidden: nullable cannot be true at the root"],
    );
}

#[test]
fn printer_columns() {
    let check = |column: Value, expected: &[&str]| {
        assert_eq!(texts(printer_column(&column, &Path::new("c"))), expected, "{column}");
    };
    check(json!({"name": "A", "type": "date", "jsonPath": ".spec.a", "format": "date-time"}), &[]);
    check(
        json!({"name": "", "type": "foo", "jsonPath": "spec", "format": "f"}),
        &[
            "c.JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
            "c.format: Invalid value: \"f\": must be one of byte,date,date-time,double,float,int32,int64,name,password",
            "c.name: Required value",
            "c.type: Invalid value: \"foo\": must be one of boolean,date,integer,number,string",
        ],
    );
    check(
        json!({"name": "A"}),
        &["c.JSONPath: Required value", "c.type: Required value: must be one of boolean,date,integer,number,string"],
    );
}

#[test]
fn scale_paths() {
    let check = |paths: Value, expected: &[&str]| {
        assert_eq!(texts(scale(&paths, &Path::new("c"))), expected, "{paths}");
    };
    check(
        json!({"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r", "labelSelectorPath": ".spec.s"}),
        &[],
    );
    check(
        json!({"specReplicasPath": ".foo", "statusReplicasPath": "", "labelSelectorPath": ".x"}),
        &[
            "c.labelSelectorPath: Invalid value: \".x\": should be a json path under either .spec or .status",
            "c.specReplicasPath: Invalid value: \".foo\": should be a json path under .spec",
            "c.statusReplicasPath: Required value",
        ],
    );
}

#[test]
fn fields_to_select_by() {
    let tree = Structural::parse(&json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "number"}, "b": {"type": "boolean"}}},
    }}))
    .expect("a schema");
    let check = |paths: &[&str], expected: &[&str]| {
        let fields: Vec<Value> = paths.iter().map(|path| json!({"jsonPath": path})).collect();
        assert_eq!(texts(selectable_fields(&fields, &tree, &Path::new("f"))), expected, "{paths:?}");
    };
    check(&[".spec.a", ".spec.b"], &[]);
    check(
        &["", ".spec.z", ".metadata.name", ".spec.n", ".spec.a", ".spec.a"],
        &[
            "f[0].jsonPath: Required value",
            "f[1].jsonPath: Invalid value: \".spec.z\": is an invalid path: does not refer to a valid field",
            "f[2].jsonPath: Invalid value: \".metadata.name\": must not point to fields in metadata",
            "f[3].jsonPath: Invalid value: \".spec.n\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            "f[5].jsonPath: Duplicate value: \".spec.a\"",
        ],
    );
}
