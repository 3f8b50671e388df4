//! Makes documents of the types of the tables out of random bytes.

use serde_json::{Map, Value, json};
use skiff_api::schema::{self, Field, FieldType, ListType, Type};

/// Decisions, taken from bytes; when they are used up, every decision is the smallest one, so that documents end.
pub struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    /// A number below `count`.
    pub fn below(&mut self, count: u8) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0) % count)
    }

    fn is(&mut self) -> bool {
        self.below(2) == 1
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        let count = u8::try_from(values.len()).expect("few values");
        values[self.below(count)].clone()
    }
}

/// Messages of JSON schemas nest without end; nothing else goes so deep.
const DEPTH: usize = 12;

/// A list that no valid object has without elements: it is kept for validation to tell of, and Protobuf does not have it.
const NEVER_EMPTY: (&str, &str) = ("io.k8s.api.autoscaling.v2.HPAScalingRules", "policies");

/// A document of a type, in the form in which it is stored.
pub fn document(type_name: &str, bytes: &[u8]) -> Value {
    let ty = schema::type_by_name(type_name).unwrap_or_else(|| panic!("{type_name} is in the table"));
    let mut document = Value::Object(object(ty, &mut Choices::new(bytes), 0));
    skiff_api::decode::normalize(&mut document, type_name);
    document
}

fn object(ty: &'static Type, choices: &mut Choices<'_>, depth: usize) -> Map<String, Value> {
    let mut object = Map::new();
    // Protobuf does not have fields without tags.
    for field in ty.fields.iter().filter(|field| !field.tags.is_empty()) {
        let is_there = field.required || (depth < DEPTH && choices.is());
        if is_there {
            let mut value = value(&field.ty, choices, depth);
            if let Value::Array(list) = &mut value {
                if list.is_empty() && NEVER_EMPTY == (ty.name, field.json) {
                    continue;
                }
                keep_one_of_each(list, field);
            }
            object.insert(field.json.to_owned(), value);
        }
    }
    object
}

/// Leaves out what no valid object has: elements with equal keys in lists that are maps, and equal values in sets.
fn keep_one_of_each(list: &mut Vec<Value>, field: &Field) {
    let key = |element: &Value| -> Vec<Value> {
        match (field.patch_merge_key, field.list_type) {
            (Some(key), _) => vec![element[key].clone()],
            (None, ListType::Map) => field.map_keys.iter().map(|key| element[*key].clone()).collect(),
            (None, _) => vec![element.clone()],
        }
    };
    if field.list_type != ListType::Atomic || field.patch_strategy.merges() {
        let mut seen: Vec<Vec<Value>> = Vec::new();
        list.retain(|element| {
            let key = key(element);
            let is_new = !seen.contains(&key);
            seen.push(key);
            is_new
        });
    }
}

fn schema_object(choices: &mut Choices<'_>, depth: usize) -> Value {
    let ty = schema::type_by_name(schema::JSON_SCHEMA_PROPS).expect("it is in the table");
    Value::Object(object(ty, choices, depth + 3))
}

fn value(ty: &FieldType, choices: &mut Choices<'_>, depth: usize) -> Value {
    match ty {
        FieldType::String => choices.pick(&["", "a", "web-0", "größe", "\"x\"\n"]).into(),
        FieldType::Integer32 => choices.pick(&[0, 1, -1, 80, 65536, i32::MAX, i32::MIN]).into(),
        FieldType::Integer64 => choices.pick(&[0, 1, -1, 300, i64::MAX, i64::MIN]).into(),
        FieldType::Number => choices.pick(&[0.0, 1.5, -2.25, 1e300]).into(),
        FieldType::Boolean => choices.is().into(),
        FieldType::Bytes => choices.pick(&["", "AP8=", "eA=="]).into(),
        FieldType::Quantity => choices.pick(&["0", "1", "100m", "1Gi", "-5k"]).into(),
        FieldType::IntOrString => choices.pick(&[json!(0), json!(8080), json!(-1), json!(""), json!("25%")]),
        FieldType::Time => {
            choices.pick(&["1970-01-01T00:00:00Z", "2026-02-03T04:05:06Z", "1901-01-01T00:00:00Z"]).into()
        }
        FieldType::MicroTime => choices
            .pick(&["1970-01-01T00:00:00.000001Z", "2026-02-03T04:05:06.123456Z", "1969-12-31T23:59:59.500000Z"])
            .into(),
        FieldType::FieldsV1 | FieldType::Raw => {
            choices.pick(&[json!({}), json!({"f:a": {".": {}}, "n": [1, "x", null]})])
        }
        FieldType::Json => choices.pick(&[json!(0), json!("x"), json!([]), json!({"a": {"b": 1.5}}), json!(false)]),
        FieldType::SchemaOrArray if choices.is() => {
            json!([schema_object(choices, depth), schema_object(choices, depth)])
        }
        FieldType::SchemaOrBool if choices.is() => choices.is().into(),
        FieldType::SchemaOrStringArray if choices.is() => json!(["a", ""]),
        FieldType::SchemaOrArray | FieldType::SchemaOrBool | FieldType::SchemaOrStringArray => {
            schema_object(choices, depth)
        }
        FieldType::Ref(_) => Value::Object(object(ty.as_type().expect("it is in the table"), choices, depth + 1)),
        FieldType::List(element) => (0..choices.below(3)).map(|_| value(element, choices, depth)).collect(),
        FieldType::Map(element) => {
            let mut map = Map::new();
            for _ in 0..choices.below(3) {
                map.insert(choices.pick(&["", "k", "example.com/key", "Z"]).to_owned(), value(element, choices, depth));
            }
            Value::Object(map)
        }
    }
}
