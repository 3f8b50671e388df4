//! What holds for every schema and every document.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(&NAMES[..]).prop_map(str::to_owned)
}

/// Documents that may or may not fit a schema.
fn document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..9_i64).prop_map(Value::from),
        (-1.0..2.0_f64).prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(name(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(name(), document(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn scalar_schema() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "string", "maxLength": 2})),
        Just(json!({"type": "string", "nullable": true})),
        Just(json!({"type": "string", "default": "x"})),
        Just(json!({"type": "string", "default": "y", "nullable": true, "pattern": "^[x-z]"})),
        Just(json!({"type": "integer", "minimum": 0, "default": 3})),
        Just(json!({"type": "number", "oneOf": [{"minimum": 1}, {"maximum": 0}]})),
        Just(json!({"type": "boolean"})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
    ]
}

/// Structural schemas.
fn node() -> impl Strategy<Value = Value> {
    scalar_schema().prop_recursive(4, 24, 4, |inner| {
        let properties = proptest::collection::btree_map(name(), inner.clone(), 0..4);
        let required = proptest::collection::vec(name(), 0..2);
        let of = |properties: std::collections::BTreeMap<String, Value>, required: Vec<String>, keeps: bool| {
            let mut schema = json!({"type": "object", "properties": properties, "required": required});
            if keeps {
                schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
            }
            schema
        };
        let list_type = proptest::sample::select(&["atomic", "set", ""][..]);
        prop_oneof![
            (properties, required, any::<bool>())
                .prop_map(move |(fields, required, keeps)| of(fields, required, keeps)),
            inner.clone().prop_map(|values| json!({"type": "object", "additionalProperties": values})),
            (inner, list_type).prop_map(|(items, list_type)| {
                let mut schema = json!({"type": "array", "items": items});
                if !list_type.is_empty() {
                    schema["x-kubernetes-list-type"] = list_type.into();
                }
                schema
            }),
        ]
    })
}

fn tree() -> impl Strategy<Value = Structural> {
    proptest::collection::btree_map(name(), node(), 1..4).prop_map(|properties| {
        Structural::parse(&json!({"type": "object", "properties": properties})).expect("a schema")
    })
}

proptest! {
    #[test]
    fn pruning_twice_is_pruning_once(schema in tree(), mut object in object()) {
        schema.prune(&mut object);
        let pruned = object.clone();
        prop_assert_eq!(schema.prune(&mut object), Vec::<String>::new());
        prop_assert_eq!(object, pruned);
    }

    #[test]
    fn defaulting_twice_is_defaulting_once(schema in tree(), mut object in object()) {
        schema.set_defaults(&mut object);
        let defaulted = object.clone();
        schema.set_defaults(&mut object);
        prop_assert_eq!(object, defaulted);
    }

    #[test]
    fn what_conforms_stays_as_it_is(schema in tree(), mut object in object()) {
        schema.conform(&mut object, Malformed::Refuse).expect("metadata");
        let (conformed, judged) = (object.clone(), schema.validate(&object, None));
        prop_assert_eq!(schema.conform(&mut object, Malformed::Refuse).expect("metadata"), Vec::<String>::new());
        prop_assert_eq!(&object, &conformed);
        prop_assert_eq!(schema.validate(&object, None), judged);
    }

    #[test]
    fn what_does_not_change_is_not_judged(schema in tree(), object in object()) {
        prop_assert_eq!(schema.validate(&object, Some(&object)), Vec::new());
    }

    #[test]
    fn updates_are_judged_no_harder_than_creates(schema in tree(), old in object(), new in object()) {
        let created = schema.validate_values(&new, None);
        for error in schema.validate_values(&new, Some(&old)) {
            // What one alternative no longer minds, may make another one say more.
            prop_assert!(created.contains(&error) || created.iter().any(|error| error.field == "<nil>"), "{error}");
        }
    }

    #[test]
    fn anything_can_be_checked(document in document()) {
        let path = Path::new("spec");
        let _ = check::schema(&document, &path, true);
        let _ = check::printer_column(&document, &path);
        let _ = check::scale(&document, &path);
    }

    #[test]
    fn published_schemas_are_read_back(schema in tree()) {
        let kind = GroupVersionKind { group: "g", version: "v", kind: "K" };
        let mut published = super::published(&schema, kind);
        for name in ["apiVersion", "kind", "metadata"] {
            published["properties"].as_object_mut().expect("properties").remove(name);
        }
        // Integers or strings are spelled out, which validates the same.
        let read = Structural::parse(&published).expect("a schema");
        prop_assert_eq!(read.properties.keys().collect::<Vec<_>>(), schema.properties.keys().collect::<Vec<_>>());
        let again = super::published(&read, kind);
        prop_assert_eq!(again["properties"]["a"].clone(), super::published(&schema, kind)["properties"]["a"].clone());
    }
}
